//! A page of a listing of tables, and the trait that gives it.

use std::fmt;

use async_trait::async_trait;

use crate::entry::TableEntry;
use crate::error::Result;
use crate::ids::TableName;
use crate::lifecycle::InactiveTable;
use crate::location::Location;

/// How many tables a page has, unless it says otherwise.
pub(super) const PAGE: usize = 1_000;
/// How many tables with the same metadata are found.
pub const SAME_METADATA: usize = 100;

/// Which live tables a catalog has, and which of them are near a name or a place.
///
/// # Contract
/// - *Bounded*: each call costs what it gives, however many tables the catalog has.
/// - *Stable*: names are in the order of their bytes, namespaces first. A table that keeps its name is on exactly one of
///   the pages that follow each other, whatever other tables are made, renamed and dropped meanwhile.
#[async_trait]
pub trait TableListing: Send + Sync + fmt::Debug {
    /// Some of the tables, in the order of their names.
    async fn tables_page(&self, page: &TablePage) -> Result<Vec<TableEntry>>;

    /// The names of tables before and behind this one in the order of all names: at most `limit` on each side.
    async fn names_beside(&self, name: &TableName, limit: usize) -> Result<Vec<TableName>>;

    /// A table whose place is inside of this one or around it, and is taken: a table that is live, that is being loaded, or
    /// whose files are being deleted.
    async fn table_around(&self, location: &Location) -> Result<Option<InactiveTable>>;

    /// Tables that have, or had, this id in their metadata, as copies of a table do: at most [`SAME_METADATA`].
    async fn tables_with_metadata(&self, id: &str) -> Result<Vec<TableEntry>>;

    /// All tables at once, in the order of their names. Where there may be many, see [`tables`](super::tables).
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

/// A part of a listing of tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePage {
    /// Only those of this namespace.
    pub namespace: Option<String>,
    /// Only those whose names come after this one.
    pub after: Option<TableName>,
    /// At most so many.
    pub limit: usize,
}

impl Default for TablePage {
    /// The first of all tables.
    fn default() -> Self {
        Self { namespace: None, after: None, limit: PAGE }
    }
}

impl TablePage {
    /// The page that follows these tables of this one; `None` when it was the last.
    pub fn after(&self, tables: &[TableEntry]) -> Option<Self> {
        let last = tables.last().filter(|_| tables.len() >= self.limit)?;
        Some(Self { after: Some(last.name.clone()), ..self.clone() })
    }
}
