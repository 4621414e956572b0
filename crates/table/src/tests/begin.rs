//! The queries of a transaction to the catalog do not depend on the number of tables.

use async_trait::async_trait;
use deltalakedb_log::{Result, TxnLogReader};
use parking_lot::Mutex;

use super::intercepted_catalog::{InterceptedCatalog, Interceptor};
use super::*;

/// The calls of a catalog, in their order.
#[derive(Debug, Default)]
struct RecordedCalls(Mutex<Vec<&'static str>>);

#[async_trait]
impl Interceptor for RecordedCalls {
    async fn before(&self, call: &'static str) -> Result<()> {
        self.0.lock().push(call);
        Ok(())
    }

    fn reader(self: &Arc<Self>, reader: Arc<dyn TxnLogReader>) -> Arc<dyn TxnLogReader> {
        self.0.lock().push("reader");
        reader
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_of_a_transaction_do_not_grow_with_the_number_of_tables() {
    let mut asked = Vec::new();
    for others in [2, 40] {
        let fixture = Fixture::new();
        for n in 0..others {
            fixture.create(&format!("t{n}"), "id long, day string", &[]).await;
        }
        let calls = Arc::new(RecordedCalls::default());
        let catalog = Arc::new(InterceptedCatalog::new(fixture.catalog.clone(), calls.clone()));
        let tx = Transaction::begin(catalog, TransactionOptions::default()).await.unwrap();
        fixture.open("t0").await.write(rows(&[7], &["z"]), SaveMode::Append, &WriteOptions::default()).await.unwrap();
        assert!(text(&tx.read("t0", &Scan::default()).await.unwrap()).is_empty(), "what came later is not seen");
        tx.write("t1", rows(&[1], &["x"]), SaveMode::Append).await.unwrap();
        tx.commit().await.unwrap();
        asked.push(std::mem::take(&mut *calls.0.lock()));
    }
    assert!(!asked[1].contains(&"tables_page"), "{asked:?}");
    assert_eq!(asked[0], asked[1]);
}
