//! Removes files that no version within retention, and no transaction that may still commit, can need.
//!
//! The catalog has every file of every version, so the files to keep are not inferred from tombstones. A file that is
//! not in the catalog may belong to a write in progress: it is kept until every transaction that began before has
//! committed or timed out.

mod clones;
mod holds;
mod marks;
mod options;
mod table_folder;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use deltalakedb_log::action::{Action, Add};
use deltalakedb_log::references::folders;
use deltalakedb_log::retention::{before, tombstone_retention};
use deltalakedb_log::{
    At, Catalog, Commit, ErrorKind, LocationKey, Result, Snapshot, Subject, TableEntry, TableId, TableRef, TxnLogError,
    TxnLogReader, Version, canonical_path, first_commit, require,
};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use self::marks::Marks;
pub(crate) use self::marks::check_none_is_going_on;
pub use self::options::{SparedFiles, Vacuum, Vacuumed};
use self::options::{hours, millis};
pub(crate) use self::table_folder::TableFolder;
use crate::error::caused;
use crate::table::{DeltaTable, Source};
use crate::write_options::{MAX_TIMEOUT, WriteOptions};

/// The time for the commit of a transaction of the maximum age, and for differences between clocks.
const MARGIN: Duration = Duration::from_secs(60 * 60);

/// The maximum number of concurrent requests to a store.
const AT_ONCE: usize = 16;

/// How many files are removed between two reads of the log.
const BATCH: usize = 1_000;

/// How many versions are read between requests to the store.
pub(crate) const PAGE: Version = 256;

impl DeltaTable {
    /// Removes files of the table's folder that no retained version and no open transaction needs. It keeps the files
    /// of versions that were the newest within retention, of the published version and later ones, and of versions that
    /// a reader [holds](Self::hold) and later ones; files that another table of the catalog refers to; files that a
    /// transaction may still commit ([`MAX_TIMEOUT`]); [further files](Vacuum::spare) that the caller names; and
    /// everything in `_delta_log` and other hidden folders. Older versions can then no longer be read.
    #[tracing::instrument(target = "deltalakedb::operation", level = "debug", skip_all, fields(table = %self))]
    pub async fn vacuum(&self, what: &Vacuum, options: &WriteOptions) -> Result<Vacuumed> {
        let Source::Catalog { catalog, id, .. } = &self.source else {
            return Err(TxnLogError::invalid(format!(
                "{self} is not in a catalog, which records the files that transactions may still commit: import it \
                 with `dl import`, or vacuum it with the engine that writes it"
            )));
        };
        if !what.dry_run {
            self.check_owner(options)?;
        }
        // Files that only newer published commits name would look like orphan files to a catalog without them.
        deltalakedb_mirror::check_not_behind(catalog.as_ref(), self.stores.as_ref(), *id).await?;
        catalog.compared().insert(*id);
        let reader = catalog.reader(*id);
        let head = reader.snapshot(At::Latest).await?;
        let default = tombstone_retention(&head.head.metadata)?;
        let retain = what.retain.unwrap_or(default);
        if what.enforce_retention && retain < default {
            let message = format!(
                "{self} keeps removed files for {} hours (delta.deletedFileRetentionDuration), and {} are asked for: \
                 readers of versions in between would fail, so ask without enforcement (`dl vacuum --force`) if there are none",
                hours(default),
                hours(retain)
            );
            return Err(TxnLogError::invalid(message).about(Subject::Retention { minimum: default, requested: retain }));
        }
        let now = catalog.now_ms().await?;
        let store = self.stores.open(&self.location, options.durability)?;
        let entry = require(catalog.as_ref(), &TableRef::Id(*id)).await?;
        let mut needed = NeededFiles::of(&entry, reader.as_ref(), &head, before(now, retain)).await?;
        needed.keep_for_clones(catalog.as_ref(), &self.location, now).await?;
        for version in &what.keep_versions {
            needed.keep_version(reader.as_ref(), *version).await?;
        }
        let mut found = if what.lite {
            needed.unneeded_in_log(store.as_ref(), reader.as_ref()).await?
        } else {
            let grace = if what.sole_writer { i64::MAX } else { before(now, retain.max(MAX_TIMEOUT + MARGIN)) };
            let partition_by = &head.head.metadata.partition_columns;
            needed.unneeded_in_folder(store.as_ref(), reader.as_ref(), partition_by, grace).await?
        };
        found.retain(|(path, _)| !what.spare.has(path));
        let mut held = needed.keep_held(catalog.as_ref(), reader.as_ref(), *id, &mut found).await?;
        if !what.dry_run {
            catalog.remove_ended_holds(*id).await?;
            needed.forget_folders(catalog.as_ref(), (*id, entry.base_version), head.version()).await?;
        }
        if what.dry_run || found.is_empty() {
            return Ok(Vacuumed { held, ..Vacuumed::of(&found) });
        }
        // The listing may have taken longer than history is retained.
        let newest = reader.snapshot(At::Latest).await?;
        if (&newest.head.metadata, &newest.head.protocol) != (&head.head.metadata, &head.head.protocol) {
            let message =
                format!("{self} was altered while a vacuum looked for files that can be removed: run it again");
            return Err(TxnLogError::new(ErrorKind::Conflict, message));
        }
        let mut marks = Marks::new(catalog.as_ref(), *id, options);
        let started = marks.start(newest.version(), &Vacuumed::of(&found), what, millis(default)).await?;
        let mut gone = Vec::new();
        let removed = async {
            let (mut seen, mut newest) = (head.version(), started);
            while !found.is_empty() {
                // Concurrent commits may have added files again.
                needed.keep_new_versions(catalog.as_ref(), *id, (seen + 1, newest)).await?;
                needed.keep_for_clones(catalog.as_ref(), &self.location, now).await?;
                found.retain(|(path, _)| !needed.has(path));
                held += needed.keep_held(catalog.as_ref(), reader.as_ref(), *id, &mut found).await?;
                let batch = found.split_off(found.len().saturating_sub(BATCH));
                gone.extend_from_slice(&batch);
                remove(store.as_ref(), batch).await.map_err(|e| {
                    let what =
                        format!("{self} is only partly vacuumed, because a file cannot be deleted: run it again");
                    caused(ErrorKind::Unavailable, what, e)
                })?;
                (seen, newest) = (newest, marks.renew_start(reader.as_ref()).await?);
            }
            Ok::<_, TxnLogError>(())
        };
        let removed = removed.await;
        let gone = Vacuumed { held, ..Vacuumed::of(&gone) };
        let ended = marks.end(reader.as_ref(), &gone, removed.is_ok()).await;
        removed?;
        ended?;
        Ok(gone)
    }
}

async fn remove(store: &dyn ObjectStore, files: Vec<(Path, u64)>) -> Result<()> {
    let removed = store.delete_stream(stream::iter(files.into_iter().map(|(path, _)| Ok(path))).boxed());
    let removed = removed.filter(|r| std::future::ready(!matches!(r, Err(object_store::Error::NotFound { .. }))));
    Ok(removed.try_for_each(|_| std::future::ready(Ok(()))).await?)
}

/// The files of a table that may still be needed.
struct NeededFiles {
    place: TableFolder,
    /// By their paths in the table's store.
    files: HashSet<Path>,
    /// The folders of files with absolute paths.
    folders: BTreeSet<LocationKey>,
    /// The versions before those that need files, if they are retained with their commits.
    before: (Version, Version),
}

impl NeededFiles {
    /// The files of versions that were the newest at `cutoff_ms` or later, of the version that readers of `_delta_log`
    /// see, and of all later ones.
    async fn of(entry: &TableEntry, reader: &dyn TxnLogReader, head: &Snapshot, cutoff_ms: i64) -> Result<Self> {
        let oldest = oldest_needed(reader, entry.base_version, entry.published_version, cutoff_ms).await?;
        let first = first_commit(reader, entry.base_version).await?;
        let (place, files, folders) = (TableFolder::new(&entry.location), HashSet::new(), BTreeSet::new());
        let mut needed = Self { place, files, folders, before: (first, oldest) };
        needed.keep_version(reader, oldest).await?;
        needed.keep_since(reader, (oldest.max(first), head.version())).await?;
        Ok(needed)
    }

    fn has(&self, path: &Path) -> bool {
        self.files.contains(path)
    }

    /// Keeps a file that the log names, if it is below the table.
    fn keep_path(&mut self, raw: &str) {
        let path = self.place.object(raw);
        self.files.extend(path);
    }

    async fn keep_version(&mut self, reader: &dyn TxnLogReader, version: Version) -> Result<()> {
        let mut live = reader.files(version, None).await?;
        while let Some(add) = live.try_next().await? {
            self.keep(&add)?;
        }
        Ok(())
    }

    /// Keeps the files added by a range of versions, which were committed concurrently. Of those that have expired
    /// since, only files of the oldest retained version are needed.
    async fn keep_new_versions(
        &mut self,
        catalog: &dyn Catalog,
        table: TableId,
        (from, to): (Version, Version),
    ) -> Result<()> {
        let reader = catalog.reader(table);
        let oldest = async || Ok::<_, TxnLogError>(require(catalog, &TableRef::Id(table)).await?.base_version);
        let mut base = oldest().await?;
        loop {
            let kept = if base < from {
                self.keep_since(reader.as_ref(), (from, to)).await
            } else {
                self.keep_all_since(reader.as_ref(), (base, to)).await
            };
            match kept {
                // More history has expired while it was read.
                Err(e) if e.kind() == ErrorKind::NotFound => match oldest().await? {
                    now if now > base => base = now,
                    _ => return Err(e),
                },
                kept => return kept,
            }
        }
    }

    /// Keeps the files of a version, at which history may begin, and those added by the versions up to another.
    async fn keep_all_since(&mut self, reader: &dyn TxnLogReader, (base, to): (Version, Version)) -> Result<()> {
        self.keep_version(reader, base).await?;
        let first = first_commit(reader, base).await?;
        self.keep_since(reader, (first, to)).await
    }

    /// Keeps the files added by a range of versions.
    async fn keep_since(&mut self, reader: &dyn TxnLogReader, versions: (Version, Version)) -> Result<()> {
        walk(reader, versions, |action| {
            match action {
                Action::Add(add) => self.keep(add)?,
                Action::Cdc(cdc) => self.keep_path(&cdc.path),
                _ => {}
            }
            Ok(())
        })
        .await
    }

    /// Keeps the files that the oldest held version and later ones need, removes them from `found`, and returns how
    /// many there were.
    async fn keep_held(
        &mut self,
        catalog: &dyn Catalog,
        reader: &dyn TxnLogReader,
        table: TableId,
        found: &mut Vec<(Path, u64)>,
    ) -> Result<u64> {
        let (first, last) = self.before;
        let Some(oldest) = catalog.oldest_held(table).await?.filter(|version| *version < last) else { return Ok(0) };
        self.keep_version(reader, oldest).await?;
        self.keep_since(reader, (oldest.max(first), last)).await?;
        self.before = (first, oldest);
        let before = found.len();
        found.retain(|(path, _)| !self.has(path));
        Ok((before - found.len()) as u64)
    }

    fn keep(&mut self, add: &Add) -> Result<()> {
        self.folders.extend(folders([add]));
        add.paths()?.for_each(|path| self.keep_path(&path));
        Ok(())
    }

    /// Passes to `found` each file that a commit before all needed versions removed, or added only as change data; one
    /// page of commits at a time, after which `found` may take its time. Commits that expire in the meantime are
    /// omitted.
    async fn removed_files(
        &mut self,
        reader: &dyn TxnLogReader,
        mut found: impl AsyncFnMut(HashMap<Path, u64>) -> Result<()>,
    ) -> Result<()> {
        let (first, last) = self.before;
        for from in (first..=last).step_by(PAGE as usize) {
            let mut page = HashMap::new();
            let walked = walk(reader, (from, last.min(from + PAGE - 1)), |action| {
                let mut removed_files = |path: &str, size: Option<i64>| {
                    if let Some(path) = self.place.object(path).filter(|path| !self.files.contains(path)) {
                        page.insert(path, size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0));
                    }
                };
                match action {
                    Action::Cdc(cdc) => removed_files(&cdc.path, Some(cdc.size)),
                    Action::Remove(remove) => {
                        // The size is that of its own file, which is the first.
                        let mut size = remove.size;
                        remove.paths()?.for_each(|path| removed_files(&path, size.take()));
                    }
                    _ => {}
                }
                Ok(())
            })
            .await;
            match walked {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                walked => walked?,
            }
            found(page).await?;
        }
        Ok(())
    }

    /// The files that the log names, that are not needed, and that exist.
    async fn unneeded_in_log(
        &mut self,
        store: &dyn ObjectStore,
        reader: &dyn TxnLogReader,
    ) -> Result<Vec<(Path, u64)>> {
        let mut there = HashMap::new();
        self.removed_files(reader, async |page| {
            let inside = page.into_keys().filter(|path| !is_hidden(path, &[]) && !there.contains_key(path));
            let looked = stream::iter(inside.collect::<Vec<_>>()).map(|path| async move {
                match store.head(&path).await {
                    Ok(meta) => Ok(Some((path, meta.size))),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(e) => Err(TxnLogError::from(e)),
                }
            });
            let mut looked = looked.buffer_unordered(AT_ONCE);
            while let Some(found) = looked.try_next().await? {
                there.extend(found);
            }
            Ok(())
        })
        .await?;
        Ok(there.into_iter().collect())
    }

    /// The files below the table that are not needed, and that are known to the log or were written before `grace_ms`.
    async fn unneeded_in_folder(
        &mut self,
        store: &dyn ObjectStore,
        reader: &dyn TxnLogReader,
        partition_by: &[String],
        grace_ms: i64,
    ) -> Result<Vec<(Path, u64)>> {
        let (mut all, mut found, mut young) = (store.list(None), Vec::new(), HashMap::new());
        while let Some(meta) = all.try_next().await? {
            if self.has(&meta.location) || is_hidden(&meta.location, partition_by) {
                continue;
            }
            if meta.last_modified.timestamp_millis() < grace_ms {
                found.push((meta.location, meta.size));
            } else {
                young.insert(meta.location, meta.size);
            }
        }
        if !young.is_empty() {
            self.removed_files(reader, async |page| {
                found.extend(page.into_keys().filter_map(|path| young.remove_entry(&path)));
                Ok(())
            })
            .await?;
        }
        Ok(found)
    }
}

/// The oldest needed version: the one that was the newest at `cutoff_ms`, or the published one.
async fn oldest_needed(
    reader: &dyn TxnLogReader,
    base: Version,
    published: Option<Version>,
    cutoff_ms: i64,
) -> Result<Version> {
    let at_cutoff = match reader.snapshot(At::Timestamp(cutoff_ms)).await {
        Ok(at_cutoff) => at_cutoff.version(),
        Err(e) if e.kind() == ErrorKind::NotFound => base,
        Err(e) => return Err(e),
    };
    Ok(published.unwrap_or(at_cutoff).max(base).min(at_cutoff))
}

/// Passes the actions of each version in a range to a function.
pub(crate) async fn walk(
    reader: &dyn TxnLogReader,
    (from, to): (Version, Version),
    mut look: impl FnMut(&Action) -> Result<()>,
) -> Result<()> {
    if from > to {
        return Ok(());
    }
    let mut commits = reader.changes(from, to).await?;
    while let Some((version, body)) = commits.try_next().await? {
        let commit = Commit::parse(body, &format!("version {version} of the table"))?;
        commit.actions().iter().try_for_each(&mut look)?;
    }
    Ok(())
}

/// A path starting with `.` or `_` is not data of the table, except change data and partition folders.
fn is_hidden(path: &Path, partition_by: &[String]) -> bool {
    path.parts().enumerate().any(|(n, part)| {
        let part = part.as_ref().to_string();
        let partition = part.split_once('=').is_some_and(|(column, _)| {
            let decoded = String::from_utf8_lossy(&canonical_path(column)).into_owned();
            partition_by.is_empty() || partition_by.iter().any(|p| *p == column || *p == decoded)
        });
        part.starts_with(['.', '_']) && !partition && !(n == 0 && part == "_change_data")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_are_not_data() {
        let by = ["_day".to_string(), "a b".to_string()];
        let check = |path: &str, want: bool| assert_eq!(is_hidden(&Path::parse(path).unwrap(), &by), want, "{path}");
        check("part-0.parquet", false);
        check("_day=3/part-0.parquet", false);
        check("a%20b=3/part-0.parquet", false);
        check("_change_data/cdc.parquet", false);
        check("_delta_log/0.json", true);
        check("_other=1/x.parquet", true);
        check("sub/_tmp/x.parquet", true);
        check("sub/.x.parquet", true);
    }
}
