//! A version of a loaded history: parsed, and encoded in its stored form.

use std::sync::Arc;

use bytes::Bytes;
use deltalakedb_log::action::Metadata;
use deltalakedb_log::commit::{self, Group, NewTable};
use deltalakedb_log::schema::Schema;
use deltalakedb_log::snapshot::{CommitActions, CommitSummary};
use deltalakedb_log::{
    Commit, CommitId, CommitTime, ErrorKind, FutureTimes, Location, LoggedCommit, Result, TableId, TxnLogError,
};
use tokio::sync::OwnedSemaphorePermit;

use super::stored_files::StoredFiles;
use crate::bounds::{BoundsSlots, TableSlots};
use crate::codec::{self, METADATA_COLUMNS, qualified};
use crate::database::Database;
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
    /// The encoding for a stored table, and its id: an unfinished load keeps its id.
    pub(super) async fn stored(db: &dyn Database, table: TableId, new: &NewTable) -> Result<(TableId, Self)> {
        let sql = format!(
            "SELECT t.location, t.table_id, {}, {} FROM dl_tables t \
             JOIN dl_metadata_updates m ON m.table_id = t.table_id AND m.version = t.metadata_version \
             WHERE t.location_key = ? AND (t.state = 'loading' OR t.table_id = ?)",
            BoundsSlots::subquery("t"),
            qualified("m", &METADATA_COLUMNS)
        );
        let params = vec![new.location.key().as_str().into(), table.0.into()];
        let Some(mut row) = db.query(&sql, params).await?.pop() else { return Ok((table, Self::default())) };
        if !Location::stored(&row.text()?)?.is_place_of(&new.location) {
            return Ok((table, Self::default()));
        }
        let (table, slots) = (TableId(row.uuid()?), BoundsSlots::read(row.opt_text()?.as_deref())?);
        let metadata = codec::read_metadata(&mut row)?;
        let schema = Schema::parse(&metadata.schema_string, &metadata.partition_columns)?;
        let owned = slots.owned(schema.into());
        Ok((table, Self { metadata: Some(metadata.into()), slots: slots.into(), owned: owned.into() }))
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
        let owned = slots.owned(schema.into());
        Ok(Self { metadata: Some(metadata), slots: slots.into(), owned: owned.into() })
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
    let done = tokio::task::spawn_blocking(move || f(input)).await;
    done.map_err(|e| TxnLogError::new(ErrorKind::Internal, "a thread stopped").with_source(e))?
}
