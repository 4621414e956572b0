//! Many threads at once.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use parking_lot::Mutex;

use super::*;
use crate::random::for_seeds;
use instrumented::wait_for_waiting;

/// A snapshot's `_seq` and rows.
type Read = (SeqId, Vec<(i64, Option<i64>)>);

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
    storage.hold();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| commit(store, &[(1, 2)]));
        storage.wait_for_held();
        let at = store.snapshot().unwrap();
        assert_eq!((at.seq(), value(&at, 1)), (last, Some(1)));
        storage.release();
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
    storage.hold();
    std::thread::scope(|scope| {
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
        while store.sequencer.state.check_writable().is_ok() {
            std::thread::yield_now();
        }
        assert!(!first.is_finished() && !closing.is_finished());
        storage.release();
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
    storage.hold();
    std::thread::scope(|scope| {
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
        storage.release();
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
fn snapshots_have_every_commit_up_to_theirs_and_none_after_it() {
    for_seeds(8, |rng| {
        let store = &open_in(&MemoryDisk::new());
        let log: &Mutex<BTreeMap<SeqId, Vec<(i64, i64)>>> = &Mutex::default();
        let seen: &Mutex<Vec<Read>> = &Mutex::default();
        let (end, begin) = (&AtomicBool::new(false), &Barrier::new(6));
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..3)
                .map(|n| {
                    let mut rng = Rng::with_seed(rng.u64(..));
                    scope.spawn(move || {
                        begin.wait();
                        for step in 0..60 {
                            let at = store.snapshot().unwrap();
                            let mut rows: BTreeMap<_, _> = (0..rng.i64(1..4)).map(|_| (rng.i64(0..20), 0)).collect();
                            rows.values_mut().for_each(|value| *value = n * 1000 + step);
                            let rows: Vec<_> = rows.into_iter().collect();
                            // Kept or not, and of any age when the commit is checked.
                            let request = puts(&at, &rows);
                            if let CommitOutcome::Committed(seq) = store.commit(request).unwrap() {
                                assert!(store.snapshot().unwrap().seq() >= seq, "read your writes");
                                log.lock().insert(seq, rows);
                            }
                        }
                    })
                })
                .collect();
            for _ in 0..2 {
                let mut rng = Rng::with_seed(rng.u64(..));
                scope.spawn(move || {
                    begin.wait();
                    let mut held = Vec::new();
                    let mut last = SeqId::ZERO;
                    while !end.load(Ordering::Relaxed) {
                        held.push(store.snapshot().unwrap());
                        let newest = held[held.len() - 1].seq();
                        assert!(newest >= last, "the watermark goes back");
                        last = newest;
                        let at = if held.len() > 5 { held.swap_remove(rng.usize(..held.len())) } else { continue };
                        let direction = if rng.bool() { Direction::Forward } else { Direction::Backward };
                        let mut rows = scanned(&at, VersionScan { direction, ..VersionScan::default() });
                        rows.sort();
                        seen.lock().push((at.seq(), rows));
                    }
                });
            }
            begin.wait();
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            end.store(true, Ordering::Relaxed);
        });
        let log = std::mem::take(&mut *log.lock());
        assert!(log.len() > 60);
        for (at, rows) in &*seen.lock() {
            let mut want = BTreeMap::new();
            log.range(..=at).for_each(|(_, rows)| want.extend(rows.iter().map(|(id, value)| (*id, Some(*value)))));
            assert_eq!(*rows, want.into_iter().collect::<Vec<_>>(), "at {at}");
        }
    });
}
