//! The head of a table under its lock, and what is read with it.

use std::collections::{HashMap, HashSet};

use deltalakedb_log::action::Add;
use deltalakedb_log::commit::{CommitRequest, Committed, ConflictChecker, Current, NewTable, Prepared, WinningCommit};
use deltalakedb_log::stamp::{self, TimeLeap};
use deltalakedb_log::{
    Commit, CommitId, FileKey, MirrorState, PathKey, Result, SetHash, TableId, TableName, TableState, TxnLogError,
    Version,
};

use crate::bounds::BoundsSlots;
use crate::codec::{self, ADD_COLUMNS, METADATA_COLUMNS, PROTOCOL_COLUMNS, int, qualified};
use crate::conflict;
use crate::database::{DatabaseTransaction, KEYS, Row, Value, WriteStatement};
use crate::table_lookup::{mirror_state, owner};
use crate::version_rows::file_key;

/// A table under the lock.
pub(super) struct LockedHead {
    /// The state after the transactions so far; its conflict and live files are those of one request.
    pub(super) current: Current,
    pub(super) mirror: MirrorState,
    /// The oldest retained version.
    pub(super) oldest: Version,
    pub(super) state: TableState,
    pub(super) slots: BoundsSlots,
    /// The newest stored version, and those that last changed the protocol and the metadata.
    pub(super) stored: Option<Version>,
    changed: [Option<Version>; 2],
    /// The commits of the transactions so far, after the stored version.
    new: Vec<NewCommit>,
    /// The live files at the paths touched by the batch.
    pub(super) live: HashMap<PathKey, Vec<(FileKey, Add)>>,
}

/// A commit of the batch, for later transactions.
struct NewCommit {
    prepared: Prepared,
    /// Parsed when a request has to be checked against it.
    parsed: Option<Commit>,
}

impl LockedHead {
    /// The head of a table that a request creates.
    pub(super) fn of_new(new: &NewTable) -> Self {
        Self {
            current: Current::without_version(new.name.clone(), new.owner.clone()),
            mirror: MirrorState::Following,
            oldest: 0,
            state: TableState::Live,
            slots: BoundsSlots::default(),
            stored: None,
            changed: [None; 2],
            new: Vec::new(),
            live: HashMap::new(),
        }
    }

    /// The first commit after the base that conflicts with the request: a stored one, or one of the batch.
    pub(super) async fn conflict(
        &mut self,
        tx: &mut dyn DatabaseTransaction,
        request: &CommitRequest,
        base: Version,
    ) -> Result<Option<WinningCommit>> {
        let Self { current, stored, changed, new, .. } = self;
        let mut checker =
            ConflictChecker::new(request, current.state.as_ref().map(|(_, metadata)| metadata), &current.live);
        let is_old = changed.iter().all(|version| *version <= Some(base));
        if *stored > Some(base) && !(is_old && checker.needs_only_protocol_and_metadata()) {
            let found = conflict::find(tx, (request.table, &current.name), &mut checker, base).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        for NewCommit { prepared, parsed } in new.iter_mut().filter(|new| new.prepared.version > base) {
            if !checker.may_conflict(&prepared.changes) {
                continue;
            }
            let commit = match parsed {
                Some(commit) => commit,
                None => {
                    let origin = format!("version {} of {}", prepared.version, current.name);
                    parsed.insert(Commit::parse(prepared.body.clone(), &origin)?)
                }
            };
            if let Some(found) = checker.check(prepared.version, commit)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Advances to a commit that was decided.
    pub(super) fn advance(&mut self, prepared: &Prepared) {
        let (current, changes) = (&mut self.current, &prepared.changes);
        current.version = Some(prepared.version);
        current.timestamp = prepared.committed_at;
        current.set_hash = prepared.set_hash;
        if let Some(protocol) = &changes.protocol {
            self.changed[0] = Some(prepared.version);
            if let Some((before, _)) = &mut current.state {
                *before = protocol.clone();
            }
        }
        if let Some(metadata) = &changes.metadata {
            self.changed[1] = Some(prepared.version);
            if let Some((_, before)) = &mut current.state {
                *before = metadata.clone();
            }
        }
    }

    /// Keeps a commit for later transactions of the batch: its files, and what they may conflict with.
    pub(super) fn keep(&mut self, prepared: Prepared) {
        let ended: HashSet<_> = prepared.ended.iter().collect();
        if !ended.is_empty() {
            self.live.values_mut().for_each(|files| files.retain(|(key, _)| !ended.contains(key)));
        }
        for (key, add) in &prepared.changes.adds {
            self.live.entry(PathKey::new(&add.path)).or_default().push((*key, Add::clone(add)));
        }
        self.new.push(NewCommit { prepared, parsed: None });
    }

    /// Moves the stored head to the newest version of the batch, by compare-and-set: if the lock failed, no commit
    /// would be lost silently.
    pub(super) fn move_head(&self, table: TableId) -> WriteStatement {
        let sql = "UPDATE dl_tables SET current_version = ?, current_ts = ?, base_version = coalesce(base_version, ?), \
                   protocol_version = ?, metadata_version = ? \
                   WHERE table_id = ? AND coalesce(current_version, -1) = ?";
        let version = |version: Option<Version>| version.map_or(Value::Null, int);
        let [protocol, metadata] = self.changed;
        let params = vec![
            version(self.current.version),
            self.current.timestamp.into(),
            version(self.current.version),
            version(protocol),
            version(metadata),
            table.0.into(),
            self.stored.map_or(Value::Int(-1), int),
        ];
        WriteStatement::run(sql, params)
    }
}

/// The heads of the tables, and the requests that are committed already.
pub(super) async fn lock_heads(
    tx: &mut dyn DatabaseTransaction,
    requests: &[&CommitRequest],
) -> Result<(HashMap<TableId, LockedHead>, CommitsById)> {
    // For each table, one request is looked up with the head; the commit ids of the others separately.
    let mut tables = HashSet::new();
    let (first, others): (Vec<_>, Vec<_>) = requests.iter().copied().partition(|request| tables.insert(request.table));
    // The pairs are rows, and each finds its commit id by key: as alternatives in a condition, four or more pairs would
    // make SQLite scan all ids that the tables ever had. SQLite keeps the join order of a CROSS JOIN; with any other
    // join it scans the large table and looks each row up among the pairs, once there are some hundreds of pairs.
    let sql = format!(
        "WITH own (table_id, commit_id) AS (VALUES {}) \
         SELECT t.table_id, t.namespace, t.name, t.owner, t.state, mirror.state, mirror.diverged_version, \
         mirror.diverged_what, t.base_version, t.current_version, t.current_ts, t.protocol_version, t.metadata_version, \
         v.set_hash, \
         own.commit_id, c.version, c.committed_at, {}, {}, {} FROM own \
         CROSS JOIN dl_tables t JOIN dl_mirrors mirror ON mirror.table_id = t.table_id \
         JOIN dl_table_versions v ON v.table_id = t.table_id AND v.version = t.current_version \
         JOIN dl_protocol_updates p ON p.table_id = t.table_id AND p.version = t.protocol_version \
         JOIN dl_metadata_updates m ON m.table_id = t.table_id AND m.version = t.metadata_version \
         LEFT JOIN dl_commit_ids c ON c.table_id = own.table_id AND c.commit_id = own.commit_id \
         WHERE t.table_id = own.table_id AND t.state <> 'loading'",
        vec!["(?, ?)"; first.len()].join(", "),
        BoundsSlots::subquery("t"),
        qualified("p", &PROTOCOL_COLUMNS),
        qualified("m", &METADATA_COLUMNS),
    );
    let ids = |requests: &[&CommitRequest]| -> Vec<Value> {
        requests.iter().flat_map(|r| [r.table.0.into(), r.commit_id.0.as_slice().into()]).collect()
    };
    let (mut heads, mut known) = (HashMap::new(), CommitsById::new());
    for row in tx.query(&sql, ids(&first)).await? {
        let (table, head) = locked_head(row, &mut known)?;
        heads.insert(table, head);
    }
    for requests in others.chunks(KEYS) {
        let sql = format!(
            "WITH own (table_id, commit_id) AS (VALUES {}) SELECT c.table_id, c.commit_id, c.version, c.committed_at \
             FROM own CROSS JOIN dl_commit_ids c WHERE c.table_id = own.table_id AND c.commit_id = own.commit_id",
            vec!["(?, ?)"; requests.len()].join(", "),
        );
        for mut row in tx.query(&sql, ids(requests)).await? {
            let (table, id) = (TableId(row.uuid()?), commit_id(&mut row)?);
            let (version, timestamp) = (row.version()?, row.int()?);
            known.insert((table, id), Committed { table, version, timestamp, leap: None });
        }
    }
    known.retain(|(table, _), _| heads.contains_key(table));
    Ok((heads, known))
}

fn commit_id(row: &mut Row) -> Result<CommitId> {
    let id = row.blob()?.try_into();
    id.map(CommitId).map_err(|_| TxnLogError::corrupt("a stored commit id is not 32 bytes"))
}

/// Commits by table and id.
pub(crate) type CommitsById = HashMap<(TableId, CommitId), Committed>;

/// A table, and the commit that is `known` by the id that was looked up with it.
fn locked_head(mut row: Row, known: &mut CommitsById) -> Result<(TableId, LockedHead)> {
    let table = TableId(row.uuid()?);
    let name = TableName { namespace: row.text()?, name: row.text()? };
    let owner = owner(&mut row)?;
    let state = TableState::parse(&row.text()?)?;
    let mirror = mirror_state(&mut row)?;
    let oldest = row.version()?;
    let (version, timestamp) = (row.version()?, row.int()?);
    let changed = [row.opt_version()?, row.opt_version()?];
    let set_hash = SetHash::from_bytes(&row.blob()?)
        .ok_or_else(|| TxnLogError::corrupt(format!("the set hash of {name} at version {version} is not 32 bytes")))?;
    let id = commit_id(&mut row)?;
    if let (Some(version), Some(timestamp)) = (row.opt_version()?, row.opt_int()?) {
        known.insert((table, id), Committed { table, version, timestamp, leap: None });
    }
    let slots = BoundsSlots::read(row.opt_text()?.as_deref())?;
    let current = Current {
        name,
        owner,
        version: Some(version),
        timestamp,
        leap: None,
        state: Some((codec::read_protocol(&mut row)?, codec::read_metadata(&mut row)?)),
        set_hash,
        conflict: None,
        live: HashMap::new(),
    };
    let (new, live) = (Vec::new(), HashMap::new());
    let head = LockedHead { current, mirror, oldest, state, slots, stored: Some(version), changed, new, live };
    Ok((table, head))
}

/// The first version ahead of the catalog's clock, if the newest version is ahead.
pub(super) async fn leap(
    tx: &mut dyn DatabaseTransaction,
    table: TableId,
    newest_ms: i64,
    now_ms: i64,
) -> Result<Option<TimeLeap>> {
    if !stamp::is_ahead(newest_ms, now_ms) {
        return Ok(None);
    }
    let sql = "SELECT version, committed_at FROM dl_table_versions \
               WHERE table_id = ? AND committed_at > ? ORDER BY committed_at LIMIT 1";
    let after = now_ms.saturating_add(stamp::MARGIN_MS);
    let row = tx.query(sql, vec![table.0.into(), after.into()]).await?.pop();
    row.map(|mut row| Ok(TimeLeap { version: row.version()?, timestamp: row.int()?, now_ms })).transpose()
}

/// The live files at these paths of tables.
pub(super) async fn live_files(
    tx: &mut dyn DatabaseTransaction,
    paths: HashSet<(TableId, PathKey)>,
) -> Result<Vec<(TableId, FileKey, Add)>> {
    let (paths, mut live) = (Vec::from_iter(paths), Vec::new());
    for paths in paths.chunks(KEYS) {
        let sql = format!(
            "WITH own (table_id, path_key) AS (VALUES {}) SELECT a.table_id, a.file_key, {} FROM own \
             CROSS JOIN dl_add_files a WHERE a.table_id = own.table_id AND a.path_key = own.path_key \
             AND a.removed_version IS NULL",
            vec!["(?, ?)"; paths.len()].join(", "),
            qualified("a", &ADD_COLUMNS),
        );
        let params = paths.iter().flat_map(|(table, path)| [table.0.into(), path.0.as_slice().into()]);
        for mut row in tx.query(&sql, params.collect()).await? {
            live.push((TableId(row.uuid()?), file_key(&mut row)?, codec::read_add(&mut row)?));
        }
    }
    Ok(live)
}

/// The requests that are committed already, looked up by a transaction that has their locks.
pub(crate) async fn committed(tx: &mut dyn DatabaseTransaction, requests: &[&CommitRequest]) -> Result<CommitsById> {
    Ok(lock_heads(tx, requests).await?.1)
}
