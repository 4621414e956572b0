//! The command line as clap knows it, with what its attributes cannot say: groups of commands, examples, and the versions
//! of the parts. The help, the manual pages, the completions and `docs/cli.md` are made of it.

use std::fmt::Write;
use std::sync::LazyLock;

use clap::builder::Styles;
use clap::{Command, CommandFactory};

use crate::args::Cli;

#[cfg(test)]
mod tests;

/// All commands, in the order in which they are listed.
const GROUPS: &[(&str, &[&str])] = &[
    ("Catalog", &["init", "import", "tables", "rebuild", "copy-catalog"]),
    ("Tables", &["create", "show", "history", "files", "snapshot", "alter", "rename", "drop", "undrop", "detach"]),
    ("Rows", &["read", "sql", "write", "delete", "update", "merge", "changes"]),
    ("Maintenance", &["optimize", "vacuum", "expire", "restore", "repair"]),
    ("Mirror", &["mirror status", "mirror run", "mirror duckdb", "mirror checkpoint", "mirror repair", "verify"]),
    ("Program", &["completions", "man", "demo"]),
];

/// Examples of each command, without `dl`.
const EXAMPLES: &[(&str, &[&str])] = &[
    ("init", &["init --catalog deltasql://sqlite/meta.db", "init --restored"]),
    ("import", &["import s3://bucket/events --as sales.events", "import ./events --as events"]),
    ("tables", &["tables", "tables --dropped --json"]),
    ("rebuild", &["rebuild s3://bucket/tables --from-mirror --catalog deltasql://sqlite/new.db"]),
    ("copy-catalog", &["copy-catalog --to 'deltasql://postgres/lake/catalog?host=db.example.com'"]),
    (
        "create",
        &[
            "create sales.orders --location ./orders --schema 'id long not null, day date' --partition-by day",
            "create events --schema 'id long' --property delta.enableChangeDataFeed=true --set warehouse=./lake",
        ],
    ),
    ("show", &["show sales.orders", "show s3://bucket/orders --json"]),
    ("history", &["history sales.orders --limit 10", "history sales.orders --since 2024-01-01 --json"]),
    ("files", &["files sales.orders --where \"day = '2024-01-31'\" --explain"]),
    ("snapshot", &["snapshot sales.orders --version 3 --json"]),
    ("alter", &["alter sales.orders --add-column 'note string' --add-constraint 'positive: price > 0'"]),
    ("rename", &["rename orders sales.orders"]),
    ("drop", &["drop sales.orders", "drop sales.orders --delete-files --dry-run"]),
    ("undrop", &["undrop sales.orders --as sales.old_orders"]),
    ("detach", &["detach sales.orders --yes"]),
    (
        "read",
        &[
            "read sales.orders --where 'price > 10' --columns id,price --limit 20",
            "read sales.orders --version 3 --format parquet",
        ],
    ),
    (
        "sql",
        &["sql 'SELECT count(*) FROM sales.orders'", "sql --param day=2024-01-31 'SELECT * FROM t WHERE day = $day'"],
    ),
    (
        "write",
        &[
            "write sales.orders --input orders.csv",
            "write orders --input - --input-format ndjson --mode overwrite --dry-run",
        ],
    ),
    ("delete", &["delete sales.orders --where 'price = 0'", "delete sales.orders --all --dry-run"]),
    ("update", &["update sales.orders --set 'price = price * 2' --where 'id = 7'"]),
    (
        "merge",
        &["merge orders --source new.csv --on 'target.id = source.id' --matched-update '*' --not-matched-insert '*'"],
    ),
    ("changes", &["changes sales.orders --from 3 --to 5"]),
    ("optimize", &["optimize sales.orders --zorder customer,day", "optimize sales.orders --purge --dry-run"]),
    ("vacuum", &["vacuum sales.orders --dry-run", "vacuum sales.orders --retain 30d"]),
    ("expire", &["expire sales.orders --keep 30d --dry-run", "expire --all"]),
    (
        "restore",
        &["restore sales.orders --version 3", "restore sales.orders --timestamp 2024-01-31T12:00:00Z --dry-run"],
    ),
    ("repair", &["repair sales.orders --dry-run"]),
    ("mirror status", &["mirror status --check"]),
    ("mirror run", &["mirror run", "mirror run --watch --metrics 127.0.0.1:9184"]),
    ("mirror duckdb", &["mirror duckdb --to lake.duckdb"]),
    ("mirror checkpoint", &["mirror checkpoint sales.orders"]),
    ("mirror repair", &["mirror repair sales.orders --dry-run", "mirror repair sales.orders --theirs"]),
    ("verify", &["verify", "verify sales.orders --every-version --data"]),
    ("completions", &["completions bash", "completions zsh"]),
    ("man", &["man --to ./man"]),
    ("demo", &["demo", "demo --keep ./tour"]),
];

const AFTER: &str = "Exit status: 0 done, 1 failed, 2 wrong usage, 3 a check found something, 4 a concurrent commit won.\n\
                     `dl COMMAND --help` has the options of a command and examples.";

/// The widest line of the list of commands.
const WIDTH: usize = 100;

/// The versions of what the program consists of, as `dl --version` prints them.
static VERSIONS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{}\ndelta-rs {}\nDataFusion {}\nArrow {}\nSQLite {}\nDuckDB {}\nRocksDB {}",
        env!("CARGO_PKG_VERSION"),
        env!("DL_VERSION_DELTA_RS"),
        env!("DL_VERSION_DATAFUSION"),
        env!("DL_VERSION_ARROW"),
        deltalakedb_catalog::SQLITE_VERSION.to_string_lossy(),
        env!("DL_VERSION_DUCKDB"),
        env!("DL_VERSION_ROCKSDB"),
    )
});

/// The complete command line.
pub(crate) fn command() -> Command {
    let command = Cli::command();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}{}{{options}}{{after-help}}\n",
        groups(&command),
        heading("Options")
    );
    with_examples(command, "").help_template(template).after_help(AFTER).long_version(VERSIONS.as_str())
}

/// Adds the examples to the help of a command and of its subcommands.
fn with_examples(command: Command, path: &str) -> Command {
    let command = command.mut_subcommands(|child| {
        let path = format!("{path} {}", child.get_name());
        with_examples(child, path.trim_start())
    });
    match examples(path) {
        [] => command,
        examples => {
            let mut text = heading("Examples");
            examples.iter().for_each(|example| text.push_str(&format!("  dl {example}\n")));
            command.after_help(text)
        }
    }
}

fn examples(path: &str) -> &'static [&'static str] {
    EXAMPLES.iter().find(|(command, _)| *command == path).map(|(_, examples)| *examples).unwrap_or_default()
}

/// The list of all commands, by group.
fn groups(root: &Command) -> String {
    let longest = GROUPS.iter().flat_map(|(_, paths)| *paths).map(|path| path.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (title, paths) in GROUPS {
        text.push_str(&heading(title));
        for path in *paths {
            let about = find(root, path).and_then(Command::get_about).map(ToString::to_string).unwrap_or_default();
            let mut lines = wrapped(&about, WIDTH - longest - 4).into_iter();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {path:longest$}  {}", lines.next().unwrap_or_default());
            lines.for_each(|line| {
                let _ = writeln!(text, "  {:longest$}  {line}", "");
            });
        }
        text.push('\n');
    }
    text
}

/// The command of a path such as `mirror status`.
fn find<'a>(root: &'a Command, path: &str) -> Option<&'a Command> {
    path.split(' ').try_fold(root, |command, name| command.find_subcommand(name))
}

/// A line with a heading, in the style of clap's.
fn heading(title: &str) -> String {
    let styles = Styles::styled();
    let style = styles.get_header();
    format!("{style}{title}:{style:#}\n")
}

/// Breaks a text between words into lines of at most this number of characters, if its words allow it.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => line.extend([" ", word]),
            _ => lines.push(word.into()),
        }
    }
    lines
}
