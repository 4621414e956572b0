//! What errors say.

use super::*;

#[tokio::test]
async fn errors_of_changes_have_no_internal_names() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    check(&mut session, "CREATE SHARED TABLE app.t (id INT PRIMARY KEY, v INT DEFAULT 3)", &["CREATE SHARED TABLE"])
        .await;
    check(&mut session, "INSERT INTO app.t VALUES (1, 1)", &["INSERT 1"]).await;
    let known = "expected one of id, v, _seq, _deleted";
    for (sql, says) in [
        ("UPDATE app.t SET v = nosuch", &["there is no column nosuch", known][..]),
        ("UPDATE app.t SET v = nosuch WHERE id = 1", &["there is no column nosuch", known]),
        ("UPDATE app.t SET id = nosuch", &["there is no column nosuch", known]),
        ("UPDATE app.t SET v = x.id", &["there is no column x.id", known]),
        ("DELETE FROM app.t WHERE nosuch = 1", &["there is no column nosuch", known]),
        ("UPDATE app.t SET v = DEFAULT", &["app.t", "\"v\" to DEFAULT", "give the value"]),
        ("UPDATE app.t SET v = DEFAULT WHERE id = 1", &["app.t", "\"v\" to DEFAULT", "give the value"]),
    ] {
        let e = error(&mut session, sql).await;
        let text = deltalakedb_log::causes(&e).map(ToString::to_string).collect::<Vec<_>>().join(": ");
        assert!(says.iter().all(|part| text.contains(part)), "{sql}: {text}");
        assert!(!text.contains("_positions_of") && !text.contains("__deltalakedb"), "{sql}: {text}");
    }
    check(&mut session, "SELECT * FROM app.t", &["1|1"]).await;
}
