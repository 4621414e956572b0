//! How a commit ended.

use crate::action::Version;
use crate::conflict::Conflict;
use crate::error::Result;
use crate::future_times::TimeLeap;
use crate::ids::TableId;
use crate::transaction_error::TxnLogTransactionError;

/// A table's commit that is decided and durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The table.
    pub table: TableId,
    /// The version it became.
    pub version: Version,
    /// Its time, in milliseconds since 1970.
    pub timestamp: i64,
    /// The earlier version of the table because of which this time is ahead of the catalog's clock.
    pub leap: Option<TimeLeap>,
}

/// How a commit ended. Losing a race is an outcome, not an error.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All tables that the request writes are committed, in its order.
    Committed(Vec<Committed>),
    /// Nothing is committed: a concurrent commit won.
    Conflict(Conflict),
    /// The database did not answer: it may be committed or not. Look the commit ids up on a new connection
    /// ([`crate::Catalog::find_commit`]) before doing anything else; above all, delete no file.
    Unknown(String),
}

impl Outcome {
    /// The commits, or the error that says why there are none.
    pub fn committed(self) -> Result<Vec<Committed>> {
        Ok(self.of_transaction()?)
    }

    /// The same, with the reason as it is.
    pub fn of_transaction(self) -> Result<Vec<Committed>, TxnLogTransactionError> {
        match self {
            Outcome::Committed(commits) => Ok(commits),
            Outcome::Conflict(conflict) => Err(TxnLogTransactionError::Conflict(Box::new(conflict))),
            Outcome::Unknown(why) => Err(TxnLogTransactionError::Unknown(why)),
        }
    }
}
