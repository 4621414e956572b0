//! A catalog with all its tables, and operations on several of them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use deltalakedb_catalog::{Backend, CatalogUri, catalog_in_environment};
use deltalakedb_engine::DataDirectory;
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::listing::tables;
use deltalakedb_log::lookup::find_dropped;
use deltalakedb_log::{
    Location, MirrorState, Result, Retention, TableEntry, TableName, TableRef, TxnLogError, Version, require,
};
use deltalakedb_mirror::{ExpireOptions, ExpiredHistory, ExpiryStep, VerifyOptions};
use deltalakedb_table::{
    DeltaRs, DeltaTable, DropOptions, SqlResult, TableSpec, Transaction, TransactionOptions, detach_table,
    drop_inactive, drop_table,
};
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde_json::json;

use crate::connection::{self, CatalogConnection, no_catalog_configured};
use crate::errors::{CatalogError, raise_of_transaction};
use crate::handle::TableHandle;
use crate::history::history;
use crate::parameters::{Values, parameters};
use crate::rows::outgoing;
use crate::runtime::{wait, wait_for};
use crate::schema;
use crate::table::RawTable;
use crate::transaction::RawTransaction;
use crate::warnings::{Warning, warn};

/// A connection to a catalog.
#[pyclass(frozen, module = "deltalakedb._internal")]
pub(crate) struct RawCatalog {
    uri: String,
    /// `None` once closed.
    connection: Mutex<Option<Arc<CatalogConnection>>>,
}

impl RawCatalog {
    fn of(connection: Arc<CatalogConnection>) -> Self {
        Self { uri: connection.uri.to_string(), connection: Mutex::new(Some(connection.add_handle())) }
    }

    fn connection(&self) -> PyResult<Arc<CatalogConnection>> {
        let connection = self.connection.lock();
        let closed = || CatalogError::new_err(format!("the catalog {} is closed: connect again", self.uri));
        connection.clone().ok_or_else(closed)
    }

    /// Takes the connection, if this is its last handle.
    fn take(&self) -> Option<Arc<CatalogConnection>> {
        let mut connection = self.connection.lock();
        connection.take().filter(|connection| connection.release_handle())
    }
}

impl Drop for RawCatalog {
    fn drop(&mut self) {
        self.take();
    }
}

#[pymethods]
impl RawCatalog {
    #[new]
    #[pyo3(signature = (uri=None, create=None, settings=None, data=None))]
    fn new(
        py: Python<'_>,
        uri: Option<&str>,
        create: Option<bool>,
        settings: Option<BTreeMap<String, String>>,
        data: Option<PathBuf>,
    ) -> PyResult<Self> {
        let settings = settings.unwrap_or_default();
        let connected = async {
            let configured = if uri.is_none() { catalog_in_environment()? } else { None };
            let data = data.as_deref().map(DataDirectory::create).transpose()?;
            let own = data.as_ref().map(|data| Backend::Sqlite(data.own_catalog()));
            let own = own.map(|backend| CatalogUri { backend, table: None }.to_string());
            let uri = uri.or(configured.as_deref()).or(own.as_deref()).ok_or_else(no_catalog_configured)?;
            if let Some(table) = CatalogUri::parse(uri)?.table {
                return Err(TxnLogError::invalid(format!(
                    "the catalog URI contains the table {table}: remove it from the URI"
                )));
            }
            let folder = data.as_ref().map(DataDirectory::path);
            let connection = CatalogConnection::connect(uri, create, &settings, folder).await?;
            if let Some(data) = data {
                data.keep();
            }
            Ok(connection)
        };
        wait_for(py, async { connected.await.map(Self::of).map_err(|e| CatalogError::new_err(e.to_string())) })
    }

    fn uri(&self) -> String {
        self.uri.clone()
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.take() {
            Some(connection) => wait(py, async move {
                connection.close().await;
                Ok(())
            }),
            None => Ok(()),
        }
    }

    fn tables(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let connection = self.connection()?;
        let tables = tables(connection.catalog.clone(), None).map_ok(|table| described(&table));
        wait(py, tables.try_collect())
    }

    #[pyo3(signature = (table, schema, location=None, partition_by=Vec::new(), configuration=None))]
    fn create(
        &self,
        py: Python<'_>,
        table: &str,
        schema: &str,
        location: Option<&str>,
        partition_by: Vec<String>,
        configuration: Option<HashMap<String, Option<String>>>,
    ) -> PyResult<()> {
        let (connection, columns) = (self.connection()?, schema::parse(schema)?);
        let set = configuration.unwrap_or_default().into_iter().filter_map(|(key, value)| Some((key, value?)));
        let spec = TableSpec { partition_by, properties: set.collect(), ..TableSpec::default() };
        wait(py, async move {
            let name: TableName = table.parse()?;
            let location = connection.resolve_location(&name, location)?;
            let new = NewTable::new(name, location);
            let made = spec.create(connection.catalog.as_ref(), new, &columns, &connection.options()).await?;
            connection.publish(made.table, true).await;
            Ok(())
        })
    }

    #[pyo3(signature = (location, name=None))]
    fn import_table(&self, py: Python<'_>, location: &str, name: Option<&str>) -> PyResult<String> {
        let connection = self.connection()?;
        wait(py, async move {
            let name: Option<TableName> = name.map(str::parse).transpose()?;
            Ok(connection.import(&Location::parse(location)?, name.as_ref()).await?.name.to_string())
        })
    }

    fn exists(&self, py: Python<'_>, table: &str) -> PyResult<bool> {
        let connection = self.connection()?;
        wait(py, async move {
            let table = match table.parse::<TableName>() {
                Ok(name) => TableRef::Name(name),
                Err(_) => TableRef::Location(Location::parse(table)?),
            };
            Ok(connection.catalog.find(&table).await?.is_some())
        })
    }

    fn rename(&self, py: Python<'_>, table: &str, name: &str) -> PyResult<()> {
        let connection = self.connection()?;
        wait(py, async move {
            let (entry, committer) = (entry(&connection, table).await?, connection.options().committer());
            connection.catalog.rename_table(entry.id, &name.parse()?, &committer).await.map(drop)
        })
    }

    #[pyo3(signature = (table, delete_files=false, force=false))]
    fn drop(&self, py: Python<'_>, table: &str, delete_files: bool, force: bool) -> PyResult<()> {
        let (connection, drop_options) = (self.connection()?, DropOptions { delete_files, force });
        wait(py, async move {
            let options = connection.options();
            if let Ok(name) = table.parse::<TableName>()
                && connection.catalog.find(&TableRef::Name(name.clone())).await?.is_none()
            {
                return drop_inactive(connection.mirror(), &name, drop_options, &options).await.map(drop);
            }
            let entry = entry(&connection, table).await?;
            drop_table(connection.mirror(), entry.id, drop_options, &options).await.map(drop)
        })
    }

    fn detach(&self, py: Python<'_>, table: &str) -> PyResult<()> {
        let connection = self.connection()?;
        wait(py, async move {
            let entry = entry(&connection, table).await?;
            detach_table(connection.mirror(), entry.id, &connection.options()).await.map(drop)
        })
    }

    #[pyo3(signature = (table, new_name=None))]
    fn undrop(&self, py: Python<'_>, table: &str, new_name: Option<&str>) -> PyResult<String> {
        let connection = self.connection()?;
        wait(py, async move {
            let new_name: Option<TableName> = new_name.map(str::parse).transpose()?;
            let dropped = find_dropped(connection.catalog.as_ref(), &table.parse()?).await?;
            let committer = connection.options().committer();
            let undropped = connection.mirror().undrop_table(&dropped, new_name.as_ref(), &committer).await?;
            if let Some(warning) = undropped.warning {
                warn(Warning::Mirror, warning);
            }
            Ok(undropped.table.name.to_string())
        })
    }

    #[pyo3(signature = (table, limit=None))]
    fn history(&self, py: Python<'_>, table: &str, limit: Option<u64>) -> PyResult<Vec<String>> {
        let connection = self.connection()?;
        wait(py, async move {
            let entry = entry(&connection, table).await?;
            let newest = entry.current_version;
            let of = DeltaTable::of_entry(connection.catalog.clone(), entry).with_stores(connection.stores());
            history(&of, newest, limit).await
        })
    }

    fn mirror_status(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let connection = self.connection()?;
        wait(py, async move {
            let described = connection.mirror().status().map_ok(|status| {
                let failures: Vec<_> = status.failures.iter().map(|f| f.error.clone()).collect();
                json!({
                    "table": status.table.name.to_string(),
                    "version": status.table.current_version,
                    "published_version": status.table.published_version,
                    "behind": status.behind,
                    "lag_ms": status.lag_ms,
                    "mirror": mirror(&status.table),
                    "failures": failures,
                })
                .to_string()
            });
            described.try_collect().await
        })
    }

    #[pyo3(signature = (table=None))]
    fn publish(&self, py: Python<'_>, table: Option<&str>) -> PyResult<()> {
        let connection = self.connection()?;
        wait(py, async move {
            let tables = match table {
                Some(name) => {
                    let entry = entry(&connection, name).await?;
                    let published = connection.mirror().publish(entry.id).await;
                    vec![(entry, published)]
                }
                None => {
                    let parallel = connection.settings.reconcile.parallel;
                    connection.mirror().run_side_by_side(parallel).try_collect().await?
                }
            };
            let mut failed = Vec::new();
            let settled = connection.mirror().settle().await;
            for (table, published) in tables {
                match published {
                    Ok(published) => connection::show_mirror_warnings(published),
                    Err(e) => failed.push((table, e)),
                }
            }
            let Some((_, first)) = failed.pop() else { return settled };
            let others: Vec<_> = failed.iter().map(|(table, e)| format!("{}: {e}", table.name)).collect();
            if others.is_empty() {
                return Err(first);
            }
            Err(TxnLogError::new(first.kind(), format!("{first}; other tables failed, too: {}", others.join("; "))))
        })
    }

    #[pyo3(signature = (table, keep_ms, keep_versions, dry_run))]
    fn expire(
        &self,
        py: Python<'_>,
        table: Option<&str>,
        keep_ms: Option<u64>,
        keep_versions: Option<u64>,
        dry_run: bool,
    ) -> PyResult<Vec<String>> {
        let connection = self.connection()?;
        wait(py, async move {
            let mirror = connection.settled_mirror().await?;
            let options = ExpireOptions {
                keep: Retention { time: keep_ms.map(Duration::from_millis), versions: keep_versions },
                default: connection.settings.retention,
                at_most: None,
                dry_run,
                committer: connection.options().committer(),
            };
            let described = |expired: ExpiredHistory| {
                json!({
                    "table": expired.table.to_string(),
                    "base_version": expired.base_version,
                    "versions": expired.versions,
                    "files": expired.files,
                    "log_files": expired.log_files,
                })
                .to_string()
            };
            if let Some(name) = table {
                let entry = entry(&connection, name).await?;
                return Ok(vec![described(mirror.expire(entry.id, &options).await?)]);
            }
            let (mut ended, mut failed) = (Vec::new(), Vec::new());
            let mut steps = mirror.expire_all(&options);
            while let Some(step) = steps.try_next().await? {
                match step {
                    ExpiryStep::History(_, Ok(expired)) => ended.push(described(expired)),
                    ExpiryStep::History(_, Err(e)) | ExpiryStep::Table(_, Err(e)) => failed.push(e),
                    _ => {}
                }
            }
            failed.into_iter().next().map_or(Ok(ended), Err)
        })
    }

    #[pyo3(signature = (table=None))]
    fn verify(&self, py: Python<'_>, table: Option<&str>) -> PyResult<Vec<String>> {
        let connection = self.connection()?;
        wait(py, async move {
            let mirror = connection.settled_mirror().await?;
            let mut tables = match table {
                Some(name) => stream::iter([Ok(entry(&connection, name).await?)]).boxed(),
                None => tables(connection.catalog.clone(), None),
            };
            let mut all = Vec::new();
            while let Some(table) = tables.try_next().await? {
                let options = VerifyOptions { every_version: false, data: false };
                let found = mirror.verify(&table, &DeltaRs, options, &|_, _| {}).await?;
                all.extend(found.into_iter().map(|finding| format!("{}: {finding}", table.name)));
            }
            Ok(all)
        })
    }

    #[pyo3(signature = (table, version=None))]
    fn open(&self, py: Python<'_>, table: &str, version: Option<Version>) -> PyResult<RawTable> {
        let connection = self.connection()?;
        let handle = wait(py, async move {
            let entry = entry(&connection, table).await?;
            TableHandle::of_entry(connection, entry, version).await
        })?;
        Ok(RawTable::of(handle))
    }

    #[pyo3(signature = (sql, params=None))]
    fn query<'py>(&self, py: Python<'py>, sql: &str, params: Option<Values>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let connection = self.connection()?;
        let rows = wait(py, async move {
            let mut session = connection.session()?;
            let mut rows = None;
            {
                let mut script = session.execute_with(sql, parameters(params)?)?;
                loop {
                    let next = script.next().await;
                    if next.is_err() {
                        connection.publish_rest().await;
                    }
                    let Some(result) = next? else { break };
                    match result {
                        SqlResult::Rows(stream) => rows = Some(stream),
                        SqlResult::CommandComplete(result) => {
                            for committed in result.committed {
                                connection.publish(committed.table, true).await;
                            }
                        }
                    }
                }
            }
            if session.close().await? {
                Err(TxnLogError::invalid("the statements begin a transaction and do not end it: add COMMIT"))
            } else {
                Ok(rows)
            }
        })?;
        rows.map(|rows| outgoing(py, rows)).transpose()
    }

    #[pyo3(signature = (max_tables=None, timeout_secs=None, serializable=false))]
    fn begin(
        &self,
        py: Python<'_>,
        max_tables: Option<usize>,
        timeout_secs: Option<f64>,
        serializable: bool,
    ) -> PyResult<RawTransaction> {
        let connection = self.connection()?;
        let write = connection.options();
        let mut options = TransactionOptions { write, serializable, ..TransactionOptions::default() };
        if let Some(max) = max_tables {
            options.max_tables = max;
        }
        if let Some(seconds) = timeout_secs {
            options.timeout = Duration::try_from_secs_f64(seconds).map_err(|_| {
                PyValueError::new_err(format!("timeout_secs must be a number, 0 or above, not {seconds}"))
            })?;
        }
        let catalog = connection.catalog.clone();
        let begun = wait_for(py, async move {
            Transaction::begin(catalog, options).await.map_err(|e| raise_of_transaction(e.into()))
        })?;
        Ok(RawTransaction::new(connection, begun))
    }
}

/// The table of that name, or else at that location.
pub(crate) async fn entry(connection: &CatalogConnection, table: &str) -> Result<TableEntry> {
    if let Ok(name) = table.parse::<TableName>() {
        return require(connection.catalog.as_ref(), &TableRef::Name(name)).await;
    }
    require(connection.catalog.as_ref(), &TableRef::Location(Location::parse(table)?)).await
}

fn described(entry: &TableEntry) -> String {
    json!({
        "name": entry.name.to_string(),
        "location": entry.location.to_string(),
        "version": entry.current_version,
        "timestamp": entry.current_timestamp,
        "published_version": entry.published_version,
        "mirror": mirror(entry),
    })
    .to_string()
}

fn mirror(entry: &TableEntry) -> String {
    match &entry.mirror {
        MirrorState::Following => "following".into(),
        MirrorState::Diverged { version, what } => format!("diverged at version {version}: {what}"),
    }
}
