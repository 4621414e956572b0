//! History as data: the commits of a log, and the base state if its first commits no longer exist.

use std::pin::Pin;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{BoxStream, Peekable};

use crate::action::{Add, DomainMetadata, Metadata, Protocol, Remove, Txn, Version};
use crate::error::{Result, TxnLogError};

/// A piece of valid history, in version order. [`HistoryItem::Base`] comes first, followed by [`HistoryItem::Files`],
/// and only if history does not begin at version 0.
#[derive(Clone, Debug)]
pub enum HistoryItem {
    /// The state at the oldest version, without its files. A second base replaces the first and its files.
    Base(Box<BaseState>),
    /// Some of the files of the base.
    Files(BaseFiles),
    /// A commit as stored in the log.
    Commit(LoggedCommit),
}

/// The items of a history, one by one.
pub type HistoryItems<'a> = Peekable<BoxStream<'a, Result<HistoryItem>>>;

/// The next item, unless it is a commit, which stays in the stream.
pub async fn next_of_base(items: &mut HistoryItems<'_>) -> Result<Option<HistoryItem>> {
    match Pin::new(&mut *items).peek().await {
        Some(Ok(HistoryItem::Commit(_))) | None => Ok(None),
        Some(_) => items.next().await.transpose(),
    }
}

/// Rejects an item that is not a commit.
pub fn only_commit(item: HistoryItem) -> Result<LoggedCommit> {
    match item {
        HistoryItem::Commit(commit) => Ok(commit),
        HistoryItem::Base(_) | HistoryItem::Files(_) => {
            Err(TxnLogError::invalid("a history has a state behind its first commit: it begins with one, or has none"))
        }
    }
}

/// The error when a base has no files.
pub fn files_without_base() -> TxnLogError {
    TxnLogError::invalid("a history has files that belong to no state: the state comes before them")
}

/// The state at the version where history begins, without its files.
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
    /// The commit's bytes, if the log still has them.
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

/// A commit of the history.
#[derive(Clone, Debug)]
pub struct LoggedCommit {
    /// The version.
    pub version: Version,
    /// Its time and where the time comes from.
    pub time: CommitTime,
    /// The exact bytes.
    pub body: Bytes,
    /// The file they were read from, for messages.
    pub origin: String,
}

/// The time of a commit, in milliseconds since 1970, and its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitTime {
    /// Milliseconds since 1970.
    pub ms: i64,
    /// Its source.
    pub source: TimeSource,
}

/// The source of a commit's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// `commitInfo.inCommitTimestamp`.
    InCommit,
    /// `commitInfo.timestamp` of a commit this library wrote.
    CommitInfo,
    /// The modification time of the log file.
    File,
    /// The clock, for a commit made here.
    Clock,
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
