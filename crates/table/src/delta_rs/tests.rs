//! delta-rs' own operations on a log that is not in files.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use chrono::DateTime;
use deltalake_core::DeltaTable as PlainTable;
use deltalake_core::delta_datafusion::DeltaScanNext;
use deltalake_core::kernel::EagerSnapshot;
use deltalake_core::logstore::LogStoreRef;
use deltalakedb_log::action::{Add, Version};
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::snapshot::{At, CommitSummary, Head, Snapshot};
use deltalakedb_log::stores::environment;
use deltalakedb_log::{
    Catalog, ErrorKind, HistoryRange, Location, MemoryCatalog, Predicate, Result, SeededClock, TxnLogReader,
};
use futures::TryStreamExt;
use futures::stream::BoxStream;

use super::log::{FileSelection, SnapshotLog};
use super::log_store::VirtualLogStore;
use super::*;
use crate::error::Explain;
use crate::{Rows, SaveMode, WriteOptions, create_with_data};

fn numbers(range: std::ops::Range<i64>) -> Vec<RecordBatch> {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(range));
    vec![RecordBatch::try_from_iter([("n", numbers)]).unwrap()]
}

/// A table of the numbers 0..30 in three files and commits, without a `_delta_log`.
async fn table(dir: &std::path::Path) -> crate::DeltaTable {
    let catalog: Arc<dyn Catalog> = Arc::new(MemoryCatalog::new(Arc::new(SeededClock::new(1_700_000_000_000, 1))));
    let location = Location::parse(dir.join("odd %41 näme").to_str().unwrap()).unwrap();
    let new = NewTable::new("t".parse().unwrap(), location);
    let options = WriteOptions::default();
    create_with_data(catalog.as_ref(), new, numbers(0..10), &[], &HashMap::new(), &options).await.unwrap();
    let table =
        crate::DeltaTable::open_in(catalog, &deltalakedb_log::TableRef::Name("t".parse().unwrap())).await.unwrap();
    for from in [10, 20] {
        table.write(numbers(from..from + 10), SaveMode::Append, &options).await.unwrap();
    }
    table
}

async fn open_log(table: &crate::DeltaTable, at: At, files: FileSelection) -> (Arc<SnapshotLog>, Arc<VirtualLogStore>) {
    let reader = table.reader().await.unwrap();
    let base = reader.snapshot(at).await.unwrap();
    let log = Arc::new(SnapshotLog::new(&LogView::at(table.location(), &environment(), reader, base), files));
    let log_store = Arc::new(VirtualLogStore::new(table.location(), log.clone(), &WriteOptions::default()).unwrap());
    (log, log_store)
}

async fn check_sum(log_store: &Arc<VirtualLogStore>, version: Option<Version>, want: i64) {
    let snapshot = EagerSnapshot::try_new(log_store, version).await.unwrap();
    let log_store: LogStoreRef = log_store.clone();
    let rows = DeltaScanNext::builder().with_log_store(log_store).with_eager_snapshot(snapshot).build();
    let session = session_context(&environment()).unwrap();
    session.register_table("t", Arc::new(rows.await.unwrap())).unwrap();
    let sum = session.sql("SELECT sum(n) FROM t").await.unwrap().collect().await.unwrap();
    assert_eq!(sum[0].column(0).as_primitive::<Int64Type>().value(0), want);
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_run_in_delta_rs_and_their_commits_are_captured() {
    let dir = tempfile::tempdir().unwrap();
    let ours = table(dir.path()).await;
    let (log, log_store) = open_log(&ours, At::Latest, FileSelection::All).await;
    let mut delta_table = PlainTable::new(log_store.clone());
    delta_table.load().await.unwrap();
    assert_eq!(delta_table.version(), Some(2));

    let (delta_table, deleted) = delta_table.delete().with_predicate("n < 5").await.unwrap();
    assert_eq!((delta_table.version(), deleted.num_deleted_rows), (Some(3), Some(5)));
    check_sum(&log_store, None, 435 - 10).await;
    let (delta_table, _) = delta_table.update().with_predicate("n = 29").with_update("n", "n + 1").await.unwrap();
    let (mut delta_table, _) = delta_table.optimize().await.unwrap();
    assert_eq!((delta_table.version(), delta_table.snapshot().unwrap().log_data().num_files()), (Some(5), 1));
    check_sum(&log_store, None, 435 - 10 + 1).await;
    check_sum(&log_store, Some(1), 190).await;
    delta_table.update_state().await.unwrap();
    let (_, gone) = delta_table.clone().vacuum().with_dry_run(true).await.unwrap();
    assert!(gone.files_deleted.is_empty(), "{gone:?}");
    assert_eq!(log.staged().len(), 3);
    assert!(!ours.location().local_path().unwrap().join("_delta_log").exists());

    // None of it is in the catalog.
    assert_eq!(ours.head().await.unwrap().version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_and_time_travel_find_every_commit() {
    let dir = tempfile::tempdir().unwrap();
    let ours = table(dir.path()).await;
    let (_, log_store) = open_log(&ours, At::Latest, FileSelection::All).await;
    let mut delta_table = PlainTable::new(log_store);
    delta_table.load().await.unwrap();
    let history: Vec<_> = delta_table.history(None).try_collect().await.unwrap();
    assert_eq!(history.len(), 3);
    let second = ours.reader().await.unwrap().snapshot(At::Version(1)).await.unwrap().head.timestamp;
    delta_table.load_with_datetime(DateTime::from_timestamp_millis(second).unwrap()).await.unwrap();
    assert_eq!(delta_table.version(), Some(1));
}

/// A log that fails when its files are requested.
#[derive(Debug)]
struct Filesless(Arc<dyn TxnLogReader>);

#[async_trait::async_trait]
impl TxnLogReader for Filesless {
    async fn head(&self) -> Result<Head> {
        self.0.head().await
    }
    async fn snapshot(&self, at: At) -> Result<Snapshot> {
        self.0.snapshot(at).await
    }
    async fn files(&self, _: Version, _: Option<&Predicate>) -> Result<BoxStream<'static, Result<Add>>> {
        panic!("the files were asked for")
    }
    async fn files_in_replay_order(&self, _: Version, _: Option<&Predicate>) -> Result<Vec<Add>> {
        panic!("the files were asked for")
    }
    async fn history(&self, range: HistoryRange) -> Result<Vec<CommitSummary>> {
        self.0.history(range).await
    }
    async fn commit_bytes(&self, version: Version) -> Result<Option<Bytes>> {
        self.0.commit_bytes(version).await
    }
    async fn changes(&self, from: Version, to: Version) -> Result<BoxStream<'static, Result<(Version, Bytes)>>> {
        self.0.changes(from, to).await
    }
}

#[tokio::test]
async fn an_append_reads_no_live_file() {
    let dir = tempfile::tempdir().unwrap();
    let ours = table(dir.path()).await;
    let reader: Arc<dyn TxnLogReader> = Arc::new(Filesless(ours.reader().await.unwrap()));
    let base = reader.snapshot(At::Latest).await.unwrap();
    let empty = VirtualTable::without_files(&LogView::at(ours.location(), &environment(), reader, base)).await.unwrap();
    let (rows, _) = Rows::from(numbers(0..3)).in_delta_types();
    let captured = empty.append(rows, None).await.unwrap();
    assert_eq!(captured.files.paths().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_at_an_old_version_has_its_history() {
    let dir = tempfile::tempdir().unwrap();
    let ours = table(dir.path()).await;
    let (_, log_store) = open_log(&ours, At::Version(1), FileSelection::All).await;
    let mut delta_table = PlainTable::new(log_store);
    delta_table.load().await.unwrap();
    let history: Vec<_> = delta_table.history(None).try_collect().await.unwrap();
    assert_eq!(history.len(), 2);
    let first = ours.reader().await.unwrap().snapshot(At::Version(0)).await.unwrap().head.timestamp;
    delta_table.load_with_datetime(DateTime::from_timestamp_millis(first).unwrap()).await.unwrap();
    assert_eq!(delta_table.version(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_delta_rs_is_an_internal_error() {
    let dir = tempfile::tempdir().unwrap();
    let ours = table(dir.path()).await;
    let reader = ours.reader().await.unwrap();
    let base = reader.snapshot(At::Latest).await.unwrap();
    let empty = VirtualTable::without_files(&LogView::at(ours.location(), &environment(), reader, base)).await.unwrap();
    let panics = async { panic!("it was not foreseen") };
    let done = empty.capture::<_, ()>("the rows cannot be written", panics, |()| serde_json::Value::Null).await;
    let e = done.err().unwrap();
    assert_eq!(e.kind(), ErrorKind::Internal);
    assert_eq!(e.to_string(), "the rows cannot be written: the code panicked: it was not foreseen");

    let task = tokio::spawn(async { panic!("nor this") as () }).await.unwrap_err();
    let delta_table = deltalake_core::DeltaTableError::GenericError { source: task.into() };
    let e = Err::<(), _>(delta_table).explain(|| "the files cannot be written".into()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Internal, "{e}");
}

/// The texts by which `error::one_line` finds the sentence are those of the versions that are pinned.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_delta_rs_is_shortened_to_its_sentence() {
    use arrow::error::ArrowError;
    use datafusion::common::{DataFusionError as D, SchemaError};

    let dir = tempfile::tempdir().unwrap();
    let ours = table(dir.path()).await;
    let e = ours.constrain("small", "n < 25", &WriteOptions::default()).await.unwrap_err();
    assert_eq!(e.to_string(), "the constraint cannot be added: 5 rows failed validation check.");
    assert_eq!(
        format!("{e:#}"),
        "the constraint cannot be added: Generic DeltaTable error: External error: Invalid data found: 5 rows failed \
         validation check."
    );

    let no_column = SchemaError::FieldNotFound {
        field: Box::new(datafusion::common::Column::new_unqualified("x")),
        valid_fields: Vec::new(),
    };
    for (delta_table, sentence) in [
        (D::Plan("no plan".into()), "no plan"),
        (D::Execution("no rows".into()), "no rows"),
        (D::SchemaError(Box::new(no_column), Box::new(None)), "No field named x."),
        (D::External(Box::new(D::from(ArrowError::ParseError("no number".into())))), "no number"),
    ] {
        let delta_table = deltalake_core::DeltaTableError::from(delta_table);
        assert!(matches!(delta_table, deltalake_core::DeltaTableError::Generic(_)), "{delta_table}");
        let e = Err::<(), _>(delta_table).explain(|| "it failed".into()).unwrap_err();
        assert_eq!(e.to_string(), format!("it failed: {sentence}"));
    }
}
