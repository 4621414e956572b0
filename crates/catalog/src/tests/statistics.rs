//! A server that has just received many files finds them by key.

use deltalakedb_log::action::Remove;
use deltalakedb_log::conformance::actions::file;

use super::recorded::Record;
use super::work::Work;
use super::*;

/// Enough files that the server finds them faster by key than by a scan.
const FILES: usize = 150_000;
const REMOVED: usize = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn removes_use_the_key_right_after_many_files_were_added() {
    for kind in databases("server") {
        let dir = tempfile::tempdir().unwrap();
        let catalog = connect_to(&kind.uri(dir.path(), "statistics"), 1).await.unwrap();
        let record = Record::default();
        let catalog = record.of(catalog);
        let table = create(&catalog).await;
        let files = Vec::from_iter((0..FILES).map(|n| file(&format!("file {n}"), 0, 9)));
        let commit = async |base, actions| {
            let request = CommitRequest::new(table, Uuid::from_u128(base), Base::RebaseFrom(base as u64 - 1), actions);
            catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        };
        commit(1, files.iter().cloned().map(Action::add).collect()).await;
        record.statements();
        commit(2, files.iter().take(REMOVED).map(|file| Action::Remove(Remove::of(file, 1, true))).collect()).await;
        let mut most = 0;
        for statement in record.statements() {
            most = most.max(Work::of(*kind, &catalog, &statement, false).await.rows);
        }
        assert!(most <= 2 * REMOVED as u64, "{most} rows");
    }
}
