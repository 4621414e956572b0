//! Held versions in the output of `dl`, and in vacuum.

use deltalakedb_catalog::{CatalogUri, ConnectOptions, SqlCatalog};
use deltalakedb_log::{Catalog, TableRef, VersionHolds};

use crate::databases::databases;
use crate::test_folder::TestFolder;

/// Holds a version for an hour.
fn hold(place: &TestFolder, version: u64) {
    let uri = CatalogUri::parse(place.catalog()).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let catalog = SqlCatalog::connect(&uri, ConnectOptions::default()).await.unwrap();
        let table = catalog.find(&TableRef::Name("t".parse().unwrap())).await.unwrap().unwrap();
        let until = catalog.now_ms().await.unwrap() + 3_600_000;
        catalog.hold(table.id, version, until, "nightly report").await.unwrap();
        catalog.close().await;
    });
}

#[test]
fn a_held_version_is_listed_and_its_files_are_kept() {
    for database in databases("operations") {
        let place = TestFolder::on(*database);
        place.write("rows.csv", "id\n1\n2\n");
        place.dl(&["create", "t", "--location", "t", "--schema", "id long"]).good();
        place.dl(&["write", "t", "--input", "rows.csv"]).good();
        place.dl(&["write", "t", "--input", "rows.csv", "--mode", "overwrite"]).good();
        hold(&place, 1);
        let shown = place.dl(&["show", "t"]).good();
        assert!(shown.contains("held       version 1 by nightly report until 2"), "{shown}");
        let shown = place.dl(&["show", "t", "--format", "json"]).json();
        assert_eq!(
            (&shown["holds"][0]["version"], &shown["holds"][0]["holder"]),
            (&1.into(), &"nightly report".into())
        );

        let now = ["vacuum", "t", "--retain", "0s", "--force"];
        let said = place.dl(&now).good();
        let says = "nothing was removed; 1 file kept because readers hold versions, see `dl show default.t`";
        assert!(said.contains(says), "{said}");
        let done = place.dl(&[&now[..], &["--format", "json"]].concat()).json();
        assert_eq!((&done["metrics"]["num_held"], &done["metrics"]["num_files"]), (&1.into(), &0.into()));
        let then = place.dl(&["read", "t", "--version", "1", "--format", "json"]).json();
        assert_eq!(then.as_array().unwrap().len(), 2);

        let refused = place.dl(&["drop", "t", "--delete-files", "--yes"]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.err.contains("version 1 of default.t is held by nightly report until 2"), "{refused:?}");
        place.dl(&["show", "t"]).good();
    }
}
