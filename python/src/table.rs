//! A table at one version, and its operations.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, BooleanBuilder, ListBuilder, RecordBatch, StringArray};
use chrono::Utc;
use deltalakedb_catalog::CatalogUri;
use deltalakedb_log::action::{Action, Add};
use deltalakedb_log::canonical_path;
use deltalakedb_log::schema::Schema as Columns;
use deltalakedb_log::{At, ErrorKind, Location, Result, TableId, TableRef, TxnLogError, Version, require};
use deltalakedb_table::{
    Alter, CastMode, CdfScan, CommitFiles, DeltaTable, Operation, Optimize, Restore, SaveMode, Scan, SchemaMode,
    Vacuum, WriteOptions, WriteRows,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3_arrow::PyRecordBatchReader;
use serde_json::{Value, json};

use crate::arguments::{Clause, actions_of, check_columns, merge_of, mode_of, schema_mode_of, time_of};
use crate::connection::{CatalogConnection, published};
use crate::errors::{DeltaError, SchemaMismatchError, raise};
use crate::handle::{TableHandle, exists, head_at, not_opened};
use crate::history::history;
use crate::options::{CommitProperties, Hooks, Parquet, file_size, with, written_file_size};
use crate::pruning::{Filter, Pruning, is_in_partition, partition_filter};
use crate::rows::{incoming, outgoing, table as rows_of};
use crate::runtime::{wait, wait_for, wait_here};
use crate::schema;
use crate::store::RawStore;

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<RawTable>()
}

/// A table at one version.
#[pyclass(frozen, module = "deltalakedb._internal")]
pub(crate) struct RawTable(Mutex<TableHandle>);

const RESTORE_TARGET: &str = "a restore needs the version or datetime to go back to";

type MetadataTuple =
    (String, Option<String>, Option<String>, Vec<String>, Option<i64>, BTreeMap<String, Option<String>>);
type ProtocolTuple = (i32, i32, Option<Vec<String>>, Option<Vec<String>>);
type FileTuple = (String, i64, BTreeMap<String, Option<String>>, Option<String>);

impl RawTable {
    pub(crate) fn of(held: TableHandle) -> Self {
        Self(Mutex::new(held))
    }

    fn get(&self) -> TableHandle {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    fn set(&self, held: TableHandle) {
        *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = held;
    }

    /// Its catalog, if it is in one, and its location.
    pub(crate) fn home(&self) -> (Option<(Arc<CatalogConnection>, TableId)>, Location) {
        let held = self.get();
        (held.home, held.table.location().clone())
    }

    /// The table and its version.
    pub(crate) fn held(&self) -> (DeltaTable, Version) {
        let held = self.get();
        (held.table, held.head.version)
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
        let mut held = self.get();
        let mut held = wait(py, async move {
            if !only_looks {
                held.register_on_first_write().await?;
            }
            Ok(held)
        })?;
        let mut options = with(py, held.options().map_err(raise)?, writer, commit)?;
        options.read_version = Some(held.head.version);
        set(&mut options);
        wait(py, async move {
            let finished = held.run(operation, options, hooks.as_ref()).await?;
            // Before warnings are shown, which may be raised as errors.
            self.set(held);
            Ok(finished.metrics)
        })
    }

    fn alter(
        &self,
        py: Python<'_>,
        alter: Alter,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.run(py, Operation::Alter(alter), None, commit, hooks, |_| ()).map(|_| ())
    }
}

#[pymethods]
#[allow(clippy::too_many_arguments)]
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
            let mut held =
                TableHandle::open(uri, None, storage_options.as_ref()).await.map_err(|e| not_opened(uri, e))?;
            if version.is_some() {
                held.head = head_at(&held.table, version).await.map_err(raise)?;
            }
            Ok(held)
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
        let held = self.get();
        wait(py, async move { Ok(held.table.head().await?.version) })
    }

    fn load_version(&self, py: Python<'_>, version: Version) -> PyResult<()> {
        let mut held = self.get();
        let held = wait(py, async move {
            held.head = head_at(&held.table, Some(version)).await?;
            Ok(held)
        })?;
        self.set(held);
        Ok(())
    }

    fn load_timestamp(&self, py: Python<'_>, rfc3339: &str) -> PyResult<()> {
        let at = time_of(rfc3339)?.timestamp_millis();
        let mut held = self.get();
        let held = wait(py, async move {
            let version = held.version_at(at).await?;
            held.head = head_at(&held.table, Some(version)).await?;
            Ok(held)
        })?;
        self.set(held);
        Ok(())
    }

    fn refresh(&self, py: Python<'_>) -> PyResult<()> {
        let mut held = self.get();
        let held = wait(py, async move {
            held.head = held.table.head().await?;
            Ok(held)
        })?;
        self.set(held);
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

    #[pyo3(signature = (pruning=None))]
    fn file_uris(&self, py: Python<'_>, pruning: Option<Pruning>) -> PyResult<Vec<String>> {
        let held = self.get();
        wait(py, async move { Ok(held.files(pruning).await?.iter().map(|add| held.uri_of(&add.path)).collect()) })
    }

    #[pyo3(signature = (pruning=None))]
    fn partitions(&self, py: Python<'_>, pruning: Option<Pruning>) -> PyResult<Vec<BTreeMap<String, Option<String>>>> {
        let held = self.get();
        wait(py, async move {
            let columns = held.partition_columns()?;
            let files = held.files(pruning).await?;
            let values: BTreeSet<_> = files.iter().map(|add| held.partition_values(add, &columns)).collect();
            Ok(values.into_iter().collect())
        })
    }

    #[pyo3(signature = (pruning=None))]
    fn files(&self, py: Python<'_>, pruning: Option<Pruning>) -> PyResult<Vec<FileTuple>> {
        let held = self.get();
        wait(py, async move {
            let columns = held.partition_columns()?;
            let files = held.files(pruning).await?;
            let file = |add: Add| {
                let values = held.partition_values(&add, &columns);
                (add.path, add.size, values, add.stats)
            };
            Ok(files.into_iter().map(file).collect())
        })
    }

    /// By paths as in the store.
    fn get_add_file_sizes(&self, py: Python<'_>) -> PyResult<HashMap<String, i64>> {
        let held = self.get();
        wait(py, async move {
            let path = |add: &Add| String::from_utf8_lossy(&canonical_path(&add.path)).into_owned();
            Ok(held.files(None).await?.iter().map(|add| (path(add), add.size)).collect())
        })
    }

    fn count(&self, py: Python<'_>) -> PyResult<u64> {
        let held = self.get();
        wait(py, async move {
            if let Some(rows) = held.table.counts(held.at()).await?.rows {
                return Ok(rows.unsigned_abs());
            }
            let what = Scan { at: held.at(), columns: Some(Vec::new()), ..Scan::default() };
            Ok(held.table.read(&what).await?.iter().map(|batch| batch.num_rows() as u64).sum())
        })
    }

    fn add_actions<'py>(&self, py: Python<'py>, flatten: bool) -> PyResult<Bound<'py, PyAny>> {
        let held = self.get();
        let batch = wait(py, async move { held.table.add_actions(held.at(), flatten).await })?;
        rows_of(py, batch.schema(), vec![batch])
    }

    #[pyo3(signature = (limit=None))]
    fn history(&self, py: Python<'_>, limit: Option<u64>) -> PyResult<Vec<String>> {
        let held = self.get();
        wait(py, async move { history(&held.table, held.head.version, limit).await })
    }

    fn transaction_version(&self, py: Python<'_>, app_id: &str) -> PyResult<Option<i64>> {
        let held = self.get();
        wait(py, async move {
            let snapshot = held.table.reader().await?.snapshot(held.at()).await?;
            Ok(snapshot.txns.get(app_id).map(|txn| txn.version))
        })
    }

    #[pyo3(signature = (columns=None, predicate=None))]
    fn scan<'py>(
        &self,
        py: Python<'py>,
        columns: Option<Vec<String>>,
        predicate: Option<String>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let held = self.get();
        let rows = wait(py, async move {
            let what = Scan { at: held.at(), columns, filter_sql: predicate, limit: None };
            held.table.scan(&what).await
        })?;
        outgoing(py, rows)
    }

    fn changes<'py>(
        &self,
        py: Python<'py>,
        columns: Option<Vec<String>>,
        predicate: Option<String>,
        starting_version: Version,
        ending_version: Option<Version>,
        starting_timestamp: Option<&str>,
        ending_timestamp: Option<&str>,
        allow_out_of_range: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let held = self.get();
        let what = CdfScan {
            from: starting_version,
            to: ending_version,
            since: starting_timestamp.map(time_of).transpose()?,
            until: ending_timestamp.map(time_of).transpose()?,
            columns,
            filter_sql: predicate,
            allow_out_of_range,
        };
        let rows = wait(py, async move { held.table.changes_of(&what, At::Latest).await })?;
        outgoing(py, rows)
    }

    fn deletion_vectors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let held = self.get();
        let found = wait(py, async move { held.table.deletion_vectors(held.at()).await })?;
        let mut kept = ListBuilder::new(BooleanBuilder::new());
        for (_, mask) in &found {
            kept.append_value(mask.iter().copied().map(Some));
        }
        let paths: ArrayRef = Arc::new(StringArray::from_iter_values(found.iter().map(|(path, _)| path)));
        let kept: ArrayRef = Arc::new(kept.finish());
        let batch = RecordBatch::try_from_iter([("filepath", paths), ("selection_vector", kept)]);
        let batch = batch.map_err(|e| DeltaError::new_err(e.to_string()))?;
        let reader = arrow::array::RecordBatchIterator::new([Ok(batch.clone())], batch.schema());
        PyRecordBatchReader::new(Box::new(reader)).into_arro3(py)
    }

    #[pyo3(signature = (data, mode, partition_by, schema_mode, predicate, target_file_size, name, description,
                        configuration, writer, commit, hooks))]
    fn write(
        &self,
        py: Python<'_>,
        data: PyRecordBatchReader,
        mode: &str,
        partition_by: Option<Vec<String>>,
        schema_mode: Option<&str>,
        predicate: Option<String>,
        target_file_size: Option<u64>,
        name: Option<String>,
        description: Option<String>,
        configuration: Option<HashMap<String, Option<String>>>,
        writer: Option<Parquet>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        // An existing table has its own.
        let _ = (name, description, configuration);
        let target_file_size = written_file_size(target_file_size)?;
        let mode = mode_of(mode)?;
        match mode {
            SaveMode::Ignore => return Ok(()),
            SaveMode::ErrorIfExists => return Err(exists(&self.table_uri()?)),
            SaveMode::Append | SaveMode::Overwrite => {}
        }
        let (rows, schema_mode) = (incoming(data)?, schema_mode_of(schema_mode)?);
        if mode == SaveMode::Append && schema_mode == Some(SchemaMode::Overwrite) {
            return Err(DeltaError::new_err("Schema overwrite not supported for Append: overwrite the rows, too"));
        }
        if schema_mode.is_none() {
            check_columns(&self.get().head.metadata.schema_string, rows.schema().map(|s| s.as_ref()))?;
        }
        let write = WriteRows {
            replace_where: predicate,
            schema_mode,
            partition_by,
            casts: CastMode::Any,
            ..WriteRows::new(rows, mode)
        };
        let blind = write.mode == SaveMode::Append;
        self.run(py, Operation::Write(write), writer, commit, hooks, |options| {
            options.target_file_size = target_file_size;
            // An append has read nothing that could have changed.
            if blind && options.applications.is_empty() {
                options.read_version = None;
            }
        })
        .map(|_| ())
    }

    #[pyo3(signature = (predicate, writer, commit, hooks))]
    fn delete(
        &self,
        py: Python<'_>,
        predicate: Option<String>,
        writer: Option<Parquet>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<String> {
        Ok(self.run(py, Operation::Delete { filter: predicate }, writer, commit, hooks, |_| ())?.to_string())
    }

    fn update(
        &self,
        py: Python<'_>,
        updates: BTreeMap<String, String>,
        predicate: Option<String>,
        safe_cast: bool,
        writer: Option<Parquet>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<String> {
        if updates.is_empty() {
            let none = json!({
                "num_added_files": 0,
                "num_removed_files": 0,
                "num_updated_rows": 0,
                "num_copied_rows": 0,
                "execution_time_ms": 0,
                "scan_time_ms": 0,
            });
            return Ok(none.to_string());
        }
        let update = Operation::Update { set: updates.into_iter().collect(), filter: predicate, safe_cast };
        Ok(self.run(py, update, writer, commit, hooks, |_| ())?.to_string())
    }

    fn merge(
        &self,
        py: Python<'_>,
        source: PyRecordBatchReader,
        predicate: String,
        source_alias: Option<String>,
        target_alias: Option<String>,
        merge_schema: bool,
        safe_cast: bool,
        streamed: bool,
        clauses: Vec<Clause>,
        writer: Option<Parquet>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<String> {
        let mut merge = merge_of(predicate, source_alias, target_alias, merge_schema, clauses)?;
        (merge.safe_cast, merge.streamed) = (safe_cast, streamed);
        let (table, version) = self.held();
        let files = wait(py, async move { Ok(table.counts(At::Version(version)).await?.files) })?;
        let mut metrics = self.run(py, Operation::Merge(merge, incoming(source)?), writer, commit, hooks, |_| ())?;
        // Files that the catalog has skipped are not among those that delta-rs could skip.
        if let Some(scanned) = metrics["num_target_files_scanned"].as_u64() {
            metrics["num_target_files_skipped_during_scan"] = files.saturating_sub(scanned).into();
        }
        Ok(metrics.to_string())
    }

    fn optimize(
        &self,
        py: Python<'_>,
        zorder: Vec<String>,
        partition_filters: Option<Vec<Filter>>,
        target_size: Option<u64>,
        max_concurrent_tasks: Option<usize>,
        min_commit_interval: Option<u64>,
        max_spill_size: Option<usize>,
        max_temp_directory_size: Option<u64>,
        writer: Option<Parquet>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<String> {
        let _ = (max_spill_size, max_temp_directory_size);
        let target_size = file_size(target_size)?;
        let partitions = partition_filters.unwrap_or_default().into_iter().map(partition_filter).collect();
        let min_commit_interval = min_commit_interval.map(Duration::from_secs);
        let how = Optimize { zorder, target_size, partitions, max_concurrent_tasks, min_commit_interval };
        Ok(self.run(py, Operation::Optimize(how), writer, commit, hooks, |_| ())?.to_string())
    }

    fn vacuum(
        &self,
        py: Python<'_>,
        retention_hours: Option<u64>,
        dry_run: bool,
        enforce_retention_duration: bool,
        full: bool,
        keep_versions: Option<Vec<Version>>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<Vec<String>> {
        let what = Vacuum {
            retain: retention_hours.map(|hours| Duration::from_secs(hours.saturating_mul(3_600))),
            lite: !full,
            dry_run,
            enforce_retention: enforce_retention_duration,
            keep_versions: keep_versions.unwrap_or_default(),
        };
        let mut held = self.get();
        let held = wait(py, async move {
            held.register_on_first_write().await?;
            Ok(held)
        })?;
        let options = with(py, held.options().map_err(raise)?, None, commit)?;
        let mut held = held;
        wait_here(py, async move || {
            let gone = held.table.vacuum(&what, &options).await?;
            if !what.dry_run {
                held.committed(hooks.as_ref()).await;
            }
            self.set(held);
            Ok(gone.files)
        })
    }

    fn restore(
        &self,
        py: Python<'_>,
        target: Option<&Bound<'_, PyAny>>,
        ignore_missing_files: bool,
        protocol_downgrade_allowed: bool,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<String> {
        let held = self.get();
        let to = match target {
            Some(target) if target.is_instance_of::<PyString>() => {
                let ms = time_of(&target.extract::<String>()?)?.timestamp_millis();
                let held = held.clone();
                wait(py, async move { held.version_at(ms).await })?
            }
            Some(target) => match target.extract::<Version>() {
                Ok(version) => version,
                Err(_) => return Err(DeltaError::new_err(RESTORE_TARGET)),
            },
            None => return Err(DeltaError::new_err(RESTORE_TARGET)),
        };
        let newest = held.head.version;
        if to >= newest {
            return Err(DeltaError::new_err(format!(
                "the version to restore, {to}, should be less then last available version {newest}: the table is at \
                 version {newest} and version {to} is no earlier one"
            )));
        }
        let to = At::Version(to);
        let how = Restore { to, ignore_missing_files, protocol_downgrade_allowed };
        Ok(self.run(py, Operation::Restore(how), None, commit, hooks, |_| ())?.to_string())
    }

    fn repair(
        &self,
        py: Python<'_>,
        dry_run: bool,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<String> {
        Ok(self.run(py, Operation::Repair { dry_run }, None, commit, hooks, |_| ())?.to_string())
    }

    fn add_columns(
        &self,
        py: Python<'_>,
        fields: Vec<String>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        let columns = schema::parse(&format!("{{\"type\":\"struct\",\"fields\":[{}]}}", fields.join(",")))?;
        self.alter(py, Alter::MergeColumns(columns), commit, hooks)
    }

    fn add_features(
        &self,
        py: Python<'_>,
        features: Vec<String>,
        allow_protocol_versions_increase: bool,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        let raise_versions = allow_protocol_versions_increase;
        self.alter(py, Alter::AddFeatures { names: features, raise_versions }, commit, hooks)
    }

    fn add_constraints(
        &self,
        py: Python<'_>,
        constraints: HashMap<String, String>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.run(py, Operation::AddConstraints(constraints), None, commit, hooks, |_| ()).map(|_| ())
    }

    fn drop_constraint(
        &self,
        py: Python<'_>,
        name: String,
        raise_if_not_exists: bool,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.alter(py, Alter::DropConstraint { name, if_exists: !raise_if_not_exists }, commit, hooks)
    }

    fn drop_column_not_null(
        &self,
        py: Python<'_>,
        column: String,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.alter(py, Alter::DropNotNull { column }, commit, hooks)
    }

    fn set_properties(
        &self,
        py: Python<'_>,
        properties: HashMap<String, String>,
        raise_if_not_exists: bool,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.alter(py, Alter::SetProperties { properties, unknown: !raise_if_not_exists }, commit, hooks)
    }

    fn describe(
        &self,
        py: Python<'_>,
        name: Option<String>,
        description: Option<String>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.alter(py, Alter::SetDescription { name, description }, commit, hooks)
    }

    fn set_column_metadata(
        &self,
        py: Python<'_>,
        column: String,
        metadata: HashMap<String, String>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.alter(py, Alter::SetColumnMetadata { column, metadata }, commit, hooks)
    }

    fn commit_actions(
        &self,
        py: Python<'_>,
        actions: Vec<String>,
        mode: &str,
        partition_by: Vec<String>,
        schema: &str,
        partition_filters: Option<Vec<Filter>>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        let held = self.get();
        let there = &held.head.metadata.partition_columns;
        if !partition_by.is_empty() && partition_by != *there {
            let what = format!("the table is partitioned by {there:?}, not by {partition_by:?}");
            return Err(DeltaError::new_err(what));
        }
        let (new, old) = (schema::parse(schema)?, schema::parse(&held.head.metadata.schema_string)?);
        if new.names() != old.names() {
            return Err(SchemaMismatchError::new_err("the files have other columns than the table"));
        }
        let mut actions = actions_of(&actions)?;
        let mut overwrite = mode_of(mode)? == SaveMode::Overwrite;
        if overwrite && actions.iter().any(|action| matches!(action, Action::Remove(_))) {
            return Err(PyValueError::new_err("remove actions are not supported with mode='overwrite'"));
        }
        if overwrite && let Some(filters) = partition_filters.filter(|filters| !filters.is_empty()) {
            // All files of the named partitions are removed, and no other.
            let metadata = held.head.metadata.clone();
            let pruning = Pruning::Filters(vec![filters.clone()]);
            let live = wait(py, async move { held.files(Some(pruning)).await })?;
            let columns = Columns::parse(&metadata.schema_string, &metadata.partition_columns).map_err(raise)?;
            let now = Utc::now().timestamp_millis();
            for add in live {
                if is_in_partition(&add, &filters, &columns).map_err(raise)? {
                    actions.push(Action::Remove(deltalakedb_log::action::Remove::of(&add, now, true)));
                }
            }
            overwrite = false;
        }
        self.run(py, Operation::CommitFiles(CommitFiles { actions, overwrite }), None, commit, hooks, |_| ())
            .map(|_| ())
    }

    fn generate(&self, py: Python<'_>) -> PyResult<()> {
        let held = self.get();
        wait(py, async move { held.table.generate_manifests(held.at()).await })
    }

    fn create_checkpoint(&self, py: Python<'_>) -> PyResult<()> {
        let version = self.get().head.version;
        self.on_mirror(py, async move |connection, id| {
            published(connection.mirror().publish_commits(id).await?);
            let entry = require(connection.catalog.as_ref(), &TableRef::Id(id)).await?;
            connection.mirror().checkpoint_at(&entry, version).await.map(|_| ())
        })
    }

    fn cleanup_metadata(&self, py: Python<'_>) -> PyResult<()> {
        self.on_mirror(py, async |connection, id| connection.mirror().clean_up(id).await.map(|_| ()))
    }

    fn compact_logs(&self, py: Python<'_>, starting_version: Version, ending_version: Version) -> PyResult<()> {
        if starting_version >= ending_version {
            return Err(DeltaError::new_err(format!(
                "Invalid version range: {starting_version} to {ending_version}: expected two versions or more"
            )));
        }
        self.on_mirror(py, async |connection, id| {
            published(connection.mirror().publish(id).await?);
            let newest = require(connection.catalog.as_ref(), &TableRef::Id(id)).await?.current_version;
            if ending_version > newest {
                return Err(TxnLogError::invalid(format!(
                    "the table is at version {newest} and has no version {ending_version}"
                )));
            }
            connection.mirror().compact(id, starting_version, ending_version).await
        })
    }

    fn store(&self) -> PyResult<RawStore> {
        let table = self.get().table;
        RawStore::of(table.location().clone(), table.stores().as_ref()).map_err(raise)
    }
}

impl RawTable {
    fn on_mirror(
        &self,
        py: Python<'_>,
        run: impl AsyncFnOnce(Arc<CatalogConnection>, TableId) -> Result<()> + Send,
    ) -> PyResult<()> {
        let mut held = self.get();
        wait_here(py, async move || {
            held.register_on_first_write().await?;
            let Some((connection, id)) = held.home.clone() else {
                return Err(TxnLogError::invalid(
                    "the table is in no catalog, whose mirror its _delta_log would be: set DELTALAKEDB_CATALOG",
                ));
            };
            self.set(held);
            run(connection, id).await
        })
    }
}
