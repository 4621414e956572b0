//! Appends rows to a table whose log is in a SQLite file, and reads some of them back.
//!
//! `cargo run --example append_and_read`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::util::pretty::pretty_format_batches;
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{Location, TableRef};
use deltalakedb_table::{DeltaTable, SaveMode, Scan, WriteOptions, connect, create_table, parse_schema};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let catalog = connect(&format!("deltasql://sqlite/{}/meta.db", dir.path().display())).await?;
    let options = WriteOptions::default();

    let new = NewTable::new("sales.orders".parse()?, Location::parse(&dir.path().join("orders").to_string_lossy())?);
    let schema = parse_schema("id long not null, price double")?;
    create_table(catalog.as_ref(), new.clone(), &schema, &[], &HashMap::new(), &options).await?;

    let orders = DeltaTable::open_in(catalog, &TableRef::Name(new.name)).await?;
    for first in [1, 100] {
        let committed = orders.write(vec![rows(first)?], SaveMode::Append, &options).await?;
        println!("version {:?}", committed.map(|c| c.version));
    }

    let cheap = Scan { filter_sql: Some("price < 3".into()), ..Scan::default() };
    println!("{}", pretty_format_batches(&orders.read(&cheap).await?)?);
    Ok(())
}

fn rows(first: i64) -> Result<RecordBatch, Box<dyn Error>> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(first..first + 3));
    let prices: ArrayRef = Arc::new(Float64Array::from_iter_values((1..=3).map(f64::from)));
    Ok(RecordBatch::try_from_iter([("id", ids), ("price", prices)])?)
}
