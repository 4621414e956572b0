//! SQL expressions, resolved against their columns.
//!
//! delta-rs accepts SQL as well, but never gets any: it casts a literal to the type of the column it is compared with,
//! so that `i = 1.5` becomes `i = 1`. Expressions are parsed and coerced here; the condition that selects the rows of a
//! change becomes a [`Condition`].

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{DFSchema, DataFusionError, SchemaError};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::prelude::SessionContext;
use deltalakedb_log::stores::environment;
use deltalakedb_log::{ErrorKind, Predicate, Result, Subject, TxnLogError};

use super::condition::Condition;
use super::session::session_context;
use super::{floats, literals};
use crate::error::caused;

/// The columns that expressions may use: those of a table, or of a table and of the source rows of a merge.
pub(crate) struct Columns {
    pub(super) session: SessionContext,
    pub(super) schema: DFSchema,
}

impl Columns {
    /// The columns of a table.
    pub(crate) fn of(schema: &SchemaRef) -> Result<Self> {
        let columns = DFSchema::try_from(schema.clone());
        let columns =
            columns.map_err(|e| TxnLogError::invalid("the column names of the table are ambiguous").with_source(e))?;
        Ok(Self { session: session_context(&environment())?, schema: columns })
    }

    /// Parses an expression without coercion. Errors call it `what`.
    pub(crate) fn parse(&self, what: &str, sql: &str) -> Result<Expr> {
        literals::parse(sql, &self.session, &self.schema).map_err(|e| unreadable(what, sql, e))
    }

    /// Parses an expression and coerces its types.
    pub(crate) fn read(&self, what: &str, sql: &str) -> Result<Expr> {
        self.typed(what, sql, self.parse(what, sql)?)
    }

    /// Parses a condition, coerces its types and makes all NaNs equal.
    pub(crate) fn read_condition(&self, what: &str, sql: &str) -> Result<Expr> {
        let typed = self.read(what, sql)?;
        self.check_condition(what, sql, &typed)?;
        floats::in_condition(typed, &self.schema).map_err(|e| unreadable(what, sql, e))
    }

    /// Coerces the types of an expression.
    pub(crate) fn typed(&self, what: &str, sql: &str, expr: Expr) -> Result<Expr> {
        self.simplifier().coerce(expr, &self.schema).map_err(|e| unreadable(what, sql, e))
    }

    /// Folds the constants of an expression.
    pub(crate) fn simplified(&self, what: &str, sql: &str, typed: Expr) -> Result<Expr> {
        self.simplifier().simplify(typed).map_err(|e| unreadable(what, sql, e))
    }

    /// An error unless an expression is boolean.
    pub(crate) fn check_condition(&self, what: &str, sql: &str, expr: &Expr) -> Result<()> {
        let data_type = expr.get_type(&self.schema).map_err(|e| unreadable(what, sql, e))?;
        if matches!(data_type, DataType::Boolean | DataType::Null) {
            return Ok(());
        }
        let message = format!("invalid {what} {sql:?}: expected a condition, found an expression of type {data_type}");
        Err(TxnLogError::invalid(message).about(Subject::NonBooleanCondition))
    }

    /// A condition as a function of its columns: true where it is satisfied, otherwise false, never null.
    pub(crate) fn is_true(&self, what: &str, sql: &str) -> Result<Expr> {
        let typed = self.read(what, sql)?;
        self.check_condition(what, sql, &typed)?;
        Ok(self.condition(sql, self.simplified(what, sql, typed)?, Predicate::Unknown)?.is_true)
    }

    /// A parsed condition for a change of the rows that satisfy it, with its predicate for data skipping.
    pub(crate) fn condition(&self, sql: &str, simplified: Expr, predicate: Predicate) -> Result<Condition> {
        floats::in_condition(simplified, &self.schema)
            .and_then(|condition| Condition::new(sql, condition, predicate, &self.schema, &self.session))
            .map_err(|e| unreadable("filter", sql, e))
    }

    fn simplifier(&self) -> ExprSimplifier {
        let now = self.session.state().execution_props().query_execution_start_time;
        let context = SimplifyContext::builder().with_schema(self.schema.clone().into());
        ExprSimplifier::new(context.with_query_execution_start_time(now).build())
    }
}

fn unreadable(what: &str, sql: &str, e: DataFusionError) -> TxnLogError {
    let mut cause = &e;
    while let DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) = cause {
        cause = inner;
    }
    if let DataFusionError::SchemaError(schema, _) = cause
        && let SchemaError::FieldNotFound { field, valid_fields } = schema.as_ref()
    {
        let names: Vec<_> = valid_fields.iter().map(|f| f.name().to_string()).collect();
        let name = field.name();
        let message = format!("invalid {what} {sql:?}: unknown column {name:?}, expected one of {}", names.join(", "));
        return TxnLogError::invalid(message).about(Subject::UnknownColumn(name.into()));
    }
    caused(ErrorKind::Invalid, format!("invalid {what} {sql:?}"), e)
}
