//! A catalog in a database: how it is opened, and its writing transactions.

use std::sync::Arc;

use deltalakedb_log::{AllowedPaths, Clock, ComparedTables, Result, SystemClock, TableId, TableState};
use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use crate::database::{Database, DatabaseTransaction, Row, Value};
#[cfg(feature = "duckdb")]
use crate::duckdb::DuckDatabase;
use crate::file;
use crate::postgres::{PostgresDatabase, PostgresOptions};
use crate::queue::Queues;
use crate::schema::{self, Identity, Opening};
use crate::sqlite::SqliteDatabase;
use crate::statistics::Statistics;
use crate::traced::TracedDatabase;
use crate::uri::{Backend, CatalogUri};

/// The default of [`ConnectOptions::max_waiting`].
pub const DEFAULT_MAX_WAITING: usize = 10_000;

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Create a catalog that does not exist, and upgrade an older schema.
    pub create: bool,
    /// Creates ids, and gives the time if [`Self::server_clock`] does not.
    pub clock: Arc<dyn Clock>,
    /// Whether commits to a catalog in a server get their time from the server, so that clients whose clocks differ do
    /// no harm. Otherwise they get it from `clock`, as in an embedded catalog.
    pub server_clock: bool,
    /// The name of this program in the audit.
    pub client: String,
    /// The permissions of a new catalog file.
    pub file_mode: u32,
    /// The places outside their table's folder where files may be.
    pub allowed_paths: AllowedPaths,
    /// How many commits through this handle and its clones may wait for earlier ones, for each table in a server or for
    /// the whole file; one more is rejected.
    pub max_waiting: usize,
    /// Options for a server.
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

/// A catalog in a database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct SqlCatalog {
    pub(crate) db: Arc<dyn Database>,
    /// As last read.
    identity: Arc<Mutex<Identity>>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The time of the server's clock in SQL, if that is the catalog's clock.
    pub(crate) server_clock: Option<&'static str>,
    pub(crate) compared: Arc<ComparedTables>,
    pub(crate) origin: Arc<Origin>,
    pub(crate) allowed_paths: Arc<AllowedPaths>,
    pub(crate) queues: Arc<Queues>,
    pub(crate) statistics: Arc<Statistics>,
}

/// The host and process of this program, for the audit.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) host: String,
    pub(crate) process: i64,
    pub(crate) client: String,
}

impl SqlCatalog {
    /// Opens the catalog.
    pub async fn connect(uri: &CatalogUri, options: ConnectOptions) -> Result<Self> {
        let db: Arc<dyn Database> = match &uri.backend {
            Backend::Sqlite(path) => {
                Arc::new(TracedDatabase(SqliteDatabase::open(path, options.create, options.file_mode).await?))
            }
            #[cfg(feature = "duckdb")]
            Backend::DuckDb(path) => {
                Arc::new(TracedDatabase(DuckDatabase::open(path, options.create, options.file_mode).await?))
            }
            #[cfg(not(feature = "duckdb"))]
            Backend::DuckDb(_) => {
                let message = format!(
                    "{uri} is a DuckDB catalog, and this program was built without DuckDB: use one that has it, for Python \
                     `pip install 'deltalakedb[duckdb-catalog]'`, or a catalog in SQLite or PostgreSQL"
                );
                return Err(deltalakedb_log::TxnLogError::invalid(message));
            }
            Backend::Postgres(backend) => {
                Arc::new(TracedDatabase(PostgresDatabase::open(backend, options.create, &options.postgres).await?))
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
        let queues = Arc::new(Queues::new(options.max_waiting));
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

/// A writing transaction, and when it acquired its locks by the catalog's clock, in milliseconds since 1970.
pub(crate) struct WriteTransaction {
    pub(crate) tx: Box<dyn DatabaseTransaction>,
    pub(crate) now_ms: i64,
    /// The catalog's id and epoch.
    pub(crate) identity: (Uuid, Uuid),
}

impl SqlCatalog {
    /// A writing transaction, if this program supports the schema. It has exclusive access to the heads of these tables.
    /// The check uses what the catalog requires of writers now, not when it was opened.
    pub(crate) async fn begin_write(&self, heads: &[TableId]) -> Result<WriteTransaction> {
        let (tx, rows) = self.db.write(heads, &Opening::sql(self.server_clock)).await?;
        let opening = self.read_opening(rows)?;
        let now_ms = opening.now_ms.unwrap_or_else(|| self.clock.now_ms());
        let identity = (opening.identity.catalog_id, opening.identity.epoch);
        Ok(WriteTransaction { tx, now_ms, identity })
    }

    /// Processes what a writing transaction reads first.
    fn read_opening(&self, rows: Vec<Row>) -> Result<Opening> {
        let opening = Opening::read(self.db.as_ref(), rows)?;
        schema::check_writable(self.db.as_ref(), &opening.identity)?;
        let before = std::mem::replace(&mut *self.last_identity(), opening.identity);
        if before.epoch != opening.identity.epoch {
            self.compared.clear();
        }
        Ok(opening)
    }

    /// The transaction alone, if the time does not matter.
    pub(crate) async fn write(&self, heads: &[TableId]) -> Result<Box<dyn DatabaseTransaction>> {
        Ok(self.begin_write(heads).await?.tx)
    }

    /// A transaction for the mirror records of a table that may be lost in a power failure. Commits to the table continue.
    pub(crate) async fn write_async_commit(&self, table: TableId) -> Result<Box<dyn DatabaseTransaction>> {
        let (tx, rows) = self.db.write_async_commit(table, &Opening::sql(self.server_clock)).await?;
        self.read_opening(rows)?;
        Ok(tx)
    }

    pub(crate) fn last_identity(&self) -> MutexGuard<'_, Identity> {
        self.identity.lock()
    }

    /// Closes every connection. After the last process has done so, a SQLite catalog is one self-contained file.
    pub async fn close(&self) {
        self.db.close().await;
    }
}

/// One table's log in a database, for reading.
#[derive(Clone, Debug)]
pub struct SqlTxnLogReader {
    pub(crate) catalog: SqlCatalog,
    pub(crate) table: TableId,
    /// The state in which the table can be read.
    pub(crate) state: TableState,
}

impl SqlTxnLogReader {
    /// The log of a table.
    pub fn new(catalog: SqlCatalog, table: TableId) -> Self {
        Self { catalog, table, state: TableState::Live }
    }

    pub(crate) fn db(&self) -> &dyn Database {
        self.catalog.db.as_ref()
    }

    pub(crate) fn id(&self) -> Value {
        self.table.0.into()
    }
}

/// The logs of a database, for writing.
#[derive(Clone, Debug)]
pub struct SqlTxnLogWriter {
    pub(crate) catalog: SqlCatalog,
}

impl SqlTxnLogWriter {
    /// A writer to the catalog's tables.
    pub fn new(catalog: SqlCatalog) -> Self {
        Self { catalog }
    }
}
