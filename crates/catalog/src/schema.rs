//! The schema and its versions. Migrations only add; an older binary goes on reading what a newer one made.

use deltalakedb_log::{Clock, ErrorKind, Result, TxnLogError};
use uuid::Uuid;

use crate::database::{CommitFailure, Database, Value};

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

/// Brings the schema up to date; safe when two processes do it at once. Without `create` nothing is changed: a database
/// that is not a catalog is refused, and an older schema is read as it is.
pub(crate) async fn migrate(db: &dyn Database, clock: &dyn Clock, create: bool) -> Result<Identity> {
    match current(db).await? {
        Some(identity) if identity.version >= NEWEST || !create => return check_readable(db, identity),
        None if !create => {
            return Err(TxnLogError::not_found(format!(
                "{} is not a catalog yet: `dl init` makes it one",
                db.describe()
            )));
        }
        _ => {}
    }
    let mut session = db.write().await?;
    // Again under the lock: another process may have been first.
    let made = session.query(db.finds_catalog(), vec![]).await?.pop().map(|mut r| r.int()).transpose()? == Some(1);
    let version = match made {
        true => {
            let mut rows = session.query("SELECT schema_version FROM dl_catalog", vec![]).await?;
            rows.pop().map(|mut r| r.int()).transpose()?.unwrap_or(0)
        }
        false => 0,
    };
    for (_, migration) in (1_i64..).zip(MIGRATIONS).filter(|(number, _)| *number > version) {
        session.execute(migration, vec![]).await?;
    }
    let newest = [NEWEST, MIN_READER, MIN_WRITER].map(Value::Int);
    if !made {
        let row = [vec![clock.new_uuid().into(), clock.new_uuid().into()], newest.to_vec()].concat();
        session.insert("dl_catalog", &COLUMNS, vec![row]).await?;
    } else if version < NEWEST {
        let sql = "UPDATE dl_catalog SET schema_version = ?, min_reader = ?, min_writer = ?";
        session.execute(sql, newest.to_vec()).await?;
    }
    session.commit().await.map_err(CommitFailure::into_error)?;
    let missing =
        || TxnLogError::new(ErrorKind::Internal, format!("{} has no identity after its migration", db.describe()));
    check_readable(db, current(db).await?.ok_or_else(missing)?)
}

const COLUMNS: [&str; 5] = ["catalog_id", "epoch", "schema_version", "min_reader", "min_writer"];

async fn current(db: &dyn Database) -> Result<Option<Identity>> {
    if db.query(db.finds_catalog(), vec![]).await?.pop().map(|mut r| r.int()).transpose()? != Some(1) {
        return Ok(None);
    }
    let mut rows = db.query(&format!("SELECT {} FROM dl_catalog", COLUMNS.join(", ")), vec![]).await?;
    let read = |mut r: crate::database::Row| {
        Ok(Identity {
            catalog_id: r.uuid()?,
            epoch: r.uuid()?,
            version: r.int()?,
            min_reader: r.int()?,
            min_writer: r.int()?,
        })
    };
    rows.pop().map(read).transpose()
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

fn too_new(db: &dyn Database, identity: &Identity, verb: &str) -> TxnLogError {
    TxnLogError::invalid(format!(
        "{} has schema version {}, and this program, which knows {NEWEST}, cannot {verb} it: use a newer deltalakedb",
        db.describe(),
        identity.version
    ))
}
