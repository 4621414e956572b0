//! The output of `dl expire` and `dl mirror run` for expired history.

use deltalakedb_log::TxnLogError;
use deltalakedb_mirror::{ExpiredHistory, ExpiryStep};
use serde_json::{Value, json};

use crate::report::counted;

pub(crate) const COLUMNS: [&str; 5] = ["name", "baseVersion", "versionsExpired", "logFilesRemoved", "result"];

pub(crate) fn failure(step: &ExpiryStep) -> Option<&TxnLogError> {
    match step {
        ExpiryStep::History(_, result) => result.as_ref().err(),
        ExpiryStep::Table(_, result) => result.as_ref().err(),
        _ => None,
    }
}

/// Whether something has expired, or failed.
pub(crate) fn is_news(step: &ExpiryStep) -> bool {
    match step {
        ExpiryStep::History(_, Ok(expired)) => expired.versions > 0,
        step => failure(step).is_some() || matches!(step, ExpiryStep::Table(..)),
    }
}

/// The row of a listing for a step; `None` if there is nothing to report yet.
pub(crate) fn row_of_step(step: &ExpiryStep, dry_run: bool) -> Option<Vec<Value>> {
    let (mut row, result) = match step {
        ExpiryStep::History(_, Ok(expired)) => (described(expired), summary_of(expired, dry_run)),
        ExpiryStep::History(entry, Err(e)) => {
            (json!({"name": entry.name.to_string(), "baseVersion": entry.base_version}), e.to_string())
        }
        ExpiryStep::Table(table, result) => {
            let what = match result {
                Ok(_) if dry_run => {
                    format!("the retention of {} is over: its rows in the catalog would be removed", table.name)
                }
                Ok(removed) if removed.is_done => {
                    format!("the retention of {} is over: its rows in the catalog were removed", table.name)
                }
                Ok(_) => return None,
                Err(e) => e.to_string(),
            };
            (json!({"name": table.name.to_string()}), what)
        }
        _ => return None,
    };
    row["result"] = result.into();
    Some(COLUMNS.iter().map(|column| row[*column].clone()).collect())
}

pub(crate) fn described(expired: &ExpiredHistory) -> Value {
    json!({
        "name": expired.table.to_string(),
        "baseVersion": expired.base_version,
        "versionsExpired": expired.versions,
        "filesExpired": expired.files,
        "logFilesRemoved": expired.log_files,
    })
}

pub(crate) fn summary_of(expired: &ExpiredHistory, dry_run: bool) -> String {
    let (name, base) = (&expired.table, expired.base_version);
    let versions = counted(expired.versions, "version");
    match (expired.versions, dry_run) {
        (0, _) => format!("every version of {name} is still needed: its history begins at version {base}"),
        (_, true) => format!("{versions} of {name} would expire: its history would begin at version {base}"),
        (_, false) => format!("{versions} of {name} expired: its history begins at version {base}"),
    }
}
