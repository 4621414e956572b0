//! `dl mirror duckdb`, and the refreshes of `dl mirror run`.

use std::collections::HashSet;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use deltalakedb_log::{Catalog, ErrorKind, Result, TxnLogError};
use deltalakedb_table::{DuckDbMirror, DuckDbRefresh};
use serde_json::json;

use crate::args::Format;
use crate::context::CommandContext;
use crate::exit::ExitStatus;
use crate::output::warn;

/// The pause between two refreshes, each of which lists the tables of the catalog.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause after a refresh that failed, for one table at least: it reads again what it could not show.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(10);

pub(crate) async fn refresh(s: &CommandContext, file: &Path) -> Result<ExitStatus> {
    let working = s.working(format!("refreshing {}", file.display()));
    let refreshed = DuckDbMirror::new(s.catalog(false).await?, file)?.refresh().await?;
    drop(working);
    let mut out = s.output();
    match out.format() {
        Format::Table => out.say(&format!("{}: {refreshed}", file.display()))?,
        _ => out.document(&json!({
            "file": file.display().to_string(),
            "changed": refreshed.changed.iter().map(|(name, version)| {
                json!({"name": name.to_string(), "version": version})
            }).collect::<Vec<_>>(),
            "removed": refreshed.removed.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "unchanged": refreshed.unchanged,
            "leftOut": refreshed.left_out.iter().map(|(name, e)| {
                json!({"name": name.to_string(), "problem": e.to_string()})
            }).collect::<Vec<_>>(),
        }))?,
    }
    warn_of_left_out(&refreshed);
    // A table that cannot have a view gives a warning; one that failed for another reason is an error.
    match refreshed.left_out.into_iter().find(|(_, e)| e.kind() != ErrorKind::Invalid) {
        Some((name, e)) => {
            Err(TxnLogError::new(e.kind(), format!("the view of {name} could not be refreshed")).with_source(e))
        }
        None => Ok(ExitStatus::Success),
    }
}

/// Refreshes the database of the setting `mirror.duckdb`, again and again. A failure is reported when it begins.
pub(crate) async fn keep(s: &CommandContext, catalog: &Arc<dyn Catalog>) -> Result<Infallible> {
    let Some(file) = &s.settings.duckdb_mirror else { return std::future::pending().await };
    let mut mirror = DuckDbMirror::new(catalog.clone(), file)?;
    let mut reported = HashSet::new();
    loop {
        let mut now = HashSet::new();
        let (mut has_failed, mut is_skipped) = (true, false);
        match mirror.refresh().await {
            Ok(refreshed) => {
                is_skipped = refreshed.is_skipped;
                has_failed = refreshed.left_out.iter().any(|(_, e)| e.kind() != ErrorKind::Invalid);
                now.extend(refreshed.left_out.iter().map(|(name, e)| left_out(&name.to_string(), e)));
            }
            Err(e) => {
                now.insert(format!("warning: {} was not refreshed: {e}", file.display()));
            }
        }
        now.difference(&reported).for_each(|what| warn(what));
        if !is_skipped {
            reported = now;
        }
        s.clock.sleep(if has_failed { PAUSE_AFTER_FAILURE } else { PAUSE }).await;
    }
}

/// Tells which tables have no current view.
pub(crate) fn warn_of_left_out(refreshed: &DuckDbRefresh) {
    for (name, e) in &refreshed.left_out {
        warn(&left_out(&name.to_string(), e));
    }
}

fn left_out(name: &str, e: &TxnLogError) -> String {
    format!("warning: {name} has no current view in DuckDB: {e}")
}
