//! Tests that need more than one crate: tables written by others, random histories, many writers, object stores.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests speak by panicking")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says why")]

mod azure;
mod checkpoints;
mod concurrency;
mod copy;
mod crate_layers;
mod duckdb_mirror;
mod features;
mod fixtures;
mod foreign;
mod from_scratch;
mod golden;
mod guests;
mod hidden;
mod mirror;
mod module_graph;
mod module_layers;
mod object_stores;
mod operations;
mod outside;
mod owners;
mod property;
mod rebuild;
mod restored;
mod row_tables;
mod s3;
mod seams;
mod semantics;
mod shop;
mod sql;
mod transactions;
mod uris;
mod values;
mod vectors;
