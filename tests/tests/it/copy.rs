//! A catalog copied from each database to each other one: interrupted, continued, updated, and rejected if the copy has
//! commits of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use deltalakedb_catalog::{CatalogUri, ConnectOptions, SqlCatalog, copy_catalog};
use deltalakedb_log::action::{Action, Add, Version};
use deltalakedb_log::commit::{Base, NewTable};
use deltalakedb_log::conformance::actions::{file, metadata, protocol, remove, txn};
use deltalakedb_log::namespaces::all_namespaces;
use deltalakedb_log::{
    Catalog, CatalogAdministration, CatalogNamespaces, CommitId, CommitRequest, Committer, DropMode, DropTable,
    ErrorKind, HistoryRange, MirrorProgress, Retention, TableId, TableLifecycle, TableListing, TableRef,
    TableReferences, VersionHolds,
};
use deltalakedb_tests::{Database, State, databases, location, our_state};
use uuid::Uuid;

const COMMITS: u64 = 2_500;
const ELSEWHERE: &str = "/elsewhere/";

async fn open(database: Database, dir: &Path, name: &str) -> SqlCatalog {
    let uri = CatalogUri::parse(&database.uri(dir, name)).unwrap();
    SqlCatalog::connect(&uri, ConnectOptions::default()).await.unwrap()
}

/// A table in which every commit adds a file and every third removes an older one.
struct Growing {
    id: TableId,
    files: Vec<Add>,
    ids: Vec<(CommitId, Version)>,
}

impl Growing {
    async fn create(catalog: &SqlCatalog, dir: &Path, name: &str) -> Self {
        let id = TableId(Uuid::new_v4());
        let new = NewTable::new(name.parse().unwrap(), location(&dir.join(name)));
        let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
        let request = CommitRequest::new(id, Uuid::new_v4(), Base::Create(new), actions);
        catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        Self { id, files: Vec::new(), ids: Vec::new() }
    }

    async fn grow(&mut self, catalog: &SqlCatalog, commits: u64) {
        for _ in 0..commits {
            let version = self.ids.len() as Version;
            // The first one is in another folder.
            let folder = if version == 0 { ELSEWHERE } else { "" };
            let added = file(&format!("{folder}f{version}"), version as i64, version as i64 + 9);
            let mut actions = vec![Action::add(added.clone()), txn("app", version as i64)];
            if version % 3 == 2 {
                actions.push(remove(&self.files.swap_remove(version as usize % self.files.len())));
            }
            self.files.push(added);
            let request = CommitRequest::new(self.id, Uuid::new_v4(), Base::Exactly(version), actions);
            let id = request.commit_id;
            let committed = catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
            self.ids.push((id, committed[0].version));
        }
    }
}

/// A table in a catalog: its entry, some versions, and the whole history with its bytes.
async fn answers(catalog: &SqlCatalog, table: TableId) -> (String, BTreeMap<Version, State>, String) {
    let entry = catalog.find(&TableRef::Id(table)).await.unwrap().unwrap();
    let mut states = BTreeMap::new();
    for version in [0, entry.current_version / 2, entry.current_version] {
        states.insert(version, our_state(catalog, &entry, version).await);
    }
    let reader = catalog.reader(table);
    let history = reader.history(HistoryRange::default()).await.unwrap();
    let bytes = reader.commit_bytes(entry.current_version).await.unwrap();
    let holds = catalog.holds(table).await.unwrap();
    let referring = catalog.referring_tables(&location(Path::new(ELSEWHERE))).await.unwrap();
    assert_eq!((holds.len(), referring.len()), (1, 2));
    (format!("{entry:?} {holds:?} {referring:?}"), states, format!("{history:?} {bytes:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_equals_its_source() {
    let all = databases("copy");
    for from in all {
        let dir = tempfile::tempdir().unwrap();
        let source = open(*from, dir.path(), "source").await;
        let mut tables = vec![Growing::create(&source, dir.path(), "a").await];
        tables.push(Growing::create(&source, dir.path(), "b.c").await);
        tables[0].grow(&source, COMMITS / all.len() as u64).await;
        tables[1].grow(&source, 10).await;
        let until = source.now_ms().await.unwrap() + 3_600_000;
        for table in &tables {
            source.hold(table.id, 3, until, "nightly report").await.unwrap();
        }
        for to in all {
            copied(&source, *to, dir.path(), &mut tables).await;
        }
    }
}

async fn copied(source: &SqlCatalog, to: Database, dir: &Path, tables: &mut [Growing]) {
    let what = format!("{} to {to:?}", source.describe());
    let target = open(to, dir, "copy").await;

    // Cancelled in the middle: a table that is not complete is invisible.
    let begun = Arc::new(AtomicBool::new(false));
    let stop = tokio::sync::Notify::new();
    let progress = |_: u64, _: u64| {
        if begun.swap(true, Ordering::SeqCst) {
            stop.notify_one();
        }
    };
    tokio::select! {
        biased;
        () = stop.notified() => {}
        whole = copy_catalog(source, &target, &progress) => { whole.unwrap(); }
    }
    for entry in target.tables().await.unwrap() {
        let versions = target.reader(entry.id).history(HistoryRange::default()).await.unwrap().len() as Version;
        assert_eq!(versions, entry.current_version + 1, "{what}: what is there is whole");
    }

    let copied = copy_catalog(source, &target, &|_, _| {}).await.unwrap();
    assert_eq!(copied.tables, 2, "{what}");
    same(&what, source, &target, tables).await;
    assert_eq!(copy_catalog(source, &target, &|_, _| {}).await.unwrap().versions, 0, "{what}: nothing is left to do");

    // Later commits are copied by the next call; the files they remove were copied before.
    tables[0].grow(source, 7).await;
    assert_eq!(copy_catalog(source, &target, &|_, _| {}).await.unwrap().versions, 7, "{what}");
    same(&what, source, &target, tables).await;

    // A copy is a catalog and takes commits, but can then no longer be updated.
    let head = target.begin(&[tables[0].id]).await.unwrap()[0].version;
    let action = Action::add(file("own", 0, 9));
    let own = CommitRequest::new(tables[0].id, Uuid::new_v4(), Base::Exactly(head), vec![action]);
    let target = open(to, dir, "copy").await;
    target.commit_all(vec![own]).await.unwrap().committed().unwrap();
    tables[0].grow(source, 1).await;
    let refused = copy_catalog(source, &target, &|_, _| {}).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{what}: {refused}");
    assert!(refused.to_string().contains("commits of its own"), "{what}: {refused}");
    let other = open(to, dir, "other").await;
    Growing::create(&other, dir, "x").await;
    let refused = copy_catalog(source, &other, &|_, _| {}).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{what}: {refused}");
}

async fn same(what: &str, source: &SqlCatalog, target: &SqlCatalog, tables: &[Growing]) {
    for table in tables {
        assert!(answers(source, table.id).await == answers(target, table.id).await, "{what}: the answers differ");
        for (id, version) in table.ids.iter().rev().step_by(97) {
            let found = target.find_commit(table.id, *id).await.unwrap();
            assert_eq!(found.map(|c| c.version), Some(*version), "{what}: a commit id is kept");
        }
    }
}

async fn drop_table(catalog: &SqlCatalog, table: TableId) {
    let lease = catalog.acquire_lease(table, Uuid::new_v4(), 0, i64::MAX).await.unwrap().unwrap();
    let mode = DropMode::Retain { ms: 1_000_000 };
    catalog
        .drop_table(
            &lease,
            &DropTable { mode, allow_unpublished: true, at_version: None, committer: Committer::default() },
        )
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_the_current_names_of_its_source() {
    for database in databases("copy") {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (open(*database, dir.path(), "source").await, open(*database, dir.path(), "copy").await);
        let mut ids = Vec::new();
        for name in ["a", "b"] {
            let mut table = Growing::create(&source, dir.path(), name).await;
            table.grow(&source, 3).await;
            ids.push(table.id);
        }
        let copied = async || {
            copy_catalog(&source, &target, &|_, _| {}).await.unwrap();
            assert_eq!(target.tables().await.unwrap(), source.tables().await.unwrap(), "{database:?}");
            let namespaces = (all_namespaces(&target).await.unwrap(), all_namespaces(&source).await.unwrap());
            assert_eq!(namespaces.0, namespaces.1, "{database:?}");
            let inactive =
                (target.inactive_tables(None, 100).await.unwrap(), source.inactive_tables(None, 100).await.unwrap());
            assert_eq!(inactive.0, inactive.1, "{database:?}");
        };
        source.create_namespace("empty", None).await.unwrap();
        let retention = Retention { time: Some(std::time::Duration::from_secs(5)), versions: Some(7) };
        source.set_default_retention(retention, None).await.unwrap();
        copied().await;
        assert_eq!(target.default_retention().await.unwrap(), retention, "{database:?}");
        source.drop_namespace("empty", None).await.unwrap();
        for (table, name) in [(ids[0], "x"), (ids[1], "a"), (ids[0], "b")] {
            source.rename_table(table, &name.parse().unwrap(), &Committer::default()).await.unwrap();
        }
        copied().await;
        // Another table has the name and the location of a dropped one.
        drop_table(&source, ids[1]).await;
        let new = NewTable { name: "a".parse().unwrap(), location: location(&dir.path().join("b")), owner: None };
        let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
        let request = CommitRequest::new(TableId(Uuid::new_v4()), Uuid::new_v4(), Base::Create(new), actions);
        source.commit_all(vec![request]).await.unwrap().committed().unwrap();
        copied().await;
        target.undrop_table(ids[1], Some(&"back".parse().unwrap()), &Committer::default()).await.unwrap_err();
        drop_table(&source, ids[0]).await;
        copied().await;
        let back = target.undrop_table(ids[0], None, &Committer::default()).await.unwrap();
        assert_eq!(back.current_version, 3, "{database:?}: what was dropped comes back in the copy, too");
    }
}
