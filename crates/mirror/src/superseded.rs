//! Recognizes that another catalog has taken the place of this one.
//!
//! A catalog that is rebuilt from its mirrors, or restored elsewhere, has the same id and a later epoch. If the database
//! that was thought to be lost comes back, its first look at a `_delta_log` in which its successor has committed shows
//! that: it must neither write there nor import those commits, because both catalogs would continue the same history.

use deltalakedb_log::commit::CommitOrigin;
use deltalakedb_log::epoch::is_later;
use deltalakedb_log::{Action, Catalog, Commit, Location, Result, TableEntry, TableName, TxnLogError, Version};
use object_store::ObjectStore;

use crate::put::{commit_path, read};

/// The error if the commit of that version in `_delta_log` was made by a successor of this catalog.
pub(crate) async fn check_not_superseded(
    catalog: &dyn Catalog,
    entry: &TableEntry,
    store: &dyn ObjectStore,
    version: Version,
) -> Result<()> {
    match read(store, &commit_path(version)).await? {
        Some(body) => check_commit(catalog, (&entry.name, &entry.location), version, &body).await,
        None => Ok(()),
    }
}

/// The error if this commit in the `_delta_log` of the table was made by a successor of this catalog.
pub(crate) async fn check_commit(
    catalog: &dyn Catalog,
    (name, place): (&TableName, &Location),
    version: Version,
    body: &[u8],
) -> Result<()> {
    let (id, epoch) = catalog.identity().await?;
    let actions = Commit::parse_without_files(body, "a commit in _delta_log").unwrap_or_default();
    let origin = actions.iter().find_map(|action| match action {
        Action::CommitInfo(info) => CommitOrigin::of(info),
        _ => None,
    });
    if !origin.is_some_and(|origin| origin.catalog == id && is_later(&origin.epoch, &epoch)) {
        return Ok(());
    }
    let this = catalog.describe();
    Err(TxnLogError::invalid(format!(
        "version {version} in {place}/_delta_log was committed by the successor of {this}, which was rebuilt or restored \
         since: use that catalog; only if it is lost, `dl init --restored` makes this one the newest, and `dl import \
         {name}` imports the version"
    )))
}
