//! The state shared by the tasks of one process, so that they publish a table one after the other, once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use deltalakedb_log::{Lease, Location, TableEntry, TableId, Version};
use parking_lot::Mutex;

use crate::checksum::VersionChecksum;

/// The maximum pause between two due checkpoints.
const LONGEST_PAUSE_MS: i64 = 60_000;
/// The maximum number of tables with an entry.
pub(crate) const REMEMBERED: usize = 256;

/// The publishing state of a process.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) tables: Mutex<HashMap<TableId, Arc<Turns>>>,
    pub(crate) unsettled: Mutex<HashMap<TableId, Unsettled>>,
    /// Whether a task is about to settle.
    pub(crate) settles_soon: AtomicBool,
    /// Tables whose log was found empty, and the message about it.
    pub(crate) lost: Mutex<BTreeMap<TableId, String>>,
    /// Locations whose stores are known to refuse overwriting.
    pub(crate) proven: Mutex<HashSet<Location>>,
    /// Leases of tasks that were stopped.
    pub(crate) abandoned: Arc<Mutex<Vec<Lease>>>,
}

/// Versions of a table that are put and not synced.
#[derive(Clone, Debug)]
pub(crate) struct Unsettled {
    pub(crate) folder: PathBuf,
    pub(crate) from: Version,
    pub(crate) to: Version,
}

/// The turns of the tasks that work on one table, in the order of their requests.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Held while the table's commits are published.
    pub(crate) publishing: tokio::sync::Mutex<PublishState>,
    /// Held by the task that has or requests the lease for publishing the table: tasks of one process wait for each
    /// other here, without polling. A publisher takes it after `publishing`.
    pub(crate) lease: tokio::sync::Mutex<()>,
    /// Held while a due checkpoint is written; the time of the last one.
    pub(crate) checkpoint: tokio::sync::Mutex<Option<LastCheckpoint>>,
    /// Number of times a publisher checked for unpublished versions.
    checks: AtomicU64,
}

/// The time when the last due checkpoint was written, in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastCheckpoint {
    pub(crate) begun: i64,
    pub(crate) ended: i64,
}

impl LastCheckpoint {
    /// The end of the pause after it, chosen so that checkpoints take at most a tenth of the time.
    pub(crate) fn pause_until(self) -> i64 {
        self.ended + (9 * (self.ended - self.begun)).clamp(0, LONGEST_PAUSE_MS)
    }
}

impl Turns {
    /// Whether other tasks work on the table now.
    pub(crate) fn have_others(self: &Arc<Self>) -> bool {
        // One reference is in the map, one is the caller's.
        Arc::strong_count(self) > 2
    }

    /// The number of checks so far.
    pub(crate) fn checks(&self) -> u64 {
        self.checks.load(Ordering::SeqCst)
    }

    /// The number of a check that starts now.
    pub(crate) fn check(&self) -> u64 {
        self.checks.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// The publishing state of a table.
#[derive(Debug, Default)]
pub(crate) struct PublishState {
    /// The newest version published here.
    pub(crate) last_checksum: Option<VersionChecksum>,
    /// Whether earlier published versions were checked.
    pub(crate) has_checked_last_published: bool,
    /// The number of the last check after which all versions that it found were published, and the entry that it read.
    published: Option<(u64, TableEntry)>,
}

impl PublishState {
    /// Records that all versions found by a check are published.
    pub(crate) fn note_published(&mut self, check: u64, entry: TableEntry) {
        self.published = Some((check, entry));
    }

    /// The entry read by a check that started after this number of checks, if all its versions are published.
    pub(crate) fn published_since(&self, checks: u64) -> Option<TableEntry> {
        self.published.as_ref().filter(|(check, _)| *check > checks).map(|(_, entry)| entry.clone())
    }
}
