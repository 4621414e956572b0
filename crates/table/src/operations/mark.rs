//! Deletes, updates and merges by deletion vectors: a file stays as it is, and a vector hides the rows that are deleted or
//! replaced.
//!
//! A file of which no row is left is removed, and one of which a large share is hidden is rewritten without the hidden
//! rows, so that readers do not pay for them permanently.

mod merge;
mod rows;

use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use datafusion::common::{Column, TableReference};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, lit};
use datafusion::prelude::SessionContext;
use deltalakedb_log::action::{Action, Add, CommitInfo, Remove};
use deltalakedb_log::features::{has_deletion_vectors, has_writer_feature, maps_columns};
use deltalakedb_log::schema::Schema as LogSchema;
use deltalakedb_log::snapshot::{Head, Snapshot};
use deltalakedb_log::stats::FileStats;
use deltalakedb_log::{Object, Predicate, Result, TxnLogError};
use futures::TryStreamExt;
use futures::lock::Mutex;
use roaring::RoaringTreemap;
use serde_json::{Value, json};

use self::rows::{CLAUSE, ChangedRows, Clause, Found, RowChange, RowCounts};
use super::rewrite::{Rewritten, rewrite};
use crate::delta_rs::{
    ChangeFiles, ENABLE_VECTORS, LogView, MaskedFile, NewFiles, StagedCommit, StringEncoding, VirtualTable,
    arrow_schema, load_masks, session_context, write_vectors,
};
use crate::error::Explain;
use crate::filter::Filter;
use crate::position_scan::{FILE_COLUMN, NumberedFile, POSITION_COLUMN, RowPositions, check_positions};
use crate::properties::max_hidden_share;

/// Whether rows of a table are hidden by deletion vectors when they are deleted or updated.
///
/// Not where changes are recorded and columns are mapped: change data files would need the physical names of columns,
/// and delta-rs does not read the changes of such a table.
pub(super) fn marks_rows(table: &Snapshot) -> bool {
    let metadata = &table.head.metadata;
    let is_mapped = maps_columns(&table.head.protocol, metadata);
    has_deletion_vectors(&table.head.protocol)
        && metadata.is_on(ENABLE_VECTORS)
        && !(is_mapped && records_changes(table))
}

/// Whether changes of a table's rows are recorded in change data files.
fn records_changes(table: &Snapshot) -> bool {
    has_writer_feature(&table.head.protocol, "changeDataFeed")
        && table.head.metadata.is_on("delta.enableChangeDataFeed")
}

/// A table whose rows are marked, with the files in which a row may match.
pub(super) struct MarkedTable<'a> {
    state: &'a LogView,
    /// Its name in messages.
    table: &'a str,
    head: Head,
    log_schema: LogSchema,
    schema: SchemaRef,
    records_changes: bool,
    files: Vec<MaskedFile>,
    began: Instant,
}

/// A statement that changes rows.
enum Statement {
    Delete,
    Update,
    Merge { source_rows: usize },
}

/// The rows that a statement changes.
struct PlannedChange {
    /// They have the columns of the table, file, position, and the number of the clause.
    rows: DataFrame,
    clauses: Vec<Clause>,
    /// The values of the table's columns in rows that are written; none if no clause writes rows.
    new: Vec<Expr>,
    /// By which name the rows have the columns of the table.
    table: Option<TableReference>,
}

/// What an operation makes of the files in which it found rows.
#[derive(Default)]
struct Changes {
    /// They leave the table.
    removed: Vec<Add>,
    /// They come back with a vector that hides these rows.
    masked: Vec<MaskedFile>,
    /// Their visible rows go to new files.
    rewritten: Vec<MaskedFile>,
}

/// What a statement did, for its metrics.
struct Totals {
    rows: RowCounts,
    /// The number of rows is not known where whole files are removed whose statistics do not have it.
    are_rows_known: bool,
    copied: u64,
    files_read: usize,
    files_added: usize,
    files_removed: usize,
    vectors: usize,
    elapsed_ms: u64,
}

impl Statement {
    fn name(&self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Update => "UPDATE",
            Self::Merge { .. } => "MERGE",
        }
    }

    /// Its metrics, by the names that delta-rs gives them.
    fn metrics(&self, totals: &Totals) -> Value {
        let RowCounts { deleted, updated, inserted } = totals.rows;
        let (rows, number) = match self {
            Self::Delete => ("num_deleted_rows", deleted),
            Self::Update => ("num_updated_rows", updated),
            Self::Merge { source_rows } => {
                return json!({
                    "num_source_rows": source_rows,
                    "num_target_rows_inserted": inserted,
                    "num_target_rows_updated": updated,
                    "num_target_rows_deleted": deleted,
                    "num_target_rows_copied": totals.copied,
                    "num_output_rows": totals.copied + inserted + updated,
                    "num_target_files_scanned": totals.files_read,
                    "num_target_files_added": totals.files_added,
                    "num_target_files_removed": totals.files_removed,
                    "num_deletion_vectors": totals.vectors,
                    "execution_time_ms": totals.elapsed_ms,
                });
            }
        };
        json!({
            rows: totals.are_rows_known.then_some(number),
            "num_added_files": totals.files_added,
            "num_removed_files": totals.files_removed,
            "num_copied_rows": totals.copied,
            "num_deletion_vectors": totals.vectors,
            "execution_time_ms": totals.elapsed_ms,
        })
    }
}

impl<'a> MarkedTable<'a> {
    /// The table with the files in which a row may satisfy a predicate.
    pub(super) async fn open(state: &'a LogView, table: &'a str, predicate: &Predicate) -> Result<Self> {
        let began = Instant::now();
        let base = state.snapshot()?;
        let records_changes = records_changes(&base);
        let head = base.head;
        let log_schema = LogSchema::parse(&head.metadata.schema_string, &head.metadata.partition_columns)?;
        let schema = arrow_schema(&head.metadata, StringEncoding::Utf8)?;
        let files = load_masks(state.files(Some(predicate)).await?, &state.location, &state.options.stores).await?;
        Ok(Self { state, table, head, log_schema, schema, records_changes, files, began })
    }

    /// Deletes the rows that satisfy a condition; all, without one.
    pub(super) async fn delete(self, filter: Option<&Filter>) -> Result<StagedCommit> {
        let mut parameters = Object::default();
        if let Some(filter) = filter {
            parameters.set("predicate", filter.sql());
        }
        let has_vectors = self.files.iter().any(|file| file.add.deletion_vector.is_some());
        // delta-rs takes all rows of a removed file with a vector for changes, so these are recorded.
        if filter.is_some() || self.records_changes && has_vectors {
            let planned = self.planned(self.matching(filter)?, RowChange::Delete, Vec::new())?;
            return self.change(Statement::Delete, parameters, planned).await;
        }
        let deleted: Option<u64> = self.files.iter().map(|file| self.visible_rows(file)).sum();
        let removed = self.files.iter().map(|file| file.add.clone()).collect();
        let changes = Changes { removed, ..Changes::default() };
        let counts = deleted.map(|deleted| RowCounts { deleted, ..RowCounts::default() });
        self.commit(Statement::Delete, parameters, counts, changes, Vec::new()).await
    }

    /// Sets columns of the rows that satisfy a condition, of all without one, to the values of expressions over them.
    pub(super) async fn update(self, set: Vec<(String, Expr)>, filter: Option<&Filter>) -> Result<StagedCommit> {
        let mut parameters = Object::default();
        if let Some(filter) = filter {
            parameters.set("predicate", filter.sql());
        }
        let values = self.schema.fields().iter().map(|field| {
            let set = set.iter().find(|(name, _)| name == field.name());
            set.map_or_else(|| unqualified(field.name()), |(_, value)| value.clone())
        });
        let planned = self.planned(self.matching(filter)?, RowChange::Update, values.collect())?;
        self.change(Statement::Update, parameters, planned).await
    }

    /// The change of all rows of a plan by one clause.
    fn planned(&self, rows: DataFrame, change: RowChange, new: Vec<Expr>) -> Result<PlannedChange> {
        let rows = rows.with_column(CLAUSE, lit(0_u32)).explain(|| "the rows cannot be read".into())?;
        Ok(PlannedChange { rows, clauses: vec![Clause::of(change)], new, table: None })
    }

    /// Finds and writes the changed rows in one pass, and says what is committed.
    async fn change(self, statement: Statement, parameters: Object, planned: PlannedChange) -> Result<StagedCommit> {
        let failed = || match &statement {
            Statement::Delete => "the rows cannot be deleted".to_string(),
            Statement::Update => "the rows cannot be updated".to_string(),
            Statement::Merge { .. } => "the rows cannot be merged".to_string(),
        };
        let max_share = max_hidden_share(&self.head.metadata)?;
        let PlannedChange { rows, clauses, new, table } = planned;
        let writes = !new.is_empty();
        let of_table = |name: &str| Expr::Column(Column::new(table.clone(), name));
        let named = |prefix: &str, values: Vec<Expr>| -> Vec<Expr> {
            values.into_iter().enumerate().map(|(n, value)| value.alias(format!("{prefix}{n}"))).collect()
        };
        let mut columns = named("__deltalakedb_new_", new);
        if self.records_changes {
            let old = self.schema.fields().iter().map(|field| of_table(field.name())).collect();
            columns.extend(named("__deltalakedb_old_", old));
        }
        columns.extend([of_table(FILE_COLUMN), of_table(POSITION_COLUMN), unqualified(CLAUSE)]);
        let rows = rows.select(columns).explain(failed)?.execute_stream().await.explain(failed)?;
        let feed = if self.records_changes {
            Some(ChangeFiles::create(self.state, &self.head.metadata, &self.schema)?)
        } else {
            None
        };
        let noted = Arc::new(Mutex::new(ChangedRows::new(&self.schema, clauses, &self.files, feed)));
        let rows = ChangedRows::noting(rows, noted.clone(), &self.schema);
        let written = if writes {
            let empty = VirtualTable::without_files(self.state).await?;
            empty.append(rows, None).await.map(Some)
        } else {
            rows.try_for_each(async |_| Ok(())).await.explain(failed).map(|()| None)
        };
        let Found { hidden, counts, feed, failure } = ChangedRows::found(&noted).await;
        let failure = failure.map(|cause| TxnLogError::invalid(failed()).with_source(cause));
        let written = match (written, failure) {
            (Ok(written), None) => Ok(written),
            (Ok(written), Some(e)) => {
                if let Some(written) = written {
                    written.files.remove().await;
                }
                Err(e)
            }
            (Err(_), Some(e)) | (Err(e), None) => Err(e),
        };
        let written = match written {
            Ok(written) => written,
            Err(e) => {
                if let Some(feed) = feed {
                    feed.discard().await;
                }
                return Err(e);
            }
        };
        let mut written: Vec<_> = written.into_iter().collect();
        let changes = self.changes(hidden, max_share).await;
        let recorded = match (feed, &changes) {
            (None, _) => Ok(()),
            // The removes of whole files alone say that their rows are deleted.
            (Some(feed), Ok(changes)) if writes || !changes.removes_whole_files() => {
                feed.close().await.map(|files| written.push(files))
            }
            (Some(feed), _) => {
                feed.discard().await;
                Ok(())
            }
        };
        match recorded.and(changes) {
            Ok(changes) => self.commit(statement, parameters, Some(counts), changes, written).await,
            Err(e) => {
                for commit in written {
                    commit.files.remove().await;
                }
                Err(e)
            }
        }
    }

    fn session(&self) -> Result<SessionContext> {
        session_context(&self.state.options.stores)
    }

    /// The rows of the files, and where they are.
    fn row_positions(&self) -> Result<RowPositions> {
        let (location, stores) = (self.state.location.clone(), self.state.options.stores.clone());
        let files = NumberedFile::in_order(self.files.clone());
        RowPositions::new(location, stores, self.head.clone(), &self.schema, files)
    }

    /// The rows that satisfy a condition; all, without one.
    fn matching(&self, filter: Option<&Filter>) -> Result<DataFrame> {
        let failed = || "the rows cannot be read".to_string();
        let rows = self.session()?.read_table(Arc::new(self.row_positions()?)).explain(failed)?;
        match filter {
            Some(filter) => rows.filter(filter.expr.clone()).explain(failed),
            None => Ok(rows),
        }
    }

    /// The number of rows in a file that are not hidden, as the log says.
    fn visible_rows(&self, file: &MaskedFile) -> Option<u64> {
        self.rows_in(file)?.checked_sub(file.hidden.len())
    }

    fn rows_in(&self, file: &MaskedFile) -> Option<u64> {
        FileStats::new(&self.log_schema, &file.add).num_records()?.try_into().ok()
    }

    /// How the files are changed to hide the rows that were found.
    async fn changes(&self, found: Vec<RoaringTreemap>, max_share: f64) -> Result<Changes> {
        let mut changes = Changes::default();
        let found: Vec<_> = self.files.iter().zip(found).filter(|(_, found)| !found.is_empty()).collect();
        let changed = found.iter().map(|(file, _)| (file.add.clone(), self.rows_in(file))).collect();
        check_positions(&self.state.location, &self.state.options.stores, changed).await?;
        for (file, found) in found {
            let file = MaskedFile { add: file.add.clone(), hidden: &file.hidden | found };
            match self.rows_in(&file) {
                Some(rows) if file.hidden.len() >= rows => changes.removed.push(file.add),
                Some(rows) if file.hidden.len() as f64 <= max_share * rows as f64 => changes.masked.push(file),
                // A vector needs the number of rows in the log, too.
                _ => changes.rewritten.push(file),
            }
        }
        Ok(changes)
    }

    /// Writes vectors and what is rewritten, and says what is committed.
    async fn commit(
        self,
        statement: Statement,
        parameters: Object,
        rows: Option<RowCounts>,
        changes: Changes,
        mut written: Vec<StagedCommit>,
    ) -> Result<StagedCommit> {
        match self.staged(statement, parameters, rows, changes, &mut written).await {
            Ok(staged) => Ok(staged),
            Err(e) => {
                for commit in written {
                    commit.files.remove().await;
                }
                Err(e)
            }
        }
    }

    async fn staged(
        &self,
        statement: Statement,
        parameters: Object,
        rows: Option<RowCounts>,
        changes: Changes,
        written: &mut Vec<StagedCommit>,
    ) -> Result<StagedCommit> {
        let Changes { removed, masked, rewritten } = changes;
        let changed: Vec<&Add> = removed.iter().chain(masked.iter().chain(&rewritten).map(|file| &file.add)).collect();
        let (options, now) = (&self.state.options, self.state.options.clock.now_ms());
        let removes: Vec<_> = changed.iter().map(|add| Action::Remove(Remove::of(add, now, true))).collect();
        let mut copied = 0;
        if !rewritten.is_empty() {
            let Rewritten { adds, files, rows } = rewrite(self.state, self.table, rewritten).await?;
            let actions = adds.into_iter().map(Action::add).collect();
            written.push(StagedCommit { actions, files, seen: None, metrics: Value::Null });
            copied = rows;
        }
        let mut files = NewFiles::none(self.state)?;
        for commit in written.iter() {
            files.extend(&commit.files);
        }
        let vectors = masked.len();
        let masked = if masked.is_empty() {
            Vec::new()
        } else {
            let vectors = write_vectors(self.state, masked).await?;
            files.extend(&vectors.files);
            vectors.adds
        };
        let is_file = |action: &&Action| matches!(action, Action::Add(_) | Action::Cdc(_));
        let new: Vec<_> = written.iter().flat_map(|commit| &commit.actions).filter(is_file).cloned().collect();
        let metrics = statement.metrics(&Totals {
            rows: rows.unwrap_or_default(),
            are_rows_known: rows.is_some(),
            copied,
            files_read: self.files.len(),
            files_added: new.iter().filter(|action| matches!(action, Action::Add(_))).count(),
            files_removed: removes.len() - vectors,
            vectors,
            elapsed_ms: self.began.elapsed().as_millis() as u64,
        });
        let mut actions = Vec::new();
        if !removes.is_empty() || !new.is_empty() {
            let mut info = options.info(statement.name(), parameters);
            info.set("operationMetrics", &metrics);
            actions.push(Action::CommitInfo(CommitInfo(info)));
            actions.extend(options.applications.iter().cloned().map(Action::Txn));
            actions.extend(removes);
            actions.extend(masked.into_iter().map(Action::add));
            actions.extend(new);
        }
        let seen = Some(self.files.iter().map(|file| file.add.key()).collect());
        Ok(StagedCommit { actions, files, seen, metrics })
    }
}

impl Changes {
    /// Whether files without vectors are removed, and nothing else is changed.
    fn removes_whole_files(&self) -> bool {
        self.masked.is_empty()
            && self.rewritten.is_empty()
            && self.removed.iter().all(|add| add.deletion_vector.is_none())
    }
}

fn unqualified(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}
