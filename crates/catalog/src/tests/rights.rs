//! What a catalog lets other users read, and which paths it accepts.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use deltalakedb_log::{
    AllowedPaths, BaseFiles, BaseState, CommitTime, HistoryItem, HistoryLoad, HistoryLoading, LoggedCommit, TableRef,
    TimeSource,
};
use futures::stream;

use super::*;

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_catalog_file_is_private_by_default() {
    for database in databases("permissions") {
        for (given, expected) in [(None, 0o600), (Some(0o640), 0o640)] {
            let dir = tempfile::tempdir().unwrap();
            let uri = CatalogUri::parse(&database.uri(dir.path(), "c")).unwrap();
            let mut options = ConnectOptions::default();
            options.file_mode = given.unwrap_or(options.file_mode);
            let catalog = SqlCatalog::connect(&uri, options).await.unwrap();
            create(&catalog).await;
            let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
            for file in &files {
                // DuckDB creates its WAL itself, again and again.
                if file.extension().is_none_or(|ending| ending != "wal") {
                    assert_eq!(mode(file), expected, "{}", file.display());
                }
            }
            // SQLite's other files exist while the catalog is open.
            assert!(files.len() >= if *database == databases::Database::Sqlite { 3 } else { 1 }, "{files:?}");
            catalog.close().await;
        }
    }
}

#[tokio::test]
async fn permissions_of_an_existing_file_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.db");
    open(&path, 1).await.unwrap().close().await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o664)).unwrap();
    let again = open(&path, 2).await.unwrap();
    create(&again).await;
    assert_eq!(mode(&path), 0o664);
}

#[tokio::test]
async fn links_in_a_stored_location_are_not_resolved() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(&dir.path().join("c.db"), 1).await.unwrap();
    let id = create(&catalog).await;
    let store = async |text: &str| {
        let (mut tx, _) = catalog.db.write(&[], "SELECT 1").await.unwrap();
        let sql = "UPDATE dl_tables SET location = ?, location_key = ?";
        tx.write(vec![WriteStatement::run(sql, vec![text.into(), text.into()])]).await.unwrap();
        tx.commit().await.unwrap();
    };
    // The folder was moved, and a link at its old place points to the new one.
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    std::fs::create_dir(&new).unwrap();
    std::os::unix::fs::symlink(&new, &old).unwrap();
    let registered = format!("file://{}/", old.display());
    store(&registered).await;
    let entry = catalog.tables().await.unwrap().remove(0);
    assert_eq!(entry.location.url().as_str(), registered);
    let found = catalog.find(&TableRef::Location(entry.location)).await.unwrap();
    assert_eq!(found.map(|entry| entry.id), Some(id), "it is found by what is stored");
    // A location that this build cannot open is listed anyway.
    for odd in ["later://bucket/t/", "no URL at all", "s3://AKIA:SECRET@bucket/t/"] {
        store(odd).await;
        let entry = catalog.tables().await.unwrap().remove(0);
        assert_eq!(entry.id, id, "{odd}");
        assert!(!entry.location.to_string().contains("SECRET"), "{}", entry.location);
    }
    let other = NewTable::new("other".parse().unwrap(), Location::parse("/nowhere/other").unwrap());
    let actions = vec![Action::Protocol(actions::protocol()), Action::Metadata(actions::metadata("{}"))];
    let request = CommitRequest::new(TableId(Uuid::from_u128(7)), Uuid::from_u128(8), Base::Create(other), actions);
    catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
}

#[tokio::test]
async fn files_outside_the_table_are_accepted_only_below_allowed_paths() {
    let dir = tempfile::tempdir().unwrap();
    let uri = CatalogUri::parse(&format!("deltasql://sqlite/{}", dir.path().join("c.db").display())).unwrap();
    let allowed_paths = AllowedPaths::below(["/data/shared"]).unwrap();
    let strict = SqlCatalog::connect(&uri, ConnectOptions { allowed_paths, ..Default::default() }).await.unwrap();
    let trusting = SqlCatalog::connect(&uri, ConnectOptions::default()).await.unwrap();
    let id = create(&strict).await;
    let refused = |error: deltalakedb_log::TxnLogError| {
        let says = error.to_string();
        assert!(error.kind() == ErrorKind::Invalid && says.contains("paths.allowed"), "{says}");
    };
    let version = strict.commit_all(vec![append(id, 0, "part-0")]).await.unwrap().committed().unwrap()[0].version;
    strict.commit_all(vec![append(id, version, "/data/shared/x")]).await.unwrap().committed().unwrap();
    refused(strict.commit_all(vec![append(id, version, "/etc/x")]).await.unwrap_err());
    trusting.commit_all(vec![append(id, version, "/etc/x")]).await.unwrap().committed().unwrap();

    // An import is checked as a commit is: its commits, and its base state.
    let outside = "http://169.254.169.254/x";
    let load = async |catalog: &SqlCatalog, n: u128, items: Vec<HistoryItem>| {
        let location = Location::parse(&format!("/nowhere/{n}")).unwrap();
        let load = HistoryLoad {
            published_version: Some(0),
            ..HistoryLoad::new(
                TableId(Uuid::from_u128(n)),
                NewTable::new(format!("t{n}").parse().unwrap(), location),
                stream::iter(items.into_iter().map(Ok)),
            )
        };
        catalog.load_history(load).await
    };
    let time = CommitTime { ms: 1, source: TimeSource::File };
    let metadata = || actions::metadata("{}");
    let commit = |path: &str| {
        let lines = [
            Action::Protocol(actions::protocol()).to_json(),
            Action::Metadata(metadata()).to_json(),
            Action::add(actions::file(path, 0, 1)).to_json(),
        ];
        vec![HistoryItem::Commit(LoggedCommit {
            version: 0,
            time,
            body: lines.join("\n").into(),
            origin: "0.json".into(),
        })]
    };
    let base = |live: &str, cdc: &str| {
        let cdc = format!(r#"{{"cdc":{{"path":"{cdc}","partitionValues":{{}},"size":1,"dataChange":false}}}}"#);
        let (protocol, metadata, body) = (actions::protocol(), metadata(), Some(cdc.into()));
        let (txns, domains) = (Vec::new(), Vec::new());
        let base = BaseState { version: 3, time, protocol, metadata, txns, domains, body };
        let files = BaseFiles { live: vec![actions::file(live, 0, 1)], removed: Vec::new() };
        vec![HistoryItem::Base(base.into()), HistoryItem::Files(files)]
    };
    let cases = [commit(outside), base(outside, "_change_data/x"), base("part-0", outside)];
    for (n, items) in (11..).zip(cases) {
        refused(load(&strict, n, items.clone()).await.unwrap_err());
        load(&trusting, n, items).await.unwrap();
    }
    load(&strict, 20, commit("part-0")).await.unwrap();
    load(&strict, 21, base("part-0", "_change_data/x")).await.unwrap();
}
