//! Commits of one process that wait for each other become one transaction of the database.
//!
//! A database that locks rows has a queue for each table, any other one for the whole catalog. The first commit in a queue
//! runs at once and alone. Those that arrive meanwhile wait, and the first of them runs them all together when the one
//! before is done: nothing is delayed to find company, and the more commits wait, the fewer transactions there are.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deltalakedb_log::commit::{CommitRequest, Outcome};
use deltalakedb_log::{ErrorKind, Result, TableId, TxnLogError};
use tokio::sync::{Mutex as Turn, oneshot};
use uuid::Uuid;

/// The most transactions of callers that become one of the database, and the most actions in them.
const MOST: usize = 256;
const MOST_ACTIONS: usize = 10_000;

/// The requests of one caller: all are committed, or none.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) requests: Vec<CommitRequest>,
    /// The epoch of the catalog that the caller knew.
    pub(crate) epoch: Uuid,
}

impl Transaction {
    fn actions(&self) -> usize {
        self.requests.iter().map(|request| request.actions().len()).sum()
    }
}

/// Which commits wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// Those to one table.
    Table(TableId),
    /// All of the catalog.
    Catalog,
}

/// The queues of one handle of a catalog and its clones.
#[derive(Debug)]
pub(crate) struct Queues {
    queues: Mutex<HashMap<Scope, Arc<Queue>>>,
    /// How many transactions may wait in one of them.
    max_waiting: usize,
}

#[derive(Debug, Default)]
struct Queue {
    /// Held while a batch runs.
    turn: Turn<()>,
    waiting: Mutex<VecDeque<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    transaction: Arc<Transaction>,
    answer: oneshot::Sender<Result<Outcome>>,
}

impl Queues {
    pub(crate) fn new(max_waiting: usize) -> Self {
        Self { queues: Mutex::default(), max_waiting }
    }

    /// The outcome of a transaction that `run` commits, together with those that wait in the same queue. `run` gives as
    /// many outcomes as it gets transactions. A caller that gives up takes only its own transaction with it: those of a
    /// batch that it was running are run again, under the same commit ids.
    pub(crate) async fn commit<F: Future<Output = Vec<Result<Outcome>>>>(
        &self,
        scope: Scope,
        transaction: Transaction,
        run: impl Fn(Vec<Arc<Transaction>>) -> F,
    ) -> Result<Outcome> {
        let queue = self.enter(scope);
        let outcome = queue.commit(transaction, self.max_waiting, run).await;
        self.leave(scope, queue);
        outcome
    }

    fn enter(&self, scope: Scope) -> Arc<Queue> {
        lock(&self.queues).entry(scope).or_default().clone()
    }

    /// Forgets a queue that no call has any more. A call that was given up leaves it for the next one to forget.
    fn leave(&self, scope: Scope, queue: Arc<Queue>) {
        let mut queues = lock(&self.queues);
        drop(queue);
        if queues.get(&scope).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            queues.remove(&scope);
        }
    }
}

impl Queue {
    async fn commit<F: Future<Output = Vec<Result<Outcome>>>>(
        &self,
        transaction: Transaction,
        max_waiting: usize,
        run: impl Fn(Vec<Arc<Transaction>>) -> F,
    ) -> Result<Outcome> {
        let (answer, mut outcome) = oneshot::channel();
        self.push(Waiting { transaction: Arc::new(transaction), answer }, max_waiting)?;
        loop {
            let turn = tokio::select! {
                biased;
                Ok(outcome) = &mut outcome => return outcome,
                turn = self.turn.lock() => turn,
            };
            // The batch before this one may have had it.
            if let Ok(outcome) = outcome.try_recv() {
                return outcome;
            }
            let batch = Batch { queue: self, transactions: self.take() };
            if batch.transactions.is_empty() {
                let message = "a commit is neither waiting nor answered: nothing is known of it".to_string();
                return Err(TxnLogError::new(ErrorKind::Internal, message));
            }
            let transactions = batch.transactions.iter().map(|waiting| waiting.transaction.clone());
            let outcomes = run(transactions.collect()).await;
            batch.answer(outcomes);
            drop(turn);
        }
    }

    fn push(&self, waiting: Waiting, most: usize) -> Result<()> {
        let mut all = lock(&self.waiting);
        if all.len() >= most {
            all.retain(|waiting| !waiting.answer.is_closed());
        }
        if all.len() >= most {
            return Err(TxnLogError::new(
                ErrorKind::Unavailable,
                format!(
                    "{most} commits of this process wait for the same lock already, which is the most that \
                     commit.max_waiting allows: commit again later, or raise it"
                ),
            ));
        }
        all.push_back(waiting);
        Ok(())
    }

    /// The transactions that run next, in the order in which they came.
    fn take(&self) -> VecDeque<Waiting> {
        let (mut all, mut batch, mut actions) = (lock(&self.waiting), VecDeque::new(), 0);
        while let Some(next) = all.pop_front() {
            if next.answer.is_closed() {
                continue;
            }
            actions += next.transaction.actions();
            if batch.len() == MOST || (actions > MOST_ACTIONS && !batch.is_empty()) {
                all.push_front(next);
                break;
            }
            batch.push_back(next);
        }
        batch
    }
}

/// Transactions that are being run. What has no answer yet when it is dropped waits again, before all others.
struct Batch<'a> {
    queue: &'a Queue,
    transactions: VecDeque<Waiting>,
}

impl Batch<'_> {
    fn answer(mut self, outcomes: Vec<Result<Outcome>>) {
        for outcome in outcomes {
            let Some(waiting) = self.transactions.pop_front() else { break };
            // Its caller may have given up.
            let _ = waiting.answer.send(outcome);
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut all = lock(&self.queue.waiting);
        for waiting in self.transactions.drain(..).rev() {
            all.push_front(waiting);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use deltalakedb_log::commit::Base;
    use tokio::sync::{Notify, Semaphore};

    use super::*;

    fn transaction(n: u128) -> Transaction {
        let table = TableId(Uuid::from_u128(1));
        let requests = vec![CommitRequest::new(table, Uuid::from_u128(n), Base::RebaseFrom(0), Vec::new())];
        Transaction { requests, epoch: Uuid::nil() }
    }

    /// Stands for the database: remembers how many transactions it got together, and answers once it is told to.
    #[derive(Clone)]
    struct Runs(Arc<(Mutex<Vec<usize>>, Notify, Semaphore)>);

    impl Runs {
        fn new() -> Self {
            Self(Arc::new((Mutex::default(), Notify::new(), Semaphore::new(0))))
        }

        fn got(&self) -> Vec<usize> {
            lock(&self.0.0).clone()
        }

        fn may_answer(&self, times: usize) {
            self.0.2.add_permits(times);
        }

        async fn started(&self) {
            self.0.1.notified().await;
        }

        async fn run(&self, batch: Vec<Arc<Transaction>>) -> Vec<Result<Outcome>> {
            lock(&self.0.0).push(batch.len());
            self.0.1.notify_one();
            self.0.2.acquire().await.unwrap().forget();
            batch.iter().map(|t| Ok(its_own_of(t))).collect()
        }
    }

    /// A commit of its own task, which has its place in the queue when this returns.
    async fn submit(queues: &Arc<Queues>, runs: &Runs, n: u128) -> tokio::task::JoinHandle<Result<Outcome>> {
        let (queues, runs) = (queues.clone(), runs.clone());
        let commit = async move { queues.commit(Scope::Catalog, transaction(n), |batch| runs.run(batch)).await };
        let task = tokio::spawn(commit);
        tokio::task::yield_now().await;
        task
    }

    fn its_own(n: u128) -> Outcome {
        its_own_of(&transaction(n))
    }

    fn its_own_of(transaction: &Transaction) -> Outcome {
        Outcome::Unknown(format!("{:?}", transaction.requests[0].commit_id))
    }

    #[tokio::test]
    async fn those_that_wait_run_together_and_each_gets_its_own_outcome() {
        let (queues, runs) = (Arc::new(Queues::new(100)), Runs::new());
        let mut tasks = Vec::new();
        for n in 0..10 {
            tasks.push(submit(&queues, &runs, n).await);
        }
        runs.may_answer(2);
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.await.unwrap().unwrap(), its_own(n));
        }
        assert_eq!(runs.got(), [1, 9], "the first alone, and the others as soon as it was done");
        assert!(lock(&queues.queues).is_empty(), "nothing is kept of a queue that nobody is in");
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_takes_only_its_own_with_it() {
        let (queues, runs) = (Arc::new(Queues::new(100)), Runs::new());
        let first = submit(&queues, &runs, 0).await;
        runs.started().await;
        let (second, third, fourth) =
            (submit(&queues, &runs, 1).await, submit(&queues, &runs, 2).await, submit(&queues, &runs, 3).await);
        third.abort();
        assert!(third.await.unwrap_err().is_cancelled(), "it was only waiting");
        runs.may_answer(1);
        assert_eq!(first.await.unwrap().unwrap(), its_own(0));
        runs.started().await;
        assert_eq!(runs.got(), [1, 2], "the second runs its own and the fourth");
        second.abort();
        assert!(second.await.unwrap_err().is_cancelled(), "while it was running the batch");
        runs.started().await;
        runs.may_answer(1);
        assert_eq!(fourth.await.unwrap().unwrap(), its_own(3));
        assert_eq!(runs.got(), [1, 2, 1], "the fourth is run again");
    }

    #[tokio::test]
    async fn no_more_wait_than_are_allowed() {
        let (queues, runs) = (Arc::new(Queues::new(2)), Runs::new());
        let first = submit(&queues, &runs, 0).await;
        let (second, third) = (submit(&queues, &runs, 1).await, submit(&queues, &runs, 2).await);
        let refused = queues.commit(Scope::Catalog, transaction(3), |batch| runs.run(batch)).await.unwrap_err();
        let text = refused.to_string();
        assert!(refused.kind() == ErrorKind::Unavailable && text.contains("2 commits of this process wait"), "{text}");
        assert!(text.contains("commit.max_waiting"), "{text}");
        second.abort();
        let _ = second.await;
        let fourth = submit(&queues, &runs, 4).await;
        runs.may_answer(2);
        for (n, task) in [(0, first), (2, third), (4, fourth)] {
            assert_eq!(task.await.unwrap().unwrap(), its_own(n), "who gave up does not wait any more");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_callers_that_come_and_give_up_lose_nothing() {
        let (queues, ran) = (Arc::new(Queues::new(1000)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..400).map(|n| {
            let (queues, ran) = (queues.clone(), ran.clone());
            tokio::spawn(async move {
                let run = async |batch: Vec<Arc<Transaction>>| {
                    tokio::task::yield_now().await;
                    ran.fetch_add(batch.len(), Ordering::Relaxed);
                    batch.iter().map(|t| Ok(its_own_of(t))).collect::<Vec<_>>()
                };
                let commit = queues.commit(Scope::Catalog, transaction(n), run);
                match n % 3 {
                    0 => tokio::time::timeout(std::time::Duration::ZERO, commit).await.ok().map(|outcome| (n, outcome)),
                    _ => Some((n, commit.await)),
                }
            })
        });
        let mut answered = 0;
        for task in tasks.collect::<Vec<_>>() {
            if let Some((n, outcome)) = task.await.unwrap() {
                assert_eq!(outcome.unwrap(), its_own(n));
                answered += 1;
            }
        }
        assert!(answered >= 266 && ran.load(Ordering::Relaxed) >= answered, "{answered}");
    }
}
