//! Published files that are not synced to disk yet.
//!
//! Publishing resumes at the watermark after a power failure, so the watermark must not cover files that are not synced
//! yet. By itself a mirror with [`Durability::Full`] syncs every file as it is put. With [`Mirror::with_deferred_sync`],
//! or [`Durability::Catalog`], publishing does not wait for a sync: the files are visible at once, and the watermark
//! advances when [`Mirror::settle`] has synced them, many at a time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use deltalakedb_log::stores::Stores;
use deltalakedb_log::{
    Catalog, Durability, Lease, LocalFiles, Result, TableEntry, TableId, TableRef, TxnLogReader, Version, require,
};
use object_store::ObjectStore;

use crate::commits;
use crate::mirror::Mirror;
use crate::put::{commit_path, read};
use crate::turns::Unsettled;

/// How long [`Mirror::settle_soon`] collects versions before it syncs them.
const SETTLE_AFTER: Duration = Duration::from_millis(500);
/// The maximum number of versions of a table that are not synced yet.
const MAX_UNSETTLED: u64 = 1_000;

/// Syncs and records the versions of a table that a process has put on a local disk and not recorded, because it was
/// killed or has not settled them yet.
pub async fn record_published(catalog: &dyn Catalog, stores: &dyn Stores, table: TableId) -> Result<()> {
    let entry = require(catalog, &TableRef::Id(table)).await?;
    let Some(folder) = stores.directory(&entry.location) else { return Ok(()) };
    let (store, reader) = (stores.open(&entry.location, Durability::Full)?, catalog.reader(table));
    let first = entry.published_version.map_or(entry.base_version, |version| version + 1);
    let mut next = first;
    while let Some((newest, _)) =
        put_commits(reader.as_ref(), store.as_ref(), next, entry.current_version).await?.last()
    {
        next = newest + 1;
    }
    if next > first {
        LocalFiles::new(folder, Durability::Full).sync((first..next).map(commit_path).collect()).await?;
        catalog.mark_next_published(table, first, next - 1).await?;
    }
    Ok(())
}

/// The first of these commits, one after the other, whose files exist with the catalog's bytes; at most a batch.
async fn put_commits(
    reader: &dyn TxnLogReader,
    store: &dyn ObjectStore,
    from: Version,
    to: Version,
) -> Result<Vec<(Version, Bytes)>> {
    let mut put = Vec::new();
    // Usually nothing was put, and the catalog need not be asked.
    if from > to || read(store, &commit_path(from)).await?.is_none() {
        return Ok(put);
    }
    for (version, bytes) in commits::next_page(reader, from, to).await? {
        if read(store, &commit_path(version)).await?.as_ref() != Some(&bytes) {
            break;
        }
        put.push((version, bytes));
    }
    Ok(put)
}

impl Mirror {
    /// Syncs everything that was published here, and records it. Without this call, versions whose sync was deferred are
    /// recorded when they are published again, which finds their files.
    ///
    /// # Errors
    /// The first failure; the other tables are settled anyway.
    pub async fn settle(&self) -> Result<()> {
        let tables: Vec<TableId> = self.shared.unsettled.lock().keys().copied().collect();
        let mut settled = Ok(());
        for table in tables {
            settled = settled.and(self.settle_table(table).await);
        }
        settled
    }

    /// Settles one table.
    pub(crate) async fn settle_table(&self, table: TableId) -> Result<()> {
        // No version is published during this, so the recorded version is the next one.
        let turns = self.turns(table);
        let _turn = turns.publishing.lock().await;
        match self.settle_in_turn(table).await {
            // Another process has dropped the table, perhaps with its files: there is nothing to record.
            Err(_) if self.catalog.find(&TableRef::Id(table)).await?.is_none() => {
                self.shared.unsettled.lock().remove(&table);
                Ok(())
            }
            settled => settled,
        }
    }

    /// Settles one table; the caller has the turn to publish it.
    pub(crate) async fn settle_in_turn(&self, table: TableId) -> Result<()> {
        let Some(put) = self.shared.unsettled.lock().get(&table).cloned() else { return Ok(()) };
        let files = (put.from..=put.to).map(commit_path).collect();
        if let Err(e) = LocalFiles::new(put.folder, Durability::Full).sync(files).await {
            // A file that is missing now is put again by the next publisher, which begins at the watermark.
            if matches!(e, object_store::Error::NotFound { .. }) {
                self.shared.unsettled.lock().remove(&table);
            }
            return Err(e.into());
        }
        self.record_synced(table, put.from, put.to).await?;
        self.shared.unsettled.lock().remove(&table);
        self.note_progress();
        Ok(())
    }

    /// Advances the watermark to `to`. Another process may have recorded some of these versions in the meantime.
    async fn record_synced(&self, table: TableId, mut from: Version, to: Version) -> Result<()> {
        while !self.catalog.mark_next_published(table, from, to).await? {
            let recorded = self.catalog.find(&TableRef::Id(table)).await?.and_then(|entry| entry.published_version);
            match recorded {
                Some(recorded) if (from..to).contains(&recorded) => from = recorded + 1,
                _ => break,
            }
        }
        Ok(())
    }

    /// Settles in the background, in a moment, so that many versions are synced together. A failure is logged; the next
    /// publisher of the table records its versions.
    pub fn settle_soon(&self) {
        if !self.is_unsettled() || self.shared.settles_soon.swap(true, Ordering::AcqRel) {
            return;
        }
        let mirror = self.clone();
        tokio::spawn(async move {
            mirror.clock.sleep(SETTLE_AFTER).await;
            mirror.shared.settles_soon.store(false, Ordering::Release);
            if let Err(error) = mirror.settle().await {
                tracing::warn!(%error, "the catalog did not record what was published; the next publisher records it");
            }
        });
    }

    /// The durability of the put of a commit.
    pub(crate) fn durability_of_commits(&self, entry: &TableEntry) -> Durability {
        // With the first commit folders are created, which are synced, too.
        let is_deferred = self.defers_sync && entry.published_version.is_some();
        if is_deferred { Durability::Catalog } else { self.durability }
    }

    /// Whether [`Self::settle`] has something to do.
    pub fn is_unsettled(&self) -> bool {
        !self.shared.unsettled.lock().is_empty()
    }

    /// The newest version that is put and not settled.
    pub(crate) fn unsettled(&self, table: TableId) -> Option<Version> {
        self.shared.unsettled.lock().get(&table).map(|put| put.to)
    }

    /// The next commits before the newest, if another process has put them on a local disk and not recorded yet.
    /// Empty where commits are synced as they are put.
    pub(crate) async fn put_elsewhere(&self, entry: &TableEntry) -> Result<Vec<(Version, Bytes)>> {
        let next = entry.published_version.map_or(entry.base_version, |version| version + 1);
        let is_deferred = self.durability_of_commits(entry) == Durability::Catalog;
        if !is_deferred || next >= entry.current_version || self.stores.directory(&entry.location).is_none() {
            return Ok(Vec::new());
        }
        let (reader, store) = (self.catalog.reader(entry.id), self.store(entry)?);
        put_commits(reader.as_ref(), store.as_ref(), next, entry.current_version - 1).await
    }

    /// Records that the versions `from` to `to` were put: now, or when they are settled. Without a lease, returns
    /// whether they were the next ones.
    pub(crate) async fn note_published(
        &self,
        entry: &TableEntry,
        lease: Option<&Lease>,
        from: Version,
        to: Version,
    ) -> Result<bool> {
        let is_deferred = self.durability_of_commits(entry) == Durability::Catalog;
        let later = self.stores.directory(&entry.location).filter(|_| is_deferred);
        match (later, lease) {
            (Some(folder), _) => {
                let from = {
                    let mut unsettled = self.shared.unsettled.lock();
                    let put = unsettled.entry(entry.id).or_insert(Unsettled { folder, from, to });
                    put.to = to;
                    put.from
                };
                if to - from >= MAX_UNSETTLED {
                    self.settle_in_turn(entry.id).await?;
                }
                Ok(true)
            }
            (None, Some(lease)) => self.catalog.mark_published(lease, to).await.map(|()| true),
            (None, None) => self.catalog.mark_next_published(entry.id, from, to).await,
        }
    }
}
