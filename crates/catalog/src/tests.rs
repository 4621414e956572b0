use std::sync::Arc;

use deltalakedb_log::conformance::{self, actions};
use deltalakedb_log::commit::{Base, CommitRequest, NewTable};
use deltalakedb_log::{Action, Catalog, ErrorKind, Location, SeededClock, TableId};
use uuid::Uuid;

use super::*;

async fn open(path: &std::path::Path, seed: u64) -> Result<SqlCatalog> {
    let uri = CatalogUri { path: path.into(), table: None };
    let clock = Arc::new(SeededClock::new(1_700_000_000_000, seed));
    SqlCatalog::connect(&uri, ConnectOptions { clock, ..Default::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_every_promise_of_a_catalog() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    conformance::run(|seed| async move {
        let catalog = open(&dir.join(format!("{seed}.db")), seed).await?;
        Ok(Arc::new(catalog) as Arc<dyn Catalog>)
    })
    .await;
}

async fn create(catalog: &SqlCatalog) -> TableId {
    let id = TableId(Uuid::from_u128(1));
    let new = NewTable { name: "t".parse().unwrap(), location: Location::parse("/nowhere/t").unwrap() };
    let actions = vec![Action::Protocol(actions::protocol()), Action::Metadata(actions::metadata("{}"))];
    let request = CommitRequest::new(id, Uuid::from_u128(2), Base::Create(new), actions);
    catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    id
}

#[tokio::test]
async fn a_catalog_is_the_same_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.db");
    let first = open(&path, 1).await.unwrap();
    let id = create(&first).await;
    let again = open(&path, 2).await.unwrap();
    assert_eq!(first.identity().await.unwrap(), again.identity().await.unwrap());
    assert_eq!(first.reader(id).head().await.unwrap(), again.reader(id).head().await.unwrap());
}

#[tokio::test]
async fn every_commit_is_audited() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(&dir.path().join("c.db"), 1).await.unwrap();
    let id = create(&catalog).await;
    let sql = "SELECT action, version, process, client, outcome FROM dl_audit WHERE table_id = ?";
    let mut rows = catalog.db.query(sql, vec![id.0.into()]).await.unwrap();
    assert_eq!(rows.len(), 1);
    let row = &mut rows[0];
    assert_eq!((row.text().unwrap().as_str(), row.int().unwrap()), ("CREATE TABLE", 0));
    assert_eq!(row.int().unwrap(), i64::from(std::process::id()));
    assert_eq!((row.text().unwrap().as_str(), row.text().unwrap().as_str()), ("deltalakedb", "committed"));
}

#[tokio::test]
async fn a_catalog_that_cannot_be_opened_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let check = |result: Result<SqlCatalog>, kind: ErrorKind, says: &str| {
        let error = result.map(drop).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    check(open(&dir.path().join("no/such/c.db"), 1).await, ErrorKind::NotFound, "needs the folder");
    let text = dir.path().join("text");
    std::fs::write(&text, "this is not a database, and long enough to have a header of its own").unwrap();
    check(open(&text, 1).await, ErrorKind::Invalid, "is not a SQLite database");
    let uri = CatalogUri { path: dir.path().join("none.db"), table: None };
    let existing = ConnectOptions { create: false, ..Default::default() };
    check(SqlCatalog::connect(&uri, existing.clone()).await, ErrorKind::NotFound, "dl init");
    assert!(!uri.path.exists(), "asking makes nothing");

    let newer = dir.path().join("newer.db");
    let catalog = open(&newer, 1).await.unwrap();
    let mut session = catalog.db.write().await.unwrap();
    session.execute("UPDATE dl_catalog SET schema_version = 99", vec![]).await.unwrap();
    session.commit().await.unwrap();
    check(open(&newer, 1).await, ErrorKind::Invalid, "schema version 99");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_may_migrate_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.db");
    let opened = futures::future::join_all((0..4).map(|seed| open(&path, seed))).await;
    let ids: std::collections::HashSet<_> = opened.into_iter().map(|c| c.unwrap().identity.catalog_id).collect();
    assert_eq!(ids.len(), 1, "one of them made the catalog, all see it");
}
