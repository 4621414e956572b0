//! One try to publish a table or to look at it, which ends in bounded time whatever the store does.

use std::pin::pin;
use std::time::Duration;

use deltalakedb_log::{Artifact, Clock, ErrorKind, Result, TableEntry, TableRef, TxnLogError, metric};

use crate::mirror::Mirror;
use crate::publish::Published;

/// How long the catalog may take to record that a try was given up.
const RECORD: Duration = Duration::from_secs(5);

/// Publishes a table. The try is given up when nothing was written during a whole `deadline`: then its lease is
/// released, and the failure is recorded.
pub(super) async fn publish(mirror: &Mirror, table: &TableEntry, deadline: Duration) -> Result<Published> {
    let mirror = mirror.for_one_try();
    let published = async {
        let published = mirror.publish(table.id).await?;
        if mirror.unsettled(table.id).is_some() {
            mirror.settle_table(table.id).await?;
        }
        Ok(published)
    };
    let result = match while_progressing(&mirror, deadline, published).await {
        Some(result) => result,
        None => Err(give_up(&mirror, table, deadline).await),
    };
    match result {
        // A table that was dropped since it was found has nothing to publish.
        Err(e) if e.kind() == ErrorKind::NotFound && is_gone(&mirror, table).await => Ok(Published::default()),
        result => result,
    }
}

/// Checks the log of an idle table: one request to its store if it is as published.
pub(super) async fn check_idle(mirror: &Mirror, table: &TableEntry, deadline: Duration) -> Result<Published> {
    let mirror = mirror.for_one_try();
    let checked = while_progressing(&mirror, deadline, mirror.check_idle(table.id)).await;
    let checked = checked.unwrap_or_else(|| {
        let (name, place) = (&table.name, &table.location);
        Err(TxnLogError::new(
            ErrorKind::Unavailable,
            format!(
                "{place}/_delta_log of {name} was not checked for commits of another writer and lost files: there was no \
                 answer within {} s",
                deadline.as_secs()
            ),
        ))
    });
    match checked {
        // A table that was dropped since it was found has lost nothing.
        Err(e) if e.kind() == ErrorKind::NotFound && is_gone(&mirror, table).await => Ok(Published::default()),
        checked => checked,
    }
}

/// The result of a call; `None` if it takes longer.
pub(super) async fn within<T>(clock: &dyn Clock, limit: Duration, call: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = call => Some(done),
        () = clock.sleep(limit) => None,
    }
}

async fn while_progressing<T>(mirror: &Mirror, deadline: Duration, attempt: impl Future<Output = T>) -> Option<T> {
    let mut attempt = pin!(attempt);
    loop {
        let before = mirror.progress();
        if let Some(done) = within(mirror.clock.as_ref(), deadline, &mut attempt).await {
            return Some(done);
        }
        if mirror.progress() == before {
            return None;
        }
    }
}

/// Releases what a stopped try had, records the failure, and returns the error.
async fn give_up(mirror: &Mirror, table: &TableEntry, deadline: Duration) -> TxnLogError {
    let (name, place) = (&table.name, &table.location);
    metric::MIRROR_FAILURES.add_one_for(name);
    let message = format!(
        "publishing of {name} to {place}/_delta_log was given up, because nothing could be written for {} s; it is \
         tried again",
        deadline.as_secs()
    );
    let record = async {
        mirror.release_abandoned().await?;
        if let Some(version) = mirror.entry(table.id).await?.oldest_unpublished() {
            let now_ms = mirror.clock.now_ms();
            mirror.catalog.mark_failed(table.id, version, Artifact::Commit, &message, now_ms).await?;
        }
        Ok::<_, TxnLogError>(())
    };
    match within(mirror.clock.as_ref(), RECORD, record).await {
        Some(Ok(())) => {}
        Some(Err(e)) => tracing::debug!(table = %name, error = %e, "the failure was not recorded"),
        None => tracing::debug!(table = %name, "the failure was not recorded: the catalog does not answer"),
    }
    TxnLogError::new(ErrorKind::Unavailable, message)
}

async fn is_gone(mirror: &Mirror, table: &TableEntry) -> bool {
    matches!(mirror.catalog.find(&TableRef::Id(table.id)).await, Ok(None))
}
