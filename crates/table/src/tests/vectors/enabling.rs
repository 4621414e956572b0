//! Deletion vectors are turned on for a table that exists, and off again.

use super::*;

const ON: &str = "delta.enableDeletionVectors";

/// A table with another protocol.
async fn with_protocol(fixture: &Fixture, name: &str, protocol: Protocol, mapped: bool) -> DeltaTable {
    let table = fixture.create(name, "id long, day string", &[]).await;
    let mut head = table.head().await.unwrap();
    if mapped {
        let mut schema: serde_json::Value = serde_json::from_str(&head.metadata.schema_string).unwrap();
        for (n, field) in schema["fields"].as_array_mut().unwrap().iter_mut().enumerate() {
            field["metadata"] = serde_json::json!({
                "delta.columnMapping.id": n + 1,
                "delta.columnMapping.physicalName": format!("col-{n}"),
            });
        }
        head.metadata.schema_string = schema.to_string();
        let mapping = [("delta.columnMapping.mode", "name"), ("delta.columnMapping.maxColumnId", "2")];
        head.metadata.configuration.extend(mapping.map(|(k, v)| (k.into(), Some(v.into()))));
    }
    let actions = vec![Action::Protocol(protocol), Action::Metadata(head.metadata)];
    let request = CommitRequest::new(fixture.id(name).await, Uuid::nil(), Base::Exactly(0), actions);
    fixture.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    table
}

fn protocol(reader: i32, writer: i32, features: Option<[&[&str]; 2]>) -> Protocol {
    let [of_readers, of_writers] = match features {
        None => [None, None],
        Some(lists) => lists.map(|list| Some(list.iter().map(|f| f.to_string()).collect())),
    };
    Protocol {
        min_reader_version: reader,
        min_writer_version: writer,
        reader_features: of_readers,
        writer_features: of_writers,
        extra: Default::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_turns_vectors_on_lists_the_features_that_it_had() {
    let fixture = Fixture::new();
    let options = WriteOptions::default();
    let legacy =
        ["appendOnly", "changeDataFeed", "checkConstraints", "deletionVectors", "generatedColumns", "invariants"];
    let mapped =
        ["appendOnly", "changeDataFeed", "checkConstraints", "columnMapping", "deletionVectors", "generatedColumns"];
    let ntz: &[&str] = &["timestampNtz"];
    for (name, old, readers, writers) in [
        (
            "basic",
            protocol(1, 2, None),
            &["deletionVectors"] as &[&str],
            &["appendOnly", "deletionVectors", "invariants"] as &[&str],
        ),
        ("generated", protocol(1, 4, None), &["deletionVectors"], &legacy),
        (
            "mapped",
            protocol(2, 5, None),
            &["columnMapping", "deletionVectors"],
            &[&mapped[..], &["invariants"]].concat(),
        ),
        (
            "listed",
            protocol(3, 7, Some([ntz, ntz])),
            &["deletionVectors", "timestampNtz"],
            &["appendOnly", "deletionVectors", "invariants", "timestampNtz"],
        ),
    ] {
        let table = with_protocol(&fixture, name, old, name == "mapped").await;
        append(&table, 0..100).await;
        table.set_properties(&[(ON, "true")], &options).await.unwrap();
        let new = deltalakedb_log::features::sorted(&table.head().await.unwrap().protocol);
        assert_eq!(new, protocol(3, 7, Some([readers, writers])), "{name}");
        assert_eq!(table.head().await.unwrap().metadata.property(ON), Some("true"));
        table.delete(Some("id = 1"), &options).await.unwrap();
        assert_eq!(hidden(&live(&table).await), [Some(1)], "{name}");
        // Another property leaves the protocol as it is.
        table.set_properties(&[("delta.logRetentionDuration", "interval 9 days")], &options).await.unwrap();
        assert_eq!(deltalakedb_log::features::sorted(&table.head().await.unwrap().protocol), new, "{name}");

        table.set_properties(&[(ON, "false")], &options).await.unwrap();
        assert_eq!(deltalakedb_log::features::sorted(&table.head().await.unwrap().protocol), new, "{name}");
        assert_eq!(hidden(&live(&table).await), [Some(1)], "{name}");
        assert_eq!(contents(&table).await.len(), 99, "{name}");
        if name == "mapped" {
            continue;
        }
        // Rows that are deleted now are not hidden: their file is rewritten, without those that were.
        table.delete(Some("id = 2"), &options).await.unwrap();
        assert_eq!(hidden(&live(&table).await), [None], "{name}");
        assert_eq!(contents(&table).await.into_keys().take(2).collect::<Vec<_>>(), [0, 3], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_feature_lists_the_features_that_the_table_had() {
    let fixture = Fixture::new();
    let table = with_protocol(&fixture, "t", protocol(2, 5, None), true).await;
    let add = |raise_versions| Alter::AddFeatures { names: vec!["deletionVectors".into()], raise_versions };
    table.alter(add(true), &WriteOptions::default()).await.unwrap();
    let new = deltalakedb_log::features::sorted(&table.head().await.unwrap().protocol);
    assert_eq!(new.reader_features.unwrap(), ["columnMapping", "deletionVectors"]);
    assert!(new.writer_features.unwrap().contains(&"generatedColumns".into()));
    append(&table, 0..10).await;
    assert_eq!(contents(&table).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_table_has_vectors_only_when_asked() {
    let fixture = Fixture::new();
    let plain = fixture.create("plain", "id long, day string", &[]).await;
    assert_eq!(plain.head().await.unwrap().protocol, protocol(1, 2, None));
    append(&plain, 0..10).await;
    plain.delete(Some("id = 1"), &WriteOptions::default()).await.unwrap();
    assert_eq!(hidden(&live(&plain).await), [None]);
    let asked = create(&fixture, "asked", &[], &[]).await;
    let head = asked.head().await.unwrap();
    assert_eq!((head.protocol.min_reader_version, head.protocol.min_writer_version), (3, 7));
    assert!(deltalakedb_log::features::has_deletion_vectors(&head.protocol));
    assert!(deltalakedb_log::features::has_writer_feature(&head.protocol, "deletionVectors"));
}
