//! Failing disks, power failures, damage and closed stores.

use super::*;

#[test]
fn a_failed_sync_answers_unknown_and_stops_all_writes_but_no_reads() {
    for lose_power in [false, true] {
        let disk = MemoryDisk::new();
        let storage = Instrumented::new(disk.open(Path::new(FOLDER)).unwrap());
        let probe = storage.clone();
        let store = open(storage);
        let last = commit(&store, &[(1, 10)]);
        let at = store.snapshot().unwrap();
        let mut requests: Vec<_> = (2..6).map(|id| puts(&at, &[(id, 0)])).collect();
        requests.push(puts(&at, &[(2, 1), (1, 11)]));
        let outcomes = probe.in_one_group_with(&store, requests, || disk.fail_next_sync(Path::new(FOLDER)));
        let mut lost = 0;
        for outcome in outcomes {
            match outcome.unwrap() {
                CommitOutcome::Unknown(e) => {
                    assert_eq!(e.kind(), ErrorKind::Unavailable);
                    one_of_each(&e, &["it is not known whether", "the sync failed", "open the store again"]);
                    assert_eq!(e.to_string().matches("again").count(), 1, "{e}");
                }
                CommitOutcome::Conflict(_) => lost += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(lost, 1);
        let refused = |e: TxnLogError| {
            assert_eq!(e.kind(), ErrorKind::Unavailable);
            one_of_each(&e, &["read-only", "the sync failed", "open the store again"]);
            assert_eq!(e.to_string().matches("again").count(), 1, "{e}");
        };
        refused(store.commit(puts(&at, &[(7, 0)])).unwrap_err());
        refused(store.exclusive(|_| Ok(())).unwrap_err());
        refused(store.collect(table(1), SeqId::MAX).unwrap_err());
        let read = store.snapshot().unwrap();
        assert_eq!(scanned(&read, VersionScan::default()), [(1, Some(10))]);
        let visible = read.seq();
        drop((at, read));
        store.close().unwrap();
        drop((store, probe));
        if lose_power {
            disk.lose_power();
        }
        let store = open_in(&disk);
        let read = store.snapshot().unwrap();
        let rows = scanned(&read, VersionScan::default()).len();
        assert_eq!(lose_power, read.seq() == visible);
        assert!(if lose_power { rows == 1 } else { rows >= 4 }, "{rows} rows");
        assert!(commit(&store, &[(1, 12)]) > last);
    }
}

#[test]
fn a_failed_sync_of_exclusive_work_publishes_nothing() {
    let disk = MemoryDisk::new();
    let store = open_in(&disk);
    let cut = commit(&store, &[(1, 10)]);
    disk.fail_next_sync(Path::new(FOLDER));
    assert_eq!(swap(&store, cut).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(store.snapshot().unwrap().cold(table(1)), ColdVersion::default());
    let refused = store.commit(puts(&store.snapshot().unwrap(), &[(1, 11)])).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
}

#[test]
fn a_closed_store_refuses_writes_and_its_snapshots_stay_readable() {
    let disk = MemoryDisk::new();
    let store = open_in(&disk);
    commit(&store, &[(1, 10)]);
    let at = store.snapshot().unwrap();
    store.close().unwrap();
    store.close().unwrap();
    for refused in [
        store.commit(puts(&at, &[(1, 11)])).unwrap_err(),
        store.exclusive(|_| Ok(())).unwrap_err(),
        store.collect(table(1), SeqId::MAX).unwrap_err(),
    ] {
        assert_eq!(refused.to_string(), "the row store is closed: open it again");
    }
    assert_eq!(value(&at, 1), Some(10));
    drop(store);
    assert_eq!(value(&at, 1), Some(10));
}

#[test]
fn what_is_known_of_a_store_is_the_same_after_it_is_opened_again() {
    let disk = MemoryDisk::new();
    let mut store = open_in(&disk);
    for n in 0..30_u32 {
        let at = store.snapshot().unwrap();
        committed(store.commit(put_over(&at, n.into(), 0, position(n % 3, n * n))));
        if n % 10 == 5 {
            let published = vec![(1, at.pending(table(1), 1).map(|rows| (*rows).clone()).unwrap_or_default())];
            let (removed_files, superseded) = (vec![], vec![]);
            let swap = ColdSwap { table: table(1), cut: at.seq(), published, removed_files, superseded };
            store.exclusive(|x| x.swap(&swap)).unwrap();
        }
        if n % 7 == 6 {
            store.collect(table(1), SeqId::MAX).unwrap();
        }
        let known = |store: &RowStore| {
            let at = store.snapshot().unwrap();
            (at.seq(), at.cold(table(1)), pending(&at), scanned(&at, VersionScan::default()))
        };
        let before = known(&store);
        drop((at, store));
        if n % 2 == 0 {
            disk.lose_power();
        }
        store = open_in(&disk);
        let (seq, cold, pending, rows) = known(&store);
        assert_eq!((seq, cold, pending), (before.0, before.1, before.2));
        if n % 2 != 0 {
            // A power failure may bring collected versions back.
            assert_eq!(rows, before.3);
        }
        let next = commit(&store, &[(100, 0)]);
        assert!(next > seq);
    }
}

#[test]
fn damaged_entries_are_errors_in_words() {
    let healthy = || {
        let disk = MemoryDisk::new();
        let store = open_in(&disk);
        let at = store.snapshot().unwrap();
        committed(store.commit(put_over(&at, 1, 10, position(0, 0))));
        drop(at);
        let cut = store.snapshot().unwrap().seq();
        swap(&store, cut).unwrap();
        store.collect(table(1), SeqId::MAX).unwrap();
        put_intent(&store, &Intent { id: Uuid::nil(), content: b"x".to_vec() });
        committed(store.commit(put_over(&store.snapshot().unwrap(), 1, 10, position(0, 1))));
        disk
    };
    let storage = |disk: &MemoryDisk| disk.open(Path::new(FOLDER)).unwrap();
    let entries = |storage: &MemoryStorage, family| {
        let snapshot = storage.snapshot().unwrap();
        let mut cursor = snapshot.scan(family, &KeyRange::all(), Direction::Forward).unwrap();
        let mut entries = Vec::new();
        while let Some(entry) = cursor.next().unwrap() {
            entries.push((entry.key.to_vec(), entry.value.to_vec()));
        }
        entries
    };
    let meta = entries(&storage(&healthy()), Family::Meta);
    assert_eq!(meta.len(), 5, "format, seq, cold, floor and intent");
    let opened = |disk: &MemoryDisk| -> Result<()> {
        let store = RowStore::open(Arc::new(storage(disk)), 7, Arc::new(Standing))?;
        store.intents().map(|_| ())
    };
    for (key, value) in &meta {
        for place in 0..value.len() {
            let disk = healthy();
            let mut batch = Batch::new();
            let mut damaged = value.clone();
            damaged[place] ^= 1;
            batch.put(Family::Meta, key.clone(), damaged);
            storage(&disk).write(batch, WalSync::Now).unwrap();
            let error = opened(&disk).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            one_of_each(&error, &[&key.escape_ascii().to_string(), "damaged"]);
        }
    }
    // Entries of one key at another, and lost ones.
    let disk = healthy();
    let mut batch = Batch::new();
    batch.put(Family::Meta, [b"cold/", table(2).0.as_bytes() as &[u8]].concat(), meta[0].1.clone());
    assert!(meta[0].0.starts_with(b"cold/"));
    storage(&disk).write(batch, WalSync::Now).unwrap();
    one_of_each(&opened(&disk).unwrap_err(), &["cold/", "damaged"]);
    for lost in [&b"format"[..], b"seq"] {
        let disk = healthy();
        let mut batch = Batch::new();
        batch.delete(Family::Meta, lost);
        storage(&disk).write(batch, WalSync::Now).unwrap();
        assert_eq!(opened(&disk).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    // Pending deletes, hot keys and tuples.
    let place = entries(&storage(&healthy()), Family::Pending).remove(0);
    for (family, key, value) in [
        (Family::Pending, place.0[..10].to_vec(), place.1.clone()),
        (Family::Pending, place.0.clone(), vec![0; 7]),
        (Family::Pending, place.0.clone(), SeqId::MAX.as_i64().to_be_bytes().to_vec()),
    ] {
        let disk = healthy();
        let mut batch = Batch::new();
        batch.put(family, key, value);
        storage(&disk).write(batch, WalSync::Now).unwrap();
        assert_eq!(opened(&disk).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    let disk = healthy();
    let (hot, _) = entries(&storage(&disk), Family::Hot).remove(0);
    let mut batch = Batch::new();
    batch.put(Family::Hot, hot, b"?");
    storage(&disk).write(batch, WalSync::Now).unwrap();
    let at = open_in(&disk).snapshot().unwrap();
    assert_eq!(at.get(table(1), &Scope::Table, &key(1)).unwrap_err().kind(), ErrorKind::Corrupt);
    let mut cursor = at.scan(ScopeKeys::range_of_table(table(1)), VersionScan::default()).unwrap();
    assert_eq!(cursor.next_row().unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_store_of_a_newer_program_is_refused() {
    let disk = MemoryDisk::new();
    drop(open_in(&disk));
    let storage = disk.open(Path::new(FOLDER)).unwrap();
    let mut value = vec![1, 2];
    let checksum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&[&b"format"[..], &value].concat());
    value.extend_from_slice(&checksum.to_be_bytes());
    let mut batch = Batch::new();
    batch.put(Family::Meta, b"format", value);
    storage.write(batch, WalSync::Now).unwrap();
    let error = RowStore::open(Arc::new(storage), 7, Arc::new(Standing)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    one_of_each(&error, &["newer version"]);
}

#[test]
fn a_commit_that_is_visible_after_a_crash_survives_a_power_failure() {
    let disk = MemoryDisk::new();
    let store = open_in(&disk);
    disk.fail_next_sync(Path::new(FOLDER));
    let outcome = store.commit(puts(&store.snapshot().unwrap(), &[(1, 10)]));
    assert!(matches!(outcome, Ok(CommitOutcome::Unknown(_))));
    drop(store);
    let store = open_in(&disk);
    let seen = store.snapshot().unwrap().seq();
    assert_eq!(value(&store.snapshot().unwrap(), 1), Some(10));
    drop(store);
    disk.lose_power();
    let store = open_in(&disk);
    let at = store.snapshot().unwrap();
    assert_eq!((at.seq(), value(&at, 1)), (seen, Some(10)));
}
