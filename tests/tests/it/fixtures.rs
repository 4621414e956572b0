//! Tables that the golden tables lack: truncated logs, in-commit timestamps, domains, deletion vectors of every kind,
//! two copies of one table.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use deltalakedb_log::{At, Catalog, ErrorKind, HistoryRange, SystemClock, TableEntry, Version};
use deltalakedb_mirror::{Mirror, VerifyOptions};
use deltalakedb_table::{DeltaRs, DeltaTable, SaveMode, WriteOptions};
use deltalakedb_tests::{
    agrees_with_delta_rs, copy, golden, import, our_rows, our_state, repository, same_state, sqlite, their_rows,
    their_state, unpack,
};
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use uuid::Uuid;

/// Checks that the rows of every version can be read and equal those of delta-rs.
async fn agrees_in_full(catalog: &Arc<dyn Catalog>, table: &TableEntry) {
    let read = agrees_with_delta_rs(catalog, table).await;
    assert_eq!(
        read,
        (table.base_version..=table.current_version).collect(),
        "delta-rs reads every version of {}",
        table.name
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_may_begin_at_a_checkpoint() {
    let Some(tables) = golden() else { return };
    // Name, version of the checkpoint; V1 in one file, with deletion vectors, in parts; V2 as JSON with sidecars, and
    // with a classic name.
    let cases = [
        ("125-iterator-bug", 10),
        ("basic-with-inserts-deletes-checkpoint", 10),
        ("dv-partitioned-with-checkpoint", 10),
        ("multi-part-checkpoint", 1),
        ("v2-checkpoint-json", 2),
        ("v2-checkpoints-json-with-sidecars", 1),
        ("v2-classic-checkpoint-parquet", 1),
    ];
    for (name, checkpoint) in cases {
        for keep_its_commit in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let at = unpack(&tables[name], dir.path());
            let all = sqlite(dir.path()).await;
            let whole = import(&all, &at, "whole").await.unwrap();
            let lost = checkpoint + Version::from(!keep_its_commit);
            for version in 0..lost {
                std::fs::remove_file(at.join(format!("_delta_log/{version:020}.json"))).unwrap();
            }
            let other = tempfile::tempdir().unwrap();
            let catalog = sqlite(other.path()).await;
            let table = import(&catalog, &at, name).await.unwrap_or_else(|e| panic!("{name}: {e}"));
            let versions = (table.base_version, table.current_version);
            assert_eq!(versions, (checkpoint, whole.current_version), "{name}: history begins at the checkpoint");
            for version in checkpoint..=table.current_version {
                let what = format!("{name} at version {version}");
                let before = our_state(all.as_ref(), &whole, version).await;
                same_state(&what, &our_state(catalog.as_ref(), &table, version).await, &before);
                let theirs = their_rows(&table.location, version).await.unwrap();
                assert_eq!(our_rows(&catalog, &table, version).await.unwrap(), theirs, "the rows of {what}");
                // delta-rs opens a version whose commit is missing, but cannot list its state.
                if keep_its_commit || version > checkpoint {
                    same_state(&what, &before, &their_state(&table.location, version).await.unwrap());
                }
            }
            let reader = catalog.reader(table.id);
            assert_eq!(reader.commit_bytes(checkpoint).await.unwrap().is_some(), keep_its_commit, "{name}");
            if keep_its_commit || table.current_version > checkpoint {
                let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
                let findings = mirror.verify(&table, &DeltaRs, VerifyOptions::default(), &|_, _| {}).await.unwrap();
                assert_eq!(findings, [], "{name}");
            }
            let older = reader.snapshot(At::Version(checkpoint - 1)).await.unwrap_err();
            assert_eq!(older.kind(), ErrorKind::NotFound);
            assert!(older.to_string().contains(&format!("oldest version that is retained is {checkpoint}")), "{older}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_commit_timestamps_are_the_times_from_where_they_are_enabled() {
    let made = Made::new();
    let features = json!({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["inCommitTimestamp"]});
    let enabled = |configuration: Value| json!({"metaData": metadata(configuration)});
    made.commit(0, &[json!({"protocol": features}), enabled(json!({})), made.add("a", &[1])]);
    made.commit(1, &[made.add("b", &[2])]);
    let since = json!({
        "delta.enableInCommitTimestamps": "true",
        "delta.inCommitTimestampEnablementVersion": "2",
        "delta.inCommitTimestampEnablementTimestamp": "5000",
    });
    let info = |ms: i64| json!({"commitInfo": {"inCommitTimestamp": ms, "timestamp": 77, "operation": "WRITE"}});
    made.commit(2, &[info(5000), enabled(since)]);
    made.commit(3, &[info(6000), made.add("c", &[3])]);
    // The modification times of the files differ from version 2 on.
    for (version, ms) in (0..).zip([1000, 2000, 900_000, 800_000]) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
        std::fs::File::options().append(true).open(made.log(version)).unwrap().set_modified(time).unwrap();
    }
    let (catalog, table) = made.imported().await;
    agrees_in_full(&catalog, &table).await;
    let reader = catalog.reader(table.id);
    let history = reader.history(HistoryRange::default()).await.unwrap();
    let times: Vec<_> = history.iter().rev().map(|c| c.timestamp).collect();
    assert_eq!(times, [1000, 2000, 5000, 6000]);
    for (ms, version) in [(1999, 0), (4999, 1), (5000, 2), (5999, 2), (900_000, 3)] {
        assert_eq!(reader.snapshot(At::Timestamp(ms)).await.unwrap().version(), version, "at {ms} ms");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_are_set_replaced_and_removed() {
    let made = Made::new();
    let features = json!({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["domainMetadata"]});
    let domain = |name: &str, configuration: &str, removed: bool| json!({"domainMetadata": {"domain": name, "configuration": configuration, "removed": removed}});
    made.commit(
        0,
        &[json!({"protocol": features}), json!({"metaData": metadata(json!({}))}), domain("a", "{\"x\":1}", false)],
    );
    made.commit(1, &[domain("a", "{\"x\":2}", false), domain("delta.odd \u{1}ü'", "", false)]);
    made.commit(2, &[domain("a", "", true), made.add("f", &[1])]);
    made.commit(3, &[domain("a", "again", false)]);
    let (catalog, table) = made.imported().await;
    agrees_in_full(&catalog, &table).await;
    let reader = catalog.reader(table.id);
    let odd = "delta.odd \u{1}ü'";
    let want: [&[(&str, &str)]; 4] =
        [&[("a", "{\"x\":1}")], &[("a", "{\"x\":2}"), (odd, "")], &[(odd, "")], &[("a", "again"), (odd, "")]];
    for (version, want) in (0..).zip(want) {
        let domains = reader.snapshot(At::Version(version)).await.unwrap().domains;
        let got: Vec<_> = domains.values().map(|d| (d.domain.as_str(), d.configuration.as_str())).collect();
        assert_eq!(got, want, "version {version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_deletion_vectors_are_gone() {
    let made = Made::new();
    let features = json!({
        "minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"],
    });
    let enabled = metadata(json!({"delta.enableDeletionVectors": "true"}));
    let ids: Vec<i64> = (100..110).collect();
    let plain = made.add("f", &ids);
    made.commit(0, &[json!({"protocol": features}), json!({"metaData": enabled}), plain.clone()]);
    // Each version adds the file again with another vector: inline, in a file in the table's folder, in a folder of
    // vectors with two in one file, and with an absolute path.
    let vectors = [
        made.inline(&[0, 9]),
        made.beside("", &[&[1, 2, 3]], 0),
        made.beside("ab", &[&[5], &[0, 4, 8]], 1),
        made.absolute(&[7]),
    ];
    let deleted: [&[i64]; 4] = [&[0, 9], &[1, 2, 3], &[0, 4, 8], &[7]];
    let mut live = plain;
    for (version, vector) in (1..).zip(vectors) {
        let with = |mut add: Value, vector: Value| {
            add["add"]["deletionVector"] = vector;
            add
        };
        let gone = json!({"remove": {
            "path": "f", "deletionTimestamp": 1, "dataChange": true, "deletionVector": live["add"]["deletionVector"],
        }});
        live = with(live, vector);
        made.commit(version, &[gone, live.clone()]);
    }
    let (catalog, table) = made.imported().await;
    agrees_in_full(&catalog, &table).await;
    for (version, deleted) in (1..).zip(deleted) {
        let kept = ids.iter().filter(|id| !deleted.contains(&(*id - 100)));
        let want: Vec<_> = std::iter::once("id: Int64 | day: Utf8".to_string())
            .chain(kept.map(|id| format!("\"{id}\" | \"a\"")))
            .collect();
        assert_eq!(our_rows(&catalog, &table, version).await.unwrap(), want, "version {version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_table_are_separate_tables() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let mut tables = Vec::new();
    for name in ["one", "two"] {
        copy(&repository().join("examples/data/events"), &dir.path().join(name));
        tables.push(import(&catalog, &dir.path().join(name), name).await.unwrap());
    }
    let metadata_id = |table: &TableEntry| {
        let reader = catalog.reader(table.id);
        async move { reader.head().await.unwrap().metadata.id }
    };
    assert_eq!(metadata_id(&tables[0]).await, metadata_id(&tables[1]).await, "they share the id in their metadata");
    let one = DeltaTable::open_in(catalog.clone(), &deltalakedb_log::TableRef::Id(tables[0].id)).await.unwrap();
    let rows = one.read(&Default::default()).await.unwrap();
    let committed = one.write(rows, SaveMode::Append, &WriteOptions::default()).await.unwrap().unwrap();
    assert_eq!(committed.version, tables[0].current_version + 1);
    Mirror::new(catalog.clone(), Arc::new(SystemClock)).run().try_collect::<Vec<_>>().await.unwrap();
    for (table, versions) in catalog.tables().await.unwrap().iter().zip([15, 14]) {
        assert_eq!(table.current_version + 1, versions, "{}: only one got the commit", table.name);
        agrees_in_full(&catalog, table).await;
        let every = VerifyOptions { every_version: true, data: true };
        let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
        let findings = mirror.verify(table, &DeltaRs, every, &|_, _| {}).await.unwrap();
        assert_eq!(findings, []);
    }
}

/// A hand-written table.
struct Made {
    dir: tempfile::TempDir,
}

/// Metadata of `id long, day string`, partitioned by day.
fn metadata(configuration: Value) -> Value {
    let schema = json!({"type": "struct", "fields": [
        {"name": "id", "type": "long", "nullable": true, "metadata": {}},
        {"name": "day", "type": "string", "nullable": true, "metadata": {}},
    ]});
    json!({
        "id": "not a uuid", "format": {"provider": "parquet", "options": {}}, "schemaString": schema.to_string(),
        "partitionColumns": ["day"], "configuration": configuration, "createdTime": 1,
    })
}

impl Made {
    fn new() -> Self {
        let made = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(made.root().join("_delta_log")).unwrap();
        made
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("table")
    }

    fn log(&self, version: Version) -> PathBuf {
        self.root().join(format!("_delta_log/{version:020}.json"))
    }

    fn commit(&self, version: Version, actions: &[Value]) {
        let lines: Vec<_> = actions.iter().map(Value::to_string).collect();
        std::fs::write(self.log(version), lines.join("\n")).unwrap();
    }

    /// Writes a data file; returns its add.
    fn add(&self, name: &str, ids: &[i64]) -> Value {
        let column: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
        let rows = RecordBatch::try_from_iter([("id", column)]).unwrap();
        let file = std::fs::File::create(self.root().join(name)).unwrap();
        let mut writer = ArrowWriter::try_new(file, rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        let size = std::fs::metadata(self.root().join(name)).unwrap().len();
        let stats = json!({"numRecords": ids.len(), "minValues": {"id": ids.iter().min()}, "maxValues": {"id": ids.iter().max()}});
        json!({"add": {
            "path": name, "partitionValues": {"day": "a"}, "size": size, "modificationTime": 1, "dataChange": true,
            "stats": stats.to_string(),
        }})
    }

    async fn imported(&self) -> (Arc<dyn Catalog>, TableEntry) {
        let catalog = sqlite(self.dir.path()).await;
        let table = import(&catalog, &self.root(), "made").await.unwrap();
        (catalog, table)
    }

    fn inline(&self, rows: &[u16]) -> Value {
        let mut bytes = bitmap(rows);
        let size = bytes.len();
        bytes.resize(size.next_multiple_of(4), 0);
        vector("i", &base85(&bytes), None, size, rows.len())
    }

    /// Writes vectors to one file below the table, and returns the one selected.
    fn beside(&self, folder: &str, vectors: &[&[u16]], which: usize) -> Value {
        let id = Uuid::from_u128(0x1234_5678_9abc_def0_1122_3344_5566_7788 + vectors.len() as u128);
        let (offset, size) =
            write_vectors(&self.root().join(folder).join(format!("deletion_vector_{id}.bin")), vectors, which);
        vector("u", &format!("{folder}{}", base85(id.as_bytes())), Some(offset), size, vectors[which].len())
    }

    fn absolute(&self, rows: &[u16]) -> Value {
        let path = self.dir.path().join("elsewhere/vectors.bin");
        let (offset, size) = write_vectors(&path, &[rows], 0);
        vector("p", &format!("file://{}", path.display()), Some(offset), size, rows.len())
    }
}

fn vector(kind: &str, place: &str, offset: Option<usize>, size: usize, cardinality: usize) -> Value {
    let mut vector =
        json!({"storageType": kind, "pathOrInlineDv": place, "sizeInBytes": size, "cardinality": cardinality});
    if let Some(offset) = offset {
        vector["offset"] = offset.into();
    }
    vector
}

/// Writes a file of vectors (PROTOCOL.md, "Deletion Vector File Storage Format"); returns offset and size of one of
/// them.
fn write_vectors(path: &Path, vectors: &[&[u16]], which: usize) -> (usize, usize) {
    let mut file = vec![1];
    let mut places = Vec::new();
    for rows in vectors {
        let bytes = bitmap(rows);
        places.push((file.len(), bytes.len()));
        file.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        file.extend(&bytes);
        file.extend(crc32(&bytes).to_be_bytes());
    }
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, file).unwrap();
    places[which]
}

/// A 64-bit roaring bitmap (PROTOCOL.md, "Deletion Vector Format") of one container: the rows in order.
fn bitmap(rows: &[u16]) -> Vec<u8> {
    const MAGIC: u32 = 1_681_511_377;
    const COOKIE_WITHOUT_RUNS: u32 = 12_346;
    let count = u16::try_from(rows.len()).unwrap();
    let mut bytes = Vec::new();
    bytes.extend(MAGIC.to_le_bytes());
    bytes.extend(1u64.to_le_bytes()); // bitmaps
    bytes.extend(0u32.to_le_bytes()); // high 32 bits
    bytes.extend(COOKIE_WITHOUT_RUNS.to_le_bytes());
    bytes.extend(1u32.to_le_bytes()); // containers
    bytes.extend(0u16.to_le_bytes()); // high 16 bits
    bytes.extend((count - 1).to_le_bytes());
    bytes.extend(16u32.to_le_bytes()); // where the container begins
    bytes.extend(rows.iter().flat_map(|row| row.to_le_bytes()));
    bytes
}

/// Z85 (<https://rfc.zeromq.org/spec/32/>), as the protocol requires.
fn base85(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    let digits = |word: &[u8]| {
        let word = u32::from_be_bytes(word.try_into().unwrap());
        [85u32.pow(4), 85u32.pow(3), 85u32.pow(2), 85, 1].map(|unit| char::from(DIGITS[(word / unit % 85) as usize]))
    };
    bytes.chunks(4).flat_map(digits).collect()
}

/// CRC-32 as in zip.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[test]
fn encodings_of_the_fixtures_are_correct() {
    assert_eq!(base85(&[0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B]), "HelloWorld");
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}
