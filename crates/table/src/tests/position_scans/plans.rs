//! What plans know and do about a scan.

use super::*;

/// A session with a table of two files, of two partitions.
async fn session(fixture: &Fixture) -> SessionContext {
    let table = fixture.create("t", "id long, day string, x double", &["day"]).await;
    for (ids, day) in [([5, 7], "b"), ([1, 3], "a")] {
        table.write(rows(&ids, &[day, day]), SaveMode::Append, &WriteOptions::default()).await.unwrap();
    }
    session_with(&table).await
}

/// The lines of a plan, without spaces.
async fn explain(session: &SessionContext, sql: &str) -> String {
    ask(session, &format!("EXPLAIN {sql}")).await.join("\n")
}

#[tokio::test]
async fn a_scan_has_estimates_of_its_columns_from_the_log() {
    let fixture = Fixture::new();
    let session = session(&fixture).await;
    set(&session, "datafusion.explain.show_statistics", true);
    let plan = explain(&session, "SELECT x, day, id FROM t WHERE id > 0").await;
    let scan = plan.lines().find(|line| line.contains("DataSourceExec")).unwrap();
    let id = "Min=Inexact(Int64(1))Max=Inexact(Int64(7))Null=Inexact(0)";
    let day = r#"Min=Inexact(Utf8View("a"))Max=Inexact(Utf8View("b"))Null=Inexact(0)"#;
    assert!(scan.ends_with(&format!("[(Col[0]:{id}),(Col[1]:{day}),(Col[2]:)]]|")), "no file has a value of x: {plan}");
}

#[tokio::test]
async fn filters_are_evaluated_in_the_reader_if_the_session_asks_for_it() {
    let fixture = Fixture::new();
    let session = session(&fixture).await;
    let sql = "SELECT id FROM t WHERE id = 3";
    let plan = explain(&session, sql).await;
    assert!(plan.contains("FilterExec:id@0=3") && plan.contains("pruning_predicate"), "{plan}");
    set(&session, "datafusion.execution.parquet.pushdown_filters", true);
    let plan = explain(&session, sql).await;
    assert!(!plan.contains("FilterExec") && plan.contains("predicate=id@0=3"), "{plan}");
    assert_eq!(ask(&session, sql).await.len(), 1);
}
