//! The demo: a table that delta-rs wrote is imported, read, written, committed together with another, mirrored and
//! verified, in a folder that is removed afterwards.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arrow::array::RecordBatch;
use deltalakedb_catalog::CatalogUri;
use deltalakedb_engine::{RowEngine, RowTables};
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{
    At, Catalog, Commit, ErrorKind, HistoryRange, Location, Result, TableName, TableRef, TxnLogError, require,
};
use deltalakedb_mirror::{Mirror, VerifyOptions};
use deltalakedb_table::{
    DeltaRs, DeltaTable, SaveMode, Scan, SqlOptions, SqlResult, SqlSession, WriteOptions, query_error,
};
use futures::TryStreamExt;
use include_dir::{Dir, include_dir};
use serde_json::{Map, Value, json};

use crate::args::Format;
use crate::context::CommandContext;
use crate::exit::ExitStatus;
use crate::output::Output;
use crate::{input, values};

/// The table, as delta-rs wrote it.
static EVENTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../examples/data/events");

const NEW_EVENTS: &str = r#"{"id":1001,"kind":"click","amount":1.5,"price":"9.99","at":"2024-01-09T10:00:00Z","day":"2024-01-09"}
{"id":1002,"kind":"view","amount":2.5,"price":"0.50","at":"2024-01-09T10:05:00Z","day":"2024-01-09"}
{"id":1003,"kind":null,"amount":null,"price":null,"at":"2024-01-10T00:00:00Z","day":"2024-01-10"}
"#;
const LAST_EVENT: &str =
    r#"{"id":1004,"kind":"buy","amount":3.0,"price":"12.00","at":"2024-01-10T08:00:00Z","day":"2024-01-10"}"#;
const DAILY: &str = r#"{"day":"2024-01-09","events":2}
{"day":"2024-01-10","events":2}
"#;

const NOTES: [&str; 4] = [
    "CREATE SHARED TABLE notes (id BIGINT PRIMARY KEY, body TEXT NOT NULL, stars INT DEFAULT 3, at TIMESTAMP DEFAULT NOW())",
    "INSERT INTO notes (id, body) VALUES (1, 'milk'), (2, 'bread'), (3, 'tea'), (4, 'honey')",
    "UPDATE notes SET stars = stars + 1 WHERE id = 2",
    "DELETE FROM notes WHERE id = 1",
];
const MORE_NOTES: [&str; 3] = [
    "UPDATE notes SET body = 'green tea' WHERE id = 3",
    "DELETE FROM notes WHERE body = 'honey'",
    "INSERT INTO notes (id, body, stars) VALUES (5, 'salt', NULL)",
];
const ALL_NOTES: &str = "SELECT * FROM notes";

pub(crate) async fn tour(session: &CommandContext, keep: Option<PathBuf>) -> Result<ExitStatus> {
    if let Some(dir) = &keep {
        check_empty(dir)?;
    }
    let temporary = match &keep {
        Some(_) => None,
        None => Some(tempfile::tempdir().map_err(|e| io("a temporary folder cannot be created", e))?),
    };
    let folder = match (&keep, &temporary) {
        (Some(dir), _) => dir.clone(),
        (None, Some(dir)) => dir.path().to_path_buf(),
        (None, None) => return Err(TxnLogError::new(ErrorKind::Internal, "the tour has no folder")),
    };
    let mut tour = Tour { out: session.output(), began: Instant::now(), what: "", steps: Vec::new(), session, folder };
    tour.run().await?;
    tour.print_steps()?;
    if keep.is_some() {
        tour.leave_rows().await?;
    }
    Ok(ExitStatus::Success)
}

fn check_empty(dir: &Path) -> Result<()> {
    match std::fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(false) => Err(TxnLogError::new(
            ErrorKind::AlreadyExists,
            format!("the folder {} is not empty: pass an empty or a new folder", dir.display()),
        )),
        Err(e) => Err(io(&format!("the folder {} cannot be used", dir.display()), e)),
    }
}

struct Tour<'a> {
    out: Output,
    session: &'a CommandContext,
    folder: PathBuf,
    began: Instant,
    /// The current step.
    what: &'static str,
    /// The name of each step, its result, and how many milliseconds it took.
    steps: Vec<Vec<Value>>,
}

impl Tour<'_> {
    async fn run(&mut self) -> Result<()> {
        let events = self.folder.join("tables/events");
        unpack(&EVENTS, &events)?;
        let place = Location::parse(&events.to_string_lossy())?;
        let clock = self.session.clock.clone();

        self.step("create a catalog and import a table that delta-rs wrote");
        let uri = format!("deltasql://sqlite/{}", self.folder.join("catalog.db").display());
        let catalog: Arc<dyn Catalog> = Arc::new(self.session.open(&CatalogUri::parse(&uri)?, true).await?);
        let name: TableName = "events".parse()?;
        let mirror = Mirror::new(catalog.clone(), clock.clone());
        let imported = mirror.import(&place, Some(&name), &|_, _| {}).await?;
        let before = imported.table.current_version;
        self.print_result(&format!("imported {} versions; _delta_log is unchanged", imported.versions))?;

        self.step("open the table: one SQL statement, however long the history");
        let reader = catalog.reader(imported.table.id);
        let head = reader.head().await?;
        let columns = deltalakedb_log::schema::Schema::parse(&head.metadata.schema_string, &[])?.columns().len();
        self.print_result(&format!(
            "version {}, {columns} columns, partitioned by {}",
            head.version,
            head.metadata.partition_columns.join(", ")
        ))?;

        self.step("its history");
        let history = reader.history(HistoryRange { limit: Some(4), ..HistoryRange::default() }).await?;
        let commits = history.iter().map(|c| {
            let operation = c.operation.as_deref().unwrap_or("?");
            format!("{} {operation} +{} -{} files", c.version, c.files_added, c.files_removed)
        });
        self.print_result(&commits.collect::<Vec<_>>().join("; "))?;

        self.step("read an earlier version");
        let table = DeltaTable::open_in(catalog.clone(), &TableRef::Name(name.clone())).await?;
        let (then, now) = (self.count(&table, At::Version(3)).await?, self.count(&table, At::Latest).await?);
        self.print_result(&format!("{then} rows at version 3, {now} rows now"))?;

        self.step("append three rows, and publish");
        let options = WriteOptions { committer: Some("demo".into()), ..WriteOptions::default() };
        let schema = table.schema(At::Latest).await?;
        table.write(input::ndjson_text(NEW_EVENTS, Some(&schema))?, SaveMode::Append, &options).await?;
        let published = mirror.publish(imported.table.id).await?;
        self.print_result(&format!("{} rows; {published}", self.count(&table, At::Latest).await?))?;

        self.step("one commit for two tables: an event, and a new table of daily counts");
        let daily: TableName = "daily".parse()?;
        let place = Location::parse(&self.folder.join("tables/daily").to_string_lossy())?;
        let new = NewTable::new(daily.clone(), place);
        let append =
            table.prepare_write(input::ndjson_text(LAST_EVENT, Some(&schema))?, SaveMode::Append, &options).await?;
        let rows = input::ndjson_text(DAILY, None)?;
        let made =
            deltalakedb_table::prepare_create(catalog.as_ref(), new, rows, &[], &Default::default(), &options).await?;
        let committed =
            deltalakedb_table::commit(catalog.as_ref(), append.into_iter().chain([made]).collect(), &options).await?;
        let versions: Vec<_> = committed.iter().map(|c| c.version.to_string()).collect();
        self.print_result(&format!(
            "versions {}, both committed at {}",
            versions.join(" and "),
            deltalakedb_log::time::format_ms(committed[0].timestamp)
        ))?;

        self.step("publish both, each to its own _delta_log");
        let mut published = mirror.run();
        while let Some((_, result)) = published.try_next().await? {
            result?;
        }
        let new_files = (before + 1..=committed[0].version).map(|v| format!("{v:020}.json"));
        let there: Vec<_> = new_files.filter(|f| events.join("_delta_log").join(f).exists()).collect();
        self.print_result(&format!("events/_delta_log now has {}", there.join(" and ")))?;

        self.row_table(&catalog, &mirror).await?;

        self.step("verify: delta-rs reads from _delta_log what the catalog has, at every version");
        let options = VerifyOptions { every_version: true, data: true };
        let mut versions = 0;
        let tables = catalog.tables().await?;
        for entry in &tables {
            let findings = mirror.verify(entry, &DeltaRs, options, &|_, _| {}).await?;
            if let Some(finding) = findings.first() {
                return Err(TxnLogError::corrupt(format!("{}: {finding}", entry.name)));
            }
            versions += entry.current_version - entry.base_version + 1;
        }
        self.print_result(&format!("{versions} versions of {} tables are identical", tables.len()))
    }

    /// Rows that are changed one at a time, and flushed to a Delta table.
    async fn row_table(&mut self, catalog: &Arc<dyn Catalog>, mirror: &Mirror) -> Result<()> {
        self.step("a row table: rows are inserted, updated and deleted one at a time");
        let data = self.folder.join("data");
        let (engine, mut session) = open_data(&data, catalog).await?;
        for statement in NOTES {
            run(&mut session, statement).await?;
        }
        self.print_result(&format!("{} rows, durable and not in files yet", run(&mut session, ALL_NOTES).await?))?;

        self.step("flush it: the rows become a version of a Delta table");
        let committed = engine.flush_all().await?;
        for commit in &committed {
            mirror.publish(commit.table).await?;
        }
        let versions: Vec<_> =
            committed.iter().map(|commit| format!("notes is at version {}", commit.version)).collect();
        self.print_result(&versions.join(", "))?;

        self.step("update and delete flushed rows, and open the data directory again");
        for statement in MORE_NOTES {
            run(&mut session, statement).await?;
        }
        drop(session);
        engine.close().await?;
        drop(engine);
        let (engine, mut session) = open_data(&data, catalog).await?;
        let rows = run(&mut session, ALL_NOTES).await?;
        for commit in engine.flush_all().await? {
            mirror.publish(commit.table).await?;
        }
        self.print_result(&format!("{rows} rows, flushed once more with deletion vectors"))?;
        engine.close().await
    }

    async fn count(&self, table: &DeltaTable, at: At) -> Result<usize> {
        let batches = table.read(&Scan { at, ..Scan::default() }).await?;
        Ok(batches.iter().map(|b| b.num_rows()).sum())
    }

    fn step(&mut self, what: &'static str) {
        (self.began, self.what) = (Instant::now(), what);
        // Printed together with its result: a step that fails is named by its error.
        let _ = self.out.say(&format!("• {what}"));
    }

    fn print_result(&mut self, result: &str) -> Result<()> {
        let took = self.began.elapsed().as_secs_f64() * 1000.0;
        self.steps.push(vec![self.what.into(), result.into(), json!((took * 10.0).round() / 10.0)]);
        self.out.say(&format!("  {result}  ({took:.1} ms)"))
    }

    /// Prints the steps for programs; for people they were printed as they were done.
    fn print_steps(&mut self) -> Result<()> {
        if self.out.format() == Format::Table {
            return Ok(());
        }
        let mut listing = self.out.listing(["step", "result", "milliseconds"].map(String::from).into());
        std::mem::take(&mut self.steps).into_iter().try_for_each(|step| listing.row(step))?;
        listing.end()
    }

    /// Writes `demo.json` next to the tables: their locations and rows, for comparison with other readers.
    async fn leave_rows(&self) -> Result<()> {
        let uri = CatalogUri::parse(&format!("deltasql://sqlite/{}", self.folder.join("catalog.db").display()))?;
        let catalog: Arc<dyn Catalog> = Arc::new(self.session.open(&uri, true).await?);
        let mut tables = Vec::new();
        for entry in catalog.tables().await? {
            let entry = require(catalog.as_ref(), &TableRef::Id(entry.id)).await?;
            let table = DeltaTable::open_in(catalog.clone(), &TableRef::Id(entry.id)).await?;
            let mut rows = Vec::new();
            let batches: Vec<_> = table.read(&Scan::default()).await?;
            for batch in batches {
                let names: Vec<_> = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
                for row in 0..batch.num_rows() {
                    let values = batch.columns().iter().map(|c| values::json(c, row)).collect::<Result<Vec<_>>>()?;
                    rows.push(Value::Object(names.iter().cloned().zip(values).collect::<Map<_, _>>()));
                }
            }
            tables.push(json!({"table": entry.name.to_string(), "location": entry.location.to_string(), "rows": rows}));
        }
        let file = self.folder.join("demo.json");
        std::fs::write(&file, Value::from(tables).to_string())
            .map_err(|e| io(&format!("{} cannot be written", file.display()), e))
    }
}

/// The row tables of a data directory, and a session for them.
async fn open_data(folder: &Path, catalog: &Arc<dyn Catalog>) -> Result<(Arc<RowEngine>, SqlSession)> {
    let engine = Arc::new(RowEngine::open(folder, catalog.clone(), WriteOptions::default()).await?);
    let session = SqlSession::new(catalog.clone(), SqlOptions::default())?;
    Ok((engine.clone(), session.with_guest(Arc::new(RowTables::new(engine)))))
}

/// Runs a statement. Returns how many rows it has.
async fn run(session: &mut SqlSession, statement: &str) -> Result<usize> {
    let mut count = 0;
    let mut script = session.execute(statement)?;
    while let Some(result) = script.next().await? {
        if let SqlResult::Rows(rows) = result {
            let batches: Vec<_> = rows.try_collect().await.map_err(|e| query_error(e, "the rows cannot be read"))?;
            count += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        }
    }
    Ok(count)
}

fn io(what: &str, e: std::io::Error) -> TxnLogError {
    TxnLogError::new(ErrorKind::Unavailable, what).with_source(e)
}

/// Copies the files to the table's location. A version without an in-commit timestamp has the time of its log file, and
/// embedded files have no times, so the times in the commits are used.
fn unpack(dir: &Dir<'_>, to: &Path) -> Result<()> {
    let failed = |e| io(&format!("{} cannot be written", to.display()), e);
    for file in dir.files() {
        let path = to.join(file.path());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        std::fs::write(&path, file.contents()).map_err(failed)?;
        if path.extension().is_some_and(|e| e == "json") {
            let commit = Commit::parse(bytes::Bytes::copy_from_slice(file.contents()), &path.to_string_lossy())?;
            let ms = commit.info().and_then(|i| i.timestamp()).unwrap_or(0);
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(ms.unsigned_abs());
            let opened = std::fs::File::options().append(true).open(&path);
            opened.and_then(|f| f.set_modified(time)).map_err(failed)?;
        }
    }
    dir.dirs().try_for_each(|dir| unpack(dir, to))
}
