//! A connected catalog, its write options, and the catalog for plain paths.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use deltalakedb_catalog::{Backend, CatalogUri, ConnectOptions, SqlCatalog, catalog_in_environment};
use deltalakedb_engine::{RowEngine, RowTables};
use deltalakedb_log::stores::{ConfiguredStores, Stores};
use deltalakedb_log::{
    Catalog, ErrorKind, Location, MirrorState, Result, SystemClock, TableEntry, TableId, TableName, TableRef,
    TxnLogError,
};
use deltalakedb_mirror::{Mirror, Published};
use deltalakedb_table::{Notices, Settings, SqlOptions, SqlSession, WriteOptions};
use parking_lot::Mutex;

use crate::warnings::{Warning, warn};

/// A catalog with its settings.
pub(crate) struct CatalogConnection {
    pub(crate) uri: CatalogUri,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) settings: Settings,
    mirror: Mirror,
    stores: Arc<ConfiguredStores>,
    key: Key,
    sql: SqlCatalog,
    /// The row tables of a data directory, if it has one.
    rows: Option<Arc<RowEngine>>,
    /// The number of Python objects that are handles. Tables are not: they are opened by path, and stay open until the
    /// process ends.
    handles: AtomicUsize,
}

/// The purpose for which a catalog is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The catalog is neither created nor upgraded.
    Read,
    /// A missing catalog is created, and an older one upgraded, as the settings allow.
    Write,
}

/// A URI, settings, and a data directory.
type Key = (String, BTreeMap<String, String>, Option<PathBuf>);

/// The connections of a process: all tables of a catalog share one connection.
#[derive(Default)]
struct Connections {
    /// Those in use.
    open: HashMap<Key, Weak<CatalogConnection>>,
    /// The most recently opened connections, which stay open even when they are not in use.
    recent: VecDeque<Arc<CatalogConnection>>,
}

/// The number of unused connections that stay open.
const RECENT: usize = 4;

/// Held while a data directory is opened.
static OPENING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

static CONNECTIONS: LazyLock<Mutex<Connections>> = LazyLock::new(Mutex::default);

/// Syncs and records what was published through all connections. A failure is logged: the next publisher of a table
/// records its versions.
pub(crate) async fn settle_all() {
    let open: Vec<_> = CONNECTIONS.lock().open.values().filter_map(Weak::upgrade).collect();
    for connection in open {
        if let Err(e) = connection.mirror.settle().await {
            tracing::warn!("the catalog did not record what was published, the next publish records it: {e}");
        }
    }
}

impl CatalogConnection {
    /// The catalog at a URI, with settings in addition to those of the configuration. `create` says whether a missing
    /// catalog is created, and an older one upgraded; without it, the settings decide.
    ///
    /// With a data directory, its row tables are opened, too; they are closed with the connection.
    pub(crate) async fn connect(
        uri: &str,
        create: Option<bool>,
        own: &BTreeMap<String, String>,
        data: Option<&Path>,
    ) -> Result<Arc<Self>> {
        let parsed = CatalogUri { table: None, ..parse_catalog_uri(uri)? };
        let data = data.map(|data| data.canonicalize().unwrap_or_else(|_| data.to_path_buf()));
        let key = (parsed.to_string(), own.clone(), data.clone());
        // A data directory is opened once.
        let _turn = match &data {
            Some(_) => Some(OPENING.lock().await),
            None => None,
        };
        if let Some(connection) = CONNECTIONS.lock().open.get(&key).and_then(Weak::upgrade) {
            return Ok(connection);
        }
        let file = std::env::var_os("DELTALAKEDB_CONFIG").filter(|file| !file.is_empty());
        let own: Vec<_> = own.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let settings = Settings::read(file.as_deref().map(std::path::Path::new), &own)?;
        let create = create.or(settings.create_if_missing).unwrap_or(parsed.is_embedded());
        let options = ConnectOptions { create, client: "python".into(), ..settings.connect.clone() };
        let sql = SqlCatalog::connect(&parsed, options).await?;
        let catalog: Arc<dyn Catalog> = Arc::new(sql.clone());
        let stores = Arc::new(ConfiguredStores::default());
        let mut mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock))
            .with_stores(stores.clone())
            .with_durability(settings.write.durability)
            .with_deferred_sync()
            .with_future_times(settings.future_times)
            .with_checkpoints_as_delta_rs();
        if let Some(versions) = settings.checkpoint_interval {
            mirror = mirror.with_checkpoint_interval(versions);
        }
        let (of, handles) = (key.clone(), AtomicUsize::new(0));
        let mut connection = Self { uri: parsed, catalog, settings, mirror, stores, key: of, sql, handles, rows: None };
        if let Some(data) = data {
            let rows = RowEngine::open(&data, connection.catalog.clone(), connection.options()).await?;
            for table in rows.unpublished() {
                connection.publish(*table, true).await;
            }
            connection.rows = Some(Arc::new(rows));
        }
        let connection = Arc::new(connection);
        let mut connections = CONNECTIONS.lock();
        // Another thread may have connected in the meantime.
        if let Some(connection) = connections.open.get(&key).and_then(Weak::upgrade) {
            return Ok(connection);
        }
        connections.open.retain(|_, connection| connection.strong_count() > 0);
        connections.open.insert(key, Arc::downgrade(&connection));
        connections.recent.push_front(connection.clone());
        connections.recent.truncate(RECENT);
        Ok(connection)
    }

    /// The catalog without additional settings.
    async fn open(uri: &str, access: Access) -> Result<Arc<Self>> {
        let create = (access == Access::Read).then_some(false);
        Self::connect(uri, create, &BTreeMap::new(), None).await
    }

    /// The catalog and the name of a table that a `deltasql://` URI names.
    pub(crate) async fn of_table(uri: &str, access: Access) -> Result<(Arc<Self>, TableName)> {
        let CatalogUri { backend, table } = parse_catalog_uri(uri)?;
        let name = table.ok_or_else(|| names_no_table(uri))?;
        let catalog = CatalogUri { backend, table: None };
        Ok((Self::open(&catalog.to_string(), access).await?, name))
    }

    /// The catalog for plain paths; `None` when none is configured, or when it is a file that the first write will
    /// create.
    pub(crate) async fn configured(access: Access) -> Result<Option<Arc<Self>>> {
        let Some(uri) = catalog_in_environment()? else { return Ok(None) };
        match Self::open(&uri, access).await {
            Ok(connection) => Ok(Some(connection)),
            Err(e)
                if access == Access::Read
                    && e.kind() == ErrorKind::NotFound
                    && parse_catalog_uri(&uri)?.is_embedded() =>
            {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// The catalog for a write, which must be configured.
    pub(crate) async fn required() -> Result<Arc<Self>> {
        Self::configured(Access::Write).await?.ok_or_else(no_catalog_configured)
    }

    /// Counts a Python handle.
    pub(crate) fn add_handle(self: Arc<Self>) -> Arc<Self> {
        self.handles.fetch_add(1, Ordering::SeqCst);
        self
    }

    /// Removes a handle; returns whether it was the last.
    pub(crate) fn release_handle(&self) -> bool {
        self.handles.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Closes the connections. Connecting again opens new ones; tables that were opened before fail.
    pub(crate) async fn close(&self) {
        {
            let mut connections = CONNECTIONS.lock();
            connections.open.remove(&self.key);
            connections.recent.retain(|connection| connection.key != self.key);
        }
        if let Some(rows) = &self.rows
            && let Err(e) = rows.close().await
        {
            tracing::warn!("the row tables were not closed: {e}");
        }
        if let Err(e) = self.mirror.settle().await {
            tracing::warn!("the catalog did not record what was published, the next publish records it: {e}");
        }
        self.sql.close().await;
    }

    /// A session of SQL over its tables.
    pub(crate) fn session(&self) -> Result<SqlSession> {
        let folder = self.rows.as_ref().map(|rows| rows.folder().display().to_string());
        let options = SqlOptions { warehouse: self.warehouse().or(folder), write: self.options() };
        let session = SqlSession::new(self.catalog.clone(), options)?;
        Ok(match &self.rows {
            Some(rows) => session.with_guest(Arc::new(RowTables::new(rows.clone()))),
            None => session,
        })
    }

    /// Whether it is the catalog at this location.
    pub(crate) fn is_at(&self, backend: &Backend) -> bool {
        let same =
            |a: &Path, b: &Path| a == b || a.canonicalize().ok().is_some_and(|a| b.canonicalize().ok() == Some(a));
        match (&self.uri.backend, backend) {
            (Backend::Sqlite(a), Backend::Sqlite(b)) | (Backend::DuckDb(a), Backend::DuckDb(b)) => same(a, b),
            (a, b) => a == b,
        }
    }

    /// Its write options.
    pub(crate) fn options(&self) -> WriteOptions {
        let notices = Notices::to(|sentence| warn(Warning::Commit, sentence.to_string()));
        WriteOptions { stores: self.stores(), notices, ..self.settings.write.clone() }
    }

    /// The object stores of its tables.
    pub(crate) fn stores(&self) -> Arc<dyn Stores> {
        self.stores.clone()
    }

    /// Sets options of the object store for this catalog's tables at that location and below it.
    pub(crate) fn use_storage_options(&self, location: &Location, options: Option<&HashMap<String, String>>) {
        if let Some(options) = options.filter(|options| !options.is_empty()) {
            self.stores.configure(location, options.clone());
        }
    }

    /// Publishes the commits of flushes that were interrupted, or that were made before one of another table failed.
    pub(crate) async fn publish_rest(&self) {
        let Some(rows) = &self.rows else { return };
        for committed in rows.take_committed() {
            self.publish(committed.table, true).await;
        }
    }

    /// Publishes the commits, unless that is left to another process, with a checkpoint when one is due. A failure is
    /// not an error, and is reported as a warning.
    pub(crate) async fn publish(&self, table: TableId, checkpoint: bool) {
        if !self.settings.publishes_inline {
            return;
        }
        let outcome =
            if checkpoint { self.mirror.publish(table).await } else { self.mirror.publish_commits(table).await };
        match outcome {
            Ok(published) => {
                show_mirror_warnings(published);
                self.mirror.settle_soon();
            }
            Err(e) if e.kind() == ErrorKind::Conflict && self.follows(table).await => {
                tracing::debug!("another process publishes: {e}");
            }
            Err(e) => warn(
                Warning::Mirror,
                format!(
                    "the commit succeeded, but it is not published to _delta_log yet: {e}; connect().publish() tries \
                     again"
                ),
            ),
        }
    }

    /// Whether publishing of a table continues: then a failed attempt means that another process publishes it.
    async fn follows(&self, table: TableId) -> bool {
        let entry = self.catalog.find(&TableRef::Id(table)).await;
        entry.is_ok_and(|entry| entry.is_some_and(|entry| entry.mirror == MirrorState::Following))
    }

    /// The mirror of the catalog.
    pub(crate) fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// The mirror, after everything that was published here is synced and recorded in the catalog.
    pub(crate) async fn settled_mirror(&self) -> Result<&Mirror> {
        self.mirror.settle().await?;
        Ok(&self.mirror)
    }

    /// The table at a location.
    pub(crate) async fn find_at(&self, location: &Location) -> Result<Option<TableEntry>> {
        self.catalog.find(&TableRef::Location(location.clone())).await
    }

    /// A name for a new table at a location: `default.<folder>`, with a number appended if that is taken.
    pub(crate) async fn free_name(&self, location: &Location) -> Result<TableName> {
        let folder: String = location
            .folder()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' })
            .collect();
        for n in 1.. {
            let name = if n == 1 { folder.clone() } else { format!("{folder}_{n}") };
            let name: TableName = format!("default.{name}").parse()?;
            if self.catalog.find(&TableRef::Name(name.clone())).await?.is_none() {
                return Ok(name);
            }
        }
        Err(TxnLogError::invalid("every name is taken"))
    }

    /// The location below which new tables are created: the setting, or `warehouse` next to the file of an embedded
    /// catalog.
    pub(crate) fn warehouse(&self) -> Option<String> {
        let beside = |file: &Path| Some(file.parent()?.join("warehouse").display().to_string());
        let own = || match &self.uri.backend {
            Backend::Sqlite(file) | Backend::DuckDb(file) => beside(file),
            Backend::Postgres(_) => None,
        };
        self.settings.warehouse.clone().or_else(own)
    }

    /// The location of a new table: the given one, or its own below the warehouse.
    pub(crate) fn resolve_location(&self, name: &TableName, given: Option<&str>) -> Result<Location> {
        deltalakedb_table::resolve_location(name, given, self.warehouse().as_deref())?.ok_or_else(|| {
            TxnLogError::invalid(format!(
                "the new table {name} needs a location: pass one, or set warehouse for all new tables"
            ))
        })
    }

    /// Imports the table at a location, which other engines have written so far.
    pub(crate) async fn import(&self, location: &Location, name: Option<&TableName>) -> Result<TableEntry> {
        let free = match name {
            Some(name) => name.clone(),
            None => self.free_name(location).await?,
        };
        let known = self.find_at(location).await?;
        let name = if known.is_some() { name } else { Some(&free) };
        Ok(self.mirror.import(location, name, &|_, _| {}).await?.table)
    }
}

/// The catalog of a URI. A file is the same catalog from every working directory.
pub(crate) fn parse_catalog_uri(uri: &str) -> Result<CatalogUri> {
    let absolute = |file: PathBuf| {
        let wrong = || TxnLogError::invalid(format!("{uri} is not a valid file URL"));
        std::path::absolute(file).map_err(|e| wrong().with_source(e))
    };
    let CatalogUri { backend, table } = CatalogUri::parse(uri)?;
    let backend = match backend {
        Backend::Sqlite(file) => Backend::Sqlite(absolute(file)?),
        Backend::DuckDb(file) => Backend::DuckDb(absolute(file)?),
        server @ Backend::Postgres(_) => server,
    };
    Ok(CatalogUri { backend, table })
}

/// Warns about failures other than those of commits.
pub(crate) fn show_mirror_warnings(published: Published) {
    published.warnings.into_iter().for_each(|warning| warn(Warning::Mirror, warning));
}

pub(crate) fn no_catalog_configured() -> TxnLogError {
    TxnLogError::invalid(
        "no catalog is given: pass its URI, or set DELTALAKEDB_CATALOG, for example to deltasql://sqlite/meta.db",
    )
}

pub(crate) fn names_no_table(uri: &str) -> TxnLogError {
    TxnLogError::invalid(format!("{uri} is a catalog and names no table: add ?table=NAME"))
}
