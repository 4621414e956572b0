//! Held versions and vacuum.

use super::vacuums::{now_and_then, replaced};
use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_held_keeps_its_files() {
    let room = Room::new();
    // Version 1 has the file that version 2 replaced.
    let table = replaced(&room).await;
    let then = Scan { at: At::Version(1), ..Scan::default() };
    let mut held = table.hold(At::Version(1), HOUR, "nightly report").await.unwrap();
    assert_eq!(held.version(), 1);
    let listed = table.holds().await.unwrap();
    assert_eq!((listed.len(), listed[0].holder.as_str()), (1, "nightly report"));

    for lite in [true, false] {
        let dry = Vacuum { dry_run: true, ..now_and_then(0, lite) };
        assert_eq!(table.vacuum(&dry, &room.later(60)).await.unwrap().held, 1);
        let gone = table.vacuum(&now_and_then(0, lite), &room.later(60)).await.unwrap();
        let old = if lite { "" } else { "old.parquet" };
        assert_eq!((gone.files.concat().as_str(), gone.held), (old, 1), "lite: {lite}");
        check(&table, &then, &["|1|ab|", "|2|ab|"]).await;
    }

    // It is renewed before its end, and its files are removed after it.
    held.renew(2 * HOUR).await.unwrap();
    assert_eq!(table.vacuum(&now_and_then(0, true), &room.later(3_700)).await.unwrap().held, 1);
    let gone = table.vacuum(&now_and_then(0, true), &room.later(3 * 3_600)).await.unwrap();
    assert_eq!((gone.files.len(), gone.held), (1, 0));
    let e = held.renew(HOUR).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
    held.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_released_keeps_nothing() {
    let room = Room::new();
    let table = replaced(&room).await;
    let (first, second) = (
        table.hold(At::Version(1), HOUR, "ann").await.unwrap(),
        table.hold(At::Version(1), HOUR, "bob").await.unwrap(),
    );
    first.release().await.unwrap();
    assert_eq!(table.vacuum(&now_and_then(0, true), &room.later(60)).await.unwrap().held, 1, "bob reads it as well");
    second.release().await.unwrap();
    let gone = table.vacuum(&now_and_then(0, true), &room.later(60)).await.unwrap();
    assert_eq!((gone.files.len(), gone.held), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_after_a_held_version_and_is_gone_again_stays() {
    let room = Room::new();
    let table = room.create("t", "id long, day string", &[]).await;
    let options = WriteOptions::default();
    table.write(rows(&[1], &["a"]), SaveMode::Append, &options).await.unwrap();
    let held = table.hold(At::Latest, HOUR, "ann").await.unwrap();
    table.write(rows(&[2], &["b"]), SaveMode::Overwrite, &options).await.unwrap();
    table.write(rows(&[3], &["c"]), SaveMode::Overwrite, &options).await.unwrap();
    let gone = table.vacuum(&now_and_then(0, true), &room.later(60)).await.unwrap();
    assert_eq!((gone.files.len(), gone.held), (0, 2));
    for (version, row) in [(1, "|1|a|"), (2, "|2|b|"), (3, "|3|c|")] {
        check(&table, &Scan { at: At::Version(version), ..Scan::default() }, &[row]).await;
    }
    held.release().await.unwrap();
    assert_eq!(table.vacuum(&now_and_then(0, true), &room.later(60)).await.unwrap().files.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_is_not_held_while_a_vacuum_is_going_on() {
    let room = Room::new();
    let table = replaced(&room).await;
    let mut parameters = deltalakedb_log::Object::default();
    parameters.set("vacuumId", "killed");
    let info = WriteOptions::default().info("VACUUM START", parameters);
    let actions = vec![Action::CommitInfo(deltalakedb_log::action::CommitInfo(info))];
    let request = CommitRequest::new(room.id("t").await, Uuid::from_u128(9), Base::Exactly(2), actions);
    room.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    let e = table.hold(At::Version(1), HOUR, "ann").await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    assert!(e.to_string().contains("a vacuum of default.t has been running since version 3"), "{e}");
    assert_eq!(table.holds().await.unwrap(), []);
    // Every vacuum spares the newest version.
    assert_eq!(table.hold(At::Latest, HOUR, "ann").await.unwrap().version(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_catalog_holds_versions() {
    let room = Room::new();
    let table = room.create("t", "id long, day string", &[]).await;
    check_plain(&table).await;
    let plain = DeltaTable::open_plain(table.location().clone(), deltalakedb_log::stores::environment()).await.unwrap();
    let e = plain.hold(At::Latest, HOUR, "ann").await.unwrap_err();
    assert!(e.to_string().contains("is not in a catalog, and only a catalog can hold a version"), "{e}");
    assert_eq!(plain.holds().await.unwrap(), []);
}
