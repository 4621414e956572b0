//! The catalog's commits, some at a time.
//!
//! They are read in full before anything is done with them: nothing is being read from a database while an object store
//! is waited for.

use bytes::Bytes;
use deltalakedb_log::action::Action;
use deltalakedb_log::commit::COMMIT_INFO_KEY;
use deltalakedb_log::{At, Result, TxnLogReader, Version};
use futures::TryStreamExt;

use crate::checksum;

/// How many commits are read at a time, and how many bytes of them.
pub(crate) const COMMITS: u64 = 100;
const BYTES: usize = 16 << 20;

/// The first commits from `from` to `to`, at least one of them; an error where the first is retained without its bytes.
pub(crate) async fn some(reader: &dyn TxnLogReader, from: Version, to: Version) -> Result<Vec<(Version, Bytes)>> {
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

/// The time of a version whose commit has these actions. Those of ours say it.
pub(crate) async fn time(reader: &dyn TxnLogReader, version: Version, actions: &[Action]) -> Result<i64> {
    let ours = checksum::info(actions).filter(|info| info.0.raw(COMMIT_INFO_KEY).is_some());
    match ours.and_then(|info| info.timestamp()) {
        Some(ms) => Ok(ms),
        None => Ok(reader.snapshot(At::Version(version)).await?.head.timestamp),
    }
}
