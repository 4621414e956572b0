//! Anomalies that were reported of other systems which keep recent rows beside files.

use futures::StreamExt;

use super::*;

const CREATE: &str = "CREATE SHARED TABLE app.t (id BIGINT PRIMARY KEY, v BIGINT)";

async fn with_rows(session: &mut SqlSession, rows: std::ops::Range<i64>) {
    let rows: Vec<_> = rows.map(|id| format!("({id}, {id})")).collect();
    ask(session, &format!("{CREATE}; INSERT INTO app.t VALUES {}", rows.join(", "))).await.unwrap();
}

#[tokio::test]
async fn deleted_rows_stay_deleted_over_flushes_and_restarts() {
    let mut fixture = Fixture::new().await;
    {
        let mut session = fixture.session();
        with_rows(&mut session, 0..20).await;
        ask(&mut session, "FLUSH ALL; DELETE FROM app.t WHERE id % 2 = 0").await.unwrap();
    }
    for round in 0..10 {
        {
            let mut session = fixture.session();
            check(&mut session, "SELECT count(*), min(id) FROM app.t", &["10|1"]).await;
            ask(&mut session, "FLUSH ALL").await.unwrap();
            check(&mut session, "SELECT count(*), min(id) FROM app.t", &["10|1"]).await;
            check(&mut fixture.delta_session(), "SELECT count(*), min(id) FROM app.t", &["10|1"]).await;
            // The same row, in and out again.
            check(&mut session, "INSERT INTO app.t VALUES (0, 0)", &["INSERT 1"]).await;
            if round % 2 == 0 {
                ask(&mut session, "FLUSH ALL").await.unwrap();
            }
            check(&mut session, "DELETE FROM app.t WHERE id = 0", &["DELETE 1"]).await;
        }
        fixture.disk.lose_power();
        fixture.reopen().await.unwrap();
    }
}

#[tokio::test]
async fn a_row_is_deleted_once_though_it_moves_to_a_file_in_between() {
    let fixture = Fixture::new().await;
    let (mut one, mut other) = (fixture.session(), fixture.session());
    with_rows(&mut one, 0..5).await;
    check(&mut one, "DELETE FROM app.t WHERE id = 1; FLUSH ALL", &["DELETE 1", "FLUSH ALL"]).await;
    check(&mut other, "DELETE FROM app.t WHERE id = 1", &["DELETE 0"]).await;
    let delete = async |mut session: SqlSession| {
        let deleted = Box::pin(ask(&mut session, "DELETE FROM app.t WHERE id >= 0")).await.unwrap();
        deleted[0].rsplit(' ').next().unwrap().parse::<i64>().unwrap()
    };
    let flush = async |mut session: SqlSession| Box::pin(ask(&mut session, "FLUSH ALL")).await.unwrap();
    let (a, _, b) = tokio::join!(delete(fixture.session()), flush(fixture.session()), delete(fixture.session()));
    assert_eq!(a + b, 4);
    check(&mut one, "SELECT count(*) FROM app.t", &["0"]).await;
}

#[tokio::test]
async fn a_scan_that_is_open_over_flushes_reads_its_rows() {
    let fixture = Fixture::new().await;
    let (mut reader, mut writer) = (fixture.session(), fixture.session());
    ask(&mut writer, &format!("{CREATE}; INSERT INTO app.t SELECT unnest(range(0, 30000)), 1; FLUSH ALL"))
        .await
        .unwrap();
    ask(&mut writer, "INSERT INTO app.t SELECT unnest(range(30000, 60000)), 1").await.unwrap();
    let mut script = reader.execute("SELECT id, v FROM app.t").unwrap();
    let Some(SqlResult::Rows(mut rows)) = script.next().await.unwrap() else { panic!("no rows") };
    let first = rows.next().await.unwrap().unwrap();
    for _ in 0..3 {
        let changes = "UPDATE app.t SET v = v + 1 WHERE id % 7 = 0; DELETE FROM app.t WHERE id % 11 = 0; FLUSH ALL";
        ask(&mut writer, changes).await.unwrap();
    }
    let rest: Vec<_> = rows.try_collect().await.unwrap();
    let all: Vec<_> = std::iter::once(&first).chain(&rest).flat_map(texts).collect();
    assert_eq!(all.len(), 60_000);
    assert!(all.iter().all(|row| row.ends_with("|1")));
}

#[tokio::test]
async fn a_failed_flush_of_deletes_only_is_finished() {
    for nth in 0..3 {
        let mut fixture = Fixture::new().await;
        {
            let mut session = fixture.session();
            with_rows(&mut session, 0..10).await;
            ask(&mut session, "FLUSH ALL; DELETE FROM app.t WHERE id < 9").await.unwrap();
            *fixture.fails_in.lock() = Some(nth);
            assert!(fixture.engine().flush_all().await.is_err());
        }
        fixture.disk.lose_power();
        fixture.reopen().await.unwrap();
        let mut session = fixture.session();
        check(&mut session, "SELECT id FROM app.t", &["9"]).await;
        check(&mut session, "FLUSH ALL; DELETE FROM app.t; FLUSH ALL", &["FLUSH ALL", "DELETE 1", "FLUSH ALL"]).await;
        check(&mut fixture.delta_session(), "SELECT count(*) FROM app.t", &["0"]).await;
        check(&mut session, "INSERT INTO app.t VALUES (9, 1)", &["INSERT 1"]).await;
    }
}

#[tokio::test]
async fn as_many_rows_are_changed_as_are_selected() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    with_rows(&mut session, 0..10).await;
    ask(&mut session, "UPDATE app.t SET v = NULL WHERE id = 4; FLUSH ALL; UPDATE app.t SET v = 50 WHERE id = 5")
        .await
        .unwrap();
    for condition in [
        "FALSE",
        "NULL",
        "v = NULL",
        "id IN (SELECT v FROM app.t)",
        "id NOT IN (SELECT v FROM app.t)",
        "id NOT IN (SELECT v FROM app.t WHERE v IS NOT NULL)",
        "EXISTS (SELECT 1 FROM app.t AS o WHERE o.id = t.v + 1)",
        "NOT EXISTS (SELECT 1 FROM app.t AS o WHERE o.id = t.v + 1)",
        "v = (SELECT max(v) FROM app.t)",
        "id > 7 OR v IS NULL",
        "NOT (v < 3)",
    ] {
        let selected = ask(&mut session, &format!("SELECT count(*) FROM app.t WHERE {condition}")).await.unwrap();
        let changed = format!("UPDATE {}", selected[0]);
        check(&mut session, &format!("UPDATE app.t SET v = v WHERE {condition}"), &[&changed]).await;
    }
    check(&mut session, "SELECT count(*), sum(v) FROM app.t", &["10|86"]).await;
}
