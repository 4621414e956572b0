//! Executes statements that write, in a transaction.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr as PlanExpr, ExprSchemable, LogicalPlanBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    AssignmentTarget, ColumnDef, ColumnOption, CreateTable, CreateTableOptions, Delete, Expr, FromTable,
    HiveDistributionStyle, Insert, ObjectName, Query, SqlOption, Statement as Ast, TableFactor, TableObject,
    TableWithJoins, Update, Value as SqlValue, visit_expressions_mut,
};
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{Location, Result, TableName, TableRef, TxnLogError};
use futures::{StreamExt, stream};
use serde_json::Value;

use super::names::{ReferencedTables, table_name};
use super::statement::refuse;
use super::{SqlSession, planned};
use crate::create::resolve_location;
use crate::delta_rs::generated::is_generated;
use crate::delta_rs::{TableSchema, literals, parse_schema};
use crate::error::{Explain, query_error};
use crate::identifiers::quoted;
use crate::operations::{Operation, WriteRows};
use crate::transaction::Transaction;
use crate::write::Rows;
use crate::write_options::SaveMode;

impl SqlSession {
    /// Inserts rows, or replaces all rows. Returns the number of rows inserted.
    pub(super) async fn insert(&self, tx: &Transaction, insert: Insert, whole: Statement) -> Result<u64> {
        let TableObject::TableName(name) = &insert.table else {
            return refuse("INSERT into something other than a table", "expected INSERT INTO NAME");
        };
        let extra = [
            (insert.or.is_some() || insert.replace_into || insert.ignore, "INSERT OR REPLACE"),
            (insert.on.is_some(), "INSERT … ON CONFLICT"),
            (insert.returning.is_some() || insert.output.is_some(), "INSERT … RETURNING"),
            (insert.partitioned.is_some(), "INSERT … PARTITION"),
            (!insert.assignments.is_empty(), "INSERT … SET"),
        ];
        if let Some((_, what)) = extra.iter().find(|(there, _)| *there) {
            return refuse(what, HOW_TO_INSERT);
        }
        let Some(query) = insert.source else { return refuse("INSERT without a query", HOW_TO_INSERT) };
        let (name, mode) = (table_name(name)?, if insert.overwrite { SaveMode::Overwrite } else { SaveMode::Append });
        self.hold(&ReferencedTables::of(&whole)?).await?;
        let columns = self.provider_schema(&name)?;
        let failed = || format!("the rows for {name} cannot be computed");
        // DataFusion's own plan of an INSERT casts VALUES anywhere in its query to the table's columns
        // (https://github.com/apache/datafusion/issues/13124): the query is planned by itself.
        let mut query = Statement::Statement(Box::new(Ast::Query(query)));
        literals::in_statement(&mut query);
        let query = self.context.state().statement_to_plan(query).await.explain(failed)?;
        let values = values_by_column(&name, &columns, &insert.columns, query.schema())?;
        let rows = LogicalPlanBuilder::from(query).project(values).and_then(|rows| rows.build()).explain(failed)?;
        let rows = planned(&self.context, rows, failed).await?;
        self.note_reads().await?;
        let (rows, count) = count_rows(rows);
        // An insert of no rows creates no version.
        let rows = match mode {
            SaveMode::Append => non_empty(rows).await?,
            _ => Some(rows),
        };
        if let Some(rows) = rows {
            tx.run(&name.to_string(), Operation::Write(WriteRows::new(Rows::from(rows), mode))).await?;
        }
        Ok(count.load(Ordering::Relaxed))
    }

    /// The columns of a table held by the statement.
    fn provider_schema(&self, name: &TableName) -> Result<SchemaRef> {
        let tables = self.read.lock();
        let table = tables.iter().find(|(other, _)| other == name).map(|(_, table)| table.columns());
        table.ok_or_else(|| TxnLogError::not_found(format!("there is no table {name}")))
    }

    /// Deletes rows. Returns how many, if delta-rs reports it.
    pub(super) async fn delete(&self, tx: &Transaction, delete: Delete) -> Result<Option<u64>> {
        let extra = delete.using.is_some()
            || delete.returning.is_some()
            || delete.output.is_some()
            || delete.limit.is_some()
            || !delete.order_by.is_empty()
            || !delete.tables.is_empty();
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let ([from], false) = (&from[..], extra) else {
            return refuse("this DELETE", "expected DELETE FROM NAME [WHERE CONDITION]");
        };
        let target = Target::of(from, "DELETE")?;
        let filter = delete.selection.map(|condition| target.text(condition, "WHERE of DELETE")).transpose()?;
        let metrics = tx.delete(&target.name.to_string(), filter.as_deref()).await?;
        Ok(number(&metrics, "num_deleted_rows"))
    }

    /// Updates rows. Returns how many.
    pub(super) async fn update(&self, tx: &Transaction, update: Update) -> Result<Option<u64>> {
        let extra = update.from.is_some()
            || update.returning.is_some()
            || update.output.is_some()
            || update.or.is_some()
            || update.limit.is_some()
            || !update.order_by.is_empty();
        if extra {
            return refuse("this UPDATE", "expected UPDATE NAME SET COLUMN = VALUE [WHERE CONDITION]");
        }
        let target = Target::of(&update.table, "UPDATE")?;
        let mut set = Vec::with_capacity(update.assignments.len());
        for assignment in update.assignments {
            let AssignmentTarget::ColumnName(column) = &assignment.target else {
                return refuse("UPDATE of several columns at once", "set each on its own");
            };
            let column = column.0.last().and_then(|part| part.as_ident()).map(|name| quoted(&name.value));
            let column = column.ok_or_else(|| TxnLogError::invalid("UPDATE of something other than a column"))?;
            set.push((column, target.text(assignment.value, "SET of UPDATE")?));
        }
        let filter = update.selection.map(|condition| target.text(condition, "WHERE of UPDATE")).transpose()?;
        let set: Vec<_> = set.iter().map(|(column, value)| (column.as_str(), value.as_str())).collect();
        let metrics = tx.update(&target.name.to_string(), &set, filter.as_deref()).await?;
        Ok(number(&metrics, "num_updated_rows"))
    }

    /// Creates a table, from columns or from the rows of a query. Returns how many rows it has; `None` if it existed.
    pub(super) async fn create(&self, tx: &Transaction, create: CreateTable) -> Result<Option<u64>> {
        let refused = [
            (create.or_replace, "CREATE OR REPLACE TABLE"),
            (create.temporary, "CREATE TEMPORARY TABLE"),
            (create.like.is_some() || create.clone.is_some(), "CREATE TABLE of another table"),
            (create.partition_by.is_some() || create.cluster_by.is_some(), "PARTITION BY and CLUSTER BY"),
            (!create.constraints.is_empty() || create.primary_key.is_some(), "a constraint in CREATE TABLE"),
            (create.query.is_some() && !create.columns.is_empty(), "CREATE TABLE with columns and a query"),
        ];
        if let Some((_, what)) = refused.iter().find(|(there, _)| *there) {
            return refuse(what, HOW_TO_CREATE);
        }
        let name = table_name(&create.name)?;
        if create.if_not_exists && self.catalog.find(&TableRef::Name(name.clone())).await?.is_some() {
            return Ok(None);
        }
        let location = self.new_location(&name, place(&create)?)?;
        let new = NewTable::new(name.clone(), location);
        let (partition_by, properties) = (partitions(&create)?, properties(&create)?);
        let Some(query) = create.query else {
            let schema = self.columns(&name, &create.columns).await?;
            tx.create(new, &schema, &partition_by, &properties).await?;
            return Ok(Some(0));
        };
        let rows = self.rows_of(*query, || format!("the rows for {name} cannot be computed")).await?;
        let (rows, count) = count_rows(rows);
        tx.create_with_data(new, Rows::from(rows), &partition_by, &properties).await?;
        Ok(Some(count.load(Ordering::Relaxed)))
    }

    async fn rows_of(&self, query: Query, failed: impl Fn() -> String) -> Result<SendableRecordBatchStream> {
        let mut query = Statement::Statement(Box::new(Ast::Query(Box::new(query))));
        literals::in_statement(&mut query);
        self.hold(&ReferencedTables::of(&query)?).await?;
        let plan = self.context.state().statement_to_plan(query).await.explain(&failed)?;
        let rows = planned(&self.context, plan, failed).await?;
        self.note_reads().await?;
        Ok(rows)
    }

    fn new_location(&self, name: &TableName, given: Option<&str>) -> Result<Location> {
        resolve_location(name, given, self.options.warehouse.as_deref())?.ok_or_else(|| {
            TxnLogError::invalid(format!(
                "the new table {name} needs a location: add LOCATION '…' to CREATE TABLE, or --set warehouse=LOCATION \
                 for all new tables"
            ))
        })
    }

    /// The columns of CREATE TABLE, with types as Delta or SQL names them.
    async fn columns(&self, table: &TableName, columns: &[ColumnDef]) -> Result<TableSchema> {
        if columns.is_empty() {
            return Err(TxnLogError::invalid(format!("the new table {table} has no columns: {HOW_TO_CREATE}")));
        }
        let mut fields = Vec::with_capacity(columns.len());
        for column in columns {
            let mut nullable = true;
            for option in &column.options {
                match &option.option {
                    ColumnOption::Null => {}
                    ColumnOption::NotNull => nullable = false,
                    other => return refuse(&format!("the column option {other}"), HOW_TO_CREATE),
                }
            }
            let of_type = match parse_schema(&format!("c {}", column.data_type)) {
                Ok(schema) => schema.to_arrow()?.field(0).data_type().clone(),
                // A type that Delta does not know may be one of SQL.
                Err(e) => match self.sql_type(&column.data_type.to_string()).await {
                    Some(of_type) => of_type,
                    None => {
                        let what = format!("the column {} of {table} cannot be created", column.name);
                        return Err(TxnLogError::invalid(what).with_source(e));
                    }
                },
            };
            fields.push(Field::new(&column.name.value, of_type, nullable));
        }
        TableSchema::from_arrow(&Schema::new(fields))
    }

    async fn sql_type(&self, name: &str) -> Option<arrow::datatypes::DataType> {
        let plan = self.context.state().create_logical_plan(&format!("SELECT CAST(NULL AS {name})")).await.ok()?;
        Some(plan.schema().field(0).data_type().clone())
    }
}

const HOW_TO_INSERT: &str = "expected INSERT INTO NAME [(COLUMNS)] and a query or VALUES";

const HOW_TO_CREATE: &str = "expected CREATE TABLE [IF NOT EXISTS] NAME (COLUMN TYPE [NOT NULL], …) \
                             [PARTITIONED BY (…)] [LOCATION '…'] [TBLPROPERTIES (…)], or AS and a query for the columns";

fn place(create: &CreateTable) -> Result<Option<&str>> {
    let formats = create.hive_formats.as_ref();
    if formats.is_some_and(|f| f.row_format.is_some() || f.serde_properties.is_some() || f.storage.is_some()) {
        return refuse("a file format in CREATE TABLE", HOW_TO_CREATE);
    }
    Ok(create.location.as_deref().or(formats.and_then(|f| f.location.as_deref())))
}

fn partitions(create: &CreateTable) -> Result<Vec<String>> {
    match &create.hive_distribution {
        HiveDistributionStyle::PARTITIONED { columns } => Ok(columns.iter().map(|c| c.name.value.clone()).collect()),
        HiveDistributionStyle::NONE => Ok(Vec::new()),
        HiveDistributionStyle::SKEWED { .. } => refuse("SKEWED BY", HOW_TO_CREATE),
    }
}

fn properties(create: &CreateTable) -> Result<HashMap<String, String>> {
    let options = match &create.table_options {
        CreateTableOptions::None => return Ok(HashMap::new()),
        CreateTableOptions::TableProperties(options) => options,
        _ => return refuse("an option of CREATE TABLE", HOW_TO_CREATE),
    };
    let text = |value: &Expr| match value {
        Expr::Value(v) => match &v.value {
            SqlValue::SingleQuotedString(text) => Some(text.clone()),
            SqlValue::Number(digits, _) => Some(digits.clone()),
            SqlValue::Boolean(b) => Some(b.to_string()),
            _ => None,
        },
        _ => None,
    };
    let property = |option: &SqlOption| match option {
        SqlOption::KeyValue { key, value } => Some((key.value.clone(), text(value)?)),
        _ => None,
    };
    let all: Option<_> = options.iter().map(property).collect();
    all.ok_or_else(|| TxnLogError::invalid("TBLPROPERTIES cannot be read: expected ('key' = 'value', …)"))
}

/// The table that a statement changes, and its alias there.
struct Target {
    name: TableName,
    called: String,
}

impl Target {
    fn of(table: &TableWithJoins, statement: &str) -> Result<Self> {
        match &table.relation {
            TableFactor::Table { name, alias, args: None, version: None, .. } if table.joins.is_empty() => {
                let name = table_name(name)?;
                let called = alias.as_ref().map_or_else(|| name.name.clone(), |alias| alias.name.value.clone());
                Ok(Self { name, called })
            }
            _ => refuse(&format!("{statement} of what is not one table"), "name one table, as it is now"),
        }
    }

    /// An expression over its rows as text, with unqualified columns.
    fn text(&self, mut expr: Expr, place: &str) -> Result<String> {
        let unqualified = visit_expressions_mut(&mut expr, |e| {
            match e {
                Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => return ControlFlow::Break(()),
                Expr::CompoundIdentifier(parts) => {
                    let own = match &parts[..] {
                        [a, b, _, ..] if a.value == self.name.namespace && b.value == self.called => 2,
                        [a, _, ..] if a.value == self.called => 1,
                        _ => 0,
                    };
                    parts.drain(..own);
                    if let [column] = &parts[..] {
                        *e = Expr::Identifier(column.clone());
                    }
                }
                _ => {}
            }
            ControlFlow::Continue(())
        });
        match unqualified {
            ControlFlow::Continue(()) => Ok(expr.to_string()),
            ControlFlow::Break(()) => refuse(
                &format!("a subquery in {place}"),
                "`dl merge NAME --source S --on SQL` changes rows by those of another table",
            ),
        }
    }
}

fn number(metrics: &Value, of: &str) -> Option<u64> {
    metrics.get(of).and_then(Value::as_u64)
}

/// For each column of a table the value that an INSERT writes from a query's rows: the query's columns in the order of
/// the statement's column list, or else of the table; null for missing columns, and nothing for generated columns.
fn values_by_column(
    table: &TableName,
    columns: &Schema,
    named: &[ObjectName],
    query: &DFSchema,
) -> Result<Vec<PlanExpr>> {
    let mut places = Vec::with_capacity(columns.fields().len());
    for name in named {
        let place = match &name.0[..] {
            [part] => part.as_ident().and_then(|ident| columns.index_of(&ident.value).ok()),
            _ => None,
        };
        let Some(place) = place else {
            let known: Vec<_> = columns.fields().iter().map(|f| f.name().as_str()).collect();
            let what = format!("{table} has no column {name}: it has {}", known.join(", "));
            return Err(TxnLogError::invalid(what));
        };
        if places.contains(&place) {
            return Err(TxnLogError::invalid(format!("an INSERT into {table} names {name} twice: remove one")));
        }
        places.push(place);
    }
    if named.is_empty() {
        places.extend(0..columns.fields().len());
    }
    if query.fields().len() != places.len() {
        return Err(TxnLogError::invalid(format!(
            "wrong number of values in an INSERT into {table}: expected {}, got {}",
            places.len(),
            query.fields().len()
        )));
    }
    let filled = columns.fields().iter().enumerate();
    let filled = filled.map(|(n, field)| (places.iter().position(|place| *place == n), field));
    let filled = filled.filter(|(given, field)| given.is_some() || !is_generated(field));
    let value = |(given, field): (Option<usize>, &Arc<Field>)| {
        let value = match given {
            Some(given) => PlanExpr::Column(Column::from(query.qualified_field(given))),
            None => PlanExpr::Literal(ScalarValue::Null, None),
        };
        let value = value.cast_to(field.data_type(), query);
        let value = value.explain(|| format!("no value for the column {} of {table}", field.name()))?;
        Ok(value.alias(field.name()))
    };
    filled.map(value).collect()
}

/// The same rows, with a counter of those consumed.
fn count_rows(rows: SendableRecordBatchStream) -> (SendableRecordBatchStream, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let (schema, seen) = (rows.schema(), count.clone());
    let rows = rows.inspect(move |batch| {
        if let Ok(batch) = batch {
            seen.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        }
    });
    (Box::pin(RecordBatchStreamAdapter::new(schema, rows)), count)
}

/// The same rows; `None` when there are none.
async fn non_empty(mut rows: SendableRecordBatchStream) -> Result<Option<SendableRecordBatchStream>> {
    let schema = rows.schema();
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(|e| query_error(e, "the rows to be written cannot be read"))?;
        if batch.num_rows() > 0 {
            let all = stream::iter([Ok(batch)]).chain(rows);
            return Ok(Some(Box::pin(RecordBatchStreamAdapter::new(schema, all))));
        }
    }
    Ok(None)
}
