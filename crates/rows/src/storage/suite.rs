//! The contract of a [`Storage`] as tests of any implementation: `storage_tests!(disk)` makes one of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use fastrand::Rng;

use super::{Batch, Cursor, Direction, Family, KeyRange, Snapshot, Storage, WalSync};
use crate::random::{bytes, for_seeds};

/// Where the stores of a test are.
pub(super) trait Disk {
    fn open(&self, folder: &Path) -> Result<Box<dyn Storage>>;

    /// A folder that does not exist.
    fn folder(&self, name: &str) -> PathBuf;
}

/// The entries of a family.
pub(super) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// The entries of all families.
pub(super) type Model = BTreeMap<Family, Entries>;

fn batch(changes: impl IntoIterator<Item = (Family, Vec<u8>, Option<Vec<u8>>)>) -> Batch {
    let mut batch = Batch::new();
    for (family, key, value) in changes {
        match value {
            Some(value) => batch.put(family, key, value),
            None => batch.delete(family, key),
        }
    }
    batch
}

/// A batch that sets one key.
pub(super) fn put(family: Family, key: &[u8], value: &[u8]) -> Batch {
    batch([(family, key.to_vec(), Some(value.to_vec()))])
}

/// The entries that a cursor has left.
fn rest(cursor: &mut dyn Cursor) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries = Vec::new();
    while let Some(entry) = cursor.next().unwrap() {
        entries.push((entry.key.to_vec(), entry.value.to_vec()));
    }
    entries
}

fn scan(snapshot: &dyn Snapshot, family: Family, range: &KeyRange, direction: Direction) -> Vec<(Vec<u8>, Vec<u8>)> {
    rest(&mut *snapshot.scan(family, range, direction).unwrap())
}

/// All entries of a store.
pub(super) fn entries(storage: &dyn Storage) -> Model {
    let snapshot = storage.snapshot().unwrap();
    let of = |family| scan(&*snapshot, family, &KeyRange::all(), Direction::Forward).into_iter().collect();
    Family::ALL.map(|family| (family, of(family))).into()
}

fn expected(model: &Entries, range: &KeyRange, direction: Direction) -> Vec<(Vec<u8>, Vec<u8>)> {
    let within = model.iter().filter(|(key, _)| range.contains(key));
    let mut expected: Vec<_> = within.map(|(key, value)| (key.clone(), value.clone())).collect();
    if direction == Direction::Backward {
        expected.reverse();
    }
    expected
}

/// Keys in which order and prefixes are easily mistaken.
fn difficult_keys() -> Vec<Vec<u8>> {
    let keys: [&[u8]; 14] = [
        &[],
        &[0],
        &[0, 0],
        &[0, 0xff],
        &[1],
        b"a",
        b"a\0",
        b"a\xff",
        b"a\xff\xff",
        b"ab",
        b"b",
        &[0xfe, 0xff],
        &[0xff],
        &[0xff, 0xff],
    ];
    keys.map(<[u8]>::to_vec).to_vec()
}

/// A store with the difficult keys in a family, stored in no order.
fn with_difficult_keys(disk: &dyn Disk) -> (Box<dyn Storage>, Entries) {
    let storage = disk.open(&disk.folder("store")).unwrap();
    let mut keys = difficult_keys();
    Rng::with_seed(1).shuffle(&mut keys);
    for key in &keys {
        storage.write(put(Family::Hot, key, &[b"value of ", key.as_slice()].concat()), WalSync::Later).unwrap();
    }
    let model = keys.into_iter().map(|key| (key.clone(), [b"value of ", key.as_slice()].concat())).collect();
    (storage, model)
}

pub(super) fn a_batch_changes_every_family_and_the_last_change_of_a_key_counts(disk: &dyn Disk) {
    let storage = disk.open(&disk.folder("store")).unwrap();
    let mut changes = Batch::new();
    for family in Family::ALL {
        changes.put(family, b"replaced", b"old");
        changes.put(family, b"deleted", b"old");
        changes.delete(family, b"put again");
        changes.delete(family, b"absent");
        changes.put(family, b"replaced", family.name());
        changes.delete(family, b"deleted");
        changes.put(family, b"put again", []);
        changes.put(family, b"range 1", []);
        changes.put(family, b"range 2", []);
        changes.put(family, b"range 3", []);
        changes.delete_range(family, b"range 1".to_vec()..b"range 3".to_vec());
        changes.delete_range(family, b"range 3".to_vec()..b"range 3".to_vec());
        changes.put(family, b"range 2", b"again");
    }
    assert_eq!(changes.len(), 96);
    storage.write(changes, WalSync::Now).unwrap();
    storage.write(Batch::new(), WalSync::Now).unwrap();
    let snapshot = storage.snapshot().unwrap();
    for family in Family::ALL {
        assert_eq!(snapshot.get(family, b"replaced").unwrap().unwrap(), family.name().as_bytes());
        assert_eq!(snapshot.get(family, b"deleted").unwrap(), None);
        assert_eq!(snapshot.get(family, b"put again").unwrap().unwrap(), b"");
        assert_eq!(snapshot.get(family, b"absent").unwrap(), None);
        assert_eq!(snapshot.get(family, b"range 1").unwrap(), None);
        assert_eq!(snapshot.get(family, b"range 2").unwrap().unwrap(), b"again");
        assert_eq!(snapshot.get(family, b"range 3").unwrap().unwrap(), b"");
    }
}

pub(super) fn a_snapshot_and_its_scans_do_not_see_later_writes(disk: &dyn Disk) {
    let storage = disk.open(&disk.folder("store")).unwrap();
    let key = |n: u32| n.to_be_bytes();
    for n in 0..100 {
        storage.write(put(Family::Hot, &key(n), b"first"), WalSync::Later).unwrap();
    }
    let snapshot = storage.snapshot().unwrap();
    let mut begun = snapshot.scan(Family::Hot, &KeyRange::all(), Direction::Forward).unwrap();
    assert_eq!(begun.next().unwrap().unwrap().key, key(0));
    for n in 0..200 {
        storage
            .write(
                batch([
                    (Family::Hot, key(n).to_vec(), (n % 3 > 0).then(|| b"second".to_vec())),
                    (Family::Meta, key(n).to_vec(), Some(Vec::new())),
                ]),
                WalSync::Later,
            )
            .unwrap();
    }
    let first: Vec<_> = (0..100).map(|n| (key(n).to_vec(), b"first".to_vec())).collect();
    assert_eq!(rest(&mut *begun), first[1..]);
    assert_eq!(scan(&*snapshot, Family::Hot, &KeyRange::all(), Direction::Forward), first);
    assert_eq!(scan(&*snapshot, Family::Meta, &KeyRange::all(), Direction::Forward), []);
    assert_eq!(snapshot.get(Family::Hot, &key(3)).unwrap().unwrap(), b"first");
    assert_eq!(snapshot.get(Family::Hot, &key(150)).unwrap(), None);
    let now = storage.snapshot().unwrap();
    assert_eq!(now.get(Family::Hot, &key(3)).unwrap(), None);
    assert_eq!(now.get(Family::Hot, &key(151)).unwrap().unwrap(), b"second");
}

pub(super) fn snapshots_and_checkpoints_have_whole_batches_while_writes_continue(disk: &dyn Disk) {
    let storage = disk.open(&disk.folder("store")).unwrap();
    let written = |n: u64| batch(Family::ALL.map(|family| (family, b"count".to_vec(), Some(n.to_be_bytes().to_vec()))));
    let count = |snapshot: &dyn Snapshot| {
        let counts = Family::ALL.map(|family| snapshot.get(family, b"count").unwrap().unwrap());
        assert!(counts.iter().all(|count| *count == counts[0]), "a batch is there in part: {counts:?}");
        u64::from_be_bytes(counts[0].as_slice().try_into().unwrap())
    };
    storage.write(written(0), WalSync::Later).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1.. {
                storage.write(written(n), WalSync::Later).unwrap();
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let _end = End(&stop);
        let mut last = 0;
        for n in 0..5 {
            let begin = last;
            for taken in 0.. {
                let seen = count(&*storage.snapshot().unwrap());
                assert!(seen >= last, "{seen} after {last}");
                last = seen;
                if taken > 100 && last > begin {
                    break;
                }
            }
            let folder = disk.folder(&format!("checkpoint {n}"));
            storage.checkpoint(&folder).unwrap();
            let seen = count(&*disk.open(&folder).unwrap().snapshot().unwrap());
            assert!(seen >= last, "{seen} after {last}");
        }
    });
}

/// Ends the writer after the reader, which may panic.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(super) fn scans_are_ordered_bytewise_in_both_directions(disk: &dyn Disk) {
    let (storage, model) = with_difficult_keys(disk);
    let snapshot = storage.snapshot().unwrap();
    let forward: Vec<_> = model.into_iter().collect();
    assert_eq!(scan(&*snapshot, Family::Hot, &KeyRange::all(), Direction::Forward), forward);
    let backward: Vec<_> = forward.into_iter().rev().collect();
    assert_eq!(scan(&*snapshot, Family::Hot, &KeyRange::all(), Direction::Backward), backward);
    for direction in [Direction::Forward, Direction::Backward] {
        assert_eq!(scan(&*snapshot, Family::Meta, &KeyRange::all(), direction), []);
    }
}

pub(super) fn a_scan_has_the_keys_of_its_range_or_prefix_and_no_others(disk: &dyn Disk) {
    let (storage, model) = with_difficult_keys(disk);
    let snapshot = storage.snapshot().unwrap();
    let check = |range: &KeyRange, within: &dyn Fn(&[u8]) -> bool| {
        for direction in [Direction::Forward, Direction::Backward] {
            let mut expected: Vec<_> = model.keys().filter(|key| within(key)).cloned().collect();
            if direction == Direction::Backward {
                expected.reverse();
            }
            let found = scan(&*snapshot, Family::Hot, range, direction);
            let found: Vec<_> = found.into_iter().map(|(key, _)| key).collect();
            assert_eq!(found, expected, "{range:?} {direction:?}");
        }
    };
    for start in &difficult_keys() {
        check(&KeyRange::starting_at(start.clone()), &|key| key >= start.as_slice());
        check(&KeyRange::prefix(start.clone()), &|key| key.starts_with(start));
        for end in &difficult_keys() {
            check(&KeyRange::between(start.clone(), end.clone()), &|key| {
                start.as_slice() <= key && key < end.as_slice()
            });
        }
    }
    check(&KeyRange::prefix(*b"a\xff\xff\xff"), &|_| false);
}

pub(super) fn a_seek_moves_to_the_nearest_key_within_the_range(disk: &dyn Disk) {
    let (storage, model) = with_difficult_keys(disk);
    let snapshot = storage.snapshot().unwrap();
    let keys = difficult_keys();
    for (start, end) in [(0, 13), (2, 9), (5, 6), (7, 7), (9, 4)] {
        let range = KeyRange::between(keys[start].clone(), keys[end].clone());
        for direction in [Direction::Forward, Direction::Backward] {
            let mut cursor = snapshot.scan(Family::Hot, &range, direction).unwrap();
            let whole = expected(&model, &range, direction);
            // In an order that goes to and fro, from every position.
            for (n, key) in keys.iter().chain(keys.iter().rev()).chain(keys.iter().step_by(3)).enumerate() {
                cursor.seek(key);
                let beyond = |found: &[u8]| match direction {
                    Direction::Forward => found >= key.as_slice(),
                    Direction::Backward => found <= key.as_slice(),
                };
                let left: Vec<_> = whole.iter().filter(|(found, _)| beyond(found)).cloned().collect();
                match n % 3 {
                    0 => assert_eq!(rest(&mut *cursor), left, "{range:?} {direction:?} {key:?}"),
                    1 => {
                        let next = cursor.next().unwrap().map(|entry| (entry.key.to_vec(), entry.value.to_vec()));
                        assert_eq!(next.as_ref(), left.first(), "{range:?} {direction:?} {key:?}");
                    }
                    // Sought again from where no entry was read.
                    _ => {}
                }
            }
            cursor.seek(&keys[start]);
            rest(&mut *cursor);
            for _ in 0..3 {
                assert_eq!(cursor.next().unwrap(), None, "a scan that ended has an entry");
            }
        }
    }
}

pub(super) fn a_store_has_its_entries_after_it_was_closed_or_dropped(disk: &dyn Disk) {
    let folder = disk.folder("a new folder").join("store");
    let mut model: Model = Family::ALL.map(|family| (family, Entries::new())).into();
    for round in 0..4_u8 {
        let storage = disk.open(&folder).unwrap();
        assert_eq!(entries(&*storage), model);
        for (family, sync) in [(Family::Hot, WalSync::Now), (Family::Jobs, WalSync::Later)] {
            storage.write(put(family, &[round], b"value"), sync).unwrap();
            model.get_mut(&family).unwrap().insert(vec![round], b"value".to_vec());
        }
        if round % 2 == 0 {
            storage.close().unwrap();
        }
    }
}

pub(super) fn a_closed_store_refuses_calls_and_its_snapshots_stay_readable(disk: &dyn Disk) {
    let folder = disk.folder("store");
    let storage = disk.open(&folder).unwrap();
    storage.write(put(Family::Hot, b"key", b"value"), WalSync::Later).unwrap();
    let snapshot = storage.snapshot().unwrap();
    storage.close().unwrap();
    storage.close().unwrap();
    let errors = [
        storage.snapshot().err(),
        storage.write(Batch::new(), WalSync::Later).err(),
        storage.sync().err(),
        storage.checkpoint(&disk.folder("checkpoint")).err(),
    ];
    for e in errors {
        let e = e.unwrap();
        assert_eq!(e.kind(), ErrorKind::Invalid);
        assert_eq!(e.to_string(), format!("the store in {} is closed: open it again", folder.display()));
    }
    assert_eq!(snapshot.get(Family::Hot, b"key").unwrap().unwrap(), b"value");
    assert!(disk.open(&folder).is_err(), "the folder is free while a snapshot is held");
    drop(snapshot);
    disk.open(&folder).unwrap();
}

pub(super) fn a_store_that_is_open_is_not_opened_again(disk: &dyn Disk) {
    let folder = disk.folder("store");
    let storage = disk.open(&folder).unwrap();
    let e = disk.open(&folder).err().unwrap();
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    let sentence = "is in use: close it there, or end the process that has opened it";
    assert_eq!(e.to_string(), format!("the store in {} {sentence}", folder.display()));
    storage.write(put(Family::Hot, b"key", b"value"), WalSync::Now).unwrap();
    disk.open(&disk.folder("another")).unwrap();
}

pub(super) fn a_checkpoint_is_a_store_of_its_own_with_the_entries_of_its_moment(disk: &dyn Disk) {
    let storage = disk.open(&disk.folder("store")).unwrap();
    storage.write(put(Family::Hot, b"before", b"1"), WalSync::Now).unwrap();
    storage.write(put(Family::Meta, b"not synced", b"2"), WalSync::Later).unwrap();
    let moment = entries(&*storage);
    let folder = disk.folder("a new folder").join("checkpoint");
    storage.checkpoint(&folder).unwrap();
    storage.write(put(Family::Hot, b"after", b"3"), WalSync::Now).unwrap();

    let copy = disk.open(&folder).unwrap();
    assert_eq!(entries(&*copy), moment);
    copy.write(put(Family::Hot, b"before", b"4"), WalSync::Now).unwrap();
    assert_eq!(storage.snapshot().unwrap().get(Family::Hot, b"before").unwrap().unwrap(), b"1");
    drop(copy);

    let e = storage.checkpoint(&folder).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AlreadyExists);
    let sentence = "exists: name a new folder for the checkpoint";
    assert_eq!(e.to_string(), format!("{} {sentence}", folder.display()));
    assert_eq!(disk.open(&folder).unwrap().snapshot().unwrap().get(Family::Hot, b"before").unwrap().unwrap(), b"4");
}

/// A store whose last write failed: it is read-only, and does not show that write.
pub(super) fn check_read_only(storage: &dyn Storage, folder: &Path, seen: &Model) {
    let writes = [
        storage.write(put(Family::Hot, b"later", b"value"), WalSync::Now).err(),
        storage.write(put(Family::Hot, b"later", b"value"), WalSync::Later).err(),
        storage.sync().err(),
        storage.checkpoint(&folder.with_extension("checkpoint")).err(),
    ];
    for e in writes {
        let e = e.unwrap();
        assert_eq!(e.kind(), ErrorKind::Unavailable);
        let start = format!("the store in {} is read-only since a write failed (", folder.display());
        assert!(e.to_string().starts_with(&start) && e.to_string().ends_with("): open it again"), "{e}");
    }
    assert_eq!(entries(storage), *seen);
    storage.close().unwrap();
}

/// The error of a write that failed.
pub(super) fn check_failed(e: &TxnLogError, folder: &Path) {
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    let start = format!("a write to the store in {} failed (", folder.display());
    let end = "): open the store again, which decides whether it is stored";
    assert!(e.to_string().starts_with(&start) && e.to_string().ends_with(end), "{e}");
}

pub(super) fn large_keys_and_values_are_stored(disk: &dyn Disk) {
    let folder = disk.folder("store");
    let key = vec![7; 100_000];
    let value: Vec<u8> = (0..20_000_000_u32).map(|n| (n ^ (n >> 7)) as u8).collect();
    let storage = disk.open(&folder).unwrap();
    storage.write(put(Family::Segments, &key, &value), WalSync::Now).unwrap();
    assert!(storage.snapshot().unwrap().get(Family::Segments, &key).unwrap().unwrap() == value);
    drop(storage);
    let snapshot = disk.open(&folder).unwrap().snapshot().unwrap();
    let found = scan(&*snapshot, Family::Segments, &KeyRange::prefix([7]), Direction::Backward);
    assert!(found == [(key, value)]);
}

pub(super) fn random_operations_leave_what_a_model_has(disk: &dyn Disk) {
    for_seeds(12, |rng| {
        let folder = disk.folder(&format!("store {}", rng.u64(..)));
        let mut storage = disk.open(&folder).unwrap();
        let mut model: Model = Family::ALL.map(|family| (family, Entries::new())).into();
        let mut held: Vec<(Box<dyn Snapshot>, Model)> = Vec::new();
        for _ in 0..300 {
            match rng.u8(..100) {
                0..60 => {
                    let changes: Vec<_> = (0..rng.usize(1..12)).map(|_| change(rng)).collect();
                    for (family, key, value) in changes.clone() {
                        let entries = model.get_mut(&family).unwrap();
                        match value {
                            Some(value) => entries.insert(key, value),
                            None => entries.remove(&key),
                        };
                    }
                    let mut batch = batch(changes);
                    if rng.u8(..4) == 0 {
                        let ((family, start, _), (_, end, _)) = (change(rng), change(rng));
                        model.get_mut(&family).unwrap().retain(|key, _| *key < start || *key >= end);
                        batch.delete_range(family, start..end);
                    }
                    let sync = if rng.u8(..20) == 0 { WalSync::Now } else { WalSync::Later };
                    storage.write(batch, sync).unwrap();
                    if rng.u8(..20) == 0 {
                        storage.settle().unwrap();
                    }
                }
                60..70 => {
                    held.push((storage.snapshot().unwrap(), model.clone()));
                    if held.len() > 4 {
                        held.swap_remove(rng.usize(..5));
                    }
                }
                70..95 => {
                    let now = (storage.snapshot().unwrap(), model.clone());
                    let (snapshot, model) = held.get(rng.usize(..5)).unwrap_or(&now);
                    check_snapshot(rng, &**snapshot, model);
                }
                95..97 => storage.sync().unwrap(),
                97 => {
                    let folder = disk.folder(&format!("checkpoint {}", rng.u64(..)));
                    storage.checkpoint(&folder).unwrap();
                    assert_eq!(entries(&*disk.open(&folder).unwrap()), model);
                }
                _ => {
                    held.clear();
                    if rng.bool() {
                        storage.close().unwrap();
                    }
                    drop(storage);
                    storage = disk.open(&folder).unwrap();
                    assert_eq!(entries(&*storage), model);
                }
            }
        }
        for (snapshot, model) in &held {
            check_snapshot(rng, &**snapshot, model);
        }
        assert_eq!(entries(&*storage), model);
    });
}

fn family(rng: &mut Rng) -> Family {
    Family::ALL[rng.usize(..Family::ALL.len())]
}

fn change(rng: &mut Rng) -> (Family, Vec<u8>, Option<Vec<u8>>) {
    let value = if rng.u8(..50) == 0 { vec![rng.u8(..); 40_000] } else { bytes(rng) };
    (family(rng), bytes(rng), (rng.u8(..4) > 0).then_some(value))
}

fn check_snapshot(rng: &mut Rng, snapshot: &dyn Snapshot, model: &Model) {
    let family = family(rng);
    let entries = &model[&family];
    let key = bytes(rng);
    assert_eq!(snapshot.get(family, &key).unwrap().as_ref(), entries.get(&key));
    let range = match rng.u8(..4) {
        0 => KeyRange::all(),
        1 => KeyRange::starting_at(bytes(rng)),
        2 => KeyRange::between(bytes(rng), bytes(rng)),
        _ => KeyRange::prefix(bytes(rng)),
    };
    let direction = if rng.bool() { Direction::Forward } else { Direction::Backward };
    let mut cursor = snapshot.scan(family, &range, direction).unwrap();
    let mut left = expected(entries, &range, direction);
    if rng.bool() {
        let key = bytes(rng);
        cursor.seek(&key);
        left.retain(|(found, _)| match direction {
            Direction::Forward => *found >= key,
            Direction::Backward => *found <= key,
        });
    }
    assert_eq!(rest(&mut *cursor), left, "{range:?} {direction:?}");
}

macro_rules! storage_tests {
    ($disk:expr) => {
        $crate::storage::suite::storage_tests! { $disk;
            a_batch_changes_every_family_and_the_last_change_of_a_key_counts
            a_snapshot_and_its_scans_do_not_see_later_writes
            snapshots_and_checkpoints_have_whole_batches_while_writes_continue
            scans_are_ordered_bytewise_in_both_directions
            a_scan_has_the_keys_of_its_range_or_prefix_and_no_others
            a_seek_moves_to_the_nearest_key_within_the_range
            a_store_has_its_entries_after_it_was_closed_or_dropped
            a_closed_store_refuses_calls_and_its_snapshots_stay_readable
            a_store_that_is_open_is_not_opened_again
            a_checkpoint_is_a_store_of_its_own_with_the_entries_of_its_moment
            large_keys_and_values_are_stored
            random_operations_leave_what_a_model_has
        }
    };
    ($disk:expr; $($test:ident)*) => {
        $(
            #[test]
            fn $test() {
                $crate::storage::suite::$test(&$disk);
            }
        )*
    };
}
pub(super) use storage_tests;
