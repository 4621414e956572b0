//! Namespaces of row tables.

use deltalakedb_log::namespaces::all_namespaces;

use super::*;

#[tokio::test]
async fn a_table_is_created_only_in_a_namespace_that_exists() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    let says = ["there is no namespace nosuch", "CREATE NAMESPACE nosuch"];
    for create in ["CREATE SHARED TABLE", "CREATE SHARED TABLE IF NOT EXISTS"] {
        fails(&mut session, &format!("{create} nosuch.t (id INT PRIMARY KEY)"), &says).await;
    }
    assert_eq!(all_namespaces(fixture.catalog.as_ref()).await.unwrap(), ["app"]);
    assert_eq!(fixture.engine().store().intents().unwrap(), []);
    let create = "CREATE NAMESPACE nosuch; CREATE SHARED TABLE nosuch.t (id INT PRIMARY KEY)";
    check(&mut session, create, &["CREATE NAMESPACE", "CREATE SHARED TABLE"]).await;
    check(&mut session, "CREATE SHARED TABLE t (id INT PRIMARY KEY)", &["CREATE SHARED TABLE"]).await;
}
