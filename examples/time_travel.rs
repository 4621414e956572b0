//! Reads an earlier version of a table, and restores it.
//!
//! `cargo run --example time_travel`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{At, Location, TableRef};
use deltalakedb_table::{DeltaTable, Scan, WriteOptions, connect, create_with_data};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let catalog = connect(&format!("deltasql://sqlite/{}/meta.db", dir.path().display())).await?;
    let options = WriteOptions::default();
    let new = NewTable::new("numbers".parse()?, Location::parse(&dir.path().join("numbers").to_string_lossy())?);
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
    let rows = vec![RecordBatch::try_from_iter([("n", n)])?];
    create_with_data(catalog.as_ref(), new.clone(), rows, &[], &HashMap::new(), &options).await?;
    let table = DeltaTable::open_in(catalog, &TableRef::Name(new.name)).await?;

    table.delete(Some("n < 8"), &options).await?;
    let then = table.head().await?.timestamp;
    table.delete(None, &options).await?;

    for at in [At::Version(0), At::Version(1), At::Timestamp(then), At::Latest] {
        println!("{at:?}: {} rows", count(&table, at).await?);
    }
    table.restore(At::Version(0), &options).await?;
    println!("restored: {} rows at version {}", count(&table, At::Latest).await?, table.head().await?.version);
    Ok(())
}

async fn count(table: &DeltaTable, at: At) -> Result<usize, Box<dyn Error>> {
    let batches = table.read(&Scan { at, ..Scan::default() }).await?;
    Ok(batches.iter().map(RecordBatch::num_rows).sum())
}
