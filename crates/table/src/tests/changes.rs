//! Changes are read, whatever the names and the locations of the files are.

use arrow::array::TimestampMicrosecondArray;
use deltalakedb_log::canonical_path;

use super::*;

/// The changes since a version: the type of each, and the row.
async fn changes_of(table: &DeltaTable, from: u64) -> Vec<String> {
    let changes: Vec<_> = table.changes(from, None).await.unwrap().try_collect().await.unwrap();
    let without = |mut batch: RecordBatch| {
        for name in ["_commit_version", "_commit_timestamp"] {
            batch.remove_column(batch.schema().index_of(name).unwrap());
        }
        batch
    };
    text(&changes.into_iter().map(without).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_partitions_with_encoded_values_are_found() {
    let fixture = Fixture::new();
    let options = WriteOptions::default();
    let table = fixture.create("t", "id long, day string", &["day"]).await;
    table.set_properties(&[("delta.enableChangeDataFeed", "true")], &options).await.unwrap();
    let days = ["a b", "a/b", "%41", "ü", "x=y", "?#&!", "it's"];
    let all = rows(&[0, 1, 2, 3, 4, 5, 6], &days);
    table.write(all.clone(), SaveMode::Append, &options).await.unwrap();
    let inserted = |(id, day): (usize, &&str)| format!("|{id}|{day}|insert|").replace(' ', "");
    let want: Vec<_> = days.iter().enumerate().map(inserted).collect();
    assert_eq!(changes_of(&table, 2).await, want);
    table.update(&[("id", "id + 10")], Some("day IN ('a b', '%41')"), &options).await.unwrap();
    let mut want = ["|0|ab|update_preimage|", "|10|ab|update_postimage|", "|2|%41|update_preimage|"].to_vec();
    want.push("|12|%41|update_postimage|");
    want.sort_unstable();
    assert_eq!(changes_of(&table, 3).await, want);
    // A file that is removed as a whole.
    table.delete(Some("day = 'a/b'"), &options).await.unwrap();
    assert_eq!(changes_of(&table, 4).await, ["|1|a/b|delete|"]);
    assert_eq!(changes_of(&table, 2).await.len(), 7 + 4 + 1);
    check_plain(&table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_partitions_by_time_are_found() {
    let fixture = Fixture::new();
    let options = WriteOptions::default();
    let table = fixture.create("t", "id long, at timestamp", &["at"]).await;
    table.set_properties(&[("delta.enableChangeDataFeed", "true")], &options).await.unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let at = TimestampMicrosecondArray::from(vec![1_704_110_400_000_000, 1_704_456_000_123_456]).with_timezone("UTC");
    let rows = RecordBatch::try_from_iter([("id", ids), ("at", Arc::new(at) as ArrayRef)]).unwrap();
    table.write(vec![rows], SaveMode::Append, &options).await.unwrap();
    table.delete(Some("id = 2"), &options).await.unwrap();
    let want = ["|1|2024-01-01T12:00:00Z|insert|", "|2|2024-01-05T12:00:00.123456Z|delete|"];
    let insert = "|2|2024-01-05T12:00:00.123456Z|insert|";
    assert_eq!(changes_of(&table, 2).await, [want[0], want[1], insert]);
}

/// Files named by absolute paths, as in a shallow clone.
#[tokio::test(flavor = "multi_thread")]
async fn changes_in_files_of_other_locations_are_found() {
    let fixture = Fixture::new();
    let options = WriteOptions::default();
    let table = fixture.create("t", "id long, day string", &["day"]).await;
    table.set_properties(&[("delta.enableChangeDataFeed", "true")], &options).await.unwrap();
    table.write(rows(&[1], &["a b"]), SaveMode::Append, &options).await.unwrap();
    let mut add = table.reader().await.unwrap().files(2, None).await.unwrap().try_next().await.unwrap().unwrap();
    let here = table.location().local_path().unwrap().join(String::from_utf8(canonical_path(&add.path)).unwrap());
    let there = fixture.dir.path().join("else where%.parquet");
    std::fs::rename(here, &there).unwrap();
    add.path = url::Url::from_file_path(&there).unwrap().to_string();
    let request = CommitRequest::new(fixture.id("t").await, Uuid::nil(), Base::Exactly(2), vec![Action::add(add)]);
    fixture.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    assert_eq!(changes_of(&table, 3).await, ["|1|ab|insert|"]);
}
