//! How catalog and mirror grow by commits that each hide one row in many files, and what expiry gives back.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use deltalakedb_log::{ErrorKind, Result, TxnLogError};

use crate::bench_catalog::{BenchCatalog, sqlite_file, unavailable};
use crate::report::{Unit, grouped};

const COMMITS: i64 = 200;
/// Commits whose median is a figure of the report.
const SOME: usize = 20;
const ROWS_A_FILE: i64 = 1_000;

/// Prints the report: a table of 1,000 files, and commits that each touch 100 or all of them.
pub(crate) async fn report(folder: &Path) -> Result<()> {
    println!(
        "| a commit touches | | catalog | log | vectors | commit | open and plan |\n|---|---|---|---|---|---|---|"
    );
    for touched in [100, 1_000] {
        let folder = folder.join(format!("growth-{touched}"));
        std::fs::create_dir_all(&folder).map_err(unavailable)?;
        let (bench, table) = (BenchCatalog::in_sqlite(&folder).await?, folder.join("grown"));
        bench.create_with(&table, "grown", "id long, part long, v double", &["part"], &VECTORS).await?;
        for _ in 0..10 {
            bench.write("grown", rows()?).await?;
        }
        bench.publish("grown").await?;
        let mut seconds = Vec::new();
        for n in 0..COMMITS {
            if n == SOME as i64 {
                print_line(&bench, &folder, touched, &format!("after {SOME} commits"), &mut seconds).await?;
            }
            let began = Instant::now();
            bench.delete("grown", &format!("id = {n} AND part < {}", touched / 10)).await?;
            bench.publish("grown").await?;
            seconds.push(began.elapsed().as_secs_f64());
        }
        seconds.drain(..seconds.len() - SOME);
        print_line(&bench, &folder, touched, &format!("after {COMMITS} commits"), &mut seconds).await?;
        bench.expire("grown", 1).await?;
        print_line(&bench, &folder, touched, "after expiry to one version", &mut seconds).await?;
    }
    Ok(())
}

const VECTORS: [(&str, &str); 1] = [("delta.enableDeletionVectors", "true")];

async fn print_line(bench: &BenchCatalog, folder: &Path, touched: i64, when: &str, seconds: &mut [f64]) -> Result<()> {
    seconds.sort_by(f64::total_cmp);
    let commit = Unit::Seconds.show(seconds.get(seconds.len() / 2).copied().unwrap_or_default());
    let mut opened = bench.queries("EXPLAIN SELECT * FROM grown WHERE id = 7").await?;
    opened.sort_by(f64::total_cmp);
    let open = Unit::Seconds.show(opened.get(opened.len() / 2).copied().unwrap_or_default());
    let file = sqlite_file(folder);
    let catalog = bytes_of(file.parent().unwrap_or(folder), &|name| name.contains(".db"))?;
    let log = bytes_of(&folder.join("grown/_delta_log"), &|_| true)?;
    let vectors = bytes_of(&folder.join("grown"), &|name| name.ends_with(".bin"))?;
    let [catalog, log, vectors] = [catalog, log, vectors].map(|bytes| Unit::Bytes.show(bytes as f64));
    let touched = grouped(touched as f64);
    println!("| {touched} files | {when} | {catalog} | {log} | {vectors} | {commit} | {open} |");
    Ok(())
}

/// The bytes of the files of a folder with such names.
pub(crate) fn bytes_of(folder: &Path, is_counted: &dyn Fn(&str) -> bool) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).map_err(unavailable)? {
        let entry = entry.map_err(unavailable)?;
        let metadata = entry.metadata().map_err(unavailable)?;
        if metadata.is_file() && is_counted(&entry.file_name().to_string_lossy()) {
            bytes += metadata.len();
        }
    }
    Ok(bytes)
}

/// A file's rows for each of 100 partitions.
fn rows() -> Result<RecordBatch> {
    let all = || (0..100).flat_map(|part| (0..ROWS_A_FILE).map(move |id| (id, part)));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(all().map(|(id, _)| id)));
    let parts: ArrayRef = Arc::new(Int64Array::from_iter_values(all().map(|(_, part)| part)));
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values(all().map(|(id, part)| (id * part) as f64)));
    RecordBatch::try_from_iter([("id", ids), ("part", parts), ("v", values)])
        .map_err(|e| TxnLogError::new(ErrorKind::Internal, "the rows cannot be created").with_source(e))
}
