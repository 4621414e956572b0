//! The catalog's commits, in batches.
//!
//! A batch is read in full before it is used: no database query is open while the process waits for an object store.

use bytes::Bytes;
use deltalakedb_log::action::Action;
use deltalakedb_log::commit::COMMIT_INFO_KEY;
use deltalakedb_log::{At, Result, TxnLogReader, Version};
use futures::TryStreamExt;

use crate::checksum;

/// The maximum number of commits in a batch, and of their bytes.
pub(crate) const COMMITS: u64 = 100;
const BYTES: usize = 16 << 20;

/// The first commits from `from` to `to`, at least one; an error if the first is retained without its bytes.
pub(crate) async fn next_page(reader: &dyn TxnLogReader, from: Version, to: Version) -> Result<Vec<(Version, Bytes)>> {
    let mut commits = reader.changes(from, to.min(from.saturating_add(COMMITS - 1))).await?;
    let (mut some, mut bytes) = (Vec::new(), 0);
    while let Some((version, body)) = commits.try_next().await? {
        bytes += body.len();
        some.push((version, body));
        if bytes >= BYTES {
            break;
        }
    }
    Ok(some)
}

/// The time that a commit of ours with these actions records.
pub(crate) fn recorded_time(actions: &[Action]) -> Option<i64> {
    checksum::info(actions).filter(|info| info.0.raw(COMMIT_INFO_KEY).is_some())?.timestamp()
}

/// The time of a version with these actions.
pub(crate) async fn time(reader: &dyn TxnLogReader, version: Version, actions: &[Action]) -> Result<i64> {
    match recorded_time(actions) {
        Some(ms) => Ok(ms),
        None => Ok(reader.snapshot(At::Version(version)).await?.head.timestamp),
    }
}
