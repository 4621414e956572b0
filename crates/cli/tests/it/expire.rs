//! History that ends.

use crate::databases::databases;
use crate::place::Place;

/// A table `t` of six versions, of which each but the first replaces its rows, and which keeps no removed files.
fn table(place: &Place) {
    place.write("rows.csv", "id\n1\n");
    let keeps = "delta.deletedFileRetentionDuration=interval 0 seconds";
    place.dl(&["create", "t", "--location", "t", "--schema", "id long", "--property", keeps]).good();
    for _ in 1..=5 {
        place.dl(&["write", "t", "--input", "rows.csv", "--mode", "overwrite"]).good();
    }
}

#[test]
fn old_versions_leave_the_catalog_and_the_log() {
    for database in databases("operations") {
        let place = Place::on(*database);
        table(&place);
        let log = |version: u64| place.path(&format!("t/_delta_log/{version:020}.json")).exists();
        let young = place.dl(&["expire", "t"]).good();
        assert!(young.contains("every version of default.t is still needed"), "{young}");
        let would = place.dl(&["expire", "t", "--keep", "0s", "--keep-versions", "3", "--dry-run"]).good();
        assert!(would.contains("3 versions of default.t would end: its history would begin at version 3"), "{would}");
        assert!(log(0), "nothing was done");
        let said = place.dl(&["expire", "t", "--keep", "0s", "--keep-versions", "3"]).good();
        assert!(said.contains("3 versions of default.t ended: its history begins at version 3"), "{said}");
        assert_eq!((log(2), log(3)), (false, true));
        let ended = place.dl(&["read", "t", "--version", "2"]);
        assert_eq!(ended.code, Some(1));
        assert!(ended.err.contains("default.t has no version 2: the oldest version that is held is 3"), "{ended:?}");
        for version in ["3", "4", "5"] {
            assert_eq!(place.dl(&["read", "t", "--version", version, "--format", "json"]).json()[0]["id"], 1);
        }
        assert_eq!(place.dl(&["show", "t", "--format", "json"]).json()["baseVersion"], 3);
        assert_eq!(place.dl(&["history", "t", "--format", "json"]).json().as_array().unwrap().len(), 3);
        place.dl(&["verify", "--every-version", "--data"]).good();

        // A table says what it keeps, and the settings what all others do.
        place.dl(&["alter", "t", "--set-property", "deltalakedb.retention.versions=2"]).good();
        let all = ["expire", "--all", "--set", "retention.time=0s", "--format", "json"];
        let listed = place.dl(&all).json();
        let row = &listed.as_array().unwrap()[0];
        assert_eq!(
            (&row["name"], &row["baseVersion"], &row["versionsEnded"]),
            (&"default.t".into(), &5.into(), &2.into())
        );
        place.dl(&["verify", "--every-version", "--data"]).good();
        assert_eq!(place.dl(&["expire"]).code, Some(2), "a table, or all");
        let wrong = place.dl(&["expire", "t", "--keep", "long"]);
        assert!(wrong.err.contains("--keep \"long\" is no time"), "{wrong:?}");
    }
}
