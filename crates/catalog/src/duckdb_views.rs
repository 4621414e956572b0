//! A DuckDB database with views over data files: one view for each table, in the schema of its namespace.
//!
//! The paths of a table's files are in the views of *chunks*, which the view of the table unites, so that a change of a
//! few files writes the paths of a few chunks only. The data files are read by name of the column: one that a file lacks
//! is null, and values of a narrower type are widened. Rows that deletion vectors hide are in a table and are left out by
//! an anti-join, and partition values, which data files do not have, are joined.

mod column;
mod statements;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use deltalakedb_log::{ErrorKind, Result, TableId, TableName, TxnLogError, Version};
use duckdb::{Connection, params};
use rustix::fs::{FlockOperation, fcntl_lock};

use self::column::{Column, InstantEncoding, identifier};
use self::statements::{CHUNK_FILES, ChunkKind, SCHEMA};

/// The format of the database; one of another format is made again.
const FORMAT: i32 = 1;

/// A DuckDB database with views over data files.
///
/// All calls block. Changes are visible to others after [`Self::commit`], and [`Self::roll_back`] takes them back.
pub struct DuckDbViews {
    connection: Connection,
    path: PathBuf,
}

/// The catalog that the views were made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewSource {
    /// Its id.
    pub catalog_id: String,
    /// Its epoch.
    pub epoch: String,
}

/// A table that has a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewState {
    /// Its name, that of the view.
    pub name: TableName,
    /// The version that the view shows; `None` if it has none.
    pub version: Option<Version>,
    /// Why it has no view.
    pub problem: Option<String>,
}

/// A table at a version, for its view.
#[derive(Clone, Debug)]
pub struct ViewedTable {
    /// The table.
    pub id: TableId,
    /// Its name.
    pub name: TableName,
    /// Where it is, for people.
    pub location: String,
    /// The version.
    pub version: Version,
    /// When it was committed, in milliseconds since 1970.
    pub committed_at_ms: i64,
    /// The schema, as in the log.
    pub schema_string: String,
    /// The logical names of the partition columns.
    pub partition_columns: Vec<String>,
}

/// A data file, for a view.
#[derive(Clone, Debug)]
pub struct ViewedFile {
    /// Its absolute path in the file system.
    pub path: String,
    /// Its size in bytes.
    pub size: i64,
    /// When it was written, in milliseconds since 1970.
    pub modified_at_ms: i64,
    /// How many rows it has, hidden ones included.
    pub records: Option<i64>,
    /// The partition values by the physical names of their columns, as a JSON object.
    pub partition_values: String,
    /// The statistics of the log, as JSON.
    pub statistics: Option<String>,
    /// The positions of the rows that its deletion vector hides.
    pub hidden: Vec<u64>,
}

impl fmt::Debug for DuckDbViews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DuckDbViews").field("path", &self.path).finish_non_exhaustive()
    }
}

impl DuckDbViews {
    /// Opens a database, or creates it, and begins a transaction.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) while another program has it open, and
    /// [`Invalid`](ErrorKind::Invalid) for a database with anything else in it.
    pub fn open(path: &Path) -> Result<Self> {
        let there = path.exists();
        if there {
            check_free(path)?;
        }
        let connection = Connection::open(path).map_err(|e| {
            let message = format!(
                "{} cannot be opened: check its folder, and that it is a DuckDB file ({})",
                path.display(),
                first_line(&e)
            );
            TxnLogError::new(ErrorKind::Unavailable, message)
        })?;
        let views = Self { connection, path: path.to_path_buf() };
        if there {
            views.check_ours()?;
        }
        // The log of changes is merged into the file when it has grown, not at each closing.
        views.run("PRAGMA disable_checkpoint_on_shutdown; SET preserve_insertion_order = false; BEGIN;")?;
        views.run(&statements::tables())?;
        Ok(views)
    }

    /// The catalog that the views were made of; `None` if there are none.
    pub fn source(&self) -> Result<Option<ViewSource>> {
        let found = self
            .query(&format!("SELECT catalog_id, epoch FROM {SCHEMA}.source WHERE format = {FORMAT}"), |row| {
                Ok(ViewSource { catalog_id: row.get(0)?, epoch: row.get(1)? })
            })?;
        Ok(found.into_iter().next())
    }

    /// Removes all views, and records the catalog that the next ones are made of.
    pub fn reset(&self, source: &ViewSource) -> Result<()> {
        for table in self.tables()?.keys() {
            self.remove(*table)?;
        }
        self.run(&format!("DROP SCHEMA {SCHEMA} CASCADE"))?;
        self.run(&statements::tables())?;
        let insert = format!("INSERT INTO {SCHEMA}.source VALUES (?, ?, {FORMAT})");
        self.execute(&insert, params![source.catalog_id, source.epoch])
    }

    /// The tables.
    pub fn tables(&self) -> Result<BTreeMap<TableId, ViewState>> {
        let rows =
            self.query(&format!("SELECT table_id, namespace, name, version, problem FROM {SCHEMA}.tables"), |row| {
                let name = TableName { namespace: row.get(1)?, name: row.get(2)? };
                Ok((row.get::<_, String>(0)?, name, row.get::<_, Option<u64>>(3)?, row.get(4)?))
            })?;
        let state = |(id, name, version, problem): (String, _, _, _)| {
            let id = uuid::Uuid::parse_str(&id).map_err(|e| self.damaged().with_source(e))?;
            Ok((TableId(id), ViewState { name, version, problem }))
        };
        rows.into_iter().map(state).collect()
    }

    /// Removes a table and its view.
    pub fn remove(&self, table: TableId) -> Result<()> {
        let id = table.0.to_string();
        let Some(stored) = self.stored(&id)? else { return Ok(()) };
        if stored.problem.is_none() {
            self.run(&format!("DROP VIEW IF EXISTS {}", view(&stored.name)))?;
        }
        for chunk in &stored.chunks {
            self.run(&format!("DROP VIEW IF EXISTS {}", statements::chunk_view(&id, *chunk)))?;
        }
        for of in ["tables", "files", "hidden_rows"] {
            self.execute(&format!("DELETE FROM {SCHEMA}.{of} WHERE table_id = ?"), params![id])?;
        }
        Ok(())
    }

    /// Records why a table has no view, in the place of its view.
    pub fn leave_out(&self, table: &ViewedTable, problem: &str) -> Result<()> {
        self.remove(table.id)?;
        self.insert_table(table, "", &[], Some(problem))
    }

    /// Begins the changes of a table's files.
    pub fn begin_changes(&self) -> Result<()> {
        self.run(
            "CREATE OR REPLACE TEMP TABLE removed_paths (path VARCHAR);
             CREATE OR REPLACE TEMP TABLE added_files (path VARCHAR, size BIGINT, modified_at BIGINT, records BIGINT,
                 hidden_rows BIGINT, partition_values VARCHAR, statistics VARCHAR);
             CREATE OR REPLACE TEMP TABLE added_rows (path VARCHAR, position BIGINT);",
        )
    }

    /// Files that the table has no longer, or not as they were.
    pub fn remove_files(&self, paths: &[String]) -> Result<()> {
        let mut rows = self.connection.appender("removed_paths").map_err(|e| self.failed(e))?;
        paths.iter().try_for_each(|path| rows.append_row(params![path])).map_err(|e| self.failed(e))?;
        rows.flush().map_err(|e| self.failed(e))
    }

    /// Files that the table has now.
    pub fn add_files(&self, files: &[ViewedFile]) -> Result<()> {
        let mut rows = self.connection.appender("added_files").map_err(|e| self.failed(e))?;
        for file in files {
            let row = params![
                file.path,
                file.size,
                file.modified_at_ms,
                file.records,
                file.hidden.len() as u64,
                file.partition_values,
                file.statistics,
            ];
            rows.append_row(row).map_err(|e| self.failed(e))?;
        }
        rows.flush().map_err(|e| self.failed(e))?;
        let mut rows = self.connection.appender("added_rows").map_err(|e| self.failed(e))?;
        for file in files {
            for position in &file.hidden {
                rows.append_row(params![file.path, position]).map_err(|e| self.failed(e))?;
            }
        }
        rows.flush().map_err(|e| self.failed(e))
    }

    /// Makes the view of a table show a version: its files are those that it had, unless `is_whole`, without those that
    /// were removed since [`Self::begin_changes`], and those that were added.
    pub fn show(&self, table: &ViewedTable, is_whole: bool) -> Result<()> {
        let id = table.id.0.to_string();
        let columns = Column::all(&table.schema_string, &table.partition_columns)?;
        if columns.is_empty() {
            return Err(TxnLogError::invalid(format!("{} has no columns, and a view needs one: add one", table.name)));
        }
        self.check_name(&table.name, &id)?;
        if is_whole {
            self.remove(table.id)?;
        }
        let stored = self.stored(&id)?.filter(|stored| stored.problem.is_none());
        let mut changed = self.remove_staged(&id)?;
        changed.extend(self.insert_staged(&id, &columns)?);
        let definition = format!("{}\n{:?}", table.schema_string, table.partition_columns);
        let is_redefined = stored.as_ref().is_none_or(|stored| stored.definition != definition);
        let chunks = self.chunks(&id)?;
        for (chunk, kind) in &chunks {
            if is_redefined || changed.contains(chunk) {
                let paths = format!("SELECT path FROM {SCHEMA}.files WHERE table_id = ? AND chunk = ? ORDER BY path");
                let paths = self.query_with(&paths, params![id, chunk], |row| row.get::<_, String>(0))?;
                self.run(&statements::create_chunk_view(&id, *chunk, *kind, &columns, &paths))?;
            }
        }
        let chunks: Vec<i64> = chunks.into_keys().collect();
        let old_chunks = stored.as_ref().map(|stored| stored.chunks.clone()).unwrap_or_default();
        let is_renamed = stored.as_ref().is_some_and(|stored| stored.name != table.name);
        if is_redefined || is_renamed || chunks != old_chunks {
            if let Some(stored) = stored.as_ref().filter(|_| is_renamed) {
                self.run(&format!("DROP VIEW IF EXISTS {}", view(&stored.name)))?;
            }
            self.run(&format!("CREATE SCHEMA IF NOT EXISTS {}", identifier(&table.name.namespace)))?;
            self.run(&statements::create_table_view(&view(&table.name), &id, &chunks, &columns))?;
        }
        for gone in old_chunks.iter().filter(|chunk| !chunks.contains(chunk)) {
            self.run(&format!("DROP VIEW IF EXISTS {}", statements::chunk_view(&id, *gone)))?;
        }
        self.execute(&format!("DELETE FROM {SCHEMA}.tables WHERE table_id = ?"), params![id])?;
        self.insert_table(table, &definition, &chunks, None)
    }

    /// Makes all changes visible and durable, and closes the database.
    pub fn commit(self) -> Result<()> {
        self.run("COMMIT")?;
        let Self { connection, path } = self;
        connection.close().map_err(|(_, e)| failed(&path, &e))
    }

    /// Takes all changes back, and begins again.
    pub fn roll_back(&self) -> Result<()> {
        self.run("ROLLBACK; BEGIN;")?;
        self.run(&statements::tables())
    }

    /// Deletes the removed files; the result are their chunks.
    fn remove_staged(&self, id: &str) -> Result<BTreeSet<i64>> {
        let staged: u64 =
            self.query("SELECT count(*) FROM removed_paths", |row| row.get::<_, u64>(0))?.into_iter().sum();
        if staged == 0 {
            return Ok(BTreeSet::new());
        }
        let removed = "table_id = ? AND path IN (SELECT path FROM removed_paths)";
        self.execute(&format!("DELETE FROM {SCHEMA}.hidden_rows WHERE {removed}"), params![id])?;
        let chunks = format!("DELETE FROM {SCHEMA}.files WHERE {removed} RETURNING chunk");
        Ok(self.query_with(&chunks, params![id], |row| row.get(0))?.into_iter().collect())
    }

    /// Inserts the added files, each into a chunk of its kind that is not full; the result are these chunks.
    fn insert_staged(&self, id: &str, columns: &[Column]) -> Result<BTreeSet<i64>> {
        let added = self.query("SELECT path, hidden_rows FROM added_files ORDER BY path", |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?))
        })?;
        if added.is_empty() {
            return Ok(BTreeSet::new());
        }
        let in_utc = self.files_in_utc(columns, &added)?;
        let full = self.query_with(
            &format!("SELECT kind, chunk, count(*) FROM {SCHEMA}.files WHERE table_id = ? GROUP BY ALL ORDER BY chunk"),
            params![id],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, usize>(2)?)),
        )?;
        let mut next_chunk = full.iter().map(|(_, chunk, _)| chunk + 1).max().unwrap_or(0);
        let mut room: BTreeMap<i64, Vec<(i64, usize)>> = BTreeMap::new();
        for (kind, chunk, files) in full.into_iter().filter(|(_, _, files)| *files < CHUNK_FILES) {
            room.entry(kind).or_default().push((chunk, CHUNK_FILES - files));
        }
        self.run("CREATE OR REPLACE TEMP TABLE places (path VARCHAR, kind BIGINT, chunk BIGINT)")?;
        let mut places = self.connection.appender("places").map_err(|e| self.failed(e))?;
        let mut changed = BTreeSet::new();
        for (path, hidden) in &added {
            let instants = if in_utc.contains(path) { InstantEncoding::Utc } else { InstantEncoding::Instant };
            let kind = ChunkKind { has_hidden_rows: *hidden > 0, instants }.to_number();
            let room = room.entry(kind).or_default();
            if room.is_empty() {
                room.push((next_chunk, CHUNK_FILES));
                next_chunk += 1;
            }
            let Some((chunk, left)) = room.last_mut() else { continue };
            places.append_row(params![path, kind, *chunk]).map_err(|e| self.failed(e))?;
            changed.insert(*chunk);
            *left -= 1;
            if *left == 0 {
                room.pop();
            }
        }
        places.flush().map_err(|e| self.failed(e))?;
        drop(places);
        self.execute(
            &format!(
                "INSERT INTO {SCHEMA}.files
                 SELECT ?, path, size, make_timestamp(modified_at * 1000), records, hidden_rows,
                     CAST(CAST(partition_values AS JSON) AS MAP(VARCHAR, VARCHAR)), statistics, kind, chunk
                 FROM added_files JOIN places USING (path)"
            ),
            params![id],
        )?;
        self.execute(
            &format!("INSERT INTO {SCHEMA}.hidden_rows SELECT ?, path, position FROM added_rows"),
            params![id],
        )?;
        Ok(changed)
    }

    /// Which of the files store instants as times without a zone, as their footers say.
    fn files_in_utc(&self, columns: &[Column], files: &[(String, u64)]) -> Result<BTreeSet<String>> {
        let in_files = || columns.iter().filter(|column| !column.is_partition);
        if !in_files().any(Column::has_instants) {
            return Ok(BTreeSet::new());
        }
        // A column without a zone is expected in such a table.
        let no_zone =
            if in_files().any(Column::has_local_times) { "" } else { " OR logical_type LIKE '%isAdjustedToUTC=0%'" };
        let mut found = BTreeSet::new();
        for some in files.chunks(CHUNK_FILES) {
            let paths: Vec<_> = some.iter().map(|(path, _)| path.clone()).collect();
            let sql = format!(
                "SELECT DISTINCT file_name FROM parquet_schema({}) WHERE type = 'INT96'{no_zone}",
                statements::path_list(&paths)
            );
            found.extend(self.query(&sql, |row| row.get::<_, String>(0))?);
        }
        Ok(found)
    }

    fn chunks(&self, id: &str) -> Result<BTreeMap<i64, ChunkKind>> {
        let sql = format!("SELECT chunk, any_value(kind) FROM {SCHEMA}.files WHERE table_id = ? GROUP BY chunk");
        let chunks =
            self.query_with(&sql, params![id], |row| Ok((row.get(0)?, ChunkKind::from_number(row.get(1)?))))?;
        Ok(chunks.into_iter().collect())
    }

    fn stored(&self, id: &str) -> Result<Option<StoredTable>> {
        let sql = format!(
            "SELECT namespace, name, definition, list_aggregate(chunks, 'string_agg', ','), problem FROM {SCHEMA}.tables \
             WHERE table_id = ?"
        );
        let found = self.query_with(&sql, params![id], |row| {
            let chunks: Option<String> = row.get(3)?;
            Ok(StoredTable {
                name: TableName { namespace: row.get(0)?, name: row.get(1)? },
                definition: row.get(2)?,
                chunks: chunks.iter().flat_map(|chunks| chunks.split(',')).filter_map(|n| n.parse().ok()).collect(),
                problem: row.get(4)?,
            })
        })?;
        Ok(found.into_iter().next())
    }

    fn insert_table(&self, table: &ViewedTable, definition: &str, chunks: &[i64], problem: Option<&str>) -> Result<()> {
        let chunks: Vec<_> = chunks.iter().map(i64::to_string).collect();
        let (version, chunks) = (problem.is_none().then_some(table.version), chunks.join(", "));
        let insert = format!(
            "INSERT INTO {SCHEMA}.tables VALUES (?, ?, ?, ?, ?, make_timestamp(? * 1000), ?, [{chunks}]::BIGINT[], ?)"
        );
        let TableName { namespace, name } = &table.name;
        let id = table.id.0.to_string();
        self.execute(
            &insert,
            params![id, namespace, name, table.location, version, table.committed_at_ms, definition, problem],
        )
    }

    /// Names are not case-sensitive in DuckDB, and some schemas are its own.
    fn check_name(&self, name: &TableName, id: &str) -> Result<()> {
        let reserved = [SCHEMA, "information_schema", "pg_catalog"];
        if reserved.iter().any(|reserved| name.namespace.eq_ignore_ascii_case(reserved)) {
            let space = &name.namespace;
            return Err(TxnLogError::invalid(format!(
                "{name} cannot have a view: {space:?} is a schema of the database's own; rename the table"
            )));
        }
        let same = format!(
            "SELECT namespace || '.' || name FROM {SCHEMA}.tables WHERE lower(namespace) = lower(?) AND lower(name) = \
             lower(?) AND table_id <> ? AND problem IS NULL"
        );
        let same = self.query_with(&same, params![name.namespace, name.name, id], |row| row.get::<_, String>(0))?;
        match same.first() {
            Some(other) => Err(TxnLogError::invalid(format!(
                "{name} cannot have a view beside {other}: names are not case-sensitive in DuckDB; rename one of them"
            ))),
            None => Ok(()),
        }
    }

    /// Checks that the database has been made here, or is empty.
    fn check_ours(&self) -> Result<()> {
        let count = |sql: &str| Ok::<u64, TxnLogError>(self.query(sql, |row| row.get::<_, u64>(0))?.into_iter().sum());
        let ours =
            format!("SELECT count(*) FROM duckdb_tables() WHERE schema_name = '{SCHEMA}' AND table_name = 'source'");
        let others = "SELECT (SELECT count(*) FROM duckdb_tables() WHERE NOT internal) + (SELECT count(*) FROM \
                      duckdb_views() WHERE NOT internal)";
        if count(&ours)? == 0 && count(others)? > 0 {
            return Err(TxnLogError::invalid(format!(
                "{} is a database of something else: choose a file that does not exist",
                self.path.display()
            )));
        }
        Ok(())
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.connection.execute_batch(sql).map_err(|e| self.failed(e))
    }

    fn execute(&self, sql: &str, params: impl duckdb::Params) -> Result<()> {
        self.connection.execute(sql, params).map(|_| ()).map_err(|e| self.failed(e))
    }

    fn query<T>(&self, sql: &str, row: impl FnMut(&duckdb::Row<'_>) -> duckdb::Result<T>) -> Result<Vec<T>> {
        self.query_with(sql, [], row)
    }

    fn query_with<T>(
        &self,
        sql: &str,
        params: impl duckdb::Params,
        row: impl FnMut(&duckdb::Row<'_>) -> duckdb::Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.connection.prepare(sql).map_err(|e| self.failed(e))?;
        let rows = statement.query_map(params, row).map_err(|e| self.failed(e))?;
        rows.collect::<duckdb::Result<_>>().map_err(|e| self.failed(e))
    }

    fn failed(&self, e: duckdb::Error) -> TxnLogError {
        failed(&self.path, &e)
    }

    fn damaged(&self) -> TxnLogError {
        TxnLogError::corrupt(format!("{} was changed by another program: delete it", self.path.display()))
    }
}

/// A row of the table `tables`.
struct StoredTable {
    name: TableName,
    definition: String,
    chunks: Vec<i64>,
    problem: Option<String>,
}

/// The view of a table.
fn view(name: &TableName) -> String {
    format!("{}.{}", identifier(&name.namespace), identifier(&name.name))
}

fn failed(path: &Path, e: &duckdb::Error) -> TxnLogError {
    let message = format!("a statement failed in {}: {}", path.display(), first_line(e));
    TxnLogError::new(ErrorKind::Internal, message)
}

/// What an error says; its further lines repeat the statement.
fn first_line(e: &duckdb::Error) -> String {
    e.to_string().lines().next().unwrap_or_default().to_string()
}

/// DuckDB reports only in the text of an error that another program has the file.
fn check_free(path: &Path) -> Result<()> {
    let unavailable = |message: String| TxnLogError::new(ErrorKind::Unavailable, message);
    let file = File::options().read(true).write(true).open(path).map_err(|e| {
        unavailable(format!("{} cannot be opened for writing: check its permissions", path.display())).with_source(e)
    })?;
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| unavailable(format!("{} is open in another program: close it there, or wait", path.display())))
}
