//! An in-memory catalog: the model that the other catalogs are tested against, and a fast substitute in tests.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::action::{Action, Add, Commit, DomainMetadata, Metadata, Protocol, Remove, Txn, Version};
use crate::catalog::{Catalog, ComparedTables};
use crate::commit::{self, Base, CommitRequest, Committed, ConflictChecker, Content, Current, Group, WinningCommit};
use crate::entry::{MirrorState, NewTable, TableEntry};
use crate::epoch::new_epoch;
use crate::error::{ErrorKind, Result, TxnLogError};
use crate::future_times::{TimeLeap, is_ahead};
use crate::history::CommitTime;
use crate::holds::Hold;
use crate::ids::{Clock, CommitId, TableId, TableName};
use crate::lifecycle::{InactiveTable, TableState, no_table};
use crate::location::Location;
use crate::location_key::LocationKey;
use crate::mirror::{Artifact, Lease, MirrorFailure};
use crate::owner::{TableOwner, check_owner};
use crate::path::{FileKey, PathKey, SetHash};
use crate::reader::TxnLogReader;
use crate::retention::Retention;
use crate::snapshot::{At, CommitActions, Head};
use crate::verbatim::{StoredAlready, is_stored};

mod administration;
mod catalog;
mod expiry;
mod holds;
mod lifecycle;
mod listing;
mod load;
mod mirror;
mod namespaces;
mod reader;
mod references;

/// How messages name the catalog.
const DESCRIPTION: &str = "the catalog in memory";

/// An in-memory catalog. Clones share their tables.
#[derive(Clone, Debug)]
pub struct MemoryCatalog {
    /// The catalog's id and epoch.
    identity: Arc<Mutex<(Uuid, Uuid)>>,
    clock: Arc<dyn Clock>,
    compared: Arc<ComparedTables>,
    /// Every change is complete before the next fallible step, so a panic leaves a sound state.
    tables: Arc<Mutex<BTreeMap<TableId, MemoryTable>>>,
    /// Changed only while `tables` is locked.
    namespaces: Arc<Mutex<BTreeSet<String>>>,
    /// The number of versions ever stored.
    stored: Arc<AtomicU64>,
    /// The retention of tables that have none of their own.
    retention: Arc<Mutex<Retention>>,
}

#[derive(Clone, Debug)]
struct MemoryTable {
    name: TableName,
    location: Location,
    owner: Option<TableOwner>,
    state: TableState,
    dropped_at: Option<i64>,
    retained_until: Option<i64>,
    published: Option<Version>,
    mirror: MirrorState,
    failures: BTreeMap<(Version, Artifact), MirrorFailure>,
    lease: Option<(Lease, i64)>,
    holds: Vec<Hold>,
    /// Folders of other tables in which it has files.
    folders: BTreeSet<LocationKey>,
    versions: BTreeMap<Version, StoredVersion>,
    protocols: BTreeMap<Version, Protocol>,
    metadata: BTreeMap<Version, Metadata>,
    txns: Vec<(Version, Txn)>,
    domains: Vec<(Version, DomainMetadata)>,
    files: BTreeMap<(FileKey, Version), (Add, Option<Version>)>,
    removes: BTreeMap<(FileKey, Version), Remove>,
    /// The version of each commit, and its time.
    commit_ids: HashMap<CommitId, (Version, i64)>,
    /// The transactions over several tables that it was part of.
    groups: HashSet<String>,
    /// Shared with the catalog.
    stored: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
struct StoredVersion {
    time: CommitTime,
    body: Option<Bytes>,
    set_hash: SetHash,
    /// Its position in the order of all versions of the catalog.
    number: u64,
}

impl MemoryCatalog {
    /// An empty catalog that takes time and ids from `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let identity = Arc::new(Mutex::new((clock.new_uuid(), new_epoch(clock.as_ref(), &[]))));
        Self {
            identity,
            clock,
            compared: Arc::default(),
            tables: Arc::default(),
            namespaces: Arc::default(),
            stored: Arc::default(),
            retention: Arc::default(),
        }
    }

    /// The live tables, in the order of their names.
    fn entries(&self) -> Vec<TableEntry> {
        let tables = self.tables.lock();
        let live = tables.iter().filter(|(_, t)| t.is_live());
        let mut entries: Vec<_> = live.filter_map(|(id, t)| t.entry(*id)).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    fn with<T>(&self, id: TableId, f: impl FnOnce(&mut MemoryTable) -> Result<T>) -> Result<T> {
        f(live(&mut self.tables.lock(), id)?)
    }
}

fn already_exists(what: String) -> Result<()> {
    Err(TxnLogError::new(ErrorKind::AlreadyExists, what))
}

/// Rejects a name or a place that a table other than `own` occupies.
fn check_free(tables: &BTreeMap<TableId, MemoryTable>, new: &NewTable, own: Option<TableId>) -> Result<()> {
    let mut others = tables.iter().filter(|(id, _)| Some(**id) != own);
    let taken = |(id, t): (&TableId, &MemoryTable)| t.described(*id).in_the_way_of(new);
    others.find_map(taken).map_or(Ok(()), Err)?;
    match table_around(tables, &new.location) {
        Some(table) => new.location.check_no_overlap(&table.name, &table.location),
        None => Ok(()),
    }
}

/// A table inside a place, or whose place contains it.
fn table_around(tables: &BTreeMap<TableId, MemoryTable>, location: &Location) -> Option<InactiveTable> {
    let place = location.key();
    let is_around = |t: &MemoryTable| {
        let other = t.location.key();
        other != place && (other.is_within(&place) || place.is_within(&other))
    };
    let mut others = tables.iter().filter(|(_, t)| t.state.holds_location());
    others.find(|(_, t)| is_around(t)).map(|(id, t)| t.described(*id))
}

/// A live table.
fn live(tables: &mut BTreeMap<TableId, MemoryTable>, id: TableId) -> Result<&mut MemoryTable> {
    match tables.get_mut(&id) {
        Some(table) if table.is_live() => Ok(table),
        other => Err(no_table(id, DESCRIPTION, other.map(|table| table.described(id)).as_ref())),
    }
}

impl MemoryTable {
    fn new(new: &NewTable, stored: &Arc<AtomicU64>) -> Self {
        Self {
            name: new.name.clone(),
            location: new.location.clone(),
            owner: new.owner.clone(),
            state: TableState::Live,
            dropped_at: None,
            retained_until: None,
            published: None,
            mirror: MirrorState::Following,
            failures: BTreeMap::new(),
            lease: None,
            holds: Vec::new(),
            folders: BTreeSet::new(),
            versions: BTreeMap::new(),
            protocols: BTreeMap::new(),
            metadata: BTreeMap::new(),
            txns: Vec::new(),
            domains: Vec::new(),
            files: BTreeMap::new(),
            removes: BTreeMap::new(),
            commit_ids: HashMap::new(),
            groups: HashSet::new(),
            stored: stored.clone(),
        }
    }

    fn loading(new: &NewTable, stored: &Arc<AtomicU64>) -> Self {
        Self { state: TableState::Loading, ..Self::new(new, stored) }
    }

    fn is_live(&self) -> bool {
        self.state == TableState::Live
    }

    fn is_loading(&self) -> bool {
        self.state == TableState::Loading
    }

    fn described(&self, id: TableId) -> InactiveTable {
        InactiveTable {
            id,
            name: self.name.clone(),
            location: self.location.clone(),
            owner: self.owner.clone(),
            state: self.state,
            dropped_at: self.dropped_at,
            retained_until: self.retained_until,
            base_version: self.versions.keys().next().copied(),
            current_version: self.head_version(),
        }
    }

    fn head_version(&self) -> Option<Version> {
        self.versions.keys().next_back().copied()
    }

    fn entry(&self, id: TableId) -> Option<TableEntry> {
        let (current_version, head) = self.versions.iter().next_back()?;
        Some(TableEntry {
            id,
            name: self.name.clone(),
            location: self.location.clone(),
            owner: self.owner.clone(),
            base_version: *self.versions.keys().next()?,
            current_version: *current_version,
            current_timestamp: head.time.ms,
            published_version: self.published,
            mirror: self.mirror.clone(),
        })
    }

    fn has_live(&self, key: &FileKey) -> bool {
        self.live(key).is_some()
    }

    fn live(&self, key: &FileKey) -> Option<&Add> {
        let rows = self.files.range((*key, 0)..=(*key, Version::MAX));
        rows.map(|(_, row)| row).find(|(_, removed)| removed.is_none()).map(|(add, _)| add)
    }

    fn live_at(&self, paths: &[PathKey]) -> HashMap<FileKey, Add> {
        let live = self.files.iter().filter(|(_, (_, removed))| removed.is_none());
        let at = live.filter(|(_, (add, _))| paths.binary_search(&PathKey::new(&add.path)).is_ok());
        at.map(|((key, _), (add, _))| (*key, add.clone())).collect()
    }

    /// Stores one version: the body, and what it changes.
    fn store(
        &mut self,
        version: Version,
        time: CommitTime,
        body: Option<Bytes>,
        changes: CommitActions,
        set_hash: SetHash,
    ) {
        let keys: Vec<_> =
            changes.removes.iter().map(|(k, _)| *k).chain(changes.adds.iter().map(|(k, _)| *k)).collect();
        for key in keys {
            for (_, (_, removed)) in self.files.range_mut((key, 0)..=(key, Version::MAX)) {
                removed.get_or_insert(version);
            }
        }
        self.refer(changes.adds.iter().map(|(_, add)| add.as_ref()));
        for (key, add) in changes.adds {
            self.files.insert((key, version), (Arc::unwrap_or_clone(add), None));
        }
        self.removes.extend(changes.removes.into_iter().map(|(key, remove)| ((key, version), remove)));
        if let Some(p) = changes.protocol {
            self.protocols.insert(version, p);
        }
        if let Some(m) = changes.metadata {
            self.metadata.insert(version, m);
        }
        self.txns.extend(changes.txns.into_iter().map(|t| (version, t)));
        self.domains.extend(changes.domains.into_iter().map(|d| (version, d)));
        let number = self.stored.fetch_add(1, Ordering::Relaxed);
        self.versions.insert(version, StoredVersion { time, body, set_hash, number });
    }

    /// The first version ahead of the clock, if the newest version is ahead.
    fn leap(&self, now_ms: i64) -> Option<TimeLeap> {
        let ahead = |stored: &StoredVersion| is_ahead(stored.time.ms, now_ms);
        let (version, stored) = self.versions.iter().find(|(_, stored)| ahead(stored))?;
        Some(TimeLeap { version: *version, timestamp: stored.time.ms, now_ms })
    }

    fn current(&self, request: &CommitRequest, now_ms: i64) -> Result<Current> {
        let version = self.head_version();
        let head = version.and_then(|v| self.versions.get(&v));
        let state = self.protocols.values().next_back().zip(self.metadata.values().next_back());
        let live = self.live_at(&request.changed_paths());
        Ok(Current {
            name: self.name.clone(),
            owner: self.owner.clone(),
            version,
            timestamp: head.map_or(0, |h| h.time.ms),
            leap: self.leap(now_ms),
            state: state.map(|(p, m)| (p.clone(), m.clone())),
            set_hash: head.map(|h| h.set_hash).unwrap_or_default(),
            conflict: self.conflict(request, &live)?,
            live,
        })
    }

    /// The existing commit that is identical to the request.
    fn known_commit(&self, request: &CommitRequest) -> Result<Option<Committed>> {
        let by_id = self.commit_ids.get(&request.commit_id).copied();
        let found = match &request.content {
            Content::Actions(_) => by_id,
            Content::Verbatim(verbatim) => {
                let version = request.base.next()?;
                let stored = StoredAlready {
                    by_id: by_id.map(|(version, _)| version),
                    by_txn: verbatim.txn_id().and_then(|id| Some(self.commit_ids.get(&CommitId::of_txn(&id))?.0)),
                    body: self.versions.get(&version).and_then(|stored| stored.body.clone()),
                };
                // If its version has expired, only the entry of the id has its time.
                let of_version = || self.versions.get(&version).map(|stored| stored.time.ms);
                let ms = || of_version().or(by_id.map(|(_, ms)| ms)).unwrap_or(0);
                is_stored(request, &self.name, &stored)?.then(|| (version, ms()))
            }
        };
        Ok(found.map(|(version, timestamp)| Committed { table: request.table, version, timestamp, leap: None }))
    }

    /// The first commit after the request's base that conflicts with it.
    fn conflict(&self, request: &CommitRequest, live: &HashMap<FileKey, Add>) -> Result<Option<WinningCommit>> {
        let (Base::RebaseFrom(base) | Base::ReadAt(base)) = request.base else { return Ok(None) };
        let mut checker = ConflictChecker::new(request, self.metadata.values().next_back(), live);
        let (mut found, mut next) = (None, base.saturating_add(1));
        for (version, stored) in self.versions.range(next..) {
            let Some(body) = stored.body.clone().filter(|_| *version == next) else {
                return Err(commit::base_not_retained(&self.name, base));
            };
            next = version.saturating_add(1);
            if found.is_none() {
                found = checker.check(*version, &Commit::parse(body, "a stored commit")?)?;
            }
        }
        Ok(found)
    }

    fn resolve(&self, at: At) -> Result<Version> {
        let versions = || self.versions.keys().copied().zip(self.versions.values().map(|s| s.time.ms));
        commit::resolve(&self.name.to_string(), at, versions().next(), versions().next_back(), |ms| {
            versions().take_while(|(_, t)| *t <= ms).last().map(|(v, _)| v)
        })
    }

    fn head_at(&self, version: Version) -> Result<Head> {
        let missing =
            || TxnLogError::corrupt(format!("{} has no protocol or metadata at version {version}", self.name));
        Ok(Head {
            version,
            timestamp: self.versions.get(&version).map_or(0, |s| s.time.ms),
            protocol: self.protocols.range(..=version).next_back().ok_or_else(missing)?.1.clone(),
            metadata: self.metadata.range(..=version).next_back().ok_or_else(missing)?.1.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;
    use crate::ids::SeededClock;
    use crate::listing::TableListing;

    #[tokio::test]
    async fn a_memory_catalog_passes_the_conformance_suite() {
        conformance::run(|seed| async move {
            let clock = Arc::new(SeededClock::new(1_700_000_000_000, seed));
            Ok(Arc::new(MemoryCatalog::new(clock)) as Arc<dyn Catalog>)
        })
        .await;
        conformance::run_with_clock(
            |_, clock| async move { Ok(Arc::new(MemoryCatalog::new(clock)) as Arc<dyn Catalog>) },
        )
        .await;
    }

    #[tokio::test]
    async fn a_memory_log_passes_the_writer_suite() {
        let catalog = MemoryCatalog::new(Arc::new(SeededClock::new(1_700_000_000_000, 1)));
        let new = NewTable::new("t".parse().unwrap(), Location::parse("/nowhere/t").unwrap());
        conformance::run_writer(&catalog, new, async || Ok(catalog.reader(catalog.tables().await?[0].id))).await;
    }
}
