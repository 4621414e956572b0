//! Publishing to object stores that fail, and concurrently with other publishers. All tests run in memory and from a
//! seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests speak by panicking")]
#![allow(clippy::print_stderr, reason = "a schedule that goes wrong is named")]

mod deferred_sync;
mod expiry;
#[path = "../../../../tests/src/intercepted_catalog.rs"]
#[allow(unreachable_pub, dead_code, reason = "the file is shared")]
mod intercepted_catalog;
mod interceptors;
mod publishing;
mod reconciling;
mod schedules;
mod simulation;
