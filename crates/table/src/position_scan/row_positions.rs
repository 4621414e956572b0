//! The rows of some files, and where each of them is.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as PlanResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use deltalakedb_log::schema::Schema as LogSchema;
use deltalakedb_log::snapshot::Head;
use deltalakedb_log::{Location, Result, Stores};

use super::{NumberedFile, PositionScan, with_positions};
use crate::delta_rs::{floats, register};
use crate::error::to_datafusion_error;
use crate::filter::predicate_of;

/// Files of a table for DataFusion: its columns, and behind them the number of each row's file and its position there.
#[derive(Debug)]
pub(crate) struct RowPositions {
    location: Location,
    stores: Arc<dyn Stores>,
    head: Head,
    log_schema: LogSchema,
    schema: SchemaRef,
    files: Vec<Arc<NumberedFile>>,
}

impl RowPositions {
    /// The visible rows of these files of a table with these columns.
    pub(crate) fn new(
        location: Location,
        stores: Arc<dyn Stores>,
        head: Head,
        columns: &SchemaRef,
        files: Vec<Arc<NumberedFile>>,
    ) -> Result<Self> {
        let log_schema = LogSchema::parse(&head.metadata.schema_string, &head.metadata.partition_columns)?;
        Ok(Self { location, stores, head, log_schema, schema: with_positions(columns), files })
    }

    /// The files in which a row may satisfy the filters.
    fn matching(&self, filters: &[Expr]) -> Vec<Arc<NumberedFile>> {
        let predicate = predicate_of(filters, &self.schema);
        let may_match = |file: &&Arc<NumberedFile>| predicate.may_match(&self.log_schema, &file.file.add);
        self.files.iter().filter(may_match).cloned().collect()
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
        filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let files = self.matching(filters);
        let Self { location, stores, head, schema, .. } = self;
        register(session.runtime_env(), location, stores).map_err(to_datafusion_error)?;
        let scan = PositionScan { location, head, schema, files };
        let scan = scan.plan(session, projection.map(Vec::as_slice), limit).await.map_err(to_datafusion_error)?;
        floats::one_nan_in_scan(scan, session.config().options())
    }
}
