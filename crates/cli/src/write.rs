//! Creates tables and writes rows from files.

use std::collections::HashMap;
use std::sync::Arc;

use deltalakedb_log::action::Action;
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{At, Catalog, ErrorKind, Location, Result, TableEntry, TableName, TableRef, TxnLogError};
use deltalakedb_table::{DeltaTable, Operation, SaveMode, SchemaMode, WriteRows, commit};
use serde_json::json;

use crate::args::{Evolution, Format, Mode, WriteArgs, key_values};
use crate::context::CommandContext;
use crate::exit::ExitStatus;
use crate::input::{self, Columns};
use crate::operation::describe;
use crate::report::entry_json;

pub(crate) async fn create(
    s: &CommandContext,
    name: &str,
    location: Option<&str>,
    schema: &str,
    partition_by: &[String],
    properties: &[String],
) -> Result<ExitStatus> {
    let name: TableName = name.parse()?;
    let schema = deltalakedb_table::parse_schema(schema)?;
    let properties = key_values(properties)?;
    let location = s.new_location(&name, location)?;
    let new = NewTable::new(name, location);
    let catalog = s.catalog(true).await?;
    let options = s.write_options();
    deltalakedb_table::create_table(catalog.as_ref(), new.clone(), &schema, partition_by, &properties, &options)
        .await?;
    publish_and_report(s, &catalog, &TableRef::Name(new.name)).await
}

/// Publishes a table that was just written, and prints its version.
async fn publish_and_report(s: &CommandContext, catalog: &Arc<dyn Catalog>, table: &TableRef) -> Result<ExitStatus> {
    let entry = s.publish(catalog, table).await?;
    let mut out = s.output();
    match out.format() {
        Format::Table => out.say(&format!("{} is at version {}", entry.name, entry.current_version))?,
        _ => out.document(&entry_json(&entry))?,
    }
    Ok(ExitStatus::Success)
}

/// Prints why a table is unchanged.
fn report_unchanged(s: &CommandContext, entry: &TableEntry, why: &str) -> Result<ExitStatus> {
    let mut out = s.output();
    match out.format() {
        Format::Table => out.say(&format!("{why}: nothing was written"))?,
        _ => out.document(&entry_json(entry))?,
    }
    Ok(ExitStatus::Success)
}

pub(crate) async fn write(s: &CommandContext, args: WriteArgs) -> Result<ExitStatus> {
    let catalog = s.catalog(!args.dry_run).await?;
    let (mode, entry) = match (args.mode, s.find(catalog.as_ref(), &args.name).await?) {
        (_, None) => return create_with_rows(s, &catalog, args).await,
        (Mode::Ignore, Some(entry)) => return report_unchanged(s, &entry, &format!("{} already exists", entry.name)),
        (Mode::Error, Some(entry)) => {
            let message = format!("the table {} already exists: pass --mode append or overwrite", entry.name);
            return Err(TxnLogError::new(ErrorKind::AlreadyExists, message));
        }
        (Mode::Append, Some(entry)) => (SaveMode::Append, entry),
        (Mode::Overwrite, Some(entry)) => (SaveMode::Overwrite, entry),
    };
    let table = DeltaTable::open_in(catalog.clone(), &TableRef::Id(entry.id)).await?;
    let schema = table.schema(At::Latest).await?;
    let (columns, schema_mode) = match args.schema_mode {
        None => (Columns::Of(&schema), None),
        Some(Evolution::Merge) => (Columns::AndMore(&schema), Some(SchemaMode::Merge)),
        Some(Evolution::Overwrite) => (Columns::Found, Some(SchemaMode::Overwrite)),
    };
    let rows = input::open(&args.input, args.input_format, columns)?;
    let write = WriteRows { replace_where: args.replace_where, schema_mode, ..WriteRows::new(rows, mode) };
    let options = s.write_options();
    let working = s.working(format!("writing to {}", entry.name));
    let prepared = table.prepare(Operation::Write(write), &options).await?;
    drop(working);
    if args.dry_run {
        return describe(s, &entry, prepared).await;
    }
    let Some(write) = prepared else {
        return report_unchanged(s, &entry, &format!("{} changes nothing", args.input));
    };
    // An overwrite without rows empties the table; an append without rows would create a version for nothing.
    if mode == SaveMode::Append && !write.request().actions().iter().any(|a| matches!(a, Action::Add(_))) {
        write.discard().await;
        return report_unchanged(s, &entry, &format!("{} has no rows", args.input));
    }
    commit(catalog.as_ref(), vec![write], &options).await?;
    publish_and_report(s, &catalog, &TableRef::Id(entry.id)).await
}

/// Prints that a table would be created.
fn report_new(s: &CommandContext, name: &TableName, location: &Location) -> Result<ExitStatus> {
    let mut out = s.output();
    match out.format() {
        Format::Table => out.say(&format!("{name} would be created at {location}: nothing was written"))?,
        _ => out.document(&json!({"name": name.to_string(), "location": location.to_string(), "dryRun": true}))?,
    }
    Ok(ExitStatus::Success)
}

async fn create_with_rows(s: &CommandContext, catalog: &Arc<dyn Catalog>, args: WriteArgs) -> Result<ExitStatus> {
    let name: TableName = args.name.parse()?;
    if args.replace_where.is_some() || args.schema_mode.is_some() {
        return Err(TxnLogError::invalid(format!(
            "the table {name} does not exist: omit --replace-where and --schema-mode to create it"
        )));
    }
    let location = match s.new_location(&name, args.location.as_deref()) {
        Ok(location) => location,
        // A name similar to an existing one is more likely a typing error than a new table.
        Err(no_place) => {
            let near = deltalakedb_log::require(catalog.as_ref(), &TableRef::Name(name)).await;
            return Err(near
                .err()
                .map_or(no_place, |e| TxnLogError::new(e.kind(), format!("{e}; for a new table, pass --location"))));
        }
    };
    let rows = input::open(&args.input, args.input_format, Columns::Found)?;
    let new = NewTable::new(name.clone(), location);
    let (properties, options) = (HashMap::new(), s.write_options());
    if args.dry_run {
        deltalakedb_table::check_location(catalog.as_ref(), &new, &options).await?;
        return report_new(s, &name, &new.location);
    }
    let by = &args.partition_by;
    let working = s.working(format!("writing to {name}"));
    deltalakedb_table::create_with_data(catalog.as_ref(), new, rows, by, &properties, &options).await?;
    drop(working);
    publish_and_report(s, catalog, &TableRef::Name(name)).await
}
