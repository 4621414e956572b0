//! A commit request: the actions of a commit, the version it is based on, and what it read.

use uuid::Uuid;

use crate::action::{Action, Commit, Metadata, Version};
use crate::entry::NewTable;
use crate::error::{Result, TxnLogError};
use crate::ids::{CommitId, TableId};
use crate::owner::TableOwner;
use crate::path::{FileKey, PathKey};
use crate::predicate::Predicate;
use crate::verbatim::VerbatimCommit;

/// The version a commit builds on.
#[derive(Clone, Debug, PartialEq)]
pub enum Base {
    /// The table does not exist: this commit creates it and is its version 0.
    Create(NewTable),
    /// The commit becomes the version after this one, or conflicts. For writers that retry by themselves.
    Exactly(Version),
    /// The commit was made against this version; the catalog rebases it onto the head unless it conflicts.
    RebaseFrom(Version),
    /// Nothing is committed to this table. The other requests of the transaction are committed if nothing that this
    /// request read of the table at this version has changed since.
    ReadAt(Version),
}

impl Base {
    /// The owner of the table that is created.
    fn owner(&self) -> Option<TableOwner> {
        match self {
            Self::Create(new) => new.owner.clone(),
            Self::Exactly(_) | Self::RebaseFrom(_) | Self::ReadAt(_) => None,
        }
    }

    /// The version of a commit that must become one specific version.
    pub fn next(&self) -> Result<Version> {
        match self {
            Self::Create(_) => Ok(0),
            Self::Exactly(base) => Ok(base.saturating_add(1)),
            Self::RebaseFrom(_) | Self::ReadAt(_) => {
                Err(TxnLogError::invalid("a verbatim commit is valid for one version only: pass the exact base"))
            }
        }
    }
}

/// What a commit read, so that it conflicts with concurrent commits that change it. A commit that read nothing is a
/// blind append.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reads {
    /// Logical files it read.
    pub files: Vec<FileKey>,
    /// Predicates whose matching rows it read. They detect conflicts with added files. `files` and `whole_table` detect
    /// conflicts with removed files, so a reader of the rows of a predicate must also list the files that it selected.
    pub predicates: Vec<Predicate>,
    /// It read the whole table.
    pub whole_table: bool,
    /// Applications whose progress it read.
    pub app_ids: Vec<String>,
    /// Domains it read.
    pub domains: Vec<String>,
}

impl Reads {
    /// Whether no data was read.
    pub fn is_blind(&self) -> bool {
        self.files.is_empty() && self.predicates.is_empty() && !self.whole_table
    }
}

/// The isolation level of a commit (`delta.isolationLevel`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Commits take effect one after the other, in version order.
    Serializable,
    /// Blind appends of concurrent commits are allowed in between.
    WriteSerializable,
    /// Only removed or changed files conflict.
    SnapshotIsolation,
}

impl Isolation {
    /// The name in `commitInfo` and in table properties.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serializable => "Serializable",
            Self::WriteSerializable => "WriteSerializable",
            Self::SnapshotIsolation => "SnapshotIsolation",
        }
    }

    /// Parses the name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Serializable, Self::WriteSerializable, Self::SnapshotIsolation].into_iter().find(|i| i.as_str() == name)
    }

    /// The table's isolation level: `delta.isolationLevel`, or Serializable.
    pub fn of(metadata: &Metadata) -> Self {
        match metadata.property("delta.isolationLevel") {
            Some(level) if level.eq_ignore_ascii_case("WriteSerializable") => Self::WriteSerializable,
            Some(level) if level.eq_ignore_ascii_case("SnapshotIsolation") => Self::SnapshotIsolation,
            _ => Self::Serializable,
        }
    }
}

/// The content of a commit.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// These actions. Time, version, the facts of removed files and our part of `commitInfo` are filled in under the lock.
    Actions(Vec<Action>),
    /// Exactly these bytes, which another engine wrote, as the version after [`Base::Exactly`], or as version 0 with
    /// [`Base::Create`]. If the version already exists with the same bytes, it is the same commit; other bytes are a
    /// conflict.
    Verbatim(VerbatimCommit),
}

impl Content {
    /// The actions in order.
    pub fn actions(&self) -> &[Action] {
        match self {
            Self::Actions(actions) => actions,
            Self::Verbatim(verbatim) => verbatim.commit().actions(),
        }
    }
}

/// A writer's request. It is a pure description, so every attempt to commit it is the same attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitRequest {
    /// The table.
    pub table: TableId,
    /// The id that identifies a repeated request as the same request.
    pub commit_id: CommitId,
    /// The version that it is based on.
    pub base: Base,
    /// What it read.
    pub reads: Reads,
    /// The requested isolation; `None` for the table's own.
    pub isolation: Option<Isolation>,
    /// The content of the commit.
    pub content: Content,
    /// The committer.
    pub committer: Option<String>,
    /// The owner in whose name it commits, for a table with an owner.
    pub owner: Option<TableOwner>,
}

impl CommitRequest {
    /// A request that read nothing. Its id is derived from `operation` and the actions.
    pub fn new(table: TableId, operation: Uuid, base: Base, actions: Vec<Action>) -> Self {
        Self {
            owner: base.owner(),
            table,
            commit_id: CommitId::new(operation, &Commit::render(&actions)),
            base,
            reads: Reads::default(),
            isolation: None,
            content: Content::Actions(actions),
            committer: None,
        }
    }

    /// A request for a commit that another engine wrote. `commit_id` identifies it when it is sent again.
    pub fn verbatim(table: TableId, commit_id: CommitId, base: Base, commit: VerbatimCommit) -> Self {
        Self {
            owner: base.owner(),
            table,
            commit_id,
            base,
            reads: Reads::default(),
            isolation: None,
            content: Content::Verbatim(commit),
            committer: None,
        }
    }

    /// The actions in order.
    pub fn actions(&self) -> &[Action] {
        self.content.actions()
    }

    /// Whether it creates a version; a request that only states what was read does not.
    pub fn writes(&self) -> bool {
        !matches!(self.base, Base::ReadAt(_))
    }

    /// The ids under which a catalog stores it: its own, and for a verbatim commit also that of its `txnId`.
    pub fn ids(&self) -> Vec<CommitId> {
        let of_txn = match &self.content {
            Content::Actions(_) => None,
            Content::Verbatim(commit) => commit.txn_id().map(|id| CommitId::of_txn(&id)),
        };
        [self.commit_id].into_iter().chain(of_txn.filter(|id| *id != self.commit_id)).collect()
    }

    /// The paths whose live files [`prepare`](super::prepare) needs: those that the request adds or removes.
    pub fn changed_paths(&self) -> Vec<PathKey> {
        let paths = self.actions().iter().filter_map(|a| match a {
            Action::Add(add) => Some(&add.path),
            Action::Remove(remove) => Some(&remove.path),
            _ => None,
        });
        let mut keys: Vec<_> = paths.map(|path| PathKey::new(path)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// The isolation under which a request is checked. A change to the whole table (a constraint, other columns) must hold
/// for every row, including rows of concurrent commits.
pub(super) fn isolation(request: &CommitRequest, metadata: Option<&Metadata>) -> Isolation {
    let changes_metadata = request.actions().iter().any(|action| matches!(action, Action::Metadata(_)));
    let weaker = request.isolation.or_else(|| metadata.map(Isolation::of)).filter(|_| !changes_metadata);
    weaker.unwrap_or(Isolation::Serializable)
}
