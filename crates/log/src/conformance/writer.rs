//! Writes to one table's log.

use super::*;
use crate::reader::TxnLogWriter;

/// Checks a writer of one table that does not exist yet, and reads the table afterwards.
pub async fn run_writer(
    writer: &dyn TxnLogWriter,
    new: NewTable,
    reader: impl AsyncFn() -> Result<Arc<dyn TxnLogReader>>,
) {
    let request = |n: u128, base, actions| CommitRequest::new(table_id("written"), Uuid::from_u128(n), base, actions);
    let version =
        async |request: &CommitRequest| writer.commit(request.clone()).await.unwrap().committed().unwrap()[0].version;
    let add = |path: &str| vec![Action::add(file(path, 0, 9))];
    let create = request(0, Base::Create(new), vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))]);
    let (first, second) = (request(1, Base::RebaseFrom(0), add("a")), request(2, Base::RebaseFrom(0), add("b")));
    for (n, request) in [&create, &first, &second].into_iter().enumerate() {
        assert_eq!(version(request).await, n as Version, "a blind append is rebased");
    }
    for (n, request) in [&create, &first, &second].into_iter().enumerate() {
        assert_eq!(version(request).await, n as Version, "the same commit again is the same commit");
    }
    let exact = request(3, Base::Exactly(0), add("c"));
    conflict(writer.commit(exact).await.unwrap(), 1, &ConflictKind::VersionTaken);
    let removes = [4, 5].map(|n| request(n, Base::RebaseFrom(2), vec![remove(&file("a", 0, 9)), txn("app", 1)]));
    assert_eq!(version(&removes[0]).await, 3);
    assert!(matches!(writer.commit(removes[1].clone()).await.unwrap(), Outcome::Conflict(c) if c.version == 3));
    let never = request(6, Base::RebaseFrom(3), vec![remove(&file("never there", 0, 9))]);
    refused(writer.commit(never).await, ErrorKind::Invalid, &["never there"]);

    let reader = reader().await.unwrap();
    assert_eq!(reader.head().await.unwrap().version, 3);
    let files: Vec<_> = reader.files(3, None).await.unwrap().map_ok(|add| add.path).try_collect().await.unwrap();
    assert_eq!(files, ["b"]);
    let history = reader.history(HistoryRange::default()).await.unwrap();
    assert_eq!(history.iter().map(|commit| commit.version).collect::<Vec<_>>(), [3, 2, 1, 0], "none was made twice");
    assert!(history.is_sorted_by(|newer, older| newer.timestamp > older.timestamp));
    let changes: Vec<_> = reader.changes(0, 3).await.unwrap().try_collect().await.unwrap();
    assert_eq!(changes.len(), 4);
    assert_eq!(reader.snapshot(At::Latest).await.unwrap().txns["app"].version, 1);
}
