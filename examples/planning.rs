//! Shows which files a query needs, and how the catalog finds them.
//!
//! `cargo run --example planning`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{At, Location, TableRef, TxnLogReaderExt};
use deltalakedb_table::{DeltaTable, SaveMode, WriteOptions, connect, create_table, parse_schema, predicate_from_sql};
use futures::TryStreamExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let catalog = connect(&format!("deltasql://sqlite/{}/meta.db", dir.path().display())).await?;
    let options = WriteOptions::default();
    let new = NewTable::new("numbers".parse()?, Location::parse(&dir.path().join("numbers").to_string_lossy())?);
    create_table(catalog.as_ref(), new.clone(), &parse_schema("n long")?, &[], &HashMap::new(), &options).await?;
    let table = DeltaTable::open_in(catalog, &TableRef::Name(new.name)).await?;
    for file in 0..5 {
        let n: ArrayRef = Arc::new(Int64Array::from_iter_values(file * 100..(file + 1) * 100));
        table.write(vec![RecordBatch::try_from_iter([("n", n)])?], SaveMode::Append, &options).await?;
    }

    let reader = table.reader().await?;
    let predicate = predicate_from_sql("n between 250 and 310", table.schema(At::Latest).await?.as_ref())?;
    let version = reader.head().await?.version;
    let files: Vec<_> = reader.files(version, Some(&predicate)).await?.try_collect().await?;
    for file in &files {
        println!("{} {}", file.path, file.stats.as_deref().unwrap_or("without statistics"));
    }
    let how = reader.explain(version, &predicate).await?;
    println!("{} files examined, {} found, {} kept", how.examined, how.found, how.kept);
    println!("the least and the greatest n, from the log alone: {:?}", table.min_max(At::Latest, "n").await?);
    Ok(())
}
