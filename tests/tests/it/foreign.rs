//! Another engine appends without the catalog: plain delta-rs, from Python.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use deltalakedb_engine::{RowEngine, RowTables};
use deltalakedb_log::{Catalog, ErrorKind, MirrorState, SystemClock, TableEntry, TableRef, TxnLogError};
use deltalakedb_mirror::{Mirror, VerifyOptions};
use deltalakedb_table::{DeltaRs, DeltaTable, SaveMode, Scan, SqlOptions, SqlResult, SqlSession, WriteOptions};
use deltalakedb_tests::{
    Database, agrees_with_delta_rs, catalog, copy, databases, import, lines, our_rows, python, repository, run_python,
    sqlite, their_rows,
};
use futures::TryStreamExt;

/// Appends the first rows of the table to it, once for every argument; `checkpoint` writes one.
const APPEND: &str = r#"
import sys
from deltalake import DeltaTable, QueryBuilder, write_deltalake
import pyarrow as pa
place, *what = sys.argv[1:]
for each in what:
    table = DeltaTable(place)
    if each == "checkpoint":
        table.create_checkpoint()
        continue
    rows = QueryBuilder().register("t", table).execute(f"SELECT * FROM t LIMIT {each}").read_all()
    write_deltalake(place, pa.table(rows), mode="append")
print(DeltaTable(place).version())
"#;

struct Shop {
    dir: tempfile::TempDir,
    catalog: Arc<dyn Catalog>,
    mirror: Mirror,
}

impl Shop {
    async fn new(database: Database) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(&repository().join("examples/data/events"), &dir.path().join("t"));
        let catalog = catalog(database, dir.path()).await;
        import(&catalog, &dir.path().join("t"), "t").await.unwrap();
        let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
        Self { dir, catalog, mirror }
    }

    async fn entry(&self) -> TableEntry {
        self.catalog.find(&TableRef::Name("t".parse().unwrap())).await.unwrap().unwrap()
    }

    /// Runs these steps with the other engine; returns its newest version.
    fn behind_our_back(&self, python: &Path, what: &[&str]) -> u64 {
        let place = self.dir.path().join("t");
        let printed = run_python(python, APPEND, &[&[place.to_str().unwrap()], what].concat());
        printed.trim().parse().unwrap()
    }

    async fn append(&self) -> Result<u64, deltalakedb_log::TxnLogError> {
        let table = DeltaTable::open_in(self.catalog.clone(), &TableRef::Id(self.entry().await.id)).await?;
        let rows = table.read(&Scan { limit: Some(2), ..Scan::default() }).await?;
        Ok(table.write(rows, SaveMode::Append, &WriteOptions::default()).await?.unwrap().version)
    }

    /// Checks that all readers agree on every version.
    async fn all_agree(&self, what: &str) {
        let entry = self.entry().await;
        agrees_with_delta_rs(&self.catalog, &entry).await;
        let every = VerifyOptions { every_version: true, data: true };
        let findings = self.mirror.verify(&entry, &DeltaRs, every, &|_, _| {}).await.unwrap();
        assert_eq!(findings, [], "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_appends_are_imported_and_writes_continue() {
    let Some(python) = python("deltalake, duckdb, polars") else { return };
    for database in databases("foreign") {
        let what = format!("{database:?}");
        let shop = Shop::new(*database).await;
        let begin = shop.entry().await.current_version;
        assert_eq!(shop.append().await.unwrap(), begin + 1);
        shop.mirror.publish(shop.entry().await.id).await.unwrap();

        let theirs = shop.behind_our_back(&python, &["3", "1", "checkpoint", "2"]);
        assert_eq!(theirs, begin + 4, "{what}");
        // Publishing detects it, and stops the table before there are two histories.
        let stopped = shop.mirror.publish(shop.entry().await.id).await.unwrap_err().to_string();
        assert!(stopped.contains("dl import"), "{what}: {stopped}");
        assert!(matches!(shop.entry().await.mirror, MirrorState::Diverged { .. }), "{what}");
        assert_eq!(shop.append().await.unwrap_err().kind(), ErrorKind::Invalid, "{what}");

        let table = import(&shop.catalog, &shop.dir.path().join("t"), "t").await.unwrap();
        assert_eq!((table.current_version, table.published_version), (theirs, Some(theirs)), "{what}");
        assert_eq!(table.mirror, MirrorState::Following, "{what}: it follows again");
        shop.all_agree(&what).await;

        // Our own commits again, past a due checkpoint.
        for n in 1..=4 {
            assert_eq!(shop.append().await.unwrap(), theirs + n, "{what}");
            let done = shop.mirror.publish(shop.entry().await.id).await.unwrap();
            assert_eq!((done.count, done.warnings), (1, vec![]), "{what}");
        }
        shop.all_agree(&what).await;
        let (entry, head) = (shop.entry().await, theirs + 4);
        assert_eq!(
            their_rows(&entry.location, head).await.unwrap(),
            our_rows(&shop.catalog, &entry, head).await.unwrap(),
            "{what}"
        );
        // Their commits after ours.
        assert_eq!(shop.behind_our_back(&python, &["1"]), head + 1, "{what}");
        import(&shop.catalog, &shop.dir.path().join("t"), "t").await.unwrap();
        shop.all_agree(&what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_beside_unpublished_commits_halts_and_names_the_choice() {
    let Some(python) = python("deltalake, duckdb, polars") else { return };
    let shop = Shop::new(Database::Sqlite).await;
    let ours = shop.append().await.unwrap();
    assert_eq!(shop.behind_our_back(&python, &["1", "1"]), ours + 1);
    for _ in 0..2 {
        let halted = import(&shop.catalog, &shop.dir.path().join("t"), "t").await.unwrap_err();
        assert_eq!(halted.kind(), ErrorKind::Invalid, "{halted}");
        let sentence = halted.to_string();
        for part in
            ["dl mirror run", "dl verify default.t", "dl mirror repair default.t --ours", "`--theirs` the others"]
        {
            assert!(sentence.contains(part), "{sentence}");
        }
        assert_eq!(shop.entry().await.current_version, ours, "nothing came in");
        shop.mirror.publish(shop.entry().await.id).await.unwrap_err();
    }
    // The decision for our commits.
    shop.behind_our_back(&python, &["checkpoint"]);
    let kept = shop.mirror.keep_ours(shop.entry().await.id).await.unwrap();
    assert_eq!((kept.published.count, kept.published.checkpoint), (1, Some(ours)), "{kept}");
    let names: Vec<_> = kept.set_aside.iter().map(|name| name.split_once('.').unwrap()).collect();
    let padded = [format!("{ours:020}"), format!("{:020}", ours + 1)];
    assert_eq!(names[0], (padded[0].as_str(), "json"), "{kept}");
    assert!(names.contains(&(padded[1].as_str(), "checkpoint.parquet")), "{kept}");
    assert!(names.contains(&(padded[1].as_str(), "json")), "{kept}");
    shop.all_agree("ours").await;
}

/// A data directory with a row table, open.
struct RowTable {
    catalog: Arc<dyn Catalog>,
    engine: Arc<RowEngine>,
    session: SqlSession,
}

impl RowTable {
    async fn open(dir: &Path) -> Self {
        let catalog = sqlite(dir).await;
        let engine = RowEngine::open(&dir.join("data"), catalog.clone(), WriteOptions::default()).await.unwrap();
        let engine = Arc::new(engine);
        let session = SqlSession::new(catalog.clone(), SqlOptions::default()).unwrap();
        let session = session.with_guest(Arc::new(RowTables::new(engine.clone())));
        Self { catalog, engine, session }
    }

    async fn close(self) {
        drop(self.session);
        self.engine.close().await.unwrap();
    }

    /// The rows of the last statement.
    async fn run(&mut self, sql: &str) -> Result<Vec<RecordBatch>, TxnLogError> {
        let mut rows = Vec::new();
        let mut script = self.session.execute(sql)?;
        while let Some(result) = script.next().await? {
            if let SqlResult::Rows(stream) = result {
                rows = stream.try_collect().await.unwrap();
            }
        }
        Ok(rows)
    }

    async fn entry(&self) -> TableEntry {
        self.catalog.find(&TableRef::Name("app.t".parse().unwrap())).await.unwrap().unwrap()
    }

    async fn publish(&self) -> Result<(), TxnLogError> {
        let mirror = Mirror::new(self.catalog.clone(), Arc::new(SystemClock));
        mirror.publish(self.entry().await.id).await.map(drop)
    }

    /// A flush and an import are refused, and nothing of the foreign rows is read.
    async fn refuses(&mut self, what: &str) {
        let e = self.run("FLUSH TABLE app.t").await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Invalid, "{what}: {e}");
        assert!(e.to_string().contains("app.t"), "{what}: {e}");
        let mirror = Mirror::new(self.catalog.clone(), Arc::new(SystemClock));
        let e = mirror.import(&self.entry().await.location, None, &|_, _| {}).await.unwrap_err();
        assert!(e.to_string().contains("app.t is owned by the row engine"), "{what}: {e}");
        let found = lines(&self.run("SELECT id, name FROM app.t").await.unwrap());
        let (_, rows) = found.split_first().unwrap();
        assert_eq!(rows, [r#""2" | "b""#, r#""3" | "c""#, r#""4" | "d""#], "{what}");
        assert_eq!(self.entry().await.current_version, 2, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_append_to_a_row_table_is_found_and_refused() {
    let Some(python) = python("deltalake, duckdb, polars") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut table = RowTable::open(dir.path()).await;
    for sql in [
        "CREATE NAMESPACE app",
        "CREATE SHARED TABLE app.t (id BIGINT PRIMARY KEY, name TEXT)",
        "INSERT INTO app.t VALUES (1, 'a'), (2, 'b'), (3, 'c'); FLUSH TABLE app.t",
        "DELETE FROM app.t WHERE id = 1; FLUSH TABLE app.t",
    ] {
        table.run(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    table.publish().await.unwrap();
    let at = table.entry().await.location.local_path().unwrap();
    let theirs = run_python(&python, APPEND, &[at.to_str().unwrap(), "1"]);
    assert_eq!(theirs.trim(), "3");
    table.run("INSERT INTO app.t VALUES (4, 'd')").await.unwrap();

    let found = table.publish().await.unwrap_err().to_string();
    assert!(found.contains("version 3") && found.contains("delta-rs"), "{found}");
    assert!(matches!(table.entry().await.mirror, MirrorState::Diverged { .. }), "{found}");
    table.refuses("the process that published").await;
    table.close().await;
    // The rows that are not flushed are there, too.
    let mut table = RowTable::open(dir.path()).await;
    table.refuses("another process").await;

    std::fs::remove_file(at.join("_delta_log/00000000000000000003.json")).unwrap();
    table.publish().await.unwrap();
    table.run("FLUSH TABLE app.t").await.unwrap();
    table.publish().await.unwrap();
    let (entry, ours) = (table.entry().await, lines(&table.run("SELECT *, _seq FROM app.t").await.unwrap()));
    assert_eq!((entry.current_version, &entry.mirror), (3, &MirrorState::Following));
    // The first line has the types of each reader.
    assert_eq!(their_rows(&entry.location, 3).await.unwrap().get(1..), ours.get(1..));
    table.close().await;
}
