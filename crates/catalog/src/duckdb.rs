//! DuckDB: one file, one process.
//!
//! DuckDB locks its file for the process that opens it, and two instances in one process would not see each other. So
//! all catalogs of a process on one file share one instance, and their writers take turns; no transaction of ours ever
//! conflicts inside the database. Calls run on blocking threads. Rows are found by scanning columns, not by indexes.

use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};

use async_trait::async_trait;
use deltalakedb_log::{ErrorKind, Result, TableId, TxnLogError};
use duckdb::arrow::array::{Array, AsArray};
use duckdb::arrow::datatypes::{DataType, Decimal128Type, Int32Type, Int64Type, UInt64Type};
use duckdb::types::Value as DuckValue;
use duckdb::{Connection, appender_params_from_iter, params_from_iter};
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::{Condvar, Mutex};
use rustix::fs::{FlockOperation, fcntl_lock};
use tokio::sync::OwnedMutexGuard;

use crate::database::{
    CommitFailure, Database, DatabaseTransaction, MANY_ROWS, Row, Value, WriteStatement, placeholders,
};
use crate::prefetch::Prefetch;
use crate::spool::spooled;
use crate::uri::{Backend, CatalogUri};

/// From this many rows on, the appender is used.
const APPEND_ROWS: usize = 50;
/// The number of rows of a transaction that are buffered for the consumer, and of rows appended at once.
const ROWS_AHEAD: usize = 256;

/// The instances of this process, by file; one that is closing stays here until it is closed.
static OPEN: LazyLock<Mutex<HashMap<PathBuf, Weak<Instance>>>> = LazyLock::new(Mutex::default);
/// Notified when an instance is closed.
static CLOSED: Condvar = Condvar::new();

/// An open file.
#[derive(Debug)]
struct Instance {
    path: PathBuf,
    /// Idle connections.
    idle: Mutex<Vec<Connection>>,
    /// The connection from which others are cloned; `None` once closing.
    root: Mutex<Option<Connection>>,
    writer: Arc<tokio::sync::Mutex<()>>,
}

impl Instance {
    fn connection(&self) -> duckdb::Result<Connection> {
        if let Some(idle) = self.idle.lock().pop() {
            return Ok(idle);
        }
        self.root.lock().as_ref().map_or(Err(duckdb::Error::InvalidQuery), Connection::try_clone)
    }
}

impl Drop for Instance {
    /// The last connection checkpoints the WAL into the file; the file must not be opened again before that is done.
    fn drop(&mut self) {
        self.idle.lock().clear();
        drop(self.root.lock().take());
        OPEN.lock().remove(&self.path);
        CLOSED.notify_all();
    }
}

#[derive(Debug)]
pub(crate) struct DuckDatabase {
    uri: String,
    /// `None` once closed.
    instance: Mutex<Option<Arc<Instance>>>,
}

impl DuckDatabase {
    /// Opens the file; if it does not exist and `create` is set, creates it with the permissions `mode`.
    pub(crate) async fn open(path: &Path, create: bool, mode: u32) -> Result<Self> {
        let path = std::path::absolute(path)
            .map_err(|e| TxnLogError::invalid(format!("{} has no absolute path", path.display())).with_source(e))?;
        let uri = CatalogUri { backend: Backend::DuckDb(path.clone()), table: None }.to_string();
        if !create && !path.exists() {
            return Err(TxnLogError::not_found(format!("there is no catalog at {uri}: `dl init` creates one")));
        }
        let Some(dir) = path.parent().filter(|dir| dir.is_dir()) else {
            let message = format!("the folder of the catalog {uri} does not exist: create it");
            return Err(TxnLogError::not_found(message));
        };
        // The canonical path identifies the file, however the path is spelled.
        let path = path.canonicalize().unwrap_or_else(|_| match (dir.canonicalize(), path.file_name()) {
            (Ok(dir), Some(name)) => dir.join(name),
            _ => path.clone(),
        });
        let instance = blocking({
            let uri = uri.clone();
            move || instance(&path, &uri, mode)
        })
        .await?;
        Ok(Self { uri, instance: Mutex::new(Some(instance)) })
    }

    fn instance(&self) -> Result<Arc<Instance>> {
        self.instance
            .lock()
            .clone()
            .ok_or_else(|| TxnLogError::new(ErrorKind::Unavailable, format!("{} was closed: connect again", self.uri)))
    }

    /// Begins a transaction when it is this writer's turn.
    async fn begin_to_write(&self) -> Result<DuckTransaction> {
        let turn = self.instance()?.writer.clone().lock_owned().await;
        self.begin(Some(turn)).await
    }

    async fn begin(&self, turn: Option<OwnedMutexGuard<()>>) -> Result<DuckTransaction> {
        let (instance, uri) = (self.instance()?, self.uri.clone());
        let connection = blocking(move || {
            let connection = instance.connection().map_err(|e| failed(&uri, e))?;
            connection.execute_batch("BEGIN").map_err(|e| failed(&uri, e))?;
            Ok(Some(BegunTransaction { connection: Some(connection), instance, _turn: turn }))
        });
        Ok(DuckTransaction { uri: self.uri.clone(), begun: connection.await? })
    }
}

/// The instance of a file; opened if this process has none. A new file gets the permissions `mode`.
fn instance(path: &Path, uri: &str, mode: u32) -> Result<Arc<Instance>> {
    let mut open = OPEN.lock();
    while let Some(known) = open.get(path) {
        if let Some(instance) = known.upgrade() {
            return Ok(instance);
        }
        CLOSED.wait(&mut open);
    }
    let unavailable = |message: String| TxnLogError::new(ErrorKind::Unavailable, message);
    let there = path.exists();
    if there {
        // DuckDB reports this only in the message text. The lock belongs to the file handle; ours is the first in this
        // process.
        let file = File::options().read(true).write(true).open(path).map_err(|e| {
            unavailable(format!("{uri} cannot be opened for writing: check its permissions")).with_source(e)
        })?;
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            unavailable(format!(
                "{uri} is in use by another process, and DuckDB lets only one have a file: \
                 stop that process, or keep the catalog in SQLite or PostgreSQL"
            ))
        })?;
    }
    // The queries are small: additional threads gain less than it costs to wake them.
    let config = duckdb::Config::default().threads(1).map_err(|e| failed(uri, e))?;
    let root = Connection::open_with_flags(path, config).map_err(|e| {
        let message = format!(
            "{uri} cannot be opened: check that it is a DuckDB file, its permissions, and that no other process has it \
             open"
        );
        unavailable(message).with_source(e)
    })?;
    if !there {
        // DuckDB creates its files itself and does not accept an empty file as a new database.
        std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|e| {
            unavailable(format!("the permissions of {uri} cannot be set: check those of its folder")).with_source(e)
        })?;
    }
    let (path, root) = (path.to_path_buf(), Mutex::new(Some(root)));
    let instance = Arc::new(Instance { path: path.clone(), idle: Mutex::default(), root, writer: Arc::default() });
    open.insert(path, Arc::downgrade(&instance));
    Ok(instance)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let finished = tokio::task::spawn_blocking(work).await;
    finished.map_err(|e| TxnLogError::new(ErrorKind::Internal, "a thread stopped").with_source(e))?
}

#[async_trait]
impl Database for DuckDatabase {
    fn describe(&self) -> String {
        self.uri.clone()
    }

    async fn read(&self) -> Result<Box<dyn DatabaseTransaction>> {
        Ok(Box::new(self.begin(None).await?))
    }

    async fn write(&self, _heads: &[TableId], first: &str) -> Result<(Box<dyn DatabaseTransaction>, Vec<Row>)> {
        let mut tx = self.begin_to_write().await?;
        let rows = tx.query(first, vec![]).await?;
        Ok((Box::new(tx), rows))
    }

    async fn write_async_commit(
        &self,
        _table: TableId,
        first: &str,
    ) -> Result<(Box<dyn DatabaseTransaction>, Vec<Row>)> {
        self.write(&[], first).await
    }

    /// Row ids follow the order of inserts, and inserts are serialized.
    fn point(&self) -> &'static str {
        "CAST((SELECT coalesce(max(rowid), -1) FROM dl_table_versions) AS text)"
    }

    fn is_before(&self, row: &str) -> String {
        format!("{row}.rowid <= CAST(? AS bigint)")
    }

    async fn stream(&self, sql: String, params: Vec<Value>) -> Result<BoxStream<'static, Result<Row>>> {
        let (instance, uri) = (self.instance()?, self.uri.clone());
        Ok(spooled(move |mut sender| {
            blocking(move || {
                let connection = instance.connection().map_err(|e| failed(&uri, e))?;
                each_row(&connection, &uri, &sql, params, |row| sender.send(row))?;
                instance.idle.lock().push(connection);
                sender.finish()
            })
        }))
    }

    async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>> {
        let (instance, uri, sql) = (self.instance()?, self.uri.clone(), sql.to_string());
        blocking(move || {
            let connection = instance.connection().map_err(|e| failed(&uri, e))?;
            let rows = all_rows(&connection, &uri, &sql, params)?;
            instance.idle.lock().push(connection);
            Ok(rows)
        })
        .await
    }

    async fn close(&self) {
        // Closing the last connection checkpoints the WAL into the file.
        let instance = self.instance.lock().take();
        let _ = blocking(move || {
            drop(instance);
            Ok(())
        })
        .await;
    }

    async fn has_table(&self, name: &str) -> Result<bool> {
        let sql = "SELECT 1 FROM information_schema.tables WHERE table_name = ?";
        Ok(!self.query(sql, vec![name.into()]).await?.is_empty())
    }

    async fn migrate(&self) -> Result<Box<dyn DatabaseTransaction>> {
        Ok(Box::new(self.begin_to_write().await?))
    }

    /// Without the indexes for single rows, which DuckDB would maintain and seldom use, and without SQLite's `WITHOUT
    /// ROWID`.
    fn migration(&self, sql: &str) -> String {
        let sql = sql.replace(" WITHOUT ROWID", "");
        let of_index = |line: &&str| line.starts_with("CREATE INDEX") || line.starts_with("DROP INDEX");
        sql.lines().filter(|line| !of_index(line)).collect::<Vec<_>>().join("\n")
    }

    async fn analyze(&self) -> Result<()> {
        Ok(())
    }

    fn uses_range_scans(&self) -> bool {
        false
    }

    /// After a failed write of the WAL, the file may or may not contain the commit until it is opened again.
    fn lock_proves_absence(&self) -> bool {
        false
    }
}

struct DuckTransaction {
    uri: String,
    /// `None` while a call runs, and after a call that was cancelled.
    begun: Option<BegunTransaction>,
}

/// A transaction with its writer's turn: whichever thread owns it, both end together.
struct BegunTransaction {
    connection: Option<Connection>,
    instance: Arc<Instance>,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Drop for BegunTransaction {
    fn drop(&mut self) {
        // A connection that cannot roll back is closed, which rolls back.
        if let Some(connection) = self.connection.take()
            && connection.execute_batch("ROLLBACK").is_ok()
        {
            self.instance.idle.lock().push(connection);
        }
    }
}

impl DuckTransaction {
    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let gone = || TxnLogError::new(ErrorKind::Internal, format!("a transaction of {} has ended", self.uri));
        let begun = self.begun.take().ok_or_else(gone)?;
        let (begun, result) = blocking(move || {
            let result = match &begun.connection {
                Some(connection) => work(connection),
                None => Err(TxnLogError::new(ErrorKind::Internal, "a transaction has no connection")),
            };
            Ok((begun, result))
        })
        .await?;
        self.begun = Some(begun);
        result
    }
}

#[async_trait]
impl DatabaseTransaction for DuckTransaction {
    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>> {
        let (uri, sql) = (self.uri.clone(), sql.to_string());
        self.with(move |connection| all_rows(connection, &uri, &sql, params)).await
    }

    fn rows<'s>(&'s mut self, sql: String, params: Vec<Value>) -> BoxStream<'s, Result<Row>> {
        let Some(begun) = self.begun.take() else {
            let over = TxnLogError::new(ErrorKind::Internal, format!("a transaction of {} has ended", self.uri));
            return futures::stream::iter([Err(over)]).boxed();
        };
        let uri = self.uri.clone();
        let (send, taken) = tokio::sync::mpsc::channel(ROWS_AHEAD);
        let task = tokio::spawn(blocking(move || {
            let read = match &begun.connection {
                Some(connection) => each_row(connection, &uri, &sql, params, |row| Ok(send.blocking_send(row).is_ok())),
                None => Err(TxnLogError::new(ErrorKind::Internal, "a transaction has no connection")),
            };
            Ok((begun, read))
        }));
        let rows =
            futures::stream::unfold((taken, Some(task), &mut self.begun), |(mut taken, task, begun)| async move {
                if let Some(row) = taken.recv().await {
                    return Some((Ok(row), (taken, task, begun)));
                }
                let read = match task?.await {
                    Ok(Ok((over, read))) => {
                        *begun = Some(over);
                        read
                    }
                    Ok(Err(e)) => Err(e),
                    Err(e) => Err(TxnLogError::new(ErrorKind::Internal, "a thread stopped").with_source(e)),
                };
                read.err().map(|e| (Err(e), (taken, None, begun)))
            });
        rows.boxed()
    }

    async fn write(&mut self, writes: Vec<WriteStatement>) -> Result<u64> {
        let uri = self.uri.clone();
        self.with(move |connection| writes.into_iter().map(|write| run(connection, &uri, write)).sum()).await
    }

    async fn commit(mut self: Box<Self>) -> Result<(), CommitFailure> {
        let uri = self.uri.clone();
        let committed = self.with(move |connection| connection.execute_batch("COMMIT").map_err(|e| failed(&uri, e)));
        committed.await.map_err(CommitFailure::Unknown)?;
        if let Some(mut begun) = self.begun.take()
            && let Some(connection) = begun.connection.take()
        {
            begun.instance.idle.lock().push(connection);
        }
        Ok(())
    }
}

fn run(connection: &Connection, uri: &str, write: WriteStatement) -> Result<u64> {
    let failed = |e| failed(uri, e);
    let insert = match write {
        WriteStatement::Run(sql, params) if params.is_empty() => {
            return connection.execute_batch(&sql).map(|()| 0).map_err(failed);
        }
        WriteStatement::Run(sql, params) => {
            let mut statement = connection.prepare(&sql).map_err(failed)?;
            let changed = statement.execute(params_from_iter(params.into_iter().map(duck))).map_err(failed)?;
            return Ok(changed as u64);
        }
        WriteStatement::Insert(insert) => insert,
    };
    let (count, columns) = (insert.count, &insert.columns);
    if count >= APPEND_ROWS {
        // The appender takes unquoted names.
        let names: Vec<_> = columns.iter().map(|column| column.trim_matches('"')).collect();
        let mut appender = connection.appender_with_columns(insert.table, &names).map_err(failed)?;
        let mut rows = insert.into_rows();
        let some = std::iter::from_fn(move || {
            let some = rows.by_ref().take(ROWS_AHEAD).collect::<Result<Vec<_>>>();
            Some(some).filter(|some| !some.as_ref().is_ok_and(Vec::is_empty))
        });
        let mut batches = Prefetch::new(some, count >= MANY_ROWS)?;
        while let Some(rows) = batches.next_blocking()? {
            for row in rows? {
                appender.append_row(appender_params_from_iter(row.into_iter().map(duck))).map_err(failed)?;
            }
        }
        appender.flush().map_err(failed)?;
    } else {
        let (names, values) = (columns.join(", "), placeholders(columns.len()));
        let sql = format!("INSERT INTO {} ({names}) VALUES ({values})", insert.table);
        let mut statement = connection.prepare(&sql).map_err(failed)?;
        for row in insert.into_rows() {
            statement.execute(params_from_iter(row?.into_iter().map(duck))).map_err(failed)?;
        }
    }
    Ok(count as u64)
}

fn duck(value: Value) -> DuckValue {
    match value {
        Value::Null => DuckValue::Null,
        Value::Int(n) => DuckValue::BigInt(n),
        Value::Text(text) => DuckValue::Text(text),
        Value::Blob(blob) => DuckValue::Blob(blob),
    }
}

fn all_rows(connection: &Connection, uri: &str, sql: &str, params: Vec<Value>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    each_row(connection, uri, sql, params, |row| {
        rows.push(row);
        Ok(true)
    })?;
    Ok(rows)
}

/// Passes the rows to `take`, one after the other, until it returns false; holds one batch in memory. Every query is
/// planned again: DuckDB does not update a cached plan when rows are added, so a plan made for an empty table would
/// never return any.
fn each_row(
    connection: &Connection,
    uri: &str,
    sql: &str,
    params: Vec<Value>,
    mut take: impl FnMut(Row) -> Result<bool>,
) -> Result<()> {
    let mut statement = connection.prepare(sql).map_err(|e| failed(uri, e))?;
    let params = params_from_iter(params.into_iter().map(duck));
    for batch in statement.stream_arrow(params).map_err(|e| failed(uri, e))? {
        for n in 0..batch.num_rows() {
            let values = batch.columns().iter().enumerate().map(|(i, column)| value(column.as_ref(), n, i, uri));
            if !take(Row(values.collect::<Result<Vec<_>>>()?.into_iter()))? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The value of a row in a column.
fn value(column: &dyn Array, row: usize, i: usize, uri: &str) -> Result<Value> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match column.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::Int(column.as_boolean().value(row).into()),
        DataType::Int32 => Value::Int(column.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Value::Int(column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt64 => {
            let n = column.as_primitive::<UInt64Type>().value(row);
            Value::Int(i64::try_from(n).map_err(|_| unreadable(uri, i))?)
        }
        // The sum of an integer column.
        DataType::Decimal128(_, 0) => {
            let n = column.as_primitive::<Decimal128Type>().value(row);
            Value::Int(i64::try_from(n).map_err(|_| unreadable(uri, i))?)
        }
        DataType::Utf8 => Value::Text(column.as_string::<i32>().value(row).to_string()),
        DataType::Binary => Value::Blob(column.as_binary::<i32>().value(row).to_vec()),
        _ => return Err(unreadable(uri, i)),
    })
}

fn unreadable(uri: &str, column: usize) -> TxnLogError {
    TxnLogError::corrupt(format!("{uri} holds an unreadable value in column {column} of a row"))
}

/// DuckDB has no error codes, only message texts.
fn failed(uri: &str, e: duckdb::Error) -> TxnLogError {
    TxnLogError::new(ErrorKind::Internal, format!("a statement failed in {uri}")).with_source(e)
}
