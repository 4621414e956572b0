//! Updates of columns of the primary key.

use super::*;

const CREATE: &str = "CREATE SHARED TABLE app.t (v TEXT, id BIGINT PRIMARY KEY)";

const EVERY_ROW: &str = "SELECT id, v FROM app.t";

/// Where the rows (1, 'a') to (4, 'd') are.
const PLACES: [(&str, &str); 4] = [
    ("hot", "INSERT INTO app.t VALUES ('a', 1), ('b', 2), ('c', 3), ('d', 4)"),
    ("flushed", "INSERT INTO app.t VALUES ('a', 1), ('b', 2), ('c', 3), ('d', 4); FLUSH ALL"),
    (
        "hot and flushed",
        "INSERT INTO app.t VALUES ('a', 1), ('old', 2), ('c', 3), ('gone', 5); FLUSH ALL;
         INSERT INTO app.t VALUES ('d', 4); UPDATE app.t SET v = 'b' WHERE id = 2; DELETE FROM app.t WHERE id = 5",
    ),
    (
        "in several files",
        "INSERT INTO app.t VALUES ('a', 1), ('old', 2), ('gone', 5); FLUSH ALL; DELETE FROM app.t WHERE id = 5;
         INSERT INTO app.t VALUES ('c', 3), ('d', 4); UPDATE app.t SET v = 'b' WHERE id = 2; FLUSH ALL",
    ),
];

/// A table with these rows.
async fn with_rows(rows: &str) -> Fixture {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    ask(&mut session, &format!("{CREATE}; {rows}")).await.unwrap();
    check(&mut session, EVERY_ROW, &["1|a", "2|b", "3|c", "4|d"]).await;
    fixture
}

/// A statement fails as an INSERT of an existing key does, and changes nothing.
async fn is_duplicate(session: &mut SqlSession, sql: &str, says: &[&str]) {
    let versions = "SELECT *, _seq FROM app.t";
    let before = Box::pin(ask(session, versions)).await.unwrap();
    fails(session, sql, says).await;
    fails(session, sql, &["a row with", "cannot be inserted into app.t"]).await;
    assert_eq!(error(session, sql).await.kind(), ErrorKind::AlreadyExists, "{sql}");
    assert_eq!(Box::pin(ask(session, versions)).await.unwrap(), before, "{sql}");
}

#[tokio::test]
async fn keys_of_all_rows_are_shifted_and_swapped_wherever_the_rows_are() {
    for (place, rows) in PLACES {
        eprintln!("{place}");
        let mut fixture = with_rows(rows).await;
        let want = ["2|B", "3|C", "4|a", "5|d"];
        {
            let mut session = fixture.session();
            check(&mut session, "UPDATE app.t SET id = id + 1", &["UPDATE 4"]).await;
            check(&mut session, EVERY_ROW, &["2|a", "3|b", "4|c", "5|d"]).await;
            check(&mut session, "SELECT count(DISTINCT _seq) FROM app.t", &["1"]).await;
            let swap = "UPDATE app.t SET id = CASE id WHEN 3 THEN 4 ELSE 3 END, v = upper(v) WHERE id IN (3, 4)";
            check(&mut session, swap, &["UPDATE 2"]).await;
            check(&mut session, EVERY_ROW, &["2|a", "3|C", "4|B", "5|d"]).await;
            // One of them keeps its key.
            check(&mut session, "UPDATE app.t SET id = 6 - id WHERE v <> 'd'", &["UPDATE 3"]).await;
            check(&mut session, EVERY_ROW, &want).await;
        }
        fixture.disk.lose_power();
        fixture.reopen().await.unwrap();
        let mut session = fixture.session();
        for _ in 0..2 {
            check(&mut session, EVERY_ROW, &want).await;
            check(&mut session, "SELECT v FROM app.t WHERE id = 4", &["a"]).await;
            check(&mut session, "SELECT v FROM app.t WHERE id = 1", &[]).await;
            is_duplicate(&mut session, "INSERT INTO app.t VALUES ('x', 5)", &["id = 5", "a row has this key"]).await;
            check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
            check(&mut fixture.delta_session(), EVERY_ROW, &want).await;
        }
        // Keys that were left are taken again, and left again, over flushes.
        check(&mut session, "INSERT INTO app.t VALUES ('new', 1); FLUSH ALL", &["INSERT 1", "FLUSH ALL"]).await;
        check(&mut session, "UPDATE app.t SET id = id + 1 WHERE id < 10; FLUSH ALL", &["UPDATE 5", "FLUSH ALL"]).await;
        let want = ["2|new", "3|B", "4|C", "5|a", "6|d"];
        check(&mut session, EVERY_ROW, &want).await;
        check(&mut fixture.delta_session(), EVERY_ROW, &want).await;
        check(&mut session, "SELECT count(*) FROM app.t", &["5"]).await;
    }
}

#[tokio::test]
async fn a_row_gets_a_key_that_is_free() {
    for (place, rows) in PLACES {
        eprintln!("{place}");
        let fixture = with_rows(rows).await;
        let mut session = fixture.session();
        check(&mut session, "UPDATE app.t SET id = 5 WHERE id = 1", &["UPDATE 1"]).await;
        check(&mut session, "UPDATE app.t SET id = 1, v = v || CAST(id AS TEXT) WHERE v = 'b'", &["UPDATE 1"]).await;
        check(&mut session, "UPDATE app.t AS x SET id = x.id * 10 WHERE x.id = 3", &["UPDATE 1"]).await;
        check(&mut session, "UPDATE app.t SET id = (SELECT max(id) + 1 FROM app.t) WHERE id = 4", &["UPDATE 1"]).await;
        check(&mut session, "UPDATE app.t SET id = 77 WHERE id = 3", &["UPDATE 0"]).await;
        let want = ["1|b2", "30|c", "31|d", "5|a"];
        check(&mut session, EVERY_ROW, &want).await;
        check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
        check(&mut session, EVERY_ROW, &want).await;
        check(&mut fixture.delta_session(), EVERY_ROW, &want).await;
    }
}

#[tokio::test]
async fn an_update_that_sets_a_key_to_its_own_value_is_an_ordinary_one() {
    for (place, rows) in PLACES {
        eprintln!("{place}");
        let fixture = with_rows(rows).await;
        let mut session = fixture.session();
        check(&mut session, "UPDATE app.t SET id = 2, v = 'B' WHERE id = 2", &["UPDATE 1"]).await;
        check(&mut session, "UPDATE app.t SET id = id, v = 'D' WHERE id > 3", &["UPDATE 1"]).await;
        let want = ["1|a", "2|B", "3|c", "4|D"];
        check(&mut session, EVERY_ROW, &want).await;
        check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
        check(&mut session, EVERY_ROW, &want).await;
        check(&mut fixture.delta_session(), EVERY_ROW, &want).await;
    }
}

#[tokio::test]
async fn a_key_of_another_row_is_refused_as_in_an_insert() {
    for (place, rows) in PLACES {
        eprintln!("{place}");
        let fixture = with_rows(rows).await;
        let mut session = fixture.session();
        for (sql, says) in [
            ("UPDATE app.t SET id = 1 WHERE id = 2", ["id = 1", "a row has this key"]),
            ("UPDATE app.t SET id = 4, v = 'x' WHERE id = 1", ["id = 4", "a row has this key"]),
            ("UPDATE app.t SET id = 3 WHERE v = 'd'", ["id = 3", "a row has this key"]),
            // The row with the key 3 is not one of the statement.
            ("UPDATE app.t SET id = id + 1 WHERE id <= 2", ["id = 3", "a row has this key"]),
            ("UPDATE app.t SET id = 9", ["id = 9", "the statement inserts it twice"]),
            ("UPDATE app.t SET id = 4 WHERE id >= 3", ["id = 4", "the statement inserts it twice"]),
        ] {
            is_duplicate(&mut session, sql, &says).await;
        }
        // As soon as it is deleted, its key is free.
        check(&mut session, "DELETE FROM app.t WHERE id = 3", &["DELETE 1"]).await;
        check(&mut session, "UPDATE app.t SET id = id + 1 WHERE id <= 2", &["UPDATE 2"]).await;
        let want = ["2|a", "3|b", "4|d"];
        check(&mut session, EVERY_ROW, &want).await;
        check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
        check(&mut fixture.delta_session(), EVERY_ROW, &want).await;
    }
}

#[tokio::test]
async fn keys_cannot_become_null() {
    for (place, rows) in PLACES {
        eprintln!("{place}");
        let fixture = with_rows(rows).await;
        let mut session = fixture.session();
        let says = ["the column \"id\" of app.t cannot be null"];
        for values in ["NULL", "nullif(id, 2)", "(SELECT max(id) FROM app.t WHERE id > 100)"] {
            fails(&mut session, &format!("UPDATE app.t SET id = {values}"), &says).await;
        }
        fails(&mut session, "UPDATE app.t SET id = NULL WHERE id = 4", &says).await;
        check(&mut session, "UPDATE app.t SET id = NULL WHERE id = 5", &["UPDATE 0"]).await;
        check(&mut session, EVERY_ROW, &["1|a", "2|b", "3|c", "4|d"]).await;
    }
}

#[tokio::test]
async fn a_part_of_a_key_of_several_columns_is_updated() {
    let mut fixture = Fixture::new().await;
    let all = "SELECT ccy, day, px FROM app.rates";
    {
        let mut session = fixture.session();
        let create = "CREATE SHARED TABLE app.rates (px DOUBLE, day DATE, ccy TEXT, PRIMARY KEY (ccy, day));
            INSERT INTO app.rates VALUES (1, '2024-01-01', 'EUR'), (2, '2024-01-02', 'EUR'), (3, '2024-01-01', 'USD');
            FLUSH ALL; INSERT INTO app.rates VALUES (4, '2024-01-02', 'USD')";
        ask(&mut session, create).await.unwrap();
        let says = ["a row with ccy = 'USD', day = '2024-01-01' cannot be inserted into app.rates: a row has this key"];
        fails(&mut session, "UPDATE app.rates SET ccy = 'USD' WHERE px = 1", &says).await;
        let by_key = "UPDATE app.rates SET day = '2024-01-01' WHERE ccy = 'USD' AND day = DATE '2024-01-02'";
        fails(&mut session, by_key, &says).await;
        let twice = ["ccy = ", "day = '2024-01-01'", "the statement inserts it twice"];
        fails(&mut session, "UPDATE app.rates SET day = '2024-01-01'", &twice).await;
        fails(&mut session, "UPDATE app.rates SET day = NULL", &["the column \"day\" of app.rates cannot be null"])
            .await;
        check(&mut session, "UPDATE app.rates SET ccy = 'CHF', px = px * 2 WHERE ccy = 'EUR'", &["UPDATE 2"]).await;
        let shift = "UPDATE app.rates SET day = CASE px WHEN 3 THEN DATE '2024-01-02' ELSE DATE '2024-01-03' END
                     WHERE ccy = 'USD'";
        check(&mut session, shift, &["UPDATE 2"]).await;
    }
    let want = ["CHF|2024-01-01|2.0", "CHF|2024-01-02|4.0", "USD|2024-01-02|3.0", "USD|2024-01-03|4.0"];
    fixture.disk.lose_power();
    fixture.reopen().await.unwrap();
    let mut session = fixture.session();
    check(&mut session, all, &want).await;
    check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    check(&mut session, all, &want).await;
    check(&mut fixture.delta_session(), all, &want).await;
}

#[tokio::test]
async fn more_keys_are_updated_than_are_looked_up_one_by_one() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    let create = format!("{CREATE}; INSERT INTO app.t SELECT 'v', unnest(range(0, 3000)); FLUSH ALL");
    ask(&mut session, &create).await.unwrap();
    ask(&mut session, "UPDATE app.t SET v = 'hot' WHERE id % 3 = 0").await.unwrap();
    check(&mut session, "UPDATE app.t SET id = id + 1", &["UPDATE 3000"]).await;
    let delete = "DELETE FROM app.t WHERE id > 2000 AND id <= 2900; FLUSH ALL";
    check(&mut session, delete, &["DELETE 900", "FLUSH ALL"]).await;
    let says = ["id = 2901", "a row has this key"];
    is_duplicate(&mut session, "UPDATE app.t SET id = id + 2000 WHERE id <= 901", &says).await;
    check(&mut session, "UPDATE app.t SET id = id + 2000 WHERE id <= 900", &["UPDATE 900"]).await;
    let (counts, want) = ("SELECT count(*), count(DISTINCT id), min(id), max(id) FROM app.t", ["2100|2100|901|3000"]);
    for _ in 0..2 {
        check(&mut session, counts, &want).await;
        check(&mut session, "SELECT count(*) FROM app.t WHERE v = 'hot'", &["700"]).await;
        check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
        check(&mut fixture.delta_session(), counts, &want).await;
    }
}

#[tokio::test]
async fn zeros_of_both_signs_are_one_key() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    let create = "CREATE SHARED TABLE app.t (k DOUBLE PRIMARY KEY, v INT); INSERT INTO app.t VALUES (0, 1), (1, 2)";
    ask(&mut session, create).await.unwrap();
    for _ in 0..2 {
        check(&mut session, "UPDATE app.t SET k = -0e0 WHERE v = 1", &["UPDATE 1"]).await;
        is_duplicate(&mut session, "UPDATE app.t SET k = -0e0 WHERE v = 2", &["k = 0", "a row has this key"]).await;
        check(&mut session, "SELECT v FROM app.t WHERE k = 0", &["1"]).await;
        check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    }
}

#[tokio::test]
async fn of_two_rows_that_get_one_key_at_the_same_time_one_gets_it() {
    for is_flushed in [false, true] {
        let fixture = with_rows(PLACES[usize::from(is_flushed)].1).await;
        let change = async |mut session: SqlSession, sql: &str| Box::pin(ask(&mut session, sql)).await;
        let outcomes = tokio::join!(
            change(fixture.session(), "UPDATE app.t SET id = 9 WHERE id = 1"),
            change(fixture.session(), "UPDATE app.t SET id = 9 WHERE id = 2"),
            change(fixture.session(), "INSERT INTO app.t VALUES ('e', 9)"),
        );
        let outcomes = [outcomes.0, outcomes.1, outcomes.2];
        let refused: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
        assert_eq!(refused.len(), 2, "{outcomes:?}");
        assert!(refused.iter().all(|e| e.kind() == ErrorKind::AlreadyExists), "{outcomes:?}");
        let mut session = fixture.session();
        check(&mut session, "SELECT count(*) FROM app.t WHERE id = 9", &["1"]).await;
        let rows = if outcomes[2].is_ok() { "5" } else { "4" };
        check(&mut session, "SELECT count(*) FROM app.t", &[rows]).await;
    }
}

#[tokio::test]
async fn shifts_at_the_same_time_are_not_lost() {
    let fixture = with_rows(PLACES[2].1).await;
    let shift = async |mut session: SqlSession| {
        for _ in 0..10 {
            check(&mut session, "UPDATE app.t SET id = id + 1", &["UPDATE 4"]).await;
        }
    };
    let flush = async |mut session: SqlSession| {
        for _ in 0..10 {
            check(&mut session, "FLUSH TABLE app.t", &["FLUSH TABLE"]).await;
        }
    };
    tokio::join!(shift(fixture.session()), shift(fixture.session()), flush(fixture.session()));
    let mut session = fixture.session();
    let want = ["21|a", "22|b", "23|c", "24|d"];
    for _ in 0..2 {
        check(&mut session, EVERY_ROW, &want).await;
        check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
        check(&mut fixture.delta_session(), EVERY_ROW, &want).await;
    }
}
