//! Keeps a DuckDB database with a view for each table of a catalog.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deltalakedb_catalog::duckdb_views::{DuckDbViews, ViewSource, ViewState, ViewedFile, ViewedTable};
use deltalakedb_catalog::{Backend, CatalogUri};
use deltalakedb_log::action::Add;
use deltalakedb_log::features::check_readable;
use deltalakedb_log::schema::Schema;
use deltalakedb_log::snapshot::Head;
use deltalakedb_log::stats::FileStats;
use deltalakedb_log::{
    Action, At, Catalog, Commit, ErrorKind, FileKey, Point, Result, TableEntry, TableId, TableName, TableRef,
    TxnLogError, TxnLogReader, Version, absolute_path, canonical_path, listing,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use url::Url;

use crate::table::DeltaTable;

/// The number of files that are read from the log and written to the database at once.
const FILES_AT_ONCE: usize = 2_000;
/// The number of hidden rows, likewise; one file may have more.
const ROWS_AT_ONCE: i64 = 1_000_000;

/// A DuckDB database that has a view for each table of a catalog, in the schema of its namespace, over the data files of
/// a version: plain DuckDB reads the tables without an extension. The table `_deltalakedb.tables` says which version
/// each view shows, and `_deltalakedb.file_statistics` has the files with their statistics.
///
/// All views show one point in the order of the catalog's commits, except those that a refresh could not change: the
/// column `problem` of `_deltalakedb.tables` names them.
pub struct DuckDbMirror {
    catalog: Arc<dyn Catalog>,
    file: PathBuf,
    /// The tables and versions of the last refresh that left none out for a reason that may pass; `None` before it.
    last_refresh: Option<HashMap<TableId, (TableName, Version)>>,
}

/// What a refresh did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct DuckDbRefresh {
    /// The tables whose views show another version now.
    pub changed: Vec<(TableName, Version)>,
    /// The tables whose views were removed.
    pub removed: Vec<TableName>,
    /// The number of tables whose views are as they were.
    pub unchanged: usize,
    /// The tables that have no view, or one of an earlier version, and why.
    pub left_out: Vec<(TableName, TxnLogError)>,
    /// Nothing had changed since the last refresh of this mirror, so the database was not opened, and tables that have
    /// no view are not named again.
    pub is_skipped: bool,
}

impl fmt::Debug for DuckDbMirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DuckDbMirror").field("file", &self.file).finish_non_exhaustive()
    }
}

impl fmt::Display for DuckDbRefresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (changed, removed, left_out) = (self.changed.len(), self.removed.len(), self.left_out.len());
        write!(f, "refreshed {changed} {}, {} unchanged", if changed == 1 { "view" } else { "views" }, self.unchanged)?;
        if removed > 0 {
            write!(f, ", {removed} removed")?;
        }
        if left_out > 0 {
            write!(f, ", {left_out} left out")?;
        }
        Ok(())
    }
}

impl DuckDbMirror {
    /// The mirror of a catalog in a file, which the first refresh creates.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when the file is the catalog itself.
    pub fn new(catalog: Arc<dyn Catalog>, file: &Path) -> Result<Self> {
        let file = std::path::absolute(file)
            .map_err(|e| TxnLogError::invalid(format!("{} has no absolute path", file.display())).with_source(e))?;
        if let Ok(CatalogUri { backend: Backend::DuckDb(of_catalog) | Backend::Sqlite(of_catalog), .. }) =
            CatalogUri::parse(&catalog.describe())
            && is_same_file(&of_catalog, &file)
        {
            let file = file.display();
            return Err(TxnLogError::invalid(format!("{file} is the catalog itself: choose another file")));
        }
        Ok(Self { catalog, file, last_refresh: None })
    }

    /// Makes the views show the current versions. The cost depends on what has changed since the last refresh.
    ///
    /// The database is open only while its content changes: DuckDB lets no other program have it in this time, and the
    /// refresh fails with [`Unavailable`](ErrorKind::Unavailable) while another has it. Then the views are as they were.
    pub async fn refresh(&mut self) -> Result<DuckDbRefresh> {
        let point = self.catalog.point().await?;
        // Read after the point: a table whose version here is the one that its view shows has not changed at the point.
        let tables: Vec<TableEntry> = listing::tables(self.catalog.clone(), None).try_collect().await?;
        let current: HashMap<_, _> = tables.iter().map(|t| (t.id, (t.name.clone(), t.current_version))).collect();
        if self.last_refresh.as_ref() == Some(&current) && self.file.exists() {
            return Ok(DuckDbRefresh { unchanged: tables.len(), is_skipped: true, ..DuckDbRefresh::default() });
        }
        self.last_refresh = None;
        let (catalog_id, epoch) = self.catalog.identity().await?;
        let source = ViewSource { catalog_id: catalog_id.to_string(), epoch: epoch.to_string() };
        let file = self.file.clone();
        let mut views = Database(Some(blocking(move || DuckDbViews::open(&file)).await?));
        let mut failed = HashMap::new();
        let refreshed = loop {
            match self.refresh_once(&mut views, &source, &tables, &point, failed).await? {
                PassOutcome::Done(refreshed) => break refreshed,
                PassOutcome::Failed(more) => {
                    failed = more;
                    views.run(DuckDbViews::roll_back).await?;
                }
            }
        };
        views.commit(refreshed.has_new_view).await?;
        let may_pass = |e: &TxnLogError| e.kind() != ErrorKind::Invalid;
        if !refreshed.refresh.left_out.iter().any(|(_, e)| may_pass(e)) && refreshed.at_point {
            self.last_refresh = Some(current);
        }
        Ok(refreshed.refresh)
    }

    /// Refreshes all tables but those that have failed, until one fails.
    async fn refresh_once(
        &self,
        views: &mut Database,
        source: &ViewSource,
        tables: &[TableEntry],
        point: &Point,
        mut failed: HashMap<TableId, TxnLogError>,
    ) -> Result<PassOutcome> {
        let expected = source.clone();
        let mut states = views
            .run(move |views| {
                if views.source()?.as_ref() != Some(&expected) {
                    views.reset(&expected)?;
                }
                views.tables()
            })
            .await?;
        let mut refreshed = Refreshed { refresh: DuckDbRefresh::default(), has_new_view: false, at_point: true };
        let live: HashMap<_, _> = tables.iter().map(|table| (table.id, &table.name)).collect();
        let gone: Vec<_> = states.keys().filter(|id| !live.contains_key(id)).copied().collect();
        for id in gone {
            views.run(move |views| views.remove(id)).await?;
            let removed = states.remove(&id).filter(|state| state.version.is_some());
            refreshed.refresh.removed.extend(removed.map(|state| state.name));
        }
        // Before any view gets a new name, so that two tables may swap theirs.
        let is_renamed = |id: &TableId, state: &ViewState| live.get(id) != Some(&&state.name);
        let renamed: HashSet<_> =
            states.iter().filter(|(id, state)| is_renamed(id, state)).map(|(id, _)| *id).collect();
        for id in renamed.iter().copied() {
            views.run(move |views| views.remove_view(id)).await?;
        }
        for table in tables {
            let state = states.get(&table.id);
            if failed.contains_key(&table.id) {
                continue;
            }
            let is_current = state.is_some_and(|state| state.version == Some(table.current_version));
            if is_current && !renamed.contains(&table.id) {
                refreshed.refresh.unchanged += 1;
                continue;
            }
            match self.refresh_table(views, table, state.and_then(|state| state.version), point).await {
                Ok(Some(current)) => {
                    refreshed.at_point &= current.version == table.current_version;
                    refreshed.has_new_view |= current.is_whole;
                    refreshed.refresh.changed.push((table.name.clone(), current.version));
                }
                // It was created after the point.
                Ok(None) => refreshed.at_point = false,
                Err(e) => {
                    // What is invalid is refused before the database is changed.
                    let is_refused = e.kind() == ErrorKind::Invalid;
                    failed.insert(table.id, e);
                    if !is_refused {
                        return Ok(PassOutcome::Failed(failed));
                    }
                }
            }
        }
        for table in tables {
            let Some(e) = failed.remove(&table.id) else { continue };
            let (state, problem) = (states.get(&table.id), e.to_string());
            let is_renamed = renamed.contains(&table.id);
            let has_view = state.is_some_and(|state| state.version.is_some()) && !is_renamed;
            let is_known = state.is_some_and(|state| state.problem.as_ref() == Some(&problem));
            let viewed = left_out(table);
            if has_view && e.kind() != ErrorKind::Invalid {
                if !is_known {
                    views.run(move |views| views.keep_earlier(viewed.id, &problem)).await?;
                }
            } else if has_view || is_renamed || !is_known {
                views.run(move |views| views.leave_out(&viewed, &problem)).await?;
            }
            refreshed.refresh.left_out.push((table.name.clone(), e));
        }
        Ok(PassOutcome::Done(refreshed))
    }

    /// Makes the view of a table show its version at a point, which is the result; `None` if it did not exist then.
    /// `from` is the version that it shows.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) only before the database is changed.
    async fn refresh_table(
        &self,
        views: &mut Database,
        table: &TableEntry,
        from: Option<Version>,
        point: &Point,
    ) -> Result<Option<CurrentView>> {
        let Some(folder) = table.location.local_path() else {
            return Err(TxnLogError::invalid(format!(
                "{} is in an object store, where DuckDB needs an extension and credentials: read it with DuckDB's \
                 extension for Delta Lake",
                table.name
            )));
        };
        let Some(entry) = self.catalog.find_at(&TableRef::Id(table.id), point).await? else { return Ok(None) };
        let (reader, version) = (self.catalog.reader(entry.id), entry.current_version);
        let head = reader.snapshot(At::Version(version)).await?.head;
        check_readable(&head.protocol, &entry.name.to_string())?;
        let files = FilesOf {
            table: DeltaTable::of_entry(self.catalog.clone(), entry.clone()),
            schema: Schema::parse(&head.metadata.schema_string, &head.metadata.partition_columns)?,
            folder,
        };
        let viewed = viewed(&entry, head);
        let from = match from.filter(|from| *from <= version) {
            Some(from) => {
                let viewed = viewed.clone();
                views.run(move |views| views.keeps_files(&viewed)).await?.then_some(from)
            }
            None => None,
        };
        views.run(DuckDbViews::begin_changes).await?;
        let changes = match from {
            Some(from) => changed_files(reader.as_ref(), from, version).await?,
            None => None,
        };
        let is_whole = changes.is_none();
        match changes {
            Some(changes) => {
                let removed: Vec<_> = changes.keys().copied().collect();
                views.run(move |views| views.remove_files(&removed)).await?;
                let added = changes.into_values().flatten().map(Ok);
                files.add_all(views, futures::stream::iter(added).boxed()).await?;
            }
            None => files.add_all(views, reader.files_by_key(version).await?).await?,
        }
        views.run(move |views| views.show(&viewed, is_whole)).await?;
        Ok(Some(CurrentView { version, is_whole }))
    }
}

/// A view that was brought to a version.
struct CurrentView {
    version: Version,
    /// Whether all its files were read.
    is_whole: bool,
}

/// The end of one pass over the tables.
enum PassOutcome {
    Done(Refreshed),
    Failed(HashMap<TableId, TxnLogError>),
}

struct Refreshed {
    refresh: DuckDbRefresh,
    /// Whether all files of a table were read.
    has_new_view: bool,
    /// Whether the newest versions are those at the point.
    at_point: bool,
}

/// The files that differ between two versions: `None` for one that is gone. `None` for all if the commits in between are
/// no longer retained.
async fn changed_files(
    reader: &dyn TxnLogReader,
    from: Version,
    to: Version,
) -> Result<Option<HashMap<FileKey, Option<Add>>>> {
    let mut changed = HashMap::new();
    if from == to {
        return Ok(Some(changed));
    }
    let mut commits = match reader.changes(from + 1, to).await {
        Ok(commits) => commits,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    loop {
        let (_, bytes) = match commits.try_next().await {
            Ok(Some(commit)) => commit,
            Ok(None) => return Ok(Some(changed)),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut added = Vec::new();
        for action in Commit::parse(bytes, "a stored commit")?.into_actions() {
            match action {
                Action::Add(add) => added.push(add),
                Action::Remove(remove) => {
                    changed.insert(remove.key(), None);
                }
                _ => {}
            }
        }
        // The actions of a commit have no order.
        changed.extend(added.into_iter().map(|add| (add.key(), Some(Arc::unwrap_or_clone(add)))));
    }
}

/// The data files of a table.
struct FilesOf {
    table: DeltaTable,
    schema: Schema,
    folder: PathBuf,
}

impl FilesOf {
    /// Adds files to the database, many at a time.
    async fn add_all(&self, views: &mut Database, mut files: BoxStream<'_, Result<Add>>) -> Result<()> {
        let (mut some, mut hidden_rows) = (Vec::new(), 0_i64);
        loop {
            let next = files.try_next().await?;
            let is_last = next.is_none();
            if let Some(add) = next {
                hidden_rows += add.deletion_vector.as_ref().map_or(0, |vector| vector.cardinality);
                some.push(add);
            }
            if is_last || some.len() >= FILES_AT_ONCE || hidden_rows >= ROWS_AT_ONCE {
                let viewed = self.viewed(std::mem::take(&mut some)).await?;
                views.run(move |views| views.add_files(&viewed)).await?;
                hidden_rows = 0;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn viewed(&self, files: Vec<Add>) -> Result<Vec<ViewedFile>> {
        let (with_vectors, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|add| add.deletion_vector.is_some());
        let mut viewed = Vec::with_capacity(with_vectors.len() + others.len());
        for file in self.table.load_masks(with_vectors).await? {
            viewed.push(self.viewed_file(&file.add, file.hidden.iter().collect())?);
        }
        for add in others {
            viewed.push(self.viewed_file(&add, Vec::new())?);
        }
        Ok(viewed)
    }

    fn viewed_file(&self, add: &Add, hidden: Vec<u64>) -> Result<ViewedFile> {
        let internal = |e| TxnLogError::new(ErrorKind::Internal, "partition values are not JSON").with_source(e);
        Ok(ViewedFile {
            key: add.key(),
            path: self.path(&add.path)?,
            size: add.size,
            modified_at_ms: add.modification_time,
            records: FileStats::new(&self.schema, add).num_records(),
            partition_values: serde_json::to_string(&add.partition_values).map_err(internal)?,
            statistics: add.stats.clone(),
            hidden,
        })
    }

    /// The path in the file system of a path in the log.
    fn path(&self, raw: &str) -> Result<String> {
        let path = match absolute_path(raw) {
            Some(url) => Url::parse(&url).ok().and_then(|url| url.to_file_path().ok()),
            None => String::from_utf8(canonical_path(raw)).ok().map(|path| self.folder.join(path)),
        };
        path.and_then(|path| path.into_os_string().into_string().ok()).ok_or_else(|| {
            TxnLogError::invalid(format!(
                "the data file {raw:?} is not in a file system: read the table with DuckDB's extension for Delta Lake"
            ))
        })
    }
}

fn viewed(entry: &TableEntry, head: Head) -> ViewedTable {
    ViewedTable {
        id: entry.id,
        name: entry.name.clone(),
        location: entry.location.to_string(),
        version: head.version,
        committed_at_ms: head.timestamp,
        schema_string: head.metadata.schema_string,
        partition_columns: head.metadata.partition_columns,
    }
}

fn left_out(entry: &TableEntry) -> ViewedTable {
    ViewedTable {
        id: entry.id,
        name: entry.name.clone(),
        location: entry.location.to_string(),
        version: entry.current_version,
        committed_at_ms: entry.current_timestamp,
        schema_string: String::new(),
        partition_columns: Vec::new(),
    }
}

/// The open database, whose calls block.
struct Database(Option<DuckDbViews>);

impl Database {
    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&DuckDbViews) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let views = self.0.take().ok_or_else(closed)?;
        let (views, result) = blocking(move || {
            let result = work(&views);
            Ok((views, result))
        })
        .await?;
        self.0 = Some(views);
        result
    }

    async fn commit(mut self, are_many: bool) -> Result<()> {
        let views = self.0.take().ok_or_else(closed)?;
        blocking(move || views.commit(are_many)).await
    }
}

fn closed() -> TxnLogError {
    TxnLogError::new(ErrorKind::Internal, "the database was closed by a thread that stopped")
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let finished = tokio::task::spawn_blocking(work).await;
    finished.map_err(|e| TxnLogError::new(ErrorKind::Internal, "a thread stopped").with_source(e))?
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let canonical = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    canonical(one) == canonical(other)
}
