//! Runs an operation on a table: it reads one version and makes one commit.

use std::time::Duration;

use deltalakedb_log::commit::{Base, Committed, Outcome};
use deltalakedb_log::lookup::source_tables;
use deltalakedb_log::snapshot::{At, Snapshot};
use deltalakedb_log::{ErrorKind, FileTxnLogWriter, Result, TableId, TxnLogError, TxnLogWriter};
use serde_json::Value;
use uuid::Uuid;

use super::checks::check_optimize;
use super::stage::StagedOperation;
use super::{Operation, OperationResult};
use crate::delta_rs::{FullTable, LogView, Optimize};
use crate::hold::HeldVersion;
use crate::table::{DeltaTable, Source};
use crate::vacuum::check_none_is_going_on;
use crate::write::{PendingWrite, check_not_behind, commit};
use crate::write_options::WriteOptions;

/// How long the version that a restore reads is held.
const RESTORE: Duration = Duration::from_secs(60 * 60);

impl DeltaTable {
    /// Runs an operation and commits it. It sees one version of the table, the newest. If a concurrent commit changes
    /// what the operation read, the result is [`ErrorKind::Conflict`], and its files are removed.
    #[tracing::instrument(name = "change", target = "deltalakedb::operation", level = "debug", skip_all, fields(table = %self, what = operation.name()))]
    pub async fn run(&self, operation: Operation, options: &WriteOptions) -> Result<OperationResult> {
        if let Operation::Optimize(optimize @ Optimize { min_commit_interval: Some(apart), .. }) = &operation {
            return self.optimize_in_steps(optimize, *apart, options).await;
        }
        let (pending, metrics) = self.stage(operation, options).await?;
        let committed = match pending {
            Some(pending) => self.commit(pending, options).await?,
            None => None,
        };
        Ok(OperationResult { committed, metrics })
    }

    /// Writes the data files of an operation and describes its commit. `None` when there is nothing to do.
    pub async fn prepare(&self, operation: Operation, options: &WriteOptions) -> Result<Option<PendingWrite>> {
        Ok(self.stage(operation, options).await?.0)
    }

    /// Each step is committed separately; a later failure does not undo earlier steps.
    async fn optimize_in_steps(
        &self,
        optimize: &Optimize,
        apart: Duration,
        options: &WriteOptions,
    ) -> Result<OperationResult> {
        let (id, began_at) = (self.writable_id()?, options.clock.now_ms());
        self.check_owner(options)?;
        self.check_not_behind().await?;
        let (base, state) = self.state(options).await?;
        check_optimize(&state, &base, &self.to_string(), optimize).await?;
        let (steps, metrics) = Box::pin(FullTable::open(&state).await?.optimize_in_steps(optimize, apart)).await?;
        let (mut steps, mut committed) = (steps.into_iter(), None);
        while let Some(step) = steps.next() {
            let mut pending = PendingWrite::new(step, id, Base::RebaseFrom(base.version()), options);
            pending.began_at = began_at;
            match self.commit(pending, options).await {
                Ok(done) => committed = done,
                Err(e) => {
                    for step in steps {
                        step.files.remove().await;
                    }
                    return Err(e);
                }
            }
        }
        Ok(OperationResult { committed, metrics })
    }

    /// Rejects a write while the catalog is behind `_delta_log`, before any file is written.
    async fn check_not_behind(&self) -> Result<()> {
        match &self.source {
            Source::Catalog { catalog, id, .. } => check_not_behind(catalog.as_ref(), self.stores.as_ref(), *id).await,
            Source::Plain | Source::Reader(_) => Ok(()),
        }
    }

    /// The current time of the clock that determines the times of the table's versions, in milliseconds since 1970.
    async fn now_ms(&self, options: &WriteOptions) -> Result<i64> {
        match &self.source {
            Source::Catalog { catalog, .. } => catalog.now_ms().await,
            Source::Plain | Source::Reader(_) => Ok(options.clock.now_ms()),
        }
    }

    /// The table as a writer with these options reads it.
    async fn state(&self, options: &WriteOptions) -> Result<(Snapshot, LogView)> {
        let reader = self.reader().await?;
        let base = reader.snapshot(options.read_version.map_or(At::Latest, At::Version)).await?;
        Ok((base.clone(), LogView::at(&self.location, &self.stores, reader, base).writing(options)))
    }

    async fn stage(&self, operation: Operation, options: &WriteOptions) -> Result<(Option<PendingWrite>, Value)> {
        let restored = match &operation {
            Operation::Restore(restore) => self.hold_restored(restore.to, options),
            _ => return self.stage_unheld(operation, options).await,
        };
        let Some(hold) = restored.await? else { return self.stage_unheld(operation, options).await };
        match self.stage_unheld(operation, options).await {
            Ok((Some(pending), metrics)) => Ok((Some(PendingWrite { hold: Some(hold), ..pending }), metrics)),
            other => {
                hold.release().await?;
                other
            }
        }
    }

    /// Holds the version that a restore of a shallow clone reads: a vacuum of the clone's source that starts before the
    /// restore is committed is not a version of the clone, so the restore would not conflict with it.
    async fn hold_restored(&self, to: At, options: &WriteOptions) -> Result<Option<HeldVersion>> {
        let Source::Catalog { catalog, id, .. } = &self.source else { return Ok(None) };
        self.check_owner(options)?;
        if source_tables(catalog.as_ref(), *id, self.stores.as_ref()).await?.is_empty() {
            Ok(None)
        } else {
            self.hold(to, RESTORE, "a restore").await.map(Some)
        }
    }

    async fn stage_unheld(
        &self,
        operation: Operation,
        options: &WriteOptions,
    ) -> Result<(Option<PendingWrite>, Value)> {
        let (id, began_at) = (self.writable_id()?, options.clock.now_ms());
        self.check_owner(options)?;
        self.check_not_behind().await?;
        let (base, state) = self.state(options).await?;
        let (version, table) = (base.version(), self.to_string());
        if matches!(operation, Operation::Restore(_)) {
            // Files that exist now stay until this is committed: a vacuum that starts later is another version, which
            // conflicts.
            check_none_is_going_on(state.reader.as_ref(), self.now_ms(options).await?, &table).await?;
        }
        // The state of a waiting operation is large, so it is boxed.
        let Some(StagedOperation { mut captured, reads, exactly }) = Box::pin(operation.stage(&state, &table)).await?
        else {
            return Ok((None, Value::Null));
        };
        let metrics = captured.metrics.take();
        if captured.is_empty() {
            return Ok((None, metrics));
        }
        let base = if exactly { Base::Exactly(version) } else { Base::RebaseFrom(version) };
        let mut pending = PendingWrite::new(captured, id, base, options);
        pending.request.reads = reads;
        pending.began_at = began_at;
        Ok((Some(pending), metrics))
    }

    async fn commit(&self, pending: PendingWrite, options: &WriteOptions) -> Result<Option<Committed>> {
        let committed = match &self.source {
            Source::Catalog { catalog, .. } => commit(catalog.as_ref(), vec![pending], options).await?,
            Source::Plain | Source::Reader(_) => {
                let writer = FileTxnLogWriter::open_in(&self.location, self.stores.as_ref(), options.clock.clone())?;
                match writer.commit(pending.request.clone()).await {
                    Ok(Outcome::Conflict(c)) => {
                        pending.discard().await;
                        Outcome::Conflict(c).committed()?
                    }
                    Ok(outcome) => outcome.committed()?,
                    Err(e) => return Err(lost(pending, e).await),
                }
            }
        };
        Ok(committed.into_iter().next())
    }

    fn writable_id(&self) -> Result<TableId> {
        match &self.source {
            Source::Catalog { id, .. } => Ok(*id),
            Source::Plain => Ok(TableId(Uuid::nil())),
            Source::Reader(_) => Err(TxnLogError::invalid(format!(
                "{self} was opened with a reader of its log only: open it in its catalog to write"
            ))),
        }
    }
}

/// Removes the files of a write by path that certainly was not committed.
async fn lost(write: PendingWrite, e: TxnLogError) -> TxnLogError {
    if !matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Internal) {
        write.discard().await;
    }
    e
}
