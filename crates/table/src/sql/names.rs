//! The tables that a statement names, and their versions.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Query, TableFactor, TableVersion, TypedString, Value, Visit,
    Visitor,
};
use deltalakedb_log::snapshot::At;
use deltalakedb_log::{Result, TableName, TxnLogError, Version, time};

/// The table function for time travel: `table_at('sales.orders', 3)`.
const TABLE_AT: &str = "table_at";

/// The tables that a statement names.
#[derive(Debug, Default)]
pub(super) struct ReferencedTables {
    /// At their latest versions.
    pub(super) now: BTreeSet<TableName>,
    /// At earlier versions.
    pub(super) then: Vec<(TableName, At)>,
}

impl ReferencedTables {
    pub(super) fn of(statement: &Statement) -> Result<Self> {
        let mut finder = Finder::default();
        match finder.look_at(statement) {
            ControlFlow::Continue(()) => Ok(finder.found),
            ControlFlow::Break(e) => Err(e),
        }
    }
}

/// The table of the catalog for a name in SQL.
pub(super) fn table_name(name: &ObjectName) -> Result<TableName> {
    let parts: Option<Vec<&Ident>> = name.0.iter().map(|part| part.as_ident()).collect();
    let text = match parts.as_deref() {
        Some([name]) => format!("default.{}", name.value),
        Some([namespace, name]) => format!("{}.{}", namespace.value, name.value),
        _ => name.to_string(),
    };
    text.parse()
}

pub(super) fn namespace(name: &ObjectName) -> Result<String> {
    match &name.0[..] {
        [part] => part.as_ident().map(|ident| ident.value.clone()),
        _ => None,
    }
    .ok_or_else(|| TxnLogError::invalid(format!("{name} is not a namespace: expected a name such as sales")))
}

/// The time travel reference in a part of FROM; `None` for other parts.
pub(super) fn past(factor: &TableFactor) -> Result<Option<(TableName, At)>> {
    match factor {
        TableFactor::Table { name, version: Some(version), args: None, .. } => {
            let at = match version {
                TableVersion::VersionAsOf(n) => version_of(n),
                TableVersion::TimestampAsOf(t) | TableVersion::ForSystemTimeAsOf(t) => text_of(t).map(time_at),
                _ => None,
            };
            let wrong = || {
                TxnLogError::invalid(format!(
                    "invalid time travel {name} {version}: expected VERSION AS OF 3 or TIMESTAMP AS OF '2024-01-01'"
                ))
            };
            Ok(Some((table_name(name)?, at.ok_or_else(wrong)??)))
        }
        TableFactor::Table { name, args: Some(args), .. } if is_table_at(name) => {
            let arguments = args.args.iter().map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e),
                _ => None,
            });
            let at = match arguments.collect::<Option<Vec<_>>>().as_deref() {
                Some([table, at]) => text_of(table).zip(version_of(at).or_else(|| text_of(at).map(time_at))),
                _ => None,
            };
            let (table, at) = at.ok_or_else(|| {
                TxnLogError::invalid(format!(
                    "{TABLE_AT} takes a table's name and a version or a time: {TABLE_AT}('sales.orders', 3) or \
                     {TABLE_AT}('sales.orders', '2024-01-01')"
                ))
            })?;
            Ok(Some((table.parse()?, at?)))
        }
        _ => Ok(None),
    }
}

fn is_table_at(name: &ObjectName) -> bool {
    matches!(&name.0[..], [part] if part.as_ident().is_some_and(|i| i.value.eq_ignore_ascii_case(TABLE_AT)))
}

fn version_of(expr: &Expr) -> Option<Result<At>> {
    let Expr::Value(value) = expr else { return None };
    let Value::Number(digits, _) = &value.value else { return None };
    Some(digits.parse::<Version>().map(At::Version).map_err(|e| {
        TxnLogError::invalid(format!("{digits} is not a version: expected a whole number such as 3")).with_source(e)
    }))
}

fn text_of(expr: &Expr) -> Option<&str> {
    let value = match expr {
        Expr::Value(value) | Expr::TypedString(TypedString { value, .. }) => value,
        _ => return None,
    };
    match &value.value {
        Value::SingleQuotedString(text) => Some(text),
        _ => None,
    }
}

fn time_at(text: &str) -> Result<At> {
    time::parse_ms(text).map(At::Timestamp)
}

/// Collects the tables of a statement. Names defined by WITH are not tables within their scope.
#[derive(Default)]
struct Finder {
    found: ReferencedTables,
    given: Vec<String>,
    /// The next name is that of a function, or of a time travel reference.
    seen: bool,
}

impl Finder {
    fn look_at(&mut self, statement: &Statement) -> ControlFlow<TxnLogError> {
        match statement {
            Statement::Statement(s) => s.visit(self),
            Statement::Explain(explain) => self.look_at(&explain.statement),
            Statement::CopyTo(copy) => match &copy.source {
                CopyToSource::Query(query) => query.visit(self),
                CopyToSource::Relation(_) => ControlFlow::Continue(()),
            },
            Statement::CreateExternalTable(_) | Statement::Reset(_) => ControlFlow::Continue(()),
        }
    }
}

fn or_break<T>(result: Result<T>) -> ControlFlow<TxnLogError, T> {
    match result {
        Ok(value) => ControlFlow::Continue(value),
        Err(e) => ControlFlow::Break(e),
    }
}

impl Visitor for Finder {
    type Break = TxnLogError;

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<TxnLogError> {
        if let Some(past) = or_break(past(factor))? {
            if !self.found.then.contains(&past) {
                self.found.then.push(past);
            }
            self.seen = true;
        }
        if let TableFactor::Table { args: Some(_), .. } = factor {
            self.seen = true;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<TxnLogError> {
        if std::mem::take(&mut self.seen) {
            return ControlFlow::Continue(());
        }
        let given = matches!(&name.0[..], [part] if part.as_ident().is_some_and(|i| self.given.contains(&i.value)));
        if !given {
            self.found.now.insert(or_break(table_name(name))?);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<TxnLogError> {
        let Some(with) = &query.with else { return ControlFlow::Continue(()) };
        for cte in &with.cte_tables {
            // Without RECURSIVE a query does not see its own name: `WITH t AS (SELECT * FROM t)` reads a table.
            if !with.recursive {
                cte.visit(self)?;
            }
            self.given.push(cte.alias.name.value.clone());
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<TxnLogError> {
        let given = query.with.as_ref().map_or(0, |with| with.cte_tables.len());
        self.given.truncate(self.given.len().saturating_sub(given));
        ControlFlow::Continue(())
    }
}
