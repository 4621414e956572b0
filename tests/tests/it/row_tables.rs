//! Random histories of row tables, from a seed, as other readers see them.
//!
//! After each step SQL returns the rows of an in-memory model. After each flush delta-rs and our scan read the model's
//! rows from the new version of the Delta table, and our scan reads the earlier versions as before. At the end DuckDB,
//! and delta-rs by its package for Python, read every version of every table, dropped ones included, and Spark a sample.
//! Of some histories they also read a copy of the table that was made before each flush.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use deltalakedb_engine::{RowEngine, RowTables};
use deltalakedb_log::{At, Catalog, Result, SystemClock, TableEntry, TableRef, Version};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::{DeltaTable, Scan, SqlOptions, SqlResult, SqlSession, WriteOptions, plain};
use deltalakedb_tests::row_model::{self, COLUMNS, Change, Changed, Rows, texts};
use deltalakedb_tests::spark::read_by_spark;
use deltalakedb_tests::{copy, read_by, run_histories, seeds, soak, sqlite, text};
use fastrand::Rng;
use futures::TryStreamExt;
use serde_json::{Value, json};

const HISTORIES: u64 = 500;
/// Steps of a history; one of twenty is a long one.
const STEPS: usize = 6;
const MANY_STEPS: usize = 40;

/// In one of this many histories, others also read the newest version as it is before each flush.
const SAMPLED: u64 = 3;

const TABLE: &str = "app.t";

/// The columns as text that Spark writes as this library does, in the order of a [`Record`].
const AS_TEXT: &str = "CAST(_seq AS STRING) AS _seq, CAST(a AS STRING) AS a, b, CAST(day AS STRING) AS day,
    CAST(price AS STRING) AS price, CAST(v AS STRING) AS v, CAST(x AS STRING) AS x";

#[tokio::test(flavor = "multi_thread")]
async fn random_histories_of_row_tables_equal_a_model_in_other_readers() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_path_buf();
    let history = move |seed: u64| Box::pin(run(seed, root.join(seed.to_string())));
    let runs = run_histories(seeds(HISTORIES * soak()), "sqlite", history).await;
    let (count, sum) = (runs.len(), |of: fn(&Played) -> usize| runs.iter().map(of).sum::<usize>());
    let (changes, refused, concurrent) = (sum(|r| r.changes), sum(|r| r.refused), sum(|r| r.concurrent));
    let (versions, dropped, restarts) = (sum(|r| r.versions.len()), sum(|r| r.dropped), sum(|r| r.restarts));
    eprintln!(
        "{count} histories: {changes} changes, {refused} of them refused, {concurrent} pairs of concurrent ones; \
         {versions} versions, {dropped} tables dropped, {restarts} restarts"
    );
    assert!(count == 1 || (versions > 2 * count && concurrent > count / 5), "{versions} versions, {concurrent} pairs");
    assert!(count == 1 || (dropped > count / 10 && restarts > count / 5), "{dropped} drops, {restarts} restarts");
    read_by_spark(AS_TEXT, runs.iter().filter_map(|run| run.newest.last()));
    let before_flushes = sum(|r| r.before_flushes.len());
    assert!(count == 1 || before_flushes > count / 50, "{before_flushes} copies before flushes");
    let all = runs.into_iter().flat_map(|run| run.versions.into_iter().chain(run.before_flushes));
    read_by(&["duckdb", "delta-rs"], &dir.path().join("tables.json"), all.collect());
}

/// The result of a history.
#[derive(Default)]
struct Played {
    changes: usize,
    /// Changes that were refused, because two rows would have one key or a key would be null.
    refused: usize,
    /// Pairs of concurrent changes.
    concurrent: usize,
    dropped: usize,
    restarts: usize,
    /// All versions, described for [`read_by`].
    versions: Vec<Value>,
    /// Copies of newest versions before flushes, described for [`read_by`].
    before_flushes: Vec<Value>,
    /// The newest version of each table, described for [`read_by_spark`].
    newest: Vec<Value>,
}

/// A row: the text of each column, by its name.
type Record = BTreeMap<String, Option<String>>;

/// The Delta table of a row table.
struct ColdTable {
    entry: TableEntry,
    delta: DeltaTable,
    /// The rows of each version, from 0.
    versions: Vec<Vec<Record>>,
}

struct History {
    seed: u64,
    rng: Rng,
    catalog: Arc<dyn Catalog>,
    mirror: Mirror,
    /// The data directory.
    data: PathBuf,
    /// None while it is opened again.
    engine: Option<Arc<RowEngine>>,
    sessions: Vec<SqlSession>,
    /// The model.
    rows: Rows,
    cold: ColdTable,
    /// What was done, for messages.
    story: Vec<String>,
    played: Played,
}

async fn run(seed: u64, folder: PathBuf) -> Played {
    let mut history = History::new(seed, &folder).await;
    for _ in 0..if seed.is_multiple_of(20) { MANY_STEPS } else { STEPS } {
        history.step().await;
        history.check().await;
    }
    history.flush().await;
    history.describe();
    history.close().await;
    // Other readers need the Delta tables only, and a long run has many catalogs.
    std::fs::remove_dir_all(history.data.join("_hot")).unwrap();
    std::fs::remove_file(folder.join("catalog.db")).unwrap();
    history.played
}

impl History {
    async fn new(seed: u64, folder: &Path) -> Self {
        std::fs::create_dir(folder).unwrap();
        let (catalog, data) = (sqlite(folder).await, folder.join("data"));
        let (engine, mut sessions) = open(&data, &catalog).await;
        ask(&mut sessions[0], "CREATE NAMESPACE app").await.unwrap();
        ask(&mut sessions[1], &row_model::create(TABLE)).await.unwrap();
        Self {
            seed,
            rng: Rng::with_seed(seed),
            mirror: Mirror::new(catalog.clone(), Arc::new(SystemClock)),
            cold: ColdTable::new(&catalog).await,
            catalog,
            data,
            engine: Some(engine),
            sessions,
            rows: Rows::new(),
            story: Vec::new(),
            played: Played::default(),
        }
    }

    fn what(&self) -> String {
        format!("seed {}\n{}", self.seed, self.story.join("\n"))
    }

    /// Runs a statement in one of the sessions; returns its rows, or what it answers.
    async fn ask(&mut self, sql: &str) -> Result<(Vec<RecordBatch>, String)> {
        let session = self.rng.usize(..self.sessions.len());
        // Boxed, because the futures of statements are large.
        Box::pin(ask(&mut self.sessions[session], sql)).await
    }

    /// Runs a statement that must succeed.
    async fn run(&mut self, sql: &str) {
        self.story.push(sql.to_string());
        let ran = self.ask(sql).await;
        ran.unwrap_or_else(|e| panic!("{e}\n{}", self.what()));
    }

    async fn step(&mut self) {
        match self.rng.u8(0..20) {
            0..=11 => self.change().await,
            12..=14 => self.flush().await,
            15 => self.drop_and_create().await,
            16 | 17 => self.restart().await,
            _ => self.change_concurrently().await,
        }
    }

    async fn change(&mut self) {
        let change = Change::random(&mut self.rng, TABLE);
        let Changed { rows, answer } = change.after(&self.rows);
        self.story.push(change.sql.clone());
        let answered = self.ask(&change.sql).await.map(|(_, answer)| answer);
        assert_eq!(answered.map_err(|e| e.kind()), answer, "{}", self.what());
        self.played.changes += 1;
        self.played.refused += usize::from(answer.is_err());
        self.rows = rows;
    }

    /// Two sessions change the table at the same time, and the result is that of one change after the other.
    async fn change_concurrently(&mut self) {
        let changes = [(); 2].map(|()| Change::random_in_place(&mut self.rng, TABLE));
        self.story.push(format!("{} || {}", changes[0].sql, changes[1].sql));
        let (one, other) = self.sessions.split_at_mut(1);
        let one = Box::pin(ask(&mut one[0], &changes[0].sql));
        let other = Box::pin(ask(&mut other[0], &changes[1].sql));
        let answers: [Result<_>; 2] = futures::future::join(one, other).await.into();
        let answers = answers.map(|answer| answer.map(|(_, answer)| answer).map_err(|e| e.kind()));
        let found = without_seq(self.found().await);
        let orders = [[0, 1], [1, 0]].map(|order| {
            let mut rows = self.rows.clone();
            let mut answers = [Ok(String::new()), Ok(String::new())];
            for n in order {
                Changed { rows, answer: answers[n] } = changes[n].after(&rows);
            }
            (rows, answers)
        });
        let same = orders.iter().find(|(rows, said)| *said == answers && records_of(rows) == found);
        let Some((rows, _)) = same else {
            panic!("{answers:?} and {found:?} are of neither order: {orders:?}\n{}", self.what());
        };
        self.rows = rows.clone();
        self.played.concurrent += 1;
    }

    /// All rows with `_seq`, by SQL.
    async fn found(&mut self) -> Vec<Record> {
        let rows = self.ask(&format!("SELECT {}, _seq FROM {TABLE}", COLUMNS.join(", "))).await;
        records(&rows.unwrap_or_else(|e| panic!("{e}\n{}", self.what())).0)
    }

    async fn check(&mut self) {
        let found = self.found().await;
        assert_eq!(without_seq(found), records_of(&self.rows), "{}", self.what());
        let count = self.ask(&format!("SELECT count(*) FROM {TABLE}")).await.unwrap().0;
        assert_eq!(text(count[0].column(0), 0), self.rows.len().to_string(), "{}", self.what());
    }

    async fn flush(&mut self) {
        if self.seed % SAMPLED == 1 && self.cold.versions.len() > 1 {
            self.keep_before_flush();
        }
        self.run(&format!("FLUSH TABLE {TABLE}")).await;
        let rows = self.found().await;
        let version = self.mirror.publish(self.cold.entry.id).await.unwrap().version.unwrap();
        self.flushed(version, rows).await;
        for (version, rows) in (0..).zip(&self.cold.versions) {
            let scan = Scan { at: At::Version(version), ..Scan::default() };
            let found = records(&self.cold.delta.read(&scan).await.unwrap());
            assert_eq!(found, *rows, "version {version}\n{}", self.what());
        }
    }

    /// Copies the Delta table and describes the newest version in the copy: others read it as it is before a flush.
    fn keep_before_flush(&mut self) {
        let version = self.cold.versions.len() - 1;
        let kept = self.data.with_file_name(format!("before-{}", self.played.before_flushes.len()));
        copy(&self.cold.entry.location.local_path().unwrap(), &kept);
        let what = format!("seed {} at version {version}, before a flush", self.seed);
        let rows: Vec<_> = self.cold.versions[version].iter().map(typed).collect();
        self.played.before_flushes.push(json!({"table": what, "location": kept, "version": version, "rows": rows}));
    }

    /// Checks the newest version, which has these rows.
    async fn flushed(&mut self, version: Version, rows: Vec<Record>) {
        assert_eq!(without_seq(rows.clone()), records_of(&self.rows), "{}", self.what());
        let theirs = plain::read(&self.cold.entry.location, Some(version)).await;
        let theirs = records(&theirs.unwrap_or_else(|e| panic!("{e}\n{}", self.what())));
        assert_eq!(theirs, rows, "delta-rs reads version {version}\n{}", self.what());
        let newest = self.cold.versions.len() as Version - 1;
        if version > newest {
            assert_eq!(version, newest + 1, "a flush is one version\n{}", self.what());
            self.cold.versions.push(rows);
        } else {
            assert_eq!(version, newest, "{}", self.what());
            assert_eq!(self.cold.versions.last(), Some(&rows), "nothing was flushed\n{}", self.what());
        }
    }

    /// Drops the table, which is flushed and stays readable for others, and creates it again.
    async fn drop_and_create(&mut self) {
        let rows = self.found().await;
        self.run(&format!("DROP TABLE {TABLE}")).await;
        let version = plain::replay(&self.cold.entry.location, None).await.unwrap().version;
        self.flushed(version, rows).await;
        self.describe();
        self.run(&row_model::create(TABLE)).await;
        self.cold = ColdTable::new(&self.catalog).await;
        self.rows.clear();
        self.played.dropped += 1;
    }

    async fn restart(&mut self) {
        self.story.push("restart".to_string());
        self.close().await;
        let (engine, sessions) = open(&self.data, &self.catalog).await;
        (self.engine, self.sessions) = (Some(engine), sessions);
        self.played.restarts += 1;
    }

    async fn close(&mut self) {
        // A session keeps its engine open.
        self.sessions.clear();
        if let Some(engine) = self.engine.take() {
            engine.close().await.unwrap();
        }
    }

    /// Describes all versions of the Delta table for other readers.
    fn describe(&mut self) {
        let at = self.cold.entry.location.local_path().unwrap();
        for (version, rows) in self.cold.versions.iter().enumerate() {
            let what = format!("seed {} at version {version}", self.seed);
            let rows: Vec<_> = rows.iter().map(typed).collect();
            self.played.versions.push(json!({"table": what, "location": at, "version": version, "rows": rows}));
        }
        if let Some(rows) = self.cold.versions.last() {
            let what = format!("the newest version of seed {}", self.seed);
            self.played.newest.push(json!({"table": what, "location": at, "rows": rows}));
        }
    }
}

impl ColdTable {
    /// The Delta table of the row table, which was just created.
    async fn new(catalog: &Arc<dyn Catalog>) -> Self {
        let entry = catalog.find(&TableRef::Name(TABLE.parse().unwrap())).await.unwrap().unwrap();
        let delta = DeltaTable::of_entry(catalog.clone(), entry.clone());
        Self { entry, delta, versions: vec![Vec::new()] }
    }
}

/// The engine of a data directory, and two sessions.
async fn open(data: &Path, catalog: &Arc<dyn Catalog>) -> (Arc<RowEngine>, Vec<SqlSession>) {
    let engine = RowEngine::open(data, catalog.clone(), WriteOptions::default()).await.unwrap();
    let engine = Arc::new(engine);
    let session = || {
        let session = SqlSession::new(catalog.clone(), SqlOptions::default()).unwrap();
        session.with_guest(Arc::new(RowTables::new(engine.clone())))
    };
    let sessions = vec![session(), session()];
    (engine, sessions)
}

/// The rows of a query, or what a statement answers: its command, and the number of rows if it says one.
async fn ask(session: &mut SqlSession, sql: &str) -> Result<(Vec<RecordBatch>, String)> {
    let (mut rows, mut answer) = (Vec::new(), String::new());
    let mut script = session.execute(sql)?;
    while let Some(result) = script.next().await? {
        match result {
            SqlResult::Rows(stream) => rows = stream.try_collect().await.unwrap(),
            SqlResult::CommandComplete(done) => {
                answer = done.rows.map_or(done.command.to_string(), |rows| format!("{} {rows}", done.command));
            }
        }
    }
    Ok((rows, answer))
}

/// An object for each row, with the text of each column by its name.
pub(crate) fn objects(batches: &[RecordBatch]) -> Vec<Value> {
    let mut objects = Vec::new();
    for batch in batches {
        let schema = batch.schema();
        let columns: Vec<_> = schema.fields().iter().zip(batch.columns()).collect();
        objects.extend((0..batch.num_rows()).map(|row| {
            let value = |column| if Array::is_null(column, row) { Value::Null } else { text(column, row).into() };
            columns.iter().map(|(field, column)| (field.name().clone(), value(*column))).collect::<Value>()
        }));
    }
    objects
}

/// The rows of batches, sorted.
fn records(batches: &[RecordBatch]) -> Vec<Record> {
    let rows = objects(batches).into_iter().map(|row| serde_json::from_value(row).unwrap());
    let mut records: Vec<Record> = rows.collect();
    records.sort();
    records
}

/// The rows of the model, sorted.
fn records_of(rows: &Rows) -> Vec<Record> {
    let names = || COLUMNS.map(String::from);
    let mut records: Vec<Record> =
        rows.iter().map(|(key, values)| names().into_iter().zip(texts(key, values)).collect()).collect();
    records.sort();
    records
}

/// The rows without `_seq`, which the model does not have.
fn without_seq(mut records: Vec<Record>) -> Vec<Record> {
    for record in &mut records {
        assert!(record.remove("_seq").flatten().is_some(), "{record:?} has no _seq");
    }
    records.sort();
    records
}

/// A row as `dl read --format json` prints it.
fn typed(record: &Record) -> Value {
    let value = |name: &str, text: &str| match name {
        "_seq" | "a" | "v" => json!(text.parse::<i64>().unwrap()),
        "x" => json!(text.parse::<f64>().unwrap()),
        _ => json!(text),
    };
    let columns = record.iter().map(|(name, text)| (name.clone(), text.as_deref().map(|text| value(name, text))));
    columns.map(|(name, value)| (name, value.unwrap_or_default())).collect()
}
