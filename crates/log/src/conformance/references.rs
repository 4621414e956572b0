//! References: tables with files in the folders of other tables.

use super::loads::{base_without_commit, load, logged};
use super::*;
use crate::lifecycle::{DropMode, DropTable, TableState};

fn place(text: &str) -> Location {
    Location::parse(text).unwrap()
}

async fn referring(c: &Arc<dyn Catalog>, at: &str) -> Vec<String> {
    let tables = c.referring_tables(&place(at)).await.unwrap();
    tables.into_iter().map(|table| table.name.to_string()).collect()
}

async fn drop_as(t: &TestTable, mode: DropMode) -> Result<()> {
    let lease = t.catalog.acquire_lease(t.id, Uuid::from_u128(7), 0, 1_000).await?.unwrap();
    let drop = DropTable { mode, allow_unpublished: true, at_version: None, committer: Committer::default() };
    t.catalog.drop_table(&lease, &drop).await
}

pub(super) async fn tables_are_found_by_the_folders_they_refer_to(c: Arc<dyn Catalog>) {
    let (source, clone) = (TestTable::create(&c, "source").await, TestTable::create(&c, "clone").await);
    source.append("own.parquet").await;
    assert!(referring(&c, "/nowhere/source").await.is_empty(), "a path below the table is none elsewhere");
    let named =
        ["/nowhere/source/day=a/x.parquet", "file:///nowhere/source/day=b/y.parquet", "/nowhere/clone/own.parquet"];
    clone.commit(named.map(|path| Action::add(file(path, 0, 9))).into()).await;
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
    let folders: Vec<_> = ["/nowhere/source/day=a", "/nowhere/source/day=b"].map(|at| place(at).key()).into();
    assert_eq!(c.named_folders(clone.id).await.unwrap(), folders);
    c.forget_folders(clone.id, 1, &folders).await.unwrap();
    assert_eq!(c.named_folders(clone.id).await.unwrap(), folders, "somebody has committed since");
    c.forget_folders(clone.id, 2, &folders[1..]).await.unwrap();
    assert_eq!(c.named_folders(clone.id).await.unwrap(), folders[..1]);
    clone.append("/nowhere/source/day=b/z.parquet").await;
    assert_eq!(c.named_folders(clone.id).await.unwrap(), folders);
    // A load records folders as a commit does, and so does a new table.
    let first = [Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
    let far = Action::add(file("s3a://lake/far/x.parquet", 0, 9));
    load(&c, "loaded", vec![Ok(logged(0, 100, &first)), Ok(logged(1, 200, &[far]))]).await.unwrap();
    assert_eq!(referring(&c, "s3://lake/far").await, ["default.loaded"]);
    let live = vec![file("/nowhere/source/w.parquet", 0, 9)];
    let files = HistoryItem::Files(BaseFiles { live, removed: vec![] });
    load(&c, "begins", vec![Ok(base_without_commit(10)), Ok(files)]).await.unwrap();
    assert_eq!(referring(&c, "/nowhere/source").await, ["default.begins", "default.clone"]);
    let added = Action::add(file("/nowhere/source/v.parquet", 0, 9));
    let request = CommitRequest::new(
        table_id("made"),
        Uuid::from_u128(1),
        Base::Create(new_table("made")),
        first.into_iter().chain([added]).collect(),
    );
    c.commit_all(vec![request]).await.unwrap().committed().unwrap();
    assert_eq!(referring(&c, "/nowhere/source").await, ["default.begins", "default.clone", "default.made"]);
}

pub(super) async fn files_that_clones_need_are_not_deleted(c: Arc<dyn Catalog>) {
    let (source, clone) = (TestTable::create(&c, "source").await, TestTable::create(&c, "clone").await);
    clone.append("/nowhere/source/x.parquet").await;
    let says = ["files of default.source belong to default.clone, too", "drop these first"];
    refused(drop_as(&source, DropMode::DeleteFiles).await, ErrorKind::Invalid, &says);
    // A clone that can be undropped needs the files as well; one that cannot does not.
    drop_as(&clone, DropMode::Retain { ms: 1_000_000_000 }).await.unwrap();
    refused(drop_as(&source, DropMode::DeleteFiles).await, ErrorKind::Invalid, &says);
    let dropped = c.referring_tables(&place("/nowhere/source")).await.unwrap();
    assert_eq!(dropped.iter().map(|table| table.state).collect::<Vec<_>>(), [TableState::Dropped]);
    let reader = c.reader_in(clone.id, TableState::Dropped);
    let files: Vec<_> = reader.files(1, None).await.unwrap().try_collect().await.unwrap();
    assert_eq!(files[0].path, "/nowhere/source/x.parquet", "it can be asked which");
    c.undrop_table(clone.id, None, &Committer::default()).await.unwrap();
    drop_as(&clone, DropMode::Retain { ms: 0 }).await.unwrap();
    assert!(referring(&c, "/nowhere/source").await.is_empty());
    drop_as(&source, DropMode::DeleteFiles).await.unwrap();

    // While the files of a table are being deleted, no other table may name them.
    let late = TestTable::create(&c, "late").await;
    let says = ["default.late cannot have files of default.source at /nowhere/source", "are being deleted"];
    let request = late.request(Base::Exactly(0), vec![Action::add(file("/nowhere/source/x.parquet", 0, 9))]);
    refused(late.try_commit(request).await, ErrorKind::NotFound, &says);
    assert_eq!(late.head().await, 0);
    let ms = c.reader(late.id).head().await.unwrap().timestamp + 5;
    let named = Action::add(file("/nowhere/source/x.parquet", 0, 9));
    refused(load(&c, "late", vec![Ok(logged(1, ms, &[named]))]).await, ErrorKind::NotFound, &says);
    c.mark_files_deleted(source.id).await.unwrap();
    late.append("/nowhere/source/x.parquet").await;
}

/// A drop with files and a first commit that names one of the files: one of the two is rejected, in either order.
pub(super) async fn a_clone_concurrent_with_a_drop_precedes_it_or_fails(c: Arc<dyn Catalog>) {
    for n in 0..8 {
        let source = TestTable::create(&c, &format!("source{n}")).await;
        let clone = TestTable::create(&c, &format!("clone{n}")).await;
        let path = format!("/nowhere/source{n}/x.parquet");
        let committing = async {
            let request = clone.request(Base::Exactly(0), vec![Action::add(file(&path, 0, 9))]);
            clone.try_commit(request).await
        };
        let (dropped, committed) = tokio::join!(drop_as(&source, DropMode::DeleteFiles), committing);
        assert_ne!(dropped.is_ok(), committed.is_ok(), "{dropped:?}, {committed:?}");
    }
}

/// Creates a table at a place that does not follow from its name.
async fn create_at(c: &Arc<dyn Catalog>, name: &str, at: &str) -> Result<TestTable> {
    let new = NewTable::new(name.parse().unwrap(), place(at));
    let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
    let request = CommitRequest::new(table_id(name), Uuid::from_u128(1), Base::Create(new), actions);
    c.commit_all(vec![request]).await?;
    Ok(TestTable { catalog: c.clone(), id: table_id(name) })
}

const ACCOUNT: &str = "abfss://lake@ours.dfs.core.windows.net/source";

pub(super) async fn a_location_is_found_by_every_spelling(c: Arc<dyn Catalog>) {
    let azure = create_at(&c, "azure", ACCOUNT).await.unwrap();
    let s3 = create_at(&c, "s3", "s3://lake/source").await.unwrap();
    for (n, named) in [
        "az://lake/source/x.parquet",
        "wasbs://lake@ours.blob.core.windows.net/source/day=a/x.parquet",
        "https://ours.blob.core.windows.net/lake/source/x.parquet",
    ]
    .into_iter()
    .enumerate()
    {
        let clone = TestTable::create(&c, &format!("of_azure{n}")).await;
        clone.append(named).await;
        assert!(referring(&c, ACCOUNT).await.contains(&format!("default.of_azure{n}")), "{named}");
    }
    assert_eq!(referring(&c, "az://lake/source").await.len(), 3);
    assert_eq!(referring(&c, "az://lake/source/day=a").await, ["default.of_azure1"]);
    let clone = TestTable::create(&c, "of_s3").await;
    clone.append("s3n://lake/source/x.parquet").await;
    assert_eq!(referring(&c, "s3a://lake/source").await, ["default.of_s3"]);
    for (table, says) in [(&azure, "belong to default.of_azure0, default.of_azure1"), (&s3, "belong to default.of_s3")]
    {
        refused(drop_as(table, DropMode::DeleteFiles).await, ErrorKind::Invalid, &[says]);
    }

    // The table is found at these places, and no other table can be created there.
    let found = async |at: &str| c.find(&TableRef::Location(place(at))).await.unwrap().map(|entry| entry.id);
    assert_eq!(found("az://lake/source").await, Some(azure.id));
    assert_eq!(found("abfss://lake@theirs.dfs.core.windows.net/source").await, None, "another account is meant");
    let point = c.point().await.unwrap();
    let then = c.find_at(&TableRef::Location(place("azure://lake/source")), &point).await.unwrap();
    assert_eq!(then.map(|entry| entry.id), Some(azure.id));
    let taken = ["is in the catalog already, as default.azure"];
    refused(create_at(&c, "twice", "az://lake/source").await.map(|t| t.id), ErrorKind::AlreadyExists, &taken);
    let load = HistoryLoad::new(
        table_id("twice"),
        NewTable::new("twice".parse().unwrap(), place("az://lake/source")),
        futures::stream::iter([Ok(logged(0, 100, &[Action::Protocol(protocol()), Action::Metadata(metadata("{}"))]))]),
    );
    refused(c.load_history(load).await, ErrorKind::AlreadyExists, &taken);
    drop_as(&azure, DropMode::Retain { ms: 1_000_000_000 }).await.unwrap();
    create_at(&c, "twice", "az://lake/source").await.unwrap();
    refused(c.undrop_table(azure.id, None, &Committer::default()).await, ErrorKind::AlreadyExists, &["default.twice"]);
}

pub(super) async fn source_tables_of_a_clone_are_found(c: Arc<dyn Catalog>) {
    let azure = create_at(&c, "azure", ACCOUNT).await.unwrap();
    let source = TestTable::create(&c, "source").await;
    let clone = TestTable::create(&c, "clone").await;
    let sources = async || {
        let sources = c.source_tables(clone.id).await.unwrap();
        sources.into_iter().map(|table| table.name.to_string()).collect::<Vec<_>>()
    };
    clone.append("own.parquet").await;
    assert!(sources().await.is_empty());
    for named in ["/nowhere/source/day=a/x.parquet", "az://lake/source/x.parquet", "s3://elsewhere/x.parquet"] {
        clone.append(named).await;
    }
    assert_eq!(sources().await, ["default.azure", "default.source"]);
    assert!(c.source_tables(source.id).await.unwrap().is_empty());
    drop_as(&azure, DropMode::Retain { ms: 1_000_000_000 }).await.unwrap();
    assert_eq!(sources().await, ["default.source"]);
}
