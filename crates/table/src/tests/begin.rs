//! The queries of a transaction to the catalog do not depend on the number of tables.

use async_trait::async_trait;
use deltalakedb_log::commit::{Committed, Outcome};
use deltalakedb_log::lifecycle::RemovedRows;
use deltalakedb_log::{
    Artifact, CatalogAdministration, CatalogNamespaces, CommitId, Committer, ComparedTables, DropTable, Expired,
    Expiry, Head, HistoryExpiry, HistoryLoad, HistoryLoading, Hold, InactiveTable, Keep, Lease, LocationKey,
    MirrorFailure, MirrorProgress, MirrorState, Point, Result, Retention, TableBehind, TableEntry, TableLifecycle,
    TableListing, TableName, TablePage, TableReferences, TableState, TxnLogReader, UnfinishedLoad, Version,
    VersionHolds,
};
use parking_lot::Mutex;

use super::*;

/// A catalog that records the calls to it.
#[derive(Debug)]
struct RecordingCatalog {
    inner: Arc<MemoryCatalog>,
    questions: Mutex<Vec<&'static str>>,
}

macro_rules! asked {
    ($self:ident.$question:ident($($argument:expr),*)) => {{
        $self.questions.lock().push(stringify!($question));
        $self.inner.$question($($argument),*)
    }};
}

#[async_trait]
impl Catalog for RecordingCatalog {
    async fn identity(&self) -> Result<(Uuid, Uuid)> {
        asked!(self.identity()).await
    }
    async fn now_ms(&self) -> Result<i64> {
        asked!(self.now_ms()).await
    }
    fn compared(&self) -> &ComparedTables {
        self.inner.compared()
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
    async fn find(&self, table: &TableRef) -> Result<Option<TableEntry>> {
        asked!(self.find(table)).await
    }
    async fn point(&self) -> Result<Point> {
        asked!(self.point()).await
    }
    async fn find_at(&self, table: &TableRef, point: &Point) -> Result<Option<TableEntry>> {
        asked!(self.find_at(table, point)).await
    }
    async fn begin(&self, tables: &[TableId]) -> Result<Vec<Head>> {
        asked!(self.begin(tables)).await
    }
    fn reader(&self, table: TableId) -> Arc<dyn TxnLogReader> {
        asked!(self.reader(table))
    }
    async fn commit_all(&self, requests: Vec<CommitRequest>) -> Result<Outcome> {
        asked!(self.commit_all(requests)).await
    }
    async fn find_commit(&self, table: TableId, id: CommitId) -> Result<Option<Committed>> {
        asked!(self.find_commit(table, id)).await
    }
}

#[async_trait]
impl CatalogAdministration for RecordingCatalog {
    async fn renew_epoch(&self) -> Result<Uuid> {
        asked!(self.renew_epoch()).await
    }
    async fn succeed(&self, catalog: Uuid, epochs: &[Uuid]) -> Result<Uuid> {
        asked!(self.succeed(catalog, epochs)).await
    }
    async fn default_retention(&self) -> Result<Retention> {
        asked!(self.default_retention()).await
    }
    async fn set_default_retention(&self, retention: Retention, committer: Option<&str>) -> Result<()> {
        asked!(self.set_default_retention(retention, committer)).await
    }
    async fn expire_audit(&self, before_ms: i64) -> Result<u64> {
        asked!(self.expire_audit(before_ms)).await
    }
}

#[async_trait]
impl HistoryLoading for RecordingCatalog {
    async fn load_history(&self, load: HistoryLoad<'_>) -> Result<TableEntry> {
        asked!(self.load_history(load)).await
    }
    async fn load_together(&self, loads: Vec<HistoryLoad<'_>>) -> Result<Vec<TableEntry>> {
        asked!(self.load_together(loads)).await
    }
    async fn unfinished_load(&self, location: &Location) -> Result<Option<UnfinishedLoad>> {
        asked!(self.unfinished_load(location)).await
    }
    async fn abandon_load(&self, table: TableId) -> Result<()> {
        asked!(self.abandon_load(table)).await
    }
}

#[async_trait]
impl MirrorProgress for RecordingCatalog {
    async fn acquire_lease(&self, table: TableId, holder: Uuid, now_ms: i64, until_ms: i64) -> Result<Option<Lease>> {
        asked!(self.acquire_lease(table, holder, now_ms, until_ms)).await
    }
    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        asked!(self.release_lease(lease)).await
    }
    async fn mark_published(&self, lease: &Lease, version: Version) -> Result<()> {
        asked!(self.mark_published(lease, version)).await
    }
    async fn mark_next_published(&self, table: TableId, from: Version, to: Version) -> Result<bool> {
        asked!(self.mark_next_published(table, from, to)).await
    }
    async fn mark_checkpointed(&self, table: TableId, version: Version) -> Result<()> {
        asked!(self.mark_checkpointed(table, version)).await
    }
    async fn mark_failed(&self, table: TableId, version: Version, what: Artifact, error: &str, at: i64) -> Result<()> {
        asked!(self.mark_failed(table, version, what, error, at)).await
    }
    async fn set_mirror(&self, seen: &TableEntry, state: &MirrorState) -> Result<bool> {
        asked!(self.set_mirror(seen, state)).await
    }
    async fn mirror_failures(&self, table: TableId) -> Result<Vec<MirrorFailure>> {
        asked!(self.mirror_failures(table)).await
    }
    async fn tables_behind(&self, among: Option<&[TableId]>) -> Result<Vec<TableBehind>> {
        asked!(self.tables_behind(among)).await
    }
}

#[async_trait]
impl HistoryExpiry for RecordingCatalog {
    async fn end_of_history(&self, table: TableId, keep: &Keep) -> Result<Version> {
        asked!(self.end_of_history(table, keep)).await
    }
    async fn expire(&self, expiry: &Expiry) -> Result<Expired> {
        asked!(self.expire(expiry)).await
    }
}

#[async_trait]
impl TableLifecycle for RecordingCatalog {
    async fn rename_table(&self, table: TableId, to: &TableName, committer: &Committer) -> Result<TableEntry> {
        asked!(self.rename_table(table, to, committer)).await
    }
    async fn drop_table(&self, lease: &Lease, drop: &DropTable) -> Result<()> {
        asked!(self.drop_table(lease, drop)).await
    }
    async fn undrop_table(&self, table: TableId, name: Option<&TableName>, by: &Committer) -> Result<TableEntry> {
        asked!(self.undrop_table(table, name, by)).await
    }
    async fn mark_files_deleted(&self, table: TableId) -> Result<()> {
        asked!(self.mark_files_deleted(table)).await
    }
    async fn inactive_table(&self, table: TableId) -> Result<Option<InactiveTable>> {
        asked!(self.inactive_table(table)).await
    }
    async fn inactive_tables(&self, after: Option<&InactiveTable>, limit: usize) -> Result<Vec<InactiveTable>> {
        asked!(self.inactive_tables(after, limit)).await
    }
    async fn inactive_named(&self, name: &TableName) -> Result<Vec<InactiveTable>> {
        asked!(self.inactive_named(name)).await
    }
    async fn removable_tables(&self, after: Option<&InactiveTable>, limit: usize) -> Result<Vec<InactiveTable>> {
        asked!(self.removable_tables(after, limit)).await
    }
    async fn remove_table(&self, table: TableId) -> Result<RemovedRows> {
        asked!(self.remove_table(table)).await
    }
    fn reader_in(&self, table: TableId, state: TableState) -> Arc<dyn TxnLogReader> {
        asked!(self.reader_in(table, state))
    }
}

#[async_trait]
impl TableListing for RecordingCatalog {
    async fn tables_page(&self, page: &TablePage) -> Result<Vec<TableEntry>> {
        asked!(self.tables_page(page)).await
    }
    async fn names_beside(&self, name: &TableName, limit: usize) -> Result<Vec<TableName>> {
        asked!(self.names_beside(name, limit)).await
    }
    async fn table_around(&self, location: &Location) -> Result<Option<InactiveTable>> {
        asked!(self.table_around(location)).await
    }
    async fn tables_with_metadata(&self, id: &str) -> Result<Vec<TableEntry>> {
        asked!(self.tables_with_metadata(id)).await
    }
}

#[async_trait]
impl TableReferences for RecordingCatalog {
    async fn referring_tables(&self, place: &Location) -> Result<Vec<InactiveTable>> {
        asked!(self.referring_tables(place)).await
    }
    async fn source_tables(&self, table: TableId) -> Result<Vec<InactiveTable>> {
        asked!(self.source_tables(table)).await
    }
    async fn named_folders(&self, table: TableId) -> Result<Vec<LocationKey>> {
        asked!(self.named_folders(table)).await
    }
    async fn forget_folders(&self, table: TableId, at_version: Version, folders: &[LocationKey]) -> Result<()> {
        asked!(self.forget_folders(table, at_version, folders)).await
    }
}

#[async_trait]
impl CatalogNamespaces for RecordingCatalog {
    async fn create_namespace(&self, name: &str, committer: Option<&str>) -> Result<()> {
        asked!(self.create_namespace(name, committer)).await
    }
    async fn drop_namespace(&self, name: &str, committer: Option<&str>) -> Result<()> {
        asked!(self.drop_namespace(name, committer)).await
    }
    async fn namespaces_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        asked!(self.namespaces_after(after, limit)).await
    }
}

#[async_trait]
impl VersionHolds for RecordingCatalog {
    async fn hold(&self, table: TableId, version: Version, until_ms: i64, holder: &str) -> Result<Hold> {
        asked!(self.hold(table, version, until_ms, holder)).await
    }
    async fn renew_hold(&self, hold: &Hold, until_ms: i64) -> Result<Hold> {
        asked!(self.renew_hold(hold, until_ms)).await
    }
    async fn release_hold(&self, hold: &Hold) -> Result<()> {
        asked!(self.release_hold(hold)).await
    }
    async fn holds(&self, table: TableId) -> Result<Vec<Hold>> {
        asked!(self.holds(table)).await
    }
    async fn remove_ended_holds(&self, table: TableId) -> Result<()> {
        asked!(self.remove_ended_holds(table)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_of_a_transaction_do_not_grow_with_the_number_of_tables() {
    let mut asked = Vec::new();
    for others in [2, 40] {
        let fixture = Fixture::new();
        for n in 0..others {
            fixture.create(&format!("t{n}"), "id long, day string", &[]).await;
        }
        let catalog = Arc::new(RecordingCatalog { inner: fixture.catalog.clone(), questions: Mutex::default() });
        let tx = Transaction::begin(catalog.clone(), TransactionOptions::default()).await.unwrap();
        fixture.open("t0").await.write(rows(&[7], &["z"]), SaveMode::Append, &WriteOptions::default()).await.unwrap();
        assert!(text(&tx.read("t0", &Scan::default()).await.unwrap()).is_empty(), "what came later is not seen");
        tx.write("t1", rows(&[1], &["x"]), SaveMode::Append).await.unwrap();
        tx.commit().await.unwrap();
        asked.push(std::mem::take(&mut *catalog.questions.lock()));
    }
    assert!(!asked[1].contains(&"tables_page"), "{asked:?}");
    assert_eq!(asked[0], asked[1]);
}
