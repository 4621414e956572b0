//! Tables whose heads are locked, as the transactions of a batch change them one after the other.
//!
//! What is read here stays true until COMMIT, since the session excludes other writers. Each transaction is decided against
//! what is stored and what those before it in the batch did; all that is new is written once, behind the last of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use deltalakedb_log::action::Add;
use deltalakedb_log::commit::{
    self, Base, CommitRequest, Committed, ConflictChecker, Content, Current, Outcome, Prepared, WinningCommit,
};
use deltalakedb_log::stamp::{self, Stamp, TimeLeap};
use deltalakedb_log::verbatim::{self, StoredAlready};
use deltalakedb_log::{
    Commit, CommitId, ErrorKind, FileKey, MirrorState, PathKey, Result, SetHash, TableId, TableName, TableState,
    TxnLogError, Version,
};
use uuid::Uuid;

use crate::bounds::Slots;
use crate::codec::{self, ADD_COLUMNS, METADATA_COLUMNS, PROTOCOL_COLUMNS, int, qualified};
use crate::database::{KEYS, Row, Session, Value, Write};
use crate::queue::Transaction;
use crate::references::NamedFolders;
use crate::sql_catalog::SqlCatalog;
use crate::table_lookup::{mirror_state, no_table_in, owner};
use crate::uniqueness::check_free;
use crate::version_rows::{file_key, store};
use crate::{conflict, namespaces};

/// A table under the lock.
struct LockedHead {
    /// As the transactions so far leave it; what is known of conflicts and live files is that of one request.
    current: Current,
    mirror: MirrorState,
    /// The oldest retained version.
    oldest: Version,
    state: TableState,
    slots: Slots,
    /// The newest version that is stored, and those that changed the protocol and the metadata last.
    stored: Option<Version>,
    changed: [Option<Version>; 2],
    /// What the transactions so far committed, behind the stored version.
    new: Vec<NewCommit>,
    /// The live files at the paths that the batch touches.
    live: HashMap<PathKey, Vec<(FileKey, Add)>>,
}

/// A commit of the batch, for those behind it.
struct NewCommit {
    prepared: Prepared,
    /// Parsed once a request has to look at it.
    parsed: Option<Commit>,
}

/// How a transaction was decided.
pub(crate) struct Decision {
    pub(crate) outcome: Result<Outcome>,
    /// Whether it holds even if the batch is not committed.
    pub(crate) is_settled: bool,
}

impl Decision {
    /// Whether the batch commits something of it.
    pub(crate) fn is_written(&self) -> bool {
        matches!(&self.outcome, Ok(Outcome::Committed(all)) if !all.is_empty()) && !self.is_settled
    }
}

/// Why a transaction has no outcome.
enum Failure {
    /// What it asks for is refused; the others of the batch go on.
    Own(TxnLogError),
    /// The batch cannot go on: the session failed, or what is stored cannot be read.
    Batch(TxnLogError),
}

impl From<TxnLogError> for Failure {
    fn from(e: TxnLogError) -> Self {
        Failure::Batch(e)
    }
}

/// The tables of a batch, locked, and what is to be written to them.
pub(crate) struct LockedTables<'a> {
    catalog: &'a SqlCatalog,
    session: Box<dyn Session>,
    now_ms: i64,
    identity: (Uuid, Uuid),
    heads: HashMap<TableId, LockedHead>,
    /// The commits that requests of the batch are already.
    known: CommitsById,
    writes: Vec<Write>,
    /// How many rows they change.
    rows: u64,
    /// The tables that are created.
    created: Vec<TableName>,
    /// How many transactions are not decided yet.
    left: usize,
}

impl<'a> LockedTables<'a> {
    /// The tables of a batch, which are locked in the session.
    pub(crate) async fn read(
        catalog: &'a SqlCatalog,
        mut session: Box<dyn Session>,
        (now_ms, identity): (i64, (Uuid, Uuid)),
        batch: &[Arc<Transaction>],
    ) -> Result<Self> {
        let requests: Vec<_> = batch.iter().flat_map(|transaction| &transaction.requests).collect();
        let (mut heads, known) = lock_heads(session.as_mut(), &requests).await?;
        for (table, head) in &mut heads {
            head.current.leap = leap(session.as_mut(), *table, head.current.timestamp, now_ms).await?;
        }
        for (table, key, add) in live_files(session.as_mut(), &requests).await? {
            if let Some(head) = heads.get_mut(&table) {
                head.live.entry(PathKey::new(&add.path)).or_default().push((key, add));
            }
        }
        let (writes, created) = (Vec::new(), Vec::new());
        Ok(Self { catalog, session, now_ms, identity, heads, known, writes, rows: 0, created, left: batch.len() })
    }

    /// Decides one transaction. What it commits is there for those behind it.
    pub(crate) async fn decide(&mut self, transaction: &Transaction, named: &[NamedFolders]) -> Result<Decision> {
        let outcome = match self.outcome(transaction, named).await {
            Ok(outcome) => Ok(outcome),
            Err(Failure::Own(e)) => Err(e),
            Err(Failure::Batch(e)) => return Err(e),
        };
        let is_stored = |c: &Committed| self.heads.get(&c.table).is_some_and(|head| head.stored >= Some(c.version));
        let is_settled = match &outcome {
            _ if self.writes.is_empty() => true,
            Ok(Outcome::Committed(all)) => !all.is_empty() && all.iter().all(is_stored),
            _ => false,
        };
        Ok(Decision { outcome, is_settled })
    }

    async fn outcome(&mut self, transaction: &Transaction, named: &[NamedFolders]) -> Result<Outcome, Failure> {
        let requests = &transaction.requests;
        self.left = self.left.saturating_sub(1);
        if self.identity.1 != transaction.epoch {
            let message = format!(
                "{} was restored while this process had it open (its epoch is new): read the table again and retry",
                self.catalog.db.describe()
            );
            return Err(Failure::Own(TxnLogError::new(ErrorKind::Conflict, message)));
        }
        let mut known = Vec::new();
        for request in requests {
            known.extend(self.known_commit(request).await?);
        }
        if let Some(outcome) = commit::already_committed(requests, known).map_err(Failure::Own)? {
            return Ok(outcome);
        }
        for request in requests {
            self.look_up(request).await?;
        }
        let heads = requests.iter().map(|request| self.heads.get(&request.table));
        let heads: Vec<_> = heads.collect::<Option<_>>().ok_or_else(not_locked)?;
        let currents: Vec<_> = heads.iter().map(|head| &head.current).collect();
        let stamp = Stamp::new(self.identity, self.now_ms, self.catalog.clock.as_ref(), requests, &currents);
        let mut decided = Vec::with_capacity(requests.len());
        for (request, current) in requests.iter().zip(&currents) {
            match commit::prepare(request, current, &stamp).map_err(Failure::Own)? {
                Ok(prepared) => decided.push(prepared),
                Err(conflict) => return Ok(Outcome::Conflict(conflict)),
            }
        }
        let mut additions = Vec::with_capacity(requests.len());
        for ((request, prepared), named) in requests.iter().zip(decided).zip(named) {
            if let Some(prepared) = prepared {
                additions.push(self.addition(request, prepared, named).await?);
            }
        }
        Ok(Outcome::Committed(additions.into_iter().map(|addition| self.add(addition)).collect()))
    }

    /// The commit that a request is already. One that is verbatim may be there under another id, in the same bytes.
    async fn known_commit(&mut self, request: &CommitRequest) -> Result<Option<Committed>, Failure> {
        let Some(head) = self.heads.get(&request.table) else { return Ok(None) };
        let by_id = self.known.get(&(request.table, request.commit_id)).copied();
        let Content::Verbatim(verbatim) = &request.content else { return Ok(by_id) };
        let (table, version) = (request.table, request.base.next()?);
        let mut stored = StoredAlready { by_id: by_id.map(|known| known.version), ..StoredAlready::default() };
        if let Some(txn_id) = verbatim.txn_id() {
            let sql = "SELECT version FROM dl_commit_ids WHERE table_id = ? AND commit_id = ?";
            let params = vec![table.0.into(), CommitId::of_txn(&txn_id).0.as_slice().into()];
            let row = self.session.query(sql, params).await?.pop();
            stored.by_txn = row.map(|mut row| row.version()).transpose()?;
        }
        // Its version may have ended, and then the id alone knows its time.
        let mut timestamp = by_id.map_or(0, |known| known.timestamp);
        if head.current.version >= Some(version) {
            let sql = "SELECT v.committed_at, c.body FROM dl_table_versions v LEFT JOIN dl_commit_bodies c \
                       ON c.table_id = v.table_id AND c.version = v.version WHERE v.table_id = ? AND v.version = ?";
            if let Some(mut row) = self.session.query(sql, vec![table.0.into(), int(version)]).await?.pop() {
                timestamp = row.int()?;
                stored.body = row.opt_blob()?.as_deref().map(codec::decompress).transpose()?;
            }
        }
        let is_stored = verbatim::is_stored(request, &head.current.name, &stored)?;
        Ok(is_stored.then_some(Committed { table, version, timestamp, leap: None }))
    }

    /// Brings a table's `current` to what the decision on a request needs beyond the head: the touched files, and the
    /// first commit since its base that it conflicts with.
    async fn look_up(&mut self, request: &CommitRequest) -> Result<(), Failure> {
        if let Base::Create(new) = &request.base {
            let own = self.heads.get(&request.table).map(|head| head.current.name.clone());
            check_free(self.session.as_mut(), new, own).await?;
            self.heads.insert(request.table, LockedHead::of_new(new));
            return Ok(());
        }
        let live = self.heads.get_mut(&request.table).filter(|head| head.state == TableState::Live);
        let Some(head) = live else {
            let missing = no_table_in(self.session.as_mut(), self.catalog.db.as_ref(), request.table).await;
            return Err(match missing.kind() {
                ErrorKind::NotFound => Failure::Own(missing),
                _ => Failure::Batch(missing),
            });
        };
        commit::check_mirror(&head.current.name, &head.mirror).map_err(Failure::Own)?;
        let touched = request.touched();
        let live = touched.iter().filter_map(|path| head.live.get(path)).flatten();
        head.current.live = live.cloned().collect();
        head.current.conflict = None;
        if let Base::RebaseFrom(base) | Base::ReadAt(base) = request.base
            && head.current.version > Some(base)
        {
            if base.saturating_add(1) < head.oldest {
                return Err(Failure::Own(commit::base_not_held(&head.current.name, base)));
            }
            head.current.conflict = head.conflict(self.session.as_mut(), request, base).await?;
        }
        Ok(())
    }

    /// What a decided request adds to the batch.
    async fn addition<'r>(
        &mut self,
        request: &'r CommitRequest,
        mut prepared: Prepared,
        named: &NamedFolders,
    ) -> Result<Addition<'r>, Failure> {
        let head = self.heads.get(&request.table).ok_or_else(not_locked)?;
        let mut slots = head.slots.clone();
        let stored = store(self.catalog, request, &head.current, &prepared, &mut slots);
        let (mut writes, mut rows) = stored.map_err(Failure::Own)?;
        if self.left == 0 {
            // No later transaction of the batch is checked against it, and it may be large.
            prepared.body = Bytes::new();
        }
        if let Some(references) = named.record(self.session.as_mut(), &head.current.name).await? {
            rows += references.rows();
            writes.push(references);
        }
        Ok(Addition { request, prepared, slots, writes, rows })
    }

    fn add(&mut self, addition: Addition<'_>) -> Committed {
        let Addition { request, prepared, slots, writes, rows } = addition;
        self.writes.extend(writes);
        self.rows += rows;
        if let Base::Create(new) = &request.base {
            self.created.push(new.name.clone());
        }
        let (version, timestamp) = (prepared.version, prepared.committed_at);
        let mut committed = Committed { table: request.table, version, timestamp, leap: None };
        if let Some(head) = self.heads.get_mut(&request.table) {
            committed.leap = head.current.leap;
            head.slots = slots;
            head.advance(&prepared);
            if self.left > 0 {
                head.keep(prepared);
            }
        }
        self.known.extend(request.ids().into_iter().map(|id| ((request.table, id), committed)));
        committed
    }

    /// The session, everything the batch writes, and how many rows that changes.
    pub(crate) fn into_writes(self) -> (Box<dyn Session>, Vec<Write>, u64) {
        let Self { session, heads, mut writes, mut rows, mut created, now_ms, .. } = self;
        for (table, head) in &heads {
            if head.current.version != head.stored {
                writes.push(head.moved(*table));
                rows += 1;
            }
        }
        let mut writes = merged(writes);
        // Last and in order, since others who make tables in the same namespaces wait for it.
        created.sort_unstable_by(|a, b| a.namespace.cmp(&b.namespace));
        rows += created.len() as u64;
        writes.extend(created.iter().map(|name| namespaces::has_table(name, now_ms)));
        (session, writes, rows)
    }
}

impl LockedHead {
    /// A table that a request creates.
    fn of_new(new: &commit::NewTable) -> Self {
        Self {
            current: Current::without_version(new.name.clone(), new.owner.clone()),
            mirror: MirrorState::Following,
            oldest: 0,
            state: TableState::Live,
            slots: Slots::default(),
            stored: None,
            changed: [None; 2],
            new: Vec::new(),
            live: HashMap::new(),
        }
    }

    /// The first commit after the base that the request conflicts with: one that is stored, or one of the batch.
    async fn conflict(
        &mut self,
        session: &mut dyn Session,
        request: &CommitRequest,
        base: Version,
    ) -> Result<Option<WinningCommit>> {
        let Self { current, stored, changed, new, .. } = self;
        let mut checker =
            ConflictChecker::new(request, current.state.as_ref().map(|(_, metadata)| metadata), &current.live);
        let is_old = changed.iter().all(|version| *version <= Some(base));
        if *stored > Some(base) && !(is_old && checker.needs_only_protocol_and_metadata()) {
            let found = conflict::find(session, (request.table, &current.name), &mut checker, base).await?;
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

    /// Goes on to a commit that was decided.
    fn advance(&mut self, prepared: &Prepared) {
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

    /// Keeps a commit for the transactions behind it: its files, and what they may conflict with.
    fn keep(&mut self, prepared: Prepared) {
        let ended: HashSet<_> = prepared.ended.iter().collect();
        if !ended.is_empty() {
            self.live.values_mut().for_each(|files| files.retain(|(key, _)| !ended.contains(key)));
        }
        for (key, add) in &prepared.changes.adds {
            self.live.entry(PathKey::new(&add.path)).or_default().push((*key, Add::clone(add)));
        }
        self.new.push(NewCommit { prepared, parsed: None });
    }

    /// Moves the stored head to where the batch brings it, by compare-and-set: were the lock ever not one, no commit would
    /// be lost silently.
    fn moved(&self, table: TableId) -> Write {
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
        Write::run(sql, params)
    }
}

/// What a decided request adds to the batch.
struct Addition<'r> {
    request: &'r CommitRequest,
    prepared: Prepared,
    /// The slots of its table behind it.
    slots: Slots,
    writes: Vec<Write>,
    /// How many rows they change.
    rows: u64,
}

fn not_locked() -> TxnLogError {
    TxnLogError::new(ErrorKind::Internal, "a table of the commit is not locked")
}

/// The same writes, with the rows for one table in one insert. What stands behind an update stays behind it.
fn merged(writes: Vec<Write>) -> Vec<Write> {
    let (mut merged, mut inserts) = (Vec::<Write>::with_capacity(writes.len()), HashMap::new());
    for write in writes {
        match write {
            Write::Insert(insert) => {
                let first = inserts.get(insert.table).and_then(|at: &usize| merged.get_mut(*at));
                match first {
                    Some(Write::Insert(first)) if first.columns == insert.columns => first.append(insert),
                    _ => {
                        inserts.insert(insert.table, merged.len());
                        merged.push(Write::Insert(insert));
                    }
                }
            }
            Write::Run(..) => {
                inserts.clear();
                merged.push(write);
            }
        }
    }
    merged
}

/// The heads of the tables, and which of the requests are committed already.
async fn lock_heads(
    session: &mut dyn Session,
    requests: &[&CommitRequest],
) -> Result<(HashMap<TableId, LockedHead>, CommitsById)> {
    // Of each table one request comes with its head; of the others only the commit ids are left to look up.
    let mut tables = HashSet::new();
    let (first, others): (Vec<_>, Vec<_>) = requests.iter().copied().partition(|request| tables.insert(request.table));
    // The pairs are rows, and each leads to its commit id by key: as alternatives in a condition, four or more of them
    // would make SQLite go through all ids that the tables ever had. It keeps the order of a CROSS JOIN; with any other it
    // goes through the large table, and looks each row up among the pairs, once these are some hundreds.
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
        Slots::subquery("t"),
        qualified("p", &PROTOCOL_COLUMNS),
        qualified("m", &METADATA_COLUMNS),
    );
    let ids = |requests: &[&CommitRequest]| -> Vec<Value> {
        requests.iter().flat_map(|r| [r.table.0.into(), r.commit_id.0.as_slice().into()]).collect()
    };
    let (mut heads, mut known) = (HashMap::new(), CommitsById::new());
    for row in session.query(&sql, ids(&first)).await? {
        let (table, head) = locked_head(row, &mut known)?;
        heads.insert(table, head);
    }
    for requests in others.chunks(KEYS) {
        let sql = format!(
            "WITH own (table_id, commit_id) AS (VALUES {}) SELECT c.table_id, c.commit_id, c.version, c.committed_at \
             FROM own CROSS JOIN dl_commit_ids c WHERE c.table_id = own.table_id AND c.commit_id = own.commit_id",
            vec!["(?, ?)"; requests.len()].join(", "),
        );
        for mut row in session.query(&sql, ids(requests)).await? {
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
type CommitsById = HashMap<(TableId, CommitId), Committed>;

/// A table, and the commit that is `known` by the id that was asked for with it.
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
    let slots = Slots::read(row.opt_text()?.as_deref())?;
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

/// The live files at the paths that the requests touch.
async fn live_files(session: &mut dyn Session, requests: &[&CommitRequest]) -> Result<Vec<(TableId, FileKey, Add)>> {
    let stored = requests.iter().filter(|request| !matches!(request.base, Base::Create(_)));
    let paths = stored.flat_map(|request| request.touched().into_iter().map(|path| (request.table, path)));
    let (paths, mut live) = (Vec::from_iter(paths.collect::<HashSet<_>>()), Vec::new());
    for paths in paths.chunks(KEYS) {
        let sql = format!(
            "WITH own (table_id, path_key) AS (VALUES {}) SELECT a.table_id, a.file_key, {} FROM own \
             CROSS JOIN dl_add_files a WHERE a.table_id = own.table_id AND a.path_key = own.path_key \
             AND a.removed_version IS NULL",
            vec!["(?, ?)"; paths.len()].join(", "),
            qualified("a", &ADD_COLUMNS),
        );
        let params = paths.iter().flat_map(|(table, path)| [table.0.into(), path.0.as_slice().into()]);
        for mut row in session.query(&sql, params.collect()).await? {
            live.push((TableId(row.uuid()?), file_key(&mut row)?, codec::read_add(&mut row)?));
        }
    }
    Ok(live)
}

/// Which of the requests are committed, asked by a session that has their locks.
pub(crate) async fn committed(session: &mut dyn Session, requests: &[&CommitRequest]) -> Result<CommitsById> {
    Ok(lock_heads(session, requests).await?.1)
}
