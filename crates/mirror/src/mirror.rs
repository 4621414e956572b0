//! The mirror: a catalog, the stores of its tables, and what a process remembers of its publishing.

use std::sync::Arc;

use deltalakedb_log::stores::{Stores, environment};
use deltalakedb_log::{
    Catalog, Clock, Durability, FutureTimes, Lease, Location, Result, TableEntry, TableId, TableRef, require,
};
use object_store::ObjectStore;
use uuid::Uuid;

use crate::turns::{REMEMBERED, Shared, Turns};

/// The default number of published versions from one checkpoint to the next.
const CHECKPOINT_INTERVAL: u64 = 10;
/// How long the right to publish lasts without being renewed. It only keeps publishers from doing the same work twice:
/// what makes publishing safe is put-if-absent and the token.
pub(crate) const LEASE_MS: i64 = 5_000;

/// Publishes the commits of a catalog. Clones share what they remember.
#[derive(Clone, Debug)]
pub struct Mirror {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stores: Arc<dyn Stores>,
    pub(crate) future_times: FutureTimes,
    pub(crate) durability: Durability,
    pub(crate) checkpoint_interval: u64,
    /// How many versions before a multiple of the interval the checkpoint is.
    pub(crate) checkpoints_before: u64,
    pub(crate) shared: Arc<Shared>,
}

impl Mirror {
    /// A publisher for the catalog's tables, in the object stores that the environment configures.
    pub fn new(catalog: Arc<dyn Catalog>, clock: Arc<dyn Clock>) -> Self {
        Self {
            catalog,
            clock,
            stores: environment(),
            future_times: FutureTimes::Refuse,
            durability: Durability::Full,
            checkpoint_interval: CHECKPOINT_INTERVAL,
            checkpoints_before: 0,
            shared: Arc::default(),
        }
    }

    /// The catalog that it publishes.
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    /// The same, for tables in the object stores that are given.
    pub fn with_stores(self, stores: Arc<dyn Stores>) -> Self {
        Self { stores, ..self }
    }

    /// The same with another `durability`: with [`Durability::Catalog`], published files are synced by
    /// [`Mirror::settle`].
    pub fn with_durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// The same, which imports versions whose times are ahead of the catalog's clock, or refuses them.
    pub fn with_future_times(self, future_times: FutureTimes) -> Self {
        Self { future_times, ..self }
    }

    /// With a checkpoint every so many versions, where a table's property `delta.checkpointInterval` does not say how
    /// many.
    pub fn with_checkpoint_interval(self, versions: std::num::NonZeroU64) -> Self {
        Self { checkpoint_interval: versions.get(), ..self }
    }

    /// With checkpoints of the versions of which delta-rs writes them: one less than those that Spark takes, which are
    /// the multiples of the interval.
    pub fn with_checkpoints_as_delta_rs(self) -> Self {
        Self { checkpoints_before: 1, ..self }
    }

    /// The table as it is now; what is put here and not settled counts as published.
    pub(crate) async fn entry(&self, table: TableId) -> Result<TableEntry> {
        let mut entry = require(self.catalog.as_ref(), &TableRef::Id(table)).await?;
        entry.published_version = entry.published_version.max(self.unsettled(table));
        Ok(entry)
    }

    /// The object store of a table.
    pub(crate) fn store(&self, entry: &TableEntry) -> Result<Arc<dyn ObjectStore>> {
        self.stores.open(&entry.location, self.durability)
    }

    /// The right to publish a table, for a while.
    pub(crate) async fn lease(&self, table: TableId) -> Result<Option<Lease>> {
        self.lease_for(table, self.clock.new_uuid()).await
    }

    /// Whether half of the time of a lease is over that was taken or renewed then.
    pub(crate) fn is_old(&self, taken: i64) -> bool {
        self.clock.now_ms() - taken > LEASE_MS / 2
    }

    pub(crate) async fn renew_if_old(&self, lease: &mut Lease, entry: &TableEntry, taken: &mut i64) -> Result<()> {
        if self.is_old(*taken) {
            *taken = self.clock.now_ms();
            let renewed = self.lease_for(lease.table, lease.holder).await?;
            *lease = renewed.ok_or_else(|| deltalakedb_log::commit::fenced(&entry.name))?;
        }
        Ok(())
    }

    async fn lease_for(&self, table: TableId, holder: Uuid) -> Result<Option<Lease>> {
        let now = self.clock.now_ms();
        self.catalog.acquire_lease(table, holder, now, now + LEASE_MS).await
    }

    /// The turns of a table. When many tables are remembered, those without a task that publishes them are forgotten.
    pub(crate) fn turns(&self, table: TableId) -> Arc<Turns> {
        let mut tables = self.shared.tables.lock();
        if tables.len() >= REMEMBERED && !tables.contains_key(&table) {
            tables.retain(|_, turns| Arc::strong_count(turns) > 1);
        }
        tables.entry(table).or_default().clone()
    }

    /// Forgets a table that is gone.
    pub(crate) fn forget(&self, table: TableId) {
        self.shared.unsettled.lock().remove(&table);
        self.shared.tables.lock().remove(&table);
    }

    pub(crate) fn is_proven(&self, location: &Location) -> bool {
        self.shared.proven.lock().contains(location)
    }

    pub(crate) fn note_proven(&self, location: &Location) {
        self.shared.proven.lock().insert(location.clone());
    }
}
