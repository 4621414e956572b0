//! Keeps `_delta_log` short: expired commits are removed, and several can be compacted into one file.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use deltalakedb_log::action::Metadata;
use deltalakedb_log::features::has_writer_feature;
use deltalakedb_log::retention::{DEFAULT_TIME, TIME_PROPERTY};
use deltalakedb_log::time::parse_interval;
use deltalakedb_log::{
    Action, At, CheckpointState, Commit, ErrorKind, Head, Result, StoredCheckpoint, TableEntry, TableId, TxnLogError,
    TxnLogReader, Version,
};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::checkpoint::{self, hint, hinted};
use crate::commits;
use crate::mirror::Mirror;

/// The maximum age of a sidecar whose checkpoint may still be in progress.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Mirror {
    /// Removes files from `_delta_log` that no reader needs: those before the newest checkpoint from which every
    /// version can be read that was written within `delta.logRetentionDuration`. The catalog keeps the versions.
    /// Returns the number of removed files.
    ///
    /// Files are removed one after the other, the oldest first: after an interruption, the readable versions are those
    /// from some version on. If the table protects its checkpoints (`checkpointProtection`), either everything
    /// protected is removed or nothing.
    pub async fn clean_up(&self, table: TableId) -> Result<u64> {
        let entry = self.entry(table).await?;
        let store = self.store(&entry)?;
        let store = store.as_ref();
        let Some(newest) = checkpointed(store).await? else { return Ok(0) };
        let reader = self.catalog.reader(table);
        let head = reader.head().await?;
        let now = self.clock.now_ms();
        let since = now.saturating_sub(retention_ms(&head.metadata));
        let listed = list(store).await?;
        let all = LogFile::all(&listed);
        let young = all.iter().filter(|file| file.kind == "json" && file.changed_at >= since);
        let needed = young.map(|file| file.version).min().unwrap_or(newest).min(newest);
        let checkpoints = all.iter().filter(|file| file.kind == "checkpoint.parquet" && file.version <= needed);
        // The catalog no longer has the content of a checkpoint of an expired version.
        let begins = checkpoints.map(|file| file.version).max().filter(|first| *first >= entry.base_version);
        let Some(first) = begins.filter(|first| *first >= protected_before(&head)) else { return Ok(0) };
        let expired_files: Vec<_> =
            all.into_iter().filter(|file| file.version < first && file.changed_at < since).collect();
        if !expired_files.is_empty() {
            self.check_readable(&entry, first).await?;
        }
        let mut count = self.remove(&entry, expired_files).await?;
        if listed.iter().any(is_sidecar) {
            count += self.remove_sidecars(&entry, &listed, now.saturating_sub(DAY_MS).min(since)).await?;
        }
        Ok(count)
    }

    /// Removes the files older than the history of a table in the catalog, once there is a valid checkpoint of the
    /// oldest version; returns the number of files.
    pub(crate) async fn remove_ended(&self, entry: &TableEntry) -> Result<u64> {
        let (base, head) = (entry.base_version, self.catalog.reader(entry.id).head().await?);
        if entry.published_version < Some(base) || base < protected_before(&head) {
            return Ok(0);
        }
        let all = LogFile::all(&list(self.store(entry)?.as_ref()).await?);
        let ended: Vec<_> = all.into_iter().filter(|file| file.version < base).collect();
        if ended.is_empty() {
            return Ok(0);
        }
        self.ensure_readable_from(entry, base).await?;
        self.remove(entry, ended).await
    }

    /// Ensures that readers of `_delta_log` can start at a version, and that the hint names it or a newer published one.
    /// Returns whether a checkpoint was written.
    pub(crate) async fn ensure_readable_from(&self, entry: &TableEntry, version: Version) -> Result<bool> {
        let store = self.store(entry)?;
        let store = store.as_ref();
        match store.head(&checkpoint::path(version)).await {
            Ok(_) => {
                let (stored, state) = self.check_readable(entry, version).await?;
                // A process that was killed after it wrote the checkpoint has not updated the hint.
                let led = hint(store).await?.and_then(|hint| hinted(&hint));
                if led.is_none_or(|led| led < version || Some(led) > entry.published_version) {
                    self.update_last_checkpoint(entry, store, &stored, &state).await?;
                }
                Ok(false)
            }
            Err(object_store::Error::NotFound { .. }) => {
                self.checkpoint_of(entry, version).await?;
                Ok(true)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Removes files, the oldest first.
    async fn remove(&self, entry: &TableEntry, mut files: Vec<LogFile>) -> Result<u64> {
        let store = self.store(entry)?;
        files.sort_by_key(LogFile::order);
        let mut count = 0;
        for file in files {
            count += u64::from(delete(store.as_ref(), &file.path).await?);
        }
        Ok(count)
    }

    /// The checkpoint with which the log is to begin; an error if it is invalid.
    async fn check_readable(
        &self,
        entry: &TableEntry,
        version: Version,
    ) -> Result<(StoredCheckpoint, CheckpointState)> {
        let (reader, store) = (self.catalog.reader(entry.id), self.store(entry)?);
        let path = checkpoint::path(version);
        let stored = StoredCheckpoint::at(entry.location.clone(), store, version, &path).await?;
        let state = stored.read().await?;
        let snapshot = reader.snapshot(At::Version(version)).await?;
        match checkpoint::difference(reader.as_ref(), &snapshot, &state).await? {
            None => Ok((stored, state)),
            Some(what) => Err(TxnLogError::new(
                ErrorKind::Corrupt,
                format!(
                    "nothing was removed from the _delta_log of {}: its checkpoint of version {version} {what}; \
                     `dl verify {}` shows how to fix it",
                    entry.name, entry.name
                ),
            )),
        }
    }

    /// Removes the sidecars that no checkpoint names.
    async fn remove_sidecars(&self, entry: &TableEntry, listed: &[ObjectMeta], before_ms: i64) -> Result<u64> {
        let store = self.store(entry)?;
        let mut named = BTreeSet::new();
        for checkpoint in StoredCheckpoint::all(&entry.location, self.stores.as_ref()).await? {
            named.extend(checkpoint.read().await?.sidecars);
        }
        let mut count = 0;
        let old = listed.iter().filter(|file| is_sidecar(file) && file.last_modified.timestamp_millis() < before_ms);
        for file in old.filter(|file| file.location.filename().is_some_and(|name| !named.contains(name))) {
            count += u64::from(delete(store.as_ref(), &below_table(&file.location)).await?);
        }
        Ok(count)
    }

    /// Writes a log compaction file for the published versions `from` to `to`, both included.
    pub async fn compact(&self, table: TableId, from: Version, to: Version) -> Result<()> {
        let entry = self.entry(table).await?;
        if from >= to || entry.published_version.is_none_or(|published| to > published) {
            return Err(TxnLogError::invalid(format!(
                "versions {from} to {to} of {} cannot be compacted: choose two or more published versions, from {} to \
                 {}",
                entry.name,
                entry.base_version,
                entry.published_version.unwrap_or_default()
            )));
        }
        let (mut protocol, mut metadata) = (None, None);
        let (mut txns, mut domains, mut files) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let reader = self.catalog.reader(table);
        let mut next = from;
        while next <= to {
            let some = commits::next_page(reader.as_ref(), next, to).await?;
            let Some((newest, _)) = some.last() else { break };
            next = newest + 1;
            for (version, bytes) in some {
                for action in Commit::parse(bytes, &format!("version {version} of {}", entry.name))?.into_actions() {
                    match &action {
                        Action::Protocol(_) => protocol = Some(action),
                        Action::Metadata(_) => metadata = Some(action),
                        Action::Txn(txn) => _ = txns.insert(txn.app_id.clone(), action),
                        Action::DomainMetadata(domain) => _ = domains.insert(domain.domain.clone(), action),
                        Action::Add(add) => _ = files.insert(add.key(), action),
                        Action::Remove(remove) => _ = files.insert(remove.key(), action),
                        _ => {}
                    }
                }
            }
        }
        let all = protocol.into_iter().chain(metadata).chain(txns.into_values()).chain(domains.into_values());
        let lines: Vec<_> = all.chain(files.into_values()).map(|action| action.to_json()).collect();
        let path = Path::from(format!("_delta_log/{from:020}.{to:020}.compacted.json"));
        self.store(&entry)?.put(&path, Bytes::from(lines.join("\n") + "\n").into()).await?;
        Ok(())
    }
}

/// A file of `_delta_log` that belongs to a version.
struct LogFile {
    version: Version,
    /// The part of the name after the version: `json`, `crc`, `checkpoint.parquet`.
    kind: String,
    path: Path,
    changed_at: i64,
}

/// The files of `_delta_log`.
async fn list(store: &dyn ObjectStore) -> Result<Vec<ObjectMeta>> {
    Ok(store.list(Some(&Path::from("_delta_log"))).try_collect().await?)
}

impl LogFile {
    fn all(listed: &[ObjectMeta]) -> Vec<Self> {
        listed.iter().filter_map(Self::of).collect()
    }

    fn of(file: &ObjectMeta) -> Option<Self> {
        let path = below_table(&file.location);
        if path.parts().count() != 2 {
            return None;
        }
        let (version, kind) = path.filename()?.split_once('.')?;
        let (version, kind) = (version.parse().ok()?, kind.to_string());
        Some(Self { version, kind, changed_at: file.last_modified.timestamp_millis(), path })
    }

    /// The order of removal: without its checkpoint a version needs older files, which are removed already.
    fn order(&self) -> (Version, bool, String) {
        (self.version, !self.kind.starts_with("checkpoint."), self.kind.clone())
    }
}

/// The path of a file of the log below the table: some stores return the path including their prefix.
pub(crate) fn below_table(path: &Path) -> Path {
    let parts: Vec<_> = path.parts().collect();
    let log = parts.iter().rposition(|part| part.as_ref() == "_delta_log").unwrap_or_default();
    parts.into_iter().skip(log).collect()
}

fn is_sidecar(file: &ObjectMeta) -> bool {
    let path = below_table(&file.location);
    path.parts().count() == 3 && path.parts().nth(1).is_some_and(|part| part.as_ref() == "_sidecars")
}

/// Deletes a file; returns whether it existed.
pub(crate) async fn delete(store: &dyn ObjectStore, path: &Path) -> Result<bool> {
    match store.delete(path).await {
        Ok(()) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Before this version either all files are removed or none (PROTOCOL.md, "Checkpoint Protection").
pub(crate) fn protected_before(head: &Head) -> Version {
    let before = || head.metadata.property("delta.requireCheckpointProtectionBeforeVersion")?.trim().parse().ok();
    if has_writer_feature(&head.protocol, "checkpointProtection") { before().unwrap_or(Version::MAX) } else { 0 }
}

/// The retention of commits in `_delta_log`, in milliseconds.
fn retention_ms(metadata: &Metadata) -> i64 {
    let own = metadata.property(TIME_PROPERTY).and_then(parse_interval);
    i64::try_from(own.unwrap_or(DEFAULT_TIME).as_millis()).unwrap_or(i64::MAX)
}

/// The version in the hint, if its checkpoint exists.
async fn checkpointed(store: &dyn ObjectStore) -> Result<Option<Version>> {
    let Some(version) = hint(store).await?.and_then(|hint| hinted(&hint)) else { return Ok(None) };
    match store.head(&checkpoint::path(version)).await {
        Ok(_) => Ok(Some(version)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The commits that may be missing in `_delta_log`: those before a checkpoint whose retention has ended.
pub(crate) struct RemovableCommits {
    checkpoint: Option<Version>,
    cutoff_ms: i64,
}

impl RemovableCommits {
    pub(crate) async fn of(reader: &dyn TxnLogReader, store: &dyn ObjectStore, now_ms: i64) -> Result<Self> {
        let metadata = reader.head().await?.metadata;
        let cutoff_ms = now_ms.saturating_sub(retention_ms(&metadata));
        let checkpoint = match checkpointed(store).await? {
            Some(version) => Some(version),
            // Without a valid hint, readers list the log.
            None => {
                let all = LogFile::all(&list(store).await?);
                all.into_iter().filter(|file| file.kind == "checkpoint.parquet").map(|file| file.version).max()
            }
        };
        Ok(Self { checkpoint, cutoff_ms })
    }

    /// Whether the commit of a version may be missing.
    pub(crate) async fn has(&self, reader: &dyn TxnLogReader, version: Version) -> Result<bool> {
        if self.checkpoint.is_none_or(|checkpoint| checkpoint <= version) {
            return Ok(false);
        }
        Ok(reader.snapshot(At::Version(version)).await?.head.timestamp < self.cutoff_ms)
    }
}
