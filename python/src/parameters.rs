//! Values of Python for the placeholders of SQL.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use deltalakedb_log::{Result, TxnLogError};
use deltalakedb_table::Parameters;
use pyo3::prelude::*;

/// The kind of a value, and its text; none for null.
pub(crate) type Value = (String, Option<String>);

/// Values by position, or by name.
#[derive(FromPyObject)]
pub(crate) enum Values {
    Positional(Vec<Value>),
    Named(BTreeMap<String, Value>),
}

/// The parameters of statements.
pub(crate) fn parameters(values: Option<Values>) -> Result<Parameters> {
    match values {
        None => Ok(Parameters::default()),
        Some(Values::Positional(values)) => {
            let values = values.iter().map(scalar).collect::<Result<Vec<_>>>()?;
            Ok(Parameters::from(values))
        }
        Some(Values::Named(values)) => {
            let mut parameters = Parameters::default();
            for (name, value) in values {
                parameters.set(name, scalar(&value)?);
            }
            Ok(parameters)
        }
    }
}

fn scalar((kind, text): &Value) -> Result<ScalarValue> {
    let unusable = || TxnLogError::invalid(format!("a parameter cannot be a {kind} of {text:?}"));
    let Some(text) = text else { return Ok(ScalarValue::Utf8(None)) };
    let data_type = match kind.as_str() {
        "bool" => DataType::Boolean,
        "int" => DataType::Int64,
        "float" => DataType::Float64,
        "str" => DataType::Utf8,
        "bytes" => {
            let (pairs, _) = text.as_bytes().as_chunks::<2>();
            let digit = |digit: u8| char::from(digit).to_digit(16);
            let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok();
            let bytes: Option<Vec<_>> = pairs.iter().map(byte).collect();
            return Ok(ScalarValue::Binary(Some(bytes.ok_or_else(unusable)?)));
        }
        "date" => DataType::Date32,
        "datetime" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "datetime with time zone" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "decimal" => {
            let digits = text.bytes().filter(u8::is_ascii_digit).count();
            let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            let (digits, scale) = (u8::try_from(digits), i8::try_from(scale));
            let (Ok(digits @ 1..=38), Ok(scale)) = (digits, scale) else { return Err(unusable()) };
            DataType::Decimal128(digits, scale)
        }
        _ => return Err(unusable()),
    };
    ScalarValue::try_from_string(text.clone(), &data_type).map_err(|e| unusable().with_source(e))
}
