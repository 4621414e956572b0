//! Writes a plain log: put-if-absent of the next version; the first writer wins.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};
use uuid::Uuid;

use super::reader::FileTxnLogReader;
use super::{TableDir, commit_path};
use crate::action::{Action, Add, Commit, Version};
use crate::commit::{
    Base, COMMIT_INFO_KEY, CommitRequest, Committed, Conflict, ConflictChecker, ConflictKind, Content, Current,
    Outcome, WinningCommit, prepare,
};
use crate::error::{ErrorKind, Result, TxnLogError};
use crate::ids::{Clock, TableName};
use crate::lifecycle::DETACH;
use crate::location::Location;
use crate::object::Object;
use crate::path::{FileKey, PathKey};
use crate::reader::{TxnLogReader, TxnLogWriter};
use crate::snapshot::{At, Head};
use crate::stamp::CommitStamp;
use crate::stores::Stores;

/// How often a commit is rebased onto a newer head before an error is returned.
const ATTEMPTS: usize = 100;

/// Commits to a table that no catalog manages.
///
/// # Contract
/// - The writer that first puts a version commits it; an existing file is never overwritten. The store must honour
///   [`PutMode::Create`].
/// - A repeated commit is recognized by its id in `commitInfo.txnId`, as long as the log has the commits after the
///   request's base. A verbatim commit is recognized by its bytes.
/// - A table whose newest commit was made by a catalog is rejected: the catalog decides its versions.
#[derive(Clone, Debug)]
pub struct FileTxnLogWriter {
    dir: TableDir,
    clock: Arc<dyn Clock>,
}

/// The result of a put.
enum Put {
    Done,
    /// The file exists. It may be ours: the store may have retried the put after its first attempt succeeded, or the
    /// connection was lost after the write. The commit id in the log decides.
    Taken,
    /// The file may still be written.
    Unknown(String),
}

impl FileTxnLogWriter {
    /// A writer for the table at `location`, which need not exist yet.
    pub fn open_in(location: &Location, stores: &dyn Stores, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self { dir: TableDir::open(location.clone(), stores)?, clock })
    }

    /// A writer for the table at the root of `store`; messages name it `location`.
    pub fn with_store(location: Location, store: Arc<dyn ObjectStore>, clock: Arc<dyn Clock>) -> Self {
        Self { dir: TableDir::new(location, store), clock }
    }

    fn table_name(&self) -> TableName {
        TableName { namespace: "default".into(), name: self.dir.location.folder() }
    }

    /// The commits after the request's base that matter to it: the first that it conflicts with, and the one that is
    /// the request itself.
    async fn winners(
        &self,
        log: &FileTxnLogReader,
        request: &CommitRequest,
        head: &Head,
        live: &HashMap<FileKey, Add>,
    ) -> Result<Winners> {
        let mut winners = Winners::default();
        let (first, last) = match request.base {
            // A commit that creates a table is version 0: a later version cannot be that commit.
            Base::Create(_) if log.holds(0) => (0, 0),
            Base::Create(_) => return Ok(winners),
            Base::Exactly(base) | Base::RebaseFrom(base) | Base::ReadAt(base) => {
                (base.saturating_add(1), log.versions().1)
            }
        };
        if first > last {
            return Ok(winners);
        }
        let mut checker = ConflictChecker::new(request, Some(&head.metadata), live);
        let mut changes = log.changes(first, last).await?;
        while let Some((version, body)) = changes.try_next().await? {
            let commit = Commit::parse(body, &self.dir.name(&commit_path(version)))?;
            if is_of(&commit, version, request)? {
                winners.own = Some(version);
            }
            if winners.conflict.is_none() {
                winners.conflict = checker.check(version, &commit)?;
            }
        }
        Ok(winners)
    }

    /// The state of the log, or the request's own commit if the log has it. Version `taken` is known to exist.
    async fn current_state(
        &self,
        request: &CommitRequest,
        taken: Option<Version>,
    ) -> Result<Result<Current, Committed>> {
        let log = FileTxnLogReader::find(self.dir.clone()).await?;
        let mut there = None;
        if let Some(log) = &log {
            let head = log.snapshot(At::Latest).await?.head;
            let live = live_at(log, head.version, &request.changed_paths()).await?;
            let winners = self.winners(log, request, &head, &live).await?;
            if let Some(version) = winners.own {
                let timestamp = log.time(version).await?.ms;
                return Ok(Err(Committed { table: request.table, version, timestamp, leap: None }));
            }
            there = Some((log, head, winners.conflict, live));
        }
        if let Some(version) = taken.filter(|version| !log.as_ref().is_some_and(|log| log.holds(*version))) {
            let file = self.dir.name(&commit_path(version));
            return Err(TxnLogError::new(ErrorKind::Unavailable, format!("{file} exists and is not listed")));
        }
        // A table that no catalog manages has no owner, and no stored hash of its files.
        let mut current = Current::without_version(self.table_name(), request.owner.clone());
        if let Some((log, head, conflict, live)) = there {
            self.check_unmanaged(log).await?;
            current.live = live;
            current.version = Some(head.version);
            current.timestamp = head.timestamp;
            current.state = Some((head.protocol, head.metadata));
            current.conflict = conflict;
        }
        Ok(Ok(current))
    }

    /// Rejects a table whose newest commit was made by a catalog, unless the catalog detached the table.
    async fn check_unmanaged(&self, log: &FileTxnLogReader) -> Result<()> {
        let head = log.versions().1;
        let Some(body) = log.commit_bytes(head).await? else {
            return Ok(());
        };
        let actions = Commit::parse_without_files(&body, &self.dir.name(&commit_path(head)))?;
        let catalog = actions.iter().find_map(|action| match action {
            Action::CommitInfo(info) if info.operation().as_deref() == Some(DETACH) => None,
            Action::CommitInfo(info) => info.0.get::<Object>(COMMIT_INFO_KEY)?.get::<String>("catalogId"),
            _ => None,
        });
        match catalog {
            Some(id) => Err(TxnLogError::invalid(format!(
                "{} is managed by the catalog {id}: open it there to write, not by its path",
                self.dir.location
            ))),
            None => Ok(()),
        }
    }

    async fn put(&self, version: Version, body: &Bytes) -> Result<Put> {
        let path = commit_path(version);
        match self.dir.store.put_opts(&path, body.clone().into(), PutMode::Create.into()).await {
            Ok(_) => Ok(Put::Done),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Put::Taken),
            Err(
                e @ (Error::PermissionDenied { .. }
                | Error::Unauthenticated { .. }
                | Error::InvalidPath { .. }
                | Error::NotSupported { .. }
                | Error::NotImplemented { .. }
                | Error::NotFound { .. }),
            ) => {
                let what = format!("{} cannot be written, and nothing was", self.dir.name(&path));
                Err(self.dir.failed(e, &what))
            }
            Err(e) => match self.dir.store.head(&path).await {
                Ok(_) => Ok(Put::Taken),
                Err(_) => Ok(Put::Unknown(TxnLogError::from(e).to_string())),
            },
        }
    }
}

/// The live files at these paths, which are sorted.
async fn live_at(log: &FileTxnLogReader, version: Version, paths: &[PathKey]) -> Result<HashMap<FileKey, Add>> {
    let mut live = HashMap::new();
    if paths.is_empty() {
        return Ok(live);
    }
    let mut files = log.files(version, None).await?;
    while let Some(add) = files.try_next().await? {
        if paths.binary_search(&PathKey::new(&add.path)).is_ok() {
            live.insert(add.key(), add);
        }
    }
    Ok(live)
}

#[derive(Default)]
struct Winners {
    conflict: Option<WinningCommit>,
    own: Option<Version>,
}

/// Whether a commit in the log is the request: by id for our own commits, by bytes for those of other engines.
fn is_of(commit: &Commit, version: Version, request: &CommitRequest) -> Result<bool> {
    Ok(match &request.content {
        Content::Actions(_) => {
            let txn_id = commit.info().and_then(|info| info.0.get::<String>("txnId"));
            txn_id.is_some_and(|txn_id| txn_id == format!("{:?}", request.commit_id))
        }
        Content::Verbatim(own) => version == request.base.next()? && own.commit().bytes() == commit.bytes(),
    })
}

#[async_trait]
impl TxnLogWriter for FileTxnLogWriter {
    async fn commit(&self, request: CommitRequest) -> Result<Outcome> {
        let table = request.table;
        let mut taken = None;
        for attempt in 0.. {
            let current = match self.current_state(&request, taken).await {
                Ok(Ok(current)) => current,
                Ok(Err(own)) => return Ok(Outcome::Committed(vec![own])),
                // The existing file may be our commit; without reading the log that is unknown.
                Err(e) if taken.is_some() => return Ok(Outcome::Unknown(e.to_string())),
                Err(e) => return Err(e),
            };
            if attempt == ATTEMPTS {
                break;
            }
            let now_ms = self.clock.now_ms();
            let stamp = CommitStamp {
                committed_at: now_ms.max(current.timestamp.saturating_add(1)),
                now_ms,
                catalog_id: Uuid::nil(),
                epoch: Uuid::nil(),
                group: None,
            };
            let prepared = match prepare(&request, &current, &stamp)? {
                Ok(Some(prepared)) => prepared,
                Ok(None) => return Ok(Outcome::Committed(Vec::new())),
                Err(conflict) => return Ok(Outcome::Conflict(conflict)),
            };
            let (version, timestamp) = (prepared.version, prepared.committed_at);
            match self.put(version, &prepared.body).await? {
                Put::Done => return Ok(Outcome::Committed(vec![Committed { table, version, timestamp, leap: None }])),
                Put::Taken => taken = Some(version),
                Put::Unknown(why) => return Ok(Outcome::Unknown(why)),
            }
        }
        let (table_name, kind) = (self.table_name(), ConflictKind::VersionTaken);
        Ok(Outcome::Conflict(Conflict { table, table_name, version: taken.unwrap_or_default(), operation: None, kind }))
    }
}
