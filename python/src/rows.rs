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

use crate::runtime::runtime;

/// Rows that Python has.
pub(crate) fn incoming(data: PyRecordBatchReader) -> PyResult<Rows> {
    Ok(data.into_reader()?.into())
}

/// Rows for Python, read as they are asked for.
pub(crate) fn outgoing<'py>(py: Python<'py>, rows: SendableRecordBatchStream) -> PyResult<Bound<'py, PyAny>> {
    let reader = Reader { schema: rows.schema(), rows, runtime: runtime()? };
    PyRecordBatchReader::new(Box::new(reader)).into_arro3(py)
}

/// Rows for Python that are there.
pub(crate) fn table<'py>(py: Python<'py>, schema: SchemaRef, batches: Vec<RecordBatch>) -> PyResult<Bound<'py, PyAny>> {
    PyTable::try_new(batches, schema)?.into_arro3(py)
}

struct Reader {
    schema: SchemaRef,
    rows: SendableRecordBatchStream,
    runtime: Arc<Runtime>,
}

impl Iterator for Reader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Whoever reads may be a C library, through which no panic may go.
        let next =
            std::panic::catch_unwind(AssertUnwindSafe(|| match Python::try_attach(|py| py.detach(|| self.pull())) {
                Some(next) => next,
                None => self.pull(),
            }));
        match next {
            Ok(next) => next.map(|batch| batch.map_err(|e| ArrowError::ExternalError(Box::new(e)))),
            Err(_) => Some(Err(ArrowError::ComputeError("reading the rows panicked".into()))),
        }
    }
}

impl Reader {
    fn pull(&mut self) -> Option<Result<RecordBatch, DataFusionError>> {
        match Handle::try_current() {
            // Rows of one table that go into another are read on a thread that drives a runtime.
            Ok(current) => tokio::task::block_in_place(|| current.block_on(self.rows.next())),
            Err(_) => self.runtime.block_on(self.rows.next()),
        }
    }
}

impl RecordBatchReader for Reader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}
