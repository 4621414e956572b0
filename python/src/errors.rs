//! Converts errors to the exceptions that code for Delta tables expects.

use std::error::Error;

use deltalakedb_log::commit::ConflictKind;
use deltalakedb_log::{ErrorKind, Subject, TxnLogError, TxnLogTransactionError};
use deltalakedb_table::{subject_of, upstream_message};
use pyo3::exceptions::{PyFileNotFoundError, PyOSError};
use pyo3::import_exception;
use pyo3::prelude::*;

import_exception!(deltalakedb.exceptions, CatalogError);
import_exception!(deltalakedb.exceptions, CommitFailedError);
import_exception!(deltalakedb.exceptions, CommitOutcomeUnknownError);
import_exception!(deltalakedb.exceptions, DeltaError);
import_exception!(deltalakedb.exceptions, DeltaProtocolError);
import_exception!(deltalakedb.exceptions, SchemaMismatchError);
import_exception!(deltalakedb.exceptions, TableNotFoundError);
import_exception!(deltalakedb.exceptions, TransactionClosedError);
import_exception!(deltalakedb.exceptions, TransactionConflictError);

/// The exception of an error.
pub(crate) fn raise(e: TxnLogError) -> PyErr {
    // An exception of the caller's own reader is raised unchanged.
    if let Some(own) = raised_by_caller(&e) {
        return own;
    }
    match causes(&e).find_map(|cause| cause.downcast_ref::<TxnLogTransactionError>()) {
        Some(TxnLogTransactionError::Conflict(conflict)) => {
            let what = format!("Failed to commit transaction: {}: {conflict}", lost(&conflict.kind));
            return CommitFailedError::new_err(what);
        }
        Some(TxnLogTransactionError::Unknown(_)) => return CommitOutcomeUnknownError::new_err(e.to_string()),
        _ => {}
    }
    let text = deltalake_compatible_message(upstream_message(&e).unwrap_or_else(|| e.to_string()));
    match (subject_of(&e), e.kind()) {
        (Some(Subject::Table), _) => TableNotFoundError::new_err(text),
        (Some(Subject::Version), _) => DeltaError::new_err(text),
        (Some(Subject::Schema), _) => SchemaMismatchError::new_err(text),
        (Some(Subject::Protocol), _) => DeltaProtocolError::new_err(text),
        (Some(Subject::DataFile), _) => PyFileNotFoundError::new_err(text),
        (Some(Subject::Commit), _) | (_, ErrorKind::Conflict) => CommitFailedError::new_err(text),
        (_, ErrorKind::NotFound) => TableNotFoundError::new_err(text),
        (_, ErrorKind::Unavailable) => PyOSError::new_err(text),
        _ => DeltaError::new_err(text),
    }
}

/// The text by which programs recognize a kind of conflict in messages.
fn lost(kind: &ConflictKind) -> &'static str {
    match kind {
        ConflictKind::VersionTaken => "a concurrent transaction committed this version",
        ConflictKind::MetadataChanged => "Metadata changed since last commit",
        ConflictKind::ProtocolChanged => "Protocol changed since last commit",
        ConflictKind::SameApplication(_) | ConflictKind::SameDomain(_) => "Concurrent transaction failed",
        ConflictKind::ReadFileRemoved(_)
        | ConflictKind::FileAlreadyRemoved(_)
        | ConflictKind::DeletionVectorChanged(_) => "a concurrent transaction deleted data this operation read",
        ConflictKind::MatchingFileAdded(_) => "concurrent transactions added new data",
    }
}

/// A message, preceded by the text by which programs recognize it.
fn deltalake_compatible_message(text: String) -> String {
    let between = |start: &str, end: &str| {
        let (_, rest) = text.split_once(start)?;
        Some(rest.split_once(end)?.0.to_string())
    };
    let words = if text.contains("failed validation check") {
        let failed = text.rsplit_once(": ").map_or(text.as_str(), |(_, failed)| failed);
        Some(format!("Invalid data found: {failed}"))
    } else if text.contains("does not allow null") {
        Some("Invalid data found: 1 rows failed validation check".into())
    } else if let Some(column) = between(" names the column \"", "\"") {
        Some(format!("No field named {column}"))
    } else if let Some(column) = between(" has no column \"", "\"") {
        Some(format!("No field named {column}, {column} not found"))
    } else if let Some(column) = between("cannot be partitioned by \"", "\"") {
        Some(format!("Partition column '{column}' not found"))
    } else if text.contains("is no condition that can be read") || text.contains("found: EOF") {
        Some("sql parser error: ParserError".into())
    } else if text.contains("is no condition: it yields") {
        Some("non-boolean predicate".into())
    } else if let Some(hours) = between(" keeps removed files for ", " (") {
        let asked = between(", and ", " are asked for").unwrap_or_default();
        return format!(
            "Generic error: Invalid retention period, minimum retention for vacuum is configured to be greater than \
             {hours}, got {asked} hours"
        );
    } else if let Some(feature) = between(" needs the writer feature \"", "\"") {
        let (first, rest) = feature.split_at_checked(1).unwrap_or_default();
        Some(format!("Unsupported table features required: [{}{rest}]", first.to_uppercase()))
    } else if let Some((_, cast)) = text.rsplit_once(": Cannot cast ") {
        Some(format!("Cast error: Cannot cast {cast}"))
    } else if let Some((_, cast)) = text.rsplit_once(": Can't cast ") {
        Some(format!("Cast error: Can't cast {cast}"))
    } else if text.starts_with("Specified table partitioning") {
        Some("Generic error".into())
    } else {
        None
    };
    match words {
        Some(words) => format!("{words}: {text}"),
        None => text,
    }
}

/// The exception of a transaction's error.
pub(crate) fn raise_of_transaction(e: TxnLogTransactionError) -> PyErr {
    match e {
        TxnLogTransactionError::Conflict(conflict) => {
            let e = TransactionConflictError::new_err(format!(
                "Failed to commit transaction: {}: {conflict}",
                lost(&conflict.kind)
            ));
            Python::attach(|py| {
                let value = e.value(py);
                // The attributes have class-level defaults; a failure to set them must not hide the conflict.
                let _ = value.setattr("table", conflict.table_name.to_string());
                let _ = value.setattr("version", conflict.version);
                let _ = value.setattr("operation", conflict.operation.clone());
            });
            e
        }
        TxnLogTransactionError::Closed => TransactionClosedError::new_err(e.to_string()),
        TxnLogTransactionError::Log(e) => raise(e),
        TxnLogTransactionError::Unknown(_) => CommitOutcomeUnknownError::new_err(e.to_string()),
        e => DeltaError::new_err(e.to_string()),
    }
}

fn raised_by_caller(e: &TxnLogError) -> Option<PyErr> {
    let own = causes(e).find_map(|cause| cause.downcast_ref::<PyErr>())?;
    Some(Python::attach(|py| own.clone_ref(py)))
}

/// An error and its causes, outermost first.
fn causes<'a>(e: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(e), |e| (*e).source())
}
