//! What the tasks of one process share, so that they publish a table one after the other and not the same thing twice.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use deltalakedb_log::{Location, TableEntry, TableId, Version};
use parking_lot::Mutex;

use crate::checksum::VersionChecksum;

/// The longest pause between two checkpoints that are due.
const LONGEST_PAUSE_MS: i64 = 60_000;
/// Tables of which something is remembered.
pub(crate) const REMEMBERED: usize = 256;

/// What a process remembers of its publishing.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) tables: Mutex<HashMap<TableId, Arc<Turns>>>,
    pub(crate) unsettled: Mutex<HashMap<TableId, Unsettled>>,
    /// Places whose stores are known to refuse to overwrite.
    pub(crate) proven: Mutex<HashSet<Location>>,
}

/// Versions of a table that are put and not synced.
#[derive(Clone, Debug)]
pub(crate) struct Unsettled {
    pub(crate) folder: PathBuf,
    pub(crate) from: Version,
    pub(crate) to: Version,
}

/// The turns of the tasks that work on one table. Each is given in the order in which it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Held while the table's commits are published.
    pub(crate) publishing: tokio::sync::Mutex<Memory>,
    /// Held by the task that has the right to publish the table or asks for it: tasks of one process wait for each
    /// other here, without pauses. A publisher takes it after `publishing`.
    pub(crate) lease: tokio::sync::Mutex<()>,
    /// Held while a checkpoint that was due is written: when the last one was.
    pub(crate) checkpoint: tokio::sync::Mutex<Option<LastCheckpoint>>,
    /// Number of times a publisher checked for unpublished versions.
    looks: AtomicU64,
}

/// When the last checkpoint that was due was written, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastCheckpoint {
    pub(crate) begun: i64,
    pub(crate) ended: i64,
}

impl LastCheckpoint {
    /// Until when none is written, so that they take a tenth of the time at most.
    pub(crate) fn pause_until(self) -> i64 {
        self.ended + (9 * (self.ended - self.begun)).clamp(0, LONGEST_PAUSE_MS)
    }
}

impl Turns {
    /// Whether other tasks work on the table now.
    pub(crate) fn have_others(self: &Arc<Self>) -> bool {
        // One is remembered, one is the caller's.
        Arc::strong_count(self) > 2
    }

    /// The number of looks until now.
    pub(crate) fn looks(&self) -> u64 {
        self.looks.load(Ordering::SeqCst)
    }

    /// The number of a look that begins now.
    pub(crate) fn look(&self) -> u64 {
        self.looks.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// What is remembered of a table.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The newest version published here.
    pub(crate) known: Option<VersionChecksum>,
    /// Whether what had been published before was looked for.
    pub(crate) has_looked_back: bool,
    /// The number of the last look after which everything that it saw was published, and what it saw.
    published: Option<(u64, TableEntry)>,
}

impl Memory {
    /// Remembers that everything is published that a look saw.
    pub(crate) fn note_published(&mut self, look: u64, entry: TableEntry) {
        self.published = Some((look, entry));
    }

    /// What was seen by a look that began when there had been so many, if all of it is published.
    pub(crate) fn published_since(&self, looks: u64) -> Option<TableEntry> {
        self.published.as_ref().filter(|(look, _)| *look > looks).map(|(_, entry)| entry.clone())
    }
}
