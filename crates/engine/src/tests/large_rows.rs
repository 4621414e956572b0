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
