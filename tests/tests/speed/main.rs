//! The minimum speed of a usable catalog, on every database, by the clock: `make speed` runs these tests, on a machine
//! that is otherwise idle. The limits are far below the speed of such a machine, which `make bench` measures. No other
//! test uses a clock; the cost of an operation in a database is counted by the database.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests speak by panicking")]
#![allow(clippy::print_stderr, reason = "the figures are worth seeing")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltalakedb_log::action::{Action, Commit};
use deltalakedb_log::commit::{Base, NewTable};
use deltalakedb_log::conformance::actions::file;
use deltalakedb_log::{Catalog, CommitRequest, Location, SystemClock, TableEntry, TableId};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::plain;
use deltalakedb_tests::{Database, catalog, databases, import, large_log, location, python, run_python, sqlite};
use uuid::Uuid;

async fn imported(catalog: &Arc<dyn Catalog>, at: &Path, name: &str) -> (TableEntry, Duration) {
    let began = Instant::now();
    (import(catalog, at, name).await.unwrap(), began.elapsed())
}

/// The 95th percentile of the time to open.
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
        let action = Action::add(file(&format!("new-{n}"), 0, 9));
        let request = CommitRequest::new(table.id, Uuid::new_v4(), base, vec![action]);
        let began = Instant::now();
        catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        took.push(began.elapsed());
    }
    took.sort();
    took
}

/// The tests run one after the other, so that they do not slow each other down.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The databases run one after the other, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_reaches_its_performance_floors() {
    let _alone = ALONE.lock().await;
    let logs = tempfile::tempdir().unwrap();
    let (wide, long) = (logs.path().join("wide"), logs.path().join("long"));
    large_log(&wide, 1_000, 100);
    large_log(&long, 50_000, 1);
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

/// Appends a row this many times, with the checkpoints that delta-rs writes by itself.
const APPEND: &str = r#"
import sys
import pyarrow as pa
from deltalake import write_deltalake
place, times = sys.argv[1:]
for n in range(int(times)):
    write_deltalake(place, pa.table({"id": [n], "name": [f"row {n}"]}), mode="append")
"#;
const APPENDS: u64 = 500;

/// The same commits, in one table mirrored by us and one written by delta-rs with its own checkpoints: plain delta-rs
/// opens ours at least as fast.
#[tokio::test(flavor = "multi_thread")]
async fn outside_readers_open_a_mirrored_table_as_fast_as_one_of_delta_rs() {
    let Some(python) = python("deltalake, duckdb, polars") else { return };
    let _alone = ALONE.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    run_python(&python, APPEND, &[theirs.to_str().unwrap(), &(APPENDS + 1).to_string()]);
    let catalog = sqlite(dir.path()).await;
    let (id, mirror) = (TableId(Uuid::new_v4()), Mirror::new(catalog.clone(), Arc::new(SystemClock)));
    let mut publishing = Vec::new();
    for version in 0..=APPENDS {
        let file = theirs.join(format!("_delta_log/{version:020}.json"));
        let mut actions = Commit::parse(std::fs::read(file).unwrap().into(), "a commit").unwrap().into_actions();
        actions.retain(|action| !matches!(action, Action::CommitInfo(_)));
        let base = match version.checked_sub(1) {
            None => Base::Create(NewTable::new("ours".parse().unwrap(), location(&ours))),
            Some(before) => Base::Exactly(before),
        };
        let request = CommitRequest::new(id, Uuid::new_v4(), base, actions);
        catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        let began = Instant::now();
        assert_eq!(mirror.publish(id).await.unwrap().warnings, [""; 0]);
        publishing.push(began.elapsed());
    }
    let open = async |place: &Location| {
        let began = Instant::now();
        let replayed = plain::replay(place, None).await.unwrap();
        assert_eq!((replayed.version, replayed.files.len() as u64), (APPENDS, APPENDS + 1));
        began.elapsed()
    };
    let (mut by_us, mut by_them) = (Vec::new(), Vec::new());
    for _ in 0..11 {
        by_us.push(open(&location(&ours)).await);
        by_them.push(open(&location(&theirs)).await);
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let (by_us, by_them, publishing) = (median(&mut by_us), median(&mut by_them), median(&mut publishing));
    eprintln!("opened in {by_us:?}, delta-rs' own in {by_them:?}; published in {publishing:?}");
    let limit = by_them * 3 / 2 + Duration::from_millis(5);
    assert!(by_us <= limit, "ours opens in {by_us:?}, theirs in {by_them:?}");
}
