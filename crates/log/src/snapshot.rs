//! The state of a table at one version, and how a sequence of commits produces it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::action::{Action, Add, Commit, CommitInfo, DomainMetadata, Metadata, Protocol, Remove, Txn, Version};
use crate::error::{Result, TxnLogError};
use crate::path::{FileKey, SetHash};

/// Which state of a table is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The newest version.
    Latest,
    /// That version.
    Version(Version),
    /// The newest version committed at or before that time, in milliseconds since 1970.
    Timestamp(i64),
}

/// The result of opening a table: everything but the files. Its cost does not depend on the length of the history.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// The version.
    pub version: Version,
    /// When it was committed, in milliseconds since 1970; strictly increasing from version to version.
    pub timestamp: i64,
    /// What a client must support.
    pub protocol: Protocol,
    /// Schema, partitioning, configuration.
    pub metadata: Metadata,
}

/// A table at one version. Its live files are read on demand from the reader that returned it.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Version, time, protocol and metadata.
    pub head: Head,
    /// The newest txn of each application.
    pub txns: BTreeMap<String, Txn>,
    /// The domains that are not removed.
    pub domains: BTreeMap<String, DomainMetadata>,
}

impl Snapshot {
    /// The version.
    pub fn version(&self) -> Version {
        self.head.version
    }
}

/// The state of a table, built by replaying its log (PROTOCOL.md, "Action Reconciliation").
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// The newest protocol.
    pub protocol: Option<Protocol>,
    /// The newest metadata.
    pub metadata: Option<Metadata>,
    /// The newest txn of each application.
    pub txns: BTreeMap<String, Txn>,
    /// The domains that are not removed.
    pub domains: BTreeMap<String, DomainMetadata>,
    /// The live files.
    pub files: HashMap<FileKey, Add>,
    /// The tombstones: files that were live and have been removed.
    pub removes: HashMap<FileKey, Remove>,
    /// The number of commits that were applied when each file became live.
    since: HashMap<FileKey, usize>,
    applied: usize,
}

impl Replay {
    /// Applies the actions of the next commit, or of a checkpoint, in any order.
    pub fn apply(&mut self, actions: Vec<Action>) {
        self.applied += 1;
        self.apply_more(actions);
    }

    /// Applies further actions of the same commit or checkpoint, whose actions arrive in batches.
    pub fn apply_more(&mut self, actions: Vec<Action>) {
        let mut adds = Vec::new();
        for action in actions {
            match action {
                Action::Protocol(p) => self.protocol = Some(p),
                Action::Metadata(m) => self.metadata = Some(m),
                Action::Txn(t) => {
                    self.txns.insert(t.app_id.clone(), t);
                }
                Action::DomainMetadata(d) if d.removed => {
                    self.domains.remove(&d.domain);
                }
                Action::DomainMetadata(d) => {
                    self.domains.insert(d.domain.clone(), d);
                }
                Action::Add(add) => adds.push(add),
                Action::Remove(remove) => {
                    let key = remove.key();
                    self.files.remove(&key);
                    self.since.remove(&key);
                    self.removes.insert(key, remove);
                }
                Action::CommitInfo(_) | Action::Cdc(_) | Action::CheckpointMetadata(_) => {}
                Action::Sidecar(_) | Action::Unknown(..) => {}
            }
        }
        for add in adds {
            let key = add.key();
            self.removes.remove(&key);
            self.since.insert(key, self.applied);
            self.files.insert(key, Arc::unwrap_or_clone(add));
        }
    }

    /// The live files, newest first by the commit that made them live, and those of one commit as they were written.
    pub fn into_files_in_replay_order(self) -> Vec<Add> {
        let Self { files, since, .. } = self;
        let files = files.into_iter().map(|(key, add)| (since.get(&key).copied().unwrap_or_default(), add));
        newest_first(files.collect())
    }

    /// The snapshot of this state; an error if protocol or metadata is missing. `origin` names the log.
    pub fn snapshot(&self, version: Version, timestamp: i64, origin: &str) -> Result<Snapshot> {
        let missing = |what: &str| {
            TxnLogError::corrupt(format!(
                "{origin} has no {what} up to version {version}: the log is incomplete, restore its missing commits"
            ))
        };
        Ok(Snapshot {
            head: Head {
                version,
                timestamp,
                protocol: self.protocol.clone().ok_or_else(|| missing("protocol"))?,
                metadata: self.metadata.clone().ok_or_else(|| missing("metadata"))?,
            },
            txns: self.txns.clone(),
            domains: self.domains.clone(),
        })
    }
}

/// The files without their keys, newest first; those of one version as they were written, and by path.
pub fn newest_first<V: Ord>(mut files: Vec<(V, Add)>) -> Vec<Add> {
    files.sort_by(|(a, x), (b, y)| {
        b.cmp(a).then(x.modification_time.cmp(&y.modification_time)).then_with(|| x.path.cmp(&y.path))
    });
    files.into_iter().map(|(_, add)| add).collect()
}

/// The changes of one commit, sorted by kind: the rows that a catalog stores.
#[derive(Clone, Debug, Default)]
pub struct CommitActions {
    /// The new protocol.
    pub protocol: Option<Protocol>,
    /// The new metadata.
    pub metadata: Option<Metadata>,
    /// Files that are added.
    pub adds: Vec<(FileKey, Arc<Add>)>,
    /// Files that are removed, whether they were live or not.
    pub removes: Vec<(FileKey, Remove)>,
    /// Progress of applications.
    pub txns: Vec<Txn>,
    /// Domains set or removed.
    pub domains: Vec<DomainMetadata>,
    /// Change data files.
    pub cdcs: Vec<crate::action::Cdc>,
}

impl CommitActions {
    /// Sorts the actions of a commit. Of several actions for one thing the last one counts.
    pub fn of(actions: &[Action]) -> Self {
        Self::from_actions(actions.to_vec())
    }

    /// Sorts the actions of a commit, without copying them.
    pub fn from_actions(actions: impl IntoIterator<Item = Action>) -> Self {
        let mut c = Self::default();
        for action in actions {
            match action {
                Action::Protocol(p) => c.protocol = Some(p),
                Action::Metadata(m) => c.metadata = Some(m),
                Action::Add(a) => c.adds.push((a.key(), a)),
                Action::Remove(r) => c.removes.push((r.key(), r)),
                Action::Txn(t) => {
                    c.txns.retain(|old| old.app_id != t.app_id);
                    c.txns.push(t);
                }
                Action::DomainMetadata(d) => {
                    c.domains.retain(|old| old.domain != d.domain);
                    c.domains.push(d);
                }
                Action::Cdc(cdc) => c.cdcs.push(cdc),
                Action::CommitInfo(_) | Action::CheckpointMetadata(_) => {}
                Action::Sidecar(_) | Action::Unknown(..) => {}
            }
        }
        last_of_each(&mut c.adds);
        last_of_each(&mut c.removes);
        c
    }

    /// Updates a set hash to the state after the commit. `was_live` tells which files were live before.
    pub fn advance(&self, hash: &mut SetHash, was_live: impl Fn(&FileKey) -> bool) {
        for (key, _) in &self.removes {
            let added_again = self.adds.binary_search_by(|(k, _)| k.cmp(key)).is_ok();
            if was_live(key) && !added_again {
                hash.remove(key);
            }
        }
        for (key, _) in &self.adds {
            if !was_live(key) {
                hash.insert(key);
            }
        }
    }

    /// The bytes of the added files, saturating: a log may state any size.
    pub fn bytes_added(&self) -> i64 {
        self.adds.iter().fold(0, |sum: i64, (_, a)| sum.saturating_add(a.size))
    }

    /// The bytes of the removed files, as stated in their removes.
    pub fn bytes_removed(&self) -> i64 {
        self.removes.iter().filter_map(|(_, r)| r.size).fold(0, i64::saturating_add)
    }
}

/// Sorts by key and keeps the last of each key.
fn last_of_each<T>(files: &mut Vec<(FileKey, T)>) {
    files.reverse();
    files.sort_by_key(|(key, _)| *key);
    files.dedup_by_key(|(key, _)| *key);
}

/// An entry of a table's history.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitSummary {
    /// The version.
    pub version: Version,
    /// When it was committed, in milliseconds since 1970.
    pub timestamp: i64,
    /// The committer, if known.
    pub committer: Option<String>,
    /// The operation, such as `WRITE`.
    pub operation: Option<String>,
    /// Its parameters, JSON text.
    pub operation_parameters: Option<String>,
    /// Its metrics, JSON text.
    pub operation_metrics: Option<String>,
    /// The engine that wrote it.
    pub engine_info: Option<String>,
    /// The version it was based on.
    pub read_version: Option<i64>,
    /// The isolation it was committed under.
    pub isolation: Option<String>,
    /// The transaction over several tables it belongs to.
    pub group_id: Option<String>,
    /// Files added.
    pub files_added: u64,
    /// Files removed.
    pub files_removed: u64,
    /// Bytes added.
    pub bytes_added: i64,
    /// Bytes removed.
    pub bytes_removed: i64,
}

impl CommitSummary {
    /// The summary of a commit by its bytes alone.
    pub fn of_commit(version: Version, timestamp: i64, commit: &Commit) -> Self {
        Self::of(version, timestamp, commit.info(), &CommitActions::of(commit.actions()))
    }

    /// The summary of a commit whose changes are known.
    pub fn of(version: Version, timestamp: i64, info: Option<&CommitInfo>, changes: &CommitActions) -> Self {
        let info = info.cloned().unwrap_or_default();
        let string = |key: &str| info.0.get::<String>(key);
        Self {
            version,
            timestamp,
            committer: string("userName"),
            operation: info.operation(),
            operation_parameters: info.text("operationParameters"),
            operation_metrics: info.text("operationMetrics"),
            engine_info: string("engineInfo"),
            read_version: info.0.get("readVersion"),
            isolation: string("isolationLevel"),
            group_id: info
                .0
                .get::<crate::object::Object>(crate::commit_info::COMMIT_INFO_KEY)
                .and_then(|o| o.get("groupId")),
            files_added: changes.adds.len() as u64,
            files_removed: changes.removes.len() as u64,
            bytes_added: changes.bytes_added(),
            bytes_removed: changes.bytes_removed(),
        }
    }
}
