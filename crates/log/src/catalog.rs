//! The promises every log and every catalog keeps.
//!
//! [`TxnLogReader`] and [`TxnLogWriter`] are one table's log, wherever it is kept. [`Catalog`] is many tables whose
//! log is its own. [`crate::MemoryCatalog`] keeps the promises in memory; [`crate::conformance`] proves any other
//! implementation.

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, Peekable};
use futures::{StreamExt, TryStreamExt};
use uuid::Uuid;

use crate::action::{Add, DomainMetadata, Metadata, Protocol, Remove, Txn, Version};
use crate::commit::{CommitRequest, Committed, NewTable, Outcome};
use crate::error::{Result, TxnLogError};
use crate::holds::VersionHolds;
use crate::ids::{CommitId, TableId, TableName};
use crate::lifecycle::TableLifecycle;
use crate::listing::TableListing;
use crate::location::Location;
use crate::namespaces::CatalogNamespaces;
use crate::owner::TableOwner;
use crate::path::SetHash;
use crate::predicate::{Literal, Predicate};
use crate::references::TableReferences;
use crate::retention::HistoryExpiry;
use crate::schema::Schema;
use crate::snapshot::{At, CommitSummary, Head, Snapshot};
use crate::stamp::is_ahead;
use crate::stats::FileStats;
use crate::time::format_ms;

pub use crate::lookup::{check_apart, require};

/// Reads one table's log.
///
/// # Contract
/// - Every call answers from one committed state; two calls may see two. Pass the version of a [`Snapshot`] on to see
///   the same state again: what a version says never changes.
/// - A version below the oldest one retained, or above the newest, is [`crate::ErrorKind::NotFound`] and names the limit.
/// - A read changes nothing and may be repeated.
#[async_trait]
pub trait TxnLogReader: Send + Sync + fmt::Debug {
    /// The newest version with protocol and metadata. A catalog answers with one statement, whatever the history.
    async fn head(&self) -> Result<Head>;

    /// The table at a version or a time.
    async fn snapshot(&self, at: At) -> Result<Snapshot>;

    /// The live files of `version`, at least those in which a row may match `predicate`; no order is promised.
    async fn files(&self, version: Version, predicate: Option<&Predicate>) -> Result<BoxStream<'static, Result<Add>>>;

    /// The same files in the order in which Delta's readers replay a log: newest first, by the version that made them
    /// live, and those of one version in the order in which they were written.
    async fn files_by_age(&self, version: Version, predicate: Option<&Predicate>) -> Result<Vec<Add>>;

    /// How [`Self::files`] finds them: what is asked of the database, and how many files each step leaves.
    async fn explain(&self, version: Version, predicate: &Predicate) -> Result<Explanation> {
        let live = self.files(version, None).await?.try_fold(0, |n, _| async move { Ok(n + 1) }).await?;
        let kept = self.files(version, Some(predicate)).await?.try_fold(0, |n, _| async move { Ok(n + 1) }).await?;
        Ok(Explanation { statement: None, looked_at: live, found: live, kept })
    }

    /// How many files, bytes and rows a version has, without reading a data file.
    async fn counts(&self, version: Version) -> Result<Counts> {
        let head = self.snapshot(At::Version(version)).await?.head;
        let schema = Schema::parse(&head.metadata.schema_string, &head.metadata.partition_columns)?;
        let (mut files, mut counts) = (self.files(version, None).await?, Counts { files: 0, bytes: 0, rows: Some(0) });
        while let Some(file) = files.try_next().await? {
            let rows = FileStats::new(&schema, &file).live_records();
            counts.files += 1;
            counts.bytes = counts.bytes.saturating_add(file.size);
            counts.rows = counts.rows.zip(rows).and_then(|(a, b)| a.checked_add(b));
        }
        Ok(counts)
    }

    /// The least and the greatest value of a column, without reading a data file; `None` where the log does not hold
    /// them exactly (text and times may be truncated, NaN is in no bound, deletion vectors hide rows) or there are none.
    async fn min_max(&self, version: Version, column: &str) -> Result<Option<(Literal, Literal)>> {
        let head = self.snapshot(At::Version(version)).await?.head;
        let schema = Schema::parse(&head.metadata.schema_string, &head.metadata.partition_columns)?;
        let Some(column) = schema.column(column) else { return Ok(None) };
        let (mut files, mut all) = (self.files(version, None).await?, None);
        while let Some(file) = files.try_next().await? {
            let Some(of_file) = FileStats::new(&schema, &file).exact(column) else { return Ok(None) };
            all = match (all, of_file) {
                (Some((a, b)), Some((c, d))) => Some((if c < a { c } else { a }, if d > b { d } else { b })),
                (one, other) => one.or(other),
            };
        }
        Ok(all)
    }

    /// The live files of `version`, each once, in an order that is the same every time. However slowly they are taken,
    /// no transaction of a database stays open meanwhile.
    async fn files_in_order(&self, version: Version) -> Result<BoxStream<'static, Result<Add>>> {
        let mut files: Vec<Add> = self.files(version, None).await?.try_collect().await?;
        files.sort_by_cached_key(Add::key);
        Ok(futures::stream::iter(files.into_iter().map(Ok)).boxed())
    }

    /// The tombstones of `version`: files that were removed up to it, are not live in it, and whose
    /// `deletionTimestamp` is later than `deleted_after`, in milliseconds since 1970. Each once, by its newest remove;
    /// with order and transactions it is as with [`Self::files_in_order`]. What keeps no removes gives none.
    async fn tombstones(&self, version: Version, deleted_after: i64) -> Result<BoxStream<'static, Result<Remove>>> {
        let _ = (version, deleted_after);
        Ok(futures::stream::empty().boxed())
    }

    /// How much more `to` holds than `from`, which is not later. A catalog's cost is that of the files that differ.
    async fn growth(&self, from: Version, to: Version) -> Result<Growth> {
        let (before, after) = (self.counts(from).await?, self.counts(to).await?);
        let files = i128::from(after.files) - i128::from(before.files);
        Ok(Growth { files: i64::try_from(files).unwrap_or_default(), bytes: after.bytes.saturating_sub(before.bytes) })
    }

    /// The hash of the set of the live files of `version`. A catalog has it stored.
    async fn set_hash(&self, version: Version) -> Result<SetHash> {
        let files = self.files(version, None).await?;
        let insert = |mut hash: SetHash, file: Add| async move {
            hash.insert(&file.key());
            Ok(hash)
        };
        files.try_fold(SetHash::default(), insert).await
    }

    /// The history, newest first.
    async fn history(&self, range: HistoryRange) -> Result<Vec<CommitSummary>>;

    /// The exact bytes of a commit; `None` for a version that is retained without them (history began at a checkpoint).
    async fn commit_bytes(&self, version: Version) -> Result<Option<Bytes>>;

    /// The exact bytes of the commits `from..=to`, in order, and none left out: where one is retained without its bytes, the
    /// call or the stream ends with [`crate::ErrorKind::NotFound`] and says where to begin. See [`first_commit`].
    async fn changes(&self, from: Version, to: Version) -> Result<BoxStream<'static, Result<(Version, Bytes)>>>;
}

/// The oldest version whose commit is retained, of a log whose oldest version is `base`: where history began at a checkpoint,
/// that one is only a state.
pub async fn first_commit(reader: &dyn TxnLogReader, base: Version) -> Result<Version> {
    Ok(match reader.commit_bytes(base).await? {
        Some(_) => base,
        None => base.saturating_add(1),
    })
}

/// How files are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The SQL that is run, with its parameters in place; `None` where there is no database.
    pub statement: Option<String>,
    /// Files the search went through.
    pub looked_at: u64,
    /// Files the database gave.
    pub found: u64,
    /// Files that are left once their statistics are judged: what [`TxnLogReader::files`] gives.
    pub kept: u64,
}

/// The size of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Live files.
    pub files: u64,
    /// Their bytes.
    pub bytes: i64,
    /// Their rows, deleted ones left out; `None` when a file does not say.
    pub rows: Option<i64>,
}

/// How much more a version holds than an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Live files more, or fewer.
    pub files: i64,
    /// Bytes in them more, or fewer.
    pub bytes: i64,
}

/// Which part of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryRange {
    /// At most so many commits, the newest.
    pub limit: Option<u64>,
    /// Not committed before that time, in milliseconds since 1970.
    pub since: Option<i64>,
    /// Not committed after that time, in milliseconds since 1970.
    pub until: Option<i64>,
}

/// Writes one table's log.
#[async_trait]
pub trait TxnLogWriter: Send + Sync + fmt::Debug {
    /// Commits, all or nothing. The same [`CommitId`] again returns the version it got the first time.
    async fn commit(&self, request: CommitRequest) -> Result<Outcome>;
}

/// What a catalog knows of a table without looking into it.
#[derive(Clone, Debug, PartialEq)]
pub struct TableEntry {
    /// Our own id.
    pub id: TableId,
    /// Its name.
    pub name: TableName,
    /// Where it is.
    pub location: Location,
    /// Who alone commits to it; everybody, without one.
    pub owner: Option<TableOwner>,
    /// The oldest retained version.
    pub base_version: Version,
    /// The newest version.
    pub current_version: Version,
    /// The time of the newest version, in milliseconds since 1970.
    pub current_timestamp: i64,
    /// The newest version that is in `_delta_log`; `None` when none is.
    pub published_version: Option<Version>,
    /// Whether publishing goes on or has stopped.
    pub mirror: MirrorState,
}

/// A point in the order in which the commits of a catalog became visible. Only the catalog that gave it can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point(pub String);

/// Whether a table's mirror follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorState {
    /// It follows.
    Following,
    /// Another commit stands where ours should be: nothing is published and nothing committed until that is resolved.
    Diverged {
        /// The version that differs.
        version: Version,
        /// What stands there.
        what: String,
    },
}

/// How a table is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum TableRef {
    /// By our id.
    Id(TableId),
    /// By name.
    Name(TableName),
    /// By place.
    Location(Location),
}

/// A piece of valid history, in version order. [`HistoryItem::Base`] comes first, with [`HistoryItem::Files`] behind it,
/// and only where history does not begin at version 0.
#[derive(Clone, Debug)]
pub enum HistoryItem {
    /// The state at the oldest version there is, but for its files. Another one takes its place, and that of its files.
    Base(Box<BaseState>),
    /// Some of the files of the base.
    Files(BaseFiles),
    /// A commit as it stands in the log.
    Commit(LoggedCommit),
}

/// The items of a history, one by one.
pub type HistoryItems<'a> = Peekable<BoxStream<'a, Result<HistoryItem>>>;

/// The next item, unless it is a commit: that one stays.
pub async fn next_of_base(items: &mut HistoryItems<'_>) -> Result<Option<HistoryItem>> {
    match Pin::new(&mut *items).peek().await {
        Some(Ok(HistoryItem::Commit(_))) | None => Ok(None),
        Some(_) => items.next().await.transpose(),
    }
}

/// Refuses what is no commit where only commits may be.
pub fn only_commit(item: HistoryItem) -> Result<LoggedCommit> {
    match item {
        HistoryItem::Commit(commit) => Ok(commit),
        HistoryItem::Base(_) | HistoryItem::Files(_) => {
            Err(TxnLogError::invalid("a history has a state behind its first commit: it begins with one, or has none"))
        }
    }
}

/// The error of files of a base that did not come.
pub fn files_without_base() -> TxnLogError {
    TxnLogError::invalid("a history has files that belong to no state: the state comes before them")
}

/// The state at the version where history begins, but for its files.
#[derive(Clone, Debug)]
pub struct BaseState {
    /// The version.
    pub version: Version,
    /// Its time and where the time comes from.
    pub time: CommitTime,
    /// The protocol.
    pub protocol: Protocol,
    /// The metadata.
    pub metadata: Metadata,
    /// The newest txn of each application.
    pub txns: Vec<Txn>,
    /// The domains.
    pub domains: Vec<DomainMetadata>,
    /// The commit's bytes, when the log still holds them.
    pub body: Option<Bytes>,
}

/// Files at the version where history begins.
#[derive(Clone, Debug, Default)]
pub struct BaseFiles {
    /// Live files.
    pub live: Vec<Add>,
    /// Tombstones not yet expired.
    pub removed: Vec<Remove>,
}

/// A commit that is history.
#[derive(Clone, Debug)]
pub struct LoggedCommit {
    /// The version.
    pub version: Version,
    /// Its time and where the time comes from.
    pub time: CommitTime,
    /// The exact bytes.
    pub body: Bytes,
    /// Where they were read, for messages.
    pub origin: String,
}

/// The time of a commit, in milliseconds since 1970, and where it is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitTime {
    /// Milliseconds since 1970.
    pub ms: i64,
    /// Where it is known from.
    pub source: TimeSource,
}

/// Where the time of a commit is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// `commitInfo.inCommitTimestamp`.
    InCommit,
    /// `commitInfo.timestamp` of a commit this library wrote.
    CommitInfo,
    /// The modification time of the log file.
    File,
    /// The clock, when it was committed here.
    Clock,
}

impl MirrorState {
    /// Whether this may follow what was `seen` of a table that is now in the state `now` and at the version `current`.
    pub fn may_follow(&self, seen: &TableEntry, now: &Self, current: Version) -> bool {
        let is_ours_now = match self {
            Self::Diverged { version, .. } => (seen.current_version + 1..=current).contains(version),
            Self::Following => false,
        };
        *now == seen.mirror && !is_ours_now
    }
}

impl TimeSource {
    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InCommit => "in_commit",
            Self::CommitInfo => "commit_info",
            Self::File => "file",
            Self::Clock => "clock",
        }
    }
}

/// A holder of the right to publish a table, proved by a token that only grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The table.
    pub table: TableId,
    /// Who holds it.
    pub holder: Uuid,
    /// Grows with every holder; an older token is refused.
    pub token: i64,
}

/// What is put into `_delta_log` for a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Artifact {
    /// `N.json`, which is the version.
    Commit,
    /// `N.checkpoint.parquet`, a shorter way to it.
    Checkpoint,
}

impl Artifact {
    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// A publishing attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorFailure {
    /// The version that could not be published.
    pub version: Version,
    /// What of it.
    pub artifact: Artifact,
    /// How often it was tried.
    pub attempts: u32,
    /// What the last try said.
    pub error: String,
    /// When it was last tried, in milliseconds since 1970.
    pub failed_at: i64,
}

/// Many tables, one log for all of them.
///
/// # Contract
/// - *Atomic*: [`Catalog::commit_all`] commits every table of the call or none, at one time that no timestamp cuts. Only
///   a table whose newest time [is ahead](crate::stamp::TimeLeap) of the catalog's clock has a time of its own.
/// - *Ordered*: the versions of a table have no gap, and their times strictly increase. They come from one clock, the
///   server's where the catalog is in one.
/// - *Exactly once*: a commit id is kept with the version it got, as long as that and [some days at
///   least](crate::retention::Keep::ids_since_ms).
/// - *Isolated*: conflicts are judged after the tables are locked, by [`crate::commit::prepare`] alone.
/// - *Durable*: what is [`Outcome::Committed`] survives the process and the power.
/// - No call holds a database transaction while it waits for anything but the database.
#[async_trait]
pub trait Catalog:
    CatalogNamespaces + HistoryExpiry + TableLifecycle + TableListing + TableReferences + VersionHolds
{
    /// The catalog's id and its epoch, which is new after every rebuild or restore.
    async fn identity(&self) -> Result<(Uuid, Uuid)>;

    /// Draws a new epoch: the catalog was restored from a backup, or its server was replaced by another. What is
    /// committed from now on is told by it from what was committed before and is no longer known here.
    async fn renew_epoch(&self) -> Result<Uuid>;

    /// The time of the catalog's clock, in milliseconds since 1970.
    async fn now_ms(&self) -> Result<i64>;

    /// The tables that were compared with their `_delta_log` through this handle and its clones.
    fn compared(&self) -> &ComparedTables;

    /// What to call the catalog in a message: its URI without secrets.
    fn describe(&self) -> String;

    /// One table; `None` when there is none.
    async fn find(&self, table: &TableRef) -> Result<Option<TableEntry>>;

    /// The present point in the order of commits. Its cost does not depend on the number of tables.
    async fn point(&self) -> Result<Point>;

    /// One table as it was at a point: its newest version and the time of that are those of then, the rest is of now.
    /// `None` when there was none. Whatever was committed by the point is there, of every table, and nothing else; of a
    /// table that was being loaded then, and is there now, as much as was loaded.
    async fn find_at(&self, table: &TableRef, point: &Point) -> Result<Option<TableEntry>>;

    /// The heads of all these tables at one consistent point, in the order asked.
    async fn begin(&self, tables: &[TableId]) -> Result<Vec<Head>>;

    /// The log of a table, for reading.
    fn reader(&self, table: TableId) -> Arc<dyn TxnLogReader>;

    /// Commits to several tables, all or none. One request a table.
    async fn commit_all(&self, requests: Vec<CommitRequest>) -> Result<Outcome>;

    /// The version a commit id got; `None` when it was never committed.
    async fn find_commit(&self, table: TableId, id: CommitId) -> Result<Option<Committed>>;

    /// Loads history that is valid already (import, copy, rebuild, commits by other writers): unvalidated, in batches.
    /// The unfinished load of a new table is invisible to every other call. Calling again with the same table and
    /// location goes on after what is there, under the name given last; history that does not is
    /// [`crate::ErrorKind::Conflict`]. The commits of a catalog keep their ids. A time that is not later than that of the
    /// version before is made so. Of a transaction of this catalog over several tables either every table that was there
    /// gets its part or none: load them [together](Self::load_together). A load of a table with an owner names it in
    /// [`NewTable::owner`].
    async fn load_history(&self, load: HistoryLoad<'_>) -> Result<TableEntry>;

    /// Loads what several tables lack, all or nothing, and all of it in memory: for tables that share transactions.
    async fn load_together(&self, loads: Vec<HistoryLoad<'_>>) -> Result<Vec<TableEntry>>;

    /// How far an unfinished load of that place has come; `None` when there is none.
    async fn unfinished_load(&self, location: &Location) -> Result<Option<UnfinishedLoad>>;

    /// Forgets an unfinished load, so that its name and place are free again; one that is finished or unknown is
    /// [`crate::ErrorKind::NotFound`].
    async fn abandon_load(&self, table: TableId) -> Result<()>;

    /// Takes the right to publish a table until `until_ms`; `None` while someone else has it.
    async fn acquire_lease(&self, table: TableId, holder: Uuid, now_ms: i64, until_ms: i64) -> Result<Option<Lease>>;

    /// Gives it back.
    async fn release_lease(&self, lease: &Lease) -> Result<()>;

    /// Records that `_delta_log` holds everything up to `version`, if the lease is still the newest.
    async fn mark_published(&self, lease: &Lease, version: Version) -> Result<()>;

    /// The same without a lease, for the versions `from` to `to`: whether `from` was the one after those that were
    /// published. What keeps two who do it from harm is that both put the same bytes.
    async fn mark_next_published(&self, table: TableId, from: Version, to: Version) -> Result<bool>;

    /// Records that there is a good checkpoint of `version`: what failed with it and with those before is over.
    async fn mark_checkpointed(&self, table: TableId, version: Version) -> Result<()>;

    /// Records a failed attempt. For a checkpoint it stands until [`Self::mark_checkpointed`], for a commit until
    /// [`Self::mark_published`]; of a commit that somebody else has published meanwhile nothing has failed.
    async fn mark_failed(
        &self,
        table: TableId,
        version: Version,
        artifact: Artifact,
        error: &str,
        at_ms: i64,
    ) -> Result<()>;

    /// Stops a table, because what stands in its `_delta_log` is not ours, or lets it go on: as long as that is still
    /// so. `false`, and nothing changes, when the table's state is no longer the one that was `seen`, or when the version
    /// that is not ours was beyond the table's newest and has been committed since: then it may well be ours.
    async fn set_mirror(&self, seen: &TableEntry, state: &MirrorState) -> Result<bool>;

    /// What failed and is not there yet, by version.
    async fn mirror_failures(&self, table: TableId) -> Result<Vec<MirrorFailure>>;
}

/// A load of history.
pub struct HistoryLoad<'a> {
    /// The table's id, drawn by the caller; an unfinished load keeps the id it has.
    pub table: TableId,
    /// Name and place.
    pub new: NewTable,
    /// The newest version that is in `_delta_log` already.
    pub published_version: Option<Version>,
    /// Whether times that are [ahead](crate::stamp::is_ahead) of the catalog's clock are taken as they are.
    pub future_times: FutureTimes,
    /// The history, in order.
    pub items: BoxStream<'a, Result<HistoryItem>>,
    /// Called after every batch with the newest version stored.
    pub progress: &'a (dyn Fn(Version) + Send + Sync),
}

/// What is done with history whose times are [ahead](crate::stamp::is_ahead) of the catalog's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FutureTimes {
    /// It is refused: every later version would get a time in the future, too.
    #[default]
    Refuse,
    /// It is taken as it is.
    Accept,
}

impl FutureTimes {
    /// Refuses a version whose time leaps ahead of the catalog's clock, unless such times are accepted. One that is a
    /// millisecond after the version before it does not leap: files of a log that were copied at once have one time, and
    /// are told apart so.
    pub fn check(
        self,
        table: &TableName,
        version: Version,
        before: Option<i64>,
        time_ms: i64,
        now_ms: i64,
    ) -> Result<()> {
        let leaps = before.is_none_or(|before| time_ms > before.saturating_add(1));
        if self == Self::Accept || !is_ahead(time_ms, now_ms) || !leaps {
            return Ok(());
        }
        Err(TxnLogError::invalid(format!(
            "version {version} of {table} has the time {}, and the catalog's clock says {}: every later version would be \
             in the future, too; check the clock, or accept such times with import.future_times=accept",
            format_ms(time_ms),
            format_ms(now_ms)
        )))
    }
}

/// The tables that were compared with their `_delta_log` by those who write through one handle of a catalog. A process
/// does it before its first write to a table: the catalog may have been restored from a backup, or its server replaced by
/// one that lacks the last commits, and would then begin a second history.
#[derive(Debug, Default)]
pub struct ComparedTables(Mutex<HashSet<TableId>>);

impl ComparedTables {
    /// Whether a table was compared and found to be as far as its `_delta_log`.
    pub fn contains(&self, table: TableId) -> bool {
        self.lock().contains(&table)
    }

    /// Remembers a table that was found to be so.
    pub fn insert(&self, table: TableId) {
        self.lock().insert(table);
    }

    /// Forgets a table: somebody else may have written to it meanwhile.
    pub fn remove(&self, table: TableId) {
        self.lock().remove(&table);
    }

    /// Forgets all: the catalog is another one than it was.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<TableId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for HistoryLoad<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryLoad").field("table", &self.table).field("new", &self.new).finish_non_exhaustive()
    }
}

/// A load that was interrupted.
#[derive(Clone, Debug, PartialEq)]
pub struct UnfinishedLoad {
    /// The table's id.
    pub table: TableId,
    /// The name it will have.
    pub name: TableName,
    /// The oldest version, once known.
    pub base_version: Option<Version>,
    /// The newest version stored.
    pub current_version: Option<Version>,
}
