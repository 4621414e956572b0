//! Checks the commits after a request's base, one by one, for conflicts with the request.

use std::collections::{HashMap, HashSet};

use super::request::{Base, CommitRequest, Isolation, isolation};
use crate::action::{Action, Add, Commit, Metadata, Remove, Version};
use crate::conflict::{ConflictKind, WinningCommit};
use crate::error::Result;
use crate::path::{FileKey, PathKey};
use crate::schema::Schema;
use crate::snapshot::CommitActions;

/// Checks the commits after a request's base and finds the first that it conflicts with. The commits are passed one by
/// one, oldest first, so that the caller need not keep all of them in memory; the checker reports in advance which of
/// them it does not need.
#[derive(Debug)]
pub struct ConflictChecker<'a> {
    request: &'a CommitRequest,
    metadata: Option<&'a Metadata>,
    isolation: Isolation,
    removes: HashSet<FileKey>,
    files: HashSet<FileKey>,
    app_ids: Vec<&'a str>,
    domains: Vec<&'a str>,
    at_same_path: HashSet<FileKey>,
    /// Parsed when the first predicate is checked.
    schema: Option<Schema>,
}

/// Which files of a winning commit matter to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WinningFiles {
    /// None: the request is a blind append.
    None,
    /// Those it removes.
    Removed,
    /// Also those it adds.
    AddedAndRemoved,
}

impl<'a> ConflictChecker<'a> {
    /// A checker for a request to a table with this current metadata and these [live files](super::Current::live);
    /// `metadata` is `None` for a table that is to be created.
    pub fn new(request: &'a CommitRequest, metadata: Option<&'a Metadata>, live: &HashMap<FileKey, Add>) -> Self {
        let reads = &request.reads;
        let mut checker = Self {
            request,
            metadata,
            isolation: isolation(request, metadata),
            removes: HashSet::new(),
            files: reads.files.iter().copied().collect(),
            app_ids: reads.app_ids.iter().map(String::as_str).collect(),
            domains: reads.domains.iter().map(String::as_str).collect(),
            at_same_path: live_at_same_path(request.actions(), live).map(|(key, _)| *key).collect(),
            schema: None,
        };
        for action in request.actions() {
            match action {
                Action::Remove(remove) => _ = checker.removes.insert(remove.key()),
                Action::Txn(txn) => checker.app_ids.push(&txn.app_id),
                Action::DomainMetadata(domain) => checker.domains.push(&domain.domain),
                _ => {}
            }
        }
        checker
    }

    /// Which files of a winning commit matter. Its protocol and metadata always do.
    pub fn files(&self) -> WinningFiles {
        let reads = &self.request.reads;
        if reads.whole_table || !reads.predicates.is_empty() || !self.at_same_path.is_empty() {
            WinningFiles::AddedAndRemoved
        } else if self.files.is_empty() && self.removes.is_empty() {
            WinningFiles::None
        } else {
            WinningFiles::Removed
        }
    }

    /// The applications whose progress matters.
    pub fn app_ids(&self) -> &[&'a str] {
        &self.app_ids
    }

    /// The domains that matter.
    pub fn domains(&self) -> &[&'a str] {
        &self.domains
    }

    /// Whether only commits that changed the protocol or the metadata matter.
    pub fn needs_only_protocol_and_metadata(&self) -> bool {
        self.files() == WinningFiles::None && self.app_ids.is_empty() && self.domains.is_empty()
    }

    /// Whether a commit with these changes has to be [checked](Self::check).
    pub fn may_conflict(&self, changes: &CommitActions) -> bool {
        let files = match self.files() {
            WinningFiles::None => false,
            WinningFiles::Removed => !changes.removes.is_empty(),
            WinningFiles::AddedAndRemoved => true,
        };
        files
            || changes.protocol.is_some()
            || changes.metadata.is_some()
            || changes.txns.iter().any(|txn| self.app_ids.contains(&txn.app_id.as_str()))
            || changes.domains.iter().any(|domain| self.domains.contains(&domain.domain.as_str()))
    }

    /// The first rule that the request violates, given that this commit precedes it.
    pub fn check(&mut self, version: Version, winner: &Commit) -> Result<Option<WinningCommit>> {
        let found = |kind| {
            let operation = winner.info().and_then(|info| info.0.get("operation"));
            Ok(Some(WinningCommit { version, operation, kind }))
        };
        if let Base::Create(_) | Base::Exactly(_) = self.request.base {
            return found(ConflictKind::VersionTaken);
        }
        let is_blind = winner.info().and_then(|i| i.0.get::<bool>("isBlindAppend")).unwrap_or(false);
        for action in winner.actions() {
            let kind = match action {
                Action::Metadata(_) => Some(ConflictKind::MetadataChanged),
                Action::Protocol(_) => Some(ConflictKind::ProtocolChanged),
                Action::Txn(t) => {
                    self.app_ids.contains(&t.app_id.as_str()).then(|| ConflictKind::SameApplication(t.app_id.clone()))
                }
                Action::DomainMetadata(d) => {
                    self.domains.contains(&d.domain.as_str()).then(|| ConflictKind::SameDomain(d.domain.clone()))
                }
                Action::Remove(remove) => self.check_remove(remove),
                Action::Add(add) => self.check_add(add, is_blind)?,
                Action::CommitInfo(_) | Action::Cdc(_) | Action::CheckpointMetadata(_) => None,
                Action::Sidecar(_) | Action::Unknown(..) => None,
            };
            if let Some(kind) = kind {
                return found(kind);
            }
        }
        Ok(None)
    }

    fn check_remove(&self, removed: &Remove) -> Option<ConflictKind> {
        let key = removed.key();
        if self.removes.contains(&key) {
            return Some(ConflictKind::FileAlreadyRemoved(removed.path.clone()));
        }
        let read = self.files.contains(&key) || (self.request.reads.whole_table && removed.data_change);
        read.then(|| ConflictKind::ReadFileRemoved(removed.path.clone()))
    }

    fn check_add(&mut self, add: &Add, by_blind_append: bool) -> Result<Option<ConflictKind>> {
        if !self.at_same_path.is_empty() && self.at_same_path.contains(&add.key()) {
            return Ok(Some(ConflictKind::DeletionVectorChanged(add.path.clone())));
        }
        let counts = match self.isolation {
            Isolation::Serializable => true,
            Isolation::WriteSerializable => !by_blind_append,
            Isolation::SnapshotIsolation => false,
        };
        let reads = &self.request.reads;
        if !counts || !add.data_change || self.files() != WinningFiles::AddedAndRemoved {
            return Ok(None);
        }
        let schema = match (&mut self.schema, self.metadata) {
            (Some(schema), _) => schema,
            (none, Some(m)) => none.insert(Schema::parse(&m.schema_string, &m.partition_columns)?),
            (none, None) => none.insert(Schema::default()),
        };
        let matches = reads.whole_table || reads.predicates.iter().any(|p| p.may_match(schema, add));
        Ok(matches.then(|| ConflictKind::MatchingFileAdded(add.path.clone())))
    }
}

/// The live files at paths where the request adds a file with another deletion vector, except those that the request
/// removes: the path would have two live files.
pub(super) fn live_at_same_path<'l>(
    actions: &[Action],
    live: &'l HashMap<FileKey, Add>,
) -> impl Iterator<Item = (&'l FileKey, &'l Add)> + use<'l> {
    let (mut added, mut removed) = (HashMap::new(), HashSet::new());
    // Usually no file is live at the path of an added file.
    for action in actions.iter().filter(|_| !live.is_empty()) {
        match action {
            Action::Add(add) => _ = added.insert(PathKey::new(&add.path), add.key()),
            Action::Remove(remove) => _ = removed.insert(remove.key()),
            _ => {}
        }
    }
    live.iter().filter(move |(key, there)| {
        let at_its_path = added.get(&PathKey::new(&there.path));
        at_its_path.is_some_and(|add| add != *key) && !removed.contains(*key)
    })
}
