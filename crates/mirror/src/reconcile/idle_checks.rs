//! The slow cycle that looks for foreign commits in the mirrors of idle tables: one table after the other, so that the
//! number of requests does not depend on the number of tables.

use std::time::Duration;

use deltalakedb_log::listing::TablePage;
use deltalakedb_log::{Result, TableEntry, TableName};

use super::attempt;
use crate::mirror::Mirror;

/// How long a check may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// The position in the cycle through all tables, in the order of their names.
#[derive(Clone, Debug, Default)]
pub(super) struct IdleChecks {
    /// The table that was checked last.
    after: Option<TableName>,
}

impl IdleChecks {
    /// Checks the next table; after the last one the cycle begins again. An error without a table is the catalog's.
    pub(super) async fn step(&mut self, mirror: &Mirror) -> Result<Option<(TableEntry, Result<()>)>> {
        let Some(table) = self.next(mirror).await? else { return Ok(None) };
        let checked = attempt::check_idle(mirror, &table, DEADLINE).await;
        Ok(Some((table, checked)))
    }

    async fn next(&mut self, mirror: &Mirror) -> Result<Option<TableEntry>> {
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
