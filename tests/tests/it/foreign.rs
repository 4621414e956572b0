//! Another engine appends without the catalog: plain delta-rs, from Python.

use std::path::Path;
use std::sync::Arc;

use deltalakedb_log::{Catalog, ErrorKind, MirrorState, SystemClock, TableEntry, TableRef};
use deltalakedb_mirror::{Mirror, VerifyOptions};
use deltalakedb_table::{DeltaRs, DeltaTable, SaveMode, Scan, WriteOptions};
use deltalakedb_tests::{
    Database, agrees_with_delta_rs, catalog, copy, databases, import, our_rows, python, repository, run_python,
    their_rows,
};

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
