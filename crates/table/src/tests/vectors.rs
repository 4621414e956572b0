//! Rows are deleted and updated by deletion vectors where a table has them, and delta-rs reads the same rows.

use std::collections::BTreeMap;

use deltalakedb_log::action::Add;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{ParquetMetaDataBuilder, ParquetMetaDataWriter};
use parquet::file::properties::WriterProperties;

use super::*;

mod enabling;
mod purge;
mod stored;

/// A table with deletion vectors and these properties beside.
pub(super) async fn create(
    fixture: &Fixture,
    name: &str,
    partition_by: &[&str],
    properties: &[(&str, &str)],
) -> DeltaTable {
    let partition_by: Vec<_> = partition_by.iter().map(|p| p.to_string()).collect();
    let schema = parse_schema("id long, day string").unwrap();
    let properties = [("delta.enableDeletionVectors", "true")].iter().chain(properties);
    let properties = properties.map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let (new, options) = (fixture.new_table(name), WriteOptions::default());
    create_table(fixture.catalog.as_ref(), new, &schema, &partition_by, &properties, &options).await.unwrap();
    fixture.open(name).await
}

pub(super) async fn append(table: &DeltaTable, ids: std::ops::Range<i64>) {
    let ids: Vec<_> = ids.collect();
    let days: Vec<_> = ids.iter().map(|id| if id % 2 == 0 { "even" } else { "odd" }).collect();
    table.write(rows(&ids, &days), SaveMode::Append, &WriteOptions::default()).await.unwrap();
}

pub(super) async fn live(table: &DeltaTable) -> Vec<Add> {
    let reader = table.reader().await.unwrap();
    let version = reader.head().await.unwrap().version;
    let mut files: Vec<Add> = reader.files(version, None).await.unwrap().try_collect().await.unwrap();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The rows as delta-rs reads them, which must be those that we read.
pub(super) async fn contents(table: &DeltaTable) -> BTreeMap<i64, Vec<String>> {
    check_plain(table).await;
    let mut contents: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for line in text(&table.read(&Scan::default()).await.unwrap()) {
        let mut values = line.trim_matches('|').split('|');
        let id = values.next().unwrap().parse().unwrap();
        contents.entry(id).or_default().push(values.next().unwrap().into());
    }
    contents
}

pub(super) fn hidden(files: &[Add]) -> Vec<Option<i64>> {
    files.iter().map(|add| add.deletion_vector.as_ref().map(|vector| vector.cardinality)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_hides_rows_and_leaves_their_file() {
    let fixture = Fixture::new();
    let table = create(&fixture, "t", &[], &[]).await;
    append(&table, 0..100).await;
    append(&table, 100..200).await;
    let before = live(&table).await;
    let options = WriteOptions::default();
    let done = table.delete(Some("id % 10 = 0 AND id < 100"), &options).await.unwrap();
    assert_eq!((&done.metrics["num_deleted_rows"], &done.metrics["num_deletion_vectors"]), (&10.into(), &1.into()));
    let after = live(&table).await;
    assert_eq!(data_files(&table), 2);
    assert_eq!(
        after.iter().map(|add| &add.path).collect::<Vec<_>>(),
        before.iter().map(|add| &add.path).collect::<Vec<_>>()
    );
    let mut cardinalities = hidden(&after);
    cardinalities.sort_unstable();
    assert_eq!(cardinalities, [None, Some(10)]);
    let marked = after.iter().find(|add| add.deletion_vector.is_some()).unwrap();
    let stats: serde_json::Value = serde_json::from_str(marked.stats.as_deref().unwrap()).unwrap();
    assert_eq!((&stats["numRecords"], &stats["tightBounds"]), (&100.into(), &false.into()));
    assert_eq!(
        contents(&table).await.into_keys().collect::<Vec<_>>(),
        (0..200).filter(|id| id % 10 != 0 || *id >= 100).collect::<Vec<_>>()
    );

    // What is hidden already is not found again, and what comes on top is added up.
    assert_eq!(table.delete(Some("id % 10 = 0 AND id < 100"), &options).await.unwrap().committed, None);
    table.delete(Some("id IN (1, 2, 150)"), &options).await.unwrap();
    let mut cardinalities = hidden(&live(&table).await);
    cardinalities.sort_unstable();
    assert_eq!(cardinalities, [Some(1), Some(12)]);
    assert_eq!(contents(&table).await.len(), 187);
    let scan = Scan { at: At::Version(2), ..Scan::default() };
    assert_eq!(text(&table.read(&scan).await.unwrap()).len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_hidden_rows_leave_the_table_or_are_rewritten() {
    let fixture = Fixture::new();
    let options = WriteOptions::default();
    let table = create(&fixture, "t", &["day"], &[]).await;
    append(&table, 0..100).await;
    let done = table.delete(Some("day = 'odd' AND id > 0"), &options).await.unwrap();
    assert_eq!((&done.metrics["num_removed_files"], &done.metrics["num_deletion_vectors"]), (&1.into(), &0.into()));
    assert_eq!(hidden(&live(&table).await), [None]);
    // 15 of 50 rows are the share up to which a file stays.
    table.delete(Some("id < 30"), &options).await.unwrap();
    assert_eq!(hidden(&live(&table).await), [Some(15)]);
    let done = table.delete(Some("id = 30"), &options).await.unwrap();
    assert_eq!(done.metrics["num_copied_rows"], 34);
    assert_eq!(hidden(&live(&table).await), [None]);
    assert_eq!(contents(&table).await.into_keys().collect::<Vec<_>>(), (32..100).step_by(2).collect::<Vec<_>>());
    table.delete(None, &options).await.unwrap();
    assert!(live(&table).await.is_empty() && contents(&table).await.is_empty());

    let always = create(&fixture, "always", &[], &[("deltalakedb.deletionVectors.maxShare", "1")]).await;
    append(&always, 0..10).await;
    always.delete(Some("id < 9"), &options).await.unwrap();
    assert_eq!(hidden(&live(&always).await), [Some(9)]);
    // Another engine set a property that we would refuse.
    let wrong = create(&fixture, "wrong", &[], &[]).await;
    append(&wrong, 0..10).await;
    let mut metadata = wrong.head().await.unwrap().metadata;
    metadata.configuration.insert("deltalakedb.deletionVectors.maxShare".into(), Some("30 %".into()));
    let actions = vec![Action::Metadata(metadata)];
    let request = CommitRequest::new(fixture.id("wrong").await, Uuid::nil(), Base::Exactly(1), actions);
    fixture.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    let e = wrong.delete(Some("id < 9"), &options).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Invalid);
    assert!(e.to_string().contains("deltalakedb.deletionVectors.maxShare"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_hides_rows_and_appends_the_new_ones() {
    let fixture = Fixture::new();
    let options = WriteOptions::default();
    for partition_by in [&[] as &[&str], &["day"]] {
        let table = create(&fixture, &format!("t{}", partition_by.len()), partition_by, &[]).await;
        append(&table, 0..100).await;
        let files = data_files(&table);
        let set = [("day", "'moved'"), ("id", "id + 1000")];
        let done = table.update(&set, Some("id BETWEEN 10 AND 14"), &options).await.unwrap();
        assert_eq!((&done.metrics["num_updated_rows"], &done.metrics["num_added_files"]), (&5.into(), &1.into()));
        assert_eq!(data_files(&table), files + 1);
        let contents = contents(&table).await;
        assert_eq!(contents.len(), 100);
        assert_eq!((contents.get(&12), contents[&1012].as_slice()), (None, &["moved".to_string()][..]));
        assert_eq!(table.update(&set, Some("id = -1"), &options).await.unwrap().committed, None);
        let e = table.update(&[("id", "'x' || day")], Some("id = 1"), &options).await.unwrap_err();
        assert!(e.to_string().contains("'xodd'") || e.to_string().contains("'xmoved'"), "{e}");
        assert_eq!(data_files(&table), files + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_of_a_transaction_end_in_one_vector() {
    let fixture = Fixture::new();
    let table = create(&fixture, "t", &[], &[]).await;
    append(&table, 0..100).await;
    let tx = Transaction::begin(fixture.catalog.clone(), TransactionOptions::default()).await.unwrap();
    for id in 1..5 {
        tx.run("t", Operation::Delete { filter: Some(format!("id = {id}")) }).await.unwrap();
    }
    let set = vec![("day".to_string(), "'new'".to_string())];
    tx.run("t", Operation::Update { set, filter: Some("id = 7".into()), safe_cast: false }).await.unwrap();
    tx.run("t", Operation::Delete { filter: Some("day = 'new'".into()) }).await.unwrap();
    assert_eq!(text(&tx.read("t", &Scan::default()).await.unwrap()).len(), 95);
    tx.commit().await.unwrap();
    assert_eq!(hidden(&live(&table).await), [Some(5)]);
    assert_eq!(files_of_vectors(&table), 1, "those of the earlier statements are gone");
    let reader = table.reader().await.unwrap();
    let commit = String::from_utf8(reader.commit_bytes(2).await.unwrap().unwrap().to_vec()).unwrap();
    assert_eq!((commit.matches("{\"add\":").count(), commit.matches("{\"remove\":").count()), (1, 1), "{commit}");
    assert_eq!(contents(&table).await.len(), 95);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_hide_rows_of_one_file_conflict() {
    let fixture = Fixture::new();
    let table = create(&fixture, "t", &[], &[]).await;
    append(&table, 0..100).await;
    let options = WriteOptions::default();
    let delete = |id: i64| Operation::Delete { filter: Some(format!("id = {id}")) };
    let first = table.prepare(delete(1), &options).await.unwrap().unwrap();
    let second = table.prepare(delete(2), &options).await.unwrap().unwrap();
    commit(fixture.catalog.as_ref(), vec![first], &options).await.unwrap();
    let e = commit(fixture.catalog.as_ref(), vec![second], &options).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    assert_eq!(contents(&table).await.len(), 99);
    // The vector of the one that lost is gone.
    assert_eq!(files_of_vectors(&table), 1);
}

fn files_of_vectors(table: &DeltaTable) -> usize {
    let folder = std::fs::read_dir(table.location().local_path().unwrap()).unwrap();
    folder.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".bin")).count()
}

/// A file of two row groups of five rows each, both of which have this number.
fn file_with_numbers(number: i16) -> Vec<u8> {
    let batch = &rows(&(0..10).collect::<Vec<_>>(), &["a"; 10])[0];
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(5)).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    let footer = writer.close().unwrap();
    let groups = footer.row_groups().iter().map(|group| {
        group.clone().into_builder().set_ordinal(number).set_column_metadata(group.columns().to_vec()).build().unwrap()
    });
    let footer = ParquetMetaDataBuilder::new(footer.file_metadata().clone()).set_row_groups(groups.collect()).build();
    let length: [u8; 4] = bytes[bytes.len() - 8..bytes.len() - 4].try_into().unwrap();
    bytes.truncate(bytes.len() - 8 - u32::from_le_bytes(length) as usize);
    ParquetMetaDataWriter::new(&mut bytes, &footer).finish().unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_not_hidden_by_positions_that_may_be_those_of_others() {
    let fixture = Fixture::new();
    let options = WriteOptions::default();
    let file = file_with_numbers(0);
    for (name, rows, says) in [
        ("order", 10, "its row groups are not numbered in their order"),
        ("count", 5, "it has 10 rows, and 5 in the log"),
    ] {
        let table = create(&fixture, name, &[], &[]).await;
        let folder = table.location().local_path().unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("other.parquet"), &file).unwrap();
        let add = serde_json::json!({
            "path": "other.parquet", "partitionValues": {}, "size": file.len(), "modificationTime": 0,
            "dataChange": true, "stats": format!("{{\"numRecords\":{rows}}}"),
        });
        let add = Action::add(Add::from_json(&add.to_string()).unwrap());
        table
            .run(Operation::CommitFiles(CommitFiles { actions: vec![add], overwrite: false }), &options)
            .await
            .unwrap();
        let deleted = table.delete(Some("id < 5"), &options).await.unwrap_err();
        let updated = table.update(&[("day", "'b'")], Some("id < 5"), &options).await.unwrap_err();
        for e in [deleted, updated] {
            assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
            assert!(e.to_string().contains(says), "{e}");
        }
        assert_eq!((hidden(&live(&table).await), files_of_vectors(&table), data_files(&table)), (vec![None], 0, 1));
    }
}
