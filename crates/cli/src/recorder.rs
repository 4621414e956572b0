//! The recorders of the process: what the crates record through the facade `metrics` goes to each of them.

use std::sync::Arc;

use deltalakedb_log::{ErrorKind, Result, TxnLogError, metric};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use parking_lot::RwLock;

/// The facade takes one recorder for the life of the process; this list may grow.
static RECORDERS: RwLock<Vec<Box<dyn Recorder + Send + Sync>>> = RwLock::new(Vec::new());

/// Adds a recorder. It gets everything that is recorded from now on.
pub(crate) fn add(recorder: impl Recorder + Send + Sync + 'static) -> Result<()> {
    let is_first = {
        let mut recorders = RECORDERS.write();
        recorders.push(Box::new(recorder));
        recorders.len() == 1
    };
    if is_first {
        metrics::set_global_recorder(AllRecorders)
            .map_err(|e| TxnLogError::new(ErrorKind::Internal, "the metrics cannot be recorded").with_source(e))?;
    }
    metric::describe();
    Ok(())
}

/// Passes everything to each of [`RECORDERS`].
struct AllRecorders;

impl Recorder for AllRecorders {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, meaning: SharedString) {
        RECORDERS.read().iter().for_each(|one| one.describe_counter(name.clone(), unit, meaning.clone()));
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, meaning: SharedString) {
        RECORDERS.read().iter().for_each(|one| one.describe_gauge(name.clone(), unit, meaning.clone()));
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, meaning: SharedString) {
        RECORDERS.read().iter().for_each(|one| one.describe_histogram(name.clone(), unit, meaning.clone()));
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        let all: Vec<_> = RECORDERS.read().iter().map(|one| one.register_counter(key, metadata)).collect();
        Counter::from_arc(Arc::new(Each(all)))
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        let all: Vec<_> = RECORDERS.read().iter().map(|one| one.register_gauge(key, metadata)).collect();
        Gauge::from_arc(Arc::new(Each(all)))
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        let all: Vec<_> = RECORDERS.read().iter().map(|one| one.register_histogram(key, metadata)).collect();
        Histogram::from_arc(Arc::new(Each(all)))
    }
}

/// The same metric in each recorder.
struct Each<T>(Vec<T>);

impl CounterFn for Each<Counter> {
    fn increment(&self, value: u64) {
        self.0.iter().for_each(|one| one.increment(value));
    }

    fn absolute(&self, value: u64) {
        self.0.iter().for_each(|one| one.absolute(value));
    }
}

impl GaugeFn for Each<Gauge> {
    fn increment(&self, value: f64) {
        self.0.iter().for_each(|one| one.increment(value));
    }

    fn decrement(&self, value: f64) {
        self.0.iter().for_each(|one| one.decrement(value));
    }

    fn set(&self, value: f64) {
        self.0.iter().for_each(|one| one.set(value));
    }
}

impl HistogramFn for Each<Histogram> {
    fn record(&self, value: f64) {
        self.0.iter().for_each(|one| one.record(value));
    }
}
