//! The state of the mirrors in a catalog: the progress of each `_delta_log`, its publisher, and failures.

use std::fmt;

use async_trait::async_trait;
use uuid::Uuid;

use crate::action::Version;
use crate::entry::{MirrorState, TableEntry};
use crate::error::Result;
use crate::ids::TableId;

/// The progress of the mirrors.
///
/// # Contract
/// - *Atomic*: each call is one transaction.
/// - *Fenced*: each table has one newest lease, and its token is greater than that of every lease before it. A record
///   under an older lease is rejected with [`crate::ErrorKind::Conflict`].
/// - *Monotonic*: the newest published version of a table never decreases.
/// - *Independent of commits*: only [`MirrorProgress::set_mirror`] and commits to the table wait for each other,
///   because commits depend on the state. Everything else may be lost in a power failure and is then repeated: the
///   bytes published for a version are always the same, and a lease expires by itself.
/// - For a table that is not live, taking a lease and setting the state is [`crate::ErrorKind::NotFound`], and the
///   error says what happened to the table.
#[async_trait]
pub trait MirrorProgress: Send + Sync + fmt::Debug {
    /// Takes the lease for publishing a table until `until_ms`; `None` while another holder has it.
    async fn acquire_lease(&self, table: TableId, holder: Uuid, now_ms: i64, until_ms: i64) -> Result<Option<Lease>>;

    /// Releases the lease.
    async fn release_lease(&self, lease: &Lease) -> Result<()>;

    /// Records that `_delta_log` has everything up to `version`, if the lease is still the newest.
    async fn mark_published(&self, lease: &Lease, version: Version) -> Result<()>;

    /// Records it without a lease, for the versions `from` to `to`; returns whether `from` was the next version to
    /// publish. Two processes that do this at the same time are safe, because both put the same bytes.
    async fn mark_next_published(&self, table: TableId, from: Version, to: Version) -> Result<bool>;

    /// Records that a valid checkpoint of `version` exists: failures of it and of earlier ones are resolved.
    async fn mark_checkpointed(&self, table: TableId, version: Version) -> Result<()>;

    /// Records a failed attempt. For a checkpoint it is kept until [`Self::mark_checkpointed`], for a commit until
    /// [`Self::mark_published`]; a failure for a commit that another process has published in the meantime is not
    /// recorded.
    async fn mark_failed(
        &self,
        table: TableId,
        version: Version,
        artifact: Artifact,
        error: &str,
        at_ms: i64,
    ) -> Result<()>;

    /// Stops a table because a file in its `_delta_log` is not ours, or resumes it. Returns `false` and changes nothing
    /// when the table's state is no longer the one that was `seen`, or when the version of that file was beyond the
    /// table's newest version and has been committed since: then the file may be ours.
    async fn set_mirror(&self, seen: &TableEntry, state: &MirrorState) -> Result<bool>;

    /// The failures that are not resolved, by version.
    async fn mirror_failures(&self, table: TableId) -> Result<Vec<MirrorFailure>>;

    /// The live tables with unpublished versions, or those of them that are `among` the given ones: the table whose
    /// oldest unpublished version is the oldest comes first. Diverged tables are included. In a database this is one
    /// statement, whatever the number of tables.
    async fn tables_behind(&self, among: Option<&[TableId]>) -> Result<Vec<TableBehind>>;
}

/// A table with unpublished versions.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TableBehind {
    /// The table.
    pub table: TableEntry,
    /// The time of its oldest unpublished version, in milliseconds since 1970.
    pub since_ms: i64,
}

impl TableBehind {
    /// A table, with the time of its oldest unpublished version.
    pub fn new(table: TableEntry, since_ms: i64) -> Self {
        Self { table, since_ms }
    }

    /// How long the oldest unpublished version has been unpublished, in milliseconds.
    pub fn lag_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.since_ms).max(0)
    }
}

/// The holder of the lease for publishing a table, with a fencing token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The table.
    pub table: TableId,
    /// Who holds it.
    pub holder: Uuid,
    /// Greater than the tokens of all earlier holders; an older token is rejected.
    pub token: i64,
}

/// What is published to `_delta_log` for a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Artifact {
    /// `N.json`, the commit.
    Commit,
    /// `N.checkpoint.parquet`, the state at the version.
    Checkpoint,
}

impl Artifact {
    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// A failed publishing attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorFailure {
    /// The version that could not be published.
    pub version: Version,
    /// Which file of the version.
    pub artifact: Artifact,
    /// The number of attempts.
    pub attempts: u32,
    /// The error of the last attempt.
    pub error: String,
    /// The time of the last attempt, in milliseconds since 1970.
    pub failed_at: i64,
}
