//! The rows of a table by resolution of keys, as an independent answer: of each key the newest hot version after the cut
//! of the log, else its cold row. All data files are read row by row, as files of Parquet. Pending deletes, the bounds of
//! files and their statistics, by which scans and lookups leave out rows, are not used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::cold_snapshot::{ColdFile, ColdSnapshot};
use crate::definition::{SEQ_COLUMN, seq_field};
use crate::hot_scan::HotScan;
use crate::row_table::{RowTable, SCOPE};
use crate::table_view::encoded_keys;

/// A row in a data file.
struct ColdRow {
    seq: i64,
    text: String,
}

/// A scan has the rows that resolution of keys has, in the same versions.
pub(super) async fn check_resolution(fixture: &Fixture, session: &mut SqlSession, table: &str) {
    let sql = format!("SELECT *, _seq FROM {table}");
    let got = Box::pin(ask(session, &sql)).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    assert_eq!(got, Box::pin(resolved(fixture, table)).await, "{sql}");
}

/// The rows as texts, with their `_seq`.
async fn resolved(fixture: &Fixture, table: &str) -> Vec<String> {
    let engine = fixture.engine();
    let table = engine.find(&table.parse().unwrap()).unwrap();
    let snapshot = Arc::new(engine.store().snapshot().unwrap());
    // What the log says, whether the row store has published it or not.
    let cold = ColdSnapshot::newest(&table.delta, 0).await.unwrap();
    let columns = table.definition.schema();
    let columns: SchemaRef =
        Arc::new(Schema::new(columns.fields().iter().cloned().chain([seq_field()]).collect::<Vec<_>>()));
    let mut rows = visible_rows(&table, &cold, &columns);
    let mut keys: BTreeSet<_> = rows.keys().cloned().collect();
    let mut changed = BTreeSet::new();
    snapshot
        .changes(table.id, &SCOPE, cold.cut, |change| {
            changed.insert(change.primary_key.to_vec());
            true
        })
        .unwrap();
    keys.extend(changed);
    let hot = HotScan::new(table.clone(), snapshot.clone(), cold.cut, columns).unwrap();
    let mut found = Vec::new();
    for key in keys {
        let newest = snapshot.get(table.id, &SCOPE, &key).unwrap();
        match newest.filter(|newest| newest.seq > cold.cut) {
            Some(newest) if newest.is_deleted => {}
            Some(newest) => found.extend(texts(&hot.row(&key, &newest).unwrap())),
            None => found.extend(rows.remove(&key).map(|row| row.text)),
        }
    }
    found.sort();
    found
}

/// The cold rows that no deletion vector hides, by their encoded keys. Each is the newest one of its key in the files.
fn visible_rows(table: &RowTable, cold: &ColdSnapshot, columns: &SchemaRef) -> BTreeMap<Vec<u8>, ColdRow> {
    let (mut visible, mut hidden) = (BTreeMap::<_, ColdRow>::new(), BTreeMap::<Vec<u8>, i64>::new());
    for file in &cold.files {
        for (position, (key, row)) in (0..).zip(stored_rows(table, file, columns)) {
            if file.hidden.contains(position) {
                let newest = hidden.entry(key).or_insert(row.seq);
                *newest = row.seq.max(*newest);
            } else if let Some(twice) = visible.insert(key, row) {
                panic!("{} is visible in two files or rows", twice.text);
            }
        }
    }
    for (key, row) in &visible {
        assert!(hidden.get(key).is_none_or(|seq| *seq < row.seq), "{} is older than a hidden row", row.text);
    }
    visible
}

/// All rows of a data file in order, with their encoded keys.
fn stored_rows(table: &RowTable, file: &ColdFile, columns: &SchemaRef) -> Vec<(Vec<u8>, ColdRow)> {
    let path = table.delta.local_file(&file.add).unwrap().unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        let places: Vec<_> =
            columns.fields().iter().map(|field| batch.schema().index_of(field.name()).unwrap()).collect();
        let batch = batch.project(&places).unwrap();
        let seqs = batch.column_by_name(SEQ_COLUMN).unwrap().as_primitive::<Int64Type>();
        let keys = encoded_keys(table, &batch).unwrap();
        for ((key, seq), text) in keys.into_iter().zip(seqs.values()).zip(texts(&batch)) {
            rows.push((key, ColdRow { seq: *seq, text }));
        }
    }
    rows
}

/// A change of a row, or of its neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Delete,
    DeleteNeighbour,
    Insert,
    Update,
}

const CHANGES: [Change; 4] = [Change::Delete, Change::DeleteNeighbour, Change::Insert, Change::Update];

impl Change {
    /// Changes the row with an id, or the one after it, in the table and in the model.
    async fn make(self, session: &mut SqlSession, model: &mut BTreeMap<i64, i64>, id: i64) {
        let neighbour = id + 1;
        let (sql, want) = match self {
            Self::Delete => {
                let n = model.remove(&id).into_iter().count();
                (format!("DELETE FROM app.t WHERE id = {id}"), Ok(format!("DELETE {n}")))
            }
            Self::DeleteNeighbour => {
                let n = model.remove(&neighbour).into_iter().count();
                (format!("DELETE FROM app.t WHERE id = {neighbour}"), Ok(format!("DELETE {n}")))
            }
            Self::Insert => {
                let exists = model.contains_key(&id);
                model.entry(id).or_insert(1);
                let want = if exists { Err(ErrorKind::AlreadyExists) } else { Ok("INSERT 1".to_string()) };
                (format!("INSERT INTO app.t VALUES ({id}, 1)"), want)
            }
            Self::Update => {
                let n = model.get_mut(&id).map(|v| *v += 10).into_iter().count();
                (format!("UPDATE app.t SET v = v + 10 WHERE id = {id}"), Ok(format!("UPDATE {n}")))
            }
        };
        let got = Box::pin(ask(session, &sql)).await;
        assert_eq!(got.map_err(|e| e.kind()), want.map(|done| vec![done]), "{sql}");
    }
}

/// All orders of the changes.
fn orders() -> Vec<[Change; CHANGES.len()]> {
    let mut orders = Vec::new();
    for a in CHANGES {
        for b in CHANGES {
            for c in CHANGES {
                for d in CHANGES {
                    let order = [a, b, c, d];
                    if CHANGES.iter().all(|change| order.contains(change)) {
                        orders.push(order);
                    }
                }
            }
        }
    }
    orders
}

#[tokio::test]
async fn pending_and_flushed_deletes_of_rows_side_by_side_hide_these_rows_only() {
    let orders = orders();
    assert_eq!(orders.len(), 24);
    let steps = CHANGES.len();
    // Before the changes, between two of them, or after them.
    for (first, second) in (0..=steps).flat_map(|first| (first + 1..=steps).map(move |second| (first, second))) {
        let fixture = Fixture::new().await;
        let mut session = fixture.session();
        let mut model: BTreeMap<i64, i64> = (0..2 * orders.len() as i64).map(|id| (id, 0)).collect();
        let rows: Vec<_> = model.keys().map(|id| format!("({id}, 0)")).collect();
        let create = "CREATE SHARED TABLE app.t (id BIGINT PRIMARY KEY, v BIGINT)";
        ask(&mut session, &format!("{create}; INSERT INTO app.t VALUES {}; FLUSH ALL", rows.join(", "))).await.unwrap();
        for step in 0..=steps {
            if step == first || step == second {
                check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
            }
            // Each pair of rows gets the changes in an order of its own.
            if step < steps {
                for (order, id) in orders.iter().zip((0..).step_by(2)) {
                    Box::pin(order[step].make(&mut session, &mut model, id)).await;
                }
            }
            check_rows(&mut session, &model).await;
            check_resolution(&fixture, &mut session, "app.t").await;
        }
        check(&mut session, "FLUSH ALL", &["FLUSH ALL"]).await;
        check_rows(&mut session, &model).await;
        check_rows(&mut fixture.delta_session(), &model).await;
        check_resolution(&fixture, &mut session, "app.t").await;
    }
}

async fn check_rows(session: &mut SqlSession, model: &BTreeMap<i64, i64>) {
    let mut want: Vec<_> = model.iter().map(|(id, v)| format!("{id}|{v}")).collect();
    want.sort();
    let got = Box::pin(ask(session, "SELECT id, v FROM app.t")).await.unwrap();
    assert_eq!(got, want);
    check(session, "SELECT count(*) FROM app.t", &[model.len().to_string().as_str()]).await;
}
