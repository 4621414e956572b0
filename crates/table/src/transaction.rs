//! Several operations on several tables as one commit.
//!
//! A transaction sees every table as it was when it began, with its own changes on top. They are staged: data files
//! that no commit names yet, and commits that delta-rs made on a log that only this transaction reads. At the end the
//! commits of each table become one, and all tables change together or not at all.

mod member;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalakedb_log::commit::{Base, CommitRequest, Committed, Content, Isolation, NewTable, Reads};
use deltalakedb_log::{
    At, Catalog, ErrorKind, FileKey, Point, Predicate, Result, Snapshot, TableId, TableName, TableRef, TxnLogError,
    TxnLogTransactionError, check_owner, require,
};
use futures::TryStreamExt;
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use self::member::{Member, flatten};
use crate::create::{check_location, check_partitioning};
use crate::delta_rs::{self, LogView, NewFiles, StagedCommit, TableSchema, finish, named_paths};
use crate::operations::{Operation, StagedOperation, WriteRows};
use crate::scan::{Scan, scan};
use crate::table_spec::TableSpec;
use crate::write::{PendingWrite, Rows, check_not_behind, commit_requests, remove};
use crate::write_options::{MAX_TIMEOUT, SaveMode, WriteOptions};

/// The options of a transaction.
#[derive(Clone, Debug)]
pub struct TransactionOptions {
    /// The options of its writes.
    pub write: WriteOptions,
    /// Whether everything it read must be unchanged when it commits. Without it transactions have snapshot isolation:
    /// each reads one state of all tables, and two that change the same file do not both commit.
    pub serializable: bool,
    /// The maximum number of tables.
    pub max_tables: usize,
    /// The maximum age. Vacuum spares the files of younger transactions.
    pub timeout: Duration,
}

impl Default for TransactionOptions {
    fn default() -> Self {
        Self {
            write: WriteOptions::default(),
            serializable: false,
            max_tables: 100,
            timeout: Duration::from_secs(60 * 60),
        }
    }
}

/// Several operations on several tables of a catalog that are committed together or not at all.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use deltalakedb_log::Catalog;
/// use deltalakedb_table::{Rows, SaveMode, Transaction, TransactionOptions};
///
/// # async fn example(catalog: Arc<dyn Catalog>, rows: Rows) -> deltalakedb_log::Result<()> {
/// let tx = Transaction::begin(catalog, TransactionOptions::default()).await?;
/// tx.write("sales.orders", rows, SaveMode::Append).await?;
/// tx.delete("sales.customers", Some("id = 7")).await?;
/// let versions = tx.commit().await?;
/// # Ok(())
/// # }
/// ```
///
/// A transaction that is dropped before it is committed is rolled back: its data files are removed, asynchronously
/// within a runtime.
pub struct Transaction {
    catalog: Arc<dyn Catalog>,
    options: TransactionOptions,
    began_at: i64,
    /// The point at which it began, in the order of the catalog's commits.
    point: Point,
    members: Mutex<Option<Members>>,
}

/// Its tables; `None` once it has ended.
type Members = BTreeMap<TableName, Member>;

impl Transaction {
    /// Begins a transaction: it sees every table as it is now, also tables that it first uses later.
    pub async fn begin(catalog: Arc<dyn Catalog>, options: TransactionOptions) -> Result<Self> {
        if options.timeout > MAX_TIMEOUT {
            return Err(TxnLogError::invalid(format!(
                "a transaction may take at most {} s: vacuum deletes older files that no commit names",
                MAX_TIMEOUT.as_secs()
            )));
        }
        let began_at = options.write.clock.now_ms();
        let point = catalog.point().await?;
        Ok(Self { catalog, options, began_at, point, members: Mutex::new(Some(Members::new())) })
    }

    /// The catalog.
    pub fn catalog(&self) -> &Arc<dyn Catalog> {
        &self.catalog
    }

    /// Its options.
    pub fn options(&self) -> &TransactionOptions {
        &self.options
    }

    /// Writes rows to a table.
    pub async fn write(&self, table: &str, rows: impl Into<Rows>, mode: SaveMode) -> TransactionResult<Value> {
        self.run(table, Operation::Write(WriteRows::new(rows, mode))).await
    }

    /// Deletes the rows of a table that satisfy a condition in SQL; all rows without one.
    pub async fn delete(&self, table: &str, filter: Option<&str>) -> TransactionResult<Value> {
        self.run(table, Operation::Delete { filter: filter.map(String::from) }).await
    }

    /// Sets columns of the rows that satisfy a condition in SQL, of all rows without one, to the values of expressions.
    pub async fn update(&self, table: &str, set: &[(&str, &str)], filter: Option<&str>) -> TransactionResult<Value> {
        let set = set.iter().map(|(column, value)| (column.to_string(), value.to_string())).collect();
        let (filter, safe_cast) = (filter.map(String::from), false);
        self.run(table, Operation::Update { set, filter, safe_cast }).await
    }

    /// Runs any operation on a table, and returns its metrics. One that fails leaves the transaction unchanged.
    /// Compaction, purge and restore are not supported in a transaction: none can be combined with other changes.
    pub async fn run(&self, table: &str, operation: Operation) -> TransactionResult<Value> {
        if matches!(
            operation,
            Operation::Optimize(_)
                | Operation::Purge { .. }
                | Operation::Restore(_)
                | Operation::Repair { .. }
                | Operation::ReplaceTable(..)
        ) {
            let what = operation.name();
            return Err(
                TxnLogError::invalid(format!("{what} cannot be part of a transaction: run it on its own")).into()
            );
        }
        let name: TableName = table.parse()?;
        let mut guard = self.open().await?;
        let members = guard.as_mut().ok_or(TxnLogTransactionError::Closed)?;
        let member = self.member(members, &name).await?;
        if !matches!(member.base, Base::Create(_)) {
            check_owner(&name, member.owner.as_ref(), self.options.write.owner.as_ref())?;
            let stores = self.options.write.stores.as_ref();
            Box::pin(check_not_behind(self.catalog.as_ref(), stores, member.id)).await?;
        }
        let called = format!("the table {name}");
        let Some(StagedOperation { captured, reads, .. }) = Box::pin(operation.stage(&member.state, &called)).await?
        else {
            return Ok(Value::Null);
        };
        let metrics = captured.numbers();
        member.take(&name, captured, reads).await?;
        Ok(metrics)
    }

    /// Adds a write that was prepared by itself ([`DeltaTable::prepare`](crate::DeltaTable::prepare),
    /// [`DeltaTable::prepare_commit`](crate::DeltaTable::prepare_commit)): the transaction commits it together with all
    /// other changes, with its own isolation, and sees it from now on. The write keeps its owner, so that one
    /// transaction can change tables of different owners.
    ///
    /// The write must be based on the version of the table that the transaction reads, and the transaction must not
    /// have changed the table before. If the write cannot be added, it is discarded.
    pub async fn add(&self, write: PendingWrite) -> TransactionResult<()> {
        if let Err(e) = self.check_prepared(&write) {
            write.discard().await;
            return Err(e.into());
        }
        let PendingWrite { request, files, .. } = write;
        let added = self.add_request(request, files.clone()).await;
        if added.is_err() {
            files.remove().await;
        }
        added
    }

    /// Rejects a prepared write that no transaction can commit.
    fn check_prepared(&self, write: &PendingWrite) -> Result<()> {
        if write.hold.is_some() || matches!(write.request.content, Content::Verbatim(_)) {
            return Err(TxnLogError::invalid(
                "a restore, or a commit of another engine, cannot be part of a transaction: commit it on its own",
            ));
        }
        let timeout_ms = i64::try_from(self.options.timeout.as_millis()).unwrap_or(i64::MAX);
        let max_ms = i64::try_from(MAX_TIMEOUT.as_millis()).unwrap_or(i64::MAX);
        let latest_commit = self.began_at.saturating_add(timeout_ms);
        if latest_commit.saturating_sub(write.began_at) > max_ms {
            return Err(TxnLogError::invalid(format!(
                "a prepared write is too old for a transaction with a timeout of {} s: vacuum may remove its files \
                 before the commit, so prepare it again",
                timeout_ms / 1_000
            )));
        }
        Ok(())
    }

    async fn add_request(&self, request: CommitRequest, files: NewFiles) -> TransactionResult<()> {
        let CommitRequest { table, base, reads, content, owner, .. } = request;
        let actions = content.actions().to_vec();
        let staged = StagedCommit { actions, files, seen: None, metrics: Value::Null };
        let version = match &base {
            Base::Create(new) => return self.stage_creation(new.clone(), async { Ok(staged) }).await.map(drop),
            Base::Exactly(version) | Base::RebaseFrom(version) | Base::ReadAt(version) => *version,
        };
        let name = require(self.catalog.as_ref(), &TableRef::Id(table)).await?.name;
        let mut guard = self.open().await?;
        let members = guard.as_mut().ok_or(TxnLogTransactionError::Closed)?;
        let member = self.member(members, &name).await?;
        check_owner(&name, member.owner.as_ref(), owner.as_ref())?;
        if member.state.staged().next().is_some() {
            return Err(TxnLogError::invalid(format!(
                "the transaction has changed {name} already, and a prepared write does not have these changes: add it \
                 before other changes of the table"
            ))
            .into());
        }
        let read = member.state.base.as_ref().map(Snapshot::version);
        if read != Some(version) {
            return Err(TxnLogError::new(
                ErrorKind::Conflict,
                format!(
                    "a write to {name} was prepared at version {version}, and the transaction reads another version: \
                     prepare it again"
                ),
            )
            .into());
        }
        if matches!(base, Base::Exactly(_)) {
            member.base = base;
        }
        member.writer = owner;
        Ok(member.take(&name, staged, reads).await?)
    }

    /// Creates a table without rows.
    pub async fn create(
        &self,
        new: NewTable,
        schema: &TableSchema,
        partition_by: &[String],
        properties: &HashMap<String, String>,
    ) -> TransactionResult<()> {
        check_partitioning(&schema.names(), partition_by)?;
        let place = new.location.clone();
        let spec = TableSpec::new(partition_by, properties);
        let create = spec.at(&place, &self.options.write);
        self.stage_creation(new, delta_rs::create(create, schema.fields())).await.map(drop)
    }

    /// Creates a table from rows, whose columns become the table's, and returns the metrics of the write.
    pub async fn create_with_data(
        &self,
        new: NewTable,
        rows: impl Into<Rows>,
        partition_by: &[String],
        properties: &HashMap<String, String>,
    ) -> TransactionResult<Value> {
        let rows = rows.into();
        let names: Vec<_> = rows.schema().iter().flat_map(|s| s.fields().iter().map(|f| f.name().clone())).collect();
        if names.is_empty() {
            let what = format!("the table {} cannot be created without rows: pass a schema", new.name);
            return Err(TxnLogError::invalid(what).into());
        }
        check_partitioning(&names.iter().map(String::as_str).collect::<Vec<_>>(), partition_by)?;
        let place = new.location.clone();
        let spec = TableSpec::new(partition_by, properties);
        let create = spec.at(&place, &self.options.write);
        let (rows, refusal) = rows.in_delta_types();
        self.stage_creation(new, async { refusal.or(delta_rs::create_with_data(create, rows).await) }).await
    }

    async fn stage_creation(
        &self,
        new: NewTable,
        made: impl Future<Output = Result<StagedCommit>>,
    ) -> TransactionResult<Value> {
        let mut guard = self.open().await?;
        let members = guard.as_mut().ok_or(TxnLogTransactionError::Closed)?;
        check_location(self.catalog.as_ref(), &new, &self.options.write).await?;
        for (name, member) in members.iter() {
            if let Some(taken) = new.taken_by(name, &member.state.location) {
                return Err(taken.into());
            }
            new.location.check_no_overlap(name, &member.state.location)?;
        }
        self.check_room(members, &new.name)?;
        let state = LogView::nothing_yet(&new.location, &self.options.write.stores).writing(&self.options.write);
        let name = new.name.clone();
        let id = TableId(self.options.write.clock.new_uuid());
        let mut member = Member::new(id, new.owner.clone(), Base::Create(new), state);
        let made = made.await?;
        let metrics = made.numbers();
        member.take(&name, made, Reads::default()).await?;
        members.insert(name, member);
        Ok(metrics)
    }

    /// Reads rows of a table as this transaction sees it. `at` may select an earlier version.
    pub async fn read(&self, table: &str, what: &Scan) -> TransactionResult<Vec<RecordBatch>> {
        Ok(self.read_with_schema(table, what).await?.1)
    }

    /// Reads rows together with their schema.
    pub async fn read_with_schema(&self, table: &str, what: &Scan) -> TransactionResult<(SchemaRef, Vec<RecordBatch>)> {
        let name: TableName = table.parse()?;
        let mut state = self.state(&name).await?;
        if what.at != At::Latest {
            let then = state.reader.snapshot(what.at).await?;
            state =
                LogView::at(&state.location, &state.options.stores, state.reader, then).writing(&self.options.write);
        }
        let (rows, predicate) = scan(state, what, &format!("the table {name}")).await?;
        if what.at == At::Latest {
            self.note_read(&name, predicate).await?;
        }
        let schema = rows.schema();
        let rows: Result<_, _> = rows.try_collect().await;
        Ok((schema, rows.map_err(|e| crate::query_error(e, &format!("the table {name} cannot be read")))?))
    }

    /// The state of a table as this transaction sees it, without its rows.
    pub async fn snapshot(&self, table: &str) -> TransactionResult<Snapshot> {
        Ok(self.state(&table.parse()?).await?.snapshot()?)
    }

    /// A table as this transaction sees it.
    pub(crate) async fn state(&self, table: &TableName) -> TransactionResult<LogView> {
        let mut guard = self.open().await?;
        let members = guard.as_mut().ok_or(TxnLogTransactionError::Closed)?;
        Ok(self.member(members, table).await?.state.clone())
    }

    /// Records that rows of the files selected by a predicate were read: a serializable transaction commits only if
    /// they are unchanged.
    pub(crate) async fn note_read(&self, table: &TableName, predicate: Predicate) -> TransactionResult<()> {
        if !self.options.serializable {
            return Ok(());
        }
        let mut guard = self.open().await?;
        let members = guard.as_mut().ok_or(TxnLogTransactionError::Closed)?;
        let member = self.member(members, table).await?;
        let Some(base) = &member.state.base else { return Ok(()) };
        if predicate == Predicate::Unknown {
            member.reads.whole_table = true;
            return Ok(());
        }
        let files = member.state.reader.files(base.version(), Some(&predicate)).await?;
        let files: Vec<FileKey> = files.map_ok(|add| add.key()).try_collect().await?;
        member.reads.files.extend(files);
        member.reads.predicates.push(predicate);
        Ok(())
    }

    /// Commits everything, or nothing. The versions are in the order of the tables' names; unchanged tables have none.
    #[tracing::instrument(name = "commit_transaction", target = "deltalakedb::operation", level = "debug", skip_all)]
    pub async fn commit(self) -> TransactionResult<Vec<Committed>> {
        let members = self.members.lock().await.take().unwrap_or_default();
        let (mut requests, mut files) = (Vec::new(), Vec::new());
        let isolation = if self.options.serializable { Isolation::Serializable } else { Isolation::SnapshotIsolation };
        let mut leftover = Vec::new();
        for (name, member) in members {
            let writes = member.state.staged().next().is_some();
            let base = match (&member.state.base, writes) {
                (_, true) => member.base,
                (Some(read), false) if self.options.serializable && !member.reads.is_blind() => {
                    Base::ReadAt(read.version())
                }
                _ => continue,
            };
            let before = member.state.staged().flat_map(named_paths).collect();
            let actions = flatten(member.state.staged());
            let gone: HashSet<_> = HashSet::difference(&before, &named_paths(&actions)).cloned().collect();
            leftover.extend(member.files.iter().map(|files| files.at_paths(&gone)));
            files.extend(member.files);
            let mut request = CommitRequest::new(member.id, self.options.write.clock.new_uuid(), base, actions);
            request.reads = member.reads;
            request.isolation = Some(isolation);
            self.options.write.set_committer(&mut request);
            request.owner = member.writer.or(request.owner);
            tracing::debug!(table = %name, writes, "a transaction commits");
            requests.push(request);
        }
        // Planning and flattening take time as well, so the age is checked last.
        if let Err(e) = self.check_age() {
            remove(&files).await;
            return Err(e);
        }
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let committed = commit_requests(self.catalog.as_ref(), requests, files, &self.options.write).await?;
        remove(&leftover).await;
        Ok(committed)
    }

    /// Rolls back the transaction: its data files are removed.
    pub async fn rollback(self) {
        let members = self.members.lock().await.take().unwrap_or_default();
        for member in members.into_values() {
            remove(&member.files).await;
        }
    }

    /// Its tables, while it is open.
    async fn open(&self) -> TransactionResult<MutexGuard<'_, Option<Members>>> {
        let guard = self.members.lock().await;
        if guard.is_none() {
            return Err(TxnLogTransactionError::Closed);
        }
        self.check_age()?;
        Ok(guard)
    }

    fn check_age(&self) -> TransactionResult<()> {
        let age_ms = self.options.write.clock.now_ms().saturating_sub(self.began_at);
        let timeout_ms = i64::try_from(self.options.timeout.as_millis()).unwrap_or(i64::MAX);
        if age_ms > timeout_ms { Err(TxnLogTransactionError::TimedOut { age_ms, timeout_ms }) } else { Ok(()) }
    }

    fn check_room(&self, members: &Members, table: &TableName) -> TransactionResult<()> {
        if members.len() < self.options.max_tables {
            Ok(())
        } else {
            Err(TxnLogTransactionError::TooManyTables { max: self.options.max_tables, table: table.clone() })
        }
    }

    async fn member<'a>(&self, members: &'a mut Members, name: &TableName) -> TransactionResult<&'a mut Member> {
        if !members.contains_key(name) {
            let table = TableRef::Name(name.clone());
            let Some(entry) = self.catalog.find_at(&table, &self.point).await? else {
                // The error has similar names, or says that the table was created since.
                return Err(match require(self.catalog.as_ref(), &table).await {
                    Err(e) => e.into(),
                    Ok(_) => TxnLogError::new(
                        ErrorKind::NotFound,
                        format!("the table {name} was created after the transaction began: begin another"),
                    )
                    .into(),
                });
            };
            self.check_room(members, name)?;
            let (version, reader) = (entry.current_version, self.catalog.reader(entry.id));
            let base = reader.snapshot(At::Version(version)).await?;
            let state = LogView::at(&entry.location, &self.options.write.stores, reader, base);
            let state = state.writing(&self.options.write);
            members.insert(name.clone(), Member::new(entry.id, entry.owner, Base::RebaseFrom(version), state));
        }
        members.get_mut(name).ok_or(TxnLogTransactionError::Closed)
    }
}

/// The result of a call on a transaction.
pub type TransactionResult<T> = Result<T, TxnLogTransactionError>;

impl Drop for Transaction {
    fn drop(&mut self) {
        let files: Vec<_> =
            self.members.get_mut().take().unwrap_or_default().into_values().flat_map(|member| member.files).collect();
        if !files.is_empty()
            && let Err(e) = finish(async move { remove(&files).await })
        {
            tracing::warn!(error = %e, "the files of a transaction that was dropped are left for vacuum");
        }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("began_at", &self.began_at).field("options", &self.options).finish()
    }
}
