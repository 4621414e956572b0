//! One operation on a table: it is run, published, and its result is printed.

use std::fmt;
use std::sync::Arc;

use deltalakedb_log::action::Action;
use deltalakedb_log::{Catalog, Result, TableEntry, TableRef};
use deltalakedb_table::{DeltaTable, Operation, OperationResult, PendingWrite};
use serde_json::{Value, json};

use crate::args::Format;
use crate::context::CommandContext;
use crate::exit::ExitStatus;
use crate::report::{byte_count, counted, entry_json, iso};

/// Runs an operation on a table, or describes its commit with `dry_run`. `says` turns its metrics into a message, or
/// the reason why nothing was committed.
pub(crate) async fn run(
    s: &CommandContext,
    name: &str,
    operation: Operation,
    dry_run: bool,
    says: impl FnOnce(&TableEntry, &OperationResult) -> String,
) -> Result<ExitStatus> {
    let (catalog, entry) = s.table(name).await?;
    run_on(s, catalog, entry, operation, dry_run, says).await
}

/// Runs an operation on a resolved table.
pub(crate) async fn run_on(
    s: &CommandContext,
    catalog: Arc<dyn Catalog>,
    entry: TableEntry,
    operation: Operation,
    dry_run: bool,
    says: impl FnOnce(&TableEntry, &OperationResult) -> String,
) -> Result<ExitStatus> {
    let table = DeltaTable::open_in(catalog.clone(), &TableRef::Id(entry.id)).await?;
    let working = s.working(format!("changing {}", entry.name));
    if dry_run {
        let pending = table.prepare(operation, &s.write_options()).await?;
        drop(working);
        return describe(s, &entry, pending).await;
    }
    let finished = table.run(operation, &s.write_options()).await?;
    drop(working);
    let sentence = says(&entry, &finished);
    report(s, &catalog, entry, &finished, &sentence).await
}

/// Prints which files a commit would remove and add, and discards it.
pub(crate) async fn describe(
    s: &CommandContext,
    entry: &TableEntry,
    pending: Option<PendingWrite>,
) -> Result<ExitStatus> {
    let (mut added, mut removed) = (FileCount::default(), FileCount::default());
    if let Some(pending) = pending {
        for action in pending.request().actions() {
            match action {
                Action::Add(add) => added.count(add.size),
                Action::Remove(remove) => removed.count(remove.size.unwrap_or_default()),
                _ => {}
            }
        }
        pending.discard().await;
    }
    let mut out = s.output();
    if out.format() == Format::Table {
        out.say(&format!("{}: {removed} would be removed and {added} added: nothing was committed", entry.name))?;
        return Ok(ExitStatus::Success);
    }
    let mut document = entry_json(entry);
    document["committed"] = false.into();
    document["dryRun"] = true.into();
    document["metrics"] = json!({
        "num_added_files": added.files,
        "num_added_bytes": added.bytes,
        "num_removed_files": removed.files,
        "num_removed_bytes": removed.bytes,
    });
    out.document(&document)?;
    Ok(ExitStatus::Success)
}

#[derive(Default)]
struct FileCount {
    files: u64,
    bytes: u64,
}

impl FileCount {
    fn count(&mut self, size: i64) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size.unsigned_abs());
    }
}

impl fmt::Display for FileCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", counted(self.files, "file"))?;
        if self.files == 0 { Ok(()) } else { write!(f, " of {}", byte_count(self.bytes)) }
    }
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
