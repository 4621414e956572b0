//! Tables with locked heads, changed by the transactions of a batch one after the other.
//!
//! What is read here stays valid until COMMIT, because the transaction excludes other writers. Each transaction is checked
//! against the stored state and the earlier transactions of the batch; everything new is written once, after the last
//! of them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use deltalakedb_log::commit::{self, Base, CommitRequest, Committed, Content, Outcome, Prepared};
use deltalakedb_log::stamp::CommitStamp;
use deltalakedb_log::verbatim::{self, StoredAlready};
use deltalakedb_log::{CommitId, ErrorKind, PathKey, Result, TableId, TableName, TableState, TxnLogError};
use uuid::Uuid;

use crate::bounds::BoundsSlots;
use crate::codec::{self, int};
use crate::database::{DatabaseTransaction, WriteStatement, merge_inserts};
use crate::namespaces;
use crate::queue::QueuedTransaction;
use crate::references::NamedFolders;
use crate::sql_catalog::SqlCatalog;
use crate::table_lookup::no_table_in;
use crate::uniqueness::check_free;
use crate::version_rows::store;

pub(crate) mod head;

use head::{CommitsById, LockedHead, leap, live_files, lock_heads};

/// The decision on a transaction.
pub(crate) struct Decision {
    pub(crate) outcome: Result<Outcome>,
    /// Whether it holds even if the batch is not committed.
    pub(crate) is_settled: bool,
}

impl Decision {
    /// Whether the batch commits any of its requests.
    pub(crate) fn is_written(&self) -> bool {
        matches!(&self.outcome, Ok(Outcome::Committed(all)) if !all.is_empty()) && !self.is_settled
    }
}

/// Why a transaction has no outcome.
enum Failure {
    /// The transaction is rejected; the others of the batch continue.
    Own(TxnLogError),
    /// The batch cannot continue: the transaction failed, or the stored state cannot be read.
    Batch(TxnLogError),
}

impl From<TxnLogError> for Failure {
    fn from(e: TxnLogError) -> Self {
        Failure::Batch(e)
    }
}

/// The locked tables of a batch, and the writes to them.
pub(crate) struct LockedTables<'a> {
    catalog: &'a SqlCatalog,
    tx: Box<dyn DatabaseTransaction>,
    now_ms: i64,
    identity: (Uuid, Uuid),
    heads: HashMap<TableId, LockedHead>,
    /// Commits that are identical to requests of the batch.
    known_commits: CommitsById,
    writes: Vec<WriteStatement>,
    /// How many rows the writes change.
    rows: u64,
    /// The tables that are created.
    created: Vec<TableName>,
    /// How many transactions are not decided yet.
    left: usize,
}

impl<'a> LockedTables<'a> {
    /// Reads the tables of a batch, which the transaction has locked.
    pub(crate) async fn read(
        catalog: &'a SqlCatalog,
        mut tx: Box<dyn DatabaseTransaction>,
        (now_ms, identity): (i64, (Uuid, Uuid)),
        batch: &[Arc<QueuedTransaction>],
    ) -> Result<Self> {
        let requests: Vec<_> = batch.iter().flat_map(|transaction| &transaction.requests).collect();
        let (mut heads, known_commits) = lock_heads(tx.as_mut(), &requests).await?;
        for (table, head) in &mut heads {
            head.current.leap = leap(tx.as_mut(), *table, head.current.timestamp, now_ms).await?;
        }
        let with_paths = batch.iter().flat_map(|transaction| transaction.requests_with_paths());
        let stored = with_paths.filter(|(request, _)| !matches!(request.base, Base::Create(_)));
        let changed_paths =
            stored.flat_map(|(request, paths)| paths.changed_paths.iter().map(|path| (request.table, *path)));
        for (table, key, add) in live_files(tx.as_mut(), changed_paths.collect()).await? {
            if let Some(head) = heads.get_mut(&table) {
                head.live.entry(PathKey::new(&add.path)).or_default().push((key, add));
            }
        }
        let (writes, created) = (Vec::new(), Vec::new());
        Ok(Self { catalog, tx, now_ms, identity, heads, known_commits, writes, rows: 0, created, left: batch.len() })
    }

    /// Decides one transaction. Later transactions of the batch see what it commits.
    pub(crate) async fn decide(&mut self, transaction: &QueuedTransaction, named: &[NamedFolders]) -> Result<Decision> {
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

    async fn outcome(&mut self, transaction: &QueuedTransaction, named: &[NamedFolders]) -> Result<Outcome, Failure> {
        let requests = &transaction.requests;
        self.left = self.left.saturating_sub(1);
        if self.identity.1 != transaction.epoch {
            let message = format!(
                "{} was restored while this process had it open (its epoch is new): read the table again and retry",
                self.catalog.db.describe()
            );
            return Err(Failure::Own(TxnLogError::new(ErrorKind::Conflict, message)));
        }
        let mut known_commits = Vec::new();
        for request in requests {
            known_commits.extend(self.known_commit(request).await?);
        }
        if let Some(outcome) = commit::already_committed(requests, known_commits).map_err(Failure::Own)? {
            return Ok(outcome);
        }
        for (request, paths) in transaction.requests_with_paths() {
            self.look_up(request, &paths.changed_paths).await?;
        }
        let heads = requests.iter().map(|request| self.heads.get(&request.table));
        let heads: Vec<_> = heads.collect::<Option<_>>().ok_or_else(not_locked)?;
        let currents: Vec<_> = heads.iter().map(|head| &head.current).collect();
        let stamp = CommitStamp::new(self.identity, self.now_ms, self.catalog.clock.as_ref(), requests, &currents);
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

    /// The existing commit that is identical to a request. A verbatim commit may have another id and the same bytes.
    async fn known_commit(&mut self, request: &CommitRequest) -> Result<Option<Committed>, Failure> {
        let Some(head) = self.heads.get(&request.table) else { return Ok(None) };
        let by_id = self.known_commits.get(&(request.table, request.commit_id)).copied();
        let Content::Verbatim(verbatim) = &request.content else { return Ok(by_id) };
        let (table, version) = (request.table, request.base.next()?);
        let mut stored = StoredAlready { by_id: by_id.map(|commit| commit.version), ..StoredAlready::default() };
        if let Some(txn_id) = verbatim.txn_id() {
            let sql = "SELECT version FROM dl_commit_ids WHERE table_id = ? AND commit_id = ?";
            let params = vec![table.0.into(), CommitId::of_txn(&txn_id).0.as_slice().into()];
            let row = self.tx.query(sql, params).await?.pop();
            stored.by_txn = row.map(|mut row| row.version()).transpose()?;
        }
        // If its version has expired, only the entry of the id has its time.
        let mut timestamp = by_id.map_or(0, |commit| commit.timestamp);
        if head.current.version >= Some(version) {
            let sql = "SELECT v.committed_at, c.body FROM dl_table_versions v LEFT JOIN dl_commit_bodies c \
                       ON c.table_id = v.table_id AND c.version = v.version WHERE v.table_id = ? AND v.version = ?";
            if let Some(mut row) = self.tx.query(sql, vec![table.0.into(), int(version)]).await?.pop() {
                timestamp = row.int()?;
                stored.body = row.opt_blob()?.as_deref().map(codec::decompress).transpose()?;
            }
        }
        let is_stored = verbatim::is_stored(request, &head.current.name, &stored)?;
        Ok(is_stored.then_some(Committed { table, version, timestamp, leap: None }))
    }

    /// Loads into a table's `current` what the decision on a request needs beyond the head: the touched files, and the
    /// first commit since its base that it conflicts with.
    async fn look_up(&mut self, request: &CommitRequest, changed_paths: &[PathKey]) -> Result<(), Failure> {
        if let Base::Create(new) = &request.base {
            let own = self.heads.get(&request.table).map(|head| head.current.name.clone());
            check_free(self.tx.as_mut(), new, own).await?;
            self.heads.insert(request.table, LockedHead::of_new(new));
            return Ok(());
        }
        let live = self.heads.get_mut(&request.table).filter(|head| head.state == TableState::Live);
        let Some(head) = live else {
            let missing = no_table_in(self.tx.as_mut(), self.catalog.db.as_ref(), request.table).await;
            return Err(match missing.kind() {
                ErrorKind::NotFound => Failure::Own(missing),
                _ => Failure::Batch(missing),
            });
        };
        commit::check_mirror(&head.current.name, &head.mirror).map_err(Failure::Own)?;
        let live = changed_paths.iter().filter_map(|path| head.live.get(path)).flatten();
        head.current.live = live.cloned().collect();
        head.current.conflict = None;
        if let Base::RebaseFrom(base) | Base::ReadAt(base) = request.base
            && head.current.version > Some(base)
        {
            if base.saturating_add(1) < head.oldest {
                return Err(Failure::Own(commit::base_not_retained(&head.current.name, base)));
            }
            head.current.conflict = head.conflict(self.tx.as_mut(), request, base).await?;
        }
        Ok(())
    }

    /// The changes of a decided request to the batch.
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
        if let Some(references) = named.record(self.tx.as_mut(), &head.current.name).await? {
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
        self.known_commits.extend(request.ids().into_iter().map(|id| ((request.table, id), committed)));
        committed
    }

    /// The transaction, everything the batch writes, and how many rows that changes.
    pub(crate) fn into_writes(self) -> (Box<dyn DatabaseTransaction>, Vec<WriteStatement>, u64) {
        let Self { tx, heads, mut writes, mut rows, mut created, now_ms, .. } = self;
        for (table, head) in &heads {
            if head.current.version != head.stored {
                writes.push(head.move_head(*table));
                rows += 1;
            }
        }
        let mut writes = merge_inserts(writes);
        // Last and in order, because other transactions that create tables in the same namespaces wait for it.
        created.sort_unstable_by(|a, b| a.namespace.cmp(&b.namespace));
        rows += created.len() as u64;
        writes.extend(created.iter().map(|name| namespaces::has_table(name, now_ms)));
        (tx, writes, rows)
    }
}

/// The changes of a decided request to the batch.
struct Addition<'r> {
    request: &'r CommitRequest,
    prepared: Prepared,
    /// The slots of its table after it.
    slots: BoundsSlots,
    writes: Vec<WriteStatement>,
    /// How many rows its writes change.
    rows: u64,
}

fn not_locked() -> TxnLogError {
    TxnLogError::new(ErrorKind::Internal, "a table of the commit is not locked")
}
