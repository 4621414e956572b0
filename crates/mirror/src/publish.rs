//! Publishing: version N after N-1, never over an existing file, the same bytes in every attempt.

use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use deltalakedb_log::action::{Action, Metadata};
use deltalakedb_log::listing::tables;
use deltalakedb_log::{
    Artifact, Commit, Durability, ErrorKind, LocalFiles, NewFile, Result, StagedFiles, TableEntry, TableId,
    TxnLogError, Version, metric,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;

use crate::checksum::{self, VersionChecksum};
use crate::commits;
use crate::lease::{HeldLease, LEASE_MS};
use crate::mirror::Mirror;
use crate::put::{Failure, commit_path, put_if_absent, time_of};
use crate::turns::{LastCheckpoint, PublishState};

/// The pause between two checks of a lease that another process holds.
const PAUSE: Duration = Duration::from_millis(50);
/// How often a publisher checks a table again because versions were committed since its last check.
const ROUNDS: u32 = 10;

/// The result of a publishing attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// The newest version in `_delta_log`, as far as known.
    pub version: Option<Version>,
    /// How many versions this attempt published.
    pub count: u64,
    /// Another process is publishing the table.
    pub elsewhere: bool,
    /// The version of a checkpoint that was written.
    pub checkpoint: Option<Version>,
    /// Failures other than those of commits, which are published anyway: one sentence each.
    pub warnings: Vec<String>,
}

impl Mirror {
    /// Publishes all commits of a table, and writes a checkpoint when one is due. While another process publishes the
    /// table, that process does it. A failed checkpoint is a warning, and is recorded in the catalog.
    pub async fn publish(&self, table: TableId) -> Result<Published> {
        let PublishOutcome { mut published, entry, metadata } = self.publish_all(table).await?;
        self.checkpoint_if_due(&entry, metadata.as_ref(), &mut published).await?;
        if published.checkpoint.is_some() {
            // A writer that committed while the lease was held for the hint has left the work to this process.
            let now = self.entry(table).await?;
            if now.published_version < Some(now.current_version) {
                let rest = self.publish_all(table).await?.published;
                (published.version, published.count) = (rest.version, published.count + rest.count);
                published.warnings.extend(rest.warnings);
            }
        }
        Ok(published)
    }

    /// Publishes without writing a checkpoint.
    pub async fn publish_commits(&self, table: TableId) -> Result<Published> {
        Ok(self.publish_all(table).await?.published)
    }

    /// Publishes every table when the stream is polled, one after the other; waits for leases of processes that died.
    /// The results are ordered by table name.
    pub fn run(&self) -> BoxStream<'static, Result<(TableEntry, Result<Published>)>> {
        self.run_side_by_side(NonZeroUsize::MIN)
    }

    /// The same with this number of tables side by side.
    pub fn run_side_by_side(
        &self,
        parallel: NonZeroUsize,
    ) -> BoxStream<'static, Result<(TableEntry, Result<Published>)>> {
        let mirror = self.clone();
        let publish = move |entry: TableEntry| {
            let mirror = mirror.clone();
            async move {
                let result = mirror.publish_or_wait(&entry).await;
                Ok((entry, result))
            }
        };
        tables(self.catalog.clone(), None).map_ok(publish).try_buffered(parallel.get()).boxed()
    }

    pub(crate) async fn publish_or_wait(&self, entry: &TableEntry) -> Result<Published> {
        let until = self.clock.now_ms() + 2 * LEASE_MS;
        loop {
            match self.publish(entry.id).await? {
                p if p.elsewhere && self.clock.now_ms() < until => self.clock.sleep(PAUSE).await,
                p => return Ok(p),
            }
        }
    }

    #[tracing::instrument(name = "publish", target = "deltalakedb::operation", level = "debug", skip_all, fields(%table))]
    async fn publish_all(&self, table: TableId) -> Result<PublishOutcome> {
        let turns = self.turns(table);
        let checks = turns.checks();
        let mut memory = turns.publishing.lock().await;
        if let Some(entry) = memory.published_since(checks) {
            // Another task of this process checked while this one waited, and has published everything.
            let version = Some(entry.current_version);
            return Ok(PublishOutcome::of(Published { version, ..Published::default() }, entry, &memory));
        }
        let (mut published, mut round, mut last) = (Published::default(), 0, None);
        loop {
            round += 1;
            let check = turns.check();
            let mut entry = self.entry(table).await?;
            // Later commits are not all published here: their writers publish them as well.
            let last = *last.get_or_insert(entry.current_version + commits::COMMITS);
            self.check_following(&entry).await?;
            let next = entry.published_version.map_or(entry.base_version, |v| v + 1);
            if !memory.has_checked_last_published {
                match self.check_last_published(&entry).await {
                    Ok(warning) => published.warnings.extend(warning),
                    Err(e) if next <= entry.current_version => {
                        return Err(self.record_failure(&entry, next, Failure::Error(e)).await?);
                    }
                    Err(e) => return Err(e),
                }
                memory.has_checked_last_published = true;
                self.note_log_found(table);
            }
            if let Err(e) = self.note_put_elsewhere(&mut entry, &mut memory, &mut published).await {
                return Err(self.record_failure(&entry, next, Failure::Error(e)).await?);
            }
            let next = entry.published_version.map_or(entry.base_version, |v| v + 1);
            published.version = entry.published_version;
            let is_complete = match next.cmp(&entry.current_version) {
                Ordering::Greater => published.count > 0 || !self.check_for_foreign_commit(&entry).await?,
                Ordering::Equal => self.publish_next(&entry, &mut memory, &mut published).await?,
                Ordering::Less => false,
            };
            if is_complete {
                memory.note_published(check, entry.clone());
            }
            if is_complete || next > last || round > ROUNDS {
                return Ok(PublishOutcome::of(published, entry, &memory));
            }
            if next >= entry.current_version {
                // A version was committed since the table was read.
                continue;
            }
            let lease_turn = turns.lease.lock().await;
            let Some(mut lease) = self.lease(table).await? else {
                tracing::debug!(table = %entry.name, "another process has the lease to publish");
                published.elsewhere = true;
                return Ok(PublishOutcome::of(published, entry, &memory));
            };
            let result = self.publish_under(&mut lease, &entry, last, &mut memory, &mut published).await;
            let released = self.release(lease).await;
            drop(lease_turn);
            match result {
                // The lease expired, and another process took it over and continues.
                Err(e) if e.kind() == ErrorKind::Conflict => {
                    published.elsewhere = true;
                    return Ok(PublishOutcome::of(published, entry, &memory));
                }
                // A writer that committed while the lease was held has left the work to this process: check again.
                result => result.and(released)?,
            }
        }
    }

    /// Commits that another process has put on a local disk and not recorded yet count as published: this process syncs
    /// them with its own. Without this, processes that append to a table in turn would take the lease for most of their
    /// commits, because each records its own only in a moment.
    async fn note_put_elsewhere(
        &self,
        entry: &mut TableEntry,
        memory: &mut PublishState,
        published: &mut Published,
    ) -> Result<()> {
        for (version, bytes) in self.put_elsewhere(entry).await? {
            let commit = Unpublished::new(version, bytes);
            // The other process may put the checksum later, or may have been killed before it did.
            let checksum = self.checksum(entry, &commit, memory).await;
            self.publish_checksum(entry, version, checksum, memory, &mut published.warnings).await;
            self.note_published(entry, None, version, version).await?;
            entry.published_version = Some(version);
        }
        Ok(())
    }

    /// Publishes the only unpublished version. Returns whether it was still the next one. This is the common case of a
    /// writer that has just committed; it takes no lease, which would cost more than the duplicate work it might save.
    async fn publish_next(
        &self,
        entry: &TableEntry,
        memory: &mut PublishState,
        published: &mut Published,
    ) -> Result<bool> {
        let version = entry.current_version;
        let bytes =
            self.catalog.reader(entry.id).commit_bytes(version).await?.ok_or_else(|| no_bytes(entry, version))?;
        let commit = Unpublished::new(version, bytes);
        let checksum = self.publish_commit(entry, &commit, memory).await?;
        let (_, is_next) = futures::join!(
            self.publish_checksum(entry, version, checksum, memory, &mut published.warnings),
            self.note_published(entry, None, version, version)
        );
        let is_next = is_next?;
        if is_next {
            commit.record_latency(self.clock.now_ms());
            published.count += 1;
            published.version = Some(version);
        }
        Ok(is_next)
    }

    async fn publish_under(
        &self,
        lease: &mut HeldLease,
        entry: &TableEntry,
        last: Version,
        memory: &mut PublishState,
        published: &mut Published,
    ) -> Result<()> {
        let last = last.min(entry.current_version);
        let reader = self.catalog.reader(entry.id);
        let mut next = entry.published_version.map_or(entry.base_version, |v| v + 1);
        let mut leased_at = self.clock.now_ms();
        while next <= last {
            let some = commits::next_page(reader.as_ref(), next, last).await?;
            let some: Vec<_> = some.into_iter().map(|(version, bytes)| Unpublished::new(version, bytes)).collect();
            // The first of these versions that is put and not recorded.
            let mut from = next;
            let newest = some.last().map_or(next, |commit| commit.version);
            let staged = self.stage(entry, &some).await;
            self.renew_if_old(lease, entry, &mut leased_at).await?;
            let put = match staged {
                Some(staged) => staged.put().await.inspect_err(|e| one_by_one(entry, e)).unwrap_or(0),
                None => 0,
            };
            for (n, commit) in some.iter().enumerate() {
                let version = commit.version;
                let checksum = if n < put {
                    Ok(self.checksum(entry, commit, memory).await)
                } else {
                    self.publish_commit(entry, commit, memory).await
                };
                match checksum {
                    Ok(checksum) => {
                        self.publish_checksum(entry, version, checksum, memory, &mut published.warnings).await;
                    }
                    Err(e) => {
                        if version > from {
                            self.note_published(entry, Some(&**lease), from, version - 1).await?;
                        }
                        return Err(e);
                    }
                }
                self.note_progress();
                commit.record_latency(self.clock.now_ms());
                published.count += 1;
                published.version = Some(version);
                next = version + 1;
                if version == newest || self.is_old(leased_at) {
                    self.note_published(entry, Some(&**lease), from, version).await?;
                    from = next;
                    self.renew_if_old(lease, entry, &mut leased_at).await?;
                }
            }
        }
        Ok(())
    }

    /// Writes several commits to the local disk together. `None` if that fails: they are put one by one, which reports
    /// the reason.
    async fn stage(&self, entry: &TableEntry, commits: &[Unpublished]) -> Option<StagedFiles> {
        let folder = self.stores.directory(&entry.location).filter(|_| commits.len() > 1)?;
        let staged = async {
            let reader = self.catalog.reader(entry.id);
            let mut files = Vec::with_capacity(commits.len());
            for commit in commits {
                let ms = commits::time(reader.as_ref(), commit.version, commit.actions()).await?;
                files.push(NewFile {
                    path: commit_path(commit.version),
                    bytes: commit.bytes.clone(),
                    modified: time_of(ms),
                });
            }
            Ok::<_, TxnLogError>(LocalFiles::new(folder, self.durability_of_commits(entry)).stage(files).await?)
        };
        staged.await.inspect_err(|e| one_by_one(entry, e)).ok()
    }

    /// Publishes a commit, and computes its checksum.
    async fn publish_commit(
        &self,
        entry: &TableEntry,
        commit: &Unpublished,
        memory: &PublishState,
    ) -> Result<Result<(VersionChecksum, Bytes)>> {
        let version = commit.version;
        let durability = self.durability_of_commits(entry);
        let store = self.stores.open(&entry.location, durability)?;
        // The catalog is queried for the checksum while the store puts the commit.
        let (put, checksum) = futures::join!(
            self.put_commit(entry, (store.as_ref(), durability), version, &commit.bytes, commit.actions()),
            self.checksum(entry, commit, memory)
        );
        match put {
            Ok(()) => {
                self.note_progress();
                tracing::debug!(table = %entry.name, location = %entry.location, version, "published");
                Ok(checksum)
            }
            Err(failure) => Err(self.record_failure(entry, version, failure).await?),
        }
    }

    /// Puts a commit, or finds that it exists.
    #[tracing::instrument(target = "deltalakedb::store", level = "debug", skip_all, fields(table = %entry.name, version = version))]
    pub(crate) async fn put_commit(
        &self,
        entry: &TableEntry,
        (store, durability): (&dyn ObjectStore, Durability),
        version: Version,
        bytes: &Bytes,
        actions: &[Action],
    ) -> Result<(), Failure> {
        let directory = self.stores.directory(&entry.location);
        if directory.is_none() {
            self.prove(&entry.location, store).await?;
        }
        // Readers without in-commit timestamps use a local file's modification time as the commit's.
        let ms = commits::time(self.catalog.reader(entry.id).as_ref(), version, actions).await?;
        let path = commit_path(version);
        let was_there = put_if_absent(self.clock.as_ref(), store, &path, bytes, ms).await?;
        if let Some(folder) = directory.filter(|_| was_there && durability == Durability::Full) {
            // The process that put the file need not have synced it.
            LocalFiles::new(folder, Durability::Full).sync(vec![path]).await?;
        }
        Ok(())
    }

    /// The checksum of a commit's version, and the state it is derived from.
    async fn checksum(
        &self,
        entry: &TableEntry,
        commit: &Unpublished,
        memory: &PublishState,
    ) -> Result<(VersionChecksum, Bytes)> {
        let actions = commit.parsed.as_deref().map_err(|e| TxnLogError::new(e.kind(), e.to_string()))?;
        let reader = self.catalog.reader(entry.id);
        let checksum = match memory.last_checksum.clone().filter(|checksum| checksum.version() + 1 == commit.version) {
            Some(before) => before.after(reader.as_ref(), actions).await?,
            None => VersionChecksum::read(reader.as_ref(), self.store(entry)?.as_ref(), commit.version).await?,
        };
        let bytes = checksum.render(checksum::info(actions));
        Ok((checksum, bytes))
    }

    /// Puts the checksum of a version that was just published. A failure does not affect the published version.
    async fn publish_checksum(
        &self,
        entry: &TableEntry,
        version: Version,
        checksum: Result<(VersionChecksum, Bytes)>,
        memory: &mut PublishState,
        warnings: &mut Vec<String>,
    ) {
        let put = async {
            let (checksum, bytes) = checksum?;
            self.put_checksum(entry, version, bytes).await?;
            metric::FILES_ACTIVE.set_for(&entry.name, checksum.files() as f64);
            memory.last_checksum = Some(checksum);
            Ok::<_, TxnLogError>(())
        };
        if let Err(e) = put.await {
            warnings.push(format!("version {version} of {} is published without its checksum: {e}", entry.name));
        }
    }

    /// Writes a checkpoint of the newest due version among those just published: no reader needs the others.
    async fn checkpoint_if_due(
        &self,
        entry: &TableEntry,
        metadata: Option<&Metadata>,
        published: &mut Published,
    ) -> Result<()> {
        let Some(newest) = published.version.filter(|_| published.count > 0) else { return Ok(()) };
        let property = |metadata: &Metadata| metadata.property("delta.checkpointInterval").map(str::to_string);
        let own = match metadata {
            Some(metadata) => property(metadata),
            None => property(&self.catalog.reader(entry.id).head().await?.metadata),
        };
        let own = own.and_then(|n| n.trim().parse::<u64>().ok());
        let interval = own.filter(|n| *n > 0).unwrap_or(self.checkpoint_interval);
        let steps = (newest + self.checkpoints_before) / interval;
        let due = (steps * interval).saturating_sub(self.checkpoints_before);
        if steps == 0 || due < entry.base_version || newest - due >= published.count {
            return Ok(());
        }
        if self.durability == Durability::Full && self.unsettled(entry.id).is_some() {
            // A checkpoint is synced by itself; the hint must not name a version that the catalog does not record yet.
            self.settle_table(entry.id).await?;
        }
        let turns = self.turns(entry.id);
        let has_others = turns.have_others();
        let Ok(mut last) = turns.checkpoint.try_lock() else {
            tracing::debug!(table = %entry.name, version = due, "the previous checkpoint is still being written");
            return Ok(());
        };
        let begun = self.clock.now_ms();
        if has_others && last.as_ref().is_some_and(|last| begun < last.pause_until()) {
            tracing::debug!(table = %entry.name, version = due, "a checkpoint was written a moment ago");
            return Ok(());
        }
        match self.checkpoint_of(entry, due).await {
            Ok(_) => published.checkpoint = Some(due),
            Err(e) => {
                let (table, now) = (entry.id, self.clock.now_ms());
                metric::MIRROR_FAILURES.add_one_for(&entry.name);
                self.catalog.mark_failed(table, due, Artifact::Checkpoint, &e.to_string(), now).await?;
                published.warnings.push(e.to_string());
            }
        }
        *last = Some(LastCheckpoint { begun, ended: self.clock.now_ms() });
        Ok(())
    }
}

/// A commit to be published.
struct Unpublished {
    version: Version,
    bytes: Bytes,
    /// Its actions, without file actions.
    parsed: Result<Vec<Action>>,
}

impl Unpublished {
    fn new(version: Version, bytes: Bytes) -> Self {
        let parsed = Commit::parse_without_files(&bytes, "a stored commit");
        Self { version, bytes, parsed }
    }

    /// Its actions, without file actions; empty if the bytes cannot be parsed.
    fn actions(&self) -> &[Action] {
        self.parsed.as_deref().unwrap_or_default()
    }

    /// Records how long it was committed and not published.
    fn record_latency(&self, now_ms: i64) {
        if let Some(committed_ms) = commits::recorded_time(self.actions()) {
            let ms = u64::try_from(now_ms.saturating_sub(committed_ms)).unwrap_or(0);
            metric::MIRROR_LATENCY.record(Duration::from_millis(ms));
        }
    }
}

/// The published versions, and what decides whether a checkpoint is due.
struct PublishOutcome {
    published: Published,
    entry: TableEntry,
    metadata: Option<Metadata>,
}

impl PublishOutcome {
    fn of(published: Published, entry: TableEntry, memory: &PublishState) -> Self {
        let checksum = memory.last_checksum.as_ref().filter(|checksum| Some(checksum.version()) == published.version);
        let metadata = checksum.map(|checksum| checksum.snapshot.head.metadata.clone());
        Self { published, entry, metadata }
    }
}

fn one_by_one(entry: &TableEntry, e: &impl fmt::Display) {
    tracing::debug!(table = %entry.name, error = %e, "commits are put one by one");
}

fn no_bytes(entry: &TableEntry, version: Version) -> TxnLogError {
    TxnLogError::corrupt(format!(
        "version {version} of {} cannot be published: the catalog does not hold its bytes",
        entry.name
    ))
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
