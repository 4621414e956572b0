//! A SQL session that prints its results.

use std::sync::Arc;

use deltalakedb_log::commit::Committed;
use deltalakedb_log::{Catalog, Result, TableRef};
use deltalakedb_table::{CommandComplete, ScriptSummary, SqlOptions, SqlResult, SqlSession};

use crate::context::CommandContext;
use crate::report::counted;
use crate::rows::Results;

/// A SQL session that prints its results.
pub(crate) struct SqlRunner<'a> {
    s: &'a CommandContext,
    catalog: Arc<dyn Catalog>,
    pub(crate) session: SqlSession,
}

impl<'a> SqlRunner<'a> {
    pub(crate) async fn open(s: &'a CommandContext, create: bool) -> Result<Self> {
        let catalog = s.catalog(create).await?;
        let options = SqlOptions { warehouse: s.settings.warehouse.clone(), write: s.write_options() };
        Ok(Self { s, session: SqlSession::new(catalog.clone(), options)?, catalog })
    }

    /// Runs statements and prints their results.
    pub(crate) async fn run(&mut self, text: &str) -> Result<()> {
        let mut out = self.s.output();
        let mut results = Results::new(&mut out, ScriptSummary::of(text)?.results)?;
        let mut script = self.session.execute(text)?;
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
