//! Operations on several tables that are committed together or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatchIterator;
use deltalakedb_catalog::CatalogUri;
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{Location, Result, TableName, TableRef, TxnLogError, TxnLogTransactionError, require};
use deltalakedb_table::{CastMode, CommitFiles, Operation, SaveMode, Scan, Transaction, WriteRows};
use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3_arrow::PyRecordBatchReader;
use serde_json::Value;

use crate::arguments::{Clause, actions_of, merge_of, mode_of, schema_mode_of};
use crate::connection::{CatalogConnection, names_no_table, parse_catalog_uri};
use crate::errors::{raise, raise_of_transaction};
use crate::rows::incoming;
use crate::runtime::wait_for;
use crate::table::RawTable;
use crate::warnings::{Warning, warn};

/// An open transaction.
#[pyclass(frozen, module = "deltalakedb._internal")]
pub(crate) struct RawTransaction {
    connection: Arc<CatalogConnection>,
    open: Mutex<Option<Arc<Transaction>>>,
    /// The tables it created, by location.
    made: Mutex<BTreeMap<Location, TableName>>,
}

impl RawTransaction {
    pub(crate) fn new(connection: Arc<CatalogConnection>, transaction: Transaction) -> Self {
        Self { connection, open: Mutex::new(Some(Arc::new(transaction))), made: Mutex::default() }
    }

    fn get(&self) -> PyResult<Arc<Transaction>> {
        let open = self.open.lock();
        open.clone().ok_or_else(|| raise_of_transaction(TxnLogTransactionError::Closed))
    }

    fn take(&self) -> PyResult<Transaction> {
        let mut open = self.open.lock();
        let transaction = open.take().ok_or_else(|| raise_of_transaction(TxnLogTransactionError::Closed))?;
        Arc::try_unwrap(transaction).map_err(|still| {
            *open = Some(still);
            raise(TxnLogError::invalid("the transaction is in use by another thread: wait for it"))
        })
    }

    /// The name of the table. A text without a slash is a name here.
    async fn name_of(&self, table: &TableArgument) -> Result<TableTarget> {
        let text = match table {
            TableArgument::Open(table) => return self.name_of_open(table.get()).await,
            TableArgument::Text(text) => text,
        };
        if CatalogUri::is_catalog_uri(text) {
            let parsed = parse_catalog_uri(text)?;
            if !self.connection.is_at(&parsed.backend) {
                return Err(self.other_catalog(text));
            }
            return parsed.table.map(TableTarget::Name).ok_or_else(|| names_no_table(text));
        }
        if !text.contains(['/', '\\']) {
            return Ok(TableTarget::Name(text.parse()?));
        }
        self.name_at(Location::parse(text)?).await
    }

    async fn name_of_open(&self, table: &RawTable) -> Result<TableTarget> {
        match table.registration() {
            (Some((connection, id)), _) if self.connection.is_at(&connection.uri.backend) => {
                Ok(TableTarget::Name(require(self.connection.catalog.as_ref(), &TableRef::Id(id)).await?.name))
            }
            (Some((connection, _)), location) => {
                Err(self.other_catalog(&format!("the table at {location}, of {},", connection.uri)))
            }
            (None, location) => self.name_at(location).await,
        }
    }

    async fn name_at(&self, location: Location) -> Result<TableTarget> {
        let made = self.made.lock().get(&location).cloned();
        if let Some(name) = made {
            return Ok(TableTarget::Name(name));
        }
        match self.connection.find_at(&location).await? {
            Some(entry) => Ok(TableTarget::Name(entry.name)),
            None => Ok(TableTarget::NewLocation(location)),
        }
    }

    fn other_catalog(&self, table: &str) -> TxnLogError {
        TxnLogError::invalid(format!(
            "{table} is in another catalog than the transaction, which is in {}: begin one there",
            self.connection.uri
        ))
    }

    async fn existing_name(&self, table: &TableArgument) -> Result<String> {
        match self.name_of(table).await? {
            TableTarget::Name(name) => Ok(name.to_string()),
            TableTarget::NewLocation(location) => {
                Err(TxnLogError::not_found(format!("the catalog has no table at {location}: write it first")))
            }
        }
    }

    fn run(&self, py: Python<'_>, table: &TableArgument, operation: Operation) -> PyResult<String> {
        let transaction = self.get()?;
        let metrics = wait_for(py, async move {
            let name = self.existing_name(table).await.map_err(raise)?;
            transaction.run(&name, operation).await.map_err(raise_of_transaction)
        })?;
        Ok(metrics.to_string())
    }

    /// Whether the table exists, or was created in this transaction.
    async fn has_table(&self, transaction: &Transaction, name: &TableName) -> Result<bool> {
        let made = self.made.lock().values().any(|made| made == name);
        Ok(made || transaction.catalog().find(&TableRef::Name(name.clone())).await?.is_some())
    }
}

/// A table argument: an open table, or a text that names one.
#[derive(FromPyObject)]
pub(crate) enum TableArgument {
    Open(Py<RawTable>),
    Text(String),
}

enum TableTarget {
    Name(TableName),
    /// A location without a table.
    NewLocation(Location),
}

#[pymethods]
#[allow(clippy::too_many_arguments)]
impl RawTransaction {
    #[pyo3(signature = (table, data, mode, schema_mode=None, predicate=None, partition_by=None, location=None))]
    fn write(
        &self,
        py: Python<'_>,
        table: TableArgument,
        data: PyRecordBatchReader,
        mode: &str,
        schema_mode: Option<&str>,
        predicate: Option<String>,
        partition_by: Option<Vec<String>>,
        location: Option<&str>,
    ) -> PyResult<String> {
        let transaction = self.get()?;
        let (mode, schema_mode, rows) = (mode_of(mode)?, schema_mode_of(schema_mode)?, incoming(data)?);
        let metrics: Value = wait_for(py, async move {
            let (name, place) = match self.name_of(&table).await.map_err(raise)? {
                TableTarget::Name(name) => (name, location.map(Location::parse).transpose().map_err(raise)?),
                TableTarget::NewLocation(place) => {
                    (self.connection.free_name(&place).await.map_err(raise)?, Some(place))
                }
            };
            if self.has_table(&transaction, &name).await.map_err(raise)? {
                let partition_by = partition_by.filter(|by| !by.is_empty());
                let write = WriteRows {
                    replace_where: predicate,
                    schema_mode,
                    partition_by,
                    casts: CastMode::Any,
                    ..WriteRows::new(rows, mode)
                };
                return transaction.run(&name.to_string(), Operation::Write(write)).await.map_err(raise_of_transaction);
            }
            let location = match place {
                Some(place) => place,
                None => self.connection.resolve_location(&name, None).map_err(raise)?,
            };
            let new = NewTable::new(name.clone(), location.clone());
            let by = partition_by.unwrap_or_default();
            let created = transaction.create_with_data(new, rows, &by, &Default::default()).await;
            let metrics = created.map_err(raise_of_transaction)?;
            self.made.lock().insert(location, name);
            Ok(metrics)
        })?;
        Ok(metrics.to_string())
    }

    fn schema(&self, py: Python<'_>, table: TableArgument) -> PyResult<String> {
        let transaction = self.get()?;
        wait_for(py, async move {
            let name = self.existing_name(&table).await.map_err(raise)?;
            let snapshot = transaction.snapshot(&name).await.map_err(raise_of_transaction)?;
            Ok(snapshot.head.metadata.schema_string)
        })
    }

    #[pyo3(signature = (table, predicate=None))]
    fn delete(&self, py: Python<'_>, table: TableArgument, predicate: Option<String>) -> PyResult<String> {
        self.run(py, &table, Operation::Delete { filter: predicate })
    }

    #[pyo3(signature = (table, updates, predicate=None))]
    fn update(
        &self,
        py: Python<'_>,
        table: TableArgument,
        updates: BTreeMap<String, String>,
        predicate: Option<String>,
    ) -> PyResult<String> {
        let set = updates.into_iter().collect();
        self.run(py, &table, Operation::Update { set, filter: predicate, safe_cast: false })
    }

    fn merge(
        &self,
        py: Python<'_>,
        table: TableArgument,
        source: PyRecordBatchReader,
        predicate: String,
        source_alias: Option<String>,
        target_alias: Option<String>,
        merge_schema: bool,
        clauses: Vec<Clause>,
    ) -> PyResult<String> {
        let merge = merge_of(predicate, source_alias, target_alias, merge_schema, clauses)?;
        self.run(py, &table, Operation::Merge(merge, incoming(source)?))
    }

    fn stage_actions(&self, py: Python<'_>, table: TableArgument, actions: Vec<String>, mode: &str) -> PyResult<()> {
        let stage = CommitFiles { actions: actions_of(&actions)?, overwrite: mode_of(mode)? == SaveMode::Overwrite };
        self.run(py, &table, Operation::CommitFiles(stage)).map(|_| ())
    }

    #[pyo3(signature = (table, columns=None, predicate=None))]
    fn scan<'py>(
        &self,
        py: Python<'py>,
        table: TableArgument,
        columns: Option<Vec<String>>,
        predicate: Option<String>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let transaction = self.get()?;
        let (schema, batches) = wait_for(py, async move {
            let name = self.existing_name(&table).await.map_err(raise)?;
            let what = Scan { columns, filter_sql: predicate, ..Scan::default() };
            transaction.read_with_schema(&name, &what).await.map_err(raise_of_transaction)
        })?;
        let reader = RecordBatchIterator::new(batches.into_iter().map(Ok), schema);
        PyRecordBatchReader::new(Box::new(reader)).into_arro3(py)
    }

    fn commit(&self, py: Python<'_>) -> PyResult<BTreeMap<String, u64>> {
        let (transaction, connection) = (self.take()?, self.connection.clone());
        wait_for(py, async move {
            let committed = transaction.commit().await.map_err(raise_of_transaction)?;
            let mut versions = BTreeMap::new();
            for one in committed {
                connection.publish(one.table, true).await;
                let name = match require(connection.catalog.as_ref(), &TableRef::Id(one.table)).await {
                    Ok(entry) => entry.name.to_string(),
                    Err(e) => {
                        let id = one.table.0.to_string();
                        warn(
                            Warning::Commit,
                            format!("the commit succeeded, but the name of the table {id} is not known: {e}"),
                        );
                        id
                    }
                };
                versions.insert(name, one.version);
            }
            Ok(versions)
        })
    }

    fn rollback(&self, py: Python<'_>) -> PyResult<()> {
        let transaction = self.take()?;
        wait_for(py, async move {
            transaction.rollback().await;
            Ok(())
        })
    }
}
