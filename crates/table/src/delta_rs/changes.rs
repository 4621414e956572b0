//! The change data feed of a table.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::common::Column;
use datafusion::dataframe::DataFrame;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::execute_stream;
use deltalakedb_log::{Result, Version};

use super::write::plan;
use super::{Columns, VirtualTable, session_context};
use crate::error::Explain;

/// Which changes of a table to read.
#[derive(Clone, Debug, Default)]
pub struct CdfScan {
    /// From this version on.
    pub from: Version,
    /// Up to this version; the newest, without one.
    pub to: Option<Version>,
    /// Not of versions before that time.
    pub since: Option<DateTime<Utc>>,
    /// Not of versions after that time.
    pub until: Option<DateTime<Utc>>,
    /// These columns in this order; `None` is all of them.
    pub columns: Option<Vec<String>>,
    /// A condition in SQL; changes that do not satisfy it are left out.
    pub filter_sql: Option<String>,
    /// Nothing, instead of an error, where there are no such versions.
    pub allow_out_of_range: bool,
}

impl VirtualTable {
    /// What changed: the rows, and beside them `_change_type`, `_commit_version` and `_commit_timestamp`.
    pub(crate) async fn changes(self, what: &CdfScan) -> Result<SendableRecordBatchStream> {
        let failed = || "the changes cannot be read".to_string();
        let session = session_context(self.log_store.stores())?;
        let mut scan =
            self.theirs_in(Arc::new(self.log_store.of_changes())).scan_cdf().with_starting_version(what.from);
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
        let mut rows = DataFrame::new(session.state(), plan(rows)?);
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
