//! What a `_delta_log` says about the table of the catalog that published it.

use std::collections::{BTreeSet, HashMap};

use deltalakedb_log::commit::{CommitOrigin, Group};
use deltalakedb_log::lifecycle::DETACH;
use deltalakedb_log::reader::first_commit;
use deltalakedb_log::stores::Stores;
use deltalakedb_log::{Action, Commit, FileTxnLogReader, Location, Result, TableName, TxnLogReader, Version};
use futures::TryStreamExt;
use uuid::Uuid;

/// A table, as its `_delta_log` describes it.
#[derive(Debug)]
pub(crate) struct PublishedTable {
    pub(crate) location: Location,
    pub(crate) log: FileTxnLogReader,
    /// The origin of the newest commit that a catalog of ours made; `None` if there is none.
    pub(crate) origin: Option<CommitOrigin>,
    /// The epochs of that catalog in the log.
    pub(crate) epochs: BTreeSet<Uuid>,
    /// Whether the table was detached by its last commit.
    pub(crate) is_detached: bool,
    /// Its parts of transactions over several tables, in the order of versions.
    pub(crate) parts: Vec<PublishedPart>,
    /// The time of the newest version, in milliseconds since 1970.
    pub(crate) newest_ms: i64,
}

/// A commit that is part of a transaction over several tables.
#[derive(Clone, Debug)]
pub(crate) struct PublishedPart {
    pub(crate) version: Version,
    /// The time of the commit, in milliseconds since 1970.
    pub(crate) ms: i64,
    pub(crate) group: Group,
    /// The table's name at that time.
    pub(crate) name: TableName,
}

impl PublishedTable {
    /// Reads every commit of the log.
    pub(crate) async fn read(location: Location, stores: &dyn Stores) -> Result<Self> {
        let log = FileTxnLogReader::open_in(&location, stores).await?;
        let (base, newest) = log.versions();
        let newest_ms = log.head().await?.timestamp;
        let mut table = Self {
            location,
            origin: None,
            epochs: BTreeSet::new(),
            is_detached: false,
            parts: Vec::new(),
            newest_ms,
            log,
        };
        let mut epochs: HashMap<Uuid, BTreeSet<Uuid>> = HashMap::new();
        let first = first_commit(&table.log, base).await?;
        if first <= newest {
            let mut commits = table.log.changes(first, newest).await?;
            while let Some((version, body)) = commits.try_next().await? {
                let file = format!("{}/_delta_log/{version:020}.json", table.location);
                let actions = Commit::parse_without_files(&body, &file)?;
                let info = actions.iter().find_map(|action| match action {
                    Action::CommitInfo(info) => Some(info),
                    _ => None,
                });
                table.is_detached = info.is_some_and(|info| info.operation().as_deref() == Some(DETACH));
                let Some((info, origin)) = info.and_then(|info| Some((info, CommitOrigin::of(info)?))) else {
                    continue;
                };
                epochs.entry(origin.catalog).or_default().insert(origin.epoch);
                if let Some((ms, group)) = info.timestamp().zip(Group::of(info)) {
                    table.parts.push(PublishedPart { version, ms, group, name: origin.name.clone() });
                }
                table.origin = Some(origin);
            }
        }
        let catalog = table.origin.as_ref().map(|origin| origin.catalog);
        table.epochs = catalog.and_then(|catalog| epochs.remove(&catalog)).unwrap_or_default();
        Ok(table)
    }

    /// The oldest and the newest version.
    pub(crate) fn versions(&self) -> (Version, Version) {
        self.log.versions()
    }

    /// The last name that is known; for a table without a commit of ours that of its folder.
    pub(crate) fn name(&self) -> Result<TableName> {
        match &self.origin {
            Some(origin) => Ok(origin.name.clone()),
            None => {
                let folder = self.location.folder();
                let name: String = folder.chars().map(|c| if c == '.' || c.is_control() { '_' } else { c }).collect();
                name.parse()
            }
        }
    }
}
