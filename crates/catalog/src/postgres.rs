//! PostgreSQL: a server, many writers at once.
//!
//! Every statement goes in the simple query protocol with its parameters written into it, and nothing is kept in the
//! server's session: no prepared statement, no setting. So it works through a pooler that gives each transaction
//! another connection, several statements travel together, and what is many goes by COPY. A writer locks the heads of
//! its tables, in the order of their ids, with the statement that begins its transaction; under READ COMMITTED every
//! later statement sees what was committed before the lock was got.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use deltalakedb_log::{ErrorKind, Result, TableId, TxnLogError};
use futures::StreamExt;
use futures::stream::BoxStream;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow, PgSslMode};
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Connection, Decode, Postgres, Row as _, TypeInfo, ValueRef};

use crate::database::{CommitFailure, Database, Insert, Row, Session, Value, Write, placeholders, streamed};
use crate::uri::{CatalogUri, PostgresPlace};

/// How long a server that is gone may take to come back before a call fails.
const PATIENCE: Duration = Duration::from_secs(15);
/// From so many rows on, COPY.
const COPY_ROWS: usize = 200;
/// A statement is sent on its own from so many bytes on.
const MAX_BYTES: usize = 4 << 20;
/// Who migrates a catalog, so that two do not at once.
const MIGRATION_LOCK: i64 = 0x0064_6c5f_6d69_6772;

#[derive(Debug)]
pub(crate) struct PostgresDatabase {
    uri: String,
    /// The schema: its name, and the name quoted.
    name: String,
    schema: String,
    pool: PgPool,
    begin: &'static str,
    creates: bool,
}

impl PostgresDatabase {
    /// Connects. `create` allows [`Database::migrate`] to make the schema.
    pub(crate) async fn open(place: &PostgresPlace, create: bool) -> Result<Self> {
        let uri = CatalogUri { place: crate::uri::Place::Postgres(place.clone()), table: None }.to_string();
        let options = options(place).map_err(|e| failed(&uri, e))?;
        // By itself first: a pool tries again and again, and then only says that it could not.
        let mut connection = options.connect().await.map_err(|e| failed(&uri, e))?;
        let sql = sqlx::raw_sql("SELECT current_setting('synchronous_commit')");
        let row = sql.fetch_one(&mut connection).await.map_err(|e| failed(&uri, e))?;
        let synchronous: String = row.try_get(0).map_err(|e| failed(&uri, e))?;
        // What cannot be said goodbye to is gone as well.
        let _ = connection.close().await;
        let begin = match synchronous.as_str() {
            // What is acknowledged must survive the power, whatever the server's default.
            "off" => "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on",
            _ => "BEGIN ISOLATION LEVEL READ COMMITTED",
        };
        let pool = PgPoolOptions::new()
            .max_connections(8)
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
            .connect_lazy_with(options);
        let schema = format!("\"{}\"", place.schema.replace('"', "\"\""));
        Ok(Self { uri, name: place.schema.clone(), schema, pool, begin, creates: create })
    }

    fn sql(&self, sql: &str, params: &[Value]) -> Result<String> {
        spelled(&self.schema, sql, params)
    }

    /// A transaction that has the heads of these tables.
    async fn lock(&self, begin: &str, heads: &[TableId]) -> Result<Box<dyn Session>> {
        let mut statements = begin.to_string();
        if !heads.is_empty() {
            let lock = format!(
                "; SELECT 1 FROM dl_tables WHERE table_id IN ({}) ORDER BY table_id FOR UPDATE",
                placeholders(heads.len())
            );
            let params: Vec<_> = heads.iter().map(|id| id.0.into()).collect();
            statements.push_str(&self.sql(&lock, &params)?);
        }
        self.begin(statements).await
    }

    /// A transaction, begun with these statements; a server that is restarting is waited for.
    async fn begin(&self, statements: String) -> Result<Box<dyn Session>> {
        let began = Instant::now();
        loop {
            let begun = async {
                let connection = Some(self.pool.acquire().await?);
                // Before it begins: a BEGIN that fails or is given up may have locked something.
                let mut session = PostgresSession { uri: self.uri.clone(), schema: self.schema.clone(), connection };
                session.execute(statements.clone()).await?;
                Ok(session)
            };
            match begun.await {
                Ok(session) => return Ok(Box::new(session)),
                Err(e) => self.wait(began, e).await?,
            }
        }
    }

    /// The rows of one query; a server that is restarting is waited for.
    async fn rows(&self, sql: String) -> Result<Vec<PgRow>> {
        let began = Instant::now();
        loop {
            match sqlx::raw_sql(AssertSqlSafe(sql.clone())).fetch_all(&self.pool).await {
                Ok(rows) => return Ok(rows),
                Err(e) => self.wait(began, e).await?,
            }
        }
    }

    /// Waits a moment for a server that is away, or for a connection that others use; only what has no effect may then
    /// be tried again. Gives the error when that has been long enough.
    async fn wait(&self, began: Instant, e: sqlx::Error) -> Result<()> {
        let busy = matches!(e, sqlx::Error::PoolTimedOut);
        if busy {
            // A pool does not say why it has no connection.
            let connection = self.pool.connect_options().connect().await.map_err(|e| failed(&self.uri, e))?;
            let _ = connection.close().await;
        }
        let patience = if busy { PATIENCE * 4 } else { PATIENCE };
        if !(busy || is_gone(&e)) || began.elapsed() > patience {
            return Err(failed(&self.uri, e));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(())
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
        self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".into()).await
    }

    async fn write(&self, heads: &[TableId]) -> Result<Box<dyn Session>> {
        self.lock(self.begin, heads).await
    }

    async fn note(&self, heads: &[TableId]) -> Result<Box<dyn Session>> {
        self.lock("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = off", heads).await
    }

    async fn stream(&self, sql: String, params: Vec<Value>) -> Result<BoxStream<'static, Result<Row>>> {
        let (pool, uri, sql) = (self.pool.clone(), self.uri.clone(), self.sql(&sql, &params)?);
        Ok(streamed(move |send| async move {
            let mut rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch(&pool);
            while let Some(row) = rows.next().await {
                let row = row.map_err(|e| failed(&uri, e)).and_then(|r| values(&r, &uri));
                if send.send(row).await.is_err() {
                    return;
                }
            }
        }))
    }

    async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>> {
        let sql = self.sql(sql, &params)?;
        self.rows(sql).await?.iter().map(|r| values(r, &self.uri)).collect()
    }

    async fn close(&self) {
        self.pool.close().await;
    }

    async fn has_catalog(&self) -> Result<bool> {
        let sql = "SELECT 1 FROM pg_tables WHERE schemaname = ? AND tablename = 'dl_catalog'";
        Ok(!self.query(sql, vec![self.name.as_str().into()]).await?.is_empty())
    }

    async fn migrate(&self) -> Result<Box<dyn Session>> {
        let mut statements = format!("{}; SELECT pg_advisory_xact_lock({MIGRATION_LOCK})", self.begin);
        // Only where it is missing: the right to make schemas is asked for before they are looked at.
        let find = "SELECT 1 FROM pg_namespace WHERE nspname = ?";
        if self.creates && self.query(find, vec![self.name.as_str().into()]).await?.is_empty() {
            let _ = write!(statements, "; CREATE SCHEMA IF NOT EXISTS {}", self.schema);
        }
        self.begin(statements).await
    }

    /// With its own word for bytes, and without the one key that paths may be too long for.
    fn migration(&self, sql: &str) -> String {
        sql.replace(" blob", " bytea").replace(",\n    PRIMARY KEY (table_id, version, path)\n", "\n")
    }

    async fn analyze(&self) -> Result<()> {
        let sql = self.sql("ANALYZE dl_add_files; ANALYZE dl_table_versions; ANALYZE dl_tables", &[])?;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await.map(drop).map_err(|e| failed(&self.uri, e))
    }

    fn seeks(&self) -> bool {
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
}

impl Drop for PostgresSession {
    /// Whatever it was left in, it goes back to the pool without a transaction, or not at all. sqlx's own transactions
    /// begin to exist when BEGIN has succeeded, which is too late for one that waits for a lock.
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                if sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await.is_err() {
                    drop(connection.detach());
                }
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

    async fn write(&mut self, writes: Vec<Write>) -> Result<u64> {
        let (mut changed, mut together) = (0, String::new());
        for write in writes {
            match write {
                Write::Insert(insert) if insert.rows.is_empty() => continue,
                Write::Insert(insert) if insert.rows.len() >= COPY_ROWS || bytes_of(&insert) > MAX_BYTES => {
                    changed += self.run(std::mem::take(&mut together)).await?;
                    changed += self.copy(insert).await?;
                }
                Write::Insert(Insert { table, columns, rows }) => {
                    let row = format!("({})", placeholders(columns.len()));
                    let all = vec![row; rows.len()].join(", ");
                    let sql = format!("INSERT INTO {table} ({}) VALUES {all}", columns.join(", "));
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

    async fn execute(&mut self, sql: String) -> sqlx::Result<u64> {
        Ok(sqlx::raw_sql(AssertSqlSafe(sql)).execute(self.connection()?).await?.rows_affected())
    }

    async fn run(&mut self, sql: String) -> Result<u64> {
        if sql.is_empty() {
            return Ok(0);
        }
        self.execute(sql).await.map_err(|e| failed(&self.uri, e))
    }

    /// Rows in COPY's binary form: integers are `bigint`, the rest is its bytes.
    async fn copy(&mut self, insert: Insert) -> Result<u64> {
        let uri = self.uri.clone();
        let fail = |e| failed(&uri, e);
        let sql = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", insert.table, insert.columns.join(", "));
        let sql = spelled(&self.schema, &sql, &[])?;
        let mut copy = self.connection().map_err(fail)?.copy_in_raw(&sql).await.map_err(fail)?;
        let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        for row in insert.rows {
            let count = i16::try_from(row.len()).unwrap_or(i16::MAX);
            bytes.extend(count.to_be_bytes());
            for value in row {
                let field: &[u8] = match &value {
                    Value::Null => {
                        bytes.extend((-1_i32).to_be_bytes());
                        continue;
                    }
                    Value::Int(n) => &n.to_be_bytes(),
                    Value::Text(text) => text.as_bytes(),
                    Value::Blob(blob) => blob,
                };
                let length = i32::try_from(field.len()).map_err(|_| too_big(&uri))?;
                bytes.extend(length.to_be_bytes());
                bytes.extend(field);
            }
            if bytes.len() > MAX_BYTES {
                copy.send(std::mem::take(&mut bytes)).await.map_err(fail)?;
            }
        }
        bytes.extend((-1_i16).to_be_bytes());
        copy.send(bytes).await.map_err(fail)?;
        copy.finish().await.map_err(fail)
    }
}

/// How much the rows hold.
fn bytes_of(insert: &Insert) -> usize {
    let length = |value: &Value| match value {
        Value::Null | Value::Int(_) => 8,
        Value::Text(text) => text.len(),
        Value::Blob(blob) => blob.len(),
    };
    insert.rows.iter().flatten().map(length).sum()
}

fn too_big(uri: &str) -> TxnLogError {
    TxnLogError::invalid(format!("a value is longer than {uri} can hold (1 GiB): write smaller commits"))
}

/// A statement as it is sent: its tables in their schema, its parameters in their places.
fn spelled(schema: &str, sql: &str, params: &[Value]) -> Result<String> {
    let mut out = String::with_capacity(sql.len() + 32 * params.len());
    let mut params = params.iter();
    let mut before = ' ';
    for (at, c) in sql.char_indices() {
        let begins_word = !before.is_alphanumeric() && !matches!(before, '_' | '.' | '"' | '\'');
        // The name of an index is in its table's schema by itself.
        if begins_word && sql[at..].starts_with("dl_") && !out.ends_with("INDEX ") {
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
        Value::Text(text) if text.contains('\0') => {
            return Err(TxnLogError::invalid(format!("PostgreSQL text cannot hold a NUL, as {text:?} does")));
        }
        Value::Text(text) => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        Value::Blob(bytes) => {
            let mut hex = String::with_capacity(2 * bytes.len() + 16);
            hex.push_str("E'\\\\x");
            for byte in bytes {
                let digit = |d: u8| char::from_digit(d.into(), 16).unwrap_or('0');
                hex.push(digit(byte >> 4));
                hex.push(digit(byte & 15));
            }
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
        ("25P03" | "40001" | "40P01" | "55P03" | "57014", _) => {
            (Unavailable, format!("{uri} gave up waiting for another transaction: try again"))
        }
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
        (_, sqlx::Error::PoolTimedOut) => (Unavailable, format!("{uri} has no connection free: try again")),
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
        check("SET n = dl_t.n + ?", &[Value::Int(1)], "SET n = \"s\".dl_t.n + 1");
        let odd = Value::Text("it's \\ dl_x ?".into());
        check("? ?", &[odd, Value::Blob(vec![0, 255])], "E'it''s \\\\ dl_x ?' E'\\\\x00ff'::bytea");
        assert!(spelled("s", "?", &[Value::Text("\0".into())]).is_err());
    }
}
