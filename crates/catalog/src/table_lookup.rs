//! Rows of `dl_tables` as tables, and the error if there is none.

use deltalakedb_log::lifecycle::{self, InactiveTable, TableState};
use deltalakedb_log::{Location, MirrorState, Result, TableEntry, TableId, TableName, TableOwner, TxnLogError};

use crate::database::{Database, DatabaseTransaction, Row};

/// Live tables, which are visible to every caller.
pub(crate) const LIVE_TABLES: &str = "SELECT t.table_id, t.namespace, t.name, t.location, t.owner, t.base_version, \
                                      t.current_version, t.current_ts, mirror.published_version, mirror.state, \
                                      mirror.diverged_version, mirror.diverged_what FROM dl_tables t \
                                      JOIN dl_mirrors mirror ON mirror.table_id = t.table_id WHERE t.state = 'live'";

/// A live table, as a transaction sees it.
pub(crate) async fn find_in(tx: &mut dyn DatabaseTransaction, table: TableId) -> Result<Option<TableEntry>> {
    let rows = tx.query(&format!("{LIVE_TABLES} AND t.table_id = ?"), vec![table.0.into()]).await?;
    rows.into_iter().next().map(entry).transpose()
}

pub(crate) fn entry(mut row: Row) -> Result<TableEntry> {
    next_entry(&mut row)
}

/// A live table, from the next columns of a row.
pub(crate) fn next_entry(row: &mut Row) -> Result<TableEntry> {
    Ok(TableEntry {
        id: TableId(row.uuid()?),
        name: TableName { namespace: row.text()?, name: row.text()? },
        location: Location::stored(&row.text()?)?,
        owner: owner(row)?,
        base_version: row.version()?,
        current_version: row.version()?,
        current_timestamp: row.int()?,
        published_version: row.opt_version()?,
        mirror: mirror_state(row)?,
    })
}

/// From the column `owner`.
pub(crate) fn owner(row: &mut Row) -> Result<Option<TableOwner>> {
    row.opt_text()?.as_deref().map(str::parse).transpose()
}

/// From the columns `state, diverged_version, diverged_what` of `dl_mirrors`.
pub(crate) fn mirror_state(row: &mut Row) -> Result<MirrorState> {
    let (state, version, what) = (row.text()?, row.opt_version()?, row.opt_text()?);
    Ok(match (state.as_str(), version) {
        ("diverged", Some(version)) => MirrorState::Diverged { version, what: what.unwrap_or_default() },
        _ => MirrorState::Following,
    })
}

/// Tables in any state, with a condition.
pub(crate) const ALL_TABLES: &str = "SELECT table_id, namespace, name, location, owner, state, dropped_at, \
                                     retained_until, base_version, current_version FROM dl_tables WHERE";

pub(crate) fn any_table(mut row: Row) -> Result<InactiveTable> {
    Ok(InactiveTable {
        id: TableId(row.uuid()?),
        name: TableName { namespace: row.text()?, name: row.text()? },
        location: Location::stored(&row.text()?)?,
        owner: owner(&mut row)?,
        state: TableState::parse(&row.text()?)?,
        dropped_at: row.opt_int()?,
        retained_until: row.opt_int()?,
        base_version: row.opt_version()?,
        current_version: row.opt_version()?,
    })
}

/// A table in any state.
pub(crate) async fn find_any(tx: &mut dyn DatabaseTransaction, table: TableId) -> Result<Option<InactiveTable>> {
    let rows = tx.query(&format!("{ALL_TABLES} table_id = ?"), vec![table.0.into()]).await?;
    rows.into_iter().next().map(any_table).transpose()
}

/// The error when a table is looked up by an id that no live table has.
pub(crate) async fn no_table(db: &dyn Database, table: TableId) -> TxnLogError {
    match db.query(&format!("{ALL_TABLES} table_id = ?"), vec![table.0.into()]).await {
        Ok(rows) => no_table_of(db, table, rows),
        Err(e) => e,
    }
}

/// The same error, looked up in a transaction, which may be the only connection of its pool.
pub(crate) async fn no_table_in(tx: &mut dyn DatabaseTransaction, db: &dyn Database, table: TableId) -> TxnLogError {
    match tx.query(&format!("{ALL_TABLES} table_id = ?"), vec![table.0.into()]).await {
        Ok(rows) => no_table_of(db, table, rows),
        Err(e) => e,
    }
}

fn no_table_of(db: &dyn Database, table: TableId, rows: Vec<Row>) -> TxnLogError {
    match rows.into_iter().next().map(any_table).transpose() {
        Ok(found) => lifecycle::no_table(table, &db.describe(), found.as_ref()),
        Err(e) => e,
    }
}
