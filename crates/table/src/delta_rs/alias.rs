//! Names under which delta-rs is shown data files that it would not find by their own.
//!
//! Two kinds need one. A log may name files outside of the table's folder by absolute paths, as shallow clones do, and
//! delta-rs changes only files below the table. And its reader of change data decodes a path of the log and takes it for
//! a name, which it encodes again (delta-rs 1.1, `load_cdf.rs`): it looks for a file in a folder `part=a%20b` under
//! another name. So such a file is shown below the table, at a path that spells the real one in hexadecimal; the table's
//! store serves it from where it is, and what delta-rs would commit names it as before.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use bytes::Bytes;
use deltalakedb_log::{Action, Clock, Commit, Durability, Location, Stores, SystemClock, absolute_path};
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use url::Url;

use super::stores::root_store;
use crate::error::Explain;

/// The folder below the table in which aliases are. Nobody can know its name before: a log that names a file in it would
/// have any file read, also one outside of the allowed places.
static FOLDER: LazyLock<String> = LazyLock::new(|| format!("_alias_{}/", SystemClock.new_uuid().simple()));

/// The alias of the file at a path of the log.
fn of(path: &str) -> String {
    let digits: String = path.bytes().map(|b| format!("{b:02x}")).collect();
    format!("{}{digits}", *FOLDER)
}

/// The path at which a file is shown to all but the reader of change data.
pub(super) fn shown(path: &str) -> Cow<'_, str> {
    if absolute_path(path).is_some() { of(path).into() } else { path.into() }
}

/// The path of the file that is shown at a path; `None` where that is its own.
pub(super) fn real(shown: &str) -> Option<String> {
    let digits = shown.strip_prefix(FOLDER.as_str())?;
    let pairs = digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8(pairs.collect::<Option<_>>()?).ok()
}

/// A commit of the table as the reader of change data is shown it: every file by an alias.
pub(super) fn commit_of_changes(bytes: Bytes, table: &Location) -> deltalakedb_log::Result<Bytes> {
    let mut actions = Commit::parse(bytes, "a commit of the table")?.into_actions();
    for path in actions.iter_mut().filter_map(path_of) {
        // One file has one alias, however its path is spelled.
        *path = of(below(&url_of(path, table)?, table));
    }
    Ok(super::shown::commit(&actions))
}

/// The URL of a file of the log.
pub(super) fn url_of(path: &str, table: &Location) -> deltalakedb_log::Result<Url> {
    table.url().join(path).explain(|| format!("the path of the file {path:?} cannot be read"))
}

/// The path in the table's store at which there is the file at a URL.
pub(super) fn path_in_store(url: &Url, table: &Location) -> Path {
    Path::from(of(below(url, table)))
}

/// The path below the table that a URL is, or else the URL.
fn below<'a>(url: &'a Url, table: &Location) -> &'a str {
    url.as_str().strip_prefix(table.url().as_str()).unwrap_or(url.as_str())
}

/// An action with the path at which its file is shown.
pub(super) fn show(action: &mut Action) {
    if let Some(path) = path_of(action)
        && let Cow::Owned(shown) = shown(path)
    {
        *path = shown;
    }
}

/// An action with the path of the file itself.
pub(super) fn name(action: &mut Action) {
    if let Some(path) = path_of(action)
        && let Some(real) = real(path)
    {
        *path = real;
    }
}

fn path_of(action: &mut Action) -> Option<&mut String> {
    match action {
        Action::Add(add) => Some(&mut Arc::make_mut(add).path),
        Action::Remove(remove) => Some(&mut remove.path),
        Action::Cdc(cdc) => Some(&mut cdc.path),
        _ => None,
    }
}

/// The store of a table, in which aliases lead to their files. Nothing is written to one.
#[derive(Debug)]
pub(super) struct WithAliases {
    pub(super) table: Arc<dyn ObjectStore>,
    pub(super) stores: Arc<dyn Stores>,
}

impl WithAliases {
    /// The store that has the file at a path, and its path there.
    fn find(&self, path: &Path) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let Some(real) = real(path.as_ref()) else { return Ok((self.table.clone(), path.clone())) };
        let Some(url) = absolute_path(&real) else { return Ok((self.table.clone(), Path::from_url_path(&real)?)) };
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| Error::Generic { store: "alias", source: e };
        let url = Url::parse(&url).map_err(|e| failed(e.into()))?;
        let store = root_store(&self.stores, &url, Durability::Full).map_err(|e| failed(e.into()))?;
        Ok((store, Path::from_url_path(url.path())?))
    }
}

impl fmt::Display for WithAliases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.table)
    }
}

#[async_trait]
impl ObjectStore for WithAliases {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.table.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.table.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let (store, at) = self.find(path)?;
        let mut got = store.get_opts(&at, options).await?;
        got.meta.location = path.clone();
        Ok(got)
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (store, at) = self.find(path)?;
        store.get_ranges(&at, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.table.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.table.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.table.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.table.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.table.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use deltalakedb_log::stores::environment;
    use object_store::ObjectStoreExt;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_path_is_shown_and_named_again() {
        for path in ["part=a%20b/f.parquet", "f:g"] {
            assert_eq!(real(&shown(path)).as_deref().unwrap_or(path), path);
        }
        for path in ["file:///a/part=x%20y/ü.parquet", "/a/b.parquet", "s3://bucket/a%252Fb"] {
            let at = shown(path);
            assert_eq!((at.starts_with(FOLDER.as_str()), real(&at).as_deref()), (true, Some(path)), "{path}");
        }
        for path in ["xx", "ff", "0x"].map(|name| format!("{}{name}", *FOLDER)) {
            assert_eq!(real(&path), None, "{path}");
        }
        assert_eq!(real("a/b"), None);
    }

    #[tokio::test]
    async fn a_log_cannot_guess_an_alias() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("t")).unwrap();
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        let table = Location::parse(dir.path().join("t").to_str().unwrap()).unwrap();
        let stores = environment();
        let store = WithAliases { table: stores.open(&table, Durability::Full).unwrap(), stores };
        let alias = of(&format!("file://{}/secret", dir.path().display()));
        assert_eq!(store.get(&Path::from(alias.as_str())).await.unwrap().bytes().await.unwrap(), "s");
        let (folder, name) = alias.split_once('/').unwrap();
        let random = folder.strip_prefix("_alias_").unwrap();
        assert_eq!(Uuid::parse_str(random).unwrap().get_version_num(), 4);
        for guess in ["_alias_".to_string(), format!("_alias_{}", Uuid::nil().simple()), folder.to_uppercase()] {
            let found = store.get(&Path::from(format!("{guess}/{name}"))).await;
            assert!(matches!(found, Err(Error::NotFound { .. })), "{guess}: {found:?}");
        }
    }

    #[test]
    fn changes_name_every_file_by_an_alias_that_nobody_encodes() {
        let table = Location::parse("s3://bucket/a%20b/t").unwrap();
        let alias = |path: &str| {
            let add = r#"{"partitionValues":{},"size":1,"modificationTime":1,"dataChange":true,"path":"#;
            let line = format!("{{\"add\":{add}{}}}}}\n", serde_json::to_string(path).unwrap());
            let bytes = commit_of_changes(line.into(), &table).unwrap();
            let shown = Commit::parse(bytes, "shown").unwrap().into_actions().remove(0);
            let Action::Add(add) = shown else { panic!("{shown:?}") };
            assert_eq!(Path::from(add.path.as_str()), Path::parse(&add.path).unwrap(), "{path}");
            assert_eq!(Path::from(add.path.as_str()), path_in_store(&url_of(path, &table).unwrap(), &table), "{path}");
            real(&add.path).unwrap()
        };
        for (path, stands_for) in [
            ("part-0.parquet", "part-0.parquet"),
            ("s3://bucket/a%20b/t/part-0.parquet", "part-0.parquet"),
            ("p=a%252Fb/x!y.parquet", "p=a%252Fb/x!y.parquet"),
            ("p=a b/ü.parquet", "p=a%20b/%C3%BC.parquet"),
            ("p=12:00/x.parquet", "p=12:00/x.parquet"),
            ("s3://other/x%20y.parquet", "s3://other/x%20y.parquet"),
            ("file:///x/y.parquet", "file:///x/y.parquet"),
        ] {
            assert_eq!(alias(path), stands_for);
        }
    }
}
