//! The reconciler: publishes all tables of a catalog until it is stopped, so that every `_delta_log` converges to the
//! catalog.
//!
//! A *fast loop* finds the tables that are behind with one statement of the catalog, and publishes a bounded number of
//! them side by side. It makes no request for a table that is not behind. A table that failed is tried again after a
//! pause of its own. A *slow cycle* looks for commits of other writers and lost logs in the mirrors of idle tables.
//! Neither waits for a table whose store does not answer: see [`slots`] and [`attempt`].

mod attempt;
mod backoff;
mod idle_checks;
mod lag_gauges;
mod slots;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use deltalakedb_log::{Clock, ErrorKind, Result, TableBehind, TableEntry, TableId, TxnLogError};
use tokio::task::{JoinError, JoinSet};

pub use self::backoff::RetryBackoff;
use self::idle_checks::IdleChecks;
use self::lag_gauges::LagGauges;
use self::slots::Slots;
use crate::mirror::Mirror;
use crate::publish::Published;

/// The pause between two searches for tables that are behind, if they are fast; a search takes a tenth of the time at
/// most.
const SEARCH_PAUSE_MS: i64 = 1_000;
const SEARCH_SHARE: i64 = 10;
/// How long running tries may take to end after the reconciler was stopped, and then the release of their leases.
const GRACE: Duration = Duration::from_secs(2);

/// The options of a [`Reconciler`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReconcileOptions {
    /// How many tables are published side by side.
    pub parallel: NonZeroUsize,
    /// The pauses before a table is tried again after a failure.
    pub retry: RetryBackoff,
    /// A try is given up when nothing was written for so long.
    pub deadline: Duration,
    /// The pause between two checks for foreign commits and lost logs, each of which is one request to the store of one
    /// idle table; `None` if there are none.
    pub check_interval: Option<Duration>,
}

impl Default for ReconcileOptions {
    fn default() -> Self {
        Self {
            parallel: NonZeroUsize::new(8).unwrap_or(NonZeroUsize::MIN),
            retry: RetryBackoff::default(),
            deadline: Duration::from_secs(60),
            check_interval: Some(Duration::from_secs(7)),
        }
    }
}

/// What a [`Reconciler`] reports.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReconcileEvent {
    /// Versions of a table were published.
    Published(TableEntry, Published),
    /// A table could not be published or checked.
    Failed {
        /// The table.
        table: TableEntry,
        /// Why.
        error: TxnLogError,
        /// When it is tried again; `None` if that is its turn in the cycle of checks.
        retry_in: Option<Duration>,
    },
    /// The catalog did not answer.
    CatalogFailed(TxnLogError),
}

/// Publishes all tables of a catalog until it is stopped.
pub struct Reconciler {
    mirror: Mirror,
    clock: Arc<dyn Clock>,
    options: ReconcileOptions,
    tasks: JoinSet<Ended>,
    slots: Slots,
    /// Tables that are behind and have not started: those whose oldest unpublished version is the oldest come first.
    waiting: VecDeque<TableEntry>,
    /// The failures of tables that are behind.
    failed: HashMap<TableId, Failures>,
    lags: LagGauges,
    search: Cycle,
    checks: Cycle,
    idle: IdleChecks,
}

/// The failures of a table since its last success.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    /// The time of the next try, in milliseconds since 1970.
    next_ms: i64,
}

/// Work that is repeated after a pause.
#[derive(Clone, Copy, Debug, Default)]
struct Cycle {
    is_running: bool,
    /// When it starts again, in milliseconds since 1970.
    next_ms: i64,
    /// Failures since the last success.
    failures: u32,
}

impl Cycle {
    /// When it starts, unless it is running.
    fn next(&self) -> Option<i64> {
        (!self.is_running).then_some(self.next_ms)
    }
}

/// A task that has ended.
enum Ended {
    Search { found: Result<Vec<TableBehind>>, took_ms: i64 },
    Try { table: TableEntry, result: Result<Published> },
    Check { idle: IdleChecks, result: Result<Option<(TableEntry, Result<Published>)>> },
}

impl Reconciler {
    /// A reconciler for the catalog of a mirror. It does nothing until it [runs](Self::run).
    pub fn new(mirror: Mirror, options: ReconcileOptions) -> Self {
        Self {
            clock: mirror.clock.clone(),
            slots: Slots::new(options.parallel.get()),
            mirror,
            options,
            tasks: JoinSet::new(),
            waiting: VecDeque::new(),
            failed: HashMap::new(),
            lags: LagGauges::default(),
            search: Cycle::default(),
            checks: Cycle::default(),
            idle: IdleChecks::default(),
        }
    }

    /// Runs until `stop` is ready or `report` returns an error, which is returned. Then running tries have a moment to
    /// end; those that do not are stopped, and their leases are released. What they have not published is published by
    /// the next publisher.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        mut report: impl FnMut(ReconcileEvent) -> Result<()>,
    ) -> Result<()> {
        let mut stop = pin!(stop);
        let ended = loop {
            let event = tokio::select! {
                biased;
                () = &mut stop => break Ok(()),
                event = self.next_event() => event,
            };
            if let Err(e) = report(event) {
                break Err(e);
            }
        };
        let reported = self.finish(report).await;
        ended.and(reported)
    }

    async fn next_event(&mut self) -> ReconcileEvent {
        loop {
            self.start_due(self.clock.now_ms());
            let now_ms = self.clock.now_ms();
            let times = [self.search.next(), self.next_check(), self.slots.next_overdue()];
            // Something always is due or running.
            let wake_ms = times.into_iter().flatten().min().unwrap_or(now_ms + SEARCH_PAUSE_MS);
            let pause = Duration::from_millis(u64::try_from(wake_ms - now_ms).unwrap_or(0));
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next() => {
                    if let Some(event) = of_task(ended).and_then(|ended| self.note_ended(ended)) {
                        return event;
                    }
                }
                () = self.clock.sleep(pause) => {}
            }
        }
    }

    /// Starts everything that is due and has a slot.
    fn start_due(&mut self, now_ms: i64) {
        self.slots.free_overdue(now_ms);
        if self.search.next().is_some_and(|at| at <= now_ms) {
            self.search.is_running = true;
            let (mirror, deadline) = (self.mirror.clone(), self.options.deadline);
            self.tasks.spawn(async move {
                let found = mirror.catalog.tables_behind(None);
                let found = attempt::within(mirror.clock.as_ref(), deadline, found).await;
                let took_ms = mirror.clock.now_ms() - now_ms;
                Ended::Search { found: found.unwrap_or_else(|| Err(no_answer(&mirror, deadline))), took_ms }
            });
        }
        if self.next_check().is_some_and(|at| at <= now_ms) {
            self.checks.is_running = true;
            let (mirror, deadline, mut idle) = (self.mirror.clone(), self.options.deadline, self.idle.clone());
            self.tasks.spawn(async move {
                let result = attempt::within(mirror.clock.as_ref(), deadline, idle.step(&mirror)).await;
                Ended::Check { result: result.unwrap_or_else(|| Err(no_answer(&mirror, deadline))), idle }
            });
        }
        let mut later = VecDeque::new();
        while !self.slots.is_full()
            && let Some(table) = self.waiting.pop_front()
        {
            if self.slots.is_running(table.id) {
                // If it is behind after that, the next search finds it.
            } else if self.slots.take(&table, now_ms) {
                let (mirror, deadline) = (self.mirror.clone(), self.options.deadline);
                self.tasks.spawn(async move {
                    let result = attempt::publish(&mirror, &table, deadline).await;
                    Ended::Try { table, result }
                });
            } else {
                later.push_back(table);
            }
        }
        later.append(&mut self.waiting);
        self.waiting = later;
    }

    fn next_check(&self) -> Option<i64> {
        self.checks.next().filter(|_| self.options.check_interval.is_some())
    }

    /// Records the result of a task; the event if it is worth a report.
    fn note_ended(&mut self, ended: Ended) -> Option<ReconcileEvent> {
        let now_ms = self.clock.now_ms();
        match ended {
            Ended::Search { found: Ok(found), took_ms } => {
                let pause_ms = SEARCH_PAUSE_MS.max(took_ms.saturating_mul(SEARCH_SHARE - 1));
                self.search = Cycle { next_ms: now_ms.saturating_add(pause_ms), ..Cycle::default() };
                self.note_behind(found, now_ms);
                None
            }
            Ended::Search { found: Err(e), .. } => {
                let failures = self.search.failures.saturating_add(1);
                let next_ms = now_ms.saturating_add(ms(self.options.retry.pause(failures, self.clock.as_ref())));
                self.search = Cycle { is_running: false, next_ms, failures };
                Some(ReconcileEvent::CatalogFailed(e))
            }
            Ended::Try { table, result: Ok(published) } => {
                self.slots.end(table.id, true);
                self.failed.remove(&table.id);
                if published.count > 0 && !published.elsewhere {
                    self.lags.note_published(&table);
                }
                let is_news = published.count > 0 || !published.warnings.is_empty();
                is_news.then_some(ReconcileEvent::Published(table, published))
            }
            Ended::Try { table, result: Err(error) } => {
                self.slots.end(table.id, error.kind() != ErrorKind::Unavailable);
                let failures = self.failed.entry(table.id).or_default();
                failures.count = failures.count.saturating_add(1);
                let pause = self.options.retry.pause(failures.count, self.clock.as_ref());
                failures.next_ms = now_ms.saturating_add(ms(pause));
                tracing::debug!(table = %table.name, failures = failures.count, ?pause, %error, "not published");
                Some(ReconcileEvent::Failed { table, error, retry_in: Some(pause) })
            }
            Ended::Check { idle, result } => {
                self.idle = idle;
                let interval = self.options.check_interval.unwrap_or_default();
                self.checks = Cycle { next_ms: now_ms.saturating_add(ms(interval)), ..Cycle::default() };
                match result {
                    Ok(Some((table, Err(error)))) => Some(ReconcileEvent::Failed { table, error, retry_in: None }),
                    Ok(Some((table, Ok(checked)))) if !checked.warnings.is_empty() => {
                        Some(ReconcileEvent::Published(table, checked))
                    }
                    Ok(_) => None,
                    // The search reports that the catalog does not answer.
                    Err(e) => {
                        tracing::debug!(error = %e, "no idle table was checked");
                        None
                    }
                }
            }
        }
    }

    fn note_behind(&mut self, found: Vec<TableBehind>, now_ms: i64) {
        self.lags.note_behind(&found, now_ms);
        let behind: HashSet<TableId> = found.iter().map(|behind| behind.table.id).collect();
        // Others were published by another process, or dropped.
        self.failed.retain(|table, _| behind.contains(table));
        let is_due = |table: &TableEntry| self.failed.get(&table.id).is_none_or(|failed| failed.next_ms <= now_ms);
        self.waiting = found.into_iter().map(|behind| behind.table).filter(is_due).collect();
    }

    /// Waits for running tries, and stops those that take too long.
    async fn finish(mut self, mut report: impl FnMut(ReconcileEvent) -> Result<()>) -> Result<()> {
        let mut reported = Ok(());
        let mut grace = self.clock.sleep(GRACE);
        loop {
            let ended = tokio::select! {
                biased;
                ended = self.tasks.join_next() => ended,
                () = &mut grace => None,
            };
            let Some(ended) = ended else { break };
            if let Some(event) = of_task(ended).and_then(|ended| self.note_ended(ended))
                && reported.is_ok()
            {
                reported = report(event);
            }
        }
        self.tasks.shutdown().await;
        match attempt::within(self.clock.as_ref(), GRACE, self.mirror.release_abandoned()).await {
            Some(Ok(())) => {}
            // They expire by themselves.
            Some(Err(e)) => tracing::debug!(error = %e, "leases were not released"),
            None => tracing::debug!("leases were not released: the catalog does not answer"),
        }
        reported
    }
}

impl fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconciler")
            .field("options", &self.options)
            .field("slots", &self.slots)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn no_answer(mirror: &Mirror, deadline: Duration) -> TxnLogError {
    let message = format!("{} did not answer within {} s", mirror.catalog.describe(), deadline.as_secs());
    TxnLogError::new(ErrorKind::Unavailable, message)
}

/// What a task found; `None` if the runtime has stopped it. Its panic is the caller's.
fn of_task(ended: Result<Ended, JoinError>) -> Option<Ended> {
    let e = match ended {
        Ok(ended) => return Some(ended),
        Err(e) => e,
    };
    match e.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => None,
    }
}
