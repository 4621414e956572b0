//! Random histories, from a seed, of tables whose rows are deleted and updated by deletion vectors.
//!
//! After each step our scan, the counts and bounds that a query takes from the log, and an earlier version are those of
//! an in-memory model. Every few steps, and at the end, the table is published and read by delta-rs and by DuckDB.

mod golden;
mod outside;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use deltalakedb_log::action::{Add, Version};
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::features::maps_columns;
use deltalakedb_log::{At, Catalog, ErrorKind, SystemClock, TableEntry, TableRef, canonical_path};
use deltalakedb_mirror::{Mirror, VerifyOptions};
use deltalakedb_table::{
    Alter, DeltaRs, DeltaTable, DeltaTableProvider, Operation, Scan, Transaction, TransactionOptions, Vacuum,
    WriteOptions, commit, create_table, parse_schema, plain, query, query_session,
};
use deltalakedb_tests::spark::read_by_spark;
use deltalakedb_tests::{
    contents, copy, location, our_state, read_by_duckdb, run_histories, same_state, seeds, soak, sqlite, their_state,
};
use fastrand::Rng;
use futures::TryStreamExt;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use self::steps::{Action, Condition, Random, Row, Step};

const HISTORIES: u64 = 500;
/// Steps of a history; one of twenty is a long one.
const STEPS: usize = 5;
const MANY_STEPS: usize = 12;

/// After so many steps other readers read the table.
const PUBLISHED_EVERY: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn random_histories_with_deletion_vectors_equal_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let root = dir.path().to_path_buf();
    let runs = run_histories(seeds(HISTORIES * soak()), "sqlite", move |seed| {
        let (root, catalog) = (root.clone(), catalog.clone());
        async move { run(seed, &root, &catalog).await }
    });
    let runs = runs.await;
    let count = runs.len();
    let sum = |of: fn(&Played) -> usize| runs.iter().map(of).sum::<usize>();
    let (vectors, conflicts, rebased) = (sum(|r| r.vectors), sum(|r| r.conflicts), sum(|r| r.rebased));
    eprintln!("{count} histories: {vectors} live vectors seen, {conflicts} conflicts, {rebased} commits rebased");
    assert!(count == 1 || vectors > count, "few files have vectors: {vectors} in {count} histories");
    assert!(count == 1 || (conflicts > count / 20 && rebased > count / 20), "{conflicts} conflicts, {rebased} rebased");
    read_by_spark("*", runs.iter().filter_map(|run| run.published.last()));
    let published = runs.into_iter().flat_map(|run| run.published);
    // DuckDB returns null for the partition columns of mapped tables (docs/limits.md).
    let readable = published.filter(|table| table["maps_partition_columns"] == false);
    read_by_duckdb(&dir.path().join("tables.json"), readable.collect());
}

/// The result of a history.
#[derive(Default)]
struct Played {
    /// The number of live vectors after each step, added up.
    vectors: usize,
    /// Commits that conflicted with a concurrent one.
    conflicts: usize,
    /// Commits that were rebased on a concurrent one.
    rebased: usize,
    /// Tables for other readers: descriptions for [`read_by_duckdb`], and whether partition columns are mapped.
    published: Vec<Value>,
}

struct History {
    catalog: Arc<dyn Catalog>,
    mirror: Mirror,
    table: DeltaTable,
    entry: TableEntry,
    at: PathBuf,
    options: WriteOptions,
    random: Random,
    /// The rows of each version.
    versions: BTreeMap<Version, Vec<Row>>,
    /// The oldest version that has its files.
    oldest: Version,
    /// What was done, for messages.
    story: Vec<String>,
    played: Played,
}

async fn run(seed: u64, root: &Path, catalog: &Arc<dyn Catalog>) -> Played {
    let mut history = History::new(seed, root, catalog).await;
    let steps = if seed.is_multiple_of(20) { MANY_STEPS } else { STEPS };
    for n in 1..=steps {
        let step = history.random.step(history.oldest, history.version());
        history.story.push(format!("{step:?}"));
        history.take(step).await;
        history.check().await;
        if n % PUBLISHED_EVERY == 0 || n == steps {
            history.publish().await;
        }
    }
    // Every version is in the log of the mirror as it is in the catalog, and no file of the newest is missing.
    let all = VerifyOptions { every_version: true, data: true };
    let found = history.mirror.verify(&history.entry().await, &DeltaRs, all, &|_, _| {}).await.unwrap();
    assert_eq!(found, [], "{}", history.what());
    history.played
}

impl History {
    async fn new(seed: u64, root: &Path, catalog: &Arc<dyn Catalog>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (name, at) = (format!("t{seed}"), root.join(format!("t{seed}")));
        let partition_by = if rng.bool() { vec!["part".to_string()] } else { Vec::new() };
        let mut properties = vec![("delta.enableDeletionVectors", "true")];
        let is_mapped = rng.u8(..3) == 0;
        if is_mapped {
            properties.push(("delta.columnMapping.mode", "name"));
        }
        if let Some(share) = rng.choice([None, Some("0.6"), Some("1")]).flatten() {
            properties.push(("deltalakedb.deletionVectors.maxShare", share));
        }
        // Files of several row groups, and row groups of several pages.
        let small = WriterProperties::builder().set_max_row_group_row_count(Some(4)).set_data_page_row_count_limit(2);
        let parquet = (rng.u8(..3) == 0).then(|| small.set_write_batch_size(1).build());
        let options = WriteOptions { parquet, ..WriteOptions::default() };
        let small = options.parquet.is_some();
        let story = vec![format!("by {partition_by:?}, {properties:?}, of small row groups: {small}")];
        let properties = properties.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let schema = parse_schema("id long, n long, part string").unwrap();
        let new = NewTable::new(name.parse().unwrap(), location(&at));
        create_table(catalog.as_ref(), new, &schema, &partition_by, &properties, &options).await.unwrap();
        let table = TableRef::Name(name.parse().unwrap());
        let entry = catalog.find(&table).await.unwrap().unwrap();
        Self {
            mirror: Mirror::new(catalog.clone(), Arc::new(SystemClock)),
            table: DeltaTable::open_in(catalog.clone(), &table).await.unwrap(),
            catalog: catalog.clone(),
            entry,
            at,
            options,
            random: Random::new(rng, is_mapped),
            versions: BTreeMap::from([(0, Vec::new())]),
            oldest: 0,
            story,
            played: Played::default(),
        }
    }

    async fn entry(&self) -> TableEntry {
        self.catalog.find(&TableRef::Id(self.entry.id)).await.unwrap().unwrap()
    }

    fn version(&self) -> Version {
        *self.versions.last_key_value().unwrap().0
    }

    fn rows(&self) -> &[Row] {
        self.versions.last_key_value().unwrap().1
    }

    fn what(&self) -> String {
        self.story.join("\n")
    }

    /// Notes that the table has these rows now, in all versions that are new.
    async fn note(&mut self, rows: Vec<Row>) {
        let head = self.table.reader().await.unwrap().head().await.unwrap().version;
        let new = self.version() + 1..=head;
        if new.is_empty() {
            assert_eq!(rows, self.rows(), "the rows changed without a commit\n{}", self.what());
        }
        self.versions.extend(new.map(|version| (version, rows.clone())));
    }

    async fn run(&self, operation: Operation) {
        let done = self.table.run(operation, &self.options).await;
        done.unwrap_or_else(|e| panic!("{e}\n{}", self.what()));
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Alone(action) => {
                self.run(action.operation()).await;
                let rows = action.after(self.rows());
                self.note(rows).await;
            }
            Step::Transaction(statements) => {
                let options = TransactionOptions { write: self.options.clone(), ..TransactionOptions::default() };
                let tx = Transaction::begin(self.catalog.clone(), options).await.unwrap();
                let (name, mut rows) = (self.entry.name.to_string(), self.rows().to_vec());
                for statement in statements {
                    let done = tx.run(&name, statement.operation()).await;
                    done.unwrap_or_else(|e| panic!("{statement:?}: {e}\n{}", self.what()));
                    rows = statement.after(&rows);
                    let seen = rows_of(&tx.read(&name, &Scan::default()).await.unwrap());
                    assert_eq!(seen, rows, "within the transaction after {statement:?}\n{}", self.what());
                }
                tx.commit().await.unwrap_or_else(|e| panic!("{e}\n{}", self.what()));
                self.note(rows).await;
            }
            Step::Concurrent(first, second) => self.concurrently(&first, &second).await,
            Step::Restore(to) => {
                self.run(Operation::Restore(At::Version(to).into())).await;
                self.note(self.versions[&to].clone()).await;
            }
            Step::Vectors(on) => {
                let properties = [("delta.enableDeletionVectors".to_string(), on.to_string())].into();
                self.run(Operation::Alter(Alter::SetProperties { properties, unknown: false })).await;
                self.note(self.rows().to_vec()).await;
            }
            Step::Vacuum { lite } => self.vacuum(lite).await,
        }
    }

    /// Two that read one version: the second conflicts, or the rows are those of one after the other.
    async fn concurrently(&mut self, first: &Action, second: &Action) {
        let options = self.options.clone();
        let earlier = self.table.prepare(first.operation(), &options).await.unwrap();
        let later = self.table.prepare(second.operation(), &options).await.unwrap();
        let (earlier, later) = match (earlier, later) {
            (Some(earlier), Some(later)) => (earlier, later),
            (one, other) => {
                for pending in one.into_iter().chain(other) {
                    pending.discard().await;
                }
                return;
            }
        };
        let before = self.rows().to_vec();
        commit(self.catalog.as_ref(), vec![earlier], &options).await.unwrap();
        self.note(first.after(&before)).await;
        match commit(self.catalog.as_ref(), vec![later], &options).await {
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Conflict, "{e}\n{}", self.what());
                self.played.conflicts += 1;
            }
            Ok(_) => {
                self.played.rebased += 1;
                let seen = rows_of(&self.table.read(&Scan::default()).await.unwrap());
                let orders = [second.after(self.rows()), first.after(&second.after(&before))];
                assert!(orders.contains(&seen), "{seen:?} is of neither order: {orders:?}\n{}", self.what());
                self.note(seen).await;
            }
        }
    }

    /// Removes all files that the newest version does not need, and no other.
    async fn vacuum(&mut self, lite: bool) {
        self.mirror.publish(self.entry.id).await.unwrap();
        // The newest version is older than the time of the vacuum.
        tokio::time::sleep(Duration::from_millis(3)).await;
        let before = self.version();
        let retain = Some(Duration::ZERO);
        let vacuum = Vacuum { retain, lite, enforce_retention: false, ..Vacuum::default() };
        self.table.vacuum(&vacuum, &WriteOptions::default()).await.unwrap();
        self.oldest = before;
        self.note(self.rows().to_vec()).await;
        let live = self.live().await;
        let named = live.iter().flat_map(|add| add.paths().unwrap().map(String::from).collect::<Vec<_>>());
        let named: BTreeSet<_> = named.map(|path| String::from_utf8(canonical_path(&path)).unwrap()).collect();
        let there = contents(&self.at).into_keys().filter(|path| !path.starts_with("_delta_log"));
        let there: BTreeSet<_> = there.map(|path| path.to_str().unwrap().to_string()).collect();
        assert_eq!(there, named, "the files after a vacuum, and those of the table\n{}", self.what());
    }

    async fn live(&self) -> Vec<Add> {
        let reader = self.table.reader().await.unwrap();
        reader.files(self.version(), None).await.unwrap().try_collect().await.unwrap()
    }

    async fn check(&mut self) {
        let condition = Condition::random(&mut self.random.rng);
        let past = self.random.rng.u64(self.oldest..=self.version());
        let read = async |scan: Scan| {
            rows_of(&self.table.read(&scan).await.unwrap_or_else(|e| panic!("{scan:?}: {e}\n{}", self.what())))
        };
        assert_eq!(read(Scan::default()).await, self.rows(), "{}", self.what());
        let scan = Scan { filter_sql: Some(condition.sql("")), ..Scan::default() };
        let want: Vec<_> = self.rows().iter().filter(|row| condition.holds(row)).cloned().collect();
        assert_eq!(read(scan.clone()).await, want, "{scan:?}\n{}", self.what());
        let scan = Scan { at: At::Version(past), ..Scan::default() };
        assert_eq!(read(scan).await, self.versions[&past], "at version {past}\n{}", self.what());
        assert_eq!(self.numbers().await, numbers_of(self.rows()), "{}", self.what());
        self.played.vectors += self.live().await.iter().filter(|add| add.deletion_vector.is_some()).count();
    }

    /// The number of rows, and bounds, of which a query takes those from the log that are exact there.
    async fn numbers(&self) -> Vec<Option<i64>> {
        let session = query_session([]).unwrap();
        let provider = DeltaTableProvider::open(&self.table, At::Latest).await.unwrap();
        session.register_table("t", Arc::new(provider)).unwrap();
        let mut numbers = Vec::new();
        // A query gets all of them from the log, or none.
        for what in ["count(*)", "min(id), max(id)", "count(n), min(n), max(n)"] {
            let rows = query(&session, &format!("SELECT {what} FROM t")).await.unwrap().collect().await.unwrap();
            numbers.extend(rows[0].columns().iter().map(|column| longs(column)[0]));
        }
        numbers
    }

    /// Publishes the table, reads it with delta-rs, and keeps a copy for DuckDB and Spark.
    async fn publish(&mut self) {
        let version = self.version();
        assert_eq!(self.mirror.publish(self.entry.id).await.unwrap().version, Some(version), "{}", self.what());
        let place = &self.entry.location;
        let theirs = their_state(place, version).await.unwrap();
        same_state(&self.what(), &our_state(self.catalog.as_ref(), &self.entry, version).await, &theirs);
        let theirs = rows_of(&plain::read(place, None).await.unwrap_or_else(|e| panic!("{e}\n{}", self.what())));
        assert_eq!(theirs, self.rows(), "delta-rs reads the table\n{}", self.what());
        let head = self.table.head().await.unwrap();
        let is_partitioned = !head.metadata.partition_columns.is_empty();
        let maps_partition_columns = maps_columns(&head.protocol, &head.metadata) && is_partitioned;
        let kept = self.at.with_extension(version.to_string());
        copy(&self.at, &kept);
        let rows: Vec<_> = self.rows().iter().map(|row| json!({"id": row.id, "n": row.n, "part": row.part})).collect();
        let what = format!("{} at version {version}", self.entry.name);
        self.played.published.push(json!({
            "table": what, "location": kept, "rows": rows, "maps_partition_columns": maps_partition_columns,
        }));
    }
}

/// As a query of [`History::numbers`] returns them.
fn numbers_of(rows: &[Row]) -> Vec<Option<i64>> {
    let (ids, ns) = (|| rows.iter().map(|row| row.id), || rows.iter().filter_map(|row| row.n));
    vec![Some(rows.len() as i64), ids().min(), ids().max(), Some(ns().count() as i64), ns().min(), ns().max()]
}

/// The rows of batches, sorted.
fn rows_of(batches: &[RecordBatch]) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in batches {
        let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("{:?}", batch.schema()));
        let parts = cast(column("part"), &DataType::Utf8).unwrap();
        let parts = parts.as_string::<i32>().iter().map(|part| part.map(String::from));
        let numbers = longs(column("id")).into_iter().zip(longs(column("n")));
        rows.extend(numbers.zip(parts).map(|((id, n), part)| Row { id: id.unwrap(), n, part }));
    }
    rows.sort();
    rows
}

fn longs(column: &ArrayRef) -> Vec<Option<i64>> {
    column.as_primitive::<Int64Type>().iter().collect()
}
