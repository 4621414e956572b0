//! The commit protocol: lock, look, decide, write, all in one short transaction.
//!
//! A commit to one table whose base is the head takes three round trips besides BEGIN and COMMIT: the head, the touched
//! files, and everything it writes. What the decision is belongs to [`deltalakedb_log::commit::prepare`].

use std::collections::HashMap;
use std::time::{Duration, Instant};

use deltalakedb_log::action::{Add, Remove};
use deltalakedb_log::catalog::{CommitTime, MirrorState};
use deltalakedb_log::commit::{self, Base, CommitRequest, Committed, Content, Current, NewTable, Outcome, Prepared};
use deltalakedb_log::schema::Schema;
use deltalakedb_log::snapshot::{Changes, CommitSummary};
use deltalakedb_log::stamp::{self, Stamp, TimeLeap};
use deltalakedb_log::verbatim::{self, StoredAlready};
use deltalakedb_log::{
    Clock, CommitId, ErrorKind, FileKey, PathKey, Result, SetHash, TableId, TableName, TableOwner, TableRef,
    TableState, TxnLogError, Version,
};

use uuid::Uuid;

use crate::bounds::Slots;
use crate::codec::{self, ADD_COLUMNS, METADATA_COLUMNS, PROTOCOL_COLUMNS, int};
use crate::database::{CommitFailure, Row, Session, Value, Write, placeholders};
use crate::lifecycle::{TABLES, any_table, no_table, no_table_in};
use crate::references::NamedFolders;
use crate::{SqlCatalog, Writing, conflict, namespaces, read};

/// Keys looked up in one statement.
pub(crate) const KEYS: usize = 500;
/// How often a commit that certainly did not happen is tried again, and for how long.
const RETRIES: u32 = 3;
const RETRY_FOR: Duration = Duration::from_secs(30);
/// The longest pause before the first of these tries; it doubles with each.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) async fn commit_all(catalog: &SqlCatalog, requests: &[CommitRequest]) -> Result<Outcome> {
    commit::check_group(requests)?;
    check_paths(catalog, requests).await?;
    let epoch = catalog.last_identity().epoch;
    let began = Instant::now();
    for retry in 0..RETRIES {
        match attempt(catalog, requests, epoch).await {
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
    attempt(catalog, requests, epoch).await
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

/// One attempt by whoever knew the catalog in that epoch.
async fn attempt(catalog: &SqlCatalog, requests: &[CommitRequest], epoch: Uuid) -> Result<Outcome> {
    let named: Vec<_> = requests.iter().map(NamedFolders::of).collect();
    let locked = [tables(requests), NamedFolders::sources(&named, catalog.db.as_ref()).await?].concat();
    let Writing { mut session, now_ms, identity } = catalog.begin_write(&locked).await?;
    if identity.1 != epoch {
        let message = format!(
            "{} was restored while this process had it open (its epoch is new): read the table again and retry",
            catalog.db.describe()
        );
        return Err(TxnLogError::new(ErrorKind::Conflict, message));
    }
    let mut heads = lock_heads(session.as_mut(), requests).await?;
    let mut known = Vec::new();
    for request in requests {
        if let Some(head) = heads.get(&request.table) {
            known.extend(known_commit(session.as_mut(), request, head).await?);
        }
    }
    if let Some(outcome) = commit::already_committed(requests, known)? {
        return Ok(outcome);
    }
    let mut currents = Vec::with_capacity(requests.len());
    let mut slots = Vec::with_capacity(requests.len());
    for request in requests {
        let (current, of_table) = match (&request.base, heads.remove(&request.table)) {
            (Base::Create(new), head) => {
                check_free(session.as_mut(), new, head.map(|h| h.current.name)).await?;
                let current = Current {
                    name: new.name.clone(),
                    owner: new.owner.clone(),
                    version: None,
                    timestamp: 0,
                    leap: None,
                    state: None,
                    set_hash: SetHash::default(),
                    conflict: None,
                    live: HashMap::new(),
                };
                (current, Slots::default())
            }
            (_, Some(mut head)) if head.state == TableState::Live => {
                commit::check_mirror(&head.current.name, &head.mirror)?;
                let slots = head.slots.clone();
                head.current.leap = leap(session.as_mut(), request.table, head.current.timestamp, now_ms).await?;
                (look_up(session.as_mut(), request, head).await?, slots)
            }
            _ => return Err(no_table_in(session.as_mut(), catalog.db.as_ref(), request.table).await),
        };
        currents.push(current);
        slots.push(of_table);
    }
    let stamp = Stamp::new(identity, now_ms, catalog.clock.as_ref(), requests, &currents);
    let mut decided = Vec::with_capacity(requests.len());
    for (request, current) in requests.iter().zip(&currents) {
        match commit::prepare(request, current, &stamp)? {
            Ok(prepared) => decided.push(prepared),
            Err(conflict) => return Ok(Outcome::Conflict(conflict)),
        }
    }
    let (mut committed, mut writes, mut expected) = (Vec::with_capacity(requests.len()), Vec::new(), 0);
    let members = requests.iter().zip(&currents).zip(decided).zip(slots).zip(&named);
    for ((((request, current), prepared), slots), named) in members {
        let Some(prepared) = prepared else { continue };
        if let Some(references) = named.record(session.as_mut(), &current.name).await? {
            expected += references.rows();
            writes.push(references);
        }
        committed.push(Committed {
            table: request.table,
            version: prepared.version,
            timestamp: prepared.committed_at,
            leap: current.leap,
        });
        let (of_table, rows) = store(catalog, request, current, prepared, slots)?;
        writes.extend(of_table);
        expected += rows;
    }
    // Last and in order, since others who make tables in the same namespaces wait for it.
    let made = requests.iter().filter_map(|request| match &request.base {
        Base::Create(new) => Some(&new.name),
        _ => None,
    });
    let mut made: Vec<_> = made.collect();
    made.sort_unstable_by(|a, b| a.namespace.cmp(&b.namespace));
    expected += made.len() as u64;
    writes.extend(made.into_iter().map(|name| namespaces::has_table(name, now_ms)));
    let changed = session.write(writes).await.map_err(|e| match e.kind() {
        // What was free is taken now: others may create where rows are locked one by one. The next look says by whom.
        ErrorKind::AlreadyExists => TxnLogError::new(ErrorKind::Unavailable, e.to_string()).with_source(e),
        _ => e,
    })?;
    // The head moves by compare-and-set: were the lock ever not one, no commit would be lost silently.
    if changed != expected {
        let message = format!("a head moved under the lock ({changed} rows of {expected}): nothing was committed");
        return Err(TxnLogError::new(ErrorKind::Internal, message));
    }
    match session.commit().await {
        Ok(()) => Ok(Outcome::Committed(committed)),
        Err(CommitFailure::RolledBack(e)) => Err(e),
        Err(CommitFailure::Unknown(e)) => resolve_unknown(catalog, requests, e).await,
    }
}

fn tables(requests: &[CommitRequest]) -> Vec<TableId> {
    requests.iter().map(|r| r.table).collect()
}

/// The answer to COMMIT was lost: the commit ids know.
async fn resolve_unknown(catalog: &SqlCatalog, requests: &[CommitRequest], cause: TxnLogError) -> Result<Outcome> {
    let creates = requests.iter().any(|r| matches!(r.base, Base::Create(_)));
    let unknown = || Ok(Outcome::Unknown(cause.to_string()));
    let known = if catalog.db.lock_proves_absence() && !creates {
        // Whoever gets the lock has outlived the transaction that had it, and asks in the session that has it: were a
        // second connection needed, as many who ask as the pool has connections would wait for one another.
        let Ok(mut session) = catalog.write(&tables(requests)).await else { return unknown() };
        let Ok(heads) = lock_heads(session.as_mut(), requests).await else { return unknown() };
        let known: Vec<_> = requests.iter().filter_map(|r| heads.get(&r.table)?.known).collect();
        if known.len() < requests.iter().filter(|r| r.writes()).count() {
            return Err(cause);
        }
        known
    } else {
        // A new table had no lock. Not seen is no proof.
        let mut known = Vec::with_capacity(requests.len());
        for request in requests.iter().filter(|r| r.writes()) {
            match read::find_commit(catalog.db.as_ref(), request.table, request.commit_id).await {
                Ok(Some(c)) => known.push(c),
                Ok(None) | Err(_) => return unknown(),
            }
        }
        known
    };
    Ok(Outcome::Committed(known))
}

/// A table under the lock, and the commit it has already under the request's id.
struct LockedHead {
    current: Current,
    mirror: MirrorState,
    /// The oldest version held.
    oldest: Version,
    known: Option<Committed>,
    slots: Slots,
    state: TableState,
}

/// The session excludes other writers, so what is read here stays true until COMMIT.
async fn lock_heads(session: &mut dyn Session, requests: &[CommitRequest]) -> Result<HashMap<TableId, LockedHead>> {
    // The pairs are rows, and each leads to its commit id by key: as alternatives in a condition, four or more of them
    // would make SQLite go through all ids that the tables ever had.
    let sql = format!(
        "WITH own (table_id, commit_id) AS (VALUES {}) \
         SELECT t.table_id, t.namespace, t.name, t.owner, t.state, t.mirror_state, t.mirror_version, t.mirror_what, \
         t.base_version, t.current_version, t.current_ts, v.set_hash, c.version, c.committed_at, {}, {}, {} FROM own \
         JOIN dl_tables t ON t.table_id = own.table_id \
         JOIN dl_table_versions v ON v.table_id = t.table_id AND v.version = t.current_version \
         JOIN dl_protocol_updates p ON p.table_id = t.table_id AND p.version = t.protocol_version \
         JOIN dl_metadata_updates m ON m.table_id = t.table_id AND m.version = t.metadata_version \
         LEFT JOIN dl_commit_ids c ON c.table_id = own.table_id AND c.commit_id = own.commit_id \
         WHERE t.state <> 'loading'",
        vec!["(?, ?)"; requests.len()].join(", "),
        Slots::subquery("t"),
        read::qualified("p", &PROTOCOL_COLUMNS),
        read::qualified("m", &METADATA_COLUMNS),
    );
    let params = requests.iter().flat_map(|r| [r.table.0.into(), r.commit_id.0.as_slice().into()]).collect();
    let rows = session.query(&sql, params).await?;
    rows.into_iter().map(locked_head).collect()
}

fn locked_head(mut row: Row) -> Result<(TableId, LockedHead)> {
    let table = TableId(row.uuid()?);
    let name = TableName { namespace: row.text()?, name: row.text()? };
    let owner = read::owner(&mut row)?;
    let table_state = TableState::parse(&row.text()?)?;
    let mirror = read::mirror_state(&mut row)?;
    let oldest = row.version()?;
    let (version, timestamp) = (row.version()?, row.int()?);
    let set_hash = SetHash::from_bytes(&row.blob()?)
        .ok_or_else(|| TxnLogError::corrupt(format!("the set hash of {name} at version {version} is not 32 bytes")))?;
    let (known, known_at) = (row.opt_version()?, row.opt_int()?);
    let known = known.zip(known_at).map(|(version, timestamp)| Committed { table, version, timestamp, leap: None });
    let slots = Slots::read(row.opt_text()?.as_deref())?;
    let state = Some((codec::read_protocol(&mut row)?, codec::read_metadata(&mut row)?));
    let (conflict, live) = (None, HashMap::new());
    let current =
        Current { name, owner, version: Some(version), timestamp, leap: None, state, set_hash, conflict, live };
    Ok((table, LockedHead { current, mirror, oldest, known, slots, state: table_state }))
}

/// The commit that a request is already. One that is verbatim may be there under another id, in the same bytes.
async fn known_commit(
    session: &mut dyn Session,
    request: &CommitRequest,
    head: &LockedHead,
) -> Result<Option<Committed>> {
    let Content::Verbatim(verbatim) = &request.content else { return Ok(head.known) };
    let (table, version) = (request.table, request.base.next()?);
    let mut stored = StoredAlready { by_id: head.known.map(|known| known.version), ..StoredAlready::default() };
    if let Some(txn_id) = verbatim.txn_id() {
        let sql = "SELECT version FROM dl_commit_ids WHERE table_id = ? AND commit_id = ?";
        let params = vec![table.0.into(), CommitId::of_txn(&txn_id).0.as_slice().into()];
        let row = session.query(sql, params).await?.pop();
        stored.by_txn = row.map(|mut row| row.version()).transpose()?;
    }
    // Its version may have ended, and then the id alone knows its time.
    let mut timestamp = head.known.map_or(0, |known| known.timestamp);
    if head.current.version >= Some(version) {
        let sql = "SELECT v.committed_at, c.body FROM dl_table_versions v LEFT JOIN dl_commit_bodies c \
                   ON c.table_id = v.table_id AND c.version = v.version WHERE v.table_id = ? AND v.version = ?";
        if let Some(mut row) = session.query(sql, vec![table.0.into(), int(version)]).await?.pop() {
            timestamp = row.int()?;
            stored.body = row.opt_blob()?.as_deref().map(codec::decompress).transpose()?;
        }
    }
    let is_stored = verbatim::is_stored(request, &head.current.name, &stored)?;
    Ok(is_stored.then_some(Committed { table, version, timestamp, leap: None }))
}

/// The first version whose time is ahead of the catalog's clock, where the newest is.
async fn leap(session: &mut dyn Session, table: TableId, newest_ms: i64, now_ms: i64) -> Result<Option<TimeLeap>> {
    if !stamp::is_ahead(newest_ms, now_ms) {
        return Ok(None);
    }
    let sql = "SELECT version, committed_at FROM dl_table_versions \
               WHERE table_id = ? AND committed_at > ? ORDER BY committed_at LIMIT 1";
    let after = now_ms.saturating_add(stamp::MARGIN_MS);
    let row = session.query(sql, vec![table.0.into(), after.into()]).await?.pop();
    row.map(|mut row| Ok(TimeLeap { version: row.version()?, timestamp: row.int()?, now_ms })).transpose()
}

/// What the decision needs beyond the head: the commits in between and the touched files.
async fn look_up(session: &mut dyn Session, request: &CommitRequest, head: LockedHead) -> Result<Current> {
    let mut current = head.current;
    current.live = live_files(session, request.table, &request.touched()).await?;
    if let (Base::RebaseFrom(base) | Base::ReadAt(base), Some(version)) = (&request.base, current.version)
        && *base < version
    {
        current.conflict = conflict::find(session, request, &current, (head.oldest, *base)).await?;
    }
    Ok(current)
}

/// The live files at these paths.
async fn live_files(session: &mut dyn Session, table: TableId, paths: &[PathKey]) -> Result<HashMap<FileKey, Add>> {
    let mut live = HashMap::new();
    for paths in paths.chunks(KEYS) {
        let sql = format!(
            "SELECT file_key, {} FROM dl_add_files WHERE table_id = ? AND path_key IN ({}) AND removed_version IS NULL",
            ADD_COLUMNS.join(", "),
            placeholders(paths.len())
        );
        for mut row in session.query(&sql, keyed(table, paths.iter().map(|p| &p.0))).await? {
            live.insert(file_key(&mut row)?, codec::read_add(&mut row)?);
        }
    }
    Ok(live)
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

/// Refuses a name or a place that is taken.
pub(crate) async fn check_free(session: &mut dyn Session, new: &NewTable, own: Option<TableName>) -> Result<()> {
    let params = vec![new.name.to_string().into(), new.location.url().as_str().into()];
    for row in session.query(&format!("{TABLES} name_key = ? OR location_key = ?"), params).await? {
        if let Some(taken) = any_table(row)?.in_the_way_of(new) {
            return Err(taken);
        }
    }
    let same_id =
        |name| TxnLogError::new(ErrorKind::AlreadyExists, format!("there is a table with that id already: {name}"));
    own.map_or(Ok(()), |name| Err(same_id(name)))
}

/// Everything a commit writes, and the number of rows that changes.
fn store(
    catalog: &SqlCatalog,
    request: &CommitRequest,
    current: &Current,
    prepared: Prepared,
    mut slots: Slots,
) -> Result<(Vec<Write>, u64)> {
    let (table, committed_at) = (request.table, prepared.committed_at);
    let changes = &prepared.changes;
    let mut writes = Vec::new();
    if let Base::Create(new) = &request.base {
        writes.push(register(table, new, "live", committed_at));
    }
    writes.extend(end_files(table, prepared.version, &prepared.ended));
    let before = current.state.as_ref().map(|(_, metadata)| metadata);
    let has_layout = !changes.adds.is_empty() || changes.metadata.is_some() || !changes.domains.is_empty();
    if let Some(metadata) = changes.metadata.as_ref().or(before).filter(|_| has_layout) {
        let schema = Schema::parse(&metadata.schema_string, &metadata.partition_columns)?;
        if changes.metadata.is_some() || !changes.domains.is_empty() {
            let first = slots.assign(&schema, metadata, &changes.domains);
            writes.extend(slots.insert(table, first));
        }
        let owned = slots.owned(&schema);
        let row = |(key, add): &(FileKey, Add)| codec::file_values(key, add, &owned);
        let files = changes.adds.iter().map(row).collect::<Result<Vec<_>>>()?;
        let columns = codec::file_columns();
        let columns = &columns[..files.first().map_or(0, Vec::len)];
        writes.extend(of_version(table, prepared.version, "dl_add_files", columns, files));
    }
    writes.extend(changes_but_files(table, prepared.version, changes)?);
    let time = CommitTime { ms: committed_at, source: prepared.time_source };
    let summary = CommitSummary::of(prepared.version, committed_at, Some(&prepared.info), changes);
    let body = StoredBody::of(&prepared.body)?;
    let row = version_values(table, &summary, time, Some(&body), prepared.set_hash);
    writes.push(Write::insert("dl_table_versions", &VERSION_COLUMNS, vec![row]));
    writes.push(body.insert(table, prepared.version));
    writes.extend(request.ids().into_iter().map(|id| commit_id(table, id, prepared.version, committed_at)));
    let action = summary.operation.as_deref().unwrap_or("COMMIT");
    let committer = request.committer.as_deref();
    writes.push(audit(catalog, committed_at, committer, action, table, Some(prepared.version)));
    let head = "UPDATE dl_tables SET current_version = ?, current_ts = ?, base_version = coalesce(base_version, ?), \
                protocol_version = coalesce(?, protocol_version), metadata_version = coalesce(?, metadata_version) \
                WHERE table_id = ? AND coalesce(current_version, -1) = ?";
    let version = int(prepared.version);
    let params = vec![
        version.clone(),
        committed_at.into(),
        version.clone(),
        changes.protocol.as_ref().map_or(Value::Null, |_| version.clone()),
        changes.metadata.as_ref().map_or(Value::Null, |_| version),
        table.0.into(),
        current.version.map_or(Value::Int(-1), int),
    ];
    writes.push(Write::run(head, params));
    // Each row that is new, each file that ends, and the head.
    let rows = writes.iter().map(Write::rows).sum::<u64>() + prepared.ended.len() as u64 + 1;
    Ok((writes, rows))
}

/// Remembers which version a commit became, and when.
pub(crate) fn commit_id(table: TableId, id: CommitId, version: Version, committed_at: i64) -> Write {
    let row = vec![table.0.into(), id.0.as_slice().into(), int(version), committed_at.into()];
    Write::insert("dl_commit_ids", &["table_id", "commit_id", "version", "committed_at"], vec![row])
}

/// Puts a table on the books, without a version.
pub(crate) fn register(table: TableId, new: &NewTable, state: &str, now: i64) -> Write {
    let columns = [
        "table_id",
        "namespace",
        "name",
        "name_key",
        "location",
        "location_key",
        "state",
        "owner",
        "created_at",
        "mirror_state",
    ];
    let place = new.location.url().as_str();
    let row = vec![
        table.0.into(),
        new.name.namespace.as_str().into(),
        new.name.name.as_str().into(),
        new.name.to_string().into(),
        place.into(),
        place.into(),
        state.into(),
        new.owner.as_ref().map(TableOwner::as_str).into(),
        now.into(),
        "following".into(),
    ];
    Write::insert("dl_tables", &columns, vec![row])
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
    Ok([vec![key.0.as_slice().into()], codec::remove_values(remove)?].concat())
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
    let ours = || vec![table.0.into(), int(version)];
    let rows: Vec<_> = rows.into_iter().map(|row| [ours(), row].concat()).collect();
    (!rows.is_empty()).then(|| Write::insert(to, &columns, rows))
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
