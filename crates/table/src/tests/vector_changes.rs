//! The change data feed of tables whose rows are marked by deletion vectors.

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use parquet::file::properties::WriterProperties;

use super::vector_merges::{Random, Twins, first_rows, random_merge};
use super::vectors::{append, create, live};
use super::*;

const FEED: (&str, &str) = ("delta.enableChangeDataFeed", "true");

/// The changes of each version: the row, and the type of its change.
fn by_version(changes: Vec<RecordBatch>) -> Vec<String> {
    let line = |batch: RecordBatch| {
        let column = |name: &str| batch.schema().index_of(name).unwrap();
        let versions = batch.column(column("_commit_version")).as_primitive::<UInt64Type>().clone();
        let mut rows = batch.clone();
        for name in ["_commit_timestamp", "_commit_version"] {
            rows.remove_column(rows.schema().index_of(name).unwrap());
        }
        let rows: Vec<_> = (0..rows.num_rows()).flat_map(|n| text(&[rows.slice(n, 1)])).collect();
        versions.values().iter().zip(rows).map(|(version, row)| format!("{version}{row}")).collect::<Vec<_>>()
    };
    let mut lines: Vec<_> = changes.into_iter().flat_map(line).collect();
    lines.sort_unstable();
    lines
}

async fn changes_since(table: &DeltaTable, from: u64) -> Vec<String> {
    by_version(table.changes(from, None).await.unwrap().try_collect().await.unwrap())
}

/// The changes as plain delta-rs reads them from the published log.
async fn plain_changes_since(table: &DeltaTable, from: u64) -> Vec<String> {
    check_plain(table).await;
    by_version(plain::changes(table.location(), from).await.unwrap())
}

/// Commits an operation as other engines do that mark rows without change data files.
async fn commit_without_change_files(fixture: &Fixture, table: &DeltaTable, operation: Operation) {
    let options = WriteOptions::default();
    let pending = table.prepare(operation, &options).await.unwrap().unwrap();
    let actions = pending.request().actions().iter().filter(|action| !matches!(action, Action::Cdc(_)));
    let (id, base) = (pending.request().table, pending.request().base.clone());
    let request = CommitRequest::new(id, fixture.clock.new_uuid(), base, actions.cloned().collect());
    fixture.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
}

fn delete(filter: &str) -> Operation {
    Operation::Delete { filter: Some(filter.into()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_by_vectors_are_recorded_in_change_data_files() {
    let fixture = Fixture::new();
    let options = WriteOptions::default();
    for partition_by in [&[] as &[&str], &["day"]] {
        let table = create(&fixture, &format!("t{}", partition_by.len()), partition_by, &[FEED]).await;
        append(&table, 0..20).await;
        table.delete(Some("id = 1"), &options).await.unwrap();
        table.update(&[("day", "'new'")], Some("id IN (2, 3)"), &options).await.unwrap();
        let merge = Merge::on("target.id = source.id")
            .when(MergeClause::MatchedDelete { condition: Some("source.day = 'gone'".into()) })
            .when(MergeClause::MatchedUpdate { condition: None, set: Assignments::All })
            .when(MergeClause::NotMatchedInsert { condition: None, values: Assignments::All });
        table.merge(merge, rows(&[4, 5, 50], &["gone", "merged", "in"]), &options).await.unwrap();
        let want = [
            "2|1|odd|delete|",
            "3|2|even|update_preimage|",
            "3|2|new|update_postimage|",
            "3|3|new|update_postimage|",
            "3|3|odd|update_preimage|",
            "4|4|even|delete|",
            "4|50|in|insert|",
            "4|5|merged|update_postimage|",
            "4|5|odd|update_preimage|",
        ];
        assert_eq!(changes_since(&table, 2).await, want);
        assert_eq!(plain_changes_since(&table, 2).await, want);
        assert!(live(&table).await.iter().any(|add| add.deletion_vector.is_some()));
        let reader = table.reader().await.unwrap();
        let commit = String::from_utf8(reader.commit_bytes(2).await.unwrap().unwrap().to_vec()).unwrap();
        assert!(commit.contains("{\"cdc\":{\"path\":\"_change_data/"), "{commit}");

        // All rows that are left, of files with vectors.
        let files = data_files(&table);
        table.delete(None, &options).await.unwrap();
        assert!(data_files(&table) > files);
        assert_eq!(changes_since(&table, 5).await.len(), 19);
        assert_eq!(plain_changes_since(&table, 5).await, changes_since(&table, 5).await);
        // Files without vectors are removed without recording their rows.
        append(&table, 20..30).await;
        let files = data_files(&table);
        table.delete(Some("id >= 20"), &options).await.unwrap();
        assert_eq!((data_files(&table), changes_since(&table, 7).await.len()), (files, 10));
        let e = table.update(&[("id", "CAST(day AS BIGINT)")], Some("id = 1"), &options).await;
        assert!(e.is_ok_and(|done| done.committed.is_none()), "no row is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_fails_leaves_no_change_data_files() {
    let fixture = Fixture::new();
    let table = create(&fixture, "t", &[], &[FEED]).await;
    append(&table, 0..20).await;
    let options = WriteOptions::default();
    let e = table.update(&[("id", "CAST(day AS BIGINT)")], Some("id < 5"), &options).await.unwrap_err();
    assert!(e.to_string().contains("even"), "{e}");
    let merge =
        Merge::on("target.id = source.id").when(MergeClause::MatchedUpdate { condition: None, set: Assignments::All });
    assert_eq!(data_files(&table), 1, "after an update");
    table.merge(merge, rows(&[1, 2, 3, 3], &["a", "b", "c", "d"]), &options).await.unwrap_err();
    assert_eq!(data_files(&table), 1, "after a merge");
    let pending = table.prepare(delete("id = 1"), &options).await.unwrap().unwrap();
    assert_eq!(data_files(&table), 2);
    pending.discard().await;
    assert_eq!(data_files(&table), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_transaction_are_those_of_its_statements() {
    let fixture = Fixture::new();
    let table = create(&fixture, "t", &[], &[FEED]).await;
    append(&table, 0..50).await;
    let tx = Transaction::begin(fixture.catalog.clone(), TransactionOptions::default()).await.unwrap();
    tx.run("t", delete("id = 1")).await.unwrap();
    tx.run("t", delete("id = 2")).await.unwrap();
    let set = vec![("day".to_string(), "'new'".to_string())];
    tx.run("t", Operation::Update { set: set.clone(), filter: Some("id = 3".into()), safe_cast: false }).await.unwrap();
    // A second change of a row that the transaction wrote has no place in the feed.
    let again = Operation::Update { set, filter: Some("id = 3".into()), safe_cast: false };
    let e = tx.run("t", again).await.unwrap_err();
    assert!(e.to_string().contains("two changes of one row"), "{e}");
    let tx = Transaction::begin(fixture.catalog.clone(), TransactionOptions::default()).await.unwrap();
    tx.run("t", delete("id = 1")).await.unwrap();
    tx.run("t", delete("id = 2")).await.unwrap();
    let set = vec![("day".to_string(), "'new'".to_string())];
    tx.run("t", Operation::Update { set, filter: Some("id = 3".into()), safe_cast: false }).await.unwrap();
    tx.commit().await.unwrap();
    let want = ["2|1|odd|delete|", "2|2|even|delete|", "2|3|new|update_postimage|", "2|3|odd|update_preimage|"];
    assert_eq!(changes_since(&table, 2).await, want);
    assert_eq!(plain_changes_since(&table, 2).await, want);
}

#[tokio::test(flavor = "multi_thread")]
async fn random_changes_are_recorded_as_by_rewriting() {
    for seed in 100..112 {
        let fixture = Fixture::new();
        let mut random = Random(seed);
        let partition_by: &[&str] = if seed % 3 == 0 { &["day"] } else { &[] };
        let twins = Twins::create(&fixture, "t", partition_by, random.one_of(&["0", "0.3", "1"]), &[FEED]).await;
        for ids in [0..25, 25..60] {
            twins.append(&first_rows(&mut random, ids)).await;
        }
        for _ in 0..7 {
            let what = match random.below(3) {
                0 => {
                    let filter = random.one_of(&["id % 9 = 1", "n > 7", "day = 'a' AND n = 1"]);
                    twins.run(|| delete(filter)).await;
                    format!("delete {filter}")
                }
                1 => {
                    // Each updated row changes: delta-rs omits others.
                    let set = vec![("id".to_string(), "id + 100".to_string())];
                    let filter = random.one_of(&["id % 9 = 1", "n > 7 AND day IS NULL", "day = 'b'"]);
                    let update =
                        || Operation::Update { set: set.clone(), filter: Some(filter.into()), safe_cast: false };
                    twins.run(update).await;
                    format!("update {filter}")
                }
                _ => {
                    // delta-rs refuses some inserts here, since it checks rows that it does not write, and it doubles
                    // rows with two matches that no clause changes.
                    let inserts = |clause: &MergeClause| matches!(clause, MergeClause::NotMatchedInsert { .. });
                    let (merge, rows) = loop {
                        let (merge, rows) = random_merge(&mut random);
                        let mut ids: Vec<_> =
                            text(&rows).iter().map(|row| row.split('|').nth(1).map(String::from)).collect();
                        let all = ids.len();
                        ids.dedup();
                        if ids.len() == all && !merge.clauses.iter().any(inserts) {
                            break (merge, rows);
                        }
                    };
                    twins.run(|| Operation::Merge(merge.clone(), rows.clone().into())).await;
                    format!("{merge:?}\n{}", text(&rows).join("\n"))
                }
            };
            twins.check_same_rows(&format!("seed {seed}: {what}")).await;
        }
        let (marked, rewritten) = (changes_since(&twins.marked, 1).await, changes_since(&twins.rewritten, 1).await);
        assert_eq!(without_versions(&marked), without_versions(&rewritten), "seed {seed}");
        assert_eq!(plain_changes_since(&twins.marked, 1).await, marked, "seed {seed}");
    }
}

/// A merge that changes nothing is a version in delta-rs, and none here.
fn without_versions(changes: &[String]) -> Vec<String> {
    let mut versions = Vec::new();
    let number = |change: &String| {
        let (version, row) = change.split_once('|').unwrap();
        let version: u64 = version.parse().unwrap();
        if !versions.contains(&version) {
            versions.push(version);
        }
        (version, row.to_string())
    };
    let changes: Vec<_> = changes.iter().map(number).collect();
    versions.sort_unstable();
    let mut lines: Vec<_> = changes
        .into_iter()
        .map(|(version, row)| format!("{}|{row}", versions.binary_search(&version).unwrap()))
        .collect();
    lines.sort_unstable();
    lines
}

/// Spark's DELETE with deletion vectors writes no change data files: readers compare the vectors.
#[tokio::test(flavor = "multi_thread")]
async fn changes_without_change_data_files_are_the_difference_of_vectors() {
    let fixture = Fixture::new();
    for (name, partition_by) in [("flat", &[] as &[&str]), ("by_day", &["day"])] {
        let properties = [FEED, ("deltalakedb.deletionVectors.maxShare", "1")];
        let table = create(&fixture, name, partition_by, &properties).await;
        // Several row groups in each file.
        let parquet = WriterProperties::builder().set_max_row_group_row_count(Some(10)).build();
        let options = WriteOptions { parquet: Some(parquet), ..WriteOptions::default() };
        for range in [0..50_i64, 50..60] {
            let ids: Vec<_> = range.collect();
            let days: Vec<_> = ids.iter().map(|id| if *id < 50 { "first" } else { "second" }).collect();
            table.write(rows(&ids, &days), SaveMode::Append, &options).await.unwrap();
        }
        commit_without_change_files(&fixture, &table, delete("id IN (3, 25, 55)")).await;
        commit_without_change_files(&fixture, &table, delete("id IN (0, 25, 26, 49)")).await;
        // All other rows of the second file.
        commit_without_change_files(&fixture, &table, delete("id >= 50")).await;
        table.restore(At::Version(3), &WriteOptions::default()).await.unwrap();
        table.restore(At::Version(2), &WriteOptions::default()).await.unwrap();
        let row = |version: u64, id: i64, change: &str| {
            format!("{version}|{id}|{}|{change}|", if id < 50 { "first" } else { "second" })
        };
        let mut want = Vec::new();
        want.extend([3, 25, 55].map(|id| row(3, id, "delete")));
        want.extend([0, 26, 49].map(|id| row(4, id, "delete")));
        let others = (50..60).filter(|id| *id != 55);
        want.extend(others.clone().map(|id| row(5, id, "delete")));
        want.extend(others.map(|id| row(6, id, "insert")));
        want.extend([0, 26, 49].map(|id| row(6, id, "insert")));
        want.extend([3, 25, 55].map(|id| row(7, id, "insert")));
        want.sort_unstable();
        assert_eq!(changes_since(&table, 3).await, want, "{name}");
        let first: Vec<_> = want.iter().filter(|change| change.starts_with('4')).cloned().collect();
        let some = CdfScan { from: 4, to: Some(4), ..CdfScan::default() };
        let read = async |what: &CdfScan| {
            by_version(table.changes_of(what, At::Latest).await.unwrap().try_collect().await.unwrap())
        };
        assert_eq!(read(&some).await, first, "{name}");
        let filtered =
            CdfScan { from: 3, filter_sql: Some("_change_type = 'delete' AND id = 26".into()), ..some.clone() };
        assert_eq!(read(&filtered).await, [row(4, 26, "delete")], "{name}");
        let until = chrono::DateTime::from_timestamp_millis(0).unwrap();
        assert!(read(&CdfScan { from: 3, to: None, until: Some(until), ..some }).await.is_empty(), "{name}");
        check_plain(&table).await;
    }
}
