//! Statements that take longer than the time between two flushes.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_statement_ends_though_the_table_is_flushed_again_and_again() {
    let fixture = Fixture::new().await;
    let mut session = fixture.session();
    let create = "CREATE SHARED TABLE app.t (id BIGINT PRIMARY KEY, v BIGINT)";
    check(&mut session, create, &["CREATE SHARED TABLE"]).await;
    check(&mut session, "INSERT INTO app.t SELECT unnest(range(0, 20000)), 0", &["INSERT 20000"]).await;
    let is_done = AtomicBool::new(false);
    let update = async {
        check(&mut session, "UPDATE app.t SET v = v + 1 WHERE id > 0", &["UPDATE 19999"]).await;
        is_done.store(true, Ordering::Relaxed);
    };
    let flushes = async {
        let mut writer = fixture.session();
        let sql = "UPDATE app.t SET v = v + 1 WHERE id = 0; FLUSH ALL";
        while !is_done.load(Ordering::Relaxed) {
            check(&mut writer, sql, &["UPDATE 1", "FLUSH ALL"]).await;
        }
    };
    tokio::join!(update, flushes);
    check(&mut session, "SELECT count(*) FROM app.t WHERE id > 0 AND v = 1", &["19999"]).await;
}
