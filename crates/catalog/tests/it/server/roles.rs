//! The roles created by docs/databases.md have exactly the rights that it states.

use deltalakedb_log::{ErrorKind, Result, TableListing};

use super::*;

/// The statements of the page: those before `dl init`, and those after it.
fn recipe() -> [String; 2] {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/databases.md")).unwrap();
    let block = |begins: &str| {
        let mut blocks = page.split("```text\n").skip(1).filter_map(|rest| rest.split("\n```").next());
        blocks.find(|block| block.starts_with(begins)).unwrap_or_else(|| panic!("no block begins with {begins}")).into()
    };
    [block("CREATE ROLE lake_owner"), block("GRANT USAGE ON SCHEMA catalog")]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_roles_have_exactly_the_privileges_they_need() {
    let server = Server::start(&[], &[]);
    ask(&server.uri("public"), "CREATE DATABASE lake").await;
    let by = |user: Option<&str>| {
        changed(&server.uri("catalog"), |place| {
            place.database = "lake".into();
            place.user = user.map(String::from).or(place.user.take());
        })
    };
    let [before, after] = recipe();
    ask(&by(None), &before).await;
    let owner = connect(&by(Some("lake_owner"))).await;
    ask(&by(Some("lake_owner")), &after).await;
    let open = async |user: &str| -> Result<SqlCatalog> {
        let options = ConnectOptions { create: false, ..ConnectOptions::default() };
        SqlCatalog::connect(&CatalogUri::parse(&by(Some(user)))?, options).await
    };

    let writer = open("lake_writer").await.unwrap();
    let table = create(&writer, "t").await;
    writer.commit_all(vec![append(table, 0, "a")]).await.unwrap().committed().unwrap();

    let reader = open("lake_reader").await.unwrap();
    assert_eq!(reader.tables().await.unwrap().len(), 1);
    assert_eq!(reader.reader(table).head().await.unwrap().version, 1);
    let refused = reader.commit_all(vec![append(table, 1, "b")]).await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Invalid && refused.to_string().contains("lacks a right"), "{refused}");

    // The roles have the same rights on tables of a later migration.
    ask(&by(Some("lake_owner")), "CREATE TABLE catalog.dl_later AS SELECT 1 AS n").await;
    ask(&by(Some("lake_writer")), "UPDATE catalog.dl_later SET n = 2 RETURNING n").await;
    ask(&by(Some("lake_reader")), "SELECT n FROM catalog.dl_later").await;
    for catalog in [owner, writer, reader] {
        catalog.close().await;
    }
}
