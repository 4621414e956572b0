//! One URI is sufficient to read and write a table, with every database.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use deltalakedb_log::{At, SystemClock, TableRef};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::{DeltaTable, SaveMode, Scan, WriteOptions};
use deltalakedb_tests::{Database, catalog, copy, databases, import, lines, location, repository, their_rows};
use futures::TryStreamExt;

fn rows(id: i64) -> RecordBatch {
    let id: ArrayRef = Arc::new(Int64Array::from(vec![id]));
    let day: ArrayRef = Arc::new(StringArray::from(vec!["2024-02-01"]));
    RecordBatch::try_from_iter([("id", id), ("day", day)]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_uri_opens_a_table_to_read_and_write() {
    for database in databases("uris") {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("events");
        copy(&repository().join("examples/data/events"), &at);
        let books = catalog(*database, dir.path()).await;
        let entry = import(&books, &at, "sales.events").await.unwrap();

        let whole = database.uri(dir.path(), "catalog");
        let and = if whole.contains('?') { '&' } else { '?' };
        let mut uris = vec![format!("{whole}{and}table=sales.events")];
        if *database == Database::Postgres {
            let (place, settings) = whole.split_once('?').unwrap();
            uris.push(format!("{}/sales.events?{settings}", place.replace("//postgres/", "//pg/")));
        }
        for (n, uri) in uris.iter().enumerate() {
            let table = DeltaTable::open(uri).await.unwrap();
            let id = 5_000 + n as i64;
            let committed = table.write(vec![rows(id)], SaveMode::Append, &WriteOptions::default()).await.unwrap();
            assert_eq!(committed.unwrap().version, entry.current_version + 1 + n as u64, "{uri}");
            let scan = Scan { filter_sql: Some(format!("id = {id}")), ..Scan::default() };
            let found = table.read(&scan).await.unwrap();
            assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 1, "{uri}: what was written is read");
            let counted = table.counts(At::Latest).await.unwrap();
            let all = table.read(&Scan::default()).await.unwrap();
            let there = all.iter().map(RecordBatch::num_rows).sum::<usize>();
            assert_eq!(counted.rows, Some(there as i64), "{uri}: the log counts what is there");
        }

        // The same table by its location, and for others in its mirror.
        let by_place = TableRef::Location(location(&at));
        let table = DeltaTable::open_in(books.clone(), &by_place).await.unwrap();
        for (_, published) in
            Mirror::new(books.clone(), Arc::new(SystemClock)).run().try_collect::<Vec<_>>().await.unwrap()
        {
            assert_eq!(published.unwrap().count, uris.len() as u64);
        }
        let version = table.head().await.unwrap().version;
        let ours = lines(&table.read(&Scan::default()).await.unwrap());
        assert_eq!(ours, their_rows(&location(&at), version).await.unwrap(), "{database:?}");
    }
}
