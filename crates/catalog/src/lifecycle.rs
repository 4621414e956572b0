//! The lifecycle of tables: each change is one transaction that locks the table's head, as a commit does.

use std::sync::Arc;

use async_trait::async_trait;
use deltalakedb_log::commit::{self, NewTable};
use deltalakedb_log::holds::check_not_held;
use deltalakedb_log::lifecycle::{
    self, DropMode, DropTable, InactiveTable, RemovedRows, SAME_NAME, TableLifecycle, TableState,
};
use deltalakedb_log::references::check_not_referred_to;
use deltalakedb_log::{
    Committer, ErrorKind, Lease, Result, TableEntry, TableId, TableName, TableRef, TxnLogError, TxnLogReader,
};

use crate::audit::audit;
use crate::database::{CommitFailure, DatabaseTransaction, Value, WriteStatement};
use crate::sql_catalog::{SqlCatalog, SqlTxnLogReader, WriteTransaction};
use crate::table_lookup::{ALL_TABLES, any_table, find_any, find_in, no_table, no_table_in};
use crate::uniqueness::{check_free, check_name_free};
use crate::{find, holds, mirror, namespaces, references, removal};

/// When a table was dropped, for the order of tables that are not live: an unfinished import is last.
const DROPPED_AT: &str = "coalesce(dropped_at, 9223372036854775807)";

/// Writes and commits. Where rows are locked one by one, a name that was free may be taken now.
async fn finish(mut tx: Box<dyn DatabaseTransaction>, writes: Vec<WriteStatement>, name: &TableName) -> Result<()> {
    tx.write(writes).await.map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => {
            let message = format!("another table has just taken the name {name} or its location: see `dl tables`");
            TxnLogError::new(ErrorKind::AlreadyExists, message).with_source(e)
        }
        _ => e,
    })?;
    tx.commit().await.map_err(CommitFailure::into_error)
}

impl SqlCatalog {
    async fn live_entry(&self, table: TableId) -> Result<TableEntry> {
        match find::find(self.db.as_ref(), &TableRef::Id(table)).await? {
            Some(entry) => Ok(entry),
            None => Err(no_table(self.db.as_ref(), table).await),
        }
    }
}

#[async_trait]
impl TableLifecycle for SqlCatalog {
    async fn rename_table(&self, table: TableId, to: &TableName, committer: &Committer) -> Result<TableEntry> {
        let WriteTransaction { mut tx, now_ms, .. } = self.begin_write(&[table]).await?;
        let Some(entry) = find_in(tx.as_mut(), table).await? else {
            return Err(no_table_in(tx.as_mut(), self.db.as_ref(), table).await);
        };
        let from = &entry.name;
        committer.check(from, entry.owner.as_ref())?;
        check_name_free(tx.as_mut(), to).await?;
        let sql = "UPDATE dl_tables SET namespace = ?, name = ?, name_key = ? WHERE table_id = ?";
        let name = [to.namespace.as_str().into(), to.name.as_str().into(), to.to_string().into()];
        let action = format!("RENAME TABLE {from} TO {to}");
        let writes = vec![
            WriteStatement::run(sql, [&name[..], &[table.0.into()]].concat()),
            namespaces::has_table(to, now_ms),
            audit(self, now_ms, committer.name.as_deref(), &action, table, None),
        ];
        finish(tx, writes, to).await?;
        self.live_entry(table).await
    }

    async fn drop_table(&self, lease: &Lease, drop: &DropTable) -> Result<()> {
        let table = lease.table;
        let WriteTransaction { mut tx, now_ms, .. } = self.begin_write(&[table]).await?;
        let Some(entry) = find_in(tx.as_mut(), table).await? else {
            return Err(no_table_in(tx.as_mut(), self.db.as_ref(), table).await);
        };
        // This locks the row of the mirror: until the drop ends no lease is granted and no version recorded.
        if tx.write(vec![mirror::end_lease(lease)]).await? == 0 {
            return Err(commit::lease_lost(&entry.name));
        }
        lifecycle::check_drop(&entry, drop)?;
        if drop.mode == DropMode::DeleteFiles {
            let mut referring = references::referring(tx.as_mut(), &entry.location, now_ms).await?;
            referring.retain(|other| other.id != table);
            check_not_referred_to(&entry.name, &referring)?;
            check_not_held(&entry.name, &holds::of_table(tx.as_mut(), table, now_ms).await?)?;
        }
        let state = drop.mode.state();
        let place = if state.holds_location() { "location_key" } else { "NULL" };
        let sql = format!(
            "UPDATE dl_tables SET state = ?, name_key = NULL, location_key = {place}, dropped_at = ?, \
             retained_until = ? WHERE table_id = ?"
        );
        let until = drop.mode.retained_until(now_ms);
        let params = vec![state.as_str().into(), now_ms.into(), until.into(), table.0.into()];
        let version = Some(entry.current_version);
        let writes = vec![
            WriteStatement::run(sql, params),
            audit(self, now_ms, drop.committer.name.as_deref(), drop.mode.action(), table, version),
        ];
        finish(tx, writes, &entry.name).await
    }

    async fn undrop_table(
        &self,
        table: TableId,
        name: Option<&TableName>,
        committer: &Committer,
    ) -> Result<TableEntry> {
        let WriteTransaction { mut tx, now_ms, .. } = self.begin_write(&[table]).await?;
        let Some(dropped) = find_any(tx.as_mut(), table).await? else {
            return Err(lifecycle::no_table(table, &self.db.describe(), None));
        };
        dropped.check_undrop(now_ms)?;
        committer.check(&dropped.name, dropped.owner.as_ref())?;
        let name = name.unwrap_or(&dropped.name);
        let new = NewTable { name: name.clone(), location: dropped.location.clone(), owner: None };
        check_free(tx.as_mut(), &new, None).await?;
        let sql = "UPDATE dl_tables SET state = ?, namespace = ?, name = ?, name_key = ?, location_key = ?, \
                   dropped_at = NULL, retained_until = NULL WHERE table_id = ?";
        let params = vec![
            TableState::Live.as_str().into(),
            name.namespace.as_str().into(),
            name.name.as_str().into(),
            name.to_string().into(),
            dropped.location.key().as_str().into(),
            table.0.into(),
        ];
        let writes = vec![
            WriteStatement::run(sql, params),
            namespaces::has_table(name, now_ms),
            audit(self, now_ms, committer.name.as_deref(), "UNDROP TABLE", table, None),
        ];
        self.compared.remove(table);
        finish(tx, writes, name).await?;
        self.live_entry(table).await
    }

    async fn mark_files_deleted(&self, table: TableId) -> Result<()> {
        let WriteTransaction { mut tx, now_ms, .. } = self.begin_write(&[table]).await?;
        let found = find_any(tx.as_mut(), table).await?;
        match found.as_ref().map(|found| found.state) {
            Some(TableState::Deleting) => {}
            Some(TableState::Deleted) => return Ok(()),
            _ => return Err(lifecycle::not_deleting(table, &self.db.describe(), found.as_ref())),
        }
        let sql = "UPDATE dl_tables SET state = ?, location_key = NULL WHERE table_id = ?";
        let params = vec![TableState::Deleted.as_str().into(), table.0.into()];
        tx.write(vec![WriteStatement::run(sql, params), audit(self, now_ms, None, "FILES DELETED", table, None)])
            .await?;
        tx.commit().await.map_err(CommitFailure::into_error)
    }

    async fn inactive_table(&self, table: TableId) -> Result<Option<InactiveTable>> {
        let sql = format!("{ALL_TABLES} table_id = ? AND state <> 'live'");
        let rows = self.db.query(&sql, vec![table.0.into()]).await?;
        rows.into_iter().next().map(any_table).transpose()
    }

    async fn inactive_tables(&self, after: Option<&InactiveTable>, limit: usize) -> Result<Vec<InactiveTable>> {
        let (and, params) = match after {
            Some(after) => {
                let (name, at) = (&after.name, after.dropped_at.unwrap_or(i64::MAX));
                let params =
                    vec![name.namespace.as_str().into(), name.name.as_str().into(), at.into(), after.id.0.into()];
                (format!(" AND (namespace, name, {DROPPED_AT}, table_id) > (?, ?, ?, ?)"), params)
            }
            None => (String::new(), Vec::<Value>::new()),
        };
        let order = format!("ORDER BY namespace, name, {DROPPED_AT}, table_id LIMIT {limit}");
        let rows = self.db.query(&format!("{ALL_TABLES} state <> 'live'{and} {order}"), params).await?;
        rows.into_iter().map(any_table).collect()
    }

    async fn inactive_named(&self, name: &TableName) -> Result<Vec<InactiveTable>> {
        let order = format!("ORDER BY {DROPPED_AT} DESC, table_id DESC LIMIT {SAME_NAME}");
        // Tables that can still be restored are selected first, so that the many others do not fill the limit.
        for state in ["IN ('loading', 'dropped', 'deleting')", "IN ('deleted', 'detached', 'removing')"] {
            let sql = format!("{ALL_TABLES} state <> 'live' AND state {state} AND namespace = ? AND name = ? {order}");
            let rows = self.db.query(&sql, vec![name.namespace.as_str().into(), name.name.as_str().into()]).await?;
            if !rows.is_empty() {
                return rows.into_iter().map(any_table).collect();
            }
        }
        Ok(Vec::new())
    }

    async fn removable_tables(&self, after: Option<&InactiveTable>, limit: usize) -> Result<Vec<InactiveTable>> {
        removal::removable_tables(self, after, limit).await
    }

    async fn remove_table(&self, table: TableId) -> Result<RemovedRows> {
        removal::remove_some(self, table).await
    }

    fn reader_in(&self, table: TableId, state: TableState) -> Arc<dyn TxnLogReader> {
        Arc::new(SqlTxnLogReader { catalog: self.clone(), table, state })
    }
}
