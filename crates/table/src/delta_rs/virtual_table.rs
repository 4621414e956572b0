//! A table as delta-rs sees it, and the scan of its files.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use deltalake_core::DeltaTableError;
use deltalake_core::delta_datafusion::{DeltaScanConfig, DeltaScanNext};
use deltalake_core::kernel::EagerSnapshot;
use deltalakedb_log::snapshot::Snapshot;
use deltalakedb_log::{ErrorKind, Predicate, Result, TxnLogError};

use super::condition::Condition;
use super::generated::{self, Generated};
use super::log::{FileSelection, SnapshotLog};
use super::log_store::VirtualLogStore;
use super::log_view::LogView;
use super::schema::{StringEncoding, arrow_schema};
use crate::error::Explain;
use crate::write_options::WriteOptions;

/// A table as delta-rs sees it, with all of its files, some, or none: for its schema, for scans of these files, for
/// appends, and for changes of its metadata.
pub(crate) struct VirtualTable {
    pub(super) log: Arc<SnapshotLog>,
    pub(super) log_store: Arc<VirtualLogStore>,
    pub(super) snapshot: EagerSnapshot,
    pub(super) base: Snapshot,
    pub(super) options: Arc<WriteOptions>,
}

/// A table with the files in which a row may match a condition. Its operations use that condition.
pub(crate) struct PrunedTable {
    pub(super) table: VirtualTable,
    pub(super) condition: Option<Condition>,
}

/// A table with all of its files.
pub(crate) struct FullTable(pub(super) VirtualTable);

impl VirtualTable {
    /// The table with the files in which a row may match.
    pub(crate) async fn matching(state: &LogView, predicate: Predicate) -> Result<Self> {
        let files =
            if predicate == Predicate::Unknown { FileSelection::All } else { FileSelection::Matching(predicate) };
        Self::open(state, files).await
    }

    /// The table without its files: for its schema, and for appends.
    pub(crate) async fn without_files(state: &LogView) -> Result<Self> {
        Self::open(state, FileSelection::None).await
    }

    async fn open(state: &LogView, files: FileSelection) -> Result<Self> {
        let base = state.snapshot()?;
        let log = Arc::new(SnapshotLog::new(state, files));
        let log_store = Arc::new(VirtualLogStore::new(&state.location, log.clone(), &state.options)?);
        let failed = || format!("version {} of the table at {} cannot be opened", base.version(), state.location);
        let snapshot = match EagerSnapshot::try_new(log_store.as_ref(), None).await {
            // No plan is made and no row checked here, so this is the message of a task that panicked.
            Err(DeltaTableError::Generic(message)) => {
                return Err(TxnLogError::new(ErrorKind::Internal, format!("{}: {message}", failed())));
            }
            opened => opened.explain(failed)?,
        };
        Ok(Self { log, log_store, snapshot, base, options: state.options.clone() })
    }

    /// Its columns in Arrow types.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        let metadata = &self.base.head.metadata;
        Ok(generated::marked(metadata, arrow_schema(metadata, StringEncoding::Utf8)?))
    }

    pub(super) fn generated(&self) -> Result<Generated> {
        Generated::of(&self.base.head.metadata, || self.schema())
    }

    /// The scan of its files by delta-rs.
    pub(super) fn provider(&self) -> Result<DeltaScanNext> {
        provider(self.snapshot.clone())
    }

    /// Its state.
    pub(crate) fn base(&self) -> &Snapshot {
        &self.base
    }
}

impl PrunedTable {
    /// The table with the files in which a row may satisfy a condition; all files without one.
    pub(crate) async fn open(state: &LogView, condition: Option<Condition>) -> Result<Self> {
        let predicate = condition.as_ref().map_or(Predicate::Unknown, |condition| condition.predicate.clone());
        Ok(Self { table: VirtualTable::matching(state, predicate).await?, condition })
    }
}

impl FullTable {
    /// The table with all of its files.
    pub(crate) async fn open(state: &LogView) -> Result<Self> {
        Ok(Self(VirtualTable::open(state, FileSelection::All).await?))
    }
}

pub(super) fn provider(snapshot: EagerSnapshot) -> Result<DeltaScanNext> {
    let config =
        DeltaScanConfig { wrap_partition_values: false, schema_force_view_types: false, ..DeltaScanConfig::default() };
    DeltaScanNext::new(snapshot, config).explain(|| "the table cannot be read".into())
}
