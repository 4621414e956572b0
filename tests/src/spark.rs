//! Spark with Delta Lake, as a reader and as a writer of tables.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{leave_out, run_python};

/// Deletes rows at each place, unless the condition is empty, and prints columns of those that are left: an object by
/// place.
const PROGRAM: &str = r#"
import json, os, sys
from pyspark.sql import SparkSession
builder = SparkSession.builder.master("local[2]")
settings = {
    "spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "2", "spark.log.level": "ERROR",
    "spark.databricks.delta.snapshotPartitions": "1", "spark.driver.host": "127.0.0.1",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # A list of jars, or else a package that Spark finds itself.
    "spark.jars": os.environ.get("DELTALAKEDB_SPARK_JARS", ""),
    "spark.jars.packages": os.environ.get("DELTALAKEDB_SPARK_PACKAGES", ""),
}
for key, value in settings.items():
    if value:
        builder = builder.config(key, value)
spark = builder.getOrCreate()
condition, columns, found = sys.argv[1], sys.argv[2], {}
for place in sys.argv[3:]:
    if condition:
        spark.sql(f"DELETE FROM delta.`{place}` WHERE {condition}")
    found[place] = [row.asDict() for row in spark.sql(f"SELECT {columns} FROM delta.`{place}`").collect()]
print("\n" + json.dumps(found))
"#;

/// A Python with Spark and Delta Lake, if `DELTALAKEDB_SPARK` names one. It is too large
/// to be among the other readers.
pub fn spark() -> Option<PathBuf> {
    let python = std::env::var_os("DELTALAKEDB_SPARK").map(PathBuf::from);
    if python.is_none() {
        leave_out("DELTALAKEDB_SPARK names no Python with pyspark and delta-spark");
    }
    python
}

/// Deletes the rows of the tables at these places that satisfy a condition, unless it is empty, and finds columns of the
/// others: an array of objects by place.
pub fn spark_finds(python: &Path, condition: &str, columns: &str, places: &[&str]) -> Value {
    let said = run_python(python, PROGRAM, &[&[condition, columns], places].concat());
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

/// Spark finds the same columns in the rows of these tables: objects with the name of the `table`, its `location` and its
/// `rows`.
pub fn read_by_spark<'a>(columns: &str, tables: impl Iterator<Item = &'a Value>) {
    let Some(python) = spark() else { return };
    let tables: Vec<_> = tables.map(|table| (table["location"].as_str().unwrap(), table)).collect();
    let places: Vec<_> = tables.iter().map(|(at, _)| *at).collect();
    let read = spark_finds(&python, "", columns, &places);
    for (at, table) in &tables {
        let rows = |rows: &Value| rows.as_array().unwrap().iter().map(Value::to_string).collect::<Vec<_>>();
        let [mut ours, mut theirs] = [rows(&table["rows"]), rows(&read[*at])];
        ours.sort();
        theirs.sort();
        assert_eq!(theirs, ours, "Spark reads {}", table["table"]);
    }
    eprintln!("Spark read {} tables", tables.len());
}
