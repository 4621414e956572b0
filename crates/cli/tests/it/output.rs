//! The output formats, and limits of the output.

use crate::bad_input::check;
use crate::test_folder::TestFolder;

#[test]
fn a_document_is_a_line_of_csv() {
    let place = TestFolder::new();
    let csv = |args: &[&str]| place.dl(&[&["--format", "csv"], args].concat()).good();
    let lines = |args: &[&str]| csv(args).lines().map(String::from).collect::<Vec<_>>();
    assert_eq!(lines(&["init"])[0], "catalog,catalogId,epoch");
    place.write("rows.csv", "id,day\n1,a\n2,b\n");
    place.dl(&["create", "t", "--location", "t", "--schema", "id long, day string"]).good();
    for args in [
        &["write", "t", "--input", "rows.csv"][..],
        &["update", "t", "--set", "day = 'c'", "--where", "id = 1"],
        &["delete", "t", "--where", "id = 2"],
        &["alter", "t", "--comment", "what, it is \"about\""],
        &["optimize", "t"],
        &["restore", "t", "--version", "2"],
        &["vacuum", "t", "--dry-run"],
        &["show", "t"],
        &["mirror", "checkpoint", "t"],
    ] {
        let lines = lines(args);
        assert_eq!(lines.len(), 2, "a line of names and a line of values: {args:?}: {lines:?}");
        assert!(!lines[0].starts_with('{') && lines[0].contains(','), "{args:?}: {lines:?}");
    }
    // Nested values are JSON, quoted as CSV requires.
    let snapshot = csv(&["snapshot", "t", "--version", "0"]);
    assert!(snapshot.starts_with("version,timestamp,protocol,metadata,files,txns,domains\n0,"), "{snapshot}");
    assert!(snapshot.contains("\"{\"\"minReaderVersion\"\":"), "{snapshot}");
}

#[test]
fn output_rows_limits_the_rows_of_a_table() {
    let place = TestFolder::with_events();
    let read = |args: &[&str]| place.dl(&[args, &["read", "events"][..]].concat()).good();
    let all = read(&[]).lines().count();
    assert!(all > 20, "a pipe gets all rows: {all}");
    let some = read(&["--set", "output.rows=3"]);
    assert_eq!(some.lines().count(), 5, "{some}");
    assert_eq!(some.lines().last().unwrap(), format!("… {} more rows (--set output.rows=all shows them)", all - 4));
    assert_eq!(read(&["--set", "output.rows=all"]).lines().count(), all);
    let limited = place.dl(&["--set", "output.rows=3", "read", "events", "--limit", "6"]).good();
    assert_eq!(limited.lines().count(), 7, "who asks for six gets six: {limited}");
    let json = place.dl(&["--set", "output.rows=3", "--format", "json", "sql", "SELECT * FROM events"]).json();
    assert_eq!(json.as_array().unwrap().len(), all - 1, "programs get all");
    check(place.dl(&["--set", "output.rows=some", "tables"]), 1, &["output.rows=some", "a number of rows, or all"]);
}

#[test]
fn verify_all_continues_after_a_broken_table() {
    let place = TestFolder::with_events();
    for name in ["a", "b"] {
        place.copy_events(name);
        place.dl(&["import", &format!("./{name}"), "--as", name]).good();
    }
    for args in [&["verify", "--all"][..], &["verify"]] {
        assert_eq!(place.dl(args).good().matches("identical in _delta_log").count(), 3, "{args:?}");
    }
    // The log of the first one cannot even be read.
    std::fs::rename(place.path("a/_delta_log"), place.path("kept")).unwrap();
    place.write("a/_delta_log", "in the way");
    let ran = place.dl(&["verify", "--all"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.out.matches("identical in _delta_log").count(), 2, "{ran:?}");
    assert!(ran.out.contains("cannot be verified:") && ran.err.contains("1 of 3 tables"), "{ran:?}");
    assert_eq!(place.dl(&["verify", "a", "--all"]).code, Some(2));
}

#[test]
fn log_messages_name_events_and_no_secret() {
    let place = TestFolder::with_events();
    place.write("rows.csv", "id,day\n1,private\n");
    let logged = |part: &str, args: &[&str]| {
        let mut command = place.command(args);
        let ran = command.env("RUST_LOG", format!("{part}=debug")).env("AWS_SECRET_ACCESS_KEY", "secret").output();
        let ran = ran.unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(said.lines().all(|line| line.contains(part)), "only what was asked for: {said}");
        assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
        assert!(!said.contains("secret") && !said.contains("private"), "{said}");
        said
    };
    let write = ["write", "events", "--input", "rows.csv"];
    let said = logged("deltalakedb_catalog", &write);
    assert!(said.contains("catalog opened") && said.contains("committed") && said.contains("version=14"), "{said}");
    let said = logged("deltalakedb_mirror", &write);
    assert!(said.contains("published") && said.contains("default.events"), "{said}");
    let said = logged("deltalakedb_log", &["import", "./events", "--as", "events"]);
    assert!(said.contains("log opened") && said.contains("head=15"), "{said}");
    place.dl(&["--set", "mirror.mode=background", "write", "events", "--input", "rows.csv"]).good();
    let said = logged("deltalakedb_mirror", &["mirror", "run"]);
    assert!(said.contains("published") && said.contains("version=16"), "{said}");
}
