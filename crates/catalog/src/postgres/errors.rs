//! Classification of errors of the server and of the connection to it.

use deltalakedb_log::{ErrorKind, TxnLogError};

pub(super) fn sqlstate(e: &sqlx::Error) -> Option<String> {
    match e {
        sqlx::Error::Database(d) => d.code().map(|code| code.into_owned()),
        _ => None,
    }
}

/// Whether TLS failed: a certificate error is an I/O error of this kind.
fn is_tls(e: &sqlx::Error) -> bool {
    match e {
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(e) => e.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// Whether the server or the connection to it is unavailable, and may recover.
pub(super) fn is_gone(e: &sqlx::Error) -> bool {
    match e {
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => !is_tls(e),
        _ => sqlstate(e).is_some_and(|code| code.starts_with("08") || code.starts_with("57P0")),
    }
}

/// By SQLSTATE (PostgreSQL's manual, appendix A), never by message.
pub(super) fn failed(uri: &str, e: sqlx::Error) -> TxnLogError {
    use ErrorKind::{AlreadyExists, Internal, Invalid, NotFound, Unavailable};
    let code = sqlstate(&e).unwrap_or_default();
    let (kind, message) = match (code.as_str(), &e) {
        ("28P01", _) => (Invalid, format!("{uri} refuses the password: set PGPASSWORD or PGPASSFILE to the right one")),
        ("28000", _) => (
            Invalid,
            format!(
                "{uri} refuses this user from this machine: check user= and the server's pg_hba.conf, \
                 which may ask for TLS (sslmode=require)"
            ),
        ),
        ("3D000", _) => (NotFound, format!("the database of {uri} does not exist: create it")),
        ("3F000", _) => (NotFound, format!("the schema of {uri} does not exist: `dl init` creates it")),
        ("42501", _) => (
            Invalid,
            format!(
                "the user of {uri} lacks a right: GRANT it USAGE on the schema and SELECT, INSERT, UPDATE and DELETE on \
                 its tables, and CREATE to make or upgrade the catalog"
            ),
        ),
        ("42P01", _) => (NotFound, format!("{uri} is not a catalog yet: `dl init` creates one")),
        ("25006", _) => (Unavailable, format!("{uri} is read-only: connect to the primary server")),
        ("54000", _) => (
            Invalid,
            format!("a name is longer than {uri} can index (2.7 kB): shorten the application id, domain or table name"),
        ),
        ("53300", _) => (Unavailable, format!("{uri} has no connection left: raise max_connections or use a pooler")),
        ("53100", _) => (Unavailable, format!("the disk of {uri} is full: free some space")),
        ("23505", _) => (AlreadyExists, format!("{uri} already has that row")),
        ("40001" | "40P01" | "55P03", _) => {
            (Unavailable, format!("{uri} gave up waiting for another transaction: try again"))
        }
        ("25P03", _) => (
            Unavailable,
            format!("{uri} ended a transaction in which this program did nothing for too long: try again"),
        ),
        ("57014", _) => (
            Unavailable,
            format!("{uri} stopped a statement that took too long: try again, or raise the server's statement_timeout"),
        ),
        _ if is_tls(&e) => (
            Unavailable,
            format!(
                "TLS with {uri} failed: check sslmode=, which is `require` for another machine unless it is set, and \
                 the server's certificate"
            ),
        ),
        (_, sqlx::Error::Configuration(_)) => {
            (Invalid, format!("invalid connection setting for {uri}: check the PG* variables"))
        }
        _ if is_gone(&e) => {
            (Unavailable, format!("{uri} cannot be reached: check that PostgreSQL runs there, and host= and port="))
        }
        _ => (Internal, format!("a statement failed in {uri}")),
    };
    TxnLogError::new(kind, message).with_source(e)
}
