//! Versions that readers hold.

use async_trait::async_trait;
use deltalakedb_log::holds::MAX_REMOVED;
use deltalakedb_log::{Catalog, Hold, Result, TableId, Version, VersionHolds};

use crate::codec::int;
use crate::database::{CommitFailure, DatabaseTransaction, Row, WriteStatement};
use crate::sql_catalog::{SqlCatalog, WriteTransaction};
use crate::table_lookup::{find_in, no_table_in};

pub(crate) const HOLD_COLUMNS: [&str; 5] = ["hold_id", "table_id", "version", "held_until", "holder"];

fn hold(mut row: Row) -> Result<Hold> {
    Ok(Hold {
        id: row.uuid()?,
        table: TableId(row.uuid()?),
        version: row.version()?,
        until_ms: row.int()?,
        holder: row.text()?,
    })
}

/// The holds of a table that have not ended, the oldest version first.
pub(crate) async fn of_table(tx: &mut dyn DatabaseTransaction, table: TableId, now_ms: i64) -> Result<Vec<Hold>> {
    let columns = HOLD_COLUMNS.join(", ");
    let sql = format!("SELECT {columns} FROM dl_holds WHERE table_id = ? AND held_until > ?");
    let rows = tx.query(&sql, vec![table.0.into(), now_ms.into()]).await?;
    let mut holds = rows.into_iter().map(hold).collect::<Result<Vec<_>>>()?;
    holds.sort_by_key(|hold| (hold.version, hold.until_ms, hold.id));
    Ok(holds)
}

/// Removes a batch of a table's holds that have ended.
fn remove_ended(table: TableId, now_ms: i64) -> WriteStatement {
    let sql = format!(
        "DELETE FROM dl_holds WHERE hold_id IN (SELECT hold_id FROM dl_holds WHERE table_id = ? AND held_until <= ? \
         ORDER BY held_until LIMIT {MAX_REMOVED})"
    );
    WriteStatement::run(sql, vec![table.0.into(), now_ms.into()])
}

#[async_trait]
impl VersionHolds for SqlCatalog {
    async fn hold(&self, table: TableId, version: Version, until_ms: i64, holder: &str) -> Result<Hold> {
        let WriteTransaction { mut tx, now_ms, .. } = self.begin_write(&[table]).await?;
        let Some(entry) = find_in(tx.as_mut(), table).await? else {
            return Err(no_table_in(tx.as_mut(), self.db.as_ref(), table).await);
        };
        let hold = Hold { id: self.clock.new_uuid(), table, version, until_ms, holder: holder.into() };
        hold.check(&entry, now_ms)?;
        let row = vec![hold.id.into(), table.0.into(), int(version), until_ms.into(), holder.into()];
        let writes = vec![remove_ended(table, now_ms), WriteStatement::insert("dl_holds", &HOLD_COLUMNS, vec![row])];
        tx.write(writes).await?;
        tx.commit().await.map_err(CommitFailure::into_error)?;
        Ok(hold)
    }

    async fn renew_hold(&self, hold: &Hold, until_ms: i64) -> Result<Hold> {
        // Under the lock: an expiry that found the hold ended has finished.
        let WriteTransaction { mut tx, now_ms, .. } = self.begin_write(&[hold.table]).await?;
        let renewed = Hold { until_ms, ..hold.clone() };
        renewed.check_until(now_ms)?;
        let sql = "UPDATE dl_holds SET held_until = ? WHERE hold_id = ? AND held_until > ?";
        let params = vec![until_ms.into(), hold.id.into(), now_ms.into()];
        if tx.write(vec![WriteStatement::run(sql, params)]).await? == 0 {
            return Err(hold.has_ended());
        }
        tx.commit().await.map_err(CommitFailure::into_error)?;
        Ok(renewed)
    }

    async fn release_hold(&self, hold: &Hold) -> Result<()> {
        let mut tx = self.write(&[]).await?;
        tx.write(vec![WriteStatement::run("DELETE FROM dl_holds WHERE hold_id = ?", vec![hold.id.into()])]).await?;
        tx.commit().await.map_err(CommitFailure::into_error)
    }

    async fn holds(&self, table: TableId) -> Result<Vec<Hold>> {
        let now_ms = self.now_ms().await?;
        of_table(self.db.read().await?.as_mut(), table, now_ms).await
    }

    async fn remove_ended_holds(&self, table: TableId) -> Result<()> {
        let WriteTransaction { mut tx, now_ms, .. } = self.begin_write(&[]).await?;
        tx.write(vec![remove_ended(table, now_ms)]).await?;
        tx.commit().await.map_err(CommitFailure::into_error)
    }
}
