//! `--dry-run` describes a change and makes none.

use serde_json::json;

use crate::test_folder::TestFolder;

#[test]
fn a_dry_run_changes_nothing() {
    let place = TestFolder::with_events();
    place.write("row.ndjson", "{\"id\":5,\"day\":\"2024-01-09\"}\n");
    let before = (place.content(), place.dl(&["snapshot", "events", "--json"]).good());
    let check = |args: &[&str], says: &[&str]| {
        let said = place.dl(&[args, &["--dry-run"]].concat()).good();
        says.iter().for_each(|part| assert!(said.contains(part), "{part:?} is not in the answer to {args:?}: {said}"));
        let after = (place.content(), place.dl(&["snapshot", "events", "--json"]).good());
        assert!(before == after, "{args:?} has changed the table");
    };
    let changes = ["would be removed and", "nothing was committed"];
    check(&["delete", "events", "--where", "id = 5"], &changes);
    check(&["delete", "events", "--where", "id = -5"], &["0 files would be removed and 0 files added"]);
    check(&["update", "events", "--set", "amount = 0", "--where", "id = 5"], &changes);
    let merge = ["merge", "events", "--source", "row.ndjson", "--on", "target.id = source.id"];
    check(&[&merge[..], &["--matched-delete"]].concat(), &changes);
    check(&["optimize", "events"], &changes);
    check(&["optimize", "events", "--purge"], &changes);
    check(&["restore", "events", "--version", "3"], &changes);
    check(&["write", "events", "--input", "row.ndjson", "--mode", "overwrite"], &changes);
    let new = ["write", "new", "--location", "new", "--input", "row.ndjson"];
    check(&new, &["default.new would be created at", "nothing was written"]);
    let taken = place.dl(&["write", "new", "--location", "events", "--input", "row.ndjson", "--dry-run"]);
    assert!(taken.code == Some(1) && taken.err.contains("as default.events"), "{taken:?}");
    check(&["drop", "events"], &["default.events would be dropped", "would stay", "nothing was done"]);
    check(&["drop", "events", "--delete-files"], &["would be deleted permanently", "nothing was done"]);
    check(&["detach", "events"], &["would be removed from the catalog", "nothing was done"]);
    assert_eq!(place.dl(&["tables", "--json"]).json().as_array().unwrap().len(), 1, "no table was made or dropped");
}

#[test]
fn a_dry_run_is_described_to_programs() {
    let place = TestFolder::with_events();
    let described = place.dl(&["delete", "events", "--all", "--dry-run", "--json"]).json();
    let files = place.dl(&["show", "events", "--json"]).json()["files"].clone();
    assert_eq!((&described["committed"], &described["dryRun"]), (&json!(false), &json!(true)), "{described}");
    assert_eq!(
        (&described["version"], &described["metrics"]["num_removed_files"]),
        (&json!(13), &files),
        "{described}"
    );
    assert!(described["metrics"]["num_removed_bytes"].as_u64().unwrap() > 0, "{described}");
    for args in [
        &["drop", "events"][..],
        &["vacuum", "events", "--retain", "0s", "--force"],
        &["expire", "events", "--keep", "0s"],
        &["repair", "events"],
    ] {
        let described = place.dl(&[args, &["--dry-run", "--json"]].concat()).json();
        assert_eq!(described["dryRun"], true, "{args:?}: {described}");
    }
    let all = place.dl(&["expire", "--all", "--keep", "0s", "--dry-run", "--json"]).json();
    assert_eq!((&all[0]["name"], &all[0]["dryRun"]), (&json!("default.events"), &json!(true)), "{all}");
    for args in [&["repair", "events"][..], &["expire", "events"], &["vacuum", "events"]] {
        let done = place.dl(&[args, &["--json"]].concat()).json();
        assert!(done.get("dryRun").is_none(), "{args:?}: {done}");
    }
}

#[test]
fn a_dry_run_creates_no_catalog() {
    let place = TestFolder::new();
    place.write("row.ndjson", "{\"id\":5}\n");
    let ran = place.dl(&["write", "new", "--location", "new", "--input", "row.ndjson", "--dry-run"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("there is no catalog") && !place.path("meta.db").exists(), "{ran:?}");
}

#[test]
fn reading_creates_no_catalog() {
    let place = TestFolder::new();
    place.copy_events("events");
    let commands: [&[&str]; 12] = [
        &["tables"],
        &["show", "events"],
        &["history", "events"],
        &["files", "events"],
        &["snapshot", "events"],
        &["read", "./events"],
        &["changes", "events", "--from", "0"],
        &["sql", "SELECT 1"],
        &["mirror", "status"],
        &["verify", "--all"],
        &["vacuum", "events", "--dry-run"],
        &["expire", "--all", "--dry-run"],
    ];
    let before = place.content();
    for command in commands {
        let ran = place.dl(command);
        assert_eq!(ran.code, Some(1), "{command:?}: {ran:?}");
        assert!(ran.err.contains("there is no catalog") && !place.path("meta.db").exists(), "{command:?}: {ran:?}");
    }
    assert_eq!(place.content(), before);
}
