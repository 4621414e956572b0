//! The commit protocol: lock, read, decide, write, in one short transaction.
//!
//! A commit to one table that is based on the head takes three round trips besides BEGIN and COMMIT: the head, the
//! touched files, and everything it writes. Commits that [waited](crate::queue) for it take the same number together,
//! plus one for their ids. The decision itself is [`deltalakedb_log::commit::prepare`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::Retryable;
use deltalakedb_log::commit::{self, Base, CommitRequest, Committed, Content, Outcome};
use deltalakedb_log::{Clock, CommitId, ErrorKind, Result, TableId, TableRef, TxnLogError};

use crate::database::CommitFailure;
use crate::find;
use crate::locked::head::committed;
use crate::locked::{Decision, LockedTables};
use crate::queue::{QueuedTransaction, RequestPaths, Scope};
use crate::references::NamedFolders;
use crate::sql_catalog::{SqlCatalog, WriteTransaction};
use crate::table_lookup::no_table;

/// How often a commit that certainly did not happen is retried, and for how long.
const RETRIES: u32 = 3;
const RETRY_FOR: Duration = Duration::from_secs(30);
/// After this time, a batch that the database rejected is not retried one by one.
const LONG: Duration = Duration::from_secs(5);
/// The longest pause before the first retry; it doubles with each.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) async fn commit_all(catalog: &SqlCatalog, requests: Vec<CommitRequest>) -> Result<Outcome> {
    commit::check_group(&requests)?;
    check_paths(catalog, &requests).await?;
    let transaction = QueuedTransaction::new(requests, catalog.last_identity().epoch);
    let Some(scope) = scope(catalog, &transaction) else {
        return commit_alone(catalog, &Arc::new(transaction)).await;
    };
    let of_queue = catalog.clone();
    let run = move |batch| {
        let catalog = of_queue.clone();
        async move { commit_batch(&catalog, batch).await }
    };
    catalog.queues.commit(scope, transaction, run).await
}

/// The commits of this process with which these may share a transaction; `None` if the transaction must check more than the
/// tables they change.
fn scope(catalog: &SqlCatalog, transaction: &QueuedTransaction) -> Option<Scope> {
    let is_plain = |(request, paths): (&CommitRequest, &RequestPaths)| {
        let is_change = !matches!(request.base, Base::Create(_)) && matches!(request.content, Content::Actions(_));
        is_change && paths.folders.is_empty()
    };
    match transaction.requests.as_slice() {
        _ if !transaction.requests_with_paths().all(is_plain) => None,
        _ if !catalog.db.locks_heads() => Some(Scope::Catalog),
        [request] => Some(Scope::Table(request.table)),
        _ => None,
    }
}

/// Commits transactions of one batch, each with its own outcome.
async fn commit_batch(catalog: &SqlCatalog, batch: Vec<Arc<QueuedTransaction>>) -> Vec<Result<Outcome>> {
    if let [transaction] = batch.as_slice() {
        return vec![commit_alone(catalog, transaction).await];
    }
    let began = Instant::now();
    let mut away = match retried(catalog, &batch).await {
        Ok(outcomes) => return outcomes,
        // Every transaction has waited long enough for a lock or for an unavailable database.
        Err(e) if e.kind() == ErrorKind::Unavailable && began.elapsed() > LONG => Some(e.to_string()),
        // The database may reject one of them and accept the others.
        Err(_) => None,
    };
    let mut outcomes = Vec::with_capacity(batch.len());
    for transaction in &batch {
        let outcome = match &away {
            Some(message) => Err(TxnLogError::new(ErrorKind::Unavailable, String::clone(message))),
            None => commit_alone(catalog, transaction).await,
        };
        if let Err(e) = &outcome
            && e.kind() == ErrorKind::Unavailable
        {
            away = Some(e.to_string());
        }
        outcomes.push(outcome);
    }
    outcomes
}

async fn commit_alone(catalog: &SqlCatalog, transaction: &Arc<QueuedTransaction>) -> Result<Outcome> {
    let none = || TxnLogError::new(ErrorKind::Internal, "a commit was run and has no outcome");
    retried(catalog, std::slice::from_ref(transaction)).await?.pop().ok_or_else(none)?
}

/// Retries a batch that certainly was not committed because the database was unavailable.
async fn retried(catalog: &SqlCatalog, batch: &[Arc<QueuedTransaction>]) -> Result<Vec<Result<Outcome>>> {
    let began = Instant::now();
    // Nothing was committed, or the commit id tells.
    let certainly_not = |e: &TxnLogError| e.kind() == ErrorKind::Unavailable && catalog.db.lock_proves_absence();
    (|| attempt(catalog, batch))
        .retry((0..RETRIES).map(|retry| pause(retry, catalog.clock.as_ref())))
        // A transaction that waited this long for a lock or a connection is not retried.
        .when(|e| certainly_not(e) && began.elapsed() <= RETRY_FOR)
        .await
}

/// Rejects files outside their table's folder if the catalog does not allow them.
async fn check_paths(catalog: &SqlCatalog, requests: &[CommitRequest]) -> Result<()> {
    if catalog.allowed_paths.are_all() {
        return Ok(());
    }
    for request in requests.iter().filter(|r| r.writes()) {
        let location = match &request.base {
            Base::Create(new) => new.location.clone(),
            _ => match find::find(catalog.db.as_ref(), &TableRef::Id(request.table)).await? {
                Some(entry) => entry.location,
                None => return Err(no_table(catalog.db.as_ref(), request.table).await),
            },
        };
        request.actions().iter().try_for_each(|action| catalog.allowed_paths.check(&location, action))?;
    }
    Ok(())
}

/// How long to wait before a retry. Random, so that commits that failed together are not retried together.
fn pause(retry: u32, clock: &dyn Clock) -> Duration {
    let random = u32::from_le_bytes(clock.new_uuid().into_bytes()[..4].try_into().unwrap_or_default());
    (PAUSE * (1 << retry)).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

async fn attempt(catalog: &SqlCatalog, batch: &[Arc<QueuedTransaction>]) -> Result<Vec<Result<Outcome>>> {
    let requests: Vec<_> = batch.iter().flat_map(|transaction| &transaction.requests).collect();
    let with_paths = batch.iter().flat_map(|transaction| transaction.requests_with_paths());
    let mut named: Vec<_> = with_paths.map(|(request, paths)| NamedFolders::of(request, &paths.folders)).collect();
    let mut locked = [tables(&requests), NamedFolders::sources(&mut named, catalog.db.as_ref()).await?].concat();
    locked.sort_unstable();
    locked.dedup();
    let WriteTransaction { tx, now_ms, identity } = catalog.begin_write(&locked).await?;
    let mut tables = LockedTables::read(catalog, tx, (now_ms, identity), batch).await?;
    let (mut decisions, mut named) = (Vec::with_capacity(batch.len()), named.as_slice());
    for transaction in batch {
        let (of_this, rest) = named.split_at(transaction.requests.len());
        named = rest;
        decisions.push(tables.decide(transaction, of_this).await?);
    }
    let (mut tx, writes, rows) = tables.into_writes();
    if writes.is_empty() {
        return Ok(outcomes(decisions));
    }
    let changed = tx.write(writes).await.map_err(|e| match e.kind() {
        // The name or place was free before and is taken now: where rows are locked one by one, another transaction can
        // create a table in between. The retry reports that table.
        ErrorKind::AlreadyExists => TxnLogError::new(ErrorKind::Unavailable, e.to_string()).with_source(e),
        _ => e,
    })?;
    if changed != rows {
        let message = format!("a head moved under the lock ({changed} rows of {rows}): nothing was committed");
        return Err(TxnLogError::new(ErrorKind::Internal, message));
    }
    match tx.commit().await {
        Ok(()) => Ok(outcomes(decisions)),
        Err(CommitFailure::RolledBack(e)) => Err(e),
        Err(CommitFailure::Unknown(e)) => resolve_unknown(catalog, batch, decisions, e).await,
    }
}

fn outcomes(decisions: Vec<Decision>) -> Vec<Result<Outcome>> {
    decisions.into_iter().map(|decision| decision.outcome).collect()
}

fn tables(requests: &[&CommitRequest]) -> Vec<TableId> {
    requests.iter().map(|r| r.table).collect()
}

/// Looks up the commit ids after the answer to COMMIT was lost.
async fn resolve_unknown(
    catalog: &SqlCatalog,
    batch: &[Arc<QueuedTransaction>],
    decisions: Vec<Decision>,
    cause: TxnLogError,
) -> Result<Vec<Result<Outcome>>> {
    let written = batch.iter().zip(&decisions).filter(|(_, decision)| decision.is_written());
    let requests: Vec<_> = written.flat_map(|(t, _)| &t.requests).filter(|request| request.writes()).collect();
    let creates = requests.iter().any(|r| matches!(r.base, Base::Create(_)));
    let are_there = if catalog.db.lock_proves_absence() && !creates {
        // Once the lock is acquired, the transaction that held it has ended. The query runs in the transaction that holds
        // the lock: with a second connection for it, as many callers as the pool has connections would deadlock.
        match under_lock(catalog, &requests).await {
            Ok(known) if requests.iter().all(|r| known.contains_key(&(r.table, r.commit_id))) => true,
            Ok(_) => return Err(cause),
            Err(_) => false,
        }
    } else {
        // A new table had no lock, so the absence of the commit id does not prove that the commit failed.
        let mut are_there = true;
        for request in requests {
            let found = find::find_commit(catalog.db.as_ref(), request.table, request.commit_id).await;
            are_there &= matches!(found, Ok(Some(_)));
        }
        are_there
    };
    let outcome_of = |decision: Decision| match &decision {
        decided if are_there || decided.is_settled => decision.outcome,
        decided if decided.is_written() => Ok(Outcome::Unknown(cause.to_string())),
        // The decision was based on commits that may not exist.
        _ => Err(TxnLogError::new(ErrorKind::Unavailable, cause.to_string())),
    };
    Ok(decisions.into_iter().map(outcome_of).collect())
}

async fn under_lock(
    catalog: &SqlCatalog,
    requests: &[&CommitRequest],
) -> Result<HashMap<(TableId, CommitId), Committed>> {
    let mut locked = tables(requests);
    locked.sort_unstable();
    locked.dedup();
    let mut tx = catalog.write(&locked).await?;
    committed(tx.as_mut(), requests).await
}
