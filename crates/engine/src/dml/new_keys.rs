//! Rows that get keys: those of an INSERT, and those of an UPDATE of columns of the primary key.
//!
//! After the statement no two rows have one key. The keys of all its rows are looked up at once, because files may be
//! read for it.

use std::collections::{BTreeMap, HashSet};

use arrow::array::RecordBatch;
use deltalakedb_log::Result;
use deltalakedb_rows::CommitRequest;
use deltalakedb_rows::row_store::ColdPosition;
use deltalakedb_table::datafusion::prelude::SessionContext;

use super::evaluated::{check_key, check_not_null, exists, put};
use crate::row_table::SCOPE;
use crate::table_view::{TableView, encoded_keys};

/// The changes of a statement that puts these rows in place of those that had the keys `before`, which are given with
/// the positions of the cold ones. A key that a row had and no row gets is deleted.
///
/// # Errors
/// If a column is null that may not be, if a key or a row is too large, or if two rows would have one key.
pub(super) async fn with_keys(
    view: &TableView,
    session: &SessionContext,
    rows: Vec<RecordBatch>,
    before: BTreeMap<Vec<u8>, Option<ColdPosition>>,
) -> Result<CommitRequest> {
    let table = &view.table;
    let mut keys = Vec::with_capacity(rows.len());
    for batch in &rows {
        check_not_null(table, batch)?;
        let of_batch = encoded_keys(table, batch)?;
        // Before any message shows a key.
        of_batch.iter().try_for_each(|key| check_key(table, key))?;
        keys.push(of_batch);
    }
    let (mut after, mut places, mut others) = (HashSet::new(), Vec::new(), Vec::new());
    for (n, (batch, keys)) in rows.iter().zip(&keys).enumerate() {
        for (row, key) in keys.iter().enumerate() {
            if !after.insert(key.as_slice()) {
                return Err(exists(table, batch, row, true));
            }
            if !before.contains_key(key) {
                places.push((n, row));
                others.push(key.clone());
            }
        }
    }
    if let Some(found) = view.existing(session, others).await? {
        let (n, row) = places[found];
        return Err(exists(table, &rows[n], row, false));
    }
    let mut request = CommitRequest::at(view.snapshot.seq());
    let changes = request.table(table.id, view.cold.generation);
    for (key, position) in before.iter().filter(|(key, _)| !after.contains(key.as_slice())) {
        changes.delete(&SCOPE, key, *position);
    }
    for (batch, keys) in rows.into_iter().zip(&keys) {
        // A key replaces the row that had it before, if there is one.
        let replaced = keys.iter().map(|key| (key, before.get(key).copied().flatten()));
        put(changes, table, &batch, replaced)?;
    }
    Ok(request)
}
