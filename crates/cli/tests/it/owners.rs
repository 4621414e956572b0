//! Tables with an owner: `dl` does not drop them.

use deltalakedb_catalog::{CatalogUri, ConnectOptions, SqlCatalog};
use deltalakedb_log::commit::{Base, CommitRequest, NewTable};
use deltalakedb_log::conformance::actions::{metadata, protocol};
use deltalakedb_log::{
    Action, Catalog, Clock, CommitTime, HistoryItem, HistoryLoad, HistoryLoading, Location, LoggedCommit, SystemClock,
    TableId, TimeSource, TxnLogError,
};

use crate::databases::databases;
use crate::test_folder::TestFolder;

/// The table `t`, owned by the row engine.
fn new_table(place: &TestFolder) -> NewTable {
    let location = Location::parse(place.path("t").to_str().unwrap()).unwrap();
    NewTable { owner: Some("rows:/data".parse().unwrap()), ..NewTable::new("t".parse().unwrap(), location) }
}

/// Creates the table `t`, owned by the row engine.
fn make_kept(place: &TestFolder) {
    let uri = CatalogUri::parse(place.catalog()).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let catalog = SqlCatalog::connect(&uri, ConnectOptions::default()).await.unwrap();
        let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
        let id = SystemClock.new_uuid();
        let request = CommitRequest::new(TableId(id), id, Base::Create(new_table(place)), actions);
        catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        catalog.close().await;
    });
}

/// An import of the table `t`, for the row engine, that ends early.
fn leave_unfinished_import(place: &TestFolder) {
    let uri = CatalogUri::parse(place.catalog()).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let catalog = SqlCatalog::connect(&uri, ConnectOptions::default()).await.unwrap();
        let lines = [Action::Protocol(protocol()), Action::Metadata(metadata("{}"))].map(|action| action.to_json());
        let first = HistoryItem::Commit(LoggedCommit {
            version: 0,
            time: CommitTime { ms: 1_000, source: TimeSource::File },
            body: lines.join("\n").into(),
            origin: "0.json".into(),
        });
        let items = [Ok(first), Err(TxnLogError::corrupt("1.json is torn"))];
        let load = HistoryLoad::new(TableId(SystemClock.new_uuid()), new_table(place), futures::stream::iter(items));
        catalog.load_history(load).await.unwrap_err();
        catalog.close().await;
    });
}

#[test]
fn an_unfinished_import_is_abandoned_in_the_name_of_its_owner() {
    for database in databases("owners") {
        for abandon in [&["drop", "t"][..], &["import", "t", "--abandon"]] {
            let place = TestFolder::on(*database);
            leave_unfinished_import(&place);
            for by in [&[][..], &["--owner", "rows:/other"]] {
                let refused = place.dl(&[abandon, by].concat());
                let says = "default.t is owned by the row engine of /data";
                assert!(refused.code == Some(1) && refused.err.contains(says), "{abandon:?} {by:?}: {refused:?}");
            }
            let said = place.dl(&[abandon, &["--owner", "rows:/data"]].concat()).good();
            assert!(said.contains("was abandoned"), "{abandon:?}: {said}");
        }
    }
}

#[test]
fn an_owned_table_is_dropped_and_expired_only_by_its_owner() {
    for database in databases("owners") {
        let place = TestFolder::on(*database);
        make_kept(&place);
        let says =
            "default.t is owned by the row engine of /data, which alone may commit to it: use `dl sql --data /data`";
        for refused in [
            &["drop", "t"][..],
            &["drop", "t", "--force"],
            &["drop", "t", "--delete-files", "--yes"],
            &["rename", "t", "u"],
            &["detach", "t", "--yes"],
            &["expire", "t"],
        ] {
            let ran = place.dl(refused);
            assert_eq!(ran.code, Some(1), "{refused:?}: {ran:?}");
            assert!(ran.err.contains(says), "{refused:?}: {ran:?}");
        }
        place.dl(&["expire", "--all"]).good();
        assert!(place.dl(&["show", "t"]).good().contains("owner      rows:/data"));

        // In the owner's name, as when the engine no longer exists.
        let by = ["--owner", "rows:/data"];
        place.dl(&[&["rename", "t", "u"], &by[..]].concat()).good();
        place.dl(&[&["drop", "u"], &by[..]].concat()).good();
        let refused = place.dl(&["undrop", "u", "--as", "t"]);
        assert!(refused.code == Some(1) && refused.err.contains("default.u is owned by the row engine"), "{refused:?}");
        place.dl(&[&["undrop", "u", "--as", "t"], &by[..]].concat()).good();
        let other = place.dl(&["drop", "t", "--owner", "rows:/other"]);
        assert!(other.code == Some(1) && other.err.contains(says), "{other:?}");
        place.dl(&[&["detach", "t", "--yes"], &by[..]].concat()).good();
    }
}
