//! Reads of one table's log.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::*;
use crate::snapshot::{CommitSummary, Head, Snapshot};

pub(super) async fn files_are_live_from_add_to_remove(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    t.append("a").await;
    t.append("b").await;
    t.commit(vec![remove(&file("a", 0, 9)), Action::add(file("c", 0, 9))]).await;
    t.append("a").await;
    // An add of a live file replaces it.
    let replaced = Add { size: 99, ..file("b", 5, 6) };
    t.commit(vec![Action::add(replaced.clone())]).await;
    let want: [&[&str]; 6] = [&[], &["a"], &["a", "b"], &["b", "c"], &["a", "b", "c"], &["a", "b", "c"]];
    for (version, want) in (0..).zip(want) {
        assert_eq!(t.paths(version).await, want, "at version {version}");
    }
    let by_age = c.reader(t.id).files_in_replay_order(5, None).await.unwrap();
    assert_eq!(by_age.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["b", "a", "c"], "newest first");
    let b = |files: Vec<Add>| files.into_iter().find(|f| f.path == "b").unwrap();
    assert_eq!(b(t.files(4, None).await), file("b", 0, 9));
    assert_eq!(b(t.files(5, None).await), replaced);
}

pub(super) async fn spellings_of_a_path_are_one_file(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    t.commit(vec![Action::add(file("/x/a%20b", 0, 9)), Action::add(file("p=%2541/c", 0, 9))]).await;
    t.commit(vec![remove(&file("file:///x/a b", 0, 9))]).await;
    assert_eq!(t.paths(2).await, ["p=%2541/c"]);
    let bytes = c.reader(t.id).commit_bytes(2).await.unwrap().unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains(r#""path":"/x/a%20b""#), "a remove is rendered with the path of its add: {text}");
}

pub(super) async fn a_deletion_vector_is_part_of_a_files_identity(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    t.append("a").await;
    let plain = file("a", 0, 9);
    let (one, two) = (with_dv(plain.clone(), "one"), with_dv(plain.clone(), "two"));
    t.commit(vec![remove(&plain), Action::add(one.clone())]).await;
    t.commit(vec![remove(&one), Action::add(two.clone())]).await;
    assert_eq!(t.files(1, None).await, [plain]);
    assert_eq!(t.files(2, None).await, [one]);
    assert_eq!(t.files(3, None).await, [two]);
}

pub(super) async fn snapshots_have_txns_and_domains(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    t.commit(vec![txn("app", 7), txn("other", 9_007_199_254_740_993), domain("d", "one", false)]).await;
    t.commit(vec![txn("app", 3), domain("d", "two", false), domain("e", "", false)]).await;
    t.commit(vec![domain("d", "", true)]).await;
    let reader = c.reader(t.id);
    let at = |v| reader.snapshot(At::Version(v));
    let txns = |s: &crate::Snapshot| s.txns.iter().map(|(k, t)| (k.clone(), t.version)).collect::<BTreeMap<_, _>>();
    let domains =
        |s: &crate::Snapshot| s.domains.iter().map(|(k, d)| format!("{k}={}", d.configuration)).collect::<Vec<_>>();
    assert!(at(0).await.unwrap().txns.is_empty());
    let one = at(1).await.unwrap();
    assert_eq!(txns(&one), BTreeMap::from([("app".into(), 7), ("other".into(), 9_007_199_254_740_993)]));
    assert_eq!(domains(&one), ["d=one"]);
    let two = at(2).await.unwrap();
    assert_eq!(txns(&two)["app"], 3, "the newest counts, not the greatest");
    assert_eq!(domains(&two), ["d=two", "e="]);
    assert_eq!(domains(&at(3).await.unwrap()), ["e="]);
}

pub(super) async fn unusual_values_are_stored_unchanged(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    let odd = actions::action(
        r#"{"add":{"path":"d%2520ay=\u00fc/ \u0001x'\"--.parquet","partitionValues":{"day":"\u0001\u0000\ufffe","n":null},"size":9007199254740993,"modificationTime":-1,"dataChange":false,"stats":"{\"numRecords\":12345678901234567890,\"maxValues\":{\"d\":1.10000000000000000000000001,\"s\":\"\\u0000\"}}","tags":{"k":null,"":"x"},"later":{"deep":[1.50,null]}}}"#,
    );
    let unknown = actions::action(r#"{"someDay":{"x":123456789012345678901234567890}}"#);
    t.commit(vec![odd.clone(), unknown]).await;
    assert_eq!(t.files(1, None).await.into_iter().map(Action::add).collect::<Vec<_>>(), [odd]);
    let bytes = c.reader(t.id).commit_bytes(1).await.unwrap().unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains(r#"{"someDay":{"x":123456789012345678901234567890}}"#), "{text}");
    let m = crate::action::Metadata {
        description: Some("a\u{0}b".into()),
        configuration: [("k".to_string(), None), ("x'".to_string(), Some("\u{0}".to_string()))].into(),
        extra: serde_json::from_str(r#"{"new":[1.0]}"#).unwrap(),
        ..metadata("{}")
    };
    t.commit(vec![Action::Metadata(m.clone())]).await;
    assert_eq!(c.reader(t.id).head().await.unwrap().metadata, m);
    assert_eq!(c.reader(t.id).snapshot(At::Version(1)).await.unwrap().head.metadata, metadata("{}"));
}

pub(super) async fn time_travel_finds_versions_by_number_and_by_time(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    let mut times = vec![c.reader(t.id).head().await.unwrap().timestamp];
    for path in ["a", "b", "c", "d"] {
        times.push(t.append(path).await.timestamp);
    }
    assert!(times.windows(2).all(|w| w[0] < w[1]), "times strictly increase: {times:?}");
    let reader = c.reader(t.id);
    for (version, time) in (0..).zip(&times) {
        assert_eq!(reader.snapshot(At::Timestamp(*time)).await.unwrap().version(), version);
        let just_before = reader.snapshot(At::Timestamp(time - 1)).await;
        match version {
            0 => refused(just_before, ErrorKind::NotFound, &["oldest version that is retained is 0"]),
            _ => assert_eq!(just_before.unwrap().version(), version - 1),
        }
        assert_eq!(reader.snapshot(At::Version(version)).await.unwrap().head.timestamp, *time);
    }
    assert_eq!(reader.snapshot(At::Timestamp(i64::MAX)).await.unwrap().version(), 4);
    assert_eq!(reader.snapshot(At::Latest).await.unwrap().head, reader.head().await.unwrap());
}

pub(super) async fn missing_versions_and_tables_are_named(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    let reader = c.reader(t.id);
    let says = ["default.t", "no version 1", "newest is 0"];
    refused(reader.snapshot(At::Version(1)).await, ErrorKind::NotFound, &says);
    refused(reader.files(1, None).await.map(drop), ErrorKind::NotFound, &says);
    refused(reader.commit_bytes(1).await, ErrorKind::NotFound, &says);
    refused(reader.changes(0, 1).await.map(drop), ErrorKind::NotFound, &says);
    refused(c.reader(table_id("none")).head().await, ErrorKind::NotFound, &["no table"]);
}

pub(super) async fn history_is_newest_first_and_by_range(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    for path in ["a", "b", "c"] {
        t.append(path).await;
    }
    let reader = c.reader(t.id);
    let versions = |range| {
        let reader = reader.clone();
        async move { reader.history(range).await.unwrap().into_iter().map(|s| s.version).collect::<Vec<_>>() }
    };
    assert_eq!(versions(HistoryRange::default()).await, [3, 2, 1, 0]);
    assert_eq!(versions(HistoryRange { limit: Some(2), ..Default::default() }).await, [3, 2]);
    let time = |v| {
        let reader = reader.clone();
        async move { reader.snapshot(At::Version(v)).await.unwrap().head.timestamp }
    };
    let range = HistoryRange { since: Some(time(1).await), until: Some(time(2).await), limit: None };
    assert_eq!(versions(range).await, [2, 1]);
    let bodies: Vec<_> = reader.changes(1, 2).await.unwrap().try_collect().await.unwrap();
    assert_eq!(bodies.iter().map(|(v, _)| *v).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(Some(bodies[1].1.clone()), reader.commit_bytes(2).await.unwrap());
}

pub(super) async fn data_skipping_keeps_every_matching_file(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    let mut adds: Vec<_> = (0..50).map(|n| Action::add(file(&format!("f{n}"), n * 10, n * 10 + 9))).collect();
    adds.push(Action::add(Add { stats: None, ..file("unknown", 0, 0) }));
    t.commit(adds).await;
    for id in [0, 9, 10, 255, 499, 500, -1] {
        let p = Predicate::Compare("id".into(), Comparison::Eq, Literal::Long(id));
        let found: BTreeSet<_> = t.files(1, Some(&p)).await.into_iter().map(|f| f.path).collect();
        assert!(found.contains("unknown"), "a file without statistics may match");
        if (0..500).contains(&id) {
            assert!(found.contains(&format!("f{}", id / 10)), "id = {id}: {found:?}");
        }
        assert!(found.len() <= 2, "id = {id}: {found:?}");
    }
    let day = |d: &str| Predicate::Compare("day".into(), Comparison::Eq, Literal::String(d.into()));
    assert_eq!(t.files(1, Some(&day("a"))).await.len(), 51);
    assert_eq!(t.files(1, Some(&day("b"))).await.len(), 0);
}

pub(super) async fn pages_of_files_and_tombstones_are_complete_and_ordered(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    let (a, b) = (file("a", 0, 9), file("b", 0, 9));
    let marked = with_dv(b.clone(), "x");
    t.commit(vec![Action::add(a.clone()), Action::add(b.clone())]).await;
    t.commit(vec![remove(&a)]).await;
    t.commit(vec![Action::add(a.clone())]).await;
    t.commit(vec![remove(&b), Action::add(marked.clone())]).await;
    t.commit(vec![remove(&a)]).await;
    t.append("c").await;
    let reader = c.reader(t.id);
    let mut replay = crate::snapshot::Replay::default();
    for version in 0..=6 {
        let body = reader.commit_bytes(version).await.unwrap().unwrap();
        replay.apply(crate::Commit::parse(body, "a commit").unwrap().into_actions());
        let files: Vec<Add> = reader.files_by_key(version).await.unwrap().try_collect().await.unwrap();
        let again: Vec<Add> = reader.files_by_key(version).await.unwrap().try_collect().await.unwrap();
        assert_eq!(files, again, "the order of version {version} is always the same");
        let live: std::collections::HashMap<_, _> = files.iter().map(|f| (f.key(), f.clone())).collect();
        assert_eq!((files.len(), live), (replay.files.len(), replay.files.clone()), "version {version}");
        let mut hash = crate::SetHash::default();
        replay.files.keys().for_each(|key| hash.insert(key));
        assert_eq!(reader.set_hash(version).await.unwrap(), hash, "version {version}");
        for from in 0..=version {
            let (before, after) = (reader.counts(from).await.unwrap(), reader.counts(version).await.unwrap());
            let growth = reader.size_delta(from, version).await.unwrap();
            assert_eq!(before.files as i64 + growth.files, after.files as i64, "{from} to {version}");
            assert_eq!(before.bytes + growth.bytes, after.bytes, "{from} to {version}");
        }
        // All of them have the same time, 5.
        let tombstones: Vec<_> = reader.tombstones(version, 4).await.unwrap().try_collect().await.unwrap();
        let by_key: std::collections::HashMap<_, _> = tombstones.iter().map(|r| (r.key(), r.clone())).collect();
        assert_eq!((tombstones.len(), by_key), (replay.removes.len(), replay.removes.clone()), "version {version}");
        let young: Vec<_> = reader.tombstones(version, 5).await.unwrap().try_collect().await.unwrap();
        assert_eq!(young, [], "version {version}: those of that time are too old");
    }
    assert_eq!(replay.removes.len(), 2, "a, and b without its vector");
    refused(reader.set_hash(7).await, ErrorKind::NotFound, &["version 7"]);
}

pub(super) async fn files_and_tombstones_of_many_pages_are_complete(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    // So many that a page ends with the last of them.
    let files: Vec<Add> = (0..1_000).map(|n| file(&format!("f{n}"), n, n)).collect();
    t.commit(files.iter().cloned().map(Action::add).collect()).await;
    let reader = c.reader(t.id);
    let sorted = |paths: Vec<String>| {
        let mut paths = paths;
        paths.sort();
        paths
    };
    let all = sorted(files.iter().map(|f| f.path.clone()).collect());
    let live = async |version| {
        let live: Vec<Add> = reader.files_by_key(version).await.unwrap().try_collect().await.unwrap();
        sorted(live.into_iter().map(|f| f.path).collect())
    };
    assert!(live(1).await == all, "the newest version");
    t.commit(files.iter().map(remove).collect()).await;
    assert!(live(1).await == all, "an old version");
    assert_eq!(live(2).await, Vec::<String>::new());
    let tombstones: Vec<_> = reader.tombstones(2, 4).await.unwrap().try_collect().await.unwrap();
    assert!(sorted(tombstones.into_iter().map(|r| r.path).collect()) == all, "the tombstones");
}

/// The log of another reader, without its summaries.
#[derive(Debug)]
struct WithoutSummaries(Arc<dyn TxnLogReader>);

#[async_trait]
impl TxnLogReader for WithoutSummaries {
    async fn head(&self) -> Result<Head> {
        self.0.head().await
    }
    async fn snapshot(&self, at: At) -> Result<Snapshot> {
        self.0.snapshot(at).await
    }
    async fn files(&self, version: Version, predicate: Option<&Predicate>) -> Result<BoxStream<'static, Result<Add>>> {
        self.0.files(version, predicate).await
    }
    async fn files_in_replay_order(&self, version: Version, predicate: Option<&Predicate>) -> Result<Vec<Add>> {
        self.0.files_in_replay_order(version, predicate).await
    }
    async fn history(&self, range: HistoryRange) -> Result<Vec<CommitSummary>> {
        self.0.history(range).await
    }
    async fn commit_bytes(&self, version: Version) -> Result<Option<Bytes>> {
        self.0.commit_bytes(version).await
    }
    async fn changes(&self, from: Version, to: Version) -> Result<BoxStream<'static, Result<(Version, Bytes)>>> {
        self.0.changes(from, to).await
    }
}

pub(super) async fn summaries_equal_those_computed_from_files(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    let (a, b) = (file("a", -5, 9), file("b", 10, 19));
    t.commit(vec![Action::add(a.clone()), Action::add(b.clone())]).await;
    t.commit(vec![remove(&b), Action::add(with_dv(b.clone(), "x"))]).await;
    t.commit(vec![remove(&with_dv(b.clone(), "x")), Action::add(Add { size: 1 << 40, ..file("c", 7, 70) })]).await;
    t.commit(vec![Action::add(Add { stats: None, ..file("unknown", 0, 0) })]).await;
    t.commit(vec![remove(&file("unknown", 0, 0)), remove(&a)]).await;
    let reader = c.reader(t.id);
    let files = WithoutSummaries(reader.clone());
    let is = Predicate::Compare("id".into(), Comparison::Eq, Literal::Long(8));
    for version in 0..=5 {
        assert_eq!(reader.counts(version).await.unwrap(), files.counts(version).await.unwrap(), "version {version}");
        assert_eq!(reader.set_hash(version).await.unwrap(), files.set_hash(version).await.unwrap());
        for column in ["id", "day", "none"] {
            let (ours, want) = (reader.min_max(version, column).await, files.min_max(version, column).await);
            assert_eq!(ours.unwrap(), want.unwrap(), "{column} of version {version}");
        }
        for from in 0..=version {
            let (ours, want) = (reader.size_delta(from, version).await, files.size_delta(from, version).await);
            assert_eq!(ours.unwrap(), want.unwrap(), "{from} to {version}");
        }
        let (ours, want) = (reader.explain(version, &is).await.unwrap(), files.explain(version, &is).await.unwrap());
        assert_eq!(ours.kept, want.kept, "version {version}");
        assert!(ours.kept <= ours.found && ours.found <= ours.examined && ours.found <= want.found, "{ours:?}");
    }
    assert_eq!(reader.counts(1).await.unwrap().rows, Some(20));
    assert_eq!(reader.min_max(1, "id").await.unwrap(), Some((Literal::Long(-5), Literal::Long(19))));
    assert_eq!(reader.counts(4).await.unwrap().rows, None, "a file does not say");
    refused(reader.counts(6).await, ErrorKind::NotFound, &["no version 6"]);
    refused(reader.min_max(6, "id").await, ErrorKind::NotFound, &["no version 6"]);
    refused(reader.explain(6, &is).await, ErrorKind::NotFound, &["no version 6"]);
    refused(reader.set_hash(6).await, ErrorKind::NotFound, &["version 6"]);
}
