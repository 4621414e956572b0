//! Table features: what this library reads, and what it may write (PROTOCOL.md, "Table Features").

use crate::action::Protocol;
use crate::error::{Result, Subject, TxnLogError};

/// Reader features whose tables are read right.
const READABLE: &[&str] = &[
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "variantShredding-preview",
    "variantType",
    "variantType-preview",
];

/// Writer features a commit to this log can honour. What a feature asks of data files is the duty of who writes them.
const WRITABLE: &[&str] = &[
    "appendOnly",
    "changeDataFeed",
    "checkConstraints",
    "checkpointProtection",
    "columnMapping",
    "deletionVectors",
    "domainMetadata",
    "generatedColumns",
    "inCommitTimestamp",
    "invariants",
    "timestampNtz",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "variantType",
    "variantType-preview",
];

/// Writer features whose rules are not kept here. A table can be made to ask for them, and takes no commits after that.
const KNOWN: &[&str] = &["icebergCompatV1", "identityColumns", "rowTracking"];

/// The features older writer versions imply.
const IMPLIED: &[(i32, &[&str])] = &[
    (2, &["appendOnly", "invariants"]),
    (3, &["checkConstraints"]),
    (4, &["changeDataFeed", "generatedColumns"]),
    (5, &["columnMapping"]),
    (6, &["identityColumns"]),
];

/// Whether the protocol lets writers use `feature`.
pub fn has_writer_feature(protocol: &Protocol, feature: &str) -> bool {
    match protocol.min_writer_version {
        7.. => protocol.writer_features.iter().flatten().any(|f| f == feature),
        v => IMPLIED.iter().any(|(from, features)| v >= *from && features.contains(&feature)),
    }
}

/// An error that names the first reader feature (or version) this library does not know.
pub fn check_readable(protocol: &Protocol, table: &str) -> Result<()> {
    if protocol.min_reader_version > 3 {
        return Err(TxnLogError::invalid(format!(
            "{table} needs reader version {}, and 3 is the newest known here: read it with the engine that wrote it",
            protocol.min_reader_version
        )));
    }
    let unknown = protocol.reader_features.iter().flatten().find(|f| !READABLE.contains(&f.as_str()));
    match unknown {
        Some(feature) => Err(TxnLogError::invalid(format!(
            "{table} needs the reader feature {feature:?}, which is not supported: read it with an engine that knows it"
        ))),
        None => Ok(()),
    }
}

/// An error that names the first writer feature (or version) whose rules a commit here would not keep.
pub fn check_writable(protocol: &Protocol, table: &str) -> Result<()> {
    check(protocol, table, |feature| WRITABLE.contains(&feature))
}

/// The same for a protocol that a commit of nothing else brings: there is nothing in it that could break a rule.
pub(crate) fn check_known(protocol: &Protocol, table: &str) -> Result<()> {
    check(protocol, table, |feature| WRITABLE.contains(&feature) || KNOWN.contains(&feature))
}

fn check(protocol: &Protocol, table: &str, takes: impl Fn(&str) -> bool) -> Result<()> {
    check_readable(protocol, table)?;
    let refuse = |what: String| {
        let message = format!("{table} needs {what}, which is not supported for writing: nothing was written");
        Err(TxnLogError::invalid(message).about(Subject::Commit))
    };
    match protocol.min_writer_version {
        8.. => refuse(format!("writer version {}", protocol.min_writer_version)),
        7 => match protocol.writer_features.iter().flatten().find(|f| !takes(f)) {
            Some(feature) => refuse(format!("the writer feature {feature:?}")),
            None => Ok(()),
        },
        // Version 6 means that identity columns *may* be in use; who writes data files refuses where they are.
        _ => Ok(()),
    }
}
