//! The DuckDB mirror: plain DuckDB reads from its views what DuckDB's own reader of Delta tables reads from their logs.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{Action, At, Catalog, Commit, Committer, ErrorKind, SystemClock, TableName, TableRef};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::{
    Alter, DeltaTable, DropOptions, DuckDbMirror, DuckDbRefresh, Operation, Optimize, SqlOptions, SqlSession,
    WriteOptions, create_table, drop_table, parse_schema,
};
use deltalakedb_tests::{SeedReport, copy, golden, import, location, python, run_python, seeds, soak, sqlite, unpack};
use fastrand::Rng;
use futures::TryStreamExt;
use serde_json::Value;
use tokio::runtime::Handle;

/// The number of histories, and of steps of each.
const HISTORIES: u64 = 4;
const STEPS: usize = 25;

/// Compares pairs of relations. The arguments are a time zone and pairs of a database and a relation in it, or of a
/// location alone. Prints for each pair the number of rows and what differs.
const COMPARE: &str = r#"
import glob, json, os, sys
import duckdb
site = os.path.dirname(os.path.dirname(duckdb.__file__))
[extension] = glob.glob(f"{site}/duckdb_extension_delta/extensions/*/delta.duckdb_extension")
connection = duckdb.connect()
connection.execute(f"LOAD '{extension}'")
connection.execute(f"SET TimeZone = '{sys.argv[1]}'")
attached = {}
def relation(spec):
    if spec["database"] is None:
        return f"delta_scan('{spec['relation']}')"
    file = spec["database"]
    if file not in attached:
        attached[file] = f"d{len(attached)}"
        connection.execute(f"ATTACH '{file}' AS {attached[file]} (READ_ONLY)")
    return f"{attached[file]}.{spec['relation']}"
answers = []
for one, other in json.load(open(sys.argv[2])):
    try:
        a, b = relation(one), relation(other)
        names = [[(c[0], c[1]) for c in connection.execute(f"DESCRIBE FROM {r}").fetchall()] for r in (a, b)]
        if names[0] != names[1]:
            answers.append(f"columns {names}")
            continue
        query = f"SELECT count(*) FROM ((FROM {a} EXCEPT ALL FROM {b}) UNION ALL (FROM {b} EXCEPT ALL FROM {a}))"
        differ = connection.execute(query).fetchone()[0]
        rows = connection.execute(f"SELECT count(*) FROM {a}").fetchone()[0]
        answers.append(rows if differ == 0 else f"{differ} of {rows} rows differ")
    except Exception as e:
        answers.append(str(e))
print(json.dumps(answers))
"#;

/// Runs a query in a database, without any extension.
const ASK: &str = r#"
import json, sys
import duckdb
connection = duckdb.connect(sys.argv[1], read_only=True, config={"autoload_known_extensions": False})
print(json.dumps(connection.execute(sys.argv[2]).fetchall(), default=str))
"#;

/// Tables of which DuckDB's own reader gives another answer, and why.
const NOT_COMPARED: &[(&str, &str)] = &[
    ("canonicalized-paths-normal-b", "it opens a file that was removed"),
    ("canonicalized-paths-special-a", "it opens a file that was removed"),
    ("data-reader-timestamp_ntz-id-mode", "partition values of mapped columns are null in it"),
    ("data-reader-timestamp_ntz-name-mode", "partition values of mapped columns are null in it"),
];

/// Tables that have no view: the data files of two are missing, and one has a column of the type variant.
const LEFT_OUT: &[&str] =
    &["delete-re-add-same-file-different-transactions", "log-replay-special-characters-b", "unshredded-variant"];

fn view(file: &Path, name: &TableName) -> Value {
    let relation = format!("\"{}\".\"{}\"", name.namespace, name.name);
    serde_json::json!({"database": file, "relation": relation})
}

fn by_log(location: &Path) -> Value {
    serde_json::json!({"database": null, "relation": location})
}

fn compare(python: &Path, dir: &Path, zone: &str, pairs: &[[Value; 2]]) -> Vec<Value> {
    let list = dir.join("pairs.json");
    fs::write(&list, serde_json::to_string(pairs).unwrap()).unwrap();
    serde_json::from_str(&run_python(python, COMPARE, &[zone, list.to_str().unwrap()])).unwrap()
}

fn ask(python: &Path, file: &Path, query: &str) -> Value {
    serde_json::from_str(&run_python(python, ASK, &[file.to_str().unwrap(), query])).unwrap()
}

async fn refresh(catalog: &Arc<dyn Catalog>, file: &Path) -> DuckDbRefresh {
    DuckDbMirror::new(catalog.clone(), file).unwrap().refresh().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn views_of_golden_tables_have_the_rows_that_duckdb_reads_from_their_logs() {
    let (Some(python), Some(archives)) = (python("duckdb, deltalake"), golden()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let mut tables = Vec::new();
    for (name, archive) in &archives {
        let at = unpack(archive, dir.path());
        if let Ok(table) = import(&catalog, &at, &format!("golden.{}", name.replace('.', "_"))).await {
            tables.push((name, at, table));
        }
    }
    let file = dir.path().join("mirror.duckdb");
    let refreshed = refresh(&catalog, &file).await;
    let left_out: Vec<_> = refreshed.left_out.iter().map(|(name, _)| name.name.as_str()).collect();
    assert_eq!(left_out, LEFT_OUT, "{:?}", refreshed.left_out);
    assert_eq!(refreshed.changed.len(), tables.len() - LEFT_OUT.len());
    let skipped = |name: &str| LEFT_OUT.contains(&name) || NOT_COMPARED.iter().any(|(not, _)| *not == name);
    let compared: Vec<_> = tables.iter().filter(|(name, ..)| !skipped(name)).collect();
    let pairs: Vec<_> = compared.iter().map(|(_, at, table)| [view(&file, &table.name), by_log(at)]).collect();
    let rows = compare(&python, dir.path(), "UTC", &pairs);
    let wrong: Vec<_> = compared.iter().zip(&rows).filter(|(_, rows)| !rows.is_number()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(compared.len() >= 39 && rows.iter().filter_map(Value::as_u64).sum::<u64>() > 10_000, "{rows:?}");

    // Instants are the same in every time zone, those of INT96 and of partitions, too.
    let instants = "SELECT (SELECT list(epoch_us(time) ORDER BY id) FROM golden.\"kernel-timestamp-int96\"), \
                    (SELECT list(epoch_us(part) ORDER BY id) FROM golden.\"kernel-timestamp-int96\")";
    let in_utc = ask(&python, &file, instants);
    let elsewhere = run_python(
        &python,
        &ASK.replace("print(", "connection.execute(\"SET TimeZone = 'Asia/Tokyo'\")\nprint("),
        &[file.to_str().unwrap(), instants],
    );
    assert_eq!(in_utc, serde_json::from_str::<Value>(&elsewhere).unwrap());
    // 2020-02-01T08:09:10 as INT96, and a partition 2020-01-01 08:09:10.001, both in UTC.
    assert_eq!(in_utc[0][0][0], Value::from(1_580_544_550_000_000_i64), "{in_utc}");
    assert_eq!(in_utc[0][1][0], Value::from(1_577_866_150_001_000_i64), "{in_utc}");
    let partition = "SELECT count(*), count(\"tsNtzPartition\") FROM golden.\"data-reader-timestamp_ntz-id-mode\"";
    assert_eq!(ask(&python, &file, partition), serde_json::json!([[9, 6]]));
}

/// A history of two tables, whose views are refreshed after each step.
struct History {
    rng: Rng,
    catalog: Arc<dyn Catalog>,
    dir: PathBuf,
    options: WriteOptions,
    /// The current names.
    names: [String; 2],
    columns: [usize; 2],
    next_id: i64,
}

impl History {
    async fn new(seed: u64, dir: PathBuf) -> Self {
        fs::create_dir(&dir).unwrap();
        let catalog = sqlite(&dir).await;
        let names = ["s.with".to_string(), "s.without".to_string()];
        let history = Self {
            rng: Rng::with_seed(seed),
            catalog,
            options: WriteOptions::default(),
            names,
            columns: [0, 0],
            next_id: 0,
            dir,
        };
        for which in [0, 1] {
            history.create(which).await;
        }
        history
    }

    async fn create(&self, which: usize) {
        let name = self.names[which].parse().unwrap();
        let new = NewTable::new(name, location(&self.dir.join(format!("table{which}"))));
        let vectors = HashMap::from([("delta.enableDeletionVectors".to_string(), (which == 0).to_string())]);
        let schema = parse_schema("id long, name string, at timestamp, part string").unwrap();
        let parts = if which == 0 { vec!["part".to_string()] } else { vec![] };
        create_table(self.catalog.as_ref(), new, &schema, &parts, &vectors, &self.options).await.unwrap();
    }

    async fn table(&self, which: usize) -> DeltaTable {
        let name = TableRef::Name(self.names[which].parse().unwrap());
        DeltaTable::open_in(self.catalog.clone(), &name).await.unwrap()
    }

    async fn sql(&self, sql: &str) {
        let mut session = SqlSession::new(self.catalog.clone(), SqlOptions::default()).unwrap();
        let mut script = session.execute(sql).unwrap();
        while script.next().await.unwrap_or_else(|e| panic!("{sql}: {e}")).is_some() {}
    }

    fn rows(&mut self, which: usize) -> String {
        let n = self.rng.i64(1..20);
        let row = |id: i64, rng: &mut Rng| {
            let part = ["'a'", "'b c'", "NULL"][rng.usize(0..3)];
            let more = ", 7".repeat(self.columns[which]);
            format!("({id}, 'n{id}', TIMESTAMP '2024-01-01T00:00:00Z' + INTERVAL '{id} seconds', {part}{more})")
        };
        let rows: Vec<_> = (self.next_id..self.next_id + n).map(|id| row(id, &mut self.rng)).collect();
        self.next_id += n;
        rows.join(", ")
    }

    /// One step; the result is a description.
    async fn step(&mut self) -> String {
        let which = self.rng.usize(0..2);
        let name = self.names[which].clone();
        let id = self.rng.i64(0..self.next_id.max(1));
        let what = match self.rng.usize(0..12) {
            0..=3 => format!("INSERT INTO {name} VALUES {}", self.rows(which)),
            4..=5 => format!("DELETE FROM {name} WHERE id % 7 = {}", id % 7),
            6 => format!("UPDATE {name} SET name = 'changed' WHERE id > {id}"),
            7 => {
                let (one, other) = (self.rows(0), self.rows(1));
                let [a, b] = &self.names;
                format!("BEGIN; INSERT INTO {a} VALUES {one}; INSERT INTO {b} VALUES {other}; COMMIT")
            }
            8 => {
                let table = self.table(which).await;
                table.run(Operation::Optimize(Optimize::default()), &self.options).await.unwrap();
                return format!("optimize {name}");
            }
            9 => {
                let table = self.table(which).await;
                let newest = table.head().await.unwrap().version;
                // A schema with fewer columns is not restored: later rows have them.
                let to = newest.saturating_sub(1);
                if self.columns[which] > 0 {
                    return format!("nothing for {name}");
                }
                table.run(Operation::Restore(At::Version(to).into()), &self.options).await.unwrap();
                return format!("restore {name}");
            }
            10 if self.columns[which] < 2 => {
                let column = format!("c{} long", self.columns[which]);
                self.columns[which] += 1;
                let alter = Alter::AddColumns(parse_schema(&column).unwrap());
                self.table(which).await.run(Operation::Alter(alter), &self.options).await.unwrap();
                return format!("add column to {name}");
            }
            10 | 11 if self.rng.bool() => {
                let [a, b] = [self.entry(0).await, self.entry(1).await];
                let between: TableName = "s.between".parse().unwrap();
                for (id, to) in [(a.0, &between), (b.0, &a.1), (a.0, &b.1)] {
                    self.catalog.rename_table(id, to, &Committer::default()).await.unwrap();
                }
                self.names.swap(0, 1);
                return "swap names".into();
            }
            _ => {
                let mirror = Mirror::new(self.catalog.clone(), Arc::new(SystemClock));
                let (id, _) = self.entry(which).await;
                let delete = DropOptions { delete_files: true, ..DropOptions::default() };
                drop_table(&mirror, id, delete, &self.options).await.unwrap();
                self.columns[which] = 0;
                self.create(which).await;
                return format!("drop {name}");
            }
        };
        self.sql(&what).await;
        what
    }

    async fn entry(&self, which: usize) -> (deltalakedb_log::TableId, TableName) {
        let name: TableName = self.names[which].parse().unwrap();
        (self.catalog.find(&TableRef::Name(name.clone())).await.unwrap().unwrap().id, name)
    }
}

/// The files whose views are compared: after each step the refreshed one, and a new one.
async fn play(seed: u64, dir: PathBuf) -> (Vec<(String, [Value; 2])>, History) {
    let mut history = History::new(seed, dir.clone()).await;
    let file = dir.join("mirror.duckdb");
    let mut mirror = DuckDbMirror::new(history.catalog.clone(), &file).unwrap();
    let mut pairs = Vec::new();
    for step in 0..STEPS {
        let what = history.step().await;
        if history.rng.usize(0..3) == 0 {
            continue;
        }
        if history.rng.usize(0..4) == 0 {
            // Another process.
            mirror = DuckDbMirror::new(history.catalog.clone(), &file).unwrap();
        }
        let refreshed = mirror.refresh().await.unwrap();
        assert!(refreshed.left_out.is_empty(), "{what}: {:?}", refreshed.left_out);
        assert!(mirror.refresh().await.unwrap().changed.is_empty(), "{what}: nothing has changed since");
        let (kept, new) = (dir.join(format!("kept{step}.duckdb")), dir.join(format!("new{step}.duckdb")));
        fs::copy(&file, &kept).unwrap();
        let log = dir.join("mirror.duckdb.wal");
        if log.exists() {
            fs::copy(log, dir.join(format!("kept{step}.duckdb.wal"))).unwrap();
        }
        refresh(&history.catalog, &new).await;
        // The second table has no vectors and is not partitioned; its data files are deleted when it is dropped.
        for name in &history.names {
            let name: TableName = name.parse().unwrap();
            pairs.push((format!("step {step}, {what}"), [view(&kept, &name), view(&new, &name)]));
        }
    }
    mirror.refresh().await.unwrap();
    for which in [0, 1] {
        let (id, name) = history.entry(which).await;
        Mirror::new(history.catalog.clone(), Arc::new(SystemClock)).publish(id).await.unwrap();
        let place = history.table(which).await.location().local_path().unwrap();
        pairs.push((format!("the end of {name}"), [view(&file, &name), by_log(&place)]));
    }
    (pairs, history)
}

#[tokio::test(flavor = "multi_thread")]
async fn random_histories_in_refreshed_views_equal_new_ones() {
    let Some(python) = python("duckdb, deltalake") else { return };
    let dir = tempfile::tempdir().unwrap();
    for seed in seeds(HISTORIES * soak()) {
        let _named = SeedReport::new(seed, "sqlite");
        let place = dir.path().join(seed.to_string());
        let played = tokio::task::spawn_blocking(move || Handle::current().block_on(play(seed, place)));
        let (pairs, history) = played.await.unwrap();
        let (whats, pairs): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let rows = compare(&python, &history.dir, "UTC", &pairs);
        for (what, rows) in whats.iter().zip(&rows) {
            // Files of a dropped table are deleted; then neither of its earlier views can be read.
            let is_gone = rows.as_str().is_some_and(|e| e.contains("No files found") || e.contains("Cannot open file"));
            assert!(rows.is_number() || is_gone, "{what}: {rows}");
        }
        assert!(rows.iter().filter(|rows| rows.is_number()).count() > 5, "{rows:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_have_a_view_are_named_and_others_are_not_disturbed() {
    let Some(python) = python("duckdb") else { return };
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let events = deltalakedb_tests::repository().join("examples/data/events");
    for name in
        ["web.events", "web.Events", "_deltalakedb.events", "Mirror.x", "pg_catalog.x", "web.[odd]*", "odd\"ns.t'a"]
    {
        let at = dir.path().join(format!("at {name}? [x]*").replace(['"', '\''], "_"));
        copy(&events, &at);
        import(&catalog, &at, name).await.unwrap();
    }
    let file = dir.path().join("mirror.duckdb");
    let mut mirror = DuckDbMirror::new(catalog.clone(), &file).unwrap();
    let refreshed = mirror.refresh().await.unwrap();
    let left_out: Vec<_> = refreshed.left_out.iter().map(|(name, e)| format!("{name}: {e}")).collect();
    assert_eq!(left_out.len(), 4, "{left_out:?}");
    let left_without_view = refreshed.left_out[3].0.to_string();
    for (left_out, why) in left_out.iter().zip([
        "whose name is that of the namespace: choose another file name",
        "is a name of DuckDB's own",
        "is a name of DuckDB's own",
        "names are not case-sensitive in DuckDB",
    ]) {
        assert!(left_out.contains(why), "{left_out}");
    }
    let count = |relation: &str| ask(&python, &file, &format!("SELECT count(*) > 0 FROM {relation}"));
    for relation in ["web.events", "web.\"[odd]*\"", "\"odd\"\"ns\".\"t'a\""] {
        assert_eq!(count(relation), serde_json::json!([[true]]), "{relation}");
    }
    let listed = ask(&python, &file, "SELECT count(*), count(problem), count(version) FROM _deltalakedb.tables");
    assert_eq!(listed, serde_json::json!([[7, 4, 3]]));
    let statistics = "SELECT count(*) > 0, bool_and(size > 0), bool_and(records > 0), bool_and(contains(statistics, \
                      'minValues')) FROM _deltalakedb.file_statistics WHERE namespace = 'web'";
    assert_eq!(ask(&python, &file, statistics), serde_json::json!([[true, true, true, true]]));

    // Nothing has changed, so the file is not opened; a second catalog takes its place.
    assert_eq!(mirror.refresh().await.unwrap().unchanged, 7);
    let mut mirror = DuckDbMirror::new(catalog.clone(), &file).unwrap();
    let other = tempfile::tempdir().unwrap();
    let second = sqlite(other.path()).await;
    let refreshed = refresh(&second, &file).await;
    assert_eq!((refreshed.changed.len(), refreshed.unchanged), (0, 0));
    assert_eq!(ask(&python, &file, "SELECT count(*) FROM _deltalakedb.tables"), serde_json::json!([[0]]));

    // While another program has it open, it stays as it is.
    let hold = "import duckdb, sys\nheld = duckdb.connect(sys.argv[1], read_only=True)\nprint('held', flush=True)\nsys.stdin.read()";
    let mut holder = Command::new(&python)
        .args(["-c", hold, file.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    let refused = mirror.refresh().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(refused.to_string().contains("is open in another program: close it there, or wait"), "{refused}");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert_eq!(mirror.refresh().await.unwrap().changed.len(), 3);

    // A table without a view gets another name: the view whose name differed only in case stays.
    let name: TableName = left_without_view.parse().unwrap();
    let id = catalog.find(&TableRef::Name(name)).await.unwrap().unwrap().id;
    catalog.rename_table(id, &"web.other".parse().unwrap(), &Committer::default()).await.unwrap();
    assert_eq!(mirror.refresh().await.unwrap().changed.len(), 1);
    let viewed = if left_without_view == "web.Events" { "web.events" } else { "web.\"Events\"" };
    for relation in [viewed, "web.other"] {
        assert_eq!(count(relation), serde_json::json!([[true]]), "{relation}");
    }

    // A database of something else is not touched, nor is the catalog.
    let foreign = dir.path().join("foreign.duckdb");
    run_python(
        &python,
        "import duckdb, sys\nduckdb.connect(sys.argv[1]).execute('CREATE TABLE t (a INT)')",
        &[foreign.to_str().unwrap()],
    );
    let before = fs::read(&foreign).unwrap();
    let refused = DuckDbMirror::new(catalog.clone(), &foreign).unwrap().refresh().await.unwrap_err();
    assert_eq!((refused.kind(), fs::read(&foreign).unwrap()), (ErrorKind::Invalid, before), "{refused}");
    let uri = format!("deltasql://duckdb/{}", dir.path().join("c.duckdb").display());
    let in_duckdb = deltalakedb_table::connect(&uri).await.unwrap();
    let refused = DuckDbMirror::new(in_duckdb, &dir.path().join("c.duckdb")).unwrap_err();
    assert!(refused.to_string().contains("is the catalog itself"), "{refused}");
}

/// A log of version 0 with these columns, and commits of one file each line, made by hand.
fn log(at: &Path, commits: &[String]) {
    fs::create_dir_all(at.join("_delta_log")).unwrap();
    for (version, actions) in commits.iter().enumerate() {
        fs::write(at.join(format!("_delta_log/{version:020}.json")), actions).unwrap();
    }
}

/// The first commit of a table with column mapping: its columns as name, physical name and type.
fn begin(columns: &[[&str; 3]], protocol: bool) -> String {
    let field = |[name, physical, data_type]: &[&str; 3], id: usize| {
        serde_json::json!({"name": name, "type": data_type, "nullable": true, "metadata":
            {"delta.columnMapping.id": id, "delta.columnMapping.physicalName": physical}})
    };
    let fields: Vec<_> = columns.iter().enumerate().map(|(n, column)| field(column, n + 1)).collect();
    let schema = serde_json::json!({"type": "struct", "fields": fields}).to_string();
    let metadata = serde_json::json!({"metaData": {"id": "t", "format": {"provider": "parquet", "options": {}},
        "schemaString": schema, "partitionColumns": [], "createdTime": 0,
        "configuration": {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "9"}}});
    let features = serde_json::json!(["columnMapping", "deletionVectors", "timestampNtz"]);
    let protocol = protocol.then(|| {
        serde_json::json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features,
            "writerFeatures": features}})
    });
    let lines = protocol.into_iter().chain([metadata]);
    lines.map(|line| format!("{line}\n")).collect()
}

fn add(path: &str, size: u64) -> String {
    let add = serde_json::json!({"add": {"path": path, "partitionValues": {}, "size": size, "modificationTime": 0,
        "dataChange": true, "stats": "{\"numRecords\":30}"}});
    format!("{add}\n")
}

fn remove(path: &str) -> String {
    let remove = serde_json::json!({"remove": {"path": path, "deletionTimestamp": 1, "dataChange": true}});
    format!("{remove}\n")
}

/// A file with 30 rows: `id`, the instant `t` and the local time `l`.
fn times(python: &Path, at: &Path) {
    let write = "import duckdb, sys\nc = duckdb.connect()\nc.execute(\"SET TimeZone = 'UTC'\")\nc.execute(f\"COPY (SELECT \
                 range AS id, TIMESTAMPTZ '2024-01-01 08:00:00+00' AS t, TIMESTAMP '2024-01-01 08:00:00' AS l FROM \
                 range(30)) TO '{sys.argv[1]}' (FORMAT parquet)\")";
    run_python(python, write, &[at.to_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_under_two_names_is_one_file() {
    let Some(python) = python("duckdb") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (catalog, at, file) = (sqlite(dir.path()).await, dir.path().join("t"), dir.path().join("mirror.duckdb"));
    fs::create_dir(&at).unwrap();
    times(&python, &at.join("a-1.parquet"));
    times(&python, &at.join("b.parquet"));
    let columns = [["id", "id", "long"]];
    let mut commits = vec![begin(&columns, true) + &add("b.parquet", 9)];
    log(&at, &commits);
    import(&catalog, &at, "s.t").await.unwrap();
    let mut mirror = DuckDbMirror::new(catalog.clone(), &file).unwrap();
    mirror.refresh().await.unwrap();
    let count = || ask(&python, &file, "SELECT count(*) FROM s.t");
    assert_eq!(count(), serde_json::json!([[30]]));
    // Added and removed between two refreshes, spelled in two ways.
    commits.extend([add("a%2D1.parquet", 9), remove("a-1.parquet"), add("a-1.parquet", 9)]);
    log(&at, &commits);
    import(&catalog, &at, "s.t").await.unwrap();
    mirror.refresh().await.unwrap();
    assert_eq!(count(), serde_json::json!([[60]]));
    commits.extend([remove("a%2D1.parquet"), remove(&format!("file://{}/b.parquet", at.display()))]);
    log(&at, &commits);
    import(&catalog, &at, "s.t").await.unwrap();
    mirror.refresh().await.unwrap();
    let ours = DeltaTable::open_in(catalog.clone(), &TableRef::Name("s.t".parse().unwrap())).await.unwrap();
    let rows = ours.counts(At::Latest).await.unwrap().rows.unwrap();
    assert_eq!(count(), serde_json::json!([[rows]]), "a relative and an absolute path are two files, as in Spark");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_two_deletion_vectors_is_refused() {
    let Some(python) = python("duckdb") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (catalog, at, file) = (sqlite(dir.path()).await, dir.path().join("t"), dir.path().join("mirror.duckdb"));
    fs::create_dir(&at).unwrap();
    times(&python, &at.join("a.parquet"));
    let size = fs::metadata(at.join("a.parquet")).unwrap().len();
    let mut commits = vec![begin(&[["id", "id", "long"]], true) + &add("a.parquet", size)];
    log(&at, &commits);
    import(&catalog, &at, "s.t").await.unwrap();
    let mut mirror = DuckDbMirror::new(catalog.clone(), &file).unwrap();
    assert_eq!(mirror.refresh().await.unwrap().changed.len(), 1);
    // The same file again, with a deletion vector and without a remove.
    let table = DeltaTable::open_in(catalog.clone(), &TableRef::Name("s.t".parse().unwrap())).await.unwrap();
    let live = table.reader().await.unwrap().files(0, None).await.unwrap().try_collect().await.unwrap();
    let mut masked = table.load_masks(live).await.unwrap();
    masked[0].hidden.insert_range(0..6);
    let written = table.write_masks(masked, &WriteOptions::default()).await.unwrap();
    let again = written.actions.iter().filter(|action| matches!(action, Action::Add(_)));
    let again = String::from_utf8(Commit::render(again).to_vec()).unwrap();
    commits.push(again);
    log(&at, &commits);
    import(&catalog, &at, "s.t").await.unwrap();
    for mirror in [&mut mirror, &mut DuckDbMirror::new(catalog.clone(), &file).unwrap()] {
        let left_out = mirror.refresh().await.unwrap().left_out;
        assert_eq!(left_out.len(), 1, "{left_out:?}");
        assert!(
            left_out[0].1.to_string().contains("a.parquet twice, such as with two deletion vectors"),
            "{left_out:?}"
        );
    }
    let listed = ask(&python, &file, "SELECT version, problem IS NOT NULL FROM _deltalakedb.tables");
    assert_eq!(listed, serde_json::json!([[null, true]]));
    // Without the file that has no vector, 24 rows are left.
    commits.push(remove("a.parquet"));
    log(&at, &commits);
    import(&catalog, &at, "s.t").await.unwrap();
    assert!(mirror.refresh().await.unwrap().left_out.is_empty());
    assert_eq!(ask(&python, &file, "SELECT count(*) FROM s.t"), serde_json::json!([[24]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_read_by_the_columns_that_the_table_has() {
    let Some(python) = python("duckdb") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (catalog, at, file) = (sqlite(dir.path()).await, dir.path().join("t"), dir.path().join("mirror.duckdb"));
    fs::create_dir(&at).unwrap();
    times(&python, &at.join("a.parquet"));
    // The file has a local time too, in a column that the table no longer has.
    let (instant, local) = (["t", "t", "timestamp"], ["t", "l", "timestamp"]);
    let mut commits = vec![begin(&[["id", "id", "long"], instant], true) + &add("a.parquet", 9)];
    log(&at, &commits);
    import(&catalog, &at, "s.t").await.unwrap();
    let mut mirror = DuckDbMirror::new(catalog.clone(), &file).unwrap();
    mirror.refresh().await.unwrap();
    let in_tokyo = ASK.replace("print(", "connection.execute(\"SET TimeZone = 'Asia/Tokyo'\")\nprint(");
    let first = |column: &str| -> Value {
        let query = format!("SELECT DISTINCT epoch_ms({column}) FROM s.t");
        serde_json::from_str(&run_python(&python, &in_tokyo, &[file.to_str().unwrap(), &query])).unwrap()
    };
    let expected = serde_json::json!([[1_704_096_000_000_i64]]);
    assert_eq!(first("t"), expected);
    // The column is dropped, and then the local time takes its name, which is UTC in a column of instants.
    for columns in [vec![["id", "id", "long"]], vec![["id", "id", "long"], local]] {
        commits.push(begin(&columns, false));
        log(&at, &commits);
        import(&catalog, &at, "s.t").await.unwrap();
        assert!(mirror.refresh().await.unwrap().left_out.is_empty());
    }
    assert_eq!(first("t"), expected);
}
