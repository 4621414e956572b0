//! The Delta log in SQL: [`deltalakedb_log::Catalog`] over one schema and one set of statements.
//!
//! [`connect`] opens a catalog by its URI. The tables are described in `migrations/`; how a commit is decided is in
//! [`deltalakedb_log::commit`]; this crate stores what was decided, and finds it again with one statement.

mod administration;
mod ahead;
mod base;
mod bounds;
mod codec;
mod commit;
mod conflict;
mod copy;
mod database;
#[cfg(feature = "duckdb")]
mod duckdb;
mod expiry;
mod file;
mod holds;
mod lifecycle;
mod listing;
mod load;
mod locked;
mod mirror;
mod missing;
mod namespaces;
mod plan;
mod postgres;
mod queue;
mod read;
mod references;
mod removal;
mod schema;
mod search;
mod spool;
mod sqlite;
mod statistics;
mod summaries;
mod table_rows;
mod uri;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use deltalakedb_log::commit::{CommitRequest, Committed, Outcome};
use deltalakedb_log::{
    AllowedPaths, Catalog, Clock, CommitId, ComparedTables, Head, Point, Result, SystemClock, TableEntry, TableId,
    TableRef, TableState, TxnLogError, TxnLogReader, TxnLogWriter,
};
use uuid::Uuid;

pub use copy::{Copied, copy_catalog};
pub use postgres::PostgresOptions;
pub use uri::{CatalogUri, Place, PostgresPlace};

/// What [`ConnectOptions::max_waiting`] is unless it is set.
pub const DEFAULT_MAX_WAITING: usize = 10_000;

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Make the catalog where there is none, and bring an older schema up to date.
    pub create: bool,
    /// Ids, and the time where [`Self::server_clock`] gives none.
    pub clock: Arc<dyn Clock>,
    /// Whether commits get their time from the server, where the catalog is in one: clients whose clocks differ then do
    /// no harm. Without it they get it from `clock`, as in an embedded catalog.
    pub server_clock: bool,
    /// What the audit calls this program.
    pub client: String,
    /// The permissions of a catalog's file when it is made.
    pub file_mode: u32,
    /// Where files outside their table's folder may be.
    pub allowed_paths: AllowedPaths,
    /// How many commits through this handle and its clones may wait for those before them, to one table in a server or in
    /// all of a file; one more is refused.
    pub max_waiting: usize,
    /// What goes for a server.
    pub postgres: PostgresOptions,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            create: true,
            clock: Arc::new(SystemClock),
            server_clock: true,
            client: "deltalakedb".into(),
            file_mode: file::OWNER_ONLY,
            allowed_paths: AllowedPaths::default(),
            max_waiting: DEFAULT_MAX_WAITING,
            postgres: PostgresOptions::default(),
        }
    }
}

/// Opens the catalog at `uri`, such as `deltasql://sqlite//var/data/meta.db` or `deltasql://postgres/mydb/public`. An
/// embedded one that is missing is made; in a server that is for `dl init` to do, or [`ConnectOptions::create`].
pub async fn connect(uri: &str) -> Result<Arc<dyn Catalog>> {
    let uri = CatalogUri::parse(uri)?;
    let options = ConnectOptions { create: uri.is_embedded(), ..ConnectOptions::default() };
    Ok(Arc::new(SqlCatalog::connect(&uri, options).await?))
}

/// The URI of the catalog that the environment names (`DELTALAKEDB_CATALOG`); `None` where it names none.
pub fn catalog_in_environment() -> Result<Option<String>> {
    let Some(uri) = std::env::var_os("DELTALAKEDB_CATALOG").filter(|uri| !uri.is_empty()) else { return Ok(None) };
    let unreadable = |_| TxnLogError::invalid("DELTALAKEDB_CATALOG is not UTF-8: set it to the URI of a catalog");
    uri.into_string().map(Some).map_err(unreadable)
}

/// A catalog in a database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct SqlCatalog {
    db: Arc<dyn database::Database>,
    /// As it was last seen.
    identity: Arc<Mutex<schema::Identity>>,
    clock: Arc<dyn Clock>,
    /// The time of the server's clock in SQL, where that is the catalog's.
    server_clock: Option<&'static str>,
    compared: Arc<ComparedTables>,
    origin: Arc<Origin>,
    allowed_paths: Arc<AllowedPaths>,
    queues: Arc<queue::Queues>,
    statistics: Arc<statistics::Statistics>,
}

/// Where this program runs, for the audit.
#[derive(Debug)]
struct Origin {
    host: String,
    process: i64,
    client: String,
}

impl SqlCatalog {
    /// Opens the catalog.
    pub async fn connect(uri: &CatalogUri, options: ConnectOptions) -> Result<Self> {
        let db: Arc<dyn database::Database> = match &uri.place {
            Place::Sqlite(path) => {
                Arc::new(sqlite::SqliteDatabase::open(path, options.create, options.file_mode).await?)
            }
            #[cfg(feature = "duckdb")]
            Place::DuckDb(path) => Arc::new(duckdb::DuckDatabase::open(path, options.create, options.file_mode).await?),
            #[cfg(not(feature = "duckdb"))]
            Place::DuckDb(_) => {
                let message = format!("{uri} is a DuckDB catalog, and this program was built without DuckDB");
                return Err(TxnLogError::invalid(message));
            }
            Place::Postgres(place) => {
                Arc::new(postgres::PostgresDatabase::open(place, options.create, &options.postgres).await?)
            }
        };
        let identity = schema::migrate(db.as_ref(), options.clock.as_ref(), options.create).await?;
        let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
        let origin =
            Origin { host: host.trim().to_string(), process: std::process::id().into(), client: options.client };
        tracing::debug!(catalog = db.describe(), "catalog opened");
        let server_clock = db.clock().filter(|_| options.server_clock);
        let (identity, compared) = (Arc::new(Mutex::new(identity)), Arc::default());
        let (origin, allowed_paths) = (Arc::new(origin), Arc::new(options.allowed_paths));
        let queues = Arc::new(queue::Queues::new(options.max_waiting));
        Ok(Self {
            db,
            identity,
            clock: options.clock,
            server_clock,
            compared,
            origin,
            allowed_paths,
            queues,
            statistics: Arc::default(),
        })
    }
}

/// A session that writes, and when it got its locks by the catalog's clock, in milliseconds since 1970.
pub(crate) struct Writing {
    pub(crate) session: Box<dyn database::Session>,
    pub(crate) now_ms: i64,
    /// The catalog's id and epoch.
    pub(crate) identity: (Uuid, Uuid),
}

impl SqlCatalog {
    /// A session that will write, if this program knows how. It alone changes the heads of these tables. Whether it knows
    /// is judged by what the catalog asks of writers now, not when it was opened.
    async fn begin_write(&self, heads: &[TableId]) -> Result<Writing> {
        let (session, rows) = self.db.write(heads, &schema::Opening::sql(self.server_clock)).await?;
        let opening = self.opened(rows)?;
        let now_ms = opening.now_ms.unwrap_or_else(|| self.clock.now_ms());
        let identity = (opening.identity.catalog_id, opening.identity.epoch);
        Ok(Writing { session, now_ms, identity })
    }

    /// What the catalog said at the beginning of a session that will write.
    fn opened(&self, rows: Vec<database::Row>) -> Result<schema::Opening> {
        let opening = schema::Opening::read(self.db.as_ref(), rows)?;
        schema::check_writable(self.db.as_ref(), &opening.identity)?;
        let before = std::mem::replace(&mut *self.last_identity(), opening.identity);
        if before.epoch != opening.identity.epoch {
            self.compared.clear();
        }
        Ok(opening)
    }

    /// The same where the time does not matter.
    async fn write(&self, heads: &[TableId]) -> Result<Box<dyn database::Session>> {
        Ok(self.begin_write(heads).await?.session)
    }

    /// The same for what may be forgotten when the power is cut, about the mirror of a table. Commits to it go on.
    async fn note(&self, table: TableId) -> Result<Box<dyn database::Session>> {
        let (session, rows) = self.db.note(table, &schema::Opening::sql(self.server_clock)).await?;
        self.opened(rows)?;
        Ok(session)
    }

    fn last_identity(&self) -> MutexGuard<'_, schema::Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every connection. After the last process has done so, a SQLite catalog is one file, whole by itself.
    pub async fn close(&self) {
        self.db.close().await;
    }
}

/// One table's log in a database, for reading.
#[derive(Clone, Debug)]
pub struct SqlTxnLogReader {
    catalog: SqlCatalog,
    table: TableId,
    /// The state in which the table can be read.
    state: TableState,
}

impl SqlTxnLogReader {
    /// The log of a table.
    pub fn new(catalog: SqlCatalog, table: TableId) -> Self {
        Self { catalog, table, state: TableState::Live }
    }
}

/// The logs of a database, for writing.
#[derive(Clone, Debug)]
pub struct SqlTxnLogWriter {
    catalog: SqlCatalog,
}

impl SqlTxnLogWriter {
    /// A writer to the catalog's tables.
    pub fn new(catalog: SqlCatalog) -> Self {
        Self { catalog }
    }
}

#[async_trait]
impl TxnLogWriter for SqlTxnLogWriter {
    async fn commit(&self, request: CommitRequest) -> Result<Outcome> {
        self.catalog.commit_all(vec![request]).await
    }
}

#[async_trait]
impl Catalog for SqlCatalog {
    async fn identity(&self) -> Result<(Uuid, Uuid)> {
        let identity = self.last_identity();
        Ok((identity.catalog_id, identity.epoch))
    }

    async fn now_ms(&self) -> Result<i64> {
        let Some(clock) = self.server_clock else { return Ok(self.clock.now_ms()) };
        let mut row = self.db.query(&format!("SELECT {clock}"), vec![]).await?.pop();
        let missing = || TxnLogError::corrupt(format!("{} does not say what time it is", self.db.describe()));
        row.as_mut().ok_or_else(missing)?.int()
    }

    fn compared(&self) -> &ComparedTables {
        &self.compared
    }

    fn describe(&self) -> String {
        self.db.describe()
    }

    async fn find(&self, table: &TableRef) -> Result<Option<TableEntry>> {
        read::find(self.db.as_ref(), table).await
    }

    async fn point(&self) -> Result<Point> {
        read::point(self.db.as_ref()).await
    }

    async fn find_at(&self, table: &TableRef, point: &Point) -> Result<Option<TableEntry>> {
        read::find_at(self.db.as_ref(), table, point).await
    }

    async fn begin(&self, tables: &[TableId]) -> Result<Vec<Head>> {
        read::heads(self.db.as_ref(), tables).await
    }

    fn reader(&self, table: TableId) -> Arc<dyn TxnLogReader> {
        Arc::new(SqlTxnLogReader::new(self.clone(), table))
    }

    async fn commit_all(&self, requests: Vec<CommitRequest>) -> Result<Outcome> {
        let actions = requests.iter().map(|request| request.actions().len()).sum();
        let outcome = commit::commit_all(self, requests).await;
        match &outcome {
            Ok(Outcome::Committed(committed)) => {
                for c in committed {
                    tracing::debug!(table = %c.table, version = c.version, "committed");
                }
                if let Err(e) = self.statistics.after_commit(self.db.as_ref(), actions).await {
                    tracing::warn!(error = %e, "committed, and the rows of the catalog were not analyzed");
                }
            }
            Ok(Outcome::Conflict(conflict)) => {
                tracing::debug!(table = %conflict.table_name, version = conflict.version, kind = ?conflict.kind, "conflict");
            }
            Ok(Outcome::Unknown(why)) => tracing::warn!(why, "it is not known whether a commit was made"),
            Err(e) => tracing::debug!(error = %e, "not committed"),
        }
        outcome
    }

    async fn find_commit(&self, table: TableId, id: CommitId) -> Result<Option<Committed>> {
        read::find_commit(self.db.as_ref(), table, id).await
    }
}

#[cfg(test)]
mod tests;
