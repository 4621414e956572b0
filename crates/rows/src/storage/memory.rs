//! Stores in memory, for tests: the model of [`Storage`], with the failures of a disk on demand.

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deltalakedb_log::Result;
use parking_lot::Mutex;

use super::{
    Batch, Change, Cursor, Direction, Entry, Family, KeyRange, Snapshot, Storage, WalSync, closed, exists, failed,
    in_use, read_only,
};

/// A disk with stores in its folders. Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    stores: Arc<Mutex<BTreeMap<PathBuf, StoredFiles>>>,
}

/// What the disk has of a store.
#[derive(Clone, Default)]
struct StoredFiles {
    synced: Entries,
    /// Written after the last sync, in order.
    unsynced: Vec<Batch>,
    in_use: bool,
    /// The number of power failures: a store that was opened before the last is lost.
    power_failures: u64,
    next_sync_fails: bool,
}

impl MemoryDisk {
    /// A disk without stores.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the store in `folder`, a new one if there is none.
    pub fn open(&self, folder: &Path) -> Result<MemoryStorage> {
        let mut stores = self.stores.lock();
        let files = stores.entry(folder.to_path_buf()).or_default();
        if files.in_use {
            return Err(in_use(folder));
        }
        files.in_use = true;
        files.next_sync_fails = false;
        let mut entries = files.synced.clone();
        files.unsynced.iter().for_each(|batch| entries.apply(batch));
        let lease = Lease { disk: self.clone(), folder: folder.to_path_buf(), power_failures: files.power_failures };
        let state = State { open: Some(Opened { entries: Arc::new(entries), lease: Arc::new(lease) }), failure: None };
        Ok(MemoryStorage { folder: folder.to_path_buf(), state: Mutex::new(state) })
    }

    /// Loses the batches of every store that are not synced. Open stores fail from now on; opened again, they have what
    /// was synced.
    pub fn lose_power(&self) {
        for files in self.stores.lock().values_mut() {
            files.unsynced.clear();
            files.in_use = false;
            files.power_failures += 1;
        }
    }

    /// The next sync of the store in `folder` fails. What was to be synced stays written, and a power failure loses it.
    pub fn fail_next_sync(&self, folder: &Path) {
        if let Some(files) = self.stores.lock().get_mut(folder) {
            files.next_sync_fails = true;
        }
    }
}

/// A store of a [`MemoryDisk`].
pub struct MemoryStorage {
    folder: PathBuf,
    state: Mutex<State>,
}

struct State {
    /// None once it is closed.
    open: Option<Opened>,
    /// Why it is read-only.
    failure: Option<String>,
}

#[derive(Clone)]
struct Opened {
    entries: Arc<Entries>,
    lease: Arc<Lease>,
}

/// The use of a store on the disk, which ends when the store and its snapshots are dropped.
struct Lease {
    disk: MemoryDisk,
    folder: PathBuf,
    power_failures: u64,
}

impl Lease {
    /// Changes the files of the store; an error text if the disk fails.
    fn change(&self, change: impl FnOnce(&mut StoredFiles)) -> Result<(), &'static str> {
        let mut stores = self.disk.stores.lock();
        match stores.get_mut(&self.folder) {
            Some(files) if files.power_failures == self.power_failures => {
                change(files);
                Ok(())
            }
            _ => Err("the disk lost its power"),
        }
    }

    fn sync(&self) -> Result<(), &'static str> {
        let mut fails = false;
        self.change(|files| {
            fails = std::mem::take(&mut files.next_sync_fails);
            if !fails {
                let StoredFiles { synced, unsynced, .. } = files;
                unsynced.drain(..).for_each(|batch| synced.apply(&batch));
            }
        })?;
        if fails { Err("the sync failed") } else { Ok(()) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // After a power failure the store is not in use by this lease.
        let _ = self.change(|files| files.in_use = false);
    }
}

impl MemoryStorage {
    /// Runs `write` unless the store is closed or read-only. An error text makes it read-only.
    fn writing<T>(&self, write: impl FnOnce(&mut Opened) -> Result<T, &'static str>) -> Result<T> {
        let State { open, failure } = &mut *self.state.lock();
        let open = open.as_mut().ok_or_else(|| closed(&self.folder))?;
        if let Some(reason) = failure {
            return Err(read_only(&self.folder, reason));
        }
        write(open).map_err(|reason| {
            *failure = Some(reason.to_string());
            failed(&self.folder, reason)
        })
    }
}

impl Storage for MemoryStorage {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        let state = self.state.lock();
        let open = state.open.as_ref().ok_or_else(|| closed(&self.folder))?;
        Ok(Box::new(MemorySnapshot(open.clone())))
    }

    fn write(&self, batch: Batch, sync: WalSync) -> Result<()> {
        self.writing(|open| {
            open.lease.change(|files| files.unsynced.push(batch.clone()))?;
            if sync == WalSync::Now {
                open.lease.sync()?;
            }
            Arc::make_mut(&mut open.entries).apply(&batch);
            Ok(())
        })
    }

    fn sync(&self) -> Result<()> {
        self.writing(|open| open.lease.sync())
    }

    fn checkpoint(&self, folder: &Path) -> Result<()> {
        let (entries, disk) = self.writing(|open| Ok((open.entries.clone(), open.lease.disk.clone())))?;
        let files = StoredFiles { synced: (*entries).clone(), ..StoredFiles::default() };
        match disk.stores.lock().entry(folder.to_path_buf()) {
            btree_map::Entry::Occupied(_) => Err(exists(folder)),
            btree_map::Entry::Vacant(place) => {
                place.insert(files);
                Ok(())
            }
        }
    }

    fn close(&self) -> Result<()> {
        let mut state = self.state.lock();
        match (state.open.take(), &state.failure) {
            (Some(open), None) => open.lease.sync().map_err(|reason| failed(&self.folder, reason)),
            _ => Ok(()),
        }
    }
}

struct MemorySnapshot(Opened);

impl Snapshot for MemorySnapshot {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.entries.of(family).and_then(|entries| entries.get(key)).cloned())
    }

    fn scan(&self, family: Family, range: &KeyRange, direction: Direction) -> Result<Box<dyn Cursor + '_>> {
        let entries = self.0.entries.of(family);
        let mut cursor = MemoryCursor { entries, range: range.clone(), direction, rest: None };
        cursor.rest = cursor.entries_of(range);
        Ok(Box::new(cursor))
    }
}

/// The entries of all families.
#[derive(Clone, Default)]
struct Entries(BTreeMap<Family, BTreeMap<Vec<u8>, Vec<u8>>>);

impl Entries {
    fn of(&self, family: Family) -> Option<&BTreeMap<Vec<u8>, Vec<u8>>> {
        self.0.get(&family)
    }

    fn apply(&mut self, batch: &Batch) {
        for change in &batch.changes {
            match change {
                Change::Put { family, key, value } => {
                    self.0.entry(*family).or_default().insert(key.clone(), value.clone());
                }
                Change::Delete { family, key } => {
                    self.0.entry(*family).or_default().remove(key);
                }
                Change::DeleteRange { family, range } => {
                    self.0.entry(*family).or_default().retain(|key, _| !range.contains(key));
                }
            }
        }
    }
}

struct MemoryCursor<'a> {
    entries: Option<&'a BTreeMap<Vec<u8>, Vec<u8>>>,
    range: KeyRange,
    direction: Direction,
    rest: Option<btree_map::Range<'a, Vec<u8>, Vec<u8>>>,
}

impl<'a> MemoryCursor<'a> {
    fn entries_of(&self, range: &KeyRange) -> Option<btree_map::Range<'a, Vec<u8>, Vec<u8>>> {
        if range.is_empty() {
            return None;
        }
        let end = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.entries.map(|entries| entries.range::<[u8], _>((Bound::Included(range.start.as_slice()), end)))
    }
}

impl Cursor for MemoryCursor<'_> {
    fn next(&mut self) -> Result<Option<Entry<'_>>> {
        let next = self.rest.as_mut().and_then(|rest| match self.direction {
            Direction::Forward => rest.next(),
            Direction::Backward => rest.next_back(),
        });
        Ok(next.map(|(key, value)| Entry { key, value }))
    }

    fn seek(&mut self, key: &[u8]) {
        let mut range = self.range.clone();
        match self.direction {
            Direction::Forward => range.start = range.start.max(key.to_vec()),
            Direction::Backward => {
                // The first key after this one.
                let end = [key, &[0]].concat();
                range.end = Some(range.end.map_or(end.clone(), |was| was.min(end)));
            }
        }
        self.rest = self.entries_of(&range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::suite::{self, Disk, check_failed, check_read_only, entries, put, storage_tests};

    impl Disk for MemoryDisk {
        fn open(&self, folder: &Path) -> Result<Box<dyn Storage>> {
            Ok(Box::new(Self::open(self, folder)?))
        }

        fn folder(&self, name: &str) -> PathBuf {
            name.into()
        }
    }

    storage_tests!(MemoryDisk::new());

    #[test]
    fn a_power_failure_loses_what_is_not_synced() {
        let (disk, folder) = (MemoryDisk::new(), Path::new("store"));
        let storage = disk.open(folder).unwrap();
        storage.write(put(Family::Hot, b"1", b""), WalSync::Later).unwrap();
        storage.write(put(Family::Hot, b"2", b""), WalSync::Now).unwrap();
        storage.write(put(Family::Hot, b"3", b""), WalSync::Later).unwrap();
        storage.sync().unwrap();
        let synced = entries(&storage);
        storage.write(put(Family::Hot, b"4", b""), WalSync::Later).unwrap();
        disk.lose_power();
        check_failed(&storage.write(put(Family::Hot, b"5", b""), WalSync::Later).unwrap_err(), folder);

        let again = disk.open(folder).unwrap();
        assert_eq!(entries(&again), synced);
        again.write(put(Family::Hot, b"6", b""), WalSync::Later).unwrap();
        // The store from before the failure has no part in the new one.
        drop(storage);
        assert_eq!(disk.open(folder).err().unwrap().kind(), deltalakedb_log::ErrorKind::Unavailable);
        drop(again);
        let keys: Vec<_> = entries(&disk.open(folder).unwrap())[&Family::Hot].keys().cloned().collect();
        assert_eq!(keys, [b"1", b"2", b"3", b"6"]);
    }

    #[test]
    fn a_failed_sync_makes_the_store_read_only_until_it_is_opened_again() {
        for lose_power in [false, true] {
            let (disk, folder) = (MemoryDisk::new(), Path::new("store"));
            let storage = disk.open(folder).unwrap();
            storage.write(put(Family::Hot, b"1", b""), WalSync::Now).unwrap();
            let seen: suite::Model = entries(&storage);
            disk.fail_next_sync(folder);
            check_failed(&storage.write(put(Family::Hot, b"2", b""), WalSync::Now).unwrap_err(), folder);
            check_read_only(&storage, folder, &seen);
            drop(storage);
            if lose_power {
                disk.lose_power();
            }
            let again = disk.open(folder).unwrap();
            assert_eq!(again.snapshot().unwrap().get(Family::Hot, b"2").unwrap().is_none(), lose_power);
            again.write(put(Family::Hot, b"3", b""), WalSync::Now).unwrap();
        }
    }
}
