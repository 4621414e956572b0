//! The interactive shell: statements over several lines, with a history.

use std::path::PathBuf;

use deltalakedb_log::{Result, TxnLogError};
use deltalakedb_table::SqlSession;
use etcetera::{BaseStrategy, choose_base_strategy};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};

use crate::exit::ExitStatus;
use crate::output::warn;
use crate::sql_session::SqlRunner;

const HELP: &str = "A statement ends with `;` and may span several lines.
  SELECT … FROM t, t VERSION AS OF 3, t TIMESTAMP AS OF '2024-01-01', table_at('t', 3)
  INSERT, UPDATE, DELETE, CREATE TABLE, DROP TABLE t, ALTER TABLE t RENAME TO u
  BEGIN, COMMIT, ROLLBACK, EXPLAIN, SHOW TABLES, DESCRIBE t
  \\d        list the tables
  \\d NAME   list the columns of a table
  \\h        show this help
  \\q        quit (Ctrl-D)
  Ctrl-C     cancel the line or the running query";

pub(crate) struct Shell {
    editor: Editor<(), FileHistory>,
    /// The history file; `None` if there is no home directory.
    history: Option<PathBuf>,
    quiet: bool,
}

/// A line of input.
enum Input {
    Statements(String),
    Dropped,
    End,
}

impl Shell {
    pub(crate) fn new(quiet: bool) -> Result<Self> {
        let config = Config::builder().auto_add_history(false).build();
        let mut editor = Editor::with_config(config).map_err(no_terminal)?;
        let state = choose_base_strategy().ok().and_then(|places| places.state_dir());
        let history = state.map(|dir| dir.join("deltalakedb").join("history"));
        // A history that does not exist yet, or cannot be read, is empty.
        if let Some(file) = &history
            && let Err(e) = editor.load_history(file)
        {
            tracing::debug!("no history was read from {}: {e}", file.display());
        }
        Ok(Self { editor, history, quiet })
    }

    pub(crate) async fn run(mut self, sql: &mut SqlRunner<'_>) -> Result<ExitStatus> {
        if !self.quiet {
            warn("\\h shows help, \\q quits");
        }
        loop {
            let text = match tokio::task::block_in_place(|| self.read())? {
                Input::Statements(text) => text,
                Input::Dropped => continue,
                Input::End => break,
            };
            let ran = tokio::select! {
                ran = sql.run(&text) => ran,
                _ = tokio::signal::ctrl_c() => Err(TxnLogError::invalid("interrupted")),
            };
            if let Err(e) = ran {
                warn(&format!("error: {e}"));
            }
        }
        self.keep_history();
        if sql.session.close().await? {
            warn("the open transaction was rolled back");
        }
        Ok(ExitStatus::Success)
    }

    /// Reads lines until a statement is complete.
    fn read(&mut self) -> Result<Input> {
        let mut text = String::new();
        loop {
            let line = match self.editor.readline(if text.is_empty() { "dl> " } else { "  > " }) {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => return Ok(Input::Dropped),
                Err(ReadlineError::Eof) => return Ok(Input::End),
                Err(e) => return Err(no_terminal(e)),
            };
            if text.is_empty() && line.trim_start().starts_with('\\') {
                self.remember(&line);
                return Ok(command(line.trim()));
            }
            text.push_str(&line);
            text.push('\n');
            if text.trim().is_empty() {
                text.clear();
            } else if SqlSession::is_complete(&text) {
                self.remember(text.trim());
                return Ok(Input::Statements(text));
            }
        }
    }

    fn remember(&mut self, text: &str) {
        if let Err(e) = self.editor.add_history_entry(text) {
            tracing::debug!("a line was not added to the history: {e}");
        }
    }

    fn keep_history(&mut self) {
        let Some(file) = &self.history else { return };
        let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        let kept = folder.map_err(ReadlineError::from).and_then(|()| self.editor.save_history(file));
        if let Err(e) = kept {
            warn(&format!("warning: the history cannot be saved to {}: {e}", file.display()));
        }
    }
}

/// A command of the shell, as the equivalent statement.
fn command(line: &str) -> Input {
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim().trim_end_matches(';');
    match name.trim_end_matches(';') {
        "\\q" => return Input::End,
        "\\d" if argument.is_empty() => return Input::Statements("SHOW TABLES;".into()),
        "\\d" => return Input::Statements(format!("DESCRIBE {argument};")),
        "\\h" | "\\?" => warn(HELP),
        other => warn(&format!("error: unknown command {other}: \\h lists the commands")),
    }
    Input::Dropped
}

fn no_terminal(e: ReadlineError) -> TxnLogError {
    TxnLogError::invalid("the terminal cannot be read: pass the statements as an argument, or on standard input")
        .with_source(e)
}
