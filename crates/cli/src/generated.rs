//! What is generated from the command line: completions for shells, and manual pages.

use std::io::Write;
use std::path::Path;

use clap_complete::Shell;
use deltalakedb_log::{ErrorKind, Result, TxnLogError};

use crate::context::CommandContext;
use crate::exit::ExitStatus;
use crate::help;

/// Prints the completion script of a shell.
pub(crate) fn completions(shell: Shell) -> Result<ExitStatus> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut help::command(), "dl", &mut script);
    let mut out = std::io::stdout().lock();
    let written = out.write_all(&script).and_then(|()| out.flush());
    let failed = |e| TxnLogError::new(ErrorKind::Unavailable, "the script cannot be printed").with_source(e);
    written.map(|()| ExitStatus::Success).map_err(failed)
}

/// Writes a manual page for each command.
pub(crate) fn manual(s: &CommandContext, folder: &Path) -> Result<ExitStatus> {
    let place = folder.display();
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(help::command(), folder));
    written.map_err(|e| {
        TxnLogError::new(ErrorKind::Unavailable, format!("the manual pages cannot be written to {place}"))
            .with_source(e)
    })?;
    s.output()
        .say(&format!("the manual pages are in {place}: `man -l {}` shows the first", folder.join("dl.1").display()))?;
    Ok(ExitStatus::Success)
}
