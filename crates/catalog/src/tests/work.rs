//! The work of a database for a statement, counted by the database and not by a clock, and the parts of its plan that
//! depend on the length of history.

use serde_json::Value as Json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection};

use super::databases::Database as Kind;
use super::recorded::Statement;
use super::*;

/// The tables that grow with history.
const HISTORY: &[&str] = &[
    "dl_table_versions",
    "dl_commit_bodies",
    "dl_commit_ids",
    "dl_add_files",
    "dl_remove_files",
    "dl_txn_actions",
    "dl_domain_metadata",
];
/// PostgreSQL sorts this few rows instead of using an index with the order.
const FEW: u64 = 64;

/// What a statement costs.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Instructions of SQLite's machine in tens, pages of PostgreSQL, rows that DuckDB scans.
    pub(super) amount: u64,
    /// The maximum number of rows that a part of PostgreSQL's plan reads.
    pub(super) rows: u64,
    /// Parts of the plan whose cost grows with history.
    pub(super) faults: Vec<String>,
    /// Parts of the plan that sort more than a few rows.
    pub(super) sorts: Vec<String>,
}

impl Work {
    /// The work of a statement, whose effect is rolled back. A server scans a small table: `by_index` requests index
    /// lookups there as well.
    pub(super) async fn of(kind: Kind, catalog: &SqlCatalog, statement: &Statement, by_index: bool) -> Self {
        let Statement { sql, params } = statement;
        match kind {
            Kind::Sqlite => Self::in_sqlite(catalog, sql, params).await,
            Kind::Postgres => Self::in_postgres(catalog, sql, params, by_index).await,
            Kind::DuckDb => Self::in_duckdb(catalog, sql, params).await,
        }
    }

    async fn in_sqlite(catalog: &SqlCatalog, sql: &str, params: &[Value]) -> Self {
        let path = catalog.describe();
        let path = path.strip_prefix("deltasql://sqlite/").unwrap().replace("%20", " ");
        let mut client = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path)).await.unwrap();
        let steps = Arc::new(AtomicU64::new(0));
        let counted = steps.clone();
        let count = move || counted.fetch_add(1, Ordering::Relaxed) < u64::MAX;
        client.lock_handle().await.unwrap().set_progress_handler(10, count);
        let mut tx = client.begin().await.unwrap();
        let query = params.iter().cloned().fold(sqlx::query(AssertSqlSafe(sql)), |q, v| match v {
            Value::Null => q.bind(None::<i64>),
            Value::Int(v) => q.bind(v),
            Value::Text(v) => q.bind(v),
            Value::Blob(v) => q.bind(v),
        });
        query.fetch_all(&mut *tx).await.unwrap();
        tx.rollback().await.unwrap();
        let mut work = Self { amount: steps.load(Ordering::Relaxed), ..Self::default() };
        let plan = catalog.db.query(&format!("EXPLAIN QUERY PLAN {sql}"), params.to_vec()).await.unwrap();
        for row in plan {
            let Some(Value::Text(line)) = row.0.last() else { continue };
            if line.contains("USE TEMP B-TREE") {
                work.sorts.push(line);
            } else if goes_through_history(&line) {
                work.faults.push(line);
            }
        }
        work
    }

    async fn in_postgres(catalog: &SqlCatalog, sql: &str, params: &[Value], by_index: bool) -> Self {
        let (mut transaction, _) = catalog.db.write(&[], "SELECT 1").await.unwrap();
        if by_index {
            for way in ["seqscan", "bitmapscan", "hashjoin", "mergejoin"] {
                transaction.query(&format!("SET LOCAL enable_{way} = off"), vec![]).await.unwrap();
            }
        }
        let sql = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}");
        let text = transaction.query(&sql, params.to_vec()).await.unwrap().pop().unwrap().text().unwrap();
        let plan: Json = serde_json::from_str(&text).unwrap();
        let plan = &plan[0]["Plan"];
        let pages = |what: &str| plan[what].as_u64().unwrap();
        let mut work = Self { amount: pages("Shared Hit Blocks") + pages("Shared Read Blocks"), ..Self::default() };
        let mut nodes = vec![plan];
        while let Some(node) = nodes.pop() {
            nodes.extend(node["Plans"].as_array().into_iter().flatten());
            let text = |what: &str| node[what].as_str().unwrap_or_default();
            let (kind, index) = (text("Node Type"), text("Index Name"));
            let is_history = |name: &str| HISTORY.iter().any(|table| name.starts_with(table));
            let told = || format!("{kind} of {}{index} by {}", text("Relation Name"), text("Index Cond"));
            // Some indexes contain live files only.
            let live = index.contains("_live_") || (0..4).any(|n| index == format!("dl_add_files_by_{n}"));
            let by_prefix = !text("Index Cond").contains(" AND ");
            if kind == "Seq Scan" && is_history(text("Relation Name")) || is_history(index) && by_prefix && !live {
                work.faults.push(told());
            }
            let count = |what: &str| node[what].as_u64().unwrap_or(0);
            let rows = count("Actual Rows") * count("Actual Loops");
            let filtered = count("Rows Removed by Filter") + count("Rows Removed by Index Recheck");
            work.rows = work.rows.max(rows + filtered * count("Actual Loops"));
            if kind.ends_with("Sort") && rows > FEW {
                work.sorts.push(format!("{kind} of {rows} rows by {}", node["Sort Key"]));
            }
        }
        work
    }

    /// DuckDB scans columns, except row groups that its statistics exclude.
    async fn in_duckdb(catalog: &SqlCatalog, sql: &str, params: &[Value]) -> Self {
        let (mut transaction, _) = catalog.db.write(&[], "SELECT 1").await.unwrap();
        let explain = format!("EXPLAIN (ANALYZE, FORMAT json) {sql}");
        let mut row = transaction.query(&explain, params.to_vec()).await.unwrap().pop().unwrap();
        row.text().unwrap();
        let plan: Json = serde_json::from_str(&row.text().unwrap()).unwrap();
        Self { amount: plan["cumulative_rows_scanned"].as_u64().unwrap(), ..Self::default() }
    }
}

/// Whether a line of SQLite's plan scans a table, or all rows of a table's history.
fn goes_through_history(line: &str) -> bool {
    // Tables that statements create for themselves, with a few rows.
    let own = ["own", "spreads", "keys", "changed", "files", "(subquery"];
    let is_own = |what: &str| own.iter().any(|own| what.starts_with(own)) || what.contains("CONSTANT ROW");
    // A statement about all live tables, whose number is not that of versions.
    let is_of_tables = |what: &str| what.contains("dl_tables_live_by_name");
    let scans = line.strip_prefix("SCAN ").is_some_and(|what| !is_own(what) && !is_of_tables(what));
    // A table has at most eight slots, one mirror, and few publishing failures.
    let is_small = line.starts_with("SEARCH b ") || line.contains("mirror");
    let by_prefix = line.starts_with("SEARCH") && line.ends_with("(table_id=?)") && !is_small;
    scans || by_prefix && !line.contains(" t ") && !line.contains("dl_tables")
}
