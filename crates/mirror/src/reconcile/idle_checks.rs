//! The slow cycle that looks for foreign commits and lost logs in the mirrors of idle tables: one table after the other,
//! so that the number of requests does not depend on the number of tables. Every second step checks a table whose log
//! was lost again, if there is one, so that its alarm ends soon.

use std::time::Duration;

use deltalakedb_log::listing::TablePage;
use deltalakedb_log::{Result, TableEntry, TableId, TableName, TableRef};

use super::attempt;
use crate::mirror::Mirror;
use crate::publish::Published;

/// A check is given up when there was no progress for so long.
const DEADLINE: Duration = Duration::from_secs(10);

/// The position in the cycle through all tables, in the order of their names.
#[derive(Clone, Debug, Default)]
pub(super) struct IdleChecks {
    /// The table that was checked last.
    after: Option<TableName>,
    /// The table with a lost log that was checked last.
    lost_after: Option<TableId>,
    /// Whether the last step checked a table with a lost log.
    has_rechecked: bool,
}

impl IdleChecks {
    /// Checks the next table; after the last one the cycle begins again. An error without a table is the catalog's.
    pub(super) async fn step(&mut self, mirror: &Mirror) -> Result<Option<(TableEntry, Result<Published>)>> {
        let Some(table) = self.next(mirror).await? else { return Ok(None) };
        let checked = attempt::check_idle(mirror, &table, DEADLINE).await;
        Ok(Some((table, checked)))
    }

    async fn next(&mut self, mirror: &Mirror) -> Result<Option<TableEntry>> {
        self.has_rechecked = !self.has_rechecked;
        if self.has_rechecked
            && let Some(lost) = mirror.next_lost(self.lost_after)
        {
            self.lost_after = Some(lost);
            match mirror.catalog.find(&TableRef::Id(lost)).await? {
                Some(table) => return Ok(Some(table)),
                // It was dropped.
                None => mirror.note_log_found(lost),
            }
        }
        loop {
            let after = self.after.take();
            let is_first = after.is_none();
            let page = TablePage { after, limit: 1, ..TablePage::default() };
            let next = mirror.catalog.tables_page(&page).await?.pop();
            if next.is_some() || is_first {
                self.after = next.as_ref().map(|table| table.name.clone());
                return Ok(next);
            }
        }
    }
}
