//! Our side: a catalog in each of the three databases, and the measured calls.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchReader, StringArray};
use arrow::datatypes::SchemaRef;
use deltalakedb_catalog::{CatalogUri, ConnectOptions, SqlCatalog};
use deltalakedb_log::action::Add;
use deltalakedb_log::commit::{Base, CommitRequest, NewTable};
use deltalakedb_log::conformance::actions;
use deltalakedb_log::predicate::{Comparison, Literal};
use deltalakedb_log::snapshot::At;
use deltalakedb_log::{
    Action, Catalog, Clock, Durability, ErrorKind, Location, Predicate, Result, Retention, SystemClock, TableId,
    TableName, TableRef, TxnLogError, Version, require,
};
use deltalakedb_mirror::{ExpireOptions, Mirror};
use deltalakedb_table::{
    DeltaTable, DeltaTableProvider, SaveMode, SqlOptions, SqlResult, SqlSession, Transaction, TransactionOptions,
    WriteOptions, create_table, create_with_data, parse_schema, query_error, query_session,
};
use futures::TryStreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::databases::Server;
use crate::report::System;

/// The number of calls before the first measured one.
const WARM_UP: usize = 3;
/// Samples are taken until there are enough or this time has passed, but always at least [`FEWEST`].
const PATIENCE: Duration = Duration::from_secs(5);
pub(crate) const FEWEST: usize = 9;

/// A catalog in one database.
pub(crate) struct BenchCatalog {
    pub(crate) system: System,
    uri: String,
    catalog: SqlCatalog,
}

impl BenchCatalog {
    /// A catalog in each database, new and empty.
    pub(crate) async fn everywhere(folder: &Path, server: &Server) -> Result<Vec<Self>> {
        let duckdb = format!("deltasql://duckdb/{}", folder.join("catalog.duckdb").display());
        Ok(vec![
            Self::in_sqlite(folder).await?,
            Self::connect(System::Postgres, server.catalog_uri()).await?,
            Self::connect(System::DuckDb, duckdb).await?,
        ])
    }

    /// A catalog in SQLite, new and empty.
    pub(crate) async fn in_sqlite(folder: &Path) -> Result<Self> {
        Self::connect(System::Sqlite, format!("deltasql://sqlite/{}", sqlite_file(folder).display())).await
    }

    async fn connect(system: System, uri: String) -> Result<Self> {
        let options = ConnectOptions { create: true, ..ConnectOptions::default() };
        let catalog = SqlCatalog::connect(&CatalogUri::parse(&uri)?, options).await?;
        Ok(Self { system, uri, catalog })
    }

    /// The URI of a table.
    pub(crate) fn uri_of(&self, table: &str) -> String {
        format!("{}?table={table}", self.uri)
    }

    pub(crate) fn catalog(&self) -> Arc<dyn Catalog> {
        Arc::new(self.catalog.clone())
    }

    /// Imports the table, and returns the seconds it took.
    pub(crate) async fn import(&self, table: &Path, name: &str) -> Result<(TableId, f64)> {
        let (place, name) = (Location::parse(&table.to_string_lossy())?, name.parse::<TableName>()?);
        let began = Instant::now();
        let imported =
            Mirror::new(self.catalog(), Arc::new(SystemClock)).import(&place, Some(&name), &|_, _| {}).await?;
        Ok((imported.table.id, began.elapsed().as_secs_f64()))
    }

    /// Opens: version, protocol and metadata.
    pub(crate) async fn open(&self, table: TableId) -> Result<Vec<f64>> {
        let catalog = self.catalog();
        sampled(200, async |_| catalog.reader(table).head().await).await
    }

    /// Opens and plans, one predicate after the other.
    pub(crate) async fn plan(&self, table: TableId, predicates: &[Predicate]) -> Result<Vec<f64>> {
        let catalog = self.catalog();
        sampled(200, async |n| planned(&catalog, table, &predicates[n % predicates.len()]).await).await
    }

    /// The files that a plan finds.
    pub(crate) async fn files(&self, table: TableId, predicate: &Predicate) -> Result<Vec<Add>> {
        planned(&self.catalog(), table, predicate).await
    }

    /// Commits one file whose data is already written.
    pub(crate) async fn commits(&self, table: TableId) -> Result<Vec<f64>> {
        let catalog = self.catalog();
        let mut head = catalog.reader(table).head().await?.version;
        sampled(200, async |n| commit_one(&catalog, table, head, n).await.map(|version| head = version)).await
    }

    /// Appends 100 rows to a new table: opened by name, one Parquet file, one commit, published.
    pub(crate) async fn appends(&self, folder: &Path, durability: Durability) -> Result<Vec<f64>> {
        let name = match durability {
            Durability::Full => "appended",
            Durability::Catalog => "appended_fast",
        };
        self.create(folder, name).await?;
        self.appends_to(name, &rows()?, durability).await
    }

    /// Appends rows to an existing table, and publishes them.
    pub(crate) async fn appends_to(&self, name: &str, rows: &RecordBatch, durability: Durability) -> Result<Vec<f64>> {
        let (catalog, name) = (self.catalog(), TableRef::Name(name.parse()?));
        let id = require(catalog.as_ref(), &name).await?.id;
        let (mirror, options) = (self.mirror(durability).with_deferred_sync(), writing(durability));
        let samples = sampled(50, async |_| {
            let table = DeltaTable::open_in(catalog.clone(), &name).await?;
            table.write(vec![rows.clone()], SaveMode::Append, &options).await?;
            mirror.publish(id).await?;
            mirror.settle_soon();
            Ok(())
        })
        .await?;
        mirror.settle().await?;
        Ok(samples)
    }

    /// Appends 100 rows to a new table, and measures until the commit is acknowledged. It is published after that.
    pub(crate) async fn acknowledged_appends(&self, folder: &Path) -> Result<Vec<f64>> {
        self.create(folder, "acknowledged").await?;
        let (catalog, name) = (self.catalog(), TableRef::Name("acknowledged".parse()?));
        let id = require(catalog.as_ref(), &name).await?.id;
        let (mirror, options) = (self.mirror(Durability::Full).with_deferred_sync(), writing(Durability::Full));
        let (rows, mut acknowledged) = (rows()?, Vec::new());
        sampled(50, async |_| {
            let began = Instant::now();
            let table = DeltaTable::open_in(catalog.clone(), &name).await?;
            table.write(vec![rows.clone()], SaveMode::Append, &options).await?;
            acknowledged.push(began.elapsed().as_secs_f64());
            mirror.publish(id).await?;
            // So that its syncs do not delay the next append.
            mirror.settle().await
        })
        .await?;
        Ok(acknowledged.split_off(WARM_UP))
    }

    /// Appends 100 rows to each of two tables in one transaction, and publishes both.
    pub(crate) async fn appends_to_two(&self, folder: &Path, durability: Durability) -> Result<Vec<f64>> {
        let (catalog, mirror, rows) = (self.catalog(), self.mirror(durability), rows()?);
        for name in ["one", "other"] {
            self.create(&folder.join(name), name).await?;
        }
        sampled(50, async |_| {
            let options = TransactionOptions { write: writing(durability), ..TransactionOptions::default() };
            let tx = Transaction::begin(catalog.clone(), options).await?;
            for name in ["one", "other"] {
                tx.write(name, vec![rows.clone()], SaveMode::Append).await?;
            }
            for committed in tx.commit().await? {
                mirror.publish(committed.table).await?;
            }
            Ok(())
        })
        .await
    }

    /// Opens a table and plans `SELECT * FROM name WHERE id = x` in DataFusion, one x after the other, each in a new
    /// session.
    pub(crate) async fn selects(&self, name: &str, ids: &[i64]) -> Result<Vec<f64>> {
        let failed = |e| query_error(e, "the query of the benchmark cannot be planned");
        sampled(200, async |n| {
            let (session, table) = (query_session([])?, self.table(name).await?);
            let provider = DeltaTableProvider::open(&table, At::Latest).await?;
            session.register_table(name, Arc::new(provider)).map_err(failed)?;
            let sql = format!("SELECT * FROM {name} WHERE id = {}", ids[n % ids.len()]);
            let rows = deltalakedb_table::query(&session, &sql).await.map_err(failed)?;
            rows.create_physical_plan().await.map_err(failed)
        })
        .await
    }

    /// Runs a query to its last row, several times.
    pub(crate) async fn queries(&self, sql: &str) -> Result<Vec<f64>> {
        let catalog = self.catalog();
        sampled(FEWEST, async |_| query(&catalog, sql).await).await
    }

    /// Creates a table from the rows of a Parquet file.
    pub(crate) async fn load(&self, folder: &Path, name: &str, file: &Path) -> Result<()> {
        let file = fs::File::open(file).map_err(unavailable)?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build());
        let reader =
            reader.map_err(|e| TxnLogError::corrupt("the file of generated rows cannot be read").with_source(e))?;
        let rows: Box<dyn RecordBatchReader + Send> = Box::new(reader);
        let new = NewTable::new(name.parse()?, Location::parse(&folder.to_string_lossy())?);
        let (properties, options) = (HashMap::new(), WriteOptions::default());
        create_with_data(self.catalog().as_ref(), new, rows, &[], &properties, &options).await?;
        Ok(())
    }

    /// The columns and rows of a query.
    pub(crate) async fn rows(&self, sql: &str) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let mut session = SqlSession::new(self.catalog(), SqlOptions::default())?;
        match session.execute(sql)?.next().await? {
            Some(SqlResult::Rows(rows)) => {
                let failed = |e| query_error(e, "the query of the benchmark failed");
                Ok((rows.schema(), rows.try_collect().await.map_err(failed)?))
            }
            _ => Err(TxnLogError::invalid("this is not a query")),
        }
    }

    /// Runs a query once, to its last row.
    pub(crate) async fn query(&self, sql: &str) -> Result<()> {
        query(&self.catalog(), sql).await
    }

    async fn table(&self, name: &str) -> Result<DeltaTable> {
        DeltaTable::open_in(self.catalog(), &TableRef::Name(name.parse()?)).await
    }

    /// Sets a property of a table.
    pub(crate) async fn set(&self, name: &str, property: (&str, &str)) -> Result<()> {
        self.table(name).await?.set_properties(&[property], &WriteOptions::default()).await?;
        Ok(())
    }

    /// Creates a table for [`rows`].
    pub(crate) async fn create(&self, folder: &Path, name: &str) -> Result<TableId> {
        self.create_with(folder, name, "id long, v double, s string", &[], &[]).await
    }

    /// Creates a table with these columns, partition columns and properties.
    pub(crate) async fn create_with(
        &self,
        folder: &Path,
        name: &str,
        schema: &str,
        partition_by: &[&str],
        properties: &[(&str, &str)],
    ) -> Result<TableId> {
        fs::create_dir_all(folder).map_err(unavailable)?;
        let name: TableName = name.parse()?;
        let new = NewTable::new(name.clone(), Location::parse(&folder.to_string_lossy())?);
        let (schema, options) = (parse_schema(schema)?, WriteOptions::default());
        let properties: HashMap<_, _> = properties.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let partition_by: Vec<_> = partition_by.iter().map(|column| column.to_string()).collect();
        create_table(self.catalog().as_ref(), new, &schema, &partition_by, &properties, &options).await?;
        Ok(require(&self.catalog, &TableRef::Name(name)).await?.id)
    }

    /// Appends rows once.
    pub(crate) async fn write(&self, name: &str, rows: RecordBatch) -> Result<()> {
        self.table(name).await?.write(vec![rows], SaveMode::Append, &WriteOptions::default()).await?;
        Ok(())
    }

    /// Deletes the rows that satisfy a condition.
    pub(crate) async fn delete(&self, name: &str, condition: &str) -> Result<()> {
        self.table(name).await?.delete(Some(condition), &WriteOptions::default()).await?;
        Ok(())
    }

    /// Restores a version of a table.
    pub(crate) async fn restore(&self, name: &str, version: Version) -> Result<()> {
        self.table(name).await?.restore(At::Version(version), &WriteOptions::default()).await?;
        Ok(())
    }

    /// Expires all versions of a table but this many.
    pub(crate) async fn expire(&self, name: &str, versions: u64) -> Result<()> {
        let id = require(&self.catalog, &TableRef::Name(name.parse()?)).await?.id;
        let options = ExpireOptions {
            keep: Retention { time: Some(Duration::ZERO), versions: Some(versions) },
            default: Retention { time: None, versions: None },
            at_most: None,
            dry_run: false,
            committer: WriteOptions::default().committer(),
        };
        self.mirror(Durability::Full).expire(id, &options).await?;
        Ok(())
    }

    /// Publishes what was committed to a table.
    pub(crate) async fn publish(&self, name: &str) -> Result<()> {
        let id = require(&self.catalog, &TableRef::Name(name.parse()?)).await?.id;
        self.mirror(Durability::Full).publish(id).await?;
        Ok(())
    }

    /// The same against the first retained version, however many versions follow it.
    pub(crate) async fn late_commits(&self, table: TableId) -> Result<Vec<f64>> {
        let catalog = self.catalog();
        let base = require(&self.catalog, &TableRef::Id(table)).await?.base_version;
        sampled(200, async |n| {
            let late = append_one(table, base, &format!("late-{n}"));
            catalog.commit_all(vec![late]).await?.committed()
        })
        .await
    }

    /// Commits one file to each of the tables, in one transaction.
    pub(crate) async fn commits_to_all(&self, tables: &[TableId]) -> Result<Vec<f64>> {
        sampled(100, async |n| {
            let request = |table: &TableId| append_one(*table, 0, &format!("all-{}-{n}", tables.len()));
            let outcome = self.catalog.commit_all(tables.iter().map(request).collect()).await?;
            outcome.committed()
        })
        .await
    }

    /// Commits one file whose data is already written, against the first version.
    pub(crate) async fn commit_to(&self, table: TableId, n: usize) -> Result<()> {
        commit_one(&self.catalog(), table, 0, n).await.map(|_| ())
    }

    /// Appends 100 rows to a table, and publishes them.
    pub(crate) async fn append_to(&self, name: &str, id: TableId, mirror: &Mirror) -> Result<()> {
        let table = DeltaTable::open_in(self.catalog(), &TableRef::Name(name.parse()?)).await?;
        table.write(vec![rows()?], SaveMode::Append, &WriteOptions::default()).await?;
        mirror.publish(id).await?;
        mirror.settle_soon();
        Ok(())
    }

    pub(crate) fn mirror(&self, durability: Durability) -> Mirror {
        Mirror::new(self.catalog(), Arc::new(SystemClock)).with_durability(durability)
    }

    /// The growth in bytes of a separate process that opens a table and reads the rows of one value.
    pub(crate) async fn memory_of_query(&self, name: &str, id: i64) -> Result<Vec<f64>> {
        let measure_in_process =
            |_| measure_in_process(&["memory-of-query", &self.uri, name, &id.to_string()]).map(|[bytes]| bytes);
        (0..3).map(measure_in_process).collect()
    }

    /// The growth in bytes of a separate process that opens and plans. The catalog here is closed first, because a
    /// DuckDB file can be opened by one process only.
    pub(crate) async fn memory(self, table: TableId, id: i64) -> Result<Vec<f64>> {
        let uri = self.close().await;
        (0..3)
            .map(|_| measure_in_process(&["memory", &uri, &table.to_string(), &id.to_string()]).map(|[bytes]| bytes))
            .collect()
    }

    /// Closes the catalog, and returns its URI for another process.
    pub(crate) async fn close(self) -> String {
        self.catalog.close().await;
        self.uri
    }
}

/// The output of a separate process, such as the bytes it grew by.
pub(crate) fn measure_in_process<const N: usize>(arguments: &[&str]) -> Result<[f64; N]> {
    let program = std::env::current_exe().map_err(unavailable)?;
    let output = Command::new(&program).args(arguments).output().map_err(unavailable)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers = text.split_whitespace().map(|number| number.parse().ok()).collect::<Option<Vec<f64>>>();
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| {
        let why = String::from_utf8_lossy(&output.stderr);
        TxnLogError::new(ErrorKind::Internal, format!("{arguments:?} cannot be measured: {}", why.trim()))
    })
}

fn writing(durability: Durability) -> WriteOptions {
    WriteOptions { durability, ..WriteOptions::default() }
}

/// Runs a query to its last row.
async fn query(catalog: &Arc<dyn Catalog>, sql: &str) -> Result<()> {
    let mut session = SqlSession::new(catalog.clone(), SqlOptions::default())?;
    let mut script = session.execute(sql)?;
    while let Some(result) = script.next().await? {
        if let SqlResult::Rows(mut rows) = result {
            while rows.try_next().await.map_err(|e| query_error(e, "the query of the benchmark failed"))?.is_some() {}
        }
    }
    Ok(())
}

/// In a separate process: opens and reads once, over an existing connection, and returns the growth of peak resident
/// memory in bytes.
pub(crate) async fn memory_of_query(uri: &str, name: &str, id: &str) -> Result<f64> {
    let catalog = deltalakedb_catalog::connect(uri).await?;
    let sql = |name: &str| format!("SELECT * FROM {name} WHERE id = {id}");
    // A query of a small table first, which allocates what every query needs.
    query(&catalog, &sql("few")).await?;
    Ok(peak_growth(query(&catalog, &sql(name))).await?[0])
}

/// In a separate process: opens and plans once, over an existing connection, and returns the growth of peak resident
/// memory in bytes.
pub(crate) async fn memory_of_plan(uri: &str, table: &str, id: &str) -> Result<f64> {
    let catalog = deltalakedb_catalog::connect(uri).await?;
    let table: TableId = table.parse()?;
    let id: i64 = id.parse().map_err(|_| TxnLogError::invalid(format!("{id:?} is not a value of the column id")))?;
    require(catalog.as_ref(), &TableRef::Id(table)).await?;
    Ok(peak_growth(planned(&catalog, table, &id_is(id))).await?[0])
}

/// The growth of this process's peak memory in bytes during the work, and its duration in seconds.
pub(crate) async fn peak_growth<T>(work: impl Future<Output = Result<T>>) -> Result<[f64; 2]> {
    // Resets the peak.
    fs::write("/proc/self/clear_refs", "5").map_err(unavailable)?;
    let before = resident("VmRSS:")?;
    let began = Instant::now();
    work.await?;
    let took = began.elapsed().as_secs_f64();
    Ok([resident("VmHWM:")?.saturating_sub(before) as f64, took])
}

fn resident(field: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").map_err(unavailable)?;
    let line = status.lines().find_map(|l| l.strip_prefix(field));
    let kib = line.and_then(|l| l.trim().split(' ').next()?.parse::<u64>().ok());
    let missing = || TxnLogError::new(ErrorKind::Unavailable, format!("/proc/self/status has no {field}"));
    Ok(kib.ok_or_else(missing)? * 1024)
}

async fn commit_one(catalog: &Arc<dyn Catalog>, table: TableId, head: Version, n: usize) -> Result<Version> {
    let committed = catalog.commit_all(vec![append_one(table, head, &format!("new-{n}"))]).await?.committed()?;
    Ok(committed.first().map_or(head, |c| c.version))
}

/// A blind append of one file.
fn append_one(table: TableId, base: Version, name: &str) -> CommitRequest {
    let add = Action::add(actions::file(&format!("day=a/{name}.parquet"), 0, 9));
    CommitRequest::new(table, SystemClock.new_uuid(), Base::RebaseFrom(base), vec![add])
}

async fn planned(catalog: &Arc<dyn Catalog>, table: TableId, predicate: &Predicate) -> Result<Vec<Add>> {
    let reader = catalog.reader(table);
    let head = reader.head().await?;
    reader.files(head.version, Some(predicate)).await?.try_collect().await
}

/// `id = x`
pub(crate) fn id_is(x: i64) -> Predicate {
    Predicate::Compare("id".into(), Comparison::Eq, Literal::Long(x))
}

/// `id >= from AND id < to`
pub(crate) fn id_between(from: i64, to: i64) -> Predicate {
    let compare = |how, x| Predicate::Compare("id".into(), how, Literal::Long(x));
    Predicate::And(vec![compare(Comparison::GtEq, from), compare(Comparison::Lt, to)])
}

/// `day = '…'`
pub(crate) fn day_is(day: &str) -> Predicate {
    Predicate::Compare("day".into(), Comparison::Eq, Literal::String(day.into()))
}

pub(crate) fn sqlite_file(folder: &Path) -> PathBuf {
    folder.join("catalog.db")
}

/// 100 rows for a table as written by `tables`, with ids above all of its own.
pub(crate) fn late_rows() -> Result<RecordBatch> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(LATE..LATE + 100));
    let days: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n("2030-01-01", 100)));
    RecordBatch::try_from_iter([("id", ids), ("day", days)])
        .map_err(|e| TxnLogError::new(ErrorKind::Internal, "the rows to append cannot be created").with_source(e))
}

/// The minimum id of [`late_rows`].
pub(crate) const LATE: i64 = 5_000_000_000;

pub(crate) fn rows() -> Result<RecordBatch> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0i64..100));
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0i32..100).map(f64::from)));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n("xxxxxxxxxx", 100)));
    RecordBatch::try_from_iter([("id", ids), ("v", values), ("s", texts)])
        .map_err(|e| TxnLogError::new(ErrorKind::Internal, "the rows to append cannot be created").with_source(e))
}

/// The seconds of each of `most` calls, or of fewer if they take long (see [`PATIENCE`]).
pub(crate) async fn sampled<T>(most: usize, mut call: impl AsyncFnMut(usize) -> Result<T>) -> Result<Vec<f64>> {
    for n in 0..WARM_UP {
        call(n).await?;
    }
    let (began, mut samples) = (Instant::now(), Vec::new());
    while samples.len() < most && (samples.len() < FEWEST || began.elapsed() < PATIENCE) {
        let started = Instant::now();
        call(WARM_UP + samples.len()).await?;
        samples.push(started.elapsed().as_secs_f64());
    }
    Ok(samples)
}

/// An error of a file of the benchmark.
pub(crate) fn unavailable(e: std::io::Error) -> TxnLogError {
    TxnLogError::new(ErrorKind::Unavailable, "a file or process of the benchmark cannot be used").with_source(e)
}
