//! The interactive shell, on a terminal.
#![cfg(target_os = "linux")]

use crate::pseudoterminal::Terminal;
use crate::test_folder::TestFolder;

/// The answer is not part of what is typed.
const QUESTION: &str = "SELECT 'forty' || '-two' AS t;";
const ANSWER: &str = "forty-two\n";
/// Takes very long.
const LONG: &str = "SELECT count(*) FROM (SELECT unnest(range(0, 3000)) AS a), (SELECT unnest(range(0, 3000)) AS b), \
                    (SELECT unnest(range(0, 3000)) AS c);";

fn shell(place: &TestFolder) -> Terminal {
    let mut shell = Terminal::new(place, "sql", false);
    shell.wait_for("\\? shows help, \\q quits\n");
    shell.wait_for("dl> ");
    shell
}

fn answers(shell: &mut Terminal) {
    let shown = shell.line(QUESTION, "dl> ");
    assert!(shown.ends_with(ANSWER.trim_end()), "{shown}");
}

/// Interrupts a statement while it runs.
fn interrupt(shell: &mut Terminal, says: &str) {
    shell.keys(&format!("{QUESTION} {LONG}\r"));
    shell.wait_for(ANSWER);
    shell.keys("\x03");
    shell.wait_for(&format!("error: {says}\n"));
    shell.wait_for("dl> ");
}

#[test]
fn a_statement_is_edited_over_several_lines_and_kept_in_the_history() {
    let place = TestFolder::with_events();
    let mut first = shell(&place);
    first.keys("SELECT 'forty'\r|| '-two'\r AS t;\r");
    first.wait_for(ANSWER);
    first.wait_for("dl> ");
    // Up recalls all of its lines.
    first.keys("\x1b[A\r");
    first.wait_for(ANSWER);
    first.wait_for("dl> ");
    // Up moves to the line before, where Ctrl-A and Ctrl-K remove the text.
    first.keys("SELECT 'fifty'\r|| '-two' AS t;\x1b[A\x01\x0bSELECT 'forty'\r");
    first.wait_for(ANSWER);
    first.wait_for("dl> ");
    assert_eq!(first.end("\x04"), "\n");
    let mut second = shell(&place);
    second.keys("\x1b[A\r");
    second.wait_for(ANSWER);
    second.wait_for("dl> ");
    assert_eq!(second.end("quit\r"), "quit\n");
    let history = std::fs::read_to_string(place.path("state/deltalakedb/history")).unwrap();
    let lines: Vec<_> = history.lines().skip(1).collect();
    assert_eq!(lines, ["SELECT 'forty'\\n|| '-two'\\n AS t;", "SELECT 'forty'\\n|| '-two' AS t;", "quit"]);
}

#[test]
fn the_prompt_shows_an_open_transaction() {
    let place = TestFolder::with_events();
    let mut shell = shell(&place);
    shell.line("BEGIN;", "dl*> ");
    let inserted = shell.line("INSERT INTO events (id) VALUES (99);", "dl*> ");
    assert!(inserted.ends_with("INSERT: 1 row"), "{inserted}");
    let committed = shell.line("COMMIT;", "dl> ");
    assert!(committed.ends_with("COMMIT: default.events is at version 14"), "{committed}");
    shell.line("BEGIN;", "dl*> ");
    let failed = shell.line("SELECT nosuch FROM events;", "dl> ");
    assert!(failed.contains("nosuch") && failed.ends_with("the transaction was rolled back"), "{failed}");
    shell.line("BEGIN;", "dl*> ");
    let ended = shell.end("\\q\r");
    assert!(ended.ends_with("the open transaction was rolled back\n"), "{ended}");
}

#[test]
fn an_interrupt_cancels_the_statement_and_not_the_shell() {
    let place = TestFolder::with_events();
    let mut shell = shell(&place);
    interrupt(&mut shell, "interrupted");
    shell.line("BEGIN;", "dl*> ");
    shell.line("INSERT INTO events (id) VALUES (99);", "dl*> ");
    interrupt(&mut shell, "interrupted; the transaction was rolled back");
    let count = shell.line("SELECT count(*) AS n FROM events WHERE id = 99;", "dl> ");
    assert!(count.ends_with(" 0"), "{count}");
    // It also discards what is typed.
    shell.keys("SELECT what\r is this\x03");
    shell.wait_for("is this");
    shell.wait_for("dl> ");
    answers(&mut shell);
    shell.end("\\q\r");
}

#[test]
fn keywords_tables_and_columns_are_completed() {
    let place = TestFolder::with_events();
    let mut shell = shell(&place);
    let answer = shell.line("sele\t 'forty' || '-two' AS t;", "dl> ");
    assert!(answer.contains("select 'forty'") && answer.ends_with("forty-two"), "{answer}");
    let count = shell.line("SELECT count(*) AS n FROM eve\t WHERE am\t > 1000000;", "dl> ");
    assert!(count.contains("FROM events WHERE amount >") && count.ends_with(" 0"), "{count}");
    let count = shell.line("SELECT count(*) AS n FROM defa\tev\t e WHERE e.pri\t > 1000000;", "dl> ");
    assert!(count.contains("FROM default.events e WHERE e.price >") && count.ends_with(" 0"), "{count}");
    let timing = shell.line("\\ti\t off", "dl> ");
    assert!(timing.ends_with("timing is off"), "{timing}");
    // Several candidates are listed at the second Tab.
    shell.keys("SELECT 1 W\t\t");
    shell.wait_for("WHEN");
    shell.wait_for("WITH");
    shell.wait_for("SELECT 1 W");
    shell.keys("\x03");
    shell.wait_for("dl> ");
    shell.end("\\q\r");
}

#[test]
fn commands_change_how_results_are_shown() {
    let place = TestFolder::with_events();
    let mut shell = Terminal::new(&place, "--quiet sql -p answer=forty-two", false);
    shell.wait_for("dl> ");
    shell.line("\\x on", "dl> ");
    let record = shell.line("SELECT :answer AS t, 'a' AS name;", "dl> ");
    assert!(record.ends_with("\n-[ row 1 ]\n t     forty-two\n name  a"), "{record}");
    shell.line("\\x", "dl> ");
    shell.line("\\timing", "dl> ");
    let timed = shell.line(QUESTION, "dl> ");
    assert!(timed.contains("forty-two\nTime: ") && timed.ends_with('s'), "{timed}");
    shell.line("\\timing off", "dl> ");
    for (command, shows) in [
        ("\\dt", "events"),
        ("\\dt default", "events"),
        ("\\d", "events"),
        ("\\d events", "amount"),
        ("\\d nosuch", "no table default.nosuch"),
        ("\\?", "\\timing [on|off]"),
        ("\\z", "error: unknown command \\z: \\? lists the commands"),
        ("\\i", "error: \\i needs a file"),
        ("\\o no/such/folder", "error: the file no/such/folder cannot be created"),
    ] {
        let shown = shell.line(command, "dl> ");
        let (_, result) = shown.split_once('\n').unwrap();
        assert!(result.contains(shows), "{command}: {result}");
    }
    shell.line("\\o rows.txt", "dl> ");
    for question in [QUESTION, "SELECT 'forty' || '-three' AS t;"] {
        assert_eq!(shell.line(question, "dl> "), question, "nothing is shown");
    }
    shell.line("\\o", "dl> ");
    answers(&mut shell);
    shell.end("\\q\r");
    assert_eq!(std::fs::read_to_string(place.path("rows.txt")).unwrap(), " t\n forty-two\n t\n forty-three\n");
}

#[test]
fn a_file_for_results_gets_parquet_too() {
    let place = TestFolder::new();
    place.dl(&["init"]).good();
    let mut shell = Terminal::new(&place, "--quiet --format parquet sql", false);
    shell.wait_for("dl> ");
    let shown = shell.line("SELECT 42 AS n;", "dl> ");
    assert!(shown.contains("which a terminal cannot show") && shown.contains("\\o rows.parquet"), "{shown}");
    shell.line("\\o rows.parquet", "dl> ");
    // What a statement has written that fails does not count.
    shell.line("SELECT 1/(a-1) AS x FROM (VALUES (1)) AS t(a);", "dl> ");
    let question = "SELECT 42 AS n UNION ALL SELECT 43 ORDER BY n;";
    assert_eq!(shell.line(question, "dl> "), question, "nothing is shown");
    let second = shell.line(question, "dl> ");
    assert!(second.contains("error: the file for results has a result already"), "{second}");
    shell.end("\\q\r");
    let write = ["write", "t", "--location", "t", "--input", "rows.parquet"];
    place.dl(&write).good();
    assert_eq!(place.dl(&["read", "t", "--format", "csv"]).good(), "n\n42\n43\n");
}

#[test]
fn a_file_is_run_until_its_first_error() {
    let place = TestFolder::new();
    let load = "-- rows\nCREATE TABLE t (id BIGINT) LOCATION 't';\nINSERT INTO t VALUES (1),\n  (2);\n-- one record\n\\x on\n\
                SELECT count(*) AS n FROM t\n";
    place.write("load.sql", load);
    place.write("bad.sql", "SELECT 42 AS n;\n\\i worse.sql\nSELECT 45 AS n;\n");
    place.write("worse.sql", "SELECT 43 AS n;\n\\x off\nSELECT nosuch;\nSELECT 44 AS n;\n");
    place.dl(&["init"]).good();
    let mut shell = shell(&place);
    let loaded = shell.line("\\i load.sql", "dl> ");
    for shows in ["CREATE TABLE: 0 rows, default.t is at version 0\n", "INSERT: 2 rows", "\n-[ row 1 ]\n n  2"] {
        assert!(loaded.contains(shows), "{shows:?}: {loaded}");
    }
    let failed = shell.line("\\i 'bad.sql'", "dl> ");
    assert!(failed.contains("42") && failed.contains("43"), "{failed}");
    assert!(failed.contains("error: worse.sql, line 3: "), "{failed}");
    assert!(!failed.contains("44") && !failed.contains("45"), "{failed}");
    let missing = shell.line("\\i missing.sql", "dl> ");
    assert!(missing.contains("error: the file missing.sql cannot be read"), "{missing}");
    answers(&mut shell);
    shell.end("\\q\r");
}

#[test]
fn statements_have_colours_unless_no_color_is_set() {
    let place = TestFolder::with_events();
    for colours in [true, false] {
        let mut shell = Terminal::new(&place, "sql", colours);
        shell.wait_for("dl> ");
        shell.keys("SELECT 40 AS n, 'forty' || '-two' AS t;\r");
        shell.wait_for(ANSWER);
        for coloured in ["\x1b[1;34mSELECT\x1b[0m", "\x1b[36m40\x1b[0m", "\x1b[32m'forty'\x1b[0m"] {
            assert_eq!(shell.has_bytes(coloured), colours, "{coloured:?}");
        }
        shell.wait_for("dl> ");
        shell.end("\\q\r");
    }
}
