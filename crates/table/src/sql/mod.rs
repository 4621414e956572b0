//! SQL over all tables of a catalog.
//!
//! A statement is run in four steps. DataFusion's parser parses it, with tables `VERSION AS OF` added (`dialect`,
//! `statement`). The tables it names are looked up and held, all of them at one point (`names`, `catalog_provider`,
//! `time_travel`). DataFusion plans it over the registered tables; names resolve to nothing else. The rows are streamed to
//! the caller, or written to a table (`change`): every write is in a transaction, the open one or one for the
//! statement. Tables are dropped and renamed outside transactions (`lifecycle`).
//!
//! A session may have a `guest`, another owner of relations and statements. It is asked in the first step whether the
//! statement is its own, in the second for its relations, and in the last whether it owns the relation to be changed.

mod catalog_provider;
mod change;
mod dialect;
mod guest;
mod lifecycle;
mod names;
mod parameters;
mod relations;
mod result;
mod statement;
#[cfg(test)]
mod tests;
mod time_travel;

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, UInt64Array};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::{SQLOptions, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{ObjectName, ShowStatementOptions, Statement as Ast};
use deltalakedb_log::namespaces::all_namespaces;
use deltalakedb_log::schema::Schema;
use deltalakedb_log::{Catalog, Result, TableEntry, TableName, TablePage, TxnLogError, TxnLogTransactionError};
use futures::stream;
use parking_lot::Mutex;

use self::catalog_provider::resolve;
use self::names::ReferencedTables;
use self::statement::{ParsedStatement, Statements};
use self::time_travel::TimeTravelPlanner;
use crate::delta_rs::{LogView, StringEncoding, TableSchema, literals, session_context};
use crate::error::{Explain, to_datafusion_error};
use crate::provider::DeltaTableProvider;
use crate::transaction::{Transaction, TransactionOptions};
use crate::write_options::WriteOptions;

pub use self::catalog_provider::DeltaCatalogProvider;
pub use self::guest::{GuestContext, GuestStatement, SqlGuest};
pub use self::parameters::Parameters;
pub use self::relations::{HeldRelation, Relations};
pub use self::result::{CommandComplete, SqlResult};
pub use self::statement::ScriptSummary;

/// The name of DataFusion's default catalog in a session; table names need not be qualified with it.
const DEFAULT_CATALOG: &str = "lake";

/// The options of a SQL session.
#[derive(Clone, Debug, Default)]
pub struct SqlOptions {
    /// The location below which new tables without a location are created.
    pub warehouse: Option<String>,
    /// The options of writes.
    pub write: WriteOptions,
}

/// A session that runs SQL statements over the tables of a catalog.
///
/// ```
/// # use deltalakedb_table::{SqlOptions, SqlResult, SqlSession};
/// # async fn example(catalog: std::sync::Arc<dyn deltalakedb_log::Catalog>) -> deltalakedb_log::Result<()> {
/// let mut session = SqlSession::new(catalog, SqlOptions::default())?;
/// let mut script = session.execute("SHOW TABLES; SELECT count(*) FROM sales.orders VERSION AS OF 3")?;
/// while let Some(result) = script.next().await? {
///     if let SqlResult::Rows(rows) = result {
///         println!("{}", rows.schema());
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct SqlSession {
    catalog: Arc<dyn Catalog>,
    options: SqlOptions,
    context: SessionContext,
    tables: DeltaCatalogProvider,
    past: TimeTravelPlanner,
    guest: Option<Arc<dyn SqlGuest>>,
    /// The Delta tables of the statement being planned.
    read: Mutex<Vec<(TableName, Arc<DeltaTableProvider>)>>,
    open: Option<Open>,
}

/// A transaction that has not ended.
struct Open {
    transaction: Transaction,
    /// Whether it is the transaction of a single statement.
    implicit: bool,
}

impl SqlSession {
    /// A session over all tables of a catalog.
    pub fn new(catalog: Arc<dyn Catalog>, options: SqlOptions) -> Result<Self> {
        let stores = options.write.stores.clone();
        let context = session_context(&stores)?;
        let (tables, past) =
            (DeltaCatalogProvider::with_registered_only(catalog.clone(), stores), TimeTravelPlanner::default());
        {
            let state = context.state_ref();
            let mut state = state.write();
            let names = &mut state.config_mut().options_mut().catalog;
            (names.default_catalog, names.default_schema) = (DEFAULT_CATALOG.into(), "default".into());
        }
        context.register_catalog(DEFAULT_CATALOG, Arc::new(tables.clone()));
        let planner = context.register_relation_planner(Arc::new(past.clone()));
        planner.explain(|| "a session of SQL cannot be started".into())?;
        Ok(Self { catalog, options, context, tables, past, guest: None, read: Mutex::default(), open: None })
    }

    /// Adds another owner of relations and statements to the session. A name that it has, and the catalog has as well,
    /// is the guest's.
    pub fn with_guest(self, guest: Arc<dyn SqlGuest>) -> Self {
        Self { guest: Some(guest), ..self }
    }

    /// Starts running statements separated by `;`. Each runs in a call of [`Script::next`].
    pub fn execute(&mut self, text: &str) -> Result<Script<'_>> {
        self.execute_with(text, Parameters::default())
    }

    /// Like [`Self::execute`], with values for placeholders, which every statement can use.
    pub fn execute_with(&mut self, text: &str, parameters: Parameters) -> Result<Script<'_>> {
        Ok(Script { statements: Statements::of(text)?, parameters, session: self })
    }

    /// Analyzes statements without running them.
    pub fn summary(&self, text: &str) -> Result<ScriptSummary> {
        ScriptSummary::with_guest(text, self.guest.as_deref())
    }

    /// Whether a text is complete: it ends with `;`, outside quotes and comments, or has no statement.
    pub fn is_complete(text: &str) -> bool {
        statement::is_complete(text)
    }

    /// Whether a transaction that BEGIN has opened is open.
    pub fn in_transaction(&self) -> bool {
        self.open.as_ref().is_some_and(|open| !open.implicit)
    }

    /// Ends the session; true when a transaction was open, which is rolled back.
    pub async fn close(&mut self) -> Result<bool> {
        match self.open.take() {
            None => Ok(false),
            Some(open) => {
                open.transaction.rollback().await;
                Ok(!open.implicit)
            }
        }
    }

    async fn run(&mut self, parsed: ParsedStatement) -> Result<SqlResult> {
        // An interrupted statement leaves no changes.
        if let Some(open) = self.open.take_if(|open| open.implicit) {
            open.transaction.rollback().await;
        }
        let result = match parsed {
            ParsedStatement::Query(statement) => self.query(*statement).await.map(SqlResult::Rows),
            ParsedStatement::ShowTables(options) => self.show_tables(&options).await,
            ParsedStatement::ShowNamespaces => self.show_namespaces().await,
            ParsedStatement::Describe(name) => self.describe(&name).await,
            ParsedStatement::Begin { serializable } => self.begin(serializable).await,
            ParsedStatement::Commit => match self.open.take() {
                Some(open) => {
                    let committed = open.transaction.commit().await?;
                    Ok(SqlResult::CommandComplete(CommandComplete { command: "COMMIT", rows: None, committed }))
                }
                None => Err(TxnLogError::invalid("there is no transaction to commit: BEGIN begins one")),
            },
            ParsedStatement::Rollback => {
                if self.close().await? {
                    Ok(SqlResult::CommandComplete(CommandComplete::new("ROLLBACK", None)))
                } else {
                    Err(TxnLogError::invalid("there is no transaction to roll back: BEGIN begins one"))
                }
            }
            ParsedStatement::Drop { name, if_exists } => self.drop_table(&name, if_exists).await,
            ParsedStatement::CreateNamespace { name, if_not_exists } => {
                self.create_namespace(&name, if_not_exists).await
            }
            ParsedStatement::DropNamespace { name, if_exists } => self.drop_namespace(&name, if_exists).await,
            ParsedStatement::Rename { from, to, if_exists } => self.rename_table(&from, &to, if_exists).await,
            ParsedStatement::Guest(statement) => self.run_of_guest(statement).await,
            writing => self.change(writing).await,
        };
        // What is planned keeps what it reads.
        self.tables.register_all(&[]);
        self.past.hold(Vec::new());
        match result {
            Err(e) if self.close().await? => {
                Err(TxnLogError::new(e.kind(), format!("{e}; the transaction was rolled back")))
            }
            result => result,
        }
    }

    async fn begin(&mut self, serializable: bool) -> Result<SqlResult> {
        if self.open.is_some() {
            return Err(TxnLogError::invalid("a transaction is open already: COMMIT or ROLLBACK ends it"));
        }
        self.open = Some(self.transaction(serializable, false).await?);
        Ok(SqlResult::CommandComplete(CommandComplete { command: "BEGIN", rows: None, committed: Vec::new() }))
    }

    async fn transaction(&self, serializable: bool, implicit: bool) -> Result<Open> {
        let write = self.options.write.clone();
        let options = TransactionOptions { write, serializable, ..TransactionOptions::default() };
        Ok(Open { transaction: Transaction::begin(self.catalog.clone(), options).await?, implicit })
    }

    async fn run_of_guest(&self, statement: Box<dyn GuestStatement>) -> Result<SqlResult> {
        self.read.lock().clear();
        let result = statement.run(self.guest_context(&SessionTables(self), &[])).await?;
        self.note_reads().await?;
        Ok(result)
    }

    /// Lets a guest change a relation that it owns.
    async fn change_of_guest(&self, guest: &dyn SqlGuest, relation: &TableName, statement: Ast) -> Result<SqlResult> {
        let mut referenced = ReferencedTables::of(&Statement::Statement(Box::new(statement.clone())))?;
        let named: Vec<_> = referenced.now.iter().cloned().collect();
        for name in &named {
            if guest.owns(name).await? {
                referenced.now.remove(name);
            }
        }
        self.hold(&referenced).await?;
        let done = guest.change(relation, statement, self.guest_context(&SessionTables(self), &named)).await?;
        self.note_reads().await?;
        Ok(SqlResult::CommandComplete(done))
    }

    fn guest_context<'a>(&'a self, tables: &'a SessionTables<'a>, named: &'a [TableName]) -> GuestContext<'a> {
        GuestContext {
            session: &self.context,
            transaction: self.open.as_ref().map(|open| &open.transaction),
            tables,
            named,
            registered: &self.tables,
        }
    }

    /// Runs a statement that writes: in the open transaction, or in one of its own.
    async fn change(&mut self, parsed: ParsedStatement) -> Result<SqlResult> {
        if let (Some(guest), Some(relation)) = (self.guest.clone(), parsed.changed_relation()) {
            let relation = names::table_name(relation)?;
            if guest.owns(&relation).await? {
                let statement = parsed.into_change().ok_or_else(does_not_write)?;
                return self.change_of_guest(guest.as_ref(), &relation, statement).await;
            }
        }
        if self.open.is_none() {
            // A single statement is serializable.
            self.open = Some(self.transaction(true, true).await?);
        }
        let Some(open) = &self.open else { return Err(TxnLogTransactionError::Closed.into()) };
        let tx = &open.transaction;
        let (command, rows) = match parsed {
            ParsedStatement::Insert(insert, whole) => ("INSERT", Some(self.insert(tx, *insert, *whole).await?)),
            ParsedStatement::Update(update) => ("UPDATE", self.update(tx, *update).await?),
            ParsedStatement::Delete(delete) => ("DELETE", self.delete(tx, *delete).await?),
            ParsedStatement::Create(create) => ("CREATE TABLE", self.create(tx, *create).await?),
            _ => return Err(does_not_write()),
        };
        let committed = match self.open.take_if(|open| open.implicit) {
            Some(open) => open.transaction.commit().await?,
            None => Vec::new(),
        };
        Ok(SqlResult::CommandComplete(CommandComplete { command, rows, committed }))
    }

    async fn query(&self, mut statement: Statement) -> Result<SendableRecordBatchStream> {
        literals::in_statement(&mut statement);
        self.hold(&ReferencedTables::of(&statement)?).await?;
        let failed = || "the query cannot be run".to_string();
        let plan = self.context.state().statement_to_plan(statement).await.explain(failed)?;
        let rows = planned(&self.context, plan, failed).await?;
        self.note_reads().await?;
        Ok(rows)
    }

    /// Resolves the table names of a statement: to the latest versions, all at one point in time, or to those that the
    /// open transaction sees; and to earlier versions for time travel.
    async fn hold(&self, named: &ReferencedTables) -> Result<()> {
        let names: Vec<_> = named.now.iter().cloned().collect();
        let held = self.relations(&names).await?;
        self.tables.register_all(&held);
        *self.read.lock() = delta_tables(&held);
        let mut past = Vec::with_capacity(named.then.len());
        for (name, at) in &named.then {
            for entry in resolve(self.catalog.as_ref(), std::slice::from_ref(name)).await? {
                let (reader, stores) = (self.catalog.reader(entry.id), &self.options.write.stores);
                let head = reader.snapshot(*at).await?.head;
                let state = LogView::of_head(&entry.location, stores, reader, head);
                let table = DeltaTableProvider::of_state(state, StringEncoding::Utf8View).await?;
                past.push(((name.clone(), *at), Arc::new(table) as Arc<dyn TableProvider>));
            }
        }
        self.past.hold(past);
        Ok(())
    }

    /// The relations with these names: the guest's, and the tables of the catalog for the other names.
    async fn relations(&self, names: &[TableName]) -> Result<Vec<HeldRelation>> {
        let mut held = match &self.guest {
            Some(guest) => guest.hold(names).await?,
            None => Vec::new(),
        };
        let is_held = |name: &TableName| held.iter().any(|relation| relation.name() == name);
        let others: Vec<_> = names.iter().filter(|name| !is_held(name)).cloned().collect();
        held.extend(self.tables().hold(&others).await?);
        Ok(held)
    }

    /// The tables of the catalog: as the open transaction sees them, or at their latest versions.
    fn tables(&self) -> &dyn Relations {
        match &self.open {
            Some(open) => &open.transaction,
            None => &self.tables,
        }
    }

    /// Adds the predicates of a planned statement to the read set of the open transaction.
    async fn note_reads(&self) -> Result<()> {
        let read = std::mem::take(&mut *self.read.lock());
        let Some(open) = &self.open else { return Ok(()) };
        for (name, table) in read {
            for predicate in table.take_scanned() {
                open.transaction.note_read(&name, predicate).await?;
            }
        }
        Ok(())
    }

    async fn show_tables(&self, options: &ShowStatementOptions) -> Result<SqlResult> {
        let namespace = match (&options.show_in, &options.starts_with, &options.limit, &options.filter_position) {
            (None, None, None, None) => None,
            (Some(place), None, None, None) => match &place.parent_name {
                Some(ObjectName(parts)) => match &parts[..] {
                    [part] => part.as_ident().map(|i| i.value.clone()),
                    _ => None,
                },
                None => None,
            },
            _ => {
                return Err(TxnLogError::invalid(
                    "SHOW TABLES takes no condition: expected SHOW TABLES [IN namespace]",
                ));
            }
        };
        let (catalog, schema) = (self.catalog.clone(), listing_of_tables(&[])?.schema());
        let pages = stream::try_unfold(Some(TablePage { namespace, ..TablePage::default() }), move |page| {
            let catalog = catalog.clone();
            async move {
                let Some(page) = page else { return Ok(None) };
                let tables = catalog.tables_page(&page).await.map_err(to_datafusion_error)?;
                let batch = listing_of_tables(&tables).map_err(to_datafusion_error)?;
                Ok(Some((batch, page.after(&tables))))
            }
        });
        Ok(SqlResult::Rows(Box::pin(RecordBatchStreamAdapter::new(schema, pages))))
    }

    async fn show_namespaces(&self) -> Result<SqlResult> {
        let names = all_namespaces(self.catalog.as_ref()).await?;
        rows_of([("namespace", Arc::new(StringArray::from(names)) as ArrayRef)])
    }

    async fn describe(&self, name: &ObjectName) -> Result<SqlResult> {
        let name: TableName = names::table_name(name)?;
        let held = self.relations(std::slice::from_ref(&name)).await?;
        let relation = held.first().ok_or_else(|| TxnLogError::not_found(format!("there is no table {name}")))?;
        let schema = match relation.delta() {
            Some(table) => {
                let metadata = &table.head().metadata;
                Schema::parse(&metadata.schema_string, &metadata.partition_columns)?
            }
            None => Schema::parse(&TableSchema::from_arrow(&relation.provider().schema())?.to_json()?, &[])?,
        };
        let text = |f: &dyn Fn(&deltalakedb_log::schema::Column) -> String| -> ArrayRef {
            Arc::new(schema.columns().iter().map(|c| Some(f(c))).collect::<StringArray>())
        };
        let flag = |f: &dyn Fn(&deltalakedb_log::schema::Column) -> bool| -> ArrayRef {
            Arc::new(schema.columns().iter().map(|c| Some(f(c))).collect::<BooleanArray>())
        };
        rows_of([
            ("column", text(&|c| c.name.clone())),
            ("type", text(&|c| c.type_json.trim_matches('"').to_string())),
            ("nullable", flag(&|c| c.nullable)),
            ("partition", flag(&|c| c.is_partition)),
        ])
    }
}

/// The tables of the catalog for a statement of the guest. What it reads of them is recorded.
struct SessionTables<'a>(&'a SqlSession);

#[async_trait]
impl Relations for SessionTables<'_> {
    async fn hold(&self, names: &[TableName]) -> Result<Vec<HeldRelation>> {
        let held = self.0.tables().hold(names).await?;
        self.0.read.lock().extend(delta_tables(&held));
        Ok(held)
    }
}

fn delta_tables(held: &[HeldRelation]) -> Vec<(TableName, Arc<DeltaTableProvider>)> {
    let table = |relation: &HeldRelation| Some((relation.name().clone(), relation.delta()?.clone()));
    held.iter().filter_map(table).collect()
}

fn does_not_write() -> TxnLogError {
    TxnLogError::invalid("this statement does not write")
}

/// A stream of the rows of a read-only plan.
async fn planned(
    context: &SessionContext,
    plan: LogicalPlan,
    failed: impl Fn() -> String,
) -> Result<SendableRecordBatchStream> {
    let only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    only.verify_plan(&plan).explain(&failed)?;
    context.execute_logical_plan(plan).await.explain(&failed)?.execute_stream().await.explain(failed)
}

/// The rows of `SHOW TABLES`.
fn listing_of_tables(tables: &[TableEntry]) -> Result<RecordBatch> {
    let text = |f: &dyn Fn(&TableEntry) -> String| -> ArrayRef {
        Arc::new(tables.iter().map(|t| Some(f(t))).collect::<StringArray>())
    };
    let versions = tables.iter().map(|t| t.current_version).collect::<Vec<_>>();
    batch_of([
        ("namespace", text(&|t| t.name.namespace.clone())),
        ("name", text(&|t| t.name.name.clone())),
        ("version", Arc::new(UInt64Array::from(versions))),
        ("location", text(&|t| t.location.to_string())),
    ])
}

fn batch_of<const N: usize>(columns: [(&str, ArrayRef); N]) -> Result<RecordBatch> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, false)));
    batch.explain(|| "a listing cannot be shown".into())
}

/// A result with existing rows.
fn rows_of<const N: usize>(columns: [(&str, ArrayRef); N]) -> Result<SqlResult> {
    let batch = batch_of(columns)?;
    let schema = batch.schema();
    Ok(SqlResult::Rows(Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter([Ok(batch)])))))
}

/// Statements that run one after the other, until the first failure.
pub struct Script<'a> {
    session: &'a mut SqlSession,
    statements: Statements,
    parameters: Parameters,
}

impl Script<'_> {
    /// Runs the next statement; `None` after the last one. After an error no further statement runs.
    pub async fn next(&mut self) -> Result<Option<SqlResult>> {
        let Some(parsed) = self.statements.next(self.session.guest.as_deref(), Some(&self.parameters)) else {
            return Ok(None);
        };
        let result = match parsed {
            Ok(parsed) => self.session.run(parsed).await,
            Err(e) => Err(e),
        };
        if result.is_err() {
            self.statements.stop();
        }
        result.map(Some)
    }
}

impl fmt::Debug for SqlSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlSession").field("catalog", &self.catalog.describe()).field("options", &self.options).finish()
    }
}
