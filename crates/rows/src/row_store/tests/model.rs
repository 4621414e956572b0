//! Random histories against a model: the versions of every row, and the cold rows as an engine would keep them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use fastrand::Rng;
use roaring::RoaringBitmap;
use tempfile::TempDir;

use super::*;
use crate::random::for_seeds;
use crate::storage::rocks::{RocksOptions, RocksStorage};

const TABLES: u128 = 2;
const IDS: i64 = 8;

/// A row: its table, the number of its scope, its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RowKey {
    table: u128,
    scope: u8,
    id: i64,
}

impl RowKey {
    fn random(rng: &mut Rng) -> Self {
        Self { table: rng.u128(..TABLES), scope: rng.u8(..2), id: rng.i64(0..IDS) }
    }

    fn scope(&self) -> Scope<'static> {
        if self.scope == 0 { Scope::Table } else { Scope::User("u\0x".into()) }
    }

    fn of(hot: &HotKey<'_>) -> Self {
        Self { table: hot.table.0.as_u128(), scope: (hot.scope != Scope::Table).into(), id: id_of(hot.primary_key) }
    }
}

/// The rows of a data file in order, and the vector that hides some.
#[derive(Clone, Default)]
struct DataFile {
    rows: Vec<(RowKey, i64)>,
    vector: RoaringBitmap,
}

/// The data files of a cold snapshot.
type Files = BTreeMap<u32, DataFile>;

/// A flush that is not published yet.
struct Flush {
    table: u128,
    at: RowSnapshot,
    files: Files,
    new_file: u32,
    published: Vec<(u32, RoaringBitmap)>,
    removed_files: Vec<u32>,
    intent: Intent,
}

/// Where the store is.
enum Place {
    Memory(MemoryDisk),
    Rocks(TempDir),
}

impl Place {
    fn open(&self) -> RowStore {
        match self {
            Self::Memory(disk) => open_in(disk),
            Self::Rocks(dir) => {
                let folder: PathBuf = dir.path().join(FOLDER);
                open(RocksStorage::open(&folder, &RocksOptions::default()).unwrap())
            }
        }
    }
}

struct World {
    place: Place,
    store: Option<RowStore>,
    /// The versions of each row, oldest first.
    versions: BTreeMap<RowKey, Vec<(SeqId, Option<i64>)>>,
    /// The cold snapshots of each table by generation.
    cold: BTreeMap<(u128, u64), Files>,
    next_file: u32,
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
        let (versions, cold, next_file, next_value, last, snapshots, flush, counts) = Default::default();
        Self { place, store, versions, cold, next_file, next_value, last, snapshots, flush, counts }
    }

    fn store(&self) -> &RowStore {
        self.store.as_ref().unwrap()
    }

    fn snapshot(&self) -> RowSnapshot {
        self.store().snapshot().unwrap()
    }

    fn files(&self, table_number: u128, generation: u64) -> Files {
        self.cold.get(&(table_number, generation)).cloned().unwrap_or_default()
    }

    /// The newest version of a row up to a commit: its `_seq` and value.
    fn version_at(&self, row: RowKey, at: SeqId) -> Option<(SeqId, Option<i64>)> {
        self.versions.get(&row)?.iter().rev().find(|(seq, _)| *seq <= at).copied()
    }

    fn rows_at(&self, table_number: u128, at: SeqId) -> BTreeMap<RowKey, i64> {
        let rows = self.versions.keys().filter(|row| row.table == table_number);
        rows.filter_map(|row| Some((*row, self.version_at(*row, at)?.1?))).collect()
    }

    /// The rows of a table at a snapshot: newest hot versions after the cut, and cold rows that nothing hides.
    fn read(&self, at: &RowSnapshot, table_number: u128, direction: Direction) -> Vec<(RowKey, i64)> {
        let cold = at.cold(table(table_number));
        let scan = VersionScan { after: cold.cut, direction, with_deleted: false };
        let mut cursor = at.scan(ScopeKeys::range_of_table(table(table_number)), scan).unwrap();
        let mut rows = Vec::new();
        while let Some(version) = cursor.next_row().unwrap() {
            rows.push((RowKey::of(&HotKey::parse(version.key).unwrap()), value_of(version.tuple)));
        }
        assert!(rows.is_sorted_by(|a, b| if direction == Direction::Forward { a < b } else { a > b }));
        for (file, DataFile { rows: cold_rows, vector }) in self.files(table_number, cold.generation) {
            let pending = at.pending(table(table_number), file);
            assert_eq!(pending.is_some(), at.pending_files(table(table_number)).contains(&file));
            for (place, row) in cold_rows.iter().enumerate() {
                let place = place as u32;
                if !vector.contains(place) && !pending.as_ref().is_some_and(|pending| pending.contains(place)) {
                    rows.push(*row);
                }
            }
        }
        rows.sort();
        rows
    }

    fn check(&self, rng: &mut Rng, at: &RowSnapshot) {
        let row = RowKey::random(rng);
        let direction = if rng.bool() { Direction::Forward } else { Direction::Backward };
        let want: Vec<_> = self.rows_at(row.table, at.seq()).into_iter().collect();
        assert_eq!(self.read(at, row.table, direction), want, "table {} at {}", row.table, at.seq());
        // A point read is the newest version, unless it was collected, which is not after the cut.
        let found = at.get(table(row.table), &row.scope(), &key(row.id)).unwrap();
        let cut = at.cold(table(row.table)).cut;
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

    /// Where the newest version at `at` is, if it is a cold row. The cold snapshot may be a later one.
    fn cold_position(&self, at: &RowSnapshot, cold: &RowSnapshot, row: RowKey) -> Option<ColdPosition> {
        let version = cold.cold(table(row.table));
        let hot = at.get(table(row.table), &row.scope(), &key(row.id)).unwrap();
        if hot.is_some_and(|hot| hot.seq > version.cut) {
            return None;
        }
        let files = self.files(row.table, version.generation);
        files.iter().find_map(|(file, DataFile { rows, vector })| {
            let pending = cold.pending(table(row.table), *file);
            let hidden = |place| vector.contains(place) || pending.as_ref().is_some_and(|rows| rows.contains(place));
            let place = rows.iter().zip(0..).find(|((found, _), place)| *found == row && !hidden(*place))?.1;
            Some(position(*file, place))
        })
    }

    /// Commits random changes, prepared at a snapshot that may be an old one.
    fn commit(&mut self, rng: &mut Rng, fail: impl FnOnce(&Place)) {
        let held = self.snapshots.len();
        let old = (held > 0 && rng.u8(..3) == 0).then(|| rng.usize(..held));
        let at = match old {
            Some(n) => self.snapshots.swap_remove(n),
            None => self.snapshot(),
        };
        let mut changes = BTreeMap::new();
        for _ in 0..rng.u8(1..4) {
            self.next_value += 1;
            changes.insert(RowKey::random(rng), (rng.u8(..3) > 0).then_some(self.next_value));
        }
        fail(&self.place);
        let outcome = self.try_commit(&at, &at, &changes);
        let generation = |at: &RowSnapshot, row: &RowKey| at.cold(table(row.table)).generation;
        let now = self.snapshot();
        let outcome = match outcome {
            CommitOutcome::ColdChanged(_) => {
                assert!(changes.keys().any(|row| generation(&at, row) != generation(&now, row)));
                self.counts.cold_changed += 1;
                self.try_commit(&at, &now, &changes)
            }
            other => {
                assert!(changes.keys().all(|row| generation(&at, row) == generation(&now, row)));
                other
            }
        };
        let newer = |row: &RowKey| self.version_at(*row, SeqId::MAX).filter(|(seq, _)| *seq > at.seq());
        match outcome {
            CommitOutcome::Committed(seq) => {
                assert!(changes.keys().all(|row| newer(row).is_none()), "a lost update at {}", at.seq());
                self.accept(seq, changes);
            }
            CommitOutcome::Conflict(conflict) => {
                let scope = (conflict.scope != Scope::Table).into();
                let table_number = conflict.table.0.as_u128();
                let row = RowKey { table: table_number, scope, id: id_of(&conflict.primary_key) };
                assert!(newer(&row).is_some() && changes.contains_key(&row), "{conflict:?}");
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

    fn try_commit(
        &mut self,
        at: &RowSnapshot,
        cold: &RowSnapshot,
        changes: &BTreeMap<RowKey, Option<i64>>,
    ) -> CommitOutcome {
        let mut request = CommitRequest::at(at.seq());
        for (row, value) in changes {
            let superseded = self.cold_position(at, cold, *row);
            self.counts.over_cold += u64::from(superseded.is_some());
            let changes = request.table(table(row.table), cold.cold(table(row.table)).generation);
            match value {
                Some(value) => changes.put(&row.scope(), &key(row.id), tuple(*value), superseded).unwrap(),
                None => changes.delete(&row.scope(), &key(row.id), superseded),
            }
        }
        self.store().commit(request).unwrap()
    }

    fn accept(&mut self, seq: SeqId, changes: BTreeMap<RowKey, Option<i64>>) {
        assert!(seq > self.last, "{seq} after {}", self.last);
        self.counts.committed += 1;
        self.last = seq;
        for (row, value) in changes {
            self.versions.entry(row).or_default().push((seq, value));
        }
    }

    /// Opens the store again, after a power failure or not. Says whether the changes of an unknown outcome are there.
    fn reopen(&mut self, rng: &mut Rng, unknown: Option<BTreeMap<RowKey, Option<i64>>>) {
        let pending = |at: &RowSnapshot| -> Vec<_> {
            let of_table = |n| {
                let files = at.pending_files(table(n)).into_iter();
                files.map(move |file| (n, file, at.pending(table(n), file))).collect::<Vec<_>>()
            };
            (0..TABLES).flat_map(of_table).collect()
        };
        let before = pending(&self.snapshot());
        self.snapshots.clear();
        self.flush = None;
        if rng.bool() {
            self.store().close().unwrap();
        }
        self.store = None;
        if let Place::Memory(disk) = &self.place
            && rng.bool()
        {
            disk.lose_power();
        }
        self.store = Some(self.place.open());
        let at = self.snapshot();
        match unknown {
            Some(changes) if at.seq() > self.last => self.accept(at.seq(), changes),
            _ => {
                assert_eq!(at.seq(), self.last);
                assert_eq!(pending(&at), before);
            }
        }
        for intent in self.store().intents().unwrap() {
            delete_intent(self.store(), intent.id);
        }
    }

    fn begin_flush(&mut self, rng: &mut Rng) {
        let intent = Intent { id: Uuid::from_u128(rng.u128(..)), content: vec![rng.u8(..)] };
        put_intent(self.store(), &intent);
        let (table_number, at) = (rng.u128(..TABLES), self.snapshot());
        let cold = at.cold(table(table_number));
        let mut files = self.files(table_number, cold.generation);
        let mut published = Vec::new();
        for file in at.pending_files(table(table_number)) {
            let pending = (*at.pending(table(table_number), file).unwrap()).clone();
            files.get_mut(&file).unwrap().vector |= &pending;
            published.push((file, pending));
        }
        let mut rows = Vec::new();
        let scan = VersionScan { after: cold.cut, ..VersionScan::default() };
        let mut cursor = at.scan(ScopeKeys::range_of_table(table(table_number)), scan).unwrap();
        while let Some(version) = cursor.next_row().unwrap() {
            rows.push((RowKey::of(&HotKey::parse(version.key).unwrap()), value_of(version.tuple)));
        }
        drop(cursor);
        // A compaction as well, at times.
        let removed_files: Vec<u32> = if rng.u8(..3) == 0 { files.keys().copied().collect() } else { Vec::new() };
        for file in &removed_files {
            let DataFile { rows: old, vector } = files.remove(file).unwrap();
            rows.extend(old.iter().zip(0..).filter(|(_, place)| !vector.contains(*place)).map(|(row, _)| *row));
        }
        rows.sort();
        let new_file = self.next_file;
        self.next_file += 1;
        files.insert(new_file, DataFile { rows, vector: RoaringBitmap::new() });
        self.flush = Some(Flush { table: table_number, at, files, new_file, published, removed_files, intent });
    }

    fn publish(&mut self, flush: Flush) {
        let Flush { table: table_number, at, files, new_file, published, removed_files, intent } = flush;
        let cut = at.seq();
        let (version, changed) = self
            .store()
            .exclusive(|x| {
                let now = x.snapshot()?;
                let scan = VersionScan { after: cut, direction: Direction::Forward, with_deleted: true };
                let mut cursor = now.scan(ScopeKeys::range_of_table(table(table_number)), scan)?;
                let mut superseded = Vec::new();
                while let Some(version) = cursor.next_row()? {
                    let row = RowKey::of(&HotKey::parse(version.key)?);
                    let place = files[&new_file].rows.iter().position(|(cold, _)| *cold == row);
                    if let Some(place) = place {
                        superseded.push(PendingDelete { position: position(new_file, place as u32), seq: version.seq });
                    }
                }
                x.delete_intent(intent.id);
                let changed = superseded.len() as u64;
                let table = table(table_number);
                Ok((x.swap(&ColdSwap { table, cut, published, removed_files, superseded })?, changed))
            })
            .unwrap();
        self.counts.changed_in_flush += changed;
        self.cold.insert((table_number, version.generation), files);
        assert!(!self.store().intents().unwrap().contains(&intent));
    }

    fn step(&mut self, rng: &mut Rng) {
        match rng.u8(..24) {
            0..10 => self.commit(rng, |_| ()),
            10..13 => self.snapshots.push(self.snapshot()),
            13 if !self.snapshots.is_empty() => drop(self.snapshots.swap_remove(rng.usize(..self.snapshots.len()))),
            14..18 => match self.flush.take() {
                None => self.begin_flush(rng),
                Some(flush) => self.publish(flush),
            },
            18..20 => {
                let upto = if rng.bool() { SeqId::MAX } else { self.snapshot().cold(table(0)).cut };
                self.counts.collected += self.store().collect(table(rng.u128(..TABLES)), upto).unwrap().versions;
            }
            20 if rng.bool() => self.reopen(rng, None),
            21 if rng.u8(..3) == 0 => {
                let unknown = self.counts.unknown;
                self.commit(rng, |place| {
                    if let Place::Memory(disk) = place {
                        disk.fail_next_sync(Path::new(FOLDER));
                    }
                });
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

    fn check_index(&self) {
        let snapshot = self.store().sequencer.state.storage.snapshot().unwrap();
        let keys = |family| {
            let mut cursor = snapshot.scan(family, &KeyRange::all(), Direction::Forward).unwrap();
            let mut keys = Vec::new();
            while let Some(entry) = cursor.next().unwrap() {
                keys.push(entry.key.to_vec());
            }
            keys
        };
        let of_hot = |key: &Vec<u8>| {
            let (row, seq) = HotKey::split_seq(key).unwrap();
            SeqIndexKey::of_change(row, seq)
        };
        let mut indexed: Vec<_> = keys(Family::Hot).iter().map(of_hot).collect();
        indexed.sort();
        assert_eq!(keys(Family::SeqIndex), indexed);
    }
}

/// Runs histories of this many steps; returns what happened in all of them.
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
        world.check_index();
        counts.borrow_mut().push(world.counts);
    });
    counts.into_inner()
}

#[test]
fn every_snapshot_reads_what_the_model_has_at_its_commit_at_any_later_time() {
    let counts = check_histories(300, 150, || Place::Memory(MemoryDisk::new()));
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
    check_histories(4, 150, || Place::Rocks(tempfile::tempdir().unwrap()));
}
