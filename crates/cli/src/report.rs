//! Texts about tables and numbers that several commands print.

use deltalakedb_log::{ErrorKind, MirrorState, Result, TableEntry, TxnLogError, time};
use serde_json::{Value, json};

/// `1 file`, `2 files`.
pub(crate) fn counted(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
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
