//! Passes what is recorded through the facade `metrics` to instruments of OpenTelemetry.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use deltalakedb_log::metric::{BUCKETS_MS, METRICS};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use metrics_util::registry::{Registry, Storage};
use opentelemetry::{KeyValue, metrics as otel};
use parking_lot::Mutex;

/// A recorder whose metrics are instruments of a meter.
pub(crate) struct OtlpRecorder(Registry<Key, Instruments>);

impl OtlpRecorder {
    pub(crate) fn new(meter: otel::Meter) -> Self {
        Self(Registry::new(Instruments { meter }))
    }
}

impl Recorder for OtlpRecorder {
    // Units and meanings come from the list of all metrics.
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.0.get_or_create_counter(key, |counter| Counter::from_arc(counter.clone()))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.0.get_or_create_gauge(key, |gauge| Gauge::from_arc(gauge.clone()))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.0.get_or_create_histogram(key, |histogram| Histogram::from_arc(histogram.clone()))
    }
}

/// Creates the instrument of a metric, with its labels as attributes.
struct Instruments {
    meter: otel::Meter,
}

impl Storage<Key> for Instruments {
    type Counter = Arc<ExportedCounter>;
    type Gauge = Arc<ExportedGauge>;
    type Histogram = Arc<ExportedHistogram>;

    fn counter(&self, key: &Key) -> Self::Counter {
        let Description { name, meaning, unit } = Description::of(key);
        let instrument = self.meter.u64_counter(name).with_description(meaning).with_unit(unit).build();
        Arc::new(ExportedCounter { instrument, attributes: attributes(key), total: AtomicU64::new(0) })
    }

    fn gauge(&self, key: &Key) -> Self::Gauge {
        let Description { name, meaning, unit } = Description::of(key);
        let instrument = self.meter.f64_gauge(name).with_description(meaning).with_unit(unit).build();
        Arc::new(ExportedGauge { instrument, attributes: attributes(key), value: Mutex::new(0.0) })
    }

    fn histogram(&self, key: &Key) -> Self::Histogram {
        let Description { name, meaning, unit } = Description::of(key);
        let instrument = self.meter.f64_histogram(name).with_description(meaning).with_unit(unit);
        let instrument = instrument.with_boundaries(BUCKETS_MS.to_vec()).build();
        Arc::new(ExportedHistogram { instrument, attributes: attributes(key) })
    }
}

/// What a collector is told about a metric.
struct Description {
    name: Cow<'static, str>,
    meaning: &'static str,
    unit: &'static str,
}

impl Description {
    fn of(key: &Key) -> Self {
        match METRICS.iter().find(|metric| metric.name() == key.name()) {
            Some(metric) => Self { name: metric.name().into(), meaning: metric.meaning(), unit: metric.unit() },
            // A metric of a library.
            None => Self { name: key.name().to_string().into(), meaning: "", unit: "" },
        }
    }
}

fn attributes(key: &Key) -> Vec<KeyValue> {
    key.labels().map(|label| KeyValue::new(label.key().to_string(), label.value().to_string())).collect()
}

struct ExportedCounter {
    instrument: otel::Counter<u64>,
    attributes: Vec<KeyValue>,
    total: AtomicU64,
}

impl CounterFn for ExportedCounter {
    fn increment(&self, value: u64) {
        self.total.fetch_add(value, Ordering::Relaxed);
        self.instrument.add(value, &self.attributes);
    }

    fn absolute(&self, value: u64) {
        let before = self.total.fetch_max(value, Ordering::Relaxed);
        self.instrument.add(value.saturating_sub(before), &self.attributes);
    }
}

struct ExportedGauge {
    instrument: otel::Gauge<f64>,
    attributes: Vec<KeyValue>,
    /// An instrument has no differences, only values.
    value: Mutex<f64>,
}

impl ExportedGauge {
    fn change(&self, new: impl FnOnce(f64) -> f64) {
        let mut value = self.value.lock();
        *value = new(*value);
        // Under the lock, so that the last value is recorded last.
        self.instrument.record(*value, &self.attributes);
    }
}

impl GaugeFn for ExportedGauge {
    fn increment(&self, value: f64) {
        self.change(|before| before + value);
    }

    fn decrement(&self, value: f64) {
        self.change(|before| before - value);
    }

    fn set(&self, value: f64) {
        self.change(|_| value);
    }
}

struct ExportedHistogram {
    instrument: otel::Histogram<f64>,
    attributes: Vec<KeyValue>,
}

impl HistogramFn for ExportedHistogram {
    fn record(&self, value: f64) {
        self.instrument.record(value, &self.attributes);
    }
}
