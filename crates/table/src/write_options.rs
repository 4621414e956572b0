//! How writes are done: who commits, where files go, how often a commit is retried.

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

/// What a write does with a table that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaveMode {
    /// Adds the rows.
    #[default]
    Append,
    /// Replaces all rows.
    Overwrite,
    /// Refuses.
    ErrorIfExists,
    /// Does nothing.
    Ignore,
}

/// How to write.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Who commits.
    pub committer: Option<String>,
    /// In whose name it writes: to tables of that owner, and to no others.
    pub owner: Option<TableOwner>,
    /// Where ids come from.
    pub clock: Arc<dyn Clock>,
    /// The object stores of tables that are made, and of those of a transaction. A [`crate::DeltaTable`] has its own.
    pub stores: Arc<dyn Stores>,
    /// How often a commit that the database could not take just now is tried again. What was committed meanwhile and
    /// does not conflict needs no trying again: the commit is moved behind it.
    pub retries: u32,
    /// What has reached the disk when a write is acknowledged.
    pub durability: Durability,
    /// The version that an operation sees; the newest, where none is given. What was committed since then and conflicts
    /// with the operation makes it fail.
    pub read_version: Option<Version>,
    /// How data files are encoded; without it as delta-rs does.
    pub parquet: Option<WriterProperties>,
    /// The size that data files should get, in bytes; `None`: the table's property, or delta-rs' default.
    pub target_file_size: Option<NonZeroU64>,
    /// What the commit says beside what it did: keys of its `commitInfo`.
    pub metadata: BTreeMap<String, Value>,
    /// How far applications are once this is committed.
    pub applications: Vec<Txn>,
    /// Where warnings go.
    pub notices: Notices,
    /// How long a table that is dropped can be undropped; without it as long as the catalog keeps history.
    pub dropped_retention: Option<Duration>,
}

/// Where the warnings of a commit go, a sentence each: to the listener, or without one to the log of the program.
#[derive(Clone, Default)]
pub struct Notices(Option<Listener>);

type Listener = Arc<dyn Fn(&str) + Send + Sync>;

impl Notices {
    /// To a function.
    pub fn to(listener: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(crate) fn say(&self, what: &str) {
        match &self.0 {
            Some(listener) => listener(what),
            None => tracing::warn!("{what}"),
        }
    }

    /// Says of each table whose time is ahead of the catalog's clock which version is the cause.
    pub(crate) async fn of_leaps(&self, catalog: &dyn Catalog, committed: &[Committed]) {
        for (table, leap) in committed.iter().filter_map(|c| Some((c.table, c.leap?))) {
            // The commit stands: without the table's name its id says which it is.
            let name = catalog.find(&TableRef::Id(table)).await.ok().flatten().map(|entry| entry.name.to_string());
            self.say(&leap.warning(&name.unwrap_or_else(|| table.to_string())));
        }
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notices").field(&self.0.is_some()).finish()
    }
}

impl WriteOptions {
    /// The committer that these options name.
    pub fn committer(&self) -> Committer {
        Committer { name: self.committer.clone(), owner: self.owner.clone() }
    }

    /// Sets the committer and the owner of a request. A request that creates a table for an owner is made in the name
    /// of that owner.
    pub(crate) fn sign(&self, request: &mut CommitRequest) {
        request.committer = self.committer.clone();
        request.owner = self.owner.clone().or_else(|| request.owner.take());
    }

    /// What a commit says of itself: the operation and its parameters, and what [`Self::metadata`] says beside that, of
    /// the parameters, too.
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
            notices: Notices::default(),
            dropped_retention: None,
        }
    }
}

/// The greatest age a transaction may be allowed: vacuum spares all files that are younger.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
