//! Literals of SQL as values of a column, exactly: a literal that would lose digits is none of the column's type.

use std::fmt;

use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, Datelike, NaiveDate, SecondsFormat, Utc};
use deltalakedb_log::predicate;
use deltalakedb_log::schema::PrimitiveType;
use deltalakedb_table::datafusion::common::ScalarValue;
use deltalakedb_table::datafusion::sql::sqlparser::ast::{
    DataType as SqlType, Expr, TypedString, UnaryOperator, Value,
};

use crate::column_type::UTC;

/// A literal as SQL spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Literal {
    /// A number, `TRUE` or `FALSE`.
    Bare(String),
    /// A text within quotes.
    Quoted(String),
    /// Hexadecimal digits: `X'00FF'`.
    Hex(String),
    /// `DATE '2024-01-31'`.
    Date(String),
    /// `TIMESTAMP '2024-01-31T12:00:00'`.
    Timestamp(String),
}

impl Literal {
    /// The literal that an expression is; `None` for other expressions.
    pub(crate) fn of_expr(expr: &Expr) -> Option<Self> {
        match expr {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, false) => Some(Self::Bare(digits.clone())),
                Value::Boolean(value) => Some(Self::Bare(value.to_string())),
                Value::SingleQuotedString(text)
                | Value::EscapedStringLiteral(text)
                | Value::UnicodeStringLiteral(text) => Some(Self::Quoted(text.clone())),
                Value::DollarQuotedString(text) => Some(Self::Quoted(text.value.clone())),
                Value::HexStringLiteral(digits) => Some(Self::Hex(digits.clone())),
                _ => None,
            },
            Expr::UnaryOp { op: op @ (UnaryOperator::Minus | UnaryOperator::Plus), expr } => match expr.as_ref() {
                Expr::Value(value) => match &value.value {
                    Value::Number(digits, false) if *op == UnaryOperator::Minus => {
                        Some(Self::Bare(format!("-{digits}")))
                    }
                    Value::Number(digits, false) => Some(Self::Bare(digits.clone())),
                    _ => None,
                },
                _ => None,
            },
            Expr::TypedString(TypedString {
                data_type: data_type @ (SqlType::Date | SqlType::Timestamp(..)),
                value,
                ..
            }) => {
                let text = value.value.clone().into_string()?;
                Some(if *data_type == SqlType::Date { Self::Date(text) } else { Self::Timestamp(text) })
            }
            _ => None,
        }
    }

    /// The literal for a value; `None` for null, and for types that columns cannot have.
    pub(crate) fn of_value(value: &ScalarValue) -> Option<Self> {
        use ScalarValue as S;
        let float = |x: f64, text: String| {
            if x == 0.0 && x.is_sign_negative() {
                Literal::Bare("-0e0".into())
            } else if x.is_finite() {
                Literal::Bare(text)
            } else if x.is_nan() {
                Literal::Quoted("NaN".into())
            } else if x > 0.0 {
                Literal::Quoted("Infinity".into())
            } else {
                Literal::Quoted("-Infinity".into())
            }
        };
        Some(match value {
            S::Boolean(value) => Self::Bare(value.as_ref()?.to_string()),
            S::Int8(n) => Self::Bare(n.as_ref()?.to_string()),
            S::Int16(n) => Self::Bare(n.as_ref()?.to_string()),
            S::Int32(n) => Self::Bare(n.as_ref()?.to_string()),
            S::Int64(n) => Self::Bare(n.as_ref()?.to_string()),
            // The shortest text that is parsed as the same number.
            S::Float32(x) => float(f64::from((*x)?), format!("{:?}", (*x)?)),
            S::Float64(x) => float((*x)?, format!("{:?}", (*x)?)),
            S::Decimal128(units, _, scale) => Self::Bare(predicate::Literal::Decimal((*units)?, *scale).to_string()),
            S::Utf8(text) => Self::Quoted(text.clone()?),
            S::Binary(bytes) => Self::Hex(bytes.as_ref()?.iter().map(|byte| format!("{byte:02X}")).collect()),
            S::Date32(days) => Self::Quoted(date(i64::from((*days)?))?.to_string()),
            S::TimestampMicrosecond(micros, zone) => {
                let time = DateTime::<Utc>::from_timestamp_micros((*micros)?)?;
                Self::Quoted(match zone {
                    Some(_) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
                    None => time.naive_utc().format("%Y-%m-%dT%H:%M:%S%.f").to_string(),
                })
            }
            _ => return None,
        })
    }

    /// The literal as a value of this type; `None` if it is not exactly one.
    pub(crate) fn to_value(&self, data_type: &DataType) -> Option<ScalarValue> {
        use ScalarValue as S;
        match (data_type, self) {
            (DataType::Utf8, Self::Quoted(text)) => return Some(S::Utf8(Some(text.clone()))),
            (DataType::Binary, Self::Hex(digits)) => return Some(S::Binary(Some(bytes_of(digits)?))),
            _ => {}
        }
        let (text, is_quoted) = match self {
            Self::Bare(text) => (text.as_str(), false),
            Self::Quoted(text) => (text.as_str(), true),
            Self::Date(text) if matches!(data_type, DataType::Date32 | DataType::Timestamp(..)) => {
                (text.as_str(), true)
            }
            Self::Timestamp(text) if matches!(data_type, DataType::Timestamp(..)) => (text.as_str(), true),
            Self::Hex(_) | Self::Date(_) | Self::Timestamp(_) => return None,
        };
        Some(match data_type {
            DataType::Boolean => S::Boolean(Some(text.to_ascii_lowercase().parse().ok()?)),
            DataType::Int8 => S::Int8(Some(text.parse().ok()?)),
            DataType::Int16 => S::Int16(Some(text.parse().ok()?)),
            DataType::Int32 => S::Int32(Some(text.parse().ok()?)),
            DataType::Int64 => S::Int64(Some(text.parse().ok()?)),
            DataType::Float32 => {
                let x: f32 = text.parse().ok()?;
                let x = if is_decimal_zero(self, f64::from(x)) { 0.0 } else { x };
                is_float_of(text, f64::from(x)).then_some(S::Float32(Some(if x.is_nan() { f32::NAN } else { x })))?
            }
            DataType::Float64 => {
                let x: f64 = text.parse().ok()?;
                let x = if is_decimal_zero(self, x) { 0.0 } else { x };
                is_float_of(text, x).then_some(S::Float64(Some(if x.is_nan() { f64::NAN } else { x })))?
            }
            DataType::Decimal128(precision, scale) => {
                match PrimitiveType::Decimal(*precision, *scale).parse_partition_value(text)? {
                    predicate::Literal::Decimal(units, _) => {
                        let limit = 10_u128.checked_pow(u32::from(*precision))?;
                        (units.unsigned_abs() < limit).then_some(S::Decimal128(Some(units), *precision, *scale))?
                    }
                    _ => return None,
                }
            }
            DataType::Date32 if is_quoted => match PrimitiveType::Date.parse_partition_value(text)? {
                predicate::Literal::Date(days) if is_common_year(date(i64::from(days))?) => S::Date32(Some(days)),
                _ => return None,
            },
            DataType::Timestamp(TimeUnit::Microsecond, zone) if is_quoted => {
                let has_zone = DateTime::parse_from_rfc3339(text).is_ok();
                match PrimitiveType::Timestamp.parse_partition_value(text)? {
                    predicate::Literal::Timestamp(micros)
                        if is_common_year(DateTime::<Utc>::from_timestamp_micros(micros)?.date_naive())
                            && (zone.is_some() || !has_zone)
                            && has_microseconds_at_most(text) =>
                    {
                        S::TimestampMicrosecond(Some(micros), zone.as_ref().map(|_| UTC.into()))
                    }
                    _ => return None,
                }
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bare(text) => f.write_str(text),
            Self::Quoted(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Self::Hex(digits) => write!(f, "X'{digits}'"),
            Self::Date(text) => write!(f, "DATE {}", Self::Quoted(text.clone())),
            Self::Timestamp(text) => write!(f, "TIMESTAMP {}", Self::Quoted(text.clone())),
        }
    }
}

/// Whether a literal is a number without an exponent, which is a decimal, and zero: decimals have no negative zero.
fn is_decimal_zero(literal: &Literal, x: f64) -> bool {
    x == 0.0 && matches!(literal, Literal::Bare(digits) if !digits.contains(['e', 'E']))
}

/// Whether a text that was parsed as `x` spells that number: digits do not spell infinity.
fn is_float_of(text: &str, x: f64) -> bool {
    x.is_finite() || !text.bytes().any(|byte| byte.is_ascii_digit())
}

/// Whether the seconds have no digits after the sixth one, apart from zeros.
fn has_microseconds_at_most(text: &str) -> bool {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit);
    digits.skip(6).all(|digit| digit == b'0')
}

fn date(days: i64) -> Option<NaiveDate> {
    NaiveDate::default().checked_add_signed(chrono::TimeDelta::try_days(days)?)
}

/// The years that all readers of Delta tables know.
fn is_common_year(date: NaiveDate) -> bool {
    (1..=9999).contains(&date.year())
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}
