//! One commit of very many files: its rate, and the memory that it takes in addition to the request.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use deltalakedb_log::commit::{Base, CommitRequest};
use deltalakedb_log::conformance::actions;
use deltalakedb_log::{Action, Catalog, Clock, Result, SystemClock, TableId};

use crate::bench_catalog::{BenchCatalog, measure_in_process, peak_growth, unavailable};
use crate::databases::Server;
use crate::report::{Report, System, Unit};

/// The number of repetitions.
const REPEATED: usize = 3;
/// The maximum growth of a process in bytes.
pub(crate) const MEMORY: f64 = 256.0 * 1024.0 * 1024.0;

pub(crate) async fn measure(report: &mut Report, folder: &Path, server: &Server, small: bool) -> Result<()> {
    let count = if small { 2_000 } else { 300_000 };
    let (rate, memory) = (format!("one commit of {count} files"), "memory grown by that commit, at the peak");
    let folder = folder.join("large");
    fs::create_dir_all(&folder).map_err(unavailable)?;
    for bench in BenchCatalog::everywhere(&folder, server).await? {
        let mut tables = Vec::new();
        for n in 0..REPEATED {
            let name = format!("large{n}");
            tables.push(bench.create(&folder.join(bench.system.name()).join(&name), &name).await?);
        }
        let (mut rates, mut bytes, system) = (Vec::new(), Vec::new(), bench.system);
        let uri = bench.close().await;
        for table in tables {
            let [grew, took] = measure_in_process(&["large-commit", &uri, &table.to_string(), &count.to_string()])?;
            bytes.push(grew);
            rates.push(f64::from(count) / took);
        }
        report.add(&rate, system, Unit::FilesPerSecond, rates);
        report.add(memory, system, Unit::Bytes, bytes);
    }
    report.promise(&rate, "SQLite, PostgreSQL: at least 40,000", &[System::Sqlite, System::Postgres], |_, _, p50| {
        Some(p50 >= 40e3)
    });
    let held = [System::Sqlite, System::Postgres];
    report.promise(memory, "SQLite, PostgreSQL: less than 256 MiB", &held, |_, _, p50| Some(p50 < MEMORY));
    Ok(())
}

/// In a separate process: the growth of peak resident memory in bytes, in addition to the existing connection and
/// request, and the seconds.
pub(crate) async fn commit(uri: &str, table: &str, count: &str) -> Result<[f64; 2]> {
    let wrong = || deltalakedb_log::TxnLogError::invalid(format!("{count:?} is not a number of files"));
    let (table, count) = (table.parse::<TableId>()?, count.parse::<i64>().map_err(|_| wrong())?);
    let catalog: Arc<dyn Catalog> = deltalakedb_catalog::connect(uri).await?;
    let head = catalog.reader(table).head().await?.version;
    let name = |n| format!("day=a/part-{n:08}-{}.c000.snappy.parquet", SystemClock.new_uuid());
    let adds = (0..count).map(|n| Action::add(actions::file(&name(n), n, n + 9))).collect();
    let request = CommitRequest::new(table, SystemClock.new_uuid(), Base::RebaseFrom(head), adds);
    peak_growth(async { catalog.commit_all(vec![request]).await?.committed() }).await
}
