//! A table as a catalog lists it.

use crate::action::Version;
use crate::ids::{TableId, TableName};
use crate::location::Location;
use crate::owner::TableOwner;

/// What a catalog knows of a table without looking into it.
#[derive(Clone, Debug, PartialEq)]
pub struct TableEntry {
    /// Our own id.
    pub id: TableId,
    /// Its name.
    pub name: TableName,
    /// Where it is.
    pub location: Location,
    /// Who alone commits to it; everybody, without one.
    pub owner: Option<TableOwner>,
    /// The oldest retained version.
    pub base_version: Version,
    /// The newest version.
    pub current_version: Version,
    /// The time of the newest version, in milliseconds since 1970.
    pub current_timestamp: i64,
    /// The newest version that is in `_delta_log`; `None` when none is.
    pub published_version: Option<Version>,
    /// Whether publishing goes on or has stopped.
    pub mirror: MirrorState,
}

/// How a table is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum TableRef {
    /// By our id.
    Id(TableId),
    /// By name.
    Name(TableName),
    /// By place.
    Location(Location),
}

/// Whether a table's mirror follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorState {
    /// It follows.
    Following,
    /// Another commit stands where ours should be: nothing is published and nothing committed until that is resolved.
    Diverged {
        /// The version that differs.
        version: Version,
        /// What stands there.
        what: String,
    },
}

impl MirrorState {
    /// Whether this may follow what was `seen` of a table that is now in the state `now` and at the version `current`.
    pub fn may_follow(&self, seen: &TableEntry, now: &Self, current: Version) -> bool {
        let is_ours_now = match self {
            Self::Diverged { version, .. } => (seen.current_version + 1..=current).contains(version),
            Self::Following => false,
        };
        *now == seen.mirror && !is_ours_now
    }
}
