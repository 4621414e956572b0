//! The history of a table as `deltalake` gives it.

use deltalakedb_log::{Commit, HistoryRange, Result, TxnLogError, Version};
use deltalakedb_table::DeltaTable;
use serde_json::{Value, json};

/// The commitInfo of the newest versions, newest first.
pub(crate) async fn history(table: &DeltaTable, newest: Version, limit: Option<u64>) -> Result<Vec<String>> {
    let reader = table.reader().await?;
    let later = reader.head().await?.version.saturating_sub(newest);
    let range = HistoryRange { limit: limit.map(|limit| limit.saturating_add(later)), ..Default::default() };
    let mut all = Vec::new();
    for summary in reader.history(range).await?.into_iter().filter(|c| c.version <= newest) {
        let bytes = reader.commit_bytes(summary.version).await?;
        let commit = bytes.map(|bytes| Commit::parse(bytes, "a stored commit")).transpose()?;
        let info = commit.as_ref().and_then(|c| c.info()).map(|info| info.0.to_json());
        let mut info: Value = match info {
            Some(info) => serde_json::from_str(&info)
                .map_err(|e| TxnLogError::corrupt("a commitInfo is not JSON").with_source(e))?,
            None => json!({"timestamp": summary.timestamp, "operation": summary.operation}),
        };
        if info.get("timestamp").is_none_or(Value::is_null) {
            info["timestamp"] = summary.timestamp.into();
        }
        info["version"] = summary.version.into();
        all.push(info.to_string());
    }
    Ok(all)
}
