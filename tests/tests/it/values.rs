//! Exact values, for this library and for outside readers.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    TimestampMicrosecondArray,
};
use deltalakedb_log::{SystemClock, TableRef};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::{DeltaTable, Scan, SqlOptions, SqlResult, SqlSession, query_error};
use deltalakedb_tests::{import, python, run_python, sqlite, text};
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

fn display_rows(batches: &[RecordBatch]) -> Vec<String> {
    let row = |batch: &RecordBatch, row| batch.columns().iter().map(|c| text(c, row)).collect::<Vec<_>>().join(" ");
    let mut rows: Vec<_> = batches.iter().flat_map(|b| (0..b.num_rows()).map(move |n| row(b, n))).collect();
    rows.sort();
    rows
}

async fn run(session: &mut SqlSession, sql: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut script = session.execute(sql).unwrap();
    while let Some(result) = script.next().await.unwrap_or_else(|e| panic!("{sql}: {e}")) {
        let SqlResult::Rows(rows) = result else { continue };
        let batches = rows.try_collect::<Vec<_>>().await.map_err(|e| query_error(e, sql)).unwrap();
        all.extend(display_rows(&batches));
    }
    all
}

/// For each condition, the ids that each reader finds at the location.
const FIND: &str = r#"
import glob, json, os, sys
import duckdb, polars, pyarrow
from deltalake import DeltaTable, QueryBuilder
place, *conditions = sys.argv[1:]
site = os.path.dirname(os.path.dirname(duckdb.__file__))
[extension] = glob.glob(f"{site}/duckdb_extension_delta/extensions/*/delta.duckdb_extension")
connection = duckdb.connect()
connection.execute(f"LOAD '{extension}'")
def by_duckdb(condition):
    return connection.execute(f"SELECT id FROM delta_scan('{place}') WHERE {condition}").fetchall()
def by_deltalake(condition):
    rows = QueryBuilder().register("t", DeltaTable(place)).execute(f"SELECT id FROM t WHERE {condition}").read_all()
    return [[id] for id in pyarrow.table(rows)["id"].to_pylist()]
def by_polars(condition):
    return polars.SQLContext(t=polars.scan_delta(place)).execute(f"SELECT id FROM t WHERE {condition}", eager=True).rows()
found = {r.__name__: [sorted(row[0] for row in r(c)) for c in conditions] for r in (by_duckdb, by_deltalake, by_polars)}
print(json.dumps(found))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn decimals_are_exact_from_the_statement_to_outside_readers() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("t");
    let catalog = sqlite(dir.path()).await;
    let mut session = SqlSession::new(catalog.clone(), SqlOptions::default()).unwrap();
    let create = "CREATE TABLE t (id BIGINT, a DECIMAL(18,0), b DECIMAL(38,10), c DECIMAL(20,2))";
    run(&mut session, &format!("{create} LOCATION '{}'", at.display())).await;
    let values = [
        ("999999999999999999", "1234567890123456789012345678.0123456789", "12345678901234567.89"),
        ("-999999999999999999", "0.0000000001", "0.10"),
        ("9007199254740993", "99999999999999999999.9999999999", "-99999999999999.95"),
    ];
    // One file each.
    for (id, (a, b, c)) in values.iter().enumerate() {
        run(&mut session, &format!("INSERT INTO t VALUES ({id}, {a}, {b}, {c})")).await;
    }
    let mut conditions = Vec::new();
    for (id, (a, b, c)) in values.iter().enumerate() {
        let id = id.to_string();
        let want = [id.as_str()];
        assert_eq!(run(&mut session, &format!("SELECT id FROM t WHERE a = {a} AND b = {b} AND c = {c}")).await, want);
        assert_eq!(run(&mut session, &format!("SELECT id FROM t WHERE c BETWEEN {c} AND {c}")).await, want);
        for (column, value, of) in [("a", a, "18,0"), ("b", b, "38,10"), ("c", c, "20,2")] {
            let condition = format!("{column} = CAST('{value}' AS DECIMAL({of}))");
            assert_eq!(run(&mut session, &format!("SELECT id FROM t WHERE {condition}")).await, want);
            conditions.push(condition);
        }
    }
    let sum = run(&mut session, "SELECT sum(b) FROM t").await;
    assert_eq!(sum, ["1234567990123456789012345678.0123456789"]);
    assert_eq!(run(&mut session, "SELECT c + 0.01 FROM t WHERE id = 0").await, ["12345678901234567.90"]);

    run(&mut session, "UPDATE t SET c = c + 0.01 WHERE c = 12345678901234567.89").await;
    run(&mut session, "UPDATE t SET c = c - 0.01 WHERE c > 12345678901234567.895").await;
    let entry = catalog.find(&TableRef::Name("t".parse().unwrap())).await.unwrap().unwrap();
    Mirror::new(catalog.clone(), Arc::new(SystemClock)).publish(entry.id).await.unwrap();
    let Some(python) = python("deltalake, duckdb, polars") else { return };
    let mut arguments = vec![at.to_str().unwrap()];
    arguments.extend(conditions.iter().map(String::as_str));
    let found: Value = serde_json::from_str(&run_python(&python, FIND, &arguments)).unwrap();
    let want = json!(conditions.iter().enumerate().map(|(n, _)| [n / 3]).collect::<Vec<_>>());
    for reader in ["by_duckdb", "by_deltalake", "by_polars"] {
        assert_eq!(found[reader], want, "{reader}: {conditions:?}");
    }
}

/// A data file of one row, and the action that adds it.
fn put(at: &Path, id: i64, partition: &str, bounds: &str, columns: Vec<(&str, ArrayRef)>) -> Value {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![id]));
    let rows = RecordBatch::try_from_iter([("id", ids)].into_iter().chain(columns)).unwrap();
    let name = format!("f{id}.parquet");
    let mut writer = ArrowWriter::try_new(std::fs::File::create(at.join(&name)).unwrap(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    json!({"add": {
        "path": name, "partitionValues": {"p": partition}, "size": std::fs::metadata(at.join(&name)).unwrap().len(),
        "modificationTime": 1_700_000_000_000_i64, "dataChange": true,
        "stats": format!(r#"{{"numRecords":1,"minValues":{bounds},"maxValues":{bounds},"nullCount":{{}}}}"#)
    }})
}

fn decimal(units: i128, precision: u8, scale: i8) -> ArrayRef {
    Arc::new(Decimal128Array::from(vec![units]).with_precision_and_scale(precision, scale).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn widened_columns_are_read_from_all_files() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("t");
    std::fs::create_dir_all(at.join("_delta_log")).unwrap();
    let types = [
        ("a", "integer", "long"),
        ("b", "integer", "double"),
        ("c", "float", "double"),
        ("d", "decimal(5,2)", "decimal(10,4)"),
        ("e", "date", "timestamp_ntz"),
        ("p", "integer", "long"),
    ];
    let metadata = |widened: bool| {
        let id = json!({"name": "id", "type": "long", "nullable": true, "metadata": {}});
        let column = |(name, from, to): &(&str, &str, &str)| {
            let changes = json!({"delta.typeChanges": [{"fromType": from, "toType": to}]});
            let (data_type, metadata) = if widened { (to, changes) } else { (from, json!({})) };
            json!({"name": name, "type": data_type, "nullable": true, "metadata": metadata})
        };
        let fields: Vec<_> = [id].into_iter().chain(types.iter().map(column)).collect();
        json!({"metaData": {
            "id": "11111111-2222-3333-4444-555555555555", "format": {"provider": "parquet", "options": {}},
            "schemaString": json!({"type": "struct", "fields": fields}).to_string(), "partitionColumns": ["p"],
            "configuration": {"delta.enableTypeWidening": "true"}
        }})
    };
    let day = 19_724;
    let before = put(
        &at,
        1,
        "1",
        r#"{"id":1,"a":5,"b":5,"c":0.1,"d":1.50,"e":"2024-01-02"}"#,
        vec![
            ("a", Arc::new(Int32Array::from(vec![5]))),
            ("b", Arc::new(Int32Array::from(vec![5]))),
            ("c", Arc::new(Float32Array::from(vec![0.1]))),
            ("d", decimal(150, 5, 2)),
            ("e", Arc::new(Date32Array::from(vec![day]))),
        ],
    );
    let after = put(
        &at,
        2,
        "3000000000",
        r#"{"id":2,"a":3000000000,"b":5.5,"c":0.1,"d":123456.7891,"e":"2024-01-02T12:00:00.000"}"#,
        vec![
            ("a", Arc::new(Int64Array::from(vec![3_000_000_000]))),
            ("b", Arc::new(Float64Array::from(vec![5.5]))),
            ("c", Arc::new(Float64Array::from(vec![0.1]))),
            ("d", decimal(1_234_567_891, 10, 4)),
            ("e", Arc::new(TimestampMicrosecondArray::from(vec![i64::from(day) * 86_400_000_000 + 43_200_000_001]))),
        ],
    );
    let features = ["typeWidening", "timestampNtz"];
    let protocol = json!({"protocol": {
        "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features
    }});
    let commits = [vec![protocol, metadata(false), before], vec![metadata(true), after]];
    for (version, actions) in commits.iter().enumerate() {
        let text: String = actions.iter().map(|action| format!("{action}\n")).collect();
        std::fs::write(at.join(format!("_delta_log/{version:020}.json")), text).unwrap();
    }
    let catalog = sqlite(dir.path()).await;
    import(&catalog, &at, "t").await.unwrap();
    let table = DeltaTable::open_in(catalog.clone(), &TableRef::Name("t".parse().unwrap())).await.unwrap();
    let single = f64::from(0.1_f32);
    let asked: &[(&str, &[&str])] = &[
        ("true", &["1", "2"]),
        ("a = 5", &["1"]),
        ("a > 2147483647", &["2"]),
        ("b = 5", &["1"]),
        ("b > 5.4", &["2"]),
        ("c = 0.1", &["2"]),
        (&format!("c = {single:?}"), &["1"]),
        ("c > 0.1", &["1"]),
        ("d = 1.5", &["1"]),
        ("d > 1.50001", &["2"]),
        ("e = '2024-01-02T00:00:00'", &["1"]),
        ("e >= '2024-01-02T12:00:00.000001'", &["2"]),
        ("p = 1", &["1"]),
        ("p > 2147483647", &["2"]),
    ];
    let mut session = SqlSession::new(catalog, SqlOptions::default()).unwrap();
    for (filter, want) in asked {
        let scan = Scan { filter_sql: Some(filter.to_string()), columns: Some(vec!["id".into()]), ..Scan::default() };
        assert_eq!(display_rows(&table.read(&scan).await.unwrap()), *want, "{filter}");
        assert_eq!(run(&mut session, &format!("SELECT id FROM t WHERE {filter} ORDER BY id")).await, *want, "{filter}");
    }
    let top = run(&mut session, "SELECT count(*), max(a), min(b), max(c), max(d), min(e), max(p) FROM t").await;
    assert_eq!(top, ["2 3000000000 5.0 0.10000000149011612 123456.7891 2024-01-02T00:00:00 3000000000"]);
    let then = run(&mut session, "SELECT id, e, b FROM t VERSION AS OF 0 WHERE e = DATE '2024-01-02'").await;
    assert_eq!(then, ["1 2024-01-02 5"]);
}
