//! INSERT of the rows of queries.

use std::sync::atomic::Ordering;

use super::*;

/// How often a statement reads data files.
async fn reads(fixture: &Fixture, session: &mut SqlSession, sql: &str, want: &[&str]) -> usize {
    fixture.stores.reads.store(0, Ordering::Relaxed);
    check(session, sql, want).await;
    fixture.stores.reads.load(Ordering::Relaxed)
}

#[tokio::test]
async fn the_keys_in_files_are_read_once_for_all_rows_of_a_statement() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    // Hot rows are read in batches of some thousands.
    let create = "CREATE SHARED TABLE app.s (n BIGINT PRIMARY KEY, v BIGINT);
                  INSERT INTO app.s SELECT unnest(range(0, 20000)), 0;
                  CREATE SHARED TABLE app.t (id BIGINT PRIMARY KEY, v BIGINT);
                  INSERT INTO app.t SELECT 2 * n, v FROM app.s;
                  FLUSH TABLE app.t";
    ask(&mut session, create).await.unwrap();

    let insert = "INSERT INTO app.t SELECT 2 * n + 1, v FROM app.s";
    check(&mut session, &format!("{insert} WHERE n < 100"), &["INSERT 100"]).await;
    let few = format!("{insert} WHERE n >= 100 AND n < 200");
    let few = reads(&fixture, &mut session, &few, &["INSERT 100"]).await;
    let many = reads(&fixture, &mut session, &format!("{insert} WHERE n >= 200"), &["INSERT 19800"]).await;
    assert!(few > 0, "the file is read");
    assert_eq!(many, few);

    for (key_of_last, says) in [
        ("2", ["id = 2 cannot", "a row has this key"]),
        ("3", ["id = 3 cannot", "a row has this key"]),
        ("100000", ["id = 100000 cannot", "the statement inserts it twice"]),
    ] {
        let sql = format!(
            "INSERT INTO app.t SELECT CASE n WHEN 19999 THEN {key_of_last} ELSE 100000 + n END, v
             FROM app.s ORDER BY n"
        );
        fails(&mut session, &sql, &says).await;
    }
    let (counts, want) = ("SELECT count(*), count(DISTINCT id), min(id), max(id) FROM app.t", ["40000|40000|0|39999"]);
    check(&mut session, counts, &want).await;
    check(&mut session, "FLUSH TABLE app.t", &["FLUSH TABLE"]).await;
    check(&mut fixture.delta_session(), counts, &want).await;
}

#[tokio::test]
async fn the_columns_of_a_query_may_have_one_name() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    let create = "CREATE SHARED TABLE app.s (a BIGINT PRIMARY KEY, b BIGINT);
                  INSERT INTO app.s VALUES (1, 10), (2, 20);
                  CREATE SHARED TABLE app.t (id BIGINT PRIMARY KEY, v BIGINT)";
    ask(&mut session, create).await.unwrap();
    for (query, want) in [
        ("VALUES (2, 2)", &["2|2"][..]),
        ("VALUES (1 + 1, 1 + 1), (3, 3)", &["2|2", "3|3"]),
        ("SELECT 2, 2", &["2|2"]),
        ("SELECT 1 + 1, 1+1", &["2|2"]),
        ("SELECT 2, 2 UNION ALL SELECT 3, 3", &["2|2", "3|3"]),
        ("SELECT a, a FROM app.s", &["1|1", "2|2"]),
        ("SELECT s.a, a FROM app.s", &["1|1", "2|2"]),
        ("SELECT DISTINCT a, a FROM app.s", &["1|1", "2|2"]),
        ("SELECT a, a FROM app.s ORDER BY a DESC LIMIT 1", &["2|2"]),
        ("SELECT a AS x, b AS x FROM app.s", &["1|10", "2|20"]),
        ("SELECT count(*), count(*) FROM app.s", &["2|2"]),
        ("SELECT *, a FROM (SELECT a FROM app.s) AS x", &["1|1", "2|2"]),
        ("SELECT column1, column1 FROM (VALUES (5), (6)) AS given", &["5|5", "6|6"]),
    ] {
        let inserted = format!("INSERT {}", want.len());
        check(&mut session, &format!("INSERT INTO app.t {query}"), &[inserted.as_str()]).await;
        check(&mut session, "SELECT id, v FROM app.t", want).await;
        check(&mut session, "DELETE FROM app.t", &[format!("DELETE {}", want.len()).as_str()]).await;
    }
    check(&mut session, "INSERT INTO app.t (v, id) SELECT b, b FROM app.s WHERE a = 1", &["INSERT 1"]).await;
    for (query, says) in [
        ("SELECT 2, 2, 2", "expected 2, got 3"),
        ("SELECT a, nothing FROM app.s", "nothing"),
        ("SELECT a, a FROM app.nothing", "app.nothing"),
        ("SELECT b, b FROM app.s", "id = 10 cannot"),
    ] {
        fails(&mut session, &format!("INSERT INTO app.t {query}"), &[says]).await;
        check(&mut session, "SELECT * FROM app.t", &["10|10"]).await;
    }
}
