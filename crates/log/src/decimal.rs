//! Decimals in JSON, parsed exactly, and bounds that a writer may have rounded.
//!
//! A decimal in a file's statistics is a JSON number. Some writers, delta-rs among them, convert it through a double,
//! which keeps 15 digits and rounds longer decimals up or down. A reader that trusts such a bound skips files that hold
//! the value. So a bound that may have been a double is widened by more than a double can have lost; with up to 15
//! digits that is nothing.

pub use crate::inexact_bounds::{InexactBounds, set_bounds};

/// Which bound of a column's values a statistic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// No value is less.
    Lower,
    /// No value is greater.
    Upper,
}

/// The maximum number of digits in the shortest text of a double.
const TEXT_OF_A_DOUBLE: usize = 17;
/// The error of a double made from a decimal, and written as its shortest text, is less than the decimal shifted right
/// by so many bits: it is at most seven roundings of 2^-53 each.
const ERROR_BITS: u32 = 50;

/// A number as its text spells it: its digits, without zeros at either end, times a power of ten.
struct Number {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Number {
    fn parse(text: &str) -> Option<Self> {
        let (negative, magnitude) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match magnitude.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?.into()),
            None => (magnitude, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let digits = all.trim_end_matches('0');
        let exponent = exponent - fraction.len() as i64 + (all.len() - digits.len()) as i64;
        Some(Self { negative, digits: digits.trim_start_matches('0').to_string(), exponent })
    }

    /// The magnitude in units of the scale, truncated, and whether that is exact; `None` beyond 38 digits.
    fn units(&self, scale: i8) -> Option<(i128, bool)> {
        let Some(shift) = Some(self.exponent + i64::from(scale)).filter(|_| !self.digits.is_empty()) else {
            return Some((0, true));
        };
        if shift < 0 {
            let kept = usize::try_from(self.digits.len() as i64 + shift).unwrap_or(0);
            return Some((if kept == 0 { 0 } else { self.digits[..kept].parse().ok()? }, false));
        }
        let factor = 10_i128.checked_pow(u32::try_from(shift).ok()?)?;
        Some((self.digits.parse::<i128>().ok()?.checked_mul(factor)?, true))
    }

    fn signed(&self, magnitude: i128) -> i128 {
        if self.negative { -magnitude } else { magnitude }
    }

    /// Whether the text can be that of a double: few digits, or the exact integer value of a double.
    fn may_have_been_a_double(&self) -> bool {
        let is_whole_double = || self.units(0).is_some_and(|(n, exact)| exact && n as f64 as i128 == n);
        self.digits.len() <= TEXT_OF_A_DOUBLE || is_whole_double()
    }
}

/// The decimal in units of the scale; `None` when the text has more fractional digits than the scale.
pub(crate) fn parse(text: &str, scale: i8) -> Option<i128> {
    let number = Number::parse(text)?;
    number.units(scale).filter(|(_, exact)| *exact).map(|(magnitude, _)| number.signed(magnitude))
}

/// The bound for decimals of this precision and scale, in units of the scale.
pub(crate) fn parse_bound(text: &str, precision: u8, scale: i8, bound: Bound) -> Option<i128> {
    let number = Number::parse(text)?;
    let (magnitude, exact) = number.units(scale)?;
    let error = if number.may_have_been_a_double() { magnitude >> ERROR_BITS } else { 0 };
    let value = number.signed(magnitude);
    // Truncation is towards zero, which widens one of the two bounds.
    let cut = i128::from(!exact);
    let moved = match bound {
        // delta-rs clamps values beyond 64 bits to the limits of `i64`.
        Bound::Lower if scale == 0 && value == i64::MIN.into() => return None,
        Bound::Upper if scale == 0 && value == i64::MAX.into() => return None,
        Bound::Lower => value.checked_sub(error + if number.negative { cut } else { 0 })?,
        Bound::Upper => value.checked_add(error + if number.negative { 0 } else { cut })?,
    };
    let limit = 10_i128.checked_pow(precision.into())? - 1;
    Some(moved.clamp(-limit, limit))
}

/// A decimal as an exact JSON number.
pub fn to_json(units: i128, scale: i8) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let digits = units.unsigned_abs().to_string();
    match usize::try_from(scale) {
        Ok(0) => format!("{sign}{digits}"),
        Ok(scale) => {
            let digits = format!("{digits:0>width$}", width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            format!("{sign}{whole}.{fraction}")
        }
        Err(_) => format!("{sign}{digits}{}", "0".repeat(usize::from(scale.unsigned_abs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_parsed_exactly() {
        let check = |text: &str, scale, want| assert_eq!(parse(text, scale), want, "{text}");
        check("1.10", 2, Some(110));
        check("-1.1", 2, Some(-110));
        check("12345678901234567890123456789012345678", 0, Some(12345678901234567890123456789012345678));
        check("1.105", 2, None);
        check("1.100", 2, Some(110));
        check("1e5", 2, Some(10_000_000));
        check("1.5E-7", 8, Some(15));
        check("-0.0", 2, Some(0));
        check("00.50", 1, Some(5));
        check("1e99", 2, None);
        for text in ["", "-", ".", "1e", "1.2.3", "NaN", "1_0"] {
            check(text, 2, None);
        }
    }

    #[test]
    fn bounds_that_may_have_been_doubles_are_widened() {
        use Bound::*;
        let check = |text: &str, (precision, scale), bound, want: &str| {
            let got = parse_bound(text, precision, scale, bound).map(|units| to_json(units, scale));
            assert_eq!(got.as_deref().unwrap_or("none"), want, "{text} {bound:?}");
        };
        // Up to 15 digits nothing is lost.
        check("123456789012345", (15, 0), Lower, "123456789012345");
        check("1.1", (38, 10), Upper, "1.1000000000");
        // 12345678901234567.89 as a double.
        check("1.2345678901234568e16", (20, 2), Lower, "12345678901234557.04");
        check("12345678901234568", (20, 2), Upper, "12345678901234578.96");
        check("-12345678901234568.0", (20, 2), Lower, "-12345678901234578.96");
        // 2^53 + 1 as an integer that was converted through a double.
        check("9007199254740992", (16, 0), Upper, "9007199254741000");
        check("1234567890123456768", (38, 0), Lower, "1234567890123455672");
        // More digits than a double has: the writer was exact.
        check("1234567890123456789", (38, 0), Lower, "1234567890123456789");
        check("1234567890123456789012345678.0123456789", (38, 10), Upper, "1234567890123456789012345678.0123456789");
        // No bound exceeds the range of the type, and none is narrowed.
        check("1e18", (18, 0), Upper, "999999999999999999");
        check("-1e18", (18, 0), Lower, "-999999999999999999");
        check("0.30000000000000004", (20, 2), Upper, "0.31");
        check("0.30000000000000004", (20, 2), Lower, "0.30");
        check("-0.30000000000000004", (20, 2), Lower, "-0.31");
        // The limit of delta-rs.
        check("9223372036854775807", (38, 0), Upper, "none");
        check("9223372036854775807", (38, 0), Lower, "9223372036854775807");
        check("-9223372036854775808", (38, 0), Lower, "none");
    }

    /// Every decimal is within the bounds that delta-rs writes for it, after they are parsed.
    #[test]
    fn widened_bounds_contain_every_decimal() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200_000 {
            let precision = random.u8(1..=38);
            let scale = random.u8(0..=precision) as i8;
            let limit = 10_i128.pow(random.u32(0..=precision.into()));
            let units = random.i128(-limit + 1..limit);
            // The conversion of delta-rs: `StatsScalar::try_from_stats`.
            let mut double = units as f64 / 10_f64.powi(scale.into());
            let nearest = double;
            if double.is_normal() && (double.trunc() as i128).to_string().len() > usize::from(precision - scale as u8) {
                double = f64::from_bits(double.to_bits() - 1);
            }
            let json = if scale == 0 {
                serde_json::json!(double.round() as i64).to_string()
            } else {
                serde_json::json!(double).to_string()
            };
            let lower = parse_bound(&json, precision, scale, Bound::Lower);
            let upper = parse_bound(&json, precision, scale, Bound::Upper);
            assert!(
                lower.is_none_or(|lower| lower <= units) && upper.is_none_or(|upper| upper >= units),
                "{units} ({precision}, {scale}) as {json}: {lower:?} {upper:?}"
            );
            // Larger powers of ten are not exact as doubles.
            if units.unsigned_abs() < 10_u128.pow(15) && scale <= 22 && double == nearest {
                assert_eq!((lower, upper), (Some(units), Some(units)), "({precision}, {scale}) as {json}");
            }
        }
    }
}
