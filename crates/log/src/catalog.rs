//! The promises of a catalog: many tables, one log for all of them.
//!
//! [`Catalog`] itself finds tables, reads their heads and commits to them. What else a catalog promises is in traits of
//! their own, and each has its part of [`crate::conformance`], which proves an implementation;
//! [`crate::MemoryCatalog`] is the model.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::administration::CatalogAdministration;
use crate::commit::{CommitRequest, Committed, Outcome};
use crate::entry::{TableEntry, TableRef};
use crate::error::Result;
use crate::holds::VersionHolds;
use crate::ids::{CommitId, TableId};
use crate::lifecycle::TableLifecycle;
use crate::listing::TableListing;
use crate::load::HistoryLoading;
use crate::mirror::MirrorProgress;
use crate::namespaces::CatalogNamespaces;
use crate::reader::TxnLogReader;
use crate::references::TableReferences;
use crate::retention::HistoryExpiry;
use crate::snapshot::Head;

/// A point in the order in which the commits of a catalog became visible. Only the catalog that gave it can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point(pub String);

/// Many tables, one log for all of them.
///
/// # Contract
/// - *Atomic*: [`Catalog::commit_all`] commits every table of the call or none, at one time that no timestamp cuts. Only
///   a table whose newest time [is ahead](crate::stamp::TimeLeap) of the catalog's clock has a time of its own.
/// - *Ordered*: the versions of a table have no gap, and their times strictly increase. They come from one clock, the
///   server's where the catalog is in one.
/// - *Exactly once*: a commit id is kept with the version it got, as long as that and [some days at
///   least](crate::retention::Keep::ids_since_ms).
/// - *Isolated*: conflicts are judged after the tables are locked, by [`crate::commit::prepare`] alone.
/// - *Durable*: what is [`Outcome::Committed`] survives the process and the power.
/// - No call holds a database transaction while it waits for anything but the database.
#[async_trait]
pub trait Catalog:
    CatalogAdministration
    + CatalogNamespaces
    + HistoryExpiry
    + HistoryLoading
    + MirrorProgress
    + TableLifecycle
    + TableListing
    + TableReferences
    + VersionHolds
{
    /// The catalog's id and its epoch, which is new after every rebuild or restore.
    async fn identity(&self) -> Result<(Uuid, Uuid)>;

    /// The time of the catalog's clock, in milliseconds since 1970.
    async fn now_ms(&self) -> Result<i64>;

    /// The tables that were compared with their `_delta_log` through this handle and its clones.
    fn compared(&self) -> &ComparedTables;

    /// What to call the catalog in a message: its URI without secrets.
    fn describe(&self) -> String;

    /// One table; `None` when there is none.
    async fn find(&self, table: &TableRef) -> Result<Option<TableEntry>>;

    /// The present point in the order of commits. Its cost does not depend on the number of tables.
    async fn point(&self) -> Result<Point>;

    /// One table as it was at a point: its newest version and the time of that are those of then, the rest is of now.
    /// `None` when there was none. Whatever was committed by the point is there, of every table, and nothing else; of a
    /// table that was being loaded then, and is there now, as much as was loaded.
    async fn find_at(&self, table: &TableRef, point: &Point) -> Result<Option<TableEntry>>;

    /// The heads of all these tables at one consistent point, in the order asked.
    async fn begin(&self, tables: &[TableId]) -> Result<Vec<Head>>;

    /// The log of a table, for reading.
    fn reader(&self, table: TableId) -> Arc<dyn TxnLogReader>;

    /// Commits to several tables, all or none. One request a table.
    async fn commit_all(&self, requests: Vec<CommitRequest>) -> Result<Outcome>;

    /// The version a commit id got; `None` when it was never committed.
    async fn find_commit(&self, table: TableId, id: CommitId) -> Result<Option<Committed>>;
}

/// The tables that were compared with their `_delta_log` by those who write through one handle of a catalog. A process
/// does it before its first write to a table: the catalog may have been restored from a backup, or its server replaced by
/// one that lacks the last commits, and would then begin a second history.
#[derive(Debug, Default)]
pub struct ComparedTables(Mutex<HashSet<TableId>>);

impl ComparedTables {
    /// Whether a table was compared and found to be as far as its `_delta_log`.
    pub fn contains(&self, table: TableId) -> bool {
        self.0.lock().contains(&table)
    }

    /// Remembers a table that was found to be so.
    pub fn insert(&self, table: TableId) {
        self.0.lock().insert(table);
    }

    /// Removes a table: another process may have written to it in the meantime.
    pub fn remove(&self, table: TableId) {
        self.0.lock().remove(&table);
    }

    /// Forgets all: the catalog is another one than it was.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}
