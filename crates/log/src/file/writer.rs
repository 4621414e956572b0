//! Writing a plain log: put-if-absent of the next version; the first writer wins.

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

/// How often a commit is moved to a newer head before it gives up.
const ATTEMPTS: usize = 100;

/// Commits to a table that no catalog manages.
///
/// # Contract
/// - The writer that puts a version first wins it; an existing file is never overwritten. The store must honour
///   [`PutMode::Create`].
/// - The same commit again is found by its id, which stands in `commitInfo.txnId`, as long as the log holds the
///   commits after the request's base. A verbatim commit is found by its bytes.
/// - A table whose newest commit is a catalog's is refused: its versions are decided in the catalog.
#[derive(Clone, Debug)]
pub struct FileTxnLogWriter {
    dir: TableDir,
    clock: Arc<dyn Clock>,
}

/// What came of a put.
enum Put {
    Done,
    /// Someone's commit is there. It may be ours: a store that tried twice met its own first try, one that lost the
    /// connection had written. The next look at the log tells by the commit id.
    Taken,
    /// It may still arrive.
    Unknown(String),
}

impl FileTxnLogWriter {
    /// A writer for the table at `location`, which need not exist yet.
    pub fn open_in(location: &Location, stores: &dyn Stores, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self { dir: TableDir::open(location.clone(), stores)?, clock })
    }

    /// A writer for the table at the root of `store`; `location` is what messages call it.
    pub fn with_store(location: Location, store: Arc<dyn ObjectStore>, clock: Arc<dyn Clock>) -> Self {
        Self { dir: TableDir::new(location, store), clock }
    }

    fn table_name(&self) -> TableName {
        TableName { namespace: "default".into(), name: self.dir.location.folder() }
    }

    /// What the commits after the request's base mean for it: the first that it conflicts with, and the one that is the
    /// request itself.
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

    /// What stands in the log now, or the request itself where it stands there. The version `taken` was there before.
    async fn look(&self, request: &CommitRequest, taken: Option<Version>) -> Result<Result<Current, Committed>> {
        let log = FileTxnLogReader::find(self.dir.clone()).await?;
        let mut there = None;
        if let Some(log) = &log {
            let head = log.snapshot(At::Latest).await?.head;
            let live = live_at(log, head.version, &request.touched()).await?;
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
        // A table that no catalog manages has no owner, and no hash of its files is stored.
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

    /// Refuses a table whose newest commit is a catalog's, unless it detached the table.
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

/// Whether a commit of the log is the request: our own by its id, and one that another engine wrote by its bytes.
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
            let current = match self.look(&request, taken).await {
                Ok(Ok(current)) => current,
                Ok(Err(own)) => return Ok(Outcome::Committed(vec![own])),
                // What is there may be ours: only a look could tell.
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
