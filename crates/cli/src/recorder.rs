//! The recorder of the process: what the crates record through the facade `metrics` goes to every exporter.

use deltalakedb_log::metric::{self, BUCKETS_MS};
use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_util::layers::{Fanout, FanoutBuilder};
use opentelemetry::metrics::Meter;

use crate::otlp_recorder::OtlpRecorder;
use crate::table_gauges::TableGauges;

/// What is recorded.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordedMetrics {
    /// The gauges of tables.
    pub(crate) tables: TableGauges,
    /// All metrics as text, if they are served.
    pub(crate) text: Option<MetricsText>,
}

/// All metrics as Prometheus text.
#[derive(Clone, Debug)]
pub(crate) struct MetricsText {
    tables: TableGauges,
    others: PrometheusHandle,
}

impl MetricsText {
    pub(crate) fn render(&self) -> String {
        format!("{}{}", self.others.render(), self.tables.render())
    }

    /// Adds recorded durations to their buckets.
    pub(crate) fn run_upkeep(&self) {
        self.others.run_upkeep();
    }
}

/// Installs the recorder, once in the life of the process, if metrics are exported with a meter or served as text.
pub(crate) fn install(meter: Option<Meter>, is_served: bool) -> Result<RecordedMetrics> {
    let mut recorded = RecordedMetrics::default();
    if meter.is_none() && !is_served {
        return Ok(recorded);
    }
    let mut others = FanoutBuilder::default();
    if let Some(meter) = meter {
        recorded.tables.export(&meter);
        others = others.add_recorder(OtlpRecorder::new(meter));
    }
    if is_served {
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS_MS).map_err(|e| {
            TxnLogError::new(ErrorKind::Internal, "the buckets of the metrics cannot be set").with_source(e)
        })?;
        let prometheus = builder.build_recorder();
        recorded.text = Some(MetricsText { tables: recorded.tables.clone(), others: prometheus.handle() });
        others = others.add_recorder(prometheus);
    }
    let recorder = ProcessRecorder { tables: recorded.tables.clone(), others: others.build() };
    metrics::set_global_recorder(recorder)
        .map_err(|e| TxnLogError::new(ErrorKind::Internal, format!("the metrics cannot be recorded: {e}")))?;
    metric::describe();
    Ok(recorded)
}

/// Keeps the gauges of tables, and passes everything else to the exporters.
struct ProcessRecorder {
    tables: TableGauges,
    others: Fanout,
}

impl Recorder for ProcessRecorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, meaning: SharedString) {
        self.others.describe_counter(name, unit, meaning);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, meaning: SharedString) {
        self.others.describe_gauge(name, unit, meaning);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, meaning: SharedString) {
        self.others.describe_histogram(name, unit, meaning);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.others.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.tables.register(key).unwrap_or_else(|| self.others.register_gauge(key, metadata))
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.others.register_histogram(key, metadata)
    }
}
