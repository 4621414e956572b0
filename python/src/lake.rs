//! A catalog that is connected, how it is written to, and where plain paths lead.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use deltalakedb_catalog::{CatalogUri, ConnectOptions, Place, SqlCatalog};
use deltalakedb_log::catalog::TableRef;
use deltalakedb_log::{Catalog, Clock, Location, Result, SystemClock, TableEntry, TableId, TableName, TxnLogError};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::{Settings, WriteOptions};

/// A catalog and what was set for it.
pub(crate) struct Lake {
    pub(crate) uri: CatalogUri,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) settings: Settings,
    mirror: Mirror,
    process: u32,
}

/// A URI and settings.
type Key = (String, BTreeMap<String, String>);

/// The lakes of a process: all tables of a catalog share one connection.
#[derive(Default)]
struct Lakes {
    /// Those that somebody uses.
    open: HashMap<Key, Weak<Lake>>,
    /// Those that were asked for last stay open, though nobody uses them just now.
    recent: VecDeque<Arc<Lake>>,
}

/// How many lakes stay open that nobody uses.
const RECENT: usize = 4;

static LAKES: Mutex<Option<(u32, Lakes)>> = Mutex::new(None);

impl Lake {
    /// The catalog at a URI, with settings beside those of the configuration. An embedded catalog that is not there yet
    /// is made, if `create`.
    pub(crate) async fn connect(uri: &str, create: bool, own: &BTreeMap<String, String>) -> Result<Arc<Self>> {
        // One file is one catalog, from whatever folder it is named.
        let absolute = |file: PathBuf| {
            let wrong = || TxnLogError::invalid(format!("{uri} names no file that there can be"));
            std::path::absolute(file).map_err(|e| wrong().with_source(e))
        };
        let place = match CatalogUri::parse(uri)?.place {
            Place::Sqlite(file) => Place::Sqlite(absolute(file)?),
            Place::DuckDb(file) => Place::DuckDb(absolute(file)?),
            server => server,
        };
        let parsed = CatalogUri { place, table: None };
        let key = (parsed.to_string(), own.clone());
        if let Some(lake) = Self::connected(&key) {
            return Ok(lake);
        }
        let file = std::env::var_os("DELTALAKEDB_CONFIG").filter(|file| !file.is_empty());
        let own: Vec<_> = own.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let settings = Settings::read(file.as_deref().map(std::path::Path::new), &own)?;
        let create = create && settings.create_if_missing(parsed.is_embedded())?;
        let options = ConnectOptions { create, client: "python".into(), ..ConnectOptions::default() };
        let catalog: Arc<dyn Catalog> = Arc::new(SqlCatalog::connect(&parsed, options).await?);
        let mut mirror =
            Mirror::new(catalog.clone(), Arc::new(SystemClock)).with_durability(settings.write_options()?.durability);
        if let Some(versions) = settings.checkpoint_interval()? {
            mirror = mirror.with_checkpoint_interval(versions);
        }
        let lake = Arc::new(Self { uri: parsed, catalog, settings, mirror, process: std::process::id() });
        let mut lakes = lakes();
        let (_, lakes) = lakes.get_or_insert_with(|| (std::process::id(), Lakes::default()));
        lakes.open.retain(|_, lake| lake.strong_count() > 0);
        lakes.open.insert(key, Arc::downgrade(&lake));
        lakes.recent.push_front(lake.clone());
        lakes.recent.truncate(RECENT);
        Ok(lake)
    }

    fn connected(key: &Key) -> Option<Arc<Self>> {
        let mut lakes = lakes();
        match lakes.as_ref() {
            Some((process, lakes)) if *process == std::process::id() => lakes.open.get(key)?.upgrade(),
            // The parent's connections are the parent's: they are neither used nor closed here.
            _ => {
                std::mem::forget(lakes.take());
                None
            }
        }
    }

    /// The catalog that plain paths lead to; `None` when none is configured.
    pub(crate) async fn configured() -> Result<Option<Arc<Self>>> {
        match std::env::var("DELTALAKEDB_CATALOG").ok().filter(|uri| !uri.is_empty()) {
            Some(uri) => Ok(Some(Self::connect(&uri, true, &BTreeMap::new()).await?)),
            None => Ok(None),
        }
    }

    /// The same, where there must be one.
    pub(crate) async fn required() -> Result<Arc<Self>> {
        Self::configured().await?.ok_or_else(|| {
            TxnLogError::invalid(
                "no catalog is given: pass its URI, or set DELTALAKEDB_CATALOG, for example to \
                 deltasql://sqlite/meta.db",
            )
        })
    }

    /// An error where this was connected before the process was forked.
    pub(crate) fn check_process(&self) -> Result<()> {
        match self.process == std::process::id() {
            true => Ok(()),
            false => Err(TxnLogError::invalid(
                "this was opened before the process was forked, and connections do not survive that: open it anew here",
            )),
        }
    }

    /// How it is written to.
    pub(crate) fn options(&self) -> Result<WriteOptions> {
        self.settings.write_options()
    }

    /// Publishes what was committed, unless that is left to another process. A mirror that is behind is no error.
    pub(crate) async fn publish(&self, table: TableId) -> Result<()> {
        if self.settings.publishes_inline()? {
            match self.mirror.publish(table).await {
                Ok(published) => published.warnings.iter().for_each(|warning| tracing::warn!("{warning}")),
                Err(e) => tracing::warn!("the commit stands, its mirror is behind: {e}"),
            }
        }
        Ok(())
    }

    /// The publisher.
    pub(crate) fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// The table at a place.
    pub(crate) async fn find_at(&self, location: &Location) -> Result<Option<TableEntry>> {
        self.catalog.find(&TableRef::Location(location.clone())).await
    }

    /// A name for a new table at a place: `default.<folder>`, with a number after it where that is taken.
    pub(crate) async fn free_name(&self, location: &Location) -> Result<TableName> {
        let url = location.url();
        let folder = url.path_segments().and_then(|mut parts| parts.rfind(|part| !part.is_empty()).map(str::to_string));
        let folder: String = folder
            .unwrap_or_else(|| "table".into())
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' })
            .collect();
        let taken: Vec<_> = self.catalog.tables().await?.into_iter().map(|t| t.name).collect();
        for n in 1.. {
            let name = if n == 1 { folder.clone() } else { format!("{folder}_{n}") };
            let name: TableName = format!("default.{name}").parse()?;
            if !taken.contains(&name) {
                return Ok(name);
            }
        }
        Err(TxnLogError::invalid("every name is taken"))
    }

    /// Below this place new tables are made: the setting, or `warehouse` beside the file of an embedded catalog.
    pub(crate) fn warehouse(&self) -> Option<String> {
        let beside = |file: &Path| Some(file.parent()?.join("warehouse").display().to_string());
        let own = || match &self.uri.place {
            Place::Sqlite(file) | Place::DuckDb(file) => beside(file),
            Place::Postgres(_) => None,
        };
        self.settings.get("warehouse").map(String::from).or_else(own)
    }

    /// The place of a new table: the one given, or its own below the warehouse.
    pub(crate) fn place_of(&self, name: &TableName, given: Option<&str>) -> Result<Location> {
        deltalakedb_table::place_of(name, given, self.warehouse().as_deref())?.ok_or_else(|| {
            TxnLogError::invalid(format!(
                "the new table {name} needs a place: give a location, or set warehouse for all new tables"
            ))
        })
    }

    /// Brings the table at a place in, which other engines wrote so far.
    pub(crate) async fn import(&self, location: &Location, name: Option<&TableName>) -> Result<TableEntry> {
        let free = match name {
            Some(name) => name.clone(),
            None => self.free_name(location).await?,
        };
        let clock: &dyn Clock = &SystemClock;
        let known = self.find_at(location).await?;
        let name = if known.is_some() { name } else { Some(&free) };
        Ok(deltalakedb_mirror::import(&self.catalog, clock, location, name, &|_, _| {}).await?.table)
    }
}

fn lakes() -> std::sync::MutexGuard<'static, Option<(u32, Lakes)>> {
    LAKES.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
