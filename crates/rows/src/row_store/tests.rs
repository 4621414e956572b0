//! The contract of the row store, and what its tests share.

mod cold_files;
mod concurrent;
mod instrumented;
mod model;
mod reads;
mod recovery;

use std::path::Path;

use uuid::Uuid;

use super::*;
use crate::key::{HotKey, Scope, ScopeKeys, SeqIndexKey};
use crate::storage::memory::{MemoryDisk, MemoryStorage};
use crate::storage::{Batch, Direction, Family, KeyRange, WalSync};
use instrumented::Instrumented;

/// A clock that stands still, so that the order of `_seq` does not depend on it.
#[derive(Debug)]
struct Standing;

impl Clock for Standing {
    fn now_ms(&self) -> i64 {
        1_795_996_800_000
    }

    fn new_uuid(&self) -> Uuid {
        Uuid::nil()
    }
}

const FOLDER: &str = "store";

fn table(n: u128) -> TableId {
    TableId(Uuid::from_u128(n))
}

fn key(id: i64) -> [u8; 8] {
    (id ^ i64::MIN).to_be_bytes()
}

fn id_of(key: &[u8]) -> i64 {
    i64::from_be_bytes(key.try_into().unwrap()) ^ i64::MIN
}

/// A row with one number.
fn tuple(value: i64) -> Vec<u8> {
    [&[1, 0, 8][..], &value.to_be_bytes()].concat()
}

fn value_of(tuple: &[u8]) -> i64 {
    i64::from_be_bytes(tuple[3..].try_into().unwrap())
}

fn open(storage: impl Storage + 'static) -> RowStore {
    RowStore::open(Arc::new(storage), 7, Arc::new(Standing)).unwrap()
}

fn open_in(disk: &MemoryDisk) -> RowStore {
    open(disk.open(Path::new(FOLDER)).unwrap())
}

fn seq(seq: i64) -> SeqId {
    SeqId::try_from(seq).unwrap()
}

/// A request at a snapshot that puts rows of table 1, in the cold generation of the snapshot.
fn puts(at: &RowSnapshot, rows: &[(i64, i64)]) -> CommitRequest {
    let mut request = CommitRequest::at(at.seq());
    let changes = request.table(table(1), at.cold(table(1)).generation);
    rows.iter().for_each(|(id, value)| changes.put(&Scope::Table, &key(*id), tuple(*value), None).unwrap());
    request
}

/// Like [`puts`], of one row, with the cold row that it supersedes.
fn put_over(at: &RowSnapshot, id: i64, value: i64, position: ColdPosition) -> CommitRequest {
    let mut request = CommitRequest::at(at.seq());
    let changes = request.table(table(1), at.cold(table(1)).generation);
    changes.put(&Scope::Table, &key(id), tuple(value), Some(position)).unwrap();
    request
}

fn committed(outcome: Result<CommitOutcome>) -> SeqId {
    match outcome.unwrap() {
        CommitOutcome::Committed(seq) => seq,
        other => panic!("{other:?}"),
    }
}

fn conflict(outcome: Result<CommitOutcome>) -> RowConflict {
    match outcome.unwrap() {
        CommitOutcome::Conflict(conflict) => conflict,
        other => panic!("{other:?}"),
    }
}

fn commit(store: &RowStore, rows: &[(i64, i64)]) -> SeqId {
    committed(store.commit(puts(&store.snapshot().unwrap(), rows)))
}

fn swap(store: &RowStore, cut: SeqId) -> Result<ColdVersion> {
    let (table, published, removed_files, superseded) = (table(1), vec![], vec![], vec![]);
    store.exclusive(|x| x.swap(&ColdSwap { table, cut, published, removed_files, superseded }))
}

fn put_intent(store: &RowStore, intent: &Intent) {
    let put = |x: &mut Exclusive<'_>| {
        x.put_intent(intent);
        Ok(())
    };
    store.exclusive(put).unwrap();
}

fn delete_intent(store: &RowStore, id: Uuid) {
    let delete = |x: &mut Exclusive<'_>| {
        x.delete_intent(id);
        Ok(())
    };
    store.exclusive(delete).unwrap();
}

fn value(at: &RowSnapshot, id: i64) -> Option<i64> {
    let version = at.get(table(1), &Scope::Table, &key(id)).unwrap()?;
    (!version.is_deleted).then(|| value_of(&version.tuple))
}

/// Ids and values of the rows that a scan of table 1 returns; None for deleted ones.
fn scanned(at: &RowSnapshot, scan: VersionScan) -> Vec<(i64, Option<i64>)> {
    let mut cursor = at.scan(ScopeKeys::range_of_table(table(1)), scan).unwrap();
    let mut rows = Vec::new();
    while let Some(row) = cursor.next_row().unwrap() {
        let key = HotKey::parse(row.key).unwrap();
        assert_eq!(key.seq, row.seq);
        rows.push((id_of(key.primary_key), (!row.is_deleted).then(|| value_of(row.tuple))));
    }
    rows
}

fn position(file: u32, row: u32) -> ColdPosition {
    ColdPosition { file, row }
}

fn pending(at: &RowSnapshot) -> Vec<(u32, Vec<u32>)> {
    let rows = |file| at.pending(table(1), file).unwrap().iter().collect();
    at.pending_files(table(1)).into_iter().map(|file| (file, rows(file))).collect()
}

fn one_of_each(error: &TxnLogError, words: &[&str]) {
    let text = error.to_string();
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in {text:?}"));
}

#[test]
fn the_first_committer_of_a_row_wins_and_the_other_is_told_which_row() {
    let store = open_in(&MemoryDisk::new());
    let before = store.snapshot().unwrap();
    let first = committed(store.commit(puts(&before, &[(1, 10), (2, 20)])));
    let lost = conflict(store.commit(puts(&before, &[(3, 30), (2, 21)])));
    let expected = RowConflict { table: table(1), scope: Scope::Table, primary_key: key(2).to_vec(), seq: Some(first) };
    assert_eq!(lost, expected);
    let after = store.snapshot().unwrap();
    assert_eq!([1, 2, 3].map(|id| value(&after, id)), [Some(10), Some(20), None], "nothing of the other is written");
    let second = committed(store.commit(puts(&after, &[(3, 30), (2, 21)])));
    assert!(second > first);
    assert_eq!([1, 2, 3].map(|id| value(&before, id)), [None; 3]);
    // Of two in one group the first wins as well, and other scopes and tables are other rows.
    let at = store.snapshot().unwrap();
    let mut request = CommitRequest::at(at.seq());
    let user = Scope::User("anna".into());
    request.table(table(1), 0).put(&user, &key(2), tuple(1), None).unwrap();
    request.table(table(2), 0).delete(&Scope::Table, &key(2), None);
    committed(store.commit(request.clone()));
    assert_eq!(conflict(store.commit(request)).scope, user);
    committed(store.commit(puts(&at, &[(2, 22)])));
}

#[test]
fn of_commits_in_one_group_the_first_of_a_row_wins() {
    let storage = Instrumented::new(MemoryDisk::new().open(Path::new(FOLDER)).unwrap());
    let probe = storage.clone();
    let store = &open(storage);
    let at = &store.snapshot().unwrap();
    let outcomes = probe.in_one_group(store, (0..10).map(|n| put_over(at, n % 2, n, position(0, n as u32 % 4))));
    let mut won: Vec<_> = Vec::new();
    let mut lost = 0;
    for outcome in outcomes {
        match outcome.unwrap() {
            CommitOutcome::Committed(seq) => won.push(seq),
            CommitOutcome::Conflict(conflict) => {
                lost += 1;
                assert!(conflict.seq.is_some_and(|seq| won.contains(&seq) || seq <= store.snapshot().unwrap().seq()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((won.len(), lost), (2, 8));
}

#[test]
fn a_commit_that_changes_a_row_twice_or_is_from_the_future_is_refused() {
    let store = open_in(&MemoryDisk::new());
    let at = store.snapshot().unwrap();
    one_of_each(&store.commit(puts(&at, &[(1, 1), (1, 2)])).unwrap_err(), &["twice"]);
    let mut request = put_over(&at, 1, 1, position(0, 0));
    request.table(table(1), 0).delete(&Scope::Table, &key(2), Some(position(0, 0)));
    one_of_each(&store.commit(request).unwrap_err(), &["twice"]);
    let future = CommitRequest::at(SeqId::MAX);
    one_of_each(&store.commit(future).unwrap_err(), &["after the last commit"]);
    assert!(CommitRequest::at(at.seq()).table(table(1), 0).put(&Scope::Table, b"k", vec![9], None).is_err());
    let tombstone = crate::tuple::TOMBSTONE.to_vec();
    assert!(CommitRequest::at(at.seq()).table(table(1), 0).put(&Scope::Table, b"k", tombstone, None).is_err());
    assert_eq!(store.snapshot().unwrap().seq(), SeqId::ZERO);
}

#[test]
fn a_cold_row_is_superseded_once() {
    let store = open_in(&MemoryDisk::new());
    let before = store.snapshot().unwrap();
    committed(store.commit(put_over(&before, 1, 1, position(3, 4))));
    // Another row, so only the position says it.
    let lost = conflict(store.commit(put_over(&before, 2, 2, position(3, 4))));
    assert_eq!((lost.primary_key, lost.seq), (key(2).to_vec(), None));
    committed(store.commit(put_over(&before, 2, 2, position(3, 5))));
    let storage = Instrumented::new(MemoryDisk::new().open(Path::new(FOLDER)).unwrap());
    let probe = storage.clone();
    let store = open(storage);
    let at = store.snapshot().unwrap();
    let outcomes = probe.in_one_group(&store, (0..4).map(|id| put_over(&at, id, 0, position(1, 1))));
    let won = outcomes.iter().filter(|outcome| matches!(outcome, Ok(CommitOutcome::Committed(_)))).count();
    assert_eq!(won, 1);
}

#[test]
fn a_request_of_another_cold_generation_is_to_be_looked_up_again() {
    let store = open_in(&MemoryDisk::new());
    commit(&store, &[(1, 10)]);
    let before = store.snapshot().unwrap();
    assert_eq!(before.cold(table(1)), ColdVersion::default());
    let version = swap(&store, before.seq()).unwrap();
    assert_eq!(version, ColdVersion { generation: 1, cut: before.seq() });
    assert!(matches!(store.commit(puts(&before, &[(1, 11)])), Ok(CommitOutcome::ColdChanged(t)) if t == table(1)));
    let mut request = CommitRequest::at(before.seq());
    request.table(table(1), 1).put(&Scope::Table, &key(1), tuple(11), Some(position(0, 0))).unwrap();
    committed(store.commit(request));
    assert_eq!(before.cold(table(1)), ColdVersion::default());
    let after = store.snapshot().unwrap();
    assert_eq!(after.cold_versions().collect::<Vec<_>>(), [(table(1), version)]);
}

#[test]
fn a_snapshot_sees_pending_deletes_up_to_its_commit_whatever_is_published_later() {
    let store = open_in(&MemoryDisk::new());
    let mut snapshots = vec![(store.snapshot().unwrap(), vec![])];
    for n in 0..5_u32 {
        let at = store.snapshot().unwrap();
        committed(store.commit(put_over(&at, n.into(), 0, position(n % 2, n))));
        let want: Vec<(u32, Vec<u32>)> = [0, 1]
            .map(|file| (file, (0..=n).filter(|row| row % 2 == file).collect::<Vec<_>>()))
            .into_iter()
            .filter(|(_, rows)| !rows.is_empty())
            .collect();
        snapshots.push((store.snapshot().unwrap(), want));
    }
    let check = |snapshots: &[(RowSnapshot, Vec<_>)]| {
        snapshots.iter().for_each(|(at, want)| assert_eq!(pending(at), *want, "{}", at.seq()));
    };
    check(&snapshots);
    // Row 0 and 2 of file 0 and row 1 of file 1 are in vectors now; rows that are not pending as well.
    let cut = snapshots[3].0.seq();
    let published = vec![(0, [0, 2, 9].into()), (1, [1].into()), (2, [7].into())];
    let swap = ColdSwap { table: table(1), cut, published, removed_files: vec![], superseded: vec![] };
    store.exclusive(|x| x.swap(&swap)).unwrap();
    check(&snapshots);
    let after = store.snapshot().unwrap();
    assert_eq!(pending(&after), [(0, vec![4]), (1, vec![3])]);
    committed(store.commit(put_over(&after, 9, 0, position(0, 5))));
    check(&snapshots);
    assert_eq!(pending(&after), [(0, vec![4]), (1, vec![3])]);
    snapshots.remove(0);
    drop(after);
    assert_eq!(pending(&store.snapshot().unwrap()), [(0, vec![4, 5]), (1, vec![3])]);
    check(&snapshots);
}

#[test]
fn a_swap_that_would_lose_or_double_a_row_is_refused() {
    let store = open_in(&MemoryDisk::new());
    let cut = commit(&store, &[(1, 1)]);
    let at = store.snapshot().unwrap();
    let later = committed(store.commit(put_over(&at, 2, 2, position(0, 2))));
    let good = ColdSwap { table: table(1), cut, published: vec![], removed_files: vec![], superseded: vec![] };
    let refused = |swap: &ColdSwap, words: &[&str]| {
        let error = store.exclusive(|x| x.swap(swap)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        one_of_each(&error, words);
    };
    refused(&ColdSwap { cut: seq(later.as_i64() + 1), ..good.clone() }, &["its cut must be from"]);
    refused(&ColdSwap { published: vec![(0, [2].into())], ..good.clone() }, &["row 2 of file 0 was superseded later"]);
    let superseded = |position, seq| vec![PendingDelete { position, seq }];
    refused(&ColdSwap { superseded: superseded(position(5, 0), cut), ..good.clone() }, &["not after the cut"]);
    refused(&ColdSwap { superseded: superseded(position(5, 0), SeqId::MAX), ..good.clone() }, &["not after the cut"]);
    refused(&ColdSwap { superseded: superseded(position(0, 2), later), ..good.clone() }, &["superseded twice"]);
    let twice = store.exclusive(|x| x.swap(&good).and_then(|_| x.swap(&good))).unwrap_err();
    one_of_each(&twice, &["at the same time"]);
    assert_eq!(store.snapshot().unwrap().cold(table(1)), ColdVersion::default());
    store.exclusive(|x| x.swap(&good)).unwrap();
    refused(&ColdSwap { cut: SeqId::ZERO, ..good }, &["its cut must be from"]);
}

#[test]
fn exclusive_work_that_fails_or_panics_changes_nothing_and_commits_continue() {
    let disk = MemoryDisk::new();
    let store = open_in(&disk);
    let cut = commit(&store, &[(1, 1)]);
    let intent = Intent { id: Uuid::from_u128(5), content: b"flush".to_vec() };
    let swap = ColdSwap { table: table(1), cut, published: vec![], removed_files: vec![], superseded: vec![] };
    let failed: Result<()> = store.exclusive(|x| {
        x.put_intent(&intent);
        x.swap(&swap)?;
        Err(TxnLogError::invalid("no"))
    });
    assert_eq!(failed.unwrap_err().to_string(), "no");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        store.exclusive(|x| -> Result<()> {
            x.put_intent(&intent);
            panic!("on purpose")
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(store.intents().unwrap(), []);
    assert_eq!(store.snapshot().unwrap().cold(table(1)).generation, 0);
    commit(&store, &[(1, 2)]);
    put_intent(&store, &intent);
    drop(store);
    disk.lose_power();
    let store = open_in(&disk);
    assert_eq!(store.intents().unwrap(), std::slice::from_ref(&intent));
    let replaced = Intent { content: vec![], ..intent };
    put_intent(&store, &replaced);
    assert_eq!(store.intents().unwrap(), [replaced]);
    delete_intent(&store, intent.id);
    assert_eq!(store.intents().unwrap(), []);
}

#[test]
fn marks_of_tables_are_there_after_a_power_failure() {
    let disk = MemoryDisk::new();
    let store = open_in(&disk);
    let mark = |store: &RowStore, id, mark| {
        store.exclusive(|x| {
            x.mark(table(id), mark);
            Ok(())
        })
    };
    assert!(store.marks().unwrap().is_empty());
    mark(&store, 1, TableMark::Live).unwrap();
    mark(&store, 2, TableMark::Live).unwrap();
    mark(&store, 1, TableMark::Dropped).unwrap();
    drop(store);
    disk.lose_power();
    let marks = open_in(&disk).marks().unwrap();
    assert_eq!(marks, [(table(1), TableMark::Dropped), (table(2), TableMark::Live)]);
}

#[test]
fn a_collection_keeps_what_the_oldest_snapshot_needs_to_find_conflicts() {
    let store = open_in(&MemoryDisk::new());
    let first = commit(&store, &[(1, 10), (2, 20)]);
    let old = store.snapshot().unwrap();
    let cut = commit(&store, &[(1, 11)]);
    commit(&store, &[(3, 30)]);
    assert_eq!(store.collect(table(1), SeqId::MAX).unwrap(), Collected { floor: SeqId::ZERO, versions: 0 });
    swap(&store, cut).unwrap();
    assert_eq!(store.collect(table(1), SeqId::MAX).unwrap(), Collected { floor: first, versions: 2 });
    let mut request = CommitRequest::at(old.seq());
    request.table(table(1), 1).put(&Scope::Table, &key(1), tuple(12), Some(position(0, 0))).unwrap();
    assert_eq!(conflict(store.commit(request.clone())).seq, Some(cut));
    assert_eq!([1, 2].map(|id| value(&old, id)), [Some(10), Some(20)], "an older snapshot reads as before");
    drop(old);
    assert_eq!(store.collect(table(1), SeqId::MAX).unwrap(), Collected { floor: cut, versions: 1 });
    // The version that shows the conflict is collected: the request is refused anyway.
    assert!(matches!(store.commit(request), Ok(CommitOutcome::SnapshotTooOld(t)) if t == table(1)));
    let at = store.snapshot().unwrap();
    assert_eq!([1, 2, 3].map(|id| value(&at, id)), [None, None, Some(30)]);
    assert_eq!(store.collect(table(1), first).unwrap(), Collected { floor: cut, versions: 0 }, "a floor stays");
}

#[test]
fn a_collection_of_many_versions_lets_commits_in_between() {
    let storage = Instrumented::new(MemoryDisk::new().open(Path::new(FOLDER)).unwrap());
    let probe = storage.clone();
    let store = open(storage);
    let mut cut = SeqId::ZERO;
    for n in 0..5 {
        cut = commit(&store, &(0..900).map(|id| (id, n)).collect::<Vec<_>>());
    }
    commit(&store, &[(0, 9)]);
    swap(&store, cut).unwrap();
    let before = probe.writes();
    assert_eq!(store.collect(table(1), SeqId::MAX).unwrap(), Collected { floor: cut, versions: 4_500 });
    // One of the floor, then one for at most 2,000 versions each, which are deleted as a range.
    assert_eq!(probe.writes() - before, 4);
    assert_eq!(probe.longest_unsynced(), 2);
    assert_eq!(scanned(&store.snapshot().unwrap(), VersionScan::default()), [(0, Some(9))]);
}
