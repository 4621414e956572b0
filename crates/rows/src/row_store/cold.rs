//! What the row store knows of a table's cold rows, which are in data files.

use crate::seq::SeqId;

/// A row of a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColdPosition {
    /// The number of the data file, which names no other file of the same cold snapshot.
    pub file: u32,
    /// The number of the row in the file, from 0.
    pub row: u32,
}

/// A pending delete: a row of a data file that a newer version supersedes, and that no published deletion vector names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PendingDelete {
    /// The superseded row.
    pub position: ColdPosition,
    /// The `_seq` of the version that superseded it.
    pub seq: SeqId,
}

/// The published cold snapshot of a table: its data files and deletion vectors. The default is that of a table which
/// was never flushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColdVersion {
    /// Counts the cold snapshots of the table.
    pub generation: u64,
    /// The `_seq` up to which the cold snapshot has all effects.
    pub cut: SeqId,
}
