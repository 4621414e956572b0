//! Merges by deletion vectors: matched rows are hidden, and updated and inserted rows are appended.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::common::{Column, DataFusionError, JoinType, ScalarValue, TableReference};
use datafusion::dataframe::DataFrame;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{Case, Expr, LogicalPlanBuilder, cast, lit, try_cast};
use deltalakedb_log::{Result, TxnLogError};

use super::rows::{CLAUSE, Clause, RowChange};
use super::{MarkedTable, PlannedChange, Statement};
use crate::delta_rs::{Assignments, Merge, MergeClause, MergeSource, ParsedClause, ParsedMerge, StagedCommit};
use crate::error::{Explain, to_datafusion_error};
use crate::identifiers::unquoted;
use crate::position_scan::POSITION_COLUMN;

/// The column that is true for source rows, and null in rows of the table without a match.
const IN_SOURCE: &str = "__deltalakedb_in_source";

impl MarkedTable<'_> {
    /// Merges source rows: the first applicable clause of each kind decides.
    pub(in crate::operations) async fn merge(
        self,
        merge: &Merge,
        parsed: ParsedMerge<'_>,
        source: MergeSource,
    ) -> Result<StagedCommit> {
        check_whole_columns(merge, &self.schema)?;
        let source_rows = source.batches.iter().map(|batch| batch.num_rows()).sum();
        let planned = self.plan_merge(merge, parsed, source).explain(|| "the rows cannot be merged".into())?;
        self.change(Statement::Merge { source_rows }, merge.parameters(), planned).await
    }

    fn plan_merge(
        &self,
        merge: &Merge,
        ParsedMerge { on, clauses }: ParsedMerge<'_>,
        source: MergeSource,
    ) -> Result<PlannedChange, DataFusionError> {
        let target = TableReference::bare(merge.target_alias.as_str());
        let session = self.session().map_err(to_datafusion_error)?;
        let scan =
            |alias: TableReference, provider| LogicalPlanBuilder::scan(alias, provider_as_source(provider), None);
        let of_table = scan(target.clone(), Arc::new(self.row_positions().map_err(to_datafusion_error)?))?.build()?;
        let of_source = Arc::new(MemTable::try_new(source.schema, vec![source.batches])?);
        let of_source = scan(TableReference::bare(merge.source_alias.as_str()), of_source)?.build()?;
        let of_source = DataFrame::new(session.state(), of_source).with_column(IN_SOURCE, lit(true))?;
        let inserts = clauses.iter().any(|parsed| matches!(parsed.clause, MergeClause::NotMatchedInsert { .. }));
        let join = match (inserts, clauses.iter().any(|parsed| parsed.clause.is_by_source())) {
            (true, true) => JoinType::Full,
            (true, false) => JoinType::Left,
            (false, true) => JoinType::Right,
            (false, false) => JoinType::Inner,
        };
        let joined = of_source.join(DataFrame::new(session.state(), of_table), join, &[], &[], Some(on))?;
        let applicable = clauses.iter().map(|parsed| applicable(parsed, &target));
        let number = case(None, applicable.zip((0..).map(|n: u32| lit(n))));
        let rows = joined.with_column(CLAUSE, number)?;
        let rows = rows.filter(Expr::Column(Column::new_unqualified(CLAUSE)).is_not_null())?;
        let kinds: Vec<Clause> = clauses.iter().map(kind).collect();
        let new = if kinds.iter().any(|kind| kind.writes()) {
            let value = |field: &Arc<Field>| new_value(field, &clauses, &target, merge.safe_cast);
            self.schema.fields().iter().map(value).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        Ok(PlannedChange { rows, clauses: kinds, new, table: Some(target) })
    }
}

/// Names of nested fields are refused: delta-rs cannot set them either.
fn check_whole_columns(merge: &Merge, table: &Schema) -> Result<()> {
    use MergeClause as C;
    for clause in &merge.clauses {
        let (C::MatchedUpdate { set: Assignments::Columns(set), .. }
        | C::NotMatchedInsert { values: Assignments::Columns(set), .. }
        | C::NotMatchedBySourceUpdate { set, .. }) = clause
        else {
            continue;
        };
        if let Some((key, _)) = set.iter().find(|(key, _)| table.column_with_name(&unquoted(key)).is_none()) {
            return Err(TxnLogError::invalid(format!(
                "the merge sets {key:?}, which is within a column: only whole columns can be set"
            )));
        }
    }
    Ok(())
}

fn kind(parsed: &ParsedClause<'_>) -> Clause {
    use MergeClause as C;
    match parsed.clause {
        C::MatchedUpdate { .. } | C::NotMatchedBySourceUpdate { .. } => Clause::of(RowChange::Update),
        C::NotMatchedInsert { .. } => Clause::of(RowChange::Insert),
        C::NotMatchedBySourceDelete { .. } => Clause::of(RowChange::Delete),
        // Whatever source rows match, the row is deleted.
        C::MatchedDelete { condition } => Clause { change: RowChange::Delete, may_repeat: condition.is_none() },
    }
}

/// Whether a clause applies to a pair of rows, or to a row without a match.
fn applicable(parsed: &ParsedClause<'_>, target: &TableReference) -> Expr {
    use MergeClause as C;
    let in_source = Expr::Column(Column::new_unqualified(IN_SOURCE));
    let in_table = Expr::Column(Column::new(Some(target.clone()), POSITION_COLUMN));
    let joined = match parsed.clause {
        C::MatchedUpdate { .. } | C::MatchedDelete { .. } => in_source.is_not_null().and(in_table.is_not_null()),
        C::NotMatchedInsert { .. } => in_table.is_null(),
        C::NotMatchedBySourceUpdate { .. } | C::NotMatchedBySourceDelete { .. } => in_source.is_null(),
    };
    match &parsed.condition {
        Some(condition) => joined.and(condition.clone()),
        None => joined,
    }
}

/// The value of a column in the rows that are written, by the clause that writes them.
fn new_value(
    field: &Field,
    clauses: &[ParsedClause<'_>],
    target: &TableReference,
    safe_cast: bool,
) -> Result<Expr, DataFusionError> {
    let data_type = field.data_type();
    let mut values = Vec::new();
    for (number, parsed) in (0_u32..).zip(clauses) {
        let change = kind(parsed).change;
        // Of several values for a column the last is set, as in delta-rs.
        let set = parsed.set.iter().rev().find(|(key, _)| unquoted(key) == *field.name());
        let value = match (change, set) {
            (RowChange::Delete, _) => continue,
            (_, Some((_, value))) if safe_cast => try_cast(value.clone(), data_type.clone()),
            (_, Some((_, value))) => cast(value.clone(), data_type.clone()),
            (RowChange::Update, None) => Expr::Column(Column::new(Some(target.clone()), field.name())),
            (RowChange::Insert, None) => lit(ScalarValue::try_new_null(data_type)?),
        };
        values.push((lit(number), value));
    }
    Ok(case(Some(Expr::Column(Column::new_unqualified(CLAUSE))), values.into_iter()))
}

fn case(of: Option<Expr>, branches: impl Iterator<Item = (Expr, Expr)>) -> Expr {
    let branches = branches.map(|(when, then)| (Box::new(when), Box::new(then)));
    Expr::Case(Case::new(of.map(Box::new), branches.collect(), None))
}
