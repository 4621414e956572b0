//! Operations on a catalog as a whole.

use std::fmt;

use async_trait::async_trait;
use uuid::Uuid;

use crate::error::Result;
use crate::retention::Retention;

/// The administration of a catalog.
///
/// # Contract
/// - *Atomic*: each call is one transaction.
/// - *Visible*: after a call returns, every process sees what it set.
/// - No call changes a table or its history.
#[async_trait]
pub trait CatalogAdministration: Send + Sync + fmt::Debug {
    /// Draws a new epoch, because the catalog was restored from a backup or its server was replaced. The epoch
    /// distinguishes commits made from now on from earlier commits that this catalog no longer has, and is
    /// [later](crate::epoch) than the one before.
    async fn renew_epoch(&self) -> Result<Uuid>;

    /// Becomes the successor of a catalog that was lost: takes its id, and draws an epoch that is [later](crate::epoch)
    /// than its own and these, the epochs of the other catalog. Returns the new epoch. The tables must be those of the
    /// other catalog; they are not changed.
    async fn succeed(&self, catalog: Uuid, epochs: &[Uuid]) -> Result<Uuid>;

    /// The retention that applies to tables without a retention of their own; fields that are not set are `None`.
    async fn default_retention(&self) -> Result<Retention>;

    /// Sets this retention; fields that are `None` keep their value.
    async fn set_default_retention(&self, retention: Retention, committer: Option<&str>) -> Result<()>;

    /// Removes a batch of audit entries older than `before_ms` (milliseconds since 1970) and returns how many it
    /// removed. 0 means that no such entry is left.
    async fn expire_audit(&self, before_ms: i64) -> Result<u64>;
}
