//! Tables whose log names files of another table by absolute paths.

use deltalakedb_log::retention::{Expiry, HistoryExpiry, Keep};
use deltalakedb_log::{Committer, MirrorProgress, TableLifecycle, TableReferences, TxnLogError};
use deltalakedb_mirror::Mirror;

use super::vacuums::now_and_then;
use super::*;

/// A table with all files of another, which stay where they are.
async fn clone_of(fixture: &Fixture, source: &DeltaTable, name: &str, spelled: fn(&Location) -> String) -> DeltaTable {
    let clone = fixture.create(name, "id long, day string", &["day"]).await;
    let reader = source.reader().await.unwrap();
    let version = reader.head().await.unwrap().version;
    let files: Vec<_> = reader.files(version, None).await.unwrap().try_collect().await.unwrap();
    let place = spelled(source.location());
    let adds = files.into_iter().map(|mut add| {
        add.path = format!("{place}{}", add.path);
        Action::add(add)
    });
    let request = CommitRequest::new(fixture.id(name).await, Uuid::from_u128(1), Base::Exactly(0), adds.collect());
    fixture.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    clone
}

fn contents(table: &DeltaTable) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![table.location().local_path().unwrap()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_is_changed_and_its_source_is_not() {
    let fixture = Fixture::new();
    let source = fixture.create("source", "id long, day string", &["day"]).await;
    let options = WriteOptions::default();
    for (ids, days) in [([1, 2], ["a b", "a b"]), ([3, 4], ["c/d", "ü"]), ([5, 6], ["a b", "e"])] {
        source.write(rows(&ids, &days), SaveMode::Append, &options).await.unwrap();
    }
    let before = contents(&source);
    let spellings: [fn(&Location) -> String; 2] =
        [|place| place.url().to_string(), |place| place.url().path().to_string()];
    for (n, spelled) in spellings.into_iter().enumerate() {
        let clone = clone_of(&fixture, &source, &format!("clone_{n}"), spelled).await;
        check(&clone, &Scan::default(), &["|1|ab|", "|2|ab|", "|3|c/d|", "|4|ü|", "|5|ab|", "|6|e|"]).await;
        clone.write(rows(&[7], &["own"]), SaveMode::Append, &options).await.unwrap();
        let listed = clone.add_actions(At::Latest, true).await.unwrap();
        assert_eq!(text(&[listed]).iter().filter(|line| line.contains("/source/day=")).count(), 5);
        let upsert = Merge::on("target.id = source.id")
            .when(MergeClause::MatchedUpdate { condition: None, set: Assignments::All })
            .when(MergeClause::NotMatchedInsert { condition: None, values: Assignments::All });
        for operation in [
            Operation::Update {
                set: vec![("id".into(), "id + 10".into())],
                filter: Some("id IN (1, 3, 7)".into()),
                safe_cast: false,
            },
            Operation::Delete { filter: Some("id = 2".into()) },
            Operation::Delete { filter: Some("day = 'ü'".into()) },
            Operation::Merge(upsert, rows(&[5, 8], &["a b", "f"]).into()),
        ] {
            clone.run(operation, &options).await.unwrap();
        }
        let now = ["|11|ab|", "|13|c/d|", "|17|own|", "|5|ab|", "|6|e|", "|8|f|"];
        check(&clone, &Scan::default(), &now).await;
        clone.run(Operation::Optimize(Optimize::default()), &options).await.unwrap();
        check(&clone, &Scan::default(), &now).await;
        check_plain(&clone).await;
        clone.run(Operation::Restore(At::Version(1).into()), &options).await.unwrap();
        // In a transaction, staged changes are seen in the same way.
        let name = format!("clone_{n}");
        let tx = Transaction::begin(fixture.catalog.clone(), TransactionOptions::default()).await.unwrap();
        for filter in ["id = 1", "id < 3"] {
            tx.run(&name, Operation::Delete { filter: Some(filter.into()) }).await.unwrap();
        }
        tx.commit().await.unwrap();
        check(&clone, &Scan::default(), &["|3|c/d|", "|4|ü|", "|5|ab|", "|6|e|"]).await;
        let left = ["|3|c/d|", "|4|ü|", "|5|ab|", "|6|e|"];
        let version = clone.head().await.unwrap().version;
        clone.run(Operation::Repair { dry_run: false }, &options).await.unwrap();
        check(&clone, &Scan::default(), &left).await;
        assert_eq!(clone.head().await.unwrap().version, version, "no file is gone");
        check_plain(&clone).await;
    }
    assert_eq!(contents(&source), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_spares_files_of_clones() {
    let fixture = Fixture::new();
    let source = fixture.create("source", "id long, day string", &["day"]).await;
    let options = WriteOptions::default();
    source.write(rows(&[1, 2], &["a b", "ü"]), SaveMode::Append, &options).await.unwrap();
    let clone = clone_of(&fixture, &source, "clone", |place| place.url().path().to_string()).await;
    source.write(rows(&[3], &["c"]), SaveMode::Overwrite, &options).await.unwrap();
    clone.delete(Some("id = 2"), &options).await.unwrap();
    for lite in [true, false] {
        let gone = source.vacuum(&now_and_then(0, lite), &fixture.later(60)).await.unwrap();
        assert_eq!(gone, Vacuumed::default(), "lite: {lite}");
    }
    check(&clone, &Scan::default(), &["|1|ab|"]).await;
    check(&clone, &Scan { at: At::Version(1), ..Scan::default() }, &["|1|ab|", "|2|ü|"]).await;

    // Files of versions beyond the clone's retention are removed; files of held versions are not.
    let late = 8 * 24 * 3_600;
    let hold = clone.hold(At::Version(1), Duration::from_secs(2 * late), "ann").await.unwrap();
    assert_eq!(source.vacuum(&now_and_then(0, true), &fixture.later(late as i64)).await.unwrap(), Vacuumed::default());
    hold.release().await.unwrap();
    let gone = source.vacuum(&now_and_then(0, true), &fixture.later(late as i64)).await.unwrap();
    assert_eq!(gone.files.len(), 1, "{gone:?}");
    check(&clone, &Scan::default(), &["|1|ab|"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_spares_files_of_clones_that_can_be_undropped() {
    let fixture = Fixture::new();
    let source = fixture.create("source", "id long, day string", &["day"]).await;
    let options = WriteOptions::default();
    source.write(rows(&[1], &["a"]), SaveMode::Append, &options).await.unwrap();
    clone_of(&fixture, &source, "clone", |place| place.url().to_string()).await;
    source.write(rows(&[3], &["c"]), SaveMode::Overwrite, &options).await.unwrap();
    let id = fixture.id("clone").await;
    let lease = fixture.catalog.acquire_lease(id, Uuid::from_u128(5), 0, 1_000).await.unwrap().unwrap();
    let drop = deltalakedb_log::DropTable {
        mode: deltalakedb_log::DropMode::Retain { ms: 120_000 },
        allow_unpublished: true,
        at_version: None,
        committer: Committer::default(),
    };
    fixture.catalog.drop_table(&lease, &drop).await.unwrap();
    assert_eq!(source.vacuum(&now_and_then(0, true), &fixture.later(60)).await.unwrap(), Vacuumed::default());
    assert_eq!(source.vacuum(&now_and_then(0, true), &fixture.later(600)).await.unwrap().files.len(), 1);
}

/// Publishes a table and expires its history before its newest version.
async fn end_history(fixture: &Fixture, name: &str) {
    let id = fixture.id(name).await;
    Mirror::new(fixture.catalog.clone(), fixture.clock.clone()).publish(id).await.unwrap();
    let newest = fixture.catalog.reader(id).head().await.unwrap().version;
    let keep = Keep { since_ms: i64::MAX, versions: 1, ids_since_ms: 0 };
    fixture.catalog.expire(&Expiry { table: id, keep, up_to: newest, committer: Committer::default() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_without_files_of_its_source_is_no_reference() {
    let fixture = Fixture::new();
    let source = fixture.create("source", "id long, day string", &["day"]).await;
    let options = WriteOptions::default();
    source.write(rows(&[1], &["a"]), SaveMode::Append, &options).await.unwrap();
    let clone = clone_of(&fixture, &source, "clone", |place| place.url().to_string()).await;
    clone.write(rows(&[3], &["c"]), SaveMode::Overwrite, &options).await.unwrap();
    let referring = async || fixture.catalog.referring_tables(source.location()).await.unwrap().len();
    clone.vacuum(&now_and_then(3_600, true), &fixture.later(60)).await.unwrap();
    assert_eq!(referring().await, 1, "an older version within retention has them");
    clone.vacuum(&Vacuum { dry_run: true, ..now_and_then(0, true) }, &fixture.later(60)).await.unwrap();
    assert_eq!(referring().await, 1);
    clone.vacuum(&now_and_then(0, true), &fixture.later(60)).await.unwrap();
    assert_eq!(referring().await, 1, "a reader can hold an older version");
    end_history(&fixture, "clone").await;
    clone.vacuum(&now_and_then(0, true), &fixture.later(60)).await.unwrap();
    assert_eq!(referring().await, 0);
    assert_eq!(source.location().local_path().map(|place| place.join("day=a").exists()), Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_spares_files_of_clones_after_the_folder_was_moved() {
    let fixture = Fixture::new();
    let (old, new) = (fixture.dir.path().join("old"), fixture.dir.path().join("new"));
    std::fs::create_dir(&old).unwrap();
    let place = Location::parse(old.join("source").to_str().unwrap()).unwrap();
    let new_table = NewTable::new("source".parse().unwrap(), place);
    let schema = parse_schema("id long, day string").unwrap();
    let options = WriteOptions::default();
    create_table(fixture.catalog.as_ref(), new_table, &schema, &["day".into()], &HashMap::new(), &options)
        .await
        .unwrap();
    let source = fixture.open("source").await;
    source.write(rows(&[1], &["a"]), SaveMode::Append, &options).await.unwrap();
    let before = clone_of(&fixture, &source, "before", |place| place.url().to_string()).await;
    std::fs::rename(&old, &new).unwrap();
    std::os::unix::fs::symlink(&new, &old).unwrap();
    source.write(rows(&[2], &["b"]), SaveMode::Overwrite, &options).await.unwrap();
    // By its registered location, and by its current one.
    let linked = clone_of(&fixture, &source, "linked", |place| place.url().to_string()).await;
    let moved = clone_of(&fixture, &source, "moved", |place| place.resolved().url().to_string()).await;
    source.write(rows(&[3], &["c"]), SaveMode::Overwrite, &options).await.unwrap();

    let id = fixture.id("source").await;
    let referring = fixture.catalog.referring_tables(source.location()).await.unwrap();
    let names: Vec<_> = referring.iter().map(|table| table.name.name.as_str()).collect();
    assert_eq!(names, ["before", "linked", "moved"]);
    let lease = fixture.catalog.acquire_lease(id, Uuid::from_u128(5), 0, 1_000).await.unwrap().unwrap();
    let drop = deltalakedb_log::DropTable {
        mode: deltalakedb_log::DropMode::DeleteFiles,
        allow_unpublished: true,
        at_version: None,
        committer: Committer::default(),
    };
    let e = fixture.catalog.drop_table(&lease, &drop).await.unwrap_err();
    assert!(e.to_string().contains("default.before, default.linked and default.moved"), "{e}");
    // A clone's own vacuum does not remove the references from the catalog either.
    for clone in [&before, &linked, &moved] {
        clone.vacuum(&now_and_then(0, true), &fixture.later(60)).await.unwrap();
    }
    for lite in [true, false] {
        let gone = source.vacuum(&now_and_then(0, lite), &fixture.later(60)).await.unwrap();
        assert_eq!(gone, Vacuumed::default(), "lite: {lite}");
    }
    check(&before, &Scan::default(), &["|1|a|"]).await;
    for clone in [&linked, &moved] {
        check(clone, &Scan::default(), &["|2|b|"]).await;
    }
}

/// The table `source` in the folder `old`, which was moved to `new` and is reached through a link. It has one file, and
/// its `_delta_log`.
async fn moved_source(fixture: &Fixture) -> DeltaTable {
    let (old, new) = (fixture.dir.path().join("old"), fixture.dir.path().join("new"));
    std::fs::create_dir(&old).unwrap();
    let place = Location::parse(old.join("source").to_str().unwrap()).unwrap();
    let table = NewTable::new("source".parse().unwrap(), place);
    let (schema, options) = (parse_schema("id long, day string").unwrap(), WriteOptions::default());
    create_table(fixture.catalog.as_ref(), table, &schema, &["day".into()], &HashMap::new(), &options).await.unwrap();
    let source = fixture.open("source").await;
    source.write(rows(&[1], &["a"]), SaveMode::Append, &options).await.unwrap();
    Mirror::new(fixture.catalog.clone(), fixture.clock.clone()).publish(fixture.id("source").await).await.unwrap();
    std::fs::rename(&old, &new).unwrap();
    std::os::unix::fs::symlink(&new, &old).unwrap();
    source
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_through_a_missing_link_is_kept() {
    let fixture = Fixture::new();
    let source = moved_source(&fixture).await;
    let options = WriteOptions::default();
    let (new, link) = (fixture.dir.path().join("new"), fixture.dir.path().join("link"));
    std::os::unix::fs::symlink(&new, &link).unwrap();
    let by_link = |place: &Location| place.url().to_string().replace("/old/", "/link/");
    let clone = clone_of(&fixture, &source, "clone", by_link).await;
    source.write(rows(&[2], &["b"]), SaveMode::Overwrite, &options).await.unwrap();
    end_history(&fixture, "source").await;
    end_history(&fixture, "clone").await;
    // As on a machine without that link.
    std::fs::remove_file(&link).unwrap();
    clone.vacuum(&now_and_then(0, true), &fixture.later(60)).await.unwrap();
    std::os::unix::fs::symlink(&new, &link).unwrap();
    assert_eq!(source.vacuum(&now_and_then(0, true), &fixture.later(60)).await.unwrap(), Vacuumed::default());
    check(&clone, &Scan::default(), &["|1|a|"]).await;
    // When no live file is named by a local path, it is no longer a clone.
    clone.write(rows(&[3], &["c"]), SaveMode::Overwrite, &options).await.unwrap();
    end_history(&fixture, "clone").await;
    clone.vacuum(&now_and_then(0, true), &fixture.later(120)).await.unwrap();
    assert!(fixture.catalog.referring_tables(source.location()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_source_is_found_by_its_new_location() {
    let fixture = Fixture::new();
    let source = moved_source(&fixture).await;
    let options = WriteOptions::default();
    let clone = clone_of(&fixture, &source, "clone", |place| place.resolved().url().to_string()).await;
    clone.write(rows(&[2], &["b"]), SaveMode::Overwrite, &options).await.unwrap();
    begin_vacuum(&fixture).await;
    for e in [
        clone.hold(At::Version(1), HOUR, "ann").await.unwrap_err(),
        clone.restore(At::Version(1), &options).await.unwrap_err(),
    ] {
        assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
        assert!(e.to_string().contains("a vacuum of default.source has been running since version 2"), "{e}");
    }
    clone.restore(At::Version(1), &fixture.later(16 * 60)).await.unwrap();
    check(&clone, &Scan::default(), &["|1|a|"]).await;
}

/// Adds the start of a vacuum without an end to the log of `source`.
async fn begin_vacuum(fixture: &Fixture) {
    let mut parameters = deltalakedb_log::Object::default();
    parameters.set("vacuumId", "has been running");
    let info = WriteOptions::default().info("VACUUM START", parameters);
    let actions = vec![Action::CommitInfo(deltalakedb_log::action::CommitInfo(info))];
    let request = CommitRequest::new(fixture.id("source").await, Uuid::from_u128(9), Base::Exactly(1), actions);
    fixture.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
}

/// A source whose log has the start of a vacuum without an end, and a clone of its first file, which its second version
/// does not have.
async fn beside_a_vacuum(fixture: &Fixture) -> (DeltaTable, DeltaTable) {
    let source = fixture.create("source", "id long, day string", &["day"]).await;
    let options = WriteOptions::default();
    source.write(rows(&[1], &["a"]), SaveMode::Append, &options).await.unwrap();
    let clone = clone_of(fixture, &source, "clone", |place| place.url().to_string()).await;
    clone.write(rows(&[2], &["b"]), SaveMode::Overwrite, &options).await.unwrap();
    begin_vacuum(fixture).await;
    (source, clone)
}

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_of_a_clone_is_neither_held_nor_restored_beside_a_vacuum_of_its_source() {
    let fixture = Fixture::new();
    let (_, clone) = beside_a_vacuum(&fixture).await;
    let going_on = |e: TxnLogError| {
        assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
        assert!(e.to_string().contains("a vacuum of default.source has been running since version 2"), "{e}");
    };
    going_on(clone.hold(At::Version(1), HOUR, "ann").await.unwrap_err());
    going_on(clone.restore(At::Version(1), &WriteOptions::default()).await.unwrap_err());
    assert_eq!(clone.holds().await.unwrap(), []);
    clone.hold(At::Latest, HOUR, "ann").await.unwrap().release().await.unwrap();
    // When the start has expired, both are allowed again.
    clone.restore(At::Version(1), &fixture.later(16 * 60)).await.unwrap();
    assert_eq!(clone.holds().await.unwrap(), []);
    check(&clone, &Scan::default(), &["|1|a|"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_of_the_source_spares_what_a_restore_is_about_to_commit() {
    let fixture = Fixture::new();
    let source = fixture.create("source", "id long, day string", &["day"]).await;
    let options = WriteOptions::default();
    source.write(rows(&[1], &["a"]), SaveMode::Append, &options).await.unwrap();
    let clone = clone_of(&fixture, &source, "clone", |place| place.url().to_string()).await;
    for table in [&source, &clone] {
        table.write(rows(&[2], &["b"]), SaveMode::Overwrite, &options).await.unwrap();
    }
    // The clone's first version is older than its retention.
    let late = 8 * 24 * 3_600;
    let restore = || Operation::Restore(At::Version(1).into());
    fixture.later(late);
    let pending = clone.prepare(restore(), &options).await.unwrap().unwrap();
    assert_eq!(source.vacuum(&now_and_then(0, true), &fixture.later(late)).await.unwrap(), Vacuumed::default());
    commit(fixture.catalog.as_ref(), vec![pending], &options).await.unwrap();
    assert_eq!(clone.holds().await.unwrap(), []);
    check(&clone, &Scan::default(), &["|1|a|"]).await;

    // A hold that was released, or is too late, keeps no file.
    clone.write(rows(&[2], &["b"]), SaveMode::Overwrite, &options).await.unwrap();
    let late = 2 * late;
    fixture.later(late);
    clone.prepare(restore(), &options).await.unwrap().unwrap().discard().await;
    assert_eq!(clone.holds().await.unwrap(), []);
    let pending = clone.prepare(restore(), &options).await.unwrap().unwrap();
    let gone = source.vacuum(&now_and_then(0, true), &fixture.later(late + 2 * 3_600)).await.unwrap();
    assert_eq!(gone.files.len(), 1);
    let e = commit(fixture.catalog.as_ref(), vec![pending], &options).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
    assert!(e.to_string().contains("has ended, and files of the version may have been removed"), "{e}");
}
