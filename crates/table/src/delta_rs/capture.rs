//! What an operation of delta-rs would commit, and the files that it wrote.

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::Transaction;
use deltalake_core::kernel::transaction::CommitProperties;
use deltalakedb_log::action::{Action, Commit, Metadata, Txn};
use deltalakedb_log::snapshot::Snapshot;
use deltalakedb_log::{ErrorKind, FileKey, Object, Result, TxnLogError, canonical_path};
use futures::{FutureExt, StreamExt, future, stream};
use object_store::ObjectStore;
use object_store::path::Path;
use serde_json::Value;

use super::log::SnapshotLog;
use super::log_store::VirtualLogStore;
use super::{Condition, LogView, VirtualTable, alias, bounds, masking};
use crate::error::Explain;
use crate::write_options::WriteOptions;

/// The result of an operation: data files that exist, and actions that are not committed yet.
pub(crate) struct StagedCommit {
    /// Empty if there was nothing to do.
    pub(crate) actions: Vec<Action>,
    pub(crate) files: NewFiles,
    /// The files it read; `None` for all files.
    pub(crate) seen: Option<Vec<FileKey>>,
    pub(crate) metrics: Value,
}

impl StagedCommit {
    /// Its metrics: those that it returned, or else those of its commit.
    pub(crate) fn numbers(&self) -> Value {
        if !self.metrics.is_null() {
            return self.metrics.clone();
        }
        let of_commit = self.actions.iter().find_map(|action| match action {
            Action::CommitInfo(info) => info.0.get("operationMetrics"),
            _ => None,
        });
        of_commit.unwrap_or(Value::Null)
    }

    /// Whether there was nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// Adds actions, if there is something to commit.
    pub(super) fn with(mut self, actions: impl IntoIterator<Item = Action>) -> Self {
        if !self.is_empty() {
            self.actions.extend(actions);
        }
        self
    }

    /// Records the original condition of the changed rows in the commit.
    pub(super) fn of(mut self, condition: Option<&Condition>) -> Self {
        let infos = self.actions.iter_mut().filter_map(|action| match action {
            Action::CommitInfo(info) => Some(info),
            _ => None,
        });
        for (info, condition) in infos.zip(condition) {
            let mut parameters = info.0.get::<Object>("operationParameters").unwrap_or_default();
            parameters.set("predicate", condition.sql.as_str());
            info.0.set("operationParameters", parameters);
        }
        self
    }

    /// A commit of actions that name files that this operation did not write.
    pub(crate) fn of_actions(state: &LogView, actions: Vec<Action>) -> Result<Self> {
        Ok(Self { actions, files: NewFiles::none(state)?, seen: Some(Vec::new()), metrics: Value::Null })
    }
}

/// Data files that no commit names yet.
#[derive(Clone)]
pub struct NewFiles {
    store: Arc<dyn ObjectStore>,
    paths: Vec<Path>,
}

impl NewFiles {
    /// Files at these paths below the table, which were written for a commit to be made.
    pub(crate) fn at(table: &LogView, paths: Vec<Path>) -> Result<Self> {
        let store = table.options.stores.open(&table.location, table.options.durability)?;
        Ok(Self { store, paths })
    }

    /// No file of a table yet.
    pub(crate) fn none(table: &LogView) -> Result<Self> {
        Self::at(table, Vec::new())
    }

    pub(crate) fn push(&mut self, path: Path) {
        self.paths.push(path);
    }

    /// Adds other files of the same table.
    pub fn extend(&mut self, others: &Self) {
        self.paths.extend_from_slice(&others.paths);
    }

    /// Their paths below the table.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// The files at one of these decoded paths.
    pub(crate) fn at_paths(&self, paths: &HashSet<Vec<u8>>) -> Self {
        let at = self.paths.iter().filter(|path| paths.contains(path.as_ref().as_bytes()));
        Self { store: self.store.clone(), paths: at.cloned().collect() }
    }

    /// Makes the bounds of decimals in a commit that adds them safe for data skipping; returns whether any changed.
    pub(super) async fn recompute_bounds(&self, actions: &mut [Action], base: Option<&Snapshot>) -> Result<bool> {
        let new = self.paths.iter().map(|path| path.as_ref().as_bytes().to_vec()).collect();
        bounds::recompute_decimal_bounds(actions, base, &new, &self.store).await
    }

    /// Removes them, many with one request if the store supports it. Files that cannot be removed are left for vacuum.
    pub async fn remove(&self) {
        let removed = self.store.delete_stream(stream::iter(self.paths.clone()).map(Ok).boxed());
        let failed = removed.for_each(|removed| {
            if let Err(e) = removed.map(drop)
                && !matches!(e, object_store::Error::NotFound { .. })
            {
                tracing::warn!(error = %e, "a data file of a write that failed cannot be removed");
            }
            future::ready(())
        });
        failed.await
    }
}

impl fmt::Debug for NewFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.paths).finish()
    }
}

impl VirtualTable {
    pub(super) fn commit_properties(&self) -> CommitProperties {
        commit_properties(&self.options)
    }

    /// Runs an operation and captures its commit. On failure the files it wrote are removed.
    pub(super) async fn capture<O, T>(self, what: &str, operation: O, metrics: fn(T) -> Value) -> Result<StagedCommit>
    where
        O: IntoFuture<Output = Result<T, DeltaTableError>>,
    {
        let head = self.base.head.clone();
        self.capture_from(&head.metadata, what, operation, metrics).await
    }

    /// Captures an operation whose new metadata is based on that of another version.
    pub(super) async fn capture_from<O, T>(
        self,
        source: &Metadata,
        what: &str,
        operation: O,
        metrics: fn(T) -> Value,
    ) -> Result<StagedCommit>
    where
        O: IntoFuture<Output = Result<T, DeltaTableError>>,
    {
        let mut captured = capture(&self.log, &self.log_store, Some(&self.base), what, operation, metrics).await?;
        masking::restore_from(&mut captured.actions, &self.base.head, source);
        Ok(captured)
    }

    /// Captures an operation with several commits, and its metrics.
    pub(super) async fn capture_steps<O, T>(
        self,
        what: &str,
        operation: O,
        metrics: fn(T) -> Value,
    ) -> Result<(Vec<StagedCommit>, Value)>
    where
        O: IntoFuture<Output = Result<T, DeltaTableError>>,
    {
        let made = capture_all(&self.log, &self.log_store, Some(&self.base), what, operation, metrics).await?;
        let (commits, metrics, files) = made;
        let step = |mut actions: Vec<Action>| {
            masking::restore(&mut actions, &self.base.head);
            let files = files.at_paths(&named_paths(&actions));
            StagedCommit { actions, files, seen: self.log.given_files(), metrics: Value::Null }
        };
        Ok((commits.into_iter().map(step).collect(), metrics))
    }
}

/// The decoded paths of the files that a commit adds, those of deletion vectors among them.
pub(crate) fn named_paths(actions: &[Action]) -> HashSet<Vec<u8>> {
    let mut paths = HashSet::new();
    for action in actions {
        match action {
            Action::Add(add) => {
                paths.insert(canonical_path(&add.path));
                // A vector that does not say where it is was not written here.
                let vector = add.deletion_vector.as_ref().and_then(|vector| vector.file().ok().flatten());
                paths.extend(vector.map(|path| canonical_path(&path)));
            }
            Action::Cdc(cdc) => _ = paths.insert(canonical_path(&cdc.path)),
            _ => {}
        }
    }
    paths
}

/// The commit properties for delta-rs. The mirror writes checkpoints and cleans up.
pub(super) fn commit_properties(options: &WriteOptions) -> CommitProperties {
    let application =
        |txn: &Txn| Transaction { app_id: txn.app_id.clone(), version: txn.version, last_updated: txn.last_updated };
    CommitProperties::default()
        .with_create_checkpoint(false)
        .with_cleanup_expired_logs(Some(false))
        .with_metadata(options.metadata.clone())
        .with_application_transactions(options.applications.iter().map(application).collect())
}

pub(super) async fn capture<O, T>(
    log: &SnapshotLog,
    log_store: &VirtualLogStore,
    base: Option<&Snapshot>,
    what: &str,
    operation: O,
    metrics: fn(T) -> Value,
) -> Result<StagedCommit>
where
    O: IntoFuture<Output = Result<T, DeltaTableError>>,
{
    let (mut commits, metrics, files) = capture_all(log, log_store, base, what, operation, metrics).await?;
    let actions = match commits.pop() {
        None => Vec::new(),
        Some(actions) if commits.is_empty() => actions,
        Some(_) => {
            files.remove().await;
            return Err(TxnLogError::new(
                ErrorKind::Internal,
                format!("an operation made {} commits where one was expected", 1 + commits.len()),
            ));
        }
    };
    Ok(StagedCommit { actions, files, seen: log.given_files(), metrics })
}

/// The actions of an operation's commits, its metrics, and all its files.
type Commits = (Vec<Vec<Action>>, Value, NewFiles);

async fn capture_all<O, T>(
    log: &SnapshotLog,
    log_store: &VirtualLogStore,
    base: Option<&Snapshot>,
    what: &str,
    operation: O,
    metrics: fn(T) -> Value,
) -> Result<Commits>
where
    O: IntoFuture<Output = Result<T, DeltaTableError>>,
{
    // A panic in delta-rs is a bug there or here, and must not leave files either.
    let done = AssertUnwindSafe(operation.into_future()).catch_unwind().await;
    let captured = async {
        let done = done.map_err(|panic| panicked(what, panic.as_ref()))?.explain(|| what.into())?;
        Ok((parsed(log.captured(), &log_store.new_files(), base).await?, metrics(done)))
    };
    let ((commits, metrics), files) = log_store.with_files(Box::pin(captured)).await?;
    Ok((commits, metrics, files))
}

/// The actions of the commits, with safe bounds of decimals.
async fn parsed(commits: Vec<Bytes>, files: &NewFiles, base: Option<&Snapshot>) -> Result<Vec<Vec<Action>>> {
    let mut all = Vec::with_capacity(commits.len());
    for commit in commits {
        let mut actions = Commit::parse(commit, "the commit of the operation")?.into_actions();
        actions.iter_mut().for_each(alias::name);
        files.recompute_bounds(&mut actions, base).await?;
        all.push(actions);
    }
    Ok(all)
}

pub(super) fn panicked(what: &str, panic: &(dyn Any + Send)) -> TxnLogError {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let said = text.map(|text| format!(": {text}")).unwrap_or_default();
    TxnLogError::new(ErrorKind::Internal, format!("{what}: the code panicked{said}"))
}

impl VirtualLogStore {
    /// The files put by an operation so far.
    pub(super) fn new_files(&self) -> NewFiles {
        NewFiles { store: self.data_store(), paths: self.puts().paths() }
    }

    /// The result of an operation that has ended, and its files. If that fails, or a file could not be put, the files
    /// are removed.
    pub(super) async fn with_files<T>(&self, made: impl Future<Output = Result<T>>) -> Result<(T, NewFiles)> {
        let files = self.new_files();
        let made = match self.puts().take_failure() {
            Some(e) => Err(TxnLogError::from(e)).explain(|| "the data files cannot be written".into()),
            None => made.await,
        };
        match made {
            Ok(made) => Ok((made, files)),
            Err(e) => {
                files.remove().await;
                Err(e)
            }
        }
    }
}
