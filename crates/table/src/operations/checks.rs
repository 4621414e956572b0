//! Checks of an operation before it writes a file.

use deltalakedb_log::snapshot::Snapshot;
use deltalakedb_log::{ErrorKind, Result, TxnLogError};

use crate::delta_rs::{Alter, LogView, Optimize, VirtualTable, check_writable};
use crate::identifiers::{column_named, no_column, quoted, unquoted};

pub(super) async fn check_optimize(state: &LogView, base: &Snapshot, table: &str, optimize: &Optimize) -> Result<()> {
    check_writable(base, table)?;
    check_known(&VirtualTable::without_files(state).await?, table, optimize.zorder.iter().map(String::as_str))
}

/// The assignments of an update, with columns quoted for expressions.
pub(super) fn named_columns(
    empty: &VirtualTable,
    table: &str,
    set: Vec<(String, String)>,
) -> Result<Vec<(String, String)>> {
    if set.is_empty() {
        return Err(TxnLogError::invalid(format!("an update of {table} sets no column: name a column and its value")));
    }
    let schema = empty.schema()?;
    let mut named: Vec<(String, String)> = Vec::with_capacity(set.len());
    for (key, value) in set {
        let Some(name) = column_named(&key, &schema) else {
            if let Some(column) = key.split('.').next().and_then(|first| column_named(first, &schema)) {
                return Err(TxnLogError::invalid(format!(
                    "an update of {table} sets {key:?}, which is within the column {column:?}: only whole columns can \
                     be set"
                )));
            }
            return Err(no_column(table, &unquoted(&key), &schema));
        };
        let column = quoted(name);
        if named.iter().any(|(other, _)| *other == column) {
            return Err(TxnLogError::invalid(format!("an update of {table} sets {name:?} twice: remove one of them")));
        }
        named.push((column, value));
    }
    Ok(named)
}

pub(super) fn check_new(empty: &VirtualTable, table: &str, alter: &Alter) -> Result<()> {
    let Alter::AddColumns(columns) = alter else { return Ok(()) };
    let schema = empty.schema()?;
    let there = |name: &&str| schema.fields().iter().any(|f| f.name().eq_ignore_ascii_case(name));
    match columns.names().into_iter().find(there) {
        None => Ok(()),
        Some(name) => Err(TxnLogError::new(
            ErrorKind::AlreadyExists,
            format!("{table} has a column {name:?} already: choose another name"),
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
