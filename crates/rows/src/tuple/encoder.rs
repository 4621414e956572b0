//! Rows of Arrow arrays to tuples.

use arrow::array::{ArrayRef, RecordBatch};
use deltalakedb_log::{ErrorKind, Result, Subject, TxnLogError};

use super::schema::{TupleSchema, refusal};
use super::values::put_fields;
use super::wire::{DELETED, ROW, put_varint, put_with_length};

/// Encodes the rows of a batch.
#[derive(Debug)]
pub struct TupleEncoder<'a> {
    schema: &'a TupleSchema,
    /// In the order of the schema's columns.
    arrays: Vec<ArrayRef>,
    rows: usize,
}

impl<'a> TupleEncoder<'a> {
    /// An encoder for the rows of `batch`, whose columns are found by name; columns that the schema does not have are
    /// ignored. Strings, binary values and arrays can be in any representation of Arrow, also as dictionaries.
    ///
    /// Fails if a column is missing or of another type.
    pub fn new(schema: &'a TupleSchema, batch: &RecordBatch) -> Result<Self> {
        let arrays = schema.columns().iter().map(|column| {
            let name = column.field().name();
            let array = batch.column_by_name(name).ok_or_else(|| {
                TxnLogError::invalid(format!("the rows have no column {name:?}")).about(Subject::Schema)
            })?;
            column.typed.data_type.canonical_array(name, array)
        });
        Ok(Self { schema, arrays: arrays.collect::<Result<_>>()?, rows: batch.num_rows() })
    }

    /// Appends the tuple of a row to `out`.
    ///
    /// Fails, with `out` unchanged, if a column or a nested field is null and may not be, or if a decimal has more
    /// digits than its type, and for a row that the batch does not have.
    pub fn encode(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if row >= self.rows {
            let rows = self.rows;
            return Err(TxnLogError::new(ErrorKind::Internal, format!("row {row} of {rows} rows was asked for")));
        }
        let start = out.len();
        out.push(ROW);
        put_varint(self.schema.version().into(), out);
        let columns = self.schema.columns();
        put_with_length(out, |out| put_fields(|n| &columns[n].typed, &self.schema.by_id, &self.arrays, row, out))
            .map_err(|refused| {
                out.truncate(start);
                refusal(refused, None)
            })
    }

    /// Appends the tuple of a deleted row, which has no columns, to `out`.
    pub fn encode_deleted(schema: &TupleSchema, out: &mut Vec<u8>) {
        out.push(DELETED);
        put_varint(schema.version().into(), out);
        put_varint(0, out);
    }
}
