//! Reading the rows of a table.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use deltalakedb_log::snapshot::At;
use deltalakedb_log::{Predicate, Result};
use futures::TryStreamExt;

use crate::delta_rs::{LogView, StringEncoding, session_context};
use crate::error::Explain;
use crate::filter::Filter;
use crate::identifiers::no_column;
use crate::provider::DeltaTableProvider;
use crate::table::DeltaTable;

/// What to read of a table.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Which state of the table.
    pub at: At,
    /// These columns in this order; `None` is all of them.
    pub columns: Option<Vec<String>>,
    /// A condition in SQL; rows that do not satisfy it are left out.
    pub filter_sql: Option<String>,
    /// At most so many rows.
    pub limit: Option<usize>,
}

impl Default for Scan {
    fn default() -> Self {
        Self { at: At::Latest, columns: None, filter_sql: None, limit: None }
    }
}

impl DeltaTable {
    /// Reads rows, as [`Self::scan`] does, to the last.
    pub async fn read(&self, scan: &Scan) -> Result<Vec<RecordBatch>> {
        self.scan(scan).await?.try_collect().await.explain(|| format!("{self} cannot be read"))
    }

    /// Reads rows, all of one version. Only files that may hold a matching row are looked at, and the cost of planning
    /// follows their number, not the table's. No order is promised.
    pub async fn scan(&self, what: &Scan) -> Result<SendableRecordBatchStream> {
        Ok(scan(self.held(what.at).await?, what, &self.to_string()).await?.0)
    }
}

/// Reads rows of a table in a state, and says which predicate chose its files.
pub(crate) async fn scan(state: LogView, what: &Scan, table: &str) -> Result<(SendableRecordBatchStream, Predicate)> {
    let session = session_context(&state.options.stores)?;
    let held = DeltaTableProvider::of_state(state, StringEncoding::Utf8).await?;
    let schema = held.schema();
    let filter = what.filter_sql.as_ref().map(|sql| Filter::parse(sql, &schema)).transpose()?;
    let predicate = filter.as_ref().map_or(Predicate::Unknown, Filter::predicate);
    let failed = || format!("{table} cannot be read");
    let mut rows = session.read_table(Arc::new(held)).explain(failed)?;
    if let Some(filter) = filter {
        rows = rows.filter(filter.expr).explain(failed)?;
    }
    if let Some(columns) = &what.columns {
        let known = |c: &String| match schema.column_with_name(c) {
            Some(_) => Ok(Expr::Column(Column::new_unqualified(c))),
            None => Err(no_column(table, c, &schema)),
        };
        rows = rows.select(columns.iter().map(known).collect::<Result<Vec<_>>>()?).explain(failed)?;
    }
    if what.limit.is_some() {
        rows = rows.limit(0, what.limit).explain(failed)?;
    }
    Ok((rows.execute_stream().await.explain(failed)?, predicate))
}
