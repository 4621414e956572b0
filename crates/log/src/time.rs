//! Times as text: RFC 3339 in UTC.

use std::time::Duration;

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

/// A length of time as people type it: `500ms`, `60s`, `5m`, `1h`, `7d`, `1h 30m`; seconds without a unit. `None` where it
/// is no such thing, or has more milliseconds than an `i64`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    // humantime reads `M` as a month.
    if text.contains(|c: char| c.is_ascii_uppercase()) {
        return None;
    }
    let seconds = text.parse().map(Duration::from_secs);
    let duration = seconds.or_else(|_| humantime::parse_duration(text)).ok()?;
    i64::try_from(duration.as_millis()).is_ok().then_some(duration)
}

/// A duration as in table properties, such as `interval 1 week 2 days`; `None` for any other text.
pub fn parse_interval(text: &str) -> Option<Duration> {
    let text = text.trim().to_ascii_lowercase();
    let mut words = text.strip_prefix("interval ").unwrap_or(&text).split_whitespace();
    let mut total = None;
    while let Some(number) = words.next() {
        let number: u64 = number.parse().ok()?;
        let seconds = |unit: u64| Duration::from_secs(number.saturating_mul(unit));
        let part = match words.next()?.trim_end_matches('s') {
            "nanosecond" => Duration::from_nanos(number),
            "microsecond" => Duration::from_micros(number),
            "millisecond" => Duration::from_millis(number),
            "second" => seconds(1),
            "minute" => seconds(60),
            "hour" => seconds(60 * 60),
            "day" => seconds(24 * 60 * 60),
            "week" => seconds(7 * 24 * 60 * 60),
            _ => return None,
        };
        total = Some(total.unwrap_or(Duration::ZERO).saturating_add(part));
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_what_they_say() {
        for (text, ms) in
            [("500ms", 500), ("60s", 60_000), ("60", 60_000), ("5m", 300_000), ("1h 30m", 5_400_000), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(parse_duration("7d"), Some(Duration::from_secs(604_800)));
        for wrong in ["", "s", "-1s", "soon", "7 dogs", "1M", "9223372036854775808ms", "300000000000d"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn intervals_are_parsed() {
        let check = |text: &str, want: Option<f64>| {
            assert_eq!(parse_interval(text), want.map(Duration::from_secs_f64), "{text}");
        };
        check("interval 1 week", Some(604_800.0));
        check("INTERVAL 2 Days 12 hours", Some(2.5 * 86_400.0));
        check("  30 minutes 250 milliseconds", Some(1_800.25));
        assert_eq!(parse_interval("interval 10000000000000000000 weeks"), Some(Duration::from_secs(u64::MAX)));
        for wrong in ["", "interval", "interval 3", "7", "interval -3 days", "interval 3 months", "3 days ago"] {
            check(wrong, None);
        }
    }

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
