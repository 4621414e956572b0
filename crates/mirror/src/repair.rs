//! Restores files of `_delta_log` that are missing or truncated: the catalog has every commit's bytes, and all that the
//! other files are derived from.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use deltalakedb_log::commit::COMMIT_INFO_KEY;
use deltalakedb_log::{
    Commit, ErrorKind, Result, StoredCheckpoint, TableEntry, TableId, TableName, TxnLogError, Version, first_commit,
};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::checkpoint::{self, hint, hinted};
use crate::checksum;
use crate::commits;
use crate::derived::DerivedFile;
use crate::maintenance::{RemovableCommits, delete};
use crate::mirror::Mirror;
use crate::put::{Failure, commit_path};
use crate::wrong_row::{import_again, wrong_row};

/// The pause before the missing checksum of the newest version is put: a process that has just published the version puts
/// it in a moment.
const PAUSE: Duration = Duration::from_millis(50);

/// The result of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// The table.
    pub table: TableName,
    /// The versions whose commits were restored.
    pub versions: Vec<Version>,
    /// Those of them whose files were truncated; the others were missing.
    pub truncated: Vec<Version>,
    /// The version of a checkpoint that was written because the log begins there.
    pub checkpoint: Option<Version>,
    /// The versions whose checkpoints were written, including that one.
    pub checkpoints: Vec<Version>,
    /// The versions whose checksums were written.
    pub checksums: Vec<Version>,
    /// Whether `_last_checkpoint` was written.
    pub hint: bool,
}

impl Repaired {
    fn nothing(table: &TableName) -> Self {
        Self {
            table: table.clone(),
            versions: Vec::new(),
            truncated: Vec::new(),
            checkpoint: None,
            checkpoints: Vec::new(),
            checksums: Vec::new(),
            hint: false,
        }
    }

    /// Whether everything was there already.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty() && self.checkpoints.is_empty() && self.checksums.is_empty() && !self.hint
    }
}

impl fmt::Display for Repaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = &self.table;
        if self.is_empty() {
            return write!(f, "nothing is missing or wrong in the _delta_log of {table}");
        }
        let mut parts = Vec::new();
        let missing: Vec<_> = self.versions.iter().copied().filter(|v| !self.truncated.contains(v)).collect();
        for (what, versions) in [("missing", &missing), ("truncated", &self.truncated)] {
            match &versions[..] {
                [] => {}
                [one] => {
                    let said = format!("version {one} of {table} was {what} in its _delta_log");
                    parts.push(format!("{said} and was published again"));
                }
                [first, .., last] => {
                    let n = versions.len();
                    let said =
                        format!("{n} versions of {table}, from {first} to {last}, were {what} in its _delta_log");
                    parts.push(format!("{said} and were published again"));
                }
            }
        }
        for (what, versions) in [("checkpoint", &self.checkpoints), ("checksum", &self.checksums)] {
            match &versions[..] {
                [] => {}
                [one] => {
                    let said = format!("the {what} of version {one} of {table} was missing or wrong");
                    parts.push(format!("{said} and was written again"));
                }
                [first, .., last] => {
                    let n = versions.len();
                    let said = format!("{n} {what}s of {table}, of versions from {first} to {last}");
                    parts.push(format!("{said}, were missing or wrong and were written again"));
                }
            }
        }
        if self.hint {
            parts.push(format!("_last_checkpoint of {table} was missing or wrong and was written again"));
        }
        f.write_str(&parts.join("; "))
    }
}

impl Mirror {
    /// Restores what is missing, truncated or wrong in `_delta_log`, from the catalog: published commits, then
    /// checkpoints, `_last_checkpoint` and checksums. Commits that may be missing, because a checkpoint covers them and
    /// their retention has ended, are not restored. A second call finds nothing to do.
    ///
    /// # Errors
    /// `Invalid` when another commit exists where one of the catalog's should be: nothing is overwritten. `Corrupt` when
    /// rows of the catalog are not those of its commits, because checkpoints are made of rows.
    #[tracing::instrument(target = "deltalakedb::operation", level = "debug", skip_all, fields(%table))]
    pub async fn repair(&self, table: TableId) -> Result<Repaired> {
        let turns = self.turns(table);
        let _turn = turns.publishing.lock().await;
        let entry = self.entry(table).await?;
        let mut repaired = self.restore_published(&entry).await?;
        // Due checkpoints are not written in the meantime.
        let _checkpoint_turn = turns.checkpoint.lock().await;
        self.restore_derived_files(&entry, &mut repaired).await?;
        self.restore_missing_checksums(&entry, &mut repaired).await?;
        Ok(repaired)
    }

    /// Restores the published commits only.
    pub(crate) async fn repair_commits(&self, table: TableId) -> Result<Repaired> {
        let turns = self.turns(table);
        let _turn = turns.publishing.lock().await;
        self.restore_published(&self.entry(table).await?).await
    }

    async fn restore_published(&self, entry: &TableEntry) -> Result<Repaired> {
        let store = self.store(entry)?;
        self.restore_commits(entry, store.as_ref(), &Listed::read(store.as_ref()).await?).await
    }

    /// Writes wrong checkpoints, a wrong hint and wrong checksums again.
    async fn restore_derived_files(&self, entry: &TableEntry, repaired: &mut Repaired) -> Result<()> {
        let retained = entry.published_version.filter(|published| *published >= entry.base_version);
        let Some(published) = retained else { return Ok(()) };
        let store = self.store(entry)?;
        let wrong_files = self.wrong_files(entry, entry.base_version..=published).await?;
        if !wrong_files.is_empty()
            && let Some(what) = wrong_row(self.catalog.reader(entry.id).as_ref(), entry.base_version, published).await?
        {
            let instead = import_again(entry);
            return Err(TxnLogError::corrupt(format!("{what}, so nothing is made of its rows: {instead}")));
        }
        for wrong in wrong_files {
            let version = wrong.version;
            match wrong.file {
                DerivedFile::Checkpoint(names) => {
                    if !repaired.checkpoints.contains(&version) {
                        self.checkpoint_of(entry, version).await?;
                        repaired.checkpoints.push(version);
                    }
                    // Ours does not replace files of other names, from which readers may read this version as well.
                    let others = names.iter().map(|name| Path::from(format!("_delta_log/{name}")));
                    for other in others.filter(|other| *other != checkpoint::path(version)) {
                        delete(store.as_ref(), &other).await?;
                    }
                }
                DerivedFile::Hint => {
                    self.restore_hint(entry, published, repaired).await?;
                    repaired.hint = true;
                }
                DerivedFile::Checksum => {
                    if self.mend_checksum(entry, version).await? {
                        repaired.checksums.push(version);
                    }
                }
            }
            self.note_progress();
            tracing::debug!(table = %entry.name, version, what = wrong.what, "written again");
        }
        Ok(())
    }

    /// Sets the hint to the newest checkpoint; all are right. If the hint names a later published version, whose
    /// checkpoint is missing, that is written, because the hint never goes back.
    async fn restore_hint(&self, entry: &TableEntry, published: Version, repaired: &mut Repaired) -> Result<()> {
        let named = hint(self.store(entry)?.as_ref()).await?.as_deref().and_then(hinted);
        let stored = StoredCheckpoint::all(&entry.location, self.stores.as_ref()).await?;
        let candidates = stored.iter().map(StoredCheckpoint::version).chain(named);
        let last = candidates.filter(|version| (entry.base_version..=published).contains(version)).max();
        let version = last.unwrap_or(published);
        if self.ensure_readable_from(entry, version).await? && !repaired.checkpoints.contains(&version) {
            repaired.checkpoints.push(version);
        }
        Ok(())
    }

    /// Puts the checksums of this library's commits that have none. Commits of other engines may be without one.
    async fn restore_missing_checksums(&self, entry: &TableEntry, repaired: &mut Repaired) -> Result<()> {
        let Some(last) = entry.published_version else { return Ok(()) };
        let (reader, store) = (self.catalog.reader(entry.id), self.store(entry)?);
        let listed = Listed::read(store.as_ref()).await?;
        let mut next = first_commit(reader.as_ref(), entry.base_version).await?;
        while next <= last {
            let some = commits::next_page(reader.as_ref(), next, last).await?;
            let Some((newest, _)) = some.last() else { break };
            next = newest + 1;
            for (version, bytes) in some {
                if listed.checksums.contains(&version) || !listed.commits.contains_key(&version) {
                    continue;
                }
                let actions = Commit::parse_without_files(&bytes, "a stored commit")?;
                if checksum::info(&actions).is_none_or(|info| info.0.raw(COMMIT_INFO_KEY).is_none()) {
                    continue;
                }
                if version == last {
                    self.clock.sleep(PAUSE).await;
                }
                if self.mend_checksum(entry, version).await? {
                    self.note_progress();
                    repaired.checksums.push(version);
                }
            }
        }
        repaired.checksums.sort_unstable();
        Ok(())
    }

    /// Checks that the last published version exists. If it is missing, everything that is missing is restored, and the
    /// result is a message about that; if everything is missing, this is not the place that was published to.
    pub(crate) async fn check_last_published(&self, entry: &TableEntry) -> Result<Option<String>> {
        let Some(last) = entry.published_version else { return Ok(None) };
        let store = self.store(entry)?;
        match store.head(&commit_path(last)).await {
            Ok(there) => {
                let bytes = self.catalog.reader(entry.id).commit_bytes(last).await?;
                // An empty file is always truncated.
                if there.size > 0 && bytes.is_none_or(|bytes| bytes.len() as u64 <= there.size) {
                    return Ok(None);
                }
            }
            Err(object_store::Error::NotFound { .. }) => {}
            Err(e) => {
                let what = format!(
                    "it cannot be determined whether version {last} of {} is still in its _delta_log",
                    entry.name
                );
                let e = TxnLogError::from(e);
                return Err(TxnLogError::new(e.kind(), what).with_source(e));
            }
        }
        let listed = Listed::read(store.as_ref()).await?;
        if listed.is_empty() {
            return Err(nothing_left(entry, last, ErrorKind::Unavailable));
        }
        let repaired = self.restore_commits(entry, store.as_ref(), &listed).await?;
        Ok((!repaired.versions.is_empty()).then(|| repaired.to_string()))
    }

    async fn restore_commits(&self, entry: &TableEntry, store: &dyn ObjectStore, listed: &Listed) -> Result<Repaired> {
        let mut repaired = Repaired::nothing(&entry.name);
        let Some(last) = entry.published_version else { return Ok(repaired) };
        let reader = self.catalog.reader(entry.id);
        let removable = RemovableCommits::of(reader.as_ref(), store, self.clock.now_ms()).await?;
        let mut next = first_commit(reader.as_ref(), entry.base_version).await?;
        while next <= last {
            let some = commits::next_page(reader.as_ref(), next, last).await?;
            for (version, bytes) in &some {
                let is_there = listed.commits.get(version) == Some(&(bytes.len() as u64));
                if is_there
                    || (!listed.commits.contains_key(version) && removable.has(reader.as_ref(), *version).await?)
                {
                    continue;
                }
                let actions = Commit::parse_without_files(bytes, "a stored commit")?;
                match self.put_commit(entry, (store, self.durability), *version, bytes, &actions).await {
                    Ok(()) => {
                        self.note_progress();
                        tracing::debug!(table = %entry.name, version, "published again");
                        repaired.versions.push(*version);
                        if listed.commits.contains_key(version) {
                            repaired.truncated.push(*version);
                        }
                    }
                    Err(Failure::Foreign(what)) => {
                        let (name, place) = (&entry.name, &entry.location);
                        return Err(TxnLogError::invalid(format!(
                            "version {version} in {place}/_delta_log differs from what was published of {name} \
                             ({what}): `dl mirror repair {name} --ours` moves that file away and publishes the \
                             catalog's version again"
                        )));
                    }
                    Err(Failure::Error(e)) => {
                        return Err(TxnLogError::new(
                            e.kind(),
                            format!("version {version} of {} could not be published again", entry.name),
                        )
                        .with_source(e));
                    }
                }
            }
            let Some((newest, _)) = some.last() else { break };
            next = newest + 1;
        }
        let begins_with_a_commit = entry.base_version == 0 && reader.commit_bytes(0).await?.is_some();
        if !repaired.versions.is_empty() && !begins_with_a_commit && !listed.has_checkpoint {
            self.checkpoint_of(entry, entry.base_version).await?;
            repaired.checkpoint = Some(entry.base_version);
            repaired.checkpoints.push(entry.base_version);
        }
        Ok(repaired)
    }
}

/// The error when no published version up to this one is in `_delta_log`.
pub(crate) fn nothing_left(entry: &TableEntry, last: Version, kind: ErrorKind) -> TxnLogError {
    let (name, place) = (&entry.name, &entry.location);
    TxnLogError::new(
        kind,
        format!(
            "{place}/_delta_log is empty, and {name} was published up to version {last}: check that the disk is \
             mounted and the bucket is the right one; if the log is lost, `dl mirror repair {name}` publishes it again"
        ),
    )
}

/// The listed files of `_delta_log`.
pub(crate) struct Listed {
    /// The commits, with the size of each.
    commits: HashMap<Version, u64>,
    /// The versions with a checksum.
    checksums: HashSet<Version>,
    has_checkpoint: bool,
}

impl Listed {
    pub(crate) async fn read(store: &dyn ObjectStore) -> Result<Self> {
        let mut listed = Self { commits: HashMap::new(), checksums: HashSet::new(), has_checkpoint: false };
        let mut files = store.list(Some(&Path::from("_delta_log")));
        while let Some(file) = files.try_next().await? {
            let name = file.location.filename().unwrap_or_default();
            match name.split_once('.').map(|(version, kind)| (version.parse::<Version>(), kind)) {
                Some((Ok(version), "json")) => _ = listed.commits.insert(version, file.size),
                Some((Ok(version), "crc")) => _ = listed.checksums.insert(version),
                Some((Ok(_), kind)) if kind.starts_with("checkpoint.") => listed.has_checkpoint = true,
                _ => {}
            }
        }
        Ok(listed)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.commits.is_empty() && !self.has_checkpoint
    }
}
