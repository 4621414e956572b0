//! What `dl` exports to an OpenTelemetry collector.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use deltalakedb_log::metric::METRICS;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::metrics::Watch;
use crate::test_folder::{Ran, TestFolder};

/// A request to the collector.
struct Received {
    /// The request line and the headers.
    head: String,
    body: Vec<u8>,
}

/// A collector that gives every request the same answer.
struct Collector {
    endpoint: String,
    requests: Receiver<Received>,
}

impl Collector {
    fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    // A connection may be closed without a request.
                    if let Some(request) = receive(&mut stream) {
                        // Before the answer, so that what a process has sent is here when it has ended.
                        let _ = sender.send(request);
                        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                        let _ = stream.write_all(answer.as_bytes());
                    }
                });
            }
        });
        Self { endpoint, requests }
    }

    /// Everything that has been received, with what is received until then.
    fn exported(&self, mut is_enough: impl FnMut(&Exported) -> bool) -> Exported {
        let (began, mut exported) = (Instant::now(), Exported::default());
        loop {
            exported.extend(self.requests.try_iter());
            if is_enough(&exported) {
                return exported;
            }
            let names: BTreeSet<_> = exported.metrics.iter().map(|metric| &metric.name).collect();
            assert!(began.elapsed() < Duration::from_secs(60), "it is not received: {names:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A request with its body, unless the connection ends before.
fn receive(stream: &mut TcpStream) -> Option<Received> {
    let mut request = Vec::new();
    loop {
        let mut part = [0_u8; 4096];
        let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&part[..read]);
        let Some(end) = request.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(request[..end].to_vec()).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if request.len() >= end + 4 + length.parse::<usize>().unwrap() {
            return Some(Received { head, body: request.split_off(end + 4) });
        }
    }
}

/// The decoded content of requests.
#[derive(Default)]
struct Exported {
    heads: Vec<String>,
    spans: Vec<Span>,
    metrics: Vec<Metric>,
    /// The attributes of the processes that sent them.
    resource: BTreeSet<(String, String)>,
}

impl Exported {
    fn extend(&mut self, requests: impl Iterator<Item = Received>) {
        for Received { head, body } in requests {
            let mut resources = Vec::new();
            if head.starts_with("post /v1/traces ") {
                for of_resource in ExportTraceServiceRequest::decode(&body[..]).unwrap().resource_spans {
                    resources.extend(of_resource.resource);
                    self.spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
                }
            } else {
                assert!(head.starts_with("post /v1/metrics "), "{head}");
                for of_resource in ExportMetricsServiceRequest::decode(&body[..]).unwrap().resource_metrics {
                    resources.extend(of_resource.resource);
                    self.metrics.extend(of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics));
                }
            }
            self.resource.extend(resources.iter().flat_map(|resource| texts(&resource.attributes)));
            self.heads.push(head);
        }
    }

    fn span_names(&self) -> BTreeSet<&str> {
        self.spans.iter().map(|span| span.name.as_str()).collect()
    }

    /// The last value of a gauge or of a counter with these attributes.
    fn value(&self, name: &str, attributes: &[(String, String)]) -> Option<f64> {
        let metrics = self.metrics.iter().filter(|metric| metric.name == name);
        let mut points = metrics.flat_map(|metric| match &metric.data {
            Some(metric::Data::Gauge(gauge)) => gauge.data_points.clone(),
            Some(metric::Data::Sum(sum)) => sum.data_points.clone(),
            other => panic!("{name} is {other:?}"),
        });
        let last = points.rfind(|point| texts(&point.attributes) == attributes)?;
        last.value.map(|value| match value {
            number_data_point::Value::AsDouble(value) => value,
            number_data_point::Value::AsInt(value) => value as f64,
        })
    }
}

/// The attributes whose values are texts.
fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(value) => Some((attribute.key.clone(), value.clone())),
        _ => None,
    };
    attributes.iter().filter_map(text).collect()
}

/// A write to a new table, with these variables.
fn write(place: &TestFolder, variables: &[(&str, &str)]) -> Ran {
    place.write("rows.csv", "id\n1\n");
    let mut command = place.command(&["write", "t", "--location", "t", "--input", "rows.csv"]);
    Ran::of(with(&mut command, variables).output().unwrap())
}

fn with<'a>(command: &'a mut Command, variables: &[(&str, &str)]) -> &'a mut Command {
    command.env("NO_PROXY", "127.0.0.1").envs(variables.iter().copied())
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_string(), value.to_string())
}

#[test]
fn a_command_exports_its_spans_and_metrics_before_it_ends() {
    let (place, collector) = (TestFolder::new(), Collector::start("200 OK"));
    let ran = write(
        &place,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer secret"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test,service.name=another"),
            ("OTEL_SERVICE_NAME", "orders"),
        ],
    );
    assert_eq!(ran.err, "");
    ran.good();
    let exported = collector.exported(|_| true);
    for head in &exported.heads {
        assert!(head.contains("authorization: bearer secret") && head.contains("application/x-protobuf"), "{head}");
    }
    for attribute in [pair("service.name", "orders"), pair("deployment.environment", "test")] {
        assert!(exported.resource.contains(&attribute), "{:?}", exported.resource);
    }
    assert!(!exported.resource.contains(&pair("service.name", "another")));
    let spans = exported.span_names();
    for name in ["command", "publish", "transaction", "put_data_file", "put_commit"] {
        assert!(spans.contains(name), "{name} is not in {spans:?}");
    }
    let committed = exported.spans.iter().filter(|span| span.name == "transaction");
    assert!(committed.flat_map(|span| texts(&span.attributes)).any(|field| field == pair("outcome", "committed")));
    let commits = exported.spans.iter().flat_map(|span| &span.events).filter(|event| event.name == "committed");
    assert_eq!(
        commits
            .map(|event| texts(&event.attributes))
            .filter(|fields| fields.contains(&pair("table", "default.t")))
            .count(),
        1
    );
    assert!(exported.value("deltalakedb_versions_committed_total", &[]).unwrap() >= 1.0);
    assert_eq!(exported.value("deltalakedb_files_active", &[pair("table", "default.t")]), Some(1.0));
    let latency = exported.metrics.iter().find(|metric| metric.name == "deltalakedb_commit_latency_ms").unwrap();
    assert_eq!(latency.unit, "ms");
    let Some(metric::Data::Histogram(histogram)) = &latency.data else { panic!("{latency:?}") };
    assert!(histogram.data_points[0].count >= 1);
    assert_eq!(histogram.data_points[0].bucket_counts.len(), histogram.data_points[0].explicit_bounds.len() + 1);
    let docs = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../docs/metrics.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    for name in spans {
        assert!(docs.contains(&format!("`{name}`")), "the span {name} is not in docs/metrics.md");
    }
    for exported in &exported.metrics {
        let listed = METRICS.iter().find(|listed| listed.name() == exported.name);
        let listed = listed.unwrap_or_else(|| panic!("{} is not in the list", exported.name));
        assert_eq!((exported.unit.as_str(), exported.description.as_str()), (listed.unit(), listed.meaning()));
    }
}

#[test]
fn the_memory_of_hot_rows_is_exported() {
    let (place, collector) = (TestFolder::new(), Collector::start("200 OK"));
    let sql = "CREATE NAMESPACE app; CREATE SHARED TABLE app.t (id BIGINT PRIMARY KEY); INSERT INTO app.t VALUES (1)";
    let mut command = place.command(&["sql", "--data", "d", sql]);
    let ran = with(&mut command, &[("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str())]).output().unwrap();
    Ran::of(ran).good();
    let memtables = |exported: &Exported| exported.value("deltalakedb_hot_memtables_bytes", &[]);
    let exported = collector.exported(|exported| memtables(exported).is_some());
    let value = |name: &str| exported.value(name, &[]);
    assert!(memtables(&exported).is_some_and(|bytes| bytes > 0.0));
    assert!(value("deltalakedb_hot_block_cache_bytes").is_some());
    assert_eq!(value("deltalakedb_hot_snapshots"), Some(0.0), "each is closed");
}

#[test]
fn a_watch_exports_while_it_runs_and_at_its_end_beside_prometheus() {
    let (place, collector) = (TestFolder::new(), Collector::start("200 OK"));
    place.write("rows.csv", "id\n1\n");
    place.dl(&["--set", "mirror.mode=background", "write", "t", "--location", "t", "--input", "rows.csv"]).good();
    let mut command = place.command(&["mirror", "run", "--watch", "--metrics", "127.0.0.1:0"]);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
        // Spans are sent at the end.
        ("OTEL_BSP_SCHEDULE_DELAY", "600000"),
    ];
    let watch = with(&mut command, &variables).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let table = [pair("table", "default.t")];
    let files = |exported: &Exported| exported.value("deltalakedb_files_active", &table);
    let running = collector.exported(|exported| files(exported) == Some(1.0));
    assert_eq!(running.span_names(), BTreeSet::new());
    let (began, id) = (Instant::now(), watch.id().to_string());
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    let ran = Ran::of(watch.wait_with_output().unwrap());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(!ran.err.contains("warning"), "{ran:?}");
    ran.good();
    let rest = collector.exported(|_| true);
    assert!(rest.span_names().contains("put_commit"), "{:?}", rest.span_names());
    assert_eq!(files(&rest), Some(1.0));
}

#[test]
fn the_gauges_of_a_dropped_table_are_no_longer_sent() {
    let (place, collector) = (TestFolder::new(), Collector::start("200 OK"));
    place.write("rows.csv", "id\n1\n");
    for name in ["t", "u"] {
        let write = ["--set", "mirror.mode=background", "write", name, "--location", name, "--input", "rows.csv"];
        place.dl(&write).good();
    }
    let mut command = place.command(&["mirror", "run", "--watch"]);
    let variables = [
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", format!("{}/v1/metrics", collector.endpoint)),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100".to_string()),
    ];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    with(&mut command, &variables);
    let _watch = Watch::start(command);
    let gauge = |exported: &Exported, metric: &str, name: &str| {
        exported.value(&format!("deltalakedb_{metric}"), &[pair("table", &format!("default.{name}"))])
    };
    collector.exported(|exported| ["t", "u"].iter().all(|name| gauge(exported, "files_active", name) == Some(1.0)));
    place.dl(&["drop", "t", "--yes"]).good();
    let began = Instant::now();
    loop {
        // What is received from now on.
        let exported = collector.exported(|exported| gauge(exported, "files_active", "u").is_some());
        if ["files_active", "mirror_lag_seconds"].iter().all(|metric| gauge(&exported, metric, "t").is_none()) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(90), "the gauges stay");
    }
}

#[test]
fn footers_of_data_files_are_counted_where_a_scan_finds_them() {
    let (place, collector) = (TestFolder::new(), Collector::start("200 OK"));
    write(&place, &[]).good();
    let mut command = place.command(&["sql", "SELECT * FROM t; SELECT * FROM t"]);
    let ran = with(&mut command, &[("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str())]).output().unwrap();
    Ran::of(ran).good();
    let exported = collector.exported(|_| true);
    for metric in ["misses", "hits"] {
        let count = exported.value(&format!("deltalakedb_footer_cache_{metric}_total"), &[]);
        assert!(count.unwrap() >= 1.0, "{metric}: {count:?}");
    }
}

#[test]
fn nothing_is_sent_unless_the_variables_ask_for_it() {
    let collector = Collector::start("200 OK");
    let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str());
    let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.endpoint.as_str());
    for variables in [
        vec![],
        vec![all, ("OTEL_SDK_DISABLED", "true")],
        vec![all, ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "none")],
        vec![traces, ("OTEL_TRACES_EXPORTER", "none")],
    ] {
        let ran = write(&TestFolder::new(), &variables);
        assert_eq!(ran.err, "", "{variables:?}");
        ran.good();
        assert!(collector.requests.try_recv().is_err(), "{variables:?}");
    }
}

/// A write with these variables succeeds in time, with one warning that has this part.
fn check_warning(variables: &[(&str, &str)], part: &str) {
    let began = Instant::now();
    let ran = write(&TestFolder::new(), variables);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(ran.err.starts_with("warning: the OpenTelemetry collector") && ran.err.contains(part), "{ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    ran.good();
}

#[test]
fn a_collector_that_is_not_there_is_one_warning() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("http://{address}");
    check_warning(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())], &format!("no connection to {address}"));
}

#[test]
fn a_collector_that_does_not_answer_does_not_stop_the_command() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", server.local_addr().unwrap());
    check_warning(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())], "does not answer within 2 s");
    drop(server);
}

#[test]
fn a_collector_that_refuses_is_one_warning() {
    let collector = Collector::start("403 Forbidden");
    check_warning(&[("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str())], "403 Forbidden");
}

#[test]
fn variables_that_are_wrong_or_not_supported_are_one_warning() {
    let collector = Collector::start("200 OK");
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str());
    check_warning(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "set it to http/protobuf");
    check_warning(&[endpoint, ("OTEL_TRACES_EXPORTER", "zipkin")], "OTEL_TRACES_EXPORTER is zipkin");
    assert!(collector.requests.try_recv().is_err());
    check_warning(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "not a URL")], "expected http://HOST:PORT");
}
