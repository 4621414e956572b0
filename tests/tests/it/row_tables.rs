//! Row tables as other readers see them: after each flush delta-rs and DuckDB read the rows that SQL reads, and Spark reads
//! those of the last flush.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::ipc::writer::StreamWriter;
use deltalakedb_engine::{RowEngine, RowTables};
use deltalakedb_log::{Catalog, SystemClock, TableRef};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::{DeltaTable, Scan, SqlOptions, SqlResult, SqlSession, WriteOptions};
use deltalakedb_tests::spark::read_by_spark;
use deltalakedb_tests::{lines, location, read_by_duckdb, seeds, soak, sqlite, text, their_rows};
use fastrand::Rng;
use futures::TryStreamExt;
use serde_json::{Value, json};

/// The histories of a usual run.
const HISTORIES: u64 = 10;
const STEPS: usize = 40;

/// The rows of the last statement that has any, and how many rows the last change changed.
async fn run(session: &mut SqlSession, sql: &str) -> (Vec<RecordBatch>, u64) {
    let (mut rows, mut changed) = (Vec::new(), 0);
    let mut script = session.execute(sql).unwrap();
    while let Some(result) = script.next().await.unwrap_or_else(|e| panic!("{sql}: {e}")) {
        match result {
            SqlResult::Rows(stream) => rows = stream.try_collect().await.unwrap(),
            SqlResult::CommandComplete(done) => changed = done.rows.unwrap_or_default(),
        }
    }
    (rows, changed)
}

async fn open(folder: &Path, catalog: &Arc<dyn Catalog>) -> (Arc<RowEngine>, SqlSession) {
    let engine = RowEngine::open(folder, catalog.clone(), WriteOptions::default()).await.unwrap();
    let engine = Arc::new(engine);
    let session = SqlSession::new(catalog.clone(), SqlOptions::default()).unwrap();
    let session = session.with_guest(Arc::new(RowTables::new(engine.clone())));
    (engine, session)
}

const CREATE: &str = "CREATE NAMESPACE app;
    CREATE SHARED TABLE app.t (v DOUBLE, name TEXT, day DATE, n BIGINT, price DECIMAL(10, 2), PRIMARY KEY (name, n))";

/// The columns as text that DataFusion and Spark write alike.
const AS_TEXT: &str = "CAST(name AS STRING) AS name, CAST(n AS STRING) AS n, CAST(v AS STRING) AS v,
    CAST(day AS STRING) AS day, CAST(price AS STRING) AS price, CAST(_seq AS STRING) AS _seq";

fn random_statement(rng: &mut Rng) -> String {
    let (n, v) = (rng.i64(-3..4), rng.i64(0..1_000));
    let name = ["", "a", "bb", "ß"][rng.usize(0..4)];
    match rng.u8(0..10) {
        0..=3 => format!(
            "INSERT INTO app.t (name, n, v, day, price) SELECT '{name}', {n}, {v}.5, DATE '2024-01-01', {v}.25
             WHERE NOT EXISTS (SELECT 1 FROM app.t WHERE name = '{name}' AND n = {n})"
        ),
        4 => format!("UPDATE app.t SET v = v + 1, day = NULL WHERE n = {n}"),
        5 => format!("UPDATE app.t SET price = NULL WHERE name = '{name}' AND v > {v}"),
        6 => format!("DELETE FROM app.t WHERE name = '{name}' AND n = {n}"),
        // No row gets a key that another one keeps.
        7 => format!("UPDATE app.t SET n = -n, v = v + 1 WHERE name = '{name}'"),
        8 => "UPDATE app.t SET name = CASE name WHEN 'a' THEN 'bb' WHEN 'bb' THEN 'a' ELSE name END".to_string(),
        _ => format!("DELETE FROM app.t WHERE v > {v} AND n > 0"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_readers_read_what_was_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut read, mut by_spark) = (Vec::new(), Vec::new());
    for seed in seeds(HISTORIES * soak()) {
        eprintln!("seed {seed}");
        let mut rng = Rng::with_seed(seed);
        let folder = dir.path().join(seed.to_string());
        std::fs::create_dir(&folder).unwrap();
        let catalog = sqlite(&folder).await;
        let data = folder.join("data");
        let (mut engine, mut session) = open(&data, &catalog).await;
        run(&mut session, CREATE).await;
        let entry = catalog.find(&TableRef::Name("app.t".parse().unwrap())).await.unwrap().unwrap();
        let table = DeltaTable::of_entry(catalog.clone(), entry.clone());
        let at = entry.location.local_path().unwrap();
        let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
        let (mut last, mut texts) = (Vec::new(), Vec::new());
        for _ in 0..STEPS {
            match rng.u8(0..10) {
                0 | 1 => {
                    let before = versions(&table).await;
                    run(&mut session, "FLUSH TABLE app.t").await;
                    let want = run(&mut session, "SELECT *, _seq FROM app.t").await.0;
                    let version = mirror.publish(entry.id).await.unwrap().version.unwrap();
                    let theirs = their_rows(&location(&at), version).await.unwrap();
                    // The first line has the columns, with the types of each reader.
                    assert_eq!(theirs.get(1..), lines(&want).get(1..), "seed {seed}");
                    // What was published before is as it was.
                    let after = versions(&table).await;
                    assert_eq!(after[..before.len()], before[..], "seed {seed}");
                    texts = objects(&run(&mut session, &format!("SELECT {AS_TEXT} FROM app.t")).await.0);
                    last = want;
                }
                2 => {
                    drop(session);
                    engine.close().await.unwrap();
                    drop(engine);
                    (engine, session) = open(&data, &catalog).await;
                }
                _ => {
                    run(&mut session, &random_statement(&mut rng)).await;
                }
            }
        }
        if !last.is_empty() {
            let file = dir.path().join(format!("{seed}.arrow"));
            keep(&last, &file);
            by_spark.push(json!({"table": format!("seed {seed}"), "location": at, "rows": texts}));
            read.push(json!({"table": format!("seed {seed}"), "location": at, "rows": file}));
        }
    }
    assert!(!read.is_empty());
    read_by_duckdb(&dir.path().join("tables.json"), read);
    read_by_spark(AS_TEXT, by_spark.iter());
}

/// An object for each row, with the text of each column by its name.
pub(crate) fn objects(batches: &[RecordBatch]) -> Vec<Value> {
    let mut objects = Vec::new();
    for batch in batches {
        let schema = batch.schema();
        let columns: Vec<_> = schema.fields().iter().zip(batch.columns()).collect();
        objects.extend((0..batch.num_rows()).map(|row| {
            let value = |column| if Array::is_null(column, row) { Value::Null } else { text(column, row).into() };
            columns.iter().map(|(field, column)| (field.name().clone(), value(*column))).collect::<Value>()
        }));
    }
    objects
}

/// The rows of every version of a table.
async fn versions(table: &DeltaTable) -> Vec<Vec<String>> {
    let mut versions = Vec::new();
    for version in 0..=table.head().await.unwrap().version {
        let at = deltalakedb_log::At::Version(version);
        versions.push(lines(&table.read(&Scan { at, ..Scan::default() }).await.unwrap()));
    }
    versions
}

fn keep(rows: &[RecordBatch], file: &Path) {
    let file = std::fs::File::create(file).unwrap();
    let mut writer = StreamWriter::try_new(file, &rows[0].schema()).unwrap();
    rows.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
}
