//! A program that writes its own data files, deletion vectors and commits, with nothing but the public API.

use std::collections::HashMap;
use std::fs::File;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    ListArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use deltalakedb_log::action::{Action, Add, Txn, Version};
use deltalakedb_log::commit::{Base, Committed, NewTable, Reads};
use deltalakedb_log::{At, Catalog, Clock, ErrorKind, Object, Snapshot, SystemClock, TableRef, TxnLogError};
use deltalakedb_table::{
    DataFiles, DeltaTable, MaskedFile, NewFiles, PreparedCommit, RoaringTreemap, SaveMode, Scan, SparedFiles,
    TableSpec, Transaction, TransactionOptions, Vacuum, WriteOptions, commit, parse_schema,
};
use deltalakedb_tests::{location, sqlite};
use futures::TryStreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use uuid::Uuid;

const OWNER: &str = "rows:/data";

fn as_owner() -> WriteOptions {
    WriteOptions { owner: Some(OWNER.parse().unwrap()), ..WriteOptions::default() }
}

async fn create(catalog: &dyn Catalog, dir: &Path, name: &str, owner: Option<&str>) {
    let owner = owner.map(|owner| owner.parse().unwrap());
    let new = NewTable { owner, ..NewTable::new(name.parse().unwrap(), location(&dir.join(name))) };
    let properties = [("delta.enableDeletionVectors", "true"), ("deltalakedb.rows.kind", "shared")];
    let properties: HashMap<_, _> = properties.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let spec = TableSpec { features: vec!["domainMetadata".into()], ..TableSpec::new(&[], &properties) };
    spec.create(catalog, new, &parse_schema("id long, body string").unwrap(), &WriteOptions::default()).await.unwrap();
}

async fn open(catalog: &Arc<dyn Catalog>, name: &str) -> DeltaTable {
    DeltaTable::open_in(catalog.clone(), &TableRef::Name(name.parse().unwrap())).await.unwrap()
}

fn rows(ids: std::ops::Range<i64>) -> Vec<RecordBatch> {
    let bodies: ArrayRef = Arc::new(StringArray::from_iter_values(ids.clone().map(|id| format!("row {id}"))));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    vec![RecordBatch::try_from_iter([("id", ids), ("body", bodies)]).unwrap()]
}

async fn ids(table: &DeltaTable) -> Vec<i64> {
    let scan = Scan { columns: Some(vec!["id".into()]), ..Scan::default() };
    let batches = table.read(&scan).await.unwrap();
    let mut ids: Vec<_> =
        batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    ids.sort_unstable();
    ids
}

async fn snapshot(table: &DeltaTable) -> Snapshot {
    table.reader().await.unwrap().snapshot(At::Latest).await.unwrap()
}

async fn live(table: &DeltaTable) -> Vec<Add> {
    let reader = table.reader().await.unwrap();
    let version = reader.head().await.unwrap().version;
    reader.files(version, None).await.unwrap().try_collect().await.unwrap()
}

fn parquet_files(table: &DeltaTable) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(table.location().local_path().unwrap()).unwrap();
    let mut files: Vec<_> = entries
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "parquet" || e == "bin"))
        .collect();
    files.sort();
    files
}

fn progress(version: i64) -> Action {
    Action::Txn(Txn { app_id: "engine".into(), version, last_updated: None, extra: Object::default() })
}

/// A commit of a flush: these actions, and the progress of the engine.
fn flush(id: Uuid, base: Version, actions: Vec<Action>, files: NewFiles, began_at_ms: i64) -> PreparedCommit {
    let mut parameters = Object::default();
    parameters.set("cut", base.to_string());
    PreparedCommit {
        id,
        base: Base::Exactly(base),
        reads: Reads::default(),
        isolation: None,
        operation: "FLUSH".into(),
        parameters,
        actions: actions.into_iter().chain([progress(base as i64)]).collect(),
        files,
        began_at_ms,
    }
}

/// The commit of new rows, on top of the newest version.
async fn of_rows(table: &DeltaTable, id: Uuid, ids: std::ops::Range<i64>) -> PreparedCommit {
    let written = table.write_data_files(rows(ids), &as_owner()).await.unwrap();
    of_files(snapshot(table).await.version(), id, written)
}

fn of_files(base: Version, id: Uuid, written: DataFiles) -> PreparedCommit {
    let DataFiles { adds, files, began_at_ms, .. } = written;
    flush(id, base, adds.into_iter().map(Action::add).collect(), files, began_at_ms)
}

async fn send(
    catalog: &Arc<dyn Catalog>,
    commits: Vec<(&DeltaTable, PreparedCommit)>,
) -> Result<Vec<Committed>, TxnLogError> {
    let mut pending = Vec::new();
    for (table, prepared) in commits {
        pending.push(table.prepare_commit(prepared, &as_owner()).await?);
    }
    commit(catalog.as_ref(), pending, &as_owner()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_commits_files_and_vectors_of_several_tables_at_once_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    for name in ["notes", "rates"] {
        create(catalog.as_ref(), dir.path(), name, Some(OWNER)).await;
    }
    let (notes, rates) = (open(&catalog, "notes").await, open(&catalog, "rates").await);
    let head = notes.head().await.unwrap();
    assert!(head.protocol.writer_features.unwrap().contains(&"domainMetadata".to_string()));
    assert_eq!(head.metadata.property("deltalakedb.rows.kind"), Some("shared"));

    let first = of_rows(&notes, Uuid::new_v4(), 0..100).await;
    assert_eq!(ids(&notes).await, Vec::<i64>::new(), "no commit names the files yet");
    send(&catalog, vec![(&notes, first)]).await.unwrap();
    assert_eq!(ids(&notes).await, (0..100).collect::<Vec<_>>());

    // Two rows of the old file are replaced, and the other table gets rows, in one commit.
    let mut masks = notes.load_masks(live(&notes).await).await.unwrap();
    assert!(masks[0].hidden.is_empty());
    masks[0].hidden.extend([7, 8]);
    let written = notes.write_masks(masks, &as_owner()).await.unwrap();
    let mut changed = of_rows(&notes, Uuid::new_v4(), 100..102).await;
    changed.files.extend(&written.files);
    changed.actions.extend(written.actions);
    changed.began_at_ms = changed.began_at_ms.min(written.began_at_ms);
    let others = of_rows(&rates, Uuid::new_v4(), 0..3).await;
    let both = || vec![(&notes, changed.clone()), (&rates, others.clone())];
    let done = send(&catalog, both()).await.unwrap();
    assert_eq!(done.iter().map(|c| c.version).collect::<Vec<_>>(), [2, 1]);
    let files = parquet_files(&notes);
    // Sent again, as after a lost answer or a restart, it is the same commit.
    assert_eq!(send(&catalog, both()).await.unwrap(), done);
    assert_eq!(parquet_files(&notes), files);
    assert_eq!(ids(&notes).await, (0..102).filter(|id| ![7, 8].contains(id)).collect::<Vec<_>>());
    assert_eq!(ids(&rates).await, [0, 1, 2]);
    let now = snapshot(&notes).await;
    assert_eq!(now.txns["engine"].version, 1);
    let history = notes.reader().await.unwrap().history(Default::default()).await.unwrap();
    assert_eq!(history[0].operation.as_deref(), Some("FLUSH"));

    // The positions are read back, and a file of which no row is left is removed.
    let hidden = notes.load_masks(live(&notes).await).await.unwrap();
    let mut positions: Vec<Vec<u64>> = hidden.iter().map(|file| file.hidden.iter().collect()).collect();
    positions.sort();
    assert_eq!(positions, [vec![], vec![7, 8]]);
    let old = hidden.into_iter().find(|file| !file.hidden.is_empty()).unwrap();
    let of_old = stats(&old.add);
    assert_eq!((&of_old["numRecords"], &of_old["tightBounds"]), (&json!(100), &json!(false)));
    let all = MaskedFile { hidden: (0..100).collect(), add: old.add.clone() };
    let gone = notes.write_masks(vec![all], &as_owner()).await.unwrap();
    assert_eq!((gone.actions.len(), gone.files.paths().len()), (1, 0));
    for (hidden, says) in [
        (RoaringTreemap::new(), "has no row to be hidden"),
        ((99..101).collect(), "has 100 rows, and a deletion vector would hide the row at position 100"),
        ([9].into_iter().collect(), "has 2 hidden rows, of which some would be visible again"),
    ] {
        let wrong = MaskedFile { hidden, add: old.add.clone() };
        let error = notes.write_masks(vec![wrong], &as_owner()).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    // The file has other rows than the log says.
    let more = old.add.stats.as_ref().unwrap().replace("\"numRecords\":100", "\"numRecords\":101");
    let misread = Add { stats: Some(more), ..old.add.clone() };
    let error = notes.write_masks(vec![MaskedFile { hidden: (0..50).collect(), add: misread }], &as_owner()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("it has 100 rows, and 101 in the log"), "{error}");
    let removed = flush(Uuid::new_v4(), 2, gone.actions, gone.files, gone.began_at_ms);
    send(&catalog, vec![(&notes, removed)]).await.unwrap();
    assert_eq!(ids(&notes).await, [100, 101]);

    // What conflicts is not committed for any table, and its files are removed.
    let (files, before) = (parquet_files(&notes), parquet_files(&rates));
    let late = PreparedCommit { base: Base::Exactly(2), ..of_rows(&notes, Uuid::new_v4(), 200..201).await };
    let other = of_rows(&rates, Uuid::new_v4(), 3..4).await;
    let error = send(&catalog, vec![(&notes, late), (&rates, other)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!((parquet_files(&notes), parquet_files(&rates)), (files, before));
    assert_eq!(ids(&rates).await, [0, 1, 2]);

    // Only the owner writes, and an error leaves the files to the caller.
    let written = of_rows(&notes, Uuid::new_v4(), 300..301).await;
    let files = parquet_files(&notes);
    for (prepared, options, says) in [
        (written.clone(), WriteOptions::default(), "is owned by the row engine of /data"),
        (
            PreparedCommit { actions: vec![Action::parse_line(r#"{"commitInfo":{}}"#).unwrap().remove(0)], ..written },
            as_owner(),
            "has a commitInfo",
        ),
    ] {
        let error = notes.prepare_commit(prepared, &options).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(parquet_files(&notes), files);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_commits_prepared_writes_of_other_owners() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    create(catalog.as_ref(), dir.path(), "notes", Some(OWNER)).await;
    create(catalog.as_ref(), dir.path(), "orders", None).await;
    let (notes, orders) = (open(&catalog, "notes").await, open(&catalog, "orders").await);
    let begin = async || Transaction::begin(catalog.clone(), TransactionOptions::default()).await.unwrap();
    let prepared = async |ids: std::ops::Range<i64>| {
        notes.prepare_commit(of_rows(&notes, Uuid::new_v4(), ids).await, &as_owner()).await.unwrap()
    };

    let tx = begin().await;
    tx.write("orders", rows(0..2), SaveMode::Append).await.unwrap();
    tx.add(prepared(0..3).await).await.unwrap();
    assert_eq!(tx.read("notes", &Scan::default()).await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    assert_eq!(ids(&notes).await, Vec::<i64>::new());
    let done = tx.commit().await.unwrap();
    assert_eq!((done.len(), done[0].timestamp == done[1].timestamp), (2, true));
    assert_eq!((ids(&notes).await, ids(&orders).await), (vec![0, 1, 2], vec![0, 1]));
    assert_eq!(snapshot(&notes).await.txns["engine"].version, 0);

    // A table that the write creates.
    let new = NewTable::new("made".parse().unwrap(), location(&dir.path().join("made")));
    let made = TableSpec::default().prepare(catalog.as_ref(), new, rows(0..1), &WriteOptions::default()).await.unwrap();
    let tx = begin().await;
    tx.add(made).await.unwrap();
    tx.write("made", rows(1..2), SaveMode::Append).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ids(&open(&catalog, "made").await).await, [0, 1]);

    // The files of a write that is not committed are removed.
    let files = parquet_files(&notes);
    let tx = begin().await;
    tx.add(prepared(3..4).await).await.unwrap();
    let error = tx.write("notes", rows(9..10), SaveMode::Append).await.unwrap_err().to_string();
    assert!(error.contains("is owned by the row engine"), "{error}");
    let error = tx.add(prepared(4..5).await).await.unwrap_err().to_string();
    assert!(error.contains("the transaction has changed default.notes already"), "{error}");
    tx.rollback().await;
    assert_eq!(parquet_files(&notes), files);

    let tx = begin().await;
    let late = prepared(5..6).await;
    send(&catalog, vec![(&notes, of_rows(&notes, Uuid::new_v4(), 6..7).await)]).await.unwrap();
    let files = parquet_files(&notes).len() - 1;
    let later = prepared(7..8).await;
    tx.add(late).await.unwrap();
    assert_eq!(TxnLogError::from(tx.commit().await.unwrap_err()).kind(), ErrorKind::Conflict);
    send(&catalog, vec![(&notes, of_rows(&notes, Uuid::new_v4(), 8..9).await)]).await.unwrap();
    let tx = begin().await;
    let error = tx.add(later).await.unwrap_err();
    assert!(
        error.to_string().contains("was prepared at version 2, and the transaction reads another version"),
        "{error}"
    );
    assert_eq!(TxnLogError::from(error).kind(), ErrorKind::Conflict);
    assert_eq!(parquet_files(&notes).len(), files + 1);

    // Vacuum may remove the files of a write that is a day old.
    let old = SystemClock.now_ms() - 23 * 3_600_000 - 1_800_000;
    let old = PreparedCommit { began_at_ms: old, ..of_rows(&notes, Uuid::new_v4(), 10..11).await };
    let old = notes.prepare_commit(old, &as_owner()).await.unwrap();
    let error = begin().await.add(old).await.unwrap_err().to_string();
    assert!(error.contains("too old for a transaction with a timeout of 3600 s"), "{error}");
}

fn stats(add: &Add) -> Value {
    serde_json::from_str(add.stats.as_deref().unwrap()).unwrap()
}

/// The rows of a data file, in order.
fn rows_in(table: &DeltaTable, add: &Add) -> RecordBatch {
    let file = File::open(table.location().local_path().unwrap().join(&add.path)).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(1 << 20).build().unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn data_files_have_statistics_as_the_protocol_says() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let fields = [
        ("text", json!("string")),
        ("x", json!("double")),
        ("inf", json!("double")),
        ("nan", json!("double")),
        ("long", json!("decimal(38,4)")),
        ("short", json!("decimal(9,2)")),
        ("at", json!("timestamp")),
        ("day", json!("date")),
        ("flag", json!("boolean")),
        ("bytes", json!("binary")),
        ("none", json!("string")),
        (
            "in",
            json!({"type": "struct", "fields": [
                {"name": "n", "type": "integer", "nullable": true, "metadata": {}},
                {"name": "s", "type": "string", "nullable": true, "metadata": {}},
            ]}),
        ),
        ("list", json!({"type": "array", "elementType": "integer", "containsNull": true})),
    ];
    let fields = fields.map(|(name, kind)| json!({"name": name, "type": kind, "nullable": true, "metadata": {}}));
    let schema = json!({"type": "struct", "fields": fields});
    let new = NewTable::new("t".parse().unwrap(), location(&dir.path().join("t")));
    let schema = parse_schema(&schema.to_string()).unwrap();
    TableSpec::default().create(catalog.as_ref(), new, &schema, &WriteOptions::default()).await.unwrap();
    let table = open(&catalog, "t").await;
    let shape = schema.to_arrow().unwrap();
    let of = |name: &str| shape.field_with_name(name).unwrap().data_type().clone();
    let DataType::Struct(within) = of("in") else { panic!("{shape}") };
    let long_text = "\u{e4}".repeat(50);
    let last_text = "\u{10ffff}".repeat(40);
    let (micros, units) = (1_700_000_000_123_456_i64, 12_345_678_901_234_567_890_123_i128);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some(long_text.as_str()), None, Some(last_text.as_str())])),
        Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(-0.0), Some(2.5)])),
        Arc::new(Float64Array::from(vec![f64::NEG_INFINITY, 0.0, f64::INFINITY])),
        Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(f64::NAN), None])),
        Arc::new(Decimal128Array::from(vec![units, -units, 0]).with_precision_and_scale(38, 4).unwrap()),
        Arc::new(Decimal128Array::from(vec![150, -1, 0]).with_precision_and_scale(9, 2).unwrap()),
        Arc::new(TimestampMicrosecondArray::from(vec![micros, micros + 1, micros + 2]).with_timezone("UTC")),
        Arc::new(Date32Array::from(vec![Some(-1), Some(19_756), None])),
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        Arc::new(BinaryArray::from(vec![Some(&b"a"[..]), None, None])),
        Arc::new(StringArray::from(vec![None::<&str>; 3])),
        Arc::new(StructArray::new(
            within,
            vec![
                Arc::new(Int32Array::from(vec![Some(3), None, Some(-4)])),
                Arc::new(StringArray::from(vec![Some("b"), Some("a"), None])),
            ],
            None,
        )),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)]), None, Some(vec![])])),
    ];
    let columns = shape.fields().iter().zip(columns).map(|(f, c)| cast(&c, f.data_type()).unwrap());
    let columns: Vec<_> = columns.collect();
    let batch = RecordBatch::try_new(shape, columns).unwrap();
    let written = table.write_data_files(vec![batch], &WriteOptions::default()).await.unwrap();
    let [add] = &written.adds[..] else { panic!("{:?}", written.adds) };
    let stats = stats(add);
    let upper = stats["maxValues"]["text"].as_str().unwrap().to_string();
    assert!(upper.as_str() >= last_text.as_str(), "{upper:?}");
    let lower = stats["minValues"]["text"].as_str().unwrap().to_string();
    assert!(lower.len() <= 64 && long_text.starts_with(&lower), "{lower:?}");
    let check = |column: &str, min: Value, max: Value, nulls: Value| {
        let found = [&stats["minValues"][column], &stats["maxValues"][column], &stats["nullCount"][column]];
        assert_eq!(found, [&min, &max, &nulls], "{column}: {stats}");
    };
    assert_eq!((&stats["numRecords"], stats.get("tightBounds")), (&json!(3), None));
    check("x", json!(-0.0), json!(2.5), json!(0));
    check("inf", Value::Null, Value::Null, json!(0));
    check("nan", Value::Null, Value::Null, json!(1));
    check("at", json!("2023-11-14T22:13:20.123Z"), json!("2023-11-14T22:13:20.123Z"), json!(0));
    check("short", json!(-0.01), json!(1.5), json!(0));
    check("day", json!("1969-12-31"), json!("2024-02-03"), json!(1));
    check("flag", json!(false), json!(true), json!(1));
    check("bytes", Value::Null, Value::Null, Value::Null);
    check("none", Value::Null, Value::Null, json!(3));
    check("in", json!({"n": -4, "s": "a"}), json!({"n": 3, "s": "b"}), json!({"n": 1, "s": 1}));
    check("list", Value::Null, Value::Null, Value::Null);
    let raw = add.stats.as_deref().unwrap();
    for bound in ["-1234567890123456789.0123", "1234567890123456789.0123"] {
        assert!(raw.contains(&format!("\"long\":{bound}")), "{raw}");
    }

    // Every condition that is true of a row finds the file.
    let committed = of_files(0, Uuid::new_v4(), written);
    let pending = table.prepare_commit(committed, &WriteOptions::default()).await.unwrap();
    commit(catalog.as_ref(), vec![pending], &WriteOptions::default()).await.unwrap();
    for (filter, count) in [
        (format!("\"text\" >= '{last_text}'"), 1),
        ("\"x\" > 2.5".into(), 1),
        ("\"inf\" > 1e308".into(), 1),
        ("\"nan\" > 5".into(), 2),
        ("\"long\" = 1234567890123456789.0123".into(), 1),
        ("\"at\" > '2023-11-14T22:13:20.123457Z'".into(), 1),
        ("\"none\" IS NULL".into(), 3),
    ] {
        let scan = Scan { filter_sql: Some(filter.clone()), ..Scan::default() };
        let found = table.read(&scan).await.unwrap();
        assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), count, "{filter}");
    }

    // A day that delta-rs cannot express is an error, and no file is left.
    let before = parquet_files(&table);
    let days: ArrayRef = Arc::new(Date32Array::from(vec![i32::MAX]));
    let day = RecordBatch::try_from_iter([("day", days)]).unwrap();
    let error = table.write_data_files(vec![day], &WriteOptions::default()).await.unwrap_err().to_string();
    assert!(error.starts_with("the rows cannot be written"), "{error}");
    assert_eq!(parquet_files(&table), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_files_keep_the_order_of_rows_and_have_the_metadata_of_the_caller() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    create(catalog.as_ref(), dir.path(), "t", None).await;
    let table = open(&catalog, "t").await;
    let shuffled: Vec<i64> = (0..50_000).map(|n| n * 7_919 % 50_000).collect();
    let batch = |ids: &[i64]| {
        let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
        RecordBatch::try_from_iter([("id", ids)]).unwrap()
    };
    let batches: Vec<_> = shuffled.chunks(1_000).map(batch).collect();
    let encoding = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(vec![KeyValue::new("engine.batch".into(), "7".to_string())]))
        .set_max_row_group_row_count(Some(5_000))
        .build();
    let options = WriteOptions {
        parquet: Some(encoding),
        target_file_size: NonZeroU64::new(64 * 1024),
        ..WriteOptions::default()
    };
    let written = table.write_data_files(batches, &options).await.unwrap();
    assert!(written.adds.len() > 1, "{}", written.adds.len());
    let of_file = |add: &Add| rows_in(&table, add).column(0).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(written.adds.iter().flat_map(of_file).collect::<Vec<_>>(), shuffled);
    for add in &written.adds {
        let file = File::open(table.location().local_path().unwrap().join(&add.path)).unwrap();
        assert_eq!(file.metadata().unwrap().len(), add.size as u64);
        let footer = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().metadata().clone();
        let metadata = footer.file_metadata().key_value_metadata().unwrap();
        assert!(metadata.iter().any(|e| e.key == "engine.batch" && e.value.as_deref() == Some("7")), "{metadata:?}");
        assert_eq!(footer.row_groups()[0].num_rows(), 5_000.min(footer.file_metadata().num_rows()));
    }
    let mut paths: Vec<_> = written.adds.iter().map(|add| add.path.clone()).collect();
    paths.sort();
    let mut files: Vec<_> = written.files.paths().iter().map(ToString::to_string).collect();
    files.sort();
    assert_eq!(paths, files);
    written.files.remove().await;
    assert_eq!(parquet_files(&table), Vec::<PathBuf>::new());
}

/// Constraints are checked and generated columns computed, as in every write.
#[tokio::test(flavor = "multi_thread")]
async fn data_files_satisfy_the_rules_of_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let options = WriteOptions::default();
    create(catalog.as_ref(), dir.path(), "t", None).await;
    let table = open(&catalog, "t").await;
    table.constrain("few", "id < 100", &options).await.unwrap();
    let written = table.write_data_files(rows(98..100), &options).await.unwrap();
    assert_eq!(stats(&written.adds[0])["maxValues"]["id"], json!(99));
    let before = parquet_files(&table);
    table.write_data_files(rows(99..101), &options).await.unwrap_err();
    assert_eq!(parquet_files(&table), before);
    let prepared = of_files(snapshot(&table).await.version(), Uuid::new_v4(), written);
    let pending = table.prepare_commit(prepared, &options).await.unwrap();
    commit(catalog.as_ref(), vec![pending], &options).await.unwrap();
    assert_eq!(ids(&table).await, [98, 99]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_spares_what_the_caller_names() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    create(catalog.as_ref(), dir.path(), "notes", Some(OWNER)).await;
    let notes = open(&catalog, "notes").await;
    send(&catalog, vec![(&notes, of_rows(&notes, Uuid::new_v4(), 0..3).await)]).await.unwrap();
    let waiting = of_rows(&notes, Uuid::new_v4(), 3..6).await;
    let root = notes.location().local_path().unwrap();
    std::fs::create_dir(root.join("user")).unwrap();
    let names = ["manifest.json", "user/manifest.json", "orphan.parquet"];
    for name in names {
        std::fs::write(root.join(name), "{}").unwrap();
    }
    let old = std::time::SystemTime::now() - Duration::from_secs(30 * 24 * 3_600);
    let flushed = waiting.files.paths().iter().map(ToString::to_string);
    for name in flushed.chain(names.map(String::from)) {
        File::options().append(true).open(root.join(name)).unwrap().set_modified(old).unwrap();
    }
    let intents: Vec<_> = waiting.files.paths().iter().map(ToString::to_string).collect();
    let spare = SparedFiles::by(move |path| {
        intents.iter().any(|file| file == path) || path.rsplit('/').next() == Some("manifest.json")
    });
    let gone = notes.vacuum(&Vacuum { spare, ..Vacuum::default() }, &as_owner()).await.unwrap();
    assert_eq!(gone.files, ["orphan.parquet"]);
    let version = snapshot(&notes).await.version();
    send(&catalog, vec![(&notes, PreparedCommit { base: Base::Exactly(version), ..waiting })]).await.unwrap();
    assert_eq!(ids(&notes).await, [0, 1, 2, 3, 4, 5]);
    let gone = notes.vacuum(&Vacuum::default(), &as_owner()).await.unwrap();
    assert_eq!(gone.files, ["manifest.json", "user/manifest.json"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_created_with_features_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let options = WriteOptions::default();
    let new = |name: &str| NewTable::new(name.parse().unwrap(), location(&dir.path().join(name)));
    let with = |features: &[&str]| TableSpec {
        features: features.iter().map(ToString::to_string).collect(),
        properties: HashMap::from([("deltalakedb.planning.columns".into(), "body".into())]),
        ..TableSpec::default()
    };
    let error = with(&["rowTracking"]).prepare(catalog.as_ref(), new("t"), rows(0..1), &options).await.unwrap_err();
    assert!(error.to_string().contains("\"rowTracking\" is not supported for writing"), "{error}");
    assert!(!dir.path().join("t").exists(), "nothing was written");
    let made = with(&["inCommitTimestamp", "deletionVectors"]);
    let made = made.prepare(catalog.as_ref(), new("t"), rows(0..1), &options).await.unwrap();
    commit(catalog.as_ref(), vec![made], &options).await.unwrap();
    let head = open(&catalog, "t").await.head().await.unwrap();
    assert_eq!((head.protocol.min_reader_version, head.protocol.min_writer_version), (3, 7));
    assert_eq!(head.protocol.reader_features.unwrap(), ["deletionVectors"]);
    let writers = ["appendOnly", "invariants", "inCommitTimestamp", "deletionVectors"];
    assert_eq!(head.protocol.writer_features.unwrap(), writers);
    assert_eq!(head.metadata.property("deltalakedb.planning.columns"), Some("body"));
}
