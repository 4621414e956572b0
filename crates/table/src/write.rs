//! Writes: data files first, then one commit that names them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use deltalakedb_log::commit::{Base, CommitRequest, Committed, Outcome};
use deltalakedb_log::stores::Stores;
use deltalakedb_log::{Catalog, Clock, ErrorKind, Result, TableId, TxnLogError, TxnLogTransactionError};
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::backpressure::wait_for_mirrors;
use crate::commit_event::log_commit;
use crate::delta_rs::{CastMode, NewFiles, SchemaAdapter, SchemaMode, StagedCommit, TableSchema};
use crate::error::query_error;
use crate::hold::HeldVersion;
use crate::write_options::{MAX_TIMEOUT, WriteOptions};

/// Rows to be written: batches, or a stream.
pub struct Rows {
    schema: Option<SchemaRef>,
    stream: SendableRecordBatchStream,
}

impl From<Vec<RecordBatch>> for Rows {
    fn from(batches: Vec<RecordBatch>) -> Self {
        let schema = batches.first().map(|b| b.schema());
        let shape = schema.clone().unwrap_or_else(|| Arc::new(Schema::empty()));
        let stream = RecordBatchStreamAdapter::new(shape, stream::iter(batches.into_iter().map(Ok)));
        Self { schema, stream: Box::pin(stream) }
    }
}

impl From<Box<dyn RecordBatchReader + Send>> for Rows {
    fn from(reader: Box<dyn RecordBatchReader + Send>) -> Self {
        let schema = reader.schema();
        let batches = stream::iter(reader.map(|batch| batch.map_err(DataFusionError::from)));
        Self { schema: Some(schema.clone()), stream: Box::pin(RecordBatchStreamAdapter::new(schema, batches)) }
    }
}

impl From<SendableRecordBatchStream> for Rows {
    fn from(stream: SendableRecordBatchStream) -> Self {
        Self { schema: Some(stream.schema()), stream }
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Rows {
    /// The columns; `None` if there are no batches at all, which have no schema.
    pub fn schema(&self) -> Option<&SchemaRef> {
        self.schema.as_ref()
    }

    /// The rows with large lists converted to lists, the only list type of Delta, and without the field ids of other
    /// files. A file keeps the type it was written with: a file with large lists would be unreadable after the structs
    /// in them got another field.
    pub(crate) fn in_delta_types(self) -> (SendableRecordBatchStream, Refusal) {
        let fit = self.schema.as_deref().filter(|schema| is_foreign(schema.fields())).and_then(|schema| {
            // Columns with unsupported types are rejected by delta-rs.
            let columns = TableSchema::from_arrow(schema).and_then(|columns| columns.to_arrow()).ok()?;
            SchemaAdapter::new("a table", schema, &columns, CastMode::Any).ok()
        });
        match fit {
            None => {
                let schema = self.stream.schema();
                self.map_batches(schema, Ok)
            }
            Some(fit) => {
                let mut rows_before = 0;
                self.map_batches(fit.columns().clone(), move |batch| {
                    let fitted = fit.batch(&batch, rows_before);
                    rows_before += batch.num_rows();
                    fitted
                })
            }
        }
    }

    /// The rows with the schema of a table; an additional column is rejected, added, or replaces the table's columns.
    pub(crate) fn adapted(
        self,
        table: &str,
        columns: &Schema,
        evolution: Option<SchemaMode>,
        casts: CastMode,
    ) -> Result<(SendableRecordBatchStream, Refusal)> {
        let shaped = match evolution {
            None => SchemaAdapter::new,
            Some(SchemaMode::Merge) => SchemaAdapter::evolving,
            Some(SchemaMode::Overwrite) => return Ok(self.in_delta_types()),
        };
        let fit = shaped(table, self.schema.as_deref().unwrap_or(columns), columns, casts)?;
        let (out, table, columns) = (fit.columns().clone(), table.to_string(), columns.clone());
        let mut shape = self.schema.clone();
        let mut rows_before = 0;
        Ok(self.map_batches(out, move |batch| {
            if shape.as_ref().is_none_or(|shape| *shape != batch.schema()) {
                shaped(&table, &batch.schema(), &columns, casts)?;
                shape = Some(batch.schema());
            }
            let fitted = fit.batch(&batch, rows_before);
            rows_before += batch.num_rows();
            fitted
        }))
    }

    fn map_batches(
        self,
        schema: SchemaRef,
        mut f: impl FnMut(RecordBatch) -> Result<RecordBatch> + Send + 'static,
    ) -> (SendableRecordBatchStream, Refusal) {
        let refusal = Refusal::default();
        let seen = refusal.clone();
        let rows = self.stream.map(move |batch| {
            let batch = batch.map_err(|e| query_error(e, "the rows to be written cannot be read")).and_then(&mut f);
            batch.map_err(|e| seen.record(e))
        });
        (Box::pin(RecordBatchStreamAdapter::new(schema, rows)), refusal)
    }
}

/// Whether rows have columns that no table keeps as they are: large lists, or the field ids of the Parquet files from
/// which they come.
fn is_foreign(fields: &Fields) -> bool {
    use DataType as T;
    fields.iter().any(|field| {
        field.metadata().contains_key(PARQUET_FIELD_ID_META_KEY)
            || match field.data_type() {
                T::LargeList(_) => true,
                T::Struct(fields) => is_foreign(fields),
                T::List(within) | T::FixedSizeList(within, _) | T::Map(within, _) => {
                    is_foreign(&Fields::from(vec![within.clone()]))
                }
                _ => false,
            }
    })
}

/// The reason why rows were rejected while they were read. delta-rs passes on only its text.
#[derive(Clone, Default)]
pub(crate) struct Refusal(Arc<Mutex<Option<TxnLogError>>>);

impl Refusal {
    fn record(&self, e: TxnLogError) -> DataFusionError {
        let text = e.to_string();
        self.0.lock().get_or_insert(e);
        DataFusionError::Execution(text)
    }

    /// The outcome of a write, replaced by the error of rejected rows if there is one.
    pub(crate) fn or<T>(self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|e| self.0.lock().take().unwrap_or(e))
    }
}

/// A write whose data files exist and that is not committed yet.
///
/// Several of them, to several tables, can be committed at once with [`commit`]. One that is not committed should be
/// [discarded](Self::discard); if it is dropped, its files are left for vacuum.
pub struct PendingWrite {
    pub(crate) request: CommitRequest,
    pub(crate) files: NewFiles,
    /// A lower bound of the time of its first file, in milliseconds since 1970.
    pub(crate) began_at: i64,
    /// A version whose files it adds again, held so that no vacuum removes them before it is committed.
    pub(crate) hold: Option<HeldVersion>,
}

impl PendingWrite {
    pub(crate) fn new(captured: StagedCommit, table: TableId, base: Base, options: &WriteOptions) -> Self {
        let mut request = CommitRequest::new(table, options.clock.new_uuid(), base, captured.actions);
        options.set_committer(&mut request);
        Self { request, files: captured.files, began_at: options.clock.now_ms(), hold: None }
    }

    /// The commit request.
    pub fn request(&self) -> &CommitRequest {
        &self.request
    }

    /// The data files that it wrote.
    pub fn files(&self) -> &NewFiles {
        &self.files
    }

    /// Removes its data files.
    pub async fn discard(self) {
        self.files.remove().await;
        release(self.hold).await;
    }
}

impl fmt::Debug for PendingWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingWrite").field("request", &self.request).field("files", &self.files).finish()
    }
}

/// Commits writes to one catalog, all or none. After a conflict the data files are removed; if the outcome is unknown,
/// or one of the writes was committed before, the files are kept.
pub async fn commit(
    catalog: &dyn Catalog,
    writes: Vec<PendingWrite>,
    options: &WriteOptions,
) -> Result<Vec<Committed>> {
    let requests: Vec<_> = writes.iter().map(|w| w.request.clone()).collect();
    let age_ms = writes.iter().map(|w| options.clock.now_ms().saturating_sub(w.began_at)).max().unwrap_or(0);
    let (files, mut holds): (Vec<_>, Vec<_>) = writes.into_iter().map(|w| (w.files, w.hold)).unzip();
    let timeout_ms = i64::try_from(MAX_TIMEOUT.as_millis()).unwrap_or(i64::MAX);
    let in_time = if age_ms > timeout_ms {
        // Vacuum may have removed their files as orphans.
        Err(TxnLogTransactionError::TimedOut { age_ms, timeout_ms }.into())
    } else {
        renew(&mut holds).await
    };
    let committed = match in_time {
        Ok(()) => commit_requests(catalog, requests, files, options).await.map_err(TxnLogError::from),
        Err(e) => {
            remove(&files).await;
            Err(e)
        }
    };
    for hold in holds {
        release(hold).await;
    }
    committed
}

/// Renews the holds so that they last until the commit is made.
async fn renew(holds: &mut [Option<HeldVersion>]) -> Result<()> {
    for hold in holds.iter_mut().flatten() {
        hold.renew(COMMIT).await?;
    }
    Ok(())
}

/// The maximum duration of a commit.
const COMMIT: Duration = Duration::from_secs(60 * 60);

async fn release(hold: Option<HeldVersion>) {
    if let Some(hold) = hold
        && let Err(e) = hold.release().await
    {
        tracing::warn!(version = hold.version(), error = %e, "a hold could not be released and stays until it expires");
    }
}

/// Commits requests and the files they name.
pub(crate) async fn commit_requests(
    catalog: &dyn Catalog,
    requests: Vec<CommitRequest>,
    files: Vec<NewFiles>,
    options: &WriteOptions,
) -> Result<Vec<Committed>, TxnLogTransactionError> {
    let began = Instant::now();
    let mut refused = wait_for_mirrors(catalog, &requests, options).await.err();
    for attempt in 0.. {
        let is_refused = refused.is_some();
        let outcome = match refused.take() {
            None => catalog.commit_all(requests.clone()).await,
            // If the same commit was sent before, it may be committed.
            Some(e) => Err(e),
        };
        if let Ok(Outcome::Committed(committed)) = outcome {
            log_commit(catalog, &requests, &committed, began.elapsed()).await;
            options.notices.of_leaps(catalog, &committed).await;
            return Ok(committed);
        }
        // Whatever the error was, the commit ids decide.
        let found = look_up(catalog, &requests).await.unwrap_or_default();
        if let Some(committed) = found.iter().copied().collect::<Option<Vec<_>>>().filter(|all| !all.is_empty()) {
            log_commit(catalog, &requests, &committed, began.elapsed()).await;
            return Ok(committed);
        }
        let certainly_not =
            !found.is_empty() && found.iter().all(Option::is_none) && !matches!(outcome, Ok(Outcome::Unknown(_)));
        match outcome {
            Err(e)
                if certainly_not && !is_refused && e.kind() == ErrorKind::Unavailable && attempt < options.retries =>
            {
                tokio::time::sleep(pause(attempt, options.clock.as_ref())).await;
            }
            outcome => {
                if certainly_not {
                    remove(&files).await;
                }
                return outcome?.of_transaction();
            }
        }
    }
    Err(TxnLogTransactionError::Closed)
}

/// Rejects a write to a table whose catalog is behind its `_delta_log`, or whose `_delta_log` is missing although it
/// was published. A process checks a table once, before its first write to it. If the `_delta_log` cannot be read now,
/// the write is not rejected.
pub(crate) async fn check_not_behind(catalog: &dyn Catalog, stores: &dyn Stores, table: TableId) -> Result<()> {
    if catalog.compared().contains(table) {
        return Ok(());
    }
    match deltalakedb_mirror::check_not_behind(catalog, stores, table).await {
        Ok(()) => catalog.compared().insert(table),
        Err(e) if e.kind() == ErrorKind::Unavailable => {
            tracing::warn!("a table was not compared with its _delta_log before it is written to: {e}");
        }
        Err(e) => return Err(e),
    }
    Ok(())
}

/// Increases with each attempt, with a random part, so that two writers that wait for each other differ.
fn pause(attempt: u32, clock: &dyn Clock) -> Duration {
    let most = 20_u64 << attempt.min(6);
    let jitter = u64::from(clock.new_uuid().as_fields().0) % most;
    Duration::from_millis(most / 2 + jitter / 2)
}

/// Removes data files that no commit will name.
pub(crate) async fn remove(files: &[NewFiles]) {
    for files in files {
        files.remove().await;
    }
}

/// The versions of the requests that are committed.
async fn look_up(catalog: &dyn Catalog, requests: &[CommitRequest]) -> Result<Vec<Option<Committed>>> {
    let writing = requests.iter().filter(|r| r.writes());
    stream::iter(writing).then(|r| catalog.find_commit(r.table, r.commit_id)).try_collect().await
}
