//! Kill -9 at named points of a write, on every database, and the syncs before it is acknowledged.
//!
//! `strace` kills the process when it enters a chosen system call, so the program needs no hooks: the points are those
//! at which the disk changes. Each run starts from a copy of the same folder and with an empty SQL log, so a call has
//! the same number in every run.

mod lifecycle;
mod row_tables;
mod vectors;

use std::path::Path;
use std::process::Command;

use crate::databases::{Database, databases};
use crate::test_folder::{Ran, TestFolder, copy};

const WRITE: &[&str] = &["write", "t", "--input", "rows.csv"];
/// The same, with a checkpoint due at version 2.
const DUE: &[&str] = &["write", "t", "--input", "rows.csv", "--set", "mirror.checkpoint_interval=2"];

/// A table with one row, and a file with a second one.
fn begin(database: Database) -> TestFolder {
    let place = TestFolder::on(database);
    place.write("rows.csv", "id,name\n1,one\n");
    place.dl(&["create", "t", "--location", "t", "--schema", "id long, name string"]).good();
    place.dl(WRITE).good();
    place.write("rows.csv", "id,name\n2,two\n");
    place
}

/// `dl write` under strace with these options.
fn traced(place: &TestFolder, options: &[&str]) -> Ran {
    traced_as(WRITE, place, options, &[])
}

/// Another command under strace, with its own settings.
fn traced_as(write: &[&str], place: &TestFolder, options: &[&str], settings: &[&str]) -> Ran {
    let mut args: Vec<&str> = vec!["-f", "-qq"];
    args.extend(options);
    args.extend(["--", env!("CARGO_BIN_EXE_dl")]);
    args.extend(settings);
    args.extend(write);
    let output = place.with_program(Path::new("strace"), &args).output();
    Ran::of(output.unwrap_or_else(|e| panic!("strace cannot be run ({e}): scripts/setup installs it")))
}

/// One traced call: its name and the whole line.
struct Call {
    name: String,
    line: String,
}

/// A copy of the table, in another catalog, because the catalog has the table's location.
fn again(start: &TestFolder, database: Database) -> TestFolder {
    let place = TestFolder::on(database);
    copy(&start.path("t"), &place.path("t"));
    copy_file(start, &place, "rows.csv");
    place.dl(&["import", "t", "--as", "t"]).good();
    // A process may end before it has checkpointed the SQL log; one of the next ones does it.
    let mut tries = 0..500;
    while place.path("meta.db-wal").exists() {
        assert!(tries.next().is_some(), "the SQL log is never emptied");
        place.dl(&["tables"]).good();
    }
    place
}

fn copy_file(from: &TestFolder, to: &TestFolder, file: &str) {
    std::fs::copy(from.path(file), to.path(file)).unwrap();
}

/// The calls of a whole write that change files or use the server, in order.
fn calls(place: &TestFolder) -> Vec<Call> {
    calls_with(place, &[])
}

fn calls_with(place: &TestFolder, settings: &[&str]) -> Vec<Call> {
    let calls = "trace=pwrite64,write,fsync,fdatasync,linkat,link,rename,renameat,renameat2,sendto";
    calls_of(WRITE, place, calls, settings)
}

/// These calls of a whole write, in order.
fn calls_of(write: &[&str], place: &TestFolder, calls: &str, settings: &[&str]) -> Vec<Call> {
    let log = place.path("trace");
    traced_as(write, place, &["-y", "-s", "64", "-o", log.to_str().unwrap(), "-e", calls], settings).good();
    let text = std::fs::read_to_string(log).unwrap();
    // `1234 fsync(9</path>) = 0`, or in two parts when another thread interrupts: the first part has the arguments.
    let parse = |line: &str| {
        let (_, call) = line.split_once(' ')?;
        let (name, _) = call.trim_start().split_once('(')?;
        Some(Call { name: name.to_string(), line: line.to_string() })
    };
    text.lines().filter(|l| !l.contains(" resumed>")).filter_map(parse).collect()
}

impl Call {
    fn is(&self, name: &str, path: &str) -> bool {
        self.name.starts_with(name) && self.line.contains(path)
    }
}

#[test]
fn data_file_directory_and_sql_log_are_synced_before_the_acknowledgement_and_nothing_else() {
    let calls = calls(&begin(Database::Sqlite));
    let find = |what: &str, from: usize, f: &dyn Fn(&Call) -> bool| {
        let found = calls.iter().skip(from).position(f).map(|at| from + at);
        found.unwrap_or_else(|| {
            panic!("no {what} after call {from} of {:#?}", calls.iter().map(|c| &c.line).collect::<Vec<_>>())
        })
    };
    let data = find("sync of the data file", 0, &|c| c.is("fsync", ".parquet"));
    let named = find("rename of the data file", data, &|c| c.is("rename", ".parquet"));
    let directory = find("sync of its directory", named, &|c| c.is("fsync", "/t>"));
    let first_of_sql = find("write to the SQL log", 0, &|c| c.is("pwrite64", "meta.db-wal"));
    assert!(directory < first_of_sql, "the commit begins after the data is durable");
    let sql = find("sync of the SQL log", first_of_sql, &|c| {
        c.is("fdatasync", "meta.db-wal") || c.is("fsync", "meta.db-wal")
    });
    let published = find("link of the published commit", sql, &|c| c.is("link", "00000000000000000002.json"));
    let said = find("acknowledgement", published, &|c| c.is("write", "is at version 2"));
    let early: Vec<_> = calls[sql..said].iter().filter(|c| c.is("fsync", "/t/") || c.is("fsync", "/t>")).collect();
    assert!(early.is_empty(), "{:#?}", early.iter().map(|c| &c.line).collect::<Vec<_>>());
    let synced = find("sync of the commit's file", said, &|c| c.is("fsync", "00000000000000000002.json"));
    let listed = find("sync of its directory", synced, &|c| c.is("fsync", "/_delta_log>"));
    find("watermark, after that", listed, &|c| c.is("pwrite64", "meta.db-wal"));
}

#[test]
fn durability_catalog_syncs_only_the_sql_log() {
    let place = begin(Database::Sqlite);
    // While another process has the catalog open the WAL is kept, and needs no new header, which would be synced as
    // well.
    let mut other = place.command(&["mirror", "run", "--watch", "-q"]).spawn().unwrap();
    let mut tries = 0..500;
    while !place.path("meta.db-wal").exists() {
        assert!(tries.next().is_some(), "the other process never opens the catalog");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    place.dl(WRITE).good();
    let calls = calls_with(&place, &["--set", "durability=catalog"]);
    other.kill().unwrap();
    other.wait().unwrap();
    let at = |what: &str, f: &dyn Fn(&Call) -> bool| {
        calls.iter().position(f).unwrap_or_else(|| panic!("no {what} in {:#?}", lines(&calls)))
    };
    let said = at("acknowledgement", &|c| c.is("write", "is at version 3"));
    // A process that syncs a SQL log syncs its folder once.
    let folder = format!("<{}>", std::fs::canonicalize(place.path("")).unwrap().display());
    let is_sync = |c: &Call| (c.is("fsync", "") || c.is("fdatasync", "")) && !c.line.contains(&folder);
    let synced: Vec<_> = (0..said).filter(|n| is_sync(&calls[*n])).collect();
    assert!(matches!(synced[..], [one] if calls[one].line.contains("meta.db-wal")), "{:#?}", lines(&calls));
    assert!(at("rename of the data file", &|c| c.is("rename", ".parquet")) < synced[0]);
    place.dl(&["mirror", "run"]).good();
    place.dl(&["verify", "--every-version", "--data"]).good();
}

fn lines(calls: &[Call]) -> Vec<&String> {
    calls.iter().map(|c| &c.line).collect()
}

#[test]
fn the_hint_is_written_after_the_checkpoint_is_synced_and_read_back() {
    let place = begin(Database::Sqlite);
    let calls = calls_of(DUE, &place, "trace=openat,fsync,linkat,link,rename,renameat,renameat2", &[]);
    let find = |what: &str, from: usize, f: &dyn Fn(&Call) -> bool| {
        let found = calls.iter().skip(from).position(f).map(|at| from + at);
        found.unwrap_or_else(|| {
            panic!("no {what} after call {from} of {:#?}", calls.iter().map(|c| &c.line).collect::<Vec<_>>())
        })
    };
    let (checkpoint, hint) = ("00000000000000000002.checkpoint.parquet", "_last_checkpoint");
    let synced = find("sync of the checkpoint", 0, &|c| c.is("fsync", checkpoint));
    let named = find("rename of the checkpoint", synced, &|c| c.is("rename", checkpoint));
    let read = find("reading of the checkpoint", named, &|c| {
        c.is("openat", &format!("{checkpoint}\"")) && c.line.contains("O_RDONLY")
    });
    let is_hint = |c: &Call| c.is("rename", hint) || c.is("link", hint);
    find("naming of the hint", read, &is_hint);
    let hints = calls.iter().filter(|c| is_hint(c)).count();
    assert_eq!(hints, 1, "and not before");
}

#[test]
fn a_crash_around_a_checkpoint_leaves_a_valid_hint() {
    let start = begin(Database::Sqlite);
    let (checkpoint, hint) = ("t/_delta_log/00000000000000000002.checkpoint.parquet", "t/_delta_log/_last_checkpoint");
    // Before it is read back, and after that, before the hint is set.
    for (at, call) in [(checkpoint, "openat"), (hint, "link,linkat,rename,renameat,renameat2")] {
        let place = again(&start, Database::Sqlite);
        let file = place.path(at);
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when=1"));
        let options = ["-o", "/dev/null", "-e", &trace, "-e", &inject, "-P", file.to_str().unwrap()];
        let killed = traced_as(DUE, &place, &options, &[]);
        assert!(killed.code.is_none(), "killed at {at}: {killed:?}");
        assert_eq!((place.path(checkpoint).exists(), place.path(hint).exists()), (true, false), "killed at {at}");
        assert!(place.path("t/_delta_log/00000000000000000002.json").exists(), "the commit was published before");
        let found = place.dl(&["verify", "--every-version", "--data"]);
        assert_eq!(found.code, Some(3), "killed at {at}: {found:?}");
        let says = ["_last_checkpoint is missing", "`dl mirror repair default.t`"];
        assert!(says.iter().all(|said| found.out.contains(said)), "killed at {at}: {found:?}");
        let done = place.dl(&["mirror", "repair", "t", "--format", "json"]).json();
        assert_eq!(done["hint"], true, "killed at {at}: {done}");
        assert!(place.path(hint).exists(), "killed at {at}");
        place.dl(&["verify", "--every-version", "--data"]).good();
    }
}

/// Kills a write when it enters a call, and checks the state afterwards.
struct Point {
    name: &'static str,
    /// The call, the file it is on, and which such call.
    call: &'static str,
    file: Option<&'static str>,
    nth: usize,
    /// Whether the commit succeeded; `None` if the run's output tells.
    committed: Option<bool>,
    published: Option<bool>,
    /// Whether the command has said so before.
    acknowledged: bool,
}

#[test]
fn a_crash_loses_no_commit_and_repeats_none() {
    for database in databases("crash") {
        let start = begin(*database);
        let calls = calls(&again(&start, *database));
        for point in everywhere().into_iter().chain(inside(*database, &calls)) {
            check(*database, &again(&start, *database), &point);
        }
    }
}

/// The points outside the database.
fn everywhere() -> [Point; 4] {
    let point = |name, call, file, committed, published| {
        let (committed, published) = (Some(committed), Some(published));
        Point { name, call, file, nth: 1, committed, published, acknowledged: false }
    };
    let checksum = Some("t/_delta_log/00000000000000000002.crc");
    let synced = point("after the acknowledgement", "fsync", Some("t/_delta_log"), true, true);
    [
        point("after the data files", "fsync", Some("t"), false, false),
        point("during the publish", "linkat", None, true, false),
        point("after the publish", "linkat", checksum, true, true),
        Point { acknowledged: true, ..synced },
    ]
}

/// The points inside the SQL transaction and around its COMMIT.
fn inside(database: Database, calls: &[Call]) -> Vec<Point> {
    let point = |name, call, file, nth, committed: Option<bool>| {
        let published = committed.map(|_| false);
        Point { name, call, file, nth, committed, published, acknowledged: false }
    };
    match database {
        Database::Sqlite => {
            let wal_writes = |until: &dyn Fn(&Call) -> bool| {
                let before = calls.iter().take_while(|c| !until(c));
                before.filter(|c| c.is("pwrite64", "meta.db-wal")).count()
            };
            let is_sync = |c: &Call| c.is("fdatasync", "meta.db-wal") || c.is("fsync", "meta.db-wal");
            // The first sync is that of the log's header, the second makes the commit durable.
            let syncs =
                calls.iter().filter(|c| is_sync(c)).map(|c| if c.name == "fsync" { "fsync" } else { "fdatasync" });
            let sync = syncs.collect::<Vec<_>>()[1];
            let published = wal_writes(&|c| c.is("link", "00000000000000000002.json"));
            assert!(wal_writes(&is_sync) == 1 && published > 8, "{published}");
            let wal = Some("meta.db-wal");
            vec![
                point("inside the SQL transaction", "pwrite64", wal, 1, Some(false)),
                point("half-way through COMMIT", "pwrite64", wal, 6, Some(false)),
                point("after COMMIT", sync, wal, 2, Some(true)),
            ]
        }
        Database::DuckDb => {
            let wal = Some("meta.duckdb.wal");
            vec![
                point("before COMMIT is written", "write", wal, 1, Some(false)),
                // Written and not synced: it survives a crash of the process, but not of the machine.
                point("before COMMIT is synced", "fsync", wal, 1, Some(true)),
            ]
        }
        Database::Postgres => {
            let sent = calls.iter().filter(|c| c.name == "sendto").count();
            assert!(sent > 8, "{sent} messages are sent");
            // Calls are counted for each thread, and several threads send: the position of the n-th message in the
            // write differs from run to run, and it may not occur at all.
            let nth = |n| point("while it speaks to the server", "sendto", None, n, None);
            [2, 4, 6, 8, 10, 12].map(nth).into()
        }
    }
}

fn check(database: Database, place: &TestFolder, point: &Point) {
    let name = format!("{database:?}, {}", point.name);
    let inject = format!("inject={}:signal=SIGKILL:when={}", point.call, point.nth);
    let trace = format!("trace={}", point.call);
    let file = point.file.map(|f| place.path(f).to_string_lossy().into_owned());
    let mut options = vec!["-o", "/dev/null", "-e", trace.as_str(), "-e", inject.as_str()];
    options.extend(file.iter().flat_map(|f| ["-P", f.as_str()]));
    let killed = traced(place, &options);
    let whole = point.committed.is_none() && killed.code == Some(0);
    let said = !killed.out.is_empty();
    let is_expected = point.committed.is_none() || said == point.acknowledged;
    assert!(whole || killed.code.is_none() && is_expected, "killed {name}: {killed:?}");

    let json = place.path("t/_delta_log/00000000000000000002.json");
    assert!(point.published.is_none_or(|expected| expected == json.exists()), "{name}: published or not");
    let versions = place.dl(&["history", "t", "--format", "json"]).json().as_array().unwrap().len();
    let committed = versions == 3;
    assert!(point.committed.is_none_or(|expected| expected == committed), "{name}: committed or not: {versions}");
    assert!(committed || !said && !whole && !json.exists(), "{name}: what is acknowledged or published is committed");
    let rows = || place.dl(&["read", "t", "--format", "json"]).json().as_array().unwrap().len();
    assert_eq!(rows(), if committed { 2 } else { 1 }, "{name}: what is committed is there, what is not is not");

    place.dl(&["mirror", "run"]).good();
    assert_eq!(json.exists(), committed, "{name}: the next run publishes what is committed");
    place.dl(&["verify", "--every-version", "--data"]).good();
    place.dl(WRITE).good();
    assert_eq!(rows(), if committed { 3 } else { 2 }, "{name}: the table goes on");
    place.dl(&["verify", "--every-version", "--data"]).good();
}

#[test]
fn strace_is_there() {
    let version = Command::new("strace").arg("-V").output();
    assert!(version.is_ok_and(|v| v.status.success()), "the crash tests need strace: scripts/setup installs it");
}
