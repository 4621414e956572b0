//! The row store: versions of rows under snapshot isolation, over a [`Storage`].
//!
//! All commits go through one sequencer, a thread that takes those that wait as a group, checks each in order, gives
//! the accepted ones their `_seq`, and writes them as one batch with one sync. Then the visible watermark is raised:
//! every commit up to it is visible, and none can appear below it later. The first committer of a row wins.
//!
//! Older versions are in data files, the *cold* rows. The store does not read them, but keeps what must change together
//! with the hot rows: the *cut* of each table, up to which the published cold snapshot has all effects; and the
//! *pending deletes*, the positions of cold rows that newer hot versions supersede and no published deletion vector
//! names. So a table at a snapshot is its newest hot versions after the cut, and the cold rows whose positions are
//! neither in deletion vectors nor pending.

mod cold;
mod collect;
mod commit;
mod exclusive;
mod group;
mod meta;
mod pending;
mod sequencer;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;
mod versions;

use std::sync::Arc;
use std::thread::JoinHandle;

use deltalakedb_log::{Clock, ErrorKind, Result, TableId, TxnLogError};
use parking_lot::Mutex;

pub use cold::{ColdPosition, ColdVersion, PendingDelete};
pub use collect::Collected;
pub use commit::{CommitOutcome, CommitRequest, RowConflict, TableChanges};
pub use exclusive::{ColdSwap, Exclusive};
pub use meta::{Intent, TableMark};
use sequencer::Sequencer;
pub use snapshot::{NewestVersion, RowSnapshot};
use state::{Recovered, State};
pub use versions::{RowVersion, VersionCursor, VersionScan};

use crate::seq::{SeqClock, SeqId};
use crate::storage::Storage;

/// The hot rows of all tables.
///
/// A write that fails makes the store read-only until it is opened again, since only then is it known what is on the
/// disk. Reads continue: they see the commits that were visible before.
///
/// Calls block. A store that is dropped is closed.
pub struct RowStore {
    sequencer: Arc<Sequencer>,
    /// None once it is closed.
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl RowStore {
    /// Opens the rows in a storage, of which this is the only writer in the families `Hot`, `SeqIndex`, `Pending` and
    /// `Meta`. An empty storage becomes one without rows.
    ///
    /// `node` is this machine's part of each `_seq`, below [`SeqClock::NODES`]. The first `_seq` is above all that were
    /// committed, whatever the clock shows.
    ///
    /// It is an error of kind [`Corrupt`](ErrorKind::Corrupt) if what is read is damaged, and of kind
    /// [`Invalid`](ErrorKind::Invalid) if a newer version of this program wrote it.
    pub fn open(storage: Arc<dyn Storage>, node: u16, clock: Arc<dyn Clock>) -> Result<Self> {
        let Recovered { state, floors } = State::recover(storage)?;
        let clock = SeqClock::resume_above(state.visible.lock().seq, node, clock)?;
        let sequencer = Arc::new(Sequencer::new(Arc::new(state), floors, clock));
        let of_writer = Arc::clone(&sequencer);
        let writer = std::thread::Builder::new().name("row-store".to_string()).spawn(move || of_writer.run());
        let writer = writer.map_err(|e| {
            TxnLogError::new(ErrorKind::Unavailable, "the writer thread cannot be started").with_source(e)
        })?;
        Ok(Self { sequencer, writer: Mutex::new(Some(writer)) })
    }

    /// The rows as of the last visible commit.
    pub fn snapshot(&self) -> Result<RowSnapshot> {
        RowSnapshot::new(Arc::clone(&self.sequencer.state))
    }

    /// Commits all changes of a request, or none, and waits until they are durable and visible.
    ///
    /// An error means that nothing was written: the request is invalid, a version could not be read, or the store is
    /// closed or read-only.
    pub fn commit(&self, request: CommitRequest) -> Result<CommitOutcome> {
        self.sequencer.commit(request)
    }

    /// Runs `work` between two groups of commits, and stores its changes durably and together. Commits wait for it,
    /// snapshots do not.
    ///
    /// Nothing is changed if `work` fails. If the write fails, whether it is stored is known when the store has been
    /// opened again, and the error is of kind [`Unavailable`](ErrorKind::Unavailable). `work` must not write to this
    /// store by other calls, which would wait for its end.
    pub fn exclusive<T>(&self, work: impl FnOnce(&mut Exclusive<'_>) -> Result<T>) -> Result<T> {
        exclusive::exclusive(&self.sequencer, work)
    }

    /// Deletes the versions of a table that its cold snapshot supersedes: those up to `upto`, its cut, and the oldest
    /// snapshot in use, whichever is least.
    ///
    /// Commits are held up for a bounded number of versions at a time. A collection that ended early is continued by
    /// the next.
    pub fn collect(&self, table: TableId, upto: SeqId) -> Result<Collected> {
        collect::collect(&self.sequencer, table, upto)
    }

    /// The clock that assigns each `_seq`, for ids that must be unique with them.
    pub fn clock(&self) -> &SeqClock {
        &self.sequencer.clock
    }

    /// The marks of the tables that have one, by id.
    pub fn marks(&self) -> Result<Vec<(TableId, TableMark)>> {
        meta::marks(&*self.sequencer.state.storage.snapshot()?)
    }

    /// The intents, by id.
    pub fn intents(&self) -> Result<Vec<Intent>> {
        meta::intents(&*self.sequencer.state.storage.snapshot()?)
    }

    /// Ends writing: waits for the group of commits in progress, and refuses those that wait. Snapshots stay readable.
    /// The storage is left open.
    ///
    /// Fails if the writer thread had panicked.
    pub fn close(&self) -> Result<()> {
        self.sequencer.close();
        match self.writer.lock().take().map(JoinHandle::join) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(TxnLogError::new(ErrorKind::Internal, "the writer thread panicked")),
        }
    }
}

impl Drop for RowStore {
    fn drop(&mut self) {
        // An earlier panic was answered to those who waited.
        let _ = self.close();
    }
}
