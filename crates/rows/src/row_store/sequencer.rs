//! The sequencer: one thread that gives all commits their order.

use std::collections::HashMap;
use std::mem::take;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use deltalakedb_log::{ErrorKind, Result, TableId, TxnLogError};
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::commit::{CommitOutcome, CommitRequest};
use super::group::Group;
use super::state::{State, Stopped};
use crate::seq::{SeqClock, SeqId};
use crate::storage::WalSync;

/// When commits are synced. A weaker durability would be chosen here, for a group.
const COMMIT_SYNC: WalSync = WalSync::Now;

pub(super) struct Sequencer {
    pub(super) state: Arc<State>,
    pub(super) clock: SeqClock,
    turn: Mutex<Turn>,
    queue: Mutex<Queue>,
    arrived: Condvar,
}

/// Who holds it is the only writer.
pub(super) struct Turn {
    /// The `_seq` up to which versions may have been collected, by table.
    pub(super) floors: HashMap<TableId, SeqId>,
}

/// The commits that wait for the writer thread.
struct Queue {
    waiting: Vec<Waiting>,
    is_open: bool,
}

struct Waiting {
    request: CommitRequest,
    answer: SyncSender<Result<CommitOutcome>>,
}

impl Sequencer {
    pub(super) fn new(state: Arc<State>, floors: HashMap<TableId, SeqId>, clock: SeqClock) -> Self {
        let queue = Mutex::new(Queue { waiting: Vec::new(), is_open: true });
        Self { state, clock, turn: Mutex::new(Turn { floors }), queue, arrived: Condvar::new() }
    }

    /// Waits for the group in progress; none begins until the turn is dropped. Fails if nothing is written any more.
    pub(super) fn turn(&self) -> Result<MutexGuard<'_, Turn>> {
        let turn = self.turn.lock();
        self.state.check_writable()?;
        Ok(turn)
    }

    /// Has a request committed by the writer thread.
    pub(super) fn commit(&self, request: CommitRequest) -> Result<CommitOutcome> {
        request.check()?;
        // Its only message never waits.
        let (answer, answered) = sync_channel(1);
        let mut queue = self.queue.lock();
        self.state.check_writable()?;
        queue.waiting.push(Waiting { request, answer });
        drop(queue);
        self.arrived.notify_one();
        answered.recv().unwrap_or_else(|_| Ok(CommitOutcome::Unknown(writer_panicked())))
    }

    /// Ends the writer thread after the group in progress. Commits that wait are refused.
    pub(super) fn close(&self) {
        let mut queue = self.queue.lock();
        self.state.stop(Stopped::Closed);
        queue.is_open = false;
        drop(queue);
        self.arrived.notify_one();
    }

    /// The number of commits that wait for the group in progress.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.queue.lock().waiting.len()
    }

    /// The writer thread, until [`Self::close`].
    pub(super) fn run(&self) {
        let _end = WriterEnd(self);
        loop {
            let mut queue = self.queue.lock();
            self.arrived.wait_while(&mut queue, |queue| queue.waiting.is_empty() && queue.is_open);
            if !queue.is_open {
                return;
            }
            let group = take(&mut queue.waiting);
            drop(queue);
            let turn = self.turn.lock();
            let stop_on_panic = StopOnPanic(&self.state);
            self.commit_group(&turn, group);
            drop(stop_on_panic);
            // So that the next group does not overtake the callers that wait for a turn.
            MutexGuard::unlock_fair(turn);
        }
    }

    fn commit_group(&self, turn: &Turn, waiting: Vec<Waiting>) {
        let mut answers = Vec::with_capacity(waiting.len());
        let mut requests = Vec::with_capacity(waiting.len());
        for Waiting { request, answer } in waiting {
            requests.push(request);
            answers.push(answer);
        }
        // Also conflicts are answered after the write: a statement that is evaluated again then sees what it lost to.
        let outcomes = self.outcomes(turn, requests);
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // The caller waits for it.
            let _ = answer.send(outcome);
        }
    }

    /// Commits the requests that can be, in this order, and makes them visible.
    fn outcomes(&self, turn: &Turn, requests: Vec<CommitRequest>) -> Vec<Result<CommitOutcome>> {
        let visible = self.state.visible.lock();
        let mut group = Group::new(&turn.floors, Arc::clone(&visible.tables), visible.seq);
        drop(visible);
        let mut last = None;
        let mut outcomes: Vec<_> = self.checked(&mut group, requests, &mut last);
        let Some(last) = last else { return outcomes };
        let prepared = group.finish(last);
        if let Err(e) = self.state.write(prepared.batch, COMMIT_SYNC) {
            let reason = e.to_string();
            let committed = outcomes.iter_mut().filter(|outcome| matches!(outcome, Ok(CommitOutcome::Committed(_))));
            committed.for_each(|outcome| *outcome = Ok(CommitOutcome::Unknown(outcome_unknown(&reason))));
            return outcomes;
        }
        let mut visible = self.state.visible.lock();
        let oldest = visible.oldest_reader();
        for (table, delete) in prepared.pending {
            visible.table(table).pending.write().insert(delete, oldest);
        }
        visible.seq = last;
        outcomes
    }

    fn checked(
        &self,
        group: &mut Group<'_>,
        requests: Vec<CommitRequest>,
        last: &mut Option<SeqId>,
    ) -> Vec<Result<CommitOutcome>> {
        let refuse_all = |e: TxnLogError| {
            let refused = requests.iter().map(|_| Err(TxnLogError::new(e.kind(), e.to_string())));
            refused.collect()
        };
        // Dropped before the write: the storage need not keep what is superseded by it.
        let snapshot = match self.state.check_writable().and_then(|()| self.state.storage.snapshot()) {
            Ok(snapshot) => snapshot,
            Err(e) => return refuse_all(e),
        };
        let commit = |request: CommitRequest| {
            if let Some(rejected) = group.check(&request, &*snapshot)? {
                return Ok(rejected);
            }
            let seq = self.clock.next_seq()?;
            group.add(request, seq);
            *last = Some(seq);
            Ok(CommitOutcome::Committed(seq))
        };
        requests.into_iter().map(commit).collect()
    }
}

/// Stops further writes before a panic ends the turn: the storage may have what is not visible.
struct StopOnPanic<'a>(&'a State);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(Stopped::Failed("its writer thread panicked, open it again".to_string()));
        }
    }
}

/// Answers the callers that wait when the writer thread ends, also by a panic.
struct WriterEnd<'a>(&'a Sequencer);

impl Drop for WriterEnd<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.is_open = false;
        for waiting in take(&mut queue.waiting) {
            let refused = self.0.state.check_writable().map(|()| CommitOutcome::Unknown(writer_panicked()));
            let _ = waiting.answer.send(refused);
        }
    }
}

/// The reason says what to do.
pub(super) fn outcome_unknown(reason: &str) -> TxnLogError {
    let message = format!("it is not known whether the commit is stored: {reason}");
    TxnLogError::new(ErrorKind::Unavailable, message)
}

fn writer_panicked() -> TxnLogError {
    TxnLogError::new(
        ErrorKind::Internal,
        "it is not known whether the commit is stored, because the writer thread panicked: open the row store again",
    )
}
