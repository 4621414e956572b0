//! Group commit: transactions that wait for the same lock become one transaction of the database.
//!
//! A database that locks rows has a queue for each table, any other one for the whole catalog. The first transaction in
//! a queue runs at once, in a task of the queue. Those that arrive while it runs wait and run together when it is done,
//! so nothing is delayed, and the more wait, the fewer transactions the database runs. The task is not that of a
//! caller: a caller that is dropped, or not polled, does not end or delay the commits of others.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use deltalakedb_log::commit::{CommitRequest, Outcome};
use deltalakedb_log::references::folders;
use deltalakedb_log::{Action, ErrorKind, LocationKey, PathKey, Result, TableId, TxnLogError, metric};
use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use uuid::Uuid;

/// The maximum number of callers' transactions that become one transaction of the database, and of the actions in them.
const BATCH_TRANSACTIONS: usize = 256;
const BATCH_ACTIONS: usize = 10_000;
/// How long a transaction waits to be started.
const PATIENCE: Duration = Duration::from_secs(120);

/// The requests of one caller: all are committed, or none.
#[derive(Debug)]
pub(crate) struct QueuedTransaction {
    pub(crate) requests: Vec<CommitRequest>,
    /// Those of each request.
    paths: Vec<RequestPaths>,
    /// The epoch of the catalog that the caller read.
    pub(crate) epoch: Uuid,
    has_started: AtomicBool,
}

impl QueuedTransaction {
    pub(crate) fn new(requests: Vec<CommitRequest>, epoch: Uuid) -> Self {
        let paths = requests.iter().map(RequestPaths::of).collect();
        Self { requests, paths, epoch, has_started: AtomicBool::new(false) }
    }

    pub(crate) fn requests_with_paths(&self) -> impl Iterator<Item = (&CommitRequest, &RequestPaths)> {
        self.requests.iter().zip(&self.paths)
    }

    fn actions(&self) -> usize {
        self.requests.iter().map(|request| request.actions().len()).sum()
    }
}

/// What the paths in a request mean. It is computed once, before the request waits: no lock is held then, and a
/// second attempt does not repeat it.
#[derive(Debug)]
pub(crate) struct RequestPaths {
    /// The files that it touches.
    pub(crate) changed_paths: Vec<PathKey>,
    /// The folders of the files that it names by absolute paths.
    pub(crate) folders: BTreeSet<LocationKey>,
}

impl RequestPaths {
    fn of(request: &CommitRequest) -> Self {
        let adds = request.actions().iter().filter_map(Action::as_add);
        Self { changed_paths: request.changed_paths(), folders: folders(adds) }
    }
}

/// Which transactions wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// Transactions on one table.
    Table(TableId),
    /// All transactions of the catalog.
    Catalog,
}

/// The queues of one handle of a catalog and its clones. A queue exists while its task runs.
#[derive(Debug)]
pub(crate) struct Queues {
    queues: Mutex<HashMap<Scope, VecDeque<Waiting>>>,
    /// The maximum number of waiting transactions in each queue.
    max_waiting: usize,
}

#[derive(Debug)]
struct Waiting {
    transaction: Arc<QueuedTransaction>,
    since: Instant,
    answer: oneshot::Sender<Result<Outcome>>,
    _counted: Counted,
}

/// Counts a transaction among those in the queues, as long as it exists.
#[derive(Debug)]
struct Counted;

impl Counted {
    fn new() -> Self {
        metric::COMMIT_QUEUE_LENGTH.add(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metric::COMMIT_QUEUE_LENGTH.add(-1.0);
    }
}

impl Queues {
    pub(crate) fn new(max_waiting: usize) -> Self {
        Self { queues: Mutex::default(), max_waiting }
    }

    /// The outcome of a transaction that `run` commits together with others that wait in the same queue. `run` returns
    /// one outcome for each of its transactions. A transaction whose caller was dropped is not started, and a batch is
    /// cancelled when all its callers were dropped.
    pub(crate) async fn commit<F>(
        self: &Arc<Self>,
        scope: Scope,
        transaction: QueuedTransaction,
        run: impl Fn(Vec<Arc<QueuedTransaction>>) -> F + Clone + Send + 'static,
    ) -> Result<Outcome>
    where
        F: Future<Output = Vec<Result<Outcome>>> + Send + 'static,
    {
        let (transaction, since) = (Arc::new(transaction), Instant::now());
        loop {
            let (answer, outcome) = oneshot::channel();
            let waiting = Waiting { transaction: transaction.clone(), since, answer, _counted: Counted::new() };
            let is_first = self.push(scope, waiting)?;
            if is_first {
                let task = QueueTask { queues: self.clone(), scope, has_ended: false };
                tokio::spawn(task.run(run.clone()));
            }
            if let Ok(outcome) = outcome.await {
                return outcome;
            }
            if transaction.has_started.load(Ordering::Acquire) {
                return Ok(Outcome::Unknown("the task that was committing it has ended".into()));
            }
            if is_first {
                let message = "the runtime is being shut down: nothing was committed";
                return Err(TxnLogError::new(ErrorKind::Unavailable, message));
            }
            // The task belonged to another caller's runtime, which may no longer be driven. Another task runs it.
        }
    }

    /// Adds a transaction to its queue; returns whether the queue is new and has no task yet.
    fn push(&self, scope: Scope, waiting: Waiting) -> Result<bool> {
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(&scope) else {
            queues.insert(scope, VecDeque::from([waiting]));
            return Ok(true);
        };
        let most = self.max_waiting;
        if queue.len() >= most {
            queue.retain(|waiting| !waiting.answer.is_closed());
        }
        if queue.len() >= most {
            let message = format!(
                "{most} commits wait for the same lock already, which is the most that commit.max_waiting allows: commit \
                 again later, or raise it"
            );
            return Err(TxnLogError::new(ErrorKind::Unavailable, message));
        }
        queue.push_back(waiting);
        Ok(false)
    }
}

struct QueueTask {
    queues: Arc<Queues>,
    scope: Scope,
    /// Whether its queue was empty and was removed.
    has_ended: bool,
}

impl QueueTask {
    async fn run<F: Future<Output = Vec<Result<Outcome>>>>(mut self, run: impl Fn(Vec<Arc<QueuedTransaction>>) -> F) {
        while let Some(mut batch) = self.take() {
            let transactions = batch.iter().map(|waiting| waiting.transaction.clone()).collect();
            let outcomes = tokio::select! {
                biased;
                () = all_callers_dropped(&mut batch) => continue,
                outcomes = run(transactions) => outcomes,
            };
            // A single-threaded runtime may no longer be driven once the caller that drives it has its answer.
            let is_driven = Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread;
            if !is_driven {
                self.queues.queues.lock().remove(&self.scope);
                self.has_ended = true;
            }
            for (waiting, outcome) in batch.into_iter().zip(outcomes) {
                // The caller may have been dropped.
                let _ = waiting.answer.send(outcome);
            }
            if self.has_ended {
                return;
            }
        }
        self.has_ended = true;
    }

    /// The transactions of the next batch, in the order of their arrival. When there are none, the queue ends.
    fn take(&self) -> Option<Vec<Waiting>> {
        let mut queues = self.queues.queues.lock();
        let queue = queues.get_mut(&self.scope)?;
        let (mut batch, mut actions) = (Vec::new(), 0);
        while let Some(next) = queue.pop_front() {
            if next.answer.is_closed() {
                continue;
            }
            if next.since.elapsed() > PATIENCE {
                let _ = next.answer.send(Err(waited_too_long()));
                continue;
            }
            actions += next.transaction.actions();
            if batch.len() == BATCH_TRANSACTIONS || (actions > BATCH_ACTIONS && !batch.is_empty()) {
                queue.push_front(next);
                break;
            }
            next.transaction.has_started.store(true, Ordering::Release);
            batch.push(next);
        }
        if batch.is_empty() {
            queues.remove(&self.scope);
            return None;
        }
        Some(batch)
    }
}

impl Drop for QueueTask {
    /// If a task ends before its queue is empty, the waiting callers get an error, because their senders are dropped.
    fn drop(&mut self) {
        if !self.has_ended {
            self.queues.queues.lock().remove(&self.scope);
        }
    }
}

/// Waits until every caller of a batch was dropped.
async fn all_callers_dropped(batch: &mut [Waiting]) {
    for waiting in batch {
        waiting.answer.closed().await;
    }
}

fn waited_too_long() -> TxnLogError {
    let message = format!(
        "a commit waited {} s for earlier commits and was not started: try again with fewer concurrent commits",
        PATIENCE.as_secs()
    );
    TxnLogError::new(ErrorKind::Unavailable, message)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use deltalakedb_log::commit::Base;
    use tokio::sync::{Notify, Semaphore};
    use tokio::task::JoinHandle;

    use super::*;

    fn transaction(n: u128) -> QueuedTransaction {
        let table = TableId(Uuid::from_u128(1));
        let requests = vec![CommitRequest::new(table, Uuid::from_u128(n), Base::RebaseFrom(0), Vec::new())];
        QueuedTransaction::new(requests, Uuid::nil())
    }

    fn its_own(transaction: &QueuedTransaction) -> Outcome {
        Outcome::Unknown(format!("{:?}", transaction.requests[0].commit_id))
    }

    /// Replaces the database: records the size of each batch, and answers when told to.
    #[derive(Clone)]
    struct Runs(Arc<(Mutex<Vec<usize>>, Notify, Semaphore)>);

    impl Runs {
        fn new() -> Self {
            Self(Arc::new((Mutex::default(), Notify::new(), Semaphore::new(0))))
        }

        fn got(&self) -> Vec<usize> {
            self.0.0.lock().clone()
        }

        fn may_answer(&self, times: usize) {
            self.0.2.add_permits(times);
        }

        async fn started(&self) {
            self.0.1.notified().await;
        }

        async fn run(self, batch: Vec<Arc<QueuedTransaction>>) -> Vec<Result<Outcome>> {
            self.0.0.lock().push(batch.len());
            self.0.1.notify_one();
            self.0.2.acquire().await.unwrap().forget();
            batch.iter().map(|t| Ok(its_own(t))).collect()
        }

        /// Starts a commit in a task of its own, which is in the queue when this returns.
        async fn submit(&self, queues: &Arc<Queues>, n: u128) -> JoinHandle<Result<Outcome>> {
            let (queues, runs) = (queues.clone(), self.clone());
            let run = move |batch| runs.clone().run(batch);
            let task = tokio::spawn(async move { queues.commit(Scope::Catalog, transaction(n), run).await });
            tokio::task::yield_now().await;
            task
        }
    }

    async fn is_its_own(task: JoinHandle<Result<Outcome>>, n: u128) {
        assert_eq!(task.await.unwrap().unwrap(), its_own(&transaction(n)));
    }

    #[tokio::test]
    async fn waiting_transactions_run_as_one_batch_with_separate_outcomes() {
        let (queues, runs) = (Arc::new(Queues::new(100)), Runs::new());
        let mut tasks = vec![runs.submit(&queues, 0).await];
        runs.started().await;
        for n in 1..10 {
            tasks.push(runs.submit(&queues, n).await);
        }
        runs.may_answer(2);
        for (n, task) in (0..).zip(tasks) {
            is_its_own(task, n).await;
        }
        assert_eq!(runs.got(), [1, 9], "the first alone, and the others as soon as it was done");
        tokio::task::yield_now().await;
        assert!(queues.queues.lock().is_empty(), "nothing is kept of an empty queue");
    }

    #[tokio::test]
    async fn a_dropped_caller_cancels_no_commit_but_its_own() {
        let (queues, runs) = (Arc::new(Queues::new(100)), Runs::new());
        let first = runs.submit(&queues, 0).await;
        runs.started().await;
        let second = runs.submit(&queues, 1).await;
        let (third, fourth) = (runs.submit(&queues, 2).await, runs.submit(&queues, 3).await);
        third.abort();
        assert!(third.await.unwrap_err().is_cancelled(), "it was only waiting");
        runs.may_answer(1);
        is_its_own(first, 0).await;
        runs.started().await;
        assert_eq!(runs.got(), [1, 2], "the second and the fourth");
        second.abort();
        assert!(second.await.unwrap_err().is_cancelled(), "while it was run with the fourth");
        tokio::task::yield_now().await;
        runs.may_answer(1);
        is_its_own(fourth, 3).await;
        assert_eq!(runs.got(), [1, 2], "nothing is run again");
    }

    #[tokio::test]
    async fn a_batch_without_callers_is_cancelled() {
        let (queues, runs) = (Arc::new(Queues::new(100)), Runs::new());
        let first = runs.submit(&queues, 0).await;
        runs.started().await;
        let second = runs.submit(&queues, 1).await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        // The first is not answered: the second runs because the caller of the first was dropped.
        runs.started().await;
        runs.may_answer(1);
        is_its_own(second, 1).await;
    }

    #[tokio::test]
    async fn the_queue_has_a_limit() {
        let (queues, runs) = (Arc::new(Queues::new(2)), Runs::new());
        let first = runs.submit(&queues, 0).await;
        runs.started().await;
        let (second, third) = (runs.submit(&queues, 1).await, runs.submit(&queues, 2).await);
        let refused = runs.submit(&queues, 3).await.await.unwrap().unwrap_err();
        let text = refused.to_string();
        assert!(refused.kind() == ErrorKind::Unavailable && text.contains("2 commits wait"), "{text}");
        assert!(text.contains("commit.max_waiting"), "{text}");
        second.abort();
        assert!(second.await.unwrap_err().is_cancelled());
        let fourth = runs.submit(&queues, 4).await;
        runs.may_answer(2);
        for (n, task) in [(0, first), (2, third), (4, fourth)] {
            is_its_own(task, n).await;
        }
    }

    #[test]
    fn a_runtime_that_ends_leaves_no_caller_waiting() {
        let (queues, runs) = (Arc::new(Queues::new(100)), Runs::new());
        let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (ends, stays) = (runtime(), runtime());
        let mut tasks = Vec::new();
        ends.block_on(async {
            tasks.push(runs.submit(&queues, 0).await);
            runs.started().await;
        });
        stays.block_on(async {
            tasks.push(runs.submit(&queues, 1).await);
            while queues.queues.lock()[&Scope::Catalog].is_empty() {
                tokio::task::yield_now().await;
            }
        });
        // Waits until the runtime's tasks are dropped.
        ends.shutdown_timeout(Duration::from_secs(60));
        runs.may_answer(2);
        stays.block_on(async {
            is_its_own(tasks.remove(1), 1).await;
            assert!(tasks.remove(0).await.is_err(), "its own task has ended as well");
        });
    }

    #[test]
    fn a_runtime_that_is_not_driven_leaves_no_caller_waiting() {
        let (queues, runs) = (Arc::new(Queues::new(100)), Runs::new());
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let waiting = std::thread::scope(|threads| {
            let first = threads.spawn(|| {
                let (driven, runs) = (runtime(), runs.clone());
                let commit = queues.commit(Scope::Catalog, transaction(0), move |batch| runs.clone().run(batch));
                let outcome = driven.block_on(commit);
                // The task exists, but its runtime is not driven.
                (driven, outcome)
            });
            while runs.got().is_empty() {
                std::thread::yield_now();
            }
            let second = threads.spawn(|| {
                let runs = runs.clone();
                runtime().block_on(queues.commit(Scope::Catalog, transaction(1), move |batch| runs.clone().run(batch)))
            });
            while queues.queues.lock()[&Scope::Catalog].is_empty() {
                std::thread::yield_now();
            }
            runs.may_answer(2);
            let (driven, outcome) = first.join().unwrap();
            assert_eq!(outcome.unwrap(), its_own(&transaction(0)));
            let outcome = second.join().unwrap();
            drop(driven);
            outcome
        });
        assert_eq!(waiting.unwrap(), its_own(&transaction(1)));
    }

    #[tokio::test]
    async fn a_commit_on_a_shut_down_runtime_is_an_error() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        let queues = Arc::new(Queues::new(100));
        let refused = std::thread::spawn(move || {
            let runs = Runs::new();
            handle.block_on(queues.commit(Scope::Catalog, transaction(0), move |batch| runs.clone().run(batch)))
        });
        assert_eq!(refused.join().unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_caller_that_is_not_dropped_gets_an_outcome() {
        let (queues, ran) = (Arc::new(Queues::new(1000)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..400).map(|n| {
            let (queues, ran) = (queues.clone(), ran.clone());
            tokio::spawn(async move {
                let run = move |batch: Vec<Arc<QueuedTransaction>>| {
                    let ran = ran.clone();
                    async move {
                        tokio::task::yield_now().await;
                        ran.fetch_add(batch.len(), Ordering::Relaxed);
                        batch.iter().map(|t| Ok(its_own(t))).collect()
                    }
                };
                let commit = queues.commit(Scope::Catalog, transaction(n), run);
                match n % 3 {
                    0 => tokio::time::timeout(Duration::ZERO, commit).await.ok().map(|outcome| (n, outcome)),
                    _ => Some((n, commit.await)),
                }
            })
        });
        let mut answered = 0;
        for task in tasks.collect::<Vec<_>>() {
            if let Some((n, outcome)) = task.await.unwrap() {
                assert_eq!(outcome.unwrap(), its_own(&transaction(n)));
                answered += 1;
            }
        }
        assert!(answered >= 266 && ran.load(Ordering::Relaxed) >= answered, "{answered}");
    }
}
