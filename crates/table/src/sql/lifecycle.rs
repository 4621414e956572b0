//! `DROP TABLE`, `ALTER TABLE … RENAME TO`, `CREATE SCHEMA` and `DROP SCHEMA`: changes of the catalog, each a transaction of its own.

use datafusion::sql::sqlparser::ast::ObjectName;
use deltalakedb_log::{ErrorKind, Result, TableEntry, TableName, TableRef, TxnLogError, require};
use deltalakedb_mirror::Mirror;

use super::names::{namespace, table_name};
use super::{CommandComplete, SqlResult, SqlSession};
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
        Ok(SqlResult::CommandComplete(CommandComplete { command: COMMAND, rows: None, committed: Vec::new() }))
    }

    /// A new name without a namespace stays in the namespace of the table.
    pub(super) async fn rename_table(&self, from: &ObjectName, to: &ObjectName, if_exists: bool) -> Result<SqlResult> {
        const COMMAND: &str = "ALTER TABLE";
        if let Some(entry) = self.table_to_change(COMMAND, table_name(from)?, if_exists).await? {
            let to = table_name(to).map(|new| match to.0.len() {
                1 => TableName { namespace: entry.name.namespace.clone(), ..new },
                _ => new,
            })?;
            self.catalog.rename_table(entry.id, &to, &self.options.write.committer()).await?;
        }
        Ok(SqlResult::CommandComplete(CommandComplete { command: COMMAND, rows: None, committed: Vec::new() }))
    }

    pub(super) async fn create_namespace(&self, name: &ObjectName, if_not_exists: bool) -> Result<SqlResult> {
        const COMMAND: &str = "CREATE SCHEMA";
        self.check_no_transaction(COMMAND)?;
        let by = self.options.write.committer.as_deref();
        match self.catalog.create_namespace(&namespace(name)?, by).await {
            Err(e) if if_not_exists && e.kind() == ErrorKind::AlreadyExists => {}
            created => created?,
        }
        Ok(SqlResult::CommandComplete(CommandComplete { command: COMMAND, rows: None, committed: Vec::new() }))
    }

    pub(super) async fn drop_namespace(&self, name: &ObjectName, if_exists: bool) -> Result<SqlResult> {
        const COMMAND: &str = "DROP SCHEMA";
        self.check_no_transaction(COMMAND)?;
        let by = self.options.write.committer.as_deref();
        match self.catalog.drop_namespace(&namespace(name)?, by).await {
            Err(e) if if_exists && e.kind() == ErrorKind::NotFound => {}
            dropped => dropped?,
        }
        Ok(SqlResult::CommandComplete(CommandComplete { command: COMMAND, rows: None, committed: Vec::new() }))
    }

    fn check_no_transaction(&self, command: &str) -> Result<()> {
        match self.open {
            None => Ok(()),
            Some(_) => Err(TxnLogError::invalid(format!(
                "{command} cannot be part of a transaction: end it with COMMIT or ROLLBACK before"
            ))),
        }
    }

    /// The table of that name; `None` if it does not exist and need not.
    async fn table_to_change(&self, command: &str, name: TableName, if_exists: bool) -> Result<Option<TableEntry>> {
        self.check_no_transaction(command)?;
        let table = TableRef::Name(name);
        match self.catalog.find(&table).await? {
            None if if_exists => Ok(None),
            None => require(self.catalog.as_ref(), &table).await.map(Some),
            found => Ok(found),
        }
    }
}
