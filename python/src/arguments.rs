//! Converts Python arguments to options of the library.

use std::collections::{BTreeMap, HashSet};

use arrow::datatypes::Schema as ArrowSchema;
use chrono::{DateTime, Utc};
use deltalakedb_log::action::Action;
use deltalakedb_table::{Merge, MergeClause, SaveMode, SchemaMode};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::errors::{DeltaError, SchemaMismatchError};
use crate::schema;

/// Kind, assignments, condition.
pub(crate) type Clause = (String, Option<BTreeMap<String, String>>, Option<String>);

/// The rows must have all columns of the table, because a missing column may be a mistake.
pub(crate) fn check_columns(schema: &str, rows: Option<&ArrowSchema>) -> PyResult<()> {
    let table = schema::parse(schema)?;
    let (names, Some(rows)) = (table.names(), rows) else { return Ok(()) };
    if schema.contains("delta.generationExpression") {
        return Ok(());
    }
    let given: Vec<_> = rows.fields().iter().map(|field| field.name().as_str()).collect();
    if given.len() != names.len() {
        return Err(SchemaMismatchError::new_err(format!(
            "Cannot cast schema, number of fields does not match: the rows have {}, the table has {}; write with \
             schema_mode=\"merge\" to add columns or leave some out",
            given.join(", "),
            names.join(", ")
        )));
    }
    match given.iter().find(|name| !names.contains(name)) {
        None => Ok(()),
        Some(name) => Err(SchemaMismatchError::new_err(format!(
            "Field {name} not found in schema: the table has {}",
            names.join(", ")
        ))),
    }
}

pub(crate) fn merge_of(
    predicate: String,
    source_alias: Option<String>,
    target_alias: Option<String>,
    merge_schema: bool,
    clauses: Vec<Clause>,
) -> PyResult<Merge> {
    let mut merge = Merge::on(predicate);
    merge.evolve_schema = merge_schema;
    merge.source_alias = source_alias.unwrap_or(merge.source_alias);
    merge.target_alias = target_alias.unwrap_or(merge.target_alias);
    for (kind, set, condition) in clauses {
        use MergeClause as C;
        let set: Vec<_> = set.unwrap_or_default().into_iter().collect();
        merge = merge.when(match kind.as_str() {
            "matched_update" => C::MatchedUpdate { condition, set: deltalakedb_table::Assignments::Columns(set) },
            "matched_delete" => C::MatchedDelete { condition },
            "not_matched_insert" => {
                C::NotMatchedInsert { condition, values: deltalakedb_table::Assignments::Columns(set) }
            }
            "not_matched_by_source_update" => C::NotMatchedBySourceUpdate { condition, set },
            "not_matched_by_source_delete" => C::NotMatchedBySourceDelete { condition },
            other => return Err(PyValueError::new_err(format!("{other:?} is not a clause of a merge"))),
        });
    }
    Ok(merge)
}

pub(crate) fn mode_of(mode: &str) -> PyResult<SaveMode> {
    match mode {
        "append" => Ok(SaveMode::Append),
        "overwrite" => Ok(SaveMode::Overwrite),
        "error" => Ok(SaveMode::ErrorIfExists),
        "ignore" => Ok(SaveMode::Ignore),
        _ => Err(DeltaError::new_err(format!(
            "Invalid save mode provided: {mode}, only these are supported: ['append', 'overwrite', 'error', 'ignore']"
        ))),
    }
}

pub(crate) fn schema_mode_of(mode: Option<&str>) -> PyResult<Option<SchemaMode>> {
    match mode {
        None => Ok(None),
        Some("merge") => Ok(Some(SchemaMode::Merge)),
        Some("overwrite") => Ok(Some(SchemaMode::Overwrite)),
        Some(mode) => Err(DeltaError::new_err(format!(
            "Invalid schema write mode provided: {mode}, only these are supported: ['overwrite', 'merge']"
        ))),
    }
}

pub(crate) fn actions_of(lines: &[String]) -> PyResult<Vec<Action>> {
    let mut all = Vec::new();
    for line in lines {
        let actions = Action::parse_line(line).map_err(PyValueError::new_err)?;
        for action in actions {
            match action {
                Action::Add(_) | Action::Remove(_) => all.push(action),
                _ => return Err(PyTypeError::new_err("only add and remove actions can be committed")),
            }
        }
    }
    let paths: HashSet<_> = all
        .iter()
        .filter_map(|action| match action {
            Action::Add(add) => Some(add.path.as_str()),
            _ => None,
        })
        .collect();
    let adds = all.iter().filter(|action| matches!(action, Action::Add(_))).count();
    if paths.len() < adds {
        return Err(PyValueError::new_err("a file is added twice"));
    }
    if all.iter().any(|action| matches!(action, Action::Remove(remove) if paths.contains(remove.path.as_str()))) {
        Err(PyValueError::new_err("Cannot add and remove the same file path"))
    } else {
        Ok(all)
    }
}

/// A time in RFC 3339, with its zone.
pub(crate) fn time_of(text: &str) -> PyResult<DateTime<Utc>> {
    let parsed =
        DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%:z"));
    parsed.map(|time| time.with_timezone(&Utc)).map_err(|e| {
        PyValueError::new_err(format!(
            "Failed to parse datetime string: {text:?}: {e}; expected for example 2024-01-31T12:00:00Z"
        ))
    })
}
