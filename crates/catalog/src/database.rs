//! What the statements need from a database: values, rows, transactions. Each database implements exactly this.

use std::collections::HashMap;
use std::fmt::Debug;

use async_trait::async_trait;
use deltalakedb_log::{LocationKey, Result, TableId, TxnLogError};
use futures::stream::BoxStream;

/// A value bound or read. Booleans are integers, ids and JSON are blobs: nothing depends on a dialect's types.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

/// One row, with its values in column order.
#[derive(Debug)]
pub(crate) struct Row(pub(crate) std::vec::IntoIter<Value>);

impl Row {
    /// The size of its data in bytes.
    pub(crate) fn size(&self) -> usize {
        self.0.as_slice().iter().map(Value::size).sum()
    }
}

impl Value {
    /// The size of its data in bytes.
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
/// Statements are written once, for all databases: parameters are `?`, tables have no schema prefix, ids and JSON are
/// `blob`. All other differences between databases are methods of this trait.
#[async_trait]
pub(crate) trait Database: Send + Sync + Debug {
    /// How messages name the database: its URI without secrets.
    fn describe(&self) -> String;

    /// A transaction whose statements all see one committed state.
    async fn read(&self) -> Result<Box<dyn DatabaseTransaction>>;

    /// A transaction that will write. No other transaction changes the heads of these tables until it ends. A database
    /// that locks single rows locks them in the order of their ids. Every statement that follows sees what was
    /// committed before the lock was acquired. The rows of a first query are returned as well, in the same round trip.
    async fn write(&self, heads: &[TableId], first: &str) -> Result<(Box<dyn DatabaseTransaction>, Vec<Row>)>;

    /// A transaction on a table's row of `dl_mirrors` and other mirror records that may be lost in a power failure, but
    /// not when a process ends: the published version, the lease. Where that is cheaper, COMMIT does not wait for the
    /// disk. Where rows are locked one by one, commits to the table can run at the same time: this transaction never
    /// locks a head. A writing transaction may change rows of `dl_mirrors` as well, after it has locked its heads. In that
    /// order there is no deadlock.
    async fn write_async_commit(&self, table: TableId, first: &str)
    -> Result<(Box<dyn DatabaseTransaction>, Vec<Row>)>;

    /// The time of its clock in SQL, in milliseconds since 1970; `None` if its clock is that of its clients.
    fn clock(&self) -> Option<&'static str> {
        None
    }

    /// The current point in the order in which versions became visible, as a text, in SQL.
    fn point(&self) -> &'static str;

    /// The condition in SQL that a row of `dl_table_versions` existed at a point; its parameter is the point.
    fn is_before(&self, row: &str) -> String;

    /// The rows of one query as a stream, from one committed state. A slow consumer does not keep the transaction open.
    async fn stream(&self, sql: String, params: Vec<Value>) -> Result<BoxStream<'static, Result<Row>>>;

    /// The rows of one query: one committed state, one round trip.
    async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>>;

    /// Closes every connection.
    async fn close(&self);

    /// Whether a table of that name exists.
    async fn has_table(&self, name: &str) -> Result<bool>;

    /// A transaction for migrations: it excludes all other migrations.
    async fn migrate(&self) -> Result<Box<dyn DatabaseTransaction>>;

    /// A migration in its dialect.
    fn migration(&self, sql: &str) -> String;

    /// Updates the planner's statistics after a table has changed much, if the planner uses statistics.
    async fn analyze(&self) -> Result<()>;

    /// Whether statistics were collected since there are files. Before, a server expects few files for any condition,
    /// and scans all of them where a key would find one.
    async fn is_analyzed(&self) -> Result<bool> {
        Ok(true)
    }

    /// Whether ordered indexes find single rows. Where they do not, rows are found by scanning columns.
    fn uses_range_scans(&self) -> bool;

    /// Whether [`Self::write`] excludes only writers to the same tables; if not, it excludes all writers.
    fn locks_heads(&self) -> bool {
        false
    }

    /// Whether a commit that is absent after its tables are locked again can never appear.
    fn lock_proves_absence(&self) -> bool;
}

/// The result of a COMMIT that did not succeed.
#[derive(Debug)]
pub(crate) enum CommitFailure {
    /// Nothing was committed.
    RolledBack(TxnLogError),
    /// COMMIT was sent and its result is unknown.
    Unknown(TxnLogError),
}

impl CommitFailure {
    /// The error, for a caller that may retry in both cases.
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

    /// The rows of one query, as they arrive; the transaction is in use until all of them are taken.
    fn rows<'s>(&'s mut self, sql: String, params: Vec<Value>) -> BoxStream<'s, Result<Row>>;

    /// Prevents other transactions from creating a table at a location, inside it or around it, until this one ends: later
    /// statements see the tables created before. Does nothing in a transaction that excludes all other writers.
    async fn lock_location(&mut self, place: &LocationKey) -> Result<()> {
        let _ = place;
        Ok(())
    }

    /// Writes, in order, and in one round trip if there are few rows. Returns the total number of changed rows.
    async fn write(&mut self, writes: Vec<WriteStatement>) -> Result<u64>;

    /// Commits the transaction durably.
    async fn commit(self: Box<Self>) -> Result<(), CommitFailure>;
}

/// A write.
#[derive(Debug)]
pub(crate) enum WriteStatement {
    /// One statement.
    Run(String, Vec<Value>),
    /// New rows, written in bulk if there are many.
    Insert(Insert),
}

/// New rows of one table.
pub(crate) struct Insert {
    pub(crate) table: &'static str,
    pub(crate) columns: Vec<&'static str>,
    /// The number of rows.
    pub(crate) count: usize,
    rows: Vec<Rows>,
    /// Whether the rows are of a table that no other transaction uses yet, so that none waits for this one.
    pub(crate) is_unused_table: bool,
}

/// From this many rows on, another thread builds the next rows while the previous ones are written.
pub(crate) const MANY_ROWS: usize = 512;

/// Rows that are generated while they are written, because there may be very many.
type Rows = Box<dyn Iterator<Item = Result<Vec<Value>>> + Send>;

impl Insert {
    /// Adds the rows of another insert into the same columns.
    pub(crate) fn append(&mut self, more: Insert) {
        self.count += more.count;
        self.rows.extend(more.rows);
    }

    /// Generates all remaining rows and removes them from the insert.
    pub(crate) fn take_rows(&mut self) -> Result<Vec<Vec<Value>>> {
        self.count = 0;
        std::mem::take(&mut self.rows).into_iter().flatten().collect()
    }

    /// This insert with additional rows.
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

    /// An insert whose rows are generated while they are written.
    pub(crate) fn insert_lazy(
        table: &'static str,
        columns: &[&'static str],
        rows: impl ExactSizeIterator<Item = Result<Vec<Value>>> + Send + 'static,
    ) -> Self {
        let (columns, count) = (columns.to_vec(), rows.len());
        WriteStatement::Insert(Insert { table, columns, count, rows: vec![Box::new(rows)], is_unused_table: false })
    }

    /// The number of new rows.
    pub(crate) fn rows(&self) -> u64 {
        match self {
            WriteStatement::Insert(insert) => insert.count as u64,
            WriteStatement::Run(..) => 0,
        }
    }

    /// The same write, marked as one to a table that no other transaction uses yet.
    pub(crate) fn into_unused_table(mut self) -> Self {
        if let WriteStatement::Insert(insert) = &mut self {
            insert.is_unused_table = true;
        }
        self
    }
}

/// The same writes, with the rows for one table in one insert. Writes after an update stay after it.
pub(crate) fn merge_inserts(writes: Vec<WriteStatement>) -> Vec<WriteStatement> {
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

/// The maximum number of keys looked up in one statement.
pub(crate) const KEYS: usize = 500;

/// `?, ?, ?` for `n` parameters.
pub(crate) fn placeholders(n: usize) -> String {
    vec!["?"; n].join(", ")
}
