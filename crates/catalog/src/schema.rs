//! The schema and its versions. Migrations only add; an older binary goes on reading what a newer one made.

use deltalakedb_log::{Clock, ErrorKind, Result, TxnLogError};
use uuid::Uuid;

use crate::SqlCatalog;
use crate::database::{CommitFailure, Database, Row, Value, Write};

/// The migrations in order: version 1 first.
const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_log.sql")];
/// The newest schema this program knows.
const NEWEST: i64 = MIGRATIONS.len() as i64;
/// What a program must know to read, and to write, the newest schema.
const MIN_READER: i64 = 1;
const MIN_WRITER: i64 = 1;

/// Which catalog a database holds, and what it asks of programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) catalog_id: Uuid,
    pub(crate) epoch: Uuid,
    version: i64,
    min_reader: i64,
    min_writer: i64,
}

/// Brings the schema up to date; safe when two processes do it at once. Without `create` nothing is changed, and a
/// database that is not a catalog, or an older one, is refused.
pub(crate) async fn migrate(db: &dyn Database, clock: &dyn Clock, create: bool) -> Result<Identity> {
    check_readable(db, migrate_with(db, clock, create, MIGRATIONS).await?)
}

/// The same with these migrations.
async fn migrate_with(db: &dyn Database, clock: &dyn Clock, create: bool, migrations: &[&str]) -> Result<Identity> {
    let newest = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    match current(db).await? {
        Some(identity) if identity.version >= newest => return Ok(identity),
        Some(identity) if !create => {
            return Err(TxnLogError::invalid(format!(
                "{} has schema version {}, and this program needs {newest}: run `dl init`, which brings it up to date",
                db.describe(),
                identity.version
            )));
        }
        None if !create => {
            return Err(TxnLogError::not_found(format!(
                "{} is not a catalog yet: `dl init` makes it one",
                db.describe()
            )));
        }
        _ => {}
    }
    let mut session = db.migrate().await?;
    // Again under the lock: another process may have been first.
    let made = db.has_catalog().await?;
    let version = match made {
        true => {
            let mut rows = session.query("SELECT schema_version FROM dl_catalog", vec![]).await?;
            rows.pop().map(|mut r| r.int()).transpose()?.unwrap_or(0)
        }
        false => 0,
    };
    for (_, migration) in (1_i64..).zip(migrations).filter(|(number, _)| *number > version) {
        session.write(vec![Write::run(db.migration(migration), vec![])]).await?;
    }
    let asks = [newest, MIN_READER, MIN_WRITER].map(Value::Int);
    if !made {
        let row = [vec![clock.new_uuid().into(), clock.new_uuid().into()], asks.to_vec()].concat();
        session.write(vec![Write::insert("dl_catalog", &COLUMNS, vec![row])]).await?;
    } else if version < newest {
        let sql = "UPDATE dl_catalog SET schema_version = ?, min_reader = ?, min_writer = ?";
        session.write(vec![Write::run(sql, asks.to_vec())]).await?;
    }
    session.commit().await.map_err(CommitFailure::into_error)?;
    let missing =
        || TxnLogError::new(ErrorKind::Internal, format!("{} has no identity after its migration", db.describe()));
    current(db).await?.ok_or_else(missing)
}

const COLUMNS: [&str; 5] = ["catalog_id", "epoch", "schema_version", "min_reader", "min_writer"];

async fn current(db: &dyn Database) -> Result<Option<Identity>> {
    if !db.has_catalog().await? {
        return Ok(None);
    }
    let mut rows = db.query(&format!("SELECT {} FROM dl_catalog", COLUMNS.join(", ")), vec![]).await?;
    rows.pop().map(|mut row| identity(&mut row)).transpose()
}

/// From the columns [`COLUMNS`].
fn identity(row: &mut Row) -> Result<Identity> {
    Ok(Identity {
        catalog_id: row.uuid()?,
        epoch: row.uuid()?,
        version: row.int()?,
        min_reader: row.int()?,
        min_writer: row.int()?,
    })
}

/// What a session that writes finds first.
pub(crate) struct Opening {
    /// The catalog as it is now: a newer program may have raised what it asks of writers, and it may have been restored.
    pub(crate) identity: Identity,
    /// The time of the catalog's clock, where that is not the clients'.
    pub(crate) now_ms: Option<i64>,
}

impl Opening {
    /// The statement that finds it; `clock` is the time in SQL.
    pub(crate) fn sql(clock: Option<&str>) -> String {
        format!("SELECT {}, {} FROM dl_catalog", COLUMNS.join(", "), clock.unwrap_or("NULL"))
    }

    /// From the rows of that statement.
    pub(crate) fn read(db: &dyn Database, mut rows: Vec<Row>) -> Result<Self> {
        let missing = || TxnLogError::corrupt(format!("{} has no identity", db.describe()));
        let mut row = rows.pop().ok_or_else(missing)?;
        Ok(Self { identity: identity(&mut row)?, now_ms: row.opt_int()? })
    }
}

/// Draws a new epoch.
pub(crate) async fn renew_epoch(catalog: &SqlCatalog) -> Result<Uuid> {
    let mut session = catalog.write(&[]).await?;
    let epoch = catalog.clock.new_uuid();
    session.write(vec![Write::run("UPDATE dl_catalog SET epoch = ?", vec![epoch.into()])]).await?;
    session.commit().await.map_err(CommitFailure::into_error)?;
    catalog.last_identity().epoch = epoch;
    catalog.compared.clear();
    Ok(epoch)
}

fn check_readable(db: &dyn Database, identity: Identity) -> Result<Identity> {
    match identity.min_reader > NEWEST {
        true => Err(too_new(db, &identity, "read")),
        false => Ok(identity),
    }
}

pub(crate) fn check_writable(db: &dyn Database, identity: &Identity) -> Result<()> {
    match identity.min_writer > NEWEST {
        true => Err(too_new(db, identity, "write")),
        false => Ok(()),
    }
}

/// Refuses a catalog that may have tables and columns this program does not know.
pub(crate) fn check_known(db: &dyn Database, identity: &Identity) -> Result<()> {
    match identity.version > NEWEST {
        true => Err(too_new(db, identity, "copy")),
        false => Ok(()),
    }
}

fn too_new(db: &dyn Database, identity: &Identity, verb: &str) -> TxnLogError {
    TxnLogError::invalid(format!(
        "{} has schema version {}, and this program, which knows {NEWEST}, cannot {verb} it: use a newer deltalakedb",
        db.describe(),
        identity.version
    ))
}

#[cfg(test)]
mod tests;
