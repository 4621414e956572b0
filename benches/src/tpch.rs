//! TPC-H: a scan of every value, and its 22 queries, of which DuckDB checks the answers.

use std::fs::{self, File};
use std::path::Path;

use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use parquet::arrow::ArrowWriter;

use crate::bench_catalog::{BenchCatalog, FEWEST, unavailable};
use crate::report::{Report, System, Unit};
use crate::{add_peers, peers, scans};

const TABLES: [&str; 8] = ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"];

/// The queries, each ended by a semicolon.
const QUERIES: &str = include_str!("../tpch.sql");
const QUERIES_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tpch.sql");

/// Reads every value of every column of `lineitem`, and returns one row.
const EVERY_VALUE: &str = "SELECT sum(l_orderkey), sum(l_partkey), sum(l_suppkey), sum(l_linenumber), \
     sum(l_quantity), sum(l_extendedprice), sum(l_discount), sum(l_tax), max(l_returnflag), max(l_linestatus), \
     max(l_shipdate), max(l_commitdate), max(l_receiptdate), max(l_shipinstruct), max(l_shipmode), max(l_comment) \
     FROM lineitem";

/// Rounds of all queries.
const ROUNDS: usize = 3;

pub(crate) async fn measure(report: &mut Report, folder: &Path, scale: &str) -> Result<()> {
    let folder = folder.join("tpch");
    let (generated, tables, answers) = (folder.join("generated"), folder.join("tables"), folder.join("answers"));
    for folder in [&generated, &tables, &answers] {
        fs::create_dir_all(folder).map_err(unavailable)?;
    }
    peers::generate_tpch(&generated, scale)?;
    let bench = BenchCatalog::in_sqlite(&folder).await?;
    let mut files = Vec::new();
    for name in TABLES {
        bench.load(&tables.join(name), name, &generated.join(format!("{name}.parquet"))).await?;
        bench.publish(name).await?;
        let bare = folder.join("bare").join(name);
        scans::link_data(&tables.join(name), &bare).map_err(unavailable)?;
        files.push((name, bare));
    }

    let every_value = format!("every value of TPC-H's lineitem, scale {scale}");
    compare(report, &every_value, 1.03, scans::in_turn(&bench, &files, &[EVERY_VALUE], FEWEST).await?);

    let queries: Vec<&str> = QUERIES.split(';').filter(|query| query.contains("SELECT")).collect();
    for (n, query) in queries.iter().enumerate() {
        write_answer(&bench, query, &answers.join(format!("{}.parquet", n + 1))).await?;
    }
    let all = format!("the {} queries of TPC-H, scale {scale}", queries.len());
    let [tables, answers] = [&tables, &answers].map(|folder| folder.to_string_lossy());
    // An answer of ours that is not DuckDB's ends the benchmark.
    let lines = peers::run(&["tpch-queries", &tables, QUERIES_FILE, &answers, &ROUNDS.to_string()])?;
    compare(report, &all, 1.1, scans::in_turn(&bench, &files, &queries, ROUNDS).await?);
    add_peers(report, Some(&all), Unit::Seconds, lines);
    Ok(())
}

/// Adds our seconds and those of DataFusion on the bare files, and promises the ratio between them.
fn compare(report: &mut Report, row: &str, at_most: f64, [ours, bare]: [Vec<f64>; 2]) {
    report.add(row, System::Sqlite, Unit::Seconds, ours);
    report.add(row, System::Baseline, Unit::Seconds, bare);
    let text = format!("at most {at_most} times the bare files");
    report.promise(row, &text, &[System::Sqlite], |report, _, p50| {
        Some(p50 <= at_most * report.p50(row, System::Baseline)?)
    });
}

/// Writes the rows of a query to a Parquet file.
async fn write_answer(bench: &BenchCatalog, query: &str, to: &Path) -> Result<()> {
    let failed = |e| TxnLogError::new(ErrorKind::Internal, "an answer cannot be written").with_source(e);
    let (schema, rows) = bench.rows(query).await?;
    let mut writer = ArrowWriter::try_new(File::create(to).map_err(unavailable)?, schema, None).map_err(failed)?;
    for batch in &rows {
        writer.write(batch).map_err(failed)?;
    }
    writer.close().map_err(failed)?;
    Ok(())
}
