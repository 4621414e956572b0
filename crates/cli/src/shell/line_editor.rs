//! The line editor: statements over several lines, with highlighting, completion and a history.

use std::borrow::Cow;
use std::path::PathBuf;

use deltalakedb_log::{Result, TxnLogError};
use etcetera::{BaseStrategy, choose_base_strategy};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::catalog_names::CatalogNames;
use super::completion::completions;
use super::highlight::highlighted;
use super::script::is_complete;
use crate::output::warn;

/// How many entries the history keeps.
const MAX_HISTORY: usize = 10_000;

pub(super) struct LineEditor {
    editor: Editor<SqlHelper, FileHistory>,
    /// The history file; `None` if there is no home directory, or it cannot be written.
    history: Option<PathBuf>,
}

/// What was typed.
pub(super) enum Typed {
    /// Complete statements, or a command.
    Text(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D.
    End,
}

impl LineEditor {
    pub(super) fn new(names: CatalogNames) -> Result<Self> {
        let config = Config::builder().auto_add_history(false).completion_type(CompletionType::List);
        let config = config.max_history_size(MAX_HISTORY).map_err(no_terminal)?.build();
        let mut editor = Editor::with_config(config).map_err(no_terminal)?;
        editor.set_helper(Some(SqlHelper { names }));
        let state = choose_base_strategy().ok().and_then(|places| places.state_dir());
        let history = state.map(|dir| dir.join("deltalakedb").join("history"));
        // A history that does not exist yet, or cannot be read, is empty.
        if let Some(file) = &history
            && let Err(e) = editor.load_history(file)
        {
            tracing::debug!("no history was read from {}: {e}", file.display());
        }
        Ok(Self { editor, history })
    }

    /// Reads until a statement is complete. It blocks the thread.
    pub(super) fn read(&mut self, prompt: &str) -> Result<Typed> {
        match self.editor.readline(prompt) {
            Ok(text) => Ok(Typed::Text(text)),
            Err(ReadlineError::Interrupted) => Ok(Typed::Interrupt),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(e) => Err(no_terminal(e)),
        }
    }

    /// Adds what was typed to the history, and to its file at once: other shells may write to it, too.
    pub(super) fn remember(&mut self, text: &str) {
        if let Err(e) = self.editor.add_history_entry(text) {
            tracing::debug!("an entry was not added to the history: {e}");
        }
        let Some(file) = &self.history else { return };
        let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        let saved = folder.map_err(ReadlineError::from).and_then(|()| self.editor.append_history(file));
        if let Err(e) = saved {
            warn(&format!("warning: the history cannot be saved to {}: {e}", file.display()));
            self.history = None;
        }
    }
}

/// What the editor asks while a statement is typed.
struct SqlHelper {
    names: CatalogNames,
}

impl Helper for SqlHelper {}

impl Completer for SqlHelper {
    type Candidate = String;

    fn complete(&self, text: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(completions(text, position, &self.names))
    }
}

impl Highlighter for SqlHelper {
    fn highlight<'l>(&self, text: &'l str, _: usize) -> Cow<'l, str> {
        Cow::Owned(highlighted(text))
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        kind != CmdKind::MoveCursor
    }
}

impl Hinter for SqlHelper {
    type Hint = String;
}

impl Validator for SqlHelper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let is_complete = is_complete(context.input());
        Ok(if is_complete { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

fn no_terminal(e: ReadlineError) -> TxnLogError {
    TxnLogError::invalid("the terminal cannot be read: pass the statements as an argument, or on standard input")
        .with_source(e)
}
