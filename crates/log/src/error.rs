//! The errors of a log, classified by what the caller can do about them.

use std::fmt;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// The table does not exist.
    Table,
    /// A version or a time that the table does not have.
    Version,
    /// Columns that differ between rows and table.
    Schema,
    /// Rows or features that the table's protocol, constraints or invariants do not allow.
    Protocol,
    /// A commit that the table rejects from every writer: the table is append-only, or has unknown features.
    Commit,
    /// A data file that does not exist.
    DataFile,
}

/// An error of the transaction log: a kind to act on, one sentence to read, and the cause below it.
#[derive(Debug)]
pub struct TxnLogError {
    kind: ErrorKind,
    subject: Option<Subject>,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
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
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
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

    /// The subject, if it is set.
    pub fn subject(&self) -> Option<Subject> {
        self.subject
    }
}

impl fmt::Display for TxnLogError {
    /// The message, followed by the causes that add information, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => {
                let cause = source.to_string();
                if self.message.contains(&cause) {
                    return Ok(());
                }
                write!(f, ": {}", cause.split_whitespace().collect::<Vec<_>>().join(" "))
            }
            None => Ok(()),
        }
    }
}

impl std::error::Error for TxnLogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as _)
    }
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
            _ => (ErrorKind::Unavailable, "the object store does not answer as it should".to_string()),
        };
        TxnLogError::new(kind, message).with_source(e)
    }
}
