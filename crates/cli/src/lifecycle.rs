//! Renaming, dropping, undropping and detaching tables.

use std::sync::Arc;

use deltalakedb_log::lifecycle::undrop_command;
use deltalakedb_log::listing::inactive_tables;
use deltalakedb_log::lookup::find_dropped;
use deltalakedb_log::{Catalog, Location, Result, TableEntry, TableName, TableRef, TableState, require};
use deltalakedb_table::{DeletedFiles, DropOptions, DroppedInactive, WriteOptions};
use futures::TryStreamExt;
use serde_json::{Value, json};

use crate::args::{DropArgs, Format, OwnerArgs};
use crate::confirmation;
use crate::context::{CommandContext, is_location};
use crate::exit::ExitStatus;
use crate::output::warn;
use crate::report::{counted, entry_json, iso};

/// The write options, in the name of the table's owner if one is given.
fn options_of(s: &CommandContext, by: OwnerArgs) -> WriteOptions {
    WriteOptions { owner: by.owner, ..s.write_options() }
}

pub(crate) async fn rename(s: &CommandContext, old: &str, new: &str, by: OwnerArgs) -> Result<ExitStatus> {
    let (catalog, entry) = s.table(old).await?;
    let renamed = catalog.rename_table(entry.id, &new.parse()?, &options_of(s, by).committer()).await?;
    let mut out = s.output();
    match out.format() {
        Format::Table => out.say(&format!("{} was renamed to {}", entry.name, renamed.name))?,
        _ => out.document(&entry_json(&renamed))?,
    }
    Ok(ExitStatus::Success)
}

/// The table for an operation that removes it: a location only if the text cannot be a name.
fn table_ref(text: &str) -> Result<TableRef> {
    if is_location(text) { Location::parse(text).map(TableRef::Location) } else { text.parse().map(TableRef::Name) }
}

pub(crate) async fn drop(s: &CommandContext, args: DropArgs) -> Result<ExitStatus> {
    let catalog = s.catalog(false).await?;
    let drop_options = DropOptions { delete_files: args.delete_files, force: args.force };
    let table = table_ref(&args.name)?;
    let entry = match (catalog.find(&table).await?, &table) {
        (Some(entry), _) => entry,
        (None, TableRef::Name(name)) if !args.dry_run => {
            return drop_inactive(s, &catalog, name, drop_options, args.by).await;
        }
        (None, _) => require(catalog.as_ref(), &table).await?,
    };
    let (name, place) = (&entry.name, &entry.location);
    if args.dry_run {
        let files = if args.delete_files { "be deleted permanently" } else { "stay" };
        let sentence = format!("{name} would be dropped, and its files at {place} would {files}: nothing was done");
        return would(s, &entry, &sentence);
    }
    if drop_options.delete_files {
        confirmation::require(args.yes, &format!("the files of {name} below {place} will be deleted permanently"))?;
    } else {
        confirmation::ask(
            args.yes,
            &format!("{name} will be dropped, and `dl undrop` restores it for a limited time"),
        )?;
    }
    let (mirror, options) = (s.mirror(&catalog), options_of(s, args.by));
    let dropped = deltalakedb_table::drop_table(&mirror, entry.id, drop_options, &options).await?;
    let inactive = catalog.inactive_table(entry.id).await?.filter(|table| table.state == TableState::Dropped);
    let until = inactive.and_then(|table| table.retained_until);
    let mut out = s.output();
    if out.format() != Format::Table {
        let mut document = entry_json(&dropped.table);
        document["state"] = "dropped".into();
        document["retainedUntil"] = until.map(iso).into();
        document["filesDeleted"] = dropped.deleted.map(|deleted| deleted.files).into();
        document["filesLeft"] = dropped.deleted.map(|deleted| deleted.left).into();
        out.document(&document)?;
        return Ok(ExitStatus::Success);
    }
    out.say(&match (dropped.deleted, until) {
        (Some(deleted), _) => format!("{name} is dropped: {}", described_deletion(deleted, &place.to_string())),
        (None, Some(until)) => {
            let command = undrop_command(name, entry.owner.as_ref());
            format!("{name} is dropped: `{command}` restores it until {}; its files stay at {place}", iso(until))
        }
        (None, None) => format!("{name} is dropped, its files stay at {place}"),
    })?;
    Ok(ExitStatus::Success)
}

/// Prints what would be done with a table.
fn would(s: &CommandContext, entry: &TableEntry, sentence: &str) -> Result<ExitStatus> {
    let mut out = s.output();
    if out.format() == Format::Table {
        out.say(sentence)?;
    } else {
        let mut document = entry_json(entry);
        document["dryRun"] = true.into();
        out.document(&document)?;
    }
    Ok(ExitStatus::Success)
}

/// Abandons an unfinished import, or resumes an interrupted deletion.
async fn drop_inactive(
    s: &CommandContext,
    catalog: &Arc<dyn Catalog>,
    name: &TableName,
    drop_options: DropOptions,
    by: OwnerArgs,
) -> Result<ExitStatus> {
    match deltalakedb_table::drop_inactive(&s.mirror(catalog), name, drop_options, &options_of(s, by)).await? {
        DroppedInactive::Import(load) => abandoned(s, name, &load.location),
        DroppedInactive::Files(table, deleted) => {
            let place = table.location.to_string();
            let mut out = s.output();
            match out.format() {
                Format::Table => {
                    out.say(&format!("{name} was already dropped: {}", described_deletion(deleted, &place)))?;
                }
                _ => out.document(&json!({
                    "name": name.to_string(),
                    "location": place,
                    "state": "dropped",
                    "filesDeleted": deleted.files,
                    "filesLeft": deleted.left,
                }))?,
            }
            Ok(ExitStatus::Success)
        }
    }
}

/// Prints that an unfinished import was abandoned.
pub(crate) fn abandoned(s: &CommandContext, name: &TableName, location: &Location) -> Result<ExitStatus> {
    let mut out = s.output();
    match out.format() {
        Format::Table => {
            out.say(&format!("the import of {location} as {name} was abandoned: the name and the location are free"))?
        }
        _ => out.document(&json!({
            "name": name.to_string(),
            "location": location.to_string(),
            "state": "abandoned",
        }))?,
    }
    Ok(ExitStatus::Success)
}

fn described_deletion(deleted: DeletedFiles, place: &str) -> String {
    let verb = if deleted.files == 1 { "was" } else { "were" };
    let left = match deleted.left {
        0 => String::new(),
        n => format!(", {} at {place} do not belong to it and were kept", counted(n, "file")),
    };
    format!("{} {verb} deleted{left}", counted(deleted.files, "file"))
}

pub(crate) async fn undrop(s: &CommandContext, name: &str, new: Option<&str>, by: OwnerArgs) -> Result<ExitStatus> {
    let (catalog, name) = (s.catalog(false).await?, name.parse::<TableName>()?);
    let new: Option<TableName> = new.map(str::parse).transpose()?;
    let table = find_dropped(catalog.as_ref(), &name).await?;
    let committer = options_of(s, by).committer();
    let undropped = s.mirror(&catalog).undrop_table(&table, new.as_ref(), &committer).await?;
    if let Some(what) = &undropped.warning {
        warn(&format!("warning: {what}"));
    }
    let entry = &undropped.table;
    let mut out = s.output();
    match out.format() {
        Format::Table => out.say(&format!("{} was undropped, at version {}", entry.name, entry.current_version))?,
        _ => out.document(&entry_json(entry))?,
    }
    Ok(ExitStatus::Success)
}

pub(crate) async fn detach(
    s: &CommandContext,
    name: &str,
    yes: bool,
    dry_run: bool,
    by: OwnerArgs,
) -> Result<ExitStatus> {
    let catalog = s.catalog(false).await?;
    let entry = require(catalog.as_ref(), &table_ref(name)?).await?;
    let (name, place) = (&entry.name, &entry.location);
    if dry_run {
        let sentence = format!(
            "{name} would be removed from the catalog, and only the history in {place}/_delta_log kept: nothing was done"
        );
        return would(s, &entry, &sentence);
    }
    confirmation::require(
        yes,
        &format!("{name} will be removed from the catalog, and only the history in {place}/_delta_log is kept"),
    )?;
    let table = deltalakedb_table::detach_table(&s.mirror(&catalog), entry.id, &options_of(s, by)).await?;
    let mut out = s.output();
    if out.format() != Format::Table {
        let mut document = entry_json(&table);
        document["state"] = TableState::Detached.as_str().into();
        out.document(&document)?;
        return Ok(ExitStatus::Success);
    }
    out.say(&format!(
        "{name} is detached: {place} is now a plain Delta table, and `dl import {place} --as {name}` imports it again"
    ))?;
    Ok(ExitStatus::Success)
}

/// Lists the tables that are not live.
pub(crate) async fn inactive(s: &CommandContext) -> Result<ExitStatus> {
    let mut tables = inactive_tables(s.catalog(false).await?);
    let mut out = s.output();
    let columns = ["name", "location", "state", "version", "droppedAt", "retainedUntil"];
    let mut listing = out.listing(columns.map(String::from).into());
    while let Some(table) = tables.try_next().await? {
        let all = json!({
            "name": table.name.to_string(),
            "location": table.location.to_string(),
            "state": table.state.as_str(),
            "version": table.current_version,
            "droppedAt": table.dropped_at.map(iso),
            "retainedUntil": table.retained_until.filter(|_| table.state == TableState::Dropped).map(iso),
        });
        let cells: Vec<Value> = columns.iter().map(|column| all[*column].clone()).collect();
        listing.row(cells)?;
    }
    listing.end()?;
    Ok(ExitStatus::Success)
}
