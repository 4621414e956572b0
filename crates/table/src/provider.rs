//! A DataFusion table provider for a table at one version.
//!
//! A query names rows, not files. So no file is read from the log until a scan has its filters: then the log selects
//! the files that may contain matching rows, and a [`PositionScan`] reads these. The cost of planning depends on
//! their number, not on the size of the table.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{ScanArgs, ScanResult, Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result as PlanResult, Statistics};
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::statistics::StatisticsRequest;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, execute_stream};
use deltalakedb_log::snapshot::{At, Head, Snapshot};
use deltalakedb_log::{Predicate, Result, Version};
use futures::{TryStreamExt, stream};
use parking_lot::Mutex;

use crate::delta_rs::{LogView, StringEncoding, arrow_schema, floats, generated, load_masks, register};
use crate::error::{Explain, to_datafusion_error};
use crate::filter::predicate_of;
use crate::position_scan::{NumberedFile, PositionScan, satisfying, selects_files};
use crate::statistics_request::statistics;
use crate::table::DeltaTable;

/// A table at one version, for DataFusion: every scan of it reads that version.
///
/// Opening it reads no file list. It provides the statistics that its log has without files: the number of rows in any
/// session, and in sessions of this library also the bounds of columns, if the log has them exactly.
#[derive(Clone)]
pub struct DeltaTableProvider {
    state: LogView,
    /// Its state, including the staged changes of a transaction.
    snapshot: Snapshot,
    schema: SchemaRef,
    /// The predicates of the scans so far.
    scanned: Arc<Mutex<Vec<Predicate>>>,
}

impl DeltaTableProvider {
    /// The table at that point. Text columns are view arrays, which are faster in DataFusion.
    pub async fn open(table: &DeltaTable, at: At) -> Result<Self> {
        Self::of_state(table.view_at(at).await?, StringEncoding::Utf8View).await
    }

    /// The table in a state of its log.
    pub(crate) async fn of_state(state: LogView, texts: StringEncoding) -> Result<Self> {
        let snapshot = state.snapshot()?;
        let schema = arrow_schema(&snapshot.head.metadata, texts)?;
        Ok(Self { state, snapshot, schema, scanned: Arc::default() })
    }

    /// Its version; staged commits count as versions.
    pub fn version(&self) -> Version {
        self.snapshot.version()
    }

    /// Its version, protocol and metadata.
    pub fn head(&self) -> &Head {
        &self.snapshot.head
    }

    /// Its columns, with a mark on generated ones.
    pub(crate) fn columns(&self) -> SchemaRef {
        generated::marked(&self.head().metadata, self.schema.clone())
    }

    /// Returns and clears the predicates of the scans planned since the last call.
    pub(crate) fn take_scanned(&self) -> Vec<Predicate> {
        std::mem::take(&mut *self.scanned.lock())
    }

    fn record_scanned(&self, predicate: &Predicate) {
        self.scanned.lock().push(predicate.clone());
    }

    /// The scan of the files in which a row may match. DataFusion pushes other filters down to it.
    async fn scan_files(
        &self,
        session: &dyn Session,
        projection: Option<&[usize]>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let predicate = predicate_of(filters, &self.schema);
        self.record_scanned(&predicate);
        let LogView { location, options, .. } = &self.state;
        register(session.runtime_env(), location, &options.stores)?;
        let files = self.state.files(Some(&predicate)).await?;
        let files = satisfying(filters, &self.schema, self.head(), files, session)?;
        let files = load_masks(files, location, &options.stores).await?;
        let scan =
            PositionScan { location, head: self.head(), schema: &self.schema, files: NumberedFile::in_order(files) };
        let scan = scan.plan(session, projection, limit).await?;
        floats::one_nan_in_scan(scan, session.config().options())
            .explain(|| format!("the scan of the table at {location} cannot be planned"))
    }

    /// The scan of all rows with statistics from the log; `None` if a requested statistic is not known exactly.
    async fn metadata_only_scan(
        &self,
        session: &dyn Session,
        projection: Option<&[usize]>,
        requests: &[StatisticsRequest],
    ) -> PlanResult<Option<Arc<dyn ExecutionPlan>>> {
        let columns: Vec<usize> = projection.map_or_else(|| (0..self.schema.fields().len()).collect(), <[_]>::to_vec);
        let state = session.as_any().downcast_ref::<SessionState>();
        // The log has no statistics of staged changes.
        let is_committed = self.state.is_committed();
        if !is_committed || !(columns.is_empty() || (!requests.is_empty() && state.is_some())) {
            return Ok(None);
        }
        let schema = Arc::new(self.schema.project(&columns)?);
        let log = self.state.reader.as_ref();
        let statistics = statistics(log, self.version(), &schema, requests).await.map_err(to_datafusion_error)?;
        let Some(statistics) = statistics else { return Ok(None) };
        self.record_scanned(&Predicate::Unknown);
        let rest = state.map(|state| (self.clone(), state.clone(), columns));
        Ok(Some(Arc::new(MetadataOnlyScanExec::new(schema, statistics, rest))))
    }
}

#[async_trait]
impl TableProvider for DeltaTableProvider {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters over partition columns select files; of the others, DataFusion filters every row again.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> PlanResult<Vec<TableProviderFilterPushDown>> {
        let support = filters.iter().map(|filter| {
            if selects_files(filter, &self.schema, &self.head().metadata) {
                TableProviderFilterPushDown::Exact
            } else {
                TableProviderFilterPushDown::Inexact
            }
        });
        Ok(support.collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let args = ScanArgs::default()
            .with_projection(projection.map(Vec::as_slice))
            .with_filters(Some(filters))
            .with_limit(limit);
        Ok(self.scan_with_args(session, args).await?.into_inner())
    }

    async fn scan_with_args<'a>(&self, session: &dyn Session, args: ScanArgs<'a>) -> PlanResult<ScanResult> {
        let filters = args.filters().unwrap_or_default();
        if filters.is_empty()
            && let Some(known) = self.metadata_only_scan(session, args.projection(), args.statistics_requests()).await?
        {
            return Ok(known.into());
        }
        let scan = self.scan_files(session, args.projection(), filters, args.limit()).await;
        Ok(scan.map_err(to_datafusion_error)?.into())
    }
}

impl fmt::Debug for DeltaTableProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaTableProvider")
            .field("location", &self.state.location)
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

/// A scan of all rows with all requested statistics. When executed it still returns the rows: a query may need more
/// than its first plan showed.
#[derive(Debug)]
struct MetadataOnlyScanExec {
    schema: SchemaRef,
    statistics: Arc<Statistics>,
    /// The source of the rows, if they have columns.
    rows: Option<(DeltaTableProvider, SessionState, Vec<usize>)>,
    properties: Arc<PlanProperties>,
}

impl MetadataOnlyScanExec {
    fn new(
        schema: SchemaRef,
        statistics: Statistics,
        rows: Option<(DeltaTableProvider, SessionState, Vec<usize>)>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { schema, statistics: Arc::new(statistics), rows, properties: Arc::new(properties) }
    }
}

impl DisplayAs for MetadataOnlyScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MetadataOnlyScanExec: rows={}", self.statistics.num_rows)
    }
}

impl ExecutionPlan for MetadataOnlyScanExec {
    fn name(&self) -> &str {
        "MetadataOnlyScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> PlanResult<TreeNodeRecursion>,
    ) -> PlanResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> PlanResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> PlanResult<SendableRecordBatchStream> {
        if let Some((table, session, columns)) = self.rows.clone().filter(|_| !self.schema.fields().is_empty()) {
            let rows = async move {
                let plan = table.scan_files(&session, Some(&columns), &[], None).await.map_err(to_datafusion_error)?;
                execute_stream(plan, context)
            };
            let rows = stream::once(rows).try_flatten();
            return Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows)));
        }
        let (schema, batch) = (self.schema.clone(), context.session_config().batch_size());
        let mut left = self.statistics.num_rows.get_value().copied().unwrap_or(0);
        let batches = std::iter::from_fn(move || {
            let rows = left.min(batch);
            left -= rows;
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            (rows > 0).then(|| Ok(RecordBatch::try_new_with_options(schema.clone(), Vec::new(), &options)?))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), stream::iter(batches))))
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], _: &StatisticsArgs) -> PlanResult<Arc<Statistics>> {
        Ok(self.statistics.clone())
    }
}
