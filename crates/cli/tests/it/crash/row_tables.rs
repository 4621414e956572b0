//! Kill -9 while rows are changed and flushed: no acknowledged row is lost, none is there twice, none comes back.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use deltalakedb_log::action::{Action, Commit};

use super::*;

/// The calls that change the disk.
const CALLS: &[&str] =
    &["pwrite64", "write", "fsync", "fdatasync", "linkat,link", "rename,renameat,renameat2", "unlink,unlinkat"];

/// The points of a usual run, of all at which the disk changes.
const POINTS: usize = 40;

/// Each prints a line when it is acknowledged.
const STATEMENTS: [&str; 7] = [
    "INSERT INTO t VALUES (21, 'new')",
    "UPDATE t SET name = 'changed' WHERE id = 3 OR id = 2",
    "FLUSH TABLE t",
    "DELETE FROM t WHERE id IN (3, 4, 21)",
    "INSERT INTO t VALUES (21, 'again')",
    "UPDATE t SET id = id + 1 WHERE id > 4",
    "FLUSH TABLE t",
];

type Rows = BTreeMap<i64, String>;

/// The rows after each number of statements.
fn states() -> Vec<Rows> {
    let mut rows: Rows = (2..=20).map(|id| (id, "row".to_string())).collect();
    let mut states = vec![rows.clone()];
    rows.insert(21, "new".into());
    states.push(rows.clone());
    rows.extend([2, 3].map(|id| (id, "changed".to_string())));
    states.extend([rows.clone(), rows.clone()]);
    rows.retain(|id, _| ![3, 4, 21].contains(id));
    states.push(rows.clone());
    rows.insert(21, "again".into());
    states.push(rows.clone());
    rows = rows.into_iter().map(|(id, name)| (if id > 4 { id + 1 } else { id }, name)).collect();
    states.extend([rows.clone(), rows]);
    states
}

/// A row table with flushed rows, and a deleted one that is not flushed. Its folder stays, since a data directory cannot
/// be moved; what is in it is kept beside it.
struct Start {
    place: TestFolder,
    kept: tempfile::TempDir,
}

impl Start {
    fn new() -> Self {
        let place = TestFolder::on(Database::Sqlite);
        let rows: Vec<_> = (1..=20).map(|id| format!("({id}, 'row')")).collect();
        let rows = rows.join(", ");
        let sql = format!(
            "CREATE SHARED TABLE t (id BIGINT PRIMARY KEY, name TEXT); INSERT INTO t VALUES {rows}; FLUSH TABLE t;
             DELETE FROM t WHERE id = 1"
        );
        place.dl(&["sql", "--data", "d", &sql]).good();
        let kept = tempfile::tempdir().unwrap();
        copy(&place.path(""), kept.path());
        Self { place, kept }
    }

    fn restore(&self) {
        for entry in std::fs::read_dir(self.place.path("")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
        }
        copy(self.kept.path(), &self.place.path(""));
    }
}

fn rows(ran: Ran) -> Rows {
    let rows = ran.json();
    let row = |row: &serde_json::Value| (row["id"].as_i64().unwrap(), row["name"].as_str().unwrap().to_string());
    let all = rows.as_array().unwrap();
    let by_id: Rows = all.iter().map(row).collect();
    assert_eq!(by_id.len(), all.len(), "a row is there twice: {rows}");
    by_id
}

/// The data files and the files of deletion vectors that no commit names.
fn unnamed(folder: &Path) -> Vec<PathBuf> {
    let of = |folder: &Path, extensions: &[&str]| {
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let is_one = |path: &PathBuf| path.extension().is_some_and(|of| extensions.iter().any(|one| of == *one));
        paths.filter(is_one).collect::<Vec<_>>()
    };
    let mut named = HashSet::new();
    for path in of(&folder.join("_delta_log"), &["json"]) {
        let commit = Commit::parse(std::fs::read(&path).unwrap().into(), &path.display().to_string()).unwrap();
        for add in commit.into_actions().iter().filter_map(Action::as_add) {
            named.extend(add.paths().unwrap().map(|name| folder.join(&*name)));
        }
    }
    let files = of(folder, &["parquet", "bin"]);
    assert!(files.iter().any(|path| path.extension().is_some_and(|of| of == "bin")), "no flush wrote a vector");
    files.into_iter().filter(|path| !named.contains(path)).collect()
}

#[test]
fn a_crash_of_changes_and_flushes_loses_and_revives_no_row() {
    let start = Start::new();
    let script = STATEMENTS.join("; ");
    let command = ["sql", "--data", "d", &script];
    let states = states();
    let mut points = Vec::new();
    for call in CALLS {
        start.restore();
        let count = calls_of(&command, &start.place, &format!("trace={call}"), &[]).len();
        points.extend((1..=count).map(|nth| (*call, nth)));
    }
    assert!(points.len() > POINTS, "{} points", points.len());
    let is_soak = std::env::var("DELTALAKEDB_SOAK").as_deref() == Ok("1");
    let step = if is_soak { 1 } else { points.len() / POINTS };
    let mut killed = 0;
    for (call, nth) in points.iter().step_by(step) {
        start.restore();
        let place = &start.place;
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when={nth}"));
        let ran = traced_as(&command, place, &["-o", "/dev/null", "-e", &trace, "-e", &inject], &[]);
        killed += usize::from(ran.code.is_none());
        let at = format!("{call} {nth}: {ran:?}");
        let acknowledged = ran.out.lines().count();
        let select = ["sql", "--data", "d", "--format", "json", "SELECT id, name FROM t"];
        let found = rows(place.dl(&select));
        let possible = &states[acknowledged..=(acknowledged + 1).min(STATEMENTS.len())];
        assert!(possible.contains(&found), "{at}: {acknowledged} were acknowledged, and there are {found:?}");
        place.dl(&["sql", "--data", "d", "FLUSH TABLE t"]).good();
        assert_eq!(rows(place.dl(&select)), found, "{at}");
        assert_eq!(rows(place.dl(&["read", "t", "--columns", "id,name", "--format", "json"])), found, "{at}");
        place.dl(&["mirror", "run"]).good();
        place.dl(&["verify", "--every-version", "--data"]).good();
        assert_eq!(unnamed(&place.path("d/default/t")), Vec::<PathBuf>::new(), "{at}");
    }
    assert!(killed * 2 > POINTS, "killed {killed} times only");
}
