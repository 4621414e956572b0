//! Tables of a copy that its source has removed: they are removed in the copy as well, because other tables may have
//! their names and places now.

use std::collections::HashSet;

use deltalakedb_log::{ErrorKind, Result, TableId, TableName, TxnLogError};

use crate::database::{CommitFailure, DatabaseTransaction, KEYS, Row, Value, WriteStatement, placeholders};
use crate::sql_catalog::SqlCatalog;
use crate::{codec, removal};

/// Removes from the copy `to` the tables that `source`, a transaction of `from`, does not have or is removing. A removal
/// that was interrupted is completed by the next copy.
pub(crate) async fn remove_missing(
    (from, source): (&SqlCatalog, &mut dyn DatabaseTransaction),
    to: &SqlCatalog,
) -> Result<()> {
    let mut after = Value::Blob(Vec::new());
    loop {
        let sql = format!("SELECT table_id FROM dl_tables WHERE table_id > ? ORDER BY table_id LIMIT {KEYS}");
        let mut tables = ids(to.db.query(&sql, vec![after]).await?)?;
        let Some(last) = tables.last() else { return Ok(()) };
        after = last.0.into();
        let present = present(source, &tables).await?;
        tables.retain(|table| !present.contains(table));
        for table in &tables {
            check_not_own((from, &mut *source), to, *table).await?;
        }
        mark(to, &tables).await?;
        for table in tables {
            remove(to, table).await?;
        }
    }
}

fn ids(rows: Vec<Row>) -> Result<Vec<TableId>> {
    rows.into_iter().map(|mut row| Ok(TableId(row.uuid()?))).collect()
}

/// The tables that the source has and is not removing.
async fn present(source: &mut dyn DatabaseTransaction, tables: &[TableId]) -> Result<HashSet<TableId>> {
    let sql = format!(
        "SELECT table_id FROM dl_tables WHERE table_id IN ({}) AND state <> 'removing'",
        placeholders(tables.len())
    );
    let params = tables.iter().map(|table| table.0.into()).collect();
    Ok(ids(source.query(&sql, params).await?)?.into_iter().collect())
}

/// Rejects the removal of a table that the source never had: its newest version was committed in the copy.
async fn check_not_own(
    (from, source): (&SqlCatalog, &mut dyn DatabaseTransaction),
    to: &SqlCatalog,
    table: TableId,
) -> Result<()> {
    let sql = "SELECT t.namespace, t.name, b.body FROM dl_tables t JOIN dl_commit_bodies b \
               ON b.table_id = t.table_id AND b.version = t.current_version WHERE t.table_id = ?";
    let Some(mut row) = to.db.query(sql, vec![table.0.into()]).await?.pop() else { return Ok(()) };
    let name = TableName { namespace: row.text()?, name: row.text()? };
    let body = codec::decompress(&row.blob()?)?;
    let (source_epoch, epoch) = (from.last_identity().epoch, to.last_identity().epoch);
    let epoch_text = epoch.to_string();
    let is_of_copy = body.windows(epoch_text.len()).any(|text| text == epoch_text.as_bytes());
    if epoch == source_epoch || !is_of_copy {
        return Ok(());
    }
    // The source may itself be a copy of this catalog, and have removed a table that it copied from here.
    let sql = "SELECT 1 FROM dl_audit WHERE table_id = ? LIMIT 1";
    if !source.query(sql, vec![table.0.into()]).await?.is_empty() {
        return Ok(());
    }
    let place = to.db.describe();
    let message = format!("{name} in {place} is not the source's: it has commits of its own, copy to an empty catalog");
    Err(TxnLogError::new(ErrorKind::Invalid, message))
}

/// Releases the names and places of these tables, and sets their state to `removing`.
async fn mark(to: &SqlCatalog, tables: &[TableId]) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "UPDATE dl_tables SET state = 'removing', name_key = NULL, location_key = NULL, retained_until = 0 \
         WHERE table_id IN ({})",
        placeholders(tables.len())
    );
    let mut tx = to.write(tables).await?;
    tx.write(vec![WriteStatement::run(sql, tables.iter().map(|table| table.0.into()).collect())]).await?;
    tx.commit().await.map_err(CommitFailure::into_error)
}

/// Removes all rows of a table from the copy, in bounded transactions. Its audit is copied from the source.
async fn remove(to: &SqlCatalog, table: TableId) -> Result<()> {
    loop {
        let mut tx = to.write(&[table]).await?;
        let removed = removal::remove_rows(to, tx.as_mut(), table).await?;
        tx.commit().await.map_err(CommitFailure::into_error)?;
        if removed.is_done {
            return Ok(());
        }
    }
}
