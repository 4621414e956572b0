//! Reads a plain `_delta_log` on any object store, as other engines write it, without a catalog.
//!
//! A listing decides what the log contains, never the `_last_checkpoint` hint, which may be outdated, wrong or
//! truncated. From the listing follows every way to reconstruct a version: a checkpoint (V1, V1 in parts, V2 with
//! sidecars) or nothing, and the commits after it, with log compaction files where commits are missing. A checkpoint
//! that cannot be read is skipped if older files reach the same version (PROTOCOL.md, "Delta Log Entries" to
//! "Checkpoints").

mod checkpoint;
mod details;
mod listing;
mod live_files;
mod reader;
mod stored;
mod times;
mod writer;

#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::Semaphore;

use crate::action::{MAX_COMMIT_BYTES, Version};
use crate::error::{ErrorKind, Result, TxnLogError};
use crate::local::Durability;
use crate::location::Location;
use crate::stores::Stores;

pub use details::FileDetails;
pub use reader::FileTxnLogReader;
pub use stored::{CheckpointState, StoredCheckpoint};
pub use writer::FileTxnLogWriter;

const LOG: &str = "_delta_log";

/// The maximum number of concurrent requests.
const CONCURRENCY: usize = 32;
/// The maximum number of bytes fetched ahead of the consumer; a single larger file is fetched whole.
const AHEAD_BYTES: u64 = 16 << 20;
/// The maximum total size of local files that are read by one task.
const TOGETHER_BYTES: u64 = 1 << 20;

/// A table's directory: its object store, and its name in messages.
#[derive(Clone, Debug)]
struct TableDir {
    location: Location,
    store: Arc<dyn ObjectStore>,
    /// The local directory, if the store serves one.
    local: Option<PathBuf>,
}

impl TableDir {
    fn open(location: Location, stores: &dyn Stores) -> Result<Self> {
        let (store, local) = (stores.open(&location, Durability::Full)?, stores.directory(&location));
        Ok(Self { location, store, local })
    }

    fn new(location: Location, store: Arc<dyn ObjectStore>) -> Self {
        Self { location, store, local: None }
    }

    /// The files, given with their sizes, fetched ahead and returned in order.
    fn get_all(&self, files: Vec<(Path, u64)>) -> BoxStream<'static, Result<(Path, Bytes)>> {
        // Local files are read by one task in groups: a task for each file would take longer than the reads.
        let together = if self.local.is_some() { CONCURRENCY } else { 1 };
        let ahead = CONCURRENCY.div_ceil(together).max(2);
        let room = Arc::new(Semaphore::new(kilobytes(AHEAD_BYTES) as usize));
        let dir = self.clone();
        // Permits are acquired in order and released when the consumer takes the last file of a group: a task that
        // waits for permits waits only for earlier files.
        let admitted = stream::iter(groups(files, together)).then(move |(group, bytes)| {
            let room = room.clone();
            async move { (group, room.acquire_many_owned(kilobytes(bytes)).await) }
        });
        let fetched = admitted.map(move |(group, room)| {
            let dir = dir.clone();
            async move { (dir.get_group(group).await, room) }
        });
        let files = fetched.buffered(ahead).flat_map(|(files, room)| {
            stream::iter(files).map(move |file| {
                let _held = &room;
                file
            })
        });
        files.boxed()
    }

    async fn get_group(self, files: Vec<Path>) -> Vec<Result<(Path, Bytes)>> {
        let mut read = Vec::new();
        if let Some(root) = self.local.clone() {
            let files = files.clone();
            let all = move || files.iter().map(|f| read_local(&root.join(f.as_ref())).ok().flatten()).collect();
            read = tokio::task::spawn_blocking(all).await.unwrap_or_default();
        }
        read.resize(files.len(), None);
        let mut bodies = Vec::with_capacity(files.len());
        for (file, body) in files.into_iter().zip(read) {
            let body = match body {
                Some(body) => Ok(body.into()),
                // A failed local read is repeated through the store, whose error gives the reason.
                None => self.get(&file).await,
            };
            bodies.push(body.map(|body| (file, body)));
        }
        bodies
    }

    async fn get(&self, file: &Path) -> Result<Bytes> {
        let unreadable = |e| self.failed(e, &format!("{} cannot be read", self.name(file)));
        let found = self.store.get(file).await.map_err(unreadable)?;
        if found.meta.size > MAX_COMMIT_BYTES {
            return Err(TxnLogError::corrupt(format!(
                "{} has {} bytes: a file of a log of more than {MAX_COMMIT_BYTES} bytes is not read",
                self.name(file),
                found.meta.size
            )));
        }
        found.bytes().await.map_err(unreadable)
    }

    /// The full name of a file of the table.
    fn name(&self, file: &Path) -> String {
        format!("{}/{file}", self.location)
    }

    /// The error of the object store, preceded by a sentence that says what was tried.
    fn failed(&self, e: object_store::Error, what: &str) -> TxnLogError {
        let cause = TxnLogError::from(e);
        TxnLogError::new(cause.kind(), what).with_source(cause)
    }

    fn is_no_table(&self) -> TxnLogError {
        TxnLogError::new(
            ErrorKind::NotFound,
            format!(
                "{} is not a Delta table: there is no commit and no checkpoint in its {LOG}, check the location",
                self.location
            ),
        )
    }
}

/// The groups of files that are fetched together, with their total size.
fn groups(files: Vec<(Path, u64)>, together: usize) -> Vec<(Vec<Path>, u64)> {
    let mut groups: Vec<(Vec<Path>, u64)> = Vec::new();
    for (file, size) in files {
        match groups.last_mut().filter(|(group, bytes)| group.len() < together && bytes + size <= TOGETHER_BYTES) {
            Some((group, bytes)) => {
                group.push(file);
                *bytes += size;
            }
            None => groups.push((vec![file], size)),
        }
    }
    groups
}

/// The number of permits for this many bytes: at least one, at most all.
fn kilobytes(bytes: u64) -> u32 {
    u32::try_from(bytes.clamp(1 << 10, AHEAD_BYTES) >> 10).unwrap_or(1)
}

/// Reads a local file; `None` when it is larger than the limit for a whole file.
fn read_local(path: &std::path::Path) -> std::io::Result<Option<Vec<u8>>> {
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    if size > MAX_COMMIT_BYTES {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn commit_path(version: Version) -> Path {
    Path::from(format!("{LOG}/{version:020}.json"))
}
