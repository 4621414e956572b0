//! Removes the rows of tables that cannot be undropped, in transactions of a limited number of rows; the row of the
//! table is last.

use deltalakedb_log::lifecycle::{RemovedRows, STEP_ROWS, no_table};
use deltalakedb_log::retention::COMMIT_IDS_MS;
use deltalakedb_log::{Catalog, InactiveTable, Result, TableId, TableState};

use crate::audit::audit;
use crate::database::{CommitFailure, DatabaseTransaction, Value, WriteStatement};
use crate::sql_catalog::{SqlCatalog, WriteTransaction};
use crate::table_lookup::{ALL_TABLES, any_table, find_any};
use crate::table_rows;

/// The tables in which a table may have many rows, with the columns that identify these.
const MANY_ROWS: [(&str, &str); 12] = [
    ("dl_add_files", "version, file_key"),
    ("dl_remove_files", "version, file_key"),
    ("dl_cdc_files", "version, path"),
    ("dl_commit_bodies", "version"),
    ("dl_commit_ids", "commit_id"),
    ("dl_metadata_updates", "version"),
    ("dl_protocol_updates", "version"),
    ("dl_txn_actions", "app_id, version"),
    ("dl_domain_metadata", "domain, version"),
    ("dl_holds", "hold_id"),
    ("dl_references", "folder"),
    ("dl_table_versions", "version"),
];

pub(crate) async fn removable_tables(
    catalog: &SqlCatalog,
    after: Option<&InactiveTable>,
    limit: usize,
) -> Result<Vec<InactiveTable>> {
    let now_ms = catalog.now_ms().await?;
    let ids_since_ms = now_ms.saturating_sub(COMMIT_IDS_MS);
    let (mut and, mut params) = ("", vec![now_ms.into(), ids_since_ms.into()]);
    if let Some(after) = after {
        and = " AND (retained_until, table_id) > (?, ?)";
        params.extend([after.retained_until.into(), after.id.0.into()]);
    }
    let sql = format!(
        "{ALL_TABLES} retained_until IS NOT NULL AND retained_until <= ? AND (state = 'removing' \
         OR (state IN ('dropped', 'deleted', 'detached') AND dropped_at <= ?)){and} ORDER BY retained_until, table_id LIMIT {limit}"
    );
    catalog.db.query(&sql, params).await?.into_iter().map(any_table).collect()
}

pub(crate) async fn remove_some(catalog: &SqlCatalog, table: TableId) -> Result<RemovedRows> {
    let WriteTransaction { mut tx, now_ms, .. } = catalog.begin_write(&[table]).await?;
    let found = find_any(tx.as_mut(), table).await?;
    let found = found.ok_or_else(|| no_table(table, &catalog.db.describe(), None))?;
    found.check_removal(now_ms)?;
    if found.state != TableState::Removing {
        let sql = "UPDATE dl_tables SET state = ? WHERE table_id = ?";
        let params = vec![TableState::Removing.as_str().into(), table.0.into()];
        tx.write(vec![WriteStatement::run(sql, params)]).await?;
    }
    let removed = remove_rows(catalog, tx.as_mut(), table).await?;
    if removed.is_done {
        tx.write(vec![audit(catalog, now_ms, None, "TABLE REMOVED", table, None)]).await?;
    }
    tx.commit().await.map_err(CommitFailure::into_error)?;
    Ok(removed)
}

/// Removes a batch of the rows of a table that [is being removed](TableState::Removing), its own row last.
pub(crate) async fn remove_rows(
    catalog: &SqlCatalog,
    tx: &mut dyn DatabaseTransaction,
    table: TableId,
) -> Result<RemovedRows> {
    let id = Value::from(table.0);
    tx.write(newest_of_all(catalog)).await?;
    let mut rows = 0;
    for (from, key) in MANY_ROWS {
        let left = STEP_ROWS - rows;
        let sql = format!(
            "DELETE FROM {from} WHERE table_id = ? AND ({key}) IN (SELECT {key} FROM {from} WHERE table_id = ? LIMIT {left})"
        );
        rows += tx.write(vec![WriteStatement::run(sql, vec![id.clone(), id.clone()])]).await?;
        if rows >= STEP_ROWS {
            return Ok(RemovedRows { rows, is_done: false });
        }
    }
    rows += tx.write(table_rows::tables_of_a_table().map(|from| all_of(from, table)).collect()).await?;
    Ok(RemovedRows { rows, is_done: true })
}

/// Removes all rows of a table.
pub(crate) fn all_of(from: &str, table: TableId) -> WriteStatement {
    WriteStatement::run(format!("DELETE FROM {from} WHERE table_id = ?"), vec![table.0.into()])
}

/// Inserts or updates a row of no table as the newest of all versions, before others are removed: if the newest row were
/// removed, its row id, and so its position in the order of versions, would be assigned again.
pub(crate) fn newest_of_all(catalog: &SqlCatalog) -> Vec<WriteStatement> {
    // A server orders versions by its transactions, and all removals would wait for the lock on this row.
    if catalog.db.locks_heads() {
        return Vec::new();
    }
    let no_table = Value::from(uuid::Uuid::nil());
    let number = Value::Int((catalog.clock.new_uuid().as_u128() >> 65) as i64);
    let columns = [
        "table_id",
        "version",
        "committed_at",
        "time_source",
        "files_added",
        "files_removed",
        "bytes_added",
        "bytes_removed",
        "set_hash",
    ];
    let [zero, none] = [Value::Int(0), Value::Blob(Vec::new())];
    let row = vec![
        no_table.clone(),
        number.clone(),
        zero.clone(),
        "clock".into(),
        zero.clone(),
        zero.clone(),
        zero.clone(),
        zero,
        none,
    ];
    let others = "DELETE FROM dl_table_versions WHERE table_id = ? AND version <> ?";
    vec![
        WriteStatement::insert("dl_table_versions", &columns, vec![row]),
        WriteStatement::run(others, vec![no_table, number]),
    ]
}
