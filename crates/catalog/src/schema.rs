//! The schema and its versions. Migrations only add; an older binary can still read a newer schema.
//!
//! A migration holds its lock for a short time, whatever the size of the catalog: it creates tables and adds nullable
//! columns, and null means unknown. Its backfill fills the columns of older rows afterwards.

use deltalakedb_log::epoch::new_epoch;
use deltalakedb_log::{Clock, ErrorKind, Result, TxnLogError};
use uuid::Uuid;

use crate::database::{CommitFailure, Database, Row, Value, WriteStatement};

/// A change of the schema. Once released, its text never changes: catalogs store its checksum.
#[derive(Clone, Copy, Debug)]
struct Migration {
    name: &'static str,
    sql: &'static str,
    /// Fills columns of older rows.
    backfill: Option<Backfill>,
}

/// A statement that fills a column where it is null, and changes nothing once all rows are filled. Its cost must not
/// grow with the rows that are filled already: a partial index finds the others.
#[derive(Clone, Copy, Debug)]
struct Backfill {
    sql: &'static str,
    /// Its parameter: the maximum number of rows it fills.
    rows: i64,
}

impl Migration {
    fn checksum(&self) -> blake3::Hash {
        blake3::hash(self.sql.as_bytes())
    }
}

/// The migrations in order: version 1 first.
const MIGRATIONS: &[Migration] =
    &[Migration { name: "0001_log", sql: include_str!("../migrations/0001_log.sql"), backfill: None }];
/// The newest schema this program knows.
const NEWEST: i64 = MIGRATIONS.len() as i64;
/// The schema versions that a program must know to read, and to write, the newest schema.
const MIN_READER: i64 = 1;
const MIN_WRITER: i64 = 1;

/// The identity of a catalog, and what it requires of programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) catalog_id: Uuid,
    pub(crate) epoch: Uuid,
    version: i64,
    min_reader: i64,
    min_writer: i64,
}

/// A migration that was applied to a catalog.
#[derive(Debug)]
struct AppliedMigration {
    number: i64,
    name: String,
    checksum: Vec<u8>,
    is_filled: bool,
}

/// Upgrades the schema; safe when two processes do it at once. Without `create` nothing is changed, and a database that
/// is not a catalog, or an older one, is rejected.
pub(crate) async fn migrate(db: &dyn Database, clock: &dyn Clock, create: bool) -> Result<Identity> {
    check_readable(db, migrate_with(db, clock, create, MIGRATIONS).await?)
}

async fn migrate_with(
    db: &dyn Database,
    clock: &dyn Clock,
    create: bool,
    migrations: &[Migration],
) -> Result<Identity> {
    let newest = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    let (identity, applied) = match current(db).await? {
        Some(current) if current.0.version >= newest => current,
        Some((identity, applied)) => {
            check_applied(db, &identity, &applied, migrations)?;
            if !create {
                return Err(TxnLogError::invalid(format!(
                    "{} has schema version {}, and this program needs {newest}: run `dl init` to upgrade it",
                    db.describe(),
                    identity.version
                )));
            }
            apply(db, clock, migrations).await?
        }
        None if !create => {
            return Err(TxnLogError::not_found(format!(
                "{} is not a catalog yet: `dl init` creates one",
                db.describe()
            )));
        }
        None => apply(db, clock, migrations).await?,
    };
    check_applied(db, &identity, &applied, migrations)?;
    if create {
        run_backfills(db, clock, &applied, migrations).await?;
    }
    Ok(identity)
}

/// Applies the migrations that the catalog lacks, in one transaction.
async fn apply(
    db: &dyn Database,
    clock: &dyn Clock,
    migrations: &[Migration],
) -> Result<(Identity, Vec<AppliedMigration>)> {
    let mut tx = db.migrate().await?;
    // Under the lock: another process may have applied them.
    let made = db.has_table("dl_catalog").await?;
    let version = if made {
        let mut rows = tx.query("SELECT schema_version FROM dl_catalog", vec![]).await?;
        rows.pop().map(|mut r| r.int()).transpose()?.unwrap_or(0)
    } else {
        0
    };
    // Drawn first, as by every catalog: the same clock gives the same ids.
    let identity = if made { Vec::new() } else { vec![clock.new_uuid().into(), new_epoch(clock, &[]).into()] };
    let mut rows = Vec::new();
    for (number, migration) in (1_i64..).zip(migrations).filter(|(number, _)| *number > version) {
        tx.write(vec![WriteStatement::run(db.migration(migration.sql), vec![])]).await?;
        let checksum = Value::from(migration.checksum().as_bytes().as_slice());
        rows.push(vec![number.into(), migration.name.into(), checksum, clock.now_ms().into()]);
    }
    if let Some(newest) = rows.last().map(|row| row[0].clone()) {
        let columns = ["number", "name", "checksum", "applied_at"];
        tx.write(vec![WriteStatement::insert("dl_migrations", &columns, rows)]).await?;
        let asks = [newest, MIN_READER.into(), MIN_WRITER.into()];
        let write = if made {
            let sql = "UPDATE dl_catalog SET schema_version = ?, min_reader = ?, min_writer = ?";
            WriteStatement::run(sql, asks.to_vec())
        } else {
            let row = [identity, asks.to_vec()].concat();
            WriteStatement::insert("dl_catalog", &COLUMNS, vec![row])
        };
        tx.write(vec![write]).await?;
    }
    tx.commit().await.map_err(CommitFailure::into_error)?;
    let missing =
        || TxnLogError::new(ErrorKind::Internal, format!("{} has no identity after its migration", db.describe()));
    current(db).await?.ok_or_else(missing)
}

/// Runs the backfills of the migrations that were applied.
async fn run_backfills(
    db: &dyn Database,
    clock: &dyn Clock,
    applied: &[AppliedMigration],
    migrations: &[Migration],
) -> Result<()> {
    for applied in applied.iter().filter(|applied| !applied.is_filled) {
        let migration = usize::try_from(applied.number - 1).ok().and_then(|index| migrations.get(index));
        let Some(backfill) = migration.and_then(|migration| migration.backfill) else { continue };
        while backfill_batch(db, clock, applied.number, backfill).await? {}
    }
    Ok(())
}

/// Fills a batch of rows, in a transaction of its own; returns whether there may be more. If the process ends in
/// between, the next one that upgrades the catalog continues.
async fn backfill_batch(db: &dyn Database, clock: &dyn Clock, number: i64, backfill: Backfill) -> Result<bool> {
    // One process at a time: two would lock rows in different orders.
    let mut tx = db.migrate().await?;
    let filled = tx.write(vec![WriteStatement::run(backfill.sql, vec![backfill.rows.into()])]).await?;
    if filled == 0 {
        let mark_filled = "UPDATE dl_migrations SET backfilled_at = ? WHERE number = ?";
        tx.write(vec![WriteStatement::run(mark_filled, vec![clock.now_ms().into(), number.into()])]).await?;
    }
    tx.commit().await.map_err(CommitFailure::into_error)?;
    Ok(filled > 0)
}

const COLUMNS: [&str; 5] = ["catalog_id", "epoch", "schema_version", "min_reader", "min_writer"];

/// The identity of the catalog, and the migrations that were applied; `None` if the database is not a catalog.
async fn current(db: &dyn Database) -> Result<Option<(Identity, Vec<AppliedMigration>)>> {
    if !db.has_table("dl_catalog").await? {
        return Ok(None);
    }
    let sql = format!(
        "SELECT {}, number, name, checksum, backfilled_at FROM dl_catalog LEFT JOIN dl_migrations ON number > 0",
        COLUMNS.join(", ")
    );
    let rows = match db.query(&sql, vec![]).await {
        Err(_) if !db.has_table("dl_migrations").await? => return Err(other_text(db, 1, MIGRATIONS[0].name)),
        rows => rows?,
    };
    let (mut catalog, mut applied) = (None, Vec::new());
    for mut row in rows {
        catalog = Some(identity(&mut row)?);
        if let (Some(number), Some(name), Some(checksum)) = (row.opt_int()?, row.opt_text()?, row.opt_blob()?) {
            applied.push(AppliedMigration { number, name, checksum, is_filled: row.opt_int()?.is_some() });
        }
    }
    applied.sort_unstable_by_key(|applied| applied.number);
    Ok(catalog.map(|identity| (identity, applied)))
}

/// Rejects a catalog in which the text of a migration differs from this program's: its tables may differ.
fn check_applied(
    db: &dyn Database,
    identity: &Identity,
    applied: &[AppliedMigration],
    migrations: &[Migration],
) -> Result<()> {
    for (number, migration) in (1..=identity.version).zip(migrations) {
        let there = applied.iter().find(|applied| applied.number == number);
        if there.is_none_or(|there| there.checksum != migration.checksum().as_bytes()) {
            let name = there.map_or(migration.name, |there| &there.name);
            return Err(other_text(db, number, name));
        }
    }
    Ok(())
}

fn other_text(db: &dyn Database, number: i64, name: &str) -> TxnLogError {
    TxnLogError::invalid(format!(
        "{} was created with another text of migration {number} ({name}) than this program has: use the program that \
         created it, or import its tables into a new catalog",
        db.describe()
    ))
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

/// What a writing transaction reads first.
pub(crate) struct Opening {
    /// The current identity: a newer program may have increased what it requires of writers, and it may have been
    /// restored.
    pub(crate) identity: Identity,
    /// The time of the catalog's clock, if that is not the clients'.
    pub(crate) now_ms: Option<i64>,
}

impl Opening {
    /// The statement that reads it; `clock` is the time in SQL.
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

fn check_readable(db: &dyn Database, identity: Identity) -> Result<Identity> {
    if identity.min_reader > NEWEST { Err(too_new(db, &identity, "read")) } else { Ok(identity) }
}

pub(crate) fn check_writable(db: &dyn Database, identity: &Identity) -> Result<()> {
    if identity.min_writer > NEWEST { Err(too_new(db, identity, "write")) } else { Ok(()) }
}

/// Rejects a catalog that may have tables and columns this program does not know.
pub(crate) fn check_known(db: &dyn Database, identity: &Identity) -> Result<()> {
    if identity.version > NEWEST { Err(too_new(db, identity, "copy")) } else { Ok(()) }
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
