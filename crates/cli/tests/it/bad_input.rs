//! Bad input gets one clear sentence, and changes nothing.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::test_folder::{Ran, TestFolder};

/// Asserts that the run fails with that code and that its one line contains all of these texts.
pub(crate) fn check(ran: Ran, code: i32, says: &[&str]) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    let lines: Vec<_> = ran.err.lines().collect();
    assert_eq!(lines.len(), 1, "one sentence: {ran:?}");
    assert!(!lines[0].contains("panicked"), "{ran:?}");
    for part in says {
        assert!(lines[0].contains(part), "{part:?} is not in {:?}", lines[0]);
    }
    for noise in [
        "Arrow error",
        "External error",
        "Parser error",
        "Json error",
        "ParserError(",
        "SQL error",
        "Generic delta kernel",
        "Generic DeltaTable",
    ] {
        assert!(!lines[0].contains(noise), "{noise:?} is in {:?}", lines[0]);
    }
}

#[test]
fn wrong_arguments_are_answered_with_a_correction() {
    let place = TestFolder::with_events();
    let before = (place.content(), place.dl(&["snapshot", "events", "--format", "json"]).good());
    let cases: &[(&[&str], &[&str])] = &[
        (&["show", "event"], &["no table default.event", "did you mean default.events?"]),
        (&["show", "a.b.c"], &["\"a.b.c\" is not a table name", "sales.orders"]),
        (&["read", "events", "--version", "14"], &["no version 14", "newest is 13"]),
        (&["read", "events", "--timestamp", "soon"], &["\"soon\" is not a time", "2024-01-31T12:00:00Z"]),
        (&["read", "events", "--timestamp", "1999-01-01"], &["1999-01-01", "oldest version that is retained is 0"]),
        (&["history", "events", "--since", "x"], &["\"x\" is not a time"]),
        (&["read", "events", "--where", "nosuch = 1"], &["nosuch", "id, kind, amount, price, at, day"]),
        (&["read", "events", "--where", "day ="], &["invalid filter \"day =\": Expected: an expression"]),
        (&["read", "events", "--where", "id = 'x'"], &["invalid filter \"id = 'x'\": Cannot cast string 'x'"]),
        (&["read", "events", "--where", "coz(id) = 1"], &["Invalid function 'coz'. Did you mean"]),
        (&["files", "events", "--where", "nosuch = 1"], &["nosuch"]),
        (&["read", "events", "--columns", "id,nosuch"], &["no column \"nosuch\"", "id, kind, amount"]),
        (&["--catalog", "postgres://x", "tables"], &["scheme", "deltasql://postgres/mydb/public"]),
        (&["--catalog", "deltasql://sqlite/none.db", "tables"], &["there is no catalog", "dl init"]),
        (&["--catalog", "deltasql://sqlite/no/such/dir.db", "init"], &["needs the folder", "no/such"]),
        (&["--set", "nosuch=1", "tables"], &["\"nosuch\"", "unknown setting"]),
        (&["mirror", "run", "--watch", "--metrics", "9184"], &["metrics cannot be served at 9184", "HOST:PORT"]),
        (&["--set", "sql.schema=error", "--catalog", "deltasql://sqlite/none.db", "init"], &["there is no catalog"]),
        (&["--config", "none.toml", "tables"], &["none.toml cannot be read"]),
        (&["import", "nowhere", "--as", "x"], &["nowhere", "is not a Delta table"]),
        (&["import", "nosuch://bucket/x", "--as", "x"], &["nosuch://bucket/x", "is not a location"]),
        (&["import", "events", "--as", "other"], &["is in the catalog already, as default.events"]),
        (&["create", "events", "--location", "x", "--schema", "id long"], &["there is a table default.events already"]),
        (
            &["create", "x", "--location", "events", "--schema", "id long"],
            &["in the catalog already, as default.events"],
        ),
        (&["create", "x", "--location", "x", "--schema", "id lonk"], &["lonk", "long"]),
        (&["create", "x", "--location", "x", "--schema", "id long", "--partition-by", "day"], &["\"day\"", "id"]),
        (&["create", "x", "--schema", "id long"], &["needs a location", "--location", "warehouse"]),
        (&["write", "events", "--input", "none.csv"], &["none.csv cannot be opened"]),
        (&["write", "events", "--input", "none.xyz"], &["--input-format csv, ndjson or parquet"]),
        (&["write", "evnets", "--input", "none.csv"], &["did you mean default.events?", "--location"]),
        (&["write", "newt", "--input", "none.csv"], &["no table default.newt", "`dl tables`", "--location"]),
        (&["--catalog", "deltasql://sqlite/meta.db?table=events", "tables"], &["default.events", "as NAME"]),
        (
            &["create", "sub", "--schema", "id long", "--location", "events/sub"],
            &["events/sub is inside the table default.events"],
        ),
        (&["create", "outer", "--schema", "id long", "--location", "."], &["the table default.events is inside"]),
        (&["demo", "--keep", "events"], &["the folder events is not empty"]),
        (&["verify", "nosuch"], &["no table default.nosuch"]),
    ];
    for (args, says) in cases {
        check(place.dl(args), 1, says);
    }
    assert_eq!(place.dl(&["nosuch"]).code, Some(2));
    assert_eq!(place.dl(&["read", "events", "--version", "1", "--timestamp", "2024-01-01"]).code, Some(2));
    let after = (place.content(), place.dl(&["snapshot", "events", "--format", "json"]).good());
    assert_eq!(after, before, "nothing has changed");
    assert!(!place.path("none.db").exists(), "asking makes no catalog");
    let none = place.command(&["tables"]).env_remove("DELTALAKEDB_CATALOG").output().unwrap();
    check(Ran::of(none), 1, &["no catalog is given", "DELTALAKEDB_CATALOG"]);
}

#[test]
fn an_incompatible_write_names_the_column_and_both_types() {
    let place = TestFolder::with_events();
    let before = (place.content(), place.dl(&["snapshot", "events", "--format", "json"]).good());
    let cases: &[(&str, &str, &[&str])] = &[
        ("extra.ndjson", "{\"id\":1,\"day\":\"x\",\"nosuch\":1}\n", &["extra.ndjson", "nosuch"]),
        ("extra.csv", "id,nosuch\n1,2\n", &["extra.csv has a column \"nosuch\"", "id, kind"]),
        ("text.csv", "id,day\n1,\"a\nb\"\nabc,x\n", &["text.csv", "line 4", "column \"id\"", "\"abc\"", "long"]),
        ("price.csv", "id,price\n1,9.99\n2,much\n", &["price.csv", "line 3", "column \"price\"", "decimal(10,2)"]),
        ("at.csv", "id,at\n1,soon\n", &["at.csv", "line 2", "column \"at\"", "timestamp"]),
        ("type.ndjson", "{\"id\":\"abc\",\"day\":\"x\"}\n", &["type.ndjson", "id"]),
        (
            "half.ndjson",
            "{\"id\":1,\"day\":\"x\"}\n{\"id\":1.5,\"day\":\"x\"}\n",
            &["half.ndjson: line 2: \"1.5\" is not a valid long", "\"id\""],
        ),
        (
            "large.ndjson",
            "{\"id\":9223372036854775808,\"day\":\"x\"}\n",
            &["line 1: \"9223372036854775808\" is not a valid long"],
        ),
        ("cents.ndjson", "{\"id\":1,\"price\":9.999}\n", &["line 1: \"9.999\" is not a valid decimal", "\"price\""]),
        ("cents.csv", "id,price\n1,9.990\n1,9.999\n", &["line 3: \"9.999\" is not a valid decimal", "\"price\""]),
        ("broken.ndjson", "{\"id\":1\n", &["broken.ndjson"]),
        ("null.csv", "id,day\n1,x\n,x\n", &["column \"id\" of the table does not allow null", "row 2"]),
        ("null.ndjson", "{\"id\":null}\n", &["column \"id\" of the table does not allow null", "row 1"]),
        ("absent.ndjson", "{\"day\":\"x\"}\n", &["column \"id\" of the table does not allow null"]),
        ("missing.csv", "day\nx\n", &["id"]),
        ("not.parquet", "this is no parquet", &["not.parquet cannot be read as Parquet"]),
    ];
    let inputs = TestFolder::new();
    for (file, text, says) in cases {
        inputs.write(file, text);
        check(place.dl(&["write", "events", "--input", inputs.path(file).to_str().unwrap()]), 1, says);
    }
    // A Parquet file has its own types.
    let check_parquet = |name: &str, csv: &str, says: &[&str]| {
        let file = format!("{name}.csv");
        inputs.write(&file, csv);
        inputs.dl(&["write", name, "--location", name, "--input", &file]).good();
        let mut files = std::fs::read_dir(inputs.path(name)).unwrap().map(|e| e.unwrap().path());
        let parquet = files.find(|p| p.extension().is_some_and(|e| e == "parquet")).unwrap();
        check(place.dl(&["write", "events", "--input", parquet.to_str().unwrap()]), 1, says);
    };
    check_parquet("typed", "id,day\nx,2024-01-01\n", &["column", "id", "string", "long"]);
    check_parquet("nulls", "id,day\n1,x\n,x\n", &["column \"id\" of the table does not allow null", "row 2"]);
    let after = (place.content(), place.dl(&["snapshot", "events", "--format", "json"]).good());
    assert_eq!(after, before, "nothing has changed, and no data file is left behind");
}

#[test]
fn a_table_inside_of_another_is_not_imported() {
    let place = TestFolder::with_events();
    place.copy_events("events/inner");
    place.copy_events("near");
    check(
        place.dl(&["import", "events/inner", "--as", "inner"]),
        1,
        &["events/inner is inside the table default.events"],
    );
    place.dl(&["import", "near", "--as", "near"]).good();
    place.write("rows.csv", "id\n1\n");
    let write = place.dl(&["write", "sub", "--input", "rows.csv", "--location", "near/sub"]);
    check(write, 1, &["near/sub is inside the table default.near"]);
    assert!(!place.path("near/sub").exists(), "nothing is written");
}

#[test]
fn a_broken_log_names_its_file_and_line() {
    let check_log = |break_it: &dyn Fn(&TestFolder), says: &[&str]| {
        let place = TestFolder::new();
        place.copy_events("events");
        break_it(&place);
        let before = place.content();
        place.dl(&["init"]).good();
        check(place.dl(&["import", "events", "--as", "events"]), 1, says);
        assert_eq!(place.content(), before);
        assert_eq!(place.dl(&["tables", "--format", "json"]).json(), serde_json::json!([]), "half a table is no table");
    };
    let log = |v: u32| format!("events/_delta_log/{v:020}.json");
    check_log(&|p| p.write(&log(5), "{\"commitInfo\":{}}\n{\"add\":\n"), &["00000000000000000005.json", "line 2"]);
    check_log(
        &|p| {
            // Without its checkpoint the log has a gap.
            std::fs::remove_file(p.path(&log(12))).unwrap();
        },
        &["00000000000000000012.json"],
    );
    let protocol = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["mindReading"],"writerFeatures":["mindReading"]}}"#;
    check_log(&|p| p.write(&log(14), protocol), &["mindReading", "reader feature"]);
}

#[test]
fn an_interrupted_import_resumes() {
    let place = TestFolder::new();
    place.copy_events("events");
    let file = place.path("events/_delta_log/00000000000000000013.json");
    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, "{\"remove\":").unwrap();
    assert_eq!(place.dl(&["import", "events", "--as", "events"]).code, Some(1));
    std::fs::write(&file, good).unwrap();
    place.dl(&["import", "events", "--as", "events"]).good();
    place.dl(&["verify", "--every-version", "--data"]).good();
}

#[test]
fn expired_versions_are_refused_with_the_oldest_version() {
    let place = TestFolder::new();
    place.copy_events("events");
    for version in 0..10 {
        std::fs::remove_file(place.path(&format!("events/_delta_log/{version:020}.json"))).unwrap();
    }
    let imported = place.dl(&["import", "events", "--as", "events", "--format", "json"]).json();
    assert_eq!((&imported["baseVersion"], &imported["version"]), (&10.into(), &13.into()));
    check(
        place.dl(&["read", "events", "--version", "9"]),
        1,
        &["no version 9", "oldest version that is retained is 10"],
    );
    place.dl(&["verify", "--every-version", "--data"]).good();
}

/// Root has all permissions, so a test that runs as root runs the program as the user `nobody`.
#[test]
fn refused_writes_give_the_reason() {
    let place = TestFolder::with_events();
    let program = place.path("dl");
    let built = Path::new(env!("CARGO_BIN_EXE_dl"));
    std::fs::hard_link(built, &program).or_else(|_| std::fs::copy(built, &program).map(drop)).unwrap();
    // The program's libraries are where it was built, which other users may not be able to read, or next to it.
    let libraries =
        [(option_env!("DUCKDB_LIB_DIR"), "libduckdb.so"), (option_env!("ROCKSDB_LIB_DIR"), "librocksdb.so")];
    for (folder, library) in libraries {
        if let Some(folder) = folder {
            std::fs::copy(Path::new(folder).join(library), place.path(library)).unwrap();
        }
    }
    place.write("row.ndjson", "{\"id\":1,\"day\":\"x\"}\n");
    let before = place.content();
    let root = place.path("meta.db").metadata().unwrap().uid() == 0;
    let allow = |file: &str, mode: u32| {
        std::fs::set_permissions(place.path(file), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let write = || {
        let mut command = place.with_program(&program, &["write", "events", "--input", "row.ndjson"]);
        if root {
            command.uid(65534).gid(65534);
        }
        Ran::of(command.output().unwrap())
    };
    allow("", 0o777);
    allow("meta.db", 0o666);
    allow("events", 0o555);
    check(write(), 1, &["no permission for", "events/day=x"]);
    allow("events", 0o777);
    allow("meta.db", 0o444);
    check(write(), 1, &["meta.db", "permission"]);
    allow("meta.db", 0o644);
    assert_eq!(place.content(), before, "no data file is left behind");
}

#[test]
fn an_environment_variable_that_is_not_utf_8_is_ignored() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = TestFolder::new();
    let mut import = place.command(&["import", "memory:///nothing", "--as", "t"]);
    let latin = OsStr::from_bytes(b"\xe9");
    import.env("LESS_TERMCAP_so", latin).env(latin, "x");
    check(Ran::of(import.output().unwrap()), 1, &["memory:///nothing is not a Delta table"]);
}
