//! `dl sql`: what it prints, and what it refuses.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::json;

use crate::test_folder::{Ran, TestFolder};

/// Runs `dl sql` with statements on standard input.
fn piped(place: &TestFolder, text: &str, args: &[&str]) -> Ran {
    let mut command = place.command(&[&["sql"], args].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    Ran::of(child.wait_with_output().unwrap())
}

#[test]
fn one_result_is_rows_and_several_are_lists_of_rows() {
    let place = TestFolder::with_events();
    let sql = |text: &str| place.dl(&["sql", text, "--format", "json"]).json();
    assert_eq!(sql("SELECT 1 AS a, 'x' AS b"), json!([{"a": 1, "b": "x"}]));
    assert_eq!(sql("SELECT 1 AS a; SELECT 2 AS a WHERE false; VALUES (3)"), json!([[{"a": 1}], [], [{"column1": 3}]]));
    assert_eq!(sql("SELECT 1 AS a WHERE false"), json!([]));
    assert_eq!(sql("/* nothing */"), json!([]));
    let wanted = json!([{"n": 1}]);
    assert_eq!(sql("SELECT count(*) AS n FROM events WHERE id = 5"), wanted);
    assert_eq!(
        piped(&place, "SELECT count(*) AS n\nFROM events WHERE id = 5;\n", &["--format", "json"]).json(),
        wanted
    );
    let csv = place.dl(&["sql", "SELECT 1 AS a, 'x,y' AS b; SELECT 2 AS c", "--format", "csv"]).good();
    assert_eq!(csv, "a,b\n1,\"x,y\"\n\nc\n2\n");
    let people = place.dl(&["sql", "SELECT 1 AS a, 'x' AS b"]).good();
    assert_eq!(people, " a  b\n 1  x\n");
}

#[test]
fn placeholders_have_the_values_of_param() {
    let place = TestFolder::with_events();
    let sql = |params: &[&str], text: &str| {
        let params: Vec<_> = params.iter().flat_map(|param| ["--param", param]).collect();
        place.dl(&[&["sql", "--format", "json", text], &params[..]].concat())
    };
    let values = ["i=-7", "d=0.10", "f=1e-1", "t=it's", "q=\"7\"", "b=true", "n=null", "1=5", "empty="];
    let text = "SELECT :i AS i, arrow_typeof(:d) AS d, :f AS f, :t AS t, :q AS q, :b AS b, :n AS n, $1 AS one, \
                :empty AS empty";
    let want = json!([{"i": -7, "d": "Decimal128(3, 2)", "f": 0.1, "t": "it's", "q": "7", "b": true, "n": null,
                       "one": 5, "empty": ""}]);
    assert_eq!(sql(&values, text).json(), want);
    assert_eq!(sql(&["id=5"], "SELECT count(*) AS n FROM events WHERE id = :id").json(), json!([{"n": 1}]));
    for (param, text, says) in [
        ("id", "SELECT 1", "--param id has no value: expected NAME=VALUE"),
        ("id=[1]", "SELECT 1", "is a list or an object"),
        ("id=123456789012345678901234567890123456789", "SELECT 1", "too many digits"),
        ("id=1", "SELECT :other", "the parameter :other has no value: given are :id"),
    ] {
        let refused = sql(&[param], text);
        assert!(refused.code == Some(1) && refused.err.contains(says), "{refused:?}");
    }
}

#[test]
fn placeholders_have_values_in_changes_of_every_kind_of_table() {
    let place = TestFolder::with_events();
    let changed = |args: &[&str], table: &str| {
        let text = format!(
            "INSERT INTO {table} (id, kind) VALUES (:id, :kind), (:other, NULL); \
             UPDATE {table} SET kind = :new WHERE id = :id AND kind = :kind; DELETE FROM {table} WHERE id = :other; \
             SELECT id, kind FROM {table} WHERE id IN (:id, $other)"
        );
        let params = ["-p", "id=1001", "-p", "kind=it's", "-p", "new=\"7\"", "--param", "other=1002"];
        place.dl(&[&["sql", "--format", "json", text.as_str()][..], args, &params[..]].concat()).json()
    };
    let rows = json!([{"id": 1001, "kind": "7"}]);
    assert_eq!(changed(&[], "events"), rows);
    let create = "CREATE NAMESPACE app; CREATE SHARED TABLE app.t (id BIGINT PRIMARY KEY, kind TEXT)";
    place.dl(&["sql", "--data", "d", create]).good();
    assert_eq!(changed(&["--data", "d"], "app.t"), rows);
}

#[test]
fn parquet_output_is_parquet_input() {
    let place = TestFolder::with_events();
    for (n, args) in [["sql", "SELECT * FROM events WHERE id > 3"], ["read", "events"]].iter().enumerate() {
        let file = place.path("rows.parquet");
        let out = std::fs::File::create(&file).unwrap();
        let ran = place.command(&[&args[..], &["--format", "parquet"]].concat()).stdout(out).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let table = format!("again{n}");
        place.dl(&["write", &table, "--input", "rows.parquet", "--location", &table]).good();
    }
    let differ = "SELECT * FROM events WHERE id > 3 EXCEPT SELECT * FROM again0";
    assert_eq!(place.dl(&["sql", differ, "--format", "json"]).json(), json!([]));
    let differ = "SELECT * FROM again1 EXCEPT SELECT * FROM events";
    assert_eq!(place.dl(&["sql", differ, "--format", "json"]).json(), json!([]));
}

#[test]
fn written_tables_are_published() {
    let place = TestFolder::new();
    let made = place
        .dl(&["sql", "CREATE TABLE t (id BIGINT, day STRING) LOCATION 't'; INSERT INTO t VALUES (1, 'a'), (2, 'b')"]);
    let says = made.good();
    assert!(says.contains("CREATE TABLE: 0 rows, default.t is at version 0"), "{says}");
    assert!(says.contains("INSERT: 2 rows, default.t is at version 1"), "{says}");
    let log = |name: &str| place.path("t/_delta_log").join(name).exists();
    assert!(log("00000000000000000001.json"));
    place.dl(&["--set", "mirror.mode=background", "sql", "DELETE FROM t WHERE id = 1"]).good();
    assert!(!log("00000000000000000002.json"), "left to `dl mirror run`");
    let ran = place.dl(&["sql", "BEGIN; INSERT INTO t VALUES (3, 'c'); SELECT * FROM t"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("rolled back: the statements end without COMMIT"), "{ran:?}");
    assert_eq!(place.dl(&["sql", "SELECT count(*) AS n FROM t", "--format", "json"]).json(), json!([{"n": 1}]));
    place.dl(&["mirror", "run"]).good();
    place.dl(&["verify", "--all"]).good();
}

#[test]
fn rows_are_printed_while_they_arrive() {
    let place = TestFolder::with_events();
    let endless = "SELECT a, b FROM (SELECT unnest(range(0, 100000)) AS a), (SELECT unnest(range(0, 100000)) AS b)";
    for format in ["table", "json", "csv"] {
        let mut dl = place.command(&["sql", endless, "--format", format]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(dl.stdout.take().unwrap()).lines();
        assert_eq!(lines.take(5_000).filter(Result::is_ok).count(), 5_000, "{format}");
        dl.kill().unwrap();
        dl.wait().unwrap();
    }
}

#[test]
fn invalid_sql_is_refused_in_one_sentence() {
    let place = TestFolder::with_events();
    let check = |args: &[&str], says: &[&str]| {
        let ran = place.dl(&[&["sql"], args].concat());
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
        for part in says {
            assert!(ran.err.contains(part), "{part:?} is not said: {ran:?}");
        }
        for noise in ["panicked", "External error", "Arrow error", "ParserError(", "SQL error"] {
            assert!(!ran.err.contains(noise), "{noise:?} is in {ran:?}");
        }
    };
    check(&["SELEC 1"], &["Expected: an SQL statement, found: SELEC"]);
    check(&["SELECT * FROM event"], &["no table default.event", "did you mean default.events?"]);
    check(&["SELECT nosuch FROM events"], &["nosuch"]);
    check(&["SELECT a.id FROM events a, events b WHERE id = 1"], &["Ambiguous", "id"]);
    check(&["SELECT * FROM events VERSION AS OF 99"], &["no version 99", "newest is 13"]);
    check(&["SELECT 1/0 FROM events"], &["Divide by zero"]);
    check(&["MERGE INTO events USING events s ON true WHEN MATCHED THEN DELETE"], &["`dl merge NAME"]);
    check(&["SELECT 1; SELECT 2", "--format", "parquet"], &["one result", "got 2"]);
    let ran = place.dl(&["tables", "--format", "parquet"]);
    assert!(ran.code == Some(1) && ran.err.contains("`dl sql` and `dl read`"), "{ran:?}");
    // Results before an error are printed.
    let ran = place.dl(&["sql", "SELECT 7 AS a; SELECT * FROM nosuch", "--format", "csv"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), "a\n7\n"));
    let ran = TestFolder::new().dl(&["sql", "SELECT 1"]);
    assert!(ran.code == Some(1) && ran.err.contains("there is no catalog"), "{ran:?}");
}
