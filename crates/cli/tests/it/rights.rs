//! `dl` shows no secrets, and does not print control characters written by others.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use crate::bad_input::check;
use crate::test_folder::{Ran, TestFolder};

/// Asserts that the output contains this, and not the secret.
fn says(ran: Ran, code: i32, what: &[&str]) {
    assert!(!ran.err.to_lowercase().contains("secret") && !ran.out.to_lowercase().contains("secret"), "{ran:?}");
    check(ran, code, what);
}

#[test]
fn a_password_in_a_uri_is_never_repeated() {
    let place = TestFolder::with_events();
    for uri in [
        "postgres://etl:secret@db/lake",
        "deltasql://postgres/etl:secret@db/lake",
        "deltasql://etl:secret@db/lake",
        "deltasql://postgres/lake?host=db&password=secret",
        "deltasql://postgres/lake?host=db&sslpassword=secret",
    ] {
        says(place.dl(&["--catalog", uri, "tables"]), 1, &["invalid", "in the catalog URI"]);
        says(place.dl(&["copy-catalog", "--to", uri]), 1, &["invalid", "in the catalog URI"]);
        let setting = format!("catalog={uri}");
        let mut by_setting = place.command(&["--set", &setting, "tables"]);
        says(Ran::of(by_setting.env_remove("DELTALAKEDB_CATALOG").output().unwrap()), 1, &["in the catalog URI"]);
        let help = place.command(&["--help"]).env("DELTALAKEDB_CATALOG", uri).output().unwrap();
        let help = Ran::of(help);
        assert!(help.out.contains("DELTALAKEDB_CATALOG") && !help.out.contains("secret"), "{help:?}");
    }
    for location in ["s3://AKIA:secret@bucket/t", "s3://secret@bucket/t", "nosuch://h/t?sig=secret"] {
        says(place.dl(&["import", location, "--as", "x"]), 1, &["is not a location"]);
        says(place.dl(&["read", location]), 1, &["is not a location"]);
        says(place.dl(&["create", "x", "--location", location, "--schema", "id long"]), 1, &["is not a location"]);
    }
    assert!(!place.dl(&["tables"]).good().contains("secret"));
}

#[test]
fn a_new_catalog_is_private_by_default() {
    for (args, expected) in [(&["init"][..], 0o600), (&["--set", "sql.file_mode=0660", "init"], 0o660)] {
        let place = TestFolder::new();
        place.dl(args).good();
        assert_eq!(place.path("meta.db").metadata().unwrap().permissions().mode() & 0o777, expected);
    }
    check(TestFolder::new().dl(&["--set", "sql.file_mode=0400", "init"]), 1, &["sql.file_mode=0400", "0600"]);
}

#[test]
fn control_characters_in_values_are_escaped_on_a_terminal() {
    let place = TestFolder::new();
    place.write("rows.ndjson", "{\"id\":1,\"day\":\"\\u001b]0;title\\u0007\\u009b31m\\ttab\"}\n");
    place.dl(&["write", "t", "--input", "rows.ndjson", "--location", "t"]).good();
    let out = place.dl(&["read", "t"]).good();
    assert!(!out.contains(|c: char| c.is_control() && c != '\n'), "{out:?}");
    assert!(out.contains("\\u{1b}]0;title\\u{7}\\u{9b}31m tab"), "{out:?}");
    let json = place.dl(&["read", "t", "--format", "json"]).json();
    assert_eq!(json[0]["day"], "\u{1b}]0;title\u{7}\u{9b}31m\ttab", "programs get the value");
    let name = "\u{1b}]0;title\u{7}";
    check(place.dl(&["create", name, "--location", "x", "--schema", "id long"]), 1, &["is not a table name"]);
    check(place.dl(&["import", "t", "--as", name]), 1, &["is not a table name"]);
}

#[test]
fn a_folder_that_was_moved_and_linked_is_not_registered_twice() {
    let place = TestFolder::with_events();
    std::fs::rename(place.path("events"), place.path("moved")).unwrap();
    std::os::unix::fs::symlink("moved", place.path("events")).unwrap();
    for path in ["events", "moved"] {
        check(
            place.dl(&["import", &format!("./{path}"), "--as", "again"]),
            1,
            &["is the location of the table default.events"],
        );
    }
    check(
        place.dl(&["create", "x", "--location", "moved/x", "--schema", "id long"]),
        1,
        &["inside the table default.events"],
    );
    assert_eq!(place.dl(&["sql", "--format", "csv", "SELECT count(*) AS n FROM events"]).good(), "n\n33\n");
}

#[test]
fn files_below_allowed_paths_are_accepted() {
    let place = TestFolder::with_events();
    place.copy_events("other");
    // The log of a shallow clone names the files of another table.
    let log = place.path("other/_delta_log/00000000000000000001.json");
    let text = std::fs::read_to_string(&log).unwrap();
    let outside = place.path("events").canonicalize().unwrap();
    let named = text.replacen("\"path\":\"", &format!("\"path\":\"file://{}/", outside.display()), 1);
    assert!(text != named, "a file is named");
    std::fs::write(&log, named).unwrap();
    let import = ["import", "other", "--as", "other"];
    let strict = |allowed: &str| place.dl(&[&["--set", &format!("paths.allowed={allowed}")][..], &import].concat());
    check(strict(""), 1, &["outside of its folder", "paths.allowed"]);
    check(strict("/data,s3://bucket"), 1, &["outside of its folder", "paths.allowed"]);
    strict(&format!("/data,{}", outside.display())).good();
    let trusting = TestFolder::new();
    trusting.dl(&["import", place.path("other").to_str().unwrap(), "--as", "other"]).good();
}

#[test]
fn arguments_that_are_not_utf_8_are_refused() {
    let place = TestFolder::with_events();
    let odd = OsStr::from_bytes(b"latin-\xe9");
    let before = place.content();
    let mut arguments: Vec<std::process::Command> = Vec::new();
    for args in [&["tables"][..], &["read", "events"], &["--set"], &["read", "events", "--where"], &["sql"]] {
        let mut command = place.command(args);
        command.arg(odd);
        arguments.push(command);
    }
    for variable in ["DELTALAKEDB_CATALOG", "DELTALAKEDB_CONFIG"] {
        let mut command = place.command(&["tables"]);
        command.env(variable, odd);
        arguments.push(command);
    }
    for mut command in arguments {
        let ran = command.output().unwrap();
        let error = String::from_utf8_lossy(&ran.stderr);
        assert!(matches!(ran.status.code(), Some(1 | 2)) && !error.contains("panicked"), "{command:?}: {error}");
        assert!(!error.is_empty(), "{command:?}");
    }
    // Unrelated variables may have any value.
    let mut command = place.command(&["read", "events", "--limit", "1"]);
    let ran = Ran::of(command.env("LESS_TERMCAP_xx", odd).env("RUST_LOG", odd).env("PGPORT", odd).output().unwrap());
    ran.good();
    assert_eq!(place.content(), before);
}
