//! Statements one after the other.

use super::*;

const NOTES: &str = "CREATE SHARED TABLE app.notes (id BIGINT PRIMARY KEY, body TEXT NOT NULL, stars INT DEFAULT 3)";

#[tokio::test]
async fn rows_are_the_same_before_and_after_a_flush() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    check(&mut session, NOTES, &["CREATE SHARED TABLE"]).await;
    check(&mut session, "INSERT INTO app.notes (id, body) VALUES (2, 'b'), (1, 'a'), (3, 'c')", &["INSERT 3"]).await;
    let all = "SELECT id, body, stars FROM app.notes";
    check(&mut session, all, &["1|a|3", "2|b|3", "3|c|3"]).await;
    check(&mut session, "UPDATE app.notes SET stars = stars + id WHERE id >= 2", &["UPDATE 2"]).await;
    check(&mut session, "DELETE FROM app.notes WHERE id = 1", &["DELETE 1"]).await;
    let want = ["2|b|5", "3|c|6"];
    check(&mut session, all, &want).await;
    check(&mut fixture.delta_session(), "SELECT count(*) FROM app.notes", &["0"]).await;

    check(&mut session, "FLUSH TABLE app.notes", &["FLUSH TABLE"]).await;
    check(&mut session, all, &want).await;
    check(&mut fixture.delta_session(), all, &want).await;

    check(&mut session, "UPDATE app.notes SET body = 'B' WHERE id = 2", &["UPDATE 1"]).await;
    check(&mut session, "DELETE FROM app.notes AS n WHERE n.id = 3", &["DELETE 1"]).await;
    check(&mut session, "INSERT INTO app.notes VALUES (3, 'again', NULL), (4, 'd', 0)", &["INSERT 2"]).await;
    let want = ["2|B|5", "3|again|null", "4|d|0"];
    check(&mut session, all, &want).await;
    check(&mut session, "SELECT count(*), sum(stars) FROM app.notes", &["3|5"]).await;
    // The Delta table is as it was at the flush.
    check(&mut fixture.delta_session(), all, &["2|b|5", "3|c|6"]).await;
    check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    check(&mut session, all, &want).await;
    check(&mut fixture.delta_session(), all, &want).await;
    check(&mut fixture.delta_session(), &format!("{all} VERSION AS OF 1"), &["2|b|5", "3|c|6"]).await;
    check(&mut session, "SELECT * FROM system.tables", &["app|notes|shared|id|2|1"]).await;
}

#[tokio::test]
async fn a_table_is_as_it_was_when_it_is_opened_again() {
    let mut fixture = Fixture::new().await;
    let all = "SELECT * FROM app.notes";
    {
        let mut session = fixture.session();
        check(&mut session, NOTES, &["CREATE SHARED TABLE"]).await;
        check(&mut session, "INSERT INTO app.notes VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)", &["INSERT 3"]).await;
        check(&mut session, "FLUSH TABLE app.notes", &["FLUSH TABLE"]).await;
        check(&mut session, "UPDATE app.notes SET body = 'hot' WHERE id = 2", &["UPDATE 1"]).await;
        check(&mut session, "DELETE FROM app.notes WHERE id = 3", &["DELETE 1"]).await;
    }
    for _ in 0..2 {
        fixture.disk.lose_power();
        fixture.reopen().await.unwrap();
        let mut session = fixture.session();
        check(&mut session, all, &["1|a|1", "2|hot|2"]).await;
        fails(&mut session, "INSERT INTO app.notes VALUES (1, 'x', 1)", &["id = 1", "app.notes"]).await;
    }
    let mut session = fixture.session();
    check(&mut session, "FLUSH TABLE app.notes; FLUSH TABLE app.notes", &["FLUSH TABLE", "FLUSH TABLE"]).await;
    check(&mut fixture.delta_session(), all, &["1|a|1|1", "2|hot|2|2"]).await;
}

#[tokio::test]
async fn a_key_is_inserted_once() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    check(
        &mut session,
        "CREATE SHARED TABLE app.rates (day DATE, ccy TEXT, px DOUBLE, PRIMARY KEY (ccy, day))",
        &["CREATE SHARED TABLE"],
    )
    .await;
    check(
        &mut session,
        "INSERT INTO app.rates VALUES ('2024-01-01', 'EUR', 1.5), ('2024-01-02', 'EUR', 1.25)",
        &["INSERT 2"],
    )
    .await;
    let again = "INSERT INTO app.rates VALUES ('2024-01-03', 'EUR', 2), ('2024-01-02', 'EUR', 3)";
    let says = ["ccy = 'EUR', day = '2024-01-02'", "cannot be inserted into app.rates", "has this key"];
    fails(&mut session, again, &says).await;
    check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    fails(&mut session, again, &says).await;
    check(&mut session, "DELETE FROM app.rates WHERE px < 1.3", &["DELETE 1"]).await;
    check(&mut session, again, &["INSERT 2"]).await;
    check(&mut session, "SELECT px FROM app.rates", &["1.5", "2.0", "3.0"]).await;
    let twice = "INSERT INTO app.rates VALUES ('2024-02-01', '', 0), ('2024-02-01', '', 1)";
    fails(&mut session, twice, &["ccy = '', day = '2024-02-01'", "inserts it twice"]).await;
    check(&mut session, "FLUSH ALL; DELETE FROM app.rates; FLUSH ALL", &["FLUSH ALL", "DELETE 3", "FLUSH ALL"]).await;
    check(&mut session, again, &["INSERT 2"]).await;
    check(&mut fixture.delta_session(), "SELECT count(*) FROM app.rates", &["0"]).await;
}

#[tokio::test]
async fn updates_of_one_row_are_not_lost() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    check(&mut session, "CREATE SHARED TABLE app.counters (id INT PRIMARY KEY, n BIGINT)", &["CREATE SHARED TABLE"])
        .await;
    check(&mut session, "INSERT INTO app.counters VALUES (1, 0), (2, 0)", &["INSERT 2"]).await;
    let add = async |mut session: SqlSession| {
        for _ in 0..10 {
            check(&mut session, "UPDATE app.counters SET n = n + 1 WHERE id = 1", &["UPDATE 1"]).await;
        }
    };
    let flush = async |mut session: SqlSession| {
        for _ in 0..10 {
            check(&mut session, "FLUSH TABLE app.counters", &["FLUSH TABLE"]).await;
        }
    };
    tokio::join!(add(fixture.session()), add(fixture.session()), add(fixture.session()), flush(fixture.session()));
    check(&mut session, "SELECT * FROM app.counters", &["1|30", "2|0"]).await;
}

#[tokio::test]
async fn row_tables_join_each_other_and_delta_tables() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    check(&mut session, NOTES, &["CREATE SHARED TABLE"]).await;
    let place = fixture.folder.path().join("plain").display().to_string();
    check(
        &mut session,
        &format!("CREATE TABLE app.authors (note BIGINT, name STRING) LOCATION '{place}'"),
        &["CREATE TABLE 0"],
    )
    .await;
    check(&mut session, "INSERT INTO app.authors VALUES (1, 'ann'), (2, 'bob')", &["INSERT 2"]).await;
    check(&mut session, "INSERT INTO app.notes SELECT note, name, note * 10 FROM app.authors", &["INSERT 2"]).await;
    check(&mut session, "SELECT name, stars FROM app.notes JOIN app.authors ON id = note", &["ann|10", "bob|20"]).await;
    let delete = "DELETE FROM app.notes WHERE id IN (SELECT note FROM app.authors WHERE name = 'bob')";
    check(&mut session, delete, &["DELETE 1"]).await;
    let update = "UPDATE app.notes SET body = (SELECT max(name) FROM app.authors) WHERE body IS NOT NULL";
    check(&mut session, update, &["UPDATE 1"]).await;
    check(&mut session, "SELECT * FROM app.notes", &["1|bob|10"]).await;
    // A condition that is null selects nothing.
    check(&mut session, "DELETE FROM app.notes WHERE stars > NULL", &["DELETE 0"]).await;
}

#[tokio::test]
async fn bad_statements_change_nothing() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    check(&mut session, NOTES, &["CREATE SHARED TABLE"]).await;
    check(&mut session, "INSERT INTO app.notes VALUES (1, 'a', 1)", &["INSERT 1"]).await;
    for (bad, says) in [
        ("INSERT INTO app.notes VALUES (2, NULL, 1)", &["\"body\"", "cannot be null"][..]),
        ("INSERT INTO app.notes (id) VALUES (2)", &["\"body\"", "has no default"]),
        ("INSERT INTO app.notes (body) VALUES ('x')", &["\"id\""]),
        ("INSERT INTO app.notes (id, body, nothing) VALUES (2, 'x', 1)", &["no column nothing", "id, body, stars"]),
        ("INSERT INTO app.notes (id, id, body) VALUES (2, 3, 'x')", &["names id twice"]),
        ("INSERT INTO app.notes VALUES (2, 'x')", &["expected 3, got 2"]),
        ("INSERT INTO app.notes VALUES ('two', 'x', 1)", &["app.notes"]),
        ("INSERT INTO app.notes VALUES (2, 'x', 3000000000)", &["app.notes"]),
        ("UPDATE app.notes SET id = NULL", &["\"id\"", "cannot be null"]),
        ("UPDATE app.notes SET id = 5, id = 6", &["\"id\" twice"]),
        ("UPDATE app.notes SET id = 'five'", &["app.notes"]),
        ("UPDATE app.notes SET _before_update_id = 5", &["no column _before_update_id"]),
        ("UPDATE app.notes SET body = NULL", &["\"body\"", "cannot be null"]),
        ("UPDATE app.notes SET nothing = 1", &["no column nothing"]),
        ("UPDATE app.notes SET body = 'x', body = 'y'", &["\"body\" twice"]),
        ("UPDATE app.notes SET stars = 1 / 0", &["app.notes"]),
        ("DELETE FROM app.notes WHERE nothing = 1", &["nothing"]),
        ("DELETE FROM app.notes LIMIT 1", &["DELETE", "not supported"]),
        ("DELETE FROM app.nothing", &["app.nothing"]),
        ("FLUSH TABLE app.nothing", &["app.nothing"]),
        ("BEGIN; DELETE FROM app.notes", &["app.notes", "BEGIN and COMMIT"]),
        ("BEGIN; FLUSH ALL", &["BEGIN and COMMIT"]),
        ("INSERT INTO system.tables VALUES (1)", &["system.tables"]),
        (NOTES, &["app.notes"]),
    ] {
        fails(&mut session, bad, says).await;
        check(&mut session, "SELECT * FROM app.notes", &["1|a|1"]).await;
    }
    check(&mut session, &NOTES.replace("TABLE", "TABLE IF NOT EXISTS"), &["CREATE SHARED TABLE"]).await;
}

#[tokio::test]
async fn other_writers_are_refused() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    check(&mut session, NOTES, &["CREATE SHARED TABLE"]).await;
    check(&mut session, "INSERT INTO app.notes VALUES (1, 'a', 1); FLUSH ALL", &["INSERT 1", "FLUSH ALL"]).await;
    let says = ["app.notes is owned by the row engine", "dl sql --data"];
    for statement in [
        "INSERT INTO app.notes VALUES (2, 'b', 2, 1)",
        "UPDATE app.notes SET stars = 1",
        "DELETE FROM app.notes",
        "DROP TABLE app.notes",
    ] {
        fails(&mut fixture.delta_session(), statement, &says).await;
    }
}

/// The types of columns, with literals.
const TYPES: [(&str, &[&str]); 14] = [
    ("BOOLEAN", &["true", "false"]),
    ("TINYINT", &["-128", "0", "127"]),
    ("SMALLINT", &["-5", "5"]),
    ("INT", &["-2147483648", "2147483647"]),
    ("BIGINT", &["-9223372036854775808", "-1", "0", "9223372036854775807"]),
    ("REAL", &["-1.5", "0", "2.5"]),
    ("DOUBLE", &["-1.5", "0", "1e300"]),
    ("TEXT", &["''", "'a'", "'a b'", "'ä'"]),
    ("UUID", &["'00000000-0000-0000-0000-000000000000'", "'018f3c1e-7b2a-7cc0-98c4-dc0c0c07398f'"]),
    ("BYTEA", &["X''", "X'00'", "X'00FF'"]),
    ("DATE", &["'1969-12-31'", "'2024-02-29'"]),
    ("TIMESTAMP", &["'1969-12-31T23:59:59.999999'", "'2024-02-29T01:02:03.000004'"]),
    ("TIMESTAMP_NTZ", &["'0001-01-01T00:00:00'", "'1969-12-31T23:59:59.999999'", "'2024-02-29T01:02:03.000004'"]),
    ("DECIMAL(38, 2)", &["-12.34", "0", "123456789.01"]),
];

/// Rows of a new table whose column `v` is the number of a key are found, refused and changed by conditions of their
/// keys, hot and flushed. Each key is values for an INSERT and a condition.
async fn check_keys(session: &mut SqlSession, table: &str, keys: &[(String, String)]) {
    for (n, (values, _)) in keys.iter().enumerate() {
        check(session, &format!("INSERT INTO {table} VALUES ({n}, {values})"), &["INSERT 1"]).await;
    }
    for flush in [false, true] {
        if flush {
            check(session, &format!("FLUSH TABLE {table}"), &["FLUSH TABLE"]).await;
        }
        for (n, (values, condition)) in keys.iter().enumerate() {
            let found = format!("SELECT v FROM {table} WHERE {condition}");
            check(session, &found, &[n.to_string().as_str()]).await;
            fails(session, &format!("INSERT INTO {table} VALUES (9, {values})"), &[" = ", "has this key"]).await;
        }
    }
    for (n, (_, condition)) in keys.iter().enumerate() {
        let n = n + 100;
        check(session, &format!("UPDATE {table} SET v = {n} WHERE {condition}"), &["UPDATE 1"]).await;
        check(session, &format!("SELECT v FROM {table} WHERE {condition}"), &[n.to_string().as_str()]).await;
    }
    check(session, &format!("SELECT count(*) FROM {table}"), &[keys.len().to_string().as_str()]).await;
}

#[tokio::test]
async fn keys_of_every_type_are_found_again() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    for (place, (of_type, literals)) in TYPES.into_iter().enumerate() {
        let table = format!("app.t{place}");
        let create = format!("CREATE SHARED TABLE {table} (v INT, k {of_type} PRIMARY KEY)");
        check(&mut session, &create, &["CREATE SHARED TABLE"]).await;
        let keys: Vec<_> = literals.iter().map(|key| (key.to_string(), format!("k = {key}"))).collect();
        Box::pin(check_keys(&mut session, &table, &keys)).await;
    }
}

#[tokio::test]
async fn keys_of_two_columns_of_every_type_are_found_again() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    for (place, (of_type, literals)) in TYPES.into_iter().enumerate() {
        // With another type after it in the key and before it in the table.
        let (other_type, other_literals) = TYPES[(place + 3) % TYPES.len()];
        let table = format!("app.t{place}");
        let create = format!("CREATE SHARED TABLE {table} (v INT, b {other_type}, a {of_type}, PRIMARY KEY (a, b))");
        check(&mut session, &create, &["CREATE SHARED TABLE"]).await;
        let keys: Vec<_> = literals[..2]
            .iter()
            .flat_map(|a| {
                other_literals[..2].iter().map(move |b| (format!("{b}, {a}"), format!("a = {a} AND b = {b}")))
            })
            .collect();
        Box::pin(check_keys(&mut session, &table, &keys)).await;
    }
}

#[tokio::test]
async fn system_columns_are_hidden_until_they_are_named() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    check(&mut session, NOTES, &["CREATE SHARED TABLE"]).await;
    check(&mut session, "INSERT INTO app.notes VALUES (1, 'a', 1)", &["INSERT 1"]).await;
    let seq = Box::pin(ask(&mut session, "SELECT _seq FROM app.notes")).await.unwrap().remove(0);
    check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    check(&mut session, "INSERT INTO app.notes VALUES (2, 'b', 2)", &["INSERT 1"]).await;
    for (sql, want) in [
        ("SELECT * FROM app.notes", &["1|a|1", "2|b|2"][..]),
        (&format!("SELECT * FROM app.notes WHERE _seq > {seq}"), &["2|b|2"]),
        (&format!("SELECT n.* FROM app.notes AS n WHERE n._seq = {seq}"), &["1|a|1"]),
        (&format!("SELECT notes.id FROM app.notes WHERE app.notes._seq = {seq}"), &["1"]),
        ("SELECT id, _deleted FROM app.notes", &["1|false", "2|false"]),
        ("SELECT * FROM app.notes a JOIN app.notes b ON a._seq < b._seq", &["1|a|1|2|b|2"]),
        ("SELECT * FROM (SELECT id, _seq > 0 AS later FROM app.notes) x", &["1|true", "2|true"]),
        ("SELECT id FROM app.notes WHERE id IN (SELECT max(id) FROM app.notes WHERE NOT _deleted)", &["2"]),
        ("SELECT count(*) FROM app.notes WHERE _seq IS NULL", &["0"]),
    ] {
        check(&mut session, sql, want).await;
    }
    check(&mut session, &format!("UPDATE app.notes SET stars = 9 WHERE _seq = {seq}"), &["UPDATE 1"]).await;
    check(&mut session, &format!("SELECT id FROM app.notes WHERE _seq = {seq}"), &[]).await;
    check(&mut session, "INSERT INTO app.notes SELECT id + 10, body, stars FROM app.notes", &["INSERT 2"]).await;
    check(&mut session, "DELETE FROM app.notes WHERE app.notes.id > 10 AND NOT _deleted", &["DELETE 2"]).await;
    check(&mut session, "SELECT * FROM app.notes", &["1|a|9", "2|b|2"]).await;
    let natural = "SELECT *, _seq FROM app.notes a NATURAL JOIN app.notes b";
    fails(&mut session, natural, &["NATURAL JOIN", "use ON"]).await;
    let using = "SELECT *, a._seq FROM app.notes a JOIN app.notes b USING (id)";
    fails(&mut session, using, &["list the columns"]).await;
    fails(&mut session, "CREATE SHARED TABLE app.x (_seq BIGINT PRIMARY KEY)", &["_seq", "reserved"]).await;
}

#[tokio::test]
async fn a_table_is_dropped_with_its_rows_and_created_again() {
    let mut fixture = Fixture::new().await;
    {
        let mut session = fixture.session();
        check(&mut session, NOTES, &["CREATE SHARED TABLE"]).await;
        check(&mut session, "INSERT INTO app.notes VALUES (1, 'a', 1)", &["INSERT 1"]).await;
        check(&mut session, "DROP TABLE app.notes", &["DROP TABLE"]).await;
        fails(&mut session, "SELECT * FROM app.notes", &["app.notes"]).await;
        check(&mut session, "DROP TABLE IF EXISTS app.notes", &["DROP TABLE"]).await;
        check(&mut session, NOTES, &["CREATE SHARED TABLE"]).await;
        check(&mut session, "SELECT * FROM app.notes", &[]).await;
        check(&mut session, "INSERT INTO app.notes VALUES (2, 'b', 2)", &["INSERT 1"]).await;
    }
    fixture.reopen().await.unwrap();
    check(&mut fixture.session(), "SELECT * FROM app.notes", &["2|b|2"]).await;
}

#[tokio::test]
async fn floats_that_are_equal_are_one_value() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    check(&mut session, "CREATE SHARED TABLE app.f (k DOUBLE PRIMARY KEY, v REAL)", &["CREATE SHARED TABLE"]).await;
    check(
        &mut session,
        "INSERT INTO app.f SELECT 0e0 / 0e0 AS k, 0e0 / 0e0 AS v; INSERT INTO app.f VALUES (0, 1)",
        &["INSERT 1", "INSERT 1"],
    )
    .await;
    for _ in 0..2 {
        check(&mut session, "SELECT count(*) FROM app.f WHERE v > 5", &["1"]).await;
        for again in ["0e0 / 0e0", "CAST('NaN' AS DOUBLE)", "-CAST('NaN' AS DOUBLE)", "-0e0", "0"] {
            fails(&mut session, &format!("INSERT INTO app.f VALUES ({again}, 2)"), &["has this key"]).await;
        }
        check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    }
}

#[tokio::test]
async fn values_are_the_same_as_literals_and_as_queries() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    let create =
        "CREATE SHARED TABLE app.v (id INT PRIMARY KEY, n INT, s TEXT, d DATE, t TIMESTAMP, x DOUBLE, p DECIMAL(9, 2))";
    check(&mut session, create, &["CREATE SHARED TABLE"]).await;
    for (column, values) in [
        ("n", &["7", "-7", "'7'", "NULL", "7.0", "7.6", "'x'", "DATE '5'", "true", "3000000000"][..]),
        ("s", &["'a'", "7", "DATE '2024-01-01'", "TIMESTAMP '2024-01-01 00:00:00'", "DATE 'junk'", "X'41'", "1.50"]),
        ("d", &["'2024-02-29'", "DATE '2024-02-29'", "'2024-02-30'", "TIMESTAMP '2024-01-01 10:00:00'", "5"]),
        ("t", &["'2024-01-01T10:00:00'", "'2024-01-01 10:00:00'", "'2024-01-01T10:00:00+02:00'", "DATE '2024-01-01'"]),
        ("x", &["1", "1.5", "1e3", "'2.5'", "'NaN'", "'Infinity'", "0.1", "-0.0"]),
        ("p", &["1", "1.25", "1.255", "'1.25'", "12345678.9", "1e3"]),
    ] {
        for value in values {
            let insert = format!("INSERT INTO app.v (id, {column})");
            // Literals that are values of the column's type need no query.
            let statements = [
                format!("{insert} VALUES (11, {value})"),
                format!("{insert} VALUES (11, {value}) LIMIT 10"),
                format!("{insert} SELECT 11, {value}"),
            ];
            let answers = Box::pin(outcomes(&mut session, "app.v", &statements)).await;
            let [literal, limited, selected] = &answers[..] else { panic!("three statements") };
            assert_eq!(literal, limited, "{insert} {value}");
            assert_eq!(literal, selected, "{insert} {value}");
        }
    }
}

/// What statements answer, one after the other on an empty table, or the texts of their errors; and the rows after each,
/// which are deleted.
async fn outcomes(session: &mut SqlSession, table: &str, statements: &[String]) -> Vec<(Outcome, Vec<String>)> {
    let mut outcomes = Vec::new();
    for sql in statements {
        let outcome = Box::pin(ask(session, sql)).await.map_err(|e| e.to_string());
        let rows = Box::pin(ask(session, &format!("SELECT * FROM {table} WHERE id > 10"))).await.unwrap();
        Box::pin(ask(session, &format!("DELETE FROM {table} WHERE id > 10"))).await.unwrap();
        outcomes.push((outcome, rows));
    }
    outcomes
}

type Outcome = std::result::Result<Vec<String>, String>;

#[tokio::test]
async fn an_insert_of_literals_fails_as_one_of_a_query() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    let create = "CREATE SHARED TABLE app.w (id INT PRIMARY KEY, n INT, s TEXT NOT NULL)";
    check(&mut session, create, &["CREATE SHARED TABLE"]).await;
    check(&mut session, "INSERT INTO app.w VALUES (1, 1, 'a')", &["INSERT 1"]).await;
    for _ in 0..2 {
        for (rows, says) in [
            ("(11, 2, 'b')", None),
            ("(11, 2, 'b'), (12, NULL, '')", None),
            ("(1, 2, 'b')", Some("a row with id = 1 cannot be inserted into app.w: a row has this key")),
            ("(11, 2, 'b'), (1, 3, 'c')", Some("a row with id = 1 cannot be inserted into app.w: a row has this key")),
            (
                "(11, 2, 'b'), (11, 3, 'c')",
                Some("a row with id = 11 cannot be inserted into app.w: the statement inserts it twice"),
            ),
            ("(NULL, 2, 'b')", Some("the column \"id\" of app.w cannot be null")),
            ("(11, 2, NULL)", Some("the column \"s\" of app.w cannot be null")),
            ("(11, 2, 'b'), (12, 3, NULL)", Some("the column \"s\" of app.w cannot be null")),
            ("(11, 2)", Some("wrong number of values in an INSERT into app.w: expected 3, got 2")),
            ("(11, 2, 'b', 3)", Some("wrong number of values in an INSERT into app.w: expected 3, got 4")),
            ("(11, 2, 'b'), (12, 3)", Some("the query cannot be planned")),
            ("(11, 'x', 'b')", Some("the rows for app.w cannot be computed: Cannot cast string 'x'")),
            ("(11, 2, 'b'), (12, 'x', 'c')", Some("the rows for app.w cannot be computed: Cannot cast string 'x'")),
            ("(11, 3000000000, 'b')", Some("the rows for app.w cannot be computed: Can't cast value 3000000000")),
        ] {
            let statements = [
                format!("INSERT INTO app.w VALUES {rows}"),
                format!("INSERT INTO app.w VALUES {rows} LIMIT 10"),
                format!("INSERT INTO app.w SELECT * FROM (VALUES {rows}) AS given"),
            ];
            let answers = Box::pin(outcomes(&mut session, "app.w", &statements)).await;
            let [literal, limited, selected] = &answers[..] else { panic!("three statements") };
            assert_eq!(literal, limited, "{rows}");
            assert_eq!(literal, selected, "{rows}");
            match (says, &literal.0) {
                (None, done) => assert!(done.is_ok(), "{rows}: {done:?}"),
                (Some(says), Err(said)) => assert!(said.starts_with(says), "{rows}: {said}"),
                (Some(_), Ok(done)) => panic!("{rows}: {done:?}"),
            }
            check(&mut session, "SELECT * FROM app.w", &["1|1|a"]).await;
        }
        check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
    }
}
