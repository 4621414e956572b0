//! A table as a catalog lists and registers it.

use crate::action::Version;
use crate::error::{ErrorKind, TxnLogError};
use crate::ids::{TableId, TableName};
use crate::location::Location;
use crate::owner::TableOwner;

/// What a catalog knows about a table without reading its log.
#[derive(Clone, Debug, PartialEq)]
pub struct TableEntry {
    /// Our own id.
    pub id: TableId,
    /// Its name.
    pub name: TableName,
    /// The table's location.
    pub location: Location,
    /// The only program that may commit to it; `None` when any may.
    pub owner: Option<TableOwner>,
    /// The oldest retained version.
    pub base_version: Version,
    /// The newest version.
    pub current_version: Version,
    /// The time of the newest version, in milliseconds since 1970.
    pub current_timestamp: i64,
    /// The newest version that is in `_delta_log`; `None` when none is.
    pub published_version: Option<Version>,
    /// Whether the mirror is publishing or has stopped.
    pub mirror: MirrorState,
}

impl TableEntry {
    /// The oldest version that is not in `_delta_log`, if there is one.
    pub fn oldest_unpublished(&self) -> Option<Version> {
        let next = self.published_version.map_or(self.base_version, |version| version.saturating_add(1));
        (next <= self.current_version).then_some(next)
    }
}

/// Name and location of a table to be registered.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTable {
    /// Its name, not used by any live table.
    pub name: TableName,
    /// Its location, not used by any live table.
    pub location: Location,
    /// The only program that may commit to it; `None` when any may.
    pub owner: Option<TableOwner>,
}

impl NewTable {
    /// A table without an owner: any program may commit to it.
    pub fn new(name: TableName, location: Location) -> Self {
        Self { name, location, owner: None }
    }

    /// The error when the table `name` at `location` has the same name or location; `None` when it has neither.
    pub fn taken_by(&self, name: &TableName, location: &Location) -> Option<TxnLogError> {
        if *name == self.name {
            return Some(name_taken(name, location));
        }
        let what = || format!("the table at {location} is in the catalog already, as {name}");
        (location.key() == self.location.key()).then(|| TxnLogError::new(ErrorKind::AlreadyExists, what()))
    }
}

/// How a caller identifies a table.
#[derive(Clone, Debug, PartialEq)]
pub enum TableRef {
    /// By our id.
    Id(TableId),
    /// By name.
    Name(TableName),
    /// By location.
    Location(Location),
}

/// The state of a table's mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorState {
    /// It publishes.
    Following,
    /// A commit of another writer exists where ours should be: nothing is published or committed until then.
    Diverged {
        /// The version that differs.
        version: Version,
        /// What was found there.
        what: String,
    },
}

impl MirrorState {
    /// Whether this state may replace the one that was `seen`, for a table that is now in the state `now` and at the
    /// version `current`.
    pub fn may_follow(&self, seen: &TableEntry, now: &Self, current: Version) -> bool {
        let is_ours_now = match self {
            Self::Diverged { version, .. } => (seen.current_version + 1..=current).contains(version),
            Self::Following => false,
        };
        *now == seen.mirror && !is_ours_now
    }
}

/// The error when the table name is in use.
pub fn name_taken(name: &TableName, by: &Location) -> TxnLogError {
    let message = format!("there is a table {name} already, at {by}: choose another name");
    TxnLogError::new(ErrorKind::AlreadyExists, message)
}
