//! Writing: data files first, then one commit that names them.

use std::fmt;
use std::sync::{Arc, Mutex};

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use deltalakedb_log::catalog::{Catalog, TxnLogWriter};
use deltalakedb_log::commit::{Base, CommitRequest, Committed, Outcome, Reads};
use deltalakedb_log::snapshot::At;
use deltalakedb_log::{Clock, ErrorKind, FileTxnLogWriter, Result, SystemClock, TableId, TxnLogError};
use futures::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use crate::delta_rs::{Captured, Fit, NewFiles, VirtualTable};
use crate::error::query_error;
use crate::table::{DeltaTable, Source};

/// What a write does with a table that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaveMode {
    /// Adds the rows.
    #[default]
    Append,
    /// Replaces all rows.
    Overwrite,
    /// Refuses.
    ErrorIfExists,
    /// Does nothing.
    Ignore,
}

/// How to write.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Who commits.
    pub committer: Option<String>,
    /// Where ids come from.
    pub clock: Arc<dyn Clock>,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { committer: None, clock: Arc::new(SystemClock) }
    }
}

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

impl Rows {
    /// The columns; `None` for no batches at all, which say nothing of columns.
    pub fn schema(&self) -> Option<&SchemaRef> {
        self.schema.as_ref()
    }

    /// The rows as they are.
    pub(crate) fn unchanged(self) -> (SendableRecordBatchStream, Refusal) {
        let schema = self.stream.schema();
        self.each(schema, Ok)
    }

    /// The rows in the shape of a table.
    fn fitted(self, table: &str, columns: &Schema) -> Result<(SendableRecordBatchStream, Refusal)> {
        let fit = Fit::new(table, self.schema.as_deref().unwrap_or(columns), columns)?;
        let (out, table, columns) = (fit.columns().clone(), table.to_string(), columns.clone());
        let mut shape = self.schema.clone();
        let mut rows_before = 0;
        Ok(self.each(out, move |batch| {
            if shape.as_ref().is_none_or(|shape| *shape != batch.schema()) {
                Fit::new(&table, &batch.schema(), &columns)?;
                shape = Some(batch.schema());
            }
            let fitted = fit.batch(&batch, rows_before);
            rows_before += batch.num_rows();
            fitted
        }))
    }

    fn each(
        self,
        schema: SchemaRef,
        mut f: impl FnMut(RecordBatch) -> Result<RecordBatch> + Send + 'static,
    ) -> (SendableRecordBatchStream, Refusal) {
        let refusal = Refusal::default();
        let seen = refusal.clone();
        let rows = self.stream.map(move |batch| {
            let batch = batch.map_err(|e| query_error(e, "the rows to be written cannot be read")).and_then(&mut f);
            batch.map_err(|e| seen.note(e))
        });
        (Box::pin(RecordBatchStreamAdapter::new(schema, rows)), refusal)
    }
}

/// Why rows were refused while they were read. delta-rs hands on only the text of it.
#[derive(Clone, Default)]
pub(crate) struct Refusal(Arc<Mutex<Option<TxnLogError>>>);

impl Refusal {
    fn note(&self, e: TxnLogError) -> DataFusionError {
        let text = e.to_string();
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(e);
        DataFusionError::Execution(text)
    }

    /// The outcome of a write, and if rows were refused, that as its error.
    pub(crate) fn or<T>(self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|e| self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take().unwrap_or(e))
    }
}

/// A write whose data files are there and which waits for its commit.
///
/// Several of them, of several tables, can be committed at once with [`commit`]. One that is not committed should be
/// [discarded](Self::discard); dropped, it leaves its files for vacuum.
pub struct PendingWrite {
    request: CommitRequest,
    files: NewFiles,
}

impl PendingWrite {
    pub(crate) fn new(captured: Captured, table: TableId, base: Base, options: &WriteOptions) -> Self {
        let mut request = CommitRequest::new(table, options.clock.new_uuid(), base, captured.actions);
        request.committer = options.committer.clone();
        Self { request, files: captured.files }
    }

    /// What would be committed.
    pub fn request(&self) -> &CommitRequest {
        &self.request
    }

    /// The data files it made.
    pub fn files(&self) -> &NewFiles {
        &self.files
    }

    /// Removes its data files.
    pub async fn discard(self) {
        self.files.remove().await;
    }
}

impl fmt::Debug for PendingWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingWrite").field("request", &self.request).field("files", &self.files).finish()
    }
}

/// Commits writes of one catalog, all or none. Those that lose remove their data files; where the outcome cannot be
/// known, or one of them was committed before, the files stay.
pub async fn commit(catalog: &dyn Catalog, writes: Vec<PendingWrite>) -> Result<Vec<Committed>> {
    let requests: Vec<_> = writes.iter().map(|w| w.request.clone()).collect();
    let outcome = catalog.commit_all(requests).await;
    if matches!(outcome, Ok(Outcome::Committed(_))) {
        return outcome.and_then(Outcome::committed);
    }
    // Whatever was said, the commit ids decide.
    let found = look_up(catalog, &writes).await.unwrap_or_default();
    if let Some(committed) = found.iter().copied().collect::<Option<Vec<_>>>().filter(|all| !all.is_empty()) {
        return Ok(committed);
    }
    if !found.is_empty() && found.iter().all(Option::is_none) && !matches!(outcome, Ok(Outcome::Unknown(_))) {
        discard(writes).await;
    }
    outcome.and_then(Outcome::committed)
}

/// The versions the writes got, as far as they are committed.
async fn look_up(catalog: &dyn Catalog, writes: &[PendingWrite]) -> Result<Vec<Option<Committed>>> {
    let found = stream::iter(writes).then(|w| catalog.find_commit(w.request.table, w.request.commit_id));
    found.try_collect().await
}

/// Removes the files of a write by path that certainly was not committed.
async fn lost(write: PendingWrite, e: TxnLogError) -> TxnLogError {
    if !matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Internal) {
        write.discard().await;
    }
    e
}

async fn discard(writes: Vec<PendingWrite>) {
    for write in writes {
        write.discard().await;
    }
}

impl DeltaTable {
    /// Writes the data files of a write and says what it would commit. `None` when there is nothing to do.
    ///
    /// The rows must fit the table: numbers may be narrower, encodings differ, nullable columns be left out. An append
    /// does not look at the table's files, so its cost does not depend on their number; it conflicts only with changes
    /// of schema or protocol. An overwrite conflicts with every other commit.
    pub async fn prepare_write(
        &self,
        rows: impl Into<Rows>,
        mode: SaveMode,
        options: &WriteOptions,
    ) -> Result<Option<PendingWrite>> {
        let rows = rows.into();
        match mode {
            SaveMode::Ignore => return Ok(None),
            SaveMode::ErrorIfExists => {
                return Err(TxnLogError::new(ErrorKind::AlreadyExists, format!("{self} exists: nothing was written")));
            }
            SaveMode::Append if rows.schema.is_none() => return Ok(None),
            SaveMode::Append | SaveMode::Overwrite => {}
        }
        let id = self.writable_id()?;
        let reader = self.reader().await?;
        let base = reader.snapshot(At::Latest).await?;
        VirtualTable::check_writable(&base, &self.to_string())?;
        let version = base.version();
        let empty = VirtualTable::without_files(&self.location, reader.clone(), base.clone()).await?;
        let columns = empty.schema()?;
        let (rows, refusal) = rows.fitted(&self.to_string(), &columns)?;
        let captured = match mode {
            SaveMode::Overwrite => VirtualTable::whole(&self.location, reader, base).await?.overwrite(rows).await,
            _ => empty.append(rows).await,
        };
        let captured = refusal.or(captured)?;
        let mut pending = PendingWrite::new(captured, id, Base::RebaseFrom(version), options);
        if mode == SaveMode::Overwrite {
            pending.request.reads = Reads { whole_table: true, ..Reads::default() };
        }
        Ok(Some(pending))
    }

    /// Writes rows in one commit. `None` when there was nothing to do.
    ///
    /// ```no_run
    /// # use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    /// # use std::sync::Arc;
    /// use deltalakedb_table::{DeltaTable, SaveMode, WriteOptions};
    ///
    /// # async fn example() -> deltalakedb_log::Result<()> {
    /// let table = DeltaTable::open("/data/orders").await?;
    /// let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    /// let rows = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    /// let committed = table.write(vec![rows], SaveMode::Append, &WriteOptions::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write(
        &self,
        rows: impl Into<Rows>,
        mode: SaveMode,
        options: &WriteOptions,
    ) -> Result<Option<Committed>> {
        let Some(pending) = self.prepare_write(rows, mode, options).await? else {
            return Ok(None);
        };
        let committed = match &self.source {
            Source::Catalog { catalog, .. } => commit(catalog.as_ref(), vec![pending]).await?,
            Source::Plain | Source::Reader(_) => {
                let writer = FileTxnLogWriter::open(&self.location, options.clock.clone())?;
                match writer.commit(pending.request.clone()).await {
                    Ok(Outcome::Conflict(c)) => {
                        pending.discard().await;
                        Outcome::Conflict(c).committed()?
                    }
                    Ok(outcome) => outcome.committed()?,
                    Err(e) => return Err(lost(pending, e).await),
                }
            }
        };
        Ok(committed.into_iter().next())
    }

    fn writable_id(&self) -> Result<TableId> {
        match &self.source {
            Source::Catalog { id, .. } => Ok(*id),
            Source::Plain => Ok(TableId(Uuid::nil())),
            Source::Reader(_) => Err(TxnLogError::invalid(format!(
                "{self} was opened with a reader of its log only: open it in its catalog to write"
            ))),
        }
    }
}
