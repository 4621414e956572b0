//! The changes of a statement at a snapshot.

use arrow::array::{Array, RecordBatch};
use deltalakedb_log::{ErrorKind, Result, Subject, TxnLogError};
use deltalakedb_rows::row_store::{ColdPosition, TableChanges};
use deltalakedb_rows::{CommitRequest, TupleEncoder};
use deltalakedb_table::datafusion::common::ScalarValue;

use crate::literal::Literal;
use crate::row_table::{RowTable, SCOPE};

/// The bytes of the largest encoded key. The log of the cold table has the first and the last key of each data file.
const MAX_KEY: usize = 8 << 10;

/// The bytes of the largest encoded row, without its key. A row is in memory as a whole, more than once.
const MAX_ROW: usize = 16 << 20;

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

/// An error if the encoded key of a row is too large.
pub(super) fn check_key(table: &RowTable, key: &[u8]) -> Result<()> {
    if key.len() <= MAX_KEY {
        return Ok(());
    }
    let columns: Vec<_> = table.definition.key_columns().map(|column| column.name()).collect();
    Err(TxnLogError::invalid(format!(
        "a primary key of {} takes {} bytes and may take {MAX_KEY}: shorten the value of {}",
        table.name(),
        key.len(),
        columns.join(" or ")
    )))
}

/// Adds new versions of rows, each with its encoded key and the position of the cold row that it replaces. An error if
/// one is too large.
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
        if tuple.len() > MAX_ROW {
            return Err(TxnLogError::invalid(format!(
                "the row with {} of {} takes {} bytes and may take {MAX_ROW}: store large values elsewhere",
                key_text(table, rows, row),
                table.name(),
                tuple.len()
            )));
        }
        changes.put(&SCOPE, key, tuple, replaced)?;
    }
    Ok(())
}

/// The error for a row whose new key another row has: one of the table, or another one of the statement.
pub(super) fn exists(table: &RowTable, rows: &RecordBatch, row: usize, in_statement: bool) -> TxnLogError {
    let why = if in_statement { "the statement inserts it twice" } else { "a row has this key" };
    let key = key_text(table, rows, row);
    let message = format!("a row with {key} cannot be inserted into {}: {why}", table.name());
    TxnLogError::new(ErrorKind::AlreadyExists, message)
}

/// The key of a row for messages, with values as literals of SQL.
fn key_text(table: &RowTable, rows: &RecordBatch, row: usize) -> String {
    let values = table.definition.key_columns().map(|column| {
        let value = rows.column_by_name(column.name()).and_then(|values| ScalarValue::try_from_array(values, row).ok());
        format!("{} = {}", column.name(), value.as_ref().map_or_else(String::new, value_text))
    });
    values.collect::<Vec<_>>().join(", ")
}

fn value_text(value: &ScalarValue) -> String {
    // A time that no literal spells has a number.
    Literal::of_value(value).map_or_else(|| value.to_string(), |literal| literal.to_string())
}

#[cfg(test)]
mod tests;
