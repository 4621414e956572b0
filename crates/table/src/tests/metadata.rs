//! The metadata for delta-rs differs from the table's, and is translated back.

use deltalakedb_log::Object;
use deltalakedb_log::action::DomainMetadata;

use super::*;

/// A table with features and properties that are hidden from delta-rs, and members that it omits.
async fn elaborate(fixture: &Fixture, name: &str) -> DeltaTable {
    let table = fixture.create(name, "id long, day string", &["day"]).await;
    let mut head = table.head().await.unwrap();
    head.protocol.min_writer_version = 7;
    let features = ["appendOnly", "domainMetadata", "inCommitTimestamp", "invariants", "vacuumProtocolCheck"];
    head.protocol.writer_features = Some(features.map(String::from).to_vec());
    let properties = [
        ("delta.enableInCommitTimestamps", Some("true")),
        ("delta.checkpointInterval", Some("5")),
        ("custom.setting", Some("kept")),
        ("custom.nothing", None),
    ];
    head.metadata.configuration.extend(properties.map(|(k, v)| (k.to_string(), v.map(String::from))));
    head.metadata.extra.set("future", [1, 2]);
    head.metadata.format = serde_json::from_str(r#"{"provider":"parquet","options":{"a":"b"}}"#).unwrap();
    let domain =
        DomainMetadata { domain: "d".into(), configuration: "{}".into(), removed: false, extra: Object::default() };
    let actions =
        vec![Action::Protocol(head.protocol), Action::Metadata(head.metadata), Action::DomainMetadata(domain)];
    let request = CommitRequest::new(fixture.id(name).await, Uuid::from_u128(1), Base::Exactly(0), actions);
    fixture.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    table.write(rows(&[1], &["a"]), SaveMode::Append, &WriteOptions::default()).await.unwrap();
    table
}

/// Changes of metadata that can follow each other in any order.
fn changes() -> Vec<Operation> {
    let evolving = |column: &str| {
        let of = |value: i64| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
        let rows = vec![RecordBatch::try_from_iter([("id", of(5)), (column, of(7))]).unwrap()];
        Operation::Write(WriteRows { schema_mode: Some(SchemaMode::Merge), ..WriteRows::new(rows, SaveMode::Append) })
    };
    let set = |key: &str, value: &str| {
        let properties = HashMap::from([(key.to_string(), value.to_string())]);
        Operation::Alter(Alter::SetProperties { properties, unknown: false })
    };
    vec![
        Operation::Alter(Alter::AddColumns(parse_schema("note string").unwrap())),
        set("delta.logRetentionDuration", "interval 9 days"),
        set("delta.checkpointInterval", "9"),
        Operation::Alter(Alter::SetDescription { name: None, description: Some("about".into()) }),
        Operation::AddConstraints([("positive".into(), "id > 0".into())].into()),
        evolving("n"),
    ]
}

fn features(protocol: &Protocol) -> (i32, i32, Vec<String>) {
    let mut features: Vec<_> =
        protocol.reader_features.iter().chain(&protocol.writer_features).flatten().cloned().collect();
    features.sort();
    (protocol.min_reader_version, protocol.min_writer_version, features)
}

/// The metadata without the parts that differ between two tables created in the same way.
fn essence(mut metadata: Metadata) -> Metadata {
    metadata.configuration.remove("delta.inCommitTimestampEnablementTimestamp");
    Metadata { id: String::new(), created_time: None, ..metadata }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_metadata_changes_in_a_transaction_are_both_applied() {
    let fixture = Fixture::new();
    for first in 0..changes().len() {
        for second in (0..changes().len()).filter(|second| *second != first) {
            let what = format!("changes {first} and {second}");
            let (one, other) = (format!("one_{first}_{second}"), format!("other_{first}_{second}"));
            let (apart, together) = (elaborate(&fixture, &one).await, elaborate(&fixture, &other).await);
            let pick = |which: usize| changes().swap_remove(which);
            let tx = Transaction::begin(fixture.catalog.clone(), TransactionOptions::default()).await.unwrap();
            for change in [first, second] {
                apart.run(pick(change), &WriteOptions::default()).await.unwrap();
                tx.run(&other, pick(change)).await.unwrap();
                let (of_tx, of_table) = (tx.snapshot(&other).await.unwrap(), apart.head().await.unwrap());
                assert_eq!(essence(of_tx.head.metadata), essence(of_table.metadata), "{what}: within");
            }
            tx.commit().await.unwrap();
            let at = |table: &DeltaTable| {
                let table = table.clone();
                async move { table.reader().await.unwrap().snapshot(At::Latest).await.unwrap() }
            };
            let (want, got) = (at(&apart).await, at(&together).await);
            assert_eq!(features(&got.head.protocol), features(&want.head.protocol), "{what}");
            assert_eq!(got.head.protocol.min_reader_version, 1, "{what}: nothing asks readers for more");
            assert_eq!(got.domains, want.domains, "{what}");
            assert_eq!(essence(got.head.metadata.clone()), essence(want.head.metadata), "{what}");
            assert_eq!(got.head.metadata.property("custom.setting"), Some("kept"), "{what}");
            assert_eq!(got.head.metadata.configuration.get("custom.nothing"), Some(&None), "{what}");
            assert_eq!(got.head.metadata.extra.get::<Vec<i64>>("future"), Some(vec![1, 2]), "{what}");
            let options = got.head.metadata.format.get::<Object>("options").unwrap();
            assert_eq!(options.get::<String>("a").as_deref(), Some("b"), "{what}");
            let read = |table: DeltaTable| async move { text(&table.read(&Scan::default()).await.unwrap()) };
            assert_eq!(read(together.clone()).await, read(apart).await, "{what}");
            let body = together.reader().await.unwrap().commit_bytes(got.version()).await.unwrap().unwrap();
            assert!(body.starts_with(b"{\"commitInfo\":{\"inCommitTimestamp\":"), "{what}: {body:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_created_in_a_transaction_keeps_its_properties() {
    let fixture = Fixture::new();
    let tx = Transaction::begin(fixture.catalog.clone(), TransactionOptions::default()).await.unwrap();
    let properties = HashMap::from([("delta.checkpointInterval".to_string(), "5".to_string())]);
    tx.create(fixture.new_table("t"), &parse_schema("id long, day string").unwrap(), &[], &properties).await.unwrap();
    for change in changes() {
        if !matches!(&change, Operation::Alter(Alter::SetProperties { properties, .. }) if properties.contains_key("delta.checkpointInterval"))
        {
            tx.run("t", change).await.unwrap();
        }
    }
    tx.commit().await.unwrap();
    let head = fixture.open("t").await.head().await.unwrap();
    assert_eq!(head.metadata.property("delta.checkpointInterval"), Some("5"));
    assert_eq!(head.metadata.property("delta.constraints.positive"), Some("id > 0"));
}
