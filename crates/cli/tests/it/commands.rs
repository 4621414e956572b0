//! The output of commands, compared with what they did.

use serde_json::{Value, json};

use crate::test_folder::{Ran, TestFolder};

#[test]
fn everything_answers_the_same_without_the_delta_log() {
    let place = TestFolder::with_events();
    let ask = || {
        let commands: [&[&str]; 8] = [
            &["show", "events", "--format", "json"],
            &["files", "events", "--format", "json"],
            &["files", "events", "--where", "id = 5", "--format", "json"],
            &["snapshot", "events", "--format", "json"],
            &["snapshot", "events", "--version", "5", "--format", "json"],
            &["read", "events", "--format", "json", "--where", "id >= 0"],
            &["read", "events", "--version", "3", "--format", "csv"],
            &["history", "events", "--format", "json"],
        ];
        commands.map(|c| {
            let mut lines: Vec<_> = place
                .dl(c)
                .good()
                .lines()
                .map(|l| l.trim_end_matches([',', ']']).trim_start_matches(['[', ' ']).to_string())
                .collect();
            lines.sort();
            lines
        })
    };
    let before = ask();
    std::fs::rename(place.path("events/_delta_log"), place.path("moved")).unwrap();
    assert_eq!(ask(), before);
}

#[test]
fn an_import_changes_no_file_and_a_second_one_continues() {
    let place = TestFolder::new();
    place.copy_events("events");
    let before = place.content();
    let first = place.dl(&["import", "events", "--as", "sales.events", "--format", "json"]).json();
    assert_eq!((&first["version"], &first["versionsImported"]), (&json!(13), &json!(14)));
    place.dl(&["mirror", "run"]).good();
    assert_eq!(place.content(), before, "the table is as it was, byte for byte");
    let again = place.dl(&["import", "events", "--as", "sales.events", "--format", "json"]).json();
    assert_eq!(again["versionsImported"], 0);
    // Another writer appends: the next import loads its commit.
    std::fs::write(
        place.path("events/_delta_log/00000000000000000014.json"),
        "{\"commitInfo\":{\"operation\":\"X\"}}\n",
    )
    .unwrap();
    let found = place.dl(&["verify", "sales.events"]);
    assert_eq!(found.code, Some(3), "{found:?}");
    assert!(found.out.contains("00000000000000000014.json") && found.out.contains("dl import"), "{found:?}");
    let more = place.dl(&["import", "events", "--as", "sales.events", "--format", "json"]).json();
    assert_eq!((&more["version"], &more["versionsImported"]), (&json!(14), &json!(1)));
    place.dl(&["verify", "--all"]).good();
}

#[test]
fn a_text_with_a_dot_is_a_name_or_else_a_location() {
    let place = TestFolder::new();
    place.copy_events("events.delta");
    place.dl(&["import", "events.delta", "--as", "sales.events"]).good();
    let name_of = |text: &str| place.dl(&["show", text, "--json"]).json()["name"].clone();
    for text in ["events.delta", "./events.delta", "sales.events"] {
        assert_eq!(name_of(text), "sales.events", "{text}");
    }
    // A name of the catalog is before a folder.
    place.copy_events("another");
    place.dl(&["import", "another", "--as", "events.delta"]).good();
    assert_eq!(name_of("events.delta"), "events.delta");
    assert_eq!(name_of("./events.delta"), "sales.events");
}

#[test]
fn a_foreign_commit_stops_publishing_and_is_not_overwritten() {
    let place = TestFolder::with_events();
    let foreign = place.path("events/_delta_log/00000000000000000014.json");
    let theirs = "{\"commitInfo\":{\"operation\":\"WRITE\",\"engineInfo\":\"another\"}}\n";
    std::fs::write(&foreign, theirs).unwrap();
    place.write("more.ndjson", "{\"id\":500,\"day\":\"2024-01-09\"}\n");
    let says = |ran: &Ran, next: &str| {
        let all = format!("{}{}", ran.out, ran.err);
        for part in ["version 14", "00000000000000000014.json", "another", next] {
            assert!(all.contains(part), "{part}: {ran:?}");
        }
    };
    let before = place.content();
    let write = place.dl(&["write", "events", "--input", "more.ndjson"]);
    assert_eq!(write.code, Some(1), "the catalog is behind: {write:?}");
    says(&write, "dl import default.events");
    assert_eq!(place.content(), before, "nothing is written");
    let run = place.dl(&["mirror", "run"]);
    assert_eq!(run.code, Some(1));
    says(&run, "dl verify default.events");
    assert_eq!(run.err, "error: 1 of 1 tables could not be published\n", "the failure itself is in the table");
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), theirs);
    let again = place.dl(&["write", "events", "--input", "more.ndjson"]);
    assert_eq!(again.code, Some(1), "a diverged table takes no commits: {again:?}");
    assert_eq!(place.dl(&["mirror", "status", "--check"]).code, Some(3));
    let found = place.dl(&["verify", "events"]);
    assert_eq!(found.code, Some(3), "{found:?}");
    assert!(found.out.contains("00000000000000000014.json") && found.out.contains("dl import"), "{found:?}");
    place.dl(&["import", "events", "--as", "events"]).good();
    place.dl(&["write", "events", "--input", "more.ndjson"]).good();
    place.dl(&["verify", "events"]).good();
}

#[test]
fn values_have_one_form_in_json_and_csv() {
    let place = TestFolder::new();
    let schema = "i long, f double, d decimal(10,2), s string, b boolean, day date, at timestamp, n timestamp_ntz";
    place.dl(&["create", "v", "--location", "v", "--schema", schema]).good();
    let row = json!({"i": 9_007_199_254_740_993_i64, "f": 0.5, "d": "1.10", "s": "a,\"b\"\nc", "b": true, "day": "2024-01-02",
        "at": "2024-01-02T03:04:05.000006Z", "n": "2024-01-02T03:04:05.000006"});
    place.write("row.ndjson", &format!("{row}\n{{}}\n"));
    place.dl(&["write", "v", "--input", "row.ndjson"]).good();
    let rows = place.dl(&["read", "v", "--where", "i > 0", "--format", "json"]).json();
    assert_eq!(rows, json!([row]));
    let nulls = place.dl(&["read", "v", "--where", "i is null", "--columns", "i,s", "--format", "json"]).json();
    assert_eq!(nulls, json!([{"i": Value::Null, "s": Value::Null}]));
    let csv = place.dl(&["read", "v", "--where", "i > 0", "--columns", "d,s", "--format", "csv"]).good();
    assert_eq!(csv, "d,s\n1.10,\"a,\"\"b\"\"\nc\"\n");
    let none = place.dl(&["read", "v", "--where", "i = 0", "--format", "json"]).json();
    assert_eq!(none, json!([]));
    assert_eq!(place.dl(&["read", "v", "--where", "i = 0", "--columns", "d,s", "--format", "csv"]).good(), "d,s\n");
}

#[test]
fn a_snapshot_is_in_the_spelling_of_the_log() {
    let place = TestFolder::with_events();
    let s = place.dl(&["snapshot", "events", "--format", "json"]).json();
    let keys: Vec<_> = s.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["version", "timestamp", "protocol", "metadata", "files", "txns", "domains"]);
    assert_eq!(s["version"], 13);
    assert!(s["metadata"]["schemaString"].is_string() && s["metadata"]["partitionColumns"] == json!(["day"]));
    let paths: Vec<_> = s["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert!(paths.is_sorted() && paths.iter().any(|p| p.contains("%2520")), "{paths:?}");
    let first = s["files"][0].as_object().unwrap();
    assert!(first.values().all(|v| !v.is_null()) && !first.contains_key("dataChange"), "{first:?}");
    assert!(!s["txns"].as_object().unwrap().is_empty());
}

#[test]
fn a_table_is_created_with_rows() {
    let place = TestFolder::new();
    place.write("rows.csv", "id,day\n1,2024-01-01\n2,\n");
    place.dl(&["--set", "warehouse=lake", "write", "sales.new", "--input", "rows.csv", "--partition-by", "day"]).good();
    assert!(place.path("lake/sales/new/_delta_log/00000000000000000000.json").exists());
    assert_eq!(place.dl(&["read", "sales.new", "--format", "json"]).json().as_array().unwrap().len(), 2);
    place.dl(&["write", "sales.new", "--input", "rows.csv", "--mode", "ignore"]).good();
    place.dl(&["write", "sales.new", "--input", "rows.csv", "--mode", "overwrite"]).good();
    assert_eq!(place.dl(&["read", "sales.new", "--format", "json"]).json().as_array().unwrap().len(), 2);
    place.dl(&["verify", "--all", "--every-version", "--data"]).good();
}

#[test]
fn appending_no_rows_makes_no_version_and_overwriting_empties_the_table() {
    let place = TestFolder::with_events();
    place.write("none.csv", "id,day\n");
    let append = place.dl(&["write", "events", "--input", "none.csv"]).good();
    assert!(append.contains("nothing was written"), "{append}");
    let version = || place.dl(&["show", "events", "--format", "json"]).json()["version"].clone();
    assert_eq!(version(), 13);
    place.dl(&["write", "events", "--input", "none.csv", "--mode", "overwrite"]).good();
    assert_eq!(version(), 14);
    assert_eq!(place.dl(&["read", "events", "--format", "json"]).json(), json!([]));
}

#[test]
fn the_types_of_a_new_table_are_inferred_from_csv() {
    let place = TestFolder::new();
    place.write(
        "t.csv",
        "z,o,n,m,s,d,v\n\
         2024-01-02T03:04:05Z,2024-01-02T03:04:05+01:00,2024-01-02 03:04:05,2024-01-02T03:04:05Z,a,2024-01-02,\n\
         ,2024-01-02T03:04:05.5-01:00,2024-01-02 03:04:05,2024-01-02T03:04:05,b,2024-01-02,\n",
    );
    place.dl(&["write", "t", "--location", "t", "--input", "t.csv"]).good();
    let shown = place.dl(&["show", "t", "--format", "json"]).json();
    let schema: Value = serde_json::from_str(shown["metadata"]["schemaString"].as_str().unwrap()).unwrap();
    let types: Vec<_> = schema["fields"].as_array().unwrap().iter().map(|f| f["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["timestamp", "timestamp", "timestamp_ntz", "timestamp_ntz", "string", "date", "string"]);
    let rows = place.dl(&["read", "t", "--where", "s = 'a'", "--columns", "z,o,n", "--format", "json"]).json();
    let want = json!([{"z": "2024-01-02T03:04:05.000000Z", "o": "2024-01-02T02:04:05.000000Z", "n": "2024-01-02T03:04:05.000000"}]);
    assert_eq!(rows, want);
}

#[test]
fn an_explanation_shows_the_predicate_as_sql() {
    let place = TestFolder::with_events();
    let ran = place.dl(&["files", "events", "--where", "id < 2 and day = 'x'", "--explain"]);
    assert!(ran.err.ends_with("0 kept; predicate: id < 2 AND day = 'x'\n"), "{ran:?}");
}

#[test]
fn quiet_keeps_results_and_errors() {
    let place = TestFolder::new();
    let quiet = |args: &[&str]| place.dl(&[args, &["-q"]].concat()).good();
    place.copy_events("events");
    place.write("row.ndjson", "{\"id\":1,\"day\":\"x\"}\n");
    assert_eq!(quiet(&["init"]), "");
    assert_eq!(quiet(&["import", "events", "--as", "events"]), "");
    assert_eq!(quiet(&["write", "events", "--input", "row.ndjson"]), "");
    assert_eq!(quiet(&["create", "t", "--location", "t", "--schema", "id long"]), "");
    assert!(quiet(&["tables"]).contains("default.events"));
}

#[test]
fn an_import_by_name_loads_foreign_commits() {
    let place = TestFolder::with_events();
    let next = place.path("events/_delta_log/00000000000000000014.json");
    std::fs::write(next, "{\"commitInfo\":{\"operation\":\"X\"}}\n").unwrap();
    std::fs::create_dir(place.path("elsewhere")).unwrap();
    let mut elsewhere = place.command(&["--catalog", "deltasql://sqlite/../meta.db", "import", "default.events"]);
    let ran = Ran::of(elsewhere.current_dir(place.path("elsewhere")).output().unwrap());
    assert_eq!(ran.good(), "imported default.events: 1 version, now at version 14\n");
}

#[test]
fn verify_finds_what_could_not_be_published() {
    let place = TestFolder::with_events();
    place.write("more.ndjson", "{\"id\":500,\"day\":\"2024-01-09\"}\n");
    let (log, away) = (place.path("events/_delta_log"), place.path("away"));
    std::fs::rename(&log, &away).unwrap();
    std::fs::write(&log, "no folder").unwrap();
    place.dl(&["write", "events", "--input", "more.ndjson"]).good();
    let check = place.dl(&["mirror", "status", "--check"]);
    assert_eq!(check.code, Some(3), "{check:?}");
    assert!(check.err.contains("default.events could not be published"), "{check:?}");
    std::fs::remove_file(&log).unwrap();
    std::fs::rename(&away, &log).unwrap();
    place.dl(&["mirror", "run"]).good();
    place.dl(&["mirror", "status", "--check"]).good();
}

#[test]
fn background_mode_leaves_publishing_to_mirror_run() {
    let place = TestFolder::with_events();
    place.write("more.ndjson", "{\"id\":500,\"day\":\"2024-01-09\"}\n");
    place.dl(&["--set", "mirror.mode=background", "write", "events", "--input", "more.ndjson"]).good();
    let status = place.dl(&["mirror", "status", "--format", "json"]).json();
    assert_eq!((&status[0]["behind"], &status[0]["publishedVersion"]), (&json!(1), &json!(13)));
    assert_eq!(place.dl(&["verify", "events"]).code, Some(3));
    let check = place.dl(&["--set", "mirror.lag_alert=0ms", "mirror", "status", "--check"]);
    assert_eq!(check.code, Some(3), "{check:?}");
    place.dl(&["mirror", "run"]).good();
    place.dl(&["--set", "mirror.lag_alert=0ms", "mirror", "status", "--check"]).good();
    place.dl(&["verify", "events"]).good();
}

#[test]
fn the_tour_runs() {
    let place = TestFolder::new();
    let out = place.dl(&["demo"]).good();
    assert!(out.contains("20 versions of 3 tables are identical"), "{out}");
    let steps = place.dl(&["demo", "--format", "json"]).json();
    assert_eq!(steps[0]["step"], "create a catalog and import a table that delta-rs wrote");
    assert!(steps.as_array().unwrap().iter().all(|s| s["milliseconds"].is_number()), "{steps}");
}

#[test]
fn a_closed_sqlite_catalog_is_one_file() {
    let place = TestFolder::with_events();
    for args in [&["read", "events", "--limit", "1"][..], &["tables"], &["read", "nosuch"], &["verify"]] {
        place.dl(args);
        assert!(!place.path("meta.db-wal").exists(), "after {args:?} a copy of meta.db is a copy of the catalog");
    }
}
