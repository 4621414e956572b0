//! What a question costs in a catalog with a long history: every statement is recorded, its plan is read, and the work it
//! is, counted by the database and not by a clock, is laid beside that of the same question to a small catalog.

use std::fmt::Write as _;
use std::sync::atomic::AtomicI64;

use deltalakedb_log::action::Txn;
use deltalakedb_log::catalog::{HistoryRange, TxnLogReader};
use deltalakedb_log::{CommitId, FileKey, Object, TableRef};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection};

use super::databases::Database as Kind;
use super::*;
use crate::codec::compress;
use crate::database::placeholders;

/// Versions of the long history, and files of which each adds one.
const LONG: i64 = 200_000;
/// Those of the short one.
const SHORT: i64 = 1_200;
/// The files that are live at the end: each is removed so many versions after it came.
const LIVE: i64 = 1_000;
/// Tables beside it that have only commit ids.
const OTHERS: u128 = 4;
const OTHER_IDS: i64 = 50_000;

const T0: i64 = 1_700_000_000_000;

type Statements = Arc<Mutex<Vec<(String, Vec<Value>)>>>;

/// A database that remembers every statement but those that insert rows.
#[derive(Debug)]
struct Recorded {
    inner: Arc<dyn Database>,
    said: Statements,
}

struct RecordedSession {
    inner: Box<dyn Session>,
    said: Statements,
}

impl Recorded {
    fn session(&self, inner: Box<dyn Session>) -> Box<dyn Session> {
        Box::new(RecordedSession { inner, said: self.said.clone() })
    }
}

fn note(said: &Statements, sql: &str, params: &[Value]) {
    said.lock().unwrap().push((sql.to_string(), params.to_vec()));
}

#[async_trait]
impl Database for Recorded {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    async fn read(&self) -> Result<Box<dyn Session>> {
        Ok(self.session(self.inner.read().await?))
    }
    async fn write(&self, heads: &[TableId], first: &str) -> Result<(Box<dyn Session>, Vec<Row>)> {
        if !heads.is_empty() && self.describe().contains("postgres") {
            let sql = format!(
                "SELECT 1 FROM dl_tables WHERE table_id IN ({}) ORDER BY table_id FOR UPDATE",
                placeholders(heads.len())
            );
            note(&self.said, &sql, &heads.iter().map(|id| id.0.into()).collect::<Vec<_>>());
        }
        let (session, rows) = self.inner.write(heads, first).await?;
        Ok((self.session(session), rows))
    }
    async fn note(&self, heads: &[TableId]) -> Result<Box<dyn Session>> {
        Ok(self.session(self.inner.note(heads).await?))
    }
    fn clock(&self) -> Option<&'static str> {
        self.inner.clock()
    }
    async fn stream(&self, sql: String, params: Vec<Value>) -> Result<BoxStream<'static, Result<Row>>> {
        note(&self.said, &sql, &params);
        self.inner.stream(sql, params).await
    }
    async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>> {
        note(&self.said, sql, &params);
        self.inner.query(sql, params).await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
    async fn has_catalog(&self) -> Result<bool> {
        self.inner.has_catalog().await
    }
    async fn migrate(&self) -> Result<Box<dyn Session>> {
        self.inner.migrate().await
    }
    fn migration(&self, sql: &str) -> String {
        self.inner.migration(sql)
    }
    async fn analyze(&self) -> Result<()> {
        self.inner.analyze().await
    }
    fn seeks(&self) -> bool {
        self.inner.seeks()
    }
    fn lock_proves_absence(&self) -> bool {
        self.inner.lock_proves_absence()
    }
}

#[async_trait]
impl Session for RecordedSession {
    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Vec<Row>> {
        note(&self.said, sql, &params);
        self.inner.query(sql, params).await
    }
    fn rows<'s>(&'s mut self, sql: String, params: Vec<Value>) -> BoxStream<'s, Result<Row>> {
        note(&self.said, &sql, &params);
        self.inner.rows(sql, params)
    }
    async fn write(&mut self, writes: Vec<Write>) -> Result<u64> {
        for write in &writes {
            if let Write::Run(sql, params) = write {
                note(&self.said, sql, params);
            }
        }
        self.inner.write(writes).await
    }
    async fn commit(self: Box<Self>) -> Result<(), CommitFailure> {
        self.inner.commit().await
    }
}

/// A catalog with a table of `versions` versions, and others beside it.
struct Filled {
    kind: Kind,
    catalog: SqlCatalog,
    said: Statements,
    table: TableId,
    others: Vec<TableId>,
    newest: AtomicI64,
}

impl Filled {
    async fn new(kind: Kind, dir: &std::path::Path, versions: i64) -> Self {
        let catalog = connect_to(&kind.uri(dir, &format!("costs {versions}")), 1).await.unwrap();
        // The times of the versions are made up, and the server's clock would be ahead of them.
        let catalog = SqlCatalog { server_clock: None, ..catalog };
        let table = create(&catalog).await;
        let mut others = Vec::new();
        for n in 0..OTHERS {
            let id = TableId(Uuid::from_u128(100 + n));
            let name = format!("other{n}");
            let location = Location::parse(&format!("/nowhere/{name}")).unwrap();
            let new = NewTable { name: name.parse().unwrap(), location };
            let actions = vec![Action::Protocol(actions::protocol()), Action::Metadata(actions::metadata("{}"))];
            let request = CommitRequest::new(id, id.0, Base::Create(new), actions);
            catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
            others.push(id);
        }
        fill(kind, &catalog, table, &others, versions).await;
        catalog.db.analyze().await.unwrap();
        let said = Statements::default();
        let db = Arc::new(Recorded { inner: catalog.db.clone(), said: said.clone() });
        let catalog = SqlCatalog { db, ..catalog };
        Self { kind, catalog, said, table, others, newest: AtomicI64::new(versions) }
    }

    fn reader(&self) -> Arc<dyn TxnLogReader> {
        self.catalog.reader(self.table)
    }

    fn newest(&self) -> u64 {
        self.newest.load(Ordering::Relaxed) as u64
    }

    async fn commit(&self, requests: Vec<CommitRequest>) {
        let writes = requests.iter().any(|r| r.table == self.table && r.writes());
        self.catalog.commit_all(requests).await.unwrap().committed().unwrap();
        self.newest.fetch_add(writes.into(), Ordering::Relaxed);
    }
}

/// Rows for `versions` versions: version `n` adds the file `n` and removes the file `n - LIVE`, and an application says
/// how far it has come. By the database itself, in a few statements.
async fn fill(kind: Kind, catalog: &SqlCatalog, table: TableId, others: &[TableId], versions: i64) {
    let series = |n: i64| match kind {
        Kind::Sqlite => format!("WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {n})"),
        Kind::DuckDb | Kind::Postgres => {
            format!("WITH s AS (SELECT generate_series AS n FROM generate_series(1, {n}))")
        }
    };
    let (key, id, bound) = match kind {
        Kind::Sqlite => {
            ("unhex(printf('%032x', n * 7919 % 1000003))", "unhex(printf('%064x', n))", "unhex(printf('80%014x', n))")
        }
        Kind::DuckDb => (
            "unhex(md5(CAST(n AS text)))",
            "unhex(md5(CAST(n AS text)) || md5('x' || CAST(n AS text)))",
            "unhex('80' || lpad(to_hex(n), 14, '0'))",
        ),
        Kind::Postgres => (
            "decode(md5(n::text), 'hex')",
            "decode(md5(n::text) || md5('x' || n::text), 'hex')",
            "decode('80' || lpad(to_hex(n), 14, '0'), 'hex')",
        ),
    };
    let id_of = |table: TableId| Value::from(table.0);
    let json = |text: &str| Value::Blob(text.as_bytes().to_vec());
    let body = "{\"commitInfo\":{\"operation\":\"WRITE\",\"isBlindAppend\":true}}\n";
    let body = Value::Blob(compress(body.as_bytes()).unwrap());
    let mut writes = vec![
        Write::run(
            format!(
                "INSERT INTO dl_table_versions (table_id, version, committed_at, time_source, operation, body, \
                 files_added, files_removed, bytes_added, bytes_removed, set_hash) {} \
                 SELECT ?, n, {T0} + 1000 * n, 'clock', 'WRITE', ?, 1, 1, 10, 10, ? FROM s",
                series(versions)
            ),
            vec![id_of(table), body, Value::Blob(vec![0; 32])],
        ),
        Write::run(
            format!(
                "INSERT INTO dl_commit_ids (table_id, commit_id, version) {} SELECT ?, {id}, n FROM s",
                series(versions)
            ),
            vec![id_of(table)],
        ),
        Write::run(
            format!(
                "INSERT INTO dl_txn_actions (table_id, app_id, version, app_version) {} SELECT ?, ?, n, n FROM s",
                series(versions)
            ),
            vec![id_of(table), json("app")],
        ),
        Write::run(
            format!(
                "INSERT INTO dl_domain_metadata (table_id, domain, version, configuration, removed) {} \
                 SELECT ?, ?, n, ?, 0 FROM s",
                series(versions)
            ),
            vec![id_of(table), json("domain"), json("{}")],
        ),
        Write::run(
            format!(
                "INSERT INTO dl_add_files (table_id, file_key, version, removed_version, path_key, path, size_bytes, \
                 partition_values, stats, num_records, data_change, modification_time, min_0, max_0, class_0, min_1, \
                 max_1, class_1, nulls) {} SELECT ?, {key}, n, CASE WHEN n + {LIVE} <= {versions} THEN n + {LIVE} END, \
                 {key}, 'part-' || CAST(n AS text), 10, ?, ?, 10, 1, 1, ?, ?, 0, {bound}, {bound}, 0, 0 FROM s",
                series(versions)
            ),
            vec![id_of(table), json("{\"day\":\"a\"}"), json("{\"numRecords\":10}"), json("a"), json("a")],
        ),
        Write::run(
            format!(
                "INSERT INTO dl_remove_files (table_id, version, file_key, path, deletion_timestamp, data_change, \
                 size_bytes, remove_json) SELECT table_id, removed_version, file_key, path, \
                 {T0} + 1000 * removed_version, 1, 10, ? FROM dl_add_files \
                 WHERE table_id = ? AND removed_version IS NOT NULL"
            ),
            vec![json("{\"path\":\"p\",\"deletionTimestamp\":1,\"dataChange\":true}"), id_of(table)],
        ),
        Write::run(
            format!(
                "UPDATE dl_tables SET current_version = {versions}, current_ts = {T0} + 1000 * {versions} WHERE table_id = ?"
            ),
            vec![id_of(table)],
        ),
    ];
    for other in others {
        let sql = format!(
            "INSERT INTO dl_commit_ids (table_id, commit_id, version) {} SELECT ?, {id}, n FROM s",
            series(OTHER_IDS.min(versions))
        );
        writes.push(Write::run(sql, vec![id_of(*other)]));
    }
    let (mut session, _) = catalog.db.write(&[], "SELECT 1").await.unwrap();
    for write in writes {
        session.write(vec![write]).await.unwrap();
    }
    session.commit().await.unwrap();
}

/// Everything that is asked, by name.
const QUESTIONS: &[&str] = &[
    "find",
    "head",
    "heads",
    "snapshot",
    "snapshot past",
    "snapshot at a time",
    "files",
    "files a bit past",
    "files of a value",
    "files by age",
    "explain",
    "counts",
    "bounds",
    "files in order",
    "files in order a bit past",
    "tombstones",
    "growth",
    "set hash",
    "history",
    "history between",
    "commit bytes",
    "changes",
    "find commit",
    "append",
    "append with txn",
    "late append",
    "late delete",
    "late read",
    "delete",
    "commit to five",
    "lease",
    "published",
    "failed",
];

async fn ask(f: &Filled, question: &str) {
    let (reader, newest) = (f.reader(), f.newest());
    let at = |version: u64| T0 + 1000 * version as i64;
    let is = |n: u64| Predicate::Compare("id".into(), Comparison::Eq, Literal::Long(n as i64));
    let count = async |version, predicate: Option<Predicate>| {
        let files: Vec<_> = reader.files(version, predicate.as_ref()).await.unwrap().try_collect().await.unwrap();
        files.len()
    };
    let path = |what: &str| format!("{what} {newest}").replace(' ', "-");
    let add = |what: &str, base: u64| append(f.table, base, &path(what));
    match question {
        "find" => assert!(f.catalog.find(&TableRef::Name("t".parse().unwrap())).await.unwrap().is_some()),
        "head" => assert_eq!(reader.head().await.unwrap().version, newest),
        "heads" => assert_eq!(f.catalog.begin(&[&[f.table], &f.others[..]].concat()).await.unwrap().len(), 5),
        "snapshot" => assert_eq!(reader.snapshot(At::Latest).await.unwrap().txns["app"].version, newest as i64),
        "snapshot past" => {
            let past = reader.snapshot(At::Version(newest / 2)).await.unwrap();
            assert_eq!(past.txns["app"].version as u64, newest / 2);
        }
        "snapshot at a time" => {
            let past = reader.snapshot(At::Timestamp(at(newest / 2) + 5)).await.unwrap();
            assert_eq!(past.version(), newest / 2);
        }
        "files" => assert_eq!(count(newest, None).await, LIVE as usize),
        "files a bit past" => assert_eq!(count(newest - 5, None).await, LIVE as usize),
        "files of a value" => assert_eq!(count(newest, Some(is(newest))).await, 1),
        "files by age" => {
            assert_eq!(reader.files_by_age(newest, Some(&is(newest))).await.unwrap()[0].path, format!("part-{newest}"));
        }
        "explain" => assert_eq!(reader.explain(newest, &is(newest)).await.unwrap().kept, 1),
        "counts" => {
            let counts = reader.counts(newest).await.unwrap();
            assert_eq!((counts.files, counts.bytes, counts.rows), (1000, 10_000, Some(10_000)));
        }
        "bounds" => {
            let bounds = reader.min_max(newest, "id").await.unwrap().unwrap();
            assert_eq!(bounds, (Literal::Long(newest as i64 - LIVE + 1), Literal::Long(newest as i64)));
        }
        "files in order" | "files in order a bit past" => {
            let version = if question.ends_with("past") { newest - 5 } else { newest };
            let files: Vec<_> = reader.files_in_order(version).await.unwrap().try_collect().await.unwrap();
            assert_eq!(files.len(), LIVE as usize);
        }
        "tombstones" => {
            let since = at(newest - 50);
            let removes: Vec<_> = reader.tombstones(newest, since).await.unwrap().try_collect().await.unwrap();
            assert_eq!(removes.len(), 50);
        }
        "growth" => assert_eq!(reader.growth(newest - 10, newest).await.unwrap().files, 0),
        "set hash" => drop(reader.set_hash(newest).await.unwrap()),
        "history" => {
            let range = HistoryRange { limit: Some(2), ..HistoryRange::default() };
            assert_eq!(reader.history(range).await.unwrap().len(), 2);
        }
        "history between" => {
            let range = HistoryRange { limit: Some(9), since: Some(at(newest / 2)), until: Some(at(newest / 2 + 2)) };
            let versions: Vec<_> = reader.history(range).await.unwrap().iter().map(|c| c.version).collect();
            assert_eq!(versions, [newest / 2 + 2, newest / 2 + 1, newest / 2]);
        }
        "commit bytes" => assert!(reader.commit_bytes(newest).await.unwrap().is_some()),
        "changes" => {
            let changes = reader.changes(newest - 9, newest).await.unwrap();
            assert_eq!(changes.try_collect::<Vec<_>>().await.unwrap().len(), 10);
        }
        "find commit" => assert!(f.catalog.find_commit(f.table, CommitId([7; 32])).await.unwrap().is_none()),
        "append" => f.commit(vec![add(question, newest)]).await,
        "append with txn" => {
            let mut request = add(question, newest);
            request.reads.app_ids.push("other".into());
            let txn = Txn { app_id: "other".into(), version: 1, last_updated: None, extra: Object::default() };
            request.actions.push(Action::Txn(txn));
            f.commit(vec![request]).await;
        }
        // Five hundred commits are in between.
        "late append" => f.commit(vec![add(question, newest - 500)]).await,
        "delete" | "late delete" => {
            let file = actions::file(&path(question), 1, 1);
            f.commit(vec![append(f.table, newest, &file.path)]).await;
            let remove = deltalakedb_log::action::Remove::of(&actions::file(&file.path, 0, 9), 1, true);
            let base = if question == "delete" { newest + 1 } else { newest - 500 };
            let actions = vec![Action::Remove(remove)];
            let mut request =
                CommitRequest::new(f.table, Uuid::from_u128(newest.into()), Base::RebaseFrom(base), actions);
            request.reads.files = vec![FileKey::new(&file.path, None)];
            f.said.lock().unwrap().clear();
            f.commit(vec![request]).await;
        }
        "late read" => {
            let mut request = add(question, newest - 5);
            request.reads.predicates = vec![is(1 << 40)];
            f.commit(vec![request]).await;
        }
        "commit to five" => {
            let version = f.catalog.reader(f.others[0]).head().await.unwrap().version;
            f.said.lock().unwrap().clear();
            let others = f.others.iter().map(|other| append(*other, version, "x"));
            f.commit(others.chain([add(question, newest)]).collect()).await;
        }
        "lease" => {
            let lease = f.catalog.acquire_lease(f.table, Uuid::from_u128(5), T0, T0 + 1).await.unwrap().unwrap();
            f.catalog.mark_published(&lease, 5).await.unwrap();
            f.catalog.release_lease(&lease).await.unwrap();
        }
        "published" => drop(f.catalog.mark_next_published(f.table, 6, 6).await.unwrap()),
        "failed" => {
            f.catalog.mark_failed(f.table, 7, Artifact::Checkpoint, "why", T0).await.unwrap();
            f.catalog.mirror_failures(f.table).await.unwrap();
            f.catalog.mark_checkpointed(f.table, 8).await.unwrap();
        }
        other => panic!("nobody asks {other}"),
    }
}

/// The statements of each question.
async fn ask_all(f: &Filled) -> Vec<(&'static str, Vec<(String, Vec<Value>)>)> {
    let mut asked = Vec::new();
    for question in QUESTIONS {
        f.said.lock().unwrap().clear();
        ask(f, question).await;
        asked.push((*question, std::mem::take(&mut *f.said.lock().unwrap())));
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn no_question_costs_more_for_the_length_of_history() {
    for kind in databases("planning") {
        let dir = tempfile::tempdir().unwrap();
        let long = Filled::new(*kind, dir.path(), LONG).await;
        let short = Filled::new(*kind, dir.path(), SHORT).await;
        let (of_long, of_short) = (ask_all(&long).await, ask_all(&short).await);
        let mut wrong = String::new();
        for ((question, long_said), (_, short_said)) in of_long.iter().zip(&of_short) {
            let mut work = [0, 0];
            for (sql, params) in long_said {
                for fault in faults(&long, question, sql, params).await {
                    let _ = writeln!(wrong, "{kind:?}, {question}: {fault}\n    in {sql}");
                }
                work[0] += work_of(&long, sql, params).await;
            }
            for (sql, params) in short_said {
                work[1] += work_of(&short, sql, params).await;
            }
            if work[0] > 2 * work[1] + allowance(*kind) && !is_up_to_estimates(*kind, question) {
                let _ = writeln!(wrong, "{kind:?}, {question}: work of {} instead of {}", work[0], work[1]);
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
        long.catalog.close().await;
        short.catalog.close().await;
    }
}

/// Questions for which PostgreSQL chooses between the pages of two indexes by estimates: the work is not compared there.
fn is_up_to_estimates(kind: Kind, question: &str) -> bool {
    let questions = ["files in order", "files in order a bit past", "tombstones", "late delete"];
    matches!(kind, Kind::Postgres) && questions.contains(&question)
}

/// The heights of indexes differ.
fn allowance(kind: Kind) -> u64 {
    match kind {
        Kind::Sqlite => 500,
        Kind::Postgres | Kind::DuckDb => 40,
    }
}

/// What of a plan depends on history.
async fn faults(f: &Filled, question: &str, sql: &str, params: &[Value]) -> Vec<String> {
    let explain = match f.kind {
        Kind::Sqlite => format!("EXPLAIN QUERY PLAN {sql}"),
        Kind::Postgres | Kind::DuckDb => format!("EXPLAIN {sql}"),
    };
    let inner = f.catalog.db.query(&explain, params.to_vec()).await;
    f.said.lock().unwrap().clear();
    let text = |row: Row| row.0.filter_map(|v| if let Value::Text(t) = v { Some(t) } else { None }).next_back();
    let lines: Vec<_> = inner.unwrap().into_iter().filter_map(text).collect();
    match f.kind {
        Kind::Sqlite => lines.into_iter().filter(|line| is_wrong_in_sqlite(question, line)).collect(),
        Kind::Postgres => wrong_in_postgres(&lines),
        // It scans columns, and shows nothing of how much of them it skips: only that it is told what to skip.
        Kind::DuckDb => Vec::new(),
    }
}

/// Questions whose answer is the first of all live files in some order, which no index has.
fn sorts_live_files(question: &str) -> bool {
    matches!(question, "bounds" | "files in order" | "files in order a bit past")
}

fn is_wrong_in_sqlite(question: &str, line: &str) -> bool {
    // Tables that statements make for themselves, of a few rows.
    let own = ["own", "classes", "keys", "changed", "files", "CONSTANT ROW", "(subquery", "5 CONSTANT", "1 CONSTANT"];
    let scans = line.strip_prefix("SCAN ").is_some_and(|what| !own.iter().any(|own| what.starts_with(own)));
    // A table has at most eight slots, and few versions whose publishing failed.
    let is_small = line.starts_with("SEARCH b ") || line.starts_with("SEARCH dl_mirror_status");
    let by_prefix = line.starts_with("SEARCH") && line.ends_with("(table_id=?)") && !is_small;
    let by_prefix = by_prefix && !line.contains(" t ") && !line.contains("dl_tables") && !line.contains("lease");
    scans || by_prefix || (line.contains("USE TEMP B-TREE") && !sorts_live_files(question))
}

fn wrong_in_postgres(lines: &[String]) -> Vec<String> {
    const HISTORY: &[&str] = &[
        "dl_table_versions",
        "dl_commit_ids",
        "dl_add_files",
        "dl_remove_files",
        "dl_txn_actions",
        "dl_domain_metadata",
    ];
    // Which index it takes, and whether it sorts a few rows, it decides by estimates that differ from run to run.
    let scans = |line: &&String| line.contains("Seq Scan on") && HISTORY.iter().any(|table| line.contains(table));
    lines.iter().filter(scans).cloned().collect()
}

/// How much work a statement is: instructions of SQLite's machine in hundreds, pages of PostgreSQL. DuckDB does not say.
async fn work_of(f: &Filled, sql: &str, params: &[Value]) -> u64 {
    match f.kind {
        Kind::Sqlite => {
            let path = f.catalog.describe();
            let path = path.strip_prefix("deltasql://sqlite/").unwrap().replace("%20", " ");
            let mut client = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path)).await.unwrap();
            let steps = Arc::new(AtomicU64::new(0));
            let counted = steps.clone();
            let count = move || counted.fetch_add(1, Ordering::Relaxed) < u64::MAX;
            client.lock_handle().await.unwrap().set_progress_handler(10, count);
            let mut tx = client.begin().await.unwrap();
            let query = params.iter().cloned().fold(sqlx::query(AssertSqlSafe(sql)), |q, v| match v {
                Value::Null => q.bind(None::<i64>),
                Value::Int(v) => q.bind(v),
                Value::Text(v) => q.bind(v),
                Value::Blob(v) => q.bind(v),
            });
            query.fetch_all(&mut *tx).await.unwrap();
            tx.rollback().await.unwrap();
            steps.load(Ordering::Relaxed)
        }
        Kind::Postgres => {
            let (mut session, _) = f.catalog.db.write(&[], "SELECT 1").await.unwrap();
            let lines = session.query(&format!("EXPLAIN (ANALYZE, BUFFERS) {sql}"), params.to_vec()).await.unwrap();
            // What is nothing is not said. The first line is that of the whole.
            let lines = lines.into_iter().map(|mut row| row.text().unwrap());
            let buffers = lines.take_while(|line| !line.starts_with("Planning")).find(|line| line.contains("Buffers:"));
            let pages = buffers.unwrap_or_default();
            pages.split(['=', ' ']).filter_map(|n| n.parse::<u64>().ok()).sum()
        }
        Kind::DuckDb => 0,
    }
}

/// Whoever takes commits may wait for an object store between them.
#[tokio::test(flavor = "multi_thread")]
async fn who_takes_commits_slowly_keeps_no_transaction_open() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let dir = tempfile::tempdir().unwrap();
        let f = Filled::new(kind, dir.path(), SHORT).await;
        let mut changes = f.reader().changes(1, f.newest()).await.unwrap();
        assert_eq!(changes.try_next().await.unwrap().unwrap().0, 1);
        let open = match kind {
            Kind::Postgres => {
                let schema = f.catalog.describe().split(['/', '?']).nth(4).unwrap().to_string();
                format!(
                    "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state <> 'idle' \
                     AND query LIKE '%{schema}%'"
                )
            }
            // The first column: whether somebody's transaction was in the way.
            _ => "PRAGMA wal_checkpoint(TRUNCATE)".into(),
        };
        let mut rows = f.catalog.db.query(&open, vec![]).await.unwrap();
        assert_eq!(rows[0].int().unwrap(), 0, "{kind:?}");
        assert_eq!(changes.try_collect::<Vec<_>>().await.unwrap().len() as u64, f.newest() - 1);
        f.catalog.close().await;
    }
}
