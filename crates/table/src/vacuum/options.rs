//! The options of a vacuum, and its result.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deltalakedb_log::Version;
use object_store::path::Path;

/// The options of a vacuum.
#[derive(Clone, Debug)]
pub struct Vacuum {
    /// Versions that were the table's newest within this time keep their files; `None`: the table's
    /// `delta.deletedFileRetentionDuration`, by default a week.
    pub retain: Option<Duration>,
    /// Only files that the log names are removed, and the table's folder is not listed.
    pub lite: bool,
    /// Only reports what would be removed.
    pub dry_run: bool,
    /// Rejects a `retain` that is shorter than the table's own.
    pub enforce_retention: bool,
    /// Versions whose files are kept, however old they are.
    pub keep_versions: Vec<Version>,
    /// Whether no other program writes to the table, and the caller has no commit to be made: files that no version
    /// names are removed however new they are.
    pub sole_writer: bool,
    /// Further files that are kept.
    pub spare: SparedFiles,
}

/// Files that a vacuum keeps although no version needs them: those of a program that owns the table, such as files of a
/// commit to be made that are older than [`MAX_TIMEOUT`](crate::MAX_TIMEOUT), or files that are not data.
///
/// ```
/// use deltalakedb_table::{SparedFiles, Vacuum};
///
/// let spare = SparedFiles::by(|path| path == "manifest.json" || path.ends_with("/manifest.json"));
/// let vacuum = Vacuum { spare, ..Vacuum::default() };
/// # let _ = vacuum;
/// ```
#[derive(Clone, Default)]
pub struct SparedFiles(Option<Arc<Test>>);

type Test = dyn Fn(&str) -> bool + Send + Sync;

impl SparedFiles {
    /// The files whose paths below the table satisfy a test, which is called when the vacuum has found what can be
    /// removed.
    pub fn by(is_spared: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(is_spared)))
    }

    pub(super) fn has(&self, path: &Path) -> bool {
        self.0.as_ref().is_some_and(|is_spared| is_spared(path.as_ref()))
    }
}

impl fmt::Debug for SparedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SparedFiles").field(&self.0.is_some()).finish()
    }
}

impl Default for Vacuum {
    fn default() -> Self {
        Self {
            retain: None,
            lite: false,
            dry_run: false,
            enforce_retention: true,
            keep_versions: Vec::new(),
            sole_writer: false,
            spare: SparedFiles::default(),
        }
    }
}

/// The removed files, or those that would be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vacuumed {
    /// The paths of the files below the table, sorted.
    pub files: Vec<String>,
    /// Their total size, as far as known.
    pub bytes: u64,
    /// How many more files would be removed if readers did not hold versions that need them.
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
