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
    assert!(scan.ends_with(&format!("[(Col[0]:{id}),(Col[1]:{day}),(Col[2]:)]]|")), "no estimate of a float: {plan}");
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

/// DataFusion 55.2 takes the number of different values for known if a filter leaves one, and rows or none.
#[tokio::test]
async fn different_values_are_counted_in_rows_that_exist() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "a long, b long, p long, q long", &["p", "q"]).await;
    let column = |values: [i64; 2]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
    let columns =
        [("a", [1, 7]), ("b", [8, 2]), ("p", [3, 3]), ("q", [4, 4])].map(|(name, values)| (name, column(values)));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    table.write(vec![batch], SaveMode::Append, &WriteOptions::default()).await.unwrap();
    let session = session_with(&table).await;
    for condition in ["a = 7 AND b = 8", "a > 6 AND b > 7", "p = 3 AND q = 4 AND a = 5", "a >= 7 AND b >= 8 AND p = 3"]
    {
        for in_reader in [false, true] {
            set(&session, "datafusion.execution.parquet.pushdown_filters", in_reader);
            let sql = format!(
                "SELECT count(DISTINCT a), count(DISTINCT b), count(DISTINCT p), count(DISTINCT q) FROM t WHERE {condition}"
            );
            assert_eq!(ask(&session, &sql).await, ["|0|0|0|0|"], "{condition}");
        }
    }
}
