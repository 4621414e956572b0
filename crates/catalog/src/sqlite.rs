//! SQLite: one file, many processes, one writer at a time.
//!
//! WAL lets readers continue while a writer commits; `synchronous=FULL` syncs the WAL at every COMMIT except those of
//! mirror records. Writers of this process queue for one connection, writers of other processes wait in SQLite's busy
//! handler.

use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use backon::{ConstantBuilder, Retryable};
use deltalakedb_log::{ErrorKind, Result, TableId, TxnLogError};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use sqlx::error::BoxDynError;
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous, SqliteValueRef,
};
use sqlx::{
    Arguments, AssertSqlSafe, Column, Connection as _, Decode, Row as _, Sqlite, Transaction, TypeInfo, ValueRef,
};

use crate::database::{
    CommitFailure, Database, DatabaseTransaction, MANY_ROWS, Row, Value, WriteStatement, placeholders,
};
use crate::file;
use crate::prefetch::Prefetch;
use crate::spool::spooled;
use crate::uri::{Backend, CatalogUri};

const BUSY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a call waits for a connection that other calls of this process use.
const PATIENCE: Duration = Duration::from_secs(120);
/// The number of reading connections of a process.
const READERS: u32 = 8;
/// SQLite binds at most 32,766 parameters in a statement.
const MAX_PARAMETERS: usize = 32_000;

#[derive(Debug)]
pub(crate) struct SqliteDatabase {
    uri: String,
    readers: SqlitePool,
    writer: SqlitePool,
    patience: Duration,
}

impl SqliteDatabase {
    /// Opens the file; if it does not exist and `create` is set, creates it with the permissions `mode`. SQLite gives
    /// its other files (`-wal`, `-shm`) the same permissions.
    pub(crate) async fn open(path: &Path, create: bool, mode: u32) -> Result<Self> {
        Self::with_patience(path, create, mode, PATIENCE).await
    }

    async fn with_patience(path: &Path, create: bool, mode: u32, patience: Duration) -> Result<Self> {
        let path = std::path::absolute(path)
            .map_err(|e| TxnLogError::invalid(format!("{} has no absolute path", path.display())).with_source(e))?;
        let uri = CatalogUri { backend: Backend::Sqlite(path.clone()), table: None }.to_string();
        if !create && !path.exists() {
            return Err(TxnLogError::not_found(format!("there is no catalog at {uri}: `dl init` creates one")));
        }
        if let Some(dir) = path.parent().filter(|dir| !dir.is_dir()) {
            return Err(TxnLogError::not_found(format!(
                "the catalog {uri} needs the folder {}: create it",
                dir.display()
            )));
        }
        if let Some(kind) = network_filesystem(&path) {
            return Err(TxnLogError::invalid(format!(
                "{uri} is on a network file system ({kind}), where SQLite's locks do not hold: keep it on a local disk"
            )));
        }
        if create {
            file::create_empty(&path, mode).map_err(|e| {
                let message = format!("{uri} cannot be created: check the permissions of its folder");
                TxnLogError::new(ErrorKind::Unavailable, message).with_source(e)
            })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("cache_size", "-16384")
            .pragma("temp_store", "memory");
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
                .acquire_timeout(patience)
                // SQLite rolls back by itself when the disk is full or fails. The ROLLBACK after that is an error, and
                // sqlx rejects every later transaction of the connection: a new connection takes its place.
                .before_acquire(|connection, _| {
                    let is_usable = !connection.is_in_transaction();
                    Box::pin(async move { Ok::<_, sqlx::Error>(is_usable) })
                })
        };
        // Inserted rows follow the order of one index and are scattered over the pages of the others. A page that many
        // commits change is checkpointed from the WAL to the file once for all of them: the WAL has at most 16 MiB.
        let writing = options.clone().pragma("cache_size", "-65536").pragma("wal_autocheckpoint", "4096");
        // Turning a new file into WAL mode needs it alone, and SQLite does not wait for that: two processes that make the
        // same catalog meet here.
        let began = Instant::now();
        let writer = (|| pool(1).connect_with(writing.clone()))
            .retry(ConstantBuilder::new().with_delay(Duration::from_millis(20)).without_max_times())
            .when(|e| result_code(e) == Some(5) && began.elapsed() < BUSY_TIMEOUT)
            .await;
        let writer = writer.map_err(|e| writer_busy(&uri, patience, e))?;
        let readers = pool(READERS).connect_lazy_with(options);
        Ok(Self { uri, readers, writer, patience })
    }
}

/// Begins a transaction with a durable commit.
const WRITE: &str = "PRAGMA synchronous = FULL; BEGIN IMMEDIATE";

impl SqliteDatabase {
    /// Begins on the single writing connection.
    async fn begin(&self, statements: &'static str) -> Result<Box<dyn DatabaseTransaction>> {
        let tx = self.writer.begin_with(statements).await.map_err(|e| writer_busy(&self.uri, self.patience, e))?;
        Ok(Box::new(SqliteTransaction { uri: self.uri.clone(), tx }))
    }

    /// Begins, and returns the rows of a first query.
    async fn begin_with(
        &self,
        statements: &'static str,
        first: &str,
    ) -> Result<(Box<dyn DatabaseTransaction>, Vec<Row>)> {
        let mut transaction = self.begin(statements).await?;
        let rows = transaction.query(first, vec![]).await?;
        Ok((transaction, rows))
    }
}

#[async_trait]
impl Database for SqliteDatabase {
    fn describe(&self) -> String {
        self.uri.clone()
    }

    async fn read(&self) -> Result<Box<dyn DatabaseTransaction>> {
        let tx = self.readers.begin().await.map_err(|e| no_reader_free(&self.uri, self.patience, e))?;
        Ok(Box::new(SqliteTransaction { uri: self.uri.clone(), tx }))
    }

    async fn write(&self, _heads: &[TableId], first: &str) -> Result<(Box<dyn DatabaseTransaction>, Vec<Row>)> {
        self.begin_with(WRITE, first).await
    }

    /// All processes that use the file are on this machine, and fail together with it in a power failure.
    async fn write_async_commit(
        &self,
        _table: TableId,
        first: &str,
    ) -> Result<(Box<dyn DatabaseTransaction>, Vec<Row>)> {
        self.begin_with("PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE", first).await
    }

    /// Row ids follow the order of inserts, and inserts are serialized.
    fn point(&self) -> &'static str {
        "CAST((SELECT coalesce(max(rowid), 0) FROM dl_table_versions) AS text)"
    }

    fn is_before(&self, row: &str) -> String {
        format!("{row}.rowid <= CAST(? AS bigint)")
    }

    async fn stream(&self, sql: String, params: Vec<Value>) -> Result<BoxStream<'static, Result<Row>>> {
        let (readers, uri, patience) = (self.readers.clone(), self.uri.clone(), self.patience);
        Ok(spooled(move |mut sender| async move {
            let mut rows = bound(sql, params)?.fetch(&readers);
            while let Some(row) = rows.next().await {
                if !sender.send(values(&row.map_err(|e| no_reader_free(&uri, patience, e))?, &uri)?)? {
                    break;
                }
            }
            sender.finish()
        }))
    }

    async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>> {
        let rows = bound(sql, params)?.fetch(&self.readers).map_err(|e| no_reader_free(&self.uri, self.patience, e));
        // Each is converted when it arrives, while SQLite finds the next ones.
        rows.map(|row| values(&row?, &self.uri)).try_collect().await
    }

    async fn close(&self) {
        // Closing the last connection to a file checkpoints its WAL; only a writer can, so readers are closed first.
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn has_table(&self, name: &str) -> Result<bool> {
        let sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?";
        Ok(!self.query(sql, vec![name.into()]).await?.is_empty())
    }

    async fn migrate(&self) -> Result<Box<dyn DatabaseTransaction>> {
        self.begin(WRITE).await
    }

    fn migration(&self, sql: &str) -> String {
        sql.to_string()
    }

    /// Indexes are selected by name or by the form of the query, not by statistics.
    async fn analyze(&self) -> Result<()> {
        Ok(())
    }

    fn uses_range_scans(&self) -> bool {
        true
    }

    /// After a failed sync a commit may reappear when the file is recovered.
    fn lock_proves_absence(&self) -> bool {
        false
    }
}

struct SqliteTransaction {
    uri: String,
    tx: Transaction<'static, Sqlite>,
}

#[async_trait]
impl DatabaseTransaction for SqliteTransaction {
    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>> {
        let rows = bound(sql, params)?.fetch(&mut *self.tx).map_err(|e| failed(&self.uri, e));
        rows.map(|row| values(&row?, &self.uri)).try_collect().await
    }

    fn rows<'s>(&'s mut self, sql: String, params: Vec<Value>) -> BoxStream<'s, Result<Row>> {
        let uri = self.uri.clone();
        let query = match bound(sql, params) {
            Ok(query) => query,
            Err(e) => return futures::stream::iter([Err(e)]).boxed(),
        };
        let rows = query.fetch(&mut *self.tx);
        rows.map(move |row| row.map_err(|e| failed(&uri, e)).and_then(|row| values(&row, &uri))).boxed()
    }

    async fn write(&mut self, writes: Vec<WriteStatement>) -> Result<u64> {
        let many = writes.iter().map(WriteStatement::rows).sum::<u64>() >= MANY_ROWS as u64;
        let all: Statements = Box::new(writes.into_iter().flat_map(statements));
        let mut all = all.peekable();
        let mut batches = Prefetch::new(std::iter::from_fn(move || next_statements(&mut all).transpose()), many)?;
        let mut changed = 0;
        while let Some(batch) = batches.next().await? {
            let (sql, arguments) = batch?;
            let result = sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut *self.tx).await;
            changed += result.map_err(|e| failed(&self.uri, e))?.rows_affected();
        }
        Ok(changed)
    }

    async fn commit(self: Box<Self>) -> Result<(), CommitFailure> {
        self.tx.commit().await.map_err(|e| {
            // An I/O error may occur after the commit reached the disk.
            let known = result_code(&e).is_some_and(|code| code != 10);
            let error = failed(&self.uri, e);
            if known { CommitFailure::RolledBack(error) } else { CommitFailure::Unknown(error) }
        })
    }
}

/// A statement with its arguments.
type Statement = Result<(String, Vec<Value>)>;
type Statements = Box<dyn Iterator<Item = Statement> + Send>;

/// The next statements, as many as fit into SQLite's limit of parameters: each execution costs a round trip to the
/// connection's thread.
fn next_statements(statements: &mut Peekable<Statements>) -> Result<Option<(String, SqliteArguments)>> {
    let (mut sql, mut params) = (String::new(), Vec::new());
    let fits = |params: &Vec<Value>, next: &Statement| {
        params.len() + next.as_ref().map_or(0, |(_, more)| more.len()) <= MAX_PARAMETERS
    };
    while let Some(statement) = statements.next_if(|next| params.is_empty() || fits(&params, next)) {
        let (statement, more) = statement?;
        sql.push_str(&statement);
        sql.push_str("; ");
        params.extend(more);
    }
    Ok(if sql.is_empty() { None } else { Some((sql, arguments(params)?)) })
}

/// The statements of a write, each within SQLite's limit of parameters, built lazily.
fn statements(write: WriteStatement) -> Statements {
    let insert = match write {
        WriteStatement::Run(sql, params) => return Box::new(std::iter::once(Ok((sql, params)))),
        WriteStatement::Insert(insert) => insert,
    };
    let row = format!("({})", placeholders(insert.columns.len()));
    let into = format!("INSERT INTO {} ({}) VALUES", insert.table, insert.columns.join(", "));
    // Batches of few different sizes, so that prepared statements are reused.
    let most = (MAX_PARAMETERS / insert.columns.len()).min(256);
    let mut rows = insert.into_rows();
    Box::new(std::iter::from_fn(move || {
        let chunk = match rows.by_ref().take(most).collect::<Result<Vec<_>>>() {
            Ok(chunk) if chunk.is_empty() => return None,
            Ok(chunk) => chunk,
            Err(e) => return Some(Err(e)),
        };
        let sql = format!("{into} {}", vec![row.as_str(); chunk.len()].join(", "));
        Some(Ok((sql, chunk.into_iter().flatten().collect())))
    }))
}

fn bound(sql: impl Into<String>, params: Vec<Value>) -> Result<Query<'static, Sqlite, SqliteArguments>> {
    Ok(sqlx::query_with(AssertSqlSafe(sql.into()), arguments(params)?))
}

fn arguments(params: Vec<Value>) -> Result<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(params.len(), 0);
    for value in params {
        let added = match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Int(n) => arguments.add(n),
            Value::Text(text) => arguments.add(text),
            Value::Blob(blob) => arguments.add(blob),
        };
        added.map_err(|e| {
            TxnLogError::new(ErrorKind::Internal, "a value cannot be bound").with_source(sqlx::Error::Encode(e))
        })?;
    }
    Ok(arguments)
}

fn values(row: &SqliteRow, uri: &str) -> Result<Row> {
    let value = |i: usize| {
        let raw = row.try_get_raw(i).map_err(|e| failed(uri, e))?;
        if raw.is_null() {
            return Ok(Value::Null);
        }
        let decode: fn(SqliteValueRef<'_>) -> Result<Value, BoxDynError> = match raw.type_info().name() {
            "INTEGER" => |raw| Decode::<Sqlite>::decode(raw).map(Value::Int),
            "TEXT" => |raw| Decode::<Sqlite>::decode(raw).map(Value::Text),
            _ => |raw| Decode::<Sqlite>::decode(raw).map(Value::Blob),
        };
        decode(raw).map_err(|e| {
            TxnLogError::corrupt(format!("{uri} holds an unreadable value in {}", row.column(i).name())).with_source(e)
        })
    };
    Ok(Row((0..row.len()).map(value).collect::<Result<Vec<_>>>()?.into_iter()))
}

/// The error of a call that waits for the writing connection.
fn writer_busy(uri: &str, patience: Duration, e: sqlx::Error) -> TxnLogError {
    let message = format!(
        "other tasks of this process have been writing to {uri} for {} s, and SQLite takes one writer at a time: try \
         again when they are done, or write with fewer of them at once",
        patience.as_secs()
    );
    timed_out(uri, message, e)
}

/// The error of a call that waits for a reading connection.
fn no_reader_free(uri: &str, patience: Duration, e: sqlx::Error) -> TxnLogError {
    let message = format!(
        "all {READERS} connections with which this process reads {uri} were in use for {} s, and no setting gives it \
         more: read with fewer tasks at once",
        patience.as_secs()
    );
    timed_out(uri, message, e)
}

fn timed_out(uri: &str, message: String, e: sqlx::Error) -> TxnLogError {
    match e {
        sqlx::Error::PoolTimedOut => TxnLogError::new(ErrorKind::Unavailable, message).with_source(e),
        e => failed(uri, e),
    }
}

/// By result code (<https://sqlite.org/rescode.html>), never by message.
fn failed(uri: &str, e: sqlx::Error) -> TxnLogError {
    let (kind, message) = match result_code(&e) {
        Some(5 | 6) => {
            (ErrorKind::Unavailable, format!("{uri} is locked by another process: try again when it is done"))
        }
        Some(8) => (
            ErrorKind::Unavailable,
            format!(
                "{uri} cannot be written: give write permission to the file, to those beside it (-wal, -shm), \
                 and to their folder"
            ),
        ),
        Some(10) => {
            (ErrorKind::Unavailable, format!("reading or writing {uri} failed: check the disk and its free space"))
        }
        Some(11) => (ErrorKind::Corrupt, format!("{uri} is damaged: restore it from a backup")),
        Some(13) => (ErrorKind::Unavailable, format!("the disk of {uri} is full: free some space")),
        Some(14) => (
            ErrorKind::Unavailable,
            format!("{uri} cannot be opened: check that file and folder exist and their permissions"),
        ),
        Some(19) => (ErrorKind::AlreadyExists, format!("{uri} already has that row")),
        Some(26) => (ErrorKind::Invalid, format!("{uri} is not a SQLite database: choose another file")),
        _ => (ErrorKind::Internal, format!("a statement failed in {uri}")),
    };
    TxnLogError::new(kind, message).with_source(e)
}

fn result_code(e: &sqlx::Error) -> Option<u32> {
    match e {
        sqlx::Error::Database(d) => d.code().and_then(|c| c.parse::<u32>().ok()).map(|c| c & 0xff),
        _ => None,
    }
}

/// The kind of network file system of `path`; `None` if it is local.
fn network_filesystem(path: &Path) -> Option<String> {
    // The file itself may be a link.
    let path = path.canonicalize().or_else(|_| path.parent().unwrap_or(path).canonicalize()).ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    network_mount(&mounts, &path)
}

fn network_mount(mounts: &str, path: &Path) -> Option<String> {
    const NETWORK: &[&str] =
        &["nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "afs", "ceph", "lustre", "glusterfs"];
    let holds = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, dir, kind) = (fields.next()?, fields.next()?, fields.next()?);
        let dir = PathBuf::from(dir.replace("\\040", " "));
        path.starts_with(&dir).then(|| (dir.as_os_str().len(), kind.to_string()))
    });
    holds.max().map(|(_, kind)| kind).filter(|kind| NETWORK.contains(&kind.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_exhausted_pool_names_its_limit() {
        const PATIENCE: Duration = Duration::from_millis(100);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.db");
        let open = || SqliteDatabase::with_patience(&path, true, 0o600, PATIENCE);
        // A slow machine may need a longer timeout to connect.
        let db = loop {
            if let Ok(db) = open().await {
                break db;
            }
        };
        let check = |refused: TxnLogError, says: &str| {
            let text = refused.to_string();
            assert_eq!(refused.kind(), ErrorKind::Unavailable, "{text}");
            assert!(text.contains(says) && !text.contains("another process"), "{text}");
        };
        let writing = db.write(&[], "SELECT 1").await.unwrap();
        let note = db.write_async_commit(TableId(uuid::Uuid::nil()), "SELECT 1").await;
        check(note.err().unwrap(), "SQLite takes one writer at a time");
        let mut reading = Vec::new();
        while reading.len() < READERS as usize {
            reading.extend(db.read().await);
        }
        for refused in [db.read().await.err(), db.query("SELECT 1", vec![]).await.err()] {
            check(refused.unwrap(), "all 8 connections");
        }
        let mut rows = db.stream("SELECT 1".into(), vec![]).await.unwrap();
        check(rows.try_next().await.unwrap_err(), "all 8 connections");
        drop((writing, reading));
    }

    #[tokio::test]
    async fn writes_continue_after_a_full_disk() {
        let dir = tempfile::tempdir().unwrap();
        let db = SqliteDatabase::open(&dir.path().join("c.db"), true, 0o600).await.unwrap();
        let (tx, _) = db.write(&[], "CREATE TABLE t (body BLOB)").await.unwrap();
        tx.commit().await.unwrap();
        let insert = "INSERT INTO t VALUES (zeroblob(1000000))";
        for _ in 0..2 {
            // A limit of the connection, which has the effect of a full disk.
            let (mut full, _) = db.write(&[], "PRAGMA max_page_count = 4").await.unwrap();
            let refused = full.query(insert, vec![]).await.err().unwrap();
            assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
            assert!(refused.to_string().contains("is full: free some space"), "{refused}");
        }
        let (tx, _) = db.write(&[], insert).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(db.query("SELECT 1 FROM t", vec![]).await.unwrap().len(), 1);
    }

    #[test]
    fn network_mounts_are_known_by_the_longest_prefix() {
        let mounts = "/dev/a / ext4 rw 0 0\nhost:/x /data nfs4 rw 0 0\n/dev/b /data/local xfs rw 0 0\n";
        let kind = |p: &str| network_mount(mounts, Path::new(p));
        assert_eq!(kind("/var/lib"), None);
        assert_eq!(kind("/data/x"), Some("nfs4".into()));
        assert_eq!(kind("/data/local/x"), None);
        assert_eq!(kind("/database"), None);
    }
}
