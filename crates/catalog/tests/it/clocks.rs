//! Two clients with different clocks on one catalog, and the times of their commits.

use std::sync::Arc;

use deltalakedb_catalog::{CatalogUri, ConnectOptions, SqlCatalog};
use deltalakedb_log::commit::{Base, CommitRequest, Committed, NewTable};
use deltalakedb_log::conformance::actions;
use deltalakedb_log::stamp::MARGIN_MS;
use deltalakedb_log::{Action, At, Catalog, Clock, Location, SeededClock, SystemClock, TableId, Version};
use uuid::Uuid;

use crate::databases::{Database, databases};

const YEAR: i64 = 365 * 24 * 60 * 60 * 1000;

async fn open(uri: &str, start_ms: i64, seed: u64) -> SqlCatalog {
    let clock = Arc::new(SeededClock::new(start_ms, seed));
    let options = ConnectOptions { clock, ..Default::default() };
    SqlCatalog::connect(&CatalogUri::parse(uri).unwrap(), options).await.unwrap()
}

async fn create(catalog: &SqlCatalog, id: u128, name: &str) -> TableId {
    let new = NewTable::new(name.parse().unwrap(), Location::parse(&format!("/nowhere/{name}")).unwrap());
    let actions = vec![Action::Protocol(actions::protocol()), Action::Metadata(actions::metadata("{}"))];
    let request = CommitRequest::new(TableId(Uuid::from_u128(id)), Uuid::new_v4(), Base::Create(new), actions);
    commit(catalog, vec![request]).await[0].table
}

fn append(table: TableId, base: Version, path: &str) -> CommitRequest {
    let actions = vec![Action::add(actions::file(path, 0, 9))];
    CommitRequest::new(table, Uuid::new_v4(), Base::RebaseFrom(base), actions)
}

async fn commit(catalog: &SqlCatalog, requests: Vec<CommitRequest>) -> Vec<Committed> {
    catalog.commit_all(requests).await.unwrap().committed().unwrap()
}

/// One client is a year ahead. In a server its clock is ignored; for a file its clock is that of the machine, and the
/// damage is limited: a warning names the version, and no other table gets a time in the future.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_client_clock_does_not_change_commit_times() {
    for database in databases("clocks") {
        let dir = tempfile::tempdir().unwrap();
        let uri = database.uri(dir.path(), "clocks");
        let now = SystemClock.now_ms();
        let (right, wrong) = (open(&uri, now, 1).await, open(&uri, now + YEAR, 2).await);
        let (orders, customers) = (create(&right, 1, "orders").await, create(&right, 2, "customers").await);
        let leapt = commit(&wrong, vec![append(orders, 0, "a")]).await[0];
        let next = commit(&right, vec![append(orders, 1, "b")]).await[0];
        let both = commit(&right, vec![append(orders, 2, "c"), append(customers, 0, "c")]).await;
        let alone = commit(&right, vec![append(customers, 1, "d")]).await[0];
        assert!(leapt.timestamp < next.timestamp && next.timestamp < both[0].timestamp, "{database:?}: times grow");
        let limit = now + YEAR / 2;
        assert!(both[1].timestamp < limit && alone.timestamp < limit, "{database:?}: {both:?} {alone:?}");
        assert_eq!((both[1].leap, alone.leap), (None, None), "{database:?}");
        let ahead = [leapt, next, both[0]];
        if *database == Database::Postgres {
            assert!(ahead.iter().all(|c| c.timestamp < limit && c.leap.is_none()), "the server's clock: {ahead:?}");
            assert_eq!(both[0].timestamp, both[1].timestamp, "one transaction, one time");
            let server = right.now_ms().await.unwrap();
            assert!((leapt.timestamp..leapt.timestamp + 60_000).contains(&server), "{server}");
            assert!((wrong.now_ms().await.unwrap() - server).abs() < 60_000);
        } else {
            assert_eq!((leapt.leap, next.timestamp), (None, leapt.timestamp + 1), "{database:?}: {next:?}");
            assert_eq!(next.leap.map(|leap| leap.version), Some(1), "{database:?}: the version that leapt is named");
            assert_eq!(both[0].timestamp, leapt.timestamp + 2, "{database:?}");
        }
        let shown = right.reader(customers).snapshot(At::Timestamp(right.now_ms().await.unwrap())).await.unwrap();
        assert_eq!(shown.version(), 2, "{database:?}: what is committed is there now");
    }
}

/// Two correct clocks that differ by less than the margin.
#[tokio::test(flavor = "multi_thread")]
async fn commit_times_follow_the_order_of_commits() {
    for database in databases("clocks") {
        let dir = tempfile::tempdir().unwrap();
        let uri = database.uri(dir.path(), "causes");
        let now = SystemClock.now_ms();
        let (slow, fast) = (open(&uri, now, 1).await, open(&uri, now + MARGIN_MS / 2, 2).await);
        let (cause, effect) = (create(&slow, 1, "cause").await, create(&slow, 2, "effect").await);
        let first = commit(&fast, vec![append(cause, 0, "a")]).await[0];
        let read = CommitRequest::new(cause, Uuid::new_v4(), Base::ReadAt(1), vec![]);
        let second = commit(&slow, vec![read, append(effect, 0, "b")]).await[0];
        assert!(first.timestamp < second.timestamp, "{database:?}: {first:?} {second:?}");
        let third = commit(&slow, vec![append(cause, 1, "c")]).await[0];
        assert!(first.timestamp < third.timestamp && third.leap.is_none(), "{database:?}");
    }
}
