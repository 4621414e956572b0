//! What is reported about a running `dl`: log lines on standard error, and traces and metrics by OTLP if the variables
//! of OpenTelemetry ask for them.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, RetryPolicy, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::collector::{Collector, warn_of_loss};
use crate::open_spans::OpenSpans;
use crate::terminal::has_colours;

/// The name of the service, of the tracer and of the meter.
const NAME: &str = "deltalakedb";
/// How long the end of the process waits for the collector.
const EXIT_WAIT: Duration = Duration::from_secs(2);
/// How much of it the spans have to end: one that never ends, because a store does not answer, is not exported.
const SPANS_WAIT: Duration = Duration::from_millis(500);

/// The exporters of the process.
#[derive(Default)]
pub(crate) struct Telemetry {
    collector: Option<Arc<Collector>>,
    traces: Option<SdkTracerProvider>,
    spans: OpenSpans,
    metrics: Option<SdkMeterProvider>,
}

impl Telemetry {
    /// Starts the log and the exporters. What cannot be exported is a warning, and the command runs without it.
    pub(crate) fn start(runtime: &Handle, verbose: u8) -> Self {
        let mut telemetry = Self::default();
        if let Err(why) = telemetry.export(runtime) {
            warn_of_loss(&why);
        }
        start_log(telemetry.traces.as_ref(), telemetry.spans.clone(), verbose);
        telemetry
    }

    fn export(&mut self, runtime: &Handle) -> Result<(), String> {
        let variable = |name: &str| std::env::var(name).ok();
        let (traces, metrics) = (is_wanted(Signal::Traces, variable)?, is_wanted(Signal::Metrics, variable)?);
        if !traces && !metrics {
            return Ok(());
        }
        let collector = Arc::new(Collector::new(runtime.clone())?);
        self.collector = Some(collector.clone());
        // A second attempt: the delay at the end of a short command must be short.
        let retries = RetryPolicy::recommended().with_max_retries(1);
        let wrong = |e: ExporterBuildError| match e {
            ExporterBuildError::InvalidConfiguration(_) => {
                "the value of a variable for the endpoint is not a URL: expected http://HOST:PORT".to_string()
            }
            ExporterBuildError::InternalFailure(why) => why,
        };
        if traces {
            let exporter = SpanExporter::builder().with_http().with_shared_http_client(collector.clone());
            let exporter = exporter.with_retry_policy(retries.clone()).build().map_err(wrong)?;
            let provider = SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter);
            self.traces = Some(provider.build());
        }
        if metrics {
            let exporter = MetricExporter::builder().with_http().with_shared_http_client(collector);
            let exporter = exporter.with_retry_policy(retries).build().map_err(wrong)?;
            let provider = SdkMeterProvider::builder().with_resource(resource()).with_periodic_exporter(exporter);
            self.metrics = Some(provider.build());
        }
        Ok(())
    }

    /// The meter for metrics, if they are exported.
    pub(crate) fn meter(&self) -> Option<Meter> {
        self.metrics.as_ref().map(|provider| provider.meter(NAME))
    }

    /// Sends what is left, for at most [`EXIT_WAIT`]. Must be called outside of the runtime, which is still running.
    pub(crate) fn shutdown(self) {
        let Some(collector) = self.collector else { return };
        let until = Instant::now() + EXIT_WAIT;
        self.spans.wait(SPANS_WAIT);
        // No message is sent: the channel is closed when both threads have ended.
        let (running, ended) = mpsc::channel::<Infallible>();
        let in_thread = |end: Box<dyn FnOnce() + Send>| {
            let running = running.clone();
            let thread = thread::Builder::new().name("otlp".into()).spawn(move || {
                end();
                drop(running);
            });
            if let Err(e) = thread {
                collector.warn_once(&format!("no thread can be started: {e}"));
            }
        };
        // The collector reports why a request failed.
        if let Some(traces) = self.traces {
            in_thread(Box::new(move || drop(traces.shutdown_with_timeout(EXIT_WAIT))));
        }
        if let Some(metrics) = self.metrics {
            in_thread(Box::new(move || drop(metrics.shutdown_with_timeout(EXIT_WAIT))));
        }
        drop(running);
        if let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(until.saturating_duration_since(Instant::now())) {
            collector.warn_once(&format!("it does not answer within {} s, and the command ends", EXIT_WAIT.as_secs()));
        }
    }
}

/// Writes events to standard error, where `RUST_LOG` enables them, and passes spans to the exporter.
fn start_log(traces: Option<&SdkTracerProvider>, open: OpenSpans, verbose: u8) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| log_filter(verbose).into());
    // The end of a span is printed with its duration, where RUST_LOG enables the span.
    let colours = has_colours(std::io::stderr().is_terminal());
    let lines = fmt::layer().with_ansi(colours).with_span_events(FmtSpan::CLOSE);
    let lines = lines.with_writer(std::io::stderr).with_filter(filter);
    let spans = traces.map(|provider| {
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer(NAME));
        // A span is counted until the exporter has it.
        layer.with_location(false).with_threads(false).and_then(open).with_filter(exported())
    });
    tracing_subscriber::registry().with(lines).with(spans).init();
}

/// What is logged after `-v` so many times, unless `RUST_LOG` says it.
fn log_filter(verbose: u8) -> &'static str {
    match verbose {
        0 => "error",
        1 => "error,deltalakedb=info",
        _ => "error,deltalakedb=debug",
    }
}

/// The exported spans and events. An event is exported as a part of the span in which it occurs.
fn exported() -> Targets {
    let spans = ["deltalakedb::operation", "deltalakedb::sql", "deltalakedb::store"];
    // Every target of our crates begins with this name.
    Targets::new()
        .with_target(NAME, LevelFilter::WARN)
        .with_target("deltalakedb::commit", LevelFilter::INFO)
        .with_targets(spans.map(|target| (target, LevelFilter::DEBUG)))
}

/// The process, as its traces and metrics name it.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder_empty().with_service_name(NAME).with_attribute(version);
    let resource = resource.with_detector(Box::new(TelemetryResourceDetector));
    let resource = resource.with_detector(Box::new(EnvResourceDetector::new()));
    // It takes precedence over `service.name` in OTEL_RESOURCE_ATTRIBUTES, which the detector has read.
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        _ => resource.build(),
    }
}

#[derive(Clone, Copy, Debug)]
enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// As in the names of variables.
    fn in_variables(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }
}

/// Whether the variables ask for an export of the signal: they name an endpoint, or the exporter `otlp`. An error says
/// which variable asks for something that is not supported.
fn is_wanted(signal: Signal, variable: impl Fn(&str) -> Option<String>) -> Result<bool, String> {
    let value = |name: &str| variable(name).map(|value| value.trim().to_string()).filter(|value| !value.is_empty());
    if value("OTEL_SDK_DISABLED").is_some_and(|disabled| disabled.eq_ignore_ascii_case("true")) {
        return Ok(false);
    }
    let signal = signal.in_variables();
    let endpoint = value(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"));
    let has_endpoint = endpoint.or_else(|| value("OTEL_EXPORTER_OTLP_ENDPOINT")).is_some();
    let exporter = format!("OTEL_{signal}_EXPORTER");
    let is_wanted = match value(&exporter).as_deref() {
        None => has_endpoint,
        Some("otlp") => true,
        Some("none") => false,
        Some(other) if has_endpoint => {
            return Err(format!("{exporter} is {other}: set it to otlp or none, there is no other exporter"));
        }
        Some(_) => false,
    };
    let protocols = [format!("OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"), "OTEL_EXPORTER_OTLP_PROTOCOL".to_string()];
    let protocol = protocols.into_iter().find_map(|name| value(&name).map(|protocol| (name, protocol)));
    match protocol {
        Some((name, protocol)) if is_wanted && protocol != "http/protobuf" => Err(format!(
            "{name} is {protocol}: set it to http/protobuf, and the endpoint to a port for HTTP, which is 4318 in most collectors"
        )),
        _ => Ok(is_wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_decide_what_is_exported() {
        let check = |variables: &[(&str, &str)], expected: [bool; 2]| {
            let variable = |wanted: &str| {
                let found = variables.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, value)| value.to_string())
            };
            let exported = [Signal::Traces, Signal::Metrics].map(|signal| is_wanted(signal, variable));
            let expected: [Result<bool, String>; 2] = expected.map(Ok);
            assert_eq!(exported, expected, "{variables:?}");
        };
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        check(&[], [false, false]);
        check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " "), ("OTEL_SERVICE_NAME", "a")], [false, false]);
        check(&[("OTEL_METRICS_EXPORTER", "prometheus"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], [false, false]);
        check(&[all], [true, true]);
        check(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a/b")], [true, false]);
        check(&[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://a/b")], [false, true]);
        check(&[("OTEL_TRACES_EXPORTER", "otlp")], [true, false]);
        check(&[all, ("OTEL_TRACES_EXPORTER", "none")], [false, true]);
        check(&[all, ("OTEL_SDK_DISABLED", "TRUE")], [false, false]);
        check(&[all, ("OTEL_SDK_DISABLED", "false")], [true, true]);
        check(&[all, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], [true, true]);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let check = |variables: &[(&str, &str)], parts: &[&str]| {
            let variable = |wanted: &str| {
                let found = variables.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, value)| value.to_string())
            };
            let why = is_wanted(Signal::Metrics, variable).unwrap_err();
            assert!(parts.iter().all(|part| why.contains(part)), "{why}");
        };
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317");
        check(&[all, ("OTEL_METRICS_EXPORTER", "console")], &["OTEL_METRICS_EXPORTER is console", "otlp or none"]);
        check(&[all, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], &["OTEL_EXPORTER_OTLP_PROTOCOL is grpc", "4318"]);
        let own = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json");
        check(&[all, own], &["OTEL_EXPORTER_OTLP_METRICS_PROTOCOL is http/json"]);
    }
}
