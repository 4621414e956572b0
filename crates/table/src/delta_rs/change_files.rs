//! Writes change data files (PROTOCOL.md, "Change Data Files").
//!
//! Readers of the change data feed read these files of a version, if it has some, and ignore its adds and removes.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DataFusionError;
use delta_kernel::table_properties::{DataSkippingNumIndexedCols, TableProperties};
use deltalake_core::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake_core::logstore::LogStore;
use deltalake_core::table::config::TablePropertiesExt as _;
use deltalakedb_log::action::{Action, Cdc, Metadata};
use deltalakedb_log::{Object, Result};
use object_store::prefix::PrefixStore;
use serde_json::Value;

use super::log::{FileSelection, SnapshotLog};
use super::log_store::VirtualLogStore;
use super::{LogView, StagedCommit};
use crate::error::Explain;

/// The folder of change data files in a table.
const FOLDER: &str = "_change_data";

/// The column of change data files with the type of a change.
const CHANGE_TYPE: &str = "_change_type";

/// Change data files that are being written.
pub(crate) struct ChangeFiles {
    log_store: VirtualLogStore,
    writer: DeltaWriter,
    schema: SchemaRef,
}

impl ChangeFiles {
    /// Begins the change data files of a commit to a table with these columns.
    pub(crate) fn create(state: &LogView, metadata: &Metadata, columns: &Schema) -> Result<Self> {
        let log = Arc::new(SnapshotLog::new(state, FileSelection::None));
        let log_store = VirtualLogStore::new(&state.location, log, &state.options)?;
        let field = |field: &Arc<Field>| Field::new(field.name(), field.data_type().clone(), true);
        let change_type = Field::new(CHANGE_TYPE, DataType::Utf8, true);
        let schema = Arc::new(Schema::new(columns.fields().iter().map(field).chain([change_type]).collect::<Vec<_>>()));
        let set = metadata.configuration.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        let properties: TableProperties = set.into();
        let config = WriterConfig::new(
            schema.clone(),
            metadata.partition_columns.clone(),
            state.options.parquet.clone(),
            Some(state.options.target_file_size.unwrap_or_else(|| properties.target_file_size())),
            None,
            // The log has no statistics of these files.
            DataSkippingNumIndexedCols::NumColumns(0),
            None,
        );
        let folder = PrefixStore::new(log_store.object_store(None), FOLDER);
        Ok(Self { writer: DeltaWriter::new(Arc::new(folder), config), log_store, schema })
    }

    /// Writes rows, given as the values of the table's columns, with one type of change.
    pub(crate) async fn write(&mut self, rows: &RecordBatch, change_type: &str) -> Result<(), DataFusionError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let types: ArrayRef = Arc::new(StringArray::from(vec![change_type; rows.num_rows()]));
        let columns = rows.columns().iter().cloned().chain([types]).collect();
        let rows = RecordBatch::try_new(self.schema.clone(), columns)?;
        self.writer.write(&rows).await.map_err(|e| DataFusionError::External(e.into()))
    }

    /// Completes the files. On failure they are removed.
    pub(crate) async fn close(self) -> Result<StagedCommit> {
        let Self { log_store, writer, .. } = self;
        let closed = async {
            let adds = writer.close().await.explain(|| "the change data files cannot be written".into())?;
            let cdc = adds.into_iter().map(|add| {
                Action::Cdc(Cdc {
                    path: format!("{FOLDER}/{}", add.path),
                    partition_values: add.partition_values.into_iter().collect(),
                    size: add.size,
                    data_change: false,
                    tags: None,
                    extra: Object::default(),
                })
            });
            Ok(cdc.collect())
        };
        // The last files are written now.
        let closed: Result<Vec<Action>> = closed.await;
        let (actions, files) = log_store.with_files(async { closed }).await?;
        Ok(StagedCommit { actions, files, seen: Some(Vec::new()), metrics: Value::Null })
    }

    /// Removes what was written.
    pub(crate) async fn discard(self) {
        if let Err(e) = self.writer.abort().await {
            tracing::warn!(error = %e, "an upload of a write that failed cannot be aborted");
        }
        self.log_store.new_files().remove().await;
    }
}
