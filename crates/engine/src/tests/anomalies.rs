//! Anomalies that were reported of other systems which keep recent rows beside files.

use std::os::unix::fs::FileExt;
use std::path::Path;

use futures::StreamExt;

use super::full_stores::NoSpaceFor;
use super::resolution::check_resolution;
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
async fn a_scan_that_is_open_over_flushes_and_vacuums_reads_its_rows() {
    let fixture = Fixture::new().await;
    let (mut reader, mut writer) = (fixture.session(), fixture.session());
    ask(&mut writer, &format!("{CREATE}; INSERT INTO app.t SELECT unnest(range(0, 30000)), 1; FLUSH ALL"))
        .await
        .unwrap();
    ask(&mut writer, "INSERT INTO app.t SELECT unnest(range(30000, 60000)), 1").await.unwrap();
    let mut script = reader.execute("SELECT id, v FROM app.t").unwrap();
    let Some(SqlResult::Rows(mut rows)) = script.next().await.unwrap() else { panic!("no rows") };
    let first = rows.next().await.unwrap().unwrap();
    for n in 0..3 {
        // Others each time: a file of which all rows are hidden is removed, and needs no vector.
        let changes = format!("UPDATE app.t SET v = v + 1 WHERE id % 7 = {n}; DELETE FROM app.t WHERE id % 11 = {n}");
        ask(&mut writer, &changes).await.unwrap();
        // A flush that fails ends with a vacuum, which removes its data file.
        *fixture.stores.full.lock() = Some(NoSpaceFor { extension: ".bin", is_written: false });
        fails(&mut writer, "FLUSH ALL", &["No space left on device"]).await;
        *fixture.stores.full.lock() = None;
        check(&mut writer, "FLUSH ALL", &["FLUSH ALL"]).await;
    }
    let version = Box::pin(ask(&mut writer, "SELECT version FROM system.tables")).await.unwrap();
    let version: usize = version[0].parse().unwrap();
    assert!(version >= 10, "each round has a vacuum's start, its end, and a flush: {version}");
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

#[tokio::test]
async fn a_limit_in_a_subquery_limits_what_is_changed() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    with_rows(&mut session, 0..10).await;
    ask(&mut session, "FLUSH ALL; UPDATE app.t SET v = 13 WHERE id = 3; DELETE FROM app.t WHERE id = 8").await.unwrap();
    for (condition, rows) in [
        ("id IN (SELECT id FROM app.t LIMIT 4)", 4),
        ("id IN (SELECT id FROM app.t ORDER BY id LIMIT 3)", 3),
        ("id IN (SELECT id FROM app.t ORDER BY id DESC LIMIT 2 OFFSET 1)", 2),
        ("id IN (SELECT id FROM app.t LIMIT 0)", 0),
        ("id NOT IN (SELECT id FROM app.t ORDER BY id LIMIT 3)", 6),
        ("id NOT IN (SELECT id FROM app.t LIMIT 0)", 9),
        ("id IN (SELECT max(id) FROM (SELECT id FROM app.t ORDER BY id LIMIT 2) AS first)", 1),
        ("v = (SELECT v FROM app.t WHERE id > 4 ORDER BY id LIMIT 1)", 1),
        ("EXISTS (SELECT 1 FROM app.t AS o WHERE o.id > 100 LIMIT 1)", 0),
        ("EXISTS (SELECT 1 FROM app.t AS o LIMIT 1)", 9),
        ("EXISTS (SELECT 1 FROM app.t AS o LIMIT 0)", 0),
    ] {
        let selected = format!("SELECT count(*) FROM app.t WHERE {condition}");
        check(&mut session, &selected, &[rows.to_string().as_str()]).await;
        let changed = format!("UPDATE {rows}");
        check(&mut session, &format!("UPDATE app.t SET v = v WHERE {condition}"), &[&changed]).await;
    }
    // Hot and cold rows in one order.
    let delete = "DELETE FROM app.t WHERE id IN (SELECT id FROM app.t ORDER BY v DESC LIMIT 2)";
    check(&mut session, delete, &["DELETE 2"]).await;
    check(&mut session, "SELECT id FROM app.t", &["0", "1", "2", "4", "5", "6", "7"]).await;
    check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    check(&mut session, &delete.replace("DESC", "ASC"), &["DELETE 2"]).await;
    check(&mut session, "SELECT id FROM app.t", &["2", "4", "5", "6", "7"]).await;
}

#[tokio::test]
async fn a_flushed_row_is_updated_though_files_have_older_versions_of_it() {
    for condition in ["id = 5", "id + 0 = 5"] {
        let mut fixture = Fixture::new().await;
        let mut session = fixture.session();
        with_rows(&mut session, 0..10).await;
        check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
        for n in 1..=4 {
            // The file of each flush keeps the other row.
            let both = format!("UPDATE app.t SET v = v + 100 WHERE {condition} OR id = {n}");
            check(&mut session, &both, &["UPDATE 2"]).await;
            check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
        }
        let table = fixture.engine().find(&"app.t".parse().unwrap()).unwrap();
        let cold = table.cold_at(&fixture.engine().store().snapshot().unwrap()).unwrap();
        let key = cold.files[4].tags.last_key.clone();
        assert_eq!(cold.files.iter().filter(|file| file.may_have(&key)).count(), 5, "all files may have the row");
        drop((table, cold));
        let row = "SELECT v FROM app.t WHERE id = 5";
        let all = "SELECT count(*), count(DISTINCT id), sum(v) FROM app.t";
        check(&mut session, row, &["405"]).await;
        for (change, done, found, want) in [
            (format!("UPDATE app.t SET v = v + 1 WHERE {condition}"), "UPDATE 1", Some("406"), "10|10|846"),
            (format!("UPDATE app.t SET v = v + 1 WHERE {condition}"), "UPDATE 1", Some("407"), "10|10|847"),
            (format!("DELETE FROM app.t WHERE {condition}"), "DELETE 1", None, "9|9|440"),
            (format!("UPDATE app.t SET v = v + 1 WHERE {condition}"), "UPDATE 0", None, "9|9|440"),
            ("INSERT INTO app.t VALUES (5, 0)".to_string(), "INSERT 1", Some("0"), "10|10|440"),
            (format!("UPDATE app.t SET v = v + 1 WHERE {condition}"), "UPDATE 1", Some("1"), "10|10|441"),
        ] {
            check(&mut session, &change, &[done]).await;
            for step in ["", "FLUSH ALL", "open"] {
                if step == "FLUSH ALL" {
                    check(&mut session, step, &[step]).await;
                    check(&mut fixture.delta_session(), all, &[want]).await;
                }
                if step == "open" {
                    drop(session);
                    fixture.reopen().await.unwrap();
                    session = fixture.session();
                }
                check(&mut session, row, found.as_slice()).await;
                check(&mut session, all, &[want]).await;
                check_resolution(&fixture, &mut session, "app.t").await;
            }
        }
    }
}

/// Overwrites the end of all data files, without which no footer is read.
fn damage_footers(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "parquet") {
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            let end = file.metadata().unwrap().len();
            file.write_all_at(&[0; 8], end - 8).unwrap();
        }
    }
}

#[tokio::test]
async fn the_first_query_after_a_flush_does_what_the_second_does() {
    let mut fixture = Fixture::new().await;
    let mut session = fixture.session();
    with_rows(&mut session, 0..1_000).await;
    ask(&mut session, "FLUSH ALL; UPDATE app.t SET v = -v WHERE id % 100 = 1").await.unwrap();
    let plan = async |session: &mut SqlSession| {
        let plan = Box::pin(ask(session, "EXPLAIN SELECT sum(v) FROM app.t WHERE v < 500")).await.unwrap().join("\n");
        assert!(plan.contains("DataSourceExec"), "{plan}");
        plan
    };
    assert!(plan(&mut session).await.contains("StreamingTableExec"), "hot rows are read");
    check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    let first = plan(&mut session).await;
    assert!(!first.contains("StreamingTableExec"), "files only: {first}");
    check(&mut session, "SELECT sum(v) FROM app.t", &["490480"]).await;
    assert_eq!(plan(&mut session).await, first);
    // The flush left in memory where each key is in its files.
    check(&mut session, "UPDATE app.t SET v = -v WHERE id % 100 = 2; FLUSH ALL", &["UPDATE 10", "FLUSH ALL"]).await;
    let folder = fixture.folder.path().canonicalize().unwrap().join("app/t");
    damage_footers(&folder);
    for (id, v) in [(2, -2), (1, -1), (3, 3)] {
        let by_key = format!("SELECT v FROM app.t WHERE id = {id}");
        check(&mut session, &by_key, &[v.to_string().as_str()]).await;
        check(&mut session, &format!("UPDATE app.t SET v = 0 WHERE id = {id}"), &["UPDATE 1"]).await;
    }
    drop(session);
    fixture.reopen().await.unwrap();
    fails(&mut fixture.session(), "SELECT v FROM app.t WHERE id = 4", &["cannot be read"]).await;
}

#[tokio::test]
async fn the_newest_of_many_versions_is_read_whatever_the_limit() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    with_rows(&mut session, 0..1_000).await;
    for round in 1..=101 {
        check(&mut session, &format!("UPDATE app.t SET v = {round} + id"), &["UPDATE 1000"]).await;
        if round == 60 {
            check(&mut session, "DELETE FROM app.t WHERE id >= 990; FLUSH ALL", &["DELETE 10", "FLUSH ALL"]).await;
            let again = "INSERT INTO app.t SELECT id, 0 FROM (SELECT unnest(range(990, 1000)) AS id)";
            check(&mut session, again, &["INSERT 10"]).await;
        }
    }
    for _ in 0..2 {
        check(
            &mut session,
            "SELECT count(*), count(DISTINCT id), min(v - id), max(v - id) FROM app.t",
            &["1000|1000|101|101"],
        )
        .await;
        let limited = "SELECT count(*), min(v - id) FROM (SELECT * FROM app.t LIMIT 7)";
        check(&mut session, limited, &["7|101"]).await;
        check(&mut session, "SELECT id FROM app.t ORDER BY id DESC LIMIT 1 OFFSET 9", &["990"]).await;
        check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    }
}

#[tokio::test]
async fn rows_are_counted_without_reading_them_once_all_are_flushed() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    with_rows(&mut session, 0..10).await;
    let count = "SELECT count(*) FROM app.t";
    let reads_files = async |session: &mut SqlSession| {
        let plan = Box::pin(ask(session, &format!("EXPLAIN {count}"))).await.unwrap().join("\n");
        plan.contains("DataSourceExec") || plan.contains("StreamingTableExec")
    };
    check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    assert!(!reads_files(&mut session).await);
    check(&mut session, count, &["10"]).await;
    check(&mut session, "DELETE FROM app.t WHERE id < 3", &["DELETE 3"]).await;
    assert!(reads_files(&mut session).await, "hot rows are counted");
    check(&mut session, count, &["7"]).await;
    check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    assert!(!reads_files(&mut session).await, "the vector counts");
    check(&mut session, count, &["7"]).await;
}
