//! `dl mirror run --watch` until it is asked to end.
#![cfg(unix)]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use deltalakedb_catalog::{CatalogUri, ConnectOptions, SqlCatalog};
use deltalakedb_log::commit::{Base, CommitRequest, NewTable};
use deltalakedb_log::conformance::actions::{metadata, protocol};
use deltalakedb_log::{Action, Catalog, Clock, Location, SystemClock, TableId};
use serde_json::json;

use crate::test_folder::{Ran, TestFolder};

/// A table with one published version and one that is not.
fn begin() -> TestFolder {
    let place = TestFolder::new();
    place.write("rows.csv", "id\n1\n");
    place.dl(&["create", "t", "--location", "t", "--schema", "id long"]).good();
    place.dl(&["--set", "mirror.mode=background", "write", "t", "--input", "rows.csv"]).good();
    place
}

fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_there() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} does not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal to `dl` and waits for its end. Returns its output, and how long the end took.
fn end(watcher: Child, signal: &str) -> (Ran, Duration) {
    let began = Instant::now();
    let sent = Command::new("kill").args(["-s", signal, &watcher.id().to_string()]).status().unwrap();
    assert!(sent.success());
    (Ran::of(watcher.wait_with_output().unwrap()), began.elapsed())
}

fn watch(place: &TestFolder) -> Command {
    let mut command = place.command(&["mirror", "run", "--watch", "--format", "csv"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The tables `a.t0`, `a.t1` and so on, with the columns `id` and `day`, in a bucket that does not exist.
pub(crate) fn create_unreachable(place: &TestFolder, count: usize) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let uri = CatalogUri::parse(&format!("deltasql://sqlite/{}", place.path("meta.db").display())).unwrap();
        let catalog = SqlCatalog::connect(&uri, ConnectOptions::default()).await.unwrap();
        for n in 0..count {
            let location = Location::parse(&format!("s3://dead/t{n}")).unwrap();
            let new = NewTable::new(format!("a.t{n}").parse().unwrap(), location);
            let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
            let id = SystemClock.new_uuid();
            let request = CommitRequest::new(TableId(id), id, Base::Create(new), actions);
            catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        }
        catalog.close().await;
    });
}

/// The environment in which that bucket is at this endpoint.
pub(crate) fn with_endpoint(command: &mut Command, endpoint: &str) {
    command.env("AWS_ENDPOINT", endpoint).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "eu-north-1");
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
}

#[test]
fn a_signal_ends_the_watch_with_status_0() {
    for signal in ["TERM", "INT"] {
        let place = begin();
        let watcher = watch(&place).spawn().unwrap();
        let published = place.path("t/_delta_log/00000000000000000001.json");
        wait_for("the publishing", || published.exists());
        let (ran, took) = end(watcher, signal);
        assert!(ran.good().contains("default.t,1,\"1 published, up to version 1\""));
        assert!(took < Duration::from_secs(5), "SIG{signal}: {took:?}");
        assert!(!place.path("meta.db-wal").exists(), "the catalog was closed");
        let status = place.dl(&["mirror", "status", "--format", "json"]).json();
        assert_eq!((&status[0]["behind"], &status[0]["failures"]), (&json!(0), &json!([])));
    }
}

#[test]
fn a_store_that_does_not_answer_delays_neither_other_tables_nor_the_end() {
    let place = begin();
    // A server that accepts connections and answers nothing.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", server.local_addr().unwrap());
    create_unreachable(&place, 12);
    let mut command = watch(&place);
    with_endpoint(&mut command, &endpoint);
    command.args(["--set", "mirror.parallel=2"]);
    let watcher = command.spawn().unwrap();
    for version in 1..4 {
        let published = place.path(&format!("t/_delta_log/{version:020}.json"));
        let began = Instant::now();
        wait_for("the publishing", || published.exists());
        assert!(began.elapsed() < Duration::from_secs(15), "version {version} took {:?}", began.elapsed());
        place.dl(&["--set", "mirror.mode=background", "write", "t", "--input", "rows.csv"]).good();
    }
    let (ran, took) = end(watcher, "TERM");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    drop(server);
}

#[test]
fn the_watch_refreshes_the_duckdb_mirror() {
    let place = begin();
    let mut command = watch(&place);
    command.args(["--set", "mirror.duckdb=lake.duckdb"]);
    let watcher = command.spawn().unwrap();
    let size = |file: &str| place.path(file).metadata().map_or(0, |file| file.len());
    // An empty database has 12 KiB.
    wait_for("the first refresh", || size("lake.duckdb") > 20_000 && size("lake.duckdb.wal") == 0);
    place.dl(&["write", "t", "--input", "rows.csv"]).good();
    wait_for("the second refresh", || size("lake.duckdb.wal") > 0);
    end(watcher, "TERM").0.good();
    let refreshed = place.dl(&["mirror", "duckdb", "--to", "lake.duckdb", "--format", "json"]).json();
    assert_eq!(refreshed["unchanged"], json!(1), "{refreshed}");
}
