//! Purge: files that have a deletion vector are rewritten without the rows that it hides.
//!
//! Each file is rewritten on its own, in the order of its rows, so that rows that were clustered stay so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use deltalakedb_log::action::{Action, Add, CommitInfo, Remove};
use deltalakedb_log::snapshot::Snapshot;
use deltalakedb_log::{Object, Result, canonical_path};
use futures::{StreamExt, TryStreamExt, future, stream};
use serde_json::json;

use crate::delta_rs::{
    CastMode, FullTable, LogView, MaskedFile, NewFiles, PartitionFilter, PlainAppend, StagedCommit, VirtualTable,
    load_masks, register, session_context,
};
use crate::error::Explain;
use crate::position_scan::PositionScan;
use crate::write::Rows;

/// Rewrites the files of matching partitions that have a deletion vector.
pub(super) async fn purge(
    state: &LogView,
    base: &Snapshot,
    table: &str,
    partitions: &[PartitionFilter],
) -> Result<StagedCommit> {
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
    let rewritten = Purge::open(state, base, table).await?.rewrite_all(files).await?;
    let adds = rewritten.adds;
    let metrics = json!({
        "numFilesAdded": adds.len(),
        "numFilesRemoved": removes.len(),
        "numBytesAdded": adds.iter().map(|add| add.size).sum::<i64>(),
        "numBytesRemoved": removed_bytes,
        "numDeletionVectorsRemoved": removes.len(),
        "numRowsCopied": rewritten.rows,
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
        actions.extend(adds.into_iter().map(Action::Add));
    }
    Ok(StagedCommit { actions, files: rewritten.files, seen: None, metrics })
}

/// A table of which files are rewritten.
struct Purge<'a> {
    state: &'a LogView,
    base: &'a Snapshot,
    /// Its name in messages.
    table: &'a str,
    schema: SchemaRef,
    session: SessionState,
}

/// The files that were written, and the number of their rows.
struct Rewritten {
    adds: Vec<Arc<Add>>,
    files: NewFiles,
    rows: u64,
}

impl<'a> Purge<'a> {
    async fn open(state: &'a LogView, base: &'a Snapshot, table: &'a str) -> Result<Self> {
        let schema = VirtualTable::without_files(state).await?.schema()?;
        let mut session = session_context(&state.options.stores)?.state();
        register(session.runtime_env(), &state.location, &state.options.stores)?;
        // The rows of a file keep their order. Files are rewritten concurrently instead.
        session.config_mut().options_mut().execution.target_partitions = 1;
        Ok(Self { state, base, table, schema, session })
    }

    /// Writes the visible rows of the files. On failure what was written is removed.
    async fn rewrite_all(&self, files: Vec<MaskedFile>) -> Result<Rewritten> {
        let (has_failed, rows) = (AtomicBool::new(false), Arc::new(AtomicU64::new(0)));
        let tasks = available_parallelism().map_or(1, usize::from);
        // After a failure no further file is begun, and those begun are finished, so that their names are known.
        let written: Vec<_> = stream::iter(files)
            .take_while(|_| future::ready(!has_failed.load(Ordering::Relaxed)))
            .map(async |file| {
                let written = self.rewrite(file, rows.clone()).await;
                has_failed.fetch_or(written.is_err(), Ordering::Relaxed);
                written
            })
            .buffered(tasks)
            .collect()
            .await;
        let mut all = Rewritten { adds: Vec::new(), files: NewFiles::none(self.state)?, rows: 0 };
        let mut failure = None;
        for written in written {
            match written {
                Ok(StagedCommit { actions, files, .. }) => {
                    all.files.extend(&files);
                    all.adds.extend(actions.into_iter().filter_map(|action| match action {
                        Action::Add(add) => Some(Arc::new(Add { data_change: false, ..Arc::unwrap_or_clone(add) })),
                        _ => None,
                    }));
                }
                Err(e) => failure = failure.or(Some(e)),
            }
        }
        match failure {
            Some(e) => {
                all.files.remove().await;
                Err(e)
            }
            None => Ok(Rewritten { rows: rows.load(Ordering::Relaxed), ..all }),
        }
    }

    async fn rewrite(&self, file: MaskedFile, count: Arc<AtomicU64>) -> Result<StagedCommit> {
        let path = file.add.path.clone();
        let failed = || format!("the file {path:?} cannot be rewritten");
        let (location, head) = (&self.state.location, &self.base.head);
        let scan = PositionScan { location, head, schema: &self.schema, files: vec![file] };
        let scan = scan.plan(&self.session, None, &[], None).await?;
        let rows = execute_stream(scan, self.session.task_ctx()).explain(failed)?;
        let counted = rows.schema();
        let rows = rows.inspect_ok(move |batch| {
            count.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        });
        let rows: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(counted, rows));
        match PlainAppend::open(self.state, self.base)? {
            Some(append) => {
                let (rows, refusal) =
                    Rows::from(rows).adapted(self.table, append.schema(), None, CastMode::Lossless)?;
                refusal.or(append.append(rows).await)
            }
            None => VirtualTable::without_files(self.state).await?.append(rows, None).await,
        }
    }
}
