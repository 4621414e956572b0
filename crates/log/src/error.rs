//! The errors of a log, classified by what the caller can do about them.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A concurrent change conflicts: read again and retry.
    Conflict,
    /// The table, version or file does not exist.
    NotFound,
    /// A table of that name or at that location exists.
    AlreadyExists,
    /// The request is invalid: change it.
    Invalid,
    /// The database or the object store does not answer: try again later.
    Unavailable,
    /// Stored bytes are not a valid Delta log: repair them.
    Corrupt,
    /// A bug in this library: report it.
    Internal,
}

/// The subject of an error, for programs that need more than its kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// The table does not exist.
    Table,
    /// A version or a time that the table does not have.
    Version,
    /// Columns that differ between rows and table.
    Schema,
    /// A commit that the table rejects from any writer, such as a delete where it is append-only.
    Commit,
    /// A file that the object store does not have.
    DataFile,
    /// Rows with a null in a column that is not nullable: how many of a batch.
    InvalidRows(usize),
    /// A column that an expression or an operation names, and the table does not have.
    UnknownColumn(String),
    /// A partition column that is not among the columns of the table.
    UnknownPartitionColumn(String),
    /// Partition columns that are not those of the table.
    Partitioning,
    /// SQL that does not parse.
    Syntax,
    /// An expression that is not boolean, where a condition is expected.
    NonBooleanCondition,
    /// A table feature that is not supported for writing, by its name in the protocol.
    UnsupportedFeature(String),
    /// A retention that is shorter than that of the table.
    Retention {
        /// That of the table.
        minimum: Duration,
        /// What was asked for.
        requested: Duration,
    },
}

/// An error of the transaction log: a kind to act on, one sentence to read, and the cause below it.
#[derive(Debug)]
pub struct TxnLogError {
    kind: ErrorKind,
    subject: Option<Subject>,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The result of every call on a log.
pub type Result<T, E = TxnLogError> = std::result::Result<T, E>;

impl TxnLogError {
    /// An error of `kind`; `message` says what is wrong, where, and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, subject: None, message: message.into(), source: None }
    }

    /// The request is invalid.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// The stored bytes are not a valid Delta log.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// The requested object does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Keeps `source` as the cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sets the subject.
    pub fn about(mut self, subject: Subject) -> Self {
        self.subject = Some(subject);
        self
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What it is about, where it or an error below it says so.
    pub fn subject(&self) -> Option<&Subject> {
        causes(self).find_map(|cause| cause.downcast_ref::<Self>()?.subject.as_ref())
    }
}

impl fmt::Display for TxnLogError {
    /// The sentence, and below it the causes that say something new: one line in all. With `{:#}` the causes keep the
    /// names of error types that other libraries put before their texts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let Some(source) = &self.source else { return Ok(()) };
        let cause = if f.alternate() { format!("{source:#}") } else { source.to_string() };
        if self.message.contains(&cause) {
            return Ok(());
        }
        write!(f, ": {}", cause.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

impl Error for TxnLogError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|s| s as _)
    }
}

/// An error and what caused it, outermost first.
pub fn causes<'a>(e: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(e), |e| (*e).source())
}

impl From<object_store::Error> for TxnLogError {
    fn from(e: object_store::Error) -> Self {
        use object_store::Error as E;
        let (kind, message) = match &e {
            E::NotFound { path, .. } => (ErrorKind::NotFound, format!("there is no object at {path}")),
            E::AlreadyExists { path, .. } | E::Precondition { path, .. } => {
                (ErrorKind::AlreadyExists, format!("an object exists at {path}"))
            }
            E::PermissionDenied { path, .. } | E::Unauthenticated { path, .. } => {
                (ErrorKind::Unavailable, format!("no permission for {path}: check the credentials and rights"))
            }
            E::InvalidPath { .. } | E::NotSupported { .. } | E::UnknownConfigurationKey { .. } => {
                (ErrorKind::Invalid, "the object store refuses the request".to_string())
            }
            _ => (ErrorKind::Unavailable, "the object store did not answer as expected".to_string()),
        };
        let subject = (kind == ErrorKind::NotFound).then_some(Subject::DataFile);
        Self { kind, subject, message, source: Some(e.into()) }
    }
}
