//! Helpers shared by the tests: tables from archives, catalogs in temporary folders, and comparison of two readers of a
//! table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests speak by panicking")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says why")]

mod databases;
mod histories;
pub mod history;
mod large;
pub mod programs;
pub mod row_model;
pub mod spark;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
pub use databases::{Database, databases, in_server};
use deltalakedb_catalog::{CatalogUri, ConnectOptions, SqlCatalog};
use deltalakedb_log::action::{Add, DomainMetadata, Metadata, Protocol, Txn};
use deltalakedb_log::{At, Catalog, Location, SystemClock, TableEntry, TxnLogError, Version, canonical_path, features};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::{DeltaTable, Scan, plain};
use futures::TryStreamExt;
pub use histories::run_histories;
pub use large::large_log;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use programs::leave_out;
pub use programs::{python, skip};
use serde_json::{Value, json};

/// Runs a Python program with these arguments; returns its output.
pub fn run_python(python: &Path, program: &str, arguments: &[&str]) -> String {
    let ran = Command::new(python).arg("-c").arg(program).args(arguments).output().unwrap();
    assert!(ran.status.success(), "{program}\n{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

/// The factor by which random tests run longer than usual.
pub fn soak() -> u64 {
    if std::env::var("DELTALAKEDB_SOAK").as_deref() == Ok("1") { 20 } else { 1 }
}

/// The seeds of a random test: the first `count`, or the one in `DELTALAKEDB_SEED`.
pub fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("DELTALAKEDB_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..count).collect(),
    }
}

/// Prints at a panic how to reproduce it.
pub struct SeedReport(u64, String);

impl SeedReport {
    /// A seed, with the database or place of its run.
    pub fn new(seed: u64, place: impl std::fmt::Debug) -> Self {
        Self(seed, format!("{place:?}"))
    }
}

impl Drop for SeedReport {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("run it again with DELTALAKEDB_SEED={} (it failed on {})", self.0, self.1);
        }
    }
}

/// DuckDB reads the same rows of these tables: descriptions for `scripts/check_outside_readers.py`, which get into the
/// file `list`.
pub fn read_by_duckdb(list: &Path, tables: Vec<Value>) {
    read_by(&["duckdb"], list, tables);
}

/// The same for any of its readers: each has a process of its own, in which it reads all tables.
pub fn read_by(readers: &[&str], list: &Path, tables: Vec<Value>) {
    let Some(python) = python("duckdb, deltalake, polars, pyarrow") else { return };
    let count = tables.len();
    std::fs::write(list, Value::Array(tables).to_string()).unwrap();
    let script = repository().join("scripts/check_outside_readers.py");
    let check = &|reader: &str| Command::new(&python).arg(&script).arg(list).arg(reader).output().unwrap();
    let checked: Vec<_> = std::thread::scope(|scope| {
        let runs: Vec<_> = readers.iter().map(|&reader| scope.spawn(move || check(reader))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for (reader, checked) in readers.iter().zip(checked) {
        let said = String::from_utf8_lossy(&checked.stdout);
        let differ: Vec<_> = said.lines().filter(|line| !line.ends_with(" same")).collect();
        assert!(checked.status.success(), "{}\n{}", differ.join("\n"), String::from_utf8_lossy(&checked.stderr));
        eprintln!("{reader} read {count} tables");
    }
}

/// A program that asks DuckDB, delta-rs and Polars for the tables at the places of its arguments, and prints an object
/// by place, each an object by reader: an answer, or the text of an error. `answers` defines the three functions.
pub fn asking_readers(answers: &str) -> String {
    format!("{READERS}{answers}{ASK}")
}

const READERS: &str = r#"
import glob, json, os, sys
import duckdb, polars
from deltalake import DeltaTable, QueryBuilder
site = os.path.dirname(os.path.dirname(duckdb.__file__))
[extension] = glob.glob(f"{site}/duckdb_extension_delta/extensions/*/delta.duckdb_extension")
connection = duckdb.connect()
connection.execute(f"LOAD '{extension}'")
"#;

const ASK: &str = r#"
found = {}
for place in sys.argv[1:]:
    found[place] = {}
    for reader in (by_duckdb, by_deltalake, by_polars):
        try:
            found[place][reader.__name__] = reader(place)
        except Exception as e:
            found[place][reader.__name__] = str(e)
print(json.dumps(found))
"#;

/// The root of the repository.
pub fn repository() -> PathBuf {
    // Read when the tests run, because a build may be shared with a clone that was removed.
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).parent().unwrap().to_path_buf()
}

/// The archives of tables written by the reference implementation, by name; `None`, after a report, if there are none,
/// or if another run tests them (`DELTALAKEDB_WITHOUT=golden`).
pub fn golden() -> Option<BTreeMap<String, PathBuf>> {
    if std::env::var_os("DELTALAKEDB_WITHOUT").is_some_and(|what| what == "golden") {
        leave_out("the golden tables are left to `make golden`");
        return None;
    }
    let dir = match std::env::var_os("DELTA_GOLDEN_DIR") {
        Some(dir) => dir.into(),
        None => repository().join("../shared/golden"),
    };
    let Ok(entries) = std::fs::read_dir(&dir) else {
        skip(&format!("there are no golden tables in {}: see scripts/golden", dir.display()));
        return None;
    };
    let archives = entries.map(|e| e.unwrap().path()).filter_map(|path| {
        let name = path.file_name()?.to_str()?.strip_suffix(".tar.zst")?.to_string();
        Some((name, path))
    });
    Some(archives.collect())
}

/// Unpacks an archive to `into`; returns the folder of the table.
pub fn unpack(archive: &Path, into: &Path) -> PathBuf {
    let file = std::fs::File::open(archive).unwrap();
    tar::Archive::new(zstd::Decoder::new(file).unwrap()).unpack(into).unwrap();
    let name = archive.file_name().unwrap().to_str().unwrap().trim_end_matches(".tar.zst");
    let table = into.join(name);
    if table.join("delta").is_dir() { table.join("delta") } else { table }
}

/// Copies a folder.
pub fn copy(from: &Path, to: &Path) {
    for (path, bytes) in contents(from) {
        let to = to.join(path);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, bytes).unwrap();
    }
}

/// The files below a folder with their content; empty if it does not exist.
pub fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                all.insert(path.strip_prefix(dir).unwrap().to_path_buf(), std::fs::read(&path).unwrap());
            }
        }
    }
    all
}

/// The location of a local path.
pub fn location(path: &Path) -> Location {
    Location::parse(path.to_str().unwrap()).unwrap()
}

/// A catalog in a file of the folder, created if missing: for tests that do not depend on the database.
pub async fn sqlite(dir: &Path) -> Arc<dyn Catalog> {
    catalog(Database::Sqlite, dir).await
}

/// The folder's catalog in that database, created if missing.
pub async fn catalog(database: Database, dir: &Path) -> Arc<dyn Catalog> {
    catalog_with(database, dir, ConnectOptions::default()).await
}

/// The same, with other options.
pub async fn catalog_with(database: Database, dir: &Path, options: ConnectOptions) -> Arc<dyn Catalog> {
    let uri = CatalogUri::parse(&database.uri(dir, "catalog")).unwrap();
    Arc::new(SqlCatalog::connect(&uri, options).await.unwrap())
}

/// Imports the table in that folder.
pub async fn import(catalog: &Arc<dyn Catalog>, at: &Path, name: &str) -> Result<TableEntry, TxnLogError> {
    let name = name.parse().unwrap();
    let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
    let done = mirror.import(&location(at), Some(&name), &|_, _| {}).await;
    done.map(|imported| imported.table)
}

/// A table at one version: all facts by name, as normalized JSON.
pub type State = BTreeMap<String, Value>;

/// The state of a version in the catalog.
pub async fn our_state(catalog: &dyn Catalog, table: &TableEntry, version: Version) -> State {
    let reader = catalog.reader(table.id);
    let snapshot = reader.snapshot(At::Version(version)).await.unwrap();
    let files: Vec<Add> = reader.files(version, None).await.unwrap().try_collect().await.unwrap();
    assert_eq!(snapshot.version(), version);
    state(&snapshot.head.protocol, &snapshot.head.metadata, &snapshot.txns, &snapshot.domains, &files)
}

/// The state of a version as plain delta-rs replays `_delta_log`.
pub async fn their_state(table: &Location, version: Version) -> Result<State, TxnLogError> {
    let r = plain::replay(table, Some(version)).await?;
    assert_eq!(r.version, version);
    Ok(state(&r.protocol, &r.metadata, &r.txns, &r.domains, &r.files))
}

fn state(
    protocol: &Protocol,
    metadata: &Metadata,
    txns: &BTreeMap<String, Txn>,
    domains: &BTreeMap<String, DomainMetadata>,
    files: &[Add],
) -> State {
    let mut facts = State::new();
    let mut say = |what: String, value: Value| {
        let again = facts.insert(what.clone(), value);
        assert_eq!(again, None, "{what} is there twice");
    };
    say("protocol".into(), parsed(&features::sorted(protocol).to_json()));
    say("metadata".into(), parsed(&metadata.to_json()));
    for txn in txns.values() {
        say(format!("txn {}", txn.app_id), parsed(&txn.to_json()));
    }
    for domain in domains.values() {
        say(format!("domain {}", domain.domain), parsed(&domain.to_json()));
    }
    for file in files {
        let path = String::from_utf8_lossy(&canonical_path(&file.path)).into_owned();
        let dv = file.deletion_vector.as_ref().map(|dv| dv.unique_id());
        // A replay keeps neither `dataChange` nor members unknown to delta-rs.
        let fact = Add { data_change: false, extra: Default::default(), path: path.clone(), ..file.clone() };
        say(format!("file {path} {}", dv.unwrap_or_default()), parsed(&fact.to_json()));
    }
    facts
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

/// Fails with only those facts that differ.
pub fn same_state(what: &str, ours: &State, theirs: &State) {
    let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let differ = names.into_iter().filter(|name| ours.get(*name) != theirs.get(*name));
    let differ: Vec<_> =
        differ.map(|n| json!({"fact": n, "ours": ours.get(n), "theirs": theirs.get(n)}).to_string()).collect();
    assert!(differ.is_empty(), "{what}: {} facts differ:\n{}", differ.len(), differ.join("\n"));
}

/// A value as text; empty when it is null.
pub fn text(column: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::new().with_types_info(false);
    ArrayFormatter::try_new(column, &options).unwrap().value(row).try_to_string().unwrap()
}

/// Rows as sorted text: a line for each, after one with the names and types of the columns. Equal rows give equal
/// lines, whatever their batches are.
pub fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::new().with_null("null").with_types_info(false);
    let mut lines = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let value = |(formatter, column): (&ArrayFormatter<'_>, &ArrayRef)| {
                let text = formatter.value(row).try_to_string().unwrap();
                if column.is_null(row) { text } else { format!("{text:?}") }
            };
            let values: Vec<_> = columns.iter().zip(batch.columns()).map(value).collect();
            lines.push(values.join(" | "));
        }
    }
    lines.sort();
    if let (Some(batch), false) = (batches.first(), lines.is_empty()) {
        let fields = batch.schema();
        let named: Vec<_> = fields.fields().iter().map(|f| format!("{}: {}", f.name(), f.data_type())).collect();
        lines.insert(0, named.join(" | "));
    }
    lines
}

/// The rows of all Parquet files of a folder.
pub fn parquet_rows(dir: &Path) -> Vec<String> {
    let files = contents(dir).into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "parquet"));
    let batches = files
        .flat_map(|(_, bytes)| ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap().build().unwrap());
    lines(&batches.map(Result::unwrap).collect::<Vec<_>>())
}

/// The rows of a version, as this library reads them.
pub async fn our_rows(
    catalog: &Arc<dyn Catalog>,
    table: &TableEntry,
    version: Version,
) -> Result<Vec<String>, TxnLogError> {
    let table = DeltaTable::open_in(catalog.clone(), &deltalakedb_log::TableRef::Id(table.id)).await?;
    let rows = table.read(&Scan { at: At::Version(version), ..Scan::default() }).await?;
    Ok(lines(&rows))
}

/// The rows of a version, as plain delta-rs reads them.
pub async fn their_rows(table: &Location, version: Version) -> Result<Vec<String>, TxnLogError> {
    Ok(lines(&plain::read(table, Some(version)).await?))
}

/// Checks that every version in the catalog equals the one of plain delta-rs: protocol, metadata, txns, domains, files,
/// and rows if delta-rs can read them. Returns the versions whose rows were compared.
pub async fn agrees_with_delta_rs(catalog: &Arc<dyn Catalog>, table: &TableEntry) -> BTreeSet<Version> {
    let mut read = BTreeSet::new();
    for version in table.base_version..=table.current_version {
        let what = format!("{} at version {version}", table.name);
        let theirs = their_state(&table.location, version).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        same_state(&what, &our_state(catalog.as_ref(), table, version).await, &theirs);
        let Ok(theirs) = their_rows(&table.location, version).await else {
            continue;
        };
        let ours = our_rows(catalog, table, version).await.unwrap_or_else(|e| panic!("{what}: delta-rs reads it: {e}"));
        assert_eq!(ours, theirs, "the rows of {what}");
        read.insert(version);
    }
    read
}
