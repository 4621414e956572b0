//! The values of columns that new rows do not give: their defaults, evaluated for a number of rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, new_null_array};
use arrow::datatypes::DataType;
use deltalakedb_log::{Clock, ErrorKind, Result, Subject, TxnLogError};
use deltalakedb_rows::{SeqClock, SeqId};
use deltalakedb_table::datafusion::common::ScalarValue;
use uuid::{Builder, Uuid};

use crate::column_default::ColumnDefault;
use crate::definition::ColumnDefinition;

/// The defaults in the new rows of one statement.
///
/// `SNOWFLAKE_ID()` and `UUID_V7()` take their time and order from the [`SeqClock`] that assigns `_seq`. A row's `_seq`
/// is assigned later than its defaults and is therefore greater, so that the high water mark that is persisted with a
/// commit is also that of the ids in its rows: none is assigned again after a restart.
#[derive(Debug)]
pub struct DefaultValues<'a> {
    /// The time of the statement, in microseconds since 1970.
    now_us: i64,
    randomness: &'a dyn Clock,
    ids: &'a SeqClock,
}

impl<'a> DefaultValues<'a> {
    /// The defaults for a statement that begins now. `clock` gives the time, which is the same in all its rows, and the
    /// random bits of UUIDs; `ids` is the clock of `_seq`.
    pub fn at_start_of_statement(clock: &'a dyn Clock, ids: &'a SeqClock) -> Self {
        Self { now_us: clock.now_ms().saturating_mul(1000), randomness: clock, ids }
    }

    /// The values of a column in a number of new rows, of the column's Arrow type. Ids are in increasing order.
    ///
    /// Fails if the column has no default and cannot be null, and if no id is left.
    pub fn array(&self, column: &ColumnDefinition, rows: usize) -> Result<ArrayRef> {
        let data_type = column.field().data_type();
        match column.default() {
            None if rows > 0 && !column.field().is_nullable() => {
                let message =
                    format!("the column {:?} has no default and cannot be null: give it a value", column.name());
                Err(TxnLogError::invalid(message).about(Subject::InvalidRows(rows)))
            }
            None => Ok(new_null_array(data_type, rows)),
            Some(ColumnDefault::SnowflakeId) => {
                let ids = (0..rows).map(|_| Ok(self.ids.next_seq()?.as_i64()));
                Ok(Arc::new(Int64Array::from(ids.collect::<Result<Vec<_>>>()?)))
            }
            Some(ColumnDefault::UuidV7) => {
                let ids = (0..rows).map(|_| Ok(uuid_v7(self.ids.next_seq()?, self.randomness.new_uuid()).to_string()));
                Ok(Arc::new(StringArray::from(ids.collect::<Result<Vec<_>>>()?)))
            }
            Some(ColumnDefault::Now) => repeated(&self.now(data_type), column, rows),
            Some(ColumnDefault::Literal(value)) => repeated(value, column, rows),
        }
    }

    fn now(&self, data_type: &DataType) -> ScalarValue {
        let zone = match data_type {
            DataType::Timestamp(_, zone) => zone.clone(),
            _ => None,
        };
        ScalarValue::TimestampMicrosecond(Some(self.now_us), zone)
    }
}

fn repeated(value: &ScalarValue, column: &ColumnDefinition, rows: usize) -> Result<ArrayRef> {
    value.to_array_of_size(rows).map_err(|e| {
        let message = format!("the default of the column {:?} cannot be repeated", column.name());
        TxnLogError::new(ErrorKind::Internal, message).with_source(e)
    })
}

/// A UUID of version 7 (RFC 9562, section 5.7): the milliseconds and the counter of `seq`, so that UUIDs are in the
/// order of the clock (section 6.2, method 1), then 62 random bits.
fn uuid_v7(seq: SeqId, random: Uuid) -> Uuid {
    let milliseconds = u64::try_from(seq.timestamp_ms()).unwrap_or_default();
    let mut bits = [0; 10];
    bits[..2].copy_from_slice(&seq.counter().to_be_bytes());
    // The first six bytes of a UUID of version 4 are random, and the last seven.
    bits[2..8].copy_from_slice(&random.as_bytes()[..6]);
    bits[8..].copy_from_slice(&random.as_bytes()[14..]);
    Builder::from_unix_timestamp_millis(milliseconds, &bits).into_uuid()
}

#[cfg(test)]
mod tests;
