//! Tables of the reference implementation whose files have deletion vectors: our scan reads the expected rows, and what
//! is deleted and updated on top of these vectors is read alike by delta-rs and DuckDB.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::ipc::writer::StreamWriter;
use deltalakedb_log::{SystemClock, TableId};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::{Alter, DeltaTable, Operation, Scan, WriteOptions};
use deltalakedb_tests::{golden, import, lines, location, parquet_rows, read_by_duckdb, sqlite, their_rows, unpack};
use serde_json::json;

use super::outside::cardinality;

/// Tables, and a column of numbers of each, of which no value is null.
const TABLES: &[(&str, &str)] = &[
    ("cdf-table-with-cdc-and-dvs", "id"),
    ("dv-partitioned-with-checkpoint", "col1"),
    ("log-replay-dv-key-cases", "id"),
];

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_golden_tables_are_hidden_beside_those_that_are_hidden_already() {
    let Some(archives) = golden() else { return };
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let mut read = Vec::new();
    for (name, column) in TABLES {
        let at = unpack(&archives[*name], dir.path());
        let entry = import(&catalog, &at, name).await.unwrap();
        let table = DeltaTable::of_entry(catalog.clone(), entry.clone());
        let expected = dir.path().join(name).join("expected");
        if expected.is_dir() {
            assert_eq!(rows(&table, None).await, parquet_rows(&expected), "{name}");
        }
        let share = [("deltalakedb.deletionVectors.maxShare".to_string(), "1".to_string())].into();
        run(&table, Operation::Alter(Alter::SetProperties { properties: share, unknown: true })).await;
        let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
        assert!(cardinality(&table).await > 0, "{name} has vectors");
        for rest in [1, 2] {
            let condition = format!("{column} % 5 = {rest}");
            let left = rows(&table, Some(format!("NOT ({condition})"))).await;
            run(&table, Operation::Delete { filter: Some(condition.clone()) }).await;
            assert_eq!(rows(&table, None).await, left, "{name} without {condition}");
            same_for_delta_rs(&mirror, &table, entry.id, &at).await;
        }
        let set = vec![(column.to_string(), format!("{column} + 1001"))];
        let condition = format!("{column} % 5 = 0");
        let (all, changed) = (rows(&table, None).await, rows(&table, Some(condition.clone())).await);
        run(&table, Operation::Update { set, filter: Some(condition.clone()), safe_cast: false }).await;
        assert!(changed.len() > 1 && rows(&table, None).await.len() == all.len(), "{name}");
        assert_eq!(rows(&table, Some(format!("{column} > 1000"))).await.len(), changed.len(), "{name}");
        let stay = rows(&table, Some(format!("{column} < 1000"))).await;
        assert!(stay.iter().all(|row| all.contains(row)), "{name}: {stay:?} are among {all:?}");
        // Each result begins with its columns, but one without rows.
        let stay = stay.len().max(1);
        assert_eq!(stay + changed.len(), all.len() + 1, "{name}: {changed:?} are changed of {all:?}");
        same_for_delta_rs(&mirror, &table, entry.id, &at).await;
        let file = dir.path().join(format!("{name}.arrow"));
        keep(&table.read(&Scan::default()).await.unwrap(), &file);
        read.push(json!({"table": name, "location": at, "rows": file}));
    }
    read_by_duckdb(&dir.path().join("tables.json"), read);
}

async fn run(table: &DeltaTable, operation: Operation) {
    let done = table.run(operation, &WriteOptions::default()).await.unwrap();
    assert!(done.committed.is_some(), "{table}");
}

async fn rows(table: &DeltaTable, filter_sql: Option<String>) -> Vec<String> {
    lines(&table.read(&Scan { filter_sql, ..Scan::default() }).await.unwrap())
}

async fn same_for_delta_rs(mirror: &Mirror, table: &DeltaTable, id: TableId, at: &Path) {
    let version = mirror.publish(id).await.unwrap().version.unwrap();
    assert_eq!(their_rows(&location(at), version).await.unwrap(), rows(table, None).await, "{table}");
}

fn keep(rows: &[RecordBatch], file: &Path) {
    let file = std::fs::File::create(file).unwrap();
    let mut writer = StreamWriter::try_new(file, &rows[0].schema()).unwrap();
    rows.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
}
