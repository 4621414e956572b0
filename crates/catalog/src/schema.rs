//! The schema and its versions. Migrations only add; an older binary goes on reading what a newer one made.

use deltalakedb_log::{Clock, ErrorKind, Result, TxnLogError};
use uuid::Uuid;

use crate::database::{CommitFailure, Database, Value};

/// The migrations in order: version 1 first.
const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_log.sql")];

/// Which catalog a database holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) catalog_id: Uuid,
    pub(crate) epoch: Uuid,
}

/// Brings the schema up to date; safe when two processes do it at once. Without `create`, a database that is not a
/// catalog is refused instead of made into one.
pub(crate) async fn migrate(db: &dyn Database, clock: &dyn Clock, create: bool) -> Result<Identity> {
    if let Some((identity, version)) = current(db).await? {
        if version == MIGRATIONS.len() as i64 {
            return Ok(identity);
        }
        check_not_newer(db, version)?;
    } else if !create {
        return Err(TxnLogError::not_found(format!("{} is not a catalog yet: `dl init` makes it one", db.describe())));
    }
    let mut session = db.write().await?;
    // Again under the lock: another process may have been first.
    let mut version = 0;
    let made = session.query(db.finds_catalog(), vec![]).await?.pop().map(|mut r| r.int()).transpose()? == Some(1);
    if made {
        let mut rows = session.query("SELECT schema_version FROM dl_catalog", vec![]).await?;
        version = rows.pop().map(|mut r| r.int()).transpose()?.unwrap_or(0);
        check_not_newer(db, version)?;
    }
    for (_, migration) in (1_i64..).zip(MIGRATIONS).filter(|(number, _)| *number > version) {
        session.execute(migration, vec![]).await?;
    }
    if made {
        session.execute("UPDATE dl_catalog SET schema_version = ?", vec![(MIGRATIONS.len() as i64).into()]).await?;
    } else {
        let row = vec![clock.new_uuid().into(), clock.new_uuid().into(), Value::Int(MIGRATIONS.len() as i64)];
        session.insert("dl_catalog", &["catalog_id", "epoch", "schema_version"], vec![row]).await?;
    }
    session.commit().await.map_err(CommitFailure::into_error)?;
    let missing =
        || TxnLogError::new(ErrorKind::Internal, format!("{} has no identity after its migration", db.describe()));
    Ok(current(db).await?.ok_or_else(missing)?.0)
}

async fn current(db: &dyn Database) -> Result<Option<(Identity, i64)>> {
    if db.query(db.finds_catalog(), vec![]).await?.pop().map(|mut r| r.int()).transpose()? != Some(1) {
        return Ok(None);
    }
    let mut rows = db.query("SELECT catalog_id, epoch, schema_version FROM dl_catalog", vec![]).await?;
    let read = |mut r: crate::database::Row| Ok((Identity { catalog_id: r.uuid()?, epoch: r.uuid()? }, r.int()?));
    rows.pop().map(read).transpose()
}

fn check_not_newer(db: &dyn Database, version: i64) -> Result<()> {
    if version > MIGRATIONS.len() as i64 {
        return Err(TxnLogError::invalid(format!(
            "{} has schema version {version}, and this program knows {}: use a newer deltalakedb",
            db.describe(),
            MIGRATIONS.len()
        )));
    }
    Ok(())
}
