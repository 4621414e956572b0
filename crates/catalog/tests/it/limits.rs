//! Long, large and unusual values are read back unchanged.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltalakedb_catalog::{CatalogUri, ConnectOptions, SqlCatalog};
use deltalakedb_log::action::{Add, Metadata};
use deltalakedb_log::commit::{Base, CommitRequest, NewTable};
use deltalakedb_log::conformance::actions::{self, action};
use deltalakedb_log::predicate::{Comparison, Literal};
use deltalakedb_log::{
    Action, At, Catalog, Commit, CommitTime, ErrorKind, HistoryItem, HistoryLoad, HistoryLoading, Location,
    LoggedCommit, Outcome, Predicate, SeededClock, TableId, TimeSource, TxnLogReaderExt, Version,
};
use fastrand::Rng;
use futures::TryStreamExt;
use serde_json::json;
use uuid::Uuid;

use crate::databases::{Database, databases};

/// Beyond the integers that a double represents exactly.
const BIG: i64 = (1 << 53) + 1;

async fn open(uri: &str) -> SqlCatalog {
    let clock = Arc::new(SeededClock::new(1_700_000_000_000, 1));
    SqlCatalog::connect(&CatalogUri::parse(uri).unwrap(), ConnectOptions { clock, ..Default::default() }).await.unwrap()
}

/// Checks that every database returns the commit, committed or loaded: its bytes, its files, its state.
async fn check(name: &str, metadata: Metadata, of_commit: Vec<Action>) {
    let dir = tempfile::tempdir().unwrap();
    let create = vec![Action::Protocol(actions::protocol()), Action::Metadata(metadata)];
    let bodies = [&create, &of_commit].map(Commit::render);
    for database in databases("limits") {
        let catalog = open(&database.uri(dir.path(), name)).await;
        let (committed, loaded) = (TableId(Uuid::from_u128(1)), TableId(Uuid::from_u128(2)));
        for (version, actions) in (0..).zip([&create, &of_commit]) {
            let base = if version == 0 { Base::Create(new_table("committed")) } else { Base::Exactly(version - 1) };
            let request = CommitRequest::new(committed, Uuid::from_u128(version.into()), base, actions.clone());
            catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        }
        let item = |(version, body): (Version, &bytes::Bytes)| {
            let time = CommitTime { ms: 1_700_000_000_000 + version as i64, source: TimeSource::File };
            Ok(HistoryItem::Commit(LoggedCommit { version, time, body: body.clone(), origin: name.into() }))
        };
        let items: Vec<_> = (0..).zip(&bodies).map(item).collect();
        let items = futures::stream::iter(items);
        let new = new_table("loaded");
        let load = HistoryLoad::new(loaded, new, items);
        catalog.load_history(load).await.unwrap();
        for table in [committed, loaded] {
            let about = format!("{name}, {database:?}, table {table}");
            let reader = catalog.reader(table);
            for (version, body) in (0..).zip(&bodies) {
                let bytes = reader.commit_bytes(version).await.unwrap().unwrap();
                // A commit of ours has an additional first line.
                let ours = if table == committed { bytes.iter().position(|b| *b == b'\n').unwrap() + 1 } else { 0 };
                assert!(bytes[ours..] == body[..], "{about}: the bytes of version {version} differ");
            }
            let added = |a: &Action| match a {
                Action::Add(add) => Some((add.path.clone(), add.clone())),
                _ => None,
            };
            let wanted: BTreeMap<_, _> = of_commit.iter().filter_map(added).collect();
            let files: Vec<Add> = reader.files(1, None).await.unwrap().try_collect().await.unwrap();
            let found: BTreeMap<_, _> = files.into_iter().map(|add| (add.path.clone(), Arc::new(add))).collect();
            assert!(found == wanted, "{about}: the files differ");
            let bytes = wanted.values().map(|add| i128::from(add.size)).sum::<i128>();
            assert_eq!(i128::from(reader.counts(1).await.unwrap().bytes), bytes, "{about}");
            let snapshot = reader.snapshot(At::Version(1)).await.unwrap();
            assert_eq!(snapshot.head, reader.head().await.unwrap(), "{about}");
            assert_eq!(Action::Metadata(snapshot.head.metadata.clone()), create[1], "{about}");
            for action in &of_commit {
                match action {
                    Action::Txn(txn) => assert_eq!(snapshot.txns.get(&txn.app_id), Some(txn), "{about}"),
                    Action::DomainMetadata(d) => assert_eq!(snapshot.domains.get(&d.domain), Some(d), "{about}"),
                    _ => {}
                }
            }
        }
        catalog.close().await;
    }
}

fn new_table(name: &str) -> NewTable {
    NewTable::new(name.parse().unwrap(), Location::parse(&format!("/nowhere/{name}")).unwrap())
}

fn add(path: &str, day: &str, stats: String) -> Action {
    let mut add = actions::file("", 0, 0);
    add.path = path.into();
    add.partition_values = [("day".to_string(), Some(day.to_string()))].into();
    add.stats = Some(stats);
    Action::add(add)
}

fn id_stats(min: i64, max: i64) -> String {
    format!(r#"{{"numRecords":10,"minValues":{{"id":{min}}},"maxValues":{{"id":{max}}},"nullCount":{{"id":0}}}}"#)
}

/// Random letters, which do not compress.
fn letters(count: usize) -> String {
    let mut rng = Rng::with_seed(7);
    std::iter::repeat_with(|| rng.char('À'..'\u{ffff}')).filter(|c| c.is_alphabetic()).take(count).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_numbers_stay_exact() {
    let mut large = actions::file("large", BIG, BIG);
    (large.size, large.modification_time, large.base_row_id) = (BIG, i64::MIN, Some(i64::MAX));
    let most = actions::file("most", i64::MIN, i64::MAX);
    let decimals = r#"{"numRecords":1,"minValues":{"d":-99999999999999999999999999999999999999},"maxValues":{"d":9999999999999999999999999999.9999999999}}"#;
    let digits = add("digits", "12345678901234567890123456789012345678", decimals.into());
    let txns = [("a", i64::MAX), ("b", i64::MIN), ("c", BIG)].map(|(app, version)| actions::txn(app, version));
    let files = [Action::add(large), Action::add(most), digits];
    check("numbers", actions::metadata("{}"), [&files[..], &txns[..]].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nul_and_every_other_character_is_kept() {
    let odd: String = "\0 '\"\\%00?$1\u{1f}\u{7f}\u{feff}\u{fffd}\u{ffff}\u{10ffff}\r\n\t😀\0".into();
    let mut metadata = actions::metadata("{}");
    metadata.configuration = [(odd.clone(), Some(odd.clone())), ("none".into(), None)].into();
    (metadata.description, metadata.name, metadata.id) = (Some(odd.clone()), Some(odd.clone()), odd.clone());
    let stats = json!({"numRecords": 1, "minValues": {"id": 1, "day": odd}, "maxValues": {"id": 1, "day": odd}});
    let mut file = match add("d%00%25%20%27/ü '\"\\?#.parquet", &odd, stats.to_string()) {
        Action::Add(add) => Arc::unwrap_or_clone(add),
        other => panic!("{other:?}"),
    };
    file.tags = Some([(odd.clone(), Some(odd.clone())), ("none".into(), None)].into());
    file.clustering_provider = Some(odd.clone());
    let others = [
        action(&json!({"txn": {"appId": odd, "version": 1}}).to_string()),
        action(&json!({"txn": {"appId": "", "version": 2}}).to_string()),
        action(&json!({"domainMetadata": {"domain": odd, "configuration": odd, "removed": false}}).to_string()),
        action(&json!({"domainMetadata": {"domain": "", "configuration": "", "removed": false}}).to_string()),
        action(&json!({"what nobody knows": {"\0": "\0"}}).to_string()),
    ];
    check("characters", metadata, [&[Action::add(file)][..], &others[..]].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_names_are_stored() {
    let long = letters(2_000);
    let encoded: String = long.bytes().map(|b| format!("%{b:02X}")).collect();
    let stats = json!({"numRecords": 1, "minValues": {"id": 1}, "maxValues": {"id": 1}}).to_string();
    let files = [add(&long, &long, stats.clone()), add(&format!("p/{encoded}"), "a", stats)];
    check("long", actions::metadata("{}"), files.into()).await;
}

fn of_application_and_domain(name: &str) -> Vec<Action> {
    vec![
        action(&json!({"txn": {"appId": name, "version": 1}}).to_string()),
        action(&json!({"domainMetadata": {"domain": name, "configuration": name, "removed": false}}).to_string()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_and_domains_may_have_long_names() {
    check("apps", actions::metadata("{}"), of_application_and_domain(&letters(600))).await;
}

/// These names are in keys, whose size PostgreSQL limits.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_stored_unchanged_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    for database in databases("limits") {
        let catalog = open(&database.uri(dir.path(), "names")).await;
        let table = TableId(Uuid::from_u128(1));
        let create = vec![Action::Protocol(actions::protocol()), Action::Metadata(actions::metadata("{}"))];
        let create = CommitRequest::new(table, Uuid::from_u128(1), Base::Create(new_table("t")), create);
        catalog.commit_all(vec![create]).await.unwrap().committed().unwrap();
        for (n, action) in (0..).zip(of_application_and_domain(&letters(4_000))) {
            let head = catalog.reader(table).head().await.unwrap().version;
            let request = CommitRequest::new(table, Uuid::from_u128(2 + n), Base::Exactly(head), vec![action.clone()]);
            match (database, catalog.commit_all(vec![request]).await) {
                (Database::Postgres, Err(refused)) => {
                    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
                    assert!(refused.to_string().contains("a name is longer than"), "{refused}");
                    assert_eq!(catalog.reader(table).head().await.unwrap().version, head);
                }
                (Database::Sqlite | Database::DuckDb, Ok(Outcome::Committed(_))) => {
                    let snapshot = catalog.reader(table).snapshot(At::Latest).await.unwrap();
                    match &action {
                        Action::Txn(txn) => assert_eq!(snapshot.txns.get(&txn.app_id), Some(txn), "{database:?}"),
                        Action::DomainMetadata(d) => {
                            assert_eq!(snapshot.domains.get(&d.domain), Some(d), "{database:?}")
                        }
                        other => panic!("{other:?}"),
                    }
                }
                (_, other) => panic!("{database:?}: {other:?}"),
            }
        }
        catalog.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_of_change_data_may_be_long() {
    let cdc = json!({"cdc": {"path": letters(2_000), "partitionValues": {}, "size": BIG, "dataChange": false}});
    check("cdc", actions::metadata("{}"), vec![action(&cdc.to_string())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_may_have_5000_columns() {
    let names: Vec<String> = (0..5_000).map(|n| format!("a column of some length, number {n}")).collect();
    let field = |name: &String| json!({"name": name, "type": "long", "nullable": true, "metadata": {"n": "1"}});
    let mut metadata = actions::metadata("{}");
    metadata.schema_string =
        json!({"type": "struct", "fields": names.iter().map(field).collect::<Vec<_>>()}).to_string();
    metadata.partition_columns = Vec::new();
    let values = |n: i64| names.iter().map(|name| (name.clone(), n.into())).collect::<serde_json::Map<_, _>>();
    let file = |path: &str, n: i64| {
        let stats =
            json!({"numRecords": 9, "minValues": values(n), "maxValues": values(n + 9), "nullCount": values(0)});
        add(path, "", stats.to_string())
    };
    check("columns", metadata, vec![file("a", BIG), file("b", -5)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_may_have_10_megabytes() {
    let many: Vec<_> =
        (0..5_000).map(|n| add(&format!("f-{n:0240}"), "a", id_stats(n, n + 9) + &" ".repeat(1_700))).collect();
    let bytes = |actions: &[Action]| Commit::render(actions).len();
    assert!(bytes(&many) > 10 << 20, "{} bytes", bytes(&many));
    check("many", actions::metadata("{}"), many).await;
    let text = letters(4 << 20);
    let stats = json!({"numRecords": 1, "minValues": {"id": 1, "day": text}, "maxValues": {"id": 1}}).to_string();
    let one = vec![add("one", "a", stats)];
    assert!(bytes(&one) > 10 << 20, "{} bytes", bytes(&one));
    check("one", actions::metadata("{}"), one).await;
}

/// An import keeps what no writer of ours would write.
#[tokio::test(flavor = "multi_thread")]
async fn loaded_bytes_are_stored_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let first = [Action::Protocol(actions::protocol()), Action::Metadata(actions::metadata("{}"))];
    let odd = "\r\n{ \"txn\" : {\"appId\":\"a\", \"appId\":\"\\u0000\",\"version\": 1, \"x\":1.50e400}}\n\n{\"add\":null}\n{}";
    for database in databases("limits") {
        let catalog = open(&database.uri(dir.path(), "bytes")).await;
        let bodies = [Commit::render(&first), odd.into(), "".into(), "\n".into()];
        let item = |(version, body): (Version, &bytes::Bytes)| {
            let time = CommitTime { ms: 1_700_000_000_000 + version as i64, source: TimeSource::File };
            Ok(HistoryItem::Commit(LoggedCommit { version, time, body: body.clone(), origin: "bytes".into() }))
        };
        let items = futures::stream::iter((0..).zip(&bodies).map(item).collect::<Vec<_>>());
        let table = TableId(Uuid::from_u128(1));
        let load = HistoryLoad::new(table, new_table("t"), items);
        catalog.load_history(load).await.unwrap();
        let reader = catalog.reader(table);
        for (version, body) in (0..).zip(&bodies) {
            assert_eq!(reader.commit_bytes(version).await.unwrap().as_ref(), Some(body), "{database:?}, {version}");
        }
        let changes: Vec<_> = reader.changes(0, 3).await.unwrap().try_collect().await.unwrap();
        assert_eq!(changes, (0..).zip(bodies).collect::<Vec<_>>(), "{database:?}");
        catalog.close().await;
    }
}

/// Neighbouring integers beyond 2^53 are distinguished, by their bounds and by their partition values.
#[tokio::test(flavor = "multi_thread")]
async fn large_numbers_are_found_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let field = |name, of: &str| json!({"name": name, "type": of, "nullable": true, "metadata": {}});
    let mut metadata = actions::metadata("{}");
    let fields = [field("id", "long"), field("day", "decimal(38,10)")];
    metadata.schema_string = json!({"type": "struct", "fields": fields}).to_string();
    let digits = |n: i128| Literal::Decimal(9_999_999_999_999_999_999_999_999_999_999_999_900 + n, 10);
    let file = |n: i64| add(&format!("f{n}"), &digits(n.into()).to_string(), id_stats(BIG + n, BIG + n));
    for database in databases("limits") {
        let catalog = open(&database.uri(dir.path(), "exact")).await;
        let table = TableId(Uuid::from_u128(1));
        let mut actions = vec![Action::Protocol(actions::protocol()), Action::Metadata(metadata.clone())];
        actions.extend((0..100).map(file));
        let request = CommitRequest::new(table, Uuid::from_u128(1), Base::Create(new_table("t")), actions);
        catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        let reader = catalog.reader(table);
        for n in [0, 50, 99] {
            for (column, value) in [("id", Literal::Long(BIG + n)), ("day", digits(n.into()))] {
                let p = Predicate::Compare(column.into(), Comparison::Eq, value);
                let found: Vec<_> =
                    reader.files(0, Some(&p)).await.unwrap().map_ok(|a| a.path).try_collect().await.unwrap();
                assert_eq!(found, [format!("f{n}")], "{database:?}: {p}");
            }
        }
        let ends = reader.min_max(0, "id").await.unwrap();
        assert_eq!(ends, Some((Literal::Long(BIG), Literal::Long(BIG + 99))), "{database:?}");
        assert_eq!(reader.min_max(0, "day").await.unwrap(), Some((digits(0), digits(99))), "{database:?}");
        catalog.close().await;
    }
}
