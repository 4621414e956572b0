//! Statistics of the rows, for planners that need them.
//!
//! PostgreSQL collects them by itself, within a minute or so. Until it has done so for the first time, it goes through all
//! live files where keys would lead to a few of them, in each commit that names some hundreds of paths.

use std::sync::atomic::{AtomicUsize, Ordering};

use deltalakedb_log::Result;

use crate::database::Database;

/// From so many actions on, statistics are worth what it costs to collect them.
pub(crate) const MANY_ACTIONS: usize = 1_000;

/// How many actions this program has committed.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    actions: AtomicUsize,
}

impl Statistics {
    /// Collects statistics where there are none yet, once many actions are committed; it looks for them only then.
    pub(crate) async fn after_commit(&self, db: &dyn Database, actions: usize) -> Result<()> {
        let before = self.actions.fetch_add(actions, Ordering::Relaxed);
        let are_many_now = before < MANY_ACTIONS && before.saturating_add(actions) >= MANY_ACTIONS;
        if are_many_now && !db.is_analyzed().await? {
            db.analyze().await?;
        }
        Ok(())
    }
}
