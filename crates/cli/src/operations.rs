//! Commands that change a table: each makes one commit, and reports it in a sentence.

use std::collections::HashMap;
use std::num::NonZeroU64;

use deltalakedb_log::time::parse_duration;
use deltalakedb_log::{At, ErrorKind, Result, TableRef, TxnLogError, Version};
use deltalakedb_table::{
    Alter, DeltaTable, Operation, OperationResult, Optimize, Transaction, TransactionOptions, Vacuum,
    parse_assignments, parse_schema,
};
use serde_json::{Value, json};

use crate::args::{AlterChanges, Format, VacuumArgs, key_values};
use crate::confirmation;
use crate::context::CommandContext;
use crate::exit::ExitStatus;
use crate::operation::{counted_with_verb, number, report, run, run_on};
use crate::report::{byte_count, counted, entry_json};
use crate::rows::print_rows;

pub(crate) async fn delete(
    s: &CommandContext,
    name: &str,
    filter: Option<String>,
    dry_run: bool,
) -> Result<ExitStatus> {
    let all = filter.is_none();
    run(s, name, Operation::Delete { filter }, dry_run, |table, result| {
        let table = &table.name;
        match (result.committed, number(&result.metrics, "num_deleted_rows")) {
            (None, _) if all => format!("{table} has no rows"),
            (None, _) => format!("no row of {table} satisfies the condition"),
            (Some(_), Some(n)) => format!("{} deleted from {table}", counted_with_verb(n, "row")),
            // Files without a row count were removed as a whole.
            (Some(_), None) if all => format!("all rows were deleted from {table}"),
            (Some(_), None) => format!("the rows were deleted from {table}"),
        }
    })
    .await
}

pub(crate) async fn update(
    s: &CommandContext,
    name: &str,
    sets: &[String],
    filter: Option<String>,
    dry_run: bool,
) -> Result<ExitStatus> {
    let set: Vec<_> = sets.iter().map(|set| parse_assignments(set)).collect::<Result<_>>()?;
    if set.is_empty() {
        return Err(TxnLogError::invalid(
            "the update sets no column: pass one after the command, such as --set 'price = price * 2'",
        ));
    }
    let all = filter.is_none();
    run(s, name, Operation::Update { set: set.concat(), filter, safe_cast: false }, dry_run, |table, result| {
        match result.committed {
            None if all => format!("{} has no rows", table.name),
            None => format!("no row of {} satisfies the condition", table.name),
            Some(_) => {
                let n = number(&result.metrics, "num_updated_rows").unwrap_or(0);
                format!("{} updated in {}", counted_with_verb(n, "row"), table.name)
            }
        }
    })
    .await
}

pub(crate) async fn optimize(
    s: &CommandContext,
    name: &str,
    zorder: Vec<String>,
    size: Option<&str>,
    dry_run: bool,
) -> Result<ExitStatus> {
    let optimize = Optimize { zorder, target_size: size.map(bytes).transpose()?, ..Optimize::default() };
    run(s, name, Operation::Optimize(optimize), dry_run, |table, result| match result.committed {
        None => format!("no file of {} needs to be compacted", table.name),
        Some(_) => {
            let count = |name| number(&result.metrics, name).unwrap_or(0);
            let (before, after) = (count("numFilesRemoved"), count("numFilesAdded"));
            format!("{} rewritten as {after} in {}", counted_with_verb(before, "file"), table.name)
        }
    })
    .await
}

pub(crate) async fn purge(s: &CommandContext, name: &str, dry_run: bool) -> Result<ExitStatus> {
    run(s, name, Operation::Purge { partitions: Vec::new() }, dry_run, |table, result| match result.committed {
        None => format!("no file of {} has a deletion vector", table.name),
        Some(_) => {
            let count = |name| number(&result.metrics, name).unwrap_or(0);
            let (rows, files) = (counted_with_verb(count("numRowsPurged"), "row"), count("numFilesRemoved"));
            format!("{rows} purged from {} of {}", counted(files, "file"), table.name)
        }
    })
    .await
}

/// Parses `100000`, `64kb`, `256mb`, `1gb`, in powers of 1024.
fn bytes(text: &str) -> Result<NonZeroU64> {
    let size = parse_size::Config::new().with_binary().parse_size(text).ok().and_then(NonZeroU64::new);
    size.ok_or_else(|| TxnLogError::invalid(format!("invalid file size {text:?}: expected for example 256mb")))
}

pub(crate) async fn vacuum(s: &CommandContext, args: VacuumArgs) -> Result<ExitStatus> {
    let retain = args.retain.as_deref().map(|text| {
        let wrong =
            || TxnLogError::invalid(format!("invalid --retain {text:?}: expected a duration such as 7d or 12h"));
        parse_duration(text).ok_or_else(wrong)
    });
    let what = Vacuum {
        retain: retain.transpose()?,
        lite: args.lite,
        dry_run: args.dry_run,
        enforce_retention: !args.force,
        ..Vacuum::default()
    };
    let (catalog, entry) = s.table(&args.name).await?;
    let table = DeltaTable::open_in(catalog.clone(), &TableRef::Id(entry.id)).await?;
    if args.force && !args.dry_run {
        let what = format!("data files that retained versions of {} need may be deleted permanently", entry.name);
        confirmation::ask(args.yes, &what)?;
    }
    let working = s.working(format!("looking for files of {} to delete", entry.name));
    let gone = table.vacuum(&what, &s.write_options()).await?;
    drop(working);
    let committed = !what.dry_run && !gone.files.is_empty();
    let entry = if committed { s.publish(&catalog, &TableRef::Id(entry.id)).await? } else { entry };
    let mut out = s.output();
    if out.format() != Format::Table {
        let mut document = entry_json(&entry);
        document["committed"] = committed.into();
        if what.dry_run {
            document["dryRun"] = true.into();
        }
        document["metrics"] = serde_json::json!({
            "num_files": gone.files.len(),
            "num_bytes": gone.bytes,
            "num_held": gone.held,
        });
        document["files"] = gone.files.into();
        out.document(&document)?;
        return Ok(ExitStatus::Success);
    }
    if what.dry_run {
        gone.files.iter().try_for_each(|file| out.line(file))?;
    }
    let (name, files, bytes) = (&entry.name, gone.files.len() as u64, byte_count(gone.bytes));
    let of_them = || format!("{} of {name}", counted(files, "file"));
    let verb = if files == 1 { "was" } else { "were" };
    let spared = match gone.held {
        0 => String::new(),
        spared => format!("; {} kept because readers hold versions, see `dl show {name}`", counted(spared, "file")),
    };
    out.say(&match (files, what.dry_run) {
        (0, _) => format!("every file of {name} may still be needed: nothing was removed{spared}"),
        (_, true) => format!("{} would be removed, {bytes}{spared}", of_them()),
        (_, false) => {
            format!("{} {verb} removed, {bytes}, now at version {}{spared}", of_them(), entry.current_version)
        }
    })?;
    Ok(ExitStatus::Success)
}

pub(crate) async fn restore(s: &CommandContext, name: &str, to: At, dry_run: bool, yes: bool) -> Result<ExitStatus> {
    // A timestamp is resolved once, because it may select another version later.
    let (catalog, entry) = s.table(name).await?;
    let version = catalog.reader(entry.id).snapshot(to).await?.version();
    if version == entry.current_version {
        return Err(TxnLogError::invalid(format!(
            "{} is already at version {version}: pass an earlier version",
            entry.name
        )));
    }
    if !dry_run {
        let (name, now) = (&entry.name, entry.current_version);
        confirmation::ask(
            yes,
            &format!("{name} will be restored to version {version}; its version {now} is kept, too"),
        )?;
    }
    run_on(s, catalog, entry, Operation::Restore(At::Version(version).into()), dry_run, |table, _| {
        format!("{} was restored to version {version}", table.name)
    })
    .await
}

/// Removes files that no longer exist from the table; with `dry_run` it only lists them.
pub(crate) async fn repair(s: &CommandContext, name: &str, dry_run: bool, yes: bool) -> Result<ExitStatus> {
    let (catalog, entry) = s.table(name).await?;
    if !dry_run {
        confirmation::ask(yes, &format!("data files that are lost are removed from {}, with their rows", entry.name))?;
    }
    let table = DeltaTable::open_in(catalog.clone(), &TableRef::Id(entry.id)).await?;
    let mut finished = table.run(Operation::Repair { dry_run }, &s.write_options()).await?;
    let listed = finished.metrics.get("files_removed").and_then(Value::as_str).unwrap_or("[]");
    let files: Vec<String> = serde_json::from_str(listed).map_err(|e| {
        TxnLogError::new(ErrorKind::Internal, "the files that a repair found cannot be read").with_source(e)
    })?;
    let (name, missing) = (&entry.name, counted(files.len() as u64, "missing file"));
    let sentence = match (files.len(), dry_run) {
        (0, _) => format!("no data file of {name} is missing"),
        (_, true) => format!("{missing} would be removed from {name}"),
        (1, false) => format!("{missing} was removed from {name}"),
        (_, false) => format!("{missing} were removed from {name}"),
    };
    if dry_run {
        let mut out = s.output();
        if out.format() == Format::Table {
            files.iter().try_for_each(|file| out.line(file))?;
            out.say(&sentence)?;
            return Ok(ExitStatus::Success);
        }
        let mut document = entry_json(&entry);
        document["committed"] = false.into();
        document["dryRun"] = true.into();
        document["metrics"] = json!({"dry_run": true, "num_files": files.len(), "files": files});
        out.document(&document)?;
        return Ok(ExitStatus::Success);
    }
    finished.metrics = json!({"dry_run": false, "num_files": files.len(), "files": files});
    report(s, &catalog, entry, &finished, &sentence).await
}

pub(crate) async fn alter(s: &CommandContext, name: &str, changes: AlterChanges) -> Result<ExitStatus> {
    let (operations, what) = alterations(changes)?;
    let (catalog, entry) = s.table(name).await?;
    let options = s.write_options();
    let finished = match <[Operation; 1]>::try_from(operations) {
        Ok([operation]) => {
            let table = DeltaTable::open_in(catalog.clone(), &TableRef::Id(entry.id)).await?;
            table.run(operation, &options).await?
        }
        // A constraint must hold for concurrently added rows as well.
        Err(operations) => {
            let options = TransactionOptions { write: options, serializable: true, ..TransactionOptions::default() };
            let tx = Transaction::begin(catalog.clone(), options).await?;
            for operation in operations {
                tx.run(&entry.name.to_string(), operation).await?;
            }
            let mut finished = OperationResult::default();
            finished.committed = tx.commit().await?.into_iter().next();
            finished
        }
    };
    let sentence = match finished.committed {
        Some(_) => format!("{} was altered ({what})", entry.name),
        None => format!("{} needs no change", entry.name),
    };
    report(s, &catalog, entry, &finished, &sentence).await
}

/// The changes in the order in which they are applied, and a description.
fn alterations(changes: AlterChanges) -> Result<(Vec<Operation>, String)> {
    let (mut operations, mut words) = (Vec::new(), Vec::new());
    for name in changes.drop_constraint {
        words.push(format!("constraint {name} dropped"));
        operations.push(Operation::Alter(Alter::DropConstraint { name, if_exists: false }));
    }
    if !changes.add_column.is_empty() {
        let columns = parse_schema(&changes.add_column.join(", "))?;
        words.extend(columns.names().iter().map(|name| format!("column {name} added")));
        operations.push(Operation::Alter(Alter::AddColumns(columns)));
    }
    for column in changes.drop_not_null {
        words.push(format!("column {column} may be null"));
        operations.push(Operation::Alter(Alter::DropNotNull { column }));
    }
    if !changes.set_property.is_empty() {
        let properties = key_values(&changes.set_property)?;
        let mut keys: Vec<_> = properties.keys().collect();
        keys.sort();
        words.extend(keys.into_iter().map(|key| format!("property {key} set")));
        operations.push(Operation::Alter(Alter::SetProperties { properties, unknown: false }));
    }
    for constraint in changes.add_constraint {
        let (name, condition) = constraint.split_once(':').ok_or_else(|| {
            TxnLogError::invalid(format!(
                "invalid constraint {constraint:?}: expected NAME: CONDITION, such as 'positive: price > 0'"
            ))
        })?;
        let (name, condition) = (name.trim().to_string(), condition.trim().to_string());
        words.push(format!("constraint {name} added"));
        operations.push(Operation::AddConstraints(HashMap::from([(name, condition)])));
    }
    if let Some(description) = changes.comment {
        words.push("description changed".into());
        operations.push(Operation::Alter(Alter::SetDescription { name: None, description: Some(description) }));
    }
    Ok((operations, words.join(", ")))
}

pub(crate) async fn changes(s: &CommandContext, name: &str, from: Version, to: Option<Version>) -> Result<ExitStatus> {
    let (catalog, entry) = s.table(name).await?;
    let table = DeltaTable::open_in(catalog, &TableRef::Id(entry.id)).await?;
    print_rows(&mut s.paged_output(), table.changes(from, to).await?).await?;
    Ok(ExitStatus::Success)
}
