//! `dl rebuild`: a lost catalog comes back from its mirrors.

use crate::databases::databases;
use crate::test_folder::TestFolder;

/// Asserts that the command fails with one sentence about the cause and what to do.
fn fails(place: &TestFolder, args: &[&str], code: i32, says: &[&str]) {
    let ran = place.dl(args);
    assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
    assert!(ran.out.is_empty() && (code == 2 || ran.err.trim_end().lines().count() == 1), "{args:?}: {ran:?}");
    for part in says {
        assert!(ran.err.contains(part), "{args:?}: {:?} does not say {part:?}", ran.err);
    }
}

const TABLES: &str = "CREATE TABLE a (id INT) LOCATION 'lake/a'; CREATE TABLE b (id INT) LOCATION 'lake/deep/b'; \
     BEGIN; INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); COMMIT; INSERT INTO a VALUES (2)";

#[test]
fn a_rebuilt_catalog_answers_as_the_lost_one() {
    for database in databases("operations") {
        let place = TestFolder::on(*database);
        place.dl(&["sql", TABLES]).good();
        let next = database.uri(&place.path(""), "next");
        let other = |args: &[&str]| place.dl(&[&["--catalog", next.as_str()], args].concat());
        other(&["init"]).good();
        let answers = |dl: &dyn Fn(&[&str]) -> String| {
            let commands: [&[&str]; 5] = [
                &["tables", "--format", "json"],
                &["history", "a", "--format", "json"],
                &["history", "b", "--format", "json"],
                &["show", "b", "--format", "json"],
                &["snapshot", "a", "--format", "json"],
            ];
            commands.map(dl)
        };
        let before = answers(&|args| place.dl(args).good());
        let said = other(&["rebuild", "lake", "--from-mirror", "--format", "json"]).json();
        let tables: Vec<_> = said["tables"].as_array().unwrap().iter().map(|table| table["name"].clone()).collect();
        assert_eq!(tables, ["default.a", "default.b"]);
        assert_eq!(answers(&|args| other(args).good()), before, "{database:?}");
        let ids = |document: serde_json::Value| (document["catalogId"].clone(), document["epoch"].clone());
        let lost = ids(place.dl(&["init", "--format", "json"]).json());
        assert_eq!((&said["catalogId"], said["epoch"] == lost.1), (&lost.0, false));
        other(&["verify", "--every-version", "--data"]).good();

        other(&["sql", "INSERT INTO a VALUES (3)"]).good();
        let says = ["version 3 in", "committed by the successor of", "dl init --restored"];
        fails(&place, &["sql", "INSERT INTO a VALUES (4)"], 1, &says);
        fails(&place, &["import", "a"], 1, &says);
    }
}

#[test]
fn what_is_cut_is_reported() {
    let place = TestFolder::new();
    place.dl(&["init"]).good();
    place.dl(&["sql", TABLES]).good();
    // As if `b` had not been published when the catalog was lost.
    for suffix in ["json", "crc"] {
        std::fs::remove_file(place.path(&format!("lake/deep/b/_delta_log/{:020}.{suffix}", 1))).unwrap();
    }
    let ran = place.dl(&["--catalog", "deltasql://sqlite/next.db", "rebuild", "lake", "--from-mirror"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let lines: Vec<_> = ran.out.lines().map(|line| line.split_whitespace().take(3).collect::<Vec<_>>()).collect();
    let expected = [vec!["name", "version", "published"], vec!["default.a", "0", "2"], vec!["default.b", "0", "0"]];
    assert_eq!(lines, expected);
    for part in [
        "default.a is at version 0, without versions 1 to 2",
        "whose part in default.b was not published",
        "move the files",
    ] {
        assert!(ran.err.contains(part), "{ran:?}");
    }
    let quiet = ["--quiet", "--format", "json", "--catalog", "deltasql://sqlite/third.db"];
    let said = place.dl(&[&quiet[..], &["rebuild", "lake", "--from-mirror"]].concat()).json();
    let cut = serde_json::json!({"version": 1, "because": "default.b"});
    assert_eq!((&said["tables"][0]["cut"], &said["tables"][1]["cut"]), (&cut, &serde_json::Value::Null));
}

#[test]
fn wrong_arguments_of_a_rebuild_are_refused() {
    let place = TestFolder::new();
    place.dl(&["init"]).good();
    place.dl(&["sql", "CREATE TABLE a (id INT) LOCATION 'a'"]).good();
    fails(&place, &["rebuild", "a"], 2, &["--from-mirror"]);
    fails(&place, &["rebuild", "--from-mirror"], 2, &["LOCATION"]);
    fails(&place, &["rebuild", "a", "--from-mirror"], 1, &["meta.db is not empty", "default.a", "a new catalog"]);
    let next = ["--catalog", "deltasql://sqlite/next.db", "rebuild", "--from-mirror"];
    let elsewhere = |location: &str, says: &[&str]| fails(&place, &[&next[..], &[location]].concat(), 1, says);
    elsewhere("nowhere", &["there is no table at", "nowhere"]);
    std::fs::write(place.path(&format!("a/_delta_log/{:020}.json", 1)), "{\"add\":").unwrap();
    elsewhere("a", &["nothing was rebuilt", "00000000000000000001.json, line 1: invalid JSON"]);
}

/// The row engine has the id of its catalog, and owns its tables: the rebuilt catalog is that one.
#[test]
fn row_tables_continue_with_a_rebuilt_catalog() {
    let place = TestFolder::new();
    place.dl(&["init"]).good();
    let sql = "CREATE SHARED TABLE notes (id BIGINT PRIMARY KEY, body TEXT); INSERT INTO notes VALUES (1, 'a'), (2, 'b'); \
               FLUSH TABLE notes; INSERT INTO notes VALUES (3, 'c'); DELETE FROM notes WHERE id = 1";
    place.dl(&["sql", "--data", "app", sql]).good();
    std::fs::rename(place.path("meta.db"), place.path("lost.db")).unwrap();
    let said = place.dl(&["rebuild", ".", "--from-mirror", "--format", "json"]).json();
    assert!(said["tables"][0]["owner"].as_str().is_some_and(|owner| owner.starts_with("rows:")), "{said}");
    fails(&place, &["delete", "notes", "--all"], 1, &["is owned by the row engine"]);
    let sql = "INSERT INTO notes VALUES (4, 'd'); FLUSH TABLE notes; SELECT id FROM notes ORDER BY id";
    let rows = place.dl(&["sql", "--data", "app", "--format", "csv", "--quiet", sql]).good();
    assert!(rows.ends_with("id\n2\n3\n4\n"), "{rows}");
}
