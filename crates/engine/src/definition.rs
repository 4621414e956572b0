//! The definition of a row table: its columns, its primary key and what new rows get by default.
//!
//! The catalog has it, in the metadata of the table's cold Delta table ([`crate::ColdTable`]). The codecs of the hot
//! store are made of it: the key has the columns of the primary key, and the tuple has the others.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use deltalakedb_log::{Result, Subject, TableName, TxnLogError};
use deltalakedb_rows::{PrimaryKey, TupleColumn, TupleSchema};

use crate::column_default::ColumnDefault;
use crate::column_type::{EXPECTED, is_column_type};

/// The column with the `_seq` of a row version, a BIGINT. The cold table stores it.
pub const SEQ_COLUMN: &str = "_seq";
/// The column that says whether a row is deleted, a BOOLEAN. It is never stored.
pub const DELETED_COLUMN: &str = "_deleted";

/// The beginning of reserved names.
const RESERVED: char = '_';
/// The namespace of the tables about the engine.
const SYSTEM_NAMESPACES: [&str; 2] = ["system", "information_schema"];

/// Who shares the rows of a row table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableKind {
    /// All users.
    Shared,
}

impl fmt::Display for TableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "shared",
        })
    }
}

/// A column of a new row table.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnSpec {
    /// The name. Those that begin with `_` are reserved.
    pub name: String,
    /// The Arrow type of a Delta type without nested values, with `Utf8` and `Binary` for texts and bytes.
    pub data_type: DataType,
    /// Whether values may be null. Columns of the primary key are never null.
    pub nullable: bool,
    /// The value in new rows that do not give it one.
    pub default: Option<ColumnDefault>,
}

/// A column of a row table.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDefinition {
    id: u32,
    field: FieldRef,
    default: Option<ColumnDefault>,
}

impl ColumnDefinition {
    pub(crate) fn new(id: u32, spec: ColumnSpec) -> Self {
        let field = Arc::new(Field::new(spec.name, spec.data_type, spec.nullable));
        Self { id, field, default: spec.default }
    }

    /// Its id, above 0, which no other column of the table ever had.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.field.name()
    }

    /// The Arrow field with its name, type and nullability.
    pub fn field(&self) -> &FieldRef {
        &self.field
    }

    /// The value in new rows that do not give it one.
    pub fn default(&self) -> Option<&ColumnDefault> {
        self.default.as_ref()
    }
}

/// The definition of a row table.
///
/// ```
/// # use arrow::datatypes::DataType;
/// # use deltalakedb_engine::{ColumnDefault, ColumnSpec, TableDefinition};
/// let column = |name: &str, data_type, default| ColumnSpec { name: name.into(), data_type, nullable: true, default };
/// let columns = [
///     column("id", DataType::Int64, Some(ColumnDefault::SnowflakeId)),
///     column("body", DataType::Utf8, None),
/// ];
/// let notes = TableDefinition::new_shared("app.notes".parse()?, columns, ["id"])?;
/// assert_eq!(notes.primary_key()?.columns().len(), 1);
/// # Ok::<(), deltalakedb_log::TxnLogError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TableDefinition {
    name: TableName,
    kind: TableKind,
    schema_version: u32,
    columns: Vec<ColumnDefinition>,
    /// The positions of the columns of the primary key.
    key: Vec<usize>,
}

impl TableDefinition {
    /// The first version of a shared table. The columns of the primary key, in its order, are not nullable whatever
    /// their specification says.
    ///
    /// Fails if a name is reserved or used twice (case does not distinguish names), if a column has another type, or a
    /// default of another type, or if the primary key is empty, or names a column twice or one that does not exist.
    pub fn new_shared<'a>(
        name: TableName,
        columns: impl IntoIterator<Item = ColumnSpec>,
        primary_key: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        check_new_name(&name)?;
        let columns = (1..).zip(columns).map(|(id, spec)| ColumnDefinition::new(id, spec)).collect();
        Self::checked(name, TableKind::Shared, 1, columns, primary_key)
    }

    /// The definition of these parts; an error if they are not those of a row table.
    pub(crate) fn checked<'a>(
        name: TableName,
        kind: TableKind,
        schema_version: u32,
        columns: Vec<ColumnDefinition>,
        primary_key: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        let mut definition = Self { name, kind, schema_version, columns, key: Vec::new() };
        definition.check_columns()?;
        for column in primary_key {
            let at = definition.position(column).ok_or_else(|| definition.no_key_column(column))?;
            if definition.key.contains(&at) {
                return Err(definition.invalid(format!("its primary key has the column {column:?} twice")));
            }
            let field = Field::clone(&definition.columns[at].field).with_nullable(false);
            definition.columns[at].field = Arc::new(field);
            definition.key.push(at);
        }
        if definition.key.is_empty() {
            return Err(definition.invalid("it needs a primary key: add PRIMARY KEY to a column".into()));
        }
        definition.primary_key()?;
        definition.tuple_schema()?;
        Ok(definition)
    }

    /// The name.
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// Who shares its rows.
    pub fn kind(&self) -> TableKind {
        self.kind
    }

    /// The version of its columns, from 1 on, which each tuple has.
    pub fn schema_version(&self) -> u32 {
        self.schema_version
    }

    /// Its columns in order, without the system columns.
    pub fn columns(&self) -> &[ColumnDefinition] {
        &self.columns
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&ColumnDefinition> {
        self.position(name).map(|at| &self.columns[at])
    }

    /// The columns of its primary key, in the order of the key.
    pub fn key_columns(&self) -> impl ExactSizeIterator<Item = &ColumnDefinition> {
        self.key.iter().map(|&at| &self.columns[at])
    }

    /// The columns that are not in its primary key, in order.
    pub fn other_columns(&self) -> impl Iterator<Item = &ColumnDefinition> {
        let others = self.columns.iter().enumerate().filter(|(at, _)| !self.key.contains(at));
        others.map(|(_, column)| column)
    }

    /// The schema of its rows as users see them.
    pub fn schema(&self) -> SchemaRef {
        let fields: Vec<_> = self.columns.iter().map(|column| column.field.clone()).collect();
        Arc::new(Schema::new(fields))
    }

    /// The schema of its rows with the system columns, which are last.
    pub fn schema_with_system_columns(&self) -> SchemaRef {
        let deleted = Arc::new(Field::new(DELETED_COLUMN, DataType::Boolean, false));
        let fields = self.columns.iter().map(|column| column.field.clone()).chain([seq_field(), deleted]);
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The codec of its keys in the hot store.
    pub fn primary_key(&self) -> Result<PrimaryKey> {
        PrimaryKey::new(self.key_columns().map(|column| column.field.clone()))
    }

    /// The codec of its tuples in the hot store. They have the columns that are not in the key.
    pub fn tuple_schema(&self) -> Result<TupleSchema> {
        let columns = self.other_columns().map(|column| TupleColumn::new(column.id, column.field.clone()));
        TupleSchema::new(self.schema_version, columns.collect::<Result<_>>()?)
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name() == name)
    }

    fn check_columns(&self) -> Result<()> {
        let (mut names, mut ids) = (HashMap::new(), HashSet::from([0]));
        for column in &self.columns {
            let (name, data_type) = (column.name(), column.field.data_type());
            if name.is_empty() || name.contains(char::is_control) {
                return Err(self.invalid(format!("{name:?} cannot be the name of a column")));
            }
            if name.starts_with(RESERVED) {
                let message = format!("the column {name:?} needs another name: names that begin with _ are reserved");
                return Err(self.invalid(message));
            }
            if let Some(other) = names.insert(name.to_lowercase(), name) {
                let message = if other == name {
                    format!("it has the column {name:?} twice")
                } else {
                    format!("its columns {other:?} and {name:?} differ in case only")
                };
                return Err(self.invalid(message));
            }
            if !ids.insert(column.id) {
                return Err(self.invalid(format!("the column {name:?} has the id 0, or that of another column")));
            }
            if !is_column_type(data_type) {
                return Err(self.invalid(format!("the column {name:?} cannot be of type {data_type}: {EXPECTED}")));
            }
            if let Some(Err(why)) = column.default.as_ref().map(|default| default.check(data_type)) {
                return Err(self.invalid(format!("the default of the column {name:?} does not fit: {why}")));
            }
        }
        Ok(())
    }

    fn no_key_column(&self, name: &str) -> TxnLogError {
        let names: Vec<_> = self.columns.iter().map(ColumnDefinition::name).collect();
        let message = format!("its primary key names the column {name:?}, and its columns are {}", names.join(", "));
        self.invalid(message).about(Subject::UnknownColumn(name.into()))
    }

    fn invalid(&self, message: String) -> TxnLogError {
        TxnLogError::invalid(format!("the row table {} is not valid: {message}", self.name)).about(Subject::Schema)
    }
}

/// The column `_seq` of the cold table.
pub(crate) fn seq_field() -> FieldRef {
    Arc::new(Field::new(SEQ_COLUMN, DataType::Int64, false))
}

/// An error for a name that new row tables cannot have.
fn check_new_name(name: &TableName) -> Result<()> {
    check_new_namespace(&name.namespace)?;
    if name.name.starts_with(RESERVED) {
        return Err(TxnLogError::invalid(format!(
            "{name} cannot be the name of a row table: names that begin with _ are reserved"
        )));
    }
    Ok(())
}

/// An error for a text that cannot be the namespace of row tables.
pub(crate) fn check_new_namespace(name: &str) -> Result<()> {
    deltalakedb_log::namespaces::check_namespace(name)?;
    if name.starts_with(RESERVED) {
        return Err(TxnLogError::invalid(format!(
            "{name:?} cannot be a namespace of row tables: names that begin with _ are reserved"
        )));
    }
    if SYSTEM_NAMESPACES.iter().any(|system| name.eq_ignore_ascii_case(system)) {
        return Err(TxnLogError::invalid(format!(
            "{name:?} cannot be a namespace of row tables: it is reserved for the tables of the system"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
