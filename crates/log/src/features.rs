//! Table features: what this library reads, and what it may write (PROTOCOL.md, "Table Features").

use crate::action::{Metadata, Protocol};
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

/// The first reader and writer versions that list features by name.
const READER_LISTS: i32 = 3;
const WRITER_LISTS: i32 = 7;

/// The reader version that implies column mapping, the only feature among [`IMPLIED`] that readers must know.
const READER_COLUMN_MAPPING: i32 = 2;

/// Lists in `new`, a protocol that replaces `old`, the features that the versions of `old` imply: versions with lists
/// imply none, so a writer would no longer know for example that the table has generated columns.
///
/// Identity columns are not listed. Tables that have some take no writes here, and other tables with writer version 6
/// would take none after the upgrade.
pub fn list_implied(new: &mut Protocol, old: &Protocol) {
    let maps_columns = old.min_reader_version >= READER_COLUMN_MAPPING && has_writer_feature(old, "columnMapping");
    if old.min_writer_version < WRITER_LISTS && new.min_writer_version >= WRITER_LISTS {
        let implied = IMPLIED.iter().flat_map(|(_, features)| *features).filter(|f| has_writer_feature(old, f));
        let unlisted = |f: &&&str| **f != "identityColumns" && (maps_columns || **f != "columnMapping");
        implied.filter(unlisted).for_each(|feature| list(&mut new.writer_features, feature));
    }
    if old.min_reader_version < READER_LISTS && new.min_reader_version >= READER_LISTS && maps_columns {
        list(&mut new.reader_features, "columnMapping");
    }
}

/// Adds a feature to a list that does not have it yet.
fn list(features: &mut Option<Vec<String>>, feature: &str) {
    let features = features.get_or_insert_default();
    if !features.iter().any(|listed| listed == feature) {
        features.push(feature.into());
    }
}

/// Whether the protocol lets writers use `feature`.
pub fn has_writer_feature(protocol: &Protocol, feature: &str) -> bool {
    match protocol.min_writer_version {
        WRITER_LISTS.. => protocol.writer_features.iter().flatten().any(|f| f == feature),
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

/// The protocol with further features, by their names in PROTOCOL.md. Only versions that list features can have them, so
/// these versions are set, and the features that the older versions imply are listed as well.
///
/// # Errors
/// As [`check_features`].
pub fn with_features(protocol: &Protocol, features: &[String]) -> Result<Protocol> {
    check_features(features)?;
    let mut new = protocol.clone();
    let for_readers: Vec<_> = features.iter().filter(|feature| READABLE.contains(&feature.as_str())).collect();
    if !features.is_empty() {
        new.min_writer_version = new.min_writer_version.max(WRITER_LISTS);
    }
    if !for_readers.is_empty() {
        new.min_reader_version = new.min_reader_version.max(READER_LISTS);
    }
    list_implied(&mut new, protocol);
    features.iter().for_each(|feature| list(&mut new.writer_features, feature));
    for_readers.into_iter().for_each(|feature| list(&mut new.reader_features, feature));
    Ok(new)
}

/// An error that names the first of these features whose rules a commit here would not keep.
pub fn check_features(features: &[String]) -> Result<()> {
    match features.iter().find(|feature| !WRITABLE.contains(&feature.as_str())) {
        None => Ok(()),
        Some(unknown) => {
            let known = WRITABLE.join(", ");
            let message =
                format!("the table feature {unknown:?} is not supported for writing: expected one of {known}");
            Err(TxnLogError::invalid(message).about(Subject::UnsupportedFeature(unknown.clone())))
        }
    }
}

/// Whether columns have other names in files (column mapping): the mode alone does not matter without the feature.
pub fn maps_columns(protocol: &Protocol, metadata: &Metadata) -> bool {
    let is_readable = protocol.min_reader_version == READER_COLUMN_MAPPING
        || protocol.reader_features.iter().flatten().any(|feature| feature == "columnMapping");
    let mode = metadata.property("delta.columnMapping.mode");
    is_readable
        && has_writer_feature(protocol, "columnMapping")
        && mode.is_some_and(|mode| !mode.eq_ignore_ascii_case("none"))
}

/// Whether files of a table with that protocol may have deletion vectors.
pub fn has_deletion_vectors(protocol: &Protocol) -> bool {
    protocol.reader_features.iter().flatten().any(|feature| feature == "deletionVectors")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Object;

    fn protocol(reader: i32, writer: i32, named: Option<(&[&str], &[&str])>) -> Protocol {
        let list = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        Protocol {
            min_reader_version: reader,
            min_writer_version: writer,
            reader_features: named.map(|(readers, _)| list(readers)).filter(|readers| !readers.is_empty()),
            writer_features: named.map(|(_, writers)| list(writers)),
            extra: Object::default(),
        }
    }

    #[test]
    fn features_are_named_together_with_those_that_older_versions_imply() {
        let check = |before: Protocol, add: &[&str], after: Protocol| {
            let add: Vec<_> = add.iter().map(|name| name.to_string()).collect();
            assert_eq!(with_features(&before, &add).unwrap(), after, "{add:?} to {before:?}");
        };
        let implied = &["appendOnly", "invariants"];
        check(protocol(1, 2, None), &[], protocol(1, 2, None));
        check(
            protocol(1, 2, None),
            &["domainMetadata"],
            protocol(1, 7, Some((&[], &[implied[0], implied[1], "domainMetadata"]))),
        );
        check(
            protocol(1, 2, None),
            &["deletionVectors"],
            protocol(3, 7, Some((&["deletionVectors"], &[implied[0], implied[1], "deletionVectors"]))),
        );
        let mapped = &[
            "appendOnly",
            "invariants",
            "checkConstraints",
            "changeDataFeed",
            "generatedColumns",
            "columnMapping",
            "deletionVectors",
        ];
        check(
            protocol(2, 5, None),
            &["deletionVectors", "deletionVectors"],
            protocol(3, 7, Some((&["columnMapping", "deletionVectors"], mapped))),
        );
        let named = protocol(3, 7, Some((&["deletionVectors"], &["deletionVectors"])));
        check(named.clone(), &["deletionVectors"], named.clone());
        check(
            named,
            &["inCommitTimestamp"],
            protocol(3, 7, Some((&["deletionVectors"], &["deletionVectors", "inCommitTimestamp"]))),
        );
        let error = with_features(&protocol(1, 2, None), &["rowTracking".into()]).unwrap_err().to_string();
        assert!(error.contains("\"rowTracking\" is not supported for writing: expected one of appendOnly"), "{error}");
    }

    #[test]
    fn an_upgrade_lists_the_features_that_the_old_versions_imply() {
        let basic = &["appendOnly", "invariants"];
        let all = &["appendOnly", "invariants", "checkConstraints", "changeDataFeed", "generatedColumns"];
        let mapped = &[all as &[&str], &["columnMapping"]].concat();
        for (old, readers, writers) in [
            (protocol(1, 1, None), &[] as &[&str], &[] as &[&str]),
            (protocol(1, 2, None), &[], basic),
            (protocol(1, 3, None), &[], &["appendOnly", "invariants", "checkConstraints"]),
            (protocol(1, 4, None), &[], all),
            // Both versions must allow column mapping.
            (protocol(1, 5, None), &[], all),
            (protocol(2, 2, None), &[], basic),
            (protocol(2, 5, None), &["columnMapping"], mapped),
            (protocol(2, 6, None), &["columnMapping"], mapped),
            (protocol(1, 7, Some((&[], &["changeDataFeed"]))), &[], &[]),
            (protocol(2, 7, Some((&[], &["columnMapping"]))), &["columnMapping"], &[]),
            (protocol(3, 7, Some((&["timestampNtz"], &["timestampNtz"]))), &[], &[]),
        ] {
            let vectors: &[&str] = &["deletionVectors"];
            let mut new = protocol(3, 7, Some((vectors, vectors)));
            list_implied(&mut new, &old);
            let want = protocol(3, 7, Some((&[vectors, readers].concat(), &[vectors, writers].concat())));
            assert_eq!(new, want, "{old:?}");
        }
        let mut legacy = protocol(2, 5, None);
        list_implied(&mut legacy, &protocol(1, 4, None));
        assert_eq!(legacy, protocol(2, 5, None));
    }
}
