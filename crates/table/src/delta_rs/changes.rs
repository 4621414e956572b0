//! The change data feed of a table.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::common::Column;
use datafusion::dataframe::DataFrame;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::execute_stream;
use deltalakedb_log::{Result, Version};

use super::{Columns, VirtualTable, session_context};
use crate::error::Explain;

/// The requested range of changes of a table.
#[derive(Clone, Debug, Default)]
pub struct CdfScan {
    /// The first version.
    pub from: Version,
    /// The last version; the newest by default.
    pub to: Option<Version>,
    /// Excludes versions before that time.
    pub since: Option<DateTime<Utc>>,
    /// Excludes versions after that time.
    pub until: Option<DateTime<Utc>>,
    /// These columns in this order; `None` for all columns.
    pub columns: Option<Vec<String>>,
    /// A condition in SQL; changes that do not satisfy it are omitted.
    pub filter_sql: Option<String>,
    /// Returns no changes, instead of an error, if there are no such versions.
    pub allow_out_of_range: bool,
}

impl VirtualTable {
    /// The changes: the rows, with the additional columns `_change_type`, `_commit_version` and `_commit_timestamp`.
    pub(crate) async fn changes(self, what: &CdfScan) -> Result<SendableRecordBatchStream> {
        let failed = || "the changes cannot be read".to_string();
        let session = session_context(self.log_store.stores())?;
        let mut scan =
            self.delta_table_in(Arc::new(self.log_store.of_changes())).scan_cdf().with_starting_version(what.from);
        if let Some(to) = what.to {
            scan = scan.with_ending_version(to);
        }
        if let Some(since) = what.since {
            scan = scan.with_starting_timestamp(since);
        }
        if let Some(until) = what.until {
            scan = scan.with_ending_timestamp(until);
        }
        if what.allow_out_of_range {
            scan = scan.with_allow_out_of_range();
        }
        let plan = scan.build(&session.state(), None).await.explain(failed)?;
        let rows = execute_stream(plan, session.task_ctx()).explain(failed)?;
        if what.filter_sql.is_none() && what.columns.is_none() {
            return Ok(rows);
        }
        let schema = rows.schema();
        let mut rows = DataFrame::new(session.state(), super::write::plan(rows)?);
        if let Some(sql) = &what.filter_sql {
            rows = rows.filter(Columns::of(&schema)?.read_condition("filter", sql)?).explain(failed)?;
        }
        if let Some(columns) = &what.columns {
            let named = columns.iter().map(|name| Expr::Column(Column::new_unqualified(name)));
            rows = rows.select(named.collect::<Vec<_>>()).explain(failed)?;
        }
        rows.execute_stream().await.explain(failed)
    }
}
