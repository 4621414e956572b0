//! The mirror: a catalog, the stores of its tables, and the publishing state of a process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use deltalakedb_log::stores::{Stores, environment};
use deltalakedb_log::{
    Catalog, Clock, Durability, FutureTimes, Location, Result, TableEntry, TableId, TableRef, require,
};
use object_store::ObjectStore;

use crate::turns::{REMEMBERED, Shared, Turns};

/// The default number of published versions from one checkpoint to the next.
const CHECKPOINT_INTERVAL: u64 = 10;
/// Publishes the commits of a catalog. Clones share the state of their process.
#[derive(Clone, Debug)]
pub struct Mirror {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stores: Arc<dyn Stores>,
    pub(crate) future_times: FutureTimes,
    pub(crate) durability: Durability,
    /// Whether commits are put without a sync, also with [`Durability::Full`].
    pub(crate) defers_sync: bool,
    pub(crate) checkpoint_interval: u64,
    /// How many versions before a multiple of the interval a checkpoint is written.
    pub(crate) checkpoints_before: u64,
    pub(crate) shared: Arc<Shared>,
    /// Increases whenever something was written to an object store; see [`Self::for_one_try`].
    progress: Arc<AtomicU64>,
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
            defers_sync: false,
            checkpoint_interval: CHECKPOINT_INTERVAL,
            checkpoints_before: 0,
            shared: Arc::default(),
            progress: Arc::default(),
        }
    }

    /// The same publisher with a progress of its own.
    pub(crate) fn for_one_try(&self) -> Self {
        Self { progress: Arc::default(), ..self.clone() }
    }

    /// How often something was written through this handle and its clones.
    pub(crate) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    pub(crate) fn note_progress(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Its catalog.
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    /// Uses the given object stores for the tables.
    pub fn with_stores(self, stores: Arc<dyn Stores>) -> Self {
        Self { stores, ..self }
    }

    /// Sets the durability: with [`Durability::Catalog`], published files are synced by [`Mirror::settle`].
    pub fn with_durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// Publishes commits to a local disk without waiting for a sync, also with [`Durability::Full`]: readers see them at
    /// once, and the catalog records them when [`Mirror::settle`] or [`Mirror::settle_soon`] has synced them. The first
    /// commits of a table are synced as they are put, with their folders.
    pub fn with_deferred_sync(self) -> Self {
        Self { defers_sync: true, ..self }
    }

    /// Sets whether versions with times ahead of the catalog's clock are imported or rejected.
    pub fn with_future_times(self, future_times: FutureTimes) -> Self {
        Self { future_times, ..self }
    }

    /// Sets the checkpoint interval for tables without the property `delta.checkpointInterval`.
    pub fn with_checkpoint_interval(self, versions: std::num::NonZeroU64) -> Self {
        Self { checkpoint_interval: versions.get(), ..self }
    }

    /// Writes checkpoints of the same versions as delta-rs: one less than Spark's, the multiples of the interval.
    pub fn with_checkpoints_as_delta_rs(self) -> Self {
        Self { checkpoints_before: 1, ..self }
    }

    /// The current entry of the table; versions that were put here and not settled count as published.
    pub(crate) async fn entry(&self, table: TableId) -> Result<TableEntry> {
        let mut entry = require(self.catalog.as_ref(), &TableRef::Id(table)).await?;
        entry.published_version = entry.published_version.max(self.unsettled(table));
        Ok(entry)
    }

    /// The object store of a table.
    pub(crate) fn store(&self, entry: &TableEntry) -> Result<Arc<dyn ObjectStore>> {
        self.stores.open(&entry.location, self.durability)
    }

    /// The turns of a table. When there are entries for many tables, those without a publishing task are removed.
    pub(crate) fn turns(&self, table: TableId) -> Arc<Turns> {
        let mut tables = self.shared.tables.lock();
        if tables.len() >= REMEMBERED && !tables.contains_key(&table) {
            tables.retain(|_, turns| Arc::strong_count(turns) > 1);
        }
        tables.entry(table).or_default().clone()
    }

    /// Removes the entry of a dropped table.
    pub(crate) fn forget(&self, table: TableId) {
        self.shared.unsettled.lock().remove(&table);
        self.note_log_found(table);
        self.shared.tables.lock().remove(&table);
    }

    pub(crate) fn is_proven(&self, location: &Location) -> bool {
        self.shared.proven.lock().contains(location)
    }

    pub(crate) fn note_proven(&self, location: &Location) {
        self.shared.proven.lock().insert(location.clone());
    }
}
