//! What a terminal gets: colours, a pager, and questions. `script` runs `dl` on one.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use crate::test_folder::{Ran, TestFolder};

/// Runs a line with `dl` on a terminal on which this is typed; lines end as they do in files.
fn on_terminal(place: &TestFolder, line: &str, variables: &[(&str, &str)], typed: &str) -> Ran {
    let line = format!("{} {line}", env!("CARGO_BIN_EXE_dl"));
    let mut command = place.with_program(Path::new("script"), &["-qec", &line, "/dev/null"]);
    command.env("TERM", "xterm").env("NO_COLOR", "1").envs(variables.iter().copied());
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.unwrap_or_else(|e| panic!("script cannot be run ({e}): it is part of util-linux"));
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let ran = Ran::of(child.wait_with_output().unwrap());
    Ran { out: ran.out.replace("\r\n", "\n"), ..ran }
}

#[test]
fn a_terminal_is_asked_before_what_destroys() {
    let place = TestFolder::with_events();
    let version = || place.dl(&["show", "events", "--json"]).json()["version"].clone();
    for (command, says) in [
        ("restore events --version 3", "default.events will be restored to version 3"),
        ("drop events", "default.events will be dropped"),
        ("detach events", "default.events will be removed from the catalog"),
        ("vacuum events --retain 0s --force", "may be deleted permanently"),
    ] {
        let before = place.content();
        let ran = on_terminal(&place, command, &[], "n\n");
        assert_eq!(ran.code, Some(1), "{command}: {ran:?}");
        for part in [says, "Continue? [y/N]", "error: nothing was done"] {
            assert!(ran.out.contains(part), "{part:?}: {ran:?}");
        }
        assert_eq!((place.content(), version()), (before, 13.into()), "{command}");
    }
    let ran = on_terminal(&place, "restore events --version 3", &[], "y\n");
    assert_eq!((ran.code, version()), (Some(0), 14.into()), "{ran:?}");
    let ran = on_terminal(&place, "restore events --version 5 --yes", &[], "");
    assert_eq!((ran.code, version()), (Some(0), 15.into()), "{ran:?}");
    assert!(!ran.out.contains("Continue?"), "{ran:?}");
    place.dl(&["restore", "events", "--version", "6"]).good();
    assert_eq!(version(), 16, "where there is no terminal, nobody is asked");
}

#[test]
fn a_terminal_shows_long_output_in_the_pager() {
    let place = TestFolder::with_events();
    let lines = |line: &str, pager: &str| on_terminal(&place, line, &[("PAGER", pager)], "").out;
    let paged = lines("tables", "sed s/^/paged:/");
    assert!(paged.lines().any(|line| line.starts_with("paged: name")), "{paged}");
    assert!(!lines("tables --no-pager", "sed s/^/paged:/").contains("paged:"), "the option has precedence");
    assert!(!lines("tables --json", "sed s/^/paged:/").contains("paged:"), "programs get the output itself");
    assert!(lines("tables", "").contains("default.events"), "there is no pager");
    assert!(lines("tables", "no-such-pager").contains("default.events"), "the pager does not exist");
    // If the pager ends early, the command ends with success.
    let ran = on_terminal(&place, "history events", &[("PAGER", "head -n 1")], "");
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let place = TestFolder::with_events();
    let plain = [("NO_COLOR", ""), ("PAGER", "")];
    let coloured = on_terminal(&place, "sql 'SELECT NULL AS n'", &plain, "");
    assert!(coloured.out.contains("\u{1b}[1mn") && coloured.out.contains("\u{1b}[2mNULL"), "{coloured:?}");
    let coloured = on_terminal(&place, "show nosuch", &plain, "");
    assert!(coloured.out.contains("\u{1b}[1;31merror:\u{1b}[0m there is no table"), "{coloured:?}");
    for variables in [[("NO_COLOR", "1"), ("PAGER", "")], [("CLICOLOR", "0"), ("PAGER", "")]] {
        let variables = [&[("NO_COLOR", "")][..], &variables[..]].concat();
        let ran = on_terminal(&place, "tables", &variables, "");
        assert!(!ran.out.contains("\u{1b}[1m"), "{variables:?}: {ran:?}");
    }
    let mut piped = place.command(&["tables"]);
    assert!(!Ran::of(piped.output().unwrap()).good().contains('\u{1b}'));
    assert!(Ran::of(piped.env("CLICOLOR_FORCE", "1").output().unwrap()).good().contains("\u{1b}[1mname"));
}
