//! Versions that are held while they are read: neither vacuum nor expiry removes them.

use std::sync::Arc;
use std::time::Duration;

use deltalakedb_log::{Catalog, Hold, Result, TableId, Version};

/// A held version of a table. It is held until the hold is released or has ended: dropping this value does not release
/// the hold.
#[derive(Clone, Debug)]
pub struct HeldVersion {
    catalog: Arc<dyn Catalog>,
    hold: Hold,
}

impl HeldVersion {
    /// Holds a version, whether or not a vacuum is running.
    pub(crate) async fn new(
        catalog: &Arc<dyn Catalog>,
        table: TableId,
        version: Version,
        duration: Duration,
        holder: &str,
    ) -> Result<Self> {
        let until = after(catalog.now_ms().await?, duration);
        let hold = catalog.hold(table, version, until, holder).await?;
        Ok(Self { catalog: catalog.clone(), hold })
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.hold.version
    }

    /// The end of the hold, in milliseconds since 1970 by the catalog's clock.
    pub fn until_ms(&self) -> i64 {
        self.hold.until_ms
    }

    /// Extends the hold to this duration from now on.
    ///
    /// # Errors
    /// [`deltalakedb_log::ErrorKind::NotFound`] when the hold has ended: files of the version may have been removed.
    pub async fn renew(&mut self, duration: Duration) -> Result<()> {
        let until = after(self.catalog.now_ms().await?, duration);
        self.hold = self.catalog.renew_hold(&self.hold, until).await?;
        Ok(())
    }

    /// Ends the hold.
    pub async fn release(&self) -> Result<()> {
        self.catalog.release_hold(&self.hold).await
    }
}

fn after(now_ms: i64, duration: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}
