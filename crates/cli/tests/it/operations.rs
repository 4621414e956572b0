//! Commands that change tables: their messages, effects and errors.

use std::thread;

use serde_json::json;

use crate::bad_input::check;
use crate::test_folder::TestFolder;

/// A table `t` with the rows 1 to 3 in version 1, which records changes.
fn filled() -> TestFolder {
    let place = TestFolder::new();
    let create = ["create", "t", "--location", "t", "--schema", "id long not null, kind string, n double"];
    place.dl(&[&create[..], &["--property", "delta.enableChangeDataFeed=true"]].concat()).good();
    place.write("rows.csv", "id,kind,n\n1,a,1\n2,b,2\n3,c,3\n");
    place.dl(&["write", "t", "--input", "rows.csv"]).good();
    place
}

/// The rows as `id,kind,n`, sorted.
fn rows(place: &TestFolder) -> Vec<String> {
    let csv = place.dl(&["read", "t", "--columns", "id,kind,n", "--format", "csv"]).good();
    let mut rows: Vec<_> = csv.lines().skip(1).map(String::from).collect();
    rows.sort();
    rows
}

fn says(place: &TestFolder, args: &[&str], sentence: &str) {
    assert_eq!(place.dl(args).good(), format!("{sentence}\n"), "{args:?}");
}

#[test]
fn a_repair_removes_the_files_that_are_lost() {
    let place = filled();
    place.dl(&["write", "t", "--input", "rows.csv"]).good();
    says(&place, &["repair", "t"], "no data file of default.t is missing: nothing was written");
    let files = place.dl(&["files", "t", "--format", "json"]).json();
    let lost = files[0]["path"].as_str().unwrap();
    std::fs::remove_file(place.path("t").join(lost)).unwrap();
    let dry = place.dl(&["repair", "t", "--dry-run"]).good();
    assert_eq!(dry, format!("{lost}\n1 missing file would be removed from default.t\n"));
    let planned = place.dl(&["repair", "t", "--dry-run", "--format", "json"]).json();
    assert_eq!((&planned["committed"], &planned["version"]), (&json!(false), &json!(2)), "{planned}");
    assert_eq!(planned["metrics"], json!({"dry_run": true, "num_files": 1, "files": [lost]}));
    assert_eq!(place.dl(&["verify", "t", "--data"]).code, Some(3));
    says(&place, &["repair", "t"], "1 missing file was removed from default.t, now at version 3");
    assert_eq!(rows(&place), ["1,a,1.0", "2,b,2.0", "3,c,3.0"]);
    place.dl(&["verify", "t", "--data"]).good();
}

#[test]
fn every_operation_prints_what_it_did() {
    let place = filled();
    let says = |args: &[&str], sentence: &str| says(&place, args, sentence);
    says(&["delete", "t", "--where", "id = 3"], "1 row was deleted from default.t, now at version 2");
    says(&["delete", "t", "--where", "id = 3"], "no row of default.t satisfies the condition: nothing was written");
    says(
        &["update", "t", "--set", "n = n * 10, kind = 'x=' || kind", "--set", "id = id + 5", "--all"],
        "2 rows were updated in default.t, now at version 3",
    );
    assert_eq!(rows(&place), ["6,x=a,10.0", "7,x=b,20.0"]);
    says(&["write", "t", "--input", "rows.csv"], "default.t is at version 4");
    says(&["optimize", "t", "--target-size", "1mb"], "2 files were rewritten as 1 in default.t, now at version 5");
    says(&["optimize", "t"], "no file of default.t needs to be compacted: nothing was written");
    says(&["optimize", "t", "--zorder", "n,id"], "1 file was rewritten as 1 in default.t, now at version 6");
    says(&["restore", "t", "--version", "2"], "default.t was restored to version 2, now at version 7");
    assert_eq!(rows(&place), ["1,a,1.0", "2,b,2.0"]);
    says(&["delete", "t", "--all"], "2 rows were deleted from default.t, now at version 8");
    says(&["delete", "t", "--all"], "default.t has no rows: nothing was written");

    let changes = place.dl(&["changes", "t", "--from", "2", "--to", "3", "--format", "json"]).json();
    let changes = changes.as_array().unwrap().iter();
    let mut changes: Vec<_> = changes.map(|c| format!("{} {}", c["_change_type"].as_str().unwrap(), c["id"])).collect();
    changes.sort();
    let want = ["delete 3", "update_postimage 6", "update_postimage 7", "update_preimage 1", "update_preimage 2"];
    assert_eq!(changes, want);
    place.dl(&["verify", "--every-version", "--data"]).good();
}

#[test]
fn vectors_are_turned_on_hide_rows_and_are_purged() {
    let place = TestFolder::new();
    let says = |args: &[&str], sentence: &str| says(&place, args, sentence);
    place.dl(&["create", "t", "--location", "t", "--schema", "id long, kind string, n double"]).good();
    let rows_of_csv: String = (1..=20).map(|id| format!("{id},a,1\n")).collect();
    place.write("rows.csv", &format!("id,kind,n\n{rows_of_csv}"));
    place.dl(&["write", "t", "--input", "rows.csv"]).good();
    says(&["optimize", "t", "--purge"], "no file of default.t has a deletion vector: nothing was written");
    says(
        &["alter", "t", "--set-property", "delta.enableDeletionVectors=true"],
        "default.t was altered (property delta.enableDeletionVectors set), now at version 2",
    );
    let protocol = place.dl(&["snapshot", "t", "--format", "json"]).json()["protocol"].clone();
    assert_eq!((&protocol["minReaderVersion"], &protocol["minWriterVersion"]), (&json!(3), &json!(7)));
    says(&["delete", "t", "--where", "id < 3"], "2 rows were deleted from default.t, now at version 3");
    let snapshot = place.dl(&["snapshot", "t", "--format", "json"]).json();
    assert_eq!(snapshot["files"][0]["deletionVector"]["cardinality"], 2);
    says(&["optimize", "t", "--purge"], "2 rows were purged from 1 file of default.t, now at version 4");
    let snapshot = place.dl(&["snapshot", "t", "--format", "json"]).json();
    assert!(snapshot["files"][0]["deletionVector"].is_null(), "{snapshot}");
    assert_eq!(rows(&place).len(), 18);
    place.dl(&["delete", "t", "--where", "id = 3"]).good();
    let done = place.dl(&["optimize", "t", "--purge", "--format", "json"]).json();
    assert_eq!((&done["metrics"]["numRowsPurged"], &done["metrics"]["numRowsCopied"]), (&json!(1), &json!(17)));
    let both = place.dl(&["optimize", "t", "--purge", "--zorder", "id"]);
    assert!(both.code == Some(2) && both.err.contains("'--purge' cannot be used with '--zorder"), "{both:?}");
    place.dl(&["verify", "--every-version", "--data"]).good();
}

#[test]
fn vacuum_removes_files_that_no_retained_version_needs() {
    let place = filled();
    place.dl(&["delete", "t", "--where", "id = 3"]).good();
    let files = || {
        let paths = place.content().into_iter().map(|(path, ..)| path);
        paths.filter(|p| p.extension().is_some_and(|e| e == "parquet")).count()
    };
    let before = files();
    says(&place, &["vacuum", "t"], "every file of default.t may still be needed: nothing was removed");
    check(place.dl(&["vacuum", "t", "--retain", "0s"]), 1, &["keeps removed files for 168 hours", "--force"]);
    check(place.dl(&["vacuum", "t", "--retain", "soon"]), 1, &["invalid --retain \"soon\"", "7d"]);
    let now = ["vacuum", "t", "--retain", "0s", "--force"];
    let dry = place.dl(&[&now[..], &["--dry-run"]].concat()).good();
    assert!(dry.starts_with("part-") && dry.contains("1 file of default.t would be removed, "), "{dry}");
    assert_eq!(files(), before);
    let done = place.dl(&[&now[..], &["--lite", "--format", "json"]].concat()).json();
    assert_eq!(
        (&done["metrics"]["num_files"], &done["committed"], &done["version"]),
        (&json!(1), &json!(true), &json!(4))
    );
    assert_eq!(files(), before - 1);
    assert_eq!(rows(&place), ["1,a,1.0", "2,b,2.0"]);
    place.dl(&["verify", "--every-version"]).good();
}

#[test]
fn json_output_has_version_and_metrics() {
    let place = filled();
    let done = place.dl(&["delete", "t", "--where", "id = 3", "--format", "json"]).json();
    assert_eq!((&done["name"], &done["version"], &done["committed"]), (&json!("default.t"), &json!(2), &json!(true)));
    assert_eq!(done["metrics"]["num_deleted_rows"], 1);
    assert_eq!(done["publishedVersion"], 2);
    let nothing = place.dl(&["delete", "t", "--where", "id = 3", "--format", "json"]).json();
    assert_eq!((&nothing["version"], &nothing["committed"]), (&json!(2), &json!(false)));
}

#[test]
fn merges_take_files_and_tables_and_the_first_clause_decides() {
    let place = filled();
    place.write("new.ndjson", "{\"id\":2,\"kind\":\"bb\",\"gone\":false}\n{\"id\":3,\"gone\":true}\n{\"id\":9,\"kind\":\"z\",\"gone\":false}\n");
    let on = ["merge", "t", "--source", "new.ndjson", "--on", "target.id = source.id"];
    let clauses = [
        "--matched-delete",
        "source.gone",
        "--matched-update",
        "kind = source.kind, n = target.n + 1",
        "--not-matched-insert",
        "id = source.id, kind = source.kind WHERE source.id < 100",
        "--not-matched-by-source-update",
        "n = 0",
    ];
    says(
        &place,
        &[&on[..], &clauses].concat(),
        "1 row was inserted, 2 updated, 1 deleted in default.t, now at version 2",
    );
    assert_eq!(rows(&place), ["1,a,0.0", "2,bb,3.0", "9,z,"]);
    // In the other order, the update comes first and no row is left to delete.
    let turned = ["--matched-update", "n = 7", "--matched-delete"];
    says(&place, &[&on[..], &turned].concat(), "2 rows were updated in default.t, now at version 3");

    place.write("more.csv", "id,kind,n,note\n1,a,5,new\n20,q,6,new\n");
    place.dl(&["write", "more", "--location", "more", "--input", "more.csv"]).good();
    place.dl(&["alter", "t", "--drop-not-null", "id"]).good();
    let upsert = ["merge", "t", "--source", "more", "--on", "target.id = source.id", "--add-columns"];
    let all = ["--matched-update", "*", "--not-matched-insert", "*", "--not-matched-by-source-delete", "target.id = 9"];
    says(
        &place,
        &[&upsert[..], &all].concat(),
        "1 row was inserted, 1 updated, 1 deleted in default.t, now at version 5",
    );
    assert_eq!(rows(&place), ["1,a,5.0", "2,bb,7.0", "20,q,6.0"]);
    let note = place.dl(&["read", "t", "--columns", "note", "--where", "id = 20", "--format", "csv"]).good();
    assert_eq!(note, "note\nnew\n");
    place.dl(&["verify", "--every-version", "--data"]).good();
}

#[test]
fn replace_where_and_schema_mode_work_in_writes() {
    let place = filled();
    place.write("two.csv", "id,kind,n\n2,new,0\n");
    let replace = ["write", "t", "--input", "two.csv", "--mode", "overwrite", "--replace-where"];
    says(&place, &[&replace[..], &["id = 2"]].concat(), "default.t is at version 2");
    assert_eq!(rows(&place), ["1,a,1.0", "2,new,0.0", "3,c,3.0"]);
    place.write("wide.csv", "id,more\n4,x\n");
    says(&place, &["write", "t", "--input", "wide.csv", "--schema-mode", "merge"], "default.t is at version 3");
    let more = place.dl(&["read", "t", "--where", "id = 4", "--columns", "id,kind,more", "--format", "csv"]).good();
    assert_eq!(more, "id,kind,more\n4,,x\n");
    let whole = ["write", "t", "--input", "wide.csv", "--mode", "overwrite", "--schema-mode", "overwrite"];
    says(&place, &whole, "default.t is at version 4");
    assert_eq!(place.dl(&["read", "t", "--format", "csv"]).good(), "id,more\n4,x\n");
}

#[test]
fn a_table_is_altered_in_one_commit() {
    let place = filled();
    says(
        &place,
        &["alter", "t", "--comment", "about"],
        "default.t was altered (description changed), now at version 2",
    );
    let many = [
        "--add-column",
        "note string",
        "--add-column",
        "price decimal(10,2)",
        "--drop-not-null",
        "id",
        "--set-property",
        "delta.appendOnly=false",
        "--add-constraint",
        "positive: id > 0",
    ];
    says(
        &place,
        &[&["alter", "t"][..], &many].concat(),
        "default.t was altered (column note added, column price added, column id may be null, property \
         delta.appendOnly set, constraint positive added), now at version 3",
    );
    place.write("wrong.csv", "id\n-1\n");
    check(place.dl(&["write", "t", "--input", "wrong.csv"]), 1, &["1 rows failed validation check"]);
    says(
        &place,
        &["alter", "t", "--drop-constraint", "positive"],
        "default.t was altered (constraint positive dropped), now at version 4",
    );
    place.dl(&["write", "t", "--input", "wrong.csv"]).good();
    let shown = place.dl(&["show", "t"]).good();
    for part in ["comment    about", "column     price decimal(10,2)\n", "column     id long\n"] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
}

#[test]
fn invalid_operations_are_refused_and_write_nothing() {
    let place = filled();
    let before = (place.content(), place.dl(&["snapshot", "t", "--format", "json"]).good());
    place.write("none.csv", "id,kind\n");
    let merge = ["merge", "t", "--source", "rows.csv", "--on", "target.id = source.id"];
    let with = |more: &[&'static str]| [&merge[..], more].concat();
    let cases: &[(&[&str], &[&str])] = &[
        (&["delete", "t", "--where", "nosuch = 1"], &["\"nosuch\"", "id, kind, n"]),
        (&["delete", "x", "--all"], &["no table default.x"]),
        (&["delete", "./x", "--all"], &["has no table at", "/x: import it with `dl import"]),
        (&["delete", "t", "--where", "id ="], &["invalid filter \"id =\""]),
        (&["update", "t", "--all"], &["sets no column", "--set 'price = price * 2'"]),
        (&["update", "t", "--all", "--set", "n"], &["invalid assignment \"n\""]),
        (&["update", "t", "--all", "--set", "nosuch = 1"], &["no column \"nosuch\"", "id, kind, n"]),
        (&["update", "t", "--all", "--set", "n = nosuch"], &["nosuch"]),
        (&["update", "t", "--all", "--set", "n = 1, n = 2"], &["sets \"n\" twice"]),
        (&["update", "t", "--all", "--set", "id = null"], &["id"]),
        (&["--set", "n=1", "update", "t", "--all"], &["unknown setting \"n\""]),
        (&["update", "t", "--all", "--set", "n = 1", "--set", "durability=half"], &["expected full or catalog"]),
        (&merge, &["a merge needs a clause", "--matched-update '*'"]),
        (&with(&["--matched-update", "n"]), &["invalid assignment \"n\""]),
        (&with(&["--not-matched-by-source-update", "*"]), &["no source row"]),
        (&with(&["--matched-update", "nosuch = 1"]), &["no column \"nosuch\"", "id, kind, n"]),
        (&with(&["--matched-delete", "nosuch"]), &["nosuch"]),
        (
            &["merge", "t", "--source", "nosuch", "--on", "a = b", "--matched-delete"],
            &["the source nosuch is neither a file nor a table"],
        ),
        (&["merge", "t", "--source", "rows.csv", "--on", "nosuch = 1", "--matched-delete"], &["nosuch"]),
        (&["optimize", "t", "--zorder", "nosuch"], &["no column \"nosuch\""]),
        (&["optimize", "t", "--target-size", "big"], &["invalid file size \"big\"", "256mb"]),
        (&["restore", "t", "--version", "7"], &["no version 7", "newest is 1"]),
        (&["restore", "t", "--version", "1"], &["at version 1", "pass an earlier version"]),
        (&["restore", "t", "--timestamp", "1999-01-01"], &["oldest version that is retained is 0"]),
        (&["alter", "t", "--add-column", "n long"], &["has a column \"n\" already"]),
        (&["alter", "t", "--add-column", "x lonk"], &["lonk", "long"]),
        (&["alter", "t", "--set-property", "x"], &["invalid property \"x\"", "KEY=VALUE"]),
        (&["alter", "t", "--add-constraint", "n > 0"], &["invalid constraint \"n > 0\"", "NAME: CONDITION"]),
        (&["alter", "t", "--add-constraint", "few: id < 3"], &["the constraint cannot be added"]),
        (&["alter", "t", "--add-column", "x long", "--drop-constraint", "nosuch"], &["nosuch"]),
        (&["alter", "t", "--drop-not-null", "nosuch"], &["nosuch"]),
        (&["changes", "t", "--from", "3"], &["no changes from version 3 to 1"]),
        (&["changes", "t", "--from", "0", "--to", "9"], &["no version 9"]),
        (&["write", "t", "--input", "rows.csv", "--replace-where", "id = 1"], &["an append replaces no rows"]),
        (
            &["write", "t", "--input", "rows.csv", "--mode", "overwrite", "--replace-where", "id = 1"],
            &["the rows cannot be written"],
        ),
        (
            &["write", "t", "--input", "rows.csv", "--schema-mode", "overwrite"],
            &["replaced only together with all its rows"],
        ),
        (
            &["write", "x", "--input", "rows.csv", "--location", "x", "--schema-mode", "merge"],
            &["the table default.x does not exist", "omit --replace-where and --schema-mode"],
        ),
        (&["write", "./x", "--input", "rows.csv"], &["\"./x\" is not a table name"]),
        (
            &["create", "x", "--location", "x", "--schema", "id long", "--property", "x"],
            &["invalid property \"x\"", "KEY=VALUE"],
        ),
    ];
    for (args, says) in cases {
        check(place.dl(args), 1, says);
    }
    let usage: &[&[&str]] = &[
        &["delete", "t"],
        &["delete", "t", "--all", "--where", "id = 1"],
        &["update", "t", "--set", "n = 1"],
        &["restore", "t"],
        &["restore", "t", "--version", "1", "--timestamp", "2024-01-01"],
        &["alter", "t"],
        &["changes", "t"],
    ];
    for args in usage {
        assert_eq!(place.dl(args).code, Some(2), "{args:?}");
    }
    std::fs::remove_file(place.path("none.csv")).unwrap();
    let after = (place.content(), place.dl(&["snapshot", "t", "--format", "json"]).good());
    assert_eq!(after, before, "nothing has changed, and no data file is left behind");
}

#[test]
fn settings_before_and_after_the_command_are_combined() {
    let place = filled();
    // A column with the name of a setting is quoted.
    place.dl(&["alter", "t", "--add-column", "durability string"]).good();
    let before = ["--set", "mirror.mode=background", "update", "t", "--all", "--set", "\"durability\" = 'x'"];
    place.dl(&[&before[..], &["--set", "durability=catalog", "--set", "n = 1"]].concat()).good();
    let status = place.dl(&["mirror", "status", "--format", "json"]).json();
    assert_eq!(status[0]["behind"], 1);
    let read = place.dl(&["read", "t", "--columns", "n,durability", "--limit", "1", "--format", "csv"]).good();
    assert_eq!(read, "n,durability\n1.0,x\n");
    let two = ["--set", "mirror.mode=background", "delete", "t", "--all", "--set", "concurrency.retries=0"];
    place.dl(&two).good();
    assert_eq!(place.dl(&["mirror", "status", "--format", "json"]).json()[0]["behind"], 2);
}

#[test]
fn a_table_is_found_by_its_location() {
    let place = filled();
    let absolute = place.path("t").to_string_lossy().into_owned();
    let url = format!("file://{absolute}/");
    for (version, name) in (2..).zip(["./t", absolute.as_str(), url.as_str()]) {
        let sentence = format!("3 rows were updated in default.t, now at version {version}");
        says(&place, &["update", name, "--all", "--set", "n = n + 1"], &sentence);
    }
    says(&place, &["write", "./t", "--input", "rows.csv"], "default.t is at version 5");
    assert!(place.dl(&["show", &url]).good().starts_with("default.t at "));
    assert_eq!(place.dl(&["history", &absolute, "--format", "json"]).json().as_array().unwrap().len(), 6);
}

#[test]
fn concurrent_updates_of_a_row_are_applied_or_exit_with_4() {
    let place = filled();
    let update = ["update", "t", "--set", "n = n + 1", "--where", "id = 1"];
    let ran: Vec<_> = thread::scope(|scope| {
        let started: Vec<_> = (0..4).map(|_| scope.spawn(|| place.dl(&update))).collect();
        started.into_iter().map(|s| s.join().unwrap()).collect()
    });
    let done = ran.iter().filter(|r| r.code == Some(0)).count();
    for lost in ran.into_iter().filter(|r| r.code != Some(0)) {
        check(lost, 4, &["of default.t (UPDATE)", "read the table again and retry"]);
    }
    assert!(done >= 1);
    assert_eq!(rows(&place)[0], format!("1,a,{}.0", 1 + done));
}
