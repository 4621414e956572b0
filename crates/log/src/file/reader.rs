//! Reads a plain log.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::channel::mpsc;
use futures::stream::BoxStream;
use futures::{SinkExt, Stream, StreamExt, TryStreamExt, future, stream};
use object_store::ObjectStore;

use super::checkpoint::{self, StateFilter};
use super::listing::Listing;
use super::times::Times;
use super::{TableDir, commit_path};
use crate::action::{Action, Add, Commit, Remove, Version};
use crate::commit::bytes_not_retained;
use crate::error::{ErrorKind, Result, Subject, TxnLogError};
use crate::features;
use crate::history::{BaseFiles, BaseState, CommitTime, HistoryItem, LoggedCommit};
use crate::location::Location;
use crate::predicate::Predicate;
use crate::reader::{HistoryRange, TxnLogReader};
use crate::schema::Schema;
use crate::snapshot::{At, CommitSummary, Head, Replay, Snapshot};
use crate::stores::{Stores, environment};
use crate::time::format_ms;

/// A plain `_delta_log` on any object store, as it was when it was opened: open it again to see later commits.
///
/// ```
/// # use deltalakedb_log::{At, FileTxnLogReader, Location, TxnLogReader};
/// # async fn example() -> deltalakedb_log::Result<()> {
/// let log = FileTxnLogReader::open(&Location::parse("s3://bucket/orders")?).await?;
/// let (oldest, newest) = log.versions();
/// let last_year = log.snapshot(At::Timestamp(1_735_689_600_000)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FileTxnLogReader(Arc<Log>);

struct Log {
    dir: TableDir,
    listing: Listing,
    times: Times,
    head: Snapshot,
}

impl FileTxnLogReader {
    /// Opens the table at `location`: one listing, then the newest checkpoint and the commits after it.
    ///
    /// # Errors
    /// `NotFound` when no table exists there, `Corrupt` when its newest version cannot be reconstructed, `Invalid` when
    /// it needs an unsupported reader feature, `Unavailable` when the location cannot be read.
    pub async fn open(location: &Location) -> Result<Self> {
        Self::open_in(location, environment().as_ref()).await
    }

    /// Opens it in the given object stores.
    pub async fn open_in(location: &Location, stores: &dyn Stores) -> Result<Self> {
        Self::must_find(TableDir::open(location.clone(), stores)?).await
    }

    /// Opens the table at the root of `store`; messages name it `location`.
    pub async fn with_store(location: Location, store: Arc<dyn ObjectStore>) -> Result<Self> {
        Self::must_find(TableDir::new(location, store)).await
    }

    async fn must_find(dir: TableDir) -> Result<Self> {
        Self::find(dir.clone()).await?.ok_or_else(|| dir.is_no_table())
    }

    /// The log; `None` when no table exists there.
    pub(super) async fn find(dir: TableDir) -> Result<Option<Self>> {
        let Some(listing) = Listing::read(&dir).await? else {
            return Ok(None);
        };
        let head = listing.head;
        let replay = replay(&dir, &listing, head, StateFilter::Snapshot).await?;
        let mut snapshot = snapshot(&dir, &replay, head)?;
        let times = Times::new(&snapshot.head.metadata);
        snapshot.head.timestamp = times.of(head, &listing, &dir).await?.ms;
        tracing::debug!(location = %dir.location, base = listing.base, head, "log opened");
        Ok(Some(Self(Arc::new(Log { dir, listing, times, head: snapshot }))))
    }

    /// The oldest version from which the history is complete (it can be reconstructed, and all later commits exist),
    /// and the newest version. Single versions before the oldest one may still be readable.
    pub fn versions(&self) -> (Version, Version) {
        (self.0.listing.base, self.0.listing.head)
    }

    /// Whether the commit of that version exists.
    pub(super) fn holds(&self, version: Version) -> bool {
        self.0.listing.commits.contains_key(&version)
    }

    /// The history after version `after`, in order; the whole history for `None`.
    ///
    /// The whole history begins with [`HistoryItem::Base`], the state at the oldest readable version, unless all
    /// commits from version 0 on exist. Commits are fetched ahead and not parsed.
    pub fn items(&self, after: Option<Version>) -> BoxStream<'static, Result<HistoryItem>> {
        let (log, (base, head)) = (self.clone(), self.versions());
        match after {
            None if base > 0 || !self.holds(0) => {
                // The version at which history begins is known only after its files are read.
                let (mut out, items) = mpsc::channel(1);
                let sent = async move {
                    let base = log.send_base(&mut out).await?;
                    let mut commits = log.commits(base + 1).await?;
                    while let Some(commit) = commits.next().await {
                        send(&mut out, commit?).await;
                    }
                    Ok(())
                };
                let failed = stream::once(sent).filter_map(async |sent| sent.err().map(Err));
                stream::select(items.map(Ok), failed).boxed()
            }
            Some(after) if after < base => {
                let error = self.0.listing.unreachable(after, &self.0.dir);
                stream::once(async { Err(error) }).boxed()
            }
            after => {
                let next = after.map_or(0, |after| after.min(head) + 1);
                stream::once(async move { log.commits(next).await }).try_flatten().boxed()
            }
        }
    }

    /// The commits from a version on.
    async fn commits(&self, from: Version) -> Result<BoxStream<'static, Result<HistoryItem>>> {
        let (location, (_, head)) = (self.0.dir.location.clone(), self.versions());
        let commits = self.timed(from..head + 1).await?.map_ok(move |(version, body, time)| {
            let origin = format!("{location}/{}", commit_path(version));
            HistoryItem::Commit(LoggedCommit { version, time, body, origin })
        });
        Ok(commits.boxed())
    }

    /// Sends the state at the oldest version at which history can begin, and returns that version. If its checkpoint is
    /// corrupt, the next one is used.
    async fn send_base(&self, out: &mut mpsc::Sender<HistoryItem>) -> Result<Version> {
        let Log { dir, listing, .. } = &*self.0;
        let mut torn = None;
        for version in listing.bases() {
            match self.send_base_at(version, out).await {
                Ok(()) => return Ok(version),
                Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                    torn.get_or_insert(e);
                }
                Err(e) => return Err(e),
            }
        }
        Err(torn.unwrap_or_else(|| listing.unreachable(listing.base, dir)))
    }

    async fn send_base_at(&self, version: Version, out: &mut mpsc::Sender<HistoryItem>) -> Result<()> {
        let Log { dir, listing, .. } = &*self.0;
        // Usually the version has a checkpoint, whose files are streamed and never all in memory.
        for checkpoint in listing.checkpoints_to(version).take_while(|c| c.version == version) {
            let sent = async {
                let state = checkpoint::read(dir, checkpoint, StateFilter::Snapshot).await?;
                send(out, self.base(&state, version).await?).await;
                let mut actions = checkpoint::actions_of(dir, checkpoint, StateFilter::Files);
                while let Some(some) = actions.try_next().await? {
                    let mut files = BaseFiles::default();
                    for action in some {
                        match action {
                            Action::Add(add) => files.live.push(Arc::unwrap_or_clone(add)),
                            Action::Remove(remove) => files.removed.push(remove),
                            _ => {}
                        }
                    }
                    send(out, HistoryItem::Files(files)).await;
                }
                Ok::<_, TxnLogError>(())
            };
            match sent.await {
                Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                    tracing::warn!(location = %dir.location, version, error = %e, "checkpoint passed over");
                }
                sent => return sent,
            }
        }
        let state = replay(dir, listing, version, StateFilter::Files).await?;
        send(out, self.base(&state, version).await?).await;
        let (live, removed) = (state.files.into_values().collect(), state.removes.into_values().collect());
        send(out, HistoryItem::Files(BaseFiles { live, removed })).await;
        Ok(())
    }

    /// The item for the state at a version.
    async fn base(&self, state: &Replay, version: Version) -> Result<HistoryItem> {
        let snapshot = snapshot(&self.0.dir, state, version)?;
        Ok(HistoryItem::Base(Box::new(BaseState {
            version,
            time: self.time(version).await?,
            protocol: snapshot.head.protocol,
            metadata: snapshot.head.metadata,
            txns: snapshot.txns.into_values().collect(),
            domains: snapshot.domains.into_values().collect(),
            body: self.commit_bytes(version).await?,
        })))
    }

    pub(super) async fn time(&self, version: Version) -> Result<CommitTime> {
        self.0.times.of(version, &self.0.listing, &self.0.dir).await
    }

    /// The first version later than `ms`; one past the newest when there is none.
    async fn first_after(&self, ms: i64) -> Result<Version> {
        let (base, head) = self.versions();
        if self.0.head.head.timestamp <= ms {
            return Ok(head + 1);
        }
        let (mut low, mut high) = (base, head);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.time(middle).await?.ms <= ms {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The commits of the versions, in order. All of them must exist.
    fn bodies(&self, versions: Range<Version>) -> impl Stream<Item = Result<(Version, Bytes)>> + Send + use<> {
        let files = versions.clone().map(|version| self.0.listing.commit(version)).collect();
        let bodies = self.0.dir.get_all(files).zip(stream::iter(versions));
        bodies.map(|(body, version)| body.map(|(_, body)| (version, body)))
    }

    /// The commits of the versions with their times.
    async fn timed(
        &self,
        versions: Range<Version>,
    ) -> Result<impl Stream<Item = Result<(Version, Bytes, CommitTime)>> + Send + use<>> {
        let listing = &self.0.listing;
        let before = versions.start.checked_sub(1).filter(|v| !versions.is_empty() && listing.file_time(*v).is_some());
        let mut previous = match before {
            Some(before) => Some(self.time(before).await?.ms),
            None => None,
        };
        let log = self.0.clone();
        Ok(self.bodies(versions).map_ok(move |(version, body)| {
            let file_time = log.listing.file_time(version).unwrap_or_default();
            let own = log.times.own_of(version, &body, file_time);
            let ms = previous.map_or(own.ms, |previous| own.ms.max(previous.saturating_add(1)));
            previous = Some(ms);
            (version, body, CommitTime { ms, ..own })
        }))
    }
}

/// Send errors are ignored: the receiver was dropped, so no further item is needed.
async fn send(out: &mut mpsc::Sender<HistoryItem>, item: HistoryItem) {
    let _ = out.send(item).await;
}

/// The state at `version`, from the newest checkpoint that can be read.
async fn replay(dir: &TableDir, listing: &Listing, version: Version, want: StateFilter) -> Result<Replay> {
    if version > listing.head {
        return Err(listing.unreachable(version, dir));
    }
    let mut checkpoints = listing.checkpoints_to(version);
    let mut torn = None;
    loop {
        let checkpoint = checkpoints.next();
        let Ok(steps) = listing.steps(checkpoint.map(|c| c.version), version) else {
            return Err(torn.unwrap_or_else(|| listing.unreachable(version, dir)));
        };
        let mut state = match checkpoint {
            None => Replay::default(),
            Some(checkpoint) => match checkpoint::read(dir, checkpoint, want).await {
                Ok(state) => state,
                Err(e) => {
                    let location = &dir.location;
                    tracing::warn!(%location, version = checkpoint.version, error = %e, "checkpoint passed over");
                    torn.get_or_insert(e);
                    continue;
                }
            },
        };
        let mut commits = dir.get_all(steps.into_iter().map(|file| (file.location.clone(), file.size)).collect());
        while let Some((path, body)) = commits.try_next().await? {
            let mut actions = match want {
                StateFilter::Snapshot => Commit::parse_without_files(&body, &dir.name(&path))?,
                StateFilter::Files | StateFilter::Details => Commit::parse(body, &dir.name(&path))?.into_actions(),
            };
            want.retain(&mut actions);
            state.apply(actions);
        }
        return Ok(state);
    }
}

/// The snapshot of a state, if this library can read it; its time is not set yet.
fn snapshot(dir: &TableDir, replay: &Replay, version: Version) -> Result<Snapshot> {
    let table = dir.location.to_string();
    let snapshot = replay.snapshot(version, 0, &table)?;
    features::check_readable(&snapshot.head.protocol, &table)?;
    Ok(snapshot)
}

#[async_trait]
impl TxnLogReader for FileTxnLogReader {
    async fn head(&self) -> Result<Head> {
        Ok(self.0.head.head.clone())
    }

    async fn snapshot(&self, at: At) -> Result<Snapshot> {
        let Log { dir, listing, head, .. } = &*self.0;
        let version = match at {
            At::Latest => listing.head,
            At::Version(version) => version,
            At::Timestamp(ms) => match self.first_after(ms).await? {
                first if first == listing.base => {
                    let began = self.time(first).await?.ms;
                    return Err(TxnLogError::not_found(format!(
                        "{} has no version as old as {}: its oldest, {first}, is of {}",
                        dir.location,
                        format_ms(ms),
                        format_ms(began)
                    ))
                    .about(Subject::Version));
                }
                first => first - 1,
            },
        };
        if version == listing.head {
            return Ok(head.clone());
        }
        let mut found = snapshot(dir, &replay(dir, listing, version, StateFilter::Snapshot).await?, version)?;
        found.head.timestamp = self.time(version).await?.ms;
        Ok(found)
    }

    async fn files(&self, version: Version, predicate: Option<&Predicate>) -> Result<BoxStream<'static, Result<Add>>> {
        let files = self.files_in_replay_order(version, predicate).await?;
        Ok(stream::iter(files.into_iter().map(Ok)).boxed())
    }

    async fn files_in_replay_order(&self, version: Version, predicate: Option<&Predicate>) -> Result<Vec<Add>> {
        let replay = replay(&self.0.dir, &self.0.listing, version, StateFilter::Files).await?;
        let metadata = snapshot(&self.0.dir, &replay, version)?.head.metadata;
        let mut files = replay.into_files_in_replay_order();
        if let Some(predicate) = predicate {
            let schema = Schema::parse(&metadata.schema_string, &metadata.partition_columns)?;
            files.retain(|file| predicate.may_match(&schema, file));
        }
        Ok(files)
    }

    async fn tombstones(&self, version: Version, deleted_after: i64) -> Result<BoxStream<'static, Result<Remove>>> {
        let replay = replay(&self.0.dir, &self.0.listing, version, StateFilter::Files).await?;
        let mut removes: Vec<_> = replay.removes.into_iter().collect();
        removes.retain(|(_, remove)| remove.deletion_timestamp.is_some_and(|ms| ms > deleted_after));
        removes.sort_by_key(|(key, _)| *key);
        Ok(stream::iter(removes.into_iter().map(|(_, remove)| Ok(remove))).boxed())
    }

    async fn history(&self, range: HistoryRange) -> Result<Vec<CommitSummary>> {
        let (base, head) = self.versions();
        // A base that is only a checkpoint has no commit to summarize.
        let oldest = if self.holds(base) { base } else { base + 1 };
        let end = match range.until {
            Some(until) => self.first_after(until).await?,
            None => head + 1,
        };
        let since = match range.since {
            Some(since) => self.first_after(since.saturating_sub(1)).await?.max(oldest),
            None => oldest,
        };
        let begin = range.limit.map_or(since, |limit| since.max(end.saturating_sub(limit)));
        let dir = &self.0.dir;
        let summaries = self.timed(begin..end).await?.and_then(|(version, body, time)| {
            let commit = Commit::parse(body, &dir.name(&commit_path(version)));
            future::ready(commit.map(|commit| CommitSummary::of_commit(version, time.ms, &commit)))
        });
        let mut summaries: Vec<_> = summaries.try_collect().await?;
        summaries.reverse();
        Ok(summaries)
    }

    async fn commit_bytes(&self, version: Version) -> Result<Option<Bytes>> {
        let Log { dir, listing, .. } = &*self.0;
        if self.holds(version) {
            dir.get(&commit_path(version)).await.map(Some)
        } else if version == listing.base || listing.file_time(version).is_some() {
            Ok(None)
        } else {
            Err(listing.unreachable(version, dir))
        }
    }

    async fn changes(&self, from: Version, to: Version) -> Result<BoxStream<'static, Result<(Version, Bytes)>>> {
        let Log { dir, listing, .. } = &*self.0;
        match (from..=to).find(|version| !self.holds(*version)) {
            Some(version) if version == listing.base => Err(bytes_not_retained(&dir.location.to_string(), version)),
            Some(version) => Err(listing.unreachable(version, dir)),
            None => Ok(self.bodies(from..to + 1).boxed()),
        }
    }
}

impl fmt::Debug for FileTxnLogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (base, head) = self.versions();
        write!(f, "FileTxnLogReader({}, versions {base} to {head})", self.0.dir.location)
    }
}
