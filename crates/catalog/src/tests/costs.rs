//! The cost of queries in a catalog with a long history: every statement is recorded, its plan is read, and its work,
//! counted by the database and not by a clock, is compared with that of the same query in a small catalog.

use std::fmt::Write as _;
use std::sync::atomic::AtomicI64;

use deltalakedb_log::action::Txn;
use deltalakedb_log::commit::Content;
use deltalakedb_log::{
    Artifact, CatalogNamespaces, CommitId, FileKey, HistoryRange, MirrorProgress, Object, TableRef, TableReferences,
    TxnLogReader, TxnLogReaderExt, VersionHolds,
};

use super::databases::Database as Kind;
use super::recorded::Statement;
use super::work::Work;
use super::*;
use crate::codec::compress;

/// Versions of the short history, each of which adds one file.
const SHORT: i64 = 1_200;
/// Versions of a history long enough for a server to use its indexes.
const MIDDLE: i64 = 20_000;

/// Versions of the long history.
fn long() -> i64 {
    if is_soak() { 1_000_000 } else { 200_000 }
}

/// Additional live files of a table that has many.
fn many_files() -> i64 {
    if is_soak() { 10_000_000 } else { 100_000 }
}

fn is_soak() -> bool {
    std::env::var("DELTALAKEDB_SOAK").as_deref() == Ok("1")
}
/// The number of live files at the end: each is removed this many versions after it was added.
const LIVE: i64 = 1_000;
/// How many commits the base of a late writer is behind the head.
const BEHIND: u64 = 500;
/// Additional tables that have only commit ids.
const OTHERS: u128 = 4;
const OTHER_IDS: i64 = 50_000;

const T0: i64 = 1_700_000_000_000;

/// A catalog with a table of `versions` versions, and others.
struct Filled {
    catalog: SqlCatalog,
    record: Record,
    table: TableId,
    others: Vec<TableId>,
    newest: AtomicI64,
}

impl Filled {
    async fn new(kind: Kind, dir: &std::path::Path, versions: i64, files: i64) -> Self {
        let mut catalog = connect_to(&kind.uri(dir, &format!("costs {versions} {files}")), 1).await.unwrap();
        // The times of the versions are artificial, and the server's clock would be ahead of them.
        catalog.server_clock = None;
        let table = create(&catalog).await;
        let mut others = Vec::new();
        for n in 0..OTHERS {
            let id = TableId(Uuid::from_u128(100 + n));
            let name = format!("other{n}");
            let location = Location::parse(&format!("/nowhere/{name}")).unwrap();
            let new = NewTable::new(name.parse().unwrap(), location);
            let actions = vec![Action::Protocol(actions::protocol()), Action::Metadata(actions::metadata("{}"))];
            let request = CommitRequest::new(id, id.0, Base::Create(new), actions);
            catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
            others.push(id);
        }
        fill(kind, &catalog, table, &others, versions).await;
        if files > 0 {
            fill_files(kind, &catalog, table, files).await;
        }
        catalog.db.analyze().await.unwrap();
        let record = Record::default();
        Self { catalog: record.of(catalog), record, table, others, newest: AtomicI64::new(versions) }
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

/// The numbers from 1 on, as the table `s` with the column `n`.
pub(super) fn series(kind: Kind, n: i64) -> String {
    match kind {
        Kind::Sqlite => format!("WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {n})"),
        Kind::DuckDb | Kind::Postgres => {
            format!("WITH s AS (SELECT generate_series AS n FROM generate_series(1, {n}))")
        }
    }
}

/// Inserts the rows for `versions` versions: version `n` adds the file `n`, removes the file `n - LIVE` and sets the
/// txn of an application. The database generates them, in a few statements.
async fn fill(kind: Kind, catalog: &SqlCatalog, table: TableId, others: &[TableId], versions: i64) {
    let series = |n: i64| series(kind, n);
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
    let body = compress(body.as_bytes()).unwrap();
    let mut writes = vec![
        WriteStatement::run(
            format!(
                "INSERT INTO dl_table_versions (table_id, version, committed_at, time_source, operation, body_bytes, \
                 files_added, files_removed, bytes_added, bytes_removed, set_hash) {} \
                 SELECT ?, n, {T0} + 1000 * n, 'clock', 'WRITE', {}, 1, 1, 10, 10, ? FROM s",
                series(versions),
                body.len()
            ),
            vec![id_of(table), Value::Blob(vec![0; 32])],
        ),
        WriteStatement::run(
            format!(
                "INSERT INTO dl_commit_bodies (table_id, version, body) {} SELECT ?, n, ? FROM s",
                series(versions)
            ),
            vec![id_of(table), Value::Blob(body)],
        ),
        WriteStatement::run(
            format!(
                "INSERT INTO dl_commit_ids (table_id, commit_id, version, committed_at) {} SELECT ?, {id}, n, {T0} + 1000 * n FROM s",
                series(versions)
            ),
            vec![id_of(table)],
        ),
        WriteStatement::run(
            format!(
                "INSERT INTO dl_txn_actions (table_id, app_id, version, app_version) {} SELECT ?, ?, n, n FROM s",
                series(versions)
            ),
            vec![id_of(table), json("app")],
        ),
        WriteStatement::run(
            format!(
                "INSERT INTO dl_domain_metadata (table_id, domain, version, configuration, removed) {} \
                 SELECT ?, ?, n, ?, 0 FROM s",
                series(versions)
            ),
            vec![id_of(table), json("domain"), json("{}")],
        ),
        WriteStatement::run(
            format!(
                "INSERT INTO dl_add_files (table_id, file_key, version, removed_version, path_key, path, size_bytes, \
                 partition_values, stats, num_records, data_change, modification_time, min_0, max_0, spread_0, min_1, \
                 max_1, spread_1, slot_flags) {} SELECT ?, {key}, n, CASE WHEN n + {LIVE} <= {versions} THEN n + {LIVE} END, \
                 {key}, 'part-' || CAST(n AS text), 10, ?, ?, 10, 1, 1, ?, ?, 0, {bound}, {bound}, 0, 0 FROM s",
                series(versions)
            ),
            vec![id_of(table), json("{\"day\":\"a\"}"), json("{\"numRecords\":10}"), json("a"), json("a")],
        ),
        WriteStatement::run(
            format!(
                "INSERT INTO dl_remove_files (table_id, version, file_key, path, deletion_timestamp, data_change, \
                 size_bytes, remove_json) SELECT table_id, removed_version, file_key, path, \
                 {T0} + 1000 * removed_version, 1, 10, ? FROM dl_add_files \
                 WHERE table_id = ? AND removed_version IS NOT NULL"
            ),
            vec![json("{\"path\":\"p\",\"deletionTimestamp\":1,\"dataChange\":true}"), id_of(table)],
        ),
        WriteStatement::run(
            format!(
                "UPDATE dl_tables SET current_version = {versions}, current_ts = {T0} + 1000 * {versions} WHERE table_id = ?"
            ),
            vec![id_of(table)],
        ),
    ];
    // Holds that have ended, and folders outside the table's own, of another table.
    let holds = format!(
        "INSERT INTO dl_holds (hold_id, table_id, version, held_until, holder) {} SELECT {key}, ?, 0, n, 'bob' FROM s",
        series(versions)
    );
    writes.push(WriteStatement::run(holds, vec![id_of(others[0])]));
    let folders = format!(
        "INSERT INTO dl_references (table_id, folder) {} SELECT ?, 'file:///far/' || CAST(n AS text) || '/' FROM s",
        series(versions)
    );
    writes.push(WriteStatement::run(folders, vec![id_of(others[0])]));
    for other in others {
        let sql = format!(
            "INSERT INTO dl_commit_ids (table_id, commit_id, version, committed_at) {} SELECT ?, {id}, n, {T0} + 1000 * n FROM s",
            series(OTHER_IDS.min(versions))
        );
        writes.push(WriteStatement::run(sql, vec![id_of(*other)]));
    }
    let (mut tx, _) = catalog.db.write(&[], "SELECT 1").await.unwrap();
    for write in writes {
        tx.write(vec![write]).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// Inserts rows for live files added by the first version, with values of `id` that no other file has.
async fn fill_files(kind: Kind, catalog: &SqlCatalog, table: TableId, files: i64) {
    let key = match kind {
        Kind::Sqlite => "unhex(printf('%032x', n * 7919 + (1 << 41)))",
        Kind::DuckDb => "unhex(md5('old ' || CAST(n AS text)))",
        Kind::Postgres => "decode(md5('old ' || n::text), 'hex')",
    };
    let bound = match kind {
        Kind::Sqlite => "unhex(printf('80%014x', n + (1 << 41)))",
        Kind::DuckDb => "unhex('80' || lpad(to_hex(n + (1::bigint << 41)), 14, '0'))",
        Kind::Postgres => "decode('80' || lpad(to_hex(n + (1::bigint << 41)), 14, '0'), 'hex')",
    };
    let sql = format!(
        "INSERT INTO dl_add_files (table_id, file_key, version, path_key, path, size_bytes, partition_values, stats, \
         num_records, data_change, modification_time, min_0, max_0, spread_0, min_1, max_1, spread_1, slot_flags) {} \
         SELECT ?, {key}, 0, {key}, 'old-' || CAST(n AS text), 10, ?, ?, 10, 1, 1, ?, ?, 0, {bound}, {bound}, 0, 0 FROM s",
        series(kind, files)
    );
    let json = |text: &str| Value::Blob(text.as_bytes().to_vec());
    let params = vec![table.0.into(), json("{\"day\":\"a\"}"), json("{\"numRecords\":10}"), json("a"), json("a")];
    let (mut tx, _) = catalog.db.write(&[], "SELECT 1").await.unwrap();
    tx.write(vec![WriteStatement::run(sql, params)]).await.unwrap();
    tx.commit().await.unwrap();
}

/// Queries that do not scan all live files.
const OF_FEW_FILES: &[&str] = &[
    "find",
    "point",
    "head",
    "heads",
    "snapshot",
    "snapshot past",
    "files of a value",
    "files by age",
    "explain",
    "tombstones",
    "growth",
    "set hash",
    "history",
    "commit bytes",
    "changes",
    "find commit",
    "append",
    "append with txn",
    "append and delete of many",
    "late append",
    "delete",
    "late read",
    "commit to five",
    "commits to many",
    "live keys",
    "lease",
    "published",
    "copy",
    "expire a slice",
];

/// All queries, by name.
const QUESTIONS: &[&str] = &[
    "find",
    "point",
    "find at a point",
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
    "append and delete of many",
    "late append",
    "late delete",
    "late read",
    "delete",
    "commit to five",
    "commits to many",
    "live keys",
    "lease",
    "published",
    "failed",
    "behind",
    "hold",
    "append of a clone",
    "namespaces",
    "copy",
    "expire a slice",
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
        "point" => drop(f.catalog.point().await.unwrap()),
        "find at a point" => {
            let point = f.catalog.point().await.unwrap();
            let entry = f.catalog.find_at(&TableRef::Id(f.table), &point).await.unwrap();
            assert_eq!(entry.map(|entry| entry.current_version), Some(newest));
        }
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
            assert_eq!(
                reader.files_in_replay_order(newest, Some(&is(newest))).await.unwrap()[0].path,
                format!("part-{newest}")
            );
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
            let files: Vec<_> = reader.files_by_key(version).await.unwrap().try_collect().await.unwrap();
            assert_eq!(files.len(), LIVE as usize);
        }
        "tombstones" => {
            let since = at(newest - 50);
            let removes: Vec<_> = reader.tombstones(newest, since).await.unwrap().try_collect().await.unwrap();
            assert_eq!(removes.len(), 50);
        }
        "growth" => assert_eq!(reader.size_delta(newest - 10, newest).await.unwrap().files, 0),
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
            request.content = Content::Actions([request.actions(), &[Action::Txn(txn)]].concat());
            f.commit(vec![request]).await;
        }
        // More than one statement looks up.
        "append and delete of many" => {
            let files = Vec::from_iter((0..1200).map(|n| actions::file(&path(&format!("many {n}")), 1, 1)));
            let remove = |file| Action::Remove(deltalakedb_log::action::Remove::of(file, 1, true));
            let (adds, removes) =
                (files.iter().cloned().map(Action::add).collect(), files.iter().map(remove).collect());
            for (base, actions) in [(newest, adds), (newest + 1, removes)] {
                let id = Uuid::from_u128(base.into());
                f.commit(vec![CommitRequest::new(f.table, id, Base::RebaseFrom(base), actions)]).await;
            }
        }
        "late append" => f.commit(vec![add(question, newest - BEHIND)]).await,
        "delete" | "late delete" => {
            let file = actions::file(&path(question), 1, 1);
            f.commit(vec![append(f.table, newest, &file.path)]).await;
            let remove = deltalakedb_log::action::Remove::of(&actions::file(&file.path, 0, 9), 1, true);
            let base = if question == "delete" { newest + 1 } else { newest - BEHIND };
            let actions = vec![Action::Remove(remove)];
            let mut request =
                CommitRequest::new(f.table, Uuid::from_u128(newest.into()), Base::RebaseFrom(base), actions);
            request.reads.files = vec![FileKey::new(&file.path, None)];
            f.record.statements();
            f.commit(vec![request]).await;
        }
        "late read" => {
            let mut request = add(question, newest - 5);
            request.reads.predicates = vec![is(1 << 40)];
            f.commit(vec![request]).await;
        }
        "commit to five" => {
            let version = f.catalog.reader(f.others[0]).head().await.unwrap().version;
            f.record.statements();
            let others = f.others.iter().map(|other| append(*other, version, "x"));
            f.commit(others.chain([add(question, newest)]).collect()).await;
        }
        "commits to many" => {
            let to = |n: u128| append(TableId(Uuid::from_u128(1000 + n % 300)), 0, &n.to_string());
            let requests = Vec::from_iter((0..600).map(to));
            let mut tx = f.catalog.db.read().await.unwrap();
            let known = crate::locked::head::committed(tx.as_mut(), &Vec::from_iter(&requests)).await.unwrap();
            assert!(known.is_empty());
        }
        "live keys" => {
            let mut tx = f.catalog.db.read().await.unwrap();
            let keys: Vec<_> = (0..100_u128).map(|n| FileKey(n.to_be_bytes())).collect();
            crate::version_rows::live_keys(tx.as_mut(), f.table, &keys).await.unwrap();
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
        "behind" => {
            let behind = f.catalog.tables_behind(None).await.unwrap();
            let entry = behind.iter().find(|behind| behind.table.id == f.table).unwrap();
            assert_eq!(entry.since_ms, at(entry.table.oldest_unpublished().unwrap()));
        }
        "hold" => {
            let until = T0 + 1000 * (1 << 40);
            let hold = f.catalog.hold(f.table, newest - 5, until, "ann").await.unwrap();
            f.catalog.renew_hold(&hold, until + 1).await.unwrap();
            assert_eq!(f.catalog.oldest_held(f.table).await.unwrap(), Some(newest - 5));
            f.catalog.release_hold(&hold).await.unwrap();
            f.catalog.remove_ended_holds(f.others[0]).await.unwrap();
        }
        "append of a clone" => {
            f.commit(vec![append(f.table, newest, &format!("/elsewhere/{newest}/x.parquet"))]).await;
            let place = Location::parse("/elsewhere").unwrap();
            assert_eq!(f.catalog.referring_tables(&place).await.unwrap().len(), 1);
        }
        "namespaces" => {
            f.catalog.create_namespace("busy", None).await.unwrap();
            assert_eq!(f.catalog.namespaces_after(Some("d"), 1).await.unwrap(), ["default"]);
            f.catalog.drop_namespace("busy", None).await.unwrap();
        }
        // The newest batch of many.
        "copy" => {
            let mut tx = f.catalog.db.read().await.unwrap();
            let (id, newest) = (Value::from(f.table.0), newest as i64);
            assert_eq!(copy::next_batch(tx.as_mut(), f.table, newest - 10).await.unwrap(), Some(newest));
            let batch = vec![id.clone(), (newest - 10).into(), newest.into()];
            for (table, columns) in table_rows::of_versions() {
                tx.query(&copy::rows_of(table, &columns), batch.clone()).await.unwrap();
            }
            let batch = vec![id, (newest - 10).into(), (newest - 10).into(), newest.into()];
            tx.query(copy::REMOVED_FILES, batch).await.unwrap();
        }
        // Ten of many versions; the transaction is rolled back.
        "expire a slice" => {
            let (mut tx, _) = f.catalog.db.write(&[f.table], "SELECT 1").await.unwrap();
            let base = LIVE.unsigned_abs();
            let next = expiry::step(tx.as_mut(), f.table, (base, base + 10)).await.unwrap();
            assert_eq!(next, base + 10);
            tx.write(vec![expiry::end_files(f.table, next)]).await.unwrap();
            tx.write(expiry::delete_expired(f.table, (base, next))).await.unwrap();
            expiry::delete_commit_ids(tx.as_mut(), f.table, next, i64::MAX).await.unwrap();
        }
        other => panic!("nobody asks {other}"),
    }
}

/// The statements of each query.
async fn ask_all(f: &Filled, questions: &[&'static str]) -> Vec<(&'static str, Vec<Statement>)> {
    let mut asked = Vec::new();
    for question in questions {
        f.record.statements();
        ask(f, question).await;
        asked.push((*question, f.record.statements()));
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn query_cost_does_not_grow_with_the_length_of_history() {
    for kind in databases("planning") {
        compare(*kind, QUESTIONS, [(SHORT, 0), (long(), 0)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn query_cost_of_few_files_does_not_grow_with_the_number_of_files() {
    for kind in databases("planning") {
        compare(*kind, OF_FEW_FILES, [(MIDDLE, 100), (MIDDLE, many_files())]).await;
    }
}

/// A statement without most of the rows that it inserts.
fn abbreviated(statement: &Statement) -> String {
    statement.sql.replace("(?, ?), ", "").replace("?, ", "")
}

/// Runs the same queries on a small and a large table, given as versions and files.
async fn compare(kind: Kind, questions: &[&'static str], [small, large]: [(i64, i64); 2]) {
    let dir = tempfile::tempdir().unwrap();
    let large_table = Filled::new(kind, dir.path(), large.0, large.1).await;
    let small_table = Filled::new(kind, dir.path(), small.0, small.1).await;
    let (of_large, of_small) = (ask_all(&large_table, questions).await, ask_all(&small_table, questions).await);
    let times = (large.0 / small.0).max(large.1 / small.1.max(1));
    let mut wrong = String::new();
    for ((question, large_said), (_, small_said)) in of_large.iter().zip(&of_small) {
        let (mut of_large, mut of_small) = (0, 0);
        for statement in large_said {
            let work = Work::of(kind, &large_table.catalog, statement, false).await;
            of_large += work.amount;
            let sorts = work.sorts.into_iter().filter(|_| !sorts_live_files(question));
            for fault in work.faults.into_iter().chain(sorts) {
                let _ = writeln!(wrong, "{kind:?}, {question}: {fault}\n    in {}", abbreviated(statement));
            }
        }
        for statement in small_said {
            of_small += Work::of(kind, &small_table.catalog, statement, true).await.amount;
        }
        let limit = 2 * longer(kind, times) * of_small + allowance(kind) + one_by_one(kind, question);
        if of_large > limit {
            let _ = writeln!(wrong, "{kind:?}, {question}: work of {of_large} instead of {of_small}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    large_table.catalog.close().await;
    small_table.catalog.close().await;
}

/// The allowed factor of additional work for a table that is `times` larger. DuckDB finds rows by scanning columns: it
/// skips row groups by their statistics and scans the rest, but at most once.
pub(super) fn longer(kind: Kind, times: i64) -> u64 {
    match kind {
        Kind::Sqlite | Kind::Postgres => 1,
        Kind::DuckDb => times.unsigned_abs(),
    }
}

/// The allowed cost of a query besides the rows that it reads one by one, for any length of history: a server scans a
/// table of a few pages. A commit is found through two indexes of three levels, and then its row is read. Live files in
/// the order of their keys are on one page each.
fn one_by_one(kind: Kind, question: &str) -> u64 {
    match (kind, question) {
        (Kind::Postgres, "late delete") => 8 * BEHIND,
        (Kind::Postgres, "files in order" | "files in order a bit past") => LIVE.unsigned_abs(),
        _ => 0,
    }
}

/// The heights of indexes differ.
pub(super) fn allowance(kind: Kind) -> u64 {
    match kind {
        Kind::Sqlite => 500,
        Kind::Postgres | Kind::DuckDb => 40,
    }
}

/// Queries for the first of all live files in some order without an index.
fn sorts_live_files(question: &str) -> bool {
    matches!(question, "bounds" | "files in order" | "files in order a bit past")
}

/// A consumer of commits may wait for an object store between them.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_commits_keeps_no_transaction_open() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let dir = tempfile::tempdir().unwrap();
        let f = Filled::new(kind, dir.path(), SHORT, 0).await;
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
            // The first column: whether another transaction blocked it.
            _ => "PRAGMA wal_checkpoint(TRUNCATE)".into(),
        };
        let mut rows = f.catalog.db.query(&open, vec![]).await.unwrap();
        assert_eq!(rows[0].int().unwrap(), 0, "{kind:?}");
        assert_eq!(changes.try_collect::<Vec<_>>().await.unwrap().len() as u64, f.newest() - 1);
        f.catalog.close().await;
    }
}
