//! Rows inserted in bulk are read back like rows inserted one by one.

use super::*;

const COLUMNS: [&str; 5] = ["table_id", "version", "path", "size_bytes", "partition_values"];

async fn stored_rows(catalog: &SqlCatalog, table: TableId) -> Vec<Vec<Value>> {
    let sql = format!("SELECT {} FROM dl_cdc_files WHERE table_id = ? ORDER BY version", COLUMNS.join(", "));
    catalog.db.query(&sql, vec![table.0.into()]).await.unwrap().into_iter().map(|row| row.0.collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_inserts_store_the_same_rows() {
    let texts =
        ["", "NULL", "null", "{}", ",", "\"", "\\", "\\\\x00", "it's", "?", "dl_tables", "\u{1f980}\t\n\r", " a "];
    for kind in databases("limits") {
        let dir = tempfile::tempdir().unwrap();
        let catalog = connect_to(&kind.uri(dir.path(), "bulk"), 1).await.unwrap();
        for (count, is_unused_table) in [(3, false), (1000, false), (1001, true)] {
            let table = TableId(Uuid::from_u128(count));
            let row = |n: u128| {
                let text = texts[n as usize % texts.len()];
                vec![
                    table.0.into(),
                    Value::Int(n as i64),
                    Value::Text(format!("{text}{n}{text}")),
                    Value::Int([0, -1, i64::MIN, i64::MAX][n as usize % 4]),
                    Value::Blob(text.bytes().chain(0..=255).collect()),
                ]
            };
            let rows: Vec<_> = (0..count).map(row).collect();
            let (mut tx, _) = catalog.db.write(&[], "SELECT 1").await.unwrap();
            let insert = WriteStatement::insert("dl_cdc_files", &COLUMNS, rows.clone());
            let insert = if is_unused_table { insert.into_unused_table() } else { insert };
            let written = tx.write(vec![insert]).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(written, count as u64, "{kind:?}");
            assert!(stored_rows(&catalog, table).await == rows, "{kind:?}: {count} rows");
        }
        // A column with only nulls, some nulls, and values larger than the size limit of a statement.
        let table = TableId(Uuid::from_u128(2));
        let columns = ["table_id", "app_id", "version", "app_version", "last_updated", "extra"];
        let long = |n: i64| if n == 7 { Value::Blob(vec![7; 5 << 20]) } else { Value::Null };
        let row = |n: i64| vec![table.0.into(), Value::Blob(vec![1]), n.into(), n.into(), Value::Null, long(n)];
        let rows: Vec<_> = (0..300).map(row).collect();
        let (mut tx, _) = catalog.db.write(&[], "SELECT 1").await.unwrap();
        tx.write(vec![WriteStatement::insert("dl_txn_actions", &columns, rows.clone())]).await.unwrap();
        tx.commit().await.unwrap();
        let sql = format!("SELECT {} FROM dl_txn_actions WHERE table_id = ? ORDER BY version", columns.join(", "));
        let found = catalog.db.query(&sql, vec![table.0.into()]).await.unwrap();
        let found: Vec<Vec<Value>> = found.into_iter().map(|row| row.0.collect()).collect();
        assert!(found == rows, "{kind:?}: nulls, and a long value");
        catalog.close().await;
    }
}
