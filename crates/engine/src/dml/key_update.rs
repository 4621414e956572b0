//! UPDATE of columns of the primary key: rows get other keys.
//!
//! What counts is the table after the whole statement, so a row may get a key that another row of the statement had
//! before: `SET id = id + 1`. A key that a row had and no row gets is deleted in the same commit, which conflicts with
//! every other one that changes a row with an old or a new key.

use std::collections::{BTreeMap, HashSet};

use arrow::array::RecordBatch;
use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use deltalakedb_rows::CommitRequest;
use deltalakedb_rows::row_store::ColdPosition;
use deltalakedb_table::datafusion::prelude::SessionContext;

use super::evaluated::{Evaluated, check_not_null, exists, put};
use crate::row_table::{RowTable, SCOPE};
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
        let Self { view, rows, before } = self;
        let table = &view.table;
        let mut request = CommitRequest::at(view.snapshot.seq());
        let mut after = HashSet::new();
        let (mut keys_after, mut places, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for (n, batch) in rows.iter().enumerate() {
            check_not_null(table, batch)?;
            let keys = encoded_keys(table, batch)?;
            if let Some(row) = keys.iter().position(|key| !after.insert(key.clone())) {
                return Err(exists(table, batch, row, true));
            }
            for (row, key) in keys.iter().enumerate().filter(|(_, key)| !before.contains_key(*key)) {
                places.push((n, row));
                others.push(key.clone());
            }
            keys_after.push(keys);
        }
        // Of all rows at once: files may be read for it.
        if let Some(found) = view.existing(session, &others).await? {
            let (n, row) = places[found];
            return Err(exists(table, &rows[n], row, false));
        }
        for (batch, keys) in rows.iter().zip(&keys_after) {
            // A key replaces the row that had it before, if there is one.
            let replaced = keys.iter().map(|key| (key, before.get(key).copied().flatten()));
            put(request.table(table.id, view.cold.generation), table, batch, replaced)?;
        }
        let changed = before.len() as u64;
        let changes = request.table(table.id, view.cold.generation);
        for (key, position) in before.into_iter().filter(|(key, _)| !after.contains(key)) {
            changes.delete(&SCOPE, &key, position);
        }
        Ok(Evaluated { request, rows: changed })
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
