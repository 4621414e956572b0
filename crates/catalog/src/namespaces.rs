//! Namespaces, one row each.

use async_trait::async_trait;
use deltalakedb_log::namespaces::{check_namespace, namespace_not_empty, namespace_taken, no_namespace};
use deltalakedb_log::{CatalogNamespaces, ErrorKind, Result, TableId, TableName};

use crate::audit::audit;
use crate::database::{CommitFailure, DatabaseTransaction, Value, WriteStatement};
use crate::sql_catalog::{SqlCatalog, WriteTransaction};

const NAMESPACE_COLUMNS: [&str; 2] = ["namespace", "created_at"];

/// Ensures that the namespace of a table exists and is not dropped before the transaction ends. Always changes one row.
pub(crate) fn has_table(name: &TableName, now_ms: i64) -> WriteStatement {
    let sql = "INSERT INTO dl_namespaces (namespace, created_at) VALUES (?, ?) \
               ON CONFLICT (namespace) DO UPDATE SET created_at = dl_namespaces.created_at";
    WriteStatement::run(sql, vec![name.namespace.as_str().into(), now_ms.into()])
}

#[async_trait]
impl CatalogNamespaces for SqlCatalog {
    async fn create_namespace(&self, name: &str, committer: Option<&str>) -> Result<()> {
        check_namespace(name)?;
        let WriteTransaction { mut tx, now_ms, .. } = self.begin_write(&[]).await?;
        let there = "SELECT 1 FROM dl_namespaces WHERE namespace = ?";
        if !tx.query(there, vec![name.into()]).await?.is_empty() {
            return Err(namespace_taken(name));
        }
        let action = format!("CREATE SCHEMA {name}");
        let row = vec![name.into(), now_ms.into()];
        let writes = vec![
            WriteStatement::insert("dl_namespaces", &NAMESPACE_COLUMNS, vec![row]),
            audit(self, now_ms, committer, &action, None::<TableId>, None),
        ];
        tx.write(writes).await.map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => namespace_taken(name).with_source(e),
            _ => e,
        })?;
        tx.commit().await.map_err(CommitFailure::into_error)
    }

    async fn drop_namespace(&self, name: &str, committer: Option<&str>) -> Result<()> {
        let WriteTransaction { mut tx, now_ms, .. } = self.begin_write(&[]).await?;
        // First: this waits for transactions that create a table in it, and the statements after it see their tables.
        let delete = WriteStatement::run("DELETE FROM dl_namespaces WHERE namespace = ?", vec![name.into()]);
        if tx.write(vec![delete]).await? == 0 {
            return Err(no_namespace(name, &self.db.describe()));
        }
        // Each state uses its own index.
        let inside = ["state = 'live'", "state <> 'live' AND state = 'loading'"]
            .map(|state| format!("SELECT name FROM dl_tables WHERE namespace = ? AND {state}"));
        let inside = format!("{} ORDER BY name LIMIT 1", inside.join(" UNION ALL "));
        if let Some(mut row) = tx.query(&inside, vec![name.into(), name.into()]).await?.pop() {
            let table = TableName { namespace: name.into(), name: row.text()? };
            return Err(namespace_not_empty(name, &table));
        }
        let action = format!("DROP SCHEMA {name}");
        tx.write(vec![audit(self, now_ms, committer, &action, None::<TableId>, None)]).await?;
        tx.commit().await.map_err(CommitFailure::into_error)
    }

    async fn namespaces_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        // No namespace has an empty name.
        let sql = format!("SELECT namespace FROM dl_namespaces WHERE namespace > ? ORDER BY namespace LIMIT {limit}");
        let rows = self.db.query(&sql, vec![after.unwrap_or_default().into()]).await?;
        rows.into_iter().map(|mut row| row.text()).collect()
    }
}

async fn rows(tx: &mut dyn DatabaseTransaction) -> Result<Vec<Vec<Value>>> {
    let sql = format!("SELECT {} FROM dl_namespaces ORDER BY namespace", NAMESPACE_COLUMNS.join(", "));
    Ok(tx.query(&sql, vec![]).await?.into_iter().map(|row| row.0.collect()).collect())
}

/// Makes the namespaces of a copy equal to those of the source.
pub(crate) async fn copy(source: &mut dyn DatabaseTransaction, to: &SqlCatalog) -> Result<()> {
    let here = rows(source).await?;
    let mut tx = to.write(&[]).await?;
    let there = rows(tx.as_mut()).await?;
    let is_in = |all: &[Vec<Value>], row: &Vec<Value>| all.binary_search(row).is_ok();
    let gone = there.iter().filter(|row| !is_in(&here, row));
    let delete =
        |row: &Vec<Value>| WriteStatement::run("DELETE FROM dl_namespaces WHERE namespace = ?", vec![row[0].clone()]);
    let mut writes: Vec<_> = gone.map(delete).collect();
    let new: Vec<_> = here.iter().filter(|row| !is_in(&there, row)).cloned().collect();
    if !new.is_empty() {
        writes.push(WriteStatement::insert("dl_namespaces", &NAMESPACE_COLUMNS, new));
    }
    if writes.is_empty() {
        return Ok(());
    }
    tx.write(writes).await?;
    tx.commit().await.map_err(CommitFailure::into_error)
}
