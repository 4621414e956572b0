//! A value of a column of a primary key.

use std::borrow::Cow;
use std::fmt;

use deltalakedb_log::predicate::Literal;

use super::memcomparable::{self as encoding, KeyReader};
use crate::column_type::{ColumnType, fits_precision};

/// A value of a column of a primary key, in the unit of the column's type.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum<'a> {
    /// true or false.
    Boolean(bool),
    /// A byte, short, integer or long.
    Long(i64),
    /// A float or double.
    Double(f64),
    /// A decimal: `unscaled * 10^-scale`.
    Decimal(i128, i8),
    /// Text.
    String(Cow<'a, str>),
    /// Bytes.
    Binary(Cow<'a, [u8]>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970 (UTC for timestamp, local for timestamp_ntz).
    Timestamp(i64),
}

/// Why a value is not one of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// It is of another type.
    Type,
    /// It is beyond the range or the digits of the type.
    Range,
}

impl<'a> Datum<'a> {
    /// Appends the value to a key, as one of the type.
    pub(super) fn put(&self, data_type: &ColumnType, out: &mut Vec<u8>) -> Result<(), Misfit> {
        use ColumnType as T;
        match (data_type, self) {
            (T::Boolean, Self::Boolean(value)) => out.push(u8::from(*value)),
            (T::Byte, Self::Long(n)) => encoding::put_signed(narrowed::<i8>(*n)?.to_be_bytes(), out),
            (T::Short, Self::Long(n)) => encoding::put_signed(narrowed::<i16>(*n)?.to_be_bytes(), out),
            (T::Integer, Self::Long(n)) => encoding::put_signed(narrowed::<i32>(*n)?.to_be_bytes(), out),
            (T::Long, Self::Long(n)) => encoding::put_signed(n.to_be_bytes(), out),
            (T::Float, Self::Double(x)) => {
                let float = *x as f32;
                if f64::from(float) != *x && !x.is_nan() {
                    return Err(Misfit::Range);
                }
                encoding::put_float(float, out);
            }
            (T::Double, Self::Double(x)) => encoding::put_double(*x, out),
            (T::Decimal { precision, scale }, Self::Decimal(units, from)) => {
                let units = rescaled(*units, *from, *scale).ok_or(Misfit::Range)?;
                if !fits_precision(units, *precision) {
                    return Err(Misfit::Range);
                }
                encoding::put_decimal(units, *precision, out);
            }
            (T::String, Self::String(text)) => encoding::put_bytes(text.as_bytes(), out),
            (T::Binary, Self::Binary(bytes)) => encoding::put_bytes(bytes, out),
            (T::Date, Self::Date(days)) => encoding::put_signed(days.to_be_bytes(), out),
            (T::Timestamp | T::TimestampNtz, Self::Timestamp(us)) => encoding::put_signed(us.to_be_bytes(), out),
            _ => return Err(Misfit::Type),
        }
        Ok(())
    }

    /// Reads the next value of a key; `None` if the bytes are not a value of the type.
    pub(super) fn read(data_type: &ColumnType, key: &mut KeyReader<'a>) -> Option<Self> {
        use ColumnType as T;
        Some(match data_type {
            T::Boolean => Self::Boolean(key.boolean()?),
            T::Byte => Self::Long(i8::from_be_bytes(key.signed()?).into()),
            T::Short => Self::Long(i16::from_be_bytes(key.signed()?).into()),
            T::Integer => Self::Long(i32::from_be_bytes(key.signed()?).into()),
            T::Long => Self::Long(i64::from_be_bytes(key.signed()?)),
            T::Float => Self::Double(key.float()?.into()),
            T::Double => Self::Double(key.double()?),
            T::Decimal { precision, scale } => Self::Decimal(key.decimal(*precision)?, scale.cast_signed()),
            T::String => Self::String(key.string()?),
            T::Binary => Self::Binary(key.bytes()?),
            T::Date => Self::Date(i32::from_be_bytes(key.signed()?)),
            T::Timestamp | T::TimestampNtz => Self::Timestamp(i64::from_be_bytes(key.signed()?)),
            T::Void | T::Struct { .. } | T::Array(_) | T::Map(_) => return None,
        })
    }
}

fn narrowed<T: TryFrom<i64>>(n: i64) -> Result<T, Misfit> {
    T::try_from(n).map_err(|_| Misfit::Range)
}

/// The unscaled value at another scale; `None` if that loses digits.
fn rescaled(units: i128, from: i8, to: u8) -> Option<i128> {
    let shift = i32::from(to) - i32::from(from);
    let factor = |shift: u32| 10_i128.checked_pow(shift);
    match u32::try_from(shift) {
        Ok(shift) => units.checked_mul(factor(shift)?),
        Err(_) => {
            let factor = factor(shift.unsigned_abs())?;
            (units % factor == 0).then(|| units / factor)
        }
    }
}

impl<'a> From<&'a Literal> for Datum<'a> {
    fn from(literal: &'a Literal) -> Self {
        match literal {
            Literal::Boolean(value) => Self::Boolean(*value),
            Literal::Long(n) => Self::Long(*n),
            Literal::Double(x) => Self::Double(*x),
            Literal::Decimal(units, scale) => Self::Decimal(*units, *scale),
            Literal::String(text) => Self::String(Cow::Borrowed(text)),
            Literal::Date(days) => Self::Date(*days),
            Literal::Timestamp(us) => Self::Timestamp(*us),
        }
    }
}

impl fmt::Display for Datum<'_> {
    /// The SQL literal. Times are truncated to milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let literal = match self {
            Self::Boolean(value) => Literal::Boolean(*value),
            Self::Long(n) => Literal::Long(*n),
            Self::Double(x) => Literal::Double(*x),
            Self::Decimal(units, scale) => Literal::Decimal(*units, *scale),
            Self::String(text) => Literal::String(text.to_string()),
            Self::Date(days) => Literal::Date(*days),
            Self::Timestamp(us) => Literal::Timestamp(*us),
            Self::Binary(bytes) => {
                f.write_str("X'")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02X}"))?;
                return f.write_str("'");
            }
        };
        literal.fmt(f)
    }
}
