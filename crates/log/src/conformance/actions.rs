//! Short constructors of actions for tests.

use std::sync::Arc;

use crate::action::{Action, Add, DeletionVector, Metadata, Protocol, Remove};

/// An action from its JSON line.
pub fn action(json: &str) -> Action {
    match Action::parse_line(json) {
        Ok(mut actions) if actions.len() == 1 => actions.remove(0),
        other => panic!("{json} is not one action: {other:?}"),
    }
}

/// A protocol with features that most checks need.
pub fn protocol() -> Protocol {
    match action(
        r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors","domainMetadata","appendOnly","inCommitTimestamp"]}}"#,
    ) {
        Action::Protocol(p) => p,
        other => panic!("{other:?}"),
    }
}

/// Metadata of a table with `id long, day string`, partitioned by day, with properties as a JSON object.
pub fn metadata(configuration: &str) -> Metadata {
    let schema = r#"{"type":"struct","fields":[{"name":"id","type":"long","nullable":true,"metadata":{}},{"name":"day","type":"string","nullable":true,"metadata":{}}]}"#;
    let json = format!(
        r#"{{"metaData":{{"id":"any string","format":{{"provider":"parquet","options":{{}}}},"schemaString":{},"partitionColumns":["day"],"configuration":{configuration},"createdTime":1}}}}"#,
        serde_json::Value::from(schema)
    );
    match action(&json) {
        Action::Metadata(m) => m,
        other => panic!("{other:?}"),
    }
}

/// A file of partition `day=a` with ids from `min` to `max`.
pub fn file(path: &str, min: i64, max: i64) -> Add {
    let stats =
        format!(r#"{{"numRecords":10,"minValues":{{"id":{min}}},"maxValues":{{"id":{max}}},"nullCount":{{"id":0}}}}"#);
    let json = format!(
        r#"{{"add":{{"path":"{path}","partitionValues":{{"day":"a"}},"size":10,"modificationTime":1,"dataChange":true,"stats":{}}}}}"#,
        serde_json::Value::from(stats)
    );
    match action(&json) {
        Action::Add(add) => Arc::unwrap_or_clone(add),
        other => panic!("{other:?}"),
    }
}

/// The file with a deletion vector of this name.
pub fn with_dv(mut add: Add, name: &str) -> Add {
    add.deletion_vector = Some(DeletionVector {
        storage_type: "u".into(),
        path_or_inline_dv: name.into(),
        offset: Some(1),
        size_in_bytes: 4,
        cardinality: 1,
        extra: Default::default(),
    });
    add
}

/// The remove of a file.
pub fn remove(add: &Add) -> Action {
    Action::Remove(Remove::of(add, 5, true))
}

/// A txn of an application.
pub fn txn(app: &str, version: i64) -> Action {
    action(&format!(r#"{{"txn":{{"appId":"{app}","version":{version}}}}}"#))
}

/// A domain, set or removed.
pub fn domain(name: &str, configuration: &str, removed: bool) -> Action {
    let configuration = serde_json::Value::from(configuration);
    action(&format!(
        r#"{{"domainMetadata":{{"domain":"{name}","configuration":{configuration},"removed":{removed}}}}}"#
    ))
}
