//! The types of columns: those of Delta that one value has, as Arrow types, and their names in SQL.
//!
//! A name of SQL stands for the same type as in `CREATE TABLE` of a Delta table: `FLOAT` has 32 bits, and `TIMESTAMP` is
//! a point in time, as in Delta.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use deltalakedb_table::datafusion::sql::sqlparser::ast::{DataType as SqlType, ExactNumberInfo, TimezoneInfo};

/// The maximum number of digits of a decimal in Delta.
const MAX_PRECISION: u8 = 38;

/// The types of columns, as the end of an error.
pub(crate) const EXPECTED: &str = "expected BIGINT, INT, SMALLINT, TINYINT, DOUBLE, REAL, DECIMAL(p, s), TEXT, BYTEA, BOOLEAN, DATE, \
                        TIMESTAMP, TIMESTAMP_NTZ or UUID";

/// The time zone of Delta's timestamps.
pub(crate) const UTC: &str = "UTC";

/// The type of points in time: Delta's `timestamp`.
pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from(UTC)))
}

/// Whether columns can have this Arrow type: it is that of a Delta type without nested values.
pub(crate) fn is_column_type(data_type: &DataType) -> bool {
    use DataType as A;
    match data_type {
        A::Boolean
        | A::Int8
        | A::Int16
        | A::Int32
        | A::Int64
        | A::Float32
        | A::Float64
        | A::Utf8
        | A::Binary
        | A::Date32
        | A::Timestamp(TimeUnit::Microsecond, None) => true,
        A::Timestamp(TimeUnit::Microsecond, Some(zone)) => zone.as_ref() == UTC,
        A::Decimal128(precision, scale) => {
            (1..=MAX_PRECISION).contains(precision) && (0..=precision.cast_signed()).contains(scale)
        }
        _ => false,
    }
}

/// The name of a type in SQL.
pub(crate) fn sql_name(data_type: &DataType) -> String {
    use DataType as A;
    match data_type {
        A::Boolean => "BOOLEAN".into(),
        A::Int8 => "TINYINT".into(),
        A::Int16 => "SMALLINT".into(),
        A::Int32 => "INT".into(),
        A::Int64 => "BIGINT".into(),
        A::Float32 => "REAL".into(),
        A::Float64 => "DOUBLE".into(),
        A::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        A::Utf8 => "TEXT".into(),
        A::Binary => "BYTEA".into(),
        A::Date32 => "DATE".into(),
        A::Timestamp(_, Some(_)) => "TIMESTAMP".into(),
        A::Timestamp(_, None) => "TIMESTAMP_NTZ".into(),
        other => other.to_string(),
    }
}

/// The type that a name of SQL stands for; if it is not supported, what to write instead.
///
/// Delta has no type for UUIDs: `UUID` is text, of 36 characters where it is generated.
pub(crate) fn parse_sql_type(sql: &SqlType) -> Result<DataType, String> {
    use SqlType as S;
    let instead = |name: &str| Err(format!("write {name}"));
    match sql {
        S::Boolean | S::Bool => Ok(DataType::Boolean),
        S::TinyInt(None) => Ok(DataType::Int8),
        S::SmallInt(None) | S::Int2(None) => Ok(DataType::Int16),
        S::Int(None) | S::Integer(None) | S::Int4(None) => Ok(DataType::Int32),
        S::BigInt(None) | S::Int8(None) => Ok(DataType::Int64),
        S::TinyInt(_) => instead("TINYINT, without a display width"),
        S::SmallInt(_) | S::Int2(_) => instead("SMALLINT, without a display width"),
        S::Int(_) | S::Integer(_) | S::Int4(_) => instead("INT, without a display width"),
        S::BigInt(_) | S::Int8(_) => instead("BIGINT, without a display width"),
        S::Real | S::Float4 | S::Float32 | S::Float(ExactNumberInfo::None) => Ok(DataType::Float32),
        S::Double(ExactNumberInfo::None) | S::DoublePrecision | S::Float8 | S::Float64 => Ok(DataType::Float64),
        S::Float(_) | S::Double(_) => instead("REAL for 32 bits or DOUBLE for 64"),
        S::Decimal(digits) | S::Numeric(digits) | S::Dec(digits) => parse_decimal(digits),
        S::Text | S::Varchar(None) | S::String(None) | S::CharacterVarying(None) | S::CharVarying(None) => {
            Ok(DataType::Utf8)
        }
        S::Varchar(_) | S::String(_) | S::CharacterVarying(_) | S::CharVarying(_) | S::Char(_) | S::Character(_) => {
            instead("TEXT, because the length of texts is not limited")
        }
        S::Bytea | S::Blob(None) | S::Binary(None) | S::Varbinary(None) => Ok(DataType::Binary),
        S::Blob(_) | S::Binary(_) | S::Varbinary(_) => {
            instead("BYTEA, because the length of binary values is not limited")
        }
        S::Uuid => Ok(DataType::Utf8),
        S::Date => Ok(DataType::Date32),
        S::Timestamp(None | Some(6), TimezoneInfo::None | TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            Ok(timestamp())
        }
        S::Timestamp(None | Some(6), TimezoneInfo::WithoutTimeZone) | S::TimestampNtz(None | Some(6)) => {
            Ok(DataType::Timestamp(TimeUnit::Microsecond, None))
        }
        S::Timestamp(..) | S::TimestampNtz(_) => instead("TIMESTAMP, which has microseconds"),
        S::Datetime(_) => instead("TIMESTAMP"),
        S::Custom(name, _) if is_serial(&name.to_string()) => {
            instead("BIGINT DEFAULT SNOWFLAKE_ID(), which needs no sequence")
        }
        _ => Err(EXPECTED.into()),
    }
}

fn parse_decimal(digits: &ExactNumberInfo) -> Result<DataType, String> {
    let (precision, scale) = match *digits {
        ExactNumberInfo::None => return Err("write the numbers of digits, such as DECIMAL(18, 2)".into()),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    let fits = || {
        let data_type = DataType::Decimal128(u8::try_from(precision).ok()?, i8::try_from(scale).ok()?);
        is_column_type(&data_type).then_some(data_type)
    };
    fits().ok_or_else(|| format!("expected 1 to {MAX_PRECISION} digits, and not more of them after the point"))
}

fn is_serial(name: &str) -> bool {
    ["SERIAL", "BIGSERIAL", "SMALLSERIAL", "SERIAL2", "SERIAL4", "SERIAL8"]
        .iter()
        .any(|serial| name.eq_ignore_ascii_case(serial))
}
