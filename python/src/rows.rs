//! Rows from Rust to Python and back.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use deltalakedb_table::{Rows, SendableRecordBatchStream};
use futures::StreamExt;
use pyo3::prelude::*;
use pyo3_arrow::{PyRecordBatchReader, PyTable};
use tokio::runtime::{Handle, Runtime};

use crate::errors::DeltaError;
use crate::runtime::{heard, runtime};

/// Rows that Python has.
pub(crate) fn incoming(data: PyRecordBatchReader) -> PyResult<Rows> {
    Ok(data.into_reader()?.into())
}

/// Rows for Python, read as they are asked for.
pub(crate) fn outgoing<'py>(py: Python<'py>, rows: SendableRecordBatchStream) -> PyResult<Bound<'py, PyAny>> {
    let reader = Reader { schema: rows.schema(), rows: Some(rows), runtime: runtime()? };
    PyRecordBatchReader::new(Box::new(reader)).into_arro3(py)
}

/// Rows for Python that are there.
pub(crate) fn table<'py>(py: Python<'py>, schema: SchemaRef, batches: Vec<RecordBatch>) -> PyResult<Bound<'py, PyAny>> {
    PyTable::try_new(batches, schema)?.into_arro3(py)
}

struct Reader {
    schema: SchemaRef,
    /// Gone once reading was interrupted.
    rows: Option<SendableRecordBatchStream>,
    runtime: Arc<Runtime>,
}

impl Iterator for Reader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Whoever reads may be a C library, through which no panic may go.
        let next = std::panic::catch_unwind(AssertUnwindSafe(|| {
            Python::try_attach(|py| py.detach(|| self.pull())).unwrap_or_else(|| self.pull())
        }));
        match next {
            Ok(Ok(next)) => next.map(|batch| batch.map_err(|e| ArrowError::ExternalError(Box::new(e)))),
            Ok(Err(interrupted)) => Some(Err(ArrowError::ExternalError(Box::new(interrupted)))),
            Err(_) => Some(Err(ArrowError::ComputeError("reading the rows panicked".into()))),
        }
    }
}

impl Reader {
    fn pull(&mut self) -> PyResult<Option<Result<RecordBatch, DataFusionError>>> {
        let Some(mut rows) = self.rows.take() else { return Ok(None) };
        // Rows of one table that go into another are read on a thread that drives a runtime.
        if let Ok(current) = Handle::try_current() {
            let next = tokio::task::block_in_place(|| current.block_on(rows.next()));
            self.rows = Some(rows);
            return Ok(next);
        }
        // Elsewhere than here, where Ctrl-C is waited for: a plan may compute for long without a pause.
        let pulled = self.runtime.spawn(async move {
            let next = rows.next().await;
            (rows, next)
        });
        let stop = pulled.abort_handle();
        let done = self.runtime.block_on(heard(async { Ok(pulled.await) })).inspect_err(|_| stop.abort())?;
        let (rows, next) = done.map_err(|e| DeltaError::new_err(format!("the rows cannot be read: {e}")))?;
        self.rows = Some(rows);
        Ok(next)
    }
}

impl RecordBatchReader for Reader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}
