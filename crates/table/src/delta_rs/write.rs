//! Writing with delta-rs: it makes the data files and says what it would commit.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::DataFusionError;
use datafusion::datasource::provider_as_source;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use deltalake_core::DeltaTable;
use deltalake_core::kernel::StructField;
use deltalake_core::kernel::transaction::CommitProperties;
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::operations::write::WriteBuilder;
use deltalake_core::protocol::SaveMode;
use deltalakedb_log::action::{Action, Commit, Version};
use deltalakedb_log::catalog::{HistoryRange, TxnLogReader};
use deltalakedb_log::snapshot::{At, CommitSummary, Head, Snapshot};
use deltalakedb_log::{ErrorKind, Location, Predicate, Result, TxnLogError};
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::log::{Files, HeldLog};
use super::log_store::VirtualLogStore;
use super::{VirtualTable, Whole, shown};
use crate::error::Explain;

/// What a write did: data files that are there, and actions that are not committed yet.
pub(crate) struct Captured {
    pub(crate) actions: Vec<Action>,
    pub(crate) files: NewFiles,
}

/// Data files no commit names yet.
#[derive(Clone)]
pub struct NewFiles {
    store: Arc<dyn ObjectStore>,
    paths: Vec<Path>,
}

impl NewFiles {
    /// Their paths below the table.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// Removes them. What cannot be removed is left for vacuum.
    pub async fn remove(&self) {
        for path in &self.paths {
            match self.store.delete(path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(e) => {
                    tracing::warn!(%path, error = %e, "a data file of a write that failed cannot be removed")
                }
            }
        }
    }
}

impl fmt::Debug for NewFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.paths).finish()
    }
}

/// Rows to be written.
pub(crate) type Data = SendableRecordBatchStream;

/// A table to be made.
pub(crate) struct Create<'a> {
    pub(crate) location: &'a Location,
    pub(crate) partition_by: &'a [String],
    pub(crate) properties: &'a HashMap<String, String>,
}

impl VirtualTable {
    /// An error that names what stops data from being written to the table.
    pub(crate) fn check_writable(snapshot: &Snapshot, table: &str) -> Result<()> {
        shown::check_writable(snapshot, table)
    }

    /// Appends rows.
    pub(crate) async fn append(self, rows: Data) -> Result<Captured> {
        self.write(rows, SaveMode::Append).await
    }

    async fn write(self, rows: Data, mode: SaveMode) -> Result<Captured> {
        let write = WriteBuilder::new(self.log_store.clone(), Some(self.snapshot))
            .with_save_mode(mode)
            .with_commit_properties(no_hooks())
            .with_input_plan(plan(rows)?);
        let mut captured = capture(&self.log, &self.log_store, write).await?;
        shown::restore(&mut captured.actions, &self.base);
        Ok(captured)
    }
}

impl Whole {
    /// Replaces all rows.
    pub(crate) async fn overwrite(self, rows: Data) -> Result<Captured> {
        self.0.write(rows, SaveMode::Overwrite).await
    }
}

/// Makes a table without rows.
pub(crate) async fn create(table: Create<'_>, columns: Vec<StructField>) -> Result<Captured> {
    let (log, log_store) = nothing_yet(table.location)?;
    let create = CreateBuilder::new()
        .with_log_store(log_store.clone())
        .with_columns(columns)
        .with_partition_columns(table.partition_by)
        .with_configuration(configuration(&table))
        .with_commit_properties(no_hooks());
    capture(&log, &log_store, create).await
}

/// Makes a table of rows, in one commit.
pub(crate) async fn create_with_data(table: Create<'_>, rows: Data) -> Result<Captured> {
    let (log, log_store) = nothing_yet(table.location)?;
    let write = WriteBuilder::new(log_store.clone(), None)
        .with_partition_columns(table.partition_by)
        .with_configuration(configuration(&table))
        .with_commit_properties(no_hooks())
        .with_input_plan(plan(rows)?);
    capture(&log, &log_store, write).await
}

fn configuration(table: &Create<'_>) -> Vec<(String, Option<String>)> {
    table.properties.iter().map(|(k, v)| (k.clone(), Some(v.clone()))).collect()
}

fn nothing_yet(location: &Location) -> Result<(Arc<HeldLog>, Arc<VirtualLogStore>)> {
    let log = Arc::new(HeldLog::new(Arc::new(NoLog), None, Files::None));
    let log_store = Arc::new(VirtualLogStore::new(location, log.clone())?);
    Ok((log, log_store))
}

/// Checkpoints and clean-up are the mirror's.
fn no_hooks() -> CommitProperties {
    CommitProperties::default().with_create_checkpoint(false).with_cleanup_expired_logs(Some(false))
}

/// Runs an operation and takes what it would commit. When it fails, the files it wrote are removed.
async fn capture<O>(log: &HeldLog, log_store: &VirtualLogStore, operation: O) -> Result<Captured>
where
    O: IntoFuture<Output = Result<DeltaTable, deltalake_core::DeltaTableError>>,
{
    let done = operation.await;
    let files = log_store.new_files();
    let staged = std::mem::take(&mut *log.staged());
    let captured = match (log_store.puts().take_failure(), done) {
        (Some(e), _) => Err(TxnLogError::from(e)).explain(|| "the data files cannot be written".into()),
        (None, Ok(_)) => one_commit(staged),
        (None, Err(e)) => Err(e).explain(|| "the rows cannot be written".into()),
    };
    match captured {
        Ok(actions) => Ok(Captured { actions, files }),
        Err(e) => {
            files.remove().await;
            Err(e)
        }
    }
}

fn one_commit(staged: Vec<Bytes>) -> Result<Vec<Action>> {
    match <[Bytes; 1]>::try_from(staged) {
        Ok([bytes]) => Ok(Commit::parse(bytes, "the commit made of the write")?.into_actions()),
        Err(staged) => Err(TxnLogError::new(
            ErrorKind::Internal,
            format!("a write made {} commits where one was expected", staged.len()),
        )),
    }
}

impl VirtualLogStore {
    pub(super) fn new_files(&self) -> NewFiles {
        NewFiles { store: self.data_store(), paths: self.puts().paths() }
    }
}

/// A plan that yields the rows, once.
fn plan(rows: Data) -> Result<LogicalPlan> {
    let failed = || "the rows cannot be written".to_string();
    let schema = rows.schema();
    let once: Arc<dyn PartitionStream> = Arc::new(Once { schema: schema.clone(), rows: Mutex::new(Some(rows)) });
    let table = StreamingTable::try_new(schema, vec![once]).explain(failed)?;
    let scan = LogicalPlanBuilder::scan("rows", provider_as_source(Arc::new(table)), None).explain(failed)?;
    scan.build().explain(failed)
}

struct Once {
    schema: SchemaRef,
    rows: Mutex<Option<Data>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        rows.unwrap_or_else(|| {
            let again = Err(DataFusionError::Execution("the rows can be read only once".into()));
            Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::once(async { again })))
        })
    }
}

/// The log of a table that does not exist.
#[derive(Debug)]
struct NoLog;

impl NoLog {
    fn nothing<T>() -> Result<T> {
        Err(TxnLogError::not_found("the table does not exist yet"))
    }
}

#[async_trait]
impl TxnLogReader for NoLog {
    async fn head(&self) -> Result<Head> {
        Self::nothing()
    }
    async fn snapshot(&self, _at: At) -> Result<Snapshot> {
        Self::nothing()
    }
    async fn files(
        &self,
        _version: Version,
        _predicate: Option<&Predicate>,
    ) -> Result<BoxStream<'static, Result<deltalakedb_log::action::Add>>> {
        Self::nothing()
    }
    async fn history(&self, _range: HistoryRange) -> Result<Vec<CommitSummary>> {
        Self::nothing()
    }
    async fn commit_bytes(&self, _version: Version) -> Result<Option<Bytes>> {
        Self::nothing()
    }
    async fn changes(&self, _from: Version, _to: Version) -> Result<BoxStream<'static, Result<(Version, Bytes)>>> {
        Self::nothing()
    }
}
