//! Drops and detaches tables: everything is published first, and nothing is written to their folders afterwards.

use std::cmp::Reverse;
use std::time::Duration;

use deltalakedb_log::action::{Action, CommitInfo};
use deltalakedb_log::commit::{Base, CommitRequest, Outcome};
use deltalakedb_log::lifecycle::DETACH;
use deltalakedb_log::{
    Committer, DropMode, DropTable, ErrorKind, InactiveTable, Object, Result, TableEntry, TableId, TableName,
    TableState, TxnLogError, Version,
};
use futures::TryStreamExt;
use object_store::path::Path;

use crate::behind::check_not_behind;
use crate::lease::HeldLease;
use crate::maintenance::{below_table, delete};
use crate::mirror::Mirror;

/// How often a drop is restarted because a version was committed or published in the meantime.
const ROUNDS: u32 = 10;
/// How often the lease for publishing is requested, and the pause between two attempts.
const TRIES: u32 = 300;
const PAUSE: Duration = Duration::from_millis(50);

/// A restored table.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Undropped {
    /// The table.
    pub table: TableEntry,
    /// A warning that its `_delta_log` has changed, and what to do before the next write.
    pub warning: Option<String>,
}

impl Mirror {
    /// Drops a table. Committed versions are published first, unless `drop` allows unpublished ones; the lease is held
    /// until the table is dropped, so no other process writes to its `_delta_log` then. A process may finish what it is
    /// writing at that moment: a checkpoint or a checksum of a published version.
    ///
    /// # Errors
    /// When not all versions can be published, or other writers keep committing to the table: then it is not dropped.
    pub async fn drop_table(&self, table: TableId, drop: &DropTable) -> Result<TableEntry> {
        let mut round = 0;
        loop {
            round += 1;
            let entry = self.entry(table).await?;
            drop.committer.check(&entry.name, entry.owner.as_ref())?;
            if !drop.allow_unpublished {
                self.publish_or_wait(&entry).await.map_err(|e| not_published(&entry, drop.mode, e))?;
            }
            match self.drop_under_lease(&entry, drop).await {
                // A retry cannot change which version is the newest.
                Err(e) if e.kind() == ErrorKind::Conflict && round < ROUNDS && drop.at_version.is_none() => {
                    tracing::debug!(table = %entry.name, error = %e, "not dropped yet");
                }
                Err(e) => return Err(e),
                Ok(()) => return Ok(entry),
            }
        }
    }

    /// Detaches a table from its catalog. Its last version of ours records that: a writer by path is rejected as long
    /// as the newest version is a catalog's.
    pub async fn detach_table(&self, table: TableId, committer: Committer) -> Result<TableEntry> {
        let mut drop = DropTable { mode: DropMode::Detach, allow_unpublished: false, at_version: None, committer };
        let mut round = 0;
        loop {
            round += 1;
            let entry = self.entry(table).await?;
            drop.committer.check(&entry.name, entry.owner.as_ref())?;
            if drop.at_version != Some(entry.current_version) {
                let (operation, mut info) = (self.clock.new_uuid(), Object::default());
                info.set("operation", DETACH);
                let (base, actions) =
                    (Base::RebaseFrom(entry.current_version), vec![Action::CommitInfo(CommitInfo(info))]);
                let mut request = CommitRequest::new(table, operation, base, actions);
                request.committer = drop.committer.name.clone();
                request.owner = drop.committer.owner.clone();
                let committed = self.catalog.commit_all(vec![request]).await.and_then(Outcome::committed);
                let committed = committed.map_err(|e| not_published(&entry, drop.mode, e))?;
                drop.at_version = committed.first().map(|committed| committed.version);
            }
            match self.drop_table(table, &drop).await {
                Err(e) if e.kind() == ErrorKind::Conflict && round < ROUNDS => {}
                done => return done,
            }
        }
    }

    pub(crate) async fn drop_under_lease(&self, entry: &TableEntry, drop: &DropTable) -> Result<()> {
        let turns = self.turns(entry.id);
        let _turn = turns.publishing.lock().await;
        match self.settle_in_turn(entry.id).await {
            Err(e) if drop.allow_unpublished => tracing::debug!(table = %entry.name, error = %e, "not settled"),
            settled => settled?,
        }
        let _lease_turn = turns.lease.lock().await;
        let mut lease = self.wait_for_lease(entry).await?;
        match self.catalog.drop_table(&lease, drop).await {
            Ok(()) => {
                lease.note_released();
                self.forget(entry.id);
                Ok(())
            }
            Err(e) => {
                self.release(lease).await?;
                Err(e)
            }
        }
    }

    async fn wait_for_lease(&self, entry: &TableEntry) -> Result<HeldLease> {
        for _ in 0..TRIES {
            match self.lease(entry.id).await? {
                Some(lease) => return Ok(lease),
                None => self.clock.sleep(PAUSE).await,
            }
        }
        let message = format!("another process publishes {} and has not finished: try again", entry.name);
        Err(TxnLogError::new(ErrorKind::Unavailable, message))
    }

    /// Restores a dropped table, under its name or another one, and checks its `_delta_log`: other writers may have
    /// written to it in the meantime.
    pub async fn undrop_table(
        &self,
        table: &InactiveTable,
        name: Option<&TableName>,
        committer: &Committer,
    ) -> Result<Undropped> {
        let catalog = self.catalog.as_ref();
        let table = catalog.undrop_table(table.id, name, committer).await?;
        let looked = check_not_behind(catalog, self.stores.as_ref(), table.id).await;
        Ok(Undropped { table, warning: looked.err().map(|e| e.to_string()) })
    }

    /// Deletes the `_delta_log` of a table that was dropped with its files, from its newest version to its oldest: at
    /// every moment, also after an interruption, it is the log of an earlier version of the table. Returns the number
    /// of deleted files.
    pub async fn delete_log(&self, table: &InactiveTable) -> Result<u64> {
        if table.state != TableState::Deleting {
            return Err(deltalakedb_log::lifecycle::not_deleting(table.id, &self.catalog.describe(), Some(table)));
        }
        let store = self.stores.open(&table.location, self.durability)?;
        let listed: Vec<_> = store.list(Some(&Path::from("_delta_log"))).try_collect().await?;
        let mut files: Vec<_> = listed.iter().map(|file| below_table(&file.location)).collect();
        files.sort_by_cached_key(deletion_order);
        let mut count = 0;
        for file in &files {
            count += u64::from(delete(store.as_ref(), file).await?);
        }
        Ok(count)
    }
}

/// First the files that readers use instead of single commits; then version by version, each commit before the
/// checkpoint of its version, without which a log starting there could not be read; then the sidecars of deleted
/// checkpoints.
fn deletion_order(path: &Path) -> (u8, Reverse<Version>, bool) {
    let name = path.filename().unwrap_or_default();
    let version = name.split_once('.').and_then(|(version, kind)| Some((version.parse().ok()?, kind)));
    match version {
        _ if name == "_last_checkpoint" || name.ends_with(".compacted.json") => (0, Reverse(0), false),
        Some((version, kind)) if path.parts().count() == 2 => (1, Reverse(version), kind.starts_with("checkpoint.")),
        _ => (2, Reverse(0), false),
    }
}

fn not_published(entry: &TableEntry, mode: DropMode, e: TxnLogError) -> TxnLogError {
    let name = &entry.name;
    let message = match mode {
        DropMode::Detach => format!("{name} was not detached, because some of its commits cannot be published"),
        DropMode::Retain { .. } | DropMode::DeleteFiles => format!(
            "{name} was not dropped, because some of its commits cannot be published (`dl drop {name} --force` drops \
             it anyway, and `dl undrop` restores the unpublished commits)"
        ),
    };
    TxnLogError::new(e.kind(), message).with_source(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_deleted_from_its_newest_version_to_its_oldest() {
        let mut files: Vec<_> = [
            "_delta_log/00000000000000000000.json",
            "_delta_log/00000000000000000002.checkpoint.parquet",
            "_delta_log/_sidecars/x.parquet",
            "_delta_log/00000000000000000002.json",
            "_delta_log/00000000000000000000.00000000000000000002.compacted.json",
            "_delta_log/00000000000000000003.json",
            "_delta_log/_last_checkpoint",
        ]
        .map(Path::from)
        .into();
        files.sort_by_cached_key(deletion_order);
        let names: Vec<_> = files.iter().filter_map(|path| path.filename()).collect();
        assert_eq!(
            names,
            [
                "00000000000000000000.00000000000000000002.compacted.json",
                "_last_checkpoint",
                "00000000000000000003.json",
                "00000000000000000002.json",
                "00000000000000000002.checkpoint.parquet",
                "00000000000000000000.json",
                "x.parquet",
            ]
        );
    }
}
