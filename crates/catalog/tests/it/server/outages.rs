//! Servers that crash, and answers that are lost: acknowledged commits are kept, and nothing is committed twice.

use std::sync::atomic::{AtomicBool, Ordering};

use deltalakedb_log::commit::Outcome;
use deltalakedb_log::{At, ErrorKind, Result, TableListing, Version};
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::Barrier;

use super::proxy::{Cut, Proxy};
use super::*;
use crate::databases::databases;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_crash_loses_no_commit_and_clients_reconnect() {
    const CLIENTS: usize = 4;
    /// Commits between two crashes.
    const BETWEEN: usize = 60;
    // An acknowledged commit is durable, whatever the server's default settings are.
    let server = Server::start(&["-c", "synchronous_commit=off", "-c", "wal_writer_delay=5s"], &[]);
    let uri = server.uri("catalog");
    let catalog = connect(&uri).await;
    let tables = [create(&catalog, "a").await, create(&catalog, "b").await];
    let told = Arc::new(Mutex::new(Vec::<(String, Vec<Committed>)>::new()));
    let enough = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (uri, told, enough) = (uri.clone(), told.clone(), enough.clone());
            tokio::spawn(async move {
                let catalog = connect(&uri).await;
                let mut base = [0; 2];
                for n in 0.. {
                    let (path, chosen) = match n % 3 {
                        0 => (format!("c{client}.{n}.both"), 0..2),
                        which => (format!("c{client}.{n}"), which - 1..which),
                    };
                    let requests = chosen.clone().map(|t| append(tables[t], base[t], &path)).collect();
                    let outcome = catalog.commit_all(requests).await;
                    let Ok(Outcome::Committed(committed)) = outcome else { panic!("{path}: {outcome:?}") };
                    chosen.zip(&committed).for_each(|(t, c)| base[t] = c.version);
                    told.lock().push((path, committed));
                    if enough.load(Ordering::SeqCst) {
                        break;
                    }
                }
                catalog.close().await;
            })
        })
        .collect();
    let more = async || {
        let (before, began) = (told.lock().len(), Instant::now());
        while told.lock().len() < before + BETWEEN {
            assert!(began.elapsed() < PATIENCE, "clients do not go on");
            assert!(clients.iter().all(|c| !c.is_finished()), "a client gave up");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    for kills in [true, false, true] {
        more().await;
        if kills {
            server.kill();
            server.start_again();
        } else {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'deltalakedb'";
            ask(&uri, sql).await;
        }
    }
    more().await;
    enough.store(true, Ordering::SeqCst);
    join_all(clients).await.into_iter().for_each(Result::unwrap);

    let told = std::mem::take(&mut *told.lock());
    for table in tables {
        let seen = whole(&catalog, table).await;
        let mut acknowledged: Vec<_> = told
            .iter()
            .flat_map(|(path, committed)| committed.iter().map(move |c| (c.table, c.version, path.clone())))
            .filter_map(|(of, version, path)| (of == table).then_some((version, path)))
            .collect();
        acknowledged.sort();
        let seen: Vec<(Version, String)> = (1..).zip(seen.into_iter().map(|s| s.path)).collect();
        assert_eq!(seen, acknowledged, "what was acknowledged is there, once, and nothing else");
    }
    catalog.close().await;
}

/// A catalog in the server for tests, and the same through a connection that can be cut.
struct Wired {
    _dir: TempDir,
    uri: String,
    direct: SqlCatalog,
    wired: SqlCatalog,
    proxy: Proxy,
}

impl Wired {
    async fn new() -> Self {
        let [database] = databases("server") else { panic!("one database has connections to cut") };
        let dir = tempfile::tempdir().unwrap();
        let uri = database.uri(dir.path(), "wired");
        let direct = connect(&uri).await;
        let proxy = Proxy::before(&uri).await;
        let wired = connect(&proxy.through(&uri)).await;
        Self { _dir: dir, uri, direct, wired, proxy }
    }

    /// Commits `path` to these tables while the connection is cut as requested.
    async fn commit(&self, cuts: impl IntoIterator<Item = Cut>, tables: &[TableId], path: &str) -> Result<Outcome> {
        self.proxy.cut(cuts);
        let outcome = self.wired.commit_all(tables.iter().map(|t| append(*t, 0, path)).collect()).await;
        assert!(self.proxy.is_done(), "{path}: the wire was not cut");
        outcome
    }

    async fn close(self) {
        self.wired.close().await;
        self.direct.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_at_commit_reports_the_true_outcome() {
    let w = Wired::new().await;
    let tables = [create(&w.direct, "a").await, create(&w.direct, "b").await];
    let cuts = [
        ("before", vec![Cut::Before]),
        ("before, three times", vec![Cut::Before, Cut::Before, Cut::Before]),
        ("under", vec![Cut::Under]),
        ("after", vec![Cut::After]),
        ("before and after", vec![Cut::Before, Cut::After]),
        ("after the last try", vec![Cut::Before, Cut::Before, Cut::Before, Cut::After]),
    ];
    let mut paths = Vec::new();
    for tables in [&tables[..], &tables[..1]] {
        for (when, cuts) in &cuts {
            let path = format!("{when} of {}", tables.len()).replace(' ', "-");
            let outcome = w.commit(cuts.clone(), tables, &path).await.unwrap();
            paths.push(path.clone());
            for (table, committed) in tables.iter().zip(outcome.committed().unwrap()) {
                let seen = whole(&w.direct, *table).await;
                assert_eq!(seen.iter().map(|s| &s.path).collect::<Vec<_>>(), paths.iter().collect::<Vec<_>>());
                assert_eq!((committed.table, committed.version), (*table, paths.len() as u64), "{path}");
            }
        }
    }
    // When every attempt is cut, the retries end with an error that says that nothing was committed.
    let failed = w.commit(vec![Cut::Before; 4], &tables[..1], "never").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable, "{failed}");
    assert_eq!(w.direct.find_commit(tables[0], append(tables[0], 0, "never").commit_id).await.unwrap(), None);
    w.close().await;
}

/// A new table has no lock to prove absence: either its commit is found, or the outcome is unknown, and the same
/// request again creates it.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_at_a_creation_reports_no_false_outcome() {
    let w = Wired::new().await;
    let new = |name: &str| {
        let id = TableId(Uuid::from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..16]).unwrap());
        let location = Location::parse(&format!("/nowhere/{name}")).unwrap();
        let base = Base::Create(NewTable::new(name.parse().unwrap(), location));
        let actions = vec![Action::Protocol(actions::protocol()), Action::Metadata(actions::metadata("{}"))];
        CommitRequest::new(id, id.0, base, actions)
    };
    w.proxy.cut([Cut::After]);
    let committed = w.wired.commit_all(vec![new("after")]).await.unwrap().committed().unwrap();
    assert_eq!(committed[0].version, 0);
    w.proxy.cut([Cut::Before]);
    let outcome = w.wired.commit_all(vec![new("before")]).await.unwrap();
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    let committed = w.wired.commit_all(vec![new("before")]).await.unwrap().committed().unwrap();
    assert_eq!(committed[0].version, 0);
    let names: Vec<_> = w.direct.tables().await.unwrap().into_iter().map(|t| t.name.name).collect();
    assert_eq!(names, ["after", "before"]);
    w.close().await;
}

/// A lookup by id waits for a COMMIT that is still in progress.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_in_progress_is_awaited_before_its_outcome_is_reported() {
    let w = Wired::new().await;
    let table = create(&w.direct, "a").await;
    let schema = place(&w.uri).schema;
    ask(
        &w.uri,
        &format!(
            "CREATE FUNCTION {schema}.slow() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_sleep(1); RETURN NULL; END'; \
             CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON {schema}.dl_commit_ids DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION {schema}.slow()"
        ),
    )
    .await;
    // At the last attempt, when only the result can be looked up.
    let cuts = [Cut::Before, Cut::Before, Cut::Before, Cut::Under];
    let outcome = w.commit(cuts, &[table], "slow").await.unwrap();
    let Outcome::Committed(committed) = outcome else { panic!("{outcome:?}") };
    assert_eq!(committed[0].version, 1);
    assert_eq!(whole(&w.direct, table).await.len(), 1);
    w.close().await;
}

/// As many as a pool has connections: each looks for its own commit, and none waits for another's connection.
#[tokio::test(flavor = "multi_thread")]
async fn many_lost_responses_are_all_resolved() {
    const MANY: usize = 8;
    let w = Wired::new().await;
    let mut tables = Vec::new();
    for n in 0..MANY {
        tables.push(create(&w.direct, &format!("t{n}")).await);
    }
    w.proxy.cut(vec![Cut::AfterAll(Arc::new(Barrier::new(MANY))); MANY]);
    let began = Instant::now();
    let outcomes = join_all(tables.iter().map(|table| w.wired.commit_all(vec![append(*table, 0, "x")]))).await;
    assert!(w.proxy.is_done());
    for outcome in outcomes {
        let Ok(Outcome::Committed(committed)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(committed[0].version, 1);
    }
    assert!(began.elapsed() < PATIENCE / 2, "they waited for one another: {:?}", began.elapsed());
    w.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_resolved_by_the_next_attempt() {
    let story = async |cut: Cut, happened: bool| {
        let w = Wired::new().await;
        let table = create(&w.direct, "a").await;
        let outcome = w.commit([cut], &[table], "x").await.unwrap();
        let Outcome::Unknown(why) = outcome else { panic!("nobody can know: {outcome:?}") };
        assert!(why.contains(&w.wired.describe()) && !why.contains('\n'), "{why}");
        assert_eq!(w.direct.reader(table).head().await.unwrap().version, u64::from(happened));
        w.proxy.open();
        let found = w.wired.find_commit(table, append(table, 0, "x").commit_id).await.unwrap();
        assert_eq!(found.map(|c| c.version), happened.then_some(1));
        let again = w.commit([], &[table], "x").await.unwrap().committed().unwrap();
        assert_eq!(again[0].version, 1);
        assert_eq!(whole(&w.direct, table).await.len(), 1, "once");
        w.close().await;
    };
    futures::future::join(story(Cut::AfterAndClose, true), story(Cut::BeforeAndClose, false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_takes_one_message_and_an_append_five() {
    let w = Wired::new().await;
    let table = create(&w.direct, "a").await;
    let reader = w.wired.reader(table);
    let queries = || {
        let (asked, rest): (Vec<_>, Vec<_>) = w.proxy.messages().into_iter().partition(|(kind, _)| *kind == 'Q');
        // A connection that is returned to its pool is tested, after the answer has arrived.
        assert!(rest.iter().all(|(kind, _)| *kind == 'S'), "nothing is prepared: {rest:?}");
        asked.into_iter().map(|(_, sql)| sql).collect::<Vec<_>>()
    };
    reader.head().await.unwrap();
    w.wired.commit_all(vec![append(table, 0, "first")]).await.unwrap().committed().unwrap();
    // From here on one connection for reading and one for writing exist.
    w.proxy.messages();
    reader.head().await.unwrap();
    assert_eq!(queries().len(), 1, "to open a table");
    for n in 1..=20 {
        let committed = w.wired.commit_all(vec![append(table, n, &format!("f{n}"))]).await.unwrap();
        assert_eq!(committed.committed().unwrap()[0].version, n + 1);
        let said = queries();
        let [begin, heads, files, writes, commit] = &said[..] else { panic!("{}: {said:#?}", said.len()) };
        assert!(begin.starts_with("BEGIN") && begin.contains("FOR UPDATE"), "{begin}");
        assert!(begin.contains("idle_in_transaction_session_timeout") && begin.contains("lock_timeout"), "{begin}");
        assert!(heads.starts_with("WITH own") && files.starts_with("WITH own"), "{heads} {files}");
        assert!(writes.starts_with("INSERT") && commit == "COMMIT", "{writes} {commit}");
    }
    w.wired.commit_all(vec![append(table, 0, "late")]).await.unwrap().committed().unwrap();
    assert_eq!(queries().len(), 5, "a blind append does not depend on the commits in between");
    reader.head().await.unwrap();
    assert_eq!(queries().len(), 1, "whatever the history");
    w.close().await;
}

/// Holds the lock on a table's head until it is dropped.
pub(super) async fn hold(uri: &str, table: TableId) -> PgConnection {
    let mut holder = pg_connection(uri).await;
    let (schema, id) = (place(uri).schema, table.0.simple());
    let sql = format!("BEGIN; SELECT 1 FROM {schema}.dl_tables WHERE table_id = '\\x{id}' FOR UPDATE");
    sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut holder).await.unwrap();
    holder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_wait_for_a_lock_acquires_no_lock_later() {
    let [database] = databases("server") else { panic!("one database locks rows") };
    let dir = tempfile::tempdir().unwrap();
    let uri = database.uri(dir.path(), "locks");
    let (impatient, other) = (connect(&uri).await, connect(&uri).await);
    let table = create(&other, "a").await;
    let holder = hold(&uri, table).await;
    let given_up = tokio::spawn({
        let impatient = impatient.clone();
        async move { impatient.commit_all(vec![append(table, 0, "given-up")]).await }
    });
    let waits = format!(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{}%'",
        place(&uri).schema
    );
    let began = Instant::now();
    while ask(&uri, &waits).await.is_empty() {
        assert!(began.elapsed() < PATIENCE, "nobody waits for the lock");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    holder.close().await.unwrap();
    for (version, path, catalog) in [(1, "x", &other), (2, "y", &impatient)] {
        let commit = catalog.commit_all(vec![append(table, 0, path)]);
        let outcome = tokio::time::timeout(PATIENCE / 4, commit).await.expect("the lock is free").unwrap();
        assert_eq!(outcome.committed().unwrap()[0].version, version);
        // The handle does not continue to read the old state either.
        assert_eq!(impatient.reader(table).head().await.unwrap().version, version);
    }
    impatient.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_reused_after_a_lock_timeout() {
    let [database] = databases("server") else { panic!("one database locks rows") };
    let dir = tempfile::tempdir().unwrap();
    let uri = database.uri(dir.path(), "timeouts");
    let direct = connect(&uri).await;
    let table = create(&direct, "a").await;
    let role = place(&uri).schema;
    ask(&uri, &format!("CREATE ROLE {role} LOGIN SUPERUSER; ALTER ROLE {role} SET lock_timeout = '50ms'")).await;
    let hasty = connect(&changed(&uri, |place| place.user = Some(role))).await;
    let holder = hold(&uri, table).await;
    let failed = hasty.commit_all(vec![append(table, 0, "x")]).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable, "{failed}");
    assert!(failed.to_string().contains("try again"), "{failed}");
    holder.close().await.unwrap();
    for n in 1..=8 {
        let outcome = hasty.commit_all(vec![append(table, 0, &format!("x{n}"))]).await;
        assert_eq!(outcome.unwrap().committed().unwrap()[0].version, n);
    }
    hasty.close().await;
    direct.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_catalog_leaves_no_connection_to_the_server() {
    let uri = own_database().await;
    let catalogs = [connect(&uri).await, connect(&uri).await, connect(&uri).await];
    let table = create(&catalogs[0], "a").await;
    for (n, catalog) in (0..).zip(&catalogs) {
        catalog.commit_all(vec![append(table, n, &format!("f{n}"))]).await.unwrap().committed().unwrap();
        catalog.reader(table).snapshot(At::Latest).await.unwrap();
        // Operations that are begun and not finished: a stream, a conflict, an error, a cancelled commit.
        drop(catalog.reader(table).files(n, None).await.unwrap());
        let mut late = append(table, 0, "late");
        late.base = Base::Exactly(0);
        assert!(matches!(catalog.commit_all(vec![late]).await.unwrap(), Outcome::Conflict(_)));
        catalog.commit_all(vec![append(table, 99, "early")]).await.unwrap_err();
        let given_up = catalog.commit_all(vec![append(table, 0, &format!("given up {n}"))]);
        let _ = tokio::time::timeout(Duration::from_millis(2), given_up).await;
    }
    let locked = "SELECT 1 FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid \
                  WHERE a.application_name = 'deltalakedb' AND a.datname = current_database()";
    let began = Instant::now();
    while !ask(&uri, locked).await.is_empty() {
        assert!(began.elapsed() < PATIENCE, "an open catalog that does nothing holds a lock");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for catalog in catalogs {
        catalog.close().await;
    }
    check_nobody_is_left(&uri).await;
}
