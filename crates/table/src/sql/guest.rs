//! Guests of a session: other owners of relations and statements.
//!
//! A program that keeps rows outside of Delta tables, such as a row engine, registers a [`SqlGuest`]. The session asks
//! it first: whether a statement is one of its own, which relations of a query it has, and whether a relation that a
//! statement changes is its own. Everything else is for the tables of the catalog.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::common::DFSchema;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{ExprSchemable, LogicalPlan};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, ExprWithAlias, Query, Statement as Ast};
use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;
use deltalakedb_log::{Result, TableName};

use super::catalog_provider::DeltaCatalogProvider;
use super::relations::{HeldRelation, Relations};
use super::result::{CommandComplete, SqlResult};
use crate::delta_rs::literals;
use crate::error::Explain;
use crate::transaction::Transaction;

/// Another owner of relations and statements in a session.
#[async_trait]
pub trait SqlGuest: Relations {
    /// Gets the tokens of each statement, with white space and without the semicolon, before the statement is parsed.
    /// Returns a statement if it is one of the guest's; an error if it is one and invalid.
    fn claim(&self, tokens: &[TokenWithSpan]) -> Result<Option<Box<dyn GuestStatement>>>;

    /// Gets each other statement when it is parsed, and may change its queries: such as to name relations with more
    /// columns.
    fn rewrite(&self, _statement: &mut Ast) -> Result<()> {
        Ok(())
    }

    /// Whether a relation is the guest's.
    async fn owns(&self, relation: &TableName) -> Result<bool>;

    /// Runs an INSERT, UPDATE or DELETE, as it was parsed, of a relation that the guest owns. The other relations that
    /// the statement names are held and registered in [`GuestContext::session`]; the guest
    /// [registers](GuestContext::register) its own.
    ///
    /// If it fails in an open transaction, the session rolls back the transaction, of which a guest gets no notice: a
    /// guest whose changes are not part of [`GuestContext::transaction`] must reject the statement there.
    async fn change(&self, relation: &TableName, change: Ast, context: GuestContext<'_>) -> Result<CommandComplete>;
}

/// A statement of a guest.
#[async_trait]
pub trait GuestStatement: Send {
    /// Runs it.
    async fn run(self: Box<Self>, context: GuestContext<'_>) -> Result<SqlResult>;
}

/// The session in which a statement of a guest runs.
#[non_exhaustive]
pub struct GuestContext<'a> {
    /// The session of DataFusion.
    pub session: &'a SessionContext,
    /// The transaction that BEGIN has opened; `None` outside one. A guest can
    /// [add](crate::Transaction::add) its own writes to it.
    pub transaction: Option<&'a Transaction>,
    /// The tables of the catalog, as the transaction or else a new statement sees them.
    pub tables: &'a dyn Relations,
    /// The relations that the statement names, if it changes one of the guest's.
    pub named: &'a [TableName],
    pub(super) registered: &'a DeltaCatalogProvider,
}

impl GuestContext<'_> {
    /// Adds a relation to those that are held for the statement, or replaces the one of that name: such as by one at a
    /// later point in time when the statement is evaluated again.
    pub fn register(&self, relation: &HeldRelation) {
        self.registered.register(relation);
    }

    /// Plans an expression over the columns of one relation, whose values have this type. Literals have the same types
    /// as in queries of the session. Queries and the current time cannot be in it.
    pub fn plan_expression(
        &self,
        expr: SqlExpr,
        columns: &DFSchema,
        data_type: &DataType,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let (parsed, state) = (ExprWithAlias { expr, alias: None }, self.session.state_ref());
        // Not a copy, which takes longer than the rest.
        let state = state.read();
        let simplifier = ExprSimplifier::new(
            SimplifyContext::builder()
                .with_schema(Arc::new(columns.clone()))
                .with_config_options(state.config_options().clone())
                .build(),
        );
        let planned = literals::planned(parsed, &state, columns)
            .and_then(|expr| expr.cast_to(data_type, columns))
            .and_then(|expr| simplifier.coerce(expr, columns))
            .and_then(|expr| simplifier.simplify(expr))
            .and_then(|expr| state.create_physical_expr(expr, columns));
        planned.explain(|| "the expression cannot be planned".into())
    }

    /// Plans a query over the relations that are held for the statement. Literals have the same types as in queries of
    /// the session.
    pub async fn plan(&self, query: Query) -> Result<LogicalPlan> {
        let mut query = Statement::Statement(Box::new(Ast::Query(Box::new(query))));
        literals::in_statement(&mut query);
        let plan = self.session.state().statement_to_plan(query).await;
        plan.explain(|| "the query cannot be planned".into())
    }
}

impl fmt::Debug for GuestContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestContext").field("transaction", &self.transaction).finish_non_exhaustive()
    }
}
