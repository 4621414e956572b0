//! Checkpoints: V1 in one file or in parts, V2 as JSON or Parquet, with and without sidecars.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use arrow::error::ArrowError;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::basic::{ConvertedType, Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use tokio::task::JoinError;

use super::listing::Checkpoint;
use super::live_files;
use super::{LOG, TableDir};
use crate::action::{Action, Commit, Sidecar};
use crate::error::{ErrorKind, Result, TxnLogError};
use crate::object::Object;
use crate::snapshot::Replay;

/// Which part of a table's state is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StateFilter {
    /// Protocol, metadata, txns and domains.
    Snapshot,
    /// Also the files, live and removed.
    Files,
    /// The same, but of live files only the members that our actions have fields for, without typed copies, and of
    /// removed files only the members that identify the file.
    Details,
}

impl StateFilter {
    /// Drops the actions that are not requested.
    pub(super) fn retain(self, actions: &mut Vec<Action>) {
        if self == StateFilter::Snapshot {
            actions.retain(|a| !matches!(a, Action::Add(_) | Action::Remove(_)));
        }
    }
}

/// The members of a remove that [`StateFilter::Details`] keeps.
const REMOVE: [&str; 3] = ["path", "deletionVector", "dataChange"];

/// Rows read, parsed and applied at a time.
const BATCH: usize = 4096;
/// The number of batches that are parsed while others are read and applied.
const PARSED_AHEAD: usize = 2;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The state a checkpoint holds. The error names the file that cannot be read.
pub(super) async fn read(dir: &TableDir, checkpoint: &Checkpoint, want: StateFilter) -> Result<Replay> {
    let (mut state, mut actions) = (Replay::default(), actions_of(dir, checkpoint, want));
    while let Some(some) = actions.try_next().await? {
        state.apply_more(some);
    }
    Ok(state)
}

/// The actions of a checkpoint, in batches. The error names the file that cannot be read.
pub(super) fn actions_of(
    dir: &TableDir,
    checkpoint: &Checkpoint,
    want: StateFilter,
) -> BoxStream<'static, Result<Vec<Action>>> {
    let files = checkpoint.files.iter().map(|file| (file.location.clone(), file.size)).collect();
    let reading = CheckpointReader { dir: dir.clone(), want, files, sidecars: VecDeque::new(), open: None };
    stream::try_unfold(reading, |mut reading| async { Ok(reading.next().await?.map(|actions| (actions, reading))) })
        .boxed()
}

/// The progress of reading a checkpoint.
struct CheckpointReader {
    dir: TableDir,
    want: StateFilter,
    /// The files to read, with their sizes.
    files: VecDeque<(Path, u64)>,
    /// The sidecars to read after these files, each with the file that names it.
    sidecars: VecDeque<(Sidecar, Path)>,
    /// The file that is being read.
    open: Option<(Path, BoxStream<'static, Result<Vec<Action>>>)>,
}

impl CheckpointReader {
    async fn next(&mut self) -> Result<Option<Vec<Action>>> {
        loop {
            if let Some((path, actions)) = &mut self.open {
                if let Some(actions) = actions.try_next().await? {
                    let sidecars = actions.iter().filter_map(|action| match action {
                        Action::Sidecar(sidecar) => Some((sidecar.clone(), path.clone())),
                        _ => None,
                    });
                    // Sidecars contain only file actions (PROTOCOL.md, "Sidecar Files").
                    self.sidecars.extend(sidecars.filter(|_| self.want != StateFilter::Snapshot));
                    return Ok(Some(actions));
                }
                self.open = None;
            }
            let (path, size) = match self.files.pop_front() {
                Some(file) => file,
                None => match self.sidecars.pop_front() {
                    Some((sidecar, named_by)) => found(&self.dir, &sidecar, &named_by).await?,
                    None => return Ok(None),
                },
            };
            let actions = actions_in(&self.dir, &path, size, self.want).await?;
            self.open = Some((path, actions));
        }
    }
}

/// The path and size of a sidecar.
async fn found(dir: &TableDir, sidecar: &Sidecar, named_by: &Path) -> Result<(Path, u64)> {
    let path = sidecar_path(sidecar).map_err(|e| damaged_file(dir, named_by, ErrorKind::Corrupt, e.into()))?;
    let found = dir.store.head(&path).map_err(TxnLogError::from).await;
    let size = found.map_err(|e| damaged_file(dir, &path, e.kind(), e.into()))?.size;
    Ok((path, size))
}

async fn actions_in(
    dir: &TableDir,
    path: &Path,
    size: u64,
    want: StateFilter,
) -> Result<BoxStream<'static, Result<Vec<Action>>>> {
    if path.extension() != Some("json") {
        return parquet(dir, path, size, want).await;
    }
    let damaged_file = |e: TxnLogError| damaged_file(dir, path, e.kind(), e.into());
    let bytes = dir.get(path).await.map_err(damaged_file)?;
    let mut actions = Commit::parse(bytes, &dir.name(path)).map_err(damaged_file)?.into_actions();
    want.retain(&mut actions);
    Ok(stream::once(async { Ok(actions) }).boxed())
}

/// Sidecars are always in the log of their table, so the file name suffices; an absolute path may be outdated because
/// the table was moved.
fn sidecar_path(sidecar: &Sidecar) -> Result<Path, object_store::path::Error> {
    let name = sidecar.path.rsplit('/').next().unwrap_or_default();
    Path::from_url_path(format!("{LOG}/_sidecars/{name}"))
}

fn damaged_file(dir: &TableDir, file: &Path, kind: ErrorKind, cause: Cause) -> TxnLogError {
    let message = format!(
        "the checkpoint file {} cannot be read, and no older files replace it: restore it from a copy",
        dir.name(file)
    );
    TxnLogError::new(kind, message).with_source(cause)
}

/// An object store that does not answer is not corruption: its error is extracted from the Parquet reader's error.
fn cause_of(e: Cause) -> (ErrorKind, Cause) {
    let inner = match e.downcast::<ParquetError>().map(|e| *e) {
        Ok(ParquetError::External(inner)) => inner,
        Ok(e) => return (ErrorKind::Corrupt, e.into()),
        Err(e) => return (ErrorKind::Corrupt, e),
    };
    match inner.downcast::<object_store::Error>() {
        Ok(e) => {
            let e = TxnLogError::from(*e);
            (e.kind(), e.into())
        }
        Err(e) => (ErrorKind::Corrupt, e),
    }
}

/// The actions of a Parquet file, in batches.
async fn parquet(
    dir: &TableDir,
    path: &Path,
    size: u64,
    want: StateFilter,
) -> Result<BoxStream<'static, Result<Vec<Action>>>> {
    let (of, at) = (dir.clone(), path.clone());
    let damaged_file = move |e: Cause| {
        let (kind, cause) = cause_of(e);
        damaged_file(&of, &at, kind, cause)
    };
    let file = ParquetFile { store: dir.store.clone(), path: path.clone(), size };
    // The Arrow types that a writer recorded for itself (views, dictionaries) are not needed to convert to JSON.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let opened = ParquetRecordBatchStreamBuilder::new_with_options(file, options).await;
    let builder = opened.map_err(|e| damaged_file(e.into()))?;
    let columns = wanted_columns(builder.metadata(), want);
    let is_one_batch = builder.metadata().file_metadata().num_rows() <= BATCH as i64;
    let batches =
        builder.with_projection(columns).with_batch_size(BATCH).build().map_err(|e| damaged_file(e.into()))?;
    let parsed = batches.map(move |batch| {
        let damaged_file = damaged_file.clone();
        async move {
            let batch = batch.map_err(|e| damaged_file(e.into()))?;
            let parse = move || actions(&batch).map_err(damaged_file);
            if is_one_batch {
                return parse();
            }
            tokio::task::spawn_blocking(parse).await.unwrap_or_else(|e| Err(stopped(e)))
        }
    });
    Ok(parsed.buffered(PARSED_AHEAD).boxed())
}

fn stopped(e: JoinError) -> TxnLogError {
    TxnLogError::new(ErrorKind::Internal, "the thread that parses a checkpoint has stopped").with_source(e)
}

/// All columns, including unknown ones, except the typed copies of statistics and partition values. The typed copy of
/// the statistics is read only for a file without JSON statistics (`delta.checkpoint.writeStatsAsJson` is off).
fn wanted_columns(metadata: &ParquetMetaData, want: StateFilter) -> ProjectionMask {
    let schema = metadata.file_metadata().schema_descr();
    let path = |leaf: usize| schema.column(leaf).path().parts().to_vec();
    // Bounds of a variant: JSON statistics encode them differently.
    let is_binary = |leaf: usize| {
        let column = schema.column(leaf);
        column.physical_type() == Type::BYTE_ARRAY && column.converted_type() == ConvertedType::NONE
    };
    let has_stats = (0..schema.num_columns()).any(|leaf| {
        let all_null = |column: &parquet::file::metadata::ColumnChunkMetaData| {
            column.statistics().and_then(|s| s.null_count_opt()) == u64::try_from(column.num_values()).ok()
        };
        path(leaf) == ["add", "stats"] && !metadata.row_groups().iter().all(|group| all_null(group.column(leaf)))
    });
    let leaves = (0..schema.num_columns()).filter(|leaf| {
        let path = path(*leaf);
        match (path[0].as_str(), path.get(1).map(String::as_str)) {
            ("add" | "remove", _) if want == StateFilter::Snapshot => false,
            ("add", Some(member)) if want == StateFilter::Details => live_files::ADD.contains(&member),
            ("remove", Some(member)) if want == StateFilter::Details => REMOVE.contains(&member),
            ("add" | "remove", Some("partitionValues_parsed")) => false,
            ("add", Some("stats_parsed")) => !has_stats && !is_binary(*leaf),
            ("remove", Some("stats_parsed")) => false,
            _ => true,
        }
    });
    ProjectionMask::leaves(schema, leaves.collect::<Vec<_>>())
}

/// The actions of a batch.
fn actions(batch: &RecordBatch) -> Result<Vec<Action>, Cause> {
    match live_files::of(batch) {
        Some(adds) => Ok(adds),
        None => parsed(batch),
    }
}

/// The actions of a batch, converted through JSON: the log has one parser, and unknown members are kept.
///
/// Nulls are written explicitly, because a null partition value is not an absent one. A null *column* is absent.
pub(super) fn parsed(batch: &RecordBatch) -> Result<Vec<Action>, Cause> {
    let mut json = Vec::new();
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut json);
    writer.write(&with_plain_zones(batch)?)?;
    writer.finish()?;
    drop(writer);
    let mut actions = Vec::with_capacity(batch.num_rows());
    for line in std::str::from_utf8(&json)?.lines() {
        actions.extend(Action::parse_line(line)?);
    }
    actions.iter_mut().for_each(tidy);
    Ok(actions)
}

/// The batch with the time zone `UTC` replaced by an offset: there is no time zone database for zone names.
fn with_plain_zones(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    fn plain(t: &DataType) -> DataType {
        match t {
            DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("+00:00".into())),
            DataType::Struct(fields) => {
                let plain = |f: &FieldRef| f.as_ref().clone().with_data_type(plain(f.data_type()));
                DataType::Struct(fields.iter().map(plain).collect())
            }
            other => other.clone(),
        }
    }
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let columns = columns.map(|(f, column)| Ok((f.name(), cast(column, &plain(f.data_type()))?, true)));
    RecordBatch::try_from_iter_with_nullable(columns.collect::<Result<Vec<_>, ArrowError>>()?)
}

fn tidy(action: &mut Action) {
    let extra = match action {
        Action::Protocol(a) => &mut a.extra,
        Action::Metadata(a) => {
            a.format = present(&a.format);
            &mut a.extra
        }
        Action::Add(add) => {
            let a = Arc::make_mut(add);
            if let Some(parsed) = a.extra.raw("stats_parsed")
                && a.stats.is_none()
            {
                a.stats = Some(dense(parsed.get())).filter(|stats| stats != "null" && stats != "{}");
            }
            if let Some(dv) = &mut a.deletion_vector {
                dv.extra = present(&dv.extra);
            }
            &mut a.extra
        }
        Action::Remove(a) => {
            if let Some(dv) = &mut a.deletion_vector {
                dv.extra = present(&dv.extra);
            }
            &mut a.extra
        }
        Action::Txn(a) => &mut a.extra,
        Action::DomainMetadata(a) => &mut a.extra,
        _ => return,
    };
    *extra = present(extra);
}

/// The members that are not null, without the typed statistics.
fn present(object: &Object) -> Object {
    let mut kept = Object::default();
    for (key, value) in object.iter().filter(|(k, v)| *k != "stats_parsed" && v.get() != "null") {
        kept.set(key, value);
    }
    kept
}

/// JSON text without the members that are null, at any depth; numbers keep their text.
fn dense(json: &str) -> String {
    let Ok(object) = serde_json::from_str::<Object>(json) else {
        return json.to_string();
    };
    let members = object.iter().filter(|(_, value)| value.get() != "null");
    let members = members.map(|(key, value)| format!("{}:{}", serde_json::Value::from(key), dense(value.get())));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// A Parquet file of known size in an object store.
struct ParquetFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl AsyncFileReader for ParquetFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        self.store.get_range(&self.path, range).map_err(|e| ParquetError::External(e.into())).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        let get = async move { self.store.get_ranges(&self.path, &ranges).await };
        get.map_err(|e| ParquetError::External(e.into())).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let size = self.size;
        let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
        async move { Ok(Arc::new(reader.with_prefetch_hint(Some(64 * 1024)).load_and_finish(self, size).await?)) }
            .boxed()
    }
}
