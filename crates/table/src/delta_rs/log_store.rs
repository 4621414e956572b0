//! The log store of delta-rs.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use delta_kernel::Engine;
use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::logstore::{CommitOrBytes, LogStore, LogStoreConfig, StorageConfig};
use deltalake_core::{DeltaResult, DeltaTableError};
use deltalakedb_log::action::Add;
use deltalakedb_log::{Location, Result, Stores, TxnLogError, Version};
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use url::Url;
use uuid::Uuid;

use super::alias;
use super::engine::VirtualEngine;
use super::log::SnapshotLog;
use super::overlay_store::OverlayStore;
use super::upload_tracker::UploadTracker;
use super::vector_changes::VectorChanges;
use super::{masking, stores};
use crate::write_options::WriteOptions;

/// The changes in files with deletion vectors, by the version that has them.
pub(super) type KeptChanges = Arc<Mutex<BTreeMap<Version, VectorChanges>>>;

#[derive(Clone)]
pub(super) struct VirtualLogStore {
    log: Arc<SnapshotLog>,
    config: LogStoreConfig,
    table_url: Url,
    location: Location,
    /// The store of the table, which contains everything below the table's URL.
    table: Arc<OverlayStore>,
    /// For the reader of change data: commits name files by aliases, and what this reader must not see is kept here.
    of_changes: Option<KeptChanges>,
    objects: Arc<dyn Engine>,
    stores: Arc<dyn Stores>,
}

impl VirtualLogStore {
    /// The log store of the table at a location; `options` determine how data files are written.
    pub(super) fn new(location: &Location, log: Arc<SnapshotLog>, options: &WriteOptions) -> Result<Self> {
        let stores = options.stores.clone();
        let url = stores::url_of(location)?;
        let data = stores::root_store(&stores, &url, options.durability)?;
        Ok(Self {
            config: LogStoreConfig::new(&url, StorageConfig::default()),
            objects: stores::engine(&stores, &url)?,
            table_url: url,
            location: location.clone(),
            table: Arc::new(OverlayStore::new(data, log.clone())),
            of_changes: None,
            log,
            stores,
        })
    }

    /// The log store for the reader of change data, which keeps the changes in files with deletion vectors.
    pub(super) fn of_changes(&self, kept: KeptChanges) -> Self {
        Self { of_changes: Some(kept), ..self.clone() }
    }

    /// The public URL of a URL within the table.
    pub(super) fn public_url(&self, url: &str) -> String {
        match url.strip_prefix(self.table_url.as_str()) {
            Some(path) => alias::path_of_alias(path).unwrap_or_else(|| format!("{}{path}", self.location.url())),
            None => url.into(),
        }
    }

    /// Where the table is.
    pub(super) fn location(&self) -> &Location {
        &self.location
    }

    /// The object stores that it uses.
    pub(super) fn stores(&self) -> &Arc<dyn Stores> {
        &self.stores
    }

    /// The uploads to the table so far.
    pub(super) fn puts(&self) -> &UploadTracker {
        self.table.puts()
    }

    /// The files of a live file: its own, and that of its deletion vector.
    pub(super) fn files_of(&self, add: &Add) -> Result<Vec<Url>> {
        add.paths()?.map(|path| alias::url_of(&path, &self.location)).collect()
    }

    /// Whether a file exists at a URL.
    pub(super) async fn is_there(&self, url: &Url) -> Result<bool> {
        match self.data_store().head(&alias::path_in_store(url, &self.location)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// The object store of the data files, with the table as its root.
    pub(super) fn data_store(&self) -> Arc<dyn ObjectStore> {
        self.table.inner()
    }
}

#[async_trait]
impl LogStore for VirtualLogStore {
    /// The name determines how commits are passed: with this one, as bytes.
    fn name(&self) -> String {
        "DefaultLogStore".into()
    }

    async fn read_commit_entry(&self, version: Version) -> DeltaResult<Option<Bytes>> {
        if self.log.newest().is_none_or(|newest| version > newest) {
            return Ok(None);
        }
        let commit = self.log.commit(version).await.map_err(to_delta_error)?;
        match (commit, &self.of_changes) {
            (Some(bytes), Some(kept)) => {
                let (bytes, vectors) = masking::commit_of_changes(bytes, &self.location).map_err(to_delta_error)?;
                kept.lock().insert(version, vectors);
                Ok(Some(bytes))
            }
            (commit, _) => Ok(commit),
        }
    }

    async fn write_commit_entry(
        &self,
        version: Version,
        commit: CommitOrBytes,
        _operation: Uuid,
    ) -> Result<(), TransactionError> {
        let bytes = match commit {
            CommitOrBytes::LogBytes(bytes) => Some(bytes),
            CommitOrBytes::TmpCommit(path) => path.filename().and_then(|name| self.log.temporary().remove(name)),
        };
        let bytes = bytes.ok_or_else(|| TransactionError::LogStoreError {
            msg: "the temporary commit file does not exist".into(),
            source: "no such file".into(),
        })?;
        if self.log.stage(version, bytes) { Ok(()) } else { Err(TransactionError::VersionAlreadyExists(version)) }
    }

    async fn abort_commit_entry(
        &self,
        _version: Version,
        commit: CommitOrBytes,
        _operation: Uuid,
    ) -> Result<(), TransactionError> {
        if let CommitOrBytes::TmpCommit(path) = commit
            && let Some(name) = path.filename()
        {
            self.log.temporary().remove(name);
        }
        Ok(())
    }

    async fn get_latest_version(&self, start: Version) -> DeltaResult<Version> {
        match self.log.newest() {
            Some(newest) if start <= newest => Ok(newest),
            Some(_) => Err(DeltaTableError::InvalidVersion(start)),
            None => Err(DeltaTableError::NotATable("the table does not exist yet".into())),
        }
    }

    fn object_store(&self, _operation: Option<Uuid>) -> Arc<dyn ObjectStore> {
        self.table.clone()
    }

    fn root_object_store(&self, _operation: Option<Uuid>) -> Arc<dyn ObjectStore> {
        self.table.clone()
    }

    fn engine(&self, _operation: Option<Uuid>) -> Arc<dyn Engine> {
        let (log, objects) = (self.log.clone(), self.objects.clone());
        Arc::new(VirtualEngine::new(log, self.table_url.clone(), objects, self.stores.clone()))
    }

    async fn is_delta_table_location(&self) -> DeltaResult<bool> {
        Ok(self.log.newest().is_some())
    }

    fn config(&self) -> &LogStoreConfig {
        &self.config
    }
}

fn to_delta_error(e: TxnLogError) -> DeltaTableError {
    DeltaTableError::GenericError { source: e.into() }
}
