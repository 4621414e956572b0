//! Publishing to object stores that fail, and concurrently with other publishers. All tests run in memory and from a
//! seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests speak by panicking")]
#![allow(clippy::print_stderr, reason = "a schedule that goes wrong is named")]

mod deferred_sync;
mod expiry;
mod publishing;
mod reconciling;
mod schedules;
mod simulation;
mod watched;
