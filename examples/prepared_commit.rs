//! Replaces a row by a new data file and a deletion vector, in one commit: the parts for programs that have their own
//! operations, such as a row engine.
//!
//! `cargo run --example prepared_commit`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, UInt32Type};
use arrow::util::pretty::pretty_format_batches;
use deltalakedb_log::action::Action;
use deltalakedb_log::commit::{Base, NewTable, Reads};
use deltalakedb_log::{Location, Object, TableRef};
use deltalakedb_table::{
    DeltaTable, FILE_COLUMN, NumberedFile, POSITION_COLUMN, PreparedCommit, SaveMode, Scan, TableSpec, WriteOptions,
    commit, connect, parse_schema, query, query_session,
};
use futures::TryStreamExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let catalog = connect(&format!("deltasql://sqlite/{}/meta.db", dir.path().display())).await?;
    let options = WriteOptions::default();
    let new = NewTable::new("notes".parse()?, Location::parse(&dir.path().join("notes").to_string_lossy())?);
    let properties = HashMap::from([("delta.enableDeletionVectors".to_string(), "true".to_string())]);
    let (spec, schema) = (TableSpec::new(&[], &properties), parse_schema("id long, body string")?);
    spec.create(catalog.as_ref(), new.clone(), &schema, &options).await?;
    let table = DeltaTable::open_in(catalog.clone(), &TableRef::Name(new.name)).await?;
    table.write(rows((0..10).collect(), "old")?, SaveMode::Append, &options).await?;

    // Where the row is: the number of its file, and its position in it.
    let head = table.head().await?;
    let version = head.version;
    let files = table.reader().await?.files(version, None).await?.try_collect().await?;
    let mut masked = table.load_masks(files).await?;
    let numbered = (0..).zip(masked.clone()).map(|(number, file)| NumberedFile { number, file });
    let session = query_session([])?;
    session.register_table("numbered", table.numbered_rows(head, numbered.collect())?)?;
    let sql = format!("SELECT \"{FILE_COLUMN}\", \"{POSITION_COLUMN}\" FROM numbered WHERE id = 7");
    for batch in query(&session, &sql).await?.collect().await? {
        let files = batch.column(0).as_primitive::<UInt32Type>().values();
        let positions = batch.column(1).as_primitive::<Int64Type>().values();
        for (file, position) in files.iter().zip(positions) {
            masked[*file as usize].hidden.insert(u64::try_from(*position)?);
            println!("the row is at position {position} of file {file}");
        }
    }
    masked.retain(|file| !file.hidden.is_empty());

    // These files are durable, and no version names them yet.
    let written = table.write_data_files(rows(vec![7], "new")?, &options).await?;
    let masks = table.write_masks(masked, &options).await?;
    let mut files = written.files;
    files.extend(&masks.files);
    let prepared = PreparedCommit {
        id: options.clock.new_uuid(),
        base: Base::Exactly(version),
        reads: Reads::default(),
        isolation: None,
        operation: "REPLACE".into(),
        parameters: Object::default(),
        actions: written.adds.into_iter().map(Action::add).chain(masks.actions).collect(),
        files,
        began_at_ms: written.began_at_ms.min(masks.began_at_ms),
    };
    // A program that stores the id, and the actions, can send the commit again after a crash: it is made once.
    for _ in 0..2 {
        let pending = table.prepare_commit(prepared.clone(), &options).await?;
        for committed in commit(catalog.as_ref(), vec![pending], &options).await? {
            println!("version {}", committed.version);
        }
    }
    let replaced = Scan { filter_sql: Some("id >= 6".into()), ..Scan::default() };
    println!("{}", pretty_format_batches(&table.read(&replaced).await?)?);
    Ok(())
}

fn rows(ids: Vec<i64>, body: &str) -> Result<Vec<RecordBatch>, Box<dyn Error>> {
    let bodies: ArrayRef = Arc::new(StringArray::from(vec![body; ids.len()]));
    let ids: ArrayRef = Arc::new(Int64Array::from(ids));
    Ok(vec![RecordBatch::try_from_iter([("id", ids), ("body", bodies)])?])
}
