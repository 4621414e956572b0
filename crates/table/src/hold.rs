//! Versions that are held while they are read: neither vacuum nor expiry takes them away.

use std::sync::Arc;
use std::time::Duration;

use deltalakedb_log::{At, Catalog, Hold, Result, TxnLogError, Version};

use crate::table::{DeltaTable, Source};
use crate::vacuum::check_none_is_going_on;

/// A version of a table that is held. It is so until the hold is released, or until its time is over: what is only
/// dropped stays held as long as was said.
#[derive(Clone, Debug)]
pub struct HeldVersion {
    catalog: Arc<dyn Catalog>,
    hold: Hold,
}

impl DeltaTable {
    /// Holds a version for so long, by the catalog's clock. `holder` is what others see in a listing of the holds.
    ///
    /// # Errors
    /// [`deltalakedb_log::ErrorKind::Conflict`] while a vacuum is going on that may remove files of the version;
    /// [`deltalakedb_log::ErrorKind::NotFound`] when there is no such version.
    pub async fn hold(&self, at: At, duration: Duration, holder: &str) -> Result<HeldVersion> {
        let Source::Catalog { catalog, id, name, .. } = &self.source else {
            return Err(TxnLogError::invalid(format!(
                "{self} is in no catalog, and only a catalog can hold a version: bring it in with `dl import`"
            )));
        };
        let reader = catalog.reader(*id);
        let version = reader.snapshot(at).await?.version();
        let until = after(catalog.now_ms().await?, duration);
        let hold = catalog.hold(*id, version, until, holder).await?;
        // A vacuum that began before may have looked for holds already. What it spares in any case is the newest version.
        if version < reader.head().await?.version {
            let free = check_none_is_going_on(reader.as_ref(), catalog.now_ms().await?, &name.to_string()).await;
            if let Err(e) = free {
                catalog.release_hold(&hold).await?;
                return Err(e);
            }
        }
        Ok(HeldVersion { catalog: catalog.clone(), hold })
    }

    /// What is held of the table, the oldest version first.
    pub async fn holds(&self) -> Result<Vec<Hold>> {
        match &self.source {
            Source::Catalog { catalog, id, .. } => catalog.holds(*id).await,
            Source::Plain | Source::Reader(_) => Ok(Vec::new()),
        }
    }
}

impl HeldVersion {
    /// The version.
    pub fn version(&self) -> Version {
        self.hold.version
    }

    /// Until when it is held, in milliseconds since 1970 by the catalog's clock.
    pub fn until_ms(&self) -> i64 {
        self.hold.until_ms
    }

    /// Holds it for so long from now on.
    ///
    /// # Errors
    /// [`deltalakedb_log::ErrorKind::NotFound`] when the hold has ended: files of the version may be gone.
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
