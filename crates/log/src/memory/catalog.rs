//! Finding tables of an in-memory catalog and committing to them.

use super::reader::MemoryTxnLog;
use super::references::check_sources;
use super::*;
use crate::catalog::Point;
use crate::commit::{Outcome, Prepared};
use crate::entry::TableRef;
use crate::reader::TxnLogWriter;
use crate::stamp::CommitStamp;

#[async_trait]
impl Catalog for MemoryCatalog {
    async fn identity(&self) -> Result<(Uuid, Uuid)> {
        Ok(*self.identity.lock())
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
            TableRef::Location(location) => t.location.is_same_location(location),
        }))
    }

    async fn point(&self) -> Result<Point> {
        // Taken so that no commit is in progress.
        let _tables = self.tables.lock();
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
        let mut all = self.tables.lock();
        let head = |id: &TableId| {
            let table = live(&mut all, *id)?;
            table.head_at(table.resolve(At::Latest)?)
        };
        tables.iter().map(head).collect()
    }

    fn reader(&self, table: TableId) -> Arc<dyn TxnLogReader> {
        Arc::new(MemoryTxnLog::new(self.clone(), table, TableState::Live))
    }

    async fn commit_all(&self, requests: Vec<CommitRequest>) -> Result<Outcome> {
        commit::check_group(&requests)?;
        let mut tables = self.tables.lock();
        let known =
            requests.iter().filter_map(|r| tables.get(&r.table)?.known_commit(r).transpose()).collect::<Result<_>>()?;
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
                check_sources(&tables, name, request.actions().iter().filter_map(Action::as_add))?;
            }
            let table = match &request.base {
                Base::Create(new) => {
                    check_free(&tables, new, None)?;
                    if let Some(own) = tables.get(&request.table) {
                        already_exists(format!("there is a table with that id already: {}", own.name))?;
                    }
                    new_tables.entry(request.table).or_insert_with(|| MemoryTable::new(new, &self.stored))
                }
                Base::Exactly(_) | Base::RebaseFrom(_) | Base::ReadAt(_) => live(&mut tables, request.table)?,
            };
            commit::check_mirror(&table.name, &table.mirror)?;
            currents.push(table.current(request, now_ms)?);
        }
        let refs: Vec<_> = currents.iter().collect();
        let stamp = CommitStamp::new(*self.identity.lock(), now_ms, self.clock.as_ref(), &requests, &refs);
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
        let tables = self.tables.lock();
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
