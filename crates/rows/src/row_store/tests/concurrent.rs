//! Many threads at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use parking_lot::Mutex;

use super::cold_files::{Changes, ColdFiles, RowKey, TABLES, all_pending, check_index, random_changes};
use super::instrumented::{eventually, wait_for_waiting};
use super::model::Place;
use super::*;
use crate::random::for_seeds;

fn instrumented() -> (Instrumented, RowStore) {
    let storage = Instrumented::new(MemoryDisk::new().open(Path::new(FOLDER)).unwrap());
    (storage.clone(), open(storage))
}

/// Adds 1 to a row, as often as it takes.
fn increment(store: &RowStore, id: i64) -> SeqId {
    loop {
        let at = store.snapshot().unwrap();
        let next = value(&at, id).unwrap_or(0) + 1;
        match store.commit(puts(&at, &[(id, next)])).unwrap() {
            CommitOutcome::Committed(seq) => return seq,
            CommitOutcome::Conflict(conflict) => assert!(conflict.seq > Some(at.seq())),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn threads_that_increment_one_row_lose_no_update() {
    const THREADS: i64 = 6;
    const EACH: i64 = 60;
    let store = &open_in(&MemoryDisk::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let seqs: Vec<_> = (0..EACH).map(|_| increment(store, 1)).collect();
                assert!(seqs.is_sorted());
            });
        }
    });
    assert_eq!(value(&store.snapshot().unwrap(), 1), Some(THREADS * EACH));
}

#[test]
fn commits_that_wait_during_a_sync_share_the_next() {
    let (storage, store) = instrumented();
    let at = store.snapshot().unwrap();
    let before = storage.syncs();
    let outcomes = storage.in_one_group(&store, (0..40).map(|id| puts(&at, &[(id, id)])));
    let mut seqs: Vec<_> = outcomes.into_iter().map(committed).collect();
    assert_eq!(storage.syncs() - before, 2, "one before, and one of all that waited");
    seqs.sort();
    seqs.dedup();
    assert_eq!(seqs.len(), 40);
    assert_eq!(scanned(&store.snapshot().unwrap(), VersionScan::default()).len(), 40);
}

#[test]
fn a_commit_is_not_visible_before_it_is_synced_and_readers_do_not_wait() {
    let (storage, store) = instrumented();
    let store = &store;
    let last = commit(store, &[(1, 1)]);
    std::thread::scope(|scope| {
        let held = storage.hold();
        let writer = scope.spawn(|| commit(store, &[(1, 2)]));
        storage.wait_for_held();
        let at = store.snapshot().unwrap();
        // The storage has it.
        assert_eq!((at.seq(), value(&at, 1)), (last, Some(1)));
        assert_eq!(scanned(&at, VersionScan::default()), [(1, Some(1))]);
        drop(held);
        let seq = writer.join().unwrap();
        let after = store.snapshot().unwrap();
        assert_eq!((after.seq(), value(&after, 1)), (seq, Some(2)));
        assert_eq!(value(&at, 1), Some(1));
    });
}

#[test]
fn exclusive_work_runs_between_two_groups_while_commits_wait() {
    let (storage, store) = instrumented();
    let store = &store;
    let cut = commit(store, &[(1, 1)]);
    std::thread::scope(|scope| {
        let before = store.snapshot().unwrap();
        let waiting = store
            .exclusive(|x| {
                let waiting = scope.spawn(|| store.commit(puts(&store.snapshot().unwrap(), &[(2, 2)])));
                // The writer thread has taken it, and waits for its turn.
                std::thread::sleep(Duration::from_millis(20));
                assert_eq!(x.snapshot()?.seq(), cut);
                let (published, removed_files, superseded) = (vec![], vec![], vec![]);
                x.swap(&ColdSwap { table: table(1), cut, published, removed_files, superseded })?;
                assert_eq!(store.snapshot()?.cold(table(1)).generation, 0, "not published yet");
                Ok(waiting)
            })
            .unwrap();
        // Prepared before the swap, checked after it.
        assert!(matches!(waiting.join().unwrap(), Ok(CommitOutcome::ColdChanged(_))));
        assert_eq!(before.cold(table(1)).generation, 0);
    });
    assert_eq!(storage.syncs(), 3, "of a new store, a commit and a swap");
}

#[test]
fn closing_waits_for_the_group_in_progress_and_refuses_the_rest() {
    let (storage, store) = instrumented();
    let store = &store;
    std::thread::scope(|scope| {
        let held = storage.hold();
        let at = store.snapshot().unwrap();
        let first = scope.spawn({
            let request = puts(&at, &[(0, 0)]);
            move || store.commit(request)
        });
        storage.wait_for_held();
        let rest: Vec<_> = (1..5)
            .map(|id| {
                let request = puts(&at, &[(id, 0)]);
                scope.spawn(move || store.commit(request))
            })
            .collect();
        wait_for_waiting(store, 4);
        let closing = scope.spawn(|| store.close());
        // Refused from now on; the sync is still in progress.
        eventually(|| store.sequencer.state.check_writable().is_err());
        assert!(!first.is_finished() && !closing.is_finished());
        drop(held);
        committed(first.join().unwrap());
        for refused in rest {
            let error = refused.join().unwrap().unwrap_err();
            assert_eq!(error.to_string(), "the row store is closed: open it again");
        }
        closing.join().unwrap().unwrap();
        assert_eq!(scanned(&store.snapshot().unwrap(), VersionScan::default()), [(0, Some(0))]);
    });
}

#[test]
fn a_panic_of_the_writer_thread_answers_everyone_who_waits() {
    let (storage, store) = instrumented();
    let store = &store;
    commit(store, &[(0, 0)]);
    let at = store.snapshot().unwrap();
    std::thread::scope(|scope| {
        let held = storage.hold();
        let first = scope.spawn({
            let request = puts(&at, &[(0, 1)]);
            move || store.commit(request)
        });
        storage.wait_for_held();
        let rest: Vec<_> = (1..5)
            .map(|id| {
                let request = puts(&at, &[(id, 0)]);
                scope.spawn(move || store.commit(request))
            })
            .collect();
        wait_for_waiting(store, 4);
        storage.panic_once();
        drop(held);
        committed(first.join().unwrap());
        for unknown in rest {
            let outcome = unknown.join().unwrap();
            let Ok(CommitOutcome::Unknown(error)) = outcome else { panic!("{outcome:?}") };
            one_of_each(&error, &["not known", "writer thread panicked"]);
        }
    });
    let refused = loop {
        // The thread may be about to end.
        match store.commit(puts(&at, &[(9, 9)])) {
            Ok(CommitOutcome::Unknown(_)) => continue,
            other => break other.unwrap_err(),
        }
    };
    one_of_each(&refused, &["read-only", "writer thread panicked"]);
    assert!(store.exclusive(|_| Ok(())).is_err());
    assert_eq!(value(&store.snapshot().unwrap(), 0), Some(1));
    one_of_each(&store.close().unwrap_err(), &["writer thread panicked"]);
}

#[test]
fn who_waits_for_a_turn_is_not_overtaken_by_the_next_group() {
    let (storage, store) = instrumented();
    let store = &store;
    std::thread::scope(|scope| {
        let held = storage.hold();
        let first = scope.spawn(|| commit(store, &[(1, 1)]));
        storage.wait_for_held();
        let second = scope.spawn(|| commit(store, &[(2, 2)]));
        wait_for_waiting(store, 1);
        let exclusive = scope.spawn(|| store.exclusive(|x| Ok(x.snapshot()?.seq())));
        // The group in progress is held for longer than it takes to wait for its turn.
        std::thread::sleep(Duration::from_millis(30));
        drop(held);
        assert_eq!(exclusive.join().unwrap().unwrap(), first.join().unwrap());
        second.join().unwrap();
    });
}

#[test]
fn a_commit_that_cannot_be_checked_fails_alone() {
    let (storage, store) = instrumented();
    let at = store.snapshot().unwrap();
    storage.fail_next_read();
    let outcomes = storage.in_one_group(&store, (0..3).map(|id| puts(&at, &[(id, id)])));
    let failed: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(matches!(failed[..], [error] if error.to_string() == "on purpose"), "{outcomes:?}");
    assert_eq!(scanned(&store.snapshot().unwrap(), VersionScan::default()).len(), 2);
    commit(&store, &[(9, 9)]);
}

/// What the threads of a history saw and did.
#[derive(Default)]
struct Log {
    committed: BTreeMap<SeqId, Changes>,
    /// The rows of a table at a commit.
    read: Vec<(SeqId, u128, BTreeMap<RowKey, i64>)>,
    conflicts: u64,
    cold_changed: u64,
    changed_in_flush: u64,
    collected: u64,
}

/// Threads of one store.
struct Threads<'a> {
    store: &'a RowStore,
    cold: &'a ColdFiles,
    log: &'a Mutex<Log>,
    committing: &'a AtomicUsize,
}

impl Threads<'_> {
    /// Commits until this many are acknowledged.
    fn commit(&self, rng: &mut Rng, mut next_value: i64) {
        let mut rest = 30;
        while rest > 0 {
            let at = self.store.snapshot().unwrap();
            let changes = random_changes(rng, &mut next_value);
            let mut outcome = self.store.commit(self.cold.request(&at, &at, &changes).0).unwrap();
            while let CommitOutcome::ColdChanged(_) = outcome {
                self.log.lock().cold_changed += 1;
                let now = self.store.snapshot().unwrap();
                outcome = self.store.commit(self.cold.request(&at, &now, &changes).0).unwrap();
            }
            match outcome {
                CommitOutcome::Committed(seq) => {
                    rest -= 1;
                    assert!(self.store.snapshot().unwrap().seq() >= seq, "an acknowledged commit is not visible");
                    self.log.lock().committed.insert(seq, changes);
                }
                CommitOutcome::Conflict(_) => self.log.lock().conflicts += 1,
                other => panic!("{other:?}"),
            }
        }
        self.committing.fetch_sub(1, Ordering::Relaxed);
    }

    fn read(&self, rng: &mut Rng) {
        let mut held = Vec::new();
        let mut last = SeqId::ZERO;
        while self.committing.load(Ordering::Relaxed) > 0 {
            let newest = self.store.snapshot().unwrap();
            assert!(newest.seq() >= last, "the watermark goes back");
            last = newest.seq();
            held.push(newest);
            if held.len() > 5 {
                let at = held.swap_remove(rng.usize(..held.len()));
                let table_number = rng.u128(..TABLES);
                let direction = if rng.bool() { Direction::Forward } else { Direction::Backward };
                let rows = self.cold.read(&at, table_number, direction);
                self.log.lock().read.push((at.seq(), table_number, rows));
            }
        }
    }

    fn flush_and_collect(&self, rng: &mut Rng) {
        while self.committing.load(Ordering::Relaxed) > 0 {
            let flush = self.cold.begin_flush(rng, self.store);
            std::thread::yield_now();
            let changed = self.cold.publish(self.store, flush);
            let collected = self.store.collect(table(rng.u128(..TABLES)), SeqId::MAX).unwrap().versions;
            let mut log = self.log.lock();
            log.changed_in_flush += changed;
            log.collected += collected;
        }
    }
}

/// Runs committers, readers and a flusher, opens the store again, and so on; then compares what was read with what was
/// acknowledged.
fn check_threads(rng: &mut Rng, place: &Place) -> Log {
    const COMMITTERS: usize = 3;
    let (cold, log) = (ColdFiles::default(), Mutex::new(Log::default()));
    for round in 0..3 {
        let store = place.open();
        let at = store.snapshot().unwrap();
        for n in 0..TABLES {
            log.lock().read.push((at.seq(), n, cold.read(&at, n, Direction::Forward)));
        }
        drop(at);
        let committing = AtomicUsize::new(COMMITTERS);
        let threads = &Threads { store: &store, cold: &cold, log: &log, committing: &committing };
        std::thread::scope(|scope| {
            let mut spawn = |work: Box<dyn FnOnce(&mut Rng) + Send>| {
                let mut rng = Rng::with_seed(rng.u64(..));
                scope.spawn(move || work(&mut rng));
            };
            for n in 0..COMMITTERS as i64 {
                spawn(Box::new(move |rng| threads.commit(rng, (round * 10 + n) * 10_000)));
            }
            spawn(Box::new(|rng| threads.read(rng)));
            spawn(Box::new(|rng| threads.read(rng)));
            spawn(Box::new(|rng| threads.flush_and_collect(rng)));
        });
        check_index(&store);
        let pending = all_pending(&store.snapshot().unwrap());
        drop(store);
        if rng.bool() {
            place.lose_power();
        }
        assert_eq!(all_pending(&place.open().snapshot().unwrap()), pending);
    }
    let log = log.into_inner();
    for (at, table_number, rows) in &log.read {
        let mut want = BTreeMap::new();
        let changes = log.committed.range(..=at).flat_map(|(_, changes)| changes);
        for (row, value) in changes.filter(|(row, _)| row.table == *table_number) {
            match value {
                Some(value) => want.insert(*row, *value),
                None => want.remove(row),
            };
        }
        assert_eq!(*rows, want, "table {table_number} at {at}");
    }
    log
}

#[test]
fn snapshots_have_every_commit_up_to_theirs_and_none_after_it_while_threads_commit_and_flush() {
    let met = Mutex::new([0; 4]);
    for_seeds(12, |rng| {
        let log = check_threads(rng, &Place::Memory(MemoryDisk::new()));
        let counts = [log.conflicts, log.cold_changed, log.changed_in_flush, log.collected];
        met.lock().iter_mut().zip(counts).for_each(|(met, count)| *met += count);
    });
    assert!(met.lock().iter().all(|met| *met > 0), "{met:?}");
}

#[test]
fn threads_over_rocksdb_see_the_same() {
    for_seeds(1, |rng| drop(check_threads(rng, &Place::rocks())));
}
