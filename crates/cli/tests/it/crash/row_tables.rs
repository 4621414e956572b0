//! Kill -9 while rows are changed and flushed, from a seed: no acknowledged row is lost, none is there twice, none comes
//! back.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use fastrand::Rng;
use serde_json::Value;

use deltalakedb_log::{Action, Commit};

use super::*;
use crate::row_model::{self, COLUMNS, Change, Changed, Rows, Values, texts};

/// The calls that change the disk.
const CALLS: &[&str] =
    &["pwrite64", "write", "fsync", "fdatasync", "linkat,link", "rename,renameat,renameat2", "unlink,unlinkat"];

/// The processes that a usual run kills.
const KILLS: u64 = 200;

/// How many run at a time, each in a folder of its own.
const AT_A_TIME: usize = 2;

/// Statements of a script; each third is a flush.
const STATEMENTS: usize = 6;

const FLUSH: &str = "FLUSH TABLE t";

#[test]
fn the_folders_of_a_data_directory_are_synced_before_a_table_in_it_is_acknowledged() {
    let place = TestFolder::on(Database::Sqlite);
    let sql = "CREATE SHARED TABLE t (id BIGINT PRIMARY KEY)";
    let calls = calls_of(&["sql", "--data", "new/data/d", sql], &place, "trace=write,fsync", &[]);
    let at = |what: &str, f: &dyn Fn(&Call) -> bool| {
        calls.iter().position(f).unwrap_or_else(|| panic!("no {what} in {:#?}", lines(&calls)))
    };
    let said = at("acknowledgement", &|c| c.is("write", "is at version 0"));
    for folder in ["/new>", "/new/data>", "/new/data/d>"] {
        assert!(at(folder, &|c| c.is("fsync", folder)) < said, "{folder}: {:#?}", lines(&calls));
    }
}

/// A change that succeeds and has an effect, and the rows after it.
fn random_change(rng: &mut Rng, rows: &Rows) -> (String, Rows) {
    loop {
        let change = Change::random(rng, "t");
        let Changed { rows: after, answer } = change.after(rows);
        if answer.is_ok() && after != *rows {
            return (change.sql, after);
        }
    }
}

/// Statements, each of which prints a line when it is acknowledged, and the rows after each number of them.
struct Script {
    sql: String,
    states: Vec<Rows>,
}

impl Script {
    fn random(seed: u64, rows: &Rows) -> Self {
        let (mut rng, mut rows) = (Rng::with_seed(seed), rows.clone());
        let (mut statements, mut states) = (Vec::new(), vec![rows.clone()]);
        for n in 1..=STATEMENTS {
            let (sql, after) = if n % 3 == 0 { (FLUSH.to_string(), rows) } else { random_change(&mut rng, &rows) };
            rows = after;
            statements.push(sql);
            states.push(rows.clone());
        }
        Self { sql: statements.join("; "), states }
    }
}

/// A row table with flushed rows, of which some are changed since. Its folder stays, since a data directory cannot be
/// moved; a copy of its content is kept in another folder.
struct Start {
    place: TestFolder,
    kept: tempfile::TempDir,
    rows: Rows,
}

impl Start {
    fn new() -> Self {
        let place = TestFolder::on(Database::Sqlite);
        let keys = row_model::keys().filter(|(a, _)| a % 2 == 0);
        let mut rows: Rows = keys.map(|(a, b)| ((a, b), Values { v: Some(a), w: None })).collect();
        let values: Vec<_> = rows.keys().map(|(a, b)| format!("({a}, '{b}', {a})")).collect();
        let insert = format!("INSERT INTO t (a, b, v) VALUES {}", values.join(", "));
        let mut statements = vec![row_model::create("t"), insert, FLUSH.to_string()];
        let mut rng = Rng::with_seed(0);
        for _ in 0..2 {
            let (sql, after) = random_change(&mut rng, &rows);
            statements.push(sql);
            rows = after;
        }
        place.dl(&["sql", "--data", "d", &statements.join("; ")]).good();
        let kept = tempfile::tempdir().unwrap();
        copy(&place.path(""), kept.path());
        Self { place, kept, rows }
    }

    fn restore(&self) {
        for entry in std::fs::read_dir(self.place.path("")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
        }
        copy(self.kept.path(), &self.place.path(""));
    }

    /// The calls of a script at which it can be killed. `strace` counts those of each thread.
    fn points(&self) -> Vec<(&'static str, usize)> {
        let script = Script::random(0, &self.rows);
        let mut points = Vec::new();
        for call in CALLS {
            self.restore();
            let mut of_threads = BTreeMap::<String, usize>::new();
            for Call { line, .. } in calls_of(&["sql", "--data", "d", &script.sql], &self.place, &trace(call), &[]) {
                let thread = line.split_whitespace().next().unwrap();
                *of_threads.entry(thread.to_string()).or_default() += 1;
            }
            let most = of_threads.into_values().max().unwrap_or_default();
            points.extend((1..=most).map(|nth| (*call, nth)));
        }
        points
    }

    /// Kills a script at a point, and checks what is there then. Returns whether it was killed before its end.
    fn check_killed(&self, seed: u64, (call, nth): (&str, usize)) -> bool {
        self.restore();
        let (place, script) = (&self.place, Script::random(seed, &self.rows));
        let inject = format!("inject={call}:signal=SIGKILL:when={nth}");
        let options = ["-o", "/dev/null", "-e", &trace(call), "-e", &inject];
        let ran = traced_as(&["sql", "--data", "d", &script.sql], place, &options, &[]);
        let at = format!("seed {seed}, killed at {call} {nth}: {ran:?}\n{}", script.sql);
        assert!(ran.code.is_none_or(|code| code == 0), "{at}");

        let select = format!("SELECT {} FROM t", COLUMNS.join(", "));
        let flush = format!("{select}; {FLUSH}; {select}");
        let results = place.dl(&["sql", "--data", "d", "--format", "json", &flush]).json();
        let (found, flushed) = (rows_of(&results[0]), rows_of(&results[1]));
        let acknowledged = ran.out.lines().count();
        let possible = &script.states[acknowledged..=(acknowledged + 1).min(STATEMENTS)];
        assert!(
            possible.iter().any(|rows| in_order(rows) == found),
            "{acknowledged} statements were acknowledged, and there are {found:?}: {at}"
        );
        assert_eq!(flushed, found, "{at}");
        let read = place.dl(&["read", "t", "--columns", &COLUMNS.join(","), "--format", "json"]).json();
        assert_eq!(rows_of(&read), found, "{at}");
        place.dl(&["mirror", "run"]).good();
        place.dl(&["verify", "--every-version", "--data"]).good();
        assert_eq!(unnamed(&place.path("d/default/t")), Vec::<PathBuf>::new(), "{at}");
        ran.code.is_none()
    }
}

fn trace(call: &str) -> String {
    format!("trace={call}")
}

/// A row as text, in the order of [`COLUMNS`].
type Row = [Option<String>; COLUMNS.len()];

/// The rows of a result in JSON, in order.
fn rows_of(result: &Value) -> Vec<Row> {
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let mut rows: Vec<_> = result.as_array().unwrap().iter().map(|row| COLUMNS.map(|name| text(&row[name]))).collect();
    rows.sort();
    rows
}

/// The rows of the model, in order.
fn in_order(rows: &Rows) -> Vec<Row> {
    let mut rows: Vec<_> = rows.iter().map(|(key, values)| texts(key, values)).collect();
    rows.sort();
    rows
}

/// The data files and deletion vectors that no commit names.
fn unnamed(folder: &Path) -> Vec<PathBuf> {
    let of = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let has_end = |path: &Path, ends: &[&str]| ends.iter().any(|end| path.extension().is_some_and(|e| e == *end));
    let mut named = HashSet::new();
    for path in of(&folder.join("_delta_log")).into_iter().filter(|path| has_end(path, &["json"])) {
        let commit = Commit::parse(std::fs::read(&path).unwrap().into(), "a commit").unwrap();
        for add in commit.actions().iter().filter_map(Action::as_add) {
            named.extend(add.paths().unwrap().map(|path| path.to_string()));
        }
    }
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_string();
    let is_data = |path: &Path| has_end(path, &["parquet", "bin"]);
    of(folder).into_iter().filter(|path| is_data(path) && !named.contains(&name(path))).collect()
}

#[test]
fn a_crash_of_changes_and_flushes_loses_and_revives_no_row() {
    let starts: Vec<_> = (0..AT_A_TIME).map(|_| Start::new()).collect();
    let points = &starts[0].points();
    assert!(points.len() > 100, "{points:?}");
    let point = |seed: u64| points[seed as usize % points.len()];
    if let Ok(seed) = std::env::var("DELTALAKEDB_SEED") {
        let seed = seed.parse().unwrap();
        starts[0].check_killed(seed, point(seed));
        return;
    }
    let kills = if std::env::var("DELTALAKEDB_SOAK").as_deref() == Ok("1") { 25 * KILLS } else { KILLS };
    let (next, killed) = (&AtomicU64::new(0), &AtomicU64::new(0));
    thread::scope(|scope| {
        for start in &starts {
            scope.spawn(move || {
                while killed.load(Ordering::Relaxed) < kills {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    assert!(seed < 2 * kills, "only {killed:?} of {seed} runs were killed before their end");
                    killed.fetch_add(u64::from(start.check_killed(seed, point(seed))), Ordering::Relaxed);
                }
            });
        }
    });
    eprintln!("killed {killed:?} of {next:?} runs, at {} points", points.len());
}
