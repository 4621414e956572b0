//! The end of history.

use futures::stream::BoxStream;

use super::loads::{load, logged};
use super::*;
use crate::action::{DomainMetadata, Txn};
use crate::ids::CommitId;
use crate::retention::{Expired, Expiry, Keep, STEP_VERSIONS};
use crate::snapshot::Snapshot;

const VERSIONS: Version = 12;

/// A table in which each version from 1 on replaces its one file and sets the txn of an application.
struct Overwritten {
    t: TestTable,
    /// By version: its time, and the id of its commit.
    commits: Vec<(i64, CommitId)>,
}

impl Overwritten {
    async fn new(c: &Arc<dyn Catalog>, name: &str) -> Self {
        let t = TestTable::create(c, name).await;
        let mut commits = vec![(t.time(0).await, CommitId([0; 32]))];
        for version in 1..=VERSIONS {
            let mut actions = vec![Action::add(live(version)), txn("app", version as i64)];
            actions.extend((version > 1).then(|| remove(&live(version - 1))));
            match version {
                2 => actions.extend([txn("once", 1), domain("gone", "x", false)]),
                3 => actions.extend([domain("kept", "three", false), domain("gone", "x", true)]),
                4 => actions.push(Action::Metadata(metadata(r#"{"a":"4"}"#))),
                9 => actions.extend([Action::Metadata(metadata(r#"{"a":"9"}"#)), domain("kept", "nine", false)]),
                _ => {}
            }
            let request = t.request(Base::Exactly(version - 1), actions);
            let id = request.commit_id;
            let committed = t.try_commit(request).await.unwrap().committed().unwrap()[0];
            commits.push((committed.timestamp, id));
        }
        Self { t, commits }
    }

    /// Keeps the versions that were the newest at the time of `version` or later.
    fn keep_since(&self, version: Version) -> Keep {
        Keep { since_ms: self.commits[version as usize].0, versions: 1, ids_since_ms: 0 }
    }

    async fn publish(&self, to: Version) {
        assert!(self.t.catalog.mark_next_published(self.t.id, 0, to).await.unwrap());
    }
}

fn live(version: Version) -> Add {
    file(&format!("f{version}"), version as i64, version as i64)
}

impl TestTable {
    async fn time(&self, version: Version) -> i64 {
        self.catalog.reader(self.id).snapshot(At::Version(version)).await.unwrap().head.timestamp
    }

    fn expiry(&self, keep: Keep) -> Expiry {
        Expiry { table: self.id, keep, up_to: Version::MAX, committer: Committer::named("ann") }
    }

    /// Ends all history that may end; returns how many steps that took.
    async fn expire(&self, keep: Keep) -> (Expired, u64) {
        let (mut all, mut steps) = (Expired::default(), 0);
        while !all.is_done {
            let step = self.catalog.expire(&self.expiry(keep)).await.unwrap();
            assert!(step.versions <= STEP_VERSIONS, "{step:?}");
            (all, steps) =
                (Expired { versions: all.versions + step.versions, files: all.files + step.files, ..step }, steps + 1);
        }
        (all, steps)
    }
}

/// Everything that is read of a version.
#[derive(Debug, PartialEq)]
struct ReadState {
    snapshot: Snapshot,
    files: Vec<Add>,
    in_order: Vec<Add>,
    matching: Vec<Add>,
    bytes: Option<bytes::Bytes>,
    set_hash: crate::SetHash,
    tombstones: Vec<String>,
    counts: crate::reader::Counts,
    min_max: Option<(Literal, Literal)>,
}

impl ReadState {
    async fn of(reader: &dyn TxnLogReader, version: Version, since_ms: i64) -> Result<Self> {
        let is = Predicate::Compare("id".into(), Comparison::Eq, Literal::Long(version as i64));
        let tombstones = reader.tombstones(version, since_ms).await?;
        Ok(Self {
            snapshot: reader.snapshot(At::Version(version)).await?,
            files: reader.files_in_replay_order(version, None).await?,
            in_order: reader.files_by_key(version).await?.try_collect().await?,
            matching: reader.files(version, Some(&is)).await?.try_collect().await?,
            bytes: reader.commit_bytes(version).await?,
            set_hash: reader.set_hash(version).await?,
            tombstones: tombstones.map_ok(|remove| remove.path).try_collect().await?,
            counts: reader.counts(version).await?,
            min_max: reader.min_max(version, "id").await?,
        })
    }
}

pub(super) async fn expiry_leaves_retained_versions_unchanged(c: Arc<dyn Catalog>) {
    let (o, other) = (Overwritten::new(&c, "t").await, Overwritten::new(&c, "other").await);
    o.publish(VERSIONS).await;
    let (keep, reader) = (o.keep_since(6), c.reader(o.t.id));
    let mut before = Vec::new();
    for version in 0..=VERSIONS {
        before.push(ReadState::of(reader.as_ref(), version, keep.since_ms).await.unwrap());
    }
    let changes: Vec<_> = reader.changes(6, VERSIONS).await.unwrap().try_collect().await.unwrap();
    let history = reader.history(HistoryRange::default()).await.unwrap();

    assert_eq!(c.end_of_history(o.t.id, &keep).await.unwrap(), 6);
    let some = c.expire(&Expiry { up_to: 2, ..o.t.expiry(keep) }).await.unwrap();
    assert_eq!((some.base_version, some.versions, some.is_done), (2, 2, true), "no further than asked");
    let (rest, _) = o.t.expire(keep).await;
    assert_eq!((rest.base_version, rest.versions, rest.files), (6, 4, 4));
    let (again, _) = o.t.expire(keep).await;
    assert_eq!((again.base_version, again.versions, again.files), (6, 0, 0), "nothing is left to end");
    assert_eq!(c.end_of_history(o.t.id, &keep).await.unwrap(), 6);
    let entry = entry(&c, o.t.id).await;
    assert_eq!((entry.base_version, entry.current_version, entry.published_version), (6, VERSIONS, Some(VERSIONS)));

    for (version, said) in (0..).zip(&before) {
        let now = ReadState::of(reader.as_ref(), version, keep.since_ms).await;
        if version >= 6 {
            assert_eq!(now.unwrap(), *said, "version {version}");
            assert_eq!(reader.size_delta(version, VERSIONS).await.unwrap().files, 0);
            continue;
        }
        refused(now, ErrorKind::NotFound, &["default.t", "the oldest version that is retained is 6"]);
        refused(reader.files(version, None).await.map(drop), ErrorKind::NotFound, &["is retained is 6"]);
        refused(reader.changes(version, 12).await.map(drop), ErrorKind::NotFound, &["is retained is 6"]);
        let at = At::Timestamp(o.commits[version as usize].0);
        refused(reader.snapshot(at).await, ErrorKind::NotFound, &["is retained is 6"]);
    }
    let snapshot = reader.snapshot(At::Timestamp(o.commits[6].0)).await.unwrap();
    assert_eq!(snapshot.version(), 6);
    let set = |txn: &Txn| txn.version;
    assert_eq!((set(&snapshot.txns["app"]), set(&snapshot.txns["once"])), (6, 1), "the newest of each stays");
    let says = |domain: &DomainMetadata| domain.configuration.clone();
    assert_eq!(snapshot.domains.values().map(says).collect::<Vec<_>>(), ["three"]);
    assert_eq!(snapshot.head.metadata.property("a"), Some("4"));
    let now: Vec<_> = reader.changes(6, VERSIONS).await.unwrap().try_collect().await.unwrap();
    assert_eq!(now, changes);
    assert_eq!(reader.history(HistoryRange::default()).await.unwrap(), history[..7]);
    let early = HistoryRange { until: Some(o.commits[3].0), ..Default::default() };
    assert!(reader.history(early).await.unwrap().is_empty());

    assert_eq!(self::entry(&c, other.t.id).await.base_version, 0, "of another table nothing ends");
    assert_eq!(other.t.paths(1).await, ["f1"]);
    o.t.append("more").await;
    assert_eq!(o.t.paths(VERSIONS + 1).await, ["f12", "more"], "it goes on");
}

pub(super) async fn commits_based_on_expired_versions(c: Arc<dyn Catalog>) {
    let o = Overwritten::new(&c, "t").await;
    o.publish(VERSIONS).await;
    let resent = o.t.request(Base::Exactly(2), {
        vec![
            Action::add(live(3)),
            txn("app", 3),
            remove(&live(2)),
            domain("kept", "three", false),
            domain("gone", "x", true),
        ]
    });
    assert_eq!(resent.commit_id, o.commits[3].1, "it is the same commit");
    o.t.expire(o.keep_since(6)).await;

    let add = |base, path: &str| o.t.request(Base::RebaseFrom(base), vec![Action::add(file(path, 0, 9))]);
    for base in [0, 4] {
        let says = [format!("version {base}"), "read the table again".into()];
        refused(
            o.t.try_commit(add(base, "late")).await,
            ErrorKind::Invalid,
            &says.iter().map(String::as_str).collect::<Vec<_>>(),
        );
    }
    // The commits since version 5 are retained, including version 6.
    let same_app = o.t.request(Base::RebaseFrom(5), vec![txn("app", 100)]);
    conflict(o.t.try_commit(same_app).await.unwrap(), 6, &ConflictKind::SameApplication("app".into()));
    let removes = o.t.request(Base::RebaseFrom(5), vec![remove(&live(5))]);
    assert!(matches!(o.t.try_commit(removes).await.unwrap(), Outcome::Conflict(c) if c.version == 6));
    let committed = o.t.try_commit(add(5, "late")).await.unwrap();
    assert!(matches!(committed, Outcome::Conflict(c) if c.version == 9), "the metadata has changed since");
    o.t.try_commit(add(9, "late")).await.unwrap().committed().unwrap();

    // Commit ids are kept longer than their versions.
    let (ms, id) = o.commits[3];
    let found = Committed { table: o.t.id, version: 3, timestamp: ms, leap: None };
    assert_eq!(c.find_commit(o.t.id, id).await.unwrap(), Some(found));
    assert_eq!(o.t.try_commit(resent).await.unwrap().committed().unwrap(), [found]);
    o.t.expire(Keep { ids_since_ms: o.commits[3].0, ..o.keep_since(6) }).await;
    assert_eq!(c.find_commit(o.t.id, o.commits[2].1).await.unwrap(), None, "until their time is over");
    assert_eq!(c.find_commit(o.t.id, id).await.unwrap(), Some(found));
    o.t.expire(Keep { ids_since_ms: i64::MAX, ..o.keep_since(6) }).await;
    for version in 1..=VERSIONS {
        let id = o.commits[version as usize].1;
        let found = c.find_commit(o.t.id, id).await.unwrap();
        assert_eq!(found.map(|c| c.version), Some(version).filter(|v| *v >= 6), "and those of versions that stay");
    }

    // A blind append is rejected as well, although only files were added since: its id may have been removed.
    let t = TestTable::create(&c, "files").await;
    for n in 1..=4 {
        let request = t.request(Base::Exactly(n - 1), vec![Action::add(live(n))]);
        t.try_commit(request).await.unwrap().committed().unwrap();
    }
    assert!(c.mark_next_published(t.id, 0, 4).await.unwrap());
    t.expire(Keep { since_ms: t.time(3).await, versions: 1, ids_since_ms: 0 }).await;
    let append = |base| t.request(Base::RebaseFrom(base), vec![Action::add(file("late", 0, 9))]);
    refused(t.try_commit(append(0)).await, ErrorKind::Invalid, &["version 0", "read the table again"]);
    t.try_commit(append(3)).await.unwrap().committed().unwrap();
}

pub(super) async fn expiry_stops_at_the_strictest_limit(c: Arc<dyn Catalog>) {
    let o = Overwritten::new(&c, "t").await;
    let end = async |keep: Keep| c.end_of_history(o.t.id, &keep).await.unwrap();
    let all = o.keep_since(VERSIONS);
    assert_eq!(end(all).await, 0, "nothing is published");
    assert_eq!(o.t.expire(all).await.0.versions, 0);
    o.publish(8).await;
    assert_eq!(end(all).await, 8, "what is not published stays");
    assert_eq!(end(Keep { versions: 8, ..all }).await, 5);
    assert_eq!(end(Keep { versions: 100, ..all }).await, 0);
    assert_eq!(end(Keep { since_ms: o.keep_since(5).since_ms - 1, ..all }).await, 4, "it was the newest then");
    assert_eq!(end(Keep { since_ms: o.keep_since(0).since_ms - 1, ..all }).await, 0);
    let hour = c.now_ms().await.unwrap() + 3_600_000;
    let hold = c.hold(o.t.id, 3, hour, "a report").await.unwrap();
    assert_eq!(end(all).await, 3, "a reader holds it");
    assert_eq!(o.t.expire(all).await.0.base_version, 3);
    assert_eq!(o.t.paths(3).await, ["f3"]);
    c.release_hold(&hold).await.unwrap();
    assert_eq!(o.t.expire(Keep { versions: 8, ..all }).await.0.base_version, 5);
    assert_eq!(end(Keep { versions: 100, ..all }).await, 5, "what has ended does not come back");
    assert_eq!(o.t.expire(all).await.0.base_version, 8);
    refused(c.end_of_history(table_id("none"), &all).await, ErrorKind::NotFound, &["no table"]);
    let none = Expiry { table: table_id("none"), ..o.t.expiry(all) };
    refused(c.expire(&none).await, ErrorKind::NotFound, &["no table"]);
}

pub(super) async fn a_long_history_expires_in_steps(c: Arc<dyn Catalog>) {
    let newest = 2 * STEP_VERSIONS + 7;
    let first = [Action::Protocol(protocol()), Action::Metadata(metadata("{}")), Action::add(live(0))];
    let next = |n: Version| [Action::add(live(n)), remove(&live(n - 1)), txn("app", n as i64)];
    let items = (1..=newest).map(|n| logged(n, 1_000 + n as i64, &next(n)));
    let items = [logged(0, 1_000, &first)].into_iter().chain(items).map(Ok).collect();
    let entry = load(&c, "t", items).await.unwrap();
    let t = TestTable { catalog: c.clone(), id: entry.id };
    assert!(c.mark_next_published(t.id, 3, newest).await.unwrap());
    let keep = Keep { since_ms: 1_000 + newest as i64, versions: 3, ids_since_ms: i64::MAX };
    let end = newest - 2;
    let (ended, steps) = t.expire(keep).await;
    assert_eq!((ended.base_version, ended.versions, ended.files), (end, end, end));
    assert!((3..=4).contains(&steps), "{steps} steps");
    for version in end..=newest {
        assert_eq!(t.paths(version).await, [format!("f{version}")]);
    }
    assert_eq!(c.reader(t.id).snapshot(At::Latest).await.unwrap().txns["app"].version, newest as i64);
}

pub(super) async fn a_read_of_an_expiring_version_is_complete_or_fails(c: Arc<dyn Catalog>) {
    let o = Overwritten::new(&c, "t").await;
    o.publish(VERSIONS).await;
    let reader = c.reader(o.t.id);
    let live: Vec<Add> = reader.files_by_key(3).await.unwrap().try_collect().await.unwrap();
    assert_eq!(live.len(), 1);
    let reads = [reader.files(3, None).await.unwrap(), reader.files_by_key(3).await.unwrap()];
    let changes = reader.changes(3, 5).await.unwrap();
    o.t.expire(o.keep_since(6)).await;
    let whole_or_an_error = async |reads: [BoxStream<'static, Result<Add>>; 2], live: &[Add]| {
        for read in reads {
            match read.try_collect::<Vec<_>>().await {
                Ok(files) => assert_eq!(files, live),
                Err(e) => assert_eq!(e.kind(), ErrorKind::NotFound, "{e}"),
            }
        }
    };
    whole_or_an_error(reads, &live).await;
    match changes.try_collect::<Vec<_>>().await {
        Ok(changes) => assert_eq!(changes.len(), 3),
        Err(e) => assert_eq!(e.kind(), ErrorKind::NotFound, "{e}"),
    }
    // A version that is the newest when the read starts may expire before the read ends.
    let live: Vec<Add> = reader.files_by_key(VERSIONS).await.unwrap().try_collect().await.unwrap();
    let reads = [reader.files(VERSIONS, None).await.unwrap(), reader.files_by_key(VERSIONS).await.unwrap()];
    o.t.commit(vec![Action::add(file("later", 0, 9)), remove(&live[0])]).await;
    assert!(c.mark_next_published(o.t.id, VERSIONS + 1, VERSIONS + 1).await.unwrap());
    let keep = Keep { since_ms: i64::MAX, ..o.keep_since(6) };
    assert_eq!(o.t.expire(keep).await.0.base_version, VERSIONS + 1);
    whole_or_an_error(reads, &live).await;
    refused(reader.size_delta(VERSIONS, VERSIONS + 1).await, ErrorKind::NotFound, &[&VERSIONS.to_string()]);
}
