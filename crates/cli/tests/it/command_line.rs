//! The command line: its help, what is generated from it, and how its errors are printed.

use serde_json::{Value, json};

use crate::test_folder::{Ran, TestFolder};

#[test]
fn help_has_groups_and_examples() {
    let place = TestFolder::new();
    let help = place.dl(&["--help"]).good();
    for part in ["Maintenance:\n  optimize ", "Options:\n", "--json", "Exit status:"] {
        assert!(help.contains(part), "{part:?} is not in {help}");
    }
    let restore = place.dl(&["restore", "--help"]).good();
    assert!(restore.contains("Global options:") && restore.contains("Examples:\n  dl restore "), "{restore}");
    assert!(!help.contains('\u{1b}') && !restore.contains('\u{1b}'), "a pipe gets no colours");
    assert_eq!(place.dl(&[]).code, Some(2), "a command is missing");
}

#[test]
fn completions_are_printed_for_every_shell() {
    let place = TestFolder::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = place.dl(&["completions", shell]).good();
        assert!(script.contains("copy-catalog") && script.contains("every-version"), "{shell}: {script}");
    }
    assert_eq!(place.dl(&["completions", "csh"]).code, Some(2));
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let place = TestFolder::new();
    let said = place.dl(&["man", "--to", "pages/man1"]).good();
    assert!(said.contains("pages/man1"), "{said}");
    for page in ["dl.1", "dl-vacuum.1", "dl-mirror.1", "dl-mirror-run.1"] {
        let page = std::fs::read_to_string(place.path("pages/man1").join(page)).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    place.write("file", "");
    crate::bad_input::check(place.dl(&["man", "--to", "file/man1"]), 1, &["cannot be written to file/man1"]);
}

#[test]
fn the_long_version_has_the_versions_of_the_parts() {
    let place = TestFolder::new();
    let short = place.dl(&["-V"]).good();
    assert_eq!(short.lines().count(), 1, "{short}");
    let long = place.dl(&["--version"]).good();
    assert!(long.starts_with(short.trim_end()), "{long}");
    let lock = include_str!("../../../../Cargo.lock");
    for (name, package) in [("delta-rs", "deltalake-core"), ("DataFusion", "datafusion")] {
        let version = lock.split(&format!("name = \"{package}\"\nversion = \"")).nth(1).unwrap();
        let version = version.split('"').next().unwrap();
        assert!(long.contains(&format!("{name} {version}\n")), "{name} {version}: {long}");
    }
    for part in ["\nArrow 59.", "\nSQLite 3.", "\nDuckDB 1.", "\nRocksDB "] {
        let version = long.split(part).nth(1).unwrap_or_else(|| panic!("no {part:?} in {long}"));
        assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{part}: {long}");
    }
}

#[test]
fn errors_are_one_json_object_for_programs() {
    let place = TestFolder::with_events();
    let check = |args: &[&str], code: i32, kind: &str, says: &str| {
        let Ran { code: got, out, err } = place.dl(args);
        assert_eq!((got, out.as_str()), (Some(code), ""), "{args:?}: {err}");
        let error: Value = serde_json::from_str(&err).unwrap_or_else(|e| panic!("{args:?}: {e}: {err}"));
        assert_eq!((&error["kind"], &error["exitCode"]), (&json!(kind), &json!(code)), "{error}");
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
        assert_eq!(err.lines().count(), 1, "{err}");
    };
    check(&["show", "event", "--json"], 1, "NotFound", "did you mean default.events?");
    check(&["--format", "json", "show", "event"], 1, "NotFound", "no table default.event");
    check(&["show", "a.b.c", "--json"], 1, "Invalid", "is not a table name");
    check(&["--json", "show"], 2, "Usage", "arguments were not provided: <NAME>");
    check(&["--format=json", "nosuch"], 2, "Usage", "unrecognized subcommand 'nosuch'");
    let text = place.dl(&["show", "event"]);
    assert!(text.err.starts_with("error: there is no table"), "people get a sentence: {text:?}");
}

#[test]
fn json_is_short_for_its_format() {
    let place = TestFolder::with_events();
    assert_eq!(place.dl(&["tables", "--json"]).good(), place.dl(&["tables", "--format", "json"]).good());
    assert_eq!(place.dl(&["--json", "tables"]).json()[0]["name"], "default.events");
    assert_eq!(place.dl(&["tables", "--json", "--format", "csv"]).code, Some(2), "there is one format");
    assert_eq!(place.dl(&["--format", "csv", "tables", "--json"]).code, Some(2), "there is one format");
}

#[test]
fn verbose_commands_log_events_and_then_steps() {
    let place = TestFolder::with_events();
    place.write("rows.csv", "id,day\n1,a\n");
    let logged = |args: &[&str]| {
        let ran = place.dl(&[args, &["write", "events", "--input", "rows.csv"]].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.err
    };
    assert_eq!(logged(&[]), "");
    let events = logged(&["-v"]);
    assert!(events.contains("committed") && !events.contains("time.busy"), "{events}");
    let steps = logged(&["-vv"]);
    assert!(steps.contains("committed") && steps.contains("time.busy"), "{steps}");
    assert_eq!(place.dl(&["-v", "-q", "tables"]).code, Some(2));
}
