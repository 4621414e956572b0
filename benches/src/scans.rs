//! The cost of a scan of many rows, compared with DataFusion on the bare files.

use std::path::Path;

use datafusion::prelude::{ParquetReadOptions, SessionContext};
use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use futures::TryStreamExt;

use crate::bench_catalog::{FEWEST, sampled};

/// Reads every value of every column of TPC-H's `lineitem`, and returns one row.
pub(crate) const EVERY_VALUE: &str = "SELECT sum(l_orderkey), sum(l_partkey), sum(l_suppkey), sum(l_linenumber), \
     sum(l_quantity), sum(l_extendedprice), sum(l_discount), sum(l_tax), max(l_returnflag), max(l_linestatus), \
     max(l_shipdate), max(l_commitdate), max(l_receiptdate), max(l_shipinstruct), max(l_shipmode), max(l_comment) \
     FROM lineitem";

/// The seconds of that query on the Parquet files of a folder without a log.
pub(crate) async fn on_bare_files(folder: &Path) -> Result<Vec<f64>> {
    sampled(FEWEST, async |_| bare(folder, "lineitem", EVERY_VALUE).await).await
}

/// Runs a query of the Parquet files of a folder without a log, to its last row.
pub(crate) async fn bare(folder: &Path, name: &str, sql: &str) -> Result<()> {
    let failed = |e| TxnLogError::new(ErrorKind::Internal, "DataFusion cannot read the bare files").with_source(e);
    let session = SessionContext::new();
    session
        .register_parquet(name, folder.to_string_lossy().as_ref(), ParquetReadOptions::default())
        .await
        .map_err(failed)?;
    let mut rows = session.sql(sql).await.map_err(failed)?.execute_stream().await.map_err(failed)?;
    while rows.try_next().await.map_err(failed)?.is_some() {}
    Ok(())
}
