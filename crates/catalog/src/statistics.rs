//! Planner statistics, for databases that need them.
//!
//! PostgreSQL collects them by itself, after about a minute. Until the first time, it scans all live files where keys
//! would find a few of them, in each commit that names some hundreds of paths.

use std::sync::atomic::{AtomicUsize, Ordering};

use deltalakedb_log::Result;

use crate::database::Database;

/// From this many actions on, statistics are worth the cost of collecting them.
pub(crate) const MANY_ACTIONS: usize = 1_000;

/// How many actions this program has committed.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    actions: AtomicUsize,
}

impl Statistics {
    /// Collects statistics if there are none yet, once many actions are committed; it checks only then.
    pub(crate) async fn after_commit(&self, db: &dyn Database, actions: usize) -> Result<()> {
        let before = self.actions.fetch_add(actions, Ordering::Relaxed);
        let are_many_now = before < MANY_ACTIONS && before.saturating_add(actions) >= MANY_ACTIONS;
        if are_many_now && !db.is_analyzed().await? {
            db.analyze().await?;
        }
        Ok(())
    }
}
