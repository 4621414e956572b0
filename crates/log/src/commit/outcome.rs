//! The outcome of a commit.

use crate::action::Version;
use crate::conflict::Conflict;
use crate::error::Result;
use crate::future_times::TimeLeap;
use crate::ids::TableId;
use crate::transaction_error::TxnLogTransactionError;

/// A commit to one table that is decided and durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The table.
    pub table: TableId,
    /// Its version.
    pub version: Version,
    /// Its time, in milliseconds since 1970.
    pub timestamp: i64,
    /// The earlier version of the table that causes this time to be ahead of the catalog's clock.
    pub leap: Option<TimeLeap>,
}

/// The outcome of a commit. A conflict is an outcome, not an error.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All tables that the request writes are committed, in the order of the request.
    Committed(Vec<Committed>),
    /// Nothing is committed: a concurrent commit conflicts with the request.
    Conflict(Conflict),
    /// The database did not answer: the request may or may not be committed. Look up the commit ids on a new connection
    /// ([`crate::Catalog::find_commit`]) before any further step; in particular, delete no file.
    Unknown(String),
}

impl Outcome {
    /// The commits, or the error for the reason why there are none.
    pub fn committed(self) -> Result<Vec<Committed>> {
        Ok(self.of_transaction()?)
    }

    /// The commits, or the reason as it is.
    pub fn of_transaction(self) -> Result<Vec<Committed>, TxnLogTransactionError> {
        match self {
            Outcome::Committed(commits) => Ok(commits),
            Outcome::Conflict(conflict) => Err(TxnLogTransactionError::Conflict(Box::new(conflict))),
            Outcome::Unknown(why) => Err(TxnLogTransactionError::Unknown(why)),
        }
    }
}
