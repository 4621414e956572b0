//! What the statements need of a database: values, rows, sessions. Each dialect implements it and nothing more.

use std::collections::HashMap;
use std::fmt::Debug;

use async_trait::async_trait;
use deltalakedb_log::{PlaceKey, Result, TableId, TxnLogError};
use futures::stream::BoxStream;

/// A value bound or read. Booleans are integers, ids and JSON are blobs: nothing depends on a dialect's types.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

/// One row, column by column.
#[derive(Debug)]
pub(crate) struct Row(pub(crate) std::vec::IntoIter<Value>);

impl Row {
    /// How many bytes it holds.
    pub(crate) fn size(&self) -> usize {
        self.0.as_slice().iter().map(Value::size).sum()
    }
}

impl Value {
    /// How many bytes it holds.
    pub(crate) fn size(&self) -> usize {
        size_of::<Value>()
            + match self {
                Value::Null | Value::Int(_) => 0,
                Value::Text(text) => text.len(),
                Value::Blob(blob) => blob.len(),
            }
    }
}

/// A database that can keep a catalog.
///
/// Statements are written once, for all: parameters are `?`, tables carry no schema, ids and JSON are `blob`. Beyond
/// that a database differs in the ways its methods name, and in no other.
#[async_trait]
pub(crate) trait Database: Send + Sync + Debug {
    /// What to call it in a message: its URI without secrets.
    fn describe(&self) -> String;

    /// A transaction whose statements all see one committed state.
    async fn read(&self) -> Result<Box<dyn DatabaseTransaction>>;

    /// A transaction that will write. No other transaction changes the heads of these tables until it ends. A database
    /// that locks single rows locks them in the order of their ids. Every statement that follows sees what was
    /// committed before the lock was acquired. The rows of a first query are returned as well, which needs no separate
    /// round trip.
    async fn write(&self, heads: &[TableId], first: &str) -> Result<(Box<dyn DatabaseTransaction>, Vec<Row>)>;

    /// The same for a table's row of `dl_mirrors`, and for notes that may be forgotten when the power is cut, though not
    /// when a process ends: how far a mirror is, who publishes. Where that is cheaper, COMMIT does not wait for the disk.
    /// Where rows are locked one by one, commits to the table go on meanwhile: a note never locks a head. A session that
    /// writes may change rows of `dl_mirrors` as well, once it has its heads. In that order there is no deadlock.
    async fn note(&self, table: TableId, first: &str) -> Result<(Box<dyn DatabaseTransaction>, Vec<Row>)>;

    /// The time of its clock in SQL, in milliseconds since 1970; `None` where it has no other clock than its clients.
    fn clock(&self) -> Option<&'static str> {
        None
    }

    /// The present point in the order in which versions became visible, as a text, in SQL.
    fn point(&self) -> &'static str;

    /// The condition in SQL for a row of `dl_table_versions` to have been there at a point; its parameter is the point.
    fn is_before(&self, row: &str) -> String;

    /// The rows of one query as a stream, of one committed state. A slow consumer does not keep the transaction open.
    async fn stream(&self, sql: String, params: Vec<Value>) -> Result<BoxStream<'static, Result<Row>>>;

    /// The rows of one query by itself: one committed state, one round trip.
    async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>>;

    /// Ends every connection.
    async fn close(&self);

    /// Whether it holds a table of that name.
    async fn has_table(&self, name: &str) -> Result<bool>;

    /// A session to migrate in: it excludes everyone else who migrates.
    async fn migrate(&self) -> Result<Box<dyn DatabaseTransaction>>;

    /// A migration in its own spelling.
    fn migration(&self, sql: &str) -> String;

    /// Tells the planner, where there is one that asks, that a table has changed much.
    async fn analyze(&self) -> Result<()>;

    /// Whether that has happened since there are files. Before, a server expects few of them whatever the condition, and
    /// goes through all where a key would lead to one.
    async fn is_analyzed(&self) -> Result<bool> {
        Ok(true)
    }

    /// Whether ordered indexes lead to single rows. Where they do not, rows are found by scanning columns.
    fn seeks(&self) -> bool;

    /// Whether [`Self::write`] excludes only those who write to the same tables; where it does not, it excludes all who
    /// write.
    fn locks_heads(&self) -> bool {
        false
    }

    /// Whether a commit that is not there once its tables are locked again will never be.
    fn lock_proves_absence(&self) -> bool;
}

/// How a COMMIT ended when it did not succeed.
#[derive(Debug)]
pub(crate) enum CommitFailure {
    /// Nothing was committed.
    RolledBack(TxnLogError),
    /// COMMIT was sent and its result is unknown.
    Unknown(TxnLogError),
}

impl CommitFailure {
    /// The error, where the caller can as well try again.
    pub(crate) fn into_error(self) -> TxnLogError {
        match self {
            CommitFailure::RolledBack(e) | CommitFailure::Unknown(e) => e,
        }
    }
}

/// A transaction of the database. Dropping it without [`DatabaseTransaction::commit`] rolls it back.
#[async_trait]
pub(crate) trait DatabaseTransaction: Send {
    /// Runs one query.
    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>>;

    /// The rows of one query, as they come; they hold the session until they are all taken.
    fn rows<'s>(&'s mut self, sql: String, params: Vec<Value>) -> BoxStream<'s, Result<Row>>;

    /// Keeps other sessions from making a table at a place, inside of it or around it, until this one ends: what follows
    /// sees those that were made before. A session that excludes all that write needs nothing for that.
    async fn lock_place(&mut self, place: &PlaceKey) -> Result<()> {
        let _ = place;
        Ok(())
    }

    /// Writes, in order and in one round trip where the rows are few. Returns the number of rows changed by all.
    async fn write(&mut self, writes: Vec<WriteStatement>) -> Result<u64>;

    /// Makes it durable.
    async fn commit(self: Box<Self>) -> Result<(), CommitFailure>;
}

/// Something to write.
#[derive(Debug)]
pub(crate) enum WriteStatement {
    /// One statement.
    Run(String, Vec<Value>),
    /// New rows, in bulk where they are many.
    Insert(Insert),
}

/// New rows of one table.
pub(crate) struct Insert {
    pub(crate) table: &'static str,
    pub(crate) columns: Vec<&'static str>,
    /// How many rows there are.
    pub(crate) count: usize,
    rows: Vec<Rows>,
    /// Whether they are of a table that is not in use yet, so that no other transaction waits for this one.
    pub(crate) is_unseen: bool,
}

/// From so many rows on another thread makes them while those before are written.
pub(crate) const MANY_ROWS: usize = 512;

/// Rows that are generated while they are written: there may be very many.
type Rows = Box<dyn Iterator<Item = Result<Vec<Value>>> + Send>;

impl Insert {
    /// Adds the rows of another insert into the same columns.
    pub(crate) fn append(&mut self, more: Insert) {
        self.count += more.count;
        self.rows.extend(more.rows);
    }

    /// Generates all the rows, and leaves none.
    pub(crate) fn take_rows(&mut self) -> Result<Vec<Vec<Value>>> {
        self.count = 0;
        std::mem::take(&mut self.rows).into_iter().flatten().collect()
    }

    /// The same with more rows.
    pub(crate) fn with_rows(mut self, rows: Vec<Vec<Value>>) -> Self {
        self.count += rows.len();
        self.rows.push(Box::new(rows.into_iter().map(Ok)));
        self
    }

    /// The rows, in order.
    pub(crate) fn into_rows(self) -> impl Iterator<Item = Result<Vec<Value>>> + Send {
        self.rows.into_iter().flatten()
    }
}

impl Debug for Insert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { table, columns, count, .. } = self;
        f.debug_struct("Insert").field("table", table).field("columns", columns).field("count", count).finish()
    }
}

impl WriteStatement {
    pub(crate) fn run(sql: impl Into<String>, params: Vec<Value>) -> Self {
        WriteStatement::Run(sql.into(), params)
    }

    pub(crate) fn insert(table: &'static str, columns: &[&'static str], rows: Vec<Vec<Value>>) -> Self {
        Self::insert_lazy(table, columns, rows.into_iter().map(Ok))
    }

    /// The same with rows that are generated while they are written.
    pub(crate) fn insert_lazy(
        table: &'static str,
        columns: &[&'static str],
        rows: impl ExactSizeIterator<Item = Result<Vec<Value>>> + Send + 'static,
    ) -> Self {
        let (columns, count) = (columns.to_vec(), rows.len());
        WriteStatement::Insert(Insert { table, columns, count, rows: vec![Box::new(rows)], is_unseen: false })
    }

    /// How many rows are new.
    pub(crate) fn rows(&self) -> u64 {
        match self {
            WriteStatement::Insert(insert) => insert.count as u64,
            WriteStatement::Run(..) => 0,
        }
    }

    /// The same, where new rows are of a table that is not in use yet.
    pub(crate) fn unseen(mut self) -> Self {
        if let WriteStatement::Insert(insert) = &mut self {
            insert.is_unseen = true;
        }
        self
    }
}

/// The same writes, with the rows for one table in one insert. What stands behind an update stays behind it.
pub(crate) fn merged(writes: Vec<WriteStatement>) -> Vec<WriteStatement> {
    let (mut merged, mut inserts) = (Vec::<WriteStatement>::with_capacity(writes.len()), HashMap::new());
    for write in writes {
        match write {
            WriteStatement::Insert(insert) => {
                let first = inserts.get(insert.table).and_then(|at: &usize| merged.get_mut(*at));
                match first {
                    Some(WriteStatement::Insert(first)) if first.columns == insert.columns => first.append(insert),
                    _ => {
                        inserts.insert(insert.table, merged.len());
                        merged.push(WriteStatement::Insert(insert));
                    }
                }
            }
            WriteStatement::Run(..) => {
                inserts.clear();
                merged.push(write);
            }
        }
    }
    merged
}

/// Keys looked up in one statement.
pub(crate) const KEYS: usize = 500;

/// `?, ?, ?` for `n` parameters.
pub(crate) fn placeholders(n: usize) -> String {
    vec!["?"; n].join(", ")
}
