//! Every operation on a copy of every golden table has the same result as in plain delta-rs, or is rejected by name and
//! leaves the folder unchanged.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use deltalakedb_log::features::has_deletion_vectors;
use deltalakedb_log::{At, ErrorKind, TableRef};
use deltalakedb_table::{Assignments, DeltaTable, Merge, MergeClause, Optimize, Scan};
use deltalakedb_tests::{contents, copy, golden, import, location, our_rows, repository, sqlite, their_rows, unpack};
use futures::StreamExt;
use serde_json::json;

use crate::operations::{Step, delta_rs, deltalakedb};

/// A million rows each, and no feature.
const LARGE: &[&str] = &["parquet-decimal-dictionaries", "parquet-decimal-dictionaries-v2"];

/// Operations that delta-rs does not support and we do, because the catalog enforces the feature.
const OURS_ONLY: &[&str] = &["basic-with-vacuum-protocol-check-feature"];

/// Tables without rows, or without existing files.
const NO_ROWS: &[&str] = &[
    "canonicalized-paths-normal-b",
    "canonicalized-paths-special-a",
    "cdf-table-delete-conditional-all-rows",
    "cdf-table-simple",
    "delete-re-add-same-file-different-transactions",
    "deltalog-getChanges",
    "log-replay-special-characters",
    "log-replay-special-characters-b",
];

/// The operations need a column that is not nested.
const NO_SIMPLE_COLUMN: &[&str] = &["data-reader-array-primitives", "data-reader-nullable-field-invalid-schema-key"];

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_equals_that_of_delta_rs_or_is_refused_without_trace() {
    let Some(tables) = golden() else { return };
    let small = tables.into_iter().filter(|(name, _)| !LARGE.contains(&name.as_str()));
    let checks = small.map(|(name, archive)| async move {
        let check = tokio::spawn({
            let name = name.clone();
            async move { check(&name, &archive).await }
        });
        (name, check.await)
    });
    let done: Vec<_> = futures::stream::iter(checks).buffer_unordered(4).collect().await;
    let failed: Vec<_> = done.iter().filter(|(_, done)| done.is_err()).map(|(name, _)| name).collect();
    assert!(failed.is_empty(), "{failed:?}, see above");
    // The tables on which no operation ran are listed, so that the others are known to be checked.
    let with = |wanted: Checked| -> BTreeSet<&str> {
        let names = done.iter().filter(|(_, done)| done.as_ref().is_ok_and(|done| *done == wanted));
        names.map(|(name, _)| name.as_str()).collect()
    };
    let refused = crate::golden::REFUSED.iter().map(|(name, _)| *name).collect();
    assert_eq!(with(Checked::NoTable), refused, "tables that are refused");
    assert_eq!(with(Checked::NoRows), NO_ROWS.iter().copied().collect(), "tables without rows that can be read");
    assert_eq!(with(Checked::NoSimpleColumn), NO_SIMPLE_COLUMN.iter().copied().collect(), "tables of nested columns");
}

/// The result for a golden table.
#[derive(Debug, PartialEq)]
enum Checked {
    NoTable,
    NoRows,
    NoSimpleColumn,
    Operations,
}

async fn check(name: &str, archive: &Path) -> Checked {
    let dir = tempfile::tempdir().unwrap();
    let at = unpack(archive, dir.path());
    let catalog = sqlite(dir.path()).await;
    if import(&catalog, &at, "t").await.is_err() {
        return Checked::NoTable;
    }
    let plain = dir.path().join("plain");
    copy(&at, &plain);
    let (here, plain) = (location(&at), location(&plain));
    let table = DeltaTable::open_in(catalog.clone(), &TableRef::Location(here.clone())).await.unwrap();
    let rows = table.read(&Scan { limit: Some(2), ..Scan::default() }).await.unwrap_or_default();
    let Some(rows) = rows.into_iter().find(|batch| batch.num_rows() > 0) else { return Checked::NoRows };
    let steps = steps(&rows);
    if steps.is_empty() {
        return Checked::NoSimpleColumn;
    }
    let protocol = table.head().await.unwrap().protocol;
    let common = protocol.min_reader_version == 1 && protocol.min_writer_version <= 4;
    for (n, (what, step)) in steps.into_iter().enumerate() {
        // Tables without special features behave alike.
        if common && n >= COMMON {
            continue;
        }
        let before = contents(&at);
        let done = deltalakedb::run(&catalog, "t", &here, &step).await;
        if done.is_err() {
            let after = contents(&at);
            let new: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
            assert!(before == after, "{name}: {what} was refused and left {new:?}: {done:?}");
        }
        if OURS_ONLY.contains(&name) {
            assert_eq!(done.is_ok(), what != "nonsense", "{name}: {what}: {done:?}");
            continue;
        }
        let theirs = delta_rs::run(&plain, &step).await;
        assert_eq!(done.is_ok(), theirs.is_ok(), "{name}: {what}: {done:?}, {theirs:?}");
        if let (Err(ours), Err(theirs)) = (&done, &theirs)
            && let Some((feature, _)) = theirs.to_string().split_once(" is not supported")
        {
            assert!(ours.to_string().contains(feature), "{name}: {what}: {ours} does not name {feature}");
        }
    }
    if OURS_ONLY.contains(&name) {
        return Checked::Operations;
    }
    let entry = catalog.find(&TableRef::Name("t".parse().unwrap())).await.unwrap().unwrap();
    // Files with deletion vectors are compacted where rewritten ones are not, so the numbers of versions differ.
    let version = if has_deletion_vectors(&protocol) { newest_version(&plain) } else { entry.current_version };
    let theirs = their_rows(&plain, version).await.unwrap();
    assert_eq!(our_rows(&catalog, &entry, entry.current_version).await.unwrap(), theirs, "the rows of {name}");
    Checked::Operations
}

/// The newest version in the log of a table without a catalog.
fn newest_version(plain: &deltalakedb_log::Location) -> u64 {
    let log = std::fs::read_dir(plain.local_path().unwrap().join("_delta_log")).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    log.filter_map(|entry| name(entry).strip_suffix(".json")?.parse().ok()).max().unwrap()
}

/// The number of steps that run on every table.
const COMMON: usize = 4;

/// Each operation once, with rows of the table's own.
pub(crate) fn steps(rows: &RecordBatch) -> Vec<(&'static str, Step)> {
    let schema = rows.schema();
    let simple =
        |f: &&Arc<Field>| !matches!(f.data_type(), DataType::Struct(_) | DataType::List(_) | DataType::Map(..));
    let quoted = |name: &str| format!("`{name}`");
    let Some(column) = schema.fields().iter().find(simple).map(|f| f.name().clone()) else { return Vec::new() };
    let c = quoted(&column);
    let upsert = Merge::on(format!("target.{c} = source.{c}"))
        .when(MergeClause::MatchedUpdate { condition: None, set: Assignments::All })
        .when(MergeClause::NotMatchedInsert { condition: None, values: Assignments::All });
    let more = Arc::new(Schema::new(vec![Field::new("one_more", DataType::Int64, true)]));
    let overwrite = Step::Overwrite { rows: rows.clone(), evolution: None, replace_where: None };
    vec![
        ("append", Step::Append { rows: rows.clone(), evolution: None }),
        ("update", Step::Update { set: vec![(c.clone(), c.clone())], filter: Some(format!("{c} IS NOT NULL")) }),
        ("merge", Step::Merge(upsert, rows.clone())),
        ("delete", Step::Delete(Some(format!("{c} IS NULL")))),
        ("optimize", Step::Optimize(Optimize::default())),
        ("constrain", Step::Constrain { name: "any".into(), condition: format!("{c} IS NULL OR {c} IS NOT NULL") }),
        ("set a property", Step::SetProperties([("delta.dataSkippingNumIndexedCols".into(), "3".into())].into())),
        ("add a column", Step::AddColumns(more)),
        ("restore", Step::Restore(0)),
        ("overwrite", overwrite),
        ("delete all", Step::Delete(None)),
        ("nonsense", Step::Delete(Some("no_such_column = 1".into()))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feature_that_cannot_be_written_is_refused_by_name() {
    let identity = r#"{"name":"n","type":"long","nullable":true,"metadata":{"delta.identity.start":1}}"#;
    let cases = [
        ("rowTracking", ""),
        ("clustering", ""),
        ("icebergCompatV1", ""),
        ("icebergCompatV2", ""),
        ("typeWidening", ""),
        ("allowColumnDefaults", ""),
        ("collations", ""),
        ("nobody's", ""),
        ("identity columns", identity),
    ];
    for (feature, column) in cases {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("t");
        copy(&repository().join("examples/data/events"), &at);
        let catalog = sqlite(dir.path()).await;
        let (writer, features) = if column.is_empty() { (7, Some(vec![feature])) } else { (6, None) };
        let mut protocol = json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": writer}});
        if let Some(features) = features {
            protocol["protocol"]["writerFeatures"] = json!(features);
        }
        // The only feature here that readers must support as well.
        if feature == "typeWidening" {
            protocol["protocol"]["minReaderVersion"] = json!(3);
            protocol["protocol"]["readerFeatures"] = json!([feature]);
        }
        let mut commit = protocol.to_string();
        if !column.is_empty() {
            let mut metadata = their_metadata(&at).await;
            let schema = metadata["schemaString"].as_str().unwrap();
            metadata["schemaString"] = schema.replacen(r#""fields":["#, &format!(r#""fields":[{column},"#), 1).into();
            commit += &format!("\n{}", json!({"metaData": metadata}));
        }
        std::fs::write(at.join("_delta_log/00000000000000000014.json"), commit).unwrap();
        import(&catalog, &at, "t").await.unwrap();
        let table = DeltaTable::open_in(catalog.clone(), &TableRef::Name("t".parse().unwrap())).await.unwrap();
        let rows =
            table.read(&Scan { at: At::Version(13), limit: Some(2), ..Scan::default() }).await.unwrap().remove(0);
        let before = contents(&at);
        for (what, step) in steps(&rows) {
            let refused = deltalakedb::run(&catalog, "t", &location(&at), &step).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{what}: {refused}");
            let said = refused.to_string();
            assert!(said.contains(feature) && said.ends_with("nothing was written"), "{what}, {feature}: {said}");
            assert!(contents(&at) == before, "{what}, {feature}: nothing was written");
        }
    }
}

async fn their_metadata(at: &Path) -> serde_json::Value {
    let replayed = deltalakedb_table::plain::replay(&location(at), None).await.unwrap();
    serde_json::from_str(&replayed.metadata.to_json()).unwrap()
}
