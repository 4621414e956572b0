//! `dl sql --data`: row tables.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::bad_input::check;
use crate::test_folder::{TestFolder, copy};

const CREATE: &str = "CREATE NAMESPACE IF NOT EXISTS app; CREATE SHARED TABLE app.t (id BIGINT PRIMARY KEY, name TEXT)";

fn with_rows() -> TestFolder {
    let place = TestFolder::new();
    let sql = format!("{CREATE}; INSERT INTO app.t VALUES (1, 'a'), (2, 'b'); FLUSH TABLE app.t");
    place.dl(&["sql", "--data", "d", &sql]).good();
    place
}

#[test]
fn only_the_engine_changes_its_tables() {
    let place = with_rows();
    place.write("rows.csv", "id,name,_seq\n3,c,1\n");
    let before = place.content();
    for refused in [
        &["write", "app.t", "--input", "rows.csv"][..],
        &["delete", "app.t", "--where", "id = 1"],
        &["update", "app.t", "--set", "name=NULL", "--where", "id = 1"],
        &["optimize", "app.t"],
        &["optimize", "app.t", "--purge"],
        &["restore", "app.t", "--version", "0"],
        &["vacuum", "app.t", "--retain", "0s", "--force"],
        &["alter", "app.t", "--set-property", "delta.appendOnly=true"],
        &["drop", "app.t"],
        &["rename", "app.t", "app.u"],
        &["sql", "DELETE FROM app.t"],
        &["sql", "DROP TABLE app.t"],
    ] {
        check(place.dl(refused), 1, &["app.t is owned by the row engine of", "use `dl sql --data"]);
    }
    assert_eq!(place.content(), before);
    assert_eq!(
        place.dl(&["read", "app.t", "--columns", "id", "--format", "csv", "--where", "id = 1"]).good(),
        "id\n1\n"
    );
}

#[test]
fn what_another_engine_appends_to_the_delta_table_is_found_and_not_adopted() {
    let place = with_rows();
    let log = place.path("d/app/t/_delta_log");
    let foreign = log.join("00000000000000000002.json");
    // Another engine adds the same file again.
    let add = std::fs::read_to_string(log.join("00000000000000000001.json")).unwrap();
    let add = add.lines().find(|line| line.starts_with("{\"add\"")).unwrap();
    let theirs = format!("{{\"commitInfo\":{{\"operation\":\"WRITE\",\"engineInfo\":\"another\"}}}}\n{add}\n");
    std::fs::write(&foreign, &theirs).unwrap();
    check(place.dl(&["import", "app.t"]), 1, &["app.t is owned by the row engine of", "use `dl sql --data"]);
    let found = place.dl(&["verify", "app.t"]);
    assert_eq!(found.code, Some(3), "{found:?}");
    assert!(found.out.contains("00000000000000000002.json"), "{found:?}");
    let flush = place.dl(&["sql", "--data", "d", "INSERT INTO app.t VALUES (3, 'c'); FLUSH TABLE app.t"]);
    assert_ne!(flush.code, Some(0), "{flush:?}");
    assert!(flush.err.contains("00000000000000000002.json") && flush.err.contains("another"), "{flush:?}");
    let says_what_to_do = |said: &str| said.contains("`dl mirror repair app.t --ours`") && !said.contains("dl import");
    assert!(says_what_to_do(&flush.err), "{flush:?}");
    assert!(says_what_to_do(&found.out), "{found:?}");
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), theirs);
    // No row is lost, doubled or theirs.
    let rows = ["sql", "--data", "d", "--format", "csv", "SELECT * FROM app.t ORDER BY id"];
    assert_eq!(place.dl(&rows).out, "id,name\n1,a\n2,b\n3,c\n");
    // Tables after it are flushed.
    let other = CREATE.replace("app.t", "app.u");
    place.dl(&["sql", "--data", "d", &format!("{other}; INSERT INTO app.u VALUES (1, 'a')")]).good();
    let flush = place.dl(&["sql", "--data", "d", "FLUSH ALL"]);
    assert!(flush.code != Some(0) && flush.err.contains("00000000000000000002.json"), "{flush:?}");
    assert_eq!(place.dl(&["read", "app.u", "--columns", "id", "--format", "csv"]).good(), "id\n1\n");
    assert!(place.path("d/app/u/_delta_log/00000000000000000001.json").exists(), "it is published, too");
    place.dl(&["mirror", "repair", "app.t", "--ours", "--yes"]).good();
    assert!(!foreign.exists());
    place.dl(&["sql", "--data", "d", "FLUSH TABLE app.t"]).good();
    place.dl(&["verify", "app.t"]).good();
    assert_eq!(place.dl(&rows).good(), "id,name\n1,a\n2,b\n3,c\n");
    assert!(place.dl(&["history", "app.t"]).good().contains("FLUSH"));
}

#[test]
fn a_directory_that_cannot_be_opened_is_refused_in_one_sentence() {
    let place = with_rows();
    let select = ["sql", "--data", "d", "SELECT count(*) FROM app.t"];
    std::fs::rename(place.path("d"), place.path("e")).unwrap();
    check(place.dl(&["sql", "--data", "e", "SELECT 1"]), 1, &["/e was moved", "move it back"]);
    std::fs::rename(place.path("e"), place.path("d")).unwrap();
    let other = ["--catalog", "deltasql://sqlite/other.db"];
    check(place.dl(&[&select[..], &other].concat()), 1, &["has its tables in another catalog"]);
    place.write("file", "");
    check(place.dl(&["sql", "--data", "file", "SELECT 1"]), 1, &["file cannot be used"]);
}

#[test]
fn no_directory_is_created_for_a_catalog_that_cannot_be_opened() {
    let place = TestFolder::new();
    for (options, says) in [
        (&["--catalog", "deltasql://sqlite/no/such/dir.db"][..], "needs the folder"),
        (&["--catalog", "", "--set", "sql.schema=error"][..], "there is no catalog"),
    ] {
        let sql = ["sql", "--data", "new/d", "SELECT 1"];
        check(place.dl(&[options, &sql].concat()), 1, &[says]);
        assert!(!place.path("new").exists(), "{options:?}");
    }
    // A directory is created before a catalog.
    place.write("file", "");
    check(place.dl(&["sql", "--data", "file/d", "SELECT 1"]), 1, &["file/d cannot be used"]);
    assert!(!place.path("meta.db").exists());
}

/// Replaces the SQLite file of the catalog by another one.
fn restore_catalog(place: &TestFolder, from: &str) {
    for log in ["meta.db-wal", "meta.db-shm"] {
        let _ = std::fs::remove_file(place.path(log));
    }
    std::fs::copy(place.path(from), place.path("meta.db")).unwrap();
}

#[test]
fn a_directory_that_is_not_there_is_missed_before_the_first_flush() {
    let place = TestFolder::new();
    let sql = format!("{CREATE}; INSERT INTO app.t VALUES (1, 'a'), (2, 'b')");
    place.dl(&["sql", "--data", "d", &sql]).good();
    let select = ["sql", "--data", "d", "SELECT count(*) FROM app.t"];
    let says = ["the catalog has the row table app.t of", "/d, and its hot rows are not there", "mount the directory"];
    std::fs::rename(place.path("d/_hot"), place.path("hot")).unwrap();
    check(place.dl(&select), 1, &says);
    assert!(!place.path("d/_hot").exists());
    std::fs::rename(place.path("hot"), place.path("d/_hot")).unwrap();
    // As if its volume were not mounted.
    std::fs::rename(place.path("d"), place.path("volume")).unwrap();
    check(place.dl(&select), 1, &says);
    check(place.dl(&["sql", "--data", "d", "INSERT INTO app.t VALUES (1, 'other')"]), 1, &says);
    assert!(!place.path("d").exists());
    std::fs::rename(place.path("volume"), place.path("d")).unwrap();
    assert!(place.dl(&select).good().contains('2'));
}

#[test]
fn a_directory_and_a_catalog_of_different_times_are_refused() {
    let place = TestFolder::new();
    place.dl(&["sql", "--data", "d", "SELECT 1"]).good();
    std::fs::copy(place.path("meta.db"), place.path("first.db")).unwrap();
    place.dl(&["sql", "--data", "d", &format!("{CREATE}; INSERT INTO app.t VALUES (1, 'a'), (2, 'b')")]).good();
    std::fs::copy(place.path("meta.db"), place.path("second.db")).unwrap();
    copy(&place.path("d/_hot"), &place.path("hot"));
    place.dl(&["sql", "--data", "d", "FLUSH TABLE app.t"]).good();
    let select = ["sql", "--data", "d", "SELECT count(*) FROM app.t"];

    // The catalog is older: what was flushed is imported from the log.
    restore_catalog(&place, "second.db");
    check(place.dl(&select), 1, &["the catalog is older than the hot rows of app.t", "run `dl import app.t`"]);
    place.dl(&["import", "app.t"]).good();
    assert!(place.dl(&select).good().contains('2'));

    // So old that it does not have the table.
    std::fs::copy(place.path("meta.db"), place.path("third.db")).unwrap();
    restore_catalog(&place, "first.db");
    let says = ["hot rows of the table", "which the catalog does not have because it is older", "backups of one time"];
    check(place.dl(&select), 1, &says);
    check(place.dl(&["sql", "--data", "d", CREATE]), 1, &says);
    restore_catalog(&place, "third.db");

    // The hot rows are older.
    std::fs::remove_dir_all(place.path("d/_hot")).unwrap();
    copy(&place.path("hot"), &place.path("d/_hot"));
    check(place.dl(&select), 1, &["the hot rows of app.t are older than the catalog", "backups of one time"]);
}

#[test]
fn a_table_that_another_program_dropped_in_the_name_of_the_engine_is_not_missed() {
    let place = with_rows();
    let shown = place.dl(&["--format", "json", "show", "app.t"]).json();
    let owner = shown["owner"].as_str().unwrap();
    place.dl(&["drop", "app.t", "--owner", owner, "--yes"]).good();
    for _ in 0..2 {
        place.dl(&["sql", "--data", "d", "SELECT 1"]).good();
    }
    place.dl(&["undrop", "app.t", "--owner", owner]).good();
    let select = ["sql", "--data", "d", "SELECT count(*) FROM app.t"];
    assert!(place.dl(&select).good().contains('2'));
    // The engine's own DROP, and what it advises.
    place.dl(&["sql", "--data", "d", "INSERT INTO app.t VALUES (3, 'c'); DROP TABLE app.t"]).good();
    check(place.dl(&select), 1, &[&format!("`dl undrop app.t --owner '{owner}'` restores it")]);
    place.dl(&["undrop", "app.t", "--owner", owner]).good();
    assert!(place.dl(&select).good().contains('3'));
}

#[test]
fn what_was_not_published_is_published_when_the_directory_is_opened() {
    let place = with_rows();
    let flush = "INSERT INTO app.t VALUES (3, 'c'); FLUSH TABLE app.t";
    place.dl(&["--set", "mirror.mode=background", "sql", "--data", "d", flush]).good();
    let second = place.path("d/app/t/_delta_log/00000000000000000002.json");
    assert!(!second.exists());
    place.dl(&["sql", "--data", "d", "SELECT 1"]).good();
    assert!(second.exists());
}

#[test]
fn what_a_dropped_table_committed_is_not_published_again() {
    let place = TestFolder::new();
    let sql = format!("{CREATE}; INSERT INTO app.t VALUES (1, 'a'); DROP TABLE app.t; FLUSH ALL; {CREATE}");
    let out = place.dl(&["sql", "--data", "d", &sql]).good();
    assert!(out.ends_with("app.t is at version 0\n"), "{out}");
}

#[test]
fn one_process_has_a_directory_open() {
    let place = with_rows();
    let long = "SELECT 1; SELECT count(*) FROM (SELECT unnest(range(0, 3000)) AS a), \
                (SELECT unnest(range(0, 3000)) AS b), (SELECT unnest(range(0, 3000)) AS c)";
    let mut other = place.command(&["sql", "--data", "d", long]).stdout(Stdio::piped()).spawn().unwrap();
    let (mut out, mut first) = (BufReader::new(other.stdout.take().unwrap()), String::new());
    out.read_line(&mut first).unwrap();
    assert!(!first.is_empty(), "the first statement has run");
    let refused = place.dl(&["sql", "--data", "d", "SELECT 1"]);
    other.kill().unwrap();
    other.wait().unwrap();
    check(refused, 1, &["is in use", "d/_hot"]);
}
