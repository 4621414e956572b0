//! `dl mirror run`: publishes commits and refreshes the DuckDB mirror, once or until interrupted; then it also expires
//! history, reports alarms and serves metrics.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::time::Duration;

use deltalakedb_log::{ErrorKind, Result, TableEntry, TxnLogError};
use deltalakedb_mirror::{ExpireOptions, ExpiryCycle, Mirror, ReconcileEvent, Reconciler};
use deltalakedb_table::DuckDbMirror;
use futures::TryStreamExt;
use serde_json::Value;

use crate::alerting::Alerting;
use crate::context::CommandContext;
use crate::duckdb_mirror;
use crate::exit::ExitStatus;
use crate::expiry_report;
use crate::metrics::MetricsServer;
use crate::output::warn;

const COLUMNS: [&str; 3] = ["name", "published", "result"];
/// The pause between two slices of an expiry.
const EXPIRY_PAUSE: Duration = Duration::from_secs(1);

/// Publishes once, or until a signal with `watch`, and then serves metrics at this address.
pub(crate) async fn run(s: &CommandContext, watch: bool, metrics: Option<&str>) -> Result<ExitStatus> {
    // Before anything is opened, so that a signal always ends the process in an orderly way.
    let stop = if watch { Some(stop_signal()?) } else { None };
    let server = match metrics.zip(s.metrics.text.clone()) {
        Some((address, text)) => Some(MetricsServer::bind(address, text).await?),
        None => None,
    };
    let catalog = s.catalog(false).await?;
    let mirror = s.mirror(&catalog);
    if let Some(stop) = stop {
        return run_on(s, &mirror, server, stop).await;
    }
    let mut out = s.output();
    let mut listing = out.listing(COLUMNS.map(String::from).into());
    let working = s.working("publishing");
    let all = publish(&mirror, s.settings.reconcile.parallel, |row| listing.row(row)).await?;
    drop(working);
    listing.end()?;
    if let Some(file) = &s.settings.duckdb_mirror {
        let refreshed = DuckDbMirror::new(catalog, file)?.refresh().await?;
        duckdb_mirror::warn_of_left_out(&refreshed);
    }
    match all.failed.first() {
        Some(first) => {
            let message = format!("{} of {} tables could not be published", all.failed.len(), all.tables);
            Err(TxnLogError::new(*first, message))
        }
        None => Ok(ExitStatus::Success),
    }
}

/// Publishes, expires history, refreshes the DuckDB mirror, reports alarms and serves metrics, side by side, until the
/// process is asked to end.
async fn run_on(
    s: &CommandContext,
    mirror: &Mirror,
    server: Option<MetricsServer>,
    stop: impl Future<Output = ()>,
) -> Result<ExitStatus> {
    let alerting = Alerting::new(s, mirror)?;
    if let Some(server) = server.as_ref().filter(|_| !s.global.quiet) {
        warn(&format!("metrics at {}", server.url()?));
    }
    let reconciler = Reconciler::new(mirror.clone(), s.settings.reconcile.clone());
    let published = reconciler.run(stop, |event| tell(s, event));
    tokio::select! {
        published = published => published.map(|()| ExitStatus::Success),
        expired = expire(s, mirror) => expired.map(|never| match never {}),
        refreshed = duckdb_mirror::keep(s, mirror.catalog()) => refreshed.map(|never| match never {}),
        alerted = alerting.run() => alerted.map(|never| match never {}),
        served = serve(server) => served.map(|never| match never {}),
        kept = s.metrics.tables.keep(mirror.catalog()) => kept.map(|never| match never {}),
    }
}

/// Serves metrics if there is a server.
async fn serve(server: Option<MetricsServer>) -> Result<Infallible> {
    match server {
        Some(server) => server.run().await,
        None => std::future::pending().await,
    }
}

/// Ready when the process is asked to end: by Ctrl-C or SIGTERM.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let handler = |kind| {
            signal(kind).map_err(|e| {
                TxnLogError::new(ErrorKind::Internal, "the handlers of Ctrl-C and SIGTERM cannot be installed")
                    .with_source(e)
            })
        };
        let (mut interrupt, mut terminate) = (handler(SignalKind::interrupt())?, handler(SignalKind::terminate())?);
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        if let Err(e) = tokio::signal::ctrl_c().await {
            warn(&format!("error: Ctrl-C cannot be handled: {e}"));
        }
    })
}

fn tell(s: &CommandContext, event: ReconcileEvent) -> Result<()> {
    match event {
        ReconcileEvent::Published(table, published) => {
            published.warnings.iter().for_each(|what| warn(&format!("warning: {what}")));
            if published.count == 0 {
                return Ok(());
            }
            list(s, &COLUMNS, vec![row(&table, published.count, published.to_string())])
        }
        ReconcileEvent::Failed { table, error, .. } => list(s, &COLUMNS, vec![row(&table, 0, error.to_string())]),
        // It may answer later.
        ReconcileEvent::CatalogFailed(e) => {
            warn(&format!("error: {e}"));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn row(table: &TableEntry, published: u64, result: String) -> Vec<Value> {
    vec![table.name.to_string().into(), published.into(), result.into()]
}

/// Expires history in the background. Ends only if its results cannot be listed.
async fn expire(s: &CommandContext, mirror: &Mirror) -> Result<Infallible> {
    let options = ExpireOptions {
        default: s.settings.retention,
        committer: s.write_options().committer(),
        ..ExpireOptions::default()
    };
    let Some(interval) = s.settings.expire_interval else { return std::future::pending().await };
    let mut cycle = ExpiryCycle::new(mirror.clone(), &options, interval);
    loop {
        match cycle.slice().await {
            Ok(steps) => {
                let news = steps.iter().filter(|step| expiry_report::is_news(step));
                let rows = news.filter_map(|step| expiry_report::row_of_step(step, false)).collect();
                list(s, &expiry_report::COLUMNS, rows)?;
            }
            Err(e) => warn(&format!("error: {e}")),
        }
        s.clock.sleep(EXPIRY_PAUSE).await;
    }
}

/// The results of publishing.
#[derive(Default)]
struct Published {
    tables: u64,
    failed: Vec<ErrorKind>,
}

/// Publishes all tables, so many side by side. `tell` gets a row of [`COLUMNS`] for each.
async fn publish(
    mirror: &Mirror,
    parallel: NonZeroUsize,
    mut tell: impl FnMut(Vec<Value>) -> Result<()>,
) -> Result<Published> {
    let mut all = Published::default();
    let mut tables = mirror.run_side_by_side(parallel);
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
        tell(row(&table, count, word))?;
    }
    mirror.settle().await?;
    Ok(all)
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
