//! A table with an owner: other programs can read it, and cannot change it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use deltalakedb_catalog::{CatalogUri, ConnectOptions, SqlCatalog, copy_catalog};
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{Catalog, ErrorKind, Retention, SystemClock, TableEntry, TableRef, TxnLogError};
use deltalakedb_mirror::{ExpireOptions, ExpiryStep, Mirror};
use deltalakedb_table::{
    DeltaTable, DropOptions, SaveMode, SqlOptions, SqlSession, Transaction, TransactionOptions, Vacuum, WriteOptions,
    create_table, detach_table, drop_table,
};
use deltalakedb_tests::{contents, databases, location};
use futures::TryStreamExt;

use crate::features::steps;
use crate::operations::deltalakedb;

const KEPT: &str =
    "default.t is owned by the row engine of /data, which alone may commit to it: use `dl sql --data /data`";

fn rows(id: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![id]));
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}

fn as_owner() -> WriteOptions {
    WriteOptions { owner: Some("rows:/data".parse().unwrap()), ..WriteOptions::default() }
}

fn refused<T: std::fmt::Debug>(result: Result<T, TxnLogError>, what: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{what}");
    assert!(error.to_string().contains(KEPT), "{what}: {error}");
}

async fn open(uri: &str) -> Arc<SqlCatalog> {
    Arc::new(SqlCatalog::connect(&CatalogUri::parse(uri).unwrap(), ConnectOptions::default()).await.unwrap())
}

async fn entry(catalog: &dyn Catalog) -> TableEntry {
    catalog.find(&TableRef::Name("t".parse().unwrap())).await.unwrap().unwrap()
}

async fn append(catalog: &Arc<dyn Catalog>, id: i64, options: &WriteOptions) -> Result<(), TxnLogError> {
    let table = DeltaTable::of_entry(catalog.clone(), entry(catalog.as_ref()).await);
    table.write(vec![rows(id)], SaveMode::Append, options).await.map(drop)
}

async fn publish(catalog: &Arc<dyn Catalog>) -> Result<u64, TxnLogError> {
    let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
    Ok(mirror.publish(entry(catalog.as_ref()).await.id).await?.count)
}

async fn import(catalog: &Arc<dyn Catalog>) -> Result<u64, TxnLogError> {
    let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
    Ok(mirror.import(&entry(catalog.as_ref()).await.location, None, &|_, _| {}).await?.table.current_version)
}

/// The table, with one row, published.
async fn kept(catalog: &Arc<dyn Catalog>, dir: &Path) {
    let schema = deltalakedb_table::parse_schema("id long").unwrap();
    let new = NewTable { owner: as_owner().owner, ..NewTable::new("t".parse().unwrap(), location(&dir.join("t"))) };
    let none = WriteOptions::default();
    create_table(catalog.as_ref(), new, &schema, &[], &Default::default(), &none).await.unwrap();
    append(catalog, 1, &as_owner()).await.unwrap();
    assert_eq!(publish(catalog).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owned_table_is_changed_only_by_its_owner() {
    for database in databases("owners") {
        let dir = tempfile::tempdir().unwrap();
        let own = open(&database.uri(dir.path(), "catalog")).await;
        let catalog: Arc<dyn Catalog> = own.clone();
        kept(&catalog, dir.path()).await;
        let (at, before) = (dir.path().join("t"), contents(&dir.path().join("t")));
        for (what, step) in steps(&rows(2)) {
            refused(deltalakedb::run(&catalog, "t", &location(&at), &step).await, what);
            assert!(contents(&at) == before, "{what}: nothing was written");
        }
        let table = DeltaTable::of_entry(catalog.clone(), entry(own.as_ref()).await);
        let dry = Vacuum { dry_run: true, ..Vacuum::default() };
        table.vacuum(&dry, &WriteOptions::default()).await.unwrap();
        refused(table.vacuum(&Vacuum::default(), &WriteOptions::default()).await, "vacuum");
        let tx = Transaction::begin(catalog.clone(), TransactionOptions::default()).await.unwrap();
        refused(tx.write("t", vec![rows(2)], SaveMode::Append).await.map_err(TxnLogError::from), "a transaction");
        drop(tx);
        assert!(contents(&at) == before);
        assert_eq!(entry(own.as_ref()).await.current_version, 1);

        // A commit of another writer in its log is not imported.
        let foreign = at.join("_delta_log/00000000000000000002.json");
        std::fs::write(&foreign, r#"{"commitInfo":{"timestamp":1,"operation":"WRITE"}}"#).unwrap();
        publish(&catalog).await.unwrap_err();
        refused(import(&catalog).await, "import");
        assert_eq!(entry(own.as_ref()).await.current_version, 1);
        std::fs::remove_file(foreign).unwrap();
        publish(&catalog).await.unwrap();
        append(&catalog, 2, &as_owner()).await.unwrap();
        assert_eq!(publish(&catalog).await.unwrap(), 1);

        for to in databases("owners") {
            let copy = open(&to.uri(dir.path(), "copy")).await;
            copy_catalog(&own, &copy, &|_, _| {}).await.unwrap();
            assert_eq!(entry(copy.as_ref()).await.owner, as_owner().owner, "{database:?} to {to:?}");
            let copy: Arc<dyn Catalog> = copy;
            refused(append(&copy, 3, &WriteOptions::default()).await, "a copy");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owned_table_is_ended_only_by_its_owner() {
    for database in databases("owners") {
        let dir = tempfile::tempdir().unwrap();
        let catalog: Arc<dyn Catalog> = open(&database.uri(dir.path(), "catalog")).await;
        kept(&catalog, dir.path()).await;
        let before = contents(&dir.path().join("t"));
        let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
        let (id, other) = (entry(catalog.as_ref()).await.id, WriteOptions::default());
        let gone = DropOptions { delete_files: true, force: true };
        for how in [DropOptions::default(), gone] {
            refused(drop_table(&mirror, id, how, &other).await, "drop");
        }
        refused(detach_table(&mirror, id, &other).await, "detach");
        let keep = Retention { time: Some(Duration::ZERO), versions: Some(1) };
        let all = |options: &WriteOptions| ExpireOptions { keep, committer: options.committer(), ..Default::default() };
        refused(mirror.expire(id, &all(&other)).await, "expire");
        let expire_all = async |options: &WriteOptions| {
            let steps: Vec<_> = mirror.expire_all(&all(options)).try_collect().await.unwrap();
            steps.iter().filter(|step| matches!(step, ExpiryStep::History(..))).count()
        };
        assert_eq!(expire_all(&other).await, 0, "it is left to its owner");
        let mut sql = SqlSession::new(catalog.clone(), SqlOptions::default()).unwrap();
        for statement in ["DROP TABLE t", "ALTER TABLE t RENAME TO u"] {
            refused(sql.execute(statement).unwrap().next().await.map(drop), statement);
        }
        assert!(contents(&dir.path().join("t")) == before);
        assert_eq!(entry(catalog.as_ref()).await.current_version, 1);

        assert_eq!(expire_all(&as_owner()).await, 1);
        detach_table(&mirror, id, &as_owner()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_the_owner_are_imported_after_a_restore() {
    let dir = tempfile::tempdir().unwrap();
    let [file, backup] = ["catalog", "backup"].map(|name| dir.path().join(format!("{name}.db")));
    let uri = |file: &Path| format!("deltasql://sqlite/{}", file.display());
    let own = open(&uri(&file)).await;
    let catalog: Arc<dyn Catalog> = own.clone();
    kept(&catalog, dir.path()).await;
    own.close().await;
    std::fs::copy(&file, &backup).unwrap();

    let catalog: Arc<dyn Catalog> = open(&uri(&file)).await;
    append(&catalog, 2, &as_owner()).await.unwrap();
    publish(&catalog).await.unwrap();

    let restored: Arc<dyn Catalog> = open(&uri(&backup)).await;
    assert_eq!(import(&restored).await.unwrap(), 2);
    assert_eq!(entry(restored.as_ref()).await.owner, as_owner().owner);
}
