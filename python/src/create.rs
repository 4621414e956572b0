//! Creates tables.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use deltalakedb_catalog::CatalogUri;
use deltalakedb_log::action::{Action, Add};
use deltalakedb_log::commit::{Committed, NewTable};
use deltalakedb_log::{ErrorKind, Location, Result, TxnLogError};
use deltalakedb_table::{Operation, SaveMode, TableSpec, WriteOptions};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3_arrow::PyRecordBatchReader;

use crate::arguments::{actions_of, mode_of};
use crate::connection::{Access, CatalogConnection};
use crate::errors::DeltaError;
use crate::handle::{TableHandle, exists};
use crate::options::{CommitProperties, Hooks, Parquet, with, written_file_size};
use crate::rows::incoming;
use crate::runtime::{wait, wait_here};
use crate::schema;
use crate::table::RawTable;

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(create_table, m)?)?;
    m.add_function(wrap_pyfunction!(create_table_of_rows, m)?)?;
    m.add_function(wrap_pyfunction!(convert_table, m)?)
}

/// Creates a table.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
fn create_table(
    py: Python<'_>,
    uri: &str,
    schema: &str,
    mode: &str,
    partition_by: Vec<String>,
    name: Option<String>,
    description: Option<String>,
    configuration: Option<HashMap<String, Option<String>>>,
    raise_if_key_not_exists: bool,
    actions: Vec<String>,
    storage_options: Option<HashMap<String, String>>,
    commit: Option<CommitProperties>,
    hooks: Option<Hooks>,
) -> PyResult<()> {
    let mode = mode_of(mode)?;
    if schema::is_empty(schema) {
        return Err(DeltaError::new_err("At least one column must be defined to create a table"));
    }
    let columns = schema::parse(schema)?;
    let mut spec = spec_of(partition_by, name, description, configuration);
    spec.unknown_properties = !raise_if_key_not_exists;
    spec.files = adds_of(&actions)?;
    let there = existing(py, uri, storage_options.as_ref())?;
    match (there, mode) {
        (Some(_), SaveMode::ErrorIfExists) => Err(exists(uri)),
        (Some(_), SaveMode::Ignore) => Ok(()),
        (Some(_), SaveMode::Append) => {
            Err(DeltaError::new_err(format!("mode append is not allowed for a table that exists: {uri}")))
        }
        (Some(table), SaveMode::Overwrite) => {
            table.run(py, Operation::ReplaceTable(spec, columns), None, commit, hooks, |_| ()).map(|_| ())
        }
        (None, _) => make(
            py,
            uri,
            storage_options.as_ref(),
            CreateOptions { commit, hooks, ..CreateOptions::default() },
            async |connection, new, options| spec.create(connection.catalog.as_ref(), new, &columns, options).await,
        ),
    }
}

/// Creates a table from rows.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
fn create_table_of_rows(
    py: Python<'_>,
    uri: &str,
    data: PyRecordBatchReader,
    mode: &str,
    partition_by: Vec<String>,
    target_file_size: Option<u64>,
    name: Option<String>,
    description: Option<String>,
    configuration: Option<HashMap<String, Option<String>>>,
    storage_options: Option<HashMap<String, String>>,
    writer: Option<Parquet>,
    commit: Option<CommitProperties>,
    hooks: Option<Hooks>,
) -> PyResult<()> {
    let target_file_size = written_file_size(target_file_size)?;
    let (rows, mut spec) = (incoming(data)?, spec_of(partition_by, name, description, configuration));
    spec.mode = mode_of(mode)?;
    make(
        py,
        uri,
        storage_options.as_ref(),
        CreateOptions { writer, commit, hooks, target_file_size },
        async |connection, new, options| {
            let pending = spec.prepare(connection.catalog.as_ref(), new, rows, options).await?;
            let committed = deltalakedb_table::commit(connection.catalog.as_ref(), vec![pending], options).await?;
            let made = committed.into_iter().next();
            made.ok_or_else(|| {
                TxnLogError::new(ErrorKind::Internal, "the catalog committed the table and returned no table")
            })
        },
    )
}

/// Creates a table from existing Parquet files.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
fn convert_table(
    py: Python<'_>,
    uri: &str,
    partition_schema: Option<&str>,
    partition_strategy: Option<&str>,
    name: Option<String>,
    description: Option<String>,
    configuration: Option<HashMap<String, Option<String>>>,
    storage_options: Option<HashMap<String, String>>,
    collect_stats: bool,
    commit: Option<CommitProperties>,
    hooks: Option<Hooks>,
) -> PyResult<()> {
    let _ = collect_stats;
    if existing(py, uri, storage_options.as_ref())?.is_some() {
        return Err(DeltaError::new_err(format!("{uri} is already a delta table")));
    }
    let columns = partition_schema.map(schema::parse).transpose()?;
    let spec = spec_of(Vec::new(), name, description, configuration);
    let named = partition_strategy != Some("directory");
    make(
        py,
        uri,
        storage_options.as_ref(),
        CreateOptions { commit, hooks, ..CreateOptions::default() },
        async |connection, new, options| {
            spec.convert(connection.catalog.as_ref(), new, columns.as_ref(), named, options).await
        },
    )
}

/// Options of a table that is created.
#[derive(Default)]
struct CreateOptions {
    writer: Option<Parquet>,
    commit: Option<CommitProperties>,
    hooks: Option<Hooks>,
    target_file_size: Option<NonZeroU64>,
}

/// Creates a table in the catalog of the URI or of the configuration, and publishes it.
fn make(
    py: Python<'_>,
    uri: &str,
    storage: Option<&HashMap<String, String>>,
    options: CreateOptions,
    made: impl AsyncFnOnce(&CatalogConnection, NewTable, &WriteOptions) -> Result<Committed> + Send,
) -> PyResult<()> {
    let (connection, new) = wait(py, async { new_table(uri, storage).await })?;
    let CreateOptions { writer, commit, hooks, target_file_size } = options;
    let mut options = with(py, connection.options(), writer, commit)?;
    options.target_file_size = target_file_size;
    wait_here(py, async move || {
        let made = made(&connection, new, &options).await?;
        connection.publish(made.table, hooks.is_none_or(|hooks| hooks.create_checkpoint)).await;
        Ok(())
    })
}

/// The location of a new table. A text that is not a catalog URI is a location, as with `deltalake`.
async fn new_table(uri: &str, storage: Option<&HashMap<String, String>>) -> Result<(Arc<CatalogConnection>, NewTable)> {
    if CatalogUri::is_catalog_uri(uri) {
        let (connection, name) = CatalogConnection::of_table(uri, Access::Write).await?;
        let location = connection.resolve_location(&name, None)?;
        connection.use_storage_options(&location, storage);
        return Ok((connection, NewTable::new(name, location)));
    }
    let connection = CatalogConnection::required().await?;
    let location = Location::parse(uri)?;
    connection.use_storage_options(&location, storage);
    let name = connection.free_name(&location).await?;
    Ok((connection, NewTable::new(name, location)))
}

fn existing(py: Python<'_>, uri: &str, storage: Option<&HashMap<String, String>>) -> PyResult<Option<RawTable>> {
    wait(py, async {
        match TableHandle::open(uri, None, storage).await {
            Ok(handle) => Ok(Some(RawTable::of(handle))),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    })
}

fn spec_of(
    partition_by: Vec<String>,
    name: Option<String>,
    description: Option<String>,
    configuration: Option<HashMap<String, Option<String>>>,
) -> TableSpec {
    let set = configuration.unwrap_or_default().into_iter().filter_map(|(key, value)| Some((key, value?)));
    TableSpec { partition_by, properties: set.collect(), name, description, ..TableSpec::default() }
}

fn adds_of(lines: &[String]) -> PyResult<Vec<Add>> {
    let adds = actions_of(lines)?.into_iter().map(|action| match action {
        Action::Add(add) => Ok(Arc::unwrap_or_clone(add)),
        _ => Err(PyTypeError::new_err("a new table has no files to remove")),
    });
    adds.collect()
}
