//! Kill -9 while a delete writes a deletion vector, and while a purge takes it out.

use std::fs::File;
use std::time::{Duration, SystemTime};

use super::lifecycle::{killed_at, points};
use super::*;

/// The calls that change the disk.
const CALLS: &[&str] =
    &["pwrite64", "write", "fsync", "fdatasync", "linkat,link", "rename,renameat,renameat2", "unlink,unlinkat"];

/// A table of one file with the ids 1 to 20, of which a vector hides the first.
fn with_vector(database: Database) -> TestFolder {
    let place = TestFolder::on(database);
    let rows: String = (1..=20).map(|id| format!("{id},row\n")).collect();
    place.write("rows.csv", &format!("id,name\n{rows}"));
    let vectors = "delta.enableDeletionVectors=true";
    let schema = "id long, name string";
    place.dl(&["create", "t", "--location", "t", "--schema", schema, "--property", vectors]).good();
    place.dl(WRITE).good();
    place.dl(&["delete", "t", "--where", "id = 1"]).good();
    place
}

fn ids(place: &TestFolder) -> Vec<i64> {
    let rows = place.dl(&["read", "t", "--columns", "id", "--format", "json"]).json();
    let mut ids: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    ids
}

/// The number of files of vectors in the folder, and of those of which the newest version needs one.
fn vectors(place: &TestFolder) -> (usize, usize) {
    let files = std::fs::read_dir(place.path("t")).unwrap().map(|entry| entry.unwrap().path());
    let there = files.filter(|path| path.extension().is_some_and(|e| e == "bin")).count();
    let snapshot = place.dl(&["snapshot", "t", "--format", "json"]).json();
    let needed = snapshot["files"].as_array().unwrap().iter().filter(|file| !file["deletionVector"].is_null()).count();
    (there, needed)
}

/// Makes the files of the table so old that no running writer can have them.
fn age(place: &TestFolder) {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for entry in std::fs::read_dir(place.path("t")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
        }
    }
}

/// Kills the command at the n-th such call. Returns whether it ended before.
fn check_killed(start: &TestFolder, database: Database, command: &[&str], after: &[i64], at: (&str, usize)) -> bool {
    let point = format!("{database:?}, {command:?} at {at:?}");
    let place = again(start, database);
    let before = ids(&place);
    let ended = killed_at(&place, command, at.0, at.1);
    let found = ids(&place);
    assert!(found == after || found == before && !ended, "{point}: {found:?}");

    place.dl(&["mirror", "run"]).good();
    place.dl(&["verify", "--every-version", "--data"]).good();
    age(&place);
    place.dl(&["vacuum", "t", "--retain", "0s", "--force"]).good();
    let (there, needed) = vectors(&place);
    assert_eq!(there, needed, "{point}: vectors in the folder and in the log");
    assert_eq!(ids(&place), found, "{point}");

    place.dl(command).good();
    assert_eq!(ids(&place), after, "{point}");
    place.dl(&["verify", "--data"]).good();
    ended
}

#[test]
fn a_crash_of_a_delete_or_a_purge_loses_no_row_and_no_vector_and_revives_none() {
    let commands: [(&[&str], std::ops::RangeInclusive<i64>); 2] =
        [(&["delete", "t", "--where", "id = 2"], 3..=20), (&["optimize", "t", "--purge"], 2..=20)];
    for database in databases("crash") {
        let start = with_vector(*database);
        assert_eq!(vectors(&start), (1, 1));
        for (command, after) in &commands {
            let after: Vec<_> = after.clone().collect();
            if *database == Database::Sqlite {
                let mut killed = 0;
                for call in CALLS {
                    let ended = (1..).find(|nth| check_killed(&start, *database, command, &after, (call, *nth)));
                    killed += ended.unwrap_or_default() - 1;
                }
                assert!(killed > 20, "{command:?} was killed {killed} times only");
            } else {
                for at in points(*database) {
                    check_killed(&start, *database, command, &after, at);
                }
            }
        }
    }
}
