//! Leaves the gauges of tables that were dropped or renamed out of the served metrics: a recorder keeps them until the
//! process ends.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use deltalakedb_log::metric::METRICS;
use deltalakedb_log::{Catalog, Result, listing};
use futures::TryStreamExt;
use metrics_exporter_prometheus::PrometheusHandle;
use metrics_exporter_prometheus::formatting::sanitize_label_value;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The pause between two looks at the tables of the catalog, if they are fast, and how much longer than a look it is.
const PAUSE: Duration = Duration::from_secs(10);
const PAUSE_SHARE: u32 = 9;

/// The tables that have gauges and are not in the catalog, as their labels are written.
#[derive(Debug, Default)]
pub(crate) struct GoneTables(Mutex<BTreeSet<String>>);

impl GoneTables {
    /// Looks for them again and again. Never ends.
    pub(crate) async fn keep(&self, catalog: &Arc<dyn Catalog>, metrics: &PrometheusHandle) -> Result<Infallible> {
        loop {
            let began = Instant::now();
            if let Err(e) = self.look(catalog, metrics).await {
                tracing::debug!(error = %e, "whether tables of the metrics were dropped is unknown");
            }
            tokio::time::sleep(PAUSE.max(began.elapsed() * PAUSE_SHARE)).await;
        }
    }

    async fn look(&self, catalog: &Arc<dyn Catalog>, metrics: &PrometheusHandle) -> Result<()> {
        // The tables are listed afterwards: one that is created in between has no gauge here.
        let text = metrics.render();
        let mut gone: BTreeSet<String> = text.lines().filter_map(table_of_gauge).map(String::from).collect();
        let mut tables = listing::tables(catalog.clone(), None);
        while !gone.is_empty()
            && let Some(table) = tables.try_next().await?
        {
            gone.remove(&sanitize_label_value(&table.name.to_string()));
        }
        *self.0.lock() = gone;
        Ok(())
    }

    /// The text without the gauges of these tables.
    pub(crate) fn without_them(&self, text: String) -> String {
        let gone = self.0.lock();
        if gone.is_empty() {
            return text;
        }
        let stays = |line: &&str| table_of_gauge(line).is_none_or(|table| !gone.contains(table));
        text.split_inclusive('\n').filter(stays).collect()
    }
}

/// The table of a line with the gauge of a table, as it is written there. Counters are kept: a sum over all tables must
/// not decrease.
fn table_of_gauge(line: &str) -> Option<&str> {
    let (name, rest) = line.split_once("{table=\"")?;
    let is_gauge = !name.ends_with("_total") && METRICS.iter().any(|metric| metric.name() == name);
    // The value of a gauge is a number, so this is the end of the label.
    rest.rsplit_once("\"}").map(|(table, _)| table).filter(|_| is_gauge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_gauges_of_these_tables_are_left_out() {
        let text = "# TYPE deltalakedb_files_active gauge\n\
                    deltalakedb_files_active{table=\"default.a\"} 1\n\
                    deltalakedb_files_active{table=\"default.\\\"b\\\\\"} 2\n\
                    deltalakedb_mirror_lag_seconds{table=\"default.a\"} 0\n\
                    deltalakedb_mirror_failures_total{table=\"default.a\"} 3\n\
                    deltalakedb_commit_queue_length 0\n";
        let tables = GoneTables::default();
        let left = |names: &[&str]| {
            *tables.0.lock() = names.iter().map(|name| sanitize_label_value(name)).collect();
            tables.without_them(text.into()).lines().map(String::from).collect::<Vec<_>>()
        };
        let all: Vec<_> = text.lines().collect();
        assert_eq!(left(&[]), all);
        assert_eq!(left(&["default.c", "1"]), all);
        assert_eq!(left(&["default.a"]), [all[0], all[2], all[4], all[5]]);
        assert_eq!(left(&["default.\"b\\"]), [all[0], all[1], all[3], all[4], all[5]]);
    }
}
