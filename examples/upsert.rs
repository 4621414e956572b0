//! Merges rows into a table: matching rows are updated, the others inserted.
//!
//! `cargo run --example upsert`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::util::pretty::pretty_format_batches;
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{Location, TableRef};
use deltalakedb_table::{Assignments, DeltaTable, Merge, MergeClause, Scan, WriteOptions, connect, create_with_data};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let catalog = connect(&format!("deltasql://sqlite/{}/meta.db", dir.path().display())).await?;
    let options = WriteOptions::default();
    let new = NewTable::new("stock".parse()?, Location::parse(&dir.path().join("stock").to_string_lossy())?);
    let rows = vec![stock(&[1, 2, 3], &[10, 20, 30])?];
    create_with_data(catalog.as_ref(), new.clone(), rows, &[], &HashMap::new(), &options).await?;
    let table = DeltaTable::open_in(catalog, &TableRef::Name(new.name)).await?;

    // The first applicable clause decides for each row.
    let upsert = Merge::on("target.id = source.id")
        .when(MergeClause::MatchedDelete { condition: Some("source.amount = 0".into()) })
        .when(MergeClause::MatchedUpdate { condition: None, set: Assignments::All })
        .when(MergeClause::NotMatchedInsert { condition: None, values: Assignments::All });
    let finished = table.merge(upsert, vec![stock(&[2, 3, 4], &[25, 0, 40])?], &options).await?;

    for what in ["inserted", "updated", "deleted"] {
        println!("{what}: {}", finished.metrics[format!("num_target_rows_{what}")]);
    }
    println!("{}", pretty_format_batches(&table.read(&Scan::default()).await?)?);
    Ok(())
}

fn stock(ids: &[i64], amounts: &[i64]) -> Result<RecordBatch, Box<dyn Error>> {
    let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    let amounts: ArrayRef = Arc::new(Int64Array::from(amounts.to_vec()));
    Ok(RecordBatch::try_from_iter([("id", ids), ("amount", amounts)])?)
}
