//! The status of mirrors.

use deltalakedb_log::listing::tables;
use deltalakedb_log::{At, MirrorFailure, Result, TableEntry};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use crate::mirror::Mirror;

/// The status of a table's mirror.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// The table.
    pub table: TableEntry,
    /// The number of committed versions that are not published.
    pub behind: u64,
    /// Milliseconds since the oldest of them was committed; 0 if there is none.
    pub lag_ms: i64,
    /// The recorded failures.
    pub failures: Vec<MirrorFailure>,
    /// Why its log is lost, if a [`crate::Reconciler`] of this process has found it empty: one sentence.
    pub lost: Option<String>,
}

impl Mirror {
    /// The status of every table's mirror, ordered by table name.
    pub fn status(&self) -> BoxStream<'static, Result<Status>> {
        let mirror = self.clone();
        let status = move |table| {
            let mirror = mirror.clone();
            async move { mirror.status_of(table).await }
        };
        tables(self.catalog.clone(), None).and_then(status).boxed()
    }

    /// The status of one table's mirror.
    pub async fn status_of(&self, mut table: TableEntry) -> Result<Status> {
        table.published_version = table.published_version.max(self.unsettled(table.id));
        let (behind, lag_ms) = match table.oldest_unpublished() {
            None => (0, 0),
            Some(next) => {
                let oldest = self.catalog.reader(table.id).snapshot(At::Version(next)).await?;
                (table.current_version + 1 - next, (self.clock.now_ms() - oldest.head.timestamp).max(0))
            }
        };
        let failures = self.catalog.mirror_failures(table.id).await?;
        let lost = self.shared.lost.lock().get(&table.id).cloned();
        Ok(Status { table, behind, lag_ms, failures, lost })
    }
}
