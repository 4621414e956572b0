//! Which earlier commit a commit conflicts with, and by which rule.

use crate::action::Version;
use crate::ids::{TableId, TableName};

/// Which rule a lost race broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConflictKind {
    /// The version is taken.
    VersionTaken,
    /// The table's metadata changed.
    MetadataChanged,
    /// The table's protocol changed.
    ProtocolChanged,
    /// The same application made progress.
    SameApplication(String),
    /// The same domain changed.
    SameDomain(String),
    /// A file that was read has been removed.
    ReadFileRemoved(String),
    /// A file to be removed has been removed.
    FileAlreadyRemoved(String),
    /// A file was added that matches what was read.
    MatchingFileAdded(String),
    /// A file that is added has got another deletion vector.
    DeletionVectorChanged(String),
}

/// A concurrent commit won, and the request conflicts with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The table.
    pub table: TableId,
    /// The name people know it by.
    pub table_name: TableName,
    /// The version that won.
    pub version: Version,
    /// What the version that won did, such as `DELETE`; `None` where its commit does not say.
    pub operation: Option<String>,
    /// The rule.
    pub kind: ConflictKind,
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "version {} of {}", self.version, self.table_name)?;
        if let Some(operation) = &self.operation {
            write!(f, " ({operation})")?;
        }
        match &self.kind {
            ConflictKind::VersionTaken => f.write_str(" is taken")?,
            ConflictKind::MetadataChanged => f.write_str(" changed its schema or properties")?,
            ConflictKind::ProtocolChanged => f.write_str(" changed its protocol")?,
            ConflictKind::SameApplication(a) => write!(f, " has a txn of the same application {a:?}")?,
            ConflictKind::SameDomain(d) => write!(f, " changed the same domain {d:?}")?,
            ConflictKind::ReadFileRemoved(p) => write!(f, " removed the file {p}, which this commit read")?,
            ConflictKind::FileAlreadyRemoved(p) => write!(f, " already removed the file {p}")?,
            ConflictKind::MatchingFileAdded(p) => {
                write!(f, " added the file {p}, which matches what this commit read")?
            }
            ConflictKind::DeletionVectorChanged(p) => {
                write!(f, " changed the deletion vector of the file {p}, which this commit adds")?
            }
        }
        f.write_str(": read the table again and retry")
    }
}

/// A commit that another one conflicts with: it was first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WinningCommit {
    /// Its version.
    pub version: Version,
    /// What it did, such as `DELETE`; `None` where its commit does not say.
    pub operation: Option<String>,
    /// The rule that the later commit breaks.
    pub kind: ConflictKind,
}
