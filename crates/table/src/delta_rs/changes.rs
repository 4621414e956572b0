//! The change data feed of a table.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::common::Column;
use datafusion::dataframe::DataFrame;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::execute_stream;
use deltalakedb_log::schema::Schema;
use deltalakedb_log::{Result, Stores, Version};

use super::log_store::KeptChanges;
use super::vector_changes::{ChangedFile, VectorChanges};
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

/// The changes of a range of versions.
pub(crate) struct RecordedChanges {
    /// The rows that delta-rs reads, with the additional columns `_change_type`, `_commit_version` and
    /// `_commit_timestamp`.
    pub(crate) rows: SendableRecordBatchStream,
    /// The rows in files with deletion vectors, which are not among these.
    pub(crate) of_vectors: Vec<ChangedFile>,
}

impl VirtualTable {
    /// The changes of the requested versions, with all columns and rows.
    pub(crate) async fn changes(self, what: &CdfScan) -> Result<RecordedChanges> {
        let failed = || "the changes cannot be read".to_string();
        let session = session_context(self.log_store.stores())?;
        let kept = KeptChanges::default();
        let log_store = Arc::new(self.log_store.of_changes(kept.clone()));
        let mut scan = self.delta_table_in(log_store).scan_cdf().with_starting_version(what.from);
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
        let metadata = &self.base.head.metadata;
        let columns = Schema::parse(&metadata.schema_string, &metadata.partition_columns)?;
        let mut of_vectors = Vec::new();
        let kept = std::mem::take(&mut *kept.lock());
        for (version, changes) in kept.into_iter().filter(|(version, changes)| what.includes(*version, changes)) {
            of_vectors
                .extend(changes.load(version, &columns, self.log_store.location(), self.log_store.stores()).await?);
        }
        Ok(RecordedChanges { rows, of_vectors })
    }
}

impl CdfScan {
    /// Whether a version that delta-rs read is in the requested range.
    fn includes(&self, version: Version, changes: &VectorChanges) -> bool {
        let is_within = |time: i64| {
            let since = self.since.is_none_or(|since| since.timestamp_millis() <= time);
            since && self.until.is_none_or(|until| time <= until.timestamp_millis())
        };
        // As in delta-rs, each time of a commit must be in the range.
        let times = [changes.timestamp, changes.in_commit_timestamp];
        version >= self.from && self.to.is_none_or(|to| version <= to) && times.into_iter().flatten().all(is_within)
    }

    /// The requested columns and rows of changes.
    pub(crate) async fn select(
        &self,
        rows: SendableRecordBatchStream,
        stores: &Arc<dyn Stores>,
    ) -> Result<SendableRecordBatchStream> {
        let failed = || "the changes cannot be read".to_string();
        if self.filter_sql.is_none() && self.columns.is_none() {
            return Ok(rows);
        }
        let schema = rows.schema();
        let mut rows = DataFrame::new(session_context(stores)?.state(), super::write::plan(rows)?);
        if let Some(sql) = &self.filter_sql {
            rows = rows.filter(Columns::of(&schema)?.read_condition("filter", sql)?).explain(failed)?;
        }
        if let Some(columns) = &self.columns {
            let named = columns.iter().map(|name| Expr::Column(Column::new_unqualified(name)));
            rows = rows.select(named.collect::<Vec<_>>()).explain(failed)?;
        }
        rows.execute_stream().await.explain(failed)
    }
}
