//! Checks of the operations on a catalog as a whole.

use super::*;
use crate::retention::Retention;

pub(super) async fn a_new_epoch_is_in_every_commit_after_it(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    let (catalog, before) = c.identity().await.unwrap();
    c.compared().insert(t.id);
    let epoch = c.renew_epoch().await.unwrap();
    assert_ne!(epoch, before);
    assert_eq!(c.identity().await.unwrap(), (catalog, epoch), "it is the same catalog");
    assert!(!c.compared().contains(t.id), "what was compared before may be otherwise now");
    t.append("a").await;
    let body = c.reader(t.id).commit_bytes(1).await.unwrap().unwrap();
    let info = crate::Commit::parse(body, "t").unwrap().info().unwrap().0.clone();
    let ours: crate::Object = info.get(crate::commit::COMMIT_INFO_KEY).unwrap();
    assert_eq!(ours.get::<String>("epoch"), Some(epoch.to_string()));
}

/// A catalog whose tables were rebuilt takes the place of the lost one.
pub(super) async fn a_successor_has_the_id_and_a_later_epoch(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    let (own, before) = c.identity().await.unwrap();
    let lost = uuid::Uuid::from_u128(7);
    // The clock of the lost catalog was far ahead.
    let ahead = crate::SeededClock::new(4_000_000_000_000, 3);
    let last = crate::epoch::new_epoch(&ahead, &[]);
    c.compared().insert(t.id);
    let epoch = c.succeed(lost, &[last, uuid::Uuid::from_u128(8)]).await.unwrap();
    assert_eq!(c.identity().await.unwrap(), (lost, epoch));
    assert!(crate::epoch::is_later(&epoch, &last) && crate::epoch::is_later(&epoch, &before));
    assert!(!c.compared().contains(t.id), "what was compared before may be otherwise now");
    t.append("a").await;
    let body = c.reader(t.id).commit_bytes(1).await.unwrap().unwrap();
    let commit = crate::Commit::parse(body, "t").unwrap();
    let origin = crate::commit::CommitOrigin::of(commit.info().unwrap()).unwrap();
    assert_eq!((origin.catalog, origin.epoch, origin.table), (lost, epoch, t.id));
    let next = c.renew_epoch().await.unwrap();
    assert!(crate::epoch::is_later(&next, &epoch), "the next one is later, whatever the clock says");
    assert_ne!(c.identity().await.unwrap().0, own);
}

pub(super) async fn a_catalog_says_how_much_history_is_kept(c: Arc<dyn Catalog>) {
    assert_eq!(c.default_retention().await.unwrap(), Retention::default());
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    let (time, versions) = (Some(90 * day), Some(7));
    c.set_default_retention(Retention { time, versions: None }, Some("ann")).await.unwrap();
    assert_eq!(c.default_retention().await.unwrap(), Retention { time, versions: None });
    c.set_default_retention(Retention { time: None, versions }, None).await.unwrap();
    assert_eq!(c.default_retention().await.unwrap(), Retention { time, versions });
}

pub(super) async fn the_audit_ends_and_no_table_does(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    t.append("a").await;
    let before = entry(&c, t.id).await;
    assert_eq!(c.expire_audit(i64::MIN).await.unwrap(), 0, "no line is as old");
    while c.expire_audit(i64::MAX).await.unwrap() > 0 {}
    assert_eq!((entry(&c, t.id).await, t.paths(1).await), (before, vec!["a".to_string()]));
}
