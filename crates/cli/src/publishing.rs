//! `dl mirror run`: publishes commits, once or until interrupted, and expires history in between.

use std::time::Duration;

use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use deltalakedb_mirror::{ExpireOptions, ExpiryCycle, Mirror};
use futures::TryStreamExt;
use serde_json::Value;

use crate::context::CommandContext;
use crate::exit::ExitStatus;
use crate::expiry_report;
use crate::output::warn;

const COLUMNS: [&str; 3] = ["name", "published", "result"];
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) async fn run(s: &CommandContext, watch: bool) -> Result<ExitStatus> {
    let catalog = s.catalog(false).await?;
    let mirror = s.mirror(&catalog);
    if watch {
        return run_on(s, &mirror).await;
    }
    let mut out = s.output();
    let mut listing = out.listing(COLUMNS.map(String::from).into());
    let all = publish(&mirror, |row, _| listing.row(row)).await?;
    listing.end()?;
    match all.failed.first() {
        Some(first) => {
            let message = format!("{} of {} tables could not be published", all.failed.len(), all.tables);
            Err(TxnLogError::new(*first, message))
        }
        None => Ok(ExitStatus::Success),
    }
}

async fn run_on(s: &CommandContext, mirror: &Mirror) -> Result<ExitStatus> {
    let options = ExpireOptions {
        default: s.settings.retention,
        committer: s.write_options().committer(),
        ..ExpireOptions::default()
    };
    let mut cycle = s.settings.expire_interval.map(|interval| ExpiryCycle::new(mirror.clone(), &options, interval));
    let mut pause = SECOND;
    loop {
        let mut news = Vec::new();
        let published = publish(mirror, |row, is_new| {
            news.extend(is_new.then_some(row));
            Ok(())
        });
        let published = published.await;
        list(s, &COLUMNS, news)?;
        let failed = match published {
            Ok(all) => !all.failed.is_empty(),
            // An unavailable catalog may answer later.
            Err(e) => {
                warn(&format!("error: {e}"));
                true
            }
        };
        if let Some(cycle) = &mut cycle
            && let Err(e) = end_history(s, cycle).await
        {
            warn(&format!("error: {e}"));
        }
        // The pause doubles after a failure, up to a minute, and is short after a success.
        pause = if failed { (pause * 2).min(MINUTE) } else { SECOND };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            interrupted = tokio::signal::ctrl_c() => {
                return interrupted.map(|()| ExitStatus::Success).map_err(|e| {
                    TxnLogError::new(ErrorKind::Internal, "the Ctrl-C handler cannot be installed").with_source(e)
                });
            }
        }
    }
}

/// The results of publishing.
#[derive(Default)]
struct Published {
    tables: u64,
    failed: Vec<ErrorKind>,
}

/// Publishes all tables. `tell` gets a row of [`COLUMNS`] for each, and whether something was published or failed.
async fn publish(mirror: &Mirror, mut tell: impl FnMut(Vec<Value>, bool) -> Result<()>) -> Result<Published> {
    let mut all = Published::default();
    let mut tables = mirror.run();
    while let Some((table, result)) = tables.try_next().await? {
        all.tables += 1;
        let (count, word) = match &result {
            Ok(published) => {
                published.warnings.iter().for_each(|what| warn(&format!("warning: {what}")));
                (published.count, published.to_string())
            }
            Err(e) => (0, e.to_string()),
        };
        all.failed.extend(result.as_ref().err().map(TxnLogError::kind));
        let row = vec![table.name.to_string().into(), count.into(), word.into()];
        tell(row, count > 0 || result.is_err())?;
    }
    mirror.settle().await?;
    Ok(all)
}

/// Expires some history, and lists what expired or failed.
async fn end_history(s: &CommandContext, cycle: &mut ExpiryCycle) -> Result<()> {
    let steps = cycle.slice().await?;
    let news = steps.iter().filter(|step| expiry_report::is_news(step));
    list(s, &expiry_report::COLUMNS, news.filter_map(|step| expiry_report::row_of_step(step, false)).collect())
}

/// Lists these rows, if there are any.
fn list(s: &CommandContext, columns: &[&str], rows: Vec<Vec<Value>>) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut out = s.output();
    let mut listing = out.listing(columns.iter().map(|column| column.to_string()).collect());
    rows.into_iter().try_for_each(|row| listing.row(row))?;
    listing.end()
}
