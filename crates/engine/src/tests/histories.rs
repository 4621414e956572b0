//! Random histories against a model.

use fastrand::Rng;

use super::crashes::no_unnamed_files;
use super::resolution::check_resolution;
use super::row_model::{self, COLUMNS, Change, Changed, Rows};
use super::*;
use crate::cold_snapshot::{ColdFile, ColdSnapshot};

/// The histories of a usual run.
const HISTORIES: u64 = 500;
/// Steps of a history; one of four is a long one.
const STEPS: usize = 6;
const MANY_STEPS: usize = 25;

/// The failures of a usual run.
const FAILURES: u64 = 500;

const TABLE: &str = "app.t";

#[test]
fn random_histories_equal_a_model() {
    let histories = if std::env::var("DELTALAKEDB_SOAK").as_deref() == Ok("1") { 5_000 } else { HISTORIES };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    crate::random::for_seeds(histories, |rng| runtime.block_on(Box::pin(history(&mut rng.clone()))));
}

async fn history(rng: &mut Rng) {
    let mut fixture = Fixture::new().await;
    let mut sessions = vec![fixture.session(), fixture.session()];
    create(&mut sessions[0]).await;
    let mut model = Rows::new();
    for step in 0..if rng.u8(0..4) == 0 { MANY_STEPS } else { STEPS } {
        let session = &mut sessions[rng.usize(0..2)];
        match rng.u8(0..13) {
            0..=8 => {
                model = change(session, &Change::random(rng, TABLE), &model).await;
            }
            9 | 10 => {
                check(session, "FLUSH TABLE app.t", &["FLUSH TABLE"]).await;
                check_table(&mut fixture.delta_session(), &model, 2).await;
                check_cold_snapshot(&fixture).await;
                check_resolution(&fixture, session, "app.t").await;
            }
            11 if rng.bool() => {
                check(session, "DROP TABLE app.t", &["DROP TABLE"]).await;
                create(session).await;
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
    create(&mut session).await;
    let mut model = Rows::new();
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
        let change = Change::random(rng, TABLE);
        let Changed { rows, answer } = change.after(&model);
        match Box::pin(ask(&mut session, &change.sql)).await {
            Err(e) if answer != Err(e.kind()) => perhaps = Some(rows),
            answered => {
                assert_eq!(answered.map_err(|e| e.kind()), answer.map(|done| vec![done]), "{}", change.sql);
                model = rows;
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
    let found = every_row(&mut session).await;
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

/// Runs a change, which answers what the model says. Returns the rows after it.
async fn change(session: &mut SqlSession, change: &Change, model: &Rows) -> Rows {
    let Changed { rows, answer } = change.after(model);
    let answered = Box::pin(ask(session, &change.sql)).await;
    assert_eq!(answered.map_err(|e| e.kind()), answer.map(|done| vec![done]), "{}", change.sql);
    rows
}

async fn create(session: &mut SqlSession) {
    check(session, &row_model::create(TABLE), &["CREATE SHARED TABLE"]).await;
}

async fn every_row(session: &mut SqlSession) -> Vec<String> {
    let sql = format!("SELECT {} FROM app.t", COLUMNS.join(", "));
    Box::pin(ask(session, &sql)).await.unwrap()
}

/// Every key that rows may have is looked up.
async fn check_keys(session: &mut SqlSession, model: &Rows) {
    for key in row_model::keys() {
        let want = model.get(&key).map(|values| values.v.map_or("null".to_string(), |v| v.to_string()));
        let sql = format!("SELECT v FROM app.t WHERE b = '{}' AND a = {}", key.1, key.0);
        let got = Box::pin(ask(session, &sql)).await.unwrap();
        assert_eq!(got, want.into_iter().collect::<Vec<_>>(), "{sql}");
    }
}

/// One of several queries has the rows of the model.
async fn check_table(session: &mut SqlSession, model: &Rows, step: usize) {
    let (sql, want) = match step % 4 {
        0 => ("SELECT count(*) FROM app.t", model.len()),
        1 => {
            let found = model.iter().filter(|((a, b), values)| *a > 2 && b != "x" && values.v.is_some());
            ("SELECT count(v) FROM app.t WHERE a > 2 AND b <> 'x'", found.count())
        }
        _ => {
            assert_eq!(every_row(session).await, texts_of(model), "step {step}");
            return;
        }
    };
    let got = Box::pin(ask(session, sql)).await.unwrap();
    assert_eq!(got, [want.to_string()], "step {step}: {sql}");
}

/// The rows as [`every_row`] returns them.
fn texts_of(model: &Rows) -> Vec<String> {
    let text = |value: Option<String>| value.unwrap_or_else(|| "null".to_string());
    let row = |(key, values)| row_model::texts(key, values).map(text).join("|");
    let mut rows: Vec<_> = model.iter().map(row).collect();
    rows.sort();
    rows
}
