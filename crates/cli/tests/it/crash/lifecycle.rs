//! Kill -9 while a table is renamed, dropped, detached, dropped with its files, or its history expires.

use super::*;

/// A table with one published row and one unpublished one.
fn behind(start: &TestFolder, database: Database) -> TestFolder {
    let place = again(start, database);
    place.dl(&["write", "t", "--input", "rows.csv", "--set", "mirror.mode=background"]).good();
    place
}

/// Runs a command that is killed at the n-th such call. Returns whether it ended before.
pub(super) fn killed_at(place: &TestFolder, command: &[&str], call: &str, nth: usize) -> bool {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when={nth}"));
    let ran = traced_as(command, place, &["-o", "/dev/null", "-e", &trace, "-e", &inject], &[]);
    assert!(ran.code.is_none() || ran.code == Some(0), "{command:?} at {call} {nth}: {ran:?}");
    ran.code.is_some()
}

fn listed(place: &TestFolder, args: &[&str]) -> Vec<(String, String)> {
    let listed = place.dl(&[&["tables", "--format", "json"], args].concat()).json();
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap_or("live").to_string();
    listed.as_array().unwrap().iter().map(|row| (text(row, "name"), text(row, "state"))).collect()
}

/// The name and state of the only table.
fn the_table(place: &TestFolder) -> (String, String) {
    let mut all = [listed(place, &[]), listed(place, &["--dropped"])].concat();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn rows(place: &TestFolder, name: &str) -> usize {
    place.dl(&["read", name, "--format", "json"]).json().as_array().unwrap().len()
}

fn check_goes_on(place: &TestFolder, name: &str) {
    assert_eq!(rows(place, name), 2, "{name}: nothing is lost");
    place.dl(&["write", name, "--input", "rows.csv"]).good();
    assert_eq!(rows(place, name), 3);
    // The killed process may hold the lease: this waits for its end.
    place.dl(&["mirror", "run"]).good();
    place.dl(&["verify", "--every-version", "--data"]).good();
}

/// The calls at which the disk changes, with their numbers.
pub(super) fn points(database: Database) -> Vec<(&'static str, usize)> {
    match database {
        Database::Sqlite => {
            let calls = [("pwrite64", [1, 9]), ("fdatasync,fsync", [2, 4]), ("linkat,link", [1, 2])];
            calls.into_iter().flat_map(|(call, nth)| nth.map(|n| (call, n))).collect()
        }
        Database::DuckDb => vec![("fsync", 1), ("fsync", 3)],
        Database::Postgres => vec![("sendto", 9)],
    }
}

#[test]
fn a_crash_leaves_renames_drops_and_detaches_complete_or_undone() {
    for database in databases("crash") {
        let start = begin(*database);
        for (call, nth) in points(*database) {
            let point = format!("{database:?}, {call} {nth}");
            let place = behind(&start, *database);
            killed_at(&place, &["rename", "t", "u"], call, nth);
            let (name, state) = the_table(&place);
            assert!(state == "live" && ["default.t", "default.u"].contains(&name.as_str()), "{point}: {name} {state}");
            check_goes_on(&place, &name);

            let place = behind(&start, *database);
            killed_at(&place, &["drop", "t"], call, nth);
            if the_table(&place).1 == "dropped" {
                assert!(place.path("t/_delta_log/00000000000000000002.json").exists(), "{point}: published before");
                place.dl(&["undrop", "t"]).good();
            }
            assert_eq!(the_table(&place), ("default.t".into(), "live".into()), "{point}");
            check_goes_on(&place, "t");

            let place = behind(&start, *database);
            place.dl(&["drop", "t"]).good();
            killed_at(&place, &["undrop", "t", "--as", "u"], call, nth);
            if the_table(&place) == ("default.t".into(), "dropped".into()) {
                place.dl(&["undrop", "t", "--as", "u"]).good();
            }
            assert_eq!(the_table(&place), ("default.u".into(), "live".into()), "{point}");
            check_goes_on(&place, "u");

            let place = behind(&start, *database);
            killed_at(&place, &["detach", "t", "--yes"], call, nth);
            match the_table(&place).1.as_str() {
                "detached" => {
                    place.dl(&["import", "t", "--as", "plain"]).good();
                    check_goes_on(&place, "plain");
                }
                _ => check_goes_on(&place, "t"),
            }
        }
    }
}

#[test]
fn a_crash_in_an_expiry_leaves_a_readable_history() {
    let command = ["expire", "t", "--keep", "0s"];
    for database in databases("crash") {
        let start = TestFolder::on(*database);
        start.write("rows.csv", "id,name\n1,one\n");
        let keeps = "delta.deletedFileRetentionDuration=interval 0 seconds";
        let schema = "id long, name string";
        start.dl(&["create", "t", "--location", "t", "--schema", schema, "--property", keeps]).good();
        for _ in 0..3 {
            start.dl(&[WRITE, &["--mode", "overwrite"]].concat()).good();
        }
        let mut points = points(*database);
        points.extend([("unlink,unlinkat", 1), ("unlink,unlinkat", 2)]);
        for (call, nth) in points {
            let point = format!("{database:?}, {call} {nth}");
            let place = again(&start, *database);
            killed_at(&place, &command, call, nth);
            place.dl(&["mirror", "run"]).good();
            // The checkpoint is put before the hint.
            let found = place.dl(&["verify", "--every-version"]);
            assert!(found.code == Some(0) || found.out.contains("_last_checkpoint is missing"), "{point}: {found:?}");
            assert_eq!(rows(&place, "t"), 1, "{point}");
            place.dl(&command).good();
            assert_eq!(place.dl(&["show", "t", "--format", "json"]).json()["baseVersion"], 3, "{point}");
            assert!(!place.path("t/_delta_log/00000000000000000002.json").exists(), "{point}");
            place.dl(&[WRITE, &["--mode", "overwrite"]].concat()).good();
            place.dl(&["verify", "--every-version"]).good();
        }
    }
}

#[test]
fn a_crash_in_a_removal_leaves_the_table_dropped_or_in_removal() {
    let command = ["expire", "--all"];
    for database in databases("crash") {
        let start = begin(*database);
        for (call, nth) in points(*database) {
            let point = format!("{database:?}, {call} {nth}");
            let place = behind(&start, *database);
            place.dl(&["mirror", "run"]).good();
            crate::expire::drop_a_week_ago(&place, "t");
            killed_at(&place, &command, call, nth);
            let left = listed(&place, &["--dropped"]);
            if let Some((name, state)) = left.first() {
                assert!(name == "default.t" && ["dropped", "removing"].contains(&state.as_str()), "{point}: {state}");
                assert_eq!(place.dl(&["undrop", "t"]).code, Some(1), "{point}");
                place.dl(&command).good();
            }
            assert!(listed(&place, &[]).is_empty() && listed(&place, &["--dropped"]).is_empty(), "{point}");
            place.dl(&["import", "t", "--as", "t"]).good();
            check_goes_on(&place, "t");
        }
    }
}

#[test]
fn a_crash_in_a_deletion_leaves_one_that_resumes() {
    let command = ["drop", "t", "--delete-files", "--yes"];
    for database in databases("crash") {
        let start = begin(*database);
        let mut points = points(*database);
        points.extend([("unlink,unlinkat", 1), ("unlink,unlinkat", 3), ("unlink,unlinkat", 6), ("rmdir", 1)]);
        for (call, nth) in points {
            let point = format!("{database:?}, {call} {nth}");
            let place = behind(&start, *database);
            killed_at(&place, &command, call, nth);
            let state = the_table(&place).1;
            if state == "live" {
                check_goes_on(&place, "t");
                continue;
            }
            // The place is free only after everything is deleted.
            if state == "deleting" {
                let other = ["create", "other", "--location", "t", "--schema", "id long"];
                assert_eq!(place.dl(&other).code, Some(1), "{point}");
                assert_eq!(place.dl(&["undrop", "t"]).code, Some(1), "{point}");
                place.dl(&command).good();
            }
            assert_eq!(the_table(&place).1, "deleted", "{point}");
            let left: Vec<_> = std::fs::read_dir(place.path("t")).unwrap().map(|e| e.unwrap().file_name()).collect();
            assert!(left.is_empty(), "{point}: {left:?}");
            place.dl(&["create", "t", "--location", "t", "--schema", "id long, name string"]).good();
            assert_eq!(rows(&place, "t"), 0, "{point}");
        }
    }
}
