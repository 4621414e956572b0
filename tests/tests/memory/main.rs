//! What an operation holds in memory, whatever the table has. A program of its own, so that no other test is in the
//! figures.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests speak by panicking")]
#![allow(clippy::print_stderr, reason = "the figures are worth seeing")]

use std::sync::Arc;

use deltalakedb_log::SystemClock;
use deltalakedb_mirror::Mirror;
use deltalakedb_tests::{import, large_log, soak, sqlite};

/// Files that each commit of the tables adds.
const FILES: u64 = 2_500;
/// Four times the files may cost so much more: far less than the larger table's actions take, which are about a kilobyte
/// each.
const ALLOWED_MIB: u64 = 16;

/// A checkpoint of many files takes the memory of a few: the rest is in the catalog or in the store.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_does_not_hold_the_table_in_memory() {
    let commits = 10 * soak();
    // What the process holds from its first checkpoint on is no table's.
    grown_by_a_checkpoint(1).await;
    let small = grown_by_a_checkpoint(commits).await;
    let large = grown_by_a_checkpoint(4 * commits).await;
    eprintln!(
        "a checkpoint of {} files takes {small} MiB, one of {} files {large} MiB",
        commits * FILES,
        4 * commits * FILES
    );
    assert!(large <= small + ALLOWED_MIB, "{large} MiB instead of {small} MiB for four times the files");
}

/// The most memory, in MiB, that the process has had more of while it wrote the checkpoint of a table.
async fn grown_by_a_checkpoint(commits: u64) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    large_log(&dir.path().join("wide"), commits, FILES);
    let catalog = sqlite(dir.path()).await;
    let table = import(&catalog, &dir.path().join("wide"), "wide").await.unwrap();
    let mirror = Mirror::new(catalog, Arc::new(SystemClock));
    // The highest mark of this process, from here on.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = kibibytes("VmRSS");
    let done = mirror.checkpoint(table.id).await.unwrap();
    assert_eq!(done.files, commits * FILES);
    kibibytes("VmHWM").saturating_sub(before) / 1024
}

fn kibibytes(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
