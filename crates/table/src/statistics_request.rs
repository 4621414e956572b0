//! Exact statistics of a whole table from its log: the number of rows, and the bounds of columns.
//!
//! `SELECT count(*)`, `min(x)` and `max(x)` over a whole table need no data file. [`RequestExactStatistics`] recognizes
//! such a query and requests the statistics from the table's scan, so other queries do not pay for them. The result is
//! a scan with exact [`statistics`], from which DataFusion's own rule `aggregate_statistics` computes the aggregates.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{ColumnStatistics, Result as PlanResult, ScalarValue, Statistics};
use datafusion::logical_expr::statistics::StatisticsRequest;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use deltalakedb_log::predicate::Literal;
use deltalakedb_log::{Result, TxnLogReader, TxnLogReaderExt, Version};

/// Requests statistics from a scan if the query needs nothing else of it.
#[derive(Debug)]
pub(crate) struct RequestExactStatistics;

impl OptimizerRule for RequestExactStatistics {
    fn name(&self) -> &str {
        "request_exact_statistics"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> PlanResult<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else { return Ok(Transformed::no(plan)) };
        if !aggregate.group_expr.is_empty() {
            return Ok(Transformed::no(plan));
        }
        let requests: Option<Vec<_>> = aggregate.aggr_expr.iter().map(requests_of).collect();
        let Some(requests) = requests else { return Ok(Transformed::no(plan)) };
        let mut requests: BTreeSet<_> = requests.into_iter().flatten().collect();
        requests.insert(StatisticsRequest::RowCount);
        plan.map_children(|input| add_requests(input, &requests))
    }
}

/// The statistics that an aggregate needs; `None` if statistics are not sufficient.
fn requests_of(aggregate: &Expr) -> Option<Vec<StatisticsRequest>> {
    use StatisticsRequest::{Max, Min, NullCount};
    let Expr::AggregateFunction(function) = aggregate.clone().unalias() else { return None };
    let p = &function.params;
    if p.distinct || p.filter.is_some() || !p.order_by.is_empty() {
        return None;
    }
    let [argument] = p.args.as_slice() else { return None };
    match (function.func.name(), argument) {
        ("count", Expr::Literal(value, _)) if !value.is_null() => Some(Vec::new()),
        ("count", Expr::Column(column)) => Some(vec![NullCount(Arc::new(column.clone()))]),
        ("min" | "max", Expr::Column(column)) => {
            let column = Arc::new(column.clone());
            Some(vec![Min(column.clone()), Max(column)])
        }
        _ => None,
    }
}

/// Pushes statistics requests down to the scan if no node between changes the set of rows.
fn add_requests(plan: LogicalPlan, requests: &BTreeSet<StatisticsRequest>) -> PlanResult<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.filters.is_empty() && scan.fetch.is_none() => {
            let before = scan.statistics_requests.len();
            let all: BTreeSet<_> = scan.statistics_requests.union(requests).cloned().collect();
            let new = all.len() > before;
            let scan = TableScan { statistics_requests: all, ..scan };
            Ok(Transformed::new_transformed(LogicalPlan::TableScan(scan), new))
        }
        LogicalPlan::SubqueryAlias(_) => plan.map_children(|input| add_requests(input, requests)),
        LogicalPlan::Projection(ref p) if p.expr.iter().all(|e| matches!(e, Expr::Column(_))) => {
            plan.map_children(|input| add_requests(input, requests))
        }
        plan => Ok(Transformed::no(plan)),
    }
}

/// The exact statistics of a version for these columns; `None` if a requested one is not exact.
pub(crate) async fn statistics(
    reader: &dyn TxnLogReader,
    version: Version,
    schema: &SchemaRef,
    requests: &[StatisticsRequest],
) -> Result<Option<Statistics>> {
    let counts = reader.counts(version).await?;
    let Some(rows) = counts.rows.and_then(|rows| usize::try_from(rows).ok()) else { return Ok(None) };
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let mut column = ColumnStatistics::new_unknown();
        if !field.is_nullable() {
            column.null_count = Precision::Exact(0);
        }
        for request in requests {
            match request {
                StatisticsRequest::Min(c) if c.name == *field.name() => {
                    let Some((min, max)) = reader.min_max(version, field.name()).await? else { return Ok(None) };
                    let bounds = scalar(min, field.data_type()).zip(scalar(max, field.data_type()));
                    let Some((min, max)) = bounds else { return Ok(None) };
                    (column.min_value, column.max_value) = (Precision::Exact(min), Precision::Exact(max));
                }
                StatisticsRequest::NullCount(c) if c.name == *field.name() && field.is_nullable() => {
                    return Ok(None);
                }
                _ => {}
            }
        }
        columns.push(column);
    }
    let total_byte_size = usize::try_from(counts.bytes).map_or(Precision::Absent, Precision::Inexact);
    Ok(Some(Statistics { num_rows: Precision::Exact(rows), total_byte_size, column_statistics: columns }))
}

/// A value of the log as a scalar of a column's type; `None` if it cannot be converted exactly.
pub(crate) fn scalar(value: Literal, data_type: &DataType) -> Option<ScalarValue> {
    let value = match value {
        Literal::Boolean(b) => ScalarValue::Boolean(Some(b)),
        Literal::Long(n) => ScalarValue::Int64(Some(n)),
        Literal::Double(x) => ScalarValue::Float64(Some(x)),
        Literal::Decimal(n, scale) => ScalarValue::Decimal128(Some(n), 38, scale),
        Literal::String(s) => ScalarValue::Utf8(Some(s)),
        Literal::Date(days) => ScalarValue::Date32(Some(days)),
        Literal::Timestamp(_) => return None,
    };
    value.cast_to(data_type).ok().filter(|v| !v.is_null())
}
