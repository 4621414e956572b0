//! A simulated world from a seed: a clock that advances only when all tasks wait, an object store that fails, and a
//! catalog whose connections are lost.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use deltalakedb_log::action::{Action, Version};
use deltalakedb_log::commit::{Base, NewTable};
use deltalakedb_log::conformance::actions::{file, metadata, protocol};
use deltalakedb_log::{
    Artifact, Catalog, Clock, CommitRequest, Durability, ErrorKind, Location, MemoryCatalog, MirrorProgress,
    Result as LogResult, Stores, TableEntry, TableId, TableRef, TxnLogError, TxnLogReader,
};
use deltalakedb_mirror::Mirror;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::intercepted_catalog::{InterceptedCatalog, InterceptedReader, Interceptor};

/// Random choices shared by all parts of a world.
#[derive(Clone, Debug)]
pub(crate) struct Dice(Arc<Mutex<fastrand::Rng>>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    pub(crate) fn below(&self, range: Range<u64>) -> u64 {
        self.0.lock().u64(range)
    }

    pub(crate) fn percent(&self, chance: u64) -> bool {
        self.below(0..100) < chance
    }
}

/// Time does not advance while a task works. When all tasks wait, it advances to the end of the shortest wait.
#[derive(Debug)]
pub(crate) struct VirtualClock {
    now: Arc<AtomicI64>,
    /// When each waiting task continues.
    waiting: Arc<Mutex<BTreeSet<(i64, Uuid)>>>,
    dice: Dice,
}

/// A waiting task, which may be stopped.
struct Waiting {
    until: (i64, Uuid),
    all: Arc<Mutex<BTreeSet<(i64, Uuid)>>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.lock().remove(&self.until);
    }
}

impl VirtualClock {
    pub(crate) fn new(dice: Dice) -> Self {
        Self { now: Arc::new(AtomicI64::new(1_700_000_000_000)), waiting: Arc::default(), dice }
    }

    /// Advances the time at once.
    pub(crate) fn advance(&self, ms: i64) {
        self.now.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now_ms(&self) -> i64 {
        self.now.load(Ordering::Relaxed)
    }

    fn new_uuid(&self) -> Uuid {
        let half = || u128::from(self.dice.below(0..u64::MAX));
        uuid::Builder::from_random_bytes(((half() << 64) | half()).to_be_bytes()).into_uuid()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (now, all, id) = (self.now.clone(), self.waiting.clone(), self.new_uuid());
        Box::pin(async move {
            let until = now.load(Ordering::Relaxed) + i64::try_from(duration.as_millis()).unwrap() + 1;
            let waiting = Waiting { until: (until, id), all };
            waiting.all.lock().insert(waiting.until);
            let mut turns = 0;
            while now.load(Ordering::Relaxed) < until {
                let is_next = waiting.all.lock().first() == Some(&waiting.until);
                // Every other task has had a turn, and waits.
                turns = if is_next { turns + 1 } else { 0 };
                if turns > 2 {
                    now.fetch_max(until, Ordering::Relaxed);
                } else {
                    tokio::task::yield_now().await;
                }
            }
        })
    }
}

/// An in-memory object store that randomly fails, is slow, gives wrong answers, and truncates writes.
#[derive(Clone, Debug)]
pub(crate) struct Faulty {
    pub(crate) inner: Arc<InMemory>,
    clock: Arc<VirtualClock>,
    dice: Dice,
    /// The number of faults in a hundred requests.
    pub(crate) faults: Arc<AtomicI64>,
    /// Statements of the catalog whose rows are still being read.
    pub(crate) reading: Arc<AtomicI64>,
    /// Whether it overwrites existing files in spite of the request.
    pub(crate) overwrites: Arc<AtomicBool>,
    wrong: Arc<Mutex<Vec<String>>>,
    hints: Arc<Mutex<Vec<Version>>>,
    /// The commits that were put completely.
    whole: Arc<Mutex<HashSet<Path>>>,
}

impl Faulty {
    fn new(clock: Arc<VirtualClock>, dice: Dice) -> Self {
        Self {
            inner: Arc::default(),
            clock,
            dice,
            faults: Arc::default(),
            reading: Arc::default(),
            overwrites: Arc::default(),
            wrong: Arc::default(),
            hints: Arc::default(),
            whole: Arc::default(),
        }
    }

    fn fails(&self) -> bool {
        self.dice.percent(self.faults.load(Ordering::Relaxed).unsigned_abs())
    }

    async fn linger(&self) {
        if self.reading.load(Ordering::Relaxed) > 0 {
            self.wrong.lock().push("the store was waited for within a statement".into());
        }
        let long = self.fails() && self.dice.percent(30);
        let ms = self.dice.below(if long { 1_000..8_000 } else { 0..6 });
        self.clock.sleep(Duration::from_millis(ms)).await;
    }

    /// Applies a put, and records what must never happen in a log.
    async fn apply(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let bytes = Bytes::from(payload.clone());
        let before = bytes_of(&self.inner, path).await;
        let done = self.inner.put_opts(path, payload, options).await?;
        let name = path.filename().unwrap_or_default();
        let mut wrong = Vec::new();
        if !path.as_ref().starts_with("_delta_log/") {
            return Ok(done);
        }
        if let Some(version) = name.strip_suffix(".json").and_then(|version| version.parse::<Version>().ok()) {
            if before.is_some_and(|before| !bytes.starts_with(&before)) {
                wrong.push(format!("{name} was overwritten"));
            }
            if let Some(before) = version.checked_sub(1)
                && !self.whole.lock().contains(&commit(before))
            {
                wrong.push(format!("{name} was put before the version before it"));
            }
            self.whole.lock().insert(path.clone());
        } else if name.ends_with(".crc") && before.is_some() {
            wrong.push(format!("{name} was overwritten"));
        } else if name == "_last_checkpoint" {
            let hint: deltalakedb_log::Object = serde_json::from_slice(&bytes).unwrap();
            let version = hint.get("version").unwrap();
            let mut hints = self.hints.lock();
            if hints.last().is_some_and(|last| *last > version) {
                wrong.push(format!("_last_checkpoint went back to {version}"));
            }
            hints.push(version);
        }
        self.wrong.lock().extend(wrong);
        Ok(done)
    }

    /// The violations in the log so far.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.wrong.lock().clone()
    }
}

pub(crate) async fn bytes_of(store: &InMemory, path: &Path) -> Option<Bytes> {
    match store.get(path).await {
        Ok(got) => Some(got.bytes().await.unwrap()),
        Err(Error::NotFound { .. }) => None,
        Err(e) => panic!("{e}"),
    }
}

fn unavailable(what: &str) -> Error {
    Error::Generic { store: "Faulty", source: format!("503: {what}").into() }
}

fn exists(path: &Path, status: &str) -> Error {
    Error::AlreadyExists { path: path.to_string(), source: status.into() }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        self.linger().await;
        if self.overwrites.load(Ordering::Relaxed) {
            options.mode = PutMode::Overwrite;
        }
        if !self.fails() {
            return self.apply(path, payload, options).await;
        }
        let create = options.mode == PutMode::Create;
        match self.dice.below(0..6) {
            0 => Err(unavailable("nothing was written")),
            // Applied, and the answer is lost.
            1 | 2 => {
                self.apply(path, payload, options).await?;
                self.linger().await;
                Err(unavailable("the connection was closed"))
            }
            // Applied; the store's client retries and finds its own file.
            3 if create => {
                self.apply(path, payload, options).await?;
                Err(exists(path, "412 Precondition Failed"))
            }
            // Nothing exists: the store reports another put in progress, which fails.
            4 if create => Err(exists(path, "409 Conflict")),
            5 if create => {
                let bytes = Bytes::from(payload);
                let torn = bytes.slice(..usize::try_from(self.dice.below(0..bytes.len() as u64)).unwrap());
                self.inner.put_opts(path, torn.into(), options).await?;
                Err(unavailable("the disk is full"))
            }
            _ => Err(Error::Generic { store: "Faulty", source: "the request timed out".into() }),
        }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.linger().await;
        if self.fails() {
            return Err(unavailable("no upload was begun"));
        }
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.linger().await;
        if self.fails() {
            return Err(unavailable("nothing was read"));
        }
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |path: Path| {
            let this = this.clone();
            async move {
                this.linger().await;
                let fails = this.fails();
                if !fails || this.dice.percent(50) {
                    this.inner.delete(&path).await?;
                }
                if fails { Err(unavailable("whether it was deleted is not known")) } else { Ok(path) }
            }
        };
        paths.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.fails() {
            return futures::stream::once(async { Err(unavailable("nothing was listed")) }).boxed();
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.linger().await;
        if self.fails() {
            return Err(unavailable("nothing was listed"));
        }
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// One store for all locations.
#[derive(Debug)]
struct OneStore(Faulty);

impl Stores for OneStore {
    fn open(&self, _: &Location, _: Durability) -> LogResult<Arc<dyn ObjectStore>> {
        Ok(Arc::new(self.0.clone()))
    }
}

/// Connections to a catalog that are randomly lost: before the catalog gets a statement, with the answer of one that it
/// has applied, or while rows are read.
#[derive(Debug)]
pub(crate) struct LostConnections {
    clock: Arc<VirtualClock>,
    dice: Dice,
    /// The probability of a loss before, and after, a statement or row, in percent.
    percent: Arc<AtomicI64>,
}

impl LostConnections {
    /// A catalog with connections that are lost with a probability of `percent`.
    pub(crate) fn of(
        catalog: &Arc<MemoryCatalog>,
        clock: &Arc<VirtualClock>,
        dice: &Dice,
        percent: &Arc<AtomicI64>,
    ) -> Arc<dyn Catalog> {
        let lost = Self { clock: clock.clone(), dice: dice.clone(), percent: percent.clone() };
        Arc::new(InterceptedCatalog::new(catalog.clone(), Arc::new(lost)))
    }

    async fn lose(&self) -> LogResult<()> {
        let percent = self.percent.load(Ordering::Relaxed).unsigned_abs();
        if percent == 0 || !self.dice.percent(percent) {
            return Ok(());
        }
        // Some losses are noticed by a timeout only, perhaps after the lease has expired.
        if self.dice.percent(30) {
            self.clock.sleep(Duration::from_millis(self.dice.below(1_000..8_000))).await;
        }
        Err(TxnLogError::new(ErrorKind::Unavailable, "the connection to the catalog was lost"))
    }
}

#[async_trait]
impl Interceptor for LostConnections {
    async fn before(&self, _: &'static str) -> LogResult<()> {
        self.lose().await
    }

    async fn after(&self, _: &'static str) -> LogResult<()> {
        self.lose().await
    }

    fn reader(self: &Arc<Self>, reader: Arc<dyn TxnLogReader>) -> Arc<dyn TxnLogReader> {
        Arc::new(InterceptedReader::new(reader, self.clone()))
    }

    fn rows<T: Send + 'static>(
        self: &Arc<Self>,
        _: &'static str,
        rows: BoxStream<'static, LogResult<T>>,
    ) -> BoxStream<'static, LogResult<T>> {
        let this = self.clone();
        let or_lose = move |row: T| {
            let this = this.clone();
            async move { this.lose().await.map(|()| row) }
        };
        rows.and_then(or_lose).boxed()
    }
}

/// A catalog with one table, with a faulty object store and connections that are lost.
pub(crate) struct World {
    pub(crate) catalog: Arc<MemoryCatalog>,
    /// The same catalog, as its clients reach it.
    connection: Arc<dyn Catalog>,
    /// How probable a loss of a connection is, in percent.
    pub(crate) lost_connections: Arc<AtomicI64>,
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) store: Faulty,
    pub(crate) dice: Dice,
    pub(crate) table: TableId,
}

impl World {
    /// A new table without published versions.
    pub(crate) async fn new(seed: u64) -> Self {
        let dice = Dice::new(seed);
        let clock = Arc::new(VirtualClock::new(dice.clone()));
        let catalog = Arc::new(MemoryCatalog::new(clock.clone()));
        let store = Faulty::new(clock.clone(), dice.clone());
        let table = TableId(clock.new_uuid());
        let location = Location::parse("memory:///t").unwrap();
        let new = NewTable::new("t".parse().unwrap(), location);
        let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
        let request = CommitRequest::new(table, clock.new_uuid(), Base::Create(new), actions);
        catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        let lost_connections = Arc::default();
        let connection = LostConnections::of(&catalog, &clock, &dice, &lost_connections);
        Self { catalog, connection, lost_connections, clock, store, dice, table }
    }

    /// A publisher as in another process.
    pub(crate) fn mirror(&self) -> Mirror {
        self.mirror_of(self.connection.clone())
    }

    pub(crate) fn mirror_of(&self, catalog: Arc<dyn Catalog>) -> Mirror {
        Mirror::new(catalog, self.clock.clone()).with_stores(Arc::new(OneStore(self.store.clone())))
    }

    pub(crate) async fn append(&self) -> Version {
        let request = self.next_append().await;
        self.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap()[0].version
    }

    /// Appends as a client whose connection may be lost: the id of the commit decides whether it is sent again.
    pub(crate) async fn append_as_client(&self) -> Version {
        let request = self.next_append().await;
        loop {
            if let Ok(outcome) = self.connection.commit_all(vec![request.clone()]).await {
                return outcome.committed().unwrap()[0].version;
            }
            let found = loop {
                if let Ok(found) = self.connection.find_commit(self.table, request.commit_id).await {
                    break found;
                }
            };
            if let Some(committed) = found {
                return committed.version;
            }
        }
    }

    async fn next_append(&self) -> CommitRequest {
        let head = self.entry().await.current_version;
        let add = Action::add(file(&format!("f{}", self.clock.new_uuid()), 0, 9));
        CommitRequest::new(self.table, self.clock.new_uuid(), Base::RebaseFrom(head), vec![add])
    }

    pub(crate) async fn entry(&self) -> TableEntry {
        self.catalog.find(&TableRef::Id(self.table)).await.unwrap().unwrap()
    }

    /// Versions that could not be published, as recorded in the catalog.
    pub(crate) async fn failed(&self) -> Vec<Version> {
        let failures = self.catalog.mirror_failures(self.table).await.unwrap();
        failures.iter().filter(|f| f.artifact == Artifact::Commit).map(|f| f.version).collect()
    }

    pub(crate) async fn sleep(&self, ms: Range<u64>) {
        self.clock.sleep(Duration::from_millis(self.dice.below(ms))).await;
    }

    /// The commits in the log.
    pub(crate) async fn log(&self) -> BTreeMap<Version, Bytes> {
        let mut log = BTreeMap::new();
        let mut files = self.store.inner.list(Some(&Path::from("_delta_log")));
        while let Some(file) = files.try_next().await.unwrap() {
            let name = file.location.filename().unwrap_or_default();
            if let Some(version) = name.strip_suffix(".json").and_then(|version| version.parse().ok()) {
                log.insert(version, bytes_of(&self.store.inner, &file.location).await.unwrap());
            }
        }
        log
    }

    /// The commits that must be in the log.
    pub(crate) async fn committed(&self) -> BTreeMap<Version, Bytes> {
        let reader = self.catalog.reader(self.table);
        let changes = reader.changes(0, self.entry().await.current_version).await.unwrap();
        changes.try_collect().await.unwrap()
    }
}

pub(crate) fn commit(version: Version) -> Path {
    Path::from(format!("_delta_log/{version:020}.json"))
}
