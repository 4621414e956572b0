//! Scans of rows with many versions, and the index of changes.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::versions::{Newest, newest};
use super::*;
use crate::random::for_seeds;

/// Versions of a row by `_seq`; None deletes it.
type Versions = BTreeMap<SeqId, Option<i64>>;

/// Rows of table 1 with zero to many versions, and rows of tables beside it.
fn random_versions(rng: &mut Rng) -> (Box<dyn crate::storage::Snapshot>, BTreeMap<i64, Versions>) {
    let storage = MemoryDisk::new().open(Path::new(FOLDER)).unwrap();
    let mut batch = Batch::new();
    let mut put = |n, id, at: SeqId, value: Option<i64>| {
        let row = ScopeKeys::new(table(n), &Scope::Table).row(&key(id));
        let tuple = value.map_or(crate::tuple::TOMBSTONE.to_vec(), tuple);
        batch.put(Family::Hot, HotKey::of_version(&row, at), tuple);
    };
    let mut rows = BTreeMap::<_, Versions>::new();
    for id in 0..rng.i64(0..6) {
        let limit = [2, 4, 20][rng.usize(..3)];
        for _ in 0..rng.u8(1..limit) {
            let (at, value) = (seq(rng.i64(1..30)), (rng.u8(..4) > 0).then(|| rng.i64(..)));
            put(1, id, at, value);
            rows.entry(id).or_default().insert(at, value);
        }
        put(0, id, seq(1), Some(0));
        put(2, id, seq(1), Some(0));
    }
    storage.write(batch, WalSync::Now).unwrap();
    (storage.snapshot().unwrap(), rows)
}

#[test]
fn a_scan_returns_the_newest_versions_at_its_snapshot_in_both_directions() {
    for_seeds(2_000, |rng| {
        let (snapshot, rows) = random_versions(rng);
        let keys = ScopeKeys::new(table(1), &Scope::Table);
        for _ in 0..5 {
            let (at, after) = (seq(rng.i64(0..31)), seq(rng.i64(0..15)));
            let direction = if rng.bool() { Direction::Forward } else { Direction::Backward };
            let scan = VersionScan { after, direction, with_deleted: rng.bool() };
            let (start, end) = (rng.i64(0..4), rng.i64(2..8));
            let range = keys.starting_with(&key(start)).start..keys.starting_with(&key(end)).start;
            let newest_of = |versions: &Versions| versions.range(..=at).next_back().map(|(seq, value)| (*seq, *value));
            let found =
                rows.range(start..end.max(start)).filter_map(|(id, versions)| Some((*id, newest_of(versions)?)));
            let mut want: Vec<_> =
                found.filter(|(_, (seq, value))| *seq > after && (value.is_some() || scan.with_deleted)).collect();
            if direction == Direction::Backward {
                want.reverse();
            }
            let mut cursor = VersionCursor::new(&*snapshot, range.into(), at, scan).unwrap();
            let mut seen = Vec::new();
            while let Some(row) = cursor.next_row().unwrap() {
                let key = HotKey::parse(row.key).unwrap();
                assert_eq!(key.seq, row.seq);
                seen.push((id_of(key.primary_key), (row.seq, (!row.is_deleted).then(|| value_of(row.tuple)))));
            }
            assert_eq!(seen, want, "{scan:?} at {at} of {rows:?}");
            assert!(cursor.next_row().unwrap().is_none());

            let id = rng.i64(0..6);
            let row = keys.row(&key(id));
            let versions = rows.get(&id).cloned().unwrap_or_default();
            let found = newest(&*snapshot, &row, at).unwrap().map(|(seq, _)| seq);
            assert_eq!(found, newest_of(&versions).map(|(seq, _)| seq), "row {id} at {at} of {rows:?}");
            // The same of a few rows, and of so many that they share a cursor.
            for count in [1, 100] {
                let all = vec![row.as_slice(); count];
                let found = Newest::of_rows(&*snapshot, at, all.into_iter()).unwrap().of(&row).unwrap();
                let want = newest_of(&versions).map(|(seq, value)| (seq, value.is_none()));
                assert_eq!(found, want, "row {id} at {at} of {rows:?}");
            }
        }
    });
}

/// A store whose row 5 has a hundred thousand versions and two others one each.
fn with_many_versions() -> (Instrumented, RowStore, i64) {
    const VERSIONS: i64 = 100_001;
    let storage = Instrumented::new(MemoryDisk::new().open(Path::new(FOLDER)).unwrap());
    drop(open(storage.clone()));
    let row = |id| ScopeKeys::new(table(1), &Scope::Table).row(&key(id));
    let mut batch = Batch::new();
    meta::put_high_water(&mut batch, seq(VERSIONS));
    for n in 1..=VERSIONS {
        batch.put(Family::Hot, HotKey::of_version(&row(5), seq(n)), tuple(n));
    }
    for id in [4, 6] {
        batch.put(Family::Hot, HotKey::of_version(&row(id), seq(1)), tuple(id));
    }
    storage.write(batch, WalSync::Now).unwrap();
    let store = open(storage.clone());
    (storage, store, VERSIONS)
}

#[test]
fn reads_of_a_row_with_a_hundred_thousand_versions_take_a_bounded_number_of_steps() {
    let (storage, store, versions) = with_many_versions();
    let at = store.snapshot().unwrap();
    let steps = |read: &dyn Fn()| {
        let before = storage.steps();
        read();
        storage.steps() - before
    };
    assert!(steps(&|| assert_eq!(value(&at, 5), Some(versions))) <= 2);
    for direction in [Direction::Forward, Direction::Backward] {
        let scan = VersionScan { direction, ..VersionScan::default() };
        let mut want = vec![(4, Some(4)), (5, Some(versions)), (6, Some(6))];
        if direction == Direction::Backward {
            want.reverse();
        }
        let taken = steps(&|| assert_eq!(scanned(&at, scan), want));
        assert!(taken <= 30, "{taken} steps {direction:?}");
    }
    // At a snapshot in the middle of the versions, seeks pass the newer ones as well.
    let range = || KeyRange::from(ScopeKeys::range_of_table(table(1)));
    for direction in [Direction::Forward, Direction::Backward] {
        let snapshot = storage.snapshot().unwrap();
        let scan = VersionScan { direction, ..VersionScan::default() };
        let before = storage.steps();
        let mut cursor = versions::VersionCursor::new(&*snapshot, range(), seq(50_000), scan).unwrap();
        let mut seen = Vec::new();
        while let Some(row) = cursor.next_row().unwrap() {
            seen.push(row.seq);
        }
        assert_eq!(seen, [seq(1), seq(50_000), seq(1)]);
        let taken = storage.steps() - before;
        assert!(taken <= 30, "{taken} steps {direction:?}");
    }
    let at = puts(&at, &[(5, 0)]);
    let taken = steps(&|| assert!(matches!(store.commit(at.clone()), Ok(CommitOutcome::Committed(_)))));
    assert!(taken <= 2, "{taken} steps of a commit");
}

#[test]
fn a_limit_over_rows_of_many_versions_takes_steps_by_row_and_not_by_version() {
    let storage = Instrumented::new(MemoryDisk::new().open(Path::new(FOLDER)).unwrap());
    drop(open(storage.clone()));
    let mut batch = Batch::new();
    meta::put_high_water(&mut batch, seq(1_000));
    for id in 0..100 {
        let row = ScopeKeys::new(table(1), &Scope::Table).row(&key(id));
        for n in 1..=1_000 {
            batch.put(Family::Hot, HotKey::of_version(&row, seq(n)), tuple(n));
        }
    }
    storage.write(batch, WalSync::Now).unwrap();
    let store = open(storage.clone());
    let at = store.snapshot().unwrap();
    for direction in [Direction::Forward, Direction::Backward] {
        let before = storage.steps();
        let scan = VersionScan { direction, ..VersionScan::default() };
        let mut cursor = at.scan(ScopeKeys::range_of_table(table(1)), scan).unwrap();
        for n in 0..10 {
            let row = cursor.next_row().unwrap().unwrap();
            let id = if direction == Direction::Forward { n } else { 99 - n };
            assert_eq!((id_of(HotKey::parse(row.key).unwrap().primary_key), row.seq), (id, seq(1_000)));
        }
        let taken = storage.steps() - before;
        assert!(taken <= 10 * 10, "{taken} steps {direction:?}");
    }
}

#[test]
fn the_index_of_changes_has_each_version_in_commit_order_until_it_is_collected() {
    let disk = MemoryDisk::new();
    let store = open_in(&disk);
    let first = commit(&store, &[(2, 20), (1, 10)]);
    let at = store.snapshot().unwrap();
    let mut request = CommitRequest::at(at.seq());
    request.table(table(1), 0).delete(&Scope::Table, &key(2), None);
    let second = committed(store.commit(request));
    let index = |store: &RowStore| {
        let snapshot = store.sequencer.state.storage.snapshot().unwrap();
        let range = SeqIndexKey::range(&ScopeKeys::new(table(1), &Scope::Table), SeqId::ZERO, SeqId::MAX).into();
        let mut cursor = snapshot.scan(Family::SeqIndex, &range, Direction::Forward).unwrap();
        let mut changes = Vec::new();
        while let Some(entry) = cursor.next().unwrap() {
            let key = SeqIndexKey::parse(entry.key).unwrap();
            changes.push((key.seq, id_of(key.primary_key), entry.value == &crate::tuple::TOMBSTONE[..1]));
        }
        changes
    };
    assert_eq!(index(&store), [(first, 1, false), (first, 2, false), (second, 2, true)]);
    swap(&store, first).unwrap();
    drop(at);
    store.collect(table(1), SeqId::MAX).unwrap();
    assert_eq!(index(&store), [(second, 2, true)]);
}
