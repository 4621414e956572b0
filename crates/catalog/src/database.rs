//! What the statements need of a database: values, rows, sessions. Each dialect implements it and nothing more.

use std::fmt::Debug;

use async_trait::async_trait;
use deltalakedb_log::Result;
use futures::stream::BoxStream;

/// A value bound or read. Booleans are integers, ids and JSON are blobs: nothing depends on a dialect's types.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

/// One row, column by column.
#[derive(Debug)]
pub(crate) struct Row(pub(crate) std::vec::IntoIter<Value>);

/// A database that can keep a catalog.
#[async_trait]
pub(crate) trait Database: Send + Sync + Debug {
    /// What to call it in a message: its URI without secrets.
    fn describe(&self) -> String;

    /// A session whose statements all see one committed state.
    async fn read(&self) -> Result<Box<dyn Session>>;

    /// A session that will write: it excludes other writers from its first statement on, or waits for them.
    async fn write(&self) -> Result<Box<dyn Session>>;

    /// The rows of one query, as they come; one committed state.
    async fn stream(&self, sql: String, params: Vec<Value>) -> Result<BoxStream<'static, Result<Row>>>;

    /// The rows of one query by itself: one committed state, one round trip.
    async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>>;

    /// Ends every connection.
    async fn close(&self);

    /// A query that gives 1 when the database holds `dl_catalog`, and 0 when not.
    fn finds_catalog(&self) -> &'static str;
}

/// How a COMMIT ended when it did not succeed.
#[derive(Debug)]
pub(crate) enum CommitFailure {
    /// Nothing was committed.
    RolledBack(deltalakedb_log::TxnLogError),
    /// Nobody knows.
    Unknown(deltalakedb_log::TxnLogError),
}

impl CommitFailure {
    /// The error, where the caller can as well try again.
    pub(crate) fn into_error(self) -> deltalakedb_log::TxnLogError {
        match self {
            CommitFailure::RolledBack(e) | CommitFailure::Unknown(e) => e,
        }
    }
}

/// A transaction: dropped without [`Session::commit`], it never was.
#[async_trait]
pub(crate) trait Session: Send {
    /// Runs statements separated by `;` in one round trip; parameters are bound in order across them. Returns the
    /// number of rows changed.
    async fn execute(&mut self, sql: &str, params: Vec<Value>) -> Result<u64>;

    /// Runs one query.
    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>>;

    /// Inserts rows: as many statements as the database's limits ask for.
    async fn insert(&mut self, table: &str, columns: &[&str], rows: Vec<Vec<Value>>) -> Result<()>;

    /// Makes it durable.
    async fn commit(self: Box<Self>) -> Result<(), CommitFailure>;
}

/// `?, ?, ?` for `n` parameters.
pub(crate) fn placeholders(n: usize) -> String {
    vec!["?"; n].join(", ")
}
