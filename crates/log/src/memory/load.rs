//! Loading of history in memory.

use futures::{StreamExt, TryStreamExt};

use super::*;
use crate::history::{
    BaseState, HistoryItem, HistoryItems, LoggedCommit, files_without_base, next_of_base, only_commit,
};
use crate::load::{FutureTimes, HistoryLoad, HistoryLoading, UnfinishedLoad};

/// Makes a loaded table visible.
fn finish(
    tables: &mut BTreeMap<TableId, MemoryTable>,
    id: TableId,
    new: &NewTable,
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

/// A loaded version.
enum LoadedItem {
    Base(Box<BaseState>, Vec<Action>),
    Commit(LoggedCommit),
}

impl LoadedItem {
    /// The base state of a history, with all its files.
    async fn base(items: &mut HistoryItems<'_>) -> Result<Option<Self>> {
        let mut found = None;
        while let Some(item) = next_of_base(items).await? {
            match item {
                HistoryItem::Base(base) => found = Some((base, Vec::new())),
                HistoryItem::Files(more) => {
                    let (_, files) = found.as_mut().ok_or_else(files_without_base)?;
                    files.extend(more.live.into_iter().map(Action::add));
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

/// The part of a table in a transaction over several tables.
struct TransactionPart {
    version: Version,
    ms: i64,
    group: Group,
}

impl TransactionPart {
    fn of(item: &LoadedItem) -> Result<Option<Self>> {
        let LoadedItem::Commit(logged) = item else { return Ok(None) };
        let commit = Commit::parse(logged.body.clone(), &logged.origin)?;
        let group = commit.info().and_then(Group::of);
        Ok(group.map(|group| Self { version: logged.version, ms: logged.time.ms, group }))
    }

    /// Rejects the part if its transaction is one of this catalog and another table of that time lacks its own.
    fn check_whole(
        &self,
        tables: &BTreeMap<TableId, MemoryTable>,
        catalog: Uuid,
        (table, name): (TableId, &TableName),
    ) -> Result<()> {
        if self.group.catalog != catalog.to_string() {
            return Ok(());
        }
        let Group { participants, tables: ids, .. } = &self.group;
        let others = tables.iter().filter(|(id, other)| {
            // Tables may have been renamed since, so the name counts only if the id is not known.
            let is_part = if ids.is_empty() { participants.contains(&other.name) } else { ids.contains(id) };
            other.is_live() && **id != table && is_part
        });
        let was_there =
            |other: &&MemoryTable| other.versions.values().next().is_some_and(|first| first.time.ms <= self.ms);
        let lacks = |other: &&MemoryTable| !other.groups.contains(&self.group.id);
        let other = others.map(|(_, other)| other).filter(was_there).find(lacks);
        other.map_or(Ok(()), |other| Err(commit::incomplete_transaction(name, self.version, &other.name)))
    }
}

impl MemoryTable {
    fn load(&mut self, item: LoadedItem, future_times: FutureTimes, now_ms: i64) -> Result<Version> {
        let (version, mut time, body, info, changes) = match item {
            LoadedItem::Base(base, files) => {
                commit::check_begins(&self.name, self.head_version(), base.version)?;
                let commit = Commit::parse(base.body.clone().unwrap_or_default(), "the oldest commit")?;
                let mut changes = CommitActions::from_actions(files);
                (changes.protocol, changes.metadata) = (Some(base.protocol), Some(base.metadata));
                (changes.txns, changes.domains) = (base.txns, base.domains);
                (base.version, base.time, base.body, commit.info().cloned(), changes)
            }
            LoadedItem::Commit(c) => {
                let commit = Commit::parse(c.body.clone(), &c.origin)?;
                (c.version, c.time, Some(c.body), commit.info().cloned(), CommitActions::of(commit.actions()))
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
impl HistoryLoading for MemoryCatalog {
    async fn load_history(&self, load: HistoryLoad<'_>) -> Result<TableEntry> {
        let id = {
            let mut tables = self.tables.lock();
            let is_there = |t: &MemoryTable| t.is_loading() && t.location.is_same_location(&load.new.location);
            let unfinished = tables.iter().find(|(_, t)| is_there(t)).map(|(id, _)| *id);
            let id = unfinished.unwrap_or(load.table);
            check_free(&tables, &load.new, Some(id))?;
            let table = tables.entry(id).or_insert_with(|| MemoryTable::loading(&load.new, &self.stored));
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
        let mut next = LoadedItem::base(&mut items).await?;
        loop {
            let item = match next.take() {
                Some(base) => base,
                None => match items.try_next().await? {
                    Some(item) => LoadedItem::Commit(only_commit(item)?),
                    None => break,
                },
            };
            let mut tables = self.tables.lock();
            if let Some(part) = TransactionPart::of(&item)? {
                part.check_whole(&tables, self.identity.lock().0, (id, &load.new.name))?;
            }
            references::check_sources(&tables, &load.new.name, item.actions()?.iter().filter_map(Action::as_add))?;
            let version = match tables.get_mut(&id) {
                Some(table) if !table.state.holds_name() => return Err(table.described(id).is_not_live()),
                Some(table) => table.load(item, load.future_times, now_ms)?,
                None => {
                    let message = format!("the table {} was removed while it was loaded", load.new.name);
                    return Err(TxnLogError::not_found(message));
                }
            };
            drop(tables);
            (load.progress)(version);
        }
        let mut tables = self.tables.lock();
        let entry = finish(&mut tables, id, &load.new, load.published_version)?;
        self.has_table_in(&entry.name);
        Ok(entry)
    }

    async fn load_together(&self, loads: Vec<HistoryLoad<'_>>) -> Result<Vec<TableEntry>> {
        let now_ms = self.clock.now_ms();
        let mut all = Vec::with_capacity(loads.len());
        for load in loads {
            let commits = load.items.and_then(async |item| Ok(LoadedItem::Commit(only_commit(item)?)));
            let items: Vec<_> = commits.try_collect().await?;
            all.push((load.table, load.new, load.future_times, load.published_version, items));
        }
        let mut tables = self.tables.lock();
        let mut next = tables.clone();
        let mut entries = Vec::with_capacity(all.len());
        let mut parts = Vec::new();
        for (id, new, future_times, published, items) in all {
            check_free(&next, &new, Some(id))?;
            for item in &items {
                references::check_sources(&next, &new.name, item.actions()?.iter().filter_map(Action::as_add))?;
            }
            let table = next.entry(id).or_insert_with(|| MemoryTable::loading(&new, &self.stored));
            if !table.state.holds_name() {
                return Err(table.described(id).is_not_live());
            }
            check_owner(&table.name, table.owner.as_ref(), new.owner.as_ref())?;
            for item in items {
                parts.extend(TransactionPart::of(&item)?.map(|part| (id, new.name.clone(), part)));
                table.load(item, future_times, now_ms)?;
            }
            entries.push(finish(&mut next, id, &new, published)?);
        }
        let catalog = self.identity.lock().0;
        parts.iter().try_for_each(|(id, name, part)| part.check_whole(&next, catalog, (*id, name)))?;
        entries.iter().for_each(|entry| self.has_table_in(&entry.name));
        *tables = next;
        Ok(entries)
    }

    async fn unfinished_load(&self, location: &Location) -> Result<Option<UnfinishedLoad>> {
        let tables = self.tables.lock();
        let found = tables.iter().find(|(_, t)| t.is_loading() && t.location.is_same_location(location));
        Ok(found.map(|(id, t)| UnfinishedLoad {
            table: *id,
            name: t.name.clone(),
            base_version: t.versions.keys().next().copied(),
            current_version: t.head_version(),
        }))
    }

    async fn abandon_load(&self, table: TableId) -> Result<()> {
        let mut tables = self.tables.lock();
        if tables.get(&table).is_none_or(|t| !t.is_loading()) {
            return Err(commit::no_unfinished_load(table));
        }
        tables.remove(&table);
        Ok(())
    }
}
