//! The commit protocol: lock, look, decide, write, all in one short transaction.
//!
//! A commit to one table whose base is the head takes three round trips besides BEGIN and COMMIT: the head, the touched
//! files, and everything it writes. So do the commits that [waited](crate::queue) for it, all together, and one more for
//! their ids. What the decision is belongs to [`deltalakedb_log::commit::prepare`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltalakedb_log::action::{Add, Remove};
use deltalakedb_log::commit::{self, Base, CommitRequest, Committed, Content, Current, NewTable, Outcome, Prepared};
use deltalakedb_log::schema::Schema;
use deltalakedb_log::snapshot::{Changes, CommitSummary};
use deltalakedb_log::{
    Clock, CommitId, CommitTime, ErrorKind, FileKey, Result, SetHash, TableId, TableName, TableOwner, TableRef,
    TxnLogError, Version,
};

use crate::bounds::{OwnedSlots, Slots};
use crate::codec::{self, METADATA_COLUMNS, PROTOCOL_COLUMNS, int};
use crate::database::{CommitFailure, Row, Session, Value, Write, placeholders};
use crate::lifecycle::{TABLES, any_table, no_table};
use crate::listing::table_around;
use crate::locked::{self, Decision, LockedTables};
use crate::queue::{Scope, Transaction};
use crate::references::NamedFolders;
use crate::sql_catalog::{SqlCatalog, Writing};
use crate::{mirror, read};

/// Keys looked up in one statement.
pub(crate) const KEYS: usize = 500;
/// How often a commit that certainly did not happen is tried again, and for how long.
const RETRIES: u32 = 3;
const RETRY_FOR: Duration = Duration::from_secs(30);
/// From how long on a batch that the database could not take is not tried again one by one.
const LONG: Duration = Duration::from_secs(5);
/// The longest pause before the first of these tries; it doubles with each.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) async fn commit_all(catalog: &SqlCatalog, requests: Vec<CommitRequest>) -> Result<Outcome> {
    commit::check_group(&requests)?;
    check_paths(catalog, &requests).await?;
    let transaction = Transaction::new(requests, catalog.last_identity().epoch);
    let Some(scope) = scope(catalog, &transaction.requests) else {
        return commit_alone(catalog, &Arc::new(transaction)).await;
    };
    let of_queue = catalog.clone();
    let run = move |batch| {
        let catalog = of_queue.clone();
        async move { commit_batch(&catalog, batch).await }
    };
    catalog.queues.commit(scope, transaction, run).await
}

/// With which other commits of this process these may become one transaction. Not with any, where the session is asked
/// about more than the tables they change.
fn scope(catalog: &SqlCatalog, requests: &[CommitRequest]) -> Option<Scope> {
    let is_plain = |request: &CommitRequest| {
        let is_change = !matches!(request.base, Base::Create(_)) && matches!(request.content, Content::Actions(_));
        is_change && NamedFolders::of(request).folders.is_empty()
    };
    match requests {
        requests if !requests.iter().all(is_plain) => None,
        _ if !catalog.db.locks_heads() => Some(Scope::Catalog),
        [request] => Some(Scope::Table(request.table)),
        _ => None,
    }
}

/// Commits transactions that came together, each with an outcome of its own.
async fn commit_batch(catalog: &SqlCatalog, batch: Vec<Arc<Transaction>>) -> Vec<Result<Outcome>> {
    if let [transaction] = batch.as_slice() {
        return vec![commit_alone(catalog, transaction).await];
    }
    let began = Instant::now();
    let mut away = match retried(catalog, &batch).await {
        Ok(outcomes) => return outcomes,
        // All have waited long enough for a lock or for a database that is away.
        Err(e) if e.kind() == ErrorKind::Unavailable && began.elapsed() > LONG => Some(e.to_string()),
        // One of them may be what the database refuses, and the others not.
        Err(_) => None,
    };
    let mut outcomes = Vec::with_capacity(batch.len());
    for transaction in &batch {
        let outcome = match &away {
            Some(message) => Err(TxnLogError::new(ErrorKind::Unavailable, String::clone(message))),
            None => commit_alone(catalog, transaction).await,
        };
        if let Err(e) = &outcome
            && e.kind() == ErrorKind::Unavailable
        {
            away = Some(e.to_string());
        }
        outcomes.push(outcome);
    }
    outcomes
}

async fn commit_alone(catalog: &SqlCatalog, transaction: &Arc<Transaction>) -> Result<Outcome> {
    let none = || TxnLogError::new(ErrorKind::Internal, "a commit was run and has no outcome");
    retried(catalog, std::slice::from_ref(transaction)).await?.pop().ok_or_else(none)?
}

/// Tries again what certainly was not committed because the database was not available.
async fn retried(catalog: &SqlCatalog, batch: &[Arc<Transaction>]) -> Result<Vec<Result<Outcome>>> {
    let began = Instant::now();
    for retry in 0..RETRIES {
        match attempt(catalog, batch).await {
            // Nothing was committed, or its id says what.
            Err(e) if e.kind() == ErrorKind::Unavailable && catalog.db.lock_proves_absence() => {
                // Who waited for a lock or a connection has waited long enough.
                if began.elapsed() > RETRY_FOR {
                    return Err(e);
                }
                tokio::time::sleep(pause(retry, catalog.clock.as_ref())).await;
            }
            result => return result,
        }
    }
    attempt(catalog, batch).await
}

/// Refuses files outside of their table's folder where the catalog does not allow them.
async fn check_paths(catalog: &SqlCatalog, requests: &[CommitRequest]) -> Result<()> {
    if catalog.allowed_paths.are_all() {
        return Ok(());
    }
    for request in requests.iter().filter(|r| r.writes()) {
        let location = match &request.base {
            Base::Create(new) => new.location.clone(),
            _ => match read::find(catalog.db.as_ref(), &TableRef::Id(request.table)).await? {
                Some(entry) => entry.location,
                None => return Err(no_table(catalog.db.as_ref(), request.table).await),
            },
        };
        request.actions().iter().try_for_each(|action| catalog.allowed_paths.check(&location, action))?;
    }
    Ok(())
}

/// How long to wait before a try. Those who failed together come again one after the other.
fn pause(retry: u32, clock: &dyn Clock) -> Duration {
    let random = u32::from_le_bytes(clock.new_uuid().into_bytes()[..4].try_into().unwrap_or_default());
    (PAUSE * (1 << retry)).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

async fn attempt(catalog: &SqlCatalog, batch: &[Arc<Transaction>]) -> Result<Vec<Result<Outcome>>> {
    let requests: Vec<_> = batch.iter().flat_map(|transaction| &transaction.requests).collect();
    let mut named: Vec<_> = requests.iter().map(|request| NamedFolders::of(request)).collect();
    let mut locked = [tables(&requests), NamedFolders::sources(&mut named, catalog.db.as_ref()).await?].concat();
    locked.sort_unstable();
    locked.dedup();
    let Writing { session, now_ms, identity } = catalog.begin_write(&locked).await?;
    let mut tables = LockedTables::read(catalog, session, (now_ms, identity), batch).await?;
    let (mut decisions, mut named) = (Vec::with_capacity(batch.len()), named.as_slice());
    for transaction in batch {
        let (of_this, rest) = named.split_at(transaction.requests.len());
        named = rest;
        decisions.push(tables.decide(transaction, of_this).await?);
    }
    let (mut session, writes, rows) = tables.into_writes();
    if writes.is_empty() {
        return Ok(outcomes(decisions));
    }
    let changed = session.write(writes).await.map_err(|e| match e.kind() {
        // What was free is taken now: others may create where rows are locked one by one. The next look says by whom.
        ErrorKind::AlreadyExists => TxnLogError::new(ErrorKind::Unavailable, e.to_string()).with_source(e),
        _ => e,
    })?;
    if changed != rows {
        let message = format!("a head moved under the lock ({changed} rows of {rows}): nothing was committed");
        return Err(TxnLogError::new(ErrorKind::Internal, message));
    }
    match session.commit().await {
        Ok(()) => Ok(outcomes(decisions)),
        Err(CommitFailure::RolledBack(e)) => Err(e),
        Err(CommitFailure::Unknown(e)) => resolve_unknown(catalog, batch, decisions, e).await,
    }
}

fn outcomes(decisions: Vec<Decision>) -> Vec<Result<Outcome>> {
    decisions.into_iter().map(|decision| decision.outcome).collect()
}

fn tables(requests: &[&CommitRequest]) -> Vec<TableId> {
    requests.iter().map(|r| r.table).collect()
}

/// The answer to COMMIT was lost: the commit ids know.
async fn resolve_unknown(
    catalog: &SqlCatalog,
    batch: &[Arc<Transaction>],
    decisions: Vec<Decision>,
    cause: TxnLogError,
) -> Result<Vec<Result<Outcome>>> {
    let written = batch.iter().zip(&decisions).filter(|(_, decision)| decision.is_written());
    let requests: Vec<_> = written.flat_map(|(t, _)| &t.requests).filter(|request| request.writes()).collect();
    let creates = requests.iter().any(|r| matches!(r.base, Base::Create(_)));
    let are_there = if catalog.db.lock_proves_absence() && !creates {
        // Whoever gets the lock has outlived the transaction that had it, and asks in the session that has it: were a
        // second connection needed, as many who ask as the pool has connections would wait for one another.
        match under_lock(catalog, &requests).await {
            Ok(known) if requests.iter().all(|r| known.contains_key(&(r.table, r.commit_id))) => true,
            Ok(_) => return Err(cause),
            Err(_) => false,
        }
    } else {
        // A new table had no lock. Not seen is no proof.
        let mut are_there = true;
        for request in requests {
            let found = read::find_commit(catalog.db.as_ref(), request.table, request.commit_id).await;
            are_there &= matches!(found, Ok(Some(_)));
        }
        are_there
    };
    let told = |decision: Decision| match &decision {
        decided if are_there || decided.is_settled => decision.outcome,
        decided if decided.is_written() => Ok(Outcome::Unknown(cause.to_string())),
        // It was decided against commits that may not be there.
        _ => Err(TxnLogError::new(ErrorKind::Unavailable, cause.to_string())),
    };
    Ok(decisions.into_iter().map(told).collect())
}

async fn under_lock(
    catalog: &SqlCatalog,
    requests: &[&CommitRequest],
) -> Result<HashMap<(TableId, CommitId), Committed>> {
    let mut locked = tables(requests);
    locked.sort_unstable();
    locked.dedup();
    let mut session = catalog.write(&locked).await?;
    locked::committed(session.as_mut(), requests).await
}

/// Which of the files are live. Each key is looked up by itself: DuckDB would compare every row with a whole list of keys.
/// The table is in a row as well, since a server that has not counted the rows of a table expects none if it is told
/// which table it is, and goes through all of them.
pub(crate) async fn live_keys(session: &mut dyn Session, table: TableId, keys: &[FileKey]) -> Result<Vec<FileKey>> {
    let mut live = Vec::new();
    for keys in keys.chunks(KEYS) {
        let sql = format!(
            "WITH own (table_id, file_key) AS (VALUES {}) SELECT file_key FROM own WHERE (SELECT count(*) \
             FROM dl_add_files a WHERE a.table_id = own.table_id AND a.file_key = own.file_key \
             AND a.removed_version IS NULL) > 0",
            vec!["(?, ?)"; keys.len()].join(", ")
        );
        let params = keys.iter().flat_map(|key| [table.0.into(), key.0.as_slice().into()]);
        for mut row in session.query(&sql, params.collect()).await? {
            live.push(file_key(&mut row)?);
        }
    }
    Ok(live)
}

pub(crate) fn file_key(row: &mut Row) -> Result<FileKey> {
    let key = row.blob()?.try_into();
    key.map(FileKey).map_err(|_| TxnLogError::corrupt("a stored file key is not 16 bytes"))
}

fn keyed<'a>(table: TableId, keys: impl Iterator<Item = &'a [u8; 16]>) -> Vec<Value> {
    std::iter::once(table.0.into()).chain(keys.map(|k| k.as_slice().into())).collect()
}

/// Refuses a name or a place that is taken, and a place that is inside of a table or around one. Until the session ends,
/// no other one makes a table there, inside of it or around it.
pub(crate) async fn check_free(session: &mut dyn Session, new: &NewTable, own: Option<TableName>) -> Result<()> {
    session.lock_place(&new.location.key()).await?;
    let params = vec![new.name.to_string().into(), new.location.key().as_str().into()];
    for row in session.query(&format!("{TABLES} name_key = ? OR location_key = ?"), params).await? {
        if let Some(taken) = any_table(row)?.in_the_way_of(new) {
            return Err(taken);
        }
    }
    if let Some(table) = table_around(session, &new.location).await? {
        new.location.check_apart(&table.name, &table.location)?;
    }
    let same_id =
        |name| TxnLogError::new(ErrorKind::AlreadyExists, format!("there is a table with that id already: {name}"));
    own.map_or(Ok(()), |name| Err(same_id(name)))
}

/// The rows of a commit but for its table's head, and how many rows they change.
pub(crate) fn store(
    catalog: &SqlCatalog,
    request: &CommitRequest,
    current: &Current,
    prepared: &Prepared,
    slots: &mut Slots,
) -> Result<(Vec<Write>, u64)> {
    let (table, committed_at) = (request.table, prepared.committed_at);
    let summary = CommitSummary::of(prepared.version, committed_at, Some(&prepared.info), &prepared.changes);
    let changes = &prepared.changes;
    let mut writes = Vec::new();
    if let Base::Create(new) = &request.base {
        writes.extend(register(table, new, "live", committed_at));
    }
    writes.extend(end_files(table, prepared.version, &prepared.ended));
    let before = current.state.as_ref().map(|(_, metadata)| metadata);
    let has_layout = !changes.adds.is_empty() || changes.metadata.is_some() || !changes.domains.is_empty();
    if let Some(metadata) = changes.metadata.as_ref().or(before).filter(|_| has_layout) {
        let schema = Arc::new(Schema::parse(&metadata.schema_string, &metadata.partition_columns)?);
        if changes.metadata.is_some() || !changes.domains.is_empty() {
            let first = slots.assign(&schema, metadata, &changes.domains);
            writes.extend(slots.insert(table, first));
        }
        writes.extend(added_files(table, prepared.version, changes.adds.clone(), slots.owned(schema)));
    }
    writes.extend(changes_but_files(table, prepared.version, changes)?);
    let time = CommitTime { ms: committed_at, source: prepared.time_source };
    let body = StoredBody::of(&prepared.body)?;
    let row = version_values(table, &summary, time, Some(&body), prepared.set_hash);
    writes.push(Write::insert("dl_table_versions", &VERSION_COLUMNS, vec![row]));
    writes.push(body.insert(table, prepared.version));
    writes.extend(request.ids().into_iter().map(|id| commit_id(table, id, prepared.version, committed_at)));
    let action = summary.operation.as_deref().unwrap_or("COMMIT");
    let committer = request.committer.as_deref();
    writes.push(audit(catalog, committed_at, committer, action, table, Some(prepared.version)));
    // Each row that is new, and each file that ends.
    let rows = writes.iter().map(Write::rows).sum::<u64>() + prepared.ended.len() as u64;
    Ok((writes, rows))
}

/// The rows of files that become live with a version. They are generated while they are written, since there may be very many.
fn added_files(table: TableId, version: Version, adds: Vec<(FileKey, Arc<Add>)>, owned: OwnedSlots) -> Option<Write> {
    let columns: Vec<_> = ["table_id", "version"].into_iter().chain(codec::written_file_columns(&owned)).collect();
    let row =
        move |(key, add): (FileKey, Arc<Add>)| Ok(behind(table, version, codec::file_values(&key, &add, &owned)?));
    (!adds.is_empty()).then(|| Write::insert_lazy("dl_add_files", &columns, adds.into_iter().map(row)))
}

/// Remembers which version a commit became, and when.
pub(crate) fn commit_id(table: TableId, id: CommitId, version: Version, committed_at: i64) -> Write {
    let row = vec![table.0.into(), id.0.as_slice().into(), int(version), committed_at.into()];
    Write::insert("dl_commit_ids", &["table_id", "commit_id", "version", "committed_at"], vec![row])
}

/// Puts a table on the books, without a version.
pub(crate) fn register(table: TableId, new: &NewTable, state: &str, now: i64) -> [Write; 2] {
    let columns =
        ["table_id", "namespace", "name", "name_key", "location", "location_key", "state", "owner", "created_at"];
    let row = vec![
        table.0.into(),
        new.name.namespace.as_str().into(),
        new.name.name.as_str().into(),
        new.name.to_string().into(),
        new.location.url().as_str().into(),
        new.location.key().as_str().into(),
        state.into(),
        new.owner.as_ref().map(TableOwner::as_str).into(),
        now.into(),
    ];
    [Write::insert("dl_tables", &columns, vec![row]), mirror::register(table)]
}

/// Ends the life of files with a version: of those it removes, and of those it replaces.
pub(crate) fn end_files(table: TableId, version: Version, keys: &[FileKey]) -> Vec<Write> {
    let end = |keys: &[FileKey]| {
        let sql = format!(
            "UPDATE dl_add_files SET removed_version = ? \
             WHERE table_id = ? AND file_key IN ({}) AND removed_version IS NULL",
            placeholders(keys.len())
        );
        let params = std::iter::once(int(version)).chain(keyed(table, keys.iter().map(|k| &k.0)));
        Write::run(sql, params.collect())
    };
    keys.chunks(KEYS).map(end).collect()
}

/// The rows of one commit but for its version and its files.
pub(crate) fn changes_but_files(table: TableId, version: Version, c: &Changes) -> Result<Vec<Write>> {
    let of = |to, columns: &[&'static str], rows| of_version(table, version, to, columns, rows);
    let removes = c.removes.iter().map(|(key, remove)| remove_file_values(key, remove)).collect::<Result<_>>()?;
    let protocol = c.protocol.iter().map(codec::protocol_values).collect::<Result<_>>()?;
    let metadata = c.metadata.iter().map(codec::metadata_values).collect::<Result<_>>()?;
    let mut paths = std::collections::HashSet::new();
    let cdcs = c.cdcs.iter().filter(|cdc| paths.insert(cdc.path.as_str()));
    let writes = [
        of("dl_remove_files", &remove_file_columns(), removes),
        of("dl_protocol_updates", &PROTOCOL_COLUMNS, protocol),
        of("dl_metadata_updates", &METADATA_COLUMNS, metadata),
        of("dl_txn_actions", &codec::TXN_COLUMNS, c.txns.iter().map(codec::txn_values).collect()),
        of("dl_domain_metadata", &codec::DOMAIN_COLUMNS, c.domains.iter().map(codec::domain_values).collect()),
        of("dl_cdc_files", &codec::CDC_COLUMNS, cdcs.map(codec::cdc_values).collect::<Result<_>>()?),
    ];
    Ok(writes.into_iter().flatten().collect())
}

/// The columns of `dl_remove_files` behind the version.
pub(crate) fn remove_file_columns() -> Vec<&'static str> {
    std::iter::once("file_key").chain(codec::REMOVE_COLUMNS).collect()
}

/// What a row of `dl_remove_files` says in them.
pub(crate) fn remove_file_values(key: &FileKey, remove: &Remove) -> Result<Vec<Value>> {
    let mut values = vec![key.0.as_slice().into()];
    values.extend(codec::remove_values(remove)?);
    Ok(values)
}

/// Rows that belong to a version. None, no statement.
fn of_version(
    table: TableId,
    version: Version,
    to: &'static str,
    columns: &[&'static str],
    rows: Vec<Vec<Value>>,
) -> Option<Write> {
    let columns = [&["table_id", "version"], columns].concat();
    let rows: Vec<_> = rows.into_iter().map(|row| behind(table, version, row)).collect();
    (!rows.is_empty()).then(|| Write::insert(to, &columns, rows))
}

/// A row: the table and the version, then these values.
fn behind(table: TableId, version: Version, values: Vec<Value>) -> Vec<Value> {
    let mut row = Vec::with_capacity(values.len() + 2);
    row.extend([table.0.into(), int(version)]);
    row.extend(values);
    row
}

pub(crate) const VERSION_COLUMNS: [&str; 19] = [
    "table_id",
    "version",
    "committed_at",
    "time_source",
    "committer",
    "operation",
    "operation_params",
    "operation_metrics",
    "engine_info",
    "group_id",
    "read_version",
    "isolation",
    "digest",
    "body_bytes",
    "files_added",
    "files_removed",
    "bytes_added",
    "bytes_removed",
    "set_hash",
];

pub(crate) const BODY_COLUMNS: [&str; 3] = ["table_id", "version", "body"];

/// The bytes of a commit as they are stored.
pub(crate) struct StoredBody {
    compressed: Vec<u8>,
    digest: blake3::Hash,
}

impl StoredBody {
    pub(crate) fn of(body: &[u8]) -> Result<Self> {
        Ok(Self { compressed: codec::compress(body)?, digest: blake3::hash(body) })
    }

    pub(crate) fn insert(self, table: TableId, version: Version) -> Write {
        let row = vec![table.0.into(), int(version), Value::Blob(self.compressed)];
        Write::insert("dl_commit_bodies", &BODY_COLUMNS, vec![row])
    }
}

pub(crate) fn version_values(
    table: TableId,
    s: &CommitSummary,
    time: CommitTime,
    body: Option<&StoredBody>,
    set_hash: SetHash,
) -> Vec<Value> {
    let blob = |text: &Option<String>| text.as_deref().map_or(Value::Null, codec::bytes);
    let count = |n: u64| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let (digest, bytes) = match body {
        Some(body) => (body.digest.as_bytes().as_slice().into(), count(body.compressed.len() as u64)),
        None => (Value::Null, Value::Null),
    };
    vec![
        table.0.into(),
        int(s.version),
        time.ms.into(),
        time.source.as_str().into(),
        s.committer.as_deref().into(),
        s.operation.as_deref().into(),
        blob(&s.operation_parameters),
        blob(&s.operation_metrics),
        s.engine_info.as_deref().into(),
        s.group_id.as_deref().into(),
        s.read_version.into(),
        s.isolation.as_deref().into(),
        digest,
        bytes,
        count(s.files_added),
        count(s.files_removed),
        s.bytes_added.into(),
        s.bytes_removed.into(),
        set_hash.to_bytes().as_slice().into(),
    ]
}

pub(crate) const AUDIT_COLUMNS: [&str; 10] =
    ["audit_id", "\"at\"", "committer", "action", "table_id", "version", "host", "process", "client", "outcome"];

/// A line of the audit: what happened to a table, or to the catalog.
pub(crate) fn audit(
    catalog: &SqlCatalog,
    at: i64,
    committer: Option<&str>,
    action: &str,
    table: impl Into<Option<TableId>>,
    version: Option<Version>,
) -> Write {
    let row = vec![
        catalog.clock.new_uuid().into(),
        at.into(),
        committer.into(),
        action.into(),
        table.into().map_or(Value::Null, |table| table.0.into()),
        version.map_or(Value::Null, int),
        catalog.origin.host.as_str().into(),
        catalog.origin.process.into(),
        catalog.origin.client.as_str().into(),
        "committed".into(),
    ];
    Write::insert("dl_audit", &AUDIT_COLUMNS, vec![row])
}
