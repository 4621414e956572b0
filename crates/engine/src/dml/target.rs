//! UPDATE and DELETE: a query finds the rows to be changed, their positions and their new values.

use std::ops::ControlFlow;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, UInt32Type};
use deltalakedb_log::{ErrorKind, Result, Subject, TableName, TxnLogError, causes};
use deltalakedb_rows::CommitRequest;
use deltalakedb_rows::row_store::ColdPosition;
use deltalakedb_table::datafusion::common::SchemaError;
use deltalakedb_table::datafusion::logical_expr::{ExprSchemable, LogicalPlanBuilder};
use deltalakedb_table::datafusion::prelude::DataFrame;
use deltalakedb_table::datafusion::sql::sqlparser::ast::{
    AssignmentTarget, Delete, Expr, FromTable, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr,
    Statement, TableFactor, TableWithJoins, Update, visit_expressions_mut,
};
use deltalakedb_table::datafusion::sql::sqlparser::dialect::GenericDialect;
use deltalakedb_table::datafusion::sql::sqlparser::parser::Parser;
use deltalakedb_table::{FILE_COLUMN, GuestContext, POSITION_COLUMN, query_error};

use super::by_key::ByKey;
use super::evaluated::{Evaluated, check_not_null, put};
use super::key_update::{KeyUpdate, before_update, column_of};
use crate::cold_snapshot::non_empty;
use crate::floats::normalized;
use crate::names::column_named;
use crate::row_engine::RowEngine;
use crate::row_table::{RowTable, SCOPE};
use crate::table_view::{TableView, encoded_keys};

/// The rows that an UPDATE or a DELETE changes.
pub(super) struct TargetQuery {
    /// The columns of the table that are needed, with their new values, then where the row is.
    query: Query,
    effect: Effect,
    /// The same change without a query.
    by_key: Option<ByKey>,
}

/// What is done with the rows of a [`TargetQuery`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// They are deleted. The query has their keys only.
    Delete,
    Update,
    /// Their keys are updated, too. The query has also the keys before the update.
    UpdateKeys,
}

impl TargetQuery {
    pub(super) fn of_delete(table: &RowTable, delete: Delete) -> Result<Self> {
        let extra = delete.using.is_some()
            || delete.returning.is_some()
            || delete.output.is_some()
            || delete.limit.is_some()
            || !delete.order_by.is_empty()
            || !delete.tables.is_empty();
        let (FromTable::WithFromKeyword(mut from) | FromTable::WithoutKeyword(mut from)) = delete.from;
        let (Some(target), true, false) = (from.pop(), from.is_empty(), extra) else {
            return Err(refused(table, "DELETE", "expected DELETE FROM NAME [WHERE CONDITION]"));
        };
        let columns =
            table.definition.key_columns().map(|column| (column.name().to_string(), identifier(column.name())));
        let by_key = ByKey::new(table, &target, delete.selection.as_ref(), None);
        let query = query(table, target, columns.collect(), delete.selection)?;
        Ok(Self { query, effect: Effect::Delete, by_key })
    }

    pub(super) fn of_update(table: &RowTable, update: Update) -> Result<Self> {
        const EXPECTED: &str = "expected UPDATE NAME SET COLUMN = VALUE [WHERE CONDITION]";
        let extra = update.from.is_some()
            || update.returning.is_some()
            || update.output.is_some()
            || update.or.is_some()
            || update.limit.is_some()
            || !update.order_by.is_empty();
        if extra {
            return Err(refused(table, "UPDATE", EXPECTED));
        }
        let mut columns: Vec<_> = table
            .definition
            .columns()
            .iter()
            .map(|column| (column.name().to_string(), identifier(column.name())))
            .collect();
        let mut assigned = Vec::new();
        for assignment in update.assignments {
            let AssignmentTarget::ColumnName(name) = &assignment.target else {
                return Err(refused(table, "UPDATE", "set each column on its own"));
            };
            let [column] = &name.0[..] else {
                return Err(refused(table, "UPDATE", "name each column without its table"));
            };
            let column = column.as_ident().ok_or_else(|| refused(table, "UPDATE", EXPECTED))?.value.clone();
            let Some((_, value)) = columns.iter_mut().find(|(other, _)| *other == column) else {
                let known: Vec<_> = table.definition.columns().iter().map(|column| column.name()).collect();
                let message = format!("{} has no column {name}: it has {}", table.name(), known.join(", "));
                return Err(TxnLogError::invalid(message).about(Subject::UnknownColumn(column)));
            };
            if is_default(table, &assignment.value) {
                let message = format!("UPDATE of {} cannot set {column:?} to DEFAULT: give the value", table.name());
                return Err(TxnLogError::invalid(message));
            }
            if assigned.iter().any(|(other, _)| *other == column) {
                let message = format!("an UPDATE of {} sets the column {column:?} twice: remove one", table.name());
                return Err(TxnLogError::invalid(message));
            }
            *value = assignment.value.clone();
            assigned.push((column, assignment.value));
        }
        let is_assigned = |key: &str| assigned.iter().any(|(column, _)| column == key);
        let (effect, by_key) = if table.definition.key_columns().any(|key| is_assigned(key.name())) {
            let keys = table.definition.key_columns();
            columns.extend(keys.map(|key| (before_update(key.name()), identifier(key.name()))));
            (Effect::UpdateKeys, None)
        } else {
            (Effect::Update, ByKey::new(table, &update.table, update.selection.as_ref(), Some(&assigned)))
        };
        let query = query(table, update.table, columns, update.selection)?;
        Ok(Self { query, effect, by_key })
    }

    /// The same change without a query, if it is that of a row by its key.
    pub(super) fn by_key(&self) -> Option<&ByKey> {
        self.by_key.as_ref()
    }

    pub(super) async fn evaluate(
        &self,
        engine: &RowEngine,
        view: &TableView,
        context: &GuestContext<'_>,
    ) -> Result<Evaluated> {
        let table = &view.table;
        let failed = |e| query_error(e, &format!("the rows of {} cannot be found", table.name()));
        let plan = context.plan(self.query.clone()).await.map_err(|e| unknown_column(&e).unwrap_or(e))?;
        let typed = plan.schema().columns().into_iter().map(|column| {
            let name = column.name.clone();
            let value = deltalakedb_table::datafusion::logical_expr::Expr::Column(column);
            match table.definition.column(column_of(&name)) {
                Some(column) => Ok(value.cast_to(column.field().data_type(), plan.schema())?.alias(name)),
                None => Ok(column_named(&name)),
            }
        });
        let typed = typed.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let plan = LogicalPlanBuilder::from(plan).project(typed).and_then(LogicalPlanBuilder::build).map_err(failed)?;
        let batches = DataFrame::new(context.session.state(), plan).collect().await.map_err(failed)?;
        let found = non_empty(batches).map(|rows| normalized(table, &rows)).collect::<Result<Vec<_>>>()?;
        if self.effect == Effect::UpdateKeys {
            let mut update = KeyUpdate::new(view);
            for rows in found {
                let positions = positions(&rows)?;
                update.add(rows, positions)?;
            }
            return update.evaluate(engine.session()).await;
        }
        let mut request = CommitRequest::at(view.snapshot.seq());
        for rows in &found {
            self.add(&mut request, view, rows)?;
        }
        let rows = found.iter().map(|rows| rows.num_rows() as u64).sum();
        Ok(Evaluated { request, rows })
    }

    fn add(&self, request: &mut CommitRequest, view: &TableView, rows: &RecordBatch) -> Result<()> {
        let table = &view.table;
        let keys = encoded_keys(table, rows)?;
        let positions = positions(rows)?;
        let changes = request.table(table.id, view.cold.generation);
        if self.effect == Effect::Delete {
            for (key, position) in keys.iter().zip(positions) {
                changes.delete(&SCOPE, key, position);
            }
            return Ok(());
        }
        check_not_null(table, rows)?;
        put(changes, table, rows, keys.iter().zip(positions))
    }
}

/// The error for a column that does not exist, if that is the cause, without the names that only the engine knows.
fn unknown_column(e: &TxnLogError) -> Option<TxnLogError> {
    let (field, valid_fields) = causes(e).find_map(|cause| match cause.downcast_ref::<SchemaError>() {
        Some(SchemaError::FieldNotFound { field, valid_fields }) => Some((field, valid_fields)),
        _ => None,
    })?;
    let is_position = |name: &str| name == FILE_COLUMN || name == POSITION_COLUMN;
    if !valid_fields.iter().any(|column| is_position(column.name())) {
        return None;
    }
    let names = valid_fields.iter().map(|column| column.name()).filter(|name| !is_position(name));
    let names = names.collect::<Vec<_>>().join(", ");
    let message = format!("there is no column {}: expected one of {names}", field.quoted_flat_name());
    Some(TxnLogError::invalid(message).about(Subject::UnknownColumn(field.name().to_string())))
}

/// Where the cold ones of these rows are.
fn positions(rows: &RecordBatch) -> Result<Vec<Option<ColdPosition>>> {
    let missing = || TxnLogError::new(ErrorKind::Internal, "the rows to be changed have no positions");
    let files = rows.column_by_name(FILE_COLUMN).and_then(|files| files.as_primitive_opt::<UInt32Type>());
    let places = rows.column_by_name(POSITION_COLUMN).and_then(|places| places.as_primitive_opt::<Int64Type>());
    let (files, places) = files.zip(places).ok_or_else(missing)?;
    let position = |(file, row): (Option<u32>, Option<i64>)| match (file, row) {
        (None, _) => Ok(None),
        (Some(file), Some(row)) => Ok(Some(ColdPosition { file, row: u32::try_from(row).map_err(|_| missing())? })),
        (Some(_), None) => Err(missing()),
    };
    files.iter().zip(places.iter()).map(position).collect()
}

/// A query for these expressions over the rows of a table that satisfy a condition, and for where they are.
fn query(
    table: &RowTable,
    mut target: TableWithJoins,
    columns: Vec<(String, Expr)>,
    condition: Option<Expr>,
) -> Result<Query> {
    let (TableFactor::Table { name, args: None, version: None, .. }, []) = (&mut target.relation, &target.joins[..])
    else {
        return Err(refused(table, "statement", "name one table, as it is now"));
    };
    let TableName { namespace, name: last } = with_positions(table.name());
    *name = ObjectName([namespace, last].map(|part| ObjectNamePart::Identifier(quoted(&part))).into());
    let (mut query, mut select) = parsed_select()?;
    let positions = [FILE_COLUMN, POSITION_COLUMN].map(|name| (name.to_string(), identifier(name)));
    let items = columns.into_iter().chain(positions);
    select.projection = items.map(|(name, expr)| SelectItem::ExprWithAlias { expr, alias: quoted(&name) }).collect();
    select.from = vec![target];
    select.selection = condition;
    // app.notes.id: the relation has another namespace.
    let _ = visit_expressions_mut(&mut select, |expr| {
        if let Expr::CompoundIdentifier(parts) = expr
            && let [namespace, name, _] = &parts[..]
            && (&namespace.value, &name.value) == (&table.name().namespace, &table.name().name)
        {
            parts.remove(0);
        }
        ControlFlow::<()>::Continue(())
    });
    query.body = Box::new(SetExpr::Select(Box::new(select)));
    Ok(query)
}

/// The relation with the rows of a table and their positions.
pub(super) fn with_positions(table: &TableName) -> TableName {
    TableName { namespace: format!("_positions_of_{}", table.namespace), name: table.name.clone() }
}

/// A query without any clause: its syntax tree has too many fields to be written here.
fn parsed_select() -> Result<(Query, Select)> {
    let cannot = || TxnLogError::new(ErrorKind::Internal, "a query cannot be made");
    let mut parsed = Parser::parse_sql(&GenericDialect {}, "SELECT 1").map_err(|e| cannot().with_source(e))?;
    match parsed.pop() {
        Some(Statement::Query(query)) => match query.body.as_ref() {
            SetExpr::Select(select) => Ok((query.as_ref().clone(), select.as_ref().clone())),
            _ => Err(cannot()),
        },
        _ => Err(cannot()),
    }
}

/// Whether a value is the keyword DEFAULT, which is parsed as the name of a column.
fn is_default(table: &RowTable, value: &Expr) -> bool {
    matches!(value, Expr::Identifier(name) if name.quote_style.is_none()
        && name.value.eq_ignore_ascii_case("DEFAULT")
        && table.definition.column(&name.value).is_none())
}

fn identifier(name: &str) -> Expr {
    Expr::Identifier(quoted(name))
}

fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

fn refused(table: &RowTable, what: &str, expected: &str) -> TxnLogError {
    TxnLogError::invalid(format!("this {what} of the row table {} is not supported: {expected}", table.name()))
}
