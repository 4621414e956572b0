//! The end of a divergence in favour of the other writers: their commits become the table's history, also where the
//! catalog has commits of its own for the same versions.
//!
//! A catalog never takes a version back, so the table is dropped, which keeps its versions for a while, and imported
//! again as a new table of the same name. The commits that are not in the new history are copied to the folder
//! `_set_aside` of the table before.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use deltalakedb_log::commit::Group;
use deltalakedb_log::{
    Action, Commit, Committer, DropMode, DropTable, Result, TableEntry, TableId, TxnLogError, Version, check_owner,
};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::commits;
use crate::import::Imported;
use crate::mirror::Mirror;
use crate::put::{commit_path, read};
use crate::set_aside::{copy_aside, log_files, new_folder};
use crate::superseded::check_commit;

/// The result of [`Mirror::keep_theirs`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeptTheirs {
    /// The folder in the table in which the catalog's own commits are now, relative to the table.
    pub folder: String,
    /// Their names in `_delta_log`, in ascending order; empty if the commits of other writers came after all of the
    /// catalog's.
    pub set_aside: Vec<String>,
    /// The import of the other writers' commits. The table is a new one if something was set aside.
    pub imported: Imported,
}

impl fmt::Display for KeptTheirs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, folder) = (&self.imported.table.name, &self.folder);
        let files = self.set_aside.join(", ");
        write!(f, "commits of the catalog that are not in the _delta_log of {table} were copied to {folder}: {files}")
    }
}

impl Mirror {
    /// Imports the commits of other writers. If the catalog has other commits for the same versions, these are kept
    /// aside, and the table is imported again, as a new table of the same name; the one before is dropped and retained
    /// for `retain`, by default for the catalog's retention. Checkpoints and checksums that were made of the catalog's
    /// commits are written again. `progress` is that of [`Mirror::import`].
    ///
    /// # Errors
    /// `Invalid` when one of the catalog's commits is a part of a transaction over several tables, when the table has an
    /// owner, or when a commit was made by the successor of this catalog: nothing is changed. If the log cannot be
    /// imported, the table is as before.
    #[tracing::instrument(target = "deltalakedb::operation", level = "debug", skip_all, fields(%table))]
    pub async fn keep_theirs(
        &self,
        table: TableId,
        retain: Option<Duration>,
        committer: Committer,
        progress: &(dyn Fn(Version, Version) + Send + Sync),
    ) -> Result<KeptTheirs> {
        let folder = new_folder(self.clock.now_ms());
        let entry = self.entry(table).await?;
        let losing = self.losing_commits(&entry).await?;
        if losing.is_empty() {
            let imported = self.import(&entry.location, None, progress).await?;
            return Ok(KeptTheirs { folder, set_aside: Vec::new(), imported });
        }
        check_owner(&entry.name, entry.owner.as_ref(), None)?;
        for (version, body) in &losing {
            check_alone(&entry, *version, body)?;
        }
        let store = self.store(&entry)?;
        let mut set_aside = Vec::new();
        for (version, body) in &losing {
            let name = commit_path(*version).filename().unwrap_or_default().to_string();
            copy_aside(store.as_ref(), &Path::from(format!("{folder}/{name}")), body).await?;
            set_aside.push(name);
        }
        let imported = self.import_anew(&entry, retain, committer, progress).await?;
        // Checkpoints and checksums of later versions were made of these commits, too, and readers begin there.
        let name = &imported.table.name;
        self.repair(imported.table.id).await.map_err(|e| {
            let message = format!(
                "the commits of other writers were imported, and checkpoints of {name} may be those of the catalog's: \
                 `dl mirror repair {name}` writes them again"
            );
            TxnLogError::new(e.kind(), message).with_source(e)
        })?;
        tracing::warn!(table = %entry.name, %folder, commits = set_aside.len(), "commits of the catalog were set aside");
        Ok(KeptTheirs { folder, set_aside, imported })
    }

    /// Drops a table and imports its log as a new one; if that fails the table is restored.
    async fn import_anew(
        &self,
        entry: &TableEntry,
        retain: Option<Duration>,
        committer: Committer,
        progress: &(dyn Fn(Version, Version) + Send + Sync),
    ) -> Result<Imported> {
        let (catalog, name) = (self.catalog.as_ref(), &entry.name);
        let retain = match retain {
            Some(time) => time,
            None => catalog.default_retention().await?.time(),
        };
        let drop = DropTable {
            mode: DropMode::Retain { ms: i64::try_from(retain.as_millis()).unwrap_or(i64::MAX) },
            allow_unpublished: true,
            at_version: Some(entry.current_version),
            committer: committer.clone(),
        };
        self.drop_under_lease(entry, &drop).await?;
        let failed = match self.import(&entry.location, Some(name), progress).await {
            Ok(imported) => return Ok(imported),
            Err(e) => e,
        };
        let restored = async {
            if let Some(load) = catalog.unfinished_load(&entry.location).await? {
                catalog.abandon_load(load.table).await?;
            }
            catalog.undrop_table(entry.id, None, &committer).await
        };
        let kind = failed.kind();
        let message = match restored.await {
            Ok(_) => format!("the commits of other writers cannot be imported, and {name} is as before"),
            Err(e) => format!(
                "the commits of other writers cannot be imported, and {name} is dropped ({e}): `dl undrop {name}` \
                 restores it"
            ),
        };
        Err(TxnLogError::new(kind, message).with_source(failed))
    }

    /// The commits of the catalog that the log does not have, from the first version on at which it has another one;
    /// none if there is no such version.
    async fn losing_commits(&self, entry: &TableEntry) -> Result<BTreeMap<Version, Bytes>> {
        let store = self.store(entry)?;
        let files = log_files(store.as_ref()).await?;
        let foreign = self.foreign_commits(entry, store.as_ref(), &files).await?;
        for (version, body) in &foreign {
            check_commit(self.catalog.as_ref(), (&entry.name, &entry.location), *version, body).await?;
        }
        let Some(first) = foreign.keys().next().copied() else { return Ok(BTreeMap::new()) };
        self.commits_not_in_log(entry, store.as_ref(), first).await
    }

    async fn commits_not_in_log(
        &self,
        entry: &TableEntry,
        store: &dyn ObjectStore,
        first: Version,
    ) -> Result<BTreeMap<Version, Bytes>> {
        let reader = self.catalog.reader(entry.id);
        let (mut losing, mut next) = (BTreeMap::new(), first);
        while next <= entry.current_version {
            let some = commits::next_page(reader.as_ref(), next, entry.current_version).await?;
            let Some((newest, _)) = some.last() else { break };
            next = newest + 1;
            for (version, body) in some {
                if read(store, &commit_path(version)).await?.as_ref() != Some(&body) {
                    losing.insert(version, body);
                }
            }
        }
        Ok(losing)
    }
}

/// Rejects a commit that is a part of a transaction over several tables.
fn check_alone(entry: &TableEntry, version: Version, body: &Bytes) -> Result<()> {
    let actions = Commit::parse_without_files(body, "a stored commit")?;
    let group = actions.iter().find_map(|action| match action {
        Action::CommitInfo(info) => Group::of(info),
        _ => None,
    });
    let name = &entry.name;
    let others: Vec<_> = group.into_iter().flat_map(|group| group.participants).filter(|one| one != name).collect();
    if others.is_empty() {
        return Ok(());
    }
    let others: Vec<_> = others.iter().map(ToString::to_string).collect();
    Err(TxnLogError::invalid(format!(
        "version {version} of {name} is a part of a transaction that changed {} as well, and cannot be taken back: keep \
         the commits of the catalog by `dl mirror repair {name} --ours`",
        others.join(", ")
    )))
}
