//! Which tables have files in the folders of others.

use super::*;
use crate::lifecycle::{DropMode, DropTable, TableState};

fn place(text: &str) -> Location {
    Location::parse(text).unwrap()
}

async fn referring(c: &Arc<dyn Catalog>, at: &str) -> Vec<String> {
    let tables = c.referring_tables(&place(at)).await.unwrap();
    tables.into_iter().map(|table| table.name.to_string()).collect()
}

async fn drop_as(t: &Table, mode: DropMode) -> Result<()> {
    let lease = t.catalog.acquire_lease(t.id, Uuid::from_u128(7), 0, 1_000).await?.unwrap();
    let drop = DropTable { mode, allow_unpublished: true, at_version: None, committer: None };
    t.catalog.drop_table(&lease, &drop).await
}

pub(super) async fn a_table_is_known_by_the_folders_of_its_files(c: Arc<dyn Catalog>) {
    let (source, clone) = (Table::create(&c, "source").await, Table::create(&c, "clone").await);
    source.append("own.parquet").await;
    assert!(referring(&c, "/nowhere/source").await.is_empty(), "a path below the table is none elsewhere");
    let named =
        ["/nowhere/source/day=a/x.parquet", "file:///nowhere/source/day=b/y.parquet", "/nowhere/clone/own.parquet"];
    clone.commit(named.map(|path| Action::Add(file(path, 0, 9))).into()).await;
    clone.append("/nowhere/source/day=a/z.parquet").await;
    assert_eq!(referring(&c, "/nowhere/source").await, ["default.clone"]);
    for (other, is_referred_to) in [
        ("/nowhere", true),
        ("/nowhere/source/day=b", true),
        ("/nowhere/source/day=c", false),
        ("/nowhere/sourc", false),
        ("/nowhere/source0", false),
        ("/nowhere/clone", false),
    ] {
        assert_eq!(!referring(&c, other).await.is_empty(), is_referred_to, "{other}");
    }
    let folders: Vec<_> = ["/nowhere/source/day=a", "/nowhere/source/day=b"].map(place).into();
    assert_eq!(c.named_folders(clone.id).await.unwrap(), folders);
    c.forget_folders(clone.id, 1, &folders).await.unwrap();
    assert_eq!(c.named_folders(clone.id).await.unwrap(), folders, "somebody has committed since");
    c.forget_folders(clone.id, 2, &folders[1..]).await.unwrap();
    assert_eq!(c.named_folders(clone.id).await.unwrap(), folders[..1]);
    clone.append("/nowhere/source/day=b/z.parquet").await;
    assert_eq!(c.named_folders(clone.id).await.unwrap(), folders);
    // History that is loaded tells of folders as commits do, and a new table as one that is there.
    let first = [Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
    let far = Action::Add(file("s3a://lake/far/x.parquet", 0, 9));
    load(&c, "loaded", vec![Ok(logged(0, 100, &first)), Ok(logged(1, 200, &[far]))]).await.unwrap();
    assert_eq!(referring(&c, "s3://lake/far").await, ["default.loaded"]);
    let live = vec![file("/nowhere/source/w.parquet", 0, 9)];
    let files = HistoryItem::Files(BaseFiles { live, removed: vec![] });
    load(&c, "begins", vec![Ok(base_without_commit(10)), Ok(files)]).await.unwrap();
    assert_eq!(referring(&c, "/nowhere/source").await, ["default.begins", "default.clone"]);
    let added = Action::Add(file("/nowhere/source/v.parquet", 0, 9));
    let request = CommitRequest::new(
        table_id("made"),
        Uuid::from_u128(1),
        Base::Create(new_table("made")),
        first.into_iter().chain([added]).collect(),
    );
    c.commit_all(vec![request]).await.unwrap().committed().unwrap();
    assert_eq!(referring(&c, "/nowhere/source").await, ["default.begins", "default.clone", "default.made"]);
}

pub(super) async fn files_that_others_need_are_not_deleted(c: Arc<dyn Catalog>) {
    let (source, clone) = (Table::create(&c, "source").await, Table::create(&c, "clone").await);
    clone.append("/nowhere/source/x.parquet").await;
    let says = ["files of default.source belong to default.clone, too", "drop them before"];
    refused(drop_as(&source, DropMode::DeleteFiles).await, ErrorKind::Invalid, &says);
    // A clone that can be undropped needs them as well, and one that cannot does not.
    drop_as(&clone, DropMode::Retain { ms: 1_000_000_000 }).await.unwrap();
    refused(drop_as(&source, DropMode::DeleteFiles).await, ErrorKind::Invalid, &says);
    let dropped = c.referring_tables(&place("/nowhere/source")).await.unwrap();
    assert_eq!(dropped.iter().map(|table| table.state).collect::<Vec<_>>(), [TableState::Dropped]);
    let reader = c.reader_in(clone.id, TableState::Dropped);
    let files: Vec<_> = reader.files(1, None).await.unwrap().try_collect().await.unwrap();
    assert_eq!(files[0].path, "/nowhere/source/x.parquet", "it can be asked which");
    c.undrop_table(clone.id, None, None).await.unwrap();
    drop_as(&clone, DropMode::Retain { ms: 0 }).await.unwrap();
    assert!(referring(&c, "/nowhere/source").await.is_empty());
    drop_as(&source, DropMode::DeleteFiles).await.unwrap();

    // While its files are being deleted nobody names them.
    let late = Table::create(&c, "late").await;
    let says = ["default.late cannot have files of default.source at /nowhere/source", "are being deleted"];
    let request = late.request(Base::Exactly(0), vec![Action::Add(file("/nowhere/source/x.parquet", 0, 9))]);
    refused(late.try_commit(request).await, ErrorKind::NotFound, &says);
    assert_eq!(late.head().await, 0);
    let ms = c.reader(late.id).head().await.unwrap().timestamp + 5;
    let named = Action::Add(file("/nowhere/source/x.parquet", 0, 9));
    refused(load(&c, "late", vec![Ok(logged(1, ms, &[named]))]).await, ErrorKind::NotFound, &says);
    c.mark_files_deleted(source.id).await.unwrap();
    late.append("/nowhere/source/x.parquet").await;
}

/// A drop with files and a first commit that names one of them: one of both, in whatever order.
pub(super) async fn a_clone_is_before_a_drop_with_files_or_not_at_all(c: Arc<dyn Catalog>) {
    for n in 0..8 {
        let source = Table::create(&c, &format!("source{n}")).await;
        let clone = Table::create(&c, &format!("clone{n}")).await;
        let path = format!("/nowhere/source{n}/x.parquet");
        let committing = async {
            let request = clone.request(Base::Exactly(0), vec![Action::Add(file(&path, 0, 9))]);
            clone.try_commit(request).await
        };
        let (dropped, committed) = tokio::join!(drop_as(&source, DropMode::DeleteFiles), committing);
        assert_ne!(dropped.is_ok(), committed.is_ok(), "{dropped:?}, {committed:?}");
    }
}
