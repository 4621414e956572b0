//! The columns of the tuples of a table.

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;
use deltalakedb_log::{Result, Subject, TxnLogError};

use super::values::{Reason, Refused, put_value, tag};
use crate::column_type::{ColumnType, TypedField};

/// A column of a table's tuples.
#[derive(Clone, Debug)]
pub struct TupleColumn {
    field: FieldRef,
    /// The field with its type of Delta.
    pub(super) typed: TypedField,
    /// The tag and value that are read where a tuple does not have the column.
    pub(super) default: Option<Vec<u8>>,
}

impl TupleColumn {
    /// The column with this id, above 0, which no other column of the table ever had.
    ///
    /// Fields within structs are identified by the id in their metadata, `delta.columnMapping.id`; where they have none,
    /// by their position, so that new fields can only be appended.
    ///
    /// Fails if the type of the field is not a type of Delta, or if two fields of a struct have the same id.
    pub fn new(id: u32, field: FieldRef) -> Result<Self> {
        let data_type = ColumnType::of_column(&field)?;
        if id == 0 || !data_type.has_unique_ids() {
            let message = format!("column {:?} or a field in it has the id 0, or that of another field", field.name());
            return Err(TxnLogError::invalid(message).about(Subject::Schema));
        }
        let typed = TypedField { id, name: field.name().clone(), data_type, nullable: field.is_nullable() };
        Ok(Self { field, typed, default: None })
    }

    /// The column with a default: its value in rows that were written before the column was added. Without one it is
    /// null there.
    ///
    /// Fails unless `value` has one row, of the column's type.
    pub fn with_default(mut self, value: &ArrayRef) -> Result<Self> {
        let name = self.field.name();
        if value.len() != 1 {
            let message = format!("column {name:?} cannot have {} defaults", value.len());
            return Err(TxnLogError::invalid(message).about(Subject::Schema));
        }
        let array = self.typed.data_type.canonical_array(name, value)?;
        let put = || {
            let tag = tag(&self.typed, &array, 0)?;
            let mut default = vec![tag as u8];
            put_value(&self.typed.data_type, tag, &array, 0, &mut default)?;
            Ok(default)
        };
        self.default = Some(put().map_err(|refused| refusal(refused, Some(name)))?);
        Ok(self)
    }

    /// The id.
    pub fn id(&self) -> u32 {
        self.typed.id
    }

    /// The Arrow field, in whose type the column is read.
    pub fn field(&self) -> &FieldRef {
        &self.field
    }
}

/// What a value that cannot be written is reported as; `column` if `refused` does not have its name.
pub(super) fn refusal(refused: Refused, column: Option<&str>) -> TxnLogError {
    let names: Vec<_> = column.into_iter().chain(refused.within.iter().rev().map(String::as_str)).collect();
    let name = names.join(".");
    match refused.why {
        Reason::Null => TxnLogError::invalid(format!("column {name:?} cannot be null")).about(Subject::InvalidRows(1)),
        Reason::Precision => TxnLogError::invalid(format!("column {name:?} has a decimal with too many digits")),
        Reason::Representation => TxnLogError::new(
            deltalakedb_log::ErrorKind::Internal,
            format!("column {name:?} was not converted to its type"),
        ),
    }
}

/// A version of the columns of a table's tuples.
#[derive(Clone, Debug)]
pub struct TupleSchema {
    version: u32,
    columns: Vec<TupleColumn>,
    /// The positions of the columns in order of their ids.
    pub(super) by_id: Vec<usize>,
}

impl TupleSchema {
    /// The columns at a version of the schema.
    ///
    /// Fails if two columns have the same id or name.
    pub fn new(version: u32, columns: Vec<TupleColumn>) -> Result<Self> {
        let mut by_id: Vec<usize> = (0..columns.len()).collect();
        by_id.sort_by_key(|&n| columns[n].id());
        let mut names: Vec<_> = columns.iter().map(|column| column.field.name()).collect();
        names.sort();
        let twice = by_id.windows(2).find(|pair| columns[pair[0]].id() == columns[pair[1]].id());
        let twice = twice.map(|pair| columns[pair[1]].field.name());
        if let Some(name) = twice.or(names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[1])) {
            let message = format!("column {name:?} has the id or the name of another column");
            return Err(TxnLogError::invalid(message).about(Subject::Schema));
        }
        Ok(Self { version, columns, by_id })
    }

    /// The version, which each tuple has.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The columns.
    pub fn columns(&self) -> &[TupleColumn] {
        &self.columns
    }
}
