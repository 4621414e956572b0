//! Moves an amount from one table to another: both change in one commit, or none does.
//!
//! `cargo run --example two_tables`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::util::pretty::pretty_format_batches;
use deltalakedb_log::Location;
use deltalakedb_log::commit::NewTable;
use deltalakedb_table::{Scan, Transaction, TransactionOptions, connect};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let catalog = connect(&format!("deltasql://sqlite/{}/meta.db", dir.path().display())).await?;

    // Tables can be created in a transaction as well.
    let tx = Transaction::begin(catalog.clone(), TransactionOptions::default()).await?;
    for name in ["north", "south"] {
        let location = Location::parse(&dir.path().join(name).to_string_lossy())?;
        let amount: ArrayRef = Arc::new(Int64Array::from(vec![100]));
        let rows = vec![RecordBatch::try_from_iter([("amount", amount)])?];
        tx.create_with_data(NewTable::new(name.parse()?, location), rows, &[], &HashMap::new()).await?;
    }
    tx.commit().await?;

    // The transaction reads its own writes; other readers do not see them before the commit.
    let tx = Transaction::begin(catalog.clone(), TransactionOptions::default()).await?;
    tx.update("north", &[("amount", "amount - 30")], None).await?;
    tx.update("south", &[("amount", "amount + 30")], None).await?;
    println!("{}", pretty_format_batches(&tx.read("south", &Scan::default()).await?)?);
    for committed in tx.commit().await? {
        println!("version {} at {}", committed.version, committed.timestamp);
    }

    // A transaction that is dropped, or rolled back, leaves no changes.
    let tx = Transaction::begin(catalog, TransactionOptions::default()).await?;
    tx.delete("north", None).await?;
    tx.rollback().await;
    Ok(())
}
