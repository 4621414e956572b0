//! The commands: each reads like its line in the help.

use std::path::Path;

use deltalakedb_catalog::CatalogUri;
use deltalakedb_log::action::Add;
use deltalakedb_log::listing;
use deltalakedb_log::{
    At, Catalog, CatalogAdministration, ErrorKind, HistoryRange, Hold, Location, Predicate, Result, Retention,
    Snapshot, TableName, TableOwner, TableRef, TxnLogError, TxnLogReaderExt, time,
};
use deltalakedb_mirror::{Imported, VerifyOptions};
use deltalakedb_table::{DeltaRs, DeltaTable, Scan, WriteOptions, predicate_from_sql};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use crate::args::{AtArgs, Command, Format, MirrorCommand};
use crate::confirmation;
use crate::context::{CommandContext, catalog_alone};
use crate::exit::ExitStatus;
use crate::output::warn;
use crate::progress::Progress;
use crate::report::{byte_count, counted, entry_json, iso, mirror_word, raw};
use crate::rows::print_rows;
use crate::{
    demo, duckdb_mirror, expire, generated, lifecycle, merge, mirror, operations, publishing, rebuild, sql, write,
};

pub(crate) async fn run(s: &CommandContext, command: Command) -> Result<ExitStatus> {
    if s.global.format == Format::Parquet && !matches!(command, Command::Sql { .. } | Command::Read { .. }) {
        return Err(TxnLogError::invalid(
            "--format parquet only works for the rows of `dl sql` and `dl read`: pass table, json or csv",
        ));
    }
    match command {
        Command::Init { restored } => init(s, restored).await,
        Command::Import { location, abandon: true, owner, .. } => abandon_import(s, &location, owner).await,
        Command::Import { location, name, .. } => import(s, &location, name.as_deref()).await,
        Command::Create { name, location, schema, partition_by, properties } => {
            write::create(s, &name, location.as_deref(), &schema, &partition_by, &properties).await
        }
        Command::Rename { old, new, by } => lifecycle::rename(s, &old, &new, by).await,
        Command::Drop(args) => lifecycle::drop(s, args).await,
        Command::Undrop { name, new, by } => lifecycle::undrop(s, &name, new.as_deref(), by).await,
        Command::Detach { name, yes, dry_run, by } => lifecycle::detach(s, &name, yes, dry_run, by).await,
        Command::Tables { dropped: true } => lifecycle::inactive(s).await,
        Command::Tables { dropped: false } => tables(s).await,
        Command::Show { name } => show(s, &name).await,
        Command::History { name, limit, since, until } => {
            let parse = |t: Option<String>| t.as_deref().map(time::parse_ms).transpose();
            history(s, &name, HistoryRange { limit, since: parse(since)?, until: parse(until)? }).await
        }
        Command::Files { name, filter, at, explain } => files(s, &name, filter.as_deref(), at, explain).await,
        Command::Snapshot { name, at } => snapshot(s, &name, at).await,
        Command::Read { name, filter, columns, limit, at } => {
            let scan = Scan { at: state_at(&at)?, columns, filter_sql: filter, limit };
            read(s, &name, &scan).await
        }
        Command::Sql { statements, data, params } => sql::run(s, statements, data.as_deref(), &params).await,
        Command::Write(args) => write::write(s, args).await,
        Command::Delete { name, filter, all: _, dry_run } => operations::delete(s, &name, filter, dry_run).await,
        Command::Update { name, filter, all: _, dry_run } => {
            operations::update(s, &name, &s.assignments, filter, dry_run).await
        }
        Command::Merge(args) => merge::merge(s, args).await,
        Command::Optimize { name, purge: true, dry_run, .. } => operations::purge(s, &name, dry_run).await,
        Command::Optimize { name, zorder, target_size, purge: false, dry_run } => {
            operations::optimize(s, &name, zorder, target_size.as_deref(), dry_run).await
        }
        Command::Vacuum(args) => operations::vacuum(s, args).await,
        Command::Expire(args) => expire::run(s, args).await,
        Command::Restore { name, to, dry_run, yes } => {
            let at = AtArgs { version: to.version, timestamp: to.timestamp };
            operations::restore(s, &name, state_at(&at)?, dry_run, yes).await
        }
        Command::Repair { name, dry_run, yes } => operations::repair(s, &name, dry_run, yes).await,
        Command::Alter(args) => operations::alter(s, &args.name, args.changes).await,
        Command::Changes { name, from, to } => operations::changes(s, &name, from, to).await,
        Command::Mirror { command: MirrorCommand::Status { check } } => mirror::status(s, check).await,
        Command::Mirror { command: MirrorCommand::Duckdb { to } } => duckdb_mirror::refresh(s, &to).await,
        Command::Mirror { command: MirrorCommand::Run { watch, metrics } } => {
            publishing::run(s, watch, metrics.as_deref()).await
        }
        Command::Mirror { command: MirrorCommand::Checkpoint { name } } => mirror::checkpoint(s, &name).await,
        Command::Mirror { command: MirrorCommand::Repair { name, dry_run: true, .. } } => {
            verify(s, Some(&name), VerifyOptions { every_version: true, data: false }).await
        }
        Command::Mirror { command: MirrorCommand::Repair { name, theirs: true, yes, .. } } => {
            keep_theirs(s, &name, yes).await
        }
        Command::Mirror { command: MirrorCommand::Repair { name, ours: true, .. } } => {
            mirror::keep_ours(s, &name).await
        }
        Command::Mirror { command: MirrorCommand::Repair { name, .. } } => mirror::repair(s, &name).await,
        Command::Verify { name, all, every_version, data } => {
            let name = name.filter(|_| !all);
            verify(s, name.as_deref(), VerifyOptions { every_version, data }).await
        }
        Command::Rebuild { locations, from_mirror: _ } => rebuild::run(s, &locations).await,
        Command::CopyCatalog { to } => copy_catalog(s, &to).await,
        Command::Completions { shell } => generated::completions(shell),
        Command::Man { to } => generated::manual(s, &to),
        Command::Demo { keep } => demo::tour(s, keep).await,
    }
}

/// The version selected by `--version` or `--timestamp`.
fn state_at(at: &AtArgs) -> Result<At> {
    Ok(match (at.version, &at.timestamp) {
        (Some(version), _) => At::Version(version),
        (None, Some(text)) => At::Timestamp(time::parse_ms(text)?),
        (None, None) => At::Latest,
    })
}

async fn init(s: &CommandContext, restored: bool) -> Result<ExitStatus> {
    let create = s.settings.create_if_missing.unwrap_or(true);
    if restored {
        // An older one is upgraded below; one that does not exist cannot be restored.
        let there = s.open(&s.catalog_uri()?, false).await;
        there.map(drop).or_else(|e| if e.kind() == ErrorKind::NotFound { Err(e) } else { Ok(()) })?;
    }
    let catalog = s.open(&s.catalog_uri()?, create).await.map_err(|e| {
        if create { e } else { TxnLogError::new(e.kind(), format!("{e}; the setting sql.schema=error forbids it")) }
    })?;
    if restored {
        catalog.renew_epoch().await?;
    }
    let retention = s.settings.retention;
    if retention != Retention::default() {
        catalog.set_default_retention(retention, s.write_options().committer.as_deref()).await?;
    }
    let (id, epoch) = catalog.identity().await?;
    let mut out = s.output();
    match out.format() {
        Format::Table if restored => out.say(&format!(
            "the catalog {} is ready and has a new epoch: run `dl verify` to find lost commits",
            catalog.describe()
        ))?,
        Format::Table => out.say(&format!("the catalog {} is ready", catalog.describe()))?,
        _ => out.document(&json!({"catalog": catalog.describe(), "catalogId": id, "epoch": epoch}))?,
    }
    Ok(ExitStatus::Success)
}

async fn import(s: &CommandContext, place: &str, name: Option<&str>) -> Result<ExitStatus> {
    let name: Option<TableName> = name.map(str::parse).transpose()?;
    let mut location = Location::parse(place)?;
    let catalog = s.catalog(true).await?;
    // A text that is not a path may name a table of the catalog, which is imported again.
    if let (false, Ok(known)) = (Path::new(place).exists(), place.parse())
        && let Some(table) = catalog.find(&TableRef::Name(known)).await?
    {
        location = table.location;
    }
    let progress = Progress::new(format!("importing {location}"), s.global.quiet);
    let show = |done: u64, total: u64| progress.at(done + 1, total + 1);
    let mirror = s.mirror(&catalog).with_future_times(s.settings.future_times);
    let imported = mirror.import(&location, name.as_ref(), &show).await?;
    drop(progress);
    let mut out = s.output();
    match out.format() {
        Format::Table => out.say(&imported_sentence(&imported))?,
        _ => out.document(&imported_json(&imported))?,
    }
    Ok(ExitStatus::Success)
}

fn imported_sentence(imported: &Imported) -> String {
    let t = &imported.table;
    if imported.versions == 0 {
        return format!("{} is up to date at version {}", t.name, t.current_version);
    }
    let from = match t.base_version {
        0 => String::new(),
        base => format!(" (the log begins at version {base})"),
    };
    let versions = counted(imported.versions, "version");
    format!("imported {}: {versions}, now at version {}{from}", t.name, t.current_version)
}

fn imported_json(imported: &Imported) -> Value {
    let mut document = entry_json(&imported.table);
    document["versionsImported"] = imported.versions.into();
    document
}

/// Imports the commits of other writers; other commits of the catalog for the same versions are set aside.
async fn keep_theirs(s: &CommandContext, name: &str, yes: bool) -> Result<ExitStatus> {
    let (catalog, entry) = s.table(name).await?;
    let what = format!("commits of the catalog are replaced by those of other writers in {}", entry.name);
    confirmation::ask(yes, &what)?;
    let progress = Progress::new(format!("importing {}", entry.location), s.global.quiet);
    let show = |done: u64, total: u64| progress.at(done + 1, total + 1);
    let mirror = s.mirror(&catalog).with_future_times(s.settings.future_times);
    let options = s.write_options();
    let kept = mirror.keep_theirs(entry.id, options.dropped_retention, options.committer(), &show).await?;
    drop(progress);
    let mut out = s.output();
    let sentence = imported_sentence(&kept.imported);
    match out.format() {
        Format::Table if kept.set_aside.is_empty() => out.say(&sentence)?,
        Format::Table => out.say(&format!("{kept}; {sentence}"))?,
        _ => {
            let mut document = imported_json(&kept.imported);
            if !kept.set_aside.is_empty() {
                document["folder"] = kept.folder.into();
            }
            document["setAside"] = kept.set_aside.into();
            out.document(&document)?;
        }
    }
    Ok(ExitStatus::Success)
}

async fn abandon_import(s: &CommandContext, place: &str, owner: Option<TableOwner>) -> Result<ExitStatus> {
    let location = Location::parse(place)?;
    let catalog = s.catalog(false).await?;
    let Some(load) = catalog.unfinished_load(&location).await? else {
        let message = format!("no import of {location} was interrupted: there is nothing to abandon");
        return Err(TxnLogError::not_found(message));
    };
    // Without one, the import has ended in the meantime, and `abandon_load` says so.
    if let Some(table) = catalog.inactive_table(load.table).await? {
        let committer = WriteOptions { owner, ..s.write_options() }.committer();
        committer.check(&table.name, table.owner.as_ref())?;
    }
    catalog.abandon_load(load.table).await?;
    lifecycle::abandoned(s, &load.name, &location)
}

async fn tables(s: &CommandContext) -> Result<ExitStatus> {
    let mut tables = listing::tables(s.catalog(false).await?, None);
    let mut out = s.paged_output();
    let columns = ["name", "location", "version", "timestamp", "publishedVersion", "mirror"];
    let mut listing = out.listing(columns.map(String::from).into());
    while let Some(t) = tables.try_next().await? {
        let all = entry_json(&t);
        listing.row(columns.iter().map(|c| all[*c].clone()).collect())?;
    }
    listing.end()?;
    Ok(ExitStatus::Success)
}

async fn show(s: &CommandContext, name: &str) -> Result<ExitStatus> {
    let (catalog, entry) = s.table(name).await?;
    let reader = catalog.reader(entry.id);
    let head = reader.head().await?;
    let counts = reader.counts(head.version).await?;
    let mut document = entry_json(&entry);
    document["files"] = counts.files.into();
    document["bytes"] = counts.bytes.into();
    document["rows"] = counts.rows.into();
    document["id"] = entry.id.to_string().into();
    document["owner"] = entry.owner.as_ref().map(TableOwner::as_str).into();
    document["protocol"] = raw(&head.protocol.to_json())?;
    document["metadata"] = raw(&head.metadata.to_json())?;
    let holds = catalog.holds(entry.id).await?;
    document["holds"] = holds.iter().map(hold_json).collect();
    let mut out = s.output();
    if out.format() != Format::Table {
        out.document(&document)?;
        return Ok(ExitStatus::Success);
    }
    let m = &head.metadata;
    out.line(&format!("{} at {}", entry.name, entry.location))?;
    out.line(&format!("version    {} of {}", entry.current_version, iso(entry.current_timestamp)))?;
    if entry.base_version > 0 {
        out.line(&format!("history    from version {}", entry.base_version))?;
    }
    let rows = counts.rows.map_or("an unknown number of rows".into(), |n| counted(n.unsigned_abs(), "row"));
    out.line(&format!(
        "size       {rows} in {}, {}",
        counted(counts.files, "file"),
        byte_count(counts.bytes.unsigned_abs())
    ))?;
    out.line(&format!("mirror     {}", mirror_word(&entry)))?;
    if let Some(owner) = &entry.owner {
        out.line(&format!("owner      {owner}"))?;
    }
    for hold in &holds {
        out.line(&format!("held       version {} by {} until {}", hold.version, hold.holder, iso(hold.until_ms)))?;
    }
    out.line(&format!(
        "protocol   reader {}, writer {}",
        head.protocol.min_reader_version, head.protocol.min_writer_version
    ))?;
    let features: std::collections::BTreeSet<_> =
        head.protocol.reader_features.iter().chain(&head.protocol.writer_features).flatten().cloned().collect();
    if !features.is_empty() {
        out.line(&format!("features   {}", features.into_iter().collect::<Vec<_>>().join(", ")))?;
    }
    for (key, value) in &m.configuration {
        out.line(&format!("property   {key} = {}", value.as_deref().unwrap_or_default()))?;
    }
    if let Some(description) = &m.description {
        out.line(&format!("comment    {description}"))?;
    }
    let schema = deltalakedb_log::schema::Schema::parse(&m.schema_string, &m.partition_columns)?;
    for c in schema.columns() {
        let kind = c.type_json.trim_matches('"');
        let null = if c.nullable { "" } else { " not null" };
        let partition = if c.is_partition { " (partition)" } else { "" };
        out.line(&format!("column     {} {kind}{null}{partition}", c.name))?;
    }
    Ok(ExitStatus::Success)
}

fn hold_json(hold: &Hold) -> Value {
    serde_json::json!({"version": hold.version, "holder": hold.holder, "until": iso(hold.until_ms)})
}

async fn history(s: &CommandContext, name: &str, range: HistoryRange) -> Result<ExitStatus> {
    let (catalog, entry) = s.table(name).await?;
    let commits = catalog.reader(entry.id).history(range).await?;
    let mut out = s.paged_output();
    let people = out.format() == Format::Table;
    let mut columns =
        vec!["version", "timestamp", "operation", "filesAdded", "filesRemoved", "bytesAdded", "bytesRemoved"];
    let more = [
        "operationParameters",
        "operationMetrics",
        "committer",
        "engineInfo",
        "readVersion",
        "isolationLevel",
        "groupId",
    ];
    columns.extend(if people { &["committer", "engineInfo"][..] } else { &more[..] });
    let mut listing = out.listing(columns.iter().map(|c| c.to_string()).collect());
    for c in commits {
        let json = |text: &Option<String>| text.as_deref().map_or(Ok(Value::Null), raw);
        let bytes = |n: i64| if people { byte_count(n.unsigned_abs()).into() } else { Value::from(n) };
        let all = json!({
            "version": c.version,
            "timestamp": iso(c.timestamp),
            "operation": c.operation,
            "filesAdded": c.files_added,
            "filesRemoved": c.files_removed,
            "bytesAdded": bytes(c.bytes_added),
            "bytesRemoved": bytes(c.bytes_removed),
            "operationParameters": json(&c.operation_parameters)?,
            "operationMetrics": json(&c.operation_metrics)?,
            "committer": c.committer,
            "engineInfo": c.engine_info,
            "readVersion": c.read_version,
            "isolationLevel": c.isolation,
            "groupId": c.group_id,
        });
        listing.row(columns.iter().map(|c| all[*c].clone()).collect())?;
    }
    listing.end()?;
    Ok(ExitStatus::Success)
}

/// The members of an add action that describe a file, in the log's own spelling; null members are omitted.
fn file_json(add: &Add) -> Result<Value> {
    let mut file = raw(&add.to_json())?;
    if let Some(members) = file.as_object_mut() {
        members.shift_remove("dataChange");
    }
    Ok(file)
}

async fn files(s: &CommandContext, name: &str, filter: Option<&str>, at: AtArgs, explain: bool) -> Result<ExitStatus> {
    let (catalog, entry) = s.table(name).await?;
    let reader = catalog.reader(entry.id);
    let version = reader.snapshot(state_at(&at)?).await?.version();
    let table = DeltaTable::open_in(catalog.clone(), &TableRef::Id(entry.id)).await?;
    let predicate = match filter {
        Some(sql) => Some(predicate_from_sql(sql, table.schema(At::Version(version)).await?.as_ref())?),
        None => None,
    };
    let mut kept: Vec<Add> = reader.files(version, predicate.as_ref()).await?.try_collect().await?;
    kept.sort_by(|a, b| a.path.cmp(&b.path));
    if explain {
        let e = reader.explain(version, predicate.as_ref().unwrap_or(&Predicate::Unknown)).await?;
        if let Some(sql) = e.statement {
            warn(&sql);
        }
        let by = predicate.map_or(String::new(), |p| format!("; predicate: {p}"));
        let (examined, found, kept) = (counted(e.examined, "file"), e.found, e.kept);
        warn(&format!("version {version}: {examined} examined, {found} found, {kept} kept{by}"));
    }
    let mut out = s.paged_output();
    if out.format() == Format::Json {
        let files = kept.iter().map(file_json).collect::<Result<Vec<_>>>()?;
        out.document(&files)?;
        return Ok(ExitStatus::Success);
    }
    let columns = ["path", "partitionValues", "size", "modificationTime", "stats", "deletionVector"];
    let people = out.format() == Format::Table;
    let printed = if people { &columns[..4] } else { &columns[..] };
    let mut listing = out.listing(printed.iter().map(|c| c.to_string()).collect());
    for add in &kept {
        let mut file = file_json(add)?;
        if people {
            file["size"] = byte_count(add.size.unsigned_abs()).into();
            file["modificationTime"] = iso(add.modification_time).into();
        }
        listing.row(printed.iter().map(|c| file.get(*c).cloned().unwrap_or(Value::Null)).collect())?;
    }
    listing.end()?;
    Ok(ExitStatus::Success)
}

async fn snapshot(s: &CommandContext, name: &str, at: AtArgs) -> Result<ExitStatus> {
    let (catalog, entry) = s.table(name).await?;
    let reader = catalog.reader(entry.id);
    let snapshot = reader.snapshot(state_at(&at)?).await?;
    let mut files: Vec<Add> = reader.files(snapshot.version(), None).await?.try_collect().await?;
    files.sort_by(|a, b| (&a.path, a.key()).cmp(&(&b.path, b.key())));
    s.paged_output().document(&snapshot_json(&snapshot, &files)?)?;
    Ok(ExitStatus::Success)
}

fn snapshot_json(snapshot: &Snapshot, files: &[Add]) -> Result<Value> {
    let txns: serde_json::Map<_, _> = snapshot.txns.iter().map(|(app, t)| (app.clone(), t.version.into())).collect();
    let domains: serde_json::Map<_, _> =
        snapshot.domains.iter().map(|(name, d)| (name.clone(), d.configuration.clone().into())).collect();
    Ok(json!({
        "version": snapshot.version(),
        "timestamp": iso(snapshot.head.timestamp),
        "protocol": raw(&snapshot.head.protocol.to_json())?,
        "metadata": raw(&snapshot.head.metadata.to_json())?,
        "files": files.iter().map(file_json).collect::<Result<Vec<_>>>()?,
        "txns": txns,
        "domains": domains,
    }))
}

async fn read(s: &CommandContext, name: &str, scan: &Scan) -> Result<ExitStatus> {
    let (catalog, entry) = s.table(name).await?;
    let table = DeltaTable::open_in(catalog, &TableRef::Id(entry.id)).await?;
    let mut out = s.paged_output();
    if scan.limit.is_some() {
        out = out.unlimited();
    }
    print_rows(&mut out, table.scan(scan).await?).await?;
    Ok(ExitStatus::Success)
}

/// Verifies one table, or all: a failure of one does not stop the others.
async fn verify(s: &CommandContext, name: Option<&str>, options: VerifyOptions) -> Result<ExitStatus> {
    let (catalog, mut tables) = match name {
        Some(name) => {
            let (catalog, entry) = s.table(name).await?;
            (catalog, futures::stream::iter([Ok(entry)]).boxed())
        }
        None => {
            let catalog = s.catalog(false).await?;
            let tables = listing::tables(catalog.clone(), None);
            (catalog, tables)
        }
    };
    let mirror = s.mirror(&catalog);
    let mut out = s.output();
    let mut listing = out.listing(["name", "version", "result", "suggestedFix"].map(String::from).into());
    let (mut found, mut failed, mut count) = (false, Vec::new(), 0);
    while let Some(table) = tables.try_next().await? {
        count += 1;
        let progress = Progress::new(format!("verifying {}", table.name), s.global.quiet);
        let show = |done: u64, total: u64| progress.at(done + 1, total + 1);
        let verified = mirror.verify(&table, &DeltaRs, options, &show).await;
        drop(progress);
        let findings = match verified {
            Ok(findings) => findings,
            Err(e) if name.is_some() => return Err(e),
            Err(e) => {
                let what = format!("cannot be verified: {e}");
                listing.row(vec![
                    table.name.to_string().into(),
                    table.current_version.into(),
                    what.into(),
                    Value::Null,
                ])?;
                failed.push(e.kind());
                continue;
            }
        };
        if findings.is_empty() {
            let good = "identical in _delta_log and the catalog";
            listing.row(vec![table.name.to_string().into(), table.current_version.into(), good.into(), Value::Null])?;
        }
        for f in findings {
            found = true;
            listing.row(vec![
                table.name.to_string().into(),
                f.version.into(),
                f.what.into(),
                f.suggested_fix.into(),
            ])?;
        }
    }
    listing.end()?;
    if let Some(kind) = failed.first() {
        let message = format!("{} of {count} tables could not be verified: see above", failed.len());
        return Err(TxnLogError::new(*kind, message));
    }
    Ok(if found { ExitStatus::Found } else { ExitStatus::Success })
}

async fn copy_catalog(s: &CommandContext, to: &str) -> Result<ExitStatus> {
    let to = catalog_alone(CatalogUri::parse(to)?)?;
    let source = s.open(&s.catalog_uri()?, false).await?;
    let target = s.open(&to, s.settings.create_if_missing.unwrap_or(true)).await?;
    let progress = Progress::new(format!("copying to {to}"), s.global.quiet);
    let copied = deltalakedb_catalog::copy_catalog(&source, &target, &|done, all| progress.at(done, all)).await?;
    drop(progress);
    let mut out = s.output();
    match out.format() {
        Format::Table => out.say(&format!(
            "{} has {}: copied {}, compared {} without differences",
            target.describe(),
            counted(copied.tables, "table"),
            counted(copied.versions, "version"),
            counted(copied.compared, "row")
        ))?,
        _ => out.document(&json!({
            "catalog": target.describe(),
            "tables": copied.tables,
            "versions": copied.versions,
            "rowsCompared": copied.compared,
        }))?,
    }
    Ok(ExitStatus::Success)
}
