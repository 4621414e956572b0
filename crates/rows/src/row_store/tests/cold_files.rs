//! Data files as an engine would keep them, in memory: positions of rows, flushes and compactions.

use std::collections::BTreeMap;

use fastrand::Rng;
use parking_lot::Mutex;
use roaring::RoaringBitmap;

use super::*;

pub(super) const TABLES: u128 = 2;
const IDS: i64 = 8;

/// A row: its table, the number of its scope, its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowKey {
    pub(super) table: u128,
    pub(super) scope: u8,
    pub(super) id: i64,
}

/// Rows with their values; None is a deleted row.
pub(super) type Changes = BTreeMap<RowKey, Option<i64>>;

impl RowKey {
    pub(super) fn random(rng: &mut Rng) -> Self {
        Self { table: rng.u128(..TABLES), scope: rng.u8(..2), id: rng.i64(0..IDS) }
    }

    pub(super) fn new(table: TableId, scope: &Scope<'_>, primary_key: &[u8]) -> Self {
        Self { table: table.0.as_u128(), scope: (*scope != Scope::Table).into(), id: id_of(primary_key) }
    }

    fn of(key: &[u8]) -> Self {
        let key = HotKey::parse(key).unwrap();
        Self::new(key.table, &key.scope, key.primary_key)
    }

    pub(super) fn table(&self) -> TableId {
        table(self.table)
    }

    pub(super) fn scope(&self) -> Scope<'static> {
        if self.scope == 0 { Scope::Table } else { Scope::User("u\0x".into()) }
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

/// The cold snapshots of each table by generation, and the number of files.
#[derive(Default)]
pub(super) struct ColdFiles {
    snapshots: Mutex<BTreeMap<(u128, u64), Files>>,
    count: Mutex<u32>,
}

/// A flush that is not published yet.
pub(super) struct Flush {
    table: u128,
    at: RowSnapshot,
    files: Files,
    new_file: u32,
    published: Vec<(u32, RoaringBitmap)>,
    removed_files: Vec<u32>,
    intent: Intent,
}

impl ColdFiles {
    fn files(&self, table: u128, generation: u64) -> Files {
        self.snapshots.lock().get(&(table, generation)).cloned().unwrap_or_default()
    }

    /// The rows of a table at a snapshot: newest hot versions after the cut, and cold rows that nothing hides.
    pub(super) fn read(&self, at: &RowSnapshot, table_number: u128, direction: Direction) -> BTreeMap<RowKey, i64> {
        let id = table(table_number);
        let cold = at.cold(id);
        let scan = VersionScan { after: cold.cut, direction, with_deleted: false };
        let mut rows = hot_rows(at, table_number, scan);
        assert!(rows.is_sorted_by(|a, b| if direction == Direction::Forward { a < b } else { a > b }));
        for (file, DataFile { rows: cold_rows, vector }) in self.files(table_number, cold.generation) {
            let pending = at.pending(id, file);
            assert_eq!(pending.is_some(), at.pending_files(id).contains(&file));
            let is_hidden = |place| vector.contains(place) || pending.as_ref().is_some_and(|rows| rows.contains(place));
            rows.extend(cold_rows.iter().zip(0..).filter(|(_, place)| !is_hidden(*place)).map(|(row, _)| *row));
        }
        let count = rows.len();
        let rows: BTreeMap<_, _> = rows.into_iter().collect();
        assert_eq!(rows.len(), count, "a row is there twice");
        rows
    }

    /// Where the newest version at `at` is, if it is a cold row. The cold snapshot may be a later one.
    fn position(&self, at: &RowSnapshot, cold: &RowSnapshot, row: RowKey) -> Option<ColdPosition> {
        let version = cold.cold(row.table());
        let hot = at.get(row.table(), &row.scope(), &key(row.id)).unwrap();
        if hot.is_some_and(|hot| hot.seq > version.cut) {
            return None;
        }
        let files = self.files(row.table, version.generation);
        files.iter().find_map(|(file, DataFile { rows, vector })| {
            let pending = cold.pending(row.table(), *file);
            let hidden = |place| vector.contains(place) || pending.as_ref().is_some_and(|rows| rows.contains(place));
            let place = rows.iter().zip(0..).find(|((found, _), place)| *found == row && !hidden(*place))?.1;
            Some(position(*file, place))
        })
    }

    /// A request that was prepared at a snapshot, with positions that were looked up in the cold snapshot of this or
    /// another one; and the number of rows that it changes over cold ones.
    pub(super) fn request(&self, at: &RowSnapshot, cold: &RowSnapshot, changes: &Changes) -> (CommitRequest, u64) {
        let mut request = CommitRequest::at(at.seq());
        let mut over_cold = 0;
        for (row, value) in changes {
            let superseded = self.position(at, cold, *row);
            over_cold += u64::from(superseded.is_some());
            let changes = request.table(row.table(), cold.cold(row.table()).generation);
            match value {
                Some(value) => changes.put(&row.scope(), &key(row.id), tuple(*value), superseded).unwrap(),
                None => changes.delete(&row.scope(), &key(row.id), superseded),
            }
        }
        (request, over_cold)
    }

    /// Writes the hot rows of a table to a file, with all other rows at times.
    pub(super) fn begin_flush(&self, rng: &mut Rng, store: &RowStore) -> Flush {
        let intent = Intent { id: Uuid::from_u128(rng.u128(..)), content: vec![rng.u8(..)] };
        put_intent(store, &intent);
        let (table_number, at) = (rng.u128(..TABLES), store.snapshot().unwrap());
        let cold = at.cold(table(table_number));
        let mut files = self.files(table_number, cold.generation);
        let mut published = Vec::new();
        for file in at.pending_files(table(table_number)) {
            let pending = (*at.pending(table(table_number), file).unwrap()).clone();
            files.get_mut(&file).unwrap().vector |= &pending;
            published.push((file, pending));
        }
        let mut rows = hot_rows(&at, table_number, VersionScan { after: cold.cut, ..VersionScan::default() });
        let removed_files: Vec<u32> = if rng.u8(..3) == 0 { files.keys().copied().collect() } else { Vec::new() };
        for file in &removed_files {
            let DataFile { rows: old, vector } = files.remove(file).unwrap();
            rows.extend(old.iter().zip(0..).filter(|(_, place)| !vector.contains(*place)).map(|(row, _)| *row));
        }
        rows.sort();
        let new_file = {
            let mut count = self.count.lock();
            *count += 1;
            *count
        };
        files.insert(new_file, DataFile { rows, vector: RoaringBitmap::new() });
        Flush { table: table_number, at, files, new_file, published, removed_files, intent }
    }

    /// Publishes a flush. Returns the number of rows that changed in the meantime.
    pub(super) fn publish(&self, store: &RowStore, flush: Flush) -> u64 {
        let Flush { table: table_number, at, files, new_file, published, removed_files, intent } = flush;
        let (id, cut) = (table(table_number), at.seq());
        let swap = |x: &mut Exclusive<'_>| {
            let now = x.snapshot()?;
            let scan = VersionScan { after: cut, direction: Direction::Forward, with_deleted: true };
            let mut cursor = now.scan(ScopeKeys::range_of_table(id), scan)?;
            let mut superseded = Vec::new();
            while let Some(version) = cursor.next_row()? {
                let row = RowKey::of(version.key);
                if let Some((_, place)) = files[&new_file].rows.iter().zip(0..).find(|((cold, _), _)| *cold == row) {
                    superseded.push(PendingDelete { position: position(new_file, place), seq: version.seq });
                }
            }
            x.delete_intent(intent.id);
            let changed = superseded.len() as u64;
            let version = x.swap(&ColdSwap { table: id, cut, published, removed_files, superseded })?;
            // Before any snapshot can have this generation.
            self.snapshots.lock().insert((table_number, version.generation), files);
            Ok(changed)
        };
        let changed = store.exclusive(swap).unwrap();
        assert!(!store.intents().unwrap().contains(&intent));
        changed
    }
}

fn hot_rows(at: &RowSnapshot, table_number: u128, scan: VersionScan) -> Vec<(RowKey, i64)> {
    let mut cursor = at.scan(ScopeKeys::range_of_table(table(table_number)), scan).unwrap();
    let mut rows = Vec::new();
    while let Some(version) = cursor.next_row().unwrap() {
        rows.push((RowKey::of(version.key), value_of(version.tuple)));
    }
    rows
}

/// Random changes with values that no other has.
pub(super) fn random_changes(rng: &mut Rng, next_value: &mut i64) -> Changes {
    let mut changes = Changes::new();
    for _ in 0..rng.u8(1..4) {
        *next_value += 1;
        changes.insert(RowKey::random(rng), (rng.u8(..3) > 0).then_some(*next_value));
    }
    changes
}

/// The pending deletes of all tables at a snapshot.
pub(super) fn all_pending(at: &RowSnapshot) -> Vec<(u128, u32, RoaringBitmap)> {
    let of_table = |n| {
        let files = at.pending_files(table(n)).into_iter();
        files.map(move |file| (n, file, (*at.pending(table(n), file).unwrap()).clone())).collect::<Vec<_>>()
    };
    (0..TABLES).flat_map(of_table).collect()
}

/// Checks that the index of changes has each hot version.
pub(super) fn check_index(store: &RowStore) {
    let snapshot = store.sequencer.state.storage.snapshot().unwrap();
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
        SeqIndexKey::of_change(row, HotKey::parse(key).unwrap().primary_key.len(), seq)
    };
    let mut indexed: Vec<_> = keys(Family::Hot).iter().map(of_hot).collect();
    indexed.sort();
    assert_eq!(keys(Family::SeqIndex), indexed);
}
