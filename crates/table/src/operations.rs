//! What can be done with a table: data files first, then one commit that names them.
//!
//! An [`Operation`] runs on a table at a version, or on what a transaction has made of it, and is staged: its files are
//! there, and its commit is a description that a catalog may take or refuse.

use std::collections::HashMap;
use std::time::Duration;

use arrow::datatypes::Schema;
use datafusion::execution::SendableRecordBatchStream;
use deltalakedb_log::action::{Action, CommitInfo, Metadata, Remove};
use deltalakedb_log::commit::{Base, Committed, Outcome, Reads};
use deltalakedb_log::lookup::source_tables;
use deltalakedb_log::schema::Schema as LogSchema;
use deltalakedb_log::snapshot::{At, Snapshot};
use deltalakedb_log::{
    ErrorKind, FileTxnLogWriter, Object, Predicate, Result, TableId, TxnLogError, TxnLogWriter, Version,
};
use futures::TryStreamExt;
use serde_json::Value;
use uuid::Uuid;

use crate::create::check_partitioning;
use crate::delta_rs::{
    Alter, Captured, Casts, Changes, Condition, Joined, LogState, Matching, Merge, MergeSource, Optimize, PlainAppend,
    Restore, SchemaMode, TableSchema, VirtualTable, Whole, check_writable, parse_schema, repair,
};
use crate::error::Explain;
use crate::filter::{Filter, join_predicate};
use crate::hold::HeldVersion;
use crate::identifiers::{column_named, quoted, unquoted};
use crate::table::{DeltaTable, Source};
use crate::table_spec::TableSpec;
use crate::vacuum::check_none_is_going_on;
use crate::write::{PendingWrite, Rows, check_not_behind, commit};
use crate::write_options::{SaveMode, WriteOptions};

/// Something to do with a table.
#[derive(Debug)]
pub enum Operation {
    /// Writes rows.
    Write(Write),
    /// Deletes rows.
    Delete {
        /// Those that satisfy this condition in SQL; all, without one.
        filter: Option<String>,
    },
    /// Sets columns to the values of expressions.
    Update {
        /// The columns and their values, in SQL over the row.
        set: Vec<(String, String)>,
        /// Of the rows that satisfy this condition in SQL; of all, without one.
        filter: Option<String>,
        /// What cannot be cast to the column's type becomes null; without it, it is an error.
        safe_cast: bool,
    },
    /// Merges rows into the table.
    Merge(Merge, Rows),
    /// Puts small files together.
    Optimize(Optimize),
    /// Makes the table what it was.
    Restore(Restore),
    /// Takes files that are gone out of the table.
    Repair {
        /// Only says which they are.
        dry_run: bool,
    },
    /// Makes the table anew: other columns, and no rows but those of files that are given.
    Recreate(TableSpec, TableSchema),
    /// Commits files that are there.
    Stage(Stage),
    /// Changes what the table is, not its rows.
    Alter(Alter),
    /// Adds conditions that every row satisfies, those that are there included: in SQL, by name.
    Constrain(HashMap<String, String>),
}

/// Files that somebody else wrote, or takes out.
#[derive(Clone, Debug)]
pub struct Stage {
    /// What is added and removed.
    pub actions: Vec<Action>,
    /// Takes out all files that were there.
    pub overwrite: bool,
}

/// Rows to be written, and what they do with those that are there.
#[derive(Debug)]
pub struct Write {
    /// The rows.
    pub rows: Rows,
    /// What happens to a table that is there.
    pub mode: SaveMode,
    /// An overwrite replaces only the rows that satisfy this condition in SQL, such as those of a partition; the new
    /// rows must satisfy it, too.
    pub replace_where: Option<String>,
    /// What happens to columns of the rows that the table does not have; without a mode they are refused.
    pub schema_mode: Option<SchemaMode>,
    /// The columns the table is partitioned by; another partitioning is refused, unless the columns are replaced, too.
    pub partition_by: Option<Vec<String>>,
    /// Which types of the rows are taken for those of the table.
    pub casts: Casts,
}

impl Write {
    /// Writes rows in a mode.
    pub fn new(rows: impl Into<Rows>, mode: SaveMode) -> Self {
        Self {
            rows: rows.into(),
            mode,
            replace_where: None,
            schema_mode: None,
            partition_by: None,
            casts: Casts::Meaning,
        }
    }
}

/// What an operation came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The version it became; `None` when there was nothing to do.
    pub committed: Option<Committed>,
    /// What the operation says of itself, such as `num_deleted_rows`; null when it says nothing.
    pub metrics: Value,
}

/// An operation whose data files are there and whose commit is only described.
pub(crate) struct Staged {
    pub(crate) captured: Captured,
    pub(crate) reads: Reads,
    /// It holds only as the very next version: files it names again may be vacuumed with any other.
    pub(crate) exactly: bool,
}

impl Operation {
    /// What it is called in messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Write(_) => "a write",
            Self::Delete { .. } => "a delete",
            Self::Update { .. } => "an update",
            Self::Merge(..) => "a merge",
            Self::Optimize(_) => "an optimize",
            Self::Restore(_) => "a restore",
            Self::Repair { .. } => "a repair",
            Self::Recreate(..) => "a creation",
            Self::Stage(_) => "a commit of files",
            Self::Alter(_) | Self::Constrain(_) => "an alter",
        }
    }

    /// Writes the data files of the operation. `None` when it is none: a write in a mode that leaves tables alone.
    pub(crate) async fn stage(self, state: &LogState, table: &str) -> Result<Option<Staged>> {
        let base = state.snapshot()?;
        check_writable(&base, table)?;
        let empty = async || VirtualTable::without_files(state).await;
        let staged = match self {
            Self::Write(write) => return write.stage(state, &base, table).await,
            Self::Delete { filter } => {
                let condition = condition(&empty().await?, filter)?;
                let predicate = predicate_of(condition.as_ref());
                Staged::matching(Matching::open(state, condition).await?.delete().await?, predicate)
            }
            Self::Update { set, filter, safe_cast } => {
                let empty = empty().await?;
                let set = named_columns(&empty, table, set)?;
                let condition = condition(&empty, filter)?;
                let predicate = predicate_of(condition.as_ref());
                Staged::matching(Matching::open(state, condition).await?.update(&set, safe_cast).await?, predicate)
            }
            Self::Merge(merge, rows) => stage_merge(&empty().await?, state, table, merge, rows).await?,
            Self::Optimize(how) => {
                check_optimize(state, &base, table, &how).await?;
                // It moves rows and changes none: whoever changed its files meanwhile has removed them.
                Staged::blind(Whole::open(state).await?.optimize(&how).await?)
            }
            Self::Restore(how) => {
                let to = state.reader.snapshot(how.to).await?;
                Staged { exactly: true, ..Staged::whole(Whole::open(state).await?.restore(&to, &how).await?) }
            }
            Self::Repair { dry_run } => Staged::whole(repair(state, dry_run).await?),
            Self::Recreate(spec, columns) => {
                check_partitioning(&columns.names(), &spec.partition_by)?;
                let whole = Whole::open(state).await?;
                Staged::whole(whole.recreate(&spec, columns.fields(), &state.location).await?)
            }
            Self::Stage(files) => files.stage(state, &base, table).await?,
            // Rows that break the constraint must not come in beside it.
            Self::Constrain(conditions) => Staged::whole(Whole::open(state).await?.constrain(conditions).await?),
            Self::Alter(alter) => {
                let empty = empty().await?;
                check_new(&empty, table, &alter)?;
                Staged::blind(empty.alter(alter).await?)
            }
        };
        Ok(Some(staged))
    }
}

impl Staged {
    /// Of an operation that read the files a predicate chose.
    fn matching(captured: Captured, predicate: Predicate) -> Self {
        let reads = match captured.seen.clone() {
            Some(files) => Reads { files, predicates: vec![predicate], ..Reads::default() },
            None => Reads { whole_table: true, ..Reads::default() },
        };
        Self { reads, ..Self::blind(captured) }
    }

    /// Of an operation that read no row.
    fn blind(captured: Captured) -> Self {
        Self { captured, reads: Reads::default(), exactly: false }
    }

    /// Of an operation that read everything.
    fn whole(captured: Captured) -> Self {
        Self { reads: Reads { whole_table: true, ..Reads::default() }, ..Self::blind(captured) }
    }
}

impl Write {
    async fn stage(self, state: &LogState, base: &Snapshot, table: &str) -> Result<Option<Staged>> {
        match self.mode {
            SaveMode::Ignore => return Ok(None),
            SaveMode::ErrorIfExists => {
                return Err(TxnLogError::new(ErrorKind::AlreadyExists, format!("{table} exists: nothing was written")));
            }
            SaveMode::Append if self.rows.schema().is_none() => return Ok(None),
            SaveMode::Append if self.replace_where.is_some() => {
                return Err(TxnLogError::invalid(
                    "an append replaces nothing: overwrite, or leave the condition of what is replaced out",
                ));
            }
            SaveMode::Append | SaveMode::Overwrite => {}
        }
        let replaces_all = self.mode == SaveMode::Overwrite && self.replace_where.is_none();
        let there = &base.head.metadata.partition_columns;
        if let Some(given) = self.partition_by.as_ref().filter(|given| *given != there)
            && !(replaces_all && self.schema_mode == Some(SchemaMode::Overwrite))
        {
            return Err(TxnLogError::invalid(format!(
                "Specified table partitioning does not match table partitioning: expected: {there:?}, got: {given:?}, \
                 for {table}"
            )));
        }
        let mut evolution = self.schema_mode;
        if evolution == Some(SchemaMode::Overwrite) && !replaces_all {
            let columns = parse_schema(&base.head.metadata.schema_string)?;
            let given = self.rows.schema().map(|rows| rows.fields().iter().map(|f| f.name().as_str()).collect());
            if self.mode == SaveMode::Append || given.is_some_and(|given: Vec<_>| given != columns.names()) {
                return Err(TxnLogError::invalid(format!(
                    "the columns of {table} can be replaced only where all its rows are: overwrite the whole table"
                )));
            }
            evolution = None;
        }
        if self.mode == SaveMode::Append
            && evolution.is_none()
            && let Some(append) = PlainAppend::open(state, base)?
        {
            let (rows, refusal) = self.rows.fitted(table, append.schema(), None, self.casts)?;
            return Ok(Some(Staged::blind(refusal.or(append.append(rows).await)?)));
        }
        let empty = VirtualTable::without_files(state).await?;
        let (columns, replaced) = (empty.schema()?, condition(&empty, self.replace_where)?);
        let (rows, refusal) = self.rows.fitted(table, &columns, evolution, self.casts)?;
        Ok(Some(match (self.mode, replaced) {
            (SaveMode::Overwrite, Some(replaced)) => {
                let predicate = replaced.predicate.clone();
                let matching = Matching::open(state, Some(replaced)).await?;
                Staged::matching(refusal.or(matching.replace(rows, evolution).await)?, predicate)
            }
            (SaveMode::Overwrite, None) => {
                let whole = Whole::open(state).await?;
                Staged::whole(refusal.or(whole.overwrite(rows, evolution, self.partition_by).await)?)
            }
            _ => Staged::blind(refusal.or(empty.append(rows, evolution).await)?),
        }))
    }
}

impl Stage {
    async fn stage(self, state: &LogState, base: &Snapshot, table: &str) -> Result<Staged> {
        let Metadata { schema_string, partition_columns, .. } = &base.head.metadata;
        let schema = LogSchema::parse(schema_string, partition_columns)?;
        // Values are by the columns' names in files.
        let known: Vec<_> = schema.columns().iter().filter(|c| c.is_partition).map(|c| &c.physical_name).collect();
        for action in &self.actions {
            let Action::Add(add) = action else { continue };
            let given: Vec<_> = add.partition_values.keys().collect();
            if given.len() != known.len() || !known.iter().all(|column| given.contains(column)) {
                return Err(TxnLogError::invalid(format!(
                    "the file {} has values for the partition columns {given:?}, and {table} is partitioned by {known:?}",
                    add.path
                )));
            }
        }
        let mut parameters = Object::default();
        parameters.set("mode", if self.overwrite { "Overwrite" } else { "Append" });
        let info = state.options.info("WRITE", parameters);
        let mut actions = vec![Action::CommitInfo(CommitInfo(info))];
        actions.extend(state.options.applications.iter().cloned().map(Action::Txn));
        if self.overwrite {
            let now = state.options.clock.now_ms();
            let live = state.files().await?;
            actions.extend(live.into_iter().map(|add| Action::Remove(Remove::of(&add, now, true))));
        }
        let removes = self.overwrite || self.actions.iter().any(|action| matches!(action, Action::Remove(_)));
        actions.extend(self.actions);
        let captured = Captured::of_actions(state, actions)?;
        Ok(if removes { Staged::whole(captured) } else { Staged::blind(captured) })
    }
}

async fn stage_merge(empty: &VirtualTable, state: &LogState, table: &str, merge: Merge, rows: Rows) -> Result<Staged> {
    let (rows, refusal) = rows.in_delta_types();
    let schema = rows.schema();
    let batches: Result<Vec<_>> = rows.try_collect().await.explain(|| "the rows to be merged cannot be read".into());
    let source = MergeSource { schema, batches: refusal.or(batches)? };
    let columns = empty.schema()?;
    let merge = merge.with_columns_of(&columns);
    // delta-rs would set a column that is not there without a word.
    let added = |name: &str| merge.evolve_schema && source.schema.column_with_name(name).is_some();
    let set = merge.columns();
    check_known(empty, table, set.iter().map(String::as_str).filter(|name| !added(name)))?;
    match merge.joining() {
        Some(joining) => {
            let predicate = join_predicate(&merge, &empty.schema()?, &source)?;
            let joined = Joined::open(state, predicate.clone()).await?;
            Ok(Staged::matching(joined.merge(source, joining).await?, predicate))
        }
        None => Ok(Staged::whole(Whole::open(state).await?.merge(source, &merge).await?)),
    }
}

/// A condition in SQL, and what it says about whole files.
fn condition(table: &VirtualTable, sql: Option<String>) -> Result<Option<Condition>> {
    let Some(sql) = sql else { return Ok(None) };
    Filter::parse(&sql, &table.schema()?)?.condition().map(Some)
}

fn predicate_of(condition: Option<&Condition>) -> Predicate {
    condition.map_or(Predicate::Unknown, |condition| condition.predicate.clone())
}

async fn check_optimize(state: &LogState, base: &Snapshot, table: &str, how: &Optimize) -> Result<()> {
    check_writable(base, table)?;
    check_known(&VirtualTable::without_files(state).await?, table, how.zorder.iter().map(String::as_str))
}

/// What an update sets, its columns as expressions name them.
fn named_columns(empty: &VirtualTable, table: &str, set: Vec<(String, String)>) -> Result<Vec<(String, String)>> {
    if set.is_empty() {
        return Err(TxnLogError::invalid(format!("an update of {table} sets no column: say which, and to what")));
    }
    let schema = empty.schema()?;
    let mut named: Vec<(String, String)> = Vec::with_capacity(set.len());
    for (key, value) in set {
        let Some(name) = column_named(&key, &schema) else {
            if let Some(column) = key.split('.').next().and_then(|first| column_named(first, &schema)) {
                return Err(TxnLogError::invalid(format!(
                    "an update of {table} sets {key:?}, which is within the column {column:?}: only whole columns are set"
                )));
            }
            return Err(no_column(table, &unquoted(&key), &schema));
        };
        let column = quoted(name);
        if named.iter().any(|(other, _)| *other == column) {
            return Err(TxnLogError::invalid(format!(
                "an update of {table} sets {name:?} twice: leave one of them out"
            )));
        }
        named.push((column, value));
    }
    Ok(named)
}

fn no_column(table: &str, name: &str, schema: &Schema) -> TxnLogError {
    let columns: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    TxnLogError::invalid(format!("{table} has no column {name:?}: it has {}", columns.join(", ")))
}

fn check_new(empty: &VirtualTable, table: &str, alter: &Alter) -> Result<()> {
    let Alter::AddColumns(columns) = alter else { return Ok(()) };
    let schema = empty.schema()?;
    let there = |name: &&str| schema.fields().iter().any(|f| f.name().eq_ignore_ascii_case(name));
    match columns.names().into_iter().find(there) {
        None => Ok(()),
        Some(name) => Err(TxnLogError::new(
            ErrorKind::AlreadyExists,
            format!("{table} has a column {name:?} already: take another"),
        )),
    }
}

fn check_known<'a>(empty: &VirtualTable, table: &str, mut names: impl Iterator<Item = &'a str>) -> Result<()> {
    let schema = empty.schema()?;
    let known = |name: &str| schema.fields().iter().any(|f| f.name().eq_ignore_ascii_case(name));
    // Within a column there may be others.
    match names.find(|name| !known(name) && !known(name.split('.').next().unwrap_or(name))) {
        None => Ok(()),
        Some(name) => Err(no_column(table, name, &schema)),
    }
}

/// How long a version is held that a restore reads.
const RESTORE: Duration = Duration::from_secs(60 * 60);

impl DeltaTable {
    /// Runs an operation and commits it. It sees one version of the table, the newest; whoever committed meanwhile what
    /// the operation should have seen makes it [`ErrorKind::Conflict`], and its files are removed.
    pub async fn run(&self, operation: Operation, options: &WriteOptions) -> Result<Finished> {
        if let Operation::Optimize(how @ Optimize { min_commit_interval: Some(apart), .. }) = &operation {
            return self.optimize_in_steps(how, *apart, options).await;
        }
        let (pending, metrics) = self.stage(operation, options).await?;
        let committed = match pending {
            Some(pending) => self.commit(pending, options).await?,
            None => None,
        };
        Ok(Finished { committed, metrics })
    }

    /// Writes the data files of an operation and says what it would commit. `None` when there is nothing to do.
    pub async fn prepare(&self, operation: Operation, options: &WriteOptions) -> Result<Option<PendingWrite>> {
        Ok(self.stage(operation, options).await?.0)
    }

    /// What is optimized by one commit stays so, whatever becomes of the next.
    async fn optimize_in_steps(&self, how: &Optimize, apart: Duration, options: &WriteOptions) -> Result<Finished> {
        let (id, began_at) = (self.writable_id()?, options.clock.now_ms());
        self.check_owner(options)?;
        self.check_not_behind().await?;
        let (base, state) = self.state(options).await?;
        check_optimize(&state, &base, &self.to_string(), how).await?;
        let (steps, metrics) = Box::pin(Whole::open(&state).await?.optimize_in_steps(how, apart)).await?;
        let (mut steps, mut committed) = (steps.into_iter(), None);
        while let Some(step) = steps.next() {
            let mut pending = PendingWrite::new(step, id, Base::RebaseFrom(base.version()), options);
            pending.began_at = began_at;
            match self.commit(pending, options).await {
                Ok(done) => committed = done,
                Err(e) => {
                    for step in steps {
                        step.files.remove().await;
                    }
                    return Err(e);
                }
            }
        }
        Ok(Finished { committed, metrics })
    }

    /// Refuses to write while the catalog is behind `_delta_log`, before any file is written.
    async fn check_not_behind(&self) -> Result<()> {
        match &self.source {
            Source::Catalog { catalog, id, .. } => check_not_behind(catalog.as_ref(), self.stores.as_ref(), *id).await,
            Source::Plain | Source::Reader(_) => Ok(()),
        }
    }

    /// The time by the clock that gives the table's versions their times, in milliseconds since 1970.
    async fn now_ms(&self, options: &WriteOptions) -> Result<i64> {
        match &self.source {
            Source::Catalog { catalog, .. } => catalog.now_ms().await,
            Source::Plain | Source::Reader(_) => Ok(options.clock.now_ms()),
        }
    }

    /// The table as it is read by whoever writes in that way.
    async fn state(&self, options: &WriteOptions) -> Result<(Snapshot, LogState)> {
        let reader = self.reader().await?;
        let base = reader.snapshot(options.read_version.map_or(At::Latest, At::Version)).await?;
        Ok((base.clone(), LogState::at(&self.location, &self.stores, reader, base).writing(options)))
    }

    async fn stage(&self, operation: Operation, options: &WriteOptions) -> Result<(Option<PendingWrite>, Value)> {
        let restored = match &operation {
            Operation::Restore(how) => self.hold_restored(how.to, options),
            _ => return self.stage_unheld(operation, options).await,
        };
        let Some(held) = restored.await? else { return self.stage_unheld(operation, options).await };
        match self.stage_unheld(operation, options).await {
            Ok((Some(pending), metrics)) => Ok((Some(PendingWrite { held: Some(held), ..pending }), metrics)),
            other => {
                held.release().await?;
                other
            }
        }
    }

    /// Holds the version that a restore of a shallow clone reads: a vacuum of its source that begins before the restore is
    /// committed is no version of the clone, with which it would be in conflict.
    async fn hold_restored(&self, to: At, options: &WriteOptions) -> Result<Option<HeldVersion>> {
        let Source::Catalog { catalog, id, .. } = &self.source else { return Ok(None) };
        self.check_owner(options)?;
        match source_tables(catalog.as_ref(), *id, self.stores.as_ref()).await?.is_empty() {
            true => Ok(None),
            false => self.hold(to, RESTORE, "a restore").await.map(Some),
        }
    }

    async fn stage_unheld(
        &self,
        operation: Operation,
        options: &WriteOptions,
    ) -> Result<(Option<PendingWrite>, Value)> {
        let (id, began_at) = (self.writable_id()?, options.clock.now_ms());
        self.check_owner(options)?;
        self.check_not_behind().await?;
        let (base, state) = self.state(options).await?;
        let (version, table) = (base.version(), self.to_string());
        if matches!(operation, Operation::Restore(_)) {
            // What is not gone now stays until this is committed: a vacuum that begins later is another version.
            check_none_is_going_on(state.reader.as_ref(), self.now_ms(options).await?, &table).await?;
        }
        // What operations hold while they wait is much: it is not kept on the stack.
        let Some(Staged { mut captured, reads, exactly }) = Box::pin(operation.stage(&state, &table)).await? else {
            return Ok((None, Value::Null));
        };
        let metrics = captured.metrics.take();
        if captured.is_empty() {
            return Ok((None, metrics));
        }
        let base = if exactly { Base::Exactly(version) } else { Base::RebaseFrom(version) };
        let mut pending = PendingWrite::new(captured, id, base, options);
        pending.request.reads = reads;
        pending.began_at = began_at;
        Ok((Some(pending), metrics))
    }

    async fn commit(&self, pending: PendingWrite, options: &WriteOptions) -> Result<Option<Committed>> {
        let committed = match &self.source {
            Source::Catalog { catalog, .. } => commit(catalog.as_ref(), vec![pending], options).await?,
            Source::Plain | Source::Reader(_) => {
                let writer = FileTxnLogWriter::open_in(&self.location, self.stores.as_ref(), options.clock.clone())?;
                match writer.commit(pending.request.clone()).await {
                    Ok(Outcome::Conflict(c)) => {
                        pending.discard().await;
                        Outcome::Conflict(c).committed()?
                    }
                    Ok(outcome) => outcome.committed()?,
                    Err(e) => return Err(lost(pending, e).await),
                }
            }
        };
        Ok(committed.into_iter().next())
    }

    /// Writes the data files of a write and says what it would commit. `None` when there is nothing to do.
    ///
    /// The rows must fit the table: numbers may be narrower, encodings differ, nullable columns be left out. An append
    /// does not look at the table's files, so its cost does not depend on their number; it conflicts only with changes
    /// of schema or protocol. An overwrite conflicts with every other commit.
    pub async fn prepare_write(
        &self,
        rows: impl Into<Rows>,
        mode: SaveMode,
        options: &WriteOptions,
    ) -> Result<Option<PendingWrite>> {
        self.prepare(Operation::Write(Write::new(rows, mode)), options).await
    }

    /// Writes rows in one commit. `None` when there was nothing to do.
    ///
    /// ```no_run
    /// # use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    /// # use std::sync::Arc;
    /// use deltalakedb_table::{DeltaTable, SaveMode, WriteOptions};
    ///
    /// # async fn example() -> deltalakedb_log::Result<()> {
    /// let table = DeltaTable::open("/data/orders").await?;
    /// let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    /// let rows = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    /// let committed = table.write(vec![rows], SaveMode::Append, &WriteOptions::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write(
        &self,
        rows: impl Into<Rows>,
        mode: SaveMode,
        options: &WriteOptions,
    ) -> Result<Option<Committed>> {
        Ok(self.run(Operation::Write(Write::new(rows, mode)), options).await?.committed)
    }

    /// Deletes the rows that satisfy a condition in SQL; all, without one. Only files in which there may be such rows
    /// are looked at.
    pub async fn delete(&self, filter: Option<&str>, options: &WriteOptions) -> Result<Finished> {
        self.run(Operation::Delete { filter: filter.map(String::from) }, options).await
    }

    /// Sets columns of the rows that satisfy a condition in SQL, of all without one, to the values of expressions.
    ///
    /// ```no_run
    /// # use deltalakedb_table::{DeltaTable, WriteOptions};
    /// # async fn example(table: DeltaTable) -> deltalakedb_log::Result<()> {
    /// table.update(&[("price", "price * 2")], Some("id = 7"), &WriteOptions::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update(&self, set: &[(&str, &str)], filter: Option<&str>, options: &WriteOptions) -> Result<Finished> {
        let set = set.iter().map(|(column, value)| (column.to_string(), value.to_string())).collect();
        let (filter, safe_cast) = (filter.map(String::from), false);
        self.run(Operation::Update { set, filter, safe_cast }, options).await
    }

    /// Merges rows into the table.
    ///
    /// ```no_run
    /// # use deltalakedb_table::{Assignments, DeltaTable, Merge, MergeClause, Rows, WriteOptions};
    /// # async fn example(table: DeltaTable, rows: Rows) -> deltalakedb_log::Result<()> {
    /// let upsert = Merge::on("target.id = source.id")
    ///     .when(MergeClause::MatchedUpdate { condition: None, set: Assignments::All })
    ///     .when(MergeClause::NotMatchedInsert { condition: None, values: Assignments::All });
    /// table.merge(upsert, rows, &WriteOptions::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn merge(&self, merge: Merge, rows: impl Into<Rows>, options: &WriteOptions) -> Result<Finished> {
        self.run(Operation::Merge(merge, rows.into()), options).await
    }

    /// Puts small files together, or lays rows out along columns. No row changes.
    pub async fn optimize(&self, how: Optimize, options: &WriteOptions) -> Result<Finished> {
        self.run(Operation::Optimize(how), options).await
    }

    /// Makes the table what it was, in a new version.
    pub async fn restore(&self, to: At, options: &WriteOptions) -> Result<Finished> {
        self.run(Operation::Restore(to.into()), options).await
    }

    /// Changes what the table is: its columns, properties, description.
    pub async fn alter(&self, alter: Alter, options: &WriteOptions) -> Result<Finished> {
        self.run(Operation::Alter(alter), options).await
    }

    /// Adds a condition in SQL that every row satisfies, those that are there included.
    pub async fn constrain(&self, name: &str, condition: &str, options: &WriteOptions) -> Result<Finished> {
        self.run(Operation::Constrain(HashMap::from([(name.into(), condition.into())])), options).await
    }

    /// Sets properties, such as `delta.enableChangeDataFeed`.
    pub async fn set_properties(&self, properties: &[(&str, &str)], options: &WriteOptions) -> Result<Finished> {
        let properties: HashMap<_, _> = properties.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        self.alter(Alter::SetProperties { properties, unknown: false }, options).await
    }

    /// What changed from a version to another (the newest, where none is given), both included: the rows, and beside
    /// them `_change_type` (`insert`, `delete`, `update_preimage`, `update_postimage`), `_commit_version` and
    /// `_commit_timestamp`. The table must have recorded it (`delta.enableChangeDataFeed`).
    pub async fn changes(&self, from: Version, to: Option<Version>) -> Result<SendableRecordBatchStream> {
        let reader = self.reader().await?;
        let head = reader.snapshot(to.map_or(At::Latest, At::Version)).await?;
        let to = head.version();
        if from > to {
            return Err(TxnLogError::invalid(format!(
                "there are no changes from version {from} to {to} of {self}: give an earlier version to begin with"
            )));
        }
        let first = reader.snapshot(At::Version(from)).await?;
        if !first.head.metadata.is_on("delta.enableChangeDataFeed") {
            return Err(TxnLogError::invalid(format!(
                "{self} did not record its changes at version {from}: set delta.enableChangeDataFeed=true, and begin \
                 with a version after that"
            )));
        }
        let what = Changes { from, to: Some(to), ..Changes::default() };
        VirtualTable::without_files(&LogState::at(&self.location, &self.stores, reader, head))
            .await?
            .changes(&what)
            .await
    }

    /// The changes that are asked for, as delta-rs finds them up to a version.
    pub async fn changes_of(&self, what: &Changes, at: At) -> Result<SendableRecordBatchStream> {
        VirtualTable::without_files(&self.held(at).await?).await?.changes(what).await
    }

    fn writable_id(&self) -> Result<TableId> {
        match &self.source {
            Source::Catalog { id, .. } => Ok(*id),
            Source::Plain => Ok(TableId(Uuid::nil())),
            Source::Reader(_) => Err(TxnLogError::invalid(format!(
                "{self} was opened with a reader of its log only: open it in its catalog to write"
            ))),
        }
    }
}

/// Removes the files of a write by path that certainly was not committed.
async fn lost(write: PendingWrite, e: TxnLogError) -> TxnLogError {
    if !matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Internal) {
        write.discard().await;
    }
    e
}
