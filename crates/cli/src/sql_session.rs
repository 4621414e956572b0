//! A SQL session that prints its results.

use std::path::Path;
use std::sync::Arc;

use deltalakedb_engine::{RowEngine, RowTables};
use deltalakedb_log::commit::Committed;
use deltalakedb_log::{Catalog, Result, TableRef};
use deltalakedb_table::{CommandComplete, Parameters, SqlOptions, SqlResult, SqlSession};

use crate::context::CommandContext;
use crate::report::counted;
use crate::rows::Results;

/// A SQL session that prints its results.
pub(crate) struct SqlRunner<'a> {
    s: &'a CommandContext,
    catalog: Arc<dyn Catalog>,
    pub(crate) session: SqlSession,
    /// The row tables, if a data directory is open.
    engine: Option<Arc<RowEngine>>,
    /// The values of placeholders.
    params: Parameters,
}

impl<'a> SqlRunner<'a> {
    /// A session over a catalog, which is created if it does not exist and `create` allows it; with the row tables of a
    /// data directory, which is created.
    pub(crate) async fn open(
        s: &'a CommandContext,
        data: Option<&Path>,
        create: bool,
        params: Parameters,
    ) -> Result<Self> {
        let mut options = SqlOptions { warehouse: s.settings.warehouse.clone(), write: s.write_options() };
        let Some(data) = data else {
            let catalog = s.catalog(create).await?;
            return Ok(Self { s, session: SqlSession::new(catalog.clone(), options)?, catalog, engine: None, params });
        };
        let catalog = s.catalog_of_data(data).await?;
        let engine = Arc::new(RowEngine::open(data, catalog.clone(), s.write_options()).await?);
        for table in engine.unpublished() {
            s.publish(&catalog, &TableRef::Id(*table)).await?;
        }
        options.warehouse.get_or_insert_with(|| engine.folder().display().to_string());
        let session = SqlSession::new(catalog.clone(), options)?.with_guest(Arc::new(RowTables::new(engine.clone())));
        Ok(Self { s, session, catalog, engine: Some(engine), params })
    }

    /// Ends the session; true when a transaction was open, which is rolled back.
    pub(crate) async fn close(&mut self) -> Result<bool> {
        let rolled_back = self.session.close().await?;
        if let Some(engine) = self.engine.take() {
            engine.close().await?;
        }
        Ok(rolled_back)
    }

    /// Runs statements and prints their results.
    pub(crate) async fn run(&mut self, text: &str) -> Result<()> {
        let mut out = self.s.output();
        let mut results = Results::new(&mut out, self.session.summary(text)?.results)?;
        let mut script = self.session.execute_with(text, self.params.clone())?;
        while let Some(result) = script.next().await? {
            match result {
                SqlResult::Rows(rows) => results.print(rows).await?,
                SqlResult::CommandComplete(result) => {
                    let tables = publish(self.s, &self.catalog, &result.committed).await?;
                    results.say(&message_of(&result, &tables))?;
                }
            }
        }
        results.end()
    }
}

/// Publishes the commits, and prints the tables with their versions.
async fn publish(s: &CommandContext, catalog: &Arc<dyn Catalog>, committed: &[Committed]) -> Result<Vec<String>> {
    let mut tables = Vec::with_capacity(committed.len());
    for c in committed {
        let entry = s.publish(catalog, &TableRef::Id(c.table)).await?;
        tables.push(format!("{} is at version {}", entry.name, c.version));
    }
    Ok(tables)
}

/// `INSERT: 2 rows, sales.orders is at version 3`
fn message_of(result: &CommandComplete, tables: &[String]) -> String {
    let rows = result.rows.map(|n| counted(n, "row"));
    let what: Vec<_> = rows.into_iter().chain(tables.iter().cloned()).collect();
    if what.is_empty() { result.command.into() } else { format!("{}: {}", result.command, what.join(", ")) }
}
