//! The publishing progress of a table's mirror, and what stops it.

use std::sync::atomic::{AtomicBool, Ordering};

use super::clients::Clients;
use super::*;
use crate::lifecycle::{DropMode, DropTable};
use crate::mirror::TableBehind;

pub(super) async fn only_the_newest_lease_moves_the_watermark(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    t.append("a").await;
    let (me, you) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mine = c.acquire_lease(t.id, me, 0, 1000).await.unwrap().unwrap();
    assert_eq!(c.acquire_lease(t.id, you, 999, 2000).await.unwrap(), None, "while it lasts it is mine");
    c.mark_failed(t.id, 0, Artifact::Commit, "the disk is full", 5).await.unwrap();
    c.mark_failed(t.id, 0, Artifact::Commit, "the disk is full still", 6).await.unwrap();
    let failures = c.mirror_failures(t.id).await.unwrap();
    assert_eq!((failures.len(), failures[0].attempts, failures[0].version), (1, 2, 0));
    assert_eq!(failures[0].error, "the disk is full still");
    c.mark_published(&mine, 0).await.unwrap();
    assert!(c.mirror_failures(t.id).await.unwrap().is_empty(), "what is published has not failed");
    c.mark_failed(t.id, 0, Artifact::Commit, "it was late", 7).await.unwrap();
    assert!(
        c.mirror_failures(t.id).await.unwrap().is_empty(),
        "who fails at what another has published fails at nothing"
    );
    c.mark_failed(t.id, 0, Artifact::Checkpoint, "no room", 7).await.unwrap();
    c.mark_published(&mine, 0).await.unwrap();
    let failures = c.mirror_failures(t.id).await.unwrap();
    assert_eq!((failures.len(), failures[0].artifact), (1, Artifact::Checkpoint), "publishing mends no checkpoint");
    c.mark_checkpointed(t.id, 0).await.unwrap();
    assert!(c.mirror_failures(t.id).await.unwrap().is_empty());
    let yours = c.acquire_lease(t.id, you, 1000, 2000).await.unwrap().unwrap();
    assert!(yours.token > mine.token, "a token only grows");
    refused(c.mark_published(&mine, 1).await, ErrorKind::Conflict, &["default.t"]);
    c.mark_published(&yours, 1).await.unwrap();
    c.mark_published(&yours, 0).await.unwrap();
    let published = c.find(&TableRef::Id(t.id)).await.unwrap().unwrap().published_version;
    assert_eq!(published, Some(1), "the watermark never falls");
    c.release_lease(&yours).await.unwrap();
    let again = c.acquire_lease(t.id, me, 1001, 3000).await.unwrap().unwrap();
    assert!(again.token > yours.token);

    // A writer that has just committed needs no lease to publish the next versions.
    for (from, to, is_next) in [(3, 3, false), (2, 2, true), (2, 2, false), (1, 5, false), (3, 5, true)] {
        assert_eq!(c.mark_next_published(t.id, from, to).await.unwrap(), is_next, "{from} to {to}");
    }
    assert_eq!(entry(&c, t.id).await.published_version, Some(5));
    let fresh = TestTable::create(&c, "fresh").await;
    assert!(c.mark_next_published(fresh.id, 0, 0).await.unwrap());
}

pub(super) async fn tables_with_unpublished_versions_are_found(c: Arc<dyn Catalog>) {
    assert_eq!(c.tables_behind(None).await.unwrap(), [], "a new catalog has no tables");
    // `a` has two unpublished versions, `b` one, `c` is diverged, `d` is published, `e` is dropped.
    let mut tables = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        tables.push(TestTable::create(&c, name).await);
    }
    let [a, b, stopped, published, dropped] = &tables[..] else { panic!("five tables") };
    for t in [a, b, published] {
        t.append("f").await;
        assert!(c.mark_next_published(t.id, 0, 0).await.unwrap());
    }
    a.append("g").await;
    assert!(c.mark_next_published(published.id, 1, 1).await.unwrap());
    let what = "another commit".to_string();
    let seen = entry(&c, stopped.id).await;
    assert!(c.set_mirror(&seen, &MirrorState::Diverged { version: 0, what }).await.unwrap());
    let lease = c.acquire_lease(dropped.id, Uuid::from_u128(7), 0, 1_000).await.unwrap().unwrap();
    let mode = DropMode::Retain { ms: 0 };
    let drop = DropTable { mode, allow_unpublished: true, at_version: None, committer: Committer::default() };
    c.drop_table(&lease, &drop).await.unwrap();

    let since = async |t: &TestTable, version| {
        let head = c.reader(t.id).snapshot(At::Version(version)).await.unwrap().head;
        TableBehind::new(entry(&c, t.id).await, head.timestamp)
    };
    let mut expected = vec![since(stopped, 0).await, since(a, 1).await, since(b, 1).await];
    // The oldest first.
    expected.sort_by_key(|behind| (behind.since_ms, behind.table.id));
    assert_eq!(c.tables_behind(None).await.unwrap(), expected);
    assert_eq!(expected[0].lag_ms(expected[0].since_ms + 5), 5);
    let among = [published.id, b.id, dropped.id, table_id("nowhere")];
    assert_eq!(c.tables_behind(Some(&among)).await.unwrap(), [since(b, 1).await]);
    assert_eq!(c.tables_behind(Some(&[])).await.unwrap(), []);
    assert!(c.mark_next_published(b.id, 1, 1).await.unwrap());
    expected.retain(|behind| behind.table.id != b.id);
    assert_eq!(c.tables_behind(None).await.unwrap(), expected);
}

pub(super) async fn a_diverged_table_refuses_commits(c: Arc<dyn Catalog>) {
    let (s, t) = (TestTable::create(&c, "s").await, TestTable::create(&c, "t").await);
    let what = "00000000000000000001.json by another writer".to_string();
    let (following, diverged) = (entry(&c, t.id).await, MirrorState::Diverged { version: 1, what });
    assert!(c.set_mirror(&following, &diverged).await.unwrap());
    let stopped = entry(&c, t.id).await;
    assert_eq!(stopped.mirror, diverged);
    assert!(!c.set_mirror(&following, &MirrorState::Following).await.unwrap(), "it is not in the state that was seen");
    let requests = [&s, &t].map(|t| t.request(Base::RebaseFrom(0), vec![Action::add(file("a", 0, 9))]));
    let result = c.commit_all(requests.clone().into()).await;
    refused(
        result,
        ErrorKind::Invalid,
        &["default.t", "version 1", "00000000000000000001.json", "dl verify default.t"],
    );
    assert_eq!((s.head().await, t.head().await), (0, 0));
    assert!(t.paths(0).await.is_empty(), "it can still be read");
    assert!(c.set_mirror(&stopped, &MirrorState::Following).await.unwrap());
    c.commit_all(requests.into()).await.unwrap().committed().unwrap();
    assert_eq!((s.head().await, t.head().await), (1, 1), "until it goes on");
    assert!(!c.set_mirror(&following, &diverged).await.unwrap(), "version 1 is the catalog's own by now");
    assert_eq!(entry(&c, t.id).await.mirror, MirrorState::Following);
}

pub(super) async fn commits_concurrent_with_a_divergence_precede_it_or_fail(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    let clients = Clients::start(&t);
    // Their commits are published at the same time.
    let is_over = Arc::new(AtomicBool::new(false));
    let publisher = tokio::spawn({
        let (c, id, is_over) = (c.clone(), t.id, is_over.clone());
        async move {
            loop {
                let was_over = is_over.load(Ordering::SeqCst);
                let now = entry(&c, id).await;
                let next = now.published_version.map_or(0, |version| version + 1);
                if next <= now.current_version {
                    c.mark_failed(id, next, Artifact::Commit, "the disk is full", 1).await.unwrap();
                    assert!(c.mark_next_published(id, next, now.current_version).await.unwrap());
                } else if was_over {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    });
    clients.have_begun().await;
    let diverged = MirrorState::Diverged { version: 1 << 40, what: "another commit".into() };
    assert!(c.set_mirror(&entry(&c, t.id).await, &diverged).await.unwrap());
    let newest = t.head().await;
    let commits = clients.are_refused(ErrorKind::Invalid, "another commit").await;
    assert_eq!((t.head().await, commits), (newest, newest), "none is lost, and none comes after");
    is_over.store(true, Ordering::SeqCst);
    publisher.await.unwrap();
    let stopped = entry(&c, t.id).await;
    assert_eq!((stopped.published_version, stopped.mirror), (Some(newest), diverged));
    assert!(c.mirror_failures(t.id).await.unwrap().is_empty());
}
