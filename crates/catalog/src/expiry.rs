//! Expiry of history: increases the oldest retained version and removes, in the same transaction, what no version from
//! it on needs.
//!
//! Before a step, no rows are stored that only versions before the oldest one need, so a step reads only the rows of
//! the versions that it expires: those they added, the files they removed, and the keys they replaced.

use async_trait::async_trait;
use deltalakedb_log::retention::{Expired, Expiry, HistoryExpiry, HistoryLimits, Keep, STEP_FILES, STEP_VERSIONS};
use deltalakedb_log::{Catalog, Result, TableEntry, TableId, Version};

use crate::audit::audit;
use crate::codec::int;
use crate::database::{CommitFailure, DatabaseTransaction, Value, WriteStatement};
use crate::retained::AT_OR_BEFORE;
use crate::sql_catalog::{SqlCatalog, WriteTransaction};
use crate::table_lookup::{find_in, no_table_in};

/// The number of commit ids that one step examines.
const STEP_ROWS: i64 = 2_000;

#[async_trait]
impl HistoryExpiry for SqlCatalog {
    async fn end_of_history(&self, table: TableId, keep: &Keep) -> Result<Version> {
        let now_ms = self.now_ms().await?;
        let mut tx = self.db.read().await?;
        let Some(entry) = find_in(tx.as_mut(), table).await? else {
            return Err(no_table_in(tx.as_mut(), self.db.as_ref(), table).await);
        };
        end(tx.as_mut(), &entry, keep, now_ms).await
    }

    async fn expire(&self, expiry: &Expiry) -> Result<Expired> {
        let table = expiry.table;
        let WriteTransaction { mut tx, now_ms, .. } = self.begin_write(&[table]).await?;
        let Some(entry) = find_in(tx.as_mut(), table).await? else {
            return Err(no_table_in(tx.as_mut(), self.db.as_ref(), table).await);
        };
        expiry.committer.check(&entry.name, entry.owner.as_ref())?;
        let base = entry.base_version;
        let end = end(tx.as_mut(), &entry, &expiry.keep, now_ms).await?.min(expiry.up_to).max(base);
        let next = step(tx.as_mut(), table, (base, end)).await?;
        let mut files = 0;
        if next > base {
            files = tx.write(vec![end_files(table, next)]).await?;
            let mut writes = delete_expired(table, (base, next));
            let committer = expiry.committer.name.as_deref();
            writes.push(audit(self, now_ms, committer, "EXPIRE HISTORY", table, Some(next)));
            tx.write(writes).await?;
        }
        let more_ids = delete_commit_ids(tx.as_mut(), table, next, expiry.keep.ids_since_ms).await?;
        if next > base || more_ids.is_some() {
            tx.commit().await.map_err(CommitFailure::into_error)?;
        }
        let is_done = next == end && more_ids != Some(true);
        Ok(Expired { base_version: next, versions: next - base, files, is_done })
    }
}

/// The oldest version that must be retained.
async fn end(tx: &mut dyn DatabaseTransaction, entry: &TableEntry, keep: &Keep, now_ms: i64) -> Result<Version> {
    let params = vec![entry.id.0.into(), keep.since_ms.into()];
    let newest_then = tx.query(AT_OR_BEFORE, params).await?.pop();
    let sql = "SELECT min(version) FROM dl_holds WHERE table_id = ? AND held_until > ?";
    let oldest_hold = tx.query(sql, vec![entry.id.0.into(), now_ms.into()]).await?.pop();
    let limits = HistoryLimits {
        base: entry.base_version,
        current: entry.current_version,
        published: entry.published_version,
        newest_then: newest_then.map(|mut row| row.version()).transpose()?,
        held: oldest_hold.map(|mut row| row.opt_version()).transpose()?.flatten(),
    };
    Ok(limits.end(keep.versions))
}

/// The new oldest retained version of a step.
pub(crate) async fn step(
    tx: &mut dyn DatabaseTransaction,
    table: TableId,
    (base, end): (Version, Version),
) -> Result<Version> {
    if base == end {
        return Ok(base);
    }
    let sql = format!(
        "SELECT version, files_added + files_removed FROM dl_table_versions \
         WHERE table_id = ? AND version > ? AND version <= ? ORDER BY version LIMIT {STEP_VERSIONS}"
    );
    let (mut next, mut files) = (base, 0);
    for mut row in tx.query(&sql, vec![table.0.into(), int(base), int(end)]).await? {
        let version = row.version()?;
        files += row.int()?.unsigned_abs();
        if next > base && files > STEP_FILES {
            break;
        }
        next = version;
    }
    Ok(next)
}

/// Removes the files that are in no version from `base` on.
pub(crate) fn end_files(table: TableId, base: Version) -> WriteStatement {
    let sql = "DELETE FROM dl_add_files WHERE table_id = ? AND removed_version <= ?";
    WriteStatement::run(sql, vec![table.0.into(), int(base)])
}

/// Increases the oldest retained version and removes the rows that are no longer needed, except files.
pub(crate) fn delete_expired(table: TableId, (from, base): (Version, Version)) -> Vec<WriteStatement> {
    let (id, from, base) = (Value::from(table.0), int(from), int(base));
    let own = || vec![id.clone(), base.clone()];
    let of_versions = ["dl_table_versions", "dl_commit_bodies", "dl_remove_files", "dl_cdc_files"]
        .map(|of| WriteStatement::run(format!("DELETE FROM {of} WHERE table_id = ? AND version < ?"), own()));
    let of_table = ["dl_metadata_updates", "dl_protocol_updates"].map(|of| {
        let sql = format!(
            "DELETE FROM {of} WHERE table_id = ? AND version < \
             (SELECT coalesce(max(version), 0) FROM {of} WHERE table_id = ? AND version <= ?)"
        );
        WriteStatement::run(sql, [vec![id.clone()], own()].concat())
    });
    // Each key has one row up to `from`, which is replaced if the key was set since then.
    let of_keys = [("dl_txn_actions", "app_id"), ("dl_domain_metadata", "domain")].map(|(of, key)| {
        let sql = format!(
            "DELETE FROM {of} WHERE table_id = ? AND version < ? AND {key} IN \
             (SELECT n.{key} FROM {of} n WHERE n.table_id = ? AND n.version > ? AND n.version <= ?) \
             AND version < (SELECT max(m.version) FROM {of} m \
             WHERE m.table_id = ? AND m.{key} = {of}.{key} AND m.version <= ?)"
        );
        WriteStatement::run(sql, [own(), vec![id.clone(), from.clone(), base.clone()], own()].concat())
    });
    let moved =
        WriteStatement::run("UPDATE dl_tables SET base_version = ? WHERE table_id = ?", vec![base.clone(), id.clone()]);
    [moved].into_iter().chain(of_versions).chain(of_table).chain(of_keys).collect()
}

/// Removes ids of commits whose versions have expired and that are older than the given time. `None` when there are
/// none, otherwise whether there may be more.
pub(crate) async fn delete_commit_ids(
    tx: &mut dyn DatabaseTransaction,
    table: TableId,
    base: Version,
    since_ms: i64,
) -> Result<Option<bool>> {
    // The times of a table increase with its versions.
    let sql = format!(
        "SELECT version, committed_at FROM dl_commit_ids WHERE table_id = ? AND version < ? ORDER BY version \
         LIMIT {STEP_ROWS}"
    );
    let (mut last, mut count) = (None, 0);
    for mut row in tx.query(&sql, vec![table.0.into(), int(base)]).await? {
        let (version, committed_at) = (row.version()?, row.int()?);
        if committed_at < since_ms {
            (last, count) = (Some(version), count + 1);
        }
    }
    let Some(last) = last else { return Ok(None) };
    tx.write(vec![delete_commit_ids_to(table, last)]).await?;
    Ok(Some(count == STEP_ROWS))
}

/// Removes the ids of the commits up to a version.
pub(crate) fn delete_commit_ids_to(table: TableId, last: Version) -> WriteStatement {
    WriteStatement::run(
        "DELETE FROM dl_commit_ids WHERE table_id = ? AND version <= ?",
        vec![table.0.into(), int(last)],
    )
}
