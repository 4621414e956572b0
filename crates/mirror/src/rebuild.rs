//! Rebuilds a lost catalog from the `_delta_log` of its tables.
//!
//! First every commit of every table is read, and nothing is stored before all of them are known to be readable. Then
//! the tables are loaded one by one, as imports are, into a catalog that has an id of its own. Last, it takes the id of
//! the lost catalog and a new epoch. A rebuild that is interrupted before that continues when it is called again.

use std::collections::{BTreeMap, HashMap};

use deltalakedb_log::commit::NewTable;
use deltalakedb_log::listing::{inactive_tables, tables};
use deltalakedb_log::{
    ErrorKind, HistoryItem, HistoryLoad, Location, Result, TableEntry, TableId, TableName, TableRef, TableState,
    TxnLogError, Version,
};
use futures::{StreamExt, TryStreamExt};
use uuid::Uuid;

use crate::discovery::tables_below;
use crate::import::check_same_history;
use crate::mirror::Mirror;
use crate::published::PublishedTable;
use crate::whole_transactions::{Cut, PublishedParts, cuts};

/// The number of logs that are read at the same time.
const CONCURRENCY: usize = 8;

/// The result of a rebuild.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rebuilt {
    /// The id of the catalog: that of the lost one, if a table has a commit of it.
    pub catalog: Uuid,
    /// The new epoch.
    pub epoch: Uuid,
    /// The tables, in the order of their names.
    pub tables: Vec<RebuiltTable>,
    /// Tables that were found and are not in the catalog.
    pub left_out: Vec<LeftOutTable>,
    /// Tables that transactions over several tables changed, and that were not found.
    pub absent: Vec<TableName>,
}

/// A table that was rebuilt.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RebuiltTable {
    /// The table in the catalog.
    pub table: TableEntry,
    /// The newest version in its `_delta_log`.
    pub published: Version,
    /// Why it is at an earlier version.
    pub cut: Option<Cut>,
    /// Whether a commit of ours says its id and its name. Otherwise the id is new, and the name is that of the folder.
    pub is_known: bool,
}

/// A table that was found and not rebuilt.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeftOutTable {
    /// Its location.
    pub location: Location,
    /// Its last name.
    pub name: TableName,
    /// Why, as a sentence without its end.
    pub reason: String,
}

impl Mirror {
    /// Rebuilds the tables at and below these locations in this catalog, which is new or has the tables of an
    /// interrupted rebuild of the same locations. Each table gets the id, the name and the owner that its last commit
    /// by the lost catalog says, and is at the last published version; of a transaction over several tables all parts
    /// are restored or none. The mirrors are not changed.
    ///
    /// `progress` is called after every batch with the number of versions stored and the number of all versions.
    #[tracing::instrument(target = "deltalakedb::operation", level = "debug", skip_all)]
    pub async fn rebuild(
        &self,
        locations: &[Location],
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Rebuilt> {
        let plan = self.plan_rebuild(locations).await?;
        self.check_free(&plan).await?;
        let all: u64 = plan.tables.iter().map(|table| table.newest + 1 - table.published.versions().0).sum();
        let (mut done, mut rebuilt) = (0, Vec::with_capacity(plan.tables.len()));
        for table in &plan.tables {
            let base = table.published.versions().0;
            let entry = self.load(table, &|version| progress(done + (version + 1).saturating_sub(base), all)).await?;
            done += table.newest + 1 - base;
            rebuilt.push(RebuiltTable {
                table: entry,
                published: table.published.versions().1,
                cut: table.cut.clone(),
                is_known: table.published.origin.is_some(),
            });
        }
        let (own, _) = self.catalog.identity().await?;
        let catalog = plan.catalog.unwrap_or(own);
        let epochs: Vec<_> = plan.tables.iter().flat_map(|table| table.published.epochs.iter().copied()).collect();
        let epoch = self.catalog.succeed(catalog, &epochs).await?;
        tracing::debug!(catalog = self.catalog.describe(), tables = rebuilt.len(), %epoch, "rebuilt");
        Ok(Rebuilt { catalog, epoch, tables: rebuilt, left_out: plan.left_out, absent: plan.absent })
    }

    async fn plan_rebuild(&self, locations: &[Location]) -> Result<RebuildPlan> {
        let found = tables_below(locations, self.stores.as_ref()).await?;
        let read = found.into_iter().map(|location| async {
            let place = location.to_string();
            PublishedTable::read(location, self.stores.as_ref()).await.map_err(|e| {
                let message = format!(
                    "nothing was rebuilt, because the table at {place} cannot be read (repair its log, or leave the \
                     table out)"
                );
                TxnLogError::new(e.kind(), message).with_source(e)
            })
        });
        let read: Vec<_> = futures::stream::iter(read).buffered(CONCURRENCY).try_collect().await?;
        RebuildPlan::new(read, self.clock.now_ms())
    }

    /// Rejects a catalog with other tables than those of an interrupted rebuild.
    async fn check_free(&self, plan: &RebuildPlan) -> Result<()> {
        let taken = |name: &TableName| {
            let catalog = self.catalog.describe();
            TxnLogError::new(
                ErrorKind::AlreadyExists,
                format!("{catalog} is not empty, it has the table {name}: rebuild into a new catalog"),
            )
        };
        let places: HashMap<_, _> = plan.tables.iter().map(|table| (table.published.location.key(), table)).collect();
        let planned = |location: &Location| {
            places.get(&location.key()).filter(|table| table.published.location.is_same_location(location))
        };
        let (own, _) = self.catalog.identity().await?;
        let mut live = tables(self.catalog.clone(), None);
        while let Some(entry) = live.try_next().await? {
            let is_of_plan = planned(&entry.location).is_some_and(|table| {
                table.name == entry.name
                    && table.id().is_none_or(|id| id == entry.id)
                    && entry.current_version <= table.newest
            });
            if !is_of_plan || plan.catalog == Some(own) {
                return Err(taken(&entry.name));
            }
        }
        let mut inactive = inactive_tables(self.catalog.clone());
        while let Some(table) = inactive.try_next().await? {
            if table.state != TableState::Loading || planned(&table.location).is_none() {
                return Err(taken(&table.name));
            }
        }
        Ok(())
    }

    async fn load(&self, planned: &PlannedTable, progress: &(dyn Fn(Version) + Send + Sync)) -> Result<TableEntry> {
        let catalog = self.catalog.as_ref();
        let PlannedTable { published: PublishedTable { location, log, .. }, name, newest, .. } = planned;
        let newest = *newest;
        let existing = catalog.find(&TableRef::Location(location.clone())).await?;
        let (table, after) = match existing {
            Some(entry) => {
                check_same_history(catalog.reader(entry.id).as_ref(), &entry, log).await?;
                if entry.current_version == newest {
                    return Ok(entry);
                }
                (entry.id, Some(entry.current_version))
            }
            None => match catalog.unfinished_load(location).await? {
                Some(load) => (load.table, load.current_version),
                None => (planned.id().unwrap_or_else(|| TableId(self.clock.new_uuid())), None),
            },
        };
        let owner = planned.published.origin.as_ref().and_then(|origin| origin.owner.clone());
        let items = log.items(after).try_take_while(move |item| {
            futures::future::ready(match item {
                HistoryItem::Commit(commit) => Ok(commit.version <= newest),
                // The checkpoint at the beginning may be unreadable, and another one later than the cut.
                HistoryItem::Base(base) if base.version > newest => Err(TxnLogError::corrupt(format!(
                    "{name} cannot be rebuilt at version {newest}: its log can be read from version {} on only",
                    base.version
                ))),
                HistoryItem::Base(_) | HistoryItem::Files(_) => Ok(true),
            })
        });
        let load = HistoryLoad {
            published_version: Some(newest),
            future_times: self.future_times,
            progress,
            ..HistoryLoad::new(table, NewTable { owner, ..NewTable::new(name.clone(), location.clone()) }, items)
        };
        catalog.load_history(load).await
    }
}

/// What is rebuilt.
struct RebuildPlan {
    /// The lost catalog; `None` if no table has a commit of ours.
    catalog: Option<Uuid>,
    /// In the order of their names.
    tables: Vec<PlannedTable>,
    left_out: Vec<LeftOutTable>,
    absent: Vec<TableName>,
}

/// A table that is rebuilt.
struct PlannedTable {
    published: PublishedTable,
    name: TableName,
    /// The newest version that is restored.
    newest: Version,
    cut: Option<Cut>,
}

impl PlannedTable {
    /// The id that its commits say.
    fn id(&self) -> Option<TableId> {
        self.published.origin.as_ref().map(|origin| origin.table)
    }
}

impl RebuildPlan {
    fn new(read: Vec<PublishedTable>, now_ms: i64) -> Result<Self> {
        let mut left_out = Vec::new();
        let mut kept = Vec::with_capacity(read.len());
        for published in read {
            let name = published.name()?;
            if published.is_detached {
                let (location, reason) = (published.location.clone(), "it was detached from the catalog".into());
                left_out.push(LeftOutTable { location, name, reason });
            } else {
                kept.push((name, published));
            }
        }
        kept.sort_by(|(a, _), (b, _)| a.cmp(b));
        check_distinct(&kept)?;
        let catalog = only_catalog(&kept)?;
        let parts: Vec<_> = kept
            .iter()
            .map(|(name, table)| PublishedParts {
                id: table.origin.as_ref().map(|origin| origin.table),
                name: name.clone(),
                base: table.versions().0,
                newest_ms: table.newest_ms,
                parts: &table.parts,
            })
            .collect();
        let mut found = catalog.map(|catalog| cuts(&parts, catalog, now_ms)).unwrap_or_default();
        let mut tables = Vec::with_capacity(kept.len());
        for (n, (name, published)) in kept.into_iter().enumerate() {
            let (cut, (base, newest)) = (found.cuts.remove(&n), published.versions());
            match &cut {
                Some(Cut { version, because }) if *version <= base => {
                    let reason = format!(
                        "it begins at version {base}, and version {version} is part of a transaction whose part in \
                         {because} was not published"
                    );
                    left_out.push(LeftOutTable { location: published.location, name, reason });
                }
                _ => {
                    let newest = cut.as_ref().map_or(newest, |cut| cut.version - 1);
                    tables.push(PlannedTable { published, name, newest, cut });
                }
            }
        }
        Ok(Self { catalog, tables, left_out, absent: found.absent.into_iter().collect() })
    }
}

/// Rejects two tables with one name or one id, or one inside the other. They are in the order of their names.
fn check_distinct(tables: &[(TableName, PublishedTable)]) -> Result<()> {
    if let Some([(name, a), (_, b)]) = tables.array_windows().find(|[(a, _), (b, _)]| a == b) {
        let (a, b) = (&a.location, &b.location);
        return Err(TxnLogError::new(
            ErrorKind::AlreadyExists,
            format!("the tables at {a} and {b} are both named {name}: leave one out, and import it under another name"),
        ));
    }
    let mut ids = BTreeMap::new();
    for (_, table) in tables {
        let Some(origin) = &table.origin else { continue };
        if let Some(other) = ids.insert(origin.table, &table.location) {
            return Err(TxnLogError::new(
                ErrorKind::AlreadyExists,
                format!("the tables at {other} and {} are copies of one table: leave one out", table.location),
            ));
        }
    }
    // What is inside a place follows it in the order of the keys.
    let mut places: Vec<_> = tables.iter().map(|(name, table)| (table.location.key(), name, &table.location)).collect();
    places.sort_by(|(a, ..), (b, ..)| a.as_str().cmp(b.as_str()));
    for [(_, name, outer), (_, _, inner)] in places.array_windows() {
        inner.check_no_overlap(name, outer)?;
    }
    Ok(())
}

/// The catalog that made the newest commits of ours.
fn only_catalog(tables: &[(TableName, PublishedTable)]) -> Result<Option<Uuid>> {
    let of = |(name, table): &(TableName, PublishedTable)| Some((table.origin.as_ref()?.catalog, name.clone()));
    let mut catalogs = tables.iter().filter_map(of);
    let Some((catalog, first)) = catalogs.next() else { return Ok(None) };
    match catalogs.find(|(other, _)| *other != catalog) {
        None => Ok(Some(catalog)),
        Some((other, name)) => Err(TxnLogError::invalid(format!(
            "{first} was in the catalog {catalog} and {name} in the catalog {other}: rebuild one of them, and import the \
             tables of the other"
        ))),
    }
}
