//! Operations on a table, compared with plain delta-rs on the log that the catalog would publish.

use super::*;

async fn filled(fixture: &Fixture) -> DeltaTable {
    let table = fixture.create("t", "id long, day string", &["day"]).await;
    let options = WriteOptions::default();
    for (ids, day) in [([1, 2, 3], "a"), ([4, 5, 6], "b"), ([7, 8, 9], "c")] {
        table.write(rows(&ids, &[day; 3]), SaveMode::Append, &options).await.unwrap();
    }
    table
}

async fn ids(table: &DeltaTable) -> Vec<i64> {
    let scan = Scan { columns: Some(vec!["id".into()]), ..Scan::default() };
    let lines = text(&table.read(&scan).await.unwrap());
    let mut ids: Vec<i64> = lines.iter().map(|l| l.trim_matches('|').parse().unwrap()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_and_update_rewrite_only_files_with_matching_rows() {
    let fixture = Fixture::new();
    let table = filled(&fixture).await;
    let options = WriteOptions::default();
    let done = table.delete(Some("id = 2 OR day = 'c'"), &options).await.unwrap();
    assert_eq!((done.committed.unwrap().version, &done.metrics["num_deleted_rows"]), (4, &4.into()));
    assert_eq!(ids(&table).await, [1, 3, 4, 5, 6]);

    let done = table.update(&[("id", "id * 10")], Some("id >= 5"), &options).await.unwrap();
    assert_eq!(done.metrics["num_updated_rows"], 2);
    assert_eq!(ids(&table).await, [1, 3, 4, 50, 60]);

    let nothing = table.delete(Some("id = 1000"), &options).await.unwrap();
    assert_eq!(nothing.committed, None, "nothing to delete is no version");
    check_plain(&table).await;
    let done = table.delete(None, &options).await.unwrap();
    assert_eq!(done.committed.unwrap().version, 6);
    assert_eq!(ids(&table).await, [] as [i64; 0]);
    check_plain(&table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwrite_replaces_a_partition_or_the_rows_of_a_condition() {
    let fixture = Fixture::new();
    let table = filled(&fixture).await;
    let options = WriteOptions::default();
    let replace = |ids: &[i64], day: &str, place: &str| {
        let days = vec![day; ids.len()];
        let replace_where = Some(place.to_string());
        Operation::Write(WriteRows { replace_where, ..WriteRows::new(rows(ids, &days), SaveMode::Overwrite) })
    };
    table.run(replace(&[40], "b", "day = 'b'"), &options).await.unwrap();
    assert_eq!(ids(&table).await, [1, 2, 3, 7, 8, 9, 40]);
    table.run(replace(&[8], "c", "id > 7 AND day = 'c'"), &options).await.unwrap();
    assert_eq!(ids(&table).await, [1, 2, 3, 7, 8, 40]);
    check_plain(&table).await;

    let files = data_files(&table);
    let e = table.run(replace(&[1], "a", "day = 'b'"), &options).await.unwrap_err();
    assert!(e.to_string().starts_with("the rows cannot be written"), "{e}");
    assert_eq!(data_files(&table), files, "rows outside what they replace are refused, and leave no file");
    let append =
        WriteRows { replace_where: Some("id = 1".into()), ..WriteRows::new(rows(&[1], &["a"]), SaveMode::Append) };
    let e = table.run(Operation::Write(append), &options).await.unwrap_err();
    assert!(e.to_string().contains("an append replaces no rows"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_reads_only_files_that_may_match() {
    let fixture = Fixture::new();
    let table = filled(&fixture).await;
    let options = WriteOptions::default();
    let (update, insert) = (
        MergeClause::MatchedUpdate { condition: None, set: Assignments::All },
        MergeClause::NotMatchedInsert { condition: None, values: Assignments::All },
    );
    let upsert = Merge::on("target.id = source.id").when(update.clone()).when(insert.clone());
    // Only one of the three files may contain 5; a missing file other than that is not noticed by the merge.
    let only = table.prepare(Operation::Merge(upsert.clone(), rows(&[5, 6], &["bb", "b"]).into()), &options).await;
    let only = only.unwrap().unwrap();
    assert_eq!(only.request().reads.files.len(), 1, "{only:?}");
    only.discard().await;
    let done = table.merge(upsert.clone(), rows(&[6, 10], &["b2", "d"]), &options).await.unwrap();
    assert_eq!(
        (&done.metrics["num_target_rows_updated"], &done.metrics["num_target_rows_inserted"]),
        (&1.into(), &1.into())
    );
    check(&table, &Scan { filter_sql: Some("id in (6, 10)".into()), ..Scan::default() }, &["|10|d|", "|6|b2|"]).await;

    let all = upsert
        .clone()
        .when(MergeClause::NotMatchedBySourceDelete { condition: Some("target.day = 'a'".into()) })
        .when(MergeClause::NotMatchedBySourceUpdate {
            condition: None,
            set: vec![("id".into(), "target.id + 100".into())],
        });
    table.merge(all, rows(&[4], &["bbb"]), &options).await.unwrap();
    assert_eq!(ids(&table).await, [4, 105, 106, 107, 108, 109, 110]);
    let delete = Merge::on("target.id = source.id AND target.day = 'c'")
        .when(MergeClause::MatchedDelete { condition: Some("source.day = 'x'".into()) });
    table.merge(delete, rows(&[107, 108], &["x", "y"]), &options).await.unwrap();
    assert_eq!(ids(&table).await, [4, 105, 106, 108, 109, 110]);
    check_plain(&table).await;

    let bad = Merge::on("target.nosuch = source.id").when(update);
    let e = table.merge(bad, rows(&[1], &["x"]), &options).await.unwrap_err();
    assert!(e.to_string().contains("nosuch"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn optimize_compacts_files_and_restore_undoes_it() {
    let fixture = Fixture::new();
    let table = filled(&fixture).await;
    let options = WriteOptions::default();
    for id in [10, 11] {
        table.write(rows(&[id], &["a"]), SaveMode::Append, &options).await.unwrap();
    }
    let done = table.optimize(Optimize::default(), &options).await.unwrap();
    assert_eq!((done.committed.unwrap().version, &done.metrics["numFilesRemoved"]), (6, &3.into()));
    assert_eq!(table.counts(At::Latest).await.unwrap().files, 3);
    assert_eq!(table.optimize(Optimize::default(), &options).await.unwrap().committed, None);
    let zorder = Optimize { zorder: vec!["id".into()], ..Optimize::default() };
    table.optimize(zorder, &options).await.unwrap();
    assert_eq!(ids(&table).await, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    check_plain(&table).await;

    table.restore(At::Version(2), &options).await.unwrap();
    assert_eq!(ids(&table).await, [1, 2, 3, 4, 5, 6]);
    check_plain(&table).await;
    let head = table.head().await.unwrap().version;
    let e = table.restore(At::Version(head), &options).await.unwrap_err();
    assert!(e.to_string().contains("pass an earlier version"), "{e}");
    let e = table.optimize(Optimize { zorder: vec!["no".into()], ..Optimize::default() }, &options).await.unwrap_err();
    assert!(e.to_string().contains("has no column \"no\""), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_changes_its_columns_properties_and_constraints() {
    let fixture = Fixture::new();
    let table = filled(&fixture).await;
    let options = WriteOptions::default();
    table.alter(Alter::AddColumns(parse_schema("note string").unwrap()), &options).await.unwrap();
    let more: ArrayRef = Arc::new(Int32Array::from(vec![5]));
    let id: ArrayRef = Arc::new(Int64Array::from(vec![10]));
    let batch = RecordBatch::try_from_iter([("id", id), ("more", more)]).unwrap();
    let refused = table.write(vec![batch.clone()], SaveMode::Append, &options).await.unwrap_err();
    assert!(refused.to_string().contains("has a column \"more\""), "{refused}");
    let merged = WriteRows { schema_mode: Some(SchemaMode::Merge), ..WriteRows::new(vec![batch], SaveMode::Append) };
    table.run(Operation::Write(merged), &options).await.unwrap();
    let columns = ["id", "day", "note", "more"].map(String::from);
    let last = Scan { filter_sql: Some("id >= 9".into()), columns: Some(columns.into()), ..Scan::default() };
    check(&table, &last, &["|10|||5|", "|9|c|||"]).await;

    table.constrain("positive", "id > 0", &options).await.unwrap();
    let e = table.write(rows(&[-1], &["a"]), SaveMode::Append, &options).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Invalid, "{e}");
    assert!(e.to_string().ends_with("1 rows failed validation check."), "{e}");
    let e = table.constrain("small", "id < 5", &options).await.unwrap_err();
    assert!(e.to_string().starts_with("the constraint cannot be added"), "{e}");
    table.alter(Alter::DropConstraint { name: "positive".into(), if_exists: false }, &options).await.unwrap();
    table.write(rows(&[-1], &["a"]), SaveMode::Append, &options).await.unwrap();
    check_plain(&table).await;

    let planned = ("deltalakedb.planning.columns", "id");
    table.set_properties(&[planned], &options).await.unwrap();
    assert_eq!(table.head().await.unwrap().metadata.property(planned.0), Some(planned.1));
    let e = table.set_properties(&[planned, ("delta.nosuch", "1")], &options).await.unwrap_err();
    assert!(e.to_string().contains("\"delta.nosuch\" is not a property of Delta"), "{e}");
    for (key, value, says) in [
        ("deltalakedb.deletionVectors.maxShare", "abc", "\"abc\" is not a number from 0 to 1"),
        ("deltalakedb.deletionVectors.maxshare", "0.5", "is not a property: expected deltalakedb.planning.columns"),
        ("deltalakedb.retention.versions", "many", "set it to a number of versions"),
        ("delta.enableDeletionVectors", "maybe", "\"maybe\" is neither true nor false"),
    ] {
        let set = table.set_properties(&[(key, value)], &options).await.unwrap_err();
        let (new, columns) = (fixture.new_table("refused"), parse_schema("id long").unwrap());
        let properties = HashMap::from([(key.to_string(), value.to_string())]);
        let created = create_table(fixture.catalog.as_ref(), new, &columns, &[], &properties, &options).await;
        for e in [set, created.unwrap_err()] {
            assert_eq!(e.kind(), ErrorKind::Invalid, "{e}");
            assert!(e.to_string().contains(says), "{e}");
        }
    }

    let whole = WriteRows {
        schema_mode: Some(SchemaMode::Overwrite),
        ..WriteRows::new(rows(&[1], &["z"]), SaveMode::Overwrite)
    };
    table.run(Operation::Write(whole), &options).await.unwrap();
    assert_eq!(table.schema(At::Latest).await.unwrap().fields().len(), 2);
    check_plain(&table).await;
    let part =
        WriteRows { schema_mode: Some(SchemaMode::Overwrite), ..WriteRows::new(rows(&[1], &["z"]), SaveMode::Append) };
    let e = table.run(Operation::Write(part), &options).await.unwrap_err();
    assert!(e.to_string().contains("can be replaced only together with all its rows"), "{e}");
    table.alter(Alter::SetDescription { name: None, description: Some("about".into()) }, &options).await.unwrap();
    assert_eq!(table.head().await.unwrap().metadata.description.as_deref(), Some("about"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_change_data_feed_is_written_and_read() {
    let fixture = Fixture::new();
    let table = filled(&fixture).await;
    let options = WriteOptions::default();
    let e = table.changes(1, None).await.err().unwrap();
    assert!(e.to_string().contains("did not record its changes at version 1"), "{e}");
    table.set_properties(&[("delta.enableChangeDataFeed", "true")], &options).await.unwrap();
    table.write(rows(&[10], &["d"]), SaveMode::Append, &options).await.unwrap();
    table.update(&[("day", "'e'")], Some("id = 10"), &options).await.unwrap();
    table.delete(Some("id = 1"), &options).await.unwrap();
    let changed: Vec<_> = table.changes(5, None).await.unwrap().try_collect().await.unwrap();
    let mut lines = Vec::new();
    for batch in &changed {
        let types =
            arrow::compute::cast(batch.column_by_name("_change_type").unwrap(), &arrow::datatypes::DataType::Utf8);
        let types = types.unwrap();
        let types = types.as_any().downcast_ref::<StringArray>().unwrap().iter().map(|t| t.unwrap().to_string());
        let ids = batch.column_by_name("id").unwrap().as_any().downcast_ref::<Int64Array>().unwrap();
        lines.extend(types.zip(ids.values().iter().copied()));
    }
    lines.sort();
    let want = [("delete", 1), ("insert", 10), ("update_postimage", 10), ("update_preimage", 10)];
    assert_eq!(lines, want.map(|(t, id)| (t.to_string(), id)));
    check_plain(&table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn optimize_writes_no_checkpoint_and_keeps_application_transactions() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id long, day string", &[]).await;
    let options = WriteOptions::default();
    table.set_properties(&[("delta.checkpointInterval", "4")], &options).await.unwrap();
    table.write(rows(&[1], &["a"]), SaveMode::Append, &options).await.unwrap();
    table.write(rows(&[2], &["a"]), SaveMode::Append, &options).await.unwrap();
    let txn = Txn::from_json(r#"{"appId":"app","version":7}"#).unwrap();
    let with_txn = WriteOptions { applications: vec![txn], ..WriteOptions::default() };
    let done = table.optimize(Optimize::default(), &with_txn).await.unwrap();
    assert_eq!(done.committed.unwrap().version, 4);
    assert_eq!(table.reader().await.unwrap().snapshot(At::Latest).await.unwrap().txns["app"].version, 7);
    table.write(rows(&[3], &["a"]), SaveMode::Append, &options).await.unwrap();
    table.set_properties(&[("delta.appendOnly", "false")], &options).await.unwrap();
    table.write(rows(&[4], &["a"]), SaveMode::Append, &options).await.unwrap();
    let columns = crate::parse_schema("more long").unwrap();
    table.alter(Alter::AddColumns(columns), &options).await.unwrap();
    for _ in 0..2 {
        table.write(rows(&[5], &["a"]), SaveMode::Append, &options).await.unwrap();
    }
    // After this commit delta-rs would write a checkpoint.
    let done = table.optimize(Optimize::default(), &options).await.unwrap();
    assert_eq!(done.committed.unwrap().version, 11);
    let metadata = table.head().await.unwrap().metadata;
    assert_eq!(metadata.property("delta.checkpointInterval"), Some("4"));
    check_plain(&table).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_where_changes_no_columns() {
    let fixture = Fixture::new();
    let table = filled(&fixture).await;
    let options = WriteOptions::default();
    let write = |rows: Vec<RecordBatch>| WriteRows {
        replace_where: Some("id >= 2 AND day = 'a'".into()),
        schema_mode: Some(SchemaMode::Overwrite),
        ..WriteRows::new(rows, SaveMode::Overwrite)
    };
    table.run(Operation::Write(write(rows(&[3], &["a"]))), &options).await.unwrap();
    assert_eq!(ids(&table).await, [1, 3, 4, 5, 6, 7, 8, 9]);
    let other = RecordBatch::try_from_iter([("id", rows(&[3], &["a"])[0].column(0).clone())]).unwrap();
    let e = table.run(Operation::Write(write(vec![other])), &options).await.unwrap_err();
    assert!(e.to_string().contains("can be replaced only together with all its rows"), "{e}");
    let by = WriteRows { partition_by: Some(vec!["id".into()]), ..write(rows(&[3], &["a"])) };
    let e = table.run(Operation::Write(by), &options).await.unwrap_err();
    assert!(e.to_string().starts_with("invalid partition columns for "), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn optimize_may_make_several_commits() {
    let fixture = Fixture::new();
    let table = filled(&fixture).await;
    let txn = Txn::from_json(r#"{"appId":"app","version":7}"#).unwrap();
    let options = WriteOptions { applications: vec![txn], ..WriteOptions::default() };
    for (id, day) in [(10, "a"), (11, "b")] {
        table.write(rows(&[id], &[day]), SaveMode::Append, &WriteOptions::default()).await.unwrap();
    }
    let how = Optimize { min_commit_interval: Some(Duration::ZERO), ..Optimize::default() };
    let done = table.optimize(how.clone(), &options).await.unwrap();
    assert_eq!(done.committed.unwrap().version, 7, "two partitions have more than one file");
    assert_eq!(done.metrics["numFilesAdded"], 2);
    assert_eq!((ids(&table).await.len(), data_files(&table)), (11, 7));
    let head = table.reader().await.unwrap().snapshot(At::Latest).await.unwrap();
    assert_eq!(head.txns["app"].version, 7);
    check_plain(&table).await;
    let done = table.optimize(how, &WriteOptions::default()).await.unwrap();
    assert_eq!(done.committed, None, "there is nothing left to do");
}
