//! Reads the changes between versions of a table.

use datafusion::execution::SendableRecordBatchStream;
use deltalakedb_log::snapshot::At;
use deltalakedb_log::{Result, TxnLogError, Version};

use crate::delta_rs::{CdfScan, LogView, VirtualTable};
use crate::table::DeltaTable;

impl DeltaTable {
    /// The changes between two versions, both included (`to` is the newest by default): the rows, with the additional
    /// columns `_change_type` (`insert`, `delete`, `update_preimage`, `update_postimage`), `_commit_version` and
    /// `_commit_timestamp`. The table must have recorded them (`delta.enableChangeDataFeed`).
    pub async fn changes(&self, from: Version, to: Option<Version>) -> Result<SendableRecordBatchStream> {
        let reader = self.reader().await?;
        let head = reader.snapshot(to.map_or(At::Latest, At::Version)).await?;
        let to = head.version();
        if from > to {
            return Err(TxnLogError::invalid(format!(
                "there are no changes from version {from} to {to} of {self}: begin with an earlier version"
            )));
        }
        let first = reader.snapshot(At::Version(from)).await?;
        if !first.head.metadata.is_on("delta.enableChangeDataFeed") {
            return Err(TxnLogError::invalid(format!(
                "{self} did not record its changes at version {from}: set delta.enableChangeDataFeed=true, and begin \
                 with a version after that"
            )));
        }
        let what = CdfScan { from, to: Some(to), ..CdfScan::default() };
        VirtualTable::without_files(&LogView::at(&self.location, &self.stores, reader, head))
            .await?
            .changes(&what)
            .await
    }

    /// The requested changes, up to a version.
    pub async fn changes_of(&self, what: &CdfScan, at: At) -> Result<SendableRecordBatchStream> {
        VirtualTable::without_files(&self.view_at(at).await?).await?.changes(what).await
    }
}
