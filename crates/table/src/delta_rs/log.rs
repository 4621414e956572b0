//! One table's log, fixed at one version, with staged commits on top.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use deltalakedb_log::action::Add;
use deltalakedb_log::snapshot::{At, Snapshot};
use deltalakedb_log::{FileKey, Predicate, Result, TxnLogError, TxnLogReader, Version};
use parking_lot::{Mutex, MutexGuard};

use super::log_view::LogView;

/// Which live files delta-rs gets.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FileSelection {
    All,
    Matching(Predicate),
    None,
}

/// The state shared by all parts of the virtual log: the engine, the log store, the object store.
#[derive(Debug)]
pub(super) struct SnapshotLog {
    reader: Arc<dyn TxnLogReader>,
    /// The fixed version; `None` for a table that does not exist yet.
    base: Option<Snapshot>,
    files: FileSelection,
    staged: Mutex<Vec<Bytes>>,
    /// How many of them existed when it was opened.
    before: usize,
    /// The files of the version that were returned, if not all of them.
    seen: Mutex<Vec<FileKey>>,
    temporary: Mutex<HashMap<String, Bytes>>,
}

impl SnapshotLog {
    pub(super) fn new(state: &LogView, files: FileSelection) -> Self {
        Self {
            reader: state.reader.clone(),
            base: state.base.clone(),
            files,
            staged: Mutex::new(state.staged.iter().map(|commit| commit.masked.clone()).collect()),
            before: state.staged.len(),
            seen: Mutex::default(),
            temporary: Mutex::default(),
        }
    }

    /// Records files that are returned.
    pub(super) fn record_given(&self, adds: &[Add]) {
        if matches!(self.files, FileSelection::Matching(_)) {
            let mut seen = self.seen.lock();
            seen.extend(adds.iter().map(Add::key));
        }
    }

    /// The files that were returned; `None` for all files.
    pub(super) fn given_files(&self) -> Option<Vec<FileKey>> {
        let seen = self.seen.lock();
        (self.files != FileSelection::All).then(|| seen.clone())
    }

    /// The commits staged since it was opened.
    pub(super) fn captured(&self) -> Vec<Bytes> {
        self.staged().split_off(self.before)
    }

    pub(super) fn reader(&self) -> Arc<dyn TxnLogReader> {
        self.reader.clone()
    }

    pub(super) fn files(&self) -> &FileSelection {
        &self.files
    }

    /// The fixed version.
    pub(super) fn base_version(&self) -> Option<Version> {
        self.base.as_ref().map(Snapshot::version)
    }

    pub(super) fn next_version(&self) -> Version {
        self.first_staged() + self.staged().len() as Version
    }

    /// The newest version, including staged ones.
    pub(super) fn newest(&self) -> Option<Version> {
        self.next_version().checked_sub(1)
    }

    fn first_staged(&self) -> Version {
        self.base_version().map_or(0, |v| v + 1)
    }

    /// The commits staged so far, in order.
    pub(super) fn staged(&self) -> MutexGuard<'_, Vec<Bytes>> {
        self.staged.lock()
    }

    /// Stages a commit as `version`; false when that version exists or leaves a gap.
    pub(super) fn stage(&self, version: Version, commit: Bytes) -> bool {
        let first = self.first_staged();
        let mut staged = self.staged();
        let next = first + staged.len() as Version;
        if version == next {
            staged.push(commit);
        }
        version == next
    }

    /// Temporary commit files: delta-rs writes some before it names their version.
    pub(super) fn temporary(&self) -> MutexGuard<'_, HashMap<String, Bytes>> {
        self.temporary.lock()
    }

    /// The table at a version up to the fixed one.
    pub(super) async fn snapshot(&self, version: Version) -> Result<Snapshot> {
        match &self.base {
            Some(base) if base.version() == version => Ok(base.clone()),
            _ => self.reader.snapshot(At::Version(version)).await,
        }
    }

    /// The bytes of a commit, staged or not; `None` when the version does not exist or is retained without them.
    pub(super) async fn commit(&self, version: Version) -> Result<Option<Bytes>> {
        if let Some(at) = version.checked_sub(self.first_staged()) {
            let at = usize::try_from(at).map_err(|e| TxnLogError::invalid("no such version").with_source(e))?;
            return Ok(self.staged().get(at).cloned());
        }
        self.reader.commit_bytes(version).await
    }

    /// The time of a version, in milliseconds since 1970; staged commits have none yet.
    pub(super) fn known_time(&self, version: Version) -> i64 {
        self.base.as_ref().filter(|b| b.version() == version).map_or(0, |b| b.head.timestamp)
    }
}

/// A parsed name of a file in `_delta_log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogFile {
    Commit(Version),
    Checksum(Version),
    Checkpoint(Version),
    LastCheckpoint,
    Other,
}

impl LogFile {
    /// Parses a file name.
    pub(super) fn parse(name: &str) -> Self {
        if name == "_last_checkpoint" {
            return Self::LastCheckpoint;
        }
        let versioned = name.split_once('.').filter(|(digits, _)| digits.len() == 20);
        match versioned.and_then(|(digits, rest)| Some((digits.parse().ok()?, rest))) {
            Some((version, "json")) => Self::Commit(version),
            Some((version, "crc")) => Self::Checksum(version),
            Some((version, "checkpoint.parquet")) => Self::Checkpoint(version),
            _ => Self::Other,
        }
    }

    /// The file's name.
    pub(super) fn name(self) -> String {
        match self {
            Self::Commit(v) => format!("{v:020}.json"),
            Self::Checksum(v) => format!("{v:020}.crc"),
            Self::Checkpoint(v) => format!("{v:020}.checkpoint.parquet"),
            Self::LastCheckpoint => "_last_checkpoint".into(),
            Self::Other => String::new(),
        }
    }
}
