//! Writes with delta-rs, which writes the data files and describes the commit.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::DataFusionError;
use datafusion::datasource::provider_as_source;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use deltalake_core::operations::write::{SchemaMode as DeltaSchemaMode, WriteBuilder};
use deltalake_core::protocol::SaveMode;
use deltalakedb_log::Result;
use deltalakedb_log::features::maps_columns;
use parking_lot::Mutex;
use serde_json::Value;

use super::deletion_vectors::ENABLE_VECTORS;
use super::encoding::EncodedTable;
use super::{FullTable, PrunedTable, StagedCommit, VirtualTable, encoding, generated};
use crate::error::Explain;

/// How the errors of every write begin.
pub(super) const FAILED: &str = "the rows cannot be written";

/// Rows to be written.
pub(crate) type Data = SendableRecordBatchStream;

/// How a write treats columns of the data that the table does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaMode {
    /// They are added to the table.
    Merge,
    /// The data's columns replace the table's. Only if all rows are replaced.
    Overwrite,
}

impl VirtualTable {
    /// Appends rows.
    pub(crate) async fn append(self, rows: Data, schema: Option<SchemaMode>) -> Result<StagedCommit> {
        self.write(rows, SaveMode::Append, schema, None, None).await
    }

    async fn write(
        self,
        rows: Data,
        mode: SaveMode,
        schema: Option<SchemaMode>,
        replace: Option<Expr>,
        partition_by: Option<Vec<String>>,
    ) -> Result<StagedCommit> {
        let head = &self.base.head;
        let table = EncodedTable {
            is_mapped: maps_columns(&head.protocol, &head.metadata),
            has_vectors: head.metadata.is_on(ENABLE_VECTORS),
        };
        let (rows, parquet) = encoding::of_rows(rows, self.options.parquet.as_ref(), table, FAILED).await?;
        // New columns that replace the table's have no generation expressions.
        let mut source = head.metadata.clone();
        let rows = if schema == Some(SchemaMode::Overwrite) {
            source.schema_string = generated::remove_expressions(&source.schema_string);
            plan(rows)?
        } else {
            self.generated()?.complete_rows(plan(rows)?)?
        };
        let mut write = WriteBuilder::new(self.log_store.clone(), Some(self.snapshot.clone()))
            .with_save_mode(mode)
            .with_commit_properties(self.commit_properties())
            .with_target_file_size(self.options.target_file_size)
            .with_writer_properties(parquet)
            .with_input_plan(rows);
        if let Some(schema) = schema {
            write = write.with_schema_mode(match schema {
                SchemaMode::Merge => DeltaSchemaMode::Merge,
                SchemaMode::Overwrite => DeltaSchemaMode::Overwrite,
            });
        }
        if let Some(replace) = replace {
            write = write.with_replace_where(replace);
        }
        if let Some(partition_by) = partition_by {
            write = write.with_partition_columns(partition_by);
        }
        self.capture_from(&source, FAILED, write, |_| Value::Null).await
    }
}

impl PrunedTable {
    /// Replaces the rows that satisfy the condition; the new ones must satisfy it as well.
    pub(crate) async fn replace(self, rows: Data, schema: Option<SchemaMode>) -> Result<StagedCommit> {
        let replace = self.condition.as_ref().map(|condition| condition.is_true.clone());
        let written = self.table.write(rows, SaveMode::Overwrite, schema, replace, None).await?;
        Ok(written.of(self.condition.as_ref()))
    }
}

impl FullTable {
    /// Replaces all rows, and the partitioning if the columns are replaced.
    pub(crate) async fn overwrite(
        self,
        rows: Data,
        schema: Option<SchemaMode>,
        partition_by: Option<Vec<String>>,
    ) -> Result<StagedCommit> {
        self.0.write(rows, SaveMode::Overwrite, schema, None, partition_by).await
    }
}

/// A plan that returns the rows, once.
pub(super) fn plan(rows: Data) -> Result<LogicalPlan> {
    let failed = || FAILED.to_string();
    let schema = rows.schema();
    let once: Arc<dyn PartitionStream> =
        Arc::new(OneShotPartition { schema: schema.clone(), rows: Mutex::new(Some(rows)) });
    let table = StreamingTable::try_new(schema, vec![once]).explain(failed)?;
    let scan = LogicalPlanBuilder::scan("rows", provider_as_source(Arc::new(table)), None).explain(failed)?;
    scan.build().explain(failed)
}

struct OneShotPartition {
    schema: SchemaRef,
    rows: Mutex<Option<Data>>,
}

impl fmt::Debug for OneShotPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl PartitionStream for OneShotPartition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().take();
        rows.unwrap_or_else(|| {
            let again = Err(DataFusionError::Execution("the rows can be read only once".into()));
            Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::once(async { again })))
        })
    }
}
