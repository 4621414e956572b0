//! The commands: each reads like its line in the help.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deltalakedb_catalog::{CatalogUri, ConnectOptions, SqlCatalog};
use deltalakedb_log::action::Add;
use deltalakedb_log::listing;
use deltalakedb_log::{
    Artifact, At, Catalog, CatalogAdministration, Clock, ErrorKind, HistoryRange, Hold, Location, MirrorState,
    Predicate, Result, Retention, Snapshot, SystemClock, TableEntry, TableName, TableOwner, TableRef, TxnLogError,
    TxnLogReaderExt, require, time,
};
use deltalakedb_mirror::{Mirror, VerifyOptions};
use deltalakedb_table::{
    DeltaRs, DeltaTable, Notices, Scan, SendableRecordBatchStream, Settings, WriteOptions, is_setting, place_of,
    predicate_from_sql,
};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use crate::args::{AtArgs, Cli, Command, Format, Global, MirrorCommand};
use crate::output::{Output, RowLimit};
use crate::progress::Progress;
use crate::rows::Results;
use crate::{Ended, expire, lifecycle, merge, operations, publishing, warn, write};

/// What every command has: the global options, and the clock.
pub(crate) struct Session {
    pub(crate) global: Global,
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    /// What `dl update` sets.
    assignments: Vec<String>,
    row_limit: RowLimit,
    opened: Mutex<Vec<SqlCatalog>>,
    mirrors: Mutex<Vec<Mirror>>,
}

impl Session {
    /// A session for what was typed, of which these settings stood before the command. After `dl update`, `--set`
    /// assigns to a column, unless it names a setting.
    pub(crate) fn new(cli: &mut Cli, before: Vec<String>) -> Result<Self> {
        let mut global = std::mem::take(&mut cli.global);
        let after = std::mem::take(&mut global.settings);
        // Without any after the command, those before it come up again there.
        let after = if after == before { Vec::new() } else { after };
        let assigns = |set: &String| {
            let key = set.split('=').next().unwrap_or_default();
            matches!(cli.command, Command::Update { .. }) && !is_setting(key.trim())
        };
        let (assignments, after): (Vec<_>, Vec<_>) = after.into_iter().partition(assigns);
        let settings = Settings::read(global.config.as_deref(), &[before, after].concat())?;
        let row_limit = match settings.output_rows()? {
            None => RowLimit::Terminal,
            Some(None) => RowLimit::None,
            Some(Some(rows)) => RowLimit::Rows(rows),
        };
        Ok(Self {
            global,
            settings,
            clock: Arc::new(SystemClock),
            assignments,
            row_limit,
            opened: Mutex::default(),
            mirrors: Mutex::default(),
        })
    }

    /// How this session writes.
    pub(crate) fn write_options(&self) -> Result<WriteOptions> {
        let notices = Notices::to(|what| warn(&format!("warning: {what}")));
        Ok(WriteOptions { clock: self.clock.clone(), notices, ..self.settings.write_options()? })
    }

    /// The publisher of a catalog that this session has opened.
    pub(crate) fn mirror(&self, catalog: &Arc<dyn Catalog>) -> Result<Mirror> {
        let mut mirrors = self.mirrors.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(mirror) = mirrors.iter().find(|mirror| Arc::ptr_eq(mirror.catalog(), catalog)) {
            return Ok(mirror.clone());
        }
        let mirror = Mirror::new(catalog.clone(), self.clock.clone()).with_durability(self.write_options()?.durability);
        let mirror = match self.settings.checkpoint_interval()? {
            Some(versions) => mirror.with_checkpoint_interval(versions),
            None => mirror,
        };
        mirrors.push(mirror.clone());
        Ok(mirror)
    }

    pub(crate) fn output(&self) -> Output {
        Output::new(self.global.format, self.global.quiet, self.row_limit)
    }

    /// The catalog; made when it is missing and `create` and the settings allow it.
    pub(crate) async fn catalog(&self, create: bool) -> Result<Arc<dyn Catalog>> {
        let uri = self.catalog_uri()?;
        // In a server, only `dl init` makes one unasked.
        let create = create && self.settings.create_if_missing(uri.is_embedded())?;
        Ok(Arc::new(self.open(&uri, create).await?))
    }

    /// Where the catalog is.
    fn catalog_uri(&self) -> Result<CatalogUri> {
        let uri = self.global.catalog.as_deref().or(self.settings.get("catalog")).ok_or_else(|| {
            TxnLogError::invalid(
                "no catalog is given: pass --catalog or set DELTALAKEDB_CATALOG, for example to deltasql://sqlite/meta.db",
            )
        })?;
        catalog_alone(CatalogUri::parse(uri)?)
    }

    /// A catalog that [`Self::close`] will close.
    pub(crate) async fn open(&self, uri: &CatalogUri, create: bool) -> Result<SqlCatalog> {
        let defaults = ConnectOptions::default();
        let options = ConnectOptions {
            create,
            clock: self.clock.clone(),
            client: "dl".into(),
            file_mode: self.settings.file_mode()?.unwrap_or(defaults.file_mode),
            allowed_paths: self.settings.allowed_paths()?,
            max_waiting: self.settings.max_waiting()?.map_or(defaults.max_waiting, NonZeroUsize::get),
            postgres: self.settings.postgres()?,
            ..defaults
        };
        let catalog = SqlCatalog::connect(uri, options).await?;
        self.opened.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(catalog.clone());
        Ok(catalog)
    }

    /// Waits until what was published is on the disk, and leaves every catalog that was opened as one file. What still reads from it is not waited for long: it is whole
    /// with its log beside it, too.
    pub(crate) async fn close(&self) {
        let mirrors = std::mem::take(&mut *self.mirrors.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        for mirror in mirrors {
            if let Err(e) = mirror.settle().await {
                warn(&format!("warning: what was published is not recorded: {e}; the next `dl mirror run` does it"));
            }
        }
        let opened = std::mem::take(&mut *self.opened.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        for catalog in opened {
            if tokio::time::timeout(Duration::from_secs(1), catalog.close()).await.is_err() {
                tracing::warn!("a catalog is still being read and was not closed");
            }
        }
    }

    /// A table of the catalog, by its name or its place.
    pub(crate) async fn table(&self, name: &str) -> Result<(Arc<dyn Catalog>, TableEntry)> {
        let catalog = self.catalog(false).await?;
        match self.find(catalog.as_ref(), name).await? {
            Some(entry) => Ok((catalog, entry)),
            None => {
                let wanted = if is_place(name) {
                    TableRef::Location(Location::parse(name)?)
                } else {
                    TableRef::Name(name.parse()?)
                };
                Ok((catalog.clone(), require(catalog.as_ref(), &wanted).await?))
            }
        }
    }

    /// The table of that name, or else at that place.
    pub(crate) async fn find(&self, catalog: &dyn Catalog, name: &str) -> Result<Option<TableEntry>> {
        if let Ok(known) = name.parse()
            && let Some(entry) = catalog.find(&TableRef::Name(known)).await?
        {
            return Ok(Some(entry));
        }
        match is_place(name) || Path::new(name).exists() {
            true => catalog.find(&TableRef::Location(Location::parse(name)?)).await,
            false => Ok(None),
        }
    }

    /// Tries to publish what was just committed, and gives the table as it is then. The commit stands either way.
    pub(crate) async fn publish(&self, catalog: &Arc<dyn Catalog>, table: &TableRef) -> Result<TableEntry> {
        let entry = require(catalog.as_ref(), table).await?;
        if !self.settings.publishes_inline()? {
            return Ok(entry);
        }
        let mut published = None;
        match self.mirror(catalog)?.publish(entry.id).await {
            Ok(done) => {
                done.warnings.iter().for_each(|what| warn(&format!("warning: {what}")));
                published = done.version;
            }
            Err(e) => warn(&format!("warning: {e}")),
        }
        let mut entry = require(catalog.as_ref(), table).await?;
        // It is there, and the catalog records it once it is on the disk.
        entry.published_version = entry.published_version.max(published);
        Ok(entry)
    }

    pub(crate) fn new_location(&self, name: &TableName, location: Option<&str>) -> Result<Location> {
        place_of(name, location, self.settings.get("warehouse"))?.ok_or_else(|| {
            TxnLogError::invalid(format!(
                "the new table {name} needs a place: pass --location, or --set warehouse=LOCATION for all new tables"
            ))
        })
    }
}

/// Refuses a URI that names a table where a whole catalog is meant.
fn catalog_alone(uri: CatalogUri) -> Result<CatalogUri> {
    match &uri.table {
        Some(table) => Err(TxnLogError::invalid(format!(
            "the catalog's URI names the table {table}: leave that out of it, and give the table as NAME"
        ))),
        None => Ok(uri),
    }
}

/// Whether that can only be a place: no name has a slash in it.
pub(crate) fn is_place(name: &str) -> bool {
    name.contains('/')
}

/// `1 file`, `2 files`.
pub(crate) fn counted(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

pub(crate) async fn run(s: &Session, command: Command) -> Result<Ended> {
    if s.global.format == Format::Parquet && !matches!(command, Command::Sql { .. } | Command::Read { .. }) {
        return Err(TxnLogError::invalid(
            "--format parquet is for rows, of `dl sql` and `dl read`: pass table, json or csv",
        ));
    }
    match command {
        Command::Init { restored } => init(s, restored).await,
        Command::Import { location, abandon: true, .. } => abandon_import(s, &location).await,
        Command::Import { location, name, .. } => import(s, &location, name.as_deref()).await,
        Command::Create { name, location, schema, partition_by, properties } => {
            write::create(s, &name, location.as_deref(), &schema, &partition_by, &properties).await
        }
        Command::Rename { old, new, by } => lifecycle::rename(s, &old, &new, by).await,
        Command::Drop(args) => lifecycle::drop(s, args).await,
        Command::Undrop { name, new, by } => lifecycle::undrop(s, &name, new.as_deref(), by).await,
        Command::Detach { name, yes, by } => lifecycle::detach(s, &name, yes, by).await,
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
            let scan = Scan { at: point(&at)?, columns, filter_sql: filter, limit };
            read(s, &name, &scan).await
        }
        Command::Sql { statements } => crate::sql::run(s, statements).await,
        Command::Write(args) => write::write(s, args).await,
        Command::Delete { name, filter, all: _ } => operations::delete(s, &name, filter).await,
        Command::Update { name, filter, all: _ } => operations::update(s, &name, &s.assignments, filter).await,
        Command::Merge(args) => merge::merge(s, args).await,
        Command::Optimize { name, zorder, target_size } => {
            operations::optimize(s, &name, zorder, target_size.as_deref()).await
        }
        Command::Vacuum(args) => operations::vacuum(s, args).await,
        Command::Expire(args) => expire::run(s, args).await,
        Command::Restore { name, to } => {
            let at = AtArgs { version: to.version, timestamp: to.timestamp };
            operations::restore(s, &name, point(&at)?).await
        }
        Command::Alter(args) => operations::alter(s, &args.name, args.changes).await,
        Command::Changes { name, from, to } => operations::changes(s, &name, from, to).await,
        Command::Mirror { command: MirrorCommand::Status { check } } => mirror_status(s, check).await,
        Command::Mirror { command: MirrorCommand::Run { watch } } => publishing::run(s, watch).await,
        Command::Mirror { command: MirrorCommand::Checkpoint { name } } => mirror_checkpoint(s, &name).await,
        Command::Mirror { command: MirrorCommand::Repair { name, ours, theirs } } => {
            mirror_repair(s, &name, ours || theirs).await
        }
        Command::Verify { name, all, every_version, data } => {
            let name = name.filter(|_| !all);
            verify(s, name.as_deref(), VerifyOptions { every_version, data }).await
        }
        Command::CopyCatalog { to } => copy_catalog(s, &to).await,
        Command::Demo { keep } => crate::demo::run(s, keep).await,
    }
}

/// The state meant by `--version` or `--timestamp`.
fn point(at: &AtArgs) -> Result<At> {
    Ok(match (at.version, &at.timestamp) {
        (Some(version), _) => At::Version(version),
        (None, Some(text)) => At::Timestamp(time::parse_ms(text)?),
        (None, None) => At::Latest,
    })
}

async fn init(s: &Session, restored: bool) -> Result<Ended> {
    let create = s.settings.create_if_missing(true)?;
    if restored {
        // An older one is brought up to date below; one that is not there was not restored.
        let there = s.open(&s.catalog_uri()?, false).await;
        there.map(drop).or_else(|e| if e.kind() == ErrorKind::NotFound { Err(e) } else { Ok(()) })?;
    }
    let catalog = s.open(&s.catalog_uri()?, create).await.map_err(|e| match create {
        true => e,
        false => TxnLogError::new(e.kind(), format!("{e}; but sql.schema=error forbids that")),
    })?;
    if restored {
        catalog.renew_epoch().await?;
    }
    let retention = s.settings.retention()?;
    if retention != Retention::default() {
        catalog.set_default_retention(retention, s.write_options()?.committer.as_deref()).await?;
    }
    let (id, epoch) = catalog.identity().await?;
    let mut out = s.output();
    match out.format() {
        Format::Table if restored => out.say(&format!(
            "the catalog {} is ready, in a new epoch: `dl verify` says what it lacks",
            catalog.describe()
        ))?,
        Format::Table => out.say(&format!("the catalog {} is ready", catalog.describe()))?,
        _ => out.document(&json!({"catalog": catalog.describe(), "catalogId": id, "epoch": epoch}))?,
    }
    Ok(Ended::Done)
}

async fn import(s: &Session, place: &str, name: Option<&str>) -> Result<Ended> {
    let name: Option<TableName> = name.map(str::parse).transpose()?;
    let mut location = Location::parse(place)?;
    let catalog = s.catalog(true).await?;
    // What is no path may name a table of the catalog, and means that table again.
    if let (false, Ok(known)) = (Path::new(place).exists(), place.parse())
        && let Some(table) = catalog.find(&TableRef::Name(known)).await?
    {
        location = table.location;
    }
    let progress = Progress::new(format!("importing {location}"), s.global.quiet);
    let show = |done: u64, total: u64| progress.at(done + 1, total + 1);
    let mirror = s.mirror(&catalog)?.with_future_times(s.settings.future_times()?);
    let imported = mirror.import(&location, name.as_ref(), &show).await?;
    drop(progress);
    let t = &imported.table;
    let mut out = s.output();
    match out.format() {
        Format::Table if imported.versions == 0 => {
            out.say(&format!("{} is up to date at version {}", t.name, t.current_version))?
        }
        Format::Table => {
            let from = match t.base_version {
                0 => String::new(),
                base => format!(" (its log begins at version {base})"),
            };
            let came = counted(imported.versions, "version");
            out.say(&format!("{} is at version {}: {came} came in{from}", t.name, t.current_version))?;
        }
        _ => {
            let mut document = entry_json(t);
            document["versionsImported"] = imported.versions.into();
            out.document(&document)?;
        }
    }
    Ok(Ended::Done)
}

/// Forgets an import that was interrupted.
async fn abandon_import(s: &Session, place: &str) -> Result<Ended> {
    let location = Location::parse(place)?;
    let catalog = s.catalog(false).await?;
    let Some(load) = catalog.unfinished_load(&location).await? else {
        let message = format!("no import of {location} was interrupted: there is nothing to abandon");
        return Err(TxnLogError::not_found(message));
    };
    catalog.abandon_load(load.table).await?;
    s.output().say(&format!("the import of {location} as {} is abandoned: name and place are free", load.name))?;
    Ok(Ended::Done)
}

pub(crate) fn iso(ms: i64) -> String {
    let text = time::format_ms(ms);
    text.strip_suffix('Z').map_or(text.clone(), |t| format!("{t}000Z"))
}

pub(crate) fn entry_json(t: &TableEntry) -> Value {
    json!({
        "name": t.name.to_string(),
        "location": t.location.to_string(),
        "version": t.current_version,
        "timestamp": iso(t.current_timestamp),
        "baseVersion": t.base_version,
        "publishedVersion": t.published_version,
        "mirror": mirror_word(t),
    })
}

fn mirror_word(t: &TableEntry) -> String {
    match &t.mirror {
        MirrorState::Diverged { version, .. } => format!("diverged at version {version}"),
        MirrorState::Following if t.published_version == Some(t.current_version) => "up to date".into(),
        MirrorState::Following => "behind".into(),
    }
}

async fn tables(s: &Session) -> Result<Ended> {
    let mut tables = listing::tables(s.catalog(false).await?, None);
    let mut out = s.output();
    let columns = ["name", "location", "version", "timestamp", "publishedVersion", "mirror"];
    let mut listing = out.listing(columns.map(String::from).into());
    while let Some(t) = tables.try_next().await? {
        let all = entry_json(&t);
        listing.row(columns.iter().map(|c| all[*c].clone()).collect())?;
    }
    listing.end()?;
    Ok(Ended::Done)
}

async fn show(s: &Session, name: &str) -> Result<Ended> {
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
        return Ok(Ended::Done);
    }
    let m = &head.metadata;
    out.line(&format!("{} at {}", entry.name, entry.location))?;
    out.line(&format!("version    {} of {}", entry.current_version, iso(entry.current_timestamp)))?;
    if entry.base_version > 0 {
        out.line(&format!("history    from version {}", entry.base_version))?;
    }
    let rows = counts.rows.map_or("an unknown number of rows".into(), |n| counted(n.unsigned_abs(), "row"));
    out.line(&format!("size       {rows} in {}, {} bytes", counted(counts.files, "file"), counts.bytes))?;
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
        out.line(&format!("about      {description}"))?;
    }
    let schema = deltalakedb_log::schema::Schema::parse(&m.schema_string, &m.partition_columns)?;
    for c in schema.columns() {
        let kind = c.type_json.trim_matches('"');
        let null = if c.nullable { "" } else { " not null" };
        let partition = if c.is_partition { " (partition)" } else { "" };
        out.line(&format!("column     {} {kind}{null}{partition}", c.name))?;
    }
    Ok(Ended::Done)
}

fn hold_json(hold: &Hold) -> Value {
    serde_json::json!({"version": hold.version, "holder": hold.holder, "until": iso(hold.until_ms)})
}

fn raw(text: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|e| TxnLogError::new(ErrorKind::Internal, "an action has no JSON form").with_source(e))
}

async fn history(s: &Session, name: &str, range: HistoryRange) -> Result<Ended> {
    let (catalog, entry) = s.table(name).await?;
    let commits = catalog.reader(entry.id).history(range).await?;
    let mut out = s.output();
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
        let all = json!({
            "version": c.version,
            "timestamp": iso(c.timestamp),
            "operation": c.operation,
            "filesAdded": c.files_added,
            "filesRemoved": c.files_removed,
            "bytesAdded": c.bytes_added,
            "bytesRemoved": c.bytes_removed,
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
    Ok(Ended::Done)
}

/// The members of an add action that make up a file, absent when null, in the log's own spelling.
fn file_json(add: &Add) -> Result<Value> {
    let mut file = raw(&add.to_json())?;
    if let Some(members) = file.as_object_mut() {
        members.shift_remove("dataChange");
    }
    Ok(file)
}

async fn files(s: &Session, name: &str, filter: Option<&str>, at: AtArgs, explain: bool) -> Result<Ended> {
    let (catalog, entry) = s.table(name).await?;
    let reader = catalog.reader(entry.id);
    let version = reader.snapshot(point(&at)?).await?.version();
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
        let (looked_at, found, kept) = (counted(e.looked_at, "file"), e.found, e.kept);
        warn(&format!("version {version}: {looked_at} looked at, {found} found, {kept} kept{by}"));
    }
    let mut out = s.output();
    if out.format() == Format::Json {
        let files = kept.iter().map(file_json).collect::<Result<Vec<_>>>()?;
        out.document(&files)?;
        return Ok(Ended::Done);
    }
    let columns = ["path", "partitionValues", "size", "modificationTime", "stats", "deletionVector"];
    let shown = if out.format() == Format::Table { &columns[..4] } else { &columns[..] };
    let mut listing = out.listing(shown.iter().map(|c| c.to_string()).collect());
    for add in &kept {
        let file = file_json(add)?;
        listing.row(shown.iter().map(|c| file.get(*c).cloned().unwrap_or(Value::Null)).collect())?;
    }
    listing.end()?;
    Ok(Ended::Done)
}

async fn snapshot(s: &Session, name: &str, at: AtArgs) -> Result<Ended> {
    let (catalog, entry) = s.table(name).await?;
    let reader = catalog.reader(entry.id);
    let snapshot = reader.snapshot(point(&at)?).await?;
    let mut files: Vec<Add> = reader.files(snapshot.version(), None).await?.try_collect().await?;
    files.sort_by(|a, b| (&a.path, a.key()).cmp(&(&b.path, b.key())));
    s.output().document(&snapshot_json(&snapshot, &files)?)?;
    Ok(Ended::Done)
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

async fn read(s: &Session, name: &str, scan: &Scan) -> Result<Ended> {
    let (catalog, entry) = s.table(name).await?;
    let table = DeltaTable::open_in(catalog, &TableRef::Id(entry.id)).await?;
    let mut out = s.output();
    if scan.limit.is_some() {
        out = out.unlimited();
    }
    print_rows(&mut out, table.scan(scan).await?).await?;
    Ok(Ended::Done)
}

/// Prints rows as they come.
pub(crate) async fn print_rows(out: &mut Output, rows: SendableRecordBatchStream) -> Result<()> {
    let mut results = Results::new(out, 1)?;
    results.print(rows).await?;
    results.end()
}

async fn mirror_status(s: &Session, check: bool) -> Result<Ended> {
    let catalog = s.catalog(false).await?;
    let mut status = Mirror::new(catalog, s.clock.clone()).status();
    let alert = s.settings.lag_alert_ms()?;
    let mut out = s.output();
    let people = out.format() == Format::Table;
    let mut columns = vec!["name", "version", "publishedVersion", "behind", "lagSeconds", "mirror"];
    columns.push(if people { "lastError" } else { "failures" });
    let mut listing = out.listing(columns.iter().map(|c| c.to_string()).collect());
    let mut alarms = Vec::new();
    while let Some(t) = status.try_next().await? {
        let mut all = entry_json(&t.table);
        all["behind"] = t.behind.into();
        all["lagSeconds"] = json!(t.lag_ms as f64 / 1000.0);
        all["lastError"] = t.failures.last().map(|f| f.error.clone()).into();
        let failure = |f: &deltalakedb_log::MirrorFailure| json!({"version": f.version, "artifact": f.artifact.as_str(), "attempts": f.attempts, "error": f.error, "failedAt": iso(f.failed_at)});
        all["failures"] = t.failures.iter().map(failure).collect();
        listing.row(columns.iter().map(|c| all[*c].clone()).collect())?;
        let name = &t.table.name;
        if let MirrorState::Diverged { version, what } = &t.table.mirror {
            alarms.push(format!("{name} has stopped at version {version} ({what}): run `dl verify {name}`"));
        } else if let Some(failure) = t.failures.last().filter(|f| f.artifact == Artifact::Checkpoint) {
            alarms.push(format!("{name}: {}", failure.error));
        } else if let Some(failure) = t.failures.last() {
            alarms.push(format!("{name} could not be published: {}: run `dl mirror run`", failure.error));
        } else if t.lag_ms > alert {
            alarms.push(format!("{name} lags by {} s: run `dl mirror run`", t.lag_ms / 1000));
        }
    }
    listing.end()?;
    if check && !alarms.is_empty() {
        alarms.iter().for_each(|alarm| warn(alarm));
        return Ok(Ended::Found);
    }
    Ok(Ended::Done)
}

async fn mirror_checkpoint(s: &Session, name: &str) -> Result<Ended> {
    let (catalog, entry) = s.table(name).await?;
    let done = s.mirror(&catalog)?.checkpoint(entry.id).await?;
    let mut out = s.output();
    match out.format() {
        Format::Table => out.say(&done.to_string())?,
        _ => out.document(&json!({
            "name": done.table.to_string(),
            "version": done.version,
            "file": done.file,
            "bytes": done.size,
            "files": done.files,
            "tombstones": done.tombstones,
            "isLast": done.is_last,
        }))?,
    }
    Ok(Ended::Done)
}

async fn mirror_repair(s: &Session, name: &str, chooses: bool) -> Result<Ended> {
    let (catalog, entry) = s.table(name).await?;
    if chooses {
        let (name, place) = (&entry.name, &entry.location);
        return Err(TxnLogError::invalid(format!(
            "--ours and --theirs are not done by this version: to keep the catalog's commits, move the other's out of \
             {place}/_delta_log and run `dl mirror run`; to keep the other's, import into a copy of the catalog from before \
             its own. `dl verify {name}` shows both"
        )));
    }
    let done = s.mirror(&catalog)?.repair(entry.id).await?;
    let mut out = s.output();
    match out.format() {
        Format::Table => out.say(&done.to_string())?,
        _ => out.document(&json!({
            "name": done.table.to_string(),
            "versions": done.versions,
            "checkpoint": done.checkpoint,
        }))?,
    }
    Ok(Ended::Done)
}

/// Verifies one table, or all: of these, one that cannot be verified keeps no other from it.
async fn verify(s: &Session, name: Option<&str>, options: VerifyOptions) -> Result<Ended> {
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
    let mirror = s.mirror(&catalog)?;
    let mut out = s.output();
    let mut listing = out.listing(["name", "version", "result", "mend"].map(String::from).into());
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
                let what = format!("it cannot be verified: {e}");
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
            let good = "the same in _delta_log and in the catalog";
            listing.row(vec![table.name.to_string().into(), table.current_version.into(), good.into(), Value::Null])?;
        }
        for f in findings {
            found = true;
            listing.row(vec![table.name.to_string().into(), f.version.into(), f.what.into(), f.mend.into()])?;
        }
    }
    listing.end()?;
    if let Some(kind) = failed.first() {
        let message = format!("{} of {count} tables could not be verified: see above", failed.len());
        return Err(TxnLogError::new(*kind, message));
    }
    Ok(if found { Ended::Found } else { Ended::Done })
}

async fn copy_catalog(s: &Session, to: &str) -> Result<Ended> {
    let to = catalog_alone(CatalogUri::parse(to)?)?;
    let source = s.open(&s.catalog_uri()?, false).await?;
    let target = s.open(&to, s.settings.create_if_missing(true)?).await?;
    let progress = Progress::new(format!("copying to {to}"), s.global.quiet);
    let copied = deltalakedb_catalog::copy_catalog(&source, &target, &|done, all| progress.at(done, all)).await?;
    drop(progress);
    let mut out = s.output();
    match out.format() {
        Format::Table => out.say(&format!(
            "{} has {} now: {} came, {} are the same in both",
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
    Ok(Ended::Done)
}
