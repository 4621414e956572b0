//! A table's log as an operation sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use deltalakedb_log::action::{Action, Add};
use deltalakedb_log::snapshot::{Head, Replay, Snapshot};
use deltalakedb_log::{Location, Predicate, Result, Stores, TxnLogError, TxnLogReader};
use futures::TryStreamExt;

use super::empty_log::EmptyLog;
use super::masking;
use crate::write_options::WriteOptions;

/// A table's log as an operation sees it: at a version, with the staged commits of a transaction on top.
#[derive(Clone, Debug)]
pub(crate) struct LogView {
    pub(crate) location: Location,
    pub(crate) reader: Arc<dyn TxnLogReader>,
    /// The version; `None` for a table that the transaction creates.
    pub(crate) base: Option<Snapshot>,
    /// The staged commits of the transaction, in order.
    pub(super) staged: Vec<Arc<OverlayCommit>>,
    /// The state of the table including them.
    now: Option<Snapshot>,
    /// How data files and commits are written.
    pub(crate) options: Arc<WriteOptions>,
}

/// A commit that is visible only to its transaction.
#[derive(Debug)]
pub(super) struct OverlayCommit {
    actions: Vec<Action>,
    /// The commit as delta-rs sees it, as log bytes.
    pub(super) masked: Bytes,
}

impl LogView {
    /// A table at a version.
    pub(crate) fn at(
        location: &Location,
        stores: &Arc<dyn Stores>,
        reader: Arc<dyn TxnLogReader>,
        base: Snapshot,
    ) -> Self {
        Self { now: Some(base.clone()), base: Some(base), reader, ..Self::nothing_yet(location, stores) }
    }

    /// A table at a version, of which only the head is read: for reading, not for writing.
    pub(crate) fn of_head(
        location: &Location,
        stores: &Arc<dyn Stores>,
        reader: Arc<dyn TxnLogReader>,
        head: Head,
    ) -> Self {
        Self::at(location, stores, reader, Snapshot { head, txns: BTreeMap::new(), domains: BTreeMap::new() })
    }

    /// A table that does not exist yet.
    pub(crate) fn nothing_yet(location: &Location, stores: &Arc<dyn Stores>) -> Self {
        let options = Arc::new(WriteOptions { stores: stores.clone(), ..WriteOptions::default() });
        let reader = Arc::new(EmptyLog);
        Self { location: location.clone(), reader, base: None, staged: Vec::new(), now: None, options }
    }

    /// The same view with other write options. The object stores stay the table's.
    pub(crate) fn writing(self, options: &WriteOptions) -> Self {
        let options = WriteOptions { stores: self.options.stores.clone(), ..options.clone() };
        Self { options: Arc::new(options), ..self }
    }

    /// Stages a commit with the actions that the catalog would get.
    pub(crate) fn stage(&mut self, actions: Vec<Action>) -> Result<()> {
        let mut replay = Replay::default();
        let (mut version, mut timestamp) = (0, 0);
        if let Some(Snapshot { head, txns, domains }) = self.now.take() {
            (version, timestamp) = (head.version + 1, head.timestamp);
            (replay.protocol, replay.metadata) = (Some(head.protocol), Some(head.metadata));
            (replay.txns, replay.domains) = (txns, domains);
        }
        // Files are replayed on request.
        replay.apply(
            actions.iter().filter(|action| !matches!(action, Action::Add(_) | Action::Remove(_))).cloned().collect(),
        );
        self.now = Some(replay.snapshot(version, timestamp, "the transaction")?);
        let masked = masking::commit(&actions);
        self.staged.push(Arc::new(OverlayCommit { actions, masked }));
        Ok(())
    }

    /// Whether it is a committed version without staged commits.
    pub(crate) fn is_committed(&self) -> bool {
        self.base.is_some() && self.staged.is_empty()
    }

    /// The actions of each staged commit, in order.
    pub(crate) fn staged(&self) -> impl Iterator<Item = &[Action]> {
        self.staged.iter().map(|commit| commit.actions.as_slice())
    }

    /// Its live files in which a row may match (all without a predicate), including all staged ones.
    pub(crate) async fn files(&self, predicate: Option<&Predicate>) -> Result<Vec<Add>> {
        let mut replay = Replay::default();
        if let Some(base) = &self.base {
            let files = self.reader.files(base.version(), predicate.filter(|p| **p != Predicate::Unknown)).await?;
            replay.files = files.map_ok(|add| (add.key(), add)).try_collect().await?;
        }
        for actions in self.staged() {
            replay.apply(actions.to_vec());
        }
        Ok(replay.files.into_values().collect())
    }

    /// The state of the table, including staged changes.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let nothing = || TxnLogError::not_found(format!("there is no table at {} yet", self.location));
        self.now.clone().ok_or_else(nothing)
    }
}
