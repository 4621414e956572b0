//! The lifecycle of a table in a catalog: it is renamed, dropped, undropped, detached.
//!
//! Each change is one transaction of the catalog. Work outside the catalog is done before it if it requires a live
//! table (publishing), and after it if it cannot be undone (deleting files): a process that ends in between leaves a
//! table that is live, or one that is dropped and whose files [are still to be deleted](TableState::Deleting).

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::action::Version;
use crate::entry::{NewTable, TableEntry};
use crate::error::{ErrorKind, Result, TxnLogError};
use crate::ids::{TableId, TableName};
use crate::location::Location;
use crate::mirror::Lease;
use crate::owner::{Committer, TableOwner};
use crate::reader::TxnLogReader;
use crate::retention::COMMIT_IDS_MS;
use crate::time::format_ms;

/// Changes to the lifecycle of a catalog's tables.
///
/// # Contract
/// - *Atomic*: each call is one transaction, with an entry in the audit.
/// - *Exclusive*: a call and a commit to the same table are serialized. A commit after a drop is
///   [`ErrorKind::NotFound`] and says what happened to the table; a commit after a rename succeeds.
/// - A table keeps its id, its history and the ids of its commits when it is renamed or dropped.
/// - A table with an owner is renamed, dropped and undropped only in the owner's name; otherwise the call is
///   [`ErrorKind::Invalid`].
/// - No call reads or writes a file.
#[async_trait]
pub trait TableLifecycle: Send + Sync + fmt::Debug {
    /// Renames a table; no other table may have the new name.
    async fn rename_table(&self, table: TableId, to: &TableName, committer: &Committer) -> Result<TableEntry>;

    /// Removes a table from the catalog: its name is free again and nothing is published any more. The caller holds the
    /// lease for publishing the table, so no other process publishes at the same time; the lease ends with the table.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when the lease is no longer the newest, when the newest version is not
    /// [`DropTable::at_version`], or when committed versions are not published, unless [`DropTable::allow_unpublished`]
    /// is set; [`ErrorKind::Invalid`] when its files are to be deleted and other tables [use](crate::TableReferences)
    /// some of them, or a reader [holds](crate::VersionHolds) a version.
    async fn drop_table(&self, lease: &Lease, drop: &DropTable) -> Result<()>;

    /// Restores a dropped table, under its name or another one.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] when its name or its place has been taken since, [`ErrorKind::NotFound`] when its
    /// retention has ended, [`ErrorKind::Invalid`] when its files were deleted, it was detached, its place is now
    /// inside that of another table or contains one, or it has an owner that is not the committer's.
    async fn undrop_table(&self, table: TableId, name: Option<&TableName>, committer: &Committer)
    -> Result<TableEntry>;

    /// Records that the files of a table that was dropped [with its files](DropMode::DeleteFiles) are deleted, so that
    /// its place is free again. Does nothing if that is recorded already.
    async fn mark_files_deleted(&self, table: TableId) -> Result<()>;

    /// A table in the catalog that is not live; `None` for any other.
    async fn inactive_table(&self, table: TableId) -> Result<Option<InactiveTable>>;

    /// At most `limit` of the tables that are not live, in the order of [`InactiveTable::by_name`], and only those
    /// after `after`.
    async fn inactive_tables(&self, after: Option<&InactiveTable>, limit: usize) -> Result<Vec<InactiveTable>>;

    /// The tables that are not live and had that name: the most recent one first, and at most [`SAME_NAME`].
    async fn inactive_named(&self, name: &TableName) -> Result<Vec<InactiveTable>>;

    /// At most `limit` of the tables that are [removable](InactiveTable::is_removable), in the order of
    /// [`InactiveTable::retained_until`] and of their ids, and only those after `after`.
    async fn removable_tables(&self, after: Option<&InactiveTable>, limit: usize) -> Result<Vec<InactiveTable>>;

    /// Removes at most [`STEP_ROWS`] of the rows that the catalog has of a [removable](InactiveTable::is_removable) table.
    /// After the first step the table cannot be undropped; after the last one, which reports it, the catalog has
    /// neither the table nor the ids of its commits.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a table that is live or missing, [`ErrorKind::Invalid`] when it is not removable.
    async fn remove_table(&self, table: TableId) -> Result<RemovedRows>;

    /// The log of a table in this state, for reading.
    fn reader_in(&self, table: TableId, state: TableState) -> Arc<dyn TxnLogReader>;
}

/// The result of one step of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovedRows {
    /// How many rows it removed.
    pub rows: u64,
    /// Whether nothing is left.
    pub is_done: bool,
}

/// The maximum number of rows that a step removes, not counting the few single rows of a table.
pub const STEP_ROWS: u64 = 10_000;
/// The maximum number of inactive tables that are found by one name.
pub const SAME_NAME: usize = 100;

/// The operation of the last commit that a catalog makes to a table that is detached. No catalog manages a log that
/// ends with it.
pub const DETACH: &str = "DETACH TABLE";

/// How a table is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropTable {
    /// What happens to the table.
    pub mode: DropMode,
    /// Whether committed versions may be unpublished.
    pub allow_unpublished: bool,
    /// The version that must be the newest; `None` for any.
    pub at_version: Option<Version>,
    /// The committer of the drop.
    pub committer: Committer,
}

/// What happens to a table that is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropMode {
    /// It can be undropped for this time.
    Retain {
        /// Milliseconds.
        ms: i64,
    },
    /// Its files are deleted next: its place is free when they are.
    DeleteFiles,
    /// It remains as a plain Delta table that no catalog manages.
    Detach,
}

/// The state of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableState {
    /// Its history is being loaded, or was loaded in part.
    Loading,
    /// It is visible to every caller.
    Live,
    /// It is dropped and can be undropped.
    Dropped,
    /// It is dropped, and its files are being deleted.
    Deleting,
    /// It is dropped, and its files are deleted.
    Deleted,
    /// It is a plain Delta table.
    Detached,
    /// Its rows in the catalog are being removed.
    Removing,
}

impl TableState {
    const ALL: [Self; 7] =
        [Self::Loading, Self::Live, Self::Dropped, Self::Deleting, Self::Deleted, Self::Detached, Self::Removing];

    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Live => "live",
            Self::Dropped => "dropped",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
            Self::Detached => "detached",
            Self::Removing => "removing",
        }
    }

    /// Parses the name.
    pub fn parse(name: &str) -> Result<Self> {
        let state = Self::ALL.into_iter().find(|state| state.as_str() == name);
        state.ok_or_else(|| TxnLogError::corrupt(format!("a table is in the state {name:?}, which is not known")))
    }

    /// Whether the table occupies its name.
    pub fn holds_name(self) -> bool {
        matches!(self, Self::Loading | Self::Live)
    }

    /// Whether the table occupies its place.
    pub fn holds_location(self) -> bool {
        self.holds_name() || self == Self::Deleting
    }
}

impl DropMode {
    /// The state after a drop in this mode.
    pub fn state(self) -> TableState {
        match self {
            Self::Retain { .. } => TableState::Dropped,
            Self::DeleteFiles => TableState::Deleting,
            Self::Detach => TableState::Detached,
        }
    }

    /// Until when the table can be undropped, or is kept for its [commit ids](crate::retention::COMMIT_IDS_MS) if it
    /// cannot be undropped.
    pub fn retained_until(self, dropped_at: i64) -> i64 {
        dropped_at.saturating_add(match self {
            Self::Retain { ms } => ms,
            Self::DeleteFiles | Self::Detach => COMMIT_IDS_MS,
        })
    }

    /// The action in the audit.
    pub fn action(self) -> &'static str {
        match self {
            Self::Retain { .. } => "DROP TABLE",
            Self::DeleteFiles => "DROP TABLE WITH FILES",
            Self::Detach => DETACH,
        }
    }
}

/// The command that restores a dropped table.
pub fn undrop_command(name: &TableName, owner: Option<&TableOwner>) -> String {
    match owner {
        Some(owner) => format!("dl undrop {name} --owner '{}'", owner.as_str().replace('\'', r"'\''")),
        None => format!("dl undrop {name}"),
    }
}

/// A table that is not live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InactiveTable {
    /// Its id.
    pub id: TableId,
    /// The name it had, or will have.
    pub name: TableName,
    /// The table's location.
    pub location: Location,
    /// The only program that may change it.
    pub owner: Option<TableOwner>,
    /// Its state.
    pub state: TableState,
    /// When it was dropped, in milliseconds since 1970.
    pub dropped_at: Option<i64>,
    /// The end of its retention, in milliseconds since 1970: until then a dropped table can be undropped.
    pub retained_until: Option<i64>,
    /// The oldest retained version, once there is one.
    pub base_version: Option<Version>,
    /// The newest version.
    pub current_version: Option<Version>,
}

impl InactiveTable {
    /// The order of a listing: by name, then by the time of the drop. A table that is not dropped comes last.
    pub fn by_name(a: &Self, b: &Self) -> Ordering {
        let dropped_at = |table: &Self| table.dropped_at.unwrap_or(i64::MAX);
        a.name.cmp(&b.name).then(dropped_at(a).cmp(&dropped_at(b))).then(a.id.cmp(&b.id))
    }

    /// What happened to it, as a sentence without its end.
    fn fate(&self) -> String {
        let (name, place) = (&self.name, &self.location);
        let at = self.dropped_at.map(|ms| format!(" at {}", format_ms(ms))).unwrap_or_default();
        match self.state {
            TableState::Loading => format!("the import of {name} from {place} is not finished"),
            TableState::Live => format!("the table {name} is live"),
            TableState::Dropped => format!("the table {name} was dropped{at}"),
            TableState::Deleting | TableState::Deleted => {
                format!("the table {name} at {place} was dropped{at}, with its files")
            }
            TableState::Detached => format!("the table {name} was detached{at}"),
            TableState::Removing => format!("the table {name} was dropped{at}, and its retention is over"),
        }
    }

    /// What the caller can do.
    fn advice(&self) -> String {
        let (name, place) = (&self.name, &self.location);
        match self.state {
            TableState::Loading => format!("`dl import {place}` continues it, `dl drop {name}` abandons it"),
            TableState::Live => format!("`dl show {name}` shows it"),
            TableState::Dropped => {
                let until = self.retained_until.map(|ms| format!(" until {}", format_ms(ms))).unwrap_or_default();
                format!("`{}` restores it{until}", undrop_command(name, self.owner.as_ref()))
            }
            TableState::Deleting => format!("`dl drop {name} --delete-files` deletes what is left of them"),
            TableState::Deleted => "it cannot be restored".into(),
            TableState::Detached => {
                format!("it is a plain Delta table at {place}, `dl import {place} --as {name}` imports it again")
            }
            TableState::Removing => "its rows in the catalog are being removed".into(),
        }
    }

    /// When the catalog may remove its rows: its retention has ended, and the ids of its commits were kept [as long as
    /// required](COMMIT_IDS_MS).
    fn removable_at(&self) -> Option<i64> {
        Some(self.retained_until?.max(self.dropped_at?.saturating_add(COMMIT_IDS_MS)))
    }

    /// Whether the catalog may remove its rows at that time: it was dropped or detached at least [`COMMIT_IDS_MS`]
    /// before, its files are deleted if they were to be, and its retention has ended.
    pub fn is_removable(&self, now_ms: i64) -> bool {
        match self.state {
            TableState::Loading | TableState::Live | TableState::Deleting => false,
            TableState::Dropped | TableState::Deleted | TableState::Detached => {
                self.removable_at().is_some_and(|at| at <= now_ms)
            }
            TableState::Removing => true,
        }
    }

    /// An error if it cannot be removed at that time.
    pub fn check_removal(&self, now_ms: i64) -> Result<()> {
        if self.is_removable(now_ms) {
            return Ok(());
        }
        if self.state == TableState::Live {
            return Err(TxnLogError::not_found(format!("{}: only a table that was dropped is removed", self.fate())));
        }
        let before = self.removable_at().map(|ms| format!(" before {}", format_ms(ms))).unwrap_or_default();
        let is_retained = self.state != TableState::Dropped || self.check_undrop(now_ms).is_ok();
        let advice = if is_retained { self.advice() } else { "the ids of its commits are kept until then".into() };
        Err(TxnLogError::invalid(format!("{} and is not removed{before}: {advice}", self.fate())))
    }

    /// The error when it is used as a live table.
    pub fn is_not_live(&self) -> TxnLogError {
        TxnLogError::not_found(format!("{}: {}", self.fate(), self.advice()))
    }

    /// The error when this table, live or not, has the name or the place of a new table; `None` when it has neither.
    pub fn in_the_way_of(&self, new: &NewTable) -> Option<TxnLogError> {
        let taken = |what: String| TxnLogError::new(ErrorKind::AlreadyExists, what);
        let same_place = self.location.key() == new.location.key();
        match self.state {
            TableState::Live => new.taken_by(&self.name, &self.location),
            TableState::Loading => {
                let is_taken = self.name == new.name || same_place;
                is_taken.then(|| taken(format!("{}: {}", self.fate(), self.advice())))
            }
            TableState::Deleting => same_place.then(|| {
                let (place, fate, advice) = (&self.location, self.fate(), self.advice());
                taken(format!("the files at {place} are being deleted ({fate}): {advice}"))
            }),
            TableState::Dropped | TableState::Deleted | TableState::Detached | TableState::Removing => None,
        }
    }

    /// An error if it cannot be undropped at that time.
    pub fn check_undrop(&self, now_ms: i64) -> Result<()> {
        match self.state {
            TableState::Dropped => match self.retained_until {
                Some(until) if now_ms >= until => Err(TxnLogError::not_found(format!(
                    "{} and could be undropped until {}",
                    self.fate(),
                    format_ms(until)
                ))),
                _ => Ok(()),
            },
            _ => Err(TxnLogError::invalid(format!("{} and cannot be undropped: {}", self.fate(), self.advice()))),
        }
    }
}

/// The error for an id without a live table. `place` names the catalog.
pub fn no_table(id: TableId, place: &str, inactive: Option<&InactiveTable>) -> TxnLogError {
    match inactive.filter(|table| table.state != TableState::Loading) {
        Some(table) => table.is_not_live(),
        None => TxnLogError::not_found(format!("there is no table with the id {id} in {place}")),
    }
}

/// The error when deleted files are recorded for a table that is not being deleted.
pub fn not_deleting(id: TableId, place: &str, inactive: Option<&InactiveTable>) -> TxnLogError {
    match inactive.filter(|table| table.state != TableState::Live) {
        Some(table) => TxnLogError::invalid(format!("{}: its files were not to be deleted", table.fate())),
        None => no_table(id, place, None),
    }
}

/// Rejects the drop of a table with another owner, of one with unpublished versions, and of one whose newest version is
/// not the expected one.
pub fn check_drop(entry: &TableEntry, drop: &DropTable) -> Result<()> {
    drop.committer.check(&entry.name, entry.owner.as_ref())?;
    if drop.at_version.is_some_and(|version| version != entry.current_version) {
        let message = format!("{} is now at version {}: try again", entry.name, entry.current_version);
        return Err(TxnLogError::new(ErrorKind::Conflict, message));
    }
    let next: Version = entry.published_version.map_or(entry.base_version, |version| version.saturating_add(1));
    let behind = entry.current_version.saturating_add(1).saturating_sub(next);
    if behind == 0 || drop.allow_unpublished {
        return Ok(());
    }
    let (versions, are) = if behind == 1 { ("version", "is") } else { ("versions", "are") };
    let name = &entry.name;
    Err(TxnLogError::new(
        ErrorKind::Conflict,
        format!(
            "{behind} {versions} of {name} {are} committed and not published, so readers of {} would not see the last \
             commits: run `dl mirror run` first",
            entry.location
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_states_round_trip() {
        for state in TableState::ALL {
            assert_eq!(TableState::parse(state.as_str()).unwrap(), state);
        }
        assert!(TableState::parse("sold").unwrap_err().to_string().contains("\"sold\""));
    }

    #[test]
    fn errors_about_inactive_tables_name_the_state_and_the_command() {
        let table = |state| InactiveTable {
            id: TableId(uuid::Uuid::nil()),
            name: "sales.orders".parse().unwrap(),
            location: Location::parse("/nowhere/orders").unwrap(),
            owner: None,
            state,
            dropped_at: Some(1_700_000_000_000),
            retained_until: Some(1_700_000_001_000),
            base_version: Some(0),
            current_version: Some(3),
        };
        for (state, says) in [
            (
                TableState::Dropped,
                "was dropped at 2023-11-14T22:13:20.000Z: `dl undrop sales.orders` restores it until",
            ),
            (TableState::Deleting, "`dl drop sales.orders --delete-files` deletes what is left"),
            (TableState::Deleted, "with its files: it cannot be restored"),
            (TableState::Detached, "`dl import /nowhere/orders --as sales.orders` imports it again"),
            (TableState::Loading, "`dl drop sales.orders` abandons it"),
            (TableState::Removing, "its retention is over: its rows in the catalog are being removed"),
        ] {
            let said = table(state).is_not_live().to_string();
            assert!(said.contains(says), "{said}");
        }
        let owned = InactiveTable { owner: Some("rows:/my data".parse().unwrap()), ..table(TableState::Dropped) };
        let said = owned.is_not_live().to_string();
        assert!(said.contains("`dl undrop sales.orders --owner 'rows:/my data'` restores it until"), "{said}");
        assert!(table(TableState::Dropped).check_undrop(1_700_000_000_999).is_ok());
        let over = table(TableState::Dropped).check_undrop(1_700_000_001_000).unwrap_err();
        assert_eq!(over.kind(), ErrorKind::NotFound);
        assert!(over.to_string().contains("could be undropped until 2023-11-14T22:13:21"), "{over}");
    }
}
