//! Holds of versions in memory.

use super::*;
use crate::holds::{MAX_REMOVED, VersionHolds};

impl MemoryTable {
    /// The holds that have not ended, the oldest version first.
    pub(super) fn current_holds(&self, now_ms: i64) -> Vec<Hold> {
        let mut holds: Vec<_> = self.holds.iter().filter(|hold| hold.until_ms > now_ms).cloned().collect();
        holds.sort_by_key(|hold| (hold.version, hold.until_ms, hold.id));
        holds
    }

    fn remove_ended_holds(&mut self, now_ms: i64) {
        let mut left = MAX_REMOVED;
        self.holds.retain(|hold| {
            let is_removed = hold.until_ms <= now_ms && left > 0;
            left -= usize::from(is_removed);
            !is_removed
        });
    }
}

#[async_trait]
impl VersionHolds for MemoryCatalog {
    async fn hold(&self, table: TableId, version: Version, until_ms: i64, holder: &str) -> Result<Hold> {
        let (now_ms, id) = (self.clock.now_ms(), self.clock.new_uuid());
        self.with(table, |t| {
            let hold = Hold { id, table, version, until_ms, holder: holder.into() };
            hold.check(&t.entry(table).ok_or_else(|| no_table(table, DESCRIPTION, None))?, now_ms)?;
            t.remove_ended_holds(now_ms);
            t.holds.push(hold.clone());
            Ok(hold)
        })
    }

    async fn renew_hold(&self, hold: &Hold, until_ms: i64) -> Result<Hold> {
        let now_ms = self.clock.now_ms();
        let renewed = Hold { until_ms, ..hold.clone() };
        renewed.check_until(now_ms)?;
        self.with(hold.table, |t| {
            let stored = t.holds.iter_mut().find(|stored| stored.id == hold.id && stored.until_ms > now_ms);
            stored.ok_or_else(|| hold.has_ended())?.until_ms = until_ms;
            Ok(renewed)
        })
    }

    async fn release_hold(&self, hold: &Hold) -> Result<()> {
        if let Some(table) = self.tables.lock().get_mut(&hold.table) {
            table.holds.retain(|stored| stored.id != hold.id);
        }
        Ok(())
    }

    async fn holds(&self, table: TableId) -> Result<Vec<Hold>> {
        let (now_ms, tables) = (self.clock.now_ms(), self.tables.lock());
        Ok(tables.get(&table).map(|t| t.current_holds(now_ms)).unwrap_or_default())
    }

    async fn remove_ended_holds(&self, table: TableId) -> Result<()> {
        let now_ms = self.clock.now_ms();
        if let Some(table) = self.tables.lock().get_mut(&table) {
            table.remove_ended_holds(now_ms);
        }
        Ok(())
    }
}
