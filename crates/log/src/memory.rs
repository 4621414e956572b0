//! A catalog in memory: the model every other catalog is proved against, and a fast stand-in for tests.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use crate::action::{Action, Add, Commit, DomainMetadata, Metadata, Protocol, Remove, Txn, Version};
use crate::catalog::{Catalog, ComparedTables, Point};
use crate::commit::{
    self, Base, CommitRequest, Committed, ConflictChecker, Content, Current, Group, Outcome, Prepared, WinningCommit,
};
use crate::entry::{MirrorState, TableEntry, TableRef};
use crate::error::{ErrorKind, Result, TxnLogError};
use crate::history::CommitTime;
use crate::holds::Hold;
use crate::ids::{Clock, CommitId, TableId, TableName};
use crate::lifecycle::{InactiveTable, TableState, no_table};
use crate::location::Location;
use crate::mirror::{Artifact, Lease, MirrorFailure};
use crate::owner::{TableOwner, check_owner};
use crate::path::{FileKey, PathKey, SetHash};
use crate::place::PlaceKey;
use crate::reader::{TxnLogReader, TxnLogWriter};
use crate::retention::Retention;
use crate::snapshot::{At, Changes, Head};
use crate::stamp::{self, Stamp, TimeLeap};
use crate::verbatim::{StoredAlready, is_stored};

mod administration;
mod expiry;
mod holds;
mod lifecycle;
mod listing;
mod load;
mod mirror;
mod namespaces;
mod reader;
mod references;

/// What the catalog is called in messages.
const DESCRIPTION: &str = "the catalog in memory";

/// A catalog in memory. Clones share their tables.
#[derive(Clone, Debug)]
pub struct MemoryCatalog {
    id: Uuid,
    epoch: Arc<Mutex<Uuid>>,
    clock: Arc<dyn Clock>,
    compared: Arc<ComparedTables>,
    tables: Arc<Mutex<BTreeMap<TableId, Table>>>,
    /// Changed with `tables` locked.
    namespaces: Arc<Mutex<BTreeSet<String>>>,
    /// How many versions were ever stored.
    stored: Arc<AtomicU64>,
    /// What is kept of tables that do not say it themselves.
    retention: Arc<Mutex<Retention>>,
}

#[derive(Clone, Debug)]
struct Table {
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
    /// Folders of others in which it has files.
    folders: BTreeSet<PlaceKey>,
    versions: BTreeMap<Version, Stored>,
    protocols: BTreeMap<Version, Protocol>,
    metadata: BTreeMap<Version, Metadata>,
    txns: Vec<(Version, Txn)>,
    domains: Vec<(Version, DomainMetadata)>,
    files: BTreeMap<(FileKey, Version), (Add, Option<Version>)>,
    removes: BTreeMap<(FileKey, Version), Remove>,
    /// The version that each commit became, and its time.
    commit_ids: HashMap<CommitId, (Version, i64)>,
    /// The transactions over several tables that it had a part in.
    groups: HashSet<String>,
    /// The catalog's.
    stored: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
struct Stored {
    time: CommitTime,
    body: Option<Bytes>,
    set_hash: SetHash,
    /// Its number in the order of all versions of the catalog.
    number: u64,
}

impl MemoryCatalog {
    /// An empty catalog that takes time and ids from `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let (id, epoch) = (clock.new_uuid(), Arc::new(Mutex::new(clock.new_uuid())));
        let (tables, namespaces, retention) = (Arc::default(), Arc::default(), Arc::default());
        Self { id, epoch, clock, compared: Arc::default(), tables, namespaces, stored: Arc::default(), retention }
    }

    fn epoch(&self) -> MutexGuard<'_, Uuid> {
        self.epoch.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TableId, Table>> {
        // Every change below is complete before the next fallible step, so a poisoned lock guards a sound state.
        self.tables.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The tables that are there for everyone, in the order of their names.
    fn entries(&self) -> Vec<TableEntry> {
        let tables = self.lock();
        let live = tables.iter().filter(|(_, t)| t.is_live());
        let mut entries: Vec<_> = live.filter_map(|(id, t)| t.entry(*id)).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    fn with<T>(&self, id: TableId, f: impl FnOnce(&mut Table) -> Result<T>) -> Result<T> {
        f(live(&mut self.lock(), id)?)
    }
}

fn taken(what: String) -> Result<()> {
    Err(TxnLogError::new(ErrorKind::AlreadyExists, what))
}

/// Refuses a name or a place that is taken, by another table than `own`.
fn check_free(tables: &BTreeMap<TableId, Table>, new: &crate::commit::NewTable, own: Option<TableId>) -> Result<()> {
    let mut others = tables.iter().filter(|(id, _)| Some(**id) != own);
    let taken = |(id, t): (&TableId, &Table)| t.described(*id).in_the_way_of(new);
    others.find_map(taken).map_or(Ok(()), Err)?;
    match table_around(tables, &new.location) {
        Some(table) => new.location.check_apart(&table.name, &table.location),
        None => Ok(()),
    }
}

/// A table inside of a place, or around it.
fn table_around(tables: &BTreeMap<TableId, Table>, location: &Location) -> Option<InactiveTable> {
    let place = location.key();
    let is_around = |t: &Table| {
        let other = t.location.key();
        other != place && (other.is_within(&place) || place.is_within(&other))
    };
    let mut others = tables.iter().filter(|(_, t)| t.state.holds_place());
    others.find(|(_, t)| is_around(t)).map(|(id, t)| t.described(*id))
}

/// A table that is there for everyone.
fn live(tables: &mut BTreeMap<TableId, Table>, id: TableId) -> Result<&mut Table> {
    match tables.get_mut(&id) {
        Some(table) if table.is_live() => Ok(table),
        other => Err(no_table(id, DESCRIPTION, other.map(|table| table.described(id)).as_ref())),
    }
}

impl Table {
    fn new(new: &crate::commit::NewTable, stored: &Arc<AtomicU64>) -> Self {
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

    fn loading(new: &crate::commit::NewTable, stored: &Arc<AtomicU64>) -> Self {
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
    fn store(&mut self, version: Version, time: CommitTime, body: Option<Bytes>, changes: Changes, set_hash: SetHash) {
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
        self.versions.insert(version, Stored { time, body, set_hash, number });
    }

    /// The first version whose time is ahead of the clock, where the newest is.
    fn leap(&self, now_ms: i64) -> Option<TimeLeap> {
        let ahead = |stored: &Stored| stamp::is_ahead(stored.time.ms, now_ms);
        let (version, stored) = self.versions.iter().find(|(_, stored)| ahead(stored))?;
        Some(TimeLeap { version: *version, timestamp: stored.time.ms, now_ms })
    }

    fn current(&self, request: &CommitRequest, now_ms: i64) -> Result<Current> {
        let version = self.head_version();
        let head = version.and_then(|v| self.versions.get(&v));
        let state = self.protocols.values().next_back().zip(self.metadata.values().next_back());
        let live = self.live_at(&request.touched());
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

    /// The commit that the request is already.
    fn known(&self, request: &CommitRequest) -> Result<Option<Committed>> {
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
                // Its version may have ended, and then the id alone knows its time.
                let of_version = || self.versions.get(&version).map(|stored| stored.time.ms);
                let ms = || of_version().or(by_id.map(|(_, ms)| ms)).unwrap_or(0);
                is_stored(request, &self.name, &stored)?.then(|| (version, ms()))
            }
        };
        Ok(found.map(|(version, timestamp)| Committed { table: request.table, version, timestamp, leap: None }))
    }

    /// The first commit after the request's base that it conflicts with.
    fn conflict(&self, request: &CommitRequest, live: &HashMap<FileKey, Add>) -> Result<Option<WinningCommit>> {
        let (Base::RebaseFrom(base) | Base::ReadAt(base)) = request.base else { return Ok(None) };
        let mut checker = ConflictChecker::new(request, self.metadata.values().next_back(), live);
        let (mut found, mut next) = (None, base.saturating_add(1));
        for (version, stored) in self.versions.range(next..) {
            let Some(body) = stored.body.clone().filter(|_| *version == next) else {
                return Err(commit::base_not_held(&self.name, base));
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

#[async_trait]
impl Catalog for MemoryCatalog {
    async fn identity(&self) -> Result<(Uuid, Uuid)> {
        Ok((self.id, *self.epoch()))
    }

    async fn now_ms(&self) -> Result<i64> {
        Ok(self.clock.now_ms())
    }

    fn compared(&self) -> &ComparedTables {
        &self.compared
    }

    fn describe(&self) -> String {
        DESCRIPTION.into()
    }

    async fn find(&self, table: &TableRef) -> Result<Option<TableEntry>> {
        Ok(self.entries().into_iter().find(|t| match table {
            TableRef::Id(id) => t.id == *id,
            TableRef::Name(name) => t.name == *name,
            TableRef::Location(location) => t.location.is_place_of(location),
        }))
    }

    async fn point(&self) -> Result<Point> {
        // Under the lock: no commit is stored by half.
        let _tables = self.lock();
        Ok(Point(self.stored.load(Ordering::Relaxed).to_string()))
    }

    async fn find_at(&self, table: &TableRef, Point(point): &Point) -> Result<Option<TableEntry>> {
        let point: u64 = point.parse().map_err(|_| TxnLogError::invalid("a point of another catalog"))?;
        let Some(entry) = self.find(table).await? else { return Ok(None) };
        self.with(entry.id, |t| {
            let then = t.versions.iter().rev().find(|(_, stored)| stored.number < point);
            Ok(then.map(|(version, stored)| TableEntry {
                current_version: *version,
                current_timestamp: stored.time.ms,
                ..entry
            }))
        })
    }

    async fn begin(&self, tables: &[TableId]) -> Result<Vec<Head>> {
        let mut all = self.lock();
        let head = |id: &TableId| {
            let table = live(&mut all, *id)?;
            table.head_at(table.resolve(At::Latest)?)
        };
        tables.iter().map(head).collect()
    }

    fn reader(&self, table: TableId) -> Arc<dyn TxnLogReader> {
        Arc::new(reader::MemoryTxnLog::new(self.clone(), table, TableState::Live))
    }

    async fn commit_all(&self, requests: Vec<CommitRequest>) -> Result<Outcome> {
        commit::check_group(&requests)?;
        let mut tables = self.lock();
        let known =
            requests.iter().filter_map(|r| tables.get(&r.table)?.known(r).transpose()).collect::<Result<_>>()?;
        if let Some(outcome) = commit::already_committed(&requests, known)? {
            return Ok(outcome);
        }
        let now_ms = self.clock.now_ms();
        let mut new_tables = BTreeMap::new();
        let mut currents = Vec::new();
        for request in &requests {
            let name = match &request.base {
                Base::Create(new) => Some(&new.name),
                _ => tables.get(&request.table).map(|table| &table.name),
            };
            if let Some(name) = name {
                references::check_sources(&tables, name, request.actions().iter().filter_map(Action::as_add))?;
            }
            let table = match &request.base {
                Base::Create(new) => {
                    check_free(&tables, new, None)?;
                    if let Some(own) = tables.get(&request.table) {
                        taken(format!("there is a table with that id already: {}", own.name))?;
                    }
                    new_tables.entry(request.table).or_insert_with(|| Table::new(new, &self.stored))
                }
                Base::Exactly(_) | Base::RebaseFrom(_) | Base::ReadAt(_) => live(&mut tables, request.table)?,
            };
            commit::check_mirror(&table.name, &table.mirror)?;
            currents.push(table.current(request, now_ms)?);
        }
        let refs: Vec<_> = currents.iter().collect();
        let stamp = Stamp::new((self.id, *self.epoch()), now_ms, self.clock.as_ref(), &requests, &refs);
        let mut all: Vec<Option<Prepared>> = Vec::new();
        for (request, current) in requests.iter().zip(&currents) {
            match commit::prepare(request, current, &stamp)? {
                Ok(prepared) => all.push(prepared),
                Err(conflict) => return Ok(Outcome::Conflict(conflict)),
            }
        }
        new_tables.values().for_each(|table| self.has_table_in(&table.name));
        tables.append(&mut new_tables);
        let mut committed = Vec::new();
        for ((request, current), p) in requests.iter().zip(&currents).zip(all) {
            let Some(p) = p else { continue };
            let time = CommitTime { ms: p.committed_at, source: p.time_source };
            if let Some(table) = tables.get_mut(&request.table) {
                table.store(p.version, time, Some(p.body), p.changes, p.set_hash);
                table.commit_ids.extend(request.ids().into_iter().map(|id| (id, (p.version, time.ms))));
                table.groups.extend(Group::of(&p.info).map(|group| group.id));
            }
            committed.push(Committed {
                table: request.table,
                version: p.version,
                timestamp: time.ms,
                leap: current.leap,
            });
        }
        Ok(Outcome::Committed(committed))
    }

    async fn find_commit(&self, table: TableId, id: CommitId) -> Result<Option<Committed>> {
        let tables = self.lock();
        let found = tables.get(&table).and_then(|t| {
            let (version, timestamp) = *t.commit_ids.get(&id)?;
            Some(Committed { table, version, timestamp, leap: None })
        });
        Ok(found)
    }
}

#[async_trait]
impl TxnLogWriter for MemoryCatalog {
    async fn commit(&self, request: CommitRequest) -> Result<Outcome> {
        self.commit_all(vec![request]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::NewTable;
    use crate::conformance;
    use crate::ids::SeededClock;
    use crate::listing::TableListing;

    #[tokio::test]
    async fn keeps_every_promise_of_a_catalog() {
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
    async fn a_table_is_written_as_any_log_is() {
        let catalog = MemoryCatalog::new(Arc::new(SeededClock::new(1_700_000_000_000, 1)));
        let new = NewTable::new("t".parse().unwrap(), Location::parse("/nowhere/t").unwrap());
        conformance::run_writer(&catalog, new, async || Ok(catalog.reader(catalog.tables().await?[0].id))).await;
    }
}
