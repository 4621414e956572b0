//! Clients that stop in a transaction, and clients that cancel a wait: other clients continue.

use deltalakedb_catalog::PostgresOptions;
use deltalakedb_log::TxnLogReaderExt;
use deltalakedb_log::action::Add;
use deltalakedb_log::commit::{Content, Outcome};
use futures::future::join_all;

use super::outages::hold;
use super::*;
use crate::databases::databases;

/// The idle timeout for the client that is stopped.
const IDLE: Duration = Duration::from_secs(1);

/// A number of files whose rows exceed the network buffers, so that one side waits for the other.
pub(super) const MANY: usize = 1_500;

/// Appends this many files to the table `a` at once, and prints their version.
pub(super) async fn append_once(uri: &str, path: &str, files: usize) {
    let mut postgres = PostgresOptions::default();
    // A slow machine needs some time to build a statement of many rows.
    postgres.idle_timeout = if files > 1 { 5 * IDLE } else { IDLE };
    let options = ConnectOptions { create: false, postgres, ..Default::default() };
    let catalog = SqlCatalog::connect(&CatalogUri::parse(uri).unwrap(), options).await.unwrap();
    let table = find(&catalog, "a").await;
    let mut request = append(table, 0, path);
    let mut actions = request.actions().to_vec();
    for n in 1..files {
        let stats = Some(format!(r#"{{"numRecords":10,"tag":"{}"}}"#, "x".repeat(8_000)));
        actions.push(Action::add(Add { stats, ..actions::file(&format!("{path}.{n}"), 0, 9) }));
    }
    request.content = Content::Actions(actions);
    let outcome = catalog.commit_all(vec![request]).await.unwrap();
    print_line(&outcome.committed().unwrap()[0].version.to_string());
    catalog.close().await;
}

fn signal(process: &Process, signal: &str) {
    let sent = Command::new("kill").args([signal, &process.0.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

async fn until(uri: &str, what: &str, sql: &str) {
    let began = Instant::now();
    while ask(uri, sql).await.is_empty() {
        assert!(began.elapsed() < PATIENCE, "it did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_suspended_in_a_transaction_blocks_no_other() {
    let [database] = databases("server") else { panic!("one database has clients to stop") };
    let dir = tempfile::tempdir().unwrap();
    let uri = database.uri(dir.path(), "stopped");
    let other = connect(&uri).await;
    let table = create(&other, "a").await;
    // Inserts by this user are slow, so that the client can be stopped before they are done.
    let role = place(&uri).schema;
    let slow = format!(
        "CREATE ROLE {role} LOGIN SUPERUSER; CREATE FUNCTION {role}.slow() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF current_user = ''{role}'' THEN PERFORM pg_sleep(1); END IF; RETURN NULL; END'; \
         CREATE TRIGGER slow AFTER INSERT ON {role}.dl_commit_ids FOR EACH ROW EXECUTE FUNCTION {role}.slow()"
    );
    ask(&uri, &slow).await;
    let stopped = Process::start(&["append once", &changed(&uri, |place| place.user = Some(role.clone())), "stopped"]);
    let of_role = format!("SELECT 1 FROM pg_stat_activity WHERE usename = '{role}'");
    until(&uri, "it commits", &format!("{of_role} AND wait_event = 'PgSleep'")).await;
    signal(&stopped, "-STOP");
    until(&uri, "it stopped before COMMIT", &format!("{of_role} AND state = 'idle in transaction'")).await;
    // The lock is held, and readers of the table are not affected.
    assert_eq!(other.reader(table).head().await.unwrap().version, 0);
    let outcome = tokio::time::timeout(PATIENCE / 2, other.commit_all(vec![append(table, 0, "other")])).await;
    let outcome = outcome.expect("the server ended the transaction that was stopped").unwrap();
    assert_eq!(outcome.committed().unwrap()[0].version, 1);
    signal(&stopped, "-CONT");
    assert_eq!(stopped.wait_for_lines(), ["2"], "it is told that nothing was committed, and commits");
    let paths: Vec<_> = whole(&other, table).await.into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["other", "stopped"]);
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_suspended_in_a_bulk_insert_blocks_no_other() {
    let [database] = databases("server") else { panic!("one database has clients to stop") };
    let dir = tempfile::tempdir().unwrap();
    let uri = database.uri(dir.path(), "stopped among rows");
    let other = connect(&uri).await;
    let table = create(&other, "a").await;
    // Each row by this user is slow, so that the client is stopped before it has sent all of them.
    let role = place(&uri).schema.replace(' ', "_");
    let schema = format!("\"{}\"", place(&uri).schema);
    let slow = format!(
        "CREATE ROLE {role} LOGIN SUPERUSER; CREATE FUNCTION {schema}.slow() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF current_user = ''{role}'' THEN PERFORM pg_sleep(0.001); END IF; RETURN NEW; END'; \
         CREATE TRIGGER slow BEFORE INSERT ON {schema}.dl_add_files FOR EACH ROW EXECUTE FUNCTION {schema}.slow()"
    );
    ask(&uri, &slow).await;
    let stopped = Process::start(&["append many", &changed(&uri, |place| place.user = Some(role.clone())), "stopped"]);
    let of_role = format!("SELECT 1 FROM pg_stat_activity WHERE usename = '{role}'");
    until(&uri, "rows come in", &format!("{of_role} AND wait_event = 'PgSleep'")).await;
    signal(&stopped, "-STOP");
    until(&uri, "the server waits for more", &format!("{of_role} AND wait_event = 'ClientRead'")).await;
    let outcome = tokio::time::timeout(PATIENCE / 2, other.commit_all(vec![append(table, 0, "other")])).await;
    let outcome = outcome.expect("the server ended the transaction that was stopped").unwrap();
    assert_eq!(outcome.committed().unwrap()[0].version, 1);
    signal(&stopped, "-CONT");
    assert_eq!(stopped.wait_for_lines(), ["2"], "it is told that nothing was committed, and commits");
    let files = other.reader(table).counts(2).await.unwrap().files;
    assert_eq!(files, 1 + MANY as u64);
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cancelled_and_repeated_commits_do_not_exhaust_connections() {
    const TASKS: usize = 200;
    let uri = own_database().await;
    let (catalog, elsewhere) = (connect(&uri).await, in_server("public"));
    let (table, free) = (create(&catalog, "a").await, create(&catalog, "b").await);
    let holder = hold(&uri, table).await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|n| {
            let catalog = catalog.clone();
            tokio::spawn(async move {
                let mut given_up = 0;
                loop {
                    let commit = catalog.commit_all(vec![append(table, 0, &format!("f{n}"))]);
                    match tokio::time::timeout(Duration::from_millis(200), commit).await {
                        Ok(outcome) => {
                            assert!(matches!(outcome, Ok(Outcome::Committed(_))), "{outcome:?}");
                            return given_up;
                        }
                        Err(_) => given_up += 1,
                    }
                }
            })
        })
        .collect();
    let database = place(&uri).database;
    let ours =
        format!("SELECT pid FROM pg_stat_activity WHERE datname = '{database}' AND application_name = 'deltalakedb'");
    for n in 0..20 {
        // Readers, and writers of other tables, are not affected.
        let head = tokio::time::timeout(PATIENCE / 4, catalog.reader(table).head()).await;
        assert_eq!(head.expect("a reader waits for writers").unwrap().version, 0);
        let commit = catalog.commit_all(vec![append(free, n, &format!("g{n}"))]);
        let outcome = tokio::time::timeout(PATIENCE / 4, commit).await.expect("it waits for another table");
        assert_eq!(outcome.unwrap().committed().unwrap()[0].version, n + 1);
        assert!(ask(&elsewhere, &ours).await.len() <= 16, "eight readers and eight writers");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    holder.close().await.unwrap();
    let given_up: usize = join_all(tasks).await.into_iter().map(|task| task.unwrap()).sum();
    assert!(given_up >= TASKS, "each gave up while the lock was held");
    assert_eq!(whole(&catalog, table).await.len(), TASKS, "each file once");
    catalog.close().await;
}
