//! Namespaces exist from their first table on or from their creation, and until they are dropped.

use super::loads::{load, story};
use super::*;
use crate::lifecycle::{DropMode, DropTable};
use crate::namespaces::all_namespaces;

async fn names(c: &Arc<dyn Catalog>) -> Vec<String> {
    all_namespaces(c.as_ref()).await.unwrap()
}

async fn drop_table(t: &TestTable) {
    let lease = t.catalog.acquire_lease(t.id, Uuid::from_u128(7), 0, 1_000).await.unwrap().unwrap();
    let mode = DropMode::Retain { ms: 1_000_000_000 };
    let drop = DropTable { mode, allow_unpublished: true, at_version: None, committer: Committer::default() };
    t.catalog.drop_table(&lease, &drop).await.unwrap();
}

pub(super) async fn a_namespace_exists_until_it_is_dropped(c: Arc<dyn Catalog>) {
    assert!(names(&c).await.is_empty());
    c.create_namespace("empty", Some("ann")).await.unwrap();
    refused(c.create_namespace("empty", None).await, ErrorKind::AlreadyExists, &["there is a namespace empty already"]);
    for bad in ["", "a.b", "a/b", "a\nb"] {
        refused(c.create_namespace(bad, None).await, ErrorKind::Invalid, &["is not a namespace"]);
    }
    let t = TestTable::create(&c, "sales.t").await;
    TestTable::create(&c, "sales.u").await;
    load(&c, "loaded.t", story().into_iter().map(Ok).collect()).await.unwrap();
    assert_eq!(names(&c).await, ["empty", "loaded", "sales"]);
    c.rename_table(t.id, &"archive.t".parse().unwrap(), &Committer::default()).await.unwrap();
    assert_eq!(names(&c).await, ["archive", "empty", "loaded", "sales"]);
    assert_eq!(c.namespaces_after(Some("archive"), 2).await.unwrap(), ["empty", "loaded"], "page by page");
    assert_eq!(c.namespaces_after(Some("b"), 1).await.unwrap(), ["empty"]);

    refused(c.drop_namespace("nosuch", None).await, ErrorKind::NotFound, &["there is no namespace nosuch"]);
    refused(c.drop_namespace("archive", None).await, ErrorKind::Invalid, &["archive has tables, such as archive.t"]);
    assert_eq!(names(&c).await.len(), 4, "what is refused changes nothing");
    drop_table(&t).await;
    for empty in ["archive", "empty"] {
        c.drop_namespace(empty, None).await.unwrap();
    }
    assert_eq!(names(&c).await, ["loaded", "sales"]);
    c.undrop_table(t.id, None, &Committer::default()).await.unwrap();
    assert_eq!(names(&c).await, ["archive", "loaded", "sales"], "it comes back with its table");
}

/// Concurrent new tables and drops of their namespace: the namespace of a live table always exists.
pub(super) async fn no_table_is_created_in_a_dropped_namespace(c: Arc<dyn Catalog>) {
    for n in 0..8 {
        c.create_namespace("busy", None).await.unwrap();
        let creating = async { TestTable::create(&c, &format!("busy.t{n}")).await };
        let (dropped, t) = tokio::join!(c.drop_namespace("busy", None), creating);
        if let Err(e) = dropped {
            assert_eq!(e.kind(), ErrorKind::Invalid, "{e}");
        }
        assert_eq!(names(&c).await, ["busy"]);
        drop_table(&t).await;
        c.drop_namespace("busy", None).await.unwrap();
    }
}
