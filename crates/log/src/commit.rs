//! Commits: the request of a writer, the rules that decide it, and the bytes that become the log entry.
//!
//! [`prepare`] is the whole decision, as a pure function of the request and of the state that is stored when the lock
//! is held. Every catalog calls it, so all of them make the same decision and write the same bytes.

use bytes::Bytes;

use crate::action::{CommitInfo, Version};
use crate::error::{Result, TxnLogError};
use crate::history::{CommitTime, TimeSource};
use crate::owner::check_owner;
use crate::path::{FileKey, SetHash};
use crate::snapshot::CommitActions;
use crate::stamp::CommitStamp;

mod conflict_checker;
mod current;
mod legality;
mod outcome;
mod render;
mod request;
mod transaction;

pub use crate::commit_info::{COMMIT_INFO_KEY, CommitOrigin, Group, catalog_of, id_of};
pub use crate::conflict::{Conflict, ConflictKind, WinningCommit};
pub use crate::entry::NewTable;
pub use crate::time_travel::{base_not_retained, bytes_not_retained, resolve};
pub use conflict_checker::{ConflictChecker, WinningFiles};
pub use current::{Current, check_begins, check_mirror, check_next, later_than, lease_lost};
pub use outcome::{Committed, Outcome};
pub use request::{Base, CommitRequest, Content, Isolation, Reads};
pub use transaction::{already_committed, check_group, incomplete_transaction, no_unfinished_load};

use legality::check_legal;
use render::stamped;
use request::isolation;

/// A commit that is decided: what a catalog stores.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Prepared {
    /// The version of the commit.
    pub version: Version,
    /// Its time, in milliseconds since 1970.
    pub committed_at: i64,
    /// The source of the time.
    pub time_source: TimeSource,
    /// The exact bytes for the log.
    pub body: Bytes,
    /// The `commitInfo` in these bytes.
    pub info: CommitInfo,
    /// The changes in these bytes, sorted by kind.
    pub changes: CommitActions,
    /// Files that were live and are now removed or replaced.
    pub ended: Vec<FileKey>,
    /// Hash of the live files after the commit.
    pub set_hash: SetHash,
    /// The isolation that was checked.
    pub isolation: Isolation,
}

/// Decides a commit: conflicts, legality, final bytes. `Ok(Err(_))` is a conflict, `Err(_)` a request that can never
/// succeed, and `Ok(Ok(None))` a request that only read and is still valid.
pub fn prepare(
    request: &CommitRequest,
    current: &Current,
    stamp: &CommitStamp,
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
        return if request.actions().is_empty() {
            Ok(Ok(None))
        } else {
            Err(TxnLogError::invalid(format!("{} is only read, and the commit has actions", current.name)))
        };
    }
    let version = current.version.map_or(0, |v| v + 1);
    let isolation = isolation(request, current.state.as_ref().map(|(_, metadata)| metadata));
    let our_time = stamp.time_of(current)?;
    let (body, info, changes) = match &request.content {
        Content::Actions(actions) => {
            let (info, actions) = stamped(request, actions, current, stamp, our_time, isolation);
            let mut body = Vec::new();
            let changes = CommitActions::from_actions(actions.inspect(|action| action.write_line(&mut body)));
            (body.into(), info, changes)
        }
        Content::Verbatim(verbatim) => {
            let commit = verbatim.commit();
            (commit.bytes().clone(), commit.info().cloned().unwrap_or_default(), CommitActions::of(commit.actions()))
        }
    };
    let after = check_legal(request, current, &changes)?;
    let time = match &request.content {
        Content::Actions(_) => CommitTime { ms: our_time, source: TimeSource::Clock },
        Content::Verbatim(verbatim) => verbatim.check(request.base.next()?, current, after, stamp)?,
    };
    if let Some((_, r)) = changes.removes.iter().find(|(key, _)| !current.live.contains_key(key)) {
        // The file is not live and no concurrent commit removed it: it never existed.
        return Err(TxnLogError::invalid(format!(
            "the commit removes {} from {}, which is not a file of the table",
            r.path, current.name
        )));
    }
    let mut set_hash = current.set_hash;
    changes.advance(&mut set_hash, |key| current.live.contains_key(key));
    let changed_files = changes.removes.iter().map(|(k, _)| *k).chain(changes.adds.iter().map(|(k, _)| *k));
    let mut ended: Vec<_> = changed_files.filter(|key| current.live.contains_key(key)).collect();
    ended.sort_unstable();
    let (committed_at, time_source) = (time.ms, time.source);
    Ok(Ok(Some(Prepared { version, committed_at, time_source, body, info, changes, ended, set_hash, isolation })))
}
