//! The folders outside its own in which a table has files.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use async_trait::async_trait;
use deltalakedb_log::commit::{Base, CommitRequest};
use deltalakedb_log::references::check_source;
use deltalakedb_log::{
    Catalog, ErrorKind, InactiveTable, Location, LocationKey, Result, TableId, TableName, TableReferences, TableState,
    TxnLogError, Version,
};

use crate::database::{CommitFailure, Database, DatabaseTransaction, KEYS, Value, WriteStatement, placeholders};
use crate::sql_catalog::SqlCatalog;
use crate::table_lookup::{ALL_TABLES, any_table, find_in, no_table_in};

pub(crate) const REFERENCE_COLUMNS: [&str; 2] = ["table_id", "folder"];

/// The tables that may need files of another table below a place.
pub(crate) async fn referring(
    tx: &mut dyn DatabaseTransaction,
    place: &Location,
    now_ms: i64,
) -> Result<Vec<InactiveTable>> {
    let sql = format!(
        "{ALL_TABLES} table_id IN (SELECT table_id FROM dl_references WHERE folder >= ? AND folder < ?) \
         AND (state IN ('live', 'loading') OR (state = 'dropped' AND retained_until > ?))"
    );
    let mut tables = BTreeMap::new();
    for place in place.keys() {
        let params = vec![place.as_str().into(), place.end().into(), now_ms.into()];
        for row in tx.query(&sql, params).await? {
            let table = any_table(row)?;
            tables.insert(table.id, table);
        }
    }
    let mut tables: Vec<_> = tables.into_values().collect();
    tables.sort_by(InactiveTable::by_name);
    Ok(tables)
}

#[async_trait]
impl TableReferences for SqlCatalog {
    async fn referring_tables(&self, place: &Location) -> Result<Vec<InactiveTable>> {
        let now_ms = self.now_ms().await?;
        referring(self.db.read().await?.as_mut(), place, now_ms).await
    }

    async fn source_tables(&self, table: TableId) -> Result<Vec<InactiveTable>> {
        let mut tx = self.db.read().await?;
        let folders = named_folders(tx.as_mut(), table).await?;
        let mut sources = tables_at(tx.as_mut(), &Vec::from_iter(&folders)).await?;
        sources.retain(|source| source.state == TableState::Live && source.id != table);
        sources.sort_by(InactiveTable::by_name);
        Ok(sources)
    }

    async fn named_folders(&self, table: TableId) -> Result<Vec<LocationKey>> {
        named_folders(self.db.read().await?.as_mut(), table).await
    }

    async fn forget_folders(&self, table: TableId, at_version: Version, folders: &[LocationKey]) -> Result<()> {
        let mut tx = self.write(&[table]).await?;
        let Some(entry) = find_in(tx.as_mut(), table).await? else {
            return Err(no_table_in(tx.as_mut(), self.db.as_ref(), table).await);
        };
        if entry.current_version != at_version {
            return Ok(());
        }
        let forget = |folders: &[LocationKey]| {
            let places = placeholders(folders.len());
            let sql = format!("DELETE FROM dl_references WHERE table_id = ? AND folder IN ({places})");
            let keys = folders.iter().map(|folder| Value::from(folder.as_str()));
            WriteStatement::run(sql, std::iter::once(table.0.into()).chain(keys).collect())
        };
        tx.write(folders.chunks(KEYS).map(forget).collect()).await?;
        tx.commit().await.map_err(CommitFailure::into_error)
    }
}

/// The folders of the files that a commit or a load names by absolute paths. Usually there are none, and then no
/// statement is run.
#[derive(Debug)]
pub(crate) struct NamedFolders {
    pub(crate) table: TableId,
    /// The place of a new table.
    pub(crate) location: Option<Location>,
    pub(crate) folders: BTreeSet<LocationKey>,
    /// The tables in these folders, looked up so that they can be locked.
    pub(crate) sources: Vec<TableId>,
}

async fn named_folders(tx: &mut dyn DatabaseTransaction, table: TableId) -> Result<Vec<LocationKey>> {
    let sql = "SELECT folder FROM dl_references WHERE table_id = ? ORDER BY folder";
    let rows = tx.query(sql, vec![table.0.into()]).await?;
    rows.into_iter().map(|mut row| row.text().map(LocationKey::stored)).collect()
}

impl NamedFolders {
    pub(crate) fn of(request: &CommitRequest, folders: &BTreeSet<LocationKey>) -> Self {
        let location = match &request.base {
            Base::Create(new) => Some(new.location.clone()),
            _ => None,
        };
        Self { table: request.table, location, folders: folders.clone(), sources: Vec::new() }
    }

    /// The tables in whose folders files are named for the first time. While they are locked, none of them is dropped
    /// with its files.
    pub(crate) async fn sources(all: &mut [Self], db: &dyn Database) -> Result<Vec<TableId>> {
        for named in all.iter_mut().filter(|named| !named.folders.is_empty()) {
            let mut tx = db.read().await?;
            let new = named.unrecorded(tx.as_mut()).await?;
            let tables = tables_at(tx.as_mut(), &new).await?;
            named.sources = tables.into_iter().map(|table| table.id).collect();
        }
        Ok(all.iter().flat_map(|named| named.sources.iter().copied()).collect())
    }

    /// The writes, with the [sources](Self::sources) locked. If a table was created in one of the folders after they
    /// were looked up, it is not among them, and the commit must begin again.
    pub(crate) async fn record(
        &self,
        tx: &mut dyn DatabaseTransaction,
        name: &TableName,
    ) -> Result<Option<WriteStatement>> {
        if self.folders.is_empty() {
            return Ok(None);
        }
        let new = self.unrecorded(tx).await?;
        for source in tables_at(tx, &new).await? {
            check_source(name, &source)?;
            if !self.sources.contains(&source.id) {
                let message = format!("{} was added to a folder in which {name} has files: try again", source.name);
                return Err(TxnLogError::new(ErrorKind::Unavailable, message));
            }
        }
        let row = |folder: &&LocationKey| vec![self.table.0.into(), Value::from(folder.as_str())];
        let rows: Vec<_> = new.iter().map(row).collect();
        Ok((!rows.is_empty()).then(|| WriteStatement::insert("dl_references", &REFERENCE_COLUMNS, rows)))
    }

    /// The folders that are not the table's own, and not recorded yet.
    async fn unrecorded(&self, tx: &mut dyn DatabaseTransaction) -> Result<Vec<&LocationKey>> {
        let own = match &self.location {
            Some(location) => Some(location.clone()),
            None => {
                let sql = "SELECT location FROM dl_tables WHERE table_id = ?";
                let row = tx.query(sql, vec![self.table.0.into()]).await?.pop();
                row.map(|mut row| Location::stored(&row.text()?)).transpose()?
            }
        };
        let own = own.map(|own| own.keys()).unwrap_or_default();
        let elsewhere = |folder: &&LocationKey| !own.iter().any(|own| folder.is_within(own));
        let mut new: Vec<_> = self.folders.iter().filter(elsewhere).collect();
        let mut known = HashSet::new();
        for folders in new.chunks(KEYS) {
            let sql = format!(
                "SELECT folder FROM dl_references WHERE table_id = ? AND folder IN ({})",
                placeholders(folders.len())
            );
            let keys = folders.iter().map(|folder| folder.as_str().into());
            for mut row in tx.query(&sql, std::iter::once(self.table.0.into()).chain(keys).collect()).await? {
                known.insert(row.text()?);
            }
        }
        new.retain(|folder| !known.contains(folder.as_str()));
        Ok(new)
    }
}

/// The tables whose places are these folders, or contain them.
async fn tables_at(tx: &mut dyn DatabaseTransaction, folders: &[&LocationKey]) -> Result<Vec<InactiveTable>> {
    let places: BTreeSet<_> = folders.iter().flat_map(|folder| folder.ancestors()).collect();
    let (places, mut tables) = (Vec::from_iter(places), Vec::new());
    for places in places.chunks(KEYS) {
        let sql = format!("{ALL_TABLES} location_key IN ({})", placeholders(places.len()));
        let rows = tx.query(&sql, places.iter().map(|place| Value::from(*place)).collect()).await?;
        tables.extend(rows.into_iter().map(any_table).collect::<Result<Vec<_>>>()?);
    }
    Ok(tables)
}
