//! PostgreSQL: a server with many concurrent writers.
//!
//! Statements use the simple query protocol with their parameters inlined, several at once; only large inserts use
//! [`bulk`]. Nothing is kept in the server's session: no named statement, no setting. So it works through a pooler that
//! gives each transaction another connection. A writer locks the heads of its tables, in the order of their ids, with
//! the statement that begins its transaction; under READ COMMITTED every later statement sees what was committed before
//! the lock was acquired.
//!
//! A client that stops between two statements loses its transaction, and with it the lock, after
//! [`PostgresOptions::idle_timeout`]; a writer waits for a lock for at most [`LOCK_TIMEOUT`](locks::LOCK_TIMEOUT).
//! Writers have their own connections, so readers do not wait for a connection behind them. Only a few writers of a
//! process wait in the server for one table: the others wait in the process, where cancelling costs nothing.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use deltalakedb_log::{Result, TableId, TxnLogError};
use futures::StreamExt;
use futures::stream::BoxStream;
use sqlx::postgres::{PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tokio::sync::OwnedSemaphorePermit;

use crate::database::{Database, DatabaseTransaction, Row, Value, placeholders};
use crate::spool::spooled;
use crate::uri::{CatalogUri, PostgresBackend};

mod bulk;
mod connect;
mod errors;
mod literals;
mod locks;
mod transaction;

use self::connect::{Connections, PATIENCE, Probe, options};
use self::errors::{failed, is_gone, sqlstate};
use self::literals::spelled;
use self::locks::{Begin, Locks, Turns};
use self::transaction::{PostgresTransaction, values};

/// The advisory lock of migrations, which serializes them.
const MIGRATION_LOCK: i64 = 0x0064_6c5f_6d69_6772;
/// PostgreSQL truncates longer names.
const MAX_NAME: usize = 63;
/// The SQLSTATE of a server that has no connection left.
const TOO_MANY: &str = "53300";

/// Settings of a catalog in PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// The maximum number of connections for reading.
    pub readers: NonZeroU32,
    /// The maximum number of connections for writing.
    pub writers: NonZeroU32,
    /// How long a writing transaction may be idle before the server ends it: a client that was stopped would hold the
    /// lock on its tables without a limit.
    pub idle_timeout: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        let eight = NonZeroU32::MIN.saturating_add(7);
        Self { readers: eight, writers: eight, idle_timeout: Duration::from_secs(30) }
    }
}

#[derive(Debug)]
pub(crate) struct PostgresDatabase {
    uri: String,
    /// The schema: its name, and the name quoted.
    name: String,
    schema: String,
    readers: Connections,
    writers: Connections,
    turns: Turns,
    /// The same for mirror records, separate from commits.
    note_turns: Turns,
    probe: Probe,
    begin: Begin,
    creates: bool,
}

impl PostgresDatabase {
    /// Connects. `create` allows [`Database::migrate`] to create the schema.
    pub(crate) async fn open(backend: &PostgresBackend, create: bool, settings: &PostgresOptions) -> Result<Self> {
        let uri = CatalogUri { backend: crate::uri::Backend::Postgres(backend.clone()), table: None }.to_string();
        if backend.schema.len() > MAX_NAME {
            return Err(TxnLogError::invalid(format!(
                "the schema of {uri} has a name of {} bytes, and PostgreSQL cuts names off after {MAX_NAME}: choose a \
                 shorter one",
                backend.schema.len()
            )));
        }
        let options = options(backend).map_err(|e| failed(&uri, e))?;
        // One connection first: a pool retries silently and then only reports a timeout.
        let mut connection = options.connect().await.map_err(|e| failed(&uri, e))?;
        let begin = Begin::of(&mut connection, settings.idle_timeout).await.map_err(|e| failed(&uri, e))?;
        // An error on close means that the connection is closed already.
        let _ = connection.close().await;
        let pool = |connections: NonZeroU32| {
            PgPoolOptions::new()
                .max_connections(connections.get())
                .acquire_timeout(PATIENCE)
                .test_before_acquire(false)
                .before_acquire(|connection, meta| {
                    Box::pin(async move {
                        if meta.idle_for > Duration::from_secs(1) {
                            connection.ping().await?;
                        }
                        Ok(true)
                    })
                })
                .connect_lazy_with(options.clone())
        };
        let schema = format!("\"{}\"", backend.schema.replace('"', "\"\""));
        Ok(Self {
            uri,
            name: backend.schema.clone(),
            schema,
            readers: Connections { pool: pool(settings.readers), setting: "postgres.readers" },
            writers: Connections { pool: pool(settings.writers), setting: "postgres.writers" },
            turns: Turns::default(),
            note_turns: Turns::default(),
            probe: Probe::default(),
            begin,
            creates: create,
        })
    }

    fn sql(&self, sql: &str, params: &[Value]) -> Result<String> {
        spelled(&self.schema, sql, params)
    }

    /// A transaction that has locked the rows of these tables, and the rows of its last statement.
    async fn lock(
        &self,
        begin: &str,
        locks: Locks<'_>,
        last: &str,
    ) -> Result<(Box<dyn DatabaseTransaction>, Vec<Row>)> {
        let (mut statements, Locks { rows_of, tables, turns }) = (begin.to_string(), locks);
        if !tables.is_empty() {
            let lock = format!(
                "; SELECT 1 FROM {rows_of} WHERE table_id IN ({}) ORDER BY table_id FOR UPDATE",
                placeholders(tables.len())
            );
            let params: Vec<_> = tables.iter().map(|id| id.0.into()).collect();
            statements.push_str(&self.sql(&lock, &params)?);
        }
        // After the lock, so that it sees everything committed before the lock was acquired.
        statements.push_str("; ");
        statements.push_str(&self.sql(last, &[])?);
        let turns = turns.take(tables).await;
        let (tx, rows) = self.begin(&self.writers, statements, turns).await?;
        let last = rows.last().map(|row| values(row, &self.uri)).transpose()?;
        Ok((tx, last.into_iter().collect()))
    }

    /// Begins a transaction with these statements and returns their rows; waits for a server that is restarting.
    async fn begin(
        &self,
        connections: &Connections,
        statements: String,
        mut turns: Vec<OwnedSemaphorePermit>,
    ) -> Result<(Box<dyn DatabaseTransaction>, Vec<PgRow>)> {
        let began = Instant::now();
        loop {
            let connection = match connections.pool.acquire().await {
                Ok(connection) => {
                    connections.record_size();
                    connection
                }
                Err(e) => {
                    self.wait(connections, began, e).await?;
                    continue;
                }
            };
            // Before it begins: a BEGIN that fails or is cancelled may hold a lock.
            let mut tx = PostgresTransaction {
                uri: self.uri.clone(),
                schema: self.schema.clone(),
                connection: Some(connection),
                turns: std::mem::take(&mut turns),
            };
            let begun = match tx.connection() {
                Ok(connection) => sqlx::raw_sql(AssertSqlSafe(statements.clone())).fetch_all(connection).await,
                Err(e) => Err(e),
            };
            match begun {
                Ok(rows) => return Ok((Box::new(tx), rows)),
                Err(e) => {
                    self.wait(connections, began, e).await?;
                    turns = std::mem::take(&mut tx.turns);
                }
            }
        }
    }

    /// The rows of one query; waits for a server that is restarting.
    async fn rows(&self, sql: String) -> Result<Vec<PgRow>> {
        let began = Instant::now();
        loop {
            match sqlx::raw_sql(AssertSqlSafe(sql.clone())).fetch_all(&self.readers.pool).await {
                Ok(rows) => return Ok(rows),
                Err(e) => self.wait(&self.readers, began, e).await?,
            }
        }
    }

    /// Waits a moment for a server that is unavailable, or for a connection in use; only calls without an effect may be
    /// retried after it. Returns the error when that has lasted too long.
    async fn wait(&self, connections: &Connections, began: Instant, e: sqlx::Error) -> Result<()> {
        let busy = matches!(e, sqlx::Error::PoolTimedOut);
        if busy {
            // A pool does not report why it has no connection.
            self.probe.ask(self.connects()).await?;
        }
        let patience = if busy { PATIENCE * 4 } else { PATIENCE };
        if !(busy || is_gone(&e) || sqlstate(&e).as_deref() == Some(TOO_MANY)) || began.elapsed() > patience {
            return Err(connections.failed(&self.uri, e));
        }
        // Random, so that calls that began together are not retried together.
        let some = u64::from(began.elapsed().subsec_nanos() % 100);
        tokio::time::sleep(Duration::from_millis(50 + some)).await;
        Ok(())
    }

    /// Whether the server accepts a connection.
    async fn connects(&self) -> Result<()> {
        let options = self.readers.pool.connect_options();
        let connected = tokio::time::timeout(PATIENCE, options.connect()).await;
        let connected = connected.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
        // An error on close means that the connection is closed already.
        let _ = connected.map_err(|e| failed(&self.uri, e))?.close().await;
        Ok(())
    }
}

#[async_trait]
impl Database for PostgresDatabase {
    fn describe(&self) -> String {
        self.uri.clone()
    }

    async fn read(&self) -> Result<Box<dyn DatabaseTransaction>> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".into();
        Ok(self.begin(&self.readers, begin, Vec::new()).await?.0)
    }

    async fn write(&self, heads: &[TableId], first: &str) -> Result<(Box<dyn DatabaseTransaction>, Vec<Row>)> {
        let locks = Locks { rows_of: "dl_tables", tables: heads, turns: &self.turns };
        self.lock(&self.begin.write, locks, first).await
    }

    async fn write_async_commit(
        &self,
        table: TableId,
        first: &str,
    ) -> Result<(Box<dyn DatabaseTransaction>, Vec<Row>)> {
        let locks = Locks { rows_of: "dl_mirrors", tables: &[table], turns: &self.note_turns };
        self.lock(&self.begin.note, locks, first).await
    }

    /// Not `now()`, which is the start of the transaction, before it waited for its lock.
    fn clock(&self) -> Option<&'static str> {
        Some("CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint)")
    }

    /// The server's own snapshot: the transactions that had ended.
    fn point(&self) -> &'static str {
        "CAST(pg_current_snapshot() AS text)"
    }

    /// A row contains the lower half of the id of the transaction that inserted it. The upper half is that of the
    /// snapshot or a neighbour of it: an id that would then be in the future is from an earlier cycle, two thousand
    /// million transactions ago.
    fn is_before(&self, row: &str) -> String {
        let number = |of: &str| format!("CAST(CAST({of} AS text) AS bigint)");
        let (low, top) = (number(&format!("{row}.xmin")), number("pg_snapshot_xmax(point)"));
        let now = number("pg_snapshot_xmax(pg_current_snapshot())");
        format!(
            "(SELECT id >= {now} OR pg_visible_in_snapshot(CAST(CAST(id AS text) AS xid8), point) FROM (SELECT point, \
             {top} + (({low} - {top} + 2147483648) & 4294967295) - 2147483648 AS id \
             FROM (SELECT CAST(? AS pg_snapshot) AS point) AS given) AS inserted)"
        )
    }

    async fn stream(&self, sql: String, params: Vec<Value>) -> Result<BoxStream<'static, Result<Row>>> {
        let (readers, uri, sql) = (self.readers.clone(), self.uri.clone(), self.sql(&sql, &params)?);
        Ok(spooled(move |mut sender| async move {
            let mut connection = readers.pool.acquire().await.map_err(|e| readers.failed(&uri, e))?;
            let mut rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch(&mut *connection);
            while let Some(row) = rows.next().await {
                if !sender.send(values(&row.map_err(|e| failed(&uri, e))?, &uri)?)? {
                    // The server would send all remaining rows before it handles anything else.
                    drop(rows);
                    drop(connection.detach());
                    return Ok(());
                }
            }
            sender.finish()
        }))
    }

    async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>> {
        let sql = self.sql(sql, &params)?;
        self.rows(sql).await?.iter().map(|r| values(r, &self.uri)).collect()
    }

    async fn close(&self) {
        self.readers.pool.close().await;
        self.writers.pool.close().await;
    }

    async fn has_table(&self, name: &str) -> Result<bool> {
        let sql = "SELECT 1 FROM pg_tables WHERE schemaname = ? AND tablename = ?";
        Ok(!self.query(sql, vec![self.name.as_str().into(), name.into()]).await?.is_empty())
    }

    async fn migrate(&self) -> Result<Box<dyn DatabaseTransaction>> {
        let mut statements = format!("{}; SELECT pg_advisory_xact_lock({MIGRATION_LOCK})", self.begin.migrate);
        // Only if it is missing: the privilege to create schemas is checked even if the schema exists.
        let find = "SELECT 1 FROM pg_namespace WHERE nspname = ?";
        if self.creates && self.query(find, vec![self.name.as_str().into()]).await?.is_empty() {
            let _ = write!(statements, "; CREATE SCHEMA IF NOT EXISTS {}", self.schema);
        }
        Ok(self.begin(&self.writers, statements, Vec::new()).await?.0)
    }

    /// With `bytea`, with texts in byte order as in the other databases, without SQLite's `WITHOUT ROWID`, and without
    /// the one key that long paths would exceed.
    fn migration(&self, sql: &str) -> String {
        let sql = sql.replace(" WITHOUT ROWID", "").replace(" blob", " bytea").replace(" text", " text COLLATE \"C\"");
        sql.replace(",\n    PRIMARY KEY (table_id, version, path)\n", "\n")
    }

    async fn analyze(&self) -> Result<()> {
        let tables = [
            "add_files",
            "cdc_files",
            "commit_bodies",
            "commit_ids",
            "domain_metadata",
            "metadata_updates",
            "mirrors",
            "protocol_updates",
            "remove_files",
            "table_versions",
            "tables",
            "txn_actions",
        ];
        let sql = self.sql(&tables.map(|table| format!("ANALYZE dl_{table}")).join("; "), &[])?;
        let analyzed = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.writers.pool).await;
        analyzed.map(drop).map_err(|e| self.writers.failed(&self.uri, e))
    }

    async fn is_analyzed(&self) -> Result<bool> {
        // A new index alone also updates the number of rows.
        let sql = "SELECT 1 FROM pg_stats WHERE schemaname = ? AND tablename = 'dl_add_files' LIMIT 1";
        Ok(!self.query(sql, vec![self.name.as_str().into()]).await?.is_empty())
    }

    fn uses_range_scans(&self) -> bool {
        true
    }

    fn locks_heads(&self) -> bool {
        true
    }

    /// A broken transaction holds its locks until it has committed or rolled back.
    fn lock_proves_absence(&self) -> bool {
        true
    }
}
