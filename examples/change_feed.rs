//! Reads the changes of a table, row by row.
//!
//! `cargo run --example change_feed`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::util::pretty::pretty_format_batches;
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{Location, TableRef};
use deltalakedb_table::{DeltaTable, WriteOptions, connect, create_with_data};
use futures::TryStreamExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let catalog = connect(&format!("deltasql://sqlite/{}/meta.db", dir.path().display())).await?;
    let options = WriteOptions::default();
    let new = NewTable::new("numbers".parse()?, Location::parse(&dir.path().join("numbers").to_string_lossy())?);
    let n: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let rows = vec![RecordBatch::try_from_iter([("n", n)])?];
    // Changes are recorded from the version that sets this property on.
    let properties = HashMap::from([("delta.enableChangeDataFeed".to_string(), "true".to_string())]);
    create_with_data(catalog.as_ref(), new.clone(), rows, &[], &properties, &options).await?;
    let table = DeltaTable::open_in(catalog, &TableRef::Name(new.name)).await?;

    table.update(&[("n", "n * 10")], Some("n = 2"), &options).await?;
    table.delete(Some("n = 3"), &options).await?;

    let changes: Vec<_> = table.changes(1, None).await?.try_collect().await?;
    println!("{}", pretty_format_batches(&changes)?);
    Ok(())
}
