//! What a vacuum is asked to remove, and what it removed.

use std::time::Duration;

use deltalakedb_log::Version;
use object_store::path::Path;

/// What to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vacuum {
    /// Versions that were the table's newest within this time keep their files; `None`: the table's
    /// `delta.deletedFileRetentionDuration`, a week where it has none.
    pub retain: Option<Duration>,
    /// Only files that the log knows are removed, and the table's folder is not listed.
    pub lite: bool,
    /// Only says what would be removed.
    pub dry_run: bool,
    /// Refuses a `retain` that is shorter than the table's own.
    pub enforce_retention: bool,
    /// Versions that keep their files, however old they are.
    pub keep_versions: Vec<Version>,
}

impl Default for Vacuum {
    fn default() -> Self {
        Self { retain: None, lite: false, dry_run: false, enforce_retention: true, keep_versions: Vec::new() }
    }
}

/// What was removed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// The files, by their paths below the table, sorted.
    pub files: Vec<String>,
    /// Their bytes, as far as they are known.
    pub bytes: u64,
    /// How many files more there would be, if readers did not hold versions that need them.
    pub held: u64,
}

impl Vacuumed {
    pub(super) fn of(found: &[(Path, u64)]) -> Self {
        let mut files: Vec<_> = found.iter().map(|(path, _)| path.to_string()).collect();
        files.sort();
        Self { files, bytes: found.iter().map(|(_, size)| size).sum(), held: 0 }
    }
}

pub(super) fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn hours(d: Duration) -> f64 {
    (d.as_secs_f64() / 36.0).round() / 100.0
}
