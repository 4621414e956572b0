//! Hot rows and a catalog that do not belong together, and crashes in between.

use deltalakedb_log::{Committer, TableLifecycle};
use deltalakedb_rows::row_store::TableMark;

use super::*;

const CREATE: &str = "CREATE SHARED TABLE IF NOT EXISTS app.t (id BIGINT PRIMARY KEY, v BIGINT)";

async fn with_rows() -> Fixture {
    let fixture = Fixture::new().await;
    let sql = format!("{CREATE}; INSERT INTO app.t VALUES (1, 10), (2, 20)");
    ask(&mut fixture.session(), &sql).await.unwrap();
    fixture
}

async fn check_rows(fixture: &Fixture) {
    check(&mut fixture.session(), "SELECT * FROM app.t", &["1|10", "2|20"]).await;
}

async fn is_refused(fixture: &mut Fixture, says: &[&str]) {
    let e = fixture.reopen().await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
    says.iter().for_each(|part| assert!(e.to_string().contains(part), "{e}"));
}

#[tokio::test]
async fn hot_rows_that_were_lost_are_missed_before_the_first_flush() {
    let mut fixture = with_rows().await;
    let disk = std::mem::replace(&mut fixture.disk, MemoryDisk::new());
    is_refused(&mut fixture, &["the row table app.t", "its hot rows are not there"]).await;
    fixture.disk = disk;
    fixture.reopen().await.unwrap();
    check_rows(&fixture).await;
}

#[tokio::test]
async fn a_catalog_of_a_time_before_a_table_is_refused() {
    let mut fixture = with_rows().await;
    let older = Arc::new(MemoryCatalog::new(fixture.clock.clone()));
    let catalog = std::mem::replace(&mut fixture.catalog, older);
    let table = fixture.engine().find(&"app.t".parse().unwrap()).unwrap().id.to_string();
    is_refused(&mut fixture, &[&table, "the catalog does not have because it is older"]).await;
    fixture.catalog = catalog;
    fixture.reopen().await.unwrap();
    check_rows(&fixture).await;
}

#[tokio::test]
async fn a_table_whose_creation_failed_is_there_with_its_mark_or_not_at_all() {
    for nth in 0..2 {
        for loses_power in [false, true] {
            let mut fixture = Fixture::new().await;
            *fixture.fails_in.lock() = Some(nth);
            assert!(ask(&mut fixture.session(), CREATE).await.is_err(), "{nth}");
            if loses_power {
                fixture.disk.lose_power();
            }
            for _ in 0..2 {
                fixture.reopen().await.unwrap();
                assert_eq!(fixture.engine().table_names().len(), nth);
                assert_eq!(fixture.engine().store().intents().unwrap(), []);
                assert_eq!(fixture.engine().store().marks().unwrap().len(), nth);
            }
            let sql = format!("{CREATE}; INSERT INTO app.t VALUES (1, 10), (2, 20)");
            check(&mut fixture.session(), &sql, &["CREATE SHARED TABLE", "INSERT 2"]).await;
            fixture.reopen().await.unwrap();
            check_rows(&fixture).await;
        }
    }
}

#[tokio::test]
async fn a_table_whose_drop_failed_or_was_undone_is_there_with_its_rows() {
    let mut fixture = with_rows().await;
    check(&mut fixture.session(), "FLUSH ALL", &["FLUSH ALL"]).await;
    *fixture.fails_in.lock() = Some(0);
    assert!(ask(&mut fixture.session(), "DROP TABLE app.t").await.is_err());
    fixture.reopen().await.unwrap();
    check_rows(&fixture).await;

    // A crash between the mark and the drop.
    let id = fixture.engine().find(&"app.t".parse().unwrap()).unwrap().id;
    let dropping = fixture.engine().store().exclusive(|exclusive| {
        exclusive.mark(id, TableMark::Dropped);
        Ok(())
    });
    dropping.unwrap();
    fixture.reopen().await.unwrap();
    check_rows(&fixture).await;
    assert_eq!(fixture.engine().store().marks().unwrap(), [(id, TableMark::Live)]);

    check(&mut fixture.session(), "DROP TABLE app.t", &["DROP TABLE"]).await;
    fixture.reopen().await.unwrap();
    assert!(fixture.engine().table_names().is_empty());
    let owner = format!("rows:{}", fixture.engine().folder().display()).parse().unwrap();
    let committer = Committer { name: None, owner: Some(owner) };
    fixture.catalog.undrop_table(id, None, &committer).await.unwrap();
    fixture.reopen().await.unwrap();
    check_rows(&fixture).await;
    assert_eq!(fixture.engine().store().marks().unwrap(), [(id, TableMark::Live)]);
}
