//! `dl`: the catalog from the command line.
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 3 a check found something, 4 conflict.

mod alarm;
mod alerting;
mod args;
mod commands;
mod context;
mod demo;
mod duckdb_mirror;
mod exit;
mod expire;
mod expiry_report;
mod gone_tables;
mod input;
mod lifecycle;
mod merge;
mod metrics;
mod mirror;
mod operation;
mod operations;
mod output;
mod progress;
mod publishing;
mod rebuild;
mod report;
mod rows;
mod shell;
mod sql;
mod sql_session;
mod values;
mod webhook;
mod write;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use deltalakedb_log::{ErrorKind, Result, TxnLogError};

use crate::args::Cli;
use crate::context::CommandContext;
use crate::exit::ExitStatus;
use crate::output::warn;

fn main() -> ExitCode {
    let (cli, before) = Cli::read();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into());
    let colours = std::io::stderr().is_terminal();
    // The end of a span is printed with its duration, where RUST_LOG enables the span.
    let ends = tracing_subscriber::fmt::format::FmtSpan::CLOSE;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_span_events(ends);
    subscriber.with_writer(std::io::stderr).init();
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| TxnLogError::new(ErrorKind::Unavailable, "no threads can be started").with_source(e));
    let ended = ended.and_then(|runtime| {
        let ended = runtime.block_on(run(cli, before));
        // A call to a disk that does not answer cannot be stopped, and is not waited for.
        runtime.shutdown_timeout(Duration::from_secs(1));
        ended
    });
    match ended {
        Ok(ExitStatus::Success) => ExitCode::SUCCESS,
        Ok(ExitStatus::Found) => ExitCode::from(3),
        // A closed pipe at standard output is not an error: the reader needs no more output.
        Err(e) if is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            warn(&format!("error: {e}"));
            ExitCode::from(if e.kind() == ErrorKind::Conflict { 4 } else { 1 })
        }
    }
}

fn is_broken_pipe(e: &TxnLogError) -> bool {
    let cause = std::error::Error::source(e).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

async fn run(mut cli: Cli, before: Vec<String>) -> Result<ExitStatus> {
    let session = CommandContext::new(&mut cli, before)?;
    let ended = commands::run(&session, cli.command).await;
    session.close().await;
    ended
}
