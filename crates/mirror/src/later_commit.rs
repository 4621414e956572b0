//! A commit in `_delta_log` after the newest of the catalog: another writer's, or one that the catalog made before it was
//! restored from a backup.

use deltalakedb_log::{Catalog, Commit, Result, TableEntry, Version};
use object_store::ObjectStore;

use crate::put::{commit_path, describe, read};

/// The commit of the next version of a table, which the catalog does not have.
pub(crate) struct LaterCommit {
    pub(crate) version: Version,
    /// A description.
    pub(crate) what: String,
    /// Whether it was made in this catalog.
    pub(crate) is_own: bool,
}

impl LaterCommit {
    /// The commit in the `_delta_log` of a table, if there is one.
    pub(crate) async fn find(
        catalog: &dyn Catalog,
        table: &TableEntry,
        store: &dyn ObjectStore,
    ) -> Result<Option<Self>> {
        let version = table.current_version + 1;
        let path = commit_path(version);
        let Some(there) = read(store, &path).await? else { return Ok(None) };
        let what = describe(&path, &there);
        let made_in = Commit::parse(there, "a commit in _delta_log")
            .ok()
            .and_then(|commit| deltalakedb_log::commit::catalog_of(commit.info()?));
        let is_own = made_in == Some(catalog.identity().await?.0.to_string());
        Ok(Some(Self { version, what, is_own }))
    }

    /// Whether the catalog may import it. The commits of others to a table with an owner can only be removed.
    pub(crate) fn can_be_imported(&self, table: &TableEntry) -> bool {
        self.is_own || table.owner.is_none()
    }
}
