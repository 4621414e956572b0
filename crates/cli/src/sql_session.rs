//! A SQL session that prints its results.

use std::fs::File;
use std::io::Seek;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use deltalakedb_engine::{DataDirectory, RowEngine, RowTables};
use deltalakedb_log::commit::Committed;
use deltalakedb_log::{Catalog, ErrorKind, Result, TableRef, TxnLogError};
use deltalakedb_table::{CommandComplete, Parameters, SqlOptions, SqlResult, SqlSession};

use crate::args::Format;
use crate::context::CommandContext;
use crate::output::{Output, warn};
use crate::report::counted;
use crate::rows::Results;

/// How results are printed.
#[derive(Default)]
pub(crate) struct ResultOptions {
    /// Whether a table shows each row as a record.
    pub(crate) expanded: bool,
    /// Whether the duration of each statement is printed.
    pub(crate) timing: bool,
    /// The file for results, instead of standard output.
    pub(crate) file: Option<File>,
}

/// A SQL session that prints its results.
pub(crate) struct SqlRunner<'a> {
    s: &'a CommandContext,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) results: ResultOptions,
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
            let (session, results) = (SqlSession::new(catalog.clone(), options)?, ResultOptions::default());
            return Ok(Self { s, session, results, catalog, engine: None, params });
        };
        let directory = DataDirectory::create(data)?;
        let catalog = s.catalog_of_data(&directory).await?;
        let engine = Arc::new(RowEngine::open(directory.path(), catalog.clone(), s.write_options()).await?);
        directory.keep();
        for table in engine.unpublished() {
            s.publish(&catalog, &TableRef::Id(*table)).await?;
        }
        options.warehouse.get_or_insert_with(|| engine.folder().display().to_string());
        let session = SqlSession::new(catalog.clone(), options)?.with_guest(Arc::new(RowTables::new(engine.clone())));
        Ok(Self { s, session, results: ResultOptions::default(), catalog, engine: Some(engine), params })
    }

    /// Ends the session; true when a transaction was open, which is rolled back.
    pub(crate) async fn close(&mut self) -> Result<bool> {
        let rolled_back = self.session.close().await?;
        publish_rest(self.s, &self.catalog, self.engine.as_ref()).await;
        if let Some(engine) = self.engine.take() {
            engine.close().await?;
        }
        Ok(rolled_back)
    }

    /// Runs statements and prints their results.
    pub(crate) async fn run(&mut self, text: &str) -> Result<()> {
        let mut out = self.output()?;
        let ran = self.print(&mut out, text).await;
        let format = out.format();
        // What is buffered is written.
        drop(out);
        if ran.is_err() && format == Format::Parquet {
            self.empty_file()?;
        }
        ran
    }

    /// Removes the part of a Parquet file that a failed statement has written: it is not a result.
    fn empty_file(&self) -> Result<()> {
        let Some(mut file) = self.results.file.as_ref() else { return Ok(()) };
        let emptied = file.metadata().and_then(|there| match there.len() {
            0 => Ok(()),
            _ => file.set_len(0).and_then(|()| file.rewind()),
        });
        emptied.map_err(|e| {
            TxnLogError::new(ErrorKind::Unavailable, "the file for results cannot be emptied").with_source(e)
        })
    }

    async fn print(&mut self, out: &mut Output, text: &str) -> Result<()> {
        let results = Results::new(out, self.session.summary(text)?.results)?;
        let mut results = results.with_expanded(self.results.expanded);
        let mut script = self.session.execute_with(text, self.params.clone())?;
        loop {
            let began = Instant::now();
            let next = script.next().await;
            if next.is_err() {
                publish_rest(self.s, &self.catalog, self.engine.as_ref()).await;
            }
            let Some(result) = next? else { break };
            match result {
                SqlResult::Rows(rows) => results.print(rows).await?,
                SqlResult::CommandComplete(result) => {
                    let tables = publish(self.s, &self.catalog, &result.committed).await?;
                    results.say(&message_of(&result, &tables))?;
                }
            }
            if self.results.timing {
                warn(&format!("Time: {:.1?}", began.elapsed()));
            }
        }
        results.end()
    }

    fn output(&self) -> Result<Output> {
        let out = self.s.output();
        let Some(file) = &self.results.file else { return Ok(out) };
        let failed =
            |e| TxnLogError::new(ErrorKind::Unavailable, "the file for results cannot be written").with_source(e);
        if out.format() == Format::Parquet && file.metadata().map_err(failed)?.len() > 0 {
            return Err(TxnLogError::invalid(
                "the file for results has a result already, and a Parquet file has one: choose another one with \\o FILE",
            ));
        }
        Ok(out.with_file(file.try_clone().map_err(failed)?))
    }
}

/// Publishes the commits of flushes that were interrupted, or that were made before one of another table failed.
async fn publish_rest(s: &CommandContext, catalog: &Arc<dyn Catalog>, engine: Option<&Arc<RowEngine>>) {
    let Some(engine) = engine else { return };
    for committed in engine.take_committed() {
        // A table that cannot be published does not keep the others from it.
        if let Err(e) = publish(s, catalog, &[committed]).await {
            warn(&format!("warning: {e}"));
        }
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

#[cfg(test)]
mod tests {
    use clap::Parser;
    use deltalakedb_log::require;
    use deltalakedb_table::{DropOptions, WriteOptions, drop_table};

    use super::*;
    use crate::args::Cli;
    use crate::recorder::RecordedMetrics;

    const TABLES: [&str; 3] = ["a", "b", "c"];

    #[tokio::test(flavor = "multi_thread")]
    async fn a_flush_is_published_although_the_one_before_it_cannot_be() {
        let folder = tempfile::tempdir().unwrap();
        let (data, config) = (folder.path().join("d"), folder.path().join("config.toml"));
        std::fs::write(&config, "").unwrap();
        let mut cli = Cli::parse_from(["dl", "--quiet", "--config", config.to_str().unwrap(), "tables"]);
        cli.global.catalog = None;
        let s = CommandContext::new(&mut cli, Vec::new(), RecordedMetrics::default()).unwrap();
        let mut runner = SqlRunner::open(&s, Some(&data), true, Parameters::default()).await.unwrap();
        for table in TABLES {
            let create = format!("CREATE SHARED TABLE {table} (id BIGINT PRIMARY KEY); INSERT INTO {table} VALUES (1)");
            Box::pin(runner.run(&create)).await.unwrap();
        }
        // The third table cannot be flushed, so that no statement receives the flushes of the others.
        let commit = |table: &str| data.join("default").join(table).join("_delta_log/00000000000000000001.json");
        std::fs::write(commit("c"), "{\"commitInfo\":{\"operation\":\"WRITE\",\"engineInfo\":\"another\"}}\n").unwrap();
        let engine = runner.engine.clone();
        engine.as_ref().unwrap().flush_all().await.unwrap_err();
        assert!(!commit("a").exists() && !commit("b").exists());
        // The first one is dropped in another way than by the engine, which has its flush.
        let catalog = runner.catalog.clone();
        let first = require(catalog.as_ref(), &TableRef::Name("a".parse().unwrap())).await.unwrap();
        let options = WriteOptions { owner: first.owner.clone(), ..s.write_options() };
        let drop_options = DropOptions { force: true, ..DropOptions::default() };
        drop_table(&s.mirror(&catalog), first.id, drop_options, &options).await.unwrap();

        publish_rest(&s, &catalog, engine.as_ref()).await;
        assert!(commit("b").exists());
        assert!(engine.as_ref().unwrap().take_committed().is_empty());
        drop(engine);
        runner.close().await.unwrap();
        s.close().await;
    }
}
