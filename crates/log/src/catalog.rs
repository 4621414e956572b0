//! The contract of a catalog: many tables, one log for all of them.
//!
//! [`Catalog`] finds tables, reads their heads and commits to them. Each further responsibility of a catalog is a trait
//! of its own. [`crate::conformance`] tests an implementation, trait by trait; [`crate::MemoryCatalog`] is the model.

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
/// - *Atomic*: [`Catalog::commit_all`] commits every table of the call or none, all with one timestamp. Only a table
///   whose newest time [is ahead](crate::stamp::TimeLeap) of the catalog's clock gets a timestamp of its own.
/// - *Ordered*: the versions of a table have no gap, and their times strictly increase. All times come from one clock:
///   the server's, for a catalog in a server.
/// - *Exactly once*: a commit id is kept with its version while that version is retained, and for [some days at
///   least](crate::retention::Keep::ids_since_ms).
/// - *Isolated*: conflicts are checked after the tables are locked, by [`crate::commit::prepare`] alone.
/// - *Durable*: a commit that is [`Outcome::Committed`] survives a crash of the process and a power failure.
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
    /// The catalog's id and its epoch. The epoch changes with every rebuild or restore.
    async fn identity(&self) -> Result<(Uuid, Uuid)>;

    /// The time of the catalog's clock, in milliseconds since 1970.
    async fn now_ms(&self) -> Result<i64>;

    /// The tables that were compared with their `_delta_log` through this handle and its clones.
    fn compared(&self) -> &ComparedTables;

    /// How messages name the catalog: its URI without secrets.
    fn describe(&self) -> String;

    /// One table; `None` when there is none.
    async fn find(&self, table: &TableRef) -> Result<Option<TableEntry>>;

    /// The current point in the order of commits. Its cost does not depend on the number of tables.
    async fn point(&self) -> Result<Point>;

    /// One table as it was at a point: its newest version and the time of that version are those at the point, all
    /// other fields are current. `None` when the table did not exist then. Every commit made before the point is
    /// visible, in every table, and no later one. Of a table that was being loaded at the point and is live now, the
    /// versions that were loaded by then are visible.
    async fn find_at(&self, table: &TableRef, point: &Point) -> Result<Option<TableEntry>>;

    /// The heads of all these tables at one consistent point, in the order of the request.
    async fn begin(&self, tables: &[TableId]) -> Result<Vec<Head>>;

    /// The log of a table, for reading.
    fn reader(&self, table: TableId) -> Arc<dyn TxnLogReader>;

    /// Commits to several tables, all or none. There is one request for each table.
    async fn commit_all(&self, requests: Vec<CommitRequest>) -> Result<Outcome>;

    /// The version of the commit with this id; `None` when it was never committed.
    async fn find_commit(&self, table: TableId, id: CommitId) -> Result<Option<Committed>>;
}

/// The tables that writers through one handle of a catalog have compared with their `_delta_log`. A process compares a
/// table before its first write to it: if the catalog was restored from a backup, or its server was replaced by one
/// that lacks the last commits, a write would start a second history.
#[derive(Debug, Default)]
pub struct ComparedTables(Mutex<HashSet<TableId>>);

impl ComparedTables {
    /// Whether a table was compared and the catalog has every commit of its `_delta_log`.
    pub fn contains(&self, table: TableId) -> bool {
        self.0.lock().contains(&table)
    }

    /// Records that a table was compared and the catalog has every commit of its `_delta_log`.
    pub fn insert(&self, table: TableId) {
        self.0.lock().insert(table);
    }

    /// Removes a table: another process may have written to it in the meantime.
    pub fn remove(&self, table: TableId) {
        self.0.lock().remove(&table);
    }

    /// Removes all tables, because the catalog was replaced.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}
