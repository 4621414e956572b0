//! The bytes of a commit that another engine wrote.

use bytes::Bytes;

use crate::action::{Commit, MAX_COMMIT_BYTES};
use crate::error::{Result, TxnLogError};

/// The exact bytes of a commit, and the time that the caller states for it.
#[derive(Clone, Debug, PartialEq)]
pub struct VerbatimCommit {
    pub(super) commit: Commit,
    pub(super) time_ms: i64,
}

impl VerbatimCommit {
    /// Parses a commit. `time_ms` is its time in milliseconds since 1970: the in-commit timestamp if the table has
    /// them, else the time when its file was written.
    pub fn parse(body: Bytes, time_ms: i64) -> Result<Self> {
        if body.len() as u64 > MAX_COMMIT_BYTES {
            return Err(TxnLogError::invalid(format!(
                "the commit has {} bytes, and {MAX_COMMIT_BYTES} are the most",
                body.len()
            )));
        }
        let commit = Commit::parse(body, "the commit").map_err(|e| TxnLogError::invalid(e.to_string()))?;
        Ok(Self { commit, time_ms })
    }

    /// The parsed commit, with its exact bytes.
    pub fn commit(&self) -> &Commit {
        &self.commit
    }

    /// The `txnId` of the writer.
    pub fn txn_id(&self) -> Option<String> {
        self.commit.info()?.0.get::<String>("txnId").filter(|id| !id.is_empty())
    }
}
