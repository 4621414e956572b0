//! Tests that need more than one crate: tables written by others, random histories, many writers, object stores.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests speak by panicking")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says why")]

mod arrows;
mod concurrency;
mod copy;
mod fixtures;
mod golden;
mod mirror;
mod property;
mod s3;
mod sql;
mod uris;
