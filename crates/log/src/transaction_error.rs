//! Why a transaction over several tables was not committed.

use std::fmt;

use crate::conflict::Conflict;
use crate::error::{ErrorKind, TxnLogError};
use crate::ids::TableName;

/// Why a transaction over several tables was not committed.
#[derive(Debug)]
#[non_exhaustive]
pub enum TxnLogTransactionError {
    /// A concurrent commit conflicts; the error names the table, its version and operation. Nothing is committed.
    Conflict(Box<Conflict>),
    /// The transaction would touch more tables than it may (`max_tables`).
    TooManyTables {
        /// The maximum.
        max: usize,
        /// The first table beyond it.
        table: TableName,
    },
    /// The transaction is older than its `timeout`. Nothing is committed.
    TimedOut {
        /// Its age, in milliseconds.
        age_ms: i64,
        /// The maximum age, in milliseconds.
        timeout_ms: i64,
    },
    /// It is committed or rolled back already.
    Closed,
    /// The database did not answer: the transaction may or may not be committed. The text is the error.
    Unknown(String),
    /// An operation or the log failed.
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
                "the transaction is {} s old, and its timeout is {} s: nothing was committed, begin again or raise \
                 timeout",
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
    use crate::conflict::ConflictKind;
    use crate::ids::TableId;

    const PAGE: &str = include_str!("../../../docs/errors.md");

    /// The variants of an enum, parsed from its source file.
    fn variants(source: &str, name: &str) -> Vec<String> {
        let (_, body) = source.split_once(&format!("pub enum {name} {{\n")).unwrap();
        let lines = body.lines().take_while(|line| *line != "}");
        let named = lines.filter_map(|line| line.strip_prefix("    ")?.split(['(', ' ', ',', '{']).next());
        named.filter(|word| word.starts_with(char::is_uppercase)).map(String::from).collect()
    }

    /// The headings of the page below the heading of an enum.
    fn headings(name: &str) -> Vec<String> {
        let (_, part) = PAGE.split_once(&format!("\n## `{name}`")).unwrap_or_else(|| panic!("{name} has no part"));
        let lines = part.lines().skip(1).take_while(|line| !line.starts_with("## "));
        lines.filter_map(|line| Some(line.strip_prefix("### `")?.trim_end_matches('`').to_string())).collect()
    }

    #[test]
    fn the_error_guide_has_every_kind_and_no_other() {
        for (source, name) in
            [(include_str!("error.rs"), "ErrorKind"), (include_str!("transaction_error.rs"), "TxnLogTransactionError")]
        {
            let variants = variants(source, name);
            assert!(variants.len() > 5, "{variants:?}");
            assert_eq!(headings(name), variants, "docs/errors.md on {name}");
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
            E::Unknown(_) => {
                E::Log(TxnLogError::invalid("an optimize cannot be part of a transaction: run it on its own"))
            }
            E::Log(_) => return None,
        })
    }

    #[test]
    fn the_error_guide_has_the_message_of_every_transaction_error() {
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
