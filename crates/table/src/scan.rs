//! Reads the rows of a table.

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

/// A scan of a table.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The version to read.
    pub at: At,
    /// These columns in this order; `None` for all columns.
    pub columns: Option<Vec<String>>,
    /// A condition in SQL; rows that do not satisfy it are omitted.
    pub filter_sql: Option<String>,
    /// The maximum number of rows.
    pub limit: Option<usize>,
}

impl Default for Scan {
    fn default() -> Self {
        Self { at: At::Latest, columns: None, filter_sql: None, limit: None }
    }
}

impl DeltaTable {
    /// Reads all rows of [`Self::scan`].
    pub async fn read(&self, scan: &Scan) -> Result<Vec<RecordBatch>> {
        self.scan(scan).await?.try_collect().await.explain(|| format!("{self} cannot be read"))
    }

    /// Reads rows of one version, in no particular order. Only files that may contain a matching row are read, and the
    /// cost of planning depends on their number, not on the size of the table.
    #[tracing::instrument(target = "deltalakedb::operation", level = "debug", skip_all, fields(table = %self))]
    pub async fn scan(&self, what: &Scan) -> Result<SendableRecordBatchStream> {
        Ok(scan(self.view_at(what.at).await?, what, &self.to_string()).await?.0)
    }
}

/// Reads rows of a table in a state, and returns the predicate that selected its files.
pub(crate) async fn scan(state: LogView, what: &Scan, table: &str) -> Result<(SendableRecordBatchStream, Predicate)> {
    let session = session_context(&state.options.stores)?;
    let provider = DeltaTableProvider::of_state(state, StringEncoding::Utf8).await?;
    let schema = provider.schema();
    let filter = what.filter_sql.as_ref().map(|sql| Filter::parse(sql, &schema)).transpose()?;
    let predicate = filter.as_ref().map_or(Predicate::Unknown, Filter::predicate);
    let failed = || format!("{table} cannot be read");
    let mut rows = session.read_table(Arc::new(provider)).explain(failed)?;
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
