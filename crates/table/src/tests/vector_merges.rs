//! Merges by deletion vectors leave the rows that merges of a table without vectors leave.

use super::vectors::{append, create, hidden, live};
use super::*;

/// Pseudorandom numbers from a seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    pub(super) fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }
}

/// Two tables with the columns `id`, `day` and `n`, the first with deletion vectors.
pub(super) struct Twins {
    pub(super) marked: DeltaTable,
    pub(super) rewritten: DeltaTable,
}

impl Twins {
    pub(super) async fn create(
        fixture: &Fixture,
        name: &str,
        partition_by: &[&str],
        max_share: &str,
        properties: &[(&str, &str)],
    ) -> Self {
        let table = async |name: String, own: &[(&str, &str)]| {
            let partition_by: Vec<_> = partition_by.iter().map(|p| p.to_string()).collect();
            let schema = parse_schema("id long not null, day string, n integer").unwrap();
            let properties = own.iter().chain(properties).map(|(key, value)| (key.to_string(), value.to_string()));
            let (new, options) = (fixture.new_table(&name), WriteOptions::default());
            let properties = properties.collect();
            create_table(fixture.catalog.as_ref(), new, &schema, &partition_by, &properties, &options).await.unwrap();
            fixture.open(&name).await
        };
        let own = [("delta.enableDeletionVectors", "true"), ("deltalakedb.deletionVectors.maxShare", max_share)];
        Self {
            marked: table(format!("{name}_marked"), &own).await,
            rewritten: table(format!("{name}_rewritten"), &[]).await,
        }
    }

    pub(super) async fn append(&self, rows: &[RecordBatch]) {
        for table in [&self.marked, &self.rewritten] {
            table.write(rows.to_vec(), SaveMode::Append, &WriteOptions::default()).await.unwrap();
        }
    }

    /// Runs an operation on both; its metrics, or `None` if it failed, which it must on both or none.
    pub(super) async fn run(&self, operation: impl Fn() -> Operation) -> Option<[serde_json::Value; 2]> {
        let options = WriteOptions::default();
        let files = data_files(&self.marked);
        let marked = self.marked.run(operation(), &options).await;
        let rewritten = self.rewritten.run(operation(), &options).await;
        match (marked, rewritten) {
            (Ok(marked), Ok(rewritten)) => Some([marked.metrics, rewritten.metrics]),
            (Err(_), Err(_)) => {
                assert_eq!(data_files(&self.marked), files, "an operation that fails leaves no file");
                None
            }
            (marked, rewritten) => panic!("by vectors: {marked:?}, by rewriting: {rewritten:?}, {:?}", operation()),
        }
    }

    pub(super) async fn check_same_rows(&self, what: &str) {
        let rows = async |table: &DeltaTable| text(&table.read(&Scan::default()).await.unwrap());
        assert_eq!(rows(&self.marked).await, rows(&self.rewritten).await, "{what}");
    }
}

/// Rows with random values, null among them.
pub(super) fn random_rows(random: &mut Random, ids: impl IntoIterator<Item = i64>) -> Vec<RecordBatch> {
    let ids: Vec<_> = ids.into_iter().collect();
    let days: Vec<_> = ids.iter().map(|_| random.one_of(&[Some("a"), Some("b"), Some("c"), None])).collect();
    let n: Vec<_> = ids.iter().map(|_| Some(random.below(12) as i64).filter(|n| *n < 10)).collect();
    let columns: [(&str, ArrayRef, bool); 3] = [
        ("id", Arc::new(Int64Array::from(ids)), true),
        ("day", Arc::new(StringArray::from(days)), true),
        ("n", Arc::new(Int64Array::from(n)), true),
    ];
    vec![RecordBatch::try_from_iter_with_nullable(columns).unwrap()]
}

/// The rows that a table begins with: `n` is an integer there.
pub(super) fn first_rows(random: &mut Random, ids: std::ops::Range<i64>) -> Vec<RecordBatch> {
    let rows = random_rows(random, ids).remove(0);
    let n = arrow::compute::cast(rows.column(2), &arrow::datatypes::DataType::Int32).unwrap();
    let columns = [("id", rows.column(0).clone(), true), ("day", rows.column(1).clone(), true), ("n", n, true)];
    vec![RecordBatch::try_from_iter_with_nullable(columns).unwrap()]
}

/// A merge with random clauses, and its source rows.
pub(super) fn random_merge(random: &mut Random) -> (Merge, Vec<RecordBatch>) {
    let on = [
        "target.id = source.id",
        "target.id = source.id",
        "source.id = target.id AND target.id < 30",
        "target.id = source.id AND target.day = source.day",
        "target.id = source.id AND source.n > 2",
        "target.id = source.id + 1",
        "target.n = source.n AND target.id % 7 = 1",
        "target.id < source.id AND target.id > source.id - 2",
        "target.id = source.id AND NULL",
    ];
    let mut merge = Merge::on(random.one_of(&on));
    for _ in 0..=random.below(4) {
        let kind = random.below(7);
        let of_pairs = ["source.n > 4", "target.n IS NULL", "target.n = source.n", "NULL", "source.day = 'a'", "true"];
        let of_source = ["source.n > 4", "source.n = NULL", "source.day IN ('a', 'c')", "source.id % 2 = 0"];
        let of_table = ["target.n > 4", "target.day = 'b'", "target.id % 3 = 0", "target.n <> 3"];
        let conditions: &[&str] = match kind {
            0..=3 => &of_pairs,
            4 => &of_source,
            _ => &of_table,
        };
        let condition = (random.below(3) > 0).then(|| random.one_of(conditions).to_string());
        let set = |sets: &[(&str, &str)]| {
            sets.iter().map(|(column, value)| (column.to_string(), value.to_string())).collect::<Vec<_>>()
        };
        merge = merge.when(match kind {
            0 => MergeClause::MatchedUpdate { condition, set: Assignments::All },
            1 | 2 => {
                let sets: [&[(&str, &str)]; 4] = [
                    &[("day", "source.day")],
                    &[("n", "target.n + source.n"), ("day", "'merged'")],
                    &[("target.n", "source.n * 2")],
                    &[("id", "target.id + 1000"), ("n", "NULL")],
                ];
                MergeClause::MatchedUpdate { condition, set: Assignments::Columns(set(random.one_of(&sets))) }
            }
            3 => MergeClause::MatchedDelete { condition },
            4 if random.below(2) == 0 => MergeClause::NotMatchedInsert { condition, values: Assignments::All },
            4 => {
                let values = set(&[("id", "source.id + 500"), ("day", "upper(source.day)")]);
                MergeClause::NotMatchedInsert { condition, values: Assignments::Columns(values) }
            }
            5 => MergeClause::NotMatchedBySourceUpdate {
                condition,
                set: set(random.one_of(&[&[("n", "target.n + 1")] as &[_], &[("day", "'left'"), ("n", "'7'")]])),
            },
            _ => MergeClause::NotMatchedBySourceDelete { condition: Some("target.id % 11 = 5".into()) },
        });
    }
    let mut ids: Vec<i64> = (0..random.below(8)).map(|_| random.below(70) as i64).collect();
    if random.below(4) > 0 {
        ids.sort_unstable();
        ids.dedup();
    }
    (merge, random_rows(random, ids))
}

#[tokio::test(flavor = "multi_thread")]
async fn random_merges_leave_the_same_rows_as_rewriting_merges() {
    let (mut merged, mut refused, mut vectors) = (0, 0, 0);
    for seed in 0..20 {
        let fixture = Fixture::new();
        let mut random = Random(seed);
        let partition_by: &[&str] = if seed % 3 == 0 { &["day"] } else { &[] };
        let max_share = random.one_of(&["0", "0.3", "1"]);
        let twins = Twins::create(&fixture, "t", partition_by, max_share, &[]).await;
        for ids in [0..20, 20..45, 45..60] {
            twins.append(&first_rows(&mut random, ids)).await;
        }
        for _ in 0..10 {
            let (merge, rows) = random_merge(&mut random);
            let what = format!("seed {seed}: {merge:?}\n{}", text(&rows).join("\n"));
            match twins.run(|| Operation::Merge(merge.clone(), rows.clone().into())).await {
                None => refused += 1,
                Some([marked, rewritten]) => {
                    merged += 1;
                    vectors += marked["num_deletion_vectors"].as_u64().unwrap();
                    for rows in ["source_rows", "target_rows_inserted", "target_rows_updated", "target_rows_deleted"] {
                        let name = format!("num_{rows}");
                        assert_eq!(marked[&name], rewritten[&name], "{name} of {what}");
                    }
                }
            }
            twins.check_same_rows(&what).await;
        }
        check_plain(&twins.marked).await;
    }
    assert!(merged >= 150 && vectors >= 50, "{merged} merges, {refused} refused, {vectors} vectors");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_hides_matched_rows_and_appends_new_ones() {
    let fixture = Fixture::new();
    let table = create(&fixture, "t", &[], &[]).await;
    append(&table, 0..100).await;
    append(&table, 100..200).await;
    let options = WriteOptions::default();
    let upsert = Merge::on("target.id = source.id")
        .when(MergeClause::MatchedDelete { condition: Some("source.day = 'gone'".into()) })
        .when(MergeClause::MatchedUpdate { condition: None, set: Assignments::All })
        .when(MergeClause::NotMatchedInsert { condition: Some("source.id < 1000".into()), values: Assignments::All });
    let source = || rows(&[10, 11, 12, 500, 1000], &["new", "new", "gone", "in", "out"]);
    let pending = table.prepare(Operation::Merge(upsert.clone(), source().into()), &options).await.unwrap().unwrap();
    // Source rows have ids up to 1000, so both files may have a match.
    assert_eq!(pending.request().reads.files.len(), 2);
    pending.discard().await;
    assert_eq!(data_files(&table), 2);
    let done = table.merge(upsert, source(), &options).await.unwrap();
    let metric = |name: &str| done.metrics[name].as_u64();
    for (name, want) in [
        ("num_source_rows", 5),
        ("num_target_rows_inserted", 1),
        ("num_target_rows_updated", 2),
        ("num_target_rows_deleted", 1),
        ("num_target_rows_copied", 0),
        ("num_output_rows", 3),
        ("num_target_files_scanned", 2),
        ("num_target_files_added", 1),
        ("num_target_files_removed", 0),
        ("num_deletion_vectors", 1),
    ] {
        assert_eq!(metric(name), Some(want), "{name} in {}", done.metrics);
    }
    assert_eq!(data_files(&table), 3);
    let mut cardinalities = hidden(&live(&table).await);
    cardinalities.sort_unstable();
    assert_eq!(cardinalities, [None, None, Some(3)]);
    let scan = Scan { filter_sql: Some("id BETWEEN 9 AND 13 OR id >= 199".into()), ..Scan::default() };
    check(&table, &scan, &["|10|new|", "|11|new|", "|13|odd|", "|199|odd|", "|500|in|", "|9|odd|"]).await;
    check_plain(&table).await;

    let history = table.reader().await.unwrap().history(Default::default()).await.unwrap();
    assert_eq!(history[0].operation.as_deref(), Some("MERGE"));
    let parameters: serde_json::Value =
        serde_json::from_str(history[0].operation_parameters.as_deref().unwrap()).unwrap();
    assert_eq!(
        parameters,
        serde_json::json!({
            "mergePredicate": "target.id = source.id",
            "matchedPredicates":
                r#"[{"actionType":"delete","predicate":"source.day = 'gone'"},{"actionType":"update"}]"#,
            "notMatchedPredicates": r#"[{"actionType":"insert","predicate":"source.id < 1000"}]"#,
            "notMatchedBySourcePredicates": "[]",
        })
    );

    // Only a file that may have a match is read, also to find which source rows are new.
    let insert = Merge::on("target.id = source.id")
        .when(MergeClause::NotMatchedInsert { condition: None, values: Assignments::All });
    let pending = table.prepare(Operation::Merge(insert.clone(), rows(&[150, 160], &["x", "x"]).into()), &options);
    assert!(pending.await.unwrap().is_none(), "both rows are there");
    let inserts = Operation::Merge(insert, rows(&[150, 201], &["x", "x"]).into());
    let pending = table.prepare(inserts, &options).await.unwrap().unwrap();
    assert_eq!(pending.request().reads.files.len(), 2, "one with 100 to 199, and one with 10 to 500");
    commit(fixture.catalog.as_ref(), vec![pending], &options).await.unwrap();
    let scan = Scan { filter_sql: Some("id IN (150, 201)".into()), ..Scan::default() };
    check(&table, &scan, &["|150|even|", "|201|x|"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_source_rows_may_not_change_one_row() {
    let fixture = Fixture::new();
    let table = create(&fixture, "t", &[], &[]).await;
    append(&table, 0..20).await;
    let options = WriteOptions::default();
    let update = |condition: Option<&str>| MergeClause::MatchedUpdate {
        condition: condition.map(String::from),
        set: Assignments::Columns(vec![("day".into(), "source.day".into())]),
    };
    let delete = |condition: Option<&str>| MergeClause::MatchedDelete { condition: condition.map(String::from) };
    let twice = || rows(&[1, 1], &["x", "y"]);
    let merge = || Merge::on("target.id = source.id");
    for refused in [
        merge().when(update(None)),
        merge().when(delete(Some("true"))),
        merge().when(update(Some("source.day = 'x'"))).when(delete(None)),
    ] {
        let e = table.merge(refused, twice(), &options).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Invalid);
        let begin = "the rows cannot be merged: multiple source rows would change row 1 of the file \"part-";
        assert!(e.to_string().starts_with(begin), "{e}");
        assert_eq!(data_files(&table), 1);
    }
    let done = table.merge(merge().when(update(Some("source.day = 'x'"))), twice(), &options).await.unwrap();
    assert_eq!(done.metrics["num_target_rows_updated"], 1);
    check(&table, &Scan { filter_sql: Some("id = 1".into()), ..Scan::default() }, &["|1|x|"]).await;
    let done = table.merge(merge().when(delete(None)), twice(), &options).await.unwrap();
    assert_eq!(done.metrics["num_target_rows_deleted"], 1);
    check(&table, &Scan { filter_sql: Some("id = 1".into()), ..Scan::default() }, &[]).await;
    check_plain(&table).await;
    let within = MergeClause::MatchedUpdate {
        condition: None,
        set: Assignments::Columns(vec![("day.x".into(), "source.day".into())]),
    };
    let e = table.merge(merge().when(within), twice(), &options).await.unwrap_err();
    assert!(e.to_string().contains("sets \"day.x\", which is within a column"), "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_of_a_transaction_end_in_one_vector() {
    let fixture = Fixture::new();
    let table = create(&fixture, "t", &[], &[]).await;
    append(&table, 0..100).await;
    let tx = Transaction::begin(fixture.catalog.clone(), TransactionOptions::default()).await.unwrap();
    let upsert = || {
        Merge::on("target.id = source.id")
            .when(MergeClause::MatchedUpdate { condition: None, set: Assignments::All })
            .when(MergeClause::NotMatchedInsert { condition: None, values: Assignments::All })
    };
    tx.run("t", Operation::Merge(upsert(), rows(&[1, 2, 200], &["m1", "m1", "m1"]).into())).await.unwrap();
    tx.run("t", Operation::Delete { filter: Some("id = 3".into()) }).await.unwrap();
    tx.run("t", Operation::Merge(upsert(), rows(&[2, 4, 200], &["m2", "m2", "m2"]).into())).await.unwrap();
    let leaves = upsert().when(MergeClause::NotMatchedBySourceDelete { condition: Some("target.id > 98".into()) });
    tx.run("t", Operation::Merge(leaves, rows(&[200], &["m3"]).into())).await.unwrap();
    tx.commit().await.unwrap();
    let scan = Scan { filter_sql: Some("id < 6 OR id > 97".into()), ..Scan::default() };
    check(&table, &scan, &["|0|even|", "|1|m1|", "|200|m3|", "|2|m2|", "|4|m2|", "|5|odd|", "|98|even|"]).await;
    check_plain(&table).await;
    let files = live(&table).await;
    let of_first = files.iter().filter(|add| add.deletion_vector.as_ref().is_some_and(|v| v.cardinality == 5));
    assert_eq!(of_first.count(), 1, "{files:?}");
    let reader = table.reader().await.unwrap();
    let commit = String::from_utf8(reader.commit_bytes(2).await.unwrap().unwrap().to_vec()).unwrap();
    assert_eq!(commit.matches("{\"remove\":").count(), 1, "{commit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_merges_are_cast_and_checked() {
    let fixture = Fixture::new();
    let twins = Twins::create(&fixture, "t", &[], "0.3", &[]).await;
    let mut random = Random(1);
    twins.append(&first_rows(&mut random, 0..30)).await;
    let insert = |id: &str, n: &str| {
        let values = vec![("id".to_string(), id.to_string()), ("n".to_string(), n.to_string())];
        MergeClause::NotMatchedInsert { condition: None, values: Assignments::Columns(values) }
    };
    let merge = |clause: MergeClause| Merge { safe_cast: false, ..Merge::on("target.id = source.id").when(clause) };
    let source = random_rows(&mut random, [40]);
    let run = async |merge: Merge| twins.run(|| Operation::Merge(merge.clone(), source.clone().into())).await;
    assert!(run(merge(insert("NULL", "1"))).await.is_none(), "an id that must not be null");
    assert!(run(merge(insert("source.id", "'x' || source.day"))).await.is_none(), "a text that is not a number");
    assert!(run(merge(insert("source.id", "source.id + 3000000000"))).await.is_none(), "a number that is too large");
    let safe = Merge { safe_cast: true, ..merge(insert("source.id", "source.id + 3000000000")) };
    assert!(run(safe).await.is_some());
    twins.check_same_rows("a cast that fails gives null").await;
    assert!(run(merge(insert("'41'", "'5'"))).await.is_none_or(|_| true));
    twins.check_same_rows("texts of numbers").await;
    check_plain(&twins.marked).await;
}
