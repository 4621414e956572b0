//! Reads the changes between versions of a table.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array};
use arrow::datatypes::{SchemaRef, UInt32Type};
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use deltalakedb_log::snapshot::At;
use deltalakedb_log::{Result, TxnLogError, Version};
use futures::StreamExt;

use crate::delta_rs::{CdfScan, ChangedFile, LogView, RecordedChanges, VirtualTable, register, session_context};
use crate::error::Explain;
use crate::position_scan::{NumberedFile, PositionScan, with_positions};
use crate::table::DeltaTable;

impl DeltaTable {
    /// The changes between two versions, both included (`to` is the newest by default): the rows, with the additional
    /// columns `_change_type` (`insert`, `delete`, `update_preimage`, `update_postimage`), `_commit_version` and
    /// `_commit_timestamp`. The table must have recorded them (`delta.enableChangeDataFeed`).
    pub async fn changes(&self, from: Version, to: Option<Version>) -> Result<SendableRecordBatchStream> {
        let reader = self.reader().await?;
        let head = reader.snapshot(to.map_or(At::Latest, At::Version)).await?;
        let to = head.version();
        if from > to {
            return Err(TxnLogError::invalid(format!(
                "there are no changes from version {from} to {to} of {self}: begin with an earlier version"
            )));
        }
        let first = reader.snapshot(At::Version(from)).await?;
        if !first.head.metadata.is_on("delta.enableChangeDataFeed") {
            return Err(TxnLogError::invalid(format!(
                "{self} did not record its changes at version {from}: set delta.enableChangeDataFeed=true, and begin \
                 with a version after that"
            )));
        }
        let what = CdfScan { from, to: Some(to), ..CdfScan::default() };
        changes(&LogView::at(&self.location, &self.stores, reader, head), &what).await
    }

    /// The requested changes, up to a version.
    pub async fn changes_of(&self, what: &CdfScan, at: At) -> Result<SendableRecordBatchStream> {
        changes(&self.view_at(at).await?, what).await
    }
}

async fn changes(state: &LogView, what: &CdfScan) -> Result<SendableRecordBatchStream> {
    let RecordedChanges { rows, of_vectors } = VirtualTable::without_files(state).await?.changes(what).await?;
    let rows: SendableRecordBatchStream = if of_vectors.is_empty() {
        rows
    } else {
        let schema = rows.schema();
        let rows = rows.chain(changes_of_vectors(state, &schema, of_vectors).await?);
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    };
    what.select(rows, &state.options.stores).await
}

/// The rows of changed files, in the columns of a feed: those of the table, then type, version and time of the change.
async fn changes_of_vectors(
    state: &LogView,
    feed: &SchemaRef,
    changed: Vec<ChangedFile>,
) -> Result<SendableRecordBatchStream> {
    let failed = || "the changes cannot be read".to_string();
    let stores = &state.options.stores;
    let session = session_context(stores)?;
    register(&session.runtime_env(), &state.location, stores)?;
    let columns: Vec<usize> = (0..feed.fields().len().saturating_sub(CHANGE_COLUMNS)).collect();
    let schema = with_positions(&Arc::new(feed.project(&columns).explain(failed)?));
    // Behind the columns of the table is the number of the file.
    let scanned: Vec<usize> = (0..=columns.len()).collect();
    let snapshot = state.snapshot()?;
    let scan = PositionScan {
        location: &state.location,
        head: &snapshot.head,
        schema: &schema,
        files: NumberedFile::in_order(changed.iter().map(|changed| changed.file.clone()).collect()),
    };
    let scan = scan.plan(&session.state(), Some(scanned.as_slice()), None).await?;
    let rows = execute_stream(scan, session.task_ctx()).explain(failed)?;
    let schema = feed.clone();
    let rows = rows.map(move |batch| with_changes(&batch?, &schema, &changed));
    Ok(Box::pin(RecordBatchStreamAdapter::new(feed.clone(), rows)))
}

/// How many columns a feed has behind those of the table.
const CHANGE_COLUMNS: usize = 3;

/// The rows with type, version and time of the change instead of the number of the file.
fn with_changes(rows: &RecordBatch, feed: &SchemaRef, changed: &[ChangedFile]) -> Result<RecordBatch, DataFusionError> {
    let missing = || DataFusionError::Internal("a scan of changes returned a row of no file".into());
    let (files, columns) = rows.columns().split_last().ok_or_else(missing)?;
    let of_file = |file: &u32| changed.get(*file as usize).ok_or_else(missing);
    let files = files.as_primitive::<UInt32Type>().values();
    let files: Vec<_> = files.iter().map(of_file).collect::<Result<_, _>>()?;
    let types: ArrayRef = Arc::new(files.iter().map(|file| Some(file.change_type)).collect::<StringArray>());
    let versions: ArrayRef = Arc::new(files.iter().map(|file| Some(file.version)).collect::<UInt64Array>());
    let times = files.iter().map(|file| Some(file.timestamp)).collect::<TimestampMillisecondArray>();
    let columns = columns.iter().cloned().chain([types, versions, Arc::new(times)]).collect();
    Ok(RecordBatch::try_new(feed.clone(), columns)?)
}
