//! delta-rs over a log that is not in files: the one module that sees its internals.
//!
//! A [`VirtualTable`] is a table at one version as delta-rs wants to see it: a log store, a kernel engine and object
//! stores whose `_delta_log` is made up from a [`TxnLogReader`]. delta-rs runs unmodified on it. Commits are caught,
//! not made: the caller takes the actions and commits them in a catalog.
//!
//! Inside, a table has a URL of its own ([`stores`] says why): a host that stands for its place. Data files come out
//! below that URL, percent-encoded ones too, and those of other places by an [`alias`]. DataFusion keys object stores by
//! scheme and host, and our sessions find the store of either.

mod alias;
mod append;
mod batches;
mod bounds;
mod condition;
mod date_trunc;
mod engine;
mod expressions;
mod fit;
pub(crate) mod floats;
pub(crate) mod generated;
pub(crate) mod literals;
mod log;
mod log_store;
mod memory;
mod merge;
mod operations;
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

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::catalog::TableProvider;
use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use datafusion::prelude::SessionContext;
use delta_kernel::actions::deletion_vector::{DeletionVectorDescriptor, DeletionVectorStorageType};
use deltalake_core::DeltaTableError;
use deltalake_core::delta_datafusion::{DeltaScanConfig, DeltaScanNext, DeltaSessionContext};
use deltalake_core::kernel::EagerSnapshot;
use deltalakedb_log::action::{Action, Add, DeletionVector};
use deltalakedb_log::snapshot::{Head, Replay, Snapshot};
use deltalakedb_log::stores::environment;
use deltalakedb_log::{ErrorKind, Location, Predicate, Result, Stores, TxnLogError, TxnLogReader};
use futures::TryStreamExt;

use url::Url;

use self::generated::Generated;
use self::log::{Files, HeldLog, NoLog};
use self::log_store::VirtualLogStore;
use crate::error::Explain;
use crate::known::AskTheLog;
use crate::write::WriteOptions;

pub(crate) use self::append::PlainAppend;
pub(crate) use self::condition::Condition;
pub(crate) use self::expressions::Columns;
pub(crate) use self::fit::Fit;
pub use self::fit::{Casts, type_name};
pub use self::merge::{Assignments, Merge, MergeClause};
pub(crate) use self::merge::{Joined, MergeSource};
pub(crate) use self::operations::repair;
pub use self::operations::{Alter, Changes, Optimize, PartitionFilter, Restore};
pub(crate) use self::runtime::{finish, wait_beside};
pub use self::schema::{TableSchema, parse_schema};
pub(crate) use self::stores::register;
pub use self::write::NewFiles;
pub use self::write::SchemaMode;
pub(crate) use self::write::{Captured, Create, convert, create, create_with_data, named_paths};

/// A table's log as an operation finds it: at a version, with the commits of a transaction on top.
#[derive(Clone, Debug)]
pub(crate) struct LogState {
    pub(crate) location: Location,
    pub(crate) reader: Arc<dyn TxnLogReader>,
    /// The version; `None` for a table that the transaction makes.
    pub(crate) base: Option<Snapshot>,
    /// What the transaction staged so far, in order.
    staged: Vec<Arc<StagedCommit>>,
    /// What the table is with that.
    now: Option<Snapshot>,
    /// How data files and commits are made.
    pub(crate) options: Arc<WriteOptions>,
}

/// A commit that only its transaction sees.
#[derive(Debug)]
struct StagedCommit {
    actions: Vec<Action>,
    /// The same as delta-rs is shown it, in the bytes of a log.
    shown: Bytes,
}

impl LogState {
    /// A table at a version.
    pub(crate) fn at(
        location: &Location,
        stores: &Arc<dyn Stores>,
        reader: Arc<dyn TxnLogReader>,
        base: Snapshot,
    ) -> Self {
        Self { now: Some(base.clone()), base: Some(base), reader, ..Self::nothing_yet(location, stores) }
    }

    /// A table at a version, of which only the head is known: to read it, not to write.
    pub(crate) fn of_head(
        location: &Location,
        stores: &Arc<dyn Stores>,
        reader: Arc<dyn TxnLogReader>,
        head: Head,
    ) -> Self {
        Self::at(location, stores, reader, Snapshot { head, txns: BTreeMap::new(), domains: BTreeMap::new() })
    }

    /// A table that does not exist yet.
    pub(crate) fn nothing_yet(location: &Location, stores: &Arc<dyn Stores>) -> Self {
        let options = Arc::new(WriteOptions { stores: stores.clone(), ..WriteOptions::default() });
        let reader = Arc::new(NoLog);
        Self { location: location.clone(), reader, base: None, staged: Vec::new(), now: None, options }
    }

    /// The same, for whoever writes in that way. The object stores stay the table's.
    pub(crate) fn writing(self, options: &WriteOptions) -> Self {
        let options = WriteOptions { stores: self.options.stores.clone(), ..options.clone() };
        Self { options: Arc::new(options), ..self }
    }

    /// Puts a commit on top, whose actions are those that the catalog would get.
    pub(crate) fn stage(&mut self, actions: Vec<Action>) -> Result<()> {
        let mut replay = Replay::default();
        let (mut version, mut timestamp) = (0, 0);
        if let Some(Snapshot { head, txns, domains }) = self.now.take() {
            (version, timestamp) = (head.version + 1, head.timestamp);
            (replay.protocol, replay.metadata) = (Some(head.protocol), Some(head.metadata));
            (replay.txns, replay.domains) = (txns, domains);
        }
        // Files are replayed when somebody asks for them.
        replay.apply(
            actions.iter().filter(|action| !matches!(action, Action::Add(_) | Action::Remove(_))).cloned().collect(),
        );
        self.now = Some(replay.snapshot(version, timestamp, "the transaction")?);
        let shown = shown::commit(&actions);
        self.staged.push(Arc::new(StagedCommit { actions, shown }));
        Ok(())
    }

    /// Whether it is a version of the log as it is, and nothing on top.
    pub(crate) fn is_committed(&self) -> bool {
        self.base.is_some() && self.staged.is_empty()
    }

    /// The actions of each staged commit, in order.
    pub(crate) fn staged(&self) -> impl Iterator<Item = &[Action]> {
        self.staged.iter().map(|commit| commit.actions.as_slice())
    }

    /// Its live files, with what is staged.
    pub(crate) async fn files(&self) -> Result<Vec<Add>> {
        let mut replay = Replay::default();
        if let Some(base) = &self.base {
            let files = self.reader.files(base.version(), None).await?;
            replay.files = files.map_ok(|add| (add.key(), add)).try_collect().await?;
        }
        for actions in self.staged() {
            replay.apply(actions.to_vec());
        }
        Ok(replay.files.into_values().collect())
    }

    /// What the table is, with what is staged.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let nothing = || TxnLogError::not_found(format!("there is no table at {} yet", self.location));
        self.now.clone().ok_or_else(nothing)
    }
}

/// A table as delta-rs sees it, with all of its files, some, or none: for its schema, to scan what it has, to append,
/// and to change its metadata.
pub(crate) struct VirtualTable {
    log: Arc<HeldLog>,
    log_store: Arc<VirtualLogStore>,
    snapshot: EagerSnapshot,
    base: Snapshot,
    options: Arc<WriteOptions>,
}

/// A table with the files in which a row may match a condition. What is done with it is done with that condition.
pub(crate) struct Matching {
    table: VirtualTable,
    condition: Option<Condition>,
}

/// A table with all of its files.
pub(crate) struct Whole(VirtualTable);

impl VirtualTable {
    /// The table with the files in which a row may match.
    pub(crate) async fn matching(state: &LogState, predicate: Predicate) -> Result<Self> {
        let files = if predicate == Predicate::Unknown { Files::All } else { Files::Matching(predicate) };
        Self::open(state, files).await
    }

    /// The table without its files, whatever their number: for its schema, and to append.
    pub(crate) async fn without_files(state: &LogState) -> Result<Self> {
        Self::open(state, Files::None).await
    }

    async fn open(state: &LogState, files: Files) -> Result<Self> {
        let base = state.snapshot()?;
        let log = Arc::new(HeldLog::new(state, files));
        let log_store = Arc::new(VirtualLogStore::new(&state.location, log.clone(), &state.options)?);
        let failed = || format!("version {} of the table at {} cannot be opened", base.version(), state.location);
        let snapshot = match EagerSnapshot::try_new(log_store.as_ref(), None).await {
            // No plan is made and no row checked here: it is what is left of a task that panicked.
            Err(DeltaTableError::Generic(said)) => {
                return Err(TxnLogError::new(ErrorKind::Internal, format!("{}: {said}", failed())));
            }
            opened => opened.explain(failed)?,
        };
        Ok(Self { log, log_store, snapshot, base, options: state.options.clone() })
    }

    /// Its columns in Arrow types.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        Ok(generated::marked(&self.base.head.metadata, self.provider(Texts::Plain)?.schema()))
    }

    fn generated(&self) -> Result<Generated> {
        Generated::of(&self.base.head.metadata, || self.schema())
    }

    /// The scan of its files in DataFusion.
    pub(crate) fn provider(&self, texts: Texts) -> Result<DeltaScanNext> {
        provider(self.snapshot.clone(), texts)
    }

    /// What it is.
    pub(crate) fn base(&self) -> &Snapshot {
        &self.base
    }
}

impl Matching {
    /// The table with the files in which a row may satisfy a condition; without one, all files.
    pub(crate) async fn open(state: &LogState, condition: Option<Condition>) -> Result<Self> {
        let predicate = condition.as_ref().map_or(Predicate::Unknown, |condition| condition.predicate.clone());
        Ok(Self { table: VirtualTable::matching(state, predicate).await?, condition })
    }
}

impl Whole {
    /// The table with all of its files.
    pub(crate) async fn open(state: &LogState) -> Result<Self> {
        Ok(Self(VirtualTable::open(state, Files::All).await?))
    }
}

/// The URL of the file that a deletion vector of a table is in; `None` for one that is in the log.
pub(crate) fn deletion_vector_file(of: &DeletionVector, table: &Location) -> Result<Option<Url>> {
    let unreadable = || format!("a deletion vector of the table at {table} has no path that can be read");
    let kind: DeletionVectorStorageType = of.storage_type.parse().explain(unreadable)?;
    let narrow = |v: i64| i32::try_from(v).map_err(|e| TxnLogError::corrupt(unreadable()).with_source(e));
    let offset = of.offset.map(narrow).transpose()?;
    let (path, size) = (of.path_or_inline_dv.as_str(), narrow(of.size_in_bytes)?);
    let read = DeletionVectorDescriptor::try_new(kind, path, offset, size, of.cardinality).explain(unreadable)?;
    read.absolute_path(table.url()).explain(unreadable)
}

/// An error that names what stops data from being written to a table.
pub(crate) fn check_writable(snapshot: &Snapshot, table: &str) -> Result<()> {
    shown::check_writable(snapshot, table)
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

/// A session for queries over tables that are registered in it, with settings of DataFusion's such as
/// `datafusion.execution.batch_size`.
pub fn query_session<'a>(settings: impl IntoIterator<Item = (&'a String, &'a String)>) -> Result<SessionContext> {
    let session = session_context(&environment())?;
    {
        let state = session.state_ref();
        let mut state = state.write();
        for (key, value) in settings {
            state.config_mut().options_mut().set(key, value).explain(|| format!("the setting {key} is wrong"))?;
        }
    }
    Ok(session)
}

/// A query in such a session, with numbers and times as [`SqlSession`](crate::SqlSession) reads them.
pub async fn query(session: &SessionContext, sql: &str) -> Result<DataFrame, DataFusionError> {
    let state = session.state();
    let dialect = state.config_options().sql_parser.dialect;
    let mut statement = state.sql_to_statement(sql, &dialect)?;
    literals::in_statement(&mut statement);
    session.execute_logical_plan(state.statement_to_plan(statement).await?).await
}

/// A session that reads with delta-rs' own planner and settings, and asks logs for what they know.
pub(crate) fn session_context(stores: &Arc<dyn Stores>) -> Result<SessionContext> {
    let mut session = DeltaSessionContext::with_runtime_env(stores::session(stores.clone())?).into_inner();
    session.add_optimizer_rule(Arc::new(AskTheLog));
    date_trunc::install(&session);
    literals::install(&mut session).explain(|| "a query session cannot be started".into())?;
    session.add_analyzer_rule(Arc::new(floats::OneZero));
    Ok(session)
}
