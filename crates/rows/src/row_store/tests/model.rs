//! Random histories of one thread against a model that has all versions of every row.

use std::cell::RefCell;
use std::collections::BTreeMap;

use fastrand::Rng;
use tempfile::TempDir;

use super::cold_files::{Changes, ColdFiles, Flush, RowKey, TABLES, all_pending, check_index, random_changes};
use super::*;
use crate::random::for_seeds;
use crate::storage::rocks::{RocksOptions, RocksStorage};

/// Where the store is.
pub(super) enum Place {
    Memory(MemoryDisk),
    Rocks(TempDir),
}

impl Place {
    pub(super) fn rocks() -> Self {
        Self::Rocks(tempfile::tempdir().unwrap())
    }

    pub(super) fn open(&self) -> RowStore {
        match self {
            Self::Memory(disk) => open_in(disk),
            Self::Rocks(dir) => open(RocksStorage::open(&dir.path().join(FOLDER), &RocksOptions::default()).unwrap()),
        }
    }

    /// What was not synced is lost, where that can be had.
    pub(super) fn lose_power(&self) {
        if let Self::Memory(disk) = self {
            disk.lose_power();
        }
    }

    fn fail_next_sync(&self) {
        if let Self::Memory(disk) = self {
            disk.fail_next_sync(Path::new(FOLDER));
        }
    }
}

struct World {
    place: Place,
    store: Option<RowStore>,
    /// The versions of each row, oldest first.
    versions: BTreeMap<RowKey, Vec<(SeqId, Option<i64>)>>,
    cold: ColdFiles,
    next_value: i64,
    last: SeqId,
    snapshots: Vec<RowSnapshot>,
    flush: Option<Flush>,
    counts: Counts,
}

/// What happened, so that the histories are known to meet it.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    committed: u64,
    conflicts: u64,
    cold_changed: u64,
    unknown: u64,
    /// Rows put or deleted over cold ones.
    over_cold: u64,
    /// Rows that changed while they were flushed.
    changed_in_flush: u64,
    collected: u64,
}

impl World {
    fn new(place: Place) -> Self {
        let store = Some(place.open());
        let (versions, cold, next_value, last, snapshots, flush, counts) = Default::default();
        Self { place, store, versions, cold, next_value, last, snapshots, flush, counts }
    }

    fn store(&self) -> &RowStore {
        self.store.as_ref().unwrap()
    }

    fn snapshot(&self) -> RowSnapshot {
        self.store().snapshot().unwrap()
    }

    /// The newest version of a row up to a commit: its `_seq` and value.
    fn version_at(&self, row: RowKey, at: SeqId) -> Option<(SeqId, Option<i64>)> {
        self.versions.get(&row)?.iter().rev().find(|(seq, _)| *seq <= at).copied()
    }

    fn rows_at(&self, table_number: u128, at: SeqId) -> BTreeMap<RowKey, i64> {
        let rows = self.versions.keys().filter(|row| row.table == table_number);
        rows.filter_map(|row| Some((*row, self.version_at(*row, at)?.1?))).collect()
    }

    fn check(&self, rng: &mut Rng, at: &RowSnapshot) {
        let row = RowKey::random(rng);
        let direction = if rng.bool() { Direction::Forward } else { Direction::Backward };
        let want = self.rows_at(row.table, at.seq());
        assert_eq!(self.cold.read(at, row.table, direction), want, "table {} at {}", row.table, at.seq());
        // A point read is the newest version, unless it was collected, which is not after the cut.
        let found = at.get(row.table(), &row.scope(), &key(row.id)).unwrap();
        let cut = at.cold(row.table()).cut;
        match (self.version_at(row, at.seq()), found) {
            (Some((seq, value)), Some(found)) if found.seq > cut || seq == found.seq => {
                assert_eq!((seq, value), (found.seq, (!found.is_deleted).then(|| value_of(&found.tuple))));
            }
            (want, found) => {
                assert!(want.is_none_or(|(seq, _)| seq <= cut), "{want:?} {found:?}, cut {cut}");
                assert!(found.is_none_or(|found| found.seq <= cut));
            }
        }
    }

    /// Commits random changes, prepared at a snapshot that may be an old one.
    fn commit(&mut self, rng: &mut Rng) {
        let held = self.snapshots.len();
        let old = (held > 0 && rng.u8(..3) == 0).then(|| rng.usize(..held));
        let at = match old {
            Some(n) => self.snapshots.swap_remove(n),
            None => self.snapshot(),
        };
        let changes = random_changes(rng, &mut self.next_value);
        let outcome = self.try_commit(&at, &at, &changes);
        let now = self.snapshot();
        let generation = |at: &RowSnapshot, row: &RowKey| at.cold(row.table()).generation;
        let is_cold_changed = changes.keys().any(|row| generation(&at, row) != generation(&now, row));
        assert_eq!(matches!(outcome, CommitOutcome::ColdChanged(_)), is_cold_changed);
        let outcome = if is_cold_changed { self.try_commit(&at, &now, &changes) } else { outcome };
        self.counts.cold_changed += u64::from(is_cold_changed);
        let newer = |row: &RowKey| self.version_at(*row, SeqId::MAX).filter(|(seq, _)| *seq > at.seq());
        match outcome {
            CommitOutcome::Committed(seq) => {
                assert!(changes.keys().all(|row| newer(row).is_none()), "a lost update at {}", at.seq());
                self.accept(seq, changes);
            }
            CommitOutcome::Conflict(RowConflict { table, scope, primary_key, seq }) => {
                let row = RowKey::new(table, &scope, &primary_key);
                assert!(changes.contains_key(&row));
                assert_eq!(newer(&row).map(|(seq, _)| seq), seq);
                self.counts.conflicts += 1;
            }
            CommitOutcome::Unknown(_) => {
                self.counts.unknown += 1;
                assert_eq!(now.seq(), self.last);
                drop((at, now));
                self.reopen(rng, Some(changes));
            }
            other => panic!("{other:?}"),
        }
    }

    fn try_commit(&mut self, at: &RowSnapshot, cold: &RowSnapshot, changes: &Changes) -> CommitOutcome {
        let (request, over_cold) = self.cold.request(at, cold, changes);
        self.counts.over_cold += over_cold;
        self.store().commit(request).unwrap()
    }

    fn accept(&mut self, seq: SeqId, changes: Changes) {
        assert!(seq > self.last, "{seq} after {}", self.last);
        self.counts.committed += 1;
        self.last = seq;
        for (row, value) in changes {
            self.versions.entry(row).or_default().push((seq, value));
        }
    }

    /// Opens the store again, after a power failure or not. The changes of an unknown outcome are there or not.
    fn reopen(&mut self, rng: &mut Rng, unknown: Option<Changes>) {
        let before = all_pending(&self.snapshot());
        self.snapshots.clear();
        self.flush = None;
        if rng.bool() {
            self.store().close().unwrap();
        }
        self.store = None;
        if rng.bool() {
            self.place.lose_power();
        }
        self.store = Some(self.place.open());
        let at = self.snapshot();
        match unknown {
            Some(changes) if at.seq() > self.last => self.accept(at.seq(), changes),
            _ => {
                assert_eq!(at.seq(), self.last);
                assert_eq!(all_pending(&at), before);
            }
        }
        // Of a flush that was not published.
        for intent in self.store().intents().unwrap() {
            delete_intent(self.store(), intent.id);
        }
    }

    fn step(&mut self, rng: &mut Rng) {
        match rng.u8(..24) {
            0..10 => self.commit(rng),
            10..13 => self.snapshots.push(self.snapshot()),
            13 if !self.snapshots.is_empty() => drop(self.snapshots.swap_remove(rng.usize(..self.snapshots.len()))),
            14..18 => match self.flush.take() {
                None => self.flush = Some(self.cold.begin_flush(rng, self.store())),
                Some(flush) => self.counts.changed_in_flush += self.cold.publish(self.store(), flush),
            },
            18..20 => {
                let upto = if rng.bool() { SeqId::MAX } else { self.snapshot().cold(table(0)).cut };
                self.counts.collected += self.store().collect(table(rng.u128(..TABLES)), upto).unwrap().versions;
            }
            20 if rng.bool() => self.reopen(rng, None),
            21 if rng.u8(..3) == 0 => {
                let unknown = self.counts.unknown;
                self.place.fail_next_sync();
                self.commit(rng);
                // A conflict syncs nothing, and another call would fail instead.
                if self.counts.unknown == unknown {
                    self.reopen(rng, None);
                }
            }
            _ => (),
        }
        self.check(rng, &self.snapshot());
        if !self.snapshots.is_empty() {
            let any = rng.usize(..self.snapshots.len());
            self.check(rng, &self.snapshots[any]);
        }
    }
}

/// Runs histories of this many steps; returns what happened in each of them.
fn check_histories(seeds: u64, steps: usize, place: impl Fn() -> Place) -> Vec<Counts> {
    let counts = RefCell::new(Vec::new());
    for_seeds(seeds, |rng| {
        let mut world = World::new(place());
        for _ in 0..steps {
            world.step(rng);
        }
        for at in &world.snapshots {
            world.check(rng, at);
        }
        check_index(world.store());
        counts.borrow_mut().push(world.counts);
    });
    counts.into_inner()
}

#[test]
fn every_snapshot_reads_what_the_model_has_at_its_commit_at_any_later_time() {
    let counts = check_histories(500, 150, || Place::Memory(MemoryDisk::new()));
    let of: [fn(&Counts) -> u64; 7] = [
        |counts| counts.committed,
        |counts| counts.conflicts,
        |counts| counts.cold_changed,
        |counts| counts.unknown,
        |counts| counts.over_cold,
        |counts| counts.changed_in_flush,
        |counts| counts.collected,
    ];
    for of in of {
        let met = counts.iter().map(of).sum::<u64>();
        assert!(met >= counts.len() as u64 || counts.len() == 1, "{counts:?}");
    }
}

#[test]
fn histories_over_rocksdb_read_what_the_model_has() {
    check_histories(4, 150, Place::rocks);
}
