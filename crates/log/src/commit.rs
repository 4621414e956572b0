//! Committing: what a writer asks for, the rules that decide, and the bytes that become the log for ever.
//!
//! [`prepare`] is the whole decision as a pure function of the request and of what is stored *now*, under the lock.
//! Every catalog calls it, so all of them decide alike and write the same bytes.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use uuid::Uuid;

use crate::action::{Action, Add, Commit, CommitInfo, Metadata, Protocol, Remove, Version};
use crate::commit_info::ICT;
use crate::entry::MirrorState;
use crate::error::{Result, Subject, TxnLogError};
use crate::features;
use crate::future_times::TimeLeap;
use crate::history::{CommitTime, TimeSource};
use crate::ids::{CommitId, TableId, TableName};
use crate::object::Object;
use crate::owner::{TableOwner, check_owner};
use crate::path::{FileKey, PathKey, SetHash};
use crate::predicate::Predicate;
use crate::schema::Schema;
use crate::snapshot::Changes;
use crate::stamp::Stamp;
use crate::transaction_error::TxnLogTransactionError;
use crate::verbatim::VerbatimCommit;

pub use crate::commit_info::{Group, OUR_KEY, catalog_of, id_of};
pub use crate::conflict::{Conflict, ConflictKind, WinningCommit};
pub use crate::entry::NewTable;
pub use crate::time_travel::{base_not_held, only_its_result, resolve};

/// The version a commit builds on.
#[derive(Clone, Debug, PartialEq)]
pub enum Base {
    /// The table does not exist: this commit registers it and is its version 0.
    Create(NewTable),
    /// The commit becomes the version after this one, or conflicts. For writers with a retry loop of their own.
    Exactly(Version),
    /// The commit was made against this version; the catalog moves it to the head if nothing in between conflicts.
    RebaseFrom(Version),
    /// Nothing is committed to this table: the others of the transaction are, if nothing that was read of this table at
    /// this version has changed since.
    ReadAt(Version),
}

impl Base {
    /// The owner of the table that is created.
    pub(crate) fn owner(&self) -> Option<TableOwner> {
        match self {
            Self::Create(new) => new.owner.clone(),
            Self::Exactly(_) | Self::RebaseFrom(_) | Self::ReadAt(_) => None,
        }
    }

    /// The version that a commit which is made for one version becomes.
    pub fn next(&self) -> Result<Version> {
        match self {
            Self::Create(_) => Ok(0),
            Self::Exactly(base) => Ok(base.saturating_add(1)),
            Self::RebaseFrom(_) | Self::ReadAt(_) => Err(TxnLogError::invalid(
                "a verbatim commit is made for one version and cannot become another: give the exact base",
            )),
        }
    }
}

/// What a commit read, so that it conflicts with those who changed it meanwhile. Nothing read is a blind append.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reads {
    /// Logical files it read.
    pub files: Vec<FileKey>,
    /// Predicates whose matching rows it read. They protect from files that are added; from removals, `files` and
    /// `whole_table` do: who reads the rows of a predicate names the files that it chose as well.
    pub predicates: Vec<Predicate>,
    /// It read everything.
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

/// How much a commit is protected from others (`delta.isolationLevel`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// As if commits had happened one after the other in version order.
    Serializable,
    /// Blind appends of others may slip in between.
    WriteSerializable,
    /// Only what was removed or changed counts.
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

    /// Reads the name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Serializable, Self::WriteSerializable, Self::SnapshotIsolation].into_iter().find(|i| i.as_str() == name)
    }

    /// The table's own level: `delta.isolationLevel`, or Serializable.
    pub fn of(metadata: &Metadata) -> Self {
        match metadata.property("delta.isolationLevel") {
            Some(level) if level.eq_ignore_ascii_case("WriteSerializable") => Self::WriteSerializable,
            Some(level) if level.eq_ignore_ascii_case("SnapshotIsolation") => Self::SnapshotIsolation,
            _ => Self::Serializable,
        }
    }
}

/// What a commit says.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// These actions. Time, version, the facts of removed files and our part of `commitInfo` are filled in under the lock.
    Actions(Vec<Action>),
    /// Exactly these bytes, which another engine wrote, as the version after [`Base::Exactly`], or the first with
    /// [`Base::Create`]. What is there already in the same bytes is the same commit; other bytes are a conflict.
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

/// What a writer asks for: a pure description, so every attempt to commit it is the same attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct CommitRequest {
    /// The table.
    pub table: TableId,
    /// What makes a repeated request the same request.
    pub commit_id: CommitId,
    /// What it builds on.
    pub base: Base,
    /// What it read.
    pub reads: Reads,
    /// The isolation it wants; `None` is the table's own.
    pub isolation: Option<Isolation>,
    /// What it says.
    pub content: Content,
    /// Who commits.
    pub committer: Option<String>,
    /// In whose name, where the table has an owner.
    pub owner: Option<TableOwner>,
}

impl CommitRequest {
    /// A request whose id is made of `operation` and the actions, and that read nothing.
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

    /// The actions in order.
    pub fn actions(&self) -> &[Action] {
        self.content.actions()
    }

    /// Whether it becomes a version; a request that only says what was read does not.
    pub fn writes(&self) -> bool {
        !matches!(self.base, Base::ReadAt(_))
    }

    /// The paths whose live files [`prepare`] must be given: those the request adds or removes.
    pub fn touched(&self) -> Vec<PathKey> {
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

/// A table's commit that is decided and durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The table.
    pub table: TableId,
    /// The version it became.
    pub version: Version,
    /// Its time, in milliseconds since 1970.
    pub timestamp: i64,
    /// The earlier version of the table because of which this time is ahead of the catalog's clock.
    pub leap: Option<TimeLeap>,
}

/// How a commit ended. Losing a race is an outcome, not an error.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All tables that the request writes are committed, in its order.
    Committed(Vec<Committed>),
    /// Nothing is committed: somebody else was first.
    Conflict(Conflict),
    /// The database did not answer: it may be committed or not. Look the commit ids up on a new connection
    /// ([`crate::Catalog::find_commit`]) before doing anything else; above all, delete no file.
    Unknown(String),
}

impl Outcome {
    /// The commits, or the error that says why there are none.
    pub fn committed(self) -> Result<Vec<Committed>> {
        Ok(self.of_transaction()?)
    }

    /// The same, with the reason as it is.
    pub fn of_transaction(self) -> Result<Vec<Committed>, TxnLogTransactionError> {
        match self {
            Outcome::Committed(commits) => Ok(commits),
            Outcome::Conflict(conflict) => Err(TxnLogTransactionError::Conflict(Box::new(conflict))),
            Outcome::Unknown(why) => Err(TxnLogTransactionError::Unknown(why)),
        }
    }
}

/// What is stored of a table now, under the lock.
#[derive(Clone, Debug)]
pub struct Current {
    /// The name people know it by.
    pub name: TableName,
    /// Who alone commits to it.
    pub owner: Option<TableOwner>,
    /// The version; `None` for a table that the request creates.
    pub version: Option<Version>,
    /// Its time, in milliseconds since 1970.
    pub timestamp: i64,
    /// The version whose time is ahead of the catalog's clock, where [`is_ahead`](crate::stamp::is_ahead) says so of
    /// `timestamp`.
    pub leap: Option<TimeLeap>,
    /// Protocol and metadata; `None` for a table that the request creates.
    pub state: Option<(Protocol, Metadata)>,
    /// Hash of the live files.
    pub set_hash: SetHash,
    /// The first commit after the request's base that it conflicts with, as a [`ConflictChecker`] found it.
    pub conflict: Option<WinningCommit>,
    /// The live files at [`CommitRequest::touched`], whatever their deletion vectors.
    pub live: HashMap<FileKey, Add>,
}

impl Current {
    /// What is stored of a table that has no version yet.
    pub fn without_version(name: TableName, owner: Option<TableOwner>) -> Self {
        Self {
            name,
            owner,
            version: None,
            timestamp: 0,
            leap: None,
            state: None,
            set_hash: SetHash::default(),
            conflict: None,
            live: HashMap::new(),
        }
    }
}

/// A commit that is decided: what a catalog stores.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The version it becomes.
    pub version: Version,
    /// Its time, in milliseconds since 1970.
    pub committed_at: i64,
    /// Where the time is known from.
    pub time_source: TimeSource,
    /// The exact bytes for the log.
    pub body: Bytes,
    /// What they say of themselves.
    pub info: CommitInfo,
    /// What they do, sorted by kind.
    pub changes: Changes,
    /// Files that were live and are not, or are replaced.
    pub ended: Vec<FileKey>,
    /// Hash of the live files after it.
    pub set_hash: SetHash,
    /// The isolation that was checked.
    pub isolation: Isolation,
}

/// Decides a commit: conflicts, legality, final bytes. `Ok(Err(_))` is a lost race, `Err(_)` a request that can never
/// succeed, and `Ok(Ok(None))` what was only read and still holds.
pub fn prepare(
    request: &CommitRequest,
    current: &Current,
    stamp: &Stamp,
) -> Result<Result<Option<Prepared>, Conflict>> {
    if request.writes() {
        check_owner(&current.name, current.owner.as_ref(), request.owner.as_ref())?;
    }
    let lost = |winner: WinningCommit| Conflict {
        table: request.table,
        table_name: current.name.clone(),
        version: winner.version,
        operation: winner.operation,
        kind: winner.kind,
    };
    let taken = |version| {
        let found = current.conflict.clone().filter(|winner| winner.version == version);
        lost(found.unwrap_or(WinningCommit { version, operation: None, kind: ConflictKind::VersionTaken }))
    };
    match (&request.base, current.version) {
        (Base::Create(_), Some(v)) => return Ok(Err(taken(v))),
        (Base::Exactly(b), Some(v)) if *b < v => return Ok(Err(taken(b + 1))),
        (Base::Exactly(b) | Base::RebaseFrom(b) | Base::ReadAt(b), Some(v)) if *b > v => {
            return Err(TxnLogError::invalid(format!(
                "the commit builds on version {b} of {}, which is at version {v}",
                current.name
            )));
        }
        (Base::Exactly(_) | Base::RebaseFrom(_) | Base::ReadAt(_), None) => {
            return Err(TxnLogError::invalid(format!("the table {} has no version to build on", current.name)));
        }
        _ => {}
    }
    if let Some(winner) = current.conflict.clone() {
        return Ok(Err(lost(winner)));
    }
    if !request.writes() {
        return match request.actions().is_empty() {
            true => Ok(Ok(None)),
            false => Err(TxnLogError::invalid(format!("{} is only read, and the commit has actions", current.name))),
        };
    }
    let version = current.version.map_or(0, |v| v + 1);
    let isolation = isolation(request, current.state.as_ref().map(|(_, metadata)| metadata));
    let our_time = stamp.time_of(current)?;
    let (body, info, changes) = match &request.content {
        Content::Actions(actions) => {
            let (info, actions) = stamped(request, actions, current, stamp, our_time, isolation);
            let mut body = Vec::new();
            let changes = Changes::from_actions(actions.inspect(|action| action.write_line(&mut body)));
            (body.into(), info, changes)
        }
        Content::Verbatim(verbatim) => {
            let commit = verbatim.commit();
            (commit.bytes().clone(), commit.info().cloned().unwrap_or_default(), Changes::of(commit.actions()))
        }
    };
    let after = check_legal(request, current, &changes)?;
    let time = match &request.content {
        Content::Actions(_) => CommitTime { ms: our_time, source: TimeSource::Clock },
        Content::Verbatim(verbatim) => verbatim.check(request.base.next()?, current, after, stamp)?,
    };
    if let Some((_, r)) = changes.removes.iter().find(|(key, _)| !current.live.contains_key(key)) {
        // Not live and no winner removed it: it was never there.
        return Err(TxnLogError::invalid(format!(
            "the commit removes {} from {}, which is not a file of the table",
            r.path, current.name
        )));
    }
    let mut set_hash = current.set_hash;
    changes.advance(&mut set_hash, |key| current.live.contains_key(key));
    let touched = changes.removes.iter().map(|(k, _)| *k).chain(changes.adds.iter().map(|(k, _)| *k));
    let mut ended: Vec<_> = touched.filter(|key| current.live.contains_key(key)).collect();
    ended.sort_unstable();
    let (committed_at, time_source) = (time.ms, time.source);
    Ok(Ok(Some(Prepared { version, committed_at, time_source, body, info, changes, ended, set_hash, isolation })))
}

/// The isolation a request is checked under. What a commit says of the whole table (a constraint, other columns) must
/// hold for every row, whoever added it.
fn isolation(request: &CommitRequest, metadata: Option<&Metadata>) -> Isolation {
    let changes_metadata = request.actions().iter().any(|action| matches!(action, Action::Metadata(_)));
    let weaker = request.isolation.or_else(|| metadata.map(Isolation::of)).filter(|_| !changes_metadata);
    weaker.unwrap_or(Isolation::Serializable)
}

/// Judges the commits after a request's base and finds the first it conflicts with. It is shown them one by one, oldest
/// first, so that nobody needs to hold them all, and says beforehand which of them it need not see.
#[derive(Debug)]
pub struct ConflictChecker<'a> {
    request: &'a CommitRequest,
    metadata: Option<&'a Metadata>,
    isolation: Isolation,
    removes: HashSet<FileKey>,
    files: HashSet<FileKey>,
    app_ids: Vec<&'a str>,
    domains: Vec<&'a str>,
    beside: HashSet<FileKey>,
    /// Parsed when the first predicate is to be judged.
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
    /// For a request to a table that has this metadata now, `None` for a table that is to be created, and these
    /// [live files](Current::live).
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
            beside: live_beside(request.actions(), live).map(|(key, _)| *key).collect(),
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

    /// Which files of a winner matter. Its protocol and metadata always do.
    pub fn files(&self) -> WinningFiles {
        let reads = &self.request.reads;
        if reads.whole_table || !reads.predicates.is_empty() || !self.beside.is_empty() {
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

    /// Whether no commit matters but one that changed the protocol or the metadata.
    pub fn needs_only_protocol_and_metadata(&self) -> bool {
        self.files() == WinningFiles::None && self.app_ids.is_empty() && self.domains.is_empty()
    }

    /// Whether a commit with these changes has to be [checked](Self::check).
    pub fn may_conflict(&self, changes: &Changes) -> bool {
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

    /// The first rule that the request breaks if this commit was before it.
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
        if !self.beside.is_empty() && self.beside.contains(&add.key()) {
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

/// The live files at paths where a request adds a file with another deletion vector, but for those it removes: the path
/// would have two live files.
fn live_beside<'l>(
    actions: &[Action],
    live: &'l HashMap<FileKey, Add>,
) -> impl Iterator<Item = (&'l FileKey, &'l Add)> + use<'l> {
    let (mut added, mut removed) = (HashMap::new(), HashSet::new());
    // Mostly nothing is live where something is added.
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

/// What no Delta commit may say (PROTOCOL.md, "Actions"), whoever came first. Gives protocol and metadata after it.
fn check_legal<'a>(
    request: &CommitRequest,
    current: &'a Current,
    changes: &'a Changes,
) -> Result<(&'a Protocol, &'a Metadata)> {
    let name = &current.name;
    let bad = |what: String| Err(TxnLogError::invalid(format!("the commit to {name} {what}")));
    let count = |f: fn(&Action) -> bool| request.actions().iter().filter(|a| f(a)).count();
    if count(|a| matches!(a, Action::Add(_))) != changes.adds.len() {
        return bad("adds the same file twice".into());
    }
    if count(|a| matches!(a, Action::Remove(_))) != changes.removes.len() {
        return bad("removes the same file twice".into());
    }
    for (what, n) in [
        ("protocol", count(|a| matches!(a, Action::Protocol(_)))),
        ("metaData", count(|a| matches!(a, Action::Metadata(_)))),
        ("commitInfo", count(|a| matches!(a, Action::CommitInfo(_)))),
    ] {
        if n > 1 {
            return bad(format!("has {n} {what} actions, and one is the most"));
        }
    }
    if count(|a| matches!(a, Action::Txn(_))) != changes.txns.len() {
        return bad("has two txn actions of one application".into());
    }
    if count(|a| matches!(a, Action::DomainMetadata(_))) != changes.domains.len() {
        return bad("sets one domain twice".into());
    }
    if let Some(a) = request.actions().iter().find(|a| matches!(a, Action::Sidecar(_) | Action::CheckpointMetadata(_)))
    {
        return bad(format!("has a {} action, which belongs in a checkpoint", a.name()));
    }
    check_paths(changes).or_else(|what| bad(what).map(drop))?;
    if let Some((_, there)) = live_beside(request.actions(), &current.live).min_by_key(|(key, _)| **key) {
        let path = &there.path;
        return bad(format!("adds {path} with another deletion vector and does not remove the one that is live"));
    }
    let (protocol, metadata) = match (&current.state, &changes.protocol, &changes.metadata) {
        (_, Some(p), Some(m)) => (p, m),
        (Some((p, _)), None, Some(m)) => (p, m),
        (Some((_, m)), Some(p), None) => (p, m),
        (Some((p, m)), None, None) => (p, m),
        (None, None, _) => return bad("creates the table without a protocol".into()),
        (None, _, None) => return bad("creates the table without metadata".into()),
    };
    match &request.content {
        Content::Actions(actions) => check_writable(actions, current, protocol)?,
        Content::Verbatim(_) => check_trackable(current, protocol)?,
    }
    if changes.metadata.is_some() {
        Schema::parse(&metadata.schema_string, &metadata.partition_columns)?;
    }
    let append_only = current.state.as_ref().is_some_and(|(_, m)| m.is_on("delta.appendOnly"));
    if append_only && changes.removes.iter().any(|(_, r)| r.data_change) {
        return bad("removes rows, and the table is append-only (delta.appendOnly)".into())
            .map_err(|e| e.about(Subject::Commit));
    }
    if !changes.domains.is_empty() && !features::has_writer_feature(protocol, "domainMetadata") {
        return bad("sets a domain, which needs the table feature domainMetadata".into());
    }
    if changes.adds.iter().any(|(_, a)| a.deletion_vector.is_some())
        && !features::has_writer_feature(protocol, "deletionVectors")
    {
        return bad("adds a deletion vector, which needs the table feature deletionVectors".into());
    }
    Ok((protocol, metadata))
}

/// Refuses a commit of ours to a table whose features it would not honour. Judged by the protocol before and after: a
/// commit cannot drop a feature to get past it.
fn check_writable(actions: &[Action], current: &Current, after: &Protocol) -> Result<()> {
    let name = current.name.to_string();
    if let Some((before, _)) = &current.state {
        features::check_writable(before, &name)?;
    }
    let is_rest = |a: &Action| !matches!(a, Action::Protocol(_) | Action::CommitInfo(_));
    match current.state.is_some() && !actions.iter().any(is_rest) {
        true => features::check_known(after, &name),
        false => features::check_writable(after, &name),
    }
}

/// The same for a commit that is taken as it is.
fn check_trackable(current: &Current, after: &Protocol) -> Result<()> {
    let name = current.name.to_string();
    let before = current.state.iter().map(|(before, _)| before);
    before.chain([after]).try_for_each(|protocol| features::check_tracked(protocol, &name))
}

/// One add and one remove per path.
fn check_paths(changes: &Changes) -> Result<(), String> {
    let (mut added, mut removed) = (HashSet::new(), HashSet::new());
    for (key, remove) in &changes.removes {
        if !removed.insert(PathKey::new(&remove.path)) {
            return Err(format!("removes {} twice", remove.path));
        }
        if changes.adds.binary_search_by(|(k, _)| k.cmp(key)).is_ok() {
            return Err(format!("both adds and removes {}", remove.path));
        }
    }
    // Files of one path are one file, but for their deletion vectors.
    if changes.adds.iter().all(|(_, add)| add.deletion_vector.is_none()) {
        return Ok(());
    }
    match changes.adds.iter().find(|(_, add)| !added.insert(PathKey::new(&add.path))) {
        Some((_, add)) => Err(format!("adds {} twice", add.path)),
        None => Ok(()),
    }
}

/// Our `commitInfo`, and all actions as they go to the log: `commitInfo` first, and removes made of what we store.
fn stamped<'a>(
    request: &CommitRequest,
    actions: &'a [Action],
    current: &'a Current,
    stamp: &Stamp,
    committed_at: i64,
    isolation: Isolation,
) -> (CommitInfo, impl Iterator<Item = Action> + use<'a>) {
    let (mut given, mut metadata) = (None, None);
    for action in actions {
        match action {
            Action::CommitInfo(info) => given = Some(info),
            Action::Metadata(new) => metadata = Some(new),
            _ => {}
        }
    }
    let before = current.state.as_ref().is_some_and(|(_, metadata)| metadata.is_on(ICT));
    let in_commit_time = metadata.map_or(before, |metadata| metadata.is_on(ICT));
    let changes_what_is_there = |a: &Action| matches!(a, Action::Remove(_) | Action::Metadata(_));
    let blind = request.reads.is_blind() && !actions.iter().any(changes_what_is_there);
    let given = given.map_or_else(Object::default, |info| info.0.clone());
    let facts = InfoFacts { committed_at, in_commit_time, isolation, blind };
    let info = CommitInfo(our_info(given, request, current, stamp, facts));
    let begins = current.version.map(|v| v + 1).filter(|_| in_commit_time && !before);
    let rest =
        actions.iter().filter(|action| !matches!(action, Action::CommitInfo(_))).map(move |action| match action {
            Action::Remove(remove) => match current.live.get(&remove.key()) {
                Some(add) => Action::Remove(render_remove(remove, add, committed_at)),
                None => action.clone(),
            },
            Action::Metadata(metadata) => {
                let mut metadata = metadata.clone();
                if let Some(version) = begins {
                    let at = [("Version", version.to_string()), ("Timestamp", committed_at.to_string())];
                    let key = |what| format!("delta.inCommitTimestampEnablement{what}");
                    metadata.configuration.extend(at.map(|(what, value)| (key(what), Some(value))));
                }
                Action::Metadata(metadata)
            }
            other => other.clone(),
        });
    (info.clone(), std::iter::once(Action::CommitInfo(info)).chain(rest))
}

struct InfoFacts {
    committed_at: i64,
    in_commit_time: bool,
    isolation: Isolation,
    blind: bool,
}

/// `commitInfo` in one fixed order: what we know, then what else the writer said, then our own member.
fn our_info(given: Object, request: &CommitRequest, current: &Current, stamp: &Stamp, facts: InfoFacts) -> Object {
    let mut info = Object::default();
    let keep = |info: &mut Object, key: &str| {
        if let Some(v) = given.raw(key).filter(|v| v.get() != "null") {
            info.set(key, v);
        }
    };
    if facts.in_commit_time {
        info.set("inCommitTimestamp", facts.committed_at);
    }
    info.set("timestamp", facts.committed_at);
    keep(&mut info, "operation");
    if info.raw("operation").is_none() {
        info.set("operation", if matches!(request.base, Base::Create(_)) { "CREATE TABLE" } else { "WRITE" });
    }
    keep(&mut info, "operationParameters");
    if info.raw("operationParameters").is_none() {
        info.set("operationParameters", Object::default());
    }
    keep(&mut info, "operationMetrics");
    info.set("engineInfo", concat!("deltalakedb/", env!("CARGO_PKG_VERSION")));
    info.set("txnId", format!("{:?}", request.commit_id));
    // Others commit past a blind append: what read something is none, whatever its writer says.
    info.set("isBlindAppend", facts.blind && given.get::<bool>("isBlindAppend").unwrap_or(true));
    info.set("isolationLevel", facts.isolation.as_str());
    if let Base::Exactly(v) | Base::RebaseFrom(v) = request.base {
        info.set("readVersion", v);
    }
    if let Some(committer) = &request.committer {
        info.set("userName", committer);
    }
    for (key, value) in given.iter() {
        let fixed = matches!(key, "timestamp" | "inCommitTimestamp" | "engineInfo" | "txnId" | "isolationLevel");
        if info.raw(key).is_none() && !fixed {
            info.set(key, value);
        }
    }
    let mut ours = Object::default();
    if !stamp.catalog_id.is_nil() {
        ours.set("catalogId", stamp.catalog_id.to_string());
        ours.set("epoch", stamp.epoch.to_string());
        ours.set("tableId", request.table.to_string());
    }
    ours.set("table", current.name.to_string());
    if let Some((group, participants)) = &stamp.group {
        ours.set("groupId", group.to_string());
        ours.set("participants", participants.iter().map(|p| p.to_string()).collect::<Vec<_>>());
    }
    if let Some(engine) = given.get::<String>("engineInfo") {
        ours.set("writer", engine);
    }
    info.set(OUR_KEY, ours);
    info
}

/// The remove of a live file: path and file facts from our row, the rest as asked.
fn render_remove(asked: &Remove, live: &Add, now: i64) -> Remove {
    let mut remove = Remove::of(live, asked.deletion_timestamp.unwrap_or(now), asked.data_change);
    remove.stats = asked.stats.clone();
    remove.extra = asked.extra.clone();
    remove
}

/// Refuses a transaction that is empty, names a table twice, or makes a table inside of another.
pub fn check_group(requests: &[CommitRequest]) -> Result<()> {
    if requests.is_empty() {
        return Err(TxnLogError::invalid("the transaction has no commit in it"));
    }
    for request in requests.iter().filter(|r| matches!(r.content, Content::Verbatim(_))) {
        request.base.next()?;
        if requests.len() > 1 {
            return Err(TxnLogError::invalid(format!(
                "the commit to {} is verbatim and cannot say that it belongs to a transaction: commit it alone",
                request.table
            )));
        }
    }
    let new = requests.iter().filter_map(|r| match &r.base {
        Base::Create(new) => Some((new.location.key(), new)),
        _ => None,
    });
    let mut new: Vec<_> = new.collect();
    new.sort_by(|(a, _), (b, _)| a.cmp(b));
    // What is inside of a folder comes right after it.
    for pair in new.windows(2) {
        let (outer, inner) = (pair[0].1, pair[1].1);
        if pair[0].0 != pair[1].0 {
            inner.location.check_apart(&outer.name, &outer.location)?;
        }
    }
    let mut ids: Vec<_> = requests.iter().map(|r| r.table).collect();
    ids.sort();
    match ids.windows(2).find(|w| w[0] == w[1]) {
        Some(w) => {
            Err(TxnLogError::invalid(format!("the transaction has two commits for the table {}: merge them", w[0])))
        }
        None => Ok(()),
    }
}

/// The outcome of requests of which `known` are committed already: all of them, or nothing to say.
pub fn already_committed(requests: &[CommitRequest], known: Vec<Committed>) -> Result<Option<Outcome>> {
    let all = requests.iter().filter(|r| r.writes()).count();
    match known.len() {
        0 => Ok(None),
        n if n == all => Ok(Some(Outcome::Committed(known))),
        n => Err(TxnLogError::invalid(format!(
            "{n} of the transaction's {all} commits are committed already, in another transaction: make new ones"
        ))),
    }
}

/// Refuses to commit to a table whose mirror has stopped.
pub fn check_mirror(name: &TableName, mirror: &MirrorState) -> Result<()> {
    match mirror {
        MirrorState::Following => Ok(()),
        MirrorState::Diverged { version, what } => Err(TxnLogError::invalid(format!(
            "{name} takes no commits: version {version} in its _delta_log is not ours ({what}); run `dl verify {name}`"
        ))),
    }
}

/// Refuses history that does not go on where the table stands.
pub fn check_next(name: &TableName, head: Option<Version>, next: Version) -> Result<()> {
    match head {
        Some(head) if next != head + 1 => Err(TxnLogError::new(
            crate::ErrorKind::Conflict,
            format!("history for {name} comes with version {next}, and the table is at version {head}: begin again"),
        )),
        _ => Ok(()),
    }
}

/// Refuses a state to begin with for a table that has versions: the files of both would be live.
pub fn check_begins(name: &TableName, head: Option<Version>, base: Version) -> Result<()> {
    match head {
        Some(head) => Err(TxnLogError::new(
            crate::ErrorKind::Conflict,
            format!(
                "history for {name} begins with the state at version {base}, and the table has version {head} already"
            ),
        )),
        None => Ok(()),
    }
}

/// The time of a version that is history: its own, or just after that of the version before where it is not later.
pub fn later_than(name: &TableName, version: Version, before: Option<i64>, own: i64) -> Result<i64> {
    let Some(before) = before.filter(|before| own <= *before) else { return Ok(own) };
    before.checked_add(1).ok_or_else(|| {
        TxnLogError::corrupt(format!(
            "version {version} of {name} has no time after that of the version before, which is the last there is: \
             correct the inCommitTimestamp of that version"
        ))
    })
}

/// The error of a load that would take in the part of one table in a transaction, and not that of another.
pub fn half_of_a_group(name: &TableName, version: Version, other: &TableName) -> TxnLogError {
    TxnLogError::invalid(format!(
        "version {version} of {name} belongs to a transaction that changed {other} as well, and neither the catalog nor \
         the _delta_log of {other} has its part there: publish {other} from where it was committed, or move version \
         {version} and those after it out of the _delta_log of {name}"
    ))
}

/// The error of whoever gives up a load that there is not.
pub fn no_unfinished_load(table: TableId) -> TxnLogError {
    TxnLogError::not_found(format!("there is no unfinished import of a table with the id {table}"))
}

/// The error of a publisher whose lease has gone to another.
pub fn fenced(name: &TableName) -> TxnLogError {
    TxnLogError::new(
        crate::ErrorKind::Conflict,
        format!("another process publishes {name} now: it goes on where this one stopped"),
    )
}
