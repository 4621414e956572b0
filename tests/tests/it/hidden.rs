//! No reader of ours reads a managed table's `_delta_log`: it is replaced by a link to itself, which fails every
//! access.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::predicate::{Comparison, Literal};
use deltalakedb_log::stores::environment;
use deltalakedb_log::{At, Catalog, Durability, HistoryRange, Predicate, SystemClock, TableRef, TxnLogReaderExt};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::{
    Alter, Assignments, DeltaTable, Merge, MergeClause, Operation, Optimize, SaveMode, Scan, Transaction,
    TransactionOptions, WriteOptions, WriteRows, create_table, parse_schema, plain,
};
use deltalakedb_tests::{lines, location, sqlite};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path as ObjectPath;

fn rows(ids: &[i64], day: &str) -> Vec<RecordBatch> {
    let days: ArrayRef = Arc::new(StringArray::from(vec![day; ids.len()]));
    let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    vec![RecordBatch::try_from_iter([("id", ids), ("day", days)]).unwrap()]
}

/// Two versions of rows, with recorded changes.
async fn filled(catalog: &Arc<dyn Catalog>, dir: &Path, name: &str) -> DeltaTable {
    let new = NewTable::new(name.parse().unwrap(), location(&dir.join(name)));
    let properties = [("delta.enableChangeDataFeed".to_string(), "true".to_string())].into();
    let (schema, options) = (parse_schema("id long, day string").unwrap(), WriteOptions::default());
    create_table(catalog.as_ref(), new, &schema, &["day".into()], &properties, &options).await.unwrap();
    let table = DeltaTable::open_in(catalog.clone(), &TableRef::Name(name.parse().unwrap())).await.unwrap();
    for (ids, day) in [([1, 2, 3], "a"), ([4, 5, 6], "b")] {
        table.write(rows(&ids, day), SaveMode::Append, &options).await.unwrap();
    }
    table.update(&[("id", "id * 10")], Some("id = 2"), &options).await.unwrap();
    table
}

/// Replaces a log by one that fails every access.
async fn poison(table: &DeltaTable) {
    let log = table.location().local_path().unwrap().join("_delta_log");
    std::fs::remove_dir_all(&log).unwrap();
    std::os::unix::fs::symlink("_delta_log", &log).unwrap();
    let store = environment().open(table.location(), Durability::Full).unwrap();
    let (folder, file) = (ObjectPath::from("_delta_log"), ObjectPath::from("_delta_log/00000000000000000000.json"));
    assert!(store.list(Some(&folder)).try_collect::<Vec<_>>().await.is_err(), "it cannot be listed");
    let opened = store.get(&file).await.unwrap_err();
    assert!(!matches!(opened, object_store::Error::NotFound { .. }), "it is not as if it were not there: {opened}");
    assert!(plain::replay(table.location(), None).await.is_err(), "plain delta-rs fails");
    assert!(plain::read(table.location(), None).await.is_err(), "plain delta-rs fails");
}

/// The answers to all queries.
async fn answers(catalog: &Arc<dyn Catalog>, table: &DeltaTable) -> Vec<String> {
    let reader = table.reader().await.unwrap();
    let history = reader.history(HistoryRange::default()).await.unwrap();
    let mut said = vec![format!("{:?} {history:?}", table.head().await.unwrap())];
    let four = Predicate::Compare("id".into(), Comparison::Eq, Literal::Long(4));
    for commit in &history {
        let (version, time) = (commit.version, At::Timestamp(commit.timestamp));
        assert_eq!(reader.snapshot(time).await.unwrap().version(), version);
        for predicate in [None, Some(&four)] {
            let files: Vec<_> = reader.files(version, predicate).await.unwrap().try_collect().await.unwrap();
            said.push(format!("{files:?}"));
        }
        for at in [At::Version(version), time] {
            said.push(format!("{:?} {:?}", table.schema(at).await.unwrap(), table.counts(at).await.unwrap()));
            said.push(format!("{:?}", table.min_max(at, "id").await.unwrap()));
            for filter in [None, Some("id >= 4 AND day = 'b'"), Some("id < 0")] {
                let scan = Scan { at, filter_sql: filter.map(String::from), ..Scan::default() };
                said.push(lines(&table.read(&scan).await.unwrap()).join("\n"));
            }
        }
        said.push(format!("{:?}", reader.commit_bytes(version).await.unwrap()));
    }
    let head = history[0].version;
    said.push(format!("{:?}", reader.changes(0, head).await.unwrap().try_collect::<Vec<_>>().await.unwrap()));
    said.push(format!("{:?}", reader.explain(head, &four).await.unwrap()));
    let changed: Vec<_> = table.changes(0, None).await.unwrap().try_collect().await.unwrap();
    said.push(lines(&changed).join("\n"));
    let tx = Transaction::begin(catalog.clone(), TransactionOptions::default()).await.unwrap();
    let name = table.name().unwrap().to_string();
    for at in [At::Latest, At::Version(1)] {
        said.push(lines(&tx.read(&name, &Scan { at, ..Scan::default() }).await.unwrap()).join("\n"));
    }
    said
}

/// Runs all operations; returns the rows after each.
async fn operate(catalog: &Arc<dyn Catalog>, table: &DeltaTable) -> Vec<Vec<String>> {
    let upsert = Merge::on("target.id = source.id")
        .when(MergeClause::MatchedUpdate { condition: None, set: Assignments::All })
        .when(MergeClause::NotMatchedInsert { condition: None, values: Assignments::All })
        .when(MergeClause::NotMatchedBySourceDelete { condition: Some("target.id = 5".into()) });
    let replace =
        WriteRows { replace_where: Some("day = 'a'".into()), ..WriteRows::new(rows(&[1], "a"), SaveMode::Overwrite) };
    let operations = [
        Operation::Write(WriteRows::new(rows(&[7, 8], "c"), SaveMode::Append)),
        Operation::Write(replace),
        Operation::Delete { filter: Some("id = 4".into()) },
        Operation::Update {
            set: vec![("id".into(), "id + 1".into())],
            filter: Some("day = 'c'".into()),
            safe_cast: false,
        },
        Operation::Merge(upsert, rows(&[6, 9], "b").into()),
        Operation::Optimize(Optimize::default()),
        Operation::Optimize(Optimize { zorder: vec!["id".into()], ..Optimize::default() }),
        Operation::AddConstraints([("positive".into(), "id > 0".into())].into()),
        Operation::Alter(Alter::AddColumns(parse_schema("note string").unwrap())),
        Operation::Alter(Alter::SetProperties {
            properties: [("delta.dataSkippingNumIndexedCols".to_string(), "1".to_string())].into(),
            unknown: false,
        }),
        Operation::Restore(At::Version(3).into()),
        Operation::Write(WriteRows::new(rows(&[1], "z"), SaveMode::Overwrite)),
    ];
    let mut after = Vec::new();
    for operation in operations {
        table.run(operation, &WriteOptions::default()).await.unwrap();
        after.push(lines(&table.read(&Scan::default()).await.unwrap()));
    }
    let tx = Transaction::begin(catalog.clone(), TransactionOptions::default()).await.unwrap();
    let name = table.name().unwrap().to_string();
    tx.update(&name, &[("id", "id + 100")], None).await.unwrap();
    tx.run(&name, Operation::AddConstraints([("large".into(), "id > 100".into())].into())).await.unwrap();
    tx.commit().await.unwrap();
    after.push(lines(&table.read(&Scan::default()).await.unwrap()));
    after
}

#[tokio::test(flavor = "multi_thread")]
async fn no_read_or_write_looks_into_a_delta_log() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
    let (hidden, open) = (filled(&catalog, dir.path(), "hidden").await, filled(&catalog, dir.path(), "open").await);
    mirror
        .run()
        .try_collect::<Vec<_>>()
        .await
        .unwrap()
        .into_iter()
        .for_each(|(_, published)| assert_eq!(published.unwrap().count, 4));
    let before = answers(&catalog, &hidden).await;
    poison(&hidden).await;
    assert_eq!(answers(&catalog, &hidden).await, before);
    assert_eq!(operate(&catalog, &hidden).await, operate(&catalog, &open).await);
    let results = mirror.run().try_collect::<Vec<_>>().await.unwrap();
    let failed: Vec<_> = results.iter().filter(|(_, r)| r.is_err()).map(|(t, _)| t.name.to_string()).collect();
    assert_eq!(failed, ["default.hidden"], "only publishing needs it");
}
