//! Tables are found, and read as of one point.

use super::loads::{load, story};
use super::*;

pub(super) async fn a_new_table_is_found_by_id_name_and_location(c: Arc<dyn Catalog>) {
    assert!(c.tables().await.unwrap().is_empty());
    let t = TestTable::create(&c, "sales.orders").await;
    let refs = [
        TableRef::Id(t.id),
        TableRef::Name("sales.orders".parse().unwrap()),
        TableRef::Location(Location::parse("/nowhere/sales.orders/").unwrap()),
    ];
    for r in refs {
        let entry = c.find(&r).await.unwrap().unwrap();
        assert_eq!((entry.id, entry.current_version, entry.base_version), (t.id, 0, 0), "{r:?}");
        assert_eq!((entry.published_version, entry.mirror), (None, MirrorState::Following));
    }
    assert_eq!(c.find(&TableRef::Name("orders".parse().unwrap())).await.unwrap(), None);
    let again = |name: &str, at: &str| {
        let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
        let new = NewTable::new(name.parse().unwrap(), Location::parse(at).unwrap());
        CommitRequest::new(table_id("other"), Uuid::from_u128(2), Base::Create(new), actions)
    };
    let taken = c.commit_all(vec![again("sales.orders", "/nowhere/x")]).await;
    refused(taken, ErrorKind::AlreadyExists, &["sales.orders", "another name"]);
    let taken = c.commit_all(vec![again("x", "/nowhere/sales.orders")]).await;
    refused(taken, ErrorKind::AlreadyExists, &["/nowhere/sales.orders", "sales.orders"]);
    let near = crate::lookup::require(c.as_ref(), &TableRef::Name("sales.order".parse().unwrap())).await;
    refused(near, ErrorKind::NotFound, &["sales.order", "did you mean sales.orders?"]);
    assert_eq!(c.tables().await.unwrap().len(), 1);
    refused(c.begin(&[table_id("none")]).await, ErrorKind::NotFound, &["no table"]);
}

pub(super) async fn heads_are_read_at_one_point(c: Arc<dyn Catalog>) {
    let (s, t) = (TestTable::create(&c, "s").await, TestTable::create(&c, "t").await);
    s.append("a").await;
    let heads = c.begin(&[t.id, s.id]).await.unwrap();
    assert_eq!(heads.iter().map(|h| h.version).collect::<Vec<_>>(), [0, 1], "in the order asked");
    assert_eq!(heads[1], c.reader(s.id).head().await.unwrap());
}

pub(super) async fn a_point_shows_every_table_as_it_was(c: Arc<dyn Catalog>) {
    let (s, t) = (TestTable::create(&c, "s").await, TestTable::create(&c, "t").await);
    let version = async |table: &TestTable, point: &Point| {
        let entry = c.find_at(&TableRef::Id(table.id), point).await.unwrap()?;
        let then = c.reader(table.id).snapshot(At::Version(entry.current_version)).await.unwrap();
        assert_eq!(then.head.timestamp, entry.current_timestamp);
        Some(entry.current_version)
    };
    let before = c.point().await.unwrap();
    s.append("a").await;
    let between = c.point().await.unwrap();
    let add = |table: &TestTable, base| table.request(Base::RebaseFrom(base), vec![Action::add(file("both", 0, 9))]);
    c.commit_all(vec![add(&s, 1), add(&t, 0)]).await.unwrap().committed().unwrap();
    let u = TestTable::create(&c, "u").await;
    let after = c.point().await.unwrap();
    for n in 0..20 {
        s.append(&format!("later {n}")).await;
    }
    for (point, versions) in [
        (&before, [Some(0), Some(0), None]),
        (&between, [Some(1), Some(0), None]),
        (&after, [Some(2), Some(1), Some(0)]),
    ] {
        assert_eq!([version(&s, point).await, version(&t, point).await, version(&u, point).await], versions);
    }
    let by_name = TableRef::Name("default.t".parse().unwrap());
    assert_eq!(c.find_at(&by_name, &between).await.unwrap().map(|entry| entry.current_version), Some(0));
    let by_place = TableRef::Location(new_table("u").location);
    assert_eq!(c.find_at(&by_place, &between).await.unwrap(), None);

    // A loaded table is visible when the load is finished, and only to transactions that began later. An abandoned load
    // does not change the order of other commits.
    let x = TestTable { catalog: c.clone(), id: table_id("x") };
    let mut part: Vec<Result<HistoryItem>> = story().into_iter().take(2).map(Ok).collect();
    part.push(Err(TxnLogError::corrupt("2.json, line 1: invalid JSON")));
    load(&c, "x", part).await.unwrap_err();
    let loading = c.point().await.unwrap();
    c.abandon_load(x.id).await.unwrap();
    let head = s.head().await;
    s.append("after the load").await;
    assert_eq!(version(&s, &loading).await, Some(head));
    load(&c, "x", story().into_iter().map(Ok).collect()).await.unwrap();
    assert_eq!(version(&x, &loading).await, None);
    assert_eq!(version(&x, &c.point().await.unwrap()).await, Some(2));
}
