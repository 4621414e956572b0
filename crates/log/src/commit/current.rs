//! The stored state of a table when a commit or a load starts, and the checks that depend on this state alone.

use std::collections::HashMap;

use crate::action::{Add, Metadata, Protocol, Version};
use crate::conflict::WinningCommit;
use crate::entry::MirrorState;
use crate::error::{ErrorKind, Result, TxnLogError};
use crate::future_times::TimeLeap;
use crate::ids::TableName;
use crate::owner::TableOwner;
use crate::path::{FileKey, SetHash};

/// The stored state of a table, read under the lock.
#[derive(Clone, Debug)]
pub struct Current {
    /// The table's name.
    pub name: TableName,
    /// The only program that may commit to the table.
    pub owner: Option<TableOwner>,
    /// The version; `None` for a table that the request creates.
    pub version: Option<Version>,
    /// Its time, in milliseconds since 1970.
    pub timestamp: i64,
    /// The first version whose time is ahead of the catalog's clock, when [`is_ahead`](crate::future_times::is_ahead)
    /// is true for `timestamp`.
    pub leap: Option<TimeLeap>,
    /// Protocol and metadata; `None` for a table that the request creates.
    pub state: Option<(Protocol, Metadata)>,
    /// Hash of the live files.
    pub set_hash: SetHash,
    /// The first commit after the request's base that conflicts with it, as found by a
    /// [`ConflictChecker`](super::ConflictChecker).
    pub conflict: Option<WinningCommit>,
    /// The live files at [`CommitRequest::changed_paths`](super::CommitRequest::changed_paths), with any deletion vector.
    pub live: HashMap<FileKey, Add>,
}

impl Current {
    /// The state of a table that has no version yet.
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

/// Refuses to commit to a table whose mirror has stopped.
pub fn check_mirror(name: &TableName, mirror: &MirrorState) -> Result<()> {
    match mirror {
        MirrorState::Following => Ok(()),
        MirrorState::Diverged { version, what } => Err(TxnLogError::invalid(format!(
            "{name} accepts no commits: version {version} in its _delta_log was not written by this catalog ({what}); \
             run `dl verify {name}`"
        ))),
    }
}

/// Rejects history that does not continue after the table's newest version.
pub fn check_next(name: &TableName, head: Option<Version>, next: Version) -> Result<()> {
    match head {
        Some(head) if next != head + 1 => Err(TxnLogError::new(
            ErrorKind::Conflict,
            format!(
                "the history of {name} continues with version {next}, and the table is at version {head}: begin again"
            ),
        )),
        _ => Ok(()),
    }
}

/// Rejects a base state for a table that already has versions: the files of both would be live.
pub fn check_begins(name: &TableName, head: Option<Version>, base: Version) -> Result<()> {
    match head {
        Some(head) => Err(TxnLogError::new(
            ErrorKind::Conflict,
            format!(
                "history for {name} begins with the state at version {base}, and the table has version {head} already"
            ),
        )),
        None => Ok(()),
    }
}

/// The time of a loaded version: its own time, or the time of the version before plus 1 ms if its own is not later.
pub fn later_than(name: &TableName, version: Version, before: Option<i64>, own: i64) -> Result<i64> {
    let Some(before) = before.filter(|before| own <= *before) else { return Ok(own) };
    before.checked_add(1).ok_or_else(|| {
        TxnLogError::corrupt(format!(
            "version {version} of {name} cannot be later than the version before it, whose time is the last possible \
             one: correct the inCommitTimestamp of that version"
        ))
    })
}

/// The error of a publisher whose lease was taken over by another.
pub fn lease_lost(name: &TableName) -> TxnLogError {
    TxnLogError::new(
        ErrorKind::Conflict,
        format!("another process publishes {name} now: it continues where this one stopped"),
    )
}
