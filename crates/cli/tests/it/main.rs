//! `dl` as users and programs see it: its output, its errors, and the state after a crash.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests speak by panicking")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says why")]

mod bad_input;
mod command_line;
mod commands;
mod configuration;
mod crash;
#[path = "../../../../tests/src/databases.rs"]
#[allow(unreachable_pub, dead_code, reason = "the file is shared")]
mod databases;
mod dry_run;
mod expire;
mod holds;
mod lifecycle;
mod metrics;
mod mirror;
mod on_terminal;
mod operating;
mod operations;
mod otlp;
mod outage;
mod output;
mod owners;
#[path = "../../../../tests/src/programs.rs"]
#[allow(unreachable_pub, dead_code, reason = "the file is shared")]
mod programs;
mod pseudoterminal;
mod rebuild;
mod restored;
mod rights;
#[path = "../../../../tests/src/row_model.rs"]
#[allow(unreachable_pub, dead_code, reason = "the file is shared")]
mod row_model;
mod row_tables;
mod shell;
mod sql;
mod test_folder;
mod watch;
