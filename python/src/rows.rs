//! Transfers rows from Rust to Python and back.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, RecordBatchReader};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use deltalakedb_table::{Rows, SendableRecordBatchStream};
use futures::StreamExt;
use pyo3::prelude::*;
use pyo3_arrow::{PyRecordBatchReader, PyTable};
use tokio::runtime::{Handle, Runtime};

use crate::errors::DeltaError;
use crate::runtime::{runtime, with_signal_checks};

/// Rows from Python.
pub(crate) fn incoming(data: PyRecordBatchReader) -> PyResult<Rows> {
    Ok(data.into_reader()?.into())
}

/// Rows for Python, read on demand. Text and binary columns are views, as in `deltalake`.
pub(crate) fn outgoing<'py>(py: Python<'py>, rows: SendableRecordBatchStream) -> PyResult<Bound<'py, PyAny>> {
    let reader = Reader { schema: with_views(&rows.schema()), rows: Some(rows), runtime: runtime()? };
    PyRecordBatchReader::new(Box::new(reader)).into_arro3(py)
}

/// Existing rows for Python.
pub(crate) fn table<'py>(py: Python<'py>, schema: SchemaRef, batches: Vec<RecordBatch>) -> PyResult<Bound<'py, PyAny>> {
    PyTable::try_new(batches, schema)?.into_arro3(py)
}

fn with_views(schema: &SchemaRef) -> SchemaRef {
    let view = |field: &FieldRef| match field.data_type() {
        DataType::Utf8 => field.as_ref().clone().with_data_type(DataType::Utf8View).into(),
        DataType::Binary => field.as_ref().clone().with_data_type(DataType::BinaryView).into(),
        _ => field.clone(),
    };
    let fields: Fields = schema.fields().iter().map(view).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

struct Reader {
    schema: SchemaRef,
    /// `None` after reading was interrupted.
    rows: Option<SendableRecordBatchStream>,
    runtime: Arc<Runtime>,
}

impl Iterator for Reader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        // The consumer may be C code; a panic must not unwind through it.
        let next = std::panic::catch_unwind(AssertUnwindSafe(|| {
            Python::try_attach(|py| py.detach(|| self.pull())).unwrap_or_else(|| self.pull())
        }));
        match next {
            Ok(Ok(next)) => next.map(|batch| self.viewed(batch.map_err(|e| ArrowError::ExternalError(Box::new(e)))?)),
            Ok(Err(interrupted)) => Some(Err(ArrowError::ExternalError(Box::new(interrupted)))),
            Err(_) => Some(Err(ArrowError::ComputeError("reading the rows panicked".into()))),
        }
    }
}

impl Reader {
    /// The batch with the types of the schema.
    fn viewed(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| {
            if column.data_type() == field.data_type() { Ok(column.clone()) } else { cast(column, field.data_type()) }
        });
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns.collect::<Result<_, _>>()?, &rows)
    }

    fn pull(&mut self) -> PyResult<Option<Result<RecordBatch, DataFusionError>>> {
        let Some(mut rows) = self.rows.take() else { return Ok(None) };
        // Rows of one table that are written to another are read on a thread that drives a runtime.
        if let Ok(current) = Handle::try_current() {
            let next = tokio::task::block_in_place(|| current.block_on(rows.next()));
            self.rows = Some(rows);
            return Ok(next);
        }
        // On another thread than this one, which waits for Ctrl-C: a plan may compute for long without yielding.
        let pulled = self.runtime.spawn(async move {
            let next = rows.next().await;
            (rows, next)
        });
        let stop = pulled.abort_handle();
        let result =
            self.runtime.block_on(with_signal_checks(async { Ok(pulled.await) })).inspect_err(|_| stop.abort())?;
        let (rows, next) = result.map_err(|e| DeltaError::new_err(format!("the rows cannot be read: {e}")))?;
        self.rows = Some(rows);
        Ok(next)
    }
}

impl RecordBatchReader for Reader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}
