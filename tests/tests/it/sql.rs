//! The same SQL returns the same rows with every database.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use deltalakedb_log::{Result, SystemClock};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::{SqlOptions, SqlResult, SqlSession, query_error};
use deltalakedb_tests::{catalog, copy, databases, import, repository};
use futures::TryStreamExt;

/// The rows returned by statements, sorted within each result.
async fn ask(session: &mut SqlSession, sql: &str) -> Result<Vec<String>> {
    let mut all = Vec::new();
    let mut script = session.execute(sql)?;
    while let Some(result) = script.next().await? {
        let SqlResult::Rows(rows) = result else { continue };
        let batches: Vec<RecordBatch> = rows.try_collect().await.map_err(|e| query_error(e, "no rows"))?;
        let text = pretty_format_batches(&batches).unwrap().to_string();
        let mut lines: Vec<_> = text.lines().filter(|l| !l.starts_with('+')).skip(1).map(squeezed).collect();
        lines.sort();
        all.extend(lines);
    }
    Ok(all)
}

fn squeezed(line: &str) -> String {
    line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" ")
}

async fn check(session: &mut SqlSession, sql: &str, want: &[&str]) {
    let got = ask(session, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    assert_eq!(got, want, "{sql}");
}

fn without_data(table: &Path) {
    for entry in std::fs::read_dir(table).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() {
            without_data(&entry);
        } else if entry.extension().is_some_and(|e| e == "parquet") {
            std::fs::remove_file(entry).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_database_gives_the_same_answers() {
    for database in databases("sql") {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("events");
        copy(&repository().join("examples/data/events"), &at);
        let books = catalog(*database, dir.path()).await;
        import(&books, &at, "web.events").await.unwrap();
        // Queries do not need it; a first write and publishing do.
        let away = dir.path().join("away");
        std::fs::rename(at.join("_delta_log"), &away).unwrap();
        let warehouse = Some(dir.path().join("house").display().to_string());
        let options = SqlOptions { warehouse, ..SqlOptions::default() };
        let mut s = SqlSession::new(books.clone(), options).unwrap();

        let counted = ask(&mut s, "SELECT count(id) FROM web.events").await.unwrap();
        check(&mut s, "SELECT count(*) FROM web.events", &[&counted[0]]).await;
        let first = ask(&mut s, "SELECT min(id) FROM web.events WHERE id >= 0 OR id < 0").await.unwrap();
        check(&mut s, "SELECT min(id) FROM web.events", &[&first[0]]).await;
        let days = "SELECT day, count(*) FROM web.events GROUP BY day";
        let by_day = ask(&mut s, days).await.unwrap();
        check(
            &mut s,
            "CREATE TABLE days PARTITIONED BY (day) AS SELECT day, count(*) AS n FROM web.events GROUP BY day",
            &[],
        )
        .await;
        check(&mut s, "SELECT day, n FROM days", &by_day.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let equal = "SELECT count(*) FROM days d WHERE day IS NOT NULL \
                     AND n <> (SELECT count(*) FROM web.events e WHERE e.day = d.day)";
        check(&mut s, equal, &["0"]).await;

        std::fs::rename(&away, at.join("_delta_log")).unwrap();
        // The changes of a transaction are one version of each table, and earlier versions do not change.
        let moved = "BEGIN; DELETE FROM web.events WHERE id = 5; UPDATE days SET n = n - 1 WHERE day IN (
                     SELECT 1)";
        let refused = ask(&mut s, moved).await.unwrap_err().to_string();
        assert!(refused.contains("subquery") && refused.contains("rolled back"), "{refused}");
        check(&mut s, "SELECT count(*) FROM web.events WHERE id = 5", &["1"]).await;
        let day = ask(&mut s, "SELECT day FROM web.events WHERE id = 5").await.unwrap();
        let moved = format!(
            "BEGIN; DELETE FROM web.events WHERE id = 5; UPDATE days SET n = n - 1 WHERE day = '{}'; COMMIT; {equal}",
            day[0]
        );
        check(&mut s, &moved, &["0"]).await;
        check(&mut s, "SELECT count(*) FROM web.events VERSION AS OF 13 WHERE id = 5", &["1"]).await;
        check(
            &mut s,
            "SELECT count(*) FROM table_at('web.events', 13) EXCEPT SELECT count(*) + 1 FROM web.events",
            &[],
        )
        .await;
        let published =
            Mirror::new(books.clone(), std::sync::Arc::new(SystemClock)).run().try_collect::<Vec<_>>().await.unwrap();
        assert_eq!(published.len(), 2, "{database:?}");
        for (entry, published) in published {
            let published = published.unwrap_or_else(|e| panic!("{database:?}: {}: {e}", entry.name));
            assert_eq!(published.version, Some(entry.current_version), "{database:?}: {}", entry.name);
        }

        without_data(dir.path());
        let less: u64 = counted[0].parse::<u64>().unwrap() - 1;
        check(&mut s, "SELECT count(*) FROM web.events", &[&less.to_string()]).await;
        check(&mut s, "SELECT min(id) FROM web.events", &[&first[0]]).await;
        assert!(ask(&mut s, "SELECT sum(id) FROM web.events").await.is_err(), "{database:?}: there is nothing to read");
    }
}
