//! Listings of tables in memory.

use super::*;
use crate::listing::{SAME_METADATA, TableListing, TablePage};

#[async_trait]
impl TableListing for MemoryCatalog {
    async fn tables_page(&self, page: &TablePage) -> Result<Vec<TableEntry>> {
        let is_wanted = |t: &TableEntry| {
            let is_inside = page.namespace.as_ref().is_none_or(|namespace| *namespace == t.name.namespace);
            is_inside && page.after.as_ref().is_none_or(|after| t.name > *after)
        };
        Ok(self.entries().into_iter().filter(is_wanted).take(page.limit).collect())
    }

    async fn names_beside(&self, name: &TableName, limit: usize) -> Result<Vec<TableName>> {
        let names: Vec<_> = self.entries().into_iter().map(|t| t.name).collect();
        let (before, behind) = names.split_at(names.partition_point(|other| other < name));
        let before = &before[before.len().saturating_sub(limit)..];
        Ok(before.iter().chain(behind.iter().filter(|other| *other != name).take(limit)).cloned().collect())
    }

    async fn table_around(&self, location: &Location) -> Result<Option<InactiveTable>> {
        Ok(table_around(&self.tables.lock(), location))
    }

    async fn tables_with_metadata(&self, id: &str) -> Result<Vec<TableEntry>> {
        let tables = self.tables.lock();
        let has = |t: &MemoryTable| t.is_live() && t.metadata.values().any(|metadata| metadata.id == id);
        let found = tables.iter().filter(|(_, t)| has(t)).filter_map(|(id, t)| t.entry(*id));
        Ok(found.take(SAME_METADATA).collect())
    }
}
