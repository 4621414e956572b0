//! The object stores of locations, and their credentials.
//!
//! [`Stores`] is an argument, as [`crate::Clock`] is. Credentials are passed when a table is opened and are never kept
//! in process-wide state; tests pass stores that fail.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreScheme};
use parking_lot::Mutex;
use url::Url;

use crate::error::{ErrorKind, Result, TxnLogError};
use crate::local::{Durability, LocalFiles};
use crate::location::Location;
use crate::path::absolute_path;

/// Opens the object store of a location.
///
/// # Contract
/// - A call makes no connection and is cheap. Locations in one bucket share connections.
/// - Two calls for one location give access to the same files.
pub trait Stores: Send + Sync + fmt::Debug {
    /// The object store with `location` as its root. On a local disk a put is synced according to `durability`;
    /// elsewhere a put is always durable when it returns.
    fn open(&self, location: &Location, durability: Durability) -> Result<Arc<dyn ObjectStore>>;

    /// The local directory behind [`Self::open`], in which files may also be read and created directly; `None` if all
    /// writes must use [`Self::open`].
    fn directory(&self, location: &Location) -> Option<PathBuf> {
        let _ = location;
        None
    }
}

/// A file that the log names, as an object.
#[derive(Clone, Debug)]
pub struct FileObject {
    /// The store that has it.
    pub store: Arc<dyn ObjectStore>,
    /// Its path in that store.
    pub path: Path,
}

impl FileObject {
    /// The object of the file at the raw `path` of an action: in the store of its table, or where an absolute path says.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when no store serves the path or it is not valid for an object.
    pub fn of(raw: &str, table: &Arc<dyn ObjectStore>, stores: &dyn Stores) -> Result<Self> {
        let url = absolute_path(raw);
        let (store, path) = match url.as_deref().and_then(|url| url.rsplit_once('/')) {
            None => (table.clone(), raw),
            Some((folder, name)) => (stores.open(&Location::parse(&format!("{folder}/"))?, Durability::Full)?, name),
        };
        Ok(Self { store, path: Path::from_url_path(path).map_err(object_store::Error::from)? })
    }
}

/// The stores that the environment configures (`AWS_…`, `AZURE_…`, `GOOGLE_…`). All callers share their connections.
pub fn environment() -> Arc<dyn Stores> {
    static ENVIRONMENT: LazyLock<Arc<ConfiguredStores>> = LazyLock::new(Arc::default);
    ENVIRONMENT.clone()
}

/// The stores that the environment configures, with options of the caller that take precedence.
#[derive(Default)]
pub struct ConfiguredStores {
    options: Mutex<BTreeMap<Location, Options>>,
    clients: Mutex<HashMap<(Url, Options), Client>>,
}

/// Options of an object store by name, such as `aws_access_key_id`.
type Options = BTreeMap<String, String>;

/// A connection to one bucket.
struct Client {
    /// The environment for which it was created.
    environment: Options,
    store: Arc<dyn ObjectStore>,
}

impl ConfiguredStores {
    /// Sets options (`aws_access_key_id`, …) for `location` and everything below it. They replace earlier options of
    /// exactly this location.
    pub fn configure(&self, location: &Location, options: impl IntoIterator<Item = (String, String)>) {
        self.options.lock().insert(location.clone(), options.into_iter().collect());
    }

    /// The options of the nearest location at or above this one; otherwise those of the only location in its bucket
    /// that has some, because a table may name files outside its folder.
    fn options(&self, location: &Location) -> Options {
        let options = self.options.lock();
        let above = options.iter().filter(|(place, _)| location.url().as_str().starts_with(place.url().as_str()));
        let nearest = above.max_by_key(|(place, _)| place.url().as_str().len()).or_else(|| {
            let bucket = |place: &Location| place.url()[..url::Position::BeforePath].to_string();
            let mut beside = options.iter().filter(|(place, _)| bucket(place) == bucket(location));
            beside.next().filter(|_| beside.next().is_none())
        });
        nearest.map(|(_, own)| own.clone()).unwrap_or_default()
    }

    /// The store of the bucket that contains a location.
    fn client(&self, location: &Location, root: Url) -> Result<Arc<dyn ObjectStore>> {
        let environment = options_of(std::env::vars_os());
        let own = self.options(location);
        let mut clients = self.clients.lock();
        let key = (root, own);
        if let Some(client) = clients.get(&key).filter(|client| client.environment == environment) {
            return Ok(client.store.clone());
        }
        let (root, own) = &key;
        let all = environment.iter().chain(own).map(|(name, value)| (name.clone(), value.clone()));
        let (store, _) = object_store::parse_url_opts(root, all).map_err(|e| unusable(location, e))?;
        let store: Arc<dyn ObjectStore> = Arc::from(store);
        clients.insert(key, Client { environment, store: store.clone() });
        Ok(store)
    }
}

impl Stores for ConfiguredStores {
    fn open(&self, location: &Location, durability: Durability) -> Result<Arc<dyn ObjectStore>> {
        if let Some(path) = location.local_path() {
            return Ok(Arc::new(LocalFiles::new(path, durability)));
        }
        let (_, path) = ObjectStoreScheme::parse(location.url()).map_err(|e| unusable(location, e.into()))?;
        let store = self.client(location, root_of(location.url(), &path))?;
        Ok(if path == Path::default() { store } else { Arc::new(PrefixStore::new(store, path)) })
    }

    fn directory(&self, location: &Location) -> Option<PathBuf> {
        location.local_path()
    }
}

impl fmt::Debug for ConfiguredStores {
    /// Locations without options, which are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<_> = self.options.lock().keys().cloned().collect();
        f.debug_struct("ConfiguredStores").field("configured", &places).finish_non_exhaustive()
    }
}

/// The URL of the bucket: a place without its path within it.
fn root_of(url: &Url, path: &Path) -> Url {
    let mut root = url.clone();
    if let Ok(mut parts) = root.path_segments_mut() {
        parts.pop_if_empty();
        path.parts().for_each(|_| _ = parts.pop());
        parts.push("");
    }
    root
}

/// Variables whose name or value is not UTF-8 are ignored.
fn options_of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Options {
    let text = |(name, value): (OsString, OsString)| name.into_string().ok().zip(value.into_string().ok());
    variables.into_iter().filter_map(text).collect()
}

fn unusable(location: &Location, e: object_store::Error) -> TxnLogError {
    TxnLogError::new(ErrorKind::Unavailable, format!("the object store of {location} cannot be used")).with_source(e)
}

#[cfg(test)]
mod tests {
    use object_store::{ObjectStoreExt, PutPayload};

    use super::*;

    fn at(place: &str) -> Location {
        Location::parse(place).unwrap()
    }

    fn options(key: &str) -> [(String, String); 3] {
        let of = |name: &str, value: &str| (name.to_string(), value.to_string());
        [of("aws_access_key_id", key), of("aws_secret_access_key", "secret"), of("aws_region", "eu-north-1")]
    }

    fn buckets(stores: &ConfiguredStores) -> usize {
        stores.clients.lock().len()
    }

    #[test]
    fn environment_variables_that_are_not_utf_8_are_ignored() {
        use std::os::unix::ffi::OsStringExt;
        let latin = || OsString::from_vec(b"caf\xe9".to_vec());
        let variables =
            [("AWS_REGION".into(), "eu-north-1".into()), ("LESS_TERMCAP_so".into(), latin()), (latin(), "x".into())];
        assert_eq!(options_of(variables), Options::from([("AWS_REGION".into(), "eu-north-1".into())]));
    }

    #[test]
    fn the_tables_of_a_bucket_share_a_client() {
        let stores = ConfiguredStores::default();
        let bucket = at("s3://bucket");
        stores.configure(&bucket, options("one"));
        for place in ["s3://bucket", "s3://bucket/a", "s3://bucket/a/b%20c", "s3://bucket/a"] {
            stores.open(&at(place), Durability::Full).unwrap();
        }
        assert_eq!(buckets(&stores), 1);
        stores.configure(&at("s3://other"), options("one"));
        stores.open(&at("s3://other/a"), Durability::Full).unwrap();
        assert_eq!(buckets(&stores), 2);
    }

    #[test]
    fn options_of_the_nearest_location_apply_within_one_handle() {
        let stores = ConfiguredStores::default();
        stores.configure(&at("s3://bucket"), options("all"));
        stores.configure(&at("s3://bucket/a"), options("some"));
        let key = |stores: &ConfiguredStores, place| stores.options(&at(place)).get("aws_access_key_id").cloned();
        assert_eq!(key(&stores, "s3://bucket/a/x").as_deref(), Some("some"));
        assert_eq!(key(&stores, "s3://bucket/ab").as_deref(), Some("all"));
        assert_eq!(key(&stores, "s3://elsewhere/a"), None);
        stores.configure(&at("s3://one/a"), options("beside"));
        assert_eq!(key(&stores, "s3://one/b").as_deref(), Some("beside"), "a table may name files beside it");
        assert_eq!(key(&ConfiguredStores::default(), "s3://bucket/a"), None, "another handle knows nothing of them");
        assert!(!format!("{stores:?}").contains("secret"), "{stores:?}");
    }

    #[test]
    fn the_root_of_a_location_is_its_bucket() {
        let root = |place: &str| {
            let place = at(place);
            let (_, path) = ObjectStoreScheme::parse(place.url()).unwrap();
            root_of(place.url(), &path).to_string()
        };
        assert_eq!(root("s3://bucket/a/b"), "s3://bucket/");
        assert_eq!(root("s3://bucket"), "s3://bucket/");
        assert_eq!(
            root("https://s3.eu-north-1.amazonaws.com/bucket/a/b"),
            "https://s3.eu-north-1.amazonaws.com/bucket/"
        );
    }

    #[tokio::test]
    async fn a_file_is_in_the_store_of_its_table_or_where_its_path_says() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("is it? #1")).unwrap();
        std::fs::write(dir.path().join("is it? #1/a b"), "x").unwrap();
        let (stores, root) = (ConfiguredStores::default(), dir.path().to_str().unwrap());
        let table = stores.open(&at(root), Durability::Full).unwrap();
        for raw in ["is%20it? #1/a%20b", &format!("{root}/is it? #1/a%20b"), &format!("file:{root}/is%20it%3F #1/a b")]
        {
            let FileObject { store, path } = FileObject::of(raw, &table, &stores).unwrap();
            assert_eq!(store.head(&path).await.unwrap().size, 1, "{raw}");
        }
        assert!(FileObject::of("hdfs://namenode/x", &table, &stores).is_err());
    }

    #[tokio::test]
    async fn a_handle_has_one_in_memory_store() {
        let stores = ConfiguredStores::default();
        let open = |place| stores.open(&at(place), Durability::Full).unwrap();
        open("memory:///t").put(&Path::from("a/b"), PutPayload::from_static(b"x")).await.unwrap();
        assert_eq!(open("memory:///t/a").get(&Path::from("b")).await.unwrap().bytes().await.unwrap(), "x");
        assert!(open("memory:///u").get(&Path::from("a/b")).await.is_err());
    }
}
