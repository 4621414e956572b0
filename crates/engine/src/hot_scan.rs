//! The hot rows of a table as Arrow batches.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, SchemaRef};
use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use deltalakedb_rows::key::{HotKey, ScopeKeys};
use deltalakedb_rows::row_store::{NewestVersion, VersionScan};
use deltalakedb_rows::seq::SeqId;
use deltalakedb_rows::{KeyDecoder, PrimaryKey, RowSnapshot, Tuple, TupleColumn, TupleDecoder};
use deltalakedb_table::datafusion::common::DataFusionError;
use deltalakedb_table::datafusion::execution::{SendableRecordBatchStream, TaskContext};
use deltalakedb_table::datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use deltalakedb_table::datafusion::physical_plan::streaming::PartitionStream;
use futures::future::BoxFuture;
use futures::{FutureExt, stream};

use crate::blocking::blocking;
use crate::definition::{DELETED_COLUMN, SEQ_COLUMN};
use crate::row_table::{RowTable, SCOPE};

/// A batch ends at this number of rows, or of bytes in their keys and tuples: the offsets of an Arrow column of texts have
/// 32 bits, and a batch is in memory as a whole.
const BATCH_ROWS: usize = 8_192;
const BATCH_BYTES: usize = 16 << 20;

/// The newest hot versions after a `_seq`, in order of their keys, of the rows that are not deleted.
#[derive(Clone)]
pub(crate) struct HotScan {
    table: Arc<RowTable>,
    snapshot: Arc<RowSnapshot>,
    after: SeqId,
    /// Of hot keys.
    range: Range<Vec<u8>>,
    schema: SchemaRef,
    columns: Vec<HotColumn>,
    key: PrimaryKey,
    /// The places in the key of the columns that are read from it.
    key_places: Vec<usize>,
    /// The columns that are read from tuples.
    tuple_columns: Vec<TupleColumn>,
}

/// Where the values of a column come from.
#[derive(Clone)]
enum HotColumn {
    /// The next of the columns from the key.
    Key,
    /// The next of the columns from the tuple.
    Tuple,
    Seq,
    Deleted,
    /// Null: hot rows have no position in a file.
    Absent(DataType),
}

impl HotScan {
    /// A scan of columns of the table: of its rows, or system columns; null for any other. The arrays have the types of
    /// the fields.
    pub(crate) fn new(
        table: Arc<RowTable>,
        snapshot: Arc<RowSnapshot>,
        after: SeqId,
        schema: SchemaRef,
    ) -> Result<Self> {
        let (mut columns, mut key_places, mut tuple_columns) = (Vec::new(), Vec::new(), Vec::new());
        let definition = &table.definition;
        let mut key_fields: Vec<_> = definition.key_columns().map(|column| column.field().clone()).collect();
        for field in schema.fields() {
            let place = definition.key_columns().position(|column| column.name() == field.name());
            columns.push(match (place, definition.column(field.name())) {
                (Some(place), _) => {
                    key_fields[place] = field.clone();
                    key_places.push(place);
                    HotColumn::Key
                }
                (None, Some(column)) => {
                    tuple_columns.push(TupleColumn::new(column.id(), field.clone())?);
                    HotColumn::Tuple
                }
                (None, None) if field.name() == SEQ_COLUMN => HotColumn::Seq,
                (None, None) if field.name() == DELETED_COLUMN => HotColumn::Deleted,
                (None, None) => HotColumn::Absent(field.data_type().clone()),
            });
        }
        let key = PrimaryKey::new(key_fields)?;
        let range = ScopeKeys::new(table.id, &SCOPE).range();
        Ok(Self { table, snapshot, after, range, schema, columns, key, key_places, tuple_columns })
    }

    /// The row of one version, with its encoded key.
    pub(crate) fn row(&self, key: &[u8], version: &NewestVersion) -> Result<RecordBatch> {
        let mut batch = HotBatch::new(self, 1)?;
        batch.append(key, version.seq, &version.tuple)?;
        batch.finish()
    }

    /// The rows. A batch is decoded while the reader uses the one before.
    pub(crate) fn stream(&self) -> SendableRecordBatchStream {
        let scan = self.clone();
        let first = Some(self.decode(self.range.start.clone()));
        let batches = stream::try_unfold(first, move |decoding| {
            let scan = scan.clone();
            async move {
                let Some(decoding) = decoding else { return Ok(None) };
                let decoded = decoding.await.map_err(|e| DataFusionError::External(e.into()))?;
                Ok(decoded.map(|(batch, next)| (batch, next.map(|from| scan.decode(from)))))
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))
    }

    /// Starts to decode the next rows, from a key on.
    fn decode(&self, from: Vec<u8>) -> BoxFuture<'static, Result<Option<Decoded>>> {
        let scan = self.clone();
        blocking(move || scan.batch(from)).boxed()
    }

    /// The next rows, from a key on; None if there are no more.
    fn batch(&self, from: Vec<u8>) -> Result<Option<Decoded>> {
        let scan = VersionScan { after: self.after, ..VersionScan::default() };
        let mut versions = self.snapshot.scan(from..self.range.end.clone(), scan)?;
        let mut batch = HotBatch::new(self, BATCH_ROWS)?;
        let (mut next, mut bytes) = (None, 0);
        while let Some(version) = versions.next_row()? {
            let primary_key = HotKey::parse(version.key)?.primary_key;
            batch.append(primary_key, version.seq, version.tuple)?;
            bytes += primary_key.len() + version.tuple.len();
            if batch.seqs.len() == BATCH_ROWS || bytes >= BATCH_BYTES {
                next = Some(ScopeKeys::new(self.table.id, &SCOPE).after_row(primary_key));
                break;
            }
        }
        if batch.seqs.is_empty() { Ok(None) } else { Ok(Some((batch.finish()?, next))) }
    }
}

/// Rows, and the key after them; None if they are the last.
type Decoded = (RecordBatch, Option<Vec<u8>>);

/// A batch that is being decoded.
struct HotBatch<'a> {
    scan: &'a HotScan,
    keys: KeyDecoder<'a>,
    tuples: TupleDecoder,
    seqs: Vec<i64>,
}

impl<'a> HotBatch<'a> {
    fn new(scan: &'a HotScan, rows: usize) -> Result<Self> {
        Ok(Self {
            keys: KeyDecoder::new(&scan.key, &scan.key_places, rows)?,
            tuples: TupleDecoder::new(&scan.tuple_columns, rows)?,
            seqs: Vec::with_capacity(rows),
            scan,
        })
    }

    fn append(&mut self, key: &[u8], seq: SeqId, tuple: &[u8]) -> Result<()> {
        self.keys.append(key)?;
        self.tuples.append(&Tuple::parse(tuple)?)?;
        self.seqs.push(seq.as_i64());
        Ok(())
    }

    fn finish(&mut self) -> Result<RecordBatch> {
        let (mut keys, mut tuples) = (self.keys.finish()?.into_iter(), self.tuples.finish()?.into_iter());
        let seqs: ArrayRef = Arc::new(Int64Array::from(std::mem::take(&mut self.seqs)));
        let rows = seqs.len();
        let missing = || TxnLogError::new(ErrorKind::Internal, "a column of hot rows was not decoded");
        let columns = self.scan.columns.iter().map(|column| match column {
            HotColumn::Key => keys.next().ok_or_else(missing),
            HotColumn::Tuple => tuples.next().ok_or_else(missing),
            HotColumn::Seq => Ok(seqs.clone()),
            HotColumn::Deleted => Ok(Arc::new(BooleanArray::from(vec![false; rows])) as ArrayRef),
            HotColumn::Absent(data_type) => Ok(new_null_array(data_type, rows)),
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.scan.schema.clone(), columns, &options).map_err(|e| {
            let message = format!("the hot rows of {} cannot be read", self.scan.table.name());
            TxnLogError::new(ErrorKind::Corrupt, message).with_source(e)
        })
    }
}

impl PartitionStream for HotScan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        self.stream()
    }
}

impl fmt::Debug for HotScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotScan").field("table", &self.table).field("schema", &self.schema).finish_non_exhaustive()
    }
}
