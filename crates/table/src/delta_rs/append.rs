//! Appends without a query plan: rows are written directly to files if nothing has to be computed for them.
//!
//! delta-rs plans every write as a query over the table, for constraints, generated columns and renamed columns. Most
//! tables have none of these, and then the plan costs more than writing a few rows.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use delta_kernel::schema::{DataType, StructType};
use delta_kernel::table_properties::TableProperties;
use deltalake_core::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake_core::kernel::engine::arrow_conversion::TryIntoArrow as _;
use deltalake_core::logstore::LogStore;
use deltalake_core::operations::get_num_idx_cols_and_stats_columns;
use deltalake_core::table::config::TablePropertiesExt as _;
use deltalakedb_log::action::{Action, Commit, CommitInfo, Metadata};
use deltalakedb_log::snapshot::Snapshot;
use deltalakedb_log::{Object, Result};
use futures::{FutureExt, TryStreamExt};
use serde_json::{Value, json};

use super::capture::{NewFiles, panicked};
use super::deletion_vectors::ENABLE_VECTORS;
use super::encoding::EncodedTable;
use super::log::{FileSelection, SnapshotLog};
use super::log_store::VirtualLogStore;
use super::write::{Data, FAILED};
use super::{LogView, StagedCommit, encoding};
use crate::error::Explain;
use crate::write_options::WriteOptions;

/// A table to whose files rows can be written unchanged.
pub(crate) struct PlainAppend {
    log: Arc<SnapshotLog>,
    log_store: VirtualLogStore,
    schema: SchemaRef,
    partition_by: Vec<String>,
    properties: TableProperties,
    base: Snapshot,
    options: Arc<WriteOptions>,
}

impl PlainAppend {
    /// The table with the current state `base`; `None` if rows must be checked, completed or renamed.
    pub(crate) fn open(state: &LogView, base: &Snapshot) -> Result<Option<Self>> {
        Self::with_columns(state, base, plain_columns(&base.head.metadata))
    }

    /// The same for rows that are in the table: they were checked and completed when they were written.
    pub(crate) fn of_moved_rows(state: &LogView, base: &Snapshot) -> Result<Option<Self>> {
        Self::with_columns(state, base, unmapped_columns(&base.head.metadata))
    }

    fn with_columns(state: &LogView, base: &Snapshot, columns: Option<StructType>) -> Result<Option<Self>> {
        let metadata = &base.head.metadata;
        let Some(columns) = columns else { return Ok(None) };
        let schema =
            (&columns).try_into_arrow().explain(|| "the table's schema cannot be converted to Arrow".into())?;
        let log = Arc::new(SnapshotLog::new(state, FileSelection::None));
        let set = metadata.configuration.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        Ok(Some(Self {
            log_store: VirtualLogStore::new(&state.location, log.clone(), &state.options)?,
            log,
            schema: Arc::new(schema),
            partition_by: metadata.partition_columns.clone(),
            properties: set.into(),
            base: base.clone(),
            options: state.options.clone(),
        }))
    }

    /// The columns in Arrow types.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Writes the rows, which have the table's columns. On failure the files are removed.
    pub(crate) async fn append(self, rows: Data) -> Result<StagedCommit> {
        let began = Instant::now();
        // delta-rs panics on some values, such as days that its calendar does not have.
        let written = AssertUnwindSafe(self.write(rows)).catch_unwind().await;
        let commit = async {
            let (rows, adds) = written.map_err(|panic| panicked(FAILED, panic.as_ref()))??;
            self.commit(rows, adds, began, &self.log_store.new_files()).await
        };
        let (actions, files) = self.log_store.with_files(commit).await?;
        Ok(StagedCommit { actions, files, seen: self.log.given_files(), metrics: Value::Null })
    }

    /// The number of rows written, and the adds in JSON.
    async fn write(&self, rows: Data) -> Result<(usize, Vec<Value>)> {
        let failed = || FAILED.to_string();
        let has_vectors = self.base.head.metadata.is_on(ENABLE_VECTORS);
        let table = EncodedTable { is_mapped: false, has_vectors };
        let (mut rows, parquet) = encoding::of_rows(rows, self.options.parquet.as_ref(), table, FAILED).await?;
        let (indexed, stats_columns) = get_num_idx_cols_and_stats_columns(Some(&self.properties), Default::default());
        let config = WriterConfig::new(
            self.schema.clone(),
            self.partition_by.clone(),
            Some(parquet),
            Some(self.options.target_file_size.unwrap_or_else(|| self.properties.target_file_size())),
            None,
            indexed,
            stats_columns,
        );
        let mut writer = DeltaWriter::new(self.log_store.object_store(None), config);
        let mut count = 0;
        while let Some(batch) = rows.try_next().await.explain(failed)? {
            count += batch.num_rows();
            if batch.num_rows() > 0 {
                writer.write(&batch).await.explain(failed)?;
            }
        }
        let adds = writer.close().await.explain(failed)?;
        let adds: Vec<_> = adds.iter().map(serde_json::to_value).collect::<Result<_, _>>().explain(failed)?;
        Ok((count, adds))
    }

    /// The commit, as delta-rs would make it.
    async fn commit(&self, rows: usize, adds: Vec<Value>, began: Instant, files: &NewFiles) -> Result<Vec<Action>> {
        let mut parameters = Object::default();
        parameters.set("mode", "Append");
        if !self.partition_by.is_empty() {
            parameters.set("partitionBy", Value::from(self.partition_by.clone()).to_string());
        }
        let mut info = self.options.info("WRITE", parameters);
        if info.raw("clientVersion").is_none() {
            info.set("clientVersion", concat!("deltalakedb.", env!("CARGO_PKG_VERSION")));
        }
        info.set(
            "operationMetrics",
            json!({
                "execution_time_ms": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                "num_added_files": adds.len(),
                "num_added_rows": rows,
                "num_partitions": 0,
                "num_removed_files": 0,
            }),
        );
        let mut lines = vec![Action::CommitInfo(CommitInfo(info)).to_json()];
        lines.extend(self.options.applications.iter().map(|txn| Action::Txn(txn.clone()).to_json()));
        lines.extend(adds.into_iter().map(|add| json!({"add": add}).to_string()));
        let bytes = Bytes::from(lines.join("\n") + "\n");
        let mut actions = Commit::parse(bytes, "the commit of the append")?.into_actions();
        files.recompute_bounds(&mut actions, Some(&self.base)).await?;
        Ok(actions)
    }
}

/// The columns of a table whose rows are written unchanged.
fn plain_columns(metadata: &Metadata) -> Option<StructType> {
    let constrained = metadata.configuration.keys().any(|key| key.starts_with("delta.constraints."));
    // A column's metadata may restrict its values.
    let asks =
        |column: &delta_kernel::schema::StructField| column.metadata().keys().any(|key| key.starts_with("delta."));
    unmapped_columns(metadata).filter(|columns| !constrained && !columns.fields().any(asks))
}

/// The columns of a table whose files have them by the same names and in the same types.
fn unmapped_columns(metadata: &Metadata) -> Option<StructType> {
    let renamed = metadata.property("delta.columnMapping.mode").is_some_and(|mode| !mode.eq_ignore_ascii_case("none"));
    if renamed {
        return None;
    }
    let columns: StructType = serde_json::from_str(&metadata.schema_string).ok()?;
    let plain = columns.fields().all(|c| is_plain(c.data_type()));
    plain.then_some(columns)
}

/// Whether the type is nullable at every level, and no part is stored with another type.
fn is_plain(data_type: &DataType) -> bool {
    match data_type {
        DataType::Primitive(_) => true,
        DataType::Struct(fields) => fields.fields().all(|f| f.is_nullable() && is_plain(f.data_type())),
        DataType::Array(array) => array.contains_null() && is_plain(array.element_type()),
        DataType::Map(map) => map.value_contains_null() && is_plain(map.key_type()) && is_plain(map.value_type()),
        DataType::Variant(_) => false,
    }
}
