//! A database that records its statements, and can lose the answer to COMMIT.

use parking_lot::MutexGuard;

use super::*;
use crate::database::placeholders;

/// A recorded statement.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) params: Vec<Value>,
}

/// The statements of a [`Recorded`] database, and its simulated faults.
#[derive(Clone, Debug, Default)]
pub(super) struct Record(Arc<Recording>);

#[derive(Debug, Default)]
struct Recording {
    /// Every statement but those that insert rows.
    statements: Mutex<Vec<Statement>>,
    /// Round trips, without BEGIN and COMMIT.
    trips: AtomicU64,
    lose: Mutex<Lose>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Lose {
    #[default]
    Nothing,
    /// The commit succeeds, but its answer is lost.
    Answer,
    /// The commit fails, and so does its answer.
    Commit,
    /// As `Answer`, and all later queries fail.
    Everything,
    /// The database rejects writes of more than one version at once.
    Batches,
}

impl Record {
    /// The catalog with its database recorded here.
    pub(super) fn of(&self, mut catalog: SqlCatalog) -> SqlCatalog {
        catalog.db = Arc::new(Recorded { inner: catalog.db.clone(), record: self.clone() });
        catalog
    }

    /// The statements since the last call.
    pub(super) fn statements(&self) -> Vec<Statement> {
        std::mem::take(&mut *self.0.statements.lock())
    }

    /// The round trips since the last call.
    pub(super) fn trips(&self) -> u64 {
        self.0.trips.swap(0, Ordering::Relaxed)
    }

    pub(super) fn lose(&self) -> MutexGuard<'_, Lose> {
        self.0.lose.lock()
    }

    fn record(&self, sql: &str, params: &[Value]) {
        let statement = Statement { sql: sql.to_string(), params: params.to_vec() };
        self.0.statements.lock().push(statement);
    }

    fn trip(&self) {
        self.0.trips.fetch_add(1, Ordering::Relaxed);
    }

    fn wrapped(&self, inner: Box<dyn DatabaseTransaction>) -> Box<dyn DatabaseTransaction> {
        Box::new(RecordedTransaction { inner, record: self.clone() })
    }
}

#[derive(Debug)]
struct Recorded {
    inner: Arc<dyn Database>,
    record: Record,
}

struct RecordedTransaction {
    inner: Box<dyn DatabaseTransaction>,
    record: Record,
}

#[async_trait]
impl Database for Recorded {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    async fn read(&self) -> Result<Box<dyn DatabaseTransaction>> {
        Ok(self.record.wrapped(self.inner.read().await?))
    }
    async fn write(&self, heads: &[TableId], first: &str) -> Result<(Box<dyn DatabaseTransaction>, Vec<Row>)> {
        if !heads.is_empty() && self.describe().contains("postgres") {
            let sql = format!(
                "SELECT 1 FROM dl_tables WHERE table_id IN ({}) ORDER BY table_id FOR UPDATE",
                placeholders(heads.len())
            );
            self.record.record(&sql, &heads.iter().map(|id| id.0.into()).collect::<Vec<_>>());
        }
        let (tx, rows) = self.inner.write(heads, first).await?;
        Ok((self.record.wrapped(tx), rows))
    }
    async fn write_async_commit(
        &self,
        table: TableId,
        first: &str,
    ) -> Result<(Box<dyn DatabaseTransaction>, Vec<Row>)> {
        let (tx, rows) = self.inner.write_async_commit(table, first).await?;
        Ok((self.record.wrapped(tx), rows))
    }
    fn clock(&self) -> Option<&'static str> {
        self.inner.clock()
    }
    fn point(&self) -> &'static str {
        self.inner.point()
    }
    fn is_before(&self, row: &str) -> String {
        self.inner.is_before(row)
    }
    async fn stream(&self, sql: String, params: Vec<Value>) -> Result<BoxStream<'static, Result<Row>>> {
        self.record.record(&sql, &params);
        self.record.trip();
        self.inner.stream(sql, params).await
    }
    async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>> {
        if *self.record.lose() == Lose::Everything {
            return Err(deltalakedb_log::TxnLogError::new(ErrorKind::Unavailable, "the network is down"));
        }
        self.record.record(sql, &params);
        self.record.trip();
        self.inner.query(sql, params).await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
    async fn has_table(&self, name: &str) -> Result<bool> {
        self.inner.has_table(name).await
    }
    async fn migrate(&self) -> Result<Box<dyn DatabaseTransaction>> {
        self.inner.migrate().await
    }
    fn migration(&self, sql: &str) -> String {
        self.inner.migration(sql)
    }
    async fn analyze(&self) -> Result<()> {
        self.inner.analyze().await
    }
    async fn is_analyzed(&self) -> Result<bool> {
        self.inner.is_analyzed().await
    }
    fn uses_range_scans(&self) -> bool {
        self.inner.uses_range_scans()
    }
    fn locks_heads(&self) -> bool {
        self.inner.locks_heads()
    }
    fn lock_proves_absence(&self) -> bool {
        self.inner.lock_proves_absence()
    }
}

#[async_trait]
impl DatabaseTransaction for RecordedTransaction {
    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>> {
        self.record.record(sql, &params);
        self.record.trip();
        self.inner.query(sql, params).await
    }
    fn rows<'s>(&'s mut self, sql: String, params: Vec<Value>) -> BoxStream<'s, Result<Row>> {
        self.record.record(&sql, &params);
        self.record.trip();
        self.inner.rows(sql, params)
    }
    async fn write(&mut self, writes: Vec<WriteStatement>) -> Result<u64> {
        for write in &writes {
            if let WriteStatement::Run(sql, params) = write {
                self.record.record(sql, params);
            }
        }
        self.record.trip();
        let is_batch = |write: &WriteStatement| matches!(write, WriteStatement::Insert(i) if i.table == "dl_table_versions" && i.count > 1);
        if *self.record.lose() == Lose::Batches && writes.iter().any(is_batch) {
            return Err(deltalakedb_log::TxnLogError::new(ErrorKind::Internal, "the statement is too long"));
        }
        self.inner.write(writes).await
    }
    async fn commit(self: Box<Self>) -> Result<(), CommitFailure> {
        let lose = Some(*self.record.lose()).filter(|lose| *lose != Lose::Batches).unwrap_or_default();
        if lose != Lose::Commit {
            self.inner.commit().await?;
        }
        let gone = deltalakedb_log::TxnLogError::new(ErrorKind::Unavailable, "the connection broke");
        if lose == Lose::Nothing { Ok(()) } else { Err(CommitFailure::Unknown(gone)) }
    }
}
