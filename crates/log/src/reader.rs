//! Reading and writing of one table's log, independent of where it is stored.
//!
//! [`TxnLogReader`] is what a log must implement. [`TxnLogReaderExt`] is derived from it, for every log.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use crate::action::{Add, Remove, Version};
use crate::commit::{CommitRequest, Outcome};
use crate::error::Result;
use crate::path::SetHash;
use crate::predicate::{Literal, Predicate};
use crate::schema::Schema;
use crate::snapshot::{At, CommitSummary, Head, Snapshot};
use crate::stats::FileStats;

/// Reads one table's log.
///
/// # Contract
/// - Every call answers from one committed state; two calls may see different states. Pass the version of a
///   [`Snapshot`] to the next call to see the same state again: the content of a version never changes.
/// - A version below the oldest one retained, or above the newest, is [`crate::ErrorKind::NotFound`] and names the limit.
/// - A read changes nothing and may be repeated.
#[async_trait]
pub trait TxnLogReader: Send + Sync + fmt::Debug {
    /// The newest version with protocol and metadata. A catalog answers with one statement, independent of the length
    /// of the history.
    async fn head(&self) -> Result<Head>;

    /// The table at a version or a time.
    async fn snapshot(&self, at: At) -> Result<Snapshot>;

    /// The live files of `version`, at least those in which a row may match `predicate`, in no particular order.
    async fn files(&self, version: Version, predicate: Option<&Predicate>) -> Result<BoxStream<'static, Result<Add>>>;

    /// The same files in the order in which Delta's readers replay a log: by the version that made them live, newest
    /// first, and those of one version in the order in which they were written.
    async fn files_in_replay_order(&self, version: Version, predicate: Option<&Predicate>) -> Result<Vec<Add>>;

    /// The live files of `version`, each once, in an order that is the same every time. No database transaction stays
    /// open while the consumer takes them.
    async fn files_by_key(&self, version: Version) -> Result<BoxStream<'static, Result<Add>>> {
        let mut files: Vec<Add> = self.files(version, None).await?.try_collect().await?;
        files.sort_by_cached_key(Add::key);
        Ok(futures::stream::iter(files.into_iter().map(Ok)).boxed())
    }

    /// The tombstones of `version`: files that were removed up to it, are not live in it, and whose `deletionTimestamp`
    /// is later than `deleted_after`, in milliseconds since 1970. Each file has only its newest remove; order and
    /// transactions are those of [`Self::files_by_key`]. A log that keeps no removes returns none.
    async fn tombstones(&self, version: Version, deleted_after: i64) -> Result<BoxStream<'static, Result<Remove>>> {
        let _ = (version, deleted_after);
        Ok(futures::stream::empty().boxed())
    }

    /// The history, newest first.
    async fn history(&self, range: HistoryRange) -> Result<Vec<CommitSummary>>;

    /// The exact bytes of a commit; `None` for a base version that is only a checkpoint.
    async fn commit_bytes(&self, version: Version) -> Result<Option<Bytes>>;

    /// The exact bytes of the commits `from..=to`, in order and without a gap: if one is retained without its bytes,
    /// the call or the stream fails with [`crate::ErrorKind::NotFound`] and names the first version that can be read.
    /// See [`first_commit`].
    async fn changes(&self, from: Version, to: Version) -> Result<BoxStream<'static, Result<(Version, Bytes)>>>;

    /// What the log knows about its versions without reading their files; `None` if it must read them. Callers use
    /// [`TxnLogReaderExt`], which does either.
    fn summaries(&self) -> Option<&dyn LogSummaries> {
        None
    }
}

/// Writes one table's log.
#[async_trait]
pub trait TxnLogWriter: Send + Sync + fmt::Debug {
    /// Commits, all or nothing. A repeated [`CommitId`](crate::CommitId) returns the version of its first commit.
    async fn commit(&self, request: CommitRequest) -> Result<Outcome>;
}

/// What a log knows about its versions without reading their files, such as a database with columns for it.
///
/// # Contract
/// - Every answer equals the one that [`TxnLogReaderExt`] would compute from the files of the version, and every error
///   has the same kind; only [`Explanation`] depends on how this log finds files.
#[async_trait]
pub trait LogSummaries: Send + Sync {
    /// See [`TxnLogReaderExt::explain`].
    async fn explain(&self, version: Version, predicate: &Predicate) -> Result<Explanation>;

    /// See [`TxnLogReaderExt::counts`].
    async fn counts(&self, version: Version) -> Result<Counts>;

    /// See [`TxnLogReaderExt::min_max`].
    async fn min_max(&self, version: Version, column: &str) -> Result<Option<(Literal, Literal)>>;

    /// See [`TxnLogReaderExt::size_delta`]. The cost depends on the number of files that differ.
    async fn size_delta(&self, from: Version, to: Version) -> Result<SizeDelta>;

    /// See [`TxnLogReaderExt::set_hash`].
    async fn set_hash(&self, version: Version) -> Result<SetHash>;
}

/// What can be computed for every log, from its files if it has no [summaries](TxnLogReader::summaries).
#[async_trait]
pub trait TxnLogReaderExt: TxnLogReader {
    /// How [`TxnLogReader::files`] finds the files: the query to the database, and how many files each step keeps.
    async fn explain(&self, version: Version, predicate: &Predicate) -> Result<Explanation> {
        if let Some(summaries) = self.summaries() {
            return summaries.explain(version, predicate).await;
        }
        let live = self.files(version, None).await?.try_fold(0, |n, _| async move { Ok(n + 1) }).await?;
        let kept = self.files(version, Some(predicate)).await?.try_fold(0, |n, _| async move { Ok(n + 1) }).await?;
        Ok(Explanation { statement: None, examined: live, found: live, kept })
    }

    /// The number of files, bytes and rows of a version, without reading a data file.
    async fn counts(&self, version: Version) -> Result<Counts> {
        if let Some(summaries) = self.summaries() {
            return summaries.counts(version).await;
        }
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

    /// The minimum and maximum of a column, without reading a data file; `None` if the log does not have them exactly
    /// (text and times may be truncated, NaN is not in the bounds, deletion vectors hide rows) or there are no values.
    async fn min_max(&self, version: Version, column: &str) -> Result<Option<(Literal, Literal)>> {
        if let Some(summaries) = self.summaries() {
            return summaries.min_max(version, column).await;
        }
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

    /// The size of `to` minus the size of `from`, which is not later.
    async fn size_delta(&self, from: Version, to: Version) -> Result<SizeDelta> {
        if let Some(summaries) = self.summaries() {
            return summaries.size_delta(from, to).await;
        }
        let (before, after) = (self.counts(from).await?, self.counts(to).await?);
        let files = i128::from(after.files) - i128::from(before.files);
        Ok(SizeDelta {
            files: i64::try_from(files).unwrap_or_default(),
            bytes: after.bytes.saturating_sub(before.bytes),
        })
    }

    /// The hash of the set of the live files of `version`.
    async fn set_hash(&self, version: Version) -> Result<SetHash> {
        if let Some(summaries) = self.summaries() {
            return summaries.set_hash(version).await;
        }
        let files = self.files(version, None).await?;
        let insert = |mut hash: SetHash, file: Add| async move {
            hash.insert(&file.key());
            Ok(hash)
        };
        files.try_fold(SetHash::default(), insert).await
    }
}

impl<R: TxnLogReader + ?Sized> TxnLogReaderExt for R {}

/// The oldest version whose commit is retained, for a log whose oldest version is `base`: if history began at a
/// checkpoint, the base is only a state.
pub async fn first_commit(reader: &dyn TxnLogReader, base: Version) -> Result<Version> {
    Ok(match reader.commit_bytes(base).await? {
        Some(_) => base,
        None => base.saturating_add(1),
    })
}

/// A range of the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryRange {
    /// The maximum number of commits; the newest are returned.
    pub limit: Option<u64>,
    /// Only commits at or after that time, in milliseconds since 1970.
    pub since: Option<i64>,
    /// Only commits at or before that time, in milliseconds since 1970.
    pub until: Option<i64>,
}

/// How the files are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The SQL that is run, with its parameters inlined; `None` when there is no database.
    pub statement: Option<String>,
    /// Files that the search examined.
    pub examined: u64,
    /// Files that the database returned.
    pub found: u64,
    /// Files left after data skipping by their statistics: the result of [`TxnLogReader::files`].
    pub kept: u64,
}

/// The size of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Live files.
    pub files: u64,
    /// Their bytes.
    pub bytes: i64,
    /// Their rows without deleted ones; `None` when a file does not record the number.
    pub rows: Option<i64>,
}

/// The difference in size between a version and an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeDelta {
    /// The difference in live files.
    pub files: i64,
    /// The difference in bytes.
    pub bytes: i64,
}
