//! The compiled part of the Python package `deltalakedb`, described by `_internal.pyi`.

mod arguments;
mod catalog;
mod connection;
mod create;
mod errors;
mod handle;
mod history;
mod hold;
mod logging;
mod options;
mod parameters;
mod pruning;
mod query;
mod rows;
mod runtime;
mod schema;
mod store;
mod table;
mod transaction;
mod warnings;

use pyo3::prelude::*;

/// The version of the underlying table library.
#[pyfunction]
fn rust_core_version() -> &'static str {
    "1.1.3"
}

/// Writes log messages of the library to standard error; `RUST_LOG` sets the level. There is no exporter to an
/// endpoint.
#[pyfunction]
#[pyo3(signature = (endpoint=None))]
fn init_tracing(endpoint: Option<&str>) -> PyResult<()> {
    logging::write_to_stderr();
    if let Some(endpoint) = endpoint {
        tracing::warn!(endpoint, "reports go to standard error only");
    }
    Ok(())
}

/// Syncs and records what this process has published.
#[pyfunction]
fn settle(py: Python<'_>) -> PyResult<()> {
    if !runtime::is_used() {
        return Ok(());
    }
    runtime::wait(py, async {
        connection::settle_all().await;
        Ok(())
    })
}

#[pymodule]
fn _internal(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add_function(wrap_pyfunction!(rust_core_version, m)?)?;
    m.add_function(wrap_pyfunction!(init_tracing, m)?)?;
    logging::register(m)?;
    m.add_function(wrap_pyfunction!(settle, m)?)?;
    schema::register(m)?;
    table::register(m)?;
    create::register(m)?;
    m.add_class::<hold::RawHold>()?;
    m.add_class::<query::RawQuery>()?;
    m.add_class::<store::RawStore>()?;
    m.add_class::<catalog::RawCatalog>()?;
    m.add_class::<transaction::RawTransaction>()
}
