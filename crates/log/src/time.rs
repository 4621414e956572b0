//! Times as text: RFC 3339 in UTC, as people type and read them.

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat};

use crate::error::{Result, TxnLogError};

/// Milliseconds since 1970 as `2024-01-01T00:00:00.000Z`.
pub fn format_ms(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms)
        .map_or_else(|| format!("{ms} ms"), |t| t.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// Milliseconds since 1970 of `2024-01-01T00:00:00Z` (any zone), `2024-01-01 00:00:00` (UTC) or `2024-01-01`.
pub fn parse_ms(text: &str) -> Result<i64> {
    let text = text.trim();
    if let Ok(t) = DateTime::parse_from_rfc3339(text) {
        return Ok(t.timestamp_millis());
    }
    let naive = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
        .iter()
        .find_map(|f| NaiveDateTime::parse_from_str(text, f).ok())
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|d| d.and_hms_opt(0, 0, 0)));
    naive.map(|t| t.and_utc().timestamp_millis()).ok_or_else(|| {
        TxnLogError::invalid(format!(
            "{text:?} is not a time: expected RFC 3339 such as 2024-01-31T12:00:00Z, or a date such as 2024-01-31"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        for (text, ms) in [
            ("1970-01-01T00:00:01.500Z", 1500),
            ("1970-01-01T01:00:01.5+01:00", 1500),
            ("1970-01-01 00:00:01.5", 1500),
            ("1970-01-02", 86_400_000),
        ] {
            assert_eq!(parse_ms(text).unwrap(), ms, "{text}");
        }
        assert_eq!(parse_ms(&format_ms(1_700_000_000_123)).unwrap(), 1_700_000_000_123);
        assert!(parse_ms("yesterday").unwrap_err().to_string().contains("\"yesterday\" is not a time"));
    }
}
