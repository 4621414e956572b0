//! Commits: what is asked for, and the answers.

use std::collections::HashSet;

use deltalakedb_log::{Result, TableId, TxnLogError};

use super::cold::ColdPosition;
use crate::key::{Scope, ScopeKeys};
use crate::seq::SeqId;
use crate::tuple::{TOMBSTONE, Tuple};

/// Changes of rows of any tables that are committed together, prepared at one snapshot.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    pub(super) snapshot: SeqId,
    pub(super) tables: Vec<TableChanges>,
}

impl CommitRequest {
    /// No changes yet. They were prepared at `snapshot`, which should be kept until the answer.
    pub fn at(snapshot: SeqId) -> Self {
        Self { snapshot, tables: Vec::new() }
    }

    /// The changes of a table. Their cold positions were looked up in the cold snapshot of this generation, or were not
    /// found in it.
    pub fn table(&mut self, table: TableId, generation: u64) -> &mut TableChanges {
        let same = |changes: &TableChanges| changes.table == table && changes.generation == generation;
        let place = self.tables.iter().position(same).unwrap_or_else(|| {
            self.tables.push(TableChanges { table, generation, rows: Vec::new() });
            self.tables.len() - 1
        });
        &mut self.tables[place]
    }

    /// Refuses a request that changes or supersedes a row twice: which change counts would not be known.
    pub(super) fn check(&self) -> Result<()> {
        let (mut rows, mut positions) = (HashSet::new(), HashSet::new());
        for TableChanges { table, rows: changes, .. } in &self.tables {
            for change in changes {
                let once = change.supersedes.is_none_or(|position| positions.insert((table, position)));
                if !once || !rows.insert(&change.row) {
                    return Err(TxnLogError::invalid(format!("a commit changes a row of table {table} twice")));
                }
            }
        }
        Ok(())
    }
}

/// The changes of a table in a [`CommitRequest`]. Each row is changed once.
#[derive(Clone, Debug)]
pub struct TableChanges {
    pub(super) table: TableId,
    pub(super) generation: u64,
    pub(super) rows: Vec<RowChange>,
}

#[derive(Clone, Debug)]
pub(super) struct RowChange {
    /// What the keys of all versions of the row begin with.
    pub(super) row: Vec<u8>,
    /// The length of the primary key at its end.
    pub(super) primary_key: usize,
    pub(super) tuple: Vec<u8>,
    pub(super) supersedes: Option<ColdPosition>,
}

impl TableChanges {
    /// Inserts or replaces the row with this encoded primary key. `supersedes` is the position of its cold row, if that
    /// is its newest version.
    ///
    /// Fails if `tuple` is not an encoded row.
    pub fn put(
        &mut self,
        scope: &Scope<'_>,
        primary_key: &[u8],
        tuple: Vec<u8>,
        supersedes: Option<ColdPosition>,
    ) -> Result<()> {
        if Tuple::parse(&tuple)?.is_deleted() {
            return Err(TxnLogError::invalid("the tuple of a row that is put cannot be that of a deleted row"));
        }
        self.change(scope, primary_key, tuple, supersedes);
        Ok(())
    }

    /// Deletes the row with this encoded primary key. `supersedes` is the position of its cold row, if that is its
    /// newest version.
    pub fn delete(&mut self, scope: &Scope<'_>, primary_key: &[u8], supersedes: Option<ColdPosition>) {
        self.change(scope, primary_key, TOMBSTONE.to_vec(), supersedes);
    }

    fn change(&mut self, scope: &Scope<'_>, primary_key: &[u8], tuple: Vec<u8>, supersedes: Option<ColdPosition>) {
        let row = ScopeKeys::new(self.table, scope).row(primary_key);
        self.rows.push(RowChange { row, primary_key: primary_key.len(), tuple, supersedes });
    }
}

/// The answer to a [`CommitRequest`].
#[derive(Debug)]
#[must_use]
pub enum CommitOutcome {
    /// It is durable and visible. All its versions have this `_seq`.
    Committed(SeqId),
    /// Another commit changed a row first. Nothing was written: evaluate the statement again at a new snapshot.
    Conflict(RowConflict),
    /// The cold snapshot of the table is not the one of the request. Nothing was written: look the positions up again.
    ColdChanged(TableId),
    /// Versions of the table that are newer than the snapshot have been collected, because the snapshot was not kept.
    /// Nothing was written: evaluate the statement again at a new snapshot.
    SnapshotTooOld(TableId),
    /// The disk failed: whether it is written is known when the store has been opened again. The store is read-only
    /// until then.
    Unknown(TxnLogError),
}

/// A row that was changed after the snapshot of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowConflict {
    /// The table of the row.
    pub table: TableId,
    /// The scope of the row.
    pub scope: Scope<'static>,
    /// Its encoded primary key.
    pub primary_key: Vec<u8>,
    /// The `_seq` of the newer version. None if only the cold row is known to be superseded.
    pub seq: Option<SeqId>,
}
