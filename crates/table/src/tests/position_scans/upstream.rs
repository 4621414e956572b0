//! Faults of DataFusion and delta-rs that gave wrong rows in scans like ours, each as a test that stays when they are
//! upgraded.

use datafusion::physical_plan::{ExecutionPlan, execute_stream};

use super::*;

const FILTERS_IN_READER: &str = "datafusion.execution.parquet.pushdown_filters";

/// Columns of 64-bit numbers.
fn numbers(columns: &[(&str, Vec<Option<i64>>)]) -> RecordBatch {
    let columns = columns.iter().map(|(name, values)| (*name, Arc::new(Int64Array::from(values.clone())) as ArrayRef));
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, values)| (name, values, true))).unwrap()
}

fn long_columns(names: &[&str]) -> Columns {
    Columns::new(&names.iter().map(|name| (*name, json!("long"))).collect::<Vec<_>>(), &[])
}

/// <https://github.com/apache/datafusion/issues/24352>: a row group of which no row passes the filter was finished
/// without being counted, so that a later one was read twice when the least rows so far proved others useless.
#[tokio::test]
async fn no_row_group_is_read_twice_when_the_least_rows_are_wanted() {
    let time = |i: i64| match i {
        0..2048 => i * 1000,
        2048 => 50,
        2049..4096 => 20_000 + i,
        4096..6144 => 100 + (i - 4096),
        _ => 5000 + (i - 6144),
    };
    let phrase = |i: i64| if i == 2048 { 0 } else { i + 1 };
    let rows = numbers(&[
        ("time", (0..8192).map(|i| Some(time(i))).collect()),
        ("phrase", (0..8192).map(|i| Some(phrase(i))).collect()),
    ]);
    let fixture = Fixture::new();
    // Nothing is hidden; some row is, in every row group; all rows of one are; the row that is found least is.
    let cases: [(&str, Vec<u64>); 4] = [
        ("none", vec![]),
        ("some", vec![5, 3000, 5000, 7000]),
        ("group", (4096..6144).collect()),
        ("least", vec![0, 4096]),
    ];
    for (name, hidden) in cases {
        let file = DataFile::new("f.parquet", &rows, row_groups_of(2048)).hiding(hidden.iter().copied());
        let table = build(&fixture, name, &long_columns(&["time", "phrase"]), vec![file]).await;
        let mut expected: Vec<_> =
            (0..8192).filter(|i| *i != 2048 && !hidden.contains(&(*i as u64))).map(|i| (time(i), phrase(i))).collect();
        expected.sort_unstable();
        let mut expected: Vec<_> = expected.iter().take(10).map(|(_, phrase)| format!("|{phrase}|")).collect();
        expected.sort();
        for in_reader in [true, false] {
            let session = session_with(&table).await;
            set(&session, "datafusion.execution.target_partitions", 1);
            set(&session, FILTERS_IN_READER, in_reader);
            let mut found = ask(&session, "SELECT phrase FROM t WHERE phrase <> 0 ORDER BY time LIMIT 10").await;
            found.sort();
            assert_eq!(found, expected, "{name} {in_reader}");
        }
    }
}

/// <https://github.com/apache/datafusion/issues/24355>: row groups were left out at run time, and the selection of rows
/// was then applied to others. Here both the page index and a vector select rows.
#[tokio::test]
async fn selections_stay_with_their_row_groups() {
    let a = |i: i64| if i / 100 == 1 { i % 100 } else { 100 + i % 100 };
    let b = |i: i64| [1000, 2000, 3000, 0][(i / 100) as usize] + i % 100;
    let rows = numbers(&[("a", (0..400).map(|i| Some(a(i))).collect()), ("b", (0..400).map(|i| Some(b(i))).collect())]);
    let fixture = Fixture::new();
    let cases: [(&str, Vec<u64>); 4] = [
        ("none", vec![]),
        ("least", vec![300, 302]),
        ("others", (0..50).chain(100..150).collect()),
        ("odd", (0..200).map(|i| 2 * i + 1).collect()),
    ];
    for (name, hidden) in cases {
        let file = DataFile::new("f.parquet", &rows, row_groups_of(100)).hiding(hidden.iter().copied());
        let table = build(&fixture, name, &long_columns(&["a", "b"]), vec![file]).await;
        for order in ["ASC", "DESC"] {
            let mut expected: Vec<_> =
                (0..400).filter(|i| a(*i) >= 50 && !hidden.contains(&(*i as u64))).map(b).collect();
            expected.sort_unstable();
            if order == "DESC" {
                expected.reverse();
            }
            let expected: Vec<_> = expected.iter().take(5).map(|b| format!("|{b}|")).collect();
            for (page_index, in_reader) in [(true, true), (false, true), (true, false), (false, false)] {
                let session = session_with(&table).await;
                set(&session, "datafusion.execution.target_partitions", 1);
                set(&session, "datafusion.execution.parquet.enable_page_index", page_index);
                set(&session, FILTERS_IN_READER, in_reader);
                let sql = format!("SELECT b FROM t WHERE a >= 50 ORDER BY b {order} LIMIT 5");
                assert_eq!(ask(&session, &sql).await, expected, "{name} {order} {page_index} {in_reader}");
            }
        }
    }
}

/// <https://github.com/delta-io/delta-rs/pull/4692>: masks were applied to rows that a filter, a limit, or the range of
/// a file had left, so that hidden rows came back and others disappeared.
#[tokio::test(flavor = "multi_thread")]
async fn filters_limits_and_ranges_of_files_do_not_shift_what_is_hidden() {
    let rows = |from: i64| numbers(&[("id", (from..from + 1000).map(Some).collect())]);
    let is_visible = |id: i64| id % 7 != 3 && !(100..350).contains(&(id % 1000));
    let files = (0..3).map(|n| {
        let file = DataFile::new(&format!("{n}.parquet"), &rows(1000 * n), row_groups_of(50));
        file.hiding((0..1000).filter(|at| !is_visible(1000 * n + *at as i64)))
    });
    let fixture = Fixture::new();
    let table = build(&fixture, "t", &long_columns(&["id"]), files.collect()).await;
    let visible: Vec<i64> = (0..3000).filter(|id| is_visible(*id)).collect();
    let lines = |ids: &[i64]| ids.iter().map(|id| format!("|{id}|")).collect::<Vec<_>>();
    for partitions in 1..9 {
        let session = session_with(&table).await;
        set(&session, "datafusion.execution.target_partitions", partitions / 2 + 1);
        set(&session, FILTERS_IN_READER, partitions % 2 == 0);
        set(&session, "datafusion.optimizer.repartition_file_min_size", 0);
        assert_eq!(ask(&session, "SELECT id FROM t ORDER BY id").await, lines(&visible));
        let some: Vec<_> = visible.iter().copied().filter(|id| id % 5 == 1 && *id > 1300).collect();
        let found = ask(&session, "SELECT id FROM t WHERE id % 5 = 1 AND id > 1300 ORDER BY id").await;
        assert_eq!(found, lines(&some));
        assert_eq!(ask(&session, "SELECT count(*) FROM t").await, [format!("|{}|", visible.len())]);
        let counted = ask(&session, "SELECT count(id + 1) FROM t WHERE id >= 0").await;
        assert_eq!(counted, [format!("|{}|", visible.len())]);
        for limit in [1, 60, 700, 5000] {
            let found = ask(&session, &format!("SELECT id FROM t LIMIT {limit}")).await;
            assert_eq!(found.len(), limit.min(visible.len()));
            assert!(found.iter().all(|line| lines(&visible).contains(line)), "{limit}: {found:?}");
        }
        // A plan is run twice.
        let plan =
            query(&session, "SELECT id FROM t WHERE id <> 5").await.unwrap().create_physical_plan().await.unwrap();
        let run = async |plan: Arc<dyn ExecutionPlan>| {
            let batches: Vec<_> = execute_stream(plan, session.task_ctx()).unwrap().try_collect().await.unwrap();
            batches.iter().map(RecordBatch::num_rows).sum::<usize>()
        };
        let again = datafusion::physical_plan::execution_plan::reset_plan_states(plan.clone()).unwrap();
        assert_eq!((run(plan).await, run(again).await), (visible.len() - 1, visible.len() - 1));
    }
}

/// DataFusion takes a column for all null if a file has as many nulls as rows (`constant_value_from_stats`). Were the
/// number of rows without the hidden ones given, a column with some values could have as many.
#[tokio::test]
async fn a_column_with_as_many_nulls_as_visible_rows_keeps_its_values() {
    let fixture = Fixture::new();
    // Ten rows, six nulls, four hidden: six are visible.
    let half = (0..10).map(|i| (i >= 6).then_some(i)).collect();
    let rows = numbers(&[("id", (0..10).map(Some).collect()), ("half", half), ("none", vec![None; 10])]);
    for (name, hidden, expected) in [
        ("nulls", vec![0, 1, 2, 3], ["|6|6|", "|7|7|", "|8|8|", "|9|9|"].to_vec()),
        ("values", vec![6, 7, 8, 9], vec![]),
    ] {
        let mut file = DataFile::new("f.parquet", &rows, row_groups_of(5)).hiding(hidden);
        file.stats = json!({
            "minValues": {"id": 0, "half": 6}, "maxValues": {"id": 9, "half": 9},
            "nullCount": {"id": 0, "half": 6, "none": 10},
        });
        let table = build(&fixture, name, &long_columns(&["id", "half", "none"]), vec![file]).await;
        let session = session_with(&table).await;
        assert_eq!(ask(&session, "SELECT id, half FROM t WHERE half IS NOT NULL ORDER BY id").await, expected);
        let counted = ask(&session, "SELECT count(*), count(half), count(none), min(half), max(none) FROM t").await;
        let least = if expected.is_empty() { "" } else { "6" };
        assert_eq!(counted, [format!("|6|{}|0|{least}||", expected.len())]);
        let nulls = 6 - expected.len();
        assert_eq!(ask(&session, "SELECT count(*) FROM t WHERE half IS NULL").await, [format!("|{nulls}|")]);
        assert_eq!(ask(&session, "SELECT count(*) FROM t WHERE none IS NULL").await, ["|6|"]);
        assert_eq!(ask(&session, "SELECT id FROM t WHERE none = 1 OR none IS NOT NULL").await, [""; 0]);
    }
}

/// <https://github.com/apache/datafusion/issues/24654>: a DELETE lost a condition that its planner had rewritten, and
/// deleted all rows. The same of conditions that are false or null, and of limits
/// (<https://github.com/apache/datafusion/issues/24998>).
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_deletes_what_its_condition_selects_or_is_refused() {
    let fixture = Fixture::new();
    let rows = numbers(&[("id", (0..10).map(Some).collect()), ("other", vec![Some(1); 10])]);
    let file = DataFile::new("f.parquet", &rows, row_groups_of(5));
    let columns = long_columns(&["id", "other"]);
    let table = build(&fixture, "t", &columns, vec![file]).await;
    let few = DataFile::new("f.parquet", &rows.slice(0, 2), row_groups_of(5));
    build(&fixture, "few", &columns, vec![few]).await;
    let mut session = SqlSession::new(fixture.catalog.clone(), SqlOptions::default()).unwrap();
    let mut run = async |sql: &str| {
        let mut script = session.execute(sql)?;
        while script.next().await?.is_some() {}
        Ok::<_, deltalakedb_log::TxnLogError>(())
    };
    let count = async || table.read(&Scan::default()).await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>();
    for condition in [
        "id IN (SELECT id FROM few)",
        "id NOT IN (SELECT id FROM few)",
        "EXISTS (SELECT 1 FROM few WHERE few.id = t.id)",
        "NOT EXISTS (SELECT 1 FROM few WHERE few.id = t.id)",
        "id = (SELECT max(id) FROM few)",
        "id < ALL (SELECT id FROM few)",
        "id = ANY (SELECT id FROM few)",
        "id > 8 LIMIT 1",
    ] {
        for sql in [format!("DELETE FROM t WHERE {condition}"), format!("UPDATE t SET other = 2 WHERE {condition}")] {
            let e = run(&sql).await.map_err(|e| e.to_string()).err().unwrap_or_else(|| panic!("{sql} was run"));
            assert_eq!((count().await, e.contains('\n')), (10, false), "{sql}: {e}");
        }
        let filter = Operation::Delete { filter: Some(condition.into()) };
        assert!(table.run(filter, &WriteOptions::default()).await.is_err(), "{condition}");
        assert_eq!(count().await, 10, "{condition}");
    }
    for condition in ["FALSE", "NULL", "id = NULL", "1 = 2", "id > 5 AND id < 5", "id NOT IN (1, NULL)"] {
        run(&format!("DELETE FROM t WHERE {condition}")).await.unwrap();
        assert_eq!(count().await, 10, "{condition}");
    }
    for (condition, left) in [("id IN (1, 5, 77)", 8), ("id NOT IN (0, 2, 3, 4, 6, 7)", 6), ("TRUE", 0)] {
        run(&format!("DELETE FROM t WHERE {condition}")).await.unwrap();
        assert_eq!(count().await, left, "{condition}");
    }
}
