//! Rows of many bytes.

use super::*;

const CREATE: &str = "CREATE SHARED TABLE app.t (id BIGINT PRIMARY KEY, v TEXT)";

#[tokio::test]
async fn a_batch_of_hot_rows_is_bounded_by_bytes() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    check(&mut session, CREATE, &["CREATE SHARED TABLE"]).await;
    let insert = "INSERT INTO app.t SELECT id, repeat('x', 100000) FROM (SELECT unnest(range(0, 300)) AS id)";
    check(&mut session, insert, &["INSERT 300"]).await;
    {
        let view = fixture.engine().views(&["app.t".parse().unwrap()]).unwrap().remove(0);
        let rows = view.hot_scan(view.table.definition.schema()).unwrap().stream();
        let batches: Vec<_> = rows.try_collect().await.unwrap();
        assert!(batches.len() > 1);
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 300);
    }
    let all = "SELECT count(*), count(DISTINCT id), min(length(v)), max(length(v)) FROM app.t";
    for _ in 0..2 {
        check(&mut session, all, &["300|300|100000|100000"]).await;
        check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    }
    check(&mut fixture.delta_session(), all, &["300|300|100000|100000"]).await;
}

#[tokio::test]
async fn keys_and_rows_that_are_too_large_are_refused_and_change_nothing() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    let create = "CREATE SHARED TABLE app.k (name TEXT, n INT, v TEXT, PRIMARY KEY (name, n))";
    check(&mut session, create, &["CREATE SHARED TABLE"]).await;
    check(&mut session, "INSERT INTO app.k VALUES ('a', 1, 'x')", &["INSERT 1"]).await;
    let literal = format!("INSERT INTO app.k VALUES ('{}', 2, 'x')", "k".repeat(9_000));
    let key = ["a primary key of app.k takes 900", "may take 8192", "name or n"];
    let row = ["of app.k takes 170000", "may take 16777216"];
    for flushed in [false, true] {
        if flushed {
            check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
        }
        for (statement, says) in [
            (literal.as_str(), &key[..]),
            ("INSERT INTO app.k SELECT repeat('k', 9000), 2, 'x'", &key),
            ("INSERT INTO app.k SELECT repeat('k', 9000), 2, 'x' FROM (VALUES (1), (2)) AS twice", &key),
            ("UPDATE app.k SET name = repeat('k', 9000)", &key),
            ("INSERT INTO app.k SELECT 'b', 2, repeat('x', 17000000)", &row),
            ("UPDATE app.k SET v = repeat('x', 17000000)", &row),
            ("UPDATE app.k SET v = repeat('x', 17000000) WHERE name = 'a' AND n = 1", &row),
        ] {
            fails(&mut session, statement, says).await;
        }
        check(&mut session, "SELECT * FROM app.k", &["a|1|x"]).await;
    }
    let largest = "UPDATE app.k SET name = repeat('k', 8000), v = repeat('x', 16000000)";
    check(&mut session, largest, &["UPDATE 1"]).await;
    for _ in 0..2 {
        check(&mut session, "SELECT length(name), n, length(v) FROM app.k", &["8000|1|16000000"]).await;
        check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    }
}
