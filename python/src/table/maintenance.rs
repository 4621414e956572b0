//! Upkeep of a table: its data files, and its mirror in `_delta_log`.

use std::sync::Arc;
use std::time::Duration;

use deltalakedb_log::{At, Result, TableId, TableRef, TxnLogError, Version, require};
use deltalakedb_table::{Operation, Optimize, Restore, Vacuum};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::RawTable;
use crate::arguments::time_of;
use crate::connection::{CatalogConnection, show_mirror_warnings};
use crate::errors::DeltaError;
use crate::options::{CommitProperties, Hooks, Parquet, file_size, with};
use crate::pruning::{Filter, partition_filter};
use crate::runtime::{wait, wait_here};

const RESTORE_TARGET: &str = "pass the version or datetime to restore";

#[pymethods]
#[allow(clippy::too_many_arguments)]
impl RawTable {
    fn optimize(
        &self,
        py: Python<'_>,
        zorder: Vec<String>,
        partition_filters: Option<Vec<Filter>>,
        target_size: Option<u64>,
        max_concurrent_tasks: Option<usize>,
        min_commit_interval: Option<u64>,
        max_spill_size: Option<usize>,
        max_temp_directory_size: Option<u64>,
        writer: Option<Parquet>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<String> {
        let _ = (max_spill_size, max_temp_directory_size);
        let target_size = file_size(target_size)?;
        let partitions = partition_filters.unwrap_or_default().into_iter().map(partition_filter).collect();
        let min_commit_interval = min_commit_interval.map(Duration::from_secs);
        let how = Optimize { zorder, target_size, partitions, max_concurrent_tasks, min_commit_interval };
        Ok(self.run(py, Operation::Optimize(how), writer, commit, hooks, |_| ())?.to_string())
    }

    fn purge(
        &self,
        py: Python<'_>,
        partition_filters: Option<Vec<Filter>>,
        writer: Option<Parquet>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<String> {
        let partitions = partition_filters.unwrap_or_default().into_iter().map(partition_filter).collect();
        Ok(self.run(py, Operation::Purge { partitions }, writer, commit, hooks, |_| ())?.to_string())
    }

    fn vacuum(
        &self,
        py: Python<'_>,
        retention_hours: Option<u64>,
        dry_run: bool,
        enforce_retention_duration: bool,
        full: bool,
        keep_versions: Option<Vec<Version>>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<Vec<String>> {
        let what = Vacuum {
            retain: retention_hours.map(|hours| Duration::from_secs(hours.saturating_mul(3_600))),
            lite: !full,
            dry_run,
            enforce_retention: enforce_retention_duration,
            keep_versions: keep_versions.unwrap_or_default(),
            ..Vacuum::default()
        };
        let mut held = self.get();
        let held = wait(py, async move {
            if !dry_run {
                held.register_on_first_write().await?;
            }
            Ok(held)
        })?;
        let options = with(py, held.options(), None, commit)?;
        let mut held = held;
        wait_here(py, async move || {
            if let Some((connection, _)) = &held.registration {
                // Vacuum keeps the files of the version that is recorded as published.
                connection.settled_mirror().await?;
            }
            let table = match &held.registration {
                None if what.dry_run => held.in_memory().await?,
                _ => held.table.clone(),
            };
            let gone = table.vacuum(&what, &options).await?;
            if !what.dry_run {
                held.committed(hooks.as_ref()).await;
            }
            self.set(held);
            Ok(gone.files)
        })
    }

    fn restore(
        &self,
        py: Python<'_>,
        target: Option<&Bound<'_, PyAny>>,
        ignore_missing_files: bool,
        protocol_downgrade_allowed: bool,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<String> {
        let held = self.get();
        let to = match target {
            Some(target) if target.is_instance_of::<PyString>() => {
                let ms = time_of(&target.extract::<String>()?)?.timestamp_millis();
                let held = held.clone();
                wait(py, async move { held.version_at(ms).await })?
            }
            Some(target) => match target.extract::<Version>() {
                Ok(version) => version,
                Err(_) => return Err(DeltaError::new_err(RESTORE_TARGET)),
            },
            None => return Err(DeltaError::new_err(RESTORE_TARGET)),
        };
        let newest = held.head.version;
        if to >= newest {
            return Err(DeltaError::new_err(format!(
                "the version to restore, {to}, should be less then last available version {newest}: the table is at \
                 version {newest} and version {to} is not an earlier one"
            )));
        }
        let to = At::Version(to);
        let how = Restore { to, ignore_missing_files, protocol_downgrade_allowed };
        Ok(self.run(py, Operation::Restore(how), None, commit, hooks, |_| ())?.to_string())
    }

    fn repair(
        &self,
        py: Python<'_>,
        dry_run: bool,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<String> {
        Ok(self.run(py, Operation::Repair { dry_run }, None, commit, hooks, |_| ())?.to_string())
    }

    fn generate(&self, py: Python<'_>) -> PyResult<()> {
        let held = self.get();
        wait(py, async move { held.table.generate_manifests(held.at()).await })
    }

    fn create_checkpoint(&self, py: Python<'_>) -> PyResult<()> {
        let version = self.get().head.version;
        self.on_mirror(py, async move |connection, id| {
            show_mirror_warnings(connection.mirror().publish_commits(id).await?);
            connection.mirror().settle().await?;
            let entry = require(connection.catalog.as_ref(), &TableRef::Id(id)).await?;
            connection.mirror().checkpoint_at(&entry, version).await.map(|_| ())
        })
    }

    fn cleanup_metadata(&self, py: Python<'_>) -> PyResult<()> {
        self.on_mirror(py, async |connection, id| connection.mirror().clean_up(id).await.map(|_| ()))
    }

    fn compact_logs(&self, py: Python<'_>, starting_version: Version, ending_version: Version) -> PyResult<()> {
        if starting_version >= ending_version {
            return Err(DeltaError::new_err(format!(
                "Invalid version range: {starting_version} to {ending_version}: expected two versions or more"
            )));
        }
        self.on_mirror(py, async |connection, id| {
            show_mirror_warnings(connection.mirror().publish(id).await?);
            connection.mirror().settle().await?;
            let newest = require(connection.catalog.as_ref(), &TableRef::Id(id)).await?.current_version;
            if ending_version > newest {
                return Err(TxnLogError::invalid(format!(
                    "the table is at version {newest} and has no version {ending_version}"
                )));
            }
            connection.mirror().compact(id, starting_version, ending_version).await
        })
    }
}

impl RawTable {
    fn on_mirror(
        &self,
        py: Python<'_>,
        run: impl AsyncFnOnce(Arc<CatalogConnection>, TableId) -> Result<()> + Send,
    ) -> PyResult<()> {
        let mut held = self.get();
        wait_here(py, async move || {
            held.register_on_first_write().await?;
            let Some((connection, id)) = held.registration.clone() else {
                return Err(TxnLogError::invalid(
                    "the table is not in a catalog, so its _delta_log is not a mirror: set DELTALAKEDB_CATALOG",
                ));
            };
            self.set(held);
            run(connection, id).await
        })
    }
}
