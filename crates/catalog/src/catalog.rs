//! The traits of a catalog and of a writer, for a catalog in a database.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use deltalakedb_log::commit::{CommitRequest, Committed, Outcome};
use deltalakedb_log::{
    Catalog, CommitId, ComparedTables, Head, Point, Result, TableEntry, TableId, TableRef, TxnLogError, TxnLogReader,
    TxnLogWriter, metric,
};
use uuid::Uuid;

use crate::commit::commit_all;
use crate::find;
use crate::sql_catalog::{SqlCatalog, SqlTxnLogReader, SqlTxnLogWriter};

#[async_trait]
impl TxnLogWriter for SqlTxnLogWriter {
    async fn commit(&self, request: CommitRequest) -> Result<Outcome> {
        self.catalog.commit_all(vec![request]).await
    }
}

#[async_trait]
impl Catalog for SqlCatalog {
    async fn identity(&self) -> Result<(Uuid, Uuid)> {
        let identity = self.last_identity();
        Ok((identity.catalog_id, identity.epoch))
    }

    async fn now_ms(&self) -> Result<i64> {
        let Some(clock) = self.server_clock else { return Ok(self.clock.now_ms()) };
        let mut row = self.db.query(&format!("SELECT {clock}"), vec![]).await?.pop();
        let missing = || TxnLogError::corrupt(format!("{} returned no time", self.db.describe()));
        row.as_mut().ok_or_else(missing)?.int()
    }

    fn compared(&self) -> &ComparedTables {
        &self.compared
    }

    fn describe(&self) -> String {
        self.db.describe()
    }

    async fn find(&self, table: &TableRef) -> Result<Option<TableEntry>> {
        find::find(self.db.as_ref(), table).await
    }

    async fn point(&self) -> Result<Point> {
        find::point(self.db.as_ref()).await
    }

    async fn find_at(&self, table: &TableRef, point: &Point) -> Result<Option<TableEntry>> {
        find::find_at(self.db.as_ref(), table, point).await
    }

    async fn begin(&self, tables: &[TableId]) -> Result<Vec<Head>> {
        find::heads(self.db.as_ref(), tables).await
    }

    fn reader(&self, table: TableId) -> Arc<dyn TxnLogReader> {
        Arc::new(SqlTxnLogReader::new(self.clone(), table))
    }

    async fn commit_all(&self, requests: Vec<CommitRequest>) -> Result<Outcome> {
        let actions = requests.iter().map(|request| request.actions().len()).sum();
        let began = Instant::now();
        let outcome = commit_all(self, requests).await;
        match &outcome {
            Ok(Outcome::Committed(committed)) => {
                metric::COMMIT_LATENCY.record(began.elapsed());
                metric::VERSIONS_COMMITTED.add(committed.len() as u64);
                for c in committed {
                    tracing::debug!(table = %c.table, version = c.version, "committed");
                }
                if let Err(e) = self.statistics.after_commit(self.db.as_ref(), actions).await {
                    tracing::warn!(error = %e, "committed, and the rows of the catalog were not analyzed");
                }
            }
            Ok(Outcome::Conflict(conflict)) => {
                tracing::debug!(table = %conflict.table_name, version = conflict.version, kind = ?conflict.kind, "conflict");
            }
            Ok(Outcome::Unknown(why)) => tracing::warn!(why, "it is not known whether a commit was made"),
            Err(e) => tracing::debug!(error = %e, "not committed"),
        }
        outcome
    }

    async fn find_commit(&self, table: TableId, id: CommitId) -> Result<Option<Committed>> {
        find::find_commit(self.db.as_ref(), table, id).await
    }
}
