//! The administration of an in-memory catalog.

use super::*;
use crate::administration::CatalogAdministration;

#[async_trait]
impl CatalogAdministration for MemoryCatalog {
    async fn renew_epoch(&self) -> Result<Uuid> {
        let epoch = self.clock.new_uuid();
        *self.epoch.lock() = epoch;
        self.compared.clear();
        Ok(epoch)
    }

    async fn default_retention(&self) -> Result<Retention> {
        Ok(*self.retention.lock())
    }

    async fn set_default_retention(&self, retention: Retention, _: Option<&str>) -> Result<()> {
        let mut stored = self.retention.lock();
        *stored = retention.or(*stored);
        Ok(())
    }

    async fn expire_audit(&self, _: i64) -> Result<u64> {
        // An in-memory catalog has no audit.
        Ok(0)
    }
}
