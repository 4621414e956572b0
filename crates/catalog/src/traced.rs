//! A database whose transactions and queries are spans of `tracing`, with the target [`TARGET`].

use async_trait::async_trait;
use deltalakedb_log::{LocationKey, Result, TableId};
use futures::stream::BoxStream;
use tracing::{Instrument, Span, field};

use crate::database::{CommitFailure, Database, DatabaseTransaction, Row, Value, WriteStatement};

/// The target of the spans.
const TARGET: &str = "deltalakedb::sql";

/// A database and its spans: `transaction`, with the fields `kind`, `catalog` and `outcome`, and `query`, of a query
/// that is a transaction of its own. They are created at the level DEBUG.
#[derive(Debug)]
pub(crate) struct TracedDatabase<D>(pub(crate) D);

impl<D: Database> TracedDatabase<D> {
    fn transaction(&self, kind: &'static str) -> Span {
        let enabled = tracing::enabled!(target: TARGET, tracing::Level::DEBUG);
        if !enabled {
            return Span::none();
        }
        let catalog = self.0.describe();
        tracing::debug_span!(target: TARGET, "transaction", kind, catalog, outcome = field::Empty)
    }

    fn single_query(&self) -> Span {
        if !tracing::enabled!(target: TARGET, tracing::Level::DEBUG) {
            return Span::none();
        }
        tracing::debug_span!(target: TARGET, "query", catalog = self.0.describe())
    }
}

#[async_trait]
impl<D: Database> Database for TracedDatabase<D> {
    fn describe(&self) -> String {
        self.0.describe()
    }

    async fn read(&self) -> Result<Box<dyn DatabaseTransaction>> {
        let span = self.transaction("read");
        let inner = self.0.read().instrument(span.clone()).await?;
        Ok(Box::new(TracedTransaction { inner, span }))
    }

    async fn write(&self, heads: &[TableId], first: &str) -> Result<(Box<dyn DatabaseTransaction>, Vec<Row>)> {
        let span = self.transaction("write");
        let (inner, rows) = self.0.write(heads, first).instrument(span.clone()).await?;
        Ok((Box::new(TracedTransaction { inner, span }), rows))
    }

    async fn write_async_commit(
        &self,
        table: TableId,
        first: &str,
    ) -> Result<(Box<dyn DatabaseTransaction>, Vec<Row>)> {
        let span = self.transaction("mirror");
        let (inner, rows) = self.0.write_async_commit(table, first).instrument(span.clone()).await?;
        Ok((Box::new(TracedTransaction { inner, span }), rows))
    }

    fn clock(&self) -> Option<&'static str> {
        self.0.clock()
    }

    fn point(&self) -> &'static str {
        self.0.point()
    }

    fn is_before(&self, row: &str) -> String {
        self.0.is_before(row)
    }

    async fn stream(&self, sql: String, params: Vec<Value>) -> Result<BoxStream<'static, Result<Row>>> {
        self.0.stream(sql, params).instrument(self.single_query()).await
    }

    async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>> {
        self.0.query(sql, params).instrument(self.single_query()).await
    }

    async fn close(&self) {
        self.0.close().await;
    }

    async fn has_table(&self, name: &str) -> Result<bool> {
        self.0.has_table(name).await
    }

    async fn migrate(&self) -> Result<Box<dyn DatabaseTransaction>> {
        let span = self.transaction("migration");
        let inner = self.0.migrate().instrument(span.clone()).await?;
        Ok(Box::new(TracedTransaction { inner, span }))
    }

    fn migration(&self, sql: &str) -> String {
        self.0.migration(sql)
    }

    async fn analyze(&self) -> Result<()> {
        self.0.analyze().await
    }

    async fn is_analyzed(&self) -> Result<bool> {
        self.0.is_analyzed().await
    }

    fn uses_range_scans(&self) -> bool {
        self.0.uses_range_scans()
    }

    fn locks_heads(&self) -> bool {
        self.0.locks_heads()
    }

    fn lock_proves_absence(&self) -> bool {
        self.0.lock_proves_absence()
    }
}

/// A transaction and its span, which ends with it.
struct TracedTransaction {
    inner: Box<dyn DatabaseTransaction>,
    span: Span,
}

#[async_trait]
impl DatabaseTransaction for TracedTransaction {
    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>> {
        self.inner.query(sql, params).instrument(self.span.clone()).await
    }

    fn rows<'s>(&'s mut self, sql: String, params: Vec<Value>) -> BoxStream<'s, Result<Row>> {
        self.inner.rows(sql, params)
    }

    async fn lock_location(&mut self, place: &LocationKey) -> Result<()> {
        self.inner.lock_location(place).instrument(self.span.clone()).await
    }

    async fn write(&mut self, writes: Vec<WriteStatement>) -> Result<u64> {
        self.inner.write(writes).instrument(self.span.clone()).await
    }

    async fn commit(self: Box<Self>) -> Result<(), CommitFailure> {
        let Self { inner, span } = *self;
        let ended = inner.commit().instrument(span.clone()).await;
        let outcome = match &ended {
            Ok(()) => "committed",
            Err(CommitFailure::RolledBack(_)) => "rolled back",
            Err(CommitFailure::Unknown(_)) => "unknown",
        };
        span.record("outcome", outcome);
        ended
    }
}
