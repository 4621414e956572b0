//! The gauges of tables. A recorder keeps a gauge until the process ends; these are removed when their table was dropped
//! or renamed, so they are kept here, and exporters read them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use deltalakedb_log::metric::{METRICS, Metric};
use deltalakedb_log::{Catalog, Result, listing};
use futures::TryStreamExt;
use metrics::{Gauge, GaugeFn, Key};
use metrics_exporter_prometheus::formatting::sanitize_label_value;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The label of metrics of tables.
const LABEL: &str = "table";
/// The pause between two looks at the tables of the catalog, if they are fast, and how much longer than a look it is.
const PAUSE: Duration = Duration::from_secs(10);
const PAUSE_SHARE: u32 = 9;

/// The values, by metric and table.
#[derive(Clone, Debug, Default)]
pub(crate) struct TableGauges(Arc<Mutex<BTreeMap<&'static str, BTreeMap<String, f64>>>>);

impl TableGauges {
    /// The gauge with this key; `None` if it is not that of a table.
    pub(crate) fn register(&self, key: &Key) -> Option<Gauge> {
        let metric = gauges_of_tables().find(|metric| metric.name() == key.name())?.name();
        let table = key.labels().find(|label| label.key() == LABEL)?.value().to_string();
        Some(Gauge::from_arc(Arc::new(TableGauge { all: self.clone(), metric, table })))
    }

    /// Exports them with OpenTelemetry: an export has those that exist at its time.
    pub(crate) fn export(&self, meter: &Meter) {
        for metric in gauges_of_tables() {
            let (all, gauge) = (self.clone(), meter.f64_observable_gauge(metric.name()));
            let gauge = gauge.with_description(metric.meaning()).with_unit(metric.unit());
            let gauge = gauge.with_callback(move |instrument| {
                for (table, value) in all.values(metric) {
                    instrument.observe(value, &[KeyValue::new(LABEL, table)]);
                }
            });
            // The meter keeps the callback.
            gauge.build();
        }
    }

    /// As Prometheus text.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        for metric in gauges_of_tables() {
            let (name, values) = (metric.name(), self.values(metric));
            if values.is_empty() {
                continue;
            }
            text.push_str(&format!("# HELP {name} {}\n# TYPE {name} gauge\n", metric.meaning()));
            for (table, value) in values {
                text.push_str(&format!("{name}{{{LABEL}=\"{}\"}} {value}\n", sanitize_label_value(&table)));
            }
            text.push('\n');
        }
        text
    }

    /// Removes those of tables that are not in the catalog, again and again. Never ends.
    pub(crate) async fn keep(&self, catalog: &Arc<dyn Catalog>) -> Result<Infallible> {
        loop {
            let began = Instant::now();
            if let Err(e) = self.remove_gone(catalog).await {
                tracing::debug!(error = %e, "whether tables of the metrics were dropped is unknown");
            }
            tokio::time::sleep(PAUSE.max(began.elapsed() * PAUSE_SHARE)).await;
        }
    }

    async fn remove_gone(&self, catalog: &Arc<dyn Catalog>) -> Result<()> {
        // The tables are listed afterwards: one that is created in between is not among these.
        let mut gone: BTreeSet<String> = self.0.lock().values().flat_map(BTreeMap::keys).cloned().collect();
        let mut tables = listing::tables(catalog.clone(), None);
        while !gone.is_empty()
            && let Some(table) = tables.try_next().await?
        {
            gone.remove(&table.name.to_string());
        }
        self.remove(&gone);
        Ok(())
    }

    fn remove(&self, gone: &BTreeSet<String>) {
        self.0.lock().values_mut().for_each(|values| values.retain(|table, _| !gone.contains(table)));
    }

    fn values(&self, metric: Metric) -> Vec<(String, f64)> {
        let all = self.0.lock();
        all.get(metric.name()).into_iter().flatten().map(|(table, value)| (table.clone(), *value)).collect()
    }
}

/// Counters of tables are not among them: a sum over all tables must not decrease.
fn gauges_of_tables() -> impl Iterator<Item = Metric> {
    METRICS.into_iter().filter(|metric| metric.is_gauge() && metric.label() == Some(LABEL))
}

/// One of them.
struct TableGauge {
    all: TableGauges,
    metric: &'static str,
    table: String,
}

impl TableGauge {
    fn change(&self, new: impl FnOnce(f64) -> f64) {
        let mut all = self.all.0.lock();
        let value = all.entry(self.metric).or_default().entry(self.table.clone()).or_default();
        *value = new(*value);
    }
}

impl GaugeFn for TableGauge {
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

#[cfg(test)]
mod tests {
    use metrics::Label;

    use super::*;

    fn key(name: &'static str, label: &'static str, value: &'static str) -> Key {
        Key::from_parts(name, vec![Label::new(label, value)])
    }

    #[test]
    fn the_gauges_of_tables_are_kept_and_removed() {
        let all = TableGauges::default();
        let set = |name, table, value: f64| all.register(&key(name, "table", table)).unwrap().set(value);
        set("deltalakedb_files_active", "default.a", 1.0);
        set("deltalakedb_files_active", "default.\"b", 2.5);
        set("deltalakedb_mirror_lag_seconds", "default.a", 0.0);
        let lines = |text: String| {
            let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("# HELP"));
            lines.map(String::from).collect::<Vec<_>>()
        };
        let before = [
            "# TYPE deltalakedb_mirror_lag_seconds gauge",
            "deltalakedb_mirror_lag_seconds{table=\"default.a\"} 0",
            "# TYPE deltalakedb_files_active gauge",
            "deltalakedb_files_active{table=\"default.\\\"b\"} 2.5",
            "deltalakedb_files_active{table=\"default.a\"} 1",
        ];
        assert_eq!(lines(all.render()), before);
        all.remove(&BTreeSet::from(["default.a".to_string(), "default.c".to_string()]));
        assert_eq!(lines(all.render()), before[2..4]);
    }

    #[test]
    fn other_metrics_are_not_gauges_of_tables() {
        let all = TableGauges::default();
        for other in [
            key("deltalakedb_mirror_failures_total", "table", "default.a"),
            key("deltalakedb_catalog_connections", "pool", "postgres.readers"),
            key("deltalakedb_commit_queue_length", "pool", "a"),
            key("another", "table", "default.a"),
        ] {
            assert!(all.register(&other).is_none(), "{other}");
        }
        assert_eq!(all.render(), "");
    }
}
