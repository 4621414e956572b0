//! The context of every command: settings, clock, output, and the catalogs that it opens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use deltalakedb_catalog::{Backend, CatalogUri, ConnectOptions, SqlCatalog};
use deltalakedb_engine::DataDirectory;
use deltalakedb_log::{
    Catalog, Clock, Location, Result, SystemClock, TableEntry, TableName, TableRef, TxnLogError, require,
};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::{Notices, Settings, WriteOptions, is_setting, resolve_location};
use etcetera::{BaseStrategy, choose_base_strategy};
use parking_lot::Mutex;

use crate::args::{Cli, Command, Global};
use crate::output::{Output, warn};
use crate::progress::Progress;
use crate::recorder::RecordedMetrics;

/// The context of every command: the global options, and the clock.
pub(crate) struct CommandContext {
    pub(crate) global: Global,
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: RecordedMetrics,
    /// The assignments of `dl update`.
    pub(crate) assignments: Vec<String>,
    opened: Mutex<Vec<SqlCatalog>>,
    mirrors: Mutex<Vec<Mirror>>,
}

impl CommandContext {
    /// A context for the parsed command line, with the settings given before the command. After `dl update`, `--set`
    /// assigns to a column, unless it names a setting.
    pub(crate) fn new(cli: &mut Cli, before: Vec<String>, metrics: RecordedMetrics) -> Result<Self> {
        let mut global = std::mem::take(&mut cli.global);
        // An empty variable is as if it was not set.
        global.catalog = global.catalog.filter(|uri| !uri.is_empty());
        global.config = global.config.filter(|file| !file.as_os_str().is_empty());
        global.profile = global.profile.filter(|name| !name.is_empty());
        let after = std::mem::take(&mut global.settings);
        // Without settings after the command, clap returns those before it a second time.
        let after = if after == before { Vec::new() } else { after };
        let assigns = |set: &String| {
            let key = set.split('=').next().unwrap_or_default();
            matches!(cli.command, Command::Update { .. }) && !is_setting(key.trim())
        };
        let (assignments, after): (Vec<_>, Vec<_>) = after.into_iter().partition(assigns);
        let config = global.config.clone().or_else(usual_config);
        let single = [before, after].concat();
        let settings = match cli.command {
            // They need no settings: a wrong configuration must not break the start of a shell.
            Command::Completions { .. } | Command::Man { .. } => Settings::default(),
            _ => Settings::read_with_profile(config.as_deref(), global.profile.as_deref(), &single)?,
        };
        Ok(Self {
            global,
            settings,
            clock: Arc::new(SystemClock),
            metrics,
            assignments,
            opened: Mutex::default(),
            mirrors: Mutex::default(),
        })
    }

    pub(crate) fn write_options(&self) -> WriteOptions {
        let notices = Notices::to(|what| warn(&format!("warning: {what}")));
        WriteOptions { clock: self.clock.clone(), notices, ..self.settings.write.clone() }
    }

    /// A publisher for an opened catalog.
    pub(crate) fn mirror(&self, catalog: &Arc<dyn Catalog>) -> Mirror {
        let mut mirrors = self.mirrors.lock();
        if let Some(mirror) = mirrors.iter().find(|mirror| Arc::ptr_eq(mirror.catalog(), catalog)) {
            return mirror.clone();
        }
        let mirror = Mirror::new(catalog.clone(), self.clock.clone())
            .with_durability(self.settings.write.durability)
            .with_deferred_sync();
        let mirror = match self.settings.checkpoint_interval {
            Some(versions) => mirror.with_checkpoint_interval(versions),
            None => mirror,
        };
        mirrors.push(mirror.clone());
        mirror
    }

    pub(crate) fn output(&self) -> Output {
        Output::new(self.global.format, self.global.quiet, self.settings.row_limit)
    }

    /// The output of a command that may print very much, and nothing else.
    pub(crate) fn paged_output(&self) -> Output {
        if self.global.no_pager { self.output() } else { self.output().paged() }
    }

    /// Shows on a terminal that long work is being done, until it is dropped.
    pub(crate) fn working(&self, what: impl Into<String>) -> Progress {
        Progress::endless(what, self.global.quiet)
    }

    /// The catalog; created if it does not exist and `create` and the settings allow it.
    pub(crate) async fn catalog(&self, create: bool) -> Result<Arc<dyn Catalog>> {
        let uri = self.catalog_uri()?;
        // In a server, only `dl init` creates a catalog by default.
        let create = create && self.settings.create_if_missing.unwrap_or(uri.is_embedded());
        Ok(Arc::new(self.open(&uri, create).await?))
    }

    /// The catalog of a data directory: the given one, or else one in the directory. It is created if it does not exist
    /// and the settings allow it.
    pub(crate) async fn catalog_of_data(&self, data: &DataDirectory) -> Result<Arc<dyn Catalog>> {
        if self.given_catalog().is_some() {
            return self.catalog(true).await;
        }
        let uri = CatalogUri { backend: Backend::Sqlite(data.own_catalog()), table: None };
        Ok(Arc::new(self.open(&uri, self.settings.create_if_missing.unwrap_or(true)).await?))
    }

    fn given_catalog(&self) -> Option<&str> {
        self.global.catalog.as_deref().or(self.settings.catalog.as_deref())
    }

    pub(crate) fn catalog_uri(&self) -> Result<CatalogUri> {
        let uri = self.given_catalog().ok_or_else(|| {
            TxnLogError::invalid(
                "no catalog is given: pass --catalog or set DELTALAKEDB_CATALOG, for example to deltasql://sqlite/meta.db",
            )
        })?;
        catalog_alone(CatalogUri::parse(uri)?)
    }

    /// A catalog that [`Self::close`] will close.
    pub(crate) async fn open(&self, uri: &CatalogUri, create: bool) -> Result<SqlCatalog> {
        let (clock, client) = (self.clock.clone(), "dl".into());
        let options = ConnectOptions { create, clock, client, ..self.settings.connect.clone() };
        let catalog = SqlCatalog::connect(uri, options).await?;
        self.opened.lock().push(catalog.clone());
        Ok(catalog)
    }

    /// Waits until published files are synced, and closes every opened catalog, so that a file has no write-ahead log
    /// left. Readers are waited for at most a second: with its WAL the catalog is complete as well.
    pub(crate) async fn close(&self) {
        let mirrors = std::mem::take(&mut *self.mirrors.lock());
        for mirror in mirrors {
            if let Err(e) = mirror.settle().await {
                warn(&format!(
                    "warning: the catalog did not record what was published: {e}; the next `dl mirror run` records it"
                ));
            }
        }
        let opened = std::mem::take(&mut *self.opened.lock());
        for catalog in opened {
            if tokio::time::timeout(Duration::from_secs(1), catalog.close()).await.is_err() {
                tracing::warn!("a catalog is still being read and was not closed");
            }
        }
    }

    /// A table of the catalog, by its name or its location.
    pub(crate) async fn table(&self, name: &str) -> Result<(Arc<dyn Catalog>, TableEntry)> {
        let catalog = self.catalog(false).await?;
        match self.find(catalog.as_ref(), name).await? {
            Some(entry) => Ok((catalog, entry)),
            None => {
                let wanted = if is_location(name) {
                    TableRef::Location(Location::parse(name)?)
                } else {
                    TableRef::Name(name.parse()?)
                };
                Ok((catalog.clone(), require(catalog.as_ref(), &wanted).await?))
            }
        }
    }

    /// The table of that name, or else at that location.
    pub(crate) async fn find(&self, catalog: &dyn Catalog, name: &str) -> Result<Option<TableEntry>> {
        if let Ok(known) = name.parse()
            && let Some(entry) = catalog.find(&TableRef::Name(known)).await?
        {
            return Ok(Some(entry));
        }
        if is_location(name) || Path::new(name).exists() {
            catalog.find(&TableRef::Location(Location::parse(name)?)).await
        } else {
            Ok(None)
        }
    }

    /// Tries to publish the last commit, and returns the table's entry. The commit is kept in either case.
    pub(crate) async fn publish(&self, catalog: &Arc<dyn Catalog>, table: &TableRef) -> Result<TableEntry> {
        let entry = require(catalog.as_ref(), table).await?;
        if !self.settings.publishes_inline {
            return Ok(entry);
        }
        let mut published = None;
        let mirror = self.mirror(catalog);
        match mirror.publish(entry.id).await {
            Ok(outcome) => {
                mirror.settle_soon();
                outcome.warnings.iter().for_each(|what| warn(&format!("warning: {what}")));
                published = outcome.version;
            }
            Err(e) => warn(&format!("warning: {e}")),
        }
        let mut entry = require(catalog.as_ref(), table).await?;
        // The file exists, and the catalog records it once it is synced.
        entry.published_version = entry.published_version.max(published);
        Ok(entry)
    }

    pub(crate) fn new_location(&self, name: &TableName, location: Option<&str>) -> Result<Location> {
        resolve_location(name, location, self.settings.warehouse.as_deref())?.ok_or_else(|| {
            TxnLogError::invalid(format!(
                "the new table {name} needs a location: pass --location, or --set warehouse=LOCATION for all new tables"
            ))
        })
    }
}

/// The configuration of the user, if there is one: `~/.config/deltalakedb/config.toml` on most systems.
fn usual_config() -> Option<PathBuf> {
    // Without a home directory there is none.
    let folder = choose_base_strategy().ok()?.config_dir();
    Some(folder.join("deltalakedb").join("config.toml")).filter(|file| file.exists())
}

/// Rejects a URI that names a table instead of a catalog.
pub(crate) fn catalog_alone(uri: CatalogUri) -> Result<CatalogUri> {
    match &uri.table {
        Some(table) => Err(TxnLogError::invalid(format!(
            "the catalog URI contains the table {table}: remove it from the URI and pass the table as NAME"
        ))),
        None => Ok(uri),
    }
}

/// Whether the text can only be a location: names have no slash.
pub(crate) fn is_location(name: &str) -> bool {
    name.contains('/')
}
