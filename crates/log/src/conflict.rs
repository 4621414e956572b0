//! The earlier commit that a commit conflicts with, and the rule.

use crate::action::Version;
use crate::ids::{TableId, TableName};

/// The rule that a commit violates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConflictKind {
    /// The version exists already.
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
    /// A file that is added has another deletion vector now.
    DeletionVectorChanged(String),
}

/// A concurrent commit conflicts with the request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// The table.
    pub table: TableId,
    /// The table's name.
    pub table_name: TableName,
    /// The version of the concurrent commit.
    pub version: Version,
    /// The operation of that version, such as `DELETE`; `None` where its commit does not record it.
    pub operation: Option<String>,
    /// The rule that is violated.
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

/// An earlier commit that a request conflicts with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WinningCommit {
    /// Its version.
    pub version: Version,
    /// Its operation, such as `DELETE`; `None` where its commit does not record it.
    pub operation: Option<String>,
    /// The rule that the request violates.
    pub kind: ConflictKind,
}
