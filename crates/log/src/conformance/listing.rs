//! Tables are listed page by page, and suggested by similar names or places.

use super::loads::{load, logged, story};
use super::*;
use crate::ids::{Clock, TableName};
use crate::lifecycle::{DropMode, DropTable, InactiveTable, RemovedRows, TableState};
use crate::listing::{self, TablePage};
use crate::lookup::{check_no_overlap, require};
use crate::retention::COMMIT_IDS_MS;

fn name(text: &str) -> TableName {
    text.parse().unwrap()
}

fn names(tables: &[TableEntry]) -> Vec<String> {
    tables.iter().map(|table| table.name.to_string()).collect()
}

async fn drop_as(t: &TestTable, mode: DropMode) {
    let lease = t.catalog.acquire_lease(t.id, Uuid::from_u128(7), 0, 1_000).await.unwrap().unwrap();
    let drop = DropTable { mode, allow_unpublished: true, at_version: None, committer: Committer::default() };
    t.catalog.drop_table(&lease, &drop).await.unwrap();
}

pub(super) async fn tables_are_listed_page_by_page(c: Arc<dyn Catalog>) {
    for table in ["b.z", "a.x", "b.y", "B.x", "a-b.x", "gone.t"] {
        TestTable::create(&c, table).await;
    }
    drop_as(&TestTable { catalog: c.clone(), id: table_id("gone.t") }, DropMode::Detach).await;
    // In byte order of the namespaces, then of the names.
    let all = ["B.x", "a.x", "a-b.x", "b.y", "b.z"];
    assert_eq!(names(&c.tables().await.unwrap()), all);
    for limit in 1..=all.len() + 1 {
        let (mut page, mut found) = (Some(TablePage { limit, ..TablePage::default() }), Vec::new());
        while let Some(now) = page {
            let tables = c.tables_page(&now).await.unwrap();
            assert!(tables.len() <= limit);
            found.extend(names(&tables));
            page = now.after(&tables);
        }
        assert_eq!(found, all, "{limit} at once");
    }
    let of = async |namespace: &str| {
        let tables: Vec<_> = listing::tables(c.clone(), Some(namespace.into())).try_collect().await.unwrap();
        names(&tables)
    };
    assert_eq!((of("b").await, of("gone").await), (vec!["b.y".to_string(), "b.z".into()], vec![]));

    let beside = async |text: &str, limit| {
        let names = c.names_beside(&name(text), limit).await.unwrap();
        names.iter().map(TableName::to_string).collect::<Vec<_>>()
    };
    assert_eq!(beside("a.y", 1).await, ["a.x", "a-b.x"]);
    assert_eq!(beside("a.x", 1).await, ["B.x", "a-b.x"], "without itself");
    assert_eq!(beside("c.a", 2).await, ["b.y", "b.z"]);
}

/// Other tables are created, renamed and dropped between two pages: each table that stays is listed once.
pub(super) async fn a_listing_continues_while_tables_are_created_and_dropped(c: Arc<dyn Catalog>) {
    for n in 0..6 {
        TestTable::create(&c, &format!("s.t{n}")).await;
    }
    let id = |n: u32| table_id(&format!("s.t{n}"));
    let mut tables = listing::tables_from(c.clone(), TablePage { limit: 2, ..TablePage::default() });
    let mut found = Vec::new();
    while let Some(table) = tables.try_next().await.unwrap() {
        found.push(table.name.to_string());
        if found.len() == 2 {
            drop_as(&TestTable { catalog: c.clone(), id: id(1) }, DropMode::Retain { ms: 0 }).await;
            drop_as(&TestTable { catalog: c.clone(), id: id(2) }, DropMode::Retain { ms: 0 }).await;
            c.rename_table(id(0), &name("a.first"), &Committer::default()).await.unwrap();
            c.rename_table(id(5), &name("z.last"), &Committer::default()).await.unwrap();
            TestTable::create(&c, "s.t1b").await;
        }
    }
    assert_eq!(found, ["s.t0", "s.t1", "s.t1b", "s.t3", "s.t4", "z.last"]);
}

pub(super) async fn inactive_tables_are_listed_page_by_page(c: Arc<dyn Catalog>) {
    for n in 0..3 {
        // The same name each time, and a place of its own.
        let t = TestTable::create(&c, &format!("place{n}")).await;
        c.rename_table(t.id, &name("s.again"), &Committer::default()).await.unwrap();
        drop_as(&t, DropMode::Retain { ms: 1_000 }).await;
    }
    drop_as(&TestTable::create(&c, "a.first").await, DropMode::Detach).await;
    TestTable::create(&c, "s.live").await;
    let parts = story().into_iter().take(2).map(Ok).chain([Err(TxnLogError::invalid("cut off"))]);
    load(&c, "s.half", parts.collect()).await.unwrap_err();
    let half = c.unfinished_load(&new_table("s.half").location).await.unwrap().map(|load| load.table);
    let ids = ["a.first", "place0", "place1", "place2"].map(table_id).into_iter().chain(half);
    let mut all = Vec::new();
    for id in ids {
        all.push(c.inactive_table(id).await.unwrap().unwrap());
    }
    all.sort_by(InactiveTable::by_name);
    for limit in [1, 2, 10] {
        let (mut found, mut after) = (Vec::new(), None::<InactiveTable>);
        loop {
            let page = c.inactive_tables(after.as_ref(), limit).await.unwrap();
            assert!(page.len() <= limit);
            found.extend(page.iter().cloned());
            match page.last() {
                Some(last) => after = Some(last.clone()),
                None => break,
            }
        }
        assert_eq!(found, all, "{limit} at once");
    }
    assert_eq!(listing::inactive_tables(c.clone()).try_collect::<Vec<_>>().await.unwrap(), all);
    all.retain(|table| table.name == name("s.again"));
    all.reverse();
    assert_eq!(c.inactive_named(&name("s.again")).await.unwrap(), all, "the last one first");
    assert!(c.inactive_named(&name("s.live")).await.unwrap().is_empty());
}

pub(super) async fn locations_of_tables_do_not_overlap(c: Arc<dyn Catalog>) {
    let place = |text: &str| Location::parse(text).unwrap();
    let t = TestTable::create(&c, "t").await;
    let far = NewTable::new(name("far"), place("s3://lake/a/b"));
    let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
    let request = CommitRequest::new(table_id("far"), Uuid::from_u128(1), Base::Create(far), actions);
    c.commit_all(vec![request]).await.unwrap().committed().unwrap();
    for free in
        ["/nowhere/t0", "/nowhere/t-1", "/nowhere/u/t", "s3://lake/a/bc", "s3://lake/a/b0/c", "s3://lakes/a/b/c"]
    {
        check_no_overlap(c.as_ref(), &place(free)).await.unwrap();
    }
    let in_the_way = [
        ("/nowhere/t/x/y", "is inside the table default.t"),
        ("/nowhere", "the table default.t is inside /nowhere"),
        ("s3://lake/a/b/c", "is inside the table default.far"),
        ("s3://lake", "the table default.far is inside s3://lake"),
    ];
    for (taken, says) in in_the_way {
        refused(check_no_overlap(c.as_ref(), &place(taken)).await, ErrorKind::Invalid, &[says, "choose another"]);
    }
    check_no_overlap(c.as_ref(), &place("/nowhere/t")).await.unwrap();
    // Copies share the id in their metadata.
    assert_eq!(names(&c.tables_with_metadata("any string").await.unwrap()).len(), 2);
    assert!(c.tables_with_metadata("any").await.unwrap().is_empty());

    drop_as(&t, DropMode::DeleteFiles).await;
    refused(
        check_no_overlap(c.as_ref(), &place("/nowhere/t/x")).await,
        ErrorKind::Invalid,
        &["is inside the table default.t"],
    );
    c.mark_files_deleted(t.id).await.unwrap();
    check_no_overlap(c.as_ref(), &place("/nowhere/t/x")).await.unwrap();
}

/// A table at a place.
async fn create_at(c: &Arc<dyn Catalog>, called: &str, at: &str) -> Result<TestTable> {
    let new = NewTable::new(name(called), Location::parse(at).unwrap());
    let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
    let request = CommitRequest::new(table_id(called), Uuid::from_u128(1), Base::Create(new), actions);
    c.commit_all(vec![request]).await?.committed()?;
    Ok(TestTable { catalog: c.clone(), id: table_id(called) })
}

async fn load_at(c: &Arc<dyn Catalog>, called: &str, at: &str) -> Result<TableEntry> {
    let first = logged(0, 100, &[Action::Protocol(protocol()), Action::Metadata(metadata("{}"))]);
    let load = HistoryLoad::new(
        table_id(called),
        NewTable::new(name(called), Location::parse(at).unwrap()),
        futures::stream::iter([Ok(first)]),
    );
    c.load_history(load).await
}

/// Of two tables whose folders would contain each other, one is created, in either order.
pub(super) async fn of_overlapping_locations_only_one_is_registered(c: Arc<dyn Catalog>) {
    for n in 0..4 {
        let [outer, inner, outermost] = ["o", "i", "m"].map(|called| format!("{called}{n}"));
        let at = format!("/nowhere/places{n}/t");
        let below = format!("{at}/x/y");
        let (a, b) = tokio::join!(create_at(&c, &outer, &at), create_at(&c, &inner, &below));
        assert_ne!(a.is_ok(), b.is_ok(), "{:?} {:?}", a.err(), b.err());
        let (taken, other) = if a.is_ok() { (&outer, &below) } else { (&inner, &at) };
        refused(
            create_at(&c, &outermost, other).await.map(|t| t.id),
            ErrorKind::Invalid,
            &[&format!("default.{taken}"), "choose another location"],
        );
        refused(load_at(&c, &outermost, other).await, ErrorKind::Invalid, &["choose another location"]);
        // A dropped table does not block the place, and cannot be undropped while another table has it.
        let table = a.or(b).unwrap();
        drop_as(&table, DropMode::Retain { ms: 1_000_000_000 }).await;
        let made = create_at(&c, &outermost, other).await.unwrap();
        let says = [&*format!("default.{outermost}"), "choose another location"];
        refused(c.undrop_table(table.id, None, &Committer::default()).await, ErrorKind::Invalid, &says);
        drop_as(&made, DropMode::Retain { ms: 1_000_000_000 }).await;
        c.undrop_table(table.id, None, &Committer::default()).await.unwrap();
        let far = format!("/nowhere/loads{n}/t");
        let (loaded, created, within) = (format!("l{n}"), format!("k{n}"), format!("{far}/x"));
        let (a, b) = tokio::join!(load_at(&c, &loaded, &far), create_at(&c, &created, &within));
        assert_ne!(a.is_ok(), b.is_ok(), "{:?} {:?}", a.err(), b.err());
    }
    // One transaction cannot create both either.
    let both = [("outer", "/nowhere/both"), ("other", "/nowhere/bot"), ("inner", "/nowhere/both/x")];
    let requests = both.map(|(called, at)| {
        let new = NewTable::new(name(called), Location::parse(at).unwrap());
        let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
        CommitRequest::new(table_id(called), Uuid::from_u128(1), Base::Create(new), actions)
    });
    let says = ["is inside the table default.outer", "choose another location"];
    refused(c.commit_all(requests.into()).await.map(drop), ErrorKind::Invalid, &says);
}

async fn removable_tables(c: &Arc<dyn Catalog>) -> Vec<TableId> {
    c.removable_tables(None, 10).await.unwrap().into_iter().map(|table| table.id).collect()
}

/// Removes a table completely; returns how many steps that took.
async fn remove(c: &Arc<dyn Catalog>, table: TableId) -> u32 {
    let mut steps = 1;
    while let RemovedRows { is_done: false, .. } = c.remove_table(table).await.unwrap() {
        steps += 1;
        let left = c.inactive_table(table).await.unwrap().unwrap();
        assert_eq!(left.state, TableState::Removing);
        refused(
            c.undrop_table(table, None, &Committer::default()).await,
            ErrorKind::Invalid,
            &["retention is over", "being removed"],
        );
    }
    steps
}

pub(super) async fn a_dropped_table_is_removed_after_its_retention(c: Arc<dyn Catalog>, clock: Arc<SeededClock>) {
    let (t, kept) = (TestTable::create(&c, "t").await, TestTable::create(&c, "kept").await);
    let first = t.append("a").await;
    let point = c.point().await.unwrap();
    refused(c.remove_table(t.id).await, ErrorKind::NotFound, &["default.t is live"]);
    drop_as(&t, DropMode::Retain { ms: 0 }).await;
    drop_as(&kept, DropMode::Retain { ms: 1_000_000_000 }).await;
    clock.advance(1_000);
    let (detached, deleted) = (TestTable::create(&c, "detached").await, TestTable::create(&c, "deleted").await);
    drop_as(&detached, DropMode::Detach).await;
    drop_as(&deleted, DropMode::DeleteFiles).await;
    // The request that created a table returns the same result for a week when it is sent again, however short the
    // retention is.
    assert!(removable_tables(&c).await.is_empty());
    refused(
        c.remove_table(t.id).await,
        ErrorKind::Invalid,
        &["default.t was dropped", "not removed before 2023-11-21", "the ids of its commits are kept until then"],
    );
    assert_eq!(TestTable::create(&c, "t").await.id, t.id);
    assert_eq!(c.find(&TableRef::Name(name("t"))).await.unwrap(), None, "it was not made again");
    refused(c.remove_table(kept.id).await, ErrorKind::Invalid, &["default.kept was dropped", "dl undrop"]);
    refused(c.remove_table(detached.id).await, ErrorKind::Invalid, &["default.detached was detached", "not removed"]);
    refused(
        c.remove_table(deleted.id).await,
        ErrorKind::Invalid,
        &["default.deleted", "with its files", "not removed"],
    );
    for t in [&detached, &deleted] {
        let table = c.inactive_table(t.id).await.unwrap().unwrap();
        assert_eq!(table.retained_until, table.dropped_at.map(|ms| ms + COMMIT_IDS_MS), "{table:?}");
    }
    let request = t.request(Base::Exactly(0), vec![Action::add(file("a", 0, 9))]);
    assert_eq!(c.find_commit(t.id, request.commit_id).await.unwrap(), Some(first));

    let kept_until = c.inactive_table(t.id).await.unwrap().and_then(|table| table.dropped_at).unwrap() + COMMIT_IDS_MS;
    clock.advance(kept_until - clock.now_ms());
    assert_eq!(removable_tables(&c).await, [t.id]);
    assert!(c.removable_tables(c.inactive_table(t.id).await.unwrap().as_ref(), 10).await.unwrap().is_empty());
    assert_eq!(remove(&c, t.id).await, 1);
    assert_eq!(c.inactive_table(t.id).await.unwrap(), None);
    assert!(c.inactive_named(&name("t")).await.unwrap().is_empty());
    assert_eq!(c.find_commit(t.id, request.commit_id).await.unwrap(), None);
    assert!(removable_tables(&c).await.is_empty());
    refused(c.remove_table(t.id).await, ErrorKind::NotFound, &["no table"]);
    refused(c.undrop_table(t.id, None, &Committer::default()).await, ErrorKind::NotFound, &["no table"]);
    refused(
        require(c.as_ref(), &TableRef::Name(name("t"))).await,
        ErrorKind::NotFound,
        &["there is no table default.t"],
    );
    // Its id, name and place are free, and the new table has later times than the removed one.
    let again = TestTable::create(&c, "t").await;
    assert_eq!(again.append("b").await.version, 1);
    assert_eq!(again.paths(1).await, ["b"]);
    assert_eq!(c.find_at(&TableRef::Id(again.id), &point).await.unwrap(), None);
    c.undrop_table(kept.id, None, &Committer::default()).await.unwrap();
}

pub(super) async fn a_large_table_is_removed_in_steps(c: Arc<dyn Catalog>, clock: Arc<SeededClock>) {
    let t = TestTable::create(&c, "t").await;
    let files = (0..12_000).map(|n| Action::add(file(&format!("f{n}"), 0, 9))).collect();
    t.commit(files).await;
    t.append("more").await;
    drop_as(&t, DropMode::Retain { ms: 0 }).await;
    clock.advance(COMMIT_IDS_MS);
    assert_eq!(remove(&c, t.id).await, 2);
    assert_eq!(TestTable::create(&c, "t").await.append("a").await.version, 1);
}
