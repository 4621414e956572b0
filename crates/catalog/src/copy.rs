//! Copies a catalog from one database to another, with all history.
//!
//! The source is read at one point. A table is copied version by version, so at every moment the copy is an earlier
//! version of the table. An interrupted copy resumes where it stopped, and copying again adds the versions committed
//! since. At the end every row is compared.

mod table;

use std::collections::HashMap;

use deltalakedb_log::{ErrorKind, Result, TableId, TxnLogError};

pub(crate) use self::table::CHUNK_BYTES;
pub(crate) use self::table::next_batch;
#[cfg(test)]
pub(crate) use self::table::{REMOVED_FILES, rows_of};
use self::table::{SourceTable, TABLE_COLUMNS};
use crate::audit::AUDIT_COLUMNS;
use crate::database::{CommitFailure, DatabaseTransaction, KEYS, Value, WriteStatement, placeholders};
use crate::sql_catalog::SqlCatalog;
use crate::{administration, missing, namespaces, schema};

/// The number of audit entries that are sent at once.
const BATCH_AUDIT: usize = 500;

/// The result of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// Tables in the copy.
    pub tables: u64,
    /// Versions copied by this call.
    pub versions: u64,
    /// Rows of versions that were compared, not counting the few other rows, which are compared as well.
    pub compared: u64,
}

/// Copies every table of `from` into `to`, which is empty or an earlier copy of it. `progress` is called with the
/// number of versions copied and the number of all versions.
pub async fn copy_catalog(from: &SqlCatalog, to: &SqlCatalog, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Copied> {
    // A newer schema may have tables and columns that this program does not know. Copying would silently omit them, so
    // it is rejected.
    for catalog in [from, to] {
        schema::check_known(catalog.db.as_ref(), &catalog.last_identity())?;
    }
    take_identity(from, to).await?;
    let mut source = from.db.read().await?;
    let source = source.as_mut();
    missing::remove_missing((from, source), to).await?;
    // A table may have been renamed or moved to the former name or place of any other.
    let (mut page, mut total, mut copied) = (Pages::default(), 0, Copied::default());
    while let Some(tables) = page.next(source).await? {
        total += tables.iter().map(|t| t.newest + 1 - t.oldest).sum::<i64>();
        copied.tables += tables.len() as u64;
        release_keys(&tables, to).await?;
    }
    let mut versions_copied = 0;
    let mut tell = |versions: i64| {
        versions_copied += versions;
        progress(u64::try_from(versions_copied).unwrap_or(0), u64::try_from(total).unwrap_or(0));
    };
    page = Pages::default();
    while let Some(tables) = page.next(source).await? {
        for table in &tables {
            let mut after = table.prepare(source, to).await?;
            tell(after + 1 - table.oldest);
            while let Some(newest) = next_batch(source, table.id, after).await? {
                table.copy_versions(source, to, after, newest).await?;
                copied.versions += u64::try_from(newest - after).unwrap_or(0);
                tell(newest - after);
                after = newest;
            }
            table.finish(source, to).await?;
        }
    }
    copy_retention(source, to).await?;
    namespaces::copy(source, to).await?;
    copy_audit(source, to).await?;
    page = Pages::default();
    while let Some(tables) = page.next(source).await? {
        for table in &tables {
            copied.compared += table.compare(source, to).await?;
        }
    }
    if copied.versions > 0 {
        to.db.analyze().await?;
    }
    Ok(copied)
}

/// The tables of the source, in pages: those that are fully loaded and not being removed.
#[derive(Default)]
struct Pages {
    after: Option<TableId>,
    is_last: bool,
}

impl Pages {
    async fn next(&mut self, source: &mut dyn DatabaseTransaction) -> Result<Option<Vec<SourceTable>>> {
        if self.is_last {
            return Ok(None);
        }
        let after = self.after.map_or(Value::Blob(Vec::new()), |table| table.0.into());
        let sql = format!(
            "SELECT {} FROM dl_tables WHERE table_id > ? AND state <> 'loading' AND state <> 'removing' \
             ORDER BY table_id LIMIT {KEYS}",
            TABLE_COLUMNS.join(", ")
        );
        let rows = source.query(&sql, vec![after]).await?;
        let tables = rows.into_iter().map(SourceTable::of).collect::<Result<Vec<_>>>()?;
        self.is_last = tables.len() < KEYS;
        self.after = tables.last().map(|table| table.id);
        Ok(Some(tables))
    }
}

/// The retention of tables that have none of their own.
async fn copy_retention(source: &mut dyn DatabaseTransaction, to: &SqlCatalog) -> Result<()> {
    let rows = source.query(&format!("SELECT {} FROM dl_catalog", administration::RETENTION), vec![]).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(()) };
    let sql = "UPDATE dl_catalog SET retention_ms = ?, retention_versions = ?";
    let mut tx = to.write(&[]).await?;
    tx.write(vec![WriteStatement::run(sql, row.0.collect())]).await?;
    tx.commit().await.map_err(CommitFailure::into_error)
}

/// Releases the names and places of tables in the target that were renamed or dropped in the source since they were
/// copied, because other tables of the source may have them now.
async fn release_keys(tables: &[SourceTable], to: &SqlCatalog) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let keys: HashMap<_, _> = tables.iter().map(|table| (table.id, (&table.row[3], &table.row[5]))).collect();
    let sql = format!(
        "SELECT table_id, name_key, location_key FROM dl_tables WHERE table_id IN ({})",
        placeholders(tables.len())
    );
    let mut writes = Vec::new();
    for mut row in to.db.query(&sql, tables.iter().map(SourceTable::id).collect()).await? {
        let (table, there) = (TableId(row.uuid()?), (Value::from(row.opt_text()?), Value::from(row.opt_text()?)));
        if keys.get(&table).is_some_and(|here| *here != (&there.0, &there.1)) {
            let free = "UPDATE dl_tables SET name_key = NULL, location_key = NULL WHERE table_id = ?";
            writes.push(WriteStatement::run(free, vec![table.0.into()]));
        }
    }
    if writes.is_empty() {
        return Ok(());
    }
    let mut tx = to.write(&[]).await?;
    tx.write(writes).await?;
    tx.commit().await.map_err(CommitFailure::into_error)
}

/// Makes an empty catalog a copy of the source: the same catalog id, with a new epoch. Any other catalog is rejected.
async fn take_identity(from: &SqlCatalog, to: &SqlCatalog) -> Result<()> {
    let (source, target) = (from.db.describe(), to.db.describe());
    if source == target {
        return Err(TxnLogError::invalid(format!("{source} is the catalog itself: copy it to another one")));
    }
    let mut tx = to.write(&[]).await?;
    let mut row = tx.query("SELECT catalog_id, (SELECT count(*) FROM dl_tables) FROM dl_catalog", vec![]).await?.pop();
    let row = row.as_mut().ok_or_else(|| TxnLogError::corrupt(format!("{target} has no identity")))?;
    let (id, tables) = (row.uuid()?, row.int()?);
    let own = from.last_identity().catalog_id;
    if id == own {
        return Ok(());
    }
    if tables > 0 {
        let message = format!("{target} holds {tables} tables of another catalog: copy {source} to an empty one");
        return Err(TxnLogError::new(ErrorKind::AlreadyExists, message));
    }
    tx.write(vec![WriteStatement::run("UPDATE dl_catalog SET catalog_id = ?", vec![own.into()])]).await?;
    tx.commit().await.map_err(CommitFailure::into_error)?;
    // Other handles detect the change at their next write.
    to.last_identity().catalog_id = own;
    Ok(())
}

/// Copies the audit entries that the target lacks.
async fn copy_audit(source: &mut dyn DatabaseTransaction, to: &SqlCatalog) -> Result<()> {
    let mut after = Value::Blob(Vec::new());
    loop {
        let sql = format!(
            "SELECT {} FROM dl_audit WHERE audit_id > ? ORDER BY audit_id LIMIT {BATCH_AUDIT}",
            AUDIT_COLUMNS.join(", ")
        );
        let rows = source.query(&sql, vec![after]).await?;
        let mut rows: Vec<Vec<_>> = rows.into_iter().map(|row| row.0.collect()).collect();
        let Some(last) = rows.last() else { return Ok(()) };
        after = last[0].clone();
        let sql = format!("SELECT audit_id FROM dl_audit WHERE audit_id IN ({})", placeholders(rows.len()));
        let there = to.db.query(&sql, rows.iter().map(|row| row[0].clone()).collect()).await?;
        let there: Vec<_> = there.into_iter().flat_map(|row| row.0).collect();
        rows.retain(|row| !there.contains(&row[0]));
        if !rows.is_empty() {
            let mut tx = to.write(&[]).await?;
            tx.write(vec![WriteStatement::insert("dl_audit", &AUDIT_COLUMNS, rows)]).await?;
            tx.commit().await.map_err(CommitFailure::into_error)?;
        }
    }
}
