//! Vacuum removes the files that are no longer needed, and no others.

use std::fs::{File, write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use deltalakedb_log::{Clock, MirrorProgress, TxnLogTransactionError};

use super::*;

/// The catalog's clock starts here and advances by 1 ms per call.
const BEGIN: i64 = 1_700_000_000_000;

/// A client's clock, this many seconds after the start of the catalog's clock.
pub(super) fn later(seconds: i64) -> WriteOptions {
    // Different ids, because a commit with an id that exists is the earlier commit.
    static SEEDS: AtomicU64 = AtomicU64::new(9);
    let seed = SEEDS.fetch_add(1, Ordering::Relaxed);
    let clock: Arc<dyn Clock> = Arc::new(SeededClock::new(BEGIN + seconds * 1_000, seed));
    WriteOptions { clock, ..WriteOptions::default() }
}

impl Fixture {
    /// Advances the catalog's clock to this many seconds after its start. The client's clock, which is wrong, does not
    /// affect a vacuum.
    pub(super) fn later(&self, seconds: i64) -> WriteOptions {
        self.clock.set(BEGIN + seconds * 1_000);
        later(-1_000_000_000)
    }
}

pub(super) fn now_and_then(retain: u64, lite: bool) -> Vacuum {
    Vacuum { retain: Some(Duration::from_secs(retain)), lite, enforce_retention: false, ..Vacuum::default() }
}

/// A table whose first file was replaced in version 2, with files in its folder that are not in the log.
pub(super) async fn replaced(fixture: &Fixture) -> DeltaTable {
    let table = fixture.create("t", "id long, day string", &["day"]).await;
    let options = WriteOptions::default();
    table.write(rows(&[1, 2], &["a b", "a b"]), SaveMode::Append, &options).await.unwrap();
    table.delete(Some("id = 1"), &options).await.unwrap();
    let place = table.location().local_path().unwrap();
    std::fs::create_dir_all(place.join("_delta_log")).unwrap();
    std::fs::create_dir_all(place.join("_other")).unwrap();
    for name in ["young.parquet", "old.parquet", "_delta_log/old.json", "_other/old.parquet", ".old"] {
        write(place.join(name), "x").unwrap();
        if name != "young.parquet" {
            let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
            File::options().write(true).open(place.join(name)).unwrap().set_modified(long_ago).unwrap();
        }
    }
    table
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_deletes_only_files_that_no_reader_needs() {
    let fixture = Fixture::new();
    let table = replaced(&fixture).await;
    let place = table.location().local_path().unwrap();
    let there = |name: &str| place.join(name).exists();
    let e = table
        .vacuum(&Vacuum { enforce_retention: true, ..now_and_then(5, false) }, &fixture.later(60))
        .await
        .unwrap_err();
    assert!(e.to_string().contains("keeps removed files for 168 hours"), "{e}");

    let within =
        table.vacuum(&Vacuum { dry_run: true, ..now_and_then(3_600, false) }, &fixture.later(60)).await.unwrap();
    assert_eq!(within.files, ["old.parquet"], "the replaced file is of a version within retention");
    let dry = Vacuum { dry_run: true, ..now_and_then(0, false) };
    let dry = table.vacuum(&dry, &fixture.later(60)).await.unwrap();
    assert_eq!(dry.files.len(), 2, "{dry:?}");
    assert_eq!(table.head().await.unwrap().version, 2, "nothing was said and nothing done");
    assert_eq!((data_files(&table), there("old.parquet")), (5, true));

    let gone = table.vacuum(&now_and_then(0, true), &fixture.later(60)).await.unwrap();
    assert_eq!(gone.files.len(), 1, "what the log does not know is not looked for: {gone:?}");
    assert!(gone.files[0].starts_with("day=a%20b/") && gone.bytes > 0, "{gone:?}");
    assert_eq!(table.vacuum(&now_and_then(0, false), &fixture.later(60)).await.unwrap().files, ["old.parquet"]);
    for (name, stays) in [("young.parquet", true), ("old.parquet", false), ("_other/old.parquet", true), (".old", true)]
    {
        assert_eq!(there(name), stays, "{name}");
    }
    check(&table, &Scan::default(), &["|2|ab|"]).await;
    let range = deltalakedb_log::HistoryRange { limit: Some(2), ..Default::default() };
    let commits = table.reader().await.unwrap().history(range).await.unwrap();
    assert_eq!(
        commits.iter().map(|c| c.operation.as_deref().unwrap()).collect::<Vec<_>>(),
        ["VACUUM END", "VACUUM START"]
    );
    assert_eq!(table.vacuum(&now_and_then(0, false), &fixture.later(60)).await.unwrap(), Vacuumed::default());
    assert_eq!(table.head().await.unwrap().version, 6, "and when there is nothing to do, nothing is said");
    std::fs::remove_file(place.join("_delta_log/old.json")).unwrap();
    check_plain(&table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_keeps_files_of_absolute_paths_and_change_files() {
    let fixture = Fixture::new();
    let table = replaced(&fixture).await;
    let options = WriteOptions::default();
    let place = table.location().local_path().unwrap();
    // A live file with another spelling.
    let mut add = table.reader().await.unwrap().files(2, None).await.unwrap().try_next().await.unwrap().unwrap();
    let spelled = format!("file://{}/copy.parquet", place.display());
    std::fs::copy(
        place.join(String::from_utf8(deltalakedb_log::canonical_path(&add.path)).unwrap()),
        place.join("copy.parquet"),
    )
    .unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().write(true).open(place.join("copy.parquet")).unwrap().set_modified(long_ago).unwrap();
    add.path = spelled;
    let request = CommitRequest::new(fixture.id("t").await, Uuid::nil(), Base::Exactly(2), vec![Action::add(add)]);
    fixture.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    table.set_properties(&[("delta.enableChangeDataFeed", "true")], &options).await.unwrap();
    table.write(rows(&[5, 6], &["c", "c"]), SaveMode::Append, &options).await.unwrap();
    table.update(&[("id", "7")], Some("id = 5"), &options).await.unwrap();
    let gone = table.vacuum(&now_and_then(0, false), &fixture.later(60)).await.unwrap();
    assert!(place.join("copy.parquet").exists(), "{gone:?}");
    let changes: Vec<_> = table.changes(6, Some(6)).await.unwrap().try_collect().await.unwrap();
    assert_eq!(changes.iter().map(RecordBatch::num_rows).sum::<usize>(), 2, "the newest version's changes are there");
}

/// Sets the time of every file below a folder, except old ones, to the start of the catalog's clock.
fn date_files(folder: &std::path::Path) {
    let begin = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(BEGIN).unwrap());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            date_files(&path);
        } else if path.metadata().unwrap().modified().unwrap() > begin {
            File::options().write(true).open(path).unwrap().set_modified(begin).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_keeps_files_that_may_still_be_committed() {
    let fixture = Fixture::new();
    let table = replaced(&fixture).await;
    let options = TransactionOptions { write: later(0), ..TransactionOptions::default() };
    let tx = Transaction::begin(fixture.catalog.clone(), options).await.unwrap();
    tx.write("t", rows(&[8], &["new"]), SaveMode::Append).await.unwrap();
    let restore = table.prepare(Operation::Restore(At::Version(1).into()), &later(0)).await.unwrap().unwrap();
    date_files(&table.location().local_path().unwrap());
    // The files of the transaction have the maximum age.
    let gone = table.vacuum(&now_and_then(0, false), &fixture.later(24 * 60 * 60)).await.unwrap();
    assert_eq!(gone.files.len(), 2, "{gone:?}");
    tx.commit().await.unwrap();
    check(&table, &Scan::default(), &["|2|ab|", "|8|new|"]).await;

    // The files of the version to be restored have been removed: the restore must be rejected.
    let e = commit(fixture.catalog.as_ref(), vec![restore], &later(0)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    let e = table.restore(At::Version(1), &later(0)).await.unwrap_err();
    assert!(e.to_string().starts_with("the version cannot be restored"), "{e}");

    // A transaction older than the period in which files are spared commits nothing.
    let late = table.prepare_write(rows(&[9], &["x"]), SaveMode::Append, &later(0)).await.unwrap().unwrap();
    let e = commit(fixture.catalog.as_ref(), vec![late], &later(25 * 60 * 60)).await.unwrap_err();
    let says = TxnLogTransactionError::TimedOut { age_ms: 90_000_000, timeout_ms: 86_400_000 }.to_string();
    assert_eq!(e.to_string(), says);
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_keeps_files_of_the_published_version() {
    let fixture = Fixture::new();
    let table = replaced(&fixture).await;
    std::fs::remove_file(table.location().local_path().unwrap().join("_delta_log/old.json")).unwrap();
    check_plain(&table).await;
    let (id, holder) = (fixture.id("t").await, Uuid::from_u128(5));
    let lease = fixture.catalog.acquire_lease(id, holder, 0, 1_000).await.unwrap().unwrap();
    fixture.catalog.mark_published(&lease, 1).await.unwrap();
    let gone = table.vacuum(&now_and_then(0, true), &fixture.later(60)).await.unwrap();
    assert_eq!(gone, Vacuumed::default(), "version 1 is what others read");
    check(&table, &Scan { at: At::Version(1), ..Scan::default() }, &["|1|ab|", "|2|ab|"]).await;
    fixture.catalog.mark_published(&lease, 2).await.unwrap();
    assert_eq!(table.vacuum(&now_and_then(0, true), &fixture.later(60)).await.unwrap().files.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_keeps_files_that_are_restored_between_its_batches() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id long, day string", &[]).await;
    let options = WriteOptions::default();
    for id in 0..4 {
        table.write(rows(&[id], &["a"]), SaveMode::Append, &options).await.unwrap();
    }
    let before = table.head().await.unwrap().version;
    table.delete(None, &options).await.unwrap();
    // The restore is committed after the vacuum starts, but before it removes files.
    let gone = table.vacuum(&Vacuum { dry_run: true, ..now_and_then(0, true) }, &fixture.later(60)).await.unwrap();
    assert_eq!(gone.files.len(), 4);
    table.restore(At::Version(before), &fixture.later(60)).await.unwrap();
    let gone = table.vacuum(&now_and_then(0, true), &fixture.later(60)).await.unwrap();
    assert_eq!(gone, Vacuumed::default());
    assert_eq!(table.counts(At::Latest).await.unwrap().rows, Some(4));
}
