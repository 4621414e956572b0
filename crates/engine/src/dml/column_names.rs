//! Names for the columns of a query whose names do not matter, such as that of an INSERT.
//!
//! DataFusion does not plan a query of which two columns have one name: `SELECT 2, 2`.

use std::collections::HashSet;

use deltalakedb_table::datafusion::sql::sqlparser::ast::{Expr, Ident, Query, SelectItem, SetExpr};

/// The query with a name of its own for each column that may have the name of another one. The first column of a name
/// keeps it, because ORDER BY may use it.
pub(super) fn with_own_names(mut query: Query) -> Query {
    name_columns(&mut query.body);
    query
}

fn name_columns(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => name_items(&mut select.projection),
        SetExpr::Query(query) => name_columns(&mut query.body),
        SetExpr::SetOperation { left, right, .. } => {
            name_columns(left);
            name_columns(right);
        }
        // The columns of VALUES are numbered.
        _ => {}
    }
}

fn name_items(items: &mut [SelectItem]) {
    // The names that it stands for are not known here.
    let is_wildcard = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let has_wildcard = items.iter().any(is_wildcard);
    let mut names = HashSet::new();
    for (place, item) in items.iter_mut().enumerate() {
        let own_name = Ident::with_quote('"', format!("_value_{place}"));
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let is_first = !has_wildcard && column_of(expr).is_some_and(|name| names.insert(name));
                if !is_first {
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: own_name };
                }
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                let is_first = !has_wildcard && names.insert(alias.value.clone());
                if !is_first {
                    *alias = own_name;
                }
            }
            _ => {}
        }
    }
}

/// The name of the column that an expression is.
fn column_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(name.value.clone()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|name| name.value.clone()),
        _ => None,
    }
}
