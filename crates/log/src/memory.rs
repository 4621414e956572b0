//! A catalog in memory: the model every other catalog is proved against, and a fast stand-in for tests.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use uuid::Uuid;

use crate::action::{Action, Add, Commit, DomainMetadata, Metadata, Protocol, Remove, Txn, Version};
use crate::catalog::{
    Artifact, BaseState, Catalog, CommitTime, ComparedTables, FutureTimes, HistoryItem, HistoryItems, HistoryLoad,
    HistoryRange, Lease, LoggedCommit, MirrorFailure, MirrorState, Point, TableEntry, TableRef, TxnLogReader,
    TxnLogWriter, UnfinishedLoad, files_without_base, next_of_base, only_commit,
};
use crate::commit::{
    self, Base, CommitRequest, Committed, ConflictChecker, Content, Current, Group, Outcome, Prepared, WinningCommit,
};
use crate::error::{ErrorKind, Result, TxnLogError};
use crate::holds::Hold;
use crate::ids::{Clock, CommitId, TableId, TableName};
use crate::lifecycle::{InactiveTable, TableState, no_table};
use crate::location::Location;
use crate::owner::{TableOwner, check_owner};
use crate::path::{FileKey, PathKey, SetHash};
use crate::place::PlaceKey;
use crate::predicate::Predicate;
use crate::retention::Retention;
use crate::schema::Schema;
use crate::snapshot::{At, Changes, CommitSummary, Head, Snapshot, newest_first};
use crate::stamp::{self, Stamp, TimeLeap};
use crate::verbatim::{StoredAlready, is_stored};

mod expiry;
mod holds;
mod lifecycle;
mod listing;
mod namespaces;
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

/// Makes a table that was loaded visible.
fn finish(
    tables: &mut BTreeMap<TableId, Table>,
    id: TableId,
    new: &crate::commit::NewTable,
    published: Option<Version>,
) -> Result<TableEntry> {
    let entry = tables.get_mut(&id).and_then(|t| {
        t.published = t.published.max(published);
        t.mirror = MirrorState::Following;
        t.state = if t.versions.is_empty() { TableState::Loading } else { TableState::Live };
        t.entry(id)
    });
    entry.ok_or_else(|| TxnLogError::invalid(format!("there is no history to load for {}", new.name)))
}

/// A version of a history.
enum Loaded {
    Base(Box<BaseState>, Vec<Action>),
    Commit(LoggedCommit),
}

impl Loaded {
    /// The state that a history begins with, and all its files.
    async fn base(items: &mut HistoryItems<'_>) -> Result<Option<Self>> {
        let mut found = None;
        while let Some(item) = next_of_base(items).await? {
            match item {
                HistoryItem::Base(base) => found = Some((base, Vec::new())),
                HistoryItem::Files(more) => {
                    let (_, files) = found.as_mut().ok_or_else(files_without_base)?;
                    files.extend(more.live.into_iter().map(Action::Add));
                    files.extend(more.removed.into_iter().map(Action::Remove));
                }
                HistoryItem::Commit(_) => {}
            }
        }
        Ok(found.map(|(base, files)| Self::Base(base, files)))
    }

    fn actions(&self) -> Result<Vec<Action>> {
        match self {
            Self::Base(_, files) => Ok(files.clone()),
            Self::Commit(logged) => Ok(Commit::parse(logged.body.clone(), &logged.origin)?.into_actions()),
        }
    }
}

/// The part of a table in a transaction over several.
struct Part {
    version: Version,
    ms: i64,
    group: Group,
}

impl Part {
    fn of(item: &Loaded) -> Result<Option<Self>> {
        let Loaded::Commit(logged) = item else { return Ok(None) };
        let commit = Commit::parse(logged.body.clone(), &logged.origin)?;
        let group = commit.info().and_then(Group::of);
        Ok(group.map(|group| Self { version: logged.version, ms: logged.time.ms, group }))
    }

    /// Refuses it if it is of a transaction of this catalog, and another table that was there then lacks its own part.
    fn check_whole(&self, tables: &BTreeMap<TableId, Table>, catalog: Uuid, name: &TableName) -> Result<()> {
        if self.group.catalog != catalog.to_string() {
            return Ok(());
        }
        let named =
            |other: &&Table| other.is_live() && other.name != *name && self.group.participants.contains(&other.name);
        let was_there = |other: &&Table| other.versions.values().next().is_some_and(|first| first.time.ms <= self.ms);
        let lacks = |other: &&Table| !other.groups.contains(&self.group.id);
        let other = tables.values().filter(named).filter(was_there).find(lacks);
        other.map_or(Ok(()), |other| Err(commit::half_of_a_group(name, self.version, &other.name)))
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
        self.refer(changes.adds.iter().map(|(_, add)| add));
        for (key, add) in changes.adds {
            self.files.insert((key, version), (add, None));
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

    fn load(&mut self, item: Loaded, future_times: FutureTimes, now_ms: i64) -> Result<Version> {
        let (version, mut time, body, info, changes) = match item {
            Loaded::Base(base, files) => {
                commit::check_begins(&self.name, self.head_version(), base.version)?;
                let commit = Commit::parse(base.body.clone().unwrap_or_default(), "the oldest commit")?;
                let mut changes = Changes::from_actions(files);
                (changes.protocol, changes.metadata) = (Some(base.protocol), Some(base.metadata));
                (changes.txns, changes.domains) = (base.txns, base.domains);
                (base.version, base.time, base.body, commit.info().cloned(), changes)
            }
            Loaded::Commit(c) => {
                let commit = Commit::parse(c.body.clone(), &c.origin)?;
                (c.version, c.time, Some(c.body), commit.info().cloned(), Changes::of(commit.actions()))
            }
        };
        let newest = self.versions.values().next_back().map(|stored| stored.time.ms);
        future_times.check(&self.name, version, newest, time.ms, now_ms)?;
        commit::check_next(&self.name, self.head_version(), version)?;
        time.ms = commit::later_than(&self.name, version, newest, time.ms)?;
        if let Some(group) = info.as_ref().and_then(Group::of) {
            self.groups.insert(group.id);
        }
        if let Some(id) = info.as_ref().and_then(commit::id_of) {
            self.commit_ids.entry(id).or_insert((version, time.ms));
        }
        let mut hash = self.versions.values().next_back().map(|s| s.set_hash).unwrap_or_default();
        changes.advance(&mut hash, |key| self.has_live(key));
        self.store(version, time, body, changes, hash);
        Ok(version)
    }
}

#[async_trait]
impl Catalog for MemoryCatalog {
    async fn identity(&self) -> Result<(Uuid, Uuid)> {
        Ok((self.id, *self.epoch()))
    }

    async fn renew_epoch(&self) -> Result<Uuid> {
        let epoch = self.clock.new_uuid();
        *self.epoch() = epoch;
        self.compared.clear();
        Ok(epoch)
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
        Arc::new(MemoryTxnLog { catalog: self.clone(), table, state: TableState::Live })
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

    async fn load_history(&self, load: HistoryLoad<'_>) -> Result<TableEntry> {
        let id = {
            let mut tables = self.lock();
            let is_there = |t: &Table| t.is_loading() && t.location.is_place_of(&load.new.location);
            let unfinished = tables.iter().find(|(_, t)| is_there(t)).map(|(id, _)| *id);
            let id = unfinished.unwrap_or(load.table);
            check_free(&tables, &load.new, Some(id))?;
            let table = tables.entry(id).or_insert_with(|| Table::loading(&load.new, &self.stored));
            check_owner(&table.name, table.owner.as_ref(), load.new.owner.as_ref())?;
            match table.state {
                TableState::Loading => table.name = load.new.name.clone(),
                TableState::Live => {}
                _ => return Err(table.described(id).is_not_live()),
            }
            id
        };
        let now_ms = self.clock.now_ms();
        let mut items = load.items.peekable();
        let mut next = Loaded::base(&mut items).await?;
        loop {
            let item = match next.take() {
                Some(base) => base,
                None => match items.try_next().await? {
                    Some(item) => Loaded::Commit(only_commit(item)?),
                    None => break,
                },
            };
            let mut tables = self.lock();
            if let Some(part) = Part::of(&item)? {
                part.check_whole(&tables, self.id, &load.new.name)?;
            }
            references::check_sources(&tables, &load.new.name, item.actions()?.iter().filter_map(Action::as_add))?;
            let version = match tables.get_mut(&id) {
                Some(table) if !table.state.holds_name() => return Err(table.described(id).is_not_live()),
                Some(table) => table.load(item, load.future_times, now_ms)?,
                None => {
                    let message = format!("the table {} vanished while it was loaded", load.new.name);
                    return Err(TxnLogError::not_found(message));
                }
            };
            drop(tables);
            (load.progress)(version);
        }
        let mut tables = self.lock();
        let entry = finish(&mut tables, id, &load.new, load.published_version)?;
        self.has_table_in(&entry.name);
        Ok(entry)
    }

    async fn load_together(&self, loads: Vec<HistoryLoad<'_>>) -> Result<Vec<TableEntry>> {
        let now_ms = self.clock.now_ms();
        let mut all = Vec::with_capacity(loads.len());
        for load in loads {
            let commits = load.items.and_then(async |item| Ok(Loaded::Commit(only_commit(item)?)));
            let items: Vec<_> = commits.try_collect().await?;
            all.push((load.table, load.new, load.future_times, load.published_version, items));
        }
        let mut tables = self.lock();
        let mut next = tables.clone();
        let mut entries = Vec::with_capacity(all.len());
        let mut parts = Vec::new();
        for (id, new, future_times, published, items) in all {
            check_free(&next, &new, Some(id))?;
            for item in &items {
                references::check_sources(&next, &new.name, item.actions()?.iter().filter_map(Action::as_add))?;
            }
            let table = next.entry(id).or_insert_with(|| Table::loading(&new, &self.stored));
            if !table.state.holds_name() {
                return Err(table.described(id).is_not_live());
            }
            check_owner(&table.name, table.owner.as_ref(), new.owner.as_ref())?;
            for item in items {
                parts.extend(Part::of(&item)?.map(|part| (new.name.clone(), part)));
                table.load(item, future_times, now_ms)?;
            }
            entries.push(finish(&mut next, id, &new, published)?);
        }
        parts.iter().try_for_each(|(name, part)| part.check_whole(&next, self.id, name))?;
        entries.iter().for_each(|entry| self.has_table_in(&entry.name));
        *tables = next;
        Ok(entries)
    }

    async fn unfinished_load(&self, location: &Location) -> Result<Option<UnfinishedLoad>> {
        let tables = self.lock();
        let found = tables.iter().find(|(_, t)| t.is_loading() && t.location.is_place_of(location));
        Ok(found.map(|(id, t)| UnfinishedLoad {
            table: *id,
            name: t.name.clone(),
            base_version: t.versions.keys().next().copied(),
            current_version: t.head_version(),
        }))
    }

    async fn abandon_load(&self, table: TableId) -> Result<()> {
        let mut tables = self.lock();
        if tables.get(&table).is_none_or(|t| !t.is_loading()) {
            return Err(commit::no_unfinished_load(table));
        }
        tables.remove(&table);
        Ok(())
    }

    async fn acquire_lease(&self, table: TableId, holder: Uuid, now_ms: i64, until_ms: i64) -> Result<Option<Lease>> {
        self.with(table, |t| {
            let token = match &t.lease {
                Some((lease, until)) if *until > now_ms && lease.holder != holder => return Ok(None),
                Some((lease, _)) => lease.token + 1,
                None => 1,
            };
            let lease = Lease { table, holder, token };
            t.lease = Some((lease.clone(), until_ms));
            Ok(Some(lease))
        })
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.with(lease.table, |t| {
            if let Some((held, until)) = t.lease.as_mut().filter(|(held, _)| held == lease) {
                (held.token, *until) = (lease.token, i64::MIN);
            }
            Ok(())
        })
    }

    async fn mark_published(&self, lease: &Lease, version: Version) -> Result<()> {
        self.with(lease.table, |t| {
            if t.lease.as_ref().is_none_or(|(held, _)| held != lease) {
                return Err(commit::fenced(&t.name));
            }
            t.published = t.published.max(Some(version));
            t.failures.retain(|(v, artifact), _| *v > version || *artifact != Artifact::Commit);
            Ok(())
        })
    }

    async fn mark_next_published(&self, table: TableId, from: Version, to: Version) -> Result<bool> {
        self.with(table, |t| {
            let next = t.published.map(|v| v + 1).or(t.versions.keys().next().copied());
            let is_next = next == Some(from);
            if is_next {
                t.published = Some(to);
                t.failures.retain(|(v, artifact), _| *v > to || *artifact != Artifact::Commit);
            }
            Ok(is_next)
        })
    }

    async fn mark_checkpointed(&self, table: TableId, version: Version) -> Result<()> {
        self.with(table, |t| {
            t.failures.retain(|(v, artifact), _| *v > version || *artifact != Artifact::Checkpoint);
            Ok(())
        })
    }

    async fn mark_failed(
        &self,
        table: TableId,
        version: Version,
        artifact: Artifact,
        error: &str,
        at_ms: i64,
    ) -> Result<()> {
        self.with(table, |t| {
            if artifact == Artifact::Commit && t.published >= Some(version) {
                return Ok(());
            }
            let attempts = t.failures.get(&(version, artifact)).map_or(0, |f| f.attempts) + 1;
            let failure = MirrorFailure { version, artifact, attempts, error: error.into(), failed_at: at_ms };
            t.failures.insert((version, artifact), failure);
            Ok(())
        })
    }

    async fn set_mirror(&self, seen: &TableEntry, state: &MirrorState) -> Result<bool> {
        self.with(seen.id, |t| {
            let current = t.head_version().unwrap_or(seen.current_version);
            let may = state.may_follow(seen, &t.mirror, current);
            if may {
                t.mirror = state.clone();
            }
            Ok(may)
        })
    }

    async fn mirror_failures(&self, table: TableId) -> Result<Vec<MirrorFailure>> {
        self.with(table, |t| Ok(t.failures.values().cloned().collect()))
    }
}

/// One table's log in a [`MemoryCatalog`].
#[derive(Debug)]
struct MemoryTxnLog {
    catalog: MemoryCatalog,
    table: TableId,
    /// The state in which the table can be read.
    state: TableState,
}

impl MemoryTxnLog {
    fn with<T>(&self, f: impl FnOnce(&mut Table) -> Result<T>) -> Result<T> {
        let mut tables = self.catalog.lock();
        match tables.get_mut(&self.table) {
            Some(table) if table.state == self.state => f(table),
            _ => f(live(&mut tables, self.table)?),
        }
    }
}

#[async_trait]
impl TxnLogReader for MemoryTxnLog {
    async fn head(&self) -> Result<Head> {
        self.with(|t| t.head_at(t.resolve(At::Latest)?))
    }

    async fn snapshot(&self, at: At) -> Result<Snapshot> {
        self.with(|t| {
            let version = t.resolve(at)?;
            let txns = t.txns.iter().filter(|(v, _)| *v <= version);
            let mut domains: BTreeMap<String, DomainMetadata> = BTreeMap::new();
            for (_, d) in t.domains.iter().filter(|(v, _)| *v <= version) {
                domains.insert(d.domain.clone(), d.clone());
            }
            domains.retain(|_, d| !d.removed);
            Ok(Snapshot {
                head: t.head_at(version)?,
                txns: txns.map(|(_, t)| (t.app_id.clone(), t.clone())).collect(),
                domains,
            })
        })
    }

    async fn files(&self, version: Version, predicate: Option<&Predicate>) -> Result<BoxStream<'static, Result<Add>>> {
        let files = self.files_by_age(version, predicate).await?;
        Ok(futures::stream::iter(files.into_iter().map(Ok)).boxed())
    }

    async fn files_by_age(&self, version: Version, predicate: Option<&Predicate>) -> Result<Vec<Add>> {
        self.with(|t| {
            let version = t.resolve(At::Version(version))?;
            let metadata = t.head_at(version)?.metadata;
            let schema = Schema::parse(&metadata.schema_string, &metadata.partition_columns)?;
            let live =
                t.files.iter().filter(|((_, from), (_, to))| *from <= version && to.is_none_or(|to| to > version));
            let may = |add: &Add| predicate.is_none_or(|p| p.may_match(&schema, add));
            let live = live.map(|((_, from), (add, _))| (*from, add)).filter(|(_, add)| may(add));
            Ok(newest_first(live.map(|(from, add)| (from, add.clone())).collect()))
        })
    }

    async fn tombstones(&self, version: Version, deleted_after: i64) -> Result<BoxStream<'static, Result<Remove>>> {
        let removes: Vec<_> = self.with(|t| {
            let version = t.resolve(At::Version(version))?;
            let mut newest: BTreeMap<FileKey, &Remove> = BTreeMap::new();
            for ((key, at), remove) in t.removes.iter().filter(|((_, at), _)| *at <= version) {
                let later = t.files.range((*key, *at)..=(*key, version)).next();
                match later {
                    Some(_) => newest.remove(key),
                    None => newest.insert(*key, remove),
                };
            }
            let young = newest.into_values().filter(|r| r.deletion_timestamp.is_some_and(|ms| ms > deleted_after));
            Ok(young.cloned().map(Ok).collect())
        })?;
        Ok(futures::stream::iter(removes).boxed())
    }

    async fn history(&self, range: HistoryRange) -> Result<Vec<CommitSummary>> {
        self.with(|t| {
            let within = t.versions.iter().rev().filter(|(_, s)| {
                range.since.is_none_or(|since| s.time.ms >= since) && range.until.is_none_or(|until| s.time.ms <= until)
            });
            let limit = range.limit.map_or(usize::MAX, |l| usize::try_from(l).unwrap_or(usize::MAX));
            let summary = |(v, s): (&Version, &Stored)| {
                let commit = Commit::parse(s.body.clone().unwrap_or_default(), "a stored commit")?;
                Ok(CommitSummary::of_commit(*v, s.time.ms, &commit))
            };
            within.take(limit).map(summary).collect()
        })
    }

    async fn commit_bytes(&self, version: Version) -> Result<Option<Bytes>> {
        self.with(|t| {
            let version = t.resolve(At::Version(version))?;
            Ok(t.versions.get(&version).and_then(|s| s.body.clone()))
        })
    }

    async fn changes(&self, from: Version, to: Version) -> Result<BoxStream<'static, Result<(Version, Bytes)>>> {
        let bodies: Vec<_> = self.with(|t| {
            let (from, to) = (t.resolve(At::Version(from))?, t.resolve(At::Version(to))?);
            let bodies = t.versions.range(from..=to.max(from));
            let body = |(v, s): (&Version, &Stored)| {
                let body = s.body.clone().ok_or_else(|| commit::only_its_result(&t.name.to_string(), *v))?;
                Ok((*v, body))
            };
            bodies.map(body).collect::<Result<_>>()
        })?;
        Ok(futures::stream::iter(bodies.into_iter().map(Ok)).boxed())
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
    use crate::conformance;
    use crate::ids::SeededClock;

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
}
