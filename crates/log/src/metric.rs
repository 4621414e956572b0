//! The metrics of all crates: names, units and meanings, in one list.
//!
//! They are recorded through the facade `metrics` where the things happen. Without a recorder, as in a program that
//! installs none, recording has no effect. [`describe`] is for the program that has one.

use std::fmt::Display;
use std::time::Duration;

use metrics::Unit;

/// How long it takes the catalog to return the head of a table: version, protocol and metadata.
pub const METADATA_OPEN_LATENCY: Histogram = Histogram(Metric {
    name: "deltalakedb_metadata_open_latency_ms",
    kind: Kind::Histogram,
    unit: Unit::Milliseconds,
    meaning: "time to read the head of a table (version, protocol, metadata) from the catalog",
    is_per: None,
});

/// How long a commit takes, from the request to the acknowledgement.
pub const COMMIT_LATENCY: Histogram = Histogram(Metric {
    name: "deltalakedb_commit_latency_ms",
    kind: Kind::Histogram,
    unit: Unit::Milliseconds,
    meaning: "time of a transaction from the commit request to the acknowledgement, waiting included",
    is_per: None,
});

/// How long a version was committed and not published.
pub const MIRROR_LATENCY: Histogram = Histogram(Metric {
    name: "deltalakedb_mirror_latency_ms",
    kind: Kind::Histogram,
    unit: Unit::Milliseconds,
    meaning: "time from the commit of a version to its publication in _delta_log",
    is_per: None,
});

/// The age of the oldest unpublished version of a table.
pub const MIRROR_LAG: Gauge = Gauge(Metric {
    name: "deltalakedb_mirror_lag_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    meaning: "age of the oldest unpublished version of a table; 0 if all are published",
    is_per: Some("table"),
});

/// Failed attempts to publish.
pub const MIRROR_FAILURES: Counter = Counter(Metric {
    name: "deltalakedb_mirror_failures_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    meaning: "failed attempts to publish a commit of a table or to write a checkpoint",
    is_per: Some("table"),
});

/// Versions that this process has committed.
pub const VERSIONS_COMMITTED: Counter = Counter(Metric {
    name: "deltalakedb_versions_committed_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    meaning: "versions of tables that this process has committed",
    is_per: None,
});

/// The number of live files of a table.
pub const FILES_ACTIVE: Gauge = Gauge(Metric {
    name: "deltalakedb_files_active",
    kind: Kind::Gauge,
    unit: Unit::Count,
    meaning: "live data files of a table at the newest version that this process has published",
    is_per: Some("table"),
});

/// The transactions in the queues of group commit.
pub const COMMIT_QUEUE_LENGTH: Gauge = Gauge(Metric {
    name: "deltalakedb_commit_queue_length",
    kind: Kind::Gauge,
    unit: Unit::Count,
    meaning: "transactions of this process that are in a queue of group commit, waiting or being committed",
    is_per: None,
});

/// The open connections to a server.
pub const CATALOG_CONNECTIONS: Gauge = Gauge(Metric {
    name: "deltalakedb_catalog_connections",
    kind: Kind::Gauge,
    unit: Unit::Count,
    meaning: "open connections of this process to a PostgreSQL catalog, by the setting for their maximum number",
    is_per: Some("pool"),
});

/// Footers of data files that a scan has found in the cache of the process.
pub const FOOTER_CACHE_HITS: Counter = Counter(Metric {
    name: "deltalakedb_footer_cache_hits_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    meaning: "footers of data files that scans of this process found in its cache",
    is_per: None,
});

/// Footers of data files that a scan had to read.
pub const FOOTER_CACHE_MISSES: Counter = Counter(Metric {
    name: "deltalakedb_footer_cache_misses_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    meaning: "footers of data files that scans of this process did not find in its cache",
    is_per: None,
});

/// The open snapshots of hot rows.
pub const HOT_SNAPSHOTS: Gauge = Gauge(Metric {
    name: "deltalakedb_hot_snapshots",
    kind: Kind::Gauge,
    unit: Unit::Count,
    meaning: "open snapshots of hot rows, of queries and transactions of this process",
    is_per: None,
});

/// The memory of recent changes of hot rows.
pub const HOT_MEMTABLES: Gauge = Gauge(Metric {
    name: "deltalakedb_hot_memtables_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    meaning: "memory of the memtables of RocksDB, at the last write of this process",
    is_per: None,
});

/// The memory of blocks of the files with hot rows.
pub const HOT_BLOCK_CACHE: Gauge = Gauge(Metric {
    name: "deltalakedb_hot_block_cache_bytes",
    kind: Kind::Gauge,
    unit: Unit::Bytes,
    meaning: "memory of the block cache of RocksDB, at the last write of this process",
    is_per: None,
});

/// All metrics.
pub const METRICS: [Metric; 14] = [
    METADATA_OPEN_LATENCY.0,
    COMMIT_LATENCY.0,
    MIRROR_LATENCY.0,
    MIRROR_LAG.0,
    MIRROR_FAILURES.0,
    VERSIONS_COMMITTED.0,
    FILES_ACTIVE.0,
    COMMIT_QUEUE_LENGTH.0,
    CATALOG_CONNECTIONS.0,
    FOOTER_CACHE_HITS.0,
    FOOTER_CACHE_MISSES.0,
    HOT_SNAPSHOTS.0,
    HOT_MEMTABLES.0,
    HOT_BLOCK_CACHE.0,
];

/// The upper bounds of the buckets of histograms, in milliseconds.
pub const BUCKETS_MS: [f64; 16] = [
    0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0, 30_000.0, 60_000.0,
];

/// A metric: its name, and what its values mean.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    name: &'static str,
    kind: Kind,
    unit: Unit,
    meaning: &'static str,
    /// The name of its label; `None` if it has one value for the whole process.
    is_per: Option<&'static str>,
}

impl Metric {
    /// The name under which it is exported.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The meaning of its values, in a few words.
    pub const fn meaning(&self) -> &'static str {
        self.meaning
    }

    /// The symbol of its unit, such as `ms`; empty for a number of things.
    pub fn unit(&self) -> &'static str {
        self.unit.as_canonical_label()
    }

    /// Whether it is a number that goes up and down.
    pub const fn is_gauge(&self) -> bool {
        matches!(self.kind, Kind::Gauge)
    }

    /// The name of its label, if it has one.
    pub const fn label(&self) -> Option<&'static str> {
        self.is_per
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A number of events since the start of the process.
#[derive(Clone, Copy, Debug)]
pub struct Counter(Metric);

impl Counter {
    /// Counts events.
    pub fn add(&self, count: u64) {
        metrics::counter!(self.0.name).increment(count);
    }

    /// Counts one event of the label's value.
    pub fn add_one_for(&self, value: &impl Display) {
        metrics::counter!(self.0.name, self.0.labels(value)).increment(1);
    }
}

/// A number that goes up and down.
#[derive(Clone, Copy, Debug)]
pub struct Gauge(Metric);

impl Gauge {
    /// Changes it by this difference.
    pub fn add(&self, difference: f64) {
        metrics::gauge!(self.0.name).increment(difference);
    }

    /// Sets it.
    pub fn set(&self, to: f64) {
        metrics::gauge!(self.0.name).set(to);
    }

    /// Sets it for the label's value.
    pub fn set_for(&self, value: &impl Display, to: f64) {
        metrics::gauge!(self.0.name, self.0.labels(value)).set(to);
    }
}

/// The distribution of durations, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Histogram(Metric);

impl Histogram {
    /// Records one duration.
    pub fn record(&self, duration: Duration) {
        metrics::histogram!(self.0.name).record(duration.as_secs_f64() * 1_000.0);
    }
}

impl Metric {
    fn labels(&self, value: &impl Display) -> Vec<metrics::Label> {
        self.is_per.map(|label| metrics::Label::new(label, value.to_string())).into_iter().collect()
    }
}

/// Describes all metrics to the recorder of the process. Those without a label exist from then on, with 0.
pub fn describe() {
    for metric in METRICS {
        let Metric { name, unit, meaning, is_per, .. } = metric;
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(name, unit, meaning),
            Kind::Gauge => metrics::describe_gauge!(name, unit, meaning),
            Kind::Histogram => metrics::describe_histogram!(name, unit, meaning),
        }
        match metric.kind {
            _ if is_per.is_some() => {}
            Kind::Counter => metrics::counter!(name).increment(0),
            Kind::Gauge => metrics::gauge!(name).increment(0.0),
            // Its registration is enough.
            Kind::Histogram => drop(metrics::histogram!(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_end_with_their_units() {
        for (n, metric) in METRICS.iter().enumerate() {
            let name = metric.name;
            assert!(name.starts_with("deltalakedb_"), "{name}");
            assert!(METRICS.iter().skip(n + 1).all(|other| other.name != name), "{name} is there twice");
            match (metric.kind, metric.unit) {
                (Kind::Counter, _) => assert!(name.ends_with("_total"), "{name}"),
                (Kind::Histogram, _) => assert!(name.ends_with("_ms"), "{name}"),
                (_, Unit::Seconds) => assert!(name.ends_with("_seconds"), "{name}"),
                (_, Unit::Bytes) => assert!(name.ends_with("_bytes"), "{name}"),
                _ => {}
            }
        }
    }
}
