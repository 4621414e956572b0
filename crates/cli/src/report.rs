//! Texts about tables and numbers that several commands print.

use std::time::Duration;

use deltalakedb_log::{ErrorKind, MirrorState, Result, TableEntry, TxnLogError, time};
use indicatif::HumanBytes;
use serde_json::{Value, json};

/// `1 file`, `2 files`.
pub(crate) fn counted(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// A number of bytes for people: `596 B`, `1.56 KiB`.
pub(crate) fn byte_count(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// A duration for people: `0s`, `2m 5s`; milliseconds only where they matter.
pub(crate) fn duration(ms: u64) -> String {
    let ms = if ms < 10_000 { ms } else { ms / 1000 * 1000 };
    humantime::format_duration(Duration::from_millis(ms)).to_string()
}

pub(crate) fn iso(ms: i64) -> String {
    let text = time::format_ms(ms);
    text.strip_suffix('Z').map_or(text.clone(), |t| format!("{t}000Z"))
}

pub(crate) fn entry_json(t: &TableEntry) -> Value {
    json!({
        "name": t.name.to_string(),
        "location": t.location.to_string(),
        "version": t.current_version,
        "timestamp": iso(t.current_timestamp),
        "baseVersion": t.base_version,
        "publishedVersion": t.published_version,
        "mirror": mirror_word(t),
    })
}

pub(crate) fn mirror_word(t: &TableEntry) -> String {
    match &t.mirror {
        MirrorState::Diverged { version, .. } => format!("diverged at version {version}"),
        MirrorState::Following if t.published_version == Some(t.current_version) => "up to date".into(),
        MirrorState::Following => "behind".into(),
    }
}

pub(crate) fn raw(text: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|e| TxnLogError::new(ErrorKind::Internal, "an action cannot be written as JSON").with_source(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_round_numbers() {
        for (bytes, expected) in [(0, "0 B"), (1023, "1023 B"), (1596, "1.56 KiB"), (5 << 30, "5.00 GiB")] {
            assert_eq!(byte_count(bytes), expected);
        }
        for (ms, expected) in [(0, "0s"), (1500, "1s 500ms"), (65_432, "1m 5s"), (90_061_000, "1day 1h 1m 1s")] {
            assert_eq!(duration(ms), expected);
        }
    }
}
