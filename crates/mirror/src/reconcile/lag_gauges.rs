//! The gauges of how far each table is behind: set at every search, and 0 once a table is no longer behind.

use std::collections::HashMap;

use deltalakedb_log::{TableBehind, TableEntry, TableId, TableName, metric};

/// The tables whose gauge is not 0.
#[derive(Debug, Default)]
pub(super) struct LagGauges(HashMap<TableId, TableName>);

impl LagGauges {
    /// Sets the gauges of the tables that a search has found, and those of the others to 0.
    pub(super) fn note_behind(&mut self, found: &[TableBehind], now_ms: i64) {
        let behind = found.iter().map(|behind| (behind.table.id, behind.table.name.clone()));
        let before = std::mem::replace(&mut self.0, behind.collect());
        for (table, name) in before {
            // After a rename this is the gauge with the old name.
            if self.0.get(&table) != Some(&name) {
                metric::MIRROR_LAG.set_for(&name, 0.0);
            }
        }
        for behind in found {
            metric::MIRROR_LAG.set_for(&behind.table.name, behind.lag_ms(now_ms) as f64 / 1_000.0);
        }
    }

    /// Records that a table was published. If it is behind again, the next search sets its gauge.
    pub(super) fn note_published(&mut self, table: &TableEntry) {
        if let Some(name) = self.0.remove(&table.id) {
            metric::MIRROR_LAG.set_for(&name, 0.0);
        }
    }
}
