//! Data files outside of a table's folder, which a log names by absolute paths: those of shallow clones.
//!
//! delta-rs changes only files below the table. So it is shown such a file below it, at a path that spells the real one
//! in hexadecimal; the table's store serves it from where it is, and what delta-rs would commit names it as before.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use deltalakedb_log::action::Action;
use deltalakedb_log::{Durability, Stores, absolute_path};
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use url::Url;

use super::stores::root_store;

/// The folder below the table in which files outside of it are shown.
const FOLDER: &str = "_outside_of_the_table/";

/// The path at which a file is shown.
pub(super) fn shown(path: &str) -> Cow<'_, str> {
    if absolute_path(path).is_none() {
        return path.into();
    }
    let digits: String = path.bytes().map(|b| format!("{b:02x}")).collect();
    format!("{FOLDER}{digits}").into()
}

/// The path of the file that is shown at a path; `None` for one of the table's own.
pub(super) fn real(shown: &str) -> Option<String> {
    let digits = shown.strip_prefix(FOLDER)?;
    let pairs = digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8(pairs.collect::<Option<_>>()?).ok().filter(|path| absolute_path(path).is_some())
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
        Action::Add(add) => Some(&mut add.path),
        Action::Remove(remove) => Some(&mut remove.path),
        Action::Cdc(cdc) => Some(&mut cdc.path),
        _ => None,
    }
}

/// The store of a table, with the files outside of it that are shown below it. Nothing is written there.
#[derive(Debug)]
pub(super) struct WithOutside {
    pub(super) table: Arc<dyn ObjectStore>,
    pub(super) stores: Arc<dyn Stores>,
}

impl WithOutside {
    /// The store that has the file at a path, and its path there.
    fn find(&self, path: &Path) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let Some(url) = real(path.as_ref()).and_then(|real| absolute_path(&real)) else {
            return Ok((self.table.clone(), path.clone()));
        };
        let failed = |e: Box<dyn std::error::Error + Send + Sync>| Error::Generic { store: "outside", source: e };
        let url = Url::parse(&url).map_err(|e| failed(e.into()))?;
        let store = root_store(&self.stores, &url, Durability::Full).map_err(|e| failed(e.into()))?;
        Ok((store, Path::from_url_path(url.path())?))
    }
}

impl fmt::Display for WithOutside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.table)
    }
}

#[async_trait]
impl ObjectStore for WithOutside {
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
    use super::*;

    #[test]
    fn a_path_is_shown_and_named_again() {
        for path in ["part=a%20b/f.parquet", "f:g"] {
            assert_eq!(real(&shown(path)).as_deref().unwrap_or(path), path);
        }
        for path in ["file:///a/part=x%20y/ü.parquet", "/a/b.parquet", "s3://bucket/a%252Fb"] {
            let at = shown(path);
            assert_eq!((at.starts_with(FOLDER), real(&at).as_deref()), (true, Some(path)), "{path}");
            assert_eq!(Path::from_url_path(at.as_ref()).unwrap().as_ref(), at.as_ref());
        }
        for path in ["_outside_of_the_table/0", "_outside_of_the_table/xx", "_outside_of_the_table/ff", "a/b"] {
            assert_eq!(real(path), None, "{path}");
        }
    }
}
