//! A value in a predicate or in statistics, compared within its type.

use std::cmp::Ordering;
use std::fmt;

use crate::decimal;
use crate::time;

/// A value in a predicate, in the unit of its column's type.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// true or false.
    Boolean(bool),
    /// A byte, short, integer or long.
    Long(i64),
    /// A float or double.
    Double(f64),
    /// A decimal: `unscaled * 10^-scale`.
    Decimal(i128, i8),
    /// Text.
    String(String),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970 (UTC for timestamp, local for timestampNtz).
    Timestamp(i64),
}

impl PartialOrd for Literal {
    /// `None` between different types and when a NaN is involved: the order is unknown.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        use Literal::*;
        match (self, other) {
            (Boolean(a), Boolean(b)) => a.partial_cmp(b),
            (Long(a), Long(b)) => a.partial_cmp(b),
            (Double(a), Double(b)) => a.partial_cmp(b),
            (String(a), String(b)) => a.partial_cmp(b),
            (Date(a), Date(b)) => a.partial_cmp(b),
            (Timestamp(a), Timestamp(b)) => a.partial_cmp(b),
            (Decimal(a, s), Decimal(b, t)) if s == t => a.partial_cmp(b),
            (Decimal(a, s), Decimal(b, t)) => {
                let up = |x: i128, by: i32| 10_i128.checked_pow(u32::try_from(by).ok()?)?.checked_mul(x);
                let (s, t) = (i32::from(*s), i32::from(*t));
                up(*a, (t - s).max(0))?.partial_cmp(&up(*b, (s - t).max(0))?)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Literal {
    /// The SQL literal. Times are truncated to milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Boolean(b) => write!(f, "{b}"),
            Literal::Long(n) => write!(f, "{n}"),
            Literal::Double(x) => write!(f, "{x}"),
            Literal::Decimal(n, scale) => f.write_str(&decimal::to_json(*n, *scale)),
            Literal::String(s) => f.write_str(&quoted(s)),
            Literal::Date(days) => {
                let midnight = time::format_ms(i64::from(*days) * 86_400_000);
                write!(f, "DATE '{}'", midnight.split('T').next().unwrap_or_default())
            }
            Literal::Timestamp(micros) => write!(f, "TIMESTAMP '{}'", time::format_ms(micros.div_euclid(1000))),
        }
    }
}

/// A text, quoted for SQL.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
