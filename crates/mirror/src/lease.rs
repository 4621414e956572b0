//! Leases for publishing, which one process at a time has for a table.

use std::ops::Deref;
use std::sync::Arc;

use deltalakedb_log::commit::lease_lost;
use deltalakedb_log::{Lease, Result, TableEntry, TableId};
use parking_lot::Mutex;
use uuid::Uuid;

use crate::mirror::Mirror;

/// The duration of a lease without renewal. A lease only saves duplicate work: put-if-absent and the fencing token make
/// publishing safe.
pub(crate) const LEASE_MS: i64 = 5_000;

/// A lease of this process. If it is dropped before its release, because a task was stopped, it is *abandoned*:
/// [`Mirror::release_abandoned`] releases it, so that the next publisher need not wait until it expires.
#[derive(Debug)]
pub(crate) struct HeldLease {
    newest: Lease,
    is_released: bool,
    abandoned: Arc<Mutex<Vec<Lease>>>,
}

impl HeldLease {
    /// Records that the catalog has ended the lease.
    pub(crate) fn note_released(&mut self) {
        self.is_released = true;
    }
}

impl Deref for HeldLease {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.newest
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        if !self.is_released {
            self.abandoned.lock().push(self.newest.clone());
        }
    }
}

impl Mirror {
    /// A lease for publishing a table; `None` while another process has it.
    pub(crate) async fn lease(&self, table: TableId) -> Result<Option<HeldLease>> {
        let lease = self.lease_for(table, self.clock.new_uuid()).await?;
        let abandoned = self.shared.abandoned.clone();
        Ok(lease.map(|newest| HeldLease { newest, is_released: false, abandoned }))
    }

    pub(crate) async fn release(&self, mut lease: HeldLease) -> Result<()> {
        self.catalog.release_lease(&lease).await?;
        lease.note_released();
        Ok(())
    }

    /// Releases the leases of tasks that were stopped while they had them.
    pub(crate) async fn release_abandoned(&self) -> Result<()> {
        let abandoned = std::mem::take(&mut *self.shared.abandoned.lock());
        for lease in abandoned {
            self.catalog.release_lease(&lease).await?;
        }
        Ok(())
    }

    /// Whether half of the duration of a lease that was taken or renewed at that time has passed.
    pub(crate) fn is_old(&self, leased_at: i64) -> bool {
        self.clock.now_ms() - leased_at > LEASE_MS / 2
    }

    pub(crate) async fn renew_if_old(
        &self,
        lease: &mut HeldLease,
        entry: &TableEntry,
        leased_at: &mut i64,
    ) -> Result<()> {
        if self.is_old(*leased_at) {
            *leased_at = self.clock.now_ms();
            let renewed = self.lease_for(lease.table, lease.holder).await?;
            lease.newest = renewed.ok_or_else(|| lease_lost(&entry.name))?;
        }
        Ok(())
    }

    async fn lease_for(&self, table: TableId, holder: Uuid) -> Result<Option<Lease>> {
        let now = self.clock.now_ms();
        self.catalog.acquire_lease(table, holder, now, now + LEASE_MS).await
    }
}
