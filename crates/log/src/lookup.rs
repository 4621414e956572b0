//! Lookup of a table, with suggestions when it does not exist, and the check whether a place is free.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::Catalog;
use crate::entry::{TableEntry, TableRef};
use crate::error::{ErrorKind, Result, TxnLogError};
use crate::file::FileTxnLogReader;
use crate::ids::{TableId, TableName};
use crate::lifecycle::{InactiveTable, TableState, no_table};
use crate::location::Location;
use crate::reader::TxnLogReader;
use crate::stores::Stores;

/// How many names before and after a missing one are considered as suggestions.
const BESIDE: usize = 50;

/// The requested table, or an error that says what happened to it, or which names are similar.
pub async fn require(catalog: &dyn Catalog, table: &TableRef) -> Result<TableEntry> {
    if let Some(entry) = catalog.find(table).await? {
        return Ok(entry);
    }
    let place = catalog.describe();
    match table {
        TableRef::Id(id) => Err(no_table(*id, &place, catalog.inactive_table(*id).await?.as_ref())),
        TableRef::Location(l) => Err(TxnLogError::not_found(format!(
            "{place} has no table at {l}: import it with `dl import {l} --as NAME`"
        ))),
        TableRef::Name(name) => {
            let inactive = catalog.inactive_named(name).await?;
            if let Some(table) = inactive.into_iter().find(|table| table.state != TableState::Deleted) {
                return Err(table.is_not_live());
            }
            let names = catalog.names_beside(name, BESIDE).await?;
            let names: Vec<_> = names.iter().map(TableName::to_string).collect();
            let near = near_names(&name.to_string(), &names);
            let hint = match (near.as_slice(), names.is_empty()) {
                ([], true) => "it has no tables yet, add one with `dl import`".to_string(),
                ([], false) => "`dl tables` lists the tables".to_string(),
                (near, _) => format!("did you mean {}?", near.join(" or ")),
            };
            Err(TxnLogError::not_found(format!("there is no table {name} in {place}: {hint}")))
        }
    }
}

/// The table of that name that was dropped last and can be undropped; if there is none, one that cannot be, so that
/// [`TableLifecycle::undrop_table`](crate::TableLifecycle::undrop_table) rejects it with the reason.
pub async fn find_dropped(catalog: &dyn Catalog, name: &TableName) -> Result<InactiveTable> {
    let mut tables = catalog.inactive_named(name).await?;
    let found = tables.iter().position(|table| table.state == TableState::Dropped).unwrap_or(0);
    if found < tables.len() {
        return Ok(tables.swap_remove(found));
    }
    Err(TxnLogError::not_found(match catalog.find(&TableRef::Name(name.clone())).await? {
        Some(_) => format!("the table {name} is not dropped"),
        None => format!("no table {name} was dropped: `dl tables --dropped` lists the dropped tables"),
    }))
}

/// An error if a new table at `location` would be inside a table of the catalog, or contain one: vacuum of the outer
/// table would remove the files of the inner one. Links are followed in `location`, not in the places of the other
/// tables, which were resolved when those were registered.
pub async fn check_no_overlap(catalog: &dyn Catalog, location: &Location) -> Result<()> {
    match catalog.table_around(location).await? {
        Some(table) => location.check_no_overlap(&table.name, &table.location),
        None => Ok(()),
    }
}

/// An error if `location` is, or is inside, the folder of a table of the catalog that was moved and left a link at its
/// registered place.
pub async fn check_not_linked(catalog: &dyn Catalog, location: &Location, stores: &dyn Stores) -> Result<()> {
    for place in log_locations(location) {
        if let Some(TableEntry { name, location: registered, .. }) = moved_to(catalog, &place, stores).await? {
            let is = if place == *location { "is the location of" } else { "is inside" };
            return Err(TxnLogError::invalid(format!(
                "{location} {is} the table {name}, which is registered at {registered}: choose another location"
            )));
        }
    }
    Ok(())
}

/// The live tables in whose folders a table has files: those that the [catalog](crate::TableReferences::source_tables)
/// finds by their places, and those that were moved, left a link at their registered place, and are named by their
/// current place.
pub async fn source_tables(
    catalog: &dyn Catalog,
    table: TableId,
    stores: &dyn Stores,
) -> Result<BTreeMap<TableId, TableName>> {
    let known = catalog.source_tables(table).await?;
    let mut places = BTreeSet::new();
    for folder in catalog.named_folders(table).await?.iter().filter(|folder| folder.is_local()) {
        places.extend(log_locations(&Location::stored(folder.as_str())?));
    }
    for source in &known {
        places.remove(&source.location);
    }
    let mut sources: BTreeMap<_, _> = known.into_iter().map(|source| (source.id, source.name)).collect();
    for place in places {
        sources.extend(moved_to(catalog, &place, stores).await?.map(|entry| (entry.id, entry.name)));
    }
    Ok(sources)
}

/// The local folder and those of its parents that have a `_delta_log`.
fn log_locations(location: &Location) -> Vec<Location> {
    let Some(path) = location.local_path() else { return Vec::new() };
    let with_log = path.ancestors().filter(|folder| folder.join("_delta_log").is_dir());
    with_log.filter_map(Location::of_folder).collect()
}

/// The table that was moved to a place with a `_delta_log`. Copies of a table share the id in its metadata, so the
/// candidates are found by that id, and their links are followed.
async fn moved_to(catalog: &dyn Catalog, place: &Location, stores: &dyn Stores) -> Result<Option<TableEntry>> {
    let id = match FileTxnLogReader::open_in(place, stores).await {
        Ok(log) => log.head().await?.metadata.id,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let copies = catalog.tables_with_metadata(&id).await?;
    Ok(copies.into_iter().find(|table| table.location != *place && table.location.resolved() == *place))
}

/// The names within a few letters of `wanted`, at most three, the nearest first. What both have before their first dot
/// does not count as similarity.
pub fn near_names(wanted: &str, names: &[String]) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let distance = |name: &String| {
        let other = name.to_lowercase();
        let (a, b) = match (wanted.split_once('.'), other.split_once('.')) {
            (Some((x, a)), Some((y, b))) if x == y => (a, b),
            _ => (wanted.as_str(), other.as_str()),
        };
        let distance = strsim::levenshtein(a, b);
        (distance < b.len() && distance <= 1 + b.len() / 4).then(|| (distance, name.clone()))
    };
    let mut near: Vec<_> = names.iter().filter_map(distance).collect();
    near.sort();
    near.into_iter().take(3).map(|(_, n)| n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_offered_nearest_first() {
        let names: Vec<String> = ["default.orders", "default.order", "sales.customers"].map(String::from).into();
        assert_eq!(near_names("default.ordrs", &names), ["default.orders", "default.order"]);
        assert!(near_names("nothing.alike", &names).is_empty());
        assert!(near_names("default.newt", &names).is_empty());
        assert_eq!(near_names("sale.customers", &names), ["sales.customers"]);
    }
}
