//! The row tables of a data directory.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deltalakedb_log::commit::{Committed, NewTable};
use deltalakedb_log::namespaces::all_namespaces;
use deltalakedb_log::{
    Catalog, Clock, ErrorKind, Location, Result, TableEntry, TableId, TableName, TableOwner, TableRef, TxnLogError,
    require,
};
use deltalakedb_mirror::Mirror;
use deltalakedb_rows::row_store::RowStore;
use deltalakedb_rows::storage::Storage;
use deltalakedb_rows::storage::rocks::{RocksOptions, RocksStorage};
use deltalakedb_rows::{RowSnapshot, SeqClock};
use deltalakedb_table::datafusion::prelude::SessionContext;
use deltalakedb_table::{DeltaTable, DropOptions, WriteOptions, drop_table, query_session};
use parking_lot::{Mutex, RwLock};

use crate::blocking::blocking;
use crate::cold_snapshot::ColdSnapshot;
use crate::cold_table::is_cold_table;
use crate::data_directory::DataDirectory;
use crate::definition::TableDefinition;
use crate::flush::Flusher;
use crate::key_lookup::KeyedFiles;
use crate::known_tables::{KnownTables, owned_tables, unknown_table};
use crate::names::DEFAULT_NAMESPACE;
use crate::row_table::RowTable;
use crate::table_view::TableView;

/// The folder of the hot rows in a data directory.
const HOT: &str = "_hot";

/// This machine's part of each `_seq`.
const NODE: u16 = 0;

/// How often a snapshot is taken again because tables were flushed in the meantime.
const SNAPSHOTS: usize = 10;

/// The row tables of a data directory: hot rows in the directory, cold rows in Delta tables of a catalog, which the
/// engine owns.
///
/// One engine has a directory open at a time. It is the [guest](deltalakedb_table::SqlGuest) of sessions of SQL.
pub struct RowEngine {
    store: Arc<RowStore>,
    catalog: Arc<dyn Catalog>,
    /// The data directory.
    folder: PathBuf,
    owner: TableOwner,
    /// In the name of the owner.
    options: WriteOptions,
    tables: RwLock<BTreeMap<TableName, Arc<RowTable>>>,
    /// The data files that lookups by key opened.
    keyed_files: Arc<KeyedFiles>,
    /// For reads of the engine itself.
    session: SessionContext,
    /// The commits of flushes that no caller has received yet.
    committed: Arc<Mutex<Vec<Committed>>>,
    unpublished: Vec<TableId>,
}

impl RowEngine {
    /// Opens a [data directory](DataDirectory), which is created if it does not exist. `catalog` has the cold tables; it
    /// is always the same one for a directory.
    ///
    /// Flushes that a crash interrupted are finished first, or undone.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if another engine has the directory open; [`ErrorKind::Corrupt`] if it is damaged, if
    /// it lacks the hot rows of a table of the catalog, or if it and the catalog are not of the same time.
    pub async fn open(folder: &Path, catalog: Arc<dyn Catalog>, options: WriteOptions) -> Result<Self> {
        let directory = DataDirectory::create(folder)?;
        let folder = directory.path();
        let hot = folder.join(HOT);
        if !RocksStorage::exists(&hot)
            && let Some(table) = owned_tables(&catalog, &owner_of(folder)?).await?.first()
        {
            // Before anything is created in it.
            return Err(unknown_table(&table.name, folder));
        }
        directory.check_place(catalog.identity().await?.0)?;
        let storage = blocking(move || RocksStorage::open(&hot, &RocksOptions::default())).await?;
        let engine = Self::open_storage(folder, Arc::new(storage), catalog, options).await?;
        directory.keep();
        Ok(engine)
    }

    /// Like [`Self::open`], with hot rows elsewhere.
    pub(crate) async fn open_storage(
        folder: &Path,
        storage: Arc<dyn Storage>,
        catalog: Arc<dyn Catalog>,
        options: WriteOptions,
    ) -> Result<Self> {
        let owner = owner_of(folder)?;
        let clock = options.clock.clone();
        let store = Arc::new(blocking(move || RowStore::open(storage, NODE, clock)).await?);
        let (metadata, applications) = Default::default();
        let options = WriteOptions { owner: Some(owner.clone()), metadata, applications, ..options };
        let session = query_session(&HashMap::new())?;
        let mut engine = Self {
            store,
            catalog,
            folder: folder.to_path_buf(),
            owner,
            options,
            tables: RwLock::default(),
            keyed_files: Arc::default(),
            session,
            committed: Arc::default(),
            unpublished: Vec::new(),
        };
        engine.unpublished = engine.open_tables().await?;
        engine.committed.lock().clear();
        Ok(engine)
    }

    /// The row tables whose Delta tables were not published to their last version when the directory was opened: because
    /// the last process ended before that, or because flushes were finished now. They are to be published.
    pub fn unpublished(&self) -> &[TableId] {
        &self.unpublished
    }

    /// The data directory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The names of the row tables, in order.
    pub fn table_names(&self) -> Vec<TableName> {
        self.tables.read().keys().cloned().collect()
    }

    /// Creates a row table in a namespace that exists. None if `if_not_exists` and there is a table of that name.
    pub async fn create_table(&self, definition: TableDefinition, if_not_exists: bool) -> Result<Option<Committed>> {
        let name = definition.name().clone();
        if if_not_exists && self.catalog.find(&TableRef::Name(name.clone())).await?.is_some() {
            return Ok(None);
        }
        self.check_namespace(&name.namespace).await?;
        let cold = definition.cold_table()?;
        let mut place = self.folder.join(&name.namespace).join(&name.name);
        if place.exists() {
            // That of a dropped table, which can be undropped.
            let id = self.options.clock.new_uuid().simple().to_string();
            place.set_file_name(format!("{}-{}", name.name, &id[..8]));
        }
        let location = Location::of_folder(&place).ok_or_else(|| {
            TxnLogError::invalid(format!("the row table {name} cannot be created in {}", place.display()))
        })?;
        let creation = self.options.clock.new_uuid();
        self.known_tables().begin_creation(creation, location.clone()).await?;
        let new = NewTable { owner: Some(self.owner.clone()), ..NewTable::new(name.clone(), location) };
        // If this fails, it may be unknown whether there is a table: the intent is left for the next open.
        let created = cold.spec.create(self.catalog.as_ref(), new, &cold.schema, &self.options).await?;
        self.known_tables().created(created.table, creation).await?;
        let entry = require(self.catalog.as_ref(), &TableRef::Id(created.table)).await?;
        let table = self.open_table(entry).await?;
        self.tables.write().insert(name, table);
        Ok(Some(created))
    }

    /// An error if a namespace does not exist. The catalog would create it with its first table.
    async fn check_namespace(&self, name: &str) -> Result<()> {
        let exists = name == DEFAULT_NAMESPACE
            || all_namespaces(self.catalog.as_ref()).await?.iter().any(|existing| existing == name);
        if exists {
            Ok(())
        } else {
            let message = format!("there is no namespace {name}: create it with CREATE NAMESPACE {name}");
            Err(TxnLogError::not_found(message))
        }
    }

    /// Drops a row table, which is flushed before. As other tables, the Delta table can be undropped for
    /// [`WriteOptions::dropped_retention`], with all rows; it is a row table again when the directory is opened next.
    pub async fn drop_table(&self, name: &TableName) -> Result<()> {
        let table = self.table(name)?;
        self.flusher().flush(&table).await?;
        let mirror = Mirror::new(self.catalog.clone(), self.options.clock.clone())
            .with_stores(self.options.stores.clone())
            .with_durability(self.options.durability);
        mirror.publish(table.id).await?;
        // If the drop fails, the next open finds out whether the table is there.
        self.known_tables().dropping(table.id).await?;
        drop_table(&mirror, table.id, DropOptions::default(), &self.options).await?;
        self.tables.write().remove(name);
        self.committed.lock().retain(|commit| commit.table != table.id);
        Ok(())
    }

    /// Flushes a table: its hot rows become a version of the cold table. Returns the commits that no caller has received
    /// yet, this one among them, which are to be published; none if nothing changed since the last flush.
    pub async fn flush_table(&self, name: &TableName) -> Result<Vec<Committed>> {
        self.flusher().flush(&self.table(name)?).await?;
        Ok(self.take_committed())
    }

    /// Flushes all tables, and returns the commits as [`Self::flush_table`] does. A table that cannot be flushed does not
    /// keep the others from it: the first error is returned when all were tried.
    pub async fn flush_all(&self) -> Result<Vec<Committed>> {
        let mut failed = None;
        for name in self.table_names() {
            // It may have been dropped in the meantime.
            let Some(table) = self.find(&name) else { continue };
            let Err(e) = self.flusher().flush(&table).await else { continue };
            if failed.is_none() {
                failed = Some(e);
            } else {
                tracing::warn!("{name} could not be flushed either: {e}");
            }
        }
        match failed {
            Some(e) => Err(e),
            None => Ok(self.take_committed()),
        }
    }

    /// The commits of flushes that no caller has received yet, which are to be published: of a flush that was interrupted,
    /// or of several of which one failed.
    pub fn take_committed(&self) -> Vec<Committed> {
        std::mem::take(&mut *self.committed.lock())
    }

    /// Ends writing. Rows stay hot that were not flushed.
    pub async fn close(&self) -> Result<()> {
        let store = self.store.clone();
        blocking(move || store.close()).await
    }

    pub(crate) fn store(&self) -> &Arc<RowStore> {
        &self.store
    }

    pub(crate) fn ids(&self) -> &SeqClock {
        self.store.clock()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.options.clock.as_ref()
    }

    pub(crate) fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    pub(crate) fn session(&self) -> &SessionContext {
        &self.session
    }

    /// The row table of that name, if there is one.
    pub(crate) fn find(&self, name: &TableName) -> Option<Arc<RowTable>> {
        self.tables.read().get(name).cloned()
    }

    fn table(&self, name: &TableName) -> Result<Arc<RowTable>> {
        self.find(name).ok_or_else(|| TxnLogError::not_found(format!("there is no row table {name}")))
    }

    /// The row tables among these names, all at one point.
    pub(crate) fn views(&self, names: &[TableName]) -> Result<Vec<TableView>> {
        let tables: Vec<_> = names.iter().filter_map(|name| self.find(name)).collect();
        for _ in 0..SNAPSHOTS {
            let snapshot: Arc<RowSnapshot> = Arc::new(self.store.snapshot()?);
            let views = tables.iter().map(|table| TableView::new(table.clone(), snapshot.clone()));
            if let Some(views) = views.collect() {
                return Ok(views);
            }
        }
        Err(TxnLogError::new(ErrorKind::Conflict, "tables were flushed again and again: run the statement again"))
    }

    fn known_tables(&self) -> KnownTables {
        KnownTables::new(self.store.clone())
    }

    fn flusher(&self) -> Flusher {
        Flusher {
            store: self.store.clone(),
            catalog: self.catalog.clone(),
            options: self.options.clone(),
            committed: self.committed.clone(),
        }
    }

    /// Opens the tables that the engine owns, and finishes their flushes. Returns those that are to be published.
    async fn open_tables(&self) -> Result<Vec<TableId>> {
        let entries = owned_tables(&self.catalog, &self.owner).await?;
        self.known_tables().check(self.catalog.as_ref(), &entries, &self.folder).await?;
        let mut unpublished = Vec::new();
        for entry in entries {
            let name = entry.name.clone();
            let table = self.open_table(entry).await?;
            let finished = self.flusher().finish_unfinished(&table).await;
            match (finished, self.check_same_time(&table)) {
                (Ok(()), checked) => checked?,
                // The commit was not made, such as one to a table with a foreign commit: all rows are there, and the next
                // flush tries again.
                (Err(e), Ok(())) => tracing::warn!("a flush of {name} could not be finished: {e}"),
                (Err(e), Err(_)) => return Err(e),
            }
            let entry = require(self.catalog.as_ref(), &TableRef::Id(table.id)).await?;
            if entry.published_version != Some(entry.current_version) {
                unpublished.push(table.id);
            }
            self.tables.write().insert(name, table);
        }
        Ok(unpublished)
    }

    async fn open_table(&self, entry: TableEntry) -> Result<Arc<RowTable>> {
        let (id, name) = (entry.id, entry.name.clone());
        let delta = DeltaTable::of_entry(self.catalog.clone(), entry).with_stores(self.options.stores.clone());
        let generation = self.store.snapshot()?.cold(id).generation;
        let cold = ColdSnapshot::newest(&delta, generation).await?;
        if !is_cold_table(&cold.head.metadata) {
            let owner = &self.owner;
            return Err(TxnLogError::corrupt(format!(
                "{name} is owned by {owner} and has no definition of a row table"
            )));
        }
        let definition = TableDefinition::from_metadata(&name, &cold.head.metadata)?;
        Ok(Arc::new(RowTable::new(id, definition, delta, cold, self.keyed_files.clone())?))
    }

    /// An error if the hot rows of a table are older or newer than its cold rows.
    fn check_same_time(&self, table: &RowTable) -> Result<()> {
        let snapshot = self.store.snapshot()?;
        let hot = snapshot.cold(table.id).cut;
        let cold = table.cold_at(&snapshot).map(|cold| cold.cut).unwrap_or_default();
        let (name, folder) = (table.name(), self.folder.display());
        let (older, remedy) = match hot.cmp(&cold) {
            Ordering::Equal => return Ok(()),
            Ordering::Less => (format!("the hot rows of {name} are older than the catalog"), String::new()),
            // Flushes that were published are in the log.
            Ordering::Greater => {
                (format!("the catalog is older than the hot rows of {name}"), format!("run `dl import {name}`, or "))
            }
        };
        Err(TxnLogError::corrupt(format!(
            "{older}, because {folder} has the cut {hot} and the Delta table {cold}: {remedy}restore both from backups of \
             one time"
        )))
    }
}

impl fmt::Debug for RowEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowEngine")
            .field("folder", &self.folder)
            .field("catalog", &self.catalog)
            .finish_non_exhaustive()
    }
}

/// The owner of the tables of a data directory.
fn owner_of(folder: &Path) -> Result<TableOwner> {
    format!("rows:{}", folder.display()).parse()
}
