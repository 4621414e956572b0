//! Tables that are made.

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
use crate::errors::{DeltaError, raise};
use crate::handle::{Held, exists};
use crate::lake::{Access, Lake};
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

/// Makes a table.
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
            table.run(py, Operation::Recreate(spec, columns), None, commit, hooks, |_| ()).map(|_| ())
        }
        (None, _) => make(
            py,
            uri,
            storage_options.as_ref(),
            How { commit, hooks, ..How::default() },
            async |lake, new, options| spec.create(lake.catalog.as_ref(), new, &columns, options).await,
        ),
    }
}

/// Makes a table of rows.
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
        How { writer, commit, hooks, target_file_size },
        async |lake, new, options| {
            let pending = spec.prepare(lake.catalog.as_ref(), new, rows, options).await?;
            let committed = deltalakedb_table::commit(lake.catalog.as_ref(), vec![pending], options).await?;
            let made = committed.into_iter().next();
            made.ok_or_else(|| TxnLogError::new(ErrorKind::Internal, "the catalog committed the table and named none"))
        },
    )
}

/// Makes a table of Parquet files that are there.
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
    make(py, uri, storage_options.as_ref(), How { commit, hooks, ..How::default() }, async |lake, new, options| {
        spec.convert(lake.catalog.as_ref(), new, columns.as_ref(), named, options).await
    })
}

/// How a table is made.
#[derive(Default)]
struct How {
    writer: Option<Parquet>,
    commit: Option<CommitProperties>,
    hooks: Option<Hooks>,
    target_file_size: Option<NonZeroU64>,
}

/// Makes a table in the catalog that the URI or the configuration names, and publishes it.
fn make(
    py: Python<'_>,
    uri: &str,
    storage: Option<&HashMap<String, String>>,
    how: How,
    made: impl AsyncFnOnce(&Lake, NewTable, &WriteOptions) -> Result<Committed> + Send,
) -> PyResult<()> {
    let (lake, new) = wait(py, async { new_table(uri, storage).await })?;
    let How { writer, commit, hooks, target_file_size } = how;
    let mut options = with(py, lake.options().map_err(raise)?, writer, commit)?;
    options.target_file_size = target_file_size;
    wait_here(py, async move || {
        let made = made(&lake, new, &options).await?;
        lake.publish(made.table, hooks.is_none_or(|hooks| hooks.create_checkpoint)).await;
        Ok(())
    })
}

/// Where a new table goes. A text that is no URI of a catalog is a place, as with `deltalake`.
async fn new_table(uri: &str, storage: Option<&HashMap<String, String>>) -> Result<(Arc<Lake>, NewTable)> {
    if CatalogUri::is_one(uri) {
        let (lake, name) = Lake::of_table(uri, Access::Write).await?;
        let location = lake.place_of(&name, None)?;
        lake.use_storage_options(&location, storage);
        return Ok((lake, NewTable::new(name, location)));
    }
    let lake = Lake::required().await?;
    let location = Location::parse(uri)?;
    lake.use_storage_options(&location, storage);
    let name = lake.free_name(&location).await?;
    Ok((lake, NewTable::new(name, location)))
}

fn existing(py: Python<'_>, uri: &str, storage: Option<&HashMap<String, String>>) -> PyResult<Option<RawTable>> {
    wait(py, async {
        match Held::open(uri, None, storage).await {
            Ok(held) => Ok(Some(RawTable::of(held))),
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
