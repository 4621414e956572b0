//! A page of a listing of tables, and the trait that returns it.

use std::fmt;

use async_trait::async_trait;

use crate::entry::TableEntry;
use crate::error::Result;
use crate::ids::TableName;
use crate::lifecycle::InactiveTable;
use crate::location::Location;

/// The default number of tables in a page.
pub(super) const PAGE: usize = 1_000;
/// The maximum number of tables that are found by one metadata id.
pub const SAME_METADATA: usize = 100;

/// Lists the live tables of a catalog, and finds tables with similar names or places.
///
/// # Contract
/// - *Bounded*: the cost of each call depends on its result, not on the number of tables.
/// - *Stable*: names are in byte order, namespaces first. A table that keeps its name is on exactly one page of a
///   listing, whatever other tables are created, renamed and dropped between the pages.
#[async_trait]
pub trait TableListing: Send + Sync + fmt::Debug {
    /// Some of the tables, in the order of their names.
    async fn tables_page(&self, page: &TablePage) -> Result<Vec<TableEntry>>;

    /// The names of tables before and after this one in the order of all names: at most `limit` on each side.
    async fn names_beside(&self, name: &TableName, limit: usize) -> Result<Vec<TableName>>;

    /// A table whose place is inside this one or contains it, and is occupied: a table that is live, that is being
    /// loaded, or whose files are being deleted.
    async fn table_around(&self, location: &Location) -> Result<Option<InactiveTable>>;

    /// Tables that have, or had, this id in their metadata, as copies of a table do: at most [`SAME_METADATA`].
    async fn tables_with_metadata(&self, id: &str) -> Result<Vec<TableEntry>>;

    /// All tables at once, in the order of their names. If there may be many, use [`tables`](super::tables).
    async fn tables(&self) -> Result<Vec<TableEntry>> {
        let (mut all, mut page) = (Vec::new(), Some(TablePage::default()));
        while let Some(now) = page {
            let tables = self.tables_page(&now).await?;
            page = now.after(&tables);
            all.extend(tables);
        }
        Ok(all)
    }
}

/// The bounds of one page of a listing of tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePage {
    /// Only tables of this namespace.
    pub namespace: Option<String>,
    /// Only tables whose names are after this one.
    pub after: Option<TableName>,
    /// The maximum number of tables.
    pub limit: usize,
}

impl Default for TablePage {
    /// The first page of all tables.
    fn default() -> Self {
        Self { namespace: None, after: None, limit: PAGE }
    }
}

impl TablePage {
    /// The page after the one with these tables; `None` when it was the last.
    pub fn after(&self, tables: &[TableEntry]) -> Option<Self> {
        let last = tables.last().filter(|_| tables.len() >= self.limit)?;
        Some(Self { after: Some(last.name.clone()), ..self.clone() })
    }
}
