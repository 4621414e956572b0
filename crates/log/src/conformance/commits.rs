//! Commits: which succeed, which are rejected, and what they record.

use super::*;

/// Both requests start from version 1, which has the files `a` and `b`; `winner` commits first.
async fn race(c: &Arc<dyn Catalog>, winner: Vec<Action>, change: impl FnOnce(&mut CommitRequest)) -> Outcome {
    let n = c.tables().await.unwrap().len();
    let t = TestTable::create(c, &format!("t{n}")).await;
    t.commit(vec![Action::add(file("a", 0, 9)), Action::add(file("b", 10, 19))]).await;
    t.commit(winner).await;
    let mut request = t.request(Base::RebaseFrom(1), vec![Action::add(file("own", 0, 9))]);
    change(&mut request);
    let before = t.paths(2).await;
    let outcome = t.try_commit(request).await.unwrap();
    if let Outcome::Conflict(_) = outcome {
        assert_eq!(t.head().await, 2, "a lost race leaves nothing");
        assert_eq!(t.paths(2).await, before);
    }
    outcome
}

fn push(request: &mut CommitRequest, action: Action) {
    request.content = Content::Actions([request.actions(), &[action]].concat());
}

pub(super) async fn base_exactly_accepts_only_the_next_version(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    t.append("a").await;
    let late = t.request(Base::Exactly(0), vec![Action::add(file("b", 0, 9))]);
    conflict(t.try_commit(late).await.unwrap(), 1, &ConflictKind::VersionTaken);
    let early = t.request(Base::Exactly(5), vec![Action::add(file("b", 0, 9))]);
    refused(t.try_commit(early).await, ErrorKind::Invalid, &["version 5", "at version 1"]);
    assert_eq!(t.paths(t.head().await).await, ["a"]);
}

pub(super) async fn blind_appends_are_rebased(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    t.append("a").await;
    t.commit(vec![remove(&file("a", 0, 9)), Action::add(file("b", 0, 9)), txn("x", 1), domain("d", "", false)]).await;
    let request = t.request(Base::RebaseFrom(0), vec![Action::add(file("c", 0, 9)), txn("y", 1)]);
    assert_eq!(t.try_commit(request).await.unwrap().committed().unwrap()[0].version, 3);
    assert_eq!(t.paths(3).await, ["b", "c"]);
}

pub(super) async fn every_conflict_rule_holds(c: Arc<dyn Catalog>) {
    use ConflictKind::*;
    let (a, b) = (file("a", 0, 9), file("b", 10, 19));
    let wins = |outcome: Outcome| assert_eq!(outcome.committed().unwrap()[0].version, 3);

    let schema_change = vec![Action::Metadata(metadata(r#"{"x":"y"}"#))];
    conflict(race(&c, schema_change, |_| {}).await, 2, &MetadataChanged);
    conflict(race(&c, vec![Action::Protocol(protocol())], |_| {}).await, 2, &ProtocolChanged);

    let same = race(&c, vec![txn("app", 1)], |r| push(r, txn("app", 2))).await;
    conflict(same, 2, &SameApplication("app".into()));
    let read = race(&c, vec![txn("app", 1)], |r| r.reads.app_ids.push("app".into())).await;
    conflict(read, 2, &SameApplication("app".into()));
    wins(race(&c, vec![txn("app", 1)], |r| push(r, txn("other", 2))).await);

    let same = race(&c, vec![domain("d", "1", false)], |r| push(r, domain("d", "2", false))).await;
    conflict(same, 2, &SameDomain("d".into()));
    wins(race(&c, vec![domain("d", "1", false)], |r| push(r, domain("e", "2", false))).await);

    let both_remove = race(&c, vec![remove(&a)], |r| r.content = Content::Actions(vec![remove(&a)])).await;
    conflict(both_remove, 2, &FileAlreadyRemoved("a".into()));
    wins(race(&c, vec![remove(&a)], |r| r.content = Content::Actions(vec![remove(&b)])).await);
    let removed_with_dv = vec![remove(&a), Action::add(with_dv(a.clone(), "dv"))];
    conflict(
        race(&c, removed_with_dv, |r| r.content = Content::Actions(vec![remove(&a)])).await,
        2,
        &FileAlreadyRemoved("a".into()),
    );

    // To add a file again, with other statistics for example, would restore the rows that were deleted.
    let marked = || vec![remove(&a), Action::add(with_dv(a.clone(), "dv"))];
    let adds_again = race(&c, marked(), |r| r.content = Content::Actions(vec![Action::add(a.clone())])).await;
    conflict(adds_again, 2, &DeletionVectorChanged("a".into()));
    let adds_marked =
        race(&c, marked(), |r| r.content = Content::Actions(vec![Action::add(with_dv(a.clone(), "other"))])).await;
    conflict(adds_marked, 2, &DeletionVectorChanged("a".into()));
    wins(
        race(&c, marked(), |r| {
            r.content = Content::Actions(vec![remove(&with_dv(a.clone(), "dv")), Action::add(a.clone())])
        })
        .await,
    );
    wins(race(&c, marked(), |r| r.content = Content::Actions(vec![Action::add(with_dv(a.clone(), "dv"))])).await);

    let read_removed = race(&c, vec![remove(&a)], |r| r.reads.files.push(file("a", 0, 9).key())).await;
    conflict(read_removed, 2, &ReadFileRemoved("a".into()));
    wins(race(&c, vec![remove(&b)], |r| r.reads.files.push(file("a", 0, 9).key())).await);
    let all_read = race(&c, vec![remove(&b)], |r| r.reads.whole_table = true).await;
    conflict(all_read, 2, &ReadFileRemoved("b".into()));

    let ids = |max| Predicate::Compare("id".into(), Comparison::Lt, Literal::Long(max));
    let grown = || vec![Action::add(file("new", 50, 59))];
    let phantom = race(&c, grown(), |r| r.reads.predicates.push(ids(51))).await;
    conflict(phantom, 2, &MatchingFileAdded("new".into()));
    wins(race(&c, grown(), |r| r.reads.predicates.push(ids(50))).await);
    conflict(race(&c, grown(), |r| r.reads.whole_table = true).await, 2, &MatchingFileAdded("new".into()));
    let rearranged = vec![Action::add(Add { data_change: false, ..file("new", 50, 59) })];
    wins(race(&c, rearranged, |r| r.reads.whole_table = true).await);
}

pub(super) async fn isolation_level_decides_whether_added_files_conflict(c: Arc<dyn Catalog>) {
    let grown = || vec![Action::add(file("new", 50, 59))];
    for (isolation, loses) in
        [(Isolation::Serializable, true), (Isolation::WriteSerializable, false), (Isolation::SnapshotIsolation, false)]
    {
        let outcome = race(&c, grown(), |r| {
            r.reads.whole_table = true;
            r.isolation = Some(isolation);
        })
        .await;
        assert_eq!(matches!(outcome, Outcome::Conflict(_)), loses, "{isolation:?}");
    }
    // A change that applies to every row also applies to rows that were added concurrently.
    let outcome = race(&c, grown(), |r| {
        r.content = Content::Actions(vec![Action::Metadata(metadata(r#"{"delta.constraints.c":"id < 50"}"#))]);
        r.reads.whole_table = true;
        r.isolation = Some(Isolation::SnapshotIsolation);
    });
    conflict(outcome.await, 2, &ConflictKind::MatchingFileAdded("new".into()));
    let t = TestTable::create_with(&c, "own", r#"{"delta.isolationLevel":"WriteSerializable"}"#).await;
    t.append("a").await;
    let mut request = t.request(Base::RebaseFrom(0), vec![Action::add(file("b", 0, 9))]);
    request.reads.whole_table = true;
    t.try_commit(request).await.unwrap().committed().unwrap();
}

pub(super) async fn a_commit_sent_again_is_not_made_twice(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    for base in [Base::Exactly(0), Base::RebaseFrom(0)] {
        let request = t.request(base, vec![Action::add(file(&format!("f{}", t.head().await), 0, 9))]);
        assert_eq!(c.find_commit(t.id, request.commit_id).await.unwrap(), None);
        let Outcome::Committed(first) = t.try_commit(request.clone()).await.unwrap() else { continue };
        let between = t.append(&format!("between{}", t.head().await)).await;
        let second = t.try_commit(request.clone()).await.unwrap().committed().unwrap();
        assert_eq!(first, second);
        assert_eq!(c.find_commit(t.id, request.commit_id).await.unwrap(), Some(first[0]));
        assert_eq!(t.head().await, between.version, "nothing is committed twice");
    }
    let create = |id| {
        let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
        CommitRequest::new(id, Uuid::from_u128(7), Base::Create(new_table("made")), actions)
    };
    let id = table_id("made");
    let first = c.commit_all(vec![create(id)]).await.unwrap();
    assert_eq!(c.commit_all(vec![create(id)]).await.unwrap(), first, "creating is committing");
}

pub(super) async fn multi_table_commits_are_atomic(c: Arc<dyn Catalog>) {
    let (s, t) = (TestTable::create(&c, "s").await, TestTable::create(&c, "t").await);
    t.append("early").await;
    let both = |base_t, n: u32| {
        vec![
            t.request(Base::RebaseFrom(base_t), vec![Action::add(file(&format!("t{n}"), 0, 9))]),
            s.request(Base::RebaseFrom(0), vec![Action::add(file(&format!("s{n}"), 0, 9))]),
        ]
    };
    let committed = c.commit_all(both(0, 1)).await.unwrap().committed().unwrap();
    assert_eq!(committed.iter().map(|c| (c.table, c.version)).collect::<Vec<_>>(), [(t.id, 2), (s.id, 1)]);
    assert_eq!(committed[0].timestamp, committed[1].timestamp, "one time for all: no timestamp cuts a transaction");
    let info = |v, id| {
        let reader = c.reader(id);
        async move { reader.history(HistoryRange { limit: Some(v), ..Default::default() }).await.unwrap()[0].clone() }
    };
    let (of_s, of_t) = (info(1, s.id).await, info(1, t.id).await);
    assert!(of_s.group_id.is_some());
    assert_eq!(of_s.group_id, of_t.group_id);

    t.commit(vec![Action::Metadata(metadata(r#"{"x":"y"}"#))]).await;
    conflict(c.commit_all(both(2, 2)).await.unwrap(), 3, &ConflictKind::MetadataChanged);
    assert_eq!((s.head().await, t.head().await), (1, 3), "one loses, all lose");

    let made = CommitRequest::new(
        table_id("made"),
        Uuid::from_u128(9),
        Base::Create(new_table("made")),
        vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))],
    );
    let bad = t.request(Base::RebaseFrom(3), vec![remove(&file("never there", 0, 9))]);
    refused(c.commit_all(vec![made.clone(), bad]).await, ErrorKind::Invalid, &["never there"]);
    assert_eq!(c.find(&TableRef::Id(made.table)).await.unwrap(), None, "a table is not created by half");
    let grown = s.request(Base::RebaseFrom(1), vec![Action::add(file("with", 0, 9))]);
    c.commit_all(vec![made.clone(), grown]).await.unwrap().committed().unwrap();
    assert!(c.find(&TableRef::Id(made.table)).await.unwrap().is_some());

    let twice = vec![both(3, 4).remove(0), both(3, 5).remove(0)];
    refused(c.commit_all(twice).await, ErrorKind::Invalid, &["two commits"]);
    refused(c.commit_all(vec![]).await, ErrorKind::Invalid, &["no commit"]);
}

pub(super) async fn reads_of_a_transaction_are_validated_at_commit(c: Arc<dyn Catalog>) {
    let (s, t) = (TestTable::create(&c, "s").await, TestTable::create(&c, "t").await);
    let small = Predicate::Compare("id".into(), Comparison::Lt, Literal::Long(10));
    let read = |base, predicate: &Predicate| {
        let mut read = s.request(Base::ReadAt(base), vec![]);
        read.reads.predicates.push(predicate.clone());
        read
    };
    let append = |n: u32, base| t.request(Base::RebaseFrom(base), vec![Action::add(file(&format!("t{n}"), 0, 9))]);
    let together = c.commit_all(vec![read(0, &small), append(1, 0)]).await.unwrap().committed().unwrap();
    assert_eq!(together.iter().map(|c| (c.table, c.version)).collect::<Vec<_>>(), [(t.id, 1)]);
    assert_eq!(s.head().await, 0, "a table that is only read gets no version");
    let range = HistoryRange { limit: Some(1), ..Default::default() };
    assert_eq!(c.reader(t.id).history(range).await.unwrap()[0].group_id, None, "nor is it a participant");

    s.commit(vec![Action::add(file("other", 50, 59))]).await;
    c.commit_all(vec![append(2, 1), read(0, &small)]).await.unwrap().committed().unwrap();
    s.commit(vec![Action::add(file("matching", 5, 6))]).await;
    let lost = c.commit_all(vec![append(3, 2), read(1, &small)]).await.unwrap();
    conflict(lost, 2, &ConflictKind::MatchingFileAdded("matching".into()));
    assert_eq!(t.head().await, 2, "what was read has changed: nothing is committed");
    c.commit_all(vec![read(2, &small)]).await.unwrap().committed().unwrap();

    let mut writing = read(2, &small);
    push(&mut writing, Action::add(file("x", 0, 1)));
    refused(c.commit_all(vec![writing]).await, ErrorKind::Invalid, &["only read"]);
}

pub(super) async fn illegal_commits_change_nothing(c: Arc<dyn Catalog>) {
    let t = TestTable::create_with(&c, "t", r#"{"delta.appendOnly":"true"}"#).await;
    t.append("a").await;
    let (a, b) = (file("a", 0, 9), file("b", 0, 9));
    let unknown = actions::action(
        r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":[],"writerFeatures":["quantumEntanglement"]}}"#,
    );
    let cases: Vec<(Vec<Action>, &str)> = vec![
        (vec![Action::add(b.clone()), Action::add(b.clone())], "adds the same file twice"),
        (vec![Action::Remove(crate::action::Remove::of(&b, 5, false))], "not a file of the table"),
        (vec![remove(&a)], "append-only"),
        (vec![Action::add(a.clone()), remove(&a)], "both adds and removes a"),
        (vec![Action::add(with_dv(a.clone(), "x"))], "adds a with another deletion vector"),
        (vec![Action::add(with_dv(b.clone(), "x")), Action::add(with_dv(b.clone(), "y"))], "adds b twice"),
        (vec![txn("x", 1), txn("x", 2)], "two txn actions"),
        (vec![domain("d", "", false), domain("d", "", true)], "one domain twice"),
        (vec![unknown], "quantumEntanglement"),
        (vec![actions::action(r#"{"sidecar":{"path":"x"}}"#)], "belongs in a checkpoint"),
    ];
    for (actions, says) in cases {
        let result = t.try_commit(t.request(Base::RebaseFrom(1), actions)).await;
        refused(result, ErrorKind::Invalid, &["default.t", says]);
    }
    let bare = CommitRequest::new(table_id("x"), Uuid::from_u128(3), Base::Create(new_table("x")), vec![]);
    refused(c.commit_all(vec![bare]).await, ErrorKind::Invalid, &["without a protocol"]);
    assert_eq!(t.head().await, 1);
    assert_eq!(c.tables().await.unwrap().len(), 1);
}

pub(super) async fn commit_info_describes_the_commit(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    let info = actions::action(
        r#"{"commitInfo":{"timestamp":1,"operation":"MERGE","operationParameters":{"p":"[\"x\"]"},"operationMetrics":{"n":1},"engineInfo":"delta-rs:1","custom":{"k":[1.0]}}}"#,
    );
    let mut request = t.request(Base::RebaseFrom(0), vec![Action::add(file("a", 0, 9)), info]);
    request.committer = Some("ann".into());
    let done = t.try_commit(request).await.unwrap().committed().unwrap()[0];
    let bytes = c.reader(t.id).commit_bytes(1).await.unwrap().unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let info = &first["commitInfo"];
    let keys: Vec<_> = info.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        keys,
        [
            "timestamp",
            "operation",
            "operationParameters",
            "operationMetrics",
            "engineInfo",
            "txnId",
            "isBlindAppend",
            "isolationLevel",
            "readVersion",
            "userName",
            "custom",
            "deltalakedb"
        ],
        "commitInfo comes first and in one order"
    );
    assert_eq!(info["timestamp"], done.timestamp);
    assert_eq!(info["operation"], "MERGE");
    assert_eq!((&info["isBlindAppend"], &info["readVersion"]), (&true.into(), &0.into()));
    let (catalog, epoch) = c.identity().await.unwrap();
    let ours = &info["deltalakedb"];
    assert_eq!(ours["catalogId"], catalog.to_string());
    assert_eq!(ours["epoch"], epoch.to_string());
    assert_eq!(ours["tableId"], t.id.to_string());
    assert_eq!((&ours["table"], &ours["writer"]), (&"default.t".into(), &"delta-rs:1".into()));
    let summary = &c.reader(t.id).history(HistoryRange::default()).await.unwrap()[0];
    assert_eq!(summary.operation.as_deref(), Some("MERGE"));
    assert_eq!(summary.committer.as_deref(), Some("ann"));
    assert_eq!((summary.files_added, summary.bytes_added, summary.read_version), (1, 10, Some(0)));
}

pub(super) async fn in_commit_timestamps_are_written_where_enabled(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    t.commit(vec![Action::Metadata(metadata(r#"{"delta.enableInCommitTimestamps":"true"}"#))]).await;
    let done = t.append("a").await;
    let reader = c.reader(t.id);
    for (version, want) in [(0, false), (1, true), (2, true)] {
        let commit = crate::Commit::parse(reader.commit_bytes(version).await.unwrap().unwrap(), "t").unwrap();
        let time = reader.snapshot(At::Version(version)).await.unwrap().head.timestamp;
        assert!(matches!(commit.actions()[0], Action::CommitInfo(_)));
        assert_eq!(commit.info().unwrap().in_commit_timestamp(), want.then_some(time), "version {version}");
    }
    let head = reader.head().await.unwrap();
    assert_eq!(head.metadata.property("delta.inCommitTimestampEnablementVersion"), Some("1"));
    assert_eq!(head.timestamp, done.timestamp);
}
