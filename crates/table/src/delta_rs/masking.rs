//! The protocol and metadata that delta-rs sees, and how those that it writes are translated back.
//!
//! Some table features have no rules for reading or writing data files; the catalog enforces them when it commits.
//! delta-rs rejects tables with them, so they are hidden from it and added to what it writes.

use bytes::Bytes;
use deltalakedb_log::action::{Action, DomainMetadata, Metadata, Protocol, Txn};
use deltalakedb_log::snapshot::{Head, Snapshot};
use deltalakedb_log::{Commit, Location, Object, Result, Subject, TxnLogError, features};
use serde_json::{Value, json};

use super::deletion_vectors::ENABLE_VECTORS;
use super::vector_changes::VectorChanges;
use super::{alias, generated};

/// Features that the catalog enforces; generated columns, whose values are computed before delta-rs gets the rows; and
/// type widening, whose tables can only be read: DataFusion casts the columns of older files.
const HIDDEN_FEATURES: &[&str] = &[
    "domainMetadata",
    "generatedColumns",
    "inCommitTimestamp",
    "typeWidening",
    "typeWidening-preview",
    "vacuumProtocolCheck",
];

/// Properties that depend on these features.
const HIDDEN_PROPERTIES: &[&str] = &[
    "delta.enableInCommitTimestamps",
    "delta.inCommitTimestampEnablementTimestamp",
    "delta.inCommitTimestampEnablementVersion",
];

/// The mirror writes checkpoints: this interval keeps delta-rs from writing some after an optimize, which does not
/// check whether it should.
const CHECKPOINT_INTERVAL: (&str, &str) = ("delta.checkpointInterval", "9223372036854775807");

/// The writer version that adds identity columns, which delta-rs does not support; tables that have some are rejected.
const IDENTITY_COLUMNS: i32 = 6;
const MASKED_IDENTITY_COLUMNS: i32 = 5;

/// The writer version with named features.
const FEATURES: i32 = 7;

/// The features that delta-rs 1.1 supports when it writes data files.
const WRITABLE: &[&str] = &[
    "appendOnly",
    "changeDataFeed",
    "checkConstraints",
    "checkpointProtection",
    "columnMapping",
    "deletionVectors",
    "invariants",
    "timestampNtz",
    "v2Checkpoint",
    "variantType",
    "variantType-preview",
];

/// An error that names the reason why data cannot be written to the table.
pub(crate) fn check_writable(snapshot: &Snapshot, table: &str) -> Result<()> {
    let protocol = &snapshot.head.protocol;
    features::check_writable(protocol, table)?;
    let refuse = |what: &str, subject| {
        let message = format!("{table} {what}, which is not supported for writing: nothing was written");
        Err(TxnLogError::invalid(message).about(subject))
    };
    let unknown = protocol
        .writer_features
        .iter()
        .flatten()
        .find(|f| !WRITABLE.contains(&f.as_str()) && !HIDDEN_FEATURES.contains(&f.as_str()));
    match unknown {
        Some(feature) => {
            refuse(&format!("needs the writer feature {feature:?}"), Subject::UnsupportedFeature(feature.clone()))
        }
        None if snapshot.head.metadata.schema_string.contains("delta.identity.") => {
            refuse("has identity columns", Subject::Commit)
        }
        None => Ok(()),
    }
}

/// The version checksum of a snapshot, from which the table can be opened without reading its files.
pub(super) fn checksum(snapshot: &Snapshot) -> String {
    let txns: Vec<Value> = snapshot.txns.values().map(|t| parsed(&t.to_json())).collect();
    let domains: Vec<Value> = snapshot.domains.values().map(|d| parsed(&d.to_json())).collect();
    json!({
        "tableSizeBytes": 0,
        "numFiles": 0,
        "numMetadata": 1,
        "numProtocol": 1,
        "metadata": parsed(&metadata(&snapshot.head.metadata).to_json()),
        "protocol": parsed(&protocol(&snapshot.head.protocol).to_json()),
        "setTransactions": txns,
        "domainMetadata": domains,
    })
    .to_string()
}

/// The lines of a checkpoint other than its files.
pub(super) fn checkpoint_lines(snapshot: &Snapshot) -> Vec<String> {
    let txns = snapshot.txns.values().map(|t: &Txn| Action::Txn(t.clone()));
    let domains = snapshot.domains.values().map(|d: &DomainMetadata| Action::DomainMetadata(d.clone()));
    [Action::Protocol(protocol(&snapshot.head.protocol)), Action::Metadata(metadata(&snapshot.head.metadata))]
        .into_iter()
        .chain(txns)
        .chain(domains)
        .map(|action| action.to_json())
        .collect()
}

/// A commit as log bytes, with the protocol and metadata for delta-rs.
pub(super) fn commit(actions: &[Action]) -> Bytes {
    let lines = actions.iter().map(|action| match action {
        Action::Protocol(real) => Action::Protocol(protocol(real)).to_json(),
        Action::Metadata(real) => Action::Metadata(metadata(real)).to_json(),
        other => {
            let mut masked = other.clone();
            alias::show(&mut masked);
            masked.to_json()
        }
    });
    lines.map(|line| line + "\n").collect::<String>().into()
}

/// A commit for the reader of change data: every file has an alias, and changes in files with deletion vectors are
/// taken out.
pub(super) fn commit_of_changes(bytes: Bytes, table: &Location) -> Result<(Bytes, VectorChanges)> {
    let mut actions = Commit::parse(bytes, "a commit of the table")?.into_actions();
    let vectors = VectorChanges::take(&mut actions)?;
    actions.iter_mut().try_for_each(|action| alias::show_by_alias(action, table))?;
    Ok((commit(&actions), vectors))
}

/// Restores hidden parts, if delta-rs wrote a new protocol or new metadata. A protocol that is equal to the table's,
/// perhaps in another order, is left out: every concurrent writer would conflict with it.
pub(super) fn restore(actions: &mut Vec<Action>, table: &Head) {
    restore_from(actions, table, &table.metadata);
}

/// Restores them for new metadata that is based on that of another version.
pub(super) fn restore_from(actions: &mut Vec<Action>, table: &Head, source: &Metadata) {
    let has_vectors = |metadata: &Metadata| metadata.is_on(ENABLE_VECTORS);
    let gets_vectors = !has_vectors(&table.metadata)
        && actions.iter().any(|action| matches!(action, Action::Metadata(new) if has_vectors(new)));
    for action in actions.iter_mut() {
        match action {
            Action::Protocol(new) => {
                // delta-rs lists only some of them. Where another feature is added by its name to a table whose columns
                // are not mapped, its list is kept.
                if gets_vectors || features::maps_columns(&table.protocol, &table.metadata) {
                    features::list_implied(new, &table.protocol);
                }
                restore_protocol(new, &table.protocol);
            }
            Action::Metadata(new) => restore_metadata(new, &table.metadata, source),
            _ => {}
        }
    }
    let old = features::sorted(&table.protocol);
    actions.retain(|action| !matches!(action, Action::Protocol(new) if features::sorted(new) == old));
}

fn restore_protocol(new: &mut Protocol, old: &Protocol) {
    for (list, old) in
        [(&mut new.reader_features, &old.reader_features), (&mut new.writer_features, &old.writer_features)]
    {
        let is_hidden = |f: &&String| HIDDEN_FEATURES.contains(&f.as_str()) && !list.iter().flatten().any(|l| l == *f);
        let hidden: Vec<_> = old.iter().flatten().filter(is_hidden).cloned().collect();
        if !hidden.is_empty() {
            list.get_or_insert_default().extend(hidden);
        }
    }
    if (old.min_writer_version, new.min_writer_version) == (IDENTITY_COLUMNS, MASKED_IDENTITY_COLUMNS) {
        new.min_writer_version = IDENTITY_COLUMNS;
    }
    // delta-rs raises the reader version of tables with writer features to that of column mapping in any case.
    let is_mapped = new.writer_features.iter().flatten().any(|feature| feature == "columnMapping");
    if old.min_writer_version >= FEATURES && (old.min_reader_version, new.min_reader_version) == (1, 2) && !is_mapped {
        new.min_reader_version = 1;
    }
    put_back(&mut new.extra, &old.extra);
}

/// Properties enforced by the catalog keep their current value; all others are those of the metadata that the new one
/// is based on.
fn restore_metadata(new: &mut Metadata, now: &Metadata, source: &Metadata) {
    let hidden = now.configuration.iter().filter(|(key, _)| HIDDEN_PROPERTIES.contains(&key.as_str()));
    for (key, value) in hidden {
        new.configuration.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let (key, masked) = CHECKPOINT_INTERVAL;
    if new.property(key) == Some(masked) {
        match source.configuration.get(key) {
            Some(own) => new.configuration.insert(key.into(), own.clone()),
            None => new.configuration.remove(key),
        };
    }
    // A table that was replaced keeps nothing.
    if new.id != source.id {
        return;
    }
    for (key, _) in source.configuration.iter().filter(|(_, value)| value.is_none()) {
        new.configuration.entry(key.clone()).or_insert(None);
    }
    new.schema_string = generated::restore_expressions(&new.schema_string, &source.schema_string);
    new.format = source.format.clone();
    put_back(&mut new.extra, &source.extra);
}

/// Members unknown to delta-rs, which it omits.
fn put_back(new: &mut Object, old: &Object) {
    for (key, value) in old.iter() {
        if new.raw(key).is_none() {
            new.set(key, value);
        }
    }
}

/// Puts the real location into the commit that creates a table: delta-rs writes its internal URL.
pub(super) fn set_location(actions: &mut [Action], location: &Location) {
    for action in actions {
        let Action::CommitInfo(info) = action else { continue };
        let parameters = info.0.get::<Object>("operationParameters");
        if let Some(mut parameters) = parameters.filter(|p| p.raw("location").is_some()) {
            parameters.set("location", location.url().as_str());
            info.0.set("operationParameters", parameters);
        }
    }
}

fn protocol(real: &Protocol) -> Protocol {
    let mut masked = real.clone();
    for features in [&mut masked.reader_features, &mut masked.writer_features].into_iter().flatten() {
        features.retain(|f| !HIDDEN_FEATURES.contains(&f.as_str()));
    }
    if masked.min_writer_version == IDENTITY_COLUMNS {
        masked.min_writer_version = MASKED_IDENTITY_COLUMNS;
    }
    masked
}

fn metadata(real: &Metadata) -> Metadata {
    let mut masked = real.clone();
    masked.schema_string = generated::remove_expressions(&masked.schema_string);
    masked.configuration.retain(|key, value| value.is_some() && !HIDDEN_PROPERTIES.contains(&key.as_str()));
    let (key, never) = CHECKPOINT_INTERVAL;
    masked.configuration.insert(key.into(), Some(never.into()));
    if masked.format.raw("provider").is_none() {
        masked.format.set("provider", "parquet");
    }
    masked
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;

    use super::alias::{path_in_store, path_of_alias, url_of};
    use super::*;

    #[test]
    fn the_change_feed_gets_every_file_by_an_alias_without_encoded_characters() {
        let table = Location::parse("s3://bucket/a%20b/t").unwrap();
        let alias = |path: &str| {
            let add = r#"{"partitionValues":{},"size":1,"modificationTime":1,"dataChange":true,"path":"#;
            let line = format!("{{\"add\":{add}{}}}}}\n", serde_json::to_string(path).unwrap());
            let (bytes, _) = commit_of_changes(line.into(), &table).unwrap();
            let masked = Commit::parse(bytes, "shown").unwrap().into_actions().remove(0);
            let Action::Add(add) = masked else { panic!("{masked:?}") };
            assert_eq!(Path::from(add.path.as_str()), Path::parse(&add.path).unwrap(), "{path}");
            assert_eq!(Path::from(add.path.as_str()), path_in_store(&url_of(path, &table).unwrap(), &table), "{path}");
            path_of_alias(&add.path).unwrap()
        };
        for (path, stands_for) in [
            ("part-0.parquet", "part-0.parquet"),
            ("s3://bucket/a%20b/t/part-0.parquet", "part-0.parquet"),
            ("p=a%252Fb/x!y.parquet", "p=a%252Fb/x!y.parquet"),
            ("p=a b/ü.parquet", "p=a%20b/%C3%BC.parquet"),
            ("p=12:00/x.parquet", "p=12:00/x.parquet"),
            ("s3://other/x%20y.parquet", "s3://other/x%20y.parquet"),
            ("file:///x/y.parquet", "file:///x/y.parquet"),
        ] {
            assert_eq!(alias(path), stands_for);
        }
    }
}
