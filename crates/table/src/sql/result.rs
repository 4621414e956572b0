//! The results of statements.

use std::fmt;

use datafusion::execution::SendableRecordBatchStream;
use deltalakedb_log::commit::Committed;

/// The result of a statement.
pub enum SqlResult {
    /// A stream of rows, with their schema.
    Rows(SendableRecordBatchStream),
    /// The completion of a statement without rows.
    CommandComplete(CommandComplete),
}

impl fmt::Debug for SqlResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(rows) => f.debug_tuple("Rows").field(&rows.schema()).finish(),
            Self::CommandComplete(done) => f.debug_tuple("CommandComplete").field(done).finish(),
        }
    }
}

/// The completion of a statement without rows.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CommandComplete {
    /// The kind of statement, such as `INSERT`.
    pub command: &'static str,
    /// How many rows it wrote, changed or removed, if it did any of these.
    pub rows: Option<u64>,
    /// Its commits; empty within a transaction.
    pub committed: Vec<Committed>,
}

impl CommandComplete {
    /// The completion of a statement, without commits.
    pub fn new(command: &'static str, rows: Option<u64>) -> Self {
        Self { command, rows, committed: Vec::new() }
    }
}
