//! The floors below which a catalog is not usable, on every database. They are far below what a quiet machine does:
//! `make bench` has the figures. They are a program of their own, so that no other test takes the machine meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests speak by panicking")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltalakedb_log::action::Action;
use deltalakedb_log::commit::Base;
use deltalakedb_log::conformance::actions::file;
use deltalakedb_log::{Catalog, CommitRequest, TableEntry};
use deltalakedb_tests::{Database, catalog, databases, import};
use uuid::Uuid;

const SCHEMA: &str =
    r#"{\"type\":\"struct\",\"fields\":[{\"name\":\"id\",\"type\":\"long\",\"nullable\":true,\"metadata\":{}}]}"#;

/// A log of that many commits with that many files each, and no data.
fn log(table: &Path, commits: u64, files: u64) {
    let folder = table.join("_delta_log");
    std::fs::create_dir_all(&folder).unwrap();
    for version in 0..commits {
        let mut text = String::from("{\"commitInfo\":{\"timestamp\":1700000000000,\"operation\":\"WRITE\"}}\n");
        if version == 0 {
            text.push_str("{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}}\n");
            let metadata = format!(
                r#"{{"metaData":{{"id":"x","format":{{"provider":"parquet","options":{{}}}},"schemaString":"{SCHEMA}","partitionColumns":[],"configuration":{{}},"createdTime":1}}}}"#
            );
            writeln!(text, "{metadata}").unwrap();
        }
        for n in version * files..(version + 1) * files {
            let (low, high) = (n * 1000, n * 1000 + 999);
            let stats = format!(
                r#"{{\"numRecords\":1000,\"minValues\":{{\"id\":{low}}},\"maxValues\":{{\"id\":{high}}},\"nullCount\":{{\"id\":0}}}}"#
            );
            writeln!(
                text,
                r#"{{"add":{{"path":"part-{n:08}.parquet","partitionValues":{{}},"size":1048576,"modificationTime":1,"dataChange":true,"stats":"{stats}"}}}}"#
            )
            .unwrap();
        }
        std::fs::write(folder.join(format!("{version:020}.json")), text).unwrap();
    }
}

async fn imported(catalog: &Arc<dyn Catalog>, at: &Path, name: &str) -> (TableEntry, Duration) {
    let began = Instant::now();
    (import(catalog, at, name).await.unwrap(), began.elapsed())
}

/// The time below which 95 of 100 openings stay.
async fn p95_of_open(catalog: &Arc<dyn Catalog>, table: &TableEntry) -> Duration {
    let mut took = Vec::new();
    for _ in 0..100 {
        let began = Instant::now();
        let head = catalog.reader(table.id).head().await.unwrap();
        took.push(began.elapsed());
        assert_eq!(head.version, table.current_version);
    }
    took.sort();
    took[94]
}

/// Commits of one file each, one after the other: how long each took.
async fn commits(catalog: &Arc<dyn Catalog>, table: &TableEntry) -> Vec<Duration> {
    let mut took = Vec::new();
    for n in 0..40 {
        let base = Base::RebaseFrom(table.current_version);
        let action = Action::Add(file(&format!("new-{n}"), 0, 9));
        let request = CommitRequest::new(table.id, Uuid::new_v4(), base, vec![action]);
        let began = Instant::now();
        catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        took.push(began.elapsed());
    }
    took.sort();
    took
}

/// One after the other, so that they do not slow each other down.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_keeps_the_promised_floors() {
    let logs = tempfile::tempdir().unwrap();
    let (wide, long) = (logs.path().join("wide"), logs.path().join("long"));
    log(&wide, 1_000, 100);
    log(&long, 50_000, 1);
    for database in databases("speed") {
        floors(*database, &wide, &long).await;
    }
}

async fn floors(database: Database, wide: &Path, long: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(database, dir.path()).await;
    let (table, took) = imported(&catalog, wide, "wide").await;
    let rate = 100_000.0 / took.as_secs_f64();
    assert!(rate > 1_000.0, "{database:?}: an import takes in more than 1,000 files/s, not {rate:.0}");
    let p95 = p95_of_open(&catalog, &table).await;
    assert!(
        p95 < Duration::from_millis(800),
        "{database:?}: 100,000 files open in less than 800 ms (p95), not {p95:?}"
    );
    let took = commits(&catalog, &table).await;
    let median = took[took.len() / 2];
    assert!(median < Duration::from_millis(50), "{database:?}: a file is committed in less than 50 ms, not {median:?}");
    let rate = took.len() as f64 / took.iter().sum::<Duration>().as_secs_f64();
    assert!(rate > 10.0, "{database:?}: more than 10 commits/s, not {rate:.0}");
    let (table, _) = imported(&catalog, long, "long").await;
    let p95 = p95_of_open(&catalog, &table).await;
    assert!(p95 < Duration::from_millis(500), "{database:?}: 50,000 commits open in less than 500 ms, not {p95:?}");
}
