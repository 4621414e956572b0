//! `dl`: the catalog from the command line.
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 3 a check found something, 4 conflict.

mod alarm;
mod alerting;
mod args;
mod collector;
mod command_line;
mod commands;
mod confirmation;
mod context;
mod demo;
mod duckdb_mirror;
mod exit;
mod expanded;
mod expire;
mod expiry_report;
mod generated;
mod help;
mod input;
mod lifecycle;
mod merge;
mod metrics;
mod mirror;
mod open_spans;
mod operation;
mod operations;
mod otlp_recorder;
mod output;
mod progress;
mod publishing;
mod rebuild;
mod recorder;
mod report;
mod rows;
mod shell;
mod sql;
mod sql_session;
mod table_gauges;
mod telemetry;
mod terminal;
mod values;
mod webhook;
mod write;

use std::process::ExitCode;
use std::time::Duration;

use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use opentelemetry::metrics::Meter;
use tracing::{Instrument, Span, debug_span};

use crate::args::{Cli, Command, Format, MirrorCommand};
use crate::context::CommandContext;
use crate::exit::ExitStatus;
use crate::output::{json_error, warn};
use crate::telemetry::Telemetry;

fn main() -> ExitCode {
    let (cli, before) = match command_line::read() {
        Ok(read) => read,
        Err(code) => return code,
    };
    let is_json = cli.global.format == Format::Json;
    let verbose = cli.global.verbose;
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| TxnLogError::new(ErrorKind::Unavailable, "no threads can be started").with_source(e));
    let ended = ended.and_then(|runtime| {
        let telemetry = Telemetry::start(runtime.handle(), verbose);
        let ended = runtime.block_on(run(cli, before, telemetry.meter()));
        // The last requests to the collector need the runtime.
        telemetry.shutdown();
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
            let code = if e.kind() == ErrorKind::Conflict { 4 } else { 1 };
            if is_json {
                json_error(&format!("{:?}", e.kind()), &e.to_string(), code);
            } else {
                warn(&format!("error: {e}"));
            }
            ExitCode::from(code)
        }
    }
}

fn is_broken_pipe(e: &TxnLogError) -> bool {
    let cause = std::error::Error::source(e).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

async fn run(mut cli: Cli, before: Vec<String>, meter: Option<Meter>) -> Result<ExitStatus> {
    let (is_watch, is_served) = match &cli.command {
        Command::Mirror { command: MirrorCommand::Run { watch, metrics } } => (*watch, metrics.is_some()),
        _ => (false, false),
    };
    // Before a catalog is opened, so that nothing is missing.
    let metrics = recorder::install(meter, is_served)?;
    // A watch may run for months: each of its operations is a trace of its own.
    let span = if is_watch { Span::none() } else { debug_span!(target: "deltalakedb::operation", "command") };
    let session = CommandContext::new(&mut cli, before, metrics)?;
    let command = async {
        let ended = commands::run(&session, cli.command).await;
        session.close().await;
        ended
    };
    command.instrument(span).await
}
