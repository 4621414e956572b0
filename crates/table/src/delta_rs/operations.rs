//! Changes a table with delta-rs, which writes the data files and describes the commit.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use chrono::{DateTime, Utc};
use datafusion::common::Column;
use datafusion::dataframe::DataFrame;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::execute_stream;
use deltalake_core::DeltaTable;
use deltalake_core::kernel::{MetadataValue, TableFeatures};
use deltalake_core::logstore::LogStore;
use deltalake_core::operations::optimize::{OptimizeBuilder, OptimizeType};
use deltalake_core::operations::update_table_metadata::TableMetadataUpdate;
use deltalake_core::partitions::{FilterLiteral, FilterValue, filter_literal};
use deltalake_core::table::config::TableProperty;
use deltalake_core::table::state::DeltaTableState;
use deltalakedb_log::action::{Add, CommitInfo, Remove};
use deltalakedb_log::{Action, At, FileKey, Object, Result, Snapshot, TxnLogError, Version, canonical_path};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::{Value, json};

use super::log::{Files, SnapshotLog};
use super::log_store::VirtualLogStore;
use super::{
    Columns, FullTable, LogView, PrunedTable, StagedCommit, TableSchema, VirtualTable, alias, bounds, session_context,
};
use crate::error::Explain;

/// How files are compacted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Optimize {
    /// Columns by whose values rows are clustered (Z-order); without columns, small files are only compacted.
    pub zorder: Vec<String>,
    /// The target size of files, in bytes; `None`: the table's property, or delta-rs' default.
    pub target_size: Option<NonZeroU64>,
    /// Only files of partitions that match: column, and values as the log spells them.
    pub partitions: Vec<PartitionFilter>,
    /// How many files are written concurrently; `None`: the number of processors.
    pub max_concurrent_tasks: Option<usize>,
    /// Makes a commit of the finished files each time this much time has passed, instead of one commit for all. The
    /// catalog gets these commits when the last file is finished.
    pub min_commit_interval: Option<Duration>,
}

impl Optimize {
    fn filters(&self) -> Result<Vec<FilterLiteral<'_>>> {
        self.partitions.iter().map(PartitionFilter::literal).collect()
    }
}

/// A filter on a partition column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionFilter {
    /// The column.
    pub column: String,
    /// The comparison: `=`, `!=`, `<`, `<=`, `>`, `>=`, `in` or `not in`.
    pub operator: String,
    /// The value, as the log spells it; several for `in` and `not in`.
    pub values: Vec<String>,
}

impl PartitionFilter {
    fn literal(&self) -> Result<FilterLiteral<'_>> {
        let mut values: Vec<_> = self.values.iter().map(String::as_str).collect();
        let value = match self.operator.ends_with("in") {
            true => FilterValue::Set(values),
            false => FilterValue::Scalar(values.pop().unwrap_or_default()),
        };
        filter_literal(&self.column, &self.operator, value).explain(|| "the filter of partitions is wrong".into())
    }
}

/// A restore of a table to an earlier version.
#[derive(Clone, Debug)]
pub struct Restore {
    /// The version to restore.
    pub to: At,
    /// Restores the remaining files if data files are missing.
    pub ignore_missing_files: bool,
    /// Also restores an older protocol.
    pub protocol_downgrade_allowed: bool,
}

impl From<At> for Restore {
    fn from(to: At) -> Self {
        Self { to, ignore_missing_files: false, protocol_downgrade_allowed: false }
    }
}

/// The requested range of changes of a table.
#[derive(Clone, Debug, Default)]
pub struct CdfScan {
    /// The first version.
    pub from: Version,
    /// The last version; the newest by default.
    pub to: Option<Version>,
    /// Excludes versions before that time.
    pub since: Option<DateTime<Utc>>,
    /// Excludes versions after that time.
    pub until: Option<DateTime<Utc>>,
    /// These columns in this order; `None` for all columns.
    pub columns: Option<Vec<String>>,
    /// A condition in SQL; changes that do not satisfy it are omitted.
    pub filter_sql: Option<String>,
    /// Returns no changes, instead of an error, if there are no such versions.
    pub allow_out_of_range: bool,
}

/// A change of a table's metadata, not of its rows.
#[derive(Clone, Debug)]
pub enum Alter {
    /// Adds columns, which are null in every existing row.
    AddColumns(TableSchema),
    /// Adds the columns that do not exist, and the missing fields of existing structs.
    MergeColumns(TableSchema),
    /// Sets properties, such as `delta.enableChangeDataFeed`.
    SetProperties {
        /// Their values by name.
        properties: HashMap<String, String>,
        /// Also accepts properties unknown to Delta.
        unknown: bool,
    },
    /// Drops a constraint.
    DropConstraint {
        /// Its name.
        name: String,
        /// Does nothing if it does not exist.
        if_exists: bool,
    },
    /// Adds features to the table's protocol.
    AddFeatures {
        /// Their names in the protocol.
        names: Vec<String>,
        /// Raises the protocol's versions to those with table features.
        raise_versions: bool,
    },
    /// Sets entries of a column's metadata.
    SetColumnMetadata {
        /// The column.
        column: String,
        /// The entries.
        metadata: HashMap<String, String>,
    },
    /// Makes a column nullable.
    DropNotNull {
        /// The column.
        column: String,
    },
    /// Sets the table's description.
    SetDescription {
        /// The name in its metadata, which is independent of the catalog's.
        name: Option<String>,
        /// The description.
        description: Option<String>,
    },
}

impl VirtualTable {
    /// The table as a type of delta-rs.
    pub(super) fn theirs(&self) -> DeltaTable {
        self.theirs_in(self.log_store.clone())
    }

    fn theirs_in(&self, log_store: Arc<VirtualLogStore>) -> DeltaTable {
        let mut table = DeltaTable::new(log_store);
        table.state = Some(DeltaTableState::new(self.snapshot.clone()));
        table
    }

    /// Applies changes that do not depend on rows.
    pub(crate) async fn alter(self, alter: Alter) -> Result<StagedCommit> {
        let table = self.theirs();
        let (none, commit) = (|_: DeltaTable| Value::Null, self.commit_properties());
        match alter {
            Alter::AddColumns(columns) | Alter::MergeColumns(columns) => {
                let add = table.add_columns().with_fields(columns.fields()).with_commit_properties(commit);
                self.capture("the columns cannot be added", add, none).await
            }
            Alter::SetProperties { properties, unknown } => {
                // Our properties are unknown to delta-rs, which still validates the others.
                let (ours, others): (Vec<_>, Vec<_>) =
                    properties.keys().partition(|key| key.starts_with("deltalakedb."));
                let unknown = match others.into_iter().find(|key| key.parse::<TableProperty>().is_err()) {
                    Some(key) if !ours.is_empty() && !unknown => {
                        return Err(TxnLogError::invalid(format!("{key:?} is no property that Delta knows")));
                    }
                    _ => unknown || !ours.is_empty(),
                };
                let set = table
                    .set_tbl_properties()
                    .with_properties(properties)
                    .with_raise_if_not_exists(!unknown)
                    .with_commit_properties(commit);
                self.capture("the properties cannot be set", set, none).await
            }
            Alter::DropConstraint { name, if_exists } => {
                let drop = table
                    .drop_constraints()
                    .with_constraint(name)
                    .with_raise_if_not_exists(!if_exists)
                    .with_commit_properties(commit);
                self.capture("the constraint cannot be dropped", drop, none).await
            }
            Alter::AddFeatures { names, raise_versions } => {
                let known = |name: &String| match name.parse::<TableFeatures>() {
                    Ok(feature) => Ok(feature),
                    Err(_) => Err(TxnLogError::invalid(format!("{name:?} is no table feature that is known"))),
                };
                let add = table
                    .add_feature()
                    .with_features(names.iter().map(known).collect::<Result<Vec<_>>>()?)
                    .with_allow_protocol_versions_increase(raise_versions)
                    .with_commit_properties(commit);
                self.capture("the features cannot be added", add, none).await
            }
            Alter::SetColumnMetadata { column, metadata } => {
                let metadata = metadata.into_iter().map(|(key, value)| (key, MetadataValue::String(value))).collect();
                let update = table
                    .update_field_metadata()
                    .with_field_name(&column)
                    .with_metadata(metadata)
                    .with_commit_properties(commit);
                self.capture("the column's metadata cannot be changed", update, none).await
            }
            Alter::DropNotNull { column } => {
                let drop = table.drop_column_not_null().with_column(column).with_commit_properties(commit);
                self.capture("the column cannot be made nullable", drop, none).await
            }
            Alter::SetDescription { name, description } => {
                let update = table
                    .update_table_metadata()
                    .with_update(TableMetadataUpdate { name, description })
                    .with_commit_properties(commit);
                self.capture("the description cannot be changed", update, none).await
            }
        }
    }

    /// The changes: the rows, with the additional columns `_change_type`, `_commit_version` and `_commit_timestamp`.
    pub(crate) async fn changes(self, what: &CdfScan) -> Result<SendableRecordBatchStream> {
        let failed = || "the changes cannot be read".to_string();
        let session = session_context(self.log_store.stores())?;
        let mut scan =
            self.theirs_in(Arc::new(self.log_store.of_changes())).scan_cdf().with_starting_version(what.from);
        if let Some(to) = what.to {
            scan = scan.with_ending_version(to);
        }
        if let Some(since) = what.since {
            scan = scan.with_starting_timestamp(since);
        }
        if let Some(until) = what.until {
            scan = scan.with_ending_timestamp(until);
        }
        if what.allow_out_of_range {
            scan = scan.with_allow_out_of_range();
        }
        let plan = scan.build(&session.state(), None).await.explain(failed)?;
        let rows = execute_stream(plan, session.task_ctx()).explain(failed)?;
        if what.filter_sql.is_none() && what.columns.is_none() {
            return Ok(rows);
        }
        let schema = rows.schema();
        let mut rows = DataFrame::new(session.state(), super::write::plan(rows)?);
        if let Some(sql) = &what.filter_sql {
            rows = rows.filter(Columns::of(&schema)?.read_condition("filter", sql)?).explain(failed)?;
        }
        if let Some(columns) = &what.columns {
            let named = columns.iter().map(|name| Expr::Column(Column::new_unqualified(name)));
            rows = rows.select(named.collect::<Vec<_>>()).explain(failed)?;
        }
        rows.execute_stream().await.explain(failed)
    }

    /// The add actions of its files as columns.
    pub(crate) fn add_actions(&self, flat: bool) -> Result<RecordBatch> {
        let failed = || "the files cannot be listed".to_string();
        let listed = self.snapshot.add_actions_table(flat).explain(failed)?;
        let mut columns = listed.columns().to_vec();
        for (field, column) in listed.schema_ref().fields().iter().zip(&mut columns) {
            if field.name() == "path" {
                let texts = cast(column, &DataType::Utf8).explain(failed)?;
                let paths = texts.as_string::<i32>().iter().map(|path| {
                    let path = path?;
                    Some(alias::real(path).map_or(Cow::Borrowed(path), Cow::Owned))
                });
                *column = cast(&paths.collect::<StringArray>(), field.data_type()).explain(failed)?;
            }
        }
        RecordBatch::try_new(listed.schema(), columns).explain(failed)
    }

    /// The files that have deletion vectors, with a flag for each row that is kept.
    pub(crate) async fn deletion_vectors(&self) -> Result<Vec<(String, Vec<bool>)>> {
        let (session, provider) =
            (session_context(self.log_store.stores())?, self.provider(super::StringEncoding::Utf8)?);
        let found = provider.deletion_vectors(&session.state()).await;
        let found = found.explain(|| "the deletion vectors cannot be read".into())?;
        Ok(found.into_iter().map(|vector| (self.log_store.outward(&vector.filepath), vector.keep_mask)).collect())
    }
}

impl PrunedTable {
    /// Deletes the rows that satisfy the condition; all rows without one.
    pub(crate) async fn delete(self) -> Result<StagedCommit> {
        let commit = self.table.commit_properties();
        let mut delete =
            self.table.theirs().delete().with_session_state(state(&self.table)?).with_commit_properties(commit);
        if let Some(parquet) = self.table.options.parquet.clone() {
            delete = delete.with_writer_properties(parquet);
        }
        if let Some(condition) = &self.condition {
            delete = delete.with_predicate(condition.is_true.clone());
        }
        Ok(self.table.capture("the rows cannot be deleted", delete, metrics).await?.of(self.condition.as_ref()))
    }

    /// Sets columns of the rows that satisfy the condition to the values of expressions.
    pub(crate) async fn update(self, set: &[(String, String)], safe_cast: bool) -> Result<StagedCommit> {
        let commit = self.table.commit_properties();
        let mut update =
            self.table.theirs().update().with_session_state(state(&self.table)?).with_commit_properties(commit);
        update = update.with_safe_cast(safe_cast);
        if let Some(parquet) = self.table.options.parquet.clone() {
            update = update.with_writer_properties(parquet);
        }
        if let Some(condition) = &self.condition {
            update = update.with_predicate(condition.is_true.clone());
        }
        let columns = Columns::of(&self.table.schema()?)?;
        let set = set.iter().map(|(column, value)| Ok((column.clone(), columns.read("value", value)?)));
        for (column, value) in self.table.generated()?.complete_update(set.collect::<Result<_>>()?, None)? {
            update = update.with_update(column.as_str(), value);
        }
        Ok(self.table.capture("the rows cannot be updated", update, metrics).await?.of(self.condition.as_ref()))
    }
}

impl FullTable {
    /// Adds constraints, which existing rows must satisfy as well.
    pub(crate) async fn constrain(self, constraints: HashMap<String, String>) -> Result<StagedCommit> {
        let add = self
            .0
            .theirs()
            .add_constraint()
            .with_session_state(state(&self.0)?)
            .with_constraints(constraints)
            .with_commit_properties(self.0.commit_properties());
        self.0.capture("the constraint cannot be added", add, |_| Value::Null).await
    }

    /// Compacts files.
    pub(crate) async fn optimize(self, how: &Optimize) -> Result<StagedCommit> {
        let (filters, applications) = (how.filters()?, self.applications());
        let optimize = self.optimizing(how, &filters)?;
        Ok(self.0.capture("the files cannot be put together", optimize, metrics).await?.with(applications))
    }

    /// Compacts files in several commits, and returns the metrics.
    pub(crate) async fn optimize_in_steps(self, how: &Optimize, apart: Duration) -> Result<(Vec<StagedCommit>, Value)> {
        let (filters, applications) = (how.filters()?, self.applications());
        let optimize = self.optimizing(how, &filters)?.with_min_commit_interval(apart);
        let (mut steps, metrics) = self.0.capture_steps("the files cannot be put together", optimize, metrics).await?;
        if let Some(last) = steps.pop() {
            steps.push(last.with(applications));
        }
        Ok((steps, metrics))
    }

    /// delta-rs does not support txns in an optimize.
    fn applications(&self) -> Vec<Action> {
        self.0.options.applications.iter().cloned().map(Action::Txn).collect()
    }

    fn optimizing<'a>(&self, how: &Optimize, filters: &'a [FilterLiteral<'a>]) -> Result<OptimizeBuilder<'a>> {
        let kind = match how.zorder.is_empty() {
            true => OptimizeType::Compact,
            false => OptimizeType::ZOrder(how.zorder.clone()),
        };
        let mut optimize = self
            .0
            .theirs()
            .optimize()
            .with_type(kind)
            .with_filters(filters)
            .with_session_state(state(&self.0)?)
            .with_commit_properties(self.0.commit_properties());
        if let Some(size) = how.target_size {
            optimize = optimize.with_target_size(size);
        }
        if let Some(tasks) = how.max_concurrent_tasks {
            optimize = optimize.with_max_concurrent_tasks(tasks);
        }
        if let Some(parquet) = self.0.options.parquet.clone() {
            optimize = optimize.with_writer_properties(parquet);
        }
        Ok(optimize)
    }

    /// Restores the table to an earlier version.
    pub(crate) async fn restore(self, to: &Snapshot, how: &Restore) -> Result<StagedCommit> {
        let (version, current) = (to.version(), self.0.base().version());
        if version >= current {
            return Err(TxnLogError::invalid(format!(
                "version {version} cannot be restored: the table is at version {current}, give an earlier one"
            )));
        }
        let (log, log_store) = (self.0.log.clone(), self.0.log_store.clone());
        let restore = self
            .0
            .theirs()
            .restore()
            .with_version_to_restore(version)
            // Missing files are checked below: delta-rs finds no file elsewhere, and does not check deletion vectors.
            .with_ignore_missing_files(true)
            .with_protocol_downgrade_allowed(how.protocol_downgrade_allowed)
            .with_commit_properties(self.0.commit_properties());
        let mut captured =
            self.0.capture_from(&to.head.metadata, "the version cannot be restored", restore, metrics).await?;
        as_they_were(&mut captured.actions, log.reader().files(version, None).await?).await?;
        bounds::restate(&mut captured.actions, Some(to), &HashSet::new(), &log_store.data_store()).await?;
        if !how.ignore_missing_files {
            check_there(&log_store, version, &captured.actions).await?;
        }
        Ok(captured)
    }
}

/// Removes missing files from a table. Their paths are returned as in delta-rs.
///
/// delta-rs' own check covers only files below the table.
pub(crate) async fn repair(state: &LogView, dry_run: bool) -> Result<StagedCommit> {
    let log = Arc::new(SnapshotLog::new(state, Files::None));
    let log_store = VirtualLogStore::new(&state.location, log, &state.options)?;
    let live = state.files().await?;
    let mut missing: HashMap<Vec<u8>, Add> = live.into_iter().map(|add| (canonical_path(&add.path), add)).collect();
    let mut listed = log_store.object_store(None).list(None);
    while !missing.is_empty()
        && let Some(file) = listed.try_next().await?
    {
        missing.remove(file.location.as_ref().as_bytes());
    }
    // Files elsewhere are not listed, so files that are not listed are looked up before they are removed.
    let looked = stream::iter(missing.into_values()).map(|add| async {
        let file = log_store.files_of(&add)?.swap_remove(0);
        Ok::<_, TxnLogError>((!log_store.is_there(&file).await?).then_some(add))
    });
    let found: Vec<_> = looked.buffer_unordered(AT_ONCE).try_collect().await?;
    let mut gone: Vec<Add> = found.into_iter().flatten().collect();
    gone.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let paths: Vec<_> = gone.iter().map(|add| add.path.as_str()).collect();
    let metrics = json!({ "dry_run": dry_run, "files_removed": Value::from(paths).to_string() });
    let mut actions = Vec::new();
    if !dry_run && !gone.is_empty() {
        let mut info = state.options.info("FSCK", Object::default());
        info.set("operationMetrics", &metrics);
        actions.push(Action::CommitInfo(CommitInfo(info)));
        actions.extend(state.options.applications.iter().cloned().map(Action::Txn));
        let now = state.options.clock.now_ms();
        actions.extend(gone.iter().map(|add| Action::Remove(Remove::of(add, now, true))));
    }
    Ok(StagedCommit { seen: None, metrics, ..StagedCommit::of_actions(state, actions)? })
}

/// Restores the members of restored files that delta-rs omits.
async fn as_they_were(actions: &mut [Action], mut then: BoxStream<'static, Result<Add>>) -> Result<()> {
    let adds = actions.iter_mut().filter_map(|action| match action {
        Action::Add(add) => Some((add.key(), add)),
        _ => None,
    });
    let mut adds: HashMap<FileKey, &mut Arc<Add>> = adds.collect();
    while let Some(was) = then.try_next().await? {
        if let Some(add) = adds.get_mut(&was.key()) {
            **add = Arc::new(Add { data_change: add.data_change, ..was });
        }
    }
    Ok(())
}

/// An error that names a file to be restored that is missing.
async fn check_there(log_store: &VirtualLogStore, version: Version, actions: &[Action]) -> Result<()> {
    let mut files = Vec::new();
    for action in actions {
        let Action::Add(add) = action else { continue };
        files.extend(log_store.files_of(add)?);
    }
    // Several vectors may be in one file.
    files.sort_unstable();
    files.dedup();
    let looked =
        stream::iter(files).map(|file| async move { Ok::<_, TxnLogError>((log_store.is_there(&file).await?, file)) });
    let mut looked = looked.buffer_unordered(AT_ONCE);
    while let Some((there, file)) = looked.try_next().await? {
        if !there {
            return Err(TxnLogError::invalid(format!(
                "the version cannot be restored: the file {file} of version {version} is gone, as vacuum removes files \
                 of old versions; restore a later one"
            )));
        }
    }
    Ok(())
}

/// How many files are looked up concurrently.
const AT_ONCE: usize = 16;

/// The settings and stores of operations.
pub(super) fn state(table: &VirtualTable) -> Result<Arc<SessionState>> {
    Ok(Arc::new(session_context(table.log_store.stores())?.state()))
}

/// The metrics of an operation.
pub(super) fn metrics<M: Serialize>((_, metrics): (DeltaTable, M)) -> Value {
    serde_json::to_value(metrics).unwrap_or_default()
}
