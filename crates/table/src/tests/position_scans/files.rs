//! What is read from files of many kinds: partition values of every type, columns of other types and names than the
//! table's, times of other writers, and paths with special characters.

use arrow::array::{
    Date32Array, Decimal128Array, Float32Array, ListArray, StructArray, TimestampMillisecondArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use parquet::basic::Type;
use parquet::data_type::{Int96, Int96Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type as ParquetType;

use super::*;

fn ids(ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}

async fn found(session: &SessionContext, condition: &str) -> Vec<String> {
    ask(session, &format!("SELECT id FROM t WHERE {condition} ORDER BY id")).await
}

#[tokio::test]
async fn partition_values_of_every_type_are_read_and_compared() {
    let fixture = Fixture::new();
    // A value in the log, as text, and a condition that it alone satisfies.
    let types: &[(Value, &str, &str, &str)] = &[
        (json!("string"), "a b/ü%", "a b/ü%", "p = 'a b/ü%'"),
        (json!("long"), "-9223372036854775808", "-9223372036854775808", "p < -9223372036854775807"),
        (json!("integer"), "2147483647", "2147483647", "p = 2147483647"),
        (json!("short"), "-32768", "-32768", "p < 0"),
        (json!("byte"), "127", "127", "p > 126"),
        (json!("boolean"), "true", "true", "p"),
        (json!("float"), "-Infinity", "-inf", "p < 0"),
        (json!("double"), "NaN", "NaN", "p > 1"),
        (json!("decimal(20,2)"), "123456789012345678.90", "123456789012345678.90", "p = 123456789012345678.9"),
        (json!("date"), "1969-12-31", "1969-12-31", "p < DATE '1970-01-01'"),
        (
            json!("timestamp"),
            "2024-01-02T03:04:05.000006Z",
            "2024-01-02T03:04:05.000006Z",
            "p = TIMESTAMP '2024-01-02 03:04:05.000006Z'",
        ),
        (
            json!("timestamp_ntz"),
            "9999-12-31 23:59:59.999999",
            "9999-12-31T23:59:59.999999",
            "p > TIMESTAMP '9999-01-01'",
        ),
        (json!("binary"), "\u{1}\u{2}", "0102", "p = X'0102'"),
    ];
    for mapped in [false, true] {
        for (of, text, shown, condition) in types {
            let columns = Columns { mapped, ..Columns::new(&[("id", json!("long")), ("p", of.clone())], &["p"]) };
            let name = format!("{}_{mapped}", of.as_str().unwrap().replace(['(', ')', ','], "_"));
            let file = |path: &str, first: i64, value: Option<&str>| {
                let rows = ids(first..first + 4);
                let names = vec![columns.physical("id")];
                let rows = RecordBatch::try_from_iter(names.into_iter().zip(rows.columns().to_vec())).unwrap();
                DataFile::new(path, &rows, row_groups_of(2)).of_partition(&[("p", value)]).hiding([1])
            };
            let files = vec![file("1", 10, Some(text)), file("2", 20, None)];
            let table = build(&fixture, &name, &columns, files).await;
            let session = session_with(&table).await;
            let of_value = ["|10|", "|12|", "|13|"];
            let lines = ask(&session, "SELECT p FROM t WHERE id = 10").await;
            assert_eq!(lines, [format!("|{}|", shown.replace(' ', ""))], "{of}");
            assert_eq!(found(&session, condition).await, of_value, "{of}");
            assert_eq!(found(&session, "p IS NOT NULL").await, of_value, "{of}");
            assert_eq!(found(&session, "p IS NULL").await, ["|20|", "|22|", "|23|"], "{of}");
            assert_eq!(found(&session, &format!("({condition}) AND id > 12")).await, ["|13|"], "{of}");
            assert_eq!(found(&session, &format!("({condition}) OR id = 23")).await.len(), 4, "{of}");
            assert_eq!(ask(&session, "SELECT count(p), count(*) FROM t").await, ["|3|6|"], "{of}");
            let top = ask(&session, "SELECT id FROM t ORDER BY p DESC NULLS LAST, id LIMIT 2").await;
            assert_eq!(top, ["|10|", "|12|"], "{of}");
        }
    }
}

#[tokio::test]
async fn an_empty_partition_value_is_read_as_in_tables_without_vectors() {
    let fixture = Fixture::new();
    for (of, null) in [("string", 0), ("long", 2), ("date", 2), ("timestamp", 2), ("boolean", 2)] {
        let columns = Columns::new(&[("id", json!("long")), ("p", json!(of))], &["p"]);
        let file = DataFile::new("f.parquet", &ids(1..3), row_groups_of(9)).of_partition(&[("p", Some(""))]);
        let table = build(&fixture, of, &columns, vec![file]).await;
        let session = session_with(&table).await;
        assert_eq!(found(&session, "p IS NULL").await.len(), null, "{of}");
        assert_eq!(ask(&session, "SELECT count(*) - count(p) FROM t").await, [format!("|{null}|")], "{of}");
        if of == "string" {
            assert_eq!(found(&session, "p = ''").await.len(), 2);
        }
    }
}

/// Columns that files have as narrower types, or not at all.
fn evolved() -> (Columns, RecordBatch, RecordBatch) {
    let nested = json!({"type": "struct", "fields": [
        {"name": "k", "type": "long", "nullable": true, "metadata": {}},
        {"name": "more", "type": "string", "nullable": true, "metadata": {}},
    ]});
    let list = |of: Value| json!({"type": "array", "elementType": of, "containsNull": true});
    let columns = Columns::new(
        &[
            ("id", json!("long")),
            ("wide", json!("long")),
            ("small", json!("integer")),
            ("real", json!("double")),
            ("of_int", json!("double")),
            ("day", json!("timestamp_ntz")),
            ("amount", json!("decimal(12,4)")),
            ("new", json!("string")),
            ("s", nested.clone()),
            ("l", list(json!("long"))),
            ("ls", list(nested)),
        ],
        &[],
    );
    let fields = vec![Arc::new(Field::new("k", DataType::Int32, true))];
    let k: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]));
    let s: ArrayRef = Arc::new(StructArray::new(fields.clone().into(), vec![k.clone()], None));
    let item = Arc::new(Field::new("element", DataType::Struct(fields.into()), true));
    let offsets = arrow::buffer::OffsetBuffer::from_lengths([1, 1, 1]);
    let ls: ArrayRef = Arc::new(ListArray::new(item, offsets, s.clone(), None));
    let l: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)]), Some([Some(2)]), Some([None])]));
    let amount = Decimal128Array::from(vec![150, -25, 99_999]).with_precision_and_scale(5, 2).unwrap();
    let old: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("wide", Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(7)]))),
        ("small", Arc::new(arrow::array::Int16Array::from(vec![1, -2, 3]))),
        ("real", Arc::new(Float32Array::from(vec![0.1, 0.5, 1e30]))),
        ("of_int", Arc::new(Int32Array::from(vec![1, 2, 3]))),
        ("day", Arc::new(Date32Array::from(vec![0, 19_000, -1]))),
        ("amount", Arc::new(amount)),
        ("s", s),
        ("l", l),
        ("ls", ls),
    ];
    let old = RecordBatch::try_from_iter_with_nullable(old.into_iter().map(|(name, values)| (name, values, true)));
    let new: Vec<(&str, ArrayRef)> = vec![
        ("new", Arc::new(StringArray::from(vec!["x", "y"]))),
        ("id", Arc::new(Int64Array::from(vec![4, 5]))),
        ("unknown", Arc::new(Int64Array::from(vec![4, 5]))),
        ("wide", Arc::new(Int64Array::from(vec![1 << 40, 7]))),
    ];
    let new = RecordBatch::try_from_iter_with_nullable(new.into_iter().map(|(name, values)| (name, values, true)));
    (columns, old.unwrap(), new.unwrap())
}

#[tokio::test]
async fn files_of_older_schemas_are_read_in_the_types_of_the_table() {
    let fixture = Fixture::new();
    let (columns, old, new) = evolved();
    for hidden in [vec![], vec![1]] {
        let name = format!("t{}", hidden.len());
        let files = vec![
            DataFile::new("1.parquet", &old, row_groups_of(2)).hiding(hidden.clone()),
            DataFile::new("2.parquet", &new, row_groups_of(2)),
        ];
        let table = build(&fixture, &name, &columns, files).await;
        let session = session_with(&table).await;
        let asked: &[(&str, &[i64])] = &[
            ("wide = 7", &[3, 5]),
            ("wide > 2147483647", &[4]),
            ("wide = -2147483648", &[1]),
            ("wide IS NULL", &[2]),
            ("small < 0", &[2]),
            ("small IS NULL", &[4, 5]),
            ("real = 0.1", &[]),
            ("real > 0.1", &[1, 2, 3]),
            ("real = 0.5", &[2]),
            ("of_int >= 2.5", &[3]),
            ("of_int = 2", &[2]),
            ("day = TIMESTAMP '1970-01-01 00:00:00'", &[1]),
            ("day < TIMESTAMP '1970-01-01 00:00:00.000001'", &[1, 3]),
            ("day > TIMESTAMP '1969-12-31 12:00:00'", &[1, 2]),
            ("amount = 1.5", &[1]),
            ("amount > 1.50001", &[3]),
            ("amount < -0.2499", &[2]),
            ("new = 'x'", &[4]),
            ("new IS NULL", &[1, 2, 3]),
            ("new IS NULL AND id <> 2", &[1, 3]),
            ("s['k'] = 3", &[3]),
            ("s['k'] > 0", &[1, 3]),
            ("s['k'] IS NULL AND id < 4", &[2]),
            ("s['k'] IS NULL", &[2, 4, 5]),
            ("s['more'] IS NULL", &[1, 2, 3, 4, 5]),
            ("s['more'] = 'x'", &[]),
            ("s IS NULL", &[4, 5]),
            ("array_has(l, 2)", &[2]),
            ("l IS NULL", &[4, 5]),
            ("ls[1]['k'] = 1", &[1]),
            ("ls[1]['more'] IS NULL AND id = 3", &[3]),
        ];
        for (condition, want) in asked {
            let want: Vec<_> =
                want.iter().filter(|id| **id != 2 || hidden.is_empty()).map(|id| format!("|{id}|")).collect();
            assert_eq!(found(&session, condition).await, want, "{condition}");
        }
        let seen = ask(&session, "SELECT wide, real, of_int, day, amount, new, s, l, ls FROM t WHERE id = 1").await;
        let real = f64::from(0.1_f32);
        let s = "{k:1,more:}";
        assert_eq!(seen, [format!("|-2147483648|{real}|1.0|1970-01-01T00:00:00|1.5000||{s}|[1]|[{s}]|")],);
    }
}

#[tokio::test]
async fn times_of_old_writers_are_of_every_year() {
    // Days since the beginning of the Julian period, and nanoseconds of the day.
    let at = |days: i64, nanos: u64| {
        let mut value = Int96::new();
        value.set_data(nanos as u32, (nanos >> 32) as u32, u32::try_from(days + 2_440_588).unwrap());
        value
    };
    let times = [at(-719_162, 0), at(0, 1_000), at(19_724, 3_600_000_000_000), at(2_932_896, 86_399_999_999_000)];
    let column = |name: &str, of: Type| Arc::new(ParquetType::primitive_type_builder(name, of).build().unwrap());
    let schema = ParquetType::group_type_builder("schema")
        .with_fields(vec![column("id", Type::INT64), column("ts", Type::INT96)])
        .build();
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema.unwrap()), Default::default()).unwrap();
    for (id, pair) in [times[..2].to_vec(), times[2..].to_vec()].iter().enumerate() {
        let mut group = writer.next_row_group().unwrap();
        let ids: Vec<i64> = (0..2).map(|n| 2 * id as i64 + n).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<parquet::data_type::Int64Type>().write_batch(&ids, Some(&[1, 1]), None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int96Type>().write_batch(pair, Some(&[1, 1]), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    let bytes = writer.into_inner().unwrap();
    let fixture = Fixture::new();
    for of in ["timestamp", "timestamp_ntz"] {
        let columns = Columns::new(&[("id", json!("long")), ("ts", json!(of))], &[]);
        let file = DataFile::of_bytes("f.parquet", bytes.clone(), 4).hiding([1]);
        let table = build(&fixture, of, &columns, vec![file]).await;
        let session = session_with(&table).await;
        let zone = if of == "timestamp" { "Z" } else { "" };
        let seen = ask(&session, "SELECT ts FROM t ORDER BY id").await;
        let want = ["0001-01-01T00:00:00", "2024-01-02T01:00:00", "9999-12-31T23:59:59.999999"];
        assert_eq!(seen, want.map(|at| format!("|{at}{zone}|")), "{of}");
        let conditions = [
            (format!("ts = TIMESTAMP '2024-01-02 01:00:00{zone}'"), vec!["|2|"]),
            (format!("ts > TIMESTAMP '2024-01-02 00:00:00{zone}'"), vec!["|2|", "|3|"]),
            (format!("ts < TIMESTAMP '2024-01-02 00:00:00{zone}'"), vec!["|0|"]),
        ];
        for (condition, want) in conditions {
            assert_eq!(found(&session, &condition).await, want, "{of}: {condition}");
        }
        assert_eq!(ask(&session, "SELECT id FROM t ORDER BY ts DESC LIMIT 1").await, ["|3|"]);
    }
}

#[tokio::test]
async fn files_are_found_whatever_their_paths_are() {
    let fixture = Fixture::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let absolute = format!("file://{}/p=a%20b/%C3%BC%25.parquet", elsewhere.path().display());
    let paths = [
        "plain.parquet",
        "p=a%20b/c.parquet",
        "p=a%252Fb/c.parquet",
        "p=12:00/x!y.parquet",
        "p=%C3%BC/%E2%82%AC&%2B.parquet",
        "p=ü/+ x.parquet",
        &absolute,
    ];
    let columns = Columns::new(&[("id", json!("long"))], &[]);
    let files = (0..).zip(paths).map(|(n, path)| {
        let hidden = (n % 2..).step_by(2).take(5);
        DataFile::new(path, &ids(10 * n as i64..10 * n as i64 + 10), row_groups_of(5)).hiding(hidden)
    });
    let table = build(&fixture, "t", &columns, files.collect()).await;
    let session = session_with(&table).await;
    for (n, path) in paths.iter().enumerate() {
        let found = found(&session, &format!("id >= {} AND id < {}", 10 * n, 10 * n + 10)).await;
        assert_eq!(found.len(), 5, "{path}");
    }
    let plan = ask(&session, "EXPLAIN SELECT id FROM t").await.concat();
    assert!(plan.contains("plain.parquet") && plan.contains("file_type=parquet"), "{plan}");
}

#[tokio::test]
async fn a_plan_divides_a_file_between_the_cores_and_skips_row_groups_and_pages() {
    let fixture = Fixture::new();
    let columns = Columns::new(&[("id", json!("long")), ("x", json!("double")), ("s", json!("string"))], &[]);
    let x: ArrayRef = Arc::new(arrow::array::Float64Array::from_iter_values((0..10_000).map(f64::from)));
    let s: ArrayRef = Arc::new(StringArray::from_iter_values((0..10_000).map(|n| format!("text {n}"))));
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10_000));
    let rows = RecordBatch::try_from_iter([("id", id), ("x", x), ("s", s)]).unwrap();
    let file = DataFile::new("f.parquet", &rows, row_groups_of(1000)).hiding(5..100);
    let table = build(&fixture, "t", &columns, vec![file]).await;
    let session = session_with(&table).await;
    set(&session, "datafusion.execution.target_partitions", 4);
    set(&session, "datafusion.optimizer.repartition_file_min_size", 0);
    for in_reader in [false, true] {
        set(&session, "datafusion.execution.parquet.pushdown_filters", in_reader);
        for sql in [
            "SELECT s, count(*) FROM t WHERE id > 7 AND s <> 'x' GROUP BY s",
            "SELECT sum(x) FROM t WHERE x > 7 AND id > 5",
            "SELECT id FROM t WHERE id % 3 = 1 AND x IS NOT NULL ORDER BY id",
        ] {
            let plan = ask(&session, &format!("EXPLAIN {sql}")).await.concat();
            let (_, physical) = plan.split_once("physical_plan").unwrap();
            assert_eq!(physical.contains("FilterExec"), !in_reader, "{sql}: {plan}");
            assert!(!physical.contains("RoundRobin"), "{sql}: {plan}");
            assert!(physical.contains("file_groups={4groups:") && physical.contains("predicate="), "{sql}: {plan}");
        }
        // Row groups and pages in which no row can match are not decoded.
        let plan = ask(&session, "EXPLAIN ANALYZE SELECT x FROM t WHERE id BETWEEN 2500 AND 2510").await.concat();
        assert!(plan.contains("row_groups_pruned_statistics=10total→1matched"), "{plan}");
        assert!(plan.contains("page_index_pages_pruned=10total→1matched"), "{plan}");
    }
    // The number of rows is known while planning.
    let plan = session.table("t").await.unwrap().create_physical_plan().await.unwrap();
    let rows = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).unwrap().num_rows;
    assert_eq!(rows, datafusion::common::stats::Precision::Exact(10_000 - 95));
}

#[tokio::test]
async fn pages_of_which_all_rows_are_hidden_are_not_read() {
    let fixture = Fixture::new();
    let columns = Columns::new(&[("x", json!("long"))], &[]);
    let x: ArrayRef = Arc::new(Int64Array::from_iter_values((0..50_000_i64).map(|n| n.wrapping_mul(n) % 1_000_003)));
    let rows = RecordBatch::try_from_iter([("x", x)]).unwrap();
    let properties = row_groups_of(25_000).into_builder().set_dictionary_enabled(false).build();
    // A page in the first of two row groups has visible rows, or each has.
    for (hidden, percents) in [(2_500..50_000, 4..6), (0..900, 95..101)] {
        let file = DataFile::new("f.parquet", &rows, properties.clone()).hiding(hidden);
        let table = build(&fixture, &format!("t{}", percents.start), &columns, vec![file]).await;
        let session = session_with(&table).await;
        let plan = ask(&session, "EXPLAIN ANALYZE SELECT max(x) FROM t").await.concat();
        let read = plan.split("scan_efficiency_ratio=").nth(1).and_then(|read| read.split('%').next());
        let read: f64 = read.and_then(|percent| percent.parse().ok()).unwrap_or_else(|| panic!("{plan}"));
        assert!(percents.contains(&(read as i32)), "{read} % were read");
    }
}

#[tokio::test]
async fn times_in_milliseconds_and_nanoseconds_are_compared_exactly() {
    let fixture = Fixture::new();
    let nested =
        json!({"type": "struct", "fields": [{"name": "ts", "type": "timestamp", "nullable": true, "metadata": {}}]});
    let columns = Columns::new(&[("id", json!("long")), ("ts", json!("timestamp")), ("s", nested)], &[]);
    let millis: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![-1, 0, 1, 2]).with_timezone("UTC"));
    let nanos = [-1_000_000, 0, 1_000_000, 2_000_000];
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(nanos.to_vec()).with_timezone("UTC"));
    for (name, times) in [("millis", millis), ("nanos", nanos)] {
        let field = Field::new("ts", times.data_type().clone(), true);
        let s: ArrayRef = Arc::new(StructArray::new(vec![field].into(), vec![times.clone()], None));
        let id: ArrayRef = Arc::new(Int64Array::from_iter_values(0..4));
        let rows = RecordBatch::try_from_iter([("id", id), ("ts", times), ("s", s)]).unwrap();
        let file = DataFile::new("f.parquet", &rows, row_groups_of(1)).hiding([3]);
        let table = build(&fixture, name, &columns, vec![file]).await;
        let session = session_with(&table).await;
        for column in ["ts", "s['ts']"] {
            let asked: &[(&str, &str, &[&str])] = &[
                ("=", "1970-01-01 00:00:00Z", &["|1|"]),
                ("=", "1970-01-01 00:00:00.0005Z", &[]),
                ("<", "1970-01-01 00:00:00.0005Z", &["|0|", "|1|"]),
                (">=", "1970-01-01 00:00:00.0005Z", &["|2|"]),
                (">", "1969-12-31 23:59:59.9995Z", &["|1|", "|2|"]),
                ("<=", "1969-12-31 23:59:59.9995Z", &["|0|"]),
                ("<>", "1970-01-01 00:00:00.001Z", &["|0|", "|1|"]),
            ];
            for (comparison, time, want) in asked {
                let condition = format!("{column} {comparison} TIMESTAMP '{time}'");
                assert_eq!(found(&session, &condition).await, *want, "{name}: {condition}");
            }
        }
        let top = ask(&session, "SELECT id, ts FROM t ORDER BY ts DESC LIMIT 1").await;
        assert_eq!(top, ["|2|1970-01-01T00:00:00.001Z|"], "{name}");
    }
}
