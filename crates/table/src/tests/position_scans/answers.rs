//! Random queries over random files with random vectors have the answers that a table in memory of the visible rows
//! has.

use arrow::array::{
    Array, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, ListArray, StructArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::{
    SortColumn, SortOptions, cast, concat_batches, filter_record_batch, lexsort_to_indices, take_record_batch,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::catalog::TableProvider;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::MemTable;
use datafusion::physical_plan::collect;
use fastrand::Rng;
use futures::StreamExt;
use futures::stream;
use parquet::file::properties::EnabledStatistics;

use super::*;
use crate::delta_rs::load_masks;
use crate::position_scan::{FILE_COLUMN, NumberedFile, POSITION_COLUMN, RowPositions, with_positions};

/// Tables of a usual run, the conditions of each, the queries with each condition, and the settings with which each
/// query runs: more than 10,000 cases. A query is parsed and optimized once, because that takes longer than to run it.
const TABLES: u64 = 42;
const CONDITIONS: usize = 6;
const QUERIES: usize = 5;
const SETTINGS: usize = 8;

/// The seeds of the tables, or the one in `DELTALAKEDB_SEED`.
fn seeds() -> Vec<u64> {
    let factor = if std::env::var("DELTALAKEDB_SOAK").as_deref() == Ok("1") { 5 } else { 1 };
    match std::env::var("DELTALAKEDB_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..TABLES * factor).collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_queries_have_the_answers_of_the_visible_rows() {
    let at_once = std::thread::available_parallelism().map_or(2, usize::from);
    let checks = stream::iter(seeds()).map(|seed| async move { (seed, tokio::spawn(check_table(seed)).await) });
    let failed: Vec<u64> = checks
        .buffer_unordered(at_once)
        .filter_map(async |(seed, checked)| checked.is_err().then_some(seed))
        .collect()
        .await;
    assert!(failed.is_empty(), "run one of them again with DELTALAKEDB_SEED: {failed:?}");
}

async fn check_table(seed: u64) {
    let rng = &mut Rng::with_seed(seed);
    let fixture = Fixture::new();
    let random = RandomTable::new(rng, &fixture).await;
    for _ in 0..CONDITIONS {
        let condition = condition(rng, 2);
        let matching = random.matching(&condition).await;
        for _ in 0..QUERIES {
            random.check_query(rng, seed, &condition, &matching).await;
        }
    }
}

/// Settings of a session by their keys.
type Settings = Vec<(&'static str, String)>;

/// What a query returned, and which one with which settings it was.
struct Answer {
    rows: Vec<RecordBatch>,
    context: String,
}

/// A table, and what is expected of it.
struct RandomTable {
    session: SessionContext,
    /// The visible rows, and where they are.
    visible: RecordBatch,
}

impl RandomTable {
    async fn new(rng: &mut Rng, fixture: &Fixture) -> Self {
        let is_partitioned = rng.bool();
        let partition_by: &[&str] = if is_partitioned { &["p", "q"] } else { &[] };
        let columns = Columns { mapped: rng.bool(), ..Columns::new(&columns(), partition_by) };
        let (mut files, mut logical, mut next_id) = (Vec::new(), Vec::new(), 0);
        for n in 0..rng.usize(1..5) {
            let partition = is_partitioned.then(|| (pick(rng, &TEXTS), (!rng.bool()).then(|| rng.i32(-3..3))));
            // Some have runs of hidden rows for which the page index is loaded.
            let rows = if rng.u8(0..6) == 0 { rng.usize(1_000..3_000) } else { rng.usize(1..400) };
            let rows = random_rows(rng, rows, &mut next_id, partition);
            let hidden = random_hidden(rng, rows.num_rows() as u64);
            let path = format!("{n}.parquet");
            files.push(random_file(rng, &path, &columns, &rows, hidden.clone(), partition));
            logical.push((path, rows, hidden));
        }
        let table = build(fixture, "t", &columns, files).await;
        let session = session_with(&table).await;
        let provider = DeltaTableProvider::open(&table, At::Latest).await.unwrap();
        let (view, schema) = (table.view_at(At::Latest).await.unwrap(), provider.schema());
        let masked = load_masks(view.files(None).await.unwrap(), &view.location, &view.options.stores).await.unwrap();
        let positioned = with_positions(&schema);
        let batches = (0..).zip(&masked).map(|(number, file)| {
            let (_, rows, hidden) = logical.iter().find(|(path, ..)| *path == file.add.path).unwrap();
            visible_rows(rows, hidden, number, &positioned)
        });
        let visible = concat_batches(&positioned, &batches.collect::<Vec<_>>()).unwrap();
        let in_memory = MemTable::try_new(visible.schema(), vec![vec![visible.clone()]]).unwrap();
        session.register_table("m", Arc::new(in_memory)).unwrap();
        let positions = RowPositions::new(
            view.location.clone(),
            view.options.stores.clone(),
            provider.head().clone(),
            &schema,
            NumberedFile::in_order(masked),
        )
        .unwrap();
        session.register_table("positions", Arc::new(positions)).unwrap();
        Self { session, visible }
    }

    /// The visible rows that satisfy a condition, according to the table in memory.
    async fn matching(&self, condition: &str) -> RecordBatch {
        let rows = self.in_memory(&format!("SELECT * FROM m WHERE {condition}")).await;
        concat_batches(&self.visible.schema(), &rows).unwrap()
    }

    /// The rows of a query of the table in memory.
    async fn in_memory(&self, sql: &str) -> Vec<RecordBatch> {
        reset(&self.session);
        let rows = query(&self.session, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        rows.collect().await.unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// The answers to a query with each of these settings.
    async fn answers(&self, sql: &str, seed: u64, settings: &[Settings]) -> Vec<Answer> {
        let planned = query(&self.session, sql).await.and_then(DataFrame::into_optimized_plan);
        let planned = planned.unwrap_or_else(|e| panic!("seed {seed}: {sql}: {e}"));
        let mut answers = Vec::new();
        for settings in settings {
            let context = format!("seed {seed}: {sql}\nwith {settings:?}");
            for (key, value) in settings {
                set(&self.session, key, value);
            }
            let state = self.session.state();
            let rows = match state.query_planner().create_physical_plan(&planned, &state).await {
                Ok(plan) => collect(plan, state.task_ctx()).await,
                Err(e) => Err(e),
            };
            let rows = rows.unwrap_or_else(|e| panic!("{context}: {e}"));
            answers.push(Answer { rows, context });
        }
        answers
    }

    /// One query of a random kind with random settings.
    async fn check_query(&self, rng: &mut Rng, seed: u64, condition: &str, matching: &RecordBatch) {
        let settings: Vec<_> = (0..SETTINGS).map(|_| random_settings(rng)).collect();
        let of_positions = rng.u8(0..8) == 0;
        let from = if of_positions { "positions" } else { "t" };
        let condition = if rng.u8(0..12) == 0 { None } else { Some(condition) };
        let (matching, filter) = match condition {
            Some(condition) => (matching, format!(" WHERE {condition}")),
            None => (&self.visible, String::new()),
        };
        let columns = random_projection(rng, of_positions);
        let list = columns.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let limit = rng.usize(0..60);
        let all = matching.num_rows();
        let answers = async |sql: &str| self.answers(sql, seed, &settings).await;
        match rng.u8(0..10) {
            0..3 => {
                let sql = format!("SELECT {list} FROM {from}{filter}");
                let expected = project(matching, &columns);
                compare(&answers(&sql).await, &[expected], false);
            }
            3 => {
                let sql = format!("SELECT {list} FROM {from}{filter} LIMIT {limit}");
                let expected = sorted(&[project(matching, &columns)]);
                for Answer { rows: found, context } in answers(&sql).await {
                    let rows = sorted(&found);
                    assert_eq!(rows.len(), limit.min(all), "{context}");
                    let mut expected = expected.iter();
                    assert!(rows.iter().all(|row| expected.any(|e| e == row)), "{context}\nfound {found:?}");
                }
            }
            4..7 => {
                let by = *pick(rng, &["id", "a", "s", "n", "d", "x", "ts", "e", "w", "z", "p", "q"]);
                let options = SortOptions { descending: rng.bool(), nulls_first: rng.bool() };
                let direction = if options.descending { "DESC" } else { "ASC" };
                let nulls = if options.nulls_first { "FIRST" } else { "LAST" };
                // Without an id, rows with the same value are interchangeable, of which only that value is compared.
                let is_total = rng.bool();
                let then = if is_total { ", id" } else { "" };
                let columns = if is_total { columns } else { vec![by] };
                let list = columns.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
                let sql = format!(
                    "SELECT {list} FROM {from}{filter} ORDER BY {by} {direction} NULLS {nulls}{then} LIMIT {limit}"
                );
                let column = |name: &str| matching.column_by_name(name).unwrap().clone();
                let order = [
                    SortColumn { values: column(by), options: Some(options) },
                    SortColumn { values: column("id"), options: None },
                ];
                let expected = take_record_batch(matching, &lexsort_to_indices(&order, Some(limit)).unwrap()).unwrap();
                compare(&answers(&sql).await, &[project(&expected, &columns)], true);
            }
            7 | 8 => {
                let counted = *pick(rng, &["id", "a", "s", "n", "d", "x", "e", "w", "z", "p", "q", "k"]);
                let of = *pick(rng, &["id", "a", "s", "n", "d", "x", "ts", "e", "w", "z", "p", "q"]);
                let list = *pick(
                    rng,
                    &[
                        "count(*)",
                        "count({c})",
                        "min({o}), max({o})",
                        "count(*), count({c}), min({o}), max(id), sum(w)",
                    ],
                );
                let list = list.replace("{c}", counted).replace("{o}", of);
                let sql = format!("SELECT {list} FROM {from}{filter}");
                let expected = self.in_memory(&format!("SELECT {list} FROM m{filter}")).await;
                compare(&answers(&sql).await, &expected, true);
            }
            _ => {
                // The rows of the other side filter the scan while it runs.
                let keys: Vec<i64> = (0..rng.usize(1..5)).map(|_| rng.i64(0..60)).collect();
                let values = keys.iter().map(|key| format!("({key})")).collect::<Vec<_>>().join(", ");
                let sql = format!(
                    "SELECT {list} FROM (SELECT DISTINCT v FROM (VALUES {values}) AS l(v)) AS keys JOIN {from} ON a = v{filter}"
                );
                let a = matching.column_by_name("a").unwrap().as_primitive::<Int64Type>();
                let is_key: BooleanArray = a.iter().map(|a| Some(a.is_some_and(|a| keys.contains(&a)))).collect();
                let expected = project(&filter_record_batch(matching, &is_key).unwrap(), &columns);
                compare(&answers(&sql).await, &[expected], false);
            }
        }
    }
}

const TEXTS: [Option<&str>; 7] = [
    None,
    Some("a"),
    Some("b c"),
    Some("ü"),
    Some("a long text with an end a"),
    Some("a long text with an end b"),
    Some("%"),
];

fn pick<'a, T>(rng: &mut Rng, of: &'a [T]) -> &'a T {
    &of[rng.usize(0..of.len())]
}

fn columns() -> Vec<(&'static str, Value)> {
    let field = |name: &str, of: &str| json!({"name": name, "type": of, "nullable": true, "metadata": {}});
    vec![
        ("id", json!("long")),
        ("a", json!("long")),
        ("s", json!("string")),
        ("n", json!("integer")),
        ("d", json!("date")),
        ("x", json!("double")),
        ("ts", json!("timestamp")),
        ("e", json!("decimal(10,2)")),
        ("w", json!("long")),
        ("z", json!("string")),
        ("k", json!({"type": "struct", "fields": [field("v", "long"), field("t", "string")]})),
        ("l", json!({"type": "array", "elementType": "long", "containsNull": true})),
        ("p", json!("string")),
        ("q", json!("integer")),
    ]
}

/// Rows with the columns of the table.
fn random_rows(
    rng: &mut Rng,
    rows: usize,
    next_id: &mut i64,
    partition: Option<(&Option<&'static str>, Option<i32>)>,
) -> RecordBatch {
    let first = *next_id;
    *next_id += rows as i64;
    let mut ids: Vec<i64> = (first..*next_id).collect();
    if rng.bool() {
        rng.shuffle(&mut ids);
    }
    // Runs of close values, or values without an order.
    let (run, spread) = (rng.usize(1..80), rng.i64(1..40));
    let is_clustered = rng.bool();
    let level = |n: usize| if is_clustered { (n / run) as i64 } else { 0 };
    let nulls = rng.u8(0..4);
    let is_null = |rng: &mut Rng| nulls > 0 && rng.u8(0..6) < nulls;
    let longs = |rng: &mut Rng| -> Vec<Option<i64>> {
        (0..rows).map(|n| (!is_null(rng)).then(|| level(n) + rng.i64(0..spread))).collect()
    };
    let (a, w, v, e, at, d) = (longs(rng), longs(rng), longs(rng), longs(rng), longs(rng), longs(rng));
    let texts = |rng: &mut Rng| -> ArrayRef {
        let texts = (0..rows).map(|n| {
            let number = level(n);
            pick(rng, &TEXTS).map(|text| if number > 0 { format!("{text}{number}") } else { text.into() })
        });
        Arc::new(StringArray::from_iter(texts))
    };
    let floats = [0.5, -1.5, 1.0, f64::NAN, f64::INFINITY, 1e300, -7.25];
    let x = (0..rows).map(|n| (!is_null(rng)).then(|| *pick(rng, &floats) + level(n) as f64));
    let x: ArrayRef = Arc::new(x.collect::<Float64Array>());
    let all_null = rng.u8(0..3) > 0;
    let n: ArrayRef =
        Arc::new((0..rows).map(|_| (!all_null && rng.bool()).then(|| rng.i32(0..9))).collect::<Int32Array>());
    let scaled = |of: &[Option<i64>], by: i64| of.iter().map(|v| v.map(|v| v * by)).collect::<Vec<_>>();
    let fields = vec![Field::new("v", DataType::Int64, true), Field::new("t", DataType::Utf8, true)];
    let k = StructArray::new(fields.into(), vec![Arc::new(Int64Array::from(v)), texts(rng)], None);
    let l =
        (0..rows).map(|_| (!is_null(rng)).then(|| (0..rng.usize(0..3)).map(|n| Some(n as i64)).collect::<Vec<_>>()));
    let l = ListArray::from_iter_primitive::<Int64Type, _, _>(l.collect::<Vec<_>>());
    let (p, q): (ArrayRef, ArrayRef) = match partition {
        Some((p, q)) => (Arc::new(StringArray::from(vec![*p; rows])), Arc::new(Int32Array::from(vec![q; rows]))),
        None => (texts(rng), Arc::new((0..rows).map(|_| rng.bool().then(|| rng.i32(-3..3))).collect::<Int32Array>())),
    };
    let e = Decimal128Array::from_iter(scaled(&e, 25).iter().map(|v| v.map(i128::from)));
    let d = d.iter().map(|v| v.map(|v| 19_000 + v as i32)).collect::<Date32Array>();
    let at = TimestampMicrosecondArray::from(scaled(&at, 3_600_000_001)).with_timezone("UTC");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(ids))),
        ("a", Arc::new(Int64Array::from(a))),
        ("s", texts(rng)),
        ("n", n),
        ("d", Arc::new(d)),
        ("x", x),
        ("ts", Arc::new(at)),
        ("e", Arc::new(e.with_precision_and_scale(10, 2).unwrap())),
        ("w", Arc::new(Int64Array::from(w))),
        ("z", texts(rng)),
        ("k", Arc::new(k)),
        ("l", Arc::new(l)),
        ("p", p),
        ("q", q),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true))).unwrap()
}

/// The file of rows, in which columns may be narrower than in the table or missing. What is missing becomes null in the
/// rows.
fn random_file(
    rng: &mut Rng,
    path: &str,
    columns: &Columns,
    rows: &RecordBatch,
    hidden: RoaringTreemap,
    partition: Option<(&Option<&'static str>, Option<i32>)>,
) -> DataFile {
    let is_narrow = rng.bool();
    let mut physical: Vec<(String, ArrayRef)> = Vec::new();
    for (field, values) in rows.schema().fields().iter().zip(rows.columns()) {
        let name = field.name().as_str();
        let values = match name {
            "w" if is_narrow => cast(values, &DataType::Int32).unwrap(),
            // A NaN with its sign.
            "x" => {
                let x = values.as_primitive::<Float64Type>().iter();
                Arc::new(x.map(|x| x.map(|x| if x.is_nan() && rng.bool() { -x } else { x })).collect::<Float64Array>())
            }
            "k" => {
                let of = values.as_struct();
                let kind = if is_narrow { DataType::Int32 } else { DataType::Int64 };
                let children = vec![cast(of.column(0), &kind).unwrap(), of.column(1).clone()];
                let fields =
                    [("v", kind), ("t", DataType::Utf8)].map(|(name, of)| Field::new(columns.physical(name), of, true));
                Arc::new(StructArray::new(fields.to_vec().into(), children, of.nulls().cloned()))
            }
            _ => values.clone(),
        };
        if !(columns.partition_by.contains(&name) || name == "z" && values.null_count() == values.len()) {
            physical.push((columns.physical(name), values));
        }
    }
    if rng.bool() {
        rng.shuffle(&mut physical);
    }
    let physical = physical.into_iter().map(|(name, values)| (name, values, true));
    let physical = RecordBatch::try_from_iter_with_nullable(physical).unwrap();
    let group = rng.usize(5..200);
    let page = rng.usize(1..50);
    let statistics = *pick(
        rng,
        &[EnabledStatistics::Page, EnabledStatistics::Page, EnabledStatistics::Chunk, EnabledStatistics::None],
    );
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .set_data_page_row_count_limit(page)
        .set_write_batch_size(page)
        .set_statistics_enabled(statistics)
        .set_dictionary_enabled(rng.bool())
        .set_bloom_filter_enabled(rng.bool())
        .set_statistics_truncate_length(Some(rng.usize(1..20)))
        .set_column_index_truncate_length(Some(rng.usize(1..20)))
        .build();
    let mut file = DataFile::new(path, &physical, properties);
    file.hidden = hidden;
    if let Some((p, q)) = partition {
        file.partition_values = vec![("p", p.map(String::from)), ("q", q.map(|q| q.to_string()))];
    }
    let ids = rows["id"].as_primitive::<Int64Type>();
    file.stats = match rng.u8(0..3) {
        0 => Value::Null,
        1 => json!({}),
        _ => {
            let (min, max) = (arrow::compute::min(ids), arrow::compute::max(ids));
            let of = |value: Option<i64>| json!({columns.physical("id"): value});
            json!({"minValues": of(min), "maxValues": of(max), "nullCount": {columns.physical("id"): 0}})
        }
    };
    file
}

fn random_hidden(rng: &mut Rng, rows: u64) -> RoaringTreemap {
    let one = rng.u64(0..rows);
    match rng.u8(0..8) {
        0 | 1 => RoaringTreemap::new(),
        2 => (0..rows).collect(),
        3 => (0..rows).filter(|row| *row != one).collect(),
        4 => [one].into_iter().collect(),
        5 => (one / 2..one + 1).collect(),
        6 => (0..rows).filter(|_| rng.u8(0..20) == 0).collect(),
        _ => (0..rows).filter(|_| rng.bool()).collect(),
    }
}

/// The visible rows of a file in the types of the scan, and where they are.
fn visible_rows(rows: &RecordBatch, hidden: &RoaringTreemap, file: u32, schema: &SchemaRef) -> RecordBatch {
    let of_scan = schema.fields().iter().zip(rows.columns());
    let mut columns: Vec<ArrayRef> = of_scan.map(|(field, column)| cast(column, field.data_type()).unwrap()).collect();
    columns.push(Arc::new(UInt32Array::from(vec![file; rows.num_rows()])));
    columns.push(Arc::new(Int64Array::from_iter_values(0..rows.num_rows() as i64)));
    let rows = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let is_visible: BooleanArray = (0..rows.num_rows() as u64).map(|row| Some(!hidden.contains(row))).collect();
    filter_record_batch(&rows, &is_visible).unwrap()
}

/// A condition over the columns.
fn condition(rng: &mut Rng, depth: u8) -> String {
    if depth > 0 && rng.u8(0..3) > 0 {
        let (left, right) = (condition(rng, depth - 1), condition(rng, depth - 1));
        return match rng.u8(0..5) {
            0 | 1 => format!("({left} AND {right})"),
            2 | 3 => format!("({left} OR {right})"),
            _ => format!("NOT ({left})"),
        };
    }
    let comparison = *pick(rng, &["=", "<>", "<", "<=", ">", ">="]);
    let number = rng.i64(0..60);
    let text = pick(rng, &TEXTS).unwrap_or("nothing");
    match rng.u8(0..24) {
        0 => format!("id {comparison} {}", rng.i64(-5..1200)),
        1 => format!("id BETWEEN {number} AND {}", number + rng.i64(0..500)),
        2 => format!("id IN ({number}, {}, {})", 2 * number, rng.i64(0..1000)),
        3 => format!("a {comparison} {number}"),
        4 => format!("a % 3 {comparison} 1"),
        5 => format!("a + w {comparison} {number}"),
        6 => {
            let column = pick(rng, &["a", "s", "n", "d", "x", "ts", "e", "w", "z", "l", "p", "q", "k['v']", "k['t']"]);
            format!("{column} IS {}NULL", if rng.bool() { "NOT " } else { "" })
        }
        7 => format!("s {comparison} '{text}'"),
        8 => format!("s LIKE '{}%'", text.chars().take(rng.usize(1..25)).collect::<String>()),
        9 => format!("s NOT LIKE 'a%' AND s <> '{text}'"),
        10 => format!("z IN ('{text}', 'ü')"),
        11 => format!("n {comparison} {}", rng.i64(0..9)),
        12 => format!("coalesce(n, 3) {comparison} 3"),
        13 => format!("d {comparison} DATE '2022-01-2{}'", rng.u8(0..10)),
        14 => format!("x {comparison} {}", pick(rng, &["0.5", "1.0", "-1.5", "2.5", "CAST('NaN' AS DOUBLE)"])),
        15 => "x IN (0.5, -7.25) OR x = CAST('NaN' AS DOUBLE)".into(),
        16 => format!("ts {comparison} TIMESTAMP '1970-01-01 1{}:00:00Z'", rng.u8(0..10)),
        17 => format!("e {comparison} {}.{}", rng.u8(0..9), pick(rng, &["25", "5", "75", "124"])),
        18 => format!("w {comparison} {}", pick(rng, &["3", "17", "30", "3000000000", "-3000000000"])),
        19 => format!("k['v'] {comparison} {number}"),
        20 => format!("k['t'] = '{text}'"),
        21 => format!("array_has(l, {})", rng.u8(0..3)),
        22 => format!("p {comparison} '{text}'"),
        _ => format!("q {comparison} {}", rng.i32(-3..3)),
    }
}

/// Some of the columns, in any order.
fn random_projection(rng: &mut Rng, of_positions: bool) -> Vec<&'static str> {
    let mut names: Vec<_> = columns().into_iter().map(|(name, _)| name).collect();
    rng.shuffle(&mut names);
    names.truncate(rng.usize(1..5));
    if of_positions {
        names.extend([FILE_COLUMN, POSITION_COLUMN]);
    }
    names
}

fn project(rows: &RecordBatch, columns: &[&str]) -> RecordBatch {
    let columns: Vec<_> = columns.iter().map(|name| rows.schema().index_of(name).unwrap()).collect();
    rows.project(&columns).unwrap()
}

/// Settings that change how files are read, but not which rows a query has.
fn random_settings(rng: &mut Rng) -> Settings {
    let mut settings = vec![
        ("datafusion.execution.target_partitions", rng.usize(1..5).to_string()),
        ("datafusion.optimizer.repartition_file_min_size", pick(rng, &["0", "1", "1000", "10000000"]).to_string()),
        ("datafusion.execution.batch_size", pick(rng, &["3", "64", "8192"]).to_string()),
    ];
    for key in [
        "datafusion.execution.parquet.enable_page_index",
        "datafusion.execution.parquet.pruning",
        "datafusion.execution.parquet.bloom_filter_on_read",
        "datafusion.execution.parquet.reorder_filters",
        "datafusion.optimizer.enable_dynamic_filter_pushdown",
    ] {
        settings.push((key, (rng.u8(0..4) > 0).to_string()));
    }
    settings.push(("datafusion.execution.parquet.force_filter_selections", rng.bool().to_string()));
    settings.push(("datafusion.execution.parquet.pushdown_filters", rng.bool().to_string()));
    // The setting above turns on all dynamic filters, and that of aggregates loses rows (see `session`).
    settings.push(("datafusion.optimizer.enable_aggregate_dynamic_filter_pushdown", false.to_string()));
    settings
}

/// The settings with which the table in memory is read.
fn reset(session: &SessionContext) {
    set(session, "datafusion.execution.target_partitions", 1);
    set(session, "datafusion.execution.batch_size", 8192);
}

fn compare(answers: &[Answer], expected: &[RecordBatch], is_ordered: bool) {
    let rows = if is_ordered { rows_of } else { sorted };
    let expected_rows = rows(expected);
    for Answer { rows: found, context } in answers {
        if rows(found) != expected_rows {
            let text = |rows: &[RecordBatch]| pretty_format_batches(rows).unwrap().to_string();
            panic!("{context}\nfound\n{}\nexpected\n{}", text(found), text(expected));
        }
    }
}

fn sorted(batches: &[RecordBatch]) -> Vec<OwnedRow> {
    let mut rows = rows_of(batches);
    rows.sort_unstable();
    rows
}

/// Rows that can be compared.
fn rows_of(batches: &[RecordBatch]) -> Vec<OwnedRow> {
    let Some(first) = batches.first() else { return Vec::new() };
    let fields = first.schema().fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let converter = RowConverter::new(fields).unwrap();
    let rows = batches.iter().map(|batch| converter.convert_columns(batch.columns()).unwrap());
    rows.flat_map(|rows| rows.iter().map(|row| row.owned()).collect::<Vec<_>>()).collect()
}
