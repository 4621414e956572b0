//! Puts a commit into `_delta_log`: never over another one, and the same bytes in every attempt.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use deltalakedb_log::{Clock, ModifiedAt, Result, TxnLogError, Version};
use object_store::path::Path;
use object_store::{Extensions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};

/// How often an existing file at the path of a commit is read again, and the pause between two reads.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

/// The reason why a version is not published.
pub(crate) enum Failure {
    /// Another commit exists at its path.
    Foreign(String),
    /// It could not be written.
    Error(TxnLogError),
}

impl<E: Into<TxnLogError>> From<E> for Failure {
    fn from(e: E) -> Self {
        Self::Error(e.into())
    }
}

/// The path of a commit below the table.
pub(crate) fn commit_path(version: Version) -> Path {
    Path::from(format!("_delta_log/{version:020}.json"))
}

/// Puts a commit with the time `ms` unless its file exists. Returns whether the file existed with the same bytes.
///
/// The answer to an earlier attempt may have been lost, so an existing file with the same bytes is success. If the file
/// is [torn](is_torn), an earlier attempt was interrupted, by a power failure or by a store whose puts are not atomic:
/// when it has not changed for a while, it is replaced by the whole commit, unless it has changed since.
pub(crate) async fn put_if_absent(
    clock: &dyn Clock,
    store: &dyn ObjectStore,
    path: &Path,
    bytes: &Bytes,
    ms: i64,
) -> Result<bool, Failure> {
    let put = |mode| store.put_opts(path, bytes.clone().into(), options(mode, ms));
    let mut attempt = 1;
    loop {
        let exists = match put(PutMode::Create).await {
            Ok(_) => return Ok(false),
            Err(e @ (object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })) => e,
            Err(e) => return Err(e.into()),
        };
        match read_with_version(store, path).await? {
            Some((there, _)) if there == *bytes => return Ok(true),
            Some((there, _)) if !is_torn(&there, bytes) => return Err(Failure::Foreign(describe(path, &there))),
            Some((_, torn)) if attempt >= TRIES => {
                put(PutMode::Update(torn)).await?;
                return Ok(false);
            }
            // Some stores say "exists" while another put is in flight that then fails.
            None if attempt >= TRIES => return Err(exists.into()),
            Some(_) | None => clock.sleep(PAUSE).await,
        }
        attempt += 1;
    }
}

/// Whether a file has only the first bytes of a commit. What a file system has not written before a power failure reads
/// as zeros, which no commit contains.
pub(crate) fn is_torn(there: &[u8], whole: &[u8]) -> bool {
    let written = there.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    there.len() <= whole.len()
        && written < whole.len()
        && there.get(..written).is_some_and(|part| whole.starts_with(part))
}

fn options(mode: PutMode, ms: i64) -> PutOptions {
    let mut extensions = Extensions::new();
    extensions.insert(ModifiedAt(time_of(ms)));
    PutOptions { mode, extensions, ..PutOptions::default() }
}

/// The time of a file, from milliseconds since 1970.
pub(crate) fn time_of(ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms.max(0).unsigned_abs())
}

/// The bytes of a file; `None` if it does not exist.
pub(crate) async fn read(store: &dyn ObjectStore, path: &Path) -> Result<Option<Bytes>> {
    Ok(read_with_version(store, path).await?.map(|(bytes, _)| bytes))
}

/// The bytes of a file, with its version for a conditional put.
pub(crate) async fn read_with_version(store: &dyn ObjectStore, path: &Path) -> Result<Option<(Bytes, UpdateVersion)>> {
    match store.get(path).await {
        Ok(got) => {
            let version = UpdateVersion { e_tag: got.meta.e_tag.clone(), version: got.meta.version.clone() };
            Ok(Some((got.bytes().await?, version)))
        }
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// A short description of another writer's commit.
pub(crate) fn describe(path: &Path, bytes: &Bytes) -> String {
    let file = path.filename().unwrap_or_default();
    let commit = deltalakedb_log::Commit::parse(bytes.clone(), file).ok();
    let info = commit.as_ref().and_then(|c| c.info());
    let by = info.and_then(|i| i.0.get::<String>("engineInfo")).unwrap_or_else(|| "an unknown engine".into());
    let operation = info.and_then(|i| i.operation()).unwrap_or_else(|| "commit".into());
    format!("{file}: {operation} by {by}")
}
