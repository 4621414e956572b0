//! INSERT, UPDATE and DELETE of row tables.
//!
//! A statement is evaluated at a snapshot, and its changes are committed if no other commit changed the same rows since.
//! Otherwise it is evaluated again at a new snapshot.

mod by_key;
mod column_names;
mod evaluated;
mod insert;
mod key_update;
mod new_keys;
mod target;

use std::sync::Arc;

use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use deltalakedb_rows::CommitOutcome;
use deltalakedb_table::datafusion::sql::sqlparser::ast::Statement;
use deltalakedb_table::{CommandComplete, GuestContext, HeldRelation};

use self::evaluated::Evaluated;
use self::insert::Insert;
use self::target::TargetQuery;
use crate::blocking::blocking;
use crate::overlay::{RowTableProvider, SystemColumns};
use crate::row_engine::RowEngine;
use crate::row_table::RowTable;
use crate::system_columns::tables_of;
use crate::table_view::TableView;

/// How often a statement is evaluated.
const ATTEMPTS: usize = 100;

/// A statement whose commit failed so often waits for others of which that is true, too, and for the flush that runs; the
/// next flush of the table waits for the statement, which could take longer than the time between two flushes.
const UNORDERED: usize = 3;

/// A statement that changes rows of one table.
enum Change {
    Insert(Insert),
    Target(Box<TargetQuery>),
}

impl Change {
    /// The changes of the statement at a new snapshot, which is kept by the view.
    async fn evaluate(
        &self,
        engine: &RowEngine,
        table: &Arc<RowTable>,
        context: &GuestContext<'_>,
    ) -> Result<(TableView, Evaluated)> {
        match self {
            Self::Insert(insert) => {
                let view =
                    if insert.is_query() { hold(engine, table, context, false)? } else { view_alone(engine, table)? };
                let evaluated = insert.evaluate(engine, &view, context).await?;
                Ok((view, evaluated))
            }
            Self::Target(target) => {
                if let Some(by_key) = target.by_key() {
                    let view = view_alone(engine, table)?;
                    if let Some(evaluated) = by_key.evaluate(&view, context).await? {
                        return Ok((view, evaluated));
                    }
                }
                let view = hold(engine, table, context, true)?;
                let evaluated = target.evaluate(engine, &view, context).await?;
                Ok((view, evaluated))
            }
        }
    }
}

/// Runs a statement that changes a row table.
pub(crate) async fn run(
    engine: &RowEngine,
    table: &Arc<RowTable>,
    statement: Statement,
    context: &GuestContext<'_>,
) -> Result<CommandComplete> {
    let name = table.name();
    if context.transaction.is_some() {
        return Err(TxnLogError::invalid(format!(
            "the row table {name} cannot be changed between BEGIN and COMMIT: each statement commits by itself"
        )));
    }
    let (command, change) = match statement {
        Statement::Insert(insert) => ("INSERT", Change::Insert(Insert::new(table, insert)?)),
        Statement::Update(update) => ("UPDATE", Change::Target(Box::new(TargetQuery::of_update(table, update)?))),
        Statement::Delete(delete) => ("DELETE", Change::Target(Box::new(TargetQuery::of_delete(table, delete)?))),
        other => return Err(TxnLogError::invalid(format!("{other} cannot change the row table {name}"))),
    };
    let mut turn = None;
    for attempt in 0..ATTEMPTS {
        if attempt == UNORDERED {
            turn = Some((table.contended.lock().await, table.flushing.lock().await));
        }
        // The snapshot of the view is kept until the answer.
        let (_view, Evaluated { request, rows }) = change.evaluate(engine, table, context).await?;
        if rows == 0 {
            return Ok(CommandComplete::new(command, Some(0)));
        }
        let store = engine.store().clone();
        match blocking(move || store.commit(request)).await? {
            CommitOutcome::Committed(_) => return Ok(CommandComplete::new(command, Some(rows))),
            CommitOutcome::Conflict(_) | CommitOutcome::ColdChanged(_) | CommitOutcome::SnapshotTooOld(_) => {}
            CommitOutcome::Unknown(e) => return Err(e),
        }
    }
    drop(turn);
    Err(TxnLogError::new(
        ErrorKind::Conflict,
        format!("{command} of {name} lost to other statements {ATTEMPTS} times, and nothing was changed: run it again"),
    ))
}

/// Holds the row tables that a statement names at one new snapshot; with the positions of its rows the one that is
/// changed, if they are asked for.
fn hold(
    engine: &RowEngine,
    table: &Arc<RowTable>,
    context: &GuestContext<'_>,
    with_positions: bool,
) -> Result<TableView> {
    let mut tables = tables_of(context.named);
    tables.push(table.name().clone());
    let views = engine.views(&tables)?;
    for (name, table) in context.named.iter().zip(&tables) {
        if let Some(view) = views.iter().find(|view| view.table.name() == table) {
            let system = if name == table { SystemColumns::None } else { SystemColumns::Queried };
            context.register(&HeldRelation::new(name.clone(), Arc::new(RowTableProvider::new(view.clone(), system))));
        }
    }
    let changed = view_of(table, views)?;
    if with_positions {
        let target = RowTableProvider::new(changed.clone(), SystemColumns::WithPositions);
        context.register(&HeldRelation::new(target::with_positions(table.name()), Arc::new(target)));
    }
    Ok(changed)
}

/// The table at a new snapshot.
fn view_alone(engine: &RowEngine, table: &RowTable) -> Result<TableView> {
    view_of(table, engine.views(std::slice::from_ref(table.name()))?)
}

/// The view of a table among others.
fn view_of(table: &RowTable, views: Vec<TableView>) -> Result<TableView> {
    // Another one of the same name may have been created since.
    let changed = views.into_iter().find(|view| view.table.id == table.id);
    changed.ok_or_else(|| TxnLogError::not_found(format!("the row table {} was dropped", table.name())))
}
