//! The metrics, alerts and commit events of `dl`, and their documentation.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use deltalakedb_log::metric::METRICS;
use serde_json::{Value, json};

use crate::bad_input::check;
use crate::test_folder::{Ran, TestFolder};

/// A table with one published version and one that is not.
fn begin() -> TestFolder {
    let place = TestFolder::new();
    place.write("rows.csv", "id\n1\n");
    place.dl(&["create", "t", "--location", "t", "--schema", "id long"]).good();
    place.dl(&["--set", "mirror.mode=background", "write", "t", "--input", "rows.csv"]).good();
    place
}

/// `dl mirror run --watch`, ended with the test. The lines of its standard error are read one by one.
pub(crate) struct Watch {
    child: Child,
    errors: BufReader<std::process::ChildStderr>,
}

impl Watch {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        Self { child, errors }
    }

    /// The rest of the next line that begins with this text.
    pub(crate) fn line(&mut self, begin: &str) -> String {
        let mut line = String::new();
        while self.errors.read_line(&mut line).unwrap() > 0 {
            if let Some(rest) = line.strip_prefix(begin) {
                return rest.trim_end().to_string();
            }
            line.clear();
        }
        panic!("no line begins with {begin:?}");
    }

    /// Ends it as systemd does.
    pub(crate) fn terminate(&mut self) -> std::process::ExitStatus {
        let sent = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The response to a request.
fn http(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn a_watch_serves_its_metrics() {
    let place = begin();
    let mut watch = Watch::start(place.command(&["mirror", "run", "--watch", "--metrics", "127.0.0.1:0"]));
    let url = watch.line("metrics at ");
    let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/metrics")).unwrap();
    let began = Instant::now();
    let text = loop {
        let text = http(address, "GET /metrics");
        if text.contains("deltalakedb_mirror_latency_ms_count 1\n") {
            break text;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{text}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"), "{text}");
    assert!(text.contains("deltalakedb_files_active{table=\"default.t\"} 1\n"), "{text}");
    for metric in METRICS.iter().filter(|metric| metric.label().is_none()) {
        assert!(text.contains(&format!("# TYPE {} ", metric.name())), "{}: {text}", metric.name());
    }
    let began = Instant::now();
    while !http(address, "GET /metrics").contains("deltalakedb_mirror_lag_seconds{table=\"default.t\"} 0\n") {
        assert!(began.elapsed() < Duration::from_secs(60), "the lag does not become 0");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(http(address, "GET /").starts_with("HTTP/1.1 404 "));
    assert!(http(address, "DELETE /metrics").starts_with("HTTP/1.1 405 "));
    let second = place.dl(&["mirror", "run", "--watch", "--metrics", address]);
    let refused = format!("metrics cannot be served at {address}");
    check(second, 1, &[refused.as_str(), "another program uses this address"]);
}

#[test]
fn the_gauges_of_a_dropped_table_disappear() {
    let place = begin();
    let mut watch = Watch::start(place.command(&["mirror", "run", "--watch", "--metrics", "127.0.0.1:0"]));
    let url = watch.line("metrics at ");
    let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/metrics")).unwrap();
    let wait = |what: &str, is_so: &dyn Fn(&str) -> bool| {
        let began = Instant::now();
        while !is_so(&http(address, "GET /metrics")) {
            assert!(began.elapsed() < Duration::from_secs(90), "{what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait("no gauge appears", &|text| text.contains("deltalakedb_files_active{table=\"default.t\"} 1\n"));
    place.dl(&["drop", "t", "--yes"]).good();
    wait("the gauges stay", &|text| !text.contains("{table=\"default.t\"}"));
}

#[test]
fn metrics_are_served_by_a_watch_only() {
    let refused = begin().dl(&["mirror", "run", "--metrics", "127.0.0.1:0"]);
    assert!(refused.code == Some(2) && refused.err.contains("--watch"), "{refused:?}");
}

/// The body of the next request to a server, which is answered with 200.
fn received(server: &TcpListener) -> Value {
    let (mut stream, _) = server.accept().unwrap();
    let mut request = Vec::new();
    loop {
        let mut part = [0_u8; 1024];
        let read = stream.read(&mut part).unwrap();
        request.extend_from_slice(&part[..read]);
        let text = String::from_utf8(request.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap() {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
                return serde_json::from_str(body).unwrap();
            }
        }
        assert!(read > 0, "the request ends: {text}");
    }
}

#[test]
fn an_alert_is_posted_when_it_begins_and_when_it_ends() {
    let place = begin();
    let theirs = "{\"commitInfo\":{\"operation\":\"WRITE\",\"engineInfo\":\"another\"}}\n";
    place.write("t/_delta_log/00000000000000000001.json", theirs);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = format!("mirror.alert_webhook=http://{}/hook", server.local_addr().unwrap());
    let mut command = place.command(&["mirror", "run", "--watch", "--set", &hook]);
    command.env("NO_PROXY", "127.0.0.1");
    let mut watch = Watch::start(command);
    assert!(watch.line("alert: ").contains("publishing of default.t stopped at version 1"));
    let posted = received(&server);
    assert_eq!(
        (&posted["table"], &posted["state"], &posted["kind"]),
        (&json!("default.t"), &json!("firing"), &json!("diverged"))
    );
    std::fs::remove_file(place.path("t/_delta_log/00000000000000000001.json")).unwrap();
    assert_eq!(watch.line("alert ended: "), "the alert diverged of default.t has ended");
    let posted = received(&server);
    assert_eq!((&posted["state"], &posted["kind"]), (&json!("resolved"), &json!("diverged")));
}

#[test]
fn a_lost_log_of_an_idle_table_is_an_alert_until_it_is_there_again() {
    let place = begin();
    place.dl(&["mirror", "run"]).good();
    std::fs::rename(place.path("t/_delta_log"), place.path("elsewhere")).unwrap();
    let mut watch = Watch::start(place.command(&["mirror", "run", "--watch", "--set", "mirror.check_interval=100ms"]));
    let message = watch.line("alert: ");
    assert!(message.contains("_delta_log is empty") && message.contains("`dl mirror repair default.t`"), "{message}");
    std::fs::rename(place.path("elsewhere"), place.path("t/_delta_log")).unwrap();
    assert_eq!(watch.line("alert ended: "), "the alert lost of default.t has ended");
}

#[test]
fn a_commit_is_one_event() {
    let place = begin();
    let mut command = place.command(&["write", "t", "--input", "rows.csv"]);
    let ran = command.env("RUST_LOG", "deltalakedb::commit=info").output().unwrap();
    let errors = String::from_utf8(ran.stderr).unwrap();
    let events: Vec<_> = errors.lines().filter(|line| line.contains("deltalakedb::commit: committed")).collect();
    assert_eq!(events.len(), 1, "{errors}");
    for field in ["table=\"default.t\"", "version=2", "operation=\"WRITE\"", "adds=1", "removes=0", "group=1"] {
        assert!(events[0].contains(field), "{field}: {errors}");
    }
}

fn docs() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../docs")
}

/// The texts of all members of this name.
fn members<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get(name).and_then(Value::as_str));
            object.values().for_each(|value| members(value, name, found));
        }
        Value::Array(values) => values.iter().for_each(|value| members(value, name, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_has_the_exported_metrics() {
    let text = std::fs::read_to_string(docs().join("grafana/deltalakedb.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource");
    let (mut exprs, mut used) = (Vec::new(), BTreeSet::new());
    members(&dashboard, "expr", &mut exprs);
    assert!(exprs.len() >= METRICS.len(), "{exprs:?}");
    for expr in exprs {
        let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("deltalakedb_")) {
            let name = word.strip_suffix("_bucket").unwrap_or(word);
            assert!(METRICS.iter().any(|metric| metric.name() == name), "{name} is not exported: {expr}");
            used.insert(name.to_string());
        }
    }
    let exported: BTreeSet<_> = METRICS.iter().map(|metric| metric.name().to_string()).collect();
    assert_eq!(used, exported);
}

#[test]
fn every_metric_is_documented() {
    let text = std::fs::read_to_string(docs().join("metrics.md")).unwrap();
    for metric in METRICS {
        assert!(text.contains(&format!("\n| `{}` |", metric.name())), "{} is not in docs/metrics.md", metric.name());
    }
}

#[test]
fn spans_that_are_enabled_are_printed_with_their_durations() {
    let place = TestFolder::new();
    place.write("rows.csv", "id\n1\n");
    let mut command = place.command(&["write", "t", "--location", "t", "--input", "rows.csv"]);
    let targets = ["operation", "sql", "store"].map(|target| format!("deltalakedb::{target}=debug"));
    let ran = Ran::of(command.env("RUST_LOG", targets.join(",")).output().unwrap());
    for part in [
        "transaction{kind=\"write\"",
        "outcome=\"committed\"",
        "put_commit{table=default.t version=0}",
        "put_data_file{path=part-",
        "publish{",
        "time.busy=",
    ] {
        assert!(ran.err.contains(part), "{part} is not in {}", ran.err);
    }
    ran.good();
}
