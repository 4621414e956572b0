//! Checks the files of `_delta_log` that are derived from versions: checkpoints, checksums, and the hint.
//!
//! [`Mirror::verify`] reports what is wrong with them, and [`Mirror::repair`] writes them again: both ask here.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use deltalakedb_log::{At, ErrorKind, Result, StoredCheckpoint, TableEntry, TxnLogReader, Version};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::checkpoint::{self, hint, hinted};
use crate::checksum::{self, VersionChecksum};
use crate::mirror::Mirror;
use crate::put::{commit_path, read};

/// How often a missing hint is read again, and the pause before each read: a process that has put a checkpoint reads it
/// back before it puts the hint.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

/// A derived file that is not what its version requires.
#[derive(Debug)]
pub(crate) struct WrongFile {
    /// Its version; the newest published one for the hint.
    pub(crate) version: Version,
    pub(crate) file: DerivedFile,
    /// What is wrong with it.
    pub(crate) what: String,
}

/// What a derived file is.
#[derive(Debug)]
pub(crate) enum DerivedFile {
    /// A checkpoint with files of these names; none if it is missing.
    Checkpoint(Vec<String>),
    /// `_last_checkpoint`.
    Hint,
    Checksum,
}

impl Mirror {
    /// The wrong ones among the newest checkpoint, the hint, and the checkpoints and checksums of these published
    /// versions, in this order: checkpoints, hint, checksums. A missing checksum is not wrong, because readers do not
    /// need it.
    pub(crate) async fn wrong_files(
        &self,
        table: &TableEntry,
        versions: RangeInclusive<Version>,
    ) -> Result<Vec<WrongFile>> {
        let (reader, store) = (self.catalog.reader(table.id), self.store(table)?);
        let (base, published) = (table.base_version, *versions.end());
        // The hint is read first, because the checkpoint that it names was put before it.
        let hint = hint(store.as_ref()).await?;
        let stored = StoredCheckpoint::all(&table.location, self.stores.as_ref()).await?;
        let checkpoints: BTreeSet<Version> = stored.iter().map(StoredCheckpoint::version).collect();
        let newest = checkpoints.range(..=published).next_back().copied().filter(|newest| *newest >= base);
        let mut wrong = Vec::new();
        if base <= published && checkpoints.is_empty() && !exists(store.as_ref(), &commit_path(0)).await? {
            wrong.push(WrongFile {
                version: base,
                file: DerivedFile::Checkpoint(Vec::new()),
                what: format!("the log begins at version {base}, which has no checkpoint, so no reader can open it"),
            });
        }
        for checkpoint in &stored {
            let version = checkpoint.version();
            if version < base || (Some(version) != newest && !versions.contains(&version)) {
                continue;
            }
            if let Some(what) = wrong_checkpoint(reader.as_ref(), checkpoint).await? {
                let names = checkpoint.file_names().map(String::from).collect();
                wrong.push(WrongFile { version, file: DerivedFile::Checkpoint(names), what });
            }
        }
        let what = match hint {
            Some(hint) => self.wrong_hint(table, &hint, &checkpoints, published).await?,
            None if newest.is_some() && !self.hint_appears(store.as_ref()).await? => {
                Some("_last_checkpoint is missing".into())
            }
            None => None,
        };
        wrong.extend(what.map(|what| WrongFile { version: published, file: DerivedFile::Hint, what }));
        for version in versions {
            let what = wrong_checksum(reader.as_ref(), store.as_ref(), version).await?;
            wrong.extend(what.map(|what| WrongFile { version, file: DerivedFile::Checksum, what }));
        }
        Ok(wrong)
    }

    /// The error of a hint, if it has one.
    async fn wrong_hint(
        &self,
        table: &TableEntry,
        hint: &Bytes,
        checkpoints: &BTreeSet<Version>,
        published: Version,
    ) -> Result<Option<String>> {
        let Some(version) = hinted(hint) else { return Ok(Some("_last_checkpoint is torn".into())) };
        if !checkpoints.contains(&version) {
            return Ok(Some(format!("_last_checkpoint points to version {version}, which has no checkpoint")));
        }
        // The hint may be of a version published in the meantime.
        let is_published = version <= published || Some(version) <= self.entry(table.id).await?.published_version;
        Ok((!is_published).then(|| format!("_last_checkpoint points to version {version}, which is not published")))
    }

    /// Whether a missing hint is put in a moment, by the process that has put the checkpoint.
    async fn hint_appears(&self, store: &dyn ObjectStore) -> Result<bool> {
        for _ in 0..TRIES {
            self.clock.sleep(PAUSE).await;
            if hint(store).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The error of a checkpoint, if it has one.
pub(crate) async fn wrong_checkpoint(
    reader: &dyn TxnLogReader,
    checkpoint: &StoredCheckpoint,
) -> Result<Option<String>> {
    let (name, version) = (checkpoint.name(), checkpoint.version());
    let state = match checkpoint.read().await {
        Ok(state) => state,
        Err(e) if matches!(e.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
            let cause = std::error::Error::source(&e).map_or(e.to_string(), |cause| cause.to_string());
            return Ok(Some(format!("{name} is a torn checkpoint ({cause})")));
        }
        Err(e) => return Err(e),
    };
    let snapshot = reader.snapshot(At::Version(version)).await?;
    let difference = checkpoint::difference(reader, &snapshot, &state).await?;
    Ok(difference.map(|what| format!("the checkpoint {name} {what}")))
}

/// The error of the checksum of a version, if it exists and has one.
async fn wrong_checksum(
    reader: &dyn TxnLogReader,
    store: &dyn ObjectStore,
    version: Version,
) -> Result<Option<String>> {
    let Some(there) = read(store, &checksum::path(version)).await? else { return Ok(None) };
    let what = VersionChecksum::count(reader, version).await?.difference(&there);
    Ok(what.map(|what| format!("the checksum {version:020}.crc {what}")))
}

async fn exists(store: &dyn ObjectStore, path: &Path) -> Result<bool> {
    match store.head(path).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(e) => Err(e.into()),
    }
}
