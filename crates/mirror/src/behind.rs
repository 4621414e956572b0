//! Whether a catalog is behind the `_delta_log` of a table.
//!
//! A catalog that was restored from a backup, or whose server was replaced by one that lacks the last commits, does not
//! know it. `_delta_log` does: it has versions after the catalog's newest. Who commits then, or vacuums, makes a second
//! history or removes files of the first.

use deltalakedb_log::catalog::require;
use deltalakedb_log::stores::Stores;
use deltalakedb_log::{
    Catalog, Commit, Durability, Object, Result, TableEntry, TableId, TableRef, TxnLogError, Version,
};
use object_store::ObjectStore;

use crate::checkpoint::{hint, hinted};
use crate::put::{commit_path, describe, read};

/// Refuses a table of which `_delta_log` has versions that the catalog lacks, or others than the catalog's: the error
/// says which, and what to do.
pub async fn check_not_behind(catalog: &dyn Catalog, stores: &dyn Stores, table: TableId) -> Result<()> {
    loop {
        let entry = require(catalog, &TableRef::Id(table)).await?;
        let store = stores.open(&entry.location, Durability::Full)?;
        let store = store.as_ref();
        let (beyond, other) = futures::try_join!(beyond(catalog, &entry, store), other(catalog, &entry, store))?;
        if beyond.is_none() && other.is_none() {
            return Ok(());
        }
        // What another process committed and published meanwhile is no other history.
        let now = require(catalog, &TableRef::Id(table)).await?;
        if (now.current_version, now.published_version) != (entry.current_version, entry.published_version) {
            continue;
        }
        let (name, place) = (&entry.name, &entry.location);
        return Err(TxnLogError::invalid(match (beyond, other) {
            (_, Some((version, what))) => format!(
                "version {version} in {place}/_delta_log is not that of {name} in the catalog ({what}): \
                 `dl verify {name}` shows the difference"
            ),
            (Some((version, what)), None) => format!(
                "the catalog is at version {} of {name} and {place}/_delta_log has version {version} ({what}): run \
                 `dl import {name}`, which takes it in",
                entry.current_version
            ),
            (None, None) => return Ok(()),
        }));
    }
}

/// A version in `_delta_log` after the catalog's newest, and what it is.
async fn beyond(
    catalog: &dyn Catalog,
    entry: &TableEntry,
    store: &dyn ObjectStore,
) -> Result<Option<(Version, String)>> {
    let next = entry.current_version + 1;
    let path = commit_path(next);
    let (there, hint) = futures::try_join!(read(store, &path), hint(store))?;
    if let Some(there) = there {
        let what = describe(&path, &there);
        let own = Commit::parse(there, "a commit in _delta_log").ok().and_then(|commit| {
            commit.info()?.0.get::<Object>(deltalakedb_log::commit::OUR_KEY)?.get::<String>("catalogId")
        });
        return Ok(Some(match own == Some(catalog.identity().await?.0.to_string()) {
            true => (next, format!("{what}, committed in this catalog before it was restored")),
            false => (next, what),
        }));
    }
    // The commits in between may have been removed, as those are that are older than a checkpoint.
    let led_to = hint.and_then(|hint| hinted(&hint)).filter(|version| *version > entry.current_version);
    Ok(led_to.map(|version| (version, "a checkpoint".into())))
}

/// A version that the catalog has, and of which something else stands in `_delta_log`: the newest published one, or the
/// next. The beginning of what the catalog has is what a try that was cut short left.
async fn other(
    catalog: &dyn Catalog,
    entry: &TableEntry,
    store: &dyn ObjectStore,
) -> Result<Option<(Version, String)>> {
    let next = entry.published_version.map_or(entry.base_version, |version| version + 1);
    let next = Some(next).filter(|version| *version <= entry.current_version);
    for version in entry.published_version.into_iter().chain(next) {
        let path = commit_path(version);
        let reader = catalog.reader(entry.id);
        let (there, ours) = futures::try_join!(read(store, &path), reader.commit_bytes(version))?;
        if let (Some(there), Some(ours)) = (there, ours)
            && !ours.starts_with(&there)
        {
            return Ok(Some((version, describe(&path, &there))));
        }
    }
    Ok(None)
}
