//! Existing files: those that are committed by the caller, and symlink manifests.

use deltalakedb_log::action::{Add, StringMap};
use parquet::file::metadata::ParquetMetaDataReader;

use super::*;

#[tokio::test]
async fn partition_values_of_committed_files_have_physical_names() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id long, day string", &["day"]).await;
    let mut head = table.head().await.unwrap();
    (head.protocol.min_reader_version, head.protocol.min_writer_version) = (2, 5);
    let column = |name: &str, data_type: &str, id: u32| {
        let mapping =
            serde_json::json!({"delta.columnMapping.id": id, "delta.columnMapping.physicalName": format!("col-{id}")});
        serde_json::json!({"name": name, "type": data_type, "nullable": true, "metadata": mapping})
    };
    let columns = [column("id", "long", 1), column("day", "string", 2)];
    head.metadata.schema_string = serde_json::json!({"type": "struct", "fields": columns}).to_string();
    let mapping = [("delta.columnMapping.mode", "name"), ("delta.columnMapping.maxColumnId", "2")];
    head.metadata.configuration.extend(mapping.map(|(k, v)| (k.into(), Some(v.into()))));
    let actions = vec![Action::Protocol(head.protocol), Action::Metadata(head.metadata)];
    let request = CommitRequest::new(fixture.id("t").await, Uuid::nil(), Base::Exactly(0), actions);
    fixture.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    table.write(rows(&[1], &["a"]), SaveMode::Append, &WriteOptions::default()).await.unwrap();

    let files = table.reader().await.unwrap().files(2, None).await.unwrap();
    let file: Add = files.try_collect::<Vec<_>>().await.unwrap().remove(0);
    let place = table.location().local_path().unwrap();
    let decoded = String::from_utf8(deltalakedb_log::canonical_path(&file.path)).unwrap();
    std::fs::copy(place.join(decoded), place.join("staged.parquet")).unwrap();
    let stage = async |key: &str| {
        let partition_values = StringMap::from_iter([(key.to_string(), Some("b".to_string()))]);
        let add = Add { path: "staged.parquet".into(), partition_values, ..file.clone() };
        let stage = CommitFiles { actions: vec![Action::add(add)], overwrite: false };
        table.run(Operation::CommitFiles(stage), &WriteOptions::default()).await
    };
    let e = stage("day").await.unwrap_err();
    assert!(e.to_string().contains("is partitioned by [\"col-2\"]"), "{e}");
    stage("col-2").await.unwrap();
    check(&table, &Scan::default(), &["|1|a|", "|1|b|"]).await;
}

#[tokio::test]
async fn files_have_dictionaries_where_values_repeat() {
    let fixture = Fixture::new();
    let ids: Vec<i64> = (0..140_000).collect();
    let days: Vec<&str> = ids.iter().map(|id| if id % 2 == 0 { "even" } else { "odd" }).collect();
    let options = WriteOptions::default();
    for name in ["plain", "constrained", "created", "mapped"] {
        let table = match name {
            "created" => {
                let (new, none) = (fixture.new_table(name), HashMap::new());
                let rows = rows(&ids, &days);
                create_with_data(fixture.catalog.as_ref(), new, rows, &[], &none, &options).await.unwrap();
                fixture.open(name).await
            }
            "mapped" => {
                let mapping = HashMap::from([("delta.columnMapping.mode".to_string(), "name".to_string())]);
                let (new, schema) = (fixture.new_table(name), parse_schema("id long, day string").unwrap());
                create_table(fixture.catalog.as_ref(), new, &schema, &[], &mapping, &options).await.unwrap();
                fixture.open(name).await
            }
            _ => fixture.create(name, "id long, day string", &[]).await,
        };
        if name == "constrained" {
            table.constrain("c", "id >= 0", &options).await.unwrap();
        }
        if name != "created" {
            table.write(rows(&ids, &days), SaveMode::Append, &options).await.unwrap();
        }
        let version = table.head().await.unwrap().version;
        let files = table.reader().await.unwrap().files(version, None).await.unwrap();
        let file = files.try_collect::<Vec<_>>().await.unwrap().remove(0);
        let file = table.location().local_path().unwrap().join(file.path);
        let footer = ParquetMetaDataReader::new().parse_and_finish(&std::fs::File::open(file).unwrap()).unwrap();
        let dictionaries: Vec<_> =
            footer.row_group(0).columns().iter().map(|column| column.dictionary_page_offset().is_some()).collect();
        assert_eq!(dictionaries, [name == "mapped", true], "{name}");
    }
}

#[tokio::test]
async fn manifests_of_folders_without_files_are_removed() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id long, day string", &["day"]).await;
    let options = WriteOptions::default();
    table.write(rows(&[1, 2], &["a", "b"]), SaveMode::Append, &options).await.unwrap();
    table.generate_manifests(At::Latest).await.unwrap();
    let manifests = table.location().local_path().unwrap().join("_symlink_format_manifest");
    std::fs::write(manifests.join("README"), "of somebody else").unwrap();
    let there = |name: &str| manifests.join(name).exists();
    assert!(there("day=a/manifest") && there("day=b/manifest"));
    table.delete(Some("day = 'a'"), &options).await.unwrap();
    table.generate_manifests(At::Latest).await.unwrap();
    assert!(!there("day=a/manifest") && there("day=b/manifest") && there("README"));
    table.delete(None, &options).await.unwrap();
    table.generate_manifests(At::Latest).await.unwrap();
    assert!(!there("day=b/manifest") && std::fs::read(manifests.join("manifest")).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_independent_reader_finds_the_log_in_a_folder_with_a_percent_sign() {
    let fixture = Fixture::new();
    let folder = fixture.dir.path().join("pct%41 ü");
    let new = NewTable::new("t".parse().unwrap(), Location::parse(folder.to_str().unwrap()).unwrap());
    let (schema, options) = (parse_schema("id long, day string").unwrap(), WriteOptions::default());
    create_table(fixture.catalog.as_ref(), new, &schema, &[], &HashMap::new(), &options).await.unwrap();
    let table = fixture.open("t").await;
    table.write(rows(&[1], &["a"]), SaveMode::Append, &options).await.unwrap();
    let (reader, log) = (table.reader().await.unwrap(), folder.join("_delta_log"));
    std::fs::create_dir_all(&log).unwrap();
    for version in 0..=1 {
        let bytes = reader.commit_bytes(version).await.unwrap().unwrap();
        std::fs::write(log.join(format!("{version:020}.json")), bytes).unwrap();
    }
    for version in 0..=1 {
        let replayed = plain::replay(table.location(), Some(version)).await.unwrap();
        assert_eq!((replayed.version, replayed.files.len() as u64), (version, version));
    }
}
