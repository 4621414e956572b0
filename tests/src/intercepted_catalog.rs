//! A catalog whose calls an interceptor records, delays or fails, in front of another catalog.
//!
//! It uses the crate `deltalakedb-log` only, so that the tests of every crate can include it with `#[path]`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use deltalakedb_log::action::{Add, Remove, Version};
use deltalakedb_log::commit::{CommitRequest, Committed, Outcome};
use deltalakedb_log::lifecycle::RemovedRows;
use deltalakedb_log::snapshot::{At, CommitSummary, Head, Snapshot};
use deltalakedb_log::{
    Artifact, Catalog, CatalogAdministration, CatalogNamespaces, CommitId, Committer, ComparedTables, DropTable,
    Expired, Expiry, HistoryExpiry, HistoryLoad, HistoryLoading, HistoryRange, Hold, InactiveTable, Keep, Lease,
    Location, LocationKey, MirrorFailure, MirrorProgress, MirrorState, Point, Predicate, Result, Retention,
    TableBehind, TableEntry, TableId, TableLifecycle, TableListing, TableName, TablePage, TableRef, TableReferences,
    TableState, TxnLogReader, UnfinishedLoad, VersionHolds,
};
use futures::stream::BoxStream;
use uuid::Uuid;

/// What happens before and after each call of a catalog. A call is given by the name of its method.
#[async_trait]
pub trait Interceptor: fmt::Debug + Send + Sync + 'static {
    /// Before the catalog gets the call. With an error it does not get it.
    async fn before(&self, call: &'static str) -> Result<()> {
        let _ = call;
        Ok(())
    }

    /// After the catalog has made the call, before the caller gets the answer. With an error the answer is lost.
    async fn after(&self, call: &'static str) -> Result<()> {
        let _ = call;
        Ok(())
    }

    /// The reader of a table that the caller gets: an [`InterceptedReader`], or the one of the catalog.
    fn reader(self: &Arc<Self>, reader: Arc<dyn TxnLogReader>) -> Arc<dyn TxnLogReader> {
        reader
    }

    /// The rows of a call of an [`InterceptedReader`].
    fn rows<T: Send + 'static>(
        self: &Arc<Self>,
        call: &'static str,
        rows: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        let _ = call;
        rows
    }
}

/// A catalog whose calls are intercepted.
#[derive(Debug)]
pub struct InterceptedCatalog<I> {
    inner: Arc<dyn Catalog>,
    interceptor: Arc<I>,
}

impl<I: Interceptor> InterceptedCatalog<I> {
    /// A catalog in front of `inner`.
    pub fn new(inner: Arc<dyn Catalog>, interceptor: Arc<I>) -> Self {
        Self { inner, interceptor }
    }
}

/// A table's log whose calls are intercepted. It has no summaries: what they would say is computed from the files.
#[derive(Debug)]
pub struct InterceptedReader<I> {
    inner: Arc<dyn TxnLogReader>,
    interceptor: Arc<I>,
}

impl<I: Interceptor> InterceptedReader<I> {
    /// A log in front of `inner`.
    pub fn new(inner: Arc<dyn TxnLogReader>, interceptor: Arc<I>) -> Self {
        Self { inner, interceptor }
    }
}

macro_rules! call {
    ($self:ident.$method:ident($($argument:expr),*)) => {{
        $self.interceptor.before(stringify!($method)).await?;
        let answer = $self.inner.$method($($argument),*).await;
        $self.interceptor.after(stringify!($method)).await?;
        answer
    }};
}

#[async_trait]
impl<I: Interceptor> TxnLogReader for InterceptedReader<I> {
    async fn head(&self) -> Result<Head> {
        call!(self.head())
    }
    async fn snapshot(&self, at: At) -> Result<Snapshot> {
        call!(self.snapshot(at))
    }
    async fn files(&self, version: Version, predicate: Option<&Predicate>) -> Result<BoxStream<'static, Result<Add>>> {
        let files = call!(self.files(version, predicate))?;
        Ok(self.interceptor.rows("files", files))
    }
    async fn files_in_replay_order(&self, version: Version, predicate: Option<&Predicate>) -> Result<Vec<Add>> {
        call!(self.files_in_replay_order(version, predicate))
    }
    async fn files_by_key(&self, version: Version) -> Result<BoxStream<'static, Result<Add>>> {
        let files = call!(self.files_by_key(version))?;
        Ok(self.interceptor.rows("files_by_key", files))
    }
    async fn tombstones(&self, version: Version, deleted_after: i64) -> Result<BoxStream<'static, Result<Remove>>> {
        let tombstones = call!(self.tombstones(version, deleted_after))?;
        Ok(self.interceptor.rows("tombstones", tombstones))
    }
    async fn history(&self, range: HistoryRange) -> Result<Vec<CommitSummary>> {
        call!(self.history(range))
    }
    async fn commit_bytes(&self, version: Version) -> Result<Option<Bytes>> {
        call!(self.commit_bytes(version))
    }
    async fn changes(&self, from: Version, to: Version) -> Result<BoxStream<'static, Result<(Version, Bytes)>>> {
        let changes = call!(self.changes(from, to))?;
        Ok(self.interceptor.rows("changes", changes))
    }
}

#[async_trait]
impl<I: Interceptor> Catalog for InterceptedCatalog<I> {
    async fn identity(&self) -> Result<(Uuid, Uuid)> {
        call!(self.identity())
    }
    async fn now_ms(&self) -> Result<i64> {
        call!(self.now_ms())
    }
    fn compared(&self) -> &ComparedTables {
        self.inner.compared()
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
    async fn find(&self, table: &TableRef) -> Result<Option<TableEntry>> {
        call!(self.find(table))
    }
    async fn point(&self) -> Result<Point> {
        call!(self.point())
    }
    async fn find_at(&self, table: &TableRef, point: &Point) -> Result<Option<TableEntry>> {
        call!(self.find_at(table, point))
    }
    async fn begin(&self, tables: &[TableId]) -> Result<Vec<Head>> {
        call!(self.begin(tables))
    }
    fn reader(&self, table: TableId) -> Arc<dyn TxnLogReader> {
        self.interceptor.reader(self.inner.reader(table))
    }
    async fn commit_all(&self, requests: Vec<CommitRequest>) -> Result<Outcome> {
        call!(self.commit_all(requests))
    }
    async fn find_commit(&self, table: TableId, id: CommitId) -> Result<Option<Committed>> {
        call!(self.find_commit(table, id))
    }
}

#[async_trait]
impl<I: Interceptor> CatalogAdministration for InterceptedCatalog<I> {
    async fn renew_epoch(&self) -> Result<Uuid> {
        call!(self.renew_epoch())
    }
    async fn succeed(&self, catalog: Uuid, epochs: &[Uuid]) -> Result<Uuid> {
        call!(self.succeed(catalog, epochs))
    }
    async fn default_retention(&self) -> Result<Retention> {
        call!(self.default_retention())
    }
    async fn set_default_retention(&self, retention: Retention, committer: Option<&str>) -> Result<()> {
        call!(self.set_default_retention(retention, committer))
    }
    async fn expire_audit(&self, before_ms: i64) -> Result<u64> {
        call!(self.expire_audit(before_ms))
    }
}

#[async_trait]
impl<I: Interceptor> HistoryLoading for InterceptedCatalog<I> {
    async fn load_history(&self, load: HistoryLoad<'_>) -> Result<TableEntry> {
        call!(self.load_history(load))
    }
    async fn load_together(&self, loads: Vec<HistoryLoad<'_>>) -> Result<Vec<TableEntry>> {
        call!(self.load_together(loads))
    }
    async fn unfinished_load(&self, location: &Location) -> Result<Option<UnfinishedLoad>> {
        call!(self.unfinished_load(location))
    }
    async fn abandon_load(&self, table: TableId) -> Result<()> {
        call!(self.abandon_load(table))
    }
}

#[async_trait]
impl<I: Interceptor> MirrorProgress for InterceptedCatalog<I> {
    async fn acquire_lease(&self, table: TableId, holder: Uuid, now_ms: i64, until_ms: i64) -> Result<Option<Lease>> {
        call!(self.acquire_lease(table, holder, now_ms, until_ms))
    }
    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        call!(self.release_lease(lease))
    }
    async fn mark_published(&self, lease: &Lease, version: Version) -> Result<()> {
        call!(self.mark_published(lease, version))
    }
    async fn mark_next_published(&self, table: TableId, from: Version, to: Version) -> Result<bool> {
        call!(self.mark_next_published(table, from, to))
    }
    async fn mark_checkpointed(&self, table: TableId, version: Version) -> Result<()> {
        call!(self.mark_checkpointed(table, version))
    }
    async fn mark_failed(&self, table: TableId, version: Version, what: Artifact, error: &str, at: i64) -> Result<()> {
        call!(self.mark_failed(table, version, what, error, at))
    }
    async fn set_mirror(&self, seen: &TableEntry, state: &MirrorState) -> Result<bool> {
        call!(self.set_mirror(seen, state))
    }
    async fn mirror_failures(&self, table: TableId) -> Result<Vec<MirrorFailure>> {
        call!(self.mirror_failures(table))
    }
    async fn tables_behind(&self, among: Option<&[TableId]>) -> Result<Vec<TableBehind>> {
        call!(self.tables_behind(among))
    }
}

#[async_trait]
impl<I: Interceptor> HistoryExpiry for InterceptedCatalog<I> {
    async fn end_of_history(&self, table: TableId, keep: &Keep) -> Result<Version> {
        call!(self.end_of_history(table, keep))
    }
    async fn expire(&self, expiry: &Expiry) -> Result<Expired> {
        call!(self.expire(expiry))
    }
}

#[async_trait]
impl<I: Interceptor> TableLifecycle for InterceptedCatalog<I> {
    async fn rename_table(&self, table: TableId, to: &TableName, committer: &Committer) -> Result<TableEntry> {
        call!(self.rename_table(table, to, committer))
    }
    async fn drop_table(&self, lease: &Lease, drop: &DropTable) -> Result<()> {
        call!(self.drop_table(lease, drop))
    }
    async fn undrop_table(&self, table: TableId, name: Option<&TableName>, by: &Committer) -> Result<TableEntry> {
        call!(self.undrop_table(table, name, by))
    }
    async fn mark_files_deleted(&self, table: TableId) -> Result<()> {
        call!(self.mark_files_deleted(table))
    }
    async fn inactive_table(&self, table: TableId) -> Result<Option<InactiveTable>> {
        call!(self.inactive_table(table))
    }
    async fn inactive_tables(&self, after: Option<&InactiveTable>, limit: usize) -> Result<Vec<InactiveTable>> {
        call!(self.inactive_tables(after, limit))
    }
    async fn inactive_named(&self, name: &TableName) -> Result<Vec<InactiveTable>> {
        call!(self.inactive_named(name))
    }
    async fn removable_tables(&self, after: Option<&InactiveTable>, limit: usize) -> Result<Vec<InactiveTable>> {
        call!(self.removable_tables(after, limit))
    }
    async fn remove_table(&self, table: TableId) -> Result<RemovedRows> {
        call!(self.remove_table(table))
    }
    fn reader_in(&self, table: TableId, state: TableState) -> Arc<dyn TxnLogReader> {
        self.interceptor.reader(self.inner.reader_in(table, state))
    }
}

#[async_trait]
impl<I: Interceptor> TableListing for InterceptedCatalog<I> {
    async fn tables_page(&self, page: &TablePage) -> Result<Vec<TableEntry>> {
        call!(self.tables_page(page))
    }
    async fn names_beside(&self, name: &TableName, limit: usize) -> Result<Vec<TableName>> {
        call!(self.names_beside(name, limit))
    }
    async fn table_around(&self, location: &Location) -> Result<Option<InactiveTable>> {
        call!(self.table_around(location))
    }
    async fn tables_with_metadata(&self, id: &str) -> Result<Vec<TableEntry>> {
        call!(self.tables_with_metadata(id))
    }
}

#[async_trait]
impl<I: Interceptor> TableReferences for InterceptedCatalog<I> {
    async fn referring_tables(&self, place: &Location) -> Result<Vec<InactiveTable>> {
        call!(self.referring_tables(place))
    }
    async fn source_tables(&self, table: TableId) -> Result<Vec<InactiveTable>> {
        call!(self.source_tables(table))
    }
    async fn named_folders(&self, table: TableId) -> Result<Vec<LocationKey>> {
        call!(self.named_folders(table))
    }
    async fn forget_folders(&self, table: TableId, at_version: Version, folders: &[LocationKey]) -> Result<()> {
        call!(self.forget_folders(table, at_version, folders))
    }
}

#[async_trait]
impl<I: Interceptor> CatalogNamespaces for InterceptedCatalog<I> {
    async fn create_namespace(&self, name: &str, committer: Option<&str>) -> Result<()> {
        call!(self.create_namespace(name, committer))
    }
    async fn drop_namespace(&self, name: &str, committer: Option<&str>) -> Result<()> {
        call!(self.drop_namespace(name, committer))
    }
    async fn namespaces_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        call!(self.namespaces_after(after, limit))
    }
}

#[async_trait]
impl<I: Interceptor> VersionHolds for InterceptedCatalog<I> {
    async fn hold(&self, table: TableId, version: Version, until_ms: i64, holder: &str) -> Result<Hold> {
        call!(self.hold(table, version, until_ms, holder))
    }
    async fn renew_hold(&self, hold: &Hold, until_ms: i64) -> Result<Hold> {
        call!(self.renew_hold(hold, until_ms))
    }
    async fn release_hold(&self, hold: &Hold) -> Result<()> {
        call!(self.release_hold(hold))
    }
    async fn holds(&self, table: TableId) -> Result<Vec<Hold>> {
        call!(self.holds(table))
    }
    async fn remove_ended_holds(&self, table: TableId) -> Result<()> {
        call!(self.remove_ended_holds(table))
    }
}
