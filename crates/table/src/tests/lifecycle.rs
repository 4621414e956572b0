//! The remains of a table that is dropped or detached, in its folder and in the catalog.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::path::Path;

use deltalakedb_log::retention::{Expiry, HistoryExpiry, Keep};
use deltalakedb_log::stores::environment;
use deltalakedb_log::{
    Committer, FileTxnLogReader, FileTxnLogWriter, InactiveTable, TableLifecycle, TableState, TxnLogWriter,
};
use deltalakedb_mirror::Mirror;

use super::*;

fn mirror(fixture: &Fixture) -> Mirror {
    Mirror::new(fixture.catalog.clone(), fixture.clock.clone()).with_checkpoint_interval(NonZeroU64::new(2).unwrap())
}

/// Every file below a folder.
fn below(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(inner) = folders.pop() {
        for path in std::fs::read_dir(inner).unwrap().map(|e| e.unwrap().path()) {
            if path.is_dir() && !path.is_symlink() {
                folders.push(path)
            } else {
                _ = found.insert(path.strip_prefix(folder).unwrap().to_string_lossy().into_owned())
            }
        }
    }
    found
}

/// A partitioned table of five versions, with change data, and a removed file; all of it published.
async fn busy_table(fixture: &Fixture) -> DeltaTable {
    let options = WriteOptions::default();
    let table = fixture.create("t", "id long, day string", &["day"]).await;
    let feed = HashMap::from([("delta.enableChangeDataFeed".to_string(), "true".to_string())]);
    let set = Alter::SetProperties { properties: feed, unknown: false };
    table.run(Operation::Alter(set), &options).await.unwrap();
    table.write(rows(&[1, 2], &["a", "b c"]), SaveMode::Append, &options).await.unwrap();
    table.run(Operation::Delete { filter: Some("id = 1".into()) }, &options).await.unwrap();
    table.write(rows(&[3], &["a"]), SaveMode::Append, &options).await.unwrap();
    mirror(fixture).publish(fixture.id("t").await).await.unwrap();
    table
}

async fn inactive(fixture: &Fixture) -> InactiveTable {
    let mut tables = fixture.catalog.inactive_tables(None, 100).await.unwrap();
    assert_eq!(tables.len(), 1, "{tables:?}");
    tables.remove(0)
}

/// The commits that added the files have expired.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_expired_versions_are_deleted_with_the_table() {
    let fixture = Fixture::new();
    let options = WriteOptions::default();
    let table = fixture.create("t", "id long, day string", &[]).await;
    for id in 1..=3 {
        table.write(rows(&[id], &["a"]), SaveMode::Append, &options).await.unwrap();
    }
    let id = fixture.id("t").await;
    mirror(&fixture).publish(id).await.unwrap();
    let keep = Keep { since_ms: i64::MAX, versions: 1, ids_since_ms: 0 };
    let expiry = Expiry { table: id, keep, up_to: 3, committer: Committer::default() };
    assert_eq!(fixture.catalog.expire(&expiry).await.unwrap().base_version, 3);
    let how = DropOptions { delete_files: true, ..DropOptions::default() };
    let dropped = drop_table(&mirror(&fixture), id, how, &options).await.unwrap();
    assert_eq!(dropped.deleted.map(|deleted| deleted.left), Some(0));
    assert!(below(&fixture.dir.path().join("t")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drop_deletes_only_files_of_the_table() {
    let fixture = Fixture::new();
    let table = busy_table(&fixture).await;
    let folder = fixture.dir.path().join("t");
    // Files in the folder that are not the table's, and a file of another table.
    for file in ["notes.txt", "day=a/other.parquet", "archive/x.parquet"] {
        std::fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
        std::fs::write(folder.join(file), "mine").unwrap();
    }
    let before = below(&folder);
    assert!(before.iter().any(|file| file.starts_with("_change_data")), "{before:?}");
    assert!(before.iter().any(|file| file.contains(".checkpoint.")), "{before:?}");
    let how = DropOptions { delete_files: true, ..DropOptions::default() };
    let dropped = drop_table(&mirror(&fixture), fixture.id("t").await, how, &WriteOptions::default()).await.unwrap();
    let left = below(&folder);
    assert_eq!(left, ["archive/x.parquet", "day=a/other.parquet", "notes.txt"].map(String::from).into());
    let deleted = DeletedFiles { files: before.len() as u64 - 3, left: 3 };
    assert_eq!(dropped.deleted, Some(deleted));
    assert!(!folder.join("_delta_log").exists() && !folder.join("_change_data").exists(), "no empty folder is left");
    assert!(!folder.join("day=b c").exists() && !folder.join("day=b%20c").exists());
    assert_eq!(inactive(&fixture).await.state, TableState::Deleted);
    let gone = table.read(&Scan::default()).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound, "{gone}");
    let again =
        mirror(&fixture).undrop_table(&inactive(&fixture).await, None, &Committer::default()).await.unwrap_err();
    assert!(again.to_string().contains("with its files and cannot be undropped"), "{again}");
    // Its place is free.
    std::fs::remove_dir_all(&folder).unwrap();
    fixture.create("t", "id long, day string", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_follows_no_link_out_of_the_table() {
    let fixture = Fixture::new();
    busy_table(&fixture).await;
    let (folder, elsewhere) = (fixture.dir.path().join("t"), fixture.dir.path().join("elsewhere"));
    std::fs::rename(folder.join("day=a"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, folder.join("day=a")).unwrap();
    let there = below(&elsewhere);
    assert!(!there.is_empty());
    let how = DropOptions { delete_files: true, ..DropOptions::default() };
    drop_table(&mirror(&fixture), fixture.id("t").await, how, &WriteOptions::default()).await.unwrap();
    assert_eq!(below(&elsewhere), there, "what is elsewhere stays, whatever leads there");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_deletion_resumes() {
    let fixture = Fixture::new();
    busy_table(&fixture).await;
    let (folder, options) = (fixture.dir.path().join("t"), WriteOptions::default());
    // The state after a process ended just after the catalog recorded the drop, and a while later.
    let drop = deltalakedb_log::DropTable {
        mode: deltalakedb_log::DropMode::DeleteFiles,
        allow_unpublished: true,
        at_version: None,
        committer: Committer::default(),
    };
    mirror(&fixture).drop_table(fixture.id("t").await, &drop).await.unwrap();
    let there = below(&folder);
    mirror(&fixture).delete_log(&inactive(&fixture).await).await.unwrap();
    assert!(!below(&folder).iter().any(|file| file.starts_with("_delta_log/")), "no reader finds a table any more");
    assert_eq!(inactive(&fixture).await.state, TableState::Deleting);
    let deleted = delete_files(&mirror(&fixture), &inactive(&fixture).await, &options).await.unwrap();
    let data = there.iter().filter(|file| !file.starts_with("_delta_log/")).count();
    assert_eq!((deleted, below(&folder).len()), (DeletedFiles { files: data as u64, left: 0 }, 0));
    assert_eq!(inactive(&fixture).await.state, TableState::Deleted);
    let again = delete_files(&mirror(&fixture), &inactive(&fixture).await, &options).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Invalid, "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_table_is_a_plain_table() {
    let fixture = Fixture::new();
    let table = busy_table(&fixture).await;
    let options = WriteOptions::default();
    table.write(rows(&[4], &["a"]), SaveMode::Append, &options).await.unwrap();
    let want = text(&table.read(&Scan::default()).await.unwrap());
    detach_table(&mirror(&fixture), fixture.id("t").await, &options).await.unwrap();
    assert_eq!(inactive(&fixture).await.state, TableState::Detached);
    let location = table.location().clone();
    assert_eq!(text(&plain::read(&location, None).await.unwrap()), want, "delta-rs reads it");
    let ours = DeltaTable::open_plain(location.clone(), environment()).await.unwrap();
    assert_eq!(text(&ours.read(&Scan::default()).await.unwrap()), want, "and so do we");

    // It is written like any plain table, without interference of ours.
    let log = FileTxnLogReader::open(&location).await.unwrap();
    let newest = log.versions().1;
    let txn = Action::Txn(Txn { app_id: "app".into(), version: 1, last_updated: None, extra: Default::default() });
    let request = CommitRequest::new(TableId(Uuid::nil()), Uuid::from_u128(1), Base::Exactly(newest), vec![txn]);
    let writer = FileTxnLogWriter::open_in(&location, environment().as_ref(), fixture.clock.clone()).unwrap();
    writer.commit(request).await.unwrap().committed().unwrap();
    let there = below(&fixture.dir.path().join("t"));
    for gone in [
        mirror(&fixture).publish(inactive(&fixture).await.id).await.map(drop),
        mirror(&fixture).run().try_collect::<Vec<_>>().await.map(drop),
    ] {
        if let Err(e) = gone {
            assert!(e.to_string().contains("was detached"), "{e}");
        }
    }
    let late = table.write(rows(&[5], &["a"]), SaveMode::Append, &options).await.unwrap_err();
    assert!(late.kind() == ErrorKind::NotFound && late.to_string().contains("was detached"), "{late}");
    assert_eq!(below(&fixture.dir.path().join("t")), there, "nothing of ours writes there any more");

    // It can be imported again, with the commits of other writers.
    let back = mirror(&fixture).import(&location, Some(&"t".parse().unwrap()), &|_, _| {}).await.unwrap();
    assert_eq!(back.table.current_version, newest + 1);
    assert_eq!(text(&fixture.open("t").await.read(&Scan::default()).await.unwrap()), want);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_published_is_not_dropped() {
    let fixture = Fixture::new();
    let table = busy_table(&fixture).await;
    let (id, options) = (fixture.id("t").await, WriteOptions::default());
    table.write(rows(&[4], &["a"]), SaveMode::Append, &options).await.unwrap();
    // Another writer's commit exists where the catalog's should be.
    let next = format!("t/_delta_log/{:020}.json", 5);
    std::fs::write(fixture.dir.path().join(next), "{\"commitInfo\":{}}\n").unwrap();
    let refused = drop_table(&mirror(&fixture), id, DropOptions::default(), &options).await.unwrap_err();
    assert!(refused.to_string().contains("t was not dropped"), "{refused}");
    assert!(refused.to_string().contains("`dl drop default.t --force`"), "{refused}");
    let refused = detach_table(&mirror(&fixture), id, &options).await.unwrap_err();
    assert!(refused.to_string().contains("t was not detached"), "{refused}");
    let how = DropOptions { force: true, ..DropOptions::default() };
    drop_table(&mirror(&fixture), id, how, &options).await.unwrap();
    let back = mirror(&fixture).undrop_table(&inactive(&fixture).await, None, &Committer::default()).await.unwrap();
    assert_eq!(back.table.current_version, 5);
    assert!(back.warning.unwrap().contains("version 5"), "who brings it back is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn undropping_a_table_with_foreign_commits_warns() {
    let fixture = Fixture::new();
    let table = busy_table(&fixture).await;
    let options = WriteOptions::default();
    drop_table(&mirror(&fixture), fixture.id("t").await, DropOptions::default(), &options).await.unwrap();
    let same = mirror(&fixture).undrop_table(&inactive(&fixture).await, None, &Committer::default()).await.unwrap();
    assert_eq!(same.warning, None);
    drop_table(&mirror(&fixture), same.table.id, DropOptions::default(), &options).await.unwrap();
    let txn = Action::Txn(Txn { app_id: "app".into(), version: 1, last_updated: None, extra: Default::default() });
    let foreign = fixture.dir.path().join(format!("t/_delta_log/{:020}.json", 5));
    std::fs::write(foreign, txn.to_json() + "\n").unwrap();
    let changed = mirror(&fixture).undrop_table(&inactive(&fixture).await, None, &Committer::default()).await.unwrap();
    assert!(changed.warning.unwrap().contains("run `dl import default.t`"), "the catalog is behind its log now");
    let refused = table.write(rows(&[9], &["a"]), SaveMode::Append, &options).await.unwrap_err();
    assert!(refused.to_string().contains("run `dl import default.t`"), "and nothing is written before: {refused}");
    // A table that was created inside it since prevents an undrop.
    drop_table(&mirror(&fixture), same.table.id, DropOptions { force: true, ..DropOptions::default() }, &options)
        .await
        .unwrap();
    let place = fixture.dir.path().join("t/inner");
    let new = NewTable {
        name: "inner".parse().unwrap(),
        location: Location::parse(place.to_str().unwrap()).unwrap(),
        owner: None,
    };
    let schema = parse_schema("id long").unwrap();
    create_table(fixture.catalog.as_ref(), new, &schema, &[], &HashMap::new(), &options).await.unwrap();
    let refused =
        mirror(&fixture).undrop_table(&inactive(&fixture).await, None, &Committer::default()).await.unwrap_err();
    assert!(refused.to_string().contains("inner"), "{refused}");
}
