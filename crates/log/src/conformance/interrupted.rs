//! Calls that are cancelled in the middle: each has taken effect as a whole or not at all, and can be repeated.

use std::pin::pin;
use std::task::Poll;

use super::loads::{load, story};
use super::*;
use crate::lifecycle::{DropMode, DropTable};
use crate::retention::{Expiry, Keep};

/// Polls a call until it has waited this often and drops it then. Returns its result if it finished before.
async fn dropped_after<T>(waits: usize, call: impl Future<Output = T>) -> Option<T> {
    let (mut call, mut left) = (pin!(call), waits);
    std::future::poll_fn(move |context| match left.checked_sub(1) {
        Some(fewer) => {
            left = fewer;
            call.as_mut().poll(context).map(Some)
        }
        None => Poll::Ready(None),
    })
    .await
}

/// Cancels such a call at each point at which it waits, and checks the result, until a call finishes. Both closures get
/// the number of the call.
async fn cancelled_at_every_await<T>(call: impl AsyncFn(usize) -> Result<T>, check: impl AsyncFn(usize)) {
    for n in 0.. {
        let answer = dropped_after(n, call(n)).await;
        check(n).await;
        if let Some(answer) = answer {
            answer.unwrap();
            return;
        }
    }
}

/// Waits for changes in progress: a change that waits for the lock of the table's head is made after them.
async fn settle(t: &TestTable) {
    if let Some(seen) = t.catalog.find(&TableRef::Id(t.id)).await.unwrap() {
        let settled = t.catalog.set_mirror(&seen, &MirrorState::Following).await;
        assert!(settled.as_ref().err().is_none_or(|e| e.kind() == ErrorKind::NotFound), "{settled:?}");
    }
}

pub(super) async fn commits(c: Arc<dyn Catalog>) {
    let (s, t) = (TestTable::create(&c, "s").await, TestTable::create(&c, "t").await);
    let both = |n: usize| {
        let path = format!("f{n:02}");
        [&s, &t].map(|table| table.request(Base::RebaseFrom(0), vec![Action::add(file(&path, 0, 9))])).to_vec()
    };
    cancelled_at_every_await(
        async |n| c.commit_all(both(n)).await,
        async |n| {
            // Sent again, it is the same commit, whether the first attempt was committed or not.
            let committed = c.commit_all(both(n)).await.unwrap().committed().unwrap();
            let version = n as Version + 1;
            assert_eq!(committed.iter().map(|c| c.version).collect::<Vec<_>>(), [version, version]);
            let all: Vec<_> = (0..=n).map(|n| format!("f{n:02}")).collect();
            assert_eq!((s.paths(version).await, t.paths(version).await), (all.clone(), all));
            assert_eq!((s.head().await, t.head().await), (version, version));
        },
    )
    .await;
}

pub(super) async fn creations_and_loads(c: Arc<dyn Catalog>) {
    let create = |n: usize| {
        let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
        let name = format!("made{n}");
        CommitRequest::new(table_id(&name), Uuid::from_u128(1), Base::Create(new_table(&name)), actions)
    };
    cancelled_at_every_await(
        async |n| c.commit_all(vec![create(n)]).await,
        async |n| {
            assert_eq!(c.commit_all(vec![create(n)]).await.unwrap().committed().unwrap()[0].version, 0);
        },
    )
    .await;
    cancelled_at_every_await(
        async |n| load(&c, &format!("loaded{n}"), story().into_iter().map(Ok).collect()).await,
        async |n| {
            let name = format!("loaded{n}");
            // A batch may have been in progress: then more is stored than was seen, and the table is read again.
            let entry = loop {
                let unfinished = c.unfinished_load(&new_table(&name).location).await.unwrap();
                let stored = match unfinished {
                    Some(load) => load.current_version,
                    None => c.find(&TableRef::Id(table_id(&name))).await.unwrap().map(|table| table.current_version),
                };
                let lacks = |item: &HistoryItem| matches!(item, HistoryItem::Commit(l) if Some(l.version) > stored);
                let rest = story().into_iter().filter(lacks).map(Ok).collect();
                match load(&c, &name, rest).await {
                    Ok(entry) => break entry,
                    Err(e) => assert_eq!(e.kind(), ErrorKind::Conflict, "{e}"),
                }
            };
            assert_eq!((entry.current_version, entry.published_version), (2, Some(2)));
            assert_eq!(TestTable { catalog: c.clone(), id: entry.id }.paths(2).await, ["b"]);
        },
    )
    .await;
}

pub(super) async fn renames_and_drops(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    t.append("a").await;
    let name = |n: usize| format!("name{n}").parse().unwrap();
    cancelled_at_every_await(
        async |n| c.rename_table(t.id, &name(n), &Committer::default()).await,
        async |n| {
            settle(&t).await;
            let now = entry(&c, t.id).await.name;
            let by_name = c.find(&TableRef::Name(now.clone())).await.unwrap().unwrap();
            assert_eq!((by_name.id, c.tables().await.unwrap().len()), (t.id, 1));
            if now != name(n) {
                c.rename_table(t.id, &name(n), &Committer::default()).await.unwrap();
            }
        },
    )
    .await;
    let drop_options = DropTable {
        mode: DropMode::Retain { ms: 1_000_000 },
        allow_unpublished: true,
        at_version: None,
        committer: Committer::default(),
    };
    let drop = async || {
        let lease = c.acquire_lease(t.id, Uuid::from_u128(7), 0, 1_000).await?.unwrap();
        c.drop_table(&lease, &drop_options).await
    };
    cancelled_at_every_await(
        async |_| drop().await,
        async |_| {
            settle(&t).await;
            if c.find(&TableRef::Id(t.id)).await.unwrap().is_some() {
                assert_eq!(c.inactive_table(t.id).await.unwrap(), None);
                drop().await.unwrap();
            }
            let back = c.undrop_table(t.id, None, &Committer::default()).await.unwrap();
            assert_eq!((back.current_version, t.paths(1).await), (1, vec!["a".to_string()]));
        },
    )
    .await;
}

pub(super) async fn steps_of_an_expiry(c: Arc<dyn Catalog>) {
    let expiry = |t: &TestTable| {
        let keep = Keep { since_ms: i64::MAX, versions: 1, ids_since_ms: i64::MAX };
        Expiry { table: t.id, keep, up_to: Version::MAX, committer: Committer::default() }
    };
    for n in 0.. {
        let t = TestTable::create(&c, &format!("t{n}")).await;
        for version in 1..=3 {
            t.commit(vec![Action::add(file(&format!("f{version}"), 0, 9)), txn("app", version)]).await;
        }
        assert!(c.mark_next_published(t.id, 0, 3).await.unwrap());
        let answer = dropped_after(n, c.expire(&expiry(&t))).await;
        settle(&t).await;
        let base = entry(&c, t.id).await.base_version;
        assert!([0, 3].contains(&base), "it begins at version {base}");
        for version in base..=3 {
            assert_eq!(t.paths(version).await.len() as Version, version);
        }
        let ended = c.expire(&expiry(&t)).await.unwrap();
        assert_eq!((ended.base_version, ended.versions, ended.is_done), (3, 3 - base, true));
        if let Some(answer) = answer {
            assert_eq!(answer.unwrap().base_version, 3);
            return;
        }
    }
}
