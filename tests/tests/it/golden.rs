//! Tables written by the reference implementation: imported, and each version compared with plain delta-rs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deltalakedb_log::commit::{Base, NewTable};
use deltalakedb_log::verbatim::VerbatimCommit;
use deltalakedb_log::{
    Catalog, CommitId, CommitRequest, FileTxnLogReader, HistoryItem, HistoryRange, SystemClock, TableEntry, TableId,
    TableRef,
};
use deltalakedb_mirror::{Mirror, VerifyOptions};
use deltalakedb_table::{DeltaRs, plain};
use deltalakedb_tests::{
    Database, State, agrees_with_delta_rs, catalog, contents, databases, golden, import, location, our_rows, our_state,
    parquet_rows, same_state, their_state, unpack,
};
use futures::{StreamExt, TryStreamExt};
use uuid::Uuid;

/// The tables that are broken on purpose, with the expected error.
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

/// The only difference: a file added as `/x` and removed as `file:/x` is removed, because the protocol compares URIs.
/// delta-rs compares the paths as written, and keeps it.
pub(crate) const CANONICALIZED: &[&str] = &["canonicalized-paths-normal-b", "canonicalized-paths-special-a"];

/// Tables whose newest rows delta-rs cannot read: because of an unsupported feature, or missing data files.
pub(crate) const UNREADABLE: &[&str] = &[
    "basic-with-vacuum-protocol-check-feature",
    "delete-re-add-same-file-different-transactions",
    "log-replay-special-characters-b",
];

#[tokio::test(flavor = "multi_thread")]
async fn golden_tables_read_as_in_delta_rs() {
    let Some(tables) = golden() else { return };
    assert!(tables.len() >= 64, "there are {} golden tables only", tables.len());
    each(&tables, check).await;
}

/// Checks each table in each database, and returns the results.
async fn each<T: Send + 'static, F>(
    tables: &BTreeMap<String, PathBuf>,
    check: fn(Database, String, PathBuf) -> F,
) -> Vec<(Database, String, T)>
where
    F: Future<Output = T> + Send + 'static,
{
    let everywhere =
        databases("golden").iter().flat_map(|d| tables.iter().map(|(name, at)| (*d, name.clone(), at.clone())));
    let checks = everywhere.map(|(database, name, archive)| async move {
        // A separate task, so that a panic for one table does not stop the others.
        let checked = tokio::spawn(check(database, name.clone(), archive)).await;
        (database, name, checked.ok())
    });
    let done: Vec<_> = futures::stream::iter(checks).buffer_unordered(4).collect().await;
    let failed: Vec<_> = done.iter().filter(|(.., found)| found.is_none()).map(|(d, name, _)| (d, name)).collect();
    assert!(failed.is_empty(), "{} of {} golden tables failed, see above: {failed:?}", failed.len(), done.len());
    done.into_iter().filter_map(|(database, name, found)| Some((database, name, found?))).collect()
}

async fn check(database: Database, name: String, archive: PathBuf) {
    let name = name.as_str();
    let dir = tempfile::tempdir().unwrap();
    let at = unpack(&archive, dir.path());
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

    let runs = Mirror::new(catalog.clone(), Arc::new(SystemClock)).run().try_collect::<Vec<_>>().await.unwrap();
    for (_, published) in runs {
        assert_eq!(published.unwrap().count, 0, "{name}: there is nothing to publish");
    }
    assert!(contents(&at.join("_delta_log")) == log, "{name}: the log stays as it was, byte for byte");

    let before = answers(&catalog, &table).await;
    std::fs::rename(at.join("_delta_log"), dir.path().join("moved")).unwrap();
    let after = answers(&catalog, &table).await;
    assert_eq!(before, after, "{name}: without `_delta_log` the answers are the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn golden_tables_are_copied_commit_by_commit() {
    let Some(tables) = golden() else { return };
    let done = each(&tables, copy_verbatim).await;
    let left: Vec<_> = done.iter().filter_map(|(d, name, why)| Some((d, name, why.as_ref()?))).collect();
    eprintln!("{} of {} golden tables are copied commit by commit", done.len() - left.len(), done.len());
    for (database, name, why) in left {
        eprintln!("not copied: {name} ({database:?}): {why}");
    }
}

/// Commits the versions of a table byte for byte to a table elsewhere. Returns the reason if that is not possible.
async fn copy_verbatim(database: Database, name: String, archive: PathBuf) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let at = unpack(&archive, dir.path());
    let history = async || FileTxnLogReader::open(&location(&at)).await?.items(None).try_collect::<Vec<_>>().await;
    let history = match history().await {
        Ok(history) => history,
        Err(e) => {
            assert!(REFUSED.iter().any(|(refused, _)| *refused == name), "{name}: {e}");
            return Some(e.to_string());
        }
    };
    if matches!(history[0], HistoryItem::Base(_)) {
        return Some("its log begins with a checkpoint".into());
    }
    let catalog = catalog(database, dir.path()).await;
    let (id, copy) = (TableId(Uuid::new_v4()), dir.path().join("copy"));
    for (version, item) in (0..).zip(&history) {
        let HistoryItem::Commit(logged) = item else { panic!("{name}: {item:?}") };
        let base = match version {
            0 => Base::Create(NewTable::new("copy".parse().unwrap(), location(&copy))),
            _ => Base::Exactly(version - 1),
        };
        let commit = VerbatimCommit::parse(logged.body.clone(), logged.time.ms).unwrap();
        let request = CommitRequest::verbatim(id, CommitId::of_name(&logged.origin), base, commit);
        for attempt in ["new", "sent again"] {
            let done = catalog.commit_all(vec![request.clone()]).await.unwrap().committed().unwrap()[0];
            assert_eq!((done.version, done.timestamp), (version, logged.time.ms), "{name}, {attempt}");
        }
    }

    let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
    assert_eq!(mirror.publish(id).await.unwrap().count, history.len() as u64, "{name}");
    let published = contents(&copy.join("_delta_log"));
    for item in &history {
        let HistoryItem::Commit(logged) = item else { continue };
        let body = &published[Path::new(&format!("{:020}.json", logged.version))];
        assert!(*body == logged.body, "{name}: version {} is published byte for byte", logged.version);
    }
    let entry = catalog.find(&TableRef::Id(id)).await.unwrap().unwrap();
    let every = VerifyOptions { every_version: true, ..VerifyOptions::default() };
    let mut findings = mirror.verify(&entry, &DeltaRs, every, &|_, _| {}).await.unwrap();
    if CANONICALIZED.contains(&name.as_str()) {
        findings.retain(|found| found.version < entry.current_version);
    }
    assert_eq!(findings, [], "{name}");

    let imported = import(&catalog, &at, &name).await.unwrap();
    assert_eq!(entry.current_timestamp, imported.current_timestamp, "{name}");
    for version in 0..=entry.current_version {
        let [ours, theirs] = [&entry, &imported].map(|table| our_state(catalog.as_ref(), table, version));
        same_state(&format!("{name} at version {version}"), &ours.await, &theirs.await);
    }
    None
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

/// All readable facts of a table: each version's state, the history, the newest rows.
async fn answers(
    catalog: &Arc<dyn Catalog>,
    table: &TableEntry,
) -> (BTreeMap<u64, State>, String, Result<Vec<String>, String>) {
    let mut states = BTreeMap::new();
    for version in table.base_version..=table.current_version {
        states.insert(version, our_state(catalog.as_ref(), table, version).await);
    }
    let history = catalog.reader(table.id).history(HistoryRange::default()).await.unwrap();
    let rows = our_rows(catalog, table, table.current_version).await;
    // Databases return files in any order, so which of several broken files is named may differ.
    let files = &states[&table.current_version];
    let paths = || files.values().filter_map(|action| action["path"].as_str());
    let rows = rows.map_err(|e| paths().fold(e.to_string(), |text, path| text.replace(&format!("{path:?}"), "a file")));
    (states, format!("{history:#?}"), rows)
}
