//! Operations on a catalog as a whole: its epoch, its retention, its audit.

use std::time::Duration;

use async_trait::async_trait;
use deltalakedb_log::epoch::new_epoch;
use deltalakedb_log::{CatalogAdministration, Result, Retention, TableId};
use uuid::Uuid;

use crate::audit::audit;
use crate::codec::int;
use crate::database::{CommitFailure, DatabaseTransaction, Value, WriteStatement};
use crate::sql_catalog::{SqlCatalog, WriteTransaction};

/// The number of audit entries that one step removes.
const STEP_LINES: i64 = 2_000;
/// The columns of `dl_catalog` with the retention of tables that have none of their own.
pub(crate) const RETENTION: &str = "retention_ms, retention_versions";

#[async_trait]
impl CatalogAdministration for SqlCatalog {
    async fn renew_epoch(&self) -> Result<Uuid> {
        let WriteTransaction { tx, identity: (catalog, epoch), .. } = self.begin_write(&[]).await?;
        let epoch = new_epoch(self.clock.as_ref(), &[epoch]);
        self.store_identity(tx, (catalog, epoch), vec![]).await
    }

    async fn succeed(&self, catalog: Uuid, epochs: &[Uuid]) -> Result<Uuid> {
        let WriteTransaction { tx, now_ms, identity } = self.begin_write(&[]).await?;
        let epoch = new_epoch(self.clock.as_ref(), &[&[identity.1], epochs].concat());
        let audit = audit(self, now_ms, None, "REBUILD CATALOG", None::<TableId>, None);
        self.store_identity(tx, (catalog, epoch), vec![audit]).await
    }

    async fn default_retention(&self) -> Result<Retention> {
        let rows = self.db.query(&format!("SELECT {RETENTION} FROM dl_catalog"), vec![]).await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(Retention::default()) };
        let time = row.opt_int()?.map(|ms| Duration::from_millis(ms.unsigned_abs()));
        Ok(Retention { time, versions: row.opt_version()? })
    }

    async fn set_default_retention(&self, retention: Retention, committer: Option<&str>) -> Result<()> {
        let WriteTransaction { mut tx, now_ms, .. } = self.begin_write(&[]).await?;
        let sql = "UPDATE dl_catalog SET retention_ms = coalesce(?, retention_ms), \
                   retention_versions = coalesce(?, retention_versions)";
        let time = retention.time.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        let params = vec![time.into(), retention.versions.map_or(Value::Null, int)];
        let audit = audit(self, now_ms, committer, "SET RETENTION", None::<TableId>, None);
        tx.write(vec![WriteStatement::run(sql, params), audit]).await?;
        tx.commit().await.map_err(CommitFailure::into_error)
    }

    async fn expire_audit(&self, before_ms: i64) -> Result<u64> {
        let mut tx = self.write(&[]).await?;
        let sql = format!(
            "DELETE FROM dl_audit WHERE audit_id IN \
             (SELECT audit_id FROM dl_audit WHERE \"at\" < ? ORDER BY \"at\" LIMIT {STEP_LINES})"
        );
        let removed = tx.write(vec![WriteStatement::run(sql, vec![before_ms.into()])]).await?;
        tx.commit().await.map_err(CommitFailure::into_error)?;
        Ok(removed)
    }
}

impl SqlCatalog {
    /// Stores the catalog's id and epoch, with other writes, and commits. Returns the epoch.
    async fn store_identity(
        &self,
        mut tx: Box<dyn DatabaseTransaction>,
        (catalog, epoch): (Uuid, Uuid),
        others: Vec<WriteStatement>,
    ) -> Result<Uuid> {
        let sql = "UPDATE dl_catalog SET catalog_id = ?, epoch = ?";
        let mut writes = vec![WriteStatement::run(sql, vec![catalog.into(), epoch.into()])];
        writes.extend(others);
        tx.write(writes).await?;
        tx.commit().await.map_err(CommitFailure::into_error)?;
        let mut identity = self.last_identity();
        (identity.catalog_id, identity.epoch) = (catalog, epoch);
        self.compared.clear();
        Ok(epoch)
    }
}
