//! One operation on a table: it is run, published, and its result is printed.

use std::sync::Arc;

use deltalakedb_log::{Catalog, Result, TableEntry, TableRef};
use deltalakedb_table::{DeltaTable, Operation, OperationResult};
use serde_json::Value;

use crate::args::Format;
use crate::context::CommandContext;
use crate::exit::ExitStatus;
use crate::report::{counted, entry_json, iso};

/// Runs an operation on a table. `says` turns its metrics into a message, or the reason why nothing was
/// committed.
pub(crate) async fn run(
    s: &CommandContext,
    name: &str,
    operation: Operation,
    says: impl FnOnce(&TableEntry, &OperationResult) -> String,
) -> Result<ExitStatus> {
    let (catalog, entry) = s.table(name).await?;
    run_on(s, catalog, entry, operation, says).await
}

/// Runs an operation on a resolved table.
pub(crate) async fn run_on(
    s: &CommandContext,
    catalog: Arc<dyn Catalog>,
    entry: TableEntry,
    operation: Operation,
    says: impl FnOnce(&TableEntry, &OperationResult) -> String,
) -> Result<ExitStatus> {
    let table = DeltaTable::open_in(catalog.clone(), &TableRef::Id(entry.id)).await?;
    let finished = table.run(operation, &s.write_options()).await?;
    let sentence = says(&entry, &finished);
    report(s, &catalog, entry, &finished, &sentence).await
}

/// Publishes the commit and prints the result.
pub(crate) async fn report(
    s: &CommandContext,
    catalog: &Arc<dyn Catalog>,
    entry: TableEntry,
    finished: &OperationResult,
    sentence: &str,
) -> Result<ExitStatus> {
    let entry = match finished.committed {
        Some(_) => s.publish(catalog, &TableRef::Id(entry.id)).await?,
        None => entry,
    };
    let mut out = s.output();
    if out.format() == Format::Table {
        out.say(&match &finished.committed {
            Some(committed) => format!("{sentence}, now at version {}", committed.version),
            None => format!("{sentence}: nothing was written"),
        })?;
        return Ok(ExitStatus::Success);
    }
    let mut document = entry_json(&entry);
    if let Some(committed) = &finished.committed {
        document["version"] = committed.version.into();
        document["timestamp"] = iso(committed.timestamp).into();
    }
    document["committed"] = finished.committed.is_some().into();
    document["metrics"] = finished.metrics.clone();
    out.document(&document)?;
    Ok(ExitStatus::Success)
}

/// `1 row was`, `2 rows were`.
pub(crate) fn counted_with_verb(n: u64, what: &str) -> String {
    format!("{} {}", counted(n, what), if n == 1 { "was" } else { "were" })
}

pub(crate) fn number(metrics: &Value, name: &str) -> Option<u64> {
    metrics.get(name).and_then(Value::as_u64)
}
