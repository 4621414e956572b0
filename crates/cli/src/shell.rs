//! The interactive shell: statements and commands from the terminal, and from files that commands name.

mod catalog_names;
mod command;
mod completion;
mod highlight;
mod keywords;
mod lexer;
mod line_editor;
mod script;

use std::fs::File;
use std::path::Path;

use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use tokio::runtime::Handle;

use self::catalog_names::CatalogNames;
use self::command::{HELP, ShellCommand};
use self::line_editor::{LineEditor, Typed};
use self::script::{Scripts, is_command};
use crate::exit::ExitStatus;
use crate::output::warn;
use crate::sql_session::SqlRunner;

pub(crate) struct Shell {
    editor: LineEditor,
    scripts: Scripts,
    quiet: bool,
}

/// What the shell does after an input.
enum Next {
    Continue,
    Quit,
}

/// Something to run.
struct Input {
    text: String,
    /// The file and line; `None` if it was typed.
    place: Option<String>,
}

impl Shell {
    /// A shell for the session, on the terminal.
    pub(crate) fn new(sql: &SqlRunner<'_>, quiet: bool) -> Result<Self> {
        let names = CatalogNames::new(sql.catalog.clone(), Handle::current());
        Ok(Self { editor: LineEditor::new(names)?, scripts: Scripts::default(), quiet })
    }

    pub(crate) async fn run(mut self, sql: &mut SqlRunner<'_>) -> Result<ExitStatus> {
        self.note("\\? shows help, \\q quits");
        while let Some(input) = self.next(sql.session.in_transaction())? {
            match self.run_input(&input.text, sql).await {
                Ok(Next::Continue) => {}
                Ok(Next::Quit) if self.scripts.end_one() => {}
                Ok(Next::Quit) => break,
                Err(e) => {
                    match input.place {
                        Some(place) => warn(&format!("error: {place}: {e}")),
                        None => warn(&format!("error: {e}")),
                    }
                    self.scripts.clear();
                }
            }
        }
        if sql.session.close().await? {
            warn("the open transaction was rolled back");
        }
        Ok(ExitStatus::Success)
    }

    /// The next input: of the files that are being run, or else from the terminal. `None` at its end.
    fn next(&mut self, in_transaction: bool) -> Result<Option<Input>> {
        if let Some((text, place)) = self.scripts.next_part() {
            return Ok(Some(Input { text, place: Some(place) }));
        }
        let prompt = if in_transaction { "dl*> " } else { "dl> " };
        loop {
            match tokio::task::block_in_place(|| self.editor.read(prompt))? {
                Typed::End => return Ok(None),
                Typed::Text(text) if !text.trim().is_empty() => {
                    self.editor.remember(text.trim());
                    return Ok(Some(Input { text, place: None }));
                }
                Typed::Text(_) | Typed::Interrupt => {}
            }
        }
    }

    async fn run_input(&mut self, text: &str, sql: &mut SqlRunner<'_>) -> Result<Next> {
        if !is_command(text) {
            return run_statements(text, sql).await.map(|()| Next::Continue);
        }
        match ShellCommand::parse(text)? {
            ShellCommand::Statement(text) => run_statements(&text, sql).await?,
            ShellCommand::Help => warn(HELP),
            ShellCommand::Quit => return Ok(Next::Quit),
            ShellCommand::Include(file) => self.scripts.include(file)?,
            ShellCommand::Output(None) => sql.results.file = None,
            ShellCommand::Output(Some(file)) => sql.results.file = Some(create(&file)?),
            ShellCommand::Timing(state) => {
                sql.results.timing = state.unwrap_or(!sql.results.timing);
                self.note(if sql.results.timing { "timing is on" } else { "timing is off" });
            }
            ShellCommand::Expanded(state) => {
                sql.results.expanded = state.unwrap_or(!sql.results.expanded);
                self.note(if sql.results.expanded { "expanded display is on" } else { "expanded display is off" });
            }
        }
        Ok(Next::Continue)
    }

    fn note(&self, text: &str) {
        if !self.quiet {
            warn(text);
        }
    }
}

/// Runs statements until they end, or until Ctrl-C.
async fn run_statements(text: &str, sql: &mut SqlRunner<'_>) -> Result<()> {
    let may_commit = sql.session.in_transaction() || sql.session.summary(text)?.writes;
    let ended = tokio::select! {
        // The signal first: it is caught before a statement begins.
        biased;
        Ok(()) = tokio::signal::ctrl_c() => None,
        ended = sql.run(text) => Some(ended),
    };
    match ended {
        Some(ended) => ended,
        None => Err(interrupted(sql, may_commit).await?),
    }
}

/// Rolls back what an interrupted statement has begun.
async fn interrupted(sql: &mut SqlRunner<'_>, may_commit: bool) -> Result<TxnLogError> {
    Ok(TxnLogError::invalid(match (sql.session.close().await?, may_commit) {
        (true, _) => "interrupted; the transaction was rolled back",
        (false, true) => {
            "interrupted; a commit that had begun may have succeeded: query the tables before you repeat the statement"
        }
        (false, false) => "interrupted",
    }))
}

fn create(file: &Path) -> Result<File> {
    File::create(file).map_err(|e| {
        let message = format!("the file {} cannot be created: choose another one with \\o FILE", file.display());
        TxnLogError::new(ErrorKind::Unavailable, message).with_source(e)
    })
}
