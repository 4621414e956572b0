//! Files lose their deletion vectors when they are compacted or purged, and no row comes back.

use std::sync::LazyLock;

use deltalakedb_log::action::Remove;

use super::*;
use crate::delta_rs::{LogView, MaskedFile, write_vectors};

/// Vectors stay whatever the share of hidden rows.
const ALWAYS: (&str, &str) = ("deltalakedb.deletionVectors.maxShare", "1");

static OPTIONS: LazyLock<WriteOptions> = LazyLock::new(WriteOptions::default);

fn ids(ids: impl IntoIterator<Item = i64>) -> Vec<i64> {
    ids.into_iter().collect()
}

async fn ids_in(table: &DeltaTable) -> Vec<i64> {
    let contents = contents(table).await;
    assert!(contents.values().all(|days| days.len() == 1), "{contents:?}");
    contents.into_keys().collect()
}

/// The newest commit as the log has it.
async fn newest(table: &DeltaTable) -> String {
    let reader = table.reader().await.unwrap();
    let version = reader.head().await.unwrap().version;
    String::from_utf8(reader.commit_bytes(version).await.unwrap().unwrap().to_vec()).unwrap()
}

/// Commits a vector that hides every row of the first file in the order of paths.
async fn hide_all(fixture: &Fixture, table: &DeltaTable, name: &str, rows: u64) {
    let reader = table.reader().await.unwrap();
    let base = reader.snapshot(At::Latest).await.unwrap();
    let version = base.version();
    let state = LogView::at(table.location(), &OPTIONS.stores, reader, base);
    let add = live(table).await.remove(0);
    let remove = Remove::of(&add, 1, true);
    let masked = vec![MaskedFile { add, hidden: (0..rows).collect() }];
    let written = write_vectors(&state, masked).await.unwrap();
    let actions = [Action::Remove(remove)].into_iter().chain(written.adds.into_iter().map(Action::add)).collect();
    let request = CommitRequest::new(fixture.id(name).await, Uuid::from_u128(9), Base::Exactly(version), actions);
    fixture.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_and_zorder_leave_no_vector_and_bring_no_row_back() {
    let fixture = Fixture::new();
    for partition_by in [&[] as &[&str], &["day"]] {
        for zorder in [&[] as &[&str], &["id"]] {
            let name = format!("t{}{}", partition_by.len(), zorder.len());
            let table = create(&fixture, &name, partition_by, &[ALWAYS]).await;
            append(&table, 0..100).await;
            append(&table, 100..200).await;
            table.delete(Some("id % 5 = 0 OR id BETWEEN 20 AND 90"), &OPTIONS).await.unwrap();
            assert!(hidden(&live(&table).await).iter().all(Option::is_some), "{name}");
            let before = ids_in(&table).await;
            let zorder = zorder.iter().map(|column| column.to_string()).collect();
            table.optimize(Optimize { zorder, ..Optimize::default() }, &OPTIONS).await.unwrap().committed.unwrap();
            assert_eq!(hidden(&live(&table).await), vec![None; 1 + partition_by.len()], "{name}");
            assert_eq!(before, ids((0..200).filter(|id| id % 5 != 0 && !(20..=90).contains(id))), "{name}");
            assert_eq!(ids_in(&table).await, before, "{name}");
            let commit = newest(&table).await;
            assert!(!commit.contains("\"dataChange\":true"), "{commit}");
            assert_eq!(commit.matches("\"cardinality\":").count(), 2 * (1 + partition_by.len()), "{commit}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_rewrites_files_that_have_a_vector_and_no_others() {
    let fixture = Fixture::new();
    let table = create(&fixture, "t", &[], &[ALWAYS]).await;
    for from in [0, 100, 200] {
        append(&table, from..from + 100).await;
    }
    assert_eq!(table.purge(Vec::new(), &OPTIONS).await.unwrap().committed, None);
    table.delete(Some("id < 99 OR id = 150"), &OPTIONS).await.unwrap();
    let before = live(&table).await;
    let kept = before.iter().find(|add| add.deletion_vector.is_none()).unwrap();
    let done = table.purge(Vec::new(), &OPTIONS).await.unwrap();
    let metrics = &done.metrics;
    for (name, number) in [
        ("numFilesAdded", 2),
        ("numFilesRemoved", 2),
        ("numDeletionVectorsRemoved", 2),
        ("numRowsCopied", 100),
        ("numRowsPurged", 100),
    ] {
        assert_eq!(metrics[name], number, "{name}: {metrics}");
    }
    let after = live(&table).await;
    assert_eq!(hidden(&after), [None; 3]);
    assert!(after.contains(kept), "{after:?}");
    let bytes = |files: &[Add]| files.iter().filter(|add| *add != kept).map(|add| add.size).sum::<i64>();
    assert_eq!(
        (&metrics["numBytesAdded"], &metrics["numBytesRemoved"]),
        (&bytes(&after).into(), &bytes(&before).into())
    );
    assert_eq!(ids_in(&table).await, ids((99..300).filter(|id| *id != 150)));
    let commit = newest(&table).await;
    assert!(!commit.contains("\"dataChange\":true") && !commit.contains("\"tightBounds\":false"), "{commit}");
    let line: serde_json::Value = serde_json::from_str(commit.lines().next().unwrap()).unwrap();
    let info = &line["commitInfo"];
    let parameters = serde_json::json!({"predicate": "[]", "applyPurge": "true"});
    assert_eq!((&info["operation"], &info["operationParameters"]), (&"REORG".into(), &parameters), "{commit}");
    assert_eq!(&info["operationMetrics"], metrics);
    assert_eq!(table.purge(Vec::new(), &OPTIONS).await.unwrap().committed, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_only_removes_a_file_of_which_no_row_is_visible() {
    let fixture = Fixture::new();
    // With column mapping the rows are written by delta-rs.
    for (name, properties) in
        [("t", &[ALWAYS] as &[(&str, &str)]), ("u", &[ALWAYS, ("delta.columnMapping.mode", "name")])]
    {
        let table = create(&fixture, name, &[], properties).await;
        append(&table, 0..10).await;
        hide_all(&fixture, &table, name, 10).await;
        append(&table, 10..20).await;
        let files = data_files(&table);
        let done = table.purge(Vec::new(), &OPTIONS).await.unwrap();
        let numbers =
            [&done.metrics["numFilesAdded"], &done.metrics["numFilesRemoved"], &done.metrics["numRowsPurged"]];
        assert_eq!(numbers, [0, 1, 10], "{}", done.metrics);
        assert_eq!(data_files(&table), files);
        assert_eq!(ids_in(&table).await, ids(10..20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_only_move_are_not_checked_again() {
    let fixture = Fixture::new();
    let table = create(&fixture, "t", &[], &[]).await;
    append(&table, 0..100).await;
    // The functions of another engine.
    let mut head = table.head().await.unwrap();
    let mut schema: serde_json::Value = serde_json::from_str(&head.metadata.schema_string).unwrap();
    schema["fields"][1]["metadata"]["delta.generationExpression"] = "format_string('%03d', id)".into();
    head.metadata.schema_string = schema.to_string();
    head.metadata.configuration.insert("delta.constraints.c".into(), Some("format_string('%d', id) > ''".into()));
    let features = head.protocol.writer_features.get_or_insert_default();
    features.extend(["generatedColumns", "checkConstraints"].map(String::from));
    let actions = vec![Action::Protocol(head.protocol), Action::Metadata(head.metadata)];
    let request = CommitRequest::new(fixture.id("t").await, Uuid::nil(), Base::Exactly(1), actions);
    fixture.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();

    table.delete(Some("id < 10"), &OPTIONS).await.unwrap();
    assert_eq!(hidden(&live(&table).await), [Some(10)]);
    let purged = table.purge(Vec::new(), &OPTIONS).await.unwrap();
    assert_eq!((&purged.metrics["numRowsCopied"], &purged.metrics["numRowsPurged"]), (&90.into(), &10.into()));
    // More than the share of hidden rows.
    let deleted = table.delete(Some("id < 60"), &OPTIONS).await.unwrap();
    assert_eq!(deleted.metrics["num_copied_rows"], 40);
    assert_eq!(hidden(&live(&table).await), [None]);
    assert_eq!(ids_in(&table).await, ids(60..100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_keeps_the_order_of_rows() {
    let fixture = Fixture::new();
    let table = create(&fixture, "t", &[], &[]).await;
    let parquet =
        Some(parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(1_000)).build());
    let options = WriteOptions { parquet, ..WriteOptions::default() };
    let many: Vec<_> = (0..50_000).collect();
    let days: Vec<_> = many.iter().map(|_| "d").collect();
    table.write(rows(&many, &days), SaveMode::Append, &options).await.unwrap();
    table.delete(Some("id % 7 = 0"), &OPTIONS).await.unwrap();
    table.purge(Vec::new(), &OPTIONS).await.unwrap();
    let file = live(&table).await.remove(0);
    let file = std::fs::File::open(table.location().local_path().unwrap().join(&file.path)).unwrap();
    let batches = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(file, 1_024).unwrap();
    let mut found = Vec::new();
    for batch in batches {
        let batch = batch.unwrap();
        let column = batch.column_by_name("id").unwrap();
        found.extend(column.as_any().downcast_ref::<Int64Array>().unwrap().values().iter().copied());
    }
    assert!(found.iter().eq(many.iter().filter(|id| *id % 7 != 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_takes_the_partitions_that_it_is_given() {
    let fixture = Fixture::new();
    for mapping in ["none", "name"] {
        let properties = [ALWAYS, ("delta.columnMapping.mode", mapping)];
        let table = create(&fixture, mapping, &["day"], &properties[..1 + usize::from(mapping != "none")]).await;
        append(&table, 0..100).await;
        table.delete(Some("id < 40"), &OPTIONS).await.unwrap();
        let only = |operator: &str, values: &[&str]| PartitionFilter {
            column: "day".into(),
            operator: operator.into(),
            values: values.iter().map(|value| value.to_string()).collect(),
        };
        assert_eq!(table.purge(vec![only("=", &["neither"])], &OPTIONS).await.unwrap().committed, None, "{mapping}");
        let done = table.purge(vec![only("in", &["even", "neither"])], &OPTIONS).await.unwrap();
        assert_eq!(
            (&done.metrics["numFilesRemoved"], &done.metrics["numRowsPurged"]),
            (&1.into(), &20.into()),
            "{mapping}"
        );
        assert!(newest(&table).await.contains(r#""predicate":"[\"(day in ('even', 'neither'))\"]""#));
        let of_day = |files: Vec<Add>| -> BTreeMap<_, _> {
            let vectors = files.iter().map(|add| add.deletion_vector.as_ref().map(|vector| vector.cardinality));
            let days = files.iter().map(|add| add.partition_values.values().next().cloned().flatten().unwrap());
            days.zip(vectors).collect()
        };
        let want = BTreeMap::from([("even".into(), None), ("odd".into(), Some(20))]);
        assert_eq!(of_day(live(&table).await), want, "{mapping}");
        assert_eq!(ids_in(&table).await, ids(40..100), "{mapping}");
        let e =
            table.purge(vec![only("=", &[]), PartitionFilter { column: "x".into(), ..only("=", &["1"]) }], &OPTIONS);
        let e = e.await.unwrap_err();
        assert!(e.to_string().starts_with("the files of the partitions cannot be listed"), "{e}");
        table.purge(vec![only("!=", &["even"])], &OPTIONS).await.unwrap().committed.unwrap();
        assert_eq!(hidden(&live(&table).await), [None, None], "{mapping}");
        assert_eq!(ids_in(&table).await, ids(40..100), "{mapping}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_is_no_change_of_data() {
    let fixture = Fixture::new();
    let table = create(&fixture, "t", &[], &[]).await;
    append(&table, 0..100).await;
    table.delete(Some("id = 7"), &OPTIONS).await.unwrap();
    table.set_properties(&[("delta.enableChangeDataFeed", "true")], &OPTIONS).await.unwrap();
    let purged = table.purge(Vec::new(), &OPTIONS).await.unwrap().committed.unwrap().version;
    append(&table, 100..101).await;
    let changes = table.changes(purged, None).await.unwrap();
    let changes: Vec<RecordBatch> = changes.try_collect().await.unwrap();
    assert_eq!(changes.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    assert_eq!(ids_in(&table).await, ids((0..101).filter(|id| *id != 7)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_purge_leaves_no_file() {
    let fixture = Fixture::new();
    let table = create(&fixture, "t", &["day"], &[ALWAYS]).await;
    append(&table, 0..100).await;
    table.delete(Some("id < 40"), &OPTIONS).await.unwrap();
    let (damaged, files) = (live(&table).await.remove(0), data_files(&table));
    let path = table.location().local_path().unwrap().join(&damaged.path);
    let size = std::fs::metadata(&path).unwrap().len();
    std::fs::write(&path, vec![0; size as usize]).unwrap();
    let e = table.purge(Vec::new(), &OPTIONS).await.unwrap_err();
    assert_eq!((e.to_string().is_empty(), data_files(&table)), (false, files), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_and_a_rewrite_of_the_same_file_conflict() {
    let fixture = Fixture::new();
    type Case = (&'static str, fn() -> Operation);
    let rewrites: [Case; 3] = [
        ("compaction", || Operation::Optimize(Optimize::default())),
        ("zorder", || Operation::Optimize(Optimize { zorder: vec!["id".into()], ..Optimize::default() })),
        ("purge", || Operation::Purge { partitions: Vec::new() }),
    ];
    let changes: [Case; 2] = [
        ("delete", || Operation::Delete { filter: Some("id = 2".into()) }),
        ("update", || Operation::Update {
            set: vec![("id".into(), "2000".into())],
            filter: Some("id = 2".into()),
            safe_cast: false,
        }),
    ];
    for (rewrite, rewriting) in rewrites {
        for (change, changing) in changes {
            for rewrite_is_first in [true, false] {
                let name = format!("{rewrite}_{change}_{rewrite_is_first}");
                let table = create(&fixture, &name, &[], &[]).await;
                append(&table, 0..100).await;
                append(&table, 100..200).await;
                table.delete(Some("id = 1"), &OPTIONS).await.unwrap();
                let prepare = async |operation| table.prepare(operation, &OPTIONS).await.unwrap().unwrap();
                let (rewritten, changed) = (prepare(rewriting()).await, prepare(changing()).await);
                let (first, second) = if rewrite_is_first { (rewritten, changed) } else { (changed, rewritten) };
                commit(fixture.catalog.as_ref(), vec![first], &OPTIONS).await.unwrap();
                let e = commit(fixture.catalog.as_ref(), vec![second], &OPTIONS).await.unwrap_err();
                assert_eq!(e.kind(), ErrorKind::Conflict, "{name}: {e}");
                let mut want = ids((0..200).filter(|id| *id != 1));
                if !rewrite_is_first {
                    want.retain(|id| *id != 2);
                    want.extend((change == "update").then_some(2000));
                }
                assert_eq!(ids_in(&table).await, want, "{name}");
                // The one that lost runs again.
                let again = if rewrite_is_first { changing() } else { rewriting() };
                table.run(again, &OPTIONS).await.unwrap().committed.unwrap();
                want.retain(|id| *id != 2);
                if change == "update" && !want.contains(&2000) {
                    want.push(2000);
                }
                assert_eq!(ids_in(&table).await, want, "{name}");
            }
        }
    }
}
