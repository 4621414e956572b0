//! The state that a history may begin with. It may have any number of files, so they are in a spool until all are there:
//! only then its transaction begins, which waits for nobody else.

use std::collections::{BTreeSet, HashSet};

use deltalakedb_log::action::{Add, Remove};
use deltalakedb_log::commit::{self, NewTable};
use deltalakedb_log::history::{files_without_base, next_of_base};
use deltalakedb_log::references::folders;
use deltalakedb_log::snapshot::{Changes, CommitSummary};
use deltalakedb_log::{
    AllowedPaths, BaseFiles, BaseState, Commit, FileKey, HistoryItem, HistoryItems, PlaceKey, Result, SetHash, TableId,
    Version,
};
use futures::TryStreamExt;
use futures::stream::BoxStream;

use crate::codec::{self, int};
use crate::copy::CHUNK_BYTES;
use crate::database::{Row, Session, Value, Write};
use crate::load::{Layout, LoadedVersion, in_thread};
use crate::spool::{self, Sender};
use crate::version_rows::{StoredBody, remove_file_columns, remove_file_values};

/// The files of the state, as rows.
pub(crate) struct StoredFiles {
    live: BoxStream<'static, Result<Row>>,
    removed: BoxStream<'static, Result<Row>>,
    /// How many there are.
    pub(crate) count: usize,
    /// The hash of the live ones.
    pub(crate) set_hash: SetHash,
    /// The folders of those that are named by absolute paths.
    pub(crate) folders: BTreeSet<PlaceKey>,
}

impl StoredFiles {
    /// Writes them as those of a version.
    pub(crate) async fn write(self, session: &mut dyn Session, table: TableId, version: Version) -> Result<()> {
        let life = [table.0.into(), int(version), Value::Null];
        let columns = [&["table_id", "version", "removed_version"][..], &codec::file_columns()].concat();
        write(session, "dl_add_files", &columns, &life, self.live).await?;
        let columns = [&["table_id", "version"][..], &remove_file_columns()].concat();
        write(session, "dl_remove_files", &columns, &life[..2], self.removed).await
    }
}

/// Writes rows, each behind the same first values; they may be fewer than the columns, which are null then.
async fn write(
    session: &mut dyn Session,
    table: &'static str,
    columns: &[&'static str],
    first: &[Value],
    mut rows: BoxStream<'static, Result<Row>>,
) -> Result<()> {
    let (mut chunk, mut bytes, mut width) = (Vec::new(), 0, 0);
    loop {
        let row = rows.try_next().await?;
        if !chunk.is_empty() && (bytes > CHUNK_BYTES || row.is_none()) {
            let rows = Write::insert(table, &columns[..width], std::mem::take(&mut chunk));
            // A table begins with them.
            session.write(vec![rows.unseen()]).await?;
            bytes = 0;
        }
        let Some(row) = row else { return Ok(()) };
        bytes += row.size();
        let row: Vec<_> = first.iter().cloned().chain(row.0).collect();
        width = row.len();
        chunk.push(row);
    }
}

/// What a history begins with before its first commit, and how the files after it are encoded.
pub(crate) async fn gather(
    items: &mut HistoryItems<'_>,
    allowed: &AllowedPaths,
    new: &NewTable,
    layout: &Layout,
) -> Result<Option<(LoadedVersion, Layout)>> {
    let mut gathered = None;
    while let Some(item) = next_of_base(items).await? {
        match item {
            HistoryItem::Base(base) => gathered = Some(Gathered::new(*base, layout)?),
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

struct Gathered {
    base: BaseState,
    layout: Layout,
    live: Spooled,
    removed: Spooled,
    set_hash: SetHash,
    folders: BTreeSet<PlaceKey>,
}

/// Rows for files, of each file one.
struct Spooled {
    known: HashSet<FileKey>,
    rows: Sender,
    stored: BoxStream<'static, Result<Row>>,
}

impl Spooled {
    fn new() -> Self {
        let (rows, stored) = spool::pair();
        Self { known: HashSet::new(), rows, stored }
    }

    /// Whether the file is new here.
    fn put(&mut self, key: FileKey, row: Vec<Value>) -> Result<bool> {
        let is_new = self.known.insert(key);
        if is_new {
            self.rows.send(Row(row.into_iter()))?;
        }
        Ok(is_new)
    }
}

impl Gathered {
    fn new(base: BaseState, layout: &Layout) -> Result<Self> {
        let changes =
            Changes { metadata: Some(base.metadata.clone()), domains: base.domains.clone(), ..Changes::default() };
        let layout = layout.after(&changes)?;
        let (live, removed) = (Spooled::new(), Spooled::new());
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
            // What a base holds is as old as the history of the table here.
            group: None,
            body: base.body.as_deref().map(StoredBody::of).transpose()?,
            changes: Changes {
                protocol: Some(base.protocol),
                metadata: Some(base.metadata),
                txns: base.txns,
                domains: base.domains,
                cdcs: Changes::of(commit.actions()).cdcs,
                ..Changes::default()
            },
            layout: layout.clone(),
            files: Some(files),
            room: None,
        };
        Ok((loaded, layout))
    }
}

/// Files as they will be stored.
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
