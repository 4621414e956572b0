//! delta-rs over a log that is not in files: the one module that sees its internals.
//!
//! A [`VirtualTable`] is a table at one version as delta-rs wants to see it: a log store, a kernel engine and object
//! stores whose `_delta_log` is made up from a [`TxnLogReader`]. delta-rs runs unmodified on it. Commits are caught,
//! not made: the caller takes the actions and commits them in a catalog.
//!
//! Inside, a table has a URL of its own ([`stores`] says why): a host that stands for its place. Data files below the
//! table come out below that URL, percent-encoded ones too; absolute ones keep theirs. DataFusion keys object stores by
//! scheme and host, and our sessions find the store of either.

mod batches;
mod engine;
mod fit;
mod log;
mod log_store;
mod overlay;
pub mod plain;
mod puts;
mod runtime;
mod schema;
mod shown;
mod stores;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::prelude::SessionContext;
use deltalake_core::delta_datafusion::{DeltaScanConfig, DeltaScanNext, DeltaSessionContext};
use deltalake_core::kernel::EagerSnapshot;
use deltalakedb_log::catalog::TxnLogReader;
use deltalakedb_log::snapshot::Snapshot;
use deltalakedb_log::{Location, Predicate, Result};

use self::log::{Files, HeldLog};
use self::log_store::VirtualLogStore;
use crate::error::Explain;
use crate::known::AskTheLog;

pub(crate) use self::fit::Fit;
pub use self::fit::type_name;
pub(crate) use self::runtime::wait;
pub use self::schema::{TableSchema, parse_schema};
pub(crate) use self::stores::register;
pub use self::write::NewFiles;
pub(crate) use self::write::{Captured, Create, create, create_with_data};

/// A table at one version, with all of its files, some, or none. Only [`VirtualTable::whole`] can be overwritten.
pub(crate) struct VirtualTable {
    log: Arc<HeldLog>,
    log_store: Arc<VirtualLogStore>,
    snapshot: EagerSnapshot,
    base: Snapshot,
}

/// A table with all of its files.
pub(crate) struct Whole(VirtualTable);

impl VirtualTable {
    /// The table with the files in which a row may match.
    pub(crate) async fn matching(
        location: &Location,
        reader: Arc<dyn TxnLogReader>,
        base: Snapshot,
        predicate: Predicate,
    ) -> Result<Self> {
        let files = if predicate == Predicate::Unknown { Files::All } else { Files::Matching(predicate) };
        Self::open(location, reader, base, files).await
    }

    /// The table without its files, whatever their number: for its schema, and to append.
    pub(crate) async fn without_files(
        location: &Location,
        reader: Arc<dyn TxnLogReader>,
        base: Snapshot,
    ) -> Result<Self> {
        Self::open(location, reader, base, Files::None).await
    }

    /// The table with all of its files.
    pub(crate) async fn whole(location: &Location, reader: Arc<dyn TxnLogReader>, base: Snapshot) -> Result<Whole> {
        Ok(Whole(Self::open(location, reader, base, Files::All).await?))
    }

    async fn open(location: &Location, reader: Arc<dyn TxnLogReader>, base: Snapshot, files: Files) -> Result<Self> {
        let log = Arc::new(HeldLog::new(reader, Some(base.clone()), files));
        let log_store = Arc::new(VirtualLogStore::new(location, log.clone())?);
        let snapshot = EagerSnapshot::try_new(log_store.as_ref(), None)
            .await
            .explain(|| format!("version {} of the table at {location} cannot be opened", base.version()))?;
        Ok(Self { log, log_store, snapshot, base })
    }

    /// Its columns in Arrow types.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        Ok(self.provider(Texts::Plain)?.schema())
    }

    /// The scan of its files in DataFusion.
    pub(crate) fn provider(&self, texts: Texts) -> Result<DeltaScanNext> {
        provider(self.snapshot.clone(), texts)
    }
}

/// How columns of text and bytes come out of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Texts {
    /// As everyone reads them.
    Plain,
    /// As views, which DataFusion computes with faster.
    Views,
}

fn provider(snapshot: EagerSnapshot, texts: Texts) -> Result<DeltaScanNext> {
    let config = DeltaScanConfig {
        wrap_partition_values: false,
        schema_force_view_types: texts == Texts::Views,
        ..DeltaScanConfig::default()
    };
    DeltaScanNext::new(snapshot, config).explain(|| "the table cannot be read".into())
}

/// A session that reads with delta-rs' own planner and settings, and asks logs for what they know.
pub(crate) fn session_context() -> Result<SessionContext> {
    let session = DeltaSessionContext::with_runtime_env(stores::session()?).into_inner();
    session.add_optimizer_rule(Arc::new(AskTheLog));
    Ok(session)
}
