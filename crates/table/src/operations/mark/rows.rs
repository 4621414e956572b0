//! The rows that an operation changes, in one pass: where they are is noted, new rows are passed on, and the changes are
//! recorded where the table wants that.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Int64Type, Schema, SchemaRef, UInt32Type};
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use deltalakedb_log::{Result, TxnLogError};
use futures::StreamExt;
use futures::lock::Mutex;
use roaring::RoaringTreemap;

use crate::delta_rs::{ChangeFiles, MaskedFile};
use crate::error::to_datafusion_error;
use crate::position_scan::{FILE_COLUMN, POSITION_COLUMN};

/// The column with the number of the clause that changes a row.
pub(super) const CLAUSE: &str = "__deltalakedb_clause";

/// What a clause does to its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowChange {
    /// They are hidden.
    Delete,
    /// They are hidden, and written with other values.
    Update,
    /// They are new.
    Insert,
}

/// A clause of an operation. A delete and an update have one, a merge may have several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clause {
    pub(super) change: RowChange,
    /// A row may match several source rows: each would do the same to it.
    pub(super) may_repeat: bool,
}

impl Clause {
    /// A clause that finds each row once.
    pub(super) fn of(change: RowChange) -> Self {
        Self { change, may_repeat: false }
    }

    /// Whether rows are written.
    pub(super) fn writes(self) -> bool {
        self.change != RowChange::Delete
    }
}

/// How many rows were changed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RowCounts {
    pub(super) deleted: u64,
    pub(super) updated: u64,
    pub(super) inserted: u64,
}

/// The rows of a file that were found.
struct FoundInFile {
    path: String,
    rows: RoaringTreemap,
    /// Those of them that a clause found which may find them again.
    repeatable: RoaringTreemap,
}

/// Notes the changed rows of a stream. Its columns are the new values of all columns, if rows are written; the old
/// ones, if changes are recorded; then file, position and clause.
pub(super) struct ChangedRows {
    /// The columns of the table.
    columns: SchemaRef,
    clauses: Vec<Clause>,
    files: Vec<FoundInFile>,
    counts: RowCounts,
    feed: Option<ChangeFiles>,
    /// Why the stream ended early.
    failure: Option<TxnLogError>,
}

/// What a stream of changed rows contained.
pub(super) struct Found {
    /// The rows that are no longer visible, by the number of their file.
    pub(super) hidden: Vec<RoaringTreemap>,
    pub(super) counts: RowCounts,
    pub(super) feed: Option<ChangeFiles>,
    /// Why the stream ended early.
    pub(super) failure: Option<TxnLogError>,
}

/// Which rows of a batch are changed in which way.
struct Sorted {
    deleted: BooleanArray,
    updated: BooleanArray,
    inserted: BooleanArray,
    written: BooleanArray,
}

impl ChangedRows {
    pub(super) fn new(columns: &Schema, clauses: Vec<Clause>, files: &[MaskedFile], feed: Option<ChangeFiles>) -> Self {
        let none = RoaringTreemap::new;
        let file = |file: &MaskedFile| FoundInFile { path: file.add.path.clone(), rows: none(), repeatable: none() };
        let files = files.iter().map(file).collect();
        Self { columns: nullable(columns), clauses, files, counts: RowCounts::default(), feed, failure: None }
    }

    /// The rows that are written, while `noted` notes all rows of the stream.
    pub(super) fn noting(
        rows: SendableRecordBatchStream,
        noted: Arc<Mutex<Self>>,
        columns: &Schema,
    ) -> SendableRecordBatchStream {
        let written = rows.then(move |batch| {
            let noted = noted.clone();
            async move { noted.lock().await.note(&batch?).await }
        });
        Box::pin(RecordBatchStreamAdapter::new(nullable(columns), written))
    }

    /// What the stream contained, once it has ended.
    pub(super) async fn found(noted: &Mutex<Self>) -> Found {
        let mut noted = noted.lock().await;
        let files = std::mem::take(&mut noted.files);
        Found {
            hidden: files.into_iter().map(|file| file.rows).collect(),
            counts: noted.counts,
            feed: noted.feed.take(),
            failure: noted.failure.take(),
        }
    }

    async fn note(&mut self, batch: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let sorted = self.sort(batch)?;
        let values = |from: usize| -> Result<RecordBatch, DataFusionError> {
            let until = from + self.columns.fields().len();
            let columns: Vec<ArrayRef> = batch.columns().get(from..until).ok_or_else(missing)?.to_vec();
            Ok(RecordBatch::try_new(self.columns.clone(), columns)?)
        };
        let writes = self.clauses.iter().any(|clause| clause.writes());
        let new = if writes { Some(values(0)?) } else { None };
        if let Some(feed) = &mut self.feed {
            let old = values(if writes { self.columns.fields().len() } else { 0 })?;
            feed.write(&filter_record_batch(&old, &sorted.deleted)?, "delete").await?;
            feed.write(&filter_record_batch(&old, &sorted.updated)?, "update_preimage").await?;
            if let Some(new) = &new {
                feed.write(&filter_record_batch(new, &sorted.updated)?, "update_postimage").await?;
                feed.write(&filter_record_batch(new, &sorted.inserted)?, "insert").await?;
            }
        }
        match new {
            Some(new) => Ok(filter_record_batch(&new, &sorted.written)?),
            None => Ok(RecordBatch::new_empty(self.columns.clone())),
        }
    }

    /// Notes where the rows of a batch are, and says what happens to each.
    fn sort(&mut self, batch: &RecordBatch) -> Result<Sorted, DataFusionError> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(missing);
        let clauses = column(CLAUSE)?.as_primitive::<UInt32Type>();
        let files = column(FILE_COLUMN)?.as_primitive::<UInt32Type>();
        let positions = column(POSITION_COLUMN)?.as_primitive::<Int64Type>();
        let mut changes = Vec::with_capacity(batch.num_rows());
        for ((clause, file), position) in clauses.iter().zip(files).zip(positions) {
            let clause = clause.and_then(|clause| self.clauses.get(clause as usize)).copied().ok_or_else(missing)?;
            let place = file.zip(position.and_then(|position| u64::try_from(position).ok()));
            let is_new = match (clause.change, place) {
                (RowChange::Insert, _) => true,
                (_, Some((file, position))) => self.find(clause, file, position)?,
                (_, None) => return Err(missing()),
            };
            changes.push(is_new.then_some(clause.change));
        }
        let are = |change: RowChange| changes.iter().map(|is| Some(*is == Some(change))).collect::<BooleanArray>();
        let (deleted, updated, inserted) = (are(RowChange::Delete), are(RowChange::Update), are(RowChange::Insert));
        self.counts.deleted += deleted.true_count() as u64;
        self.counts.updated += updated.true_count() as u64;
        self.counts.inserted += inserted.true_count() as u64;
        let written = arrow::compute::or(&updated, &inserted)?;
        Ok(Sorted { deleted, updated, inserted, written })
    }

    /// Notes a row of the table; false if a clause found it already and may find it again.
    fn find(&mut self, clause: Clause, file: u32, position: u64) -> Result<bool, DataFusionError> {
        let in_file = self.files.get_mut(file as usize).ok_or_else(missing)?;
        let is_new = in_file.rows.insert(position);
        if is_new && clause.may_repeat {
            in_file.repeatable.insert(position);
        }
        if is_new || clause.may_repeat && in_file.repeatable.contains(position) {
            return Ok(is_new);
        }
        let message = format!(
            "multiple source rows would change row {position} of the file {:?}: each row of the table may match one \
             source row, so make the join condition unique or aggregate the source rows",
            in_file.path
        );
        self.failure.get_or_insert_with(|| TxnLogError::invalid(message.as_str()));
        Err(to_datafusion_error(TxnLogError::invalid(message)))
    }
}

/// Columns that may be null: the writer checks which must not be.
fn nullable(columns: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| Field::clone(field).with_nullable(true);
    Arc::new(Schema::new(columns.fields().iter().map(field).collect::<Vec<_>>()))
}

fn missing() -> DataFusionError {
    DataFusionError::Internal("a scan of positions returned a row of no file".into())
}
