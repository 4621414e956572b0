//! Outside readers of tables whose log has only our checkpoint and the newest commit, and of tables with rows that come
//! from other Parquet files.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, ListArray, RecordBatch, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{SystemClock, TableRef};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::{
    DeltaTable, Operation, SaveMode, SchemaMode, TableSpec, WriteOptions, WriteRows, create_table, create_with_data,
    parse_schema,
};
use deltalakedb_tests::{
    asking_readers, golden, import, location, our_rows, python, run_python, sqlite, their_rows, unpack,
};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use serde_json::{Value, json};

/// How many rows each reader finds at a place.
const COUNT: &str = r#"
def by_duckdb(place):
    return connection.execute("SELECT count(*) FROM (SELECT * FROM delta_scan($1)) AS t", [place]).fetchone()[0]
def by_deltalake(place):
    return sum(b.num_rows for b in QueryBuilder().register("t", DeltaTable(place)).execute("SELECT * FROM t").read_all().to_batches())
def by_polars(place):
    return polars.read_delta(place).height
"#;

/// Tables, and the readers that cannot read them, with or without a checkpoint.
const TABLES: &[(&str, &[&str])] = &[
    ("basic-with-inserts-deletes-checkpoint", &[]),
    ("cdf-table-partitioned", &[]),
    ("data-reader-partition-values", &[]),
    ("dv-partitioned-with-checkpoint", &["by_polars"]),
    ("table-with-columnmapping-mode-id", &["by_polars"]),
    ("v2-checkpoints-parquet-with-last-checkpoint", &["by_polars"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn outside_readers_read_a_table_from_our_checkpoint() {
    let (Some(python), Some(archives)) = (python("deltalake, duckdb, polars"), golden()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let mut places = Vec::new();
    for (name, cannot) in TABLES {
        let at = unpack(&archives[*name], dir.path());
        let table = import(&catalog, &at, name).await.unwrap();
        let before = their_rows(&location(&at), table.current_version).await.unwrap();
        Mirror::new(catalog.clone(), Arc::new(SystemClock)).checkpoint(table.id).await.unwrap();
        crate::checkpoints::only_the_checkpoint(&at, table.current_version);
        assert_eq!(their_rows(&location(&at), table.current_version).await.unwrap(), before, "{name}");
        // The first line names the columns.
        let rows = our_rows(&catalog, &table, table.current_version).await.unwrap().len().saturating_sub(1);
        places.push((at.to_str().unwrap().to_string(), rows, cannot));
    }
    let arguments: Vec<_> = places.iter().map(|(at, ..)| at.as_str()).collect();
    let found: Value = serde_json::from_str(&run_python(&python, &asking_readers(COUNT), &arguments)).unwrap();
    for (at, rows, cannot) in &places {
        for reader in ["by_duckdb", "by_deltalake", "by_polars"].iter().filter(|reader| !cannot.contains(reader)) {
            assert_eq!(found[at][reader], Value::from(*rows), "{at} {reader}: {}", found[at]);
        }
    }
}

/// The values of a table with the columns of [`with_field_ids`].
const VALUES: &str = r#"
def by_duckdb(place):
    query = "SELECT CAST(sum(a) AS BIGINT), CAST(sum(s.b) AS BIGINT), CAST(sum(l[1].b) AS BIGINT) FROM delta_scan($1)"
    return list(connection.execute(query, [place]).fetchone())
def by_deltalake(place):
    query = "SELECT sum(a), sum(s['b']), sum(l[1]['b']) FROM t"
    rows = QueryBuilder().register("t", DeltaTable(place)).execute(query).read_all()
    return [column[0].as_py() for column in rows.columns]
def by_polars(place):
    rows = polars.read_delta(place)
    structs = [rows["s"], rows["l"].explode()]
    return [rows["a"].sum()] + [column.struct.field("b").sum() for column in structs]
"#;

/// A field with an id, as a reader of Parquet files returns it.
fn with_field_id(name: &str, data_type: DataType, id: usize) -> Arc<Field> {
    let id = (PARQUET_FIELD_ID_META_KEY.to_string(), id.to_string());
    Arc::new(Field::new(name, data_type, true).with_metadata([id].into()))
}

/// One row of a long, a struct and a list of structs, whose fields all have ids.
fn with_field_ids(ids_from: usize) -> RecordBatch {
    let ones: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let b = with_field_id("b", DataType::Int64, ids_from + 1);
    let of_b: ArrayRef = Arc::new(StructArray::from(vec![(b.clone(), ones.clone())]));
    let element = with_field_id("element", of_b.data_type().clone(), ids_from + 2);
    let list: ArrayRef = Arc::new(ListArray::new(element, OffsetBuffer::from_lengths([1]), of_b.clone(), None));
    let columns = [("a", ones), ("s", of_b), ("l", list)]
        .map(|(name, column)| (with_field_id(name, column.data_type().clone(), ids_from + name.len()), column));
    let fields: Fields = columns.iter().map(|(field, _)| field.clone()).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, column)| column).collect())
        .unwrap()
}

/// DuckDB returns null for a column that has a field id in the log (docs/limits.md).
#[tokio::test(flavor = "multi_thread")]
async fn outside_readers_find_columns_that_had_field_ids_in_other_files() {
    let Some(python) = python("deltalake, duckdb, polars") else { return };
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let options = WriteOptions::default();
    let merged = |rows: RecordBatch| {
        let write = WriteRows::new(vec![rows], SaveMode::Append);
        Operation::Write(WriteRows { schema_mode: Some(SchemaMode::Merge), ..write })
    };
    let names = ["created", "evolved", "converted"];
    for name in names {
        let new = NewTable::new(name.parse().unwrap(), location(&dir.path().join(name)));
        let (rows, none) = (with_field_ids(10), HashMap::new());
        if name == "created" {
            create_with_data(catalog.as_ref(), new, vec![rows], &[], &none, &options).await.unwrap();
            continue;
        }
        if name == "converted" {
            fs::create_dir(dir.path().join(name)).unwrap();
            let file = fs::File::create(dir.path().join(name).join("given.parquet")).unwrap();
            let mut writer = ArrowWriter::try_new(file, rows.schema(), None).unwrap();
            writer.write(&rows).unwrap();
            writer.close().unwrap();
            TableSpec::new(&[], &none).convert(catalog.as_ref(), new, None, true, &options).await.unwrap();
            continue;
        }
        let schema = parse_schema("id long").unwrap();
        create_table(catalog.as_ref(), new, &schema, &[], &none, &options).await.unwrap();
        let table = DeltaTable::open_in(catalog.clone(), &TableRef::Name(name.parse().unwrap())).await.unwrap();
        table.run(merged(rows), &options).await.unwrap();
    }
    let mut places = Vec::new();
    for name in names {
        let table = catalog.find(&TableRef::Name(name.parse().unwrap())).await.unwrap().unwrap();
        let open = DeltaTable::open_in(catalog.clone(), &TableRef::Id(table.id)).await.unwrap();
        open.run(merged(with_field_ids(20)), &options).await.unwrap();
        assert!(!open.head().await.unwrap().metadata.schema_string.contains("parquet.field.id"), "{name}");
        Mirror::new(catalog.clone(), Arc::new(SystemClock)).publish(table.id).await.unwrap();
        places.push(dir.path().join(name).to_str().unwrap().to_string());
    }
    let arguments: Vec<_> = places.iter().map(String::as_str).collect();
    let found: Value = serde_json::from_str(&run_python(&python, &asking_readers(VALUES), &arguments)).unwrap();
    for at in &places {
        for reader in ["by_duckdb", "by_deltalake", "by_polars"] {
            assert_eq!(found[at][reader], json!([2, 2, 2]), "{at} {reader}: {}", found[at]);
        }
    }
}
