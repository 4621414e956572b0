//! Checkpoints: a version in one Parquet file, so that a reader of `_delta_log` need not replay earlier commits.
//!
//! The rows come from the catalog in pages and go to the store in parts, so memory does not grow with the table. The
//! file is then read back and compared with the version in the catalog; `_last_checkpoint` is set to it only if they
//! are equal (PROTOCOL.md, "Checkpoints").
//!
//! A checkpoint replaces one of the same name. Both have the same content, except for tombstones that have expired in
//! between, so it does not matter which of the two a reader sees; and writing it again repairs a truncated one. For the
//! same reason a V2 checkpoint has the name of a V1 checkpoint, which the protocol allows, and not a name with a UUID.

mod parsed;
mod rows;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deltalakedb_log::action::{Action, Txn};
use deltalakedb_log::retention::{before, tombstone_retention};
use deltalakedb_log::time::parse_interval;
use deltalakedb_log::{
    Artifact, At, CheckpointState, ErrorKind, FileDetails, Object, Result, Snapshot, StoredCheckpoint, TableEntry,
    TableId, TableName, TxnLogError, TxnLogReader, TxnLogReaderExt, Version, features, metric,
};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, UpdateVersion};
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use self::rows::Rows;
use crate::ahead::ahead;
use crate::checksum::{configurations, expires, txn_versions};
use crate::mirror::Mirror;
use crate::put::{read, read_with_version};

/// The number of files encoded at a time.
const BATCH: usize = 8_192;
/// The maximum number of rows of a row group, and of its bytes: it is buffered before it is written.
const GROUP_ROWS: usize = 65_536;
const GROUP_BYTES: usize = 16 << 20;
/// The size of a part of an upload in bytes, and the number of concurrent parts.
const PART: usize = 8 << 20;
const PARTS: usize = 2;
/// The hint from which readers start.
const HINT: &str = "_delta_log/_last_checkpoint";
/// How often the lease for writing the hint is requested, and the pause between two attempts.
const TRIES: u32 = 300;
const PAUSE: Duration = Duration::from_millis(50);

/// A checkpoint that was written and read back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpointed {
    /// The table.
    pub table: TableName,
    /// Its version.
    pub version: Version,
    /// The name of its file in `_delta_log`.
    pub file: String,
    /// The size of the file in bytes.
    pub size: u64,
    /// The number of its live files.
    pub files: u64,
    /// The number of its tombstones.
    pub tombstones: u64,
    /// Whether `_last_checkpoint` names it; false if that names a newer one.
    pub is_last: bool,
}

impl fmt::Display for Checkpointed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |n: u64, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
        let (files, tombstones) = (counted(self.files, "file"), counted(self.tombstones, "tombstone"));
        let (file, size) = (&self.file, self.size);
        write!(
            f,
            "{} has a checkpoint of version {}: {file} with {files} and {tombstones} in {size} bytes",
            self.table, self.version
        )
    }
}

impl Mirror {
    /// Writes a checkpoint of the newest published version, replacing an existing one, and its checksum.
    pub async fn checkpoint(&self, table: TableId) -> Result<Checkpointed> {
        let entry = self.entry(table).await?;
        let Some(version) = entry.published_version else {
            return Err(TxnLogError::invalid(format!(
                "no version of {} is published, so there is nothing to write a checkpoint of: run `dl mirror run` \
                 first",
                entry.name
            )));
        };
        self.checkpoint_at(&entry, version).await
    }

    /// Writes a checkpoint of any published version.
    pub async fn checkpoint_at(&self, entry: &TableEntry, version: Version) -> Result<Checkpointed> {
        if version < entry.base_version || entry.published_version.is_none_or(|published| version > published) {
            return Err(TxnLogError::invalid(format!(
                "version {version} of {} is not published and cannot have a checkpoint: choose a published version, \
                 from {} to {}",
                entry.name,
                entry.base_version,
                entry.published_version.unwrap_or_default()
            )));
        }
        let table = entry.id;
        let outcome = match self.checkpoint_of(entry, version).await {
            Ok(outcome) => outcome,
            Err(e) => {
                let now = self.clock.now_ms();
                metric::MIRROR_FAILURES.add_one_for(&entry.name);
                self.catalog.mark_failed(table, version, Artifact::Checkpoint, &e.to_string(), now).await?;
                return Err(e);
            }
        };
        self.mend_checksum(entry, version).await?;
        Ok(outcome)
    }

    /// Writes a checkpoint of a published version.
    #[tracing::instrument(name = "put_checkpoint", target = "deltalakedb::store", level = "debug", skip_all, fields(table = %entry.name, version = version))]
    pub(crate) async fn checkpoint_of(&self, entry: &TableEntry, version: Version) -> Result<Checkpointed> {
        let (name, place) = (&entry.name, &entry.location);
        let outcome = self.write_and_check(entry, version).await.map_err(|e| {
            let message = format!(
                "version {version} of {name} is published, but no checkpoint of it could be written to \
                 {place}/_delta_log; `dl mirror checkpoint {name}` tries again"
            );
            TxnLogError::new(e.kind(), message).with_source(e)
        })?;
        let failures = self.catalog.mirror_failures(entry.id).await?;
        if failures.iter().any(|failure| failure.artifact == Artifact::Checkpoint && failure.version <= version) {
            self.catalog.mark_checkpointed(entry.id, version).await?;
        }
        tracing::debug!(table = %name, version, files = outcome.files, bytes = outcome.size, "checkpoint written");
        Ok(outcome)
    }

    async fn write_and_check(&self, entry: &TableEntry, version: Version) -> Result<Checkpointed> {
        let (reader, store) = (self.catalog.reader(entry.id), self.store(entry)?);
        let mut snapshot = reader.snapshot(At::Version(version)).await?;
        let now = self.clock.now_ms();
        drop_expired_txns(&mut snapshot.txns, &snapshot.head.metadata, now);
        let path = path(version);
        let rows = Rows::new(&snapshot.head)?;
        let tombstones_since_ms = before(now, tombstone_retention(&snapshot.head.metadata)?);
        let progress = || self.note_progress();
        let details =
            write(reader.as_ref(), &snapshot, &rows, store.clone(), &path, tombstones_since_ms, &progress).await?;

        let stored = StoredCheckpoint::at(entry.location.clone(), store.clone(), version, &path).await?;
        let state = stored.read().await?;
        let may_lack: &[_] = if rows.has_stats() { &[] } else { &[FileDetails::STATISTICS] };
        let difference = match files_difference(reader.as_ref(), &snapshot, &state).await? {
            None => details_difference(&details, &state, may_lack),
            found => found,
        };
        if let Some(what) = difference {
            return Err(TxnLogError::new(
                ErrorKind::Internal,
                format!("the checkpoint that was just written {what}: _last_checkpoint does not point to it"),
            ));
        }
        let is_last = self.update_last_checkpoint(entry, store.as_ref(), &stored, &state).await?;
        Ok(Checkpointed {
            table: entry.name.clone(),
            version,
            file: stored.name().into(),
            size: stored.size(),
            files: state.files,
            tombstones: state.tombstones,
            is_last,
        })
    }

    /// Sets `_last_checkpoint` to a checkpoint, unless it names a newer one. There is one publisher at a time, and only
    /// the hint that was read is replaced, so the hint never goes back.
    #[tracing::instrument(name = "put_hint", target = "deltalakedb::store", level = "debug", skip_all, fields(table = %entry.name))]
    pub(crate) async fn update_last_checkpoint(
        &self,
        entry: &TableEntry,
        store: &dyn ObjectStore,
        checkpoint: &StoredCheckpoint,
        state: &CheckpointState,
    ) -> Result<bool> {
        let turns = self.turns(entry.id);
        for _ in 0..TRIES {
            let turn = turns.lease.lock().await;
            let Some(lease) = self.lease(entry.id).await? else {
                // Another process has the lease: tasks of this process need not wait for it.
                drop(turn);
                self.clock.sleep(PAUSE).await;
                continue;
            };
            let led = self.put_last_checkpoint(entry, store, checkpoint, state).await;
            self.release(lease).await?;
            if let Some(led) = led? {
                return Ok(led);
            }
        }
        Err(TxnLogError::new(
            ErrorKind::Unavailable,
            format!("another process holds the lease to publish {}: _last_checkpoint was not written", entry.name),
        ))
    }

    /// Whether `_last_checkpoint` names the checkpoint now; `None` when another hint was written in between.
    async fn put_last_checkpoint(
        &self,
        entry: &TableEntry,
        store: &dyn ObjectStore,
        checkpoint: &StoredCheckpoint,
        state: &CheckpointState,
    ) -> Result<Option<bool>> {
        let path = hint_path();
        let there = read_with_version(store, &path).await?;
        // Read after the hint: the checkpoint that it names was published before. A later version is invalid.
        let published = self.entry(entry.id).await?.published_version.unwrap_or_default();
        let leads_on = |version: Version| version > checkpoint.version() && version <= published;
        if there.as_ref().and_then(|(there, _)| hinted(there)).is_some_and(leads_on) {
            return Ok(Some(false));
        }
        let mut hint = Object::default();
        hint.set("version", checkpoint.version());
        hint.set("size", state.actions);
        hint.set("sizeInBytes", checkpoint.size());
        hint.set("numOfAddFiles", state.files);
        let hint = Bytes::from(hint.to_json());
        let mode = match there {
            None => PutMode::Create,
            Some((_, UpdateVersion { e_tag: None, version: None })) => PutMode::Overwrite,
            Some((_, before)) => PutMode::Update(before),
        };
        use object_store::Error::{AlreadyExists, NotImplemented, NotSupported, Precondition};
        match store.put_opts(&path, hint.clone().into(), mode.into()).await {
            Ok(_) => Ok(Some(true)),
            Err(AlreadyExists { .. } | Precondition { .. }) => Ok(None),
            // Then only the lease excludes other writers.
            Err(NotImplemented { .. } | NotSupported { .. }) => {
                store.put(&path, hint.into()).await?;
                Ok(Some(true))
            }
            Err(e) => Err(e.into()),
        }
    }
}

/// The version in a hint; `None` when the hint is truncated.
pub(crate) fn hinted(hint: &[u8]) -> Option<Version> {
    serde_json::from_slice::<Object>(hint).ok()?.get("version")
}

/// The hint of a table, if it has one.
pub(crate) async fn hint(store: &dyn ObjectStore) -> Result<Option<Bytes>> {
    read(store, &hint_path()).await
}

/// The path of the hint below the table.
pub(crate) fn hint_path() -> Path {
    Path::from(HINT)
}

/// The path of a checkpoint below the table.
pub(crate) fn path(version: Version) -> Path {
    Path::from(format!("_delta_log/{version:020}.checkpoint.parquet"))
}

/// Removes expired txns.
fn drop_expired_txns(txns: &mut BTreeMap<String, Txn>, metadata: &deltalakedb_log::action::Metadata, now: i64) {
    let kept = metadata.property("delta.setTransactionRetentionDuration").and_then(parse_interval);
    if let Some(since) = kept.map(|kept| before(now, kept)) {
        txns.retain(|_, txn| txn.last_updated.is_none_or(|at| at > since));
    }
}

/// The difference between a checkpoint, which another engine may have written, and its version; `None` if equal.
pub(crate) async fn difference(
    reader: &dyn TxnLogReader,
    expected: &Snapshot,
    stored: &CheckpointState,
) -> Result<Option<String>> {
    if let Some(what) = files_difference(reader, expected, stored).await? {
        return Ok(Some(what));
    }
    let mut details = FileDetails::default();
    let mut files = reader.files_by_key(expected.version()).await?;
    while let Some(add) = files.try_next().await? {
        details.insert(&add.key(), &add);
    }
    Ok(details_difference(&details, stored, &LEFT_OUT))
}

/// Details that other engines may omit from checkpoints.
const LEFT_OUT: [&str; 4] = [FileDetails::STATISTICS, FileDetails::TAGS, FileDetails::ROW_IDS, FileDetails::CLUSTERING];

/// The difference in the details of files.
fn details_difference(expected: &FileDetails, stored: &CheckpointState, may_lack: &[&str]) -> Option<String> {
    let what = expected.difference(&stored.details, may_lack)?;
    Some(format!("has other {what} of files than the catalog"))
}

/// The difference in the files, or in other parts of the state.
async fn files_difference(
    reader: &dyn TxnLogReader,
    expected: &Snapshot,
    stored: &CheckpointState,
) -> Result<Option<String>> {
    if let Some(what) = state_difference(expected, stored) {
        return Ok(Some(what));
    }
    let version = expected.version();
    if stored.set_hash != reader.set_hash(version).await? {
        return Ok(Some(format!("has other files than the catalog, {} in all", stored.files)));
    }
    let bytes = reader.counts(version).await?.bytes;
    Ok((stored.bytes != bytes).then(|| format!("has files of {} bytes in all instead of {bytes}", stored.bytes)))
}

/// The difference in parts of the state other than files.
fn state_difference(expected: &Snapshot, stored: &CheckpointState) -> Option<String> {
    let head = &expected.head;
    if stored.protocol.as_ref().map(features::sorted) != Some(features::sorted(&head.protocol)) {
        return Some("has another protocol than the catalog".into());
    }
    if stored.metadata.as_ref().map(rows::with_format) != Some(rows::with_format(&head.metadata)) {
        return Some("has other metadata than the catalog".into());
    }
    if !expires(&head.metadata) && txn_versions(&expected.txns) != txn_versions(&stored.txns) {
        return Some("has other txns than the catalog".into());
    }
    if configurations(&expected.domains) != configurations(&stored.domains) {
        return Some("has other domains than the catalog".into());
    }
    stored.version.is_some_and(|version| version != head.version).then(|| "records another version".into())
}

/// Streams a version into a file, with the tombstones since that time, and gives what the catalog says of its files.
async fn write(
    reader: &dyn TxnLogReader,
    snapshot: &Snapshot,
    rows: &Rows,
    store: Arc<dyn ObjectStore>,
    path: &Path,
    tombstones_since_ms: i64,
    progress: &(dyn Fn() + Sync),
) -> Result<FileDetails> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_max_row_group_bytes(Some(GROUP_BYTES))
        .build();
    // The Parquet types are complete; an additional Arrow schema would only restrict readers.
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let upload = BufWriter::with_capacity(store, path.clone(), PART).with_max_concurrency(PARTS);
    let mut file =
        AsyncArrowWriter::try_new_with_options(upload, rows.schema(), options).map_err(|e| parsed::failed(e.into()))?;
    let written = fill(reader, snapshot, rows, &mut file, tombstones_since_ms, progress).await;
    match written {
        Ok(details) => file.close().await.map(|_| details).map_err(not_written),
        Err(e) => {
            // An upload without its end has no effect, so a failed abort is ignored and the first error is returned.
            file.into_inner().abort().await.ok();
            Err(e)
        }
    }
}

async fn fill(
    reader: &dyn TxnLogReader,
    snapshot: &Snapshot,
    rows: &Rows,
    file: &mut AsyncArrowWriter<BufWriter>,
    tombstones_since_ms: i64,
    progress: &(dyn Fn() + Sync),
) -> Result<FileDetails> {
    let Snapshot { head, txns, domains } = snapshot;
    let mut actions = vec![Action::Protocol(head.protocol.clone()), Action::Metadata(head.metadata.clone())];
    actions.extend(txns.values().cloned().map(Action::Txn));
    actions.extend(domains.values().cloned().map(Action::DomainMetadata));
    for some in actions.chunks(BATCH) {
        file.write(&rows.of_others(some)?).await.map_err(not_written)?;
    }
    let mut details = FileDetails::default();
    let mut adds = in_batches(reader.files_by_key(head.version).await?).await?;
    while let Some(mut adds) = adds.try_next().await? {
        adds.iter().for_each(|add| details.insert(&add.key(), add));
        // Sorted files have similar neighbours, which compress better.
        adds.sort_by(|a, b| a.path.cmp(&b.path));
        file.write(&rows.of_adds(&adds)?).await.map_err(not_written)?;
        progress();
    }
    let mut removes = in_batches(reader.tombstones(head.version, tombstones_since_ms).await?).await?;
    while let Some(removes) = removes.try_next().await? {
        file.write(&rows.of_removes(&removes)?).await.map_err(not_written)?;
        progress();
    }
    Ok(details)
}

/// These files in batches. If there are several, they are read while others are encoded.
async fn in_batches<T: Send + 'static>(
    files: BoxStream<'static, Result<T>>,
) -> Result<BoxStream<'static, Result<Vec<T>>>> {
    let mut batches = files.try_chunks(BATCH).map_err(|e| e.1);
    let first = batches.try_next().await?;
    let is_full = first.as_ref().is_some_and(|files| files.len() == BATCH);
    let first = stream::iter(first.map(Ok));
    Ok(if is_full { first.chain(ahead(batches)).boxed() } else { first.boxed() })
}

fn not_written(e: ParquetError) -> TxnLogError {
    TxnLogError::new(ErrorKind::Unavailable, "the checkpoint cannot be written").with_source(e)
}
