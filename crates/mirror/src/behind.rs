//! Checks whether a catalog is behind the `_delta_log` of a table, and whether that log still exists.
//!
//! A catalog that was restored from a backup, or whose server was replaced by one that lacks the last commits, cannot
//! detect that by itself. `_delta_log` shows it: it has versions after the catalog's newest. A commit would then start
//! a second history, and a vacuum would remove files of the first.
//!
//! If versions were published and none of them exists, another folder is in the table's place: that of a disk that is
//! not mounted, for example. Data files written there would be invisible to readers of the right folder.

use deltalakedb_log::stores::Stores;
use deltalakedb_log::{
    Catalog, Durability, ErrorKind, Result, TableEntry, TableId, TableRef, TxnLogError, Version, require,
};
use object_store::ObjectStore;

use crate::checkpoint::{hint, hinted};
use crate::later_commit::LaterCommit;
use crate::put::{commit_path, describe, is_torn, read};
use crate::repair::{Listed, nothing_left};
use crate::superseded::check_not_superseded;

/// Rejects a table whose `_delta_log` has versions that the catalog lacks, or other commits than the catalog's, or none
/// of the published versions: the error says which, and what to do.
pub async fn check_not_behind(catalog: &dyn Catalog, stores: &dyn Stores, table: TableId) -> Result<()> {
    loop {
        let entry = require(catalog, &TableRef::Id(table)).await?;
        let store = stores.open(&entry.location, Durability::Full)?;
        let store = store.as_ref();
        let hint = async { Ok(hint(store).await?.and_then(|hint| hinted(&hint))) };
        let (next, led_to, state) = futures::try_join!(
            LaterCommit::find(catalog, &entry, store),
            hint,
            published_state(catalog, &entry, store)
        )?;
        if let (None, None, PublishedState::Gone(last)) = (&next, led_to, &state)
            && Listed::read(store).await?.is_empty()
        {
            return Err(nothing_left(&entry, *last, ErrorKind::Invalid));
        }
        // The commits in between may have been removed, because they are older than a checkpoint.
        let checkpoint = led_to.filter(|version| *version > entry.current_version);
        let beyond = match (next, checkpoint) {
            (Some(commit), _) => Some(Beyond::commit(&entry, commit)),
            (None, checkpoint) => checkpoint.map(|version| Beyond::checkpoint(&entry, version)),
        };
        let other = match state {
            PublishedState::Other(version, what) => Some((version, what)),
            PublishedState::Gone(_) | PublishedState::Same => None,
        };
        if beyond.is_none() && other.is_none() {
            return Ok(());
        }
        // A version that another process committed and published in the meantime is not another history.
        let now = require(catalog, &TableRef::Id(table)).await?;
        if (now.current_version, now.published_version) != (entry.current_version, entry.published_version) {
            continue;
        }
        let versions = [other.as_ref().map(|(version, _)| *version), beyond.as_ref().map(|beyond| beyond.version)];
        for version in versions.into_iter().flatten() {
            check_not_superseded(catalog, &entry, store, version).await?;
        }
        let (name, place) = (&entry.name, &entry.location);
        return Err(TxnLogError::invalid(match (beyond, other) {
            (_, Some((version, what))) => format!(
                "version {version} in {place}/_delta_log differs from that of {name} in the catalog ({what}): \
                 `dl verify {name}` shows the difference"
            ),
            (Some(Beyond { version, what, remedy }), None) => format!(
                "the catalog is at version {} of {name} and {place}/_delta_log has version {version} ({what}): {remedy}",
                entry.current_version
            ),
            (None, None) => return Ok(()),
        }));
    }
}

/// A version in `_delta_log` after the catalog's newest.
struct Beyond {
    version: Version,
    /// A description.
    what: String,
    /// What to do.
    remedy: String,
}

impl Beyond {
    fn commit(entry: &TableEntry, commit: LaterCommit) -> Self {
        let remedy = if commit.can_be_imported(entry) {
            import(entry)
        } else {
            let name = &entry.name;
            format!("only its owner commits to {name}, and `dl mirror repair {name} --ours` moves it out of _delta_log")
        };
        let LaterCommit { version, mut what, is_own } = commit;
        if is_own {
            what.push_str(", committed in this catalog before it was restored");
        }
        Self { version, what, remedy }
    }

    fn checkpoint(entry: &TableEntry, version: Version) -> Self {
        let remedy = match &entry.owner {
            None => import(entry),
            Some(_) => format!("{}, if this catalog made it before it was restored", import(entry)),
        };
        Self { version, what: "a checkpoint".into(), remedy }
    }
}

fn import(entry: &TableEntry) -> String {
    format!("run `dl import {}` to import it", entry.name)
}

/// The content of `_delta_log` at the catalog's newest published version and the next.
enum PublishedState {
    /// The published version is the catalog's, and the next does not exist.
    Same,
    /// Another commit: its version, and a description.
    Other(Version, String),
    /// The published version, given here, is missing.
    Gone(Version),
}

/// Compares the versions with the catalog's. A torn file is left from an interrupted attempt.
async fn published_state(catalog: &dyn Catalog, entry: &TableEntry, store: &dyn ObjectStore) -> Result<PublishedState> {
    let next = entry.published_version.map_or(entry.base_version, |version| version + 1);
    let next = Some(next).filter(|version| *version <= entry.current_version);
    let mut state = PublishedState::Same;
    for version in entry.published_version.into_iter().chain(next) {
        let path = commit_path(version);
        let reader = catalog.reader(entry.id);
        let (there, expected) = futures::try_join!(read(store, &path), reader.commit_bytes(version))?;
        match (there, expected) {
            (Some(there), Some(expected)) if there != expected && !is_torn(&there, &expected) => {
                return Ok(PublishedState::Other(version, describe(&path, &there)));
            }
            (None, _) if entry.published_version == Some(version) => state = PublishedState::Gone(version),
            _ => {}
        }
    }
    Ok(state)
}
