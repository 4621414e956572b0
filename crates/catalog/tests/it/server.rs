//! Tests that need several processes, or a server: many writers, clients and servers that are killed, lost answers,
//! poolers, and every rejection of a database.
//!
//! A separate process is this program started again to run one [`job`].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests speak by panicking")]

mod outages;
mod processes;
mod proxy;
mod refusals;
mod roles;
mod waiting;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltalakedb_catalog::{Backend, CatalogUri, ConnectOptions, PostgresBackend, SqlCatalog};
use deltalakedb_log::commit::{Base, Committed, NewTable};
use deltalakedb_log::conformance::{self, actions};
use deltalakedb_log::{Action, Catalog, Commit, CommitRequest, Location, TableId, TableRef};
use futures::{StreamExt, TryStreamExt};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, PgSslMode};
use sqlx::{AssertSqlSafe, Connection};
use tempfile::TempDir;
use uuid::Uuid;

use crate::databases::in_server;

/// Longer than any step here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

const JOB: &str = "DELTALAKEDB_TEST_JOB";

/// A process that runs one job; killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(job: &[&str]) -> Self {
        Self::spawn(Command::new(std::env::current_exe().unwrap()), job, &[])
    }

    /// Starts it through another program, such as one that removes privileges, and with these variables.
    fn spawn(mut through: Command, job: &[&str], env: &[(&str, &str)]) -> Self {
        through
            .args(["--exact", "server::job", "--ignored", "--nocapture"])
            .env(JOB, job.join(" "))
            .envs(env.iter().copied());
        through.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(through.spawn().unwrap())
    }

    /// Its output, line by line, as it is written.
    fn lines(&mut self) -> impl Iterator<Item = String> + use<> {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        lines.map_while(|line| line.ok()).filter_map(|line| line.strip_prefix("> ").map(String::from))
    }

    /// All its output, once it has ended.
    fn wait_for_lines(mut self) -> Vec<String> {
        let mut stderr = self.0.stderr.take().unwrap();
        let errors = std::thread::spawn(move || std::io::read_to_string(&mut stderr).unwrap());
        let said = self.lines().collect();
        let (status, errors) = (self.0.wait().unwrap(), errors.join().unwrap());
        assert!(status.success(), "a process failed: {errors}");
        said
    }
}

/// Writes a line to the parent process, in one write call, so that a killed process wrote all of it or nothing.
fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n> {line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// The job of a separate process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "no test by itself: other tests start it"]
async fn job() {
    let job = std::env::var(JOB).unwrap();
    match job.split(' ').collect::<Vec<_>>()[..] {
        ["append", uri, writer, tasks, commits] => {
            processes::append(uri, writer, tasks.parse().unwrap(), commits.parse().unwrap()).await;
        }
        ["stream", uri, writer] => processes::stream(uri, writer).await,
        ["append", "once", uri, path] => waiting::append_once(uri, path, 1).await,
        ["append", "many", uri, path] => waiting::append_once(uri, path, waiting::MANY).await,
        ["open", uri, create] => refusals::open(uri, create.parse().unwrap()).await,
        ref other => panic!("no such job: {other:?}"),
    }
}

/// A PostgreSQL server of one test; stopped when it is dropped.
struct Server {
    dir: TempDir,
    port: u16,
}

impl Server {
    fn start(settings: &[&str], env: &[(&str, &str)]) -> Self {
        let mut server = Self { dir: tempfile::tempdir().unwrap(), port: 0 };
        server.port = port(&postgres("start", &server.dir, settings, env));
        server
    }

    fn start_again(&self) {
        assert_eq!(port(&postgres("start", &self.dir, &[], &[])), self.port);
    }

    fn kill(&self) {
        postgres("kill", &self.dir, &[], &[]);
    }

    fn stop(&self) {
        postgres("stop", &self.dir, &[], &[]);
    }

    fn uri(&self, schema: &str) -> String {
        format!("deltasql://postgres/postgres/{schema}?host=127.0.0.1&port={}&user=postgres", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !run("stop", &self.dir, &[], &[]).status.success() {
            run("kill", &self.dir, &[], &[]);
        }
    }
}

/// A pooler in front of the server for tests; stopped when it is dropped.
struct Pooler(TempDir);

impl Drop for Pooler {
    fn drop(&mut self) {
        run("stop", &self.0, &[], &[]);
    }
}

/// Runs `scripts/postgres`.
fn run(command: &str, dir: &TempDir, args: &[&str], env: &[(&str, &str)]) -> Output {
    let script = format!("{}/../../scripts/postgres", std::env::var("CARGO_MANIFEST_DIR").unwrap());
    let mut script = Command::new(script);
    script.arg(command).arg(dir.path()).args(args).envs(env.iter().copied()).stdin(Stdio::null()).output().unwrap()
}

fn postgres(command: &str, dir: &TempDir, args: &[&str], env: &[(&str, &str)]) -> String {
    let output = run(command, dir, args, env);
    assert!(output.status.success(), "scripts/postgres {command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn port(said: &str) -> u16 {
    said.trim().parse().unwrap()
}

fn place(uri: &str) -> PostgresBackend {
    let Backend::Postgres(place) = CatalogUri::parse(uri).unwrap().backend else { panic!("{uri} is in no server") };
    place
}

/// The URI of the same catalog with another port, database or user.
fn changed(uri: &str, change: impl FnOnce(&mut PostgresBackend)) -> String {
    let mut place = place(uri);
    change(&mut place);
    CatalogUri { backend: Backend::Postgres(place), table: None }.to_string()
}

/// A connection of the test itself.
async fn pg_connection(uri: &str) -> PgConnection {
    let place = place(uri);
    let options = PgConnectOptions::new_without_pgpass()
        .host(&place.host.unwrap())
        .port(place.port.unwrap())
        .username(&place.user.unwrap())
        .database(&place.database)
        .ssl_mode(PgSslMode::Disable);
    PgConnection::connect_with(&options).await.unwrap()
}

/// Queries the server directly.
async fn ask(uri: &str, sql: &str) -> Vec<PgRow> {
    let mut session = pg_connection(uri).await;
    let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_string())).fetch_all(&mut session).await.unwrap();
    session.close().await.unwrap();
    rows
}

/// A database of one test in the server for tests.
async fn own_database() -> String {
    let name = format!("d_{}", Uuid::new_v4().simple());
    let uri = in_server("public");
    ask(&uri, &format!("CREATE DATABASE {name}")).await;
    changed(&uri, |place| place.database = name)
}

/// Waits until no connection to the database of this catalog is left, and so no lock; a server notices a disconnect
/// soon.
async fn check_nobody_is_left(uri: &str) {
    let database = place(uri).database;
    let elsewhere = in_server("public");
    let left = format!("SELECT pid, state, query FROM pg_stat_activity WHERE datname = '{database}'");
    let began = Instant::now();
    loop {
        let left = ask(&elsewhere, &left).await;
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{} connections are left", left.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn connect(uri: &str) -> SqlCatalog {
    SqlCatalog::connect(&CatalogUri::parse(uri).unwrap(), ConnectOptions::default()).await.unwrap()
}

async fn create(catalog: &dyn Catalog, name: &str) -> TableId {
    let id = TableId(Uuid::new_v4());
    let new = NewTable::new(name.parse().unwrap(), Location::parse(&format!("/nowhere/{name}")).unwrap());
    let actions = vec![Action::Protocol(actions::protocol()), Action::Metadata(actions::metadata("{}"))];
    let request = CommitRequest::new(id, Uuid::new_v4(), Base::Create(new), actions);
    catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    id
}

async fn find(catalog: &dyn Catalog, name: &str) -> TableId {
    catalog.find(&TableRef::Name(name.parse().unwrap())).await.unwrap().unwrap().id
}

/// The append of a file. Its path identifies it: the commit's id is derived from it.
fn append(table: TableId, base: u64, path: &str) -> CommitRequest {
    let operation = Uuid::from_slice(&blake3::hash(path.as_bytes()).as_bytes()[..16]).unwrap();
    let actions = vec![Action::add(actions::file(path, 0, 9))];
    CommitRequest::new(table, operation, Base::RebaseFrom(base), actions)
}

/// The facts read of a version.
#[derive(Clone, Debug)]
struct Seen {
    path: String,
    timestamp: i64,
    group: Option<String>,
    participants: Vec<String>,
}

/// Checks that a table of [`append`]s is consistent: no version is missing, times strictly increase, and the bytes of
/// each version, its history entry, its files and its commit id agree. Returns the versions from 1 on.
async fn whole(catalog: &dyn Catalog, table: TableId) -> Vec<Seen> {
    let reader = catalog.reader(table);
    let head = reader.head().await.unwrap().version;
    let mut history = reader.history(Default::default()).await.unwrap();
    history.reverse();
    assert_eq!(history.iter().map(|c| c.version).collect::<Vec<_>>(), (0..=head).collect::<Vec<_>>(), "a gap");
    assert!(history.windows(2).all(|w| w[0].timestamp < w[1].timestamp), "times strictly increase");
    let bodies: Vec<_> = reader.changes(0, head).await.unwrap().try_collect().await.unwrap();
    assert_eq!(bodies.len(), history.len(), "every version has its bytes");
    let seen: Vec<_> = bodies
        .into_iter()
        .zip(&history)
        .skip(1)
        .map(|((version, body), summary)| {
            assert_eq!(version, summary.version);
            let commit = Commit::parse(body, "a commit").unwrap();
            let added = commit.actions().iter().filter_map(|a| if let Action::Add(add) = a { Some(add) } else { None });
            let [path] = &added.map(|add| add.path.clone()).collect::<Vec<_>>()[..] else { panic!("{commit:?}") };
            assert_eq!(summary.files_added, 1);
            let info = commit.info().unwrap();
            let ours: serde_json::Value = info.0.get("deltalakedb").unwrap();
            assert_eq!(info.0.get::<i64>("timestamp"), Some(summary.timestamp));
            assert_eq!(ours["groupId"].as_str(), summary.group_id.as_deref());
            let participants = ours["participants"].as_array().into_iter().flatten();
            let participants = participants.map(|name| name.as_str().unwrap().to_string()).collect();
            Seen { path: path.clone(), timestamp: summary.timestamp, group: summary.group_id.clone(), participants }
        })
        .collect();
    let ids = seen.iter().map(|s| catalog.find_commit(table, append(table, 0, &s.path).commit_id));
    let found: Vec<_> = futures::stream::iter(ids).buffered(4).try_collect().await.unwrap();
    for ((version, seen), found) in (1..).zip(&seen).zip(found) {
        assert_eq!(
            found,
            Some(Committed { table, version, timestamp: seen.timestamp, leap: None }),
            "by the id of {}",
            seen.path
        );
    }
    let mut want = Vec::new();
    for (version, seen) in (0..).zip(std::iter::once(None).chain(seen.iter().map(Some))) {
        want.extend(seen.map(|s| s.path.clone()));
        // Only the newest ones can be affected.
        if version + 5 > head {
            let files: Vec<_> = reader.files(version, None).await.unwrap().try_collect().await.unwrap();
            let mut paths: Vec<_> = files.into_iter().map(|f| f.path).collect();
            let mut want = want.clone();
            paths.sort();
            want.sort();
            assert_eq!(paths, want, "the files of version {version}");
            want.dedup();
            assert_eq!(paths, want, "nothing is there twice");
        }
    }
    seen
}

/// Transaction pooling: every transaction, and every statement outside one, may get another connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_behind_a_pooler_passes_the_conformance_suite() {
    let server = in_server("public");
    let pooler = Pooler(tempfile::tempdir().unwrap());
    let own = port(&postgres("pgbouncer", &pooler.0, &[&place(&server).port.unwrap().to_string()], &[]));
    let uri = |name: &str| changed(&in_server(name), |place| place.port = Some(own));
    conformance::run(|seed| {
        let uri = uri(&format!("pooled_{seed}"));
        async move { Ok(Arc::new(connect(&uri).await) as Arc<dyn Catalog>) }
    })
    .await;
    conformance::run_with_clock(|seed, clock| {
        let uri = CatalogUri::parse(&uri(&format!("pooled_clock_{seed}"))).unwrap();
        let options = ConnectOptions { clock, server_clock: false, ..ConnectOptions::default() };
        async move { Ok(Arc::new(SqlCatalog::connect(&uri, options).await?) as Arc<dyn Catalog>) }
    })
    .await;
}
