//! Backpressure: a commit to a table whose mirror lags too much waits for the mirror, and then fails.

use std::collections::HashSet;
use std::time::Duration;

use deltalakedb_log::commit::CommitRequest;
use deltalakedb_log::{Catalog, ErrorKind, Result, TableBehind, TableId, TxnLogError};
use deltalakedb_mirror::record_published;

use crate::write_options::WriteOptions;

/// How long a commit waits for mirrors, and the pause between two looks at them.
const WAIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);

/// Waits until no table of these requests lags by more than [`WriteOptions::max_lag`].
///
/// # Errors
/// `Unavailable` if that takes longer than [`WAIT`]. If the lag cannot be read, the commit does not wait: it needs the
/// same catalog.
pub(crate) async fn wait_for_mirrors(
    catalog: &dyn Catalog,
    requests: &[CommitRequest],
    options: &WriteOptions,
) -> Result<()> {
    let Some(max_lag) = options.max_lag else { return Ok(()) };
    let tables: Vec<TableId> = requests.iter().filter(|request| request.writes()).map(|r| r.table).collect();
    let (mut waited, mut recorded) = (Duration::ZERO, HashSet::new());
    loop {
        let lagging = match lagging(catalog, &tables, max_lag).await {
            Ok(lagging) => lagging,
            Err(e) => {
                tracing::warn!(error = %e, "a commit does not wait for mirrors, because their lag cannot be read");
                None
            }
        };
        let Some((behind, lag)) = lagging else { return Ok(()) };
        if recorded.insert(behind.table.id) {
            // What a process has published before it was killed does not lag.
            match record_published(catalog, options.stores.as_ref(), behind.table.id).await {
                Ok(()) => continue,
                Err(e) => {
                    tracing::debug!(table = %behind.table.name, error = %e, "published versions were not recorded")
                }
            }
        }
        if waited >= WAIT {
            return Err(TxnLogError::new(
                ErrorKind::Unavailable,
                format!(
                    "{} takes no commits now: its mirror lags by {} s, more than mirror.max_lag ({} s), and did not \
                     catch up within {} s; nothing was committed: `dl mirror status` says why it lags, and `dl mirror \
                     run` publishes what was committed",
                    behind.table.name,
                    lag.as_secs(),
                    max_lag.as_secs_f64(),
                    WAIT.as_secs()
                ),
            ));
        }
        options.clock.sleep(PAUSE).await;
        waited += PAUSE;
    }
}

/// The table that lags most, and by how much, if that is more than `max_lag`.
async fn lagging(
    catalog: &dyn Catalog,
    tables: &[TableId],
    max_lag: Duration,
) -> Result<Option<(TableBehind, Duration)>> {
    let Some(first) = catalog.tables_behind(Some(tables)).await?.into_iter().next() else { return Ok(None) };
    let lag_ms = first.lag_ms(catalog.now_ms().await?);
    let lag = Duration::from_millis(u64::try_from(lag_ms).unwrap_or(0));
    Ok((lag > max_lag).then_some((first, lag)))
}
