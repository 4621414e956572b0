//! What a catalog knows of the mirrors of its tables: how far each `_delta_log` is, who publishes to it, and what failed.

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
/// - *Fenced*: of one table one lease is the newest, and its token is greater than that of every lease before it. What is
///   recorded under an older one is refused with [`crate::ErrorKind::Conflict`].
/// - *Monotonic*: the newest published version of a table never falls.
/// - *Apart from commits*: only [`MirrorProgress::set_mirror`] waits for a commit to the table, and commits for it, since
///   commits depend on the state. Everything else may be lost with the power, and then be done again: the bytes that are
///   published for a version are always the same, and a lease ends by itself.
/// - A table that is not live is [`crate::ErrorKind::NotFound`] where a lease is taken or the state is set, and says what
///   became of it.
#[async_trait]
pub trait MirrorProgress: Send + Sync + fmt::Debug {
    /// Takes the right to publish a table until `until_ms`; `None` while someone else has it.
    async fn acquire_lease(&self, table: TableId, holder: Uuid, now_ms: i64, until_ms: i64) -> Result<Option<Lease>>;

    /// Gives it back.
    async fn release_lease(&self, lease: &Lease) -> Result<()>;

    /// Records that `_delta_log` holds everything up to `version`, if the lease is still the newest.
    async fn mark_published(&self, lease: &Lease, version: Version) -> Result<()>;

    /// The same without a lease, for the versions `from` to `to`: whether `from` was the one after those that were
    /// published. What keeps two who do it from harm is that both put the same bytes.
    async fn mark_next_published(&self, table: TableId, from: Version, to: Version) -> Result<bool>;

    /// Records that there is a good checkpoint of `version`: failures of it and of earlier ones are resolved.
    async fn mark_checkpointed(&self, table: TableId, version: Version) -> Result<()>;

    /// Records a failed attempt. For a checkpoint it stands until [`Self::mark_checkpointed`], for a commit until
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

    /// Stops a table, because what stands in its `_delta_log` is not ours, or lets it go on: as long as that is still
    /// so. `false`, and nothing changes, when the table's state is no longer the one that was `seen`, or when the version
    /// that is not ours was beyond the table's newest and has been committed since: then it may well be ours.
    async fn set_mirror(&self, seen: &TableEntry, state: &MirrorState) -> Result<bool>;

    /// What failed and is not there yet, by version.
    async fn mirror_failures(&self, table: TableId) -> Result<Vec<MirrorFailure>>;
}

/// A holder of the right to publish a table, proved by a token that only grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The table.
    pub table: TableId,
    /// Who holds it.
    pub holder: Uuid,
    /// Grows with every holder; an older token is refused.
    pub token: i64,
}

/// What is put into `_delta_log` for a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Artifact {
    /// `N.json`, which is the version.
    Commit,
    /// `N.checkpoint.parquet`, a shorter way to it.
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

/// A publishing attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorFailure {
    /// The version that could not be published.
    pub version: Version,
    /// What of it.
    pub artifact: Artifact,
    /// How often it was tried.
    pub attempts: u32,
    /// What the last try said.
    pub error: String,
    /// When it was last tried, in milliseconds since 1970.
    pub failed_at: i64,
}
