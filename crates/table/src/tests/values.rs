//! Exact decimals and times of every year, in files, statistics and conditions.

use arrow::array::{Decimal128Array, StructArray};
use arrow::datatypes::{DataType, Field};
use deltalakedb_log::action::Add;
use deltalakedb_log::decimal::to_json;
use serde_json::Value;

use super::*;

/// Each in a row group of its own, if the writer is configured so.
const DECIMALS: [i128; 3] = [12_345_678_901_234_567_899, -9_999_999_999_999_995, 30];

fn decimals(units: &[i128]) -> Vec<RecordBatch> {
    let of = |precision, scale| -> ArrayRef {
        let array = Decimal128Array::from(units.to_vec());
        Arc::new(array.with_precision_and_scale(precision, scale).unwrap())
    };
    let within = Field::new("x", DataType::Decimal128(38, 2), true);
    let s: ArrayRef = Arc::new(StructArray::new(vec![within].into(), vec![of(38, 2)], None));
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(0..units.len() as i64));
    let batch = RecordBatch::try_from_iter([("id", id), ("d", of(20, 2)), ("long", of(38, 0)), ("s", s)]);
    vec![batch.unwrap()]
}

async fn with_decimals(fixture: &Fixture, name: &str) -> DeltaTable {
    let (new, options) = (fixture.new_table(name), WriteOptions::default());
    let schema = TableSchema::from_arrow(&decimals(&[]).remove(0).schema()).unwrap();
    create_table(fixture.catalog.as_ref(), new, &schema, &[], &HashMap::new(), &options).await.unwrap();
    fixture.open(name).await
}

async fn live(table: &DeltaTable) -> Vec<Add> {
    let reader = table.reader().await.unwrap();
    let version = reader.head().await.unwrap().version;
    reader.files(version, None).await.unwrap().try_collect().await.unwrap()
}

/// The text of a bound in a file's statistics.
fn bound(add: &Add, which: &str, path: &[&str]) -> String {
    let mut at: HashMap<String, Box<serde_json::value::RawValue>> =
        serde_json::from_str(add.stats.as_deref().unwrap()).unwrap();
    for key in [which].iter().chain(&path[..path.len() - 1]) {
        at = serde_json::from_str(at[*key].get()).unwrap();
    }
    at[path[path.len() - 1]].get().to_string()
}

fn check_bounds(add: &Add, least: i128, greatest: i128) {
    for (which, units) in [("minValues", least), ("maxValues", greatest)] {
        for (path, scale) in [(&["d"][..], 2), (&["long"], 0), (&["s", "x"], 2)] {
            assert_eq!(bound(add, which, path), to_json(units, scale), "{which} of {path:?}");
        }
    }
}

async fn found(table: &DeltaTable, filter: &str) -> Vec<String> {
    let columns = Some(vec!["id".into()]);
    let scan = Scan { filter_sql: Some(filter.into()), columns, ..Scan::default() };
    text(&table.read(&scan).await.unwrap_or_else(|e| panic!("{filter}: {e}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_have_every_digit_of_a_decimal() {
    let fixture = Fixture::new();
    let table = with_decimals(&fixture, "t").await;
    let options = WriteOptions::default();
    table.write(decimals(&DECIMALS), SaveMode::Append, &options).await.unwrap();
    let [add] = &live(&table).await[..] else { panic!("one file") };
    check_bounds(add, DECIMALS[1], DECIMALS[0]);

    // A write through a query.
    table.update(&[("id", "id + 1")], Some("id >= 0"), &options).await.unwrap();
    let [add] = &live(&table).await[..] else { panic!("one file") };
    check_bounds(add, DECIMALS[1], DECIMALS[0]);
    table.write(decimals(&DECIMALS[2..]), SaveMode::Append, &options).await.unwrap();
    table.optimize(Optimize::default(), &options).await.unwrap();
    let [add] = &live(&table).await[..] else { panic!("one file") };
    check_bounds(add, DECIMALS[1], DECIMALS[0]);

    let literal = |units: i128| format!("CAST('{}' AS DECIMAL(20,2))", to_json(units, 2));
    assert_eq!(found(&table, &format!("d = {}", literal(DECIMALS[0]))).await, ["|1|"]);
    assert_eq!(found(&table, &format!("s.x > {}", literal(DECIMALS[0] - 1))).await, ["|1|"]);
    assert_eq!(found(&table, &format!("d <= {}", literal(DECIMALS[1]))).await, ["|2|"]);
    check_plain(&table).await;

    // Files that existed before the table.
    let new = fixture.new_table("converted");
    let there = table.location().local_path().unwrap().join(live(&table).await[0].path.as_str());
    let at = new.location.local_path().unwrap();
    std::fs::create_dir_all(&at).unwrap();
    std::fs::copy(there, at.join("f.parquet")).unwrap();
    TableSpec::default().convert(fixture.catalog.as_ref(), new, None, true, &options).await.unwrap();
    let converted = fixture.open("converted").await;
    check_bounds(&live(&converted).await[0], DECIMALS[1], DECIMALS[0]);
}

/// The bounds of other writers are doubles: 15 digits of them are exact.
fn rounded(add: &Add) -> Add {
    let number = |units: i128, scale: i32| serde_json::json!(units as f64 / 10_f64.powi(scale));
    let mut stats: Value = serde_json::from_str(add.stats.as_deref().unwrap()).unwrap();
    for (which, units) in [("minValues", DECIMALS[1]), ("maxValues", DECIMALS[0])] {
        stats[which]["d"] = number(units, 2);
        stats[which]["s"]["x"] = number(units, 2);
        stats[which]["long"] = serde_json::json!((units as f64).round() as i64);
    }
    Add { path: "rounded.parquet".into(), stats: Some(stats.to_string()), ..add.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn rounded_bounds_of_other_writers_hide_no_row() {
    let fixture = Fixture::new();
    let ours = with_decimals(&fixture, "ours").await;
    let options = WriteOptions::default();
    ours.write(decimals(&DECIMALS), SaveMode::Append, &options).await.unwrap();
    let add = rounded(&live(&ours).await[0]);
    let there = ours.location().local_path().unwrap().join(live(&ours).await[0].path.as_str());
    let table = with_decimals(&fixture, "t").await;
    std::fs::create_dir_all(table.location().local_path().unwrap()).unwrap();
    std::fs::copy(there, table.location().local_path().unwrap().join("rounded.parquet")).unwrap();
    let stage = CommitFiles { actions: vec![Action::add(add.clone())], overwrite: false };
    table.run(Operation::CommitFiles(stage), &options).await.unwrap();
    assert_eq!(live(&table).await[0].stats, add.stats, "what others wrote is kept");

    let literal = |units: i128, scale| format!("CAST('{}' AS DECIMAL(38,{scale}))", to_json(units, scale));
    for (n, units) in DECIMALS.into_iter().enumerate() {
        for (column, scale) in [("d", 2), ("long", 0), ("s.x", 2)] {
            let value = literal(units, scale);
            for condition in [format!("{column} = {value}"), format!("{column} >= {value} AND {column} <= {value}")] {
                assert_eq!(found(&table, &condition).await, [format!("|{n}|")], "{condition}");
            }
        }
    }
    // Files far outside the predicate are still skipped.
    let predicate = predicate_from_sql(
        &format!("d > {}", literal(DECIMALS[0] + 100_000, 2)),
        table.schema(At::Latest).await.unwrap().as_ref(),
    );
    let reader = table.reader().await.unwrap();
    let files = reader.files(1, Some(&predicate.unwrap())).await.unwrap();
    assert_eq!(files.try_collect::<Vec<_>>().await.unwrap(), []);

    // After a restore, the file has valid bounds.
    table.delete(None, &options).await.unwrap();
    table.restore(At::Version(1), &options).await.unwrap();
    let [add] = &live(&table).await[..] else { panic!("one file") };
    assert_eq!(bound(add, "maxValues", &["d"]), "123456789012345769.65");
    table.delete(Some(&format!("d = {}", to_json(DECIMALS[0], 2))), &options).await.unwrap();
    assert_eq!(found(&table, "true").await, ["|1|", "|2|"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_in_conditions_are_exact() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id long, d decimal(38,10), x double, f float, i integer", &[]).await;
    let options = WriteOptions::default();
    let units = [12345678901234567890123456780123456789_i128, 1, -5_0000000000, 3_0000000000];
    let d: ArrayRef = Arc::new(Decimal128Array::from(units.to_vec()).with_precision_and_scale(38, 10).unwrap());
    let x: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![0.123_456_789_012_345_68, 1e300, f64::NAN, 3.0]));
    let f: ArrayRef = Arc::new(arrow::array::Float32Array::from(vec![0.1, 0.5, 1e30, 3.0]));
    let i: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, -2, 3]));
    let id: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 2, 3]));
    let batch = RecordBatch::try_from_iter([("id", id), ("d", d), ("x", x), ("f", f), ("i", i)]).unwrap();
    table.write(vec![batch], SaveMode::Append, &options).await.unwrap();
    let all: &[(&str, &[&str])] = &[
        ("d = 1234567890123456789012345678.0123456789", &["|0|"]),
        ("d IN (0.0000000001, -5.0)", &["|1|", "|2|"]),
        ("d BETWEEN 0.00000000005 AND 0.00000000015", &["|1|"]),
        ("d - 1234567890123456789012345678 = 0.0123456789", &["|0|"]),
        ("d > 1e27", &["|0|"]),
        ("d < 0.5e-9 AND d > 0", &["|1|"]),
        ("d < 3.00000000001 AND d > 2.9", &["|3|"]),
        ("x = 0.1234567890123456789", &["|0|"]),
        ("x = 1e300", &["|1|"]),
        ("x < 0.2", &["|0|"]),
        ("x BETWEEN 0.1 AND 3.5", &["|0|", "|3|"]),
        ("x IN (3.0, 0.1234567890123456789)", &["|0|", "|3|"]),
        ("coalesce(x, 0.5) = 1e300", &["|1|"]),
        ("CASE WHEN id = 1 THEN x ELSE 0.5 END > 0.6", &["|1|"]),
        ("x * 1.5 = 4.5", &["|3|"]),
        ("f = 0.5", &["|1|"]),
        ("i > 1.5", &["|1|", "|3|"]),
        ("i = 1.5", &[]),
        ("i * 0.5 = 1.5", &["|3|"]),
        ("d = x", &["|3|"]),
        ("CAST(0.1234567890123456789 AS DOUBLE) = x", &["|0|"]),
        ("CAST(d AS DOUBLE) > 1e27 AND d > 0", &["|0|"]),
        ("sqrt(2.25) = 1.5 AND round(2.567, 2) = 2.57 AND power(2, 0.5) > 1.4", &["|0|", "|1|", "|2|", "|3|"]),
        ("round(d, 2) = -5.0 OR round(d, 0) = 3", &["|2|", "|3|"]),
        ("0.1 + 0.2 = 0.3", &["|0|", "|1|", "|2|", "|3|"]),
    ];
    for (condition, want) in all {
        assert_eq!(found(&table, condition).await, *want, "{condition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_of_decimals_are_exact() {
    let fixture = Fixture::new();
    let table = with_decimals(&fixture, "t").await;
    let options = WriteOptions::default();
    table.write(decimals(&DECIMALS), SaveMode::Append, &options).await.unwrap();
    let set = [("d", "d + 0.01"), ("long", "12345678901234567890")];
    table.update(&set, Some("d >= 123456789012345678.99 AND d < 123456789012345678.995"), &options).await.unwrap();
    assert_eq!(found(&table, "d = 123456789012345679.00 AND long = 12345678901234567890").await, ["|0|"]);
    let merge = Merge::on("target.d = source.d AND target.d < 0.305").when(MergeClause::MatchedUpdate {
        condition: Some("target.d > -99999999999999.955".into()),
        set: Assignments::Columns(vec![("d".into(), "source.d - 0.05".into())]),
    });
    table.merge(merge, decimals(&DECIMALS[1..]), &options).await.unwrap();
    assert_eq!(found(&table, "d = -100000000000000.00").await, ["|1|"]);
    assert_eq!(found(&table, "d = 0.25").await, ["|2|"]);
    table.delete(Some("d < 0.255 AND d > 0.245"), &options).await.unwrap();
    assert_eq!(found(&table, "true").await, ["|0|", "|1|"]);
    check_plain(&table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_every_year_are_found() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id long, at timestamp, n timestamp_ntz, d date", &[]).await;
    let options = WriteOptions::default();
    let (first, last) = (-62_135_596_800_000_000_i64, 253_402_300_799_999_999_i64);
    let micros = || arrow::array::TimestampMicrosecondArray::from(vec![first, last, 1_700_000_000_000_000]);
    let at: ArrayRef = Arc::new(micros().with_timezone("UTC"));
    let n: ArrayRef = Arc::new(micros());
    let d: ArrayRef = Arc::new(arrow::array::Date32Array::from(vec![-719_162, 2_932_896, 19_675]));
    let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 9999, 2023]));
    let batch = RecordBatch::try_from_iter([("id", id), ("at", at), ("n", n), ("d", d)]).unwrap();
    table.write(vec![batch], SaveMode::Append, &options).await.unwrap();
    let all: &[(&str, &[&str])] = &[
        ("at = '9999-12-31T23:59:59.999999Z'", &["|9999|"]),
        ("at = TIMESTAMP '9999-12-31 23:59:59.999999'", &["|9999|"]),
        ("n = TIMESTAMP '0001-01-01 00:00:00'", &["|1|"]),
        ("n IN ('0001-01-01T00:00:00', '2023-11-14 22:13:20')", &["|1|", "|2023|"]),
        ("at BETWEEN '0001-01-01T00:00:00Z' AND CAST('2300-01-01' AS TIMESTAMP)", &["|1|", "|2023|"]),
        ("at > now()", &["|9999|"]),
        ("at < now() AND n < now()", &["|1|", "|2023|"]),
        ("n >= d", &["|1|", "|2023|", "|9999|"]),
        ("CAST(at AS DATE) = d", &["|1|", "|2023|", "|9999|"]),
        ("EXTRACT(YEAR FROM at) = 9999", &["|9999|"]),
        ("date_trunc('year', n) = TIMESTAMP '9999-01-01 00:00:00'", &["|9999|"]),
        ("coalesce(at, '2024-01-01T00:00:00Z') > '9000-01-01T00:00:00Z'", &["|9999|"]),
        ("at - INTERVAL '1 year' > TIMESTAMP '9998-01-01 00:00:00'", &["|9999|"]),
        ("d < DATE '1000-01-01'", &["|1|"]),
    ];
    for (condition, want) in all {
        assert_eq!(found(&table, condition).await, *want, "{condition}");
    }
}

/// Lists of structs with these fields; one row with one element, all ones.
fn lists(large: bool, fields: &[&str]) -> Vec<RecordBatch> {
    let fields: arrow::datatypes::Fields = fields.iter().map(|f| Field::new(*f, DataType::Int64, true)).collect();
    let ones: Vec<ArrayRef> = fields.iter().map(|_| Arc::new(Int64Array::from(vec![1])) as ArrayRef).collect();
    let element = Arc::new(Field::new("item", DataType::Struct(fields.clone()), true));
    let structs: ArrayRef = Arc::new(StructArray::new(fields, ones, None));
    let list: ArrayRef = if large {
        Arc::new(arrow::array::LargeListArray::new(
            element,
            arrow::buffer::OffsetBuffer::from_lengths([1]),
            structs,
            None,
        ))
    } else {
        Arc::new(arrow::array::ListArray::new(element, arrow::buffer::OffsetBuffer::from_lengths([1]), structs, None))
    };
    vec![RecordBatch::try_from_iter([("items", list)]).unwrap()]
}

#[tokio::test(flavor = "multi_thread")]
async fn large_lists_are_lists_and_may_grow() {
    let fixture = Fixture::new();
    let options = WriteOptions::default();
    let new = fixture.new_table("t");
    create_with_data(fixture.catalog.as_ref(), new, lists(true, &["a"]), &[], &HashMap::new(), &options).await.unwrap();
    let table = fixture.open("t").await;
    // The same with writes that replace or merge.
    let write = |rows, mode, schema_mode| {
        Operation::Write(WriteRows {
            schema_mode: Some(schema_mode),
            casts: CastMode::Any,
            ..WriteRows::new(rows, mode)
        })
    };
    table.run(write(lists(true, &["a"]), SaveMode::Overwrite, SchemaMode::Overwrite), &options).await.unwrap();
    table.run(write(lists(true, &["a"]), SaveMode::Append, SchemaMode::Merge), &options).await.unwrap();
    check(&table, &Scan::default(), &["|[{a:1}]|"; 2]).await;
    table.run(write(lists(true, &["a", "b"]), SaveMode::Append, SchemaMode::Merge), &options).await.unwrap();
    let want = ["|[{a:1,b:1}]|", "|[{a:1,b:}]|", "|[{a:1,b:}]|"];
    check(&table, &Scan::default(), &want).await;
    table.optimize(Optimize::default(), &options).await.unwrap();
    check(&table, &Scan::default(), &want).await;
    check_plain(&table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_with_special_names_are_set_by_name() {
    let fixture = Fixture::new();
    let (new, options) = (fixture.new_table("t"), WriteOptions::default());
    let names = ["x.y", "y", "Größe", "a'b", "order by", "count(*)", "UPPER"];
    let ones = || -> ArrayRef { Arc::new(Int64Array::from(vec![1])) };
    let rows = vec![RecordBatch::try_from_iter(names.map(|name| (name, ones()))).unwrap()];
    create_with_data(fixture.catalog.as_ref(), new, rows.clone(), &[], &HashMap::new(), &options).await.unwrap();
    let table = fixture.open("t").await;
    for (n, name) in names.iter().enumerate() {
        let set = format!("{} + 10", crate::identifiers::quoted(name));
        table.update(&[(name, &set)], None, &options).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        let want: Vec<_> = (0..names.len()).map(|at| if at <= n { "11" } else { "1" }).collect();
        check(&table, &Scan::default(), &[format!("|{}|", want.join("|")).as_str()]).await;
    }
    let clause = |column: &str| MergeClause::MatchedUpdate {
        condition: None,
        set: Assignments::Columns(vec![(column.into(), "source.\"x.y\" + 1".into())]),
    };
    for (column, want) in [("x.y", "|2|11|11|11|11|11|11|"), ("target.y", "|2|2|11|11|11|11|11|")] {
        let merge = Merge::on("target.\"UPPER\" = source.\"UPPER\" + 10").when(clause(column));
        table.merge(merge, rows.clone(), &options).await.unwrap();
        check(&table, &Scan::default(), &[want]).await;
    }
    let e = table.update(&[("y.z", "1")], None, &options).await.unwrap_err().to_string();
    assert!(e.contains("sets \"y.z\", which is within the column \"y\": only whole columns can be set"), "{e}");
    let e = table.update(&[("y", "1"), ("\"y\"", "2")], None, &options).await.unwrap_err().to_string();
    assert!(e.contains("sets \"y\" twice"), "{e}");
}
