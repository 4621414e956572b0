//! A condition selects the rows for which it is true: not those for which it is null, in every evaluation, and those
//! with NaN where NaN makes it true.

use arrow::array::Float64Array;

use super::*;

/// Rows 1 to 4, of which the third has only its id and is null otherwise, each in a file of its own.
async fn filled(fixture: &Fixture, name: &str, partition_by: &[&str]) -> DeltaTable {
    let table = fixture.create(name, "id long, i int, p string", partition_by).await;
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
    let i: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(2), None, Some(10)]));
    let p: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b"), None, Some("A b/=%")]));
    let batch = RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("i", i, true), ("p", p, true)]).unwrap();
    for row in 0..4 {
        table.write(vec![batch.slice(row, 1)], SaveMode::Append, &WriteOptions::default()).await.unwrap();
    }
    table
}

async fn ids(table: &DeltaTable, filter: Option<&str>) -> Vec<i64> {
    let scan = Scan { columns: Some(vec!["id".into()]), filter_sql: filter.map(String::from), ..Scan::default() };
    let lines = text(&table.read(&scan).await.unwrap_or_else(|e| panic!("{filter:?}: {e}")));
    let mut ids: Vec<i64> = lines.iter().map(|l| l.trim_matches('|').parse().unwrap()).collect();
    ids.sort_unstable();
    ids
}

/// Conditions over the table above, and the rows for which they are true.
const CONDITIONS: &[(&str, &[i64])] = &[
    ("NULL", &[]),
    ("i = NULL", &[]),
    ("NOT (i = NULL)", &[]),
    ("i + NULL > 0", &[]),
    ("p = NULL", &[]),
    ("p <> NULL", &[]),
    ("p LIKE NULL", &[]),
    ("p IN (NULL)", &[]),
    ("p NOT IN ('a', NULL)", &[]),
    ("p BETWEEN NULL AND 'b'", &[]),
    ("p = 'a' AND NULL", &[]),
    ("false", &[]),
    ("1 = 0", &[]),
    ("p = 'a' OR NULL", &[1]),
    ("p IN ('a', NULL)", &[1]),
    ("i IN (1, NULL)", &[1]),
    ("CASE WHEN p = 'a' THEN true END", &[1]),
    ("coalesce(p = NULL, i = 2)", &[2]),
    ("p <> 'a'", &[2, 4]),
    ("upper(p) LIKE 'A%' AND NOT p = 'a'", &[4]),
    ("p IS NOT DISTINCT FROM NULL", &[3]),
    ("(p = 'a') IS NOT TRUE", &[2, 3, 4]),
    ("i = 1.5", &[]),
    ("i < 1.5", &[1]),
    ("i BETWEEN 1.5 AND 2.5", &[2]),
    ("i IN (1.5, 2.0)", &[2]),
    ("p = 'a' -- and a remark", &[1]),
    ("length(p) = 1", &[1, 2]),
    ("p = 'a' AND now() > TIMESTAMP '2020-01-01' + INTERVAL '1 day'", &[1]),
    ("true", &[1, 2, 3, 4]),
];

/// The ids that are left after an operation, which is undone.
async fn left_by(fixture: &Fixture, table: &str, operation: Operation, what: &str) -> Vec<i64> {
    let tx = Transaction::begin(fixture.catalog.clone(), TransactionOptions::default()).await.unwrap();
    tx.run(table, operation).await.unwrap_or_else(|e| panic!("{what}: {e}"));
    let scan = Scan { filter_sql: Some("i IS DISTINCT FROM -1".into()), ..Scan::default() };
    let rows: Vec<_> = tx.read(table, &scan).await.unwrap();
    tx.rollback().await;
    let mut ids: Vec<i64> = text(&rows).iter().map(|l| l.split('|').nth(1).unwrap().parse().unwrap()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_for_which_a_condition_is_null_are_not_changed() {
    let fixture = Fixture::new();
    for (kind, partition_by) in [("flat", &[] as &[&str]), ("parts", &["p"])] {
        let table = filled(&fixture, kind, partition_by).await;
        let schema = table.read(&Scan::default()).await.unwrap()[0].schema();
        for (condition, hit) in CONDITIONS {
            let left: Vec<_> = [1, 2, 3, 4].into_iter().filter(|id| !hit.contains(id)).collect();
            let filter = Some(condition.to_string());
            let none = RecordBatch::new_empty(schema.clone());
            let replace =
                WriteRows { replace_where: filter.clone(), ..WriteRows::new(vec![none], SaveMode::Overwrite) };
            let set = vec![("i".to_string(), "-1".to_string())];
            let on = Merge::on("target.id = source.id");
            let clause = MergeClause::MatchedDelete { condition: Some(of_target(condition)) };
            let unmatched = MergeClause::NotMatchedBySourceDelete { condition: Some(of_target(condition)) };
            assert_eq!(ids(&table, Some(condition)).await, *hit, "read {kind}: {condition}");
            for (what, operation) in [
                ("delete", Operation::Delete { filter: filter.clone() }),
                ("update", Operation::Update { set, filter, safe_cast: false }),
                ("overwrite", Operation::Write(replace)),
                ("merge", Operation::Merge(on.clone().when(clause), rows(&[1, 2, 3, 4], &["x"; 4]).into())),
                ("merge what is not there", Operation::Merge(on.when(unmatched), rows(&[9], &["x"]).into())),
            ] {
                let what = format!("{what} {kind}: {condition}");
                assert_eq!(left_by(&fixture, kind, operation, &what).await, left, "{what}");
            }
        }
        let version = table.head().await.unwrap().version;
        for never in ["i = NULL", "p = NULL", "p NOT IN ('a', NULL)", "false"] {
            let done = table.delete(Some(never), &WriteOptions::default()).await.unwrap();
            assert_eq!(done.committed, None, "{kind}: {never}");
        }
        assert_eq!(table.head().await.unwrap().version, version);
        table.delete(Some("p = 'a' OR NULL"), &WriteOptions::default()).await.unwrap();
        check_plain(&table).await;
    }
}

/// The condition with its columns named as those of a merge's target.
fn of_target(condition: &str) -> String {
    let mut words: Vec<_> = condition.split_inclusive(|c: char| !c.is_alphanumeric()).map(String::from).collect();
    for word in &mut words {
        if matches!(word.trim_end_matches(|c: char| !c.is_alphanumeric()), "i" | "p") {
            word.insert_str(0, "target.");
        }
    }
    words.concat()
}

/// NaN with equal numbers, and with its sign bit set, each pair in a file.
async fn floats(fixture: &Fixture) -> DeltaTable {
    let table = fixture.create("f", "id long, x double", &[]).await;
    let pairs = [[1.0, f64::NAN], [5.0, 5.0], [-3.0, -f64::NAN], [0.0, -0.0]];
    for (n, pair) in pairs.iter().enumerate() {
        let id = 2 * n as i64;
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![id, id + 1]));
        let xs: ArrayRef = Arc::new(Float64Array::from(pair.to_vec()));
        let batch = RecordBatch::try_from_iter([("id", ids), ("x", xs)]).unwrap();
        table.write(vec![batch], SaveMode::Append, &WriteOptions::default()).await.unwrap();
    }
    table
}

#[tokio::test(flavor = "multi_thread")]
async fn nan_orders_above_every_number_and_is_not_in_the_bounds() {
    let (fixture, options) = (Fixture::new(), WriteOptions::default());
    let table = floats(&fixture).await;
    let filled = table.head().await.unwrap().version;
    for (condition, hit) in [
        ("x <> 1.0", [1, 2, 3, 4, 5, 6, 7].as_slice()),
        ("x <> -3.0", &[0, 1, 2, 3, 5, 6, 7]),
        ("x = 1.0", &[0]),
        ("x > 100", &[1, 5]),
        ("x < -2.5", &[4]),
        ("x <= 1.0", &[0, 4, 6, 7]),
        ("NOT (x <= 1.0)", &[1, 2, 3, 5]),
        ("x NOT IN (1.0, 5.0)", &[1, 4, 5, 6, 7]),
        ("x = 'NaN'", &[1, 5]),
        ("x = 0", &[6, 7]),
        ("x IN (0, 1, 2, 3, NULL)", &[0, 6, 7]),
        ("x NOT IN (-0.0, 2, 3, 4, 5)", &[0, 1, 4, 5]),
        ("x < 0", &[4]),
        ("isnan(x)", &[1, 5]),
    ] {
        assert_eq!(ids(&table, Some(condition)).await, hit, "read {condition}");
        let left: Vec<_> = (0..8).filter(|id| !hit.contains(id)).collect();
        table.delete(Some(condition), &options).await.unwrap();
        assert_eq!(ids(&table, None).await, left, "delete {condition}");
        table.restore(At::Version(filled), &options).await.unwrap();
    }
    let xs: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN]));
    let new: ArrayRef = Arc::new(Int64Array::from(vec![100]));
    let source = vec![RecordBatch::try_from_iter([("id", new), ("x", xs)]).unwrap()];
    let merge = Merge::on("target.x = source.x")
        .when(MergeClause::MatchedUpdate {
            condition: None,
            set: Assignments::Columns(vec![("id".into(), "target.id + source.id".into())]),
        })
        .when(MergeClause::NotMatchedInsert { condition: None, values: Assignments::All });
    table.merge(merge, source, &options).await.unwrap();
    assert_eq!(ids(&table, None).await, [0, 2, 3, 4, 6, 7, 101, 105], "NaN is NaN, whatever its sign");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_records_the_condition_as_it_was_given() {
    let (fixture, options) = (Fixture::new(), WriteOptions::default());
    let table = filled(&fixture, "t", &["p"]).await;
    table.delete(Some("p = 'a' and i < 1.5"), &options).await.unwrap();
    table.update(&[("i", "i * 2")], Some("i = 2 OR p = NULL"), &options).await.unwrap();
    let history = table.reader().await.unwrap().history(Default::default()).await.unwrap();
    let parameters: Vec<_> = history.iter().take(2).map(|h| h.operation_parameters.clone().unwrap()).collect();
    assert_eq!(parameters, [r#"{"predicate":"i = 2 OR p = NULL"}"#, r#"{"predicate":"p = 'a' and i < 1.5"}"#]);
    let merge = Merge::on("target.id = source.id")
        .when(MergeClause::MatchedDelete { condition: Some("length(target.p) > 100".into()) })
        .when(MergeClause::NotMatchedInsert {
            condition: Some("source.day = 'x'".into()),
            values: Assignments::Columns(vec![("id".into(), "source.id".into())]),
        });
    table.merge(merge, rows(&[2, 50], &["y", "x"]), &options).await.unwrap();
    let history = table.reader().await.unwrap().history(Default::default()).await.unwrap();
    let parameters = history[0].operation_parameters.clone().unwrap();
    for part in [r#"\"predicate\":\"length(target.p) > 100\""#, r#"\"predicate\":\"source.day = 'x'\""#] {
        assert!(parameters.contains(part), "{parameters}");
    }
}
