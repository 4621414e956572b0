//! Tables that are renamed, dropped, undropped, detached, and imports that are abandoned.

use crate::databases::databases;
use crate::test_folder::{Ran, TestFolder};

fn fails(ran: &Ran, says: &[&str]) {
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for part in says {
        assert!(ran.err.contains(part), "{part:?} is not said: {ran:?}");
    }
}

/// A table `t` with two rows in two versions.
fn table(place: &TestFolder) {
    place.write("rows.csv", "id,name\n1,one\n2,two\n");
    place.dl(&["create", "t", "--location", "t", "--schema", "id long, name string"]).good();
    place.dl(&["write", "t", "--input", "rows.csv"]).good();
}

fn rows(place: &TestFolder, name: &str) -> usize {
    place.dl(&["read", name, "--format", "json"]).json().as_array().unwrap().len()
}

fn names(place: &TestFolder, args: &[&str]) -> Vec<String> {
    let listed = place.dl(&[&["tables", "--format", "json"], args].concat()).json();
    let text = |row: &serde_json::Value| {
        let state = row["state"].as_str().map(|state| format!(" {state}")).unwrap_or_default();
        format!("{}{state}", row["name"].as_str().unwrap())
    };
    listed.as_array().unwrap().iter().map(text).collect()
}

#[test]
fn a_renamed_table_is_found_by_its_new_name() {
    for database in databases("operations") {
        let place = TestFolder::on(*database);
        table(&place);
        let said = place.dl(&["rename", "t", "sales.orders"]).good();
        assert!(said.contains("default.t was renamed to sales.orders"), "{said}");
        assert_eq!((names(&place, &[]), rows(&place, "sales.orders")), (vec!["sales.orders".into()], 2));
        fails(&place.dl(&["show", "default.t"]), &["there is no table default.t"]);
        // A folder of that name is not used by an operation that removes a table.
        fails(&place.dl(&["drop", "t"]), &["there is no table default.t"]);
        fails(&place.dl(&["detach", "t", "--yes"]), &["there is no table default.t"]);
        place.dl(&["write", "sales.orders", "--input", "rows.csv"]).good();
        assert!(place.path("t/_delta_log/00000000000000000002.json").exists(), "it is published where it was");
        place.dl(&["create", "t", "--location", "u", "--schema", "id long"]).good();
        fails(&place.dl(&["rename", "sales.orders", "t"]), &["there is a table default.t already", "another name"]);
        fails(&place.dl(&["rename", "nosuch", "x"]), &["there is no table default.nosuch"]);
        fails(&place.dl(&["rename", "t", "a.b.c"]), &["is not a table name"]);
        let renamed = place.dl(&["rename", "t", "u", "--format", "json"]).json();
        assert_eq!(renamed["name"], "default.u");
        place.dl(&["verify", "--every-version", "--data"]).good();
    }
}

#[test]
fn a_dropped_table_is_undropped() {
    for database in databases("operations") {
        let place = TestFolder::on(*database);
        table(&place);
        place.dl(&["write", "t", "--input", "rows.csv", "--set", "mirror.mode=background"]).good();
        let said = place.dl(&["drop", "t"]).good();
        assert!(said.contains("default.t is dropped: `dl undrop default.t` restores it until"), "{said}");
        assert!(place.path("t/_delta_log/00000000000000000002.json").exists(), "it was published to its end");
        assert_eq!((names(&place, &[]), names(&place, &["--dropped"])), (vec![], vec!["default.t dropped".into()]));
        for command in
            [&["read", "t"][..], &["write", "t", "--input", "rows.csv"], &["drop", "t"], &["detach", "t", "--yes"]]
        {
            fails(&place.dl(command), &["default.t"]);
        }
        fails(&place.dl(&["show", "t"]), &["the table default.t was dropped at", "`dl undrop default.t` restores it"]);
        fails(&place.dl(&["undrop", "nosuch"]), &["no table default.nosuch was dropped"]);

        // Its name is free in the meantime.
        place.dl(&["create", "t", "--location", "u", "--schema", "id long"]).good();
        fails(&place.dl(&["undrop", "t"]), &["there is a table default.t already"]);
        let said = place.dl(&["undrop", "t", "--as", "first"]).good();
        assert!(said.contains("default.first was undropped, at version 2"), "{said}");
        assert_eq!(rows(&place, "first"), 4);
        place.dl(&["write", "first", "--input", "rows.csv"]).good();
        fails(&place.dl(&["undrop", "t"]), &["the table default.t is not dropped"]);
        place.dl(&["drop", "first", "--set", "retention.time=0s"]).good();
        fails(&place.dl(&["undrop", "first"]), &["could be undropped until"]);
        place.dl(&["verify", "--every-version", "--data"]).good();
    }
}

#[test]
fn files_are_deleted_only_with_confirmation() {
    for database in databases("operations") {
        let place = TestFolder::on(*database);
        table(&place);
        place.write("t/notes.txt", "mine");
        let before = place.content();
        let refused = place.dl(&["drop", "t", "--delete-files"]);
        fails(&refused, &["nothing was done", "will be deleted permanently", "--yes"]);
        assert_eq!(place.content(), before);
        let said = place.dl(&["drop", "t", "--delete-files", "--yes"]).good();
        assert!(said.contains("files were deleted, 1 file at") && said.contains("do not belong to it"), "{said}");
        let left: Vec<_> = std::fs::read_dir(place.path("t")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["notes.txt"]);
        fails(&place.dl(&["undrop", "t"]), &["was dropped at", "with its files and cannot be undropped"]);
        place.dl(&["create", "t", "--location", "t", "--schema", "id long"]).good();
        let json = place.dl(&["drop", "t", "--delete-files", "--yes", "--format", "json"]).json();
        assert_eq!((&json["state"], &json["filesLeft"]), (&"dropped".into(), &1.into()), "{json}");
    }
}

#[test]
fn a_detached_table_is_a_plain_table() {
    for database in databases("operations") {
        let place = TestFolder::on(*database);
        table(&place);
        place.dl(&["write", "t", "--input", "rows.csv", "--set", "mirror.mode=background"]).good();
        let before = place.content();
        fails(
            &place.dl(&["detach", "t"]),
            &["nothing was done", "default.t will be removed from the catalog", "--yes"],
        );
        assert_eq!(place.content(), before);
        let said = place.dl(&["detach", "t", "--yes"]).good();
        assert!(said.contains("is now a plain Delta table"), "{said}");
        assert_eq!((names(&place, &[]), names(&place, &["--dropped"])), (vec![], vec!["default.t detached".into()]));
        fails(&place.dl(&["undrop", "t"]), &["was detached at", "cannot be undropped"]);
        fails(&place.dl(&["show", "t"]), &["was detached at", "imports it again"]);
        let after = place.content();
        place.dl(&["mirror", "run"]).good();
        assert_eq!(place.content(), after, "nothing is written to it any more");
        place.dl(&["import", "t", "--as", "again"]).good();
        assert_eq!(rows(&place, "again"), 4);
        place.dl(&["verify", "--every-version", "--data"]).good();
    }
}

#[test]
fn a_failed_import_is_dropped() {
    for database in databases("operations") {
        let place = TestFolder::on(*database);
        place.copy_events("events");
        place.write("events/_delta_log/00000000000000000003.json", "{\"add\":");
        fails(&place.dl(&["import", "events", "--as", "e"]), &["00000000000000000003.json"]);
        assert_eq!(names(&place, &["--dropped"]), ["default.e loading"]);
        fails(&place.dl(&["read", "e"]), &["the import of default.e", "is not finished", "`dl drop default.e`"]);
        let said = place.dl(&["drop", "e"]).good();
        assert!(said.contains("was abandoned"), "{said}");
        assert!(names(&place, &["--dropped"]).is_empty());
        assert!(place.path("events/_delta_log/00000000000000000002.json").exists(), "its files stay");
        place.dl(&["create", "e", "--location", "elsewhere", "--schema", "id long"]).good();
    }
}

#[test]
fn files_of_a_clone_are_neither_deleted_nor_vacuumed() {
    for database in databases("operations") {
        let place = TestFolder::on(*database);
        table(&place);
        // The log of a shallow clone names the files of another table.
        std::fs::create_dir_all(place.path("clone/_delta_log")).unwrap();
        let source = place.path("t").canonicalize().unwrap();
        for version in ["00000000000000000000.json", "00000000000000000001.json"] {
            let log = std::fs::read_to_string(place.path("t/_delta_log").join(version)).unwrap();
            let named = log.replace("\"path\":\"", &format!("\"path\":\"file://{}/", source.display()));
            std::fs::write(place.path("clone/_delta_log").join(version), named).unwrap();
        }
        place.dl(&["import", "clone", "--as", "clone"]).good();
        assert_eq!(rows(&place, "clone"), 2);
        place.dl(&["write", "t", "--input", "rows.csv", "--mode", "overwrite"]).good();
        let said = place.dl(&["vacuum", "t", "--retain", "0s", "--force"]).good();
        assert!(said.contains("nothing was removed"), "{said}");
        let says = ["files of default.t belong to default.clone, too", "drop default.t without its files"];
        fails(&place.dl(&["drop", "t", "--delete-files", "--yes"]), &says);
        assert_eq!((rows(&place, "t"), rows(&place, "clone")), (2, 2));
        place.dl(&["drop", "clone", "--delete-files", "--yes"]).good();
        place.dl(&["drop", "t", "--delete-files", "--yes"]).good();
    }
}
