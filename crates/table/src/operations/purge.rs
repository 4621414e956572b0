//! Purge: files that have a deletion vector are rewritten without the rows that it hides.

use std::time::Instant;

use deltalakedb_log::action::{Action, Add, CommitInfo, Remove};
use deltalakedb_log::{Object, Result, canonical_path};
use serde_json::json;

use super::rewrite::{Rewritten, rewrite};
use crate::delta_rs::{FullTable, LogView, PartitionFilter, StagedCommit, load_masks};

/// Rewrites the files of matching partitions that have a deletion vector.
pub(super) async fn purge(state: &LogView, table: &str, partitions: &[PartitionFilter]) -> Result<StagedCommit> {
    let began = Instant::now();
    let mut files = state.files(None).await?;
    files.retain(|add| add.deletion_vector.is_some());
    if !partitions.is_empty() {
        let within = FullTable::open(state).await?.paths_in(partitions).await?;
        files.retain(|add| within.contains(&canonical_path(&add.path)));
    }
    let now = state.options.clock.now_ms();
    let removes: Vec<_> = files.iter().map(|add| Action::Remove(Remove::of(add, now, false))).collect();
    let removed_bytes: i64 = files.iter().map(|add| add.size).sum();
    let files = load_masks(files, &state.location, &state.options.stores).await?;
    let purged: u64 = files.iter().map(|file| file.hidden.len()).sum();
    let Rewritten { adds, files, rows } = rewrite(state, table, files).await?;
    let metrics = json!({
        "numFilesAdded": adds.len(),
        "numFilesRemoved": removes.len(),
        "numBytesAdded": adds.iter().map(|add| add.size).sum::<i64>(),
        "numBytesRemoved": removed_bytes,
        "numDeletionVectorsRemoved": removes.len(),
        "numRowsCopied": rows,
        "numRowsPurged": purged,
        "executionTimeMs": began.elapsed().as_millis() as u64,
    });
    let mut actions = Vec::new();
    if !removes.is_empty() {
        let mut parameters = Object::default();
        let predicate: Vec<_> = partitions.iter().map(PartitionFilter::to_string).collect();
        parameters.set("predicate", json!(predicate).to_string());
        parameters.set("applyPurge", "true");
        let mut info = state.options.info("REORG", parameters);
        info.set("operationMetrics", &metrics);
        actions.push(Action::CommitInfo(CommitInfo(info)));
        actions.extend(state.options.applications.iter().cloned().map(Action::Txn));
        actions.extend(removes);
        actions.extend(adds.into_iter().map(|add| Action::add(Add { data_change: false, ..add })));
    }
    Ok(StagedCommit { actions, files, seen: None, metrics })
}
