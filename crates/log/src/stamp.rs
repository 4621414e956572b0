//! The stamp of a commit: its time, its catalog, and the transaction it belongs to.
//!
//! A catalog has one clock, and its commits get their times from it. A table's newest time may still be ahead of that
//! clock: it was imported, or the clock was wrong before. Each new commit of such a table is one millisecond later than
//! the previous one; the other tables of a transaction get the time of the clock.

use uuid::Uuid;

use crate::commit::{CommitRequest, Current};
use crate::error::{Result, TxnLogError};
use crate::ids::{Clock, TableId, TableName};

pub use crate::future_times::{MARGIN_MS, TimeLeap, is_ahead};

/// The stamp of a commit, the same for all members of a transaction.
#[derive(Clone, Debug)]
pub struct CommitStamp {
    /// The time of the commit, in milliseconds since 1970, for all tables except those with a [`TimeLeap`]: not before
    /// the clock's, and later than the newest version of each table that is written or read.
    pub committed_at: i64,
    /// The time of the catalog's clock, in milliseconds since 1970.
    pub now_ms: i64,
    /// The catalog; the nil id without a catalog.
    pub catalog_id: Uuid,
    /// Its epoch, which changes with every rebuild or restore.
    pub epoch: Uuid,
    /// The transaction over several tables.
    pub group: Option<StampedGroup>,
}

/// A transaction over several tables, as each of its commits names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampedGroup {
    /// Its id.
    pub id: Uuid,
    /// The names of the tables that it changes.
    pub names: Vec<TableName>,
    /// The ids of these tables, in the same order.
    pub tables: Vec<TableId>,
}

impl CommitStamp {
    /// The stamp of one transaction over the tables in their current state, in the order of its requests. `now_ms` is
    /// the time of the catalog's clock; `ids` creates the id of the group.
    pub fn new(
        (catalog_id, epoch): (Uuid, Uuid),
        now_ms: i64,
        ids: &dyn Clock,
        requests: &[CommitRequest],
        tables: &[&Current],
    ) -> Self {
        let in_time = tables.iter().filter(|table| table.version.is_some() && table.leap.is_none());
        let floor = in_time.map(|table| table.timestamp.saturating_add(1)).max().unwrap_or(i64::MIN);
        let written: Vec<_> = requests.iter().zip(tables).filter(|(request, _)| request.writes()).collect();
        let group = (written.len() > 1).then(|| StampedGroup {
            id: ids.new_uuid(),
            names: written.iter().map(|(_, table)| table.name.clone()).collect(),
            tables: written.iter().map(|(request, _)| request.table).collect(),
        });
        Self { committed_at: now_ms.max(floor), now_ms, catalog_id, epoch, group }
    }

    /// The time of the commit to one of the tables.
    pub fn time_of(&self, table: &Current) -> Result<i64> {
        let Some(leap) = &table.leap else { return Ok(self.committed_at) };
        table.timestamp.checked_add(1).ok_or_else(|| {
            TxnLogError::invalid(format!(
                "{} accepts no commits: version {} has the last possible time, and every version must be later than \
                 the one before it",
                table.name, leap.version
            ))
        })
    }
}
