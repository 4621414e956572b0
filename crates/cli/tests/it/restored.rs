//! A catalog restored from a backup, and an import that was not finished.

use crate::test_folder::TestFolder;

/// Asserts that the command fails with a message about the cause and what to do.
fn fails(place: &TestFolder, args: &[&str], says: &[&str]) {
    let ran = place.dl(args);
    assert_eq!(ran.code, Some(1), "{args:?}: {ran:?}");
    for part in says {
        assert!(ran.err.contains(part), "{args:?}: {:?} does not say {part:?}", ran.err);
    }
}

#[test]
fn a_restored_catalog_refuses_writes_and_vacuums_before_an_import() {
    let place = TestFolder::new();
    fails(&place, &["init", "--restored"], &["there is no catalog", "dl init"]);
    place.dl(&["init"]).good();
    let epoch = || place.dl(&["init", "--format", "json"]).json()["epoch"].clone();
    let before = epoch();
    let sql = "CREATE TABLE t (id INT) LOCATION 't'; INSERT INTO t VALUES (1)";
    place.dl(&["sql", sql]).good();
    std::fs::copy(place.path("meta.db"), place.path("meta.db.old")).unwrap();
    place.dl(&["sql", "INSERT INTO t VALUES (2); DELETE FROM t WHERE id = 1"]).good();
    std::fs::copy(place.path("meta.db.old"), place.path("meta.db")).unwrap();
    let content = place.content();
    let says = ["version 1 of default.t", "version 2", "dl import default.t"];
    fails(&place, &["sql", "INSERT INTO t VALUES (3)"], &says);
    fails(&place, &["optimize", "t"], &says);
    fails(&place, &["vacuum", "t", "--retain", "0s", "--force"], &says);
    assert_eq!(place.content(), content, "no file came or went");
    let ready = place.dl(&["init", "--restored"]).good();
    assert!(ready.contains("has a new epoch"), "{ready}");
    assert_ne!(epoch(), before);
    place.dl(&["import", "t"]).good();
    place.dl(&["sql", "INSERT INTO t VALUES (3)"]).good();
    let rows = place.dl(&["sql", "SELECT id FROM t ORDER BY id", "--format", "csv"]).good();
    assert_eq!(rows, "id\n2\n3\n");
    place.dl(&["verify", "--every-version", "--data"]).good();
}

#[test]
fn a_failed_import_is_abandoned_or_resumed_under_another_name() {
    let place = TestFolder::new();
    place.copy_events("events");
    let last = "events/_delta_log/00000000000000000003.json";
    let whole = std::fs::read_to_string(place.path(last)).unwrap();
    place.write(last, "{\"add\":");
    let broken = |name: &str| fails(&place, &["import", "events", "--as", name], &["00000000000000000003.json"]);
    broken("a");
    broken("b");
    let abandoned = place.dl(&["import", "events", "--abandon", "--json"]).json();
    assert_eq!(abandoned["state"], "abandoned", "{abandoned}");
    fails(&place, &["import", "events", "--abandon"], &["nothing to abandon"]);
    fails(&place, &["import", "events"], &["needs a name"]);
    broken("c");
    place.write(last, &whole);
    place.dl(&["import", "events", "--as", "d"]).good();
    let names = place.dl(&["tables", "--format", "csv"]).good();
    assert!(names.contains("default.d,") && names.lines().count() == 2, "{names}");
}
