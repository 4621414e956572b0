//! PostgreSQL: a server, many writers at once.
//!
//! Statements go in the simple query protocol with their parameters written into them, several at once, and only what is
//! many goes in [`bulk`]. Nothing is kept in the server's session: no named statement, no setting. So it works
//! through a pooler that gives each transaction another connection. A writer locks the heads of its tables, in the order
//! of their ids, with the statement that begins its transaction; under READ COMMITTED every later statement sees what was
//! committed before the lock was got.
//!
//! A client that stops between two statements loses its transaction, and with it the lock, after
//! [`PostgresOptions::idle_timeout`]; a writer waits for a lock for at most [`LOCK_TIMEOUT`]. Writers have connections of
//! their own, so that readers do not wait for one behind them, and of one process only a few are in the server
//! for one table: the others wait here, where giving up costs nothing.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use deltalakedb_log::{ErrorKind, PlaceKey, Result, TableId, TxnLogError};
use futures::StreamExt;
use futures::stream::BoxStream;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow, PgSslMode};
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Connection, Decode, Postgres, Row as _, TypeInfo, ValueRef};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::database::{CommitFailure, Database, Insert, Row, Session, Value, Write, placeholders};
use crate::spool::spooled;
use crate::uri::{CatalogUri, PostgresPlace};

mod bulk;

use self::bulk::bytes_of;

/// How long a server that is gone may take to come back before a call fails.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a writer waits for the lock of a table, unless the server says otherwise. Longer than a client may be idle in
/// a transaction, so that a writer that waits for one that stopped gets the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// How many writers of a process are in the server for one table: one that has the lock, and one that gets it the moment
/// it is free.
const TURNS: usize = 2;
/// How long one answer to the question whether the server is there serves everyone who asks.
const PROBE_SERVES: Duration = Duration::from_secs(1);
/// From so many rows on, they go in bulk.
const BULK_ROWS: usize = 200;
/// A statement is sent on its own from so many bytes on.
const MAX_BYTES: usize = 4 << 20;
/// Who migrates a catalog, so that two do not at once.
const MIGRATION_LOCK: i64 = 0x0064_6c5f_6d69_6772;
/// Longer names PostgreSQL cuts off.
const MAX_NAME: usize = 63;
/// The SQLSTATE of a server that has no connection left.
const TOO_MANY: &str = "53300";

/// Settings of a catalog in PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// The most connections for reading.
    pub readers: NonZeroU32,
    /// The most connections for writing.
    pub writers: NonZeroU32,
    /// How long a transaction that writes may do nothing before the server ends it: a client that was stopped would hold
    /// the lock on its tables as long as it is.
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
    /// The same for notes on mirrors, apart from commits.
    note_turns: Turns,
    probe: Probe,
    begin: Begin,
    creates: bool,
}

/// The connections for one kind of work.
#[derive(Clone, Debug)]
struct Connections {
    pool: PgPool,
    /// The setting that says how many there are at most.
    setting: &'static str,
}

impl Connections {
    /// The error of a call on one of them.
    fn failed(&self, uri: &str, e: sqlx::Error) -> TxnLogError {
        let sqlx::Error::PoolTimedOut = e else { return failed(uri, e) };
        let (most, setting) = (self.pool.options().get_max_connections(), self.setting);
        let message = format!(
            "this process may have {most} connections to {uri} at once for this ({setting}), and none of them became \
             free in time: try again, or raise {setting}"
        );
        TxnLogError::new(ErrorKind::Unavailable, message).with_source(e)
    }
}

/// The statements that begin a transaction that writes, and one whose COMMIT need not wait for the disk.
#[derive(Debug)]
struct Begin {
    write: String,
    note: String,
    migrate: String,
}

impl Begin {
    /// What a transaction sets for itself, as far as the server's own settings do not do.
    async fn of(connection: &mut PgConnection, idle_timeout: Duration) -> sqlx::Result<Self> {
        let setting = |name| format!("(SELECT setting FROM pg_settings WHERE name = '{name}')");
        let sql = format!(
            "SELECT {}, {}, {}",
            setting("synchronous_commit"),
            setting("idle_in_transaction_session_timeout"),
            setting("lock_timeout")
        );
        let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?;
        let ms = |i| -> sqlx::Result<u128> {
            let text: String = row.try_get(i)?;
            // Zero is without end.
            Ok(text.parse().ok().filter(|ms| *ms > 0).unwrap_or(u128::MAX))
        };
        let mut limits = String::new();
        if ms(1)? > idle_timeout.as_millis() {
            let _ = write!(limits, "; SET LOCAL idle_in_transaction_session_timeout = {}", idle_timeout.as_millis());
        }
        if ms(2)? == u128::MAX {
            let _ = write!(limits, "; SET LOCAL lock_timeout = {}", LOCK_TIMEOUT.as_millis());
        }
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED";
        // What is acknowledged must survive the power, whatever the server's default.
        let durable = match row.try_get::<&str, _>(0)? {
            "off" => format!("{begin}; SET LOCAL synchronous_commit = on"),
            _ => begin.to_string(),
        };
        Ok(Self {
            write: format!("{durable}{limits}"),
            note: format!("{begin}; SET LOCAL synchronous_commit = off{limits}"),
            migrate: durable,
        })
    }
}

/// What a transaction locks when it begins.
#[derive(Clone, Copy, Debug)]
struct Locks<'a> {
    /// `dl_tables` or `dl_mirrors`.
    rows_of: &'static str,
    tables: &'a [TableId],
    turns: &'a Turns,
}

/// Whose turn it is to be in the server for a table, among the writers of this process.
#[derive(Debug, Default)]
struct Turns(Mutex<HashMap<TableId, Arc<Semaphore>>>);

impl Turns {
    /// Waits for a turn for each of these tables. Everyone waits in the order of the ids, so nobody for one another.
    async fn take(&self, tables: &[TableId]) -> Vec<OwnedSemaphorePermit> {
        let mut tables = tables.to_vec();
        tables.sort_unstable();
        let mut taken = Vec::with_capacity(tables.len());
        for table in tables {
            // It is never closed.
            taken.extend(self.of(table).acquire_owned().await);
        }
        taken
    }

    fn of(&self, table: TableId) -> Arc<Semaphore> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(&table) {
            all.retain(|_, turns| Arc::strong_count(turns) > 1);
        }
        all.entry(table).or_insert_with(|| Arc::new(Semaphore::new(TURNS))).clone()
    }
}

impl PostgresDatabase {
    /// Connects. `create` allows [`Database::migrate`] to make the schema.
    pub(crate) async fn open(place: &PostgresPlace, create: bool, settings: &PostgresOptions) -> Result<Self> {
        let uri = CatalogUri { place: crate::uri::Place::Postgres(place.clone()), table: None }.to_string();
        if place.schema.len() > MAX_NAME {
            return Err(TxnLogError::invalid(format!(
                "the schema of {uri} has a name of {} bytes, and PostgreSQL cuts names off after {MAX_NAME}: choose a \
                 shorter one",
                place.schema.len()
            )));
        }
        let options = options(place).map_err(|e| failed(&uri, e))?;
        // By itself first: a pool tries again and again, and then only says that it could not.
        let mut connection = options.connect().await.map_err(|e| failed(&uri, e))?;
        let begin = Begin::of(&mut connection, settings.idle_timeout).await.map_err(|e| failed(&uri, e))?;
        // A connection that cannot be closed is closed already.
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
        let schema = format!("\"{}\"", place.schema.replace('"', "\"\""));
        Ok(Self {
            uri,
            name: place.schema.clone(),
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

    /// A transaction that has the rows of these tables, and the row of its last statement.
    async fn lock(&self, begin: &str, locks: Locks<'_>, last: &str) -> Result<(Box<dyn Session>, Vec<Row>)> {
        let (mut statements, Locks { rows_of, tables, turns }) = (begin.to_string(), locks);
        if !tables.is_empty() {
            let lock = format!(
                "; SELECT 1 FROM {rows_of} WHERE table_id IN ({}) ORDER BY table_id FOR UPDATE",
                placeholders(tables.len())
            );
            let params: Vec<_> = tables.iter().map(|id| id.0.into()).collect();
            statements.push_str(&self.sql(&lock, &params)?);
        }
        // After the lock: what it finds is what was committed before the lock was got.
        statements.push_str("; ");
        statements.push_str(&self.sql(last, &[])?);
        let turns = turns.take(tables).await;
        let (session, rows) = self.begin(&self.writers, statements, turns).await?;
        let last = rows.last().map(|row| values(row, &self.uri)).transpose()?;
        Ok((session, last.into_iter().collect()))
    }

    /// A transaction, begun with these statements, and the rows they gave; a server that is restarting is waited for.
    async fn begin(
        &self,
        connections: &Connections,
        statements: String,
        mut turns: Vec<OwnedSemaphorePermit>,
    ) -> Result<(Box<dyn Session>, Vec<PgRow>)> {
        let began = Instant::now();
        loop {
            let connection = match connections.pool.acquire().await {
                Ok(connection) => connection,
                Err(e) => {
                    self.wait(connections, began, e).await?;
                    continue;
                }
            };
            // Before it begins: a BEGIN that fails or is given up may have locked something.
            let mut session = PostgresSession {
                uri: self.uri.clone(),
                schema: self.schema.clone(),
                connection: Some(connection),
                turns: std::mem::take(&mut turns),
            };
            let begun = match session.connection() {
                Ok(connection) => sqlx::raw_sql(AssertSqlSafe(statements.clone())).fetch_all(connection).await,
                Err(e) => Err(e),
            };
            match begun {
                Ok(rows) => return Ok((Box::new(session), rows)),
                Err(e) => {
                    self.wait(connections, began, e).await?;
                    turns = std::mem::take(&mut session.turns);
                }
            }
        }
    }

    /// The rows of one query; a server that is restarting is waited for.
    async fn rows(&self, sql: String) -> Result<Vec<PgRow>> {
        let began = Instant::now();
        loop {
            match sqlx::raw_sql(AssertSqlSafe(sql.clone())).fetch_all(&self.readers.pool).await {
                Ok(rows) => return Ok(rows),
                Err(e) => self.wait(&self.readers, began, e).await?,
            }
        }
    }

    /// Waits a moment for a server that is away, or for a connection that others use; only what has no effect may then
    /// be tried again. Gives the error when that has been long enough.
    async fn wait(&self, connections: &Connections, began: Instant, e: sqlx::Error) -> Result<()> {
        let busy = matches!(e, sqlx::Error::PoolTimedOut);
        if busy {
            // A pool does not say why it has no connection.
            self.probe.ask(self.connects()).await?;
        }
        let patience = if busy { PATIENCE * 4 } else { PATIENCE };
        if !(busy || is_gone(&e) || sqlstate(&e).as_deref() == Some(TOO_MANY)) || began.elapsed() > patience {
            return Err(connections.failed(&self.uri, e));
        }
        // Those who began together do not come again together.
        let some = u64::from(began.elapsed().subsec_nanos() % 100);
        tokio::time::sleep(Duration::from_millis(50 + some)).await;
        Ok(())
    }

    /// Whether the server is there.
    async fn connects(&self) -> Result<()> {
        let options = self.readers.pool.connect_options();
        let connected = tokio::time::timeout(PATIENCE, options.connect()).await;
        let connected = connected.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
        // One that cannot be closed is closed already.
        let _ = connected.map_err(|e| failed(&self.uri, e))?.close().await;
        Ok(())
    }
}

/// A question that many ask at once: one finds out for all.
#[derive(Debug, Default)]
struct Probe(tokio::sync::Mutex<Option<(Instant, Answer)>>);

/// What was found out. An error cannot be cloned, so it is kept as its kind and its sentence.
type Answer = Result<(), (ErrorKind, String)>;

impl Probe {
    async fn ask(&self, find_out: impl Future<Output = Result<()>>) -> Result<()> {
        let mut last = self.0.lock().await;
        let recent = last.as_ref().filter(|(at, _)| at.elapsed() < PROBE_SERVES);
        if let Some((_, answer)) = recent {
            return answer.clone().map_err(|(kind, message)| TxnLogError::new(kind, message));
        }
        let answer = find_out.await;
        let told = answer.as_ref().copied().map_err(|e| (e.kind(), e.to_string()));
        *last = Some((Instant::now(), told));
        answer
    }
}

fn options(place: &PostgresPlace) -> sqlx::Result<PgConnectOptions> {
    // Through a URL, so that what it does not say is looked for where libpq looks.
    let mut url = url::Url::parse("postgres://").map_err(sqlx::Error::config)?;
    let port = place.port.map(|port| port.to_string());
    // The client knows no way to try without TLS first: it tries with.
    let prefer = String::from("prefer");
    let sslmode = place.sslmode.as_ref().map(|mode| if mode == "allow" { &prefer } else { mode });
    let pairs = [
        ("dbname", Some(&place.database)),
        ("host", place.host.as_ref()),
        ("port", port.as_ref()),
        ("user", place.user.as_ref()),
        ("sslmode", sslmode),
    ];
    for (key, value) in pairs {
        if let Some(value) = value {
            url.query_pairs_mut().append_pair(key, value);
        }
    }
    let mut options = PgConnectOptions::from_url(&url)?;
    let told = place.sslmode.is_some() || std::env::var_os("PGSSLMODE").is_some_and(|mode| !mode.is_empty());
    if !told && !is_local(&options) {
        // What leaves this machine is encrypted or not sent.
        options = options.ssl_mode(PgSslMode::Require);
    }
    Ok(options.application_name("deltalakedb").statement_cache_capacity(0).disable_statement_logging())
}

/// Whether the server is reached without a network: through a socket, or this machine's own address.
fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[async_trait]
impl Database for PostgresDatabase {
    fn describe(&self) -> String {
        self.uri.clone()
    }

    async fn read(&self) -> Result<Box<dyn Session>> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".into();
        Ok(self.begin(&self.readers, begin, Vec::new()).await?.0)
    }

    async fn write(&self, heads: &[TableId], first: &str) -> Result<(Box<dyn Session>, Vec<Row>)> {
        let locks = Locks { rows_of: "dl_tables", tables: heads, turns: &self.turns };
        self.lock(&self.begin.write, locks, first).await
    }

    async fn note(&self, table: TableId, first: &str) -> Result<(Box<dyn Session>, Vec<Row>)> {
        let locks = Locks { rows_of: "dl_mirrors", tables: &[table], turns: &self.note_turns };
        self.lock(&self.begin.note, locks, first).await
    }

    /// Not `now()`, which is when the transaction began, before it waited for its lock.
    fn clock(&self) -> Option<&'static str> {
        Some("CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint)")
    }

    /// What the server itself calls its snapshot: which transactions were over.
    fn point(&self) -> &'static str {
        "CAST(pg_current_snapshot() AS text)"
    }

    /// A row names the transaction that inserted it by the lower half of its id. The upper half is that of the snapshot or
    /// the one beside it; what then would be in the future has been there for two thousand million transactions.
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
                    // The server would send all the rest before it hears of anything else.
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

    async fn migrate(&self) -> Result<Box<dyn Session>> {
        let mut statements = format!("{}; SELECT pg_advisory_xact_lock({MIGRATION_LOCK})", self.begin.migrate);
        // Only where it is missing: the right to make schemas is asked for before they are looked at.
        let find = "SELECT 1 FROM pg_namespace WHERE nspname = ?";
        if self.creates && self.query(find, vec![self.name.as_str().into()]).await?.is_empty() {
            let _ = write!(statements, "; CREATE SCHEMA IF NOT EXISTS {}", self.schema);
        }
        Ok(self.begin(&self.writers, statements, Vec::new()).await?.0)
    }

    /// With its own word for bytes, texts in the order of their bytes as elsewhere, without SQLite's word for tables that
    /// are their own index, and without the one key that paths may be too long for.
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
        // The number of rows alone may be known from a new index.
        let sql = "SELECT 1 FROM pg_stats WHERE schemaname = ? AND tablename = 'dl_add_files' LIMIT 1";
        Ok(!self.query(sql, vec![self.name.as_str().into()]).await?.is_empty())
    }

    fn seeks(&self) -> bool {
        true
    }

    fn locks_heads(&self) -> bool {
        true
    }

    /// A broken transaction holds its locks until it is over, one way or the other.
    fn lock_proves_absence(&self) -> bool {
        true
    }
}

struct PostgresSession {
    uri: String,
    schema: String,
    /// `None` once it is over.
    connection: Option<PoolConnection<Postgres>>,
    /// Kept until the connection is free of the transaction, so that those who give up one after the other do not leave
    /// more and more connections behind that wait for the same lock.
    turns: Vec<OwnedSemaphorePermit>,
}

impl Drop for PostgresSession {
    /// Whatever it was left in, it goes back to the pool without a transaction, or not at all. sqlx's own transactions
    /// begin to exist when BEGIN has succeeded, which is too late for one that waits for a lock.
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let turns = std::mem::take(&mut self.turns);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                // The answer to a statement that still waits for a lock comes first.
                let rollback = sqlx::raw_sql("ROLLBACK").execute(&mut *connection);
                if !matches!(tokio::time::timeout(LOCK_TIMEOUT + PATIENCE, rollback).await, Ok(Ok(_))) {
                    drop(connection.detach());
                }
                drop(turns);
            })),
            Err(_) => drop(connection.detach()),
        }
    }
}

#[async_trait]
impl Session for PostgresSession {
    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>> {
        let sql = spelled(&self.schema, sql, &params)?;
        let rows = match self.connection() {
            Ok(connection) => sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await,
            Err(e) => Err(e),
        };
        rows.map_err(|e| failed(&self.uri, e))?.iter().map(|r| values(r, &self.uri)).collect()
    }

    fn rows<'s>(&'s mut self, sql: String, params: Vec<Value>) -> BoxStream<'s, Result<Row>> {
        let (uri, sql) = (self.uri.clone(), spelled(&self.schema, &sql, &params));
        let rows = sql.and_then(|sql| {
            let connection = self.connection().map_err(|e| failed(&uri, e))?;
            Ok(sqlx::raw_sql(AssertSqlSafe(sql)).fetch(connection))
        });
        match rows {
            Ok(rows) => {
                rows.map(move |row| row.map_err(|e| failed(&uri, e)).and_then(|row| values(&row, &uri))).boxed()
            }
            Err(e) => futures::stream::iter([Err(e)]).boxed(),
        }
    }

    /// The place is locked for this session alone, and what it is inside of together with others: two places are in each
    /// other's way where one is inside of the other, and only then.
    async fn lock_place(&mut self, place: &PlaceKey) -> Result<()> {
        let key = |place: &str| Value::from(format!("{}.dl_tables at {place}", self.schema).as_str());
        let mut places: Vec<_> = place.and_above().filter(|above| *above != place.as_str()).map(key).collect();
        let mut locks = vec!["pg_advisory_xact_lock_shared(hashtextextended(?, 0))"; places.len()];
        places.push(key(place.as_str()));
        locks.push("pg_advisory_xact_lock(hashtextextended(?, 0))");
        let sql = spelled(&self.schema, &format!("SELECT {}", locks.join(", ")), &places)?;
        self.run(sql).await.map(drop)
    }

    async fn write(&mut self, writes: Vec<Write>) -> Result<u64> {
        let (mut changed, mut together) = (0, String::new());
        for write in writes {
            match write {
                Write::Insert(insert) if insert.count == 0 => continue,
                Write::Insert(insert) if insert.count >= BULK_ROWS => {
                    changed += self.run(std::mem::take(&mut together)).await?;
                    changed += self.insert(insert).await?;
                }
                Write::Insert(mut insert) => {
                    let rows = insert.take_rows()?;
                    if bytes_of(&rows) > MAX_BYTES {
                        changed += self.run(std::mem::take(&mut together)).await?;
                        changed += self.insert(insert.with_rows(rows)).await?;
                        continue;
                    }
                    let row = format!("({})", placeholders(insert.columns.len()));
                    let all = vec![row; rows.len()].join(", ");
                    let sql = format!("INSERT INTO {} ({}) VALUES {all}", insert.table, insert.columns.join(", "));
                    together.push_str(&spelled(&self.schema, &sql, &rows.concat())?);
                    together.push_str("; ");
                }
                Write::Run(sql, params) => {
                    together.push_str(&spelled(&self.schema, &sql, &params)?);
                    together.push_str("; ");
                }
            }
            if together.len() > MAX_BYTES {
                changed += self.run(std::mem::take(&mut together)).await?;
            }
        }
        changed += self.run(together).await?;
        Ok(changed)
    }

    async fn commit(mut self: Box<Self>) -> Result<(), CommitFailure> {
        let committed = self.execute("COMMIT".into()).await;
        if committed.is_ok() {
            self.connection = None;
        }
        committed.map(drop).map_err(|e| {
            // A server that answers knows; one that goes away, or says so, may have committed before.
            let answered =
                matches!(&e, sqlx::Error::Database(_)) && !is_gone(&e) && sqlstate(&e) != Some("40003".into());
            let error = failed(&self.uri, e);
            if answered { CommitFailure::RolledBack(error) } else { CommitFailure::Unknown(error) }
        })
    }
}

impl PostgresSession {
    fn connection(&mut self) -> sqlx::Result<&mut PgConnection> {
        self.connection.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    async fn insert(&mut self, insert: Insert) -> Result<u64> {
        let connection = self.connection.as_deref_mut().ok_or(sqlx::Error::PoolClosed);
        let connection = connection.map_err(|e| failed(&self.uri, e))?;
        bulk::insert(connection, &self.schema, &self.uri, insert).await
    }

    async fn execute(&mut self, sql: String) -> sqlx::Result<u64> {
        Ok(sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.connection()?).await?.rows_affected())
    }

    async fn run(&mut self, sql: String) -> Result<u64> {
        if sql.is_empty() {
            return Ok(0);
        }
        self.execute(sql).await.map_err(|e| failed(&self.uri, e))
    }
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    out.reserve(2 * bytes.len() + 16);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

fn check_text(text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(TxnLogError::invalid(format!("PostgreSQL text cannot hold a NUL, as {text:?} does")));
    }
    Ok(())
}

/// A statement as it is sent: its tables in their schema, its parameters in their places.
fn spelled(schema: &str, sql: &str, params: &[Value]) -> Result<String> {
    let mut out = String::with_capacity(sql.len() + 32 * params.len());
    let mut params = params.iter();
    let mut before = ' ';
    for (at, c) in sql.char_indices() {
        let begins_word = !before.is_alphanumeric() && !matches!(before, '_' | '.' | '"' | '\'');
        // A new index is in its table's schema by itself.
        if begins_word && sql[at..].starts_with("dl_") && !out.ends_with("CREATE INDEX ") {
            out.push_str(schema);
            out.push('.');
        }
        match (c, params.as_slice().first()) {
            ('?', Some(value)) => {
                out.push_str(&literal(value)?);
                params.next();
            }
            _ => out.push(c),
        }
        before = c;
    }
    Ok(out)
}

/// A value as it is written in a statement, whatever the server's settings on quotes.
fn literal(value: &Value) -> Result<String> {
    Ok(match value {
        Value::Null => "NULL".into(),
        Value::Int(n) if *n >= 0 => n.to_string(),
        Value::Int(n) => format!("'{n}'::bigint"),
        Value::Text(text) => {
            check_text(text)?;
            format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
        }
        Value::Blob(bytes) => {
            let mut hex = String::from("E'\\\\x");
            push_hex(&mut hex, bytes);
            hex.push_str("'::bytea");
            hex
        }
    })
}

fn values(row: &PgRow, uri: &str) -> Result<Row> {
    let value = |i: usize| {
        let raw = row.try_get_raw(i).map_err(|e| failed(uri, e))?;
        if raw.is_null() {
            return Ok(Value::Null);
        }
        let kind = raw.type_info().name().to_string();
        let decoded = match kind.as_str() {
            "INT8" | "INT4" | "INT2" => Decode::<Postgres>::decode(raw).map(Value::Int),
            "BYTEA" => Decode::<Postgres>::decode(raw).map(Value::Blob),
            _ => Decode::<Postgres>::decode(raw).map(Value::Text),
        };
        decoded.map_err(|e| {
            TxnLogError::corrupt(format!("{uri} holds an unreadable {kind} in {}", row.column(i).name())).with_source(e)
        })
    };
    Ok(Row((0..row.len()).map(value).collect::<Result<Vec<_>>>()?.into_iter()))
}

fn sqlstate(e: &sqlx::Error) -> Option<String> {
    match e {
        sqlx::Error::Database(d) => d.code().map(|code| code.into_owned()),
        _ => None,
    }
}

/// Whether TLS failed: what is wrong with a certificate comes as an I/O error of this kind.
fn is_tls(e: &sqlx::Error) -> bool {
    match e {
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(e) => e.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// Whether the server or the way to it is away, and may come back.
fn is_gone(e: &sqlx::Error) -> bool {
    match e {
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => !is_tls(e),
        _ => sqlstate(e).is_some_and(|code| code.starts_with("08") || code.starts_with("57P0")),
    }
}

/// By SQLSTATE (PostgreSQL's manual, appendix A), never by message.
fn failed(uri: &str, e: sqlx::Error) -> TxnLogError {
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
        ("3F000", _) => (NotFound, format!("the schema of {uri} does not exist: `dl init` makes it")),
        ("42501", _) => (
            Invalid,
            format!(
                "the user of {uri} lacks a right: GRANT it USAGE on the schema and SELECT, INSERT, UPDATE and DELETE on \
                 its tables, and CREATE to make or upgrade the catalog"
            ),
        ),
        ("42P01", _) => (NotFound, format!("{uri} is not a catalog yet: `dl init` makes it one")),
        ("25006", _) => (Unavailable, format!("{uri} only lets itself be read: connect to the primary server")),
        ("54000", _) => (
            Invalid,
            format!("a name is longer than {uri} can index (2.7 kB): shorten the application id, domain or table name"),
        ),
        ("53300", _) => (Unavailable, format!("{uri} has no connection left: raise max_connections or use a pooler")),
        ("53100", _) => (Unavailable, format!("the disk of {uri} is full: make room")),
        ("23505", _) => (AlreadyExists, format!("{uri} holds that already")),
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
            (Invalid, format!("a setting for {uri} is wrong: check the PG* variables"))
        }
        _ if is_gone(&e) => {
            (Unavailable, format!("{uri} cannot be reached: check that PostgreSQL runs there, and host= and port="))
        }
        _ => (Internal, format!("a statement failed in {uri}")),
    };
    TxnLogError::new(kind, message).with_source(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_finds_out_for_all_who_ask_at_once() {
        let (probe, asked) = (Probe::default(), std::sync::atomic::AtomicU32::new(0));
        let ask = || {
            probe.ask(async {
                asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tokio::task::yield_now().await;
                Err(TxnLogError::new(ErrorKind::Unavailable, "it is away"))
            })
        };
        for answer in futures::future::join_all((0..1000).map(|_| ask())).await {
            assert_eq!(answer.unwrap_err().to_string(), "it is away");
        }
        assert_eq!(asked.into_inner(), 1);
    }

    #[tokio::test]
    async fn who_gives_up_its_turn_leaves_it_to_the_next() {
        let (turns, id) = (Turns::default(), |n| TableId(uuid::Uuid::from_u128(n)));
        let first = turns.take(&[id(1), id(2)]).await;
        let second = turns.take(&[id(2)]).await;
        let third = async { turns.take(&[id(2), id(1)]).await };
        assert!(tokio::time::timeout(Duration::from_millis(1), third).await.is_err(), "two are in the server");
        drop(second);
        drop(turns.take(&[id(2), id(1)]).await);
        drop(first);
        drop(turns.take(&[id(3)]).await);
        assert_eq!(turns.0.lock().unwrap().len(), 1, "tables nobody writes are forgotten");
    }

    #[test]
    fn a_server_on_another_machine_is_not_spoken_to_in_clear_unless_told_so() {
        let check = |host: &str, told: Option<&str>, expected: PgSslMode| {
            let sslmode = told.map(String::from);
            let place = PostgresPlace { host: Some(host.into()), sslmode, ..PostgresPlace::default() };
            let mode = options(&place).unwrap().get_ssl_mode();
            assert_eq!(format!("{mode:?}"), format!("{expected:?}"), "{host} {told:?}");
        };
        for local in ["localhost", "127.0.0.1", "127.1.2.3", "::1", "/run/postgresql"] {
            check(local, None, PgSslMode::Prefer);
            check(local, Some("require"), PgSslMode::Require);
        }
        for remote in ["db.example.com", "10.0.0.5", "localhost.example.com", "2001:db8::1"] {
            check(remote, None, PgSslMode::Require);
            check(remote, Some("prefer"), PgSslMode::Prefer);
            check(remote, Some("disable"), PgSslMode::Disable);
            check(remote, Some("verify-full"), PgSslMode::VerifyFull);
        }
    }

    #[test]
    fn statements_are_spelled_out() {
        let check = |sql: &str, params: &[Value], want: &str| {
            assert_eq!(spelled("\"s\"", sql, params).unwrap(), want);
        };
        check(
            "SELECT 1 FROM dl_t t WHERE t.dl_x = ?",
            &[Value::Int(-1)],
            "SELECT 1 FROM \"s\".dl_t t WHERE t.dl_x = '-1'::bigint",
        );
        check("CREATE INDEX dl_i ON dl_t (a)", &[], "CREATE INDEX dl_i ON \"s\".dl_t (a)");
        check(
            "DROP INDEX dl_i;\nCREATE INDEX dl_i ON dl_t (a)",
            &[],
            "DROP INDEX \"s\".dl_i;\nCREATE INDEX dl_i ON \"s\".dl_t (a)",
        );
        check("SET n = dl_t.n + ?", &[Value::Int(1)], "SET n = \"s\".dl_t.n + 1");
        let odd = Value::Text("it's \\ dl_x ?".into());
        check("? ?", &[odd, Value::Blob(vec![0, 255])], "E'it''s \\\\ dl_x ?' E'\\\\x00ff'::bytea");
        assert!(spelled("s", "?", &[Value::Text("\0".into())]).is_err());
    }

    #[tokio::test]
    async fn who_finds_no_connection_free_is_told_which_setting_that_is() {
        let pool = PgPoolOptions::new().max_connections(3).connect_lazy_with(PgConnectOptions::new_without_pgpass());
        let writers = Connections { pool, setting: "postgres.writers" };
        let told = writers.failed("the catalog", sqlx::Error::PoolTimedOut);
        assert_eq!(told.kind(), ErrorKind::Unavailable);
        let text = told.to_string();
        assert!(text.contains("may have 3 connections") && text.contains("raise postgres.writers"), "{text}");
    }
}
