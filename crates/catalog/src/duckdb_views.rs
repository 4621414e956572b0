//! A DuckDB database with views over data files: one view for each table, in the schema of its namespace.
//!
//! The paths of a table's files are in the views of *chunks*, which the view of the table unites, so that a change of a
//! few files writes the paths of a few chunks only. The data files are read by name of the column: one that a file lacks
//! is null, and values of a narrower type are widened. Rows that deletion vectors hide are in a table and are left out by
//! an anti-join, and partition values, which data files do not have, are joined.

mod column;
mod files;
mod statements;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use deltalakedb_log::{ErrorKind, FileKey, Result, TableId, TableName, TxnLogError, Version};
use duckdb::{Connection, params};
use rustix::fs::{FlockOperation, fcntl_lock};

use self::column::{Column, identifier};
use self::statements::{ChunkKind, SCHEMA};

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
    /// The version that the view has; `None` if there is no view.
    pub version: Option<Version>,
    /// Why it has no view, or not that of a later version.
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
    /// Its identity in the log.
    pub key: FileKey,
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
        if stored.has_view {
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

    /// Removes the view of a table that has another name now, and keeps its files for [`Self::show`].
    pub fn remove_view(&self, table: TableId) -> Result<()> {
        let id = table.0.to_string();
        let Some(stored) = self.stored(&id)? else { return Ok(()) };
        // Without a view of its own, its name may be that of another table's.
        if stored.has_view {
            self.run(&format!("DROP VIEW IF EXISTS {}", view(&stored.name)))?;
        }
        self.execute(&format!("UPDATE {SCHEMA}.tables SET namespace = '', name = '' WHERE table_id = ?"), params![id])
    }

    /// Records why a table has no view, in the place of its view.
    pub fn leave_out(&self, table: &ViewedTable, problem: &str) -> Result<()> {
        self.remove(table.id)?;
        self.insert_table(table, "", &[], Some(problem))
    }

    /// Records why the view of a table still has an earlier version.
    pub fn keep_earlier(&self, table: TableId, problem: &str) -> Result<()> {
        let sql = format!("UPDATE {SCHEMA}.tables SET problem = ? WHERE table_id = ?");
        self.execute(&sql, params![problem, table.0.to_string()])
    }

    /// Whether files that the view of a table has can stay in it when the table has this definition: the times in them
    /// were classified by the columns that the table had.
    pub fn keeps_files(&self, table: &ViewedTable) -> Result<bool> {
        let Some(stored) = self.stored(&table.id.0.to_string())?.filter(|stored| stored.has_view) else {
            return Ok(false);
        };
        let (schema, partitions) = stored.definition.split_once('\n').ok_or_else(|| self.damaged())?;
        let partitions: Vec<String> = serde_json::from_str(partitions).map_err(|e| self.damaged().with_source(e))?;
        let instants = |columns: Vec<Column>| columns.iter().flat_map(Column::instants).collect::<BTreeSet<_>>();
        let now = Column::all(&table.schema_string, &table.partition_columns)?;
        Ok(instants(now) == instants(Column::all(schema, &partitions)?))
    }

    /// Makes the view of a table show a version: its files are those that it had, unless `is_whole`, without those that
    /// were removed since [`Self::begin_changes`], and those that were added.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid), before anything is changed, for a table that cannot have a view.
    pub fn show(&self, table: &ViewedTable, is_whole: bool) -> Result<()> {
        let id = table.id.0.to_string();
        let columns = Column::all(&table.schema_string, &table.partition_columns)?;
        if columns.is_empty() {
            return Err(TxnLogError::invalid(format!("{} has no columns, and a view needs one: add one", table.name)));
        }
        self.check_name(&table.name, &id)?;
        self.check_one_vector_each(&table.name, &id, is_whole)?;
        let in_utc = self.files_in_utc(&table.name, &columns)?;
        if is_whole {
            self.remove(table.id)?;
        }
        let stored = self.stored(&id)?.filter(|stored| stored.has_view);
        let mut changed = self.remove_staged(&id)?;
        changed.extend(self.insert_staged(&id, &in_utc)?);
        let partitions = serde_json::to_string(&table.partition_columns).map_err(|e| self.damaged().with_source(e))?;
        let definition = format!("{}\n{partitions}", single_line(&table.schema_string)?);
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
            self.run(&format!("CREATE SCHEMA IF NOT EXISTS {}", identifier(&table.name.namespace)))?;
            self.run(&statements::create_table_view(&view(&table.name), &id, &chunks, &columns))?;
        }
        for gone in old_chunks.iter().filter(|chunk| !chunks.contains(chunk)) {
            self.run(&format!("DROP VIEW IF EXISTS {}", statements::chunk_view(&id, *gone)))?;
        }
        self.execute(&format!("DELETE FROM {SCHEMA}.tables WHERE table_id = ?"), params![id])?;
        self.insert_table(table, &definition, &chunks, None)
    }

    /// Makes all changes visible and durable, and closes the database. After many changes they are merged into its
    /// file, instead of staying in its write-ahead log.
    pub fn commit(self, are_many: bool) -> Result<()> {
        self.run("COMMIT")?;
        if are_many {
            self.run("CHECKPOINT")?;
        }
        let Self { connection, path } = self;
        connection.close().map_err(|(_, e)| failed(&path, &e))
    }

    /// Takes all changes back, and begins again.
    pub fn roll_back(&self) -> Result<()> {
        self.run("ROLLBACK; BEGIN;")?;
        self.run(&statements::tables())
    }

    fn chunks(&self, id: &str) -> Result<BTreeMap<i64, ChunkKind>> {
        let sql = format!("SELECT chunk, any_value(kind) FROM {SCHEMA}.files WHERE table_id = ? GROUP BY chunk");
        let chunks =
            self.query_with(&sql, params![id], |row| Ok((row.get(0)?, ChunkKind::from_number(row.get(1)?))))?;
        Ok(chunks.into_iter().collect())
    }

    fn stored(&self, id: &str) -> Result<Option<StoredTable>> {
        let sql = format!(
            "SELECT namespace, name, definition, list_aggregate(chunks, 'string_agg', ','), version IS NOT NULL FROM \
             {SCHEMA}.tables WHERE table_id = ?"
        );
        let found = self.query_with(&sql, params![id], |row| {
            let chunks: Option<String> = row.get(3)?;
            Ok(StoredTable {
                name: TableName { namespace: row.get(0)?, name: row.get(1)? },
                definition: row.get(2)?,
                chunks: chunks.iter().flat_map(|chunks| chunks.split(',')).filter_map(|n| n.parse().ok()).collect(),
                has_view: row.get(4)?,
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
        let space = &name.namespace;
        let reserved = [SCHEMA, "information_schema", "pg_catalog", "system", "temp"];
        if reserved.iter().any(|reserved| space.eq_ignore_ascii_case(reserved)) {
            return Err(TxnLogError::invalid(format!(
                "{name} cannot have a view: {space:?} is a name of DuckDB's own; rename the table"
            )));
        }
        // In SQL, the name of a database is that of its file, and comes before that of a schema.
        if self.path.file_stem().is_some_and(|stem| stem.to_string_lossy().eq_ignore_ascii_case(space)) {
            return Err(TxnLogError::invalid(format!(
                "{name} cannot have a view in {}, whose name is that of the namespace: choose another file name",
                self.path.display()
            )));
        }
        let same = format!(
            "SELECT namespace || '.' || name FROM {SCHEMA}.tables WHERE lower(namespace) = lower(?) AND lower(name) = \
             lower(?) AND table_id <> ? AND version IS NOT NULL"
        );
        let same = self.query_with(&same, params![name.namespace, name.name, id], |row| row.get::<_, String>(0))?;
        match same.first() {
            Some(other) => Err(TxnLogError::invalid(format!(
                "{name} cannot have a view as well as {other}: names are not case-sensitive in DuckDB; rename one of them"
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
    has_view: bool,
}

/// JSON text without line breaks.
fn single_line(json: &str) -> Result<String> {
    if !json.contains('\n') {
        return Ok(json.to_string());
    }
    let parsed: serde_json::Value = serde_json::from_str(json)
        .map_err(|e| TxnLogError::corrupt("the table's schema cannot be read").with_source(e))?;
    Ok(parsed.to_string())
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
