//! A table at one version, and what is done with it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, BooleanBuilder, ListBuilder, RecordBatch, StringArray};
use arrow::datatypes::Schema as ArrowSchema;
use chrono::{DateTime, Utc};
use deltalakedb_catalog::CatalogUri;
use deltalakedb_log::action::{Action, Add, Metadata};
use deltalakedb_log::canonical_path;
use deltalakedb_log::schema::Schema as Columns;
use deltalakedb_log::snapshot::Head;
use deltalakedb_log::stores::{ConfiguredStores, Stores, environment};
use deltalakedb_log::{
    At, Commit, ErrorKind, HistoryRange, Location, Predicate, Result, Subject, TableEntry, TableId, TableName,
    TableRef, TxnLogError, Version, require,
};
use deltalakedb_table::{
    Alter, Casts, Changes, DeltaTable, Finished, Merge, MergeClause, Operation, Optimize, Restore, SaveMode, Scan,
    SchemaMode, Stage, Vacuum, Write, WriteOptions, predicate_from_sql,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3_arrow::PyRecordBatchReader;
use serde_json::{Value, json};

use crate::create::exists;
use crate::errors::{DeltaError, SchemaMismatchError, TableNotFoundError, raise};
use crate::lake::{Access, Lake, published};
use crate::options::{CommitProperties, Hooks, Parquet, file_size, with, written_file_size};
use crate::pruning::{Filter, Pruning, is_in_partition, partition_filter};
use crate::rows::{incoming, outgoing, table as rows_of};
use crate::runtime::{wait, wait_for, wait_here};
use crate::schema;
use crate::store::RawStore;
use crate::warnings::{Warning, warn};

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<RawTable>()
}

/// A table at one version.
#[pyclass(frozen, module = "deltalakedb._internal")]
pub(crate) struct RawTable(Mutex<Held>);

/// Where a table is, and which version of it is looked at.
#[derive(Clone)]
pub(crate) struct Held {
    table: DeltaTable,
    /// Its catalog; `None` while no catalog knows it.
    home: Option<(Arc<Lake>, TableId)>,
    head: Head,
    /// Options of the object store, for the catalog that it comes into.
    storage: Option<HashMap<String, String>>,
}

const RESTORE_TARGET: &str = "a restore needs the version or datetime to go back to";

/// Kind, assignments, condition.
pub(crate) type Clause = (String, Option<BTreeMap<String, String>>, Option<String>);

type MetadataTuple =
    (String, Option<String>, Option<String>, Vec<String>, Option<i64>, BTreeMap<String, Option<String>>);
type ProtocolTuple = (i32, i32, Option<Vec<String>>, Option<Vec<String>>);
type FileTuple = (String, i64, BTreeMap<String, Option<String>>, Option<String>);

/// What a URI, a path or a name leads to.
pub(crate) enum Found {
    /// A table of a catalog.
    Managed(Arc<Lake>, TableEntry),
    /// A place where no catalog has a table, and the object stores it is in.
    Place(Location, Arc<dyn Stores>),
}

/// The object stores of a place that no catalog has, with options of one's own.
pub(crate) fn stores_with(location: &Location, options: Option<&HashMap<String, String>>) -> Arc<dyn Stores> {
    match options.filter(|options| !options.is_empty()) {
        Some(options) => {
            let stores = ConfiguredStores::default();
            stores.configure(location, options.clone());
            Arc::new(stores)
        }
        None => environment(),
    }
}

/// The text as a name with its namespace. One without is a place, as with `deltalake`: `events` in one working directory
/// is another table than in the next.
fn full_name(text: &str) -> Option<TableName> {
    let could_be = text.contains('.') && !text.contains(['/', '\\']);
    text.parse().ok().filter(|_| could_be)
}

impl Found {
    /// A `deltasql://` URI names a table. Any other text is a place; but where nothing is there, `namespace.name` may be
    /// a table of the catalog.
    pub(crate) async fn at(uri: &str, storage: Option<&HashMap<String, String>>) -> Result<Self> {
        if CatalogUri::is_one(uri) {
            let (lake, name) = Lake::of_table(uri, Access::Read).await?;
            let entry = require(lake.catalog.as_ref(), &TableRef::Name(name)).await?;
            lake.use_storage_options(&entry.location, storage);
            return Ok(Self::Managed(lake, entry));
        }
        let lake = Lake::configured(Access::Read).await?;
        if let Some(lake) = &lake
            && let Some(name) = full_name(uri)
            && !std::path::Path::new(uri).exists()
            && let Some(entry) = lake.catalog.find(&TableRef::Name(name)).await?
        {
            return Ok(Self::Managed(lake.clone(), entry));
        }
        let location = Location::parse(uri)?;
        let Some(lake) = lake else {
            let stores = stores_with(&location, storage);
            return Ok(Self::Place(location, stores));
        };
        lake.use_storage_options(&location, storage);
        match lake.find_at(&location).await? {
            Some(entry) => Ok(Self::Managed(lake, entry)),
            None => Ok(Self::Place(location, lake.stores())),
        }
    }
}

impl Held {
    pub(crate) async fn open(
        uri: &str,
        version: Option<Version>,
        storage: Option<&HashMap<String, String>>,
    ) -> Result<Self> {
        match Found::at(uri, storage).await? {
            Found::Managed(lake, entry) => Self::of_entry(lake, entry, version).await,
            Found::Place(location, stores) => {
                let table = DeltaTable::open_plain(location, stores).await?;
                let head = head_at(&table, version).await?;
                Ok(Self { table, home: None, head, storage: storage.cloned() })
            }
        }
    }

    /// A table of a catalog.
    pub(crate) async fn of_entry(lake: Arc<Lake>, entry: TableEntry, version: Option<Version>) -> Result<Self> {
        let id = entry.id;
        let table = DeltaTable::of_entry(lake.catalog.clone(), entry).with_stores(lake.stores());
        let head = head_at(&table, version).await?;
        Ok(Self { table, home: Some((lake, id)), head, storage: None })
    }

    fn at(&self) -> At {
        At::Version(self.head.version)
    }

    /// How it is written to: as the catalog's settings say, seeing the version that is looked at.
    fn options(&self) -> Result<WriteOptions> {
        match &self.home {
            Some((lake, _)) => lake.options(),
            None => Ok(WriteOptions::default()),
        }
    }

    /// A table that no catalog knows comes into the configured one before it is written.
    async fn adopt(&mut self) -> Result<()> {
        if self.home.is_some() {
            return Ok(());
        }
        if let Some(lake) = Lake::configured(Access::Write).await? {
            lake.use_storage_options(self.table.location(), self.storage.as_ref());
            let entry = lake.import(self.table.location(), None).await?;
            *self = Self::of_entry(lake, entry, Some(self.head.version)).await?;
        }
        Ok(())
    }

    /// Runs an operation, publishes it, and looks at the version it became.
    async fn run(&mut self, operation: Operation, options: WriteOptions, hooks: Option<&Hooks>) -> Result<Finished> {
        let finished = self.table.run(operation, &options).await?;
        if finished.committed.is_some() {
            self.committed(hooks).await;
        }
        Ok(finished)
    }

    /// What follows a commit. The commit stands, so whatever fails now is a warning.
    async fn committed(&mut self, hooks: Option<&Hooks>) {
        if let Some((lake, id)) = &self.home {
            lake.publish(*id, hooks.is_none_or(|hooks| hooks.create_checkpoint)).await;
            if hooks.is_some_and(|hooks| hooks.cleanup_expired_logs == Some(true))
                && let Err(e) = lake.mirror().clean_up(*id).await
            {
                warn(Warning::Mirror, format!("the commit stands, and _delta_log was not cleaned up: {e}"));
            }
        }
        match self.table.head().await {
            Ok(head) => self.head = head,
            Err(e) => warn(
                Warning::Commit,
                format!(
                    "the commit stands, and the table could not be read after it, so this object stays at version {}: \
                     {e}",
                    self.head.version
                ),
            ),
        }
    }

    /// The files in which a row may match.
    async fn files(&self, pruning: Option<Pruning>) -> Result<Vec<Add>> {
        let predicate = match pruning {
            None => None,
            Some(pruning) => {
                let schema = self.table.schema(self.at()).await?;
                let sql = pruning.sql(&schema)?;
                Some(predicate_from_sql(&sql, &schema)?).filter(|p| *p != Predicate::Unknown)
            }
        };
        let reader = self.table.reader().await?;
        reader.files_by_age(self.head.version, predicate.as_ref()).await
    }

    /// The newest version at a time; the oldest, before there was any.
    async fn version_at(&self, ms: i64) -> Result<Version> {
        match self.table.reader().await?.snapshot(At::Timestamp(ms)).await {
            Ok(snapshot) => Ok(snapshot.version()),
            Err(e) if e.kind() == ErrorKind::NotFound => match &self.home {
                Some((lake, id)) => Ok(require(lake.catalog.as_ref(), &TableRef::Id(*id)).await?.base_version),
                None => Ok(0),
            },
            Err(e) => Err(e),
        }
    }

    /// The place of a file.
    fn uri_of(&self, path: &str) -> String {
        let root = self.table.location().url();
        if path.contains("://") {
            return path.to_string();
        }
        // The folder as a URL spells it, the rest as it is: so delta-rs writes them.
        let root = if root.scheme() == "file" { root.path() } else { root.as_str() };
        format!("{root}{}", String::from_utf8_lossy(&canonical_path(path)))
    }

    /// Physical names of the partition columns, by which files know their values, and logical ones.
    fn partition_columns(&self) -> Result<Vec<(String, String)>> {
        let Metadata { schema_string, partition_columns, .. } = &self.head.metadata;
        let schema: Value = serde_json::from_str(schema_string)
            .map_err(|e| TxnLogError::corrupt("the table's schema is no JSON").with_source(e))?;
        let physical = |name: &String| {
            let field = schema["fields"].as_array().into_iter().flatten().find(|field| field["name"] == name.as_str());
            let mapped = field.and_then(|field| field["metadata"]["delta.columnMapping.physicalName"].as_str());
            (mapped.unwrap_or(name).to_string(), name.clone())
        };
        Ok(partition_columns.iter().map(physical).collect())
    }

    fn partition_values(&self, add: &Add, columns: &[(String, String)]) -> BTreeMap<String, Option<String>> {
        let value = |physical: &String| add.partition_values.get(physical).cloned().flatten();
        columns.iter().map(|(physical, logical)| (logical.clone(), value(physical))).collect()
    }
}

async fn head_at(table: &DeltaTable, version: Option<Version>) -> Result<Head> {
    let Some(version) = version else { return table.head().await };
    match table.reader().await?.snapshot(At::Version(version)).await {
        Ok(snapshot) => Ok(snapshot.head),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let newest = table.head().await?.version;
            Err(TxnLogError::not_found(format!(
                "Invalid table version: the table is at version {newest} and has no version {version}: {e}"
            ))
            .about(Subject::Version))
        }
        Err(e) => Err(e),
    }
}

impl RawTable {
    pub(crate) fn of(held: Held) -> Self {
        Self(Mutex::new(held))
    }

    fn get(&self) -> Held {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    fn set(&self, held: Held) {
        *self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = held;
    }

    /// Its catalog, if one knows it, and where it is.
    pub(crate) fn home(&self) -> (Option<(Arc<Lake>, TableId)>, Location) {
        let held = self.get();
        (held.home, held.table.location().clone())
    }

    /// The table and the version that is looked at.
    pub(crate) fn held(&self) -> (DeltaTable, Version) {
        let held = self.get();
        (held.table, held.head.version)
    }

    /// Runs an operation against the version that is looked at.
    pub(crate) fn run(
        &self,
        py: Python<'_>,
        operation: Operation,
        writer: Option<Parquet>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
        set: impl FnOnce(&mut WriteOptions),
    ) -> PyResult<Value> {
        let only_looks = matches!(operation, Operation::Repair { dry_run: true });
        let mut held = self.get();
        let mut held = wait(py, async move {
            if !only_looks {
                held.adopt().await?;
            }
            Ok(held)
        })?;
        let mut options = with(py, held.options().map_err(raise)?, writer, commit)?;
        options.read_version = Some(held.head.version);
        set(&mut options);
        wait(py, async move {
            let finished = held.run(operation, options, hooks.as_ref()).await?;
            // Before warnings are shown, which may be errors.
            self.set(held);
            Ok(finished.metrics)
        })
    }

    fn alter(
        &self,
        py: Python<'_>,
        alter: Alter,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.run(py, Operation::Alter(alter), None, commit, hooks, |_| ()).map(|_| ())
    }
}

#[pymethods]
#[allow(clippy::too_many_arguments)]
impl RawTable {
    #[new]
    #[pyo3(signature = (uri, version=None, storage_options=None))]
    fn new(
        py: Python<'_>,
        uri: &str,
        version: Option<Version>,
        storage_options: Option<HashMap<String, String>>,
    ) -> PyResult<Self> {
        let opened = wait_for(py, async {
            // Without the table there is no version to miss.
            let mut held = Held::open(uri, None, storage_options.as_ref()).await.map_err(|e| not_opened(uri, e))?;
            if version.is_some() {
                held.head = head_at(&held.table, version).await.map_err(raise)?;
            }
            Ok(held)
        })?;
        Ok(Self::of(opened))
    }

    #[staticmethod]
    #[pyo3(signature = (uri, storage_options=None))]
    fn exists(py: Python<'_>, uri: &str, storage_options: Option<HashMap<String, String>>) -> PyResult<bool> {
        wait(py, async {
            match Held::open(uri, None, storage_options.as_ref()).await {
                Ok(_) => Ok(true),
                Err(_) if Location::parse(uri).is_err() && !CatalogUri::is_one(uri) => Ok(false),
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
                Err(e) => Err(e),
            }
        })
    }

    fn table_uri(&self) -> PyResult<String> {
        Ok(self.get().table.location().url().to_string())
    }

    fn name(&self) -> PyResult<Option<String>> {
        Ok(self.get().table.name().map(ToString::to_string))
    }

    fn version(&self) -> PyResult<Version> {
        Ok(self.get().head.version)
    }

    fn latest_version(&self, py: Python<'_>) -> PyResult<Version> {
        let held = self.get();
        wait(py, async move { Ok(held.table.head().await?.version) })
    }

    fn load_version(&self, py: Python<'_>, version: Version) -> PyResult<()> {
        let mut held = self.get();
        let held = wait(py, async move {
            held.head = head_at(&held.table, Some(version)).await?;
            Ok(held)
        })?;
        self.set(held);
        Ok(())
    }

    fn load_timestamp(&self, py: Python<'_>, rfc3339: &str) -> PyResult<()> {
        let at = time_of(rfc3339)?.timestamp_millis();
        let mut held = self.get();
        let held = wait(py, async move {
            let version = held.version_at(at).await?;
            held.head = head_at(&held.table, Some(version)).await?;
            Ok(held)
        })?;
        self.set(held);
        Ok(())
    }

    fn refresh(&self, py: Python<'_>) -> PyResult<()> {
        let mut held = self.get();
        let held = wait(py, async move {
            held.head = held.table.head().await?;
            Ok(held)
        })?;
        self.set(held);
        Ok(())
    }

    fn schema(&self) -> PyResult<String> {
        Ok(self.get().head.metadata.schema_string)
    }

    fn metadata(&self) -> PyResult<MetadataTuple> {
        let m = self.get().head.metadata;
        let configuration = m.configuration.into_iter().collect();
        Ok((m.id, m.name, m.description, m.partition_columns, m.created_time, configuration))
    }

    fn protocol(&self) -> PyResult<ProtocolTuple> {
        let p = self.get().head.protocol;
        Ok((p.min_reader_version, p.min_writer_version, p.writer_features, p.reader_features))
    }

    #[pyo3(signature = (pruning=None))]
    fn file_uris(&self, py: Python<'_>, pruning: Option<Pruning>) -> PyResult<Vec<String>> {
        let held = self.get();
        wait(py, async move { Ok(held.files(pruning).await?.iter().map(|add| held.uri_of(&add.path)).collect()) })
    }

    #[pyo3(signature = (pruning=None))]
    fn partitions(&self, py: Python<'_>, pruning: Option<Pruning>) -> PyResult<Vec<BTreeMap<String, Option<String>>>> {
        let held = self.get();
        wait(py, async move {
            let columns = held.partition_columns()?;
            let files = held.files(pruning).await?;
            let values: BTreeSet<_> = files.iter().map(|add| held.partition_values(add, &columns)).collect();
            Ok(values.into_iter().collect())
        })
    }

    #[pyo3(signature = (pruning=None))]
    fn files(&self, py: Python<'_>, pruning: Option<Pruning>) -> PyResult<Vec<FileTuple>> {
        let held = self.get();
        wait(py, async move {
            let columns = held.partition_columns()?;
            let files = held.files(pruning).await?;
            let file = |add: Add| {
                let values = held.partition_values(&add, &columns);
                (add.path, add.size, values, add.stats)
            };
            Ok(files.into_iter().map(file).collect())
        })
    }

    /// By paths as the store has them.
    fn get_add_file_sizes(&self, py: Python<'_>) -> PyResult<HashMap<String, i64>> {
        let held = self.get();
        wait(py, async move {
            let path = |add: &Add| String::from_utf8_lossy(&canonical_path(&add.path)).into_owned();
            Ok(held.files(None).await?.iter().map(|add| (path(add), add.size)).collect())
        })
    }

    fn count(&self, py: Python<'_>) -> PyResult<u64> {
        let held = self.get();
        wait(py, async move {
            if let Some(rows) = held.table.counts(held.at()).await?.rows {
                return Ok(rows.unsigned_abs());
            }
            let what = Scan { at: held.at(), columns: Some(Vec::new()), ..Scan::default() };
            Ok(held.table.read(&what).await?.iter().map(|batch| batch.num_rows() as u64).sum())
        })
    }

    fn add_actions<'py>(&self, py: Python<'py>, flatten: bool) -> PyResult<Bound<'py, PyAny>> {
        let held = self.get();
        let batch = wait(py, async move { held.table.add_actions(held.at(), flatten).await })?;
        rows_of(py, batch.schema(), vec![batch])
    }

    #[pyo3(signature = (limit=None))]
    fn history(&self, py: Python<'_>, limit: Option<u64>) -> PyResult<Vec<String>> {
        let held = self.get();
        wait(py, async move { history(&held.table, held.head.version, limit).await })
    }

    fn transaction_version(&self, py: Python<'_>, app_id: &str) -> PyResult<Option<i64>> {
        let held = self.get();
        wait(py, async move {
            let snapshot = held.table.reader().await?.snapshot(held.at()).await?;
            Ok(snapshot.txns.get(app_id).map(|txn| txn.version))
        })
    }

    #[pyo3(signature = (columns=None, predicate=None))]
    fn scan<'py>(
        &self,
        py: Python<'py>,
        columns: Option<Vec<String>>,
        predicate: Option<String>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let held = self.get();
        let rows = wait(py, async move {
            let what = Scan { at: held.at(), columns, filter_sql: predicate, limit: None };
            held.table.scan(&what).await
        })?;
        outgoing(py, rows)
    }

    fn changes<'py>(
        &self,
        py: Python<'py>,
        columns: Option<Vec<String>>,
        predicate: Option<String>,
        starting_version: Version,
        ending_version: Option<Version>,
        starting_timestamp: Option<&str>,
        ending_timestamp: Option<&str>,
        allow_out_of_range: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let held = self.get();
        let what = Changes {
            from: starting_version,
            to: ending_version,
            since: starting_timestamp.map(time_of).transpose()?,
            until: ending_timestamp.map(time_of).transpose()?,
            columns,
            filter_sql: predicate,
            allow_out_of_range,
        };
        let rows = wait(py, async move { held.table.changes_of(&what, At::Latest).await })?;
        outgoing(py, rows)
    }

    fn deletion_vectors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let held = self.get();
        let found = wait(py, async move { held.table.deletion_vectors(held.at()).await })?;
        let mut kept = ListBuilder::new(BooleanBuilder::new());
        for (_, mask) in &found {
            kept.append_value(mask.iter().copied().map(Some));
        }
        let paths: ArrayRef = Arc::new(StringArray::from_iter_values(found.iter().map(|(path, _)| path)));
        let kept: ArrayRef = Arc::new(kept.finish());
        let batch = RecordBatch::try_from_iter([("filepath", paths), ("selection_vector", kept)]);
        let batch = batch.map_err(|e| DeltaError::new_err(e.to_string()))?;
        let reader = arrow::array::RecordBatchIterator::new([Ok(batch.clone())], batch.schema());
        PyRecordBatchReader::new(Box::new(reader)).into_arro3(py)
    }

    #[pyo3(signature = (data, mode, partition_by, schema_mode, predicate, target_file_size, name, description,
                        configuration, writer, commit, hooks))]
    fn write(
        &self,
        py: Python<'_>,
        data: PyRecordBatchReader,
        mode: &str,
        partition_by: Option<Vec<String>>,
        schema_mode: Option<&str>,
        predicate: Option<String>,
        target_file_size: Option<u64>,
        name: Option<String>,
        description: Option<String>,
        configuration: Option<HashMap<String, Option<String>>>,
        writer: Option<Parquet>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        // A table that is there has these already.
        let _ = (name, description, configuration);
        let target_file_size = written_file_size(target_file_size)?;
        let mode = mode_of(mode)?;
        match mode {
            SaveMode::Ignore => return Ok(()),
            SaveMode::ErrorIfExists => return Err(exists(&self.table_uri()?)),
            SaveMode::Append | SaveMode::Overwrite => {}
        }
        let (rows, schema_mode) = (incoming(data)?, schema_mode_of(schema_mode)?);
        if mode == SaveMode::Append && schema_mode == Some(SchemaMode::Overwrite) {
            return Err(DeltaError::new_err("Schema overwrite not supported for Append: overwrite the rows, too"));
        }
        if schema_mode.is_none() {
            check_columns(&self.get().head.metadata.schema_string, rows.schema().map(|s| s.as_ref()))?;
        }
        let write =
            Write { replace_where: predicate, schema_mode, partition_by, casts: Casts::Any, ..Write::new(rows, mode) };
        let blind = write.mode == SaveMode::Append;
        self.run(py, Operation::Write(write), writer, commit, hooks, |options| {
            options.target_file_size = target_file_size;
            // Whoever appends has read nothing that could have changed.
            if blind && options.applications.is_empty() {
                options.read_version = None;
            }
        })
        .map(|_| ())
    }

    #[pyo3(signature = (predicate, writer, commit, hooks))]
    fn delete(
        &self,
        py: Python<'_>,
        predicate: Option<String>,
        writer: Option<Parquet>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<String> {
        Ok(self.run(py, Operation::Delete { filter: predicate }, writer, commit, hooks, |_| ())?.to_string())
    }

    fn update(
        &self,
        py: Python<'_>,
        updates: BTreeMap<String, String>,
        predicate: Option<String>,
        safe_cast: bool,
        writer: Option<Parquet>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<String> {
        if updates.is_empty() {
            let none = json!({
                "num_added_files": 0,
                "num_removed_files": 0,
                "num_updated_rows": 0,
                "num_copied_rows": 0,
                "execution_time_ms": 0,
                "scan_time_ms": 0,
            });
            return Ok(none.to_string());
        }
        let update = Operation::Update { set: updates.into_iter().collect(), filter: predicate, safe_cast };
        Ok(self.run(py, update, writer, commit, hooks, |_| ())?.to_string())
    }

    fn merge(
        &self,
        py: Python<'_>,
        source: PyRecordBatchReader,
        predicate: String,
        source_alias: Option<String>,
        target_alias: Option<String>,
        merge_schema: bool,
        safe_cast: bool,
        streamed: bool,
        clauses: Vec<Clause>,
        writer: Option<Parquet>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<String> {
        let mut merge = merge_of(predicate, source_alias, target_alias, merge_schema, clauses)?;
        (merge.safe_cast, merge.streamed) = (safe_cast, streamed);
        let (table, version) = self.held();
        let files = wait(py, async move { Ok(table.counts(At::Version(version)).await?.files) })?;
        let mut metrics = self.run(py, Operation::Merge(merge, incoming(source)?), writer, commit, hooks, |_| ())?;
        // Files that the catalog ruled out are none that delta-rs could skip.
        if let Some(scanned) = metrics["num_target_files_scanned"].as_u64() {
            metrics["num_target_files_skipped_during_scan"] = files.saturating_sub(scanned).into();
        }
        Ok(metrics.to_string())
    }

    fn optimize(
        &self,
        py: Python<'_>,
        zorder: Vec<String>,
        partition_filters: Option<Vec<Filter>>,
        target_size: Option<u64>,
        max_concurrent_tasks: Option<usize>,
        min_commit_interval: Option<u64>,
        max_spill_size: Option<usize>,
        max_temp_directory_size: Option<u64>,
        writer: Option<Parquet>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<String> {
        let _ = (max_spill_size, max_temp_directory_size);
        let target_size = file_size(target_size)?;
        let partitions = partition_filters.unwrap_or_default().into_iter().map(partition_filter).collect();
        let min_commit_interval = min_commit_interval.map(Duration::from_secs);
        let how = Optimize { zorder, target_size, partitions, max_concurrent_tasks, min_commit_interval };
        Ok(self.run(py, Operation::Optimize(how), writer, commit, hooks, |_| ())?.to_string())
    }

    fn vacuum(
        &self,
        py: Python<'_>,
        retention_hours: Option<u64>,
        dry_run: bool,
        enforce_retention_duration: bool,
        full: bool,
        keep_versions: Option<Vec<Version>>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<Vec<String>> {
        let what = Vacuum {
            retain: retention_hours.map(|hours| Duration::from_secs(hours.saturating_mul(3_600))),
            lite: !full,
            dry_run,
            enforce_retention: enforce_retention_duration,
            keep_versions: keep_versions.unwrap_or_default(),
        };
        let mut held = self.get();
        let held = wait(py, async move {
            held.adopt().await?;
            Ok(held)
        })?;
        let options = with(py, held.options().map_err(raise)?, None, commit)?;
        let mut held = held;
        wait_here(py, async move || {
            let gone = held.table.vacuum(&what, &options).await?;
            if !what.dry_run {
                held.committed(hooks.as_ref()).await;
            }
            self.set(held);
            Ok(gone.files)
        })
    }

    fn restore(
        &self,
        py: Python<'_>,
        target: Option<&Bound<'_, PyAny>>,
        ignore_missing_files: bool,
        protocol_downgrade_allowed: bool,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<String> {
        let held = self.get();
        let to = match target {
            Some(target) if target.is_instance_of::<PyString>() => {
                let ms = time_of(&target.extract::<String>()?)?.timestamp_millis();
                let held = held.clone();
                wait(py, async move { held.version_at(ms).await })?
            }
            Some(target) => match target.extract::<Version>() {
                Ok(version) => version,
                Err(_) => return Err(DeltaError::new_err(RESTORE_TARGET)),
            },
            None => return Err(DeltaError::new_err(RESTORE_TARGET)),
        };
        let newest = held.head.version;
        if to >= newest {
            return Err(DeltaError::new_err(format!(
                "the version to restore, {to}, should be less then last available version {newest}: the table is at \
                 version {newest} and version {to} is no earlier one"
            )));
        }
        let to = At::Version(to);
        let how = Restore { to, ignore_missing_files, protocol_downgrade_allowed };
        Ok(self.run(py, Operation::Restore(how), None, commit, hooks, |_| ())?.to_string())
    }

    fn repair(
        &self,
        py: Python<'_>,
        dry_run: bool,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<String> {
        Ok(self.run(py, Operation::Repair { dry_run }, None, commit, hooks, |_| ())?.to_string())
    }

    fn add_columns(
        &self,
        py: Python<'_>,
        fields: Vec<String>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        let columns = schema::parse(&format!("{{\"type\":\"struct\",\"fields\":[{}]}}", fields.join(",")))?;
        self.alter(py, Alter::MergeColumns(columns), commit, hooks)
    }

    fn add_features(
        &self,
        py: Python<'_>,
        features: Vec<String>,
        allow_protocol_versions_increase: bool,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        let raise_versions = allow_protocol_versions_increase;
        self.alter(py, Alter::AddFeatures { names: features, raise_versions }, commit, hooks)
    }

    fn add_constraints(
        &self,
        py: Python<'_>,
        constraints: HashMap<String, String>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.run(py, Operation::Constrain(constraints), None, commit, hooks, |_| ()).map(|_| ())
    }

    fn drop_constraint(
        &self,
        py: Python<'_>,
        name: String,
        raise_if_not_exists: bool,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.alter(py, Alter::DropConstraint { name, if_exists: !raise_if_not_exists }, commit, hooks)
    }

    fn drop_column_not_null(
        &self,
        py: Python<'_>,
        column: String,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.alter(py, Alter::DropNotNull { column }, commit, hooks)
    }

    fn set_properties(
        &self,
        py: Python<'_>,
        properties: HashMap<String, String>,
        raise_if_not_exists: bool,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.alter(py, Alter::SetProperties { properties, unknown: !raise_if_not_exists }, commit, hooks)
    }

    fn describe(
        &self,
        py: Python<'_>,
        name: Option<String>,
        description: Option<String>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.alter(py, Alter::Describe { name, description }, commit, hooks)
    }

    fn set_column_metadata(
        &self,
        py: Python<'_>,
        column: String,
        metadata: HashMap<String, String>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.alter(py, Alter::SetColumnMetadata { column, metadata }, commit, hooks)
    }

    fn commit_actions(
        &self,
        py: Python<'_>,
        actions: Vec<String>,
        mode: &str,
        partition_by: Vec<String>,
        schema: &str,
        partition_filters: Option<Vec<Filter>>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        let held = self.get();
        let there = &held.head.metadata.partition_columns;
        if !partition_by.is_empty() && partition_by != *there {
            let what = format!("the table is partitioned by {there:?}, not by {partition_by:?}");
            return Err(DeltaError::new_err(what));
        }
        let (new, old) = (schema::parse(schema)?, schema::parse(&held.head.metadata.schema_string)?);
        if new.names() != old.names() {
            return Err(SchemaMismatchError::new_err("the files have other columns than the table"));
        }
        let mut actions = actions_of(&actions)?;
        let mut overwrite = mode_of(mode)? == SaveMode::Overwrite;
        if overwrite && actions.iter().any(|action| matches!(action, Action::Remove(_))) {
            return Err(PyValueError::new_err("remove actions are not supported with mode='overwrite'"));
        }
        if overwrite && let Some(filters) = partition_filters.filter(|filters| !filters.is_empty()) {
            // Of the partitions that are named, all files go, and no other.
            let metadata = held.head.metadata.clone();
            let pruning = Pruning::Filters(vec![filters.clone()]);
            let live = wait(py, async move { held.files(Some(pruning)).await })?;
            let columns = Columns::parse(&metadata.schema_string, &metadata.partition_columns).map_err(raise)?;
            let now = Utc::now().timestamp_millis();
            for add in live {
                if is_in_partition(&add, &filters, &columns).map_err(raise)? {
                    actions.push(Action::Remove(deltalakedb_log::action::Remove::of(&add, now, true)));
                }
            }
            overwrite = false;
        }
        self.run(py, Operation::Stage(Stage { actions, overwrite }), None, commit, hooks, |_| ()).map(|_| ())
    }

    fn generate(&self, py: Python<'_>) -> PyResult<()> {
        let held = self.get();
        wait(py, async move { held.table.generate_manifests(held.at()).await })
    }

    fn create_checkpoint(&self, py: Python<'_>) -> PyResult<()> {
        let version = self.get().head.version;
        self.on_mirror(py, async move |lake, id| {
            published(lake.mirror().publish_commits(id).await?);
            let entry = require(lake.catalog.as_ref(), &TableRef::Id(id)).await?;
            lake.mirror().checkpoint_at(&entry, version).await.map(|_| ())
        })
    }

    fn cleanup_metadata(&self, py: Python<'_>) -> PyResult<()> {
        self.on_mirror(py, async |lake, id| lake.mirror().clean_up(id).await.map(|_| ()))
    }

    fn compact_logs(&self, py: Python<'_>, starting_version: Version, ending_version: Version) -> PyResult<()> {
        if starting_version >= ending_version {
            return Err(DeltaError::new_err(format!(
                "Invalid version range: {starting_version} to {ending_version}: expected two versions or more"
            )));
        }
        self.on_mirror(py, async |lake, id| {
            published(lake.mirror().publish(id).await?);
            let newest = require(lake.catalog.as_ref(), &TableRef::Id(id)).await?.current_version;
            if ending_version > newest {
                return Err(TxnLogError::invalid(format!(
                    "the table is at version {newest} and has no version {ending_version}"
                )));
            }
            lake.mirror().compact(id, starting_version, ending_version).await
        })
    }

    fn store(&self) -> PyResult<RawStore> {
        let table = self.get().table;
        RawStore::of(table.location().clone(), table.stores().as_ref()).map_err(raise)
    }
}

impl RawTable {
    fn on_mirror(
        &self,
        py: Python<'_>,
        run: impl AsyncFnOnce(Arc<Lake>, TableId) -> Result<()> + Send,
    ) -> PyResult<()> {
        let mut held = self.get();
        wait_here(py, async move || {
            held.adopt().await?;
            let Some((lake, id)) = held.home.clone() else {
                return Err(TxnLogError::invalid(
                    "the table is in no catalog, whose mirror its _delta_log would be: set DELTALAKEDB_CATALOG",
                ));
            };
            self.set(held);
            run(lake, id).await
        })
    }
}

/// Why there is no table at a URI.
pub(crate) fn not_opened(uri: &str, e: TxnLogError) -> PyErr {
    if CatalogUri::is_one(uri) {
        return match e.kind() {
            ErrorKind::NotFound => TableNotFoundError::new_err(e.to_string()),
            _ => raise(e),
        };
    }
    match Location::parse(uri) {
        Err(_) => {
            let scheme = uri.split_once("://").map_or("", |(scheme, _)| scheme);
            TableNotFoundError::new_err(format!("Unknown scheme: {scheme}: {e}"))
        }
        Ok(location) if e.kind() == ErrorKind::NotFound => {
            let why = match location.local_path() {
                Some(path) if !path.exists() => "the folder does not exist",
                _ => "No files in log segment",
            };
            TableNotFoundError::new_err(format!("Not a Delta table: {why}: {e}"))
        }
        Ok(_) => raise(e),
    }
}

/// Rows have the columns of the table, all of them: a column too few may be a mistake.
fn check_columns(schema: &str, rows: Option<&ArrowSchema>) -> PyResult<()> {
    let table = schema::parse(schema)?;
    let (names, Some(rows)) = (table.names(), rows) else { return Ok(()) };
    if schema.contains("delta.generationExpression") {
        return Ok(());
    }
    let given: Vec<_> = rows.fields().iter().map(|field| field.name().as_str()).collect();
    if given.len() != names.len() {
        return Err(SchemaMismatchError::new_err(format!(
            "Cannot cast schema, number of fields does not match: the rows have {}, the table has {}; write with \
             schema_mode=\"merge\" to add columns or leave some out",
            given.join(", "),
            names.join(", ")
        )));
    }
    match given.iter().find(|name| !names.contains(name)) {
        None => Ok(()),
        Some(name) => Err(SchemaMismatchError::new_err(format!(
            "Field {name} not found in schema: the table has {}",
            names.join(", ")
        ))),
    }
}

/// The commitInfo of the newest versions, newest first.
pub(crate) async fn history(table: &DeltaTable, newest: Version, limit: Option<u64>) -> Result<Vec<String>> {
    let reader = table.reader().await?;
    let later = reader.head().await?.version.saturating_sub(newest);
    let range = HistoryRange { limit: limit.map(|limit| limit.saturating_add(later)), ..Default::default() };
    let mut all = Vec::new();
    for summary in reader.history(range).await?.into_iter().filter(|c| c.version <= newest) {
        let bytes = reader.commit_bytes(summary.version).await?;
        let commit = bytes.map(|bytes| Commit::parse(bytes, "a stored commit")).transpose()?;
        let info = commit.as_ref().and_then(|c| c.info()).map(|info| info.0.to_json());
        let mut info: Value = match info {
            Some(info) => serde_json::from_str(&info)
                .map_err(|e| TxnLogError::corrupt("a commitInfo is no JSON").with_source(e))?,
            None => json!({"timestamp": summary.timestamp, "operation": summary.operation}),
        };
        if info.get("timestamp").is_none_or(Value::is_null) {
            info["timestamp"] = summary.timestamp.into();
        }
        info["version"] = summary.version.into();
        all.push(info.to_string());
    }
    Ok(all)
}

pub(crate) fn merge_of(
    predicate: String,
    source_alias: Option<String>,
    target_alias: Option<String>,
    merge_schema: bool,
    clauses: Vec<Clause>,
) -> PyResult<Merge> {
    let mut merge = Merge::on(predicate);
    merge.evolve_schema = merge_schema;
    merge.source_alias = source_alias.unwrap_or(merge.source_alias);
    merge.target_alias = target_alias.unwrap_or(merge.target_alias);
    for (kind, set, condition) in clauses {
        use MergeClause as C;
        let set: Vec<_> = set.unwrap_or_default().into_iter().collect();
        merge = merge.when(match kind.as_str() {
            "matched_update" => C::MatchedUpdate { condition, set: deltalakedb_table::Assignments::Columns(set) },
            "matched_delete" => C::MatchedDelete { condition },
            "not_matched_insert" => {
                C::NotMatchedInsert { condition, values: deltalakedb_table::Assignments::Columns(set) }
            }
            "not_matched_by_source_update" => C::NotMatchedBySourceUpdate { condition, set },
            "not_matched_by_source_delete" => C::NotMatchedBySourceDelete { condition },
            other => return Err(PyValueError::new_err(format!("{other:?} is no clause of a merge"))),
        });
    }
    Ok(merge)
}

pub(crate) fn mode_of(mode: &str) -> PyResult<SaveMode> {
    match mode {
        "append" => Ok(SaveMode::Append),
        "overwrite" => Ok(SaveMode::Overwrite),
        "error" => Ok(SaveMode::ErrorIfExists),
        "ignore" => Ok(SaveMode::Ignore),
        _ => Err(DeltaError::new_err(format!(
            "Invalid save mode provided: {mode}, only these are supported: ['append', 'overwrite', 'error', 'ignore']"
        ))),
    }
}

pub(crate) fn schema_mode_of(mode: Option<&str>) -> PyResult<Option<SchemaMode>> {
    match mode {
        None => Ok(None),
        Some("merge") => Ok(Some(SchemaMode::Merge)),
        Some("overwrite") => Ok(Some(SchemaMode::Overwrite)),
        Some(mode) => Err(DeltaError::new_err(format!(
            "Invalid schema write mode provided: {mode}, only these are supported: ['overwrite', 'merge']"
        ))),
    }
}

pub(crate) fn actions_of(lines: &[String]) -> PyResult<Vec<Action>> {
    let mut all = Vec::new();
    for line in lines {
        let actions = Action::parse_line(line).map_err(PyValueError::new_err)?;
        for action in actions {
            match action {
                Action::Add(_) | Action::Remove(_) => all.push(action),
                _ => return Err(PyTypeError::new_err("only add and remove actions can be committed")),
            }
        }
    }
    let paths: HashSet<_> = all
        .iter()
        .filter_map(|action| match action {
            Action::Add(add) => Some(add.path.as_str()),
            _ => None,
        })
        .collect();
    let adds = all.iter().filter(|action| matches!(action, Action::Add(_))).count();
    if paths.len() < adds {
        return Err(PyValueError::new_err("a file is added twice"));
    }
    match all.iter().any(|action| matches!(action, Action::Remove(remove) if paths.contains(remove.path.as_str()))) {
        true => Err(PyValueError::new_err("Cannot add and remove the same file path")),
        false => Ok(all),
    }
}

/// A time in RFC 3339, with its zone.
fn time_of(text: &str) -> PyResult<DateTime<Utc>> {
    let parsed =
        DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%:z"));
    parsed.map(|time| time.with_timezone(&Utc)).map_err(|e| {
        PyValueError::new_err(format!(
            "Failed to parse datetime string: {text:?} is none: {e}; expected such as 2024-01-31T12:00:00Z"
        ))
    })
}
