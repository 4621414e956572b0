//! Tests of the catalog's public interface, in every database.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests speak by panicking")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says why")]

mod clocks;
#[path = "../../../../tests/src/databases.rs"]
#[allow(unreachable_pub, reason = "the file is shared")]
mod databases;
mod limits;
mod planning;
mod server;
