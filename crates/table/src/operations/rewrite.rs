//! Data files are rewritten without the rows that are hidden in them.
//!
//! Each file is rewritten on its own, in the order of its rows, so that rows that were clustered stay so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::available_parallelism;

use arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use deltalakedb_log::Result;
use deltalakedb_log::action::{Action, Add};
use deltalakedb_log::snapshot::Snapshot;
use futures::{StreamExt, TryStreamExt, future, stream};

use crate::data_files::append_moved;
use crate::delta_rs::{LogView, MaskedFile, NewFiles, StagedCommit, VirtualTable, register, session_context};
use crate::error::Explain;
use crate::position_scan::{NumberedFile, PositionScan};

/// The files that were written, and the number of their rows.
pub(super) struct Rewritten {
    pub(super) adds: Vec<Add>,
    pub(super) files: NewFiles,
    pub(super) rows: u64,
}

/// Writes the visible rows of files of the table `table` to new ones. On failure what was written is removed.
pub(super) async fn rewrite(state: &LogView, table: &str, files: Vec<MaskedFile>) -> Result<Rewritten> {
    Arc::new(Rewrite::open(state.clone(), table.to_string()).await?).all(files).await
}

/// A table of which files are rewritten.
struct Rewrite {
    state: LogView,
    base: Snapshot,
    /// Its name in messages.
    table: String,
    schema: SchemaRef,
    session: SessionState,
}

impl Rewrite {
    async fn open(state: LogView, table: String) -> Result<Self> {
        let base = state.snapshot()?;
        let schema = VirtualTable::without_files(&state).await?.schema()?;
        let mut session = session_context(&state.options.stores)?.state();
        register(session.runtime_env(), &state.location, &state.options.stores)?;
        // The rows of a file keep their order. Files are rewritten concurrently instead.
        session.config_mut().options_mut().execution.target_partitions = 1;
        Ok(Self { state, base, table, schema, session })
    }

    async fn all(self: Arc<Self>, files: Vec<MaskedFile>) -> Result<Rewritten> {
        let (has_failed, rows) = (AtomicBool::new(false), Arc::new(AtomicU64::new(0)));
        let tasks = available_parallelism().map_or(1, usize::from);
        // After a failure no further file is begun, and those begun are finished, so that their names are known.
        let written: Vec<_> = stream::iter(files)
            .take_while(|_| future::ready(!has_failed.load(Ordering::Relaxed)))
            .map(async |file| {
                let failed = format!("the file {:?} cannot be rewritten", file.add.path);
                let task = SpawnedTask::spawn(self.clone().one(file, rows.clone()));
                let written = task.await.explain(|| failed).flatten();
                has_failed.fetch_or(written.is_err(), Ordering::Relaxed);
                written
            })
            .buffered(tasks)
            .collect()
            .await;
        let mut all = Rewritten { adds: Vec::new(), files: NewFiles::none(&self.state)?, rows: 0 };
        let mut failure = None;
        for written in written {
            match written {
                Ok(StagedCommit { actions, files, .. }) => {
                    all.files.extend(&files);
                    all.adds.extend(actions.into_iter().filter_map(|action| match action {
                        Action::Add(add) => Some(Arc::unwrap_or_clone(add)),
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

    async fn one(self: Arc<Self>, file: MaskedFile, count: Arc<AtomicU64>) -> Result<StagedCommit> {
        let path = file.add.path.clone();
        let failed = || format!("the file {path:?} cannot be rewritten");
        let (location, head) = (&self.state.location, &self.base.head);
        let scan = PositionScan { location, head, schema: &self.schema, files: NumberedFile::in_order(vec![file]) };
        let scan = scan.plan(&self.session, None, None).await?;
        let rows = execute_stream(scan, self.session.task_ctx()).explain(failed)?;
        let counted = rows.schema();
        let rows = rows.inspect_ok(move |batch| {
            count.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        });
        let rows: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(counted, rows));
        append_moved(&self.state, &self.base, &self.table, rows.into()).await
    }
}
