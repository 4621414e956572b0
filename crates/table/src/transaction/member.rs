//! A table within a transaction, and its commits as one.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use deltalakedb_log::action::{Action, Add, CommitInfo, Remove};
use deltalakedb_log::commit::{Base, Reads};
use deltalakedb_log::{FileKey, Object, PathKey, Result, TableId, TableName, TableOwner, TxnLogError};
use serde_json::Value;

use crate::delta_rs::{LogView, NewFiles, StagedCommit};

/// A table that the transaction read or changed.
pub(super) struct Member {
    pub(super) id: TableId,
    pub(super) owner: Option<TableOwner>,
    /// The owner in whose name a prepared write was added; `None` for that of the transaction's options.
    pub(super) writer: Option<TableOwner>,
    pub(super) base: Base,
    /// The table with the staged commits of its operations on top.
    pub(super) state: LogView,
    pub(super) files: Vec<NewFiles>,
    pub(super) reads: Reads,
    /// Whether the operations that changed rows recorded the changes in change data files; `None` before the first.
    in_changes: Option<bool>,
    /// The files added by such operations: their rows may have changed already.
    rewritten: HashSet<FileKey>,
}

impl Member {
    pub(super) fn new(id: TableId, owner: Option<TableOwner>, base: Base, state: LogView) -> Self {
        let (files, reads, rewritten) = (Vec::new(), Reads::default(), HashSet::new());
        Self { id, owner, writer: None, base, state, files, reads, in_changes: None, rewritten }
    }

    /// Stages the commit of an operation.
    pub(super) async fn take(&mut self, name: &TableName, captured: StagedCommit, reads: Reads) -> Result<()> {
        let StagedCommit { actions, files, .. } = captured;
        if let Err(e) = self.put(name, actions) {
            files.remove().await;
            return Err(e);
        }
        self.reads.files.extend(reads.files);
        self.reads.predicates.extend(reads.predicates);
        self.reads.whole_table |= reads.whole_table;
        self.files.push(files);
        Ok(())
    }

    fn put(&mut self, name: &TableName, actions: Vec<Action>) -> Result<()> {
        self.record(name, &actions)?;
        if actions.is_empty() {
            return Ok(());
        }
        self.state.stage(actions)
    }

    /// Records how an operation stores its row changes; an error if one commit cannot store them together with those of
    /// earlier operations. The changes of a version have no order, so it may have only one change for each row.
    fn record(&mut self, name: &TableName, actions: &[Action]) -> Result<()> {
        if !actions.iter().any(changes_rows) {
            return Ok(());
        }
        let in_changes = actions.iter().any(|a| matches!(a, Action::Cdc(_)));
        let refused = |what: &str| {
            Err(TxnLogError::invalid(format!(
                "{name} records its changes (delta.enableChangeDataFeed), and {what}: run one of them in a transaction \
                 of its own"
            )))
        };
        // Readers of changes use the change data files of a commit if it has some, and ignore its other files.
        if self.in_changes.is_some_and(|before| before != in_changes) {
            return refused("a commit cannot record both what was inserted and what was updated");
        }
        let changes_again = |a: &Action| matches!(a, Action::Remove(r) if self.rewritten.contains(&r.key()));
        if in_changes && actions.iter().any(changes_again) {
            return refused("a commit cannot record two changes of one row, which rows of one file may have");
        }
        self.in_changes = Some(in_changes);
        if in_changes {
            let removed = actions.iter().filter_map(|a| match a {
                Action::Remove(remove) => Some(PathKey::new(&remove.path)),
                _ => None,
            });
            // The rows of a file that got another deletion vector did not change: the vector hides those that did.
            let removed: HashSet<_> = removed.collect();
            self.rewritten.extend(actions.iter().filter_map(|a| match a {
                Action::Add(add) if !removed.contains(&PathKey::new(&add.path)) => Some(add.key()),
                _ => None,
            }));
        }
        Ok(())
    }
}

fn changes_rows(action: &Action) -> bool {
    match action {
        Action::Add(add) => add.data_change,
        Action::Remove(remove) => remove.data_change,
        _ => false,
    }
}

/// Combines several commits of one table into one: a later action wins, and a file added and removed again is left out.
pub(super) fn flatten<'a>(commits: impl Iterator<Item = &'a [Action]>) -> Vec<Action> {
    let mut infos = Vec::new();
    let (mut protocol, mut metadata) = (None, None);
    let (mut txns, mut domains) = (BTreeMap::new(), BTreeMap::new());
    let mut adds: BTreeMap<FileKey, Arc<Add>> = BTreeMap::new();
    let mut removes: BTreeMap<FileKey, Remove> = BTreeMap::new();
    // Removes of files that were added again.
    let mut taken_back: BTreeMap<FileKey, Remove> = BTreeMap::new();
    let mut rest = Vec::new();
    for actions in commits {
        let mut added = Vec::new();
        for action in actions.iter().cloned() {
            match action {
                Action::CommitInfo(info) => infos.push(info),
                Action::Protocol(_) => protocol = Some(action),
                Action::Metadata(_) => metadata = Some(action),
                Action::Txn(ref txn) => _ = txns.insert(txn.app_id.clone(), action),
                Action::DomainMetadata(ref domain) => _ = domains.insert(domain.domain.clone(), action),
                Action::Add(add) => added.push(add),
                Action::Remove(remove) => {
                    let key = remove.key();
                    match adds.remove(&key) {
                        None => _ = removes.insert(key, remove),
                        Some(_) => removes.extend(taken_back.remove_entry(&key)),
                    }
                }
                other => rest.push(other),
            }
        }
        for add in added {
            let key = add.key();
            taken_back.extend(removes.remove_entry(&key));
            adds.insert(key, add);
        }
    }
    let info = summary(infos);
    let head = info.into_iter().chain(protocol).chain(metadata).chain(txns.into_values()).chain(domains.into_values());
    let files = removes.into_values().map(Action::Remove).chain(adds.into_values().map(Action::Add));
    head.chain(files).chain(rest).collect()
}

/// Merges the `commitInfo` of several operations into one.
fn summary(mut infos: Vec<CommitInfo>) -> Option<Action> {
    if infos.len() < 2 {
        return infos.pop().map(Action::CommitInfo);
    }
    let names: Vec<_> = infos.iter().map(|i| i.0.get::<String>("operation").unwrap_or_default()).collect();
    let mut parameters = Object::default();
    // Parameters are texts, as in other engines.
    parameters.set("operations", Value::from(names).to_string());
    let mut info = Object::default();
    info.set("operation", "TRANSACTION");
    info.set("operationParameters", parameters);
    Some(Action::CommitInfo(CommitInfo(info)))
}
