//! Lookup of tables, heads and commits, each with one statement.

use std::collections::HashMap;
use std::time::Instant;

use deltalakedb_log::commit::Committed;
use deltalakedb_log::{CommitId, Head, Point, Result, TableEntry, TableId, TableRef, TxnLogError, metric};

use crate::codec::{self, METADATA_COLUMNS, PROTOCOL_COLUMNS, qualified};
use crate::database::{Database, Row, Value, placeholders};
use crate::table_lookup::{LIVE_TABLES, entry, no_table};

/// The condition for the row of a table.
fn condition(table: &TableRef) -> (&'static str, Value) {
    match table {
        TableRef::Id(id) => ("table_id = ?", id.0.into()),
        TableRef::Name(name) => ("name_key = ?", Value::from(name.to_string())),
        TableRef::Location(location) => ("location_key = ?", Value::from(location.key().as_str())),
    }
}

pub(crate) async fn find(db: &dyn Database, table: &TableRef) -> Result<Option<TableEntry>> {
    let (condition, key) = condition(table);
    let rows = db.query(&format!("{LIVE_TABLES} AND t.{condition}"), vec![key]).await?;
    let found = rows.into_iter().next().map(entry).transpose()?;
    Ok(found.filter(|entry| is_meant(table, entry)))
}

/// Whether this is the requested table: a key does not distinguish Azure accounts.
fn is_meant(table: &TableRef, entry: &TableEntry) -> bool {
    match table {
        TableRef::Location(location) => entry.location.is_same_location(location),
        TableRef::Id(_) | TableRef::Name(_) => true,
    }
}

pub(crate) async fn point(db: &dyn Database) -> Result<Point> {
    let row = db.query(&format!("SELECT {}", db.point()), vec![]).await?.pop();
    let missing = || TxnLogError::corrupt(format!("{} returned no point in its order of commits", db.describe()));
    Ok(Point(row.ok_or_else(missing)?.text()?))
}

pub(crate) async fn find_at(db: &dyn Database, table: &TableRef, point: &Point) -> Result<Option<TableEntry>> {
    let (condition, key) = condition(table);
    // From the newest version back to the newest at the point: this reads one row for each later version.
    let sql = format!(
        "SELECT t.table_id, t.namespace, t.name, t.location, t.owner, t.base_version, v.version, v.committed_at, \
         mirror.published_version, mirror.state, mirror.diverged_version, mirror.diverged_what FROM dl_tables t \
         JOIN dl_mirrors mirror ON mirror.table_id = t.table_id \
         JOIN dl_table_versions v ON v.table_id = t.table_id AND v.version = (SELECT max(o.version) \
         FROM dl_table_versions o WHERE o.table_id = t.table_id AND o.version <= t.current_version AND {}) \
         WHERE t.state = 'live' AND t.{condition}",
        db.is_before("o")
    );
    let rows = db.query(&sql, vec![point.0.as_str().into(), key]).await?;
    let entry = rows.into_iter().next_back().map(entry).transpose()?;
    Ok(entry.filter(|entry| is_meant(table, entry)))
}

/// The heads of tables, all from one statement, in the order of the request.
pub(crate) async fn heads(db: &dyn Database, tables: &[TableId]) -> Result<Vec<Head>> {
    let sql = format!(
        "SELECT t.table_id, t.current_version, t.current_ts, {}, {} FROM dl_tables t \
         JOIN dl_protocol_updates p ON p.table_id = t.table_id AND p.version = t.protocol_version \
         JOIN dl_metadata_updates m ON m.table_id = t.table_id AND m.version = t.metadata_version \
         WHERE t.state = 'live' AND t.table_id IN ({})",
        qualified("p", &PROTOCOL_COLUMNS),
        qualified("m", &METADATA_COLUMNS),
        placeholders(tables.len())
    );
    let began = Instant::now();
    let rows = db.query(&sql, tables.iter().map(|t| t.0.into()).collect()).await?;
    metric::METADATA_OPEN_LATENCY.record(began.elapsed());
    let mut heads = HashMap::new();
    for mut row in rows {
        heads.insert(TableId(row.uuid()?), head(&mut row)?);
    }
    let mut found = Vec::with_capacity(tables.len());
    for id in tables {
        match heads.get(id) {
            Some(head) => found.push(head.clone()),
            None => return Err(no_table(db, *id).await),
        }
    }
    Ok(found)
}

/// From version, time, protocol and metadata columns.
pub(crate) fn head(row: &mut Row) -> Result<Head> {
    Ok(Head {
        version: row.version()?,
        timestamp: row.int()?,
        protocol: codec::read_protocol(row)?,
        metadata: codec::read_metadata(row)?,
    })
}

pub(crate) async fn find_commit(db: &dyn Database, table: TableId, id: CommitId) -> Result<Option<Committed>> {
    let sql = "SELECT version, committed_at FROM dl_commit_ids WHERE table_id = ? AND commit_id = ?";
    let mut rows = db.query(sql, vec![table.0.into(), id.0.as_slice().into()]).await?;
    let read = |mut r: Row| Ok(Committed { table, version: r.version()?, timestamp: r.int()?, leap: None });
    rows.pop().map(read).transpose()
}
