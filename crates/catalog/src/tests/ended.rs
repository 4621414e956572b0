//! A catalog with expired history has as few rows as one with little history.

use deltalakedb_log::Committer;
use deltalakedb_log::action::Remove;
use deltalakedb_log::conformance::actions::{file, txn};
use deltalakedb_log::retention::{COMMIT_IDS_MS, Expiry, HistoryExpiry, Keep};
use deltalakedb_log::{Artifact, Commit, DropMode, DropTable, MirrorProgress, TableLifecycle, VersionHolds};

use super::*;

/// How many times the one file of the table is replaced.
fn overwrites() -> u64 {
    if std::env::var("DELTALAKEDB_SOAK").as_deref() == Ok("1") { 10_000 } else { 200 }
}

/// Replaces the one file of the table.
async fn overwrite(catalog: &SqlCatalog, id: TableId, version: u64) {
    let add = |n: u64| file(&format!("f{n}"), 0, 9);
    let mut actions = vec![Action::add(add(version)), txn("app", version as i64)];
    actions.extend((version > 1).then(|| Action::Remove(Remove::of(&add(version - 1), 5, true))));
    let request = CommitRequest::new(id, Uuid::from_u128(version.into()), Base::Exactly(version - 1), actions);
    catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
}

/// The rows of each table of the catalog.
async fn rows(catalog: &SqlCatalog) -> Vec<(&'static str, i64)> {
    let mut rows = Vec::new();
    for table in table_rows::tables_of_a_table().chain(["dl_audit"]) {
        let sql = format!("SELECT count(*) FROM {table}");
        rows.push((table, catalog.db.query(&sql, vec![]).await.unwrap()[0].int().unwrap()));
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_catalog_has_as_few_rows_as_a_new_one() {
    for database in databases("conformance") {
        let dir = tempfile::tempdir().unwrap();
        let new = connect_to(&database.uri(dir.path(), "new"), 1).await.unwrap();
        let old = connect_to(&database.uri(dir.path(), "old"), 1).await.unwrap();
        for (catalog, overwrites) in [(&new, 2), (&old, overwrites())] {
            let id = create(catalog).await;
            for version in 1..=overwrites {
                overwrite(catalog, id, version).await;
            }
            assert!(catalog.mark_next_published(id, 0, overwrites).await.unwrap());
        }
        let id = TableId(Uuid::from_u128(1));
        let (reader, head) = (old.reader(id), old.reader(id).head().await.unwrap());
        let before = reader.snapshot(At::Latest).await.unwrap();
        let keep = Keep { since_ms: head.timestamp, versions: 1, ids_since_ms: i64::MAX };
        let expiry = Expiry { table: id, keep, up_to: head.version, committer: Committer::default() };
        while !old.expire(&expiry).await.unwrap().is_done {}
        while old.expire_audit(i64::MAX).await.unwrap() > 0 {}
        let (small, ended) = (rows(&new).await, rows(&old).await);
        for ((table, small), (_, ended)) in small.iter().zip(&ended) {
            assert!(
                *ended <= 2 * small.max(&1),
                "{database:?}: {table} has {ended} rows, and {small} in a new catalog"
            );
        }
        assert_eq!(reader.snapshot(At::Latest).await.unwrap(), before);
        let files: Vec<_> = reader.files(head.version, None).await.unwrap().try_collect().await.unwrap();
        assert_eq!(files.iter().map(|f| &f.path).collect::<Vec<_>>(), [&format!("f{}", head.version)]);
        overwrite(&old, id, head.version + 1).await;
        new.close().await;
        old.close().await;
    }
}

/// A copy takes the rows that are left, and expires its own history if it has more.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_the_history_of_its_source() {
    for database in databases("conformance") {
        let dir = tempfile::tempdir().unwrap();
        let source = open(&dir.path().join("source.db"), 1).await.unwrap();
        let to = async |name: &str| connect_to(&database.uri(dir.path(), name), 2).await.unwrap();
        let (early, late, empty) = (to("early").await, to("late").await, to("empty").await);
        let id = create(&source).await;
        let commit = async |versions: std::ops::RangeInclusive<u64>| {
            for version in versions {
                overwrite(&source, id, version).await;
            }
        };
        commit(1..=4).await;
        copy_catalog(&source, &early, &|_, _| {}).await.unwrap();
        commit(5..=12).await;
        copy_catalog(&source, &late, &|_, _| {}).await.unwrap();
        assert!(source.mark_next_published(id, 0, 12).await.unwrap());
        let since_ms = source.reader(id).snapshot(At::Version(8)).await.unwrap().head.timestamp;
        let keep = Keep { since_ms, versions: 1, ids_since_ms: since_ms };
        let expiry = Expiry { table: id, keep, up_to: 8, committer: Committer::default() };
        assert_eq!(source.expire(&expiry).await.unwrap().base_version, 8);
        commit(13..=14).await;

        for (copy, versions) in [(&late, 2), (&empty, 7)] {
            let copied = copy_catalog(&source, copy, &|_, _| {}).await.unwrap();
            assert_eq!(copied.versions, versions, "{database:?}");
            let entry = copy.tables().await.unwrap().remove(0);
            assert_eq!((entry.base_version, entry.current_version), (8, 14), "{database:?}");
            let (here, there) = (source.reader(id), copy.reader(id));
            for version in 8..=14 {
                let (here, there) =
                    (here.snapshot(At::Version(version)).await, there.snapshot(At::Version(version)).await);
                assert_eq!(here.unwrap(), there.unwrap(), "{database:?}");
            }
            let ids = "SELECT version, committed_at FROM dl_commit_ids WHERE table_id = ? ORDER BY version";
            let ids_of = async |catalog: &SqlCatalog| {
                let rows = catalog.db.query(ids, vec![id.0.into()]).await.unwrap();
                rows.into_iter().map(|mut row| (row.int().unwrap(), row.int().unwrap())).collect::<Vec<_>>()
            };
            let (ours, theirs) = (ids_of(&source).await, ids_of(copy).await);
            assert_eq!(ours.first().map(|(version, _)| *version), Some(8), "those before have ended");
            assert_eq!(theirs, ours, "{database:?}");
            let files: Vec<_> = there.files(14, None).await.unwrap().try_collect().await.unwrap();
            assert_eq!(files.len(), 1, "{database:?}");
        }
        let refused = copy_catalog(&source, &early, &|_, _| {}).await.unwrap_err();
        let says = refused.to_string();
        assert!(says.contains("begins at 8") && says.contains("copy to an empty catalog"), "{database:?}: {refused}");
        for catalog in [early, late, empty] {
            catalog.close().await;
        }
    }
}

/// The tables of the schema with rows of a table, except the audit.
fn with_rows_of_tables() -> Vec<String> {
    let migration = include_str!("../../migrations/0001_log.sql");
    let tables = migration.split("CREATE TABLE ").skip(1).map(|text| text.split(");").next().unwrap_or_default());
    let of_table = tables.filter(|text| text.contains("table_id blob")).filter_map(|text| text.split(' ').next());
    of_table.filter(|table| *table != "dl_audit").map(String::from).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_dropped_table_leaves_no_row() {
    for database in databases("conformance") {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(SeededClock::new(1_700_000_000_000, 1));
        let catalog = connect_with(&database.uri(dir.path(), "removed"), clock.clone()).await;
        let id = create(&catalog).await;
        for version in 1..=3 {
            overwrite(&catalog, id, version).await;
        }
        let domain = actions::domain("d", "{}", false);
        let cdc = r#"{"cdc":{"path":"c","partitionValues":{},"size":1,"dataChange":false}}"#;
        let cdc = Commit::parse(format!("{cdc}\n").into(), "a test").unwrap().into_actions();
        let elsewhere = Action::add(file("/elsewhere/x/y.parquet", 0, 9));
        let more = [vec![domain, elsewhere], cdc].concat();
        let request = CommitRequest::new(id, Uuid::from_u128(99), Base::Exactly(3), more);
        catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        catalog.hold(id, 1, i64::MAX, "ann").await.unwrap();
        catalog.mark_failed(id, 3, Artifact::Checkpoint, "why", 1).await.unwrap();
        let copy = connect_to(&database.uri(dir.path(), "copy of removed"), 2).await.unwrap();
        copy_catalog(&catalog, &copy, &|_, _| {}).await.unwrap();
        drop_unpublished(&catalog, id).await;
        clock.advance(COMMIT_IDS_MS);
        let tables = with_rows_of_tables();
        assert!(tables.len() > 10, "{tables:?}");
        for table in tables.iter().filter(|table| *table != "dl_bounds") {
            assert!(count(&catalog, table, id).await > 0, "{database:?}: {table} has rows before");
        }
        assert!(catalog.remove_table(id).await.unwrap().is_done);
        // A copy that was made while the table was live removes it as well.
        copy_catalog(&catalog, &copy, &|_, _| {}).await.unwrap();
        for catalog in [&catalog, &copy] {
            for table in &tables {
                assert_eq!(count(catalog, table, id).await, 0, "{database:?}: {table}");
            }
            // Only the row that keeps the order of versions is left, however many tables are removed.
            let versions = catalog.db.query("SELECT count(*) FROM dl_table_versions", vec![]).await.unwrap()[0].int();
            assert_eq!(versions.unwrap(), i64::from(!catalog.db.locks_heads()), "{database:?}");
        }
    }
}

/// How many rows of a table a table of the schema has.
async fn count(catalog: &SqlCatalog, table: &str, id: TableId) -> i64 {
    let sql = format!("SELECT count(*) FROM {table} WHERE table_id = ?");
    catalog.db.query(&sql, vec![id.0.into()]).await.unwrap()[0].int().unwrap()
}

/// Drops a table without retention.
async fn drop_unpublished(catalog: &SqlCatalog, id: TableId) {
    let lease = catalog.acquire_lease(id, Uuid::from_u128(5), 0, 1).await.unwrap().unwrap();
    let mode = DropMode::Retain { ms: 0 };
    let drop = DropTable { mode, allow_unpublished: true, at_version: None, committer: Committer::default() };
    catalog.drop_table(&lease, &drop).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_accepts_a_new_table_at_the_location_of_a_removed_one() {
    for database in databases("conformance") {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(SeededClock::new(1_700_000_000_000, 1));
        let source = connect_with(&database.uri(dir.path(), "place source"), clock.clone()).await;
        let copy = connect_to(&database.uri(dir.path(), "place copy"), 2).await.unwrap();
        let mut old = create(&source).await;
        for (id, was) in [(2, "live"), (3, "loading"), (4, "removing")] {
            copy_catalog(&source, &copy, &|_, _| {}).await.unwrap();
            // A copy, or a removal in it, may have been interrupted.
            let sql = "UPDATE dl_tables SET state = ? WHERE table_id = ?";
            let mut tx = copy.write(&[old]).await.unwrap();
            tx.write(vec![WriteStatement::run(sql, vec![was.into(), old.0.into()])]).await.unwrap();
            tx.commit().await.unwrap();
            drop_unpublished(&source, old).await;
            clock.advance(COMMIT_IDS_MS);
            assert!(source.remove_table(old).await.unwrap().is_done);
            let new = create_as(&source, id).await;
            copy_catalog(&source, &copy, &|_, _| {}).await.unwrap();
            assert_eq!(copy.tables().await.unwrap(), source.tables().await.unwrap(), "{database:?}: {was}");
            assert!(copy.inactive_tables(None, 9).await.unwrap().is_empty(), "{database:?}: {was}");
            let audit = "SELECT count(*) FROM dl_audit";
            let lines = async |catalog: &SqlCatalog| catalog.db.query(audit, vec![]).await.unwrap()[0].int().unwrap();
            assert_eq!(lines(&copy).await, lines(&source).await, "{database:?}: {was}");
            old = new;
        }
    }
}

/// A catalog that continued from a copy keeps what it has committed since.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_with_commits_of_its_own_is_refused() {
    for database in databases("conformance") {
        let dir = tempfile::tempdir().unwrap();
        let source = connect_to(&database.uri(dir.path(), "own source"), 1).await.unwrap();
        let copy = connect_to(&database.uri(dir.path(), "own copy"), 2).await.unwrap();
        copy_catalog(&source, &copy, &|_, _| {}).await.unwrap();
        create(&copy).await;
        let refused = copy_catalog(&source, &copy, &|_, _| {}).await.unwrap_err();
        assert!(refused.to_string().contains("default.t") && refused.to_string().contains("commits of its own"));
        assert_eq!(copy.tables().await.unwrap().len(), 1, "{database:?}");
    }
}
