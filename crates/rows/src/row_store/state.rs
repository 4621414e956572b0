//! What readers and the writer share: the visible watermark, the cold versions and pending deletes of the tables, and
//! the snapshots in use.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use deltalakedb_log::{ErrorKind, Result, TableId, TxnLogError};
use parking_lot::{Mutex, RwLock};

use super::cold::ColdVersion;
use super::meta;
use super::pending::{self, PendingDeletes};
use crate::seq::SeqId;
use crate::storage::{Batch, Direction, Family, KeyRange, Snapshot, Storage, WalSync};

/// The part of a row store that snapshots keep. Locks are taken in this order: the turn of the writer, what is visible,
/// the pending deletes of a table.
pub(super) struct State {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) visible: Mutex<Visible>,
    stopped: Mutex<Option<Stopped>>,
}

/// What a new snapshot sees. The storage has all of it, and may have more that is not visible yet.
pub(super) struct Visible {
    /// Every commit up to this one is visible.
    pub(super) seq: SeqId,
    pub(super) tables: Arc<Tables>,
    /// How many snapshots are in use at each `_seq`.
    pub(super) readers: BTreeMap<SeqId, usize>,
}

pub(super) type Tables = HashMap<TableId, Arc<TableCold>>;

/// A table under one cold snapshot. When the next one is published, older readers keep this one.
#[derive(Default)]
pub(super) struct TableCold {
    pub(super) version: ColdVersion,
    pub(super) pending: RwLock<PendingDeletes>,
}

/// Why nothing is written any more.
#[derive(Clone, Debug)]
pub(super) enum Stopped {
    Closed,
    /// A write failed. The reason says what to do.
    Failed(String),
}

impl Stopped {
    pub(super) fn error(&self) -> TxnLogError {
        match self {
            Self::Closed => TxnLogError::invalid("the row store is closed: open it again"),
            Self::Failed(reason) => {
                TxnLogError::new(ErrorKind::Unavailable, format!("the row store is read-only: {reason}"))
            }
        }
    }
}

/// What [`State::recover`] finds.
pub(super) struct Recovered {
    pub(super) state: State,
    /// The `_seq` up to which versions may have been collected, by table.
    pub(super) floors: HashMap<TableId, SeqId>,
}

impl State {
    /// The state of a storage as it is, or of a new one.
    pub(super) fn recover(storage: Arc<dyn Storage>) -> Result<Recovered> {
        // The commits that a crash left are visible from now on, but may not be on the disk yet.
        storage.sync()?;
        let mut snapshot = storage.snapshot()?;
        if !meta::is_row_store(&*snapshot)? {
            check_new(&*snapshot)?;
            let mut batch = Batch::new();
            meta::put_new_store(&mut batch);
            storage.write(batch, WalSync::Now)?;
            snapshot = storage.snapshot()?;
        }
        let seq = meta::high_water(&*snapshot)?;
        let mut tables: HashMap<_, TableCold> = pending::load(&*snapshot, seq)?
            .into_iter()
            .map(|(table, pending)| {
                (table, TableCold { version: ColdVersion::default(), pending: RwLock::new(pending) })
            })
            .collect();
        for (table, version) in meta::cold_versions(&*snapshot)? {
            check_known(version.cut, seq, table)?;
            tables.entry(table).or_default().version = version;
        }
        let floors = meta::floors(&*snapshot)?;
        floors.iter().try_for_each(|(table, floor)| check_known(*floor, seq, *table))?;
        let tables = tables.into_iter().map(|(table, cold)| (table, Arc::new(cold))).collect();
        let visible = Mutex::new(Visible { seq, tables: Arc::new(tables), readers: BTreeMap::new() });
        let state = Self { storage, visible, stopped: Mutex::new(None) };
        Ok(Recovered { state, floors: floors.into_iter().collect() })
    }

    /// Fails with the reason if nothing is written any more.
    pub(super) fn check_writable(&self) -> Result<()> {
        match &*self.stopped.lock() {
            Some(stopped) => Err(stopped.error()),
            None => Ok(()),
        }
    }

    /// Stops all further writes. The first reason stays.
    pub(super) fn stop(&self, stopped: Stopped) {
        self.stopped.lock().get_or_insert(stopped);
    }

    /// Writes a batch. A failure, after which it is not known whether the batch is stored, stops all further writes.
    pub(super) fn write(&self, batch: Batch, sync: WalSync) -> Result<()> {
        self.storage.write(batch, sync).inspect_err(|e| self.stop(Stopped::Failed(e.to_string())))
    }
}

impl Visible {
    /// The `_seq` of the oldest snapshot in use, or of a new one.
    pub(super) fn oldest_reader(&self) -> SeqId {
        self.readers.first_key_value().map_or(self.seq, |(oldest, _)| *oldest)
    }

    /// A table, which is added if it is not known.
    pub(super) fn table(&mut self, table: TableId) -> &Arc<TableCold> {
        if !self.tables.contains_key(&table) {
            Arc::make_mut(&mut self.tables).insert(table, Arc::default());
        }
        &self.tables[&table]
    }
}

/// The cold version of a table.
pub(super) fn cold_version(tables: &Tables, table: TableId) -> ColdVersion {
    tables.get(&table).map(|cold| cold.version).unwrap_or_default()
}

/// Refuses a storage that is not marked as a row store, and has entries of one.
fn check_new(snapshot: &dyn Snapshot) -> Result<()> {
    for family in [Family::Hot, Family::SeqIndex, Family::Pending, Family::Meta] {
        if snapshot.scan(family, &KeyRange::all(), Direction::Forward)?.next()?.is_some() {
            return Err(TxnLogError::corrupt(
                "the row store lost the entry that says its format: restore it from a checkpoint",
            ));
        }
    }
    Ok(())
}

fn check_known(seq: SeqId, high_water: SeqId, table: TableId) -> Result<()> {
    if seq <= high_water {
        return Ok(());
    }
    Err(TxnLogError::corrupt(format!(
        "the row store has a cut of table {table} at {seq}, after its last commit {high_water}: it is damaged, restore \
         it from a checkpoint"
    )))
}
