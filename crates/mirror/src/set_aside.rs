//! The end of a divergence in favour of the catalog: the commits of other writers are moved out of `_delta_log`, and the
//! catalog's commits are published in their place.
//!
//! What is moved is kept in the folder `_set_aside` of the table, which no reader looks into. The newest commit is moved
//! first, so that the log is a complete history of fewer versions at every moment, also after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use deltalakedb_log::time::format_ms;
use deltalakedb_log::{
    ErrorKind, Result, StoredCheckpoint, TableEntry, TableId, TableName, TxnLogError, Version, first_commit,
};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};

use crate::checkpoint::{hint, hint_path, hinted};
use crate::commits;
use crate::derived::wrong_checkpoint;
use crate::mirror::Mirror;
use crate::publish::Published;
use crate::put::{commit_path, is_torn, read};
use crate::repair::Repaired;
use crate::superseded::check_commit;

/// How many files are read at the same time.
const CONCURRENT: usize = 16;

/// The result of [`Mirror::keep_ours`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeptOurs {
    /// The table.
    pub table: TableName,
    /// The folder in the table in which the other writers' files are now, relative to the table.
    pub folder: String,
    /// Their names in `_delta_log`, in ascending order.
    pub set_aside: Vec<String>,
    /// The published commits that were restored.
    pub repaired: Repaired,
    /// What was published afterwards.
    pub published: Published,
}

impl fmt::Display for KeptOurs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = &self.table;
        if self.set_aside.is_empty() {
            return write!(f, "no other writer has commits in the _delta_log of {table}");
        }
        let (folder, files) = (&self.folder, self.set_aside.join(", "));
        write!(f, "files of other writers were moved from the _delta_log of {table} to {folder}: {files}")?;
        match self.published.version {
            Some(version) => write!(f, "; the catalog's commits are published up to version {version}"),
            None => Ok(()),
        }
    }
}

impl Mirror {
    /// Moves the commits of other writers out of `_delta_log`, with the checkpoints and checksums made of them, and
    /// publishes the catalog's commits in their place. The data files of those commits stay until a vacuum removes them.
    ///
    /// # Errors
    /// `Invalid` when a commit was made by the successor of this catalog: nothing is moved.
    /// `Unavailable` when the store cannot be reached or another process publishes the table: files that were moved stay
    /// moved, and the next call moves the rest.
    #[tracing::instrument(target = "deltalakedb::operation", level = "debug", skip_all, fields(%table))]
    pub async fn keep_ours(&self, table: TableId) -> Result<KeptOurs> {
        let folder = new_folder(self.clock.now_ms());
        let set_aside = {
            let turns = self.turns(table);
            let _turn = turns.publishing.lock().await;
            let entry = self.entry(table).await?;
            let Some(lease) = self.lease(table).await? else {
                return Err(TxnLogError::new(
                    ErrorKind::Unavailable,
                    format!("another process publishes {}: nothing was moved, try again", entry.name),
                ));
            };
            let moved = self.set_aside(&entry, &folder).await;
            self.release(lease).await?;
            moved?
        };
        let repaired = self.repair_commits(table).await?;
        let mut published = self.publish_or_wait(&self.entry(table).await?).await?;
        if set_aside.iter().any(|name| name.contains(".checkpoint.")) && published.checkpoint.is_none() {
            published.checkpoint = Some(self.checkpoint(table).await?.version);
        }
        Ok(KeptOurs { table: self.entry(table).await?.name, folder, set_aside, repaired, published })
    }

    /// Moves what is not the catalog's to a folder, and returns the names of these files.
    async fn set_aside(&self, entry: &TableEntry, folder: &str) -> Result<Vec<String>> {
        let store = self.store(entry)?;
        let files = log_files(store.as_ref()).await?;
        let foreign = self.foreign_commits(entry, store.as_ref(), &files).await?;
        let Some(first) = foreign.keys().next().copied() else { return Ok(Vec::new()) };
        // Commits of the successor of this catalog are the table's history.
        for (version, body) in &foreign {
            check_commit(self.catalog.as_ref(), (&entry.name, &entry.location), *version, body).await?;
        }
        let checkpoints = self.foreign_checkpoints(entry, first).await?;
        if hint(store.as_ref()).await?.as_deref().and_then(hinted).is_some_and(|at| checkpoints.contains(&at)) {
            store.delete(&hint_path()).await?;
        }
        // Readers begin at a checkpoint, so these leave first.
        let mut moved: Vec<_> = files.iter().filter(|file| file.is_checkpoint_of(&checkpoints)).collect();
        moved.extend(files.iter().filter(|file| file.is_compacted_from(first)));
        moved.extend(files.iter().rev().filter(|file| file.kind == "json" && foreign.contains_key(&file.version)));
        moved.extend(files.iter().filter(|file| file.kind == "crc" && foreign.contains_key(&file.version)));
        for file in &moved {
            let commit = foreign.get(&file.version).filter(|_| file.kind == "json").cloned();
            let bytes = match commit {
                Some(bytes) => Some(bytes),
                None => read(store.as_ref(), &file.path).await?,
            };
            let Some(bytes) = bytes else { continue };
            let target = Path::from(format!("{folder}/{}", file.name));
            copy_aside(store.as_ref(), &target, &bytes).await?;
            store.delete(&file.path).await?;
            tracing::warn!(table = %entry.name, file = file.name, to = %target, "set aside");
        }
        let mut names: Vec<_> = moved.into_iter().map(|file| file.name.clone()).collect();
        names.sort();
        Ok(names)
    }

    /// The commits in `_delta_log` that are not the catalog's.
    pub(crate) async fn foreign_commits(
        &self,
        entry: &TableEntry,
        store: &dyn ObjectStore,
        files: &[LogFile],
    ) -> Result<BTreeMap<Version, Bytes>> {
        let commits = files.iter().filter(|file| file.kind == "json");
        let there: BTreeSet<Version> = commits.map(|file| file.version).collect();
        let reader = self.catalog.reader(entry.id);
        let mut foreign = BTreeMap::new();
        for version in there.iter().copied().filter(|version| *version > entry.current_version) {
            foreign.extend(read(store, &commit_path(version)).await?.map(|body| (version, body)));
        }
        let mut next = first_commit(reader.as_ref(), entry.base_version).await?;
        while next <= entry.current_version {
            let some = commits::next_page(reader.as_ref(), next, entry.current_version).await?;
            let Some((newest, _)) = some.last() else { break };
            next = newest + 1;
            let compared = some.into_iter().filter(|(version, _)| there.contains(version));
            let compared = futures::stream::iter(compared).map(|(version, expected)| async move {
                let there = read(store, &commit_path(version)).await?;
                let foreign = there.filter(|there| *there != expected && !is_torn(there, &expected));
                Ok::<_, TxnLogError>(foreign.map(|body| (version, body)))
            });
            let compared: Vec<_> = compared.buffered(CONCURRENT).try_collect().await?;
            foreign.extend(compared.into_iter().flatten());
        }
        Ok(foreign)
    }

    /// The versions from `first` on whose checkpoints are not of the catalog's versions.
    async fn foreign_checkpoints(&self, entry: &TableEntry, first: Version) -> Result<BTreeSet<Version>> {
        let reader = self.catalog.reader(entry.id);
        let mut foreign = BTreeSet::new();
        for checkpoint in StoredCheckpoint::all(&entry.location, self.stores.as_ref()).await? {
            let version = checkpoint.version();
            if version >= first
                && (version > entry.current_version || wrong_checkpoint(reader.as_ref(), &checkpoint).await?.is_some())
            {
                foreign.insert(version);
            }
        }
        Ok(foreign)
    }
}

/// The folder in a table for what is set aside at this time.
pub(crate) fn new_folder(now_ms: i64) -> String {
    format!("_set_aside/{}", format_ms(now_ms).replace(':', "-"))
}

/// Puts a file that is kept aside.
pub(crate) async fn copy_aside(store: &dyn ObjectStore, target: &Path, bytes: &Bytes) -> Result<()> {
    match store.put_opts(target, bytes.clone().into(), PutMode::Create.into()).await {
        Ok(_) => Ok(()),
        // The answer to an earlier attempt may have been lost.
        Err(e) if read(store, target).await?.as_ref() != Some(bytes) => Err(e.into()),
        Err(_) => Ok(()),
    }
}

/// A file of `_delta_log` that belongs to a version.
pub(crate) struct LogFile {
    path: Path,
    name: String,
    version: Version,
    /// What follows the version in its name.
    kind: String,
}

impl LogFile {
    fn is_checkpoint_of(&self, versions: &BTreeSet<Version>) -> bool {
        self.kind.starts_with("checkpoint.") && versions.contains(&self.version)
    }

    /// Whether it is a log compaction file with this version or a later one.
    fn is_compacted_from(&self, first: Version) -> bool {
        let last = self.kind.strip_suffix(".compacted.json").and_then(|last| last.parse::<Version>().ok());
        last.is_some_and(|last| last >= first)
    }
}

/// The files of `_delta_log` that belong to versions, by name; not those of its folders.
pub(crate) async fn log_files(store: &dyn ObjectStore) -> Result<Vec<LogFile>> {
    let listed = store.list_with_delimiter(Some(&Path::from("_delta_log"))).await?;
    let files = listed.objects.into_iter().filter_map(|object| {
        let name = object.location.filename()?.to_string();
        let (version, kind) = name.split_once('.')?;
        let (version, kind) = (version.parse().ok()?, kind.to_string());
        Some(LogFile { path: Path::from(format!("_delta_log/{name}")), version, kind, name })
    });
    let mut files: Vec<_> = files.collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}
