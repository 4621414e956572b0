//! The memory of an operation, independent of the size of the table. A separate program, so that other tests do not
//! affect the figures. They are the bytes allocated by Rust code, not the resident memory: how much freed memory is
//! returned to the system differs from run to run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests speak by panicking")]
#![allow(clippy::print_stderr, reason = "the figures are worth seeing")]

use std::sync::Arc;

use deltalakedb_log::{SystemClock, TxnLogReaderExt};
use deltalakedb_mirror::Mirror;
use deltalakedb_tests::{import, large_log, soak, sqlite};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Files that each commit of the tables adds.
const FILES: u64 = 2_500;
/// The allowed growth for four times the files: far less than the actions of the larger table, which take about a
/// kilobyte each.
const ALLOWED_MIB: u64 = 16;

/// A checkpoint of many files takes the memory of a few: the others are in the catalog or in the store. The same
/// applies to the import of a log that begins with one.
#[tokio::test(flavor = "multi_thread")]
async fn memory_of_a_checkpoint_does_not_grow_with_the_table() {
    let commits = 10 * soak();
    // The first checkpoint allocates memory that does not belong to a table.
    grown_by_a_checkpoint(1).await;
    let small = grown_by_a_checkpoint(commits).await;
    let large = grown_by_a_checkpoint(4 * commits).await;
    for (what, small, large) in [("writing", small.0, large.0), ("importing", small.1, large.1)] {
        eprintln!(
            "{what} a checkpoint of {} files takes {small} MiB, one of {} files {large} MiB",
            commits * FILES,
            4 * commits * FILES
        );
        assert!(large <= small + ALLOWED_MIB, "{what}: {large} MiB instead of {small} MiB for four times the files");
    }
}

/// The peak of allocated memory, in MiB, while the checkpoint of a table is written, and while the table is imported
/// from it alone.
async fn grown_by_a_checkpoint(commits: u64) -> (u64, u64) {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("wide");
    large_log(&place, commits, FILES);
    let catalog = sqlite(dir.path()).await;
    let table = import(&catalog, &place, "wide").await.unwrap();
    let mirror = Mirror::new(catalog, Arc::new(SystemClock));
    let written = grown(async {
        let done = mirror.checkpoint(table.id).await.unwrap();
        assert_eq!(done.files, commits * FILES);
    });
    let written = written.await;
    for commit in 0..=table.current_version {
        std::fs::remove_file(place.join(format!("_delta_log/{commit:020}.json"))).unwrap();
    }
    let other = tempfile::tempdir().unwrap();
    let catalog = sqlite(other.path()).await;
    let imported = grown(async {
        let again = import(&catalog, &place, "wide").await.unwrap();
        assert_eq!(again.base_version, table.current_version);
        let counts = catalog.reader(again.id).counts(again.current_version).await.unwrap();
        assert_eq!(counts.files, commits * FILES);
    });
    (written, imported.await)
}

/// The peak of allocated memory, in MiB, during the work.
async fn grown(work: impl Future<Output = ()>) -> u64 {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    work.await;
    u64::try_from(MEMORY.peak_usage().saturating_sub(before) / (1024 * 1024)).unwrap()
}
