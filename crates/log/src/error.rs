//! What can go wrong with a log, sorted by what the caller can do about it.

use std::fmt;

use crate::commit::Conflict;
use crate::ids::TableName;

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Someone else changed the same thing first: read again and retry.
    Conflict,
    /// The table, version or file does not exist.
    NotFound,
    /// A table of that name or at that location exists.
    AlreadyExists,
    /// The request cannot be right: change it.
    Invalid,
    /// The database or the object store does not answer: try again later.
    Unavailable,
    /// Stored bytes do not say what a Delta log may say: repair them.
    Corrupt,
    /// A broken promise of this library: report it.
    Internal,
}

/// What an error is about, for programs that tell errors apart by more than what can be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// The table: there is none.
    Table,
    /// A version, or a time, that the table does not have.
    Version,
    /// Columns that differ between rows and table.
    Schema,
    /// Rows or features that the table's protocol, constraints or invariants do not allow.
    Protocol,
    /// A commit that the table does not take, whoever makes it: it is append-only, or has features that are not known.
    Commit,
    /// A data file that is gone.
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
    /// An error of `kind` whose `message` says what was wrong, where, and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, subject: None, message: message.into(), source: None }
    }

    /// The request cannot be right.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// The stored log does not say what a Delta log may say.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// What was asked for does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Keeps `source` as the cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says what it is about.
    pub fn about(mut self, subject: Subject) -> Self {
        self.subject = Some(subject);
        self
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What it is about, where it says so.
    pub fn subject(&self) -> Option<Subject> {
        self.subject
    }
}

impl fmt::Display for TxnLogError {
    /// The sentence, and below it the causes that say something new: one line in all.
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

/// Why a transaction over several tables did not come to its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum TxnLogTransactionError {
    /// Somebody else was first: the table, the version that won and what it did are named. Nothing is committed.
    Conflict(Box<Conflict>),
    /// The transaction would touch more tables than it may (`max_tables`).
    TooManyTables {
        /// How many it may.
        max: usize,
        /// The one too many.
        table: TableName,
    },
    /// The transaction is older than it may become (`timeout`). Nothing is committed.
    TimedOut {
        /// Its age, in milliseconds.
        age_ms: i64,
        /// How old it may become, in milliseconds.
        timeout_ms: i64,
    },
    /// It is committed or rolled back already.
    Closed,
    /// The database did not answer: it may be committed or not. The text is what failed.
    Unknown(String),
    /// An operation, or the log, failed.
    Log(TxnLogError),
}

impl fmt::Display for TxnLogTransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(conflict) => conflict.fmt(f),
            Self::TooManyTables { max, table } => {
                write!(f, "the transaction may touch {max} tables, and {table} is one more: raise max_tables")
            }
            Self::TimedOut { age_ms, timeout_ms } => write!(
                f,
                "the transaction is {} s old and may become {} s: nothing was committed, begin again or raise timeout",
                age_ms / 1_000,
                timeout_ms / 1_000
            ),
            Self::Closed => f.write_str("the transaction has ended: begin another"),
            Self::Unknown(why) => write!(
                f,
                "the database did not say whether the commit succeeded ({why}): look at the history before retrying"
            ),
            Self::Log(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for TxnLogTransactionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Log(e) => std::error::Error::source(e),
            _ => None,
        }
    }
}

impl From<TxnLogError> for TxnLogTransactionError {
    fn from(e: TxnLogError) -> Self {
        Self::Log(e)
    }
}

impl From<TxnLogTransactionError> for TxnLogError {
    fn from(e: TxnLogTransactionError) -> Self {
        use TxnLogTransactionError as E;
        let kind = match e {
            E::Log(e) => return e,
            E::Conflict(_) => ErrorKind::Conflict,
            E::TooManyTables { .. } | E::Closed => ErrorKind::Invalid,
            E::TimedOut { .. } | E::Unknown(_) => ErrorKind::Unavailable,
        };
        TxnLogError::new(kind, e.to_string()).with_source(e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::ConflictKind;
    use crate::ids::TableId;

    const PAGE: &str = include_str!("../../../docs/errors.md");

    /// The variants of an enum of this file, as they are written.
    fn variants(name: &str) -> Vec<String> {
        let source = include_str!("error.rs");
        let (_, body) = source.split_once(&format!("pub enum {name} {{\n")).unwrap();
        let lines = body.lines().take_while(|line| *line != "}");
        let named = lines.filter_map(|line| line.strip_prefix("    ")?.split(['(', ' ', ',', '{']).next());
        named.filter(|word| word.starts_with(char::is_uppercase)).map(String::from).collect()
    }

    /// The headings of the page below the one of an enum.
    fn headings(name: &str) -> Vec<String> {
        let (_, part) = PAGE.split_once(&format!("\n## `{name}`")).unwrap_or_else(|| panic!("{name} has no part"));
        let lines = part.lines().skip(1).take_while(|line| !line.starts_with("## "));
        lines.filter_map(|line| Some(line.strip_prefix("### `")?.trim_end_matches('`').to_string())).collect()
    }

    #[test]
    fn the_page_of_errors_has_every_kind_and_no_other() {
        for name in ["ErrorKind", "TxnLogTransactionError"] {
            assert!(variants(name).len() > 5, "{:?}", variants(name));
            assert_eq!(headings(name), variants(name), "docs/errors.md on {name}");
        }
    }

    /// The example after this one. A new variant does not compile here until it has one.
    fn next(e: &TxnLogTransactionError) -> Option<TxnLogTransactionError> {
        use TxnLogTransactionError as E;
        let table = TableName { namespace: "sales".into(), name: "orders".into() };
        Some(match e {
            E::Conflict(_) => E::TooManyTables { max: 100, table },
            E::TooManyTables { .. } => E::TimedOut { age_ms: 3_700_000, timeout_ms: 3_600_000 },
            E::TimedOut { .. } => E::Closed,
            E::Closed => E::Unknown("connection reset by peer".into()),
            E::Unknown(_) => E::Log(TxnLogError::invalid("an optimize is no part of a transaction: run it on its own")),
            E::Log(_) => return None,
        })
    }

    #[test]
    fn the_examples_of_transactions_are_what_they_say() {
        let conflict = Conflict {
            table: TableId(uuid::Uuid::nil()),
            table_name: TableName { namespace: "sales".into(), name: "orders".into() },
            version: 8,
            operation: Some("DELETE".into()),
            kind: ConflictKind::FileAlreadyRemoved("part-00000.parquet".into()),
        };
        let first = TxnLogTransactionError::Conflict(Box::new(conflict));
        for example in std::iter::successors(Some(first), next) {
            assert!(PAGE.contains(&example.to_string()), "docs/errors.md does not have {:?}", example.to_string());
        }
    }
}
