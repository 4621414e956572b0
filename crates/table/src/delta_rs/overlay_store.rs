//! An object store in which `_delta_log` is virtual.
//!
//! The engine serves the log; this store is for the few parts of delta-rs that bypass it: history and time travel look
//! for `N.json`, some commits are written as temporary files first, and clean-up lists and deletes. The real files in
//! `_delta_log` are neither read nor changed. Every other path is passed to the object store, and puts are recorded, so
//! that a failed write can remove its files.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use deltalakedb_log::{HistoryRange, TxnLogError, Version};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt, future};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tracing::{Instrument, Span, debug_span};

use super::log::{LogFile, SnapshotLog};
use super::upload_tracker::{self, UploadTracker};

#[derive(Clone, Debug)]
pub(super) struct OverlayStore {
    inner: Arc<dyn ObjectStore>,
    log: Arc<SnapshotLog>,
    log_dir: Path,
    puts: UploadTracker,
}

impl OverlayStore {
    /// Hides the log directory of the table whose store this is.
    pub(super) fn new(inner: Arc<dyn ObjectStore>, log: Arc<SnapshotLog>) -> Self {
        let log_dir = Path::from("_delta_log");
        Self { inner, log, log_dir, puts: UploadTracker::default() }
    }

    /// The wrapped store.
    pub(super) fn inner(&self) -> Arc<dyn ObjectStore> {
        self.inner.clone()
    }

    /// The puts through this store so far.
    pub(super) fn puts(&self) -> &UploadTracker {
        &self.puts
    }

    /// The file name of a path in the log; `None` elsewhere.
    fn log_name(&self, path: &Path) -> Option<String> {
        let parts: Vec<_> = path.prefix_match(&self.log_dir)?.collect();
        Some(parts.iter().map(|p| p.as_ref()).collect::<Vec<_>>().join("/"))
    }

    async fn log_bytes(&self, path: &Path, name: &str) -> Result<Bytes> {
        let found = match LogFile::parse(name) {
            LogFile::Commit(version) => self.log.commit(version).await.map_err(failed)?,
            _ => self.log.temporary().get(name).cloned(),
        };
        found.ok_or_else(|| Error::NotFound { path: path.to_string(), source: "no such file in the log".into() })
    }

    async fn commit_time(&self, version: Version) -> Result<DateTime<Utc>> {
        if self.log.base_version().is_none_or(|base| version > base) {
            return Ok(Utc::now());
        }
        Ok(time(self.log.snapshot(version).await.map_err(failed)?.head.timestamp))
    }

    /// The commits with names after `offset`, with their times.
    async fn commits_after(&self, offset: &Path) -> Result<Vec<Result<ObjectMeta>>> {
        let Some(base) = self.log.base_version() else {
            return Ok(Vec::new());
        };
        let digits = offset.filename().and_then(|name| name.get(..20));
        let from: Version = digits.and_then(|d| d.parse().ok()).unwrap_or(0);
        // The newest commit is requested, and the log may have newer versions than the fixed one.
        let newest = self.log.reader().head().await.map_err(failed)?.version.max(base);
        let limit = (newest + 1).saturating_sub(from);
        let range = HistoryRange { limit: Some(limit), ..HistoryRange::default() };
        let mut commits = self.log.reader().history(range).await.map_err(failed)?;
        commits.retain(|c| c.version >= from && c.version <= base);
        commits.sort_by_key(|c| c.version);
        let files = commits.into_iter().map(|c| {
            let location = self.log_dir.clone().join(LogFile::Commit(c.version).name());
            Ok(ObjectMeta { location, last_modified: time(c.timestamp), size: 0, e_tag: None, version: None })
        });
        Ok(files.filter(|f| f.as_ref().is_ok_and(|f| f.location > *offset)).collect())
    }

    fn without_log(&self, listed: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        let log_dir = self.log_dir.clone();
        listed.try_filter(move |meta| future::ready(!meta.location.prefix_matches(&log_dir))).boxed()
    }
}

impl fmt::Display for OverlayStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner)
    }
}

/// The span of a data file that is put or uploaded.
fn put_span(path: &Path) -> Span {
    debug_span!(target: "deltalakedb::store", "put_data_file", %path)
}

#[async_trait]
impl ObjectStore for OverlayStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match self.log_name(path) {
            None => {
                self.puts.begin(path);
                let put = self.inner.put_opts(path, payload, options).instrument(put_span(path));
                self.puts.keep(put.await, upload_tracker::nothing())
            }
            Some(name) if name.ends_with(".tmp") => {
                self.log.temporary().insert(name, payload.into());
                Ok(upload_tracker::nothing())
            }
            Some(_) => Err(not_in_files(path)),
        }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        if self.log_name(path).is_some() {
            return Err(not_in_files(path));
        }
        self.puts.begin(path);
        let span = put_span(path);
        let upload = self.inner.put_multipart_opts(path, options).instrument(span.clone()).await?;
        Ok(self.puts.watch(upload, span))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let Some(name) = self.log_name(path) else {
            return self.inner.get_opts(path, options).await;
        };
        let bytes = self.log_bytes(path, &name).await?;
        let last_modified = match LogFile::parse(&name) {
            LogFile::Commit(version) => self.commit_time(version).await?,
            _ => Utc::now(),
        };
        let size = bytes.len() as u64;
        let meta = ObjectMeta { location: path.clone(), last_modified, size, e_tag: None, version: None };
        let range = match &options.range {
            None => 0..size,
            Some(range) => range.as_range(size).map_err(|e| Error::Generic { store: "log", source: e.into() })?,
        };
        let clip = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let part = bytes.slice(clip(range.start)..clip(range.end));
        let payload = GetResultPayload::Stream(stream::once(future::ready(Ok(part))).boxed());
        Ok(GetResult { payload, meta, range, attributes: Default::default() })
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let log_dir = self.log_dir.clone();
        self.inner.delete_stream(paths.try_filter(move |path| future::ready(!path.prefix_matches(&log_dir))).boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match prefix {
            Some(prefix) if prefix.prefix_matches(&self.log_dir) => stream::empty().boxed(),
            _ => self.without_log(self.inner.list(prefix)),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        match prefix {
            Some(prefix) if prefix.prefix_matches(&self.log_dir) => {
                let (this, offset) = (self.clone(), offset.clone());
                let commits = async move { this.commits_after(&offset).await.map(stream::iter) };
                stream::once(commits).try_flatten().boxed()
            }
            _ => self.without_log(self.inner.list_with_offset(prefix, offset)),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        if prefix.is_some_and(|prefix| prefix.prefix_matches(&self.log_dir)) {
            return Ok(ListResult { common_prefixes: Vec::new(), objects: Vec::new() });
        }
        let mut listed = self.inner.list_with_delimiter(prefix).await?;
        listed.common_prefixes.retain(|path| !path.prefix_matches(&self.log_dir));
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        if self.log_name(from).is_some() || self.log_name(to).is_some() {
            return Err(not_in_files(to));
        }
        self.puts.begin(to);
        self.inner.copy_opts(from, to, options).await
    }
}

fn time(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

fn failed(e: TxnLogError) -> Error {
    Error::Generic { store: "log", source: e.into() }
}

fn not_in_files(path: &Path) -> Error {
    Error::NotSupported { source: format!("{path} cannot be written: this table's log is not in files").into() }
}
