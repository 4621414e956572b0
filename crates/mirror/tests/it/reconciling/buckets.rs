//! Buckets in memory that work, fail, or do not answer.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deltalakedb_log::{Clock, Durability, Location, Result as LogResult, Stores};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use crate::simulation::VirtualClock;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    Works,
    /// Every request takes so long.
    Takes(Duration),
    /// Every request fails at once.
    Fails,
    /// No request is answered.
    Hangs,
}

/// The stores of all locations, and how each bucket behaves.
#[derive(Debug)]
pub(super) struct Buckets {
    clock: Arc<VirtualClock>,
    stores: Mutex<HashMap<String, Arc<InMemory>>>,
    behaviours: Arc<Mutex<HashMap<String, Behaviour>>>,
    requests: Arc<AtomicU64>,
}

impl Buckets {
    pub(super) fn new(clock: Arc<VirtualClock>) -> Self {
        Self { clock, stores: Mutex::default(), behaviours: Arc::default(), requests: Arc::default() }
    }

    pub(super) fn set(&self, bucket: &str, behaviour: Behaviour) {
        self.behaviours.lock().insert(bucket.into(), behaviour);
    }

    /// The number of requests to all buckets.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The files below a URL, whatever the bucket does.
    pub(super) fn below(&self, url: &str) -> Arc<InMemory> {
        self.stores.lock().entry(url.into()).or_default().clone()
    }
}

impl Stores for Buckets {
    fn open(&self, location: &Location, _: Durability) -> LogResult<Arc<dyn ObjectStore>> {
        Ok(Arc::new(Bucket {
            inner: self.below(location.url().as_str()),
            name: location.url().authority().into(),
            clock: self.clock.clone(),
            behaviours: self.behaviours.clone(),
            requests: self.requests.clone(),
        }))
    }
}

#[derive(Clone, Debug)]
struct Bucket {
    inner: Arc<InMemory>,
    name: String,
    clock: Arc<VirtualClock>,
    behaviours: Arc<Mutex<HashMap<String, Behaviour>>>,
    requests: Arc<AtomicU64>,
}

impl Bucket {
    async fn request(&self) -> Result<()> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let behaviour = self.behaviours.lock().get(&self.name).copied();
        match behaviour.unwrap_or(Behaviour::Works) {
            Behaviour::Works => Ok(()),
            Behaviour::Takes(time) => {
                self.clock.sleep(time).await;
                Ok(())
            }
            Behaviour::Fails => Err(Error::Generic { store: "Bucket", source: "503".into() }),
            Behaviour::Hangs => std::future::pending().await,
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.request().await?;
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.request().await?;
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.request().await?;
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |path: Path| {
            let this = this.clone();
            async move {
                this.request().await?;
                this.inner.delete(&path).await?;
                Ok(path)
            }
        };
        paths.and_then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            this.request().await?;
            Ok::<_, Error>(this.inner.list(prefix.as_ref()))
        };
        futures::stream::once(listed).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.request().await?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.request().await?;
        self.inner.copy_opts(from, to, options).await
    }
}
