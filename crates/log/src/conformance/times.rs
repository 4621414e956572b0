//! Times: one clock, and versions ahead of it.

use super::loads::logged;
use super::*;
use crate::stamp::MARGIN_MS;

const YEAR: i64 = 365 * 24 * 60 * 60 * 1000;

/// A table whose versions have these times.
async fn imported(c: &Arc<dyn Catalog>, name: &str, times: &[i64], future_times: FutureTimes) -> Result<TestTable> {
    let lines = |version: usize| match version {
        0 => vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))],
        _ => vec![Action::add(file(&format!("f{version}"), 0, 9))],
    };
    let items = times.iter().enumerate().map(|(n, ms)| Ok(logged(n as Version, *ms, &lines(n))));
    let load = HistoryLoad {
        future_times,
        ..HistoryLoad::new(table_id(name), new_table(name), futures::stream::iter(items.collect::<Vec<_>>()))
    };
    Ok(TestTable { catalog: c.clone(), id: c.load_history(load).await?.id })
}

async fn time(t: &TestTable, version: Version) -> i64 {
    t.catalog.reader(t.id).snapshot(At::Version(version)).await.unwrap().head.timestamp
}

pub(super) async fn commits_ahead_of_the_clock_are_loaded_only_when_accepted(c: Arc<dyn Catalog>) {
    let now = c.now_ms().await.unwrap();
    imported(&c, "near", &[now - 9, now + MARGIN_MS / 2], FutureTimes::Refuse).await.unwrap();
    let ahead = imported(&c, "ahead", &[now, now + YEAR], FutureTimes::Refuse).await.map(|t| t.id);
    refused(ahead, ErrorKind::Invalid, &["version 1 of default.ahead", "import.future_times=accept"]);
    let t = imported(&c, "ahead", &[now + YEAR], FutureTimes::Refuse).await.map(|t| t.id);
    refused(t, ErrorKind::Invalid, &["version 0 of default.ahead"]);
    let load = HistoryLoad {
        future_times: FutureTimes::Accept,
        ..HistoryLoad::new(
            table_id("ahead"),
            new_table("ahead"),
            futures::stream::iter([Ok(logged(1, now + YEAR, &[Action::add(file("a", 0, 9))]))]),
        )
    };
    let entry = c.load_history(load).await.unwrap();
    // The files of this log were copied at the same time: each version is 1 ms after the one before it.
    let copied: Vec<_> = (0..MARGIN_MS + 9).map(|n| now + n).collect();
    imported(&c, "copied", &copied, FutureTimes::Refuse).await.unwrap();
    assert_eq!((entry.current_version, entry.current_timestamp), (1, now + YEAR));
}

pub(super) async fn loaded_times_are_made_strictly_increasing(c: Arc<dyn Catalog>) {
    let t = imported(&c, "t", &[100, 100, 50, 300], FutureTimes::Refuse).await.unwrap();
    let mut times = Vec::new();
    for version in 0..=3 {
        times.push(time(&t, version).await);
    }
    assert_eq!(times, [100, 101, 102, 300]);
    assert_eq!(c.reader(t.id).snapshot(At::Timestamp(101)).await.unwrap().version(), 1);
    let after_the_last = imported(&c, "u", &[i64::MAX, 5], FutureTimes::Accept).await.map(|t| t.id);
    refused(after_the_last, ErrorKind::Corrupt, &["version 1 of default.u"]);
    let t = imported(&c, "v", &[i64::MAX], FutureTimes::Accept).await.unwrap();
    let request = t.request(Base::Exactly(0), vec![Action::add(file("a", 0, 9))]);
    refused(t.try_commit(request).await, ErrorKind::Invalid, &["default.v accepts no commits", "version 0"]);
}

/// A table with a time in the future, as from a machine with a wrong clock, and a second table in the same transaction.
pub(super) async fn a_table_ahead_of_the_clock_does_not_advance_others(c: Arc<dyn Catalog>) {
    let now = c.now_ms().await.unwrap();
    let orders = imported(&c, "orders", &[now, now + YEAR, now + 2 * YEAR], FutureTimes::Accept).await.unwrap();
    let customers = TestTable::create(&c, "customers").await;
    let alone = orders.append("alone").await;
    assert_eq!(alone.timestamp, now + 2 * YEAR + 1, "strictly later, and no more than that");
    let leap = alone.leap.unwrap();
    assert_eq!((leap.version, leap.timestamp), (1, now + YEAR), "the version that leapt is named");
    assert!(leap.now_ms - now < YEAR && leap.warning("default.orders").contains("version 1 of default.orders"));

    let both = vec![
        orders.request(Base::RebaseFrom(3), vec![Action::add(file("o", 0, 9))]),
        customers.request(Base::RebaseFrom(0), vec![Action::add(file("c", 0, 9))]),
    ];
    let both = c.commit_all(both).await.unwrap().committed().unwrap();
    assert_eq!(both[0].timestamp, now + 2 * YEAR + 2);
    assert!((now..now + YEAR).contains(&both[1].timestamp), "{} is not carried along", both[1].timestamp);
    assert_eq!((both[0].leap.map(|leap| leap.version), both[1].leap), (Some(1), None));
    let body = c.reader(orders.id).commit_bytes(4).await.unwrap().unwrap();
    let info = crate::Commit::parse(body, "t").unwrap().info().unwrap().clone();
    assert_eq!(info.timestamp(), Some(both[0].timestamp), "the log says the time that the catalog says");
    assert_eq!(time(&orders, 4).await, both[0].timestamp);
    let read = orders.request(Base::ReadAt(4), vec![]);
    let write = customers.request(Base::RebaseFrom(1), vec![Action::add(file("d", 0, 9))]);
    let after = c.commit_all(vec![read, write]).await.unwrap().committed().unwrap();
    assert!(after[0].timestamp < now + YEAR, "nor by reading: {}", after[0].timestamp);
}

/// A transaction is not earlier than what it read, even if the clocks differ slightly.
pub(super) async fn a_commit_is_later_than_the_versions_it_read(c: Arc<dyn Catalog>) {
    let now = c.now_ms().await.unwrap();
    let s = imported(&c, "s", &[now, now + MARGIN_MS - 500], FutureTimes::Refuse).await.unwrap();
    let t = TestTable::create(&c, "t").await;
    let both =
        vec![s.request(Base::ReadAt(1), vec![]), t.request(Base::RebaseFrom(0), vec![Action::add(file("a", 0, 9))])];
    let committed = c.commit_all(both).await.unwrap().committed().unwrap();
    assert!(committed[0].timestamp > now + MARGIN_MS - 500, "{}", committed[0].timestamp);
}
