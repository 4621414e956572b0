//! The base state of a history. It may have any number of files, so they are spooled until all are read: only then does
//! its transaction begin, which does not wait for other tasks.

use std::collections::{BTreeSet, HashSet};

use deltalakedb_log::action::{Add, Remove};
use deltalakedb_log::commit::{self, NewTable};
use deltalakedb_log::history::{files_without_base, next_of_base};
use deltalakedb_log::references::folders;
use deltalakedb_log::snapshot::{CommitActions, CommitSummary};
use deltalakedb_log::{
    AllowedPaths, BaseFiles, BaseState, Commit, FileKey, HistoryItem, HistoryItems, LocationKey, Result, SetHash,
};
use futures::stream::BoxStream;

use super::stored_files::StoredFiles;
use super::version::{Layout, LoadedVersion, in_thread};
use crate::codec;
use crate::database::{Row, Value};
use crate::spool::{self, Sender};
use crate::version_rows::{StoredBody, remove_file_values};

/// Reads the base state of a history before its first commit, and the encoding of the files after it.
pub(super) async fn read_base_state(
    items: &mut HistoryItems<'_>,
    allowed: &AllowedPaths,
    new: &NewTable,
    layout: &Layout,
) -> Result<Option<(LoadedVersion, Layout)>> {
    let mut gathered = None;
    while let Some(item) = next_of_base(items).await? {
        match item {
            HistoryItem::Base(base) => gathered = Some(BaseStateRows::new(*base, layout)?),
            HistoryItem::Files(files) => {
                let gathered = gathered.as_mut().ok_or_else(files_without_base)?;
                files.live.iter().try_for_each(|add| allowed.check_add(&new.location, add))?;
                gathered.take(files).await?;
            }
            HistoryItem::Commit(_) => {}
        }
    }
    let Some(gathered) = gathered else { return Ok(None) };
    let (loaded, layout) = gathered.finish()?;
    loaded.changes.cdcs.iter().try_for_each(|cdc| allowed.check_cdc(&new.location, cdc))?;
    Ok(Some((loaded, layout)))
}

struct BaseStateRows {
    base: BaseState,
    layout: Layout,
    live: SpooledFiles,
    removed: SpooledFiles,
    set_hash: SetHash,
    folders: BTreeSet<LocationKey>,
}

/// Rows for files, one for each file.
struct SpooledFiles {
    known: HashSet<FileKey>,
    rows: Sender,
    stored: BoxStream<'static, Result<Row>>,
}

impl SpooledFiles {
    fn new() -> Self {
        let (rows, stored) = spool::channel();
        Self { known: HashSet::new(), rows, stored }
    }

    /// Returns whether the file is new here.
    fn put(&mut self, key: FileKey, row: Vec<Value>) -> Result<bool> {
        let is_new = self.known.insert(key);
        if is_new {
            self.rows.send(Row(row.into_iter()))?;
        }
        Ok(is_new)
    }
}

impl BaseStateRows {
    fn new(base: BaseState, layout: &Layout) -> Result<Self> {
        let changes = CommitActions {
            metadata: Some(base.metadata.clone()),
            domains: base.domains.clone(),
            ..CommitActions::default()
        };
        let layout = layout.after(&changes)?;
        let (live, removed) = (SpooledFiles::new(), SpooledFiles::new());
        Ok(Self { base, layout, live, removed, set_hash: SetHash::default(), folders: BTreeSet::new() })
    }

    async fn take(&mut self, files: BaseFiles) -> Result<()> {
        self.folders.extend(folders(&files.live));
        let Rows { live, removed } = in_thread((files, self.layout.clone()), Rows::of).await?;
        for (key, row) in live {
            if self.live.put(key, row)? {
                self.set_hash.insert(&key);
            }
        }
        for (key, row) in removed {
            self.removed.put(key, row)?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(LoadedVersion, Layout)> {
        let Self { base, layout, live, removed, set_hash, folders } = self;
        let commit =
            Commit::parse(base.body.clone().unwrap_or_default(), &format!("version {} of the log", base.version))?;
        let files = StoredFiles {
            count: live.known.len() + removed.known.len(),
            live: live.stored,
            removed: removed.stored,
            set_hash,
            folders,
        };
        live.rows.finish()?;
        removed.rows.finish()?;
        let loaded = LoadedVersion {
            summary: CommitSummary::of_commit(base.version, base.time.ms, &commit),
            time: base.time,
            commit_id: commit.info().and_then(commit::id_of),
            // The files of a base are as old as the table's history in this catalog.
            group: None,
            body: base.body.as_deref().map(StoredBody::of).transpose()?,
            changes: CommitActions {
                protocol: Some(base.protocol),
                metadata: Some(base.metadata),
                txns: base.txns,
                domains: base.domains,
                cdcs: CommitActions::of(commit.actions()).cdcs,
                ..CommitActions::default()
            },
            layout: layout.clone(),
            files: Some(files),
            room: None,
        };
        Ok((loaded, layout))
    }
}

/// Files in their stored form.
struct Rows {
    live: Vec<(FileKey, Vec<Value>)>,
    removed: Vec<(FileKey, Vec<Value>)>,
}

impl Rows {
    fn of((files, layout): (BaseFiles, Layout)) -> Result<Self> {
        let live = |add: Add| {
            let key = add.key();
            Ok((key, codec::file_values(&key, &add, &layout.owned)?))
        };
        let removed = |remove: Remove| {
            let key = remove.key();
            Ok((key, remove_file_values(&key, &remove)?))
        };
        Ok(Self {
            live: files.live.into_iter().map(live).collect::<Result<_>>()?,
            removed: files.removed.into_iter().map(removed).collect::<Result<_>>()?,
        })
    }
}
