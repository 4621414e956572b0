use std::sync::Arc;

use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{Catalog, Clock, ErrorKind, Location, MemoryCatalog, Object, SeededClock, TableRef, features};
use deltalakedb_table::WriteOptions;

use super::*;
use crate::random;

/// The metadata of a new cold table.
fn metadata(table: &TableDefinition) -> Metadata {
    let cold = table.cold_table().unwrap();
    Metadata {
        id: "0".into(),
        name: None,
        description: None,
        format: Object::default(),
        schema_string: cold.schema.to_json().unwrap(),
        partition_columns: Vec::new(),
        configuration: cold.spec.properties.into_iter().map(|(key, value)| (key, Some(value))).collect(),
        created_time: None,
        extra: Object::default(),
    }
}

fn notes() -> TableDefinition {
    let column =
        |name: &str, data_type, nullable, default| ColumnSpec { name: name.into(), data_type, nullable, default };
    use arrow::datatypes::DataType as A;
    let columns = [
        column("id", A::Int64, true, Some(ColumnDefault::SnowflakeId)),
        column("body", A::Utf8, false, Some(ColumnDefault::parse("'it''s'", &A::Utf8).unwrap())),
        column("ts", crate::column_type::timestamp(), true, Some(ColumnDefault::Now)),
        column("who", A::Utf8, true, None),
    ];
    TableDefinition::new_shared("app.notes".parse().unwrap(), columns, ["who", "id"]).unwrap()
}

/// Tables have this format, and must be read by later versions.
#[test]
fn a_definition_is_stored_in_properties() {
    let metadata = metadata(&notes());
    let configuration: Vec<_> =
        metadata.configuration.iter().map(|(key, value)| (key.as_str(), value.as_deref().unwrap())).collect();
    assert_eq!(
        configuration,
        [
            ("delta.enableDeletionVectors", "true"),
            (
                "deltalakedb.rows.columns",
                r#"[{"name":"id","id":1,"default":"SNOWFLAKE_ID()"},{"name":"body","id":2,"default":"'it''s'"},{"name":"ts","id":3,"default":"NOW()"},{"name":"who","id":4}]"#
            ),
            ("deltalakedb.rows.formatVersion", "1"),
            ("deltalakedb.rows.kind", "shared"),
            ("deltalakedb.rows.primaryKey", r#"["who","id"]"#),
            ("deltalakedb.rows.schemaVersion", "1"),
        ]
    );
    let schema: serde_json::Value = serde_json::from_str(&metadata.schema_string).unwrap();
    let fields = schema["fields"].as_array().unwrap().iter().map(|field| {
        (field["name"].as_str().unwrap(), field["type"].as_str().unwrap(), field["nullable"].as_bool().unwrap())
    });
    assert_eq!(
        fields.collect::<Vec<_>>(),
        [
            ("id", "long", false),
            ("body", "string", false),
            ("ts", "timestamp", true),
            ("who", "string", false),
            ("_seq", "long", false),
        ]
    );
}

#[test]
fn a_definition_is_read_as_it_was_stored() {
    random::for_seeds(500, |rng| {
        let table = random::definition(rng);
        let metadata = metadata(&table);
        assert!(is_cold_table(&metadata));
        assert_eq!(TableDefinition::from_metadata(table.name(), &metadata).unwrap(), table);
    });
}

/// The schema is as another writer may have changed it: `_seq` anywhere, and metadata of fields.
#[test]
fn a_definition_follows_the_columns_of_the_schema() {
    let mut metadata = metadata(&notes());
    let mut schema: serde_json::Value = serde_json::from_str(&metadata.schema_string).unwrap();
    let fields = schema["fields"].as_array_mut().unwrap();
    fields.rotate_right(1);
    fields.iter_mut().for_each(|field| field["metadata"] = serde_json::json!({"comment": "x"}));
    metadata.schema_string = schema.to_string();
    assert_eq!(TableDefinition::from_metadata(notes().name(), &metadata).unwrap(), notes());
}

#[tokio::test]
async fn a_cold_table_is_a_delta_table_with_deletion_vectors() {
    let dir = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SeededClock::new(1_795_996_800_000, 7));
    let catalog = MemoryCatalog::new(clock.clone());
    let options = WriteOptions { clock, ..WriteOptions::default() };
    let table = notes();
    let location = Location::parse(&dir.path().join("notes").display().to_string()).unwrap();
    let cold = table.cold_table().unwrap();
    let new = NewTable::new(table.name().clone(), location);
    cold.spec.create(&catalog, new, &cold.schema, &options).await.unwrap();

    let entry = catalog.find(&TableRef::Name(table.name().clone())).await.unwrap().unwrap();
    let heads = catalog.begin(&[entry.id]).await.unwrap();
    assert!(features::has_deletion_vectors(&heads[0].protocol), "{:?}", heads[0].protocol);
    assert!(features::check_writable(&heads[0].protocol, "it").is_ok());
    assert_eq!(TableDefinition::from_metadata(table.name(), &heads[0].metadata).unwrap(), table);
}

fn refusal(change: impl FnOnce(&mut Metadata)) -> (ErrorKind, String) {
    let mut metadata = metadata(&notes());
    change(&mut metadata);
    let error = TableDefinition::from_metadata(notes().name(), &metadata).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("app.notes") && !message.contains('\n'), "{message}");
    (error.kind(), message)
}

#[test]
fn a_definition_of_a_newer_version_is_refused() {
    let check = |key: &str, value: &str, says: &str| {
        let (kind, message) = refusal(|metadata| _ = metadata.configuration.insert(key.into(), Some(value.into())));
        assert_eq!((kind, message.contains(says)), (ErrorKind::Invalid, true), "{key} = {value}: {message}");
        assert!(message.ends_with("open it with a newer version"), "{message}");
    };
    check(FORMAT_VERSION, "2", "has a definition of format version 2");
    check(KIND, "user", "is a user table");
    check("deltalakedb.rows.layout", "packed", "has the property deltalakedb.rows.layout");
}

#[test]
fn a_table_without_a_definition_is_no_row_table() {
    let (kind, message) = refusal(|metadata| metadata.configuration.retain(|key, _| key.starts_with("delta.")));
    assert_eq!(kind, ErrorKind::Invalid);
    assert!(message.contains("app.notes is not a row table"), "{message}");
}

#[test]
fn damaged_definitions_are_refused_in_words() {
    let check_change = |change: &dyn Fn(&mut Metadata), says: &str| {
        let (kind, message) = refusal(change);
        assert_eq!((kind, message.contains(says)), (ErrorKind::Corrupt, true), "{says}: {message}");
        assert!(message.starts_with("the definition of the row table app.notes is damaged: "), "{message}");
    };
    let check = |key: &str, value: &str, says: &str| {
        check_change(&|metadata| _ = metadata.configuration.insert(key.into(), Some(value.into())), says);
    };
    for key in [FORMAT_VERSION, KIND, PRIMARY_KEY, COLUMNS, SCHEMA_VERSION] {
        let says = format!("{key} is missing");
        check_change(&|metadata| _ = metadata.configuration.remove(key), &says);
        check_change(&|metadata| _ = metadata.configuration.insert(key.into(), None), &says);
    }
    for number in ["", "0", "-1", "01", "+1", "1.0", "x", "4294967296"] {
        check(FORMAT_VERSION, number, "not a number above 0");
        check(SCHEMA_VERSION, number, "not a number above 0");
    }
    check(PRIMARY_KEY, "who, id", "primaryKey is \"who, id\"");
    check(PRIMARY_KEY, "[]", "it needs a primary key");
    check(PRIMARY_KEY, r#"["id", "id"]"#, "has the column \"id\" twice");
    check(PRIMARY_KEY, r#"["_seq"]"#, "names the column \"_seq\"");
    check(PRIMARY_KEY, r#"["ts"]"#, "the column \"ts\" of its key is nullable");
    check(DELETION_VECTORS, "false", "delta.enableDeletionVectors is not true");
    check(COLUMN_MAPPING, "name", "delta.columnMapping.mode is set");
    check_change(&|metadata| metadata.partition_columns = vec!["who".into()], "partitioned");

    check(COLUMNS, "{}", "columns is \"{}\"");
    check(COLUMNS, "[]", "has 0 columns and the schema has 4");
    let columns =
        |id: &str, body: &str| format!(r#"[{id}, {body}, {{"name": "ts", "id": 3}}, {{"name": "who", "id": 4}}]"#);
    let (id, body) = (r#"{"name": "id", "id": 1}"#, r#"{"name": "body", "id": 2}"#);
    check(COLUMNS, &columns(id, id), "lacks the column \"body\"");
    check(COLUMNS, &columns(id, r#"{"name": "Body", "id": 2}"#), "lacks the column \"body\"");
    check(COLUMNS, &columns(id, r#"{"name": "body", "id": 1}"#), "\"body\" has the id 0, or that of another column");
    check(COLUMNS, &columns(r#"{"name": "id", "id": 0}"#, body), "\"id\" has the id 0");
    check(COLUMNS, &columns(id, r#"{"name": "body", "id": 2, "type": "x"}"#), "unknown field");
    let default = |sql: &str| columns(id, &format!(r#"{{"name": "body", "id": 2, "default": {sql}}}"#));
    check(COLUMNS, &default("\"NOW()\""), "in the column \"body\"");
    check(COLUMNS, &default("\"NULL\""), "in the column \"body\"");
    check(COLUMNS, &default("\"'x' 'y\""), "in the column \"body\"");
    check(COLUMNS, &default("\"'x' + 'y'\""), "in the column \"body\"");
    check(COLUMNS, &default("\"'x', 'y'\""), "in the column \"body\"");
    check(COLUMNS, &default("\"\""), "in the column \"body\"");
    check(COLUMNS, &default("1"), "invalid type");

    let check_schema = |from: &str, to: &str, says: &str| {
        let change = |metadata: &mut Metadata| {
            assert!(metadata.schema_string.contains(from), "{}", metadata.schema_string);
            metadata.schema_string = metadata.schema_string.replace(from, to);
        };
        check_change(&change, says);
    };
    check_schema("_seq", "seq", "has no column _seq");
    check_schema("\"body\"", "\"_seq\"", "");
    check_schema("\"body\"", "\"_deleted\"", "lacks the column \"_deleted\"");
    check_schema("\"timestamp\"", "\"variant\"", "");
    check_schema("\"timestamp\"", "\"date\"", "in the column \"ts\": the default NOW() is a TIMESTAMP");
    for schema in ["", "{", "{}", "[]", "id long not null, _seq long not null"] {
        check_change(
            &|metadata| metadata.schema_string = schema.into(),
            "the schema of the Delta table cannot be read",
        );
    }
    check_schema("\"nullable\":false", "\"nullable\":true", "_seq of type long that is not null");
}
