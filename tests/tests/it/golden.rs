//! Tables that the reference implementation wrote: imported, every version of theirs says what plain delta-rs says.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use deltalakedb_log::catalog::HistoryRange;
use deltalakedb_log::{Catalog, SystemClock, TableEntry};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::plain;
use deltalakedb_tests::{
    Database, State, agrees_with_delta_rs, catalog, contents, databases, golden, import, location, our_rows, our_state,
    parquet_rows, same_state, their_state, unpack,
};
use futures::StreamExt;

/// The tables that are broken on purpose, and what the error must name.
pub(crate) const REFUSED: &[(&str, &str)] = &[
    (
        "deltalog-commit-info",
        "00000000000000000000.json, line 1: action \"metaData\": field \"schemaString\" is missing",
    ),
    ("deltalog-state-reconstruction-from-checkpoint-missing-metadata", "has no metadata up to version 10"),
    ("deltalog-state-reconstruction-without-protocol", "has no protocol up to version 0"),
    ("no-delta-log-folder", "is not a Delta table"),
    (
        "update-deleted-directory",
        "00000000000000000000.json, line 3: action \"metaData\": field \"schemaString\" is missing",
    ),
    ("versions-not-contiguous", "00000000000000000001.json is missing"),
];

/// The one difference: a file added as `/x` and removed as `file:/x` is gone, for the protocol compares URIs. delta-rs
/// compares the paths as they are written, and keeps it.
const CANONICALIZED: &[&str] = &["canonicalized-paths-normal-b", "canonicalized-paths-special-a"];

/// Tables whose newest rows delta-rs cannot read: a feature it does not know, and data files that are not there.
const UNREADABLE: &[&str] = &[
    "basic-with-vacuum-protocol-check-feature",
    "delete-re-add-same-file-different-transactions",
    "log-replay-special-characters-b",
];

#[tokio::test(flavor = "multi_thread")]
async fn golden_tables_are_here_what_they_are_in_delta_rs() {
    let Some(tables) = golden() else { return };
    assert!(tables.len() >= 64, "there are {} golden tables only", tables.len());
    let everywhere =
        databases("golden").iter().flat_map(|d| tables.iter().map(|(name, at)| (*d, name.clone(), at.clone())));
    let checks = everywhere.map(|(database, name, archive)| async move {
        // A task of its own, so that one table's panic leaves the others their say.
        let check = tokio::spawn({
            let name = name.clone();
            async move { check(database, &name, &archive).await }
        });
        ((database, name), check.await.is_ok())
    });
    let done: Vec<_> = futures::stream::iter(checks).buffer_unordered(4).collect().await;
    let failed: Vec<_> = done.iter().filter(|(_, good)| !good).map(|(name, _)| name).collect();
    assert!(failed.is_empty(), "{} of {} golden tables failed, see above: {failed:?}", failed.len(), done.len());
}

async fn check(database: Database, name: &str, archive: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let at = unpack(archive, dir.path());
    let log = contents(&at.join("_delta_log"));
    let catalog = catalog(database, dir.path()).await;
    let imported = import(&catalog, &at, name).await;

    if let Some((_, cause)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        let error = imported.unwrap_err().to_string();
        assert!(error.contains(cause), "{name}: {error:?} does not name {cause:?}");
        assert!(catalog.tables().await.unwrap().is_empty(), "{name}: what was refused is not in the catalog");
        assert!(
            plain::replay(&location(&at), None).await.is_err(),
            "{name}: delta-rs opens what is refused here: {error}"
        );
        return;
    }
    let table = imported.unwrap_or_else(|e| panic!("{name} cannot be imported: {e}"));

    if CANONICALIZED.contains(&name) {
        check_canonicalized(&catalog, &table).await;
    } else {
        let read = agrees_with_delta_rs(&catalog, &table).await;
        let unread = UNREADABLE.contains(&name);
        assert_eq!(read.contains(&table.current_version), !unread, "{name}: delta-rs reads the newest rows");
    }
    if name == "basic-with-vacuum-protocol-check-feature" {
        let rows = our_rows(&catalog, &table, table.current_version).await.unwrap();
        assert_eq!(
            rows,
            parquet_rows(&dir.path().join(name).join("expected")),
            "{name}: what delta-rs refuses is read here"
        );
    }

    let runs = Mirror::new(catalog.clone(), Arc::new(SystemClock)).run().await.unwrap();
    for (_, published) in runs {
        assert_eq!(published.unwrap().count, 0, "{name}: there is nothing to publish");
    }
    assert!(contents(&at.join("_delta_log")) == log, "{name}: the log stays as it was, byte for byte");

    let before = answers(&catalog, &table).await;
    std::fs::rename(at.join("_delta_log"), dir.path().join("moved")).unwrap();
    let after = answers(&catalog, &table).await;
    assert_eq!(before, after, "{name}: without `_delta_log` the answers are the same");
}

async fn check_canonicalized(catalog: &Arc<dyn Catalog>, table: &TableEntry) {
    let is_file = |fact: &str| fact.starts_with("file ");
    for version in table.base_version..=table.current_version {
        let ours = our_state(catalog.as_ref(), table, version).await;
        let mut theirs = their_state(&table.location, version).await.unwrap();
        if version == table.current_version {
            assert_eq!(theirs.keys().filter(|f| is_file(f)).count(), 1, "delta-rs keeps the file");
            assert_eq!(ours.keys().filter(|f| is_file(f)).count(), 0, "the file was removed under its other name");
            theirs.retain(|fact, _| !is_file(fact));
        }
        same_state(&format!("{} at version {version}", table.name), &ours, &theirs);
    }
}

/// All that can be asked of a table: each version's state, the history, the newest rows.
async fn answers(
    catalog: &Arc<dyn Catalog>,
    table: &TableEntry,
) -> (BTreeMap<u64, State>, String, Result<Vec<String>, String>) {
    let mut states = BTreeMap::new();
    for version in table.base_version..=table.current_version {
        states.insert(version, our_state(catalog.as_ref(), table, version).await);
    }
    let history = catalog.reader(table.id).history(HistoryRange::default()).await.unwrap();
    let rows = our_rows(catalog, table, table.current_version).await.map_err(|e| e.to_string());
    (states, format!("{history:#?}"), rows)
}
