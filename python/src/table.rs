//! A table at one version, and its operations.

mod alter;
mod maintenance;
mod read;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use deltalakedb_catalog::CatalogUri;
use deltalakedb_log::{ErrorKind, Location, TableId, Version};
use deltalakedb_table::{DeltaTable, Operation, WriteOptions};
use parking_lot::Mutex;
use pyo3::prelude::*;
use serde_json::Value;

use crate::arguments::time_of;
use crate::connection::CatalogConnection;
use crate::errors::raise;
use crate::handle::{TableHandle, head_at, not_opened};
use crate::options::{CommitProperties, Hooks, Parquet, with};
use crate::runtime::{wait, wait_for};
use crate::store::RawStore;

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<RawTable>()
}

/// A table at one version.
#[pyclass(frozen, module = "deltalakedb._internal")]
pub(crate) struct RawTable(Mutex<TableHandle>);

type MetadataTuple =
    (String, Option<String>, Option<String>, Vec<String>, Option<i64>, BTreeMap<String, Option<String>>);
type ProtocolTuple = (i32, i32, Option<Vec<String>>, Option<Vec<String>>);

impl RawTable {
    pub(crate) fn of(handle: TableHandle) -> Self {
        Self(Mutex::new(handle))
    }

    fn get(&self) -> TableHandle {
        self.0.lock().clone()
    }

    fn set(&self, handle: TableHandle) {
        *self.0.lock() = handle;
    }

    /// Its catalog, if it is in one, and its location.
    pub(crate) fn registration(&self) -> (Option<(Arc<CatalogConnection>, TableId)>, Location) {
        let handle = self.get();
        (handle.registration, handle.table.location().clone())
    }

    /// The table and its version.
    pub(crate) fn table_and_version(&self) -> (DeltaTable, Version) {
        let handle = self.get();
        (handle.table, handle.head.version)
    }

    /// Runs an operation based on the opened version.
    pub(crate) fn run(
        &self,
        py: Python<'_>,
        operation: Operation,
        writer: Option<Parquet>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
        set: impl FnOnce(&mut WriteOptions),
    ) -> PyResult<Value> {
        let only_looks = matches!(operation, Operation::Repair { dry_run: true });
        let mut handle = self.get();
        let mut handle = wait(py, async move {
            if !only_looks {
                handle.register_on_first_write().await?;
            }
            Ok(handle)
        })?;
        let mut options = with(py, handle.options(), writer, commit)?;
        options.read_version = Some(handle.head.version);
        set(&mut options);
        wait(py, async move {
            let finished = handle.run(operation, options, hooks.as_ref()).await?;
            // Before warnings are shown, which may be raised as errors.
            self.set(handle);
            Ok(finished.metrics)
        })
    }
}

#[pymethods]
impl RawTable {
    #[new]
    #[pyo3(signature = (uri, version=None, storage_options=None))]
    fn new(
        py: Python<'_>,
        uri: &str,
        version: Option<Version>,
        storage_options: Option<HashMap<String, String>>,
    ) -> PyResult<Self> {
        let opened = wait_for(py, async {
            // If the table does not exist, the error is not about the version.
            let mut handle =
                TableHandle::open(uri, None, storage_options.as_ref()).await.map_err(|e| not_opened(uri, e))?;
            if version.is_some() {
                handle.head = head_at(&handle.table, version).await.map_err(raise)?;
            }
            Ok(handle)
        })?;
        Ok(Self::of(opened))
    }

    #[staticmethod]
    #[pyo3(signature = (uri, storage_options=None))]
    fn exists(py: Python<'_>, uri: &str, storage_options: Option<HashMap<String, String>>) -> PyResult<bool> {
        wait(py, async {
            match TableHandle::open(uri, None, storage_options.as_ref()).await {
                Ok(_) => Ok(true),
                Err(_) if Location::parse(uri).is_err() && !CatalogUri::is_catalog_uri(uri) => Ok(false),
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
                Err(e) => Err(e),
            }
        })
    }

    fn table_uri(&self) -> PyResult<String> {
        Ok(self.get().table.location().url().to_string())
    }

    fn name(&self) -> PyResult<Option<String>> {
        Ok(self.get().table.name().map(ToString::to_string))
    }

    fn version(&self) -> PyResult<Version> {
        Ok(self.get().head.version)
    }

    fn latest_version(&self, py: Python<'_>) -> PyResult<Version> {
        let handle = self.get();
        wait(py, async move { Ok(handle.table.head().await?.version) })
    }

    fn load_version(&self, py: Python<'_>, version: Version) -> PyResult<()> {
        let mut handle = self.get();
        let handle = wait(py, async move {
            handle.head = head_at(&handle.table, Some(version)).await?;
            Ok(handle)
        })?;
        self.set(handle);
        Ok(())
    }

    fn load_timestamp(&self, py: Python<'_>, rfc3339: &str) -> PyResult<()> {
        let at = time_of(rfc3339)?.timestamp_millis();
        let mut handle = self.get();
        let handle = wait(py, async move {
            let version = handle.version_at(at).await?;
            handle.head = head_at(&handle.table, Some(version)).await?;
            Ok(handle)
        })?;
        self.set(handle);
        Ok(())
    }

    fn refresh(&self, py: Python<'_>) -> PyResult<()> {
        let mut handle = self.get();
        let handle = wait(py, async move {
            handle.head = handle.table.head().await?;
            Ok(handle)
        })?;
        self.set(handle);
        Ok(())
    }

    fn schema(&self) -> PyResult<String> {
        Ok(self.get().head.metadata.schema_string)
    }

    fn metadata(&self) -> PyResult<MetadataTuple> {
        let m = self.get().head.metadata;
        let configuration = m.configuration.into_iter().collect();
        Ok((m.id, m.name, m.description, m.partition_columns, m.created_time, configuration))
    }

    fn protocol(&self) -> PyResult<ProtocolTuple> {
        let p = self.get().head.protocol;
        Ok((p.min_reader_version, p.min_writer_version, p.writer_features, p.reader_features))
    }

    fn store(&self) -> PyResult<RawStore> {
        let table = self.get().table;
        RawStore::of(table.location().clone(), table.stores().as_ref()).map_err(raise)
    }
}
