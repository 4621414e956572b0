//! The lifecycle of tables in memory.

use super::reader::MemoryTxnLog;
use super::references::referring;
use super::*;
use crate::entry::name_taken;
use crate::holds::check_not_held;
use crate::lifecycle::{
    DropMode, DropTable, RemovedRows, SAME_NAME, STEP_ROWS, TableLifecycle, check_drop, not_deleting,
};
use crate::owner::Committer;
use crate::references::check_not_referred_to;

/// Rejects a name that a table has.
fn check_name_free(tables: &BTreeMap<TableId, MemoryTable>, name: &TableName) -> Result<()> {
    let taken = tables.values().find(|t| t.state.holds_name() && t.name == *name);
    taken.map_or(Ok(()), |t| Err(name_taken(name, &t.location)))
}

impl MemoryTable {
    /// Removes some of its versions and files; returns how many, and whether none are left.
    fn remove_some(&mut self) -> (u64, bool) {
        let mut left = STEP_ROWS;
        while left > 0 && self.files.pop_first().is_some() {
            left -= 1;
        }
        while left > 0 && self.versions.pop_first().is_some() {
            left -= 1;
        }
        (STEP_ROWS - left, left > 0)
    }
}

impl MemoryCatalog {
    /// The tables that are not live, in the order of a listing.
    fn inactive(&self) -> Vec<InactiveTable> {
        let tables = self.tables.lock();
        let inactive = tables.iter().filter(|(_, t)| !t.is_live());
        let mut inactive: Vec<_> = inactive.map(|(id, t)| t.described(*id)).collect();
        inactive.sort_by(InactiveTable::by_name);
        inactive
    }
}

#[async_trait]
impl TableLifecycle for MemoryCatalog {
    async fn rename_table(&self, table: TableId, to: &TableName, committer: &Committer) -> Result<TableEntry> {
        let mut tables = self.tables.lock();
        let found = live(&mut tables, table)?;
        committer.check(&found.name, found.owner.as_ref())?;
        check_name_free(&tables, to)?;
        let renamed = live(&mut tables, table)?;
        renamed.name = to.clone();
        self.has_table_in(to);
        renamed.entry(table).ok_or_else(|| no_table(table, DESCRIPTION, None))
    }

    async fn drop_table(&self, lease: &Lease, drop: &DropTable) -> Result<()> {
        let now_ms = self.clock.now_ms();
        let mut tables = self.tables.lock();
        let place = tables.get(&lease.table).map(|t| t.location.clone());
        let mut referring = place.map(|place| referring(&tables, &place, now_ms)).unwrap_or_default();
        referring.retain(|other| other.id != lease.table);
        live(&mut tables, lease.table).and_then(|t| {
            if t.lease.as_ref().is_none_or(|(newest, _)| newest != lease) {
                return Err(commit::lease_lost(&t.name));
            }
            let entry = t.entry(lease.table).ok_or_else(|| no_table(lease.table, DESCRIPTION, None))?;
            check_drop(&entry, drop)?;
            if drop.mode == DropMode::DeleteFiles {
                check_not_referred_to(&t.name, &referring)?;
                check_not_held(&t.name, &t.current_holds(now_ms))?;
            }
            t.state = drop.mode.state();
            t.dropped_at = Some(now_ms);
            t.retained_until = Some(drop.mode.retained_until(now_ms));
            t.lease = Some((lease.clone(), i64::MIN));
            Ok(())
        })
    }

    async fn undrop_table(
        &self,
        table: TableId,
        name: Option<&TableName>,
        committer: &Committer,
    ) -> Result<TableEntry> {
        let (now_ms, mut tables) = (self.clock.now_ms(), self.tables.lock());
        let dropped = tables.get(&table).ok_or_else(|| no_table(table, DESCRIPTION, None))?;
        dropped.described(table).check_undrop(now_ms)?;
        committer.check(&dropped.name, dropped.owner.as_ref())?;
        let name = name.unwrap_or(&dropped.name).clone();
        let new = NewTable { name: name.clone(), location: dropped.location.clone(), owner: None };
        check_free(&tables, &new, Some(table))?;
        self.compared.remove(table);
        self.has_table_in(&name);
        let undropped = tables.get_mut(&table).and_then(|t| {
            (t.state, t.name) = (TableState::Live, name);
            (t.dropped_at, t.retained_until) = (None, None);
            t.entry(table)
        });
        undropped.ok_or_else(|| no_table(table, DESCRIPTION, None))
    }

    async fn mark_files_deleted(&self, table: TableId) -> Result<()> {
        match self.tables.lock().get_mut(&table) {
            Some(t) if t.state == TableState::Deleting => t.state = TableState::Deleted,
            Some(t) if t.state == TableState::Deleted => {}
            other => return Err(not_deleting(table, DESCRIPTION, other.map(|t| t.described(table)).as_ref())),
        }
        Ok(())
    }

    async fn inactive_table(&self, table: TableId) -> Result<Option<InactiveTable>> {
        Ok(self.tables.lock().get(&table).filter(|t| !t.is_live()).map(|t| t.described(table)))
    }

    async fn inactive_tables(&self, after: Option<&InactiveTable>, limit: usize) -> Result<Vec<InactiveTable>> {
        let is_wanted = |t: &InactiveTable| after.is_none_or(|after| InactiveTable::by_name(after, t).is_lt());
        Ok(self.inactive().into_iter().filter(is_wanted).take(limit).collect())
    }

    async fn inactive_named(&self, name: &TableName) -> Result<Vec<InactiveTable>> {
        let same_name = self.inactive().into_iter().rev().filter(|t| t.name == *name);
        let (can_be_had, ended): (Vec<_>, Vec<_>) = same_name
            .partition(|t| matches!(t.state, TableState::Loading | TableState::Dropped | TableState::Deleting));
        let mut tables = if can_be_had.is_empty() { ended } else { can_be_had };
        tables.truncate(SAME_NAME);
        Ok(tables)
    }

    async fn removable_tables(&self, after: Option<&InactiveTable>, limit: usize) -> Result<Vec<InactiveTable>> {
        let key = |t: &InactiveTable| (t.retained_until, t.id);
        let now_ms = self.clock.now_ms();
        let is_wanted = |t: &InactiveTable| t.is_removable(now_ms) && after.is_none_or(|after| key(t) > key(after));
        let mut removable: Vec<_> = self.inactive().into_iter().filter(is_wanted).collect();
        removable.sort_by_key(key);
        removable.truncate(limit);
        Ok(removable)
    }

    async fn remove_table(&self, table: TableId) -> Result<RemovedRows> {
        let (now_ms, mut tables) = (self.clock.now_ms(), self.tables.lock());
        let found = tables.get_mut(&table).ok_or_else(|| no_table(table, DESCRIPTION, None))?;
        found.described(table).check_removal(now_ms)?;
        found.state = TableState::Removing;
        let (rows, is_done) = found.remove_some();
        if is_done {
            tables.remove(&table);
        }
        Ok(RemovedRows { rows, is_done })
    }

    fn reader_in(&self, table: TableId, state: TableState) -> Arc<dyn TxnLogReader> {
        Arc::new(MemoryTxnLog::new(self.clone(), table, state))
    }
}
