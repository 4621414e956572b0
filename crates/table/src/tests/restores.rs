//! A restore is complete, or it is rejected.

use deltalakedb_log::action::{Add, CommitInfo, DeletionVector, Remove};
use deltalakedb_log::{HistoryRange, Object, canonical_path};

use super::vacuums::{later, now_and_then, replaced};
use super::*;

/// Commits actions as the next version of `t`.
async fn commit_next(fixture: &Fixture, actions: Vec<Action>) {
    let version = fixture.open("t").await.head().await.unwrap().version;
    let id = Uuid::from_u128(u128::from(version) << 8);
    let request = CommitRequest::new(fixture.id("t").await, id, Base::Exactly(version), actions);
    fixture.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
}

async fn live(table: &DeltaTable, at: At) -> Vec<Add> {
    let reader = table.reader().await.unwrap();
    let version = reader.snapshot(at).await.unwrap().version();
    reader.files(version, None).await.unwrap().try_collect().await.unwrap()
}

/// A vector in a file of its own, of which only the path matters here.
fn vector(place: &std::path::Path) -> DeletionVector {
    DeletionVector {
        storage_type: "p".into(),
        path_or_inline_dv: format!("file://{}", place.display()),
        offset: Some(1),
        size_in_bytes: 36,
        cardinality: 1,
        extra: Object::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_with_missing_deletion_vectors_is_not_restored() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id long, day string", &[]).await;
    let options = WriteOptions::default();
    table.write(rows(&[1, 2], &["a", "b"]), SaveMode::Append, &options).await.unwrap();
    let mut head = table.head().await.unwrap();
    (head.protocol.min_reader_version, head.protocol.min_writer_version) = (3, 7);
    head.protocol.reader_features = Some(vec!["deletionVectors".into()]);
    head.protocol.writer_features = Some(vec!["deletionVectors".into(), "appendOnly".into(), "invariants".into()]);
    commit_next(&fixture, vec![Action::Protocol(head.protocol)]).await;
    let place = table.location().local_path().unwrap().join("vector.bin");
    std::fs::write(&place, "not looked into").unwrap();
    // Version 3 has a vector, version 4 none, as after a purge that rewrote the file under its old name.
    let was = live(&table, At::Latest).await.remove(0);
    let with = Add { deletion_vector: Some(vector(&place)), ..was.clone() };
    let remove = |add: &Add| Action::Remove(Remove::of(add, 0, true));
    commit_next(&fixture, vec![remove(&was), Action::add(with.clone())]).await;
    commit_next(&fixture, vec![remove(&with), Action::add(was)]).await;

    std::fs::remove_file(&place).unwrap();
    let e = table.restore(At::Version(3), &options).await.unwrap_err();
    assert!(e.to_string().starts_with("the version cannot be restored: the file file://"), "{e}");
    assert!(e.to_string().contains("vector.bin of version 3 no longer exists"), "{e}");
    assert_eq!(table.head().await.unwrap().version, 4);
    std::fs::write(&place, "not looked into").unwrap();
    table.restore(At::Version(3), &options).await.unwrap();
    assert_eq!(live(&table, At::Latest).await[0].deletion_vector, with.deletion_vector);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_brings_actions_back_unchanged() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id long, day string", &["day"]).await;
    let options = WriteOptions::default();
    table.write(rows(&[1, 2], &["a b", "%"]), SaveMode::Append, &options).await.unwrap();
    let mut head = table.head().await.unwrap();
    head.protocol.min_writer_version = 6;
    head.metadata.configuration.insert("delta.checkpointInterval".into(), Some("5".into()));
    head.metadata.extra.set("future", 1);
    // A file outside the folder, with unknown members.
    let elsewhere = fixture.dir.path().join("else where.parquet");
    let mut files = live(&table, At::Latest).await;
    let mut other = files.remove(0);
    let place = table.location().local_path().unwrap();
    let decoded = String::from_utf8(canonical_path(&other.path)).unwrap();
    std::fs::copy(place.join(decoded), &elsewhere).unwrap();
    other.path = url::Url::from_file_path(&elsewhere).unwrap().to_string();
    other.extra.set("future", 2);
    commit_next(&fixture, vec![Action::Protocol(head.protocol), Action::Metadata(head.metadata), Action::add(other)])
        .await;
    let (then, files) = (table.head().await.unwrap(), live(&table, At::Latest).await);

    table.set_properties(&[("delta.checkpointInterval", "7")], &options).await.unwrap();
    table.delete(None, &options).await.unwrap();
    table.restore(At::Version(then.version), &options).await.unwrap();
    let now = table.head().await.unwrap();
    assert_eq!((now.protocol, now.metadata), (then.protocol, then.metadata));
    let sorted = |mut files: Vec<Add>| {
        files.sort_by_key(Add::key);
        files
    };
    assert_eq!(sorted(live(&table, At::Latest).await), sorted(files));
    assert_eq!(table.counts(At::Latest).await.unwrap().rows, Some(3));

    table.delete(None, &options).await.unwrap();
    std::fs::remove_file(&elsewhere).unwrap();
    let e = table.restore(At::Version(then.version), &options).await.unwrap_err();
    assert!(e.to_string().contains("else%20where.parquet of version 2 no longer exists"), "{e}");
    let whatever = Restore { ignore_missing_files: true, ..At::Version(then.version).into() };
    table.run(Operation::Restore(whatever), &options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_is_refused_while_a_vacuum_may_delete_its_files() {
    let fixture = Fixture::new();
    let table = replaced(&fixture).await;
    let reader = table.reader().await.unwrap();
    // The log of a vacuum that has started, and is removing files or was killed.
    let begin = async |seconds: i64, id: &str| {
        let mut parameters = Object::default();
        parameters.set("vacuumId", id);
        let info = later(seconds).info("VACUUM START", parameters);
        commit_next(&fixture, vec![Action::CommitInfo(CommitInfo(info))]).await;
        reader.head().await.unwrap()
    };
    let start = begin(0, "one").await;
    let e = table.restore(At::Version(1), &fixture.later(60)).await.unwrap_err();
    assert!(e.to_string().contains(&format!("has been running since version {}", start.version)), "{e}");
    assert_eq!(e.kind(), ErrorKind::Conflict);
    // The end of another vacuum does not end the first.
    table.vacuum(&now_and_then(3_600, false), &fixture.later(60)).await.unwrap();
    let e = table.restore(At::Version(1), &fixture.later(120)).await.unwrap_err();
    assert!(e.to_string().contains("has been running since"), "{e}");
    table.restore(At::Version(1), &fixture.later(16 * 60)).await.unwrap();
    check(&table, &Scan::default(), &["|1|ab|", "|2|ab|"]).await;
    table.restore(At::Version(2), &fixture.later(16 * 60)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_commits_its_end_also_after_a_failure() {
    let fixture = Fixture::new();
    let table = replaced(&fixture).await;
    let place = table.location().local_path().unwrap();
    let folder = place.join("day=a%20b");
    let locked = |locked: bool| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(if locked { 0o500 } else { 0o700 })).unwrap();
    };
    locked(true);
    let removed = table.vacuum(&now_and_then(0, true), &fixture.later(60)).await;
    locked(false);
    let Err(e) = removed else {
        eprintln!("whoever runs this may remove files from folders that forbid it: nothing fails here");
        return;
    };
    assert!(e.to_string().contains("is only partly vacuumed"), "{e}");
    let range = HistoryRange { limit: Some(1), ..Default::default() };
    let last = table.reader().await.unwrap().history(range).await.unwrap().remove(0);
    assert_eq!(last.operation.as_deref(), Some("VACUUM END"));
    assert!(last.operation_parameters.unwrap().contains("FAILED"));
    table.restore(At::Version(1), &fixture.later(60)).await.unwrap();
    check(&table, &Scan::default(), &["|1|ab|", "|2|ab|"]).await;
}
