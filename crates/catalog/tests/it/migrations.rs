//! A catalog that an older program made: it is refused or brought up to date, and the older program goes on reading it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use deltalakedb_catalog::{CatalogUri, ConnectOptions, Place, PostgresPlace, SqlCatalog};
use deltalakedb_log::action::Add;
use deltalakedb_log::catalog::HistoryRange;
use deltalakedb_log::commit::{Base, CommitRequest};
use deltalakedb_log::conformance::actions;
use deltalakedb_log::predicate::{Comparison, Literal};
use deltalakedb_log::{
    Action, At, Catalog, ErrorKind, Predicate, Result, SeededClock, TableId, TableRef, TxnLogReader, Version,
};
use duckdb::types::ValueRef as DuckRef;
use futures::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Column, Connection, Row, TypeInfo, ValueRef};
use uuid::Uuid;

use crate::databases::{Database, databases};

/// A catalog of schema version 1.
const CATALOG_1: &str = include_str!("../fixtures/catalog_1.sql");
/// The same of schema version 2.
const CATALOG_2: &str = include_str!("../fixtures/catalog_2.sql");
/// What the program that made it asked for when it read one.
const SELECTS_1: &str = include_str!("../fixtures/selects_1.sql");

const ORDERS: TableId = TableId(Uuid::from_u128(0x000a_11ce));
const EVENTS: TableId = TableId(Uuid::from_u128(0x0b0b));
const A: &str = "day=2024-01-01/a%20b.parquet";
const B: &str = "day=2024-01-02/b.parquet";
const GONE: &str = "day=2024-01-02/gone.parquet";
const BARE: &str = "day=2024-01-03/bare.parquet";
const E: &str = "day=2024-01-04/e.parquet";
const N: &str = "day=__HIVE_DEFAULT_PARTITION__/n.parquet";

#[tokio::test(flavor = "multi_thread")]
async fn an_older_catalog_is_refused_until_it_is_asked_to_change() {
    for database in databases("migration") {
        let old = Old::new(*database).await;
        let before = old.rows(SELECTS_1).await;
        let refused = old.open(false).await.map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        let text = refused.to_string();
        assert!(text.contains("schema version 1") && text.contains("`dl init`"), "{database:?}: {text}");
        assert_eq!(old.rows(SELECTS_1).await, before, "{database:?}: asking changed something");
        assert_eq!(old.rows("SELECT schema_version FROM dl_catalog").await, [["1"]], "{database:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_catalog_is_brought_up_to_date_in_place() {
    for database in databases("migration") {
        let old = Old::new(*database).await;
        let bodies = old.rows("SELECT version, body FROM dl_table_versions WHERE body IS NOT NULL ORDER BY 1, 2").await;
        let catalog = old.open(true).await.unwrap();
        check_tables(*database, &catalog).await;
        check_bytes(*database, &catalog, &bodies).await;
        check_planning(*database, &catalog).await;
        check_commit(*database, &catalog).await;
        catalog.close().await;
        drop(catalog);
        let slots = old.rows("SELECT table_id, slot, physical_column, type FROM dl_bounds ORDER BY 1, 2").await;
        let slots: Vec<_> = slots.into_iter().map(|row| row[1..].join(" ")).collect();
        let orders = ["0 day date", "1 id long", "2 amount decimal(2)", "3 note string", "4 at timestamp"];
        let events = ["0 day string", "1 id long"];
        // The dropped table has them as well.
        assert_eq!(slots, [&events[..], &orders, &orders].concat(), "{database:?}");
        let same = old.open(false).await.unwrap();
        assert_eq!(same.reader(ORDERS).head().await.unwrap().version, 5, "{database:?}");
        same.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_before_is_brought_up_to_date_in_place() {
    for database in databases("migration") {
        let old = Old::of(*database, CATALOG_2).await;
        let bodies = old.rows("SELECT version, body FROM dl_table_versions WHERE body IS NOT NULL ORDER BY 1, 2").await;
        let slots = "SELECT table_id, slot, physical_column, type FROM dl_bounds ORDER BY 1, 2";
        let before = (old.rows(SELECTS_1).await, old.rows(slots).await);
        let refused = old.open(false).await.map(drop).unwrap_err().to_string();
        assert!(refused.contains("schema version 2") && refused.contains("`dl init`"), "{database:?}: {refused}");
        old.open(true).await.unwrap().close().await;
        assert_eq!((old.rows(SELECTS_1).await, old.rows(slots).await), before, "{database:?}");
        let asks = old.rows("SELECT schema_version, min_reader, min_writer FROM dl_catalog").await;
        assert_eq!(asks, [["3", "1", "3"]], "{database:?}");
        let catalog = old.open(false).await.unwrap();
        check_tables(*database, &catalog).await;
        check_bytes(*database, &catalog, &bodies).await;
        check_planning(*database, &catalog).await;
        check_commit(*database, &catalog).await;
        catalog.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_program_goes_on_reading() {
    for database in databases("migration") {
        let old = Old::new(*database).await;
        for sql in SELECTS_1.split_inclusive(';') {
            assert!(!sql.contains("SELECT") || !old.rows(sql).await.is_empty(), "{database:?} finds nothing: {sql}");
        }
        let before = old.rows(SELECTS_1).await;
        let identity = old.rows("SELECT catalog_id, epoch FROM dl_catalog").await;
        old.open(true).await.unwrap().close().await;
        assert_eq!(old.rows(SELECTS_1).await, before, "{database:?}");
        assert_eq!(old.rows("SELECT catalog_id, epoch FROM dl_catalog").await, identity, "{database:?}");
        let asks = old.rows("SELECT schema_version, min_reader, min_writer FROM dl_catalog").await;
        assert_eq!(asks, [["3", "1", "3"]], "{database:?}: whom it lets read and write");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_may_bring_it_up_to_date_at_once() {
    for database in databases("migration") {
        let old = Old::new(*database).await;
        let both = futures::future::join_all((0..4).map(|_| {
            let old = old.clone();
            tokio::spawn(async move { old.open(true).await })
        }));
        for catalog in both.await {
            let catalog = catalog.unwrap().unwrap_or_else(|e| panic!("{database:?}: {e}"));
            assert_eq!(paths(catalog.reader(ORDERS).as_ref(), 4, None).await, set([A, B, BARE, E, N]), "{database:?}");
            catalog.close().await;
        }
        let once = "SELECT (SELECT count(*) FROM dl_catalog), (SELECT count(*) FROM dl_bounds)";
        assert_eq!(old.rows(once).await, [["1", "12"]], "{database:?}");
        assert_eq!(old.rows("SELECT schema_version FROM dl_catalog").await, [["3"]], "{database:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_catalog_is_refused_in_words() {
    for database in databases("migration") {
        let old = Old::new(*database).await;
        old.open(true).await.unwrap().close().await;
        old.run("UPDATE dl_catalog SET schema_version = 99, min_reader = 99, min_writer = 99").await;
        for create in [false, true] {
            let refused = old.open(create).await.map(drop).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
            let text = refused.to_string();
            for says in ["schema version 99", "cannot read", "use a newer deltalakedb"] {
                assert!(text.contains(says), "{database:?}: {text}");
            }
        }
        old.run("UPDATE dl_catalog SET schema_version = 99, min_reader = 2, min_writer = 99").await;
        let catalog = old.open(true).await.unwrap();
        assert_eq!(catalog.reader(ORDERS).head().await.unwrap().version, 4, "{database:?}");
        let refused = append(&catalog, "x").await.unwrap_err().to_string();
        assert!(refused.contains("schema version 99") && refused.contains("cannot write"), "{database:?}: {refused}");
        catalog.close().await;
    }
}

async fn check_tables(database: Database, catalog: &SqlCatalog) {
    let tables = catalog.tables().await.unwrap();
    let names: Vec<_> = tables.iter().map(|t| (t.name.to_string(), t.id, t.base_version, t.current_version)).collect();
    let wanted = [("default.events".to_string(), EVENTS, 10, 12), ("sales.orders".to_string(), ORDERS, 0, 4)];
    assert_eq!(names, wanted, "{database:?}");
    assert_eq!(tables[1].published_version, Some(2), "{database:?}");
    let by_name = catalog.find(&TableRef::Name("sales.orders".parse().unwrap())).await.unwrap();
    assert_eq!(by_name.map(|t| t.id), Some(ORDERS), "{database:?}: the dropped one is not found");
    let reader = catalog.reader(ORDERS);
    let snapshot = reader.snapshot(At::Latest).await.unwrap();
    assert_eq!((snapshot.head.version, snapshot.head.timestamp), (4, 1_700_000_000_004), "{database:?}");
    assert_eq!(snapshot.head, reader.head().await.unwrap(), "{database:?}");
    assert_eq!(snapshot.head.metadata.description.as_deref(), Some("orders"), "{database:?}");
    assert_eq!(snapshot.head.metadata.partition_columns, ["day"], "{database:?}");
    assert_eq!(snapshot.txns["app\0'"].version, 5, "{database:?}");
    assert_eq!(snapshot.domains.keys().collect::<Vec<_>>(), ["d2"], "{database:?}");
    let before = reader.snapshot(At::Version(2)).await.unwrap();
    assert_eq!(before.txns["app\0'"].version, 9_007_199_254_740_993, "{database:?}");
    assert_eq!(before.domains["d'1"].configuration, "{\"a\":\"\0\"}", "{database:?}");
    assert_eq!(before.head.metadata.description, None, "{database:?}");
    let history = reader.history(HistoryRange::default()).await.unwrap();
    let story: Vec<_> = history.iter().map(|c| (c.version, c.operation.as_deref().unwrap(), c.files_added)).collect();
    assert_eq!(
        story,
        [(4, "WRITE", 1), (3, "WRITE", 0), (2, "WRITE", 1), (1, "WRITE", 5), (0, "CREATE TABLE", 0)],
        "{database:?}"
    );
    assert!(history.iter().all(|c| c.committer.as_deref() == Some("alice")), "{database:?}");
    for (version, files) in [
        (0, set([])),
        (1, set([A, B, BARE, GONE, N])),
        (2, set([A, B, BARE, N])),
        (3, set([A, B, BARE, N])),
        (4, set([A, B, BARE, E, N])),
    ] {
        assert_eq!(paths(reader.as_ref(), version, None).await, files, "{database:?}, version {version}");
    }
    let newest: Vec<Add> = reader.files(4, None).await.unwrap().try_collect().await.unwrap();
    let deleted: Vec<_> =
        newest.iter().filter_map(|a| Some((&*a.path, a.deletion_vector.as_ref()?.cardinality))).collect();
    assert_eq!(deleted, [(B, 1)], "{database:?}");
    let events = catalog.reader(EVENTS);
    for (version, files) in [(10, set(["old-1", "old-2"])), (11, set(["old-1", "old-2", "new-1"]))] {
        assert_eq!(paths(events.as_ref(), version, None).await, files, "{database:?}, version {version}");
    }
    assert_eq!(paths(events.as_ref(), 12, None).await, set(["new-1", "old-2"]), "{database:?}");
    let counts = events.counts(12).await.unwrap();
    assert_eq!((counts.files, counts.bytes, counts.rows), (2, 20, Some(20)), "{database:?}");
}

async fn check_bytes(database: Database, catalog: &SqlCatalog, bodies: &[Vec<String>]) {
    let mut held = BTreeSet::new();
    for (table, versions) in [(ORDERS, 0..=4), (EVENTS, 10..=12)] {
        for version in versions {
            if let Some(bytes) = catalog.reader(table).commit_bytes(version).await.unwrap() {
                held.insert((version.to_string(), bytes.to_vec()));
            }
        }
    }
    let stored: BTreeSet<_> = bodies
        .iter()
        .map(|row| {
            let hex = row[1].as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap());
            let body: Vec<u8> = hex.map(|two| u8::from_str_radix(two, 16).unwrap()).collect();
            (row[0].clone(), zstd::decode_all(&body[..]).unwrap())
        })
        .collect();
    assert_eq!(held.len(), 7, "{database:?}: version 10 of events has no bytes");
    // The dropped table's are a copy of version 0.
    assert!(held == stored, "{database:?}: the bytes of a commit differ");
}

async fn check_planning(database: Database, catalog: &SqlCatalog) {
    use Comparison::*;
    let reader = catalog.reader(ORDERS);
    let is = |column: &str, op, value| Predicate::Compare(column.into(), op, value);
    let null = |column: &str| Predicate::IsNull(column.into());
    let (big, day) = (Literal::Long(9_007_199_254_740_994), |n| Literal::Date(19_723 + n));
    // What matches, in the newest version and in the first that has files. Of the bare one only the day is known.
    for (predicate, newest, first) in [
        (is("id", Eq, big), set([BARE, E]), set([BARE])),
        (is("id", Eq, Literal::Long(5)), set([A, BARE]), set([A, BARE, GONE])),
        (is("amount", Gt, Literal::Decimal(1990, 2)), set([BARE]), set([BARE, GONE])),
        (is("amount", Lt, Literal::Decimal(0, 2)), set([BARE, N]), set([BARE, N])),
        (Predicate::StartsWith("note".into(), "zoo".into()), set([B, BARE]), set([B, BARE])),
        (is("day", Eq, day(1)), set([B]), set([B, GONE])),
        (is("day", Eq, day(2)), set([BARE]), set([BARE])),
        (null("day"), set([N]), set([N])),
        (null("id"), set([BARE]), set([BARE])),
        (is("at", Gt, Literal::Timestamp(1_704_067_201_000_998)), set([A, B, BARE, E, N]), set([A, B, BARE, GONE, N])),
        (is("at", Gt, Literal::Timestamp(1_704_067_201_000_999)), set([BARE]), set([BARE])),
    ] {
        for (version, wanted) in [(4, &newest), (1, &first)] {
            let found = paths(reader.as_ref(), version, Some(&predicate)).await;
            assert_eq!(&found, wanted, "{database:?}, version {version}: {predicate}");
        }
        // Bounds were filled in: what SQL gives is what is kept.
        let explained = reader.explain(4, &predicate).await.unwrap();
        assert_eq!(
            (explained.found, explained.kept),
            (newest.len() as u64, newest.len() as u64),
            "{database:?}: {predicate}"
        );
    }
    let events = catalog.reader(EVENTS);
    let low = is("id", Lt, Literal::Long(15));
    assert_eq!(paths(events.as_ref(), 12, Some(&low)).await, set(["old-2"]), "{database:?}");
    let ends = events.min_max(12, "id").await.unwrap();
    assert_eq!(ends, Some((Literal::Long(10), Literal::Long(29))), "{database:?}");
}

async fn check_commit(database: Database, catalog: &SqlCatalog) {
    assert_eq!(append(catalog, "new").await.unwrap(), 5, "{database:?}");
    let reader = catalog.reader(ORDERS);
    let high = Predicate::Compare("id".into(), Comparison::Eq, Literal::Long(1_000_000));
    assert_eq!(paths(reader.as_ref(), 5, Some(&high)).await, set([BARE, "new"]), "{database:?}");
    assert_eq!(paths(reader.as_ref(), 4, None).await, set([A, B, BARE, E, N]), "{database:?}");
}

async fn append(catalog: &SqlCatalog, path: &str) -> Result<Version> {
    let add = Action::Add(actions::file(path, 1_000_000, 1_000_009));
    let request = CommitRequest::new(ORDERS, Uuid::from_u128(77), Base::RebaseFrom(4), vec![add]);
    Ok(catalog.commit_all(vec![request]).await?.committed()?[0].version)
}

fn set<const N: usize>(paths: [&str; N]) -> BTreeSet<String> {
    paths.into_iter().map(String::from).collect()
}

async fn paths(reader: &dyn TxnLogReader, version: Version, predicate: Option<&Predicate>) -> BTreeSet<String> {
    let files: Vec<Add> = reader.files(version, predicate).await.unwrap().try_collect().await.unwrap();
    let paths: BTreeSet<_> = files.iter().map(|add| add.path.clone()).collect();
    assert_eq!(paths.len(), files.len(), "no file comes twice");
    paths
}

/// A database that holds the old catalog, and a plain client of it.
#[derive(Clone)]
struct Old {
    uri: CatalogUri,
    _dir: Arc<tempfile::TempDir>,
}

impl Old {
    async fn new(database: Database) -> Self {
        Self::of(database, CATALOG_1).await
    }

    async fn of(database: Database, content: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let uri = CatalogUri::parse(&database.uri(dir.path(), "old")).unwrap();
        let old = Self { uri, _dir: Arc::new(dir) };
        if let Place::Postgres(place) = &old.uri.place {
            old.run(&format!("CREATE SCHEMA \"{}\"", place.schema)).await;
        }
        old.run(content).await;
        old
    }

    async fn open(&self, create: bool) -> Result<SqlCatalog> {
        let clock = Arc::new(SeededClock::new(1_800_000_000_000, 8));
        SqlCatalog::connect(&self.uri, ConnectOptions { create, clock, ..Default::default() }).await
    }

    async fn run(&self, sql: &str) {
        match &self.uri.place {
            Place::Sqlite(path) => {
                let mut client = sqlite(path).await;
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut client).await.unwrap();
                client.close().await.unwrap();
            }
            Place::Postgres(place) => {
                let sql = with_blobs(&sql.replace(" blob", " bytea"), |hex| format!("'\\x{hex}'"));
                let mut client = postgres(place).await;
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut client).await.unwrap();
                client.close().await.unwrap();
            }
            Place::DuckDb(path) => {
                // There its catalogs have no indexes but those of their keys.
                let lines: Vec<_> = sql.lines().filter(|line| !line.starts_with("CREATE INDEX")).collect();
                duckdb::Connection::open(path).unwrap().execute_batch(&duck(&lines.join("\n"))).unwrap();
            }
        }
    }

    /// The rows of these queries, as text, blobs in hexadecimal.
    async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        match &self.uri.place {
            Place::Sqlite(path) => {
                let mut client = sqlite(path).await;
                let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut client).await.unwrap();
                client.close().await.unwrap();
                let text = |row: &sqlx::sqlite::SqliteRow, i: usize| match row.try_get_raw(i).unwrap() {
                    value if value.is_null() => "null".into(),
                    value => match value.type_info().name() {
                        "INTEGER" => row.get::<i64, _>(i).to_string(),
                        "BLOB" => hex(row.get(i)),
                        _ => row.get::<String, _>(i),
                    },
                };
                rows.iter().map(|row| row.columns().iter().map(|c| text(row, c.ordinal())).collect()).collect()
            }
            Place::Postgres(place) => {
                let mut client = postgres(place).await;
                let sql = with_blobs(sql, |hex| format!("'\\x{hex}'"));
                let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut client).await.unwrap();
                client.close().await.unwrap();
                let text = |row: &sqlx::postgres::PgRow, i: usize| match row.try_get_raw(i).unwrap() {
                    value if value.is_null() => "null".into(),
                    value => value.as_str().unwrap().trim_start_matches("\\x").to_string(),
                };
                rows.iter().map(|row| row.columns().iter().map(|c| text(row, c.ordinal())).collect()).collect()
            }
            Place::DuckDb(path) => {
                let client = duckdb::Connection::open(path).unwrap();
                duck(sql)
                    .split_inclusive(';')
                    .filter(|sql| sql.contains("SELECT"))
                    .flat_map(|sql| duck_rows(&client, sql))
                    .collect()
            }
        }
    }
}

async fn sqlite(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

async fn postgres(place: &PostgresPlace) -> PgConnection {
    let options = PgConnectOptions::new()
        .host(place.host.as_deref().unwrap())
        .port(place.port.unwrap())
        .username(place.user.as_deref().unwrap())
        .database(&place.database)
        .options([("search_path", &place.schema)]);
    PgConnection::connect_with(&options).await.unwrap()
}

/// As DuckDB spells it.
fn duck(sql: &str) -> String {
    with_blobs(sql, |hex| {
        let bytes: Vec<_> =
            hex.as_bytes().chunks(2).map(|two| format!("\\x{}", std::str::from_utf8(two).unwrap())).collect();
        format!("'{}'::BLOB", bytes.concat())
    })
}

fn duck_rows(client: &duckdb::Connection, sql: &str) -> Vec<Vec<String>> {
    let mut statement = client.prepare(sql).unwrap();
    let mut rows = statement.query([]).unwrap();
    let columns = rows.as_ref().unwrap().column_count();
    let mut all = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let text = |i| match row.get_ref(i).unwrap() {
            DuckRef::Null => "null".into(),
            DuckRef::Int(n) => n.to_string(),
            DuckRef::BigInt(n) => n.to_string(),
            DuckRef::Text(text) => String::from_utf8(text.into()).unwrap(),
            DuckRef::Blob(blob) => hex(blob),
            other => panic!("{other:?} in a row of {sql}"),
        };
        all.push((0..columns).map(text).collect());
    }
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// With the blobs, `x'..'` in SQLite, spelled otherwise.
fn with_blobs(sql: &str, spell: impl Fn(&str) -> String) -> String {
    let mut parts = sql.split("x'");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |sql, part| {
        let (hex, rest) = part.split_once('\'').unwrap();
        sql + &spell(hex) + rest
    })
}
