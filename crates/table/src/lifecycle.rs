//! Dropping tables, and deleting the files of tables that are dropped with them.
//!
//! Only files below the table's own folder that its history in the catalog names are deleted, and its `_delta_log`. The
//! catalog records first that the files are being deleted, and last that they are deleted. In between, the place of the
//! table is not free, and dropping the table again resumes the deletion.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use deltalakedb_log::action::Action;
use deltalakedb_log::{
    DropMode, DropTable, ErrorKind, InactiveTable, Result, TableEntry, TableId, TableName, TableRef, TableState,
    TxnLogError, TxnLogReader, Version, first_commit, require,
};
use deltalakedb_mirror::Mirror;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::table::{MANIFEST, MANIFESTS};
use crate::vacuum::{PAGE, TableFolder, walk};
use crate::write_options::WriteOptions;

/// How a table is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropOptions {
    /// Its files are deleted as well.
    pub delete_files: bool,
    /// It is dropped even if not all of it can be published.
    pub force: bool,
}

/// A table that was dropped.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Dropped {
    /// The table before the drop.
    pub table: TableEntry,
    /// The deleted files, if they were to be deleted.
    pub deleted: Option<DeletedFiles>,
}

/// The result of deleting a table's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeletedFiles {
    /// Files that were deleted.
    pub files: u64,
    /// Files that are left in the table's folder, because they do not belong to it.
    pub left: u64,
}

/// Drops a table. It can be undropped for [`WriteOptions::dropped_retention`], unless its files are deleted.
pub async fn drop_table(
    mirror: &Mirror,
    table: TableId,
    drop_options: DropOptions,
    options: &WriteOptions,
) -> Result<Dropped> {
    let mode = if drop_options.delete_files {
        DropMode::DeleteFiles
    } else {
        let time = match options.dropped_retention {
            Some(time) => time,
            None => mirror.catalog().default_retention().await?.time(),
        };
        DropMode::Retain { ms: i64::try_from(time.as_millis()).unwrap_or(i64::MAX) }
    };
    let drop = DropTable {
        mode,
        allow_unpublished: drop_options.force || drop_options.delete_files,
        at_version: None,
        committer: options.committer(),
    };
    let table = mirror.drop_table(table, &drop).await?;
    let deleted = match mirror.catalog().inactive_table(table.id).await? {
        Some(dropped) if drop_options.delete_files => Some(delete_files(mirror, &dropped, options).await?),
        _ => None,
    };
    Ok(Dropped { table, deleted })
}

/// What was dropped under a name without a live table.
#[derive(Clone, Debug, PartialEq)]
pub enum DroppedInactive {
    /// An import that was not finished; it is abandoned.
    Import(InactiveTable),
    /// A table that was dropped with its files, not all of which were deleted; the rest is deleted now.
    Files(InactiveTable, DeletedFiles),
}

/// Abandons an unfinished import, in the name of the owner that the table is imported for, or deletes the remaining files
/// of a table that was dropped with them.
pub async fn drop_inactive(
    mirror: &Mirror,
    name: &TableName,
    drop_options: DropOptions,
    options: &WriteOptions,
) -> Result<DroppedInactive> {
    let catalog = mirror.catalog();
    for table in catalog.inactive_named(name).await? {
        match table.state {
            TableState::Loading => {
                options.committer().check(&table.name, table.owner.as_ref())?;
                catalog.abandon_load(table.id).await?;
                return Ok(DroppedInactive::Import(table));
            }
            TableState::Deleting if drop_options.delete_files => {
                let deleted = delete_files(mirror, &table, options).await?;
                return Ok(DroppedInactive::Files(table, deleted));
            }
            _ => {}
        }
    }
    let name = TableRef::Name(name.clone());
    let live = require(catalog.as_ref(), &name).await?;
    Err(TxnLogError::new(
        ErrorKind::Conflict,
        format!("the table {} was just added to the catalog: try again", live.name),
    ))
}

/// Detaches a table from its catalog: it becomes a plain Delta table, with everything that was committed to it.
pub async fn detach_table(mirror: &Mirror, table: TableId, options: &WriteOptions) -> Result<TableEntry> {
    mirror.detach_table(table, options.committer()).await
}

/// Deletes the remaining files of a table that was dropped with them.
pub async fn delete_files(mirror: &Mirror, table: &InactiveTable, options: &WriteOptions) -> Result<DeletedFiles> {
    let deleted = delete_all(mirror, table, options).await.map_err(|e| {
        let (name, kind) = (&table.name, e.kind());
        let message = format!(
            "{name} is dropped, but not all of its files could be deleted: `dl drop {name} --delete-files` continues"
        );
        TxnLogError::new(kind, message).with_source(e)
    })?;
    mirror.catalog().mark_files_deleted(table.id).await?;
    Ok(deleted)
}

async fn delete_all(mirror: &Mirror, table: &InactiveTable, options: &WriteOptions) -> Result<DeletedFiles> {
    let log = mirror.delete_log(table).await?;
    let reader = mirror.catalog().reader_in(table.id, TableState::Deleting);
    let mut deletion = Deletion::new(table, options)?;
    if let (Some(base), Some(newest)) = (table.base_version, table.current_version) {
        deletion.history(reader.as_ref(), base, newest).await?;
    }
    deletion.manifests().await?;
    deletion.remove_empty_folders();
    let left = deletion.store.list(None).try_fold(0, |n, _| std::future::ready(Ok(n + 1))).await?;
    Ok(DeletedFiles { files: log + deletion.count, left })
}

/// The files of a table while they are deleted.
struct Deletion {
    place: TableFolder,
    store: std::sync::Arc<dyn ObjectStore>,
    folders: Option<LocalFolders>,
    count: u64,
}

impl Deletion {
    fn new(table: &InactiveTable, options: &WriteOptions) -> Result<Self> {
        let folders = options.stores.directory(&table.location).map(LocalFolders::new);
        let store = options.stores.open(&table.location, options.durability)?;
        Ok(Self { place: TableFolder::new(&table.location), store, folders, count: 0 })
    }

    /// Deletes the files that the versions of the table name, a page of commits at a time.
    async fn history(&mut self, reader: &dyn TxnLogReader, base: Version, newest: Version) -> Result<()> {
        let first = first_commit(reader, base).await?;
        let mut page = HashSet::new();
        // Files added before the oldest version are in no retained commit.
        if base > 0 {
            let mut live = reader.files_by_key(base).await?;
            while let Some(add) = live.try_next().await? {
                add.paths()?.for_each(|path| self.name(&mut page, &path));
                self.delete_if_full(&mut page).await?;
            }
            let mut tombstones = reader.tombstones(base, i64::MIN).await?;
            while let Some(remove) = tombstones.try_next().await? {
                remove.paths()?.for_each(|path| self.name(&mut page, &path));
                self.delete_if_full(&mut page).await?;
            }
        }
        for from in (first..=newest).step_by(PAGE as usize) {
            walk(reader, (from, newest.min(from + PAGE - 1)), |action| {
                match action {
                    Action::Add(add) => add.paths()?.for_each(|path| self.name(&mut page, &path)),
                    Action::Remove(remove) => remove.paths()?.for_each(|path| self.name(&mut page, &path)),
                    Action::Cdc(cdc) => self.name(&mut page, &cdc.path),
                    _ => {}
                }
                Ok(())
            })
            .await?;
            self.delete(std::mem::take(&mut page)).await?;
        }
        self.delete(page).await
    }

    /// Records a file that the log names, if it is below the table.
    fn name(&mut self, page: &mut HashSet<Path>, raw: &str) {
        page.extend(self.place.object(raw));
    }

    async fn delete_if_full(&mut self, page: &mut HashSet<Path>) -> Result<()> {
        if page.len() >= BATCH { self.delete(std::mem::take(page)).await } else { Ok(()) }
    }

    async fn delete(&mut self, mut files: HashSet<Path>) -> Result<()> {
        if let Some(folders) = &mut self.folders {
            files.retain(|file| folders.holds(file));
        }
        let files = stream::iter(files.into_iter().map(Ok)).boxed();
        let mut deleted = self.store.delete_stream(files);
        while let Some(deleted) = deleted.next().await {
            match deleted {
                Ok(_) => self.count += 1,
                Err(object_store::Error::NotFound { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Deletes the symlink manifests.
    async fn manifests(&mut self) -> Result<()> {
        let listed: Vec<_> = self.store.list(Some(&Path::from(MANIFESTS))).try_collect().await?;
        let manifests = listed.into_iter().map(|file| file.location);
        self.delete(manifests.filter(|path| path.filename() == Some(MANIFEST)).collect()).await
    }

    fn remove_empty_folders(&self) {
        if let Some(folders) = &self.folders {
            folders.remove_empty();
        }
    }
}

/// The number of files that are deleted at once.
const BATCH: usize = 1_000;

struct LocalFolders {
    /// The table's folder.
    root: PathBuf,
    /// The same with links resolved.
    real: Option<PathBuf>,
    /// Whether a folder is below that of the table after links are resolved.
    inside: HashMap<PathBuf, bool>,
}

impl LocalFolders {
    fn new(root: PathBuf) -> Self {
        let real = root.canonicalize().ok();
        Self { root, real, inside: HashMap::new() }
    }

    /// Whether a file exists and is below the table after links are resolved.
    fn holds(&mut self, file: &Path) -> bool {
        let path = self.root.join(file.as_ref());
        let Some((folder, real)) = path.parent().zip(self.real.as_ref()) else { return false };
        let is_inside = |folder: &PathBuf| folder.canonicalize().is_ok_and(|folder| folder.starts_with(real));
        *self.inside.entry(folder.to_path_buf()).or_insert_with_key(is_inside)
    }

    /// Removes the empty folders among those that files were deleted from, those of the log, and their parents. The
    /// table's own folder stays.
    fn remove_empty(&self) {
        let log = ["_delta_log", "_delta_log/_sidecars", MANIFESTS].map(|folder| self.root.join(folder));
        let own = self.inside.iter().filter(|(_, inside)| **inside).map(|(folder, _)| folder.clone());
        let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
        for folder in own.chain(log) {
            let above = folder.ancestors().take_while(|above| *above != self.root && above.starts_with(&self.root));
            folders.extend(above.map(PathBuf::from));
        }
        // A folder is sorted before its contents.
        for folder in folders.iter().rev() {
            if let Err(e) = std::fs::remove_dir(folder) {
                tracing::debug!(folder = %folder.display(), error = %e, "a folder stays");
            }
        }
    }
}
