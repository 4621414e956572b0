//! The changes of a statement at a snapshot.

use deltalakedb_rows::CommitRequest;

/// The changes of a statement.
pub(super) struct Evaluated {
    pub(super) request: CommitRequest,
    /// How many rows it changes.
    pub(super) rows: u64,
}
