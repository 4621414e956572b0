//! What `commitInfo` says of a commit of ours: the catalog, its id, and the transaction that it belongs to.

use crate::action::CommitInfo;
use crate::ids::{CommitId, TableName};
use crate::object::Object;

/// The member of `commitInfo` that is ours: catalog, epoch, the table's id and name, and the group the commit belongs to.
pub const COMMIT_INFO_KEY: &str = "deltalakedb";

/// The property of tables with in-commit timestamps.
pub(crate) const ICT: &str = "delta.enableInCommitTimestamps";

/// The id of the catalog that made a commit, from its `commitInfo`; `None` where it was none of ours.
pub fn catalog_of(info: &CommitInfo) -> Option<String> {
    info.0.get::<Object>(COMMIT_INFO_KEY)?.get("catalogId")
}

/// The id of a commit that a catalog of ours made, from its `commitInfo`; `None` for any other.
pub fn id_of(info: &CommitInfo) -> Option<CommitId> {
    info.0.get::<Object>(COMMIT_INFO_KEY)?.raw("catalogId")?;
    info.0.get::<String>("txnId")?.parse().ok()
}

/// The transaction over several tables that a commit belongs to, as its `commitInfo` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The catalog that committed it.
    pub catalog: String,
    /// What all its commits share.
    pub id: String,
    /// The names of all tables that it changed.
    pub participants: Vec<TableName>,
}

impl Group {
    /// From `commitInfo`; `None` where the commit is alone.
    pub fn of(info: &CommitInfo) -> Option<Self> {
        let ours = info.0.get::<Object>(COMMIT_INFO_KEY)?;
        let participants = ours.get::<Vec<String>>("participants")?;
        let participants = participants.iter().filter_map(|name| name.parse().ok()).collect();
        Some(Self { catalog: ours.get("catalogId")?, id: ours.get("groupId")?, participants })
    }
}
