//! Row tables: single rows beside PostgreSQL, whose server is on the same disk and has the same client, and flushes and
//! scans beside plain Parquet files.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use deltalakedb_engine::{RowEngine, RowTables};
use deltalakedb_log::{Catalog, ErrorKind, Result, TxnLogError};
use deltalakedb_table::{SqlOptions, SqlResult, SqlSession, WriteOptions, query_error};
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::bench_catalog::unavailable;
use crate::databases::{RowsInPostgres, Server};
use crate::report::{Report, System, Unit, grouped};
use crate::{SYNC, append_and_sync, scans};

const FLUSH: &str = "flush of new rows";
const FIRST: &str = "one flushed row by its key, first query after a flush";
const SECOND: &str = "the second query";
const PAUSE: &str = "the longest INSERT of one row during a flush";

/// Statements of each kind.
const STATEMENTS: i64 = 200;
/// Flushes during which rows are inserted.
const PAUSES: i64 = 9;
/// Flushes of the table.
const FLUSHES: i64 = 20;

const CREATE: &str = "CREATE NAMESPACE IF NOT EXISTS app;
    CREATE SHARED TABLE app.items (id BIGINT PRIMARY KEY, k BIGINT, v DOUBLE, s TEXT)";

/// Statements of one row by its key.
struct Kind {
    what: &'static str,
    promised: &'static str,
    beside_sync_ms: f64,
    /// The nth statement, for a table with so many flushed rows.
    statement: fn(i64, i64) -> String,
}

const KINDS: [Kind; 3] = [
    Kind {
        what: "INSERT of one row by its key",
        promised: "at most a sync + 0.5 ms",
        beside_sync_ms: 0.5,
        statement: |n, all| format!("INSERT INTO app.items VALUES ({}, {n}, 0.5, 'a row')", all + 1_000 + n),
    },
    Kind {
        what: "UPDATE of one flushed row by its key",
        promised: "at most a sync + 1 ms",
        beside_sync_ms: 1.0,
        statement: |n, all| format!("UPDATE app.items SET v = v + 1 WHERE id = {}", (n * 7_919 + 13) % all),
    },
    Kind {
        what: "DELETE of one flushed row by its key",
        promised: "at most a sync + 1 ms",
        beside_sync_ms: 1.0,
        statement: |n, all| format!("DELETE FROM app.items WHERE id = {}", (n * 7_919 + 29) % all),
    },
];

pub(crate) async fn measure(report: &mut Report, folder: &Path, server: &Server, is_small: bool) -> Result<()> {
    let folder = folder.join("rows");
    std::fs::create_dir_all(&folder).map_err(unavailable)?;
    let rows_of_flush = if is_small { 1_000 } else { 50_000 };
    let uri = format!("deltasql://sqlite/{}", folder.join("catalog.db").display());
    let mut items = Items::open(&folder.join("data"), deltalakedb_table::connect(&uri).await?).await?;
    let mut postgres = RowsInPostgres::create(server).await?;
    items.run(CREATE).await?;
    if report.p50(SYNC, System::Baseline).is_none() {
        let samples = append_and_sync(&folder.join("append")).map_err(unavailable)?;
        report.add(SYNC, System::Baseline, Unit::Seconds, samples);
    }

    let (mut flushed, mut written) = (Vec::new(), Vec::new());
    for flush in 0..FLUSHES {
        let ids = flush * rows_of_flush..(flush + 1) * rows_of_flush;
        let generated = format!(
            "SELECT id, id * 7919 % 1000003 AS k, id / 8.0 AS v, concat('row ', id * 7919 % 1000003) AS s
             FROM (SELECT unnest(range({}, {})) AS id)",
            ids.start, ids.end
        );
        items.run(&format!("INSERT INTO app.items {generated}")).await?;
        postgres.insert_many(ids.start, ids.end).await?;
        let began = Instant::now();
        items.run("FLUSH TABLE app.items").await?;
        flushed.push(rows_of_flush as f64 / began.elapsed().as_secs_f64());
        let batches = items.rows(&generated).await?;
        let began = Instant::now();
        write_parquet(&folder.join("plain.parquet"), &batches)?;
        written.push(rows_of_flush as f64 / began.elapsed().as_secs_f64());
    }
    report.add(FLUSH, System::Sqlite, Unit::RowsPerSecond, flushed);
    report.add(FLUSH, System::Baseline, Unit::RowsPerSecond, written);
    report.promise(
        FLUSH,
        "at least 0.5 times a plain Parquet file of the same codec, synced",
        &[System::Sqlite],
        |report, _, p50| Some(p50 * 2.0 >= report.p50(FLUSH, System::Baseline)?),
    );

    let all = FLUSHES * rows_of_flush;
    let one = |id: i64| format!("SELECT * FROM app.items WHERE id = {id}");
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for n in 0..10 {
        items.run(&format!("INSERT INTO app.items VALUES ({}, 0, 0.5, 'x'); FLUSH TABLE app.items", all + n)).await?;
        for samples in [&mut first, &mut second] {
            samples.push(items.time(&one(n * 7_919 % all)).await?);
        }
    }
    report.add(FIRST, System::Sqlite, Unit::Seconds, first);
    report.add(SECOND, System::Sqlite, Unit::Seconds, second);
    report.promise(FIRST, "at most 2 times the second", &[System::Sqlite], |report, _, p50| {
        Some(p50 <= 2.0 * report.p50(SECOND, System::Sqlite)?)
    });

    for Kind { what, promised, beside_sync_ms, statement } in &KINDS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for n in 0..STATEMENTS {
            let sql = statement(n, all);
            ours.push(items.time(&sql).await?);
            theirs.push(postgres.time(&sql.replace("app.items", "items")).await?);
        }
        report.add(what, System::Sqlite, Unit::Seconds, ours);
        report.add(what, System::Baseline, Unit::Seconds, theirs);
        report.promise(what, promised, &[System::Sqlite], |report, _, p50| {
            Some(p50 <= report.p50(SYNC, System::Baseline)? + beside_sync_ms / 1_000.0)
        });
    }

    items.run(&format!("UPDATE app.items SET v = 0 WHERE k % 100 = 0 AND id < {all}")).await?;
    let bare = folder.join("bare");
    scans::link_data(&folder.join("data/app/items"), &bare).map_err(unavailable)?;
    let what = format!("every value of {} flushed rows, 1 % of them updated since", grouped(all as f64));
    let every_value = "SELECT sum(id), sum(k), sum(v), max(s) FROM items";
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        ours.push(items.time(&every_value.replace("items", "app.items")).await?);
        let began = Instant::now();
        query_bare(&bare, every_value).await?;
        theirs.push(began.elapsed().as_secs_f64());
    }
    report.add(&what, System::Sqlite, Unit::Seconds, ours);
    report.add(&what, System::Baseline, Unit::Seconds, theirs);
    report.promise(&what, "at most 1.15 times the bare files", &[System::Sqlite], |report, _, p50| {
        Some(p50 <= 1.15 * report.p50(&what, System::Baseline)?)
    });

    let mut longest = Vec::new();
    for round in 0..PAUSES {
        let first = all + (round + 1) * 10 * rows_of_flush;
        let generated = format!(
            "SELECT id, id AS k, 0.5 AS v, 'a row' AS s FROM (SELECT unnest(range({first}, {})) AS id)",
            first + rows_of_flush
        );
        items.run(&format!("INSERT INTO app.items {generated}")).await?;
        longest.push(items.longest_insert_during_a_flush(first + 2 * rows_of_flush).await?);
        items.run(&format!("DELETE FROM app.items WHERE id >= {first}; FLUSH TABLE app.items")).await?;
    }
    report.add(PAUSE, System::Sqlite, Unit::Seconds, longest);
    report.promise(PAUSE, "at most a sync + 0.5 ms + 5 ms", &[System::Sqlite], |report, _, p50| {
        Some(p50 <= report.p50(SYNC, System::Baseline)? + 0.005_5)
    });
    items.engine.close().await
}

/// The row table that is measured.
struct Items {
    engine: Arc<RowEngine>,
    session: SqlSession,
}

impl Items {
    async fn open(folder: &Path, catalog: Arc<dyn Catalog>) -> Result<Self> {
        let engine = Arc::new(RowEngine::open(folder, catalog.clone(), WriteOptions::default()).await?);
        let session = SqlSession::new(catalog, SqlOptions::default())?;
        let session = session.with_guest(Arc::new(RowTables::new(engine.clone())));
        Ok(Self { engine, session })
    }

    async fn run(&mut self, sql: &str) -> Result<()> {
        self.rows(sql).await.map(drop)
    }

    async fn rows(&mut self, sql: &str) -> Result<Vec<RecordBatch>> {
        let mut all = Vec::new();
        let mut script = self.session.execute(sql)?;
        while let Some(result) = script.next().await? {
            if let SqlResult::Rows(rows) = result {
                all = rows.try_collect().await.map_err(|e| query_error(e, "the rows cannot be read"))?;
            }
        }
        Ok(all)
    }

    /// The seconds that the longest of the INSERTs takes which are run one after the other while the table is flushed.
    async fn longest_insert_during_a_flush(&mut self, first_id: i64) -> Result<f64> {
        let engine = self.engine.clone();
        let name = "app.items".parse()?;
        let flush = tokio::spawn(async move { engine.flush_table(&name).await });
        let mut longest = 0.0_f64;
        for id in first_id.. {
            longest = longest.max(self.time(&format!("INSERT INTO app.items VALUES ({id}, 0, 0.5, 'x')")).await?);
            if flush.is_finished() {
                break;
            }
        }
        let ended = flush.await;
        ended.map_err(|e| TxnLogError::new(ErrorKind::Internal, "a flush panicked").with_source(e))??;
        Ok(longest)
    }

    /// The seconds that a statement takes.
    async fn time(&mut self, sql: &str) -> Result<f64> {
        let began = Instant::now();
        self.run(sql).await?;
        Ok(began.elapsed().as_secs_f64())
    }
}

/// Writes a Parquet file, and syncs it.
fn write_parquet(file: &Path, batches: &[RecordBatch]) -> Result<()> {
    let failed = |e| TxnLogError::new(ErrorKind::Internal, "a Parquet file cannot be written").with_source(e);
    let Some(first) = batches.first() else { return Ok(()) };
    let new = File::create(file).map_err(unavailable)?;
    // With the codec of data files.
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let file = new.try_clone().map_err(unavailable)?;
    let mut writer = ArrowWriter::try_new(file, first.schema(), Some(properties)).map_err(failed)?;
    batches.iter().try_for_each(|batch| writer.write(batch)).map_err(failed)?;
    writer.close().map_err(failed)?;
    new.sync_all().map_err(unavailable)
}

async fn query_bare(folder: &Path, sql: &str) -> Result<()> {
    let failed = |e| TxnLogError::new(ErrorKind::Internal, "DataFusion cannot read the bare files").with_source(e);
    let session = SessionContext::new();
    let options = ParquetReadOptions::default();
    session.register_parquet("items", folder.to_string_lossy().as_ref(), options).await.map_err(failed)?;
    session.sql(sql).await.map_err(failed)?.collect().await.map_err(failed)?;
    Ok(())
}
