//! Random histories against a model.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::crashes::no_unnamed_files;
use super::resolution::check_resolution;
use super::*;
use crate::cold_snapshot::{ColdFile, ColdSnapshot};
use crate::random::pick;

/// The histories of a usual run.
const HISTORIES: u64 = 500;
/// Steps of a history; one of four is a long one.
const STEPS: usize = 6;
const MANY_STEPS: usize = 25;

/// The failures of a usual run.
const FAILURES: u64 = 500;

const CREATE: &str = "CREATE SHARED TABLE app.t (v BIGINT, b TEXT, a BIGINT, PRIMARY KEY (a, b))";

const EVERY_ROW: &str = "SELECT a, b, v FROM app.t";

type Model = BTreeMap<(i64, String), Option<i64>>;

#[test]
fn random_histories_equal_a_model() {
    let histories = if std::env::var("DELTALAKEDB_SOAK").as_deref() == Ok("1") { 5_000 } else { HISTORIES };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    crate::random::for_seeds(histories, |rng| runtime.block_on(Box::pin(history(&mut rng.clone()))));
}

async fn history(rng: &mut Rng) {
    let mut fixture = Fixture::new().await;
    let mut sessions = vec![fixture.session(), fixture.session()];
    check(&mut sessions[0], CREATE, &["CREATE SHARED TABLE"]).await;
    let mut model = Model::new();
    for step in 0..if rng.u8(0..4) == 0 { MANY_STEPS } else { STEPS } {
        let session = &mut sessions[rng.usize(0..2)];
        match rng.u8(0..13) {
            0..=8 => {
                let change = random_change(rng, &model);
                let answer = Box::pin(ask(session, &change.sql)).await;
                assert_eq!(answer.map_err(|e| e.kind()), change.answer.map(|done| vec![done]), "{}", change.sql);
                model = change.after;
            }
            9 | 10 => {
                check(session, "FLUSH TABLE app.t", &["FLUSH TABLE"]).await;
                check_table(&mut fixture.delta_session(), &model, 2).await;
                check_cold_snapshot(&fixture).await;
                check_resolution(&fixture, session, "app.t").await;
            }
            11 if rng.bool() => {
                check(session, &format!("DROP TABLE app.t; {CREATE}"), &["DROP TABLE", "CREATE SHARED TABLE"]).await;
                model.clear();
            }
            _ => {
                // A session keeps its engine open.
                sessions.clear();
                if rng.bool() {
                    fixture.disk.lose_power();
                }
                fixture.reopen().await.unwrap();
                sessions.extend([fixture.session(), fixture.session()]);
            }
        }
        check_table(&mut sessions[rng.usize(0..2)], &model, step).await;
        if step % 3 == 2 {
            check_resolution(&fixture, &mut sessions[0], "app.t").await;
        }
    }
    check_resolution(&fixture, &mut sessions[0], "app.t").await;
    check_keys(&mut sessions[0], &model).await;
}

#[test]
fn random_failures_of_the_disk_lose_no_acknowledged_row() {
    let runs = if std::env::var("DELTALAKEDB_SOAK").as_deref() == Ok("1") { 5_000 } else { FAILURES };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    crate::random::for_seeds(runs, |rng| runtime.block_on(Box::pin(failure(&mut rng.clone()))));
}

/// Changes and flushes until the disk fails, and what is there when the table is opened again.
async fn failure(rng: &mut Rng) {
    let mut fixture = Fixture::new().await;
    let mut session = fixture.session();
    check(&mut session, CREATE, &["CREATE SHARED TABLE"]).await;
    let mut model = Model::new();
    // What the statement that failed may have done.
    let mut perhaps = None;
    *fixture.fails_in.lock() = Some(rng.usize(0..12));
    while perhaps.is_none() {
        if rng.u8(0..4) == 0 {
            if Box::pin(ask(&mut session, "FLUSH TABLE app.t")).await.is_err() {
                perhaps = Some(model.clone());
            }
            continue;
        }
        let change = random_change(rng, &model);
        match Box::pin(ask(&mut session, &change.sql)).await {
            Err(e) if change.answer != Err(e.kind()) => perhaps = Some(change.after),
            answer => {
                assert_eq!(answer.map_err(|e| e.kind()), change.answer.map(|done| vec![done]), "{}", change.sql);
                model = change.after;
            }
        }
    }
    check_table(&mut session, &model, 2).await;
    // Also of a flush whose commit is in the log and whose swap failed.
    check_resolution(&fixture, &mut session, "app.t").await;
    drop(session);
    if rng.bool() {
        fixture.disk.lose_power();
    }
    fixture.reopen().await.unwrap();
    let mut session = fixture.session();
    check_resolution(&fixture, &mut session, "app.t").await;
    let found = Box::pin(ask(&mut session, EVERY_ROW)).await.unwrap();
    let after = perhaps.filter(|after| found == texts_of(after));
    let model = after.unwrap_or(model);
    assert_eq!(found, texts_of(&model));
    check(&mut session, "FLUSH TABLE app.t", &["FLUSH TABLE"]).await;
    check_table(&mut session, &model, 2).await;
    check_table(&mut fixture.delta_session(), &model, 2).await;
    check_keys(&mut session, &model).await;
    no_unnamed_files(&fixture, "app.t").await;
}

/// The cold snapshot that a flush made is what the log of the cold table says.
async fn check_cold_snapshot(fixture: &Fixture) {
    let engine = fixture.engine();
    let table = engine.find(&"app.t".parse().unwrap()).unwrap();
    let cold = table.cold_at(&engine.store().snapshot().unwrap()).unwrap();
    let logged = ColdSnapshot::newest(&table.delta, cold.generation).await.unwrap();
    let rows = |cold: &ColdSnapshot| {
        let of_file = |file: &ColdFile| (file.tags.clone(), file.add.path.clone(), file.hidden.as_ref().clone());
        (cold.cut, cold.head.version, cold.files.iter().map(of_file).collect::<Vec<_>>())
    };
    assert_eq!(rows(&cold), rows(&logged));
}

/// A statement that changes rows.
struct Change {
    sql: String,
    /// What it answers.
    answer: std::result::Result<String, ErrorKind>,
    /// The rows after it.
    after: Model,
}

fn random_change(rng: &mut Rng, model: &Model) -> Change {
    let mut after = model.clone();
    let (a, b) = (rng.i64(0..6), pick(rng, &["", "x", "yy"]).to_string());
    let (sql, answer) = match rng.u8(0..12) {
        0..=3 => {
            let v = rng.i64(0..100);
            let sql = format!("INSERT INTO app.t (a, b, v) VALUES ({a}, '{b}', {v})");
            let exists = after.contains_key(&(a, b.clone()));
            after.entry((a, b)).or_insert(Some(v));
            (sql, if exists { Err(ErrorKind::AlreadyExists) } else { Ok("INSERT 1".to_string()) })
        }
        4 | 5 => {
            let changed = after.iter_mut().filter(|((other, _), _)| *other == a).map(|(_, v)| *v = v.map(|v| v + 1));
            let n = changed.count();
            (format!("UPDATE app.t SET v = v + 1 WHERE a = {a}"), Ok(format!("UPDATE {n}")))
        }
        6 => {
            let of_row = has_key(rng, a, &b);
            let (value, new) = pick(rng, &[("NULL", None), ("7", Some(7)), ("v * 2 + a", Some(-1))]);
            let old = after.get_mut(&(a, b));
            let n = old.map(|v| *v = if new == Some(-1) { v.map(|v| v * 2 + a) } else { new }).into_iter().count();
            (format!("UPDATE app.t SET v = {value} WHERE {of_row}"), Ok(format!("UPDATE {n}")))
        }
        7 => {
            let of_row = has_key(rng, a, &b);
            let n = after.remove(&(a, b)).into_iter().count();
            (format!("DELETE FROM app.t WHERE {of_row}"), Ok(format!("DELETE {n}")))
        }
        8 => {
            after.retain(|_, v| v.is_none_or(|v| v < 50));
            let n = model.len() - after.len();
            ("DELETE FROM app.t WHERE v >= 50".to_string(), Ok(format!("DELETE {n}")))
        }
        _ => return random_key_update(rng, model),
    };
    Change { sql, answer, after }
}

/// An UPDATE of keys, which stay among those that [`check_keys`] looks up.
fn random_key_update(rng: &mut Rng, model: &Model) -> Change {
    let (a, n) = (rng.i64(0..6), rng.i64(0..6));
    let (b, c) = (pick(rng, &["", "x", "yy"]), pick(rng, &["", "x", "yy"]));
    let kind = rng.u8(0..7);
    let (values, condition) = match kind {
        // No two rows get one key.
        0 => (format!("a = (a + {n}) % 6"), "TRUE".to_string()),
        1 => ("b = CASE b WHEN 'x' THEN 'yy' WHEN 'yy' THEN 'x' ELSE b END".to_string(), format!("a <> {n}")),
        2 => ("v = v + 1, a = a, b = b".to_string(), format!("a >= {a}")),
        // Rows that are not updated may have the keys, or others of the statement get them.
        3 => (format!("a = (a + {n}) % 6"), format!("b = '{b}' OR a = {a}")),
        4 => (format!("b = '{c}'"), format!("a = {a}")),
        5 => ("a = NULL".to_string(), format!("a = {a}")),
        _ => (format!("v = a, a = {n}, b = '{c}'"), has_key(rng, a, b)),
    };
    let is_updated = |of_a: i64, of_b: &str| match kind {
        0 => true,
        1 => of_a != n,
        2 => of_a >= a,
        3 => of_b == b || of_a == a,
        4 | 5 => of_a == a,
        _ => (of_a, of_b) == (a, b),
    };
    let updated = |of_a: i64, of_b: &str, v: Option<i64>| {
        let (new_a, new_b, new_v) = match kind {
            0 | 3 => ((of_a + n) % 6, of_b, v),
            1 if of_b == "x" => (of_a, "yy", v),
            1 if of_b == "yy" => (of_a, "x", v),
            2 => (of_a, of_b, v.map(|v| v + 1)),
            4 => (of_a, c, v),
            1 | 5 => (of_a, of_b, v),
            _ => (n, c, Some(of_a)),
        };
        ((new_a, new_b.to_string()), new_v)
    };
    let (mut after, mut count, mut is_taken) = (Model::new(), 0, false);
    for ((of_a, of_b), v) in model {
        let (key, v) = if is_updated(*of_a, of_b) {
            count += 1;
            updated(*of_a, of_b, *v)
        } else {
            ((*of_a, of_b.clone()), *v)
        };
        is_taken |= after.insert(key, v).is_some();
    }
    let answer = match kind {
        5 if count > 0 => Err(ErrorKind::Invalid),
        _ if is_taken => Err(ErrorKind::AlreadyExists),
        _ => Ok(format!("UPDATE {count}")),
    };
    let after = if answer.is_ok() { after } else { model.clone() };
    Change { sql: format!("UPDATE app.t SET {values} WHERE {condition}"), answer, after }
}

/// A condition that the row with a key satisfies: it is looked up by a statement or by a scan, or found among all rows.
fn has_key(rng: &mut Rng, a: i64, b: &str) -> String {
    match rng.u8(0..3) {
        0 => format!("a = {a} AND '{b}' = b"),
        1 => format!("b = '{b}' AND a = {a} AND a IS NOT NULL"),
        _ => format!("a + 0 = {a} AND concat(b, '') = '{b}'"),
    }
}

/// Every key that rows may have is looked up.
async fn check_keys(session: &mut SqlSession, model: &Model) {
    for (a, b) in (0..6).flat_map(|a| ["", "x", "yy"].map(|b| (a, b))) {
        let want = model.get(&(a, b.to_string())).map(|v| v.map_or("null".to_string(), |v| v.to_string()));
        let sql = format!("SELECT v FROM app.t WHERE b = '{b}' AND a = {a}");
        let got = Box::pin(ask(session, &sql)).await.unwrap();
        assert_eq!(got, want.into_iter().collect::<Vec<_>>(), "{sql}");
    }
}

/// One of several queries has the rows of the model.
async fn check_table(session: &mut SqlSession, model: &Model, step: usize) {
    let (sql, want) = match step % 4 {
        0 => ("SELECT count(*) FROM app.t", vec![model.len().to_string()]),
        1 => {
            let n = model.iter().filter(|((a, b), v)| *a > 2 && b != "x" && v.is_some()).count();
            ("SELECT count(v) FROM app.t WHERE a > 2 AND b <> 'x'", vec![n.to_string()])
        }
        _ => (EVERY_ROW, texts_of(model)),
    };
    let got = Box::pin(ask(session, sql)).await.unwrap();
    assert_eq!(got, want, "step {step}: {sql}");
}

/// The rows as [`EVERY_ROW`] returns them.
fn texts_of(model: &Model) -> Vec<String> {
    let text = |v: &Option<i64>| v.map_or("null".to_string(), |v| v.to_string());
    let mut rows: Vec<_> = model.iter().map(|((a, b), v)| format!("{a}|{b}|{}", text(v))).collect();
    rows.sort();
    rows
}
