//! What is done to a catalog as a whole.

use std::fmt;

use async_trait::async_trait;
use uuid::Uuid;

use crate::error::Result;
use crate::retention::Retention;

/// The administration of a catalog.
///
/// # Contract
/// - *Atomic*: each call is one transaction.
/// - *Visible*: what a call sets holds for every process from its return on.
/// - No call changes a table or its history.
#[async_trait]
pub trait CatalogAdministration: Send + Sync + fmt::Debug {
    /// Draws a new epoch: the catalog was restored from a backup, or its server was replaced by another. What is
    /// committed from now on is told by it from what was committed before and is no longer known here.
    async fn renew_epoch(&self) -> Result<Uuid>;

    /// What the catalog keeps of tables that do not say it themselves, as far as that is said.
    async fn default_retention(&self) -> Result<Retention>;

    /// Says it; what is not given stays as it was.
    async fn set_default_retention(&self, retention: Retention, committer: Option<&str>) -> Result<()>;

    /// Removes some lines of the audit that are older than that time, in milliseconds since 1970: how many. None are left
    /// when it is 0.
    async fn expire_audit(&self, before_ms: i64) -> Result<u64>;
}
