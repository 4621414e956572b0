//! The semantics of SQL: statements run here and in DuckDB, whose results are the reference.
//!
//! The statements are in files in this folder: conditions, each of which selects, deletes and updates rows; whole
//! statements; and merges. Known differences are listed there with their reasons, and must be exactly as listed.

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Float32Type, Float64Type, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{Catalog, Location, Result, TableRef};
use deltalakedb_table::{
    Assignments, DeltaTable, Merge, MergeClause, Operation, SaveMode, Scan, SqlOptions, SqlResult, SqlSession,
    TableSchema, Transaction, TransactionOptions, WriteOptions, create_table, parse_clause, query_error,
};
use deltalakedb_tests::{Database, catalog, python};
use futures::{StreamExt, TryStreamExt, stream};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;

const TABLES: &str = include_str!("semantics/tables.sql");
const CONDITIONS: &str = include_str!("semantics/conditions.sql");
const STATEMENTS: &str = include_str!("semantics/statements.sql");
const MERGES: &str = include_str!("semantics/merges.txt");
const JUDGE: &str = include_str!("semantics/judge.py");

/// The columns that one of the tables is partitioned by.
const PARTITIONED: (&str, &[&str]) = ("parts", &["p", "q", "day", "b"]);

/// Rows as text, sorted; `error` where there are none.
type Answer = Vec<String>;

/// The reason of a difference, and our answer.
type Difference = (String, Answer);

/// A case that runs once in DuckDB, and here in one or more equivalent ways.
struct Case {
    /// A statement, and the query for the rows after it; empty if the statement is a query.
    judged: (String, String),
    ours: Vec<TestStatement>,
    differs: Option<Difference>,
}

#[derive(Debug)]
enum TestStatement {
    Query(String),
    /// A statement, and the query for the rows after it.
    Change(String, String),
    /// The same, with the rows that the query must not return.
    Deletion(String, String),
    /// A merge of the rows of `new` into `m`.
    Merge(Merge),
}

/// Parts of a file that are separated by lines: each with the difference and the table named in its comments.
fn parts<'a>(text: &'a str, divided_by: &str) -> Vec<(String, Option<Difference>, &'a str)> {
    let (mut why, mut ours, mut table) = (None, None, "");
    let mut parts = Vec::new();
    for part in text.split(divided_by) {
        let mut said = String::new();
        for line in part.lines() {
            if let Some(reason) = line.strip_prefix("-- differs: ") {
                why = Some(reason.to_string());
            } else if let Some(rows) = line.strip_prefix("-- ours: ") {
                ours = Some(serde_json::from_str(rows).unwrap_or_else(|e| panic!("{line}: {e}")));
            } else if let Some(name) = line.strip_prefix("-- table: ") {
                table = name;
            } else if !line.starts_with("-- ") && !line.is_empty() {
                said.push_str(line);
                said.push('\n');
            }
        }
        let said = said.trim_end();
        if !said.is_empty() {
            let differs = why.take().map(|why| (why, ours.take().expect("`-- ours:` follows `-- differs:`")));
            parts.push((said.to_string(), differs, table));
        }
    }
    parts
}

fn conditions() -> impl Iterator<Item = Case> {
    parts(CONDITIONS, "\n").into_iter().enumerate().map(|(n, (condition, differs, table))| {
        let id = if table == "names" { "\"Id\"" } else { "id" };
        let ids = format!("SELECT {id} FROM {table}");
        let selected = format!("{ids} WHERE {condition}");
        let updated = format!("UPDATE {table} SET n = -1 WHERE {condition}");
        // Deletes and updates use the same condition, and take long, so each runs for every second condition.
        let change = if n % 2 == 0 {
            TestStatement::Deletion(format!("DELETE FROM {table} WHERE {condition}"), ids.clone())
        } else {
            TestStatement::Change(updated, format!("{ids} WHERE n = -1"))
        };
        let ours = vec![TestStatement::Query(selected.clone()), change];
        Case { judged: (selected, String::new()), ours, differs }
    })
}

fn statements() -> impl Iterator<Item = Case> {
    parts(STATEMENTS, ";\n").into_iter().map(|(statement, differs, _)| {
        let words: Vec<_> = statement.split_whitespace().collect();
        let changed = match words[..] {
            ["INSERT", "INTO", table, ..] | ["UPDATE", table, ..] => format!("SELECT * FROM {table}"),
            _ => String::new(),
        };
        let ours = if changed.is_empty() {
            TestStatement::Query(statement.clone())
        } else {
            TestStatement::Change(statement.clone(), changed.clone())
        };
        Case { judged: (statement, changed), ours: vec![ours], differs }
    })
}

fn merges() -> impl Iterator<Item = Case> {
    parts(MERGES, "\n\n").into_iter().map(|(text, differs, _)| {
        let mut lines = text.lines();
        let mut merge = Merge::on(lines.next().unwrap());
        let mut judged = format!("MERGE INTO m AS target USING new AS source ON ({})", merge.on);
        for line in lines {
            let (clause, text) = clause(line);
            merge = merge.when(clause);
            judged.push_str(&text);
        }
        Case { judged: (judged, "SELECT * FROM m".into()), ours: vec![TestStatement::Merge(merge)], differs }
    })
}

/// A clause of a merge, and its equivalent in DuckDB.
fn clause(line: &str) -> (MergeClause, String) {
    let kinds = ["NOT MATCHED BY SOURCE", "NOT MATCHED", "MATCHED"];
    let (kind, rest) = kinds.iter().find_map(|k| Some((*k, line.strip_prefix(k)?.trim()))).unwrap();
    let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let (set, condition) = match verb {
        "DELETE" => (Assignments::All, rest.strip_prefix("WHERE ").map(String::from)),
        _ => parse_clause(rest).unwrap(),
    };
    let columns = match &set {
        Assignments::Columns(columns) => columns.clone(),
        Assignments::All => ["k", "x", "s", "y"].map(|c| (c.into(), format!("source.{c}"))).to_vec(),
    };
    let and = condition.as_ref().map(|condition| format!(" AND ({condition})")).unwrap_or_default();
    let then = match verb {
        "DELETE" => "DELETE".to_string(),
        "UPDATE" => {
            let set: Vec<_> = columns.iter().map(|(column, value)| format!("{column} = {value}")).collect();
            format!("UPDATE SET {}", set.join(", "))
        }
        _ => {
            let (names, values): (Vec<_>, Vec<_>) = columns.iter().cloned().unzip();
            format!("INSERT ({}) VALUES ({})", names.join(", "), values.join(", "))
        }
    };
    let clause = match (kind, verb) {
        ("MATCHED", "UPDATE") => MergeClause::MatchedUpdate { condition, set },
        ("MATCHED", _) => MergeClause::MatchedDelete { condition },
        ("NOT MATCHED", _) => MergeClause::NotMatchedInsert { condition, values: set },
        (_, "UPDATE") => MergeClause::NotMatchedBySourceUpdate { condition, set: columns },
        _ => MergeClause::NotMatchedBySourceDelete { condition },
    };
    (clause, format!(" WHEN {kind}{and} THEN {then}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_have_the_results_of_duckdb() {
    let Some(python) = python("duckdb, pyarrow") else { return };
    let cases: Vec<_> = conditions().chain(statements()).chain(merges()).collect();
    let statement: usize = cases.iter().map(|case| case.ours.len()).sum();
    assert!(statement >= 300, "only {statement} statements are asked");

    let dir = tempfile::tempdir().unwrap();
    let questions: Vec<_> = cases.iter().map(|case| case.judged.clone()).collect();
    let folder = dir.path().to_str().unwrap().to_string();
    let judged = tokio::task::spawn_blocking(move || judge(&python, &folder, &questions)).await.unwrap();
    let catalog: Arc<dyn Catalog> = catalog(Database::Sqlite, dir.path()).await;
    for file in std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "parquet") {
            fill(&catalog, &file).await;
        }
    }

    let mut pairs = Vec::new();
    for (case, judged) in cases.into_iter().zip(judged) {
        let Case { differs, ours, .. } = case;
        pairs.extend(ours.into_iter().map(|statement| (statement, judged.clone(), differs.clone())));
    }
    let found: Vec<_> = stream::iter(pairs)
        .map(|(statement, judged, differs)| tokio::spawn(compare(catalog.clone(), statement, judged, differs)))
        .buffered(4)
        .map(|done| done.unwrap())
        .collect()
        .await;
    let wrong: Vec<_> = found.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} of {statement}:\n{}", wrong.len(), wrong.join("\n"));
}

/// The difference of our answer, if there is one.
async fn compare(
    catalog: Arc<dyn Catalog>,
    statement: TestStatement,
    judged: Answer,
    differs: Option<(String, Answer)>,
) -> Option<String> {
    let ours = answer(catalog, &statement).await;
    let (ours, error) = ours.map_or_else(|e| (vec!["error".to_string()], e.to_string()), |rows| (rows, String::new()));
    match differs {
        None if ours == judged => None,
        None => Some(format!("{statement:?}: ours {ours:?}, theirs {judged:?} {error}")),
        Some(_) if ours == judged => Some(format!("{statement:?}: does not differ any more: {ours:?}")),
        Some((_, known)) if ours == known => None,
        Some((_, known)) => {
            Some(format!("{statement:?}: ours {ours:?}, said to be {known:?}, theirs {judged:?} {error}"))
        }
    }
}

/// The answers of DuckDB, which also writes each table as a Parquet file to the folder.
fn judge(python: &std::path::Path, folder: &str, questions: &[(String, String)]) -> Vec<Answer> {
    let mut process = Command::new(python);
    process.args(["-c", JUDGE, TABLES, folder]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = process.spawn().unwrap();
    process.stdin.take().unwrap().write_all(json!(questions).to_string().as_bytes()).unwrap();
    let ran = process.wait_with_output().unwrap();
    assert!(ran.status.success(), "the judge fails: {}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

/// Creates a table from a Parquet file; every two rows become a file.
async fn fill(catalog: &Arc<dyn Catalog>, file: &std::path::Path) {
    let name = file.file_stem().unwrap().to_str().unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
    let (schema, options) = (TableSchema::from_arrow(&batches[0].schema()).unwrap(), WriteOptions::default());
    let location = Location::parse(file.with_extension("table").to_str().unwrap()).unwrap();
    let new = NewTable::new(name.parse().unwrap(), location);
    let partition_by = if name == PARTITIONED.0 { PARTITIONED.1 } else { &[] };
    let partition_by: Vec<_> = partition_by.iter().map(|column| column.to_string()).collect();
    create_table(catalog.as_ref(), new, &schema, &partition_by, &Default::default(), &options).await.unwrap();
    let table = DeltaTable::open_in(catalog.clone(), &TableRef::Name(name.parse().unwrap())).await.unwrap();
    for batch in &batches {
        for row in (0..batch.num_rows()).step_by(2) {
            let rows = batch.slice(row, 2.min(batch.num_rows() - row));
            table.write(vec![rows], SaveMode::Append, &options).await.unwrap();
        }
    }
}

/// Our answer. Changes of a statement are undone.
async fn answer(catalog: Arc<dyn Catalog>, statement: &TestStatement) -> Result<Answer> {
    let mut session = SqlSession::new(catalog.clone(), SqlOptions::default())?;
    let rows = match statement {
        TestStatement::Query(query) => rows(&mut session, query).await?,
        TestStatement::Change(statement, query) => rows(&mut session, &format!("BEGIN; {statement}; {query}")).await?,
        TestStatement::Deletion(statement, query) => {
            let mut all = rows(&mut session, query).await?;
            let left = rows(&mut session, &format!("BEGIN; {statement}; {query}")).await?;
            all.retain(|row| !left.contains(row));
            all
        }
        TestStatement::Merge(merge) => {
            let tx = Transaction::begin(catalog, TransactionOptions::default()).await?;
            let new = tx.read("new", &Scan::default()).await?;
            let merged = tx.run("m", Operation::Merge(merge.clone(), new.into())).await;
            let rows = match merged {
                Ok(_) => Ok(text(&tx.read("m", &Scan::default()).await?)),
                Err(e) => Err(e.into()),
            };
            tx.rollback().await;
            return rows;
        }
    };
    session.close().await?;
    Ok(rows)
}

async fn rows(session: &mut SqlSession, sql: &str) -> Result<Answer> {
    let mut script = session.execute(sql)?;
    let mut all = Vec::new();
    while let Some(result) = script.next().await? {
        if let SqlResult::Rows(rows) = result {
            let batches: Vec<_> = rows.try_collect().await.map_err(|e| query_error(e, "no rows"))?;
            all = text(&batches);
        }
    }
    Ok(all)
}

fn text(batches: &[RecordBatch]) -> Answer {
    let row = |batch: &RecordBatch, row| {
        let values: Vec<_> = batch.columns().iter().map(|column| value(column, row)).collect();
        values.join("|")
    };
    let mut all: Vec<_> = batches.iter().flat_map(|b| (0..b.num_rows()).map(move |n| row(b, n))).collect();
    all.sort();
    all
}

/// A value as DuckDB writes it: numbers by their digits, whatever their type.
fn value(column: &dyn Array, row: usize) -> String {
    if column.is_null(row) {
        return "null".into();
    }
    let formatted = || ArrayFormatter::try_new(column, &FormatOptions::default()).unwrap().value(row).to_string();
    match column.data_type() {
        DataType::Float32 => f64::from(column.as_primitive::<Float32Type>().value(row)).to_string(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).to_string(),
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) if *scale > 0 => {
            formatted().trim_end_matches('0').trim_end_matches('.').to_string()
        }
        DataType::Date32 => column.as_primitive::<Date32Type>().value_as_date(row).unwrap().to_string(),
        DataType::Timestamp(..) => {
            let micros = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None)).unwrap();
            let time = micros.as_primitive::<TimestampMicrosecondType>().value_as_datetime(row).unwrap();
            time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>().value(row);
            let values: Vec<_> = (0..list.len()).map(|n| value(&list, n)).collect();
            format!("[{}]", values.join(", "))
        }
        _ => formatted(),
    }
}
