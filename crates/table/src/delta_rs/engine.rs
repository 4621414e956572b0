//! The kernel's engine over a log that is not in files.
//!
//! It presents a `_delta_log` with a checkpoint, a checksum and a commit for every version. Their content is read from
//! the log on request; everything outside `_delta_log` is read from the object store.
//!
//! The kernel decides by what it lists, so the listing depends on the first request to an engine. A *fresh* load starts
//! with the hint `_last_checkpoint`: the hint is returned and checkpoints are listed, so the load needs no replay. An
//! *incremental* load starts with the listing: only commits are listed and there is no hint, because the kernel would
//! discard the older state otherwise. Every engine serves one such load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use delta_kernel::engine::arrow_expression::ArrowEvaluationHandler;
use delta_kernel::engine::{parse_json, to_json_bytes};
use delta_kernel::engine_data::FilteredEngineData;
use delta_kernel::expressions::PredicateRef;
use delta_kernel::schema::{SchemaRef, StructType};
use delta_kernel::{
    DeltaResult, DeltaResultIterator, DeltaResultIteratorStatic, Engine, EngineData, Error, EvaluationHandler,
    FileDataReadResultIterator, FileMeta, FileSize, FileSlice, JsonHandler, ParquetFooter, ParquetHandler,
    StorageHandler,
};
use deltalakedb_log::action::Add;
use deltalakedb_log::decimal::InexactBounds;
use deltalakedb_log::{Result, Stores, TxnLogError, Version};
use futures::StreamExt;
use futures::stream::BoxStream;
use url::Url;

use super::batches;
use super::log::{FileSelection, LogFile, SnapshotLog};
use super::masking;
use super::runtime::wait;
use super::stores;

/// The number of files in one batch of the checkpoint.
const BATCH: usize = 8192;

const LOG: &str = "_delta_log/";

pub(super) struct VirtualEngine {
    handlers: Arc<Handlers>,
    evaluation: Arc<ArrowEvaluationHandler>,
}

struct Handlers {
    log: Arc<SnapshotLog>,
    table_url: Url,
    /// The URL of `_delta_log`, a prefix of the URLs of its files.
    log_root: String,
    /// For other files below the table: deletion vectors, change data.
    objects: Arc<dyn Engine>,
    /// For files with URLs elsewhere.
    stores: Arc<dyn Stores>,
    walk: AtomicU8,
}

const UNDECIDED: u8 = 0;
const FULL_LISTING: u8 = 1;
const INCREMENTAL: u8 = 2;

impl VirtualEngine {
    /// An engine for one load of the log.
    pub(super) fn new(
        log: Arc<SnapshotLog>,
        table_url: Url,
        objects: Arc<dyn Engine>,
        stores: Arc<dyn Stores>,
    ) -> Self {
        let (log_root, walk) = (format!("{table_url}{LOG}"), AtomicU8::new(UNDECIDED));
        let handlers = Handlers { log, log_root, table_url, objects, stores, walk };
        Self { handlers: Arc::new(handlers), evaluation: Arc::new(ArrowEvaluationHandler) }
    }
}

impl Engine for VirtualEngine {
    fn evaluation_handler(&self) -> Arc<dyn EvaluationHandler> {
        self.evaluation.clone()
    }
    fn storage_handler(&self) -> Arc<dyn StorageHandler> {
        self.handlers.clone()
    }
    fn json_handler(&self) -> Arc<dyn JsonHandler> {
        self.handlers.clone()
    }
    fn parquet_handler(&self) -> Arc<dyn ParquetHandler> {
        self.handlers.clone()
    }
}

impl Handlers {
    /// The file of the log with this URL; `None` outside the log.
    fn log_file(&self, url: &Url) -> Option<LogFile> {
        url.as_str().strip_prefix(&self.log_root).map(LogFile::parse)
    }

    /// The engine for a URL outside the log: absolute paths may be in another store.
    fn objects(&self, url: &Url) -> DeltaResult<Arc<dyn Engine>> {
        if url.as_str().starts_with(self.table_url.as_str()) {
            return Ok(self.objects.clone());
        }
        stores::engine(&self.stores, url).map_err(Error::generic_err)
    }

    /// Whether the load is fresh; the first request decides.
    fn is_full_listing(&self, if_first: u8) -> bool {
        let decided = self.walk.compare_exchange(UNDECIDED, if_first, Ordering::AcqRel, Ordering::Acquire);
        decided.map_or_else(|before| before, |_| if_first) == FULL_LISTING
    }

    /// The bytes of a small file of the log.
    fn read(&self, url: &Url) -> DeltaResult<Bytes> {
        let missing = || Error::file_not_found(url);
        let log = self.log.clone();
        match self.log_file(url).unwrap_or(LogFile::Other) {
            LogFile::LastCheckpoint if self.is_full_listing(FULL_LISTING) => {
                let version = self.log.base_version().ok_or_else(missing)?;
                Ok(format!(r#"{{"version":{version},"size":1}}"#).into())
            }
            LogFile::Checksum(v) if self.log.base_version().is_some_and(|base| v <= base) => {
                let snapshot = wait(async move { log.snapshot(v).await }).map_err(Error::generic_err)?;
                Ok(masking::checksum(&snapshot).into())
            }
            LogFile::Commit(v) => self.commit(v)?.ok_or_else(missing),
            _ => Err(missing()),
        }
    }

    fn commit(&self, version: Version) -> DeltaResult<Option<Bytes>> {
        let log = self.log.clone();
        wait(async move { log.commit(version).await }).map_err(Error::generic_err)
    }

    /// The virtual checkpoint of a version: protocol, metadata, txns and domains, then the files.
    fn checkpoint(&self, version: Version, file: &Url, schema: SchemaRef) -> DeltaResult<FileDataReadResultIterator> {
        let log = self.log.clone();
        let mut parts: Vec<FileDataReadResultIterator> = Vec::new();
        if ["protocol", "metaData", "txn", "domainMetadata"].iter().any(|c| schema.contains(c)) {
            let log = log.clone();
            let snapshot = wait(async move { log.snapshot(version).await }).map_err(Error::generic_err)?;
            let lines = masking::checkpoint_lines(&snapshot);
            parts.push(Box::new(std::iter::once(batches::of_lines(lines, &schema, file.as_str()))));
        }
        if schema.contains("add") && *log.files() != FileSelection::None {
            let seen = log.clone();
            let stream = wait(async move {
                match log.files() {
                    FileSelection::Matching(predicate) => log.reader().files(version, Some(predicate)).await,
                    // Compaction merges neighbouring files, so they are returned in replay order.
                    FileSelection::All | FileSelection::None => {
                        let files = log.reader().files_in_replay_order(version, None).await?;
                        Ok(futures::stream::iter(files.into_iter().map(Ok)).boxed())
                    }
                }
            });
            let files = FileBatches { stream: Some(stream.map_err(Error::generic_err)?) };
            let log = self.log.clone();
            let of_version = wait(async move { log.snapshot(version).await }).map_err(Error::generic_err)?;
            let inexact = InexactBounds::of(&of_version.head.metadata.schema_string).map_err(Error::generic_err)?;
            parts.push(Box::new(files.map(move |adds| {
                let adds = adds.map_err(Error::generic_err)?;
                seen.record_given(&adds);
                batches::of_adds(&adds, &schema, &inexact)
            })));
        }
        Ok(Box::new(parts.into_iter().flatten()))
    }
}

fn meta(log: &SnapshotLog, log_root: &str, file: LogFile) -> DeltaResult<FileMeta> {
    let last_modified = match file {
        LogFile::Commit(v) | LogFile::Checksum(v) | LogFile::Checkpoint(v) => log.known_time(v),
        LogFile::LastCheckpoint | LogFile::Other => 0,
    };
    // The size is only required to be positive.
    Ok(FileMeta { location: Url::parse(&format!("{log_root}{}", file.name()))?, last_modified, size: 1 })
}

/// The files of a stream, in batches; the stream itself is polled on the runtime for log reads.
struct FileBatches {
    stream: Option<BoxStream<'static, Result<Add>>>,
}

impl Iterator for FileBatches {
    type Item = Result<Vec<Add>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut stream = self.stream.take()?;
        let read = wait(async move {
            let mut adds = Vec::new();
            while adds.len() < BATCH {
                match stream.next().await {
                    Some(add) => adds.push(add?),
                    None => return Ok((adds, None)),
                }
            }
            Ok((adds, Some(stream)))
        });
        match read {
            Ok((adds, rest)) => {
                self.stream = rest;
                (!adds.is_empty()).then_some(Ok(adds))
            }
            Err(e) => Some(Err(e)),
        }
    }
}

impl StorageHandler for Handlers {
    fn list_from(&self, path: &Url) -> DeltaResult<Box<dyn Iterator<Item = DeltaResult<FileMeta>>>> {
        let Some(after) = path.as_str().strip_prefix(&self.log_root) else {
            return self.objects(path)?.storage_handler().list_from(path);
        };
        let is_full = self.is_full_listing(INCREMENTAL);
        let from = after.get(..20).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let Some(newest) = self.log.newest() else {
            return Ok(Box::new(std::iter::empty()));
        };
        let checkpoints_below = self.log.base_version().map_or(0, |v| v + 1);
        let (log, root, after) = (self.log.clone(), self.log_root.clone(), after.to_string());
        let names = (from..=newest).flat_map(move |v| {
            let checkpoint = (is_full && v < checkpoints_below).then_some(LogFile::Checkpoint(v));
            let checksum = (v < checkpoints_below).then_some(LogFile::Checksum(v));
            [checkpoint, checksum, Some(LogFile::Commit(v))].into_iter().flatten()
        });
        Ok(Box::new(names.filter(move |f| f.name() > after).map(move |f| meta(&log, &root, f))))
    }

    fn read_files(&self, files: Vec<FileSlice>) -> DeltaResult<Box<dyn Iterator<Item = DeltaResult<Bytes>>>> {
        if let Some((url, _)) = files.iter().find(|(url, _)| self.log_file(url).is_none()) {
            return self.objects(url)?.storage_handler().read_files(files);
        }
        let slices = files.into_iter().map(|(url, range)| {
            let bytes = self.read(&url)?;
            let clip = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            Ok(range.map_or(bytes.clone(), |r| bytes.slice(clip(r.start)..clip(r.end))))
        });
        Ok(Box::new(slices.collect::<Vec<_>>().into_iter()))
    }

    fn copy_atomic(&self, from: &Url, to: &Url) -> DeltaResult<()> {
        self.refuse_log(to)?;
        self.objects(to)?.storage_handler().copy_atomic(from, to)
    }

    fn put(&self, path: &Url, data: Bytes, overwrite: bool) -> DeltaResult<()> {
        match self.log_file(path) {
            None => self.objects(path)?.storage_handler().put(path, data, overwrite),
            Some(file) => self.write(file, path, data),
        }
    }

    fn head(&self, path: &Url) -> DeltaResult<FileMeta> {
        match self.log_file(path) {
            None => self.objects(path)?.storage_handler().head(path),
            Some(LogFile::Other) => Err(Error::file_not_found(path)),
            Some(file) => meta(&self.log, &self.log_root, file),
        }
    }

    fn delete(&self, path: &Url) -> DeltaResult<()> {
        match self.log_file(path) {
            None => self.objects(path)?.storage_handler().delete(path),
            Some(_) => Ok(()),
        }
    }
}

impl Handlers {
    /// Receives a file written to the log: a commit is staged, a hint is ignored.
    fn write(&self, file: LogFile, path: &Url, data: Bytes) -> DeltaResult<()> {
        match file {
            LogFile::Commit(version) if self.log.stage(version, data) => Ok(()),
            LogFile::Commit(_) => Err(Error::FileAlreadyExists(path.to_string())),
            LogFile::LastCheckpoint | LogFile::Checksum(_) => Ok(()),
            LogFile::Checkpoint(_) | LogFile::Other => self.refuse_log(path),
        }
    }

    fn refuse_log(&self, path: &Url) -> DeltaResult<()> {
        match self.log_file(path) {
            None => Ok(()),
            Some(_) => Err(Error::generic_err(TxnLogError::invalid(format!(
                "{path} cannot be written: this table's log is not in files"
            )))),
        }
    }
}

impl JsonHandler for Handlers {
    fn parse_json(&self, strings: Box<dyn EngineData>, schema: SchemaRef) -> DeltaResult<Box<dyn EngineData>> {
        parse_json(strings, schema)
    }

    fn read_json_files(
        &self,
        files: &[FileMeta],
        schema: SchemaRef,
        predicate: Option<PredicateRef>,
    ) -> DeltaResult<FileDataReadResultIterator> {
        if let Some(other) = files.iter().find(|f| self.log_file(&f.location).is_none()) {
            let objects = self.objects(&other.location)?;
            return objects.json_handler().read_json_files(files, schema, predicate);
        }
        let read = |file: &FileMeta| {
            let bytes = self.read(&file.location)?;
            let text = std::str::from_utf8(&bytes)?;
            let lines = text.lines().map(str::trim).filter(|l| !l.is_empty()).map(String::from).collect();
            batches::of_lines(lines, &schema, file.location.as_str())
        };
        Ok(Box::new(files.iter().map(read).collect::<Vec<_>>().into_iter()))
    }

    fn write_json_file(
        &self,
        path: &Url,
        data: DeltaResultIterator<'_, FilteredEngineData>,
        overwrite: bool,
    ) -> DeltaResult<FileSize> {
        let Some(file) = self.log_file(path) else {
            return self.objects(path)?.json_handler().write_json_file(path, data, overwrite);
        };
        let data = Bytes::from(to_json_bytes(data)?);
        let size = data.len() as FileSize;
        self.write(file, path, data)?;
        Ok(size)
    }
}

impl ParquetHandler for Handlers {
    fn read_parquet_files(
        &self,
        files: &[FileMeta],
        schema: SchemaRef,
        predicate: Option<PredicateRef>,
    ) -> DeltaResult<FileDataReadResultIterator> {
        let mut parts = Vec::with_capacity(files.len());
        for file in files {
            parts.push(match self.log_file(&file.location) {
                Some(LogFile::Checkpoint(version)) => self.checkpoint(version, &file.location, schema.clone())?,
                Some(_) => return Err(Error::file_not_found(&file.location)),
                None => {
                    let (objects, one) = (self.objects(&file.location)?, std::slice::from_ref(file));
                    let handler = objects.parquet_handler();
                    handler.read_parquet_files(one, schema.clone(), predicate.clone())?
                }
            });
        }
        Ok(Box::new(parts.into_iter().flatten()))
    }

    fn write_parquet_file(
        &self,
        location: Url,
        data: DeltaResultIteratorStatic<Box<dyn EngineData>>,
    ) -> DeltaResult<()> {
        self.refuse_log(&location)?;
        let objects = self.objects(&location)?;
        objects.parquet_handler().write_parquet_file(location, data)
    }

    fn read_parquet_footer(&self, file: &FileMeta) -> DeltaResult<ParquetFooter> {
        match self.log_file(&file.location) {
            None => self.objects(&file.location)?.parquet_handler().read_parquet_footer(file),
            // Columns named here would be requested in their parsed form, which the checkpoint does not have.
            Some(_) => Ok(ParquetFooter { schema: Arc::new(StructType::try_new([])?) }),
        }
    }
}
