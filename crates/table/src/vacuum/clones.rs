//! Files of a table that other tables of its catalog also have: shallow clones name them by absolute paths.

use deltalakedb_log::action::{Action, Add};
use deltalakedb_log::retention::{before, tombstone_retention};
use deltalakedb_log::{
    At, Catalog, InactiveTable, Location, LocationKey, Result, TableId, TableRef, Version, absolute_path, first_commit,
};
use futures::TryStreamExt;

use super::{NeededFiles, oldest_needed, walk};

impl NeededFiles {
    /// Keeps the files that the table's clones need and that their own vacuums would spare.
    pub(super) async fn keep_for_clones(&mut self, catalog: &dyn Catalog, place: &Location, now_ms: i64) -> Result<()> {
        for clone in catalog.referring_tables(place).await? {
            self.keep_for_clone(catalog, &clone, now_ms).await?;
        }
        Ok(())
    }

    async fn keep_for_clone(&mut self, catalog: &dyn Catalog, clone: &InactiveTable, now_ms: i64) -> Result<()> {
        let (Some(base), Some(newest)) = (clone.base_version, clone.current_version) else { return Ok(()) };
        let reader = catalog.reader_in(clone.id, clone.state);
        let reader = reader.as_ref();
        let cutoff = before(now_ms, tombstone_retention(&reader.snapshot(At::Version(newest)).await?.head.metadata)?);
        let published = catalog.find(&TableRef::Id(clone.id)).await?.and_then(|entry| entry.published_version);
        let oldest = oldest_needed(reader, base, published, cutoff).await?;
        let oldest = catalog.oldest_held(clone.id).await?.map_or(oldest, |held| held.max(base).min(oldest));
        let mut live = reader.files(oldest, None).await?;
        while let Some(add) = live.try_next().await? {
            self.keep_named(&add)?;
        }
        let first: Version = first_commit(reader, base).await?;
        walk(reader, (oldest.max(first), newest), |action| match action {
            Action::Add(add) => self.keep_named(add),
            _ => Ok(()),
        })
        .await
    }

    /// Removes from the catalog the folders outside the table's own that no version needs any more. Versions from
    /// `base` on can be read and held, so a folder is removed only after the history of versions that this vacuum does
    /// not spare has expired.
    ///
    /// A local folder may have been recorded by the target of a link, on another machine or at another time. So all
    /// local folders are kept as long as one of them is needed.
    pub(super) async fn forget_folders(
        &self,
        catalog: &dyn Catalog,
        (table, base): (TableId, Version),
        newest: Version,
    ) -> Result<()> {
        if self.before.1 > base {
            return Ok(());
        }
        let own = self.place.location().keys();
        let elsewhere = |folder: &&LocationKey| !own.iter().any(|own| folder.is_within(own));
        let names_local = self.folders.iter().filter(elsewhere).any(LocationKey::is_local);
        let mut obsolete = catalog.named_folders(table).await?;
        obsolete.retain(|folder| !(self.folders.contains(folder) || names_local && folder.is_local()));
        if obsolete.is_empty() { Ok(()) } else { catalog.forget_folders(table, newest, &obsolete).await }
    }

    /// Keeps what another table names by absolute paths, as far as it is below this one.
    fn keep_named(&mut self, add: &Add) -> Result<()> {
        let absolute = add.paths()?.filter(|path| absolute_path(path).is_some());
        absolute.for_each(|path| self.keep_path(&path));
        Ok(())
    }
}
