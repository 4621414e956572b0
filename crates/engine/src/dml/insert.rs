//! INSERT: rows with new keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use deltalakedb_log::{ErrorKind, Result, Subject, TxnLogError};
use deltalakedb_table::datafusion::common::ScalarValue;
use deltalakedb_table::datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlanBuilder};
use deltalakedb_table::datafusion::prelude::DataFrame;
use deltalakedb_table::datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Insert as Ast, ObjectName, Query, SetExpr, TableObject, Value as SqlValue,
};
use deltalakedb_table::{GuestContext, query_error};

use super::column_names::with_own_names;
use super::evaluated::Evaluated;
use super::new_keys::with_keys;
use crate::cold_snapshot::non_empty;
use crate::defaults::DefaultValues;
use crate::floats::normalized;
use crate::literal::Literal;
use crate::row_engine::RowEngine;
use crate::row_table::RowTable;
use crate::table_view::TableView;

const EXPECTED: &str = "expected INSERT INTO NAME [(COLUMNS)] and a query or VALUES";

/// An INSERT.
pub(super) struct Insert {
    /// The places in the table of the columns that the query gives, in its order.
    columns: Vec<usize>,
    source: Source,
}

/// The rows of an INSERT.
enum Source {
    /// Rows of literals, each exactly a value of its column: they need no query.
    Literals(RecordBatch),
    Query(Box<Query>),
}

impl Insert {
    pub(super) fn new(table: &RowTable, mut insert: Ast) -> Result<Self> {
        let refuse = |what: &str| {
            Err(TxnLogError::invalid(format!("an INSERT into the row table {} {what}: {EXPECTED}", table.name())))
        };
        let Some(source) = insert.source.take() else { return refuse("has no rows") };
        let columns = std::mem::take(&mut insert.columns);
        let plain = insert.or.is_none()
            && !insert.ignore
            && !insert.overwrite
            && !insert.replace_into
            && insert.partitioned.is_none()
            && insert.after_columns.is_empty()
            && insert.assignments.is_empty()
            && insert.on.is_none()
            && insert.returning.is_none()
            && insert.output.is_none()
            && insert.settings.is_none()
            && insert.format_clause.is_none()
            && insert.priority.is_none()
            && insert.insert_alias.is_none()
            && insert.table_alias.is_none()
            && matches!(insert.table, TableObject::TableName(_));
        if !plain {
            return refuse("has a clause that is not supported");
        }
        let columns = places(table, &columns)?;
        let source = match literals(table, &columns, &source) {
            Some(rows) => Source::Literals(rows),
            None => Source::Query(source),
        };
        Ok(Self { columns, source })
    }

    /// Whether its rows are those of a query.
    pub(super) fn is_query(&self) -> bool {
        matches!(self.source, Source::Query(_))
    }

    pub(super) async fn evaluate(
        &self,
        engine: &RowEngine,
        view: &TableView,
        context: &GuestContext<'_>,
    ) -> Result<Evaluated> {
        let table = &view.table;
        let batches = match &self.source {
            Source::Literals(rows) => vec![rows.clone()],
            Source::Query(query) => self.queried(table, query, context).await?,
        };
        let defaults = DefaultValues::at_start_of_statement(engine.clock(), engine.ids());
        let whole = |batch: RecordBatch| normalized(table, &self.with_defaults(table, &batch, &defaults)?);
        let batches = non_empty(batches).map(whole).collect::<Result<Vec<_>>>()?;
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        // No row has their keys before.
        let request = with_keys(view, engine.session(), batches, BTreeMap::new()).await?;
        Ok(Evaluated { request, rows })
    }

    /// The rows of a query, in the types of the columns.
    async fn queried(&self, table: &RowTable, query: &Query, context: &GuestContext<'_>) -> Result<Vec<RecordBatch>> {
        let failed = |e| query_error(e, &format!("the rows for {} cannot be computed", table.name()));
        let plan = match context.plan(query.clone()).await {
            Ok(plan) => plan,
            // Perhaps because of columns with one name.
            Err(e) => Box::pin(context.plan(with_own_names(query.clone()))).await.map_err(|_| e)?,
        };
        let given = plan.schema().fields().len();
        if given != self.columns.len() {
            return Err(TxnLogError::invalid(format!(
                "wrong number of values in an INSERT into {}: expected {}, got {given}",
                table.name(),
                self.columns.len()
            )));
        }
        let values = self.columns.iter().zip(plan.schema().columns()).map(|(place, value)| {
            let field = table.definition.columns()[*place].field();
            let value = Expr::Column(value).cast_to(field.data_type(), plan.schema())?;
            Ok(value.alias(field.name()))
        });
        let values = values.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let plan =
            LogicalPlanBuilder::from(plan).project(values).and_then(LogicalPlanBuilder::build).map_err(failed)?;
        DataFrame::new(context.session.state(), plan).collect().await.map_err(failed)
    }

    /// The rows with all columns of the table.
    fn with_defaults(
        &self,
        table: &RowTable,
        given: &RecordBatch,
        defaults: &DefaultValues<'_>,
    ) -> Result<RecordBatch> {
        let (mut fields, mut arrays) = (Vec::new(), Vec::new());
        for (place, column) in table.definition.columns().iter().enumerate() {
            let array = match self.columns.iter().position(|other| *other == place) {
                Some(at) => given.column(at).clone(),
                None => defaults.array(column, given.num_rows())?,
            };
            fields.push(Field::new(column.name(), array.data_type().clone(), true));
            arrays.push(array);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .map_err(|e| TxnLogError::new(ErrorKind::Internal, "the rows of an INSERT do not fit").with_source(e))
    }
}

/// The rows of VALUES, if each value is a literal of its column's type, or NULL.
fn literals(table: &RowTable, columns: &[usize], query: &Query) -> Option<RecordBatch> {
    let SetExpr::Values(values) = query.body.as_ref() else { return None };
    let plain = query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && query.locks.is_empty()
        && query.for_clause.is_none()
        && query.settings.is_none()
        && query.format_clause.is_none()
        && query.pipe_operators.is_empty();
    if !plain || values.rows.is_empty() {
        return None;
    }
    let mut arrays = Vec::with_capacity(columns.len());
    let mut fields = Vec::with_capacity(columns.len());
    for (at, place) in columns.iter().enumerate() {
        let field = table.definition.columns()[*place].field();
        let value = |row: &Vec<SqlExpr>| match row.get(at)? {
            SqlExpr::Value(value) if value.value == SqlValue::Null => ScalarValue::try_from(field.data_type()).ok(),
            literal => Literal::of_expr(literal)?.to_value(field.data_type()),
        };
        let is_whole = |row: &Vec<SqlExpr>| row.len() == columns.len();
        let of_column = values.rows.iter().map(|row| is_whole(&row.content).then(|| value(&row.content)).flatten());
        let of_column: Vec<_> = of_column.collect::<Option<_>>()?;
        arrays.push(ScalarValue::iter_to_array(of_column).ok()?);
        fields.push(Field::clone(field).with_nullable(true));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).ok()
}

/// The places of the columns that an INSERT names; of all columns, if it names none.
fn places(table: &RowTable, named: &[ObjectName]) -> Result<Vec<usize>> {
    let columns = table.definition.columns();
    if named.is_empty() {
        return Ok((0..columns.len()).collect());
    }
    let mut places = Vec::with_capacity(named.len());
    for name in named {
        let place = match &name.0[..] {
            [part] => part.as_ident().and_then(|ident| columns.iter().position(|column| column.name() == ident.value)),
            _ => None,
        };
        let Some(place) = place else {
            let known: Vec<_> = columns.iter().map(|column| column.name()).collect();
            let message = format!("{} has no column {name}: it has {}", table.name(), known.join(", "));
            return Err(TxnLogError::invalid(message).about(Subject::UnknownColumn(name.to_string())));
        };
        if places.contains(&place) {
            let message = format!("an INSERT into {} names {name} twice: remove one", table.name());
            return Err(TxnLogError::invalid(message));
        }
        places.push(place);
    }
    Ok(places)
}
