//! The options of writes: committer, storage, retries.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use deltalakedb_log::action::Txn;
use deltalakedb_log::commit::{CommitRequest, Committed};
use deltalakedb_log::stores::{Stores, environment};
use deltalakedb_log::{Catalog, Clock, Committer, Durability, Object, SystemClock, TableOwner, TableRef, Version};
use parquet::file::properties::WriterProperties;
use serde_json::Value;

/// How a write treats an existing table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaveMode {
    /// Adds the rows.
    #[default]
    Append,
    /// Replaces all rows.
    Overwrite,
    /// Fails.
    ErrorIfExists,
    /// Does nothing.
    Ignore,
}

/// The options of a write.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// The committer.
    pub committer: Option<String>,
    /// The owner in whose name it writes: to tables of that owner only.
    pub owner: Option<TableOwner>,
    /// The source of ids.
    pub clock: Arc<dyn Clock>,
    /// The object stores of new tables, and of those of a transaction. A [`crate::DeltaTable`] has its own.
    pub stores: Arc<dyn Stores>,
    /// How often a commit is retried when the database is unavailable. Concurrent commits without a conflict need no
    /// retry: the commit is rebased onto them.
    pub retries: u32,
    /// What is on disk when a write is acknowledged.
    pub durability: Durability,
    /// The version that an operation reads; the newest by default. A later commit that conflicts with the operation
    /// makes it fail.
    pub read_version: Option<Version>,
    /// The encoding of data files. By default that of delta-rs, except that appended rows and those of new tables have no
    /// dictionary for columns of which the first rows fill it, so that Parquet's writer would give it up.
    pub parquet: Option<WriterProperties>,
    /// The target size of data files, in bytes; `None`: the table's property, or delta-rs' default.
    pub target_file_size: Option<NonZeroU64>,
    /// Additional keys of the `commitInfo`.
    pub metadata: BTreeMap<String, Value>,
    /// The txns of applications that are set with the commit.
    pub applications: Vec<Txn>,
    /// A commit waits while the mirror of one of its tables lags by more than this, and fails if that does not end
    /// soon; `None`: commits do not wait for mirrors.
    pub max_lag: Option<Duration>,
    /// The receiver of warnings.
    pub notices: Notices,
    /// How long a dropped table can be undropped; by default as long as the catalog retains history.
    pub dropped_retention: Option<Duration>,
}

/// The receiver of a commit's warnings, one sentence each: a listener, or without one the program's log.
#[derive(Clone, Default)]
pub struct Notices(Option<Listener>);

type Listener = Arc<dyn Fn(&str) + Send + Sync>;

impl Notices {
    /// Passes them to a function.
    pub fn to(listener: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(crate) fn notify(&self, what: &str) {
        match &self.0 {
            Some(listener) => listener(what),
            None => tracing::warn!("{what}"),
        }
    }

    /// Warns about each table whose time is ahead of the catalog's clock, and names the version that is the cause.
    pub(crate) async fn of_leaps(&self, catalog: &dyn Catalog, committed: &[Committed]) {
        for (table, leap) in committed.iter().filter_map(|c| Some((c.table, c.leap?))) {
            // The commit has succeeded; if the name cannot be read, the warning uses the table's id.
            let name = catalog.find(&TableRef::Id(table)).await.ok().flatten().map(|entry| entry.name.to_string());
            self.notify(&leap.warning(&name.unwrap_or_else(|| table.to_string())));
        }
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notices").field(&self.0.is_some()).finish()
    }
}

impl WriteOptions {
    /// The committer in these options.
    pub fn committer(&self) -> Committer {
        Committer { name: self.committer.clone(), owner: self.owner.clone() }
    }

    /// Sets the committer and the owner of a request. A request that creates a table for an owner is made in the name
    /// of that owner.
    pub(crate) fn set_committer(&self, request: &mut CommitRequest) {
        request.committer = self.committer.clone();
        request.owner = self.owner.clone().or_else(|| request.owner.take());
    }

    /// The `commitInfo` of a commit: the operation and its parameters, with the additions of [`Self::metadata`], which
    /// may also add parameters.
    pub(crate) fn info(&self, operation: &str, mut parameters: Object) -> Object {
        let mut info = Object::default();
        self.metadata.iter().for_each(|(key, value)| info.set(key, value));
        for (key, value) in self.metadata.get("operationParameters").and_then(Value::as_object).into_iter().flatten() {
            if parameters.raw(key).is_none() {
                parameters.set(key, value.as_str().map_or_else(|| value.to_string(), String::from));
            }
        }
        info.set("operation", operation);
        info.set("operationParameters", parameters);
        info
    }
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            committer: None,
            owner: None,
            clock: Arc::new(SystemClock),
            stores: environment(),
            retries: 5,
            durability: Durability::Full,
            read_version: None,
            parquet: None,
            target_file_size: None,
            metadata: BTreeMap::new(),
            applications: Vec::new(),
            max_lag: None,
            notices: Notices::default(),
            dropped_retention: None,
        }
    }
}

/// The maximum timeout of a transaction: vacuum spares all younger files.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
