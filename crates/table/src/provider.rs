//! A table at one version, as DataFusion sees it.
//!
//! A query names rows, not files. So nothing is known of the files until a scan says which rows are wanted: then the
//! log chooses those in which one may be, and delta-rs plans the scan of these. The cost of planning follows their
//! number, not the table's.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{ScanArgs, ScanResult, Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result as PlanResult, Statistics};
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::statistics::StatisticsRequest;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, execute_stream};
use deltalakedb_log::snapshot::{At, Head, Snapshot};
use deltalakedb_log::{Predicate, Result, TxnLogError, Version};
use futures::{TryStreamExt, stream};
use parking_lot::Mutex;

use crate::delta_rs::{LogView, StringEncoding, VirtualTable, floats, generated, register};
use crate::filter::predicate_of;
use crate::statistics_request::statistics;
use crate::table::DeltaTable;

/// A table held at one version, for DataFusion: every scan of it sees that version and no other.
///
/// Opening it asks for no file. It answers what its log knows without them: how many rows there are in any session, and
/// in those of this library also the bounds of columns, where the log has them exactly.
#[derive(Clone)]
pub struct DeltaTableProvider {
    state: LogView,
    /// What it is, with what a transaction staged.
    snapshot: Snapshot,
    schema: SchemaRef,
    texts: StringEncoding,
    /// What scans looked for so far.
    looked_for: Arc<Mutex<Vec<Predicate>>>,
}

impl DeltaTableProvider {
    /// The table as it is at that point. Its texts come as views, which DataFusion computes with faster.
    pub async fn open(table: &DeltaTable, at: At) -> Result<Self> {
        Self::of_state(table.held(at).await?, StringEncoding::Utf8View).await
    }

    /// The table in a state of its log.
    pub(crate) async fn of_state(state: LogView, texts: StringEncoding) -> Result<Self> {
        let empty = VirtualTable::without_files(&state).await?;
        let (snapshot, schema) = (empty.base().clone(), empty.provider(texts)?.schema());
        Ok(Self { state, snapshot, schema, texts, looked_for: Arc::default() })
    }

    /// The version it is held at; what a transaction staged counts as versions.
    pub fn version(&self) -> Version {
        self.snapshot.version()
    }

    /// Its version, protocol and metadata.
    pub fn head(&self) -> &Head {
        &self.snapshot.head
    }

    /// Its columns, the generated ones marked.
    pub(crate) fn columns(&self) -> SchemaRef {
        generated::marked(&self.head().metadata, self.schema.clone())
    }

    /// What the scans that were planned since the last call looked for.
    pub(crate) fn take_looked_for(&self) -> Vec<Predicate> {
        std::mem::take(&mut *self.looked_for.lock())
    }

    fn look_for(&self, predicate: &Predicate) {
        self.looked_for.lock().push(predicate.clone());
    }

    /// The scan of the files in which a row may match.
    async fn scan_files(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let predicate = predicate_of(filters, &self.schema);
        self.look_for(&predicate);
        let files = VirtualTable::matching(&self.state, predicate).await.map_err(outward)?;
        register(session.runtime_env(), &self.state.location, &self.state.options.stores).map_err(outward)?;
        let files = files.provider(self.texts).map_err(outward)?;
        // Below, files would be skipped once more, by bounds that leave NaN out.
        let filters: Vec<_> = filters.iter().filter(|f| !floats::looks_at(f, &self.schema)).cloned().collect();
        let scan = files.scan(session, projection, &filters, limit).await?;
        floats::one_nan_in_scan(scan, session.config().options())
    }

    /// The scan of all rows as far as the log knows it; `None` where what is asked is not known exactly.
    async fn known(
        &self,
        session: &dyn Session,
        projection: Option<&[usize]>,
        asked: &[StatisticsRequest],
    ) -> PlanResult<Option<Arc<dyn ExecutionPlan>>> {
        let columns: Vec<usize> = projection.map_or_else(|| (0..self.schema.fields().len()).collect(), <[_]>::to_vec);
        let state = session.as_any().downcast_ref::<SessionState>();
        // The log knows nothing of what is only staged.
        let is_committed = self.state.is_committed();
        if !is_committed || !(columns.is_empty() || (!asked.is_empty() && state.is_some())) {
            return Ok(None);
        }
        let schema = Arc::new(self.schema.project(&columns)?);
        let log = self.state.reader.as_ref();
        let statistics = statistics(log, self.version(), &schema, asked).await.map_err(outward)?;
        let Some(statistics) = statistics else { return Ok(None) };
        self.look_for(&Predicate::Unknown);
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

    /// Files are chosen by conditions, rows are not: DataFusion looks at every row again.
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
        let args = ScanArgs::default()
            .with_projection(projection.map(Vec::as_slice))
            .with_filters(Some(filters))
            .with_limit(limit);
        Ok(self.scan_with_args(session, args).await?.into_inner())
    }

    async fn scan_with_args<'a>(&self, session: &dyn Session, args: ScanArgs<'a>) -> PlanResult<ScanResult> {
        let filters = args.filters().unwrap_or_default();
        if filters.is_empty()
            && let Some(known) = self.known(session, args.projection(), args.statistics_requests()).await?
        {
            return Ok(known.into());
        }
        let projection = args.projection().map(<[_]>::to_vec);
        Ok(self.scan_files(session, projection.as_ref(), filters, args.limit()).await?.into())
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

/// A scan of all rows of which all requested statistics are known. When it is executed it still returns the rows: a
/// query may need more than its first plan showed.
#[derive(Debug)]
struct MetadataOnlyScanExec {
    schema: SchemaRef,
    statistics: Arc<Statistics>,
    /// Where the rows come from, if they have columns.
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
                let plan = table.scan_files(&session, Some(&columns), &[], None).await?;
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

/// An error of ours on its way through DataFusion.
pub(crate) fn outward(e: TxnLogError) -> DataFusionError {
    DataFusionError::External(e.into())
}
