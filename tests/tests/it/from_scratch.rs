//! A `_delta_log` that was lost and published again into an empty folder: delta-rs, DuckDB, Polars and Spark read the rows
//! of its versions as the catalog has them. Afterwards the table is detached, and Spark appends to it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::ipc::writer::StreamWriter;
use deltalakedb_log::action::{Action, Txn, Version};
use deltalakedb_log::commit::{Base, NewTable};
use deltalakedb_log::conformance::actions::domain;
use deltalakedb_log::{At, Catalog, Commit, CommitRequest, SystemClock, TableEntry, TableId, TableRef};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::{
    Alter, DeltaTable, Operation, Scan, TableSchema, TableSpec, Vacuum, WriteOptions, detach_table, parse_schema, plain,
};
use deltalakedb_tests::spark::{Spark, read_by_spark, spark};
use deltalakedb_tests::{
    SeedReport, golden, import, location, our_rows, read_by, seeds, soak, sqlite, their_rows, unpack,
};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::golden::{CANONICALIZED, REFUSED, UNREADABLE};
use crate::operations::deltalakedb::operation;
use crate::operations::{Random, Step, TableState};
use crate::row_tables::objects;

/// The least number of commits of a history.
const COMMITS: Version = 300;
/// The steps after which a history that has not come so far rejects too many of them.
const STEPS: usize = 3 * COMMITS as usize;
/// DuckDB and Polars read one version of so many from the commits alone, which takes DuckDB long, and the others from
/// checkpoints; with `DELTALAKEDB_SOAK=1` they read every version from the commits.
const EVERY: u64 = 5;
/// The number of versions from one of these checkpoints to the next.
const CHECKPOINTS: usize = 20;

/// The actions in a history.
const ACTIONS: [&str; 8] = ["add", "cdc", "commitInfo", "domainMetadata", "metaData", "protocol", "remove", "txn"];
/// The operations in a history, among others.
const OPERATIONS: [&str; 8] =
    ["DELETE", "MERGE", "OPTIMIZE", "RESTORE", "UPDATE", "VACUUM END", "VACUUM START", "WRITE"];

/// Columns that Spark writes as text as this library does.
const AS_TEXT: [&str; 6] = ["id", "n", "note", "flag", "day", "pnum"];

#[tokio::test(flavor = "multi_thread")]
async fn outside_readers_read_every_version_of_a_random_history() {
    for seed in seeds(1) {
        let _named = SeedReport::new(seed, "sqlite");
        let dir = tempfile::tempdir().unwrap();
        let catalog = sqlite(dir.path()).await;
        let (table, entry) = History::new(seed, &catalog, &dir.path().join("t")).await.played().await;
        check_kinds(&catalog, &entry).await;
        publish_from_scratch(&catalog, &entry).await;

        let reads = (0..=entry.current_version).map(|version| {
            let (catalog, entry) = (catalog.clone(), entry.clone());
            tokio::spawn(async move {
                let theirs = their_rows(&entry.location, version).await.unwrap_or_else(|e| panic!("{version}: {e}"));
                let ours = our_rows(&catalog, &entry, version).await.unwrap_or_else(|e| panic!("{version}: {e}"));
                assert_eq!(theirs, ours, "delta-rs reads version {version}");
            })
        });
        let reads: Result<Vec<()>, _> = futures::stream::iter(reads).buffer_unordered(4).try_collect().await;
        reads.unwrap();

        let every = if soak() > 1 { 1 } else { EVERY };
        let (sparse, others): (Vec<_>, Vec<_>) =
            (0..=entry.current_version).partition(|version| (entry.current_version - version).is_multiple_of(every));
        for (n, versions) in [sparse, others].into_iter().enumerate().filter(|(_, versions)| !versions.is_empty()) {
            if n == 1 {
                write_checkpoints(&catalog, entry.id).await;
            }
            let describe = |version| describe(&table, &entry, version, dir.path());
            let described: Vec<_> = futures::stream::iter(versions).map(describe).buffered(4).collect().await;
            let described = described.into_iter().map(Option::unwrap).collect();
            read_by(&["duckdb", "polars"], &dir.path().join(format!("tables-{n}.json")), described);
        }

        let mut sample = Vec::new();
        for quarter in 1..=4 {
            sample.push(as_text(&table, &entry, entry.current_version * quarter / 4).await);
        }
        let Some(spark) = spark() else { continue };
        read_by_spark("*", sample.iter());
        spark_appends(&spark, &catalog, &table, &entry).await;
    }
}

/// A table in the making.
struct History {
    catalog: Arc<dyn Catalog>,
    table: DeltaTable,
    id: TableId,
    at: PathBuf,
    random: Random,
}

impl History {
    /// A table with deletion vectors and partitions, whose protocol allows domains.
    async fn new(seed: u64, catalog: &Arc<dyn Catalog>, at: &Path) -> Self {
        let columns = [
            ("id", DataType::Int64),
            ("n", DataType::Int32),
            ("note", DataType::Utf8),
            ("flag", DataType::Boolean),
            ("day", DataType::Date32),
            ("pnum", DataType::Int32),
        ];
        let fields: Vec<_> = columns.into_iter().map(|(name, t)| Field::new(name, t, name != "id")).collect();
        let properties = [
            ("delta.enableDeletionVectors", "true"),
            ("delta.enableChangeDataFeed", "true"),
            ("deltalakedb.deletionVectors.maxShare", "1"),
        ];
        let spec = TableSpec {
            partition_by: vec!["pnum".to_string()],
            properties: properties.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            features: vec!["domainMetadata".to_string()],
            ..TableSpec::default()
        };
        let new = NewTable::new("t".parse().unwrap(), location(at));
        let schema = TableSchema::from_arrow(&Schema::new(fields)).unwrap();
        spec.create(catalog.as_ref(), new, &schema, &WriteOptions::default()).await.unwrap();
        let name = TableRef::Name("t".parse().unwrap());
        let id = catalog.find(&name).await.unwrap().unwrap().id;
        let table = DeltaTable::open_in(catalog.clone(), &name).await.unwrap();
        Self { catalog: catalog.clone(), table, id, at: at.to_path_buf(), random: Random::new(seed) }
    }

    /// Random steps. Many are rejected: the operations tests check which.
    async fn played(mut self) -> (DeltaTable, TableEntry) {
        let (mut rejected, mut in_a_row) = (0, 0);
        for n in 0..STEPS {
            match n % 50 {
                7 | 32 => self.set_domain(n).await,
                20 => self.vacuum(n).await,
                _ => {}
            }
            let state = self.state().await;
            if state.version >= COMMITS {
                break;
            }
            let step = self.random.step(&state);
            if self.take(&step, n).await {
                in_a_row = 0;
            } else {
                (rejected, in_a_row) = (rejected + 1, in_a_row + 1);
            }
            // Constraints, and a table that allows only appends, reject most steps.
            if in_a_row == 4 {
                in_a_row = 0;
                for name in ["one", "two"] {
                    self.take(&Step::DropConstraint(name.into()), n).await;
                }
                self.take(&Step::SetProperties([("delta.appendOnly".into(), "false".into())].into()), n).await;
            }
        }
        let entry = self.catalog.find(&TableRef::Id(self.id)).await.unwrap().unwrap();
        eprintln!("{} commits, {rejected} steps rejected", entry.current_version);
        assert!(entry.current_version >= COMMITS, "{rejected} of {STEPS} steps were rejected");
        (self.table, entry)
    }

    async fn state(&self) -> TableState {
        let head = self.table.head().await.unwrap();
        TableState {
            columns: parse_schema(&head.metadata.schema_string).unwrap().to_arrow().unwrap(),
            partition_by: head.metadata.partition_columns.clone(),
            version: head.version,
        }
    }

    /// Whether the step was not rejected. Some set the txn of an application.
    async fn take(&self, step: &Step, n: usize) -> bool {
        let txn = Txn { app_id: "app".into(), version: n as i64, last_updated: None, extra: Default::default() };
        let applications = if n.is_multiple_of(10) { vec![txn] } else { Vec::new() };
        let options = WriteOptions { applications, ..WriteOptions::default() };
        let done = self.table.run(operation(step).unwrap(), &options).await;
        if let Err(e) = &done {
            eprintln!("rejected: {step}: {e}");
        }
        done.is_ok()
    }

    /// Sets a domain, and removes it every second time.
    async fn set_domain(&self, n: usize) {
        let head = self.table.head().await.unwrap().version;
        let actions = vec![domain("a.domain", "{}", n % 50 == 32)];
        let request = CommitRequest::new(self.id, Uuid::new_v4(), Base::Exactly(head), actions);
        self.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    }

    /// Removes a file that no version has, so that every version can be read afterwards.
    async fn vacuum(&self, n: usize) {
        std::fs::write(self.at.join(format!("orphan-{n}.parquet")), "").unwrap();
        let vacuum = Vacuum { sole_writer: true, ..Vacuum::default() };
        self.table.vacuum(&vacuum, &WriteOptions::default()).await.unwrap();
        assert!(!self.at.join(format!("orphan-{n}.parquet")).exists());
    }
}

/// Checks that a history has all kinds of actions, and the operations that make them.
async fn check_kinds(catalog: &Arc<dyn Catalog>, entry: &TableEntry) {
    let (mut actions, mut operations, mut vectors) = (BTreeSet::new(), BTreeSet::new(), 0);
    let reader = catalog.reader(entry.id);
    for version in 0..=entry.current_version {
        let bytes = reader.commit_bytes(version).await.unwrap().unwrap();
        let commit = Commit::parse(bytes, "our commit").unwrap();
        operations.extend(commit.info().and_then(|info| info.0.get::<String>("operation")));
        for action in commit.actions() {
            actions.insert(action.name().to_string());
            vectors += usize::from(matches!(action, Action::Add(add) if add.deletion_vector.is_some()));
        }
    }
    assert_eq!(actions, BTreeSet::from(ACTIONS.map(String::from)));
    let missing: Vec<_> = OPERATIONS.iter().filter(|name| !operations.contains(**name)).collect();
    assert!(missing.is_empty(), "no {missing:?} among {operations:?}");
    assert!(vectors > 20, "{vectors} vectors");
}

/// Publishes a table, deletes its `_delta_log`, and publishes it again as a new process does.
async fn publish_from_scratch(catalog: &Arc<dyn Catalog>, entry: &TableEntry) {
    let mirror = || Mirror::new(catalog.clone(), Arc::new(SystemClock));
    mirror().publish(entry.id).await.unwrap();
    std::fs::remove_dir_all(entry.location.local_path().unwrap().join("_delta_log")).unwrap();
    let repaired = mirror().repair(entry.id).await.unwrap();
    let all: Vec<_> = (entry.base_version..=entry.current_version).collect();
    assert_eq!(repaired.versions, all, "{}", entry.name);
}

async fn write_checkpoints(catalog: &Arc<dyn Catalog>, table: TableId) {
    let entry = catalog.find(&TableRef::Id(table)).await.unwrap().unwrap();
    let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
    for version in (entry.base_version..entry.current_version).step_by(CHECKPOINTS).skip(1) {
        mirror.checkpoint_at(&entry, version).await.unwrap();
    }
}

/// A version of a table for [`read_by`], with its rows in a file of the folder; `None` if it cannot be read.
async fn describe(table: &DeltaTable, entry: &TableEntry, version: Version, dir: &Path) -> Option<Value> {
    let rows = table.read(&Scan { at: At::Version(version), ..Scan::default() }).await.ok()?;
    let rows = match rows.first() {
        None => json!([]),
        Some(first) => {
            let path = dir.join(format!("{}-{version}.arrow", entry.id));
            let file = std::fs::File::create(&path).unwrap();
            let mut writer = StreamWriter::try_new(file, &first.schema()).unwrap();
            rows.iter().for_each(|batch| writer.write(batch).unwrap());
            writer.finish().unwrap();
            json!(path)
        }
    };
    let at = entry.location.local_path().unwrap();
    let what = format!("{} at version {version}", entry.name);
    Some(json!({"table": what, "location": at, "version": version, "rows": rows}))
}

/// Some columns of a version, as text, for [`read_by_spark`].
async fn as_text(table: &DeltaTable, entry: &TableEntry, version: Version) -> Value {
    let schema = table.schema(At::Version(version)).await.unwrap();
    let names = AS_TEXT.into_iter().filter(|name| schema.column_with_name(name).is_some());
    let names: Vec<_> = names.map(String::from).collect();
    let casts: Vec<_> = names.iter().map(|name| format!("CAST({name} AS STRING) AS {name}")).collect();
    let scan = Scan { at: At::Version(version), columns: Some(names), ..Scan::default() };
    let rows = objects(&table.read(&scan).await.unwrap());
    let at = entry.location.local_path().unwrap();
    let what = format!("{} at version {version}", entry.name);
    json!({"table": what, "location": at, "version": version, "columns": casts.join(", "), "rows": rows})
}

/// Detaches a table; Spark appends to it, and delta-rs reads all rows.
async fn spark_appends(spark: &Spark, catalog: &Arc<dyn Catalog>, table: &DeltaTable, entry: &TableEntry) {
    let options = WriteOptions::default();
    let metadata = table.head().await.unwrap().metadata;
    for name in ["one", "two"] {
        if metadata.property(&format!("delta.constraints.{name}")).is_some() {
            let drop = Alter::DropConstraint { name: name.into(), if_exists: false };
            table.run(Operation::Alter(drop), &options).await.unwrap();
        }
    }
    let mut want = ids(&table.read(&Scan::default()).await.unwrap());
    let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
    detach_table(&mirror, entry.id, &options).await.unwrap();
    let detached = plain::replay(&entry.location, None).await.unwrap().version;
    let at = entry.location.local_path().unwrap();
    spark.run(&[format!("INSERT INTO delta.`{}` (id) VALUES (1000), (1001)", at.display())]);
    assert_eq!(plain::replay(&entry.location, None).await.unwrap().version, detached + 1);
    want.extend([1000, 1001]);
    want.sort_unstable();
    assert_eq!(ids(&plain::read(&entry.location, None).await.unwrap()), want);
}

fn ids(rows: &[RecordBatch]) -> Vec<i64> {
    let ids = rows.iter().flat_map(|rows| rows["id"].as_primitive::<Int64Type>().iter().collect::<Vec<_>>());
    let mut ids: Vec<_> = ids.flatten().collect();
    ids.sort_unstable();
    ids
}

/// Golden tables that DuckDB cannot read as the catalog does.
const NOT_BY_DUCKDB: &[(&str, &str)] = &[
    ("data-reader-timestamp_ntz-id-mode", "it returns null for the partition columns of mapped tables"),
    ("data-reader-timestamp_ntz-name-mode", "it returns null for the partition columns of mapped tables"),
    ("unshredded-variant", "it does not know the type"),
];

/// Golden tables that Polars does not read.
const NOT_BY_POLARS: &[(&str, &str)] = &[
    ("basic-with-vacuum-protocol-check-feature", "vacuumProtocolCheck"),
    ("cdf-column-mapping-name-mode-3-7", "columnMapping"),
    ("data-reader-timestamp_ntz-id-mode", "columnMapping"),
    ("data-reader-timestamp_ntz-name-mode", "columnMapping"),
    ("data-skipping-basic-stats-all-types-columnmapping-name", "columnMapping"),
    ("table-with-columnmapping-mode-id", "columnMapping"),
    ("v2-checkpoint-json", "v2Checkpoint"),
    ("v2-checkpoints-json-with-last-checkpoint", "v2Checkpoint"),
    ("v2-checkpoints-json-with-sidecars", "v2Checkpoint"),
    ("v2-checkpoints-parquet-with-last-checkpoint", "v2Checkpoint"),
    ("v2-classic-checkpoint-parquet", "v2Checkpoint"),
];

/// The start of the names of tables with so many rows that only delta-rs reads them.
const LARGE: &str = "parquet-decimal-";

#[tokio::test(flavor = "multi_thread")]
async fn outside_readers_read_every_version_of_golden_tables() {
    let Some(archives) = golden() else { return };
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let (mut for_duckdb, mut for_polars) = (Vec::new(), Vec::new());
    for (name, archive) in &archives {
        let is_in = |list: &[(&str, &str)]| list.iter().any(|(other, _)| *other == name.as_str());
        // Of the canonicalized ones delta-rs keeps a file that is removed, and no file exists.
        if is_in(REFUSED) || CANONICALIZED.contains(&name.as_str()) {
            continue;
        }
        let at = unpack(archive, dir.path());
        let entry = import(&catalog, &at, name).await.unwrap();
        let table = DeltaTable::of_entry(catalog.clone(), entry.clone());
        publish_from_scratch(&catalog, &entry).await;
        for version in entry.base_version..=entry.current_version {
            match their_rows(&entry.location, version).await {
                Ok(theirs) => {
                    let ours = our_rows(&catalog, &entry, version).await;
                    let ours = ours.unwrap_or_else(|e| panic!("{name} at version {version}: {e}"));
                    assert_eq!(theirs, ours, "delta-rs reads {name} at version {version}");
                }
                Err(e) => assert!(
                    version < entry.current_version || UNREADABLE.contains(&name.as_str()),
                    "{name} at version {version}: {e}"
                ),
            }
            if name.starts_with(LARGE) {
                continue;
            }
            let Some(described) = describe(&table, &entry, version, dir.path()).await else { continue };
            for (list, not_by) in [(&mut for_duckdb, NOT_BY_DUCKDB), (&mut for_polars, NOT_BY_POLARS)] {
                if !is_in(not_by) {
                    list.push(described.clone());
                }
            }
        }
    }
    eprintln!("{} versions for DuckDB, {} for Polars", for_duckdb.len(), for_polars.len());
    for (reader, described) in [("duckdb", for_duckdb), ("polars", for_polars)] {
        read_by(&[reader], &dir.path().join(format!("{reader}.json")), described);
    }
}

/// Settings with which Spark writes rows to Parquet files as they are.
const AS_THEY_ARE: [&str; 3] = [
    "SET spark.sql.parquet.outputTimestampType=TIMESTAMP_MICROS",
    "SET spark.sql.variant.writeShredding.enabled=false",
    "SET spark.sql.variant.inferShreddingSchema=false",
];

/// Every version with `DELTALAKEDB_SOAK=1`, otherwise the newest: a version takes Spark a second. It writes the rows to
/// Parquet files, which are compared with ours.
#[tokio::test(flavor = "multi_thread")]
async fn spark_reads_golden_tables() {
    let (Some(spark), Some(archives)) = (spark(), golden()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let mut written = Vec::new();
    for (name, archive) in &archives {
        if REFUSED.iter().any(|(refused, _)| *refused == name.as_str()) || name.starts_with(LARGE) {
            continue;
        }
        let at = unpack(archive, dir.path());
        let entry = import(&catalog, &at, name).await.unwrap();
        let table = DeltaTable::of_entry(catalog.clone(), entry.clone());
        publish_from_scratch(&catalog, &entry).await;
        let oldest = if soak() > 1 { entry.base_version } else { entry.current_version };
        for version in oldest..=entry.current_version {
            // The archives of some tables do not have all data files.
            let Some(mut described) = describe(&table, &entry, version, dir.path()).await else { continue };
            let to = dir.path().join(format!("{}-{version}", entry.id));
            let read = format!("SELECT * FROM delta.`{}` VERSION AS OF {version}", at.display());
            let mut statements: Vec<_> = AS_THEY_ARE.into_iter().map(String::from).collect();
            statements.push(format!("INSERT OVERWRITE DIRECTORY '{}' USING parquet {read}", to.display()));
            spark.run(&statements);
            described["location"] = json!(to);
            written.push(described);
        }
    }
    eprintln!("{} versions for Spark", written.len());
    assert!(written.len() >= 45, "{} versions of golden tables", written.len());
    read_by(&["parquet"], &dir.path().join("spark.json"), written);
}
