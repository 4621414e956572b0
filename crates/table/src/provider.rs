//! A table at one version, as DataFusion sees it.
//!
//! A query names rows, not files. So nothing is known of the files until a scan says which rows are wanted: then the
//! log chooses those in which one may be, and delta-rs plans the scan of these. The cost of planning follows their
//! number, not the table's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{ScanArgs, ScanResult, Session, TableProvider};
use datafusion::common::{DataFusionError, Result as PlanResult};
use datafusion::execution::SessionState;
use datafusion::logical_expr::statistics::StatisticsRequest;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use deltalakedb_log::catalog::TxnLogReader;
use deltalakedb_log::snapshot::{At, Head, Snapshot};
use deltalakedb_log::{Location, Result, TxnLogError, Version};

use crate::delta_rs::{Texts, VirtualTable, register};
use crate::filter::predicate_of;
use crate::known::{self, KnownScan};
use crate::table::DeltaTable;

/// A table held at one version, for DataFusion: every scan of it sees that version and no other.
///
/// Opening it asks for no file. It answers what its log knows without them: how many rows there are in any session, and
/// in those of this library also the bounds of columns, where the log has them exactly.
#[derive(Clone)]
pub struct HeldTable {
    location: Location,
    reader: Arc<dyn TxnLogReader>,
    base: Snapshot,
    schema: SchemaRef,
    texts: Texts,
}

impl HeldTable {
    /// The table as it is at that point. Its texts come as views, which DataFusion computes with faster.
    pub async fn open(table: &DeltaTable, at: At) -> Result<Self> {
        Self::open_as(table, at, Texts::Views).await
    }

    pub(crate) async fn open_as(table: &DeltaTable, at: At, texts: Texts) -> Result<Self> {
        let reader = table.reader().await?;
        let head = match at {
            At::Latest => reader.head().await?,
            at => reader.snapshot(at).await?.head,
        };
        Self::at_head(table.location.clone(), reader, head, texts).await
    }

    /// The table at a version whose head has been read.
    pub(crate) async fn at_head(
        location: Location,
        reader: Arc<dyn TxnLogReader>,
        head: Head,
        texts: Texts,
    ) -> Result<Self> {
        // Who only reads needs to know neither applications nor domains.
        let base = Snapshot { head, txns: BTreeMap::new(), domains: BTreeMap::new() };
        let empty = VirtualTable::without_files(&location, reader.clone(), base.clone()).await?;
        let schema = empty.provider(texts)?.schema();
        Ok(Self { location, reader, base, schema, texts })
    }

    /// The version it is held at.
    pub fn version(&self) -> Version {
        self.base.version()
    }

    /// Its version, protocol and metadata.
    pub fn head(&self) -> &Head {
        &self.base.head
    }

    pub(crate) fn reader(&self) -> &dyn TxnLogReader {
        self.reader.as_ref()
    }

    /// The scan of the files in which a row may match.
    pub(crate) async fn scan_files(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let predicate = predicate_of(filters, &self.schema);
        let (reader, base) = (self.reader.clone(), self.base.clone());
        let files = VirtualTable::matching(&self.location, reader, base, predicate).await.map_err(outward)?;
        register(session.runtime_env(), &self.location).map_err(outward)?;
        files.provider(self.texts).map_err(outward)?.scan(session, projection, filters, limit).await
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
        if !(columns.is_empty() || (!asked.is_empty() && state.is_some())) {
            return Ok(None);
        }
        let schema = Arc::new(self.schema.project(&columns)?);
        let statistics = known::statistics(self.reader(), self.version(), &schema, asked).await.map_err(outward)?;
        let Some(statistics) = statistics else { return Ok(None) };
        let rest = state.map(|state| (self.clone(), state.clone(), columns));
        Ok(Some(Arc::new(KnownScan::new(schema, statistics, rest))))
    }
}

#[async_trait]
impl TableProvider for HeldTable {
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

/// An error of ours on its way through DataFusion.
pub(crate) fn outward(e: TxnLogError) -> DataFusionError {
    DataFusionError::External(e.into())
}

impl fmt::Debug for HeldTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldTable")
            .field("location", &self.location)
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}
