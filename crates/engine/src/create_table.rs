//! The definition of a row table from its `CREATE SHARED TABLE`. Whatever the definition would not have is refused, except
//! the names of constraints, which no statement uses.

use deltalakedb_log::{Result, Subject, TableName, TxnLogError};
use deltalakedb_table::datafusion::sql::sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use deltalakedb_table::datafusion::sql::sqlparser::ast::{
    ColumnDef, ColumnOption, CreateTable, CreateTableOptions, Expr, IndexColumn, OrderByOptions, PrimaryKeyConstraint,
    SqlOption, TableConstraint,
};

use crate::column_default::ColumnDefault;
use crate::column_type::parse_sql_type;
use crate::definition::{ColumnSpec, TableDefinition};
use crate::names::table_name;

const EXPECTED: &str = "expected CREATE SHARED TABLE [IF NOT EXISTS] NAME (COLUMN TYPE [NOT NULL] [DEFAULT VALUE], …, \
                        PRIMARY KEY (COLUMN, …))";
const INSTEAD_OF_IDENTITY: &str = "declare it BIGINT DEFAULT SNOWFLAKE_ID(), which needs no sequence";

/// The table that a statement, in which `SHARED` was left out, defines.
pub(crate) fn define(mut create: CreateTable) -> Result<TableDefinition> {
    let table = table_name(&create.name)?;
    let parsed = std::mem::take(&mut create.columns);
    let constraints = std::mem::take(&mut create.constraints);
    create.if_not_exists = false;
    refuse_clauses(create, &table)?;
    if parsed.is_empty() {
        return Err(TxnLogError::invalid(format!("the row table {table} needs columns: {EXPECTED}")));
    }
    let (mut columns, mut key) = (Vec::with_capacity(parsed.len()), PrimaryKeyOf { table: &table, columns: None });
    let mut declared_null = Vec::new();
    for column in parsed {
        let column = Column::of(column, &table)?;
        if column.is_key {
            key.set(vec![column.spec.name.clone()])?;
        }
        if column.is_declared_null {
            declared_null.push(column.spec.name.clone());
        }
        columns.push(column.spec);
    }
    for constraint in constraints {
        key.set(key_of(constraint, &table)?)?;
    }
    let key = key.columns.unwrap_or_default();
    if let Some(name) = key.iter().find(|name| declared_null.contains(name)) {
        let message = format!("the column {name:?} of {table} cannot be NULL, because it is in the primary key");
        return Err(TxnLogError::invalid(message).about(Subject::Schema));
    }
    TableDefinition::new_shared(table, columns, key.iter().map(String::as_str))
}

/// The columns of the primary key, which is declared once.
struct PrimaryKeyOf<'a> {
    table: &'a TableName,
    columns: Option<Vec<String>>,
}

impl PrimaryKeyOf<'_> {
    fn set(&mut self, columns: Vec<String>) -> Result<()> {
        match self.columns.replace(columns) {
            None => Ok(()),
            Some(_) => Err(TxnLogError::invalid(format!(
                "{} has two primary keys: declare a key of several columns once, as PRIMARY KEY (COLUMN, …)",
                self.table
            ))),
        }
    }
}

/// A column as it is declared.
struct Column {
    spec: ColumnSpec,
    is_key: bool,
    is_declared_null: bool,
}

impl Column {
    fn of(column: ColumnDef, table: &TableName) -> Result<Self> {
        let name = column.name.value;
        let refuse = |what: &str| TxnLogError::invalid(format!("the column {name:?} of {table} {what}"));
        let data_type = parse_sql_type(&column.data_type)
            .map_err(|instead| refuse(&format!("cannot be of type {}: {instead}", column.data_type)))?;
        let (mut is_key, mut is_declared_null, mut is_not_null, mut default) = (false, false, false, None);
        for option in column.options {
            match option.option {
                ColumnOption::Null => is_declared_null = true,
                ColumnOption::NotNull => is_not_null = true,
                ColumnOption::PrimaryKey(key) if key.characteristics.is_none() => is_key = true,
                ColumnOption::Default(_) if default.is_some() => return Err(refuse("has two defaults")),
                ColumnOption::Default(expr) => default = Some(expr),
                other => return Err(refuse(&unsupported(&other))),
            }
        }
        if is_declared_null && is_not_null {
            return Err(refuse("is both NULL and NOT NULL"));
        }
        let default = default.map(|expr| ColumnDefault::of_expr(&expr, &data_type)).transpose();
        let default = default.map_err(|why| refuse(&format!("has a default that is not supported: {why}")))?.flatten();
        let spec = ColumnSpec { name: name.clone(), data_type, nullable: !is_not_null, default };
        Ok(Self { spec, is_key, is_declared_null })
    }
}

/// What is wrong with an option of a column, and what to do.
fn unsupported(option: &ColumnOption) -> String {
    match option {
        ColumnOption::Unique(_) => "cannot be UNIQUE: only the primary key of a row table is unique".into(),
        ColumnOption::ForeignKey(_) => "cannot have a FOREIGN KEY: row tables do not check references".into(),
        ColumnOption::Check(_) => "cannot have a CHECK: row tables have no other constraints than NOT NULL".into(),
        ColumnOption::PrimaryKey(_) => "has a PRIMARY KEY with options: write PRIMARY KEY alone".into(),
        ColumnOption::DialectSpecific(_) => format!("cannot be AUTO_INCREMENT: {INSTEAD_OF_IDENTITY}"),
        ColumnOption::Generated { generation_expr: None, .. } | ColumnOption::Identity(_) => {
            format!("cannot be an identity column: {INSTEAD_OF_IDENTITY}")
        }
        ColumnOption::Generated { .. } => "cannot be GENERATED: compute it in queries".into(),
        other => format!("has the option {other}, which is not supported: {EXPECTED}"),
    }
}

/// The columns of the primary key that a constraint of the table declares.
fn key_of(constraint: TableConstraint, table: &TableName) -> Result<Vec<String>> {
    let refuse = |what: &str| Err(TxnLogError::invalid(format!("{table} {what}")));
    match constraint {
        TableConstraint::PrimaryKey(PrimaryKeyConstraint {
            name: _,
            index_name: None,
            index_type: None,
            columns,
            index_options,
            characteristics: None,
        }) if index_options.is_empty() => match columns.iter().map(column_name).collect::<Option<Vec<_>>>() {
            Some(columns) => Ok(columns),
            None => refuse("has a primary key of expressions: its columns are listed by name, as PRIMARY KEY (a, b)"),
        },
        TableConstraint::PrimaryKey(_) | TableConstraint::PrimaryKeyUsingIndex(_) => {
            refuse("has a PRIMARY KEY with options: write PRIMARY KEY (COLUMN, …) alone")
        }
        TableConstraint::Unique(_) | TableConstraint::UniqueUsingIndex(_) => {
            refuse("cannot have UNIQUE columns: only the primary key of a row table is unique")
        }
        TableConstraint::ForeignKey(_) => refuse("cannot have a FOREIGN KEY: row tables do not check references"),
        TableConstraint::Check(_) => refuse("cannot have a CHECK: row tables have no other constraints than NOT NULL"),
        other => refuse(&format!("has {other}, which is not supported: {EXPECTED}")),
    }
}

fn column_name(column: &IndexColumn) -> Option<String> {
    match (&column.column.expr, &column.operator_class, &column.column.with_fill) {
        (Expr::Identifier(name), None, None)
            if column.column.options == OrderByOptions { asc: None, nulls_first: None } =>
        {
            Some(name.value.clone())
        }
        _ => None,
    }
}

/// An error if a statement, without its columns and constraints, has any clause.
fn refuse_clauses(create: CreateTable, table: &TableName) -> Result<()> {
    if let CreateTableOptions::With(options) = &create.table_options
        && let Some(option) = options.first()
    {
        return Err(TxnLogError::invalid(format!("{table} {}", unsupported_option(option))));
    }
    if create.query.is_some() {
        return Err(TxnLogError::invalid(format!(
            "{table} cannot be created AS a query: create it with its columns, then use INSERT INTO {table} SELECT …"
        )));
    }
    let plain = CreateTableBuilder::new(create.name.clone()).build();
    if create == plain {
        return Ok(());
    }
    let (text, plain) = (create.to_string(), plain.to_string());
    let without_columns = plain.trim_end_matches(" ()");
    let clause = text.strip_prefix(plain.as_str()).or_else(|| text.strip_prefix(without_columns));
    let clause = clause.unwrap_or(&text).trim();
    Err(TxnLogError::invalid(format!("{table} has the clause {clause}, which is not supported: {EXPECTED}")))
}

/// What is wrong with an option of the table, and what to do.
fn unsupported_option(option: &SqlOption) -> String {
    let SqlOption::KeyValue { key, .. } = option else {
        return format!("has the option {option}, which is not supported: row tables have no options");
    };
    let why = match key.value.to_ascii_lowercase().as_str() {
        "flush_policy" => "a table is flushed by FLUSH TABLE",
        "layout" => "it is an option of USER tables, which do not exist",
        "ttl_seconds" => "it is an option of STREAM tables, which do not exist",
        "access_level" => "every session reads and writes all shared tables",
        _ => return format!("has the unknown option {key}: row tables have no options"),
    };
    format!("has the option {key}, which is not supported: {why}")
}
