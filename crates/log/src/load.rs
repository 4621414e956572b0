//! Loading of existing history: import, copy, rebuild, commits by other writers.

use std::fmt;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use crate::action::Version;
use crate::entry::{NewTable, TableEntry};
use crate::error::Result;
use crate::history::HistoryItem;
use crate::ids::{TableId, TableName};
use crate::location::Location;

pub use crate::future_times::FutureTimes;

/// Loads history that is already valid into a catalog.
///
/// # Contract
/// - *Repeatable*: a load that was interrupted keeps every version before the interruption. Calling again with the same
///   table and location continues after them, under the name of the last call; history that does not continue the
///   loaded versions is [`crate::ErrorKind::Conflict`].
/// - *Invisible until it is complete*: a table whose first load is not finished is [not
///   live](crate::TableState::Loading). It occupies its name and its place.
/// - *Exact*: every commit keeps its bytes, and a commit of a catalog its id. A time that is not later than that of the
///   version before is increased until it is.
/// - *Bounded*: [`HistoryLoading::load_history`] works in batches, each one transaction, and has at most a few of them
///   in memory.
/// - Of a transaction of this catalog over several tables, either every table that existed then gets its part, or none:
///   load them [together](HistoryLoading::load_together).
#[async_trait]
pub trait HistoryLoading: Send + Sync + fmt::Debug {
    /// Loads the missing versions of a table, or a new table, in batches. A load of a table with an owner names the
    /// owner in [`NewTable::owner`].
    async fn load_history(&self, load: HistoryLoad<'_>) -> Result<TableEntry>;

    /// Loads the missing versions of several tables, all or nothing, and in memory: for tables that share transactions.
    async fn load_together(&self, loads: Vec<HistoryLoad<'_>>) -> Result<Vec<TableEntry>>;

    /// The progress of an unfinished load at that place; `None` when there is none.
    async fn unfinished_load(&self, location: &Location) -> Result<Option<UnfinishedLoad>>;

    /// Removes an unfinished load, so that its name and place are free again; a load that is finished or unknown is
    /// [`crate::ErrorKind::NotFound`].
    async fn abandon_load(&self, table: TableId) -> Result<()>;
}

/// A load of history.
pub struct HistoryLoad<'a> {
    /// The table's id, drawn by the caller; an unfinished load keeps its id.
    pub table: TableId,
    /// Name and location.
    pub new: NewTable,
    /// The newest version that is in `_delta_log` already.
    pub published_version: Option<Version>,
    /// Whether times that are [ahead](crate::stamp::is_ahead) of the catalog's clock are loaded unchanged.
    pub future_times: FutureTimes,
    /// The history, in order.
    pub items: BoxStream<'a, Result<HistoryItem>>,
    /// Called after every batch with the newest version stored.
    pub progress: &'a (dyn Fn(Version) + Send + Sync),
}

impl<'a> HistoryLoad<'a> {
    /// A load of a history of which nothing is in `_delta_log`, and whose times must not be ahead.
    pub fn new(table: TableId, new: NewTable, items: impl Stream<Item = Result<HistoryItem>> + Send + 'a) -> Self {
        Self {
            table,
            new,
            published_version: None,
            future_times: FutureTimes::default(),
            items: items.boxed(),
            progress: &|_| {},
        }
    }
}

impl fmt::Debug for HistoryLoad<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryLoad").field("table", &self.table).field("new", &self.new).finish_non_exhaustive()
    }
}

/// A load that was interrupted.
#[derive(Clone, Debug, PartialEq)]
pub struct UnfinishedLoad {
    /// The table's id.
    pub table: TableId,
    /// The name of the table when the load is finished.
    pub name: TableName,
    /// The oldest version, once known.
    pub base_version: Option<Version>,
    /// The newest version stored.
    pub current_version: Option<Version>,
}
