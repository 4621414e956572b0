//! A catalog that records when its rows are being read.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use deltalakedb_log::action::{Add, Remove, Version};
use deltalakedb_log::commit::{CommitRequest, Committed, Outcome};
use deltalakedb_log::lifecycle::RemovedRows;
use deltalakedb_log::snapshot::{CommitSummary, Head, Snapshot};
use deltalakedb_log::{
    Artifact, At, Catalog, CatalogAdministration, CatalogNamespaces, CommitId, Committer, ComparedTables, DropTable,
    ErrorKind, Expired, Expiry, HistoryExpiry, HistoryLoad, HistoryLoading, HistoryRange, Hold, InactiveTable, Keep,
    Lease, Location, LocationKey, MemoryCatalog, MirrorFailure, MirrorProgress, MirrorState, Point, Predicate, Result,
    Retention, TableBehind, TableEntry, TableId, TableLifecycle, TableListing, TableName, TablePage, TableRef,
    TableReferences, TableState, TxnLogError, TxnLogReader, UnfinishedLoad, VersionHolds,
};
use futures::StreamExt;
use futures::stream::BoxStream;
use uuid::Uuid;

use crate::simulation::World;

#[derive(Debug)]
pub(crate) struct Watched {
    inner: Arc<MemoryCatalog>,
    reading: Arc<AtomicI64>,
    /// How many of the next queries for removable tables fail.
    pub(crate) unanswered: AtomicI64,
}

impl Watched {
    pub(crate) fn new(world: &World) -> Self {
        Self { reading: world.store.reading.clone(), ..Self::of(&world.catalog) }
    }

    pub(crate) fn of(catalog: &Arc<MemoryCatalog>) -> Self {
        Self { inner: catalog.clone(), reading: Arc::default(), unanswered: AtomicI64::new(0) }
    }
}

#[derive(Debug)]
struct WatchedLog {
    inner: Arc<dyn TxnLogReader>,
    reading: Arc<AtomicI64>,
}

/// A statement whose rows are being read, until it is dropped.
struct Reading(Arc<AtomicI64>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl WatchedLog {
    fn watch<T: Send + 'static>(&self, rows: BoxStream<'static, T>) -> BoxStream<'static, T> {
        self.reading.fetch_add(1, Ordering::Relaxed);
        let reading = Reading(self.reading.clone());
        rows.map(move |row| {
            let _ = &reading;
            row
        })
        .boxed()
    }
}

#[async_trait]
impl TxnLogReader for WatchedLog {
    async fn head(&self) -> Result<Head> {
        self.inner.head().await
    }
    async fn snapshot(&self, at: At) -> Result<Snapshot> {
        self.inner.snapshot(at).await
    }
    async fn files(&self, version: Version, predicate: Option<&Predicate>) -> Result<BoxStream<'static, Result<Add>>> {
        Ok(self.watch(self.inner.files(version, predicate).await?))
    }
    async fn files_in_replay_order(&self, version: Version, predicate: Option<&Predicate>) -> Result<Vec<Add>> {
        self.inner.files_in_replay_order(version, predicate).await
    }
    // These are read in pages, without an open statement between two of them.
    async fn files_by_key(&self, version: Version) -> Result<BoxStream<'static, Result<Add>>> {
        self.inner.files_by_key(version).await
    }
    async fn tombstones(&self, version: Version, deleted_after: i64) -> Result<BoxStream<'static, Result<Remove>>> {
        self.inner.tombstones(version, deleted_after).await
    }
    async fn history(&self, range: HistoryRange) -> Result<Vec<CommitSummary>> {
        self.inner.history(range).await
    }
    async fn commit_bytes(&self, version: Version) -> Result<Option<Bytes>> {
        self.inner.commit_bytes(version).await
    }
    async fn changes(&self, from: Version, to: Version) -> Result<BoxStream<'static, Result<(Version, Bytes)>>> {
        Ok(self.watch(self.inner.changes(from, to).await?))
    }
}

#[async_trait]
impl Catalog for Watched {
    async fn identity(&self) -> Result<(Uuid, Uuid)> {
        self.inner.identity().await
    }
    async fn now_ms(&self) -> Result<i64> {
        self.inner.now_ms().await
    }
    fn compared(&self) -> &ComparedTables {
        self.inner.compared()
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
    async fn find(&self, table: &TableRef) -> Result<Option<TableEntry>> {
        self.inner.find(table).await
    }
    async fn point(&self) -> Result<Point> {
        self.inner.point().await
    }
    async fn find_at(&self, table: &TableRef, point: &Point) -> Result<Option<TableEntry>> {
        self.inner.find_at(table, point).await
    }
    async fn begin(&self, tables: &[TableId]) -> Result<Vec<Head>> {
        self.inner.begin(tables).await
    }
    fn reader(&self, table: TableId) -> Arc<dyn TxnLogReader> {
        Arc::new(WatchedLog { inner: self.inner.reader(table), reading: self.reading.clone() })
    }
    async fn commit_all(&self, requests: Vec<CommitRequest>) -> Result<Outcome> {
        self.inner.commit_all(requests).await
    }
    async fn find_commit(&self, table: TableId, id: CommitId) -> Result<Option<Committed>> {
        self.inner.find_commit(table, id).await
    }
}

#[async_trait]
impl CatalogAdministration for Watched {
    async fn renew_epoch(&self) -> Result<Uuid> {
        self.inner.renew_epoch().await
    }
    async fn succeed(&self, catalog: Uuid, epochs: &[Uuid]) -> Result<Uuid> {
        self.inner.succeed(catalog, epochs).await
    }
    async fn default_retention(&self) -> Result<Retention> {
        self.inner.default_retention().await
    }
    async fn set_default_retention(&self, retention: Retention, committer: Option<&str>) -> Result<()> {
        self.inner.set_default_retention(retention, committer).await
    }
    async fn expire_audit(&self, before_ms: i64) -> Result<u64> {
        self.inner.expire_audit(before_ms).await
    }
}

#[async_trait]
impl HistoryLoading for Watched {
    async fn load_history(&self, load: HistoryLoad<'_>) -> Result<TableEntry> {
        self.inner.load_history(load).await
    }
    async fn load_together(&self, loads: Vec<HistoryLoad<'_>>) -> Result<Vec<TableEntry>> {
        self.inner.load_together(loads).await
    }
    async fn unfinished_load(&self, location: &Location) -> Result<Option<UnfinishedLoad>> {
        self.inner.unfinished_load(location).await
    }
    async fn abandon_load(&self, table: TableId) -> Result<()> {
        self.inner.abandon_load(table).await
    }
}

#[async_trait]
impl MirrorProgress for Watched {
    async fn acquire_lease(&self, table: TableId, holder: Uuid, now_ms: i64, until_ms: i64) -> Result<Option<Lease>> {
        self.inner.acquire_lease(table, holder, now_ms, until_ms).await
    }
    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.inner.release_lease(lease).await
    }
    async fn mark_published(&self, lease: &Lease, version: Version) -> Result<()> {
        self.inner.mark_published(lease, version).await
    }
    async fn mark_next_published(&self, table: TableId, from: Version, to: Version) -> Result<bool> {
        self.inner.mark_next_published(table, from, to).await
    }
    async fn mark_checkpointed(&self, table: TableId, version: Version) -> Result<()> {
        self.inner.mark_checkpointed(table, version).await
    }
    async fn mark_failed(&self, table: TableId, version: Version, what: Artifact, error: &str, at: i64) -> Result<()> {
        self.inner.mark_failed(table, version, what, error, at).await
    }
    async fn set_mirror(&self, seen: &TableEntry, state: &MirrorState) -> Result<bool> {
        self.inner.set_mirror(seen, state).await
    }
    async fn mirror_failures(&self, table: TableId) -> Result<Vec<MirrorFailure>> {
        self.inner.mirror_failures(table).await
    }
    async fn tables_behind(&self, among: Option<&[TableId]>) -> Result<Vec<TableBehind>> {
        self.inner.tables_behind(among).await
    }
}

#[async_trait]
impl HistoryExpiry for Watched {
    async fn end_of_history(&self, table: TableId, keep: &Keep) -> Result<Version> {
        self.inner.end_of_history(table, keep).await
    }
    async fn expire(&self, expiry: &Expiry) -> Result<Expired> {
        self.inner.expire(expiry).await
    }
}

#[async_trait]
impl TableLifecycle for Watched {
    async fn rename_table(&self, table: TableId, to: &TableName, committer: &Committer) -> Result<TableEntry> {
        self.inner.rename_table(table, to, committer).await
    }
    async fn drop_table(&self, lease: &Lease, drop: &DropTable) -> Result<()> {
        self.inner.drop_table(lease, drop).await
    }
    async fn undrop_table(&self, table: TableId, name: Option<&TableName>, by: &Committer) -> Result<TableEntry> {
        self.inner.undrop_table(table, name, by).await
    }
    async fn mark_files_deleted(&self, table: TableId) -> Result<()> {
        self.inner.mark_files_deleted(table).await
    }
    async fn inactive_table(&self, table: TableId) -> Result<Option<InactiveTable>> {
        self.inner.inactive_table(table).await
    }
    async fn inactive_tables(&self, after: Option<&InactiveTable>, limit: usize) -> Result<Vec<InactiveTable>> {
        self.inner.inactive_tables(after, limit).await
    }
    async fn inactive_named(&self, name: &TableName) -> Result<Vec<InactiveTable>> {
        self.inner.inactive_named(name).await
    }
    async fn removable_tables(&self, after: Option<&InactiveTable>, limit: usize) -> Result<Vec<InactiveTable>> {
        if self.unanswered.fetch_sub(1, Ordering::Relaxed) > 0 {
            return Err(TxnLogError::new(ErrorKind::Unavailable, "the catalog does not answer"));
        }
        self.inner.removable_tables(after, limit).await
    }
    async fn remove_table(&self, table: TableId) -> Result<RemovedRows> {
        self.inner.remove_table(table).await
    }
    fn reader_in(&self, table: TableId, state: TableState) -> Arc<dyn TxnLogReader> {
        self.inner.reader_in(table, state)
    }
}

#[async_trait]
impl TableListing for Watched {
    async fn tables_page(&self, page: &TablePage) -> Result<Vec<TableEntry>> {
        self.inner.tables_page(page).await
    }
    async fn names_beside(&self, name: &TableName, limit: usize) -> Result<Vec<TableName>> {
        self.inner.names_beside(name, limit).await
    }
    async fn table_around(&self, location: &Location) -> Result<Option<InactiveTable>> {
        self.inner.table_around(location).await
    }
    async fn tables_with_metadata(&self, id: &str) -> Result<Vec<TableEntry>> {
        self.inner.tables_with_metadata(id).await
    }
}

#[async_trait]
impl TableReferences for Watched {
    async fn referring_tables(&self, place: &Location) -> Result<Vec<InactiveTable>> {
        self.inner.referring_tables(place).await
    }
    async fn source_tables(&self, table: TableId) -> Result<Vec<InactiveTable>> {
        self.inner.source_tables(table).await
    }
    async fn named_folders(&self, table: TableId) -> Result<Vec<LocationKey>> {
        self.inner.named_folders(table).await
    }
    async fn forget_folders(&self, table: TableId, at_version: Version, folders: &[LocationKey]) -> Result<()> {
        self.inner.forget_folders(table, at_version, folders).await
    }
}

#[async_trait]
impl CatalogNamespaces for Watched {
    async fn create_namespace(&self, name: &str, committer: Option<&str>) -> Result<()> {
        self.inner.create_namespace(name, committer).await
    }
    async fn drop_namespace(&self, name: &str, committer: Option<&str>) -> Result<()> {
        self.inner.drop_namespace(name, committer).await
    }
    async fn namespaces_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        self.inner.namespaces_after(after, limit).await
    }
}

#[async_trait]
impl VersionHolds for Watched {
    async fn hold(&self, table: TableId, version: Version, until_ms: i64, holder: &str) -> Result<Hold> {
        self.inner.hold(table, version, until_ms, holder).await
    }
    async fn renew_hold(&self, hold: &Hold, until_ms: i64) -> Result<Hold> {
        self.inner.renew_hold(hold, until_ms).await
    }
    async fn release_hold(&self, hold: &Hold) -> Result<()> {
        self.inner.release_hold(hold).await
    }
    async fn holds(&self, table: TableId) -> Result<Vec<Hold>> {
        self.inner.holds(table).await
    }
    async fn remove_ended_holds(&self, table: TableId) -> Result<()> {
        self.inner.remove_ended_holds(table).await
    }
}
