//! What `commitInfo` records about a commit of ours: the catalog, the commit id, and its transaction.

use uuid::Uuid;

use crate::action::CommitInfo;
use crate::ids::{CommitId, TableId, TableName};
use crate::object::Object;
use crate::owner::TableOwner;

/// Our member of `commitInfo`: catalog, epoch, the table's id, name and owner, and the group the commit belongs to.
pub const COMMIT_INFO_KEY: &str = "deltalakedb";

/// The property that enables in-commit timestamps.
pub(crate) const ICT: &str = "delta.enableInCommitTimestamps";

/// The id of the catalog that made a commit, from its `commitInfo`; `None` when no catalog of ours made it.
pub fn catalog_of(info: &CommitInfo) -> Option<String> {
    info.0.get::<Object>(COMMIT_INFO_KEY)?.get("catalogId")
}

/// The id of a commit that a catalog of ours made, from its `commitInfo`; `None` for any other commit.
pub fn id_of(info: &CommitInfo) -> Option<CommitId> {
    info.0.get::<Object>(COMMIT_INFO_KEY)?.raw("catalogId")?;
    info.0.get::<String>("txnId")?.parse().ok()
}

/// The catalog that made a commit, and the table as it was then, from `commitInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommitOrigin {
    /// The catalog's id.
    pub catalog: Uuid,
    /// The catalog's epoch.
    pub epoch: Uuid,
    /// The table's id.
    pub table: TableId,
    /// The table's name.
    pub name: TableName,
    /// The table's owner. Commits of earlier versions of this library do not name it.
    pub owner: Option<TableOwner>,
}

impl CommitOrigin {
    /// Reads it from `commitInfo`; `None` when no catalog of ours made the commit.
    pub fn of(info: &CommitInfo) -> Option<Self> {
        let member = info.0.get::<Object>(COMMIT_INFO_KEY)?;
        let text = |key| member.get::<String>(key);
        Some(Self {
            catalog: text("catalogId")?.parse().ok()?,
            epoch: text("epoch")?.parse().ok()?,
            table: text("tableId")?.parse().ok()?,
            name: text("table")?.parse().ok()?,
            owner: text("owner").and_then(|owner| owner.parse().ok()),
        })
    }
}

/// The transaction over several tables that a commit belongs to, from its `commitInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// The catalog that committed it.
    pub catalog: String,
    /// The id that all its commits share.
    pub id: String,
    /// The names of all tables that it changed.
    pub participants: Vec<TableName>,
    /// The ids of these tables, in the same order; empty for a commit of an earlier version of this library.
    pub tables: Vec<TableId>,
}

impl Group {
    /// Reads it from `commitInfo`; `None` for a commit to one table.
    pub fn of(info: &CommitInfo) -> Option<Self> {
        let member = info.0.get::<Object>(COMMIT_INFO_KEY)?;
        let participants = member.get::<Vec<String>>("participants")?;
        let participants = participants.iter().filter_map(|name| name.parse().ok()).collect();
        let tables = member.get::<Vec<String>>("participantIds").unwrap_or_default();
        let tables = tables.iter().filter_map(|id| id.parse().ok()).collect();
        Some(Self { catalog: member.get("catalogId")?, id: member.get("groupId")?, participants, tables })
    }
}
