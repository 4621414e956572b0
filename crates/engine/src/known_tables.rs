//! The tables that the row store of a data directory knows.
//!
//! The catalog decides which tables there are, and the row store has a mark of each table of its directory. If one has a
//! table that the other does not, rows would be missing: the directory was lost or replaced, or one of the two is older.
//!
//! | a crash | afterwards |
//! |---|---|
//! | after the intent of a creation | nothing was created, and the intent is deleted |
//! | after the table is in the catalog | the intent names its place, and the table gets its mark |
//! | after the mark of a dropped table | the table is in the catalog still, and is live again |

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use deltalakedb_log::listing::tables;
use deltalakedb_log::{Catalog, Location, Result, TableEntry, TableId, TableName, TableOwner, TxnLogError};
use deltalakedb_rows::RowStore;
use deltalakedb_rows::row_store::TableMark;
use futures::TryStreamExt;
use uuid::Uuid;

use crate::blocking::blocking;
use crate::intent::{CreateIntent, EngineIntent};

/// The tables of a catalog that have this owner.
pub(crate) async fn owned_tables(catalog: &Arc<dyn Catalog>, owner: &TableOwner) -> Result<Vec<TableEntry>> {
    let mut all = tables(catalog.clone(), None);
    let mut owned = Vec::new();
    while let Some(entry) = all.try_next().await? {
        if entry.owner.as_ref() == Some(owner) {
            owned.push(entry);
        }
    }
    Ok(owned)
}

/// The error for a table of a directory that does not have its hot rows.
pub(crate) fn unknown_table(table: &TableName, folder: &Path) -> TxnLogError {
    TxnLogError::corrupt(format!(
        "the catalog has the row table {table} of {}, and its hot rows are not there: mount the directory, or restore it \
         from a backup",
        folder.display()
    ))
}

/// The marks of the tables of a row store.
pub(crate) struct KnownTables {
    store: Arc<RowStore>,
}

impl KnownTables {
    pub(crate) fn new(store: Arc<RowStore>) -> Self {
        Self { store }
    }

    /// An error if the row store does not know a table that the catalog has of the directory, or the catalog does not
    /// have one of which the store may have rows. Settles what a crash interrupted.
    pub(crate) async fn check(&self, catalog: &dyn Catalog, owned: &[TableEntry], folder: &Path) -> Result<()> {
        let store = self.store.clone();
        let (marks, intents) = blocking(move || Ok((store.marks()?, store.intents()?))).await?;
        let marks: BTreeMap<_, _> = marks.into_iter().collect();
        let mut creations = Vec::new();
        for intent in &intents {
            if let EngineIntent::Create(creation) = EngineIntent::from_stored(intent)? {
                creations.push(creation);
            }
        }
        let mut changed = Vec::new();
        for entry in owned {
            let is_created = || creations.iter().any(|creation| creation.location.is_same_location(&entry.location));
            match marks.get(&entry.id) {
                Some(TableMark::Live) => {}
                // It was undropped, or the drop was not made.
                Some(TableMark::Dropped) => changed.push((entry.id, TableMark::Live)),
                None if is_created() => changed.push((entry.id, TableMark::Live)),
                None => return Err(unknown_table(&entry.name, folder)),
            }
        }
        let owned: HashSet<_> = owned.iter().map(|entry| entry.id).collect();
        let is_missing = |table: &TableId, mark: TableMark| mark == TableMark::Live && !owned.contains(table);
        let missing = marks.into_iter().filter(|(table, mark)| is_missing(table, *mark));
        let missing: Vec<_> = missing.map(|(table, _)| table).collect();
        for table in missing {
            // Another program may have dropped it in the name of the engine.
            let Some(dropped) = catalog.inactive_table(table).await? else {
                return Err(TxnLogError::corrupt(format!(
                    "{} has hot rows of the table {table}, which the catalog does not have because it is older: restore \
                     both from backups of one time (or another program dropped it, and its retention is over)",
                    folder.display()
                )));
            };
            tracing::warn!(
                "another program dropped or detached {}: its rows that were not flushed are hidden",
                dropped.name
            );
            changed.push((table, TableMark::Dropped));
        }
        self.put(changed, creations.into_iter().map(|creation| creation.id).collect()).await
    }

    /// Says, by an intent of this id, that a table is about to be created at a location.
    pub(crate) async fn begin_creation(&self, id: Uuid, location: Location) -> Result<()> {
        let (store, intent) = (self.store.clone(), CreateIntent { id, location }.to_stored()?);
        blocking(move || {
            store.exclusive(|exclusive| {
                exclusive.put_intent(&intent);
                Ok(())
            })
        })
        .await
    }

    /// Says that a table is in the catalog, and that its creation has ended.
    pub(crate) async fn created(&self, table: TableId, creation: Uuid) -> Result<()> {
        self.put(vec![(table, TableMark::Live)], vec![creation]).await
    }

    /// Says that a table is about to be dropped.
    pub(crate) async fn dropping(&self, table: TableId) -> Result<()> {
        self.put(vec![(table, TableMark::Dropped)], Vec::new()).await
    }

    async fn put(&self, marks: Vec<(TableId, TableMark)>, ended: Vec<Uuid>) -> Result<()> {
        let store = self.store.clone();
        blocking(move || {
            store.exclusive(|exclusive| {
                marks.iter().for_each(|(table, mark)| exclusive.mark(*table, *mark));
                ended.iter().for_each(|intent| exclusive.delete_intent(*intent));
                Ok(())
            })
        })
        .await
    }
}
