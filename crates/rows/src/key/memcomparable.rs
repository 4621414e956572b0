//! Values as bytes in their order.
//!
//! | type | bytes |
//! |---|---|
//! | boolean | 0 or 1 |
//! | byte, short, integer, long, date, timestamp, timestamp_ntz | big-endian, with the sign bit inverted |
//! | decimal | its unscaled value likewise, in the bytes that its precision needs |
//! | float, double | big-endian; all bits of a negative number inverted, otherwise the sign bit |
//! | string, binary | the bytes, where 0 is replaced by 1 1 and 1 by 1 2; then 0 as the end |
//!
//! The encodings of two different values of a type differ before either ends.

use std::borrow::Cow;

use crate::column_type::{ColumnType, fits_precision, max_units};

/// Ends a string or binary value.
const END: u8 = 0;
/// Precedes the replacement of the bytes [`END`] and [`ESCAPE`].
const ESCAPE: u8 = 1;

/// Appends the signed integer of `WIDTH` bytes, given big-endian.
pub(super) fn put_signed<const WIDTH: usize>(mut big_endian: [u8; WIDTH], out: &mut Vec<u8>) {
    big_endian[0] ^= 0x80;
    out.extend_from_slice(&big_endian);
}

/// Appends a float. The two zeros are one value, and so are all NaN, which are greater than every number.
pub(super) fn put_float(value: f32, out: &mut Vec<u8>) {
    let value = if value.is_nan() { f32::NAN.abs() } else { value + 0.0 };
    let bits = value.to_bits();
    let bits = if value.is_sign_negative() { !bits } else { bits ^ 1 << 31 };
    out.extend_from_slice(&bits.to_be_bytes());
}

/// Appends a double, as [`put_float`] does.
pub(super) fn put_double(value: f64, out: &mut Vec<u8>) {
    let value = if value.is_nan() { f64::NAN.abs() } else { value + 0.0 };
    let bits = value.to_bits();
    let bits = if value.is_sign_negative() { !bits } else { bits ^ 1 << 63 };
    out.extend_from_slice(&bits.to_be_bytes());
}

/// Appends the unscaled value of a decimal. Values beyond the precision are not checked.
pub(super) fn put_decimal(units: i128, precision: u8, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&units.to_be_bytes()[16 - decimal_width(precision)..]);
    out[start] ^= 0x80;
}

/// Appends a string or binary value.
pub(super) fn put_bytes(mut value: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = value.iter().position(|byte| *byte <= ESCAPE) {
        out.extend_from_slice(&value[..at]);
        out.extend_from_slice(&[ESCAPE, value[at] + 1]);
        value = &value[at + 1..];
    }
    out.extend_from_slice(value);
    out.push(END);
}

/// The bytes of the unscaled values of a precision.
fn decimal_width(precision: u8) -> usize {
    let maximum = max_units(precision);
    (1..16).find(|width| maximum >> (8 * width - 1) == 0).unwrap_or(16)
}

/// Reads values from a key; each `None` means that the bytes are not an encoding of the type.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyReader<'a>(&'a [u8]);

impl<'a> KeyReader<'a> {
    pub(super) fn new(key: &'a [u8]) -> Self {
        Self(key)
    }

    /// What has not been read.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    fn take<const WIDTH: usize>(&mut self) -> Option<[u8; WIDTH]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    pub(super) fn boolean(&mut self) -> Option<bool> {
        match self.take()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    /// The big-endian bytes of a signed integer.
    pub(super) fn signed<const WIDTH: usize>(&mut self) -> Option<[u8; WIDTH]> {
        let mut bytes = self.take::<WIDTH>()?;
        bytes[0] ^= 0x80;
        Some(bytes)
    }

    pub(super) fn float(&mut self) -> Option<f32> {
        let bits = u32::from_be_bytes(self.take()?);
        Some(f32::from_bits(if bits >> 31 == 0 { !bits } else { bits ^ 1 << 31 }))
    }

    pub(super) fn double(&mut self) -> Option<f64> {
        let bits = u64::from_be_bytes(self.take()?);
        Some(f64::from_bits(if bits >> 63 == 0 { !bits } else { bits ^ 1 << 63 }))
    }

    pub(super) fn decimal(&mut self, precision: u8) -> Option<i128> {
        let (bytes, rest) = self.0.split_at_checked(decimal_width(precision))?;
        self.0 = rest;
        let mut units = if bytes[0] & 0x80 == 0 { -1 } else { 0 };
        for (n, byte) in bytes.iter().enumerate() {
            units = units << 8 | i128::from(if n == 0 { byte ^ 0x80 } else { *byte });
        }
        fits_precision(units, precision).then_some(units)
    }

    pub(super) fn bytes(&mut self) -> Option<Cow<'a, [u8]>> {
        let mut value = Cow::Borrowed(&[][..]);
        loop {
            let at = self.0.iter().position(|byte| *byte <= ESCAPE)?;
            let (plain, rest) = self.0.split_at(at);
            match &mut value {
                Cow::Borrowed(value) if value.is_empty() => *value = plain,
                value => value.to_mut().extend_from_slice(plain),
            }
            match rest {
                [ESCAPE, byte @ (1 | 2), rest @ ..] => {
                    value.to_mut().push(byte - 1);
                    self.0 = rest;
                }
                [END, rest @ ..] => {
                    self.0 = rest;
                    return Some(value);
                }
                _ => return None,
            }
        }
    }

    pub(super) fn string(&mut self) -> Option<Cow<'a, str>> {
        Some(match self.bytes()? {
            Cow::Borrowed(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).ok()?),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).ok()?),
        })
    }

    /// Passes over a value without decoding it. Types without an order have no values in keys.
    pub(super) fn skip(&mut self, data_type: &ColumnType) -> Option<()> {
        let width = match data_type {
            ColumnType::Boolean | ColumnType::Byte => 1,
            ColumnType::Short => 2,
            ColumnType::Integer | ColumnType::Float | ColumnType::Date => 4,
            ColumnType::Long | ColumnType::Double | ColumnType::Timestamp | ColumnType::TimestampNtz => 8,
            ColumnType::Decimal { precision, .. } => decimal_width(*precision),
            ColumnType::String | ColumnType::Binary => self.0.iter().position(|byte| *byte == END)? + 1,
            ColumnType::Void | ColumnType::Struct { .. } | ColumnType::Array(_) | ColumnType::Map(_) => return None,
        };
        self.0 = self.0.get(width..)?;
        Some(())
    }
}
