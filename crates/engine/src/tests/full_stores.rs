//! Object stores whose disk is full for some files, and which count reads.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use deltalakedb_log::stores::environment;
use deltalakedb_log::{Durability, Location, Stores};
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result as StoreResult,
};

use super::*;

/// `ENOSPC`.
const NO_SPACE: i32 = 28;

/// Files for which there is no space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoSpaceFor {
    /// What their names end in.
    pub(super) extension: &'static str,
    /// Whether the file is there nevertheless: its folder could not be written.
    pub(super) is_written: bool,
}

/// The stores of the environment, in which there is space for all files but some.
#[derive(Clone, Debug, Default)]
pub(super) struct FullStores {
    /// The files that cannot grow, as on a full disk.
    pub(super) full: Arc<Mutex<Option<NoSpaceFor>>>,
    /// How often data files were read.
    pub(super) reads: Arc<AtomicUsize>,
}

impl Stores for FullStores {
    fn open(&self, location: &Location, durability: Durability) -> Result<Arc<dyn ObjectStore>> {
        Ok(Arc::new(FullStore { inner: environment().open(location, durability)?, stores: self.clone() }))
    }

    fn directory(&self, location: &Location) -> Option<PathBuf> {
        environment().directory(location)
    }
}

#[derive(Debug)]
struct FullStore {
    inner: Arc<dyn ObjectStore>,
    stores: FullStores,
}

impl FullStore {
    /// Whether there is no space for a file.
    fn lacks_space(&self, path: &Path) -> Option<NoSpaceFor> {
        self.stores.full.lock().filter(|files| path.as_ref().ends_with(files.extension))
    }

    /// Counts a read of a file.
    fn count_read(&self, path: &Path) {
        if path.as_ref().ends_with(".parquet") {
            self.stores.reads.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn no_space() -> object_store::Error {
    object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(io::Error::from_raw_os_error(NO_SPACE)) }
}

impl fmt::Display for FullStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl ObjectStore for FullStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        match self.lacks_space(path) {
            None => self.inner.put_opts(path, payload, options).await,
            Some(NoSpaceFor { is_written: false, .. }) => Err(no_space()),
            Some(NoSpaceFor { is_written: true, .. }) => {
                self.inner.put_opts(path, payload, options).await?;
                Err(no_space())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        if self.lacks_space(path).is_some() {
            return Err(no_space());
        }
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.count_read(path);
        self.inner.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        self.count_read(path);
        self.inner.get_ranges(path, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
