//! The state of the mirrors: the watermark, the lease, failures.
//!
//! All of it has rows of its own. Everything but the state may be lost in a power failure: publishing a published
//! version again is harmless, and a lease expires by itself. These writes lock the table's row of `dl_mirrors` and no
//! head, so commits continue. The state is changed with the head locked, because commits depend on it.

use async_trait::async_trait;
use deltalakedb_log::{
    Artifact, Lease, MirrorFailure, MirrorProgress, MirrorState, Result, TableBehind, TableEntry, TableId, TableName,
    Version, commit,
};
use uuid::Uuid;

use crate::audit::audit;
use crate::codec::int;
use crate::database::{CommitFailure, DatabaseTransaction, Row, Value, WriteStatement};
use crate::sql_catalog::SqlCatalog;
use crate::table_lookup::{LIVE_TABLES, mirror_state, next_entry, no_table_in};

/// The columns of `dl_mirrors` that are copied. A lease belongs to one catalog.
pub(crate) const MIRROR_COLUMNS: [&str; 5] =
    ["table_id", "published_version", "state", "diverged_version", "diverged_what"];
pub(crate) const FAILURE_COLUMNS: [&str; 6] =
    ["table_id", "version", "artifact", "attempts", "last_error", "failed_at"];

/// Inserts the mirror of a new table.
pub(crate) fn register(table: TableId) -> WriteStatement {
    WriteStatement::insert("dl_mirrors", &["table_id", "state"], vec![vec![table.0.into(), "following".into()]])
}

/// Inserts the mirror of a table that was loaded from its `_delta_log`, which has everything up to `published`.
pub(crate) fn set_following(table: TableId, published: Option<Version>) -> WriteStatement {
    let sql = "UPDATE dl_mirrors SET state = 'following', diverged_version = NULL, diverged_what = NULL, \
               published_version = CASE WHEN coalesce(published_version, -1) < ? THEN ? ELSE published_version END \
               WHERE table_id = ?";
    let published = published.map_or(Value::Null, int);
    WriteStatement::run(sql, vec![published.clone(), published, table.0.into()])
}

/// Ends a lease; changes no row if it is not the newest.
pub(crate) fn end_lease(lease: &Lease) -> WriteStatement {
    let sql = "UPDATE dl_mirrors SET lease_expires_at = 0 WHERE table_id = ? AND lease_holder = ? AND lease_token = ?";
    WriteStatement::run(sql, vec![lease.table.0.into(), lease.holder.into(), lease.token.into()])
}

async fn done(tx: Box<dyn DatabaseTransaction>) -> Result<()> {
    tx.commit().await.map_err(CommitFailure::into_error)
}

#[async_trait]
impl MirrorProgress for SqlCatalog {
    async fn acquire_lease(&self, table: TableId, holder: Uuid, now_ms: i64, until_ms: i64) -> Result<Option<Lease>> {
        let mut tx = self.write_async_commit(table).await?;
        let sql = "SELECT mirror.lease_holder, mirror.lease_token, mirror.lease_expires_at FROM dl_tables t \
                   JOIN dl_mirrors mirror ON mirror.table_id = t.table_id WHERE t.table_id = ? AND t.state = 'live'";
        let Some(mut row) = tx.query(sql, vec![table.0.into()]).await?.pop() else {
            return Err(no_table_in(tx.as_mut(), self.db.as_ref(), table).await);
        };
        let (held_by, token, expires) = (row.opt_blob()?, row.opt_int()?, row.opt_int()?);
        let mine = held_by.is_some_and(|h| h == holder.as_bytes());
        if !mine && expires.is_some_and(|at| at > now_ms) {
            return Ok(None);
        }
        let lease = Lease { table, holder, token: token.unwrap_or(0) + 1 };
        let params = vec![holder.into(), lease.token.into(), until_ms.into(), table.0.into()];
        let sql = "UPDATE dl_mirrors SET lease_holder = ?, lease_token = ?, lease_expires_at = ? WHERE table_id = ?";
        tx.write(vec![WriteStatement::run(sql, params)]).await?;
        done(tx).await?;
        Ok(Some(lease))
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        let mut tx = self.write_async_commit(lease.table).await?;
        tx.write(vec![end_lease(lease)]).await?;
        done(tx).await
    }

    async fn mark_published(&self, lease: &Lease, version: Version) -> Result<()> {
        let mut tx = self.write_async_commit(lease.table).await?;
        let sql = "UPDATE dl_mirrors SET published_version = \
                   CASE WHEN coalesce(published_version, -1) < ? THEN ? ELSE published_version END \
                   WHERE table_id = ? AND lease_holder = ? AND lease_token = ?";
        let (table, version) = (Value::from(lease.table.0), int(version));
        let params = vec![version.clone(), version.clone(), table.clone(), lease.holder.into(), lease.token.into()];
        if tx.write(vec![WriteStatement::run(sql, params)]).await? == 0 {
            let sql = "SELECT namespace, name FROM dl_tables WHERE table_id = ?";
            let Some(mut row) = tx.query(sql, vec![table]).await?.pop() else {
                return Err(no_table_in(tx.as_mut(), self.db.as_ref(), lease.table).await);
            };
            return Err(commit::lease_lost(&TableName { namespace: row.text()?, name: row.text()? }));
        }
        tx.write(vec![delete_failures(table, version, Artifact::Commit)]).await?;
        done(tx).await
    }

    async fn mark_next_published(&self, table: TableId, from: Version, to: Version) -> Result<bool> {
        let mut tx = self.write_async_commit(table).await?;
        let sql = "UPDATE dl_mirrors SET published_version = ? WHERE table_id = ? AND (published_version = ? OR \
                   (published_version IS NULL AND EXISTS (SELECT 1 FROM dl_tables t WHERE t.table_id = ? \
                   AND t.base_version = ?)))";
        let before = from.checked_sub(1).map_or(Value::Int(-1), int);
        let params = vec![int(to), table.0.into(), before, table.0.into(), int(from)];
        let is_next = tx.write(vec![WriteStatement::run(sql, params)]).await? == 1;
        if is_next {
            tx.write(vec![delete_failures(table.0.into(), int(to), Artifact::Commit)]).await?;
            done(tx).await?;
        }
        Ok(is_next)
    }

    async fn mark_checkpointed(&self, table: TableId, version: Version) -> Result<()> {
        let mut tx = self.write_async_commit(table).await?;
        tx.write(vec![delete_failures(table.0.into(), int(version), Artifact::Checkpoint)]).await?;
        done(tx).await
    }

    async fn mark_failed(
        &self,
        table: TableId,
        version: Version,
        artifact: Artifact,
        error: &str,
        at_ms: i64,
    ) -> Result<()> {
        let mut tx = self.write_async_commit(table).await?;
        if artifact == Artifact::Commit {
            let sql = "SELECT published_version FROM dl_mirrors WHERE table_id = ?";
            let published =
                tx.query(sql, vec![table.0.into()]).await?.pop().map(|mut row| row.opt_version()).transpose()?;
            if published.flatten() >= Some(version) {
                return Ok(());
            }
        }
        // Nothing is recorded for a table that has been removed concurrently.
        let sql = "INSERT INTO dl_mirror_failures (table_id, version, artifact, attempts, last_error, failed_at) \
                   SELECT table_id, CAST(? AS bigint), CAST(? AS text), 1, CAST(? AS text), CAST(? AS bigint) \
                   FROM dl_mirrors WHERE table_id = ? ON CONFLICT (table_id, version, artifact) DO UPDATE SET \
                   attempts = dl_mirror_failures.attempts + 1, last_error = excluded.last_error, \
                   failed_at = excluded.failed_at";
        let params = vec![int(version), artifact.as_str().into(), error.into(), at_ms.into(), table.0.into()];
        tx.write(vec![WriteStatement::run(sql, params)]).await?;
        done(tx).await
    }

    async fn set_mirror(&self, seen: &TableEntry, state: &MirrorState) -> Result<bool> {
        let table = seen.id;
        let (word, version, what, action) = match state {
            MirrorState::Following => ("following", None, None, "MIRROR RESUMED"),
            MirrorState::Diverged { version, what } => ("diverged", Some(*version), Some(what), "MIRROR DIVERGED"),
        };
        // With the head locked: a commit in progress ends first, and the next one sees the changed state.
        let mut tx = self.write(&[table]).await?;
        let sql = "SELECT mirror.state, mirror.diverged_version, mirror.diverged_what, t.current_version FROM dl_tables t \
                   JOIN dl_mirrors mirror ON mirror.table_id = t.table_id WHERE t.table_id = ? AND t.state = 'live'";
        let Some(mut row) = tx.query(sql, vec![table.0.into()]).await?.pop() else {
            return Err(no_table_in(tx.as_mut(), self.db.as_ref(), table).await);
        };
        if !state.may_follow(seen, &mirror_state(&mut row)?, row.version()?) {
            return Ok(false);
        }
        let sql = "UPDATE dl_mirrors SET state = ?, diverged_version = ?, diverged_what = ? WHERE table_id = ?";
        let what = what.map(String::as_str).into();
        let params = vec![word.into(), version.map_or(Value::Null, int), what, table.0.into()];
        let audit = audit(self, self.clock.now_ms(), None, action, table, version);
        tx.write(vec![WriteStatement::run(sql, params), audit]).await?;
        done(tx).await?;
        Ok(true)
    }

    async fn mirror_failures(&self, table: TableId) -> Result<Vec<MirrorFailure>> {
        let sql = "SELECT version, artifact, attempts, last_error, failed_at FROM dl_mirror_failures \
                   WHERE table_id = ? ORDER BY version, artifact";
        let rows = self.db.query(sql, vec![table.0.into()]).await?;
        let read = |mut row: Row| {
            let version = row.version()?;
            let artifact = match row.text()?.as_str() {
                "checkpoint" => Artifact::Checkpoint,
                _ => Artifact::Commit,
            };
            Ok(MirrorFailure {
                version,
                artifact,
                attempts: u32::try_from(row.int()?).unwrap_or(u32::MAX),
                error: row.text()?,
                failed_at: row.int()?,
            })
        };
        rows.into_iter().map(read).collect()
    }

    async fn tables_behind(&self, among: Option<&[TableId]>) -> Result<Vec<TableBehind>> {
        let (and, params) = match among {
            None => (String::new(), Vec::new()),
            Some([]) => return Ok(Vec::new()),
            Some(among) => {
                let marks = vec!["?"; among.len()].join(", ");
                (format!("AND t.table_id IN ({marks})"), among.iter().map(|table| table.0.into()).collect())
            }
        };
        let sql = format!(
            "SELECT live.*, coalesce((SELECT v.committed_at FROM dl_table_versions v WHERE v.table_id = live.table_id \
             AND v.version = coalesce(live.published_version + 1, live.base_version)), live.current_ts) AS since \
             FROM ({LIVE_TABLES} {and} AND (mirror.published_version IS NULL \
             OR mirror.published_version < t.current_version)) live"
        );
        let read = |mut row: Row| Ok(TableBehind::new(next_entry(&mut row)?, row.int()?));
        let behind: Result<Vec<_>> = self.db.query(&sql, params).await?.into_iter().map(read).collect();
        let mut behind = behind?;
        behind.sort_by_key(|behind| (behind.since_ms, behind.table.id));
        Ok(behind)
    }
}

/// Deletes the recorded failures up to a version: they are resolved.
fn delete_failures(table: Value, version: Value, artifact: Artifact) -> WriteStatement {
    let sql = "DELETE FROM dl_mirror_failures WHERE table_id = ? AND version <= ? AND artifact = ?";
    WriteStatement::run(sql, vec![table, version, artifact.as_str().into()])
}
