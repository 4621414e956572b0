//! The commands of the shell, which begin with a backslash.

use std::path::PathBuf;

use deltalakedb_log::{Result, TxnLogError};

use super::script::is_quit;

pub(super) const HELP: &str = "A statement ends with `;` and may span several lines.
  SELECT … FROM t, t VERSION AS OF 3, t TIMESTAMP AS OF '2024-01-01', table_at('t', 3)
  INSERT, UPDATE, DELETE, CREATE TABLE, DROP TABLE t, ALTER TABLE t RENAME TO u
  BEGIN, COMMIT, ROLLBACK, EXPLAIN, SHOW TABLES, DESCRIBE t
  \\d                list the tables
  \\d NAME           list the columns of a table
  \\dt [NAMESPACE]   list the tables, or those of a namespace
  \\i FILE           run the statements and commands of a file
  \\o [FILE]         print results to a file; without one, to the terminal again
  \\timing [on|off]  print the duration of each statement
  \\x [on|off]       print each row as a record, with a line for each column
  \\?, \\h            show this help
  \\q                quit (Ctrl-D)
  Tab               complete a keyword, a table or a column
  Up, Ctrl-R        earlier statements; search in them
  Ctrl-C            cancel the input or the running statement";

/// The commands, as they are typed.
pub(super) const COMMANDS: &[&str] = &["\\?", "\\d", "\\dt", "\\h", "\\i", "\\o", "\\q", "\\timing", "\\x"];

#[derive(Debug, PartialEq, Eq)]
pub(super) enum ShellCommand {
    /// Runs a statement.
    Statement(String),
    Help,
    Quit,
    /// Runs a file.
    Include(PathBuf),
    /// Prints results to a file, or to the terminal.
    Output(Option<PathBuf>),
    /// Turns the durations on or off; `None` for the opposite of what is.
    Timing(Option<bool>),
    /// Turns records on or off.
    Expanded(Option<bool>),
}

impl ShellCommand {
    pub(super) fn parse(line: &str) -> Result<Self> {
        if is_quit(line) {
            return Ok(Self::Quit);
        }
        let line = line.trim().trim_end_matches(';').trim_end();
        let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let argument = argument.trim();
        match (name, argument) {
            ("\\d" | "\\dt", "") => Ok(Self::Statement("SHOW TABLES;".into())),
            ("\\d", table) => Ok(Self::Statement(format!("DESCRIBE {table};"))),
            ("\\dt", namespace) => Ok(Self::Statement(format!("SHOW TABLES IN {namespace};"))),
            ("\\i", "") => Err(TxnLogError::invalid("\\i needs a file: expected \\i FILE")),
            ("\\i", file) => Ok(Self::Include(path(file))),
            ("\\o", "") => Ok(Self::Output(None)),
            ("\\o", file) => Ok(Self::Output(Some(path(file)))),
            ("\\timing", state) => on_or_off(name, state).map(Self::Timing),
            ("\\x", state) => on_or_off(name, state).map(Self::Expanded),
            ("\\h" | "\\?", _) => Ok(Self::Help),
            ("\\q", _) => Ok(Self::Quit),
            (unknown, _) => Err(TxnLogError::invalid(format!("unknown command {unknown}: \\? lists the commands"))),
        }
    }
}

fn on_or_off(name: &str, state: &str) -> Result<Option<bool>> {
    match state {
        "" => Ok(None),
        "on" => Ok(Some(true)),
        "off" => Ok(Some(false)),
        other => Err(TxnLogError::invalid(format!("{name} {other} is not known: expected {name} [on|off]"))),
    }
}

/// A path as people type it: perhaps in quotes, or below the home directory.
fn path(argument: &str) -> PathBuf {
    let in_quotes = |quote: char| argument.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let text = in_quotes('\'').or_else(|| in_quotes('"')).unwrap_or(argument);
    match text.strip_prefix("~/").map(|below| (below, etcetera::home_dir())) {
        Some((below, Ok(home))) => home.join(below),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_arguments() {
        let check = |line: &str, expected: ShellCommand| assert_eq!(ShellCommand::parse(line).unwrap(), expected);
        let statement = |text: &str| ShellCommand::Statement(text.into());
        check("\\d", statement("SHOW TABLES;"));
        check(" \\dt; ", statement("SHOW TABLES;"));
        check("\\d web.events ;", statement("DESCRIBE web.events;"));
        check("\\dt web", statement("SHOW TABLES IN web;"));
        check("\\i  a b.sql ", ShellCommand::Include("a b.sql".into()));
        check("\\o 'rows.csv'", ShellCommand::Output(Some("rows.csv".into())));
        check("\\o", ShellCommand::Output(None));
        check("\\timing", ShellCommand::Timing(None));
        check("\\x off", ShellCommand::Expanded(Some(false)));
        check("\\q;", ShellCommand::Quit);
        check("Exit", ShellCommand::Quit);
        for command in COMMANDS.iter().filter(|command| **command != "\\i") {
            assert!(ShellCommand::parse(command).is_ok() && HELP.contains(command), "{command}");
        }
    }

    #[test]
    fn a_wrong_command_is_rejected_in_one_sentence() {
        let check = |line: &str, says: &str| {
            let e = ShellCommand::parse(line).unwrap_err().to_string();
            assert!(e.contains(says) && !e.contains('\n'), "{e}");
        };
        check("\\z", "unknown command \\z: \\? lists the commands");
        check("\\i", "expected \\i FILE");
        check("\\x maybe", "expected \\x [on|off]");
    }
}
