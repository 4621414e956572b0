//! An opened table: by a URI, a path or a name, at one version.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use deltalakedb_catalog::CatalogUri;
use deltalakedb_log::action::{Add, Metadata};
use deltalakedb_log::canonical_path;
use deltalakedb_log::snapshot::Head;
use deltalakedb_log::stores::{ConfiguredStores, Stores, environment};
use deltalakedb_log::{
    At, Catalog, ErrorKind, Location, MemoryCatalog, Predicate, Result, Subject, SystemClock, TableEntry, TableId,
    TableName, TableRef, TxnLogError, Version, require,
};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::{DeltaTable, Operation, OperationResult, WriteOptions, predicate_from_sql};
use pyo3::prelude::*;
use serde_json::Value;

use crate::connection::{Access, CatalogConnection};
use crate::errors::{DeltaError, TableNotFoundError, raise};
use crate::options::Hooks;
use crate::pruning::Pruning;
use crate::warnings::{Warning, warn};

/// The table and its version.
#[derive(Clone)]
pub(crate) struct TableHandle {
    pub(crate) table: DeltaTable,
    /// Its catalog; `None` while it is in no catalog.
    pub(crate) registration: Option<(Arc<CatalogConnection>, TableId)>,
    pub(crate) head: Head,
    /// Options of the object store, for the catalog in which it will be registered.
    pub(crate) storage: Option<HashMap<String, String>>,
}

/// The result of resolving a URI, a path or a name.
pub(crate) enum Found {
    /// A table of a catalog.
    Managed(Arc<CatalogConnection>, TableEntry),
    /// A location without a table in a catalog, and its object stores.
    Unmanaged(Location, Arc<dyn Stores>),
}

/// The object stores of a location outside a catalog, with additional options.
pub(crate) fn stores_with(location: &Location, options: Option<&HashMap<String, String>>) -> Arc<dyn Stores> {
    match options.filter(|options| !options.is_empty()) {
        Some(options) => {
            let stores = ConfiguredStores::default();
            stores.configure(location, options.clone());
            Arc::new(stores)
        }
        None => environment(),
    }
}

/// The text as a name with a namespace. A text without one is a location, as with `deltalake`: `events` is a different
/// table in another working directory.
fn full_name(text: &str) -> Option<TableName> {
    let could_be = text.contains('.') && !text.contains(['/', '\\']);
    text.parse().ok().filter(|_| could_be)
}

impl Found {
    /// A `deltasql://` URI names a table. Any other text is a location; but if nothing exists there, `namespace.name`
    /// may be a table of the catalog.
    pub(crate) async fn at(uri: &str, storage: Option<&HashMap<String, String>>) -> Result<Self> {
        if CatalogUri::is_catalog_uri(uri) {
            let (connection, name) = CatalogConnection::of_table(uri, Access::Read).await?;
            let entry = require(connection.catalog.as_ref(), &TableRef::Name(name)).await?;
            connection.use_storage_options(&entry.location, storage);
            return Ok(Self::Managed(connection, entry));
        }
        let connection = CatalogConnection::configured(Access::Read).await?;
        if let Some(connection) = &connection
            && let Some(name) = full_name(uri)
            && !std::path::Path::new(uri).exists()
            && let Some(entry) = connection.catalog.find(&TableRef::Name(name)).await?
        {
            return Ok(Self::Managed(connection.clone(), entry));
        }
        let location = Location::parse(uri)?;
        let Some(connection) = connection else {
            let stores = stores_with(&location, storage);
            return Ok(Self::Unmanaged(location, stores));
        };
        connection.use_storage_options(&location, storage);
        match connection.find_at(&location).await? {
            Some(entry) => Ok(Self::Managed(connection, entry)),
            None => Ok(Self::Unmanaged(location, connection.stores())),
        }
    }
}

impl TableHandle {
    pub(crate) async fn open(
        uri: &str,
        version: Option<Version>,
        storage: Option<&HashMap<String, String>>,
    ) -> Result<Self> {
        match Found::at(uri, storage).await? {
            Found::Managed(connection, entry) => Self::of_entry(connection, entry, version).await,
            Found::Unmanaged(location, stores) => {
                let table = DeltaTable::open_plain(location, stores).await?;
                let head = head_at(&table, version).await?;
                Ok(Self { table, registration: None, head, storage: storage.cloned() })
            }
        }
    }

    /// A table of a catalog.
    pub(crate) async fn of_entry(
        connection: Arc<CatalogConnection>,
        entry: TableEntry,
        version: Option<Version>,
    ) -> Result<Self> {
        let id = entry.id;
        let table = DeltaTable::of_entry(connection.catalog.clone(), entry).with_stores(connection.stores());
        let head = head_at(&table, version).await?;
        Ok(Self { table, registration: Some((connection, id)), head, storage: None })
    }

    pub(crate) fn at(&self) -> At {
        At::Version(self.head.version)
    }

    /// Its write options: the catalog's settings, based on the opened version.
    pub(crate) fn options(&self) -> WriteOptions {
        self.registration.as_ref().map_or_else(WriteOptions::default, |(connection, _)| connection.options())
    }

    /// Registers a table that is in no catalog in the configured one before it is written.
    pub(crate) async fn register_on_first_write(&mut self) -> Result<()> {
        if self.registration.is_some() {
            return Ok(());
        }
        if let Some(connection) = CatalogConnection::configured(Access::Write).await? {
            connection.use_storage_options(self.table.location(), self.storage.as_ref());
            let entry = connection.import(self.table.location(), None).await?;
            *self = Self::of_entry(connection, entry, Some(self.head.version)).await?;
        }
        Ok(())
    }

    /// The table in a catalog in memory: for what needs a catalog and changes none, on a table that is in none.
    pub(crate) async fn in_memory(&self) -> Result<DeltaTable> {
        let clock = Arc::new(SystemClock);
        let catalog: Arc<dyn Catalog> = Arc::new(MemoryCatalog::new(clock.clone()));
        let stores = self.table.stores();
        let mirror = Mirror::new(catalog.clone(), clock).with_stores(stores.clone());
        let name: TableName = "table".parse()?;
        let imported = mirror.import(self.table.location(), Some(&name), &|_, _| {}).await?;
        Ok(DeltaTable::of_entry(catalog, imported.table).with_stores(stores.clone()))
    }

    /// Runs an operation, publishes it, and moves to its version.
    pub(crate) async fn run(
        &mut self,
        operation: Operation,
        options: WriteOptions,
        hooks: Option<&Hooks>,
    ) -> Result<OperationResult> {
        let finished = self.table.run(operation, &options).await?;
        if finished.committed.is_some() {
            self.committed(hooks).await;
        }
        Ok(finished)
    }

    /// Runs the steps after a commit. The commit is not undone, so a failure here is only a warning.
    pub(crate) async fn committed(&mut self, hooks: Option<&Hooks>) {
        if let Some((connection, id)) = &self.registration {
            connection.publish(*id, hooks.is_none_or(|hooks| hooks.create_checkpoint)).await;
            if hooks.is_some_and(|hooks| hooks.cleanup_expired_logs == Some(true))
                && let Err(e) = connection.mirror().clean_up(*id).await
            {
                warn(Warning::Mirror, format!("the commit succeeded, but _delta_log was not cleaned up: {e}"));
            }
        }
        match self.table.head().await {
            Ok(head) => self.head = head,
            Err(e) => warn(
                Warning::Commit,
                format!(
                    "the commit succeeded, but the table could not be read after it, so this object stays at version \
                     {}: {e}",
                    self.head.version
                ),
            ),
        }
    }

    /// The files in which a row may match.
    pub(crate) async fn files(&self, pruning: Option<Pruning>) -> Result<Vec<Add>> {
        let predicate = match pruning {
            None => None,
            Some(pruning) => {
                let schema = self.table.schema(self.at()).await?;
                let sql = pruning.sql(&schema)?;
                Some(predicate_from_sql(&sql, &schema)?).filter(|p| *p != Predicate::Unknown)
            }
        };
        let reader = self.table.reader().await?;
        reader.files_in_replay_order(self.head.version, predicate.as_ref()).await
    }

    /// The newest version at a time; the oldest version for a time before it.
    pub(crate) async fn version_at(&self, ms: i64) -> Result<Version> {
        match self.table.reader().await?.snapshot(At::Timestamp(ms)).await {
            Ok(snapshot) => Ok(snapshot.version()),
            Err(e) if e.kind() == ErrorKind::NotFound => match &self.registration {
                Some((connection, id)) => {
                    Ok(require(connection.catalog.as_ref(), &TableRef::Id(*id)).await?.base_version)
                }
                None => Ok(0),
            },
            Err(e) => Err(e),
        }
    }

    /// The URI of a file.
    pub(crate) fn uri_of(&self, path: &str) -> String {
        let root = self.table.location().url();
        if path.contains("://") {
            return path.to_string();
        }
        // The folder as in a URL, the rest unchanged, as delta-rs writes them.
        let root = if root.scheme() == "file" { root.path() } else { root.as_str() };
        format!("{root}{}", String::from_utf8_lossy(&canonical_path(path)))
    }

    /// Physical names of the partition columns, which are the keys of partition values, and logical ones.
    pub(crate) fn partition_columns(&self) -> Result<Vec<(String, String)>> {
        let Metadata { schema_string, partition_columns, .. } = &self.head.metadata;
        let schema: Value = serde_json::from_str(schema_string)
            .map_err(|e| TxnLogError::corrupt("the table's schema is not JSON").with_source(e))?;
        let physical = |name: &String| {
            let field = schema["fields"].as_array().into_iter().flatten().find(|field| field["name"] == name.as_str());
            let mapped = field.and_then(|field| field["metadata"]["delta.columnMapping.physicalName"].as_str());
            (mapped.unwrap_or(name).to_string(), name.clone())
        };
        Ok(partition_columns.iter().map(physical).collect())
    }

    pub(crate) fn partition_values(&self, add: &Add, columns: &[(String, String)]) -> BTreeMap<String, Option<String>> {
        let value = |physical: &String| add.partition_values.get(physical).cloned().flatten();
        columns.iter().map(|(physical, logical)| (logical.clone(), value(physical))).collect()
    }
}

pub(crate) async fn head_at(table: &DeltaTable, version: Option<Version>) -> Result<Head> {
    let Some(version) = version else { return table.head().await };
    match table.reader().await?.snapshot(At::Version(version)).await {
        Ok(snapshot) => Ok(snapshot.head),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let newest = table.head().await?.version;
            Err(TxnLogError::not_found(format!(
                "Invalid table version: the table is at version {newest} and has no version {version}: {e}"
            ))
            .about(Subject::Version))
        }
        Err(e) => Err(e),
    }
}

/// The error for a URI at which no table could be opened.
pub(crate) fn not_opened(uri: &str, e: TxnLogError) -> PyErr {
    if CatalogUri::is_catalog_uri(uri) {
        return match e.kind() {
            ErrorKind::NotFound => TableNotFoundError::new_err(e.to_string()),
            _ => raise(e),
        };
    }
    match Location::parse(uri) {
        Err(_) => {
            let scheme = uri.split_once("://").map_or("", |(scheme, _)| scheme);
            TableNotFoundError::new_err(format!("Unknown scheme: {scheme}: {e}"))
        }
        Ok(location) if e.kind() == ErrorKind::NotFound => {
            let why = match location.local_path() {
                Some(path) if !path.exists() => "the folder does not exist",
                _ => "No files in log segment",
            };
            TableNotFoundError::new_err(format!("Not a Delta table: {why}: {e}"))
        }
        Ok(_) => raise(e),
    }
}

pub(crate) fn exists(uri: &str) -> PyErr {
    DeltaError::new_err(format!("A Delta Lake table already exists at that location: {uri}"))
}
