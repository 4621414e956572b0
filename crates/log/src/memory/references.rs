//! References between tables in memory.

use super::*;
use crate::references::{TableReferences, check_source, folders};

/// The tables that may need files below a place.
pub(super) fn referring(tables: &BTreeMap<TableId, MemoryTable>, place: &Location, now_ms: i64) -> Vec<InactiveTable> {
    let may_need = |t: &MemoryTable| match t.state {
        TableState::Live | TableState::Loading => true,
        TableState::Dropped => t.retained_until.is_none_or(|until| until > now_ms),
        TableState::Deleting | TableState::Deleted | TableState::Detached | TableState::Removing => false,
    };
    let places = place.keys();
    let refers = |t: &MemoryTable| t.folders.iter().any(|folder| places.iter().any(|place| folder.is_within(place)));
    let found = tables.iter().filter(|(_, t)| may_need(t) && refers(t));
    let mut found: Vec<_> = found.map(|(id, t)| t.described(*id)).collect();
    found.sort_by(InactiveTable::by_name);
    found
}

/// Rejects files of tables whose files are being deleted.
pub(super) fn check_sources<'a>(
    tables: &BTreeMap<TableId, MemoryTable>,
    name: &TableName,
    adds: impl IntoIterator<Item = &'a Add>,
) -> Result<()> {
    let folders = folders(adds);
    let mut sources = tables.iter().filter(|(_, t)| t.holds_any(&folders));
    sources.try_for_each(|(id, source)| check_source(name, &source.described(*id)))
}

impl MemoryTable {
    /// Whether one of these folders is its place, or inside it.
    fn holds_any(&self, folders: &BTreeSet<LocationKey>) -> bool {
        let place = self.location.key();
        folders.iter().any(|folder| folder.is_within(&place))
    }

    /// Records the folders of files outside its own folder.
    pub(super) fn refer<'a>(&mut self, adds: impl IntoIterator<Item = &'a Add>) {
        let own = self.location.keys();
        let elsewhere = |folder: &LocationKey| !own.iter().any(|own| folder.is_within(own));
        self.folders.extend(folders(adds).into_iter().filter(elsewhere));
    }
}

#[async_trait]
impl TableReferences for MemoryCatalog {
    async fn referring_tables(&self, place: &Location) -> Result<Vec<InactiveTable>> {
        Ok(referring(&self.tables.lock(), place, self.clock.now_ms()))
    }

    async fn source_tables(&self, table: TableId) -> Result<Vec<InactiveTable>> {
        let tables = self.tables.lock();
        let Some(clone) = tables.get(&table) else { return Ok(Vec::new()) };
        let is_source =
            |(id, t): &(&TableId, &MemoryTable)| t.is_live() && **id != table && t.holds_any(&clone.folders);
        let mut sources: Vec<_> = tables.iter().filter(is_source).map(|(id, t)| t.described(*id)).collect();
        sources.sort_by(InactiveTable::by_name);
        Ok(sources)
    }

    async fn named_folders(&self, table: TableId) -> Result<Vec<LocationKey>> {
        Ok(self.tables.lock().get(&table).map(|t| t.folders.iter().cloned().collect()).unwrap_or_default())
    }

    async fn forget_folders(&self, table: TableId, at_version: Version, folders: &[LocationKey]) -> Result<()> {
        self.with(table, |t| {
            if t.head_version() == Some(at_version) {
                t.folders.retain(|folder| !folders.contains(folder));
            }
            Ok(())
        })
    }
}
