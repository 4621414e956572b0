//! Commits that change rows.

use std::collections::{BTreeMap, HashMap};

use chrono::Utc;
use deltalakedb_log::At;
use deltalakedb_log::action::{Action, Remove};
use deltalakedb_log::schema::Schema as Columns;
use deltalakedb_table::{CastMode, CommitFiles, Operation, SaveMode, SchemaMode, WriteRows};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3_arrow::PyRecordBatchReader;
use serde_json::json;

use super::RawTable;
use crate::arguments::{Clause, actions_of, check_columns, merge_of, mode_of, schema_mode_of};
use crate::errors::{DeltaError, SchemaMismatchError, raise};
use crate::handle::exists;
use crate::options::{CommitProperties, Hooks, Parquet, written_file_size};
use crate::pruning::{Filter, Pruning, is_in_partition};
use crate::rows::incoming;
use crate::runtime::wait;
use crate::schema;

#[pymethods]
#[allow(clippy::too_many_arguments)]
impl RawTable {
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
        let (table, version) = self.table_and_version();
        let files = wait(py, async move { Ok(table.counts(At::Version(version)).await?.files) })?;
        let mut metrics = self.run(py, Operation::Merge(merge, incoming(source)?), writer, commit, hooks, |_| ())?;
        // Files that the catalog has skipped are not among those that delta-rs could skip.
        if let Some(scanned) = metrics["num_target_files_scanned"].as_u64() {
            metrics["num_target_files_skipped_during_scan"] = files.saturating_sub(scanned).into();
        }
        Ok(metrics.to_string())
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
                    actions.push(Action::Remove(Remove::of(&add, now, true)));
                }
            }
            overwrite = false;
        }
        self.run(py, Operation::CommitFiles(CommitFiles { actions, overwrite }), None, commit, hooks, |_| ())
            .map(|_| ())
    }
}
