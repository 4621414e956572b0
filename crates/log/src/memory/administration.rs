//! The administration of an in-memory catalog.

use super::*;
use crate::administration::CatalogAdministration;

#[async_trait]
impl CatalogAdministration for MemoryCatalog {
    async fn renew_epoch(&self) -> Result<Uuid> {
        let catalog = self.identity.lock().0;
        self.succeed(catalog, &[]).await
    }

    async fn succeed(&self, catalog: Uuid, epochs: &[Uuid]) -> Result<Uuid> {
        let mut identity = self.identity.lock();
        let epoch = new_epoch(self.clock.as_ref(), &[&[identity.1], epochs].concat());
        *identity = (catalog, epoch);
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
