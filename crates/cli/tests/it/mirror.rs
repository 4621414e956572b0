//! Published, missing and restored files.

use serde_json::json;

use crate::bad_input::check;
use crate::test_folder::TestFolder;

/// A table with one row, published.
fn begin() -> TestFolder {
    let place = TestFolder::new();
    place.write("rows.csv", "id\n1\n");
    place.dl(&["create", "t", "--location", "t", "--schema", "id long"]).good();
    place.dl(&["write", "t", "--input", "rows.csv"]).good();
    place
}

#[test]
fn mirror_repair_restores_missing_commits() {
    let place = begin();
    let first = place.path("t/_delta_log/00000000000000000000.json");
    let bytes = std::fs::read(&first).unwrap();
    std::fs::remove_file(&first).unwrap();
    let found = place.dl(&["verify", "t"]);
    assert_eq!(found.code, Some(3), "{found:?}");
    assert!(found.out.contains("`dl mirror repair default.t` publishes the catalog's version again"), "{found:?}");
    let found = place.dl(&["mirror", "repair", "t", "--dry-run"]);
    assert!(found.code == Some(3) && found.out.contains("`dl mirror repair default.t`"), "{found:?}");
    assert!(!first.exists(), "a dry run restores nothing");
    let repaired = place.dl(&["mirror", "repair", "t", "--format", "json"]).json();
    let commit_only = json!({
        "name": "default.t", "versions": [0], "truncated": [], "checkpoint": null, "checkpoints": [], "checksums": [],
        "hint": false
    });
    assert_eq!(repaired, commit_only);
    assert_eq!(std::fs::read(&first).unwrap(), bytes);
    place.dl(&["verify", "t", "--every-version"]).good();
    let nothing = place.dl(&["mirror", "repair", "t"]).good();
    assert_eq!(nothing.trim(), "nothing is missing or wrong in the _delta_log of default.t");
}

#[test]
fn mirror_repair_restores_derived_files() {
    let place = begin();
    place.dl(&["mirror", "checkpoint", "t"]).good();
    let log = |name: &str| format!("t/_delta_log/{name}");
    let (checkpoint, checksum) = ("00000000000000000001.checkpoint.parquet", "00000000000000000001.crc");
    for name in [checkpoint, checksum, "_last_checkpoint"] {
        place.write(&log(name), "");
    }
    let found = place.dl(&["verify", "t"]);
    assert_eq!(found.code, Some(3), "{found:?}");
    assert!(found.out.contains("`dl mirror repair default.t` writes it again"), "{found:?}");
    let repaired = place.dl(&["mirror", "repair", "t", "--format", "json"]).json();
    assert_eq!(repaired["versions"], json!([]));
    assert_eq!((&repaired["checkpoints"], &repaired["checksums"]), (&json!([1]), &json!([1])), "{repaired}");
    assert_eq!(repaired["hint"], true, "{repaired}");
    place.dl(&["verify", "t", "--every-version"]).good();
    std::fs::remove_file(place.path(&log("_last_checkpoint"))).unwrap();
    let said = place.dl(&["mirror", "repair", "t"]).good();
    assert_eq!(said.trim(), "_last_checkpoint of default.t was missing or wrong and was written again");
    let nothing = place.dl(&["mirror", "repair", "t"]).good();
    assert_eq!(nothing.trim(), "nothing is missing or wrong in the _delta_log of default.t");
}

#[test]
fn a_divergence_is_ended_for_the_catalog_or_for_the_other_writer() {
    let place = begin();
    let next = place.dl(&["snapshot", "t", "--format", "json"]).json()["version"].as_u64().unwrap() + 1;
    let name = format!("{next:020}.json");
    let theirs = "{\"commitInfo\":{\"operation\":\"WRITE\",\"engineInfo\":\"another\"}}\n";
    place.write(&format!("t/_delta_log/{name}"), theirs);
    let stopped = place.dl(&["mirror", "run"]);
    assert!(stopped.code == Some(1) && stopped.out.contains("dl mirror repair default.t --ours"), "{stopped:?}");
    let kept = place.dl(&["mirror", "repair", "t", "--ours", "--format", "json"]).json();
    assert_eq!((&kept["name"], &kept["setAside"]), (&json!("default.t"), &json!([name])));
    let folder = place.path("t").join(kept["folder"].as_str().unwrap());
    assert_eq!(std::fs::read_to_string(folder.join(&name)).unwrap(), theirs);
    place.dl(&["verify", "t", "--every-version", "--data"]).good();
    let none = place.dl(&["mirror", "repair", "t", "--ours"]).good();
    assert_eq!(none.trim(), "no other writer has commits in the _delta_log of default.t");

    place.write(&format!("t/_delta_log/{name}"), theirs);
    let imported = place.dl(&["mirror", "repair", "t", "--theirs", "--format", "json"]).json();
    assert_eq!((&imported["version"], &imported["versionsImported"]), (&json!(next), &json!(1)));
    place.dl(&["write", "t", "--input", "rows.csv"]).good();
    place.dl(&["verify", "t", "--every-version", "--data"]).good();
    // A vacuum leaves what was set aside.
    place.dl(&["vacuum", "t", "--retain", "0s", "--force"]).good();
    assert!(folder.join(&name).exists());
}

#[test]
fn a_divergence_with_commits_of_both_for_one_version_is_ended_for_the_other_writer() {
    const THEIRS: &str = "{\"commitInfo\":{\"operation\":\"WRITE\",\"engineInfo\":\"another\"}}\n";
    let place = begin();
    let background = |args: &[&str]| place.dl(&[&["--set", "mirror.mode=background"], args].concat()).good();
    let rows = || place.dl(&["read", "t", "--format", "csv"]).good().lines().count() - 1;
    for _ in 0..2 {
        background(&["write", "t", "--input", "rows.csv"]);
    }
    place.write("t/_delta_log/00000000000000000002.json", THEIRS);
    assert_eq!(rows(), 3);
    let kept = place.dl(&["mirror", "repair", "t", "--theirs", "--format", "json"]).json();
    let losing = ["00000000000000000002.json", "00000000000000000003.json"];
    assert_eq!((&kept["version"], &kept["setAside"]), (&json!(2), &json!(losing)), "{kept}");
    for name in losing {
        let commit =
            std::fs::read_to_string(place.path("t").join(kept["folder"].as_str().unwrap()).join(name)).unwrap();
        assert!(commit.contains("\"operation\":\"WRITE\"") && commit.contains("\"add\""), "{commit}");
    }
    assert_eq!(rows(), 1);
    let nothing = place.dl(&["mirror", "repair", "t", "--theirs"]).good();
    assert_eq!(nothing.trim(), "default.t is up to date at version 2");
    place.dl(&["write", "t", "--input", "rows.csv"]).good();
    place.dl(&["verify", "t", "--every-version", "--data"]).good();

    // A log that cannot be imported changes nothing.
    background(&["write", "t", "--input", "rows.csv"]);
    place.write("t/_delta_log/00000000000000000004.json", "not a commit\n");
    check(place.dl(&["mirror", "repair", "t", "--theirs"]), 1, &["default.t is as before"]);
    assert_eq!(rows(), 3);
    place.dl(&["mirror", "repair", "t", "--ours"]).good();
    place.dl(&["verify", "t", "--every-version", "--data"]).good();

    // A transaction over several tables is not taken back in part.
    place.dl(&["create", "u", "--location", "u", "--schema", "id long"]).good();
    background(&["sql", "BEGIN; INSERT INTO t VALUES (5); INSERT INTO u VALUES (5); COMMIT"]);
    place.write("t/_delta_log/00000000000000000005.json", THEIRS);
    let says = ["version 5 of default.t is a part of a transaction that changed default.u as well", "--ours"];
    check(place.dl(&["mirror", "repair", "t", "--theirs"]), 1, &says);
    assert_eq!(rows(), 4);
}

#[test]
fn checkpoints_of_losing_commits_are_written_again() {
    let place = begin();
    for _ in 2..4 {
        place.dl(&["write", "t", "--input", "rows.csv"]).good();
    }
    place.dl(&["mirror", "checkpoint", "t"]).good();
    let theirs = "{\"commitInfo\":{\"operation\":\"WRITE\",\"engineInfo\":\"another\"}}\n";
    place.write("t/_delta_log/00000000000000000002.json", theirs);
    let kept = place.dl(&["mirror", "repair", "t", "--theirs", "--format", "json"]).json();
    assert_eq!(kept["setAside"], json!(["00000000000000000002.json"]), "{kept}");
    assert_eq!(place.dl(&["read", "t", "--format", "csv"]).good().lines().count(), 1 + 2);
    place.dl(&["verify", "t", "--every-version", "--data"]).good();
}

#[test]
fn a_missing_folder_is_not_published_into() {
    let place = begin();
    place.dl(&["--set", "mirror.mode=background", "write", "t", "--input", "rows.csv"]).good();
    std::fs::rename(place.path("t/_delta_log"), place.path("elsewhere")).unwrap();
    let ran = place.dl(&["mirror", "run", "--format", "json"]);
    assert!(ran.code != Some(0) && ran.out.contains("check that the disk is mounted"), "{ran:?}");
    assert!(!place.path("t/_delta_log").exists(), "nothing is put into the folder that is in its place");
    std::fs::rename(place.path("elsewhere"), place.path("t/_delta_log")).unwrap();
    place.dl(&["mirror", "run"]).good();
    place.dl(&["verify", "t", "--every-version", "--data"]).good();
}

/// As on a disk that is not mounted.
#[test]
fn an_empty_folder_is_not_written_into() {
    let place = begin();
    std::fs::rename(place.path("t"), place.path("elsewhere")).unwrap();
    std::fs::create_dir(place.path("t")).unwrap();
    let commands: [&[&str]; 5] = [
        &["write", "t", "--input", "rows.csv"],
        &["write", "t", "--input", "rows.csv", "--mode", "overwrite"],
        &["delete", "t", "--where", "id = 1"],
        &["sql", "INSERT INTO t VALUES (2)"],
        &["vacuum", "t", "--retain", "0s", "--force"],
    ];
    for command in commands {
        check(place.dl(command), 1, &["check that the disk is mounted", "`dl mirror repair default.t`"]);
        assert_eq!(std::fs::read_dir(place.path("t")).unwrap().count(), 0, "{command:?} puts nothing there");
    }
    let history = place.dl(&["history", "t", "--format", "json"]).json();
    assert_eq!(history.as_array().unwrap().len(), 2, "nothing was committed");
    // It is mounted again.
    std::fs::remove_dir(place.path("t")).unwrap();
    std::fs::rename(place.path("elsewhere"), place.path("t")).unwrap();
    place.dl(&["write", "t", "--input", "rows.csv"]).good();
    // An unreachable location is a different case.
    std::fs::rename(place.path("t/_delta_log"), place.path("elsewhere")).unwrap();
    std::fs::write(place.path("t/_delta_log"), "").unwrap();
    let written = place.dl(&["write", "t", "--input", "rows.csv"]);
    assert_eq!(written.code, Some(0), "the commit stands: {written:?}");
    std::fs::remove_file(place.path("t/_delta_log")).unwrap();
    // Lost permanently: the catalog has all of it.
    std::fs::create_dir(place.path("t/_delta_log")).unwrap();
    place.dl(&["mirror", "repair", "t"]).good();
    place.dl(&["write", "t", "--input", "rows.csv"]).good();
    place.dl(&["verify", "t", "--every-version", "--data"]).good();
}

#[test]
fn versions_published_without_a_sync_are_finally_recorded() {
    let place = begin();
    let written =
        place.dl(&["--set", "durability=catalog", "write", "t", "--input", "rows.csv", "--format", "json"]).json();
    assert_eq!((&written["version"], &written["publishedVersion"]), (&json!(2), &json!(2)), "{written}");
    let status = place.dl(&["mirror", "status", "--format", "json"]).json();
    assert_eq!((&status[0]["behind"], &status[0]["publishedVersion"]), (&json!(0), &json!(2)), "{status}");
    place.dl(&["verify", "t", "--every-version", "--data"]).good();
}

#[test]
fn a_duckdb_mirror_is_refreshed_by_each_run() {
    let place = begin();
    let refresh = || place.dl(&["mirror", "duckdb", "--to", "lake.duckdb", "--format", "json"]).json();
    let first = refresh();
    assert_eq!(first["changed"], json!([{"name": "default.t", "version": 1}]), "{first}");
    assert_eq!((&first["removed"], &first["leftOut"]), (&json!([]), &json!([])));
    assert_eq!((refresh()["changed"].clone(), refresh()["unchanged"].clone()), (json!([]), json!(1)));
    place.dl(&["write", "t", "--input", "rows.csv"]).good();
    let said = place.dl(&["mirror", "duckdb", "--to", "lake.duckdb"]).good();
    assert_eq!(said.trim(), "lake.duckdb: refreshed 1 view, 0 unchanged");
    place.dl(&["write", "t", "--input", "rows.csv"]).good();
    place.dl(&["--set", "mirror.duckdb=lake.duckdb", "mirror", "run"]).good();
    assert_eq!(refresh()["unchanged"], json!(1), "the run has refreshed it");
    place.dl(&["drop", "t", "--yes"]).good();
    assert_eq!(refresh()["removed"], json!(["default.t"]));
    check(
        place.dl(&["mirror", "duckdb", "--to", "meta.db"]),
        1,
        &["meta.db is the catalog itself: choose another file"],
    );
    check(
        place.dl(&["mirror", "duckdb", "--to", "rows.csv"]),
        1,
        &["rows.csv is a database of something else: choose a file that does not exist"],
    );
    check(place.dl(&["mirror", "duckdb", "--to", "no/folder.duckdb"]), 1, &["folder.duckdb cannot be opened"]);
}
