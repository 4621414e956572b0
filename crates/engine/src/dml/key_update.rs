//! UPDATE of columns of the primary key: rows get other keys.
//!
//! What counts is the table after the whole statement, so a row may get a key that another row of the statement had
//! before: `SET id = id + 1`. A key that a row had and no row gets is deleted in the same commit, which conflicts with
//! every other one that changes a row with an old or a new key.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use deltalakedb_rows::row_store::ColdPosition;
use deltalakedb_table::datafusion::prelude::SessionContext;

use super::evaluated::Evaluated;
use super::new_keys::with_keys;
use crate::row_table::RowTable;
use crate::table_view::{TableView, encoded_keys};

/// What the names of columns begin with that have the values before the update. No column of a table is named so.
const BEFORE_UPDATE: &str = "_before_update_";

/// The column with the values that a column of the key has before the update.
pub(super) fn before_update(column: &str) -> String {
    format!("{BEFORE_UPDATE}{column}")
}

/// The column of the table whose values a column has.
pub(super) fn column_of(name: &str) -> &str {
    name.strip_prefix(BEFORE_UPDATE).unwrap_or(name)
}

/// The rows of an UPDATE that may change keys, as they are after it.
pub(super) struct KeyUpdate<'a> {
    view: &'a TableView,
    rows: Vec<RecordBatch>,
    /// The encoded keys of the rows before the update, and where the cold ones of them are.
    before: BTreeMap<Vec<u8>, Option<ColdPosition>>,
}

impl<'a> KeyUpdate<'a> {
    /// No rows yet.
    pub(super) fn new(view: &'a TableView) -> Self {
        Self { view, rows: Vec::new(), before: BTreeMap::new() }
    }

    /// Adds rows, which have all columns of the table and those that [`before_update`] names, and where they are.
    pub(super) fn add(&mut self, rows: RecordBatch, positions: Vec<Option<ColdPosition>>) -> Result<()> {
        self.before.extend(keys_before_update(&self.view.table, &rows)?.into_iter().zip(positions));
        self.rows.push(rows);
        Ok(())
    }

    /// The changes; an error if a row gets a key that another one has after the statement.
    pub(super) async fn evaluate(self, session: &SessionContext) -> Result<Evaluated> {
        let rows = self.before.len() as u64;
        let request = with_keys(self.view, session, self.rows, self.before).await?;
        Ok(Evaluated { request, rows })
    }
}

/// The encoded keys of rows before the update.
fn keys_before_update(table: &RowTable, rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
    let missing = || TxnLogError::new(ErrorKind::Internal, "the rows to be changed have no keys");
    let columns = table.definition.key_columns().map(|column| {
        let values = rows.column_by_name(&before_update(column.name())).ok_or_else(missing)?;
        Ok((column.name(), values.clone()))
    });
    let keys = RecordBatch::try_from_iter(columns.collect::<Result<Vec<_>>>()?);
    encoded_keys(table, &keys.map_err(|e| missing().with_source(e))?)
}
