//! Publishing: version N after N-1, never over what is there, the same bytes at every try.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path as FsPath;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use deltalakedb_log::catalog::{Artifact, HistoryRange, Lease, MirrorFailure, MirrorState, require};
use deltalakedb_log::stores::{Stores, environment};
use deltalakedb_log::{
    At, Catalog, Clock, Commit, Durability, ErrorKind, Location, Result, TableEntry, TableId, TableRef, TxnLogError,
    Version,
};
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use uuid::Uuid;

use crate::checksum::{self, Known};

/// Published versions from one checkpoint to the next, unless somebody says otherwise.
const CHECKPOINT_INTERVAL: u64 = 10;
/// How long the right to publish lasts without being renewed. It only keeps publishers from doing the same work twice:
/// what makes publishing safe is put-if-absent and the token.
const LEASE_MS: i64 = 5_000;
/// Versions published between two notes of the watermark, at the most.
const BATCH: u64 = 100;

/// Publishes the commits of a catalog.
#[derive(Debug)]
pub struct Mirror {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stores: Arc<dyn Stores>,
    holder: Uuid,
    pub(crate) durability: Durability,
    checkpoint_interval: u64,
    /// How many versions before a multiple of the interval the checkpoint is.
    checkpoints_before: u64,
    /// What is known of each table at the newest version published here.
    known: Mutex<HashMap<TableId, Known>>,
    /// Stores that are known to refuse to overwrite.
    proven: Mutex<HashSet<Location>>,
}

/// What a publishing attempt did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// The newest version in `_delta_log`, as far as is known.
    pub version: Option<Version>,
    /// How many versions this attempt published.
    pub count: u64,
    /// Another process is publishing the table.
    pub elsewhere: bool,
    /// The version a checkpoint was written of.
    pub checkpoint: Option<Version>,
    /// What went wrong beside the commits, which are published all the same: a sentence each.
    pub warnings: Vec<String>,
}

/// How far a table's mirror is.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The table.
    pub table: TableEntry,
    /// Versions committed and not published.
    pub behind: u64,
    /// Milliseconds since the oldest of them was committed; 0 when there is none.
    pub lag_ms: i64,
    /// What failed.
    pub failures: Vec<MirrorFailure>,
}

impl Mirror {
    /// A publisher for the catalog's tables.
    pub fn new(catalog: Arc<dyn Catalog>, clock: Arc<dyn Clock>) -> Self {
        let holder = clock.new_uuid();
        let (known, proven) = (Mutex::default(), Mutex::default());
        let (durability, checkpoint_interval) = (Durability::Full, CHECKPOINT_INTERVAL);
        let stores = environment();
        Self { catalog, clock, stores, holder, durability, checkpoint_interval, checkpoints_before: 0, known, proven }
    }

    /// The same, for tables in the object stores that are given.
    pub fn with_stores(self, stores: Arc<dyn Stores>) -> Self {
        Self { stores, ..self }
    }

    /// The same, which syncs what it publishes as `durability` says.
    pub fn with_durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// With a checkpoint every so many versions, where a table's property `delta.checkpointInterval` does not say how
    /// many.
    pub fn with_checkpoint_interval(self, versions: std::num::NonZeroU64) -> Self {
        Self { checkpoint_interval: versions.get(), ..self }
    }

    /// With checkpoints of the versions of which delta-rs writes them: one less than those that Spark takes, which are
    /// the multiples of the interval.
    pub fn with_checkpoints_as_delta_rs(self) -> Self {
        Self { checkpoints_before: 1, ..self }
    }

    /// Publishes everything a table has committed, and writes a checkpoint when one is due. While another process
    /// publishes it, that process does it. A checkpoint that fails is a warning, and is noted in the catalog.
    pub async fn publish(&self, table: TableId) -> Result<Published> {
        let (entry, mut done) = self.publish_all(table).await?;
        self.checkpoint_if_due(&entry, &mut done).await?;
        Ok(done)
    }

    /// The same without a checkpoint, due or not.
    pub async fn publish_commits(&self, table: TableId) -> Result<Published> {
        Ok(self.publish_all(table).await?.1)
    }

    async fn publish_all(&self, table: TableId) -> Result<(TableEntry, Published)> {
        let (mut count, mut warnings) = (0, Vec::new());
        loop {
            let entry = require(self.catalog.as_ref(), &TableRef::Id(table)).await?;
            self.check_following(&entry).await?;
            let mut done = Published { version: entry.published_version, count, ..Published::default() };
            if entry.published_version == Some(entry.current_version) {
                if count == 0 && self.look_beyond(&entry).await? {
                    continue;
                }
                done.warnings = warnings;
                return Ok((entry, done));
            }
            let next = entry.published_version.map_or(entry.base_version, |v| v + 1);
            if next == entry.current_version && self.publish_next(&entry, &mut warnings).await? {
                let done = Published { version: Some(next), count: count + 1, warnings, ..Published::default() };
                return Ok((entry, done));
            }
            let now = self.clock.now_ms();
            let Some(mut lease) = self.lease(table, now).await? else {
                return Ok((entry, Published { elsewhere: true, warnings, ..done }));
            };
            let result = self.publish_under(&mut lease, &entry, &mut warnings).await;
            let released = self.catalog.release_lease(&lease).await;
            // A commit made while the lease was held found it taken and left the work here: look again.
            match result.and_then(|count| released.map(|()| count))? {
                0 => {
                    let at = entry.published_version.map_or(entry.base_version, |v| v + 1);
                    return Err(TxnLogError::corrupt(format!(
                        "version {at} of {} cannot be published: the catalog does not hold its bytes",
                        entry.name
                    )));
                }
                published => count += published,
            }
        }
    }

    /// Publishes every table, one after the other; waits for publishers that died. The results are by table name.
    pub async fn run(&self) -> Result<Vec<(TableEntry, Result<Published>)>> {
        let mut results = Vec::new();
        for entry in self.catalog.tables().await? {
            let result = self.publish_or_wait(&entry).await;
            results.push((entry, result));
        }
        Ok(results)
    }

    /// The object store of a table.
    pub(crate) fn store(&self, entry: &TableEntry) -> Result<Arc<dyn ObjectStore>> {
        self.stores.open(&entry.location, self.durability)
    }

    /// The right to publish a table, for a while.
    pub(crate) async fn lease(&self, table: TableId, now: i64) -> Result<Option<Lease>> {
        self.catalog.acquire_lease(table, self.holder, now, now + LEASE_MS).await
    }

    /// Of the versions just published the newest that is due gets a checkpoint: no reader needs the others.
    async fn checkpoint_if_due(&self, entry: &TableEntry, done: &mut Published) -> Result<()> {
        let Some(newest) = done.version.filter(|_| done.count > 0) else { return Ok(()) };
        let metadata = self.known(entry.id).filter(|k| k.version() == newest).map(|k| k.snapshot.head.metadata);
        let metadata = match metadata {
            Some(metadata) => metadata,
            None => self.catalog.reader(entry.id).head().await?.metadata,
        };
        let own = metadata.property("delta.checkpointInterval").and_then(|n| n.trim().parse::<u64>().ok());
        let interval = own.filter(|n| *n > 0).unwrap_or(self.checkpoint_interval);
        let steps = (newest + self.checkpoints_before) / interval;
        let due = (steps * interval).saturating_sub(self.checkpoints_before);
        if steps == 0 || due < entry.base_version || newest - due >= done.count {
            return Ok(());
        }
        match self.checkpoint_of(entry, due).await {
            Ok(_) => done.checkpoint = Some(due),
            Err(e) => {
                let (table, now) = (entry.id, self.clock.now_ms());
                self.catalog.mark_failed(table, due, Artifact::Checkpoint, &e.to_string(), now).await?;
                done.warnings.push(e.to_string());
            }
        }
        Ok(())
    }

    fn known(&self, table: TableId) -> Option<Known> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get(&table).cloned()
    }

    /// The checksum of a version, and what it was made of.
    async fn checksum(
        &self,
        entry: &TableEntry,
        store: &dyn ObjectStore,
        version: Version,
        body: &[u8],
    ) -> Result<(Known, Bytes)> {
        let reader = self.catalog.reader(entry.id);
        let actions = Commit::parse_without_files(body, "a stored commit")?;
        let known = match self.known(entry.id).filter(|known| known.version() + 1 == version) {
            Some(before) => before.after(reader.as_ref(), &actions).await?,
            None => Known::read(reader.as_ref(), store, version).await?,
        };
        let bytes = known.render(checksum::info(&actions));
        Ok((known, bytes))
    }

    async fn publish_or_wait(&self, entry: &TableEntry) -> Result<Published> {
        let started = std::time::Instant::now();
        let patience = Duration::from_millis(LEASE_MS.unsigned_abs() * 2);
        loop {
            match self.publish(entry.id).await? {
                p if p.elsewhere && started.elapsed() < patience => tokio::time::sleep(Duration::from_millis(50)).await,
                p => return Ok(p),
            }
        }
    }

    /// How far every table's mirror is.
    pub async fn status(&self) -> Result<Vec<Status>> {
        let mut all = Vec::new();
        for table in self.catalog.tables().await? {
            let next = table.published_version.map_or(table.base_version, |v| v + 1);
            let behind = (table.current_version + 1).saturating_sub(next);
            let lag_ms = match behind {
                0 => 0,
                _ => {
                    let oldest = self.catalog.reader(table.id).snapshot(At::Version(next)).await?;
                    (self.clock.now_ms() - oldest.head.timestamp).max(0)
                }
            };
            let failures = self.catalog.mirror_failures(table.id).await?;
            all.push(Status { table, behind, lag_ms, failures });
        }
        Ok(all)
    }

    /// Publishes the one version that is not: whether it was the next one still. The commonest case, that of who has
    /// just committed, needs no lease: it would cost more than the work that it might save.
    async fn publish_next(&self, entry: &TableEntry, warnings: &mut Vec<String>) -> Result<bool> {
        let version = entry.current_version;
        let Some(bytes) = self.catalog.reader(entry.id).commit_bytes(version).await? else { return Ok(false) };
        let store = self.store(entry)?;
        let local = entry.location.local_path();
        let file = local.as_deref().map(|root| (root, entry.current_timestamp));
        let checksum = self.publish_commit(entry, store.as_ref(), version, bytes, file).await?;
        let (_, marked) = futures::join!(
            self.publish_checksum(entry, store.as_ref(), version, checksum, warnings),
            self.catalog.mark_next_published(entry.id, version, version)
        );
        marked
    }

    /// Publishes a commit, and says what its checksum is. For a local table, `local` is its folder and the commit's time.
    async fn publish_commit(
        &self,
        entry: &TableEntry,
        store: &dyn ObjectStore,
        version: Version,
        bytes: Bytes,
        local: Option<(&FsPath, i64)>,
    ) -> Result<Result<(Known, Bytes)>> {
        // While the store syncs the commit, the catalog tells what its checksum says.
        let (put, checksum) = futures::join!(
            self.publish_one(entry, store, version, bytes.clone(), local),
            self.checksum(entry, store, version, &bytes)
        );
        match put {
            Ok(()) => Ok(checksum),
            Err(failure) => Err(self.note(entry, version, failure).await?),
        }
    }

    /// Puts the checksum of a version that was just published. Without it the version is published all the same.
    async fn publish_checksum(
        &self,
        entry: &TableEntry,
        store: &dyn ObjectStore,
        version: Version,
        checksum: Result<(Known, Bytes)>,
        warnings: &mut Vec<String>,
    ) {
        let put = async {
            let (known, bytes) = checksum?;
            checksum::put(entry, store, version, bytes, self.clock.new_uuid()).await?;
            self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(entry.id, known);
            Ok::<_, TxnLogError>(())
        };
        if let Err(e) = put.await {
            warnings.push(format!("version {version} of {} is published without its checksum: {e}", entry.name));
        }
    }

    async fn publish_under(&self, lease: &mut Lease, entry: &TableEntry, warnings: &mut Vec<String>) -> Result<u64> {
        let reader = self.catalog.reader(entry.id);
        let store = self.store(entry)?;
        let from = entry.published_version.map_or(entry.base_version, |v| v + 1);
        // Readers without in-commit timestamps take a local file's time for the commit's.
        let local = entry.location.local_path();
        let times: HashMap<Version, i64> = match &local {
            Some(_) => {
                let limit = (entry.current_version + 1).checked_sub(from);
                let range = HistoryRange { limit, since: None, until: Some(entry.current_timestamp) };
                reader.history(range).await?.into_iter().map(|c| (c.version, c.timestamp)).collect()
            }
            None => HashMap::new(),
        };
        let (mut count, mut noted, mut taken) = (0, 0, self.clock.now_ms());
        let mut commits = reader.changes(from, entry.current_version).await?;
        while let Some(commit) = commits.next().await {
            let (version, bytes) = commit?;
            let file = local.as_deref().zip(times.get(&version).copied());
            match self.publish_commit(entry, store.as_ref(), version, bytes, file).await {
                Ok(checksum) => self.publish_checksum(entry, store.as_ref(), version, checksum, warnings).await,
                Err(e) => {
                    if let Some(before) = version.checked_sub(1).filter(|_| count > noted) {
                        self.catalog.mark_published(lease, before).await?;
                    }
                    return Err(e);
                }
            }
            count += 1;
            let last = version == entry.current_version;
            if last || count - noted >= BATCH || self.clock.now_ms() - taken > LEASE_MS / 2 {
                self.catalog.mark_published(lease, version).await?;
                noted = count;
            }
            if !last && noted == count {
                taken = self.clock.now_ms();
                match self.lease(entry.id, taken).await? {
                    Some(renewed) => *lease = renewed,
                    None => return Err(deltalakedb_log::commit::fenced(&entry.name)),
                }
            }
        }
        Ok(count)
    }

    /// A table that stopped goes on as soon as the other writer's commit is out of the way.
    async fn check_following(&self, entry: &TableEntry) -> Result<()> {
        let MirrorState::Diverged { version, what } = &entry.mirror else { return Ok(()) };
        let there = read(self.store(entry)?.as_ref(), &commit_path(*version)).await?;
        let ours = match *version <= entry.current_version {
            true => self.catalog.reader(entry.id).commit_bytes(*version).await?,
            false => None,
        };
        if there.is_none() || there == ours {
            self.catalog.set_mirror(entry, &MirrorState::Following).await?;
            return Ok(());
        }
        let (name, place) = (&entry.name, &entry.location);
        Err(TxnLogError::invalid(format!(
            "{name} is not published: version {version} in its _delta_log is another writer's ({what}); `dl verify {name}` \
             shows the difference, and once that file is moved out of {place}/_delta_log `dl mirror run` publishes ours"
        )))
    }

    /// A commit beyond the newest of the catalog is another writer's, or the catalog's own from before it was restored
    /// from a backup: the table stops. What was committed and published here since the entry was read is neither: then
    /// `true`, the entry is old.
    async fn look_beyond(&self, entry: &TableEntry) -> Result<bool> {
        let Some((version, what)) = beyond(entry, self.store(entry)?.as_ref()).await? else { return Ok(false) };
        let (name, place) = (&entry.name, &entry.location);
        if !self.catalog.set_mirror(entry, &MirrorState::Diverged { version, what: what.clone() }).await? {
            return Ok(true);
        }
        Err(TxnLogError::invalid(format!(
            "publishing of {name} stopped: version {version} in {place}/_delta_log is not in the catalog ({what}); \
             `dl verify {name}` shows it, and `dl import {place} --as {name}` takes it in"
        )))
    }

    /// Remembers a failure, and gives the error to show.
    async fn note(&self, entry: &TableEntry, version: Version, failure: Failure) -> Result<TxnLogError> {
        let (name, place) = (&entry.name, &entry.location);
        match failure {
            Failure::Foreign(what) => {
                let state = MirrorState::Diverged { version, what: what.clone() };
                // Where the state is another one by now, somebody else has seen it.
                self.catalog.set_mirror(entry, &state).await?;
                Ok(TxnLogError::invalid(format!(
                    "publishing of {name} stopped: version {version} in {place}/_delta_log is another writer's ({what}); \
                     nothing was overwritten, run `dl verify {name}` to see the difference"
                )))
            }
            Failure::Error(e) => {
                let now = self.clock.now_ms();
                self.catalog.mark_failed(entry.id, version, Artifact::Commit, &e.to_string(), now).await?;
                let message = format!(
                    "version {version} of {name} is committed but could not be published to {place}/_delta_log; \
                     `dl mirror run` tries again"
                );
                Ok(TxnLogError::new(e.kind(), message).with_source(e))
            }
        }
    }

    /// For a local table, `local` is its folder and the commit's time.
    async fn publish_one(
        &self,
        entry: &TableEntry,
        store: &dyn ObjectStore,
        version: Version,
        bytes: Bytes,
        local: Option<(&FsPath, i64)>,
    ) -> Result<(), Failure> {
        let path = commit_path(version);
        if local.is_none() {
            self.prove(&entry.location, store).await.map_err(Failure::Error)?;
        }
        put_if_absent(store, &path, &bytes).await?;
        match local {
            Some((root, ms)) => set_file_time(&root.join(path.as_ref()), ms).map_err(Failure::Error),
            None => Ok(()),
        }
    }

    /// Once per place, before anything is published there: a file that exists must not be overwritten.
    async fn prove(&self, location: &Location, store: &dyn ObjectStore) -> Result<()> {
        let proven = || self.proven.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if proven().contains(location) {
            return Ok(());
        }
        let probe = Path::from(format!("_delta_log/.probe-{}", self.clock.new_uuid()));
        let put = || store.put_opts(&probe, Bytes::from_static(b"probe").into(), PutOptions::from(PutMode::Create));
        put().await?;
        let again = put().await;
        store.delete(&probe).await?;
        match again {
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                proven().insert(location.clone());
                Ok(())
            }
            Ok(_) => Err(TxnLogError::invalid(format!(
                "the object store of {location} overwrites files it was asked not to: it cannot keep a Delta log safely"
            ))),
            Err(e) => Err(e.into()),
        }
    }
}

/// Why a version is not published.
enum Failure {
    /// Something else stands there.
    Foreign(String),
    /// It could not be written.
    Error(TxnLogError),
}

/// The path of a commit below the table.
pub(crate) fn commit_path(version: Version) -> Path {
    Path::from(format!("_delta_log/{version:020}.json"))
}

/// "Exists" is success when what exists is the same; the answer to an earlier try may have been lost.
async fn put_if_absent(store: &dyn ObjectStore, path: &Path, bytes: &Bytes) -> Result<(), Failure> {
    const TRIES: u32 = 5;
    for attempt in 1.. {
        match store.put_opts(path, bytes.clone().into(), PutOptions::from(PutMode::Create)).await {
            Ok(_) => return Ok(()),
            Err(e @ (object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })) => {
                match read(store, path).await.map_err(Failure::Error)? {
                    Some(there) if there == *bytes => return Ok(()),
                    Some(there) => return Err(Failure::Foreign(describe(path, &there))),
                    // Some stores say "exists" while another put is in flight that then fails.
                    None if attempt < TRIES => tokio::time::sleep(Duration::from_millis(50)).await,
                    None => return Err(Failure::Error(e.into())),
                }
            }
            Err(e) => return Err(Failure::Error(e.into())),
        }
    }
    Ok(())
}

pub(crate) async fn read(store: &dyn ObjectStore, path: &Path) -> Result<Option<Bytes>> {
    match store.get(path).await {
        Ok(got) => Ok(Some(got.bytes().await?)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The commit that stands right after the newest version of the catalog, in a few words.
pub(crate) async fn beyond(table: &TableEntry, store: &dyn ObjectStore) -> Result<Option<(Version, String)>> {
    let version = table.current_version + 1;
    let path = commit_path(version);
    Ok(read(store, &path).await?.map(|there| (version, describe(&path, &there))))
}

/// What another writer's commit is, in a few words.
pub(crate) fn describe(path: &Path, bytes: &Bytes) -> String {
    let file = path.filename().unwrap_or_default();
    let commit = deltalakedb_log::Commit::parse(bytes.clone(), file).ok();
    let info = commit.as_ref().and_then(|c| c.info());
    let by = info.and_then(|i| i.0.get::<String>("engineInfo")).unwrap_or_else(|| "an unknown engine".into());
    let operation = info.and_then(|i| i.operation()).unwrap_or_else(|| "commit".into());
    format!("{file}: {operation} by {by}")
}

fn set_file_time(file: &FsPath, ms: i64) -> Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(ms.max(0).unsigned_abs());
    let set = std::fs::File::options().append(true).open(file).and_then(|f| f.set_modified(time));
    set.map_err(|e| {
        TxnLogError::new(ErrorKind::Unavailable, format!("the time of {} cannot be set", file.display())).with_source(e)
    })
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.elsewhere, self.count, self.version) {
            (true, ..) => f.write_str("another process is publishing"),
            (_, 0, _) => f.write_str("up to date"),
            (_, n, Some(v)) => write!(f, "{n} published, up to version {v}"),
            (_, n, None) => write!(f, "{n} published"),
        }
    }
}
