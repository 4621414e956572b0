//! Publishing over object stores that fail, and beside other publishers. Everything is in memory and runs from a seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests speak by panicking")]
#![allow(clippy::print_stderr, reason = "a schedule that goes wrong is named")]

mod expiry;
mod publishing;
mod schedules;
mod simulation;
mod watched;
