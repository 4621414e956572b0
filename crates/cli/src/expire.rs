//! Ending history.

use std::time::Duration;

use deltalakedb_log::{Result, Retention, TxnLogError};
use deltalakedb_mirror::{ExpireOptions, ExpiredHistory, ExpiryStep};
use deltalakedb_table::duration_ms;
use futures::TryStreamExt;
use serde_json::{Value, json};

use crate::Ended;
use crate::args::{ExpireArgs, Format};
use crate::commands::{Session, counted};

pub(crate) const COLUMNS: [&str; 5] = ["name", "baseVersion", "versionsEnded", "logFilesRemoved", "result"];

pub(crate) async fn run(s: &Session, args: ExpireArgs) -> Result<Ended> {
    let options = options(s, &args)?;
    let Some(name) = args.name.as_deref() else { return all(s, &options).await };
    let (catalog, entry) = s.table(name).await?;
    let expired = s.mirror(&catalog)?.expire(entry.id, &options).await?;
    let mut out = s.output();
    match out.format() {
        Format::Table => out.say(&said(&expired, options.dry_run))?,
        _ => out.document(&described(&expired))?,
    }
    Ok(Ended::Done)
}

fn options(s: &Session, args: &ExpireArgs) -> Result<ExpireOptions> {
    let time = args.keep.as_deref().map(|text| {
        let ms = duration_ms(text).and_then(|ms| u64::try_from(ms).ok());
        let wrong = || TxnLogError::invalid(format!("--keep takes a length of time such as 30d or 12h, not {text:?}"));
        ms.map(Duration::from_millis).ok_or_else(wrong)
    });
    Ok(ExpireOptions {
        keep: Retention { time: time.transpose()?, versions: args.keep_versions.map(|n| n.get()) },
        default: s.settings.retention()?,
        at_most: None,
        dry_run: args.dry_run,
        committer: s.write_options()?.committer(),
    })
}

async fn all(s: &Session, options: &ExpireOptions) -> Result<Ended> {
    let catalog = s.catalog(false).await?;
    let mut steps = s.mirror(&catalog)?.expire_all(options);
    let mut out = s.output();
    let mut listing = out.listing(COLUMNS.map(String::from).into());
    let (mut tables, mut failed) = (0, Vec::new());
    while let Some(step) = steps.try_next().await? {
        let Some(row) = row_of_step(&step, options.dry_run) else { continue };
        tables += 1;
        listing.row(row)?;
        failed.extend(failure(&step).map(TxnLogError::kind));
    }
    listing.end()?;
    match failed.first() {
        None => Ok(Ended::Done),
        Some(first) => {
            let message = format!("the history of {} of {tables} tables could not end", failed.len());
            Err(TxnLogError::new(*first, message))
        }
    }
}

fn failure(step: &ExpiryStep) -> Option<&TxnLogError> {
    match step {
        ExpiryStep::History(_, result) => result.as_ref().err(),
        ExpiryStep::Table(_, result) => result.as_ref().err(),
        ExpiryStep::Audit { .. } => None,
    }
}

/// Whether something has ended, or failed.
pub(crate) fn is_news(step: &ExpiryStep) -> bool {
    match step {
        ExpiryStep::History(_, Ok(expired)) => expired.versions > 0,
        step => failure(step).is_some() || matches!(step, ExpiryStep::Table(..)),
    }
}

/// The row of a listing for a step; `None` where there is nothing to say yet.
pub(crate) fn row_of_step(step: &ExpiryStep, dry_run: bool) -> Option<Vec<Value>> {
    let (mut row, result) = match step {
        ExpiryStep::History(_, Ok(expired)) => (described(expired), said(expired, dry_run)),
        ExpiryStep::History(entry, Err(e)) => {
            (json!({"name": entry.name.to_string(), "baseVersion": entry.base_version}), e.to_string())
        }
        ExpiryStep::Table(table, result) => {
            let what = match result {
                Ok(_) if dry_run => {
                    format!("its retention is over: what the catalog has of {} would be removed", table.name)
                }
                Ok(removed) if removed.is_done => {
                    format!("its retention is over: what the catalog had of {} is removed", table.name)
                }
                Ok(_) => return None,
                Err(e) => e.to_string(),
            };
            (json!({"name": table.name.to_string()}), what)
        }
        ExpiryStep::Audit { .. } => return None,
    };
    row["result"] = result.into();
    Some(COLUMNS.iter().map(|column| row[*column].clone()).collect())
}

fn described(expired: &ExpiredHistory) -> Value {
    json!({
        "name": expired.table.to_string(),
        "baseVersion": expired.base_version,
        "versionsEnded": expired.versions,
        "filesEnded": expired.files,
        "logFilesRemoved": expired.log_files,
    })
}

fn said(expired: &ExpiredHistory, dry_run: bool) -> String {
    let (name, base) = (&expired.table, expired.base_version);
    let versions = counted(expired.versions, "version");
    match (expired.versions, dry_run) {
        (0, _) => format!("every version of {name} is still needed: its history begins at version {base}"),
        (_, true) => format!("{versions} of {name} would end: its history would begin at version {base}"),
        (_, false) => format!("{versions} of {name} ended: its history begins at version {base}"),
    }
}
