//! Converts errors to the exceptions that code for Delta tables expects.

use std::time::Duration;

use deltalakedb_log::commit::ConflictKind;
use deltalakedb_log::{ErrorKind, Subject, TxnLogError, TxnLogTransactionError, causes};
use pyo3::exceptions::{PyFileNotFoundError, PyOSError};
use pyo3::import_exception;
use pyo3::prelude::*;

import_exception!(deltalakedb.exceptions, CatalogError);
import_exception!(deltalakedb.exceptions, CommitFailedError);
import_exception!(deltalakedb.exceptions, CommitOutcomeUnknownError);
import_exception!(deltalakedb.exceptions, DeltaError);
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
    // With the names of errors of delta-rs and DataFusion, by which programs tell them apart.
    let text = match e.subject().and_then(deltalake_words) {
        Some(words) => format!("{words}: {e:#}"),
        None => format!("{e:#}"),
    };
    match (e.subject(), e.kind()) {
        (Some(Subject::Table), _) | (None, ErrorKind::NotFound) => TableNotFoundError::new_err(text),
        (Some(Subject::Schema), _) => SchemaMismatchError::new_err(text),
        (Some(Subject::DataFile), _) => PyFileNotFoundError::new_err(text),
        (Some(Subject::Commit | Subject::UnsupportedFeature(_)), _) | (_, ErrorKind::Conflict) => {
            CommitFailedError::new_err(text)
        }
        (None, ErrorKind::Unavailable) => PyOSError::new_err(text),
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

/// The words that programs written for `deltalake` look for in the message of an error of ours.
fn deltalake_words(subject: &Subject) -> Option<String> {
    Some(match subject {
        Subject::InvalidRows(rows) => format!("Invalid data found: {rows} rows failed validation check"),
        Subject::UnknownColumn(column) => format!("No field named {column}, {column} not found"),
        Subject::UnknownPartitionColumn(column) => format!("Partition column '{column}' not found"),
        Subject::Partitioning => "Generic error: Specified table partitioning does not match table partitioning".into(),
        Subject::Syntax => "sql parser error: ParserError".into(),
        Subject::NonBooleanCondition => "non-boolean predicate".into(),
        Subject::UnsupportedFeature(feature) => {
            let (first, rest) = feature.split_at_checked(1).unwrap_or_default();
            format!("Unsupported table features required: [{}{rest}]", first.to_uppercase())
        }
        Subject::Retention { minimum, requested } => format!(
            "Generic error: Invalid retention period, minimum retention for vacuum is configured to be greater than {} \
             hours, got {} hours",
            hours(minimum),
            hours(requested)
        ),
        _ => return None,
    })
}

fn hours(duration: &Duration) -> f64 {
    duration.as_secs_f64() / 3_600.0
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
