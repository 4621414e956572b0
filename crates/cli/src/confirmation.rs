//! Questions before what cannot be undone, or surprises.

use std::io::{IsTerminal, Write};

use deltalakedb_log::{Result, TxnLogError};

use crate::output::visible;

/// Asks for confirmation before an irreversible action; without a terminal, `--yes` must have been passed.
pub(crate) fn require(yes: bool, what: &str) -> Result<()> {
    if yes {
        Ok(())
    } else if is_terminal() {
        question(what)
    } else {
        Err(TxnLogError::invalid(format!("nothing was done: {what}; pass --yes to confirm")))
    }
}

/// Asks for confirmation on a terminal; elsewhere the command itself is the confirmation.
pub(crate) fn ask(yes: bool, what: &str) -> Result<()> {
    if yes || !is_terminal() { Ok(()) } else { question(what) }
}

fn is_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

fn question(what: &str) -> Result<()> {
    let failed = |e: std::io::Error| TxnLogError::invalid("the answer cannot be read: pass --yes").with_source(e);
    let mut err = std::io::stderr();
    write!(err, "{}. Continue? [y/N] ", visible(what)).and_then(|()| err.flush()).map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(failed)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(TxnLogError::invalid("nothing was done")),
    }
}
