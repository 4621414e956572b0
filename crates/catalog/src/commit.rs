//! The commit protocol: lock, look, decide, write, all in one short transaction.
//!
//! A commit to one table whose base is the head takes four round trips besides BEGIN and COMMIT: the head, the touched
//! files, the new files, and one for version, ids, audit and head together. What the decision is belongs to
//! [`deltalakedb_log::commit::prepare`].

use std::collections::HashMap;

use deltalakedb_log::action::Add;
use deltalakedb_log::catalog::{CommitTime, TimeSource};
use deltalakedb_log::commit::{self, Base, CommitRequest, Committed, Current, NewTable, Outcome, Prepared, Stamp};
use deltalakedb_log::snapshot::{Changes, CommitSummary};
use deltalakedb_log::{
    Commit, ErrorKind, FileKey, Location, PathKey, Result, SetHash, TableId, TableName, TxnLogError, Version,
};

use crate::SqlCatalog;
use crate::codec::{self, ADD_COLUMNS, METADATA_COLUMNS, PROTOCOL_COLUMNS, int};
use crate::database::{CommitFailure, Row, Session, Value, placeholders};
use crate::read;

/// Keys looked up in one statement. They are found by key: `+` keeps the end of a file out of the choice of an index.
const KEYS: usize = 500;

pub(crate) async fn commit_all(catalog: &SqlCatalog, requests: &[CommitRequest]) -> Result<Outcome> {
    commit::check_group(requests)?;
    let mut session = catalog.write().await?;
    let mut heads = lock_heads(session.as_mut(), requests).await?;
    let known = requests.iter().filter_map(|r| heads.get(&r.table)?.known).collect();
    if let Some(outcome) = commit::already_committed(requests, known)? {
        return Ok(outcome);
    }
    let mut currents = Vec::with_capacity(requests.len());
    for request in requests {
        let current = match (&request.base, heads.remove(&request.table)) {
            (Base::Create(new), head) => {
                check_free(session.as_mut(), new, head.map(|h| h.current.name)).await?;
                Current {
                    name: new.name.clone(),
                    version: None,
                    timestamp: 0,
                    state: None,
                    set_hash: SetHash::default(),
                    winners: Vec::new(),
                    live: HashMap::new(),
                }
            }
            (_, Some(head)) => look_up(session.as_mut(), request, head).await?,
            (_, None) => return Err(read::no_table(catalog.db.as_ref(), request.table)),
        };
        currents.push(current);
    }
    let identity = (catalog.identity.catalog_id, catalog.identity.epoch);
    let stamp = Stamp::new(identity, catalog.clock.as_ref(), &currents);
    let mut decided = Vec::with_capacity(requests.len());
    for (request, current) in requests.iter().zip(&currents) {
        match commit::prepare(request, current, &stamp)? {
            Ok(prepared) => decided.push(prepared),
            Err(conflict) => return Ok(Outcome::Conflict(conflict)),
        }
    }
    let mut committed = Vec::with_capacity(requests.len());
    for ((request, prepared), current) in requests.iter().zip(&decided).zip(&currents) {
        store(catalog, session.as_mut(), request, current, prepared, &stamp).await?;
        committed.push(Committed { table: request.table, version: prepared.version, timestamp: stamp.committed_at });
    }
    match session.commit().await {
        Ok(()) => Ok(Outcome::Committed(committed)),
        Err(CommitFailure::RolledBack(e)) => Err(e),
        Err(CommitFailure::Unknown(e)) => resolve_unknown(catalog, requests, e).await,
    }
}

/// The answer to COMMIT was lost: the commit ids know.
async fn resolve_unknown(catalog: &SqlCatalog, requests: &[CommitRequest], cause: TxnLogError) -> Result<Outcome> {
    let mut found = Vec::new();
    for request in requests {
        match read::find_commit(catalog.db.as_ref(), request.table, request.commit_id).await {
            Ok(Some(c)) => found.push(c),
            // Not seen is no proof: after a failed sync the commit may still come back with the database's recovery.
            Ok(None) => return Ok(Outcome::Unknown(cause.to_string())),
            Err(_) => return Ok(Outcome::Unknown(cause.to_string())),
        }
    }
    Ok(Outcome::Committed(found))
}

/// A table under the lock, and the commit it has already under the request's id.
struct LockedHead {
    current: Current,
    known: Option<Committed>,
}

/// The session excludes other writers, so what is read here stays true until COMMIT.
async fn lock_heads(session: &mut dyn Session, requests: &[CommitRequest]) -> Result<HashMap<TableId, LockedHead>> {
    let tables = placeholders(requests.len());
    let own_id = vec!["(c.table_id = ? AND c.commit_id = ?)"; requests.len()].join(" OR ");
    let sql = format!(
        "SELECT t.table_id, t.namespace, t.name, t.mirror_state, t.mirror_version, t.mirror_what, t.current_version, \
         t.current_ts, v.set_hash, c.version, k.committed_at, {}, {} FROM dl_tables t \
         JOIN dl_table_versions v ON v.table_id = t.table_id AND v.version = t.current_version \
         JOIN dl_protocol_updates p ON p.table_id = t.table_id AND p.version = t.protocol_version \
         JOIN dl_metadata_updates m ON m.table_id = t.table_id AND m.version = t.metadata_version \
         LEFT JOIN dl_commit_ids c ON c.table_id = t.table_id AND ({own_id}) \
         LEFT JOIN dl_table_versions k ON k.table_id = c.table_id AND k.version = c.version \
         WHERE t.state = 'live' AND t.table_id IN ({tables}) ORDER BY t.table_id",
        read::qualified("p", &PROTOCOL_COLUMNS),
        read::qualified("m", &METADATA_COLUMNS),
    );
    let ids = requests.iter().flat_map(|r| [r.table.0.into(), r.commit_id.0.as_slice().into()]);
    let params = ids.chain(requests.iter().map(|r| r.table.0.into())).collect();
    let rows = session.query(&sql, params).await?;
    rows.into_iter().map(locked_head).collect()
}

fn locked_head(mut row: Row) -> Result<(TableId, LockedHead)> {
    let table = TableId(row.uuid()?);
    let name = TableName { namespace: row.text()?, name: row.text()? };
    let mirror = read::mirror_state(&mut row)?;
    let (version, timestamp) = (row.version()?, row.int()?);
    let set_hash = SetHash::from_bytes(&row.blob()?)
        .ok_or_else(|| TxnLogError::corrupt(format!("the set hash of {name} at version {version} is not 32 bytes")))?;
    let (known, known_at) = (row.opt_version()?, row.opt_int()?);
    let known = known.zip(known_at).map(|(version, timestamp)| Committed { table, version, timestamp });
    let state = Some((codec::read_protocol(&mut row)?, codec::read_metadata(&mut row)?));
    if known.is_none() {
        commit::check_mirror(&name, &mirror)?;
    }
    let (winners, live) = (Vec::new(), HashMap::new());
    let current = Current { name, version: Some(version), timestamp, state, set_hash, winners, live };
    Ok((table, LockedHead { current, known }))
}

/// What the decision needs beyond the head: the commits in between and the touched files.
async fn look_up(session: &mut dyn Session, request: &CommitRequest, head: LockedHead) -> Result<Current> {
    let mut current = head.current;
    if let (Base::RebaseFrom(base), Some(version)) = (&request.base, current.version)
        && *base < version
    {
        let sql = "SELECT version, body FROM dl_table_versions \
                   WHERE table_id = ? AND version > ? AND body IS NOT NULL ORDER BY version";
        for mut row in session.query(sql, vec![request.table.0.into(), int(*base)]).await? {
            let version = row.version()?;
            let body = codec::decompress(&row.blob()?)?;
            current.winners.push((version, Commit::parse(body, &format!("version {version} of {}", current.name))?));
        }
    }
    current.live = live_files(session, request.table, &request.touched()).await?;
    Ok(current)
}

/// The live files at these paths.
async fn live_files(session: &mut dyn Session, table: TableId, paths: &[PathKey]) -> Result<HashMap<FileKey, Add>> {
    let mut live = HashMap::new();
    for paths in paths.chunks(KEYS) {
        let sql = format!(
            "SELECT file_key, {ADD_COLUMNS} FROM dl_add_files \
             WHERE table_id = ? AND path_key IN ({}) AND +removed_version IS NULL",
            placeholders(paths.len())
        );
        for mut row in session.query(&sql, keyed(table, paths.iter().map(|p| &p.0))).await? {
            live.insert(file_key(&mut row)?, codec::read_add(&mut row)?);
        }
    }
    Ok(live)
}

/// Which of the files are live.
pub(crate) async fn live_keys(session: &mut dyn Session, table: TableId, keys: &[FileKey]) -> Result<Vec<FileKey>> {
    let mut live = Vec::new();
    for keys in keys.chunks(KEYS) {
        let sql = format!(
            "SELECT file_key FROM dl_add_files WHERE table_id = ? AND file_key IN ({}) AND +removed_version IS NULL",
            placeholders(keys.len())
        );
        for mut row in session.query(&sql, keyed(table, keys.iter().map(|k| &k.0))).await? {
            live.push(file_key(&mut row)?);
        }
    }
    Ok(live)
}

fn file_key(row: &mut Row) -> Result<FileKey> {
    let key = row.blob()?.try_into();
    key.map(FileKey).map_err(|_| TxnLogError::corrupt("a stored file key is not 16 bytes"))
}

fn keyed<'a>(table: TableId, keys: impl Iterator<Item = &'a [u8; 16]>) -> Vec<Value> {
    std::iter::once(table.0.into()).chain(keys.map(|k| k.as_slice().into())).collect()
}

/// Refuses a name or a place that is taken.
pub(crate) async fn check_free(session: &mut dyn Session, new: &NewTable, own: Option<TableName>) -> Result<()> {
    let sql = "SELECT namespace, name, location FROM dl_tables WHERE name_key = ? OR location_key = ?";
    let params = vec![new.name.to_string().into(), new.location.url().as_str().into()];
    for mut row in session.query(sql, params).await? {
        let (name, at) = (TableName { namespace: row.text()?, name: row.text()? }, row.text()?);
        if let Some(taken) = new.taken_by(&name, &Location::parse(&at)?) {
            return Err(taken);
        }
    }
    let same_id =
        |name| TxnLogError::new(ErrorKind::AlreadyExists, format!("there is a table with that id already: {name}"));
    own.map_or(Ok(()), |name| Err(same_id(name)))
}

async fn store(
    catalog: &SqlCatalog,
    session: &mut dyn Session,
    request: &CommitRequest,
    current: &Current,
    prepared: &Prepared,
    stamp: &Stamp,
) -> Result<()> {
    let table = request.table;
    if let Base::Create(new) = &request.base {
        register(session, table, new, "live", stamp.committed_at).await?;
    }
    let ended = Ended { keys: &prepared.ended, version: prepared.version };
    store_changes(session, table, prepared.version, &prepared.changes, ended).await?;
    let time = CommitTime { ms: stamp.committed_at, source: TimeSource::Clock };
    let summary = CommitSummary::of(prepared.version, stamp.committed_at, prepared.commit.info(), &prepared.changes);
    let body = StoredBody::of(prepared.commit.bytes())?;
    let row = version_values(table, &summary, time, Some(body), prepared.set_hash);
    let mut sql = format!(
        "INSERT INTO dl_table_versions ({}) VALUES ({}); ",
        VERSION_COLUMNS.join(", "),
        placeholders(row.len())
    );
    let mut params = row;
    sql.push_str("INSERT INTO dl_commit_ids (table_id, commit_id, version) VALUES (?, ?, ?); ");
    params.extend([table.0.into(), request.commit_id.0.as_slice().into(), int(prepared.version)]);
    let action = summary.operation.clone().unwrap_or_else(|| "COMMIT".into());
    sql.push_str(AUDIT);
    params.extend(audit(
        catalog,
        stamp.committed_at,
        request.committer.as_deref(),
        &action,
        table,
        Some(prepared.version),
    ));
    // The head moves by compare-and-set: were the lock ever not one, no commit would be lost silently.
    sql.push_str(
        "UPDATE dl_tables SET current_version = ?, current_ts = ?, base_version = coalesce(base_version, ?), \
         protocol_version = coalesce(?, protocol_version), metadata_version = coalesce(?, metadata_version) \
         WHERE table_id = ? AND coalesce(current_version, -1) = ?",
    );
    let version = int(prepared.version);
    params.extend([
        version.clone(),
        stamp.committed_at.into(),
        version.clone(),
        prepared.changes.protocol.as_ref().map_or(Value::Null, |_| version.clone()),
        prepared.changes.metadata.as_ref().map_or(Value::Null, |_| version),
        table.0.into(),
        current.version.map_or(Value::Int(-1), int),
    ]);
    // One row each for the version, its id, the audit and the head.
    match session.execute(&sql, params).await? {
        4 => Ok(()),
        n => Err(TxnLogError::new(
            ErrorKind::Internal,
            format!("the head of {} moved under the lock ({n} rows of 4): nothing was committed", current.name),
        )),
    }
}

/// Puts a table on the books, without a version.
pub(crate) async fn register(
    session: &mut dyn Session,
    table: TableId,
    new: &NewTable,
    state: &str,
    now: i64,
) -> Result<()> {
    let columns = [
        "table_id",
        "namespace",
        "name",
        "name_key",
        "location",
        "location_key",
        "state",
        "mode",
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
        "open".into(),
        now.into(),
        "following".into(),
    ];
    session.insert("dl_tables", &columns, vec![row]).await
}

/// Files whose life ends with a version: those it removes, and those it replaces.
pub(crate) struct Ended<'a> {
    pub(crate) keys: &'a [FileKey],
    pub(crate) version: Version,
}

/// The rows of one commit but for its version. Nothing of it, no statement.
pub(crate) async fn store_changes(
    session: &mut dyn Session,
    table: TableId,
    version: Version,
    changes: &Changes,
    ended: Ended<'_>,
) -> Result<()> {
    for keys in ended.keys.chunks(KEYS) {
        let sql = format!(
            "UPDATE dl_add_files SET removed_version = ? \
             WHERE table_id = ? AND file_key IN ({}) AND +removed_version IS NULL",
            placeholders(keys.len())
        );
        let params = std::iter::once(int(ended.version)).chain(keyed(table, keys.iter().map(|k| &k.0))).collect();
        session.execute(&sql, params).await?;
    }
    let rows = Rows { table, version, changes };
    rows.insert_all(session).await
}

struct Rows<'a> {
    table: TableId,
    version: Version,
    changes: &'a Changes,
}

impl Rows<'_> {
    async fn insert_all(&self, session: &mut dyn Session) -> Result<()> {
        let c = self.changes;
        let add = |(key, add): &(FileKey, Add)| Ok([vec![key.0.as_slice().into()], codec::add_values(add)?].concat());
        let adds = c.adds.iter().map(add).collect::<Result<Vec<_>>>()?;
        let columns: Vec<_> =
            ["file_key", "path_key"].into_iter().chain(ADD_COLUMNS.split(',').map(str::trim)).collect();
        self.insert(session, "dl_add_files", &columns, adds).await?;
        let removes = c
            .removes
            .iter()
            .map(|(key, remove)| Ok([vec![key.0.as_slice().into()], codec::remove_values(remove)?].concat()));
        let columns: Vec<_> = std::iter::once("file_key").chain(codec::REMOVE_COLUMNS).collect();
        self.insert(session, "dl_remove_files", &columns, removes.collect::<Result<_>>()?).await?;
        let protocol = c.protocol.iter().map(codec::protocol_values).collect::<Result<_>>()?;
        self.insert(session, "dl_protocol_updates", &PROTOCOL_COLUMNS, protocol).await?;
        let metadata = c.metadata.iter().map(codec::metadata_values).collect::<Result<_>>()?;
        self.insert(session, "dl_metadata_updates", &METADATA_COLUMNS, metadata).await?;
        let txns = c.txns.iter().map(codec::txn_values).collect();
        self.insert(session, "dl_txn_actions", &codec::TXN_COLUMNS, txns).await?;
        let domains = c.domains.iter().map(codec::domain_values).collect();
        self.insert(session, "dl_domain_metadata", &codec::DOMAIN_COLUMNS, domains).await?;
        let mut paths = std::collections::HashSet::new();
        let cdcs = c.cdcs.iter().filter(|cdc| paths.insert(cdc.path.as_str())).map(codec::cdc_values);
        self.insert(session, "dl_cdc_files", &codec::CDC_COLUMNS, cdcs.collect::<Result<_>>()?).await
    }

    async fn insert(&self, session: &mut dyn Session, to: &str, columns: &[&str], rows: Vec<Vec<Value>>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let columns = [&["table_id", "version"], columns].concat();
        let ours = || vec![self.table.0.into(), int(self.version)];
        session.insert(to, &columns, rows.into_iter().map(|row| [ours(), row].concat()).collect()).await
    }
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
    "body",
    "digest",
    "files_added",
    "files_removed",
    "bytes_added",
    "bytes_removed",
    "set_hash",
];

/// The bytes of a commit as they are stored.
pub(crate) struct StoredBody {
    compressed: Vec<u8>,
    digest: blake3::Hash,
}

impl StoredBody {
    pub(crate) fn of(body: &[u8]) -> Result<Self> {
        Ok(Self { compressed: codec::compress(body)?, digest: blake3::hash(body) })
    }
}

pub(crate) fn version_values(
    table: TableId,
    s: &CommitSummary,
    time: CommitTime,
    body: Option<StoredBody>,
    set_hash: SetHash,
) -> Vec<Value> {
    let blob = |text: &Option<String>| text.as_deref().map_or(Value::Null, codec::bytes);
    let count = |n: u64| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let (body, digest) = match body {
        Some(body) => (Value::Blob(body.compressed), body.digest.as_bytes().as_slice().into()),
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
        body,
        digest,
        count(s.files_added),
        count(s.files_removed),
        s.bytes_added.into(),
        s.bytes_removed.into(),
        set_hash.to_bytes().as_slice().into(),
    ]
}

pub(crate) const AUDIT: &str = "INSERT INTO dl_audit \
     (audit_id, at, committer, action, table_id, version, host, process, client, outcome) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?); ";

/// The parameters of [`AUDIT`].
pub(crate) fn audit(
    catalog: &SqlCatalog,
    at: i64,
    committer: Option<&str>,
    action: &str,
    table: TableId,
    version: Option<Version>,
) -> Vec<Value> {
    vec![
        catalog.clock.new_uuid().into(),
        at.into(),
        committer.into(),
        action.into(),
        table.0.into(),
        version.map_or(Value::Null, int),
        catalog.origin.host.as_str().into(),
        catalog.origin.process.into(),
        catalog.origin.client.as_str().into(),
        "committed".into(),
    ]
}
