//! `dl mirror`: status, checkpoints and repair.

use deltalakedb_log::Result;
use deltalakedb_mirror::Mirror;
use futures::TryStreamExt;
use serde_json::json;

use crate::alarm::alarm_of;
use crate::args::Format;
use crate::context::CommandContext;
use crate::exit::ExitStatus;
use crate::output::warn;
use crate::report::{duration, entry_json, iso};

pub(crate) async fn status(s: &CommandContext, check: bool) -> Result<ExitStatus> {
    let catalog = s.catalog(false).await?;
    let mut status = Mirror::new(catalog, s.clock.clone()).status();
    let mut out = s.output();
    let people = out.format() == Format::Table;
    let mut columns = vec!["name", "version", "publishedVersion", "behind"];
    columns.extend(if people { ["lag", "mirror", "lastError"] } else { ["lagSeconds", "mirror", "failures"] });
    let mut listing = out.listing(columns.iter().map(|c| c.to_string()).collect());
    let mut alarms = Vec::new();
    while let Some(t) = status.try_next().await? {
        let mut all = entry_json(&t.table);
        all["behind"] = t.behind.into();
        all["lag"] = duration(u64::try_from(t.lag_ms).unwrap_or_default()).into();
        all["lagSeconds"] = json!(t.lag_ms as f64 / 1000.0);
        all["lastError"] = t.failures.last().map(|f| f.error.clone()).into();
        let failure = |f: &deltalakedb_log::MirrorFailure| json!({"version": f.version, "artifact": f.artifact.as_str(), "attempts": f.attempts, "error": f.error, "failedAt": iso(f.failed_at)});
        all["failures"] = t.failures.iter().map(failure).collect();
        listing.row(columns.iter().map(|c| all[*c].clone()).collect())?;
        alarms.extend(alarm_of(&t, s.settings.lag_alert));
    }
    listing.end()?;
    if check && !alarms.is_empty() {
        alarms.iter().for_each(|alarm| warn(&alarm.message));
        return Ok(ExitStatus::Found);
    }
    Ok(ExitStatus::Success)
}

pub(crate) async fn checkpoint(s: &CommandContext, name: &str) -> Result<ExitStatus> {
    let (catalog, entry) = s.table(name).await?;
    let working = s.working(format!("writing a checkpoint of {}", entry.name));
    let result = s.mirror(&catalog).checkpoint(entry.id).await?;
    drop(working);
    let mut out = s.output();
    match out.format() {
        Format::Table => out.say(&result.to_string())?,
        _ => out.document(&json!({
            "name": result.table.to_string(),
            "version": result.version,
            "file": result.file,
            "bytes": result.size,
            "files": result.files,
            "tombstones": result.tombstones,
            "isLast": result.is_last,
        }))?,
    }
    Ok(ExitStatus::Success)
}

pub(crate) async fn repair(s: &CommandContext, name: &str) -> Result<ExitStatus> {
    let (catalog, entry) = s.table(name).await?;
    let working = s.working(format!("repairing {}", entry.name));
    let result = s.mirror(&catalog).repair(entry.id).await?;
    drop(working);
    let mut out = s.output();
    match out.format() {
        Format::Table => out.say(&result.to_string())?,
        _ => out.document(&json!({
            "name": result.table.to_string(),
            "versions": result.versions,
            "truncated": result.truncated,
            "checkpoint": result.checkpoint,
            "checkpoints": result.checkpoints,
            "checksums": result.checksums,
            "hint": result.hint,
        }))?,
    }
    Ok(ExitStatus::Success)
}

pub(crate) async fn keep_ours(s: &CommandContext, name: &str) -> Result<ExitStatus> {
    let (catalog, entry) = s.table(name).await?;
    let result = s.mirror(&catalog).keep_ours(entry.id).await?;
    result.published.warnings.iter().for_each(|warning| warn(&format!("warning: {warning}")));
    let mut out = s.output();
    match out.format() {
        Format::Table => out.say(&result.to_string())?,
        _ => out.document(&json!({
            "name": result.table.to_string(),
            "folder": result.folder,
            "setAside": result.set_aside,
            "versions": result.repaired.versions,
            "publishedVersion": result.published.version,
        }))?,
    }
    Ok(ExitStatus::Success)
}
