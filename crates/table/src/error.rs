//! Converts errors of delta-rs, DataFusion and Arrow to errors of the log.

use std::error::Error;
use std::fmt;

use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::{DeltaTableError, kernel};
use deltalakedb_log::{ErrorKind, Result, Subject, TxnLogError, causes};

/// Converts an error to one sentence, and keeps the cause.
pub(crate) trait Explain<T> {
    /// The error of the log: `what` begins the sentence, the cause ends it.
    fn explain(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Error + Send + Sync + 'static> Explain<T> for Result<T, E> {
    fn explain(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| explained(e, what()))
    }
}

/// Converts an error of a running query, such as one in the stream of a scan; `what` begins the sentence.
pub fn query_error(e: DataFusionError, what: &str) -> TxnLogError {
    explained(e, what)
}

/// Wraps an error of ours for DataFusion.
pub(crate) fn to_datafusion_error(e: TxnLogError) -> DataFusionError {
    DataFusionError::External(e.into())
}

fn explained(e: impl Error + Send + Sync + 'static, what: impl Into<String>) -> TxnLogError {
    let kind = own_cause(&e).map(TxnLogError::kind).or_else(|| causes(&e).find_map(kind_of));
    caused(kind.unwrap_or(ErrorKind::Internal), what, e)
}

/// An error of a known kind. What it is about follows from its causes.
pub(crate) fn caused(kind: ErrorKind, what: impl Into<String>, e: impl Error + Send + Sync + 'static) -> TxnLogError {
    let subject = match own_cause(&e) {
        Some(own) => own.subject().cloned(),
        None => causes(&e).find_map(subject_of),
    };
    let error = TxnLogError::new(kind, what).with_source(Cause(Box::new(e)));
    match subject {
        Some(subject) => error.about(subject),
        None => error,
    }
}

fn own_cause<'a>(e: &'a (dyn Error + 'static)) -> Option<&'a TxnLogError> {
    causes(e).find_map(|cause| cause.downcast_ref())
}

/// A cause in one line: its sentence, and with `{:#}` the whole of its text.
#[derive(Debug)]
struct Cause(Box<dyn Error + Send + Sync>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = self.0.as_ref();
        match own_cause(cause) {
            Some(own) => own.fmt(f),
            None if f.alternate() => f.write_str(&one_line(&cause.to_string(), &[])),
            None => f.write_str(&one_line(&message_of(cause), NAMES)),
        }
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.0.as_ref())
    }
}

/// What delta-rs and DataFusion put before the sentence, where delta-rs keeps only the text of a DataFusion error.
const NAMES: &[&str] = &[
    "External error: ",
    "Arrow error: ",
    "Parser error: ",
    "Schema error: ",
    "Execution error: ",
    "Error during planning: ",
    "Invalid data found: ",
];

/// What delta-rs appends to the sentence about rows that break a constraint, and its kernel to any.
const APPENDICES: &[&str] = &["Preview of invalid data:", "stack backtrace:", "0: "];

/// The text of another library in one line, without `names` before the sentence and appendices after it.
///
/// This is the only function that reads such a text, and it decides nothing: it shortens what is printed, where
/// [`DeltaTableError::Generic`] has no other form.
fn one_line(text: &str, names: &[&str]) -> String {
    let is_appendix = |line: &&str| APPENDICES.iter().any(|begin| line.starts_with(begin));
    let lines = text.lines().map(str::trim).take_while(|line| !is_appendix(line)).filter(|line| !line.is_empty());
    let line = lines.collect::<Vec<_>>().join(" ");
    let mut sentence = line.as_str();
    while let Some(rest) = names.iter().find_map(|name| sentence.strip_prefix(name)) {
        sentence = rest;
    }
    sentence.to_string()
}

/// What an error says, without the names that its type and those around it put before it.
pub(crate) fn message_of(e: &(dyn Error + 'static)) -> String {
    let only_wraps = e.is::<ArrowError>()
        || e.is::<DataFusionError>()
        || e.is::<DeltaTableError>()
        || e.is::<kernel::Error>()
        || e.is::<delta_kernel::Error>();
    match e.source() {
        Some(cause) if only_wraps => message_of(cause),
        _ => message(e).unwrap_or_else(|| e.to_string()),
    }
}

/// The text in a variant whose display begins with a name.
fn message(e: &(dyn Error + 'static)) -> Option<String> {
    use ArrowError as A;
    if let Some(e) = e.downcast_ref() {
        return match e {
            A::CastError(m) | A::ParseError(m) | A::CsvError(m) | A::JsonError(m) | A::ParquetError(m) => {
                Some(m.clone())
            }
            A::SchemaError(m) | A::ComputeError(m) | A::InvalidArgumentError(m) => Some(m.clone()),
            _ => None,
        };
    }
    if let Some(DataFusionError::Plan(m) | DataFusionError::Execution(m)) = e.downcast_ref() {
        return Some(m.clone());
    }
    if let Some(ParserError::ParserError(m) | ParserError::TokenizerError(m)) = e.downcast_ref() {
        return Some(m.clone());
    }
    if let Some(kernel::Error::Generic(m)) = e.downcast_ref() {
        return Some(m.clone());
    }
    if let Some(delta_kernel::Error::Generic(m)) = e.downcast_ref() {
        return Some(m.clone());
    }
    if let Some(TransactionError::UnsupportedTableFeatures(features)) = e.downcast_ref() {
        let names: Vec<_> = features.iter().map(|f| f.to_string()).collect();
        return Some(format!("it needs the table feature {}, which is not supported", names.join(", ")));
    }
    match e.downcast_ref()? {
        DeltaTableError::Generic(m) => Some(m.clone()),
        _ => None,
    }
}

/// What one of the causes is about; `None` when its type does not say it.
fn subject_of(e: &(dyn Error + 'static)) -> Option<Subject> {
    match e.downcast_ref() {
        Some(TransactionError::UnsupportedTableFeatures(_)) => return None,
        Some(_) => return Some(Subject::Commit),
        None => {}
    }
    if e.is::<ParserError>() {
        return Some(Subject::Syntax);
    }
    if let Some(object_store::Error::NotFound { .. }) = e.downcast_ref() {
        return Some(Subject::DataFile);
    }
    if let Some(ArrowError::SchemaError(_)) = e.downcast_ref() {
        return Some(Subject::Schema);
    }
    match e.downcast_ref()? {
        DeltaTableError::NotATable(_) | DeltaTableError::InvalidTableLocation(_) => Some(Subject::Table),
        DeltaTableError::SchemaMismatch { .. } => Some(Subject::Schema),
        _ => None,
    }
}

/// The kind that one of the causes implies; `None` if none does.
fn kind_of(e: &(dyn Error + 'static)) -> Option<ErrorKind> {
    use arrow::error::ArrowError as A;
    use object_store::Error as O;
    if let Some(e) = e.downcast_ref::<DeltaTableError>() {
        return match e {
            DeltaTableError::NotATable(_) => Some(ErrorKind::NotFound),
            // Plan errors, and rows that violate a constraint; file errors have other types.
            DeltaTableError::Generic(_)
            | DeltaTableError::SchemaMismatch { .. }
            | DeltaTableError::InvalidData { .. }
            | DeltaTableError::UnsupportedColumnMapping { .. }
            | DeltaTableError::MetadataError(_) => Some(ErrorKind::Invalid),
            DeltaTableError::InvalidJsonLog { .. } | DeltaTableError::InvalidStatsJson { .. } => {
                Some(ErrorKind::Corrupt)
            }
            DeltaTableError::Transaction { source } => kind_of(source),
            _ => None,
        };
    }
    if e.is::<tokio::task::JoinError>() {
        return Some(ErrorKind::Internal);
    }
    if let Some(e) = e.downcast_ref::<TransactionError>() {
        return match e {
            TransactionError::UnsupportedTableFeatures(_)
            | TransactionError::TableFeaturesRequired(_)
            | TransactionError::DeltaTableAppendOnly => Some(ErrorKind::Invalid),
            TransactionError::CommitConflict(_) => Some(ErrorKind::Conflict),
            _ => None,
        };
    }
    if let Some(e) = e.downcast_ref::<DataFusionError>() {
        return match e {
            DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::SQL(..)
            | DataFusionError::NotImplemented(_) => Some(ErrorKind::Invalid),
            DataFusionError::ResourcesExhausted(_) => Some(ErrorKind::Unavailable),
            _ => None,
        };
    }
    if let Some(e) = e.downcast_ref::<O>() {
        return Some(match e {
            O::NotFound { .. } => ErrorKind::NotFound,
            O::AlreadyExists { .. } | O::Precondition { .. } => ErrorKind::AlreadyExists,
            O::InvalidPath { .. } | O::NotSupported { .. } => ErrorKind::Invalid,
            _ => ErrorKind::Unavailable,
        });
    }
    if let Some(e) = e.downcast_ref::<A>() {
        return match e {
            A::CastError(_) | A::DivideByZero | A::InvalidArgumentError(_) | A::ArithmeticOverflow(_) => {
                Some(ErrorKind::Invalid)
            }
            A::ParseError(_) => Some(ErrorKind::Invalid),
            _ => None,
        };
    }
    e.downcast_ref::<parquet::errors::ParquetError>().map(|_| ErrorKind::Corrupt)
}
