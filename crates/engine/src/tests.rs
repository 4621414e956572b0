//! Tests of row tables through SQL, over hot rows and a catalog in memory.

mod anomalies;
mod by_key;
mod concurrent;
mod contention;
mod crashes;
mod errors;
mod failing_catalog;
mod full_disk;
mod full_stores;
mod histories;
mod inserts;
#[path = "../../../tests/src/intercepted_catalog.rs"]
#[allow(unreachable_pub, dead_code, reason = "the file is shared")]
mod intercepted_catalog;
mod key_updates;
mod known_tables;
mod large_rows;
mod namespaces;
mod resolution;
#[path = "../../../tests/src/row_model.rs"]
#[allow(unreachable_pub, dead_code, reason = "the file is shared")]
mod row_model;
mod statements;

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use deltalakedb_log::{CatalogNamespaces, ErrorKind, MemoryCatalog, Result, SeededClock, TxnLogError};
use deltalakedb_rows::storage::memory::MemoryDisk;
use deltalakedb_table::{SqlOptions, SqlResult, SqlSession, WriteOptions, query_error};
use futures::TryStreamExt;
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::crashes::FailingStorage;
use self::failing_catalog::{CatalogFailure, FailingCommits};
use self::full_stores::FullStores;
use self::intercepted_catalog::InterceptedCatalog;
use crate::guest::RowTables;
use crate::row_engine::RowEngine;

/// An engine in a folder of its own, with the namespace `app`.
pub(crate) struct Fixture {
    folder: tempfile::TempDir,
    disk: MemoryDisk,
    catalog: Arc<MemoryCatalog>,
    clock: Arc<SeededClock>,
    engine: Option<Arc<RowEngine>>,
    /// After how many syncs of the hot rows one fails.
    fails_in: Arc<Mutex<Option<usize>>>,
    /// After how many writes of the hot rows that are not synced one fails.
    unsynced_fails_in: Arc<Mutex<Option<usize>>>,
    /// What commits of the engine do.
    commits: Arc<Mutex<Option<CatalogFailure>>>,
    /// Notified of the commit of a flush that gets no further.
    committed: Arc<Notify>,
    /// The data files and vectors for which there is no space.
    stores: FullStores,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(SeededClock::new(1_700_000_000_000, 7));
        let mut fixture = Self {
            folder: tempfile::tempdir().unwrap(),
            disk: MemoryDisk::new(),
            catalog: Arc::new(MemoryCatalog::new(clock.clone())),
            clock,
            engine: None,
            fails_in: Arc::default(),
            unsynced_fails_in: Arc::default(),
            commits: Arc::default(),
            committed: Arc::default(),
            stores: FullStores::default(),
        };
        fixture.catalog.create_namespace("app", None).await.unwrap();
        fixture.reopen().await.unwrap();
        fixture
    }

    /// The folder of the hot rows on the disk in memory.
    fn hot() -> PathBuf {
        PathBuf::from("/hot")
    }

    /// Opens the engine again, without failures. All sessions must have been dropped.
    async fn reopen(&mut self) -> Result<()> {
        self.engine = None;
        *self.fails_in.lock() = None;
        *self.unsynced_fails_in.lock() = None;
        *self.commits.lock() = None;
        *self.stores.full.lock() = None;
        let storage = Arc::new(FailingStorage {
            inner: self.disk.open(&Self::hot())?,
            disk: self.disk.clone(),
            left: self.fails_in.clone(),
            unsynced_left: self.unsynced_fails_in.clone(),
        });
        let commits = FailingCommits { failure: self.commits.clone(), committed: self.committed.clone() };
        let catalog = Arc::new(InterceptedCatalog::new(self.catalog.clone(), Arc::new(commits)));
        let stores = Arc::new(self.stores.clone());
        let options = WriteOptions { clock: self.clock.clone(), stores, ..WriteOptions::default() };
        let folder = self.folder.path().canonicalize().unwrap();
        let engine = RowEngine::open_storage(&folder, storage, catalog, options).await?;
        self.engine = Some(Arc::new(engine));
        Ok(())
    }

    pub(crate) fn engine(&self) -> &Arc<RowEngine> {
        self.engine.as_ref().unwrap()
    }

    pub(crate) fn session(&self) -> SqlSession {
        self.delta_session().with_guest(Arc::new(RowTables::new(self.engine().clone())))
    }

    /// A session without row tables.
    fn delta_session(&self) -> SqlSession {
        SqlSession::new(self.catalog.clone(), SqlOptions::default()).unwrap()
    }
}

/// What statements returned: rows as texts, sorted, with `|` between the columns; and for each statement without rows
/// its command, and the number of rows if it says one.
pub(crate) async fn ask(session: &mut SqlSession, sql: &str) -> Result<Vec<String>> {
    let mut answers = Vec::new();
    let mut script = session.execute(sql)?;
    while let Some(result) = script.next().await? {
        match result {
            SqlResult::Rows(rows) => {
                let batches: Vec<_> =
                    rows.try_collect().await.map_err(|e| query_error(e, "the rows cannot be read"))?;
                let mut rows: Vec<_> = batches.iter().flat_map(texts).collect();
                rows.sort();
                answers.extend(rows);
            }
            SqlResult::CommandComplete(done) => {
                answers.push(done.rows.map_or(done.command.to_string(), |rows| format!("{} {rows}", done.command)));
            }
        }
    }
    Ok(answers)
}

/// The rows as texts.
fn texts(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("null");
    let columns: Vec<_> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap()).collect();
    let row = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(row).collect()
}

async fn check(session: &mut SqlSession, sql: &str, want: &[&str]) {
    // Boxed, because a test runs many statements and their futures are large.
    let got = Box::pin(ask(session, sql)).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    assert_eq!(got, want, "{sql}");
}

/// The error of a statement, which is one sentence.
async fn error(session: &mut SqlSession, sql: &str) -> TxnLogError {
    match Box::pin(ask(session, sql)).await {
        Ok(rows) => panic!("{sql} gives {rows:?}"),
        Err(e) => {
            assert!(!e.to_string().contains('\n') && e.kind() != ErrorKind::Internal, "{sql}: {e:?}");
            e
        }
    }
}

async fn fails(session: &mut SqlSession, sql: &str, says: &[&str]) {
    let e = error(session, sql).await;
    let text = deltalakedb_log::causes(&e).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    for part in says {
        assert!(text.contains(part), "{part:?} is not said of {sql}: {text}");
    }
}
