//! Writes with delta-rs, which writes the data files and describes the commit.

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::DataFusionError;
use datafusion::datasource::provider_as_source;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::CommitProperties;
use deltalake_core::kernel::{Action as DeltaAction, StructField, Transaction};
use deltalake_core::operations::convert_to_delta::{ConvertToDeltaBuilder, PartitionStrategy};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::operations::write::{SchemaMode as DeltaSchemaMode, WriteBuilder};
use deltalake_core::protocol::SaveMode;
use deltalakedb_log::action::{Action, Commit, Metadata, Txn};
use deltalakedb_log::snapshot::Snapshot;
use deltalakedb_log::{ErrorKind, FileKey, Location, Object, Result, TxnLogError, canonical_path};
use futures::{FutureExt, StreamExt, future, stream};
use object_store::ObjectStore;
use object_store::path::Path;
use serde_json::Value;

use super::log::{Files, SnapshotLog};
use super::log_store::VirtualLogStore;
use super::{Condition, FullTable, LogView, PrunedTable, VirtualTable, alias, bounds, generated, shown};
use crate::error::Explain;
use crate::table_spec::TableSpec;
use crate::write_options::{SaveMode as WriteMode, WriteOptions};

/// The result of an operation: data files that exist, and actions that are not committed yet.
pub(crate) struct StagedCommit {
    /// Empty if there was nothing to do.
    pub(crate) actions: Vec<Action>,
    pub(crate) files: NewFiles,
    /// The files it read; `None` for all files.
    pub(crate) seen: Option<Vec<FileKey>>,
    pub(crate) metrics: Value,
}

impl StagedCommit {
    /// Its metrics: those that it returned, or else those of its commit.
    pub(crate) fn numbers(&self) -> Value {
        if !self.metrics.is_null() {
            return self.metrics.clone();
        }
        let of_commit = self.actions.iter().find_map(|action| match action {
            Action::CommitInfo(info) => info.0.get("operationMetrics"),
            _ => None,
        });
        of_commit.unwrap_or(Value::Null)
    }

    /// Whether there was nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Adds actions, if there is something to commit.
    pub(super) fn with(mut self, actions: impl IntoIterator<Item = Action>) -> Self {
        if !self.is_empty() {
            self.actions.extend(actions);
        }
        self
    }

    /// Records the original condition of the changed rows in the commit.
    pub(super) fn of(mut self, condition: Option<&Condition>) -> Self {
        let infos = self.actions.iter_mut().filter_map(|action| match action {
            Action::CommitInfo(info) => Some(info),
            _ => None,
        });
        for (info, condition) in infos.zip(condition) {
            let mut parameters = info.0.get::<Object>("operationParameters").unwrap_or_default();
            parameters.set("predicate", condition.sql.as_str());
            info.0.set("operationParameters", parameters);
        }
        self
    }

    /// A commit of actions that name files that this operation did not write.
    pub(crate) fn of_actions(state: &LogView, actions: Vec<Action>) -> Result<Self> {
        let files = NewFiles {
            store: state.options.stores.open(&state.location, state.options.durability)?,
            paths: Vec::new(),
        };
        Ok(Self { actions, files, seen: Some(Vec::new()), metrics: Value::Null })
    }
}

/// Data files that no commit names yet.
#[derive(Clone)]
pub struct NewFiles {
    store: Arc<dyn ObjectStore>,
    paths: Vec<Path>,
}

impl NewFiles {
    /// Their paths below the table.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// The files at one of these decoded paths.
    pub(crate) fn only(&self, paths: &HashSet<Vec<u8>>) -> Self {
        let at = self.paths.iter().filter(|path| paths.contains(path.as_ref().as_bytes()));
        Self { store: self.store.clone(), paths: at.cloned().collect() }
    }

    /// Makes the bounds of decimals in a commit that adds them safe for data skipping; returns whether any changed.
    pub(super) async fn restate_bounds(&self, actions: &mut [Action], base: Option<&Snapshot>) -> Result<bool> {
        let new = self.paths.iter().map(|path| path.as_ref().as_bytes().to_vec()).collect();
        bounds::restate(actions, base, &new, &self.store).await
    }

    /// Removes them, many with one request if the store supports it. Files that cannot be removed are left for vacuum.
    pub async fn remove(&self) {
        let removed = self.store.delete_stream(stream::iter(self.paths.clone()).map(Ok).boxed());
        let failed = removed.for_each(|removed| {
            if let Err(e) = removed.map(drop)
                && !matches!(e, object_store::Error::NotFound { .. })
            {
                tracing::warn!(error = %e, "a data file of a write that failed cannot be removed");
            }
            future::ready(())
        });
        failed.await
    }
}

impl fmt::Debug for NewFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.paths).finish()
    }
}

/// Rows to be written.
pub(crate) type Data = SendableRecordBatchStream;

/// A table to be created.
pub(crate) struct Create<'a> {
    pub(crate) location: &'a Location,
    pub(crate) spec: &'a TableSpec,
    pub(crate) options: &'a WriteOptions,
}

/// How a write treats columns of the data that the table does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaMode {
    /// They are added to the table.
    Merge,
    /// The data's columns replace the table's. Only if all rows are replaced.
    Overwrite,
}

impl VirtualTable {
    /// Appends rows.
    pub(crate) async fn append(self, rows: Data, schema: Option<SchemaMode>) -> Result<StagedCommit> {
        self.write(rows, SaveMode::Append, schema, None, None).await
    }

    async fn write(
        self,
        rows: Data,
        mode: SaveMode,
        schema: Option<SchemaMode>,
        replace: Option<Expr>,
        partition_by: Option<Vec<String>>,
    ) -> Result<StagedCommit> {
        // New columns that replace the table's have no generation expressions.
        let mut source = self.base.head.metadata.clone();
        let rows = if schema == Some(SchemaMode::Overwrite) {
            source.schema_string = generated::hide(&source.schema_string);
            plan(rows)?
        } else {
            self.generated()?.complete_rows(plan(rows)?)?
        };
        let mut write = WriteBuilder::new(self.log_store.clone(), Some(self.snapshot.clone()))
            .with_save_mode(mode)
            .with_commit_properties(self.commit_properties())
            .with_target_file_size(self.options.target_file_size)
            .with_input_plan(rows);
        if let Some(parquet) = self.options.parquet.clone() {
            write = write.with_writer_properties(parquet);
        }
        if let Some(schema) = schema {
            write = write.with_schema_mode(match schema {
                SchemaMode::Merge => DeltaSchemaMode::Merge,
                SchemaMode::Overwrite => DeltaSchemaMode::Overwrite,
            });
        }
        if let Some(replace) = replace {
            write = write.with_replace_where(replace);
        }
        if let Some(partition_by) = partition_by {
            write = write.with_partition_columns(partition_by);
        }
        self.capture_from(&source, "the rows cannot be written", write, |_| Value::Null).await
    }

    pub(super) fn commit_properties(&self) -> CommitProperties {
        commit_properties(&self.options)
    }

    /// Runs an operation and captures its commit. On failure the files it wrote are removed.
    pub(super) async fn capture<O, T>(self, what: &str, operation: O, metrics: fn(T) -> Value) -> Result<StagedCommit>
    where
        O: IntoFuture<Output = Result<T, DeltaTableError>>,
    {
        let head = self.base.head.clone();
        self.capture_from(&head.metadata, what, operation, metrics).await
    }

    /// Captures an operation whose new metadata is based on that of another version.
    pub(super) async fn capture_from<O, T>(
        self,
        source: &Metadata,
        what: &str,
        operation: O,
        metrics: fn(T) -> Value,
    ) -> Result<StagedCommit>
    where
        O: IntoFuture<Output = Result<T, DeltaTableError>>,
    {
        let mut captured = capture(&self.log, &self.log_store, Some(&self.base), what, operation, metrics).await?;
        shown::restore_from(&mut captured.actions, &self.base.head, source);
        Ok(captured)
    }

    /// Captures an operation with several commits, and its metrics.
    pub(super) async fn capture_steps<O, T>(
        self,
        what: &str,
        operation: O,
        metrics: fn(T) -> Value,
    ) -> Result<(Vec<StagedCommit>, Value)>
    where
        O: IntoFuture<Output = Result<T, DeltaTableError>>,
    {
        let made = capture_all(&self.log, &self.log_store, Some(&self.base), what, operation, metrics).await?;
        let (commits, metrics, files) = made;
        let step = |mut actions: Vec<Action>| {
            shown::restore(&mut actions, &self.base.head);
            let files = files.only(&named_paths(&actions));
            StagedCommit { actions, files, seen: self.log.seen(), metrics: Value::Null }
        };
        Ok((commits.into_iter().map(step).collect(), metrics))
    }
}

impl PrunedTable {
    /// Replaces the rows that satisfy the condition; the new ones must satisfy it as well.
    pub(crate) async fn replace(self, rows: Data, schema: Option<SchemaMode>) -> Result<StagedCommit> {
        let replace = self.condition.as_ref().map(|condition| condition.is_true.clone());
        let written = self.table.write(rows, SaveMode::Overwrite, schema, replace, None).await?;
        Ok(written.of(self.condition.as_ref()))
    }
}

impl FullTable {
    /// Replaces all rows, and the partitioning if the columns are replaced.
    pub(crate) async fn overwrite(
        self,
        rows: Data,
        schema: Option<SchemaMode>,
        partition_by: Option<Vec<String>>,
    ) -> Result<StagedCommit> {
        self.0.write(rows, SaveMode::Overwrite, schema, None, partition_by).await
    }

    /// Replaces the table, without rows.
    pub(crate) async fn recreate(
        self,
        spec: &TableSpec,
        columns: Vec<StructField>,
        at: &Location,
    ) -> Result<StagedCommit> {
        let create = Create { location: at, spec, options: &self.0.options }.builder(columns)?;
        let create = create.with_log_store(self.0.log_store.clone()).with_save_mode(SaveMode::Overwrite);
        self.0.capture("the table cannot be made anew", create, |_| Value::Null).await
    }
}

/// Creates a table without rows, or with those of existing files.
pub(crate) async fn create(table: Create<'_>, columns: Vec<StructField>) -> Result<StagedCommit> {
    let (log, log_store) = nothing_yet(&table)?;
    let create = table.builder(columns)?.with_log_store(log_store.clone());
    made(&table, capture(&log, &log_store, None, "the table cannot be made", create, |_| Value::Null).await?)
}

/// Creates a table from rows, in one commit.
pub(crate) async fn create_with_data(table: Create<'_>, rows: Data) -> Result<StagedCommit> {
    let (log, log_store) = nothing_yet(&table)?;
    let spec = table.spec;
    let own_size = spec.properties.get("delta.targetFileSize").and_then(|size| size.trim().parse().ok());
    let mut write = WriteBuilder::new(log_store.clone(), None)
        .with_partition_columns(&spec.partition_by)
        .with_save_mode(match spec.mode {
            WriteMode::Append => SaveMode::Append,
            WriteMode::Overwrite => SaveMode::Overwrite,
            WriteMode::ErrorIfExists => SaveMode::ErrorIfExists,
            WriteMode::Ignore => SaveMode::Ignore,
        })
        .with_configuration(table.configuration())
        .with_commit_properties(commit_properties(table.options))
        .with_target_file_size(table.options.target_file_size.or(own_size))
        .with_input_plan(plan(rows)?);
    if let Some(name) = &spec.name {
        write = write.with_table_name(name);
    }
    if let Some(description) = &spec.description {
        write = write.with_description(description);
    }
    if let Some(parquet) = table.options.parquet.clone() {
        write = write.with_writer_properties(parquet);
    }
    made(&table, capture(&log, &log_store, None, "the rows cannot be written", write, |_| Value::Null).await?)
}

/// Creates a table from the Parquet files at its location.
pub(crate) async fn convert(table: Create<'_>, columns: Vec<StructField>, named_folders: bool) -> Result<StagedCommit> {
    let (log, log_store) = nothing_yet(&table)?;
    let spec = table.spec;
    let strategy = if named_folders { PartitionStrategy::Hive } else { PartitionStrategy::Directory };
    let mut convert = ConvertToDeltaBuilder::new()
        .with_log_store(log_store.clone())
        .with_partition_schema(columns)
        .with_partition_strategy(strategy)
        .with_configuration(table.configuration())
        .with_commit_properties(commit_properties(table.options));
    if let Some(name) = &spec.name {
        convert = convert.with_table_name(name);
    }
    if let Some(description) = &spec.description {
        convert = convert.with_comment(description);
    }
    let what = "the files cannot be made a table";
    let mut captured = made(&table, capture(&log, &log_store, None, what, convert, |_| Value::Null).await?)?;
    // These files existed before, but their statistics are created now, like those of written files.
    let paths = named_paths(&captured.actions);
    bounds::restate(&mut captured.actions, None, &paths, &log_store.data_store()).await?;
    let files = captured.actions.iter().filter(|action| matches!(action, Action::Add(_))).count();
    for action in &mut captured.actions {
        let Action::CommitInfo(info) = action else { continue };
        let mut parameters = info.0.get::<Object>("operationParameters").unwrap_or_default();
        parameters.set("numFiles", files.to_string());
        parameters.set("collectStats", "true");
        info.0.set("operation", "CONVERT");
        info.0.set("operationParameters", parameters);
    }
    Ok(captured)
}

impl Create<'_> {
    fn configuration(&self) -> Vec<(String, Option<String>)> {
        self.spec.properties.iter().map(|(k, v)| (k.clone(), Some(v.clone()))).collect()
    }

    fn builder(&self, columns: Vec<StructField>) -> Result<CreateBuilder> {
        let spec = self.spec;
        let files = spec.files.iter().map(|add| {
            let add = serde_json::from_str(&add.to_json())
                .explain(|| format!("the file {} is not described well", add.path))?;
            Ok(DeltaAction::Add(add))
        });
        let mut create = CreateBuilder::new()
            .with_columns(columns)
            .with_partition_columns(&spec.partition_by)
            .with_configuration(self.configuration())
            .with_raise_if_key_not_exists(!spec.unknown_properties)
            .with_actions(files.collect::<Result<Vec<_>>>()?)
            .with_commit_properties(commit_properties(self.options));
        if let Some(name) = &spec.name {
            create = create.with_table_name(name);
        }
        if let Some(description) = &spec.description {
            create = create.with_comment(description);
        }
        Ok(create)
    }
}

fn made(table: &Create<'_>, mut captured: StagedCommit) -> Result<StagedCommit> {
    shown::name_place(&mut captured.actions, table.location);
    Ok(captured)
}

fn nothing_yet(table: &Create<'_>) -> Result<(Arc<SnapshotLog>, Arc<VirtualLogStore>)> {
    let log = Arc::new(SnapshotLog::new(&LogView::nothing_yet(table.location, &table.options.stores), Files::None));
    let log_store = Arc::new(VirtualLogStore::new(table.location, log.clone(), table.options)?);
    Ok((log, log_store))
}

/// The decoded paths of the files that a commit names.
pub(crate) fn named_paths(actions: &[Action]) -> HashSet<Vec<u8>> {
    let path = |action: &Action| match action {
        Action::Add(add) => Some(canonical_path(&add.path)),
        Action::Cdc(cdc) => Some(canonical_path(&cdc.path)),
        _ => None,
    };
    actions.iter().filter_map(path).collect()
}

/// The commit properties for delta-rs. The mirror writes checkpoints and cleans up.
fn commit_properties(options: &WriteOptions) -> CommitProperties {
    let application =
        |txn: &Txn| Transaction { app_id: txn.app_id.clone(), version: txn.version, last_updated: txn.last_updated };
    CommitProperties::default()
        .with_create_checkpoint(false)
        .with_cleanup_expired_logs(Some(false))
        .with_metadata(options.metadata.clone())
        .with_application_transactions(options.applications.iter().map(application).collect())
}

async fn capture<O, T>(
    log: &SnapshotLog,
    log_store: &VirtualLogStore,
    base: Option<&Snapshot>,
    what: &str,
    operation: O,
    metrics: fn(T) -> Value,
) -> Result<StagedCommit>
where
    O: IntoFuture<Output = Result<T, DeltaTableError>>,
{
    let (mut commits, metrics, files) = capture_all(log, log_store, base, what, operation, metrics).await?;
    let actions = match commits.pop() {
        None => Vec::new(),
        Some(actions) if commits.is_empty() => actions,
        Some(_) => {
            files.remove().await;
            return Err(TxnLogError::new(
                ErrorKind::Internal,
                format!("an operation made {} commits where one was expected", 1 + commits.len()),
            ));
        }
    };
    Ok(StagedCommit { actions, files, seen: log.seen(), metrics })
}

/// The actions of an operation's commits, its metrics, and all its files.
type Commits = (Vec<Vec<Action>>, Value, NewFiles);

async fn capture_all<O, T>(
    log: &SnapshotLog,
    log_store: &VirtualLogStore,
    base: Option<&Snapshot>,
    what: &str,
    operation: O,
    metrics: fn(T) -> Value,
) -> Result<Commits>
where
    O: IntoFuture<Output = Result<T, DeltaTableError>>,
{
    // A panic in delta-rs is a bug there or here, and must not leave files either.
    let done = AssertUnwindSafe(operation.into_future()).catch_unwind().await;
    let captured = async {
        let done = done.map_err(|panic| panicked(what, panic.as_ref()))?.explain(|| what.into())?;
        Ok((parsed(log.captured(), &log_store.new_files(), base).await?, metrics(done)))
    };
    let ((commits, metrics), files) = log_store.with_files(Box::pin(captured)).await?;
    Ok((commits, metrics, files))
}

/// The actions of the commits, with safe bounds of decimals.
async fn parsed(commits: Vec<Bytes>, files: &NewFiles, base: Option<&Snapshot>) -> Result<Vec<Vec<Action>>> {
    let mut all = Vec::with_capacity(commits.len());
    for commit in commits {
        let mut actions = Commit::parse(commit, "the commit made of the operation")?.into_actions();
        actions.iter_mut().for_each(alias::name);
        files.restate_bounds(&mut actions, base).await?;
        all.push(actions);
    }
    Ok(all)
}

fn panicked(what: &str, panic: &(dyn Any + Send)) -> TxnLogError {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let said = text.map(|text| format!(": {text}")).unwrap_or_default();
    TxnLogError::new(ErrorKind::Internal, format!("{what}: delta-rs panicked{said}"))
}

impl VirtualLogStore {
    /// The files put by an operation so far.
    pub(super) fn new_files(&self) -> NewFiles {
        NewFiles { store: self.data_store(), paths: self.puts().paths() }
    }

    /// The result of an operation that has ended, and its files. If that fails, or a file could not be put, the files
    /// are removed.
    pub(super) async fn with_files<T>(&self, made: impl Future<Output = Result<T>>) -> Result<(T, NewFiles)> {
        let files = self.new_files();
        let made = match self.puts().take_failure() {
            Some(e) => Err(TxnLogError::from(e)).explain(|| "the data files cannot be written".into()),
            None => made.await,
        };
        match made {
            Ok(made) => Ok((made, files)),
            Err(e) => {
                files.remove().await;
                Err(e)
            }
        }
    }
}

/// A plan that returns the rows, once.
pub(super) fn plan(rows: Data) -> Result<LogicalPlan> {
    let failed = || "the rows cannot be written".to_string();
    let schema = rows.schema();
    let once: Arc<dyn PartitionStream> = Arc::new(Once { schema: schema.clone(), rows: Mutex::new(Some(rows)) });
    let table = StreamingTable::try_new(schema, vec![once]).explain(failed)?;
    let scan = LogicalPlanBuilder::scan("rows", provider_as_source(Arc::new(table)), None).explain(failed)?;
    scan.build().explain(failed)
}

struct Once {
    schema: SchemaRef,
    rows: Mutex<Option<Data>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        rows.unwrap_or_else(|| {
            let again = Err(DataFusionError::Execution("the rows can be read only once".into()));
            Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::once(async { again })))
        })
    }
}
