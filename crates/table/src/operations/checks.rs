//! Checks of an operation before it writes a file.

use arrow::datatypes::Schema;
use deltalakedb_log::snapshot::Snapshot;
use deltalakedb_log::{ErrorKind, Result, TxnLogError};

use crate::delta_rs::{Alter, LogView, Optimize, VirtualTable, check_writable};
use crate::identifiers::{column_named, quoted, unquoted};

pub(super) async fn check_optimize(state: &LogView, base: &Snapshot, table: &str, how: &Optimize) -> Result<()> {
    check_writable(base, table)?;
    check_known(&VirtualTable::without_files(state).await?, table, how.zorder.iter().map(String::as_str))
}

/// The assignments of an update, with columns quoted for expressions.
pub(super) fn named_columns(
    empty: &VirtualTable,
    table: &str,
    set: Vec<(String, String)>,
) -> Result<Vec<(String, String)>> {
    if set.is_empty() {
        return Err(TxnLogError::invalid(format!("an update of {table} sets no column: say which, and to what")));
    }
    let schema = empty.schema()?;
    let mut named: Vec<(String, String)> = Vec::with_capacity(set.len());
    for (key, value) in set {
        let Some(name) = column_named(&key, &schema) else {
            if let Some(column) = key.split('.').next().and_then(|first| column_named(first, &schema)) {
                return Err(TxnLogError::invalid(format!(
                    "an update of {table} sets {key:?}, which is within the column {column:?}: only whole columns are set"
                )));
            }
            return Err(no_column(table, &unquoted(&key), &schema));
        };
        let column = quoted(name);
        if named.iter().any(|(other, _)| *other == column) {
            return Err(TxnLogError::invalid(format!(
                "an update of {table} sets {name:?} twice: leave one of them out"
            )));
        }
        named.push((column, value));
    }
    Ok(named)
}

fn no_column(table: &str, name: &str, schema: &Schema) -> TxnLogError {
    let columns: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    TxnLogError::invalid(format!("{table} has no column {name:?}: it has {}", columns.join(", ")))
}

pub(super) fn check_new(empty: &VirtualTable, table: &str, alter: &Alter) -> Result<()> {
    let Alter::AddColumns(columns) = alter else { return Ok(()) };
    let schema = empty.schema()?;
    let there = |name: &&str| schema.fields().iter().any(|f| f.name().eq_ignore_ascii_case(name));
    match columns.names().into_iter().find(there) {
        None => Ok(()),
        Some(name) => Err(TxnLogError::new(
            ErrorKind::AlreadyExists,
            format!("{table} has a column {name:?} already: take another"),
        )),
    }
}

pub(super) fn check_known<'a>(
    empty: &VirtualTable,
    table: &str,
    mut names: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let schema = empty.schema()?;
    let known = |name: &str| schema.fields().iter().any(|f| f.name().eq_ignore_ascii_case(name));
    // A name may be that of a nested field.
    match names.find(|name| !known(name) && !known(name.split('.').next().unwrap_or(name))) {
        None => Ok(()),
        Some(name) => Err(no_column(table, name, &schema)),
    }
}
