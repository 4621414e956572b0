//! Floats of new rows: one NaN, and in keys one zero.
//!
//! Values that are equal in a table have the same bits in it, so that they compare alike in hot rows, in files, and as
//! literals of lookups.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use deltalakedb_log::{ErrorKind, Result, TxnLogError};

use crate::row_table::RowTable;

/// The rows with one NaN in each column of floats, and one zero in those of the key.
pub(crate) fn normalized(table: &RowTable, rows: &RecordBatch) -> Result<RecordBatch> {
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns()).map(|(field, values)| {
        let is_key = table.definition.key_columns().any(|column| column.name() == field.name());
        column(values, is_key)
    });
    let columns = columns.collect();
    RecordBatch::try_new(schema, columns)
        .map_err(|e| TxnLogError::new(ErrorKind::Internal, "the floats of new rows do not fit").with_source(e))
}

fn column(values: &ArrayRef, is_key: bool) -> ArrayRef {
    match values.data_type() {
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>();
            let one = |x: f64| {
                if x.is_nan() {
                    f64::NAN
                } else if is_key && x == 0.0 {
                    0.0
                } else {
                    x
                }
            };
            Arc::new(values.unary::<_, Float64Type>(one)) as Arc<Float64Array>
        }
        DataType::Float32 => {
            let values = values.as_primitive::<Float32Type>();
            let one = |x: f32| {
                if x.is_nan() {
                    f32::NAN
                } else if is_key && x == 0.0 {
                    0.0
                } else {
                    x
                }
            };
            Arc::new(values.unary::<_, Float32Type>(one)) as Arc<Float32Array>
        }
        _ => values.clone(),
    }
}
