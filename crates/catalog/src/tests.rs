use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use deltalakedb_log::commit::{Base, CommitRequest, NewTable, Outcome};
use deltalakedb_log::conformance::{self, actions};
use deltalakedb_log::predicate::{Comparison, Literal};
use deltalakedb_log::{
    Action, At, Catalog, CatalogAdministration, ErrorKind, Location, MirrorProgress, Predicate, SeededClock, TableId,
    TableListing,
};
use parking_lot::Mutex;
use uuid::Uuid;

use futures::TryStreamExt;
use futures::stream::BoxStream;

use super::database::{CommitFailure, Database, DatabaseTransaction, Row, Value, WriteStatement};
use super::*;

#[path = "../../../tests/src/databases.rs"]
#[allow(unreachable_pub, reason = "the file is shared")]
pub(crate) mod databases;

use databases::databases;

mod batches;
mod bulk;
mod costs;
mod ended;
mod points;
mod publishing;
mod recorded;
mod references;
mod rights;
mod statistics;
mod tables;
mod work;

use recorded::{Lose, Record};

pub(crate) async fn connect_to(uri: &str, seed: u64) -> Result<SqlCatalog> {
    let clock = Arc::new(SeededClock::new(1_700_000_000_000, seed));
    SqlCatalog::connect(&CatalogUri::parse(uri)?, ConnectOptions { clock, ..Default::default() }).await
}

/// Connects with a clock that the test advances: a server's own clock could not be.
pub(crate) async fn connect_with(uri: &str, clock: Arc<SeededClock>) -> SqlCatalog {
    let options = ConnectOptions { clock, server_clock: false, ..Default::default() };
    SqlCatalog::connect(&CatalogUri::parse(uri).unwrap(), options).await.unwrap()
}

/// A catalog in a SQLite file.
pub(crate) async fn open(path: &std::path::Path, seed: u64) -> Result<SqlCatalog> {
    connect_to(&format!("deltasql://sqlite/{}", path.display()), seed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_database_passes_the_conformance_suite() {
    for database in databases("conformance") {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        conformance::run(|seed| async move {
            let catalog = connect_to(&database.uri(dir, &seed.to_string()), seed).await?;
            Ok(Arc::new(catalog) as Arc<dyn Catalog>)
        })
        .await;
        conformance::run_with_clock(|seed, clock| async move {
            let catalog = connect_with(&database.uri(dir, &format!("clock {seed}")), clock).await;
            Ok(Arc::new(catalog) as Arc<dyn Catalog>)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_database_passes_the_writer_suite() {
    for database in databases("conformance") {
        let dir = tempfile::tempdir().unwrap();
        let catalog = connect_to(&database.uri(dir.path(), "writer"), 1).await.unwrap();
        let new = NewTable::new("t".parse().unwrap(), Location::parse("/nowhere/t").unwrap());
        let reader = async || Ok(catalog.reader(catalog.tables().await?[0].id));
        conformance::run_writer(&SqlTxnLogWriter::new(catalog.clone()), new, reader).await;
    }
}

async fn create(catalog: &SqlCatalog) -> TableId {
    create_as(catalog, 1).await
}

/// Creates the table with another id.
async fn create_as(catalog: &SqlCatalog, id: u128) -> TableId {
    let id = TableId(Uuid::from_u128(id));
    let new = NewTable::new("t".parse().unwrap(), Location::parse("/nowhere/t").unwrap());
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
async fn a_closed_catalog_is_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(&dir.path().join("c.db"), 1).await.unwrap();
    let id = create(&catalog).await;
    catalog.reader(id).snapshot(At::Latest).await.unwrap();
    catalog.close().await;
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(files, ["c.db"], "no log is left beside it");
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
async fn a_catalog_that_cannot_be_opened_is_refused_with_the_reason() {
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
    let none = dir.path().join("none.db");
    let uri = CatalogUri { backend: Backend::Sqlite(none.clone()), table: None };
    let existing = ConnectOptions { create: false, ..Default::default() };
    check(SqlCatalog::connect(&uri, existing.clone()).await, ErrorKind::NotFound, "dl init");
    assert!(!none.exists(), "asking makes nothing");
}

/// The state of a catalog that a later version may have produced.
#[tokio::test]
async fn min_reader_and_min_writer_of_a_newer_catalog_are_obeyed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.db");
    let id = create(&open(&path, 1).await.unwrap()).await;
    let set = async |reader: i64, writer: i64| {
        let catalog = open(&path, 1).await.unwrap();
        let (mut tx, _) = catalog.db.write(&[], "SELECT 1").await.unwrap();
        let sql = "UPDATE dl_catalog SET schema_version = 99, min_reader = ?, min_writer = ?";
        tx.write(vec![WriteStatement::run(sql, vec![reader.into(), writer.into()])]).await.unwrap();
        tx.commit().await.unwrap();
    };
    set(1, 1).await;
    let catalog = open(&path, 1).await.unwrap();
    catalog.commit_all(vec![append(id, 0, "a")]).await.unwrap().committed().unwrap();
    set(1, 99).await;
    let catalog = open(&path, 1).await.unwrap();
    assert_eq!(catalog.reader(id).head().await.unwrap().version, 1);
    let refused = catalog.commit_all(vec![append(id, 1, "b")]).await.unwrap_err();
    assert!(refused.to_string().contains("schema version 99") && refused.to_string().contains("write"), "{refused}");
    set(99, 99).await;
    let refused = open(&path, 1).await.unwrap_err();
    assert!(refused.to_string().contains("schema version 99") && refused.to_string().contains("read"), "{refused}");
}

/// A newer program upgraded the catalog while an older one had it open: first only with more columns, then with higher
/// requirements for writers.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_catalog_notices_a_raised_min_writer() {
    for database in databases("migration") {
        let dir = tempfile::tempdir().unwrap();
        let uri = database.uri(dir.path(), "newer");
        let catalog = connect_to(&uri, 1).await.unwrap();
        let id = create(&catalog).await;
        let newer = connect_to(&uri, 2).await.unwrap();
        let run = async |statements: [&str; 2]| {
            let (mut tx, _) = newer.db.write(&[], "SELECT 1").await.unwrap();
            for sql in statements {
                tx.write(vec![WriteStatement::run(sql, vec![])]).await.unwrap();
            }
            tx.commit().await.unwrap();
        };
        let appended = async |base, path| catalog.commit_all(vec![append(id, base, path)]).await;
        appended(0, "a").await.unwrap().committed().unwrap();
        run([
            "ALTER TABLE dl_tables ADD COLUMN of_later BIGINT",
            "UPDATE dl_catalog SET schema_version = 98, min_writer = min_writer",
        ])
        .await;
        appended(1, "b").await.unwrap().committed().unwrap();
        assert_eq!(catalog.tables().await.unwrap()[0].current_version, 2, "{database:?}");
        run([
            "ALTER TABLE dl_add_files ADD COLUMN of_later BIGINT",
            "UPDATE dl_catalog SET schema_version = 99, min_writer = 99",
        ])
        .await;
        let refused = appended(2, "c").await.unwrap_err();
        let says = refused.to_string();
        assert!(says.contains("schema version 99") && says.contains("write"), "{database:?}: {refused}");
        let refused = catalog.renew_epoch().await.unwrap_err();
        assert!(refused.to_string().contains("schema version 99"), "{database:?}: {refused}");
        let refused = catalog.mark_next_published(id, 0, 0).await.unwrap_err();
        assert!(refused.to_string().contains("schema version 99"), "{database:?}: {refused}");
        let reader = catalog.reader(id);
        assert_eq!(reader.head().await.unwrap().version, 2, "{database:?}: it can be read");
        let files: Vec<_> = reader.files(2, None).await.unwrap().try_collect().await.unwrap();
        assert_eq!(files.len(), 2, "{database:?}");
        newer.close().await;
        catalog.close().await;
    }
}

/// A catalog that becomes a copy of another uses that one's id in its commits, in every open handle.
#[tokio::test]
async fn a_copy_commits_under_the_id_of_its_source() {
    let dir = tempfile::tempdir().unwrap();
    let source = open(&dir.path().join("source.db"), 1).await.unwrap();
    let id = create(&source).await;
    let path = dir.path().join("copy.db");
    let (copy, other) = (open(&path, 2).await.unwrap(), open(&path, 3).await.unwrap());
    copy_catalog(&source, &copy, &|_, _| {}).await.unwrap();
    let own = source.identity().await.unwrap().0;
    for (n, catalog) in (0..).zip([&copy, &other]) {
        catalog.commit_all(vec![append(id, n, &format!("f{n}"))]).await.unwrap().committed().unwrap();
        assert_eq!(catalog.identity().await.unwrap().0, own);
        let body = catalog.reader(id).commit_bytes(n + 1).await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&body).contains(&own.to_string()), "{body:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_is_migrated_once_by_concurrent_openers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.db");
    let opened = futures::future::join_all((0..4).map(|seed| open(&path, seed))).await;
    let ids: std::collections::HashSet<_> = opened.into_iter().map(|c| c.unwrap().last_identity().catalog_id).collect();
    assert_eq!(ids.len(), 1, "one of them made the catalog, all see it");
}

async fn recorded(dir: &std::path::Path) -> (SqlCatalog, Record) {
    let record = Record::default();
    (record.of(open(&dir.join("c.db"), 1).await.unwrap()), record)
}

fn append(id: TableId, base: u64, path: &str) -> CommitRequest {
    let operation = Uuid::from_u128(path.bytes().fold(7_u128, |n, b| n.wrapping_mul(257).wrapping_add(b.into())));
    CommitRequest::new(id, operation, Base::RebaseFrom(base), vec![Action::add(actions::file(path, 0, 9))])
}

#[tokio::test]
async fn opening_takes_one_round_trip_and_an_append_three() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, record) = recorded(dir.path()).await;
    let id = create(&catalog).await;
    record.trips();
    catalog.reader(id).head().await.unwrap();
    assert_eq!(record.trips(), 1, "to open a table");
    for n in 0..3 {
        catalog.commit_all(vec![append(id, n, &format!("f{n}"))]).await.unwrap().committed().unwrap();
        assert_eq!(record.trips(), 3, "besides BEGIN and COMMIT, whatever the history");
    }
    catalog.commit_all(vec![append(id, 0, "late")]).await.unwrap().committed().unwrap();
    assert_eq!(record.trips(), 3, "what it appends blindly does not depend on the commits in between");
    let one = actions::file("f0", 0, 9);
    let removal = vec![actions::remove(&one)];
    let reads = deltalakedb_log::commit::Reads { files: vec![one.key()], ..Default::default() };
    let late = CommitRequest { reads, ..CommitRequest::new(id, Uuid::from_u128(3), Base::RebaseFrom(1), removal) };
    catalog.commit_all(vec![late]).await.unwrap().committed().unwrap();
    assert_eq!(record.trips(), 4, "one more looks at the commits in between");
}

/// Other transactions that create tables in the same namespaces wait for these rows, and two that waited for each other
/// would deadlock.
#[tokio::test]
async fn namespaces_of_new_tables_are_written_last_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, record) = recorded(dir.path()).await;
    let create = |n: u128, name: &str| {
        let new = NewTable::new(name.parse().unwrap(), Location::parse(&format!("/nowhere/{name}")).unwrap());
        let actions = vec![Action::Protocol(actions::protocol()), Action::Metadata(actions::metadata("{}"))];
        CommitRequest::new(TableId(Uuid::from_u128(n)), Uuid::from_u128(n), Base::Create(new), actions)
    };
    for (n, names) in [["b.t", "a.t", "c.t"], ["c.u", "b.u", "a.u"]].into_iter().enumerate() {
        record.statements();
        let requests = names.iter().zip(1..).map(|(name, id)| create(10 * n as u128 + id, name)).collect();
        catalog.commit_all(requests).await.unwrap().committed().unwrap();
        let statements = record.statements();
        let last = statements.split_at(statements.len() - 3).1;
        assert!(last.iter().all(|s| s.sql.contains("INTO dl_namespaces")), "{last:?}");
        let named: Vec<_> = last.iter().map(|s| s.params[0].clone()).collect();
        assert_eq!(named, ["a", "b", "c"].map(Value::from));
    }
}

#[tokio::test]
async fn a_lost_response_is_resolved_by_the_commit_id() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, record) = recorded(dir.path()).await;
    let id = create(&catalog).await;
    let after = |what: Lose, path: &'static str| {
        let (catalog, record) = (catalog.clone(), record.clone());
        async move {
            *record.lose() = what;
            let outcome = catalog.commit_all(vec![append(id, 0, path)]).await;
            *record.lose() = Lose::Nothing;
            (outcome, catalog.reader(id).head().await.unwrap().version)
        }
    };
    let (outcome, head) = after(Lose::Answer, "a").await;
    assert_eq!((outcome.unwrap().committed().unwrap()[0].version, head), (1, 1), "it was committed");
    let (outcome, head) = after(Lose::Commit, "b").await;
    assert!(matches!(outcome, Ok(Outcome::Unknown(_))), "not being seen is no proof: {outcome:?}");
    assert_eq!(head, 1);
    let (outcome, head) = after(Lose::Everything, "c").await;
    assert!(matches!(outcome, Ok(Outcome::Unknown(_))), "nobody knows: {outcome:?}");
    assert_eq!(head, 2);
    let again = catalog.commit_all(vec![append(id, 0, "c")]).await.unwrap().committed().unwrap();
    assert_eq!(
        (again[0].version, catalog.reader(id).head().await.unwrap().version),
        (2, 2),
        "asked again, the id knows"
    );
}

/// Databases limit the parameters, alternatives and parts of a statement; requests have no such limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_predicate_may_be_long_and_files_of_any_spread() {
    for database in databases("planning") {
        let dir = tempfile::tempdir().unwrap();
        let catalog = connect_to(&database.uri(dir.path(), "long"), 1).await.unwrap();
        let id = create(&catalog).await;
        // Files of every width from one value to all values.
        let files = (0..63).map(|n| Action::add(actions::file(&format!("f{n}"), n, n + (1_i64 << n) - 1)));
        let base = Base::Exactly(0);
        let request = CommitRequest::new(id, Uuid::from_u128(9), base, files.collect());
        catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        let is = |n: i64| Predicate::Compare("id".into(), Comparison::Eq, Literal::Long(n));
        let chain = (0..1000).map(|n| is(-1 - 2 * n)).reduce(|a, b| Predicate::Or(vec![a, b])).unwrap();
        let few = Predicate::In("id".into(), (0..8).map(|n| Literal::Long(-1 - 2 * n)).collect());
        let reader = catalog.reader(id);
        for none in [chain, few] {
            let found = |p: Predicate| {
                let reader = reader.clone();
                async move { reader.files(1, Some(&p)).await.unwrap().try_collect::<Vec<_>>().await.unwrap().len() }
            };
            assert_eq!(found(none.clone()).await, 0, "{database:?}");
            let hold_it = (0..63).filter(|n| (*n..n + (1_i64 << n)).contains(&62)).count();
            assert_eq!(found(Predicate::Or(vec![none, is(62)])).await, hold_it, "{database:?}");
        }
    }
}
