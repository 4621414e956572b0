//! Finds the tables below a location.

use std::collections::BTreeSet;

use deltalakedb_log::stores::Stores;
use deltalakedb_log::{Durability, Location, Result, TxnLogError};
use futures::{StreamExt, TryStreamExt};

/// The number of folders that are listed at the same time.
const CONCURRENCY: usize = 16;

/// The tables at these locations: each is the folder of a table, or a folder with tables at any depth. A table is a
/// folder with a `_delta_log`; no table is searched for inside another one, nor in folders whose names begin with `_`
/// or `.`. Links are followed. A location without a table is an error.
pub(crate) async fn tables_below(locations: &[Location], stores: &dyn Stores) -> Result<BTreeSet<Location>> {
    let mut tables = BTreeSet::new();
    for location in locations {
        let mut seen = BTreeSet::from([location.clone()]);
        let mut level = vec![location.clone()];
        let before = tables.len();
        let mut found = false;
        while !level.is_empty() {
            let listed = futures::stream::iter(level).map(|folder| list(folder, stores)).buffer_unordered(CONCURRENCY);
            let listed: Vec<_> = listed.try_collect().await?;
            level = Vec::new();
            for Folder { location, is_table, folders } in listed {
                if is_table {
                    found = true;
                    tables.insert(location);
                } else {
                    level.extend(folders.into_iter().filter(|folder| seen.insert(folder.clone())));
                }
            }
        }
        tracing::debug!(%location, tables = tables.len() - before, "searched for tables");
        if !found {
            return Err(TxnLogError::not_found(format!(
                "there is no table at {location} or below it: no folder there has a _delta_log, check the location"
            )));
        }
    }
    Ok(tables)
}

/// A folder, as it is listed.
struct Folder {
    location: Location,
    is_table: bool,
    /// The folders in it.
    folders: Vec<Location>,
}

async fn list(location: Location, stores: &dyn Stores) -> Result<Folder> {
    let store = stores.open(&location, Durability::Full)?;
    let listed = store.list_with_delimiter(None).await.map_err(|e| {
        let cause = TxnLogError::from(e);
        TxnLogError::new(cause.kind(), format!("{location} cannot be listed")).with_source(cause)
    })?;
    let names: Vec<_> = listed.common_prefixes.iter().filter_map(|prefix| prefix.filename()).collect();
    let is_table = names.contains(&"_delta_log");
    let names = names.into_iter().filter(|name| !name.starts_with(['_', '.']));
    let folders = names.map(|name| location.child(name)).collect::<Result<_>>()?;
    Ok(Folder { location, is_table, folders })
}
