//! Converts errors of delta-rs, DataFusion and Arrow to errors of the log.

use std::error::Error;
use std::fmt;

use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::TransactionError;
use deltalakedb_log::{ErrorKind, Result, Subject, TxnLogError};

/// Converts an error to one sentence, and keeps the cause.
pub(crate) trait Explain<T> {
    /// The error of the log: `what` begins the sentence, the cause ends it.
    fn explain(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Error + Send + Sync + 'static> Explain<T> for Result<T, E> {
    fn explain(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| match sentence(&e) {
            Some((kind, subject, sentence)) => {
                let own = TxnLogError::new(kind, format!("{}: {sentence}", what()));
                match subject {
                    Some(subject) => own.about(subject),
                    None => own,
                }
            }
            None => {
                let kind = causes(&e).find_map(kind_of).unwrap_or(ErrorKind::Internal);
                TxnLogError::new(kind, what()).with_source(Cause(Box::new(e)))
            }
        })
    }
}

/// The subject of an error: its own, or that of its causes' types.
pub fn subject_of(e: &TxnLogError) -> Option<Subject> {
    causes(e).find_map(|cause| match cause.downcast_ref::<TxnLogError>() {
        Some(own) => own.subject(),
        None => subject_of_cause(cause),
    })
}

fn subject_of_cause(cause: &(dyn Error + 'static)) -> Option<Subject> {
    use DeltaTableError as D;
    match cause.downcast_ref::<DeltaTableError>() {
        Some(D::NotATable(_) | D::InvalidTableLocation(_)) => return Some(Subject::Table),
        Some(D::SchemaMismatch { .. }) => return Some(Subject::Schema),
        Some(D::InvalidData { .. }) => return Some(Subject::Protocol),
        Some(D::Arrow { source: ArrowError::SchemaError(_) }) => return Some(Subject::Schema),
        _ => {}
    }
    if let Some(ArrowError::SchemaError(_)) = cause.downcast_ref() {
        return Some(Subject::Schema);
    }
    if cause.is::<TransactionError>() {
        return Some(Subject::Commit);
    }
    match cause.downcast_ref() {
        Some(object_store::Error::NotFound { .. }) => Some(Subject::DataFile),
        _ => None,
    }
}

/// The complete message of delta-rs, including the names of errors, by which programs distinguish them; or `None`.
pub fn upstream_message(e: &TxnLogError) -> Option<String> {
    let theirs = causes(e).find_map(|cause| cause.downcast_ref::<DeltaTableError>())?;
    let all = theirs.to_string();
    let said = all.split_once("Preview of").map_or(all.as_str(), |(said, _)| said);
    let ours = e.to_string();
    Some(format!("{}{}", ours.strip_suffix(&one_line(&words(theirs)))?, one_line(said)))
}

/// Converts an error of a running query, such as one in the stream of a scan; `what` begins the sentence.
pub fn query_error(e: DataFusionError, what: &str) -> TxnLogError {
    match Err::<(), _>(e).explain(|| what.into()) {
        Err(e) => e,
        Ok(()) => TxnLogError::new(ErrorKind::Internal, what),
    }
}

/// A cause without the backtrace that some libraries print.
#[derive(Debug)]
struct Cause(Box<dyn Error + Send + Sync>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&words(self.0.as_ref())))
    }
}

fn one_line(text: &str) -> String {
    let is_trace = |line: &str| line.starts_with("0: ") || line.contains("stack backtrace");
    let lines = text.lines().map(str::trim).take_while(|line| !is_trace(line));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.0.as_ref())
    }
}

/// The message of an error, without the prefixes that its type and its wrappers add.
pub(crate) fn words(e: &(dyn Error + 'static)) -> String {
    use arrow::error::ArrowError as A;
    use datafusion::sql::sqlparser::parser::ParserError as P;
    if let Some(e) = e.downcast_ref::<A>() {
        return match e {
            A::ExternalError(e) => words(e.as_ref()),
            A::CastError(m) | A::ParseError(m) | A::CsvError(m) | A::JsonError(m) | A::ParquetError(m) => m.clone(),
            A::SchemaError(m) | A::ComputeError(m) | A::InvalidArgumentError(m) => m.clone(),
            e => e.to_string(),
        };
    }
    if let Some(e) = e.downcast_ref::<DataFusionError>() {
        return match e {
            DataFusionError::ArrowError(e, _) => words(e.as_ref()),
            DataFusionError::External(e) => words(e.as_ref()),
            DataFusionError::Diagnostic(_, e) | DataFusionError::Context(_, e) => words(e.as_ref()),
            DataFusionError::SQL(e, _) => match e.as_ref() {
                P::ParserError(m) | P::TokenizerError(m) => m.clone(),
                e => e.to_string(),
            },
            DataFusionError::SchemaError(e, _) => e.to_string(),
            DataFusionError::Plan(m) | DataFusionError::Execution(m) => m.clone(),
            e => e.to_string(),
        };
    }
    match e.downcast_ref::<DeltaTableError>() {
        // A message of DataFusion as text; a table of wrong rows that may follow is cut off.
        Some(DeltaTableError::Generic(m)) => {
            let (sentence, _) = m.split_once("Preview of").unwrap_or((m, ""));
            bare(sentence)
        }
        Some(e) => bare(&e.to_string()),
        None => e.to_string(),
    }
}

/// A text without the prefixes of error types.
fn bare(text: &str) -> String {
    let wrappers = [
        "External error: ",
        "Invalid data found: ",
        "Generic DeltaTable error: ",
        "Schema error: ",
        "Kernel: ",
        "Generic delta kernel error: ",
        "Error during planning: ",
        "Execution error: ",
        "Arrow error: ",
        "Parser error: ",
    ];
    wrappers.iter().fold(text.trim(), |m, wrapper| m.strip_prefix(wrapper).unwrap_or(m)).trim().to_string()
}

/// An error and its causes, outermost first.
fn causes<'a>(e: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(e), |e: &&'a (dyn Error + 'static)| (*e).source())
}

/// Errors that are reported without their wrappers: a sentence of our own, an unsupported feature.
fn sentence(e: &(dyn Error + 'static)) -> Option<(ErrorKind, Option<Subject>, String)> {
    causes(e).find_map(|e| {
        if let Some(own) = e.downcast_ref::<TxnLogError>() {
            return Some((own.kind(), subject_of(own), own.to_string()));
        }
        match e.downcast_ref::<TransactionError>()? {
            TransactionError::UnsupportedTableFeatures(features) => {
                let names: Vec<_> = features.iter().map(|f| f.to_string()).collect();
                Some((
                    ErrorKind::Invalid,
                    None,
                    format!("it needs the table feature {}, which is not supported", names.join(", ")),
                ))
            }
            _ => None,
        }
    })
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
