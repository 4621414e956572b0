//! The log of a table that does not exist.

use async_trait::async_trait;
use bytes::Bytes;
use deltalakedb_log::action::Add;
use deltalakedb_log::snapshot::{At, CommitSummary, Head, Snapshot};
use deltalakedb_log::{HistoryRange, Predicate, Result, TxnLogError, TxnLogReader, Version};
use futures::stream::BoxStream;

/// The log of a table that does not exist.
#[derive(Debug)]
pub(super) struct EmptyLog;

impl EmptyLog {
    fn nothing<T>() -> Result<T> {
        Err(TxnLogError::not_found("the table does not exist yet"))
    }
}

#[async_trait]
impl TxnLogReader for EmptyLog {
    async fn head(&self) -> Result<Head> {
        Self::nothing()
    }
    async fn snapshot(&self, _at: At) -> Result<Snapshot> {
        Self::nothing()
    }
    async fn files(
        &self,
        _version: Version,
        _predicate: Option<&Predicate>,
    ) -> Result<BoxStream<'static, Result<Add>>> {
        Self::nothing()
    }
    async fn files_in_replay_order(&self, _version: Version, _predicate: Option<&Predicate>) -> Result<Vec<Add>> {
        Self::nothing()
    }
    async fn history(&self, _range: HistoryRange) -> Result<Vec<CommitSummary>> {
        Self::nothing()
    }
    async fn commit_bytes(&self, _version: Version) -> Result<Option<Bytes>> {
        Self::nothing()
    }
    async fn changes(&self, _from: Version, _to: Version) -> Result<BoxStream<'static, Result<(Version, Bytes)>>> {
        Self::nothing()
    }
}
