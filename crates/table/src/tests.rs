//! Tests of tables in a catalog, compared with plain delta-rs on the log that the catalog would publish.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::util::pretty::pretty_format_batches;
use deltalakedb_log::action::{Action, Metadata, Protocol, Txn};
use deltalakedb_log::commit::{Base, CommitRequest, NewTable};
use deltalakedb_log::snapshot::At;
use deltalakedb_log::{Catalog, Clock, ErrorKind, Location, MemoryCatalog, SeededClock, TableId, TableRef};
use futures::TryStreamExt;
use uuid::Uuid;

use crate::*;

mod backpressure;
mod begin;
mod changes;
mod clones;
mod conditions;
mod files;
mod generated;
mod holds;
#[path = "../../../tests/src/intercepted_catalog.rs"]
#[allow(unreachable_pub, dead_code, reason = "the file is shared")]
mod intercepted_catalog;
mod interleaved;
mod lifecycle;
mod metadata;
mod operations;
mod position_scans;
mod repairs;
mod restores;
mod retained;
mod threads;
mod transactions;
mod vacuums;
mod values;
mod vector_changes;
mod vector_merges;
mod vectors;

pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) catalog: Arc<MemoryCatalog>,
    pub(crate) clock: Arc<MovableClock>,
}

/// A seeded clock that can be set.
#[derive(Debug)]
pub(crate) struct MovableClock {
    seeded: SeededClock,
    ahead_ms: AtomicI64,
}

impl MovableClock {
    pub(crate) fn new(start_ms: i64, seed: u64) -> Self {
        Self { seeded: SeededClock::new(start_ms, seed), ahead_ms: AtomicI64::new(0) }
    }

    pub(crate) fn set(&self, now_ms: i64) {
        self.ahead_ms.store(now_ms - self.seeded.now_ms(), Ordering::Relaxed);
    }
}

impl Clock for MovableClock {
    fn now_ms(&self) -> i64 {
        self.seeded.now_ms() + self.ahead_ms.load(Ordering::Relaxed)
    }

    fn new_uuid(&self) -> Uuid {
        self.seeded.new_uuid()
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(MovableClock::new(1_700_000_000_000, 7));
        let catalog = Arc::new(MemoryCatalog::new(clock.clone()));
        Self { dir: tempfile::tempdir().unwrap(), catalog, clock }
    }

    pub(crate) fn new_table(&self, name: &str) -> NewTable {
        let path = self.dir.path().join(name);
        NewTable::new(name.parse().unwrap(), Location::parse(path.to_str().unwrap()).unwrap())
    }

    pub(crate) async fn create(&self, name: &str, schema: &str, partition_by: &[&str]) -> DeltaTable {
        let partition_by: Vec<_> = partition_by.iter().map(|p| p.to_string()).collect();
        let schema = parse_schema(schema).unwrap();
        let (new, options) = (self.new_table(name), WriteOptions::default());
        create_table(self.catalog.as_ref(), new, &schema, &partition_by, &HashMap::new(), &options).await.unwrap();
        self.open(name).await
    }

    pub(crate) async fn open(&self, name: &str) -> DeltaTable {
        DeltaTable::open_in(self.catalog.clone(), &TableRef::Name(name.parse().unwrap())).await.unwrap()
    }

    /// The oldest retained version of a table.
    async fn base(&self, name: &str) -> u64 {
        self.catalog.find(&TableRef::Name(name.parse().unwrap())).await.unwrap().unwrap().base_version
    }

    async fn id(&self, name: &str) -> TableId {
        self.catalog.find(&TableRef::Name(name.parse().unwrap())).await.unwrap().unwrap().id
    }
}

pub(crate) fn rows(ids: &[i64], days: &[&str]) -> Vec<RecordBatch> {
    let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    let days: ArrayRef = Arc::new(StringArray::from(days.to_vec()));
    vec![RecordBatch::try_from_iter([("id", ids), ("day", days)]).unwrap()]
}

pub(crate) fn text(batches: &[RecordBatch]) -> Vec<String> {
    let text = pretty_format_batches(batches).unwrap().to_string();
    let mut lines: Vec<_> = text.lines().filter(|l| !l.starts_with('+')).skip(1).map(|l| l.replace(' ', "")).collect();
    lines.sort();
    lines
}

async fn check(table: &DeltaTable, scan: &Scan, want: &[&str]) {
    assert_eq!(text(&table.read(scan).await.unwrap()), want, "{scan:?}");
}

/// Writes the log as the mirror would, and compares the results of plain delta-rs with ours.
async fn check_plain(table: &DeltaTable) {
    let reader = table.reader().await.unwrap();
    let log = table.location().local_path().unwrap().join("_delta_log");
    std::fs::create_dir_all(&log).unwrap();
    let head = reader.head().await.unwrap();
    for version in 0..=head.version {
        let bytes = reader.commit_bytes(version).await.unwrap().unwrap();
        std::fs::write(log.join(format!("{version:020}.json")), bytes).unwrap();
    }
    let ours = text(&table.read(&Scan::default()).await.unwrap());
    assert_eq!(text(&plain::read(table.location(), None).await.unwrap()), ours);
    let replayed = plain::replay(table.location(), None).await.unwrap();
    let mut files: Vec<_> = reader.files(head.version, None).await.unwrap().try_collect().await.unwrap();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let essence = |adds: &[deltalakedb_log::action::Add]| -> Vec<_> {
        adds.iter().map(|a| (a.key(), a.size, a.partition_values.clone(), a.stats.clone())).collect()
    };
    assert_eq!(essence(&replayed.files), essence(&files));
    assert_eq!((replayed.version, replayed.protocol, replayed.metadata), (head.version, head.protocol, head.metadata));
}

fn data_files(table: &DeltaTable) -> usize {
    fn count(dir: &std::path::Path) -> usize {
        let Ok(entries) = std::fs::read_dir(dir) else {
            return 0;
        };
        entries
            .map(|e| e.unwrap().path())
            .map(|p| if p.is_dir() { count(&p) } else { usize::from(p.extension().is_some_and(|e| e == "parquet")) })
            .sum()
    }
    count(&table.location().local_path().unwrap())
}

#[tokio::test]
async fn rows_are_written_and_read_at_every_version() {
    let fixture = Fixture::new();
    let table = fixture.create("orders", "id long not null, day string, amount double", &["day"]).await;
    let options = WriteOptions { committer: Some("ann".into()), ..WriteOptions::default() };
    let wrote = table.write(rows(&[1, 2, 3], &["a", "b/c d", ""]), SaveMode::Append, &options).await.unwrap();
    assert_eq!(wrote.unwrap().version, 1);
    table.write(rows(&[4], &["a"]), SaveMode::Append, &options).await.unwrap();
    check(&table, &Scan::default(), &["|1|a||", "|2|b/cd||", "|3|||", "|4|a||"]).await;
    let scan = Scan { filter_sql: Some("day = 'a' AND id > 1".into()), ..Scan::default() };
    check(&table, &scan, &["|4|a||"]).await;
    // The protocol defines an empty partition value as null. delta-rs reads it as an empty text, and so it is found.
    for (filter, want) in [("day = ''", &["|3|||"][..]), ("day IS NULL", &[]), ("day < 'a'", &["|3|||"])] {
        check(&table, &Scan { filter_sql: Some(filter.into()), ..Scan::default() }, want).await;
    }
    let scan = Scan { at: At::Version(1), columns: Some(vec!["day".into(), "id".into()]), ..Scan::default() };
    check(&table, &scan, &["|a|1|", "|b/cd|2|", "||3|"]).await;
    let scan = Scan { limit: Some(2), ..Scan::default() };
    assert_eq!(table.read(&scan).await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    check_plain(&table).await;

    table.write(rows(&[9], &["z"]), SaveMode::Overwrite, &options).await.unwrap();
    check(&table, &Scan::default(), &["|9|z||"]).await;
    check(&table, &Scan { at: At::Version(0), ..Scan::default() }, &[]).await;
    table.write(Vec::new(), SaveMode::Overwrite, &options).await.unwrap();
    check(&table, &Scan::default(), &[]).await;
    check_plain(&table).await;

    let history = table.reader().await.unwrap().history(Default::default()).await.unwrap();
    assert_eq!(history.len(), 5);
    assert!(history.iter().take(4).all(|c| c.committer.as_deref() == Some("ann")), "{history:?}");
    assert_eq!((history[1].files_added, history[1].files_removed), (1, 4));
}

#[tokio::test]
async fn files_carry_statistics() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id long, day string", &[]).await;
    table.write(rows(&[5, 7], &["x", "y"]), SaveMode::Append, &WriteOptions::default()).await.unwrap();
    let files = table.reader().await.unwrap().files(1, None).await.unwrap();
    let files: Vec<_> = files.try_collect().await.unwrap();
    let stats: serde_json::Value = serde_json::from_str(files[0].stats.as_deref().unwrap()).unwrap();
    assert_eq!(stats["numRecords"], 2);
    assert_eq!((&stats["minValues"]["id"], &stats["maxValues"]["day"]), (&5.into(), &"y".into()));
    assert_eq!(stats["nullCount"]["id"], 0);
}

#[tokio::test]
async fn incompatible_rows_are_refused_before_a_file_is_written() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id integer not null, day date", &[]).await;
    let refuse = async |batches: Vec<RecordBatch>, want: &str| {
        let e = table.write(batches, SaveMode::Append, &WriteOptions::default()).await.unwrap_err();
        assert!(e.to_string().contains(want), "{e}");
        assert_eq!((e.kind(), data_files(&table)), (ErrorKind::Invalid, 0), "{e}");
    };
    refuse(rows(&[1], &["2024-01-01"]), "\"day\" is date in the table default.t and string in the data").await;
    let column = |values: Vec<Option<i32>>| -> ArrayRef { Arc::new(Int32Array::from(values)) };
    let batch =
        |name: &str, values: Vec<Option<i32>>| vec![RecordBatch::try_from_iter([(name, column(values))]).unwrap()];
    refuse(batch("nosuch", vec![Some(1)]), "the data has a column \"nosuch\"").await;
    let none = "column \"id\" of the table does not allow null, and row 2 of the data has one";
    refuse(batch("id", vec![Some(1), None]), none).await;
    refuse([batch("id", vec![Some(1)]), batch("id", vec![None])].concat(), none).await;
    let big: ArrayRef = Arc::new(Int64Array::from(vec![1 << 40]));
    refuse(vec![RecordBatch::try_from_iter([("id", big)]).unwrap()], "cannot hold").await;
    let e = table.write(rows(&[1], &["x"]), SaveMode::ErrorIfExists, &WriteOptions::default()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AlreadyExists);
    assert!(table.write(rows(&[1], &["x"]), SaveMode::Ignore, &WriteOptions::default()).await.unwrap().is_none());
    table.write(batch("id", vec![Some(1)]), SaveMode::Append, &WriteOptions::default()).await.unwrap();
    check(&table, &Scan::default(), &["|1||"]).await;
}

#[tokio::test]
async fn a_table_can_begin_with_rows() {
    let fixture = Fixture::new();
    let options = WriteOptions::default();
    let by = ["day".to_string()];
    let new = || fixture.new_table("t");
    let committed =
        create_with_data(fixture.catalog.as_ref(), new(), rows(&[1, 2], &["a", "b"]), &by, &HashMap::new(), &options)
            .await;
    assert_eq!(committed.unwrap().version, 0);
    let table = fixture.open("t").await;
    check(&table, &Scan::default(), &["|1|a|", "|2|b|"]).await;
    check_plain(&table).await;
    let again =
        create_with_data(fixture.catalog.as_ref(), new(), rows(&[1], &["a"]), &by, &HashMap::new(), &options).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
    let elsewhere = MemoryCatalog::new(Arc::new(SeededClock::new(0, 1)));
    let e = create_with_data(&elsewhere, new(), rows(&[1], &["a"]), &by, &HashMap::new(), &options).await.unwrap_err();
    assert!(e.to_string().contains("dl import"), "{e}");
}

#[tokio::test]
async fn writes_to_several_tables_are_one_commit() {
    let fixture = Fixture::new();
    let (a, b) =
        (fixture.create("a", "id long, day string", &[]).await, fixture.create("b", "id long, day string", &[]).await);
    let options = WriteOptions::default();
    let prepare =
        async |t: &DeltaTable, mode| t.prepare_write(rows(&[1], &["x"]), mode, &options).await.unwrap().unwrap();
    let (in_a, in_b) = (prepare(&a, SaveMode::Append).await, prepare(&b, SaveMode::Overwrite).await);
    check(&a, &Scan::default(), &[]).await;
    let committed = commit(fixture.catalog.as_ref(), vec![in_a, in_b], &WriteOptions::default()).await.unwrap();
    assert_eq!(committed.iter().map(|c| c.version).collect::<Vec<_>>(), [1, 1]);

    // An overwrite with a conflict also prevents the append, and both remove their files.
    let (in_a, in_b) = (prepare(&a, SaveMode::Append).await, prepare(&b, SaveMode::Overwrite).await);
    b.write(rows(&[2], &["y"]), SaveMode::Append, &options).await.unwrap();
    let e = commit(fixture.catalog.as_ref(), vec![in_a, in_b], &WriteOptions::default()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    check(&a, &Scan::default(), &["|1|x|"]).await;
    assert_eq!((data_files(&a), data_files(&b)), (1, 2));
}

#[tokio::test]
async fn a_failed_commit_keeps_files_that_are_committed() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id long, day string", &[]).await;
    // Two writes to one table at once are rejected, after their earlier outcome is looked up.
    for committed in 0..=2 {
        let mut writes = Vec::new();
        for _ in 0..2 {
            let write = table.prepare_write(rows(&[1], &["x"]), SaveMode::Append, &WriteOptions::default()).await;
            writes.push(write.unwrap().unwrap());
        }
        for write in &writes[..committed] {
            fixture.catalog.commit_all(vec![write.request().clone()]).await.unwrap().committed().unwrap();
        }
        let files = data_files(&table);
        let outcome = commit(fixture.catalog.as_ref(), writes, &WriteOptions::default()).await;
        assert_eq!(outcome.is_ok(), committed == 2, "{outcome:?}");
        assert_eq!(data_files(&table), if committed == 0 { files - 2 } else { files });
    }
}

#[tokio::test]
async fn an_append_conflicts_only_with_a_change_of_schema() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id long, day string", &[]).await;
    let options = WriteOptions::default();
    let pending = table.prepare_write(rows(&[1], &["x"]), SaveMode::Append, &options).await.unwrap().unwrap();
    table.write(rows(&[2], &["y"]), SaveMode::Overwrite, &options).await.unwrap();
    assert_eq!(commit(fixture.catalog.as_ref(), vec![pending], &WriteOptions::default()).await.unwrap()[0].version, 2);

    let pending = table.prepare_write(rows(&[3], &["z"]), SaveMode::Append, &options).await.unwrap().unwrap();
    let metadata = Action::Metadata(table.head().await.unwrap().metadata);
    let request = CommitRequest::new(fixture.id("t").await, Uuid::nil(), Base::Exactly(2), vec![metadata]);
    fixture.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    let e = commit(fixture.catalog.as_ref(), vec![pending], &WriteOptions::default()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    assert_eq!(data_files(&table), 2);
}

#[tokio::test]
async fn features_that_the_catalog_provides_do_not_prevent_writes() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id long, day string", &[]).await;
    let id = fixture.id("t").await;
    let metadata = table.head().await.unwrap().metadata;
    let upgrade = async |base: u64, features: &[&str], properties: &[(&str, &str)]| {
        let features: Vec<String> = features.iter().map(|f| f.to_string()).collect();
        let protocol = Protocol {
            min_reader_version: 1,
            min_writer_version: 7,
            reader_features: None,
            writer_features: Some(features),
            extra: Default::default(),
        };
        let mut metadata: Metadata = metadata.clone();
        metadata.configuration.extend(properties.iter().map(|(k, v)| (k.to_string(), Some(v.to_string()))));
        let actions = vec![Action::Protocol(protocol), Action::Metadata(metadata)];
        let request = CommitRequest::new(id, Uuid::from_u128(base.into()), Base::Exactly(base), actions);
        fixture.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    };
    upgrade(0, &["inCommitTimestamp", "domainMetadata", "appendOnly"], &[("delta.enableInCommitTimestamps", "true")])
        .await;
    let options = WriteOptions::default();
    table.write(rows(&[1], &["x"]), SaveMode::Append, &options).await.unwrap();
    check(&table, &Scan::default(), &["|1|x|"]).await;
    let body = table.reader().await.unwrap().commit_bytes(2).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&body).starts_with("{\"commitInfo\":{\"inCommitTimestamp\":"), "{body:?}");
}

#[tokio::test]
async fn a_plain_table_is_read_and_written_by_its_location() {
    let fixture = Fixture::new();
    let managed = fixture.create("t", "id long, day string", &["day"]).await;
    managed.write(rows(&[1, 2], &["a", "b"]), SaveMode::Append, &WriteOptions::default()).await.unwrap();
    check_plain(&managed).await;
    let path = managed.location().to_string();
    let by_path = DeltaTable::open(&path).await.unwrap();
    let e = by_path.write(rows(&[3], &["c"]), SaveMode::Append, &WriteOptions::default()).await.unwrap_err();
    assert!(e.to_string().contains("is managed by the catalog") && data_files(&managed) == 2, "{e}");
    // Another engine continues the log: no catalog manages the table any more.
    std::fs::write(managed.location().local_path().unwrap().join("_delta_log/00000000000000000002.json"), "").unwrap();
    let plain = DeltaTable::open(&path).await.unwrap();
    for mode in [SaveMode::Overwrite, SaveMode::Append] {
        plain.write(rows(&[3], &["c"]), mode, &WriteOptions::default()).await.unwrap();
    }
    check(&plain, &Scan::default(), &["|3|c|", "|3|c|"]).await;
    let e = DeltaTable::open(fixture.dir.path().to_str().unwrap()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
    let only_read = DeltaTable::open_with_reader(&path, managed.reader().await.unwrap()).await.unwrap();
    check(&only_read, &Scan::default(), &["|1|a|", "|2|b|"]).await;
    let e = only_read.write(rows(&[3], &["c"]), SaveMode::Append, &WriteOptions::default()).await.unwrap_err();
    assert!(e.to_string().contains("open it in its catalog"), "{e}");
}

#[tokio::test]
async fn a_table_opens_by_its_uri() {
    let fixture = Fixture::new();
    let uri = format!("deltasql://sqlite/{}", fixture.dir.path().join("meta.db").display());
    let catalog = connect(&uri).await.unwrap();
    let (new, options) = (fixture.new_table("sales.orders"), WriteOptions::default());
    create_with_data(catalog.as_ref(), new, rows(&[1], &["a"]), &[], &HashMap::new(), &options).await.unwrap();
    let table = DeltaTable::open(&format!("{uri}?table=sales.orders")).await.unwrap();
    table.write(rows(&[2], &["b"]), SaveMode::Append, &options).await.unwrap();
    let scan = Scan { filter_sql: Some("id >= 2".into()), ..Scan::default() };
    check(&table, &scan, &["|2|b|"]).await;
    check_plain(&table).await;
    let e = DeltaTable::open(&uri).await.unwrap_err();
    assert!(e.to_string().contains("names no table"), "{e}");
}

#[tokio::test]
async fn a_table_may_be_in_an_in_memory_store() {
    let fixture = Fixture::new();
    let location = Location::parse("memory:///some%20bucket/t").unwrap();
    let new = NewTable::new("t".parse().unwrap(), location);
    let (by, options) = (["day".to_string()], WriteOptions::default());
    let (catalog, properties) = (fixture.catalog.as_ref(), HashMap::new());
    create_with_data(catalog, new, rows(&[1], &["a b"]), &by, &properties, &options).await.unwrap();
    let table = fixture.open("t").await;
    table.write(rows(&[2], &["%"]), SaveMode::Append, &options).await.unwrap();
    check(&table, &Scan::default(), &["|1|ab|", "|2|%|"]).await;
}
