//! Concurrent transfers of money between accounts in four tables: no money is lost, no reader sees half a transfer, and
//! the recorded history has no anomaly that the isolation level forbids.
//!
//! A row has an account, its balance, and the ids of its transfers in order: that is the list that
//! [`deltalakedb_tests::history`] checks. Some transfers only read a further account, some append a row instead of
//! changing one, some write an account twice, some are rolled back.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{At, Catalog, SystemClock, TableRef, TxnLogTransactionError as E};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::{
    DeltaTable, SaveMode, Scan, Transaction, TransactionOptions, TransactionResult, WriteOptions, create_with_data,
    plain,
};
use deltalakedb_tests::history::{Anomaly, End, Op, Recorded, check};
use deltalakedb_tests::{Database, catalog, databases, location, soak};
use fastrand::Rng;
use futures::TryStreamExt;
use futures::future::{join_all, try_join_all};
use serde_json::{Value, json};

const TABLES: usize = 4;
const ACCOUNTS: i64 = 6;
const START: i64 = 100;
const SUM: i64 = TABLES as i64 * ACCOUNTS * START;
const WRITERS: u64 = 8;

fn name(table: usize) -> String {
    format!("bank{table}")
}

/// Four tables, a file for each account.
async fn open_bank(catalog: &dyn Catalog, dir: &Path) {
    for table in 0..TABLES {
        let accounts: Vec<_> = (0..ACCOUNTS).collect();
        let ids = vec![Some(""); accounts.len()];
        let rows = rows(&accounts, START, &ids);
        let new = NewTable::new(name(table).parse().unwrap(), location(&dir.join(name(table))));
        let (by, options) = (["account".to_string()], WriteOptions::default());
        create_with_data(catalog, new, vec![rows], &by, &Default::default(), &options).await.unwrap();
    }
}

fn rows(accounts: &[i64], amount: i64, ids: &[Option<&str>]) -> RecordBatch {
    let amounts: ArrayRef = Arc::new(Int64Array::from(vec![amount; accounts.len()]));
    let accounts: ArrayRef = Arc::new(Int64Array::from(accounts.to_vec()));
    let ids: ArrayRef = Arc::new(StringArray::from(ids.to_vec()));
    let columns = [("account", accounts, true), ("amount", amounts, true), ("ids", ids, true)];
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// The sum of the balances of some rows, and the list of each account.
fn counted(rows: &[RecordBatch]) -> (i64, BTreeMap<i64, Vec<u64>>) {
    let (mut sum, mut lists) = (0, BTreeMap::new());
    for batch in rows {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let numbers = |name: &str| column(name).as_primitive::<Int64Type>().clone();
        sum += numbers("amount").iter().flatten().sum::<i64>();
        for (account, ids) in numbers("account").iter().flatten().zip(column("ids").as_string::<i32>()) {
            let Some(ids) = ids else { continue };
            let list = ids.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().unwrap()).collect();
            assert_eq!(lists.insert(account, list), None, "an account is one row, and others beside it");
        }
    }
    (sum, lists)
}

/// A client that makes random transfers and records them.
struct Teller<'a> {
    catalog: Arc<dyn Catalog>,
    serializable: bool,
    rng: Rng,
    /// The ids of no other client.
    next: u64,
    /// Called with each transfer before it is committed, with an unknown outcome, and again with its outcome.
    record: &'a mut (dyn FnMut(&Recorded) + Send),
}

impl Teller<'_> {
    async fn transfer(&mut self) {
        self.next += 10;
        let options = TransactionOptions { serializable: self.serializable, ..TransactionOptions::default() };
        let tx = Transaction::begin(self.catalog.clone(), options).await.unwrap();
        let mut done = Recorded { id: self.next, ops: Vec::new(), end: End::Unknown };
        self.moved(&tx, &mut done.ops).await.unwrap();
        if self.rng.u8(..100) < 8 {
            tx.rollback().await;
            done.end = End::Aborted;
            return (self.record)(&done);
        }
        (self.record)(&done);
        done.end = match tx.commit().await {
            Ok(committed) => {
                assert_eq!(committed.len(), 2, "a transfer is between two tables");
                End::Committed
            }
            Err(E::Conflict(_)) => End::Aborted,
            Err(E::Unknown(_)) => End::Unknown,
            Err(e) => panic!("a transfer fails: {e}"),
        };
        (self.record)(&done);
    }

    async fn moved(&mut self, tx: &Transaction, ops: &mut Vec<Op>) -> TransactionResult<()> {
        let from = (self.rng.usize(..TABLES), self.rng.i64(0..ACCOUNTS));
        let to = ((from.0 + self.rng.usize(1..TABLES)) % TABLES, self.rng.i64(0..ACCOUNTS));
        let besides = (self.rng.usize(..TABLES), self.rng.i64(0..ACCOUNTS));
        if self.rng.bool() {
            read(tx, besides, ops).await?;
        }
        read(tx, from, ops).await?;
        let mut amount = self.rng.i64(1..20);
        add(tx, from, -amount, self.next, ops).await?;
        if self.rng.u8(..100) < 15 {
            read(tx, from, ops).await?;
            add(tx, from, -7, self.next + 1, ops).await?;
            amount += 7;
        }
        if self.rng.u8(..100) < 20 {
            let row = rows(&[to.1], amount, &[None]);
            tx.write(&name(to.0), vec![row], SaveMode::Append).await?;
        } else {
            add(tx, to, amount, self.next + 2, ops).await?;
            if self.rng.bool() {
                read(tx, to, ops).await?;
            }
        }
        Ok(())
    }
}

fn key(at: (usize, i64)) -> String {
    format!("{}.{}", name(at.0), at.1)
}

async fn read(tx: &Transaction, at: (usize, i64), ops: &mut Vec<Op>) -> TransactionResult<()> {
    let scan = Scan { filter_sql: Some(format!("account = {}", at.1)), ..Scan::default() };
    let rows = tx.read(&name(at.0), &scan).await?;
    let (_, mut lists) = counted(&rows);
    let list = lists.remove(&at.1).unwrap_or_else(|| panic!("{at:?} is not among {rows:?}, {ops:?}"));
    ops.push(Op::Read(key(at), list));
    Ok(())
}

async fn add(tx: &Transaction, at: (usize, i64), amount: i64, id: u64, ops: &mut Vec<Op>) -> TransactionResult<()> {
    let set = [("amount", format!("amount + {amount}")), ("ids", format!("concat(ids, ',{id}')"))];
    let set = [(set[0].0, set[0].1.as_str()), (set[1].0, set[1].1.as_str())];
    let filter = format!("account = {} AND ids IS NOT NULL", at.1);
    let metrics = tx.update(&name(at.0), &set, Some(&filter)).await?;
    assert_eq!(metrics["num_updated_rows"], 1, "{metrics}");
    ops.push(Op::Append(key(at), id));
    Ok(())
}

/// Reads everything at one point, by a transaction or at the heads of one `begin`, and checks the sum.
async fn audit(catalog: &Arc<dyn Catalog>, id: u64) -> Recorded {
    let (mut sum, mut ops) = (0, Vec::new());
    let mut count = |table: usize, rows: &[RecordBatch]| {
        let (part, lists) = counted(rows);
        sum += part;
        ops.extend(lists.into_iter().map(|(account, list)| Op::Read(key((table, account)), list)));
    };
    if id.is_multiple_of(2) {
        let tx = Transaction::begin(catalog.clone(), TransactionOptions::default()).await.unwrap();
        for table in 0..TABLES {
            count(table, &tx.read(&name(table), &Scan::default()).await.unwrap());
        }
        assert_eq!(tx.commit().await.unwrap(), [], "who only reads makes no version");
    } else {
        let refs = (0..TABLES).map(|table| TableRef::Name(name(table).parse().unwrap()));
        let open = refs.map(|table| async move { DeltaTable::open_in(catalog.clone(), &table).await });
        let tables = try_join_all(open).await.unwrap();
        let find =
            tables.iter().map(|table| async { catalog.find(&TableRef::Location(table.location().clone())).await });
        let ids: Vec<_> = try_join_all(find).await.unwrap().into_iter().map(|entry| entry.unwrap().id).collect();
        for (n, (table, head)) in tables.iter().zip(catalog.begin(&ids).await.unwrap()).enumerate() {
            let at = Scan { at: At::Version(head.version), ..Scan::default() };
            count(n, &table.read(&at).await.unwrap());
        }
    }
    assert_eq!(sum, SUM, "the sum of all accounts at one point");
    Recorded { id, ops, end: End::Committed }
}

/// Audits until it is told to stop.
async fn audits(catalog: Arc<dyn Catalog>, stop: Arc<AtomicBool>) -> Vec<Recorded> {
    let mut done = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        done.push(audit(&catalog, done.len() as u64).await);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    done
}

/// Two transfers that begin at one point and change the same accounts: the second one conflicts, whatever the schedule
/// is.
async fn collide(catalog: &Arc<dyn Catalog>, serializable: bool) -> [Recorded; 2] {
    let options = TransactionOptions { serializable, ..TransactionOptions::default() };
    let mut begun = Vec::new();
    for id in [2_000_000_000, 2_000_000_010] {
        let tx = Transaction::begin(catalog.clone(), options.clone()).await.unwrap();
        let mut ops = Vec::new();
        add(&tx, (0, 0), -1, id, &mut ops).await.unwrap();
        add(&tx, (1, 0), 1, id + 1, &mut ops).await.unwrap();
        begun.push((id, tx, ops));
    }
    let mut done = Vec::new();
    for ((id, tx, ops), expected) in begun.into_iter().zip([End::Committed, End::Aborted]) {
        let end = match tx.commit().await {
            Ok(_) => End::Committed,
            Err(E::Conflict(_)) => End::Aborted,
            Err(e) => panic!("a transfer fails: {e}"),
        };
        assert_eq!(end, expected);
        done.push(Recorded { id, ops, end });
    }
    done.try_into().unwrap()
}

/// Checks that the history has only anomalies that the isolation allows, and that readers of the published tables get
/// the same sum.
async fn judge(what: &str, catalog: &Arc<dyn Catalog>, mut history: Vec<Recorded>, serializable: bool) {
    history.extend(collide(catalog, serializable).await);
    history.push(audit(catalog, 1_000_000_000).await);
    let findings = check(&history);
    let count = |end: End| history.iter().filter(|t| t.end == end && !t.ops.is_empty()).count();
    let (won, lost, unknown) = (count(End::Committed), count(End::Aborted), count(End::Unknown));
    let skews = findings.iter().filter(|f| f.anomaly == Anomaly::G2Item).count();
    eprintln!("{what}: {won} committed, {lost} not, {unknown} unknown, {skews} edges of G2-item cycles");
    let forbidden: Vec<_> = findings.iter().filter(|f| serializable || f.anomaly != Anomaly::G2Item).collect();
    assert!(forbidden.is_empty(), "{what}: {forbidden:#?}");

    let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
    let mut sum = 0;
    for (entry, published) in mirror.run().try_collect::<Vec<_>>().await.unwrap() {
        assert_eq!(published.unwrap().version, Some(entry.current_version));
        sum += counted(&plain::read(&entry.location, None).await.unwrap()).0;
    }
    assert_eq!(sum, SUM, "{what}: the sum in the published tables");
}

/// The number of attempted transfers: in CI, and in a long run.
fn transfers(all: u64) -> u64 {
    if soak() > 1 { all * 5_000 / 300 } else { all }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn money_moves_between_tables_and_none_is_lost() {
    for database in databases("transactions") {
        for serializable in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let catalog = catalog(*database, dir.path()).await;
            open_bank(catalog.as_ref(), dir.path()).await;
            let stop = Arc::new(AtomicBool::new(false));
            let auditor = tokio::spawn(audits(catalog.clone(), stop.clone()));
            let tellers = (1..=WRITERS).map(|teller| {
                let catalog = catalog.clone();
                tokio::spawn(async move { work(catalog, teller, transfers(32) / WRITERS, serializable).await })
            });
            let worked = join_all(tellers).await;
            stop.store(true, Ordering::Relaxed);
            let mut history = auditor.await.unwrap();
            history.extend(worked.into_iter().flat_map(Result::unwrap));
            let what = format!("{database:?}, serializable: {serializable}");
            judge(&what, &catalog, history, serializable).await;
        }
    }
}

async fn work(catalog: Arc<dyn Catalog>, teller: u64, count: u64, serializable: bool) -> Vec<Recorded> {
    let mut history = BTreeMap::new();
    let mut record = |done: &Recorded| _ = history.insert(done.id, done.clone());
    let rng = Rng::with_seed(teller);
    let mut teller = Teller { catalog, serializable, rng, next: teller * 1_000_000, record: &mut record };
    for _ in 0..count {
        teller.transfer().await;
    }
    history.into_values().collect()
}

const WORKER: &str = "DELTALAKEDB_TEST_TELLER";
const PROCESSES: u64 = 4;

/// A process with one client.
struct Process {
    child: Child,
    notes: PathBuf,
}

impl Process {
    fn start(database: Database, dir: &Path, teller: u64, count: u64, serializable: bool) -> Self {
        let notes = dir.join(format!("notes{teller}"));
        let job = json!({
            "database": format!("{database:?}"), "dir": dir, "teller": teller, "count": count,
            "serializable": serializable, "notes": notes,
        });
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "transactions::worker", "--ignored", "--nocapture"])
            .env(WORKER, job.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, notes }
    }

    /// The history so far.
    fn history(&self) -> Vec<Recorded> {
        let notes = std::fs::read_to_string(&self.notes).unwrap_or_default();
        // The last line may be incomplete.
        let lines = notes.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let done: BTreeMap<_, _> = lines.map(parsed).map(|done| (done.id, done)).collect();
        done.into_values().collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_are_killed_lose_no_money() {
    for database in databases("processes") {
        let both: &[bool] = if soak() > 1 { &[false, true] } else { &[*database == Database::Sqlite] };
        for serializable in both {
            killed(*database, *serializable).await;
        }
    }
}

async fn killed(database: Database, serializable: bool) {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(database, dir.path()).await;
    open_bank(catalog.as_ref(), dir.path()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let auditor = tokio::spawn(audits(catalog.clone(), stop.clone()));
    let mut rng = Rng::with_seed(7);
    let (each, kills) = (transfers(56) / PROCESSES, transfers(3));
    let start = |teller, count| Process::start(database, dir.path(), teller, count, serializable);
    let mut processes: Vec<_> = (1..=PROCESSES).map(|teller| start(teller, each)).collect();
    let mut history = Vec::new();
    for kill in 1..=kills {
        // While it is probably committing.
        let victim = rng.usize(..processes.len());
        let enough = processes[victim].history().len() + rng.usize(1..4);
        let busy = |process: &Process| {
            let done = process.history();
            done.len() >= enough && done.last().is_some_and(|last| last.end == End::Unknown)
        };
        while !busy(&processes[victim]) && processes[victim].child.try_wait().unwrap().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        processes[victim].child.kill().unwrap();
        processes[victim].child.wait().unwrap();
        let done = processes[victim].history();
        processes[victim] = start(PROCESSES + kill, each.saturating_sub(done.len() as u64));
        history.extend(done);
    }
    for process in &mut processes {
        let status = tokio::task::block_in_place(|| process.child.wait()).unwrap();
        assert!(status.success(), "a teller failed, see above");
        history.extend(process.history());
    }
    stop.store(true, Ordering::Relaxed);
    history.extend(auditor.await.unwrap());
    let what = format!("{database:?}, processes, {kills} of them killed, serializable: {serializable}");
    judge(&what, &catalog, history, serializable).await;
}

/// The job of such a process.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "no test by itself: the test above starts it"]
async fn worker() {
    let job = std::env::var(WORKER).unwrap();
    let job: Value = serde_json::from_str(&job).unwrap();
    let database = *databases("processes").iter().find(|d| format!("{d:?}") == job["database"]).unwrap();
    let catalog = catalog(database, Path::new(job["dir"].as_str().unwrap())).await;
    let mut notes = std::fs::File::create_new(job["notes"].as_str().unwrap()).unwrap();
    let mut record = |done: &Recorded| notes.write_all(rendered(done).as_bytes()).unwrap();
    let teller = job["teller"].as_u64().unwrap();
    let (rng, serializable) = (Rng::with_seed(teller), job["serializable"] == true);
    let mut teller = Teller { catalog, serializable, rng, next: teller * 1_000_000, record: &mut record };
    for _ in 0..job["count"].as_u64().unwrap() {
        teller.transfer().await;
    }
}

fn rendered(done: &Recorded) -> String {
    let op = |op: &Op| match op {
        Op::Read(key, saw) => json!({"key": key, "saw": saw}),
        Op::Append(key, id) => json!({"key": key, "id": id}),
    };
    let ops: Vec<_> = done.ops.iter().map(op).collect();
    format!("{}\n", json!({"id": done.id, "end": format!("{:?}", done.end), "ops": ops}))
}

fn parsed(line: &str) -> Recorded {
    let value: Value = serde_json::from_str(line).unwrap();
    let op = |op: &Value| {
        let key = op["key"].as_str().unwrap().to_string();
        match &op["saw"] {
            Value::Array(saw) => Op::Read(key, saw.iter().map(|id| id.as_u64().unwrap()).collect()),
            _ => Op::Append(key, op["id"].as_u64().unwrap()),
        }
    };
    let ends = [End::Committed, End::Aborted, End::Unknown];
    let end = ends.into_iter().find(|end| value["end"] == format!("{end:?}")).unwrap();
    Recorded { id: value["id"].as_u64().unwrap(), ops: value["ops"].as_array().unwrap().iter().map(op).collect(), end }
}
