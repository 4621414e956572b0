//! One event for each commit, for the log of the program.

use std::time::Duration;

use deltalakedb_log::commit::{CommitRequest, Committed};
use deltalakedb_log::{Action, Catalog, TableId, TableRef};

/// The target of the events.
const TARGET: &str = "deltalakedb::commit";

/// Logs one event for each table of a transaction that was committed.
pub(crate) async fn log_commit(
    catalog: &dyn Catalog,
    requests: &[CommitRequest],
    committed: &[Committed],
    took: Duration,
) {
    if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
        return;
    }
    let written: Vec<_> = requests.iter().filter(|request| request.writes()).collect();
    for (request, commit) in written.into_iter().zip(committed) {
        let table = name_of(catalog, commit.table).await;
        let changes = Changes::of(request.actions());
        tracing::info!(
            target: TARGET,
            table,
            version = commit.version,
            operation = changes.operation,
            adds = changes.adds,
            removes = changes.removes,
            bytes = changes.bytes,
            milliseconds = took.as_secs_f64() * 1_000.0,
            group = committed.len(),
            "committed"
        );
    }
}

/// The name of a table, or else its id.
async fn name_of(catalog: &dyn Catalog, table: TableId) -> String {
    match catalog.find(&TableRef::Id(table)).await {
        Ok(Some(entry)) => entry.name.to_string(),
        _ => table.to_string(),
    }
}

/// What a commit changes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    operation: String,
    adds: u64,
    removes: u64,
    /// The size of the added files.
    bytes: i64,
}

impl Changes {
    fn of(actions: &[Action]) -> Self {
        let mut changes = Self::default();
        for action in actions {
            match action {
                Action::CommitInfo(info) => changes.operation = info.operation().unwrap_or_default(),
                Action::Add(add) => {
                    changes.adds += 1;
                    changes.bytes = changes.bytes.saturating_add(add.size);
                }
                Action::Remove(_) => changes.removes += 1,
                _ => {}
            }
        }
        changes
    }
}
