//! docs/operating.md: the steps that its `console` blocks cannot show, and the names in it.
#![cfg(unix)]

mod backups;
mod losses;
mod servers;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;

use deltalakedb_log::metric::METRICS;

use crate::bad_input::check;
use crate::databases::Database;
use crate::test_folder::{Ran, TestFolder};
use crate::watch::{create_unreachable, with_endpoint};

const WRITE: &[&str] = &["write", "t", "--input", "rows.csv"];

/// A table with one row, in version 1.
fn begin(database: Database) -> TestFolder {
    let place = TestFolder::on(database);
    place.write("rows.csv", "id\n1\n");
    place.dl(&["create", "t", "--location", "t", "--schema", "id long"]).good();
    place.dl(WRITE).good();
    place
}

fn page() -> String {
    let docs = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../docs");
    std::fs::read_to_string(docs.join("operating.md")).unwrap()
}

/// Asserts that the run ends with that code, and with one line that the page quotes: the parts are joined by `…` there.
fn check_quoted(ran: Ran, code: i32, parts: &[&str]) {
    let quoted = parts.join("…");
    assert!(page().contains(&quoted), "docs/operating.md does not quote {quoted:?}");
    check(ran, code, parts);
}

fn newest_version(place: &TestFolder, name: &str) -> u64 {
    newest_version_by(|args| place.dl(args), name)
}

/// The same with another environment or catalog.
fn newest_version_by(dl: impl Fn(&[&str]) -> Ran, name: &str) -> u64 {
    let history = dl(&["history", name, "--limit", "1", "--format", "json"]).json();
    history[0]["version"].as_u64().unwrap()
}

/// The text below a heading of the page, up to the next one.
fn section(heading: &str) -> String {
    let page = page();
    let (_, text) = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("there is no {heading:?}"));
    text.split("\n#").next().unwrap().to_string()
}

/// The last steps after a restore: the catalog lacks the newest published version, and has no unpublished one.
fn import_newer(dl: impl Fn(&[&str]) -> Ran) {
    check(dl(WRITE), 1, &["of default.t and", "before it was restored", "run `dl import default.t`"]);
    let ready = dl(&["init", "--restored"]).good();
    assert!(ready.contains("has a new epoch"), "{ready}");
    let found = dl(&["verify"]);
    assert!(found.code == Some(3) && found.out.contains("is not in the catalog"), "{found:?}");
    dl(&["import", "t"]).good();
    dl(&["verify", "--every-version", "--data"]).good();
}

/// `dl write` that is killed when it has committed, before it publishes.
fn write_and_die(place: &TestFolder) {
    let options = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=link,linkat", "-e", "inject=link,linkat:signal=KILL"];
    let args = [&options[..], &["--", env!("CARGO_BIN_EXE_dl")], WRITE].concat();
    let output = place.with_program(Path::new("strace"), &args).output();
    let output = output.unwrap_or_else(|e| panic!("strace cannot be run ({e}): scripts/setup installs it"));
    assert!(!output.status.success() && output.stdout.is_empty(), "it was not killed: {:?}", Ran::of(output));
}

/// `dl` whose calls fail as on a full disk: all with these names, or those that use one file.
fn on_a_full_disk(place: &TestFolder, calls: &str, file: Option<&str>, args: &[&str]) -> Ran {
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error=ENOSPC"));
    let file = file.map(|file| place.path(file).to_string_lossy().into_owned());
    let mut options = vec!["-f", "-qq", "-o", "/dev/null", "-e", trace.as_str(), "-e", inject.as_str()];
    options.extend(file.iter().flat_map(|file| ["-P", file.as_str()]));
    options.extend(["--", env!("CARGO_BIN_EXE_dl")]);
    options.extend(args);
    let output = place.with_program(Path::new("strace"), &options).output();
    Ran::of(output.unwrap_or_else(|e| panic!("strace cannot be run ({e}): scripts/setup installs it")))
}

#[test]
fn a_write_to_a_full_disk_commits_nothing() {
    let place = begin(Database::Sqlite);
    let before = place.content();
    let data = on_a_full_disk(&place, "rename,renameat,renameat2", None, WRITE);
    check_quoted(data, 1, &["error: the data files cannot be written: ", " No space left on device"]);
    let catalog = on_a_full_disk(&place, "pwrite64", Some("meta.db-wal"), WRITE);
    check_quoted(catalog, 1, &["error: the disk of deltasql://sqlite/", " is full: free some space"]);
    // No file gets longer than a block, not even that which SQLite needs to open the catalog.
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"";
    let args = [&["-c", script, env!("CARGO_BIN_EXE_dl")][..], WRITE].concat();
    let unopened = Ran::of(place.with_program(Path::new("sh"), &args).output().unwrap());
    let says = ["error: reading or writing deltasql://sqlite/", " failed: check the disk and its free space"];
    check_quoted(unopened, 1, &says);
    assert_eq!(place.content(), before, "no file of a failed write is left");
    assert_eq!(newest_version(&place, "t"), 1);
    place.dl(WRITE).good();
    place.dl(&["verify", "--every-version", "--data"]).good();
}

#[test]
fn a_commit_with_a_full_disk_under_delta_log_is_published_later() {
    let place = begin(Database::Sqlite);
    let written = on_a_full_disk(&place, "link,linkat", None, WRITE);
    assert!(written.out.contains("default.t is at version 2"), "{written:?}");
    check(written, 0, &["warning: version 2 of default.t is committed but could not be published"]);
    check(place.dl(&["mirror", "status", "--check"]), 3, &["could not be published", "No space left on device"]);
    let published = place.dl(&["mirror", "run"]).good();
    assert!(published.contains("1 published, up to version 2"), "{published}");
    place.dl(&["verify", "--every-version", "--data"]).good();
}

#[test]
fn a_full_disk_under_duckdb_has_an_unknown_outcome() {
    let place = begin(Database::DuckDb);
    let written = on_a_full_disk(&place, "write,pwrite64", Some("meta.duckdb.wal"), WRITE);
    let says = ["error: the database did not say whether the commit succeeded (", " No space left on device)"];
    check_quoted(written, 1, &says);
    let version = newest_version(&place, "t");
    assert!((1..=2).contains(&version), "the history has the answer: {version}");
    place.dl(WRITE).good();
    assert_eq!(newest_version(&place, "t"), version + 1);
    place.dl(&["verify", "--every-version", "--data"]).good();
}

#[test]
fn a_bucket_that_is_gone_rejects_writes_and_delays_other_commits() {
    let place = begin(Database::Sqlite);
    create_unreachable(&place, 1);
    place.write("days.csv", "id,day\n1,a\n");
    // Nothing listens at this port any more.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let dl = |args: &[&str]| {
        let mut command = place.command(args);
        with_endpoint(&mut command, &endpoint);
        Ran::of(command.output().unwrap())
    };
    let written = dl(&["write", "a.t0", "--input", "days.csv"]);
    check_quoted(written, 1, &["the data files cannot be written"]);
    assert_eq!(newest_version(&place, "a.t0"), 0);
    let altered = dl(&["alter", "a.t0", "--comment", "days"]);
    check(altered, 0, &["is committed but could not be published to s3://dead/t0/_delta_log"]);
    assert_eq!(newest_version(&place, "a.t0"), 1);
    check(dl(&["mirror", "status", "--check"]), 3, &["a.t0 could not be published"]);
    let waits = ["--set", "mirror.max_lag=1ms", "--set", "mirror.mode=background"];
    let bounded = dl(&[&waits[..], &["alter", "a.t0", "--comment", "months"]].concat());
    check_quoted(bounded, 1, &["takes no commits now"]);
    dl(WRITE).good();
}

/// The text of the page outside its blocks.
fn prose() -> String {
    let mut is_block = false;
    let mut lines = Vec::new();
    for line in page().lines() {
        if line.starts_with("```") {
            is_block = !is_block;
        } else if !is_block {
            lines.push(line.to_string());
        }
    }
    lines.join(" ")
}

#[test]
fn every_command_in_the_text_exists() {
    let (place, text) = (TestFolder::new(), prose());
    let code = text.split('`').skip(1).step_by(2);
    let mut commands = BTreeSet::new();
    for command in code.filter_map(|code| code.strip_prefix("dl ")) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let is_name = |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
        let names: Vec<&str> = words.iter().take_while(is_name).copied().collect();
        let help = place.dl(&[&names[..], &["--help"]].concat()).good();
        let has = |option: &str| help.split_whitespace().any(|word| word == option);
        for option in words.iter().filter(|word| word.starts_with("--")) {
            assert!(has(option), "`dl {command}`: there is no {option}");
        }
        commands.insert(names.join(" "));
    }
    assert!(commands.len() > 10, "{commands:?}");
}

#[test]
fn the_metrics_to_watch_are_the_exported_ones() {
    let page = page();
    let words = page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let named: BTreeSet<&str> = words.filter(|word| word.starts_with("deltalakedb_")).collect();
    let exported: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name()).collect();
    assert_eq!(named, exported);
}
