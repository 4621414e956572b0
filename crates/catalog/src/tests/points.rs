//! The cost of beginning a transaction does not depend on the number of tables.

use deltalakedb_log::TableRef;

use super::costs::{allowance, longer, series};
use super::databases::Database as Kind;
use super::work::Work;
use super::*;

pub(super) const FEW: i64 = 10;

/// The number of other tables in a large catalog.
pub(super) fn many_tables() -> i64 {
    if std::env::var("DELTALAKEDB_SOAK").as_deref() == Ok("1") { 100_000 } else { 20_000 }
}

/// A catalog with the table `t`, and others with one version each.
pub(super) async fn with_others(kind: Kind, dir: &std::path::Path, others: i64) -> (SqlCatalog, Record) {
    let catalog = connect_to(&kind.uri(dir, &format!("points {others}")), 1).await.unwrap();
    create(&catalog).await;
    let id = match kind {
        Kind::Sqlite => "unhex(printf('%032x', 100 + n))",
        Kind::DuckDb => "unhex(md5(CAST(n AS text)))",
        Kind::Postgres => "decode(md5(n::text), 'hex')",
    };
    let name = "'other' || CAST(n AS text)";
    let series = series(kind, others);
    let (mut tx, _) = catalog.db.write(&[], "SELECT 1").await.unwrap();
    for sql in [
        format!(
            "INSERT INTO dl_tables (table_id, namespace, name, name_key, location, location_key, state, \
             created_at, base_version, current_version, current_ts) {series} \
             SELECT {id}, 'default', {name}, 'default.' || {name}, 'file:///nowhere/' || {name} || '/', \
             'file:///nowhere/' || {name} || '/', 'live', 1, 0, 0, 1 FROM s"
        ),
        format!("INSERT INTO dl_mirrors (table_id, state) {series} SELECT {id}, 'following' FROM s"),
        format!(
            "INSERT INTO dl_table_versions (table_id, version, committed_at, time_source, files_added, files_removed, \
             bytes_added, bytes_removed, set_hash) {series} SELECT {id}, 0, 1, 'clock', 0, 0, 0, 0, ? FROM s"
        ),
    ] {
        let params = if sql.contains('?') { vec![Value::Blob(vec![0; 32])] } else { vec![] };
        tx.write(vec![WriteStatement::run(sql, params)]).await.unwrap();
    }
    tx.commit().await.unwrap();
    catalog.db.analyze().await.unwrap();
    let record = Record::default();
    (record.of(catalog), record)
}

#[tokio::test(flavor = "multi_thread")]
async fn cost_of_a_point_does_not_grow_with_the_number_of_tables() {
    for kind in databases("planning") {
        let dir = tempfile::tempdir().unwrap();
        let mut asked = Vec::new();
        for others in [FEW, many_tables()] {
            let (catalog, record) = with_others(*kind, dir.path(), others).await;
            let point = catalog.point().await.unwrap();
            let mut statements = record.statements();
            let table = catalog.find(&TableRef::Name("default.t".parse().unwrap())).await.unwrap().unwrap();
            catalog.commit_all(vec![append(table.id, 0, "later")]).await.unwrap().committed().unwrap();
            record.statements();
            for name in ["default.t", "default.other7"] {
                let then = catalog.find_at(&TableRef::Name(name.parse().unwrap()), &point).await.unwrap();
                assert_eq!(then.map(|entry| entry.current_version), Some(0), "{kind:?}: {name}");
            }
            statements.extend(record.statements());
            let mut work = 0;
            for statement in &statements {
                work += Work::of(*kind, &catalog, statement, true).await.amount;
            }
            asked.push((statements.len(), work));
            catalog.close().await;
        }
        let [(few, of_few), (many, of_many)] = asked[..] else { panic!("{asked:?}") };
        assert_eq!((few, many), (3, 3), "{kind:?}: statements");
        let limit = 2 * longer(*kind, many_tables() / FEW) * of_few + allowance(*kind);
        assert!(of_many <= limit, "{kind:?}: work of {of_many} instead of {of_few}");
    }
}
