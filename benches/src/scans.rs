//! The cost of a query of many rows, compared with DataFusion on the bare files.

use std::path::{Path, PathBuf};
use std::time::Instant;

use datafusion::prelude::{ParquetReadOptions, SessionContext};
use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use futures::TryStreamExt;

use crate::bench_catalog::BenchCatalog;

/// Rounds before the first measured one.
const WARM_UP: usize = 2;

/// A table: its name, and the folder with its Parquet files.
pub(crate) type Files = (&'static str, PathBuf);

/// Runs queries one after the other: ours, and those of DataFusion on Parquet files without a log, each in a session of
/// its own. Returns the seconds of each round. They take turns, since the speed of a machine drifts.
pub(crate) async fn in_turn(
    bench: &BenchCatalog,
    files: &[Files],
    queries: &[&str],
    rounds: usize,
) -> Result<[Vec<f64>; 2]> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..rounds + WARM_UP {
        let began = Instant::now();
        for sql in queries {
            bench.query(sql).await?;
        }
        let middle = Instant::now();
        for sql in queries {
            query_bare(files, sql).await?;
        }
        if round >= WARM_UP {
            ours.push((middle - began).as_secs_f64());
            bare.push(middle.elapsed().as_secs_f64());
        }
    }
    Ok([ours, bare])
}

/// Runs a query of the Parquet files of folders without a log, to its last row. Only tables that it names are opened.
async fn query_bare(files: &[Files], sql: &str) -> Result<()> {
    let failed = |e| TxnLogError::new(ErrorKind::Internal, "DataFusion cannot read the bare files").with_source(e);
    let session = SessionContext::new();
    let words: Vec<&str> = sql.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    for (name, folder) in files.iter().filter(|(name, _)| words.contains(name)) {
        let (folder, options) = (folder.to_string_lossy(), ParquetReadOptions::default());
        session.register_parquet(*name, folder.as_ref(), options).await.map_err(failed)?;
    }
    let mut rows = session.sql(sql).await.map_err(failed)?.execute_stream().await.map_err(failed)?;
    while rows.try_next().await.map_err(failed)?.is_some() {}
    Ok(())
}

/// Links the data files of a table into a folder without a log.
pub(crate) fn link_data(table: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(table)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|extension| extension == "parquet") {
            std::fs::hard_link(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
