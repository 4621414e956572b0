//! Work between two groups of commits: publishing cold snapshots, marks of tables, and intents.

use std::collections::HashMap;
use std::sync::Arc;

use deltalakedb_log::{Result, TableId, TxnLogError};
use parking_lot::{MutexGuard, RwLock};
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::cold::{ColdVersion, PendingDelete};
use super::meta::{self, Intent, TableMark};
use super::pending::{self, PendingDeletes};
use super::sequencer::{Sequencer, Turn};
use super::snapshot::RowSnapshot;
use super::state::{State, TableCold};
use crate::seq::SeqId;
use crate::storage::{Batch, WalSync};

/// A new cold snapshot of a table.
#[derive(Clone, Debug)]
pub struct ColdSwap {
    /// The table.
    pub table: TableId,
    /// The `_seq` up to which it has all effects: not before that of the last cold snapshot.
    pub cut: SeqId,
    /// The rows that its deletion vectors name, by data file: their deletes are not pending any more. Rows that are not
    /// pending may be among them.
    pub published: Vec<(u32, RoaringBitmap)>,
    /// Data files that are not in it any more. Their pending deletes are dropped.
    pub removed_files: Vec<u32>,
    /// Rows in its new data files that versions after the cut supersede.
    pub superseded: Vec<PendingDelete>,
}

/// The changes of a [`RowStore::exclusive`](super::RowStore::exclusive), which are stored together when it returns. No
/// commit is between what it reads and what it changes.
pub struct Exclusive<'a> {
    state: &'a Arc<State>,
    batch: Batch,
    swapped: HashMap<TableId, TableCold>,
    /// Held until the changes are visible.
    _turn: MutexGuard<'a, Turn>,
}

impl Exclusive<'_> {
    /// The rows as of the last commit.
    pub fn snapshot(&self) -> Result<RowSnapshot> {
        RowSnapshot::new(Arc::clone(self.state))
    }

    /// Publishes a cold snapshot. Returns its version.
    ///
    /// Fails, without any change, if the cut is before that of the last one or after the last commit; if a delete that
    /// is said to be published is after the cut, which is noticed while a snapshot at the cut is kept; if a superseded
    /// row is pending already, or by a version that is not after the cut; and if the table was swapped in this call
    /// already.
    pub fn swap(&mut self, swap: &ColdSwap) -> Result<ColdVersion> {
        let ColdSwap { table, cut, .. } = *swap;
        let invalid = |why: String| {
            Err(TxnLogError::invalid(format!("the cold snapshot of table {table} at {cut} cannot be published: {why}")))
        };
        let (seq, old) = {
            let mut visible = self.state.visible.lock();
            (visible.seq, Arc::clone(visible.table(table)))
        };
        if self.swapped.contains_key(&table) {
            return invalid("another one is published at the same time".to_string());
        }
        if cut < old.version.cut || cut > seq {
            return invalid(format!("its cut must be from {} to {seq}", old.version.cut));
        }
        let mut batch = Batch::new();
        let mut pending = old.pending.read().clone();
        for (file, vector) in &swap.published {
            match pending.remove_published(*file, vector, cut) {
                Ok(rows) => pending::delete(&mut batch, table, *file, &rows),
                Err(later) => return invalid(format!("row {} of file {file} was superseded later", later.row)),
            }
        }
        for file in &swap.removed_files {
            pending::delete(&mut batch, table, *file, &pending.remove_file(*file));
        }
        for delete in &swap.superseded {
            let position = delete.position;
            if delete.seq <= cut || delete.seq > seq {
                return invalid(format!("{position:?} is superseded by {}, which is not after the cut", delete.seq));
            }
            if pending.contains(position) {
                return invalid(format!("{position:?} is superseded twice"));
            }
            pending.insert_old(position);
            pending::put(&mut batch, table, *delete);
        }
        Ok(self.publish(table, ColdVersion { generation: old.version.generation + 1, cut }, pending, batch))
    }

    fn publish(
        &mut self,
        table: TableId,
        version: ColdVersion,
        mut pending: PendingDeletes,
        batch: Batch,
    ) -> ColdVersion {
        // Snapshots of this version begin at the last commit.
        pending.all_seen();
        self.batch.append(batch);
        meta::put_cold(&mut self.batch, table, version);
        self.swapped.insert(table, TableCold { version, pending: RwLock::new(pending) });
        version
    }

    /// Sets the mark of a table.
    pub fn mark(&mut self, table: TableId, mark: TableMark) {
        meta::put_mark(&mut self.batch, table, mark);
    }

    /// Stores an intent, or replaces it.
    pub fn put_intent(&mut self, intent: &Intent) {
        meta::put_intent(&mut self.batch, intent);
    }

    /// Deletes an intent, which need not exist.
    pub fn delete_intent(&mut self, id: Uuid) {
        meta::delete_intent(&mut self.batch, id);
    }
}

/// See [`RowStore::exclusive`](super::RowStore::exclusive).
pub(super) fn exclusive<T>(sequencer: &Sequencer, work: impl FnOnce(&mut Exclusive<'_>) -> Result<T>) -> Result<T> {
    let state = &sequencer.state;
    let (batch, swapped) = Default::default();
    let mut exclusive = Exclusive { state, batch, swapped, _turn: sequencer.turn()? };
    let done = work(&mut exclusive)?;
    let Exclusive { batch, swapped, _turn, .. } = exclusive;
    if !batch.is_empty() {
        state.write(batch, WalSync::Now)?;
        let mut visible = state.visible.lock();
        let tables = Arc::make_mut(&mut visible.tables);
        tables.extend(swapped.into_iter().map(|(table, cold)| (table, Arc::new(cold))));
    }
    Ok(done)
}
