//! Removing files that no version within retention, and no transaction that may still commit, can need.
//!
//! The catalog knows every file a version ever had, so what is kept is not guessed from tombstones. What it does not
//! know may be a file that somebody is writing: it is left until nobody who began before could still commit it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use deltalakedb_log::action::{Action, Add, CommitInfo};
use deltalakedb_log::catalog::{Catalog, TableRef, TxnLogReader, require};
use deltalakedb_log::commit::{Base, CommitRequest, Committed};
use deltalakedb_log::time::parse_interval;
use deltalakedb_log::{
    At, Commit, ErrorKind, Location, Object, Result, Snapshot, TableId, TxnLogError, Version, canonical_path,
};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::delta_rs::deletion_vector_file;
use crate::table::{DeltaTable, Source};
use crate::transaction::MAX_TIMEOUT;
use crate::write::{WriteOptions, commit_requests};

/// What to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vacuum {
    /// Versions that were the table's newest within this time keep their files; `None`: the table's
    /// `delta.deletedFileRetentionDuration`, a week where it has none.
    pub retain: Option<Duration>,
    /// Only files that the log knows are removed, and the table's folder is not listed.
    pub lite: bool,
    /// Only says what would be removed.
    pub dry_run: bool,
    /// Refuses a `retain` that is shorter than the table's own.
    pub enforce_retention: bool,
    /// Versions that keep their files, however old they are.
    pub keep_versions: Vec<Version>,
}

impl Default for Vacuum {
    fn default() -> Self {
        Self { retain: None, lite: false, dry_run: false, enforce_retention: true, keep_versions: Vec::new() }
    }
}

/// What was removed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// The files, by their paths below the table, sorted.
    pub files: Vec<String>,
    /// Their bytes, as far as they are known.
    pub bytes: u64,
}

impl Vacuumed {
    fn of(found: &[(Path, u64)]) -> Self {
        let mut files: Vec<_> = found.iter().map(|(path, _)| path.to_string()).collect();
        files.sort();
        Self { files, bytes: found.iter().map(|(_, size)| size).sum() }
    }
}

/// What a transaction that is about to reach its greatest age may still need to commit, and clocks may differ by.
const MARGIN: Duration = Duration::from_secs(60 * 60);

/// A week.
const DEFAULT_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How many requests to a store are under way at once.
const AT_ONCE: usize = 16;

impl DeltaTable {
    /// Removes files of the table's folder that nobody can need any more: not those of a version that was the newest
    /// within retention, not those that a transaction may still commit ([`MAX_TIMEOUT`]), none in `_delta_log` or
    /// another hidden folder. Older versions can then no longer be read.
    pub async fn vacuum(&self, what: &Vacuum, options: &WriteOptions) -> Result<Vacuumed> {
        let Source::Catalog { catalog, id, .. } = &self.source else {
            return Err(TxnLogError::invalid(format!(
                "{self} is in no catalog that knows which files its transactions may still commit: bring it in with \
                 `dl import`, or vacuum it with the engine that writes it"
            )));
        };
        // Files that only newer published commits name would be nobody's to a catalog that lacks these commits.
        deltalakedb_mirror::check_not_behind(catalog.as_ref(), self.stores.as_ref(), *id).await?;
        catalog.compared().insert(*id);
        let reader = catalog.reader(*id);
        let head = reader.snapshot(At::Latest).await?;
        let default = retention(&head)?;
        let retain = what.retain.unwrap_or(default);
        if what.enforce_retention && retain < default {
            return Err(TxnLogError::invalid(format!(
                "{self} keeps removed files for {} hours (delta.deletedFileRetentionDuration), and {} are asked for: \
                 readers of versions in between would fail, so ask without enforcement (`dl vacuum --force`) if there are none",
                hours(default),
                hours(retain)
            )));
        }
        let now = catalog.now_ms().await?;
        let store = self.stores.open(&self.location, options.durability)?;
        let mut known = Known::of(catalog.as_ref(), *id, &head, now.saturating_sub(millis(retain))).await?;
        for version in &what.keep_versions {
            let mut live = reader.files(*version, None).await?;
            while let Some(add) = live.try_next().await? {
                known.keep(&add)?;
            }
        }
        let Known { kept, over, .. } = &mut known;
        over.retain(|path, _| !kept.contains(path));
        let mut found = match what.lite {
            true => known.still_there(store.as_ref()).await?,
            false => {
                let grace = now.saturating_sub(millis(retain.max(MAX_TIMEOUT + MARGIN)));
                known.listed(store.as_ref(), &head.head.metadata.partition_columns, grace).await?
            }
        };
        if what.dry_run || found.is_empty() {
            return Ok(Vacuumed::of(&found));
        }
        let start = start(options, &Vacuumed::of(&found), what, millis(default));
        let started = mark(catalog.as_ref(), *id, head.version(), start, options).await?;
        // A restore that was committed meanwhile may have brought files back; one that was not will find this version.
        known.keep_since(reader.as_ref(), (head.version() + 1, started.version)).await?;
        found.retain(|(path, _)| !known.kept.contains(path.as_ref().as_bytes()));
        let gone = Vacuumed::of(&found);
        let deleted = store.delete_stream(stream::iter(found.into_iter().map(|(path, _)| Ok(path))).boxed());
        let deleted = deleted.filter(|r| std::future::ready(!matches!(r, Err(object_store::Error::NotFound { .. }))));
        deleted.try_for_each(|_| std::future::ready(Ok(()))).await.map_err(|e| {
            let what = format!("{self} is vacuumed in part: a file cannot be removed, run it again");
            TxnLogError::new(ErrorKind::Unavailable, what).with_source(e)
        })?;
        let now_at = reader.head().await?.version;
        mark(catalog.as_ref(), *id, now_at, end(options, &gone), options).await?;
        Ok(gone)
    }
}

/// What the catalog knows of a table's files, by their decoded paths below it.
struct Known {
    /// Where the table is.
    place: Location,
    /// The decoded path of that, with a slash at its end.
    root: Vec<u8>,
    /// Those of versions within retention, of the newest version, and what belongs to them.
    kept: HashSet<Vec<u8>>,
    /// Those whose time is over, and their size.
    over: HashMap<Vec<u8>, u64>,
}

impl Known {
    /// Versions that were the newest at `cutoff_ms` or later are within retention.
    async fn of(catalog: &dyn Catalog, id: TableId, head: &Snapshot, cutoff_ms: i64) -> Result<Self> {
        let entry = require(catalog, &TableRef::Id(id)).await?;
        let reader = catalog.reader(id);
        let oldest = match reader.snapshot(At::Timestamp(cutoff_ms)).await {
            Ok(at_cutoff) => at_cutoff.version(),
            Err(e) if e.kind() == ErrorKind::NotFound => entry.base_version,
            Err(e) => return Err(e),
        };
        let mut root = canonical_path(entry.location.url().as_str());
        if !root.ends_with(b"/") {
            root.push(b'/');
        }
        let mut known = Self { place: entry.location, root, kept: HashSet::new(), over: HashMap::new() };
        let mut live = reader.files(oldest, None).await?;
        while let Some(add) = live.try_next().await? {
            known.keep(&add)?;
        }
        drop(live);
        // What came and went before is over, if nothing later needs it again.
        let from = match reader.commit_bytes(entry.base_version).await? {
            Some(_) => entry.base_version,
            // History began at a checkpoint.
            None => entry.base_version + 1,
        };
        known
            .walk(reader.as_ref(), (from, oldest), |known, action| {
                if let Action::Add(Add { path, size, .. }) = action {
                    known.over.insert(known.below(path), u64::try_from(*size).unwrap_or(0));
                } else if let Action::Remove(remove) = action {
                    let size = remove.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                    known.over.insert(known.below(&remove.path), size);
                    if let Some(vector) = &remove.deletion_vector
                        && let Some(url) = deletion_vector_file(vector, &known.place)?
                    {
                        known.over.entry(known.below(url.as_str())).or_insert(0);
                    }
                } else if let Action::Cdc(cdc) = action {
                    known.over.insert(known.below(&cdc.path), u64::try_from(cdc.size).unwrap_or(0));
                }
                Ok(())
            })
            .await?;
        known.keep_since(reader.as_ref(), (oldest.max(from), head.version())).await?;
        let kept = &known.kept;
        known.over.retain(|path, _| !kept.contains(path));
        Ok(known)
    }

    /// Keeps what the versions from one to another brought.
    async fn keep_since(&mut self, reader: &dyn TxnLogReader, versions: (Version, Version)) -> Result<()> {
        self.walk(reader, versions, |known, action| {
            match action {
                Action::Add(add) => known.keep(add)?,
                Action::Cdc(cdc) => _ = known.kept.insert(known.below(&cdc.path)),
                _ => {}
            }
            Ok(())
        })
        .await
    }

    fn keep(&mut self, add: &Add) -> Result<()> {
        self.kept.insert(self.below(&add.path));
        if let Some(vector) = &add.deletion_vector
            && let Some(url) = deletion_vector_file(vector, &self.place)?
        {
            self.kept.insert(self.below(url.as_str()));
        }
        Ok(())
    }

    /// Looks at what each version from one to another did.
    async fn walk(
        &mut self,
        reader: &dyn TxnLogReader,
        (from, to): (Version, Version),
        look: impl Fn(&mut Self, &Action) -> Result<()>,
    ) -> Result<()> {
        if from > to {
            return Ok(());
        }
        let mut commits = reader.changes(from, to).await?;
        while let Some((version, body)) = commits.try_next().await? {
            let commit = Commit::parse(body, &format!("version {version} of the table at {}", self.place))?;
            commit.actions().iter().try_for_each(|action| look(self, action))?;
        }
        Ok(())
    }

    /// The decoded path of a file below the table; as it is, where it is elsewhere.
    fn below(&self, raw: &str) -> Vec<u8> {
        let path = canonical_path(raw);
        if let Some(inside) = path.strip_prefix(self.root.as_slice()).filter(|inside| !inside.starts_with(b"/")) {
            return inside.to_vec();
        }
        // A local file may be named through a link, or with a slash too many.
        let local = std::str::from_utf8(&path).ok().filter(|path| path.starts_with('/'));
        let real = local.and_then(|path| std::fs::canonicalize(path).ok());
        let inside = real.and_then(|real| Some(real.to_str()?.as_bytes().strip_prefix(self.root.as_slice())?.to_vec()));
        inside.unwrap_or(path)
    }

    /// The files whose time is over and that are there.
    async fn still_there(&self, store: &dyn ObjectStore) -> Result<Vec<(Path, u64)>> {
        let paths = self.over.keys().filter_map(|path| Path::parse(std::str::from_utf8(path).ok()?).ok());
        let inside = paths.filter(|path| !is_hidden(path, &[]));
        let looked = stream::iter(inside).map(|path| async move {
            match store.head(&path).await {
                Ok(meta) => Ok(Some((path, meta.size))),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(e) => Err(TxnLogError::from(e)),
            }
        });
        looked.buffer_unordered(AT_ONCE).try_filter_map(|found| std::future::ready(Ok(found))).try_collect().await
    }

    /// The files below the table whose time is over, and those that nobody knows and nobody put there since `grace_ms`.
    async fn listed(
        &self,
        store: &dyn ObjectStore,
        partition_by: &[String],
        grace_ms: i64,
    ) -> Result<Vec<(Path, u64)>> {
        let (mut all, mut found) = (store.list(None), Vec::new());
        while let Some(meta) = all.try_next().await? {
            let path = meta.location.as_ref().as_bytes();
            let old = self.over.contains_key(path) || meta.last_modified.timestamp_millis() < grace_ms;
            if old && !self.kept.contains(path) && !is_hidden(&meta.location, partition_by) {
                found.push((meta.location, meta.size));
            }
        }
        Ok(found)
    }
}

/// What begins with `.` or `_` is not the table's data, but for change data and for folders of partitions.
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

/// How long a table keeps removed files.
fn retention(head: &Snapshot) -> Result<Duration> {
    const PROPERTY: &str = "delta.deletedFileRetentionDuration";
    let Some(text) = head.head.metadata.property(PROPERTY) else { return Ok(DEFAULT_RETENTION) };
    parse_interval(text).ok_or_else(|| {
        TxnLogError::invalid(format!("the property {PROPERTY} is {text:?}: expected for example `interval 7 days`"))
    })
}

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

fn hours(d: Duration) -> f64 {
    (d.as_secs_f64() / 36.0).round() / 100.0
}

/// The commit that says a vacuum begins, in the words of other engines.
fn start(options: &WriteOptions, found: &Vacuumed, what: &Vacuum, default_ms: i64) -> CommitInfo {
    let mut parameters = Object::default();
    parameters.set("retentionCheckEnabled", what.enforce_retention.to_string());
    parameters.set("defaultRetentionMillis", default_ms.to_string());
    if let Some(ms) = what.retain.map(millis) {
        parameters.set("specifiedRetentionMillis", ms.to_string());
    }
    let mut metrics = Object::default();
    metrics.set("numFilesToDelete", found.files.len());
    metrics.set("sizeOfDataToDelete", found.bytes);
    info(options, "VACUUM START", parameters, metrics)
}

fn end(options: &WriteOptions, gone: &Vacuumed) -> CommitInfo {
    let mut parameters = Object::default();
    parameters.set("status", "COMPLETED");
    let mut metrics = Object::default();
    metrics.set("numDeletedFiles", gone.files.len());
    metrics.set("numVacuumedDirectories", 0);
    info(options, "VACUUM END", parameters, metrics)
}

fn info(options: &WriteOptions, operation: &str, parameters: Object, metrics: Object) -> CommitInfo {
    let mut info = options.info(operation, parameters);
    info.set("operationMetrics", metrics);
    info.set("isBlindAppend", true);
    CommitInfo(info)
}

/// Commits a version that changes nothing and says what goes on.
async fn mark(
    catalog: &dyn Catalog,
    table: TableId,
    base: Version,
    info: CommitInfo,
    options: &WriteOptions,
) -> Result<Committed> {
    let (operation, actions) = (options.clock.new_uuid(), vec![Action::CommitInfo(info)]);
    let mut request = CommitRequest::new(table, operation, Base::RebaseFrom(base), actions);
    request.committer = options.committer.clone();
    let committed = commit_requests(catalog, vec![request], Vec::new(), options).await?;
    let first = committed.into_iter().next();
    first.ok_or_else(|| TxnLogError::new(ErrorKind::Internal, "the catalog committed a vacuum and named no version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_not_data() {
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
