//! Reads of a row store as it was at one commit.

use std::sync::Arc;

use deltalakedb_log::{Result, TableId, metric};
use roaring::RoaringBitmap;

use super::cold::ColdVersion;
use super::state::{State, Tables, cold_version};
use super::versions::{Newest, VersionCursor, VersionScan, newest};
use crate::key::{Scope, ScopeKeys, SeqIndexKey};
use crate::seq::SeqId;
use crate::storage::{Direction, Family, KeyRange, Snapshot};
use crate::tuple::Tuple;

/// The rows as of one commit, with all commits before it and none after it.
///
/// It sees the cold version and the pending deletes of that moment as well, whatever is published later. While it is
/// kept, no version that is newer is collected, so that a commit prepared at it can be checked for conflicts.
pub struct RowSnapshot {
    state: Arc<State>,
    seq: SeqId,
    storage: Box<dyn Snapshot>,
    tables: Arc<Tables>,
}

/// The newest version of a row at a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewestVersion {
    /// Its `_seq`.
    pub seq: SeqId,
    /// The row as a tuple.
    pub tuple: Vec<u8>,
    /// Whether it deletes the row.
    pub is_deleted: bool,
}

impl RowSnapshot {
    /// A snapshot of what is visible now.
    pub(super) fn new(state: Arc<State>) -> Result<Self> {
        let mut visible = state.visible.lock();
        // Under the lock, so that it has all that is visible, and nothing of it has been collected.
        let storage = state.storage.snapshot()?;
        let (seq, tables) = (visible.seq, Arc::clone(&visible.tables));
        *visible.readers.entry(seq).or_default() += 1;
        drop(visible);
        metric::HOT_SNAPSHOTS.add(1.0);
        Ok(Self { state, seq, storage, tables })
    }

    /// The `_seq` of the commit.
    pub fn seq(&self) -> SeqId {
        self.seq
    }

    /// The cold version of a table.
    pub fn cold(&self, table: TableId) -> ColdVersion {
        cold_version(&self.tables, table)
    }

    /// The cold versions of the tables that were flushed, in no order.
    pub fn cold_versions(&self) -> impl Iterator<Item = (TableId, ColdVersion)> {
        let versions = self.tables.iter().map(|(table, cold)| (*table, cold.version));
        versions.filter(|(_, version)| version.generation > 0)
    }

    /// The newest version of a row, given its encoded primary key; None if the hot store has none. One that is not
    /// after the cut is superseded by the cold snapshot: it may be collected at any time.
    pub fn get(&self, table: TableId, scope: &Scope<'_>, primary_key: &[u8]) -> Result<Option<NewestVersion>> {
        let row = ScopeKeys::new(table, scope).row(primary_key);
        let Some((seq, tuple)) = newest(&*self.storage, &row, self.seq)? else { return Ok(None) };
        let is_deleted = Tuple::parse(&tuple)?.is_deleted();
        Ok(Some(NewestVersion { seq, tuple, is_deleted }))
    }

    /// The newest versions of rows, given their encoded primary keys: the `_seq` of each, and whether it deletes the row.
    pub fn newest(
        &self,
        table: TableId,
        scope: &Scope<'_>,
        primary_keys: &[Vec<u8>],
    ) -> Result<Vec<Option<(SeqId, bool)>>> {
        let keys = ScopeKeys::new(table, scope);
        let rows: Vec<_> = primary_keys.iter().map(|key| keys.row(key)).collect();
        let mut newest = Newest::of_rows(&*self.storage, self.seq, rows.iter().map(Vec::as_slice))?;
        rows.iter().map(|row| newest.of(row)).collect()
    }

    /// The newest versions of the rows in a range of hot keys, such as those of [`ScopeKeys`] whose ends are not within
    /// the versions of a row.
    pub fn scan(&self, range: impl Into<KeyRange>, scan: VersionScan) -> Result<VersionCursor<'_>> {
        VersionCursor::new(&*self.storage, range.into(), self.seq, scan)
    }

    /// Calls `visit` with each change of a row in a scope of a table by the commits after `after`, in the order of the
    /// commits, until it returns false. Changes whose versions were collected are left out.
    pub fn changes(
        &self,
        table: TableId,
        scope: &Scope<'_>,
        after: SeqId,
        mut visit: impl FnMut(SeqIndexKey<'_>) -> bool,
    ) -> Result<()> {
        let range = SeqIndexKey::range(&ScopeKeys::new(table, scope), after, self.seq).into();
        let mut cursor = self.storage.scan(Family::SeqIndex, &range, Direction::Forward)?;
        while let Some(entry) = cursor.next()? {
            if !visit(SeqIndexKey::parse(entry.key)?) {
                break;
            }
        }
        Ok(())
    }

    /// The data files of a table with pending deletes, ascending.
    pub fn pending_files(&self, table: TableId) -> Vec<u32> {
        self.tables.get(&table).map(|cold| cold.pending.read().files_at(self.seq)).unwrap_or_default()
    }

    /// The rows of a data file that are pending deletes; None if there are none.
    pub fn pending(&self, table: TableId, file: u32) -> Option<Arc<RoaringBitmap>> {
        self.tables.get(&table)?.pending.read().rows_at(file, self.seq)
    }
}

impl Drop for RowSnapshot {
    fn drop(&mut self) {
        metric::HOT_SNAPSHOTS.add(-1.0);
        let mut visible = self.state.visible.lock();
        if let Some(count) = visible.readers.get_mut(&self.seq) {
            *count -= 1;
            if *count == 0 {
                visible.readers.remove(&self.seq);
            }
        }
    }
}
