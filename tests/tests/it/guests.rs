//! A session with a guest, which has a relation in memory and a statement of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::util::pretty::pretty_format_batches;
use async_trait::async_trait;
use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{Catalog, ErrorKind, Result, TableName, TxnLogError};
use deltalakedb_table::datafusion::catalog::TableProvider;
use deltalakedb_table::datafusion::datasource::MemTable;
use deltalakedb_table::datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use deltalakedb_table::datafusion::sql::sqlparser::ast::{Expr, Statement, visit_expressions};
use deltalakedb_table::datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use deltalakedb_table::{
    CommandComplete, GuestContext, GuestStatement, HeldRelation, Relations, SaveMode, SqlGuest, SqlOptions, SqlResult,
    SqlSession, Transaction, TransactionOptions, WriteOptions, create_with_data, query_error,
};
use deltalakedb_tests::{location, sqlite};
use futures::{TryStreamExt, stream};

/// The guest has the relation `app.notes`.
#[derive(Debug)]
struct Notes {
    rows: Mutex<Vec<(i64, String)>>,
    held: AtomicUsize,
}

impl Notes {
    fn new(rows: &[(i64, &str)]) -> Arc<Self> {
        let rows = rows.iter().map(|(id, body)| (*id, body.to_string())).collect();
        Arc::new(Self { rows: Mutex::new(rows), held: AtomicUsize::new(0) })
    }

    fn batch(&self) -> RecordBatch {
        batch(&self.rows.lock().unwrap())
    }
}

fn batch(rows: &[(i64, String)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(id, _)| *id)));
    let bodies: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, body)| body)));
    RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("body", bodies, true)]).unwrap()
}

fn is_notes(name: &TableName) -> bool {
    name.to_string() == "app.notes"
}

fn invalid(what: impl std::fmt::Display) -> TxnLogError {
    TxnLogError::invalid(what.to_string())
}

#[async_trait]
impl Relations for Notes {
    async fn hold(&self, names: &[TableName]) -> Result<Vec<HeldRelation>> {
        self.held.fetch_add(1, Ordering::Relaxed);
        let mut held = Vec::new();
        for name in names.iter().filter(|name| is_notes(name)) {
            let rows = self.batch();
            let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(invalid)?;
            held.push(HeldRelation::new(name.clone(), Arc::new(table) as Arc<dyn TableProvider>));
        }
        Ok(held)
    }
}

#[async_trait]
impl SqlGuest for Notes {
    fn claim(&self, tokens: &[TokenWithSpan]) -> Result<Option<Box<dyn GuestStatement>>> {
        let words: Vec<_> = tokens.iter().map(|t| &t.token).filter(|t| !matches!(t, Token::Whitespace(_))).collect();
        match &words[..] {
            [Token::Word(ping), Token::SingleQuotedString(what)] if ping.value.eq_ignore_ascii_case("ping") => {
                Ok(Some(Box::new(Ping(what.clone()))))
            }
            [Token::Word(ping), ..] if ping.value.eq_ignore_ascii_case("ping") => {
                Err(TxnLogError::invalid("invalid PING: expected PING 'text'"))
            }
            _ => Ok(None),
        }
    }

    async fn owns(&self, relation: &TableName) -> Result<bool> {
        Ok(is_notes(relation))
    }

    async fn change(&self, _: &TableName, change: Statement, context: GuestContext<'_>) -> Result<CommandComplete> {
        if context.transaction.is_some() {
            return Err(TxnLogError::invalid("app.notes cannot be changed in a transaction: COMMIT it before"));
        }
        match change {
            // `id = 7` is found in the syntax tree; no text is parsed again.
            Statement::Delete(delete) => {
                let mut numbers = Vec::new();
                let _ = visit_expressions(&delete.selection, |e| {
                    if let Expr::Value(value) = e {
                        numbers.extend(value.to_string().parse::<i64>().ok());
                    }
                    std::ops::ControlFlow::<()>::Continue(())
                });
                let mut rows = self.rows.lock().unwrap();
                let before = rows.len();
                rows.retain(|(id, _)| !numbers.contains(id));
                Ok(CommandComplete::new("DELETE", Some((before - rows.len()) as u64)))
            }
            Statement::Insert(insert) => {
                let plan = context.plan(*insert.source.unwrap()).await?;
                let rows = context.session.execute_logical_plan(plan).await.map_err(invalid)?;
                let rows: Vec<_> = rows.collect().await.map_err(invalid)?;
                let new: Vec<_> = lines(&rows).into_iter().map(|line| (line.len() as i64, line)).collect();
                let count = new.len() as u64;
                self.rows.lock().unwrap().extend(new);
                Ok(CommandComplete::new("INSERT", Some(count)))
            }
            other => Err(TxnLogError::invalid(format!("{other} is not supported in app.notes"))),
        }
    }
}

/// Gives back its text, and how many tables of the catalog it sees.
struct Ping(String);

#[async_trait]
impl GuestStatement for Ping {
    async fn run(self: Box<Self>, context: GuestContext<'_>) -> Result<SqlResult> {
        let orders = context.tables.hold(&["sales.orders".parse()?]).await?;
        let rows = context.session.read_table(orders[0].provider().clone()).map_err(invalid)?;
        let rows = rows.count().await.map_err(invalid)?;
        let answer = batch(&[(rows as i64, self.0)]);
        let schema = answer.schema();
        Ok(SqlResult::Rows(Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter([Ok(answer)])))))
    }
}

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let text = pretty_format_batches(batches).unwrap().to_string();
    let line = |line: &str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join("|");
    let mut lines: Vec<_> = text.lines().filter(|l| !l.starts_with('+')).skip(1).map(line).collect();
    lines.sort();
    lines
}

struct Answer {
    rows: Vec<String>,
    done: Vec<CommandComplete>,
}

async fn ask(session: &mut SqlSession, sql: &str) -> Result<Answer> {
    let mut answer = Answer { rows: Vec::new(), done: Vec::new() };
    let mut script = session.execute(sql)?;
    while let Some(result) = script.next().await? {
        match result {
            SqlResult::Rows(rows) => {
                let batches: Vec<RecordBatch> = rows.try_collect().await.map_err(|e| query_error(e, "no rows"))?;
                answer.rows.extend(lines(&batches));
            }
            SqlResult::CommandComplete(done) => answer.done.push(done),
        }
    }
    answer.rows.sort();
    Ok(answer)
}

async fn rows(session: &mut SqlSession, sql: &str) -> Vec<String> {
    Box::pin(ask(session, sql)).await.unwrap_or_else(|e| panic!("{sql}: {e}")).rows
}

async fn error(session: &mut SqlSession, sql: &str) -> String {
    Box::pin(ask(session, sql)).await.err().unwrap_or_else(|| panic!("{sql} succeeds")).to_string()
}

async fn orders(catalog: &dyn Catalog, dir: &std::path::Path) {
    let new = NewTable::new("sales.orders".parse().unwrap(), location(&dir.join("orders")));
    let rows = batch(&[(1, "pen".into()), (2, "ink".into()), (3, "cap".into())]);
    let options = WriteOptions::default();
    create_with_data(catalog, new, vec![rows], &[], &Default::default(), &options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_has_relations_and_statements_beside_the_tables_of_the_catalog() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    orders(catalog.as_ref(), dir.path()).await;
    let notes = Notes::new(&[(1, "first"), (3, "third"), (7, "seventh")]);
    let mut alone = SqlSession::new(catalog.clone(), SqlOptions::default()).unwrap();
    let mut session = SqlSession::new(catalog.clone(), SqlOptions::default()).unwrap().with_guest(notes.clone());

    // A relation joins a table, and both are held once for the statement.
    let join = "SELECT n.body, o.body FROM app.notes n JOIN sales.orders o USING (id) WHERE n.id < 7";
    assert_eq!(rows(&mut session, join).await, ["first|pen", "third|cap"]);
    assert_eq!(notes.held.load(Ordering::Relaxed), 1);
    assert_eq!(rows(&mut session, "DESCRIBE app.notes").await, ["body|string|true|false", "id|long|false|false"]);
    assert!(error(&mut alone, join).await.contains("no table app.notes"));
    assert!(error(&mut session, "SELECT * FROM sales.order").await.contains("did you mean sales.orders?"));

    // Its own statement, between others, and one that only resembles it.
    let script = "SELECT 1; PING 'x'; -- a comment\n ping 'y;z'; SELECT 2";
    assert_eq!(rows(&mut session, script).await, ["1", "2", "3|x", "3|y;z"]);
    assert_eq!(error(&mut session, "PING x").await, "invalid PING: expected PING 'text'");
    assert!(error(&mut alone, "PING 'x'").await.contains("found: PING"));

    // Its relation is changed by the guest, and a table by the session.
    let done = ask(&mut session, "DELETE FROM app.notes WHERE id IN (3, 4)").await.unwrap().done;
    assert_eq!(done, [CommandComplete::new("DELETE", Some(1))]);
    assert_eq!(rows(&mut session, "SELECT id FROM app.notes").await, ["1", "7"]);
    let done = ask(&mut session, "DELETE FROM sales.orders WHERE id IN (SELECT 1)").await;
    assert!(done.err().unwrap().to_string().contains("a subquery in WHERE of DELETE"));
    let done = ask(&mut session, "INSERT INTO app.notes SELECT body FROM sales.orders WHERE id > 1.5").await.unwrap();
    assert_eq!(done.done, [CommandComplete::new("INSERT", Some(2))]);
    assert_eq!(rows(&mut session, "SELECT body FROM app.notes").await, ["cap", "first", "ink", "seventh"]);
    let done = ask(&mut session, "INSERT INTO sales.orders SELECT 9, body FROM app.notes WHERE id = 7").await.unwrap();
    assert_eq!((done.done[0].rows, done.done[0].committed.len()), (Some(1), 1));
    assert_eq!(rows(&mut session, "SELECT body FROM sales.orders WHERE id = 9").await, ["seventh"]);
    assert!(error(&mut session, "UPDATE app.notes SET id = 1").await.contains("is not supported in app.notes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_takes_part_in_the_transaction_of_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    orders(catalog.as_ref(), dir.path()).await;
    let notes = Notes::new(&[(1, "first")]);
    let mut session = SqlSession::new(catalog.clone(), SqlOptions::default()).unwrap().with_guest(notes.clone());

    // It sees the tables as the transaction does.
    let script = "BEGIN; DELETE FROM sales.orders WHERE id = 1; PING 'in'; ROLLBACK; PING 'after'";
    assert_eq!(rows(&mut session, script).await, ["2|in", "3|after"]);
    let e = error(&mut session, "BEGIN; DELETE FROM sales.orders; DELETE FROM app.notes WHERE id = 1").await;
    assert!(
        e.contains("cannot be changed in a transaction") && e.ends_with("; the transaction was rolled back"),
        "{e}"
    );
    assert_eq!(rows(&mut session, "SELECT count(*) FROM sales.orders").await, ["3"]);

    // What it reads of the tables is part of what a serializable transaction has read.
    let made = format!("CREATE TABLE made (id BIGINT) LOCATION '{}'", dir.path().join("made").display());
    rows(&mut session, &made).await;
    rows(&mut session, "BEGIN ISOLATION LEVEL SERIALIZABLE; PING 'x'; INSERT INTO made VALUES (1)").await;
    let other = Transaction::begin(catalog, TransactionOptions::default()).await.unwrap();
    other.write("sales.orders", vec![batch(&[(4, "jar".into())])], SaveMode::Append).await.unwrap();
    other.commit().await.unwrap();
    let e = Box::pin(ask(&mut session, "COMMIT")).await.err().unwrap();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
}
