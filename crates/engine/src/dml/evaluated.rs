//! The changes of a statement at a snapshot.

use arrow::array::{Array, RecordBatch};
use deltalakedb_log::{ErrorKind, Result, Subject, TxnLogError};
use deltalakedb_rows::row_store::{ColdPosition, TableChanges};
use deltalakedb_rows::{CommitRequest, TupleEncoder};
use deltalakedb_table::datafusion::common::ScalarValue;

use crate::row_table::{RowTable, SCOPE};

/// The changes of a statement.
pub(super) struct Evaluated {
    pub(super) request: CommitRequest,
    /// How many rows it changes.
    pub(super) rows: u64,
}

/// An error if a column is null that may not be.
pub(super) fn check_not_null(table: &RowTable, rows: &RecordBatch) -> Result<()> {
    for column in table.definition.columns().iter().filter(|column| !column.field().is_nullable()) {
        let nulls = rows.column_by_name(column.name()).map_or(0, |values| values.null_count());
        if nulls > 0 {
            let message = format!("the column {:?} of {} cannot be null", column.name(), table.name());
            return Err(TxnLogError::invalid(message).about(Subject::InvalidRows(nulls)));
        }
    }
    Ok(())
}

/// Adds new versions of rows, each with its encoded key and the position of the cold row that it replaces.
pub(super) fn put<'k>(
    changes: &mut TableChanges,
    table: &RowTable,
    rows: &RecordBatch,
    keys: impl Iterator<Item = (&'k Vec<u8>, Option<ColdPosition>)>,
) -> Result<()> {
    let tuples = TupleEncoder::new(&table.tuples, rows)?;
    for (row, (key, replaced)) in keys.enumerate() {
        let mut tuple = Vec::new();
        tuples.encode(row, &mut tuple)?;
        changes.put(&SCOPE, key, tuple, replaced)?;
    }
    Ok(())
}

/// The error for a row whose new key another row has: one of the table, or another one of the statement.
pub(super) fn exists(table: &RowTable, rows: &RecordBatch, row: usize, in_statement: bool) -> TxnLogError {
    let values = table.definition.key_columns().map(|column| {
        let value = rows.column_by_name(column.name()).and_then(|values| ScalarValue::try_from_array(values, row).ok());
        format!("{} = {}", column.name(), value.map_or_else(String::new, |value| value.to_string()))
    });
    let key = values.collect::<Vec<_>>().join(", ");
    let why = if in_statement { "the statement inserts it twice" } else { "a row has this key" };
    let message = format!("a row with {key} cannot be inserted into {}: {why}", table.name());
    TxnLogError::new(ErrorKind::AlreadyExists, message)
}
