//! The object stores behind URLs, one per scheme and host, made when first asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use datafusion::common::{DataFusionError, Result as PlanResult};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use deltalakedb_log::{Location, Result};
use object_store::ObjectStore;
use url::{Position, Url};

use crate::error::Explain;

/// The root of local tables, as delta-rs is told.
const LOCAL: &str = "deltasql://local";

/// The URL delta-rs knows a table by: its place, local files under a scheme of our own. Of a `file` URL the kernel
/// wants that the folder exists and follows links in it; a table without rows need not have a folder.
pub(super) fn url_of(location: &Location) -> Result<Url> {
    match location.url().scheme() {
        "file" => Url::parse(&format!("{LOCAL}{}", location.url().path()))
            .explain(|| format!("{location} is no place for a table")),
        _ => Ok(location.url().clone()),
    }
}

/// The store of everything under the scheme and host of `url`.
pub(super) fn root_store(url: &Url) -> Result<Arc<dyn ObjectStore>> {
    static ROOTS: OnceLock<Mutex<HashMap<String, Arc<dyn ObjectStore>>>> = OnceLock::new();
    let mut roots = ROOTS.get_or_init(Mutex::default).lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let root = format!("{}/", &url[..Position::BeforePath]);
    if let Some(store) = roots.get(&root) {
        return Ok(store.clone());
    }
    let place = if url.as_str().starts_with(LOCAL) { "/" } else { &root };
    let store = Location::parse(place)?.store()?;
    roots.insert(root, store.clone());
    Ok(store)
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
            None => root_store(url).map_err(|e| DataFusionError::External(e.into())),
        }
    }
}
