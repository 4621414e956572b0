//! Publishing, foreign commits, verification.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use deltalakedb_log::action::{Action, Version};
use deltalakedb_log::conformance::actions::{domain, file, remove, txn};
use deltalakedb_log::conformance::refused;
use deltalakedb_log::{At, ErrorKind, SeededClock};
use deltalakedb_mirror::{Finding, Mirror, Published, VerifyOptions};
use deltalakedb_table::{DeltaRs, DropOptions, WriteOptions, drop_table};
use deltalakedb_tests::{
    agrees_with_delta_rs, contents, copy, import, location, python, repository, run_python, sqlite,
};
use futures::TryStreamExt;

use crate::shop::Shop;

impl Shop {
    /// The table is the example that delta-rs wrote, imported.
    async fn events() -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(&repository().join("examples/data/events"), &dir.path().join("t"));
        let catalog = sqlite(dir.path()).await;
        let id = import(&catalog, &dir.path().join("t"), "t").await.unwrap().id;
        Self::of(dir, catalog, id)
    }

    async fn body(&self, version: Version) -> Vec<u8> {
        self.catalog.reader(self.id).commit_bytes(version).await.unwrap().unwrap().to_vec()
    }

    fn commit_file(&self, version: Version) -> PathBuf {
        self.root().join(format!("_delta_log/{version:020}.json"))
    }

    /// The number of files in the log with this ending.
    fn published_files(&self, ending: &str) -> usize {
        contents(&self.root()).keys().filter(|path| path.extension().is_some_and(|e| e == ending)).count()
    }

    /// Another writer's commit.
    fn foreign(&self, version: Version, path: &str) -> Vec<u8> {
        let info = r#"{"commitInfo":{"timestamp":1,"operation":"WRITE","engineInfo":"another/1.0"}}"#;
        let body = format!("{info}\n{}\n", Action::add(file(path, 0, 9)).to_json()).into_bytes();
        std::fs::create_dir_all(self.root().join("_delta_log")).unwrap();
        std::fs::write(self.commit_file(version), &body).unwrap();
        body
    }

    async fn findings_of(&self, options: VerifyOptions) -> Vec<Finding> {
        self.mirror.verify(&self.entry().await, &DeltaRs, options, &|_, _| {}).await.unwrap()
    }

    /// Checks that the only finding names the version and contains these texts.
    async fn found(&self, version: Version, says: &[&str]) {
        let findings = self.findings_of(VerifyOptions { every_version: true, data: true }).await;
        assert_eq!(findings.len(), 1, "one finding for one cause: {findings:#?}");
        assert_eq!(findings[0].version, version, "{}", findings[0]);
        for part in says {
            assert!(findings[0].to_string().contains(part), "{:?} does not say {part:?}", findings[0].to_string());
        }
    }
}

fn published(version: Version, count: u64) -> Published {
    let mut published = Published::default();
    (published.version, published.count) = (Some(version), count);
    published
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_published_byte_for_byte() {
    let shop = Shop::new("{}").await;
    shop.append("a").await;
    shop.try_commit(vec![remove(&file("a", 0, 9)), Action::add(file("b%20ü", 5, 6)), txn("app", 7)]).await.unwrap();
    shop.try_commit(vec![domain("d", "c", false)]).await.unwrap();
    assert_eq!(shop.entry().await.published_version, None);
    assert_eq!(shop.mirror.status().try_collect::<Vec<_>>().await.unwrap()[0].behind, 4);
    assert_eq!(shop.mirror.publish(shop.id).await.unwrap(), published(3, 4));
    assert_eq!(shop.entry().await.published_version, Some(3));
    assert_eq!(shop.published_files("json"), 4, "the commits");
    assert_eq!(shop.published_files("crc"), 4, "their checksums");
    assert_eq!(contents(&shop.root()).len(), 8, "and nothing else");
    for version in 0..4 {
        assert_eq!(std::fs::read(shop.commit_file(version)).unwrap(), shop.body(version).await, "version {version}");
        let time = shop.catalog.reader(shop.id).snapshot(At::Version(version)).await.unwrap().head.timestamp;
        let of_file = std::fs::metadata(shop.commit_file(version)).unwrap().modified().unwrap();
        assert_eq!(of_file, SystemTime::UNIX_EPOCH + Duration::from_millis(time.unsigned_abs()), "version {version}");
    }
    assert_eq!(shop.mirror.publish(shop.id).await.unwrap(), published(3, 0), "nothing is left to do");
    assert_eq!(shop.findings_of(VerifyOptions { every_version: true, data: false }).await, []);
    agrees_with_delta_rs(&shop.catalog, &shop.entry().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_continues_after_one_that_died() {
    let shop = Shop::new("{}").await;
    for path in ["a", "b", "c"] {
        shop.append(path).await;
    }
    // The process put two versions and ended before it recorded that.
    std::fs::create_dir_all(shop.root().join("_delta_log")).unwrap();
    for version in 0..2 {
        std::fs::write(shop.commit_file(version), shop.body(version).await).unwrap();
    }
    assert_eq!(shop.mirror.publish(shop.id).await.unwrap(), published(3, 4));
    for version in 0..4 {
        assert_eq!(std::fs::read(shop.commit_file(version)).unwrap(), shop.body(version).await, "version {version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_publishers_publish_every_version_once() {
    let shop = Shop::new("{}").await;
    for n in 0..150 {
        shop.append(&format!("f{n}")).await;
    }
    // Time hardly advances, so no lease expires, however slow the machine is.
    let clock = Arc::new(SeededClock::new(1_700_000_000_000, 1));
    let publishers = (0..4).map(|_| {
        let (catalog, clock, id) = (shop.catalog.clone(), clock.clone(), shop.id);
        tokio::spawn(async move { Mirror::new(catalog, clock).publish(id).await })
    });
    let done: Vec<_> = futures::future::join_all(publishers).await.into_iter().map(|p| p.unwrap().unwrap()).collect();
    assert!(done.iter().all(|p| p.elsewhere || p.version == Some(150)), "{done:?}");
    assert_eq!(done.iter().map(|p| p.count).sum::<u64>(), 151, "each version was published by one of them: {done:?}");
    assert_eq!(shop.entry().await.published_version, Some(150));
    assert_eq!((shop.published_files("json"), shop.published_files("crc")), (151, 151));
    assert_eq!(shop.findings_of(VerifyOptions { every_version: true, data: false }).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_recorded_until_it_is_resolved() {
    let shop = Shop::new("{}").await;
    shop.append("a").await;
    std::fs::create_dir_all(shop.root()).unwrap();
    std::fs::write(shop.root().join("_delta_log"), "in the way").unwrap();
    let says = ["version 0 of default.t is committed but could not be published", "dl mirror run"];
    let error = shop.mirror.publish(shop.id).await.unwrap_err().to_string();
    assert!(says.iter().all(|part| error.contains(part)), "{error}");
    let status = shop.mirror.status().try_collect::<Vec<_>>().await.unwrap().remove(0);
    assert_eq!((status.behind, status.failures.len()), (2, 1));
    let failure = &status.failures[0];
    assert_eq!((failure.version, failure.attempts), (0, 1), "{failure:?}");
    assert!(failure.error.contains("Not a directory"), "{failure:?}");
    assert_eq!(shop.append("b").await, 2, "committing goes on");
    std::fs::remove_file(shop.root().join("_delta_log")).unwrap();
    assert_eq!(shop.mirror.publish(shop.id).await.unwrap(), published(2, 3));
    assert_eq!(shop.mirror.status().try_collect::<Vec<_>>().await.unwrap()[0].failures, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_commit_stops_publishing() {
    let shop = Shop::new("{}").await;
    shop.append("a").await;
    shop.mirror.publish(shop.id).await.unwrap();
    shop.append("b").await;
    let foreign = shop.foreign(3, "theirs");
    shop.append("c").await;
    shop.append("d").await;
    let says = ["version 3", "00000000000000000003.json", "another/1.0", "dl verify default.t"];
    refused(shop.mirror.publish(shop.id).await, ErrorKind::Invalid, &says);
    assert_eq!(std::fs::read(shop.commit_file(3)).unwrap(), foreign, "nothing was overwritten");
    assert_eq!(std::fs::read(shop.commit_file(2)).unwrap(), shop.body(2).await, "what comes before it is published");
    assert!(!shop.commit_file(4).exists(), "what comes after it is not");
    assert_eq!(shop.entry().await.published_version, Some(2), "the watermark is where publishing stopped");
    refused(shop.mirror.publish(shop.id).await, ErrorKind::Invalid, &says);
    refused(shop.try_commit(vec![Action::add(file("e", 0, 9))]).await, ErrorKind::Invalid, &says);
    assert_eq!(shop.entry().await.current_version, 4, "the table can be read still");

    let findings = shop.findings_of(VerifyOptions::default()).await;
    let differs = findings.iter().find(|f| f.version == 3).unwrap_or_else(|| panic!("{findings:?}"));
    assert!(differs.what.contains("00000000000000000003.json") && differs.what.contains("another/1.0"), "{differs}");
    let again = import(&shop.catalog, &shop.root(), "t").await;
    refused(again, ErrorKind::Invalid, &["default.t", "not published", "dl verify default.t"]);

    let kept = shop.mirror.keep_ours(shop.id).await.unwrap();
    assert_eq!(kept.set_aside, ["00000000000000000003.json"]);
    assert_eq!(std::fs::read(shop.root().join(&kept.folder).join(&kept.set_aside[0])).unwrap(), foreign);
    assert_eq!(kept.published.version, Some(4));
    assert_eq!(shop.findings_of(VerifyOptions { every_version: true, data: false }).await, []);
    shop.append("e").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_version_may_be_foreign_too() {
    let shop = Shop::new("{}").await;
    let foreign = shop.foreign(0, "theirs");
    let says = ["version 0", "00000000000000000000.json", "dl verify default.t"];
    refused(shop.mirror.publish(shop.id).await, ErrorKind::Invalid, &says);
    assert_eq!(std::fs::read(shop.commit_file(0)).unwrap(), foreign);
    let findings = shop.findings_of(VerifyOptions::default()).await;
    assert!(findings.iter().any(|f| f.what.contains("another/1.0") && f.what.contains("differs")), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_commits_are_imported_by_importing_again() {
    let shop = Shop::events().await;
    let foreign = shop.foreign(14, "theirs-1");
    shop.foreign(15, "theirs-2");
    let findings = shop.findings_of(VerifyOptions::default()).await;
    let first = findings.first().unwrap();
    assert_eq!(first.version, 14, "{findings:?}");
    assert!(first.what.contains("not in the catalog") && first.suggested_fix.contains("dl import"), "{first}");
    let table = import(&shop.catalog, &shop.root(), "t").await.unwrap();
    assert_eq!((table.current_version, table.published_version), (15, Some(15)));
    assert_eq!(shop.body(14).await, foreign);
    assert_eq!(shop.append("ours").await, 16);
    assert_eq!(shop.mirror.publish(shop.id).await.unwrap(), published(16, 1));
    agrees_with_delta_rs(&shop.catalog, &shop.entry().await).await;
    assert_eq!(shop.findings_of(VerifyOptions { every_version: true, data: false }).await, []);
    let again = import(&shop.catalog, &shop.root(), "t").await.unwrap();
    assert_eq!(again.current_version, 16, "with nothing new, importing again changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_is_silent_on_a_good_table() {
    let shop = Shop::events().await;
    assert_eq!(shop.findings_of(VerifyOptions { every_version: true, data: true }).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_what_is_not_published() {
    let shop = Shop::events().await;
    let (_, bytes) =
        contents(&shop.root()).into_iter().find(|(path, _)| path.extension().is_some_and(|e| e == "parquet")).unwrap();
    std::fs::write(shop.root().join("late"), bytes).unwrap();
    shop.append("late").await;
    shop.found(14, &["1 commit is not published yet", "dl mirror run"]).await;
    shop.mirror.publish(shop.id).await.unwrap();
    assert_eq!(shop.findings_of(VerifyOptions { every_version: true, data: true }).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_missing_commit() {
    for version in [0, 4, 13] {
        let shop = Shop::events().await;
        std::fs::remove_file(shop.commit_file(version)).unwrap();
        shop.found(version, &[&format!("{version:020}.json is missing")]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_an_altered_commit() {
    for version in [0, 4, 13] {
        let shop = Shop::events().await;
        let mut body = std::fs::read(shop.commit_file(version)).unwrap();
        body.push(b'\n');
        std::fs::write(shop.commit_file(version), &body).unwrap();
        shop.found(version, &[&format!("{version:020}.json"), "differs from the catalog at line"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_foreign_commit() {
    let shop = Shop::events().await;
    shop.foreign(14, "theirs");
    shop.found(14, &["00000000000000000014.json", "another/1.0", "is not in the catalog", "dl import"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_torn_checkpoint() {
    let shop = Shop::events().await;
    let checkpoint = shop.root().join("_delta_log/00000000000000000010.checkpoint.parquet");
    let bytes = std::fs::read(&checkpoint).unwrap();
    std::fs::write(&checkpoint, &bytes[..bytes.len() / 2]).unwrap();
    let findings = shop.findings_of(VerifyOptions::default()).await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].to_string().contains("torn checkpoint"), "{}", findings[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_changed_in_the_database_is_not_taken_for_a_wrong_log() {
    let Some(python) = python("sqlite3") else { return };
    let run = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.execute(sys.argv[2])\nc.commit()";
    for (change, says) in [
        ("UPDATE dl_add_files SET size_bytes = size_bytes + 1", "has other sizes than its commit"),
        ("UPDATE dl_add_files SET stats = NULL", "has other statistics than its commit"),
        ("DELETE FROM dl_add_files WHERE removed_version IS NULL", "the catalog has no row for the file"),
    ] {
        let shop = Shop::events().await;
        let log = contents(&shop.root().join("_delta_log"));
        run_python(&python, run, &[shop.dir.path().join("catalog.db").to_str().unwrap(), change]);
        shop.found(13, &[says, "`dl drop default.t`, and `dl import"]).await;
        let error = shop.mirror.repair(shop.id).await;
        refused(error, ErrorKind::Corrupt, &[says, "`dl import"]);
        assert!(contents(&shop.root().join("_delta_log")) == log, "{change}: nothing is made of these rows");
        let (by, options) = (WriteOptions::default(), VerifyOptions { every_version: true, data: true });
        drop_table(&shop.mirror, shop.id, DropOptions::default(), &by).await.unwrap();
        let again = import(&shop.catalog, &shop.root(), "t").await.unwrap();
        assert_eq!(shop.mirror.verify(&again, &DeltaRs, options, &|_, _| {}).await.unwrap(), [], "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_a_missing_data_file() {
    let shop = Shop::events().await;
    let live = deltalakedb_table::plain::replay(&location(&shop.root()), None).await.unwrap().files.remove(0).path;
    let on_disk = String::from_utf8(deltalakedb_log::canonical_path(&live)).unwrap();
    std::fs::remove_file(Path::new(&shop.root()).join(on_disk)).unwrap();
    shop.found(13, &[&format!("the data file {live} is missing")]).await;
    assert_eq!(shop.findings_of(VerifyOptions::default()).await, [], "only when asked for data");
}
