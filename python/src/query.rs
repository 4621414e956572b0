//! SQL over tables that are registered by name.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::prelude::SessionContext;
use deltalakedb_log::At;
use deltalakedb_table::{DeltaTableProvider, query, query_error, query_session};
use pyo3::prelude::*;

use crate::errors::raise;
use crate::rows::outgoing;
use crate::runtime::wait;
use crate::table::RawTable;

/// A session of queries.
#[pyclass(frozen, module = "deltalakedb._internal")]
pub(crate) struct RawQuery(SessionContext);

#[pymethods]
impl RawQuery {
    #[new]
    #[pyo3(signature = (session_config=None))]
    fn new(session_config: Option<HashMap<String, String>>) -> PyResult<Self> {
        query_session(session_config.iter().flatten()).map(Self).map_err(raise)
    }

    fn register(&self, py: Python<'_>, name: &str, table: &RawTable) -> PyResult<()> {
        let (of, version) = table.table_and_version();
        let provider = wait(py, async move { DeltaTableProvider::open(&of, At::Version(version)).await })?;
        let registered = self.0.register_table(name, Arc::new(provider));
        registered.map(|_| ()).map_err(|e| raise(query_error(e, &format!("{name} cannot be registered"))))
    }

    fn execute<'py>(&self, py: Python<'py>, sql: &str) -> PyResult<Bound<'py, PyAny>> {
        let rows = wait(py, async {
            let failed = |e| query_error(e, "the query cannot be run");
            let rows = query(&self.0, sql).await.map_err(failed)?;
            rows.execute_stream().await.map_err(failed)
        })?;
        outgoing(py, rows)
    }
}
