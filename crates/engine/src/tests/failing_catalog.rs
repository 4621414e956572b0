//! A catalog that fails, in front of one in memory.

use async_trait::async_trait;
use deltalakedb_log::action::Version;
use deltalakedb_log::commit::{CommitRequest, Committed, Outcome};
use deltalakedb_log::lifecycle::RemovedRows;
use deltalakedb_log::snapshot::Head;
use deltalakedb_log::{
    Artifact, Catalog, CatalogAdministration, CatalogNamespaces, CommitId, Committer, ComparedTables, DropTable,
    Expired, Expiry, HistoryExpiry, HistoryLoad, HistoryLoading, Hold, InactiveTable, Keep, Lease, Location,
    LocationKey, MirrorFailure, MirrorProgress, MirrorState, Point, Retention, TableBehind, TableEntry, TableId,
    TableLifecycle, TableListing, TableName, TablePage, TableRef, TableReferences, TableState, TxnLogReader,
    UnfinishedLoad, VersionHolds,
};
use uuid::Uuid;

use super::*;

/// What commits to a catalog do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CatalogFailure {
    /// Nothing is committed.
    DiskIsFull,
    /// They are made, and no caller gets an answer, then or later.
    AnswersAreLost,
    /// They are made, and their callers get no further.
    CommitsHang,
}

/// A catalog whose commits fail as long as `failure` says so.
#[derive(Debug)]
pub(super) struct FailingCatalog {
    pub(super) inner: Arc<MemoryCatalog>,
    pub(super) failure: Arc<Mutex<Option<CatalogFailure>>>,
    /// Notified of each commit whose caller gets no further.
    pub(super) committed: Arc<Notify>,
}

fn no_answer() -> TxnLogError {
    TxnLogError::new(ErrorKind::Unavailable, "the catalog does not answer: check the connection")
}

#[async_trait]
impl Catalog for FailingCatalog {
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
        self.inner.reader(table)
    }
    async fn commit_all(&self, requests: Vec<CommitRequest>) -> Result<Outcome> {
        let failure = *self.failure.lock();
        if failure == Some(CatalogFailure::DiskIsFull) {
            return Err(TxnLogError::new(ErrorKind::Unavailable, "the disk of the catalog is full: free some space"));
        }
        let outcome = self.inner.commit_all(requests).await;
        match failure {
            Some(CatalogFailure::AnswersAreLost) => Err(no_answer()),
            Some(CatalogFailure::CommitsHang) => {
                self.committed.notify_one();
                std::future::pending().await
            }
            _ => outcome,
        }
    }
    async fn find_commit(&self, table: TableId, id: CommitId) -> Result<Option<Committed>> {
        let failure = *self.failure.lock();
        if failure == Some(CatalogFailure::AnswersAreLost) {
            return Err(no_answer());
        }
        self.inner.find_commit(table, id).await
    }
}

#[async_trait]
impl CatalogAdministration for FailingCatalog {
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
impl HistoryLoading for FailingCatalog {
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
impl MirrorProgress for FailingCatalog {
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
impl HistoryExpiry for FailingCatalog {
    async fn end_of_history(&self, table: TableId, keep: &Keep) -> Result<Version> {
        self.inner.end_of_history(table, keep).await
    }
    async fn expire(&self, expiry: &Expiry) -> Result<Expired> {
        self.inner.expire(expiry).await
    }
}

#[async_trait]
impl TableLifecycle for FailingCatalog {
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
impl TableListing for FailingCatalog {
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
impl TableReferences for FailingCatalog {
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
impl CatalogNamespaces for FailingCatalog {
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
impl VersionHolds for FailingCatalog {
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
