use std::collections::BTreeSet;
use std::path::Path;

use clap::Arg;

use super::*;

/// Every command that can be run, by its path.
fn commands() -> Vec<(String, Command)> {
    let mut found = Vec::new();
    collect(&Cli::command(), "", &mut found);
    found
}

fn collect(command: &Command, path: &str, found: &mut Vec<(String, Command)>) {
    for child in command.get_subcommands() {
        let path = format!("{path} {}", child.get_name()).trim_start().to_string();
        if child.has_subcommands() {
            collect(child, &path, found);
        } else {
            found.push((path, child.clone()));
        }
    }
}

fn help_of(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

#[test]
fn every_command_and_argument_has_help() {
    let check = |command: &Command, path: &str| {
        assert!(command.get_about().is_some_and(|about| !about.to_string().is_empty()), "dl {path} has no help");
        for arg in command.get_arguments() {
            assert!(!help_of(arg).is_empty(), "{} of dl {path} has no help", arg.get_id());
            assert!(!help_of(arg).ends_with('.'), "{} of dl {path}: help has no period at its end", arg.get_id());
            let values = arg.get_possible_values();
            let is_described = |value: &clap::builder::PossibleValue| value.get_help().is_some();
            let all = values.iter().all(is_described) || !values.iter().any(is_described);
            assert!(all, "{} of dl {path}: some values have no help", arg.get_id());
        }
    };
    let root = Cli::command();
    check(&root, "");
    root.get_subcommands().filter(|command| command.has_subcommands()).for_each(|group| check(group, group.get_name()));
    commands().iter().for_each(|(path, command)| check(command, path));
}

#[test]
fn every_command_is_in_one_group_and_has_examples() {
    let listed: Vec<_> = GROUPS.iter().flat_map(|(_, paths)| *paths).map(ToString::to_string).collect();
    let paths: BTreeSet<_> = commands().into_iter().map(|(path, _)| path).collect();
    assert_eq!(listed.len(), listed.iter().collect::<BTreeSet<_>>().len(), "a command is listed twice");
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), paths);
    assert_eq!(EXAMPLES.iter().map(|(path, _)| path.to_string()).collect::<BTreeSet<_>>(), paths);
}

#[test]
fn every_example_can_be_parsed() {
    for (path, examples) in EXAMPLES {
        assert!(!examples.is_empty(), "dl {path} has no example");
        for example in *examples {
            let words = std::iter::once("dl".to_string()).chain(words(example));
            let matches = command().try_get_matches_from(words).unwrap_or_else(|e| panic!("dl {example}: {e}"));
            let (mut names, mut at) = (Vec::new(), &matches);
            while let Some((name, child)) = at.subcommand() {
                names.push(name);
                at = child;
            }
            assert_eq!(names.join(" "), *path, "dl {example}");
        }
    }
}

/// The words of a command line, of which some are quoted.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            Some(_) => word.push(c),
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == ' ' => words.push(std::mem::take(&mut word)),
            None => word.push(c),
        }
    }
    words.push(word);
    words
}

#[test]
fn the_help_lists_commands_by_group() {
    let help = command().render_help().to_string();
    for part in ["Catalog:\n  init  ", "\nMirror:\n  mirror status  ", "Options:\n", "--json", "Exit status: 0 done"] {
        assert!(help.contains(part), "{part:?} is not in {help}");
    }
    let vacuum = command().find_subcommand_mut("vacuum").unwrap().render_long_help().to_string();
    assert!(vacuum.contains("Examples:\n  dl vacuum sales.orders --dry-run\n"), "{vacuum}");
}

#[test]
fn a_line_is_broken_between_words() {
    assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
    assert_eq!(wrapped("a-very-long-word b", 4), ["a-very-long-word", "b"]);
    assert_eq!(wrapped("", 4), Vec::<String>::new());
}

#[test]
fn completions_and_manual_pages_are_generated() {
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command(), "dl", &mut script);
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("copy-catalog") && script.contains("--every-version"), "{shell}: {script}");
    }
    let folder = tempfile::tempdir().unwrap();
    clap_mangen::generate_to(command(), folder.path()).unwrap();
    let page = std::fs::read_to_string(folder.path().join("dl-vacuum.1")).unwrap();
    assert!(page.contains("Delete data files") && page.contains("dl vacuum sales.orders"), "{page}");
}

/// `DELTALAKEDB_UPDATE_DOCS=1` writes the page instead.
#[test]
fn the_documentation_of_the_commands_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let page = page();
    if std::env::var_os("DELTALAKEDB_UPDATE_DOCS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap();
    for (number, (written, expected)) in written.lines().zip(page.lines()).enumerate() {
        assert_eq!(
            written,
            expected,
            "line {} of docs/cli.md: run the test with DELTALAKEDB_UPDATE_DOCS=1",
            number + 1
        );
    }
    assert_eq!(
        written.lines().count(),
        page.lines().count(),
        "docs/cli.md: run the test with DELTALAKEDB_UPDATE_DOCS=1"
    );
}

const INTRODUCTION: &str = "# The commands of dl

This page is generated from the help of `dl`, which prints the same: `dl --help`, `dl COMMAND --help`, and `man dl` after
`dl man --to DIR`. [README.md](../README.md#settings) has the settings, [errors.md](errors.md) the errors.
";

/// The text of `docs/cli.md`.
fn page() -> String {
    let mut text = INTRODUCTION.to_string();
    let commands = commands();
    for (title, paths) in GROUPS {
        text.push_str(&format!("\n## {title}\n"));
        for path in *paths {
            let (_, command) = commands.iter().find(|(known, _)| known == path).unwrap();
            text.push_str(&format!("\n### dl {path}\n\n{}\n\n```sh\n", command.get_about().unwrap()));
            examples(path).iter().for_each(|example| text.push_str(&format!("dl {example}\n")));
            text.push_str("```\n");
            text.push_str(&options(command));
        }
    }
    text.push_str("\n## Options of all commands\n");
    text.push_str(&options(&Cli::command()));
    text
}

/// A list of the arguments of a command.
fn options(command: &Command) -> String {
    let lines = command.get_arguments().map(|arg| {
        let name = match (arg.get_long(), arg.get_short()) {
            (Some(long), Some(short)) => format!("-{short}, --{long}"),
            (Some(long), None) => format!("--{long}"),
            _ => String::new(),
        };
        let takes_value = arg.get_num_args().is_none_or(|values| values.takes_values());
        let value = match arg.get_value_names().and_then(<[_]>::first) {
            Some(value) if takes_value && arg.get_action().takes_values() => value.to_string(),
            _ => String::new(),
        };
        format!("- `{}`: {}\n", format!("{name} {value}").trim(), help_of(arg))
    });
    let list: String = lines.collect();
    if list.is_empty() { list } else { format!("\n{list}") }
}
