//! Runtimes with a single thread: a blocking wait there must not need that thread.

use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use datafusion::prelude::{SessionConfig, SessionContext};
use deltalakedb_log::action::{Add, Version};
use deltalakedb_log::snapshot::{CommitSummary, Head, Snapshot};
use deltalakedb_log::stores::environment;
use deltalakedb_log::{HistoryRange, Predicate, Result, TxnLogReader};
use futures::stream::BoxStream;
use tokio::runtime::Handle;

use super::*;
use crate::delta_rs::LogView;

/// A log whose every answer needs the runtime that it was opened on, as with the connections of a pool.
#[derive(Debug)]
struct LogOnRuntime {
    log: Arc<dyn TxnLogReader>,
    runtime: Handle,
}

macro_rules! there {
    ($self:ident.$of:ident, |$it:ident| $ask:expr) => {{
        let $it = $self.$of.clone();
        $self.runtime.spawn(async move { $ask.await }).await.unwrap()
    }};
}

#[async_trait::async_trait]
impl TxnLogReader for LogOnRuntime {
    async fn head(&self) -> Result<Head> {
        there!(self.log, |log| log.head())
    }
    async fn snapshot(&self, at: At) -> Result<Snapshot> {
        there!(self.log, |log| log.snapshot(at))
    }
    async fn files(&self, version: Version, predicate: Option<&Predicate>) -> Result<BoxStream<'static, Result<Add>>> {
        let predicate = predicate.cloned();
        there!(self.log, |log| log.files(version, predicate.as_ref()))
    }
    async fn files_in_replay_order(&self, version: Version, predicate: Option<&Predicate>) -> Result<Vec<Add>> {
        let predicate = predicate.cloned();
        there!(self.log, |log| log.files_in_replay_order(version, predicate.as_ref()))
    }
    async fn history(&self, range: HistoryRange) -> Result<Vec<CommitSummary>> {
        there!(self.log, |log| log.history(range))
    }
    async fn commit_bytes(&self, version: Version) -> Result<Option<Bytes>> {
        there!(self.log, |log| log.commit_bytes(version))
    }
    async fn changes(&self, from: Version, to: Version) -> Result<BoxStream<'static, Result<(Version, Bytes)>>> {
        there!(self.log, |log| log.changes(from, to))
    }
}

/// Runs a test on a runtime with a single thread, and fails if it hangs.
fn alone<F: Future<Output = ()>>(story: impl FnOnce(Fixture) -> F + Send + 'static) {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { story(Fixture::new()).await });
        done.send(()).unwrap();
    });
    match ended.recv_timeout(Duration::from_secs(120)) {
        Ok(()) => {}
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("the story failed: what it says is above"),
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the only thread waits for itself"),
    }
}

#[test]
fn operations_run_on_a_single_threaded_runtime() {
    alone(|fixture| async move {
        let (table, options) = (fixture.create("t", "id long, day string", &["day"]).await, WriteOptions::default());
        table.set_properties(&[("delta.enableChangeDataFeed", "true")], &options).await.unwrap();
        for ids in [[1, 2], [3, 4]] {
            table.write(rows(&ids, &["a", "b"]), SaveMode::Append, &options).await.unwrap();
        }
        let upsert = || {
            Merge::on("target.id = source.id")
                .when(MergeClause::MatchedUpdate { condition: None, set: Assignments::All })
                .when(MergeClause::NotMatchedInsert { condition: None, values: Assignments::All })
        };
        let evolving =
            WriteRows { schema_mode: Some(SchemaMode::Merge), ..WriteRows::new(rows(&[5], &["c"]), SaveMode::Append) };
        let operations = [
            Operation::Write(WriteRows::new(rows(&[5], &["c"]), SaveMode::Append)),
            Operation::Write(WriteRows::new(rows(&[5], &["c"]), SaveMode::Overwrite)),
            Operation::Write(evolving),
            Operation::Delete { filter: Some("id = 2".into()) },
            Operation::Update {
                set: vec![("id".into(), "id + 1".into())],
                filter: Some("id = 1".into()),
                safe_cast: false,
            },
            Operation::Merge(upsert(), rows(&[1, 7], &["a", "c"]).into()),
            Operation::Optimize(Optimize::default()),
            Operation::Optimize(Optimize { zorder: vec!["id".into()], ..Optimize::default() }),
            Operation::Restore(At::Version(2).into()),
            Operation::Repair { dry_run: false },
            Operation::AddConstraints([("positive".into(), "id > 0".into())].into()),
            Operation::Alter(Alter::AddColumns(parse_schema("note string").unwrap())),
        ];
        let log: Arc<dyn TxnLogReader> =
            Arc::new(LogOnRuntime { log: table.reader().await.unwrap(), runtime: Handle::current() });
        let base = log.snapshot(At::Latest).await.unwrap();
        let state = LogView::at(table.location(), &environment(), log.clone(), base).writing(&options);
        for operation in operations {
            let (name, mut state) = (operation.name(), state.clone());
            let staged = operation.stage(&state, "the table t").await.unwrap().unwrap();
            if !staged.captured.is_empty() {
                // On top of staged changes, as in a transaction.
                state.stage(staged.captured.actions).unwrap();
            }
            Operation::Delete { filter: Some("id > 3".into()) }.stage(&state, name).await.unwrap();
        }
        let table = DeltaTable::open_with_reader(&table.location().to_string(), log).await.unwrap();
        let filtered = Scan { filter_sql: Some("id = 1".into()), ..Scan::default() };
        check(&table, &filtered, &["|1|a|"]).await;
        let changed: Vec<_> = table.changes(2, None).await.unwrap().try_collect().await.unwrap();
        assert_eq!(changed.iter().map(RecordBatch::num_rows).sum::<usize>(), 4);
    });
}

#[test]
fn tables_are_listed_without_blocking() {
    alone(|fixture| async move {
        fixture.create("t", "id long", &[]).await;
        let config = SessionConfig::new().with_default_catalog_and_schema("lake", "default");
        let session = SessionContext::new_with_config(config.with_information_schema(true));
        let tables = Arc::new(DeltaCatalogProvider::new(fixture.catalog.clone()));
        session.register_catalog("lake", tables.clone());
        let listed = async || {
            let rows = session.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'default'");
            text(&rows.await.unwrap().collect().await.unwrap())
        };
        assert_eq!(listed().await, [] as [&str; 0], "nothing was listed yet");
        tables.list().await.unwrap();
        assert_eq!(listed().await, ["|t|"]);
    });
}

#[test]
fn a_dropped_transaction_is_cleaned_up_without_blocking() {
    alone(|fixture| async move {
        let table = fixture.create("t", "id long, day string", &["day"]).await;
        let tx = Transaction::begin(fixture.catalog.clone(), TransactionOptions::default()).await.unwrap();
        tx.write("t", rows(&[1, 2], &["a", "b"]), SaveMode::Append).await.unwrap();
        assert_eq!(data_files(&table), 2);
        drop(tx);
        while data_files(&table) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn cleaning_up_may_spawn_on_the_callers_runtime() {
    alone(|_| async {
        let (done, ended) = tokio::sync::oneshot::channel();
        let runtime = Handle::current();
        crate::delta_rs::finish(async move {
            runtime.spawn(async {}).await.unwrap();
            done.send(()).unwrap();
        })
        .unwrap();
        ended.await.unwrap();
    });
}
