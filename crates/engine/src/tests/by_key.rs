//! Changes of one row by its key, which is looked up, do what queries do.

use super::*;

const CREATE: &str = "CREATE SHARED TABLE app.t (n INT NOT NULL, s TEXT, x DOUBLE, m DECIMAL(9, 2), at TIMESTAMP,
     day DATE, name TEXT, id BIGINT, PRIMARY KEY (id, name, day))";

/// Conditions of the same rows: those that give a key are looked up, the others not.
const KEYS: [(&str, &str); 4] = [
    ("id = 1 AND name = 'a' AND day = DATE '2024-01-01'", "id + 0 = 1 AND name = 'a' AND day = '2024-01-01'"),
    ("(DATE '2024-01-01' = day) AND (-2 = id AND name = '')", "id = 0 - 2 AND concat(name, '') = ''"),
    ("id = 3 AND name = 'it''s' AND day = DATE '1969-12-31'", "id = 3 AND name LIKE 'it_s'"),
    ("id = 4 AND name = 'nobody' AND day = DATE '2024-01-01'", "id * 1 = 4"),
];

const VALUES: [&str; 31] = [
    "n = n + 1",
    "n = 7, s = name",
    "n = id, x = id, m = id",
    "n = NULL",
    "n = 99999999999",
    "n = 1 / (id - 1)",
    "n = '12'",
    "n = 'twelve'",
    "n = 1.5",
    "s = upper(s) || '!', n = CASE WHEN s IS NULL THEN 0 ELSE 1 END",
    "s = 5",
    "x = x * 1.1, m = m * 1.1",
    "x = 1e300 * 1e300",
    "m = 1.005",
    "m = 12345678.9",
    "at = '2024-05-06 07:08:09.123456'",
    "at = TIMESTAMP '2024-05-06T07:08:09Z'",
    "at = day",
    "at = '9999-12-31T00:00:00'",
    "at = 'noon'",
    "s = (SELECT max(name) FROM app.t)",
    "n = count(*)",
    "n = nosuch",
    "n = _seq - _seq",
    "s = CAST(at AS TEXT), at = NULL",
    "id = id, n = n + 1",
    "id = id + 10, s = name, n = id",
    "name = NULL",
    "id = 'one'",
    "id = 1, name = 'a', day = '2024-01-01'",
    "day = day + INTERVAL '1 day'",
];

#[tokio::test]
async fn columns_whose_names_have_a_dot_are_found() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    let create = "CREATE SHARED TABLE app.d (\"x.y\" TEXT, \"a.b\" BIGINT PRIMARY KEY)";
    check(&mut session, create, &["CREATE SHARED TABLE"]).await;
    check(&mut session, "INSERT INTO app.d VALUES ('one', 1), ('two', 2); FLUSH ALL", &["INSERT 2", "FLUSH ALL"]).await;
    check(&mut session, "SELECT * FROM app.d WHERE \"a.b\" = 2", &["two|2"]).await;
    check(&mut session, "UPDATE app.d SET \"x.y\" = 'new' WHERE \"a.b\" = 1", &["UPDATE 1"]).await;
    check(&mut session, "SELECT * FROM app.d", &["new|1", "two|2"]).await;
}

#[tokio::test]
async fn a_row_that_is_looked_up_is_changed_as_by_a_query() {
    for is_flushed in [false, true] {
        for (by_key, by_query) in KEYS {
            for change in VALUES
                .map(|values| format!("UPDATE app.t SET {values}"))
                .into_iter()
                .chain(["DELETE FROM app.t".into()])
            {
                let mut outcomes = Vec::new();
                for condition in [by_key, by_query] {
                    let fixture = Fixture::new().await;
                    let mut session = fixture.session();
                    check(&mut session, CREATE, &["CREATE SHARED TABLE"]).await;
                    let rows = "INSERT INTO app.t VALUES
                        (1, 'q', 0.5, 1.25, '2024-01-01T00:00:00', '2024-01-01', 'a', 1),
                        (2, NULL, NULL, NULL, NULL, '2024-01-01', '', -2),
                        (3, 'r', -0.0, 9999999.99, '1969-12-31T23:59:59.999999', '1969-12-31', 'it''s', 3)";
                    check(&mut session, rows, &["INSERT 3"]).await;
                    if is_flushed {
                        check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
                    }
                    let outcome = Box::pin(ask(&mut session, &format!("{change} WHERE {condition}"))).await;
                    let outcome = outcome.map_err(|e| {
                        deltalakedb_log::causes(&e).map(ToString::to_string).collect::<Vec<_>>().join(": ")
                    });
                    let rows = Box::pin(ask(&mut session, "SELECT * FROM app.t")).await.unwrap();
                    outcomes.push((outcome, rows));
                }
                assert_eq!(outcomes[0], outcomes[1], "{change} WHERE {by_key}, flushed: {is_flushed}");
            }
        }
    }
}
