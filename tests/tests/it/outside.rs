//! Outside readers of a table that consists of the newest commit and our checkpoint of it.

use std::sync::Arc;

use deltalakedb_log::SystemClock;
use deltalakedb_mirror::Mirror;
use deltalakedb_tests::{
    asking_readers, golden, import, location, our_rows, python, run_python, sqlite, their_rows, unpack,
};
use serde_json::Value;

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
