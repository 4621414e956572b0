//! A storage that counts the calls, and whose writes can be held.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deltalakedb_log::{Result, TxnLogError};
use parking_lot::{Condvar, Mutex};

use crate::row_store::{CommitOutcome, CommitRequest, RowStore};
use crate::storage::{Batch, Cursor, Direction, Entry, Family, KeyRange, Snapshot, Storage, WalSync};

/// Clones are the same storage.
#[derive(Clone)]
pub(super) struct Instrumented(Arc<Inner>);

struct Inner {
    storage: Box<dyn Storage>,
    /// Calls of `next` and `seek`.
    steps: Arc<AtomicU64>,
    writes: AtomicU64,
    syncs: AtomicU64,
    longest_unsynced: AtomicU64,
    read_fails: Arc<AtomicBool>,
    panics: AtomicBool,
    hold: Mutex<Hold>,
    changed: Condvar,
}

#[derive(Default)]
struct Hold {
    is_set: bool,
    /// The writes that wait.
    held: usize,
}

/// Also a test that panics lets its threads end.
#[must_use]
pub(super) struct HeldWrites<'a>(&'a Inner);

impl Drop for HeldWrites<'_> {
    fn drop(&mut self) {
        self.0.hold.lock().is_set = false;
        self.0.changed.notify_all();
    }
}

impl Instrumented {
    pub(super) fn new(storage: impl Storage + 'static) -> Self {
        let (steps, writes, syncs, longest_unsynced, read_fails, panics, hold, changed) = Default::default();
        Self(Arc::new(Inner {
            storage: Box::new(storage),
            steps,
            writes,
            syncs,
            longest_unsynced,
            read_fails,
            panics,
            hold,
            changed,
        }))
    }

    pub(super) fn steps(&self) -> u64 {
        self.0.steps.load(Ordering::Relaxed)
    }

    pub(super) fn writes(&self) -> u64 {
        self.0.writes.load(Ordering::Relaxed)
    }

    pub(super) fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::Relaxed)
    }

    pub(super) fn longest_unsynced(&self) -> u64 {
        self.0.longest_unsynced.load(Ordering::Relaxed)
    }

    /// Holds writes until the guard is dropped: they are stored, but do not return.
    pub(super) fn hold(&self) -> HeldWrites<'_> {
        self.0.hold.lock().is_set = true;
        HeldWrites(&self.0)
    }

    /// The next step of a cursor fails.
    pub(super) fn fail_next_read(&self) {
        self.0.read_fails.store(true, Ordering::Relaxed);
    }

    /// The next write panics.
    pub(super) fn panic_once(&self) {
        self.0.panics.store(true, Ordering::Relaxed);
    }

    /// Waits until a write is held.
    pub(super) fn wait_for_held(&self) {
        self.0.changed.wait_while(&mut self.0.hold.lock(), |hold| hold.held == 0);
    }

    /// The outcomes of requests that are committed in one group.
    pub(super) fn in_one_group(
        &self,
        store: &RowStore,
        requests: impl IntoIterator<Item = CommitRequest>,
    ) -> Vec<Result<CommitOutcome>> {
        self.in_one_group_with(store, requests, || ())
    }

    /// Like [`Self::in_one_group`], with `prepare` called before the group is written.
    pub(super) fn in_one_group_with(
        &self,
        store: &RowStore,
        requests: impl IntoIterator<Item = CommitRequest>,
        prepare: impl FnOnce(),
    ) -> Vec<Result<CommitOutcome>> {
        std::thread::scope(|scope| {
            let held = self.hold();
            let at = store.snapshot().unwrap().seq();
            let first = scope.spawn(move || store.commit(CommitRequest::at(at)));
            self.wait_for_held();
            let waiting: Vec<_> =
                requests.into_iter().map(|request| scope.spawn(move || store.commit(request))).collect();
            wait_for_waiting(store, waiting.len());
            prepare();
            drop(held);
            let first = first.join().unwrap().unwrap();
            assert!(matches!(first, CommitOutcome::Committed(_)));
            waiting.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }
}

/// Waits until this number of commits wait for the writer thread.
pub(super) fn wait_for_waiting(store: &RowStore, count: usize) {
    eventually(|| store.sequencer.waiting() >= count);
}

/// Waits until something is so.
pub(super) fn eventually(is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(20), "it does not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Storage for Instrumented {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(CountedSnapshot {
            snapshot: self.0.storage.snapshot()?,
            steps: Arc::clone(&self.0.steps),
            read_fails: Arc::clone(&self.0.read_fails),
        }))
    }

    fn write(&self, batch: Batch, sync: WalSync) -> Result<()> {
        assert!(!self.0.panics.swap(false, Ordering::Relaxed), "on purpose");
        self.0.writes.fetch_add(1, Ordering::Relaxed);
        match sync {
            WalSync::Now => self.0.syncs.fetch_add(1, Ordering::Relaxed),
            WalSync::Later => self.0.longest_unsynced.fetch_max(batch.len() as u64, Ordering::Relaxed),
        };
        let written = self.0.storage.write(batch, sync);
        let mut hold = self.0.hold.lock();
        if hold.is_set {
            hold.held += 1;
            self.0.changed.notify_all();
            self.0.changed.wait_while(&mut hold, |hold| hold.is_set);
            hold.held -= 1;
        }
        written
    }

    fn sync(&self) -> Result<()> {
        self.0.storage.sync()
    }

    fn checkpoint(&self, folder: &Path) -> Result<()> {
        self.0.storage.checkpoint(folder)
    }

    fn close(&self) -> Result<()> {
        self.0.storage.close()
    }
}

struct CountedSnapshot {
    snapshot: Box<dyn Snapshot>,
    steps: Arc<AtomicU64>,
    read_fails: Arc<AtomicBool>,
}

impl Snapshot for CountedSnapshot {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.snapshot.get(family, key)
    }

    fn scan(&self, family: Family, range: &KeyRange, direction: Direction) -> Result<Box<dyn Cursor + '_>> {
        Ok(Box::new(CountedCursor { cursor: self.snapshot.scan(family, range, direction)?, snapshot: self }))
    }
}

struct CountedCursor<'a> {
    cursor: Box<dyn Cursor + 'a>,
    snapshot: &'a CountedSnapshot,
}

impl Cursor for CountedCursor<'_> {
    fn next(&mut self) -> Result<Option<Entry<'_>>> {
        self.snapshot.steps.fetch_add(1, Ordering::Relaxed);
        if self.snapshot.read_fails.swap(false, Ordering::Relaxed) {
            return Err(TxnLogError::invalid("on purpose"));
        }
        self.cursor.next()
    }

    fn seek(&mut self, key: &[u8]) {
        self.snapshot.steps.fetch_add(1, Ordering::Relaxed);
        self.cursor.seek(key);
    }
}
