//! Random histories against a model.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::*;
use crate::random::pick;

/// The histories of a usual run.
const HISTORIES: u64 = 120;
const STEPS: usize = 25;

const CREATE: &str = "CREATE SHARED TABLE app.t (v BIGINT, b TEXT, a BIGINT, PRIMARY KEY (a, b))";

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
    for step in 0..STEPS {
        let session = &mut sessions[rng.usize(0..2)];
        let (a, b) = (rng.i64(0..6), pick(rng, &["", "x", "yy"]).to_string());
        match rng.u8(0..13) {
            0..=3 => {
                let v = rng.i64(0..100);
                let sql = format!("INSERT INTO app.t (a, b, v) VALUES ({a}, '{b}', {v})");
                let inserted = Box::pin(ask(session, &sql)).await;
                match model.entry((a, b)) {
                    std::collections::btree_map::Entry::Vacant(new) => {
                        assert_eq!(inserted.unwrap(), ["INSERT 1"], "{sql}");
                        new.insert(Some(v));
                    }
                    std::collections::btree_map::Entry::Occupied(_) => {
                        assert_eq!(inserted.unwrap_err().kind(), ErrorKind::AlreadyExists, "{sql}");
                    }
                }
            }
            4 | 5 => {
                let changed =
                    model.iter_mut().filter(|((other, _), _)| *other == a).map(|(_, v)| *v = v.map(|v| v + 1));
                let n = changed.count();
                check(session, &format!("UPDATE app.t SET v = v + 1 WHERE a = {a}"), &[&format!("UPDATE {n}")]).await;
            }
            6 => {
                let of_row = has_key(rng, a, &b);
                let (value, new) = pick(rng, &[("NULL", None), ("7", Some(7)), ("v * 2 + a", Some(-1))]);
                let old = model.get_mut(&(a, b));
                let n = old.map(|v| *v = if new == Some(-1) { v.map(|v| v * 2 + a) } else { new }).into_iter().count();
                let sql = format!("UPDATE app.t SET v = {value} WHERE {of_row}");
                check(session, &sql, &[&format!("UPDATE {n}")]).await;
            }
            7 => {
                let of_row = has_key(rng, a, &b);
                let n = model.remove(&(a, b)).into_iter().count();
                check(session, &format!("DELETE FROM app.t WHERE {of_row}"), &[&format!("DELETE {n}")]).await;
            }
            8 => {
                let before = model.len();
                model.retain(|_, v| v.is_none_or(|v| v < 50));
                let n = before - model.len();
                check(session, "DELETE FROM app.t WHERE v >= 50", &[&format!("DELETE {n}")]).await;
            }
            9 | 10 => {
                check(session, "FLUSH TABLE app.t", &["FLUSH TABLE"]).await;
                check_table(&mut fixture.delta_session(), &model, 2).await;
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
    }
    check_keys(&mut sessions[0], &model).await;
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
    let text = |v: &Option<i64>| v.map_or("null".to_string(), |v| v.to_string());
    let (sql, mut want) = match step % 4 {
        0 => ("SELECT count(*) FROM app.t", vec![model.len().to_string()]),
        1 => {
            let n = model.iter().filter(|((a, b), v)| *a > 2 && b != "x" && v.is_some()).count();
            ("SELECT count(v) FROM app.t WHERE a > 2 AND b <> 'x'", vec![n.to_string()])
        }
        _ => {
            let rows = model.iter().map(|((a, b), v)| format!("{a}|{b}|{}", text(v)));
            ("SELECT a, b, v FROM app.t", rows.collect())
        }
    };
    want.sort();
    let got = Box::pin(ask(session, sql)).await.unwrap();
    assert_eq!(got, want, "step {step}: {sql}");
}
