//! The databases without our catalog: their versions, and the cost of reading rows by key.

use std::path::Path;
use std::time::Instant;

use deltalakedb_log::action::Add;
use deltalakedb_log::{ErrorKind, Result, TableId, TxnLogError};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Postgres, Sqlite};

/// The columns of an add action, as planning reads them.
const COLUMNS: &str = "path, size_bytes, partition_values, stats, data_change, modification_time, deletion_vector, \
     tags, base_row_id, default_row_commit_version, clustering_provider, extra";
/// The number of keys in one statement.
const CHUNK: usize = 500;
/// The schema of the catalog in PostgreSQL. It is dropped at the start of a run, like the others.
const SCHEMA: &str = "deltalakedb_bench";
/// The schema of catalogs that are measured during an import.
pub(crate) const IMPORTS: &str = "deltalakedb_bench_imports";
pub(crate) const COPIES: &str = "deltalakedb_bench_copies";
/// The schema of rows without a catalog.
const ROWS: &str = "deltalakedb_bench_rows";

/// The PostgreSQL server of the run.
pub(crate) struct Server {
    pub(crate) version: String,
    /// Whether the server syncs a commit to disk before it acknowledges it.
    pub(crate) is_durable: bool,
    options: PgConnectOptions,
}

impl Server {
    pub(crate) async fn connect() -> Result<Self> {
        let url = std::env::var("TEST_DATABASE_URL").map_err(|_| {
            TxnLogError::invalid("TEST_DATABASE_URL names no PostgreSQL server: `make bench` starts one and sets it")
        })?;
        let options: PgConnectOptions = url.parse().map_err(failed)?;
        let mut client = PgConnection::connect_with(&options).await.map_err(failed)?;
        for schema in [SCHEMA, IMPORTS, COPIES] {
            let drop = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
            sqlx::query::<Postgres>(AssertSqlSafe(drop)).execute(&mut client).await.map_err(failed)?;
        }
        let version = setting(&mut client, "SHOW server_version").await?;
        let fsync = setting(&mut client, "SHOW fsync").await?;
        let synchronous = setting(&mut client, "SHOW synchronous_commit").await?;
        Ok(Self { version, is_durable: fsync == "on" && synchronous != "off", options })
    }

    /// The URI of the catalog of the run, which does not exist yet.
    pub(crate) fn catalog_uri(&self) -> String {
        self.uri_of(SCHEMA)
    }

    /// The URI of a catalog in another schema.
    pub(crate) fn uri_of(&self, schema: &str) -> String {
        let database = self.options.get_database().unwrap_or("postgres");
        let (host, port, user) = (self.options.get_host(), self.options.get_port(), self.options.get_username());
        format!("deltasql://postgres/{database}/{schema}?host={host}&port={port}&user={user}")
    }
}

/// The table `items` with a primary key in PostgreSQL, without our catalog.
pub(crate) struct RowsInPostgres(PgConnection);

impl RowsInPostgres {
    pub(crate) async fn create(server: &Server) -> Result<Self> {
        let mut rows = Self(PgConnection::connect_with(&server.options).await.map_err(failed)?);
        for sql in [
            format!("DROP SCHEMA IF EXISTS {ROWS} CASCADE"),
            format!("CREATE SCHEMA {ROWS}"),
            format!("SET search_path = {ROWS}"),
            "CREATE TABLE items (id BIGINT PRIMARY KEY, k BIGINT, v DOUBLE PRECISION, s TEXT)".to_string(),
        ] {
            rows.time(&sql).await?;
        }
        Ok(rows)
    }

    /// Inserts rows with the ids from one to another, which is excluded.
    pub(crate) async fn insert_many(&mut self, from: i64, to: i64) -> Result<()> {
        let sql = format!(
            "INSERT INTO items SELECT id, id * 7919 % 1000003, id / 8.0, concat('row ', id * 7919 % 1000003)
             FROM generate_series({from}::bigint, {to} - 1) AS id"
        );
        self.time(&sql).await.map(drop)
    }

    /// The seconds that a statement takes.
    pub(crate) async fn time(&mut self, sql: &str) -> Result<f64> {
        let began = Instant::now();
        sqlx::query::<Postgres>(AssertSqlSafe(sql.to_string())).execute(&mut self.0).await.map_err(failed)?;
        Ok(began.elapsed().as_secs_f64())
    }
}

async fn setting(client: &mut PgConnection, show: &'static str) -> Result<String> {
    sqlx::query_scalar::<Postgres, String>(show).fetch_one(client).await.map_err(failed)
}

pub(crate) async fn sqlite_version() -> Result<String> {
    let options = SqliteConnectOptions::new().in_memory(true);
    let mut client = SqliteConnection::connect_with(&options).await.map_err(failed)?;
    sqlx::query_scalar::<Sqlite, String>("SELECT sqlite_version()").fetch_one(&mut client).await.map_err(failed)
}

/// A plain client of a catalog's database.
pub(crate) enum Client {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Client {
    pub(crate) async fn of_sqlite(file: &Path) -> Result<Self> {
        // The same cache size as in our catalog.
        let options = SqliteConnectOptions::new().filename(file).pragma("cache_size", "-16384");
        Ok(Self::Sqlite(SqliteConnection::connect_with(&options).await.map_err(failed)?))
    }

    pub(crate) async fn of_postgres(server: &Server) -> Result<Self> {
        Ok(Self::Postgres(PgConnection::connect_with(&server.options).await.map_err(failed)?))
    }

    /// Reads the rows of these live files by their keys, without decoding them. Returns their number.
    pub(crate) async fn rows_by_key(&mut self, table: TableId, files: &[Add]) -> Result<usize> {
        let table = table.0.as_bytes().to_vec();
        let mut rows = 0;
        for chunk in files.chunks(CHUNK) {
            let keys = chunk.iter().map(|add| add.key().0.to_vec());
            rows += match self {
                Self::Sqlite(client) => {
                    let marks = vec!["?"; chunk.len()].join(", ");
                    let sql = format!(
                        "SELECT {COLUMNS} FROM dl_add_files \
                         WHERE table_id = ? AND file_key IN ({marks}) AND removed_version IS NULL"
                    );
                    let query = sqlx::query::<Sqlite>(AssertSqlSafe(sql)).bind(table.clone());
                    let query = keys.fold(query, |query, key| query.bind(key));
                    query.fetch_all(&mut *client).await.map_err(failed)?.len()
                }
                Self::Postgres(client) => {
                    let marks: Vec<_> = (0..chunk.len()).map(|n| format!("${}", n + 2)).collect();
                    let sql = format!(
                        "SELECT {COLUMNS} FROM {SCHEMA}.dl_add_files \
                         WHERE table_id = $1 AND file_key IN ({}) AND removed_version IS NULL",
                        marks.join(", ")
                    );
                    let query = sqlx::query::<Postgres>(AssertSqlSafe(sql)).bind(table.clone());
                    let query = keys.fold(query, |query, key| query.bind(key));
                    query.fetch_all(&mut *client).await.map_err(failed)?.len()
                }
            };
        }
        Ok(rows)
    }
}

fn failed(e: sqlx::Error) -> TxnLogError {
    TxnLogError::new(ErrorKind::Unavailable, "a database of the benchmark did not answer as expected").with_source(e)
}
