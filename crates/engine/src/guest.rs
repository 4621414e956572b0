//! Row tables in a session of SQL.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use async_trait::async_trait;
use deltalakedb_log::{ErrorKind, Result, TableName, TxnLogError};
use deltalakedb_table::datafusion::datasource::MemTable;
use deltalakedb_table::datafusion::sql::sqlparser::ast::Statement;
use deltalakedb_table::datafusion::sql::sqlparser::tokenizer::TokenWithSpan;
use deltalakedb_table::{
    CommandComplete, GuestContext, GuestStatement, HeldRelation, Relations, SqlGuest, SqlResult, query_error,
};

use crate::dml;
use crate::grammar::RowStatement;
use crate::overlay::{RowTableProvider, SystemColumns};
use crate::row_engine::RowEngine;
use crate::system_columns::{self, tables_of};
use crate::table_view::TableView;

/// The row tables of an engine for sessions of SQL: a [guest](SqlGuest).
#[derive(Clone, Debug)]
pub struct RowTables(Arc<RowEngine>);

impl RowTables {
    /// The tables of this engine.
    pub fn new(engine: Arc<RowEngine>) -> Self {
        Self(engine)
    }

    /// `system.tables`: one row for each row table.
    fn system_tables(&self) -> Result<HeldRelation> {
        let name = system_tables_name()?;
        let views = self.0.views(&self.0.table_names())?;
        let text = |of: &dyn Fn(&TableView) -> String| -> ArrayRef {
            Arc::new(views.iter().map(|view| Some(of(view))).collect::<StringArray>())
        };
        let number = |of: &dyn Fn(&TableView) -> u64| -> ArrayRef {
            Arc::new(views.iter().map(|view| Some(of(view))).collect::<UInt64Array>())
        };
        let key = |view: &TableView| {
            let columns = view.table.definition.key_columns().map(|column| column.name().to_string());
            columns.collect::<Vec<_>>().join(", ")
        };
        let failed = |e| TxnLogError::new(ErrorKind::Internal, "the row tables cannot be listed").with_source(e);
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("namespace", text(&|view| view.table.name().namespace.clone()), false),
            ("name", text(&|view| view.table.name().name.clone()), false),
            ("kind", text(&|view| view.table.definition.kind().to_string()), false),
            ("primary_key", text(&key), false),
            ("version", number(&|view| view.cold.head.version), false),
            ("files", number(&|view| view.cold.files.len() as u64), false),
        ])
        .map_err(failed)?;
        let rows = MemTable::try_new(rows.schema(), vec![vec![rows]]);
        let rows = rows.map_err(|e| query_error(e, "the row tables cannot be listed"))?;
        Ok(HeldRelation::new(name, Arc::new(rows)))
    }
}

fn system_tables_name() -> Result<TableName> {
    "system.tables".parse()
}

#[async_trait]
impl Relations for RowTables {
    async fn hold(&self, names: &[TableName]) -> Result<Vec<HeldRelation>> {
        let tables = tables_of(names);
        let views = self.0.views(&tables)?;
        let mut held = Vec::new();
        for (name, table) in names.iter().zip(&tables) {
            let Some(view) = views.iter().find(|view| view.table.name() == table) else { continue };
            let system = if name == table { SystemColumns::None } else { SystemColumns::Queried };
            held.push(HeldRelation::new(name.clone(), Arc::new(RowTableProvider::new(view.clone(), system))));
        }
        if names.contains(&system_tables_name()?) {
            held.push(self.system_tables()?);
        }
        Ok(held)
    }
}

#[async_trait]
impl SqlGuest for RowTables {
    fn claim(&self, tokens: &[TokenWithSpan]) -> Result<Option<Box<dyn GuestStatement>>> {
        let Some(statement) = RowStatement::parse(tokens)? else { return Ok(None) };
        // Other tables are dropped by the session.
        if let RowStatement::DropTable(table) = &statement
            && self.0.find(table).is_none()
        {
            return Ok(None);
        }
        Ok(Some(Box::new(EngineStatement { engine: self.0.clone(), statement })))
    }

    fn rewrite(&self, statement: &mut Statement) -> Result<()> {
        system_columns::rewrite(statement, &|name| self.0.find(name).is_some())
    }

    async fn owns(&self, relation: &TableName) -> Result<bool> {
        let tables = tables_of(std::slice::from_ref(relation));
        Ok(tables.iter().any(|table| self.0.find(table).is_some()) || *relation == system_tables_name()?)
    }

    async fn change(
        &self,
        relation: &TableName,
        change: Statement,
        context: GuestContext<'_>,
    ) -> Result<CommandComplete> {
        // Each evaluation of the statement registers the row tables that it names again.
        if context.named.contains(&system_tables_name()?) {
            context.register(&self.system_tables()?);
        }
        match self.0.find(relation) {
            Some(table) => dml::run(&self.0, &table, change, &context).await,
            None => Err(TxnLogError::invalid(format!("{relation} cannot be changed: it shows what the engine has"))),
        }
    }
}

/// A statement of row tables that does not change rows.
struct EngineStatement {
    engine: Arc<RowEngine>,
    statement: RowStatement,
}

#[async_trait]
impl GuestStatement for EngineStatement {
    async fn run(self: Box<Self>, context: GuestContext<'_>) -> Result<SqlResult> {
        let Self { engine, statement } = *self;
        if context.transaction.is_some() {
            return Err(TxnLogError::invalid(
                "a statement of row tables cannot be between BEGIN and COMMIT: each commits by itself",
            ));
        }
        let done = match statement {
            RowStatement::CreateNamespace { name, if_not_exists } => {
                match engine.catalog().create_namespace(&name, None).await {
                    Err(e) if if_not_exists && e.kind() == ErrorKind::AlreadyExists => {}
                    created => created?,
                }
                CommandComplete::new("CREATE NAMESPACE", None)
            }
            RowStatement::CreateTable { definition, if_not_exists } => {
                let mut done = CommandComplete::new("CREATE SHARED TABLE", None);
                done.committed.extend(engine.create_table(*definition, if_not_exists).await?);
                done
            }
            RowStatement::DropTable(table) => {
                engine.drop_table(&table).await?;
                CommandComplete::new("DROP TABLE", None)
            }
            RowStatement::FlushTable(table) => {
                let mut done = CommandComplete::new("FLUSH TABLE", None);
                done.committed = engine.flush_table(&table).await?;
                done
            }
            RowStatement::FlushAll => {
                let mut done = CommandComplete::new("FLUSH ALL", None);
                done.committed = engine.flush_all().await?;
                done
            }
        };
        Ok(SqlResult::CommandComplete(done))
    }
}
