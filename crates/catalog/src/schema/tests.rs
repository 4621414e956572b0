use std::collections::BTreeMap;
use std::sync::Arc;

use deltalakedb_log::commit::{Base, CommitRequest, NewTable};
use deltalakedb_log::conformance::actions;
use deltalakedb_log::{Action, Catalog, ErrorKind, Location, Result, SeededClock, TableId};
use uuid::Uuid;

use super::{Backfill, MIGRATIONS, Migration, backfill_batch, migrate_with};
use crate::database::{Database, WriteStatement};
use crate::tests::connect_to;
use crate::tests::databases::databases;
use crate::uri::{Backend, CatalogUri};
use crate::{ConnectOptions, SqlCatalog, schema};

const DOCUMENT: &str = include_str!("../../../../docs/schema.md");

/// `table.column`, and its type.
type Columns = BTreeMap<String, String>;

#[tokio::test]
async fn every_column_is_documented() {
    let dir = tempfile::tempdir().unwrap();
    let uri = CatalogUri { backend: Backend::Sqlite(dir.path().join("c.db")), table: None };
    let clock = Arc::new(SeededClock::new(1_700_000_000_000, 1));
    let catalog = SqlCatalog::connect(&uri, ConnectOptions { clock, ..Default::default() }).await.unwrap();
    let sql = "SELECT t.name || '.' || c.name, lower(c.type), c.\"notnull\" \
               FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'";
    let mut actual = Columns::new();
    for mut row in catalog.db.query(sql, vec![]).await.unwrap() {
        let (name, kind) = (row.text().unwrap(), row.text().unwrap());
        let or_null = if row.int().unwrap() == 0 { " or null" } else { "" };
        actual.insert(name, kind + or_null);
    }
    assert!(actual.contains_key("dl_add_files.spread_7"), "the columns of every migration: {actual:?}");
    let wrong = differences(&actual, &documented(DOCUMENT));
    assert!(wrong.is_empty(), "docs/schema.md and crates/catalog/migrations differ:\n{}", wrong.join("\n"));
}

#[test]
fn a_difference_is_named() {
    let check = |document: &str, want: &[&str]| {
        let actual = [("dl_t.a", "bigint"), ("dl_t.b_0", "blob or null"), ("dl_t.b_1", "blob or null")];
        let actual = actual.map(|(name, kind)| (name.to_string(), kind.to_string())).into();
        let text = format!("## `dl_t`\n\n| column | type | meaning |\n|---|---|---|\n{document}\n\n| x | y | z |\n");
        assert_eq!(differences(&actual, &documented(&text)), want, "{document}");
    };
    let b = "| `b_0` to `b_1` | blob or null | |";
    check(&format!("| `a` | bigint | an a |\n{b}"), &[]);
    check(b, &["dl_t.a (bigint) is not documented"]);
    check(&format!("| `a` | text | |\n{b}"), &["dl_t.a is bigint, and documented as text"]);
    check(&format!("| `a` | bigint | |\n{b}\n| `c` | text | |"), &["dl_t.c is documented, and does not exist"]);
}

/// Migrations of a newer program.
const NEWER: &[Migration] = &[
    MIGRATIONS[0],
    Migration { name: "0002_comments", sql: "ALTER TABLE dl_tables ADD COLUMN comment text", backfill: Some(FILL) },
];
const FILL: Backfill = Backfill {
    sql: "UPDATE dl_tables SET comment = 'about ' || name \
          WHERE table_id IN (SELECT table_id FROM dl_tables WHERE comment IS NULL LIMIT ?)",
    rows: 2,
};

async fn newer(db: &dyn Database, create: bool) -> Result<schema::Identity> {
    migrate_with(db, &SeededClock::new(1, 2), create, NEWER).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_catalog_is_upgraded_only_on_request() {
    for database in databases("migration") {
        let dir = tempfile::tempdir().unwrap();
        let uri = CatalogUri::parse(&database.uri(dir.path(), "older")).unwrap();
        let clock = Arc::new(SeededClock::new(1_700_000_000_000, 1));
        let options = ConnectOptions { clock, ..Default::default() };
        let catalog = SqlCatalog::connect(&uri, options.clone()).await.unwrap();
        let asks = async || {
            let sql = "SELECT schema_version, min_reader, min_writer FROM dl_catalog";
            let rows = catalog.db.query(sql, vec![]).await.unwrap();
            rows.into_iter()
                .map(|mut row| (row.int().unwrap(), row.int().unwrap(), row.int().unwrap()))
                .collect::<Vec<_>>()
        };
        let refused = newer(catalog.db.as_ref(), false).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{database:?}: {refused}");
        let says = refused.to_string();
        assert!(says.contains("schema version 1") && says.contains("`dl init`"), "{database:?}: {says}");
        assert_eq!(asks().await, [(1, 1, 1)], "{database:?}: asking changed something");
        // Several at once: one upgrades the catalog, the others find it upgraded.
        let all = (0..4).map(|_| {
            let db = catalog.db.clone();
            tokio::spawn(async move { newer(db.as_ref(), true).await })
        });
        let before = catalog.last_identity().catalog_id;
        for identity in futures::future::join_all(all).await {
            let identity = identity.unwrap().unwrap_or_else(|e| panic!("{database:?}: {e}"));
            assert_eq!((identity.version, identity.catalog_id), (2, before), "{database:?}");
        }
        assert_eq!(asks().await, [(2, 1, 1)], "{database:?}");
        let comments = catalog.db.query("SELECT comment FROM dl_tables", vec![]).await.unwrap();
        assert!(comments.is_empty(), "{database:?}");
        // An older program can still open it, as `min_reader` allows.
        SqlCatalog::connect(&uri, options.clone()).await.unwrap();
        let (mut tx, _) = catalog.db.write(&[], "SELECT 1").await.unwrap();
        let sql = "UPDATE dl_catalog SET schema_version = 99, min_reader = 99, min_writer = 99";
        tx.write(vec![WriteStatement::run(sql, vec![])]).await.unwrap();
        tx.commit().await.unwrap();
        for create in [false, true] {
            let refused = schema::migrate(catalog.db.as_ref(), options.clock.as_ref(), create).await.unwrap_err();
            let says = refused.to_string();
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{database:?}: {says}");
            for part in ["schema version 99", "cannot read", "use a newer deltalakedb"] {
                assert!(says.contains(part), "{database:?}: {says}");
            }
        }
        catalog.db.close().await;
    }
}

/// The comments of tables with numbered names, in the order of the numbers.
async fn comments(db: &dyn Database) -> Vec<Option<String>> {
    let rows = db.query("SELECT comment FROM dl_tables ORDER BY name", vec![]).await.unwrap();
    rows.into_iter().map(|mut row| row.opt_text().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_runs_after_its_migration_in_small_transactions() {
    for database in databases("migration") {
        let dir = tempfile::tempdir().unwrap();
        let uri = database.uri(dir.path(), "backfill");
        let older = connect_to(&uri, 1).await.unwrap();
        for n in 0..5 {
            create_named(&older, n).await;
        }
        let clock = SeededClock::new(1, 2);
        let db = older.db.as_ref();
        let done = async || {
            let sql = "SELECT backfilled_at FROM dl_migrations WHERE number = 2";
            db.query(sql, vec![]).await.unwrap().pop().unwrap().opt_int().unwrap()
        };
        // A process has applied the migration and filled some rows, and is killed before it has filled the others.
        super::apply(db, &clock, NEWER).await.unwrap();
        assert!(backfill_batch(db, &clock, 2, FILL).await.unwrap(), "{database:?}");
        let mut killed = db.migrate().await.unwrap();
        assert_eq!(
            killed.write(vec![WriteStatement::run(FILL.sql, vec![FILL.rows.into()])]).await.unwrap(),
            2,
            "{database:?}"
        );
        drop(killed);
        let filled = comments(db).await.iter().flatten().count();
        assert_eq!((filled, done().await), (2, None), "{database:?}");
        // A program that may not change the catalog reads it unchanged, and an older one continues to write.
        newer(db, false).await.unwrap();
        create_named(&older, 5).await;
        assert_eq!((comments(db).await.iter().flatten().count(), done().await), (2, None), "{database:?}");
        // Several processes continue at once, and each ends when all rows are filled.
        let all = (0..4).map(|_| {
            let db = older.db.clone();
            tokio::spawn(async move { newer(db.as_ref(), true).await })
        });
        for identity in futures::future::join_all(all).await {
            identity.unwrap().unwrap_or_else(|e| panic!("{database:?}: {e}"));
        }
        let about: Vec<_> = (0..6).map(|n| Some(format!("about t{n}"))).collect();
        assert_eq!(comments(db).await, about, "{database:?}");
        assert!(done().await.is_some(), "{database:?}");
        // Rows that the older program writes from now on are null there, without other consequences.
        create_named(&older, 6).await;
        newer(db, true).await.unwrap();
        assert_eq!(comments(db).await, [&about[..], &[None]].concat(), "{database:?}: it is over");
        older.db.close().await;
    }
}

/// Creates the table `t0` with a numbered id.
async fn create_named(catalog: &SqlCatalog, n: u128) {
    let (name, id) = (format!("t{n}"), TableId(Uuid::from_u128(10 + n)));
    let new = NewTable::new(name.parse().unwrap(), Location::parse(&format!("/nowhere/{name}")).unwrap());
    let actions = vec![Action::Protocol(actions::protocol()), Action::Metadata(actions::metadata("{}"))];
    let request = CommitRequest::new(id, Uuid::from_u128(2), Base::Create(new), actions);
    catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_with_another_checksum_of_a_migration_is_refused() {
    const EDITED: &[Migration] =
        &[Migration { sql: "CREATE TABLE dl_catalog (other text)", ..MIGRATIONS[0] }, NEWER[1]];
    for database in databases("migration") {
        let dir = tempfile::tempdir().unwrap();
        let catalog = connect_to(&database.uri(dir.path(), "edited"), 1).await.unwrap();
        let (db, clock) = (catalog.db.as_ref(), SeededClock::new(1, 2));
        for create in [false, true] {
            let refused = migrate_with(db, &clock, create, EDITED).await.unwrap_err();
            let says = refused.to_string();
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{database:?}: {says}");
            for part in ["migration 1 (0001_log)", "use the program that created it", "import its tables"] {
                assert!(says.contains(part), "{database:?}: {says}");
            }
        }
        newer(db, true).await.unwrap();
        schema::migrate(db, &clock, false).await.unwrap();
        let (mut tx, _) = db.write(&[], "SELECT 1").await.unwrap();
        tx.write(vec![WriteStatement::run("DELETE FROM dl_migrations WHERE number = 1", vec![])]).await.unwrap();
        tx.commit().await.unwrap();
        for gone in ["DELETE FROM dl_migrations", "DROP TABLE dl_migrations"] {
            let refused = schema::migrate(db, &clock, true).await.unwrap_err();
            assert!(refused.to_string().contains("migration 1 (0001_log)"), "{database:?}: {refused}");
            let (mut tx, _) = db.write(&[], "SELECT 1").await.unwrap();
            tx.write(vec![WriteStatement::run(gone, vec![])]).await.unwrap();
            tx.commit().await.unwrap();
        }
        let refused = schema::migrate(db, &clock, true).await.unwrap_err();
        assert!(refused.to_string().contains("migration 1 (0001_log)"), "{database:?}: {refused}");
        catalog.db.close().await;
    }
}

/// A part of a migration that would change existing rows, or fail because of them; `None` if there is none.
fn fault(sql: &str) -> Option<String> {
    let code: Vec<_> = sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    code.join(" ").split(';').map(|s| s.split_whitespace().collect::<Vec<_>>().join(" ")).find(|s| !only_adds(s))
}

fn only_adds(statement: &str) -> bool {
    let words = statement.to_uppercase();
    let starts = |with: &str| words.starts_with(with);
    let adds_column = starts("ALTER TABLE ") && words.contains(" ADD COLUMN ");
    let limits = ["NOT NULL", "DEFAULT", "UNIQUE", "PRIMARY KEY", "CHECK", "REFERENCES", "GENERATED"];
    words.is_empty()
        || (starts("CREATE TABLE ") && !words.contains(" AS SELECT"))
        || starts("CREATE INDEX ")
        || starts("DROP INDEX ")
        || (adds_column && !limits.iter().any(|limit| words.contains(limit)))
}

#[test]
fn migrations_only_add() {
    for Migration { name, sql, .. } in MIGRATIONS.iter().chain(NEWER) {
        assert_eq!(fault(sql), None, "{name}");
    }
    for refused in [
        "ALTER TABLE dl_tables ADD COLUMN comment text NOT NULL",
        "alter table dl_tables add column comment text default ''",
        "ALTER TABLE dl_tables DROP COLUMN owner",
        "ALTER TABLE dl_tables ALTER COLUMN owner TYPE blob",
        "ALTER TABLE dl_tables RENAME TO dl_others",
        "CREATE UNIQUE INDEX dl_i ON dl_tables (location)",
        "CREATE TABLE dl_copy AS SELECT * FROM dl_tables",
        "UPDATE dl_tables SET owner = NULL",
        "DELETE FROM dl_audit",
        "DROP TABLE dl_audit",
    ] {
        let sql = format!("-- First; this.\nCREATE TABLE dl_t (a bigint NOT NULL);\n{refused};\n");
        assert_eq!(fault(&sql).as_deref(), Some(refused), "{refused}");
    }
}

fn differences(actual: &Columns, documented: &Columns) -> Vec<String> {
    let of_actual = actual.iter().filter_map(|(name, kind)| match documented.get(name) {
        None => Some(format!("{name} ({kind}) is not documented")),
        Some(said) if said != kind => Some(format!("{name} is {kind}, and documented as {said}")),
        Some(_) => None,
    });
    let gone = documented.keys().filter(|name| !actual.contains_key(*name));
    of_actual.chain(gone.map(|name| format!("{name} is documented, and does not exist"))).collect()
}

/// The columns in the tables `column | type | meaning`, each under a heading that is the name of its table.
fn documented(text: &str) -> Columns {
    let (mut columns, mut table, mut inside) = (Columns::new(), "", false);
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            table = heading.trim_matches('`');
        }
        let begins = line == "| column | type | meaning |";
        inside = begins || (inside && line.starts_with('|'));
        if begins || !inside || line.starts_with("|-") {
            continue;
        }
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [names, kind, _meaning] = cells[..] else { panic!("not three cells: {line}") };
        for name in expanded(names) {
            let before = columns.insert(format!("{table}.{name}"), kind.to_string());
            assert_eq!(before, None, "{table}.{name} is documented twice");
        }
    }
    columns
}

/// The names a cell stands for: one, or several as in `c_0` to `c_7`.
fn expanded(cell: &str) -> Vec<String> {
    let name = |s: &str| s.trim_matches('`').to_string();
    let Some((first, last)) = cell.split_once(" to ") else { return vec![name(cell)] };
    let numbered = |s: &str| {
        let name = name(s);
        let (stem, number) = name.rsplit_once('_').unwrap();
        (stem.to_string(), number.parse::<u8>().unwrap())
    };
    let ((stem, from), (_, to)) = (numbered(first), numbered(last));
    (from..=to).map(|n| format!("{stem}_{n}")).collect()
}
