//! A table's log as an operation finds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use deltalakedb_log::action::{Action, Add};
use deltalakedb_log::snapshot::{Head, Replay, Snapshot};
use deltalakedb_log::{Location, Result, Stores, TxnLogError, TxnLogReader};
use futures::TryStreamExt;

use super::empty_log::EmptyLog;
use super::shown;
use crate::write_options::WriteOptions;

/// A table's log as an operation finds it: at a version, with the commits of a transaction on top.
#[derive(Clone, Debug)]
pub(crate) struct LogView {
    pub(crate) location: Location,
    pub(crate) reader: Arc<dyn TxnLogReader>,
    /// The version; `None` for a table that the transaction makes.
    pub(crate) base: Option<Snapshot>,
    /// What the transaction staged so far, in order.
    pub(super) staged: Vec<Arc<OverlayCommit>>,
    /// What the table is with that.
    now: Option<Snapshot>,
    /// How data files and commits are made.
    pub(crate) options: Arc<WriteOptions>,
}

/// A commit that only its transaction sees.
#[derive(Debug)]
pub(super) struct OverlayCommit {
    actions: Vec<Action>,
    /// The same as delta-rs is shown it, in the bytes of a log.
    pub(super) shown: Bytes,
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

    /// A table at a version, of which only the head is known: to read it, not to write.
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

    /// The same, for whoever writes in that way. The object stores stay the table's.
    pub(crate) fn writing(self, options: &WriteOptions) -> Self {
        let options = WriteOptions { stores: self.options.stores.clone(), ..options.clone() };
        Self { options: Arc::new(options), ..self }
    }

    /// Puts a commit on top, whose actions are those that the catalog would get.
    pub(crate) fn stage(&mut self, actions: Vec<Action>) -> Result<()> {
        let mut replay = Replay::default();
        let (mut version, mut timestamp) = (0, 0);
        if let Some(Snapshot { head, txns, domains }) = self.now.take() {
            (version, timestamp) = (head.version + 1, head.timestamp);
            (replay.protocol, replay.metadata) = (Some(head.protocol), Some(head.metadata));
            (replay.txns, replay.domains) = (txns, domains);
        }
        // Files are replayed when somebody asks for them.
        replay.apply(
            actions.iter().filter(|action| !matches!(action, Action::Add(_) | Action::Remove(_))).cloned().collect(),
        );
        self.now = Some(replay.snapshot(version, timestamp, "the transaction")?);
        let shown = shown::commit(&actions);
        self.staged.push(Arc::new(OverlayCommit { actions, shown }));
        Ok(())
    }

    /// Whether it is a version of the log as it is, and nothing on top.
    pub(crate) fn is_committed(&self) -> bool {
        self.base.is_some() && self.staged.is_empty()
    }

    /// The actions of each staged commit, in order.
    pub(crate) fn staged(&self) -> impl Iterator<Item = &[Action]> {
        self.staged.iter().map(|commit| commit.actions.as_slice())
    }

    /// Its live files, with what is staged.
    pub(crate) async fn files(&self) -> Result<Vec<Add>> {
        let mut replay = Replay::default();
        if let Some(base) = &self.base {
            let files = self.reader.files(base.version(), None).await?;
            replay.files = files.map_ok(|add| (add.key(), add)).try_collect().await?;
        }
        for actions in self.staged() {
            replay.apply(actions.to_vec());
        }
        Ok(replay.files.into_values().collect())
    }

    /// What the table is, with what is staged.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let nothing = || TxnLogError::not_found(format!("there is no table at {} yet", self.location));
        self.now.clone().ok_or_else(nothing)
    }
}
