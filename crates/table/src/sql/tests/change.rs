//! Tests of statements that write.

use deltalakedb_log::TableListing;

use super::*;

/// The results of the statements, without rows.
async fn completed(session: &mut SqlSession, sql: &str) -> Vec<(&'static str, Option<u64>, Vec<u64>)> {
    let mut all = Vec::new();
    let mut script = session.execute(sql).unwrap();
    while let Some(result) = script.next().await.unwrap_or_else(|e| panic!("{sql}: {e}")) {
        if let SqlResult::CommandComplete(done) = result {
            all.push((done.command, done.rows, done.committed.iter().map(|c| c.version).collect()));
        }
    }
    all
}

fn with_warehouse(fixture: &Fixture) -> SqlSession {
    let warehouse = Some(fixture.dir.path().join("house").display().to_string());
    let write = WriteOptions { committer: Some("ann".into()), ..WriteOptions::default() };
    let options = SqlOptions { warehouse, write };
    SqlSession::new(fixture.catalog.clone(), options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_created_filled_changed_and_emptied() {
    let fixture = Fixture::new();
    let mut s = with_warehouse(&fixture);
    let made = "CREATE TABLE a.t (id BIGINT NOT NULL, \"Name\" VARCHAR, price DECIMAL(10, 2), at TIMESTAMP, day STRING) \
                PARTITIONED BY (day) TBLPROPERTIES ('delta.appendOnly' = 'false')";
    assert_eq!(completed(&mut s, made).await, [("CREATE TABLE", Some(0), vec![0])]);
    let kinds =
        ["Name|string|true", "at|timestamp|true", "day|string|true", "id|long|false", "price|decimal(10,2)|true"];
    let kinds: Vec<_> =
        kinds.iter().map(|k| format!("|{k}|{}|", if k.starts_with("day") { "true" } else { "false" })).collect();
    assert_eq!(ask(&mut s, "DESCRIBE a.t").await.unwrap(), kinds);
    let columns = "INSERT INTO a.t (price, id, day) VALUES (1.5, 1, 'x'), (2, 2, 'y')";
    assert_eq!(completed(&mut s, columns).await, [("INSERT", Some(2), vec![1])]);
    assert_eq!(completed(&mut s, "INSERT INTO a.t SELECT id + 10, 'n', price, NULL, day FROM a.t").await[0].1, Some(2));
    let all = "SELECT id, \"Name\", price, day FROM a.t";
    check(&mut s, all, &["|11|n|1.50|x|", "|12|n|2.00|y|", "|1||1.50|x|", "|2||2.00|y|"]).await;
    let update =
        "UPDATE a.t AS z SET \"Name\" = upper(z.\"Name\"), price = z.price * 2 WHERE z.id > 10 AND a.z.day = 'x'";
    assert_eq!(completed(&mut s, update).await, [("UPDATE", Some(1), vec![3])]);
    check(&mut s, "SELECT price, \"Name\" FROM a.t WHERE id = 11", &["|3.00|N|"]).await;
    assert_eq!(completed(&mut s, "DELETE FROM a.t WHERE t.id IN (1, 2)").await, [("DELETE", Some(2), vec![4])]);
    check(&mut s, all, &["|11|N|3.00|x|", "|12|n|2.00|y|"]).await;
    assert_eq!(
        completed(&mut s, "INSERT OVERWRITE a.t (id, day) VALUES (7, 'z')").await,
        [("INSERT", Some(1), vec![5])]
    );
    check(&mut s, all, &["|7|||z|"]).await;
    completed(&mut s, "DELETE FROM a.t").await;
    check(&mut s, "SELECT count(*) FROM a.t; SELECT count(*) FROM a.t VERSION AS OF 3", &["|0|", "|4|"]).await;
    // Nothing to do creates no version.
    assert_eq!(completed(&mut s, "INSERT INTO a.t SELECT * FROM a.t").await, [("INSERT", Some(0), vec![])]);
    assert_eq!(completed(&mut s, "CREATE TABLE IF NOT EXISTS a.t (id INT)").await, [("CREATE TABLE", None, vec![])]);
    let history = fixture.open("a.t").await.reader().await.unwrap().history(HistoryRange::default()).await.unwrap();
    let operations: Vec<_> = history.iter().rev().map(|h| h.operation.clone().unwrap()).collect();
    assert_eq!(operations[..5], ["CREATE TABLE", "WRITE", "WRITE", "UPDATE", "DELETE"]);
    assert_eq!(history[0].committer.as_deref(), Some("ann"));
}

#[tokio::test(flavor = "multi_thread")]
async fn create_table_as_select_creates_a_table() {
    let (fixture, _) = shop().await;
    let mut s = with_warehouse(&fixture);
    let place = fixture.dir.path().join("elsewhere");
    let made = format!(
        "CREATE TABLE sales.busy PARTITIONED BY (day) LOCATION '{}' AS \
         SELECT day, count(*) AS n, max(id) AS top FROM sales.orders GROUP BY day",
        place.display()
    );
    assert_eq!(completed(&mut s, &made).await, [("CREATE TABLE", Some(2), vec![0])]);
    check(&mut s, "SELECT day, n, top FROM sales.busy", &["|a|2|4|", "|b|2|3|"]).await;
    assert!(place.join("day=a").is_dir());
    completed(&mut s, "CREATE TABLE twin AS SELECT * FROM sales.orders").await;
    check(&mut s, "SELECT count(*) FROM twin JOIN sales.orders USING (id)", &["|4|"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_several_statements_is_atomic() {
    let (fixture, mut s) = shop().await;
    let mut other = session(&fixture);
    let both = "BEGIN; INSERT INTO Customers VALUES (9, 'new'); UPDATE sales.orders SET day = 'moved' WHERE id = 1";
    let steps = [("BEGIN", None, vec![]), ("INSERT", Some(1), vec![]), ("UPDATE", Some(1), vec![])];
    assert_eq!(completed(&mut s, both).await, steps);
    // The transaction sees its own changes, including in joins; other sessions do not.
    let join = "SELECT o.day, c.id FROM sales.orders o LEFT JOIN Customers c ON c.id = o.id + 8 WHERE o.id = 1";
    check(&mut s, join, &["|moved|9|"]).await;
    check(&mut s, "SELECT count(*), max(id) FROM Customers", &["|3|9|"]).await;
    check(&mut other, join, &["|a||"]).await;
    // It does not see concurrent commits.
    completed(&mut other, "INSERT INTO sales.orders VALUES (50, 'late')").await;
    check(&mut s, "SELECT count(*) FROM sales.orders", &["|4|"]).await;
    check(&mut s, "SELECT count(*) FROM sales.orders VERSION AS OF 3", &["|5|"]).await;
    assert_eq!(completed(&mut s, "COMMIT").await, [("COMMIT", None, vec![2, 4])]);
    check(&mut other, join, &["|moved|9|"]).await;
    check(&mut s, "SELECT count(*) FROM sales.orders", &["|5|"]).await;

    assert_eq!(completed(&mut s, "START TRANSACTION; DELETE FROM Customers; ROLLBACK").await[2].0, "ROLLBACK");
    check(&mut s, "SELECT count(*) FROM Customers", &["|3|"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_created_in_a_transaction_is_visible_in_it() {
    let (fixture, _) = shop().await;
    let mut s = with_warehouse(&fixture);
    completed(
        &mut s,
        "BEGIN; CREATE TABLE n (id BIGINT); INSERT INTO n SELECT id FROM sales.orders; DELETE FROM n WHERE id = 1",
    )
    .await;
    check(&mut s, "SELECT count(*), min(id) FROM n", &["|3|2|"]).await;
    fails(&mut session(&fixture), "SELECT * FROM n", &["no table default.n"]).await;
    assert_eq!(completed(&mut s, "COMMIT").await, [("COMMIT", None, vec![0])]);
    check(&mut session(&fixture), "SELECT count(*), min(id) FROM n", &["|3|2|"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_transaction_leaves_no_trace() {
    let (fixture, mut s) = shop().await;
    let files = |fixture: &Fixture| {
        let mut n = 0;
        let mut folders = vec![fixture.dir.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
                if path.is_dir() { folders.push(path) } else { n += 1 }
            }
        }
        n
    };
    let before = files(&fixture);
    let wrong = "BEGIN; INSERT INTO Customers VALUES (9, 'x'); SELECT nosuch FROM Customers; COMMIT";
    fails(&mut s, wrong, &["nosuch", "; the transaction was rolled back"]).await;
    fails(&mut s, "COMMIT", &["no transaction to commit"]).await;
    fails(&mut s, "ROLLBACK", &["no transaction to roll back"]).await;
    fails(&mut s, "BEGIN; BEGIN", &["open already", "rolled back"]).await;
    completed(&mut s, "BEGIN; INSERT INTO Customers VALUES (9, 'x')").await;
    assert!(s.close().await.unwrap() && !s.close().await.unwrap());
    assert_eq!(files(&fixture), before, "data files of what was not committed are gone");
    check(&mut s, "SELECT count(*) FROM Customers", &["|2|"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_changes_of_the_same_rows_the_first_wins() {
    let (fixture, mut s) = shop().await;
    let mut other = session(&fixture);
    completed(&mut s, "BEGIN; UPDATE Customers SET day = 'mine' WHERE id = 2").await;
    completed(&mut other, "UPDATE Customers SET day = 'theirs' WHERE id = 2").await;
    let mut script = s.execute("COMMIT").unwrap();
    let Err(e) = script.next().await else { panic!("both won") };
    assert_eq!(e.kind(), ErrorKind::Conflict);
    assert!(e.to_string().contains("default.Customers") && e.to_string().contains("UPDATE"), "{e}");
    check(&mut s, "SELECT day FROM Customers WHERE id = 2", &["|theirs|"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serializable_transaction_conflicts_when_its_reads_changed() {
    for (isolation, both) in [("SNAPSHOT", true), ("SERIALIZABLE", false)] {
        for reads in ["SELECT count(*) FROM sales.orders", "SELECT day FROM sales.orders WHERE id > 3"] {
            let (fixture, mut s) = shop().await;
            let mut other = session(&fixture);
            completed(&mut s, &format!("BEGIN TRANSACTION ISOLATION LEVEL {isolation}")).await;
            ask(&mut s, reads).await.unwrap();
            completed(&mut s, "INSERT INTO Customers VALUES (4, 'counted')").await;
            completed(&mut other, "INSERT INTO sales.orders VALUES (5, 'a')").await;
            let committed = s.execute("COMMIT").unwrap().next().await;
            assert_eq!(committed.is_ok(), both, "{isolation}: {reads}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unsupported_writes_are_refused_by_name() {
    let (fixture, mut s) = shop().await;
    let versions = async || {
        let tables = fixture.catalog.tables().await.unwrap();
        tables.into_iter().map(|t| (t.name.to_string(), t.current_version)).collect::<Vec<_>>()
    };
    let before = versions().await;
    fails(&mut s, "INSERT INTO nosuch VALUES (1)", &["no table default.nosuch"]).await;
    fails(&mut s, "INSERT INTO Customers VALUES (1)", &["expected 2, got 1"]).await;
    fails(&mut s, "INSERT INTO Customers (nosuch) VALUES (1)", &["has no column nosuch: it has id, day"]).await;
    fails(&mut s, "INSERT INTO Customers (id, id) VALUES (1, 2)", &["names id twice"]).await;
    fails(&mut s, "INSERT INTO sales.orders (day) VALUES ('x')", &["id"]).await;
    fails(&mut s, "INSERT INTO Customers VALUES ('x', 'y')", &["Cannot cast string 'x'"]).await;
    fails(&mut s, "INSERT INTO Customers SELECT id, nosuch FROM sales.orders", &["No field named nosuch"]).await;
    fails(&mut s, "INSERT INTO Customers VALUES (1, 'x') ON CONFLICT DO NOTHING", &["ON CONFLICT"]).await;
    fails(&mut s, "DELETE FROM Customers WHERE nosuch = 1", &["column \"nosuch\"", "expected one of id, day"]).await;
    fails(&mut s, "DELETE FROM Customers WHERE id IN (SELECT id FROM sales.orders)", &["subquery", "dl merge"]).await;
    fails(&mut s, "DELETE FROM Customers USING sales.orders WHERE true", &["expected DELETE FROM NAME"]).await;
    fails(&mut s, "DELETE FROM Customers VERSION AS OF 1", &["as it is now"]).await;
    fails(&mut s, "UPDATE Customers SET nosuch = 1", &["no column \"nosuch\""]).await;
    fails(&mut s, "UPDATE Customers SET id = 'x'", &["Cannot cast string 'x'"]).await;
    fails(&mut s, "UPDATE Customers SET id = o.id FROM sales.orders o", &["expected UPDATE NAME SET"]).await;
    fails(&mut s, "CREATE TABLE x (id BIGINT)", &["needs a location", "LOCATION", "warehouse"]).await;
    fails(&mut s, "CREATE TABLE Customers (id BIGINT) LOCATION '/tmp/x'", &["there is a table default.Customers"])
        .await;
    fails(&mut s, "CREATE TABLE x (id LONGISH) LOCATION '/tmp/x'", &["unknown type \"LONGISH\""]).await;
    fails(&mut s, "CREATE TABLE x (id INT PRIMARY KEY) LOCATION '/tmp/x'", &["PRIMARY KEY"]).await;
    fails(&mut s, "CREATE TABLE x LOCATION '/tmp/x'", &["has no columns"]).await;
    fails(&mut s, "CREATE OR REPLACE TABLE x (id INT)", &["CREATE OR REPLACE TABLE"]).await;
    fails(
        &mut s,
        "CREATE TABLE x (id INT) PARTITIONED BY (day) LOCATION '/tmp/x'",
        &["cannot be partitioned by \"day\""],
    )
    .await;
    fails(&mut s, "CREATE TABLE x STORED AS PARQUET LOCATION '/tmp/x' AS SELECT 1 AS a", &["file format"]).await;
    assert_eq!(versions().await, before);
}
