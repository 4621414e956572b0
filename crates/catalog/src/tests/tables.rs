//! The cost of listing, finding, creating, renaming and removing tables, in a small catalog and in a large one.

use std::fmt::Write as _;

use deltalakedb_log::Committer;
use deltalakedb_log::{
    CatalogNamespaces, MirrorProgress, TableLifecycle, TableName, TablePage, TableRef, TableState, check_no_overlap,
    require,
};

use super::costs::{allowance, longer, series};
use super::databases::Database as Kind;
use super::points::{FEW, many_tables, with_others};
use super::work::Work;
use super::*;

const QUESTIONS: &[&str] = &[
    "page",
    "page after",
    "page of a namespace",
    "find",
    "a name that is not there",
    "a free place",
    "a place inside",
    "a place around",
    "a log that was moved",
    "create",
    "append",
    "lag",
    "rename",
    "tables that are dropped",
    "dropped tables of a name",
    "tables that are over",
    "remove",
    "a namespace that is not empty",
];

async fn ask(catalog: &SqlCatalog, question: &str) {
    let place = |text: &str| Location::parse(text).unwrap();
    let name = |text: &str| -> TableName { text.parse().unwrap() };
    let by_name = |text: &str| TableRef::Name(name(text));
    match question {
        "page" | "page after" | "page of a namespace" => {
            let after = (question == "page after").then(|| name("default.other5"));
            let namespace = question.ends_with("namespace").then(|| "default".to_string());
            let page = TablePage { namespace, after, limit: 3 };
            assert_eq!(catalog.tables_page(&page).await.unwrap().len(), 3);
        }
        "find" => assert!(catalog.find(&by_name("other5")).await.unwrap().is_some()),
        "a name that is not there" => {
            let error = require(catalog, &by_name("otter5")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        }
        "a free place" => check_no_overlap(catalog, &place("/nowhere/free")).await.unwrap(),
        "a place inside" => _ = check_no_overlap(catalog, &place("/nowhere/other5/x")).await.unwrap_err(),
        "a place around" => _ = check_no_overlap(catalog, &place("/nowhere")).await.unwrap_err(),
        "a log that was moved" => assert_eq!(catalog.tables_with_metadata("id 5").await.unwrap().len(), 1),
        "create" => {
            let id = TableId(Uuid::from_u128(77));
            let new = NewTable::new(name("new"), place("/nowhere/new"));
            let actions = vec![Action::Protocol(actions::protocol()), Action::Metadata(actions::metadata("{}"))];
            let request = CommitRequest::new(id, Uuid::from_u128(78), Base::Create(new), actions);
            catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        }
        "append" => {
            let request = append(TableId(Uuid::from_u128(77)), 0, "file");
            catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        }
        "lag" => {
            let tables = [TableId(Uuid::from_u128(77))];
            assert_eq!(catalog.tables_behind(Some(&tables)).await.unwrap().len(), 1);
        }
        "rename" => {
            catalog
                .rename_table(TableId(Uuid::from_u128(77)), &name("other.name"), &Committer::default())
                .await
                .unwrap();
        }
        "tables that are dropped" => {
            let first = catalog.inactive_tables(None, 3).await.unwrap();
            assert_eq!(first.len(), 3);
            assert_eq!(catalog.inactive_tables(first.last(), 3).await.unwrap().len(), 3);
        }
        "dropped tables of a name" => {
            assert_eq!(catalog.inactive_named(&name("gone.t5")).await.unwrap().len(), 1);
        }
        "tables that are over" => assert_eq!(catalog.removable_tables(None, 3).await.unwrap().len(), 3),
        "remove" => {
            let table = catalog.removable_tables(None, 1).await.unwrap().remove(0);
            assert_eq!(table.state, TableState::Dropped);
            assert!(catalog.remove_table(table.id).await.unwrap().is_done);
        }
        "a namespace that is not empty" => {
            let error = catalog.drop_namespace("other", None).await.unwrap_err();
            assert!(error.to_string().contains("other.name"), "{error}");
        }
        other => panic!("{other} is not a question"),
    }
}

/// In addition to the live tables, the same number of dropped ones, of which half are removable, and an id in the
/// metadata of each live one.
async fn with_dropped(kind: Kind, catalog: &SqlCatalog, others: i64) {
    let id = |n: &str| match kind {
        Kind::Sqlite => format!("unhex(printf('%032x', {n}))"),
        Kind::DuckDb => format!("unhex(md5(CAST({n} AS text)))"),
        Kind::Postgres => format!("decode(md5(({n})::text), 'hex')"),
    };
    let bytes = match kind {
        Kind::Sqlite => "CAST('id ' || n AS blob)",
        Kind::DuckDb => "encode('id ' || CAST(n AS text))",
        Kind::Postgres => "convert_to('id ' || n::text, 'UTF8')",
    };
    let (mut tx, _) = catalog.db.write(&[], "SELECT 1").await.unwrap();
    for sql in [
        format!(
            "INSERT INTO dl_tables (table_id, namespace, name, location, state, created_at, dropped_at, base_version, \
             current_version, current_ts, retained_until) {} SELECT {}, 'gone', 't' || CAST(n AS text), \
             'file:///gone/', 'dropped', 1, n, 0, 0, 1, CASE WHEN n % 2 = 0 THEN n ELSE {} END FROM s",
            series(kind, others),
            id("1000000 + n"),
            i64::MAX
        ),
        format!(
            "INSERT INTO dl_metadata_updates (table_id, version, metadata_id, format, schema_json, partition_columns, \
             configuration) {} SELECT {}, 0, {bytes}, {bytes}, {bytes}, {bytes}, {bytes} FROM s",
            series(kind, others),
            match kind {
                Kind::Sqlite => id("100 + n"),
                Kind::DuckDb | Kind::Postgres => id("n"),
            }
        ),
    ] {
        tx.write(vec![WriteStatement::run(sql, vec![])]).await.unwrap();
    }
    tx.commit().await.unwrap();
    catalog.db.analyze().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn cost_of_creating_and_finding_a_table_does_not_grow_with_the_number_of_tables() {
    let mut wrong = String::new();
    for kind in databases("planning") {
        let dir = tempfile::tempdir().unwrap();
        let mut asked: Vec<Vec<(usize, u64)>> = Vec::new();
        for others in [FEW, many_tables()] {
            let (catalog, record) = with_others(*kind, dir.path(), others).await;
            with_dropped(*kind, &catalog, others).await;
            let mut costs = Vec::new();
            for question in QUESTIONS {
                record.statements();
                ask(&catalog, question).await;
                let statements = record.statements();
                let mut amount = 0;
                for statement in &statements {
                    // A server scans small tables, so the plan for large ones is requested.
                    amount += Work::of(*kind, &catalog, statement, others == FEW).await.amount;
                }
                costs.push((statements.len(), amount));
            }
            asked.push(costs);
            catalog.close().await;
        }
        for ((question, few), many) in QUESTIONS.iter().zip(&asked[0]).zip(&asked[1]) {
            let limit = 2 * longer(*kind, many_tables() / FEW) * few.1 + allowance(*kind) + beside(question);
            if few.0 != many.0 || many.1 > limit {
                let _ = writeln!(
                    wrong,
                    "{kind:?}, {question}: {} statements and work of {} instead of {} and {}",
                    many.0, many.1, few.0, few.1
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Names near a missing one are a hundred in total, and fewer in a smaller catalog.
fn beside(question: &str) -> u64 {
    match question {
        "a name that is not there" => 1_000,
        _ => 0,
    }
}
