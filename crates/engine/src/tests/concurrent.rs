//! Statements of several sessions at the same time, while their table is flushed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array};
use deltalakedb_rows::RowSnapshot;
use fastrand::Rng;
use tokio::runtime::Runtime;

use super::resolution::check_resolution;
use super::*;
use crate::random::{for_seeds, pick};
use crate::row_table::SCOPE;
use crate::table_view::encoded_keys;

/// Updates around a flush in a usual run.
const FLUSHES: u64 = 100;
/// Histories of two sessions in a usual run.
const HISTORIES: u64 = 25;
/// The statements of each session.
const STATEMENTS: usize = 12;

fn runs(usual: u64) -> u64 {
    if std::env::var("DELTALAKEDB_SOAK").as_deref() == Ok("1") { usual * 10 } else { usual }
}

#[test]
fn a_row_updated_before_during_and_after_a_flush_has_its_last_value_and_is_there_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for_seeds(runs(FLUSHES), |rng| runtime.block_on(Box::pin(updates_around_a_flush(&mut rng.clone()))));
}

async fn updates_around_a_flush(rng: &mut Rng) {
    let mut fixture = Fixture::new().await;
    let mut session = fixture.session();
    let create = "CREATE SHARED TABLE app.t (id BIGINT PRIMARY KEY, v BIGINT)";
    ask(&mut session, &format!("{create}; INSERT INTO app.t VALUES (1, 0), (2, 0), (3, 0)")).await.unwrap();
    if rng.bool() {
        check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    }
    let add = async |mut session: SqlSession, times: usize, pause: usize| {
        for _ in 0..times {
            for _ in 0..pause {
                tokio::task::yield_now().await;
            }
            check(&mut session, "UPDATE app.t SET v = v + 1 WHERE id = 2", &["UPDATE 1"]).await;
        }
    };
    let flush = async |mut session: SqlSession| check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    let (before, during, after) = (rng.usize(0..3), rng.usize(1..5), rng.usize(0..2));
    add(fixture.session(), before, 0).await;
    tokio::join!(flush(fixture.session()), add(fixture.session(), during, rng.usize(0..20)));
    // The flushed value is one of those that the row had since the flush began.
    let of_row = "SELECT v FROM app.t WHERE id = 2";
    let flushed = Box::pin(ask(&mut fixture.delta_session(), of_row)).await.unwrap();
    let flushed: usize = flushed[0].parse().unwrap();
    assert!((before..=before + during).contains(&flushed), "{flushed} of {before} + {during}");
    add(fixture.session(), after, 0).await;
    let n = before + during + after;
    let (all, want) = ("SELECT id, v FROM app.t", ["1|0".to_string(), format!("2|{n}"), "3|0".to_string()]);
    let want = want.each_ref().map(String::as_str);
    check(&mut session, all, &want).await;
    if rng.bool() {
        drop(session);
        fixture.disk.lose_power();
        fixture.reopen().await.unwrap();
        session = fixture.session();
    }
    check(&mut session, of_row, &[n.to_string().as_str()]).await;
    check_resolution(&fixture, &mut session, "app.t").await;
    check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    check(&mut session, all, &want).await;
    check(&mut fixture.delta_session(), all, &want).await;
}

type Model = BTreeMap<i64, i64>;

/// Keys of rows that come and go.
const KEYS: [i64; 3] = [1, 2, 3];
/// Keys of rows that are always there.
const ACCOUNTS: [i64; 2] = [100, 101];

/// A statement that reads only rows whose keys it has, or does not write. So all statements together have a serial order
/// under snapshot isolation, too.
#[derive(Clone, Copy, Debug)]
enum Statement {
    Insert { id: i64, v: i64 },
    Add { id: i64 },
    Delete { id: i64 },
    Move { from: i64, to: i64 },
    Transfer { amount: i64 },
    AddToAccounts,
    ReadAll,
    Read { id: i64 },
}

/// What a statement said that it did.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Report {
    Changed(usize),
    KeyExists,
    Rows(Vec<String>),
}

/// A statement that was run.
#[derive(Clone, Debug)]
struct Ran {
    statement: Statement,
    report: Report,
    began: Instant,
    ended: Instant,
}

impl Statement {
    fn random(rng: &mut Rng) -> Self {
        let (id, to) = (pick(rng, &KEYS), pick(rng, &KEYS));
        match rng.u8(0..14) {
            0..=2 => Self::Insert { id, v: rng.i64(0..10) },
            3 | 4 => Self::Add { id },
            5 | 6 => Self::Delete { id },
            7 | 8 => Self::Move { from: id, to },
            9 | 10 => Self::Transfer { amount: rng.i64(1..10) },
            11 => Self::AddToAccounts,
            12 => Self::ReadAll,
            _ => Self::Read { id },
        }
    }

    fn sql(self) -> String {
        let [from, to] = ACCOUNTS;
        match self {
            Self::Insert { id, v } => format!("INSERT INTO app.t VALUES ({id}, {v})"),
            Self::Add { id } => format!("UPDATE app.t SET v = v + 1 WHERE id = {id}"),
            Self::Delete { id } => format!("DELETE FROM app.t WHERE id = {id}"),
            Self::Move { from, to } => format!("UPDATE app.t SET id = {to} WHERE id = {from}"),
            Self::Transfer { amount } => format!(
                "UPDATE app.t SET v = v + CASE id WHEN {from} THEN -{amount} ELSE {amount} END WHERE id IN ({from}, {to})"
            ),
            Self::AddToAccounts => format!("UPDATE app.t SET v = v + 1 WHERE id >= {from}"),
            Self::ReadAll => "SELECT id, v FROM app.t".to_string(),
            Self::Read { id } => format!("SELECT id, v FROM app.t WHERE id = {id}"),
        }
    }

    /// Changes the model. Returns what the statement reports, and the keys that it changes.
    fn apply(self, rows: &mut Model) -> (Report, BTreeSet<i64>) {
        let changed = |keys: &[i64]| (Report::Changed(keys.len()), keys.iter().copied().collect::<BTreeSet<_>>());
        match self {
            Self::Insert { id, .. } if rows.contains_key(&id) => (Report::KeyExists, BTreeSet::new()),
            Self::Insert { id, v } => {
                rows.insert(id, v);
                changed(&[id])
            }
            Self::Add { id } => match rows.get_mut(&id) {
                Some(v) => {
                    *v += 1;
                    changed(&[id])
                }
                None => changed(&[]),
            },
            Self::Delete { id } => match rows.remove(&id) {
                Some(_) => changed(&[id]),
                None => changed(&[]),
            },
            Self::Move { from, .. } if !rows.contains_key(&from) => changed(&[]),
            Self::Move { from, to } if from != to && rows.contains_key(&to) => (Report::KeyExists, BTreeSet::new()),
            Self::Move { from, to } => {
                let v = rows.remove(&from).unwrap();
                rows.insert(to, v);
                // The row with the old key, and that with the new one.
                (Report::Changed(1), BTreeSet::from([from, to]))
            }
            Self::Transfer { amount } => {
                for (id, sign) in ACCOUNTS.into_iter().zip([-1, 1]) {
                    *rows.get_mut(&id).unwrap() += sign * amount;
                }
                changed(&ACCOUNTS)
            }
            Self::AddToAccounts => {
                for id in ACCOUNTS {
                    *rows.get_mut(&id).unwrap() += 1;
                }
                changed(&ACCOUNTS)
            }
            Self::ReadAll => (Report::Rows(texts_of(rows)), BTreeSet::new()),
            Self::Read { id } => {
                let found: Model = rows.iter().filter(|(key, _)| **key == id).map(|(id, v)| (*id, *v)).collect();
                (Report::Rows(texts_of(&found)), BTreeSet::new())
            }
        }
    }
}

fn texts_of(rows: &Model) -> Vec<String> {
    let mut texts: Vec<_> = rows.iter().map(|(id, v)| format!("{id}|{v}")).collect();
    texts.sort();
    texts
}

/// The statements of two sessions, and of the commits the keys that each changed, in the order of their `_seq`, if they
/// are known.
struct History {
    sessions: [Vec<Ran>; 2],
    commits: Option<Vec<BTreeSet<i64>>>,
}

/// The beginning of a serial order.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Prefix {
    /// How many statements of each session are in it.
    done: [usize; 2],
    /// How many of them changed rows.
    commits: usize,
    rows: Model,
}

impl History {
    /// Whether the statements have a serial order in which each would report what it reported, from these rows to those:
    /// the order of their commits, in which none is before one that had ended when it began.
    fn is_serial(&self, from: &Model, to: &Model) -> bool {
        let mut open = vec![Prefix { done: [0, 0], commits: 0, rows: from.clone() }];
        let mut seen = HashSet::new();
        while let Some(prefix) = open.pop() {
            let [one, other] = prefix.done;
            if one == self.sessions[0].len() && other == self.sessions[1].len() {
                let all = self.commits.as_ref().is_none_or(|commits| commits.len() == prefix.commits);
                if all && prefix.rows == *to {
                    return true;
                }
            } else if seen.insert(prefix.clone()) {
                open.extend((0..2).filter_map(|session| self.after(&prefix, session)));
            }
        }
        false
    }

    /// The order with the next statement of a session, if that can be next.
    fn after(&self, prefix: &Prefix, session: usize) -> Option<Prefix> {
        let next = self.sessions[session].get(prefix.done[session])?;
        let other = self.sessions[1 - session].get(prefix.done[1 - session]);
        if other.is_some_and(|other| other.ended < next.began) {
            return None;
        }
        let mut after = prefix.clone();
        let (report, keys) = next.statement.apply(&mut after.rows);
        if report != next.report {
            return None;
        }
        if !keys.is_empty() {
            let is_known = self.commits.as_ref().is_none_or(|commits| commits.get(prefix.commits) == Some(&keys));
            if !is_known {
                return None;
            }
            after.commits += 1;
        }
        after.done[session] += 1;
        Some(after)
    }
}

/// A runtime of one thread, which is that of a session.
fn of_session() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn statements_of_two_sessions_at_the_same_time_have_a_serial_order() {
    for_seeds(runs(HISTORIES), |rng| {
        let runtime = of_session();
        let fixture = runtime.block_on(Box::pin(Fixture::new()));
        let begin: Model = ACCOUNTS.into_iter().map(|id| (id, 100)).collect();
        runtime.block_on(Box::pin(async {
            let create = "CREATE SHARED TABLE app.t (id BIGINT PRIMARY KEY, v BIGINT)";
            let create = format!("{create}; INSERT INTO app.t VALUES (100, 100), (101, 100); FLUSH ALL");
            ask(&mut fixture.session(), &create).await.unwrap();
        }));
        // While a snapshot is kept, the commits after it are not collected.
        let kept = rng.bool().then(|| fixture.engine().store().snapshot().unwrap());
        let scripts = [(); 2].map(|()| (0..STATEMENTS).map(|_| Statement::random(rng)).collect::<Vec<_>>());
        let flushes = rng.usize(0..4);
        let sessions = at_the_same_time(&fixture, &scripts, flushes);
        let history = History { sessions, commits: kept.as_ref().map(|kept| commits_after(&fixture, kept)) };
        drop(kept);
        runtime.block_on(Box::pin(async {
            let mut session = fixture.session();
            let rows = Box::pin(ask(&mut session, "SELECT id, v FROM app.t")).await.unwrap();
            let end: Model = rows.iter().map(|row| row.split_once('|').unwrap()).map(number_of_each).collect();
            let History { sessions, commits } = &history;
            assert!(
                history.is_serial(&begin, &end),
                "no serial order of {sessions:#?} with {commits:?} ends in {end:?}"
            );
            check_resolution(&fixture, &mut session, "app.t").await;
            check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
            let flushed = Box::pin(ask(&mut fixture.delta_session(), "SELECT id, v FROM app.t")).await.unwrap();
            assert_eq!(flushed, rows);
        }));
    });
}

fn number_of_each((id, v): (&str, &str)) -> (i64, i64) {
    (id.parse().unwrap(), v.parse().unwrap())
}

/// Runs two scripts, each in a session and a thread of its own, while the table is flushed.
fn at_the_same_time(fixture: &Fixture, scripts: &[Vec<Statement>; 2], flushes: usize) -> [Vec<Ran>; 2] {
    std::thread::scope(|scope| {
        let sessions = scripts.each_ref().map(|script| scope.spawn(move || run(fixture, script)));
        scope.spawn(move || {
            of_session().block_on(Box::pin(async {
                for _ in 0..flushes {
                    check(&mut fixture.session(), "FLUSH ALL", &["FLUSH ALL"]).await;
                }
            }));
        });
        sessions.map(|session| session.join().unwrap())
    })
}

/// Runs a script in a session.
fn run(fixture: &Fixture, script: &[Statement]) -> Vec<Ran> {
    of_session().block_on(Box::pin(async {
        let mut session = fixture.session();
        let mut ran = Vec::new();
        for statement in script {
            let (sql, began) = (statement.sql(), Instant::now());
            let answer = Box::pin(ask(&mut session, &sql)).await;
            let ended = Instant::now();
            let report = match answer {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => Report::KeyExists,
                Err(e) => panic!("{sql}: {e}"),
                Ok(rows) if sql.starts_with("SELECT") => Report::Rows(rows),
                Ok(done) => Report::Changed(done[0].rsplit(' ').next().unwrap().parse().unwrap()),
            };
            ran.push(Ran { statement: *statement, report, began, ended });
        }
        ran
    }))
}

/// The keys that each commit after a snapshot changed, in the order of their `_seq`.
fn commits_after(fixture: &Fixture, kept: &RowSnapshot) -> Vec<BTreeSet<i64>> {
    let table = fixture.engine().find(&"app.t".parse().unwrap()).unwrap();
    let ids: Vec<_> = KEYS.into_iter().chain(ACCOUNTS).collect();
    let column: ArrayRef = Arc::new(Int64Array::from(ids.clone()));
    let rows = RecordBatch::try_from_iter([("id", column)]).unwrap();
    let ids: HashMap<_, _> = encoded_keys(&table, &rows).unwrap().into_iter().zip(ids).collect();
    let mut commits = BTreeMap::<_, BTreeSet<_>>::new();
    let now = fixture.engine().store().snapshot().unwrap();
    now.changes(table.id, &SCOPE, kept.seq(), |change| {
        commits.entry(change.seq).or_default().insert(ids[change.primary_key]);
        true
    })
    .unwrap();
    commits.into_values().collect()
}

#[test]
fn lost_and_torn_updates_have_no_serial_order() {
    let began = Instant::now();
    let ran = |statement, report| Ran { statement, report, began, ended: began };
    let add = || ran(Statement::Add { id: 1 }, Report::Changed(1));
    let (one, two, three) = (Model::from([(1, 1)]), Model::from([(1, 2)]), Model::from([(1, 3)]));
    let adds = History { sessions: [vec![add()], vec![add()]], commits: None };
    assert!(adds.is_serial(&one, &three));
    assert!(!adds.is_serial(&one, &two), "an update is lost");
    // What one session reads of the other one's transfer.
    let accounts = |from, to| Model::from([(100, from), (101, to)]);
    let transfer = || ran(Statement::Transfer { amount: 5 }, Report::Changed(2));
    let read = |from, to| ran(Statement::ReadAll, Report::Rows(texts_of(&accounts(from, to))));
    for (reads, is_serial) in [
        (vec![read(100, 100), read(95, 105)], true),
        (vec![read(95, 105), read(100, 100)], false),
        (vec![read(95, 100)], false),
    ] {
        let history = History { sessions: [vec![transfer()], reads], commits: None };
        assert_eq!(history.is_serial(&accounts(100, 100), &accounts(95, 105)), is_serial);
    }
    // The commits are in another order.
    let insert = ran(Statement::Insert { id: 2, v: 0 }, Report::Changed(1));
    let end = Model::from([(1, 2), (2, 0)]);
    for (commits, is_serial) in [([1, 2], true), ([2, 1], false)] {
        let commits = Some(commits.map(|id| BTreeSet::from([id])).to_vec());
        let history = History { sessions: [vec![add(), insert.clone()], Vec::new()], commits };
        assert_eq!(history.is_serial(&one, &end), is_serial);
    }
}
