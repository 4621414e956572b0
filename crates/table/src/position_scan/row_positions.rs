//! The rows of some files, and where each of them is.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as PlanResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use deltalakedb_log::Location;
use deltalakedb_log::snapshot::Head;

use super::{PositionScan, with_positions};
use crate::delta_rs::{MaskedFile, floats};
use crate::error::to_datafusion_error;

/// Files of a table for DataFusion: its columns, and behind them the number of each row's file and its position there.
#[derive(Debug)]
pub(crate) struct RowPositions {
    location: Location,
    head: Head,
    schema: SchemaRef,
    files: Vec<MaskedFile>,
}

impl RowPositions {
    /// The visible rows of these files of a table with these columns.
    pub(crate) fn new(location: Location, head: Head, columns: &SchemaRef, files: Vec<MaskedFile>) -> Self {
        Self { location, head, schema: with_positions(columns), files }
    }
}

#[async_trait]
impl TableProvider for RowPositions {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> PlanResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let Self { location, head, schema, files } = self;
        let scan = PositionScan { location, head, schema, files: files.clone() };
        let scan = scan.plan(session, projection.map(Vec::as_slice), limit).await.map_err(to_datafusion_error)?;
        floats::one_nan_in_scan(scan, session.config().options())
    }
}
