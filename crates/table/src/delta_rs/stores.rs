//! The object stores behind URLs, one per scheme and host, made when first asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use datafusion::common::{DataFusionError, Result as PlanResult};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use delta_kernel::Engine;
use delta_kernel_engine::DefaultEngineBuilder;
use delta_kernel_engine::executor::tokio::TokioMultiThreadExecutor;
use deltalakedb_log::{Durability, Location, Result, TxnLogError};
use object_store::ObjectStore;
use url::{Position, Url};

use super::runtime;
use crate::error::Explain;

/// The scheme of tables, as delta-rs is told.
const SCHEME: &str = "deltasql";

/// The URL delta-rs knows a table by: a host that spells the table's place in hexadecimal, and nothing below it.
///
/// The kernel wants the folder of a `file` URL to exist and follows links in it, and it reads deletion vectors by
/// paths it forgot to decode. A host of its own spares every table that, whatever its folder is called.
pub(super) fn url_of(location: &Location) -> Result<Url> {
    let host: String = location.url().as_str().bytes().map(|b| format!("{b:02x}")).collect();
    Url::parse(&format!("{SCHEME}://{host}/")).explain(|| format!("{location} is no place for a table"))
}

/// The place such a URL spells.
fn location_of(url: &Url) -> Result<Location> {
    let host = url.host_str().unwrap_or_default();
    let digits = host.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes = digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect::<Option<Vec<_>>>();
    match bytes.map(String::from_utf8) {
        Some(Ok(place)) => Location::parse(&place),
        _ => Err(TxnLogError::invalid(format!("{url} names no table by its place"))),
    }
}

/// The store of everything under the scheme and host of `url`, whose puts are as durable as that.
pub(super) fn root_store(url: &Url, durability: Durability) -> Result<Arc<dyn ObjectStore>> {
    type Roots = HashMap<(String, Durability), Arc<dyn ObjectStore>>;
    static ROOTS: OnceLock<Mutex<Roots>> = OnceLock::new();
    let mut roots = ROOTS.get_or_init(Mutex::default).lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let root = (format!("{}/", &url[..Position::BeforePath]), durability);
    if let Some(store) = roots.get(&root) {
        return Ok(store.clone());
    }
    let place = match url.scheme() {
        SCHEME => location_of(url)?,
        _ => Location::parse(&root.0)?,
    };
    let store = place.store_with(durability)?;
    roots.insert(root, store.clone());
    Ok(store)
}

/// Lets a session that is not ours find the table's data files.
pub(crate) fn register(env: &RuntimeEnv, location: &Location) -> Result<()> {
    let url = url_of(location)?;
    if env.object_store_registry.get_store(&url).is_err() {
        env.register_object_store(&url, root_store(&url, Durability::Full)?);
    }
    Ok(())
}

/// The kernel's own engine over that store.
pub(super) fn engine(url: &Url) -> Result<Arc<dyn Engine>> {
    let executor = Arc::new(TokioMultiThreadExecutor::new(runtime::handle()?));
    let engine = DefaultEngineBuilder::new(root_store(url, Durability::Full)?).with_task_executor(executor);
    Ok(Arc::new(engine.build()))
}

/// A runtime for one session, which finds the store of any data file by its URL.
pub(super) fn session() -> Result<Arc<RuntimeEnv>> {
    let stores: Arc<dyn ObjectStoreRegistry> = Arc::new(Stores::default());
    let env = RuntimeEnvBuilder::new().with_object_store_registry(stores).build_arc();
    env.explain(|| "a query session cannot be started".into())
}

/// Stores registered in this session, and behind them those of any URL.
#[derive(Debug, Default)]
struct Stores(Mutex<HashMap<String, Arc<dyn ObjectStore>>>);

impl Stores {
    fn key(url: &Url) -> String {
        url[..Position::BeforePath].to_string()
    }
}

impl ObjectStoreRegistry for Stores {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(Self::key(url), store)
    }

    fn get_store(&self, url: &Url) -> PlanResult<Arc<dyn ObjectStore>> {
        let registered = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get(&Self::key(url)).cloned();
        match registered {
            Some(store) => Ok(store),
            None => root_store(url, Durability::Full).map_err(|e| DataFusionError::External(e.into())),
        }
    }
}
