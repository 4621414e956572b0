//! Stores in folders, kept by RocksDB.

mod options;
#[cfg(test)]
mod tests;
mod wal;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use deltalakedb_log::{ErrorKind, Result, TxnLogError, metric};
use parking_lot::{Mutex, RwLock};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    Cache, ColumnFamily, DB, DBRawIterator, FlushOptions, ReadOptions, WriteBatch, WriteBufferManager, WriteOptions,
};
use self_cell::self_cell;

pub use options::RocksOptions;

use super::{
    Batch, Change, Cursor, Direction, Entry, Family, KeyRange, Snapshot, Storage, WalSync, closed, exists, failed,
    in_use, read_only,
};

/// The file whose lock says that a store is open. RocksDB has a lock of its own, whose error has no code.
const LOCK: &str = "in_use.lock";

/// A store in a folder, which one process has open at a time.
///
/// Memory is bounded by the [`RocksOptions`], and so is the write-ahead log. At open, a torn end of the log is cut: the
/// batches that a crash left unfinished. Damage elsewhere in the log is refused, as is any in the other files, where
/// RocksDB notices it at open or when it reads the block.
pub struct RocksStorage {
    folder: PathBuf,
    /// None once it is closed.
    database: RwLock<Option<Arc<Database>>>,
    log: Mutex<Log>,
    memory: Memory,
}

/// The memory of a store, as far as it is bounded by its options.
struct Memory {
    block_cache: Cache,
    memtables: WriteBufferManager,
}

impl Memory {
    /// Sets the gauges of the process.
    fn record(&self) {
        metric::HOT_MEMTABLES.set(self.memtables.get_usage() as f64);
        metric::HOT_BLOCK_CACHE.set(self.block_cache.get_usage() as f64);
    }
}

/// The write-ahead log. Who holds it is the only writer.
struct Log {
    /// Whether all that was written is synced.
    synced: bool,
    /// Why the store is read-only.
    failure: Option<String>,
}

/// An open database. Declared in the order in which they have to be dropped.
struct Database {
    rocks: DB,
    _lock: File,
}

impl Database {
    fn family(&self, family: Family) -> Result<&ColumnFamily> {
        self.rocks.cf_handle(family.name()).ok_or_else(|| {
            TxnLogError::new(ErrorKind::Internal, format!("the column family {} is not open", family.name()))
        })
    }
}

impl RocksStorage {
    /// Opens the store in `folder`, a new one if there is none.
    ///
    /// It is an error of kind [`Unavailable`](ErrorKind::Unavailable) if the store is open, in this process or another,
    /// and of kind [`Corrupt`](ErrorKind::Corrupt) if its files are damaged.
    pub fn open(folder: &Path, options: &RocksOptions) -> Result<Self> {
        make_folder(folder).map_err(|e| io_error(folder, e))?;
        let lock = lock(folder)?;
        check_complete(folder)?;
        let cut = wal::cut_torn_end(folder)?;
        if cut > 0 {
            tracing::warn!("cut {cut} bytes of unfinished batches from the write-ahead log in {}", folder.display());
        }
        let memory = Memory { block_cache: options.cache(), memtables: options.write_buffer_manager() };
        let families = Family::ALL.map(|family| (family.name(), options.family(&memory.block_cache)));
        let rocks = DB::open_cf_with_opts(&options.database(&memory.memtables), folder, families)
            .map_err(|e| error(&format!("the store in {} cannot be opened", folder.display()), e))?;
        Ok(Self {
            folder: folder.to_path_buf(),
            database: RwLock::new(Some(Arc::new(Database { rocks, _lock: lock }))),
            log: Mutex::new(Log { synced: true, failure: None }),
            memory,
        })
    }

    /// Whether `folder` has the file by which RocksDB recognizes a store.
    pub fn exists(folder: &Path) -> bool {
        folder.join("CURRENT").exists()
    }

    fn database(&self) -> Result<Arc<Database>> {
        self.database.read().clone().ok_or_else(|| closed(&self.folder))
    }

    /// The database, unless the store is read-only.
    fn writable(&self, log: &Log) -> Result<Arc<Database>> {
        let database = self.database()?;
        match &log.failure {
            Some(reason) => Err(read_only(&self.folder, reason)),
            None => Ok(database),
        }
    }

    /// Makes the store read-only.
    fn fail(&self, log: &mut Log, e: rocksdb::Error) -> TxnLogError {
        let reason = e.into_string();
        let error = failed(&self.folder, &reason);
        log.failure = Some(reason);
        error
    }
}

impl Storage for RocksStorage {
    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(OwnedSnapshot::new(self.database()?, |database| database.rocks.snapshot())))
    }

    fn write(&self, batch: Batch, sync: WalSync) -> Result<()> {
        let mut log = self.log.lock();
        let database = self.writable(&log)?;
        let mut changes = WriteBatch::default();
        changes.put_log_data(wal::mark(log.synced));
        for change in batch.changes {
            match change {
                Change::Put { family, key, value } => changes.put_cf(database.family(family)?, key, value),
                Change::Delete { family, key } => changes.delete_cf(database.family(family)?, key),
                Change::DeleteRange { family, range } => {
                    changes.delete_range_cf(database.family(family)?, range.start, range.end);
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync == WalSync::Now);
        database.rocks.write_opt(changes, &options).map_err(|e| self.fail(&mut log, e))?;
        log.synced = sync == WalSync::Now;
        drop(log);
        self.memory.record();
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let mut log = self.log.lock();
        self.writable(&log)?.rocks.flush_wal(true).map_err(|e| self.fail(&mut log, e))?;
        log.synced = true;
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        let database = self.writable(&self.log.lock())?;
        let mut options = FlushOptions::default();
        options.set_wait(false);
        for family in Family::ALL {
            database.rocks.flush_cf_opt(database.family(family)?, &options).map_err(unreadable)?;
        }
        Ok(())
    }

    fn checkpoint(&self, folder: &Path) -> Result<()> {
        // Not under the lock, so that writes continue.
        let database = self.writable(&self.log.lock())?;
        if folder.exists() {
            return Err(exists(folder));
        }
        if let Some(parent) = parent(folder) {
            make_folder(parent).map_err(|e| io_error(parent, e))?;
        }
        let failed = |e| error(&format!("the checkpoint {} cannot be made", folder.display()), e);
        Checkpoint::new(&database.rocks).map_err(failed)?.create_checkpoint(folder).map_err(failed)?;
        sync_parent(folder).map_err(|e| io_error(folder, e))
    }

    fn close(&self) -> Result<()> {
        let mut log = self.log.lock();
        let database = self.database.write().take();
        match (database, &log.failure) {
            (Some(database), None) => database.rocks.flush_wal(true).map_err(|e| self.fail(&mut log, e)),
            _ => Ok(()),
        }
    }
}

type RocksSnapshot<'a> = rocksdb::Snapshot<'a>;

self_cell! {
    struct OwnedSnapshot {
        owner: Arc<Database>,
        #[covariant]
        dependent: RocksSnapshot,
    }
}

impl Snapshot for OwnedSnapshot {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let family = self.borrow_owner().family(family)?;
        self.borrow_dependent().get_cf(family, key).map_err(unreadable)
    }

    fn scan(&self, family: Family, range: &KeyRange, direction: Direction) -> Result<Box<dyn Cursor + '_>> {
        let family = self.borrow_owner().family(family)?;
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(range.start.clone());
        // A range with its end before its start has no keys, and this one has none either.
        if let Some(end) = &range.end {
            options.set_iterate_upper_bound(end.max(&range.start).clone());
        }
        let rocks = self.borrow_dependent().raw_iterator_cf_opt(family, options);
        Ok(Box::new(RocksCursor { rocks, direction, place: Place::Start }))
    }
}

struct RocksCursor<'a> {
    rocks: DBRawIterator<'a>,
    direction: Direction,
    place: Place,
}

/// Where the iterator of a cursor is.
#[derive(Clone, Copy)]
enum Place {
    /// Nowhere yet.
    Start,
    /// At the entry that was returned last.
    Returned,
    /// At the next entry.
    Next,
}

impl Cursor for RocksCursor<'_> {
    fn next(&mut self) -> Result<Option<Entry<'_>>> {
        match (self.place, self.direction) {
            (Place::Start, Direction::Forward) => self.rocks.seek_to_first(),
            (Place::Start, Direction::Backward) => self.rocks.seek_to_last(),
            (Place::Returned, Direction::Forward) => self.rocks.next(),
            (Place::Returned, Direction::Backward) => self.rocks.prev(),
            (Place::Next, _) => {}
        }
        self.place = Place::Returned;
        self.rocks.status().map_err(unreadable)?;
        Ok(self.rocks.item().map(|(key, value)| Entry { key, value }))
    }

    fn seek(&mut self, key: &[u8]) {
        self.place = Place::Next;
        match self.direction {
            Direction::Forward => self.rocks.seek(key),
            Direction::Backward => self.rocks.seek_for_prev(key),
        }
    }
}

/// Makes the folder and those above it, durably.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = parent(folder) {
        make_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made.and_then(|()| sync_parent(folder)),
    }
}

fn parent(folder: &Path) -> Option<&Path> {
    folder.parent().filter(|parent| !parent.as_os_str().is_empty())
}

fn sync_parent(folder: &Path) -> std::io::Result<()> {
    File::open(parent(folder).unwrap_or(Path::new(".")))?.sync_all()
}

/// Locks the folder until the file is dropped.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(|e| io_error(&path, e))?;
    // A process that was just started has the locks of its parent for a moment.
    let mut attempts = 5;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if attempts > 0 => attempts -= 1,
            Err(TryLockError::WouldBlock) => return Err(in_use(folder)),
            Err(TryLockError::Error(e)) => return Err(io_error(&path, e)),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Refuses a folder that lost the file by which RocksDB recognizes a database, and would be taken for a new one.
fn check_complete(folder: &Path) -> Result<()> {
    if RocksStorage::exists(folder) {
        return Ok(());
    }
    for file in folder.read_dir().map_err(|e| io_error(folder, e))? {
        let path = file.map_err(|e| io_error(folder, e))?.path();
        if path.extension().is_some_and(|extension| extension == "sst" || extension == "log") {
            return Err(TxnLogError::corrupt(format!(
                "the store in {} has no file CURRENT: restore the store from a checkpoint",
                folder.display()
            )));
        }
    }
    Ok(())
}

fn io_error(path: &Path, e: std::io::Error) -> TxnLogError {
    TxnLogError::new(ErrorKind::Unavailable, format!("{} cannot be opened", path.display())).with_source(e)
}

fn unreadable(e: rocksdb::Error) -> TxnLogError {
    error("the store cannot be read", e)
}

fn error(message: &str, e: rocksdb::Error) -> TxnLogError {
    use rocksdb::ErrorKind as Rocks;
    let kind = match e.kind() {
        Rocks::Corruption => ErrorKind::Corrupt,
        Rocks::InvalidArgument | Rocks::NotSupported => ErrorKind::Invalid,
        Rocks::IOError | Rocks::Incomplete | Rocks::TimedOut | Rocks::Aborted | Rocks::Busy | Rocks::TryAgain => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Internal,
    };
    TxnLogError::new(kind, message).with_source(e)
}
