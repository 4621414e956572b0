//! Held versions and vacuum.

use super::vacuums::{now_and_then, replaced};
use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread")]
async fn a_held_version_keeps_its_files() {
    let fixture = Fixture::new();
    // Version 1 has the file that version 2 replaced.
    let table = replaced(&fixture).await;
    let then = Scan { at: At::Version(1), ..Scan::default() };
    let mut hold = table.hold(At::Version(1), HOUR, "nightly report").await.unwrap();
    assert_eq!(hold.version(), 1);
    let listed = table.holds().await.unwrap();
    assert_eq!((listed.len(), listed[0].holder.as_str()), (1, "nightly report"));

    for lite in [true, false] {
        let dry = Vacuum { dry_run: true, ..now_and_then(0, lite) };
        assert_eq!(table.vacuum(&dry, &fixture.later(60)).await.unwrap().held, 1);
        let gone = table.vacuum(&now_and_then(0, lite), &fixture.later(60)).await.unwrap();
        let old = if lite { "" } else { "old.parquet" };
        assert_eq!((gone.files.concat().as_str(), gone.held), (old, 1), "lite: {lite}");
        check(&table, &then, &["|1|ab|", "|2|ab|"]).await;
    }

    // It is renewed before its end, and its files are removed after it.
    hold.renew(2 * HOUR).await.unwrap();
    assert_eq!(table.vacuum(&now_and_then(0, true), &fixture.later(3_700)).await.unwrap().held, 1);
    let gone = table.vacuum(&now_and_then(0, true), &fixture.later(3 * 3_600)).await.unwrap();
    assert_eq!((gone.files.len(), gone.held), (1, 0));
    let e = hold.renew(HOUR).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
    hold.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_hold_keeps_no_file() {
    let fixture = Fixture::new();
    let table = replaced(&fixture).await;
    let (first, second) = (
        table.hold(At::Version(1), HOUR, "ann").await.unwrap(),
        table.hold(At::Version(1), HOUR, "bob").await.unwrap(),
    );
    first.release().await.unwrap();
    assert_eq!(table.vacuum(&now_and_then(0, true), &fixture.later(60)).await.unwrap().held, 1, "bob reads it as well");
    second.release().await.unwrap();
    let gone = table.vacuum(&now_and_then(0, true), &fixture.later(60)).await.unwrap();
    assert_eq!((gone.files.len(), gone.held), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_added_after_a_held_version_are_kept() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id long, day string", &[]).await;
    let options = WriteOptions::default();
    table.write(rows(&[1], &["a"]), SaveMode::Append, &options).await.unwrap();
    let hold = table.hold(At::Latest, HOUR, "ann").await.unwrap();
    table.write(rows(&[2], &["b"]), SaveMode::Overwrite, &options).await.unwrap();
    table.write(rows(&[3], &["c"]), SaveMode::Overwrite, &options).await.unwrap();
    let gone = table.vacuum(&now_and_then(0, true), &fixture.later(60)).await.unwrap();
    assert_eq!((gone.files.len(), gone.held), (0, 2));
    for (version, row) in [(1, "|1|a|"), (2, "|2|b|"), (3, "|3|c|")] {
        check(&table, &Scan { at: At::Version(version), ..Scan::default() }, &[row]).await;
    }
    hold.release().await.unwrap();
    assert_eq!(table.vacuum(&now_and_then(0, true), &fixture.later(60)).await.unwrap().files.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_is_not_held_during_a_vacuum() {
    let fixture = Fixture::new();
    let table = replaced(&fixture).await;
    let mut parameters = deltalakedb_log::Object::default();
    parameters.set("vacuumId", "killed");
    let info = WriteOptions::default().info("VACUUM START", parameters);
    let actions = vec![Action::CommitInfo(deltalakedb_log::action::CommitInfo(info))];
    let request = CommitRequest::new(fixture.id("t").await, Uuid::from_u128(9), Base::Exactly(2), actions);
    fixture.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    let e = table.hold(At::Version(1), HOUR, "ann").await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    assert!(e.to_string().contains("a vacuum of default.t has been running since version 3"), "{e}");
    assert_eq!(table.holds().await.unwrap(), []);
    // Every vacuum spares the newest version.
    assert_eq!(table.hold(At::Latest, HOUR, "ann").await.unwrap().version(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_table_has_no_holds() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id long, day string", &[]).await;
    check_plain(&table).await;
    let plain = DeltaTable::open_plain(table.location().clone(), deltalakedb_log::stores::environment()).await.unwrap();
    let e = plain.hold(At::Latest, HOUR, "ann").await.unwrap_err();
    assert!(e.to_string().contains("is not in a catalog, and only a catalog can hold a version"), "{e}");
    assert_eq!(plain.holds().await.unwrap(), []);
}
