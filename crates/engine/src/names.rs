//! Names in statements: they keep their case, as in all statements of a session.

use deltalakedb_log::{Result, TableName, TxnLogError};
use deltalakedb_table::datafusion::common::Column;
use deltalakedb_table::datafusion::logical_expr::Expr;
use deltalakedb_table::datafusion::sql::sqlparser::ast::{Ident, ObjectName};

/// The namespace of names without one. It need not be created.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

/// The table that a statement names; without a namespace it is in [`DEFAULT_NAMESPACE`].
pub(crate) fn table_name(name: &ObjectName) -> Result<TableName> {
    match parts(name).as_deref() {
        Some([table]) => format!("{DEFAULT_NAMESPACE}.{table}").parse(),
        Some([namespace, table]) => format!("{namespace}.{table}").parse(),
        _ => name.to_string().parse(),
    }
}

/// The column of that name in a plan, without a relation.
pub(crate) fn column_named(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// The namespace that a statement names.
pub(crate) fn namespace(name: &ObjectName) -> Result<String> {
    match parts(name).as_deref() {
        Some([namespace]) => Ok(namespace.to_string()),
        _ => Err(TxnLogError::invalid(format!("{name} is not a namespace: expected a name such as app"))),
    }
}

fn parts(name: &ObjectName) -> Option<Vec<&str>> {
    name.0.iter().map(|part| part.as_ident().map(|Ident { value, .. }| value.as_str())).collect()
}
