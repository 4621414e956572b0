//! The pending deletes of a table: on disk an entry for each position, in memory a bitmap for each data file.
//!
//! An entry of [`Family::Pending`] is at the 16 bytes of the table's id, the file and the row, 4 bytes each, and is the
//! 8 bytes of the `_seq`; all numbers are big-endian.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use deltalakedb_log::{Result, TableId, TxnLogError};
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::cold::{ColdPosition, PendingDelete};
use crate::seq::SeqId;
use crate::storage::{Batch, Direction, Family, KeyRange, Snapshot};

/// The pending deletes of a table under one cold snapshot.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingDeletes {
    files: BTreeMap<u32, FilePending>,
}

#[derive(Clone, Debug, Default)]
struct FilePending {
    rows: Arc<RoaringBitmap>,
    /// Those of `rows` that the oldest snapshots do not see, in the order of their `_seq`.
    recent: VecDeque<(SeqId, u32)>,
}

impl PendingDeletes {
    /// Whether the position is pending at any `_seq`.
    pub(super) fn contains(&self, position: ColdPosition) -> bool {
        self.files.get(&position.file).is_some_and(|file| file.rows.contains(position.row))
    }

    /// Adds a delete, whose `_seq` is not less than any before. No snapshot before `oldest` is asked for any more.
    pub(super) fn insert(&mut self, delete: PendingDelete, oldest: SeqId) {
        let file = self.files.entry(delete.position.file).or_default();
        while file.recent.pop_front_if(|(seq, _)| *seq <= oldest).is_some() {}
        file.recent.push_back((delete.seq, delete.position.row));
        Arc::make_mut(&mut file.rows).insert(delete.position.row);
    }

    /// Adds a delete that every snapshot sees.
    pub(super) fn insert_old(&mut self, position: ColdPosition) {
        Arc::make_mut(&mut self.files.entry(position.file).or_default().rows).insert(position.row);
    }

    /// The files with deletes at a snapshot.
    pub(super) fn files_at(&self, seq: SeqId) -> Vec<u32> {
        let seen = |file: &FilePending| {
            let unseen = file.recent.iter().rev().take_while(|(newer, _)| *newer > seq).count();
            file.rows.len() > unseen as u64
        };
        self.files.iter().filter(|(_, file)| seen(file)).map(|(number, _)| *number).collect()
    }

    /// The rows of a file that are pending at a snapshot; None if there are none.
    pub(super) fn rows_at(&self, file: u32, seq: SeqId) -> Option<Arc<RoaringBitmap>> {
        let file = self.files.get(&file)?;
        let mut rows = Arc::clone(&file.rows);
        for (newer, row) in file.recent.iter().rev() {
            if *newer <= seq {
                break;
            }
            Arc::make_mut(&mut rows).remove(*row);
        }
        (!rows.is_empty()).then_some(rows)
    }

    /// Removes the deletes that the published vector of a file names. Returns their positions; or as an error, one that
    /// is later than `cut`, so the vector cannot name it.
    pub(super) fn remove_published(
        &mut self,
        file: u32,
        vector: &RoaringBitmap,
        cut: SeqId,
    ) -> Result<RoaringBitmap, ColdPosition> {
        let Some(pending) = self.files.get_mut(&file) else { return Ok(RoaringBitmap::new()) };
        if let Some((_, row)) = pending.recent.iter().rev().find(|(seq, row)| *seq > cut && vector.contains(*row)) {
            return Err(ColdPosition { file, row: *row });
        }
        let removed = &*pending.rows & vector;
        if removed.len() == pending.rows.len() {
            self.files.remove(&file);
        } else {
            pending.rows = Arc::new(&*pending.rows - &removed);
            pending.recent.retain(|(_, row)| !removed.contains(*row));
        }
        Ok(removed)
    }

    /// Removes the deletes of a file. Returns their rows.
    pub(super) fn remove_file(&mut self, file: u32) -> Arc<RoaringBitmap> {
        self.files.remove(&file).map(|file| file.rows).unwrap_or_default()
    }

    /// From now on no snapshot is asked for that does not see every delete.
    pub(super) fn all_seen(&mut self) {
        self.files.values_mut().for_each(|file| file.recent.clear());
    }
}

/// Stores a delete.
pub(super) fn put(batch: &mut Batch, table: TableId, delete: PendingDelete) {
    batch.put(Family::Pending, key(table, delete.position), delete.seq.as_i64().to_be_bytes());
}

/// Deletes the entries of rows of a file.
pub(super) fn delete(batch: &mut Batch, table: TableId, file: u32, rows: &RoaringBitmap) {
    rows.iter().for_each(|row| batch.delete(Family::Pending, key(table, ColdPosition { file, row })));
}

/// The stored deletes of all tables, given the high water of `_seq`.
pub(super) fn load(snapshot: &dyn Snapshot, high_water: SeqId) -> Result<BTreeMap<TableId, PendingDeletes>> {
    let mut cursor = snapshot.scan(Family::Pending, &KeyRange::all(), Direction::Forward)?;
    let mut tables = BTreeMap::<_, PendingDeletes>::new();
    while let Some(entry) = cursor.next()? {
        let (table, delete) =
            parse(entry.key, entry.value).filter(|(_, delete)| delete.seq <= high_water).ok_or_else(|| {
                TxnLogError::corrupt("the row store has a pending delete that is damaged: restore it from a checkpoint")
            })?;
        tables.entry(table).or_default().insert_old(delete.position);
    }
    Ok(tables)
}

fn key(table: TableId, position: ColdPosition) -> Vec<u8> {
    [table.0.as_bytes(), &position.file.to_be_bytes()[..], &position.row.to_be_bytes()].concat()
}

fn parse(key: &[u8], value: &[u8]) -> Option<(TableId, PendingDelete)> {
    let (table, position) = key.split_first_chunk()?;
    let (file, row) = position.split_first_chunk()?;
    let position = ColdPosition { file: u32::from_be_bytes(*file), row: u32::from_be_bytes(row.try_into().ok()?) };
    let seq = SeqId::try_from(i64::from_be_bytes(value.try_into().ok()?)).ok()?;
    Some((TableId(Uuid::from_bytes(*table)), PendingDelete { position, seq }))
}
