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
