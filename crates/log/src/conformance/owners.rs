//! A table with an owner takes commits that name it, and no others.

use super::loads::{load, logged, story};
use super::*;
use crate::ids::CommitId;
use crate::lifecycle::{DropMode, DropTable};
use crate::owner::TableOwner;
use crate::retention::{Expiry, Keep};
use crate::verbatim::VerbatimCommit;

fn owner(name: &str) -> Option<TableOwner> {
    Some(name.parse().unwrap())
}

const KEPT: &str =
    "default.t is owned by the row engine of /data, which alone may commit to it: use `dl sql --data /data`";

/// The table `t`, owned by the row engine.
async fn kept(c: &Arc<dyn Catalog>) -> TestTable {
    let new = NewTable { owner: owner("rows:/data"), ..new_table("t") };
    let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
    let request = CommitRequest::new(table_id("t"), Uuid::from_u128(1), Base::Create(new), actions);
    c.commit_all(vec![request]).await.unwrap().committed().unwrap();
    TestTable { catalog: c.clone(), id: table_id("t") }
}

pub(super) async fn an_owned_table_accepts_only_commits_of_its_owner(c: Arc<dyn Catalog>) {
    let t = kept(&c).await;
    assert_eq!(entry(&c, t.id).await.owner, owner("rows:/data"));
    assert_eq!(c.tables().await.unwrap()[0].owner, owner("rows:/data"));
    let point = c.point().await.unwrap();
    let then = c.find_at(&TableRef::Id(t.id), &point).await.unwrap().unwrap();
    assert_eq!(then.owner, owner("rows:/data"));

    let append = |base, path: &str| t.request(base, vec![Action::add(file(path, 0, 9))]);
    let by = |who: &str, request: CommitRequest| CommitRequest { owner: owner(who), ..request };
    let done = t.try_commit(by("rows:/data", append(Base::Exactly(0), "a"))).await.unwrap().committed().unwrap();
    assert_eq!(done[0].version, 1);
    let s = TestTable::create(&c, "s").await;
    for base in [Base::Exactly(1), Base::RebaseFrom(0), Base::Exactly(0)] {
        refused(t.try_commit(append(base.clone(), "b")).await, ErrorKind::Invalid, &[KEPT]);
        refused(t.try_commit(by("rows:/other", append(base, "b"))).await, ErrorKind::Invalid, &[KEPT]);
    }
    let other = s.request(Base::Exactly(0), vec![Action::add(file("s", 0, 9))]);
    refused(c.commit_all(vec![other.clone(), append(Base::Exactly(1), "b")]).await, ErrorKind::Invalid, &[KEPT]);
    let verbatim = VerbatimCommit::parse(Action::add(file("v", 0, 9)).to_json().into(), i64::MAX / 2).unwrap();
    let verbatim = CommitRequest::verbatim(t.id, CommitId::of_name("v"), Base::Exactly(1), verbatim);
    refused(t.try_commit(verbatim).await, ErrorKind::Invalid, &[KEPT]);
    assert_eq!((t.head().await, s.head().await), (1, 0));
    assert_eq!(t.paths(1).await, ["a"]);

    // A commit that names the owner to a table without one is rejected as well: the table is not in the expected state.
    let stolen = s.try_commit(by("rows:/data", other)).await;
    refused(stolen, ErrorKind::Invalid, &["default.s is not owned by the row engine of /data"]);

    // Commits that exist already are recognized for any caller, and any caller may read.
    let again = t.try_commit(append(Base::Exactly(0), "a")).await.unwrap().committed().unwrap();
    assert_eq!(again, done);
    let read = CommitRequest { reads: whole_table(), ..t.request(Base::ReadAt(1), vec![]) };
    let beside = s.request(Base::Exactly(0), vec![Action::add(file("s2", 0, 9))]);
    c.commit_all(vec![read, beside]).await.unwrap().committed().unwrap();
}

fn whole_table() -> crate::commit::Reads {
    crate::commit::Reads { whole_table: true, ..Default::default() }
}

pub(super) async fn an_owned_table_accepts_only_loads_of_its_owner(c: Arc<dyn Catalog>) {
    let t = kept(&c).await;
    let ms = c.reader(t.id).head().await.unwrap().timestamp + 5;
    let items = || vec![Ok(logged(1, ms, &[Action::add(file("x", 0, 9))]))];
    refused(load(&c, "t", items()).await, ErrorKind::Invalid, &[KEPT]);
    let together = c.load_together(vec![load_of("t", None, items())]).await;
    refused(together, ErrorKind::Invalid, &[KEPT]);
    assert_eq!(t.head().await, 0);
    let loaded = c.load_history(load_of("t", owner("rows:/data"), items())).await.unwrap();
    assert_eq!((loaded.current_version, loaded.owner), (1, owner("rows:/data")));
    let fresh = c.load_history(load_of("u", owner("etl"), story().into_iter().map(Ok).collect())).await.unwrap();
    assert_eq!(fresh.owner, owner("etl"));
}

fn load_of(name: &str, owner: Option<TableOwner>, items: Vec<Result<HistoryItem>>) -> HistoryLoad<'static> {
    HistoryLoad::new(table_id(name), NewTable { owner, ..new_table(name) }, futures::stream::iter(items))
}

pub(super) async fn an_owned_table_is_changed_and_expired_only_by_its_owner(c: Arc<dyn Catalog>) {
    let t = kept(&c).await;
    let s = TestTable::create(&c, "s").await;
    let by = |who: &str| Committer { name: None, owner: owner(who) };
    let rename =
        async |t: &TestTable, committer: Committer| c.rename_table(t.id, &"u".parse().unwrap(), &committer).await;
    let drop = async |mode, committer| {
        let lease = c.acquire_lease(t.id, Uuid::from_u128(7), 0, 1_000).await?.unwrap();
        c.drop_table(&lease, &DropTable { mode, allow_unpublished: true, at_version: None, committer }).await
    };
    let expire = async |committer| {
        let keep = Keep { since_ms: i64::MAX, versions: 1, ids_since_ms: 0 };
        c.expire(&Expiry { table: t.id, keep, up_to: Version::MAX, committer }).await
    };
    for other in [Committer::default(), by("rows:/other")] {
        refused(rename(&t, other.clone()).await, ErrorKind::Invalid, &[KEPT]);
        for mode in [DropMode::Retain { ms: 1_000 }, DropMode::DeleteFiles, DropMode::Detach] {
            refused(drop(mode, other.clone()).await, ErrorKind::Invalid, &[KEPT]);
        }
        refused(expire(other).await, ErrorKind::Invalid, &[KEPT]);
    }
    refused(rename(&s, by("rows:/data")).await, ErrorKind::Invalid, &["default.s is not owned by the row engine"]);
    assert_eq!(entry(&c, t.id).await.name.to_string(), "default.t");
    expire(by("rows:/data")).await.unwrap();
    rename(&t, by("rows:/data")).await.unwrap();
    drop(DropMode::Retain { ms: 1_000_000_000 }, by("rows:/data")).await.unwrap();
    let kept = KEPT.replace("default.t", "default.u");
    for other in [Committer::default(), by("rows:/other")] {
        refused(c.undrop_table(t.id, None, &other).await, ErrorKind::Invalid, &[&kept]);
        // Under another name the table would have no owner.
        refused(c.undrop_table(t.id, Some(&"v".parse().unwrap()), &other).await, ErrorKind::Invalid, &[&kept]);
    }
    assert_eq!(c.undrop_table(t.id, None, &by("rows:/data")).await.unwrap().owner, owner("rows:/data"));
}
