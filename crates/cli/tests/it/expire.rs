//! Expiry of history.

use std::sync::Arc;

use deltalakedb_catalog::{CatalogUri, ConnectOptions, SqlCatalog};
use deltalakedb_log::retention::COMMIT_IDS_MS;
use deltalakedb_log::{
    Catalog, Clock, Committer, DropMode, DropTable, MirrorProgress, SeededClock, SystemClock, TableLifecycle, TableRef,
};

use crate::databases::databases;
use crate::test_folder::TestFolder;

/// Drops a table as if that had been done a week ago, without retention.
pub(crate) fn drop_a_week_ago(place: &TestFolder, name: &str) {
    let uri = CatalogUri::parse(place.catalog()).unwrap();
    let clock = SeededClock::new(SystemClock.now_ms() - COMMIT_IDS_MS - 60_000, 1);
    let options = ConnectOptions { clock: Arc::new(clock), server_clock: false, ..ConnectOptions::default() };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let catalog = SqlCatalog::connect(&uri, options).await.unwrap();
        let table = catalog.find(&TableRef::Name(name.parse().unwrap())).await.unwrap().unwrap().id;
        let now_ms = SystemClock.now_ms();
        let lease = catalog.acquire_lease(table, SystemClock.new_uuid(), now_ms, now_ms + 60_000).await;
        let mode = DropMode::Retain { ms: 0 };
        let drop = DropTable { mode, allow_unpublished: false, at_version: None, committer: Committer::default() };
        catalog.drop_table(&lease.unwrap().unwrap(), &drop).await.unwrap();
        catalog.close().await;
    });
}

/// A table `t` of six versions, each of which replaces the rows of the previous one, without retention of removed
/// files.
fn table(place: &TestFolder) {
    place.write("rows.csv", "id\n1\n");
    let keeps = "delta.deletedFileRetentionDuration=interval 0 seconds";
    place.dl(&["create", "t", "--location", "t", "--schema", "id long", "--property", keeps]).good();
    for _ in 1..=5 {
        place.dl(&["write", "t", "--input", "rows.csv", "--mode", "overwrite"]).good();
    }
}

#[test]
fn expire_removes_old_versions_from_the_catalog_and_the_log() {
    for database in databases("operations") {
        let place = TestFolder::on(*database);
        table(&place);
        let log = |version: u64| place.path(&format!("t/_delta_log/{version:020}.json")).exists();
        let young = place.dl(&["expire", "t"]).good();
        assert!(young.contains("every version of default.t is still needed"), "{young}");
        let would = place.dl(&["expire", "t", "--keep", "0s", "--keep-versions", "3", "--dry-run"]).good();
        assert!(
            would.contains("3 versions of default.t would expire: its history would begin at version 3"),
            "{would}"
        );
        assert!(log(0), "nothing was done");
        let said = place.dl(&["expire", "t", "--keep", "0s", "--keep-versions", "3"]).good();
        assert!(said.contains("3 versions of default.t expired: its history begins at version 3"), "{said}");
        assert_eq!((log(2), log(3)), (false, true));
        let ended = place.dl(&["read", "t", "--version", "2"]);
        assert_eq!(ended.code, Some(1));
        assert!(
            ended.err.contains("default.t has no version 2: the oldest version that is retained is 3"),
            "{ended:?}"
        );
        for version in ["3", "4", "5"] {
            assert_eq!(place.dl(&["read", "t", "--version", version, "--format", "json"]).json()[0]["id"], 1);
        }
        assert_eq!(place.dl(&["show", "t", "--format", "json"]).json()["baseVersion"], 3);
        assert_eq!(place.dl(&["history", "t", "--format", "json"]).json().as_array().unwrap().len(), 3);
        place.dl(&["verify", "--every-version", "--data"]).good();

        // A table's properties set its retention, and the settings that of all others.
        place.dl(&["alter", "t", "--set-property", "deltalakedb.retention.versions=2"]).good();
        let all = ["expire", "--all", "--set", "retention.time=0s", "--format", "json"];
        let listed = place.dl(&all).json();
        let row = &listed.as_array().unwrap()[0];
        assert_eq!(
            (&row["name"], &row["baseVersion"], &row["versionsExpired"]),
            (&"default.t".into(), &5.into(), &2.into())
        );
        place.dl(&["verify", "--every-version", "--data"]).good();
        assert_eq!(place.dl(&["expire"]).code, Some(2), "a table, or all");
        let wrong = place.dl(&["expire", "t", "--keep", "long"]);
        assert!(wrong.err.contains("invalid --keep \"long\": expected a duration such as 30d or 12h"), "{wrong:?}");
    }
}

#[test]
fn expire_removes_dropped_tables_from_the_catalog() {
    for database in databases("operations") {
        let place = TestFolder::on(*database);
        table(&place);
        place.dl(&["create", "kept", "--location", "kept", "--schema", "id long"]).good();
        place.dl(&["drop", "kept"]).good();
        place.dl(&["create", "young", "--location", "young", "--schema", "id long"]).good();
        place.dl(&["drop", "young", "--set", "retention.time=0s"]).good();
        drop_a_week_ago(&place, "t");
        let listed = |args: &[&str]| place.dl(&[args, &["--format", "json"]].concat()).json();
        let names = |listed: serde_json::Value| -> Vec<String> {
            listed.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().into()).collect()
        };
        let would = listed(&["expire", "--all", "--dry-run"]);
        assert_eq!(names(would.clone()), ["default.t"]);
        assert!(would[0]["result"].as_str().unwrap().contains("would be removed"), "{would}");
        assert_eq!(
            names(listed(&["tables", "--dropped"])),
            ["default.kept", "default.t", "default.young"],
            "nothing was done"
        );
        let removed = listed(&["expire", "--all"]);
        assert!(removed[0]["result"].as_str().unwrap().contains("its rows in the catalog were removed"), "{removed}");
        assert_eq!(names(listed(&["tables", "--dropped"])), ["default.kept", "default.young"]);
        assert!(place.path("t/_delta_log/00000000000000000005.json").exists(), "its files stay");
        assert!(place.dl(&["undrop", "t"]).err.contains("no table default.t was dropped"));
        assert_eq!(listed(&["expire", "--all"]).as_array().unwrap().len(), 0);
        // The remaining files are imported as a new table.
        place.dl(&["import", "./t", "--as", "t"]).good();
        place.dl(&["undrop", "kept"]).good();
    }
}

#[test]
fn retention_given_to_init_is_stored_in_the_catalog() {
    for database in databases("operations") {
        let place = TestFolder::on(*database);
        place.dl(&["--set", "retention.versions=2", "--set", "retention.time=0s", "init"]).good();
        table(&place);
        let would = place.dl(&["expire", "t", "--dry-run"]).good();
        assert!(
            would.contains("4 versions of default.t would expire: its history would begin at version 4"),
            "{would}"
        );
        place.dl(&["--set", "retention.versions=3", "init"]).good();
        let ended = place.dl(&["expire", "t"]).good();
        assert!(ended.contains("3 versions of default.t expired: its history begins at version 3"), "{ended}");
        // A setting on the command line takes precedence.
        let young = place.dl(&["expire", "t", "--set", "retention.time=30d"]).good();
        assert!(young.contains("every version of default.t is still needed"), "{young}");
        let dropped = place.dl(&["drop", "t", "--format", "json"]).json();
        assert_eq!(dropped["retainedUntil"].as_str().map(|until| until < "2100"), Some(true), "{dropped}");
        assert!(place.dl(&["undrop", "t"]).err.contains("could be undropped until"), "the catalog keeps nothing");
    }
}

#[test]
fn mirror_run_expires_histories_while_it_publishes() {
    let place = TestFolder::new();
    place.dl(&["--set", "retention.time=0s", "init"]).good();
    table(&place);
    let mut watcher = place.command(&["mirror", "run", "--watch", "-q"]).spawn().unwrap();
    let mut tries = 0..1_000;
    while place.path("t/_delta_log/00000000000000000003.json").exists() {
        assert!(tries.next().is_some(), "no history has ended");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    watcher.kill().unwrap();
    watcher.wait().unwrap();
    assert!(place.dl(&["show", "t", "--format", "json"]).json()["baseVersion"].as_u64().unwrap() > 0);
    place.dl(&["expire", "--all"]).good();
    place.dl(&["verify", "--every-version", "--data"]).good();
}
