//! How long history is retained, and where it may end.
//!
//! A table retains the versions of a period and a number of the newest ones: a version expires when both allow it. The
//! retention of a table is set by its properties, and by the catalog for tables without them. Expiry is a catalog's
//! [`HistoryExpiry`]; [`HistoryLimits`] decides where history may end, for every catalog.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::action::{Metadata, Version};
use crate::error::{Result, TxnLogError};
use crate::ids::TableId;
use crate::owner::Committer;
use crate::time::parse_interval;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The default retention of history, as in Delta.
pub const DEFAULT_TIME: Duration = DAY.saturating_mul(30);
/// The default retention of tombstones, as in Delta.
const DEFAULT_TOMBSTONES: Duration = DAY.saturating_mul(7);
/// A commit can be looked up by its id for at least this time in milliseconds, also when its version has expired, so
/// that a client that lost an answer can find the result of its commit some days later.
pub const COMMIT_IDS_MS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// The table property for the time that history is retained.
pub const TIME_PROPERTY: &str = "delta.logRetentionDuration";
/// The table property for the number of newest versions that are retained, however old they are.
pub const VERSIONS_PROPERTY: &str = "deltalakedb.retention.versions";
const TOMBSTONES_PROPERTY: &str = "delta.deletedFileRetentionDuration";

/// The maximum number of versions that a step expires.
pub const STEP_VERSIONS: u64 = 500;
/// A step expires no further version when those it has expired have this many file actions.
pub const STEP_FILES: u64 = 10_000;

/// How much history is retained; `None` where it is not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Versions that were the newest within this time are retained.
    pub time: Option<Duration>,
    /// This many of the newest versions are retained, however old they are.
    pub versions: Option<u64>,
}

impl Retention {
    /// The retention in a table's properties.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when a property cannot be parsed: nothing expires by an invalid setting.
    pub fn of_table(metadata: &Metadata) -> Result<Self> {
        let versions = metadata.property(VERSIONS_PROPERTY).map(parse_versions).transpose()?;
        Ok(Self { time: interval(metadata, TIME_PROPERTY)?, versions })
    }

    /// This retention, with fields that are not set taken from `other`.
    pub fn or(self, other: Self) -> Self {
        Self { time: self.time.or(other.time), versions: self.versions.or(other.versions) }
    }

    /// What a table retains at that time. History is never shorter than the retention of the table's tombstones,
    /// because readers of `_delta_log` need those and the files that they name.
    pub fn keep(self, metadata: &Metadata, now_ms: i64) -> Result<Keep> {
        let time = self.time().max(tombstone_retention(metadata)?);
        Ok(Keep {
            since_ms: before(now_ms, time),
            versions: self.versions.unwrap_or(1).max(1),
            ids_since_ms: now_ms.saturating_sub(COMMIT_IDS_MS),
        })
    }

    /// How long history is retained.
    pub fn time(self) -> Duration {
        self.time.unwrap_or(DEFAULT_TIME)
    }
}

/// How long a table keeps its tombstones, and the files that were removed.
///
/// # Errors
/// [`crate::ErrorKind::Invalid`] when the property cannot be read: the default may be shorter than what was meant, and
/// files would be deleted that readers still need.
pub fn tombstone_retention(metadata: &Metadata) -> Result<Duration> {
    Ok(interval(metadata, TOMBSTONES_PROPERTY)?.unwrap_or(DEFAULT_TOMBSTONES))
}

/// The value of the property [`VERSIONS_PROPERTY`].
pub fn parse_versions(text: &str) -> Result<u64> {
    let number = text.trim().parse::<u64>().ok().filter(|n| *n > 0);
    number.ok_or_else(|| wrong(VERSIONS_PROPERTY, text, "a number of versions, 1 or more"))
}

/// The time that is `time` before `now_ms`, in milliseconds since 1970.
pub fn before(now_ms: i64, time: Duration) -> i64 {
    now_ms.saturating_sub(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

fn interval(metadata: &Metadata, property: &str) -> Result<Option<Duration>> {
    let read = |text: &str| {
        parse_interval(text).ok_or_else(|| wrong(property, text, "an interval such as \"interval 30 days\""))
    };
    metadata.property(property).map(read).transpose()
}

fn wrong(property: &str, value: &str, expected: &str) -> TxnLogError {
    TxnLogError::invalid(format!(
        "the table property {property} is {value:?}, which cannot be read: set it to {expected}"
    ))
}

/// What a table retains of its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Versions that were the newest at that time or later, in milliseconds since 1970.
    pub since_ms: i64,
    /// The number of newest versions that are retained.
    pub versions: u64,
    /// The ids of commits made at that time or later are retained, and those of all retained versions.
    pub ids_since_ms: i64,
}

/// The limits of where the history of a table may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// The oldest retained version.
    pub base: Version,
    /// The newest version.
    pub current: Version,
    /// The newest version that is in `_delta_log`.
    pub published: Option<Version>,
    /// The version that was the newest at [`Keep::since_ms`]; `None` when that is before all retained versions.
    pub newest_then: Option<Version>,
    /// The oldest version that a reader holds.
    pub held: Option<Version>,
}

impl HistoryLimits {
    /// The oldest version that must be retained: the one that was the newest at the start of the retention period, or
    /// an older one if it is one of the newest `versions`, is not published, has no published version after it, or is
    /// held. Expired history is never restored, so the result is not older than the oldest retained version.
    pub fn end(&self, versions: u64) -> Version {
        let by_count = self.current.saturating_add(1).saturating_sub(versions.max(1));
        let by_time = self.newest_then.unwrap_or(self.base);
        let published = self.published.unwrap_or(self.base);
        by_time.min(by_count).min(published).min(self.held.unwrap_or(Version::MAX)).max(self.base)
    }
}

/// One step of the expiry of a table's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The table.
    pub table: TableId,
    /// What is retained.
    pub keep: Keep,
    /// The maximum of the new oldest retained version: readers of `_delta_log` can start there.
    pub up_to: Version,
    /// The committer; for a table with an owner, in the owner's name.
    pub committer: Committer,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// The oldest retained version.
    pub base_version: Version,
    /// The number of expired versions.
    pub versions: u64,
    /// The number of files that are in no version any more.
    pub files: u64,
    /// Whether nothing is left to expire.
    pub is_done: bool,
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = crate::time::format_ms(self.since_ms);
        match self.versions {
            1 => write!(f, "what was the newest at {since} or later"),
            n => write!(f, "what was the newest at {since} or later, and the newest {n} versions"),
        }
    }
}

/// Expires the history of tables.
///
/// # Contract
/// - *Atomic*: each call is one transaction. It increases the oldest retained version and removes what no version from
///   it on needs: commits and their bytes, removed files, tombstones, superseded txns, domains, metadata and protocols.
///   The content of every retained version stays the same.
/// - *Bounded*: a step expires at most [`STEP_VERSIONS`] versions, fewer if they have many files, and at least one. Its
///   cost depends on what it removes, not on the size of the table.
/// - *Repeatable*: a step does nothing when nothing is left to expire. A process may stop between any two steps.
/// - Commit ids are kept after their version has expired, until [`Keep::ids_since_ms`].
/// - Reading an expired version is [`crate::ErrorKind::NotFound`] and names the oldest retained one. A read in progress
///   of a version that expires fails instead of returning a partial answer, unless the version was the newest when the
///   read began.
#[async_trait]
pub trait HistoryExpiry: Send + Sync + fmt::Debug {
    /// The oldest version of a table that must be retained, as [`HistoryLimits`] decides.
    async fn end_of_history(&self, table: TableId, keep: &Keep) -> Result<Version>;

    /// Expires some of a table's history, within its limits: see [`Expired::is_done`].
    async fn expire(&self, expiry: &Expiry) -> Result<Expired>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::actions::metadata;

    #[test]
    fn a_version_expires_when_all_limits_allow_it() {
        let all = HistoryLimits { base: 2, current: 20, published: Some(18), newest_then: Some(10), held: None };
        let end = |limits: HistoryLimits, versions| limits.end(versions);
        assert_eq!(end(all, 1), 10, "by time");
        assert_eq!(end(all, 0), 10);
        assert_eq!(end(all, 15), 6, "by number");
        assert_eq!(end(all, 100), 2, "there are not as many");
        assert_eq!(end(HistoryLimits { newest_then: None, ..all }, 1), 2, "all are young");
        assert_eq!(end(HistoryLimits { newest_then: Some(20), ..all }, 1), 18, "not published");
        assert_eq!(end(HistoryLimits { published: None, ..all }, 1), 2);
        assert_eq!(end(HistoryLimits { held: Some(7), ..all }, 1), 7);
        assert_eq!(end(HistoryLimits { held: Some(1), ..all }, 1), 2, "what has ended does not come back");
    }

    #[test]
    fn table_properties_override_the_retention_of_the_catalog() {
        const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
        let keep = |properties: &str, catalog: Retention| {
            let metadata = metadata(properties);
            let keep = Retention::of_table(&metadata).unwrap().or(catalog).keep(&metadata, 100 * DAY_MS).unwrap();
            (100 - keep.since_ms / DAY_MS, keep.versions, 100 - keep.ids_since_ms / DAY_MS)
        };
        let catalog = Retention { time: Some(10 * DAY), versions: Some(5) };
        assert_eq!(keep("{}", Retention::default()), (30, 1, 7));
        assert_eq!(keep("{}", catalog), (10, 5, 7));
        let own = r#"{"delta.logRetentionDuration":"interval 20 days","deltalakedb.retention.versions":"9"}"#;
        assert_eq!(keep(own, catalog), (20, 9, 7));
        let short = Retention { time: Some(Duration::ZERO), versions: None };
        assert_eq!(keep("{}", short), (7, 1, 7), "as long as tombstones");
        let tombstones = r#"{"delta.deletedFileRetentionDuration":"interval 2 days"}"#;
        assert_eq!(keep(tombstones, short), (2, 1, 7));
        for text in ["a week", "-1 days"] {
            let metadata = metadata(&format!(r#"{{"{TOMBSTONES_PROPERTY}":"{text}"}}"#));
            for error in [tombstone_retention(&metadata).unwrap_err(), short.keep(&metadata, 0).unwrap_err()] {
                let error = error.to_string();
                assert!(error.contains(TOMBSTONES_PROPERTY) && error.contains(text), "{error}");
            }
        }
        for (key, value) in [(TIME_PROPERTY, "soon"), (VERSIONS_PROPERTY, "0"), (VERSIONS_PROPERTY, "all")] {
            let error = Retention::of_table(&metadata(&format!(r#"{{"{key}":"{value}"}}"#))).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
    }
}
