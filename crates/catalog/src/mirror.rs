//! What the mirror needs to know and to remember: the watermark, the lease, what failed.
//!
//! Watermark and lease are notes: publishing again what is published does no harm, and a lease outlives nobody.

use deltalakedb_log::catalog::{Artifact, Lease, MirrorFailure, MirrorState};
use deltalakedb_log::{Result, TableEntry, TableId, TableName, Version, commit};
use uuid::Uuid;

use crate::SqlCatalog;
use crate::codec::int;
use crate::commit::audit;
use crate::database::{CommitFailure, Database, Session, Value, Write};
use crate::lifecycle::no_table_in;
use crate::read::mirror_state;

async fn done(session: Box<dyn Session>) -> Result<()> {
    session.commit().await.map_err(CommitFailure::into_error)
}

pub(crate) async fn acquire_lease(
    catalog: &SqlCatalog,
    table: TableId,
    holder: Uuid,
    now_ms: i64,
    until_ms: i64,
) -> Result<Option<Lease>> {
    let mut session = catalog.note(&[table]).await?;
    let sql = "SELECT t.table_id, l.holder, l.token, l.expires_at FROM dl_tables t \
               LEFT JOIN dl_mirror_leases l ON l.table_id = t.table_id WHERE t.table_id = ? AND t.state = 'live'";
    let Some(mut row) = session.query(sql, vec![table.0.into()]).await?.pop() else {
        return Err(no_table_in(session.as_mut(), catalog.db.as_ref(), table).await);
    };
    row.uuid()?;
    let (held_by, token, expires) = (row.opt_blob()?, row.opt_int()?, row.opt_int()?);
    let mine = held_by.is_some_and(|h| h == holder.as_bytes());
    if !mine && expires.is_some_and(|at| at > now_ms) {
        return Ok(None);
    }
    let lease = Lease { table, holder, token: token.unwrap_or(0) + 1 };
    let params = vec![table.0.into(), holder.into(), lease.token.into(), until_ms.into()];
    let sql = "INSERT INTO dl_mirror_leases (table_id, holder, token, expires_at) VALUES (?, ?, ?, ?) \
               ON CONFLICT (table_id) DO UPDATE SET holder = excluded.holder, token = excluded.token, \
               expires_at = excluded.expires_at";
    session.write(vec![Write::run(sql, params)]).await?;
    done(session).await?;
    Ok(Some(lease))
}

fn held(lease: &Lease) -> Vec<Value> {
    vec![lease.table.0.into(), lease.holder.into(), lease.token.into()]
}

pub(crate) async fn release_lease(catalog: &SqlCatalog, lease: &Lease) -> Result<()> {
    let mut session = catalog.note(&[lease.table]).await?;
    let sql = "UPDATE dl_mirror_leases SET expires_at = 0 WHERE table_id = ? AND holder = ? AND token = ?";
    session.write(vec![Write::run(sql, held(lease))]).await?;
    done(session).await
}

pub(crate) async fn mark_published(catalog: &SqlCatalog, lease: &Lease, version: Version) -> Result<()> {
    let mut session = catalog.note(&[lease.table]).await?;
    let sql = "SELECT count(*) FROM dl_mirror_leases WHERE table_id = ? AND holder = ? AND token = ?";
    let mut rows = session.query(sql, held(lease)).await?;
    if rows.pop().map(|mut r| r.int()).transpose()? != Some(1) {
        let sql = "SELECT namespace, name FROM dl_tables WHERE table_id = ?";
        let mut row = session.query(sql, vec![lease.table.0.into()]).await?.pop();
        let Some(row) = row.as_mut() else {
            return Err(no_table_in(session.as_mut(), catalog.db.as_ref(), lease.table).await);
        };
        return Err(commit::fenced(&TableName { namespace: row.text()?, name: row.text()? }));
    }
    let (table, version) = (Value::from(lease.table.0), int(version));
    let published = "UPDATE dl_tables SET published_version = ? \
                     WHERE table_id = ? AND coalesce(published_version, -1) < ?";
    let params = vec![version.clone(), table.clone(), version.clone()];
    session.write(vec![Write::run(published, params), over(table, version, Artifact::Commit)]).await?;
    done(session).await
}

pub(crate) async fn mark_next_published(
    catalog: &SqlCatalog,
    table: TableId,
    from: Version,
    to: Version,
) -> Result<bool> {
    let mut session = catalog.note(&[table]).await?;
    let sql = "UPDATE dl_tables SET published_version = ? WHERE table_id = ? \
               AND (published_version = ? OR (published_version IS NULL AND base_version = ?))";
    let before = from.checked_sub(1).map_or(Value::Int(-1), int);
    let params = vec![int(to), table.0.into(), before, int(from)];
    let is_next = session.write(vec![Write::run(sql, params)]).await? == 1;
    if is_next {
        session.write(vec![over(table.0.into(), int(to), Artifact::Commit)]).await?;
        done(session).await?;
    }
    Ok(is_next)
}

pub(crate) async fn mark_checkpointed(catalog: &SqlCatalog, table: TableId, version: Version) -> Result<()> {
    let mut session = catalog.write(&[table]).await?;
    session.write(vec![over(table.0.into(), int(version), Artifact::Checkpoint)]).await?;
    done(session).await
}

/// What failed up to a version is mended.
fn over(table: Value, version: Value, artifact: Artifact) -> Write {
    let sql = "DELETE FROM dl_mirror_status WHERE table_id = ? AND version <= ? AND artifact = ?";
    Write::run(sql, vec![table, version, artifact.as_str().into()])
}

pub(crate) async fn mark_failed(
    catalog: &SqlCatalog,
    table: TableId,
    version: Version,
    artifact: Artifact,
    error: &str,
    at_ms: i64,
) -> Result<()> {
    let mut session = catalog.write(&[table]).await?;
    if artifact == Artifact::Commit {
        let sql = "SELECT published_version FROM dl_tables WHERE table_id = ?";
        let published =
            session.query(sql, vec![table.0.into()]).await?.pop().map(|mut row| row.opt_version()).transpose()?;
        if published.flatten() >= Some(version) {
            return Ok(());
        }
    }
    let sql = "INSERT INTO dl_mirror_status (table_id, version, artifact, state, attempts, last_error, failed_at) \
               VALUES (?, ?, ?, 'FAILED', 1, ?, ?) ON CONFLICT (table_id, version, artifact) DO UPDATE SET \
               state = excluded.state, attempts = dl_mirror_status.attempts + 1, last_error = excluded.last_error, \
               failed_at = excluded.failed_at";
    let params = vec![table.0.into(), int(version), artifact.as_str().into(), error.into(), at_ms.into()];
    session.write(vec![Write::run(sql, params)]).await?;
    done(session).await
}

pub(crate) async fn set_mirror(catalog: &SqlCatalog, seen: &TableEntry, state: &MirrorState) -> Result<bool> {
    let table = seen.id;
    let (word, version, what, action) = match state {
        MirrorState::Following => ("following", None, None, "MIRROR RESUMED"),
        MirrorState::Diverged { version, what } => ("diverged", Some(*version), Some(what), "MIRROR DIVERGED"),
    };
    let mut session = catalog.write(&[table]).await?;
    let sql = "SELECT mirror_state, mirror_version, mirror_what, current_version FROM dl_tables \
               WHERE table_id = ? AND state = 'live'";
    let Some(mut row) = session.query(sql, vec![table.0.into()]).await?.pop() else {
        return Err(no_table_in(session.as_mut(), catalog.db.as_ref(), table).await);
    };
    if !state.may_follow(seen, &mirror_state(&mut row)?, row.version()?) {
        return Ok(false);
    }
    let sql = "UPDATE dl_tables SET mirror_state = ?, mirror_version = ?, mirror_what = ? WHERE table_id = ?";
    let what = what.map(String::as_str).into();
    let params = vec![word.into(), version.map_or(Value::Null, int), what, table.0.into()];
    let audit = audit(catalog, catalog.clock.now_ms(), None, action, table, version);
    session.write(vec![Write::run(sql, params), audit]).await?;
    done(session).await?;
    Ok(true)
}

pub(crate) async fn failures(db: &dyn Database, table: TableId) -> Result<Vec<MirrorFailure>> {
    let sql = "SELECT version, artifact, attempts, last_error, failed_at FROM dl_mirror_status \
               WHERE table_id = ? ORDER BY version, artifact";
    let rows = db.query(sql, vec![table.0.into()]).await?;
    let read = |mut row: crate::database::Row| {
        let version = row.version()?;
        let artifact = match row.text()?.as_str() {
            "checkpoint" => Artifact::Checkpoint,
            _ => Artifact::Commit,
        };
        Ok(MirrorFailure {
            version,
            artifact,
            attempts: u32::try_from(row.int()?).unwrap_or(u32::MAX),
            error: row.opt_text()?.unwrap_or_default(),
            failed_at: row.opt_int()?.unwrap_or(0),
        })
    };
    rows.into_iter().map(read).collect()
}
