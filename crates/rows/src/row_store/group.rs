//! A group of commits that becomes one batch of the storage.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use deltalakedb_log::{Result, TableId, TxnLogError};

use super::cold::{ColdPosition, PendingDelete};
use super::commit::{CommitOutcome, CommitRequest, RowConflict, TableChanges};
use super::meta;
use super::pending;
use super::state::{Tables, cold_version};
use super::versions::Newest;
use crate::key::{HotKey, SeqIndexKey};
use crate::seq::SeqId;
use crate::storage::{Batch, Family, Snapshot};

/// The accepted commits of a group, and what the others are checked against.
pub(super) struct Group<'a> {
    floors: &'a HashMap<TableId, SeqId>,
    tables: Arc<Tables>,
    /// The last visible commit before the group.
    visible: SeqId,
    batch: Batch,
    /// The rows that the group changes.
    written: HashMap<Vec<u8>, SeqId>,
    /// The cold rows that the group supersedes.
    superseded: HashSet<(TableId, ColdPosition)>,
    pending: Vec<(TableId, PendingDelete)>,
}

/// What a group changes.
pub(super) struct Prepared {
    pub(super) batch: Batch,
    pub(super) pending: Vec<(TableId, PendingDelete)>,
}

impl<'a> Group<'a> {
    pub(super) fn new(floors: &'a HashMap<TableId, SeqId>, tables: Arc<Tables>, visible: SeqId) -> Self {
        let (batch, written, superseded, pending) = Default::default();
        Self { floors, tables, visible, batch, written, superseded, pending }
    }

    /// The answer to a request that cannot be accepted. `stored` has the commits before the group.
    pub(super) fn check(&self, request: &CommitRequest, stored: &dyn Snapshot) -> Result<Option<CommitOutcome>> {
        if request.snapshot > self.visible {
            let (snapshot, visible) = (request.snapshot, self.visible);
            return Err(TxnLogError::invalid(format!(
                "a commit cannot be prepared at {snapshot}, which is after the last commit {visible}"
            )));
        }
        for changes in &request.tables {
            if cold_version(&self.tables, changes.table).generation != changes.generation {
                return Ok(Some(CommitOutcome::ColdChanged(changes.table)));
            }
            if self.floors.get(&changes.table).is_some_and(|floor| request.snapshot < *floor) {
                return Ok(Some(CommitOutcome::SnapshotTooOld(changes.table)));
            }
        }
        for changes in &request.tables {
            if let Some(conflict) = self.conflict(changes, request.snapshot, stored)? {
                return Ok(Some(CommitOutcome::Conflict(conflict)));
            }
        }
        Ok(None)
    }

    fn conflict(&self, changes: &TableChanges, snapshot: SeqId, stored: &dyn Snapshot) -> Result<Option<RowConflict>> {
        let mut newest = Newest::of_rows(stored, SeqId::MAX, changes.rows.iter().map(|change| change.row.as_slice()))?;
        let cold = self.tables.get(&changes.table).map(|cold| cold.pending.read());
        for change in &changes.rows {
            let newer = match self.written.get(&change.row) {
                Some(seq) => Some(*seq),
                None => newest.of(&change.row)?.map(|(seq, _)| seq).filter(|seq| *seq > snapshot),
            };
            let is_superseded = |position| {
                let in_group = self.superseded.contains(&(changes.table, position));
                in_group || cold.as_ref().is_some_and(|pending| pending.contains(position))
            };
            if newer.is_some() || change.supersedes.is_some_and(is_superseded) {
                return row_conflict(&change.row, newer).map(Some);
            }
        }
        Ok(None)
    }

    /// Accepts a request that was checked.
    pub(super) fn add(&mut self, request: CommitRequest, seq: SeqId) {
        for TableChanges { table, rows, .. } in request.tables {
            for change in rows {
                // The first byte of a tuple says whether the row is deleted.
                self.batch.put(
                    Family::SeqIndex,
                    SeqIndexKey::of_change(&change.row, change.primary_key, seq),
                    &change.tuple[..1],
                );
                self.batch.put(Family::Hot, HotKey::of_version(&change.row, seq), change.tuple);
                self.written.insert(change.row, seq);
                if let Some(position) = change.supersedes {
                    let delete = PendingDelete { position, seq };
                    pending::put(&mut self.batch, table, delete);
                    self.superseded.insert((table, position));
                    self.pending.push((table, delete));
                }
            }
        }
    }

    /// The changes of the group, whose last commit is `last`.
    pub(super) fn finish(mut self, last: SeqId) -> Prepared {
        meta::put_high_water(&mut self.batch, last);
        Prepared { batch: self.batch, pending: self.pending }
    }
}

fn row_conflict(row: &[u8], seq: Option<SeqId>) -> Result<RowConflict> {
    let key = HotKey::of_version(row, SeqId::MAX);
    let HotKey { table, scope, primary_key, .. } = HotKey::parse(&key)?;
    Ok(RowConflict { table, scope: scope.into_owned(), primary_key: primary_key.to_vec(), seq })
}
