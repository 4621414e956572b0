//! The object stores for the URLs used in delta-rs and DataFusion.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result as PlanResult};
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use delta_kernel::Engine;
use delta_kernel_engine::DefaultEngineBuilder;
use delta_kernel_engine::executor::tokio::TokioMultiThreadExecutor;
use deltalakedb_log::stores::FileObject;
use deltalakedb_log::{Durability, Location, Result, Stores, TxnLogError};
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use parking_lot::Mutex;
use url::{Position, Url};

use super::{alias, memory, runtime};
use crate::error::Explain;

/// The scheme of table URLs in delta-rs.
const SCHEME: &str = "deltasql";

/// The URL of a table in delta-rs: a host that spells the table's location in hexadecimal, and no path.
///
/// The kernel requires the folder of a `file` URL to exist and follows links in it, and it reads deletion vectors by
/// paths that it did not decode. A separate host avoids this for every table, whatever its folder is called.
pub(crate) fn url_of(location: &Location) -> Result<Url> {
    let host: String = location.url().as_str().bytes().map(|b| format!("{b:02x}")).collect();
    Url::parse(&format!("{SCHEME}://{host}/")).explain(|| format!("{location} is not a valid location for a table"))
}

/// The store of a table's data files, at the paths of [`data_file_path`].
pub(crate) fn table_store(stores: &Arc<dyn Stores>, location: &Location) -> Result<Arc<dyn ObjectStore>> {
    root_store(stores, &url_of(location)?, Durability::Full)
}

/// The path below that URL at which a session finds the data file of a path in the log.
pub(crate) fn data_file_path(path: &str) -> Result<Path> {
    let path_in_store = Path::from_url_path(alias::of_path(path).as_ref());
    path_in_store.explain(|| format!("the path of the file {path:?} cannot be read"))
}

/// The location of such a URL.
fn location_of(url: &Url) -> Result<Location> {
    let host = url.host_str().unwrap_or_default();
    let digits = host.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes = digits.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect::<Option<Vec<_>>>();
    match bytes.map(String::from_utf8) {
        Some(Ok(place)) => Location::stored(&place),
        _ => Err(TxnLogError::invalid(format!("{url} is not the location of a table"))),
    }
}

/// The store for the scheme and host of `url`, with this durability of puts.
pub(super) fn root_store(stores: &Arc<dyn Stores>, url: &Url, durability: Durability) -> Result<Arc<dyn ObjectStore>> {
    if url.scheme() == SCHEME {
        let table = stores.open(&location_of(url)?, durability)?;
        return Ok(Arc::new(WithAliases { table, stores: stores.clone() }));
    }
    stores.open(&Location::parse(&format!("{}/", &url[..Position::BeforePath]))?, durability)
}

/// Registers the stores of the table's data files in a session, with the table's own credentials: for files below it,
/// and for files named by the URL of its bucket.
pub(crate) fn register(env: &RuntimeEnv, location: &Location, stores: &Arc<dyn Stores>) -> Result<()> {
    let url = url_of(location)?;
    env.register_object_store(&url, table_store(stores, location)?);
    if location.local_path().is_none() && env.object_store_registry.get_store(location.url()).is_err() {
        env.register_object_store(location.url(), root_store(stores, location.url(), Durability::Full)?);
    }
    Ok(())
}

/// The kernel's own engine on that store.
pub(super) fn engine(stores: &Arc<dyn Stores>, url: &Url) -> Result<Arc<dyn Engine>> {
    let executor = Arc::new(TokioMultiThreadExecutor::new(runtime::handle()?));
    let engine = DefaultEngineBuilder::new(root_store(stores, url, Durability::Full)?).with_task_executor(executor);
    Ok(Arc::new(engine.build()))
}

/// A runtime for one session, which finds the store of every data file by its URL.
pub(super) fn session(stores: Arc<dyn Stores>) -> Result<Arc<RuntimeEnv>> {
    let registry: Arc<dyn ObjectStoreRegistry> = Arc::new(Registry { stores, registered: Mutex::default() });
    let env =
        RuntimeEnvBuilder::new().with_object_store_registry(registry).with_memory_pool(memory::pool()).build_arc();
    env.explain(|| "a query session cannot be started".into())
}

/// The stores registered in this session; other URLs are resolved on demand.
#[derive(Debug)]
struct Registry {
    stores: Arc<dyn Stores>,
    registered: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

impl Registry {
    fn key(url: &Url) -> String {
        url[..Position::BeforePath].to_string()
    }
}

impl ObjectStoreRegistry for Registry {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        self.registered.lock().insert(Self::key(url), store)
    }

    fn get_store(&self, url: &Url) -> PlanResult<Arc<dyn ObjectStore>> {
        let key = Self::key(url);
        let registered = self.registered.lock().get(&key).cloned();
        match registered {
            Some(store) => Ok(store),
            None => root_store(&self.stores, url, Durability::Full).map_err(|e| DataFusionError::External(e.into())),
        }
    }
}

/// The store of a table, which resolves aliases. It rejects writes to an alias.
#[derive(Debug)]
struct WithAliases {
    table: Arc<dyn ObjectStore>,
    stores: Arc<dyn Stores>,
}

impl WithAliases {
    /// The file at a path.
    fn find(&self, path: &Path) -> StoreResult<FileObject> {
        match alias::path_of_alias(path.as_ref()) {
            None => Ok(FileObject { store: self.table.clone(), path: path.clone() }),
            Some(real) => FileObject::of(&real, &self.table, self.stores.as_ref())
                .map_err(|e| Error::Generic { store: "alias", source: e.into() }),
        }
    }
}

impl fmt::Display for WithAliases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.table)
    }
}

#[async_trait]
impl ObjectStore for WithAliases {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        self.table.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.table.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let file = self.find(path)?;
        let mut got = file.store.get_opts(&file.path, options).await?;
        got.meta.location = path.clone();
        Ok(got)
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        let file = self.find(path)?;
        file.store.get_ranges(&file.path, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        self.table.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.table.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.table.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.table.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.table.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use deltalakedb_log::stores::environment;
    use object_store::ObjectStoreExt;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn aliases_in_a_log_are_not_resolved() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("t")).unwrap();
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        let table = Location::parse(dir.path().join("t").to_str().unwrap()).unwrap();
        let stores = environment();
        let store = WithAliases { table: stores.open(&table, Durability::Full).unwrap(), stores };
        let path = format!("file://{}/secret", dir.path().display());
        let alias = alias::of_path(&path).into_owned();
        assert_eq!(store.get(&Path::from(alias.as_str())).await.unwrap().bytes().await.unwrap(), "s");
        let (folder, name) = alias.split_once('/').unwrap();
        let random = folder.strip_prefix("_alias_").unwrap();
        assert_eq!(Uuid::parse_str(random).unwrap().get_version_num(), 4);
        for guess in ["_alias_".to_string(), format!("_alias_{}", Uuid::nil().simple()), folder.to_uppercase()] {
            let found = store.get(&Path::from(format!("{guess}/{name}"))).await;
            assert!(matches!(found, Err(Error::NotFound { .. })), "{guess}: {found:?}");
        }
    }
}
