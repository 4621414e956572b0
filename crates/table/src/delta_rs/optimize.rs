//! Compaction and Z-order: small files are rewritten as larger ones. delta-rs reads them by its own scan, which honours
//! deletion vectors, so a file that is rewritten has none afterwards.

use std::collections::HashSet;
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use deltalake_core::operations::optimize::{OptimizeBuilder, OptimizeType};
use deltalake_core::partitions::{FilterLiteral, FilterValue, filter_literal};
use deltalakedb_log::{Action, Result, canonical_path};
use futures::{TryStreamExt, future};
use serde_json::Value;

use super::operations::{metrics, state};
use super::{FullTable, StagedCommit, alias};
use crate::error::Explain;

/// How files are compacted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Optimize {
    /// Columns by whose values rows are clustered (Z-order); without columns, small files are only compacted.
    pub zorder: Vec<String>,
    /// The target size of files, in bytes; `None`: the table's property, or delta-rs' default.
    pub target_size: Option<NonZeroU64>,
    /// Only files of partitions that match: column, and values as the log spells them.
    pub partitions: Vec<PartitionFilter>,
    /// How many files are written concurrently; `None`: the number of processors.
    pub max_concurrent_tasks: Option<usize>,
    /// Makes a commit of the finished files each time this much time has passed, instead of one commit for all. The
    /// catalog gets these commits when the last file is finished.
    pub min_commit_interval: Option<Duration>,
}

impl Optimize {
    fn filters(&self) -> Result<Vec<FilterLiteral<'_>>> {
        self.partitions.iter().map(PartitionFilter::literal).collect()
    }
}

/// A filter on a partition column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionFilter {
    /// The column.
    pub column: String,
    /// The comparison: `=`, `!=`, `<`, `<=`, `>`, `>=`, `in` or `not in`.
    pub operator: String,
    /// The value, as the log spells it; several for `in` and `not in`.
    pub values: Vec<String>,
}

impl fmt::Display for PartitionFilter {
    /// As a condition for people, with the values as texts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<_> = self.values.iter().map(|value| format!("'{}'", value.replace('\'', "''"))).collect();
        match values.as_slice() {
            [value] if !self.operator.ends_with("in") => write!(f, "({} {} {value})", self.column, self.operator),
            values => write!(f, "({} {} ({}))", self.column, self.operator, values.join(", ")),
        }
    }
}

impl PartitionFilter {
    fn literal(&self) -> Result<FilterLiteral<'_>> {
        let mut values: Vec<_> = self.values.iter().map(String::as_str).collect();
        let value = if self.operator.ends_with("in") {
            FilterValue::Set(values)
        } else {
            FilterValue::Scalar(values.pop().unwrap_or_default())
        };
        filter_literal(&self.column, &self.operator, value).explain(|| "invalid partition filter".into())
    }
}

impl FullTable {
    /// The canonical paths of the files in partitions that match all filters.
    pub(crate) async fn paths_in(&self, partitions: &[PartitionFilter]) -> Result<HashSet<Vec<u8>>> {
        let filters: Vec<_> = partitions.iter().map(PartitionFilter::literal).collect::<Result<_>>()?;
        let table = self.0.delta_table();
        let paths = table.get_active_add_actions_by_partitions(&filters).and_then(|file| {
            let path = file.path();
            let real = alias::path_of_alias(&path);
            // Other paths are decoded already.
            future::ok(real.map_or_else(|| path.as_bytes().to_vec(), |real| canonical_path(&real)))
        });
        paths.try_collect().await.explain(|| "the files of the partitions cannot be listed".into())
    }

    /// Compacts files.
    pub(crate) async fn optimize(self, how: &Optimize) -> Result<StagedCommit> {
        let (filters, applications) = (how.filters()?, self.applications());
        let optimize = self.optimizing(how, &filters)?;
        Ok(self.0.capture("the files cannot be compacted", optimize, metrics).await?.with(applications))
    }

    /// Compacts files in several commits, and returns the metrics.
    pub(crate) async fn optimize_in_steps(self, how: &Optimize, apart: Duration) -> Result<(Vec<StagedCommit>, Value)> {
        let (filters, applications) = (how.filters()?, self.applications());
        let optimize = self.optimizing(how, &filters)?.with_min_commit_interval(apart);
        let (mut steps, metrics) = self.0.capture_steps("the files cannot be compacted", optimize, metrics).await?;
        if let Some(last) = steps.pop() {
            steps.push(last.with(applications));
        }
        Ok((steps, metrics))
    }

    /// delta-rs does not support txns in an optimize.
    fn applications(&self) -> Vec<Action> {
        self.0.options.applications.iter().cloned().map(Action::Txn).collect()
    }

    fn optimizing<'a>(&self, how: &Optimize, filters: &'a [FilterLiteral<'a>]) -> Result<OptimizeBuilder<'a>> {
        let kind = if how.zorder.is_empty() { OptimizeType::Compact } else { OptimizeType::ZOrder(how.zorder.clone()) };
        let mut optimize = self
            .0
            .delta_table()
            .optimize()
            .with_type(kind)
            .with_filters(filters)
            .with_session_state(state(&self.0)?)
            .with_commit_properties(self.0.commit_properties());
        if let Some(size) = how.target_size {
            optimize = optimize.with_target_size(size);
        }
        if let Some(tasks) = how.max_concurrent_tasks {
            optimize = optimize.with_max_concurrent_tasks(tasks);
        }
        if let Some(parquet) = self.0.options.parquet.clone() {
            optimize = optimize.with_writer_properties(parquet);
        }
        Ok(optimize)
    }
}
