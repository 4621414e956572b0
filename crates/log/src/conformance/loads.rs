//! What a load of history keeps, and how it ends.

use super::*;

pub(super) fn logged(version: Version, ms: i64, lines: &[Action]) -> HistoryItem {
    let mut text: Vec<_> = lines.iter().map(Action::to_json).collect();
    text.insert(0, format!(r#"{{"commitInfo" : {{"timestamp":{ms},"operation":"WRITE"}} }}"#));
    HistoryItem::Commit(LoggedCommit {
        version,
        time: CommitTime { ms, source: TimeSource::File },
        body: text.join("\n").into(),
        origin: format!("{version:020}.json"),
    })
}

/// The base of a history that starts at `version`, whose commit the log no longer has.
pub(super) fn base_without_commit(version: Version) -> HistoryItem {
    HistoryItem::Base(Box::new(BaseState {
        version,
        time: CommitTime { ms: 1000, source: TimeSource::File },
        protocol: protocol(),
        metadata: metadata("{}"),
        txns: vec![],
        domains: vec![],
        body: None,
    }))
}

pub(super) async fn load(
    c: &Arc<dyn Catalog>,
    name: &str,
    items: Vec<Result<HistoryItem>>,
) -> Result<crate::TableEntry> {
    let load = HistoryLoad {
        published_version: Some(2),
        ..HistoryLoad::new(table_id(name), new_table(name), futures::stream::iter(items))
    };
    c.load_history(load).await
}

pub(super) fn story() -> Vec<HistoryItem> {
    let (a, b) = (file("a", 0, 9), file("b", 0, 9));
    vec![
        logged(0, 100, &[Action::Protocol(protocol()), Action::Metadata(metadata("{}")), Action::add(a.clone())]),
        logged(1, 200, &[Action::add(b.clone()), txn("x", 1), domain("d", "c", false)]),
        logged(2, 300, &[remove(&a), remove(&file("never there", 0, 0)), Action::add(b)]),
    ]
}

pub(super) async fn loaded_history_equals_committed_history(c: Arc<dyn Catalog>) {
    let entry = load(&c, "t", story().into_iter().map(Ok).collect()).await.unwrap();
    assert_eq!((entry.base_version, entry.current_version, entry.published_version), (0, 2, Some(2)));
    assert_eq!(entry.current_timestamp, 300);
    let t = TestTable { catalog: c.clone(), id: entry.id };
    for (version, want) in [(0, vec!["a"]), (1, vec!["a", "b"]), (2, vec!["b"])] {
        assert_eq!(t.paths(version).await, want, "at version {version}");
    }
    for (version, item) in (0..).zip(story()) {
        let HistoryItem::Commit(l) = item else { panic!("a commit") };
        assert_eq!(
            c.reader(t.id).commit_bytes(version).await.unwrap(),
            Some(l.body),
            "the bytes are kept as they were"
        );
    }
    assert_eq!(c.reader(t.id).snapshot(At::Timestamp(250)).await.unwrap().version(), 1);
    t.append("c").await;
    assert_eq!(t.paths(3).await, ["b", "c"]);
    let other = HistoryLoad::new(table_id("other"), new_table("t"), futures::stream::iter(story().into_iter().map(Ok)));
    refused(c.load_history(other).await, ErrorKind::AlreadyExists, &["default.t"]);
}

pub(super) async fn foreign_commits_are_loaded(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    let state = MirrorState::Diverged { version: 1, what: "another writer's".into() };
    assert!(c.set_mirror(&entry(&c, t.id).await, &state).await.unwrap());
    let jump = load(&c, "t", vec![Ok(logged(2, 6, &[Action::add(file("x", 0, 9))]))]).await;
    refused(jump, ErrorKind::Conflict, &["default.t", "version 2", "version 0"]);
    let past = load(&c, "t", vec![Ok(logged(0, 5, &[]))]).await;
    refused(past, ErrorKind::Conflict, &["default.t", "version 0"]);
    let ms = c.reader(t.id).head().await.unwrap().timestamp + 5;
    let loaded = load(&c, "t", vec![Ok(logged(1, ms, &[Action::add(file("x", 0, 9))]))]).await.unwrap();
    assert_eq!((loaded.current_version, loaded.mirror), (1, MirrorState::Following));
    t.append("y").await;
    assert_eq!(t.paths(2).await, ["x", "y"]);
    t.append("z").await;
    assert!(c.mark_next_published(t.id, 3, 3).await.unwrap());
    let loaded = load(&c, "t", vec![Ok(logged(4, ms + 1_000, &[]))]).await.unwrap();
    assert_eq!(loaded.published_version, Some(3), "the watermark never falls");
}

pub(super) async fn history_may_begin_at_a_checkpoint(c: Arc<dyn Catalog>) {
    let (a, b) = (file("a", 0, 9), with_dv(file("b", 0, 9), "x"));
    let base = HistoryItem::Base(Box::new(BaseState {
        version: 10,
        time: CommitTime { ms: 1000, source: TimeSource::File },
        protocol: protocol(),
        metadata: metadata("{}"),
        txns: vec![match txn("x", 5) {
            Action::Txn(t) => t,
            other => panic!("{other:?}"),
        }],
        domains: vec![],
        body: None,
    }));
    let files = |live: &[&Add], gone: &[&str]| {
        let removed = gone.iter().map(|path| crate::action::Remove::of(&file(path, 0, 9), 900, true)).collect();
        HistoryItem::Files(BaseFiles { live: live.iter().copied().cloned().collect(), removed })
    };
    let after = || logged(11, 1100, &[remove(&a)]);
    refused(load(&c, "t", vec![Ok(files(&[&a], &[])), Ok(after())]).await, ErrorKind::Invalid, &["belong to no state"]);
    refused(
        load(&c, "t", vec![Ok(base.clone()), Ok(after()), Ok(base.clone())]).await,
        ErrorKind::Invalid,
        &["behind its first commit"],
    );
    c.abandon_load(c.unfinished_load(&new_table("t").location).await.unwrap().unwrap().table).await.unwrap();
    // A base that cannot be read completely leaves nothing stored.
    let torn = TxnLogError::corrupt("a torn checkpoint");
    let error = load(&c, "t", vec![Ok(base.clone()), Ok(files(&[&a], &["never"])), Err(torn)]).await;
    refused(error, ErrorKind::Corrupt, &["a torn checkpoint"]);
    assert!(
        c.unfinished_load(&new_table("t").location).await.unwrap().is_none_or(|load| load.current_version.is_none())
    );
    let items =
        [base.clone(), files(&[&file("other", 0, 9)], &["never"]), base, files(&[&a], &[]), files(&[&b], &["gone"])];
    let entry = load(&c, "t", items.into_iter().chain([after()]).map(Ok).collect()).await.unwrap();
    assert_eq!((entry.base_version, entry.current_version), (10, 11));
    let t = TestTable { catalog: c.clone(), id: entry.id };
    assert_eq!((t.paths(10).await, t.paths(11).await), (vec!["a".to_string(), "b".into()], vec!["b".to_string()]));
    let reader = c.reader(t.id);
    assert_eq!(reader.commit_bytes(10).await.unwrap(), None);
    let changes = async |from| reader.changes(from, 11).await?.try_collect::<Vec<_>>().await;
    refused(changes(10).await, ErrorKind::NotFound, &["version 10 of default.t", "begin at 11"]);
    assert_eq!(first_commit(reader.as_ref(), 10).await.unwrap(), 11);
    assert_eq!(changes(11).await.unwrap().iter().map(|(version, _)| *version).collect::<Vec<_>>(), [11]);
    assert_eq!(reader.snapshot(At::Version(10)).await.unwrap().txns["x"].version, 5);
    for (deleted_after, there) in [(899, vec!["gone".to_string()]), (900, vec![])] {
        let tombstones = reader.tombstones(10, deleted_after).await.unwrap();
        let paths: Vec<_> = tombstones.map_ok(|r| r.path).try_collect().await.unwrap();
        assert_eq!(paths, there, "deleted after {deleted_after}");
    }
    refused(
        reader.snapshot(At::Version(9)).await,
        ErrorKind::NotFound,
        &["version 9", "oldest version that is retained is 10"],
    );
    refused(reader.snapshot(At::Timestamp(999)).await, ErrorKind::NotFound, &["oldest version that is retained is 10"]);
    assert_eq!(reader.history(HistoryRange::default()).await.unwrap().len(), 2);
    let early = t.request(Base::RebaseFrom(9), vec![Action::add(file("c", 0, 9))]);
    refused(t.try_commit(early).await, ErrorKind::Invalid, &["version 9", "read the table again"]);
    t.commit(vec![remove(&b)]).await;
    assert!(t.paths(12).await.is_empty());
}

pub(super) async fn an_unfinished_load_is_invisible_and_resumes(c: Arc<dyn Catalog>) {
    let mut items: Vec<Result<HistoryItem>> = story().into_iter().take(2).map(Ok).collect();
    items.push(Err(TxnLogError::corrupt("2.json, line 1: invalid JSON")));
    refused(load(&c, "t", items).await, ErrorKind::Corrupt, &["2.json, line 1"]);
    assert!(c.tables().await.unwrap().is_empty());
    let place = Location::parse("/nowhere/t").unwrap();
    assert_eq!(c.find(&TableRef::Location(place.clone())).await.unwrap(), None);
    refused(c.reader(table_id("t")).head().await, ErrorKind::NotFound, &["no table"]);
    let unfinished = c.unfinished_load(&place).await.unwrap().unwrap();
    let after = unfinished.current_version;
    let rest = story().into_iter().filter(|i| matches!(i, HistoryItem::Commit(l) if Some(l.version) > after));
    let entry = load(&c, "t", rest.map(Ok).collect()).await.unwrap();
    assert_eq!((entry.base_version, entry.current_version), (0, 2));
    let t = TestTable { catalog: c.clone(), id: entry.id };
    assert_eq!((t.paths(1).await, t.paths(2).await), (vec!["a".to_string(), "b".into()], vec!["b".to_string()]));
    assert_eq!(c.unfinished_load(&place).await.unwrap(), None);
}

/// The versions of a table as its `_delta_log` would have them.
async fn as_logged(t: &TestTable) -> Vec<HistoryItem> {
    let reader = t.catalog.reader(t.id);
    let bodies: Vec<_> = reader.changes(0, t.head().await).await.unwrap().try_collect().await.unwrap();
    let item = |(version, body): (Version, bytes::Bytes)| {
        let ms = crate::Commit::parse(body.clone(), "a commit").unwrap().info().unwrap().timestamp().unwrap();
        let time = CommitTime { ms, source: TimeSource::CommitInfo };
        HistoryItem::Commit(LoggedCommit { version, time, body, origin: format!("{version:020}.json") })
    };
    bodies.into_iter().map(item).collect()
}

fn of(table: TableId, name: &str, items: Vec<HistoryItem>) -> HistoryLoad<'static> {
    HistoryLoad::new(table, new_table(name), futures::stream::iter(items.into_iter().map(Ok)))
}

/// The answer to a commit is lost, and so is the commit, with everything after a backup: it is loaded again from the
/// log.
pub(super) async fn loaded_commits_keep_their_ids(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    let request = t.request(Base::Exactly(0), vec![Action::add(file("a", 0, 9))]);
    let first = t.try_commit(request.clone()).await.unwrap().committed().unwrap()[0];
    let history = as_logged(&t).await;

    let again = c.load_history(of(table_id("again"), "again", history)).await.unwrap();
    let request = CommitRequest { table: again.id, ..request };
    let found = c.find_commit(again.id, request.commit_id).await.unwrap();
    assert_eq!(found.map(|found| (found.version, found.timestamp)), Some((1, first.timestamp)));
    let sent_again = c.commit_all(vec![request]).await.unwrap().committed().unwrap();
    assert_eq!(sent_again[0].version, 1, "the same commit is the same commit after an import");
    assert_eq!(c.reader(again.id).head().await.unwrap().version, 1, "and is not made twice");

    // A delete that is sent again does not conflict with itself.
    let delete = t.request(Base::RebaseFrom(1), vec![remove(&file("a", 0, 9))]);
    t.try_commit(delete.clone()).await.unwrap().committed().unwrap();
    let tail = as_logged(&t).await.split_off(2);
    c.load_history(of(again.id, "again", tail)).await.unwrap();
    let sent_again = c.commit_all(vec![CommitRequest { table: again.id, ..delete }]).await.unwrap();
    assert_eq!(sent_again.committed().unwrap()[0].version, 2);
}

pub(super) async fn a_commit_logged_twice_is_loaded_once(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    let request = t.request(Base::Exactly(0), vec![Action::add(file("a", 0, 9))]);
    t.try_commit(request.clone()).await.unwrap().committed().unwrap();
    let mut history = as_logged(&t).await;
    for version in [2, 3] {
        let HistoryItem::Commit(twice) = history[1].clone() else { panic!("a commit") };
        history.push(HistoryItem::Commit(LoggedCommit { version, ..twice }));
    }
    let last = history.pop().unwrap();
    let again = c.load_history(of(table_id("again"), "again", history)).await.unwrap();
    c.load_history(of(again.id, "again", vec![last])).await.unwrap();
    let found = c.find_commit(again.id, request.commit_id).await.unwrap();
    assert_eq!(found.map(|found| found.version), Some(1), "the first counts");
}

pub(super) async fn an_unfinished_load_is_renamed_or_abandoned(c: Arc<dyn Catalog>) {
    let place = Location::parse("/nowhere/t").unwrap();
    let broken = || {
        let mut items: Vec<Result<HistoryItem>> = story().into_iter().take(2).map(Ok).collect();
        items.push(Err(TxnLogError::corrupt("2.json, line 1: invalid JSON")));
        items
    };
    let named = |name: &str, items: Vec<Result<HistoryItem>>| HistoryLoad {
        new: NewTable::new(name.parse().unwrap(), place.clone()),
        items: futures::stream::iter(items).boxed(),
        ..of(table_id("t"), "t", vec![])
    };
    refused(c.load_history(named("a", broken())).await.map(drop), ErrorKind::Corrupt, &["2.json"]);
    TestTable::create(&c, "taken").await;
    let taken = c.load_history(named("taken", vec![])).await;
    refused(taken, ErrorKind::AlreadyExists, &["default.taken"]);
    let last = story().split_off(2).into_iter().map(Ok).collect();
    let entry = c.load_history(named("b", last)).await.unwrap();
    assert_eq!((entry.name.to_string().as_str(), entry.current_version), ("default.b", 2));
    TestTable::create(&c, "a").await;
    refused(c.abandon_load(entry.id).await, ErrorKind::NotFound, &["no unfinished import"]);

    let other = Location::parse("/nowhere/other").unwrap();
    let load = HistoryLoad {
        table: table_id("other"),
        new: NewTable::new("other".parse().unwrap(), other.clone()),
        items: futures::stream::iter(broken()).boxed(),
        ..of(table_id("other"), "other", vec![])
    };
    refused(c.load_history(load).await, ErrorKind::Corrupt, &["2.json"]);
    let unfinished = c.unfinished_load(&other).await.unwrap().unwrap();
    c.abandon_load(unfinished.table).await.unwrap();
    assert_eq!(c.unfinished_load(&other).await.unwrap(), None);
    refused(c.abandon_load(unfinished.table).await, ErrorKind::NotFound, &["no unfinished import"]);

    // A load of a table in one Azure account does not continue with the table at the same path in another account.
    let [prod, dev] = ["prod", "dev"]
        .map(|account| Location::parse(&format!("abfss://lake@{account}.dfs.core.windows.net/other")).unwrap());
    let begin = |place: &Location, items| HistoryLoad {
        new: NewTable::new("cloud".parse().unwrap(), place.clone()),
        items: futures::stream::iter(items).boxed(),
        ..of(table_id("cloud"), "cloud", vec![])
    };
    refused(c.load_history(begin(&prod, broken())).await, ErrorKind::Corrupt, &["2.json"]);
    assert!(c.unfinished_load(&prod).await.unwrap().is_some());
    assert_eq!(c.unfinished_load(&dev).await.unwrap(), None);
    let elsewhere = HistoryLoad { table: table_id("dev"), ..begin(&dev, vec![]) };
    assert!(c.load_history(elsewhere).await.is_err());
    assert_eq!(c.unfinished_load(&prod).await.unwrap().map(|load| load.table), Some(table_id("cloud")));
    c.abandon_load(table_id("cloud")).await.unwrap();
    let t = TestTable::create(&c, "other").await;
    t.append("fresh").await;
    assert_eq!(t.paths(1).await, ["fresh"], "nothing of it is left");
}

pub(super) async fn only_an_empty_table_loads_a_base_state(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    t.append("a").await;
    for version in [1, 2, 10] {
        let again = c.load_history(of(t.id, "t", vec![base_without_commit(version)])).await;
        refused(again, ErrorKind::Conflict, &["begins with the state at version", "has version 1 already"]);
        let live = vec![file("b", 0, 9)];
        let files = HistoryItem::Files(BaseFiles { live, removed: vec![] });
        let again = c.load_history(of(t.id, "t", vec![base_without_commit(version), files])).await;
        refused(again, ErrorKind::Conflict, &["begins with the state at version", "has version 1 already"]);
    }
    assert_eq!((t.head().await, t.paths(1).await), (1, vec!["a".to_string()]));
}

/// A transaction over two tables, both restored from a backup without it.
pub(super) async fn a_transaction_is_loaded_atomically(c: Arc<dyn Catalog>) {
    check_loaded_atomically(c, true).await;
}

/// The commits of earlier versions of this library name the tables and have no ids of them.
pub(super) async fn a_transaction_without_ids_is_loaded_atomically(c: Arc<dyn Catalog>) {
    check_loaded_atomically(c, false).await;
}

async fn check_loaded_atomically(c: Arc<dyn Catalog>, with_ids: bool) {
    let (s, t) = (TestTable::create(&c, "s").await, TestTable::create(&c, "t").await);
    let both = vec![
        s.request(Base::RebaseFrom(0), vec![Action::add(file("s", 0, 9))]),
        t.request(Base::RebaseFrom(0), vec![Action::add(file("t", 0, 9))]),
    ];
    c.commit_all(both).await.unwrap().committed().unwrap();
    // The same names and ids as in the backup, but other tables, because a commit is never undone.
    let replaced = |item: &HistoryItem, pairs: &[(&str, TableId, &str, TableId)]| {
        let HistoryItem::Commit(logged) = item else { panic!("a commit") };
        let mut text = String::from_utf8(logged.body.to_vec()).unwrap();
        for (name, id, other, of_other) in pairs {
            text = text.replace(&format!("default.{name}"), &format!("default.{other}"));
            text = text.replace(&id.to_string(), &of_other.to_string());
        }
        assert!(!text.contains("groupId") || text.contains("participantIds"), "{text}");
        let key = if with_ids { "participantIds" } else { "others" };
        let body = text.replace("participantIds", key).into();
        HistoryItem::Commit(LoggedCommit { body, ..logged.clone() })
    };
    let rename =
        |item: &HistoryItem| replaced(item, &[("s", s.id, "u", table_id("u")), ("t", t.id, "v", table_id("v"))]);
    let (of_s, of_t) = (as_logged(&s).await, as_logged(&t).await);
    let (of_u, of_v): (Vec<_>, Vec<_>) = (of_s.iter().map(rename).collect(), of_t.iter().map(rename).collect());
    let u = c.load_history(of(table_id("u"), "u", of_u[..1].to_vec())).await.unwrap().id;
    let v = c.load_history(of(table_id("v"), "v", of_v[..1].to_vec())).await.unwrap().id;
    let half = c.load_history(of(u, "u", of_u[1..].to_vec())).await;
    refused(half, ErrorKind::Invalid, &["version 1 of default.u", "default.v as well"]);
    let heads = async || c.begin(&[u, v]).await.unwrap().into_iter().map(|head| head.version).collect::<Vec<_>>();
    assert_eq!(heads().await, [0, 0], "nothing of it came");
    let loads = vec![of(u, "u", of_u[1..].to_vec()), of(v, "v", of_v[1..].to_vec())];
    let entries = c.load_together(loads).await.unwrap();
    assert_eq!(entries.iter().map(|e| (e.id, e.current_version)).collect::<Vec<_>>(), [(u, 1), (v, 1)]);
    assert_eq!(heads().await, [1, 1]);
    // A table that was created later is not part of the transaction, whatever its name is.
    let late = TestTable::create(&c, "late").await.id;
    let w = of_s.iter().map(|item| replaced(item, &[("s", s.id, "w", table_id("w")), ("t", t.id, "late", late)]));
    let w: Vec<_> = w.collect();
    c.load_history(of(table_id("w"), "w", w)).await.unwrap();
    // A table is part of the transaction by its id, and by its name if the id is not known.
    let other = c.load_history(of(table_id("x"), "x", of_v[..1].to_vec())).await.unwrap().id;
    let y = of_s.iter().map(|item| replaced(item, &[("s", s.id, "y", table_id("y")), ("t", t.id, "x", t.id)]));
    let loaded = c.load_history(of(table_id("y"), "y", y.collect())).await;
    if with_ids {
        loaded.unwrap();
        c.load_history(of(other, "x", of_v[1..].to_vec())).await.unwrap();
    } else {
        refused(loaded, ErrorKind::Invalid, &["version 1 of default.y", "default.x as well"]);
    }
}
