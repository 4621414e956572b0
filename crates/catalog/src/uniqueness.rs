//! Checks whether a name and a place are free for a table.

use deltalakedb_log::commit::NewTable;
use deltalakedb_log::entry::name_taken;
use deltalakedb_log::{ErrorKind, InactiveTable, Location, Result, TableName, TxnLogError};

use crate::database::{DatabaseTransaction, Value, placeholders};
use crate::table_lookup::{ALL_TABLES, any_table};

/// Rejects a name or a place that is taken, and a place that is inside the folder of a table or contains one. Until the
/// transaction ends, no other one creates a table there, inside it or around it.
pub(crate) async fn check_free(tx: &mut dyn DatabaseTransaction, new: &NewTable, own: Option<TableName>) -> Result<()> {
    tx.lock_location(&new.location.key()).await?;
    let params = vec![new.name.to_string().into(), new.location.key().as_str().into()];
    for row in tx.query(&format!("{ALL_TABLES} name_key = ? OR location_key = ?"), params).await? {
        if let Some(taken) = any_table(row)?.in_the_way_of(new) {
            return Err(taken);
        }
    }
    if let Some(table) = table_around(tx, &new.location).await? {
        new.location.check_no_overlap(&table.name, &table.location)?;
    }
    let same_id =
        |name| TxnLogError::new(ErrorKind::AlreadyExists, format!("there is a table with that id already: {name}"));
    own.map_or(Ok(()), |name| Err(same_id(name)))
}

/// Rejects a name that a table has.
pub(crate) async fn check_name_free(tx: &mut dyn DatabaseTransaction, name: &TableName) -> Result<()> {
    let sql = "SELECT location FROM dl_tables WHERE name_key = ?";
    match tx.query(sql, vec![name.to_string().into()]).await?.pop() {
        Some(mut row) => Err(name_taken(name, &Location::stored(&row.text()?)?)),
        None => Ok(()),
    }
}

/// A table inside a place, or around it.
pub(crate) async fn table_around(
    tx: &mut dyn DatabaseTransaction,
    location: &Location,
) -> Result<Option<InactiveTable>> {
    let key = location.key();
    let place = key.as_str();
    let above: Vec<_> = key.ancestors().filter(|above| *above != place).map(Value::from).collect();
    let inside = ("location_key > ? AND location_key < ?".into(), vec![place.into(), key.end().into()]);
    let around = (format!("location_key IN ({})", placeholders(above.len())), above);
    for (condition, params) in [around, inside] {
        if params.is_empty() {
            continue;
        }
        let rows = tx.query(&format!("{ALL_TABLES} {condition} LIMIT 1"), params).await?;
        if let Some(row) = rows.into_iter().next() {
            return any_table(row).map(Some);
        }
    }
    Ok(None)
}
