//! Several operations, several tables, one commit.

use std::time::Duration;

use deltalakedb_log::commit::ConflictKind;
use deltalakedb_log::{Clock, TableListing, TxnLogTransactionError as E};

use super::*;

async fn two(fixture: &Fixture) -> (DeltaTable, DeltaTable) {
    let tables =
        (fixture.create("a", "id long, day string", &[]).await, fixture.create("b", "id long, day string", &[]).await);
    tables.0.write(rows(&[1, 2], &["x", "y"]), SaveMode::Append, &WriteOptions::default()).await.unwrap();
    tables.1.write(rows(&[1], &["z"]), SaveMode::Append, &WriteOptions::default()).await.unwrap();
    tables
}

async fn begin(fixture: &Fixture) -> Transaction {
    Transaction::begin(fixture.catalog.clone(), TransactionOptions::default()).await.unwrap()
}

async fn serializable(fixture: &Fixture) -> Transaction {
    let options = TransactionOptions { serializable: true, ..TransactionOptions::default() };
    Transaction::begin(fixture.catalog.clone(), options).await.unwrap()
}

async fn sees(tx: &Transaction, table: &str, want: &[&str]) {
    assert_eq!(text(&tx.read(table, &Scan::default()).await.unwrap()), want);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_reads_its_own_writes_and_no_other_does() {
    let fixture = Fixture::new();
    let (a, b) = two(&fixture).await;
    let tx = begin(&fixture).await;
    tx.write("a", rows(&[3], &["x"]), SaveMode::Append).await.unwrap();
    tx.update("a", &[("id", "id + 10")], Some("day = 'x'")).await.unwrap();
    assert_eq!(tx.delete("a", Some("id = 2")).await.unwrap()["num_deleted_rows"], 1);
    tx.write("b", rows(&[7], &["w"]), SaveMode::Overwrite).await.unwrap();
    sees(&tx, "a", &["|11|x|", "|13|x|"]).await;
    sees(&tx, "b", &["|7|w|"]).await;
    check(&a, &Scan::default(), &["|1|x|", "|2|y|"]).await;
    let before = data_files(&a);

    // Concurrent commits without a conflict are kept, and invisible until the end.
    a.write(rows(&[100], &["late"]), SaveMode::Append, &WriteOptions::default()).await.unwrap();
    sees(&tx, "a", &["|11|x|", "|13|x|"]).await;
    let committed = tx.commit().await.unwrap();
    assert_eq!(committed.iter().map(|c| c.version).collect::<Vec<_>>(), [3, 2], "one version a table");
    check(&a, &Scan::default(), &["|100|late|", "|11|x|", "|13|x|"]).await;
    check(&b, &Scan::default(), &["|7|w|"]).await;
    assert!(data_files(&a) < before + 1, "files that came and went within are removed");
    let range = deltalakedb_log::HistoryRange { limit: Some(1), ..Default::default() };
    let last = a.reader().await.unwrap().history(range).await.unwrap();
    assert_eq!(last[0].operation.as_deref(), Some("TRANSACTION"));
    assert!(last[0].group_id.is_some());
    check_plain(&a).await;
    check_plain(&b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_back_and_dropped_transactions_leave_no_trace() {
    let fixture = Fixture::new();
    let (a, _) = two(&fixture).await;
    let files = data_files(&a);
    for drops in [false, true] {
        let tx = begin(&fixture).await;
        tx.write("a", rows(&[3], &["x"]), SaveMode::Append).await.unwrap();
        tx.delete("a", Some("id = 1")).await.unwrap();
        tx.create(fixture.new_table("made"), &parse_schema("id long").unwrap(), &[], &HashMap::new()).await.unwrap();
        assert!(data_files(&a) > files);
        if drops {
            drop(tx)
        } else {
            tx.rollback().await
        }
        // A transaction that is dropped within a runtime is cleaned up later.
        while drops && data_files(&a) > files {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(data_files(&a), files);
    }
    assert_eq!(fixture.catalog.tables().await.unwrap().len(), 2);
    check(&a, &Scan::default(), &["|1|x|", "|2|y|"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_change_of_a_file_wins_and_the_conflict_names_it() {
    let fixture = Fixture::new();
    let (a, b) = two(&fixture).await;
    let files = (data_files(&a), data_files(&b));
    let tx = begin(&fixture).await;
    tx.write("b", rows(&[5], &["x"]), SaveMode::Append).await.unwrap();
    tx.update("a", &[("id", "0")], Some("id = 1")).await.unwrap();
    a.delete(Some("id = 2"), &WriteOptions::default()).await.unwrap();
    let e = tx.commit().await.unwrap_err();
    let E::Conflict(conflict) = &e else { panic!("{e}") };
    let name: deltalakedb_log::TableName = "a".parse().unwrap();
    assert_eq!((&conflict.table_name, conflict.version, conflict.operation.as_deref()), (&name, 2, Some("DELETE")));
    assert!(matches!(conflict.kind, ConflictKind::FileAlreadyRemoved(_)), "{conflict:?}");
    assert_eq!(deltalakedb_log::TxnLogError::from(e).kind(), ErrorKind::Conflict);
    assert_eq!((data_files(&a), data_files(&b)), (files.0 + 1, files.1), "the loser's files are gone");
    assert_eq!(b.head().await.unwrap().version, 1, "one conflict, no commit");
}

/// Each of the two reads what the other changes.
async fn crossed(fixture: &Fixture, one: Transaction, other: Transaction) -> Vec<TransactionResult<()>> {
    two(fixture).await;
    let scan = Scan { filter_sql: Some("id = 1".into()), ..Scan::default() };
    let (mut done, mut open) = (Vec::new(), Vec::new());
    for (tx, reads, writes) in [(one, "a", "b"), (other, "b", "a")] {
        let tx = Transaction::begin(fixture.catalog.clone(), tx.options().clone()).await.unwrap();
        tx.read(reads, &scan).await.unwrap();
        tx.update(writes, &[("day", "'new'")], Some("id = 1")).await.unwrap();
        open.push(tx);
    }
    for tx in open {
        done.push(tx.commit().await.map(|_| ()));
    }
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn only_snapshot_isolation_allows_write_skew() {
    let fixture = Fixture::new();
    let done = crossed(&fixture, begin(&fixture).await, begin(&fixture).await).await;
    assert!(done.iter().all(|d| d.is_ok()), "{done:?}");

    let fixture = Fixture::new();
    let done = crossed(&fixture, serializable(&fixture).await, serializable(&fixture).await).await;
    assert!(done[0].is_ok(), "{done:?}");
    assert!(matches!(&done[1], Err(E::Conflict(c)) if c.table_name.name == "b"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serializable_transaction_conflicts_with_concurrent_appends() {
    let fixture = Fixture::new();
    let (a, b) = two(&fixture).await;
    let few = Scan { filter_sql: Some("id < 10".into()), ..Scan::default() };
    for (id, conflicts) in [(50, false), (5, true)] {
        let tx = serializable(&fixture).await;
        tx.read("a", &few).await.unwrap();
        tx.write("b", rows(&[id], &["sum"]), SaveMode::Append).await.unwrap();
        a.write(rows(&[id], &["new"]), SaveMode::Append, &WriteOptions::default()).await.unwrap();
        let done = tx.commit().await;
        assert_eq!(done.is_err(), conflicts, "{done:?}");
    }
    assert_eq!(b.head().await.unwrap().version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_constraint_conflicts_with_concurrent_appends() {
    let fixture = Fixture::new();
    let (a, _) = two(&fixture).await;
    let tx = begin(&fixture).await;
    let constrain = Operation::AddConstraints([("small".into(), "id < 10".into())].into());
    tx.run("a", constrain).await.unwrap();
    a.write(rows(&[50], &["late"]), SaveMode::Append, &WriteOptions::default()).await.unwrap();
    let e = tx.commit().await.unwrap_err();
    assert!(matches!(&e, E::Conflict(c) if matches!(c.kind, ConflictKind::MatchingFileAdded(_))), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_created_and_filled_in_one_transaction() {
    let fixture = Fixture::new();
    two(&fixture).await;
    let tx = begin(&fixture).await;
    tx.create(fixture.new_table("empty"), &parse_schema("id long, day string").unwrap(), &[], &HashMap::new())
        .await
        .unwrap();
    tx.create_with_data(fixture.new_table("full"), rows(&[1], &["x"]), &["day".into()], &HashMap::new()).await.unwrap();
    tx.write("empty", rows(&[2], &["y"]), SaveMode::Append).await.unwrap();
    tx.update("full", &[("id", "9")], None).await.unwrap();
    tx.run("empty", Operation::Alter(Alter::AddColumns(parse_schema("n long").unwrap()))).await.unwrap();
    sees(&tx, "empty", &["|2|y||"]).await;
    sees(&tx, "full", &["|9|x|"]).await;
    let e = tx
        .create(fixture.new_table("full"), &parse_schema("id long").unwrap(), &[], &HashMap::new())
        .await
        .unwrap_err();
    assert!(e.to_string().contains("there is a table default.full already"), "{e}");
    let committed = tx.commit().await.unwrap();
    assert_eq!(committed.iter().map(|c| c.version).collect::<Vec<_>>(), [0, 0]);
    for (table, want) in [("empty", "|2|y||"), ("full", "|9|x|")] {
        let table = fixture.open(table).await;
        check(&table, &Scan::default(), &[want]).await;
        check_plain(&table).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_transaction_are_enforced_and_named() {
    let fixture = Fixture::new();
    two(&fixture).await;
    let options = TransactionOptions { max_tables: 1, ..TransactionOptions::default() };
    let tx = Transaction::begin(fixture.catalog.clone(), options).await.unwrap();
    tx.read("a", &Scan::default()).await.unwrap();
    let e = tx.write("b", rows(&[5], &["x"]), SaveMode::Append).await.unwrap_err();
    assert!(matches!(e, E::TooManyTables { max: 1, .. }), "{e}");

    let clock = Arc::new(SeededClock::new(1_700_000_000_000, 3));
    let write = WriteOptions { clock: clock.clone(), ..WriteOptions::default() };
    let options = TransactionOptions { write, timeout: Duration::from_secs(10), ..TransactionOptions::default() };
    let a = fixture.open("a").await;
    let files = data_files(&a);
    let tx = Transaction::begin(fixture.catalog.clone(), options.clone()).await.unwrap();
    tx.write("a", rows(&[5], &["x"]), SaveMode::Append).await.unwrap();
    while clock.now_ms() < 1_700_000_011_000 {}
    let e = tx.commit().await.unwrap_err();
    assert!(e.to_string().contains("its timeout is 10 s: nothing was committed"), "{e}");
    assert_eq!(data_files(&a), files);
    let options = TransactionOptions { timeout: MAX_TIMEOUT + Duration::from_secs(1), ..options };
    let e = Transaction::begin(fixture.catalog.clone(), options).await.unwrap_err();
    assert!(e.to_string().contains("may take at most 86400 s"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_fails_leaves_the_transaction_as_it_was() {
    let fixture = Fixture::new();
    let (a, _) = two(&fixture).await;
    let tx = begin(&fixture).await;
    tx.write("a", rows(&[3], &["x"]), SaveMode::Append).await.unwrap();
    for (what, says) in [
        (tx.delete("a", Some("nosuch = 1")).await, "unknown column \"nosuch\""),
        (tx.update("a", &[], None).await, "sets no column"),
        (tx.delete("nosuch", None).await, "there is no table default.nosuch"),
        (tx.run("a", Operation::Optimize(Optimize::default())).await, "an optimize cannot be part of a transaction"),
    ] {
        let e = what.unwrap_err();
        assert!(e.to_string().contains(says), "{e}");
    }
    tx.commit().await.unwrap();
    check(&a, &Scan::default(), &["|1|x|", "|2|y|", "|3|x|"]).await;

    // Changes of two kinds cannot be recorded in one commit.
    a.set_properties(&[("delta.enableChangeDataFeed", "true")], &WriteOptions::default()).await.unwrap();
    let tx = begin(&fixture).await;
    tx.write("a", rows(&[4], &["x"]), SaveMode::Append).await.unwrap();
    let e = tx.delete("a", Some("id = 1")).await.unwrap_err();
    assert!(e.to_string().contains("records its changes"), "{e}");
    tx.commit().await.unwrap();
    assert_eq!(a.counts(At::Latest).await.unwrap().rows, Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_has_one_change_per_row() {
    let fixture = Fixture::new();
    let (a, _) = two(&fixture).await;
    a.set_properties(&[("delta.enableChangeDataFeed", "true")], &WriteOptions::default()).await.unwrap();
    a.write(rows(&[3, 4], &["z", "z"]), SaveMode::Append, &WriteOptions::default()).await.unwrap();
    let files = data_files(&a);
    let tx = begin(&fixture).await;
    tx.update("a", &[("id", "id + 10")], Some("id = 1")).await.unwrap();
    for e in [
        tx.update("a", &[("id", "id + 100")], Some("id = 11")).await.unwrap_err(),
        tx.delete("a", Some("id = 11")).await.unwrap_err(),
    ] {
        assert!(e.to_string().contains("cannot record two changes of one row"), "{e}");
    }
    // Rows of another file have not changed yet.
    tx.delete("a", Some("id = 4")).await.unwrap();
    let version = tx.commit().await.unwrap()[0].version;
    check(&a, &Scan::default(), &["|11|x|", "|2|y|", "|3|z|"]).await;
    let changes: Vec<_> = a.changes(version, None).await.unwrap().try_collect().await.unwrap();
    let changes: Vec<_> =
        text(&changes).iter().map(|l| l.splitn(5, '|').take(4).collect::<Vec<_>>().join("|")).collect();
    assert_eq!(changes, ["|11|x|update_postimage", "|1|x|update_preimage", "|4|z|delete"]);
    assert_eq!(data_files(&a), files + 4, "what was refused left no file: two of rows and two of changes are new");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_one_transaction_do_not_overlap() {
    let fixture = Fixture::new();
    let tx = begin(&fixture).await;
    let schema = parse_schema("id long").unwrap();
    tx.create(fixture.new_table("a"), &schema, &[], &HashMap::new()).await.unwrap();
    for (name, place) in [("b", "a/b"), ("c", ".")] {
        let location = Location::parse(fixture.dir.path().join(place).to_str().unwrap()).unwrap();
        let new = NewTable::new(name.parse().unwrap(), location);
        let e = tx.create(new, &schema, &[], &HashMap::new()).await.unwrap_err();
        assert!(e.to_string().contains("choose another location"), "{e}");
    }
    tx.create(fixture.new_table("b"), &schema, &[], &HashMap::new()).await.unwrap();
    assert_eq!(tx.commit().await.unwrap().len(), 2);
}
