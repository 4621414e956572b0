//! UPDATE and DELETE of the row with a key, which is looked up: `WHERE id = 7`.
//!
//! What they do is what a query would do. Where that is not certain, the query is run.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use deltalakedb_log::Result;
use deltalakedb_rows::CommitRequest;
use deltalakedb_table::GuestContext;
use deltalakedb_table::datafusion::catalog::TableProvider;
use deltalakedb_table::datafusion::common::DFSchema;
use deltalakedb_table::datafusion::physical_expr::PhysicalExpr;
use deltalakedb_table::datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, TableFactor, TableWithJoins};

use super::evaluated::{Evaluated, check_not_null, put};
use crate::blocking::blocking;
use crate::floats::normalized;
use crate::literal::Literal;
use crate::overlay::{RowTableProvider, SystemColumns};
use crate::row_table::{RowTable, SCOPE};
use crate::table_view::{TableView, encoded_keys};

/// The change of one row.
pub(super) struct ByKey {
    /// The encoded key.
    key: Vec<u8>,
    /// The columns that an UPDATE sets, by their names, with their values; None of a DELETE.
    assigned: Option<Vec<(String, Expr)>>,
}

impl ByKey {
    /// The change of the row of a table that satisfies a condition, if the condition is that each column of the key
    /// equals a literal.
    pub(super) fn new(
        table: &RowTable,
        target: &TableWithJoins,
        condition: Option<&Expr>,
        assigned: Option<&[(String, Expr)]>,
    ) -> Option<Self> {
        if !is_plain(target) {
            return None;
        }
        let mut equal = Vec::new();
        conjuncts(condition?, &mut equal)?;
        let mut key_columns = table.definition.key_columns();
        if equal.len() != key_columns.len() {
            return None;
        }
        let (mut fields, mut values) = (Vec::new(), Vec::new());
        key_columns.try_for_each(|column| {
            let (_, literal) = equal.iter().find(|(name, _)| *name == column.name())?;
            let data_type = column.field().data_type();
            if !is_compared_as_given(literal, data_type) {
                return None;
            }
            fields.push(column.field().clone());
            values.push(literal.to_value(data_type)?.to_array().ok()?);
            Some(())
        })?;
        let row = RecordBatch::try_new(Arc::new(Schema::new(fields)), values).ok()?;
        let key = encoded_keys(table, &row).ok()?.pop()?;
        Some(Self { key, assigned: assigned.map(<[_]>::to_vec) })
    }

    /// The changes at a snapshot; None if a query has to find them.
    pub(super) async fn evaluate(&self, view: &TableView, context: &GuestContext<'_>) -> Result<Option<Evaluated>> {
        let mut request = CommitRequest::at(view.snapshot.seq());
        let changes = request.table(view.table.id, view.cold.generation);
        let (looked_up, key) = (view.clone(), self.key.clone());
        let Some(assigned) = &self.assigned else {
            let Some(place) = blocking(move || looked_up.find(&key)).await? else { return Ok(Some(nothing(request))) };
            changes.delete(&SCOPE, &self.key, place.position());
            return Ok(Some(Evaluated { request, rows: 1 }));
        };
        let Some(new_row) = NewRow::of(view, assigned, context) else { return Ok(None) };
        let columns = new_row.columns.clone();
        let found = move || {
            let place = looked_up.find(&key)?;
            place.map(|place| Ok((place.position(), looked_up.row_at(&place, &key, &columns)?))).transpose()
        };
        let Some((position, row)) = blocking(found).await? else { return Ok(Some(nothing(request))) };
        let Some(row) = new_row.evaluate(&view.table, &row) else { return Ok(None) };
        let row = normalized(&view.table, &row)?;
        check_not_null(&view.table, &row)?;
        put(changes, &view.table, &row, std::iter::once((&self.key, position)))?;
        Ok(Some(Evaluated { request, rows: 1 }))
    }
}

fn nothing(request: CommitRequest) -> Evaluated {
    Evaluated { request, rows: 0 }
}

/// What an UPDATE makes of a row.
struct NewRow {
    /// The columns of the row.
    columns: Arc<Schema>,
    /// Those that are set, with their values.
    assigned: Vec<(String, Arc<dyn PhysicalExpr>)>,
}

impl NewRow {
    /// None if an expression cannot be planned without a query.
    fn of(view: &TableView, assigned: &[(String, Expr)], context: &GuestContext<'_>) -> Option<Self> {
        let columns = RowTableProvider::new(view.clone(), SystemColumns::WithPositions).schema();
        let known = DFSchema::try_from(columns.clone()).ok()?;
        let planned = assigned.iter().map(|(name, value)| {
            let column = view.table.definition.column(name)?;
            let planned = context.plan_expression(value.clone(), &known, column.field().data_type());
            Some((name.clone(), planned.ok()?))
        });
        Some(Self { columns, assigned: planned.collect::<Option<_>>()? })
    }

    /// None if an expression cannot be evaluated.
    fn evaluate(&self, table: &RowTable, row: &RecordBatch) -> Option<RecordBatch> {
        let (mut fields, mut values) = (Vec::new(), Vec::<ArrayRef>::new());
        for column in table.definition.columns() {
            let value = match self.assigned.iter().find(|(name, _)| name == column.name()) {
                Some((_, value)) => value.evaluate(row).ok()?.into_array(1).ok()?,
                None => cast(row.column_by_name(column.name())?, column.field().data_type()).ok()?,
            };
            fields.push(Field::clone(column.field()).with_nullable(true));
            values.push(value);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), values).ok()
    }
}

/// Whether a table is named and nothing else.
fn is_plain(target: &TableWithJoins) -> bool {
    let TableFactor::Table {
        name: _,
        alias: None,
        args: None,
        with_hints,
        version: None,
        with_ordinality: false,
        partitions,
        json_path: None,
        sample: None,
        index_hints,
    } = &target.relation
    else {
        return false;
    };
    target.joins.is_empty() && with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty()
}

/// The columns and the literals that a condition says are equal; None if it says anything else.
fn conjuncts<'a>(condition: &'a Expr, equal: &mut Vec<(&'a str, Literal)>) -> Option<()> {
    match condition {
        Expr::Nested(inner) => conjuncts(inner, equal),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            conjuncts(left, equal)?;
            conjuncts(right, equal)
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            let (column, literal) = match (left.as_ref(), right.as_ref()) {
                (Expr::Identifier(column), literal) | (literal, Expr::Identifier(column)) => (column, literal),
                _ => return None,
            };
            equal.push((&column.value, Literal::of_expr(literal)?));
            Some(())
        }
        _ => None,
    }
}

/// Whether a query compares a literal with a column as the value of the column's type that it spells.
fn is_compared_as_given(literal: &Literal, column: &DataType) -> bool {
    match column {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => matches!(literal, Literal::Bare(_)),
        DataType::Utf8 => matches!(literal, Literal::Quoted(_)),
        DataType::Date32 => matches!(literal, Literal::Date(_)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use deltalakedb_table::datafusion::sql::sqlparser::ast::{FromTable, Statement};
    use deltalakedb_table::datafusion::sql::sqlparser::dialect::GenericDialect;
    use deltalakedb_table::datafusion::sql::sqlparser::parser::Parser;

    use super::*;
    use crate::tests::Fixture;

    #[tokio::test]
    async fn conditions_that_give_the_key_need_no_query() {
        let fixture = Fixture::new().await;
        let create = "CREATE SHARED TABLE app.t (id BIGINT, name TEXT, day DATE, v INT, PRIMARY KEY (id, name, day))";
        crate::tests::ask(&mut fixture.session(), create).await.unwrap();
        let table = fixture.engine().find(&"app.t".parse().unwrap()).unwrap();
        let is_looked_up = |condition: &str| {
            let sql = format!("DELETE FROM app.t WHERE {condition}");
            let parsed = Parser::parse_sql(&GenericDialect {}, &sql).unwrap().pop();
            let Some(Statement::Delete(delete)) = parsed else { panic!("{sql}") };
            let FromTable::WithFromKeyword(from) = &delete.from else { panic!("{sql}") };
            ByKey::new(&table, &from[0], delete.selection.as_ref(), None).is_some()
        };
        for condition in [
            "id = 1 AND name = 'a' AND day = DATE '2024-01-01'",
            "(DATE '2024-01-01' = day) AND (-2 = id AND name = '')",
        ] {
            assert!(is_looked_up(condition), "{condition}");
        }
        for condition in [
            "id = 1 AND name = 'a'",
            "id = 1 AND name = 'a' AND day = '2024-01-01'",
            "id = 1 OR name = 'a' AND day = DATE '2024-01-01'",
            "id = 1 AND id = 2 AND name = 'a'",
            "id = '1' AND name = 'a' AND day = DATE '2024-01-01'",
            "id = 1.0 AND name = 'a' AND day = DATE '2024-01-01'",
            "id = 1 AND name = 5 AND day = DATE '2024-01-01'",
            "id = NULL AND name = 'a' AND day = DATE '2024-01-01'",
            "id = 1 AND name = 'a' AND day = DATE '2024-01-01' AND v = 1",
            "id = 1 AND name = 'a' AND v = 1",
            "id >= 1 AND name = 'a' AND day = DATE '2024-01-01'",
        ] {
            assert!(!is_looked_up(condition), "{condition}");
        }
    }
}
