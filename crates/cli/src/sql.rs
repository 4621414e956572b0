//! `dl sql`: statements from the command line, from standard input, or typed interactively.

use std::io::{IsTerminal, Read};
use std::path::Path;

use deltalakedb_log::{Result, TxnLogError};
use deltalakedb_table::ScriptSummary;

use crate::context::CommandContext;
use crate::exit::ExitStatus;
use crate::output::warn;
use crate::shell::Shell;
use crate::sql_session::SqlRunner;

/// Runs the statements; without any, those of standard input, or a shell on a terminal. `data` is a data directory of
/// row tables.
pub(crate) async fn run(s: &CommandContext, statements: Option<String>, data: Option<&Path>) -> Result<ExitStatus> {
    let text = match statements {
        Some(text) => text,
        None if std::io::stdin().is_terminal() => {
            let mut sql = SqlRunner::open(s, data, false).await?;
            let status = Shell::new(s.global.quiet)?.run(&mut sql).await;
            let closed = sql.close().await;
            return status.and_then(|status| closed.map(|_| status));
        }
        None => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|e| TxnLogError::invalid("the statements on standard input cannot be read").with_source(e))?;
            text
        }
    };
    // A catalog that does not exist has no tables to query; it is created with the first table.
    let mut sql = SqlRunner::open(s, data, ScriptSummary::of(&text)?.writes).await?;
    let ran = sql.run(&text).await;
    let closed = sql.close().await;
    let rolled_back = matches!(closed, Ok(true));
    if ran.is_err() && rolled_back {
        warn("the transaction was rolled back");
    }
    ran?;
    if closed? {
        Err(TxnLogError::invalid("the transaction was rolled back: the statements end without COMMIT"))
    } else {
        Ok(ExitStatus::Success)
    }
}
