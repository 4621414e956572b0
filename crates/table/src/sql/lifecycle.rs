//! `DROP TABLE` and `ALTER TABLE … RENAME TO`: changes of the catalog, each a transaction of its own.

use datafusion::sql::sqlparser::ast::ObjectName;
use deltalakedb_log::catalog::require;
use deltalakedb_log::{Result, TableEntry, TableName, TableRef, TxnLogError};
use deltalakedb_mirror::Mirror;

use super::names::table_name;
use super::{Done, SqlResult, SqlSession};
use crate::lifecycle::{DropOptions, drop_table};

impl SqlSession {
    pub(super) async fn drop_table(&self, name: &ObjectName, if_exists: bool) -> Result<SqlResult> {
        const COMMAND: &str = "DROP TABLE";
        if let Some(entry) = self.table_to_change(COMMAND, table_name(name)?, if_exists).await? {
            let write = &self.options.write;
            let mirror = Mirror::new(self.catalog.clone(), write.clock.clone())
                .with_stores(write.stores.clone())
                .with_durability(write.durability);
            let dropped = drop_table(&mirror, entry.id, DropOptions::default(), write).await;
            mirror.settle().await?;
            dropped?;
        }
        Ok(SqlResult::Done(Done { command: COMMAND, rows: None, committed: Vec::new() }))
    }

    /// A new name without a namespace stays in that of the table.
    pub(super) async fn rename_table(&self, from: &ObjectName, to: &ObjectName, if_exists: bool) -> Result<SqlResult> {
        const COMMAND: &str = "ALTER TABLE";
        if let Some(entry) = self.table_to_change(COMMAND, table_name(from)?, if_exists).await? {
            let to = table_name(to).map(|new| match to.0.len() {
                1 => TableName { namespace: entry.name.namespace.clone(), ..new },
                _ => new,
            })?;
            self.catalog.rename_table(entry.id, &to, self.options.write.committer.as_deref()).await?;
        }
        Ok(SqlResult::Done(Done { command: COMMAND, rows: None, committed: Vec::new() }))
    }

    /// The table of that name; `None` where it need not exist and does not.
    async fn table_to_change(&self, command: &str, name: TableName, if_exists: bool) -> Result<Option<TableEntry>> {
        if self.open.is_some() {
            return Err(TxnLogError::invalid(format!(
                "{command} cannot be part of a transaction: end it with COMMIT or ROLLBACK before"
            )));
        }
        let table = TableRef::Name(name);
        match self.catalog.find(&table).await? {
            None if if_exists => Ok(None),
            None => require(self.catalog.as_ref(), &table).await.map(Some),
            found => Ok(found),
        }
    }
}
