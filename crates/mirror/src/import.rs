//! Imports an existing Delta table with its history; the log itself is not changed.

use deltalakedb_log::commit::{Group, NewTable, catalog_of};
use deltalakedb_log::lookup::check_not_linked;
use deltalakedb_log::reader::first_commit;
use deltalakedb_log::{
    Action, Commit, ErrorKind, FileTxnLogReader, HistoryLoad, Location, MirrorState, Result, TableEntry, TableId,
    TableName, TableRef, TxnLogError, TxnLogReader, Version, check_no_overlap, check_owner,
};

use futures::TryStreamExt;

use crate::mirror::Mirror;
use crate::superseded::check_commit;

/// The result of an import.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Imported {
    /// The table after the import.
    pub table: TableEntry,
    /// The number of imported versions.
    pub versions: u64,
}

impl Mirror {
    /// Imports the table at `location` as `name`. Called again, it resumes an interrupted import, or imports commits
    /// that other writers have made since, as long as the catalog has no unpublished commits.
    ///
    /// `progress` is called after every batch with the newest version stored and the last version of the table.
    #[tracing::instrument(target = "deltalakedb::operation", level = "debug", skip_all, fields(%location))]
    pub async fn import(
        &self,
        location: &Location,
        name: Option<&TableName>,
        progress: &(dyn Fn(Version, Version) + Send + Sync),
    ) -> Result<Imported> {
        let catalog = self.catalog.as_ref();
        let mut existing = catalog.find(&TableRef::Location(location.clone())).await?;
        if let Some(table) = existing.as_ref().map(|entry| entry.id).filter(|table| self.unsettled(*table).is_some()) {
            self.settle_table(table).await?;
            existing = catalog.find(&TableRef::Location(location.clone())).await?;
        }
        let unfinished = catalog.unfinished_load(location).await?;
        let (table, name, after) = match (&existing, &unfinished) {
            (Some(entry), _) => {
                check_same_name(entry, name)?;
                (entry.id, entry.name.clone(), Some(entry.current_version))
            }
            (None, Some(load)) => (load.table, name.unwrap_or(&load.name).clone(), load.current_version),
            (None, None) => {
                let fresh = TableId(self.clock.new_uuid());
                let name = name.ok_or_else(|| {
                    TxnLogError::invalid(format!(
                        "the table at {location} needs a name: `dl import {location} --as NAME`"
                    ))
                })?;
                let new = NewTable::new(name.clone(), location.clone());
                let there = catalog.find(&TableRef::Name(name.clone())).await?;
                if let Some(taken) = there.and_then(|there| new.taken_by(&there.name, &there.location)) {
                    return Err(taken);
                }
                check_no_overlap(catalog, location).await?;
                check_not_linked(catalog, location, self.stores.as_ref()).await?;
                (fresh, name.clone(), None)
            }
        };
        let log = FileTxnLogReader::open_in(location, self.stores.as_ref()).await?;
        let (oldest, newest) = log.versions();
        // What this catalog has published is its own. A new table may have been created by a successor.
        let own = existing.as_ref().and_then(|entry| entry.published_version).map_or(newest, |own| own + 1);
        let first = own.max(first_commit(&log, oldest).await?);
        if first <= newest {
            let mut commits = log.changes(first, newest).await?;
            while let Some((version, body)) = commits.try_next().await? {
                check_commit(catalog, (&name, location), version, &body).await?;
            }
        }
        if let Some(entry) = &existing {
            check_nothing_unpublished(entry, newest)?;
            check_nothing_missing(entry, newest)?;
            check_same_history(self.catalog.reader(entry.id).as_ref(), entry, &log).await?;
            self.check_no_others(entry, &log).await?;
            if newest == entry.current_version && entry.mirror == MirrorState::Following {
                return Ok(Imported { table: entry.clone(), versions: 0 });
            }
        }
        let load = HistoryLoad {
            table,
            new: NewTable {
                owner: existing.as_ref().and_then(|entry| entry.owner.clone()),
                ..NewTable::new(name, location.clone())
            },
            published_version: Some(newest),
            future_times: self.future_times,
            items: log.items(after),
            progress: &|version| progress(version, newest),
        };
        let mut others = Vec::new();
        if let Some(entry) = existing.as_ref().filter(|entry| entry.current_version < newest) {
            self.tables_of_shared_transactions(entry, &log, &mut others).await?;
        }
        let table = if others.is_empty() {
            catalog.load_history(load).await?
        } else {
            let mut loads = vec![load];
            for (entry, log) in &others {
                loads.push(HistoryLoad {
                    table: entry.id,
                    new: NewTable {
                        owner: entry.owner.clone(),
                        ..NewTable::new(entry.name.clone(), entry.location.clone())
                    },
                    published_version: Some(log.versions().1),
                    future_times: self.future_times,
                    items: log.items(Some(entry.current_version)),
                    progress: &|_| {},
                });
            }
            let mut loaded = catalog.load_together(loads).await?;
            loaded.swap_remove(0)
        };
        let first = after.map_or(table.base_version, |v| v + 1);
        let versions = (table.current_version + 1).saturating_sub(first);
        tracing::debug!(table = %table.name, %location, versions, version = table.current_version, "imported");
        Ok(Imported { versions, table })
    }
}

impl Mirror {
    /// The tables that share a transaction with the missing versions of a table, and that lack versions of their log as
    /// well: they are imported together.
    async fn tables_of_shared_transactions(
        &self,
        table: &TableEntry,
        log: &FileTxnLogReader,
        found: &mut Vec<(TableEntry, FileTxnLogReader)>,
    ) -> Result<()> {
        let catalog_id = self.catalog.identity().await?.0.to_string();
        let mut unread = vec![(table.clone(), log.clone())];
        while let Some((of, log)) = unread.pop() {
            let mut commits = log.changes(of.current_version + 1, log.versions().1).await?;
            while let Some((version, body)) = commits.try_next().await? {
                let actions = Commit::parse_without_files(&body, &format!("version {version} of {}", of.name))?;
                let group = actions.iter().find_map(|action| match action {
                    Action::CommitInfo(info) => Group::of(info),
                    _ => None,
                });
                for name in group.filter(|group| group.catalog == catalog_id).into_iter().flat_map(|g| g.participants) {
                    let seen = |entry: &TableEntry| entry.name == name;
                    if seen(table) || found.iter().any(|(entry, _)| seen(entry)) {
                        continue;
                    }
                    let Some(entry) = self.catalog.find(&TableRef::Name(name.clone())).await? else { continue };
                    let log = FileTxnLogReader::open_in(&entry.location, self.stores.as_ref()).await?;
                    if log.versions().1 > entry.current_version {
                        check_nothing_unpublished(&entry, log.versions().1)?;
                        check_same_history(self.catalog.reader(entry.id).as_ref(), &entry, &log).await?;
                        self.check_no_others(&entry, &log).await?;
                        unread.push((entry.clone(), log.clone()));
                        found.push((entry, log));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Mirror {
    /// For a table with an owner, only commits of this catalog that a restore had lost are imported, which were the
    /// owner's.
    async fn check_no_others(&self, entry: &TableEntry, log: &FileTxnLogReader) -> Result<()> {
        let Err(refused) = check_owner(&entry.name, entry.owner.as_ref(), None) else { return Ok(()) };
        let newest = log.versions().1;
        if newest <= entry.current_version {
            return Ok(());
        }
        let own = self.catalog.identity().await?.0.to_string();
        let mut commits = log.changes(entry.current_version + 1, newest).await?;
        while let Some((version, body)) = commits.try_next().await? {
            let actions = Commit::parse_without_files(&body, &format!("version {version} of {}", entry.name))?;
            let is_own = actions.iter().any(|action| match action {
                Action::CommitInfo(info) => catalog_of(info).is_some_and(|catalog| catalog == own),
                _ => false,
            });
            if !is_own {
                let place = &entry.location;
                return Err(TxnLogError::invalid(format!(
                    "version {version} in {place}/_delta_log was written by another writer and cannot be imported: \
                     {refused}; move it out of _delta_log"
                )));
            }
        }
        Ok(())
    }
}

fn check_same_name(entry: &TableEntry, name: Option<&TableName>) -> Result<()> {
    match name.filter(|name| **name != entry.name) {
        None => Ok(()),
        Some(name) => Err(TxnLogError::new(
            ErrorKind::AlreadyExists,
            format!("the table at {} is in the catalog already, as {}, not as {name}", entry.location, entry.name),
        )),
    }
}

fn check_nothing_unpublished(entry: &TableEntry, newest: Version) -> Result<()> {
    let published = entry.published_version.unwrap_or(entry.base_version);
    let name = &entry.name;
    if published < entry.current_version {
        return Err(TxnLogError::invalid(format!(
            "{name} has commits up to version {} that are not published, and its _delta_log continues to version \
             {newest}: run `dl mirror run` first; if it stops at a commit of another writer, which `dl verify {name}` \
             shows, `dl mirror repair {name} --ours` keeps the commits of the catalog, and `--theirs` the others",
            entry.current_version
        )));
    }
    Ok(())
}

/// Published versions must still be in the log: otherwise the next commit would follow a gap.
fn check_nothing_missing(entry: &TableEntry, newest: Version) -> Result<()> {
    if newest >= entry.current_version {
        return Ok(());
    }
    let (name, place) = (&entry.name, &entry.location);
    Err(TxnLogError::invalid(format!(
        "{name} is at version {}, all of it published, and its log in {place}/_delta_log ends at version {newest}: \
         `dl mirror repair {name}` publishes the missing versions again",
        entry.current_version
    )))
}

/// Further commits are imported only if they follow the catalog's own newest.
pub(crate) async fn check_same_history(
    reader: &dyn TxnLogReader,
    entry: &TableEntry,
    log: &FileTxnLogReader,
) -> Result<()> {
    let version = entry.current_version;
    let ours = reader.commit_bytes(version).await?;
    let theirs = match log.commit_bytes(version).await {
        Ok(bytes) => bytes,
        // A log may begin with a checkpoint.
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    if ours.is_none() || theirs.is_none() || ours == theirs {
        return Ok(());
    }
    let (name, place) = (&entry.name, &entry.location);
    Err(TxnLogError::new(
        ErrorKind::Conflict,
        format!(
            "version {version} of {name} in {place}/_delta_log differs from that of the catalog, so later versions \
             there belong to another history: `dl verify {name}` shows the difference, and `dl mirror repair {name} \
             --ours` keeps the history of the catalog"
        ),
    ))
}
