//! Checkpoints and checksums: outside readers read a table from them without older files.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use deltalakedb_log::action::{Action, Add, Protocol, Remove, Version};
use deltalakedb_log::conformance::actions::{domain, file, metadata, protocol, remove, txn, with_dv};
use deltalakedb_log::stores::environment;
use deltalakedb_log::{Artifact, At, Clock, ErrorKind, Object, StoredCheckpoint, SystemClock};
use deltalakedb_mirror::{Finding, Mirror, VerifyOptions};
use deltalakedb_table::DeltaRs;
use deltalakedb_tests::{
    catalog, contents, databases, golden, import, our_rows, our_state, same_state, sqlite, their_rows, their_state,
    unpack,
};
use futures::TryStreamExt;

use crate::shop::Shop;

/// Tables that a plain reader reads differently from the log, with any checkpoint.
const ODD: &[&str] = &["canonicalized-paths-normal-b", "canonicalized-paths-special-a"];

#[tokio::test(flavor = "multi_thread")]
async fn golden_tables_open_from_our_checkpoint_alone() {
    let Some(archives) = golden() else { return };
    let mut refused = BTreeSet::new();
    for (name, archive) in archives.iter().filter(|(name, _)| !ODD.contains(&name.as_str())) {
        let dir = tempfile::tempdir().unwrap();
        let at = unpack(archive, dir.path());
        let catalog = sqlite(dir.path()).await;
        let Ok(table) = import(&catalog, &at, name).await else {
            refused.insert(name.as_str());
            continue;
        };
        let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
        let head = table.current_version;
        let rows = their_rows(&table.location, head).await;
        let done = mirror.checkpoint(table.id).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((done.version, done.is_last), (head, true), "{name}");
        only_the_checkpoint(&at, head);
        let theirs = their_state(&table.location, head).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        same_state(name, &our_state(catalog.as_ref(), &table, head).await, &theirs);
        match (rows, their_rows(&table.location, head).await) {
            (Ok(before), Ok(after)) => assert_eq!(before, after, "{name}: the rows"),
            (before, after) => assert_eq!(before.is_err(), after.is_err(), "{name}: readable or not"),
        }
        let fresh = tempfile::tempdir().unwrap();
        let again = import(&sqlite(fresh.path()).await, &at, name).await.unwrap();
        assert_eq!((again.base_version, again.current_version), (head, head), "{name}: history begins there");
    }
    let broken = crate::golden::REFUSED.iter().map(|(name, _)| *name).collect();
    assert_eq!(refused, broken, "all others were checked");
}

/// Leaves only the newest commit, our checkpoint of it, and the hint in a log.
pub(crate) fn only_the_checkpoint(table: &Path, head: Version) {
    let log = table.join("_delta_log");
    let kept = [format!("{head:020}.json"), format!("{head:020}.checkpoint.parquet"), "_last_checkpoint".into()];
    for entry in std::fs::read_dir(&log).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            std::fs::remove_dir_all(entry.path()).unwrap();
        } else if !kept.contains(&name) {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}

impl Shop {
    fn log_file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("t/_delta_log").join(name)
    }

    fn checkpoint(&self, version: Version) -> std::path::PathBuf {
        self.log_file(&format!("{version:020}.checkpoint.parquet"))
    }

    /// The versions that have a checkpoint.
    async fn checkpoints(&self) -> Vec<Version> {
        let all = StoredCheckpoint::all(&self.entry().await.location, environment().as_ref()).await.unwrap();
        all.iter().map(StoredCheckpoint::version).collect()
    }

    fn hinted(&self) -> Option<Version> {
        let hint = std::fs::read(self.log_file("_last_checkpoint")).ok()?;
        serde_json::from_slice::<Object>(&hint).unwrap().get("version")
    }

    /// Checks that plain delta-rs reads our newest version from the checkpoint alone.
    async fn opens_from_the_checkpoint_alone(&self, what: &str) {
        let entry = self.entry().await;
        let head = entry.current_version;
        only_the_checkpoint(&self.dir.path().join("t"), head);
        let theirs = their_state(&entry.location, head).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        same_state(what, &our_state(self.catalog.as_ref(), &entry, head).await, &theirs);
    }

    async fn findings(&self) -> Vec<Finding> {
        let every = VerifyOptions { every_version: true, data: false };
        self.mirror.verify(&self.entry().await, &DeltaRs, every, &|_, _| {}).await.unwrap()
    }

    /// Checks that the only finding names the version and contains these texts, and that its command repairs it, once.
    async fn found_and_repaired(&self, version: Version, says: &[&str]) {
        let findings = self.findings().await;
        assert_eq!(findings.len(), 1, "one finding for one cause: {findings:#?}");
        let sentence = findings[0].to_string();
        assert_eq!(findings[0].version, version, "{sentence}");
        for part in says.iter().chain(&["`dl mirror repair default.t`"]) {
            assert!(sentence.contains(part), "{sentence:?} does not say {part:?}");
        }
        let repaired = self.mirror.repair(self.id).await.unwrap();
        assert!(!repaired.is_empty(), "{sentence}");
        assert_eq!(self.findings().await, [], "after `dl mirror repair`: {sentence}");
        let again = self.mirror.repair(self.id).await.unwrap();
        assert!(again.is_empty(), "{sentence}: {again}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tenth_version_gets_a_checkpoint_and_every_version_a_checksum() {
    for database in databases("checkpoint") {
        let shop = Shop::with(*database, protocol(), metadata("{}")).await;
        let mut published = Vec::new();
        for n in 0..21 {
            shop.append(&format!("f{n}")).await;
            let done = shop.mirror.publish(shop.id).await.unwrap();
            assert_eq!(done.warnings, [""; 0]);
            published.extend(done.checkpoint);
        }
        assert_eq!(published, [10, 20], "{database:?}");
        assert_eq!((shop.checkpoints().await, shop.hinted()), (vec![10, 20], Some(20)), "{database:?}");
        for version in 0..=21 {
            assert!(shop.log_file(&format!("{version:020}.crc")).exists(), "{database:?}: version {version}");
        }
        assert_eq!(shop.findings().await, [], "{database:?}");
        shop.mirror.checkpoint(shop.id).await.unwrap();
        assert_eq!(shop.hinted(), Some(21), "{database:?}");
        shop.opens_from_the_checkpoint_alone(&format!("{database:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_versions_published_together_only_the_newest_due_one_gets_a_checkpoint() {
    let shop = Shop::new("{}").await;
    for n in 0..35 {
        shop.append(&format!("f{n}")).await;
    }
    assert_eq!(shop.mirror.publish(shop.id).await.unwrap().checkpoint, Some(30));
    assert_eq!((shop.checkpoints().await, shop.hinted()), (vec![30], Some(30)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checkpoint_interval_is_that_of_the_table_or_the_setting() {
    for (properties, set, due) in [
        ("{}", 3, vec![3, 6]),
        (r#"{"delta.checkpointInterval":"4"}"#, 3, vec![4]),
        (r#"{"delta.checkpointInterval":"never"}"#, 3, vec![3, 6]),
        ("{}", 100, vec![]),
    ] {
        let shop = Shop::new(properties).await;
        let mirror = Mirror::new(shop.catalog.clone(), Arc::new(SystemClock));
        let mirror = mirror.with_checkpoint_interval(set.try_into().unwrap());
        for n in 0..7 {
            shop.append(&format!("f{n}")).await;
            mirror.publish(shop.id).await.unwrap();
        }
        assert_eq!(shop.checkpoints().await, due, "{properties}, set to {set}");
    }
}

fn with_feature(feature: &str) -> Protocol {
    let mut with = protocol();
    for list in [&mut with.reader_features, &mut with.writer_features] {
        list.get_or_insert_default().push(feature.into());
    }
    with
}

/// Commits files, vectors, tombstones, txns and domains, some of them replaced and some removed.
async fn a_life(shop: &Shop) {
    let (a, b, c) = (file("day=a/a%20b", 0, 9), file("b", 3, 4), file("c", 5, 6));
    shop.commit([&a, &b, &c].map(|f| Action::add(f.clone())).into()).await;
    shop.commit(vec![txn("app", 7), domain("kept", "{\"a\":1}", false), domain("gone", "x", false)]).await;
    let tombstone = |add: &Add| match remove(add) {
        Action::Remove(mut remove) => {
            remove.deletion_timestamp = Some(SystemClock.now_ms());
            Action::Remove(remove)
        }
        other => other,
    };
    shop.commit(vec![tombstone(&b), Action::add(with_dv(b.clone(), "vector"))]).await;
    // Its retention ended long ago.
    shop.commit(vec![remove(&c)]).await;
    shop.commit(vec![txn("app", 8), txn("other", 1), domain("gone", "", true)]).await;
    let odd = Add {
        tags: Some([("k".to_string(), Some("v".to_string()))].into()),
        base_row_id: Some(5),
        default_row_commit_version: Some(2),
        clustering_provider: Some("liquid".into()),
        stats: None,
        partition_values: [("day".to_string(), None)].into(),
        ..file("odd", 0, 9)
    };
    shop.commit(vec![Action::add(odd)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_has_the_whole_state_of_a_table() {
    for database in databases("checkpoint") {
        for (what, protocol) in [("V1", protocol()), ("V2", with_feature("v2Checkpoint"))] {
            let what = format!("{what} in {database:?}");
            let shop = Shop::with(*database, protocol, metadata("{}")).await;
            a_life(&shop).await;
            shop.mirror.publish(shop.id).await.unwrap();
            let done = shop.mirror.checkpoint(shop.id).await.unwrap();
            assert_eq!((done.version, done.files, done.tombstones), (6, 3, 1), "{what}");
            let all = StoredCheckpoint::all(&shop.entry().await.location, environment().as_ref()).await.unwrap();
            let state = all[0].read().await.unwrap();
            assert_eq!(state.version, what.starts_with("V2").then_some(6), "{what}");
            assert_eq!((state.txns["app"].version, state.domains.len()), (8, 1), "{what}");
            assert_eq!(shop.findings().await, [], "{what}");
            shop.opens_from_the_checkpoint_alone(&what).await;
            // Checked with our own file reader as well, which keeps everything.
            let log = deltalakedb_log::FileTxnLogReader::open(&shop.entry().await.location).await.unwrap();
            let mut files: Vec<Add> =
                deltalakedb_log::TxnLogReader::files(&log, 6, None).await.unwrap().try_collect().await.unwrap();
            let mut ours: Vec<Add> =
                shop.catalog.reader(shop.id).files(6, None).await.unwrap().try_collect().await.unwrap();
            ours.iter_mut().for_each(|file| file.data_change = false);
            files.sort_by(|a, b| a.path.cmp(&b.path));
            ours.sort_by(|a, b| a.path.cmp(&b.path));
            assert_eq!(files, ours, "{what}");
        }
    }
}

/// More files and tombstones than a page of the catalog, with tombstones of two versions on one page.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_checkpoint_are_complete() {
    for database in databases("checkpoint") {
        let shop = Shop::with(*database, protocol(), metadata("{}")).await;
        let added = |of: &str, n: usize| (0..n).map(|i| file(&format!("{of}-{i}"), 0, 9)).collect::<Vec<_>>();
        let (gone, live) = (added("gone", 10_400), added("live", 10_100));
        let now = SystemClock.now_ms();
        let removes = |of: &[Add]| of.iter().map(|f| Action::Remove(Remove::of(f, now, true))).collect::<Vec<_>>();
        shop.commit(gone.iter().cloned().map(Action::add).collect()).await;
        shop.commit(removes(&gone[..3_000])).await;
        shop.commit(removes(&gone[3_000..])).await;
        shop.commit(live.iter().cloned().map(Action::add).collect()).await;
        shop.mirror.publish(shop.id).await.unwrap();
        let done = shop.mirror.checkpoint(shop.id).await.unwrap();
        assert_eq!((done.files, done.tombstones), (10_100, 10_400), "{database:?}");
        let reader = shop.catalog.reader(shop.id);
        let tombstones: Vec<Remove> = reader.tombstones(4, now - 1).await.unwrap().try_collect().await.unwrap();
        let paths: std::collections::BTreeSet<_> = tombstones.into_iter().map(|r| r.path).collect();
        assert_eq!(paths, gone.into_iter().map(|f| f.path).collect(), "{database:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_and_txns_expire_by_table_properties() {
    let tombstones = |properties: &'static str| async move {
        let shop = Shop::new(properties).await;
        a_life(&shop).await;
        shop.mirror.publish(shop.id).await.unwrap();
        shop.mirror.checkpoint(shop.id).await.unwrap().tombstones
    };
    assert_eq!(tombstones(r#"{"delta.deletedFileRetentionDuration":"interval 0 seconds"}"#).await, 0);
    assert_eq!(tombstones(r#"{"delta.deletedFileRetentionDuration":"interval 2 weeks"}"#).await, 1);
    let shop = Shop::new(r#"{"delta.setTransactionRetentionDuration":"interval 1 day"}"#).await;
    let at = |app: &str, ms: i64| match txn(app, 1) {
        Action::Txn(mut txn) => {
            txn.last_updated = Some(ms);
            Action::Txn(txn)
        }
        other => other,
    };
    let now = SystemClock.now_ms();
    shop.commit(vec![at("old", now - 2 * 86_400_000), at("young", now), txn("timeless", 1)]).await;
    shop.mirror.publish(shop.id).await.unwrap();
    shop.mirror.checkpoint(shop.id).await.unwrap();
    let all = StoredCheckpoint::all(&shop.entry().await.location, environment().as_ref()).await.unwrap();
    let txns: Vec<_> = all[0].read().await.unwrap().txns.into_keys().collect();
    assert_eq!(txns, ["timeless", "young"]);
    assert_eq!(shop.findings().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_in_a_checkpoint_follow_the_table_properties() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    for (json, typed) in [(true, false), (true, true), (false, true), (false, false)] {
        let properties = format!(
            r#"{{"delta.checkpoint.writeStatsAsJson":"{json}","delta.checkpoint.writeStatsAsStruct":"{typed}"}}"#
        );
        let shop = Shop::new(&properties).await;
        a_life(&shop).await;
        // Statistics that do not fit the column are ignored, and cause no error.
        let misfit = Add { stats: Some(r#"{"numRecords":1,"minValues":{"id":"x"}}"#.into()), ..file("misfit", 0, 9) };
        shop.commit(vec![Action::add(misfit)]).await;
        shop.mirror.publish(shop.id).await.unwrap();
        shop.mirror.checkpoint(shop.id).await.unwrap();
        let opened = SerializedFileReader::new(std::fs::File::open(shop.checkpoint(7)).unwrap()).unwrap();
        let columns: Vec<_> =
            opened.metadata().file_metadata().schema_descr().columns().iter().map(|c| c.path().string()).collect();
        let has = |name: &str| columns.iter().any(|c| c.starts_with(name));
        assert_eq!(has("add.stats"), json || typed, "{columns:?}");
        assert_eq!(columns.contains(&"add.stats".to_string()), json, "{columns:?}");
        assert_eq!(has("add.stats_parsed.minValues.id"), typed, "{columns:?}");
        assert_eq!(has("add.partitionValues_parsed.day"), typed, "{columns:?}");
        let log = deltalakedb_log::FileTxnLogReader::open(&shop.entry().await.location).await.unwrap();
        only_the_checkpoint(&shop.dir.path().join("t"), 7);
        let files = deltalakedb_log::TxnLogReader::files(&log, 7, None).await.unwrap();
        let files: Vec<Add> = files.try_collect().await.unwrap();
        let stats = |path: &str| files.iter().find(|f| f.path == path).unwrap().stats.clone();
        assert_eq!(stats("day=a/a%20b").is_some(), json || typed, "{properties}");
        assert_eq!(stats("misfit").is_some(), json, "{properties}");
        assert_eq!(stats("odd"), None, "{properties}");
        let kept = stats("b").map(|text| serde_json::from_str::<serde_json::Value>(&text).unwrap());
        let wanted = serde_json::json!({"numRecords": 10, "minValues": {"id": 3}, "maxValues": {"id": 4}, "nullCount": {"id": 0}});
        assert_eq!(kept, (json || typed).then_some(wanted), "{properties}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_checkpoint_is_recorded_and_stops_no_publishing() {
    let shop = Shop::new(r#"{"delta.checkpointInterval":"2"}"#).await;
    shop.append("a").await;
    shop.mirror.publish(shop.id).await.unwrap();
    std::fs::create_dir_all(shop.checkpoint(2)).unwrap();
    shop.append("b").await;
    let done = shop.mirror.publish(shop.id).await.unwrap();
    assert_eq!((done.version, done.count, done.checkpoint), (Some(2), 1, None));
    let [warning] = &done.warnings[..] else { panic!("one warning: {:?}", done.warnings) };
    for part in ["version 2 of default.t is published", "dl mirror checkpoint default.t"] {
        assert!(warning.contains(part), "{warning}");
    }
    shop.append("c").await;
    assert_eq!(shop.mirror.publish(shop.id).await.unwrap().count, 1, "publishing goes on");
    let failures = shop.mirror.status().try_collect::<Vec<_>>().await.unwrap().remove(0).failures;
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!((failures[0].version, failures[0].artifact, failures[0].attempts), (2, Artifact::Checkpoint, 1));
    assert_eq!(shop.hinted(), None, "no reader is led to what is not there");
    shop.append("d").await;
    assert_eq!(shop.mirror.publish(shop.id).await.unwrap().checkpoint, Some(4), "the next one is tried again");
    assert_eq!(shop.mirror.status().try_collect::<Vec<_>>().await.unwrap().remove(0).failures, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hint_never_goes_back() {
    let shop = Shop::new("{}").await;
    for n in 0..5 {
        shop.append(&format!("f{n}")).await;
    }
    shop.mirror.publish(shop.id).await.unwrap();
    shop.mirror.checkpoint(shop.id).await.unwrap();
    assert_eq!(shop.hinted(), Some(5));
    // Versions 6 to 13 are published at once, so version 10 is due; in the meantime another process has written one of
    // version 11.
    for n in 6..14 {
        shop.append(&format!("f{n}")).await;
    }
    let newer = r#"{"version":11,"size":14}"#;
    std::fs::write(shop.log_file("_last_checkpoint"), newer).unwrap();
    assert_eq!(shop.mirror.publish(shop.id).await.unwrap().checkpoint, Some(10));
    assert_eq!(std::fs::read_to_string(shop.log_file("_last_checkpoint")).unwrap(), newer);
    assert!(shop.mirror.checkpoint(shop.id).await.unwrap().is_last, "that of the newest version leads on");
    assert_eq!(shop.hinted(), Some(13));
    // A hint to nowhere is put right.
    std::fs::write(shop.log_file("_last_checkpoint"), r#"{"version":99,"size":9}"#).unwrap();
    shop.found_and_repaired(13, &["_last_checkpoint points to version 99, which has no checkpoint"]).await;
    std::fs::write(shop.log_file("_last_checkpoint"), "{\"vers").unwrap();
    shop.found_and_repaired(13, &["_last_checkpoint is torn"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_wrong_checkpoints_and_checksums() {
    let shop = Shop::new("{}").await;
    a_life(&shop).await;
    shop.mirror.publish(shop.id).await.unwrap();
    shop.mirror.checkpoint(shop.id).await.unwrap();
    let good = std::fs::read(shop.checkpoint(6)).unwrap();
    std::fs::write(shop.checkpoint(6), &good[..good.len() / 2]).unwrap();
    shop.found_and_repaired(6, &["00000000000000000006.checkpoint.parquet is a torn checkpoint"]).await;
    // The hint of another table.
    let other = Shop::new("{}").await;
    other.append("x").await;
    other.mirror.publish(other.id).await.unwrap();
    other.mirror.checkpoint(other.id).await.unwrap();
    std::fs::copy(other.checkpoint(1), shop.checkpoint(6)).unwrap();
    shop.found_and_repaired(6, &["00000000000000000006.checkpoint.parquet has other"]).await;
    let crc = shop.log_file("00000000000000000006.crc");
    let checksum = std::fs::read_to_string(&crc).unwrap();
    for (is, says) in [
        (checksum.replace("\"numFiles\":3", "\"numFiles\":4"), "says numFiles is 4 instead of 3"),
        (checksum.replace("\"tableSizeBytes\":30", "\"tableSizeBytes\":29"), "says tableSizeBytes is 29 instead of 30"),
        (checksum.replace("\"version\":8", "\"version\":7"), "has another txns than the catalog"),
        (checksum[..checksum.len() / 2].to_string(), "is torn"),
    ] {
        assert_ne!(is, checksum);
        std::fs::write(&crc, is).unwrap();
        shop.found_and_repaired(6, &["the checksum 00000000000000000006.crc", says]).await;
        assert_eq!(std::fs::read_to_string(&crc).unwrap(), checksum, "it is written as it was");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repair_restores_whatever_is_lost_or_damaged_in_a_log() {
    let shop = Shop::new("{}").await;
    a_life(&shop).await;
    shop.mirror.publish(shop.id).await.unwrap();
    shop.mirror.checkpoint_at(&shop.entry().await, 4).await.unwrap();
    shop.mirror.checkpoint(shop.id).await.unwrap();
    let of = |version: Version, kind: &str| format!("{version:020}.{kind}");
    let (commit, older, newest) = (of(3, "json"), of(4, "checkpoint.parquet"), of(6, "checkpoint.parquet"));
    let (other_name, hint) = (of(6, "checkpoint.3a0d65cd-4056-49b8-937b-95f9e3ee90e5.parquet"), "_last_checkpoint");
    let read = |name: &str| std::fs::read(shop.log_file(name)).unwrap();
    let half = |name: &str| {
        let bytes = read(name);
        Some(bytes[..bytes.len() / 2].to_vec())
    };
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let wrong = String::from_utf8(read(&of(6, "crc"))).unwrap().replace("\"numFiles\":3", "\"numFiles\":4");
    // The file, the version of the finding, the bytes of the file, and what the finding says.
    let cases = [
        (of(0, "json"), 0, None, "00000000000000000000.json is missing"),
        (of(6, "json"), 6, None, "00000000000000000006.json is missing"),
        (commit.clone(), 3, None, "00000000000000000003.json is missing"),
        (commit.clone(), 3, half(&commit), "00000000000000000003.json is torn"),
        (commit.clone(), 3, text(""), "00000000000000000003.json is torn: it has 0 of"),
        (newest.clone(), 6, Some(read(&older)), "has other txns than the catalog"),
        (newest.clone(), 6, half(&newest), "is a torn checkpoint"),
        (newest.clone(), 6, text(""), "is a torn checkpoint"),
        (newest.clone(), 6, None, "_last_checkpoint points to version 6, which has no checkpoint"),
        (older.clone(), 4, half(&older), "is a torn checkpoint"),
        (other_name.clone(), 6, half(&newest), "is a torn checkpoint"),
        (hint.into(), 6, text(r#"{"version":99,"size":9}"#), "points to version 99, which has no checkpoint"),
        (hint.into(), 6, text(r#"{"version":5,"size":9}"#), "points to version 5, which has no checkpoint"),
        (hint.into(), 6, half(hint), "_last_checkpoint is torn"),
        (hint.into(), 6, text(""), "_last_checkpoint is torn"),
        (hint.into(), 6, None, "_last_checkpoint is missing"),
        (of(6, "crc"), 6, text(&wrong), "00000000000000000006.crc says numFiles is 4 instead of 3"),
        (of(6, "crc"), 6, half(&of(6, "crc")), "00000000000000000006.crc is torn"),
        (of(3, "crc"), 3, text(""), "00000000000000000003.crc is torn"),
    ];
    let good = contents(&shop.dir.path().join("t/_delta_log"));
    let same = |what: &str| {
        let now = contents(&shop.dir.path().join("t/_delta_log"));
        assert!(now.keys().eq(good.keys()), "{what}: {:?}", now.keys());
        for (name, bytes) in &now {
            // A checkpoint that is written again need not have the same bytes.
            assert!(name.to_string_lossy().contains("checkpoint") || *bytes == good[name], "{what}: {name:?}");
        }
    };
    for (name, version, bytes, says) in cases {
        match bytes {
            Some(bytes) => std::fs::write(shop.log_file(&name), bytes).unwrap(),
            None => std::fs::remove_file(shop.log_file(&name)).unwrap(),
        }
        shop.found_and_repaired(version, &[says]).await;
        assert_eq!(shop.hinted(), Some(6), "{name}: {says}");
        same(&format!("{name}: {says}"));
    }

    // Readers do not need a checksum, so a missing one is not a finding.
    std::fs::remove_file(shop.log_file(&of(5, "crc"))).unwrap();
    assert_eq!(shop.findings().await, []);
    let repaired = shop.mirror.repair(shop.id).await.unwrap();
    assert_eq!((&repaired.checksums[..], repaired.versions.len()), (&[5][..], 0), "{repaired}");
    same("a missing checksum");

    // Several at once.
    for name in [commit.as_str(), hint] {
        std::fs::remove_file(shop.log_file(name)).unwrap();
    }
    for name in [&newest, &of(2, "crc"), &of(6, "crc")] {
        std::fs::write(shop.log_file(name), "").unwrap();
    }
    let repaired = shop.mirror.repair(shop.id).await.unwrap();
    assert_eq!((&repaired.versions[..], &repaired.checkpoints[..]), (&[3][..], &[6][..]), "{repaired}");
    assert_eq!((&repaired.checksums[..], repaired.hint), (&[2, 6][..], true), "{repaired}");
    assert_eq!(
        repaired.to_string(),
        "version 3 of default.t was missing in its _delta_log and was published again; the checkpoint of version 6 of \
         default.t was missing or wrong and was written again; 2 checksums of default.t, of versions from 2 to 6, were \
         missing or wrong and were written again; _last_checkpoint of default.t was missing or wrong and was written \
         again"
    );
    same("several");
    assert!(shop.mirror.repair(shop.id).await.unwrap().is_empty());

    // Another writer's commit is kept, and nothing else is written beside it.
    std::fs::write(shop.log_file(&commit), "another's").unwrap();
    std::fs::write(shop.log_file(hint), "").unwrap();
    let refused = shop.mirror.repair(shop.id).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    assert_eq!((read(&commit), read(hint)), (b"another's".to_vec(), Vec::new()));
}

/// A checksum is that of its version, with any publisher of the previous one: this process, another, or another engine.
#[tokio::test(flavor = "multi_thread")]
async fn checksums_are_exact_whether_counted_or_carried_forward() {
    for database in databases("checkpoint") {
        let shop = Shop::with(*database, protocol(), metadata("{}")).await;
        a_life(&shop).await;
        // All at once, one after the other in this process.
        shop.mirror.publish(shop.id).await.unwrap();
        assert_eq!(shop.findings().await, [], "{database:?}");
        let fresh = || Mirror::new(shop.catalog.clone(), Arc::new(SystemClock));
        // A separate process for each.
        shop.append("x").await;
        fresh().publish(shop.id).await.unwrap();
        shop.commit(vec![remove(&file("x", 0, 9)), txn("app", 9)]).await;
        fresh().publish(shop.id).await.unwrap();
        assert_eq!(shop.findings().await, [], "{database:?}");
        // The previous one is missing, or wrong.
        for (n, before) in [None, Some("{}"), Some("{\"numFiles\":77,\"tableSizeBytes\":1}")].into_iter().enumerate() {
            let head = shop.entry().await.current_version;
            let crc = shop.log_file(&format!("{head:020}.crc"));
            match before {
                None => std::fs::remove_file(&crc).unwrap(),
                Some(text) => std::fs::write(&crc, text).unwrap(),
            }
            shop.append(&format!("y{n}")).await;
            fresh().publish(shop.id).await.unwrap();
            std::fs::remove_file(&crc).ok();
            assert_eq!(shop.findings().await, [], "{database:?}: after {before:?}");
        }
        // This process has a checksum of version 6, and has not published since.
        shop.append("z").await;
        shop.mirror.publish(shop.id).await.unwrap();
        assert_eq!(shop.findings().await, [], "{database:?}");
        let log = contents(&shop.dir.path().join("t/_delta_log"));
        assert!(
            log.keys().all(|name| !name.to_string_lossy().contains('#')),
            "{database:?}: nothing unfinished is left"
        );
        let theirs = their_state(&shop.entry().await.location, shop.entry().await.current_version).await.unwrap();
        let entry = shop.entry().await;
        same_state("the newest", &our_state(shop.catalog.as_ref(), &entry, entry.current_version).await, &theirs);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_read_from_a_checkpoint_alone() {
    use deltalakedb_tests::{copy, repository};
    for database in databases("checkpoint") {
        let dir = tempfile::tempdir().unwrap();
        copy(&repository().join("examples/data/events"), &dir.path().join("t"));
        let catalog = catalog(*database, dir.path()).await;
        let table = import(&catalog, &dir.path().join("t"), "t").await.unwrap();
        Mirror::new(catalog.clone(), Arc::new(SystemClock)).checkpoint(table.id).await.unwrap();
        only_the_checkpoint(&dir.path().join("t"), table.current_version);
        let rows = their_rows(&table.location, table.current_version).await.unwrap();
        assert_eq!(rows, our_rows(&catalog, &table, table.current_version).await.unwrap(), "{database:?}");
        let reader = catalog.reader(table.id);
        let head = reader.snapshot(At::Latest).await.unwrap();
        assert_eq!(head.version(), table.current_version);
    }
}
