//! Ordered keys and values on a disk: all that the row engine asks of the database below it.
//!
//! A [`Storage`] has an ordered map of bytes for each [`Family`]. A [`Batch`] changes any of them atomically, and a
//! [`Snapshot`] reads all of them as they were at one moment. Two implementations: [`rocks`] keeps a store in a folder
//! with RocksDB, and [`memory`] keeps it in memory for tests, with power failures and failing disks on demand.
//!
//! Calls block: they read files, and a write waits for the disk.

pub mod memory;
pub mod rocks;
#[cfg(test)]
mod suite;

use std::ops::Range;
use std::path::Path;

use deltalakedb_log::{ErrorKind, Result, TxnLogError};

/// An ordered map of a store. Keys are ordered bytewise; the key of every family may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Versions of rows, by table, scope, primary key and descending `_seq`.
    Hot,
    /// The keys that each `_seq` changed, in the order of the commits.
    SeqIndex,
    /// Positions of rows in data files that newer versions supersede, until a deletion vector names them.
    Pending,
    /// One entry for each data file: the manifest cache.
    Segments,
    /// Cuts, intents of flushes, and the high water of `_seq`.
    Meta,
    /// Who wrote what as whom.
    Audit,
    /// Jobs, by id.
    Jobs,
    /// Rows of stream tables.
    Stream,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 8] =
        [Self::Hot, Self::SeqIndex, Self::Pending, Self::Segments, Self::Meta, Self::Audit, Self::Jobs, Self::Stream];

    /// Its name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::SeqIndex => "seqidx",
            Self::Pending => "pending",
            Self::Segments => "segments",
            Self::Meta => "meta",
            Self::Audit => "audit",
            Self::Jobs => "jobs",
            Self::Stream => "stream",
        }
    }
}

/// Changes that are applied together. Of several changes of one key the last counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    changes: Vec<Change>,
}

/// A change of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Put { family: Family, key: Vec<u8>, value: Vec<u8> },
    Delete { family: Family, key: Vec<u8> },
    DeleteRange { family: Family, range: Range<Vec<u8>> },
}

impl Batch {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of a key, which may exist.
    pub fn put(&mut self, family: Family, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.changes.push(Change::Put { family, key: key.into(), value: value.into() });
    }

    /// Deletes a key, which need not exist.
    pub fn delete(&mut self, family: Family, key: impl Into<Vec<u8>>) {
        self.changes.push(Change::Delete { family, key: key.into() });
    }

    /// Deletes the keys from a start to an end, which is excluded. However many they are, it is one change.
    pub fn delete_range(&mut self, family: Family, range: Range<Vec<u8>>) {
        if !range.is_empty() {
            self.changes.push(Change::DeleteRange { family, range });
        }
    }

    /// Adds the changes of another batch, after these.
    pub fn append(&mut self, other: Self) {
        self.changes.extend(other.changes);
    }

    /// The number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// When the write-ahead log is synced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalSync {
    /// Before the write returns: the batch, and all before it, survive a power failure.
    Now,
    /// By a later [`WalSync::Now`] or [`Storage::sync`]. Until then the batch survives the end of the process, but a power
    /// failure may lose the newest of such batches: of those that are left, none is without all before it.
    Later,
}

/// The keys from a start, inclusive, to an end, exclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    start: Vec<u8>,
    end: Option<Vec<u8>>,
}

impl KeyRange {
    /// All keys.
    pub fn all() -> Self {
        Self { start: Vec::new(), end: None }
    }

    /// `start` and all keys after it.
    pub fn starting_at(start: impl Into<Vec<u8>>) -> Self {
        Self { start: start.into(), end: None }
    }

    /// The keys from `start` to `end`, which is excluded. With `start` not before `end` there are none.
    pub fn between(start: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Self {
        Self { start: start.into(), end: Some(end.into()) }
    }

    /// The keys that begin with `prefix`, itself included.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let start = prefix.into();
        // The first key after all of them: after bytes 0xff there is none with their prefix.
        let mut end = start.clone();
        while end.pop_if(|last| *last == u8::MAX).is_some() {}
        match end.last_mut() {
            Some(last) => *last += 1,
            None => return Self { start, end: None },
        }
        Self { start, end: Some(end) }
    }

    /// Whether no key is in the range.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| self.start >= *end)
    }

    /// Whether `key` is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && self.end.as_ref().is_none_or(|end| key < end.as_slice())
    }
}

impl From<Range<Vec<u8>>> for KeyRange {
    fn from(range: Range<Vec<u8>>) -> Self {
        Self { start: range.start, end: Some(range.end) }
    }
}

/// The order of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Backward,
}

/// A key with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

/// A store, open.
///
/// Writes are served one after the other, in the order of the calls. They never wait for readers, nor readers for them.
///
/// A write or sync that fails makes the store read-only, since after a failed sync no later one says what is on the
/// disk. Reads continue, and do not see the batch. Every further write is an error of kind
/// [`Unavailable`](ErrorKind::Unavailable) with the reason, until the store is opened again; only then is it known
/// whether the batch of the failed write is stored.
pub trait Storage: Send + Sync {
    /// The entries as of now: of all batches whose write returned, and none of later ones.
    ///
    /// It keeps superseded values from being collected, so it should not be held for long.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>>;

    /// Applies a batch: all of it, in every family, or nothing. Snapshots see it once the write returned.
    fn write(&self, batch: Batch, sync: WalSync) -> Result<()>;

    /// Syncs what was written with [`WalSync::Later`].
    fn sync(&self) -> Result<()>;

    /// Begins to write changes that are in memory to files, without what was deleted, over which reads have to pass until
    /// then. It has no other effect, and none on a store that has no such cost.
    fn settle(&self) -> Result<()> {
        Ok(())
    }

    /// Makes a store in `folder`, which must not exist, with the entries as of now. Files are shared with this store
    /// where the file system can; they never change.
    ///
    /// Of a write that runs concurrently all or nothing is in it.
    fn checkpoint(&self, folder: &Path) -> Result<()>;

    /// Syncs what was written and ends the use of the store: all further calls, except this one, are errors. Snapshots
    /// stay readable; after the last is dropped, the folder can be opened again.
    ///
    /// A store that is dropped instead is not synced.
    fn close(&self) -> Result<()>;
}

/// The entries of a store at one moment, whatever is written later.
pub trait Snapshot: Send + Sync {
    /// The value of a key.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The entries of a range in order. They are read while the cursor moves.
    fn scan(&self, family: Family, range: &KeyRange, direction: Direction) -> Result<Box<dyn Cursor + '_>>;
}

/// A position in a scan. The cursor is before the first entry at the beginning.
pub trait Cursor: Send {
    /// Moves to the next entry in the direction of the scan and returns it; `None` after the last. After an error the
    /// scan is not complete.
    fn next(&mut self) -> Result<Option<Entry<'_>>>;

    /// Moves, over any distance, so that [`next`](Self::next) returns `key` or the nearest entry after it in the
    /// direction of the scan. The scan stays in its range.
    fn seek(&mut self, key: &[u8]);
}

fn closed(folder: &Path) -> TxnLogError {
    TxnLogError::invalid(format!("the store in {} is closed: open it again", folder.display()))
}

fn in_use(folder: &Path) -> TxnLogError {
    TxnLogError::new(
        ErrorKind::Unavailable,
        format!("the store in {} is in use: close it there, or end the process that has opened it", folder.display()),
    )
}

fn exists(folder: &Path) -> TxnLogError {
    TxnLogError::new(
        ErrorKind::AlreadyExists,
        format!("{} exists: name a new folder for the checkpoint", folder.display()),
    )
}

/// The error of the write that failed.
fn failed(folder: &Path, reason: &str) -> TxnLogError {
    TxnLogError::new(
        ErrorKind::Unavailable,
        format!(
            "a write to the store in {} failed ({reason}): open the store again, which decides whether it is stored",
            folder.display()
        ),
    )
}

/// The error of every write after it.
fn read_only(folder: &Path, reason: &str) -> TxnLogError {
    TxnLogError::new(
        ErrorKind::Unavailable,
        format!("the store in {} is read-only since a write failed ({reason}): open it again", folder.display()),
    )
}
