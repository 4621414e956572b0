//! Versions held by readers: while a version is held, it stays in the catalog and its files stay.
//!
//! A hold has an end on the catalog's clock, so the hold of a reader that was killed expires; a reader that takes
//! longer renews its hold in time.

use std::fmt;

use async_trait::async_trait;
use uuid::Uuid;

use crate::action::Version;
use crate::entry::TableEntry;
use crate::error::{Result, TxnLogError};
use crate::ids::{TableId, TableName};
use crate::snapshot::At;
use crate::time::format_ms;
use crate::time_travel;

/// Holds of versions.
///
/// # Contract
/// - *Exclusive*: a hold, and a commit or an expiry of the same table, are serialized.
/// - A held version does not expire, and a vacuum that starts after it was held spares its files. A hold does not
///   restore files that were removed before.
/// - The catalog's clock decides whether a hold has ended.
#[async_trait]
pub trait VersionHolds: Send + Sync + fmt::Debug {
    /// Holds a version until a time, in milliseconds since 1970. Some of the table's holds that have ended are removed.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] for a version that the catalog does not retain, [`crate::ErrorKind::Invalid`] for
    /// a time in the past, and for a holder that is not one line of text.
    async fn hold(&self, table: TableId, version: Version, until_ms: i64, holder: &str) -> Result<Hold>;

    /// Extends a hold and returns it with its new end.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`] when it has ended: files of the version may have been removed since.
    async fn renew_hold(&self, hold: &Hold, until_ms: i64) -> Result<Hold>;

    /// Ends a hold. Does nothing if it has ended already.
    async fn release_hold(&self, hold: &Hold) -> Result<()>;

    /// The holds of a table that have not ended, the oldest version first.
    async fn holds(&self, table: TableId) -> Result<Vec<Hold>>;

    /// Removes holds of a table that have ended, at most [`MAX_REMOVED`] at once.
    async fn remove_ended_holds(&self, table: TableId) -> Result<()>;

    /// The oldest held version of a table.
    async fn oldest_held(&self, table: TableId) -> Result<Option<Version>> {
        Ok(self.holds(table).await?.first().map(|hold| hold.version))
    }
}

/// How many ended holds are removed at once.
pub const MAX_REMOVED: usize = 100;

/// A version held by a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub id: Uuid,
    /// The table.
    pub table: TableId,
    /// The version.
    pub version: Version,
    /// When the hold ends, in milliseconds since 1970.
    pub until_ms: i64,
    /// The holder's name, such as `nightly report`.
    pub holder: String,
}

/// Rejects dropping a table with its files while readers hold versions.
pub fn check_not_held(name: &TableName, holds: &[Hold]) -> Result<()> {
    let Some(last) = holds.iter().max_by_key(|hold| hold.until_ms) else { return Ok(()) };
    let others = match holds.len() - 1 {
        0 => String::new(),
        n => format!(", and there are {n} more holds"),
    };
    Err(TxnLogError::invalid(format!(
        "version {} of {name} is held by {} until {}{others}: drop {name} when all have ended, or without its files",
        last.version,
        last.holder,
        format_ms(last.until_ms)
    )))
}

impl Hold {
    /// Rejects a hold that is not valid for the table at that time.
    pub fn check(&self, table: &TableEntry, now_ms: i64) -> Result<()> {
        if self.holder.trim().is_empty() || self.holder.contains(char::is_control) {
            let message = format!("{:?} does not name a holder: expected a line of text", self.holder);
            return Err(TxnLogError::invalid(message));
        }
        self.check_until(now_ms)?;
        let (base, head) = ((table.base_version, 0), (table.current_version, table.current_timestamp));
        time_travel::resolve(&table.name.to_string(), At::Version(self.version), Some(base), Some(head), |_| None)?;
        Ok(())
    }

    /// Rejects a hold that would have ended at that time.
    pub fn check_until(&self, now_ms: i64) -> Result<()> {
        if self.until_ms > now_ms {
            return Ok(());
        }
        Err(TxnLogError::invalid(format!(
            "a hold until {} has ended already, the catalog's clock says {}: name a later time",
            format_ms(self.until_ms),
            format_ms(now_ms)
        )))
    }

    /// The error for a hold that cannot be renewed.
    pub fn has_ended(&self) -> TxnLogError {
        let (holder, version) = (&self.holder, self.version);
        TxnLogError::not_found(format!(
            "the hold of version {version} by {holder} has ended, and files of the version may have been removed since: \
             hold a version again"
        ))
    }
}
