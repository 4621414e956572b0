//! Queries that name system columns.
//!
//! `_seq` and `_deleted` are columns of every row table, but not of `*`. A query that names one of them reads its row
//! tables as relations of another namespace, which have these columns, and `*` is written out without them.

use std::collections::HashSet;
use std::ops::ControlFlow;

use deltalakedb_log::{Result, TableName, TxnLogError};
use deltalakedb_table::datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, Statement, TableAlias, TableFactor, TableWithJoins, VisitMut,
    VisitorMut, WildcardAdditionalOptions, visit_expressions,
};

use crate::definition::{DELETED_COLUMN, SEQ_COLUMN};
use crate::names::table_name;

/// What the namespace of a row table with its system columns begins with.
const NAMESPACE: &str = "_system_columns_of_";

/// The row table that a relation shows with its system columns.
fn table_with_system_columns(relation: &TableName) -> Option<TableName> {
    let namespace = relation.namespace.strip_prefix(NAMESPACE)?;
    Some(TableName { namespace: namespace.into(), name: relation.name.clone() })
}

/// The tables whose rows relations show: row tables with their system columns, and others by their own names.
pub(crate) fn tables_of(relations: &[TableName]) -> Vec<TableName> {
    relations.iter().map(|name| table_with_system_columns(name).unwrap_or_else(|| name.clone())).collect()
}

/// Makes the queries of a statement that names system columns read them. `is_row_table` is true for row tables.
pub(crate) fn rewrite(statement: &mut Statement, is_row_table: &dyn Fn(&TableName) -> bool) -> Result<()> {
    let names_one = visit_expressions(statement, |expr| match expr {
        Expr::Identifier(name) if is_system_column(name) => ControlFlow::Break(()),
        Expr::CompoundIdentifier(parts) if parts.last().is_some_and(is_system_column) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    if names_one.is_continue() {
        return Ok(());
    }
    match statement.visit(&mut Rewriter { is_row_table, with: HashSet::new() }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(e) => Err(e),
    }
}

fn is_system_column(name: &Ident) -> bool {
    [SEQ_COLUMN, DELETED_COLUMN].contains(&name.value.as_str())
}

struct Rewriter<'a> {
    is_row_table: &'a dyn Fn(&TableName) -> bool,
    /// The names of queries in WITH.
    with: HashSet<String>,
}

/// A relation of a FROM clause.
struct Source {
    /// Its name in the query; None for one without a name.
    called: Option<ObjectName>,
    is_row_table: bool,
}

impl VisitorMut for Rewriter<'_> {
    type Break = TxnLogError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<TxnLogError> {
        let named = query.with.iter().flat_map(|with| &with.cte_tables);
        self.with.extend(named.map(|named| named.alias.name.value.clone()));
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<TxnLogError> {
        let mut sources = Vec::new();
        for from in &mut select.from {
            self.rename_all(from, &mut sources);
        }
        let row_tables = sources.iter().filter(|source| source.is_row_table).count();
        if row_tables == 0 {
            return ControlFlow::Continue(());
        }
        if row_tables > 1 && select.from.iter().any(is_natural) {
            return ControlFlow::Break(TxnLogError::invalid(
                "a NATURAL JOIN of row tables in a query that names _seq or _deleted would compare these, too: use ON",
            ));
        }
        let merges = select.from.iter().any(merges_columns);
        let items = std::mem::take(&mut select.projection);
        for item in items {
            match item {
                SelectItem::Wildcard(_) if merges || sources.iter().any(|source| source.called.is_none()) => {
                    return ControlFlow::Break(TxnLogError::invalid(
                        "* in a query that names _seq or _deleted cannot be used with NATURAL, USING or relations \
                         without names: list the columns",
                    ));
                }
                SelectItem::Wildcard(options) => {
                    let expanded = sources.iter().filter_map(|source| {
                        let kind = SelectItemQualifiedWildcardKind::ObjectName(source.called.clone()?);
                        let options =
                            if source.is_row_table { without_system_columns(&options) } else { options.clone() };
                        Some(SelectItem::QualifiedWildcard(kind, options))
                    });
                    select.projection.extend(expanded);
                }
                SelectItem::QualifiedWildcard(kind, options) => {
                    let named = match &kind {
                        SelectItemQualifiedWildcardKind::ObjectName(name) => last(name),
                        SelectItemQualifiedWildcardKind::Expr(_) => None,
                    };
                    let is_named = |source: &Source| source.called.as_ref().and_then(last) == named;
                    let is_row_table = sources.iter().any(|source| source.is_row_table && is_named(source));
                    let options = if is_row_table { without_system_columns(&options) } else { options };
                    let kind = match (named, is_row_table) {
                        (Some(named), true) => {
                            SelectItemQualifiedWildcardKind::ObjectName(Ident::with_quote('"', named).into())
                        }
                        _ => kind,
                    };
                    select.projection.push(SelectItem::QualifiedWildcard(kind, options));
                }
                other => select.projection.push(other),
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<TxnLogError> {
        // app.notes._seq: the relation has another namespace now.
        if let Expr::CompoundIdentifier(parts) = expr
            && let [namespace, table, _] = &parts[..]
            && (self.is_row_table)(&TableName { namespace: namespace.value.clone(), name: table.value.clone() })
        {
            parts.remove(0);
        }
        ControlFlow::Continue(())
    }
}

impl Rewriter<'_> {
    fn rename_all(&self, from: &mut TableWithJoins, sources: &mut Vec<Source>) {
        self.rename(&mut from.relation, sources);
        for join in &mut from.joins {
            self.rename(&mut join.relation, sources);
        }
    }

    fn rename(&self, factor: &mut TableFactor, sources: &mut Vec<Source>) {
        match factor {
            TableFactor::NestedJoin { table_with_joins, alias: None } => self.rename_all(table_with_joins, sources),
            TableFactor::Table { name, alias, args: None, version: None, .. } => {
                let is_with = name.0.len() == 1 && last(name).is_some_and(|name| self.with.contains(name));
                let table = table_name(name).ok().filter(|table| !is_with && (self.is_row_table)(table));
                let is_row_table = table.is_some();
                if let Some(table) = table {
                    // Columns are qualified with the name alone.
                    let called = Ident::with_quote('"', &table.name);
                    alias.get_or_insert_with(|| TableAlias {
                        explicit: true,
                        name: called,
                        columns: Vec::new(),
                        at: None,
                    });
                    let parts = [format!("{NAMESPACE}{}", table.namespace), table.name];
                    *name =
                        ObjectName(parts.map(|part| ObjectNamePart::Identifier(Ident::with_quote('"', part))).into());
                }
                let called = alias.as_ref().map_or_else(|| name.clone(), |alias| alias.name.clone().into());
                sources.push(Source { called: Some(called), is_row_table });
            }
            TableFactor::Derived { alias, .. } => {
                let called = alias.as_ref().map(|alias| alias.name.clone().into());
                sources.push(Source { called, is_row_table: false });
            }
            _ => sources.push(Source { called: None, is_row_table: false }),
        }
    }
}

/// The last part of a name.
fn last(name: &ObjectName) -> Option<&str> {
    name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.as_str())
}

fn constraints(from: &TableWithJoins) -> impl Iterator<Item = &JoinConstraint> {
    from.joins.iter().filter_map(|join| match &join.join_operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => Some(constraint),
        _ => None,
    })
}

fn is_natural(from: &TableWithJoins) -> bool {
    constraints(from).any(|constraint| matches!(constraint, JoinConstraint::Natural))
}

/// Whether a join makes one column of two.
fn merges_columns(from: &TableWithJoins) -> bool {
    constraints(from).any(|constraint| matches!(constraint, JoinConstraint::Using(_) | JoinConstraint::Natural))
}

fn without_system_columns(options: &WildcardAdditionalOptions) -> WildcardAdditionalOptions {
    let mut excluded: Vec<ObjectName> = match options.opt_exclude.clone() {
        Some(ExcludeSelectItem::Single(name)) => vec![name],
        Some(ExcludeSelectItem::Multiple(names)) => names,
        None => Vec::new(),
    };
    excluded.extend([SEQ_COLUMN, DELETED_COLUMN].map(|name| Ident::new(name).into()));
    WildcardAdditionalOptions { opt_exclude: Some(ExcludeSelectItem::Multiple(excluded)), ..options.clone() }
}
