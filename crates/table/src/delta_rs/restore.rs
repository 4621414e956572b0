//! Restore to an earlier version, and repair of a table that lacks data files.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use deltalake_core::logstore::LogStore;
use deltalakedb_log::action::{Add, CommitInfo, Remove};
use deltalakedb_log::{Action, At, FileKey, Object, Result, Snapshot, TxnLogError, Version, canonical_path};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::log::{FileSelection, SnapshotLog};
use super::log_store::VirtualLogStore;
use super::operations::metrics;
use super::{FullTable, LogView, StagedCommit, bounds};

/// A restore of a table to an earlier version.
#[derive(Clone, Debug)]
pub struct Restore {
    /// The version to restore.
    pub to: At,
    /// Restores the remaining files if data files are missing.
    pub ignore_missing_files: bool,
    /// Also restores an older protocol.
    pub protocol_downgrade_allowed: bool,
}

impl From<At> for Restore {
    fn from(to: At) -> Self {
        Self { to, ignore_missing_files: false, protocol_downgrade_allowed: false }
    }
}

impl FullTable {
    /// Restores the table to an earlier version.
    pub(crate) async fn restore(self, to: &Snapshot, how: &Restore) -> Result<StagedCommit> {
        let (version, current) = (to.version(), self.0.base().version());
        if version >= current {
            return Err(TxnLogError::invalid(format!(
                "version {version} cannot be restored: the table is at version {current}, pass an earlier version"
            )));
        }
        let (log, log_store) = (self.0.log.clone(), self.0.log_store.clone());
        let restore = self
            .0
            .delta_table()
            .restore()
            .with_version_to_restore(version)
            // Missing files are checked below: delta-rs finds no file elsewhere, and does not check deletion vectors.
            .with_ignore_missing_files(true)
            .with_protocol_downgrade_allowed(how.protocol_downgrade_allowed)
            .with_commit_properties(self.0.commit_properties());
        let mut captured =
            self.0.capture_from(&to.head.metadata, "the version cannot be restored", restore, metrics).await?;
        as_they_were(&mut captured.actions, log.reader().files(version, None).await?).await?;
        bounds::recompute_decimal_bounds(&mut captured.actions, Some(to), &HashSet::new(), &log_store.data_store())
            .await?;
        if !how.ignore_missing_files {
            check_files_exist(&log_store, version, &captured.actions).await?;
        }
        Ok(captured)
    }
}

/// Removes missing files from a table. Their paths are returned as in delta-rs.
///
/// delta-rs' own check covers only files below the table.
pub(crate) async fn repair(state: &LogView, dry_run: bool) -> Result<StagedCommit> {
    let log = Arc::new(SnapshotLog::new(state, FileSelection::None));
    let log_store = VirtualLogStore::new(&state.location, log, &state.options)?;
    let live = state.files(None).await?;
    let mut missing: HashMap<Vec<u8>, Add> = live.into_iter().map(|add| (canonical_path(&add.path), add)).collect();
    let mut listed = log_store.object_store(None).list(None);
    while !missing.is_empty()
        && let Some(file) = listed.try_next().await?
    {
        missing.remove(file.location.as_ref().as_bytes());
    }
    // Files elsewhere are not listed, so files that are not listed are looked up before they are removed.
    let looked = stream::iter(missing.into_values()).map(|add| async {
        let file = log_store.files_of(&add)?.swap_remove(0);
        Ok::<_, TxnLogError>((!log_store.is_there(&file).await?).then_some(add))
    });
    let found: Vec<_> = looked.buffer_unordered(AT_ONCE).try_collect().await?;
    let mut gone: Vec<Add> = found.into_iter().flatten().collect();
    gone.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let paths: Vec<_> = gone.iter().map(|add| add.path.as_str()).collect();
    let metrics = json!({ "dry_run": dry_run, "files_removed": Value::from(paths).to_string() });
    let mut actions = Vec::new();
    if !dry_run && !gone.is_empty() {
        let mut info = state.options.info("FSCK", Object::default());
        info.set("operationMetrics", &metrics);
        actions.push(Action::CommitInfo(CommitInfo(info)));
        actions.extend(state.options.applications.iter().cloned().map(Action::Txn));
        let now = state.options.clock.now_ms();
        actions.extend(gone.iter().map(|add| Action::Remove(Remove::of(add, now, true))));
    }
    Ok(StagedCommit { seen: None, metrics, ..StagedCommit::of_actions(state, actions)? })
}

/// Restores the members of restored files that delta-rs omits.
async fn as_they_were(actions: &mut [Action], mut then: BoxStream<'static, Result<Add>>) -> Result<()> {
    let adds = actions.iter_mut().filter_map(|action| match action {
        Action::Add(add) => Some((add.key(), add)),
        _ => None,
    });
    let mut adds: HashMap<FileKey, &mut Arc<Add>> = adds.collect();
    while let Some(was) = then.try_next().await? {
        if let Some(add) = adds.get_mut(&was.key()) {
            **add = Arc::new(Add { data_change: add.data_change, ..was });
        }
    }
    Ok(())
}

/// An error that names a file to be restored that is missing.
async fn check_files_exist(log_store: &VirtualLogStore, version: Version, actions: &[Action]) -> Result<()> {
    let mut files = Vec::new();
    for action in actions {
        let Action::Add(add) = action else { continue };
        files.extend(log_store.files_of(add)?);
    }
    // Several vectors may be in one file.
    files.sort_unstable();
    files.dedup();
    let looked =
        stream::iter(files).map(|file| async move { Ok::<_, TxnLogError>((log_store.is_there(&file).await?, file)) });
    let mut looked = looked.buffer_unordered(AT_ONCE);
    while let Some((there, file)) = looked.try_next().await? {
        if !there {
            return Err(TxnLogError::invalid(format!(
                "the version cannot be restored: the file {file} of version {version} no longer exists, because vacuum \
                 deletes files of old versions: restore a later version"
            )));
        }
    }
    Ok(())
}

/// How many files are looked up concurrently.
const AT_ONCE: usize = 16;
