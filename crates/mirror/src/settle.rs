//! Published files that are not synced to disk yet.
//!
//! Publishing resumes at the watermark after a power failure, so the watermark must not cover files that are not synced
//! yet. With [`Durability::Full`] every file is synced as it is put. With [`Durability::Catalog`] publishing does not
//! wait for a sync: the files are visible at once, and the watermark advances when [`Mirror::settle`] has synced them,
//! many at a time.

use deltalakedb_log::{Durability, Lease, LocalFiles, Result, TableEntry, TableId, TableRef, Version};

use crate::mirror::Mirror;
use crate::put::commit_path;
use crate::turns::Unsettled;

impl Mirror {
    /// Syncs everything that was published here, and records it. Without this call, versions that were published with
    /// [`Durability::Catalog`] are recorded when they are published again, which finds their files.
    pub async fn settle(&self) -> Result<()> {
        let tables: Vec<TableId> = self.shared.unsettled.lock().keys().copied().collect();
        for table in tables {
            self.settle_table(table).await?;
        }
        Ok(())
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
        LocalFiles::new(put.folder, Durability::Full).sync(files).await?;
        self.catalog.mark_next_published(table, put.from, put.to).await?;
        self.shared.unsettled.lock().remove(&table);
        Ok(())
    }

    /// Whether [`Self::settle`] has something to do.
    pub fn is_unsettled(&self) -> bool {
        !self.shared.unsettled.lock().is_empty()
    }

    /// The newest version that is put and not settled.
    pub(crate) fn unsettled(&self, table: TableId) -> Option<Version> {
        self.shared.unsettled.lock().get(&table).map(|put| put.to)
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
        let later = self.stores.directory(&entry.location).filter(|_| self.durability == Durability::Catalog);
        match (later, lease) {
            (Some(folder), _) => {
                let mut unsettled = self.shared.unsettled.lock();
                unsettled.entry(entry.id).or_insert(Unsettled { folder, from, to }).to = to;
                Ok(true)
            }
            (None, Some(lease)) => self.catalog.mark_published(lease, to).await.map(|()| true),
            (None, None) => self.catalog.mark_next_published(entry.id, from, to).await,
        }
    }
}
