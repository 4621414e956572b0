//! Tests of tables that are dropped and renamed.

use deltalakedb_log::{Committer, TableLifecycle};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_renamed_and_dropped() {
    let (fixture, mut s) = shop().await;
    check(&mut s, "ALTER TABLE sales.orders RENAME TO old; SELECT count(*) FROM sales.old", &["|4|"]).await;
    fails(&mut s, "SELECT * FROM sales.orders", &["there is no table sales.orders"]).await;
    check(&mut s, "ALTER TABLE sales.old RENAME TO archive.orders; SELECT max(id) FROM archive.orders", &["|4|"]).await;
    fails(&mut s, "ALTER TABLE archive.orders RENAME TO default.Customers", &["a table default.Customers already"])
        .await;
    fails(&mut s, "ALTER TABLE nosuch RENAME TO b", &["there is no table default.nosuch"]).await;
    check(&mut s, "ALTER TABLE IF EXISTS nosuch RENAME TO b", &[]).await;
    fails(&mut s, "ALTER TABLE archive.orders ADD COLUMN x INT", &["`dl alter NAME`"]).await;

    let place = fixture.dir.path().join("sales.orders");
    check(&mut s, "DROP TABLE archive.orders; SHOW TABLES IN archive", &[]).await;
    fails(&mut s, "SELECT * FROM archive.orders", &["archive.orders was dropped", "`dl undrop archive.orders`"]).await;
    assert!(place.join("_delta_log/00000000000000000002.json").exists(), "it is published to its end");
    check(&mut s, "DROP TABLE IF EXISTS archive.orders; DROP TABLE IF EXISTS nosuch", &[]).await;
    fails(&mut s, "DROP TABLE archive.orders", &["archive.orders was dropped"]).await;
    fails(&mut s, "DROP TABLE nosuch", &["there is no table default.nosuch"]).await;
    let dropped = fixture.catalog.inactive_tables(None, 100).await.unwrap().remove(0);
    fixture.catalog.undrop_table(dropped.id, None, &Committer::default()).await.unwrap();
    check(&mut s, "SELECT count(*) FROM archive.orders", &["|4|"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_transaction_drops_or_renames() {
    let (_fixture, mut s) = shop().await;
    for statement in ["DROP TABLE sales.orders", "ALTER TABLE sales.orders RENAME TO x"] {
        fails(&mut s, &format!("BEGIN; {statement}"), &["cannot be part of a transaction", "rolled back"]).await;
    }
    check(&mut s, "SELECT count(*) FROM sales.orders", &["|4|"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_created_and_dropped() {
    let (_fixture, mut s) = shop().await;
    check(&mut s, "SHOW SCHEMAS", &["|default|", "|sales|"]).await;
    check(
        &mut s,
        "CREATE SCHEMA empty; CREATE SCHEMA IF NOT EXISTS empty; SHOW SCHEMAS",
        &["|default|", "|empty|", "|sales|"],
    )
    .await;
    fails(&mut s, "CREATE SCHEMA empty", &["there is a namespace empty already"]).await;
    fails(&mut s, "CREATE SCHEMA a.b", &["a.b is not a namespace"]).await;
    fails(&mut s, "CREATE SCHEMA AUTHORIZATION ann", &["this CREATE SCHEMA", "expected CREATE SCHEMA"]).await;
    fails(&mut s, "DROP SCHEMA sales", &["the namespace sales has tables, such as sales.orders"]).await;
    fails(&mut s, "DROP SCHEMA sales CASCADE", &["this DROP SCHEMA", "of one without tables"]).await;
    fails(&mut s, "DROP SCHEMA nosuch", &["there is no namespace nosuch"]).await;
    check(&mut s, "DROP SCHEMA IF EXISTS nosuch; DROP SCHEMA empty; SHOW SCHEMAS", &["|default|", "|sales|"]).await;
    for statement in ["CREATE SCHEMA x", "DROP SCHEMA sales"] {
        fails(&mut s, &format!("BEGIN; {statement}"), &["cannot be part of a transaction", "rolled back"]).await;
    }
}
