//! Checks of idle tables: whether their `_delta_log` is as it was published.

use std::ops::Bound;

use deltalakedb_log::{ErrorKind, MirrorState, Result, TableEntry, TableId, TableRef, Version};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::maintenance::below_table;
use crate::mirror::Mirror;
use crate::publish::Published;
use crate::put::commit_path;
use crate::repair::{Listed, nothing_left};

impl Mirror {
    /// Checks an idle table with one request to its store. A foreign commit stops it. If its newest commit is missing,
    /// everything that is missing is restored, which is a warning of the result; if nothing is left, that is an error,
    /// once, and [`crate::Status::lost`] until it is there again. A diverged table resumes if the other writer's commit
    /// was removed; otherwise it is not reported again. A table that is behind is not checked, because its publisher
    /// does that.
    pub(crate) async fn check_idle(&self, table: TableId) -> Result<Published> {
        let Some(mut entry) = self.catalog.find(&TableRef::Id(table)).await? else {
            self.note_log_found(table);
            return Ok(Published::default());
        };
        entry.published_version = entry.published_version.max(self.unsettled(table));
        if entry.oldest_unpublished().is_some() {
            return Ok(Published::default());
        }
        if let MirrorState::Diverged { version, .. } = &entry.mirror {
            match self.check_following(&entry).await {
                Err(e) if e.kind() == ErrorKind::Invalid => {
                    tracing::debug!(table = %entry.name, version, "still diverged");
                }
                followed => followed?,
            }
            return Ok(Published::default());
        }
        let newest = self.newest_commits(&entry).await?;
        if newest.has_next {
            self.check_for_foreign_commit(&entry).await?;
            return Ok(Published::default());
        }
        let body = self.catalog.reader(table).commit_bytes(entry.current_version).await?;
        if newest.size.is_some_and(|size| size > 0 && body.is_none_or(|body| body.len() as u64 <= size)) {
            self.note_log_found(table);
            return Ok(Published::default());
        }
        self.restore_idle(table).await
    }

    /// Restores the log of a table whose newest commit is missing, unless it is another folder.
    async fn restore_idle(&self, table: TableId) -> Result<Published> {
        let turns = self.turns(table);
        let mut memory = turns.publishing.lock().await;
        let entry = self.entry(table).await?;
        memory.has_checked_last_published = false;
        let Some(last) = entry.published_version else { return Ok(Published::default()) };
        if Listed::read(self.store(&entry)?.as_ref()).await?.is_empty() {
            let lost = nothing_left(&entry, last, ErrorKind::Unavailable);
            let is_known = self.shared.lost.lock().insert(table, lost.to_string()).is_some();
            if is_known {
                return Ok(Published::default());
            }
            tracing::warn!(table = %entry.name, location = %entry.location, "the log is lost");
            return Err(lost);
        }
        let warnings = self.check_last_published(&entry).await?.into_iter().collect();
        self.note_log_found(table);
        Ok(Published { version: entry.published_version, warnings, ..Published::default() })
    }

    /// What the log has at the newest version and after it: one request, except on a local disk.
    async fn newest_commits(&self, entry: &TableEntry) -> Result<NewestCommits> {
        let (store, newest) = (self.store(entry)?, entry.current_version);
        if self.stores.directory(&entry.location).is_some() {
            let (size, next) = futures::try_join!(
                size_of(store.as_ref(), commit_path(newest)),
                size_of(store.as_ref(), commit_path(newest + 1))
            )?;
            return Ok(NewestCommits { size, has_next: next.is_some() });
        }
        let mut found = NewestCommits::default();
        // Before `N.json`, and after `N.checkpoint.parquet` and `N.crc`.
        let offset = Path::from(format!("_delta_log/{newest:020}.j"));
        let mut files = store.list_with_offset(Some(&Path::from("_delta_log")), &offset);
        while let Some(file) = files.try_next().await? {
            // The hint and the folders come after all commits.
            if below_table(&file.location).parts().nth(1).is_some_and(|part| part.as_ref().starts_with('_')) {
                break;
            }
            let name = file.location.filename().unwrap_or_default();
            let Some((version, kind)) = name.split_once('.') else { continue };
            match version.parse::<Version>() {
                Ok(version) if version > newest + 1 => break,
                Ok(version) if kind == "json" && version == newest => found.size = Some(file.size),
                Ok(version) if kind == "json" && version == newest + 1 => found.has_next = true,
                _ => {}
            }
        }
        Ok(found)
    }

    /// Records that the log of a table was found where it was lost before.
    pub(crate) fn note_log_found(&self, table: TableId) {
        self.shared.lost.lock().remove(&table);
    }

    /// The tables whose log was found empty by a reconciler of this process, and not found since.
    pub fn lost_logs(&self) -> Vec<TableId> {
        self.shared.lost.lock().keys().copied().collect()
    }

    /// The one of them that follows this table, in a cycle.
    pub(crate) fn next_lost(&self, after: Option<TableId>) -> Option<TableId> {
        let lost = self.shared.lost.lock();
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        lost.range((begin, Bound::Unbounded)).chain(lost.iter()).next().map(|(table, _)| *table)
    }
}

/// What the log of an idle table has.
#[derive(Clone, Copy, Debug, Default)]
struct NewestCommits {
    /// The size of the newest commit, if it exists.
    size: Option<u64>,
    /// Whether there is a commit after it.
    has_next: bool,
}

async fn size_of(store: &dyn ObjectStore, path: Path) -> Result<Option<u64>> {
    match store.head(&path).await {
        Ok(file) => Ok(Some(file.size)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
