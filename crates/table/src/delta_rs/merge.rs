//! Merging rows into a table with delta-rs.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::{DFSchema, TableReference};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::Expr;
use deltalake_core::DeltaResult;
use deltalake_core::operations::merge::MergeBuilder;
use deltalakedb_log::stores::environment;
use deltalakedb_log::{Action, Object, Predicate, Result, TxnLogError};
use serde_json::{Value, json};

use super::generated::Generated;
use super::operations::{metrics, state};
use super::{Columns, FullTable, LogView, StagedCommit, VirtualTable, session_context};
use crate::error::Explain;
use crate::identifiers::{column_named, quoted, unquoted};

/// A merge of source rows into a table: rows are joined, and the first applicable clause decides for each.
#[derive(Clone, Debug)]
pub struct Merge {
    /// The join condition, in SQL over both aliases: `target.id = source.id`.
    pub on: String,
    /// The alias of the source rows in expressions.
    pub source_alias: String,
    /// The alias of the table in expressions.
    pub target_alias: String,
    /// The clauses; among clauses of a kind the order matters.
    pub clauses: Vec<MergeClause>,
    /// Columns that only the source rows have are added to the table.
    pub evolve_schema: bool,
    /// A value that cannot be cast to the column's type becomes null; otherwise it is an error.
    pub safe_cast: bool,
    /// The values of the source rows are not read before the table, so they do not prune its files.
    pub streamed: bool,
}

impl Merge {
    /// A merge on a condition over `target` and `source`, without clauses yet.
    pub fn on(condition: impl Into<String>) -> Self {
        Self {
            on: condition.into(),
            source_alias: "source".into(),
            target_alias: "target".into(),
            clauses: Vec::new(),
            evolve_schema: false,
            safe_cast: false,
            streamed: false,
        }
    }

    /// Adds a clause.
    pub fn when(mut self, clause: MergeClause) -> Self {
        self.clauses.push(clause);
        self
    }

    /// Replaces the columns in assignments by the table's own spelling.
    pub(crate) fn with_columns_of(mut self, table: &Schema) -> Self {
        use MergeClause as C;
        let of_table = format!("{}.", self.target_alias);
        for clause in &mut self.clauses {
            let (C::MatchedUpdate { set: Assignments::Columns(set), .. }
            | C::NotMatchedInsert { values: Assignments::Columns(set), .. }
            | C::NotMatchedBySourceUpdate { set, .. }) = clause
            else {
                continue;
            };
            for (key, _) in set {
                let bare = || key.strip_prefix(&of_table).and_then(|bare| column_named(bare, table));
                if let Some(name) = column_named(key, table).or_else(bare) {
                    *key = quoted(name);
                }
            }
        }
        self
    }

    /// The assigned columns, without quotes and without the table's alias.
    pub(crate) fn columns(&self) -> Vec<String> {
        use MergeClause as C;
        let set = |clause: &MergeClause| match clause {
            C::MatchedUpdate { set: Assignments::Columns(set), .. }
            | C::NotMatchedInsert { values: Assignments::Columns(set), .. }
            | C::NotMatchedBySourceUpdate { set, .. } => set.clone(),
            _ => Vec::new(),
        };
        let of_table = format!("{}.", self.target_alias);
        let bare = |column: &str| unquoted(column.strip_prefix(&of_table).unwrap_or(column));
        self.clauses.iter().flat_map(set).map(|(column, _)| bare(&column)).collect()
    }

    /// Records the original conditions of its clauses in a commit.
    fn record_conditions(&self, info: &mut Object) {
        let Some(mut parameters) = info.get::<Object>("operationParameters") else { return };
        for (key, listed) in CLAUSE_LISTS {
            let predicates = parameters
                .get::<String>(key)
                .and_then(|predicates| serde_json::from_str::<Vec<Value>>(&predicates).ok());
            let Some(mut predicates) = predicates else { continue };
            for (predicate, clause) in predicates.iter_mut().zip(self.clauses.iter().filter(|clause| listed(clause))) {
                if let Some(condition) = clause.condition() {
                    predicate["predicate"] = condition.into();
                }
            }
            parameters.set(key, Value::from(predicates).to_string());
        }
        info.set("operationParameters", parameters);
    }

    /// The parameters of its commit, as delta-rs writes them.
    pub(crate) fn parameters(&self) -> Object {
        use MergeClause as C;
        let predicates = |listed: fn(&C) -> bool| {
            let clauses = self.clauses.iter().filter(|clause| listed(clause));
            let predicates = clauses.map(|clause| match clause.condition() {
                Some(condition) => json!({"actionType": clause.action_type(), "predicate": condition}),
                None => json!({"actionType": clause.action_type()}),
            });
            Value::from(predicates.collect::<Vec<_>>()).to_string()
        };
        let mut parameters = Object::default();
        parameters.set("mergePredicate", &self.on);
        for (key, listed) in CLAUSE_LISTS {
            parameters.set(key, predicates(listed));
        }
        parameters
    }

    /// The merge, if it only affects rows of the table with a match in the source; `None` if it affects others.
    pub(crate) fn matched_only(&self) -> Option<MatchedMerge<'_>> {
        (!self.clauses.iter().any(MergeClause::is_by_source)).then_some(MatchedMerge(self))
    }
}

/// A clause of a merge. Conditions and values are SQL over both aliases.
#[derive(Clone, Debug)]
pub enum MergeClause {
    /// Updates rows of the table with a match.
    MatchedUpdate {
        /// An additional condition.
        condition: Option<String>,
        /// The assignments.
        set: Assignments,
    },
    /// Deletes rows of the table with a match.
    MatchedDelete {
        /// An additional condition.
        condition: Option<String>,
    },
    /// Inserts source rows without a match in the table.
    NotMatchedInsert {
        /// An additional condition.
        condition: Option<String>,
        /// The columns of the new row.
        values: Assignments,
    },
    /// Updates rows of the table without a match.
    NotMatchedBySourceUpdate {
        /// An additional condition.
        condition: Option<String>,
        /// The assignments: columns and their values.
        set: Vec<(String, String)>,
    },
    /// Deletes rows of the table without a match.
    NotMatchedBySourceDelete {
        /// An additional condition.
        condition: Option<String>,
    },
}

/// The columns to assign and their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignments {
    /// Every column of the source, to the column of that name.
    All,
    /// These columns, each to the value of an expression.
    Columns(Vec<(String, String)>),
}

impl Assignments {
    /// The columns and their values, with names quoted for expressions.
    fn list(&self, merge: &Merge, source: &MergeSource) -> Vec<(String, String)> {
        match self {
            Self::Columns(columns) => columns.clone(),
            Self::All => {
                let names = source.schema.fields().iter().map(|f| f.name());
                let one = |name: &String| (quoted(name), format!("{}.{}", quoted(&merge.source_alias), quoted(name)));
                names.map(one).collect()
            }
        }
    }
}

/// A merge without clauses for rows of the table without a match.
pub(crate) struct MatchedMerge<'a>(&'a Merge);

/// The source rows. They are held in memory, because a merge reads them more than once.
pub(crate) struct MergeSource {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
}

/// A table with the files in which a row may match a source row.
pub(crate) struct MatchedMergeTarget(VirtualTable);

impl MatchedMergeTarget {
    /// The table with the files selected by a predicate.
    pub(crate) async fn open(state: &LogView, predicate: Predicate) -> Result<Self> {
        Ok(Self(VirtualTable::matching(state, predicate).await?))
    }

    /// Merges rows that only change the table's rows with a match, or insert.
    pub(crate) async fn merge(self, source: MergeSource, matched_only: MatchedMerge<'_>) -> Result<StagedCommit> {
        self.0.merge(source, matched_only.0).await
    }
}

impl FullTable {
    /// Merges rows with any clauses.
    pub(crate) async fn merge(self, source: MergeSource, merge: &Merge) -> Result<StagedCommit> {
        self.0.merge(source, merge).await
    }
}

impl Columns {
    /// The columns of a table and of the source rows, each with its alias.
    pub(crate) fn of_merge(merge: &Merge, table: &SchemaRef, rows: &SchemaRef) -> Result<Self> {
        let named = |alias: &str, schema| DFSchema::try_from_qualified_schema(TableReference::bare(alias), schema);
        let both = named(&merge.target_alias, table).and_then(|t| t.join(&named(&merge.source_alias, rows)?));
        let both = both.map_err(|e| {
            TxnLogError::invalid("the column names of the table and of the merged rows are ambiguous").with_source(e)
        })?;
        Ok(Self { session: session_context(&environment())?, schema: both })
    }
}

impl VirtualTable {
    /// Parses a merge of source rows into the table.
    pub(crate) fn parse_merge<'a>(&self, merge: &'a Merge, source: &MergeSource) -> Result<ParsedMerge<'a>> {
        let columns = Columns::of_merge(merge, &self.schema()?, &source.schema)?;
        let generated = self.generated()?;
        let clauses = merge.clauses.iter().map(|clause| clause.read(&columns, &generated, merge, source));
        Ok(ParsedMerge { on: columns.read_condition("filter", &merge.on)?, clauses: clauses.collect::<Result<_>>()? })
    }

    async fn merge(self, source: MergeSource, merge: &Merge) -> Result<StagedCommit> {
        let what = "the rows cannot be merged";
        let rows = MemTable::try_new(source.schema.clone(), vec![source.batches.clone()]).explain(|| what.into())?;
        let session = state(&self)?;
        let rows = session_context(self.log_store.stores())?.read_table(Arc::new(rows)).explain(|| what.into())?;
        let ParsedMerge { on, clauses } = self.parse_merge(merge, &source)?;
        let mut builder = self
            .delta_table()
            .merge(rows, on)
            .with_source_alias(&merge.source_alias)
            .with_target_alias(&merge.target_alias)
            .with_merge_schema(merge.evolve_schema)
            .with_session_state(session)
            .with_safe_cast(merge.safe_cast)
            .with_streaming(merge.streamed)
            .with_commit_properties(self.commit_properties());
        if let Some(parquet) = self.options.parquet.clone() {
            builder = builder.with_writer_properties(parquet);
        }
        for clause in clauses {
            builder = clause.add_to(builder).explain(|| what.into())?;
        }
        let mut captured = self.capture(what, builder, metrics).await?;
        for action in &mut captured.actions {
            if let Action::CommitInfo(info) = action {
                merge.record_conditions(&mut info.0);
            }
        }
        Ok(captured)
    }
}

/// A merge with parsed expressions.
pub(crate) struct ParsedMerge<'a> {
    /// The join condition.
    pub(crate) on: Expr,
    pub(crate) clauses: Vec<ParsedClause<'a>>,
}

/// A clause with parsed expressions.
pub(crate) struct ParsedClause<'a> {
    pub(crate) clause: &'a MergeClause,
    /// An additional condition, which is never null.
    pub(crate) condition: Option<Expr>,
    /// The columns as in expressions, and their values. Generated columns that depend on others are among them.
    pub(crate) set: Vec<(String, Expr)>,
}

/// Whether a list of clauses has a clause.
type IsListed = fn(&MergeClause) -> bool;

/// The lists of clauses in the parameters of a commit, and which clauses each has.
const CLAUSE_LISTS: [(&str, IsListed); 3] = [
    ("matchedPredicates", |clause| {
        matches!(clause, MergeClause::MatchedUpdate { .. } | MergeClause::MatchedDelete { .. })
    }),
    ("notMatchedPredicates", |clause| matches!(clause, MergeClause::NotMatchedInsert { .. })),
    ("notMatchedBySourcePredicates", MergeClause::is_by_source),
];

impl MergeClause {
    /// Whether it affects rows of the table without a match.
    pub(crate) fn is_by_source(&self) -> bool {
        matches!(self, Self::NotMatchedBySourceUpdate { .. } | Self::NotMatchedBySourceDelete { .. })
    }

    fn action_type(&self) -> &'static str {
        match self {
            Self::MatchedUpdate { .. } | Self::NotMatchedBySourceUpdate { .. } => "update",
            Self::MatchedDelete { .. } | Self::NotMatchedBySourceDelete { .. } => "delete",
            Self::NotMatchedInsert { .. } => "insert",
        }
    }

    fn condition(&self) -> Option<&str> {
        use MergeClause as C;
        match self {
            C::MatchedUpdate { condition, .. }
            | C::MatchedDelete { condition }
            | C::NotMatchedInsert { condition, .. }
            | C::NotMatchedBySourceUpdate { condition, .. }
            | C::NotMatchedBySourceDelete { condition } => condition.as_deref(),
        }
    }

    fn read(
        &self,
        columns: &Columns,
        generated: &Generated,
        merge: &Merge,
        source: &MergeSource,
    ) -> Result<ParsedClause<'_>> {
        use MergeClause as C;
        let set = match self {
            C::MatchedUpdate { set: values, .. } | C::NotMatchedInsert { values, .. } => values.list(merge, source),
            C::NotMatchedBySourceUpdate { set, .. } => set.clone(),
            C::MatchedDelete { .. } | C::NotMatchedBySourceDelete { .. } => Vec::new(),
        };
        let condition = self.condition().map(|sql| columns.is_true("condition", sql)).transpose()?;
        let set = set.into_iter().map(|(column, value)| Ok((column, columns.read("value", &value)?)));
        let set = set.collect::<Result<_>>()?;
        let set = match self {
            C::MatchedUpdate { .. } | C::NotMatchedBySourceUpdate { .. } => {
                generated.complete_update(set, Some(&TableReference::bare(merge.target_alias.as_str())))?
            }
            C::NotMatchedInsert { .. } => generated.complete_insert(set)?,
            C::MatchedDelete { .. } | C::NotMatchedBySourceDelete { .. } => set,
        };
        Ok(ParsedClause { clause: self, condition, set })
    }
}

impl ParsedClause<'_> {
    fn add_to(self, to: MergeBuilder) -> DeltaResult<MergeBuilder> {
        use MergeClause as C;
        let Self { clause, condition, set } = self;
        match clause {
            C::MatchedUpdate { .. } => to.when_matched_update(|update| {
                let update = set.into_iter().fold(update, |update, (column, value)| update.update(column, value));
                condition.into_iter().fold(update, |update, c| update.predicate(c))
            }),
            C::MatchedDelete { .. } => {
                to.when_matched_delete(|delete| condition.into_iter().fold(delete, |delete, c| delete.predicate(c)))
            }
            C::NotMatchedInsert { .. } => to.when_not_matched_insert(|insert| {
                let insert = set.into_iter().fold(insert, |insert, (column, value)| insert.set(column, value));
                condition.into_iter().fold(insert, |insert, c| insert.predicate(c))
            }),
            C::NotMatchedBySourceUpdate { .. } => to.when_not_matched_by_source_update(|update| {
                let update = set.into_iter().fold(update, |update, (column, value)| update.update(column, value));
                condition.into_iter().fold(update, |update, c| update.predicate(c))
            }),
            C::NotMatchedBySourceDelete { .. } => to.when_not_matched_by_source_delete(|delete| {
                condition.into_iter().fold(delete, |delete, c| delete.predicate(c))
            }),
        }
    }
}
