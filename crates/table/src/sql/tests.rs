//! Tests of queries over the tables of a catalog.

mod change;
mod lifecycle;

use arrow::array::Int64Array;
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::catalog::TableProvider as _;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::SessionConfig;
use deltalakedb_log::action::Add;
use deltalakedb_log::predicate::Literal;
use deltalakedb_log::snapshot::{At, CommitSummary, Head, Snapshot};
use deltalakedb_log::{
    Counts, ErrorKind, Explanation, HistoryRange, LogSummaries, Predicate, SetHash, SizeDelta, TxnLogReader,
    TxnLogReaderExt, Version,
};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;

use super::*;
use crate::tests::{Fixture, rows, text};
use crate::{DeltaTable, SaveMode, Scan, WriteOptions};

fn session(fixture: &Fixture) -> SqlSession {
    SqlSession::new(fixture.catalog.clone(), SqlOptions::default()).unwrap()
}

/// The rows of all statements that return some, sorted, without spaces.
async fn ask(session: &mut SqlSession, sql: &str) -> Result<Vec<String>> {
    let mut all = Vec::new();
    let mut script = session.execute(sql)?;
    while let Some(result) = script.next().await? {
        if let SqlResult::Rows(stream) = result {
            let batches: Vec<_> = stream.try_collect().await.explain(|| "the rows cannot be read".into())?;
            all.extend(text(&batches));
        }
    }
    Ok(all)
}

async fn check(session: &mut SqlSession, sql: &str, want: &[&str]) {
    let got = Box::pin(ask(session, sql)).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    assert_eq!(got, want, "{sql}");
}

async fn fails(session: &mut SqlSession, sql: &str, says: &[&str]) {
    // Boxed, because a test runs many queries and their futures are large.
    let e = match Box::pin(ask(session, sql)).await {
        Ok(rows) => panic!("{sql} gives {rows:?}"),
        Err(e) => e.to_string(),
    };
    assert!(!e.contains('\n'), "{e}");
    for part in says {
        assert!(e.contains(part), "{part:?} is not said of {sql}: {e}");
    }
}

async fn plan(session: &mut SqlSession, sql: &str) -> String {
    let mut script = session.execute(&format!("EXPLAIN {sql}")).unwrap();
    let Some(SqlResult::Rows(rows)) = script.next().await.unwrap() else { panic!("no plan") };
    let batches: Vec<RecordBatch> = rows.try_collect().await.unwrap();
    arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string()
}

/// Four orders, of two days; and two customers.
async fn shop() -> (Fixture, SqlSession) {
    let fixture = Fixture::new();
    let options = WriteOptions::default();
    let orders = fixture.create("sales.orders", "id long not null, day string", &["day"]).await;
    orders.write(rows(&[1, 2, 3], &["a", "b", "b"]), SaveMode::Append, &options).await.unwrap();
    orders.write(rows(&[4], &["a"]), SaveMode::Append, &options).await.unwrap();
    let customers = fixture.create("Customers", "id long, day string", &[]).await;
    customers.write(rows(&[2, 4], &["x", "y"]), SaveMode::Append, &options).await.unwrap();
    let session = session(&fixture);
    (fixture, session)
}

fn remove_data_files(fixture: &Fixture) {
    let mut folders = vec![fixture.dir.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "parquet") {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn table_names_are_resolved_in_the_catalog() {
    let (_fixture, mut s) = shop().await;
    check(&mut s, "SELECT id FROM sales.orders WHERE day = 'a'", &["|1|", "|4|"]).await;
    check(&mut s, "SELECT c.day, o.id FROM Customers AS c JOIN sales.orders o ON o.id = c.id", &["|x|2|", "|y|4|"])
        .await;
    check(
        &mut s,
        "SELECT orders.id FROM sales.orders, default.Customers WHERE orders.id = Customers.id",
        &["|2|", "|4|"],
    )
    .await;
    check(&mut s, "SELECT count(*) FROM \"sales\".\"orders\"; SELECT 1;; SELECT ';'", &["|4|", "|1|", "|;|"]).await;
    check(&mut s, "SELECT max(id) FROM `Customers` WHERE id IN (SELECT id FROM sales.orders WHERE id < 4)", &["|2|"])
        .await;
    // A name defined by WITH hides a table within its scope only.
    check(
        &mut s,
        "WITH Customers AS (SELECT id + 10 AS id FROM Customers) SELECT id FROM Customers",
        &["|12|", "|14|"],
    )
    .await;
    check(&mut s, "WITH nosuch AS (VALUES (7)) SELECT * FROM nosuch", &["|7|"]).await;
    check(
        &mut s,
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT max(i) FROM n",
        &["|3|"],
    )
    .await;
    check(&mut s, "VALUES (1, 'a')", &["|1|a|"]).await;
    check(&mut s, "DESCRIBE sales.orders", &["|day|string|true|true|", "|id|long|false|false|"]).await;
    let listed = ask(&mut s, "SHOW TABLES").await.unwrap();
    assert!(listed[0].starts_with("|default|Customers|1|"), "{listed:?}");
    assert!(listed[1].starts_with("|sales|orders|2|"), "{listed:?}");
    assert_eq!(ask(&mut s, "SHOW TABLES IN sales").await.unwrap(), listed[1..]);
}

#[tokio::test]
async fn a_table_is_read_as_of_a_version_or_a_time() {
    let (fixture, mut s) = shop().await;
    let history = fixture.open("sales.orders").await.reader().await.unwrap();
    let history = history.history(HistoryRange::default()).await.unwrap();
    let at = |version: usize| deltalakedb_log::time::format_ms(history[history.len() - 1 - version].timestamp);
    check(&mut s, "SELECT count(*) FROM sales.orders VERSION AS OF 1", &["|3|"]).await;
    check(&mut s, "SELECT count(id) FROM sales.orders VERSION AS OF 0", &["|0|"]).await;
    check(&mut s, &format!("SELECT max(id) FROM sales.orders TIMESTAMP AS OF '{}'", at(1)), &["|3|"]).await;
    check(&mut s, &format!("SELECT max(o.id) FROM sales.orders TIMESTAMP AS OF TIMESTAMP '{}' AS o", at(2)), &["|4|"])
        .await;
    check(&mut s, "SELECT orders.id FROM sales.orders VERSION AS OF 2 WHERE sales.orders.day = 'a'", &["|1|", "|4|"])
        .await;
    check(&mut s, "SELECT max(id) FROM table_at('sales.orders', 1)", &["|3|"]).await;
    check(&mut s, &format!("SELECT max(orders.id) FROM table_at('sales.orders', '{}')", at(2)), &["|4|"]).await;
    // Several versions of one table in one query.
    check(
        &mut s,
        "SELECT n.id FROM sales.orders n LEFT JOIN sales.orders VERSION AS OF 1 o ON n.id = o.id WHERE o.id IS NULL",
        &["|4|"],
    )
    .await;
    check(
        &mut s,
        "SELECT count(*) FROM table_at('sales.orders', 1) a, sales.orders VERSION AS OF 2 b, sales.orders c",
        &["|48|"],
    )
    .await;
    fails(&mut s, "SELECT * FROM sales.orders VERSION AS OF 7", &["no version 7", "newest is 2"]).await;
    fails(&mut s, "SELECT * FROM sales.orders TIMESTAMP AS OF 'soon'", &["\"soon\" is not a time"]).await;
    fails(&mut s, "SELECT * FROM sales.orders VERSION AS OF 1.5", &["1.5 is not a version"]).await;
    fails(&mut s, "SELECT * FROM sales.orders TIMESTAMP AS OF now()", &["expected VERSION AS OF 3"]).await;
    fails(&mut s, "SELECT * FROM table_at('sales.orders')", &["table_at('sales.orders', 3)"]).await;
    fails(&mut s, "SELECT * FROM table_at('sales.order', 1)", &["did you mean sales.orders?"]).await;
}

#[tokio::test]
async fn counts_and_bounds_come_from_the_log() {
    let (fixture, mut s) = shop().await;
    let plan = plan(&mut s, "SELECT count(*), min(id), max(id), max(day) FROM sales.orders").await;
    let physical = plan.split("physical_plan").nth(1).unwrap();
    assert!(physical.contains("PlaceholderRowExec") && !physical.contains("Scan"), "{plan}");
    remove_data_files(&fixture);
    check(&mut s, "SELECT count(*), min(id), max(id) FROM sales.orders", &["|4|1|4|"]).await;
    check(&mut s, "SELECT max(o.day), count(o.id), count(1) FROM sales.orders AS o", &["|b|4|4|"]).await;
    check(&mut s, "SELECT x + 1 FROM (SELECT max(id) AS x FROM Customers VERSION AS OF 1)", &["|5|"]).await;
    check(&mut s, "SELECT sum(1) FROM sales.orders", &["|4|"]).await;
    check(&mut s, "SELECT count(*) FROM sales.orders a, Customers b", &["|8|"]).await;
    check(&mut s, "SELECT count(*) FROM sales.orders WHERE day = 'a'", &["|2|"]).await;
    check(&mut s, "SELECT (SELECT max(id) FROM Customers) FROM (VALUES (1))", &["|4|"]).await;
    for reads in ["SELECT id FROM Customers", "SELECT max(day) FROM Customers", "SELECT sum(id) FROM sales.orders"] {
        fails(&mut s, reads, &["part-"]).await;
    }
}

#[tokio::test]
async fn inexact_statistics_are_computed_from_the_data() {
    let (_fixture, mut s) = shop().await;
    check(&mut s, "SELECT max(day), count(day), count(*) FROM Customers", &["|y|2|2|"]).await;
    check(&mut s, "SELECT count(*), max(id) FROM sales.orders WHERE id < 3", &["|2|2|"]).await;
    check(&mut s, "SELECT count(DISTINCT day), max(id) FROM sales.orders", &["|2|4|"]).await;
    check(&mut s, "SELECT max(id) FROM (SELECT id FROM sales.orders ORDER BY id LIMIT 2)", &["|2|"]).await;
    check(&mut s, "SELECT max(-id), max(id) FILTER (WHERE id < 4) FROM sales.orders", &["|-1|3|"]).await;
    check(&mut s, "SELECT count(*), min(id) FROM sales.orders VERSION AS OF 0", &["|0||"]).await;
    check(&mut s, "SELECT day, count(*) FROM sales.orders GROUP BY day", &["|a|2|", "|b|2|"]).await;
}

/// A log that records the requests to it.
#[derive(Debug)]
struct RecordingLog {
    log: Arc<dyn TxnLogReader>,
    what: Arc<Mutex<Vec<String>>>,
}

impl RecordingLog {
    fn note(&self, what: impl Into<String>) {
        self.what.lock().push(what.into());
    }
}

#[async_trait]
impl TxnLogReader for RecordingLog {
    async fn head(&self) -> Result<Head> {
        self.note("head");
        self.log.head().await
    }
    async fn snapshot(&self, at: At) -> Result<Snapshot> {
        self.note("snapshot");
        self.log.snapshot(at).await
    }
    async fn files(&self, version: Version, predicate: Option<&Predicate>) -> Result<BoxStream<'static, Result<Add>>> {
        self.note(format!("files {}", predicate.map_or("all".into(), Predicate::to_string)));
        self.log.files(version, predicate).await
    }
    async fn files_in_replay_order(&self, version: Version, predicate: Option<&Predicate>) -> Result<Vec<Add>> {
        self.note(format!("files {}", predicate.map_or("all".into(), Predicate::to_string)));
        self.log.files_in_replay_order(version, predicate).await
    }
    async fn history(&self, range: HistoryRange) -> Result<Vec<CommitSummary>> {
        self.note("history");
        self.log.history(range).await
    }
    async fn commit_bytes(&self, version: Version) -> Result<Option<Bytes>> {
        self.note("bytes");
        self.log.commit_bytes(version).await
    }
    async fn changes(&self, from: Version, to: Version) -> Result<BoxStream<'static, Result<(Version, Bytes)>>> {
        self.log.changes(from, to).await
    }
    fn summaries(&self) -> Option<&dyn LogSummaries> {
        Some(self)
    }
}

#[async_trait]
impl LogSummaries for RecordingLog {
    async fn explain(&self, version: Version, predicate: &Predicate) -> Result<Explanation> {
        self.note("explain");
        self.log.explain(version, predicate).await
    }
    async fn counts(&self, version: Version) -> Result<Counts> {
        self.note("counts");
        self.log.counts(version).await
    }
    async fn min_max(&self, version: Version, column: &str) -> Result<Option<(Literal, Literal)>> {
        self.note(format!("bounds of {column}"));
        self.log.min_max(version, column).await
    }
    async fn size_delta(&self, from: Version, to: Version) -> Result<SizeDelta> {
        self.note("growth");
        self.log.size_delta(from, to).await
    }
    async fn set_hash(&self, version: Version) -> Result<SetHash> {
        self.note("set hash");
        self.log.set_hash(version).await
    }
}

#[tokio::test]
async fn a_query_requests_only_the_files_and_statistics_it_needs() {
    let (fixture, _) = shop().await;
    let orders = fixture.open("sales.orders").await;
    let what = Arc::new(Mutex::new(Vec::new()));
    let log = RecordingLog { log: orders.reader().await.unwrap(), what: what.clone() };
    let place = orders.location().to_string();
    let table = DeltaTable::open_with_reader(&place, Arc::new(log)).await.unwrap();
    let context = session_context(&deltalakedb_log::stores::environment()).unwrap();
    let asks = async |sql: &str| {
        what.lock().clear();
        let provider = DeltaTableProvider::open(&table, At::Latest).await.unwrap();
        context.deregister_table("t").unwrap();
        context.register_table("t", Arc::new(provider)).unwrap();
        let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
        (text(&batches), what.lock().clone())
    };
    let one = |rows: &str| vec![rows.to_string()];
    assert_eq!(asks("SELECT id FROM t WHERE id = 4").await, (one("|4|"), vec!["head".into(), "files id = 4".into()]));
    let wanted = "files day = 'b' AND id >= 2 AND id <= 3";
    assert_eq!(
        asks("SELECT id FROM t WHERE day = 'b' AND id BETWEEN 2 AND 3").await.1,
        vec!["head".to_string(), wanted.into()]
    );
    assert_eq!(asks("SELECT id FROM t WHERE id > 3 LIMIT 5").await.1[1..], ["files id > 3"]);
    assert_eq!(asks("SELECT id FROM t WHERE abs(id) = 4").await, (one("|4|"), vec!["head".into(), "files all".into()]));
    assert_eq!(asks("SELECT count(*) FROM t").await, (one("|4|"), vec!["head".into(), "counts".into()]));
    assert_eq!(asks("SELECT max(id) FROM t").await.1[1..], ["counts", "bounds of id"]);
    assert_eq!(asks("SELECT day, max(id) FROM t GROUP BY day").await.1[1..], ["files all"]);
    what.lock().clear();
    table.read(&Scan { filter_sql: Some("id = 4".into()), ..Scan::default() }).await.unwrap();
    assert_eq!(*what.lock(), ["head", "files id = 4"]);
}

#[tokio::test]
async fn the_smaller_table_is_the_build_side_of_a_join() {
    let (fixture, s) = shop().await;
    let big = fixture.create("big", "id long, day string", &[]).await;
    let ids: Vec<i64> = (0..20_000).collect();
    big.write(rows(&ids, &vec!["d"; ids.len()]), SaveMode::Append, &WriteOptions::default()).await.unwrap();
    for sql in [
        "SELECT big.day, c.id FROM big JOIN Customers c ON big.id = c.id",
        "SELECT big.day, c.id FROM Customers c JOIN big ON big.id = c.id",
    ] {
        s.tables.hold(&["big".parse().unwrap(), "Customers".parse().unwrap()]).await.unwrap();
        let plan = s.context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let join = hash_join(&plan).unwrap_or_else(|| panic!("{}", displayable(plan.as_ref()).indent(false)));
        let columns = |side: &Arc<dyn ExecutionPlan>| -> Vec<String> {
            side.schema()
                .fields()
                .iter()
                .map(|f| f.name().clone())
                .filter(|name| ["id", "day"].contains(&&**name))
                .collect()
        };
        // Only the larger table is read with its day column.
        assert_eq!((columns(join.left()).len(), columns(join.right()).len()), (1, 2), "{sql}");
    }
}

/// The join in a plan.
fn hash_join(plan: &Arc<dyn ExecutionPlan>) -> Option<&HashJoinExec> {
    match plan.downcast_ref::<HashJoinExec>() {
        Some(join) => Some(join),
        None => plan.children().into_iter().find_map(hash_join),
    }
}

#[tokio::test]
async fn a_query_reads_one_snapshot_to_its_end() {
    let (fixture, mut s) = shop().await;
    let mut script = s.execute("SELECT id FROM sales.orders").unwrap();
    let Some(SqlResult::Rows(stream)) = script.next().await.unwrap() else { panic!("no rows") };
    let orders = fixture.open("sales.orders").await;
    orders.write(rows(&[9], &["z"]), SaveMode::Overwrite, &WriteOptions::default()).await.unwrap();
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    assert_eq!(text(&batches), ["|1|", "|2|", "|3|", "|4|"]);
    check(&mut s, "SELECT id FROM sales.orders", &["|9|"]).await;
}

#[tokio::test]
async fn any_session_of_datafusion_can_query_the_catalog() {
    let (fixture, _) = shop().await;
    let config = SessionConfig::new().with_default_catalog_and_schema("lake", "default").with_information_schema(true);
    let context = SessionContext::new_with_config(config);
    let tables = Arc::new(DeltaCatalogProvider::new(fixture.catalog.clone()));
    context.register_catalog("lake", tables.clone());
    let ask = async |sql: &str| text(&context.sql(sql).await.unwrap().collect().await.unwrap());
    let join = "SELECT c.day FROM sales.orders o JOIN \"Customers\" c ON o.id = c.id WHERE o.id > 3";
    assert_eq!(ask(join).await, ["|y|"]);
    assert_eq!(ask("SELECT count(*) FROM sales.orders").await, ["|4|"]);
    let listed = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'";
    tables.list().await.unwrap();
    assert_eq!(ask(listed).await, ["|default|Customers|", "|sales|orders|"]);
    // Held tables stay at their versions.
    tables.hold(&["sales.orders".parse().unwrap()]).await.unwrap();
    let orders = fixture.open("sales.orders").await;
    orders.write(rows(&[9], &["z"]), SaveMode::Append, &WriteOptions::default()).await.unwrap();
    assert_eq!(ask("SELECT count(*) FROM sales.orders").await, ["|4|"]);
    tables.hold(&[]).await.unwrap();
    assert_eq!(ask("SELECT count(*) FROM sales.orders").await, ["|5|"]);
}

#[tokio::test]
async fn columns_and_tables_with_special_names_are_quoted() {
    let fixture = Fixture::new();
    let odd = fixture.create("x.odd name", "`Ünï code` long, `select` string", &[]).await;
    let batch = RecordBatch::try_from_iter([
        ("Ünï code", Arc::new(Int64Array::from(vec![7])) as ArrayRef),
        ("select", Arc::new(StringArray::from(vec!["it's"])) as ArrayRef),
    ]);
    odd.write(vec![batch.unwrap()], SaveMode::Append, &WriteOptions::default()).await.unwrap();
    let mut s = session(&fixture);
    check(&mut s, "SELECT \"select\", `Ünï code` FROM x.\"odd name\" WHERE \"Ünï code\" = 7", &["|it's|7|"]).await;
    check(&mut s, "SELECT max(\"Ünï code\") FROM x.\"odd name\" VERSION AS OF 1", &["|7|"]).await;
    check(&mut s, "SELECT max(\"Ünï code\") FROM table_at('x.odd name', 1)", &["|7|"]).await;
}

#[tokio::test]
async fn statements_that_cannot_run_are_refused_in_one_sentence() {
    let (_fixture, mut s) = shop().await;
    fails(&mut s, "SELECT * FROM sales.order", &["no table sales.order", "did you mean sales.orders?"]).await;
    fails(&mut s, "SELECT * FROM customers", &["no table default.customers", "did you mean default.Customers?"]).await;
    fails(&mut s, "SELECT * FROM a.b.c", &["\"a.b.c\" is not a table name"]).await;
    fails(&mut s, "SELECT * FROM \"sales.orders\"", &["\"default.sales.orders\" is not a table name"]).await;
    fails(&mut s, "SELECT nosuch FROM sales.orders", &["the query cannot be run", "nosuch", "orders.id"]).await;
    fails(&mut s, "SELECT id FROM sales.orders, Customers", &["Ambiguous", "id"]).await;
    fails(&mut s, "SELECT id FROM Customers, Customers", &["Customers"]).await;
    fails(&mut s, "SELECT id FROM sales.orders WHERE", &["the SQL cannot be read", "Expected: an expression"]).await;
    fails(&mut s, "SELECT 'x", &["the SQL cannot be read", "Unterminated string literal", "Line: 1, Column: 8"]).await;
    fails(&mut s, "SELECT coz(id) FROM Customers", &["Invalid function 'coz'"]).await;
    fails(&mut s, "SELECT id + day FROM Customers", &["the query cannot be run"]).await;
    fails(&mut s, "SELECT CAST('x' AS INT)", &["Cannot cast string 'x'"]).await;
    fails(&mut s, "SELECT id INTO x FROM Customers", &["DDL"]).await;
    fails(&mut s, "SELECT * FROM nosuch(3)", &["nosuch"]).await;
    fails(&mut s, "DESCRIBE nosuch", &["no table default.nosuch"]).await;
    fails(&mut s, "SHOW TABLES LIKE 'x'", &["SHOW TABLES takes no condition"]).await;
    fails(&mut s, &format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000)), &["recursion"]).await;
    // Statements after an error are not run.
    let mut script = s.execute("SELECT 1; SELECT * FROM nosuch; SELECT 2").unwrap();
    assert!(script.next().await.is_ok_and(|r| r.is_some()));
    assert!(script.next().await.is_err());
    assert!(script.next().await.is_ok_and(|r| r.is_none()));
}

#[tokio::test]
async fn plans_have_table_names_and_few_files() {
    let (_fixture, mut s) = shop().await;
    let plan = plan(&mut s, "SELECT day FROM sales.orders WHERE id = 4").await;
    assert!(plan.contains("TableScan: sales.orders") && plan.contains("DataSourceExec"), "{plan}");
    assert_eq!(plan.matches(".parquet").count(), 1, "one file holds 4: {plan}");
    let provider = DeltaTableProvider::open(&_fixture.open("sales.orders").await, At::Latest).await.unwrap();
    let context = session_context(&deltalakedb_log::stores::environment()).unwrap();
    let scan = provider.scan(&context.state(), Some(&vec![]), &[], None).await.unwrap();
    assert_eq!(displayable(scan.as_ref()).one_line().to_string().trim(), "MetadataOnlyScanExec: rows=Exact(4)");
}
