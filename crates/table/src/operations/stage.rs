//! Writes the data files of an operation and describes its commit.

use datafusion::logical_expr::{Expr, cast, try_cast};
use deltalakedb_log::action::{Action, CommitInfo, Metadata, Remove};
use deltalakedb_log::commit::Reads;
use deltalakedb_log::schema::Schema as LogSchema;
use deltalakedb_log::snapshot::Snapshot;
use deltalakedb_log::{ErrorKind, Object, Predicate, Result, Subject, TxnLogError};
use futures::TryStreamExt;

use super::checks::{check_known, check_new, check_optimize, named_columns};
use super::mark::{MarkedTable, marks_rows};
use super::purge::purge;
use super::{CommitFiles, Operation, WriteRows};
use crate::create::check_partitioning;
use crate::data_files::append;
use crate::delta_rs::{
    Condition, FullTable, LogView, MatchedMergeTarget, Merge, MergeSource, PrunedTable, SchemaMode, StagedCommit,
    VirtualTable, check_writable, parse_schema, repair,
};
use crate::error::Explain;
use crate::filter::{Filter, join_predicate};
use crate::identifiers::unquoted;
use crate::write::Rows;
use crate::write_options::SaveMode;

/// An operation whose data files exist and whose commit is only described.
pub(crate) struct StagedOperation {
    pub(crate) captured: StagedCommit,
    pub(crate) reads: Reads,
    /// It must be the next version after the one it read: a concurrent vacuum may remove files that it adds again.
    pub(crate) exactly: bool,
}

impl Operation {
    /// Writes the data files of the operation. `None` for a write in a mode that leaves existing tables unchanged.
    pub(crate) async fn stage(self, state: &LogView, table: &str) -> Result<Option<StagedOperation>> {
        let base = state.snapshot()?;
        check_writable(&base, table)?;
        let empty = async || VirtualTable::without_files(state).await;
        let staged = match self {
            Self::Write(write) => return write.stage(state, &base, table).await,
            Self::Delete { filter } if marks_rows(&base) => {
                let filter = read_filter(&empty().await?, filter)?;
                let predicate = filter.as_ref().map_or(Predicate::Unknown, Filter::predicate);
                let marked = MarkedTable::open(state, table, &predicate).await?;
                StagedOperation::matching(marked.delete(filter.as_ref()).await?, predicate)
            }
            Self::Update { set, filter, safe_cast } if marks_rows(&base) => {
                let empty = empty().await?;
                let set = typed(&empty, &named_columns(&empty, table, set)?, safe_cast)?;
                let filter = read_filter(&empty, filter)?;
                let predicate = filter.as_ref().map_or(Predicate::Unknown, Filter::predicate);
                let marked = MarkedTable::open(state, table, &predicate).await?;
                StagedOperation::matching(marked.update(set, filter.as_ref()).await?, predicate)
            }
            Self::Delete { filter } => {
                let condition = condition(&empty().await?, filter)?;
                let predicate = predicate_of(condition.as_ref());
                StagedOperation::matching(PrunedTable::open(state, condition).await?.delete().await?, predicate)
            }
            Self::Update { set, filter, safe_cast } => {
                let empty = empty().await?;
                let set = named_columns(&empty, table, set)?;
                let condition = condition(&empty, filter)?;
                let predicate = predicate_of(condition.as_ref());
                StagedOperation::matching(
                    PrunedTable::open(state, condition).await?.update(&set, safe_cast).await?,
                    predicate,
                )
            }
            Self::Merge(merge, rows) => stage_merge(&empty().await?, state, &base, table, merge, rows).await?,
            Self::Optimize(optimize) => {
                check_optimize(state, &base, table, &optimize).await?;
                // It moves rows and changes none: a concurrent change of its files removes them, a conflict.
                StagedOperation::blind(FullTable::open(state).await?.optimize(&optimize).await?)
            }
            // As above.
            Self::Purge { partitions } => StagedOperation::blind(purge(state, table, &partitions).await?),
            Self::Restore(restore) => {
                let to = state.reader.snapshot(restore.to).await?;
                StagedOperation {
                    exactly: true,
                    ..StagedOperation::with_all_files_read(FullTable::open(state).await?.restore(&to, &restore).await?)
                }
            }
            Self::Repair { dry_run } => StagedOperation::with_all_files_read(repair(state, dry_run).await?),
            Self::ReplaceTable(spec, columns) => {
                check_partitioning(&columns.names(), &spec.partition_by)?;
                let whole = FullTable::open(state).await?;
                StagedOperation::with_all_files_read(whole.recreate(&spec, columns.fields(), &state.location).await?)
            }
            Self::CommitFiles(files) => files.stage(state, &base, table).await?,
            // Rows that violate the constraint must not be added concurrently.
            Self::AddConstraints(conditions) => {
                StagedOperation::with_all_files_read(FullTable::open(state).await?.constrain(conditions).await?)
            }
            Self::Alter(alter) => {
                let empty = empty().await?;
                check_new(&empty, table, &alter)?;
                StagedOperation::blind(empty.alter(alter).await?)
            }
        };
        Ok(Some(staged))
    }
}

impl StagedOperation {
    /// An operation that read the files selected by a predicate.
    fn matching(captured: StagedCommit, predicate: Predicate) -> Self {
        let reads = match captured.seen.clone() {
            Some(files) => Reads { files, predicates: vec![predicate], ..Reads::default() },
            None => Reads { whole_table: true, ..Reads::default() },
        };
        Self { reads, ..Self::blind(captured) }
    }

    /// An operation that read no row.
    fn blind(captured: StagedCommit) -> Self {
        Self { captured, reads: Reads::default(), exactly: false }
    }

    /// An operation that read the whole table.
    fn with_all_files_read(captured: StagedCommit) -> Self {
        Self { reads: Reads { whole_table: true, ..Reads::default() }, ..Self::blind(captured) }
    }
}

impl WriteRows {
    async fn stage(self, state: &LogView, base: &Snapshot, table: &str) -> Result<Option<StagedOperation>> {
        match self.mode {
            SaveMode::Ignore => return Ok(None),
            SaveMode::ErrorIfExists => {
                return Err(TxnLogError::new(ErrorKind::AlreadyExists, format!("{table} exists: nothing was written")));
            }
            SaveMode::Append if self.rows.schema().is_none() => return Ok(None),
            SaveMode::Append if self.replace_where.is_some() => {
                return Err(TxnLogError::invalid(
                    "an append replaces no rows: overwrite, or omit the condition of the replaced rows",
                ));
            }
            SaveMode::Append | SaveMode::Overwrite => {}
        }
        let replaces_all = self.mode == SaveMode::Overwrite && self.replace_where.is_none();
        let there = &base.head.metadata.partition_columns;
        if let Some(given) = self.partition_by.as_ref().filter(|given| *given != there)
            && !(replaces_all && self.schema_mode == Some(SchemaMode::Overwrite))
        {
            let message = format!("invalid partition columns for {table}: expected {there:?}, got {given:?}");
            return Err(TxnLogError::invalid(message).about(Subject::Partitioning));
        }
        let mut evolution = self.schema_mode;
        if evolution == Some(SchemaMode::Overwrite) && !replaces_all {
            let columns = parse_schema(&base.head.metadata.schema_string)?;
            let given = self.rows.schema().map(|rows| rows.fields().iter().map(|f| f.name().as_str()).collect());
            if self.mode == SaveMode::Append || given.is_some_and(|given: Vec<_>| given != columns.names()) {
                return Err(TxnLogError::invalid(format!(
                    "the schema of {table} can be replaced only together with all its rows: overwrite the whole table"
                )));
            }
            evolution = None;
        }
        if self.mode == SaveMode::Append {
            let appended = append(state, base, table, self.rows, evolution, self.casts).await?;
            return Ok(Some(StagedOperation::blind(appended)));
        }
        let empty = VirtualTable::without_files(state).await?;
        let (columns, replaced) = (empty.schema()?, condition(&empty, self.replace_where)?);
        let (rows, refusal) = self.rows.adapted(table, &columns, evolution, self.casts)?;
        Ok(Some(match replaced {
            Some(replaced) => {
                let predicate = replaced.predicate.clone();
                let matching = PrunedTable::open(state, Some(replaced)).await?;
                StagedOperation::matching(refusal.or(matching.replace(rows, evolution).await)?, predicate)
            }
            None => {
                let whole = FullTable::open(state).await?;
                StagedOperation::with_all_files_read(
                    refusal.or(whole.overwrite(rows, evolution, self.partition_by).await)?,
                )
            }
        }))
    }
}

impl CommitFiles {
    async fn stage(self, state: &LogView, base: &Snapshot, table: &str) -> Result<StagedOperation> {
        let Metadata { schema_string, partition_columns, .. } = &base.head.metadata;
        let schema = LogSchema::parse(schema_string, partition_columns)?;
        // Values are keyed by the physical names of the columns.
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
            let live = state.files(None).await?;
            actions.extend(live.into_iter().map(|add| Action::Remove(Remove::of(&add, now, true))));
        }
        let removes = self.overwrite || self.actions.iter().any(|action| matches!(action, Action::Remove(_)));
        actions.extend(self.actions);
        let captured = StagedCommit::of_actions(state, actions)?;
        Ok(if removes { StagedOperation::with_all_files_read(captured) } else { StagedOperation::blind(captured) })
    }
}

async fn stage_merge(
    empty: &VirtualTable,
    state: &LogView,
    base: &Snapshot,
    table: &str,
    merge: Merge,
    rows: Rows,
) -> Result<StagedOperation> {
    let (rows, refusal) = rows.in_delta_types();
    let schema = rows.schema();
    let batches: Result<Vec<_>> = rows.try_collect().await.explain(|| "the rows to be merged cannot be read".into());
    let source = MergeSource { schema, batches: refusal.or(batches)? };
    let columns = empty.schema()?;
    let merge = merge.with_columns_of(&columns);
    // delta-rs would ignore an unknown column without an error.
    let added = |name: &str| merge.evolve_schema && source.schema.column_with_name(name).is_some();
    let set = merge.columns();
    check_known(empty, table, set.iter().map(String::as_str).filter(|name| !added(name)))?;
    // A merge that may add columns rewrites files: the metadata would have to change in the same commit.
    if marks_rows(base) && !merge.evolve_schema && !merge.clauses.is_empty() {
        let parsed = empty.parse_merge(&merge, &source)?;
        let by_source = merge.matched_only().is_none();
        let predicate = if by_source { Predicate::Unknown } else { join_predicate(&merge, &columns, &source)? };
        let merged = MarkedTable::open(state, table, &predicate).await?.merge(&merge, parsed, source).await?;
        return Ok(if by_source {
            StagedOperation::with_all_files_read(merged)
        } else {
            StagedOperation::matching(merged, predicate)
        });
    }
    match merge.matched_only() {
        Some(matched_only) => {
            let predicate = join_predicate(&merge, &empty.schema()?, &source)?;
            let joined = MatchedMergeTarget::open(state, predicate.clone()).await?;
            Ok(StagedOperation::matching(joined.merge(source, matched_only).await?, predicate))
        }
        None => Ok(StagedOperation::with_all_files_read(FullTable::open(state).await?.merge(source, &merge).await?)),
    }
}

fn read_filter(table: &VirtualTable, sql: Option<String>) -> Result<Option<Filter>> {
    sql.map(|sql| Filter::parse(&sql, &table.schema()?)).transpose()
}

/// The assignments of an update, as values of the columns' types.
fn typed(table: &VirtualTable, set: &[(String, String)], safe_cast: bool) -> Result<Vec<(String, Expr)>> {
    let schema = table.schema()?;
    let typed = table.assignments(set)?.into_iter().map(|(column, value)| {
        let name = unquoted(&column);
        let field = schema.field_with_name(&name).explain(|| format!("the table has no column {name:?}"))?;
        let data_type = field.data_type().clone();
        let value = if safe_cast { try_cast(value, data_type) } else { cast(value, data_type) };
        Ok((name, value))
    });
    typed.collect()
}

/// A condition in SQL, with its predicate for data skipping.
fn condition(table: &VirtualTable, sql: Option<String>) -> Result<Option<Condition>> {
    let Some(sql) = sql else { return Ok(None) };
    Filter::parse(&sql, &table.schema()?)?.condition().map(Some)
}

fn predicate_of(condition: Option<&Condition>) -> Predicate {
    condition.map_or(Predicate::Unknown, |condition| condition.predicate.clone())
}
