//! Ending history.

use std::time::Duration;

use deltalakedb_log::{Result, Retention, TableEntry, TxnLogError};
use deltalakedb_mirror::{ExpireOptions, ExpiredHistory};
use deltalakedb_table::duration_ms;
use serde_json::{Value, json};

use crate::Ended;
use crate::args::{ExpireArgs, Format};
use crate::commands::{Session, counted};

const COLUMNS: [&str; 5] = ["name", "baseVersion", "versionsEnded", "logFilesRemoved", "result"];

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
        let wrong = || TxnLogError::invalid(format!("--keep {text:?} is no time: expected such as 30d or 12h"));
        ms.map(Duration::from_millis).ok_or_else(wrong)
    });
    Ok(ExpireOptions {
        keep: Retention { time: time.transpose()?, versions: args.keep_versions.map(|n| n.get()) },
        default: s.settings.retention()?,
        dry_run: args.dry_run,
        committer: s.write_options()?.committer,
    })
}

async fn all(s: &Session, options: &ExpireOptions) -> Result<Ended> {
    let catalog = s.catalog(false).await?;
    let results = s.mirror(&catalog)?.expire_all(options).await?;
    let mut out = s.output();
    let mut listing = out.listing(COLUMNS.map(String::from).into());
    for (entry, result) in &results {
        listing.row(row(entry, result, options.dry_run))?;
    }
    listing.end()?;
    let failed: Vec<_> = results.iter().filter_map(|(_, result)| result.as_ref().err()).collect();
    match failed.first() {
        None => Ok(Ended::Done),
        Some(first) => {
            let message = format!("the history of {} of {} tables could not end", failed.len(), results.len());
            Err(TxnLogError::new(first.kind(), message))
        }
    }
}

fn row(entry: &TableEntry, result: &Result<ExpiredHistory>, dry_run: bool) -> Vec<Value> {
    let mut row = match result {
        Ok(expired) => described(expired),
        Err(_) => json!({"name": entry.name.to_string(), "baseVersion": entry.base_version}),
    };
    row["result"] = match result {
        Ok(expired) => said(expired, dry_run).into(),
        Err(e) => e.to_string().into(),
    };
    COLUMNS.iter().map(|column| row[*column].clone()).collect()
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
