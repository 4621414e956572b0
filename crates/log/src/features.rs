//! Table features: what this library reads, and what it may write (PROTOCOL.md, "Table Features").

use crate::action::Protocol;
use crate::error::{Result, Subject, TxnLogError};

/// Reader features that this library supports.
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

/// Writer features that a commit to this log can satisfy. The code that writes data files must follow a feature's rules
/// for these files.
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

/// Writer features whose rules are not implemented. A table may enable them, and takes no commits after that.
const KNOWN: &[&str] = &["icebergCompatV1", "identityColumns", "rowTracking"];

/// Further writer features whose commits are tracked as other engines write them
/// ([`Content::Verbatim`](crate::commit::Content::Verbatim)). The engine that writes data files and commits must follow
/// their rules; the log only has to keep all actions.
const TRACKED: &[&str] = &[
    "allowColumnDefaults",
    CATALOG_MANAGED,
    "clustering",
    "icebergCompatV1",
    "icebergCompatV2",
    "identityColumns",
    "rowTracking",
    "typeWidening",
    "typeWidening-preview",
    "variantShredding-preview",
];

/// The feature of tables whose commits are decided by a catalog. A reader that opens such a table by its path alone may
/// miss the newest versions, so the feature is not in [`READABLE`].
pub(crate) const CATALOG_MANAGED: &str = "catalogManaged";

/// The features that older writer versions imply.
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

/// The same protocol with its features in one order, since their order means nothing.
pub fn sorted(protocol: &Protocol) -> Protocol {
    let mut sorted = protocol.clone();
    for features in [&mut sorted.reader_features, &mut sorted.writer_features].into_iter().flatten() {
        features.sort_unstable();
    }
    sorted
}

/// An error that names the first reader feature (or version) this library does not know.
pub fn check_readable(protocol: &Protocol, table: &str) -> Result<()> {
    check_reader(protocol, table, |feature| READABLE.contains(&feature))
}

fn check_reader(protocol: &Protocol, table: &str, knows: impl Fn(&str) -> bool) -> Result<()> {
    if protocol.min_reader_version > 3 {
        return Err(TxnLogError::invalid(format!(
            "{table} needs reader version {}, and 3 is the newest that is supported: read it with the engine that \
             wrote it",
            protocol.min_reader_version
        )));
    }
    match protocol.reader_features.iter().flatten().find(|f| !knows(f)) {
        Some(feature) => Err(TxnLogError::invalid(format!(
            "{table} needs the reader feature {feature:?}, which is not supported: read it with an engine that \
             supports it"
        ))),
        None => Ok(()),
    }
}

/// An error that names the first writer feature (or version) whose rules a commit here would not keep.
pub fn check_writable(protocol: &Protocol, table: &str) -> Result<()> {
    check_readable(protocol, table)?;
    check(protocol, table, "supported for writing", |feature| WRITABLE.contains(&feature))
}

/// Returns an error that names the first feature (or version) whose rules for keeping the log are unknown.
pub fn check_tracked(protocol: &Protocol, table: &str) -> Result<()> {
    check_reader(protocol, table, |feature| READABLE.contains(&feature) || feature == CATALOG_MANAGED)?;
    check(protocol, table, "tracked here", |feature| WRITABLE.contains(&feature) || TRACKED.contains(&feature))
}

/// The same check for a protocol whose commit has no other action: there is no action that could violate a rule.
pub(crate) fn check_known(protocol: &Protocol, table: &str) -> Result<()> {
    check_readable(protocol, table)?;
    let takes = |feature: &str| WRITABLE.contains(&feature) || KNOWN.contains(&feature);
    check(protocol, table, "supported for writing", takes)
}

fn check(protocol: &Protocol, table: &str, how: &str, takes: impl Fn(&str) -> bool) -> Result<()> {
    let refuse = |what: String, subject| {
        let message = format!("{table} needs {what}, which is not {how}: nothing was written");
        Err(TxnLogError::invalid(message).about(subject))
    };
    match protocol.min_writer_version {
        8.. => refuse(format!("writer version {}", protocol.min_writer_version), Subject::Commit),
        7 => match protocol.writer_features.iter().flatten().find(|f| !takes(f)) {
            Some(feature) => {
                refuse(format!("the writer feature {feature:?}"), Subject::UnsupportedFeature(feature.clone()))
            }
            None => Ok(()),
        },
        // Version 6 means that identity columns *may* be in use; writers of data files reject tables that have some.
        _ => Ok(()),
    }
}
