//! Arrow values as JSON: integers and floats as numbers; decimals, dates, times and values that JSON cannot represent
//! as strings.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, DecimalType, TimeUnit};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Decimal256Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use base64::Engine;
use chrono::DateTime;
use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use serde_json::{Map, Value};

/// The value at `row`.
pub(crate) fn json(array: &ArrayRef, row: usize) -> Result<Value> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float16 => float(array.as_primitive::<Float16Type>().value(row).to_f64()),
        DataType::Float32 => float32(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => decimal::<Decimal128Type>(array, row, *scale),
        DataType::Decimal256(_, scale) => decimal::<Decimal256Type>(array, row, *scale),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::Binary => base64(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => base64(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => base64(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => base64(array.as_fixed_size_binary().value(row)),
        DataType::Date32 => date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(unit, zone) => timestamp(array, row, *unit, zone.is_some())?,
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let members = fields.iter().zip(columns).map(|(f, c)| Ok((f.name().clone(), json(c, row)?)));
            Value::Object(members.collect::<Result<Map<_, _>>>()?)
        }
        DataType::Map(..) => {
            let entry = array.as_map().value(row);
            let (keys, values) = (entry.column(0), entry.column(1));
            let members = (0..entry.len()).map(|i| {
                let key = match json(keys, i)? {
                    Value::String(s) => s,
                    other => other.to_string(),
                };
                Ok((key, json(values, i)?))
            });
            Value::Object(members.collect::<Result<Map<_, _>>>()?)
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row))?,
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row))?,
        DataType::Dictionary(_, values) => {
            let plain = arrow::compute::cast(&array.slice(row, 1), values).map_err(unprintable)?;
            json(&plain, 0)?
        }
        other => {
            return Err(TxnLogError::invalid(format!(
                "values of type {other} cannot be printed: leave the column out"
            )));
        }
    })
}

fn unprintable(e: arrow::error::ArrowError) -> TxnLogError {
    TxnLogError::new(ErrorKind::Internal, "a value cannot be printed").with_source(e)
}

fn list(values: &ArrayRef) -> Result<Value> {
    (0..values.len()).map(|i| json(values, i)).collect::<Result<Vec<_>>>().map(Value::Array)
}

fn float(x: f64) -> Value {
    match serde_json::Number::from_f64(x) {
        Some(number) => Value::Number(number),
        None if x.is_nan() => "NaN".into(),
        None if x > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

/// The shortest decimal that parses to the same float: 0.1, not 0.10000000149011612.
fn float32(x: f32) -> Value {
    if x.is_finite() { x.to_string().parse().map_or(Value::Null, float) } else { float(x.into()) }
}

/// Arrow cuts off the digits that a precision has no room for, so a value gets the greatest precision.
fn decimal<T: DecimalType>(array: &ArrayRef, row: usize, scale: i8) -> Value {
    T::format_decimal(array.as_primitive::<T>().value(row), u8::MAX, scale).into()
}

fn base64(bytes: &[u8]) -> Value {
    base64::engine::general_purpose::STANDARD.encode(bytes).into()
}

fn date(days: i32) -> Value {
    let date = DateTime::from_timestamp(i64::from(days) * 86_400, 0);
    date.map_or_else(|| format!("{days} days").into(), |d| d.format("%Y-%m-%d").to_string().into())
}

fn timestamp(array: &ArrayRef, row: usize, unit: TimeUnit, zoned: bool) -> Result<Value> {
    let int64 = arrow::compute::cast(&array.slice(row, 1), &DataType::Int64).map_err(unprintable)?;
    let value = int64.as_primitive::<Int64Type>().value(0);
    let time = match unit {
        TimeUnit::Second => DateTime::from_timestamp(value, 0),
        TimeUnit::Millisecond => DateTime::from_timestamp_millis(value),
        TimeUnit::Microsecond => DateTime::from_timestamp_micros(value),
        TimeUnit::Nanosecond => Some(DateTime::from_timestamp_nanos(value)),
    };
    let format = if zoned { "%Y-%m-%dT%H:%M:%S%.6fZ" } else { "%Y-%m-%dT%H:%M:%S%.6f" };
    Ok(time.map_or_else(|| format!("{value} {unit:?}").into(), |t| t.format(format).to_string().into()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Float32Array, Float64Array, Int64Array, TimestampMicrosecondArray};

    use super::*;

    fn check(array: impl Array + 'static, want: &str) {
        let array: ArrayRef = Arc::new(array);
        let got = (0..array.len()).map(|i| json(&array, i).unwrap()).collect::<Vec<_>>();
        assert_eq!(Value::Array(got).to_string(), want);
    }

    #[test]
    fn values_are_exact() {
        check(Int64Array::from(vec![Some(9_007_199_254_740_993), None]), "[9007199254740993,null]");
        check(
            Float64Array::from(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.5]),
            r#"["NaN","Infinity","-Infinity",0.5]"#,
        );
        check(Float32Array::from(vec![0.1]), "[0.1]");
        let decimals = |v: Vec<i128>, p, s| Decimal128Array::from(v).with_precision_and_scale(p, s).unwrap();
        check(decimals(vec![5, -5, 12345], 10, 2), r#"["0.05","-0.05","123.45"]"#);
        check(decimals(vec![7], 10, 0), r#"["7"]"#);
        check(decimals(vec![7, -120, 0], 10, -2), r#"["700","-12000","000"]"#);
        check(decimals(vec![-12345], 3, 2), r#"["-123.45"]"#);
        let times = TimestampMicrosecondArray::from(vec![1_704_067_200_000_001]);
        check(times.clone(), r#"["2024-01-01T00:00:00.000001"]"#);
        check(times.with_timezone("UTC"), r#"["2024-01-01T00:00:00.000001Z"]"#);
    }
}
