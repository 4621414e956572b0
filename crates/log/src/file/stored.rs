//! Reads one checkpoint by itself, independently of the rest of the log.
//!
//! A reader of the log skips a checkpoint that it cannot read, so it cannot tell whether a checkpoint is valid. To
//! check one, it is read alone, in batches: its files are counted and hashed, not kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::TableDir;
use super::checkpoint::{self, StateFilter};
use super::details::FileDetails;
use super::listing::{Checkpoint, Listing};
use crate::action::{Action, DomainMetadata, Metadata, Protocol, Txn, Version};
use crate::error::Result;
use crate::location::Location;
use crate::path::SetHash;
use crate::stores::Stores;

/// A checkpoint in the log: one file, or all its parts.
#[derive(Debug)]
pub struct StoredCheckpoint {
    dir: TableDir,
    checkpoint: Checkpoint,
}

/// The content of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CheckpointState {
    /// The live files.
    pub files: u64,
    /// The sum of their sizes.
    pub bytes: i64,
    /// The hash of their set.
    pub set_hash: SetHash,
    /// The details of the live files. Statistics only if they are JSON: typed statistics encode bounds differently.
    pub details: FileDetails,
    /// The tombstones.
    pub tombstones: u64,
    /// The names of the sidecars that contain its files.
    pub sidecars: BTreeSet<String>,
    /// The number of rows: actions, and rows without a known action.
    pub actions: u64,
    /// The protocol; `None` in an invalid checkpoint.
    pub protocol: Option<Protocol>,
    /// The metadata; `None` in an invalid checkpoint.
    pub metadata: Option<Metadata>,
    /// The newest txn of each application.
    pub txns: BTreeMap<String, Txn>,
    /// The domains.
    pub domains: BTreeMap<String, DomainMetadata>,
    /// The version a V2 checkpoint names.
    pub version: Option<Version>,
}

impl StoredCheckpoint {
    /// The checkpoints of the table at `location`, oldest first; multi-part checkpoints only when all parts exist.
    pub async fn all(location: &Location, stores: &dyn Stores) -> Result<Vec<Self>> {
        let dir = TableDir::open(location.clone(), stores)?;
        let listing = Listing::files(&dir).await?;
        let checkpoints = listing.into_iter().flat_map(Listing::into_checkpoints);
        Ok(checkpoints.map(|checkpoint| Self { dir: dir.clone(), checkpoint }).collect())
    }

    /// The checkpoint in the file at `path` in the table's `store`; messages name the table `location`.
    pub async fn at(location: Location, store: Arc<dyn ObjectStore>, version: Version, path: &Path) -> Result<Self> {
        let dir = TableDir::new(location, store);
        let file = dir.store.head(path).await;
        let mut file = file.map_err(|e| dir.failed(e, &format!("{} cannot be read", dir.name(path))))?;
        // A store with a prefix returns the path including the prefix.
        file.location = path.clone();
        Ok(Self { dir, checkpoint: Checkpoint { version, files: vec![file] } })
    }

    /// The version in the file's name.
    pub fn version(&self) -> Version {
        self.checkpoint.version
    }

    /// The name of its file, or of its first part.
    pub fn name(&self) -> &str {
        self.checkpoint.files.first().and_then(|file| file.location.filename()).unwrap_or_default()
    }

    /// The names of its files: several if it is in parts.
    pub fn file_names(&self) -> impl Iterator<Item = &str> {
        self.checkpoint.files.iter().filter_map(|file| file.location.filename())
    }

    /// The total size of its files in the listing.
    pub fn size(&self) -> u64 {
        self.checkpoint.files.iter().map(|file| file.size).sum()
    }

    /// Reads the checkpoint.
    ///
    /// # Errors
    /// `Corrupt` when it is truncated or not a checkpoint, `NotFound` when a sidecar is missing, `Unavailable` when the
    /// location cannot be read.
    pub async fn read(&self) -> Result<CheckpointState> {
        let mut state = CheckpointState::default();
        let mut actions = checkpoint::actions_of(&self.dir, &self.checkpoint, StateFilter::Details);
        while let Some(some) = actions.try_next().await? {
            some.into_iter().for_each(|action| state.take(action));
        }
        Ok(state)
    }
}

impl CheckpointState {
    fn take(&mut self, action: Action) {
        self.actions += 1;
        match action {
            Action::Add(add) => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(add.size);
                let key = add.key();
                self.set_hash.insert(&key);
                self.details.insert(&key, &add);
            }
            Action::Remove(_) => self.tombstones += 1,
            Action::Protocol(protocol) => self.protocol = Some(protocol),
            Action::Metadata(metadata) => self.metadata = Some(metadata),
            Action::Txn(txn) => {
                self.txns.insert(txn.app_id.clone(), txn);
            }
            Action::DomainMetadata(domain) if !domain.removed => {
                self.domains.insert(domain.domain.clone(), domain);
            }
            Action::CheckpointMetadata(of) => self.version = of.get("version"),
            Action::DomainMetadata(_) | Action::CommitInfo(_) | Action::Cdc(_) => {}
            Action::Sidecar(sidecar) => {
                self.sidecars.extend(sidecar.path.rsplit('/').next().map(String::from));
            }
            Action::Unknown(..) => {}
        }
    }
}
