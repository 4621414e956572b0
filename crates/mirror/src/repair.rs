//! Restores missing files of `_delta_log`: the catalog has every commit's bytes.

use std::collections::HashMap;
use std::fmt;

use deltalakedb_log::{Commit, ErrorKind, Result, TableEntry, TableId, TableName, TxnLogError, Version, first_commit};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::commits;
use crate::maintenance::RemovableCommits;
use crate::mirror::Mirror;
use crate::put::{Failure, commit_path};

/// The result of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// The table.
    pub table: TableName,
    /// The versions whose commits were restored.
    pub versions: Vec<Version>,
    /// The version of a checkpoint that was written because the log begins there.
    pub checkpoint: Option<Version>,
}

impl fmt::Display for Repaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = &self.table;
        match &self.versions[..] {
            [] => write!(f, "no published commit of {table} is missing in its _delta_log"),
            [one] => write!(f, "version {one} of {table} was missing in its _delta_log and was published again"),
            [first, .., last] => {
                let n = self.versions.len();
                write!(
                    f,
                    "{n} versions of {table}, from {first} to {last}, were missing in its _delta_log and were \
                     published again"
                )
            }
        }
    }
}

impl Mirror {
    /// Puts every published commit that is missing in `_delta_log`, with the catalog's bytes. Commits that may be
    /// missing, because a checkpoint covers them and their retention has ended, are not restored.
    ///
    /// # Errors
    /// `Invalid` when another commit exists where one of the catalog's should be: nothing is overwritten.
    pub async fn repair(&self, table: TableId) -> Result<Repaired> {
        let turns = self.turns(table);
        let _turn = turns.publishing.lock().await;
        let entry = self.entry(table).await?;
        let store = self.store(&entry)?;
        self.restore_commits(&entry, store.as_ref(), &Listed::read(store.as_ref()).await?).await
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
        let mut repaired = Repaired { table: entry.name.clone(), versions: Vec::new(), checkpoint: None };
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
                match self.put_commit(entry, store, *version, bytes, &actions).await {
                    Ok(()) => {
                        self.note_progress();
                        tracing::debug!(table = %entry.name, version, "published again");
                        repaired.versions.push(*version);
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
    has_checkpoint: bool,
}

impl Listed {
    pub(crate) async fn read(store: &dyn ObjectStore) -> Result<Self> {
        let mut listed = Self { commits: HashMap::new(), has_checkpoint: false };
        let mut files = store.list(Some(&Path::from("_delta_log")));
        while let Some(file) = files.try_next().await? {
            let name = file.location.filename().unwrap_or_default();
            match name.split_once('.').map(|(version, kind)| (version.parse::<Version>(), kind)) {
                Some((Ok(version), "json")) => _ = listed.commits.insert(version, file.size),
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
