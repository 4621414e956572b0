//! Small logs made by hand, in memory: every shape, every error.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, UNIX_EPOCH};

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use async_trait::async_trait;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMode, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};
use parquet::arrow::ArrowWriter;
use uuid::Uuid;

use super::*;
use crate::action::{Action, Add, Remove};
use crate::commit::{Base, COMMIT_INFO_KEY, CommitRequest, ConflictKind, NewTable, Outcome, Reads};
use crate::history::{HistoryItem, TimeSource};
use crate::ids::{Clock, CommitId, SeededClock, TableId};
use crate::lifecycle::DETACH;
use crate::predicate::{Comparison, Literal, Predicate};
use crate::reader::{HistoryRange, TxnLogReader, TxnLogWriter};
use crate::snapshot::At;
use crate::verbatim::VerbatimCommit;

const PROTOCOL: &str = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#;
const METADATA: &str = r#"{"metaData":{"id":"m","format":{"provider":"parquet","options":{}},"schemaString":"{\"type\":\"struct\",\"fields\":[{\"name\":\"id\",\"type\":\"long\",\"nullable\":true,\"metadata\":{}},{\"name\":\"p\",\"type\":\"string\",\"nullable\":true,\"metadata\":{}}]}","partitionColumns":["p"],"configuration":{}}}"#;
const ID: &str = "3a0d65cd-4056-49b8-937b-95f9e3ee90e5";

fn add(path: &str) -> String {
    let n = path.len();
    format!(
        r#"{{"add":{{"path":"{path}","partitionValues":{{"p":null}},"size":{n},"modificationTime":1,"dataChange":true,"stats":"{{\"numRecords\":{n},\"minValues\":{{\"id\":{n}}},\"maxValues\":{{\"id\":{n}}}}}"}}}}"#
    )
}

fn remove(path: &str) -> String {
    format!(r#"{{"remove":{{"path":"{path}","deletionTimestamp":1,"dataChange":true}}}}"#)
}

/// A table in memory.
#[derive(Clone, Default)]
struct Fixture(Arc<InMemory>);

impl Fixture {
    fn location() -> Location {
        Location::parse("memory:///shop/orders").unwrap()
    }

    /// Versions 0 to 5: a file each, the one of version 1 removed in 4, and an application's progress.
    async fn six() -> Self {
        let log = Self::default();
        log.commit(0, &[PROTOCOL, METADATA, &add("f")]).await;
        log.commit(1, &[&add("ff"), r#"{"txn":{"appId":"a","version":7}}"#]).await;
        log.commit(2, &[&add("fff")]).await;
        log.commit(3, &[&add("ffff")]).await;
        log.commit(4, &[&remove("ff"), r#"{"txn":{"appId":"a","version":8}}"#]).await;
        log.commit(5, &[&add("fffff")]).await;
        log
    }

    async fn put(&self, name: &str, bytes: impl Into<PutPayload>) {
        self.0.put(&Path::from(format!("{LOG}/{name}")), bytes.into()).await.unwrap();
    }

    async fn commit(&self, version: Version, lines: &[&str]) {
        self.put(&format!("{version:020}.json"), lines.join("\n") + "\n").await;
        // Each file gets a different modification time.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    async fn drop(&self, versions: impl IntoIterator<Item = Version>) {
        for version in versions {
            self.0.delete(&commit_path(version)).await.unwrap();
        }
    }

    /// The state at version 3 of [`Self::six`] as lines: none of its files was ever removed.
    fn state_3() -> Vec<String> {
        let txn = r#"{"txn":{"appId":"a","version":7}}"#;
        [PROTOCOL, METADATA, txn].map(String::from).into_iter().chain(["f", "ff", "fff", "ffff"].map(add)).collect()
    }

    async fn open(&self) -> Result<FileTxnLogReader> {
        FileTxnLogReader::with_store(Self::location(), self.0.clone()).await
    }

    async fn fails(&self, kind: ErrorKind, words: &[&str]) {
        let error = self.open().await.unwrap_err();
        check_error(error, kind, words);
    }
}

fn check_error(error: TxnLogError, kind: ErrorKind, words: &[&str]) {
    let message = error.to_string();
    assert_eq!(error.kind(), kind, "{message}");
    assert!(words.iter().all(|word| message.contains(word)), "{message} should say {words:?}");
    assert!(!message.contains('\n'), "{message}");
}

/// A checkpoint file with these lines. Some columns have no values, as in checkpoints by other engines.
fn parquet_of(lines: &[String]) -> Vec<u8> {
    let field = |name: &str, t: DataType| Field::new(name, t, true);
    let (text, long, flag) = (DataType::Utf8, DataType::Int64, DataType::Boolean);
    let of = |fields: Vec<Field>| DataType::Struct(Fields::from(fields));
    let entry = of(vec![Field::new("key", text.clone(), false), field("value", text.clone())]);
    let map = DataType::Map(Arc::new(Field::new("key_value", entry, false)), false);
    let list = DataType::List(Arc::new(field("element", text.clone())));
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    let bounds = of(vec![field("id", long.clone()), field("p", text.clone()), field("t", time)]);
    let parsed =
        vec![field("numRecords", long.clone()), field("minValues", bounds.clone()), field("maxValues", bounds.clone())];
    let protocol = vec![
        field("minReaderVersion", DataType::Int32),
        field("minWriterVersion", DataType::Int32),
        field("readerFeatures", list.clone()),
    ];
    let format = of(vec![field("provider", text.clone()), field("options", map.clone())]);
    let metadata = vec![
        field("id", text.clone()),
        field("name", text.clone()),
        field("format", format),
        field("schemaString", text.clone()),
        field("partitionColumns", list),
        field("configuration", map.clone()),
    ];
    let mut file = vec![
        field("path", text.clone()),
        field("partitionValues", map.clone()),
        field("size", long.clone()),
        field("modificationTime", long.clone()),
        field("dataChange", flag.clone()),
        field("tags", map),
        field("future", text.clone()),
        field("partitionValues_parsed", of(vec![field("p", text.clone())])),
        field("stats_parsed", of(parsed)),
    ];
    if lines.iter().any(|line| line.contains(r#""stats":"#)) {
        file.push(field("stats", text.clone()));
    }
    let txn = vec![field("appId", text.clone()), field("version", long.clone())];
    let sidecar = vec![field("path", text.clone()), field("sizeInBytes", long.clone())];
    let removed = vec![field("path", text), field("deletionTimestamp", long.clone()), field("dataChange", flag)];
    let schema = Arc::new(Schema::new(vec![
        field("protocol", of(protocol)),
        field("metaData", of(metadata)),
        field("txn", of(txn)),
        field("add", of(file)),
        field("remove", of(removed)),
        field("sidecar", of(sidecar)),
        field("checkpointMetadata", of(vec![field("version", long)])),
    ]));
    let mut rows = arrow::json::ReaderBuilder::new(schema.clone()).build_decoder().unwrap();
    rows.decode(lines.join("\n").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).unwrap();
    writer.write(&rows.flush().unwrap().unwrap()).unwrap();
    writer.close().unwrap();
    bytes
}

async fn paths(log: &FileTxnLogReader, version: Version) -> BTreeSet<String> {
    log.files(version, None).await.unwrap().map_ok(|add| add.path).try_collect().await.unwrap()
}

fn set(paths: &[&str]) -> BTreeSet<String> {
    paths.iter().map(|p| p.to_string()).collect()
}

/// Checks that versions 3 to 5 are the same as in the complete log, however version 3 is stored.
async fn check_same(log: &Fixture, what: &str) {
    let whole = Fixture::six().await.open().await.unwrap();
    let log = log.open().await.unwrap_or_else(|e| panic!("{what}: {e}"));
    for version in 3..=5 {
        let (mut want, mut got) =
            (whole.snapshot(At::Version(version)).await.unwrap(), log.snapshot(At::Version(version)).await.unwrap());
        (want.head.timestamp, got.head.timestamp) = (0, 0);
        assert_eq!(got, want, "{what}, version {version}");
        let mut files = Vec::new();
        for log in [&log, &whole] {
            let mut some: Vec<_> = log.files(version, None).await.unwrap().try_collect().await.unwrap();
            some.sort_by(|a, b| a.path.cmp(&b.path));
            files.push(some);
        }
        assert_eq!(files[0], files[1], "{what}, version {version}");
    }
}

#[tokio::test]
async fn every_version_is_replayed_from_commits_alone() {
    let log = Fixture::six().await.open().await.unwrap();
    assert_eq!(log.versions(), (0, 5));
    assert_eq!(paths(&log, 0).await, set(&["f"]));
    assert_eq!(paths(&log, 3).await, set(&["f", "ff", "fff", "ffff"]));
    assert_eq!(paths(&log, 5).await, set(&["f", "fff", "ffff", "fffff"]));
    assert_eq!(log.snapshot(At::Version(3)).await.unwrap().txns["a"].version, 7);
    assert_eq!(log.snapshot(At::Latest).await.unwrap().txns["a"].version, 8);
    assert_eq!(log.head().await.unwrap().version, 5);
    let five = Predicate::Compare("id".into(), Comparison::Eq, Literal::Long(5));
    let matching: Vec<_> = log.files(5, Some(&five)).await.unwrap().map_ok(|a| a.path).try_collect().await.unwrap();
    assert_eq!(matching, ["fffff"]);
}

#[tokio::test]
async fn every_form_of_checkpoint_gives_the_same_snapshot() {
    let state = Fixture::state_3();
    let (few, files) = state.split_at(3);
    let v2 = r#"{"checkpointMetadata":{"version":3}}"#.to_string();
    let sidecars = |prefix: &str| {
        ["one", "two%20b"].map(|name| format!(r#"{{"sidecar":{{"path":"{prefix}{name}.parquet","sizeInBytes":1}}}}"#))
    };
    let with = |more: &[String]| [few, std::slice::from_ref(&v2), more].concat();
    let json = |lines: Vec<String>| lines.join("\n").into_bytes();
    let name = |end: &str| format!("{:020}.checkpoint.{end}", 3);
    let v2_json = name(&format!("{ID}.json"));
    let shapes = [
        ("V1", vec![(name("parquet"), parquet_of(&state))]),
        (
            "V1 in parts",
            vec![
                (name("0000000001.0000000002.parquet"), parquet_of(&state[..4])),
                (name("0000000002.0000000002.parquet"), parquet_of(&state[4..])),
            ],
        ),
        ("V2 as JSON", vec![(v2_json.clone(), json(with(files)))]),
        ("V2 as JSON with sidecars", vec![(v2_json.clone(), json(with(&sidecars(""))))]),
        ("V2 with absolute sidecars", vec![(v2_json, json(with(&sidecars("s3://old/t/_delta_log/_sidecars/"))))]),
        ("V2 as Parquet", vec![(name(&format!("{ID}.parquet")), parquet_of(&with(files)))]),
        ("V2 as Parquet with sidecars", vec![(name(&format!("{ID}.parquet")), parquet_of(&with(&sidecars(""))))]),
        ("V2 under a V1 name", vec![(name("parquet"), parquet_of(&with(&sidecars(""))))]),
    ];
    for (what, checkpoint) in shapes {
        let log = Fixture::six().await;
        log.drop(0..=3).await;
        log.put("_sidecars/one.parquet", parquet_of(&files[..1])).await;
        log.put("_sidecars/two b.parquet", parquet_of(&files[1..])).await;
        for (name, bytes) in checkpoint {
            log.put(&name, bytes).await;
        }
        check_same(&log, what).await;
        assert_eq!(log.open().await.unwrap().versions(), (3, 5), "{what}");
    }
}

#[tokio::test]
async fn compactions_bridge_missing_commits_only() {
    let log = Fixture::six().await;
    let txn = r#"{"txn":{"appId":"a","version":7}}"#;
    let lines = [&add("ff"), &add("fff"), &add("ffff"), txn].join("\n");
    log.put("00000000000000000001.00000000000000000003.compacted.json", lines).await;
    log.put("00000000000000000004.00000000000000000005.compacted.json", "broken, and not needed").await;
    log.drop(2..=3).await;
    check_same(&log, "a compaction").await;
    let reader = log.open().await.unwrap();
    assert_eq!(reader.versions(), (3, 5));
    assert_eq!(paths(&reader, 1).await, set(&["f", "ff"]), "older versions can be read as far as files reach");
    check_error(
        reader.files(2, None).await.err().unwrap(),
        ErrorKind::NotFound,
        &["version 2 of memory:///shop/orders is no longer in its log", "3 to 5"],
    );
}

#[tokio::test]
async fn the_last_checkpoint_hint_is_not_needed() {
    for hint in ["", "torn {", r#"{"version":4,"size":1}"#, r#"{"version":99,"size":1,"parts":7}"#] {
        let log = Fixture::six().await;
        log.put("_last_checkpoint", hint).await;
        check_same(&log, hint).await;
        log.drop(0..=3).await;
        log.put("00000000000000000003.checkpoint.parquet", parquet_of(&Fixture::state_3())).await;
        check_same(&log, hint).await;
    }
}

#[tokio::test]
async fn a_torn_checkpoint_is_skipped_where_older_files_suffice() {
    let whole = parquet_of(&Fixture::state_3());
    let log = Fixture::six().await;
    let v4 = format!("{:020}.checkpoint.{ID}.json", 4);
    for torn in [&whole[..whole.len() / 2], b"", b"PAR1 garbage PAR1"] {
        log.put("00000000000000000003.checkpoint.parquet", torn.to_vec()).await;
        log.put(&v4, "{\"add\":").await;
        check_same(&log, "torn, with all commits").await;
    }
    log.put("00000000000000000003.checkpoint.parquet", whole.clone()).await;
    log.drop(0..=3).await;
    check_same(&log, "the newest torn, the one before it whole").await;
    log.drop([4]).await;
    log.fails(ErrorKind::Corrupt, &[&v4, "memory:///shop/orders/_delta_log", "restore it", "line 1"]).await;
    // A part is missing: the checkpoint is ignored.
    let log = Fixture::six().await;
    log.put("00000000000000000003.checkpoint.0000000001.0000000002.parquet", whole.clone()).await;
    check_same(&log, "a part is missing").await;
    log.drop([1]).await;
    log.fails(ErrorKind::Corrupt, &["00000000000000000001.json is missing"]).await;
    // A sidecar is missing: the snapshot can be read, the files cannot.
    let log = Fixture::six().await;
    let lines = [PROTOCOL, METADATA, r#"{"sidecar":{"path":"gone.parquet"}}"#].join("\n");
    log.put(&format!("{:020}.checkpoint.{ID}.json", 3), lines).await;
    assert_eq!(paths(&log.open().await.unwrap(), 3).await.len(), 4);
    log.drop([0]).await;
    let error = log.open().await.unwrap().files(3, None).await.err().unwrap();
    check_error(error, ErrorKind::NotFound, &["_sidecars/gone.parquet cannot be read"]);
}

#[tokio::test]
async fn a_checkpoint_has_every_action() {
    // JSON statistics may be absent as a column, or null.
    for more in ["", r#","stats":null"#] {
        check_nothing_lost(more).await;
    }
}

async fn check_nothing_lost(more: &str) {
    let typed = r#"{"add":{"path":"x","partitionValues":{"p":null},"size":1,"modificationTime":1,"dataChange":true,"future":"kept","partitionValues_parsed":{"p":null},"stats_parsed":{"numRecords":3,"minValues":{"id":9007199254740993,"p":null,"t":"2024-01-01T00:00:00.000001Z"},"maxValues":{"id":9007199254740999}}}}"#;
    let typed = typed.replace(r#","future""#, &format!(r#"{more},"future""#));
    let removed = remove("y");
    let log = Fixture::default();
    let lines = [PROTOCOL, METADATA, &typed, &removed].map(String::from);
    log.put("00000000000000000007.checkpoint.parquet", parquet_of(&lines)).await;
    let reader = log.open().await.unwrap();
    let files: Vec<_> = reader.files(7, None).await.unwrap().try_collect().await.unwrap();
    assert_eq!(files[0].partition_values, [("p".to_string(), None)].into());
    assert_eq!(files[0].extra.to_json(), r#"{"future":"kept"}"#);
    assert_eq!(
        files[0].stats.as_deref(),
        Some(
            r#"{"numRecords":3,"minValues":{"id":9007199254740993,"t":"2024-01-01T00:00:00.000001Z"},"maxValues":{"id":9007199254740999}}"#
        )
    );
    let items: Vec<_> = reader.items(None).try_collect().await.unwrap();
    let [HistoryItem::Base(base), files @ ..] = items.as_slice() else { panic!("{items:?}") };
    let (live, gone) = all_files(files);
    assert_eq!((base.version, live.len(), gone.len(), base.body.clone()), (7, 1, 1, None));
    assert_eq!(Action::Remove(gone[0].clone()).to_json(), removed);
    assert_eq!(Action::Metadata(base.metadata.clone()).to_json(), METADATA);
    assert_eq!(reader.commit_bytes(7).await.unwrap(), None);
    assert!(reader.history(HistoryRange::default()).await.unwrap().is_empty());
    check_error(
        reader.changes(7, 7).await.err().unwrap(),
        ErrorKind::NotFound,
        &["the changes of version 7", "begin at 8"],
    );
    check_error(reader.commit_bytes(6).await.unwrap_err(), ErrorKind::NotFound, &["its only version is 7"]);
}

#[tokio::test]
async fn logs_that_cannot_be_opened_are_refused_with_the_reason() {
    use ErrorKind::*;
    let log = Fixture::default();
    log.fails(NotFound, &["memory:///shop/orders is not a Delta table", "_delta_log"]).await;
    log.put("_last_checkpoint", r#"{"version":3}"#).await;
    log.put("00000000000000000003.crc", "{}").await;
    log.fails(NotFound, &["is not a Delta table"]).await;

    let log = Fixture::six().await;
    log.drop([1]).await;
    log.fails(Corrupt, &["00000000000000000001.json is missing from memory:///shop/orders/_delta_log"]).await;
    log.drop([0]).await;
    log.fails(Corrupt, &["00000000000000000000.json is missing"]).await;

    let log = Fixture::default();
    log.commit(0, &[METADATA]).await;
    log.fails(Corrupt, &["memory:///shop/orders has no protocol up to version 0"]).await;
    log.commit(0, &[PROTOCOL]).await;
    log.fails(Corrupt, &["has no metadata"]).await;
    log.commit(0, &[PROTOCOL, METADATA, r#"{"add":{"path""#]).await;
    log.fails(Corrupt, &["/_delta_log/00000000000000000000.json, line 3: invalid JSON"]).await;
    let new = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["newThing"],"writerFeatures":["newThing"]}}"#;
    log.commit(0, &[new, METADATA]).await;
    log.fails(Invalid, &["the reader feature \"newThing\""]).await;

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("_delta_log"), "a file, not a directory").unwrap();
    let error = FileTxnLogReader::open(&Location::parse(dir.path().to_str().unwrap()).unwrap()).await.unwrap_err();
    assert!(matches!(error.kind(), NotFound | Unavailable), "{error}");
}

#[tokio::test]
async fn a_commit_larger_than_memory_is_refused_by_its_size() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(LOG)).unwrap();
    let file = |version| dir.path().join(commit_path(version).as_ref());
    std::fs::write(file(0), [PROTOCOL, METADATA].join("\n")).unwrap();
    // A sparse file takes no space on disk.
    std::fs::File::create(file(1)).unwrap().set_len(MAX_COMMIT_BYTES + 1).unwrap();
    let location = Location::parse(dir.path().to_str().unwrap()).unwrap();
    let log = FileTxnLogReader::open(&location).await;
    let error = match log {
        Ok(log) => log.snapshot(At::Latest).await.unwrap_err(),
        Err(e) => e,
    };
    check_error(error, ErrorKind::Corrupt, &["00000000000000000001.json", "1073741825 bytes"]);
}

#[tokio::test]
async fn a_commit_based_on_a_future_version_is_refused() {
    let log = Fixture::six().await;
    for base in [Base::Exactly(Version::MAX), Base::RebaseFrom(Version::MAX), Base::ReadAt(Version::MAX)] {
        let request = CommitRequest::new(TableId(Uuid::nil()), Uuid::nil(), base, vec![]);
        let error = writer(log.0.clone()).commit(request).await.unwrap_err();
        check_error(error, ErrorKind::Invalid, &["builds on version", "which is at version 5"]);
    }
}

#[tokio::test]
async fn versions_outside_the_log_are_refused_with_its_limits() {
    let log = Fixture::six().await.open().await.unwrap();
    let check = |error, words: &[&str]| check_error(error, ErrorKind::NotFound, words);
    let words = ["version 6 of memory:///shop/orders does not exist", "0 to 5"];
    check(log.snapshot(At::Version(6)).await.unwrap_err(), &words);
    check(log.files(6, None).await.err().unwrap(), &words);
    check(log.commit_bytes(6).await.unwrap_err(), &words);
    check(log.changes(3, 6).await.err().unwrap(), &words);
    check(log.snapshot(At::Timestamp(0)).await.unwrap_err(), &["no version as old as 1970-01-01T00:00:00.000Z"]);
}

#[tokio::test]
async fn history_reads_only_the_requested_range() {
    let fixture = Fixture::six().await;
    let log = fixture.open().await.unwrap();
    let all = log.history(HistoryRange::default()).await.unwrap();
    assert_eq!(all.iter().map(|c| c.version).collect::<Vec<_>>(), [5, 4, 3, 2, 1, 0]);
    assert!(all.is_sorted_by(|newer, older| newer.timestamp > older.timestamp));
    assert_eq!((all[1].files_added, all[1].files_removed), (0, 1));
    for version in 0..=5_usize {
        let time = all[5 - version].timestamp;
        let snapshot = log.snapshot(At::Timestamp(time)).await.unwrap();
        assert_eq!((snapshot.version(), snapshot.head.timestamp), (version as u64, time));
    }
    let range = HistoryRange { limit: Some(2), since: Some(all[4].timestamp), until: Some(all[1].timestamp) };
    assert_eq!(log.history(range).await.unwrap(), all[1..3]);
    let range = HistoryRange { limit: Some(2), ..Default::default() };
    assert_eq!(fixture.open().await.unwrap().history(range).await.unwrap(), all[..2]);
    let changes: Vec<_> = log.changes(2, 4).await.unwrap().try_collect().await.unwrap();
    assert_eq!(changes.iter().map(|(v, _)| *v).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(Some(changes[0].1.clone()), log.commit_bytes(2).await.unwrap());
}

async fn items(log: &Fixture, after: Option<Version>) -> Vec<(Version, bool, i64)> {
    let items: Vec<_> = log.open().await.unwrap().items(after).try_collect().await.unwrap();
    let item = |item| match item {
        HistoryItem::Base(base) => Some((base.version, true, base.time.ms)),
        HistoryItem::Files(_) => None,
        HistoryItem::Commit(commit) => Some((commit.version, false, commit.time.ms)),
    };
    items.into_iter().filter_map(item).collect()
}

/// The live and the removed files of a base.
fn all_files(items: &[HistoryItem]) -> (Vec<Add>, Vec<Remove>) {
    let (mut live, mut removed) = (Vec::new(), Vec::new());
    for item in items {
        let HistoryItem::Files(files) = item else { panic!("{item:?}") };
        live.extend(files.live.iter().cloned());
        removed.extend(files.removed.iter().cloned());
    }
    (live, removed)
}

#[tokio::test]
async fn import_begins_at_the_oldest_complete_version() {
    let log = Fixture::six().await;
    let versions = |items: Vec<(Version, bool, i64)>| items.into_iter().map(|(v, b, _)| (v, b)).collect::<Vec<_>>();
    let commits = |from: Version| (from..=5).map(|v| (v, false)).collect::<Vec<_>>();
    log.put("00000000000000000003.checkpoint.parquet", "torn, and not needed").await;
    assert_eq!(versions(items(&log, None).await), commits(0));
    let all = items(&log, None).await;
    assert_eq!(items(&log, Some(2)).await, all[3..]);
    assert!(items(&log, Some(5)).await.is_empty());
    assert!(items(&log, Some(9)).await.is_empty());
    // Truncated log that still has the base's own commit.
    log.drop(0..=2).await;
    log.put("00000000000000000003.checkpoint.parquet", parquet_of(&Fixture::state_3())).await;
    assert_eq!(versions(items(&log, None).await), [&[(3, true)], &commits(4)[..]].concat());
    assert_eq!(items(&log, Some(3)).await, all[4..]);
    let refused = log.open().await.unwrap().items(Some(1)).try_collect::<Vec<_>>().await.unwrap_err();
    check_error(refused, ErrorKind::NotFound, &["version 1", "3 to 5"]);
    // Only a checkpoint of the newest version is left; it was written after the commit that follows, but its time is
    // not later.
    log.drop([3]).await;
    let times: Vec<_> = items(&log, None).await.into_iter().map(|(_, _, ms)| ms).collect();
    assert_eq!(times[1..], all[4..].iter().map(|i| i.2).collect::<Vec<_>>(), "commits keep their times");
    assert!(times[0] < times[1]);
    log.drop(4..=5).await;
    assert_eq!(versions(items(&log, None).await), [(3, true)]);
}

#[tokio::test]
async fn import_skips_a_torn_checkpoint() {
    let log = Fixture::six().await;
    log.drop(0..=2).await;
    log.put("00000000000000000002.checkpoint.parquet", "torn").await;
    log.put("00000000000000000003.checkpoint.parquet", parquet_of(&Fixture::state_3())).await;
    let versions: Vec<_> = items(&log, None).await.into_iter().map(|(v, b, _)| (v, b)).collect();
    assert_eq!(versions, [(3, true), (4, false), (5, false)]);
}

#[tokio::test]
async fn times_come_from_the_commit_or_its_file_and_increase() {
    let dir = tempfile::tempdir().unwrap();
    let location = Location::parse(dir.path().to_str().unwrap()).unwrap();
    let commit = |version: Version, mtime: u64, lines: &[&str]| {
        let path = dir.path().join(commit_path(version).as_ref());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, lines.join("\n")).unwrap();
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_millis(mtime)).unwrap();
    };
    let ours = format!(r#"{{"commitInfo":{{"timestamp":2500,"{COMMIT_INFO_KEY}":{{}}}}}}"#);
    let on = METADATA.replace(
        r#""configuration":{}"#,
        r#""configuration":{"delta.enableInCommitTimestamps":"true","delta.inCommitTimestampEnablementVersion":"5"}"#,
    );
    let in_commit = |ms: i64| format!(r#"{{"commitInfo":{{"inCommitTimestamp":{ms},"timestamp":1}}}}"#);
    commit(0, 1000, &[r#"{"commitInfo":{"timestamp":77}}"#, PROTOCOL, METADATA]);
    commit(1, 400, &["{}"]); // not increasing: a copied log
    commit(2, 1001, &["{}"]);
    commit(3, 9000, &[&ours]);
    commit(4, 3000, &[&in_commit(99)]); // before the table has in-commit timestamps
    commit(5, 9000, &[&in_commit(4000), &on]);
    commit(6, 9000, &[&in_commit(5000)]);
    use TimeSource::*;
    let want = [
        (1000, File),
        (1001, File),
        (1002, File),
        (2500, CommitInfo),
        (3000, File),
        (4000, InCommit),
        (5000, InCommit),
    ];
    let all: Vec<_> = FileTxnLogReader::open(&location).await.unwrap().items(None).try_collect().await.unwrap();
    for (item, (version, want)) in all.into_iter().zip((0..).zip(want)) {
        let HistoryItem::Commit(commit) = item else { panic!("{item:?}") };
        assert_eq!((commit.version, commit.time.ms, commit.time.source), (version, want.0, want.1));
        // A reader that was asked nothing before gives the same answer.
        let fresh = FileTxnLogReader::open(&location).await.unwrap();
        assert_eq!(fresh.snapshot(At::Version(version)).await.unwrap().head.timestamp, want.0, "{version}");
        assert_eq!(fresh.snapshot(At::Timestamp(want.0)).await.unwrap().version(), version);
    }
}

/// A store whose next commit fails without an answer, before or after it is written.
#[derive(Debug)]
struct Ambiguous {
    inner: Arc<InMemory>,
    lands: bool,
    /// Reports that the file exists, and may be listed this often.
    taken: Option<AtomicUsize>,
    /// The number of files requested.
    gets: AtomicUsize,
}

impl std::fmt::Display for Ambiguous {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ambiguous")
    }
}

fn lost() -> Error {
    Error::Generic { store: "Ambiguous", source: "the connection was lost".into() }
}

#[async_trait]
impl ObjectStore for Ambiguous {
    async fn put_opts(&self, path: &Path, body: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        assert!(matches!(options.mode, PutMode::Create));
        if self.lands {
            self.inner.put_opts(path, body, options).await?;
        }
        match self.taken {
            Some(_) => Err(Error::AlreadyExists { path: path.to_string(), source: "it is there".into() }),
            None => Err(lost()),
        }
    }
    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }
    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.gets.fetch_add(1, SeqCst);
        // Lets the other requests start.
        tokio::task::yield_now().await;
        self.inner.get_opts(path, options).await
    }
    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(paths)
    }
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        let less = |listings: usize| listings.checked_sub(1);
        if self.taken.as_ref().is_some_and(|listings| listings.fetch_update(SeqCst, SeqCst, less).is_err()) {
            return Err(lost());
        }
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// Commits may have any size: the queue is bounded by bytes, and by the number of small commits.
#[tokio::test]
async fn commits_are_prefetched_up_to_a_byte_limit() {
    for (size, ahead) in [(1 << 10, CONCURRENCY), (4 << 20, 8), (AHEAD_BYTES, 1), (4 * AHEAD_BYTES, 1)] {
        let log = Fixture::default();
        let files: Vec<_> = (0..100).map(|version| (commit_path(version), size)).collect();
        for (file, _) in &files {
            log.0.put(file, file.to_string().into()).await.unwrap();
        }
        let store = Ambiguous { inner: log.0.clone(), lands: true, taken: None, gets: AtomicUsize::new(0) };
        let store = Arc::new(store);
        let dir = TableDir::new(Fixture::location(), store.clone());
        let mut all = dir.get_all(files.clone());
        let first = all.try_next().await.unwrap().unwrap();
        assert!(store.gets.load(SeqCst) <= ahead + 1, "{size}: {} were fetched for one", store.gets.load(SeqCst));
        let rest: Vec<_> = all.try_collect().await.unwrap();
        let found = std::iter::once(first).chain(rest).map(|(path, body)| {
            assert_eq!(body, path.to_string());
            (path, size)
        });
        assert_eq!(found.collect::<Vec<_>>(), files, "all of them, in order");
    }
}

fn actions(lines: &[&str]) -> Vec<Action> {
    lines.iter().flat_map(|line| Action::parse_line(line).unwrap()).collect()
}

fn request(n: u128, base: Base, lines: &[&str]) -> CommitRequest {
    CommitRequest::new(TableId(Uuid::nil()), Uuid::from_u128(n), base, actions(lines))
}

fn create() -> CommitRequest {
    let new = NewTable::new("orders".parse().unwrap(), Fixture::location());
    request(0, Base::Create(new), &[PROTOCOL, METADATA])
}

fn writer(store: Arc<dyn ObjectStore>) -> FileTxnLogWriter {
    let clock: Arc<dyn Clock> = Arc::new(SeededClock::new(1_000, 1));
    FileTxnLogWriter::with_store(Fixture::location(), store, clock)
}

fn version(outcome: Outcome) -> Version {
    match outcome {
        Outcome::Committed(commits) => commits[0].version,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_plain_log_passes_the_writer_suite() {
    let log = Fixture::default();
    let new = NewTable::new("orders".parse().unwrap(), Fixture::location());
    crate::conformance::run_writer(&writer(log.0.clone()), new, async || {
        Ok(Arc::new(log.open().await?) as Arc<dyn TxnLogReader>)
    })
    .await;
}

#[tokio::test]
async fn a_table_is_created_written_and_rebased() {
    let log = Fixture::default();
    let w = writer(log.0.clone());
    assert_eq!(version(w.commit(create()).await.unwrap()), 0);
    let first = request(1, Base::RebaseFrom(0), &[&add("a")]);
    assert_eq!(version(w.commit(first.clone()).await.unwrap()), 1);
    let reading = request(2, Base::RebaseFrom(0), &[&add("b")]);
    assert_eq!(version(w.commit(reading.clone()).await.unwrap()), 2, "a blind append moves to the head");
    // Exactly once: a repeated request gets its original answer, whatever was committed since.
    assert_eq!(version(w.commit(create()).await.unwrap()), 0);
    assert_eq!(version(w.commit(first).await.unwrap()), 1);
    let reader = log.open().await.unwrap();
    assert_eq!(reader.versions(), (0, 2));
    let times: Vec<_> = reader.history(HistoryRange::default()).await.unwrap().iter().map(|c| c.timestamp).collect();
    let Outcome::Committed(again) = w.commit(reading).await.unwrap() else { panic!() };
    assert_eq!((again[0].version, again[0].timestamp), (2, times[0]));
    assert!(times.is_sorted_by(|newer, older| newer > older) && times[2] == 1_000, "{times:?}");
    let body = String::from_utf8(reader.commit_bytes(1).await.unwrap().unwrap().to_vec()).unwrap();
    assert!(!body.contains("catalogId"), "no catalog, no catalog id: {body}");
    let conflict = |outcome| match outcome {
        Outcome::Conflict(c) => (c.version, c.kind),
        other => panic!("{other:?}"),
    };
    let exact = request(3, Base::Exactly(0), &[&add("c")]);
    assert_eq!(conflict(w.commit(exact).await.unwrap()), (1, ConflictKind::VersionTaken));
    let mut whole = request(4, Base::RebaseFrom(1), &[&add("c")]);
    whole.reads = Reads { whole_table: true, ..Default::default() };
    assert_eq!(conflict(w.commit(whole).await.unwrap()), (2, ConflictKind::MatchingFileAdded("b".into())));
    let marked = add("a").replace(
        r#""dataChange""#,
        r#""deletionVector":{"storageType":"u","pathOrInlineDv":"x","sizeInBytes":1,"cardinality":1},"dataChange""#,
    );
    let again = request(6, Base::RebaseFrom(0), &[&marked]);
    assert_eq!(conflict(w.commit(again).await.unwrap()), (1, ConflictKind::DeletionVectorChanged("a".into())));
    let removal = request(5, Base::Exactly(2), &[&remove("a")]);
    assert_eq!(version(w.commit(removal).await.unwrap()), 3);
    assert_eq!(paths(&log.open().await.unwrap(), 3).await, set(&["b"]));
    let other = CommitRequest { commit_id: request(9, Base::Exactly(0), &[]).commit_id, ..create() };
    assert_eq!(conflict(w.commit(other).await.unwrap()), (3, ConflictKind::VersionTaken));
}

#[tokio::test]
async fn a_verbatim_commit_is_put_unchanged() {
    let log = Fixture::default();
    let w = writer(log.0.clone());
    version(w.commit(create()).await.unwrap());
    let text = format!("{{\"commitInfo\" :{{}}}}\r\n\n{}", add("a"));
    let verbatim = |base: Base, text: &str| {
        let commit = VerbatimCommit::parse(text.to_string().into(), 1_500).unwrap();
        CommitRequest::verbatim(TableId(Uuid::nil()), CommitId::of_name("staged"), base, commit)
    };
    for attempt in ["new", "sent again"] {
        assert_eq!(version(w.commit(verbatim(Base::Exactly(0), &text)).await.unwrap()), 1, "{attempt}");
    }
    let reader = log.open().await.unwrap();
    assert_eq!(reader.commit_bytes(1).await.unwrap().unwrap(), text);
    match w.commit(verbatim(Base::Exactly(0), &add("b"))).await.unwrap() {
        Outcome::Conflict(c) => assert_eq!((c.version, c.kind), (1, ConflictKind::VersionTaken)),
        other => panic!("{other:?}"),
    }
    let rebased = w.commit(verbatim(Base::RebaseFrom(1), &add("b"))).await.unwrap_err();
    check_error(rebased, ErrorKind::Invalid, &["valid for one version only"]);
    assert_eq!(log.open().await.unwrap().versions(), (0, 1));
}

#[tokio::test]
async fn concurrent_writers_get_distinct_versions() {
    let log = Fixture::default();
    version(writer(log.0.clone()).commit(create()).await.unwrap());
    let commits = (1..=16).map(|n| {
        let w = writer(log.0.clone());
        tokio::spawn(async move {
            let file = add(&format!("f{n}"));
            version(w.commit(request(n, Base::RebaseFrom(0), &[&file])).await.unwrap())
        })
    });
    let versions: BTreeSet<_> = futures::future::try_join_all(commits).await.unwrap().into_iter().collect();
    assert_eq!(versions, (1..=16).collect());
    assert_eq!(paths(&log.open().await.unwrap(), 16).await.len(), 16);
}

#[tokio::test]
async fn an_ambiguous_put_is_resolved_by_reading_the_log() {
    for lands in [true, false] {
        let log = Fixture::default();
        version(writer(log.0.clone()).commit(create()).await.unwrap());
        let w = writer(Arc::new(Ambiguous { inner: log.0.clone(), lands, taken: None, gets: AtomicUsize::new(0) }));
        match w.commit(request(1, Base::RebaseFrom(0), &[&add("a")])).await.unwrap() {
            Outcome::Committed(commits) => assert!(lands && commits[0].version == 1),
            Outcome::Unknown(why) => assert!(!lands && why.contains("the connection was lost"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(log.open().await.unwrap().versions().1, u64::from(lands));
    }
}

#[tokio::test]
async fn an_ambiguous_put_of_a_taken_version_is_unknown_until_the_log_shows_it() {
    for (lands, listings, want) in [(true, 9, Ok(1)), (true, 1, Err("lost")), (false, 9, Err("is not listed"))] {
        let log = Fixture::default();
        version(writer(log.0.clone()).commit(create()).await.unwrap());
        let taken = Some(AtomicUsize::new(listings));
        let w = writer(Arc::new(Ambiguous { inner: log.0.clone(), lands, taken, gets: AtomicUsize::new(0) }));
        match w.commit(request(1, Base::RebaseFrom(0), &[&add("a")])).await.unwrap() {
            Outcome::Unknown(why) => assert!(want.is_err_and(|want| why.contains(want)), "{why}"),
            outcome => assert_eq!(Ok(version(outcome)), want),
        }
    }
}

#[tokio::test]
async fn a_catalog_managed_table_is_not_written_by_its_path() {
    let log = Fixture::default();
    let ours = format!(r#"{{"commitInfo":{{"{COMMIT_INFO_KEY}":{{"catalogId":"{ID}"}}}}}}"#);
    log.commit(0, &[&ours, PROTOCOL, METADATA]).await;
    let refused = writer(log.0.clone()).commit(request(1, Base::RebaseFrom(0), &[&add("a")])).await.unwrap_err();
    let words = format!("memory:///shop/orders is managed by the catalog {ID}: open it there to write");
    check_error(refused, ErrorKind::Invalid, &[&words]);
    assert_eq!(log.open().await.unwrap().versions(), (0, 0));
    // The table is rejected until the catalog has detached it.
    let detached = format!(r#"{{"commitInfo":{{"operation":"{DETACH}","{COMMIT_INFO_KEY}":{{"catalogId":"{ID}"}}}}}}"#);
    log.commit(1, &[&detached]).await;
    let written = writer(log.0.clone()).commit(request(1, Base::RebaseFrom(1), &[&add("a")])).await.unwrap();
    assert_eq!(version(written), 2);
}

#[tokio::test]
async fn the_least_timestamp_does_not_underflow() {
    let log = Fixture::six().await;
    let on = METADATA.replace(r#"{}}}"#, r#"{"delta.enableInCommitTimestamps":"true"}}}"#);
    log.drop(0..=5).await;
    log.put("00000000000000000003.checkpoint.parquet", parquet_of(&[PROTOCOL.into(), on])).await;
    let first = format!(r#"{{"commitInfo":{{"inCommitTimestamp":{}}}}}"#, i64::MIN);
    log.commit(4, &[&first]).await;
    assert_eq!(items(&log, None).await[0].2, i64::MIN);
}
