//! A version of a loaded history: parsed, and encoded in its stored form.

use std::sync::Arc;

use bytes::Bytes;
use deltalakedb_log::action::Metadata;
use deltalakedb_log::commit::{self, Group, NewTable};
use deltalakedb_log::schema::Schema;
use deltalakedb_log::snapshot::{CommitActions, CommitSummary};
use deltalakedb_log::{Commit, CommitId, CommitTime, ErrorKind, FutureTimes, LoggedCommit, Result, TxnLogError};
use tokio::sync::OwnedSemaphorePermit;

use super::stored_files::StoredFiles;
use super::stored_table::StoredTable;
use crate::bounds::{BoundsSlots, TableSlots};
use crate::sql_catalog::SqlCatalog;
use crate::version_rows::StoredBody;

/// The encoding of the files of a version.
#[derive(Clone, Default)]
pub(super) struct Layout {
    metadata: Option<Arc<Metadata>>,
    pub(super) slots: Arc<BoundsSlots>,
    /// The slots under the schema.
    pub(super) owned: Arc<TableSlots>,
}

impl Layout {
    /// That of a table as it is stored.
    pub(super) fn of(stored: StoredTable) -> Result<Self> {
        let Some(metadata) = stored.metadata else { return Ok(Self::default()) };
        let schema = Schema::parse(&metadata.schema_string, &metadata.partition_columns)?;
        Ok(Self::new(metadata.into(), schema, stored.slots))
    }

    fn new(metadata: Arc<Metadata>, schema: Schema, slots: BoundsSlots) -> Self {
        let owned = slots.owned(schema.into());
        Self { metadata: Some(metadata), slots: slots.into(), owned: owned.into() }
    }

    pub(super) fn after(&self, changes: &CommitActions) -> Result<Self> {
        if changes.metadata.is_none() && changes.domains.is_empty() {
            return Ok(self.clone());
        }
        let metadata = changes.metadata.clone().map(Arc::new).or_else(|| self.metadata.clone());
        let Some(metadata) = metadata else { return Ok(self.clone()) };
        let schema = Schema::parse(&metadata.schema_string, &metadata.partition_columns)?;
        let mut slots = BoundsSlots::clone(&self.slots);
        slots.assign(&schema, &metadata, &changes.domains);
        Ok(Self::new(metadata, schema, slots))
    }
}

/// A parsed version.
pub(super) struct Parsed {
    summary: CommitSummary,
    pub(super) time: CommitTime,
    /// Its id, if a catalog of ours made it.
    commit_id: Option<CommitId>,
    group: Option<Group>,
    body: Bytes,
    pub(super) changes: CommitActions,
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl Parsed {
    pub(super) fn of(c: LoggedCommit) -> Result<Self> {
        let commit = Commit::parse(c.body.clone(), &c.origin)?;
        let info = commit.info().cloned();
        let changes = CommitActions::from_actions(commit.into_actions());
        let summary = CommitSummary::of(c.version, c.time.ms, info.as_ref(), &changes);
        let (commit_id, group) = (info.as_ref().and_then(commit::id_of), info.as_ref().and_then(Group::of));
        Ok(Self { summary, time: c.time, commit_id, group, body: c.body, changes, room: None })
    }

    /// Rejects files that the catalog does not allow, and a time ahead of the clock unless such times are accepted.
    /// `before` is the time of the previous version.
    pub(super) fn check(
        &self,
        catalog: &SqlCatalog,
        new: &NewTable,
        future_times: FutureTimes,
        before: Option<i64>,
        now_ms: i64,
    ) -> Result<()> {
        let (allowed, location) = (&catalog.allowed_paths, &new.location);
        self.changes.adds.iter().try_for_each(|(_, add)| allowed.check_add(location, add))?;
        self.changes.cdcs.iter().try_for_each(|cdc| allowed.check_cdc(location, cdc))?;
        future_times.check(&new.name, self.summary.version, before, self.time.ms, now_ms)
    }
}

/// A version in its stored form.
pub(super) struct LoadedVersion {
    pub(super) summary: CommitSummary,
    pub(super) time: CommitTime,
    pub(super) commit_id: Option<CommitId>,
    pub(super) group: Option<Group>,
    pub(super) body: Option<StoredBody>,
    pub(super) changes: CommitActions,
    /// Files that are not in `changes`, if history begins with them.
    pub(super) files: Option<StoredFiles>,
    pub(super) layout: Layout,
    /// Released once the version is stored.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl LoadedVersion {
    pub(super) fn of((parsed, layout): (Parsed, Layout)) -> Result<Self> {
        let Parsed { summary, time, commit_id, group, body, changes, room } = parsed;
        Ok(Self {
            summary,
            time,
            commit_id,
            group,
            body: Some(StoredBody::of(&body)?),
            files: None,
            changes,
            layout,
            room,
        })
    }
}

/// Runs a slow function, such as parsing, on a blocking thread.
pub(super) async fn in_thread<T: Send + 'static, U: Send + 'static>(input: T, f: fn(T) -> Result<U>) -> Result<U> {
    let finished = tokio::task::spawn_blocking(move || f(input)).await;
    finished.map_err(|e| TxnLogError::new(ErrorKind::Internal, "a thread stopped").with_source(e))?
}
