//! A commit that names files of other tables looks those tables up before it locks them.

use deltalakedb_log::conformance::actions::file;
use deltalakedb_log::references::folders;
use deltalakedb_log::{Location, TableId};

use super::*;
use crate::references::NamedFolders;

#[tokio::test]
async fn a_source_added_after_the_check_is_found_under_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(&dir.path().join("catalog.db"), 1).await.unwrap();
    let name = "clone".parse().unwrap();
    let mut named = [NamedFolders {
        table: TableId(Uuid::from_u128(9)),
        location: Some(Location::parse("/nowhere/clone").unwrap()),
        folders: folders([&file("/nowhere/t/day=a/x.parquet", 0, 9)]),
        sources: Vec::new(),
    }];
    let before = NamedFolders::sources(&mut named, catalog.db.as_ref()).await.unwrap();
    assert_eq!(before, []);
    let source = create(&catalog).await;
    let mut tx = catalog.write(&before).await.unwrap();
    let e = named[0].record(tx.as_mut(), &name).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}");
    drop(tx);

    let sources = NamedFolders::sources(&mut named, catalog.db.as_ref()).await.unwrap();
    assert_eq!(sources, [source]);
    let mut tx = catalog.write(&sources).await.unwrap();
    let rows = named[0].record(tx.as_mut(), &name).await.unwrap();
    assert_eq!(rows.map(|rows| rows.rows()), Some(1));
}
