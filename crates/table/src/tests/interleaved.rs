//! A concurrent vacuum and restore: each is stopped in the middle while the other runs.

use std::fmt;

use deltalakedb_log::retention::{Expiry, HistoryExpiry, Keep};
use deltalakedb_log::stores::environment;
use deltalakedb_log::{Committer, Durability, Result, Stores};
use deltalakedb_mirror::Mirror;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::vacuums::{now_and_then, replaced};
use super::*;

/// The call that is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// A lookup of a file, after its result is known.
    Look,
    /// A listing of all files, before it starts.
    Listing,
    /// The removal of files, before it starts.
    Removal,
}

/// Object stores in which the first call of a kind stops until it is released.
#[derive(Clone, Debug)]
struct Stopping {
    call: Call,
    stop: Arc<Mutex<Option<Stop>>>,
}

#[derive(Debug)]
struct Stop {
    reached: oneshot::Sender<()>,
    go: oneshot::Receiver<()>,
}

impl Stopping {
    async fn pass(&self, call: Call) {
        let stop = if call == self.call { self.stop.lock().take() } else { None };
        if let Some(Stop { reached, go }) = stop {
            reached.send(()).unwrap();
            go.await.unwrap();
        }
    }
}

impl Stores for Stopping {
    fn open(&self, location: &Location, durability: Durability) -> Result<Arc<dyn ObjectStore>> {
        Ok(Arc::new(Store { inner: environment().open(location, durability)?, stopping: self.clone() }))
    }
}

#[derive(Debug)]
struct Store {
    inner: Arc<dyn ObjectStore>,
    stopping: Stopping,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Store {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let is_look = options.head;
        let found = self.inner.get_opts(path, options).await;
        if is_look {
            self.stopping.pass(Call::Look).await;
        }
        found
    }

    fn delete_stream(&self, paths: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        let (inner, stopping) = (self.inner.clone(), self.stopping.clone());
        let removed = stream::once(async move {
            stopping.pass(Call::Removal).await;
            inner.delete_stream(paths)
        });
        removed.flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let (inner, stopping, prefix) = (self.inner.clone(), self.stopping.clone(), prefix.cloned());
        let listed = stream::once(async move {
            stopping.pass(Call::Listing).await;
            inner.list(prefix.as_ref())
        });
        listed.flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A table, and the same table with stores that stop.
struct Interleaving {
    fixture: Fixture,
    table: DeltaTable,
    options: WriteOptions,
    stopping: DeltaTable,
    stopped: Stopped,
}

/// The other ends of a [`Stop`].
struct Stopped {
    reached: oneshot::Receiver<()>,
    go: oneshot::Sender<()>,
}

impl Interleaving {
    async fn at(call: Call) -> Self {
        let fixture = Fixture::new();
        let table = replaced(&fixture).await;
        let ((reached, is_reached), (let_go, go)) = (oneshot::channel(), oneshot::channel());
        let stop = Arc::new(Mutex::new(Some(Stop { reached, go })));
        let stopping = table.clone().with_stores(Arc::new(Stopping { call, stop }));
        let stopped = Stopped { reached: is_reached, go: let_go };
        Self { options: fixture.later(60), fixture, table, stopping, stopped }
    }
}

impl Stopped {
    /// What an operation that stops gives, when this happens while it stands still.
    async fn meanwhile<T>(self, operation: impl Future<Output = T>, happens: impl Future<Output = ()>) -> T {
        let happens = async {
            self.reached.await.unwrap();
            happens.await;
            self.go.send(()).unwrap();
        };
        tokio::join!(operation, happens).0
    }
}

/// Version 1 has one file, which version 2 has replaced.
const BEFORE: At = At::Version(1);
const ROWS_BEFORE: &[&str] = &["|1|ab|", "|2|ab|"];
const ROWS: &[&str] = &["|2|ab|"];

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_refused_between_the_start_of_a_vacuum_and_its_deletes() {
    let Interleaving { fixture, table, options, stopping, stopped } = Interleaving::at(Call::Removal).await;
    let prepared = table.prepare(Operation::Restore(BEFORE.into()), &options).await.unwrap().unwrap();
    let restored = async {
        assert_eq!(table.head().await.unwrap().version, 3, "it has said that it begins");
        check(&table, &Scan { at: BEFORE, ..Scan::default() }, ROWS_BEFORE).await;
        let e = table.restore(BEFORE, &options).await.unwrap_err();
        assert!(e.to_string().contains("has been running since version 3"), "{e}");
        let e = commit(fixture.catalog.as_ref(), vec![prepared], &options).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    };
    let gone = stopped.meanwhile(stopping.vacuum(&now_and_then(0, true), &options), restored).await;
    assert_eq!(gone.unwrap().files.len(), 1);
    check(&table, &Scan::default(), ROWS).await;
    let e = table.restore(BEFORE, &options).await.unwrap_err();
    assert!(e.to_string().starts_with("the version cannot be restored"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_restored_while_a_vacuum_lists_are_kept() {
    let Interleaving { table, options, stopping, stopped, fixture: _fixture } = Interleaving::at(Call::Look).await;
    let everything = now_and_then(0, true);
    let restored = async { _ = table.restore(BEFORE, &options).await.unwrap() };
    let vacuumed = stopped.meanwhile(stopping.vacuum(&everything, &options), restored).await;
    // The file that it found is needed again.
    assert_eq!(vacuumed.unwrap(), Vacuumed::default());
    assert_eq!(table.head().await.unwrap().version, 5, "its start and its end come after the restore");
    check(&table, &Scan::default(), ROWS_BEFORE).await;
    assert_eq!(table.vacuum(&everything, &options).await.unwrap().files.len(), 1, "that of the version in between");
    check(&table, &Scan::default(), ROWS_BEFORE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_overtaken_by_a_vacuum_is_refused() {
    // It has found the file.
    let Interleaving { table, options, stopping, stopped, fixture: _fixture } = Interleaving::at(Call::Look).await;
    let vacuumed = async {
        assert_eq!(table.vacuum(&now_and_then(0, true), &options).await.unwrap().files.len(), 1);
    };
    let e = stopped.meanwhile(stopping.restore(BEFORE, &options), vacuumed).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    check(&table, &Scan::default(), ROWS).await;
}

/// Commits and publishes more, and expires history before its newest version.
async fn end_history(fixture: &Fixture, table: &DeltaTable) {
    let options = WriteOptions::default();
    table.write(rows(&[3], &["c"]), SaveMode::Append, &options).await.unwrap();
    table.write(rows(&[4], &["d"]), SaveMode::Append, &options).await.unwrap();
    let id = fixture.id("t").await;
    std::fs::remove_dir_all(table.location().local_path().unwrap().join("_delta_log")).unwrap();
    Mirror::new(fixture.catalog.clone(), fixture.clock.clone()).publish(id).await.unwrap();
    let newest = table.head().await.unwrap().version;
    let keep = Keep { since_ms: i64::MAX, versions: 1, ids_since_ms: 0 };
    fixture.catalog.expire(&Expiry { table: id, keep, up_to: newest, committer: Committer::default() }).await.unwrap();
    assert_eq!(fixture.base("t").await, newest);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_during_a_vacuum_does_not_fail_the_vacuum() {
    for call in [Call::Look, Call::Removal] {
        let Interleaving { fixture, table, options, stopping, stopped } = Interleaving::at(call).await;
        let everything = now_and_then(0, true);
        let gone = stopped.meanwhile(stopping.vacuum(&everything, &options), end_history(&fixture, &table)).await;
        assert_eq!(gone.unwrap().files.len(), 1, "{call:?}");
        let range = deltalakedb_log::HistoryRange { limit: Some(1), ..Default::default() };
        let newest = table.reader().await.unwrap().history(range).await.unwrap();
        assert_eq!(newest[0].operation.as_deref(), Some("VACUUM END"), "{call:?}");
        let base = fixture.base("t").await;
        table.restore(At::Version(base), &options).await.unwrap();
        check(&table, &Scan::default(), &["|2|ab|", "|3|c|", "|4|d|"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_skips_commits_that_expire_while_it_lists() {
    let Interleaving { fixture, table, options, stopping, stopped } = Interleaving::at(Call::Listing).await;
    let everything = now_and_then(0, false);
    let vacuumed = stopped.meanwhile(stopping.vacuum(&everything, &options), end_history(&fixture, &table)).await;
    // A young file without a retained commit may belong to a transaction that is about to commit it.
    assert_eq!(vacuumed.unwrap().files, ["old.parquet"]);
    check(&table, &Scan::default(), &["|2|ab|", "|3|c|", "|4|d|"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_is_refused_where_the_retention_changed_while_it_listed() {
    let Interleaving { fixture, table, options, stopping, stopped } = Interleaving::at(Call::Look).await;
    let altered = async {
        let longer = [("delta.deletedFileRetentionDuration", "interval 30 days")];
        table.set_properties(&longer, &options).await.unwrap();
        end_history(&fixture, &table).await;
    };
    let e = stopped.meanwhile(stopping.vacuum(&now_and_then(0, true), &options), altered).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    assert!(e.to_string().contains("run it again"), "{e}");
}
