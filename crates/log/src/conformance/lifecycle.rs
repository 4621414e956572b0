//! Tables that are renamed, dropped, undropped and detached.

use super::clients::Clients;
use super::loads::{load, logged, story};
use super::*;
use crate::ids::TableName;
use crate::lifecycle::{DropMode, DropTable, InactiveTable, TableState};
use crate::lookup::require;
use crate::mirror::Lease;

const KEEP: DropMode = DropMode::Retain { ms: 1_000_000_000 };

fn name(text: &str) -> TableName {
    text.parse().unwrap()
}

fn drop_options(mode: DropMode) -> DropTable {
    DropTable { mode, allow_unpublished: false, at_version: None, committer: Committer::named("ann") }
}

async fn lease(t: &TestTable) -> Lease {
    t.catalog.acquire_lease(t.id, Uuid::from_u128(7), 0, 1_000).await.unwrap().unwrap()
}

/// Marks all versions as published and drops the table.
async fn drop_as(t: &TestTable, mode: DropMode) {
    let lease = lease(t).await;
    t.catalog.mark_published(&lease, t.head().await).await.unwrap();
    t.catalog.drop_table(&lease, &drop_options(mode)).await.unwrap();
}

async fn inactive(t: &TestTable) -> InactiveTable {
    t.catalog.inactive_table(t.id).await.unwrap().unwrap()
}

/// Asserts that the table cannot be found, read, committed to or published, and that each error says why.
async fn is_gone(t: &TestTable, was: &str, says: &[&str]) {
    let c = &t.catalog;
    let place = inactive(t).await.location;
    for by in [TableRef::Id(t.id), TableRef::Name(name(was)), TableRef::Location(place)] {
        assert_eq!(c.find(&by).await.unwrap(), None, "{by:?}");
        let at = c.point().await.unwrap();
        assert_eq!(c.find_at(&by, &at).await.unwrap(), None, "{by:?}");
    }
    assert!(c.tables().await.unwrap().iter().all(|entry| entry.id != t.id));
    let reader = c.reader(t.id);
    refused(reader.head().await, ErrorKind::NotFound, says);
    refused(reader.snapshot(At::Version(0)).await, ErrorKind::NotFound, says);
    refused(reader.files(0, None).await.map(drop), ErrorKind::NotFound, says);
    refused(reader.commit_bytes(0).await, ErrorKind::NotFound, says);
    refused(c.begin(&[t.id]).await, ErrorKind::NotFound, says);
    for base in [Base::Exactly(1), Base::RebaseFrom(0)] {
        let request = t.request(base, vec![Action::add(file("late", 0, 9))]);
        refused(t.try_commit(request).await, ErrorKind::NotFound, says);
    }
    refused(c.acquire_lease(t.id, Uuid::from_u128(8), 0, 1_000).await, ErrorKind::NotFound, says);
    refused(c.rename_table(t.id, &name("other.name"), &Committer::default()).await, ErrorKind::NotFound, says);
    refused(require(c.as_ref(), &TableRef::Id(t.id)).await, ErrorKind::NotFound, says);
}

pub(super) async fn a_renamed_table_keeps_its_id_and_history(c: Arc<dyn Catalog>) {
    let (s, t) = (TestTable::create(&c, "sales.s").await, TestTable::create(&c, "sales.t").await);
    let request = t.request(Base::Exactly(0), vec![Action::add(file("a", 0, 9))]);
    let first = t.try_commit(request.clone()).await.unwrap().committed().unwrap();
    let before = entry(&c, t.id).await;
    let taken = c.rename_table(t.id, &name("sales.s"), &Committer::default()).await;
    refused(taken, ErrorKind::AlreadyExists, &["sales.s", "/nowhere/sales.s", "another name"]);
    refused(
        c.rename_table(t.id, &name("sales.t"), &Committer::default()).await,
        ErrorKind::AlreadyExists,
        &["sales.t"],
    );
    refused(
        c.rename_table(table_id("none"), &name("x"), &Committer::default()).await,
        ErrorKind::NotFound,
        &["no table"],
    );

    let after = c.rename_table(t.id, &name("archive.u"), &Committer::named("ann")).await.unwrap();
    assert_eq!(after, TableEntry { name: name("archive.u"), ..before });
    assert_eq!(c.find(&TableRef::Name(name("archive.u"))).await.unwrap(), Some(after.clone()));
    assert_eq!(c.find(&TableRef::Location(after.location.clone())).await.unwrap(), Some(after));
    assert_eq!(c.find(&TableRef::Name(name("sales.t"))).await.unwrap(), None);
    let names = c.tables().await.unwrap().into_iter().map(|entry| entry.name.to_string());
    assert_eq!(names.collect::<Vec<_>>(), ["archive.u", "sales.s"], "listed by their names");

    // A caller that has the table's id is not affected.
    assert_eq!(t.try_commit(request).await.unwrap().committed().unwrap(), first, "commits keep their ids");
    t.append("b").await;
    assert_eq!(t.paths(2).await, ["a", "b"]);
    let body = c.reader(t.id).commit_bytes(2).await.unwrap().unwrap();
    assert!(String::from_utf8(body.to_vec()).unwrap().contains("\"table\":\"archive.u\""));
    // The name is free for another table, and for the table itself.
    c.rename_table(s.id, &name("sales.t"), &Committer::default()).await.unwrap();
    c.rename_table(t.id, &name("sales.s"), &Committer::default()).await.unwrap();
    assert_eq!(c.find(&TableRef::Name(name("sales.s"))).await.unwrap().unwrap().id, t.id);
    assert!(c.inactive_tables(None, 10).await.unwrap().is_empty());
}

pub(super) async fn a_dropped_table_is_hidden_until_it_is_undropped(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    let request = t.request(Base::Exactly(0), vec![Action::add(file("a", 0, 9))]);
    let first = t.try_commit(request.clone()).await.unwrap().committed().unwrap();
    let held = lease(&t).await;
    c.mark_published(&held, 0).await.unwrap();
    refused(
        c.drop_table(&held, &drop_options(KEEP)).await,
        ErrorKind::Conflict,
        &["1 version of default.t", "dl mirror run"],
    );
    assert_eq!(entry(&c, t.id).await.current_version, 1, "nothing has happened");
    c.mark_published(&held, 1).await.unwrap();
    let older = Lease { token: held.token - 1, ..held.clone() };
    refused(
        c.drop_table(&older, &drop_options(KEEP)).await,
        ErrorKind::Conflict,
        &["another process publishes default.t"],
    );
    let before = entry(&c, t.id).await;
    let earlier = DropTable { at_version: Some(0), ..drop_options(KEEP) };
    refused(c.drop_table(&held, &earlier).await, ErrorKind::Conflict, &["default.t is now at version 1"]);
    c.drop_table(&held, &drop_options(KEEP)).await.unwrap();

    is_gone(&t, "t", &["default.t", "was dropped at", "`dl undrop default.t`"]).await;
    refused(c.drop_table(&held, &drop_options(KEEP)).await, ErrorKind::NotFound, &["was dropped"]);
    refused(
        require(c.as_ref(), &TableRef::Name(name("t"))).await,
        ErrorKind::NotFound,
        &["default.t was dropped", "dl undrop"],
    );
    let dropped = inactive(&t).await;
    assert_eq!((&dropped.name, dropped.state), (&name("t"), TableState::Dropped));
    assert_eq!((dropped.base_version, dropped.current_version), (Some(0), Some(1)));
    assert_eq!(dropped.retained_until, dropped.dropped_at.map(|ms| ms + 1_000_000_000));
    assert_eq!(c.inactive_named(&name("t")).await.unwrap(), std::slice::from_ref(&dropped));
    assert_eq!(c.inactive_tables(None, 10).await.unwrap(), [dropped]);
    assert!(c.inactive_named(&name("u")).await.unwrap().is_empty());
    // A client that does not know whether a commit was made can still look it up.
    assert_eq!(c.find_commit(t.id, request.commit_id).await.unwrap(), Some(first[0]));
    assert_eq!(t.try_commit(request).await.unwrap().committed().unwrap(), first);

    assert_eq!(c.undrop_table(t.id, None, &Committer::named("ann")).await.unwrap(), before);
    assert_eq!(t.paths(1).await, ["a"]);
    t.append("b").await;
    assert_eq!(t.paths(2).await, ["a", "b"], "it goes on");
    assert!(c.acquire_lease(t.id, Uuid::from_u128(9), 5, 10).await.unwrap().is_some(), "the right to publish is free");
    refused(c.undrop_table(t.id, None, &Committer::default()).await, ErrorKind::Invalid, &["default.t is live"]);
    refused(c.undrop_table(table_id("none"), None, &Committer::default()).await, ErrorKind::NotFound, &["no table"]);
}

pub(super) async fn undrop_is_refused_where_name_or_location_is_taken(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    t.append("a").await;
    drop_as(&t, KEEP).await;
    let create = |id: &str, new: NewTable| {
        let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
        CommitRequest::new(table_id(id), Uuid::from_u128(2), Base::Create(new), actions)
    };
    let elsewhere = NewTable { name: name("t"), ..new_table("elsewhere") };
    c.commit_all(vec![create("second", elsewhere)]).await.unwrap().committed().unwrap();
    refused(
        c.undrop_table(t.id, None, &Committer::default()).await,
        ErrorKind::AlreadyExists,
        &["default.t", "/nowhere/elsewhere"],
    );
    let second = TestTable { catalog: c.clone(), id: table_id("second") };
    drop_as(&second, KEEP).await;
    let ids = |tables: Vec<InactiveTable>| tables.into_iter().map(|table| table.id).collect::<Vec<_>>();
    let both = ids(c.inactive_named(&name("t")).await.unwrap());
    assert_eq!(both, [second.id, t.id], "of one name the newest comes first");

    let same_place = NewTable { name: name("third"), ..new_table("t") };
    c.commit_all(vec![create("third", same_place)]).await.unwrap().committed().unwrap();
    refused(
        c.undrop_table(t.id, None, &Committer::default()).await,
        ErrorKind::AlreadyExists,
        &["/nowhere/t", "default.third"],
    );
    c.undrop_table(second.id, None, &Committer::default()).await.unwrap();
    drop_as(&TestTable { catalog: c.clone(), id: table_id("third") }, KEEP).await;
    refused(c.undrop_table(t.id, None, &Committer::default()).await, ErrorKind::AlreadyExists, &["default.t"]);
    let back = c.undrop_table(t.id, Some(&name("first")), &Committer::default()).await.unwrap();
    assert_eq!((back.name, back.current_version), (name("first"), 1), "under another name it comes back");
    refused(
        c.undrop_table(table_id("third"), None, &Committer::default()).await,
        ErrorKind::AlreadyExists,
        &["/nowhere/t"],
    );
}

pub(super) async fn a_dropped_table_is_kept_for_its_retention(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    drop_as(&t, DropMode::Retain { ms: 0 }).await;
    refused(
        c.undrop_table(t.id, None, &Committer::default()).await,
        ErrorKind::NotFound,
        &["default.t", "could be undropped until"],
    );
    is_gone(&t, "t", &["default.t", "was dropped at"]).await;
}

pub(super) async fn an_unpublished_table_is_dropped_where_that_is_allowed(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    t.append("a").await;
    let drop = DropTable { allow_unpublished: true, ..drop_options(KEEP) };
    c.drop_table(&lease(&t).await, &drop).await.unwrap();
    let back = c.undrop_table(t.id, None, &Committer::default()).await.unwrap();
    assert_eq!((back.published_version, back.current_version), (None, 1), "what is not published still is not");
    assert_eq!(t.paths(1).await, ["a"]);
}

pub(super) async fn a_location_is_taken_until_its_files_are_deleted(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    t.append("a").await;
    t.commit(vec![remove(&file("a", 0, 9)), Action::add(file("b", 0, 9))]).await;
    drop_as(&t, DropMode::DeleteFiles).await;
    let goes_on = ["default.t", "with its files", "`dl drop default.t --delete-files`"];
    is_gone(&t, "t", &goes_on).await;
    assert_eq!(inactive(&t).await.state, TableState::Deleting);
    let history: Vec<_> = c
        .reader_in(t.id, TableState::Deleting)
        .changes(0, 2)
        .await
        .unwrap()
        .map_ok(|(v, _)| v)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(history, [0, 1, 2], "its history says which files there are");
    let create = |at: &str, called: &str| {
        let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
        let new = NewTable { name: name(called), ..new_table(at) };
        CommitRequest::new(table_id(at), Uuid::from_u128(2), Base::Create(new), actions)
    };
    let there = CommitRequest { table: table_id("new"), ..create("t", "t") };
    let busy = ["/nowhere/t", "are being deleted", "dl drop default.t --delete-files"];
    refused(c.commit_all(vec![there.clone()]).await, ErrorKind::AlreadyExists, &busy);
    let outcome = c.commit_all(vec![create("elsewhere", "t")]).await.unwrap();
    assert!(matches!(outcome, Outcome::Committed(_)), "its name is free: {outcome:?}");

    let live = table_id("elsewhere");
    refused(c.mark_files_deleted(live).await, ErrorKind::NotFound, &["no table"]);
    c.mark_files_deleted(t.id).await.unwrap();
    c.mark_files_deleted(t.id).await.unwrap();
    let other_name = NewTable { name: name("u"), ..new_table("t") };
    let outcome = c.commit_all(vec![CommitRequest { base: Base::Create(other_name), ..there }]).await.unwrap();
    assert!(matches!(outcome, Outcome::Committed(_)), "its place is free: {outcome:?}");
    is_gone_for_good(&t, &["default.t", "with its files", "cannot be"]).await;
}

pub(super) async fn a_detached_table_is_imported_as_a_new_table(c: Arc<dyn Catalog>) {
    let entry = load(&c, "t", story().into_iter().map(Ok).collect()).await.unwrap();
    let t = TestTable { catalog: c.clone(), id: entry.id };
    drop_as(&t, DropMode::Detach).await;
    is_gone(&t, "t", &["default.t was detached at", "`dl import /nowhere/t --as default.t`"]).await;
    is_gone_for_good(&t, &["default.t was detached", "cannot be undropped"]).await;
    let late = load(&c, "t", vec![Ok(logged(3, 400, &[Action::add(file("x", 0, 9))]))]).await;
    refused(late, ErrorKind::NotFound, &["default.t was detached"]);
    let again = HistoryLoad {
        published_version: Some(2),
        ..HistoryLoad::new(table_id("again"), new_table("t"), futures::stream::iter(story().into_iter().map(Ok)))
    };
    let again = c.load_history(again).await.unwrap();
    assert_eq!((again.id, again.current_version), (table_id("again"), 2));
}

async fn is_gone_for_good(t: &TestTable, says: &[&str]) {
    refused(t.catalog.undrop_table(t.id, None, &Committer::default()).await, ErrorKind::Invalid, says);
}

/// Concurrent commits and a drop: every commit precedes the drop or is rejected; a rename rejects no commit.
pub(super) async fn commits_concurrent_with_a_drop_precede_it_or_fail(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    let clients = Clients::start(&t);
    c.rename_table(t.id, &name("renamed"), &Committer::default()).await.unwrap();
    clients.have_begun().await;
    let drop = DropTable { allow_unpublished: true, ..drop_options(KEEP) };
    c.drop_table(&lease(&t).await, &drop).await.unwrap();
    let commits = clients.are_refused(ErrorKind::NotFound, "default.renamed was dropped").await;
    let back = c.undrop_table(t.id, None, &Committer::default()).await.unwrap();
    assert_eq!(back.current_version, commits, "none is lost, and there are no others");
    assert_eq!(t.paths(commits).await.len() as u64, commits);
}
