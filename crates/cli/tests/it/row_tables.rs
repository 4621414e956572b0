//! `dl sql --data`: row tables.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::bad_input::check;
use crate::test_folder::TestFolder;

const CREATE: &str = "CREATE SHARED TABLE app.t (id BIGINT PRIMARY KEY, name TEXT)";

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
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), theirs);
    // No row is lost, doubled or theirs.
    let rows = ["sql", "--data", "d", "--format", "csv", "SELECT * FROM app.t ORDER BY id"];
    assert_eq!(place.dl(&rows).out, "id,name\n1,a\n2,b\n3,c\n");
    std::fs::remove_file(&foreign).unwrap();
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
    // As if the hot rows were lost.
    std::fs::rename(place.path("d/_hot"), place.path("hot")).unwrap();
    check(place.dl(&select), 1, &["the hot rows of app.t are older than the catalog", "backups of one time"]);
    std::fs::remove_dir_all(place.path("d/_hot")).unwrap();
    std::fs::rename(place.path("hot"), place.path("d/_hot")).unwrap();
    assert!(place.dl(&select).good().contains('2'));
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
